package uplink

import "time"

// patience is how long a backlog message may wait for its PUBACK before the
// backlog takes less of the link. Live messages queue behind what is already in
// the pipe, so this bounds how far a seven-day backlog can hold them up.
const patience = 2 * time.Second

// pace says how many backlog messages may be on their way: one more for each
// quick PUBACK, half as many after a slow one.
type pace struct {
	window, max float64
	cut         time.Duration // when it was last halved
}

func (p *pace) reset() { p.window, p.cut = min(2, p.max), 0 }

func (p *pace) allowed() int { return int(p.window) }

func (p *pace) acked(sent, now time.Duration) {
	switch {
	case now-sent <= patience:
		p.window = min(p.max, p.window+1)
	case sent >= p.cut: // once for all that were sent before
		p.window = max(1, p.window/2)
		p.cut = now
	}
}

// backoff says how long to wait before the next connection: full jitter, so
// that ten thousand gateways that were cut at once do not come back at once.
type backoff struct {
	first, most time.Duration
	n           int
}

// busyPause is the least that a server which said "unavailable" (CONNACK 3: it
// is full) is left alone.
const busyPause = time.Minute

// next returns the pause; r is random in [0, 1).
func (b *backoff) next(busy bool, r float64) time.Duration {
	longest := min(b.most, b.first<<min(b.n, 16))
	b.n++
	if busy {
		longest = max(longest, busyPause)
		return busyPause + time.Duration(r*float64(longest))
	}
	return time.Duration(r * float64(longest))
}

func (b *backoff) reset() { b.n = 0 }
