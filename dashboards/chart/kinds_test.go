package chart_test

import (
	"encoding/xml"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

const evil = `<script>alert("x")</script>' onload="y" & ` + "\u202e"

func number(v float64) string { return fmt.Sprintf("%.0f", v) }

// year is a year of day means with a hole, three remarks and two other stations.
func year() chart.Chart {
	c := chart.Chart{
		ID: "year", Title: "PM2,5 (µg/m³)", Desc: "Satu tahun.", From: end.AddDate(-1, 0, 0), To: end, Interval: 24 * time.Hour, Zone: wib, Number: number,
		Clock: func(t time.Time) string { return t.In(wib).Format("Jan 06") }, Missing: "tidak ada data", Height: 160,
		Bands:   []chart.Band{{From: 0, To: 15.5, Class: "cat-1", Name: "Baik"}, {From: 15.5, To: 55.4, Class: "cat-2", Name: "Sedang"}, {From: 55.4, To: math.Inf(1), Class: "cat-3", Name: "Tidak sehat"}},
		Remarks: []chart.Remark{{From: end.AddDate(0, -2, 0), To: end.AddDate(0, -2, 9), Text: evil}},
		Others:  []chart.Line{{Name: "Solo"}, {Name: "Kudus"}},
	}
	for i := range 365 {
		at := c.From.AddDate(0, 0, i)
		if i < 100 || i > 112 {
			c.Points = append(c.Points, chart.Point{Time: at, Value: 30 + 20*math.Sin(float64(i)/40) + 8*math.Sin(float64(i)*2.3), Rejected: i == 200, Note: evil})
		}
		for n := range c.Others {
			c.Others[n].Points = append(c.Others[n].Points, chart.Point{Time: at, Value: 22 + 9*math.Sin(float64(i+60*n)/30)})
		}
	}
	return c
}

func hexagons() chart.Hexagons {
	h := chart.Hexagons{ID: "hex", Title: "Peta", Desc: "Tiga sel"}
	for i := range 36 {
		c := chart.Hexagon{Row: i / 8, Col: i % 8, Prefix: "Kab.", Name: "Banjarnegara", Value: fmt.Sprint(i * 9), Word: []string{"tidak ada data", "Baik", "Sedang", "Tidak sehat", "Sangat tidak sehat", "Berbahaya"}[i%6],
			Category: figures.Category(i % 6), Label: fmt.Sprint("Sel ", i)}
		if i%2 == 0 {
			c.URL = "/dinas/wilayah/3374?a=1&b=2"
		}
		if i == 3 {
			c.Name, c.Label = evil, evil
		}
		h.Cells = append(h.Cells, c)
	}
	return h
}

func heat() chart.Heat {
	h := chart.Heat{ID: "heat", Title: "Jam dan hari", Desc: "Rata-rata", Rows: []string{"Sen", "Sel", "Rab", "Kam", "Jum", "Sab", "Min"}}
	for i := range 24 {
		h.Columns = append(h.Columns, fmt.Sprintf("%02d", i))
	}
	for r := range h.Rows {
		var row []chart.Cell
		for i := range 24 {
			v := 20 + 15*math.Sin(float64(i+r)/4)
			row = append(row, chart.Cell{Value: v, OK: i != 5, Text: number(v), Note: evil})
		}
		h.Cells = append(h.Cells, row)
	}
	return h
}

func calendar() chart.Calendar {
	c := chart.Calendar{ID: "cal", Title: "November 2026", Desc: "ISPU harian", Month: time.Date(2026, 11, 1, 0, 0, 0, 0, wib), Weekdays: [7]string{"S", "S", "R", "K", "J", "S", "M"}}
	for i := range 30 {
		c.Days = append(c.Days, chart.Day{Text: fmt.Sprint(i * 12), Category: figures.Category(i % 6), Note: evil, Future: i > 22})
	}
	return c
}

func bars() chart.Bars {
	c := chart.Bars{ID: "bars", Title: "Kelengkapan", Desc: "Tiga puluh hari", Number: number, Top: 1440, Every: 5}
	for i := range 30 {
		c.Columns = append(c.Columns, chart.Bar{Label: fmt.Sprint(i + 1), Parts: []float64{1000, float64(i) * 5, 60, 30, 40, 20}, Note: evil})
	}
	return c
}

func provinceMap() chart.Map {
	degrees := func(v float64) string { return fmt.Sprintf("%.1f°", v) }
	return chart.Map{ID: "map", Title: "Peta", Desc: "Jawa Tengah", Longitude: degrees, Latitude: degrees,
		Areas: []chart.Area{{Path: "M1500 3900L4400 3900L4400 5400Z", Box: places.Box{MinX: 1500, MinY: 3900, MaxX: 4400, MaxY: 5400}, Category: figures.TidakSehat, URL: "/x", Label: evil}},
		Names: []chart.Place{{Position: chart.Position{Lon: 110.4, Lat: -7}, Text: evil}},
		Spots: []chart.Spot{{Position: chart.Position{Lon: 110.8, Lat: -7.5}, Category: figures.Sedang, Text: "84", URL: "/y", Label: "Solo: 84"}}}
}

func TestMain(m *testing.M) { os.Exit(browsertest.Run(m)) }

// Every kind is well-formed XML, names itself, holds no inline style and lets
// nobody's text become markup.
func TestEveryKindIsSoundSVG(t *testing.T) {
	for name, svg := range map[string]template.HTML{
		"line": year().SVG(), "hexagons": hexagons().SVG(), "heat": heat().SVG(), "calendar": calendar().SVG(), "bars": bars().SVG(), "map": provinceMap().SVG(),
		"swatch": chart.Swatch(figures.SangatTidakSehat), "line swatch": chart.LineSwatch(2), "part": chart.Part(3),
	} {
		var ids []string
		for i, e := range elements(t, string(svg)) {
			for _, a := range e.Attr {
				if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s: <%s %s=%q>", name, e.Name.Local, a.Name.Local, a.Value)
				}
				if a.Name.Local == "id" {
					ids = append(ids, a.Value)
				}
			}
			if e.Name.Local == "script" {
				t.Errorf("%s: a text became a script", name)
			}
			if i == 0 && !strings.Contains(name, "swatch") && name != "part" {
				if by := attr(e, "aria-labelledby"); by == "" {
					t.Errorf("%s: has no name", name)
				}
			}
		}
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				t.Errorf("%s: the id %s stands twice", name, id)
			}
			seen[id] = true
		}
		if strings.Contains(string(svg), "%!") {
			t.Errorf("%s: a verb without a value: %s", name, svg)
		}
	}
}

