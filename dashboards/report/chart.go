package report

import (
	"fmt"
	"sync"

	"github.com/go-analyze/charts"
	"github.com/go-fonts/liberation/liberationsansbold"
	"github.com/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font/sfnt"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// The letter's typeface: what office programs show in place of Arial.
const typeface = "liberation"

// fonts are loaded once; a test loads them, too.
var fonts = sync.OnceValues(func() (*sfnt.Font, error) {
	if err := charts.InstallFont(typeface, liberationsansregular.TTF); err != nil {
		return nil, fmt.Errorf("load the chart's typeface: %w", err)
	}
	f, err := sfnt.Parse(liberationsansbold.TTF)
	if err != nil {
		return nil, fmt.Errorf("load the letter's typeface: %w", err)
	}
	return f, nil
})

// printable is a name or a word from people, as the typeface can show it.
func printable(s string) string { return legible(page.Plain(s)) }

// legible leaves what the typeface can show; the rest becomes a question mark, so
// that nothing vanishes.
func legible(s string) string {
	font, err := fonts()
	if err != nil {
		return "?"
	}
	var buffer sfnt.Buffer
	out := []rune(page.Clean(s))
	for i, r := range out {
		if n, err := font.GlyphIndex(&buffer, r); err != nil || n == 0 || r > 0xffff {
			out[i] = '?'
		}
	}
	return string(out)
}

// bar is one station of the chart.
type bar struct {
	name  string
	index figures.Index
}

// chartHeight is how many pixels high a chart of n bars is.
func chartHeight(n int) float64 { return float64(90 + 28*max(n, 3)) }

// barChart draws stations' indices as horizontal bars in their categories'
// colours, 1200 pixels wide, as PNG. The word beside stands in the table.
func barChart(title string, bars []bar, of category.Settings) ([]byte, error) {
	if _, err := fonts(); err != nil {
		return nil, err
	}
	categories := []figures.Category{figures.Baik, figures.Sedang, figures.TidakSehat, figures.SangatTidakSehat, figures.Berbahaya}
	font := charts.GetFont(typeface)
	var colours []charts.Color
	series := make(charts.BarSeriesList, len(categories))
	for i, c := range categories {
		colours = append(colours, charts.ColorFromHex(of.Swatch(c)))
		series[i].Values = make([]float64, len(bars))
	}
	labels := make([]string, len(bars))
	top := 100.0
	for i, b := range bars {
		// The library draws the first category at the bottom.
		at := len(bars) - 1 - i
		labels[at] = b.name + "   " + b.index.String()
		for j, c := range categories {
			if series[j].Values[at] = charts.GetNullValue(); c == b.index.Category {
				series[j].Values[at] = float64(b.index.Value)
			}
		}
		top = max(top, float64(b.index.Value))
	}
	text := charts.FontStyle{FontSize: 15, FontColor: charts.ColorFromHex("#222222"), Font: font}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputPNG, Width: 1200, Height: int(chartHeight(len(bars))), Font: font})
	err := p.BarChart(charts.BarChartOption{
		Theme:        charts.GetTheme(charts.ThemeLight).WithSeriesColors(colours),
		Padding:      charts.NewBox(10, 10, 30, 10),
		Horizontal:   true,
		StackSeries:  charts.Ptr(true),
		SeriesList:   series,
		BarSize:      0.7,
		CategoryAxis: charts.CategoryAxisOption{Labels: labels, LabelFontStyle: text},
		ValueAxis:    []charts.ValueAxisOption{{Min: charts.Ptr(0.0), Max: charts.Ptr(ceiling(top)), LabelCount: marks(ceiling(top)), LabelFontStyle: text, SplitLineShow: charts.Ptr(true)}},
		Title:        charts.TitleOption{Text: title, FontStyle: charts.FontStyle{FontSize: 17, FontColor: charts.ColorFromHex("#222222"), Font: font}},
		Legend:       charts.LegendOption{Show: charts.Ptr(false)},
		ValueFormatter: func(v float64) string {
			return page.Indonesian.Number(v, 0)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("draw the chart: %w", err)
	}
	return p.Bytes()
}

// ceiling is the end of the axis: a category's upper node.
func ceiling(v float64) float64 {
	for _, node := range []float64{100, 200, 300} {
		if v <= node {
			return node
		}
	}
	return 500
}

// marks is how many labels the axis has room for: every 50, every 100 on a long one.
func marks(end float64) int {
	if end > 200 {
		return int(end/100) + 1
	}
	return int(end/50) + 1
}

// watermark is a page with the word across it, as PNG.
func watermark(word string) ([]byte, error) {
	if _, err := fonts(); err != nil {
		return nil, err
	}
	p := charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputPNG, Width: 1240, Height: 1754, Font: charts.GetFont(typeface)})
	p.FilledRect(0, 0, 1240, 1754, charts.ColorWhite, charts.ColorWhite, 0)
	style := charts.FontStyle{FontSize: 190, FontColor: charts.ColorFromHex("#f3dede"), Font: charts.GetFont(typeface)}
	p.Text(word, 190, 1560, -0.95, style)
	return p.Bytes()
}
