package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
)

// Journal is what ingest needs of the journal. Bodies handed to Read's fn are
// fn's to keep.
type Journal interface {
	Append(ctx context.Context, body []byte) (seq uint64, err error)
	Read(ctx context.Context, after uint64, fn func(seq uint64, body []byte) error) error
	Bounds(ctx context.Context) (first, last uint64, err error)
	Purge(ctx context.Context, upTo uint64) error
}

// Follower is a core that follows the journal's head beside the latest values.
// One reader feeds them all, so that a message is read and decoded once.
type Follower struct {
	Core Core // its checkpoint's tables have names of their own
	// Effects makes durable outside what Core has asked for: it is called after
	// every entry, outside Lock, and until it returns nil no checkpoint passes that
	// entry. It may be nil.
	Effects func(ctx context.Context) error
	// Lock is held while Core is called, for others that look into it; may be nil.
	Lock sync.Locker
}

// ReaderStatus tells how far a reader has come.
type ReaderStatus struct {
	Name     string    `json:"name"`
	Seq      uint64    `json:"seq"`       // applied
	Durable  uint64    `json:"durable"`   // the checkpoint
	CaughtUp bool      `json:"caught_up"` // it has reached what the journal held at the start
	Problem  string    `json:"problem,omitempty"`
	Since    time.Time `json:"since,omitzero"` // of Problem
}

// position is the part of a reader's state that others look at.
type position struct {
	name     string
	seq      atomic.Uint64
	durable  atomic.Uint64
	target   atomic.Uint64 // the journal's last entry at the start
	caughtUp chan struct{}
	once     sync.Once
	problem  atomic.Pointer[problem]
}

type problem struct {
	err   string
	since time.Time
}

func newPosition(name string) *position {
	return &position{name: name, caughtUp: make(chan struct{})}
}

func (p *position) reached(seq uint64) {
	p.seq.Store(seq)
	if seq >= p.target.Load() {
		p.once.Do(func() { close(p.caughtUp) })
	}
}

// trouble notes what holds the reader up, keeping the time since when anything
// has; nil clears it.
func (p *position) trouble(err error, now time.Time) {
	if err == nil {
		p.problem.Store(nil)
		return
	}
	if old := p.problem.Load(); old != nil {
		now = old.since
	}
	p.problem.Store(&problem{err.Error(), now})
}

func (p *position) status() ReaderStatus {
	s := ReaderStatus{Name: p.name, Seq: p.seq.Load(), Durable: p.durable.Load()}
	select {
	case <-p.caughtUp:
		s.CaughtUp = true
	default:
	}
	if t := p.problem.Load(); t != nil {
		s.Problem, s.Since = t.err, t.since
	}
	return s
}

