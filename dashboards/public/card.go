package public

import (
	"context"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// card is what a station says in one look.
type card struct {
	Code, Name, URL       string
	District, DistrictURL string
	Class                 places.Class
	Simulated             bool
	Level                 figures.Category // 0 = cannot be judged, or may not have an index
	Value                 string           // the headline: an index, or of an estimate its concentration
	Long                  bool             // the headline is words
	Word                  string
	Detail                string // beside an index: "2 dari 7 parameter"
	Sentence              string
	Facts                 string // "23 dari 24 jam, PM2,5 dominan, 2 dari 7 parameter"
	At                    time.Time
	Closed                time.Time // zero = it measures
	Status                figures.Status
	Revision              int
	Now                   string // what people breathe now
	Trace                 string
	Advice                *advice
	Bars                  *bars
	Share                 string // address with host
	ShareText             string
	Feed                  string
}

type advice struct {
	Sensitive, Everyone string
	Source              string // where the words come from
}

// line is a station in a list.
type line struct {
	Name, URL string
	Class     places.Class
	Level     figures.Category
	Value     string // "" = none
	Word      string
	Detail    string // beside a value: "2 dari 7 parameter"
	Note      string
	When      string // the hour of what stands there, or how long ago there was an index
	Old       bool   // that is not the page's hour
	Simulated bool
}

func (q ask) line(s *site) line {
	l := line{Name: s.Name, URL: q.siteURL(s), Class: s.class, Simulated: s.Simulated}
	if s.figure != nil {
		l.When, l.Old = q.lang.T("public.at", q.lang.Clock(s.figure.End)), !s.figure.End.Equal(q.at)
	}
	switch f, ok := s.current(); {
	case ok:
		l.Level, l.Value, l.Word, l.Detail = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category), q.detail(f)
	case s.figure != nil && s.figure.Estimate:
		l.Word = q.lang.T("public.estimate")
		if part, ok := leading(*s.figure); ok {
			l.Note = q.concentration(part)
		}
	case s.figure == nil && s.good == nil:
		l.Word = q.lang.T("public.nothing")
	default:
		l.Word = q.lang.T("public.insufficient")
		if s.good != nil && !s.good.Estimate {
			l.When, l.Old = q.lang.T("public.lastjudged", q.lang.Age(q.now.Sub(s.good.End))), true
		}
	}
	return l
}

// leading is the part that an estimate shows: PM2.5 where it is measured.
func leading(f figures.Figure) (figures.Part, bool) {
	var best figures.Part
	found := false
	for _, part := range f.Parts {
		if part.Hours > 0 && part.OK && (!found || part.Parameter == figures.PM25) {
			best, found = part, true
		}
	}
	return best, found
}

func (q ask) concentration(part figures.Part) string {
	return q.lang.T("public.mean24", q.lang.Name("q.", string(part.Parameter)), q.lang.Number(part.Mean, 1))
}

// card tells of a station at the hour shown.
func (p *Public) card(ctx context.Context, q ask, s *site) (card, error) {
	c := card{
		Code: s.Code, Name: s.Name, URL: q.siteURL(s), District: s.district.Name, DistrictURL: q.districtURL(s.district),
		Class: s.class, Simulated: s.Simulated, At: q.at, Feed: q.lang.Path("/umpan/" + s.Code + ".atom"),
	}
	c.Share = p.o.BaseURL + c.URL
	f := s.figure
	if f != nil {
		c.At, c.Status, c.Revision, c.Trace = f.End, f.Status, f.Revision, q.traceURL(*f)
	}
	switch {
	case s.closed:
		c.Closed, c.At = s.Closed, s.Closed.Truncate(time.Hour)
		c.Value, c.Long = q.lang.T("public.closed"), true
		c.Sentence = q.lang.T("public.closed.lead", q.lang.Date(s.Closed))
		if s.good != nil {
			c.At, c.Trace = s.good.End, q.traceURL(*s.good)
			if !s.good.Estimate {
				c.Facts = q.lastGood(*s.good)
			}
		}
		c.ShareText = q.simulatedText(c.Name+": "+c.Sentence, c.Simulated)
		return c, nil
	case f != nil && f.Estimate:
		c.estimate(q, *f)
	case f != nil && f.OK:
		c.judged(q, *f)
		c.Advice = p.advice(q.lang, f.Index.Category)
	default:
		c.Value, c.Long = q.lang.T("public.insufficient"), true
		c.Sentence = q.lang.T("public.say.none")
		switch {
		case s.good != nil && !s.good.Estimate:
			c.Facts = q.lastGood(*s.good)
			c.Trace = q.traceURL(*s.good)
		case f == nil && s.good == nil:
			c.Value, c.Sentence = q.lang.T("public.nothing"), q.lang.T("public.nothing.lead")
		}
	}
	now, err := p.current(ctx, q, s)
	if err != nil {
		return card{}, err
	}
	c.Now = now
	said := c.headline(q.lang)
	if c.Detail != "" {
		said += ", " + c.Detail
	}
	c.ShareText = q.simulatedText(q.lang.T("public.share.text", c.Name, said, q.lang.Clock(c.At)), c.Simulated)
	return c, nil
}

