package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// When passes are made.
const (
	passAfter  = time.Hour        // after midnight (WIB), when a day more is old enough
	retryAfter = 15 * time.Minute // after a failure, and while a day must wait
	patience   = 24 * time.Hour   // for how long days may wait before that is a problem
)

// Status tells how the archive fares.
type Status struct {
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
	Points  int64     `json:"points"` // of the newest revisions
	Success time.Time `json:"success,omitzero"`
	// Waits says why days that are old enough are still in the database, Waiting since
	// when that is so; Problem what an operator must see to, Since since when.
	Waits   string    `json:"waits,omitempty"`
	Waiting time.Time `json:"waiting,omitzero"`
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Status returns the state of now.
func (a *Archive) Status() Status {
	a.mu.RLock()
	s := a.status
	for _, all := range a.files {
		s.Files += len(all)
		s.Points += all[len(all)-1].Points
		for _, f := range all {
			s.Bytes += f.Bytes
		}
	}
	a.mu.RUnlock()
	if s.Problem == "" && s.Waits != "" && a.o.Now().Sub(s.Waiting) > patience {
		s.Problem, s.Since = "old readings stay in the database: "+s.Waits, s.Waiting
	}
	if s.Problem == "" && len(a.missing) > 0 {
		s.Problem = fmt.Sprintf("%d files are missing, the first is %s: bring them back from a backup", len(a.missing), a.missing[0])
	}
	return s
}

func (a *Archive) run(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-a.ready:
	}
	for ctx.Err() == nil {
		err := a.Pass(ctx)
		now := a.o.Now()
		next := ingest.DayOf(now).Add(24*time.Hour + passAfter)
		if s := a.Status(); err != nil || s.Waits != "" {
			next = now.Add(retryAfter)
		}
		for _, r := range a.Retentions() { // another one begins to hold
			if r.Since.After(now) && r.Since.Before(next) {
				next = r.Since
			}
		}
		pause := next.Sub(now)
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-a.awake:
		}
		t.Stop()
	}
}

