package dashboards

import (
	"context"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// indexView is the block of the air index.
type indexView struct {
	Has      bool
	Now      figureView
	Last     *figureView // the last that could be judged, if Now cannot
	Parts    []partRow
	Present  []presentRow
	US       string // for staff only
	European string

	Simulated bool
}

type partRow struct {
	Parameter figures.Parameter
	Mean      string
	Hours     int
	Age       int
	OK        bool
	Category  figures.Category
	Index     string
}

type presentRow struct {
	Parameter figures.Parameter
	Mean      string
	End       time.Time
	Category  figures.Category
	Word      string
}

type compareView struct {
	Rows []compareRow
}

type compareRow struct {
	Name, URL    string
	Figure       figureView
	US, European string
}

// indexOf reads the newest index, its parts, and what is measured right now.
func (d *Dashboards) indexOf(ctx context.Context, l page.Lang, site places.Site, rules figures.Rules, now time.Time) (indexView, error) {
	var v indexView
	end := now.Truncate(time.Hour)
	f, ok, err := d.o.Figures.Figure(ctx, figures.Hourly, site.Code, end)
	if err == nil && !ok {
		f, ok, err = d.o.Figures.Figure(ctx, figures.Hourly, site.Code, end.Add(-time.Hour))
	}
	if err != nil {
		return v, err
	}
	if !ok {
		return v, nil
	}
	v.Has, v.Now, v.Simulated = true, viewFigure(l, f, rules), f.Simulated
	if !f.OK {
		if last, ok, err := d.o.Figures.Newest(ctx, figures.Hourly, site.Code, end); err != nil {
			return v, err
		} else if ok {
			view := viewFigure(l, last, rules)
			v.Last = &view
		}
	}
	for _, p := range f.Parts {
		row := partRow{Parameter: p.Parameter, Hours: p.Hours, Age: p.Age, OK: p.OK, Mean: "–", Index: "–"}
		if p.Hours > 0 {
			row.Mean = l.Value(string(p.Parameter), p.Mean)
		}
		if p.OK {
			row.Category, row.Index = p.Index.Category, l.Number(float64(p.Index.Value), 0)
			if p.Index.Above {
				row.Index = l.T("index.above")
			}
		}
		v.Parts = append(v.Parts, row)
	}
	hours, err := d.o.Figures.Hours(ctx, site.Code, nil, end.Add(-30*time.Hour), end)
	if err != nil {
		return v, err
	}
	present := figures.PresentOf(site.Code, now, hours, rules)
	v.US, v.European = abroad(l, f, present)
	for _, p := range present {
		v.Present = append(v.Present, presentRow{p.Parameter, l.Value(string(p.Parameter), p.Mean), p.End, p.Category, category.Word(l, p.Category)})
	}
	return v, nil
}

// abroad are the indices of others, for staff to compare with: their colours mean
// other things.
func abroad(l page.Lang, f figures.Figure, present []figures.Present) (us, european string) {
	us, european = "–", "–"
	for _, p := range f.Parts {
		if p.Parameter == figures.PM25 && p.OK {
			if i, ok := figures.USAQI(p.Mean); ok {
				us = l.Number(float64(i), 0)
			}
		}
	}
	means := map[figures.Parameter]float64{}
	for _, p := range present {
		means[p.Parameter] = p.Mean
	}
	if band, ok := figures.EuropeanIndex(means); ok {
		european = l.Number(float64(band), 0) + " " + l.T(page.Key(fmt.Sprintf("european.%d", band)))
	}
	return us, european
}

// compareOf puts other stations' newest figures beside this one's.
func (d *Dashboards) compareOf(ctx context.Context, l page.Lang, u *account.User, site places.Site, now time.Time, others []string) (compareView, error) {
	var v compareView
	for i, code := range append([]string{site.Code}, others...) {
		other, ok := d.o.Places.Site(code)
		if !ok || !mayAir(u, account.Viewer, other) || i > 4 || (i > 0 && code == site.Code) {
			continue
		}
		rules, err := d.rules(ctx, now)
		if err != nil {
			return v, err
		}
		index, err := d.indexOf(ctx, l, other, rules.Rules, now)
		if err != nil {
			return v, err
		}
		v.Rows = append(v.Rows, compareRow{page.Plain(other.Name), siteURL(l, code), index.Now, index.US, index.European})
	}
	return v, nil
}
