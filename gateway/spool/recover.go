package spool

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Names of the files that damaged and unusable records are moved to.
const (
	quarantineFolder = "quarantine"
	noClockFile      = "no_clock.tsv"
)

// Recover takes one segment that lies on the disk, in order of their names. Nil
// data means that it can't be read at all. The bytes must be durable: what a
// killed process of this boot left behind is to be fsynced first.
func (c *Core) Recover(id SegmentID, data []byte) {
	s := &segment{
		id: id, size: int64(len(data)), queued: int64(len(data)), written: int64(len(data)), synced: int64(len(data)),
		refs: map[uint32]Spans{},
	}
	found := examine(id, data)
	s.losses = found.losses
	e, b := c.epoch(id.Epoch), c.boot(id.Boot)
	for n, sh := range found.shapes {
		e.shapes[n] = sh
	}
	for ack, spans := range found.acks {
		of := c.epoch(ack)
		for _, x := range spans {
			of.acked.Add(x.From, x.To)
		}
	}
	for _, m := range found.mappings {
		of := c.boot(m.Boot)
		of.maxOrdinal = max(of.maxOrdinal, m.Ordinal)
		if _, ok := of.find(m.Ordinal); !ok {
			of.mappings = append(of.mappings, keptMapping{Mapping: m, durable: true})
			slices.SortFunc(of.mappings, func(x, y keptMapping) int { return cmp.Compare(x.Ordinal, y.Ordinal) })
		}
	}
	for _, x := range found.index {
		s.all.Add(x.number, x.number)
		s.seen(x.time)
		switch {
		case x.kind != kindSample:
		case x.ordinal == 0:
			s.unresolved.Add(x.number, x.number)
		default:
			spans := s.refs[x.ordinal]
			spans.Add(x.number, x.number)
			s.refs[x.ordinal] = spans
			b.maxOrdinal = max(b.maxOrdinal, x.ordinal)
		}
	}
	// A segment that was written again after a failed fsync holds numbers of the
	// one before it; the later copy counts.
	for i := len(c.segs) - 1; i >= 0 && len(s.all) > 0; i-- {
		older := c.segs[i]
		if older.id.Epoch != id.Epoch || len(older.all.Within(s.all[0].From, math.MaxUint64)) == 0 {
			break
		}
		for _, x := range s.all {
			older.all.Remove(x.From, x.To)
		}
	}
	if id.Boot == c.o.Boot {
		c.minTime = max(c.minTime, s.maxTime)
	}
	c.stats.Bytes += s.size
	c.segs = append(c.segs, s)
	c.noteDamage(s, found, data)
	if data == nil {
		c.stats.Quarantined++
		c.ops = append(c.ops, Op{Kind: OpMoveAside, Segment: id})
		c.missing = append(c.missing, missing{seg: s, prev: id.Base - 1, guess: 1})
	}
}

// noteDamage sets damaged stretches aside and remembers which numbers may have
// stood in them.
func (c *Core) noteDamage(s *segment, found contents, data []byte) {
	for _, d := range found.damage {
		m := missing{seg: s, prev: s.id.Base - 1, off: d.off, length: d.end - d.off}
		for _, x := range found.index {
			if int(x.off) < d.off {
				m.prev = max(m.prev, x.number)
			} else if m.next == 0 {
				m.next = x.number
			}
		}
		if m.next == 0 {
			m.guess = countDamaged(data[d.off:d.end])
		}
		c.missing = append(c.missing, m)
		c.stats.Quarantined++
		c.ops = append(c.ops, Op{
			Kind: OpSetAside, Name: fmt.Sprintf("%s/%v.%x.bad", quarantineFolder, s.id, d.off), Data: data[d.off:d.end],
		})
	}
}

// Start ends the recovery and begins the epoch. The epoch's first bytes are
// among the operations; they must be fsynced before the first sample is taken.
func (c *Core) Start(now time.Duration) {
	for _, s := range c.segs {
		s.open = s.all.Minus(c.epoch(s.id.Epoch).acked)
		s.unresolved = s.unresolved.Minus(s.unresolved.Minus(s.open))
		for n := range s.losses {
			if !s.open.Has(n) {
				delete(s.losses, n)
			}
		}
	}
	if c.o.Omit.EpochPerRun && len(c.segs) > 0 {
		c.goOn()
	}
	c.begin(SegmentID{Base: c.next, BaseTime: max(clock.Millis(now), 0)})
	c.urgent = true
	c.dirty(now)
	c.flushWrites()
	c.reportMissing(now)
	for _, s := range c.segs {
		if s != c.active {
			c.findUnstampable(s)
		}
	}
	for _, s := range slices.Clone(c.segs) {
		c.removeIfDone(s)
	}
	for _, e := range c.epochs {
		e.acked = nil
	}
	c.wantSalvage()
}

