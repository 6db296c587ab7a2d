package evidence

import (
	"html/template"
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A page shows so much of a year's trace; its JSON has all.
const (
	mostEpisodes = 60
	mostHours    = 72
)

type assessment struct {
	Trace    figures.AssessmentTrace
	Classes  []class
	Episodes []episode // the newest first
	Earlier  int       // episodes that are not shown
	Days     []day     // of limits that are compared by the day, the newest first
	Each     []string
	Parts    []part // the newest hours, by quantity
	Changes  []figures.DatedRules
	Settings []Setting
	readings
}

type class struct {
	Name  string
	Since time.Time
}

// episode is told by its windows: a day by its date, a year by its number, others by
// when they ended.
type episode struct {
	From, To, Peak string
}

type day struct {
	Date string
	Mean string // "" = not judged
	Over bool
}

// AssessmentSheet is everything from which a site's year was compared with a limit,
// as HTML without a headline: of a long year its newest part. site is what its place
// is called.
func AssessmentSheet(l page.Lang, t figures.AssessmentTrace, site string) (template.HTML, error) {
	now := figures.InForce(t.Rules, t.At)
	s := assessment{Trace: t, readings: count(l, t.Hours), Changes: t.Rules, Settings: Settings(l, now.Rules, func(string) string { return site })}
	for _, c := range t.Classes {
		s.Classes = append(s.Classes, class{l.Name("class.", c.Class), c.Since})
	}
	shown := t.Exceeded[max(0, len(t.Exceeded)-mostEpisodes):]
	s.Earlier = len(t.Exceeded) - len(shown)
	limit := t.Assessment.Limit
	window := l.Moment
	switch limit.Period {
	case figures.Hours24:
		window = func(end time.Time) string { return l.Date(figures.Day(end)) }
	case figures.Year:
		window = func(time.Time) string { return strconv.Itoa(t.Year) }
	}
	for _, e := range slices.Backward(shown) {
		s.Episodes = append(s.Episodes, episode{window(e.From), window(e.To), l.Number(e.Peak, 2)})
	}
	if limit.Period == figures.Hours24 || limit.Period == figures.Year {
		for _, w := range slices.Backward(t.Windows()) {
			d := day{Date: l.Date(figures.Day(w.End)), Over: limit.Exceeded(w.Mean)}
			if w.Valid {
				d.Mean = l.Number(w.Mean, 2)
			}
			s.Days = append(s.Days, d)
		}
	}
	excluded := t.Exclude()
	for i := len(t.Hours); i > 0; { // by quantity and time: the last of each is its newest
		quantity, to := t.Hours[i-1].Quantity, i
		for i > 0 && t.Hours[i-1].Quantity == quantity {
			i--
		}
		q, _ := telemetry.Lookup(quantity)
		p := part{Name: l.Name("q.", quantity), Unit: page.Unit(q.Unit)}
		if each, ok := now.Rules.Concentration(t.Site, quantity, 1); ok && each != 1 {
			s.Each = append(s.Each, equals(l, p.Unit, each))
		}
		for at := to - 1; at >= max(i, to-mostHours); at-- {
			p.Rows = append(p.Rows, judged{t.Hours[at], excluded[at]}.row(l))
		}
		s.Parts = append(s.Parts, p)
	}
	return write(l, "assessment.html", t.ID, s)
}
