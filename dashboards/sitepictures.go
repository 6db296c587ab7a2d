package dashboards

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

type pictureView struct {
	SVG    template.HTML
	Title  string
	Legend []string
	Head   []string
	Rows   [][]string
}

type calendarView struct {
	Year          int
	Months        []template.HTML
	Before, After string
	Rows          [][]string
	Valid         int
}

// calendarOf draws a year of daily figures, month by month.
func (d *Dashboards) calendarOf(r *http.Request, l page.Lang, site places.Site, rules figures.Rules, now time.Time) (calendarView, error) {
	today := now.In(page.WIB)
	v := calendarView{Year: today.Year()}
	if y := r.URL.Query().Get("tahun"); y != "" {
		if _, err := fmt.Sscanf(y, "%4d", &v.Year); err != nil || v.Year < 2000 || v.Year > today.Year() {
			v.Year = today.Year()
		}
	}
	here := siteURL(l, site.Code)
	v.Before = here + "?" + query("tahun", fmt.Sprint(v.Year-1)) + "#kalender"
	if v.Year < today.Year() {
		v.After = here + "?" + query("tahun", fmt.Sprint(v.Year+1)) + "#kalender"
	}
	first := time.Date(v.Year, 1, 1, 0, 0, 0, 0, page.WIB)
	days, err := d.o.Figures.Span(r.Context(), figures.Daily, site.Code, first, first.AddDate(1, 0, 0))
	if err != nil {
		return v, err
	}
	byDay := map[string]figures.Figure{}
	for _, f := range days {
		byDay[figures.Day(f.End).In(page.WIB).Format(time.DateOnly)] = f
	}
	weekdays := [7]string{}
	for i := range weekdays {
		weekdays[i] = l.Weekday(time.Weekday((i + 1) % 7))[:3]
	}
	for m := first; m.Year() == v.Year && !m.After(today); m = m.AddDate(0, 1, 0) {
		c := chart.Calendar{ID: "kalender-" + m.Format("01"), Title: l.Month(m), Month: m, Weekdays: weekdays}
		judged, any := 0, false
		for day := m; day.Month() == m.Month(); day = day.AddDate(0, 0, 1) {
			cell := chart.Day{Future: !day.AddDate(0, 0, 1).Before(today)}
			if f, ok := byDay[day.Format(time.DateOnly)]; ok {
				view := viewFigure(l, f, rules)
				any = true
				cell.Future, cell.Note = false, l.Date(day)+": "+view.Value+" "+view.Word
				if f.OK && !f.Estimate { // the site may have been indicative then
					judged++
					cell.Category, cell.Text = f.Index.Category, l.Number(float64(f.Index.Value), 0)
					v.Rows = append(v.Rows, []string{l.Date(day), view.Value, view.Word, view.Dominant, view.Status})
				} else if f.OK {
					v.Rows = append(v.Rows, []string{l.Date(day), view.Value, view.Word, view.Dominant, view.Status})
				} else {
					cell.Note = l.Date(day) + ": " + view.Why
					v.Rows = append(v.Rows, []string{l.Date(day), "–", view.Why, "", view.Status})
				}
			} else if !cell.Future {
				cell.Note = l.Date(day) + ": " + l.T("chart.missing")
			}
			c.Days = append(c.Days, cell)
		}
		if !any {
			continue // the station was not there yet
		}
		v.Valid += judged
		c.Desc = l.T("calendar.desc", l.Number(float64(judged), 0))
		v.Months = append(v.Months, c.SVG())
	}
	return v, nil
}

// habitDays is how many days the heat map and the bars of completeness look back.
const (
	habitDays    = 90
	completeDays = 30
)

