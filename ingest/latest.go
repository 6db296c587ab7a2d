package ingest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Value is the newest reading of one quantity of one device.
type Value struct {
	Node      telemetry.Node      `json:"node"`
	Device    string              `json:"device"`
	Quantity  string              `json:"quantity"`
	Kind      telemetry.Kind      `json:"kind"`
	Unit      telemetry.Unit      `json:"unit"`
	Interval  time.Duration       `json:"interval"` // between two values, ns; 0 = not known
	Simulated bool                `json:"simulated,omitempty"`
	Value     telemetry.Value     `json:"value"`
	Flag      telemetry.Flag      `json:"flag,omitempty"` // not FlagNone: the value is rejected
	Gap       telemetry.GapReason `json:"gap,omitempty"`  // not GapNone: nothing was read
	Time      int64               `json:"time"`           // event time, Unix milliseconds UTC
	Received  int64               `json:"received"`       // Unix nanoseconds UTC, by the server's clock
	Late      bool                `json:"late,omitempty"`
	Stale     int64               `json:"stale,omitempty"` // Unix milliseconds since when its node, or its device, is gone; 0 = it is there
	// Good is the newest valid value and GoodTime its event time; 0 = none yet.
	Good     telemetry.Value `json:"good"`
	GoodTime int64           `json:"good_time"`

	Rank   uint64 `json:"rank"` // with Number: the order among the series' readings
	Number uint64 `json:"number"`

	version uint64
}

// NodeStatus says whether a node is there.
type NodeStatus string

// The statuses of a node.
const (
	Unknown NodeStatus = "unknown" // since the server's start nothing came
	Online  NodeStatus = "online"
	Offline NodeStatus = "offline" // it said so, or its will did
)

// Node is what is known of a node by its messages.
type Node struct {
	Node      telemetry.Node        `json:"node"`
	Status    NodeStatus            `json:"status"`
	Since     int64                 `json:"since"`      // of Status, Unix nanoseconds
	LastSeen  int64                 `json:"last_seen"`  // receive time of the last message, Unix nanoseconds
	LastData  int64                 `json:"last_data"`  // receive time of the last data that were not late
	Session   uint64                `json:"session"`    // the newest
	BdSeq     uint64                `json:"bd_seq"`     // of that session's birth
	Birth     int64                 `json:"birth"`      // receive time of that birth
	Foreign   bool                  `json:"foreign"`    // not one of our gateways
	Simulated bool                  `json:"simulated"`  // its sensors are
	Version   string                `json:"version"`    // of the gateway program
	Clock     telemetry.TimeQuality `json:"clock"`      // of its last data
	ClockBad  bool                  `json:"clock_bad"`  // for 5 min all live data were late: its clock is behind
	LateSince int64                 `json:"late_since"` // receive time of the first live data that were late since good ones; 0 = none
	Backlog   int64                 `json:"backlog"`    // receive time of its last backlog; 0 = none
	// Identities is what the parts of its devices tell of themselves, by device as
	// stored. It is replaced and never changed: snapshots share it.
	Identities map[string]telemetry.Identity `json:"identities,omitempty"`

	seq     uint64 // the last Sparkplug sequence of a foreign node; NoSeq = unknown
	gap     bool   // it broke since the last birth
	version uint64
}

// clockAlarm is for how long live data must be late before a clock is called bad.
const clockAlarm = 5 * time.Minute

// Rebirth asks for a new birth of a node: its data came without one, or a
// foreign node's sequence has a gap, so that a value may be missing.
type Rebirth struct {
	Node     telemetry.Node
	Received int64 // of the message that shows the need, Unix nanoseconds
	Why      string
}

// Latest keeps the newest value of every series and the state of every node: the
// latest reader's core. "Newest" goes by (epoch's rank, number), never by event
// time, so that a clock that was ahead and came back hides nothing.
type Latest struct {
	holes     Holes
	nodes     map[telemetry.Node]*nodeLatest
	slots     map[*Birth][]*Value
	processes map[uint64]bool // server processes that ticked
	rebirths  []Rebirth
	version   uint64
	changed   map[*nodeLatest]bool
	gone      map[telemetry.Node]uint64 // forgotten nodes, by the version that did so
}

