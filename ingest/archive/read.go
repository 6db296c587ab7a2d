package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Points reads raw points wherever they lie, kind after kind, each in the order
// of time. Of days that may have left it holds those of the span's nodes in
// memory, a day at a time. With Newest it reads the database alone.
func (a *Archive) Points(ctx context.Context, s influx.Span, fn func(*influx.Point) error) error {
	limit := young(a.o.Now())
	if s.Newest > 0 || (!s.From.IsZero() && !s.From.Before(limit)) {
		return a.Database.Points(ctx, s, fn)
	}
	kinds := s.Kinds
	if len(kinds) == 0 {
		kinds = telemetry.Kinds()
	}
	for _, kind := range kinds {
		if err := a.kindPoints(ctx, kind, limit, s, fn); err != nil {
			return err
		}
	}
	return nil
}

func (a *Archive) kindPoints(ctx context.Context, kind telemetry.Kind, limit time.Time, s influx.Span, fn func(*influx.Point) error) error {
	s.Kinds = []telemetry.Kind{kind}
	part := func(from, to time.Time) (influx.Span, bool) {
		p := s
		if p.From.Before(from) { // also where it is zero
			p.From = from
		}
		if p.To.IsZero() || (!to.IsZero() && to.Before(p.To)) {
			p.To = to
		}
		return p, p.To.IsZero() || p.From.Before(p.To)
	}
	from := s.From
	if from.IsZero() { // what is older than all files is in the database
		from = limit
		for _, f := range a.newestFiles() {
			if at := f.start(); f.Kind == kind && at.Before(from) {
				from = at
			}
		}
		if p, some := part(time.Time{}, from); some {
			if err := a.Database.Points(ctx, p, fn); err != nil {
				return err
			}
		}
	}
	for start := ingest.DayOf(from); start.Before(limit); start = start.Add(24 * time.Hour) {
		p, some := part(start, start.Add(24*time.Hour))
		if !some {
			return nil
		}
		if err := a.dayPoints(ctx, day{kind, dayName(start)}, p, fn); err != nil {
			return err
		}
	}
	if p, some := part(limit, time.Time{}); some {
		return a.Database.Points(ctx, p, fn)
	}
	return nil
}

// dayPoints reads a part of a day that may be leaving: the database first. What is
// not there any more is in a file that was listed before it went.
func (a *Archive) dayPoints(ctx context.Context, d day, s influx.Span, fn func(*influx.Point) error) error {
	if _, have := a.newest(d); !have {
		var points []influx.Point
		err := a.Database.Points(ctx, s, func(p *influx.Point) error {
			q := *p
			q.Readings = slices.Clone(p.Readings)
			points = append(points, q)
			return nil
		})
		if err != nil {
			return err
		}
		if _, have := a.newest(d); !have {
			for i := range points {
				if err := fn(&points[i]); err != nil {
					return err
				}
			}
			return nil
		}
	}
	var raw []influx.Exact
	err := a.Exact(ctx, s, func(e *influx.Exact) error {
		raw = append(raw, *e)
		return nil
	})
	if err != nil {
		return err
	}
	sortPoints(raw)
	old, err := a.kept(d, s)
	if err != nil {
		return err
	}
	all := merge(old, raw)
	var reader influx.ExactReader
	for i := range all {
		p, err := reader.Point(&all[i])
		if err != nil {
			return fmt.Errorf("read a point of %s, %s: %w", d.kind, d.name, err)
		}
		if len(s.Quantities) > 0 {
			p.Readings = slices.DeleteFunc(p.Readings, func(r telemetry.Reading) bool { return !slices.Contains(s.Quantities, r.Quantity) })
			if len(p.Readings) == 0 {
				continue
			}
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}

func sortPoints(points []influx.Exact) {
	slices.SortFunc(points, func(a, b influx.Exact) int { return a.Compare(&b) })
}

// kept returns what the newest file of a day holds of a span; nothing if there is
// no file.
func (a *Archive) kept(d day, s influx.Span) (out []influx.Exact, err error) {
	for {
		f, have := a.newest(d)
		if !have {
			return nil, nil
		}
		out, err = a.open(&f, s)
		if now, still := a.newest(d); errors.Is(err, fs.ErrNotExist) && (!still || now != f) {
			continue // it was replaced while a node was erased
		}
		if err != nil {
			return nil, fmt.Errorf("read the archive's %s: %w", f.Name(), err)
		}
		return out, nil
	}
}

func (a *Archive) open(f *File, s influx.Span) (out []influx.Exact, err error) {
	r, err := os.Open(a.path(f))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	members, err := nodesOf(r, f)
	if err != nil {
		return nil, err
	}
	for i := range members {
		m := &members[i]
		if (s.Node.Group != "" && m.Group != s.Node.Group) || (s.Node.ID != "" && m.Gateway != s.Node.ID) {
			continue
		}
		points, err := m.read(r)
		if err != nil {
			return nil, err
		}
		for _, p := range points {
			if (s.Device == "" || p.Device == s.Device) && (s.From.IsZero() || p.Time >= s.From.UnixNano()) && (s.To.IsZero() || p.Time < s.To.UnixNano()) {
				out = append(out, p)
			}
		}
	}
	sortPoints(out)
	return out, nil
}

// olderThan reports whether a line's time, which stands at its end in nanoseconds,
// lies before a limit. Lines are of ingest's making: a line break ends each.
func olderThan(lines []byte, limit time.Time) bool {
	text := strconv.FormatInt(limit.UnixNano(), 10)
	for len(lines) > 0 {
		line := lines
		if n := bytes.IndexByte(lines, '\n'); n >= 0 {
			line, lines = lines[:n], lines[n+1:]
		} else {
			lines = nil
		}
		at := line[bytes.LastIndexByte(line, ' ')+1:]
		// As texts, which costs a third of reading the numbers: one that is shorter or
		// has a sign is older.
		if len(line) > 0 && (len(at) < len(text) || at[0] == '-' || (len(at) == len(text) && string(at) < text)) {
			return true
		}
	}
	return false
}
