package ingest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/ingest/quality"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Reason says why a message or a record is a dead letter.
type Reason string

// The reasons of dead letters.
const (
	ReasonNone    Reason = ""
	ReasonNoBirth Reason = "no_birth"    // data without a birth of their session
	ReasonTopic   Reason = "bad_topic"   // not a Sparkplug topic
	ReasonPayload Reason = "bad_payload" // not a Sparkplug B payload
	ReasonBirth   Reason = "bad_birth"   // a birth that says no usable thing
	ReasonData    Reason = "bad_data"    // does not fit its birth, or is no unbroken run
	ReasonTime    Reason = "bad_time"    // a time that the database cannot hold
	ReasonClocks  Reason = "clock_ids"   // more clock ids than a point's time has room for
	ReasonRefused Reason = "refused"     // the database refused the point
)

// Message is one packet of the journal, decoded and judged. Everything in it is
// valid only during the call that hands it over, except Birth.
type Message struct {
	Pos      Position
	Packet   *envelope.Packet
	Type     sparkplug.MessageType
	Node     telemetry.Node
	Device   string // the topic's
	Received int64  // Unix nanoseconds UTC by the server's clock
	Synced   bool   // that clock was synchronised
	// NewestSession says that the session is that of the node's newest NBIRTH.
	NewestSession bool
	// Birth is the birth by which data are decoded; of a birth, itself. It is nil
	// where there is none.
	Birth *Birth
	// Records are the readings of data, and the values in foreign births. Flags are
	// already those of quality.
	Records []telemetry.Record
	// Series holds for every reading, in order, the index into Birth.Series.
	Series []int32
	// Late says for every record whether it may page anybody.
	Late []bool
	// Numbered says that Records have numbers of our ledger and Run is set.
	Numbered bool
	Run      telemetry.Run
	Rank     uint64 // of Run.Epoch among the node's epochs
	Backlog  bool   // the sender says that these are not live
	Unknown  int    // metrics that the birth does not know
	BdSeq    uint64 // of NDEATH
	Sent     int64  // of DDEATH: its payload's time, Unix milliseconds; the receive time if it has none
	Seq      uint64 // Sparkplug's own sequence, 0…255; NoSeq if absent
	// Reason and Err are set on dead letters. Run is still set if the run itself
	// could be read.
	Reason Reason
	Err    error

	places []int // of Records within the packet, where they are not all of it
}

// place returns the place of record i within its packet.
func (m *Message) place(i int) int {
	if m.places != nil {
		return m.places[i]
	}
	return i
}

// NoSeq stands where a message has no Sparkplug sequence.
const NoSeq = 256

// Core is the pure half of a reader: it takes what its Feed decoded and keeps a
// state that a checkpoint can carry. Its methods are called from one goroutine,
// in journal order.
type Core interface {
	// Message takes one packet.
	Message(m *Message)
	// Tick takes a tick, and the frontier of receive time (Unix nanoseconds) that
	// it moved to.
	Tick(seq uint64, t envelope.Tick, frontier int64)
	// Rules takes a change of rules. Those named RulesQuality have already been
	// taken by the Feed.
	Rules(seq uint64, r envelope.Rules)
	// Load takes one row of the checkpoint, before anything else.
	Load(table string, key, value []byte) error
	// Checkpoint adds what changed since its last call.
	Checkpoint(d *checkpoint.Delta)
}

// RulesQuality names the rules entries that Feed takes.
const RulesQuality = "quality"

// Feed turns journal entries into judged messages. It is the part of a reader's
// state that all readers have in common: the quality rules in force and the
// frontier of receive time. Births it shares with the other readers.
type Feed struct {
	births   *Births
	holes    Holes
	rules    quality.Rules
	rulesRaw []byte
	frontier Frontier
	changed  struct{ rules, frontier bool }

	sessions   map[uint64]*feedSession
	generation uint64 // of births seen: what was looked up before is looked up again
	judges     uint64 // generation of the rules

	payload sparkplug.Payload
	data    sparkplug.Data
	late    []bool
	message Message
}

// feedSession is what a feed remembers of a connection, so that a message costs
// no lookup by text.
type feedSession struct {
	topics     []*feedTopic
	generation uint64
	newest     bool
	epoch      telemetry.Epoch
	rank       uint64
}

type feedTopic struct {
	name       string
	topic      sparkplug.Topic
	err        error
	generation uint64
	birth      *judgedBirth
}

// judgedBirth is a birth with the rules of its series.
type judgedBirth struct {
	*Birth
	judges     []quality.Judge
	generation uint64
}