type nodeLatest struct {
	Node
	values map[[2]string]*Value
}

// NewLatest returns an empty state.
func NewLatest(h Holes) *Latest {
	return &Latest{holes: h, nodes: map[telemetry.Node]*nodeLatest{}, slots: map[*Birth][]*Value{}, processes: map[uint64]bool{},
		changed: map[*nodeLatest]bool{}, gone: map[telemetry.Node]uint64{}}
}

func (l *Latest) node(n telemetry.Node) *nodeLatest {
	nl := l.nodes[n]
	if nl == nil {
		nl = &nodeLatest{Node: Node{Node: n, Status: Unknown, seq: NoSeq}, values: map[[2]string]*Value{}}
		l.nodes[n] = nl
		delete(l.gone, n)
	}
	return nl
}

// Message takes one message.
func (l *Latest) Message(m *Message) {
	if m.Node.IsZero() || m.Reason == ReasonTopic {
		return
	}
	switch m.Type {
	case sparkplug.NBIRTH, sparkplug.DBIRTH, sparkplug.NDATA, sparkplug.DDATA, sparkplug.NDEATH, sparkplug.DDEATH:
	default:
		return
	}
	l.version++
	n := l.node(m.Node)
	l.changed[n] = true
	n.version = l.version
	if m.Type == sparkplug.NDEATH {
		l.death(n, m)
		return
	}
	n.LastSeen = max(n.LastSeen, m.Received)
	if m.Reason == ReasonNoBirth {
		l.rebirth(m, "data without a birth")
	}
	switch {
	case m.Type == sparkplug.NBIRTH && m.Birth != nil:
		l.birth(n, m)
	case m.NewestSession && n.Status != Online:
		n.Status, n.Since = Online, m.Received
	}
	l.sequence(n, m)
	if m.Type == sparkplug.DDEATH && m.Reason == ReasonNone && m.NewestSession {
		// [tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline]
		// [tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale]
		device := cleanName(m.Device)
		l.stale(n, m.Sent, func(d string) bool { return d == device })
	}
	if m.Birth != nil && m.Birth.Wire == 0 && m.Unknown > 0 {
		l.rebirth(m, "data that the birth does not know")
	}
	if m.Birth != nil && len(m.Records) > 0 {
		l.records(n, m)
	}
}

func (l *Latest) rebirth(m *Message, why string) {
	l.rebirths = append(l.rebirths, Rebirth{Node: m.Node, Received: m.Received, Why: why})
}

// TakeRebirths hands over the births to ask for since the last call.
func (l *Latest) TakeRebirths() []Rebirth {
	r := l.rebirths
	l.rebirths = nil
	return r
}

func (l *Latest) birth(n *nodeLatest, m *Message) {
	if !m.NewestSession {
		return
	}
	b := m.Birth
	if n.Status != Online || n.Session != b.Session {
		n.Status, n.Since = Online, m.Received
	}
	n.Session, n.BdSeq, n.Birth = b.Session, b.BdSeq, m.Received
	n.Foreign, n.Simulated, n.Version = b.Wire == 0, b.Simulated, b.Version
	n.Identities = make(map[string]telemetry.Identity, len(b.Identities))
	for device, id := range b.Identities {
		n.Identities[cleanName(device)] = id
	}
	n.seq = NoSeq
}

// death takes an NDEATH, which counts only if it belongs to the node's newest
// session and to its birth, if that has a bdSeq: that of an older connection says
// nothing of the present. Its time is ours.
// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline]
// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale]
// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline]
// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale]
func (l *Latest) death(n *nodeLatest, m *Message) {
	if !m.NewestSession || m.Birth == nil || m.Birth.Birth == nil || m.Birth.HasBdSeq && m.Birth.BdSeq != m.BdSeq {
		return
	}
	n.Status, n.Since = Offline, m.Received
	l.stale(n, m.Received/1e6, func(string) bool { return true })
}

// stale marks the values of some devices of a node; a device is there or not as
// its values are.
func (l *Latest) stale(n *nodeLatest, since int64, device func(string) bool) {
	for key, v := range n.values {
		if v.Stale == 0 && device(key[0]) {
			v.Stale, v.version = since, l.version
		}
	}
}

