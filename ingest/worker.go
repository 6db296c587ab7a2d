package ingest

import (
	"context"
	"errors"
	"log/slog"
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
}

// hoursAtOnce is how many hours are given out together.
const hoursAtOnce = 16

func newWorker(i *Ingest, s *storing) *worker {
	return &worker{i: i, s: s, log: i.log.With("worker", "hours"), awake: make(chan struct{}, 1)}
}

func (w *worker) wake() { token(w.awake) }

func (w *worker) run(ctx context.Context) {
	for {
		now := w.i.o.Now().UnixNano()
		w.s.books.Lock() // Next marks what it gives out
		work, until := w.s.accounts.Hours.Next(now, hoursAtOnce)
		w.s.books.Unlock()
		for _, x := range work {
			if ctx.Err() != nil {
				return
			}
			begun := time.Now()
			outcome := w.compute(ctx, x.HourMark)
			if err := w.s.hoursDone(func(h *Hours) { h.Done(x, outcome, w.i.o.Now().UnixNano()) }); err != nil {
				w.log.Warn("a computed hour is not noted as done: it will be computed again", "error", err)
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

// compute reads an hour's raw values and writes its rows and those of its day.
func (w *worker) compute(ctx context.Context, m HourMark) Outcome {
	fail := func(what string, err error) Outcome {
		if ctx.Err() == nil {
			w.i.metrics.hourErrors.Inc()
			w.log.Warn("an hour is not computed yet", "what", what, "node", m.Node.String(), "hour", m.Start(), "error", err)
		}
		var away *influx.UnavailableError
		if errors.As(err, &away) && away.Status == 0 && what != "read" {
			return Unanswered
		}
		return Failed
	}
	now := w.i.o.Now()
	from := m.Start()
	node := telemetry.Node{Group: cleanName(m.Node.Group), ID: cleanName(m.Node.ID)}
	tally := NewTally(node, from, now, time.Hour)
	span := influx.Span{Node: node, From: from, To: from.Add(time.Hour)}
	if err := w.i.o.Influx.Points(ctx, span, func(p *influx.Point) error { tally.Add(p); return nil }); err != nil {
		return fail("read", err)
	}
	if tally.Empty() {
		return Empty
	}
	w.s.books.RLock()
	w.s.accounts.Intervals.Of(m.Node, from.UnixMilli(), tally.Expect)
	w.s.books.RUnlock()
	if err := w.i.o.Influx.WriteRows(ctx, influx.Hours, tally.Rows()); err != nil {
		return fail("write hours", err)
	}
	day := DayOf(from)
	hours, err := w.i.o.Influx.Rows(ctx, influx.Hours, influx.Span{Node: node, From: day, To: day.Add(24 * time.Hour)})
	if err != nil {
		return fail("read", err)
	}
	if err := w.i.o.Influx.WriteRows(ctx, influx.Days, DayRows(hours, day, now)); err != nil {
		return fail("write days", err)
	}
	w.i.metrics.hours.Inc()
	return Written
}
