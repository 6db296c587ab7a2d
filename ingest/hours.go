package ingest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// HourMark names one hour of one node: the UTC hour that begins at Hour×3600 s.
// (WIB is a whole number of hours ahead, so its hours are the same.)
type HourMark struct {
	Node telemetry.Node
	Hour int64
}

// Start returns the hour's first instant.
func (m HourMark) Start() time.Time { return time.Unix(m.Hour*3600, 0).UTC() }

// day numbers the day (WIB) in which the hour lies.
func (m HourMark) day() int64 {
	d := (m.Hour + 7) / 24
	if (m.Hour+7)%24 < 0 {
		d--
	}
	return d
}

// end returns the first instant after the hour, in Unix nanoseconds.
func (m HourMark) end() int64 { return (m.Hour + 1) * int64(time.Hour) }

// Work is one hour to compute, as Next gave it out.
type Work struct {
	HourMark
	generation uint64
	begun      int64 // Unix nanoseconds
}

// Outcome is what became of a Work.
type Outcome uint8

// The outcomes.
const (
	Written    Outcome = iota // all rows were written and answered
	Unanswered                // a row's write got no answer: it may land at any time until the longest write time
	Failed                    // nothing was written
	Empty                     // there is nothing raw: rows stay as they are
)

// How often a mark is worked on.
const (
	hourSettle  = 5 * time.Second  // a past hour, after its last computation: backlog comes in bursts
	hourRunning = 60 * time.Second // the running hour
	hourRetry   = 30 * time.Second // after a failure
)

// Hours are the hours whose rows must be computed anew. Marks are part of the
// store reader's checkpoint; when they are due is not. It is pure: times are
// arguments, in Unix nanoseconds.
type Hours struct {
	generation uint64
	marks      map[HourMark]*hour
	changed    map[HourMark]bool
	computed   map[HourMark]int64 // when lately, so that each batch does not compute the running hour again
	longest    int64
	holes      Holes
	landed     int64 // when the last write of the run before must have landed
}

type hour struct {
	generation uint64
	first      uint64 // generation of the first mark that waits
	due        int64
	uncertain  int64 // no computation begun before this may clear the mark
	empty      int   // times in a row that nothing raw was found
	busy       bool
	rests      bool // until the hour's end, or until it is marked anew
}

// NewHours returns no marks. longest is InfluxDB's longest write time: how long
// after its start a write without an answer may still land. now is the start:
// a write of the process before may be on its way.
func NewHours(longest time.Duration, now int64, h Holes) *Hours {
	return &Hours{marks: map[HourMark]*hour{}, changed: map[HourMark]bool{}, computed: map[HourMark]int64{}, longest: int64(longest), holes: h, landed: now + int64(longest)}
}

// First says that no process has written before this one: nothing can be on its
// way.
func (h *Hours) First() { h.landed = 0 }

// Mark says that raw values of an hour were written.
func (h *Hours) Mark(m HourMark) {
	h.generation++
	e := h.marks[m]
	if e == nil {
		e = &hour{}
		h.marks[m] = e
	}
	if e.first == 0 {
		e.first = h.generation
	}
	e.generation = h.generation
	e.empty = 0
	if e.rests {
		e.rests, e.due = false, 0
	}
	h.changed[m] = true
}

// Forget drops the marks of a node whose raw values are gone.
func (h *Hours) Forget(n telemetry.Node) {
	for m := range h.marks {
		if m.Node == n {
			delete(h.marks, m)
			h.changed[m] = true
		}
	}
}

// Len counts the marks.
func (h *Hours) Len() int { return len(h.marks) }

// Between counts the marks of hours that begin in from <= start < to.
func (h *Hours) Between(from, to time.Time) (n int) {
	for m := range h.marks {
		if at := m.Hour * 3600; at >= from.Unix() && at < to.Unix() {
			n++
		}
	}
	return n
}

