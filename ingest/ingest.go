package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/quality"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Database is what ingest needs of InfluxDB; *influx.Client is one. The errors
// of the writes are those of package influx.
type Database interface {
	Prepare(ctx context.Context) (influx.Info, error)
	Write(ctx context.Context, b influx.Bucket, lines []byte) error
	WriteRows(ctx context.Context, b influx.Bucket, rows []influx.Row) error
	Points(ctx context.Context, s influx.Span, fn func(*influx.Point) error) error
	Rows(ctx context.Context, b influx.Bucket, s influx.Span) ([]influx.Row, error)
	Erase(ctx context.Context, n telemetry.Node) error
	LongestWrite() time.Duration
}

var _ Database = (*influx.Client)(nil)

// Options say what ingest works with. Journal, StateDir, Influx and DeadLetters
// have no default.
type Options struct {
	Journal     Journal
	StateDir    string // checkpoints: StateDir/store.db, head.db, births.db
	Influx      Database
	DeadLetters KV
	// DeadLetterBytes is the quota of dead letters; default 64 MiB. When it is used
	// up the store stands.
	DeadLetterBytes int64
	// Command publishes to a node (rebirth requests); nil: none are sent.
	Command func(topic string, payload []byte) error
	// JournalUsage returns how full the journal is, in bytes. Below half of the
	// quota its last 24 hours are kept although all readers have passed them; nil:
	// they are not.
	JournalUsage func() (used, quota int64)
	// Followers follow the journal's head beside the latest values.
	Followers []Follower
	// HoursWritten hears which hours of a node, of one day and over by then, have new
	// rows. It must make that durable before it returns nil: only then is the node's
	// own mark cleared; after an error the hours are computed again. nil: nobody
	// listens.
	HoursWritten func(ctx context.Context, hours []NodeHour) error
	// Now and Synced are the server's clock and whether it is synchronised. Default
	// time.Now and true.
	Now        func() time.Time
	Synced     func() bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not shown
	// Holes is for the simulation only.
	Holes Holes
}

func (o *Options) complete() error {
	for _, missing := range []struct {
		name string
		is   bool
	}{{"Journal", o.Journal == nil}, {"StateDir", o.StateDir == ""}, {"Influx", o.Influx == nil}, {"DeadLetters", o.DeadLetters == nil}} {
		if missing.is {
			return fmt.Errorf("ingest option %s is empty", missing.name)
		}
	}
	if o.DeadLetterBytes < 0 {
		return fmt.Errorf("ingest option DeadLetterBytes is %d: want 0 (the default) or more", o.DeadLetterBytes)
	}
	if o.DeadLetterBytes == 0 {
		o.DeadLetterBytes = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = func() bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

// Ingest reads the journal for as long as it runs: into the database, into the
// latest values, and to those who follow them.
type Ingest struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	births  *birthKeeper
	storing *storing
	latest  *latestKeeper
	head    *head
	worker  *worker

	stack    lifecycle.Stack
	stopped  chan struct{}
	stopOnce sync.Once
	started  time.Time
	session  uint64 // of this process, for ticks
}

// New opens the checkpoints. Nothing runs before Start; Stop closes what New
// opened, too.
func New(o Options) (*Ingest, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	i := &Ingest{o: o, log: o.Logger, stopped: make(chan struct{}), session: rand.Uint64() | 1}
	i.metrics = newMetrics(i, o.Registerer)
	i.births = &birthKeeper{Births: NewBirths(o.Holes)}
	ctx := context.Background()
	err := i.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open ingest: %w", err), i.stack.Close(ctx))
	}
	return i, nil
}

func (i *Ingest) open(ctx context.Context) error {
	file, opened, err := i.openCheckpoint("births", i.births.Load)
	if err != nil {
		return err
	}
	i.births.file = file
	i.stack.Add("the births' checkpoint", func(context.Context) error { return errors.Join(i.births.flush(), file.Close()) })
	if i.storing, err = i.newStoring(ctx); err != nil {
		return err
	}
	i.stack.Add("the store's checkpoint", func(context.Context) error { return i.storing.file.Close() })
	i.worker = newWorker(i, i.storing)
	i.latest = newLatestKeeper(i)
	if i.head, err = i.newHead(append([]Follower{i.latest.follower()}, i.o.Followers...)...); err != nil {
		return err
	}
	i.stack.Add("the head's checkpoint", func(context.Context) error { return i.head.file.Close() })
	furthest := max(i.storing.file.Seq(), i.head.file.Seq())
	if opened.Fresh && furthest > 0 {
		var clocks checkpoint.Delta
		i.storing.store.clockRows(&clocks)
		if err := i.births.flush(clocks); err != nil {
			return err
		}
		i.log.Warn("the table of births is new but readers stand further on: reading the births that the journal still holds")
		return i.relearn(ctx, furthest)
	}
	return nil
}

