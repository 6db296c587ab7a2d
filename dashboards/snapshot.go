package dashboards

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
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
	changed     uint64 // of the book of figures, before anything was read of it
}

// snapshot asks all sources for what u may see.
func (d *Dashboards) snapshot(ctx context.Context, u *account.User) snapshot {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	s := snapshot{now: d.o.Now(), changed: d.o.Figures.Changed()}
	s.gateways, s.gatewaysErr = d.o.Network.Gateways(ctx)
	s.alerts, s.alertsErr = d.o.Alerts.Open(ctx)
	s.total, s.totalErr = d.o.Ledger.Total(ctx)
	s.gateways = slices.DeleteFunc(slices.Clone(s.gateways), func(g Gateway) bool { return !u.May(account.Viewer, g.District, account.SomeKind) })
	slices.SortFunc(s.gateways, func(a, b Gateway) int {
		if c := boolCompare(!troubled(a.State), !troubled(b.State)); c != 0 {
			return c
		}
		if c := strings.Compare(strings.ToLower(display(a)), strings.ToLower(display(b))); c != 0 {
			return c
		}
		return strings.Compare(a.Node.String(), b.Node.String())
	})
	s.index()
	s.alerts = slices.DeleteFunc(slices.Clone(s.alerts), func(a Alert) bool {
		g, _ := s.find(a.Node) // no district if it is not there or hidden
		return !u.May(account.Viewer, g.District, kindOf(a.Quantity))
	})
	return s
}

// version names what the figures' pages show at this moment; it differs if they would
// look different. What changes with every reading (values, ledger) is not in it.
func (s snapshot) version() string {
	var told []string
	for _, a := range s.alerts {
		told = append(told, fmt.Sprint(a.ID, a.Severity, a.AckBy, a.AckAt.UnixMilli(), a.AckNote))
	}
	for _, g := range s.gateways {
		told = append(told, fmt.Sprint(g.Node, g.Name, g.State, g.Told))
	}
	slices.Sort(told)
	return keyOf("version", fmt.Sprint(s.changed, s.now.Truncate(time.Hour).Unix(), s.gatewaysErr != nil, s.alertsErr != nil, told))
}

func (s *snapshot) index() {
	s.places = make(map[telemetry.Node]int, len(s.gateways))
	for i, g := range s.gateways {
		s.places[g.Node] = i
	}
}

// of narrows a snapshot to some of its gateways, and their alerts.
func (s snapshot) of(keep func(Gateway) bool) snapshot {
	s.alerts = slices.DeleteFunc(slices.Clone(s.alerts), func(a Alert) bool {
		g, ok := s.find(a.Node)
		return !ok || !keep(g)
	})
	s.gateways = slices.DeleteFunc(slices.Clone(s.gateways), func(g Gateway) bool { return !keep(g) })
	s.index()
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

// values asks for those of a gateway's readings that u may see.
func (d *Dashboards) values(ctx context.Context, u *account.User, g Gateway) ([]Value, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	all, err := d.o.Network.Values(ctx, g.Node)
	return slices.DeleteFunc(slices.Clone(all), func(v Value) bool { return !u.May(account.Viewer, g.District, kindOf(v.Quantity)) }), err
}
