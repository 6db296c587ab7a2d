package public

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/evidence"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

type bulletinLine struct {
	ID, URL   string
	At        time.Time
	Revision  int
	Stations  int
	Judged    int
	Simulated bool
}

// bulletinLines lists what was published for the hours from <= hour < to, the oldest
// first.
func (p *Public) bulletinLines(ctx context.Context, q ask, from, to time.Time) ([]bulletinLine, error) {
	all, err := p.o.Book.Bulletins(ctx, from.Add(-1), to.Add(-1)) // the book's spans end with their end
	if err != nil {
		return nil, fmt.Errorf("list bulletins: %w", err)
	}
	var out []bulletinLine
	for _, b := range all {
		if b.State != figures.Published {
			continue
		}
		l := bulletinLine{ID: b.ID, URL: q.lang.Path("/buletin/" + b.ID), At: b.At, Revision: b.Revision, Simulated: b.Simulated}
		for _, f := range b.Figures {
			if _, ok := q.byCode[f.Site]; ok {
				l.Stations++
				if f.OK {
					l.Judged++
				}
			}
		}
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b bulletinLine) int { return a.At.Compare(b.At) })
	return out, nil
}

// newestBulletins are those of the last days, the newest first.
func (p *Public) newestBulletins(ctx context.Context, q ask, days int) ([]bulletinLine, error) {
	lines, err := p.bulletinLines(ctx, q, q.now.AddDate(0, 0, -days), q.now.Add(time.Minute))
	slices.Reverse(lines)
	return lines, err
}

// bulletins lists a month of them.
func (p *Public) bulletins(ctx context.Context, q ask) (answer, error) {
	lines, nav, canonical, err := month(q, func(from, to time.Time) ([]bulletinLine, error) { return p.bulletinLines(ctx, q, from, to) })
	if err != nil {
		return answer{}, err
	}
	f := p.frame(q, q.lang.T("public.nav.buletin"))
	f.Description, f.canonical = q.lang.T("public.bulletin.description"), canonical
	return p.html(q, "buletin-daftar", f, struct {
		Lines []bulletinLine
		Month monthNav
	}{lines, nav})
}

type bulletinBody struct {
	figures.Bulletin
	Lines     []bulletinStation
	Chart     template.HTML // "" = nothing to draw
	Newest    int
	Revisions []page.Link
	PDF       string
	Changed   []change
}

type bulletinStation struct {
	line
	District string
	Dominant figures.Parameter
	Hours    int
	Trace    string
	figure   figures.Figure
}

// change is one figure before and after a correction.
type change struct {
	Station, URL  string
	End           time.Time
	Kind          figures.Kind
	Before, After string
	BeforeLevel   figures.Category
	AfterLevel    figures.Category
	Detail        string // of what it is now
	Reason        string
	When          time.Time
	Trace         string
	Revision      int
}

func (q ask) change(s *site, before, after figures.Figure) change {
	say := func(f figures.Figure) (string, figures.Category) {
		switch {
		case f.OK && f.Estimate:
			if part, ok := leading(f); ok {
				return q.concentration(part), figures.CategoryNone
			}
		case f.OK:
			return index(q.lang, f.Index.Index) + " " + word(q.lang, f.Index.Category), f.Index.Category
		}
		return q.lang.T("public.insufficient"), figures.CategoryNone
	}
	c := change{Station: s.Name, URL: q.siteURL(s), End: after.End, Kind: after.Kind, Reason: after.Reason, When: after.Published, Trace: q.traceURL(after), Revision: after.Revision}
	c.Before, c.BeforeLevel = say(before)
	c.After, c.AfterLevel = say(after)
	if c.AfterLevel != figures.CategoryNone {
		c.Detail = q.detail(after)
	}
	return c
}

