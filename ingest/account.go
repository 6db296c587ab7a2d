package ingest

import (
	"cmp"
	"slices"

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
	order   uint64 // among the node's epochs
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
