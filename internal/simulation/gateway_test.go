package simulation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

const sampleEvery = 30 * second

// gateway is a Raspberry Pi with its card, its kernel's clock and the shell
// around the cores.
type gateway struct {
	w    *world
	node telemetry.Node
	card *card
	kept *card // an image of it

	// The machine.
	powered bool
	boot    clock.BootID
	bootAt  int64
	wrong   int64 // the kernel's UTC is off by so much
	quality telemetry.TimeQuality
	sick    bool

	// The process.
	running  bool
	run      int // counts processes: what was begun by an old one does nothing
	core     *spool.Core
	mapper   *clock.Mapper
	session  *uplink.Session
	syncs    []spool.Op
	syncing  bool
	armed    int64
	reading  bool // it has not read its card yet
	fragile  bool // it may die at any operation on its card
	mappings int  // not known to be on the card
	wrote    map[spool.SegmentID]int64
	started  int64 // CLOCK_BOOTTIME

	// The link.
	conn    *conn
	away    int64 // until when there is no network
	dialing bool
	births  map[*conn]*sparkplug.Birth // for H13's omission

	// What it measures.
	sampling bool
	nextID   int
	energy   float64
	smoke    int64
	waiting  []*truth // not yet known to be durable
	dropped  uint64
	damaged  map[clock.BootID]bool // by the card's decay; then some losses are nobody's fault
	decayed  bool
	mapped   map[clock.BootID]bool // a mapping was on the card
}

// died is what a crash in the middle of a step is thrown as.
type died struct{ power bool }

func newGateway(w *world, i int) *gateway {
	g := &gateway{
		w: w, node: telemetry.Node{Group: "3374", ID: fmt.Sprintf("gw-%d", i)}, card: newCard(), nextID: i * 100_000,
		damaged: map[clock.BootID]bool{}, mapped: map[clock.BootID]bool{}, births: map[*conn]*sparkplug.Birth{}, sampling: true,
	}
	g.power()
	m := &w.mix
	w.every(m.powerCut, func() { g.crash(true) })
	w.every(m.kill, func() { g.crash(false) })
	w.every(m.image, func() {
		if g.kept == nil {
			w.note("%v: its card is copied", g.node)
			g.kept = g.card.image()
		}
	})
	w.every(m.restore, g.restore)
	w.every(m.damage, g.damage)
	w.every(m.sickCard, func() {
		g.sick = true
		w.after(w.between(5*second, 60*second), func() { g.sick = false })
	})
	w.every(m.ntpStep, func() {
		step := w.between(-200*second, 200*second)
		if w.chance(0.7) {
			step = w.between(-6, 6) * sampleEvery // minutes then meet minutes
		}
		w.note("%v: its clock steps by %v ms", g.node, step)
		g.wrong += step
		w.after(w.between(30*second, 10*minute), func() { g.wrong -= step })
	})
	w.every(m.netCut, func() { g.netAway(w.between(0, 90*second)) })
	w.every(m.longCut, func() { g.netAway(w.between(5*minute, 25*minute)) })
	w.every(m.halfOpen, func() {
		if g.conn != nil {
			w.note("%v: the link is half open", g.node)
			g.conn.halfOpen()
		}
	})
	w.every(m.lag, func() {
		if c := g.conn; c != nil {
			w.note("%v: the link lags, and its gateway gives it up", g.node)
			c.lag(w.between(10*second, 60*second))
			w.after(w.between(0, 30*second), func() {
				switch {
				case g.conn != c:
				case w.chance(0.5):
					g.crash(false)
				default:
					g.disconnect("it lags")
				}
			})
		}
	})
	w.every(m.flap, func() {
		g.netAway(w.between(6*minute, 8*minute))
		w.after(w.between(6*minute, 9*minute), func() { g.netAway(w.between(6*minute, 9*minute)) })
	})
	w.every(m.moves, func() { w.model.sites[g.node]++ })
	for _, device := range []string{"air", "meter"} {
		g.sampleLater(device, w.between(0, sampleEvery))
	}
	g.lookLater()
	return g
}

func (g *gateway) boottime() time.Duration { return time.Duration(g.w.now-g.bootAt) * time.Millisecond }

func (g *gateway) uplinkNow() uplink.Now {
	return uplink.Now{Boottime: g.boottime(), UTC: g.w.now + g.wrong}
}