// Pass lets every day leave the database that is old enough and has nothing to
// wait for. The worker calls it once a day; a test may, too.
func (a *Archive) Pass(ctx context.Context) error {
	waits, err := a.pass(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := a.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.status
	if s.Waits = waits; waits == "" {
		s.Waiting = time.Time{}
	} else if s.Waiting.IsZero() {
		s.Waiting = now
	}
	if err != nil {
		a.metrics.failures.Inc()
		a.log.Error("old readings stay in the database", "error", err, "again_in", retryAfter)
		if s.Problem == "" {
			s.Since = now
		}
		s.Problem = err.Error()
		return err
	}
	s.Problem, s.Since = "", time.Time{}
	if waits == "" {
		s.Success = now
	} else {
		a.log.Info("old readings wait", "for", waits, "again_in", retryAfter)
	}
	return nil
}

// pass returns why a day had to wait, the newest reason.
func (a *Archive) pass(ctx context.Context) (waits string, err error) {
	if !a.o.Synced() {
		return "the clock is not synchronised", nil
	}
	now := a.o.Now()
	days := a.Retention().Days
	for _, kind := range telemetry.Kinds() {
		end, ok := days.before(kind, now)
		if !ok {
			continue
		}
		why, one := a.passKind(ctx, kind, end)
		if why != "" {
			waits = why
		}
		err = errors.Join(err, one)
	}
	return waits, err
}

func (a *Archive) passKind(ctx context.Context, kind telemetry.Kind, end time.Time) (waits string, err error) {
	ours := false
	for from := (time.Time{}); ; {
		at, found, err := a.OldestRaw(ctx, kind, from, end)
		if err != nil || !found {
			return waits, err
		}
		if !ours {
			if err := a.OnlyOurs(ctx, kind); err != nil {
				return waits, err
			}
			ours = true
		}
		start := ingest.DayOf(at)
		why, err := a.leave(ctx, kind, start)
		if err != nil {
			return waits, fmt.Errorf("archive %s of %s: %w", kind, dayName(start), err)
		}
		if why != "" {
			waits = dayName(start) + ": " + why
		}
		from = start.Add(24 * time.Hour)
	}
}

// leave lets one day of a kind leave the database.
func (a *Archive) leave(ctx context.Context, kind telemetry.Kind, start time.Time) (waits string, err error) {
	end := start.Add(24 * time.Hour)
	span := influx.Span{Kinds: []telemetry.Kind{kind}, From: start, To: end}
	if f, have := a.newest(day{kind, dayName(start)}); have && f.Left.Points > 0 {
		var left digest
		var line []byte
		err := a.Exact(ctx, span, func(e *influx.Exact) error {
			line = influx.AppendExact(line[:0], e)
			left.add(line)
			return nil
		})
		if err != nil || left == f.Left {
			return "", err
		}
	}
	if waits, err = a.waits(ctx, start, end); err != nil || waits != "" {
		return waits, err
	}
	if err := a.room(); err != nil {
		return "", err
	}
	through, err := a.enter(ctx)
	if err != nil {
		return "", err
	}
	defer through()
	f, err := a.keep(ctx, span)
	if err != nil {
		return "", err
	}
	if err := a.step("listed"); err != nil {
		return "", err
	}
	if err := a.RemoveRaw(ctx, kind, start, end); err != nil {
		a.unanswered(err)
		return "", err
	}
	a.metrics.days.Inc()
	a.log.Info("a day of raw readings is in the archive now", "file", f.Name(), "points", f.Points)
	return "", a.step("deleted")
}

// keep makes sure that a listed file holds all that the database has of a day. The
// gate is held, so that nothing comes meanwhile.
func (a *Archive) keep(ctx context.Context, s influx.Span) (File, error) {
	kind := s.Kinds[0]
	before, have := a.newest(day{kind, dayName(s.From)})
	next := File{Kind: kind, Day: dayName(s.From), Made: a.made()}
	nodes, err := a.RawNodes(ctx, kind, s.From, s.To)
	if err != nil {
		return next, err
	}
	members := map[telemetry.Node]member{}
	var old *os.File
	if have {
		next.Revision = before.Revision + 1
		if old, err = os.Open(a.path(&before)); err != nil {
			return next, fmt.Errorf("join what came late: %w", err)
		}
		defer old.Close()
		index, err := nodesOf(old, &before)
		if err != nil {
			return next, fmt.Errorf("join what came late: %w", err)
		}
		for _, m := range index {
			members[m.node()] = m
			nodes = append(nodes, m.node())
		}
	}
	slices.SortFunc(nodes, compareNodes)
	nodes = slices.Compact(nodes)
	changed := !have
	err = a.writeFile(&next, func(w *writer) error {
		for _, n := range nodes {
			raw, err := a.raw(ctx, s, n, &next.Left)
			if err != nil {
				return err
			}
			var kept []influx.Exact
			if m, ok := members[n]; ok {
				if kept, err = m.read(old); err != nil {
					return err
				}
			}
			all := merge(kept, raw)
			changed = changed || !same(all, kept)
			if err := w.node(n, all); err != nil {
				return err
			}
		}
		if !changed {
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		// The process ended between listing the file and deleting the day.
		left := next.Left
		next = before
		next.Left = left
		err = nil
	}
	if err != nil {
		return next, err
	}
	if err := a.step("named"); err != nil {
		return next, err
	}
	return next, a.add(next)
}

var errUnchanged = errors.New("the file holds it all")

// raw reads what the database has of a node's day, and notes what may stay there.
func (a *Archive) raw(ctx context.Context, s influx.Span, n telemetry.Node, left *digest) ([]influx.Exact, error) {
	s.Node = n
	var out []influx.Exact
	var line []byte
	err := a.Exact(ctx, s, func(e *influx.Exact) error {
		if e.Node != n {
			return nil // an empty name does not narrow
		}
		if influx.MayStay(e.Time) {
			line = influx.AppendExact(line[:0], e)
			left.add(line)
		}
		out = append(out, *e)
		return nil
	})
	sortPoints(out)
	return out, err
}

// room returns an error if the disk is too full for another file.
func (a *Archive) room() error {
	var s unix.Statfs_t
	if err := unix.Statfs(a.o.Dir, &s); err != nil {
		return &fs.PathError{Op: "statfs", Path: a.o.Dir, Err: err}
	}
	if free := int64(s.Bavail) * s.Bsize; free < a.o.MinFree {
		return fmt.Errorf("%d MiB are free on the disk of %s, %d must stay free: make room, and it goes on by itself", free>>20, a.o.Dir, a.o.MinFree>>20)
	}
	return nil
}
