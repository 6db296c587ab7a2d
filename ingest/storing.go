package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/envelope"
)

// Bounds of a batch: more in one write costs the database memory, less costs
// both of us a round trip and an fsync. Entries are not split, so a batch may be
// one entry above.
const (
	batchPoints = 20_000
	batchBytes  = 4 << 20
	// batchLinger is how long a batch waits for company. Live values and alerts do
	// not wait for it: they have readers of their own.
	batchLinger = 100 * time.Millisecond
)

// storing runs the store reader. Two goroutines work on it: gather reads the
// journal into the batch being filled, settle writes the batch before that.
//
// Lock order: commit, books; filling alone. No I/O happens under books or filling.
type storing struct {
	*position
	i    *Ingest
	log  *slog.Logger
	file *checkpoint.File
	box  *letterBox

	filling sync.Mutex // of feed, store, seq, retries
	feed    *Feed
	store   *Store
	seen    uint64 // the last entry in the batch being filled
	retries []*retry

	filled chan struct{} // has a token when something is in the batch
	room   chan struct{} // has a token when a batch was taken

	commit   sync.Mutex       // one commit at a time, in the order of its changes
	pending  checkpoint.Delta // what a failed commit left over
	books    sync.RWMutex     // of accounts
	accounts *Books
	spare    *Batch
}

// retry is a dead letter on its way into a batch.
type retry struct {
	letter Letter
	done   chan error
}

func (i *Ingest) newStoring(ctx context.Context) (*storing, error) {
	s := &storing{
		position: newPosition("store"), i: i, log: i.log.With("reader", "store"), box: newLetterBox(i.o.DeadLetters, i.o.DeadLetterBytes),
		feed: NewFeed(i.births.Births, i.o.Holes), store: NewStore(i.o.Holes),
		filled: make(chan struct{}, 1), room: make(chan struct{}, 1),
		accounts: NewBooks(i.o.Influx.LongestWrite(), i.o.Now().UnixNano(), i.o.Holes),
	}
	if err := s.box.open(ctx); err != nil {
		return nil, err
	}
	var err error
	if s.file, _, err = i.openCheckpoint("store", s.feed.Load, s.store.Load, s.accounts.Load); err != nil {
		return nil, err
	}
	s.seen = s.file.Seq()
	if _, last, err := i.o.Journal.Bounds(ctx); err == nil && last == 0 {
		s.accounts.Hours.First()
	}
	if err := i.births.file.Load(s.store.Load); err != nil {
		return nil, fmt.Errorf("load the clock ids: %w", err)
	}
	return s, nil
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// gather reads the journal into batches until ctx ends.
func (s *storing) gather(ctx context.Context) {
	after := s.i.begin(ctx, s.position, s.file, s.log)
	for ctx.Err() == nil {
		s.filling.Lock()
		s.seen = after
		s.filling.Unlock()
		err := s.i.o.Journal.Read(ctx, after, func(seq uint64, body []byte) error { return s.entry(ctx, seq, body) })
		if ctx.Err() != nil {
			return
		}
		s.trouble(err, s.i.o.Now())
		s.log.Warn("reading the journal was interrupted; trying again", "error", err)
		if !wait(ctx, time.Second) {
			return
		}
		after = s.seen // only this goroutine writes it
	}
}

func (s *storing) full() bool {
	b := s.store.Batch()
	return b.Points >= batchPoints || len(b.Lines) >= batchBytes || len(b.messages) >= batchPoints || len(b.Letters) >= 256
}

func (s *storing) entry(ctx context.Context, seq uint64, body []byte) error {
	s.filling.Lock()
	for s.full() {
		s.filling.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.room:
		}
		s.filling.Lock()
	}
	err := s.feed.Entry(seq, body, s.store)
	s.seen = seq
	s.filling.Unlock()
	if err != nil {
		s.i.metrics.unreadable.Inc()
		s.log.Error("an entry of the journal makes no sense", "error", err)
	}
	token(s.filled)
	return nil
}

// settle writes batches until ctx ends.
func (s *storing) settle(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.filled:
		}
		if !s.linger(ctx) {
			return
		}
		s.filling.Lock()
		b := s.store.Take(s.seen, s.spare)
		s.feed.Checkpoint(&b.Delta)
		retries := s.retries
		s.retries = nil
		s.filling.Unlock()
		token(s.room)
		err := s.finish(ctx, b, retries)
		for _, r := range retries {
			r.done <- s.retried(ctx, r, b, err)
		}
		if err != nil {
			return // only ctx ends it: what was not settled is read again
		}
	}
}

