package ingest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// worker computes the rows of dirty hours, and of the days above them.
type worker struct {
	i     *Ingest
	s     *storing
	log   *slog.Logger
	awake chan struct{}
	busy  sync.Mutex // held while rows are computed
}

// daysAtOnce is of how many days of a node hours are given out together.
const daysAtOnce = 16

// NodeHour is an hour of a node whose rows were written.
type NodeHour struct {
	Node    telemetry.Node
	Devices []string // that have a row, as they are stored
	Start   time.Time
}

func newWorker(i *Ingest, s *storing) *worker {
	return &worker{i: i, s: s, log: i.log.With("worker", "hours"), awake: make(chan struct{}, 1)}
}

func (w *worker) wake() { token(w.awake) }

func (w *worker) run(ctx context.Context) {
	for {
		now := w.i.o.Now().UnixNano()
		w.s.books.Lock() // Next marks what it gives out
		work, until := w.s.accounts.Hours.Next(now, daysAtOnce)
		w.s.books.Unlock()
		for rest := work; len(rest) > 0; {
			if ctx.Err() != nil {
				return
			}
			n := 1
			for n < len(rest) && rest[n].Hour == rest[n-1].Hour+1 && rest[n].nodeDay() == rest[0].nodeDay() {
				n++
			}
			hours := rest[:n]
			rest = rest[n:]
			begun := time.Now()
			w.busy.Lock()
			outcomes := w.compute(ctx, hours)
			err := w.s.hoursDone(func(h *Hours) {
				for i, x := range hours {
					h.Done(x, outcomes[i], w.i.o.Now().UnixNano())
				}
			})
			w.busy.Unlock()
			if err != nil {
				w.log.Warn("computed hours are not noted as done: they will be computed again", "error", err)
			}
			if !w.rest(ctx, time.Since(begun)) {
				return
			}
		}
		if len(work) > 0 {
			continue
		}
		pause := time.Minute
		if until > 0 {
			pause = min(max(time.Duration(until-now), 50*time.Millisecond), pause)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-w.awake:
			t.Stop()
			// Marks come with every batch; hours go by seconds.
			if !wait(ctx, 200*time.Millisecond) {
				return
			}
		}
	}
}

// rest leaves the database to those who write: the worker is busy for half of
// the time, and for a tenth while the store has not caught up.
func (w *worker) rest(ctx context.Context, busy time.Duration) bool {
	if _, last, err := w.i.o.Journal.Bounds(ctx); err == nil && w.s.durable.Load()+storeBehind < last {
		busy *= 9
	}
	return wait(ctx, min(busy, time.Minute))
}

// storeBehind is how many entries the store may be behind the journal's head
// and still count as caught up.
const storeBehind = 256

// compute reads the raw values of some hours of a node, which follow each other
// within a day, and writes their rows and those of the day.
func (w *worker) compute(ctx context.Context, hours []Work) []Outcome {
	outcomes := make([]Outcome, len(hours))
	node := CleanNode(hours[0].Node)
	from, to := hours[0].Start(), hours[len(hours)-1].Start().Add(time.Hour)
	fail := func(what string, err error) []Outcome {
		outcome := Failed
		if ctx.Err() == nil {
			w.i.metrics.hourErrors.Add(float64(len(hours)))
			w.log.Warn("hours are not computed yet", "what", what, "node", node.String(), "from", from, "to", to, "error", err)
		}
		var away *influx.UnavailableError
		if errors.As(err, &away) && away.Status == 0 && what != "read" {
			outcome = Unanswered
		}
		for i := range outcomes {
			outcomes[i] = outcome
		}
		return outcomes
	}
	now := w.i.o.Now()
	tallies := make([]*Tally, len(hours))
	for i, x := range hours {
		tallies[i] = NewTally(node, x.Start(), now, time.Hour)
	}
	err := w.i.o.Influx.Points(ctx, influx.Span{Node: node, From: from, To: to}, func(p *influx.Point) error {
		tallies[p.Time/int64(time.Hour)-hours[0].Hour].Add(p)
		return nil
	})
	if err != nil {
		return fail("read", err)
	}
	var rows []influx.Row
	var written []NodeHour
	w.s.books.RLock()
	for i, x := range hours {
		if outcomes[i] = Empty; tallies[i].Empty() {
			continue
		}
		outcomes[i] = Written
		w.s.accounts.Intervals.Of(x.Node, x.Start().UnixMilli(), tallies[i].Expect)
		rows = append(rows, tallies[i].Rows()...)
		if x.end() <= now.UnixNano() { // the running hour is nobody's figure yet
			written = append(written, NodeHour{Node: x.Node, Devices: tallies[i].devices(), Start: x.Start()})
		}
	}
	w.s.books.RUnlock()
	if len(rows) == 0 {
		return outcomes
	}
	if err := w.i.o.Influx.WriteRows(ctx, influx.Hours, rows); err != nil {
		return fail("write hours", err)
	}
	day := DayOf(from)
	ofDay, err := w.i.o.Influx.Rows(ctx, influx.Hours, influx.Span{Node: node, From: day, To: day.Add(24 * time.Hour)})
	if err != nil {
		return fail("read", err)
	}
	if err := w.i.o.Influx.WriteRows(ctx, influx.Days, DayRows(ofDay, day, now)); err != nil {
		return fail("write days", err)
	}
	if w.i.o.HoursWritten != nil && len(written) > 0 {
		// Before the node's own mark goes: after a kill in between the hours are
		// computed, and told, once more.
		if err := w.i.o.HoursWritten(ctx, written); err != nil {
			return fail("tell who goes by these hours", err)
		}
	}
	for _, o := range outcomes {
		if o == Written {
			w.i.metrics.hours.Inc()
		}
	}
	return outcomes
}
