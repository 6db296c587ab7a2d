package dashboards

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// reportMonths is how many months, this one included, the page of reports offers.
const reportMonths = 13

// ofDistrictAir asks for the role for the air of the path's {district}.
func ofDistrictAir(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	code, _, err := ofDistrict(d, r)
	return code, telemetry.KindAir, err
}

func reportURL(l page.Lang, district string, month time.Time) string {
	return l.Path("/dinas/laporan/" + district + "/" + month.In(page.WIB).Format("2006-01"))
}

type reportsBody struct {
	Action    string
	Districts []choice
	Months    []choice
	Wrong     bool // what was chosen does not exist
	Rows      []reportsRow
}

// reportsRow leads to a district's newest reports.
type reportsRow struct {
	Name, URL string
	Stations  int
	Months    []page.Link
}

// reports is /dinas/laporan: which district, which month.
func (d *Dashboards) reports(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	q, now, body := r.URL.Query(), d.o.Now(), reportsBody{Action: lang.Path(path)}
	months := append([]time.Time{pastMonths(now, 1)[0].AddDate(0, 1, 0)}, pastMonths(now, reportMonths-1)...)
	if q.Has("wilayah") || q.Has("bulan") {
		month, err := time.ParseInLocation("2006-01", q.Get("bulan"), page.WIB)
		if _, known := places.FindDistrict(q.Get("wilayah")); known && err == nil {
			http.Redirect(w, r, reportURL(lang, q.Get("wilayah"), month), http.StatusSeeOther)
			return nil
		}
		body.Wrong = true
	}
	sites, err := d.airSites(r, account.Viewer)
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, s := range sites {
		count[s.District]++
	}
	for i, m := range months {
		body.Months = append(body.Months, choice{m.Format("2006-01"), lang.Month(m), i == 1})
	}
	for _, x := range places.Districts() {
		if count[x.Code] == 0 {
			continue
		}
		body.Districts = append(body.Districts, choice{x.Code, x.Name, x.Code == q.Get("wilayah")})
		row := reportsRow{Name: x.Name, URL: districtURL(lang, x.Code), Stations: count[x.Code]}
		for _, m := range months[:3] {
			row.Months = append(row.Months, page.Link{URL: reportURL(lang, x.Code, m), Text: lang.Month(m)})
		}
		body.Rows = append(body.Rows, row)
	}
	frame := d.frame(r, lang.T("monthly.list"))
	frame.Simulated = slices.ContainsFunc(sites, func(s places.Site) bool { return s.Simulated })
	return d.send(w, r, http.StatusOK, "reports", page.View{Frame: frame, Body: body})
}

type monthlyBody struct {
	Agency        figures.Agency
	Name, Month   string
	Back, All     string
	Before, After string
	XLSX, CSV     string
	Running       bool // the month has not ended
	Until         time.Time
	Share         string // of judged days from which there is a mean, per cent
	Categories    []categoryCount
	Rows          []monthlyRow
	Open          int // stations whose month nobody has closed yet
}

// monthlyRow is one station's month.
type monthlyRow struct {
	Site       places.Site
	Sum        figures.MonthSummary
	URL, Class string
	Mean       string
	Top        figureView
	Counts     []int // days by category, from Baik on; nil of an estimate
	Exceeded   int   // episodes that began in the month
	Complete   float64
	Status     figures.Status
	By         string
	At         time.Time
}

// monthOf reads what a monthly report is about: the district and the month's first
// instant, and up to when it goes.
func (d *Dashboards) monthOf(r *http.Request) (of places.District, from, to time.Time, err error) {
	of, ok := places.FindDistrict(r.PathValue("district"))
	from, to, err = figures.MonthSpan(r.PathValue("month"))
	now := d.o.Now()
	if !ok || err != nil || !from.Before(now) || from.Year() < 2000 {
		return of, from, to, problem{status: http.StatusNotFound}
	}
	if to.After(now) {
		to = figures.Day(now) // the days that have ended
	}
	return of, from, to, nil
}