// Next gives out what is due of up to n days of a node, whatever has waited
// longest first, and says when the next is due if none is (0: when something is
// marked). The hours of one node's day stand together, in their order: a backlog
// is then read and written by the day, and costs a twentieth.
func (h *Hours) Next(now int64, n int) (work []Work, wait int64) {
	for m, at := range h.computed {
		if now >= at+int64(hourRunning) {
			delete(h.computed, m)
		}
	}
	for m, e := range h.marks {
		if e.busy {
			continue
		}
		due := e.due
		if at, ok := h.computed[m]; ok {
			due = max(due, at+int64(pace(m, now)))
		}
		if due > now {
			if wait == 0 || due < wait {
				wait = due
			}
			continue
		}
		work = append(work, Work{HourMark: m, generation: e.generation, begun: now})
	}
	oldest := map[nodeDay]uint64{}
	for _, w := range work {
		day, first := w.nodeDay(), h.marks[w.HourMark].first
		if have, ok := oldest[day]; !ok || first < have {
			oldest[day] = first
		}
	}
	slices.SortFunc(work, func(a, b Work) int {
		x, y := a.nodeDay(), b.nodeDay()
		return cmp.Or(cmp.Compare(oldest[x], oldest[y]), x.compare(y), cmp.Compare(a.Hour, b.Hour))
	})
	for i, w := range work {
		if i > 0 && w.nodeDay() != work[i-1].nodeDay() {
			n--
		}
		if n == 0 {
			work = work[:i]
			break
		}
		h.marks[w.HourMark].busy = true
	}
	return work, wait
}

// nodeDay is a day (WIB) of a node.
type nodeDay struct {
	node telemetry.Node
	day  int64
}

func (m HourMark) nodeDay() nodeDay { return nodeDay{m.Node, m.day()} }

func (d nodeDay) compare(o nodeDay) int {
	return cmp.Or(cmp.Compare(d.node.Group, o.node.Group), cmp.Compare(d.node.ID, o.node.ID), cmp.Compare(d.day, o.day))
}

// pace is how often an hour is computed while values keep coming.
func pace(m HourMark, now int64) time.Duration {
	if m.Hour >= now/int64(time.Hour) {
		return hourRunning
	}
	return hourSettle
}

// Done says what became of a work. The mark is cleared only if nothing was
// written since before the raw values were read, if no earlier write without an
// answer can still land over this one's rows, and if the hour was over: a
// gateway that falls silent in the middle of an hour must not leave a row that
// expects no more than had come by then.
func (h *Hours) Done(w Work, o Outcome, now int64) {
	e := h.marks[w.HourMark]
	if e == nil {
		return
	}
	e.busy = false
	retry := func(after time.Duration) { e.due = now + int64(after) }
	switch o {
	case Failed:
		retry(hourRetry)
		return
	case Unanswered:
		e.uncertain = max(e.uncertain, now+h.longest)
		retry(max(hourRetry, time.Duration(h.longest)))
		return
	case Empty:
		// The database has lost what was acknowledged, or it has expired: the rows
		// that are there are all there is. Look once more before letting go.
		if e.empty++; e.empty < 2 || e.generation != w.generation {
			retry(hourRetry)
			return
		}
	}
	h.computed[w.HourMark] = now
	e.first = e.generation
	switch {
	case e.generation != w.generation: // again, at its pace
		e.due = 0
	case w.begun < max(e.uncertain, h.landed) && !h.holes.ClearAtOnce:
		e.due = max(e.uncertain, h.landed)
	case w.begun < w.end() && w.end()-w.begun < int64(25*time.Hour): // what lies further ahead is a wrong clock's
		e.rests, e.due = true, w.end()
	default:
		delete(h.marks, w.HourMark)
		h.changed[w.HourMark] = true
	}
}

// tableHours is the marks' table in the store reader's checkpoint; the empty
// node's row holds the generation.
const tableHours = "hours"

func (m HourMark) key() []byte { return binary.BigEndian.AppendUint64(nodeKey(m.Node), uint64(m.Hour)) }

// Load takes one row; rows of other tables are ignored.
func (h *Hours) Load(table string, key, value []byte) error {
	if table != tableHours {
		return nil
	}
	u := unpack{b: value}
	generation := u.uvarint()
	if err := u.done("hour", key); err != nil {
		return err
	}
	h.generation = max(h.generation, generation)
	n, rest, err := cutNode(key)
	if err != nil || len(rest) != 8 {
		return fmt.Errorf("checkpoint row hour %x does not fit", key)
	}
	if !n.IsZero() {
		h.marks[HourMark{Node: n, Hour: int64(binary.BigEndian.Uint64(rest))}] = &hour{generation: generation, first: generation}
	}
	return nil
}

// Checkpoint adds what changed since its last call.
func (h *Hours) Checkpoint(d *checkpoint.Delta) {
	if len(h.changed) == 0 {
		return
	}
	for m := range h.changed {
		if e := h.marks[m]; e != nil {
			d.Put(tableHours, m.key(), binary.AppendUvarint(nil, e.generation))
		} else {
			d.Delete(tableHours, m.key())
		}
	}
	clear(h.changed)
	d.Put(tableHours, HourMark{}.key(), binary.AppendUvarint(nil, h.generation))
}
