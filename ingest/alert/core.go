package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// State is where an alert stands in its life.
type State string

// The states. Acknowledged is an operator's record of its own, merged by who
// shows the alert.
const (
	OK       State = "ok"
	Pending  State = "pending"
	Firing   State = "firing"
	Resolved State = "resolved"
)

// Series names what a rule judges: one quantity of one device, or for no_data
// one node.
type Series struct {
	Node   telemetry.Node `json:"node"`
	Device string         `json:"device,omitempty"`
}

// String writes "group/node" or "group/node/device".
func (s Series) String() string {
	if s.Node.IsZero() {
		return "server" // its own alerts are of no gateway
	}
	if s.Device == "" {
		return s.Node.String()
	}
	return s.Node.String() + "/" + s.Device
}

// Observation is one decoded reading with its verdict.
type Observation struct {
	Series   Series
	Quantity string
	Epoch    telemetry.Epoch   // 0 for foreign nodes
	Number   uint64            // of the record; for foreign nodes the journal position
	Clock    telemetry.ClockID // under which Time was stamped
	Time     int64             // event time, Unix milliseconds UTC
	Interval time.Duration     // between two values, 0 = unknown
	Value    float64
	Rejected bool // flagged by quality: advances the state, judges nothing
	Gap      bool // nothing was read: likewise
	Late     bool // updates history, never pages
}

// Transition is a change that somebody may have to hear of. Key is the same in
// every replay.
type Transition struct {
	Key       string    `json:"key"`
	Alert     string    `json:"alert"` // the key of the firing that opened the alert
	Rule      string    `json:"rule"`
	Name      string    `json:"name"`
	NameEN    string    `json:"name_en"`
	Severity  Severity  `json:"severity"`
	Series    Series    `json:"series"`
	Quantity  string    `json:"quantity,omitempty"`
	Condition Condition `json:"condition"`
	Threshold float64   `json:"threshold"`
	State     State     `json:"state"` // Firing or Resolved
	Time      int64     `json:"time"`  // event time, Unix milliseconds UTC; for no_data when silence began
	Value     float64   `json:"value"`
}

// held is the state of one (rule, series).
type held struct {
	State State             `json:"s"`
	Epoch telemetry.Epoch   `json:"e,omitempty"`
	Num   uint64            `json:"n,omitempty"`
	Clock telemetry.ClockID `json:"c"`
	Time  int64             `json:"t,omitempty"`
	// For counts how long the condition (or, while firing, the clear condition)
	// has held, in milliseconds of event time under one clock after the other.
	For   int64  `json:"f,omitempty"`
	Run   bool   `json:"r,omitempty"` // the condition (clear condition) held at the last reading
	Alert string `json:"a,omitempty"`
	// Closed says that a change of rules ended the last alert. The state outlives
	// its rule then, so that the same rule, set again, takes no key twice.
	Closed bool `json:"x,omitempty"`
}

// Core is the state of all rules and series. It is not safe for concurrent use.
type Core struct {
	rules      []Rule
	byQuantity map[string][]int
	noData     []int
	held       map[id]*held
	heard      map[telemetry.Node]heard
	frontier   int64 // milliseconds of receive time, by ticks
	// What changed since the last checkpoint.
	changedHeld     map[id]bool
	changedHeard    map[telemetry.Node]bool
	changedRules    bool
	changedFrontier bool
	// Omit opens holes for the simulation, which must find them.
	Omit Omit
}

// Omit names rules of the design that a simulation leaves out, to prove that it
// notices. All false in production.
type Omit struct {
	NumberOrder bool // H6: go by event time instead of (epoch, number)
	KeyNumber   bool // H12: leave state and number out of the transition's key
}

// id names one (rule, series).
type id struct {
	rule   string
	series Series
}

// heard is when a node was last heard: on the frontier, and where in the journal.
type heard struct {
	Frontier int64  `json:"h"`
	Position uint64 `json:"p"`
}

// Keys of the checkpoint beside "held/…".
const (
	keyRules    = "rules"
	keyFrontier = "frontier"
	heldPrefix  = "held/"
	nodePrefix  = "node/"
)

// New returns a core without rules.
func New() *Core {
	return &Core{held: map[id]*held{}, heard: map[telemetry.Node]heard{},
		changedHeld: map[id]bool{}, changedHeard: map[telemetry.Node]bool{}}
}

// Rules returns the rules in force.
func (c *Core) Rules() []Rule { return slices.Clone(c.rules) }

// SetRules replaces the rules. Alerts of a rule that is gone, or that no longer
// covers their series, resolve; a changed threshold judges from the next
// reading on. at is the event time of the change, Unix milliseconds; position
// is its place in the journal.
func (c *Core) SetRules(rules []Rule, at int64, position uint64) []Transition {
	old := map[string]Rule{}
	for _, r := range c.rules {
		old[r.ID] = r
	}
	c.index(rules)
	c.changedRules = true
	var out []Transition
	for _, k := range c.sortedHeld() {
		i := slices.IndexFunc(rules, func(r Rule) bool { return r.ID == k.rule })
		if i >= 0 && rules[i].Scope.matches(k.series.Node, k.series.Device) &&
			rules[i].Quantity == old[k.rule].Quantity && rules[i].Condition == old[k.rule].Condition {
			continue
		}
		switch h := c.held[k]; {
		case h.State == Firing:
			r := old[k.rule]
			if r.Condition == NoData {
				h.Num = position // the node's last word may have ended a silence already
			}
			out = append(out, c.transition(&r, k.series, h, Resolved, at, 0))
			h.Closed = true
		case !h.Closed:
			delete(c.held, k)
		}
		c.changedHeld[k] = true
	}
	return out
}

