package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// stage is an ingest with a journal in memory and a real database.
type stage struct {
	*Ingest
	t       testing.TB
	journal *memJournal
	letters *memKV
	db      *influx.Client
	dir     string
	opts    Options
}

func newStage(t testing.TB, change func(*Options)) *stage {
	t.Helper()
	s := &stage{t: t, journal: newMemJournal(), letters: &memKV{}, dir: t.TempDir()}
	started := time.Now()
	s.opts = Options{Journal: s.journal, StateDir: s.dir, DeadLetters: s.letters, Now: func() time.Time { return noon.Add(time.Since(started)) }, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&s.opts)
	}
	if s.opts.Influx == nil {
		s.db = testDatabase(t)
		s.opts.Influx = s.db
	}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *stage) start() {
	s.t.Helper()
	var err error
	if s.Ingest, err = New(s.opts); err != nil {
		s.t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) stop() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) put(body []byte) uint64 {
	seq, err := s.journal.Append(context.Background(), body)
	if err != nil {
		s.t.Fatal(err)
	}
	return seq
}

// stored waits until the store's checkpoint has reached seq.
func (s *stage) stored(seq uint64) {
	s.t.Helper()
	s.until("the store has come that far", func() bool { return s.storing.durable.Load() >= seq })
}

// until polls for a state that other goroutines bring about.
func (s *stage) until(what string, is func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for !is() {
		if !wait(ctx, 5*time.Millisecond) {
			s.t.Fatalf("%s: not within a minute; status %+v", what, s.Status(context.Background()))
		}
	}
}

func (s *stage) points(span influx.Span) []influx.Point {
	s.t.Helper()
	var out []influx.Point
	if err := s.db.Points(context.Background(), span, func(p *influx.Point) error {
		q := *p
		q.Readings = slices.Clone(p.Readings)
		out = append(out, q)
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	return out
}

func TestFromJournalToDatabaseLedgerAndLatest(t *testing.T) {
	s := newStage(t, nil)
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "air/pm10"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := s.Watch(ctx)
	if first := <-watch; len(first.Values) != 0 {
		t.Errorf("nothing came yet: %+v", first)
	}
	g.at = s.opts.Now()
	last := s.put(entry(g.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1}), g.data(1, 1, false,
		rec(noon, "air", "pm2_5", 10, "pm10", 20), rec(noon.Add(time.Second), "air", "pm2_5", 11, "pm10", telemetry.GapNoAnswer))))
	change := <-watch
	for len(change.Values) < 2 {
		change = <-watch
	}
	if v := change.Values[0]; v.Quantity != "pm10" || v.Gap != telemetry.GapNoAnswer || v.Good.Number != 20 || !v.Simulated {
		t.Errorf("pm10 now: %+v", v)
	}
	if n := change.Nodes[0]; n.Status != Online || n.Version != "test" || n.Clock != telemetry.TimeNTP {
		t.Errorf("node: %+v", n)
	}
	s.stored(last)
	got := s.points(influx.Span{Node: gw, Kinds: []telemetry.Kind{telemetry.KindAir}})
	if len(got) != 2 || got[0].Readings[0].Value.Number != 20 || got[1].Readings[0].Gap != telemetry.GapNoAnswer {
		t.Errorf("in the database: %+v", got)
	}
	if l := s.Ledger(); l.Expected != 2 || l.Stored != 2 || l.Gaps != 1 || l.Missing != 0 {
		t.Errorf("ledger: %+v", l)
	}
	s.until("the hour is computed", func() bool {
		rows, err := s.db.Rows(context.Background(), influx.Hours, influx.Span{Node: gw})
		days, err2 := s.db.Rows(context.Background(), influx.Days, influx.Span{Node: gw})
		return err == nil && err2 == nil && len(rows) == 2 && len(days) == 2 && rows[1].Mean == 10.5 && days[1].Valid == 2
	})
	cancel()
	for range watch { // it closes
	}
}

// gate is a database that can be made to fail where a process could die.
type gate struct {
	*influx.Client
	mu     sync.Mutex
	before func(lines []byte) error // instead of the write
	after  func(lines []byte) error // after a write that the database took
}

func (g *gate) Write(ctx context.Context, b influx.Bucket, lines []byte) error {
	g.mu.Lock()
	before, after := g.before, g.after
	g.mu.Unlock()
	if before != nil && b == influx.Raw {
		if err := before(lines); err != nil {
			return err
		}
	}
	err := g.Client.Write(ctx, b, lines)
	if err == nil && after != nil && b == influx.Raw {
		return after(lines)
	}
	return err
}

