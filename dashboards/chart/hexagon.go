package chart

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/pantau-id/pantau/internal/figures"
)

// Hexagon is one area of the hexagon map.
type Hexagon struct {
	Row, Col int              // pointy top, odd rows half a cell to the right
	Prefix   string           // above the name: "Kab.", "Kota"
	Name     string           // without its prefix
	Value    string           // the figure, or a dash
	Word     string           // the category, or why there is none
	Category figures.Category // CategoryNone: hatched
	URL      string           // where the cell leads; "" = nowhere
	Label    string           // all of it in one sentence, for those who do not see it
}

// Hexagons is a map of equal cells.
type Hexagons struct {
	ID, Title, Desc string
	Cells           []Hexagon
}

// A cell is cellWidth wide; rows lie ¾ of a cell's height apart.
const (
	cellWidth = 100.0
	cellGap   = 3.0
)

// SVG draws the map. It scales with the page; the style sheet leaves names and
// words out (class minor) where a cell is too small for them. Each cell's pattern
// stands in its rim, so that the figure stands on plain colour.
func (h Hexagons) SVG() template.HTML {
	e := template.HTMLEscapeString
	radius := cellWidth / math.Sqrt(3) // from the centre to a corner
	rows, right := 0, 0.0
	for _, c := range h.Cells {
		rows = max(rows, c.Row)
		right = max(right, float64(c.Col)+1+float64(c.Row&1)/2)
	}
	width, height := right*cellWidth, float64(rows)*radius*1.5+2*radius
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="hexagons" id="%s" role="group" aria-labelledby="%[1]s-title %[1]s-desc" viewBox="0 0 %s %s">`, e(h.ID), decimal(width), decimal(height))
	fmt.Fprintf(&b, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc>%[4]s`, e(h.ID), e(h.Title), e(h.Desc), patterns(e(h.ID), 1))
	for _, c := range h.Cells {
		x, y := HexCentre(c.Row, c.Col, radius)
		// The title names the link; what is seen is a part of it (WCAG 2.5.3).
		label := strings.Join(strings.Fields(c.Prefix+" "+c.Name+" "+c.Value+" "+c.Word), " ") + "; " + c.Label
		outer, inner := HexPath(x, y, radius-cellGap), HexPath(x, y, radius-cellGap-7)
		if c.URL != "" {
			fmt.Fprintf(&b, `<a class="cell" href="%s">`, e(c.URL))
		} else {
			b.WriteString(`<g class="cell" role="img">`)
		}
		fmt.Fprintf(&b, `<title>%s</title><path class="%s edge" d="%s"/>`, e(label), categoryClass(c.Category), outer)
		if fill := patternOf(e(h.ID), c.Category); fill != "" {
			fmt.Fprintf(&b, `<path d="%s" fill="%s"/><path class="%s" d="%s"/>`, outer, fill, categoryClass(c.Category), inner)
		}
		on := fmt.Sprintf("on-cat-%d", c.Category)
		text := func(class string, dy float64, s string) {
			if s != "" {
				fmt.Fprintf(&b, `<text class="%s %s" x="%s" y="%s" text-anchor="middle">%s</text>`, class, on, decimal(x), decimal(y+dy), e(s))
			}
		}
		text("prefix minor", -32, c.Prefix)
		text("name minor", -20, c.Name)
		text("figure", 8, c.Value)
		first, second := twoLines(c.Word, 14)
		text("word minor", map[bool]float64{true: 23, false: 20}[second == ""], first)
		text("word minor", 30, second)
		if c.URL != "" {
			b.WriteString(`</a>`)
		} else {
			b.WriteString(`</g>`)
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// HexCentre is where a cell of the hexagon grid lies: pointy top, odd rows half a
// cell to the right; radius is from the centre to a corner.
func HexCentre(row, col int, radius float64) (x, y float64) {
	return (float64(col) + 0.5 + float64(row&1)/2) * radius * math.Sqrt(3), (float64(row)*1.5 + 1) * radius
}

// HexPath is the path of a hexagon with a corner on top.
func HexPath(x, y, radius float64) string {
	var b strings.Builder
	for i := range 6 {
		sin, cos := math.Sincos(math.Pi/3*float64(i) - math.Pi/2)
		b.WriteString(map[bool]string{true: "M", false: "L"}[i == 0])
		b.WriteString(decimal(x + radius*cos))
		b.WriteByte(' ')
		b.WriteString(decimal(y + radius*sin))
	}
	b.WriteByte('Z')
	return b.String()
}

// twoLines breaks a text after its first word where it is longer than most
// letters.
func twoLines(s string, most int) (first, second string) {
	if len([]rune(s)) <= most {
		return s, ""
	}
	first, second, _ = strings.Cut(s, " ")
	return first, second
}
