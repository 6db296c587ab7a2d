package ingest

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff is exponential with full jitter: nobody retries in step with others.
type backoff struct{ limit time.Duration }

const (
	backoffFirst = 200 * time.Millisecond
	backoffMost  = 15 * time.Second
)

func newBackoff() backoff { return backoff{backoffFirst} }

func (b *backoff) next() time.Duration {
	d := rand.N(b.limit) + 10*time.Millisecond
	b.limit = min(2*b.limit, backoffMost)
	return d
}

// wait returns false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