// linger waits until the batch is full or has waited long enough.
func (s *storing) linger(ctx context.Context) bool {
	t := time.NewTimer(batchLinger)
	defer t.Stop()
	for {
		s.filling.Lock()
		full := s.full()
		s.filling.Unlock()
		if full {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case <-s.filled:
		}
	}
}

// finish sees a batch through: births durable, points stored, letters kept,
// checkpoint. It returns an error only when ctx ends.
func (s *storing) finish(ctx context.Context, b *Batch, retries []*retry) error {
	started := time.Now()
	err := s.persist(ctx, "keep births", func() error { return s.i.births.flush(b.Delta) })
	if err == nil && b.Points > 0 {
		err = s.write(ctx, b)
	}
	if err != nil {
		return err
	}
	if b.Points > 0 {
		s.i.metrics.writeSeconds.Observe(time.Since(started).Seconds())
	}
	lost, err := s.keep(ctx, b)
	if err != nil {
		return err
	}
	s.commit.Lock()
	s.books.Lock()
	s.accounts.Settle(b, lost)
	for _, r := range retries {
		if r.letter.Epoch == 0 && r.dead(b) == nil {
			s.accounts.Ledger.Retried(r.letter.Node)
		}
	}
	s.pending.Join(b.Delta)
	s.accounts.Checkpoint(&s.pending)
	s.books.Unlock()
	err = s.persist(ctx, "commit the store's checkpoint", func() error { return s.file.Commit(b.Seq, &s.pending) })
	if err == nil {
		s.pending = checkpoint.Delta{}
	}
	s.commit.Unlock()
	if err != nil {
		return err
	}
	s.durable.Store(b.Seq)
	s.reached(b.Seq)
	s.trouble(nil, time.Time{})
	s.i.metrics.stored(b, len(lost))
	s.i.worker.wake()
	s.spare = b
	return nil
}

// persist repeats do until it succeeds or ctx ends. The caller's state waits:
// the checkpoint stands, nothing is dropped.
func (s *storing) persist(ctx context.Context, what string, do func() error) error {
	for backoff := newBackoff(); ; {
		err := do()
		if err == nil {
			return nil
		}
		s.trouble(err, s.i.o.Now())
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pause := backoff.next()
		var away *influx.UnavailableError
		if errors.As(err, &away) {
			pause = max(pause, min(away.RetryAfter, time.Minute))
		}
		s.log.Warn("the store stands until this succeeds", "what", what, "error", err, "again_in", pause)
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
}

// write writes a batch's points, all but those that the database refuses for
// good: they become letters.
func (s *storing) write(ctx context.Context, b *Batch) error {
	var points []int
	var words []string
	clean, err := s.writeSpan(ctx, b, 0, b.Points, &points, &words)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		b.Refuse(points, words)
	}
	if !clean {
		// A connection that failed may still be reading these bytes: never reuse them.
		b.Lines = append([]byte(nil), b.Lines...)
	}
	return nil
}

// writeSpan writes points from..to-1. A refused write is cut in halves until the
// bad points stand alone; what a half wrote again is the same points.
func (s *storing) writeSpan(ctx context.Context, b *Batch, from, to int, points *[]int, words *[]string) (clean bool, err error) {
	var refused *influx.RefusedError
	clean = true
	err = s.persist(ctx, "write points", func() error {
		refused = nil
		err := s.i.o.Influx.Write(ctx, influx.Raw, b.Lines[b.start(from):b.points[to-1].end])
		if err == nil || errors.As(err, &refused) {
			return nil
		}
		clean = false
		s.i.metrics.writeErrors.Inc()
		return err
	})
	if err != nil || refused == nil {
		return clean, err
	}
	if to-from == 1 {
		*points, *words = append(*points, from), append(*words, refused.Message)
		s.log.Error("the database refuses a point", "point", string(b.Line(from)), "error", refused)
		return clean, nil
	}
	middle := from + (to-from)/2
	for _, half := range [2][2]int{{from, middle}, {middle, to}} {
		ok, err := s.writeSpan(ctx, b, half[0], half[1], points, words)
		clean = clean && ok
		if err != nil {
			return clean, err
		}
	}
	return clean, nil
}