// maxFeedSessions bounds what a feed remembers; it then forgets all and looks
// up again.
const maxFeedSessions = 1 << 16

// NewFeed returns a feed that stands at the journal's beginning.
func NewFeed(births *Births, h Holes) *Feed {
	f := &Feed{births: births, holes: h, sessions: map[uint64]*feedSession{}, judges: 1, generation: 1}
	f.frontier.hole = h.WallFrontier
	return f
}

// QualityRules returns the rules in force.
func (f *Feed) QualityRules() quality.Rules { return f.rules }

// SetQualityRules sets the rules as if an entry had done so.
func (f *Feed) SetQualityRules(r quality.Rules, raw []byte) {
	f.rules, f.rulesRaw = r, raw
	f.judges++
	f.changed.rules = true
}

// Entry hands the entry at seq to core, message by message. An error means that
// the entry, or its rest, can't be read at all (ErrCorrupt of envelope) or holds
// rules that make no sense: what could be read has been handed over, and going
// on with the next entry is right.
func (f *Feed) Entry(seq uint64, body []byte, core Core) error {
	kind, err := envelope.KindOf(body)
	if err != nil {
		return fmt.Errorf("journal entry %d: %w", seq, err)
	}
	switch kind {
	case envelope.KindTick:
		t, err := envelope.DecodeTick(body)
		if err != nil {
			return fmt.Errorf("journal entry %d: %w", seq, err)
		}
		f.frontier.Tick(t)
		f.changed.frontier = true
		core.Tick(seq, t, f.frontier.At)
	case envelope.KindRules:
		r, err := envelope.DecodeRules(body)
		if err != nil {
			return fmt.Errorf("journal entry %d: %w", seq, err)
		}
		if r.Name == RulesQuality && !f.holes.RulesAtOnce {
			rules, err := quality.Parse(r.Body)
			if err != nil {
				return fmt.Errorf("journal entry %d: the rules before it stay in force: %w", seq, err)
			}
			f.SetQualityRules(rules, slices.Clone(r.Body))
		}
		core.Rules(seq, r)
	case envelope.KindPackets:
		var index uint32
		for p, err := range envelope.Packets(body) {
			if err != nil {
				return fmt.Errorf("journal entry %d after packet %d: %w", seq, index, err)
			}
			f.Packet(Position{Seq: seq, Index: index}, p, core)
			index++
		}
	}
	return nil
}

// Packet decodes one packet and hands it to core.
func (f *Feed) Packet(pos Position, p *envelope.Packet, core Core) {
	s := f.session(p.Session)
	t := s.topic(p.Topic)
	m := &f.message
	*m = Message{
		Pos: pos, Packet: p, Type: t.topic.Type, Node: t.topic.Node, Device: t.topic.Device,
		Received: p.Received, Synced: p.Flags&envelope.FlagClockUnsynced == 0, Seq: NoSeq,
	}
	f.late = f.late[:0]
	if t.err != nil {
		m.Reason, m.Err = ReasonTopic, t.err
		m.Node, _ = telemetry.ParseNode(p.Client)
		core.Message(m)
		return
	}
	switch m.Type {
	case sparkplug.NBIRTH, sparkplug.DBIRTH:
		f.birth(m, p)
		s.newest = f.isNewest(m, p.Session)
		s.generation = f.generation
	case sparkplug.NDATA, sparkplug.DDATA, sparkplug.NDEATH, sparkplug.DDEATH:
		if s.generation != f.generation {
			s.generation = f.generation
			s.newest = f.isNewest(m, p.Session)
		}
	default: // commands and STATE of others: nothing to keep
		core.Message(m)
		return
	}
	m.NewestSession = s.newest || f.holes.OldSessionLive
	switch m.Type {
	case sparkplug.NDATA, sparkplug.DDATA:
		f.dataOf(m, p, s, t)
	case sparkplug.NDEATH:
		if err := sparkplug.Decode(p.Payload, &f.payload); err != nil {
			m.Reason, m.Err = ReasonPayload, err
			break
		}
		m.Birth, _ = f.births.Find(m.Node, "", p.Session, pos)
		m.BdSeq, _ = f.payload.BdSeq()
	case sparkplug.DDEATH:
		if err := sparkplug.Decode(p.Payload, &f.payload); err != nil {
			m.Reason, m.Err = ReasonPayload, err
			break
		}
		f.sequence(m)
		m.Birth, _ = f.births.Find(m.Node, m.Device, p.Session, pos)
		if m.Sent = m.Received / 1e6; f.payload.HasTimestamp {
			m.Sent = int64(f.payload.Timestamp)
		}
	}
	core.Message(m)
}

