package spool

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Policy says what gives way when the spool is full.
type Policy uint8

// The policies.
const (
	DropOldest Policy = iota // the oldest segment goes, and a loss record says so
	RefuseNew                // Append fails with ErrFull, and a loss record says so later
)

// Sample is what one device gave at one time. The samples of one device come
// in the order of their times.
type Sample struct {
	Device   string        // as configured; "" for the gateway itself
	Boottime time.Duration // CLOCK_BOOTTIME at the end of the sampled span
	Readings []telemetry.Reading
}

// ErrFull is what Append wraps when the spool takes nothing more; the sample's
// number is then reported as lost with reason quota.
var ErrFull = errors.New("the spool is full")

// ErrSample is what Append wraps when a sample can't be kept, whatever room
// there is; it gets no number.
var ErrSample = errors.New("the sample is not usable")

// Bounds of a sample, so that any one fits into a message.
const (
	MaxReadings = 256
	MaxText     = 16 << 10 // bytes of all its texts together
)

// LiveAge is how long a record counts as what is happening now.
const LiveAge = 5 * time.Minute

// Omit leaves out rules of the core, so that the simulation can show what each
// of them is for. Nothing else sets it.
type Omit struct {
	Durable        bool // records are sent before they are fsynced
	MappingDurable bool // H1: a record is sent before the mapping that stamps it is fsynced
	FixedStamp     bool // H1: the newest mapping of the boot stamps its records
	EpochPerRun    bool // H3: a process goes on with the epoch it finds
	Floors         bool // H4: no epochs in the birth, no floor in messages
	NoClock        bool // H5: records without a mapping wait for ever
	LiveByBoottime bool // H6: all that waited when the session began is backlog
	UnbrokenRuns   bool // H13: messages may have holes and mix clocks
}

// CoreOptions are what a Core needs. Epoch is random and new.
type CoreOptions struct {
	Epoch        telemetry.Epoch
	Boot         clock.BootID
	Quota        int64
	SegmentBytes int64
	SyncEvery    time.Duration
	SyncCount    int
	Policy       Policy
	Omit         Omit
}

// OpKind says what the shell has to do.
type OpKind uint8

// The operations. The shell carries them out in order; only OpSync may run
// beside what follows it.
const (
	OpCreate    OpKind = iota // make the segment's file, and fsync its folder
	OpWrite                   // write Data at Off; then Written(Off, its end) or WriteFailed
	OpSync                    // fsync the segment; then Synced(To) or SyncFailed
	OpPatch                   // write Data at Off and fsync; nobody waits for it
	OpTruncate                // cut the segment at To and fsync; nobody waits for it
	OpRemove                  // remove the segment's file
	OpSetAside                // append Data to the file Name, and fsync it
	OpMoveAside               // move the unreadable segment to where OpSetAside puts things
)

// Op is one operation on the disk.
type Op struct {
	Kind    OpKind
	Segment SegmentID
	Off, To int64
	Data    []byte
	Name    string
}

// Core is the spool without a disk: a state machine without clock, goroutine
// or I/O. Recover takes the segments that lie there, in order, then Start
// begins the epoch. Whatever is called, Take then returns the operations that
// the shell owes, and Wants a segment that the core wants to read.
type Core struct {
	o       CoreOptions
	next    uint64 // the next number of this epoch
	segs    []*segment
	active  *segment
	epochs  map[telemetry.Epoch]*epochState
	maps    map[clock.BootID]*bootState
	ops     []Op
	after   []afterSync
	missing []missing
	salvage []*salvage
	want    *SegmentID
	uses    uint64

	recent    []clock.Mapping   // mappings that the active segment repeats
	shapeIDs  map[string]uint64 // of this epoch, by device and quantities
	nextShape uint64
	shapeAt   map[uint64]int64 // where in the active segment it stands last
	mapAt     int64            // where the mapping in force stands last
	lastTime  map[string]int64 // newest time of each device in this boot
	minTime   int64            // newest time of an earlier epoch of this boot

	dirtySince time.Duration
	dirtyCount int
	urgent     bool
	acked      map[telemetry.Epoch]Spans // not yet written down
	refused    Spans                     // numbers of this epoch that found no room
	refusedAt  time.Duration
	retryAt    time.Duration // of a failed write or fsync
	failures   int
	ceiling    int64 // quota while the disk's free floor is broken, 0 = not
	waited     uint64

	stats Stats
}