// sequence watches the sequence of a foreign node: ours has numbers. The journal
// has the order of sending, so what is missing does not come later. A request may
// be lost, so each message asks until the birth comes.
// [tck-id-operational-behavior-host-reordering-rebirth]
func (l *Latest) sequence(n *nodeLatest, m *Message) {
	if m.Seq == NoSeq || !m.NewestSession || m.Birth == nil || m.Birth.Birth == nil || m.Birth.Wire != 0 {
		return
	}
	switch {
	case m.Type == sparkplug.NBIRTH:
		n.gap = false
	case n.seq != NoSeq && m.Seq != (n.seq+1)&0xff:
		n.gap = true
	}
	if n.gap {
		l.rebirth(m, "a gap in the sequence")
	}
	n.seq = m.Seq
}

func (l *Latest) records(n *nodeLatest, m *Message) {
	slots := l.slots[m.Birth]
	if slots == nil {
		if len(l.slots) >= maxPlans {
			clear(l.slots)
		}
		slots = make([]*Value, len(m.Birth.Series))
		l.slots[m.Birth] = slots
	}
	if m.Numbered {
		n.Clock = m.Run.Quality
	}
	if m.Backlog {
		n.Backlog = m.Received
	}
	k := 0
	for i := range m.Records {
		r := &m.Records[i]
		rank, number := m.Rank, r.Number
		if !m.Numbered {
			// Positions order a foreign node's readings; one that is marked as
			// historical comes only before what is newer by its own time.
			number = m.Pos.Seq<<10 | uint64(m.Pos.Index&1023)
		}
		for j := range r.Readings {
			def := m.Series[k]
			k++
			v := slots[def]
			if v == nil {
				if v = l.value(n, m.Birth, def); v == nil {
					continue
				}
				slots[def] = v
			}
			if l.newer(v, m, r, rank, number) {
				l.take(v, m, r, &r.Readings[j], rank, number, m.Late[i])
			}
		}
		if len(r.Readings) > 0 && !m.Backlog && m.NewestSession {
			l.clock(n, m, m.Late[i])
		}
	}
}

func (l *Latest) clock(n *nodeLatest, m *Message, late bool) {
	if !late {
		n.LastData, n.LateSince, n.ClockBad = m.Received, 0, false
		return
	}
	if n.LateSince == 0 {
		n.LateSince = m.Received
	}
	n.ClockBad = m.Received-n.LateSince >= int64(clockAlarm)
}

func (l *Latest) newer(v *Value, m *Message, r *telemetry.Record, rank, number uint64) bool {
	switch {
	case v.Received == 0:
		return true
	case l.holes.LatestByTime:
		return r.Time > v.Time
	case !m.Numbered && m.Backlog:
		return r.Time > v.Time
	}
	return rank > v.Rank || (rank == v.Rank && number >= v.Number)
}

func (l *Latest) take(v *Value, m *Message, r *telemetry.Record, rd *telemetry.Reading, rank, number uint64, late bool) {
	v.Value, v.Flag, v.Gap = rd.Value, rd.Flag, rd.Gap
	v.Time, v.Received, v.Late, v.Stale = r.Time, m.Received, late, 0
	v.Simulated = m.Birth.Simulated
	v.Rank, v.Number, v.version = rank, number, l.version
	if rd.Flag == telemetry.FlagNone && rd.Gap == telemetry.GapNone {
		v.Good, v.GoodTime = rd.Value, r.Time
	}
}

// value finds or makes the value of a birth's series.
func (l *Latest) value(n *nodeLatest, b *Birth, def int32) *Value {
	s := &b.Series[def]
	if s.Quantity == "" {
		return nil
	}
	key := [2]string{s.Device, s.Quantity}
	v := n.values[key]
	if v == nil {
		if len(n.values) >= maxValues {
			return nil
		}
		v = &Value{Node: b.Node, Device: s.Device, Quantity: s.Quantity}
		n.values[key] = v
	}
	v.Kind, v.Unit, v.Interval = s.Kind, s.Unit, s.Interval
	return v
}

// maxValues bounds the series of one node.
const maxValues = 4096

