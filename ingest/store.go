package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Limits of what may burden the database: devices, and quantities outside the
// catalogue, of one node over its life, and names of such quantities of all
// nodes, since each is a field of one measurement.
const (
	maxDevices = 256
	maxOther   = 64
	maxNames   = 1024
)

// Store is the store reader's first half: messages → batches of points. What
// became of a batch goes to Books, the second half; the two share nothing, so
// the next batch can be made while one is being written. Its state is the
// numbering of clock ids and what each node has used of its budget.
type Store struct {
	holes   Holes
	clocks  map[telemetry.Node]*clockNumbers
	budgets map[telemetry.Node]*budget
	names   map[string]bool // of quantities outside the catalogue
	plans   map[*Birth]*plan
	batch   *Batch
	serial  uint64
	delta   checkpoint.Delta
}

// clockNumbers numbers a gateway's clock ids in journal order.
type clockNumbers struct {
	byID map[telemetry.ClockID]uint32
	next uint32
}

// budget is what a node has used.
type budget struct {
	devices map[string]bool
	other   map[[2]string]bool
}

// plan is how the readings under one birth are written.
type plan struct {
	heads  [][]byte
	fields []fieldPlan
	// The last clock id, so that a message costs no lookup.
	clock     telemetry.ClockID
	number    uint32
	haveClock bool
	// The last hour marked in the batch of this serial.
	hour   int64
	serial uint64
}

type fieldPlan struct {
	key  []byte // escaped name of the quantity
	head int32  // index into heads
	drop bool   // the node's budget is used up
}

// NewStore returns a store that stands at the journal's beginning.
func NewStore(h Holes) *Store {
	s := &Store{holes: h, clocks: map[telemetry.Node]*clockNumbers{}, budgets: map[telemetry.Node]*budget{}, names: map[string]bool{}, plans: map[*Birth]*plan{}}
	s.batch = s.newBatch(nil)
	return s
}

// Batch is a batch of points and what has to be noted once they are stored.
type Batch struct {
	Seq      uint64 // the journal up to here is in this batch and those before
	Lines    []byte // line protocol
	Points   int
	Readings int
	// Letters are what could not become points.
	Letters []Letter
	// Delta is the change of Store's state that belongs to Seq.
	Delta checkpoint.Delta

	points   []point
	messages []messageRef
	notes    []note
	marks    map[HourMark]struct{}
	births   []*Birth
	serial   uint64
	unknown  int // metrics no birth knew
	dropped  int // readings beyond a node's budget
	late     int
	rejected int
}

// point is one line of a batch: its end, and where it came from.
type point struct {
	end     int
	message int32
	record  int32
}

// messageRef keeps what a dead letter needs, should the database refuse a point.
type messageRef struct {
	pos      Position
	packet   envelope.Packet
	node     telemetry.Node
	birth    *Birth
	numbered bool
	run      telemetry.Run
}

// note is one entry for the ledger.
type note struct {
	kind     noteKind
	message  int32 // of records
	node     telemetry.Node
	epoch    telemetry.Epoch
	from, to uint64
	class    class
	reason   telemetry.LossReason
	foreign  [4]uint64 // stored, rejected, gaps, lost
	epochs   []telemetry.EpochFloor
}

type noteKind uint8

const (
	noteRecords noteKind = iota // from..to of the message's epoch have class
	noteLoss                    // from..to of epoch are lost
	noteFloor                   // to is the floor
	noteListed                  // epochs of an NBIRTH
	noteForeign                 // records without numbers
)

// Empty reports whether nothing has come into the batch but its place.
func (b *Batch) Empty() bool {
	return b.Points == 0 && len(b.notes) == 0 && len(b.Letters) == 0 && len(b.births) == 0 && b.Delta.Len() == 0
}

// Line returns the i-th point.
func (b *Batch) Line(i int) []byte { return b.Lines[b.start(i):b.points[i].end] }

func (b *Batch) start(i int) int {
	if i == 0 {
		return 0
	}
	return b.points[i-1].end
}