// epochState is what is known of one epoch.
type epochState struct {
	shapes map[uint64]shape
	acked  Spans // only until Start
}

// bootState holds the mappings of one boot.
type bootState struct {
	mappings   []keptMapping // by ordinal
	maxOrdinal uint32        // seen in a mapping or in a sample
}

type keptMapping struct {
	clock.Mapping
	durable bool
	seq     uint64 // segment and end of its frame while not durable
	end     int64
}

// afterSync holds something back until a segment is durable up to end: an
// operation, or that given-up numbers of an epoch are closed for ever, which is
// true only once the loss records are on disk that say so.
type afterSync struct {
	seq   uint64
	end   int64
	op    Op
	epoch telemetry.Epoch
	gone  Spans // nil = op
}

// salvage is a segment with records that can never be stamped.
type salvage struct {
	seg    *segment
	spans  Spans
	reason telemetry.LossReason
}

// NewCore returns an empty core.
func NewCore(o CoreOptions) *Core {
	return &Core{
		o: o, next: 1,
		epochs: map[telemetry.Epoch]*epochState{}, maps: map[clock.BootID]*bootState{},
		shapeIDs: map[string]uint64{}, shapeAt: map[uint64]int64{}, lastTime: map[string]int64{},
		acked: map[telemetry.Epoch]Spans{},
	}
}

// Take returns the operations that have come up, and forgets them.
func (c *Core) Take() []Op {
	ops := c.ops
	c.ops = nil
	return ops
}

// Epoch returns this run's epoch.
func (c *Core) Epoch() telemetry.Epoch { return c.o.Epoch }

// LastMapping returns the newest mapping of this boot.
func (c *Core) LastMapping() (clock.Mapping, bool) {
	b := c.maps[c.o.Boot]
	if b == nil || len(b.mappings) == 0 {
		return clock.Mapping{}, false
	}
	return b.mappings[len(b.mappings)-1].Mapping, true
}

// AddMapping records a mapping of this boot and asks for an fsync. From now on
// it stamps samples that are not older than it, and all that waited for the
// first mapping of the boot.
func (c *Core) AddMapping(m clock.Mapping, now time.Duration) {
	b := c.boot(c.o.Boot)
	b.maxOrdinal++
	m.Boot, m.Ordinal = c.o.Boot, b.maxOrdinal
	c.room(c.next, now)
	c.writeMapping(m)
	b.mappings = append(b.mappings, keptMapping{Mapping: m, seq: c.active.id.Seq, end: c.active.size})
	c.recent = append(c.recent, m)
	c.dirty(now)
	c.urgent = true
	c.flushWrites()
}

// Append takes a sample and returns its number.
func (c *Core) Append(s Sample, now time.Duration) (uint64, error) {
	readings, err := usable(s)
	if err != nil {
		return 0, err
	}
	need := int64(64 + 24*len(readings))
	for c.over(need) && c.o.Policy == DropOldest && c.dropOldest(now) {
	}
	if c.over(need) || int64(len(c.active.image))-c.active.written > c.o.SegmentBytes {
		number := c.refuse(now)
		return number, fmt.Errorf("keep record %d of %d bytes in %d: %w", number, need, c.o.Quota, ErrFull)
	}
	c.stats.Full = false
	c.reportRefused(now)
	number := c.next // numbers grow through the log, so it comes after those of loss records
	c.next++
	c.room(number, now)

	t := max(clock.Millis(s.Boottime), c.minTime+1)
	if last, ok := c.lastTime[s.Device]; ok && t <= last {
		t = last + 1 // two samples of one device never share a millisecond
	}
	c.lastTime[s.Device] = t
	h := head{kind: kindSample, number: number, time: t, ordinal: c.ordinalFor(t)}
	id := c.shapeFor(s.Device, readings)
	c.writeNumbered(h, appendSample(nil, c.active.id, h, id, readings))
	c.stats.Appended++
	c.stats.Readings += uint64(len(readings))
	c.dirty(now)
	c.flushWrites()
	return number, nil
}

