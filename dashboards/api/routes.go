package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// answer is what an operation returns.
type answer[T any] struct {
	LastModified string `header:"Last-Modified" doc:"When the newest of what is here was computed or measured"`
	Link         string `header:"Link" doc:"The next page, as rel=next"`
	Body         T
}

// get registers an operation. What it is called and does stands in the catalogue,
// in both languages; their order here is that of the reference page.
func get[I, O any](a *API, id, path string, handle func(context.Context, *I) (*O, error)) {
	huma.Register(a.huma, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: Prefix + path,
		Summary: page.English.T(page.Key("api.op." + id)), Description: page.English.T(page.Key("api.op." + id + ".lead")),
	}, handle)
	a.order = append(a.order, Prefix+path)
}

func (a *API) routes() {
	get(a, "districts", "/districts", a.districts)
	get(a, "sites", "/sites", a.listSites)
	get(a, "site", "/sites/{code}", a.oneSite)
	get(a, "sensors", "/sensors", a.sensors)
	get(a, "latest", "/latest", a.latest)
	get(a, "observations", "/observations", a.observations)
	get(a, "indices", "/indices", a.indices)
	get(a, "exceedances", "/exceedances", a.exceedances)
	get(a, "bulletins", "/bulletins", a.bulletins)
	get(a, "bulletin", "/bulletins/{id}", a.bulletin)
	get(a, "corrections", "/corrections", a.corrections)
	get(a, "trace", "/traces/{id}", a.trace)
}

func (a *API) districts(_ context.Context, in *struct{ Walk }) (*answer[List[District]], error) {
	count := map[string]int{}
	for _, s := range a.sites() {
		count[s.District]++
	}
	var all []District
	for _, d := range places.Districts() {
		all = append(all, District{Code: d.Code, Name: d.Name, Latitude: d.Lat, Longitude: d.Lon, Sites: count[d.Code]})
	}
	return pageOf(&in.Walk, all, func(d District) string { return d.Code })
}

func (a *API) asSite(ctx context.Context, s places.Site) (Site, error) {
	out := Site{
		Code: s.Code, Name: page.Plain(s.Name), District: s.District, Subdistrict: s.Subdistrict, Class: string(s.ClassAt(a.o.Now())),
		Operator: page.Plain(s.Operator), Closed: maybe(s.Closed), Simulated: s.Simulated, Quantities: []Quantity{},
	}
	if s.Lat != 0 || s.Lon != 0 {
		out.Latitude, out.Longitude = &s.Lat, &s.Lon
	}
	if c := s.Certificate; c != (places.Certificate{}) {
		out.Certificate = &Certificate{Number: page.Plain(c.Number), Issuer: page.Plain(c.Issuer), Collocated: maybe(c.Collocated), Expires: maybe(c.Expires)}
	}
	quantities, err := a.o.Book.Quantities(ctx, s.Code)
	if err != nil {
		return out, err
	}
	for _, q := range quantities {
		if open(q) {
			out.Quantities = append(out.Quantities, Quantity{Name: q, Unit: unit(q)})
		}
	}
	return out, nil
}

