package uplink

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Source is the spool as a session sees it; *spool.Spool is one.
type Source interface {
	Next(lane spool.Lane, now time.Duration, limit spool.Limit) spool.Batch
	Ack(e telemetry.Epoch, from, to uint64)
	Discard(e telemetry.Epoch, from, to uint64, now time.Duration)
	Rewind()
	Epoch() telemetry.Epoch
	Epochs() []telemetry.EpochFloor
}

// Omit leaves out rules of the session, so that the simulation can show what
// each of them is for. Nothing else sets it.
type Omit struct {
	Aliases  bool // H11: every birth numbers its aliases anew
	Encoding bool // H13: batches that no payload can hold go on, in Action.Records only
}

// SessionOptions are what a Session needs.
type SessionOptions struct {
	Node      telemetry.Node
	Source    Source
	Version   string
	Simulated bool
	QoS       byte // of births and data: 1, or 0 for strict Sparkplug
	Window    int
	Limit     spool.Limit
	Stall     time.Duration
	Omit      Omit
}

// Now is the time of an event: CLOCK_BOOTTIME for all that is decided, UTC in
// Unix milliseconds for what payloads say.
type Now struct {
	Boottime time.Duration
	UTC      int64
}

// ActionKind says what the shell has to do.
type ActionKind uint8

// The actions.
const (
	ActPublish ActionKind = iota // publish, and call Acked(ID) at its PUBACK
	ActCut                       // cut the connection without a farewell, for Reason
	ActTime                      // the server says that it is UTC
)

// Action is what a session wants done. The shell carries actions out in order,
// under the same lock as the call that returned them.
type Action struct {
	Kind    ActionKind
	ID      uint64
	Type    sparkplug.MessageType
	Topic   string
	QoS     byte
	Payload []byte
	// What the payload says, for who looks on.
	Birth   *sparkplug.Birth
	Run     telemetry.Run
	Records []telemetry.Record

	UTC    int64 // ActTime, Unix milliseconds
	Reason error // ActCut
}

// Session is the state of the Sparkplug edge node over all its connections: a
// state machine without clock, goroutine or I/O.
type Session struct {
	o         SessionOptions
	connected bool
	bdSeq     uint64
	seq       uint8
	nextID    uint64
	flights   map[uint64]flight
	backlog   int           // of the flights
	progress  time.Duration // of the last PUBACK, or of the first flight after none
	linger    time.Duration // when held-back live records are due, 0 = none
	share     pace

	defs      []sparkplug.Definition // in order of first sight
	current   []sparkplug.Current    // of each, the newest that went out live
	byName    map[name]int
	told      map[string]telemetry.Identity // by device
	nextAlias uint64
	needBirth bool
	encoder   sparkplug.Encoder
}

type name struct{ device, quantity string }

// flight is a message without PUBACK.
type flight struct {
	run     telemetry.Run
	sent    time.Duration
	isBirth bool
}

// NewSession returns the session of a process, not yet connected.
func NewSession(o SessionOptions) *Session {
	return &Session{
		o: o, flights: map[uint64]flight{}, byName: map[name]int{}, told: map[string]telemetry.Identity{}, nextAlias: sparkplug.FirstAlias,
		share: pace{max: float64(max(1, o.Window*3/4))},
	}
}

// Begin starts a connection: NCMD is subscribed, the will with bdSeq is in
// place. The birth comes first. [tck-id-principles-birth-certificates-order]
// [tck-id-message-flow-edge-node-birth-publish-connect] [tck-id-payloads-ndata-order]
func (s *Session) Begin(now Now, bdSeq uint64) []Action {
	s.End()
	s.connected, s.bdSeq, s.needBirth = true, bdSeq, true
	s.share.reset()
	return s.pump(now)
}

// End says that the connection is gone: nothing on its way will be
// acknowledged.
func (s *Session) End() {
	s.connected, s.linger, s.backlog = false, 0, 0
	clear(s.flights)
	s.o.Source.Rewind()
}

// Wake says that there may be records to send, or that a time of Due has come.
func (s *Session) Wake(now Now) []Action { return s.pump(now) }

// Acked reports a PUBACK (with QoS 0: that the message was written).
func (s *Session) Acked(id uint64, now Now) []Action {
	f, ok := s.flights[id]
	if !ok {
		return nil // of a connection that is gone
	}
	delete(s.flights, id)
	s.progress = now.Boottime
	if f.run.Backlog {
		s.backlog--
		s.share.acked(f.sent, now.Boottime)
	}
	if !f.isBirth {
		s.o.Source.Ack(f.run.Epoch, f.run.First, f.run.First+f.run.Count-1)
		s.needBirth = s.needBirth || s.connected && s.drained(f.run.Epoch)
	}
	return s.pump(now)
}

