package dashboards

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// askFor bounds what a page waits for one source: a slow one costs its own block
// of the page, not the page.
const askFor = 3 * time.Second

// snapshot is what all sources said at one moment. A source that failed leaves
// its error.
type snapshot struct {
	now         time.Time
	gateways    []Gateway              // by trouble, then name
	places      map[telemetry.Node]int // in gateways
	gatewaysErr error
	alerts      []Alert
	alertsErr   error
	total       Totals
	totalErr    error
}

func (d *Dashboards) snapshot(ctx context.Context) snapshot {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	s := snapshot{now: d.o.Now()}
	s.gateways, s.gatewaysErr = d.o.Network.Gateways(ctx)
	s.alerts, s.alertsErr = d.o.Alerts.Open(ctx)
	s.total, s.totalErr = d.o.Ledger.Total(ctx)
	s.gateways = slices.Clone(s.gateways)
	slices.SortFunc(s.gateways, func(a, b Gateway) int {
		if c := boolCompare(!troubled(a.State), !troubled(b.State)); c != 0 {
			return c
		}
		if c := strings.Compare(strings.ToLower(display(a)), strings.ToLower(display(b))); c != 0 {
			return c
		}
		return strings.Compare(a.Node.String(), b.Node.String())
	})
	s.places = make(map[telemetry.Node]int, len(s.gateways))
	for i, g := range s.gateways {
		s.places[g.Node] = i
	}
	return s
}

// report logs what failed, for pages that a person asked for.
func (d *Dashboards) report(id string, s snapshot) {
	for what, err := range map[string]error{"gateways": s.gatewaysErr, "alerts": s.alertsErr, "ledger": s.totalErr} {
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", id, "part", what, "err", err)
		}
	}
}

func troubled(s State) bool { return s == StateOffline || s == StateRevoked }

func display(g Gateway) string {
	if g.Name != "" {
		return g.Name
	}
	return g.Node.ID
}

// fragment makes a part of a page of this moment.
func (s snapshot) fragment(id string, view any) fragment {
	return fragment{ID: id, Now: s.now, View: view}
}

func (s snapshot) find(n telemetry.Node) (Gateway, bool) {
	i, ok := s.places[n]
	if !ok {
		return Gateway{}, false
	}
	return s.gateways[i], true
}

// name is what people call a gateway.
func (s snapshot) name(n telemetry.Node) string {
	if g, ok := s.find(n); ok {
		return display(g)
	}
	return n.String()
}

func (s snapshot) simulated() bool {
	return slices.ContainsFunc(s.gateways, func(g Gateway) bool { return g.Simulated })
}

// values asks for one gateway's readings.
func (d *Dashboards) values(ctx context.Context, n telemetry.Node) ([]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	return d.o.Network.Values(ctx, n)
}
