package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var _ Journal = (*journal.Journal)(nil)

// The real journal, the real database: what was acknowledged before a restart
// and after it is stored once, and the journal is freed behind it.
func TestWithTheRealJournal(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	db := testDatabase(t)
	ctx := t.Context()
	var sent strings.Builder
	submit := func(j *journal.Journal, packets ...*envelope.Packet) {
		t.Helper()
		var acknowledged sync.WaitGroup
		for _, p := range packets {
			acknowledged.Add(1)
			j.Submit(*p, func(err error) {
				if err != nil {
					t.Error(err)
				}
				acknowledged.Done()
			})
		}
		acknowledged.Wait()
	}
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	started := time.Now()
	number := uint64(0)
	for round := range 3 {
		j, err := journal.Open(ctx, journal.Options{Dir: dir, MaxBytes: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		letters, err := j.KV(ctx, "deadletters", journal.KVOptions{})
		if err != nil {
			t.Fatal(err)
		}
		in, err := New(Options{Journal: j, StateDir: state, Influx: db, DeadLetters: letters, Now: func() time.Time { return noon.Add(time.Since(started)) },
			Logger: slog.New(slog.DiscardHandler), JournalUsage: func() (int64, int64) { return 1, 1 }})
		if err != nil {
			t.Fatal(err)
		}
		if err := in.Start(ctx); err != nil {
			t.Fatal(err)
		}
		s := &stage{Ingest: in, t: t, db: db}
		g.session, g.clock.Counter, g.at = uint64(round+1), uint32(round+1), s.o.Now()
		packets := []*envelope.Packet{g.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: number + 1})}
		for range 200 {
			number++
			at := noon.Add(time.Duration(number%50) * time.Second) // each minute under three clocks, and more than once
			packets = append(packets, g.data(number, 1, false, rec(at, "air", "pm2_5", int(number))))
			if number%50 == 0 {
				g.clock.Counter += 10 // a clock id never holds one millisecond twice
			}
			for _, kind := range []byte("SA") {
				sent.WriteString(sentLine(kind, number, "air", "pm2_5", at, number))
			}
		}
		submit(j, packets...)
		if round == 1 { // this time nobody waits: the next round finds what is left
			if err := in.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		} else {
			_, last, err := j.Bounds(ctx)
			if err != nil {
				t.Fatal(err)
			}
			s.stored(last)
			report, err := in.Verify(ctx, strings.NewReader(sent.String()))
			if err != nil || report.Stored != number || !report.OK() {
				t.Errorf("round %d: %+v, %v", round, report, err)
			}
			if l := in.Ledger(); l.Stored != number || l.Missing != 0 {
				t.Errorf("round %d: ledger %+v, want %d", round, l, number)
			}
			s.until("latest has come that far", func() bool { return in.head.seq.Load() >= last })
			if err := in.head.checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := in.Purge(ctx); err != nil {
				t.Fatal(err)
			}
			if first, _, _ := j.Bounds(ctx); first < last {
				t.Errorf("round %d: the journal begins at %d, all is stored up to %d", round, first, last)
			}
			if err := in.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if err := j.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	got := 0
	if err := db.Points(ctx, influx.Span{Node: gw, Kinds: []telemetry.Kind{telemetry.KindAir}}, func(*influx.Point) error { got++; return nil }); err != nil || got != int(number) {
		t.Errorf("%d points, want %d: %v", got, number, err)
	}
}

// When the dead letters are full the store stands, says why, and goes on by
// itself once an operator has made room.
func TestFullDeadLettersStopTheStore(t *testing.T) {
	s := newStage(t, func(o *Options) { o.DeadLetterBytes = 40 << 10 })
	var last uint64
	stands := func() bool {
		return strings.Contains(s.Status(t.Context()).Readers[0].Problem, "quota")
	}
	for n := range 100 {
		g := newSender(telemetry.Node{Group: "3374", ID: fmt.Sprintf("gw-%d", n)}, uint64(n+1), noon, 7, def(1, "air/pm2_5"))
		var packets []*envelope.Packet
		for k := range 10 {
			packets = append(packets, g.data(uint64(k+1), 1, false, rec(noon, "air", "pm2_5", 1)))
		}
		last = s.put(entry(packets...))
	}
	s.until("the store stands", stands)
	if s.storing.durable.Load() >= last {
		t.Fatal("the checkpoint passed a letter that was not kept")
	}
	for s.storing.durable.Load() < last {
		letters, err := s.DeadLetters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range letters {
			if err := s.DropDeadLetter(t.Context(), l.Key); err != nil {
				t.Fatal(err)
			}
		}
		s.until("it goes on", func() bool { return s.storing.durable.Load() >= last || stands() })
	}
	if l := s.Ledger(); l.DeadLetters != 1000 || l.Missing != 0 {
		t.Errorf("every record is named: %+v", l)
	}
}
