package publication

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// placed is a node's row of an hour and a deployment under which some of it was
// measured at the site.
type placed struct {
	places.Deployment
	row *influx.Row
}

// expected is how many readings the hour should have had: by what the node says of
// itself, else by what the deployment says of it; 0 = nobody knows.
func (p placed) expected() int {
	if p.row.Expected == 0 && p.Interval > 0 {
		return int(time.Hour.Seconds() / p.Interval)
	}
	return p.row.Expected
}

// piece is a part of an hour of one quantity, measured under one deployment and
// under one verdict.
type piece struct {
	of       placed
	from, to time.Time
	mark     *figures.Mark // that takes it out; nil = it counts
	whole    bool          // the row says it all; else the raw values must be counted
	raw      *influx.Row   // counted, if not whole; nil: there are none any more
}

// utama picks the site's own of several deployments; see places.Store.Utama.
type utama func(quantity string, t time.Time, of []places.Deployment) (places.Deployment, bool)

// plan divides an hour of one quantity at a site where a deployment or a mark
// begins or ends. rows are the hour's rows of that quantity, marks those of that
// quantity, in the order in which they were made.
func plan(start time.Time, rows []placed, marks []figures.Mark, pick utama) []piece {
	end := start.Add(time.Hour)
	cuts := []time.Time{start, end}
	cut := func(t time.Time) {
		if t.After(start) && t.Before(end) {
			cuts = append(cuts, t)
		}
	}
	for _, r := range rows {
		cut(r.From)
		cut(r.To)
	}
	for _, m := range marks {
		cut(m.From)
		cut(m.To)
	}
	slices.SortFunc(cuts, time.Time.Compare)
	cuts = slices.CompactFunc(cuts, time.Time.Equal)
	var out []piece
	for i, from := range cuts[:len(cuts)-1] {
		var here []places.Deployment
		for _, r := range rows {
			if r.At(from) {
				here = append(here, r.Deployment)
			}
		}
		if len(here) == 0 {
			continue
		}
		d, ok := pick(rows[0].row.Quantity, from, here)
		if !ok {
			continue
		}
		at := slices.IndexFunc(rows, func(r placed) bool { return r.At(from) && r.Node == d.Node && r.Device == d.Device })
		if at < 0 {
			continue
		}
		p := piece{of: rows[at], from: from, to: cuts[i+1], mark: verdict(marks, from)}
		if n := len(out); n > 0 && out[n-1].to.Equal(from) && out[n-1].of.row == p.of.row && out[n-1].mark == p.mark {
			out[n-1].to = p.to
		} else {
			out = append(out, p)
		}
	}
	for i := range out {
		out[i].whole = out[i].from.Equal(start) && out[i].to.Equal(end)
	}
	return out
}

// verdict returns the mark that takes out what was measured at t: the last that
// speaks of it decides.
func verdict(marks []figures.Mark, t time.Time) *figures.Mark {
	for i := len(marks) - 1; i >= 0; i-- {
		m := &marks[i]
		if t.Before(m.From) || !t.Before(m.To) {
			continue
		}
		if m.Invalid {
			return m
		}
		return nil
	}
	return nil
}

// unknownReason stands for what older rows counted without saying why.
const unknownReason = "unknown"

// assemble makes a site's hour of its pieces. ok is false if a piece needs raw
// values that are there no more: then what is written stays.
func assemble(site, quantity string, start time.Time, pieces []piece) (h figures.SiteHour, ok bool) {
	h = figures.SiteHour{Site: site, Quantity: quantity, End: start.Add(time.Hour)}
	var sum sums
	for i := range pieces {
		p := &pieces[i]
		row := p.of.row
		expected := p.of.expected()
		if !p.whole {
			if p.raw == nil {
				return h, false
			}
			expected = int(math.Round(float64(expected) * float64(p.to.Sub(p.from)) / float64(time.Hour)))
			row = p.raw
		}
		h.Expected += expected
		flags, gaps := row.Why.Counts()
		addCounts(&h.Rejected, flags, row.Rejected)
		addCounts(&h.Gaps, gaps, row.Gaps)
		source := figures.Source{Node: p.of.Node, Device: p.of.Device, Sensor: p.of.Sensor}
		if !slices.Contains(h.Sources, source) {
			h.Sources = append(h.Sources, source)
		}
		if p.mark != nil {
			if !slices.Contains(h.Marks, p.mark.ID) {
				h.Marks = append(h.Marks, p.mark.ID)
			}
			if row.Valid > 0 {
				addCounts(&h.Rejected, map[string]int{p.mark.Code: row.Valid}, 0)
			}
			continue
		}
		sum.add(row)
	}
	sum.into(&h)
	return h, true
}

