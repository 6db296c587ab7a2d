package uplink

import (
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// BenchmarkWire prints what a reading costs on the wire in an MQTT PUBLISH
// (payload, topic, headers; TLS and TCP not counted), for one-minute means with
// statistics and for single values, one message a round and ten rounds a message.
func BenchmarkWire(b *testing.B) {
	for _, c := range []struct {
		name   string
		mean   bool
		rounds int
	}{{"single/round", false, 1}, {"single/backlog", false, 10}, {"mean/round", true, 1}, {"mean/backlog", true, 10}} {
		b.Run(c.name, func(b *testing.B) {
			sp, err := spool.Open(spool.Options{
				Dir: b.TempDir(), Boot: clock.BootID{1}, SyncEvery: time.Hour, FreeFloor: -1, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			defer sp.Close()
			m := clock.Mapping{Offset: offset, Quality: telemetry.TimeNTP, ID: telemetry.ClockID{Epoch: sp.Epoch(), Counter: 1}}
			if err := sp.AddMapping(m); err != nil {
				b.Fatal(err)
			}
			s := NewSession(SessionOptions{
				Node: node, Source: sp, QoS: 1, Window: 16, Limit: spool.Limit{Records: 256, Bytes: 8 << 10}, Stall: time.Hour,
			})
			bytes, count, messages := 0, 0, 0
			now := Now{Boottime: hostclock.Boottime(), UTC: offset}
			work := s.Begin(now, 0)
			for i := range b.N {
				// Four devices with six readings each are a round.
				now.Boottime += 10 * time.Second
				now.UTC += 10_000
				for d := range 4 {
					readings := make([]telemetry.Reading, 6)
					for j := range readings {
						v := math.Round(float64((i*7+j*13+d)%997)) / 10
						readings[j] = telemetry.Reading{Quantity: fmt.Sprintf("q%d", j), Value: telemetry.Num(v)}
						if c.mean {
							readings[j] = telemetry.Reading{Quantity: fmt.Sprintf("q%d", j), Value: telemetry.Num(v + 1.0/3), Count: 60, Min: v, Max: v + 1}
						}
					}
					if _, err := sp.Append(spool.Sample{Device: fmt.Sprintf("device%d", d), Boottime: now.Boottime, Readings: readings}); err != nil {
						b.Fatal(err)
					}
				}
				if i%c.rounds != c.rounds-1 {
					continue
				}
				if err := sp.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
				work = append(work, s.Wake(now)...)
				for len(work) > 0 {
					a := work[0]
					work = work[1:]
					if n := readings(a); n > 0 {
						count += n
						messages++
						bytes += len(a.Payload) + len(a.Topic) + 2 + 2 + 1 + 2
					}
					work = append(work, s.Acked(a.ID, now)...)
				}
			}
			if count > 0 {
				b.ReportMetric(float64(bytes)/float64(count), "wire-B/reading")
				b.ReportMetric(float64(count)/float64(messages), "readings/message")
			}
		})
	}
}
