package simulation

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// mixOf draws which faults a seed has. Each kind is in about half of them: a
// fault that hides another must not always be there.
func mixOf(seed uint64) mix {
	r := rand.New(rand.NewPCG(seed, 7))
	often := func(mean int64) int64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return mean/2 + r.Int64N(mean)
	}
	likely := func(p float64) float64 {
		if r.IntN(2) == 0 {
			return 0
		}
		return p * r.Float64()
	}
	return mix{
		gateways: 2 + r.IntN(2), last: 70*minute + r.Int64N(60*minute),
		powerCut: often(25 * minute), kill: often(20 * minute), restore: often(80 * minute), image: 15 * minute, damage: often(40 * minute),
		crashStep: likely(0.004), sickCard: often(25 * minute), smallCard: r.IntN(3) == 0, refuseNew: r.IntN(4) == 0,
		badRTC: likely(0.8), noNTP: r.IntN(3) == 0, ntpStep: often(25 * minute),
		netCut: often(12 * minute), halfOpen: often(15 * minute), lag: often(15 * minute), longCut: often(40 * minute), bothAlive: likely(1),
		serverKill: often(20 * minute), serverAway: often(50 * minute), commitError: often(30 * minute), killStage: likely(0.003),
		influxDown: often(30 * minute), influxSlow: often(30 * minute), writeLost: likely(0.3), rowLost: likely(0.3), poison: r.IntN(3) == 0,
		ruleChange: often(15 * minute), silence: often(50 * minute), flap: often(40 * minute), moves: often(20 * minute),
	}
}

func fromEnv(t *testing.T, name string, otherwise uint64) (uint64, bool) {
	text := os.Getenv(name)
	if text == "" {
		return otherwise, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n, true
}

// failed shows a seed's faults with the end of its trace.
func failed(t *testing.T, seed uint64, m mix, o omissions, lines int) {
	t.Helper()
	w := simulate(seed, m, o, true)
	from := max(0, len(w.trace)-lines)
	t.Errorf("seed %d:\n%s\nits end, of %d steps:\n%s\nmix: %+v", seed, strings.Join(w.faults, "\n"), len(w.trace), strings.Join(w.trace[from:], "\n"), m)
}

// TestSeeds runs whole histories: whatever happened, when it is over the
// database, the ledger, the latest values, the alerts and the hours are right.
func TestSeeds(t *testing.T) {
	if seed, one := fromEnv(t, "PANTAU_SEED", 0); one {
		w := simulate(seed, mixOf(seed), omissions{}, true)
		t.Logf("%s\nmix: %+v", strings.Join(w.trace, "\n"), w.mix)
		if len(w.faults) > 0 {
			t.Errorf("seed %d:\n%s", seed, strings.Join(w.faults, "\n"))
		}
		return
	}
	seeds, _ := fromEnv(t, "PANTAU_SEEDS", 300)
	samples, points, entries, alerts := 0, 0, 0, 0
	for seed := range seeds {
		w := simulate(seed, mixOf(seed), omissions{}, false)
		if len(w.faults) > 0 {
			failed(t, seed, w.mix, omissions{}, 40)
			return
		}
		samples, points, entries, alerts = samples+len(w.model.all), points+len(w.db.points), entries+len(w.server.log), alerts+len(w.server.book)
	}
	t.Logf("%d seeds: %d samples, %d points, %d journal entries, %d transitions of alerts", seeds, samples, points, entries, alerts)
}

// TestOneSeedIsOneHistory: a failure can be looked at again.
func TestOneSeedIsOneHistory(t *testing.T) {
	for seed := range uint64(3) {
		a, b := simulate(seed, mixOf(seed), omissions{}, true), simulate(seed, mixOf(seed), omissions{}, true)
		if !slices.Equal(a.trace, b.trace) {
			for i := range min(len(a.trace), len(b.trace)) {
				if a.trace[i] != b.trace[i] {
					t.Errorf("seed %d differs at step %d:\n%s\n%s", seed, i, a.trace[i], b.trace[i])
					break
				}
			}
		}
	}
}
