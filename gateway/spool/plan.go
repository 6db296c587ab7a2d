package spool

import (
	"cmp"
	"slices"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Lane is one of the two queues to the server.
type Lane uint8

// The lanes. Live is what was sampled in this boot less than LiveAge ago, in
// number order; Backlog is all else, oldest first.
const (
	Live Lane = iota
	Backlog
)

// Limit bounds a batch. One record always fits.
type Limit struct {
	Records int
	Bytes   int           // on the wire, roughly
	Linger  time.Duration // live only: wait until the first record is so old, unless the batch is full
}

// Batch is one message's worth of records: an unbroken run of numbers of one
// epoch and one clock id. Run.Count 0 means that there is nothing to send.
type Batch struct {
	Run     telemetry.Run
	Records []telemetry.Record
	Wait    time.Duration // with Count 0: there will be, this long from now
}

// Next takes the next batch of a lane out of the queue; it is on its way until
// Ack or Rewind. If the batch is empty and Wants names a segment, the shell
// loads it and asks again.
func (c *Core) Next(lane Lane, now time.Duration, limit Limit) Batch {
	for {
		b, unreadable := c.find(lane, now, limit)
		if unreadable == nil {
			return b
		}
		// Good checksums around what can't be read: reported like damage.
		c.lose(unreadable.seg, unreadable.spans, unreadable.reason, now)
		c.removeIfDone(unreadable.seg)
	}
}

func (c *Core) find(lane Lane, now time.Duration, limit Limit) (Batch, *salvage) {
	oldest := clock.Millis(now - LiveAge)
	for i := 0; i < len(c.segs); i++ {
		s := c.segs[i]
		if len(s.open) == 0 || c.barren(s, lane, oldest) {
			continue
		}
		waiting := s.open
		if len(s.taken) > 0 {
			if waiting = s.open.Minus(s.taken); len(waiting) == 0 {
				continue
			}
		}
		if len(s.unresolved) > 0 && !c.resolved(s.id.Boot) {
			if waiting = waiting.Minus(s.unresolved); len(waiting) == 0 {
				continue
			}
		}
		if s.image == nil {
			c.want = &s.id
			return Batch{}, nil
		}
		c.use(s)
		b, unreadable := c.fromSegment(s, waiting, lane, oldest, now, limit)
		if len(b.Records) > 0 || b.Wait > 0 || unreadable != nil {
			return b, unreadable
		}
		if s.idle() && s != c.active {
			c.fruitless(s, lane, oldest)
		}
		if lane == Live && s.synced < s.size && !c.o.Omit.Durable {
			break // what follows must not overtake what is not yet fsynced here
		}
	}
	return Batch{}, nil
}

// fruitless notes that a look through a segment gave nothing for a lane, unless
// something of that lane only waits for its mapping.
func (c *Core) fruitless(s *segment, lane Lane, oldest int64) {
	left := s.open.Minus(s.taken)
	for i := s.at(left[0].From); i < len(s.index); i++ {
		x := s.index[i]
		if !left.Has(x.number) {
			continue
		}
		live := c.live(s, x, oldest)
		switch {
		case lane == Backlog && live:
			s.noBacklog = x.time // times grow with the numbers
			return
		case lane == Backlog || live:
			return
		}
	}
	s.noLive = s.noLive || lane == Live
}

// barren reports whether a segment can be passed over without a look at its
// records.
func (c *Core) barren(s *segment, lane Lane, oldest int64) bool {
	switch {
	case c.o.Omit.LiveByBoottime:
		return false
	case lane == Live:
		return s.id.Boot != c.o.Boot || s.maxTime <= oldest || s.noLive
	}
	return s.id.Boot == c.o.Boot && (s.minTime > oldest || s.noBacklog > oldest)
}

// resolved reports whether records without a mapping of their own can be
// stamped.
func (c *Core) resolved(boot clock.BootID) bool {
	m, ok := c.boot(boot).find(1)
	return ok && (m.durable || c.o.Omit.MappingDurable)
}

func (c *Core) fromSegment(s *segment, waiting Spans, lane Lane, oldest int64, now time.Duration, limit Limit) (Batch, *salvage) {
	var b Batch
	var ms *keptMapping // that stamps the batch; nil while it holds only losses
	var first int64
	size, full := 60, false
	for i := s.at(waiting[0].From); i < len(s.index); i++ {
		x := s.index[i]
		if int64(x.end) > s.synced && !c.o.Omit.Durable {
			break
		}
		live := c.live(s, x, oldest)
		if live && lane == Backlog && !c.o.Omit.LiveByBoottime {
			break // times grow with the numbers: the rest is live, or soon will not be
		}
		fits := waiting.Has(x.number) && (lane == Live) == live
		var m *keptMapping
		if fits && x.kind == kindSample {
			m, fits = c.stamp(s, x)
		}
		n := len(b.Records)
		if n > 0 && !c.o.Omit.UnbrokenRuns {
			if !fits || x.number != b.Records[n-1].Number+1 || m != nil && ms != nil && m.ID != ms.ID {
				break
			}
		}
		if !fits {
			continue
		}
		r, err := c.decode(s, x, m)
		if err != nil {
			if n > 0 {
				break
			}
			return Batch{}, &salvage{s, Spans{{x.number, x.number}}, telemetry.LossQuarantine}
		}
		cost := wireSize(r)
		if n > 0 && (n >= limit.Records || size+cost > limit.Bytes) {
			full = true
			break
		}
		if n == 0 {
			first = x.time
		}
		size += cost
		b.Records = append(b.Records, r)
		if m != nil && ms == nil {
			ms = m
		}
	}
	if len(b.Records) == 0 {
		return Batch{}, nil
	}
	if age := now - time.Duration(first)*time.Millisecond; lane == Live && !full && age < limit.Linger {
		return Batch{Wait: limit.Linger - age}, nil
	}
	b.Run = telemetry.Run{
		Epoch: s.id.Epoch, First: b.Records[0].Number, Count: uint64(len(b.Records)),
		Clock: telemetry.ClockID{Epoch: s.id.Epoch}, Floor: 1, Backlog: lane == Backlog,
	}
	if ms != nil {
		b.Run.Clock, b.Run.Quality = ms.ID, ms.Quality
	}
	if !c.o.Omit.Floors {
		b.Run.Floor = c.floor(s.id.Epoch)
	}
	for i := range b.Records {
		s.taken.Add(b.Records[i].Number, b.Records[i].Number)
	}
	return b, nil
}

// at finds the first index entry with a number not below n.
func (s *segment) at(n uint64) int {
	i, _ := slices.BinarySearchFunc(s.index, n, func(e entry, n uint64) int { return cmp.Compare(e.number, n) })
	return i
}

func (c *Core) live(s *segment, x entry, oldest int64) bool {
	if c.o.Omit.LiveByBoottime {
		return s.id.Epoch == c.o.Epoch && x.number >= c.waited
	}
	return s.id.Boot == c.o.Boot && x.time > oldest
}

// stamp finds the mapping that a sample was given for ever.
func (c *Core) stamp(s *segment, x entry) (*keptMapping, bool) {
	b := c.boot(s.id.Boot)
	if c.o.Omit.FixedStamp {
		if n := len(b.mappings); n > 0 {
			return &b.mappings[n-1], b.mappings[n-1].durable || c.o.Omit.MappingDurable
		}
		return nil, false
	}
	m, ok := b.find(max(x.ordinal, 1))
	return m, ok && (m.durable || c.o.Omit.MappingDurable)
}

func (c *Core) decodeSample(s *segment, x entry) (string, []telemetry.Reading, error) {
	payload, _ := readFrame(s.image[x.off:x.end], s.id.Seq)
	if payload == nil {
		return "", nil, errPayload
	}
	_, r, err := parseHead(payload, s.id)
	if err != nil {
		return "", nil, err
	}
	return parseSample(r, c.epoch(s.id.Epoch).shapes)
}

func (c *Core) decode(s *segment, x entry, m *keptMapping) (telemetry.Record, error) {
	out := telemetry.Record{Number: x.number}
	if x.kind == kindLoss {
		l := s.losses[x.number]
		out.Loss = &l
		return out, nil
	}
	var err error
	out.Device, out.Readings, err = c.decodeSample(s, x)
	out.Time = m.UTC(x.time)
	return out, err
}

// wireSize is about what a record takes in a message.
func wireSize(r telemetry.Record) int {
	n := 4
	if r.Loss != nil {
		n += 40
	}
	for i := range r.Readings {
		n += 26 + len(r.Readings[i].Value.Text)
		if r.Readings[i].Count > 1 {
			n += 60
		}
		if r.Readings[i].Gap != "" || r.Readings[i].Flag != 0 {
			n += 30
		}
	}
	return n
}

// Rewind puts everything that is on its way back into the queue: the session is
// over, and nobody will acknowledge it any more.
func (c *Core) Rewind() {
	for _, s := range c.segs {
		s.taken, s.noLive, s.noBacklog = nil, false, 0
	}
	c.waited = c.next
}

// Epochs lists the epochs of which something still lies in the spool, with the
// lowest number that does, from the oldest to this run's, which is always among
// them: the server ranks epochs of which it has not heard before in this order.
func (c *Core) Epochs() []telemetry.EpochFloor {
	if c.o.Omit.Floors {
		return nil
	}
	var out []telemetry.EpochFloor
	note := func(e telemetry.Epoch, n uint64) {
		i := slices.IndexFunc(out, func(f telemetry.EpochFloor) bool { return f.Epoch == e })
		if i < 0 {
			i = len(out)
			out = append(out, telemetry.EpochFloor{Epoch: e, Lowest: n})
		}
		out[i].Lowest = min(out[i].Lowest, n)
	}
	for _, s := range c.segs {
		if len(s.open) > 0 {
			note(s.id.Epoch, s.open[0].From)
		}
		for _, n := range sorted(s.losses) {
			l := s.losses[n]
			note(l.Epoch, l.From)
		}
	}
	if len(c.refused) > 0 {
		note(c.o.Epoch, c.refused[0].From)
	}
	note(c.o.Epoch, c.next)
	age := map[telemetry.Epoch]int{} // of what only loss records speak of, nothing is known: it will bring no data
	for i, s := range c.segs {
		if _, ok := age[s.id.Epoch]; !ok {
			age[s.id.Epoch] = i + 1
		}
	}
	slices.SortStableFunc(out, func(x, y telemetry.EpochFloor) int { return cmp.Compare(age[x.Epoch], age[y.Epoch]) })
	return out
}

// floor returns the lowest number of an epoch that is not closed.
func (c *Core) floor(e telemetry.Epoch) uint64 {
	for _, f := range c.Epochs() {
		if f.Epoch == e {
			return f.Lowest
		}
	}
	return c.next
}

// loaded is how many segments beside the active one are kept in memory: one a
// lane.
const loaded = 2

func (c *Core) use(s *segment) {
	c.uses++
	s.lastUse = c.uses
}

func (c *Core) evict() {
	var held []*segment
	for _, s := range c.segs {
		if s != c.active && s.image != nil && s.idle() {
			held = append(held, s)
		}
	}
	slices.SortFunc(held, func(x, y *segment) int { return cmp.Compare(y.lastUse, x.lastUse) })
	for _, s := range held[min(len(held), loaded):] {
		s.image, s.index = nil, nil
	}
}

// Stats returns the core's counts; only the shell knows Quarantined files.
func (c *Core) Stats(now time.Duration) Stats {
	st := c.stats
	st.Epoch, st.Segments = c.o.Epoch, len(c.segs)
	oldest := int64(-1)
	for _, s := range c.segs {
		st.Records += s.open.Len()
		if !c.resolved(s.id.Boot) {
			st.Unresolved += s.unresolved.Minus(s.unresolved.Minus(s.open)).Len()
		}
		if s.id.Boot == c.o.Boot && len(s.open) > 0 && oldest < 0 {
			oldest = s.id.BaseTime
			if i := s.at(s.open[0].From); i < len(s.index) {
				oldest = s.index[i].time
			}
		}
	}
	if oldest >= 0 {
		st.Oldest = max(0, now-time.Duration(oldest)*time.Millisecond)
	}
	return st
}
