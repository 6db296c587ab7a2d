package dashboards

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// rawSpan is up to where charts show readings; above it they show hours, above
// hourSpan days.
const (
	rawSpan  = 48 * time.Hour
	hourSpan = 92 * 24 * time.Hour
)

// viewSpans are the lengths that a chart can show, as addresses carry them.
var viewSpans = []struct {
	code   string
	length time.Duration
	text   page.Key
}{
	{"24j", 24 * time.Hour, "range.24h"}, {"48j", 48 * time.Hour, "range.48h"}, {"7h", 7 * 24 * time.Hour, "range.7d"},
	{"30h", 30 * 24 * time.Hour, "range.30d"}, {"90h", 90 * 24 * time.Hour, "range.90d"}, {"1t", 365 * 24 * time.Hour, "range.1y"},
}

// window is the span that a page of charts shows.
type window struct {
	code     string
	from, to time.Time
	asked    string // the day that it ends with, as the address has it; "" = now
}

// windowOf reads rentang= and sampai= (a day, inclusive).
func (d *Dashboards) windowOf(r *http.Request) (window, error) {
	q := r.URL.Query()
	w := window{code: "24j", to: d.o.Now()}
	length := 24 * time.Hour
	if code := q.Get("rentang"); code != "" {
		w.code = code
		i := slices.IndexFunc(viewSpans, func(s struct {
			code   string
			length time.Duration
			text   page.Key
		}) bool {
			return s.code == code
		})
		if i < 0 {
			return w, problem{status: http.StatusBadRequest}
		}
		length = viewSpans[i].length
	}
	if day := q.Get("sampai"); day != "" {
		t, err := time.ParseInLocation(time.DateOnly, day, page.WIB)
		if err != nil || t.Year() < 2000 || t.Year() > 2100 {
			return w, problem{status: http.StatusBadRequest}
		}
		if end := t.AddDate(0, 0, 1); end.Before(w.to) {
			w.to, w.asked = end, day
		}
	}
	w.from = w.to.Add(-length)
	return w, nil
}

func (w window) length() time.Duration { return w.to.Sub(w.from) }

// clock writes a label of the axis of time, as fine as the span asks for.
func (w window) clock(l page.Lang) func(time.Time) string {
	switch n := w.length(); {
	case n <= rawSpan:
		return l.Clock
	case n <= hourSpan:
		return l.ShortDate
	}
	return func(t time.Time) string {
		if t = t.In(page.WIB); t.Month() == time.January {
			return t.Format("2006")
		}
		return l.ShortMonth(t)
	}
}

// siteSeries is one quantity of one site over a window.
type siteSeries struct {
	chart    chart.Chart
	quantity string
	unit     telemetry.Unit
	marked   bool // there are hollow marks or gaps to explain
}

// readSeries reads a quantity in the resolution of the window.
func (d *Dashboards) readSeries(ctx context.Context, l page.Lang, site places.Site, quantity string, w window) (siteSeries, error) {
	q, _ := telemetry.Lookup(quantity)
	s := siteSeries{quantity: quantity, unit: q.Unit}
	s.chart = chart.Chart{
		ID: "g-" + keyOf("chart", site.Code+"\x00"+quantity), From: w.from, To: w.to, Zone: page.WIB, Clock: w.clock(l), Missing: l.T("chart.missing"),
	}
	var err error
	switch n := w.length(); {
	case n <= rawSpan:
		s.chart.Points, s.chart.Interval, err = d.rawPoints(ctx, l, site.Code, quantity, w)
	default:
		s.chart.Points, s.chart.Interval, err = d.hourPoints(ctx, l, site.Code, q, w)
	}
	if err != nil {
		return s, fmt.Errorf("read %s of site %s: %w", quantity, site.Code, err)
	}
	return s, nil
}

// dress gives a chart its words and what lies behind its line.
func (d *Dashboards) dress(l page.Lang, site places.Site, s *siteSeries, rules figures.Rules, notes []figures.Annotation) {
	c := &s.chart
	unit := page.Unit(s.unit)
	c.Title = l.Name("q.", s.quantity)
	if unit != "" {
		c.Title += " (" + unit + ")"
	}
	c.Desc = describe(l, *c, s.quantity, unit)
	c.Title += ", " + page.Plain(site.Name)
	c.Height = 150
	decimals := c.Decimals()
	c.Number = func(v float64) string { return l.Number(v, decimals) }
	if rules.Yields(string(site.ClassAt(c.To))) {
		c.Bands = bandsOf(l, site.Code, s.quantity, rules)
	}
	for _, n := range notes {
		c.Remarks = append(c.Remarks, chart.Remark{From: n.From, To: n.To, Text: page.Plain(n.Text)})
	}
	_, gaps := c.Segments()
	s.marked = len(gaps) > 0 || slices.ContainsFunc(c.Points, func(p chart.Point) bool { return p.Rejected })
}