// power switches the machine on; the process follows.
func (g *gateway) power() {
	w := g.w
	g.powered, g.bootAt = true, w.now-w.between(3, 30)*second
	for i := range g.boot {
		g.boot[i] = byte(w.rng.Uint32())
	}
	g.wrong, g.quality = -w.now, telemetry.TimeNone // 1970
	if w.chance(0.4) {
		g.wrong = -w.between(0, 40*minute) // the last shutdown
	}
	if w.chance(w.mix.badRTC) {
		g.quality, g.wrong = telemetry.TimeRTC, w.between(-4*minute, 4*minute)
		if w.chance(0.3) {
			g.wrong = w.between(-hour, hour)
		}
	}
	boot := g.boot
	if !w.mix.noNTP || w.chance(0.5) {
		w.after(w.between(second, 12*minute), func() {
			if g.powered && g.boot == boot {
				g.quality, g.wrong = telemetry.TimeNTP, w.between(-3, 3)
			}
		})
	}
	w.note("%v: power on, boot %v, clock off by %d ms (%v)", g.node, g.boot, g.wrong, g.quality)
	g.start()
}

// start begins a process.
func (g *gateway) start() {
	w := g.w
	g.run++
	g.running, g.fragile, g.syncing, g.dialing, g.syncs, g.armed = true, !w.calm, false, false, nil, 0
	g.wrote, g.started = map[spool.SegmentID]int64{}, clock.Millis(g.boottime())
	epoch := telemetry.Epoch(w.rng.Uint64() | 1)
	o := spool.CoreOptions{
		Epoch: epoch, Boot: g.boot, Quota: 1 << 20, SegmentBytes: 4 << 10, SyncEvery: 5 * time.Second, SyncCount: 8, Omit: w.omit.spool,
	}
	if w.mix.smallCard {
		o.Quota, o.SegmentBytes = 8<<10, 1<<10
	}
	if w.mix.refuseNew {
		o.Policy = spool.RefuseNew
	}
	g.reading = true
	g.guard(func() {
		g.core = spool.NewCore(o)
		for _, id := range g.card.ids() {
			f := g.card.files[id]
			if id.Boot == g.boot {
				f.synced = len(f.data) // it fsyncs what a killed process left
			}
			g.core.Recover(id, slices.Clone(f.data))
			g.apply()
		}
		g.core.Start(g.boottime())
		g.apply()
		g.load()
		g.core.Tick(g.boottime())
		g.apply()
		g.syncAll()
		g.reading = false
		// What a killed process had written is on the card now.
		for _, t := range g.waiting {
			t.durable = t.durable || t.written
		}
		g.waiting = nil
		w.note("%v: process starts, epoch %v, %d files, %d records", g.node, g.core.Epoch(), len(g.card.files), g.core.Stats(g.boottime()).Records)
		mo := clock.MapperOptions{Epoch: g.core.Epoch(), Boot: g.boot, Omit: w.omit.clock, Counter: g.card.counter}
		if m, ok := g.core.LastMapping(); ok {
			mo.Last = &m
		}
		g.mapper = clock.NewMapper(mo)
		if m, ok := g.mapper.Start(clock.Millis(g.boottime())); ok {
			g.mapping(m)
		}
		g.session = uplink.NewSession(uplink.SessionOptions{
			Node: g.node, Source: source{g}, Version: "simulated", Simulated: true, QoS: 1, Window: 16, Stall: 30 * time.Second,
			Limit: spool.Limit{Records: 12, Bytes: 4 << 10}, Omit: w.omit.uplink,
		})
		defs := []uplink.Definition{
			{Device: "air", Quantity: "temperature", Interval: 30 * time.Second}, {Device: "air", Quantity: "pm2_5", Interval: 30 * time.Second},
			{Device: "air", Quantity: idOfAir, Interval: 30 * time.Second}, {Device: "meter", Quantity: "voltage", Interval: 30 * time.Second},
			{Device: "meter", Quantity: idOfMeter, Interval: 30 * time.Second}, {Device: "meter", Quantity: "energy", Interval: 30 * time.Second},
		}
		// Sensors are found in any order.
		w.rng.Shuffle(len(defs), func(i, j int) { defs[i], defs[j] = defs[j], defs[i] })
		g.session.Define(defs, g.uplinkNow())
		g.look()
		g.after()
		g.dial()
	})
}

