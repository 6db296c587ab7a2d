package chart

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Heat is a table of values as a picture: hour by weekday, for example. The
// darker a cell, the higher its value; a cell without a value is hatched.
type Heat struct {
	ID, Title, Desc string
	Columns, Rows   []string // their names
	Cells           [][]Cell // by row, then column
}

// Cell is one value of a Heat.
type Cell struct {
	Value float64
	OK    bool   // false: there is none
	Text  string // the value as written
	Note  string // all of it in one sentence
}

const (
	heatRow  = 30
	heatHead = 22
)

// SVG draws it; the columns stretch, the letters do not.
func (h Heat) SVG() template.HTML {
	e := template.HTMLEscapeString
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range h.Cells {
		for _, c := range row {
			if c.OK {
				low, high = min(low, c.Value), max(high, c.Value)
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="chart-plot heat" id="%s" role="img" aria-labelledby="%[1]s-title %[1]s-desc" width="100%%" height="%d">`, e(h.ID), heatHead+heatRow*len(h.Rows))
	fmt.Fprintf(&b, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc>%[4]s`, e(h.ID), e(h.Title), e(h.Desc), patterns(e(h.ID), 1))
	share := 100 / float64(max(len(h.Columns), 1))
	for i, name := range h.Columns {
		class := "time"
		if i%3 != 0 {
			class += " minor"
		}
		fmt.Fprintf(&b, `<text class="%s" x="%s%%" y="14" text-anchor="middle">%s</text>`, class, decimal(share*(float64(i)+0.5)), e(name))
	}
	for r, name := range h.Rows {
		top := heatHead + heatRow*r
		fmt.Fprintf(&b, `<text class="value" x="-8" y="%d" text-anchor="end" dy="0.32em">%s</text>`, top+heatRow/2, e(name))
		for c, cell := range h.Cells[r] {
			// The deepest is half as strong as the line's colour, so that dark
			// letters still stand out.
			fill := fmt.Sprintf(`fill="url(#%s-hatch)"`, e(h.ID))
			if cell.OK {
				strength := 0.5
				if high > low {
					strength = 0.06 + 0.5*(cell.Value-low)/(high-low)
				}
				fill = fmt.Sprintf(`fill="currentColor" fill-opacity="%s"`, decimal(strength))
			}
			fmt.Fprintf(&b, `<rect class="heat-cell" x="%s%%" y="%d" width="%s%%" height="%d" %s><title>%s</title></rect>`,
				decimal(share*float64(c)), top, decimal(share), heatRow-1, fill, e(cell.Note))
			if cell.OK {
				fmt.Fprintf(&b, `<text class="inside wide" x="%s%%" y="%d" text-anchor="middle" dy="0.32em">%s</text>`, decimal(share*(float64(c)+0.5)), top+heatRow/2, e(cell.Text))
			}
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