// usable checks a sample and turns what is no number into a gap.
func usable(s Sample) ([]telemetry.Reading, error) {
	bad := func(format string, args ...any) ([]telemetry.Reading, error) {
		return nil, fmt.Errorf("%w: device %q: %s", ErrSample, s.Device, fmt.Sprintf(format, args...))
	}
	if s.Device != "" {
		if err := telemetry.CheckID(s.Device); err != nil {
			return bad("name %v", err)
		}
	}
	if len(s.Readings) == 0 || len(s.Readings) > MaxReadings {
		return bad("%d readings, want 1 to %d", len(s.Readings), MaxReadings)
	}
	out := slices.Clone(s.Readings)
	seen := make(map[string]bool, len(out))
	text := 0
	for i := range out {
		r := &out[i]
		if err := telemetry.CheckID(r.Quantity); err != nil {
			return bad("quantity %v", err)
		}
		if seen[r.Quantity] {
			return bad("quantity %s stands twice", r.Quantity)
		}
		seen[r.Quantity] = true
		switch {
		case r.Gap != telemetry.GapNone:
			*r = telemetry.Reading{Quantity: r.Quantity, Gap: r.Gap}
		case !r.Value.Finite():
			*r = telemetry.Reading{Quantity: r.Quantity, Gap: telemetry.GapNotNumber}
		case r.Value.Type == telemetry.Text:
			r.Value.Text = strings.ToValidUTF8(r.Value.Text, "\uFFFD")
			if text += len(r.Value.Text); text > MaxText {
				return bad("more than %d bytes of text", MaxText)
			}
			r.Value.Number, r.Count, r.Min, r.Max = 0, 0, 0, 0
		case r.Value.Type == telemetry.Bool || r.Count <= 1 || !finite(r.Min) || !finite(r.Max):
			r.Count, r.Min, r.Max = 0, 0, 0
		}
	}
	return out, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// ordinalFor picks the mapping that stamps a sample: the last that began before
// it. The choice is written into the record and never changes.
func (c *Core) ordinalFor(t int64) uint32 {
	if len(c.recent) == 0 {
		return 0
	}
	for i := len(c.recent) - 1; i > 0; i-- {
		if c.recent[i].From <= t {
			return c.recent[i].Ordinal
		}
	}
	return c.recent[0].Ordinal
}

// shapeFor returns the id of a device's list of quantities, and sees to it that
// the active segment holds it: at its first use, again in the next page (one
// lost page must not take the segment with it), then from time to time.
func (c *Core) shapeFor(device string, readings []telemetry.Reading) uint64 {
	var key strings.Builder
	key.WriteString(device)
	for i := range readings {
		key.WriteByte('/') // stands in no name
		key.WriteString(readings[i].Quantity)
	}
	id, known := c.shapeIDs[key.String()]
	e := c.epoch(c.o.Epoch)
	if !known {
		sh := shape{device: device, quantities: make([]string, len(readings))}
		for i := range readings {
			sh.quantities[i] = readings[i].Quantity
		}
		id = c.nextShape
		c.nextShape++
		c.shapeIDs[key.String()] = id
		e.shapes[id] = sh
	}
	if at, ok := c.shapeAt[id]; !ok || due(at, c.active.size) {
		c.shapeAt[id] = c.active.size
		c.write(appendShape(nil, id, e.shapes[id]))
	}
	return id
}

// due says whether what stands at offset at should be repeated at offset now.
func due(at, now int64) bool {
	const page, far = 4 << 10, 32 << 10
	return now-at >= far || at < page && now >= page
}

func (c *Core) writeMapping(m clock.Mapping) {
	c.mapAt = c.active.size
	c.write(appendMapping(nil, m))
}

// room begins a new segment, for number and what follows, if the active one is
// full and on disk, and repeats the mapping in force where one lost page should
// not take it.
func (c *Core) room(number uint64, now time.Duration) {
	if c.active.size >= c.o.SegmentBytes && c.active.written == c.active.size {
		c.begin(SegmentID{Base: number, BaseTime: clock.Millis(now)})
	}
	if n := len(c.recent); n > 0 && due(c.mapAt, c.active.size) {
		c.writeMapping(c.recent[n-1])
	}
}

// begin makes a new active segment. It repeats what older segments, which may
// be removed before it, hold for others: mappings and acknowledgements.
func (c *Core) begin(id SegmentID) {
	old := c.active
	if c.active != nil {
		id.Seq = c.active.id.Seq + 1
		c.urgent = true // the old one is fsynced soon
	} else if n := len(c.segs); n > 0 {
		id.Seq = c.segs[n-1].id.Seq + 1
	} else {
		id.Seq = 1
	}
	id.Epoch, id.Boot = c.o.Epoch, c.o.Boot
	id.Base, id.BaseTime = max(id.Base, 1), max(id.BaseTime, 0)
	c.active = &segment{id: id, losses: map[uint64]telemetry.Loss{}}
	c.segs = append(c.segs, c.active)
	c.ops = append(c.ops, Op{Kind: OpCreate, Segment: id})
	clear(c.shapeAt)
	c.write(appendContext(nil, id, id.Boot))
	repeated := map[clock.BootID]bool{}
	for _, s := range c.segs {
		if m, ok := c.boot(s.id.Boot).find(1); ok && len(s.unresolved) > 0 && !repeated[s.id.Boot] {
			repeated[s.id.Boot] = true
			c.write(appendMapping(nil, m.Mapping))
		}
	}
	c.recent = c.recent[:0]
	ms := c.boot(c.o.Boot).mappings
	for _, m := range ms[max(0, len(ms)-4):] {
		c.recent = append(c.recent, m.Mapping)
		c.writeMapping(m.Mapping)
	}
	closed := map[telemetry.Epoch]Spans{}
	for _, s := range c.segs {
		all := closed[s.id.Epoch]
		for _, x := range s.all.Minus(s.open) {
			all.Add(x.From, x.To)
		}
		closed[s.id.Epoch] = all
	}
	for _, a := range c.after {
		closed[a.epoch] = closed[a.epoch].Minus(a.gone)
	}
	c.writeAcks(closed)
	clear(c.acked)
	if old != nil {
		c.removeIfDone(old)
	}
}

func (c *Core) writeAcks(acks map[telemetry.Epoch]Spans) {
	for _, e := range sorted(acks) {
		spans := acks[e]
		for part := range slices.Chunk(spans, 1024) {
			c.write(appendAcks(nil, e, part))
		}
	}
}

// sorted returns a map's keys in order: the same events always give the same
// bytes.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// write appends one frame to the active segment.
func (c *Core) write(payload []byte) {
	a := c.active
	before := len(a.image)
	a.image = appendFrame(a.image, a.id.Seq, payload)
	a.size = int64(len(a.image))
	c.stats.Bytes += a.size - int64(before)
}

func (c *Core) writeNumbered(h head, payload []byte) {
	a := c.active
	off := a.size
	c.write(payload)
	a.index = append(a.index, entry{h, int32(off), int32(a.size)})
	a.all.Add(h.number, h.number)
	a.open.Add(h.number, h.number)
	if h.kind == kindSample && h.ordinal == 0 {
		a.unresolved.Add(h.number, h.number)
	}
	a.seen(h.time)
}

// flushWrites asks for the writes that are due.
func (c *Core) flushWrites() {
	for _, s := range c.segs {
		if s.queued < s.size && c.failures == 0 {
			c.ops = append(c.ops, Op{Kind: OpWrite, Segment: s.id, Off: s.queued, Data: s.image[s.queued:s.size:s.size]})
			s.queued = s.size
		}
	}
}

func (c *Core) dirty(now time.Duration) {
	if c.dirtyCount == 0 {
		c.dirtySince = now
	}
	c.dirtyCount++
}

func (c *Core) epoch(e telemetry.Epoch) *epochState {
	s := c.epochs[e]
	if s == nil {
		s = &epochState{shapes: map[uint64]shape{}}
		c.epochs[e] = s
	}
	return s
}

func (c *Core) boot(b clock.BootID) *bootState {
	s := c.maps[b]
	if s == nil {
		s = &bootState{}
		c.maps[b] = s
	}
	return s
}

func (b *bootState) find(ordinal uint32) (*keptMapping, bool) {
	i, ok := slices.BinarySearchFunc(b.mappings, ordinal, func(m keptMapping, o uint32) int { return int(m.Ordinal) - int(o) })
	if !ok {
		return nil, false
	}
	return &b.mappings[i], true
}

func (c *Core) segment(id SegmentID) *segment {
	i, ok := slices.BinarySearchFunc(c.segs, id.Seq, func(s *segment, seq uint64) int {
		switch {
		case s.id.Seq < seq:
			return -1
		case s.id.Seq > seq:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return c.segs[i]
}
