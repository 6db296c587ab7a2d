package chart

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// Calendar is one month of daily figures.
type Calendar struct {
	ID, Title, Desc string
	Month           time.Time // its first day
	Weekdays        [7]string // short names, Monday first
	Days            []Day     // from the month's first day on; fewer = not there yet
}

// Day is one day's figure.
type Day struct {
	Text     string           // the figure as written; "" = none
	Category figures.Category // CategoryNone: hatched
	Note     string           // all of it in one sentence
	Future   bool             // nothing is to be expected yet
}

const (
	dayBox  = 32
	dayHead = 40
)

// SVG draws the month, 7 boxes wide.
func (c Calendar) SVG() template.HTML {
	e := template.HTMLEscapeString
	offset := (int(c.Month.Weekday()) + 6) % 7
	weeks := (offset + len(c.Days) + 6) / 7
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="calendar" id="%s" role="img" aria-labelledby="%[1]s-title %[1]s-desc" viewBox="0 0 %d %d" width="%[2]d" height="%[3]d">`, e(c.ID), 7*dayBox, dayHead+weeks*dayBox)
	fmt.Fprintf(&b, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc>%[4]s`, e(c.ID), e(c.Title), e(c.Desc), patterns(e(c.ID), 1))
	fmt.Fprintf(&b, `<text class="month" x="1" y="14">%s</text>`, e(c.Title))
	for i, name := range c.Weekdays {
		fmt.Fprintf(&b, `<text class="weekday" x="%d" y="33" text-anchor="middle">%s</text>`, i*dayBox+dayBox/2, e(name))
	}
	for i, d := range c.Days {
		x, y := (offset+i)%7*dayBox, dayHead+(offset+i)/7*dayBox
		if d.Future {
			fmt.Fprintf(&b, `<rect class="future" x="%d" y="%d" width="30" height="30" rx="3"/>`, x+1, y+1)
			continue
		}
		fmt.Fprintf(&b, `<g><title>%s</title><rect class="%s edge" x="%d" y="%d" width="30" height="30" rx="3"/>`, e(d.Note), categoryClass(d.Category), x+1, y+1)
		switch fill := patternOf(e(c.ID), d.Category); {
		case fill != "": // the pattern in a strip below the figure
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="30" height="8" fill="%s"/>`, x+1, y+23, fill)
		case d.Category == figures.CategoryNone:
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="30" height="30" rx="3" fill="url(#%s-hatch)"/>`, x+1, y+1, e(c.ID))
		}
		fmt.Fprintf(&b, `<text class="on-cat-%d" x="%d" y="%d" text-anchor="middle">%s</text></g>`, d.Category, x+dayBox/2, y+19, e(d.Text))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
