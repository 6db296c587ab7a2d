package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// chartSpan is what the chart of the network page shows.
const chartSpan = 24 * time.Hour

// chartView is the chart frame: the same for every kind of quantity.
type chartView struct {
	Chosen    bool   // false = no series is chosen or there is none
	Series    string // as addresses carry it
	Title     string // quantity, unit
	Place     string // gateway and device
	SVG       template.HTML
	Desc      string
	Unit      string
	Quantity  string
	Hours     []chart.Hour
	Data      string // address of the points, for the browser's chart
	Part      string // address of this frame, to read it again
	Empty     bool
	Failed    bool
	Simulated bool
	Legend    bool // there are gaps or rejected values to explain
}

// favourite is the series to show when none was asked for: the quantity that
// people ask for first.
func favourite(g Gateway, values []Value) (SeriesID, bool) {
	best, found := SeriesID{}, false
	for _, v := range values {
		if v.Kind == telemetry.KindGateway || v.Value.Type != telemetry.Number {
			continue
		}
		if !found || rank(v.Quantity) < rank(best.Quantity) {
			best, found = SeriesID{g.Node, v.Device, v.Quantity}, true
		}
	}
	return best, found
}

// alarming is the series of the gravest open alert, whether somebody looks after
// it or not.
func alarming(s snapshot) (SeriesID, bool) {
	var best *Alert
	for _, a := range inOrder(s.alerts) {
		if (a.Condition == CondAbove || a.Condition == CondBelow) && (best == nil || grave(a.Severity) > grave(best.Severity)) {
			best = &a
		}
	}
	if best == nil {
		return SeriesID{}, false
	}
	return SeriesID{best.Node, best.Device, best.Quantity}, true
}

// better reports whether a series of gateway a is to be shown rather than one of
// b: first what is alive, then what people ask for first.
func better(a Gateway, id SeriesID, b Gateway, than SeriesID) bool {
	if troubled(a.State) != troubled(b.State) {
		return troubled(b.State)
	}
	return rank(id.Quantity) < rank(than.Quantity)
}

// chartOf reads the last day of a series and draws it.
func (d *Dashboards) chartOf(r *http.Request, l page.Lang, s snapshot, id SeriesID, have bool) chartView {
	g, known := s.find(id.Node)
	if !have || !userOf(r).May(account.Viewer, g.District, kindOf(id.Quantity)) {
		return chartView{}
	}
	v := chartView{
		Chosen: true, Series: id.String(), Quantity: id.Quantity,
		Data: l.Path("/dinas/jaringan/deret") + "?" + query("deret", id.String()),
		Part: l.Path("/dinas/jaringan/grafik") + "?" + query("deret", id.String()),
	}
	if known {
		v.Simulated = g.Simulated
	}
	v.Place = page.Plain(s.name(id.Node))
	if id.Device != "" {
		v.Place += " · " + page.Plain(id.Device)
	}
	c, series, err := d.readChart(r.Context(), l, id, s.now)
	if q, ok := telemetry.Lookup(id.Quantity); ok && series.Unit == telemetry.Unknown {
		series.Unit = q.Unit
	}
	v.Unit = page.Unit(series.Unit)
	v.Title = l.Name("q.", id.Quantity)
	if v.Unit != "" {
		v.Title += " (" + v.Unit + ")"
	}
	if err != nil {
		d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", "chart", "series", id.String(), "err", err)
		v.Failed = true
		return v
	}
	c.Title = v.Title + ", " + v.Place
	c.Desc = describe(l, c, id.Quantity, v.Unit)
	v.Empty = len(c.Points) == 0
	v.Desc, v.SVG, v.Hours = c.Desc, c.SVG(), c.Hours()
	_, gaps := c.Segments()
	v.Legend = len(gaps) > 0
	for _, p := range c.Points {
		v.Legend = v.Legend || p.Rejected
	}
	return v
}

func (d *Dashboards) readChart(ctx context.Context, l page.Lang, id SeriesID, now time.Time) (chart.Chart, Series, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	c := chart.Chart{
		ID: "grafik-" + keyOf("series", id.String()), From: now.Add(-chartSpan), To: now,
		Zone: page.WIB, Clock: l.Clock, Missing: l.T("chart.missing"),
	}
	series, err := d.o.History.Series(ctx, id, c.From, c.To)
	if err != nil {
		return c, series, fmt.Errorf("read series %s: %w", id, err)
	}
	c.Interval = series.Interval
	for _, p := range series.Points {
		c.Points = append(c.Points, viewPoint(l, p))
	}
	decimals := c.Decimals()
	c.Number = func(v float64) string { return l.Number(v, decimals) }
	return c, series, nil
}

// viewPoint is a reading as a chart shows it.
func viewPoint(l page.Lang, p Point) chart.Point {
	point := chart.Point{Time: p.Time, Value: p.Value, Rejected: p.Rejected, Gap: p.Gap != telemetry.GapNone}
	switch {
	case point.Gap:
		point.Note = l.Name("gap.", string(p.Gap))
	case math.IsNaN(p.Value) || math.IsInf(p.Value, 0):
		point.Gap, point.Note = true, l.Name("gap.", string(telemetry.GapNotNumber))
	case p.Rejected:
		point.Note = l.T("value.rejected", l.Name("flag.", p.Flag.String()))
	}
	return point
}