// P2: killed between the write and its checkpoint, the reader writes the same
// points again, and each reading is there once.
func TestKilledBetweenWriteAndCheckpoint(t *testing.T) {
	db := testDatabase(t)
	g := &gate{Client: db}
	s := newStage(t, func(o *Options) { o.Influx = g })
	s.db = db
	gateway := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	var written sync.WaitGroup
	written.Add(1)
	var once sync.Once
	g.mu.Lock()
	g.after = func([]byte) error { // the answer never arrives, and then the process dies
		once.Do(written.Done)
		return &influx.UnavailableError{Err: errKilled}
	}
	g.mu.Unlock()
	s.put(entry(gateway.nbirth(), gateway.data(1, 1, false, rec(noon, "air", "pm2_5", 1))))
	gateway.clock.Counter = 2
	last := s.put(entry(gateway.data(2, 1, false, rec(noon, "air", "pm2_5", 2))))
	written.Wait()
	s.stop()
	if s.storing.durable.Load() >= last {
		t.Fatal("the checkpoint passed a write without an answer")
	}
	g.mu.Lock()
	g.after = nil
	g.mu.Unlock()
	s.start()
	s.stored(last)
	got := s.points(influx.Span{Node: gw})
	if len(got) != 2 || got[0].Readings[0].Value.Number != 1 || got[1].Readings[0].Value.Number != 2 || got[1].Time != got[0].Time+1 {
		t.Errorf("want both once: %+v", got)
	}
	if l := s.Ledger(); l.Expected != 2 || l.Stored != 2 || l.Missing != 0 {
		t.Errorf("ledger: %+v", l)
	}
}

// E8, test 4: one point that the database refuses becomes one dead letter; all
// others of its batch are stored, and a retry brings it in once its conflict is
// gone.
func TestARefusedPointStandsAlone(t *testing.T) {
	db := testDatabase(t)
	if _, err := db.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Somebody has written a text where our number belongs: this shard refuses it.
	if err := db.Write(t.Context(), influx.Raw, fmt.Appendf(nil, "waste,gateway=x fill=\"half\" %d\n", noon.UnixNano())); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, func(o *Options) { o.Influx = db })
	s.db = db
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "bin/fill"))
	packets := []*envelope.Packet{g.nbirth()}
	for n := uint64(1); n <= 100; n++ {
		r := rec(noon.Add(time.Duration(n)*time.Second), "air", "pm2_5", int(n))
		if n == 57 {
			r = rec(noon.Add(time.Duration(n)*time.Second), "bin", "fill", 50)
		}
		packets = append(packets, g.data(n, 1, false, r))
	}
	s.stored(s.put(entry(packets...)))
	if got := s.points(influx.Span{Node: gw}); len(got) != 99 {
		t.Errorf("%d points stored, want 99", len(got))
	}
	letters, err := s.DeadLetters(t.Context())
	if err != nil || len(letters) != 1 || letters[0].Reason != ReasonRefused || letters[0].Numbers[0] != [2]uint64{57, 57} {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	if l := s.Ledger(); l.Stored != 99 || l.DeadLetters != 1 || l.Missing != 0 {
		t.Errorf("ledger %+v", l)
	}
	if holes := s.LedgerHoles(gw); len(holes) != 1 || holes[0].From != 57 || holes[0].Status != "dead_letter" {
		t.Errorf("the gap report says %+v", holes)
	}
	key := letters[0].Key
	whole, err := s.DeadLetter(t.Context(), key)
	if err != nil || len(whole.Payload) == 0 || whole.Birth == nil || !strings.Contains(whole.Lines[0], "fill=50") {
		t.Errorf("letter %+v, %v", whole, err)
	}
	if err := s.RetryDeadLetter(t.Context(), key); err == nil || !strings.Contains(err.Error(), "field type conflict") {
		t.Errorf("retry while the conflict lasts: %v", err)
	}
	if letters, _ := s.DeadLetters(t.Context()); len(letters) != 1 {
		t.Errorf("it is still a letter: %+v", letters)
	}
	// The operator removes what is in the way; a busy InfluxDB may keep the field's
	// type when its last point goes, and loses it when it is dropped again.
	s.until("the letter goes in once its conflict is gone", func() bool {
		dropMeasurement(t, s, "waste")
		return s.RetryDeadLetter(t.Context(), key) == nil
	})
	if letters, _ := s.DeadLetters(t.Context()); len(letters) != 0 {
		t.Errorf("letters left: %+v", letters)
	}
	if got := s.points(influx.Span{Node: gw}); len(got) != 100 {
		t.Errorf("%d points stored, want 100", len(got))
	}
	if l := s.Ledger(); l.Stored != 100 || l.DeadLetters != 0 || l.Missing != 0 {
		t.Errorf("ledger %+v", l)
	}
}

