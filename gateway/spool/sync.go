package spool

import (
	"errors"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// retryLongest bounds the pause after a failed write or fsync; refusedEvery is
// how often numbers that found no room are reported while there is none.
const (
	retryFirst   = time.Second
	retryLongest = time.Minute
	refusedEvery = time.Minute
	// patience is how many failures for want of room come before a segment is
	// given up: somebody else may make room.
	patience = 3
)

// Due returns when Tick has something to do, or false.
func (c *Core) Due() (time.Duration, bool) {
	var at time.Duration
	ok := false
	sooner := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	if c.failures > 0 {
		sooner(c.retryAt)
	} else if (c.dirtyCount > 0 || c.urgent) && !c.syncing() {
		switch {
		case c.urgent || c.dirtyCount >= c.o.SyncCount:
			sooner(0)
		default:
			sooner(c.dirtySince + c.o.SyncEvery)
		}
	}
	if len(c.refused) > 0 {
		sooner(c.refusedAt + refusedEvery)
	}
	return at, ok
}

func (c *Core) syncing() bool {
	for _, s := range c.segs {
		if s.syncing {
			return true
		}
	}
	return false
}

// Tick does what is due: an fsync after SyncEvery or SyncCount records, another
// try after a failure, a report of what was refused.
func (c *Core) Tick(now time.Duration) {
	if len(c.refused) > 0 && now >= c.refusedAt+refusedEvery {
		c.reportRefused(now)
	}
	if c.failures > 0 {
		if now < c.retryAt {
			return
		}
		c.failures = -c.failures // one try; a success makes it 0
		for _, s := range c.segs {
			s.queued = s.written
		}
	}
	if c.failures < 0 || c.urgent || c.dirtyCount >= c.o.SyncCount || c.dirtyCount > 0 && now >= c.dirtySince+c.o.SyncEvery {
		c.sync()
	}
}

// Flush asks for an fsync at the next Tick of everything, acknowledgements and
// what was refused included.
func (c *Core) Flush(now time.Duration) {
	c.reportRefused(now)
	if len(c.acked) > 0 {
		c.dirty(now)
	}
	c.urgent = true
}

// Clean reports whether everything taken is on disk.
func (c *Core) Clean() bool {
	for _, s := range c.segs {
		if !s.idle() {
			return false
		}
	}
	return len(c.refused) == 0
}

func (c *Core) sync() {
	if c.syncing() {
		return
	}
	if c.dirtyCount > 0 && len(c.acked) > 0 && c.active.written == c.active.size {
		c.writeAcks(c.acked) // they cost no fsync of their own
		clear(c.acked)
	}
	for _, s := range c.segs {
		if s.queued < s.size && c.failures <= 0 {
			c.ops = append(c.ops, Op{Kind: OpWrite, Segment: s.id, Off: s.queued, Data: s.image[s.queued:s.size:s.size]})
			s.queued = s.size
		}
		if s.synced < s.size {
			s.syncing = true
			c.ops = append(c.ops, Op{Kind: OpSync, Segment: s.id, To: s.size})
		}
	}
	c.dirtyCount, c.urgent = 0, false
}

// Written reports that the file system took the segment's bytes from off to
// end. Behind a write that failed they don't count.
func (c *Core) Written(id SegmentID, off, end int64) {
	s := c.segment(id)
	if s == nil || end <= s.written || off > s.written {
		return
	}
	c.stats.Written += uint64(end - s.written)
	s.written = end
}

// WriteFailed reports that a write, or the making of the file, failed. It is
// tried again after a pause; nothing is lost while the memory holds it.
func (c *Core) WriteFailed(id SegmentID, err error, now time.Duration) {
	if s := c.segment(id); s != nil {
		s.queued = s.written
	}
	c.failed(err, now)
}

func (c *Core) failed(err error, now time.Duration) {
	n := max(c.failures, -c.failures) + 1
	c.failures = n
	c.retryAt = now + min(retryFirst<<min(n-1, 6), retryLongest)
	c.stats.Err = err
	c.urgent = true
	if errors.Is(err, syscall.ENOSPC) && c.o.Policy == DropOldest && n > patience {
		// There is no room for the loss record that should be on disk before a
		// segment goes. It stays in memory until there is; should that fail too,
		// the epoch's floor still tells the server that the numbers are lost.
		c.dropOldest(now)
		c.after = slices.DeleteFunc(c.after, func(a afterSync) bool {
			if a.gone != nil || a.op.Kind != OpRemove {
				return false
			}
			c.ops = append(c.ops, a.op)
			return true
		})
	}
}

// Synced reports that the segment's bytes up to to survive a power cut.
func (c *Core) Synced(id SegmentID, to int64) {
	s := c.segment(id)
	if s == nil {
		return
	}
	s.syncing = false
	s.synced = max(s.synced, min(to, s.written))
	c.stats.Syncs++
	if s.synced < to {
		c.urgent = true // a write failed before it
	} else if c.failures < 0 {
		c.failures = 0
		c.stats.Err = nil
	}
	if b := c.maps[c.o.Boot]; b != nil {
		for i := range b.mappings {
			m := &b.mappings[i]
			m.durable = m.durable || m.seq == id.Seq && m.end <= s.synced
		}
	}
	// In order: what came before may be the copy of what goes now.
	for len(c.after) > 0 && c.durable(c.after[0]) {
		c.release(c.after[0])
		c.after = c.after[1:]
	}
	c.removeIfDone(s)
	c.evict()
}

// SyncFailed reports that an fsync failed. What the file holds is then unknown
// and a second fsync may lie, so the segment is closed where it is known to be
// durable, and the rest is written again into a new one. Until that copy is
// durable the old one stays: the end of the process leaves it there.
func (c *Core) SyncFailed(id SegmentID, err error, now time.Duration) {
	s := c.segment(id)
	if s == nil {
		return
	}
	s.syncing = false
	c.failed(err, now)
	tail := s.image[s.synced:]
	moved := s.index
	for len(moved) > 0 && int64(moved[0].off) < s.synced {
		moved = moved[1:]
	}
	var movedAll, movedOpen Spans
	if len(moved) > 0 {
		first := moved[0].number
		movedAll, movedOpen = s.all.Within(first, math.MaxUint64), s.open.Within(first, math.MaxUint64)
	}

	c.begin(SegmentID{Base: id.Base, BaseTime: id.BaseTime}) // heads are relative to them
	a := c.active
	shapes := c.epoch(c.o.Epoch).shapes
	for _, n := range sorted(shapes) {
		c.shapeAt[n] = a.size
		c.write(appendShape(nil, n, shapes[n]))
	}
	scan(tail, id.Seq, func(t stretch) {
		if t.payload == nil {
			return
		}
		off := a.size
		c.write(t.payload)
		if kind(t.payload[0]).numbered() {
			e := moved[0]
			moved = moved[1:]
			e.off, e.end = int32(off), int32(a.size)
			a.index = append(a.index, e)
		}
		if b := c.maps[c.o.Boot]; b != nil && kind(t.payload[0]) == kindMapping {
			if m, err := parseMapping(t.payload); err == nil && m.Boot == c.o.Boot {
				if k, ok := b.find(m.Ordinal); ok && !k.durable {
					k.seq, k.end = a.id.Seq, a.size
				}
			}
		}
	})
	for _, x := range movedAll {
		s.all.Remove(x.From, x.To)
		a.all.Add(x.From, x.To)
		for _, u := range s.unresolved.Remove(x.From, x.To) {
			a.unresolved.Add(u.From, u.To)
		}
	}
	for _, x := range movedOpen {
		s.open.Remove(x.From, x.To)
		a.open.Add(x.From, x.To)
		for _, t := range s.taken.Remove(x.From, x.To) {
			a.taken.Add(t.From, t.To)
		}
	}
	for n, l := range s.losses {
		if a.all.Has(n) {
			a.losses[n] = l
			delete(s.losses, n)
		}
	}
	a.minTime, a.maxTime = s.minTime, s.maxTime
	for i := range c.after {
		if c.after[i].seq == id.Seq && c.after[i].end > s.synced {
			c.after[i].seq, c.after[i].end = a.id.Seq, a.size
		}
	}
	c.stats.Bytes -= s.size - s.synced
	s.size, s.written, s.queued = s.synced, s.synced, s.synced
	s.image = s.image[:s.synced]
	for len(s.index) > 0 && int64(s.index[len(s.index)-1].off) >= s.synced {
		s.index = s.index[:len(s.index)-1]
	}
	c.afterDurable(Op{Kind: OpTruncate, Segment: id, To: s.synced})
	c.dirty(now)
}

// afterDurable holds an operation back until everything taken so far survives a
// power cut.
func (c *Core) afterDurable(op Op) { c.hold(afterSync{op: op}) }

func (c *Core) hold(a afterSync) {
	a.seq, a.end = c.active.id.Seq, c.active.size
	if len(c.after) == 0 && c.durable(a) {
		c.release(a)
		return
	}
	c.after = append(c.after, a)
	c.urgent = true
}

func (c *Core) release(a afterSync) {
	if a.gone == nil {
		c.ops = append(c.ops, a.op)
		return
	}
	c.closed(a.epoch, a.gone)
}

// durable reports whether what an operation waits for is on disk: a segment
// that is gone was on disk before.
func (c *Core) durable(a afterSync) bool {
	s := c.segment(SegmentID{Seq: a.seq})
	return s == nil || s.synced >= a.end
}

// SetFree tells how much room the file system has. Below the floor the spool
// stops growing; what is there already stays.
func (c *Core) SetFree(free, floor int64) {
	switch {
	case floor < 0 || free >= floor:
		c.ceiling = 0
	case c.ceiling == 0:
		c.ceiling = max(c.stats.Bytes, 4*c.o.SegmentBytes)
	}
}

func (c *Core) over(need int64) bool {
	limit := c.o.Quota
	if c.ceiling > 0 {
		limit = min(limit, c.ceiling)
	}
	return c.stats.Bytes+need > limit
}

// dropOldest gives up the oldest segment, once the loss records that say so are
// on disk. It returns false if there is none to give.
func (c *Core) dropOldest(now time.Duration) bool {
	s := c.segs[0]
	if s == c.active || !s.idle() {
		return false
	}
	c.stats.Full = true
	c.stats.Dropped += s.open.Len()
	c.lose(s, s.open, telemetry.LossQuota, now)
	c.removeIfDone(s)
	return true
}

// lose closes numbers of a segment and reports them as lost. What a loss record
// among them had reported is reported again.
func (c *Core) lose(s *segment, spans Spans, reason telemetry.LossReason, now time.Duration) {
	spans = append(Spans(nil), spans...)
	var again []telemetry.Loss
	for _, x := range spans {
		for _, n := range sorted(s.losses) {
			if x.From <= n && n <= x.To {
				again = append(again, s.losses[n])
			}
		}
	}
	for _, x := range spans {
		c.report(telemetry.Loss{Epoch: s.id.Epoch, From: x.From, To: x.To, Reason: reason}, now)
	}
	for _, l := range again {
		c.report(l, now)
	}
	var gone Spans
	for _, x := range spans {
		for _, y := range c.closeNumbers(s, x.From, x.To) {
			gone.Add(y.From, y.To)
		}
	}
	if gone != nil {
		c.hold(afterSync{epoch: s.id.Epoch, gone: gone})
	}
}

// report appends a loss record.
func (c *Core) report(l telemetry.Loss, now time.Duration) {
	number := c.next
	c.next++
	c.room(number, now)
	h := head{kind: kindLoss, number: number, time: max(clock.Millis(now), 0)}
	c.writeNumbered(h, appendLoss(nil, c.active.id, h, l))
	c.active.losses[number] = l
	c.dirty(now)
	c.flushWrites()
}

// refuse gives a number away without a record.
func (c *Core) refuse(now time.Duration) uint64 {
	number := c.next
	c.next++
	if len(c.refused) == 0 {
		c.refusedAt = now
	}
	c.refused.Add(number, number)
	c.stats.Full = true
	c.stats.Dropped++
	return number
}

// reportRefused turns refused numbers into loss records; these few bytes are
// always granted, if the disk takes them.
func (c *Core) reportRefused(now time.Duration) {
	refused := c.refused
	c.refused = nil
	for _, x := range refused {
		c.report(telemetry.Loss{Epoch: c.o.Epoch, From: x.From, To: x.To, Reason: telemetry.LossQuota}, now)
	}
}

// Ack closes numbers: the server has them, by a PUBACK and nothing less.
func (c *Core) Ack(e telemetry.Epoch, from, to uint64) {
	for _, s := range append([]*segment(nil), c.segs...) {
		if s.id.Epoch == e {
			c.closed(e, c.closeNumbers(s, from, to))
			c.removeIfDone(s)
		}
	}
}

// Discard gives up numbers that can't be put into a message and reports them as
// lost.
func (c *Core) Discard(e telemetry.Epoch, from, to uint64, now time.Duration) {
	for _, s := range append([]*segment(nil), c.segs...) {
		if s.id.Epoch == e {
			c.lose(s, s.open.Within(from, to), telemetry.LossQuarantine, now)
			c.removeIfDone(s)
		}
	}
}

// closeNumbers takes numbers out of what is to be sent, and returns those that
// were in it.
func (c *Core) closeNumbers(s *segment, from, to uint64) Spans {
	gone := s.open.Remove(from, to)
	if len(gone) == 0 {
		return nil
	}
	s.taken.Remove(from, to)
	s.unresolved.Remove(from, to)
	for n := range s.losses {
		if from <= n && n <= to {
			delete(s.losses, n)
		}
	}
	return gone
}

// closed sees to it that a later process does not send numbers again.
func (c *Core) closed(e telemetry.Epoch, spans Spans) {
	if len(spans) == 0 {
		return
	}
	acked := c.acked[e]
	for _, x := range spans {
		acked.Add(x.From, x.To)
	}
	c.acked[e] = acked
}

// removeIfDone removes a segment of which nothing is left to send.
func (c *Core) removeIfDone(s *segment) {
	if s == c.active || len(s.open) > 0 || !s.idle() || c.segment(s.id) != s {
		return
	}
	for i, x := range c.segs {
		if x == s {
			c.segs = append(c.segs[:i], c.segs[i+1:]...)
			break
		}
	}
	c.stats.Bytes -= s.size
	c.afterDurable(Op{Kind: OpRemove, Segment: s.id})
}
