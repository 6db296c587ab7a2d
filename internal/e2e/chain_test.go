package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// play runs a fleet of n gateways against the rig and returns how it went and
// the file of its ledger. during runs beside it once all have connected.
func (r *rig) play(n int, o fleet.Options, during func()) (fleet.Result, string) {
	r.t.Helper()
	credentials, err := fleet.ReadCredentials(r.importFleet(n))
	if err != nil {
		r.t.Fatal(err)
	}
	ledger := filepath.Join(r.dir, "fleet.tsv")
	o.Server, o.Gateways, o.Ledger = "mqtt://"+r.plain, credentials, ledger
	if o.Drain == 0 {
		o.Drain = 2 * time.Minute
	}
	connected := make(chan struct{})
	o.Started = func() { close(connected) }
	type outcome struct {
		result fleet.Result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		result, err := fleet.Run(r.t.Context(), o)
		ended <- outcome{result, err}
	}()
	select {
	case <-connected:
	case out := <-ended:
		r.t.Fatalf("the fleet ended before it was connected: %+v, %v", out.result, out.err)
	}
	if during != nil {
		during()
	}
	out := <-ended
	if out.err != nil {
		r.t.Fatalf("fleet: %v (%+v)", out.err, out.result)
	}
	if out.result.Pending > 0 {
		r.t.Errorf("%d messages stayed without PUBACK: %+v", out.result.Pending, out.result)
	}
	r.t.Logf("fleet: %+v", out.result)
	return out.result, ledger
}

// complete checks that all that was sent is in the database, once and as sent.
func (r *rig) complete(result fleet.Result, file string) ingest.Report {
	r.t.Helper()
	v := r.verify(file)
	r.t.Logf("verify: %+v", v)
	if v.Sent != result.Readings || v.Acknowledged != result.Acked {
		r.t.Errorf("the ledger on disk says %d sent, %d acknowledged; the fleet %d and %d", v.Sent, v.Acknowledged, result.Readings, result.Acked)
	}
	if v.Lost+v.Doubled+v.Altered > 0 || v.Stored+v.Rejected != v.Sent {
		r.t.Errorf("sent %d, stored %d, rejected %d, lost %d, doubled %d, altered %d: %v", v.Sent, v.Stored, v.Rejected, v.Lost, v.Doubled, v.Altered, v.Examples)
	}
	if total := r.ledger().Total; total.Missing != 0 || total.Lost != 0 || total.DeadLetters != 0 {
		r.t.Errorf("the server's own ledger: %+v", total)
	}
	return v
}

// 7.2: kill -9 of the server twenty times at random under load loses, doubles
// and alters nothing.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rng := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	enough := make(chan struct{})
	result, file := r.play(40, fleet.Options{Interval: 100 * time.Millisecond, For: 5 * time.Minute, Enough: enough, Seed: 1}, func() {
		defer close(enough)
		for range 20 {
			// A random moment is the point here; nothing is waited for.
			pause(t, time.Duration(200+rng.IntN(1200))*time.Millisecond)
			r.server.kill()
			r.serve()
		}
	})
	if result.Connects < 2*40 || result.Resent == 0 {
		t.Errorf("%d connects, %d messages sent again: the kills did not bite", result.Connects, result.Resent)
	}
	r.complete(result, file)
}

// pause lets real processes run for a while.
func pause(t testing.TB, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// 7.1: the server is away while gateways sample; afterwards everything is there.
// (That live readings do not wait behind it: TestLiveReadingsDoNotWaitBehindTheBacklog.)
func TestServerAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	result, file := r.play(20, fleet.Options{Interval: 250 * time.Millisecond, For: 50 * time.Second, LiveFor: 5 * time.Second, Seed: 2}, func() {
		r.server.stop()
		pause(t, 30*time.Second)
		r.serve()
	})
	r.complete(result, file)
}

// 7.4: the database is away, then hangs, then refuses one point.
func TestDatabaseAwaySlowRefusing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	result, file := r.play(10, fleet.Options{Interval: 200 * time.Millisecond, For: 30 * time.Second, Seed: 3}, func() {
		r.influx.Stop()
		pause(t, 5*time.Second)
		var err error
		if r.influx, err = r.influx.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		pause(t, 3*time.Second)
		if err := r.influx.Pause(); err != nil {
			t.Fatal(err)
		}
		pause(t, 5*time.Second)
		if err := r.influx.Resume(); err != nil {
			t.Fatal(err)
		}
	})
	r.complete(result, file)
}