// goOn takes up the newest epoch that lies there, as if it had not ended.
func (c *Core) goOn() {
	c.o.Epoch = c.segs[len(c.segs)-1].id.Epoch
	for _, s := range c.segs {
		if n := len(s.all); n > 0 && s.id.Epoch == c.o.Epoch {
			c.next = max(c.next, s.all[n-1].To+1)
		}
	}
	for id := range c.epoch(c.o.Epoch).shapes {
		c.nextShape = max(c.nextShape, id+1)
	}
}

// reportMissing turns damage into loss records, and mends the segments once
// these are on disk.
func (c *Core) reportMissing(now time.Duration) {
	list := c.missing
	c.missing = nil
	for i, s := range c.segs[1:] {
		// A segment cut at the end of a frame shows no damage, but the next one
		// begins with a later number than it should.
		if before := c.segs[i]; before.id.Epoch == s.id.Epoch && before.id.Seq+1 == s.id.Seq && s.id.Base > 0 {
			m := missing{seg: before, prev: before.id.Base - 1}
			if n := len(before.all); n > 0 {
				m.prev = max(m.prev, before.all[n-1].To)
			}
			list = append(list, m)
		}
	}
	for _, m := range list {
		e := m.seg.id.Epoch
		from, to := m.prev+1, m.prev+m.guess
		if m.next > 0 {
			to = m.next - 1
		} else if next := c.nextNumber(m.seg); next > 0 {
			to = next - 1
		}
		lost := Spans(nil)
		lost.Add(from, to)
		lost = lost.Minus(c.epoch(e).acked)
		for _, s := range c.segs {
			if s.id.Epoch == e {
				lost = lost.Minus(s.all)
			}
			for _, l := range s.losses {
				if l.Epoch == e {
					lost = lost.Minus(Spans{{l.From, l.To}})
				}
			}
		}
		for _, x := range lost {
			c.report(telemetry.Loss{Epoch: e, From: x.From, To: x.To, Reason: telemetry.LossQuarantine}, now)
		}
		c.mend(m)
	}
}

// mend makes a segment readable again once the loss records are on disk: a
// damaged tail is cut off, a hole stands where damage was.
func (c *Core) mend(m missing) {
	s := m.seg
	switch end := int64(m.off + m.length); {
	case m.length == 0:
	case end == s.size:
		c.stats.Bytes -= s.size - int64(m.off)
		s.size = int64(m.off)
		s.queued, s.written, s.synced = s.size, s.size, s.size
		c.afterDurable(Op{Kind: OpTruncate, Segment: s.id, To: s.size})
	case m.length >= minFrame: // a shorter one is no frame of ours
		c.afterDurable(Op{Kind: OpPatch, Segment: s.id, Off: int64(m.off), Data: appendHole(nil, s.id.Seq, m.length)})
	}
}

// nextNumber returns the number at which the segments after s go on, 0 if none
// of the same epoch follows. Some of the numbers before it may have been
// acknowledged and removed: to call these lost does no harm, since for the
// server a status only rises.
func (c *Core) nextNumber(s *segment) uint64 {
	for _, x := range c.segs {
		switch {
		case x.id.Epoch != s.id.Epoch || x.id.Seq <= s.id.Seq:
		case x.id.Base > s.id.Base:
			return x.id.Base
		case len(x.all) > 0: // written again after a failed fsync, under the old base
			return x.all[0].From
		}
	}
	return 0
}

