package broker

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type address = netip.Prefix

// addressOf is what the limits per address count by: an IPv4 address, or the
// /64 that one IPv6 subscriber owns.
func addressOf(a net.Addr) address {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return address{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return address{}
	}
	return p
}

// halfOpen counts the connections of each address that have not logged in.
type halfOpen struct {
	mu    sync.Mutex
	limit int
	open  map[address]int
	gauge prometheus.Gauge
}

func (h *halfOpen) enter(a address) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open[a] >= h.limit {
		return false
	}
	h.open[a]++
	h.gauge.Inc()
	return true
}

func (h *halfOpen) leave(a address) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gauge.Dec()
	if h.open[a]--; h.open[a] <= 0 {
		delete(h.open, a)
	}
}

// maxAddresses bounds the memory of wrongLogins.
const maxAddresses = 10_000

// wrongLogins pauses an address that guesses passwords.
type wrongLogins struct {
	mu    sync.Mutex
	limit int           // wrong logins a minute
	pause time.Duration // how long an address that reached it waits
	seen  map[address]guesses
}

type guesses struct {
	count int
	until time.Time // the minute's or the pause's end
}

// paused reports whether logins of this address are to wait.
func (w *wrongLogins) paused(a address, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	g, ok := w.seen[a]
	if ok && !now.Before(g.until) {
		delete(w.seen, a)
		return false
	}
	return g.count >= w.limit
}

// wrong counts one wrong login.
func (w *wrongLogins) wrong(a address, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.seen[a]
	if !now.Before(g.until) {
		g = guesses{until: now.Add(time.Minute)}
	}
	if g.count++; g.count == w.limit {
		g.until = now.Add(w.pause)
	}
	if len(w.seen) >= maxAddresses {
		for other, o := range w.seen {
			if !now.Before(o.until) || len(w.seen) >= maxAddresses {
				delete(w.seen, other)
			}
		}
	}
	w.seen[a] = g
}
