package chart

import (
	"fmt"
	"html/template"
	"strings"

	"github.com/pantau-id/pantau/internal/figures"
)

// A category of the index is shown by its colour, its pattern and its word: the
// ministry's green, blue, yellow, red and black look alike to many. The colours
// and the patterns' classes (cat-0 … cat-5, on-cat-0 … on-cat-5) are in the style
// sheet, cat-0 standing for "cannot be judged".

// categoryClass is the class of a category's fill.
func categoryClass(c figures.Category) string { return fmt.Sprintf("cat-%d", c) }

// marks draws a category's pattern into a box of 24 by 24 at x, y: the same marks
// for a swatch and, repeated, for an area.
func marks(c figures.Category) string {
	switch c {
	case figures.Sedang:
		return `<path d="M6 6h.01M18 6h.01M12 12h.01M6 18h.01M18 18h.01"/>`
	case figures.TidakSehat:
		return `<path d="M0 12 12 0M0 24 24 0M12 24 24 12"/>`
	case figures.SangatTidakSehat:
		return `<path d="M0 12 12 0M0 24 24 0M12 24 24 12M12 0 24 12M0 0 24 24M0 12 12 24"/>`
	case figures.Berbahaya:
		return `<path d="M4 0V24M12 0V24M20 0V24"/>`
	}
	return ""
}

// Swatch is a category's colour and pattern, as big as a letter: put its word
// beside it.
func Swatch(c figures.Category) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="swatch" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><rect class="%s" width="24" height="24" rx="4"/><g class="marks on-cat-%d">%s</g></svg>`,
		categoryClass(c), c, marks(c)))
}

// patterns are the fills of all categories for one svg element; their ids begin
// with id. They grow by scale, for areas that are drawn shrunk.
func patterns(id string, scale float64) string {
	var b strings.Builder
	b.WriteString(`<defs>`)
	for c := figures.Sedang; c <= figures.Berbahaya; c++ {
		fmt.Fprintf(&b, `<pattern id="%s-cat-%d" width="24" height="24" patternUnits="userSpaceOnUse" patternTransform="scale(%s)"><g class="marks on-cat-%d">%s</g></pattern>`, id, c, decimal(scale/2), c, marks(c))
	}
	fmt.Fprintf(&b, `<pattern id="%s-hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="2" height="8"/></pattern></defs>`, id)
	return b.String()
}

// patternOf is the fill of a category's pattern, "" if it has none.
func patternOf(id string, c figures.Category) string {
	if c < figures.Sedang || c > figures.Berbahaya {
		return ""
	}
	return fmt.Sprintf("url(#%s-cat-%d)", id, c)
}

// Fills are the categories' fills p0 … p5, colour and pattern in one (p0: hatched),
// for pages that count bytes: defined once, at the beginning of the page, and used
// as fill="url(#p3)".
func Fills() template.HTML {
	var b strings.Builder
	b.WriteString(`<svg class="defs" aria-hidden="true"><defs><pattern id="p0" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="cat-0" width="8" height="8"/><rect class="hatch" width="2" height="8"/></pattern>`)
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		fmt.Fprintf(&b, `<pattern id="p%d" width="24" height="24" patternUnits="userSpaceOnUse" patternTransform="scale(.5)"><rect class="%s" width="24" height="24"/><g class="marks on-cat-%d">%s</g></pattern>`, c, categoryClass(c), c, marks(c))
	}
	b.WriteString(`</defs></svg>`)
	return template.HTML(b.String())
}
