package dashboards

import (
	"cmp"
	"context"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// airFunctions are what the templates of figures need.
func airFunctions(l page.Lang) template.FuncMap {
	return template.FuncMap{
		"swatch":     chart.Swatch,
		"part":       chart.Part,
		"lineSwatch": chart.LineSwatch,
		"day":        func(t time.Time) template.HTML { return timeOf(t, l.Date(t)) },
		"dayOf":      figures.Day,
		"param":      func(p figures.Parameter) string { return l.Name("q.", string(p)) },
		"add":        func(a, b int) int { return a + b },
	}
}

func timeOf(t time.Time, text string) template.HTML {
	return template.HTML(`<time datetime="` + t.UTC().Format("2006-01-02T15:04:05Z") + `">` + template.HTMLEscapeString(text) + `</time>`)
}

// hourForm writes an hour's end as addresses carry it, in WIB: 2026-11-23-1400,
// as bulletins are named too.
const hourForm = "2006-01-02-1504"

// parseHour reads what hourForm wrote.
func parseHour(s string) (time.Time, bool) {
	t, err := time.ParseInLocation(hourForm, s, page.WIB)
	return t, err == nil && t.Equal(t.Truncate(time.Hour)) && t.Year() > 2000 && t.Year() < 2100
}

// figureView is a figure in words.
type figureView struct {
	OK       bool
	Estimate bool   // of an indicative site: Value is a concentration, and there is no Category
	Value    string // "84", "di atas 500", "24,5 µg/m³", "–"
	Category figures.Category
	Word     string // the category, or that it cannot be judged, or that it is an estimate
	Why      string // why it cannot be judged
	Dominant string
	Judged   string // "2 dari 7 parameter"
	Hours    int    // of the parameter that counts, or of the fullest one
	Trace    string // where its trace stands
	Status   string // sementara, tervalidasi
	Revision int
	Reason   string // of the revision
	End      time.Time
}

func viewFigure(l page.Lang, f figures.Figure, rules figures.Rules) figureView {
	v := figureView{
		OK: f.OK, Estimate: f.Estimate, Value: "–", Word: l.T("index.none"), Hours: 0, End: f.End, Revision: f.Revision,
		Status: l.T(page.Key("status." + string(cmp.Or(f.Status, figures.Provisional)))),
	}
	if f.ID != "" {
		v.Trace = traceURL(l, f.ID)
	}
	if f.Reason != "" {
		v.Reason = l.Name("revision.", f.Reason)
	}
	var fullest, leading figures.Part
	for _, p := range f.Parts {
		if p.OK && (leading.Parameter == "" || p.Parameter == figures.PM25) { // of an estimate
			leading = p
		}
		if p.Hours > fullest.Hours {
			fullest = p
		}
		if f.OK && p.Parameter == f.Index.Dominant {
			v.Hours = p.Hours
		}
	}
	if !f.OK {
		v.Hours = fullest.Hours
		switch {
		case fullest.Hours == 0:
			v.Why = l.T("index.why_none")
		case fullest.Hours < rules.Gates.DayHours:
			v.Why = l.T("index.why_hours", l.Number(float64(fullest.Hours), 0), l.Number(float64(rules.Gates.DayHours), 0))
		case fullest.Age > rules.Gates.NewestHour:
			v.Why = l.T("index.why_old", l.Number(float64(fullest.Age), 0))
		default:
			v.Why = l.T("index.why_other")
		}
		return v
	}
	if f.Estimate {
		v.Value, v.Word = l.T("estimates.value", l.Value(string(leading.Parameter), leading.Mean)), l.T("public.estimate")
		v.Dominant, v.Hours = l.Name("q.", string(leading.Parameter)), leading.Hours
		return v
	}
	v.Category, v.Value, v.Word = f.Index.Category, l.Number(float64(f.Index.Value), 0), category.Word(l, f.Index.Category)
	if f.Index.Above {
		v.Value = l.T("index.above")
	}
	v.Dominant = l.Name("q.", string(f.Index.Dominant))
	v.Judged = l.T("index.judged", l.Number(float64(f.Index.Judged), 0))
	return v
}

// mark is what stands on a map: among indices no concentration.
func (v figureView) mark() string {
	if v.Estimate && v.OK {
		return "≈"
	}
	return v.Value
}

func (d *Dashboards) rules(ctx context.Context, t time.Time) (figures.DatedRules, error) {
	all, err := d.o.Figures.Rules(ctx)
	return figures.InForce(all, t), err
}

// mayAir reports whether the visitor has a role for a site's air.
func mayAir(u *account.User, least account.Role, s places.Site) bool {
	return u != nil && u.May(least, s.District, telemetry.KindAir)
}

func siteURL(l page.Lang, code string) string { return l.Path("/dinas/lokasi/" + url.PathEscape(code)) }

func districtURL(l page.Lang, code string) string {
	return l.Path("/dinas/wilayah/" + url.PathEscape(code))
}

// shortDistrict splits a district's name from its prefix, which is never left out:
// four names stand twice.
func shortDistrict(name string) (prefix, rest string) {
	if rest, ok := strings.CutPrefix(name, "Kabupaten "); ok {
		return "Kab.", rest
	}
	if rest, ok := strings.CutPrefix(name, "Kota "); ok {
		return "Kota", rest
	}
	return "", name
}

func districtName(code string) string {
	if d, ok := places.FindDistrict(code); ok {
		return d.Name
	}
	return code
}

// stationRow is one station of a list.
type stationRow struct {
	Code, Name, URL       string
	District, DistrictURL string
	Class                 string
	Figure                figureView
	Simulated             bool
	Lat, Lon              float64
	Index                 int
	of                    figures.Figure // for the order
	First                 string         // the row's id, if it is the first of its category
}

// stations are all stations of air at one time, as one visitor may see them.
type stations struct {
	Ranked    []stationRow // judged, the highest first
	Unjudged  []stationRow
	Estimates []stationRow // of indicative sites
	silent    []stationRow // of all: without a valid hour that is at most one hour old
	reporting int          // have a valid hour that is at most one hour old
	hours     float64      // share of valid hours of the last 24, over all parameters
	simulated bool
	at        map[string]figures.Figure // of all of them
	rows      map[string]stationRow
	districts map[string][]string // a district's sites
}

func (s stations) Count() int { return len(s.Ranked) + len(s.Unjudged) + len(s.Estimates) }

// stationsAt reads every station's hourly figure of one time.
func (d *Dashboards) stationsAt(ctx context.Context, l page.Lang, u *account.User, end time.Time, in func(places.Site) bool) (stations, error) {
	out := stations{at: map[string]figures.Figure{}, rows: map[string]stationRow{}, districts: map[string][]string{}}
	all, err := d.o.Figures.Everywhere(ctx, figures.Hourly, end)
	if err != nil {
		return out, err
	}
	rules, err := d.rules(ctx, end)
	if err != nil {
		return out, err
	}
	hours, of := 0, 0
	for _, code := range slices.Sorted(maps.Keys(all)) {
		f := all[code]
		site, ok := d.o.Places.Site(code)
		if !ok || !mayAir(u, account.Viewer, site) || (in != nil && !in(site)) {
			continue
		}
		row := stationRow{
			Code: code, Name: site.Name, URL: siteURL(l, code), District: districtName(site.District), DistrictURL: districtURL(l, site.District),
			Class: l.T(page.Key("class." + string(site.ClassAt(end)))), Figure: viewFigure(l, f, rules.Rules), Simulated: f.Simulated, Lat: site.Lat, Lon: site.Lon,
		}
		out.at[code], out.districts[site.District] = f, append(out.districts[site.District], code)
		fresh := false
		for _, p := range f.Parts {
			hours, of = hours+p.Hours, of+24
			fresh = fresh || (p.Hours > 0 && p.Age <= 1)
		}
		if fresh {
			out.reporting++
		} else {
			out.silent = append(out.silent, row)
		}
		out.simulated = out.simulated || f.Simulated
		if f.OK && !f.Estimate {
			row.Index = f.Index.Value
		}
		row.of = f
		out.rows[code] = row
		switch {
		case f.OK && f.Estimate:
			out.Estimates = append(out.Estimates, row)
		case f.OK:
			out.Ranked = append(out.Ranked, row)
		default:
			out.Unjudged = append(out.Unjudged, row)
		}
	}
	if out.simulated && len(out.at) > 0 && !slices.ContainsFunc(slices.Collect(maps.Values(out.at)), func(f figures.Figure) bool { return !f.Simulated }) {
		for i := range out.Ranked { // the page's head says it once for all
			out.Ranked[i].Simulated = false
		}
	}
	if of > 0 {
		out.hours = float64(hours) / float64(of)
	}
	slices.SortStableFunc(out.Ranked, func(a, b stationRow) int { return figures.Compare(a.of, b.of) })
	return out, nil
}