// lastGood tells of the newest index that there is.
func (q ask) lastGood(f figures.Figure) string {
	return q.lang.T("public.lastgood", index(q.lang, f.Index.Index), word(q.lang, f.Index.Category), q.detail(f), q.lang.Moment(f.End), q.lang.Age(q.now.Sub(f.End)))
}

// headline is the card in a few words.
func (c card) headline(l page.Lang) string {
	switch {
	case c.Level != figures.CategoryNone:
		return l.T("public.ispu") + " " + c.Value + ", " + c.Word
	case c.Word != "": // an estimate
		return c.Value + " " + c.Word
	}
	return c.Value
}

func (c *card) judged(q ask, f figures.Figure) {
	c.Level, c.Value, c.Word = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category)
	c.Long = f.Index.Above
	c.Sentence = q.lang.T(page.Key("public.say."+category.Name(c.Level)), c.Name)
	c.Detail = q.detail(f)
	part := dominant(f)
	if f.Index.Above {
		c.Sentence += " " + q.concentration(part) + "."
	}
	c.Facts = q.lang.T("public.facts", q.whole(part.Hours), q.lang.Name("q.", string(f.Index.Dominant)), q.whole(f.Index.Judged))
}

func (c *card) estimate(q ask, f figures.Figure) {
	part, ok := leading(f)
	if !ok {
		c.Value, c.Long, c.Sentence = q.lang.T("public.insufficient"), true, q.lang.T("public.say.none")
		return
	}
	c.Value, c.Word = q.lang.Number(part.Mean, 1), "µg/m³ "+q.lang.Name("q.", string(part.Parameter))
	c.Sentence = q.lang.T("public.say.estimate", c.Name)
	c.Facts = q.lang.T("public.facts.estimate", q.whole(part.Hours))
}

func (q ask) whole(n int) string { return q.lang.Number(float64(n), 0) }

func (p *Public) advice(l page.Lang, c figures.Category) *advice {
	var a advice
	a.Sensitive, a.Everyone, a.Source = p.o.Categories.Advise(l, c)
	return &a
}

// current is the "now" line: the newest hour's mean, since a mean of 24 hours
// hides what people breathe; PM2.5's where there is one. Its category is one of the
// concentration, never an index, and an indicative site has none.
func (p *Public) current(ctx context.Context, q ask, s *site) (string, error) {
	if len(s.quantities) == 0 {
		return "", nil
	}
	r := q.rules.Rules
	hours, err := p.o.Book.Hours(ctx, s.Code, s.quantities, r.Window(q.now.Truncate(time.Hour)), q.now)
	if err != nil {
		return "", fmt.Errorf("read the last hours of %s: %w", s.Code, err)
	}
	list := figures.PresentOf(s.Code, q.now, hours, r)
	if len(list) == 0 {
		return "", nil
	}
	best := list[0]
	for _, one := range list {
		if one.Parameter == figures.PM25 {
			best = one
		}
	}
	name, value, clock := q.lang.Name("q.", string(best.Parameter)), q.lang.Number(best.Mean, 0), q.lang.Clock(best.End)
	if s.indexed(r) {
		return q.lang.T("public.now.category", name, value, clock, word(q.lang, best.Category)), nil
	}
	return q.lang.T("public.now", name, value, clock), nil
}
