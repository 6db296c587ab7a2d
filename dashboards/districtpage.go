package dashboards

import (
	"cmp"
	"context"
	"errors"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// area is what a page of a district or of one of its subdistricts is about.
type area struct {
	district places.District
	code     string // of the subdistrict; "" = the whole district
	name     string
}

func (a area) has(s places.Site) bool {
	return s.District == a.district.Code && (a.code == "" || s.Subdistrict == a.code)
}

type areaBody struct {
	Name         string
	Crumbs       []page.Link // what it lies in, the widest first
	Hour         stepperView
	Air          bool // the visitor may see the air here
	Says         string
	Top          *stationRow
	Low          string
	Stations     stations
	Reporting    int
	Complete     string // share of valid hours, per cent
	Exceeded     []exceedanceRow
	Validator    bool
	Backlog      int
	Others       fragment  // []kindBlock of waste, energy, water: what is measured now
	Updates      *liveView // nil: a past hour does not change
	Alerts       fragment
	Notice       notice
	Gateways     []gatewayView
	Annotations  []annotationRow
	Map          template.HTML
	Subdistricts []subdistrictRow
	Report       string // the monthly report; "" = the visitor may not
	Failed       []string
	Empty        bool
}

// subdistrictRow is a subdistrict in which there are sites.
type subdistrictRow struct {
	Name, URL string
	Sites     int
	Top       *stationRow // the highest that can be judged
}

// exceedanceRow counts a station's episodes above a limit of PP 22/2021 this year.
type exceedanceRow struct {
	Station, URL string
	Quantity     string
	Period       figures.Period
	Limit, Peak  float64
	Count        int
	Trace        string
	Last         time.Time
}

// kindBlock is what a district measures of one kind, as it is now.
type kindBlock struct {
	Kind string
	Rows []kindRow
}

type kindRow struct {
	Place, URL string
	valueView
}

type annotationRow struct {
	Site, URL string
	figures.Annotation
}

// annotationDays is how far back a district's page shows remarks.
const annotationDays = 30

// district is /dinas/wilayah/{district}.
func (d *Dashboards) district(w http.ResponseWriter, r *http.Request) error {
	of, ok := places.FindDistrict(r.PathValue("district"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	return d.sendArea(w, r, area{district: of, name: of.Name})
}

// subdistrict is /dinas/wilayah/{district}/kecamatan/{subdistrict}: one that is on
// the map, or in which there is a site.
func (d *Dashboards) subdistrict(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	of, ok := places.FindDistrict(r.PathValue("district"))
	here := area{district: of, code: r.PathValue("subdistrict")}
	if _, drawn := d.o.Places.Boundaries(places.LevelSubdistrict).Find(here.code); !ok || !strings.HasPrefix(here.code, of.Code) || (!drawn && !slices.ContainsFunc(d.o.Places.Sites(), here.has)) {
		return problem{status: http.StatusNotFound}
	}
	here.name = d.subdistrictName(lang, here.code)
	return d.sendArea(w, r, here)
}

// subdistrictName names a subdistrict: as the map does, or by its code.
func (d *Dashboards) subdistrictName(l page.Lang, code string) string {
	if a, ok := d.o.Places.Boundaries(places.LevelSubdistrict).Find(code); ok && a.Name != "" {
		return l.T("district.subdistrict", page.Plain(a.Name))
	}
	return l.T("district.subdistrict", code)
}

func subdistrictURL(l page.Lang, district, code string) string {
	return districtURL(l, district) + "/kecamatan/" + url.PathEscape(code)
}

func (d *Dashboards) sendArea(w http.ResponseWriter, r *http.Request, here area) error {
	lang, path := page.Split(r.URL.Path)
	u, ctx, code := userOf(r), r.Context(), here.district.Code
	body := areaBody{
		Name: here.name, Crumbs: []page.Link{{URL: lang.Path("/dinas/provinsi"), Text: lang.T("province.title")}},
		Air: u.May(account.Viewer, code, telemetry.KindAir), Validator: u.May(account.Validator, code, telemetry.KindAir),
		Notice: noticeOf(lang, r.URL.Query().Get("pesan")),
	}
	if here.code != "" {
		body.Crumbs = append(body.Crumbs, page.Link{URL: districtURL(lang, code), Text: here.district.Name})
	}
	part := func(what page.Key, err error) {
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", string(what), "district", code, "subdistrict", here.code, "err", err)
			body.Failed = append(body.Failed, lang.T(what))
		}
	}
	snap := d.snapshot(ctx, u)
	d.report(requestID(r), snap)
	end, live, err := d.hourOf(r)
	if err != nil {
		return err
	}
	body.Hour = d.stepper(lang.Path(path), end, live)
	if body.Air {
		body.Report = reportURL(lang, code, pastMonths(snap.now, 1)[0])
		body.Stations, err = d.stationsAt(ctx, lang, u, end, here.has)
		part("kind.air", err)
		body.Reporting, body.Complete = body.Stations.reporting, lang.Number(100*body.Stations.hours, 0)
		var a figures.Area
		a, body.Says = body.Stations.areaSays(lang, code, here.name)
		if a.OK {
			top := body.Stations.rows[a.Highest.Site]
			if body.Top = &top; a.Valid > 1 {
				body.Low = lang.Number(float64(a.Lowest.Index.Value), 0)
			}
		}
		body.Exceeded, err = d.exceeded(r, lang, end, here.has)
		part("district.exceeded", err)
		if body.Validator {
			body.Backlog, err = d.backlog(r, here.has)
			part("today.backlog", err)
		}
	}
	only := snap.of(d.gatewaysIn(here, snap.now))
	body.Alerts = only.fragment("peringatan", viewAlerts(lang, only, telemetry.Node{}))
	body.Alerts.Back, body.Alerts.MayAct = lang.Path(path), u.May(account.Operator, code, account.SomeKind)
	for _, g := range only.gateways {
		body.Gateways = append(body.Gateways, viewGateway(lang, g, nil, nil, snap.now))
	}
	others, err := d.kindsIn(ctx, lang, u, only)
	part("network.gateways", err)
	element := "k-" + cmp.Or(here.code, code)
	body.Others = only.fragment(element, others)
	if live {
		updates := liveOf(lang, snap, []string{"angka", element}, lang.Path(path))
		body.Updates = &updates
	}
	for _, s := range d.o.Places.Sites() {
		if !here.has(s) {
			continue
		}
		notes, err := d.o.Figures.Annotations(ctx, s.Code, snap.now.AddDate(0, 0, -annotationDays), snap.now)
		part("annotation.title", err)
		for _, n := range notes {
			body.Annotations = append(body.Annotations, annotationRow{s.Name, siteURL(lang, s.Code), n})
		}
	}
	slices.SortFunc(body.Annotations, func(a, b annotationRow) int { return b.From.Compare(a.From) })
	body.Annotations = body.Annotations[:min(len(body.Annotations), 20)]
	if here.code == "" {
		body.Subdistricts = d.subdistricts(lang, here.district, body.Stations)
	}
	body.Empty = body.Stations.Count() == 0 && len(body.Gateways) == 0
	body.Map = d.areaMap(lang, here, body.Stations, end)
	frame := d.frame(r, here.name)
	frame.Simulated = body.Stations.simulated || only.simulated()
	return d.send(w, r, http.StatusOK, "district", page.View{Frame: frame, Body: body})
}

// kindsIn lists what gateways measure now of the kinds that have no figures.
func (d *Dashboards) kindsIn(ctx context.Context, l page.Lang, u *account.User, only snapshot) (out []kindBlock, failed error) {
	kinds := map[telemetry.Kind][]kindRow{}
	for _, g := range only.gateways {
		values, err := d.values(ctx, u, g)
		failed = errors.Join(failed, err)
		for _, v := range values {
			if v.Kind == telemetry.KindWaste || v.Kind == telemetry.KindEnergy || v.Kind == telemetry.KindWater {
				kinds[v.Kind] = append(kinds[v.Kind], kindRow{display(g), gatewayURL(l, g.Node), viewValue(l, g.Node, v, only.now)})
			}
		}
	}
	for _, k := range []telemetry.Kind{telemetry.KindWaste, telemetry.KindEnergy, telemetry.KindWater} {
		if rows := kinds[k]; len(rows) > 0 {
			slices.SortStableFunc(rows, func(a, b kindRow) int {
				return cmp.Or(rank(a.Quantity)-rank(b.Quantity), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.URL, b.URL))
			})
			out = append(out, kindBlock{l.T(page.Key("kind." + string(k))), rows[:min(len(rows), 40)]})
		}
	}
	return out, failed
}

// gatewaysIn tells which gateways are an area's: a district's by their own word, a
// subdistrict's by the sites that they measure at.
func (d *Dashboards) gatewaysIn(here area, now time.Time) func(Gateway) bool {
	if here.code == "" {
		return func(g Gateway) bool { return g.District == here.district.Code }
	}
	nodes := map[telemetry.Node]bool{}
	for _, s := range d.o.Places.Sites() {
		if here.has(s) {
			for _, n := range d.o.Places.Nodes(s.Code, now, now) {
				nodes[n] = true
			}
		}
	}
	return func(g Gateway) bool { return nodes[g.Node] }
}

// subdistricts lists those of a district in which there are sites, by code.
func (d *Dashboards) subdistricts(l page.Lang, of places.District, at stations) []subdistrictRow {
	rows := map[string]*subdistrictRow{}
	for _, s := range d.o.Places.Sites() {
		if s.District != of.Code || s.Subdistrict == "" {
			continue
		}
		row := rows[s.Subdistrict]
		if row == nil {
			row = &subdistrictRow{Name: d.subdistrictName(l, s.Subdistrict), URL: subdistrictURL(l, of.Code, s.Subdistrict)}
			rows[s.Subdistrict] = row
		}
		row.Sites++
		if i := slices.IndexFunc(at.Ranked, func(x stationRow) bool { return x.Code == s.Code }); i >= 0 && (row.Top == nil || figures.Higher(at.Ranked[i].of, row.Top.of)) {
			row.Top = &at.Ranked[i]
		}
	}
	var out []subdistrictRow
	for _, code := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, *rows[code])
	}
	return out
}