func (f *Feed) session(id uint64) *feedSession {
	s := f.sessions[id]
	if s == nil {
		if len(f.sessions) >= maxFeedSessions {
			clear(f.sessions)
		}
		s = &feedSession{}
		f.sessions[id] = s
	}
	return s
}

// maxTopics bounds the devices remembered of one session.
const maxTopics = 512

func (s *feedSession) topic(name string) *feedTopic {
	for _, t := range s.topics {
		if t.name == name {
			return t
		}
	}
	t := &feedTopic{name: name}
	t.topic, t.err = sparkplug.ParseTopic(name)
	if len(s.topics) >= maxTopics {
		s.topics = s.topics[:0]
	}
	s.topics = append(s.topics, t)
	return t
}

func (f *Feed) isNewest(m *Message, session uint64) bool {
	// The birth that is being handled counts, hence the place behind it.
	return f.births.Newest(m.Node, Position{Seq: m.Pos.Seq, Index: m.Pos.Index + 1}) == session
}

// birth learns a birth. One that can't be read voids the one before it, since
// what follows is meant by it.
func (f *Feed) birth(m *Message, p *envelope.Packet) {
	f.generation++
	key := BirthKey{Node: m.Node, Device: m.Device, Session: p.Session, Pos: m.Pos}
	b, err := newBirth(key, slices.Clone(p.Payload), p.Received)
	if err != nil {
		m.Reason, m.Err = ReasonBirth, err
		if errors.Is(err, sparkplug.ErrPayload) {
			m.Reason = ReasonPayload
		}
		f.births.Learn(&Birth{BirthKey: key, Raw: slices.Clone(p.Payload), Received: p.Received})
		return
	}
	f.births.Learn(b)
	m.Birth = b
	if b.Wire == 1 {
		return
	}
	// A foreign node's birth carries the present values: readings like any other.
	// Null ones only announce.
	if err := sparkplug.Decode(b.Raw, &f.payload); err != nil {
		return // newBirth has just read it
	}
	f.sequence(m)
	f.payload.Metrics = slices.DeleteFunc(f.payload.Metrics, func(x sparkplug.Metric) bool { return x.Null })
	f.resolve(m, newJudged(b))
	m.Unknown = 0 // controls and bdSeq are no metrics of the birth
}

func (f *Feed) sequence(m *Message) {
	if f.payload.HasSeq {
		m.Seq = f.payload.Seq & 0xff
	}
}

func (f *Feed) dataOf(m *Message, p *envelope.Packet, s *feedSession, t *feedTopic) {
	if err := sparkplug.Decode(p.Payload, &f.payload); err != nil {
		m.Reason, m.Err = ReasonPayload, err
		return
	}
	f.sequence(m)
	if t.generation != f.generation {
		b, _ := f.births.Find(m.Node, m.Device, p.Session, m.Pos)
		if t.birth == nil || t.birth.Birth != b {
			t.birth = newJudged(b)
		}
		t.generation = f.generation
	}
	if t.birth == nil {
		m.Reason, m.Err = ReasonNoBirth, errNoBirth
		f.peekRun(m)
		return
	}
	m.Birth = t.birth.Birth
	f.resolve(m, t.birth)
	if m.Numbered {
		if s.epoch != m.Run.Epoch {
			s.epoch, s.rank = m.Run.Epoch, f.births.Rank(m.Node, m.Run.Epoch)
		}
		m.Rank = s.rank
	}
}

func (f *Feed) decodePayload(p *envelope.Packet) error {
	return sparkplug.Decode(p.Payload, &f.payload)
}

// keepRecords leaves only the records at the given places; none means all.
func (m *Message) keepRecords(places []int) {
	if len(places) == 0 {
		return
	}
	var records []telemetry.Record
	var series []int32
	var late []bool
	k := 0
	for i := range m.Records {
		n := len(m.Records[i].Readings)
		if slices.Contains(places, i) {
			records = append(records, m.Records[i])
			series = append(series, m.Series[k:k+n]...)
			late = append(late, m.Late[i])
			m.places = append(m.places, i)
		}
		k += n
	}
	m.Records, m.Series, m.Late = records, series, late
}

var errNoBirth = errors.New("data without a birth of their session")

// newJudged prepares a birth for decoding; a void one gives nil.
func newJudged(b *Birth) *judgedBirth {
	if b == nil || b.Birth == nil {
		return nil
	}
	return &judgedBirth{Birth: b}
}