// drained reports whether an earlier epoch has just left the spool. The server
// hears of it by a birth that does not list it any more, and closes the epoch.
func (s *Session) drained(e telemetry.Epoch) bool {
	if e == s.o.Source.Epoch() {
		return false
	}
	for _, f := range s.o.Source.Epochs() {
		if f.Epoch == e {
			return false
		}
	}
	return true
}

// Command takes the payload of an NCMD.
func (s *Session) Command(payload []byte, now Now) ([]Action, error) {
	var p sparkplug.Payload
	if err := sparkplug.Decode(payload, &p); err != nil {
		return nil, fmt.Errorf("read NCMD: %w", err)
	}
	var actions []Action
	var err error
	for i := range p.Metrics {
		m := &p.Metrics[i]
		switch string(m.Name) {
		case sparkplug.MetricTime:
			actions = append(actions, Action{Kind: ActTime, UTC: int64(m.Value.Bits)})
		case sparkplug.MetricRebirth:
			// The birth goes before any more data, whole, with the same bdSeq.
			// [tck-id-operational-behavior-data-commands-rebirth-action-1]
			// [tck-id-operational-behavior-data-commands-rebirth-action-2]
			// [tck-id-operational-behavior-data-commands-rebirth-action-3]
			s.needBirth = s.needBirth || m.Value.Bits&1 == 1
		default:
			err = errors.Join(err, fmt.Errorf("NCMD metric %q is not known", m.Name))
		}
	}
	return append(actions, s.pump(now)...), err
}

// Define announces quantities; a birth follows if one is new or changed.
func (s *Session) Define(defs []Definition, now Now) []Action {
	for _, d := range defs {
		s.define(sparkplug.Definition{
			Device: d.Device, Quantity: d.Quantity, Type: sparkplug.WireType(d.Type), Unit: d.Unit, Interval: d.Interval,
		})
	}
	return s.pump(now)
}

// Identify notes what a device's part tells of itself, zero if it does not any
// more. The birth that says so goes out with whatever comes next.
func (s *Session) Identify(device string, id telemetry.Identity) {
	if s.told[device] == id {
		return
	}
	s.told[device] = id
	s.needBirth = true
}

// Farewell publishes the NDEATH of a connection that is closed on purpose.
// Nothing is sent after it; PUBACKs of what is on its way still count.
// [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath]
func (s *Session) Farewell(now Now) []Action {
	if !s.connected {
		return nil
	}
	s.connected = false
	return []Action{s.publish(sparkplug.NDEATH, 1, sparkplug.AppendDeath(nil, now.UTC, s.bdSeq), flight{isBirth: true}, now)}
}

// Due returns when Wake has something to do, or false.
func (s *Session) Due() (time.Duration, bool) {
	at, ok := s.linger, s.linger > 0
	if s.connected && len(s.flights) > 0 && (!ok || s.progress+s.o.Stall < at) {
		at, ok = s.progress+s.o.Stall, true
	}
	return at, ok
}

// InFlight counts the messages without PUBACK.
func (s *Session) InFlight() int { return len(s.flights) }

// pump sends what may be sent.
func (s *Session) pump(now Now) []Action {
	if !s.connected {
		return nil
	}
	if len(s.flights) > 0 && now.Boottime-s.progress >= s.o.Stall {
		// Half open, or a server that keeps nothing: a new connection and a new
		// birth are worth more than waiting for TCP.
		s.connected = false
		return []Action{{Kind: ActCut, Reason: fmt.Errorf("no PUBACK for %v with %d messages on their way", s.o.Stall, len(s.flights))}}
	}
	var actions []Action
	if s.needBirth {
		actions = s.birth(actions, now)
	}
	s.linger = 0
	for len(s.flights) < s.o.Window {
		b := s.o.Source.Next(spool.Live, now.Boottime, s.o.Limit)
		if b.Run.Count == 0 {
			if b.Wait > 0 {
				s.linger = now.Boottime + b.Wait
			}
			break
		}
		actions = s.data(actions, b, now)
	}
	for len(s.flights) < s.o.Window && s.backlog < s.share.allowed() {
		b := s.o.Source.Next(spool.Backlog, now.Boottime, s.o.Limit)
		if b.Run.Count == 0 {
			break
		}
		actions = s.data(actions, b, now)
	}
	return actions
}

// birth publishes the NBIRTH: with seq 0, the bdSeq of the will, and every metric
// that data may name.
//
// [tck-id-topics-nbirth-seq-num] [tck-id-payloads-sequence-num-zero-nbirth]
// [tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq]
// [tck-id-topics-nbirth-bdseq-matching] [tck-id-payloads-nbirth-bdseq-repeat]
// [tck-id-topics-nbirth-metric-reqs] [tck-id-operational-behavior-data-publish-nbirth]
func (s *Session) birth(actions []Action, now Now) []Action {
	s.needBirth, s.seq = false, 0
	if s.o.Omit.Aliases {
		s.renumber()
	}
	b := &sparkplug.Birth{
		BdSeq: s.bdSeq, Wire: 1, Simulated: s.o.Simulated, Version: s.o.Version, Epochs: s.o.Source.Epochs(),
		Identities: maps.Clone(s.told), Definitions: slices.Clone(s.defs), Current: slices.Clone(s.current),
	}
	a := s.publish(sparkplug.NBIRTH, s.o.QoS, sparkplug.AppendBirth(nil, now.UTC, uint64(s.seq), b), flight{isBirth: true}, now)
	a.Birth = b
	return append(actions, a)
}