// findUnstampable finds records that can never be sent: those of an earlier
// boot that never got a mapping, and those whose mapping was damaged.
func (c *Core) findUnstampable(s *segment) {
	b := c.boot(s.id.Boot)
	_, first := b.find(1)
	if len(s.unresolved) > 0 && !first && !c.o.Omit.NoClock {
		switch {
		case b.maxOrdinal > 0:
			c.salvage = append(c.salvage, &salvage{s, s.unresolved, telemetry.LossQuarantine})
		case s.id.Boot != c.o.Boot:
			c.salvage = append(c.salvage, &salvage{s, s.unresolved, telemetry.LossNoClock})
		}
	}
	for _, ordinal := range sorted(s.refs) {
		spans := s.refs[ordinal]
		if _, ok := b.find(ordinal); ok {
			continue
		}
		if spans = spans.Minus(spans.Minus(s.open)); len(spans) > 0 {
			c.salvage = append(c.salvage, &salvage{s, spans, telemetry.LossQuarantine})
		}
	}
	s.refs = nil
}

func (c *Core) wantSalvage() {
	c.want = nil
	if len(c.salvage) > 0 {
		id := c.salvage[0].seg.id
		c.want = &id
	}
}

// Wants names a segment that the core wants to read: the shell answers with
// Load, and asks again.
func (c *Core) Wants() (SegmentID, bool) {
	if c.want == nil {
		return SegmentID{}, false
	}
	return *c.want, true
}

// Load brings a segment's bytes, or nil if they can't be read. What can't be
// read any more is reported as lost.
func (c *Core) Load(id SegmentID, data []byte, now time.Duration) {
	if c.want != nil && *c.want == id {
		c.want = nil
	}
	s := c.segment(id)
	if s == nil || s.image != nil {
		c.salvage = slices.DeleteFunc(c.salvage, func(j *salvage) bool { return j.seg.id == id })
		c.wantSalvage()
		return
	}
	if int64(len(data)) > s.size {
		data = data[:s.size] // a damaged tail that is about to be cut off
	}
	found := examine(id, data)
	var have Spans
	for _, x := range found.index {
		have.Add(x.number, x.number)
	}
	for n, sh := range found.shapes {
		if e := c.epoch(id.Epoch); e.shapes[n].quantities == nil {
			e.shapes[n] = sh
		}
	}
	s.image, s.index = data, found.index
	c.use(s)
	if gone := s.open.Minus(have); len(gone) > 0 {
		// Damaged since it was looked at last. Which numbers are gone is known
		// exactly here.
		c.noteDamage(s, found, data)
		if data == nil {
			c.ops = append(c.ops, Op{Kind: OpMoveAside, Segment: id})
		}
		list := c.missing
		c.missing = nil
		c.lose(s, gone, telemetry.LossQuarantine, now)
		for _, m := range list {
			c.mend(m)
		}
		s.image = s.image[:min(len(s.image), int(s.size))]
	}
	for i := 0; i < len(c.salvage); {
		if c.salvage[i].seg != s {
			i++
			continue
		}
		job := c.salvage[i]
		c.salvage = slices.Delete(c.salvage, i, i+1)
		c.setAside(job, now)
	}
	c.removeIfDone(s)
	c.evict()
	c.wantSalvage()
}

// setAside writes records that can't be stamped into a file for hand work, and
// reports them as lost.
func (c *Core) setAside(job *salvage, now time.Duration) {
	s := job.seg
	var text strings.Builder
	for _, x := range s.index {
		if !job.spans.Has(x.number) || !s.open.Has(x.number) {
			continue
		}
		device, readings, err := c.decodeSample(s, x)
		if err != nil {
			fmt.Fprintf(&text, "%v\t%d\t%v\t%d\t%s\n", s.id.Epoch, x.number, s.id.Boot, x.time, err)
			continue
		}
		for _, r := range readings {
			value := r.Value.String()
			if r.Gap != telemetry.GapNone {
				value = "gap " + string(r.Gap)
			}
			fmt.Fprintf(&text, "%v\t%d\t%v\t%d\t%s\t%s\t%q\t%s\n", s.id.Epoch, x.number, s.id.Boot, x.time, device, r.Quantity, value, r.Flag)
		}
	}
	c.ops = append(c.ops, Op{Kind: OpSetAside, Name: noClockFile, Data: []byte(text.String())})
	open := job.spans.Minus(job.spans.Minus(s.open))
	if job.reason == telemetry.LossNoClock {
		c.stats.NoClock += open.Len()
	}
	c.lose(s, open, job.reason, now)
}
