// Package chart draws charts and maps as inline SVG: lines over time, bars, heat
// maps, calendars, hexagons.
//
// It promises SVG that stands under a Content-Security-Policy without inline
// styles (classes and presentation attributes only, colours from the page's
// style sheet and currentColor), that keeps its text readable at every width
// (the plot stretches, the letters do not), that shows gaps as gaps and rejected
// values as hollow marks, and that carries its meaning as title and description.
// All functions are pure.
package chart

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Point is one reading.
type Point struct {
	Time     time.Time
	Value    float64
	Rejected bool   // drawn as a hollow mark, joined to nothing
	Gap      bool   // nothing was read; Value means nothing
	Note     string // why rejected or missing, in the reader's language
}

// Valid reports whether the point belongs to the line.
func (p Point) Valid() bool { return !p.Rejected && !p.Gap }

// Chart is one quantity over a span of time. The page's language comes in
// through the texts and functions.
type Chart struct {
	ID       string // of the svg element; unique on the page
	Title    string
	Desc     string // one sentence that says what the chart shows
	From, To time.Time
	Interval time.Duration // between points; 0 = guessed from them
	Points   []Point       // oldest first
	Zone     *time.Location
	Number   func(float64) string   // for the axis of values
	Clock    func(time.Time) string // for the axis of time
	Missing  string                 // what a gap without a note is called

	Bands   []Band   // drawn behind the line where the axis shows them
	Remarks []Remark // drawn in front, oldest first
	Others  []Line   // further series of the same unit, to compare with
	Height  int      // of the plot in pixels; 0 = 200
}

// Band is a span of values that has a meaning.
type Band struct {
	From, To float64 // To may be +Inf
	Class    string  // of the style sheet
	Name     string
}

// Remark is what people wrote beside a span of time.
type Remark struct {
	From, To time.Time
	Text     string
}

// Line is a further series. The n-th has the class line-n, n from 1: a colour and
// a dash of its own.
type Line struct {
	Name     string
	Points   []Point
	Interval time.Duration
}

// maxLines is how many further lines can be told apart.
const maxLines = 4