// 7.10: the checker notices a build that acknowledges before fsync, and one
// that gives a point another time at every write.
func TestBrokenBuildsAreCaught(t *testing.T) {
	t.Parallel()
	for tag, caught := range map[string]func(ingest.Report) bool{
		"brokenack": func(v ingest.Report) bool { return v.Lost > 0 },
		"brokenkey": func(v ingest.Report) bool { return v.Doubled > 0 },
	} {
		t.Run(tag, func(t *testing.T) {
			r := newRig(t)
			r.server.kill()
			r.binary = build(t, tag)
			r.serve()
			enough := make(chan struct{})
			_, file := r.play(20, fleet.Options{Interval: 50 * time.Millisecond, For: 5 * time.Minute, Enough: enough, Seed: 4}, func() {
				defer close(enough)
				for range 3 {
					pause(t, time.Second)
					// The database takes a write whose end the server does not live to
					// note, so that it must write again.
					if err := r.influx.Pause(); err != nil {
						t.Fatal(err)
					}
					pause(t, time.Second)
					r.server.kill()
					if err := r.influx.Resume(); err != nil {
						t.Fatal(err)
					}
					r.serve()
				}
			})
			var v ingest.Report
			err := r.admin(&v, "ledger", "verify", file)
			t.Logf("%+v, %v", v, err)
			if err == nil || !caught(v) {
				t.Errorf("the broken build was not caught: %+v, %v", v, err)
			}
		})
	}
}

// 7.5: a journal at its quota acknowledges nothing more; gateways keep and
// wait; all arrives once there is room, without a restart by hand.
func TestJournalAtItsQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t, "--journal-quota", "16MiB")
	enough := make(chan struct{})
	result, file := r.play(20, fleet.Options{Interval: 10 * time.Millisecond, Readings: 16, For: 5 * time.Minute, Enough: enough, Drain: 4 * time.Minute, Seed: 5}, func() {
		defer close(enough)
		if err := r.influx.Pause(); err != nil {
			t.Fatal(err)
		}
		await(t, "the alarm that the journal is full", 90*time.Second, func() bool {
			var h server.Health
			if err := r.read("/health", &h); err != nil {
				return false
			}
			return len(h.Problems) > 0 && fmt.Sprint(h.Problems) != "" && contains(h.Problems, "full")
		})
		if err := r.influx.Resume(); err != nil {
			t.Fatal(err)
		}
	})
	r.complete(result, file)
}

// 7.7: gateways that boot without knowing the time, are a year ahead, or step
// back: every reading ends at the right UTC, none is dropped, none overwrites
// another. What is stamped a year ahead is rejected, exactly that, and no alert is
// dated by it.
func TestClockFaults(t *testing.T) {
	t.Parallel()
	const gateways = 12
	w := newReceiver(t)
	w.answer(http.StatusOK)
	w.listen()
	config := papersFile(t, fmt.Sprintf("[[webhook]]\nname = \"piket\"\nurl = \"http://%s/pantau\"\nsecret_file = %q\nallow = [\"127.0.0.0/8\"]\n", w.address, papersFile(t, webhookSecret)))
	r := newRig(t, "--config", config)
	rules := papersFile(t, `[{"id":"any","name":"Ada","name_en":"Any","quantity":"pm2_5","condition":"above","threshold":-1,"clear":-2,"for":"0s","clear_for":"0s","severity":"warning","scope":{}}]`)
	if err := r.admin(&server.Done{}, "rules", "set", rules); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	result, file := r.play(gateways, fleet.Options{
		Interval: 200 * time.Millisecond, For: 20 * time.Second, ClockShare: 1, Seed: 6,
		ClockFaults: []fleet.ClockFault{fleet.ClockUnknown, fleet.ClockAhead, fleet.ClockBack},
	}, nil)
	end := time.Now()
	v := r.complete(result, file)

	ahead := map[string]bool{} // readings that were sent as of next year
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, "\t") // S, gateway, epoch, number, device, quantity, milliseconds, value
		if ms, err := strconv.ParseInt(f[6], 10, 64); err != nil {
			t.Fatalf("%q: %v", line, err)
		} else if ms > end.Add(time.Hour).UnixMilli() {
			ahead[strings.Join(f[1:6], "\t")] = true
		}
	}
	if len(ahead) == 0 || v.Rejected != uint64(len(ahead)) {
		t.Errorf("%d readings are rejected, %d were sent a year ahead", v.Rejected, len(ahead))
	}
	kept := 0
	for _, kind := range telemetry.Kinds() { // no point is valid more than five minutes ahead
		for _, p := range r.query(fmt.Sprintf(`SELECT * FROM "pantau"."raw"."%s" WHERE time > %dms`, kind, end.Add(5*time.Minute).UnixMilli())) {
			for column := range p {
				q, rejected := strings.CutSuffix(column, "_rejected")
				if _, number := p.number(column); !number || column == "time" {
					continue
				}
				if !rejected || p.text(q+"_flag") != telemetry.FlagTimeFuture.String() {
					t.Fatalf("%s stands as measured, or is rejected for another reason, next year: %v", column, p)
				}
				kept++
			}
		}
	}
	if kept != len(ahead) {
		t.Errorf("%d of the %d readings of next year are kept beside their flag", kept, len(ahead))
	}

	fired := map[telemetry.Node]bool{}
	await(t, "an alert of each gateway", patience, func() bool {
		for _, m := range w.messages(http.StatusOK) {
			for _, x := range m.Alerts {
				fired[x.Series.Node] = true
				// The step back is one of two minutes.
				if at := time.UnixMilli(x.Time); at.Before(begin.Add(-2*time.Minute)) || at.After(end) {
					t.Fatalf("an alert is dated %v, the run was from %v to %v: %+v", at, begin, end, x)
				}
			}
		}
		return len(fired) == gateways
	})
}

