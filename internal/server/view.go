package server

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// view is what ingest last heard, arranged for the pages: one gateway's values
// at a time, without copying all of them.
type view struct {
	mu     sync.RWMutex
	nodes  map[telemetry.Node]ingest.Node
	values map[telemetry.Node]map[[2]string]ingest.Value // by device and quantity
}

// follow takes snapshots until the channel closes.
func (v *view) follow(ctx context.Context, in *ingest.Ingest) error {
	for s := range in.Watch(ctx) {
		v.mu.Lock()
		if v.nodes == nil {
			v.nodes, v.values = map[telemetry.Node]ingest.Node{}, map[telemetry.Node]map[[2]string]ingest.Value{}
		}
		for _, n := range s.Gone {
			delete(v.nodes, n)
			delete(v.values, n)
		}
		for _, n := range s.Nodes {
			v.nodes[n.Node] = n
		}
		for _, x := range s.Values {
			m := v.values[x.Node]
			if m == nil {
				m = map[[2]string]ingest.Value{}
				v.values[x.Node] = m
			}
			m[[2]string{x.Device, x.Quantity}] = x
		}
		v.mu.Unlock()
	}
	return nil
}

func (v *view) node(n telemetry.Node) (ingest.Node, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	node, ok := v.nodes[n]
	return node, ok
}

func (v *view) all() []ingest.Node {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]ingest.Node, 0, len(v.nodes))
	for _, n := range v.nodes {
		out = append(out, n)
	}
	return out
}

// of returns a node's values by device and quantity.
func (v *view) of(n telemetry.Node) []ingest.Value {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := make([]ingest.Value, 0, len(v.values[n]))
	for _, x := range v.values[n] {
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b ingest.Value) int {
		if c := strings.Compare(a.Device, b.Device); c != 0 {
			return c
		}
		return strings.Compare(a.Quantity, b.Quantity)
	})
	return out
}
