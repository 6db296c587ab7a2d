package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// latestKeeper runs Latest and lets others look at it.
type latestKeeper struct {
	i     *Ingest
	mu    sync.RWMutex
	core  *Latest
	asked map[telemetry.Node]time.Time

	watching sync.Mutex
	changed  chan struct{} // closed and replaced at every change
}

func newLatestKeeper(i *Ingest) *latestKeeper {
	return &latestKeeper{i: i, core: NewLatest(i.o.Holes), asked: map[telemetry.Node]time.Time{}, changed: make(chan struct{})}
}

func (k *latestKeeper) follower() Follower {
	return Follower{Core: k.core, Lock: &k.mu, Effects: func(context.Context) error {
		k.mu.Lock()
		wanted := k.core.TakeRebirths()
		k.mu.Unlock()
		if len(wanted) > 0 {
			k.i.rebirths(k.asked, wanted)
		}
		k.notify()
		return nil
	}}
}

func (k *latestKeeper) notify() {
	k.watching.Lock()
	close(k.changed)
	k.changed = make(chan struct{})
	k.watching.Unlock()
}

func (k *latestKeeper) since(version uint64) Snapshot {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.core.Since(version)
}

// watchEvery is how often a watcher hears at most.
const watchEvery = 250 * time.Millisecond

// Latest returns the newest value of every series and the state of every node.
func (i *Ingest) Latest() Snapshot { return i.latest.since(0) }

// LatestSince returns what changed after the version of an earlier snapshot.
func (i *Ingest) LatestSince(version uint64) Snapshot { return i.latest.since(max(version, 1)) }

// Watch sends everything, then what changes, until ctx ends; the channel is
// then closed. What changes while the receiver is busy comes together in the
// next snapshot: a slow receiver costs nothing but its own age.
func (i *Ingest) Watch(ctx context.Context) <-chan Snapshot {
	out := make(chan Snapshot)
	go func() { // it ends with ctx
		defer close(out)
		version := uint64(0)
		for first := true; ; first = false {
			i.latest.watching.Lock()
			changed := i.latest.changed
			i.latest.watching.Unlock()
			s := i.latest.since(version)
			if first || len(s.Nodes) > 0 || len(s.Values) > 0 || len(s.Gone) > 0 {
				select {
				case <-ctx.Done():
					return
				case out <- s:
				}
			}
			version = max(s.Version, 1)
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			if !wait(ctx, watchEvery) {
				return
			}
		}
	}()
	return out
}
