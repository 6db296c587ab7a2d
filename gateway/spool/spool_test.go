package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func key(e telemetry.Epoch, n uint64) string { return fmt.Sprintf("%v.%d", e, n) }

// bench is a spool on a real file system with a clock under the test's hand.
type bench struct {
	t testing.TB
	o Options
	*Spool
	now  atomic.Int64 // CLOCK_BOOTTIME
	boot byte
}

func newBench(t testing.TB, change func(*Options)) *bench {
	b := &bench{t: t, boot: 1}
	b.now.Store(int64(time.Minute))
	b.o = Options{
		Dir: t.TempDir(), SyncEvery: time.Hour, SyncCount: 1 << 30, FreeFloor: -1, SegmentBytes: 16 << 10,
		Logger: slog.New(slog.DiscardHandler), Boottime: func() time.Duration { return time.Duration(b.now.Load()) },
	}
	if change != nil {
		change(&b.o)
	}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bench) open() {
	b.t.Helper()
	b.o.Boot = clock.BootID{b.boot}
	s, err := Open(b.o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Spool = s
}

func (b *bench) close() {
	b.t.Helper()
	if b.Spool == nil {
		return
	}
	if err := b.Close(); err != nil {
		b.t.Error(err)
	}
	b.Spool = nil
}

func (b *bench) flush() {
	b.t.Helper()
	if err := b.Flush(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// mapping gives the boot UTC.
func (b *bench) mapping() {
	b.t.Helper()
	err := b.AddMapping(clock.Mapping{
		From: clock.Millis(time.Duration(b.now.Load())), Offset: 1764000000000, Quality: telemetry.TimeNTP,
		ID: telemetry.ClockID{Epoch: b.Epoch(), Counter: 1},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) sample(v float64) uint64 {
	b.t.Helper()
	now := time.Duration(b.now.Add(int64(time.Second)))
	n, err := b.Append(Sample{Device: "udara", Boottime: now, Readings: []telemetry.Reading{
		{Quantity: "pm2_5", Value: telemetry.Num(v)}, {Quantity: "pm10", Value: telemetry.Num(2 * v)}}})
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// drain sends and acknowledges everything; it returns the samples' first values
// by epoch and number, and what was reported as lost.
func (b *bench) drain() (map[string]float64, map[string]telemetry.LossReason) {
	b.t.Helper()
	got, lost := map[string]float64{}, map[string]telemetry.LossReason{}
	for {
		n := 0
		b.flush() // loss records come up while sending
		for _, lane := range []Lane{Live, Backlog} {
			for {
				batch := b.Next(lane, time.Duration(b.now.Load()), Limit{Records: 50, Bytes: 8 << 10})
				if batch.Run.Count == 0 {
					break
				}
				n++
				for _, r := range batch.Records {
					if r.Loss != nil {
						for i := r.Loss.From; i <= r.Loss.To; i++ {
							lost[key(r.Loss.Epoch, i)] = r.Loss.Reason
						}
						continue
					}
					got[key(batch.Run.Epoch, r.Number)] = r.Readings[0].Value.Number
				}
				b.Ack(batch.Run.Epoch, batch.Run.First, batch.Run.First+batch.Run.Count-1)
			}
		}
		if n == 0 {
			return got, lost
		}
	}
}

// segments returns the files in order.
func (b *bench) segments() []string {
	names, err := filepath.Glob(filepath.Join(b.o.Dir, "*.seg"))
	if err != nil {
		b.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestRecordsKeepEveryForm(t *testing.T) {
	b := newBench(t, nil)
	readings := []telemetry.Reading{
		{Quantity: "a", Value: telemetry.Num(0)}, {Quantity: "b", Value: telemetry.Num(12.3)}, {Quantity: "c", Value: telemetry.Num(-0.001)},
		{Quantity: "d", Value: telemetry.Num(math.Copysign(0, -1))}, {Quantity: "e", Value: telemetry.Num(math.Pi)},
		{Quantity: "f", Value: telemetry.Num(float64(float32(math.Pi)))}, {Quantity: "g", Value: telemetry.Num(math.MaxFloat64)},
		{Quantity: "h", Value: telemetry.Num(math.SmallestNonzeroFloat64)}, {Quantity: "i", Value: telemetry.Num(1 << 53)},
		{Quantity: "j", Value: telemetry.Value{Type: telemetry.Bool, Number: 1}}, {Quantity: "k", Value: telemetry.Value{Type: telemetry.Bool}},
		{Quantity: "l", Value: telemetry.Value{Type: telemetry.Text, Text: "penuh ⚠"}},
		{Quantity: "m", Value: telemetry.Num(20.5), Flag: telemetry.FlagWarmUp, Count: 60, Min: -3.25, Max: 1e-9},
		{Quantity: "n", Gap: telemetry.GapChecksum}, {Quantity: "o", Gap: "dingo"},
	}
	if _, err := b.Append(Sample{Device: "", Boottime: time.Minute, Readings: readings}); err != nil {
		t.Fatal(err)
	}
	b.mapping()
	b.flush()
	for range 2 { // from memory, then from disk
		batch := b.Next(Live, 2*time.Minute, Limit{Records: 1, Bytes: 1})
		if len(batch.Records) != 1 || !reflect.DeepEqual(batch.Records[0].Readings, readings) {
			t.Fatalf("got %+v", batch)
		}
		if math.Signbit(batch.Records[0].Readings[3].Value.Number) != true {
			t.Error("minus zero lost its sign")
		}
		b.close()
		b.open()
	}
}

func TestAppendRefusesWhatNoMessageHolds(t *testing.T) {
	b := newBench(t, nil)
	one := telemetry.Reading{Quantity: "pm10", Value: telemetry.Num(1)}
	for name, s := range map[string]Sample{
		"no readings":   {Device: "udara"},
		"bad device":    {Device: "a/b", Readings: []telemetry.Reading{one}},
		"bad quantity":  {Device: "a", Readings: []telemetry.Reading{{Quantity: "x/y"}}},
		"twice":         {Device: "a", Readings: []telemetry.Reading{one, one}},
		"too many":      {Device: "a", Readings: make([]telemetry.Reading, MaxReadings+1)},
		"too much text": {Device: "a", Readings: []telemetry.Reading{{Quantity: "t", Value: telemetry.Value{Type: telemetry.Text, Text: strings.Repeat("x", MaxText+1)}}}},
	} {
		if _, err := b.Append(s); !errors.Is(err, ErrSample) {
			t.Errorf("%s: %v", name, err)
		}
	}
	n, err := b.Append(Sample{Device: "a", Readings: []telemetry.Reading{{Quantity: "x", Value: telemetry.Num(math.NaN())}, {Quantity: "y", Value: telemetry.Num(1), Count: 2, Min: math.Inf(-1), Max: 3}}})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	b.mapping()
	b.flush()
	r := b.Next(Live, time.Minute, Limit{Records: 9, Bytes: 999}).Records[0].Readings
	if r[0].Gap != telemetry.GapNotNumber || r[1].Count != 0 {
		t.Errorf("NaN is a gap, and an infinite minimum no statistics: %+v", r)
	}
}

func TestKilledProcessLosesNothing(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	want := map[string]float64{}
	for i := range 500 {
		want[key(b.Epoch(), b.sample(float64(i)))] = float64(i)
	}
	kill(t, b)
	b.mapping()
	want[key(b.Epoch(), b.sample(-1))] = -1
	got, lost := b.drain()
	if !reflect.DeepEqual(got, want) || len(lost) > 0 {
		t.Errorf("got %d of %d, lost %v", len(got), len(want), lost)
	}
}

// kill leaves the spool as the end of the process would: what was written is in
// the page cache, nothing is closed.
func kill(t *testing.T, b *bench) {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(b.o.Dir)); err != nil {
		t.Fatal(err)
	}
	b.close()
	b.o.Dir = copied
	b.open()
}

func TestTornTailAtEveryByte(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	epoch := b.Epoch()
	for i := range 5 {
		b.sample(float64(i))
	}
	b.flush()
	name := b.segments()[0]
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.sample(float64(5 + i))
	}
	b.close()
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range []string{"cut", "zeros", "noise"} {
		for cut := int(before.Size()); cut < len(whole); cut++ {
			b.o.Dir = t.TempDir()
			data := slices.Clone(whole[:cut])
			for i := cut; tail != "cut" && i < len(whole); i++ {
				data = append(data, map[string]byte{"zeros": 0, "noise": byte(i*7 + 1)}[tail])
			}
			if err := os.WriteFile(filepath.Join(b.o.Dir, filepath.Base(name)), data, 0o600); err != nil {
				t.Fatal(err)
			}
			b.open()
			got, lost := b.drain()
			b.close()
			for n := range uint64(5) {
				if v, ok := got[key(epoch, n+1)]; !ok || v != float64(n) {
					t.Fatalf("%s at %d: record %d is gone: %v", tail, cut, n+1, got)
				}
			}
			for n := range uint64(8) {
				k := key(epoch, n+1)
				if v, ok := got[k]; ok && (v != float64(n) || lost[k] != "") {
					t.Fatalf("%s at %d: record %s came as %v, lost %q", tail, cut, k, v, lost[k])
				}
			}
			if _, err := os.ReadDir(filepath.Join(b.o.Dir, quarantineFolder)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamageCostsExactlyWhatItHit: facts/reliability.md E5.
func TestDamageCostsExactlyWhatItHit(t *testing.T) {
	const page = 4 << 10
	b := newBench(t, nil)
	b.mapping()
	epoch := b.Epoch()
	const records = 2500
	for i := range records {
		b.sample(float64(i) + 0.1)
	}
	b.close()
	names := b.segments()
	if len(names) < 3 {
		t.Fatalf("%d segments, want some", len(names))
	}
	original := b.o.Dir
	for i, name := range names {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := ParseSegmentID(filepath.Base(name))
		for kind, change := range map[string]func([]byte) ([]byte, int, int){
			"flipped bit": func(d []byte) ([]byte, int, int) { d[len(d)/2] ^= 4; return d, len(d) / 2, len(d)/2 + 1 },
			"first page":  func(d []byte) ([]byte, int, int) { clear(d[:page]); return d, 0, page },
			"later page":  func(d []byte) ([]byte, int, int) { clear(d[page : 2*page]); return d, page, 2 * page },
			"cut tail":    func(d []byte) ([]byte, int, int) { return d[:len(d)-len(d)/3], len(d) - len(d)/3, len(d) },
		} {
			if len(whole) < 3*page || i == len(names)-1 && kind == "cut tail" {
				continue // a record that nothing follows leaves no trace
			}
			data, from, to := change(slices.Clone(whole))
			b.o.Dir = t.TempDir()
			if err := os.CopyFS(b.o.Dir, os.DirFS(original)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(b.o.Dir, filepath.Base(name))
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			hit := map[string]bool{}
			for _, x := range examine(id, whole).index {
				if int(x.end) > from && int(x.off) < to {
					hit[key(epoch, x.number)] = true
				}
			}
			for range 2 { // the second start must not find the damage again
				b.open()
				quarantined := b.Stats().Quarantined
				got, lost := b.drain()
				if t.Failed() {
					return
				}
				for n := range uint64(records) {
					k := key(epoch, n+1)
					_, arrived := got[k]
					switch {
					case quarantined > 0 && hit[k] && lost[k] != telemetry.LossQuarantine:
						t.Errorf("%s in %d: %s was hit and not reported", kind, i, k)
					case quarantined > 0 && !hit[k] && !arrived:
						t.Errorf("%s in %d: %s was not hit and did not arrive", kind, i, k)
					}
				}
				if kind != "cut tail" && len(got) > 0 && quarantined == 0 {
					t.Errorf("%s in %d: not noticed", kind, i)
				}
				b.close()
			}
		}
	}
}

func TestUnreadableSegmentIsMovedAsideAndReported(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	for i := range 2500 {
		b.sample(float64(i))
	}
	b.close()
	names := b.segments()
	if err := os.WriteFile(names[1], bytes.Repeat([]byte("sampah "), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	got, lost := b.drain()
	if len(lost) == 0 || len(got)+len(lost) != 2500 {
		t.Errorf("%d arrived, %d lost, want 2,500 together", len(got), len(lost))
	}
	if kept, err := filepath.Glob(filepath.Join(b.o.Dir, quarantineFolder, "*")); err != nil || len(kept) != 1 {
		t.Errorf("quarantine: %v, %v", kept, err)
	}
}

func TestOneFsyncForManyRecords(t *testing.T) {
	b := newBench(t, func(o *Options) { o.SyncCount = 100 })
	b.mapping()
	b.flush()
	before := b.Stats().Syncs
	for i := range 1000 {
		b.sample(float64(i))
		if i%100 == 99 {
			b.flush()
		}
	}
	if n := b.Stats().Syncs - before; n < 10 || n > 30 {
		t.Errorf("%d fsyncs for 1,000 records, want about one per 100", n)
	}
}

func TestNothingIsSentBeforeItsFsync(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	b.flush()
	b.sample(1)
	if batch := b.Next(Live, 2*time.Minute, Limit{Records: 9, Bytes: 999}); batch.Run.Count > 0 {
		t.Errorf("sent %+v", batch.Run)
	}
	b.flush()
	if batch := b.Next(Live, 2*time.Minute, Limit{Records: 9, Bytes: 999}); batch.Run.Count != 1 {
		t.Errorf("not sent: %+v", batch.Run)
	}
}

func TestFullSpoolDropsTheOldestAndSaysSo(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quota = 8 * o.SegmentBytes })
	b.mapping()
	epoch := b.Epoch()
	const records = 8000
	for i := range records {
		b.sample(float64(i) + 0.5)
		if i%200 == 0 {
			b.flush()
		}
	}
	st := b.Stats()
	if st.Dropped == 0 || st.Bytes > b.o.Quota+b.o.SegmentBytes {
		t.Errorf("stats %+v", st)
	}
	if f := b.Epochs(); f[0].Lowest != 1 {
		t.Errorf("the floor passes records whose loss nobody knows yet: %v", f)
	}
	got, lost := b.drain()
	for n, v := range got {
		if lost[n] != "" {
			t.Errorf("%s is both %v and lost", n, v)
		}
	}
	if n := len(got) + len(lost); n < records || len(lost) == 0 || lost[key(epoch, 1)] != telemetry.LossQuota {
		t.Errorf("%d arrived, %d lost of %d", len(got), len(lost), records)
	}
}

// Below the floor of free space the spool stops to grow: what lies there stays, new
// records take the place of the oldest. With room again it grows.
func TestAFileSystemThatIsAlmostFullBoundsTheSpool(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	epoch := b.Epoch()
	fill := func(records int) {
		for i := range records {
			b.sample(float64(i) + 0.5)
			if i%200 == 0 {
				b.flush()
			}
		}
		b.flush()
	}
	fill(4000)
	before := b.Stats()
	b.close()
	b.o.FreeFloor = math.MaxInt64 // no disk has so much
	b.open()
	if st := b.Stats(); st.Records != before.Records || st.Full {
		t.Errorf("what lay there before: %+v, after: %+v", before, st)
	}
	b.mapping()
	fill(4000)
	st := b.Stats()
	if st.Dropped == 0 || st.Bytes > before.Bytes+2*b.o.SegmentBytes {
		t.Errorf("it grew from %d bytes: %+v", before.Bytes, st)
	}
	b.close()
	b.o.FreeFloor = -1
	b.open()
	b.mapping()
	fill(4000)
	if grown := b.Stats(); grown.Dropped != 0 || grown.Full || grown.Bytes <= st.Bytes {
		t.Errorf("with room again: %+v", grown)
	}
	got, lost := b.drain()
	if n := len(got) + len(lost); n < 12_000 || len(lost) == 0 || lost[key(epoch, 1)] != telemetry.LossQuota {
		t.Errorf("%d arrived, %d are reported as lost, of 12,000", len(got), len(lost))
	}
}

// The smallest quota that the gateway's settings take.
func TestSmallQuotaOpens(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quota, o.SegmentBytes = 256<<10, 0 })
	if b.Spool.o.SegmentBytes != 32<<10 {
		t.Errorf("segments of %d bytes", b.Spool.o.SegmentBytes)
	}
}

func TestFullSpoolRefusesNewAndSaysSo(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Quota, o.Policy = 8*o.SegmentBytes, RefuseNew })
	b.mapping()
	var refused []uint64
	for i := range 8000 {
		now := time.Duration(b.now.Add(int64(time.Second)))
		n, err := b.Append(Sample{Device: "udara", Boottime: now, Readings: []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(float64(i) + 0.5)}}})
		if errors.Is(err, ErrFull) {
			refused = append(refused, n)
		} else if err != nil {
			t.Fatal(err)
		}
		if i%200 == 0 {
			b.flush()
		}
	}
	if len(refused) == 0 || !b.Stats().Full {
		t.Fatalf("nothing refused: %+v", b.Stats())
	}
	epoch := b.Epoch()
	got, lost := b.drain()
	b.sample(7)
	more, moreLost := b.drain()
	for _, n := range refused {
		if k := key(epoch, n); got[k] != 0 || lost[k] != telemetry.LossQuota && moreLost[k] != telemetry.LossQuota {
			t.Fatalf("%s: refused, and not reported", k)
		}
	}
	if len(more) != 1 || b.Stats().Full {
		t.Errorf("with room again it takes %v, full %v", more, b.Stats().Full)
	}
}

func TestAnEarlierBootWithoutTimeIsReportedAndKeptForHandWork(t *testing.T) {
	b := newBench(t, nil)
	epoch := b.Epoch()
	for i := range 3 {
		b.sample(float64(i))
	}
	b.close()
	b.boot++
	b.now.Store(int64(time.Second))
	b.open()
	b.mapping()
	got, lost := b.drain()
	if len(got) != 0 || len(lost) != 3 || lost[key(epoch, 2)] != telemetry.LossNoClock || b.Stats().NoClock != 3 {
		t.Errorf("got %v, lost %v, %+v", got, lost, b.Stats())
	}
	text, err := os.ReadFile(filepath.Join(b.o.Dir, noClockFile))
	if err != nil || strings.Count(string(text), "\tudara\tpm2_5\t") != 3 {
		t.Errorf("%s, %v", text, err)
	}
	b.close()
	b.open()
	if st := b.Stats(); st.NoClock != 0 || st.Records != 0 {
		t.Errorf("told twice: %+v", st)
	}
}

func TestLiveLaneIsThisBootAndFiveMinutes(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	limit := Limit{Records: 1000, Bytes: 1 << 20}
	old := b.sample(1)
	b.now.Add(int64(LiveAge))
	b.sample(2)
	b.flush()
	now := time.Duration(b.now.Load())
	if batch := b.Next(Live, now, limit); batch.Run.First != old+1 || batch.Run.Backlog {
		t.Errorf("live %+v", batch.Run)
	}
	if batch := b.Next(Backlog, now, limit); batch.Run.First != old || batch.Run.Count != 1 || !batch.Run.Backlog {
		t.Errorf("backlog %+v", batch.Run)
	}
	// A restart of the process within the boot changes nothing; a reboot does.
	b.close()
	b.open()
	if batch := b.Next(Live, now, limit); batch.Run.First != old+1 {
		t.Errorf("after a restart: live %+v", batch.Run)
	}
	b.close()
	b.boot++
	b.now.Store(int64(time.Second))
	b.open()
	if batch := b.Next(Live, time.Second, limit); batch.Run.Count != 0 {
		t.Errorf("after a reboot: live %+v", batch.Run)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	b := newBench(t, nil)
	if s, err := Open(b.o); err == nil {
		t.Error(s.Close())
	}
}

func TestFlushEndsWithItsContext(t *testing.T) {
	b := newBench(t, nil)
	b.sample(1)
	b.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s, err := Open(b.o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Append(Sample{Device: "a", Readings: []telemetry.Reading{{Quantity: "x"}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := s.Append(Sample{Device: "a", Readings: []telemetry.Reading{{Quantity: "x"}}}); err != nil {
		t.Error(err)
	}
}

// A gateway that is switched off while it waits to try a failed write again has
// no later: the closing tries at once.
func TestCloseDoesNotWaitToTryAgain(t *testing.T) {
	b := newBench(t, nil)
	b.mapping()
	b.sample(1)
	b.flush()
	epoch := b.Epoch()
	n := b.sample(2)
	b.mu.Lock()
	for _, f := range b.disk.files { // the disk is gone for one attempt
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	b.core.Flush(b.o.Boottime())
	b.core.Tick(b.o.Boottime())
	b.apply()
	b.sync()
	if b.core.Clean() {
		t.Error("the write did not fail")
	}
	clear(b.disk.files)
	b.mu.Unlock()
	b.close()
	b.open()
	if got, lost := b.drain(); got[key(epoch, n)] != 2 {
		t.Errorf("the record came as %v, lost %v", got, lost)
	}
}

func FuzzSegment(f *testing.F) {
	id := SegmentID{Seq: 3, Epoch: 9, Boot: clock.BootID{1}, Base: 1}
	good := appendFrame(nil, 3, appendContext(nil, id, id.Boot))
	good = appendFrame(good, 3, appendShape(nil, 0, shape{"udara", []string{"pm2_5", "pm10"}}))
	good = appendFrame(good, 3, appendMapping(nil, clock.Mapping{Boot: id.Boot, Ordinal: 1, Offset: 1764000000000, Quality: telemetry.TimeNTP}))
	for n := range uint64(3) {
		h := head{kind: kindSample, number: n + 1, time: int64(n) * 1000, ordinal: 1}
		good = appendFrame(good, 3, appendSample(nil, id, h, 0, []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(1.5), Count: 3, Min: 1, Max: 2}, {Quantity: "pm10", Gap: telemetry.GapBus}}))
	}
	good = appendFrame(good, 3, appendLoss(nil, id, head{kind: kindLoss, number: 4}, telemetry.Loss{Epoch: 8, From: 1, To: 5, Reason: telemetry.LossQuota}))
	good = appendFrame(good, 3, appendAcks(nil, 9, Spans{{1, 2}}))
	f.Add(good, 0, byte(0))
	f.Add(good, 40, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, b byte) {
		data = slices.Clone(data)
		if len(data) > 0 {
			data[uint(at)%uint(len(data))] ^= b
		}
		covered := 0
		scan(data, id.Seq, func(s stretch) {
			if s.off != covered || s.end <= s.off {
				t.Fatalf("stretch %d-%d after %d", s.off, s.end, covered)
			}
			covered = s.end
		})
		if covered != len(data) {
			t.Fatalf("%d of %d bytes looked at", covered, len(data))
		}
		// Whatever lies on the card, the core starts, drains and keeps its order.
		c := NewCore(CoreOptions{Epoch: 10, Boot: clock.BootID{2}, Quota: 1 << 20, SegmentBytes: 1 << 12, SyncEvery: time.Second, SyncCount: 10})
		c.Recover(id, data)
		c.Start(time.Second)
		for range 100 {
			c.Tick(time.Hour)
			for _, op := range c.Take() {
				switch op.Kind {
				case OpWrite:
					c.Written(op.Segment, op.Off, op.Off+int64(len(op.Data)))
				case OpSync:
					c.Synced(op.Segment, op.To)
				}
			}
			if id, ok := c.Wants(); ok {
				c.Load(id, data, time.Second)
				continue
			}
			for _, lane := range []Lane{Live, Backlog} {
				batch := c.Next(lane, time.Hour, Limit{Records: 10, Bytes: 4096})
				if batch.Run.Count > 0 {
					if batch.Run.Floor > batch.Run.First {
						t.Fatalf("run %+v", batch.Run)
					}
					c.Ack(batch.Run.Epoch, batch.Run.First, batch.Run.First+batch.Run.Count-1)
				}
			}
		}
	})
}

// BenchmarkAppend prints what a reading costs on the card. "single" is one
// value as a chip gives it; "mean" has count, minimum, maximum and a mean with
// all its digits.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name     string
		readings int
		mean     bool
	}{{"single/1", 1, false}, {"single/10", 10, false}, {"mean/1", 1, true}, {"mean/10", 10, true}} {
		b.Run(c.name, func(b *testing.B) {
			s := newBench(b, func(o *Options) { o.SegmentBytes, o.SyncCount, o.SyncEvery = 128<<10, 256, time.Second })
			s.mapping()
			readings := make([]telemetry.Reading, c.readings)
			start := s.Stats()
			b.ReportAllocs()
			for i := range b.N {
				for j := range readings {
					v := math.Round(float64(i%997)*float64(j+3)*1.7) / 10
					readings[j] = telemetry.Reading{Quantity: fmt.Sprintf("q%d", j), Value: telemetry.Num(v)}
					if c.mean {
						readings[j].Value = telemetry.Num(v + 1.0/3)
						readings[j].Count, readings[j].Min, readings[j].Max = 60, v, v+0.7
					}
				}
				if _, err := s.Append(Sample{Device: "udara", Boottime: time.Duration(s.now.Add(int64(time.Second))), Readings: readings}); err != nil {
					b.Fatal(err)
				}
			}
			s.flush()
			st := s.Stats()
			n := float64(b.N * c.readings)
			b.ReportMetric(float64(st.Written-start.Written)/n, "card-B/reading")
			b.ReportMetric(float64(st.Syncs-start.Syncs)/float64(b.N), "fsync/record")
		})
	}
}
