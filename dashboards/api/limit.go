package api

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits is one token bucket an address (a /64 of IPv6, which is one subscriber).
type limits struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	buckets map[netip.Prefix]*rate.Limiter
}

// maxBuckets bounds the memory. Full buckets, whose address has been quiet, are
// forgotten first; with nothing to forget, strangers share one bucket.
const maxBuckets = 1 << 16

func newLimits(perSecond float64, burst int, now func() time.Time) *limits {
	return &limits{rate: rate.Limit(perSecond), burst: burst, now: now, buckets: map[netip.Prefix]*rate.Limiter{}}
}

// take reports whether the address may ask now, and else in how long.
func (l *limits) take(from netip.Addr) (wait time.Duration, ok bool) {
	now := l.now()
	reservation := l.bucket(from, now).ReserveN(now, 1)
	wait = reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait, wait <= 0
}

func (l *limits) bucket(from netip.Addr, now time.Time) *rate.Limiter {
	from = from.Unmap()
	bits := from.BitLen()
	if from.Is6() {
		bits = 64
	}
	key, _ := from.Prefix(bits) // the zero address: all that are not known share a bucket
	l.mu.Lock()
	defer l.mu.Unlock()
	if b, ok := l.buckets[key]; ok {
		return b
	}
	if len(l.buckets) >= maxBuckets {
		for k, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.burst) {
				delete(l.buckets, k)
			}
		}
		if len(l.buckets) >= maxBuckets {
			key = netip.Prefix{}
			if b, ok := l.buckets[key]; ok {
				return b
			}
		}
	}
	b := rate.NewLimiter(l.rate, l.burst)
	l.buckets[key] = b
	return b
}
