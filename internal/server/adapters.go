package server

import (
	"context"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// The pages declare what they need; these types give it to them from what the
// other rooms have.

// network joins the registry's gateways with what ingest last heard of them.
type network struct{ s *Server }

func (n network) Gateways(context.Context) ([]dashboards.Gateway, error) {
	var out []dashboards.Gateway
	for _, g := range n.s.registry.Gateways() {
		view := dashboards.Gateway{Node: g.Node, Name: g.Name, District: g.District, Site: g.Site, State: dashboards.StateUnknown}
		if node, ok := n.s.view.node(g.Node); ok {
			view.State = dashboards.State(node.Status)
			view.Since, view.Heard = nanos(node.Since), nanos(node.LastSeen)
			view.Clock, view.Version, view.Simulated = node.Clock, node.Version, node.Simulated
			view.Told = node.Identities
		}
		if g.Credential == registry.Certificate {
			view.Expires = g.Expires
		}
		if g.Revoked {
			view.State = dashboards.StateRevoked
		}
		out = append(out, view)
	}
	return out, nil
}

func nanos(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func (n network) Values(_ context.Context, node telemetry.Node) ([]dashboards.Value, error) {
	var out []dashboards.Value
	for _, v := range n.s.view.of(node) {
		out = append(out, dashboards.Value{
			Device: v.Device, Quantity: v.Quantity, Kind: v.Kind, Unit: v.Unit, Value: v.Value,
			Time: time.UnixMilli(v.Time).UTC(), Flag: v.Flag, Gap: v.Gap, Interval: v.Interval, Stale: v.Stale != 0,
		})
	}
	return out, nil
}

// alerts shows the alert book to operators.
type alerts struct{ s *Server }

func (a alerts) Open(context.Context) ([]dashboards.Alert, error) {
	var out []dashboards.Alert
	for _, r := range a.s.book.Open() {
		t := r.Firing
		node, _ := a.s.view.node(t.Series.Node)
		view := dashboards.Alert{
			ID: t.Key, Rule: t.Name, Severity: dashboards.Severity(t.Severity), Condition: condition(t.Condition),
			Node: t.Series.Node, Device: t.Series.Device, Quantity: t.Quantity, Limit: t.Threshold, Value: t.Value,
			Since: time.UnixMilli(t.Time).UTC(), Simulated: node.Simulated,
		}
		if q, ok := telemetry.Lookup(t.Quantity); ok {
			view.Unit = q.Unit
		}
		if r.Ack != nil {
			view.AckBy, view.AckAt, view.AckNote = r.Ack.Who, r.Ack.At, r.Ack.Note
		}
		out = append(out, view)
	}
	return out, nil
}

func condition(c alert.Condition) dashboards.Condition {
	switch c {
	case alert.Above:
		return dashboards.CondAbove
	case alert.Below:
		return dashboards.CondBelow
	case alert.NoData:
		return dashboards.CondNoData
	}
	return dashboards.CondOther
}

func (a alerts) Acknowledge(ctx context.Context, id, who, note string) error {
	if err := a.s.book.Acknowledge(ctx, id, ingest.Acknowledgement{Who: who, At: time.Now().UTC(), Note: note}); err != nil {
		return err
	}
	return a.s.endMisuse(ctx)
}

// ledger counts record numbers.
type ledger struct{ s *Server }

func (l ledger) Total(context.Context) (dashboards.Totals, error) {
	return totals(l.s.ingest.Ledger()), nil
}

func (l ledger) Gateway(_ context.Context, node telemetry.Node) (dashboards.Totals, error) {
	return totals(l.s.ingest.LedgerNode(node)), nil
}

func totals(t ingest.Totals) dashboards.Totals {
	return dashboards.Totals{
		Expected: t.Expected, Stored: t.Stored, Rejected: t.Rejected, OnTheWay: t.Missing, Lost: t.Lost, Dead: t.DeadLetters,
	}
}

// history reads stored readings for charts.
type history struct{ s *Server }

// chartPoints bounds what a chart is given.
const chartPoints = 2000

func (h history) Series(ctx context.Context, id dashboards.SeriesID, from, to time.Time) (dashboards.Series, error) {
	var out dashboards.Series
	kind := telemetry.KindOther
	for _, v := range h.s.view.of(id.Node) {
		if v.Device == id.Device && v.Quantity == id.Quantity {
			out.Unit, out.Interval, kind = v.Unit, v.Interval, v.Kind
		}
	}
	span := influx.Span{Kinds: []telemetry.Kind{kind}, Node: id.Node, Device: id.Device, Quantities: []string{id.Quantity}, From: from, To: to}
	err := h.s.raw.Points(ctx, span, func(p *influx.Point) error {
		for i := range p.Readings {
			r := &p.Readings[i]
			if r.Quantity == id.Quantity {
				out.Points = append(out.Points, dashboards.Point{
					Time: time.Unix(0, p.Time).UTC(), Value: r.Value.Number, Rejected: r.Flag != telemetry.FlagNone, Flag: r.Flag, Gap: r.Gap,
				})
			}
		}
		return nil
	})
	out.Points = thin(out.Points, chartPoints)
	return out, err
}

// thin keeps of each stretch of points the lowest and the highest value, every
// rejected value and the first gap, so that a chart of many points shows the
// same outline.
func thin(points []dashboards.Point, most int) []dashboards.Point {
	if len(points) <= most {
		return points
	}
	size := (2*len(points) + most - 1) / most
	var out []dashboards.Point
	for start := 0; start < len(points); start += size {
		part := points[start:min(start+size, len(points))]
		low, high, gap := -1, -1, -1
		for i, p := range part {
			switch {
			case p.Gap != telemetry.GapNone:
				if gap < 0 {
					gap = i
				}
			case p.Rejected:
			default:
				if low < 0 || p.Value < part[low].Value {
					low = i
				}
				if high < 0 || p.Value > part[high].Value {
					high = i
				}
			}
		}
		for i, p := range part {
			if i == low || i == high || i == gap || (p.Rejected && p.Gap == telemetry.GapNone) {
				out = append(out, p)
			}
		}
	}
	return out
}

// state names a gateway's state for the command line.
func (s *Server) state(g registry.Gateway) string {
	if g.Revoked {
		return "revoked"
	}
	if n, ok := s.view.node(g.Node); ok {
		return string(n.Status)
	}
	return "unknown"
}