// Start sets everything going. It does not wait for the database: until that
// answers, the store reader stands and all else runs.
func (i *Ingest) Start(context.Context) error {
	i.started = time.Now()
	// The newest entry stops first: what feeds before what is fed.
	i.stack.Go("settling batches", i.storing.settle)
	i.stack.Go("reading into the store", i.storing.gather)
	i.stack.Go("computing hours", i.worker.run)
	i.stack.Go("reading at the head", i.head.run)
	i.stack.Go("purging the journal", i.purgeLoop)
	i.stack.Go("preparing the database", i.prepare)
	i.stack.Go("ticking", i.tickLoop)
	return nil
}

// Stop ends everything, newest first, with a last checkpoint. It may be called
// twice.
func (i *Ingest) Stop(ctx context.Context) error {
	i.stopOnce.Do(func() { close(i.stopped) })
	return i.stack.Close(ctx)
}

// prepare makes the buckets, as soon as the database answers.
func (i *Ingest) prepare(ctx context.Context) {
	for backoff := newBackoff(); ctx.Err() == nil; {
		info, err := i.o.Influx.Prepare(ctx)
		if err == nil {
			i.log.Info("the database answers", "version", info.Version)
			return
		}
		pause := backoff.next()
		i.log.Warn("the database is not ready; readings wait in the journal", "error", err, "again_in", pause)
		if !wait(ctx, pause) {
			return
		}
	}
}

