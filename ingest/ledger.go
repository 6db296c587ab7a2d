package ingest

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// nodeLedger is the ledger of one node.
type nodeLedger struct {
	epochs map[telemetry.Epoch]*account
	next   uint64 // order of the next epoch
	// folded are epochs so old that only their sums are kept.
	folded Totals
	// foreign counts the records of a node without numbers: what came is what is
	// expected.
	foreign Totals
}

type epochID struct {
	node  telemetry.Node
	epoch telemetry.Epoch
}

// Ledger says of every record number of every gateway what became of it. It is
// pure, and part of the store reader's checkpoint.
type Ledger struct {
	nodes   map[telemetry.Node]*nodeLedger
	holes   Holes
	changed map[epochID]bool
	foreign map[telemetry.Node]bool
}

// NewLedger returns an empty ledger.
func NewLedger(h Holes) *Ledger {
	return &Ledger{nodes: map[telemetry.Node]*nodeLedger{}, holes: h, changed: map[epochID]bool{}, foreign: map[telemetry.Node]bool{}}
}

func (l *Ledger) node(n telemetry.Node) *nodeLedger {
	nl := l.nodes[n]
	if nl == nil {
		nl = &nodeLedger{epochs: map[telemetry.Epoch]*account{}}
		l.nodes[n] = nl
	}
	return nl
}

func (l *Ledger) account(n telemetry.Node, e telemetry.Epoch) *account {
	nl := l.node(n)
	a := nl.epochs[e]
	if a == nil {
		if len(nl.epochs) >= maxEpochs {
			l.fold(n, nl)
		}
		nl.next++
		a = &account{order: nl.next}
		nl.epochs[e] = a
	}
	l.changed[epochID{n, e}] = true
	return a
}

// maxEpochs is how many epochs of one node have an account; beyond, the older
// half is folded into sums, and what it still misses is lost.
const maxEpochs = 2048

func (l *Ledger) fold(n telemetry.Node, nl *nodeLedger) {
	for e, a := range nl.epochs {
		if a.order+maxEpochs/2 > nl.next {
			continue
		}
		a.fill(a.highest, class{status: Lost})
		nl.folded.Add(a.totals())
		delete(nl.epochs, e)
		l.changed[epochID{n, e}] = true
	}
	l.foreign[n] = true
}

// Mark raises the status of from..to. gap says that the records hold a gap;
// reason counts only with Lost.
func (l *Ledger) Mark(n telemetry.Node, e telemetry.Epoch, from, to uint64, s RecordStatus, gap bool, reason telemetry.LossReason) {
	if from == 0 || to < from || to > maxNumber || s == OnItsWay || e == 0 {
		return
	}
	k := class{status: s, gap: gap && s >= Stored}
	if s == Lost {
		k.reason = lossCode(reason)
	}
	l.account(n, e).raise(from, to, k, l.holes.StatusMayFall)
}

// Floor says that numbers below floor have been acknowledged or will never
// come: those without a status are lost, reason unreported.
func (l *Ledger) Floor(n telemetry.Node, e telemetry.Epoch, floor uint64) {
	if floor <= 1 || floor > maxNumber || e == 0 || l.holes.IgnoreFloors {
		return
	}
	a := l.account(n, e)
	a.floor = max(a.floor, floor)
	a.fill(floor-1, class{status: Lost})
	a.settle()
}

// Listed takes the epochs of an NBIRTH, which still lie in the gateway's spool:
// all others are closed, and what they miss is lost.
func (l *Ledger) Listed(n telemetry.Node, epochs []telemetry.EpochFloor) {
	if l.holes.IgnoreFloors {
		return
	}
	for _, e := range epochs {
		if e.Epoch != 0 && e.Lowest > 0 && e.Lowest <= maxNumber {
			l.Floor(n, e.Epoch, e.Lowest)
		}
	}
	nl := l.nodes[n]
	if nl == nil {
		return
	}
	for e := range nl.epochs {
		if !slices.ContainsFunc(epochs, func(f telemetry.EpochFloor) bool { return f.Epoch == e }) {
			a := nl.epochs[e]
			if before := a.totals().Missing; before > 0 || a.floor <= a.highest {
				l.Floor(n, e, a.highest+1)
			}
		}
	}
}

// Foreign counts records of a node without numbers.
func (l *Ledger) Foreign(n telemetry.Node, stored, rejected, gaps, dead, lost uint64) {
	nl := l.node(n)
	f := &nl.foreign
	f.Expected += stored + dead + lost
	f.Stored += stored
	f.Rejected += rejected
	f.Gaps += gaps
	f.DeadLetters += dead
	f.lose(LossLimit, lost)
	l.foreign[n] = true
}

// Retried takes a foreign message off the dead letters: its records have just
// been counted as expected and stored.
func (l *Ledger) Retried(n telemetry.Node) {
	f := &l.node(n).foreign
	if f.DeadLetters > 0 {
		f.DeadLetters--
		f.Expected--
	}
	l.foreign[n] = true
}

// Status returns what is known of one number.
func (l *Ledger) Status(n telemetry.Node, e telemetry.Epoch, number uint64) (RecordStatus, telemetry.LossReason) {
	nl := l.nodes[n]
	if nl == nil || nl.epochs[e] == nil {
		return OnItsWay, ""
	}
	k, _ := nl.epochs[e].status(number)
	if k.status == Lost {
		return Lost, lossReasons[k.reason]
	}
	return k.status, ""
}

