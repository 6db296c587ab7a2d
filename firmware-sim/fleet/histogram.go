package fleet

import (
	"math"
	"sync/atomic"
	"time"
)

// histogram counts durations in buckets that grow by 4 %, from 1 µs on. It is
// safe for concurrent use.
type histogram struct{ counts [640]atomic.Uint64 }

var logGrowth = math.Log(1.04)

func (h *histogram) add(d time.Duration) {
	us := float64(d) / float64(time.Microsecond)
	i := 0
	if us > 1 {
		i = min(len(h.counts)-1, int(math.Log(us)/logGrowth)+1)
	}
	h.counts[i].Add(1)
}

// quantile returns the upper edge of the bucket that holds the q-th part, 0 if
// nothing was counted.
func (h *histogram) quantile(q float64) time.Duration {
	var total uint64
	for i := range h.counts {
		total += h.counts[i].Load()
	}
	if total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(total)))
	var seen uint64
	for i := range h.counts {
		if seen += h.counts[i].Load(); seen >= rank {
			return time.Duration(math.Pow(1.04, float64(i)) * float64(time.Microsecond))
		}
	}
	return 0
}
