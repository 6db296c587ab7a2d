package simulation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/ingest/quality"
)

// checkpointFile is a reader's checkpoint on the disk: place and rows move
// together.
type checkpointFile struct {
	seq  uint64
	rows map[string][]byte // table, NUL, key
}

func (f *checkpointFile) commit(seq uint64, d *checkpoint.Delta) {
	f.seq = seq
	d.Each(func(table string, key, value []byte) {
		k := table + "\x00" + string(key)
		if value == nil {
			delete(f.rows, k)
		} else {
			f.rows[k] = slices.Clone(value)
		}
	})
	*d = checkpoint.Delta{}
}

func (f *checkpointFile) load(loads ...func(table string, key, value []byte) error) error {
	for _, k := range slices.Sorted(maps.Keys(f.rows)) {
		table, key, _ := strings.Cut(k, "\x00")
		for _, load := range loads {
			if err := load(table, []byte(key), f.rows[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readers are the three readers of one server process, and the worker of hours.
type readers struct {
	s      *server
	w      *world
	births *ingest.Births
	latest *reader
	alarms *reader
	now    *ingest.Latest
	judge  *ingest.Alarms
	book   *ingest.AlertBook

	feed     *ingest.Feed
	store    *ingest.Store
	books    *ingest.Books
	stored   *checkpointFile
	seen     uint64 // by the store
	settling bool
	filling  bool
	pending  checkpoint.Delta
	stand    uint64 // records stored, as the ledger says
}

// reader runs one core whose effects are done at once.
type reader struct {
	r       *readers
	name    string
	feed    *ingest.Feed
	core    ingest.Core
	file    *checkpointFile
	seq     uint64
	pending checkpoint.Delta
	effects func() error
	busy    bool
	saved   int64
}

func (s *server) file(name string) *checkpointFile {
	f := s.files[name]
	if f == nil {
		f = &checkpointFile{rows: map[string][]byte{}}
		s.files[name] = f
	}
	return f
}

// newReaders starts the readers from their checkpoints.
func newReaders(s *server) *readers {
	w := s.w
	h := w.omit.ingest
	r := &readers{s: s, w: w, births: ingest.NewBirths(h), stored: s.file("store")}
	load := func(f *checkpointFile, loads ...func(string, []byte, []byte) error) {
		if err := f.load(loads...); err != nil {
			w.fault("a checkpoint can't be read back: %v", err)
		}
	}
	load(s.file("births"), r.births.Load)
	r.feed, r.store = ingest.NewFeed(r.births, h), ingest.NewStore(h)
	r.books = ingest.NewBooks(time.Duration(longestWrite)*time.Millisecond, w.now*1e6, h)
	load(r.stored, r.feed.Load, r.store.Load, r.books.Load)
	load(s.file("births"), r.store.Load)
	r.seen = r.after("store", r.stored.seq)

	r.now = ingest.NewLatest(h)
	r.latest = r.reader("latest", r.now, func() error { r.now.TakeRebirths(); return nil })
	r.judge = ingest.NewAlarms(w.omit.alert)
	book, err := ingest.OpenAlertBook(context.Background(), alertKV{s}, r.tell)
	if err != nil {
		w.fault("the book of alerts can't be read: %v", err)
	}
	r.book = book
	r.alarms = r.reader("alerts", r.judge, func() error { return r.book.Keep(context.Background(), r.judge.TakeTransitions()) })
	if h.RulesAtOnce {
		r.rulesAtOnce(qualityRules(s.rules))
	}
	r.kick()
	s.step(w.between(1, 5)*second, r.hours)
	s.step(minute, r.purge)
	return r
}

func (r *readers) reader(name string, core ingest.Core, effects func() error) *reader {
	x := &reader{r: r, name: name, feed: ingest.NewFeed(r.births, r.w.omit.ingest), core: core, file: r.s.file(name), effects: effects, saved: r.w.now}
	if err := x.file.load(x.feed.Load, core.Load); err != nil {
		r.w.fault("the checkpoint of %s can't be read back: %v", name, err)
	}
	x.seq = r.after(name, x.file.seq)
	return x
}

// after says behind which entry a reader goes on.
func (r *readers) after(name string, seq uint64) uint64 {
	if seq+1 < r.s.first {
		r.w.note("%s: entries are gone: it stands at %d, the journal begins at %d", name, seq, r.s.first)
		seq = r.s.first - 1
	}
	return seq
}

// rulesAtOnce is what readers without H10 would do.
func (r *readers) rulesAtOnce(body []byte) {
	if !r.w.omit.ingest.RulesAtOnce {
		return
	}
	rules, err := quality.Parse(body)
	if err != nil {
		r.w.fault("quality rules: %v", err)
	}
	r.feed.SetQualityRules(rules, body)
	r.latest.feed.SetQualityRules(rules, body)
	r.alarms.feed.SetQualityRules(rules, body)
}

var errDied = errors.New("the process ends here")

// dies decides whether the process ends between two stages.
func (r *readers) dies() bool {
	if !r.w.calm && r.s.running && r.s.readers == r && r.w.chance(r.w.mix.killStage) {
		r.w.note("server: dies between two stages")
		r.s.kill(r.w.between(second, 30*second))
		return true
	}
	return false
}

// kick says that the journal has grown.
func (r *readers) kick() {
	if r == nil || !r.s.running {
		return
	}
	r.latest.read()
	r.alarms.read()
	r.fill()
}

func (r *readers) head() uint64 { return r.s.first + uint64(len(r.s.entries)) - 1 }

func (r *readers) body(seq uint64) []byte { return r.s.entries[seq-r.s.first] }

// flushBirths makes what was learnt durable, before any checkpoint.
func (r *readers) flushBirths(clocks ...checkpoint.Delta) {
	d := r.births.Changes()
	for _, c := range clocks {
		c.Each(func(table string, key, value []byte) {
			if table == "clocks" {
				d.Put(table, key, value)
			}
		})
	}
	r.s.file("births").commit(0, &d)
}

// read goes on, a few entries at a time.
func (x *reader) read() {
	if x.busy || x.seq >= x.r.head() {
		return
	}
	x.busy = true
	x.r.s.step(x.r.w.between(1, 40), func() {
		x.busy = false
		for n := 0; n < 20 && x.seq < x.r.head(); n++ {
			if x.seq+1 < x.r.s.first {
				x.seq = x.r.s.first - 1
			}
			if !x.entry() {
				return
			}
		}
		x.read()
	})
}

func (x *reader) entry() bool {
	r := x.r
	if err := x.feed.Entry(x.seq+1, r.body(x.seq+1), x.core); err != nil {
		r.w.fault("%s: %v", x.name, err)
	}
	if err := x.effects(); err != nil {
		if !errors.Is(err, errDied) {
			r.w.fault("%s: %v", x.name, err)
		}
		return false
	}
	x.seq++
	if r.dies() {
		return false
	}
	if r.w.now-x.saved > 20*second {
		x.saved = r.w.now
		r.flushBirths()
		if r.dies() {
			return false
		}
		x.feed.Checkpoint(&x.pending)
		x.core.Checkpoint(&x.pending)
		x.file.commit(x.seq, &x.pending)
	}
	return true
}

// fill reads entries into the batch and settles it.
func (r *readers) fill() {
	if r.filling || r.settling || r.seen >= r.head() {
		return
	}
	r.filling = true
	r.s.step(r.w.between(20, 150), func() {
		r.filling = false
		for n := 0; n < 200 && r.seen < r.head(); n++ {
			r.seen = max(r.seen, r.s.first-1)
			if err := r.feed.Entry(r.seen+1, r.body(r.seen+1), r.store); err != nil {
				r.w.fault("store: %v", err)
			}
			r.seen++
		}
		b := r.store.Take(r.seen, nil)
		r.feed.Checkpoint(&b.Delta)
		r.settling = true
		r.flushBirths(b.Delta)
		if r.dies() {
			return
		}
		r.write(b, 0, b.Points, &refusals{}, func(bad *refusals) {
			if len(bad.points) > 0 {
				b.Refuse(bad.points, bad.words)
			}
			r.settle(b)
		})
	})
}

type refusals struct {
	points []int
	words  []string
}

// write writes points from…to-1, in halves where one is refused, and goes on
// with done.
func (r *readers) write(b *ingest.Batch, from, to int, bad *refusals, done func(*refusals)) {
	if from >= to {
		done(bad)
		return
	}
	var lines []byte
	for i := from; i < to; i++ {
		lines = append(lines, b.Line(i)...)
	}
	run := r.s.run
	r.w.db.write(lines, func(a answer) {
		if !r.s.running || r.s.run != run || r.dies() {
			return
		}
		switch a {
		case answerYes:
			done(bad)
		case answerRefused:
			if to-from == 1 {
				bad.points, bad.words = append(bad.points, from), append(bad.words, "refused")
				done(bad)
				return
			}
			middle := from + (to-from)/2
			r.write(b, from, middle, bad, func(*refusals) { r.write(b, middle, to, bad, done) })
		default:
			r.s.step(r.w.between(200, 20*second), func() { r.write(b, from, to, bad, done) })
		}
	})
}

// settle notes a batch that is in the database.
func (r *readers) settle(b *ingest.Batch) {
	for _, l := range b.Letters {
		r.w.note("dead letter %s: %s: %s", l.Key, l.Reason, l.Error)
		if l.Reason != ingest.ReasonRefused {
			r.w.fault("dead letter %s: %s: %s", l.Key, l.Reason, l.Error)
		}
		r.s.letters[l.Key] = l
		if r.dies() {
			return
		}
	}
	r.books.Settle(b, nil)
	r.pending.Join(b.Delta)
	r.books.Checkpoint(&r.pending)
	if r.dies() {
		return
	}
	r.stored.commit(b.Seq, &r.pending)
	if n := r.books.Ledger.Totals().Stored; n < r.stand {
		r.w.fault("the ledger's records that are stored fall from %d to %d", r.stand, n)
	} else {
		r.stand = n
	}
	r.settling = false
	r.fill()
}

// hours computes hours that are due, one after the other.
func (r *readers) hours() {
	work, _ := r.books.Hours.Next(r.w.now*1e6, 4)
	var next func()
	next = func() {
		if len(work) == 0 {
			r.s.step(r.w.between(1, 5)*second, r.hours)
			return
		}
		x := work[0]
		work = work[1:]
		r.compute(x, func(o ingest.Outcome) {
			r.books.Hours.Done(x, o, r.w.now*1e6)
			if r.dies() {
				return
			}
			r.books.Hours.Checkpoint(&r.pending)
			r.stored.commit(r.stored.seq, &r.pending)
			next()
		})
	}
	next()
}

func (r *readers) compute(x ingest.Work, done func(ingest.Outcome)) {
	w := r.w
	if w.db.down {
		r.s.step(10, func() { done(ingest.Failed) })
		return
	}
	tally := ingest.NewTally(x.Node, x.Start(), time.UnixMilli(w.now).UTC(), time.Hour)
	w.db.readHour(x.Node, x.Hour, tally.Add)
	if tally.Empty() {
		r.s.step(10, func() { done(ingest.Empty) })
		return
	}
	r.books.Intervals.Of(x.Node, x.Start().UnixMilli(), tally.Expect)
	rows := tally.Rows()
	site := 0
	if w.omit.rowsSite {
		site = w.model.sites[x.Node]
	}
	run := r.s.run
	r.s.step(w.between(1, 2000), func() {
		w.db.ask(w.mix.rowLost, func() { w.db.landRows(rows, site) }, func(a answer) {
			if !r.s.running || r.s.run != run || r.dies() {
				return
			}
			done(map[answer]ingest.Outcome{answerYes: ingest.Written, answerAway: ingest.Failed, answerNone: ingest.Unanswered}[a])
		})
	})
}

// purge frees what every reader has passed.
func (r *readers) purge() {
	upTo := min(r.stored.seq, r.latest.file.seq, r.alarms.file.seq)
	if r.w.omit.ingest.PurgeAtHead {
		upTo = r.latest.seq
	}
	r.births.Prune(upTo)
	r.flushBirths()
	if s := r.s; upTo >= s.first {
		s.entries = slices.Clone(s.entries[upTo-s.first+1:])
		s.first = upTo + 1
	}
	r.s.step(minute, r.purge)
}

// alertKV is the bucket of the alert book.
type alertKV struct{ s *server }

func (k alertKV) Create(_ context.Context, key string, value []byte) (uint64, error) {
	if k.s.readers != nil && k.s.readers.dies() {
		return 0, errDied
	}
	if _, ok := k.s.book[key]; ok {
		return 0, fmt.Errorf("key %s: %w", key, fs.ErrExist)
	}
	k.s.book[key] = value
	k.s.order = append(k.s.order, key)
	return 1, nil
}

func (k alertKV) Delete(_ context.Context, key string) error {
	delete(k.s.book, key)
	return nil
}

func (k alertKV) List(_ context.Context, prefix string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for key, v := range k.s.book {
		if strings.HasPrefix(key, prefix) {
			out[key] = v
		}
	}
	return out, nil
}

// tell queues a transition for people, once by its key.
func (r *readers) tell(_ context.Context, t alert.Transition) error {
	r.w.note("told: %s %v", t.Key, t.State)
	r.s.told[t.Key]++
	if r.s.readers == r && r.dies() {
		return errDied
	}
	return nil
}

func (r *readers) drained() string {
	switch {
	case r.seen < r.head() || r.settling || r.stored.seq < r.seen:
		// Ticks never cease; what counts is that no packet is left.
		for seq := max(r.stored.seq+1, r.s.first); seq <= r.head(); seq++ {
			if r.s.log[seq-1].packets != nil {
				return fmt.Sprintf("the store has settled %d of %d entries", r.stored.seq, r.head())
			}
		}
	case r.latest.seq < r.head() || r.alarms.seq < r.head():
		return "latest or alerts are behind"
	}
	if n := r.books.Hours.Len(); n > 0 {
		return fmt.Sprintf("%d hours are dirty", n)
	}
	return ""
}