// openCheckpoint opens a reader's checkpoint and loads it. loads are called in
// turn for every row.
func (i *Ingest) openCheckpoint(name string, loads ...func(table string, key, value []byte) error) (*checkpoint.File, checkpoint.Opened, error) {
	file, opened, err := checkpoint.Open(filepath.Join(i.o.StateDir, name+".db"), i.o.Now())
	if err != nil {
		return nil, opened, err
	}
	if opened.Damage != nil {
		i.metrics.damaged.WithLabelValues(name).Inc()
		i.log.Error("a reader's checkpoint was damaged: it starts from the journal's first entry", "reader", name, "set_aside", opened.SetAway, "error", opened.Damage)
	}
	err = file.Load(func(table string, key, value []byte) error {
		for _, load := range loads {
			if err := load(table, key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, opened, errors.Join(fmt.Errorf("load the checkpoint of reader %s: %w", name, err), file.Close())
	}
	return file, opened, nil
}

// begin says after which entry a reader goes on; it asks until the journal
// answers or ctx ends.
func (i *Ingest) begin(ctx context.Context, p *position, file *checkpoint.File, log *slog.Logger) (after uint64) {
	first, last, err := i.o.Journal.Bounds(ctx)
	for err != nil && ctx.Err() == nil {
		p.trouble(fmt.Errorf("ask for the journal's bounds: %w", err), i.o.Now())
		log.Warn("the journal does not answer; trying again", "error", err)
		wait(ctx, time.Second)
		first, last, err = i.o.Journal.Bounds(ctx)
	}
	after = file.Seq()
	switch {
	case err != nil:
		return after
	case after > last:
		// Positions are never used twice, so this is another journal.
		log.Error("the journal ends before this reader's checkpoint: it was replaced; reading all of it", "checkpoint", after, "last", last)
		after = max(first, 1) - 1
	case after+1 < first && after > 0:
		log.Error("the journal begins behind this reader's checkpoint: entries are gone", "checkpoint", after, "first", first)
		after = first - 1
	}
	p.target.Store(last)
	p.durable.Store(min(after, file.Seq()))
	p.reached(after)
	return after
}

// birthKeeper makes the table of births durable. All readers call flush before
// their own checkpoints; it is one at a time, so a reader never passes a birth
// whose fsync another has only begun.
type birthKeeper struct {
	*Births
	mu      sync.Mutex
	file    *checkpoint.File
	pending checkpoint.Delta
}

// The numbers of clock ids lie in the same file, beside the store's own
// checkpoint: under another number the same reading would be a second point, so
// one damaged file must not cost them.
func (k *birthKeeper) flush(clocks ...checkpoint.Delta) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending.Join(k.Changes())
	for _, d := range clocks {
		d.Each(func(table string, key, value []byte) {
			if table == tableClocks {
				k.pending.Put(table, key, value)
			}
		})
	}
	if k.pending.Len() == 0 {
		return nil
	}
	if err := k.file.Commit(k.file.Seq(), &k.pending); err != nil {
		return fmt.Errorf("keep births: %w", err)
	}
	k.pending = checkpoint.Delta{}
	return nil
}

// relearn reads the births that the journal still holds, after the table of
// births was lost while readers stand further on.
func (i *Ingest) relearn(ctx context.Context, upTo uint64) error {
	first, last, err := i.o.Journal.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("ask for the journal's bounds: %w", err)
	}
	upTo = min(upTo, last)
	if first > upTo || first == 0 {
		return nil
	}
	enough := errors.New("enough")
	err = i.o.Journal.Read(ctx, first-1, func(seq uint64, body []byte) error {
		if k, err := envelope.KindOf(body); err == nil && k == envelope.KindPackets {
			index := uint32(0)
			for p, err := range envelope.Packets(body) {
				if err != nil {
					break
				}
				if t, err := sparkplug.ParseTopic(p.Topic); err == nil && (t.Type == sparkplug.NBIRTH || t.Type == sparkplug.DBIRTH) {
					key := BirthKey{Node: t.Node, Device: t.Device, Session: p.Session, Pos: Position{Seq: seq, Index: index}}
					b, err := newBirth(key, append([]byte(nil), p.Payload...), p.Received)
					if err != nil {
						b = &Birth{BirthKey: key, Raw: append([]byte(nil), p.Payload...), Received: p.Received}
					}
					i.births.Learn(b)
				}
				index++
			}
		}
		if seq >= upTo {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		return fmt.Errorf("read births from the journal: %w", err)
	}
	return i.births.flush()
}

// head is the reader at the journal's head and those who follow it.
type head struct {
	*position
	followers []Follower
	feed      *Feed
	file      *checkpoint.File
	log       *slog.Logger
	i         *Ingest
	last      time.Time // of the last checkpoint
	// pending is what a failed commit left over.
	pending checkpoint.Delta
}

// headEvery is how often a checkpoint of the head is made. What lies between is
// read again after a kill, which shows nowhere.
const headEvery = time.Second

func (i *Ingest) newHead(followers ...Follower) (*head, error) {
	h := &head{position: newPosition("head"), followers: followers, feed: NewFeed(i.births.Births, i.o.Holes), log: i.log.With("reader", "head"), i: i}
	for j := range followers {
		if followers[j].Lock == nil {
			followers[j].Lock = &sync.Mutex{}
		}
	}
	var err error
	if h.file, _, err = i.openCheckpoint(h.name, h.feed.Load, everyone(followers).Load); err != nil {
		return nil, err
	}
	return h, nil
}

// run reads until ctx ends, then makes a last checkpoint.
func (h *head) run(ctx context.Context) {
	defer func() {
		if err := h.checkpoint(); err != nil {
			h.log.Warn("no last checkpoint: the next start reads some entries again", "error", err)
		}
	}()
	after := h.i.begin(ctx, h.position, h.file, h.log)
	for ctx.Err() == nil {
		err := h.i.o.Journal.Read(ctx, after, func(seq uint64, body []byte) error { return h.entry(ctx, seq, body) })
		if ctx.Err() != nil {
			return
		}
		h.trouble(err, h.i.o.Now())
		h.log.Warn("reading the journal was interrupted; trying again", "error", err)
		if !wait(ctx, time.Second) {
			return
		}
		after = h.seq.Load()
	}
}

// entry applies one entry and sees its effects done. Once applied it is not
// applied again, whatever happens to the effects.
func (h *head) entry(ctx context.Context, seq uint64, body []byte) error {
	h.lock()
	err := h.feed.Entry(seq, body, everyone(h.followers))
	h.unlock()
	if err != nil {
		h.i.metrics.unreadable.Inc()
		h.log.Error("an entry of the journal makes no sense", "error", err)
	}
	for _, f := range h.followers {
		if err := h.effects(ctx, f, seq); err != nil {
			return err
		}
	}
	h.reached(seq)
	if now := time.Now(); now.Sub(h.last) >= headEvery {
		h.last = now
		if err := h.checkpoint(); err != nil {
			h.trouble(err, h.i.o.Now())
			h.log.Error("no checkpoint; the next one will hold its changes too", "error", err)
			return nil
		}
	}
	h.trouble(nil, time.Time{})
	return nil
}

// effects repeats a follower's effects until they are done or ctx ends.
func (h *head) effects(ctx context.Context, f Follower, seq uint64) error {
	for backoff := newBackoff(); f.Effects != nil; {
		err := f.Effects(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.trouble(err, h.i.o.Now())
		h.log.Warn("effects of an entry are not done yet", "seq", seq, "error", err)
		if !wait(ctx, backoff.next()) {
			return ctx.Err()
		}
	}
	return nil
}

// lock takes the followers' locks, in their order. Nobody else holds two.
func (h *head) lock() {
	for _, f := range h.followers {
		f.Lock.Lock()
	}
}

func (h *head) unlock() {
	for _, f := range h.followers {
		f.Lock.Unlock()
	}
}

// checkpoint makes everything up to the last entry durable.
func (h *head) checkpoint() error {
	if h.seq.Load() == h.durable.Load() {
		return nil
	}
	if err := h.i.births.flush(); err != nil {
		return err
	}
	h.lock()
	h.feed.Checkpoint(&h.pending)
	everyone(h.followers).Checkpoint(&h.pending)
	h.unlock()
	if err := h.file.Commit(h.seq.Load(), &h.pending); err != nil {
		return err
	}
	h.pending = checkpoint.Delta{}
	h.durable.Store(h.seq.Load())
	return nil
}

// everyone hands what is read to each follower in turn.
type everyone []Follower

var _ Core = everyone(nil)

// Message hands on one packet.
func (e everyone) Message(m *Message) {
	for _, f := range e {
		f.Core.Message(m)
	}
}

// Tick hands on one tick.
func (e everyone) Tick(seq uint64, t envelope.Tick, frontier int64) {
	for _, f := range e {
		f.Core.Tick(seq, t, frontier)
	}
}

// Rules hands on one change of rules.
func (e everyone) Rules(seq uint64, r envelope.Rules) {
	for _, f := range e {
		f.Core.Rules(seq, r)
	}
}

// Load hands on one row of the checkpoint.
func (e everyone) Load(table string, key, value []byte) error {
	for _, f := range e {
		if err := f.Core.Load(table, key, value); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint gathers what changed.
func (e everyone) Checkpoint(d *checkpoint.Delta) {
	for _, f := range e {
		f.Core.Checkpoint(d)
	}
}