// data publishes one batch, after a birth if it names something new.
// [tck-id-topics-ndata-payload]
func (s *Session) data(actions []Action, b spool.Batch, now Now) []Action {
	for i := range b.Records {
		r := &b.Records[i]
		for j := range r.Readings {
			s.learn(r.Device, &r.Readings[j])
		}
	}
	if s.needBirth {
		actions = s.birth(actions, now)
	}
	// A byte, so 255 is followed by 0. [tck-id-topics-ndata-seq-num] [tck-id-payloads-ndata-seq-inc]
	// [tck-id-payloads-sequence-num-incrementing] [tck-id-payloads-sequence-num-always-included]
	payload, err := s.encoder.AppendData(nil, now.UTC, uint64(s.seq+1), b.Run, b.Records, s.alias)
	if err != nil && !s.o.Omit.Encoding {
		// Nothing that the spool gives out should get here. Waiting would not help.
		s.o.Source.Discard(b.Run.Epoch, b.Run.First, b.Run.First+b.Run.Count-1, now.Boottime)
		return actions
	}
	s.seq++
	a := s.publish(sparkplug.NDATA, s.o.QoS, payload, flight{run: b.Run}, now)
	a.Run, a.Records = b.Run, b.Records
	if b.Run.Backlog {
		s.backlog++
	} else {
		s.remember(b.Records)
	}
	return append(actions, a)
}

// remember keeps what is current for the next birth.
func (s *Session) remember(records []telemetry.Record) {
	for i := range records {
		r := &records[i]
		for j := range r.Readings {
			place := s.byName[name{r.Device, r.Readings[j].Quantity}]
			s.current[place] = sparkplug.Current{Time: r.Time, Reading: r.Readings[j]}
		}
	}
}

// publish sends to the node's own topics. [tck-id-topics-nbirth-topic]
// [tck-id-message-flow-edge-node-birth-publish-nbirth-topic]
// [tck-id-topics-ndata-topic] [tck-id-topics-ndeath-topic]
func (s *Session) publish(t sparkplug.MessageType, qos byte, payload []byte, f flight, now Now) Action {
	if len(s.flights) == 0 {
		s.progress = now.Boottime
	}
	s.nextID++
	f.sent = now.Boottime
	s.flights[s.nextID] = f
	return Action{
		Kind: ActPublish, ID: s.nextID, Type: t, QoS: qos, Payload: payload,
		Topic: sparkplug.Topic{Type: t, Node: s.o.Node}.String(),
	}
}

func (s *Session) alias(device, quantity string) (uint64, bool) {
	i, ok := s.byName[name{device, quantity}]
	if !ok {
		return 0, false
	}
	return s.defs[i].Alias, true
}

// learn sees to it that a reading has a definition of its type. A gap fits any.
func (s *Session) learn(device string, r *telemetry.Reading) {
	i, ok := s.byName[name{device, r.Quantity}]
	t := sparkplug.WireType(r.Value.Type)
	if ok && (r.Gap != telemetry.GapNone || s.defs[i].Type == t) {
		return
	}
	d := sparkplug.Definition{Device: device, Quantity: r.Quantity, Type: t}
	if ok {
		d.Unit, d.Interval = s.defs[i].Unit, s.defs[i].Interval
	}
	s.define(d)
}

// define adds or changes a definition. What changes gets a new alias: within
// an epoch an alias never means two things. [tck-id-payloads-alias-uniqueness]
func (s *Session) define(d sparkplug.Definition) {
	if q, ok := telemetry.Lookup(d.Quantity); ok && d.Unit == telemetry.Unknown {
		d.Unit = q.Unit
	}
	d.Name, d.HasAlias = d.Device+"/"+d.Quantity, true
	key := name{d.Device, d.Quantity}
	i, ok := s.byName[key]
	if !ok {
		i = len(s.defs)
		s.byName[key] = i
		s.defs = append(s.defs, sparkplug.Definition{})
		s.current = append(s.current, sparkplug.Current{})
	}
	old := s.defs[i]
	d.Alias = old.Alias
	if d == old {
		return
	}
	if !ok || d.Type != old.Type || d.Unit != old.Unit {
		d.Alias = s.nextAlias
		s.nextAlias++
		s.current[i] = sparkplug.Current{} // of another type or unit
	}
	s.defs[i] = d
	s.needBirth = true
}