func TestAYearHasMonthsOnItsAxisAndBandsBehindIt(t *testing.T) {
	svg := string(year().SVG())
	if n := count(t, svg, "text", "time") + count(t, svg, "text", "time minor"); n < 11 || n > 13 {
		t.Errorf("%d labels on the axis of a year", n)
	}
	if n := count(t, svg, "rect", "band cat-2"); n != 1 {
		t.Errorf("%d bands of the second category", n)
	}
	if n := count(t, svg, "path", "line line-2"); n != 1 {
		t.Errorf("the second station has %d lines", n)
	}
	for _, days := range []int{1, 2, 7, 30, 90, 200} {
		c := year()
		c.From = c.To.AddDate(0, 0, -days)
		svg := string(c.SVG())
		if n := count(t, svg, "text", "time") + count(t, svg, "text", "time minor"); n < 4 || n > 12 {
			t.Errorf("%d days: %d labels", days, n)
		}
	}
}

// A figure stands on plain colour, and a category is known without its colour.
func TestACategoryIsMoreThanAColour(t *testing.T) {
	svg := string(hexagons().SVG())
	fills := map[string]bool{}
	for _, e := range elements(t, svg) {
		if f := attr(e, "fill"); e.Name.Local == "path" && strings.HasPrefix(f, "url(#hex-cat-") {
			fills[f] = true
		}
	}
	if len(fills) != 4 { // all but the first, which is plain
		t.Errorf("%d patterns for the categories above the first", len(fills))
	}
	var label xml.StartElement
	for _, e := range elements(t, svg) {
		if e.Name.Local == "a" {
			label = e
			break
		}
	}
	if attr(label, "href") != "/dinas/wilayah/3374?a=1&b=2" || !strings.Contains(svg, "<title>Kab. Banjarnegara 0 tidak ada data; Sel 0</title>") {
		t.Errorf("the first cell leads to %q, or its name does not hold what it shows", attr(label, "href"))
	}
}

func TestEveryKindInABrowser(t *testing.T) {
	body := `<!doctype html><html lang="id"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>x</title><link rel="stylesheet" href="/page.css"><link rel="stylesheet" href="/chart.css"><link rel="icon" href="/icon.svg"></head><body><main class="wrap"><h1>Grafik</h1>` +
		string(year().SVG()) + string(hexagons().SVG()) + string(heat().SVG()) + string(calendar().SVG()) + string(bars().SVG()) + string(provinceMap().SVG()) + `<p>`
	for c := range figures.Berbahaya + 1 {
		body += string(chart.Swatch(c)) + " kategori "
	}
	for n := range 5 {
		body += string(chart.LineSwatch(n)) + string(chart.Part(n)) + " bagian "
	}
	files := map[string]struct{ kind, body string }{
		"/": {"text/html; charset=utf-8", body + `</p></main></body></html>`}, "/page.css": {"text/css", string(page.Style())}, "/chart.css": {"text/css", string(chart.Style) + string(category.Settings{}.Style())}, "/icon.svg": {"image/svg+xml", string(page.Icon())},
	}
	s := httptest.NewServer(page.Harden(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", f.kind)
		_, _ = w.Write([]byte(f.body))
	})))
	defer s.Close()
	b := browsertest.Start(t)
	for name, look := range map[string]browsertest.Look{"phone-dark": browsertest.Phone.InDark(), "desktop": browsertest.Desktop} {
		p := b.Open(t, look, s.URL+"/")
		p.Wait("document.readyState === 'complete'")
		if got := browsertest.Eval[string](p, "getComputedStyle(document.querySelector('#year .line:not([class*=line-])')).stroke"); got == "none" || got == "rgb(0, 0, 0)" {
			t.Errorf("%s: the line is drawn in %s", name, got)
		}
		if got := browsertest.Eval[string](p, "getComputedStyle(document.querySelector('.hexagons .cat-3')).fill"); got != "rgb(204, 204, 0)" {
			t.Errorf("%s: the third category is %s", name, got)
		}
		if wide := browsertest.Eval[int](p, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); wide > 0 {
			t.Errorf("%s: %d px too wide", name, wide)
		}
		for _, problem := range p.Problems() {
			t.Errorf("%s: %s", name, problem)
		}
		p.Screenshot("charts-" + name)
	}
}