func (p *Public) bulletin(ctx context.Context, q ask) (answer, error) {
	id, revision := q.value("id"), -1
	if asked := q.query.Get("revisi"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 0 || strconv.Itoa(n) != asked {
			return answer{}, errNotFound
		}
		revision = n
	}
	newest, err := p.o.Book.Bulletin(ctx, id, -1)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && newest.State != figures.Published) {
		return answer{}, errNotFound
	}
	if err != nil {
		return answer{}, fmt.Errorf("read bulletin %s: %w", id, err)
	}
	shown := newest
	if revision >= 0 && revision != newest.Revision {
		shown, err = p.o.Book.Bulletin(ctx, id, revision)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && shown.State != figures.Published) {
			return answer{}, errNotFound
		}
		if err != nil {
			return answer{}, fmt.Errorf("read bulletin %s, revision %d: %w", id, revision, err)
		}
	}
	b := bulletinBody{Bulletin: shown, Newest: newest.Revision}
	for n := range newest.Revision + 1 {
		to := q.lang.Path("/buletin/" + id)
		if n != newest.Revision {
			to += "?revisi=" + strconv.Itoa(n)
		}
		b.Revisions = append(b.Revisions, page.Link{URL: to, Text: "R" + strconv.Itoa(n), Current: n == shown.Revision})
	}
	if p.o.Documents != nil {
		b.PDF = "/buletin/" + id + ".pdf" // the letter is in Indonesian
		if shown.Revision != newest.Revision {
			b.PDF += "?revisi=" + strconv.Itoa(shown.Revision)
		}
	}
	for _, f := range shown.Figures {
		s, ok := q.byCode[f.Site]
		if !ok {
			continue // its site is not public, or not any more
		}
		then := *s
		then.figure, then.good, then.class = &f, nil, s.ClassAt(f.End)
		l := bulletinStation{line: q.line(&then), District: brief(s.district.Name), Dominant: f.Index.Dominant, Hours: dominant(f).Hours, figure: f, Trace: q.traceURL(f)}
		b.Lines = append(b.Lines, l)
	}
	slices.SortStableFunc(b.Lines, func(a, b bulletinStation) int { return strings.Compare(bare(a.District), bare(b.District)) })
	b.Chart = q.ranking(b.Lines)
	for _, c := range shown.Changes {
		if s, ok := q.byCode[c.Site]; ok {
			one := q.change(s, c.Before, c.After)
			one.Reason = cmp.Or(c.Reason, one.Reason)
			b.Changed = append(b.Changed, one)
		}
	}
	f := p.frame(q, q.lang.T("public.bulletin.title", q.lang.Moment(shown.At)))
	f.Description, f.simulated, f.lasting = q.lang.T("public.bulletin.description"), shown.Simulated, true
	f.picture = "provinsi-" + hourName(shown.At) + ".png"
	if revision >= 0 && revision != newest.Revision {
		f.canonical += "?revisi=" + strconv.Itoa(revision)
	}
	return p.html(q, "buletin", f, b)
}

// corrected are the public figures that were mended in a span, the oldest first.
func (p *Public) corrected(ctx context.Context, q ask, from, to time.Time) ([]figures.Figure, error) {
	all, err := p.o.Book.Corrections(ctx, from, to) // in the order of their publication
	if err != nil {
		return nil, fmt.Errorf("list corrections: %w", err)
	}
	return slices.DeleteFunc(all, func(f figures.Figure) bool {
		_, ok := q.byCode[f.Site]
		return !ok || !shown(f) || f.Revision == 0
	}), nil
}

// corrections lists what was mended after publication, by the month in which it was.
func (p *Public) corrections(ctx context.Context, q ask) (answer, error) {
	var b struct {
		Changes   []change
		Bulletins []bulletinLine
		Month     monthNav
	}
	all, nav, canonical, err := month(q, func(from, to time.Time) ([]figures.Figure, error) { return p.corrected(ctx, q, from, to) })
	if err != nil {
		return answer{}, err
	}
	b.Month = nav
	for _, f := range all {
		revisions, err := p.o.Book.Revisions(ctx, f.Kind, f.Site, f.End)
		if err != nil {
			return answer{}, fmt.Errorf("read what %s was: %w", f.ID, err)
		}
		for _, before := range revisions {
			if before.Revision == f.Revision-1 {
				b.Changes = append(b.Changes, q.change(q.byCode[f.Site], before, f))
			}
		}
	}
	if nav.Newest {
		lines, err := p.bulletinLines(ctx, q, nav.from, nav.from.AddDate(0, 1, 0))
		if err != nil {
			return answer{}, err
		}
		b.Bulletins = slices.DeleteFunc(lines, func(l bulletinLine) bool { return l.Revision == 0 })
		slices.Reverse(b.Bulletins)
	}
	f := p.frame(q, q.lang.T("public.nav.ralat"))
	f.Description, f.canonical = q.lang.T("public.corrections.lead"), canonical
	return p.html(q, "ralat", f, b)
}

