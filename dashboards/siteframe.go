package dashboards

import (
	"cmp"
	"html/template"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// ofSiteQuantity asks for the role for the query's besaran at the path's {code}.
func ofSiteQuantity(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	district, _, err := ofSite(d, r)
	return district, kindOf(r.URL.Query().Get("besaran")), err
}

// maxCharts is how many quantities a page of a site draws at once.
const maxCharts = 6

// frameView is the chart frame of a site: one chart a quantity, under one cursor.
type frameView struct {
	Ranges     []page.Link
	Action     string
	Range      string
	Until      string
	Before     string // the same span before
	After      string
	Quantities []choice
	Others     []choice // other stations to compare with
	Charts     []siteChart
	Remarks    []remarkView
	Rows       []frameRow
	Names      []string // of the columns
	Resolution string
	Marked     bool
	Bands      bool
	From, To   time.Time
	Here       string   // this state of the page
	Lines      []string // names of the compared stations
	API        string   // address of the same figures for programs; "" = not public
	Day, Last  string   // of the span, as the form of the export takes them
}

type siteChart struct {
	Quantity, Title, Desc string
	SVG                   template.HTML
	Data                  string
	Empty                 bool
}

// remarkView is an annotation on the charts.
type remarkView struct {
	figures.Annotation
	Fix *remarkForm // nil: the visitor may not correct it
}

// remarkForm corrects an annotation or withdraws it.
type remarkForm struct{ Action, From, To, Text string }

// frameRow is one row of the frame's table.
type frameRow struct {
	Time  time.Time
	Day   bool
	Cells []frameCell
}

type frameCell struct {
	Quantity string
	OK       bool
	Value    float64
	Note     string
}

// frameOf draws the chosen quantities over the window, and the table below them.
func (d *Dashboards) frameOf(r *http.Request, l page.Lang, here string, site places.Site, quantities []string, rules figures.Rules, win window) (frameView, []*siteSeries, error) {
	q, ctx := r.URL.Query(), r.Context()
	v := frameView{Action: here, Range: win.code, Until: win.asked, From: win.from, To: win.to}
	chosen := slices.DeleteFunc(q["besaran"], func(s string) bool { return !slices.Contains(quantities, s) })
	if len(chosen) == 0 {
		chosen = quantities[:min(len(quantities), map[bool]int{true: 2, false: 3}[win.length() > hourSpan])]
	}
	chosen = slices.Compact(chosen[:min(len(chosen), maxCharts)])
	for _, name := range quantities {
		v.Quantities = append(v.Quantities, choice{name, l.Name("q.", name) + " " + page.Unit(unitOf(name)), slices.Contains(chosen, name)})
	}
	to := func(code, until string) string {
		next := url.Values{"rentang": {code}}
		if until != "" {
			next.Set("sampai", until)
		}
		for _, name := range []string{"besaran", "banding"} {
			if q.Has(name) {
				next[name] = q[name]
			}
		}
		return here + "?" + next.Encode() + "#grafik"
	}
	for _, s := range viewSpans {
		v.Ranges = append(v.Ranges, page.Link{URL: to(s.code, win.asked), Text: l.T(s.text), Current: s.code == win.code})
	}
	v.Here = to(win.code, win.asked)
	v.Before = to(win.code, win.from.Add(-time.Second).In(page.WIB).Format(time.DateOnly))
	if win.asked != "" {
		v.After = to(win.code, win.to.Add(win.length()-time.Second).In(page.WIB).Format(time.DateOnly))
	}
	u := userOf(r)
	v.Others = d.neighbours(u, site, q["banding"])
	notes, err := d.o.Figures.Annotations(ctx, site.Code, win.from, win.to)
	if err != nil {
		return v, nil, err
	}
	for _, n := range notes {
		remark := remarkView{Annotation: n}
		if u.May(account.Technician, site.District, account.SomeKind) {
			remark.Fix = &remarkForm{Action: here + "/catatan", From: formMoment(n.From), To: formMoment(n.To), Text: page.Said(n.Text)}
		}
		v.Remarks = append(v.Remarks, remark)
	}
	v.Resolution = l.T(page.Key("resolution." + map[bool]string{true: "day", false: map[bool]string{true: "reading", false: "hour"}[win.length() <= rawSpan]}[win.length() > hourSpan]))
	var shown []*siteSeries
	for _, name := range chosen {
		s, err := d.readSeries(ctx, l, site, name, win)
		if err != nil {
			return v, shown, err
		}
		for _, c := range v.Others {
			if !c.Chosen || len(s.chart.Others) == 4 {
				continue
			}
			other, _ := d.o.Places.Site(c.Value)
			o, err := d.readSeries(ctx, l, other, name, win)
			if err != nil {
				return v, shown, err
			}
			s.chart.Others = append(s.chart.Others, chart.Line{Name: c.Text, Points: o.chart.Points, Interval: o.chart.Interval})
		}
		d.dress(l, site, &s, rules, notes)
		data := url.Values{"besaran": {name}, "rentang": {win.code}}
		if win.asked != "" {
			data.Set("sampai", win.asked)
		}
		if q.Has("banding") {
			data["banding"] = q["banding"]
		}
		v.Charts = append(v.Charts, siteChart{
			Quantity: name, Title: l.Name("q.", name) + suffix(page.Unit(s.unit)), Desc: s.chart.Desc, SVG: s.chart.SVG(),
			Data: here + "/deret?" + data.Encode(), Empty: len(s.chart.Points) == 0,
		})
		v.Marked, v.Bands = v.Marked || s.marked, v.Bands || len(s.chart.Bands) > 0
		shown = append(shown, &s)
	}
	if len(shown) > 0 {
		for _, o := range shown[0].chart.Others {
			v.Lines = append(v.Lines, o.Name)
		}
	}
	v.Names, v.Rows = frameTable(l, shown, win)
	v.Day, v.Last = formDate(win.from), formDate(win.to.Add(-time.Second))
	v.API = observationsURL(site, chosen, win)
	return v, shown, nil
}

// observationsURL is where programs read what the charts of a site show; "" if
// they may not: the read interface has the air of public sites only.
func observationsURL(site places.Site, quantities []string, win window) string {
	open := slices.DeleteFunc(slices.Clone(quantities), func(q string) bool { return kindOf(q) != telemetry.KindAir })
	if !site.Public || len(open) == 0 {
		return ""
	}
	resolution := "day"
	switch {
	case win.length() <= rawSpan:
		resolution = "raw"
	case win.length() <= hourSpan:
		resolution = "hour"
	}
	at := func(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
	address := "/api/v1/observations?" + url.Values{"site": {site.Code}, "quantity": open, "resolution": {resolution}, "from": {at(win.from)}, "to": {at(win.to)}}.Encode()
	return strings.ReplaceAll(address, "%3A", ":") // a colon needs no escape here, and people read this
}

func suffix(unit string) string {
	if unit == "" {
		return ""
	}
	return " (" + unit + ")"
}

// maxNeighbours is how many stations are offered to compare with.
const maxNeighbours = 24

// neighbours are the nearest stations that the visitor may see, and those that are
// chosen already.
func (d *Dashboards) neighbours(u *account.User, site places.Site, chosen []string) []choice {
	sites := slices.DeleteFunc(d.o.Places.Sites(), func(s places.Site) bool { return s.Code == site.Code || !mayAir(u, account.Viewer, s) })
	far := func(s places.Site) float64 { return math.Hypot(s.Lat-site.Lat, s.Lon-site.Lon) }
	slices.SortStableFunc(sites, func(a, b places.Site) int { return cmp.Compare(far(a), far(b)) })
	var out []choice
	for i, s := range sites {
		if on := slices.Contains(chosen, s.Code); on || i < maxNeighbours {
			out = append(out, choice{s.Code, page.Plain(s.Name), on})
		}
	}
	return out
}

// frameTable puts all shown quantities into one table: by hours, or by days where
// the span is longer than a week.
func frameTable(l page.Lang, shown []*siteSeries, win window) (names []string, rows []frameRow) {
	daily := win.length() > 8*24*time.Hour
	step := func(t time.Time) time.Time {
		if daily {
			return figures.Day(t)
		}
		if win.length() <= rawSpan {
			return t.Truncate(time.Hour)
		}
		return t.Add(-time.Hour) // hours are named by their end
	}
	type sums struct {
		total float64
		n     int
		notes map[string]int
	}
	table := map[time.Time][]sums{}
	for i, s := range shown {
		names = append(names, l.Name("q.", s.quantity)+suffix(page.Unit(s.unit)))
		for _, p := range s.chart.Points {
			if p.Time.Before(win.from) || p.Time.After(win.to) {
				continue
			}
			at := step(p.Time)
			if table[at] == nil {
				table[at] = make([]sums, len(shown))
			}
			c := &table[at][i]
			if p.Valid() {
				c.total, c.n = c.total+p.Value, c.n+1
			} else {
				if c.notes == nil {
					c.notes = map[string]int{}
				}
				c.notes[p.Note]++
			}
		}
	}
	for at, cells := range table {
		row := frameRow{Time: at, Day: daily}
		for i, c := range cells {
			cell := frameCell{Quantity: shown[i].quantity, OK: c.n > 0}
			if c.n > 0 {
				cell.Value = c.total / float64(c.n)
			}
			best := 0
			for note, n := range c.notes {
				if n > best || (n == best && note < cell.Note) {
					cell.Note, best = note, n
				}
			}
			row.Cells = append(row.Cells, cell)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b frameRow) int { return b.Time.Compare(a.Time) })
	return names, rows
}

// siteData is one quantity of a site as JSON, for the browser's chart.
func (d *Dashboards) siteData(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	site, ok := d.o.Places.Site(r.PathValue("code"))
	quantity := r.URL.Query().Get("besaran")
	u := userOf(r)
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	win, err := d.windowOf(r)
	if err != nil {
		return err
	}
	s, err := d.readSeries(r.Context(), lang, site, quantity, win)
	if err != nil {
		return problem{status: http.StatusServiceUnavailable, cause: err}
	}
	for _, code := range r.URL.Query()["banding"] {
		other, ok := d.o.Places.Site(code)
		if !ok || !mayAir(u, account.Viewer, other) || len(s.chart.Others) == 4 {
			continue
		}
		o, err := d.readSeries(r.Context(), lang, other, quantity, win)
		if err != nil {
			return problem{status: http.StatusServiceUnavailable, cause: err}
		}
		s.chart.Others = append(s.chart.Others, chart.Line{Name: page.Plain(other.Name), Points: o.chart.Points, Interval: o.chart.Interval})
	}
	rules, err := d.rules(r.Context(), win.to)
	if err != nil {
		return problem{status: http.StatusServiceUnavailable, cause: err}
	}
	s.chart.Bands = bandsOf(lang, site.Code, quantity, rules.Rules)
	return d.sendPoints(w, r, s.chart, lang.Name("q.", quantity), page.Unit(s.unit), page.Decimals(quantity, 1))
}