// Outages and restarts of many gateways at once, each with a ledger of its own.
func TestOutagesAndRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	result, file := r.play(100, fleet.Options{
		Interval: 250 * time.Millisecond, For: 20 * time.Second, OutageEvery: 5 * time.Second, OutageFor: 2 * time.Second, RestartRate: 0.5, Seed: 7,
	}, nil)
	r.complete(result, file)
}

// A foreign Sparkplug node with devices, aliases and gases in ppb: its readings
// are stored under their own quantities, with the values that the world had then,
// and what the catalogue does not know in "other".
func TestForeignNode(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	credentials, err := fleet.ReadCredentials(r.importFleet(1))
	if err != nil {
		t.Fatal(err)
	}
	const seed = 8
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, err := fleet.RunAQMS(ctx, fleet.AQMSOptions{
		Server: "mqtt://" + r.plain, Credential: credentials[0], Interval: 500 * time.Millisecond, For: 2 * time.Minute, QoS: 1, Seed: seed,
		Started: func() { time.AfterFunc(5*time.Second, cancel) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Messages < 5 {
		t.Fatalf("%+v", result)
	}
	const molar = 24.45 // litres a mole at 25 °C
	site := world.New(seed).Site(credentials[0].Node.String() + "/AQMS-01")
	for kind, quantities := range map[string]map[string]func(*world.Air) float64{
		"air": {
			"pm10":    func(a *world.Air) float64 { return a.PM10 },
			"pm2_5":   func(a *world.Air) float64 { return a.PM25 },
			"so2_ppb": func(a *world.Air) float64 { return a.SO2 * molar / 64.07 },
			"co_ppm":  func(a *world.Air) float64 { return a.CO * molar / 28.01 / 1000 },
			"o3_ppb":  func(a *world.Air) float64 { return a.O3 * molar / 48.00 },
			"no2_ppb": func(a *world.Air) float64 { return a.NO2 * molar / 46.01 },
			"hc_ppb":  func(a *world.Air) float64 { return a.HC * molar / 16.04 },
		},
		"other": {"Solar Radiation": func(a *world.Air) float64 { return max(0, a.O3-18) * 10 }},
	} {
		var rows []row
		await(t, "all of the node's readings of "+kind, patience, func() bool {
			rows = r.query(fmt.Sprintf(`SELECT * FROM "pantau"."raw"."%s" WHERE device = 'AQMS-01'`, kind))
			return uint64(len(rows)) >= result.Messages
		})
		for _, p := range rows {
			air := site.Air(time.UnixMilli(p.time()))
			for q, value := range quantities {
				if got, ok := p.number(q); !ok || math.Abs(got-value(&air)) > 0.001*value(&air)+0.001 {
					t.Errorf("%s at %d is %v (%v), the world had %v", q, p.time(), got, ok, value(&air))
				}
			}
		}
	}
}
