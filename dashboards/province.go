package dashboards

import (
	"context"
	"fmt"
	"html/template"
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
)

// The maps of the province page, as addresses carry them.
const (
	mapHexagons = "segi-enam"
	mapAreas    = "batas" // the agency's own boundaries
	mapPlain    = "titik"
)

type provinceBody struct {
	Hour     stepperView
	Counts   []categoryCount
	Map      template.HTML
	Maps     []page.Link
	Street   streetView
	Stations stations
	Ranked   []stationRow // the first of Stations.Ranked, unless all are asked for
	Unjudged []stationRow
	All      string // where all stand; "" = here
	Tiles    provinceTiles
	Empty    bool
	Updates  *liveView // nil: a past hour does not change
}

// maxListed is how many stations the province's lists show unless all are asked
// for.
const maxListed = 50

// stepperView is the hour that a page shows, and how to go to another.
type stepperView struct {
	End                 time.Time
	Live                bool // the newest there is
	Before, After       string
	DayBefore, DayAfter string
	Newest              string
	Action, Day, Hour   string // of the form; Hour "14"
	Hours               []string
	Keep                []hidden // what else the form carries
}

type hidden struct{ Name, Value string }

// categoryCount is how many stations have a category.
type categoryCount struct {
	Category figures.Category
	Word     string
	Stations int
	URL      string // where they are listed; "" = nowhere
}

type provinceTiles struct {
	Reporting, Stations int
	Hours               string // share of valid hours
	Alerts              []severityCount
	AlertsFailed        bool
	Ledger              fragment
	Bulletin            bulletinTile
	Corrections         int
	CorrectionsURL      string
}

type severityCount struct {
	Severity Severity
	Class    string
	Count    int
}

// stepper makes the header of a page that shows one hour.
func (d *Dashboards) stepper(here string, end time.Time, live bool, keep ...hidden) stepperView {
	to := func(t time.Time) string {
		q := "?" + query("jam", t.In(page.WIB).Format(hourForm))
		for _, k := range keep {
			q += "&" + query(k.Name, k.Value)
		}
		return here + q
	}
	v := stepperView{
		End: end, Live: live, Before: to(end.Add(-time.Hour)), DayBefore: to(end.AddDate(0, 0, -1)),
		Action: here, Day: end.In(page.WIB).Format(time.DateOnly), Hour: end.In(page.WIB).Format("15"), Keep: keep,
	}
	for h := range 24 {
		v.Hours = append(v.Hours, time.Date(2000, 1, 1, h, 0, 0, 0, time.UTC).Format("15"))
	}
	newest := d.o.Now().Truncate(time.Hour)
	if !live && !end.Add(time.Hour).After(newest) {
		v.After = to(end.Add(time.Hour))
	}
	if !live && !end.AddDate(0, 0, 1).After(newest) {
		v.DayAfter = to(end.AddDate(0, 0, 1))
	}
	if !live {
		v.Newest = here
		for i, k := range keep {
			v.Newest += map[bool]string{true: "?", false: "&"}[i == 0] + query(k.Name, k.Value)
		}
	}
	return v
}

// hourOf finds the hour that an address asks for: jam=2026-11-23-1400, or
// tanggal=2026-11-23 and pukul=14 as the form sends them, or else the newest hour
// for which there are figures.
func (d *Dashboards) hourOf(r *http.Request) (end time.Time, live bool, err error) {
	q := r.URL.Query()
	asked := q.Get("jam")
	if day := q.Get("tanggal"); asked == "" && day != "" {
		asked = day + "-" + q.Get("pukul") + "00"
	}
	newest := d.o.Now().Truncate(time.Hour)
	if asked != "" {
		t, ok := parseHour(asked)
		if !ok {
			return end, false, problem{status: http.StatusBadRequest}
		}
		if t.After(newest) {
			t = newest
		}
		return t, false, nil
	}
	for back := range 3 { // figures come some minutes after their hour
		end = newest.Add(-time.Duration(back) * time.Hour)
		all, err := d.o.Figures.Everywhere(r.Context(), figures.Hourly, end)
		if err != nil {
			return end, true, err
		}
		if len(all) > 0 {
			return end, true, nil
		}
	}
	return newest, true, nil
}

