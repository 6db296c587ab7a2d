package simulation

import (
	"fmt"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// truth is what really happened to one sample.
type truth struct {
	id       float64 // stands in one of its readings, and in no other sample
	order    int     // of being taken
	g        *gateway
	epoch    telemetry.Epoch
	number   uint64
	device   string
	boot     clock.BootID
	boottime int64
	at       int64 // true time
	readings []telemetry.Reading
	clock    telemetry.ClockID // by which it must be stamped; zero = the first of its boot

	segment spool.SegmentID // where it lies
	end     int64
	written bool // the file system has it: only the power's end can take it
	durable bool
	gone    bool // went with a card that was written over
	acked   bool // the server sent its PUBACK
	seen    []*sighting
}

func (t *truth) String() string {
	return fmt.Sprintf("%v %v #%d (%s, sample %v, taken %s)", t.g.node, t.epoch, t.number, t.device, t.id, stamp(t.at))
}

// sighting is a place in the journal at which a sample stands.
type sighting struct {
	t        *truth
	packet   *packet
	time     int64 // that the message says
	clock    telemetry.ClockID
	received int64
	newest   bool // the session was that of the node's newest birth
	rules    int  // version of the quality rules in force
}

// late says whether it may page anybody.
func (s *sighting) late() bool {
	return s.packet.run.Backlog || !s.newest || s.time < s.received-5*minute
}

type number struct {
	node   telemetry.Node
	epoch  telemetry.Epoch
	number uint64
}

// model is all that really happened.
type model struct {
	byID     map[float64]*truth
	byNumber map[number]*truth
	all      []*truth
	mappings map[telemetry.ClockID]clock.Mapping
	sites    map[telemetry.Node]int // where it stands, for H8
}

func newModel() *model {
	return &model{byID: map[float64]*truth{}, byNumber: map[number]*truth{}, mappings: map[telemetry.ClockID]clock.Mapping{}, sites: map[telemetry.Node]int{}}
}

func (m *model) add(t *truth) {
	t.order = len(m.all)
	m.all = append(m.all, t)
	m.byID[t.id] = t
	m.byNumber[number{t.g.node, t.epoch, t.number}] = t
}

// idOf finds the sample's mark in a record.
func idOf(readings []telemetry.Reading) (float64, bool) {
	for i := range readings {
		if q := readings[i].Quantity; q == idOfAir || q == idOfMeter {
			return readings[i].Value.Number, true
		}
	}
	return 0, false
}

// The quantities that carry the mark: their ranges are wide enough.
const (
	idOfAir   = "co"
	idOfMeter = "power"
)

// sample draws what a device says. Episodes of smoke come and go.
func (g *gateway) draw(device string) []telemetry.Reading {
	w := g.w
	g.nextID++
	id := float64(g.nextID)
	if device == "meter" {
		g.energy += w.rng.Float64()
		return []telemetry.Reading{
			{Quantity: "voltage", Value: telemetry.Num(220 + float64(w.rng.IntN(200))/10)},
			{Quantity: idOfMeter, Value: telemetry.Num(id)},
			{Quantity: "energy", Value: telemetry.Num(float64(int(g.energy*100)) / 100)},
		}
	}
	if g.smoke < w.now && w.chance(0.02) {
		g.smoke = w.now + w.between(0, 5*minute)
	}
	pm := telemetry.Reading{Quantity: "pm2_5", Value: telemetry.Num(float64(w.between(50, 400)) / 10)}
	if g.smoke >= w.now {
		pm.Value.Number = float64(w.between(800, 2500)) / 10
	}
	if w.chance(0.3) {
		pm.Count, pm.Min, pm.Max = 12, pm.Value.Number-1.5, pm.Value.Number+2.25
	}
	switch {
	case w.chance(0.02):
		pm = telemetry.Reading{Quantity: "pm2_5", Gap: telemetry.GapChecksum}
	case w.chance(0.02):
		pm.Flag = telemetry.FlagStuck
	case w.chance(0.02):
		pm.Value.Number = 20000 // out of any range
	}
	return []telemetry.Reading{
		{Quantity: "temperature", Value: telemetry.Num(float64(w.between(220, 340)) / 10)},
		pm,
		{Quantity: idOfAir, Value: telemetry.Num(id)},
	}
}