// areaMap draws an area's stations where they stand, "" if that tells nothing.
func (d *Dashboards) areaMap(l page.Lang, here area, at stations, end time.Time) template.HTML {
	outlines := slices.DeleteFunc(slices.Clone(d.outlines()), func(a places.Area) bool { return a.Code != here.district.Code })
	if here.code != "" || (at.Count() < 2 && len(outlines) == 0) {
		return ""
	}
	m := plainMap(l, "peta", at, end, outlines, false)
	m.Names = nil
	return m.SVG()
}

// exceeded sums up this year's episodes of the sites that the visitor may see.
func (d *Dashboards) exceeded(r *http.Request, l page.Lang, at time.Time, in func(places.Site) bool) ([]exceedanceRow, error) {
	u := userOf(r)
	var out []exceedanceRow
	for _, s := range d.o.Places.Sites() {
		if !in(s) || !mayAir(u, account.Viewer, s) {
			continue
		}
		all, err := d.o.Figures.Exceedances(r.Context(), s.Code, at.In(page.WIB).Year())
		if err != nil {
			return out, err
		}
		rows := map[figures.Limit]*exceedanceRow{}
		for _, e := range all {
			key := figures.Limit{Quantity: e.Quantity, Period: e.Period, Limit: e.Limit}
			row := rows[key]
			if row == nil {
				row = &exceedanceRow{Station: s.Name, URL: siteURL(l, s.Code), Quantity: e.Quantity, Period: e.Period, Limit: e.Limit}
				row.Trace = traceURL(l, figures.AssessmentID(s.Code, at.In(page.WIB).Year(), key))
				rows[key] = row
			}
			row.Count++
			if e.To.After(row.Last) {
				row.Last = e.To
			}
			row.Peak = max(row.Peak, e.Peak)
		}
		for _, row := range rows {
			out = append(out, *row)
		}
	}
	slices.SortFunc(out, func(a, b exceedanceRow) int {
		if c := b.Count - a.Count; c != 0 {
			return c
		}
		return b.Last.Compare(a.Last)
	})
	return out, nil
}