func (s *Store) newBatch(reuse *Batch) *Batch {
	s.serial++
	b := reuse
	if b == nil {
		b = &Batch{marks: map[HourMark]struct{}{}}
	}
	clear(b.messages)
	clear(b.notes)
	clear(b.Letters)
	clear(b.births)
	clear(b.marks)
	*b = Batch{
		Lines: b.Lines[:0], Letters: b.Letters[:0], points: b.points[:0], messages: b.messages[:0], notes: b.notes[:0],
		marks: b.marks, births: b.births[:0], serial: s.serial,
	}
	return b
}

// Batch returns the batch being filled.
func (s *Store) Batch() *Batch { return s.batch }

// Take ends the batch being filled and returns it, complete up to seq. The next
// one reuses the memory of reuse, which may be nil and must not be used any
// more.
func (s *Store) Take(seq uint64, reuse *Batch) *Batch {
	b := s.batch
	b.Seq, b.Delta = seq, s.delta
	s.delta = checkpoint.Delta{}
	s.batch = s.newBatch(reuse)
	if len(s.plans) > maxPlans {
		clear(s.plans)
	}
	return b
}

// maxPlans bounds the births whose plans are remembered.
const maxPlans = 1 << 16

// Message takes one message into the batch.
func (s *Store) Message(m *Message) {
	b := s.batch
	b.unknown += m.Unknown
	if m.Reason != ReasonNone {
		b.Letters = append(b.Letters, newLetter(m, m.Reason, m.Err, nil))
		s.floor(m)
		return
	}
	switch m.Type {
	case sparkplug.NBIRTH, sparkplug.DBIRTH:
		b.births = append(b.births, m.Birth)
		if m.Birth.Wire == 1 {
			b.notes = append(b.notes, note{kind: noteListed, node: m.Node, epochs: m.Birth.Epochs})
			return
		}
	case sparkplug.NDATA, sparkplug.DDATA:
	default:
		return
	}
	if m.Birth == nil {
		return
	}
	s.records(m)
	s.floor(m)
}

func (s *Store) floor(m *Message) {
	if m.Numbered {
		s.batch.notes = append(s.batch.notes, note{kind: noteFloor, node: m.Node, epoch: m.Run.Epoch, to: m.Run.Floor})
	}
}

// Tick and Rules change nothing here.
func (s *Store) Tick(uint64, envelope.Tick, int64) {}
func (s *Store) Rules(uint64, envelope.Rules)      {}

var (
	errClocks = errors.New("more clock ids than a point's time has room for")
	errTime   = errors.New("time of the record does not fit the database")
)

func (s *Store) records(m *Message) {
	b := s.batch
	p := s.plan(m.Birth)
	var clock uint32
	if m.Numbered {
		var ok bool
		if clock, ok = s.clock(p, m.Node, m.Run.Clock); !ok {
			b.Letters = append(b.Letters, newLetter(m, ReasonClocks, errClocks, nil))
			return
		}
	}
	message := int32(len(b.messages))
	b.messages = append(b.messages, messageRef{pos: m.Pos, packet: *m.Packet, node: m.Node, birth: m.Birth, numbered: m.Numbered, run: m.Run})
	var badTimes []int
	foreign := note{kind: noteForeign, node: m.Node, message: message}
	k := 0
	for i := range m.Records {
		r := &m.Records[i]
		series := m.Series[k : k+len(r.Readings)]
		k += len(r.Readings)
		if m.Late[i] {
			b.late++
		}
		c := class{status: Stored}
		switch {
		case r.Loss != nil:
			b.notes = append(b.notes, note{kind: noteLoss, node: m.Node, epoch: r.Loss.Epoch, from: r.Loss.From, to: r.Loss.To, reason: r.Loss.Reason})
		case len(r.Readings) == 0: // says nothing, and has arrived
		case r.Time < 0 || r.Time > maxTime:
			badTimes = append(badTimes, m.place(i))
			continue
		default:
			c = s.record(p, r, series, clock, message, int32(m.place(i)))
			if c.status != Lost {
				s.mark(p, m.Node, r.Time)
			}
		}
		if !m.Numbered {
			foreign.count(c)
			continue
		}
		// One note for neighbours of one class.
		if n := len(b.notes); n > 0 && b.notes[n-1].kind == noteRecords && b.notes[n-1].message == message &&
			b.notes[n-1].to+1 == r.Number && b.notes[n-1].class == c {
			b.notes[n-1].to = r.Number
		} else {
			b.notes = append(b.notes, note{kind: noteRecords, message: message, node: m.Node, epoch: m.Run.Epoch, from: r.Number, to: r.Number, class: c})
		}
	}
	if !m.Numbered && foreign.foreign != [4]uint64{} {
		b.notes = append(b.notes, foreign)
	}
	if len(badTimes) > 0 {
		b.Letters = append(b.Letters, newLetter(m, ReasonTime, errTime, badTimes))
	}
}

