package ingest

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// load makes entries of 64 messages: gateways gateways take turns, each message
// holds records records of ten readings (or one, if single).
func load(gateways, entries, records int, single bool) [][]byte {
	names := []string{"pm1", "pm2_5", "pm4", "pm10", "temperature", "humidity", "pressure", "co2", "so2", "no2"}
	if single {
		names = names[:1]
	}
	var definitions []sparkplug.Definition
	for i, n := range names {
		definitions = append(definitions, def(uint64(i+1), "air/"+n))
	}
	senders := make([]*sender, gateways)
	next := make([]uint64, gateways)
	var out [][]byte
	var births []*envelope.Packet
	for i := range senders {
		senders[i] = newSender(telemetry.Node{Group: "3374", ID: fmt.Sprintf("gw-%04d", i)}, uint64(i+1), noon, telemetry.Epoch(i+1), definitions...)
		next[i] = 1
		births = append(births, senders[i].nbirth(telemetry.EpochFloor{Epoch: telemetry.Epoch(i + 1), Lowest: 1}))
	}
	out = append(out, entry(births...))
	g := 0
	for range entries {
		var packets []*envelope.Packet
		for range 64 {
			var rs []telemetry.Record
			for k := range records {
				r := telemetry.Record{Device: "air", Time: noon.Add(time.Duration(next[g]+uint64(k)) * time.Second).UnixMilli()}
				for i, n := range names {
					r.Readings = append(r.Readings, telemetry.Reading{Quantity: n, Value: telemetry.Num(float64(int(next[g])*37%1000+i) / 10)})
				}
				rs = append(rs, r)
			}
			senders[g].at = noon.Add(time.Duration(next[g]) * time.Second)
			packets = append(packets, senders[g].data(next[g], max(1, next[g]-1), false, rs...))
			next[g] += uint64(records)
			g = (g + 1) % gateways
		}
		out = append(out, entry(packets...))
	}
	return out
}

func benchmarkStore(b *testing.B, records int, single bool) {
	entries := load(200, 200, records, single)
	r := newRig(b, Holes{})
	r.put(entries[0])
	var spare *Batch
	readings := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.put(entries[1+i%(len(entries)-1)])
		if batch := r.store.Batch(); batch.Points >= batchPoints || len(batch.Lines) >= batchBytes {
			readings += batch.Readings
			taken := r.store.Take(r.seq, spare)
			r.books.Settle(taken, nil)
			r.books.Checkpoint(&taken.Delta)
			spare = taken
		}
	}
	readings += r.store.Batch().Readings
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(readings), "ns/reading")
}

// BenchmarkStore is the store reader from journal entry to line protocol and
// ledger, without the database.
func BenchmarkStore(b *testing.B) {
	b.Run("10-readings-a-message", func(b *testing.B) { benchmarkStore(b, 1, false) })
	b.Run("100-readings-a-message", func(b *testing.B) { benchmarkStore(b, 10, false) })
	b.Run("1-reading-a-message", func(b *testing.B) { benchmarkStore(b, 1, true) })
}

// BenchmarkLatest is the latest reader from journal entry to value.
func BenchmarkLatest(b *testing.B) {
	entries := load(200, 200, 1, false)
	births := NewBirths(Holes{})
	feed, core := NewFeed(births, Holes{}), NewLatest(Holes{})
	if err := feed.Entry(1, entries[0], core); err != nil {
		b.Fatal(err)
	}
	n := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := feed.Entry(uint64(i+2), entries[1+i%(len(entries)-1)], core); err != nil {
			b.Fatal(err)
		}
		n += 640
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/reading")
}

func BenchmarkAppendNumber(b *testing.B) {
	values := []float64{12.3, 1013.25, 45, 0.0625, 22.345, 399.9999, 1.0 / 3}
	var buf []byte
	for i := 0; b.Loop(); i++ {
		buf = appendNumber(buf[:0], values[i%len(values)])
	}
}

// BenchmarkToInfluxDB is the way from the journal's entries to a real InfluxDB
// with checkpoints and hours, InfluxDB's own work on the same machine included.
func BenchmarkToInfluxDB(b *testing.B) {
	const entries = 3000
	all := load(200, entries, 1, false)
	for b.Loop() {
		b.StopTimer()
		s := newStage(b, nil)
		s.stored(s.put(all[0]))
		var before, after syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		var last uint64
		for _, e := range all[1:] {
			last = s.put(e)
		}
		s.stored(last)
		b.StopTimer()
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			b.Fatal(err)
		}
		cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()).Seconds()
		b.ReportMetric(cpu/(entries*640)*1e6, "cpu-s/million")
		s.stop()
		b.StartTimer()
	}
	b.ReportMetric(entries*640*float64(b.N)/b.Elapsed().Seconds(), "readings/s")
}

// BenchmarkPoints reads a gateway's raw hour back.
func BenchmarkPoints(b *testing.B) {
	s := newStage(b, nil)
	var last uint64
	for _, e := range load(2, 300, 1, false) {
		last = s.put(e)
	}
	s.stored(last)
	n := 0
	for b.Loop() {
		if err := s.db.Points(b.Context(), influx.Span{Kinds: []telemetry.Kind{telemetry.KindAir}}, func(p *influx.Point) error {
			n += len(p.Readings)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/reading")
}