// keep puts a batch's letters away and names those that had no room.
func (s *storing) keep(ctx context.Context, b *Batch) (lost map[string]bool, err error) {
	for i := range b.Letters {
		l := &b.Letters[i]
		var kept bool
		err := s.persist(ctx, "keep a dead letter", func() error {
			var err error
			kept, err = s.box.put(ctx, l)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !kept {
			if lost == nil {
				lost = map[string]bool{}
			}
			lost[l.Key] = true
		}
		s.i.metrics.letters.WithLabelValues(string(l.Reason)).Inc()
		s.log.Warn("dead letter", "key", l.Key, "node", l.Node.String(), "reason", l.Reason, "error", l.Error, "kept", kept)
	}
	return lost, nil
}

// retry puts a letter's records into the batch being filled and waits for what
// becomes of them.
func (s *storing) retry(ctx context.Context, key string) error {
	l, err := s.box.get(ctx, key)
	if err != nil {
		return err
	}
	r := &retry{letter: l, done: make(chan error, 1)}
	s.filling.Lock()
	if err := s.feed.Letter(&l, s.store); err != nil {
		s.filling.Unlock()
		return fmt.Errorf("retry dead letter %s: %w", key, err)
	}
	s.retries = append(s.retries, r)
	s.filling.Unlock()
	token(s.filled)
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("retry dead letter %s: its batch is not written yet: %w", key, ctx.Err())
	case <-s.i.stopped:
		return fmt.Errorf("retry dead letter %s: the server stops; try again", key)
	}
}

// dead says why the letter is one still.
func (r *retry) dead(b *Batch) error {
	for i := range b.Letters {
		if b.Letters[i].Pos == r.letter.Pos {
			return fmt.Errorf("still dead: %s", b.Letters[i].Error)
		}
	}
	return nil
}

func (s *storing) retried(ctx context.Context, r *retry, b *Batch, err error) error {
	if err == nil {
		err = r.dead(b)
	}
	if err != nil {
		return fmt.Errorf("retry dead letter %s: %w", r.letter.Key, err)
	}
	return s.box.delete(ctx, r.letter.Key)
}

// hoursDone notes what became of computed hours. A commit that fails leaves
// their marks for the next one, at worst for a computation more.
func (s *storing) hoursDone(done func(h *Hours)) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.books.Lock()
	done(s.accounts.Hours)
	s.accounts.Hours.Checkpoint(&s.pending)
	s.books.Unlock()
	if s.pending.Len() == 0 {
		return nil
	}
	if err := s.file.Commit(s.file.Seq(), &s.pending); err != nil {
		return err
	}
	s.pending = checkpoint.Delta{}
	return nil
}

// Letter decodes a dead letter's records by the birth it carries, or by the
// first of its session after it, and hands them to core as one message. Rules in
// force now judge them: they are stored now.
func (f *Feed) Letter(l *Letter, core Core) error {
	p := l.packet()
	s := &feedSession{}
	t := s.topic(p.Topic)
	if t.err != nil {
		return t.err
	}
	var birth *Birth
	if l.Birth != nil {
		b, err := newBirth(BirthKey{Node: l.Node, Device: l.Birth.Device, Session: l.Session, Pos: l.Birth.Pos}, l.Birth.Payload, l.Birth.Received)
		if err != nil {
			return fmt.Errorf("its birth: %w", err)
		}
		birth = b
	} else if b, ok := f.births.After(t.topic.Node, t.topic.Device, l.Session, l.Pos); ok {
		birth = b
	}
	judged := newJudged(birth)
	if judged == nil {
		return errNoBirth
	}
	m := &f.message
	*m = Message{
		Pos: l.Pos, Packet: p, Type: t.topic.Type, Node: t.topic.Node, Device: t.topic.Device, Received: l.Received,
		Synced: p.Flags&envelope.FlagClockUnsynced == 0, Seq: NoSeq, Birth: birth,
	}
	f.late = f.late[:0]
	if err := f.decodePayload(p); err != nil {
		return err
	}
	f.resolve(m, judged)
	if m.Reason != ReasonNone {
		return m.Err
	}
	m.keepRecords(l.Records)
	core.Message(m)
	return nil
}