func (n *note) count(c class) {
	if c.status == Lost {
		n.foreign[3]++
		return
	}
	n.foreign[0]++
	if c.status == Rejected {
		n.foreign[1]++
	}
	if c.gap {
		n.foreign[2]++
	}
}

// record writes the points of one record: one for each kind among its
// quantities. It returns what the ledger is to say of it.
func (s *Store) record(p *plan, r *telemetry.Record, series []int32, clock uint32, message, record int32) class {
	b := s.batch
	c := class{status: Lost, reason: lossCode(LossLimit)}
	for first := range r.Readings {
		f := &p.fields[series[first]]
		if f.drop {
			b.dropped++
			continue
		}
		head := f.head
		if first > 0 && written(p, series[:first], head) {
			continue
		}
		b.Lines = append(b.Lines, p.heads[head]...)
		for j := first; j < len(r.Readings); j++ {
			f := &p.fields[series[j]]
			if f.head != head || f.drop {
				continue
			}
			rd := &r.Readings[j]
			if j > first {
				b.Lines = append(b.Lines, ',')
			}
			b.Lines = appendField(b.Lines, f.key, rd)
			b.Readings++
			c.status, c.reason = max(c.status, Stored), 0
			switch {
			case rd.Gap != telemetry.GapNone:
				c.gap = true
			case rd.Flag != telemetry.FlagNone:
				c.status = Rejected
				b.rejected++
			}
		}
		b.Lines = appendTime(b.Lines, r.Time, clock)
		b.Points++
		b.points = append(b.points, point{end: len(b.Lines), message: message, record: record})
	}
	return c
}

// written reports whether a point with this head was made of the readings
// before.
func written(p *plan, series []int32, head int32) bool {
	for _, def := range series {
		if f := &p.fields[def]; f.head == head && !f.drop {
			return true
		}
	}
	return false
}

func (s *Store) mark(p *plan, n telemetry.Node, ms int64) {
	hour := ms / 3_600_000
	if p.serial == s.batch.serial && p.hour == hour {
		return
	}
	p.serial, p.hour = s.batch.serial, hour
	s.batch.marks[HourMark{Node: n, Hour: hour}] = struct{}{}
}

// clock returns the number of a clock id among its gateway's, in the order in
// which the journal names them.
func (s *Store) clock(p *plan, n telemetry.Node, id telemetry.ClockID) (uint32, bool) {
	if s.holes.ClockNotInKey {
		return 0, true
	}
	if p.haveClock && p.clock == id {
		return p.number, true
	}
	c := s.clocks[n]
	if c == nil {
		c = &clockNumbers{byID: map[telemetry.ClockID]uint32{}}
		s.clocks[n] = c
	}
	number, ok := c.byID[id]
	if !ok {
		if c.next >= maxClocks {
			return 0, false
		}
		number = c.next
		c.next++
		c.byID[id] = number
		s.delta.Put(tableClocks, clockKey(n, id), binary.AppendUvarint(nil, uint64(number)))
	}
	p.clock, p.number, p.haveClock = id, number, true
	return number, true
}