// addCounts adds counts by name; what of total they leave open is unknown.
func addCounts(to *map[string]int, counts map[string]int, total int) {
	add := func(name string, n int) {
		if n <= 0 {
			return
		}
		if *to == nil {
			*to = map[string]int{}
		}
		(*to)[name] += n
	}
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		add(name, counts[name])
		total -= counts[name]
	}
	add(unknownReason, total)
}

// sums joins rows of one quantity in the order of time, by its aggregation.
type sums struct {
	rows []*influx.Row
}

func (s *sums) add(r *influx.Row) {
	if r.Valid > 0 {
		s.rows = append(s.rows, r)
	}
}

func (s *sums) into(h *figures.SiteHour) {
	for _, r := range s.rows {
		h.Valid += r.Valid
	}
	if h.Valid == 0 {
		return
	}
	q, _ := telemetry.Lookup(h.Quantity)
	first, last := s.rows[0], s.rows[len(s.rows)-1]
	switch q.Agg {
	case telemetry.AggMean:
		h.Min, h.Max = math.Inf(1), math.Inf(-1)
		for _, r := range s.rows {
			h.Mean += number(r.Mean) * float64(r.Valid)
			h.Min, h.Max = min(h.Min, number(r.Min)), max(h.Max, number(r.Max))
		}
		if h.Mean /= float64(h.Valid); len(s.rows) == 1 {
			h.Mean = number(first.Mean) // not divided again: the same bits as the row's
		}
	case telemetry.AggCircular:
		var east, north float64
		for _, r := range s.rows {
			sin, cos := math.Sincos(number(r.Mean) * math.Pi / 180)
			east, north = east+sin*float64(r.Valid), north+cos*float64(r.Valid)
		}
		h.Mean = math.Mod(math.Atan2(east, north)*180/math.Pi+360, 360)
	case telemetry.AggLast:
		h.Last = number(last.Last)
	case telemetry.AggSum:
		for _, r := range s.rows {
			h.Sum += number(r.Sum)
		}
	case telemetry.AggCounter:
		// Another device's counter has nothing to do with this one's: no bridge.
		h.First, h.Last = number(first.First), number(last.Last)
		for _, r := range s.rows {
			h.Increase += number(r.Increase)
			h.Resets += int(number(r.Resets))
		}
	}
	for _, v := range values(h) {
		if math.IsInf(*v, 0) || math.IsNaN(*v) {
			// A sum beyond all numbers, of a quantity that no rule bounds.
			addCounts(&h.Rejected, map[string]int{telemetry.FlagRange.String(): h.Valid}, 0)
			h.Valid, h.Resets = 0, 0
			for _, v := range values(h) {
				*v = 0
			}
			return
		}
	}
}

// number turns what does not apply into 0: a site hour's JSON has no NaN.
func number(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// byQuantity groups an hour's rows; the order of a group does not depend on that of
// the rows.
func byQuantity(rows []placed) map[string][]placed {
	out := map[string][]placed{}
	for _, r := range rows {
		out[r.row.Quantity] = append(out[r.row.Quantity], r)
	}
	for _, group := range out {
		slices.SortFunc(group, func(a, b placed) int {
			return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Node.String(), b.Node.String()), cmp.Compare(a.Device, b.Device))
		})
	}
	return out
}
