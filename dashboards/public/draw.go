package public

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// bars are the hours of a day as a chart and as the rows of a table.
type bars struct {
	SVG  template.HTML
	Rows []hourRow // the newest first
}

type hourRow struct {
	End      time.Time
	Level    figures.Category
	Value    string
	Word     string
	Dominant figures.Parameter
	Judged   int // of the seven parameters
	Trace    string
}

const (
	barsHeight = 150
	barsTop    = 14
)

// bars draws the hourly indices of the 24 hours that end at to. Colour and
// pattern say the category; an hour without an index is hatched.
func (q ask) bars(id string, list []figures.Figure, to time.Time) *bars {
	byEnd := map[int64]figures.Figure{}
	most := 100
	for _, f := range list {
		byEnd[f.End.Unix()] = f
		if f.OK && !f.Estimate {
			most = max(most, f.Index.Value)
		}
	}
	b := &bars{}
	var svg strings.Builder
	judged := 0
	scale := func(v int) float64 { return float64(barsHeight) * float64(v) / float64(most) }
	for _, v := range []int{50, 100, 200, 300} {
		if v <= most {
			fmt.Fprintf(&svg, `<line class="grid" x2="100%%" y1="%s" y2="%[1]s"/><text x="100%%" y="%s" text-anchor="end">%d</text>`, short(barsTop+barsHeight-scale(v)), short(barsTop+barsHeight-scale(v)-3), v)
		}
	}
	first, last := "", ""
	for i := range 24 {
		end := to.Add(time.Duration(i-23) * time.Hour)
		f, ok := byEnd[end.Unix()]
		row := hourRow{End: end}
		x := short(float64(i) * 88 / 24)
		if ok && f.OK && !f.Estimate {
			judged++
			row.Level, row.Value, row.Word, row.Dominant = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category), f.Index.Dominant
			row.Trace, row.Judged = q.traceURL(f), f.Index.Judged
			h := max(scale(f.Index.Value), 2)
			fmt.Fprintf(&svg, `<rect x="%s%%" y="%s" width="3%%" height="%s" fill="url(#p%d)"/>`, x, short(barsTop+barsHeight-h), short(h), f.Index.Category)
			if first == "" {
				first = row.Value
			}
			last = row.Value
		} else {
			row.Word = q.lang.T("public.insufficient")
			fmt.Fprintf(&svg, `<rect x="%s%%" y="%d" width="3%%" height="%d" fill="url(#p0)"/>`, x, barsTop+barsHeight-24, 24)
		}
		if i%6 == 5 {
			fmt.Fprintf(&svg, `<text x="%s%%" y="%d" text-anchor="middle">%s</text>`, short(float64(i)*88/24+1.5), barsTop+barsHeight+18, q.lang.Clock(end))
		}
		b.Rows = append([]hourRow{row}, b.Rows...)
	}
	desc := q.lang.T("public.bars.none")
	if judged > 0 {
		desc = q.lang.T("public.bars.desc", first, last, q.whole(judged))
	}
	e := template.HTMLEscapeString
	b.SVG = template.HTML(fmt.Sprintf(`<svg class="bars" role="img" width="100%%" height="%d" aria-labelledby="%s-t %s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		barsTop+barsHeight+24, id, id, id, e(q.lang.T("public.bars")), id, e(desc)) + svg.String() + `</svg>`)
	return b
}

// rankingMost is how many stations a bulletin's chart has room for.
const rankingMost = 20

// ranking draws stations' indices as bars, the highest first: a name above its bar,
// so that a phone has room for both.
func (q ask) ranking(list []bulletinStation) template.HTML {
	judged := slices.DeleteFunc(slices.Clone(list), func(s bulletinStation) bool { return s.Level == figures.CategoryNone })
	if len(judged) == 0 {
		return ""
	}
	slices.SortStableFunc(judged, func(a, b bulletinStation) int {
		switch {
		case figures.Higher(a.figure, b.figure):
			return -1
		case figures.Higher(b.figure, a.figure):
			return 1
		}
		return 0
	})
	judged = judged[:min(len(judged), rankingMost)]
	end := 100
	for _, node := range []int{200, 300, 500} { // the upper node of the highest category
		if judged[0].figure.Index.Value > end {
			end = node
		}
	}
	const each, top, width = 54, 4, 96.0
	height := top + each*len(judged)
	e := template.HTMLEscapeString
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="bars" role="img" width="100%%" height="%d" aria-labelledby="u-t u-d"><title id="u-t">%s</title><desc id="u-d">%s</desc>`,
		height+24, e(q.lang.T("public.bulletin.chart")), e(q.lang.T("public.bulletin.chart.desc", q.whole(len(judged)), judged[0].Value, page.Plain(judged[0].Name))))
	for i := range 5 {
		x := short(width / 4 * float64(i))
		fmt.Fprintf(&b, `<line class="grid" x1="%s%%" x2="%[1]s%%" y1="%d" y2="%d"/>`, x, top, height)
		if i%2 == 0 {
			anchor := [...]string{"start", "", "middle", "", "end"}[i]
			fmt.Fprintf(&b, `<text x="%s%%" y="%d" text-anchor="%s">%d</text>`, x, height+18, anchor, end*i/4)
		}
	}
	for i, s := range judged {
		y := top + each*i
		w := width * float64(s.figure.Index.Value) / float64(end)
		fmt.Fprintf(&b, `<text y="%d">%s: %s</text><rect y="%d" width="%s%%" height="20" fill="url(#p%d)"/>`, y+18, e(page.Plain(s.Name)), e(s.Value), y+26, short(max(w, 0.5)), s.Level)
	}
	return template.HTML(b.String() + `</svg>`)
}