// Data before their birth wait as a letter; their node is asked for a birth, and
// with it a retry succeeds.
// [tck-id-operational-behavior-data-commands-ncmd-verb]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-verb]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-name]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-value]
func TestDataWithoutABirth(t *testing.T) {
	asked := make(chan string, 10)
	s := newStage(t, func(o *Options) {
		o.Command = func(topic string, payload []byte) error {
			var p sparkplug.Payload
			if err := sparkplug.Decode(payload, &p); err != nil || string(p.Metrics[0].Name) != sparkplug.MetricRebirth || p.Metrics[0].Value.Bits != 1 {
				t.Errorf("asked with %x: %v", payload, err)
			}
			asked <- topic
			return nil
		}
	})
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	data := g.data(1, 1, false, rec(noon, "air", "pm2_5", 10))
	old := g.data(2, 1, false, rec(noon, "air", "pm2_5", 10))
	old.Client, old.Topic, old.Received = "3374/gw-2", "spBv1.0/3374/NDATA/gw-2", noon.Add(-time.Hour).UnixNano()
	s.put(entry(old, data, data))
	if topic := <-asked; topic != "spBv1.0/3374/NCMD/gw-1" {
		t.Errorf("asked %s", topic)
	}
	s.stored(s.put(entry(g.nbirth())))
	if len(asked) > 0 {
		t.Error("asked more than once, or because of an old message")
	}
	letters, err := s.DeadLetters(t.Context())
	if err != nil || len(letters) != 3 || letters[1].Reason != ReasonNoBirth || letters[1].Node != gw {
		t.Fatalf("letters %+v, %v", letters, err)
	}
	if status, _ := s.storing.accounts.Ledger.Status(gw, 7, 1); status != DeadLetter {
		t.Errorf("record 1 is %v", status)
	}
	if err := s.RetryDeadLetter(t.Context(), letters[1].Key); err != nil {
		t.Fatal(err)
	}
	if got := s.points(influx.Span{Node: gw}); len(got) != 1 {
		t.Errorf("stored %+v", got)
	}
	if err := s.RetryDeadLetter(t.Context(), letters[0].Key); !errors.Is(err, errNoBirth) {
		t.Errorf("retry of what never got a birth: %v", err)
	}
	if err := s.DropDeadLetter(t.Context(), letters[0].Key); err != nil {
		t.Error(err)
	}
}

// A database that is away holds up the store and nothing else.
func TestDatabaseAway(t *testing.T) {
	db := testDatabase(t)
	g := &gate{Client: db, before: func([]byte) error { return &influx.UnavailableError{Err: errors.New("away")} }}
	s := newStage(t, func(o *Options) { o.Influx = g })
	s.db = db
	gateway := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	last := s.put(entry(gateway.nbirth(), gateway.data(1, 1, false, rec(noon, "air", "pm2_5", 1))))
	s.until("the latest value is there", func() bool { return len(s.Latest().Values) == 1 })
	s.until("the status says why", func() bool {
		r := s.Status(t.Context()).Readers[0]
		return r.Name == "store" && strings.Contains(r.Problem, "away")
	})
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, _, _ := s.journal.Bounds(t.Context()); first != 1 {
		t.Errorf("H14: the journal begins at %d, though the store has not passed anything", first)
	}
	g.mu.Lock()
	g.before = nil
	g.mu.Unlock()
	s.stored(last)
	if got := s.points(influx.Span{Node: gw}); len(got) != 1 {
		t.Errorf("stored %+v", got)
	}
	if r := s.Status(t.Context()).Readers[0]; r.Problem != "" {
		t.Errorf("the alarm goes on: %+v", r)
	}
}