type traceBody struct {
	figures.Trace
	Site   *site
	URL    string
	JSON   string
	Value  string
	Word   string
	Detail string
	Level  figures.Category
	Newest bool
	Sheet  template.HTML
}

// trace shows how a figure came about, as a page or, with .json, as it is kept.
func (p *Public) trace(ctx context.Context, q ask) (answer, error) {
	id, asJSON := strings.CutSuffix(q.value("id"), ".json")
	if strings.HasPrefix(id, figures.AssessmentPrefix) {
		return p.assessmentTrace(ctx, q, id, asJSON)
	}
	t, err := p.o.Book.Trace(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return answer{}, errNotFound
	}
	if err != nil {
		return answer{}, fmt.Errorf("read trace %s: %w", id, err)
	}
	s, ok := q.byCode[t.Figure.Site]
	if !ok || !shown(t.Figure) {
		return answer{}, errNotFound
	}
	if asJSON {
		body, err := json.MarshalIndent(t, "", " ")
		if err != nil {
			return answer{}, fmt.Errorf("write trace %s: %w", id, err)
		}
		return answer{contentType: "application/json", body: append(body, '\n')}, nil
	}
	b := traceBody{Trace: t, Site: s, URL: q.siteURL(s), JSON: q.traceURL(t.Figure) + ".json"}
	switch {
	case t.Figure.OK && t.Figure.Estimate:
		b.Word = q.lang.T("public.estimate")
		if part, ok := leading(t.Figure); ok {
			b.Value = q.concentration(part)
		}
	case t.Figure.OK:
		b.Detail = q.detail(t.Figure)
		b.Level, b.Value, b.Word = t.Figure.Index.Category, index(q.lang, t.Figure.Index.Index), word(q.lang, t.Figure.Index.Category)
	default:
		b.Word = q.lang.T("public.insufficient")
	}
	revisions, err := p.o.Book.Revisions(ctx, t.Figure.Kind, t.Figure.Site, t.Figure.End)
	if err != nil {
		return answer{}, fmt.Errorf("read the revisions of %s: %w", id, err)
	}
	b.Newest = true
	var others []page.Link
	for _, r := range revisions {
		if shown(r) {
			others = append(others, page.Link{URL: q.traceURL(r), Text: "R" + strconv.Itoa(r.Revision), Current: r.ID == t.Figure.ID})
			b.Newest = b.Newest && r.Revision <= t.Figure.Revision
		}
	}
	if b.Sheet, err = evidence.Sheet(q.lang, t, s.Name, others); err != nil {
		return answer{}, err
	}
	f := p.frame(q, q.lang.T("public.trace.title", s.Name, q.lang.Moment(t.Figure.End)))
	f.Description, f.simulated, f.lasting = q.lang.T("public.trace.lead"), t.Figure.Simulated, true
	f.picture = s.Code + "-" + hourName(t.Figure.End) + ".png"
	return p.html(q, "bukti", f, b)
}

type proofBody struct {
	assessment
	Site  *site
	URL   string
	Year  string
	JSON  string
	Sheet template.HTML
}

// assessmentTrace shows from what a station's year was compared with a limit of
// PP 22/2021, as a page or as JSON.
func (p *Public) assessmentTrace(ctx context.Context, q ask, id string, asJSON bool) (answer, error) {
	code, _, _, err := figures.ParseAssessmentID(id)
	s, ok := q.byCode[code]
	if err != nil || !ok {
		return answer{}, errNotFound
	}
	t, err := p.o.Book.AssessmentTrace(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return answer{}, errNotFound
	}
	if err != nil {
		return answer{}, fmt.Errorf("read trace %s: %w", id, err)
	}
	if asJSON {
		body, err := json.Marshal(t) // a year's hours: without indents
		if err != nil {
			return answer{}, fmt.Errorf("write trace %s: %w", id, err)
		}
		return answer{contentType: "application/json", body: append(body, '\n')}, nil
	}
	b := proofBody{assessment: q.assessment(t.Assessment), Site: s, URL: q.siteURL(s), Year: strconv.Itoa(t.Year), JSON: q.evidenceURL(id) + ".json"}
	if b.Sheet, err = evidence.AssessmentSheet(q.lang, t, s.Name); err != nil {
		return answer{}, err
	}
	f := p.frame(q, q.lang.T("public.proof.title", s.Name, q.lang.Name("q.", b.Quantity), q.lang.Name("period.", string(b.Period)), b.Year))
	f.Description, f.simulated = q.lang.T("public.proof.lead"), t.Simulated
	return p.html(q, "baku", f, b)
}

