package chart_test

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/chart"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var (
	end = time.Date(2026, 11, 23, 7, 5, 0, 0, time.UTC)
	wib = time.FixedZone("WIB", 7*3600)
)

func of(interval time.Duration, value func(i int) (v float64, keep bool)) chart.Chart {
	c := chart.Chart{
		ID: "x", Title: `PM2,5 <b> & "Balai Kota"`, Desc: "Satu hari.", From: end.Add(-24 * time.Hour), To: end, Interval: interval, Zone: wib,
		Number: func(v float64) string { return fmt.Sprintf("%.0f", v) }, Clock: func(t time.Time) string { return t.In(wib).Format("15.04") }, Missing: "tidak ada data",
	}
	for i := 0; ; i++ {
		at := c.From.Add(time.Duration(i) * interval)
		if at.After(end) {
			return c
		}
		if v, keep := value(i); keep {
			c.Points = append(c.Points, chart.Point{Time: at, Value: v})
		}
	}
}

// elements parses the SVG as XML and returns its elements.
func elements(t *testing.T, svg string) []xml.StartElement {
	t.Helper()
	var out []xml.StartElement
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("the SVG is not well formed: %v", err)
		}
		if e, ok := token.(xml.StartElement); ok {
			out = append(out, e.Copy())
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func count(t *testing.T, svg, element, class string) int {
	t.Helper()
	n := 0
	for _, e := range elements(t, svg) {
		if e.Name.Local == element && attr(e, "class") == class {
			n++
		}
	}
	return n
}

func TestGolden(t *testing.T) {
	c := of(30*time.Minute, func(i int) (float64, bool) { return 20 + float64(i%7), i < 20 || i > 24 })
	c.Points[30].Rejected, c.Points[30].Value, c.Points[30].Note = true, 999, "ditolak: di luar rentang"
	got := string(c.SVG())
	path := filepath.Join("testdata", "day.svg")
	if *update {
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got+"\n" != string(want) {
		t.Errorf("the picture changed; look at it and run with -update if it is right:\n%s", got)
	}
}

func TestTheSVGStandsUnderTheContentSecurityPolicy(t *testing.T) {
	c := of(time.Minute, func(i int) (float64, bool) { return math.Sin(float64(i) / 50), i%400 > 60 })
	svg := string(c.SVG())
	for _, e := range elements(t, svg) {
		for _, a := range e.Attr {
			if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
				t.Errorf("<%s> has the attribute %s", e.Name.Local, a.Name.Local)
			}
		}
		if e.Name.Local == "style" || e.Name.Local == "script" {
			t.Errorf("the SVG holds <%s>", e.Name.Local)
		}
	}
	if strings.Contains(svg, "<b>") {
		t.Error("the title is markup")
	}
	if regexp.MustCompile(`#[0-9a-f]{6}|rgb\(`).MatchString(svg) {
		t.Error("the SVG brings colours of its own: dark pages need classes and currentColor")
	}
}

func TestTheSVGIsNamed(t *testing.T) {
	svg := elements(t, string(of(time.Hour, func(int) (float64, bool) { return 5, true }).SVG()))
	if attr(svg[0], "role") != "img" || attr(svg[0], "aria-labelledby") != "x-title x-desc" {
		t.Errorf("the picture is not named: %v", svg[0].Attr)
	}
	if svg[1].Name.Local != "title" || attr(svg[1], "id") != "x-title" || svg[2].Name.Local != "desc" || attr(svg[2], "id") != "x-desc" {
		t.Error("title and description do not come first")
	}
}

func TestGapsStayGaps(t *testing.T) {
	c := of(time.Minute, func(i int) (float64, bool) { return 10, i < 300 || i >= 420 })
	segments, gaps := c.Segments()
	if len(segments) != 2 || len(gaps) != 1 {
		t.Fatalf("%d lines and %d gaps, want 2 and 1", len(segments), len(gaps))
	}
	if d := gaps[0].To.Sub(gaps[0].From); d != 121*time.Minute || gaps[0].Note != "tidak ada data" {
		t.Errorf("the gap is %v long and called %q", d, gaps[0].Note)
	}
	if n := count(t, string(c.SVG()), "path", "line"); n != 2 {
		t.Errorf("%d lines are drawn, want 2: the gap is drawn through", n)
	}
	if n := count(t, string(c.SVG()), "rect", "gap"); n != 1 {
		t.Errorf("%d hatched spans, want 1", n)
	}
}

func TestAGapNamesItsMostFrequentReason(t *testing.T) {
	c := of(time.Minute, func(int) (float64, bool) { return 10, true })
	for i := 600; i < 660; i++ {
		c.Points[i].Gap, c.Points[i].Note = true, "sensor tidak menjawab"
	}
	c.Points[610].Note = "data rusak"
	if _, gaps := c.Segments(); len(gaps) != 1 || gaps[0].Note != "sensor tidak menjawab" {
		t.Errorf("got %+v", gaps)
	}
}

func TestSilenceUntilNowIsAGapButNotBeforeTheFirstReading(t *testing.T) {
	c := of(time.Minute, func(i int) (float64, bool) { return 10, i > 600 && i < 1200 })
	_, gaps := c.Segments()
	if len(gaps) != 1 || !gaps[0].To.Equal(end) {
		t.Errorf("got %+v, want one gap that reaches the end", gaps)
	}
}

func TestARejectedValueIsAMarkAndNotPartOfTheLine(t *testing.T) {
	c := of(time.Minute, func(int) (float64, bool) { return 10, true })
	c.Points[700].Rejected, c.Points[700].Value, c.Points[700].Note = true, 65535, "ditolak"
	svg := string(c.SVG())
	if n := count(t, svg, "circle", "rejected"); n != 1 {
		t.Errorf("%d hollow marks, want 1", n)
	}
	if segments, gaps := c.Segments(); len(segments) != 2 || len(gaps) != 0 {
		t.Errorf("%d lines, %d gaps; want a line that breaks without a gap", len(segments), len(gaps))
	}
	if strings.Contains(svg, "65535") && !strings.Contains(svg, "<title>65535: ditolak</title>") {
		t.Error("a rejected value stretches the axis")
	}
}

func TestADayOfSecondsStaysSmallAndKeepsItsPeaks(t *testing.T) {
	c := of(time.Second, func(i int) (float64, bool) {
		if i == 40_000 {
			return 500, true
		}
		return 20 + math.Sin(float64(i)), true
	})
	svg := string(c.SVG())
	if len(svg) > 60_000 {
		t.Errorf("86,400 points make %d bytes", len(svg))
	}
	if !regexp.MustCompile(`L[0-9.]+ 33\.33L`).MatchString(svg) { // 500 on an axis from 0 to 600, 200 px high
		t.Error("the one peak of 500 was thinned away")
	}
}

func TestScalesAreRoundAndFitTheValues(t *testing.T) {
	for _, values := range [][]float64{{5}, {0}, {-3, 12}, {1008.2, 1009.1}, {0.0001, 0.0002}, {1e6, 3e6}, {math.MaxFloat32, 1}} {
		c := of(time.Hour, func(i int) (float64, bool) { return values[i%len(values)], true })
		c.Number = func(v float64) string { return fmt.Sprint(float32(v)) }
		labels := count(t, string(c.SVG()), "text", "value")
		if labels < 2 || labels > 9 {
			t.Errorf("values %v: %d labels at the axis", values, labels)
		}
		for _, e := range elements(t, string(c.SVG())) {
			for _, a := range e.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("values %v: <%s %s=%q>", values, e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
}

func TestAnEmptyChartIsStillAChart(t *testing.T) {
	c := of(time.Hour, func(int) (float64, bool) { return 0, false })
	if n := count(t, string(c.SVG()), "path", "line"); n != 0 {
		t.Errorf("%d lines of nothing", n)
	}
	if len(c.Hours()) != 0 {
		t.Error("rows of nothing")
	}
}

func TestTheTableHasWhatTheChartShows(t *testing.T) {
	c := of(time.Minute, func(i int) (float64, bool) { return float64(i % 10), true })
	c.Points[len(c.Points)-2].Rejected, c.Points[len(c.Points)-2].Note = true, "ditolak: macet"
	c.Points[len(c.Points)-3].Gap, c.Points[len(c.Points)-3].Note = true, "celah"
	c.Points[len(c.Points)-4].Gap, c.Points[len(c.Points)-4].Note = true, "celah"
	hours := c.Hours()
	if len(hours) != 25 || !hours[0].From.Equal(end.Truncate(time.Hour)) {
		t.Fatalf("%d rows, the first from %v", len(hours), hours[0].From)
	}
	if h := hours[0]; h.Valid != 3 || h.Rejected != 1 || h.Gaps != 2 || h.Note != "celah" {
		t.Errorf("the last hour: %+v", h)
	}
	if h := hours[1]; h.Valid != 60 || h.Mean != 4.5 || h.Low != 0 || h.High != 9 || h.Note != "" {
		t.Errorf("a whole hour: %+v", h)
	}
}

func BenchmarkDayOfMinutes(b *testing.B) {
	c := of(time.Minute, func(i int) (float64, bool) { return math.Sin(float64(i) / 50), true })
	for b.Loop() {
		_ = c.SVG()
	}
}