// province is /dinas/provinsi.
func (d *Dashboards) province(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	q := r.URL.Query()
	u, here := userOf(r), lang.Path(path)
	if layer := q.Get("lapisan"); layer != "" && layer != "udara" {
		return problem{status: http.StatusNotFound}
	}
	end, live, err := d.hourOf(r)
	if err != nil {
		return err
	}
	snap := d.snapshot(r.Context(), u)
	d.report(requestID(r), snap)
	body := provinceBody{}
	if body.Stations, err = d.stationsAt(r.Context(), lang, u, end, nil); err != nil {
		return err
	}
	keep := []hidden{{"lapisan", "udara"}}
	areas := d.outlines()
	kind := q.Get("peta")
	if kind != mapPlain && (kind != mapAreas || len(areas) == 0) {
		kind = mapHexagons
	}
	if kind != mapHexagons {
		keep = append(keep, hidden{"peta", kind})
	}
	body.Hour = d.stepper(here, end, live, keep...)
	body.Ranked, body.Unjudged = body.Stations.Ranked, body.Stations.Unjudged
	if !q.Has("semua") && max(len(body.Ranked), len(body.Unjudged)) > maxListed {
		body.Ranked, body.Unjudged = body.Ranked[:min(len(body.Ranked), maxListed)], body.Unjudged[:min(len(body.Unjudged), maxListed)]
		all := r.URL.Query()
		all.Set("semua", "1")
		body.All = here + "?" + all.Encode() + "#s-urutan"
	}
	body.Counts = counts(lang, body.Stations, body.Ranked, strings.TrimSuffix(body.All, "#s-urutan"))
	if live {
		updates := liveOf(lang, snap, []string{"angka", "buku"}, here+searchOf(r))
		body.Updates = &updates
	}
	body.Empty = body.Stations.Count() == 0
	for _, m := range []string{mapHexagons, mapAreas, mapPlain} {
		if m == mapAreas && len(areas) == 0 {
			continue
		}
		to := here + "?lapisan=udara&" + query("peta", m)
		if !live {
			to += "&" + query("jam", end.In(page.WIB).Format(hourForm))
		}
		body.Maps = append(body.Maps, page.Link{URL: to, Text: lang.T(page.Key("map." + m)), Current: m == kind})
	}
	switch kind {
	case mapHexagons:
		body.Map = hexagonMap(lang, "peta", body.Stations, end).SVG()
	default:
		body.Map = plainMap(lang, "peta", body.Stations, end, areas, kind == mapAreas).SVG()
	}
	body.Street = d.street(lang, end.In(page.WIB).Format(hourForm))
	body.Tiles = d.provinceTiles(r, lang, snap, body.Stations)
	d.allowTiles(w)
	frame := d.frame(r, lang.T("province.title"))
	frame.Simulated = body.Stations.simulated
	return d.send(w, r, http.StatusOK, "province", page.View{Frame: frame, Body: body})
}

// counts are the stations of each category, with links to the first of them in the
// list, or in the whole list if the one shown ends before.
func counts(l page.Lang, s stations, shown []stationRow, all string) []categoryCount {
	var out []categoryCount
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		count := categoryCount{Category: c, Word: category.Word(l, c)}
		for i, row := range s.Ranked {
			if row.Figure.Category != c {
				continue
			}
			if count.Stations++; count.Stations > 1 {
				continue
			}
			s.Ranked[i].First = fmt.Sprintf("kategori-%d", c)
			if count.URL = "#" + s.Ranked[i].First; i >= len(shown) {
				count.URL = all + count.URL
			}
		}
		out = append(out, count)
	}
	return out
}

// areaSays tells a district's figure in one sentence.
func (s stations) areaSays(l page.Lang, code, name string) (figures.Area, string) {
	a := figures.AreaOf(s.districts[code], s.at)
	switch {
	case a.Of == 0:
		return a, l.T("district.says_none", name)
	case !a.OK:
		return a, l.T("district.says_unjudged", name, l.Number(float64(a.Of), 0))
	}
	top := s.rows[a.Highest.Site]
	return a, l.T("district.says", name, top.Figure.Value, top.Figure.Word, page.Plain(top.Name), l.Number(float64(a.Valid), 0), l.Number(float64(a.Of), 0))
}

