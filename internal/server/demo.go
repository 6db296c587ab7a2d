package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// DemoRemoved counts what was removed of a demonstration, and names what stays.
type DemoRemoved struct {
	Gateways int      `json:"gateways"`
	Sites    int      `json:"sites"`
	Sensors  int      `json:"sensors"`
	Kept     []string `json:"kept,omitempty"` // sites, each with the reason
}

// orEmpty returns text if it is so.
func orEmpty(so bool, text string) string {
	if so {
		return text
	}
	return ""
}

// adminDemo answers `pantau demo`.
func (s *Server) adminDemo(mux *http.ServeMux) {
	mux.Handle("POST /demo/remove", changing(s, s.removeDemo))
}

// removeDemo removes everything that was only played: gateways registered as
// simulated, their readings, the sites where nothing else ever hung, and the
// figures of these. It may be repeated after an error.
func (s *Server) removeDemo(r *http.Request) (DemoRemoved, error) {
	var out DemoRemoved
	ctx := r.Context()
	played := map[telemetry.Node]bool{}
	var nodes []telemetry.Node
	for _, g := range s.registry.Gateways() {
		if g.Simulated {
			played[g.Node] = true
			nodes = append(nodes, g.Node)
		}
	}
	change, kept := s.playedPlaces(played)
	out.Kept = kept
	if len(nodes)+len(change.RemoveSites) == 0 {
		if len(kept) > 0 {
			return out, nil
		}
		return out, errors.New("nothing here is simulated: no gateway was registered with --simulated, and no site is marked so")
	}
	if err := s.endPlayed(ctx, nodes); err != nil {
		return out, err
	}
	for _, n := range nodes { // before the places: what hangs at one keeps it
		if err := s.registry.Remove(ctx, n); err != nil {
			return out, err
		}
	}
	if err := s.places.Apply(ctx, change); err != nil {
		return out, fmt.Errorf("remove simulated places: %w", err)
	}
	if err := s.publication.Remove(ctx, change.RemoveSites); err != nil {
		return out, err
	}
	out.Gateways, out.Sites, out.Sensors = len(nodes), len(change.RemoveSites), len(change.RemoveSensors)
	return out, s.tell(r, "demo.remove", "", fmt.Sprintf("%d gateways, %d sites, %d sensors", out.Gateways, out.Sites, out.Sensors))
}

// endPlayed cuts off simulated gateways and deletes what they sent.
func (s *Server) endPlayed(ctx context.Context, nodes []telemetry.Node) error {
	for _, n := range nodes {
		if err := s.registry.Revoke(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		if err := s.ingest.Forget(ctx, n); err != nil {
			return err
		}
	}
	return s.ingest.Erase(ctx, nodes)
}

// playedPlaces finds the deployments of simulated gateways, the sites where nothing
// else is or was, and the sensors that hung nowhere else. A site that a real
// gateway shares stays as it is.
func (s *Server) playedPlaces(played map[telemetry.Node]bool) (c places.Change, kept []string) {
	real := map[string]telemetry.Node{} // by site
	named := map[string]bool{}          // sites of simulated gateways
	for _, g := range s.registry.Gateways() {
		if g.Site != "" && !g.Simulated {
			real[g.Site] = g.Node
		} else if g.Site != "" {
			named[g.Site] = true
		}
	}
	carried := map[string]bool{} // sensors that real gateways carry
	for _, site := range s.places.Sites() {
		for _, d := range s.places.Deployments(site.Code) {
			if d.ID == "" { // it follows from the registry
				continue
			}
			if played[d.Node] {
				named[site.Code] = true
				c.Remove = append(c.Remove, d.ID)
			} else {
				real[site.Code] = d.Node
				carried[d.Sensor] = true
			}
		}
	}
	for _, site := range s.places.Sites() {
		if !site.Simulated && !named[site.Code] {
			continue
		}
		if n, ok := real[site.Code]; ok {
			kept = append(kept, fmt.Sprintf("site %s: the real gateway %s hangs there", site.Code, n))
			continue
		}
		c.RemoveSites = append(c.RemoveSites, site.Code)
	}
	for _, sensor := range s.places.Sensors() {
		of := s.places.SensorDeployments(sensor.ID)
		if len(of) > 0 && !carried[sensor.ID] && !slices.ContainsFunc(of, func(d places.Deployment) bool { return !played[d.Node] }) {
			c.RemoveSensors = append(c.RemoveSensors, sensor.ID)
		}
	}
	return c, kept
}
