package account

import (
	"net/netip"
	"sync"
	"time"
)

// The throttle's numbers: five wrong passwords a minute from one address, then a
// pause that doubles with each further round; an account that is tried from many
// addresses pauses briefly, so that guessing stays slow and its owner is not
// locked out for long.
const (
	perAddress   = 5
	perAccount   = 20
	window       = time.Minute
	firstPause   = time.Minute
	longestPause = 16 * time.Minute
	forgetAfter  = time.Hour
	maxTracked   = 50_000 // addresses and accounts remembered at a time
)

// Throttle slows down guessing. It has no clock: times are arguments.
type Throttle struct {
	mu      sync.Mutex
	sources map[string]*tries
}

type tries struct {
	wrong  int       // in the window
	since  time.Time // start of the window
	until  time.Time // end of the pause
	pause  time.Duration
	latest time.Time
}

// NewThrottle remembers nothing yet.
func NewThrottle() *Throttle { return &Throttle{sources: map[string]*tries{}} }

func sources(from netip.Addr, name string) [2]string {
	from = from.Unmap()
	if from.Is6() { // one visitor usually has a whole /64
		if p, err := from.Prefix(64); err == nil {
			from = p.Addr()
		}
	}
	return [2]string{"address " + from.String(), "account " + name}
}

// Try asks for one try of a password: 0 = go on, else how long to wait first. A
// try counts as wrong from the start, so that many at once are not free; Right
// takes it back.
func (t *Throttle) Try(from netip.Addr, name string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	both := sources(from, name)
	for i, s := range both {
		e := t.sources[s]
		if e == nil {
			t.makeRoom(now)
			e = &tries{since: now}
			t.sources[s] = e
		}
		if now.Sub(e.since) >= window {
			e.wrong, e.since = 0, now
		}
		if now.Sub(e.latest) >= forgetAfter {
			e.pause = 0
		}
		e.latest = now
		if wait := e.until.Sub(now); wait > 0 {
			return wait
		}
		if e.wrong >= [2]int{perAddress, perAccount}[i] {
			e.pause = min(2*e.pause, longestPause)
			if e.pause == 0 || s == both[1] {
				e.pause = firstPause
			}
			e.until, e.wrong, e.since = now.Add(e.pause), 0, now
			return e.pause
		}
	}
	for _, s := range both {
		t.sources[s].wrong++
	}
	return 0
}

// Right takes back the last try of this address and forgets those of the account.
func (t *Throttle) Right(from netip.Addr, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	both := sources(from, name)
	if e := t.sources[both[0]]; e != nil && e.wrong > 0 {
		e.wrong--
	}
	delete(t.sources, both[1])
}

// makeRoom drops what no longer matters, and the oldest if all of it does.
func (t *Throttle) makeRoom(now time.Time) {
	if len(t.sources) < maxTracked {
		return
	}
	oldest, when := "", now
	for s, e := range t.sources {
		if now.Sub(e.latest) >= forgetAfter {
			delete(t.sources, s)
		} else if oldest == "" || e.latest.Before(when) {
			oldest, when = s, e.latest
		}
	}
	if len(t.sources) >= maxTracked {
		delete(t.sources, oldest)
	}
}
