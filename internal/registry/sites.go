package registry

import (
	"context"
	"fmt"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// SiteOf returns the site that a node's entry names, "" if none. A revoked one
// keeps it: its history stays where it was.
func (r *Registry) SiteOf(n telemetry.Node) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.gateways[n].Site
}

// NodesAt lists the nodes whose entries name the site.
func (r *Registry) NodesAt(site string) []telemetry.Node {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []telemetry.Node
	for n, g := range r.gateways {
		if g.Site == site {
			out = append(out, n)
		}
	}
	return out
}

// checkSiteOf checks where a gateway is said to hang; without a district it gets
// the site's.
func (r *Registry) checkSiteOf(g *Gateway) error {
	if r.o.Sites == nil {
		return fmt.Errorf("site %q: no sites are kept here", g.Site)
	}
	if err := telemetry.CheckID(g.Site); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	if have := r.SiteOf(g.Node); have != "" && have != g.Site {
		return fmt.Errorf("site %q: %s hangs at %s, and a move has a date: write it down as a deployment (pantau place import)", g.Site, g.Node, have)
	}
	s, ok := r.o.Sites.Site(g.Site)
	switch {
	case !ok && places.CheckCode(g.Site) != nil:
		return fmt.Errorf("site %q: %w", g.Site, places.CheckCode(g.Site))
	case !ok && g.District == "":
		return fmt.Errorf("site %q is new: name its district", g.Site)
	case ok && g.District == "":
		g.District = s.District
	case ok && g.District != s.District:
		return fmt.Errorf("site %q lies in district %s, not %s", g.Site, s.District, g.District)
	}
	return nil
}

// needSite registers the gateway's site if nobody has: name and position can
// follow.
func (r *Registry) needSite(ctx context.Context, g *Gateway) error {
	if g.Site == "" {
		return nil
	}
	return r.o.Sites.NeedSite(ctx, g.Site, g.District, g.Simulated)
}