// LineSwatch is the look of the n-th further line (0: the chart's own), for a
// legend.
func LineSwatch(n int) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="swatch line-swatch" viewBox="0 0 28 12" width="28" height="12" aria-hidden="true"><path class="line line-%d" d="M1 6H27" fill="none" stroke="currentColor"/></svg>`, n))
}

// Gap is a span without a valid value.
type Gap struct {
	From, To time.Time
	Note     string
}

// The plot in pixels; its width is the page's.
const (
	plotTop = 10
	foot    = 28   // for the axis of time
	columns = 1000 // resolution of the stretched plot
)

func (c Chart) plotHeight() int {
	if c.Height > 0 {
		return c.Height
	}
	return 200
}

// SVG draws the chart.
func (c Chart) SVG() template.HTML {
	var b strings.Builder
	e := template.HTMLEscapeString
	plotHeight := c.plotHeight()
	fmt.Fprintf(&b, `<svg class="chart-plot" id="%s" role="img" aria-labelledby="%s-title %s-desc" width="100%%" height="%d">`, e(c.ID), e(c.ID), e(c.ID), plotTop+plotHeight+foot)
	fmt.Fprintf(&b, `<title id="%s-title">%s</title><desc id="%s-desc">%s</desc>`, e(c.ID), e(c.Title), e(c.ID), e(c.Desc))
	fmt.Fprintf(&b, `<defs><pattern id="%s-hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="2" height="8"/></pattern></defs>`, e(c.ID))

	low, high, step := c.scale()
	y := func(v float64) float64 {
		return plotTop + float64(plotHeight)*(1-(min(max(v, low), high)-low)/(high-low))
	}
	for _, band := range c.Bands {
		if band.From >= high || band.To <= low {
			continue
		}
		top, bottom := y(band.To), y(band.From)
		fmt.Fprintf(&b, `<rect class="band %s" x="0" y="%s" width="100%%" height="%s"><title>%s</title></rect>`, e(band.Class), decimal(top), decimal(bottom-top), e(band.Name))
		if bottom-top >= 16 {
			fmt.Fprintf(&b, `<text class="band-name minor" x="100%%" dx="-4" y="%s" dy="1em" text-anchor="end">%s</text>`, decimal(top), e(band.Name))
		}
	}
	segments, gaps := c.Segments()
	for _, g := range gaps {
		x1, x2 := c.share(g.From), c.share(g.To)
		fmt.Fprintf(&b, `<rect class="gap" x="%s%%" y="%d" width="%s%%" height="%d" fill="url(#%s-hatch)"><title>%s</title></rect>`,
			decimal(100*x1), plotTop, decimal(100*(x2-x1)), plotHeight, e(c.ID), e(g.Note))
	}
	for i := 0; ; i++ {
		v := low + float64(i)*step
		if v > high+step/1000 {
			break
		}
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="100%%" y1="%s" y2="%s"/><text class="value" x="-8" y="%s" text-anchor="end" dy="0.32em">%s</text>`,
			decimal(y(v)), decimal(y(v)), decimal(y(v)), e(c.Number(v)))
	}
	for _, tick := range c.ticks() {
		class := "time"
		if tick.minor {
			class += " minor" // narrow pages leave these labels out
		}
		x := decimal(100 * c.share(tick.at))
		fmt.Fprintf(&b, `<line class="tick" x1="%s%%" x2="%s%%" y1="%d" y2="%d"/><text class="%s" x="%s%%" y="%d" text-anchor="middle">%s</text>`,
			x, x, plotTop+plotHeight, plotTop+plotHeight+5, class, x, plotTop+plotHeight+20, e(c.Clock(tick.at)))
	}
	// The nested svg stretches; non-scaling strokes keep the line's width.
	fmt.Fprintf(&b, `<svg x="0" y="%d" width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none">`, plotTop, plotHeight, columns, plotHeight)
	for n, other := range c.Others[:min(len(c.Others), maxLines)] {
		of := c
		of.Points, of.Interval = other.Points, other.Interval
		joined, _ := of.Segments()
		for _, s := range joined {
			if d := c.path(s, y); d != "" {
				fmt.Fprintf(&b, `<path class="line line-%d" d="%s" fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"/>`, n+1, d)
			}
		}
	}
	for _, s := range segments {
		if d := c.path(s, y); d != "" {
			fmt.Fprintf(&b, `<path class="line" d="%s" fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"/>`, d)
		}
	}
	b.WriteString(`</svg>`)
	for _, s := range segments {
		if len(s) == 1 { // a line of one point would be invisible
			fmt.Fprintf(&b, `<circle class="dot" cx="%s%%" cy="%s" r="2.5" fill="currentColor"/>`, decimal(100*c.share(s[0].Time)), decimal(y(s[0].Value)))
		}
	}
	for _, p := range c.rejected() {
		fmt.Fprintf(&b, `<circle class="rejected" cx="%s%%" cy="%s" r="3.5" fill="none" stroke="currentColor"><title>%s</title></circle>`,
			decimal(100*c.share(p.Time)), decimal(y(p.Value)), e(c.Number(p.Value)+": "+p.Note))
	}
	if n := len(segments); n > 0 {
		last := segments[n-1][len(segments[n-1])-1]
		fmt.Fprintf(&b, `<circle class="last" cx="%s%%" cy="%s" r="4" fill="currentColor"/>`, decimal(100*c.share(last.Time)), decimal(y(last.Value)))
	}
	for i, r := range c.Remarks {
		if !r.From.Before(c.To) || !r.To.After(c.From) {
			continue
		}
		x1, x2 := c.share(r.From), c.share(r.To)
		fmt.Fprintf(&b, `<g class="remark"><title>%s</title><line x1="%s%%" x2="%s%%" y1="%d" y2="%[4]d"/><text x="%[2]s%%" y="%[5]d">%d</text></g>`,
			e(r.Text), decimal(100*x1), decimal(100*max(x2, x1+0.004)), plotTop+2, plotTop+16, i+1)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// share is where t lies between From (0) and To (1).
func (c Chart) share(t time.Time) float64 {
	return min(max(float64(t.Sub(c.From))/float64(c.To.Sub(c.From)), 0), 1)
}

// maxRejected bounds the hollow marks: a sensor that fails for hours needs no
// mark a second.
const maxRejected = 200

func (c Chart) rejected() []Point {
	var out []Point
	for _, p := range c.Points {
		if p.Rejected && c.within(p) {
			out = append(out, p)
		}
	}
	if n := len(out); n > maxRejected {
		thin := make([]Point, 0, maxRejected)
		for i := range maxRejected {
			thin = append(thin, out[i*n/maxRejected])
		}
		out = thin
	}
	return out
}

func (c Chart) within(p Point) bool { return !p.Time.Before(c.From) && !p.Time.After(c.To) }

// Segments cuts the valid points where the line must not be drawn through: at
// gaps, at rejected values and at silence. Gaps are the spans between them, from
// the last point to the end too, unless only a rejected value lies in a span that
// is as short as usual. What lies before the first point is no gap: nothing was
// to be expected yet.
func (c Chart) Segments() (segments [][]Point, gaps []Gap) {
	patience := c.patience()
	var current []Point
	var last time.Time
	notes := map[string]int{}
	missing := false // a gap lies after last
	for _, p := range c.Points {
		if !c.within(p) {
			continue
		}
		if !p.Valid() {
			if !last.IsZero() {
				notes[p.Note]++
				missing = missing || p.Gap
			}
			continue
		}
		silent := p.Time.Sub(last) > patience
		if !last.IsZero() && (len(notes) > 0 || silent) {
			segments = append(segments, current)
			current = nil
		}
		if !last.IsZero() && (missing || silent) {
			gaps = append(gaps, Gap{From: last, To: p.Time, Note: c.note(notes)})
		}
		clear(notes)
		missing = false
		current = append(current, p)
		last = p.Time
	}
	if len(current) > 0 {
		segments = append(segments, current)
	}
	if !last.IsZero() && (missing || c.To.Sub(last) > patience) {
		gaps = append(gaps, Gap{From: last, To: c.To, Note: c.note(notes)})
	}
	return segments, gaps
}

// note picks the most frequent reason.
func (c Chart) note(notes map[string]int) string {
	best, most := c.Missing, 0
	for n, count := range notes {
		if count > most || (count == most && n < best) {
			best, most = n, count
		}
	}
	return best
}

// patience is how far two points may lie apart and still belong together.
func (c Chart) patience() time.Duration {
	interval := c.Interval
	if interval <= 0 && len(c.Points) > 2 {
		steps := make([]time.Duration, 0, len(c.Points)-1)
		for i := 1; i < len(c.Points); i++ {
			steps = append(steps, c.Points[i].Time.Sub(c.Points[i-1].Time))
		}
		slices.Sort(steps)
		interval = steps[len(steps)/2]
	}
	// Two missed readings are a gap, but not one narrower than three columns.
	return max(interval*5/2, c.To.Sub(c.From)*3/columns)
}

// path joins the points; at most four a column (first, lowest, highest, last),
// so that a day of seconds stays small and looks the same.
func (c Chart) path(points []Point, y func(float64) float64) string {
	if len(points) < 2 {
		return ""
	}
	var b strings.Builder
	add := func(p Point) {
		if b.Len() == 0 {
			b.WriteByte('M')
		} else {
			b.WriteByte('L')
		}
		b.WriteString(decimal(columns * c.share(p.Time)))
		b.WriteByte(' ')
		b.WriteString(decimal(y(p.Value) - plotTop))
	}
	column := func(p Point) int { return int(columns * c.share(p.Time)) }
	for i := 0; i < len(points); {
		j := i + 1
		for j < len(points) && column(points[j]) == column(points[i]) {
			j++
		}
		if j-i <= 4 {
			for _, p := range points[i:j] {
				add(p)
			}
		} else {
			low, high := i, i
			for k := i; k < j; k++ {
				if points[k].Value < points[low].Value {
					low = k
				}
				if points[k].Value > points[high].Value {
					high = k
				}
			}
			keep := []int{i, low, high, j - 1}
			slices.Sort(keep)
			for _, k := range slices.Compact(keep) {
				add(points[k])
			}
		}
		i = j
	}
	return b.String()
}

// scale picks round bounds and a round step for the values of the lines. It
// starts at zero where that does not flatten them. Rejected values do not
// count: one of 65,535 would hide all others.
func (c Chart) scale() (low, high, step float64) {
	low, high = math.Inf(1), math.Inf(-1)
	look := func(points []Point) {
		for _, p := range points {
			if p.Valid() {
				low, high = min(low, p.Value), max(high, p.Value)
			}
		}
	}
	look(c.Points)
	for _, other := range c.Others[:min(len(c.Others), maxLines)] {
		look(other.Points)
	}
	if low > high {
		return 0, 1, 0.5
	}
	if low >= 0 && low <= high/2 {
		low = 0
	}
	if high-low < 1e-9*max(1, math.Abs(high)) { // a flat line stands in the middle
		pad := max(math.Abs(high)*0.05, 0.5)
		low, high = low-pad, high+pad
	}
	raw := (high - low) / 4
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step = 10 * power
	for _, f := range []float64{1, 2, 2.5, 5} {
		if f*power >= raw*0.999 {
			step = f * power
			break
		}
	}
	return math.Floor(low/step+1e-9) * step, math.Ceil(high/step-1e-9) * step, step
}

// Decimals returns how many decimals the labels of the value axis need.
func (c Chart) Decimals() int {
	_, _, step := c.scale()
	for n := range 6 {
		if v := step * math.Pow(10, float64(n)); math.Abs(v-math.Round(v)) < 1e-6*v {
			return n
		}
	}
	return 6
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

// tick is one label of the axis of time.
type tick struct {
	at    time.Time
	minor bool // may be left out
}

// ticks are round times in the zone, at most ten or so: hours of the day, days,
// or firsts of a month.
func (c Chart) ticks() (out []tick) {
	zone := c.Zone
	if zone == nil {
		zone = time.UTC
	}
	span, day := c.To.Sub(c.From), midnight(c.From.In(zone))
	add := func(t time.Time, minor bool) {
		if !t.Before(c.From) && !t.After(c.To) {
			out = append(out, tick{t, minor})
		}
	}
	for _, step := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour} {
		if span/step > 9 {
			continue
		}
		for t := day; !t.After(c.To); t = t.Add(step) {
			add(t, !t.Equal(midnight(t).Add(t.Sub(midnight(t)).Truncate(2*step))))
		}
		return out
	}
	for _, days := range []int{1, 2, 4, 7, 14} {
		if span > time.Duration(days)*9*24*time.Hour {
			continue
		}
		for i, t := 0, day; !t.After(c.To); i, t = i+1, t.AddDate(0, 0, days) {
			add(t, i%2 == 0)
		}
		return out
	}
	first := time.Date(day.Year(), day.Month(), 1, 0, 0, 0, 0, zone)
	for t := first; !t.After(c.To); t = t.AddDate(0, 1, 0) {
		add(t, t.Month()%2 == 0)
	}
	return out
}

// decimal writes a coordinate with at most two decimals.
func decimal(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}