// logBuffer is a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// P7: a damaged checkpoint is set aside, and all is as it was.
func TestDamagedCheckpoints(t *testing.T) {
	for _, name := range []string{"births", "store", "head"} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
			first := s.put(entry(g.nbirth(), g.data(1, 1, false, rec(noon, "air", "pm2_5", 1))))
			g.clock.Counter = 2
			s.stored(s.put(entry(g.nbirth(), g.data(2, 1, false, rec(noon, "air", "pm2_5", 2)))))
			s.until("latest has come that far", func() bool { return s.head.seq.Load() >= s.storing.durable.Load() })
			s.stop()
			// The journal no longer holds the clock's first use.
			if err := s.journal.Purge(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(s.dir, name+".db")
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if name == "store" {
				whole = whole[:len(whole)/2] // cut short
			} else {
				for i := len(whole) / 8; i < len(whole); i += 97 {
					whole[i] ^= 0x10
				}
			}
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			var log logBuffer
			s.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s.start()
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 || !strings.Contains(log.String(), "damaged") {
				t.Errorf("set aside: %v; log: %s", aside, log.String())
			}
			g.clock.Counter = 3
			g.session = 2 // with the server its connections went
			s.stored(s.put(entry(g.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 3}), g.data(3, 1, false, rec(noon, "air", "pm2_5", 3)))))
			got := s.points(influx.Span{Node: gw, Kinds: []telemetry.Kind{telemetry.KindAir}})
			if len(got) != 3 {
				t.Errorf("want each reading once: %+v", got)
			}
			if len(got) == 3 && (got[1].Time != got[0].Time+1 || got[2].Time != got[0].Time+2) {
				t.Errorf("the clock ids lost their numbers: %+v", got)
			}
			if l := s.Ledger(); name != "store" && (l.Stored != 3 || l.Missing != 0) || l.DeadLetters != 0 {
				t.Errorf("ledger %+v", l)
			}
		})
	}
}

func TestPurgeKeepsADayWhileThereIsRoom(t *testing.T) {
	used := int64(10)
	s := newStage(t, func(o *Options) { o.JournalUsage = func() (int64, int64) { return used, 100 } })
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	s.until("the first tick is there", func() bool { _, last, _ := s.journal.Bounds(t.Context()); return last == 1 })
	var last uint64
	for n := range 60 { // hourly, from 50 h ago to 9 h ahead of noon
		g.at = noon.Add(time.Duration(n-50) * time.Hour)
		last = s.put(entry(g.nbirth(), g.data(uint64(n+1), 1, false, rec(g.at, "air", "pm2_5", n))))
	}
	s.stored(last)
	s.until("latest has come that far", func() bool { return s.head.seq.Load() >= last })
	if err := s.head.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, _, _ := s.journal.Bounds(t.Context()); first != 29 { // entry 28 was received 24 h before noon
		t.Errorf("the journal begins at %d, want 29", first)
	}
	used = 60
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first, end, _ := s.journal.Bounds(t.Context()); first != end+1 && first <= last {
		t.Errorf("more than half full: the journal begins at %d, want beyond %d", first, last)
	}
	if n := s.births.Len(); n > 2 {
		t.Errorf("%d births are kept of one session", n)
	}
}

// A node that sends nonsense without end fills its own share of the dead
// letters and no more.
func TestDeadLettersHaveShares(t *testing.T) {
	s := newStage(t, func(o *Options) { o.DeadLetterBytes = 64 << 10 })
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	var last uint64
	n := uint64(0)
	for range 20 {
		var packets []*envelope.Packet
		for range 10 {
			n++
			packets = append(packets, g.data(n, 1, false, rec(noon, "air", "pm2_5", 1)))
		}
		last = s.put(entry(packets...))
	}
	s.stored(last)
	status := s.Status(t.Context())
	if status.LetterBytes > 8<<10 {
		t.Errorf("one node fills %d bytes of %d", status.LetterBytes, status.LetterQuota)
	}
	l := s.Ledger()
	if l.Missing != 0 || l.DeadLetters == 0 || l.LostBy[LossLimit] == 0 || l.DeadLetters+l.Lost != 200 {
		t.Errorf("every record is named: %+v", l)
	}
}

func TestOptionsSayWhatIsMissing(t *testing.T) {
	if _, err := New(Options{Journal: newMemJournal()}); err == nil || !strings.Contains(err.Error(), "StateDir") {
		t.Errorf("got %v", err)
	}
}