// guard runs a step of the process, which may end in the middle.
func (g *gateway) guard(step func()) {
	defer func() {
		if r := recover(); r != nil {
			d, ok := r.(died)
			if !ok {
				panic(r)
			}
			g.w.note("%v: dies in the middle of a step", g.node)
			g.crash(d.power)
		}
	}()
	step()
}

// step runs something of the present process later.
func (g *gateway) step(delay int64, do func()) {
	run := g.run
	g.w.after(delay, func() {
		if g.running && g.run == run {
			g.guard(func() {
				do()
				g.after()
			})
		}
	})
}

// crash ends the process, and with power the machine; both come back.
func (g *gateway) crash(power bool) {
	w := g.w
	if !g.powered || !g.running && !power {
		return
	}
	w.note("%v: ends, power cut %v", g.node, power)
	if g.core != nil {
		g.dropped += g.core.Stats(0).Dropped
	}
	g.running, g.mappings = false, 0
	g.waiting = slices.DeleteFunc(g.waiting, func(t *truth) bool { return !t.written })
	if c := g.conn; c != nil {
		g.conn = nil
		c.gone(power)
	}
	pause := w.between(second, 20*second)
	if power {
		g.powered = false
		g.card.powerCut(w)
		g.waiting = nil // what was not fsynced may be there or not
		pause = w.between(2*second, 3*minute)
	}
	if w.chance(0.1) {
		pause += w.between(minute, 20*minute)
	}
	w.after(pause, func() {
		switch {
		case power:
			g.power()
		case g.powered && !g.running:
			g.start()
		}
	})
}

// apply carries out what the core asks for, fsyncs excepted.
func (g *gateway) apply() {
	w := g.w
	for {
		ops := g.core.Take()
		if len(ops) == 0 {
			break
		}
		for _, op := range ops {
			if g.fragile && !w.calm && w.chance(w.mix.crashStep) {
				panic(died{w.chance(0.5)})
			}
			if op.Kind == spool.OpSync {
				g.syncs = append(g.syncs, op)
				continue
			}
			if op.Kind == spool.OpWrite && g.sick && w.chance(0.5) {
				g.core.WriteFailed(op.Segment, errCard, g.boottime())
				continue
			}
			g.card.do(op)
			if op.Kind == spool.OpWrite {
				end := op.Off + int64(len(op.Data))
				g.core.Written(op.Segment, op.Off, end)
				if op.Off > g.wrote[op.Segment] {
					continue // behind a write that failed
				}
				g.wrote[op.Segment] = max(g.wrote[op.Segment], end)
				for _, t := range g.waiting {
					if !t.written {
						t.written, t.segment, t.end = true, op.Segment, end
					}
				}
			}
		}
	}
	g.clean()
}

// clean notes what is known to be on the card.
func (g *gateway) clean() {
	if g.reading || !g.core.Clean() {
		return
	}
	for _, t := range g.waiting {
		t.durable = true
	}
	g.waiting = nil
	if g.mappings > 0 {
		g.mappings, g.mapped[g.boot] = 0, true
	}
}

// syncOne ends one fsync.
func (g *gateway) syncOne(op spool.Op) {
	if g.sick && g.w.chance(0.4) {
		// What the file holds is not known any more.
		for _, t := range g.waiting {
			t.written = t.written && t.segment != op.Segment
		}
		g.core.SyncFailed(op.Segment, errCard, g.boottime())
		g.apply()
		return
	}
	if f := g.card.files[op.Segment]; f != nil {
		f.synced = max(f.synced, min(int(op.To), len(f.data)))
	}
	g.card.syncFolder()
	g.core.Synced(op.Segment, op.To)
	for _, t := range g.waiting {
		if t.written && t.segment == op.Segment && t.end <= op.To {
			t.durable = true
		}
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(t *truth) bool { return t.durable })
	g.apply()
}

func (g *gateway) syncAll() {
	for len(g.syncs) > 0 {
		op := g.syncs[0]
		g.syncs = g.syncs[1:]
		g.syncOne(op)
	}
}

