package public

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// state is what all pages tell of, read once a change: the only way from a page
// to a site leads through it, and it holds none that is not public. A public site
// that was closed is found by its code only: what was published of it stays, and
// nothing lists it any more.
type state struct {
	version   version
	made      time.Time
	at        time.Time // the newest hour that is published
	sites     []*site   // by name, closed ones left out
	byCode    map[string]*site
	districts []*district // by code
	agency    figures.Agency
	dated     []figures.DatedRules // all of them
	rules     figures.DatedRules   // those in force
	simulated bool                 // some site is
}

// site is one public place that measures air, or nothing yet.
type site struct {
	places.Site
	district   *district
	class      places.Class
	quantities []string        // air only, as measured
	figure     *figures.Figure // of the hour shown, or of the one before
	good       *figures.Figure // the newest that could be judged
	closed     bool
}

// indexed reports whether the site may show an index at all.
func (s *site) indexed(r figures.Rules) bool {
	return r.Yields(string(s.class))
}

// current returns the site's index of the hour shown, if there is one to show.
func (s *site) current() (figures.Figure, bool) {
	if s.figure == nil || !s.figure.OK || s.figure.Estimate {
		return figures.Figure{}, false
	}
	return *s.figure, true
}

type district struct {
	places.District
	sites []*site
}

// best returns the station with the highest valid index, the lowest one, and how
// many have one. Several that share the highest: the first by name.
func (d *district) best() (high, low *site, valid int) {
	for _, s := range d.sites {
		f, ok := s.current()
		if !ok {
			continue
		}
		valid++
		if high == nil || figures.Higher(f, *high.figure) {
			high = s
		}
		if low == nil || figures.Higher(*low.figure, f) {
			low = s
		}
	}
	return high, low, valid
}

// stations counts those that may have an index.
func (d *district) stations(r figures.Rules) (n int) {
	for _, s := range d.sites {
		if s.indexed(r) {
			n++
		}
	}
	return n
}

// learn reads the state of things, once for all who ask at the same time, and in a
// storm of changes not more often than once in Options.Settle.
func (p *Public) learn(ctx context.Context, v version) (*state, error) {
	if st := p.known.Load(); st != nil && (st.version == v || (st.version.hour == v.hour && p.o.Now().Sub(st.made) < p.o.Settle)) {
		return st, nil
	}
	got, err, _ := p.learning.Do(fmt.Sprint(v), func() (any, error) {
		st, err := p.read(ctx, p.o.Now())
		if err != nil {
			return nil, err
		}
		st.version, st.made = v, p.o.Now()
		p.known.Store(st)
		return st, nil
	})
	if err != nil {
		return nil, err
	}
	st, ok := got.(*state)
	if !ok {
		return nil, fmt.Errorf("read what is published: no answer")
	}
	return st, nil
}

func (p *Public) read(ctx context.Context, now time.Time) (*state, error) {
	st := &state{byCode: map[string]*site{}}
	var err error
	if st.dated, err = p.o.Book.Rules(ctx); err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	st.rules = figures.InForce(st.dated, now)
	if st.agency, err = p.o.Book.Agency(ctx); err != nil {
		return nil, fmt.Errorf("read who publishes: %w", err)
	}
	hour := now.Truncate(time.Hour) // whole hours of UTC are whole hours of WIB
	var newest, before map[string]figures.Figure
	for range 3 { // a server that has just come back needs a while
		if newest, err = p.everywhere(ctx, hour); err != nil {
			return nil, err
		}
		if len(newest) > 0 {
			break
		}
		hour = hour.Add(-time.Hour)
	}
	if len(newest) == 0 {
		hour = now.Add(-time.Duration(st.rules.Rules.GraceMin) * time.Minute).Truncate(time.Hour)
	}
	if before, err = p.everywhere(ctx, hour.Add(-time.Hour)); err != nil {
		return nil, err
	}
	st.at = hour
	districts := map[string]*district{}
	for _, d := range places.Districts() {
		districts[d.Code] = &district{District: d}
		st.districts = append(st.districts, districts[d.Code])
	}
	for _, one := range p.o.Places.Sites() {
		if !one.Public || districts[one.District] == nil {
			continue
		}
		s := &site{Site: one, district: districts[one.District], class: one.ClassAt(hour), closed: !one.Closed.IsZero() && !one.Closed.After(now)}
		all, err := p.o.Book.Quantities(ctx, s.Code)
		if err != nil {
			return nil, fmt.Errorf("read what %s measures: %w", s.Code, err)
		}
		for _, name := range all {
			if q, ok := telemetry.Lookup(name); ok && q.Kind == telemetry.KindAir {
				s.quantities = append(s.quantities, name)
			}
		}
		if len(all) > 0 && len(s.quantities) == 0 {
			continue // bins, meters and outlets are public as totals only
		}
		if f, ok := newest[s.Code]; ok && !s.closed {
			s.figure = &f
		} else if f, ok := before[s.Code]; ok && !s.closed {
			s.figure = &f
		}
		if s.figure == nil || !s.figure.OK {
			f, ok, err := p.o.Book.Newest(ctx, figures.Hourly, s.Code, hour)
			if err != nil {
				return nil, fmt.Errorf("read the last figure of %s: %w", s.Code, err)
			}
			if ok && shown(f) {
				s.good = &f
			}
		}
		s.Simulated = s.Simulated || (s.figure != nil && s.figure.Simulated)
		st.byCode[s.Code] = s
		if s.closed {
			continue
		}
		st.simulated = st.simulated || s.Simulated
		st.sites = append(st.sites, s)
		s.district.sites = append(s.district.sites, s)
	}
	byName := func(a, b *site) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Code, b.Code)
	}
	slices.SortFunc(st.sites, byName)
	for _, d := range st.districts {
		slices.SortFunc(d.sites, byName)
	}
	return st, nil
}

// shown reports whether a figure has been published.
func shown(f figures.Figure) bool { return !f.Published.IsZero() }

func (p *Public) everywhere(ctx context.Context, end time.Time) (map[string]figures.Figure, error) {
	all, err := p.o.Book.Everywhere(ctx, figures.Hourly, end)
	if err != nil {
		return nil, fmt.Errorf("read the figures of %s: %w", end.Format(time.RFC3339), err)
	}
	out := map[string]figures.Figure{}
	for site, f := range all {
		if shown(f) {
			out[site] = f
		}
	}
	return out, nil
}

// span reads a site's published figures, oldest first.
func (p *Public) span(ctx context.Context, kind figures.Kind, s *site, from, to time.Time) ([]figures.Figure, error) {
	all, err := p.o.Book.Span(ctx, kind, s.Code, from, to)
	if err != nil {
		return nil, fmt.Errorf("read the figures of %s: %w", s.Code, err)
	}
	return slices.DeleteFunc(all, func(f figures.Figure) bool { return !shown(f) }), nil
}