func (a *API) listSites(ctx context.Context, in *struct {
	District string `query:"district" maxLength:"4" example:"3374"`
	Class    string `query:"class" enum:"acuan,sni9178,indikatif"`
	Walk
}) (*answer[List[Site]], error) {
	all := []Site{}
	for _, s := range a.sites() {
		if (in.District != "" && s.District != in.District) || (in.Class != "" && string(s.ClassAt(a.o.Now())) != in.Class) {
			continue
		}
		one, err := a.asSite(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return pageOf(&in.Walk, all, func(s Site) string { return s.Code })
}

func (a *API) oneSite(ctx context.Context, in *struct {
	Code string `path:"code" maxLength:"128"`
	Shape
}) (*answer[Site], error) {
	s, err := a.site(in.Code)
	if err != nil {
		return nil, err
	}
	out, err := a.asSite(ctx, s)
	return &answer[Site]{Body: out}, err
}

func (a *API) sensors(_ context.Context, in *struct {
	Site string `query:"site" maxLength:"128"`
	Walk
}) (*answer[List[Sensor]], error) {
	if in.Site != "" {
		if _, err := a.site(in.Site); err != nil {
			return nil, err
		}
	}
	all := []Sensor{}
	for _, s := range a.o.Places.Sensors() {
		out := Sensor{ID: page.Plain(s.ID), Name: page.Plain(s.Name), Maker: page.Plain(s.Maker), Model: page.Plain(s.Model), Calibrated: maybe(s.Calibrated)}
		there := in.Site == ""
		for _, d := range a.o.Places.SensorDeployments(s.ID) {
			site, ok := a.o.Places.Site(d.Site)
			main := slices.DeleteFunc(slices.Clone(d.Main), func(q string) bool { return !open(q) })
			if !ok || !visible(site) || (len(d.Main) > 0 && len(main) == 0) {
				continue
			}
			there = there || d.Site == in.Site
			out.Deployments = append(out.Deployments, Deployment{Site: d.Site, From: maybe(d.From), To: maybe(d.To), Main: main})
		}
		if there && out.Deployments != nil { // what hangs nowhere in public is not shown
			all = append(all, out)
		}
	}
	return pageOf(&in.Walk, all, func(s Sensor) string { return s.ID })
}

func (a *API) latest(ctx context.Context, in *struct {
	Site     string `query:"site" maxLength:"128"`
	District string `query:"district" maxLength:"4"`
	Quantity string `query:"quantity" maxLength:"128" example:"pm2_5"`
	Walk
}) (*answer[List[Reading]], error) {
	sites := a.sites()
	if in.Site != "" {
		s, err := a.site(in.Site)
		if err != nil {
			return nil, err
		}
		sites = []places.Site{s}
	}
	if in.Quantity != "" && !open(in.Quantity) {
		return nil, unknownQuantity(in.Quantity)
	}
	now := a.o.Now()
	all := []Reading{}
	var newest time.Time
	for _, s := range sites {
		if in.District != "" && s.District != in.District {
			continue
		}
		var taken []report.Taken
		for _, node := range a.o.Places.Nodes(s.Code, now.Add(-24*time.Hour), now) {
			for _, t := range a.o.Latest.Latest(node) {
				if open(t.Reading.Quantity) && (in.Quantity == "" || t.Reading.Quantity == in.Quantity) {
					taken = append(taken, t)
				}
			}
		}
		list, err := a.archive.Newest(ctx, s, taken)
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			r := Reading{Site: s.Code, Quantity: o.Quantity, Unit: string(o.Unit), Time: wib(o.End), Value: o.Value, Sensor: page.Plain(o.Sensor),
				Class: string(o.Class), Status: string(o.Status), Simulated: o.Simulated}
			for flag := range o.Rejected {
				r.Flag = flag
			}
			for gap := range o.Gaps {
				r.Gap = gap
			}
			if all = append(all, r); o.End.After(newest) {
				newest = o.End
			}
		}
	}
	out, err := pageOf(&in.Walk, all, func(r Reading) string { return r.Site + "\x00" + r.Quantity })
	if err == nil {
		out.LastModified = modified(newest)
	}
	return out, err
}

func unknownQuantity(q string) error {
	return badRequest(fmt.Sprintf("quantity: %q is none that this interface shows. A site's are listed at %s/sites/{code}.", page.Plain(q), Prefix))
}

// The longest spans of one request.
const (
	mostReadings = 48 * time.Hour
	mostHours    = 366 * 24 * time.Hour
	mostDays     = 3660 * 24 * time.Hour
	mostTogether = 31 * 24 * time.Hour // of all sites
)

func (a *API) observations(ctx context.Context, in *struct {
	Site       string   `query:"site" required:"true" maxLength:"128"`
	Quantity   []string `query:"quantity" maxItems:"20" example:"pm2_5"`
	Resolution string   `query:"resolution" enum:"raw,hour,day" default:"hour"`
	Window     string   `query:"window" enum:"3h,8h,24h"`
	Span
	Walk
}) (*answer[List[Observation]], error) {
	site, err := a.site(in.Site)
	if err != nil {
		return nil, err
	}
	for _, q := range in.Quantity {
		if !open(q) {
			return nil, unknownQuantity(q)
		}
	}
	resolution := report.Resolution(in.Resolution)
	standard, most := 24*time.Hour, mostHours
	switch resolution {
	case report.Readings:
		most = mostReadings
	case report.Daily:
		standard, most = 30*24*time.Hour, mostDays
	case report.Hourly:
	}
	if in.Window != "" && resolution != report.Hourly {
		return nil, badRequest("window: running means are made of hours: use it with resolution=hour.")
	}
	from, to, err := in.read(a.o.Now().Truncate(time.Second), standard, most)
	if err != nil {
		return nil, err
	}
	begin, err := in.begin()
	if err != nil {
		return nil, err
	}
	after := report.After{Tie: begin.Key}
	if begin.Time != 0 {
		after.End = time.UnixMilli(begin.Time)
	}
	rows, err := a.observationsAfter(ctx, site, in.Quantity, resolution, in.Window, from, to, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &answer[List[Observation]]{Body: List[Observation]{Data: []Observation{}}}
	var newest time.Time
	for i, o := range rows {
		if i == in.Limit {
			end, tie := rows[i-1].Key()
			out.Body.Next = in.next(place{Time: end.UnixMilli(), Key: tie}, from, to)
			break
		}
		out.Body.Data = append(out.Body.Data, observation(o))
		if changed := cmp.Or(o.Computed, o.End); changed.After(newest) {
			newest = changed
		}
	}
	out.Link, out.LastModified = link(out.Body.Next), modified(newest)
	return out, nil
}

// observationsAfter reads at most limit rows that follow a place, part of the span
// after part, so that a page of a long span costs no more than one of a short.
func (a *API) observationsAfter(ctx context.Context, site places.Site, quantities []string, resolution report.Resolution, window string, from, to time.Time, after report.After, limit int) ([]report.Observation, error) {
	if len(quantities) == 0 {
		quantities = nil
	}
	if resolution == report.Readings {
		return a.archive.ReadingsPage(ctx, site, []telemetry.Kind{telemetry.KindAir}, quantities, from, to, after, limit)
	}
	if quantities == nil {
		measured, err := a.o.Book.Quantities(ctx, site.Code)
		if err != nil {
			return nil, err
		}
		quantities = slices.DeleteFunc(slices.Clone(measured), func(q string) bool { return !open(q) })
	}
	if len(quantities) == 0 {
		return nil, nil
	}
	read, part := a.archive.Hours, 48*time.Hour
	switch {
	case resolution == report.Daily:
		read, part = a.archive.Days, 31*24*time.Hour
	case window != "":
		n, err := strconv.Atoi(strings.TrimSuffix(window, "h"))
		if err != nil {
			return nil, fmt.Errorf("window %q: %w", window, err)
		}
		read = func(ctx context.Context, site places.Site, quantities []string, from, to time.Time) ([]report.Observation, error) {
			return a.archive.Window(ctx, site, quantities, n, from, to)
		}
	}
	if start := after.End.Add(-time.Millisecond); start.After(from) { // rows of that very end may follow
		from = start
	}
	var out []report.Observation
	for from.Before(to) && len(out) < limit {
		end := from.Add(part)
		if resolution == report.Daily {
			end = report.DayOf(from).Add(part)
		}
		if end.After(to) {
			end = to
		}
		rows, err := read(ctx, site, quantities, from, end)
		if err != nil {
			return nil, err
		}
		for _, o := range rows {
			if after.Before(o) {
				out = append(out, o)
			}
		}
		from = end
	}
	return out[:min(limit, len(out))], nil
}

func (a *API) indices(ctx context.Context, in *struct {
	Kind     string `query:"kind" enum:"hourly,daily" default:"hourly"`
	Site     string `query:"site" maxLength:"128"`
	District string `query:"district" maxLength:"4"`
	Span
	Walk
}) (*answer[List[Index]], error) {
	sites := a.sites()
	most := mostTogether
	if in.Site != "" {
		s, err := a.site(in.Site)
		if err != nil {
			return nil, err
		}
		sites, most = []places.Site{s}, mostHours
	}
	if in.District != "" {
		sites = slices.DeleteFunc(sites, func(s places.Site) bool { return s.District != in.District })
	}
	kind := figures.Hourly
	if in.Kind == "daily" {
		kind = figures.Daily
		if in.Site != "" {
			most = mostDays
		}
	}
	if in.From == "" && in.To == "" {
		return a.newestIndices(ctx, kind, sites, &in.Walk)
	}
	from, to, err := in.read(a.o.Now().Truncate(time.Second), 24*time.Hour, most)
	if err != nil {
		return nil, err
	}
	begin, err := in.begin()
	if err != nil {
		return nil, err
	}
	at := from
	if begin.Time != 0 {
		at = time.UnixMilli(begin.Time - 1) // rows of that very end may follow
	}
	var rows []figures.Figure
	for at.Before(to) && len(rows) <= in.Limit {
		end := at.Add(48 * time.Hour)
		if end.After(to) {
			end = to
		}
		var part []figures.Figure
		for _, s := range sites {
			list, err := a.o.Book.Span(ctx, kind, s.Code, at, end)
			if err != nil {
				return nil, err
			}
			part = append(part, list...)
		}
		slices.SortFunc(part, func(x, y figures.Figure) int { return cmp.Or(x.End.Compare(y.End), cmp.Compare(x.Site, y.Site)) })
		for _, f := range part {
			passed := f.End.UnixMilli() < begin.Time || (f.End.UnixMilli() == begin.Time && f.Site <= begin.Key)
			if !passed && a.shown(f) {
				rows = append(rows, f)
			}
		}
		at = end
	}
	out := &answer[List[Index]]{Body: List[Index]{Data: []Index{}}}
	var newest time.Time
	for i, f := range rows {
		if i == in.Limit {
			last := rows[i-1]
			out.Body.Next = in.next(place{Time: last.End.UnixMilli(), Key: last.Site}, from, to)
			break
		}
		if out.Body.Data = append(out.Body.Data, a.index(f)); f.Computed.After(newest) {
			newest = f.Computed
		}
	}
	out.Link, out.LastModified = link(out.Body.Next), modified(newest)
	return out, nil
}

// recent is how old a figure may be that is still a site's newest.
var recent = map[figures.Kind]time.Duration{figures.Hourly: 6 * time.Hour, figures.Daily: 72 * time.Hour}

func (a *API) newestIndices(ctx context.Context, kind figures.Kind, sites []places.Site, w *Walk) (*answer[List[Index]], error) {
	now := a.o.Now()
	all := []Index{}
	var newest time.Time
	for _, s := range sites {
		list, err := a.o.Book.Span(ctx, kind, s.Code, now.Add(-recent[kind]), now)
		if err != nil {
			return nil, err
		}
		for i := len(list) - 1; i >= 0; i-- {
			if a.shown(list[i]) {
				if all = append(all, a.index(list[i])); list[i].Computed.After(newest) {
					newest = list[i].Computed
				}
				break
			}
		}
	}
	out, err := pageOf(w, all, func(i Index) string { return i.Site })
	if err == nil {
		out.LastModified = modified(newest)
	}
	return out, err
}

func (a *API) exceedances(ctx context.Context, in *struct {
	Site string `query:"site" maxLength:"128"`
	Year int    `query:"year" minimum:"2000" maximum:"2200"`
	Walk
}) (*answer[List[Exceedance]], error) {
	sites := a.sites()
	if in.Site != "" {
		s, err := a.site(in.Site)
		if err != nil {
			return nil, err
		}
		sites = []places.Site{s}
	}
	all := []Exceedance{}
	for _, s := range sites {
		year := cmp.Or(in.Year, wib(a.o.Now()).Year())
		list, err := a.o.Book.Exceedances(ctx, s.Code, year)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			all = append(all, Exceedance{Site: e.Site, Quantity: e.Quantity, Period: string(e.Period), Limit: e.Limit, From: wib(e.From), To: wib(e.To),
				Peak: e.Peak, Standard: "PP 22/2021 Lampiran VII", Simulated: s.Simulated,
				Record: "/bukti/" + figures.AssessmentID(e.Site, year, figures.Limit{Quantity: e.Quantity, Period: e.Period, Limit: e.Limit}) + ".json"})
		}
	}
	return pageOf(&in.Walk, all, func(e Exceedance) string {
		return e.From.UTC().Format(time.RFC3339) + "\x00" + e.Site + "\x00" + e.Quantity + "\x00" + e.Period
	})
}

// asBulletin is a bulletin as the public sees it: without who approved it.
func (a *API) asBulletin(b figures.Bulletin, revision bool) Bulletin {
	address := "/buletin/" + b.ID
	out := Bulletin{
		ID: b.ID, At: wib(b.At), Revision: b.Revision, Number: page.Plain(b.Number), Published: wib(b.Published), Agency: page.Plain(b.Agency.Name),
		Signer: page.Plain(b.Agency.Signer), Title: page.Plain(b.Agency.Title), Reason: b.Reason, Figures: []Index{}, Simulated: b.Simulated, Hash: b.Hash,
		Page: address, PDF: address + ".pdf",
	}
	if revision {
		out.PDF = fmt.Sprintf("%s-r%d.pdf", address, b.Revision)
	}
	for _, f := range b.Figures {
		if s, ok := a.o.Places.Site(f.Site); ok && visible(s) {
			out.Figures = append(out.Figures, a.index(f))
		}
	}
	for _, c := range b.Changes {
		if s, ok := a.o.Places.Site(c.Site); ok && visible(s) {
			out.Changes = append(out.Changes, Change{Site: c.Site, Reason: c.Reason, Before: a.index(c.Before), After: a.index(c.After)})
		}
	}
	return out
}

func (a *API) bulletins(ctx context.Context, in *struct {
	Span
	Walk
}) (*answer[List[Bulletin]], error) {
	from, to, err := in.read(a.o.Now().Truncate(time.Second), 7*24*time.Hour, mostHours)
	if err != nil {
		return nil, err
	}
	list, err := a.o.Book.Bulletins(ctx, from, to)
	if err != nil {
		return nil, err
	}
	in.Limit = min(in.Limit, 100) // each holds all stations
	all := []Bulletin{}
	var newest time.Time
	for _, b := range list {
		if b.State == figures.Published {
			if all = append(all, a.asBulletin(b, false)); b.Published.After(newest) {
				newest = b.Published
			}
		}
	}
	out, err := pageOf(&in.Walk, all, func(b Bulletin) string { return b.ID })
	if err == nil {
		out.LastModified = modified(newest)
	}
	return out, err
}

func (a *API) bulletin(ctx context.Context, in *struct {
	ID       string `path:"id" maxLength:"40" example:"2026-11-23-0900"`
	Revision int    `query:"revision" minimum:"-1" maximum:"9999" default:"-1"`
	Shape
}) (*answer[Bulletin], error) {
	const missing = "There is no such bulletin. The list is at " + Prefix + "/bulletins."
	b, err := a.o.Book.Bulletin(ctx, in.ID, in.Revision)
	if err != nil {
		return nil, found(err, missing)
	}
	if b.State != figures.Published {
		return nil, notFound(missing)
	}
	return &answer[Bulletin]{LastModified: modified(b.Published), Body: a.asBulletin(b, in.Revision >= 0)}, nil
}

func (a *API) corrections(ctx context.Context, in *struct {
	Site string `query:"site" maxLength:"128"`
	Span
	Walk
}) (*answer[List[Index]], error) {
	if in.Site != "" {
		if _, err := a.site(in.Site); err != nil {
			return nil, err
		}
	}
	from, to, err := in.read(a.o.Now().Truncate(time.Second).Add(time.Second), 30*24*time.Hour, mostHours)
	if err != nil {
		return nil, err
	}
	list, err := a.o.Book.Corrections(ctx, from, to)
	if err != nil {
		return nil, err
	}
	all := []Index{}
	var newest time.Time
	for _, f := range list {
		if a.shown(f) && (in.Site == "" || f.Site == in.Site) {
			if all = append(all, a.index(f)); f.Published.After(newest) {
				newest = f.Published
			}
		}
	}
	out, err := pageOf(&in.Walk, all, func(i Index) string { return i.Published.UTC().Format("20060102150405.000000000") + i.ID })
	if err == nil {
		out.LastModified = modified(newest)
	}
	return out, err
}

func (a *API) trace(ctx context.Context, in *struct {
	ID string `path:"id" maxLength:"200" example:"ispu-20261126-14-r0-contoh-1"`
	Shape
}) (*answer[Trace], error) {
	const missing = "There is no public figure of this id."
	t, err := a.o.Book.Trace(ctx, in.ID)
	if err != nil {
		return nil, found(err, missing)
	}
	if !a.shown(t.Figure) {
		return nil, notFound(missing)
	}
	out := Trace{Figure: a.index(t.Figure), Rules: t.Rules, RulesSince: wib(t.Since), Articles: t.Articles, Record: "/bukti/" + in.ID + ".json"}
	out.Figure.Class = t.Class
	out.Rules.HCGas = nil // it names all sites, also those that are not public
	if gas, ok := t.Rules.HCGas[t.Figure.Site]; ok {
		out.Rules.HCGas = map[string]string{t.Figure.Site: gas}
	}
	excluded := figures.Exclude(t.Hours, []figures.DatedRules{{Rules: t.Rules}})
	for i, h := range t.Hours {
		hour := TraceHour{Excluded: string(excluded[i]), Quantity: h.Quantity, Unit: unit(h.Quantity), End: wib(h.End), Version: h.Version, Valid: h.Valid, Expected: h.Expected, Rejected: h.Rejected, Gaps: h.Gaps}
		if h.Valid > 0 {
			hour.Mean, hour.Minimum, hour.Maximum = &h.Mean, &h.Min, &h.Max
		}
		out.Hours = append(out.Hours, hour)
	}
	return &answer[Trace]{LastModified: modified(t.Figure.Computed), Body: out}, nil
}