// Node returns the totals of one node.
func (l *Ledger) Node(n telemetry.Node) Totals {
	var t Totals
	if nl := l.nodes[n]; nl != nil {
		t.Add(nl.foreign)
		t.Add(nl.folded)
		for _, a := range nl.epochs {
			t.Add(a.totals())
		}
	}
	return t
}

// Nodes lists the nodes that have an account, in order.
func (l *Ledger) Nodes() []telemetry.Node {
	return slices.SortedFunc(maps.Keys(l.nodes), compareNodes)
}

func compareNodes(a, b telemetry.Node) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID))
}

// Totals returns the totals of all nodes.
func (l *Ledger) Totals() Totals {
	var t Totals
	for n := range l.nodes {
		t.Add(l.Node(n))
	}
	return t
}

// Hole is a stretch of numbers that is not in the database.
type Hole struct {
	Epoch  telemetry.Epoch      `json:"epoch"`
	From   uint64               `json:"from"`
	To     uint64               `json:"to"`     // inclusive
	Status string               `json:"status"` // on_its_way, lost or dead_letter
	Reason telemetry.LossReason `json:"reason,omitempty"`
}

// Holes lists what of a node is not in the database: the gap report's other
// half. Epochs are in the order of their value.
func (l *Ledger) Holes(n telemetry.Node) []Hole {
	nl := l.nodes[n]
	if nl == nil {
		return nil
	}
	var out []Hole
	for _, e := range slices.Sorted(maps.Keys(nl.epochs)) {
		a := nl.epochs[e]
		next := a.settled + 1
		for _, s := range a.spans {
			if s.from > next {
				out = append(out, Hole{Epoch: e, From: next, To: s.from - 1, Status: OnItsWay.String()})
			}
			if s.status < Stored {
				h := Hole{Epoch: e, From: s.from, To: s.to, Status: s.status.String()}
				if s.status == Lost {
					h.Reason = lossReasons[s.reason]
				}
				out = append(out, h)
			}
			next = s.to + 1
		}
		if next <= a.highest {
			out = append(out, Hole{Epoch: e, From: next, To: a.highest, Status: OnItsWay.String()})
		}
	}
	return out
}

// Tables of the ledger's checkpoint.
const (
	tableLedger  = "ledger"
	tableForeign = "foreign"
)

// Load takes one row; rows of other tables are ignored.
func (l *Ledger) Load(table string, key, value []byte) error {
	if table != tableLedger && table != tableForeign {
		return nil
	}
	n, rest, err := cutNode(key)
	if err != nil {
		return err
	}
	u := unpack{b: value}
	if table == tableForeign {
		nl := l.node(n)
		for _, f := range []*Totals{&nl.foreign, &nl.folded} {
			*f = Totals{Expected: u.uvarint(), Stored: u.uvarint(), Rejected: u.uvarint(), Gaps: u.uvarint(), DeadLetters: u.uvarint()}
			for _, r := range lossReasons {
				f.lose(r, u.uvarint())
			}
		}
		return u.done("foreign", key)
	}
	a := &account{order: u.uvarint(), highest: u.uvarint(), settled: u.uvarint(), floor: u.uvarint()}
	a.past.stored, a.past.rejected, a.past.gaps = u.uvarint(), u.uvarint(), u.uvarint()
	next := a.settled
	for range u.uvarint() {
		var s span
		next += u.uvarint()
		s.from = next
		next += u.uvarint()
		s.to = next
		bits := u.uvarint()
		s.status, s.gap, s.reason = RecordStatus(bits&7), bits&8 != 0, uint8(bits>>4)
		if s.status == OnItsWay || s.status > Rejected || int(s.reason) >= len(lossReasons) {
			u.bad = true
		}
		if u.bad {
			break
		}
		a.spans = append(a.spans, s)
	}
	if len(rest) != 8 {
		u.bad = true
	}
	if err := u.done("ledger", key); err != nil {
		return err
	}
	nl := l.node(n)
	nl.epochs[telemetry.Epoch(binary.BigEndian.Uint64(rest))] = a
	nl.next = max(nl.next, a.order)
	return nil
}

// Checkpoint adds what changed since its last call.
func (l *Ledger) Checkpoint(d *checkpoint.Delta) {
	for id := range l.changed {
		key := binary.BigEndian.AppendUint64(nodeKey(id.node), uint64(id.epoch))
		a := l.nodes[id.node].epochs[id.epoch]
		if a == nil {
			d.Delete(tableLedger, key)
			continue
		}
		b := make([]byte, 0, 32+6*len(a.spans))
		for _, v := range []uint64{a.order, a.highest, a.settled, a.floor, a.past.stored, a.past.rejected, a.past.gaps, uint64(len(a.spans))} {
			b = binary.AppendUvarint(b, v)
		}
		last := a.settled
		for _, s := range a.spans {
			b = binary.AppendUvarint(b, s.from-last)
			b = binary.AppendUvarint(b, s.to-s.from)
			bits := uint64(s.status) | uint64(s.reason)<<4
			if s.gap {
				bits |= 8
			}
			b = binary.AppendUvarint(b, bits)
			last = s.to
		}
		d.Put(tableLedger, key, b)
	}
	clear(l.changed)
	for n := range l.foreign {
		var b []byte
		for _, f := range []*Totals{&l.nodes[n].foreign, &l.nodes[n].folded} {
			for _, v := range []uint64{f.Expected, f.Stored, f.Rejected, f.Gaps, f.DeadLetters} {
				b = binary.AppendUvarint(b, v)
			}
			for _, r := range lossReasons {
				b = binary.AppendUvarint(b, f.LostBy[r])
			}
		}
		d.Put(tableForeign, nodeKey(n), b)
	}
	clear(l.foreign)
}
