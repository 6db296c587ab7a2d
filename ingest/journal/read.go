package journal

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// A read asks for up to this much at a time: more would hold up the
// acknowledgements, which leave the stream through the same queue.
const (
	readBatch = 256
	readBytes = 1 << 20
)

// Read calls fn with every envelope after the position after, in order, then
// waits for new ones until ctx ends or fn fails; it returns why. body is fn's to
// keep. A reader keeps its own checkpoint and begins behind it: the journal
// remembers no reader.
//
// What damage has taken is stepped over, logged and counted; fn sees the
// positions jump. Empty envelopes of packets occur: they stand for positions
// that a crash left unused.
func (j *Journal) Read(ctx context.Context, after uint64, fn func(seq uint64, body []byte) error) error {
	if err := j.reach(ctx, after); err != nil {
		return err
	}
	r := reader{j: j, next: after + 1}
	defer r.close()
	for {
		e, first, err := j.await(ctx, r.next+r.skip)
		if err != nil {
			return err
		}
		r.next = max(r.next, first)
		if err := r.batch(ctx, e, fn); err != nil {
			return err
		}
	}
}

// maxReach bounds how far a reader may stand beyond the journal's end.
const maxReach = 1 << 20

// reach steps over positions that a reader has seen and the journal has lost
// together with its own mark; else the reader would take what comes for known.
func (j *Journal) reach(ctx context.Context, after uint64) error {
	_, last, err := j.Bounds(ctx)
	if err != nil || after <= last {
		return err
	}
	if after-last > maxReach {
		return fmt.Errorf("read the journal behind %d: it ends at %d; is this another journal's reader?", after, last)
	}
	j.lost(last+1, after, "a reader has seen them")
	for seq := last; seq < after; {
		if seq, err = j.Append(ctx, emptyBody); err != nil {
			return fmt.Errorf("step over lost positions: %w", err)
		}
	}
	return nil
}

// await returns when the position next can be read.
func (j *Journal) await(ctx context.Context, next uint64) (e *engine, first uint64, err error) {
	for {
		j.mu.Lock()
		e, first, last, advanced, ready := j.engine, j.first, j.last, j.advanced, j.engineReady
		j.mu.Unlock()
		if e != nil && last >= next {
			return e, first, nil
		}
		if e != nil {
			ready = nil
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-j.ctx.Done():
			return nil, 0, ErrClosed
		case <-advanced:
		case <-ready:
		}
	}
}

// reader has a connection of its own, so that a slow one holds up nobody.
type reader struct {
	j      *Journal
	engine *engine
	conn   *nats.Conn
	sub    *nats.Subscription
	inbox  string
	next   uint64
	// skip counts positions from next on that brought no envelope. They count
	// as lost once a later one is read: a store that is being closed answers
	// the same.
	skip uint64
}

func (r *reader) close() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

func (r *reader) connect(e *engine) error {
	if r.engine == e && r.conn != nil {
		return nil
	}
	r.close()
	conn, err := e.dial("read")
	if err != nil {
		return err
	}
	r.inbox = nats.NewInbox()
	sub, err := conn.SubscribeSync(r.inbox)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		conn.Close()
		return err
	}
	r.engine, r.conn, r.sub, r.skip = e, conn, sub, 0
	return nil
}

// batch reads some envelopes. An error of the store ends it without an error
// of its own: the next engine goes on.
func (r *reader) batch(ctx context.Context, e *engine, fn func(uint64, []byte) error) error {
	if err := r.connect(e); err != nil {
		return r.interrupted(ctx, e, err)
	}
	request := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, r.next+r.skip, readBatch, readBytes)
	if err := r.conn.PublishRequest("$JS.API.DIRECT.GET."+streamName, r.inbox, request); err != nil {
		return r.interrupted(ctx, e, err)
	}
	for n := 0; ; n++ {
		wait, cancel := context.WithTimeout(ctx, r.j.o.CommitTimeout)
		m, err := r.sub.NextMsgWithContext(wait)
		cancel()
		if err != nil {
			return r.interrupted(ctx, e, err)
		}
		if status := m.Header.Get("Status"); status != "" {
			if status == "404" && n == 0 {
				r.skip++
			}
			return nil
		}
		seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
		if err != nil {
			return r.interrupted(ctx, e, fmt.Errorf("an envelope without position: %w", err))
		}
		if seq < r.next {
			continue
		}
		if seq > r.next {
			r.j.lost(r.next, seq-1, "stepped over")
		}
		r.next, r.skip = seq+1, 0
		if err := fn(seq, m.Data); err != nil {
			return err
		}
	}
}

// interrupted tells an error of the caller, which ends the read, from one of
// the store, which the next engine mends.
func (r *reader) interrupted(ctx context.Context, e *engine, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.close()
	r.j.suspect(e, err)
	if r.j.awaitOther(ctx, e) {
		return nil
	}
	r.j.log.Warn("a read was interrupted and goes on", "at", r.next, "error", err)
	return ctx.Err()
}

// awaitOther waits until another engine than e stands, but not for long: e may
// be well again.
func (j *Journal) awaitOther(ctx context.Context, e *engine) bool {
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for {
		j.mu.Lock()
		now, ready, advanced := j.engine, j.engineReady, j.advanced
		j.mu.Unlock()
		if now != nil && now != e {
			return true
		}
		if now != nil {
			ready = nil // it is e, still; install tells through advanced
		}
		select {
		case <-ready:
		case <-advanced:
		case <-patience.C:
			return false
		case <-ctx.Done():
			return false
		case <-j.ctx.Done():
			return false
		}
	}
}

// lost notes positions that are gone, once each, however many readers pass
// them.
func (j *Journal) lost(from, to uint64, why string) {
	j.mu.Lock()
	_, added := insert(j.mark.Missing, Span{from, to})
	j.mu.Unlock()
	if added == 0 {
		return
	}
	err := j.updateMark(func(m *mark) { j.addMissing(m, from, to, why) })
	if err != nil {
		j.log.Warn("the missing positions will be reported again after a start", "error", err)
	}
}

// addMissing counts and reports what the mark does not know yet.
func (j *Journal) addMissing(m *mark, from, to uint64, why string) {
	var added uint64
	if m.Missing, added = insert(m.Missing, Span{from, to}); added == 0 {
		return
	}
	j.metrics.damaged.Add(float64(added))
	j.log.Error("the journal is damaged: positions are missing", "from", from, "to", to, "count", added, "why", why)
}

// Missing lists the positions that damage took and that are not purged yet.
func (j *Journal) Missing() []Span {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.mark.Missing)
}