func (c *Core) sortedHeld() []id {
	return slices.SortedFunc(maps.Keys(c.held), func(a, b id) int { return strings.Compare(a.key(), b.key()) })
}

// state returns the state of one (rule, series), made at first use, and marks
// it for the checkpoint.
func (c *Core) state(rule string, s Series) *held {
	k := id{rule, s}
	h := c.held[k]
	if h == nil {
		h = &held{State: OK}
		c.held[k] = h
	}
	c.changedHeld[k] = true
	return h
}

func (c *Core) index(rules []Rule) {
	c.rules, c.byQuantity, c.noData = rules, map[string][]int{}, nil
	for i, r := range rules {
		if r.Condition == NoData {
			c.noData = append(c.noData, i)
		} else {
			c.byQuantity[r.Quantity] = append(c.byQuantity[r.Quantity], i)
		}
	}
}

// key is the id as the checkpoint writes it; no part can hold a NUL byte.
func (k id) key() string {
	return strings.Join([]string{k.rule, k.series.Node.Group, k.series.Node.ID, k.series.Device}, "\x00")
}

func parseID(key string) (id, error) {
	parts := strings.Split(key, "\x00")
	if len(parts) != 4 {
		return id{}, fmt.Errorf("want rule, group, node, device, got %d parts", len(parts))
	}
	return id{parts[0], Series{Node: telemetry.Node{Group: parts[1], ID: parts[2]}, Device: parts[3]}}, nil
}

// Observe judges one reading.
func (c *Core) Observe(o Observation) []Transition {
	var out []Transition
	for _, i := range c.byQuantity[o.Quantity] {
		r := &c.rules[i]
		if !r.Scope.matches(o.Series.Node, o.Series.Device) {
			continue
		}
		if t, ok := c.observe(r, o); ok {
			out = append(out, t)
		}
	}
	return out
}

func (c *Core) observe(r *Rule, o Observation) (Transition, bool) {
	if o.Late {
		return Transition{}, false
	}
	h := c.state(r.ID, o.Series)
	// A reading that is not late belongs to the node's newest run, so another
	// epoch is a newer one; within an epoch only higher numbers count. Event time
	// decides nothing here: a clock that was ahead and came back must not blind.
	stale := o.Epoch == h.Epoch && o.Number <= h.Num
	if c.Omit.NumberOrder {
		stale = o.Time <= h.Time
	}
	if stale {
		return Transition{}, false
	}
	step := int64(0)
	if h.Run && o.Clock == h.Clock && o.Time > h.Time {
		step = min(o.Time-h.Time, max(2*o.Interval, 5*time.Minute).Milliseconds())
	}
	h.Epoch, h.Num, h.Clock, h.Time = o.Epoch, o.Number, o.Clock, o.Time
	if o.Rejected || o.Gap {
		return Transition{}, false
	}
	hit, clear := o.Value > r.Threshold, o.Value < r.Clear || (r.Clear == r.Threshold && o.Value <= r.Clear)
	if r.Condition == Below {
		hit, clear = o.Value < r.Threshold, o.Value > r.Clear || (r.Clear == r.Threshold && o.Value >= r.Clear)
	}
	wanted, limit := hit, time.Duration(r.For).Milliseconds()
	if h.State == Firing {
		wanted, limit = clear, time.Duration(r.ClearFor).Milliseconds()
	}
	if !wanted {
		h.For, h.Run = 0, false
		if h.State != Firing {
			h.State = OK
		}
		return Transition{}, false
	}
	h.For, h.Run = h.For+step, true
	switch {
	case h.For < limit:
		if h.State != Firing {
			h.State = Pending
		}
		return Transition{}, false
	case h.State == Firing:
		return c.transition(r, o.Series, h, Resolved, o.Time, o.Value), true
	}
	return c.transition(r, o.Series, h, Firing, o.Time, o.Value), true
}

// transition moves h and names the move.
func (c *Core) transition(r *Rule, s Series, h *held, to State, at int64, value float64) Transition {
	key := strings.Join([]string{r.ID, s.String(), h.Epoch.String(), strconv.FormatUint(h.Num, 10), string(to)}, "|")
	if c.Omit.KeyNumber {
		key = strings.Join([]string{r.ID, s.String(), strconv.FormatInt(at, 10)}, "|")
	}
	if to == Firing {
		h.Alert, h.Closed = key, false
	}
	t := Transition{Key: key, Alert: h.Alert, Rule: r.ID, Name: r.Name, NameEN: r.NameEN, Severity: r.Severity, Series: s,
		Quantity: r.Quantity, Condition: r.Condition, Threshold: r.Threshold, State: to, Time: at, Value: value}
	h.State, h.For, h.Run = to, 0, false
	if to == Resolved {
		h.State, h.Alert = OK, ""
	}
	return t
}