// short writes a coordinate with at most one decimal.
func short(v float64) string {
	s := fmt.Sprintf("%.1f", v)
	return strings.TrimSuffix(s, ".0")
}

// The hexagons. On a desktop the map is 1,044 px wide and hexText 18 px high; where it is narrower the style sheet
// leaves names (class d) out.
const (
	hexRadius = 42
	hexText   = 13.4
)

// hexBreaks are the names that a cell holds in two lines only.
var hexBreaks = map[string]int{"Banjarnegara": 6, "Karanganyar": 6, "Pekalongan": 4, "Purbalingga": 5, "Temanggung": 6}

// hexagons draws the province: one cell a district with its highest index and
// its pattern. The list beside it says the same in words, so it is hidden from
// readers of the screen.
func (q ask) hexagons() template.HTML {
	w := math.Sqrt(3) * hexRadius
	cols, rows := 0, 0
	for _, d := range q.districts {
		cols, rows = max(cols, d.Col+1), max(rows, d.Row+1)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="hex" viewBox="0 0 %s %s" aria-hidden="true">`, short(w*(float64(cols)+0.5)+4), short(hexRadius*(1.5*float64(rows)+0.5)+4))
	fmt.Fprintf(&b, `<defs><path id="h" class="hx" d="%s"/><path id="i" class="in" d="%s"/></defs>`, chart.HexPath(0, 0, hexRadius-1.5), chart.HexPath(0, 0, hexRadius-6))
	for _, d := range q.districts {
		x, y := chart.HexCentre(d.Row, d.Col, hexRadius)
		level, value := figures.CategoryNone, "–"
		if best, _, _ := d.best(); best != nil {
			level, value = best.figure.Index.Category, q.whole(best.figure.Index.Value)
			if best.figure.Index.Above {
				value = "&gt;" + value
			}
		}
		fmt.Fprintf(&b, `<a href="%s" tabindex="-1" transform="translate(%s %s)"><use href="#h" fill="url(#p%d)"/><use href="#i"/><text class="v" y="4">%s</text>`,
			template.HTMLEscapeString(q.districtURL(d)), short(x+2), short(y+2), level, value)
		name := func(y float64, s string) {
			fmt.Fprintf(&b, `<text class="d" y="%s">%s</text>`, short(y), template.HTMLEscapeString(s))
		}
		if full := bare(d.Name); hexBreaks[full] > 0 {
			name(4+hexText, full[:hexBreaks[full]]+"-")
			name(3+2*hexText, full[hexBreaks[full]:])
		} else {
			name(6+hexText, full)
		}
		if strings.HasPrefix(d.Name, "Kota ") { // four names stand twice
			name(-17, q.lang.T("public.hex.city"))
		}
		b.WriteString(`</a>`)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// calendar is the ISPU harian of twelve months.
type calendar struct {
	Months []monthDays // the newest first; only those with a figure
}

type monthDays struct {
	Month string
	SVG   template.HTML
	Days  [6]int // by category, 0 = could not be judged
}

// calendar draws the months that end with the day before to: seven boxes a week,
// Monday first.
func (q ask) calendar(list []figures.Figure, to time.Time) *calendar {
	byDay := map[string]figures.Category{}
	for _, f := range list {
		c := figures.CategoryNone
		if f.OK && !f.Estimate {
			c = f.Index.Category
		}
		byDay[f.End.Add(-time.Hour).In(page.WIB).Format(time.DateOnly)] = c
	}
	const box = 22
	last := to.Add(-time.Hour).In(page.WIB)
	c := &calendar{}
	for m := range 12 {
		first := time.Date(last.Year(), last.Month(), 1, 0, 0, 0, 0, page.WIB).AddDate(0, -m, 0)
		offset := (int(first.Weekday()) + 6) % 7
		month := monthDays{Month: q.lang.Month(first)}
		known, top, rows := 0, 0, 0
		var b strings.Builder
		for day := first; day.Month() == first.Month() && day.Before(to); day = day.AddDate(0, 0, 1) {
			level, ok := byDay[day.Format(time.DateOnly)]
			if !ok {
				continue
			}
			at := offset + day.Day() - 1
			if known == 0 {
				top = at / 7
			}
			known, rows = known+1, at/7+1-top
			month.Days[level]++
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="20" height="20" fill="url(#p%d)"/>`, at%7*box, (at/7-top)*box, level)
		}
		if known == 0 {
			continue
		}
		month.SVG = template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %d" aria-hidden="true">`, 7*box-2, rows*box) + b.String() + `</svg>`)
		c.Months = append(c.Months, month)
	}
	return c
}
