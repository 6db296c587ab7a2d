package ingest

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// RecordStatus is what is known of a record number. It only rises.
type RecordStatus uint8

// The statuses, from lowest.
const (
	OnItsWay   RecordStatus = iota // expected, nothing is known
	Lost                           // will never come; the reason says why
	DeadLetter                     // came and lies among the dead letters
	Stored                         // in the database; gaps and loss records too
	Rejected                       // in the database, and quality rejected at least one of its values
)

// String names the status.
func (s RecordStatus) String() string {
	return [...]string{"on_its_way", "lost", "dead_letter", "stored", "rejected"}[s]
}

// LossLimit is the server's own reason of a loss: the node has more devices or
// unknown quantities than the database may be burdened with.
const LossLimit telemetry.LossReason = "limit"

// lossReasons in rising order of what they tell: the same number may be
// reported twice, and the better answer stays.
var lossReasons = [...]telemetry.LossReason{telemetry.LossUnreported, LossLimit, telemetry.LossNoClock, telemetry.LossQuarantine, telemetry.LossQuota}

func lossCode(r telemetry.LossReason) uint8 {
	return uint8(max(0, slices.Index(lossReasons[:], r)))
}

// class is a status with its details.
type class struct {
	status RecordStatus
	gap    bool  // the record holds at least one gap
	reason uint8 // of a loss
}

// rise returns the higher of two classes of one number.
func rise(a, b class) class {
	switch {
	case a.status != b.status:
		if a.status < b.status {
			a, b = b, a
		}
	case a.status == Lost:
		a.reason = max(a.reason, b.reason)
	default:
		a.gap = a.gap || b.gap
	}
	if a.status >= Stored && b.status >= Stored {
		a.gap = a.gap || b.gap
	}
	return a
}

// span is an unbroken stretch of numbers of one class.
type span struct {
	from, to uint64
	class
}

// counts are numbers of records by class.
type counts struct {
	stored, rejected, gaps, dead uint64
	lost                         [len(lossReasons)]uint64
}

func (c *counts) add(k class, n uint64) {
	switch k.status {
	case Lost:
		c.lost[k.reason] += n
	case DeadLetter:
		c.dead += n
	case Rejected:
		c.rejected += n
		c.stored += n
	case Stored:
		c.stored += n
	}
	if k.gap && k.status >= Stored {
		c.gaps += n
	}
}

// account is the ledger of one epoch. Numbers 1…settled have arrived and are
// only counted (an epoch in which every tenth record is rejected would else
// never stop growing); spans lie above it.
type account struct {
	highest uint64 // of any number that was spoken of
	settled uint64
	past    counts // of 1…settled
	spans   []span // sorted, disjoint, neighbours differ
	floor   uint64
}

// maxSpans is how many spans an epoch keeps before what lies below its floor is
// settled.
const maxSpans = 256

// raise gives from..to at least the class k.
func (a *account) raise(from, to uint64, k class, may bool) {
	a.highest = max(a.highest, to)
	if to <= a.settled {
		return
	}
	from = max(from, a.settled+1)
	// The common case: what follows the last span.
	if n := len(a.spans); n == 0 || from > a.spans[n-1].to {
		if n > 0 && from == a.spans[n-1].to+1 && a.spans[n-1].class == k {
			a.spans[n-1].to = to
		} else {
			a.spans = append(a.spans, span{from, to, k})
		}
		return
	}
	i, _ := slices.BinarySearchFunc(a.spans, from, func(s span, n uint64) int { return cmp.Compare(s.to, n) })
	j := i
	for j < len(a.spans) && a.spans[j].from <= to {
		j++
	}
	var out []span
	add := func(from, to uint64, k class) {
		if from > to {
			return
		}
		if n := len(out); n > 0 && out[n-1].to+1 == from && out[n-1].class == k {
			out[n-1].to = to
			return
		}
		out = append(out, span{from, to, k})
	}
	if i > 0 { // may join
		i--
		out = append(out, a.spans[i])
	}
	next := from
	for _, s := range a.spans[i:j] {
		if s.to < from {
			continue
		}
		add(s.from, min(s.to, from-1), s.class)
		add(next, max(s.from, 1)-1, k)
		higher := rise(s.class, k)
		if may {
			higher = k
		}
		add(max(s.from, from), min(s.to, to), higher)
		if s.to > to {
			add(to+1, s.to, s.class)
		}
		next = s.to + 1
	}
	if next <= to {
		add(next, to, k)
	}
	if j < len(a.spans) { // may join
		add(a.spans[j].from, a.spans[j].to, a.spans[j].class)
		j++
	}
	a.spans = slices.Replace(a.spans, i, j, out...)
}

// fill gives every number up to to that has no status the class k.
func (a *account) fill(to uint64, k class) {
	next := a.settled + 1
	var holes []span
	for _, s := range a.spans {
		if next > to {
			break
		}
		if s.from > next {
			holes = append(holes, span{next, min(s.from-1, to), k})
		}
		next = s.to + 1
	}
	if next <= to {
		holes = append(holes, span{next, to, k})
	}
	for _, h := range holes {
		a.raise(h.from, h.to, k, false)
	}
	a.highest = max(a.highest, to)
}