// tickLoop puts a tick into the journal every TickEvery, the first at once.
func (i *Ingest) tickLoop(ctx context.Context) {
	t := time.NewTicker(TickEvery)
	defer t.Stop()
	for {
		body := envelope.AppendTick(nil, envelope.Tick{
			Time: i.o.Now().UnixNano(), Uptime: int64(time.Since(i.started)), Synced: i.o.Synced(), Session: i.session,
		})
		if _, err := i.o.Journal.Append(ctx, body); err != nil && ctx.Err() == nil {
			i.log.Warn("no tick in the journal: silence is judged later", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// How often and how far the journal is purged.
const (
	purgeEvery = time.Minute
	keepFor    = 24 * time.Hour
)

func (i *Ingest) purgeLoop(ctx context.Context) {
	t := time.NewTicker(purgeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := i.Purge(ctx); err != nil && ctx.Err() == nil {
			i.log.Warn("the journal is not purged", "error", err)
		}
	}
}

// Purge frees what every reader has passed, by its durable checkpoint, and
// forgets births that none can need. It runs every minute by itself.
func (i *Ingest) Purge(ctx context.Context) error {
	upTo := min(i.storing.durable.Load(), i.head.durable.Load())
	if i.o.Holes.PurgeAtHead {
		upTo = i.head.seq.Load()
	}
	i.births.Prune(upTo)
	if err := i.births.flush(); err != nil {
		return err
	}
	if i.o.JournalUsage != nil {
		if used, quota := i.o.JournalUsage(); used < quota/2 {
			old, err := i.lastBefore(ctx, i.o.Now().Add(-keepFor).UnixNano())
			if err != nil {
				return err
			}
			upTo = min(upTo, old)
		}
	}
	first, _, err := i.o.Journal.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("ask for the journal's bounds: %w", err)
	}
	if upTo < first {
		return nil
	}
	return i.o.Journal.Purge(ctx, upTo)
}

var errEnough = errors.New("enough was read")

// lastBefore finds the last entry that was received before a time, by halving:
// entries lie in the order of their receipt, give or take a clock's step.
func (i *Ingest) lastBefore(ctx context.Context, at int64) (uint64, error) {
	first, last, err := i.o.Journal.Bounds(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the journal's bounds: %w", err)
	}
	low, high := first, last+1 // entries below low are older, those from high on are not
	for low < high {
		middle := low + (high-low)/2
		var received int64
		err := i.o.Journal.Read(ctx, middle-1, func(_ uint64, body []byte) error {
			received = receivedAt(body)
			if received == 0 { // rules and empty entries have no time: the next one tells
				return nil
			}
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			return 0, fmt.Errorf("look for the journal's age: %w", err)
		}
		if received < at {
			low = middle + 1
		} else {
			high = middle
		}
		if middle == last { // nothing behind it can be waited for
			break
		}
	}
	return low - 1, nil
}

// receivedAt returns the receive time of an entry's first packet or tick.
func receivedAt(body []byte) int64 {
	if t, err := envelope.DecodeTick(body); err == nil {
		return t.Time
	}
	if k, err := envelope.KindOf(body); err != nil || k != envelope.KindPackets {
		return 0
	}
	for p, err := range envelope.Packets(body) {
		if err != nil {
			return 0
		}
		return p.Received
	}
	return 0
}

// SetRules puts a change of rules into the journal, valid for what follows. Text
// of RulesQuality is checked first.
func (i *Ingest) SetRules(ctx context.Context, name string, text []byte) error {
	if name == RulesQuality {
		if _, err := quality.Parse(text); err != nil {
			return err
		}
	}
	if _, err := i.o.Journal.Append(ctx, envelope.AppendRules(nil, envelope.Rules{Name: name, Body: text})); err != nil {
		return fmt.Errorf("put the rules %q into the journal: %w", name, err)
	}
	return nil
}

// QualityRules returns the rules that the store reader judges by now, as JSON.
func (i *Ingest) QualityRules() ([]byte, error) {
	i.storing.filling.Lock()
	defer i.storing.filling.Unlock()
	b, err := json.Marshal(i.storing.feed.QualityRules())
	if err != nil {
		return nil, fmt.Errorf("write the quality rules: %w", err)
	}
	return b, nil
}

// Status tells how ingest fares.
type Status struct {
	Readers []ReaderStatus `json:"readers"` // the store first
	Head    uint64         `json:"head"`    // the journal's last entry
	// Letters counts dead letters by reason, LetterBytes their size of LetterQuota.
	Letters     map[Reason]int `json:"letters"`
	LetterBytes int64          `json:"letter_bytes"`
	LetterQuota int64          `json:"letter_quota"`
	DirtyHours  int            `json:"dirty_hours"`
}

// Status returns the state of now.
func (i *Ingest) Status(ctx context.Context) Status {
	s := Status{LetterQuota: i.o.DeadLetterBytes}
	s.Readers = append(s.Readers, i.storing.status(), i.head.status())
	if _, last, err := i.o.Journal.Bounds(ctx); err == nil {
		s.Head = last
	}
	s.Letters, s.LetterBytes = i.storing.box.counts()
	i.storing.books.RLock()
	s.DirtyHours = i.storing.accounts.Hours.Len()
	i.storing.books.RUnlock()
	return s
}

// Unsettled says what is still to be done before the raw points of a span may leave
// the database; "": nothing.
func (i *Ingest) Unsettled(ctx context.Context, from, to time.Time) (string, error) {
	_, last, err := i.o.Journal.Bounds(ctx)
	if err != nil {
		return "", fmt.Errorf("ask for the journal's bounds: %w", err)
	}
	if i.storing.durable.Load()+storeBehind < last {
		return "the store has not caught up with the journal", nil
	}
	i.storing.books.RLock()
	defer i.storing.books.RUnlock()
	if n := i.storing.accounts.Hours.Between(from, to); n > 0 {
		return fmt.Sprintf("%d hours are still to be computed", n), nil
	}
	return "", nil
}

// Ledger returns the totals of all nodes.
func (i *Ingest) Ledger() Totals {
	i.storing.books.RLock()
	defer i.storing.books.RUnlock()
	return i.storing.accounts.Ledger.Totals()
}

// NodeLedger is the ledger of one node.
type NodeLedger struct {
	Node telemetry.Node `json:"node"`
	Totals
}

// LedgerNodes returns the totals of each node, by name.
func (i *Ingest) LedgerNodes() []NodeLedger {
	i.storing.books.RLock()
	defer i.storing.books.RUnlock()
	l := i.storing.accounts.Ledger
	out := make([]NodeLedger, 0, len(l.nodes))
	for _, n := range l.Nodes() {
		out = append(out, NodeLedger{n, l.Node(n)})
	}
	return out
}

// LedgerNode returns the totals of one node; zero if it never sent.
func (i *Ingest) LedgerNode(n telemetry.Node) Totals {
	i.storing.books.RLock()
	defer i.storing.books.RUnlock()
	return i.storing.accounts.Ledger.Node(n)
}

// LedgerHoles lists what of a node is not in the database, and why.
func (i *Ingest) LedgerHoles(n telemetry.Node) []Hole {
	i.storing.books.RLock()
	defer i.storing.books.RUnlock()
	return i.storing.accounts.Ledger.Holes(n)
}

// DeadLetters lists the dead letters without their payloads, oldest first.
func (i *Ingest) DeadLetters(ctx context.Context) ([]Letter, error) {
	all, err := i.o.DeadLetters.List(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list the dead letters: %w", err)
	}
	out := make([]Letter, 0, len(all))
	for key, body := range all {
		l, err := decodeLetter(key, body)
		if err != nil {
			return nil, err
		}
		l.Payload, l.Birth, l.Lines = nil, nil, nil
		out = append(out, l)
	}
	sortLetters(out)
	return out, nil
}

// DeadLetter returns one letter whole; it wraps fs.ErrNotExist.
func (i *Ingest) DeadLetter(ctx context.Context, key string) (Letter, error) {
	return i.storing.box.get(ctx, key)
}

// RetryDeadLetter stores a dead letter's records, by the birth it carries, and
// deletes it. An error says why it is still dead.
func (i *Ingest) RetryDeadLetter(ctx context.Context, key string) error {
	return i.storing.retry(ctx, key)
}

// DropDeadLetter deletes a letter for good. The ledger goes on to count its
// records as dead letters: they are nowhere else.
func (i *Ingest) DropDeadLetter(ctx context.Context, key string) error {
	if _, err := i.storing.box.get(ctx, key); err != nil {
		return err
	}
	return i.storing.box.delete(ctx, key)
}

// rebirthEvery is how often one node is asked for a birth, rebirthFresh how old
// the message may be that shows the need: a replay asks nobody.
const (
	rebirthEvery = 30 * time.Second
	rebirthFresh = time.Minute
)

// rebirths asks nodes for new births: by NCMD Node Control/Rebirth = true.
// [tck-id-operational-behavior-data-commands-ncmd-verb]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-verb]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-name]
// [tck-id-operational-behavior-data-commands-ncmd-rebirth-value]
func (i *Ingest) rebirths(asked map[telemetry.Node]time.Time, wanted []Rebirth) {
	now := i.o.Now()
	for _, r := range wanted {
		if i.o.Command == nil || now.Sub(time.Unix(0, r.Received)) > rebirthFresh || now.Sub(asked[r.Node]) < rebirthEvery {
			continue
		}
		if len(asked) > 1<<16 {
			clear(asked)
		}
		asked[r.Node] = now
		topic := sparkplug.Topic{Type: sparkplug.NCMD, Node: r.Node}
		body := sparkplug.AppendCommand(nil, now.UnixMilli(), sparkplug.MetricRebirth, sparkplug.TypeBoolean, sparkplug.Boolean(true))
		if err := i.o.Command(topic.String(), body); err != nil {
			i.log.Warn("a rebirth request was not sent", "node", r.Node.String(), "error", err)
			continue
		}
		i.metrics.rebirths.Inc()
		i.log.Info("asked for a new birth", "node", r.Node.String(), "because", r.Why)
	}
}

// Forget puts it into the journal that a node was revoked: from there on its
// values are no longer the latest ones, its alerts resolve, and nobody misses
// it. Its readings stay. Whatever comes from it later makes it known again.
func (i *Ingest) Forget(ctx context.Context, n telemetry.Node) error {
	if _, err := i.o.Journal.Append(ctx, envelope.AppendRules(nil, envelope.Rules{Name: RulesForget, Body: []byte(n.String())})); err != nil {
		return fmt.Errorf("put it into the journal that %s is gone: %w", n, err)
	}
	return nil
}

// StateFiles lists the files of the checkpoints that exist, for backups.
func (i *Ingest) StateFiles() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(i.o.StateDir, "*.db"))
	if err != nil {
		return nil, fmt.Errorf("list the checkpoints: %w", err)
	}
	return files, nil
}
