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

// Mark says that raw values of an hour were written.
func (h *Hours) Mark(m HourMark) {
	h.generation++
	e := h.marks[m]
	if e == nil {
		e = &hour{}
		h.marks[m] = e
	}
	e.generation = h.generation
	e.empty = 0
	if e.rests {
		e.rests, e.due = false, 0
	}
	h.changed[m] = true
}

// Len counts the marks.
func (h *Hours) Len() int { return len(h.marks) }

// Next gives out up to n marks that are due, past hours and old marks first,
// and says when the next is due if none is (0: when something is marked).
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
	slices.SortFunc(work, func(a, b Work) int {
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.generation, b.generation))
	})
	work = work[:min(n, len(work))]
	for _, w := range work {
		h.marks[w.HourMark].busy = true
	}
	return work, wait
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
		h.marks[HourMark{Node: n, Hour: int64(binary.BigEndian.Uint64(rest))}] = &hour{generation: generation}
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
