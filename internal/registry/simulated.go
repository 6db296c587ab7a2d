package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// ErrReal is what registering a simulated gateway wraps where real ones are
// registered: played readings beside true ones would mislead whoever reads them.
var ErrReal = errors.New("real gateways are registered here")

// mayPlay refuses simulated gateways where a real one is registered, also one that
// was revoked: its readings are still there.
func (r *Registry) mayPlay() error {
	var first telemetry.Node
	n := 0
	for _, g := range r.Gateways() {
		if !g.Simulated {
			if n++; n == 1 {
				first = g.Node
			}
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("%w (%s): play simulated ones on a server of their own (pantau serve --data FOLDER)", ErrReal, first)
	}
	return fmt.Errorf("%w (%s and %d more): play simulated ones on a server of their own (pantau serve --data FOLDER)", ErrReal, first, n-1)
}

// Remove takes a simulated node out of the registry, as if it had never been. A
// real one stays: Revoke ends it, and its history goes on to name it.
func (r *Registry) Remove(ctx context.Context, n telemetry.Node) error {
	g, ok := r.Gateway(n)
	switch {
	case !ok:
		return fmt.Errorf("remove %s: no such gateway: %w", n, fs.ErrNotExist)
	case !g.Simulated:
		return fmt.Errorf("remove %s: it is a real gateway; revoke it instead", n)
	}
	if err := r.o.KV.Delete(ctx, gatewayKey(n)); err != nil {
		return fmt.Errorf("remove %s: %w", n, err)
	}
	r.mu.RLock()
	revision := r.seen[gatewayKey(n)] // the watch brings the deletion's own
	r.mu.RUnlock()
	r.learn(gatewayKey(n), nil, revision)
	return nil
}
