// Package evidence shows how a figure came about, and by which rules: the same
// words for citizens and for staff.
//
// It promises that a sheet is written from its trace alone, so that it says what
// was true then; that an hour is told as the figure took it; and that each setting
// on which figures depend has a name, a value and a reason.
package evidence

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

//go:embed *.html
var sources embed.FS

var sheets = sync.OnceValues(func() (map[page.Lang]*template.Template, error) {
	out := map[page.Lang]*template.Template{}
	for _, l := range page.Langs() {
		t, err := template.New("").Funcs(page.Funcs(l)).Option("missingkey=error").ParseFS(sources, "*.html")
		if err != nil {
			return nil, fmt.Errorf("parse the sheets of traces: %w", err)
		}
		out[l] = t
	}
	return out, nil
})

type sheet struct {
	figures.Trace
	Class     string
	Revisions []page.Link
	Reason    string
	Parts     []part
	Settings  []Setting
	readings
}

type part struct {
	Name    string
	Unit    string
	Mean    string
	OK      bool
	Hours   int
	Upper   []string // breakpoints
	Rows    []row
	Formula string
	Each    string // "1 ppb = 1,88 µg/m³"; "" = measured in µg/m³
}

type row struct {
	End      time.Time
	Mean     string
	Valid    int
	Expected int
	Version  int
	Counts   bool
	Why      string
}

type counted struct {
	Name  string
	Count int
}

// Sheet is everything that went into a figure, as HTML without a headline. revisions
// are the links to the same figure's others; site is what its place is called.
func Sheet(l page.Lang, t figures.Trace, site string, revisions []page.Link) (template.HTML, error) {
	s := sheet{Trace: t, Class: l.Name("class.", t.Class), Revisions: revisions}
	if t.Figure.Reason != "" {
		s.Reason = l.Name("reason.", t.Figure.Reason)
	}
	t.Rules.Articles = t.Articles
	s.Settings = Settings(l, t.Rules, func(string) string { return site })
	s.hours(l)
	return write(l, "sheet.html", t.Figure.ID, s)
}

func write(l page.Lang, name, id string, body any) (template.HTML, error) {
	all, err := sheets()
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := all[l].ExecuteTemplate(&b, name, body); err != nil {
		return "", fmt.Errorf("write the sheet of %s: %w", id, err)
	}
	return template.HTML(b.String()), nil
}

// judged is an hour of a trace with the verdict on it.
type judged struct {
	figures.SiteHour
	excluded figures.Exclusion
}

// readings counts what went into hours.
type readings struct {
	Valid    int
	Rejected []counted
	Gaps     []counted
}

func count(l page.Lang, hours []figures.SiteHour) (r readings) {
	rejected, gaps := map[string]int{}, map[string]int{}
	for _, h := range hours {
		r.Valid += h.Valid
		for code, n := range h.Rejected {
			rejected[Reason(l, "reason.", code)] += n
		}
		for code, n := range h.Gaps {
			gaps[Reason(l, "gap.", code)] += n
		}
	}
	named := func(m map[string]int) (out []counted) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, counted{name, m[name]})
		}
		return out
	}
	r.Rejected, r.Gaps = named(rejected), named(gaps)
	return r
}

func (s *sheet) hours(l page.Lang) {
	var entered []figures.SiteHour
	byQuantity := map[figures.Parameter]map[string][]judged{}
	first := s.Figure.End.Add(-24 * time.Hour)
	excluded := figures.Exclude(s.Hours, []figures.DatedRules{{Rules: s.Rules}})
	for i, h := range s.Hours {
		parameter, ok := figures.ParameterOf(h.Quantity)
		if !ok || !h.End.After(first) {
			continue
		}
		if byQuantity[parameter] == nil {
			byQuantity[parameter] = map[string][]judged{}
		}
		byQuantity[parameter][h.Quantity] = append(byQuantity[parameter][h.Quantity], judged{h, excluded[i]})
		entered = append(entered, h)
	}
	s.readings = count(l, entered)
	for _, of := range s.Figure.Parts {
		for _, quantity := range slices.Sorted(maps.Keys(byQuantity[of.Parameter])) {
			s.Parts = append(s.Parts, s.part(l, of, quantity, byQuantity[of.Parameter][quantity]))
		}
	}
}