// describe says in one sentence what the chart shows.
func describe(l page.Lang, c chart.Chart, quantity, unit string) string {
	segments, gaps := c.Segments()
	if len(segments) == 0 {
		return l.T("chart.desc_empty")
	}
	low, high := math.Inf(1), math.Inf(-1)
	var last chart.Point
	for _, s := range segments {
		for _, p := range s {
			low, high, last = min(low, p.Value), max(high, p.Value), p
		}
	}
	missing := l.T("chart.no_gaps")
	if n := len(gaps); n == 1 {
		missing = l.T("chart.gap")
	} else if n > 1 {
		missing = l.T("chart.gaps", l.Number(float64(n), 0))
	}
	with := func(v float64) string { return withUnit(l, quantity, v, telemetry.Unit(unit)) }
	if c.To.Sub(c.From) > rawSpan {
		return l.T("chart.desc_long", l.Value(quantity, low), with(high), with(last.Value), l.ShortDate(last.Time), missing)
	}
	return l.T("chart.desc", l.Value(quantity, low), with(high), with(last.Value), l.Clock(last.Time), missing)
}

// chartPart is the chart frame alone, which an open page reads again.
func (d *Dashboards) chartPart(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	id, err := ParseSeriesID(r.URL.Query().Get("deret"))
	if err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	return d.part(w, r, lang, "network", "chart", d.chartOf(r, lang, d.snapshot(r.Context(), userOf(r)), id, true))
}

// points is what the browser's chart gets: columns, times in Unix seconds. A
// null is a gap.
type points struct {
	Times    []int64    `json:"times"`
	Values   []*float64 `json:"values"`
	Rejected []*float64 `json:"rejected"`
	From     int64      `json:"from"`
	To       int64      `json:"to"`
	Label    string     `json:"label"`
	Unit     string     `json:"unit"`
	Decimals int        `json:"decimals"`
	Gaps     []gapJSON  `json:"gaps"`
	Bands    []bandJSON `json:"bands,omitempty"`
	Others   []lineJSON `json:"others,omitempty"`
}

// bandJSON is a category behind the line; without To it has no upper end.
type bandJSON struct {
	From float64  `json:"from"`
	To   *float64 `json:"to,omitempty"`
	Name string   `json:"name"`
	Rank int      `json:"rank"` // of the category's colour
}

// lineJSON is a further line, of another station.
type lineJSON struct {
	Name   string     `json:"name"`
	Times  []int64    `json:"times"`
	Values []*float64 `json:"values"`
}

type gapJSON struct {
	From int64  `json:"from"`
	To   int64  `json:"to"`
	Note string `json:"note"`
}

// chartData is the chart's points as JSON.
func (d *Dashboards) chartData(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	id, err := ParseSeriesID(r.URL.Query().Get("deret"))
	if err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	c, series, err := d.readChart(r.Context(), lang, id, d.o.Now())
	if err != nil {
		return problem{status: http.StatusServiceUnavailable, cause: err}
	}
	return d.sendPoints(w, r, c, lang.Name("q.", id.Quantity), page.Unit(series.Unit), page.Decimals(id.Quantity, 1))
}

// sendPoints writes a chart as JSON.
func (d *Dashboards) sendPoints(w http.ResponseWriter, r *http.Request, c chart.Chart, label, unit string, decimals int) error {
	out := points{From: c.From.Unix(), To: c.To.Unix(), Label: label, Unit: unit, Decimals: decimals, Gaps: []gapJSON{}}
	var gaps []chart.Gap
	out.Times, out.Values, out.Rejected, gaps = columns(c)
	for _, g := range gaps {
		out.Gaps = append(out.Gaps, gapJSON{g.From.Unix(), g.To.Unix(), g.Note})
	}
	for i, b := range c.Bands {
		band := bandJSON{From: b.From, Name: b.Name, Rank: i + 1}
		if !math.IsInf(b.To, 1) {
			band.To = &b.To
		}
		out.Bands = append(out.Bands, band)
	}
	for _, o := range c.Others {
		of := c
		of.Points, of.Interval = o.Points, o.Interval
		line := lineJSON{Name: o.Name}
		line.Times, line.Values, _, _ = columns(of)
		out.Others = append(out.Others, line)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode a chart: %w", err)
	}
	return write(w, r, http.StatusOK, "application/json", body)
}

// columns are a chart's points as columns; where the line ends stands a null, so
// that it is not drawn through.
func columns(c chart.Chart) (times []int64, values, rejected []*float64, gaps []chart.Gap) {
	times, values, rejected = []int64{}, []*float64{}, []*float64{}
	add := func(t time.Time, value, refused *float64) {
		times, values, rejected = append(times, t.Unix()), append(values, value), append(rejected, refused)
	}
	segments, gaps := c.Segments()
	breaks := map[int64]bool{}
	for _, s := range segments {
		breaks[s[len(s)-1].Time.Unix()] = true
	}
	for _, p := range c.Points {
		switch {
		case p.Time.Before(c.From) || p.Time.After(c.To) || p.Gap:
		case p.Rejected:
			add(p.Time, nil, &p.Value)
		default:
			add(p.Time, &p.Value, nil)
			if breaks[p.Time.Unix()] {
				add(p.Time.Add(time.Second), nil, nil)
			}
		}
	}
	return times, values, rejected, gaps
}