// Tick takes a tick. A server process that was not seen before has just
// started: whoever was connected to the one before may be gone.
func (l *Latest) Tick(_ uint64, t envelope.Tick, _ int64) {
	if l.processes[t.Session] {
		return
	}
	if len(l.processes) > 64 {
		clear(l.processes)
	}
	l.processes[t.Session] = true
	l.version++
	for _, n := range l.nodes {
		if n.Status == Online && n.LastSeen < t.Time-t.Uptime {
			n.Status, n.Since, n.version = Unknown, t.Time, l.version
			l.changed[n] = true
		}
	}
}

// Rules drops a node that was revoked (RulesForget).
func (l *Latest) Rules(_ uint64, r envelope.Rules) {
	if r.Name != RulesForget {
		return
	}
	n, err := telemetry.ParseNode(string(r.Body))
	if err != nil {
		return // the alert reader counts it
	}
	if nl := l.nodes[n]; nl != nil {
		delete(l.nodes, n)
		clear(l.slots)
		l.version++
		l.changed[nl] = true
		l.gone[n] = l.version
	}
}

// Snapshot is a copy of what Latest knows, or of what changed in it.
type Snapshot struct {
	Version uint64           `json:"version"`
	Nodes   []Node           `json:"nodes"`          // by name
	Values  []Value          `json:"values"`         // by node, device, quantity
	Gone    []telemetry.Node `json:"gone,omitempty"` // forgotten meanwhile
}

// Since returns what changed after the given version; 0 returns all.
func (l *Latest) Since(version uint64) Snapshot {
	s := Snapshot{Version: l.version}
	for n, at := range l.gone {
		if at > version {
			s.Gone = append(s.Gone, n)
		}
	}
	for _, n := range l.nodes {
		if n.version <= version && version != 0 {
			continue // a value changes only with its node
		}
		s.Nodes = append(s.Nodes, n.Node)
		for _, v := range n.values {
			if v.version > version || version == 0 {
				s.Values = append(s.Values, *v)
			}
		}
	}
	slices.SortFunc(s.Nodes, func(a, b Node) int { return compareNodes(a.Node, b.Node) })
	slices.SortFunc(s.Values, func(a, b Value) int {
		if c := compareNodes(a.Node, b.Node); c != 0 {
			return c
		}
		if c := strings.Compare(a.Device, b.Device); c != 0 {
			return c
		}
		return strings.Compare(a.Quantity, b.Quantity)
	})
	return s
}

const tableLatest = "latest"

type storedNode struct {
	Node   Node    `json:"node"`
	Values []Value `json:"values"`
}

// Load takes one row; rows of other tables are ignored.
func (l *Latest) Load(table string, key, value []byte) error {
	if table != tableLatest {
		return nil
	}
	var s storedNode
	if err := json.Unmarshal(value, &s); err != nil {
		return fmt.Errorf("checkpoint row latest %q: %w", key, err)
	}
	n := l.node(s.Node.Node)
	n.Node = s.Node
	n.seq, n.version = NoSeq, 1
	for _, v := range s.Values {
		v.version = 1
		n.values[[2]string{v.Device, v.Quantity}] = &v
	}
	l.version = 1
	return nil
}

// Checkpoint adds what changed since its last call.
func (l *Latest) Checkpoint(d *checkpoint.Delta) {
	for n := range l.changed {
		if l.nodes[n.Node.Node] != n {
			d.Delete(tableLatest, nodeKey(n.Node.Node))
			continue
		}
		s := storedNode{Node: n.Node, Values: make([]Value, 0, len(n.values))}
		for _, key := range slices.SortedFunc(maps.Keys(n.values), func(a, b [2]string) int {
			if c := strings.Compare(a[0], b[0]); c != 0 {
				return c
			}
			return strings.Compare(a[1], b[1])
		}) {
			s.Values = append(s.Values, *n.values[key])
		}
		b, err := json.Marshal(s)
		if err != nil {
			continue // only a value that is not finite could fail, and none is stored
		}
		d.Put(tableLatest, nodeKey(n.Node.Node), b)
	}
	clear(l.changed)
}

var _ Core = (*Latest)(nil)
