package chart

import (
	"fmt"
	"html/template"
	"strings"
)

// Bars are stacked bars, one a column: what became of a day's expected readings,
// for example.
type Bars struct {
	ID, Title, Desc string
	Columns         []Bar
	Top             float64              // the axis' upper end; 0 = the highest bar
	Number          func(float64) string // for the axis
	Every           int                  // label every so many columns; 0 = all
}

// Bar is one column.
type Bar struct {
	Label string
	Parts []float64 // bottom first; the n-th has the class part-n and its pattern
	Note  string    // all of it in one sentence
}

const barsHeight = 120

// parts is how many kinds of parts have a look of their own.
const parts = 6

// partMarks are drawn over a part's colour, so that it is known without it.
func partMarks(n int) string {
	return [parts]string{
		"", `<path d="M0 8 8 0"/>`, `<path d="M0 0 8 8"/>`, `<path d="M4 4h.01"/>`, `<path d="M0 4H8"/>`, `<path d="M4 0V8"/>`,
	}[n%parts]
}

// Part is the look of the n-th part of a bar, for a legend.
func Part(n int) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="swatch" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><rect class="part-%d" width="16" height="16" rx="2"/><g class="marks" transform="scale(2)">%s</g></svg>`, n%parts, partMarks(n)))
}

// SVG draws them.
func (c Bars) SVG() template.HTML {
	e := template.HTMLEscapeString
	top := c.Top
	if top <= 0 {
		for _, bar := range c.Columns {
			sum := 0.0
			for _, p := range bar.Parts {
				sum += p
			}
			top = max(top, sum)
		}
	}
	if top <= 0 {
		top = 1
	}
	every := max(c.Every, 1)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart-plot bars" id="%s" role="img" aria-labelledby="%[1]s-title %[1]s-desc" width="100%%" height="%d">`, e(c.ID), plotTop+barsHeight+foot)
	fmt.Fprintf(&b, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc><defs>`, e(c.ID), e(c.Title), e(c.Desc))
	for n := range parts {
		fmt.Fprintf(&b, `<pattern id="%s-part-%d" width="8" height="8" patternUnits="userSpaceOnUse"><g class="marks">%s</g></pattern>`, e(c.ID), n, partMarks(n))
	}
	b.WriteString(`</defs>`)
	for i := range 3 {
		v := top * float64(i) / 2
		y := decimal(plotTop + barsHeight*(1-v/top))
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="100%%" y1="%s" y2="%[1]s"/><text class="value" x="-8" y="%[1]s" text-anchor="end" dy="0.32em">%s</text>`, y, e(c.Number(v)))
	}
	share := 100 / float64(max(len(c.Columns), 1))
	for i, bar := range c.Columns {
		x, width := decimal(share*(float64(i)+0.1)), decimal(share*0.8)
		fmt.Fprintf(&b, `<g><title>%s</title>`, e(bar.Note))
		below := 0.0
		for n, p := range bar.Parts {
			if p <= 0 {
				continue
			}
			p = min(p, top-below)
			y, height := decimal(plotTop+barsHeight*(1-(below+p)/top)), decimal(barsHeight*p/top)
			fmt.Fprintf(&b, `<rect class="part-%d" x="%s%%" y="%s" width="%s%%" height="%s"/>`, n%parts, x, y, width, height)
			if partMarks(n) != "" {
				fmt.Fprintf(&b, `<rect x="%s%%" y="%s" width="%s%%" height="%s" fill="url(#%s-part-%d)"/>`, x, y, width, height, e(c.ID), n%parts)
			}
			below += p
		}
		b.WriteString(`</g>`)
		if i%every == 0 {
			class := "time"
			if i%(2*every) != 0 {
				class += " minor"
			}
			fmt.Fprintf(&b, `<text class="%s" x="%s%%" y="%d" text-anchor="middle">%s</text>`, class, decimal(share*(float64(i)+0.5)), plotTop+barsHeight+20, e(bar.Label))
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
