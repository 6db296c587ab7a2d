package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Erase deletes the readings of nodes, and the rows of their hours and days. The
// nodes must be revoked, so that nothing of theirs comes any more; what came
// before is waited for. The ledger goes on counting what they sent.
func (i *Ingest) Erase(ctx context.Context, nodes []telemetry.Node) error {
	_, head, err := i.o.Journal.Bounds(ctx)
	if err != nil {
		return fmt.Errorf("erase readings: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for i.storing.durable.Load() < head {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("erase readings: wait for the store: %w", ctx.Err())
		}
	}
	// A row that is being computed would land after its readings are gone.
	i.worker.busy.Lock()
	defer i.worker.busy.Unlock()
	for _, n := range nodes {
		if err := i.o.Influx.Erase(ctx, telemetry.Node{Group: cleanName(n.Group), ID: cleanName(n.ID)}); err != nil {
			return err
		}
	}
	return i.storing.hoursDone(func(h *Hours) {
		for _, n := range nodes {
			h.Forget(n)
		}
	})
}