// Heard says that something came from a node, data of any age or a birth, at a
// position of the journal. Silence is over with it.
func (c *Core) Heard(n telemetry.Node, position uint64) []Transition {
	c.heard[n] = heard{Frontier: c.frontier, Position: position}
	c.changedHeard[n] = true
	var out []Transition
	for _, i := range c.noData {
		k := id{c.rules[i].ID, Series{Node: n}}
		if h := c.held[k]; h != nil && h.State == Firing {
			h.Num = position
			c.changedHeld[k] = true
			out = append(out, c.transition(&c.rules[i], k.series, h, Resolved, c.frontier, 0))
		}
	}
	return out
}

// Forget drops a node that was revoked, as the journal says at a position: it is
// no longer missed, and its alerts resolve, since nothing else could end them.
func (c *Core) Forget(n telemetry.Node, position uint64) []Transition {
	var out []Transition
	for _, k := range c.sortedHeld() {
		if k.series.Node != n {
			continue
		}
		i := slices.IndexFunc(c.rules, func(r Rule) bool { return r.ID == k.rule })
		if h := c.held[k]; h.State == Firing && i >= 0 {
			if c.rules[i].Condition == NoData {
				h.Num = position // the node's last word may have ended a silence already
			}
			out = append(out, c.transition(&c.rules[i], k.series, h, Resolved, c.frontier, 0))
		}
		delete(c.held, k)
		c.changedHeld[k] = true
	}
	delete(c.heard, n)
	c.changedHeard[n] = true
	return out
}

// Advance moves the frontier of receive time (milliseconds, monotonic: see
// ingest) and judges silence.
func (c *Core) Advance(frontier int64) []Transition {
	if frontier <= c.frontier {
		return nil
	}
	c.frontier, c.changedFrontier = frontier, true
	if len(c.noData) == 0 {
		return nil
	}
	var out []Transition
	nodes := slices.SortedFunc(maps.Keys(c.heard), func(a, b telemetry.Node) int { return strings.Compare(a.String(), b.String()) })
	for _, n := range nodes {
		last := c.heard[n]
		for _, i := range c.noData {
			r := &c.rules[i]
			silent := frontier - last.Frontier
			if !r.Scope.matches(n, "") || silent < time.Duration(r.For).Milliseconds() {
				continue
			}
			if h := c.held[id{r.ID, Series{Node: n}}]; h != nil && h.State == Firing {
				continue
			}
			h := c.state(r.ID, Series{Node: n})
			h.Num = max(h.Num, last.Position)
			out = append(out, c.transition(r, Series{Node: n}, h, Firing, last.Frontier, float64(silent)/1000))
		}
	}
	return out
}

// Changed returns what a checkpoint has to write since the last call: the value
// by key, nil for a key that is gone.
func (c *Core) Changed() map[string][]byte {
	out := make(map[string][]byte, len(c.changedHeld)+len(c.changedHeard)+2)
	put := func(key string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			// Plain fields of our own; validated rules hold no NaN. A value that
			// cannot be written is a mistake in this file.
			panic(fmt.Sprintf("alert state %q: %v", key, err))
		}
		out[key] = b
	}
	if c.changedRules {
		put(keyRules, c.rules)
	}
	if c.changedFrontier {
		put(keyFrontier, c.frontier)
	}
	for k := range c.changedHeld {
		if h := c.held[k]; h != nil {
			put(heldPrefix+k.key(), h)
		} else {
			out[heldPrefix+k.key()] = nil
		}
	}
	for n := range c.changedHeard {
		if h, ok := c.heard[n]; ok {
			put(nodePrefix+n.String(), h)
		} else {
			out[nodePrefix+n.String()] = nil
		}
	}
	clear(c.changedHeld)
	clear(c.changedHeard)
	c.changedRules, c.changedFrontier = false, false
	return out
}

// Load takes one entry that Changed wrote. Call it on a new core, in any order.
func (c *Core) Load(key string, value []byte) error {
	var err error
	switch {
	case key == keyRules:
		var rules []Rule
		err = json.Unmarshal(value, &rules)
		c.index(rules)
	case key == keyFrontier:
		err = json.Unmarshal(value, &c.frontier)
	case strings.HasPrefix(key, heldPrefix):
		var k id
		if k, err = parseID(key[len(heldPrefix):]); err == nil {
			h := &held{}
			err = json.Unmarshal(value, h)
			c.held[k] = h
		}
	case strings.HasPrefix(key, nodePrefix):
		var n telemetry.Node
		if n, err = telemetry.ParseNode(key[len(nodePrefix):]); err == nil {
			var h heard
			err = json.Unmarshal(value, &h)
			c.heard[n] = h
		}
	default:
		err = errors.New("unknown key")
	}
	if err != nil {
		return fmt.Errorf("read alert state %q: %w", key, err)
	}
	return nil
}