func (g *gateway) read(id spool.SegmentID) []byte {
	if f := g.card.files[id]; f != nil {
		return append(make([]byte, 0, len(f.data)), f.data...)
	}
	return nil
}

func (g *gateway) load() {
	for {
		id, ok := g.core.Wants()
		if !ok {
			return
		}
		g.core.Load(id, g.read(id), g.boottime())
		g.apply()
	}
}

// after ends a step: fsyncs that are owed begin, and the next step is set.
func (g *gateway) after() {
	g.apply()
	if len(g.syncs) > 0 && !g.syncing {
		g.syncing = true
		g.step(g.w.between(3, 60), func() {
			g.syncing = false
			if len(g.syncs) > 0 {
				op := g.syncs[0]
				g.syncs = g.syncs[1:]
				g.syncOne(op)
			}
			g.wake()
		})
	}
	at := int64(0)
	sooner := func(d time.Duration, ok bool) {
		if t := g.bootAt + d.Milliseconds() + 1; ok && (at == 0 || t < at) {
			at = t
		}
	}
	if len(g.syncs) == 0 && !g.syncing {
		sooner(g.core.Due())
	}
	sooner(g.session.Due())
	if at == 0 || g.armed > g.w.now && g.armed <= at {
		return
	}
	g.armed = max(at, g.w.now+1)
	mine := g.armed
	g.step(mine-g.w.now, func() {
		if g.armed != mine {
			return
		}
		g.armed = 0
		g.core.Tick(g.boottime())
		g.apply()
		g.wake()
	})
}

func (g *gateway) wake() {
	if g.conn != nil {
		g.act(g.session.Wake(g.uplinkNow()))
	}
}

// mapping keeps a mapping, as the clock's shell does.
func (g *gateway) mapping(m clock.Mapping) {
	g.w.note("%v: mapping %v from %d, off by %d ms, %v", g.node, m.ID, m.From, m.Offset-g.bootAt, m.Quality)
	g.card.counter = max(g.card.counter, m.ID.Counter)
	g.w.model.mappings[m.ID] = m
	g.mappings++
	g.core.AddMapping(m, g.boottime())
	g.apply()
}

func (g *gateway) look() {
	m, ok := g.mapper.Observe(clock.Observation{Boottime: clock.Millis(g.boottime()), UTC: g.w.now + g.wrong, Quality: g.quality})
	if ok {
		g.mapping(m)
	}
}

func (g *gateway) lookLater() {
	g.w.after(7*second, func() {
		if g.running {
			g.guard(func() {
				g.look()
				g.after()
			})
		}
		g.lookLater()
	})
}

func (g *gateway) sampleLater(device string, delay int64) {
	g.w.after(delay, func() {
		if g.running && g.sampling {
			g.guard(func() {
				g.sample(device)
				g.after()
			})
		}
		g.sampleLater(device, sampleEvery+g.w.between(-200, 200))
	})
}

func (g *gateway) sample(device string) {
	readings := g.draw(device)
	id, _ := idOf(readings)
	t := &truth{id: id, g: g, epoch: g.core.Epoch(), device: device, boot: g.boot, boottime: clock.Millis(g.boottime()), at: g.w.now, readings: readings}
	m, mapped := g.mapper.Current()
	if mapped {
		t.clock = m.ID
	}
	// Whole seconds, so that times under different clocks meet.
	if whole := t.boottime / second * second; whole > g.started && (!mapped || whole >= m.From) {
		t.boottime, t.at = whole, t.at-(t.boottime-whole)
	}
	n, err := g.core.Append(spool.Sample{Device: device, Boottime: time.Duration(t.boottime) * time.Millisecond, Readings: readings}, g.boottime())
	if err != nil {
		if !errors.Is(err, spool.ErrFull) {
			g.w.fault("%v: Append: %v", g.node, err)
		}
		return
	}
	t.number = n
	g.w.model.add(t)
	g.waiting = append(g.waiting, t)
	g.w.note("%v: takes %v #%d, sample %v", g.node, t.epoch, n, id)
	g.apply()
}

// heal ends the faults of one gateway.
func (g *gateway) heal() {
	g.away, g.sick, g.fragile = 0, false, false
	g.wrong, g.quality = 0, telemetry.TimeNTP
	g.w.after(4*minute, func() { g.wrong, g.quality = 0, telemetry.TimeNTP })
}
