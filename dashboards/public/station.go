package public

import (
	"context"
	"fmt"
	"html/template"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/dashboards/evidence"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

type stationBody struct {
	Card        *card
	Site        *site
	Parts       []partLine
	Missing     string // parameters of the seven that are not measured
	Spans       []page.Link
	Parameters  []page.Link
	Chart       template.HTML
	ChartTitle  string
	ChartRows   []chartRow
	ChartKind   string // what a row is: hour, day, month
	ChartData   string // the chart's values for programs; "" = there is no interface for them
	DailyData   string // the same of the calendar's
	Calendar    *calendar
	Assessments []assessment
	Year        int
	Instruments []instrument
	Photo       string // address; "" = none
	Embed       string // the markup for other pages
}

// partLine is one parameter of the station's index.
type partLine struct {
	Parameter figures.Parameter
	Mean      string
	Hours     int
	Age       int
	OK        bool
	Level     figures.Category
	Value     string
	Word      string
	Dominant  bool
}

type chartRow struct {
	From, To      time.Time
	Label         string
	Mean, Low, Up string
	Valid, Of     int
	Note          string
}

type assessment struct {
	Quantity  string
	Limit     string
	Period    figures.Period
	Judged    bool
	Episodes  int
	Peak      string
	Valid, Of int
	OverYear  bool // of a year: above the limit
	Trace     string
}

type instrument struct {
	Name       string
	Quantities string
	Calibrated time.Time
	From       time.Time
}

// spans are the charts' spans, by their name in the address.
var spans = []struct {
	name string
	long func(to time.Time) time.Time
}{
	{"24-jam", func(t time.Time) time.Time { return t.Add(-24 * time.Hour) }},
	{"7-hari", func(t time.Time) time.Time { return t.AddDate(0, 0, -7) }},
	{"30-hari", func(t time.Time) time.Time { return t.AddDate(0, 0, -30) }},
	{"1-tahun", func(t time.Time) time.Time { return dayOf(t).AddDate(-1, 0, 0) }},
}

func (p *Public) station(ctx context.Context, q ask) (answer, error) {
	s, ok := coded(q.byCode, q.value("name"))
	if !ok {
		return answer{}, errNotFound
	}
	path := "/stasiun/" + named(s.Code, s.Name)
	if path != q.path {
		return moved(q.lang.Path((&url.URL{Path: path}).EscapedPath()))
	}
	c, err := p.full(ctx, q, s)
	if err != nil {
		return answer{}, err
	}
	b := stationBody{Card: c, Site: s, Year: q.now.In(page.WIB).Year()}
	f := p.frame(q, q.lang.T("public.title.card", s.Name, c.headline(q.lang)))
	f.Description, f.feed, f.simulated = c.Sentence, s.Code, s.Simulated
	f.picture = s.Code + "-" + hourName(c.At) + ".png"
	b.parts(q)
	if f.canonical, err = b.chart(ctx, p, q, path); err != nil {
		return answer{}, err
	}
	midnight := dayOf(q.now)
	if s.indexed(q.rules.Rules) {
		days, err := p.span(ctx, figures.Daily, s, midnight.AddDate(-1, 0, 0), midnight)
		if err != nil {
			return answer{}, err
		}
		if len(days) > 0 {
			b.Calendar = q.calendar(days, midnight)
			b.DailyData = p.table("indices", url.Values{"site": {s.Code}, "kind": {"daily"}}, midnight.AddDate(-1, 0, 0), midnight)
		}
		if err := b.assess(ctx, p, q); err != nil {
			return answer{}, err
		}
	}
	b.instruments(p, q)
	if s.Photo != "" && p.o.Documents != nil {
		b.Photo = "/foto/" + s.Photo + ".jpg"
	}
	b.Embed = `<iframe src="` + p.o.BaseURL + q.lang.Path("/sematan/"+url.PathEscape(s.Code)) + `" title="Pantau: ` + template.HTMLEscapeString(page.Plain(s.Name)) + `" width="340" height="320" loading="lazy"></iframe>`
	return p.html(q, "stasiun", f, b)
}

func (b *stationBody) parts(q ask) {
	measured := map[figures.Parameter]bool{}
	if f := b.Site.figure; f != nil {
		for _, part := range f.Parts {
			measured[part.Parameter] = true
			l := partLine{Parameter: part.Parameter, Hours: part.Hours, Age: part.Age, OK: part.OK}
			if part.Hours > 0 {
				l.Mean = q.lang.Number(part.Mean, 1)
			}
			if part.OK && !f.Estimate {
				l.Level, l.Value, l.Word = part.Index.Category, index(q.lang, part.Index), word(q.lang, part.Index.Category)
				l.Dominant = f.OK && part.Parameter == f.Index.Dominant
			}
			b.Parts = append(b.Parts, l)
		}
	}
	if b.Site.closed {
		return
	}
	var missing []string
	for _, parameter := range figures.Parameters() {
		if !measured[parameter] {
			missing = append(missing, q.lang.Name("q.", string(parameter)))
		}
	}
	b.Missing = strings.Join(missing, ", ")
}

// chart draws one parameter over one span, both named in the address, and
// returns the page's canonical path.
func (b *stationBody) chart(ctx context.Context, p *Public, q ask, path string) (string, error) {
	var known []figures.Parameter
	stored := map[figures.Parameter][]string{} // a gas may be there in ppb and in µg/m³
	for _, name := range b.Site.quantities {
		if parameter, ok := figures.ParameterOf(name); ok {
			if stored[parameter] == nil {
				known = append(known, parameter)
			}
			stored[parameter] = append(stored[parameter], name)
		}
	}
	if len(known) == 0 {
		return path, nil
	}
	usual := known[0]
	if f := b.Site.figure; f != nil && f.OK && stored[f.Index.Dominant] != nil {
		usual = f.Index.Dominant
	} else if stored[figures.PM25] != nil {
		usual = figures.PM25
	}
	order := figures.Parameters()
	slices.SortFunc(known, func(a, b figures.Parameter) int { return slices.Index(order, a) - slices.Index(order, b) })
	parameter, span := usual, 1
	if asked := figures.Parameter(q.query.Get("parameter")); asked != "" {
		if stored[asked] == nil {
			return "", errNotFound
		}
		parameter = asked
	}
	if asked := q.query.Get("rentang"); asked != "" {
		span = -1
		for i, s := range spans {
			if s.name == asked {
				span = i
			}
		}
		if span < 0 {
			return "", errNotFound
		}
	}
	to := func(parameter figures.Parameter, span int) string {
		v := url.Values{}
		if span != 1 {
			v.Set("rentang", spans[span].name)
		}
		if parameter != usual {
			v.Set("parameter", string(parameter))
		}
		if len(v) == 0 {
			return path
		}
		return path + "?" + v.Encode()
	}
	link := func(l string) string {
		at, search, _ := strings.Cut(l, "?")
		u := url.URL{Path: q.lang.Path(at), RawQuery: search, Fragment: "grafik"}
		return u.String()
	}
	for i, s := range spans {
		b.Spans = append(b.Spans, page.Link{URL: link(to(parameter, i)), Text: q.lang.T(page.Key("public.span." + s.name)), Current: i == span})
	}
	for _, one := range known {
		b.Parameters = append(b.Parameters, page.Link{URL: link(to(one, span)), Text: q.lang.Name("q.", string(one)), Current: one == parameter})
	}
	end := b.Card.At
	c := chart.Chart{
		ID: "g", From: spans[span].long(end), To: end, Interval: time.Hour, Zone: page.WIB, Missing: q.lang.T("chart.missing"),
		Number: func(v float64) string { return q.lang.Number(v, 0) },
		Clock:  q.lang.Clock,
	}
	name := q.lang.Name("q.", string(parameter))
	b.ChartTitle = q.lang.T("public.chart", name, q.lang.T(page.Key("public.span."+spans[span].name)))
	var err error
	if span == 3 {
		c.Interval = 24 * time.Hour
		c.To = dayOf(end)
		c.Points, err = p.daily(ctx, q, b.Site, parameter, c.From, c.To)
	} else {
		c.Points, err = p.hourly(ctx, q, b.Site, stored[parameter], c.From, c.To)
	}
	if err != nil {
		return "", err
	}
	if span > 0 {
		c.Clock = func(t time.Time) string {
			t = t.In(page.WIB)
			return fmt.Sprintf("%d/%d", t.Day(), int(t.Month()))
		}
	}
	b.ChartKind = [...]string{"hour", "day", "day", "month"}[span]
	b.ChartData = p.table("observations", url.Values{"site": {b.Site.Code}, "quantity": {strings.Join(stored[parameter], ",")}, "resolution": {[...]string{"hour", "hour", "hour", "day"}[span]}}, c.From, c.To)
	b.rows(q, c, span)
	c.Title, c.Desc = b.ChartTitle, b.describe(q, c)
	if decimals := c.Decimals(); decimals > 0 {
		c.Number = func(v float64) string { return q.lang.Number(v, decimals) }
	}
	b.Chart = c.SVG()
	return to(parameter, span), nil
}

// table is where the read interface has a list of a span as CSV.
func (p *Public) table(list string, of url.Values, from, to time.Time) string {
	if p.o.Reference == nil {
		return ""
	}
	of.Set("from", from.In(page.WIB).Format(time.RFC3339))
	of.Set("to", to.In(page.WIB).Format(time.RFC3339))
	of.Set("format", "csv")
	of.Set("limit", "5000")
	return "/api/v1/" + list + "?" + of.Encode()
}

func (b *stationBody) describe(q ask, c chart.Chart) string {
	low, high := 0.0, 0.0
	n, gaps := 0, 0
	for _, point := range c.Points {
		if !point.Valid() {
			gaps++
			continue
		}
		if n == 0 || point.Value < low {
			low = point.Value
		}
		if n == 0 || point.Value > high {
			high = point.Value
		}
		n++
	}
	if n == 0 {
		return q.lang.T("chart.desc_empty")
	}
	return q.lang.T("public.chart.desc", q.lang.Number(low, 0), q.lang.Number(high, 0), q.whole(n), q.whole(gaps))
}

// hourly are the hours of a span in µg/m³; one that does not count is a gap with its
// reason.
func (p *Public) hourly(ctx context.Context, q ask, s *site, quantities []string, from, to time.Time) ([]chart.Point, error) {
	lead := q.rules.Rules.Lead()
	hours, err := p.o.Book.Hours(ctx, s.Code, quantities, from.Add(-lead), to.Add(lead))
	if err != nil {
		return nil, fmt.Errorf("read the hours of %s: %w", s.Code, err)
	}
	byEnd := map[int64]chart.Point{}
	for i, excluded := range figures.Exclude(hours, q.dated) {
		h := hours[i]
		have, measured := byEnd[h.End.Unix()]
		switch v, ok := figures.InForce(q.dated, h.End).Rules.Concentration(s.Code, h.Quantity, h.Mean); {
		case excluded == figures.Included && ok:
			byEnd[h.End.Unix()] = chart.Point{Time: h.End, Value: v}
		case !measured || have.Gap:
			byEnd[h.End.Unix()] = chart.Point{Time: h.End, Gap: true, Note: evidence.Why(q.lang, h, excluded)}
		}
	}
	var out []chart.Point
	for end := from.Add(time.Hour); !end.After(to); end = end.Add(time.Hour) {
		point, ok := byEnd[end.Unix()]
		if !ok {
			point = chart.Point{Time: end, Gap: true, Note: q.lang.T("chart.missing")}
		}
		out = append(out, point)
	}
	return out, nil
}

// daily are the means of the days (WIB) that ISPU harian rests on.
func (p *Public) daily(ctx context.Context, q ask, s *site, parameter figures.Parameter, from, to time.Time) ([]chart.Point, error) {
	days, err := p.span(ctx, figures.Daily, s, from, to)
	if err != nil {
		return nil, err
	}
	byEnd := map[int64]figures.Figure{}
	for _, f := range days {
		byEnd[f.End.Unix()] = f
	}
	var out []chart.Point
	for end := from.AddDate(0, 0, 1); !end.After(to); end = end.AddDate(0, 0, 1) {
		point := chart.Point{Time: end, Gap: true, Note: q.lang.T("chart.missing")}
		if f, ok := byEnd[end.Unix()]; ok {
			point.Note = q.lang.T("public.toofew.day", q.whole(q.rules.Rules.Gates.DayHours))
			for _, part := range f.Parts {
				if part.Parameter == parameter && part.OK {
					point.Gap, point.Value, point.Note = false, part.Mean, ""
				}
			}
		}
		out = append(out, point)
	}
	return out, nil
}

// rows sums the chart's points up as a table: of a day the hours, of weeks the
// days, of a year the months; the newest first.
func (b *stationBody) rows(q ask, c chart.Chart, span int) {
	type sum struct {
		row            chartRow
		total, low, up float64
		notes          map[string]int
	}
	var sums []*sum
	for _, point := range c.Points {
		last := point.Time.Add(-time.Minute).In(page.WIB) // the end belongs to what it ends
		label := q.lang.Clock(point.Time)
		switch {
		case span == 3:
			label = q.lang.Month(last)
		case span > 0:
			label = q.lang.Date(last)
		}
		if n := len(sums); n == 0 || sums[n-1].row.Label != label {
			sums = append(sums, &sum{row: chartRow{Label: label}, notes: map[string]int{}})
		}
		s := sums[len(sums)-1]
		s.row.Of++
		if !point.Valid() {
			s.notes[point.Note]++
			continue
		}
		if s.row.Valid == 0 || point.Value < s.low {
			s.low = point.Value
		}
		if s.row.Valid == 0 || point.Value > s.up {
			s.up = point.Value
		}
		s.row.Valid++
		s.total += point.Value
	}
	for i := len(sums) - 1; i >= 0; i-- {
		s := sums[i]
		if s.row.Valid > 0 {
			s.row.Mean, s.row.Low, s.row.Up = q.lang.Number(s.total/float64(s.row.Valid), 1), q.lang.Number(s.low, 1), q.lang.Number(s.up, 1)
		}
		most := 0
		for note, n := range s.notes {
			if n > most || (n == most && note < s.row.Note) {
				s.row.Note, most = note, n
			}
		}
		b.ChartRows = append(b.ChartRows, s.row)
	}
}

func (b *stationBody) assess(ctx context.Context, p *Public, q ask) error {
	all, err := p.o.Book.Assessments(ctx, b.Site.Code, b.Year)
	if err != nil {
		return fmt.Errorf("read the exceedances of %s: %w", b.Site.Code, err)
	}
	measured := map[string]bool{}
	for _, name := range b.Site.quantities {
		if parameter, ok := figures.ParameterOf(name); ok {
			measured[string(parameter)] = true
		}
	}
	for _, a := range all {
		if !measured[a.Quantity] {
			continue
		}
		line := q.assessment(a)
		line.Trace = q.evidenceURL(figures.AssessmentID(b.Site.Code, b.Year, a.Limit))
		b.Assessments = append(b.Assessments, line)
	}
	return nil
}

func (q ask) assessment(a figures.Assessment) assessment {
	out := assessment{
		Quantity: a.Quantity, Limit: evidence.Exact(q.lang, a.Limit.Limit), Period: a.Period, Judged: a.Judged, Episodes: a.Episodes, Valid: a.Valid, Of: a.Of,
	}
	out.OverYear = a.Period == figures.Year && a.Episodes > 0
	if a.Valid > 0 && (a.Judged || a.Period != figures.Year) {
		out.Peak = q.lang.Number(a.Peak, 1)
	}
	return out
}

func (b *stationBody) instruments(p *Public, q ask) {
	for _, d := range p.o.Places.Deployments(b.Site.Code) {
		if !d.At(q.now) {
			continue
		}
		sensor, ok := p.o.Places.Sensor(d.Sensor)
		if !ok {
			continue
		}
		var names []string
		for _, quantity := range d.Main {
			if slices.Contains(b.Site.quantities, quantity) {
				names = append(names, q.lang.Name("q.", quantity))
			}
		}
		b.Instruments = append(b.Instruments, instrument{
			Name:       strings.TrimSpace(strings.Join([]string{sensor.Maker, sensor.Model}, " ")),
			Quantities: strings.Join(names, ", "), Calibrated: sensor.Calibrated, From: d.From,
		})
	}
	b.Instruments = slices.DeleteFunc(b.Instruments, func(i instrument) bool { return i.Name == "" })
}