// monthlyRows sums up the month of each station of a district, those with an index
// first.
func (d *Dashboards) monthlyRows(r *http.Request, l page.Lang, of places.District, from, to time.Time) ([]monthlyRow, figures.Rules, error) {
	ctx := r.Context()
	sites, err := d.airSites(r, account.Viewer)
	if err != nil {
		return nil, figures.Rules{}, err
	}
	rules, err := d.rules(ctx, to)
	if err != nil {
		return nil, rules.Rules, err
	}
	var out []monthlyRow
	days := int(to.Sub(from).Hours() / 24)
	for _, s := range sites {
		if s.District != of.Code {
			continue
		}
		list, err := d.o.Figures.Span(ctx, figures.Daily, s.Code, from, to)
		if err != nil {
			return nil, rules.Rules, err
		}
		if len(list) == 0 {
			continue // the station was not there
		}
		estimated := false
		for i := range list { // a concentration, no index
			estimated = estimated || list[i].Estimate && list[i].OK
			list[i].OK = list[i].OK && !list[i].Estimate
		}
		sum := figures.SummariseMonth(list, days, rules.Rules.YearShare)
		sum.Estimate = estimated && sum.Judged == 0
		row := monthlyRow{Site: s, Sum: sum, URL: siteURL(l, s.Code), Class: l.T(page.Key("class." + string(s.ClassAt(to)))), Mean: "–", Status: figures.Provisional}
		if !sum.Estimate {
			row.Counts = sum.Categories[figures.Baik:]
		}
		if sum.Enough {
			row.Mean = l.Number(sum.Mean, 0)
		}
		if sum.Highest.OK {
			row.Top = viewFigure(l, sum.Highest, rules.Rules)
		}
		if sum.HoursOf > 0 {
			row.Complete = 100 * float64(sum.Hours) / float64(sum.HoursOf)
		}
		for year := from.In(page.WIB).Year(); year <= to.Add(-time.Second).In(page.WIB).Year(); year++ {
			all, err := d.o.Figures.Exceedances(ctx, s.Code, year)
			if err != nil {
				return nil, rules.Rules, err
			}
			for _, e := range all {
				if e.From.After(from) && !e.From.After(to) {
					row.Exceeded++
				}
			}
		}
		months, err := d.o.Figures.Months(ctx, s.Code)
		if err != nil {
			return nil, rules.Rules, err
		}
		name := from.In(page.WIB).Format("2006-01")
		if i := slices.IndexFunc(months, func(m figures.Month) bool { return m.Month == name }); i >= 0 {
			row.Status, row.By, row.At = months[i].Status, months[i].By, months[i].At
		}
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(a, b monthlyRow) int {
		return cmp.Or(boolCompare(a.Sum.Estimate, b.Sum.Estimate), figures.Compare(a.Sum.Highest, b.Sum.Highest))
	})
	return out, rules.Rules, nil
}

// monthly is /dinas/laporan/{district}/{month}.
func (d *Dashboards) monthly(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	of, from, to, err := d.monthOf(r)
	if err != nil {
		return err
	}
	rows, rules, err := d.monthlyRows(r, lang, of, from, to)
	if err != nil {
		return err
	}
	here, first := lang.Path(path), from.In(page.WIB)
	body := monthlyBody{
		Name: of.Name, Month: lang.Month(first), Back: districtURL(lang, of.Code), All: lang.Path("/dinas/laporan"), Before: reportURL(lang, of.Code, first.AddDate(0, -1, 0)),
		XLSX: here + "/berkas?bentuk=xlsx", CSV: here + "/berkas?bentuk=csv",
		Running: !to.Equal(first.AddDate(0, 1, 0)), Until: to, Share: lang.Number(100*rules.YearShare, 0), Rows: rows,
	}
	if next := first.AddDate(0, 1, 0); next.Before(d.o.Now()) {
		body.After = reportURL(lang, of.Code, next)
	}
	if body.Agency, err = d.o.Figures.Agency(r.Context()); err != nil {
		return err
	}
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		body.Categories = append(body.Categories, categoryCount{Category: c, Word: category.Word(lang, c)})
	}
	for _, row := range rows {
		if row.Status != figures.Validated {
			body.Open++
		}
	}
	frame := d.frame(r, lang.T("monthly.of", of.Name, body.Month))
	frame.Simulated = slices.ContainsFunc(rows, func(x monthlyRow) bool { return x.Sum.Simulated })
	return d.send(w, r, http.StatusOK, "monthly", page.View{Frame: frame, Body: body})
}

// monthlyFile is the report as a table to go on calculating with.
func (d *Dashboards) monthlyFile(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	of, from, to, err := d.monthOf(r)
	if err != nil {
		return err
	}
	format := report.Format(r.URL.Query().Get("bentuk"))
	if format != report.CSV && format != report.XLSX {
		return problem{status: http.StatusBadRequest, text: "export.wrong"}
	}
	rows, _, err := d.monthlyRows(r, lang, of, from, to)
	if err != nil {
		return err
	}
	month := from.In(page.WIB).Format("2006-01")
	table := report.Table{
		Columns: []string{"month", "district", "site", "name", "class", "days", "days_judged", "mean_index", "highest_index", "highest_day", "dominant", "good", "moderate", "unhealthy", "very_unhealthy", "hazardous", "exceedances", "complete_percent", "estimate", "status", "simulated"},
		Rows: func(yield func([]any, error) bool) {
			for _, x := range rows {
				var mean, highest, day, dominant any
				if x.Sum.Enough {
					mean = x.Sum.Mean
				}
				if f := x.Sum.Highest; f.OK {
					highest, day, dominant = f.Index.Value, figures.Day(f.End).In(page.WIB).Format(time.DateOnly), string(f.Index.Dominant)
				}
				cells := []any{month, of.Code, x.Site.Code, x.Site.Name, string(x.Site.ClassAt(to)), x.Sum.Days, x.Sum.Judged, mean, highest, day, dominant}
				for c := range figures.Berbahaya - figures.Baik + 1 {
					var n any // none of an estimate
					if x.Counts != nil {
						n = x.Counts[c]
					}
					cells = append(cells, n)
				}
				if !yield(append(cells, x.Exceeded, x.Complete, x.Sum.Estimate, string(x.Status), x.Sum.Simulated), nil) {
					return
				}
			}
		},
	}
	var b bytes.Buffer
	put := table.CSV
	if format == report.XLSX {
		put = table.XLSX
	}
	if err := put(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="pantau-laporan-%s-%s.%s"`, of.Code, month, format))
	return write(w, r, http.StatusOK, format.ContentType(), b.Bytes())
}