type methodBody struct {
	Settings    []evidence.Setting
	Conversions []string
	Molar       string // litres
	Floors      []string
	Dates       []figures.DatedRules
	Table       []breakpointRow
	Limits      []limitRow
	Advised     string
}

type breakpointRow struct {
	Parameter figures.Parameter
	Upper     []string
}

type limitRow struct {
	Quantity string
	Period   figures.Period
	Limit    string
}

// method tells the rules in force, and when they changed.
func (p *Public) method(_ context.Context, q ask) (answer, error) {
	r := q.rules.Rules
	named := func(site string) string { // what is not public has no name here
		if s, ok := q.byCode[site]; ok {
			return s.Name
		}
		return ""
	}
	b := methodBody{
		Settings: evidence.InForce(q.lang, q.dated, q.now, named), Conversions: evidence.Conversions(q.lang), Molar: q.lang.Number(figures.MolarVolume, 3), Advised: p.o.Categories.Source,
	}
	for _, parameter := range figures.Parameters() {
		var floors []string
		for _, quantity := range slices.Sorted(maps.Keys(p.o.Floors)) {
			if of, ok := figures.ParameterOf(quantity); ok && of == parameter {
				known, _ := telemetry.Lookup(quantity) // it is one of the catalogue
				floors = append(floors, q.lang.Value(quantity, p.o.Floors[quantity])+" "+page.Unit(known.Unit))
			}
		}
		if floors != nil {
			b.Floors = append(b.Floors, q.lang.Name("q.", string(parameter))+": "+strings.Join(floors, ", "))
		}
	}
	b.Dates = slices.Clone(q.dated)
	slices.SortStableFunc(b.Dates, func(a, b figures.DatedRules) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(b.Version, a.Version))
	})
	for _, parameter := range figures.Parameters() {
		row := breakpointRow{Parameter: parameter}
		for _, u := range r.Breakpoints[parameter] {
			row.Upper = append(row.Upper, evidence.Exact(q.lang, u))
		}
		b.Table = append(b.Table, row)
	}
	for _, l := range r.Limits {
		b.Limits = append(b.Limits, limitRow{q.lang.Name("q.", l.Quantity), l.Period, evidence.Exact(q.lang, l.Limit)})
	}
	f := p.frame(q, q.lang.T("public.nav.metode"))
	f.Description, f.simulated, f.lasting = q.lang.T("public.method.lead"), false, true
	return p.html(q, "metode", f, b)
}

// data lists the open-data files.
func (p *Public) data(ctx context.Context, q ask) (answer, error) {
	var b struct {
		Days []File
		Help []File
	}
	if p.o.Files != nil {
		all, err := p.o.Files.Files(ctx)
		if err != nil {
			return answer{}, fmt.Errorf("list open data: %w", err)
		}
		for _, f := range all {
			if f.Day.IsZero() {
				b.Help = append(b.Help, f)
			} else if len(b.Days) < 400 {
				b.Days = append(b.Days, f)
			}
		}
	}
	f := p.frame(q, q.lang.T("public.nav.data"))
	f.Description, f.lasting = q.lang.T("public.data.lead"), true
	return p.html(q, "data", f, b)
}

// programs explains the interface for programs.
func (p *Public) programs(_ context.Context, q ask) (answer, error) {
	if p.o.Reference == nil {
		return answer{}, errNotFound
	}
	body, err := p.o.Reference(q.lang)
	if err != nil {
		return answer{}, fmt.Errorf("explain the interface for programs: %w", err)
	}
	f := p.frame(q, q.lang.T("api.title"))
	f.Description, f.simulated, f.lasting = q.lang.T("api.lead"), false, true
	return p.html(q, "api", f, body)
}