// plan prepares the writing of what comes under a birth.
func (s *Store) plan(birth *Birth) *plan {
	if p := s.plans[birth]; p != nil {
		return p
	}
	p := &plan{fields: make([]fieldPlan, len(birth.Series))}
	type headKey struct {
		kind   telemetry.Kind
		device string
	}
	heads := map[headKey]int32{}
	for i := range birth.Series {
		d := &birth.Series[i]
		if d.Quantity == "" {
			continue
		}
		k := headKey{d.Kind, d.Device}
		h, ok := heads[k]
		if !ok {
			h = int32(len(p.heads))
			heads[k] = h
			p.heads = append(p.heads, pointHead(d.Kind, birth.Node, d.Device))
		}
		p.fields[i] = fieldPlan{key: []byte(escapeTag.Replace(d.Quantity)), head: h, drop: !s.afford(birth.Node, d)}
	}
	s.plans[birth] = p
	return p
}

// afford takes a series from the node's budget, once.
func (s *Store) afford(n telemetry.Node, d *Series) bool {
	u := s.budgets[n]
	if u == nil {
		u = &budget{devices: map[string]bool{}, other: map[[2]string]bool{}}
		s.budgets[n] = u
	}
	if !u.devices[d.Device] {
		if len(u.devices) >= maxDevices {
			return false
		}
		u.devices[d.Device] = true
		s.delta.Put(tableDevices, appendName(nodeKey(n), d.Device), nil)
	}
	if d.Known {
		return true
	}
	name := [2]string{d.Device, d.Quantity}
	if !u.other[name] {
		if len(u.other) >= maxOther || (!s.names[d.Quantity] && len(s.names) >= maxNames) {
			return false
		}
		u.other[name], s.names[d.Quantity] = true, true
		s.delta.Put(tableOther, appendName(appendName(nodeKey(n), d.Device), d.Quantity), nil)
	}
	return true
}

// Tables of the store's checkpoint.
const (
	tableClocks  = "clocks"
	tableDevices = "devices"
	tableOther   = "other"
)

func clockKey(n telemetry.Node, id telemetry.ClockID) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nodeKey(n), uint64(id.Epoch)), id.Counter)
}

// clockRows adds the numbers of all clock ids.
func (s *Store) clockRows(d *checkpoint.Delta) {
	for n, c := range s.clocks {
		for id, number := range c.byID {
			d.Put(tableClocks, clockKey(n, id), binary.AppendUvarint(nil, uint64(number)))
		}
	}
}

// Load takes one row; rows of other tables are ignored.
func (s *Store) Load(table string, key, value []byte) error {
	switch table {
	case tableClocks, tableDevices, tableOther:
	default:
		return nil
	}
	n, rest, err := cutNode(key)
	if err != nil {
		return err
	}
	if table == tableClocks {
		u := unpack{b: value}
		number := u.uvarint()
		if len(rest) != 12 {
			u.bad = true
		}
		if err := u.done("clock", key); err != nil {
			return err
		}
		c := s.clocks[n]
		if c == nil {
			c = &clockNumbers{byID: map[telemetry.ClockID]uint32{}}
			s.clocks[n] = c
		}
		c.byID[telemetry.ClockID{Epoch: telemetry.Epoch(binary.BigEndian.Uint64(rest)), Counter: binary.BigEndian.Uint32(rest[8:])}] = uint32(number)
		c.next = max(c.next, uint32(number)+1)
		return nil
	}
	u := s.budgets[n]
	if u == nil {
		u = &budget{devices: map[string]bool{}, other: map[[2]string]bool{}}
		s.budgets[n] = u
	}
	device, rest, err := cutName(rest)
	if err != nil {
		return err
	}
	if table == tableDevices {
		u.devices[device] = true
		return nil
	}
	quantity, _, err := cutName(rest)
	if err != nil {
		return fmt.Errorf("checkpoint row other %x: %w", key, err)
	}
	u.other[[2]string{device, quantity}], s.names[quantity] = true, true
	return nil
}

// Checkpoint adds what changed since the last Take. Reader shells of the store
// use Batch.Delta instead.
func (s *Store) Checkpoint(d *checkpoint.Delta) {
	d.Join(s.delta)
	s.delta = checkpoint.Delta{}
}

var _ Core = (*Store)(nil)