// resolve decodes the payload by b, settles each reading's series and judges.
func (f *Feed) resolve(m *Message, b *judgedBirth) {
	d := &f.data
	if err := d.Resolve(&f.payload, b.Birth.Birth, m.Received/1e6); err != nil {
		m.Reason, m.Err = ReasonData, err
		f.peekRun(m)
		return
	}
	m.Records, m.Unknown = d.Records, d.Unknown
	if d.Pantau {
		if !soundRun(&d.Run) {
			m.Reason, m.Err, m.Records = ReasonData, errRun, nil
			return
		}
		m.Numbered, m.Run, m.Backlog = true, d.Run, d.Run.Backlog
	} else {
		m.Backlog = d.Historical
	}
	m.Series = d.Places
	f.judge(m, b)
}

var errRun = errors.New("run of records is out of bounds")

// maxNumber bounds record numbers: one a microsecond for 34 years. It keeps a
// hostile node's numbers from overflowing anybody's sums.
const maxNumber = 1 << 50

func soundRun(r *telemetry.Run) bool {
	return r.Epoch != 0 && r.First > 0 && r.Count > 0 && r.Count <= maxNumber && r.First+r.Count <= maxNumber &&
		r.Floor > 0 && r.Floor <= r.First && r.Quality <= telemetry.TimeNTP
}

func (f *Feed) judge(m *Message, b *judgedBirth) {
	if b.generation != f.judges {
		b.generation = f.judges
		b.judges = make([]quality.Judge, len(b.Series))
		for i := range b.Series {
			if b.Series[i].Known {
				b.judges[i] = f.rules.Judge(b.Series[i].Quantity)
			}
		}
	}
	k := 0
	for i := range m.Records {
		r := &m.Records[i]
		future := quality.Future(r.Time, m.Received, m.Synced)
		var late bool
		for j := range r.Readings {
			rd := &r.Readings[j]
			def := m.Series[k]
			k++
			if j == 0 {
				late = quality.Late(m.Backlog, m.NewestSession, r.Time, m.Received, b.Series[def].Interval, m.Synced)
			}
			if rd.Gap != telemetry.GapNone || rd.Flag != telemetry.FlagNone {
				continue
			}
			if future {
				rd.Flag = telemetry.FlagTimeFuture
			} else if rd.Value.Type == telemetry.Number {
				rd.Flag = b.judges[def].Range(rd.Value.Number, r.Time)
			}
		}
		f.late = append(f.late, late)
	}
	m.Late = f.late
}

// runOnly is a birth that knows nothing but Pantau/Run: by it the numbers of a
// message can be told that is not understood otherwise, so that the ledger knows
// which records lie among the dead letters.
var runOnly = func() *sparkplug.Birth {
	var p sparkplug.Payload
	if err := sparkplug.Decode(sparkplug.AppendBirth(nil, 0, 0, &sparkplug.Birth{}), &p); err != nil {
		return nil // a constant
	}
	b, _ := sparkplug.ParseBirth(&p, "")
	return b
}()

// peekRun sets Run if the message's first metric is a run of ours. A node can
// only speak of its own numbers.
func (f *Feed) peekRun(m *Message) {
	if m.Type != sparkplug.NDATA || runOnly == nil || len(f.payload.Metrics) == 0 {
		return
	}
	if first := &f.payload.Metrics[0]; !first.HasAlias || first.Value.Kind != sparkplug.BytesValue {
		return
	}
	f.data.Run = telemetry.Run{}
	_ = f.data.Resolve(&f.payload, runOnly, 0) // it fails at the records, which are not wanted
	if soundRun(&f.data.Run) {
		m.Numbered, m.Run = true, f.data.Run
	}
}

// Tables of a feed's checkpoint.
const (
	tableRules    = "rules"
	tableFrontier = "frontier"
)

// Load takes one row of the reader's checkpoint; rows of other tables are
// ignored.
func (f *Feed) Load(table string, key, value []byte) error {
	switch table {
	case tableRules:
		r, err := quality.Parse(value)
		if err != nil {
			return err
		}
		f.rules, f.rulesRaw = r, value
		f.judges++
	case tableFrontier:
		return f.frontier.load(key, value)
	}
	return nil
}

// Checkpoint adds what changed since its last call.
func (f *Feed) Checkpoint(d *checkpoint.Delta) {
	if f.changed.rules {
		d.Put(tableRules, []byte(RulesQuality), f.rulesRaw)
	}
	if f.changed.frontier {
		d.Put(tableFrontier, []byte{0}, f.frontier.append(nil))
	}
	f.changed.rules, f.changed.frontier = false, false
}