// hexagonMap draws the 35 districts.
func hexagonMap(l page.Lang, id string, s stations, end time.Time) chart.Hexagons {
	h := chart.Hexagons{ID: id, Title: l.T("map.title", l.Moment(end)), Desc: l.T("map.desc")}
	for _, district := range places.Districts() {
		a, says := s.areaSays(l, district.Code, district.Name)
		prefix, name := shortDistrict(district.Name)
		c := chart.Hexagon{Row: district.Row, Col: district.Col, Prefix: prefix, Name: name, Value: "–", URL: districtURL(l, district.Code), Label: says}
		switch top := s.rows[a.Highest.Site].Figure; {
		case a.OK:
			c.Value, c.Word, c.Category = top.Value, top.Word, top.Category
			if a.Highest.Index.Above {
				c.Value = ">500"
			}
		case a.Of > 0:
			c.Word = l.T("index.none_short")
		default:
			c.Word = l.T("map.no_station")
		}
		h.Cells = append(h.Cells, c)
	}
	return h
}

// plainMap draws stations where they stand, over the agency's boundaries if there
// are any.
func plainMap(l page.Lang, id string, s stations, end time.Time, areas []places.Area, fill bool) chart.Map {
	degrees := func(mark page.Key) func(float64) string {
		return func(v float64) string {
			if v < 0 {
				v = -v
			}
			return l.Number(v, 1) + "° " + l.T(mark)
		}
	}
	m := chart.Map{ID: id, Title: l.T("map.title", l.Moment(end)), Desc: l.T("map.desc_plain"), Longitude: degrees("map.east"), Latitude: degrees("map.south")}
	for _, b := range areas {
		a, says := s.areaSays(l, b.Code, districtName(b.Code))
		area := chart.Area{Path: b.Path, Box: b.Box, URL: districtURL(l, b.Code), Label: says}
		if fill && a.OK {
			area.Category = a.Highest.Index.Category
		}
		m.Areas = append(m.Areas, area)
	}
	m.Names = s.names()
	for _, list := range [][]stationRow{s.Unjudged, s.Estimates, s.Ranked} {
		for _, row := range slices.Backward(list) { // the highest on top
			if row.Lat == 0 && row.Lon == 0 {
				continue
			}
			m.Spots = append(m.Spots, chart.Spot{
				Position: chart.Position{Lon: row.Lon, Lat: row.Lat}, Text: row.Figure.mark(), URL: row.URL,
				Label: page.Plain(row.Name) + ": " + row.Figure.Value + " " + row.Figure.Word, Category: row.Figure.Category,
			})
		}
	}
	return m
}

// names puts each district's name at its middle, or below a station that stands
// there.
func (s stations) names() []chart.Place {
	var out []chart.Place
	for _, district := range places.Districts() {
		prefix, name := shortDistrict(district.Name)
		at := chart.Position{Lon: district.Lon, Lat: district.Lat}
		for _, row := range s.rows {
			if math.Abs(row.Lat-district.Lat) < 0.09 && math.Abs(row.Lon-district.Lon) < 0.16 && row.Lat-0.1 < at.Lat {
				at.Lat = row.Lat - 0.1
			}
		}
		out = append(out, chart.Place{Position: at, Text: prefix + " " + name})
	}
	return out
}

// provinceTiles are the numbers below the map. A source that fails costs its tile.
func (d *Dashboards) provinceTiles(r *http.Request, l page.Lang, snap snapshot, s stations) provinceTiles {
	v := provinceTiles{
		Reporting: s.reporting, Stations: s.Count(), Hours: l.Number(100*s.hours, 0),
		Ledger: snap.fragment("buku", ledgerView{snap.total, snap.totalErr != nil}), AlertsFailed: snap.alertsErr != nil,
		CorrectionsURL: l.Path("/ralat"),
	}
	v.Alerts = bySeverity(snap.alerts)
	ctx, cancel := context.WithTimeout(r.Context(), askFor)
	defer cancel()
	v.Bulletin = d.bulletinTile(ctx, l, requestID(r))
	if corrections, err := d.o.Figures.Corrections(ctx, snap.now.AddDate(0, 0, -1), snap.now); err != nil {
		d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", "corrections", "err", err)
	} else {
		v.Corrections = len(corrections)
	}
	return v
}

// bySeverity counts alerts, the gravest first.
func bySeverity(alerts []Alert) []severityCount {
	var out []severityCount
	for _, severity := range []Severity{Critical, Warning, Information} {
		n := 0
		for _, a := range alerts {
			if a.Severity == severity {
				n++
			}
		}
		if n > 0 {
			out = append(out, severityCount{severity, alertClass(severity), n})
		}
	}
	return out
}

func alertClass(s Severity) string {
	switch s {
	case Critical:
		return "bad"
	case Information:
		return "note"
	}
	return "warn"
}
