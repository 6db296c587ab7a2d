package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/server"
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
	r := newRig(t)
	rng := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	result, file := r.play(40, fleet.Options{Interval: 100 * time.Millisecond, For: 60 * time.Second, Seed: 1}, func() {
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

// 7.1: the server is away while gateways sample; afterwards everything is
// there, and live readings do not wait behind the backlog.
func TestServerAway(t *testing.T) {
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
	for tag, caught := range map[string]func(ingest.Report) bool{
		"brokenack": func(v ingest.Report) bool { return v.Lost > 0 },
		"brokenkey": func(v ingest.Report) bool { return v.Doubled > 0 },
	} {
		t.Run(tag, func(t *testing.T) {
			r := newRig(t)
			r.server.kill()
			r.binary = build(t, tag)
			r.serve()
			_, file := r.play(20, fleet.Options{Interval: 20 * time.Millisecond, For: 20 * time.Second, Seed: 4}, func() {
				for range 8 {
					pause(t, 1500*time.Millisecond)
					r.server.kill()
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
	r := newRig(t, "--journal-quota", "16MiB")
	result, file := r.play(20, fleet.Options{Interval: 20 * time.Millisecond, Readings: 16, For: 40 * time.Second, Drain: 4 * time.Minute, Seed: 5}, func() {
		if err := r.influx.Pause(); err != nil {
			t.Fatal(err)
		}
		await(t, "the alarm that the journal is full", 90*time.Second, func() bool {
			var h server.Health
			if err := r.admin(&h, "health"); err != nil {
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
// another.
func TestClockFaults(t *testing.T) {
	r := newRig(t)
	result, file := r.play(12, fleet.Options{
		Interval: 200 * time.Millisecond, For: 20 * time.Second, ClockShare: 1, Seed: 6,
		ClockFaults: []fleet.ClockFault{fleet.ClockUnknown, fleet.ClockAhead, fleet.ClockBack},
	}, nil)
	v := r.complete(result, file)
	if v.Rejected == 0 {
		t.Error("a clock a year ahead must be rejected as time_future, kept beside its flag")
	}
}

// Outages and restarts of many gateways at once, each with a ledger of its own.
func TestOutagesAndRestarts(t *testing.T) {
	r := newRig(t)
	result, file := r.play(100, fleet.Options{
		Interval: 250 * time.Millisecond, For: 20 * time.Second, OutageEvery: 5 * time.Second, OutageFor: 2 * time.Second, RestartRate: 0.5, Seed: 7,
	}, nil)
	r.complete(result, file)
}

// A foreign Sparkplug node with devices, aliases and gases in ppb: its readings
// are stored under their own quantities.
func TestForeignNode(t *testing.T) {
	r := newRig(t)
	credentials, err := fleet.ReadCredentials(r.importFleet(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	result, err := fleet.RunAQMS(ctx, fleet.AQMSOptions{Server: "mqtt://" + r.plain, Credential: credentials[0], Interval: 500 * time.Millisecond, For: 5 * time.Second, QoS: 1, Seed: 8})
	if err != nil {
		t.Fatal(err)
	}
	if result.Messages < 5 {
		t.Fatalf("%+v", result)
	}
	for _, quantity := range []string{"so2_ppb", "o3_ppb", "no2_ppb", "co_ppm", "pm2_5", "pm10"} {
		await(t, quantity+" in the database", 30*time.Second, func() bool { return r.count("air", quantity) > 0 })
	}
}