// settle counts spans that have arrived for good: below the floor every number
// was acknowledged. What may still rise (lost, dead letters) stops it.
func (a *account) settle() {
	if len(a.spans) <= maxSpans {
		return
	}
	n := 0
	for n < len(a.spans) {
		s := a.spans[n]
		if s.from != a.settled+1 || s.to >= a.floor || s.status < Stored {
			break
		}
		a.past.add(s.class, s.to-s.from+1)
		a.settled = s.to
		n++
	}
	a.spans = slices.Delete(a.spans, 0, n)
}

func (a *account) status(n uint64) (class, bool) {
	if n <= a.settled {
		return class{status: Stored}, true
	}
	i, _ := slices.BinarySearchFunc(a.spans, n, func(s span, n uint64) int { return cmp.Compare(s.to, n) })
	if i < len(a.spans) && a.spans[i].from <= n {
		return a.spans[i].class, true
	}
	return class{}, false
}

func (a *account) totals() Totals {
	c := a.past
	for _, s := range a.spans {
		c.add(s.class, s.to-s.from+1)
	}
	t := Totals{Expected: a.highest, Stored: c.stored, Rejected: c.rejected, Gaps: c.gaps, DeadLetters: c.dead}
	for i, n := range c.lost {
		t.lose(lossReasons[i], n)
	}
	t.Missing = t.Expected - t.Stored - t.DeadLetters - t.Lost
	return t
}

// Totals are numbers of records: what one device gave at one time is one.
type Totals struct {
	Expected    uint64                          `json:"expected"`     // every number that was spoken of
	Stored      uint64                          `json:"stored"`       // in the database; includes Rejected and Gaps
	Rejected    uint64                          `json:"rejected"`     // with at least one value that quality rejected
	Gaps        uint64                          `json:"gaps"`         // with at least one quantity that could not be read
	DeadLetters uint64                          `json:"dead_letters"` // wait for an operator
	Lost        uint64                          `json:"lost"`         // will never come
	LostBy      map[telemetry.LossReason]uint64 `json:"lost_by,omitempty"`
	Missing     uint64                          `json:"missing"` // still on their way
}

func (t *Totals) lose(r telemetry.LossReason, n uint64) {
	if n == 0 {
		return
	}
	if t.LostBy == nil {
		t.LostBy = map[telemetry.LossReason]uint64{}
	}
	t.LostBy[r] += n
	t.Lost += n
}

// Add adds o to t.
func (t *Totals) Add(o Totals) {
	t.Expected += o.Expected
	t.Stored += o.Stored
	t.Rejected += o.Rejected
	t.Gaps += o.Gaps
	t.DeadLetters += o.DeadLetters
	t.Missing += o.Missing
	for r, n := range o.LostBy {
		t.lose(r, n)
	}
}

// nodeLedger is the ledger of one node.
type nodeLedger struct {
	epochs map[telemetry.Epoch]*account
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
		a = &account{}
		nl.epochs[e] = a
	}
	l.changed[epochID{n, e}] = true
	return a
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
	Epoch    telemetry.Epoch      `json:"epoch"`
	From, To uint64               // inclusive
	Status   string               `json:"status"` // on_its_way, lost or dead_letter
	Reason   telemetry.LossReason `json:"reason,omitempty"`
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
		f := &l.node(n).foreign
		*f = Totals{Expected: u.uvarint(), Stored: u.uvarint(), Rejected: u.uvarint(), Gaps: u.uvarint(), DeadLetters: u.uvarint()}
		f.lose(LossLimit, u.uvarint())
		return u.done("foreign", key)
	}
	a := &account{highest: u.uvarint(), settled: u.uvarint(), floor: u.uvarint()}
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
	l.node(n).epochs[telemetry.Epoch(binary.BigEndian.Uint64(rest))] = a
	return nil
}

// Checkpoint adds what changed since its last call.
func (l *Ledger) Checkpoint(d *checkpoint.Delta) {
	for id := range l.changed {
		a := l.nodes[id.node].epochs[id.epoch]
		b := make([]byte, 0, 32+6*len(a.spans))
		for _, v := range []uint64{a.highest, a.settled, a.floor, a.past.stored, a.past.rejected, a.past.gaps, uint64(len(a.spans))} {
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
		d.Put(tableLedger, binary.BigEndian.AppendUint64(nodeKey(id.node), uint64(id.epoch)), b)
	}
	clear(l.changed)
	for n := range l.foreign {
		f := l.nodes[n].foreign
		var b []byte
		for _, v := range []uint64{f.Expected, f.Stored, f.Rejected, f.Gaps, f.DeadLetters, f.LostBy[LossLimit]} {
			b = binary.AppendUvarint(b, v)
		}
		d.Put(tableForeign, nodeKey(n), b)
	}
	clear(l.foreign)
}
