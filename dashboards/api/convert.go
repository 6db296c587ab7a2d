package api

import (
	"time"

	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// visible reports whether the public may see a site.
func visible(s places.Site) bool { return s.Public }

// open reports whether the public may see a quantity: those of the air. Others
// come as districts' totals when they are released.
func open(quantity string) bool { return report.KindOf(quantity) == telemetry.KindAir }

func (a *API) sites() []places.Site {
	var out []places.Site
	for _, s := range a.o.Places.Sites() {
		if visible(s) {
			out = append(out, s)
		}
	}
	return out
}

// site finds a visible site; one that is not public does not exist here.
func (a *API) site(code string) (places.Site, error) {
	s, ok := a.o.Places.Site(code)
	if !ok || !visible(s) {
		return s, notFound("There is no public site of this code. The list is at " + Prefix + "/sites.")
	}
	return s, nil
}

func wib(t time.Time) time.Time { return t.In(figures.WIB) }

// maybe is nil for what is not known.
func maybe(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = wib(t)
	return &t
}

func unit(quantity string) string {
	q, _ := telemetry.Lookup(quantity) // what is unknown has no unit
	return string(q.Unit)
}

func observation(o report.Observation) Observation {
	return Observation{
		Site: o.Site.Code, Quantity: o.Quantity, Unit: string(o.Unit), Start: wib(o.Start), End: wib(o.End), Value: o.Value, Minimum: o.Min, Maximum: o.Max,
		Valid: o.Valid, Expected: o.Expected, Complete: o.Complete, Excluded: string(o.Excluded), Rejected: o.Rejected, Gaps: o.Gaps, Sensor: page.Plain(o.Sensor),
		Status: string(o.Status), Class: string(o.Class), Revision: o.Revision, Simulated: o.Simulated,
	}
}

func (a *API) index(f figures.Figure) Index {
	out := Index{
		ID: f.ID, Kind: "hourly", Site: f.Site, Start: wib(f.End.Add(-24 * time.Hour)), End: wib(f.End), Valid: f.OK, Parts: []Part{},
		Estimate: f.Estimate, Status: string(f.Status), Revision: f.Revision, Reason: f.Reason, Rules: f.Rules,
		Computed: wib(f.Computed), Published: maybe(f.Published), Simulated: f.Simulated, Hash: f.Hash, Trace: Prefix + "/traces/" + f.ID,
	}
	if f.Kind == figures.Daily {
		out.Kind = "daily"
	}
	if s, ok := a.o.Places.Site(f.Site); ok {
		out.District, out.Class = s.District, string(s.ClassAt(f.End))
	}
	if f.OK {
		dominant := string(f.Index.Dominant)
		out.Value, out.Above500, out.Category, out.Dominant, out.Judged = number(f.Index.Value), f.Index.Above, category(f.Index.Category), &dominant, f.Index.Judged
	}
	for _, p := range f.Parts {
		part := Part{Parameter: string(p.Parameter), Hours: p.Hours, Age: p.Age, Valid: p.OK}
		if p.Hours > 0 {
			part.Mean = &p.Mean
		}
		if p.OK {
			part.Value, part.Above500, part.Category = number(p.Index.Value), p.Index.Above, category(p.Index.Category)
		}
		out.Parts = append(out.Parts, part)
	}
	return out
}

func number(n int) *int { return &n }

func category(c figures.Category) *string {
	name, err := c.MarshalText()
	if err != nil || len(name) == 0 {
		return nil
	}
	s := string(name)
	return &s
}

// shown reports whether the public may see a figure.
func (a *API) shown(f figures.Figure) bool {
	s, ok := a.o.Places.Site(f.Site)
	return ok && visible(s) && !f.Published.IsZero()
}