func (s *sheet) part(l page.Lang, of figures.Part, quantity string, hours []judged) part {
	q, _ := telemetry.Lookup(quantity)
	p := part{Name: l.Name("q.", string(of.Parameter)), Unit: page.Unit(q.Unit), OK: of.OK, Hours: of.Hours}
	if each, ok := s.Rules.Concentration(s.Figure.Site, quantity, 1); ok && each != 1 {
		p.Each = equals(l, p.Unit, each)
	}
	if of.Hours > 0 {
		p.Mean = l.Number(of.Mean, 2)
	}
	if of.OK && !s.Figure.Estimate {
		p.Formula = formula(l, of, s.Rules)
	}
	for _, u := range s.Rules.Breakpoints[of.Parameter] {
		p.Upper = append(p.Upper, Exact(l, u))
	}
	slices.SortFunc(hours, func(a, b judged) int { return a.End.Compare(b.End) })
	for _, h := range hours {
		p.Rows = append(p.Rows, h.row(l))
	}
	return p
}

func (h judged) row(l page.Lang) row {
	r := row{End: h.End, Valid: h.Valid, Expected: h.Expected, Version: h.Version, Counts: h.excluded == figures.Included}
	if h.Valid > 0 {
		r.Mean = l.Number(h.Mean, 2)
	}
	if !r.Counts || len(h.Rejected) > 0 {
		r.Why = Why(l, h.SiteHour, h.excluded)
	}
	return r
}

// Why says why an hour does not count; of one with too few readings it is their most
// frequent reason.
func Why(l page.Lang, h figures.SiteHour, excluded figures.Exclusion) string {
	best, most := "", 0
	for _, reasons := range []struct {
		prefix string
		counts map[string]int
	}{{"reason.", h.Rejected}, {"gap.", h.Gaps}} {
		for code, n := range reasons.counts {
			name := Reason(l, reasons.prefix, code)
			if n > most || (n == most && name < best) {
				best, most = name, n
			}
		}
	}
	switch {
	case excluded == figures.ZeroRun, excluded == figures.NoGas, excluded == figures.Beside, excluded == figures.NoIndex:
		return l.Name("excluded.", string(excluded))
	case best != "":
		return best
	case h.Valid > 0:
		return l.Name("excluded.", string(excluded))
	}
	return l.T("chart.missing")
}

// Reason names a flag, a gap's reason or a validator's code.
func Reason(l page.Lang, prefix, code string) string {
	for _, p := range []string{prefix, "flag.", "gap.", "reason."} {
		if page.Has(page.Key(p + code)) {
			return l.T(page.Key(p + code))
		}
	}
	return page.Plain(code)
}

// Exact writes a setting without zeros that nobody typed.
func Exact(l page.Lang, v float64) string {
	if v != float64(int(v)) {
		return l.Number(v, 1)
	}
	return l.Number(v, 0)
}

// formula writes the sum by which a sub-index came about (P.14/2020).
func formula(l page.Lang, of figures.Part, r figures.Rules) string {
	if of.Index.Above || of.Mean < 0 {
		return ""
	}
	nodes := [...]float64{0, 50, 100, 200, 300, 500}
	xb := 0.0
	for band, xa := range r.Breakpoints[of.Parameter] {
		if of.Mean > xa {
			xb = xa
			continue
		}
		ib := nodes[band]
		if r.Nodes == figures.Stepped {
			ib++
		}
		return fmt.Sprintf("(%s − %s) ÷ (%s − %s) × (%s − %s) + %s = %s", l.Number(nodes[band+1], 0), l.Number(ib, 0), Exact(l, xa), Exact(l, xb),
			l.Number(of.Mean, 2), Exact(l, xb), l.Number(ib, 0), l.Number(of.Index.Exact, 2))
	}
	return ""
}