// habits draws a quantity by hour of the day and weekday, and what became of each
// day's readings.
func (d *Dashboards) habits(ctx context.Context, l page.Lang, site places.Site, quantity string, now time.Time) (heat, complete pictureView, err error) {
	q, _ := telemetry.Lookup(quantity)
	hours, excluded, _, err := d.judgedHours(ctx, site.Code, quantity, figures.Day(now).AddDate(0, 0, -habitDays), now)
	if err != nil {
		return heat, complete, err
	}
	name := l.Name("q.", quantity)
	var total [7][24]float64
	var n [7][24]int
	type day struct{ valid, rejected, gaps, expected int }
	days := map[time.Time]*day{}
	since := figures.Day(now).AddDate(0, 0, 1-completeDays)
	for i := range hours {
		h := &hours[i]
		begin := h.End.Add(-time.Hour).In(page.WIB)
		if excluded[i].Measured() {
			row := (int(begin.Weekday()) + 6) % 7
			total[row][begin.Hour()] += hourValue(q, h)
			n[row][begin.Hour()]++
		}
		at := figures.Day(h.End)
		if at.Before(since) {
			continue
		}
		if days[at] == nil {
			days[at] = &day{}
		}
		x := days[at]
		x.valid += h.Valid
		x.rejected += sum(h.Rejected)
		x.gaps += sum(h.Gaps)
		x.expected += max(h.Expected, h.Valid+sum(h.Rejected)+sum(h.Gaps))
	}
	heat.Title = l.T("heat.title", name+suffix(page.Unit(q.Unit)), l.Number(habitDays, 0))
	picture := chart.Heat{ID: "pola", Title: heat.Title, Desc: l.T("heat.desc")}
	heat.Head = []string{l.T("heat.hour")}
	for row := range 7 {
		weekday := l.Weekday(time.Weekday((row + 1) % 7))
		picture.Rows, heat.Head = append(picture.Rows, weekday[:3]), append(heat.Head, weekday)
		picture.Cells = append(picture.Cells, make([]chart.Cell, 24))
	}
	for hour := range 24 {
		label := time.Date(2000, 1, 1, hour, 0, 0, 0, page.WIB)
		picture.Columns = append(picture.Columns, label.Format("15"))
		line := []string{l.Clock(label) + "–" + l.Clock(label.Add(time.Hour))}
		for row := range 7 {
			cell := chart.Cell{OK: n[row][hour] > 0, Note: l.Weekday(time.Weekday((row+1)%7)) + " " + line[0] + ": "}
			if cell.OK {
				cell.Value = total[row][hour] / float64(n[row][hour])
				cell.Text = l.Number(cell.Value, page.Decimals(quantity, cell.Value))
				if cell.Value >= 10 {
					cell.Text = l.Number(cell.Value, 0)
				}
				cell.Note += withUnit(l, quantity, cell.Value, q.Unit)
				line = append(line, l.Value(quantity, cell.Value))
			} else {
				cell.Note += l.T("chart.missing")
				line = append(line, "–")
			}
			picture.Cells[row][hour] = cell
		}
		heat.Rows = append(heat.Rows, line)
	}
	heat.SVG = picture.SVG()

	complete.Title = l.T("complete.title", name, l.Number(completeDays, 0))
	complete.Legend = []string{l.T("complete.valid"), l.T("complete.rejected"), l.T("complete.gap"), l.T("complete.missing")}
	complete.Head = append([]string{l.T("complete.day")}, complete.Legend...)
	bars := chart.Bars{ID: "kelengkapan", Title: complete.Title, Desc: l.T("complete.desc"), Top: 100, Every: 3, Number: func(v float64) string { return l.Number(v, 0) + " %" }}
	for i := range completeDays {
		at := since.AddDate(0, 0, i)
		x := days[at]
		bar := chart.Bar{Label: l.ShortDate(at)}
		line := []string{l.Date(at), "–", "–", "–", l.T("chart.missing")}
		if x != nil && x.expected > 0 {
			share := func(n int) float64 { return 100 * float64(n) / float64(x.expected) }
			bar.Parts = []float64{share(x.valid), share(x.rejected), share(x.gaps), share(x.expected - x.valid - x.rejected - x.gaps)}
			line = line[:1]
			for _, p := range bar.Parts {
				line = append(line, l.Number(p, 1)+" %")
			}
		} else {
			bar.Parts = []float64{0, 0, 0, 100}
		}
		bar.Note = line[0] + ": " + strings.Join(line[1:], ", ")
		bars.Columns = append(bars.Columns, bar)
		complete.Rows = append(complete.Rows, line)
	}
	complete.SVG = bars.SVG()
	return heat, complete, nil
}
