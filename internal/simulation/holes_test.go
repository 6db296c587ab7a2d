package simulation

import (
	"testing"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
)

// hole is one safeguard left out, and the faults that make it felt.
type hole struct {
	name  string
	omit  omissions
	felt  func(*mix)
	seeds int // how many must be enough; 0 = 60
}

// H1…H14 are the holes that earlier wordings of the design had.
var holes = []hole{
	{name: "H1 a mapping is durable before it stamps", omit: omissions{spool: spool.Omit{MappingDurable: true}},
		felt: func(m *mix) {
			m.noNTP, m.badRTC, m.powerCut, m.kill, m.sickCard, m.damage = true, 0, 8*minute, 90*second, 30*second, 0
		}, seeds: 100},
	{name: "H1 a stamp never changes", omit: omissions{spool: spool.Omit{FixedStamp: true}},
		felt: func(m *mix) { m.noNTP, m.ntpStep, m.netCut, m.halfOpen = false, 10*minute, 6*minute, 6*minute }},
	{name: "H2 each start and change is a new clock id", omit: omissions{clock: clock.Omit{NewIDs: true}},
		felt: func(m *mix) { m.ntpStep, m.kill = 5*minute, 10*minute }},
	{name: "H2 a clock id is named by its epoch", omit: omissions{clock: clock.Omit{EpochInID: true}},
		felt: func(m *mix) { m.restore, m.image, m.ntpStep = 20*minute, 5*minute, 8*minute }},
	{name: "H2 the clock id is in the point's time", omit: omissions{ingest: ingest.Holes{ClockNotInKey: true}},
		felt: func(m *mix) { m.ntpStep, m.kill = 3*minute, 10*minute }, seeds: 100},
	{name: "H3 an epoch is one run of the process", omit: omissions{spool: spool.Omit{EpochPerRun: true}},
		felt: func(m *mix) { m.restore, m.image, m.powerCut = 20*minute, 5*minute, 10*minute }},
	{name: "H4 births list the epochs, floors travel", omit: omissions{spool: spool.Omit{Floors: true}},
		felt: func(m *mix) { m.powerCut, m.restore, m.damage = 10*minute, 30*minute, 15*minute }},
	{name: "H4 floors close what is missing", omit: omissions{ingest: ingest.Holes{IgnoreFloors: true}},
		felt: func(m *mix) { m.powerCut, m.restore, m.damage = 10*minute, 30*minute, 15*minute }},
	{name: "H5 what never had a clock is reported", omit: omissions{spool: spool.Omit{NoClock: true}},
		felt: func(m *mix) { m.powerCut, m.longCut, m.noNTP = 10*minute, 10*minute, true }},
	{name: "H6 live goes by CLOCK_BOOTTIME", omit: omissions{spool: spool.Omit{LiveByBoottime: true}},
		felt: func(m *mix) { m.netCut = 5 * minute }},
	{name: "H6 alerts go by number", omit: omissions{alert: alert.Omit{NumberOrder: true}},
		felt: func(m *mix) { m.badRTC, m.powerCut, m.ntpStep = 0.8, 15*minute, 8*minute }},
	{name: "H6 latest goes by number", omit: omissions{ingest: ingest.Holes{LatestByTime: true}},
		felt: func(m *mix) { m.badRTC, m.powerCut, m.ntpStep = 0.8, 15*minute, 8*minute }},
	{name: "H6 an old session's packet is late", omit: omissions{ingest: ingest.Holes{OldSessionLive: true}},
		felt: func(m *mix) { m.lag, m.bothAlive = 2*minute, 1 }, seeds: 100},
	{name: "H7 the journal has ticks", omit: omissions{noTicks: true}, felt: func(m *mix) { m.silence = 20 * minute }},
	{name: "H7 ticks carry uptime", omit: omissions{ingest: ingest.Holes{WallFrontier: true}},
		felt: func(m *mix) { m.serverAway = 20 * minute }},
	{name: "H8 rows are keyed by permanent ids", omit: omissions{rowsSite: true}, felt: func(m *mix) { m.moves = 15 * minute }},
	{name: "H9 a mark outlives writes without an answer", omit: omissions{ingest: ingest.Holes{ClearAtOnce: true}},
		felt: func(m *mix) {
			m.writeLost, m.rowLost, m.serverKill, m.badRTC, m.noNTP, m.powerCut = 0, 0.6, 2*minute, 1, true, 15*minute
		}},
	{name: "H10 rules are journal entries", omit: omissions{ingest: ingest.Holes{RulesAtOnce: true}},
		felt: func(m *mix) { m.ruleChange, m.serverKill, m.influxDown = 4*minute, 8*minute, 10*minute }},
	{name: "H11 data go by the birth of their own session", omit: omissions{ingest: ingest.Holes{AnySessionBirth: true}},
		felt: func(m *mix) { m.lag, m.bothAlive = 2*minute, 1 }},
	{name: "H12 a transition's key has its number and state", omit: omissions{alert: alert.Omit{KeyNumber: true}},
		felt: func(m *mix) { m.flap, m.silence, m.ntpStep = 15*minute, 25*minute, 8*minute }, seeds: 100},
	{name: "H13 a message is one unbroken run", omit: omissions{spool: spool.Omit{UnbrokenRuns: true}, uplink: uplink.Omit{Encoding: true}},
		felt: func(m *mix) { m.netCut, m.halfOpen, m.ntpStep = 5*minute, 5*minute, 5*minute }},
	{name: "H13 a status only rises", omit: omissions{ingest: ingest.Holes{StatusMayFall: true}},
		felt: func(m *mix) { m.powerCut, m.halfOpen, m.damage, m.smallCard = 10*minute, 5*minute, 10*minute, true }},
	{name: "H14 purge by durable checkpoints", omit: omissions{ingest: ingest.Holes{PurgeAtHead: true}},
		felt: func(m *mix) { m.influxDown, m.serverKill, m.influxSlow = 10*minute, 8*minute, 10*minute }},
	{name: "H14 PUBACK after the commit", omit: omissions{ackEarly: true},
		felt: func(m *mix) { m.serverKill, m.commitError = 5*minute, 5*minute }},
}

// TestEachHoleIsCaught leaves out one safeguard after the other: the checker
// must notice each, and nothing where the same seed runs with all of them.
func TestEachHoleIsCaught(t *testing.T) {
	for _, h := range holes {
		t.Run(h.name, func(t *testing.T) {
			seeds := h.seeds
			if seeds == 0 {
				seeds = 60
			}
			caught, first := 0, ""
			n := 0
			for ; n < seeds && caught < 3; n++ {
				m := mixOf(uint64(n))
				m.poison = false
				h.felt(&m)
				if w := simulate(uint64(n), m, h.omit, false); len(w.faults) > 0 {
					if caught++; caught == 1 {
						first = w.faults[0]
						if sound := simulate(uint64(n), m, omissions{}, false); len(sound.faults) > 0 {
							t.Errorf("seed %d fails with all safeguards, too: %.400s", n, sound.faults[0])
						}
					}
				}
			}
			if caught == 0 {
				t.Errorf("left out, and none of %d seeds shows it", n)
			}
			t.Logf("%d of %d seeds failed: %.400s", caught, n, first)
		})
	}
}
