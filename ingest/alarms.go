package ingest

import (
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// RulesAlerts names the rules entries that hold alert rules (alert.Parse).
const RulesAlerts = "alerts"

// RulesForget names the entries that say that a node was revoked: from there on
// nobody misses it. The text is the node's name, "group/id".
const RulesForget = "forget"

// Alarms is the alert reader's core: it turns messages into the alert core's
// observations and gathers the transitions, which must be kept durably before
// its checkpoint moves.
type Alarms struct {
	core        *alert.Core
	transitions []alert.Transition
	frontier    int64 // Unix milliseconds
	bad         int
}

// NewAlarms returns a core without rules; they come through the journal.
func NewAlarms(omit alert.Omit) *Alarms {
	a := &Alarms{core: alert.New()}
	a.core.Omit = omit
	return a
}

// Message judges the readings of one message.
func (a *Alarms) Message(m *Message) {
	if m.Reason != ReasonNone && len(m.Records) == 0 {
		return
	}
	switch m.Type {
	case sparkplug.NBIRTH, sparkplug.DBIRTH, sparkplug.NDATA, sparkplug.DDATA:
		a.take(a.core.Heard(m.Node, place(m.Pos, 0)))
	default:
		return
	}
	reading := 0
	for i := range m.Records {
		r := &m.Records[i]
		o := alert.Observation{Number: r.Number, Time: r.Time, Late: m.Late[i]}
		if m.Numbered {
			o.Epoch, o.Clock = m.Run.Epoch, m.Run.Clock
		} else {
			o.Number = place(m.Pos, i)
		}
		for j := range r.Readings {
			s := &m.Birth.Series[m.Series[reading]]
			reading++
			v := &r.Readings[j]
			if v.Value.Type == telemetry.Text {
				continue
			}
			o.Series = alert.Series{Node: m.Node, Device: s.Device}
			o.Quantity, o.Interval = s.Quantity, s.Interval
			o.Value, o.Rejected, o.Gap = v.Value.Number, v.Flag != telemetry.FlagNone, v.Gap != telemetry.GapNone
			a.take(a.core.Observe(o))
		}
	}
}

// place numbers what has no number of its own by its place in the journal: the
// entry, the packet in it, the record in that.
func place(p Position, record int) uint64 {
	return p.Seq<<24 | uint64(p.Index&0xfff)<<12 | uint64(record&0xfff)
}

func (a *Alarms) take(t []alert.Transition) { a.transitions = append(a.transitions, t...) }

// Tick judges silence on the frontier.
func (a *Alarms) Tick(_ uint64, _ envelope.Tick, frontier int64) {
	a.frontier = frontier / int64(time.Millisecond)
	a.take(a.core.Advance(a.frontier))
}

// Rules takes a change of alert rules, or a node that was revoked; what cannot
// be read leaves all as it is and counts.
func (a *Alarms) Rules(seq uint64, r envelope.Rules) {
	if r.Name == RulesForget {
		n, err := telemetry.ParseNode(string(r.Body))
		if err != nil {
			a.bad++
			return
		}
		a.take(a.core.Forget(n, place(Position{Seq: seq}, 0)))
		return
	}
	if r.Name != RulesAlerts {
		return
	}
	rules, err := alert.Parse(r.Body)
	if err != nil {
		a.bad++
		return
	}
	a.take(a.core.SetRules(rules, a.frontier, place(Position{Seq: seq}, 0)))
}

// Assume sets rules (alert.Parse) before the first entry, if the checkpoint held
// none: it may have been damaged, and the journal be purged beyond the entry
// that set them.
func (a *Alarms) Assume(body []byte) error {
	if len(a.core.Rules()) > 0 {
		return nil
	}
	rules, err := alert.Parse(body)
	if err != nil {
		return err
	}
	a.take(a.core.SetRules(rules, 0, 0))
	return nil
}

// InForce returns the rules in force, and how many changes could not be read.
func (a *Alarms) InForce() (rules []alert.Rule, unreadable int) { return a.core.Rules(), a.bad }

// TakeTransitions hands over what has changed since the last call.
func (a *Alarms) TakeTransitions() []alert.Transition {
	t := a.transitions
	a.transitions = nil
	return t
}

const tableAlerts = "alerts"

// Load takes one row; rows of other tables are ignored.
func (a *Alarms) Load(table string, key, value []byte) error {
	if table != tableAlerts {
		return nil
	}
	return a.core.Load(string(key), value)
}

// Checkpoint adds what changed since its last call.
func (a *Alarms) Checkpoint(d *checkpoint.Delta) {
	for key, value := range a.core.Changed() {
		if value == nil {
			d.Delete(tableAlerts, []byte(key))
		} else {
			d.Put(tableAlerts, []byte(key), value)
		}
	}
}

var _ Core = (*Alarms)(nil)
