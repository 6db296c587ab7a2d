package simulation

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
)

// Times are Unix milliseconds of the true UTC, spans milliseconds.
const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute

	begin = int64(1795478400000) // 2026-11-24 00:00 UTC
)

// omissions leave out safeguards, to show that the simulation notices.
type omissions struct {
	spool    spool.Omit
	clock    clock.Omit
	uplink   uplink.Omit
	ingest   ingest.Holes
	alert    alert.Omit
	noTicks  bool // H7: the journal has no ticks
	rowsSite bool // H8: rows are keyed by the site, which changes
	ackEarly bool // H14: PUBACK before the commit
}

// mix says which faults a seed has: mean times between two of a kind, 0 =
// never, and chances between 0 and 1.
type mix struct {
	gateways int
	last     int64 // how long faults go on

	powerCut, kill, restore, damage, image int64   // of one gateway
	crashStep                              float64 // chance to die at one operation on the card
	sickCard                               int64   // writes and fsyncs fail for a while
	smallCard                              bool    // the quota is felt
	refuseNew                              bool

	badRTC                float64 // chance that a boot gets a wrong clock from its clock chip
	noNTP                 bool    // only the server tells the time, at first
	ntpStep               int64
	netCut, halfOpen, lag int64 // of one gateway's link
	longCut               int64
	bothAlive             float64 // chance that an old session is not ended by a new one

	serverKill, serverAway, commitError int64
	killStage                           float64 // chance to die between two stages of a reader
	influxDown, influxSlow              int64
	writeLost, rowLost                  float64 // chance that a write of points, or of rows, has no answer
	poison                              bool
	ruleChange                          int64
	silence                             int64 // all gateways lose their network
	flap                                int64 // a gateway comes back for a few seconds only
	moves                               int64 // a gateway is moved to another site
}

// world is everything, in one goroutine and one virtual time.
type world struct {
	seed    uint64
	rng     *rand.Rand
	mix     mix
	omit    omissions
	now     int64
	queue   events
	serial  uint64
	calm    bool // the faults have ceased
	tracing bool
	trace   []string
	faults  []string

	model    *model
	gateways []*gateway
	server   *server
	db       *database
}

type event struct {
	at, serial int64
	do         func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].serial < q[j].serial
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}

// after does something later.
func (w *world) after(delay int64, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now + max(delay, 0), int64(w.serial), do})
}

// run lives until a time.
func (w *world) run(until int64) {
	for len(w.queue) > 0 && w.queue[0].at <= until && len(w.faults) == 0 {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = max(w.now, until)
}

// note adds to the trace.
func (w *world) note(format string, args ...any) {
	if w.tracing {
		w.trace = append(w.trace, stamp(w.now)+" "+fmt.Sprintf(format, args...))
	}
}

// fault notes what must not happen.
func (w *world) fault(format string, args ...any) {
	w.note("FAULT "+format, args...)
	if len(w.faults) < 20 {
		w.faults = append(w.faults, stamp(w.now)+" "+fmt.Sprintf(format, args...))
	}
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format("15:04:05.000") }

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// between draws from low to high.
func (w *world) between(low, high int64) int64 { return low + w.rng.Int64N(high-low+1) }

// every does something again and again, on average once in mean, until the
// faults cease.
func (w *world) every(mean int64, do func()) {
	if mean <= 0 {
		return
	}
	var next func()
	next = func() {
		w.after(1+int64(w.rng.ExpFloat64()*float64(mean)), func() {
			if w.calm {
				return
			}
			do()
			next()
		})
	}
	next()
}

func newWorld(seed uint64, m mix, o omissions, tracing bool) *world {
	w := &world{seed: seed, rng: rand.New(rand.NewPCG(seed, 5)), mix: m, omit: o, now: begin + 20*minute, tracing: tracing}
	w.model = newModel()
	w.db = newDatabase(w)
	w.server = newServer(w)
	w.server.start()
	for i := range m.gateways {
		w.gateways = append(w.gateways, newGateway(w, i))
	}
	w.every(m.silence, func() {
		long := w.between(6*minute, 14*minute)
		w.note("all gateways lose their network for %v s", long/second)
		for _, g := range w.gateways {
			g.netAway(long)
		}
	})
	return w
}

// simulate runs one seed and returns what must not have happened.
func simulate(seed uint64, m mix, o omissions, tracing bool) *world {
	w := newWorld(seed, m, o, tracing)
	w.run(w.now + m.last)
	if len(w.faults) > 0 {
		return w
	}
	w.note("the faults cease")
	w.calm = true
	w.db.heal()
	w.server.heal()
	for _, g := range w.gateways {
		g.heal()
	}
	w.run(w.now + 6*minute)
	for _, g := range w.gateways {
		g.sampling = false
	}
	for range 30 {
		w.run(w.now + 10*minute)
		if len(w.faults) > 0 || w.drained() == "" {
			break
		}
	}
	if len(w.faults) > 0 {
		return w
	}
	if left := w.drained(); left != "" {
		w.fault("it never drains: %s", left)
		return w
	}
	// One more birth of each gateway closes what its spool no longer lists.
	for _, g := range w.gateways {
		g.disconnect("last look")
	}
	w.run(w.now + 20*minute)
	for range 20 {
		if w.drained() == "" || len(w.faults) > 0 {
			break
		}
		w.run(w.now + 10*minute)
	}
	if len(w.faults) == 0 {
		w.check()
	}
	return w
}

// drained says what is still on its way, "" for nothing.
func (w *world) drained() string {
	for _, g := range w.gateways {
		if st := g.core.Stats(g.boottime()); st.Records > 0 || !g.core.Clean() {
			return fmt.Sprintf("%v has %d records in its spool, %d without a clock", g.node, st.Records, st.Unresolved)
		}
	}
	return w.server.drained()
}