// bandsOf are the categories of the index in the quantity's own unit.
func bandsOf(l page.Lang, site, quantity string, rules figures.Rules) []chart.Band {
	p, ok := figures.ParameterOf(quantity)
	if !ok {
		return nil
	}
	each, ok := rules.Concentration(site, quantity, 1)
	upper, known := rules.Breakpoints[p]
	if !ok || !known || each <= 0 {
		return nil
	}
	var out []chart.Band
	low := 0.0
	for i := range upper {
		c := figures.Baik + figures.Category(i)
		high := upper[i] / each
		if c == figures.Berbahaya {
			high = math.Inf(1)
		}
		out = append(out, chart.Band{From: low, To: high, Class: fmt.Sprintf("cat-%d", c), Name: category.Word(l, c)})
		low = high
	}
	return out
}

// feed is one series of readings that a site took from a node.
type feed struct {
	id       SeriesID
	of       places.Deployment
	quantity string
}

// feeds are the series that gave a site a quantity in a span: those of its
// deployments that are utama for it.
func (d *Dashboards) feeds(ctx context.Context, site, quantity string, from, to time.Time) ([]feed, error) {
	var out []feed
	for _, node := range d.o.Places.Nodes(site, from, to) {
		devices := map[string]bool{}
		values, err := d.o.Network.Values(ctx, node)
		if err != nil {
			return nil, err
		}
		for _, v := range values {
			if v.Quantity == quantity {
				devices[v.Device] = true
			}
		}
		for _, dep := range d.o.Places.Deployments(site) { // a device that is gone is still named there
			if dep.Node == node && dep.Device != places.AnyDevice {
				devices[dep.Device] = true
			}
		}
		for device := range devices {
			for _, dep := range d.o.Places.During(node, device, from, to) {
				if dep.Site == site {
					out = append(out, feed{SeriesID{node, device, quantity}, dep, quantity})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b feed) int {
		if c := a.of.From.Compare(b.of.From); c != 0 {
			return c
		}
		return strings.Compare(a.id.String(), b.id.String())
	})
	return out, nil
}

// rawPoints joins the readings of a site's deployments; what a validator took out
// is rejected with the reason.
func (d *Dashboards) rawPoints(ctx context.Context, l page.Lang, site, quantity string, w window) ([]chart.Point, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	feeds, err := d.feeds(ctx, site, quantity, w.from, w.to)
	if err != nil {
		return nil, 0, err
	}
	marks, err := d.o.Figures.Marks(ctx, site, w.from, w.to)
	if err != nil {
		return nil, 0, err
	}
	deployments := make([]places.Deployment, len(feeds))
	for i, f := range feeds {
		deployments[i] = f.of
	}
	var out []chart.Point
	var interval time.Duration
	for _, f := range feeds {
		from, to := later(w.from, f.of.From), w.to
		if !f.of.To.IsZero() && f.of.To.Before(to) {
			to = f.of.To
		}
		if !from.Before(to) {
			continue
		}
		if main, ok := d.o.Places.Utama(site, quantity, from, deployments); ok && (main.Node != f.of.Node || main.Device != f.of.Device) {
			continue // collocated: the sensor's own page shows it
		}
		series, err := d.o.History.Series(ctx, f.id, from, to)
		if err != nil {
			return nil, 0, err
		}
		interval = max(interval, series.Interval)
		for _, p := range series.Points {
			point := viewPoint(l, p)
			if m, ok := markAt(marks, quantity, p.Time); ok && m.Invalid && point.Valid() {
				point.Rejected, point.Note = true, l.T("value.rejected", l.Name("code.", m.Code))
			}
			out = append(out, point)
		}
	}
	slices.SortStableFunc(out, func(a, b chart.Point) int { return a.Time.Compare(b.Time) })
	return out, interval, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// markAt finds the verdict that holds for a moment: the newest one.
func markAt(marks []figures.Mark, quantity string, t time.Time) (m figures.Mark, ok bool) {
	for _, x := range marks {
		if x.Quantity == quantity && !t.Before(x.From) && t.Before(x.To) && (!ok || !x.At.Before(m.At)) {
			m, ok = x, true
		}
	}
	return m, ok
}

// hourValue is what an hour of a quantity is worth on a chart.
func hourValue(q telemetry.Quantity, h *figures.SiteHour) float64 {
	switch q.Agg {
	case telemetry.AggCounter:
		return h.Increase
	case telemetry.AggLast:
		return h.Last
	case telemetry.AggSum:
		return h.Sum
	}
	return h.Mean
}

// why names the most frequent cause of what is missing in an hour, and how often
// it was.
func why(l page.Lang, h *figures.SiteHour) string {
	best, most := "", 0
	look := func(prefix string, counts map[string]int, how page.Key) {
		for name, n := range counts {
			words := l.Name(prefix, name)
			if prefix == "flag." && !page.Has(page.Key(prefix+name)) {
				words = l.Name("code.", name) // a validator's
			}
			if how != "" {
				words = l.T(how, words)
			}
			if n > most || (n == most && words < best) {
				best, most = words, n
			}
		}
	}
	look("flag.", h.Rejected, "value.rejected")
	look("gap.", h.Gaps, "")
	if rest := h.Expected - h.Valid - sum(h.Rejected) - sum(h.Gaps); rest > most || best == "" {
		return l.T("chart.missing")
	}
	return best
}

func sum(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// judgedHours reads a quantity's hours with from < End <= to, with the verdict on
// each.
func (d *Dashboards) judgedHours(ctx context.Context, site, quantity string, from, to time.Time) (hours []figures.SiteHour, excluded []figures.Exclusion, rules []figures.DatedRules, err error) {
	if rules, err = d.o.Figures.Rules(ctx); err != nil {
		return nil, nil, nil, err
	}
	lead := figures.InForce(rules, to).Rules.Lead()
	if hours, err = d.o.Figures.Hours(ctx, site, []string{quantity}, from.Add(-lead), to.Add(lead)); err != nil {
		return nil, nil, nil, err
	}
	excluded = figures.Exclude(hours, rules)
	first, _ := slices.BinarySearchFunc(hours, from, func(h figures.SiteHour, t time.Time) int { return h.End.Compare(t.Add(1)) })
	last, _ := slices.BinarySearchFunc(hours, to, func(h figures.SiteHour, t time.Time) int { return h.End.Compare(t.Add(1)) })
	return hours[first:last], excluded[first:last], rules, nil
}

// hourPoints reads hours; above hourSpan it joins them into days. What is below
// the gates is a hollow mark that says how much was there.
func (d *Dashboards) hourPoints(ctx context.Context, l page.Lang, site string, q telemetry.Quantity, w window) ([]chart.Point, time.Duration, error) {
	hours, excluded, rules, err := d.judgedHours(ctx, site, q.Name, w.from, w.to)
	if err != nil {
		return nil, 0, err
	}
	if w.length() > hourSpan {
		return dayPoints(l, q, hours, excluded, rules), 24 * time.Hour, nil
	}
	out := make([]chart.Point, 0, len(hours))
	for i := range hours {
		h := &hours[i]
		for n := len(out); n > 0 && h.End.Sub(out[n-1].Time) > time.Hour; n = len(out) { // an hour without a row
			out = append(out, chart.Point{Time: out[n-1].Time.Add(time.Hour), Gap: true, Note: l.T("chart.missing")})
		}
		p := chart.Point{Time: h.End, Value: hourValue(q, h)}
		switch {
		case h.Valid == 0:
			p.Gap, p.Note = true, why(l, h)
		case excluded[i] == figures.ZeroRun:
			p.Rejected, p.Note = true, l.T("excluded.zero_run")
		case !excluded[i].Measured():
			p.Rejected, p.Note = true, l.T("chart.few_readings", l.Number(float64(h.Valid), 0), l.Number(float64(h.Expected), 0), why(l, h))
		}
		out = append(out, p)
	}
	return out, time.Hour, nil
}

// dayPoints are means of the valid hours of a day (WIB), or sums of what counts
// up. They stand at noon.
func dayPoints(l page.Lang, q telemetry.Quantity, hours []figures.SiteHour, excluded []figures.Exclusion, rules []figures.DatedRules) []chart.Point {
	var out []chart.Point
	for i := 0; i < len(hours); {
		day := figures.Day(hours[i].End)
		gates := figures.InForce(rules, day.Add(24*time.Hour)).Rules.Gates
		total, valid, note := 0.0, 0, ""
		for ; i < len(hours) && figures.Day(hours[i].End).Equal(day); i++ {
			h := &hours[i]
			switch {
			case excluded[i].Measured():
				total += hourValue(q, h)
				valid++
			case note != "":
			case excluded[i] == figures.ZeroRun:
				note = l.T("excluded.zero_run")
			default:
				note = why(l, h)
			}
		}
		for n := len(out); n > 0 && day.Add(12*time.Hour).Sub(out[n-1].Time) > 24*time.Hour; n = len(out) {
			out = append(out, chart.Point{Time: out[n-1].Time.Add(24 * time.Hour), Gap: true, Note: l.T("chart.missing")})
		}
		p := chart.Point{Time: day.Add(12 * time.Hour), Value: total}
		if q.Agg != telemetry.AggCounter && q.Agg != telemetry.AggSum && valid > 0 {
			p.Value = total / float64(valid)
		}
		switch {
		case valid == 0:
			p.Gap, p.Note = true, note
			if note == "" {
				p.Note = l.T("chart.missing")
			}
		case valid < gates.DayHours:
			p.Rejected, p.Note = true, l.T("chart.few_hours", l.Number(float64(valid), 0))
		}
		out = append(out, p)
	}
	return out
}

// preferred are the quantities that a site's page shows first: those of the index,
// then what people ask for first.
func preferred(quantities []string) []string {
	order := func(q string) int {
		if p, ok := figures.ParameterOf(q); ok {
			if p == figures.PM25 {
				return -100
			}
			return slices.Index(figures.Parameters(), p) - 50
		}
		return rank(q)
	}
	out := slices.Clone(quantities)
	slices.SortStableFunc(out, func(a, b string) int {
		if c := order(a) - order(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	return out
}
