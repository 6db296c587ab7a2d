package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// scripted is a sensor of one quantity that does as it is told.
type scripted struct {
	quantity string
	sense    func(ctx context.Context, n int) (telemetry.Reading, error)
	serial   string // "": its part does not tell
	n        int
	closed   bool
}

func (s *scripted) Identity() telemetry.Identity { return telemetry.Identity{Serial: s.serial} }

func (s *scripted) Quantities() []telemetry.Quantity {
	q, _ := telemetry.Lookup(s.quantity)
	return []telemetry.Quantity{q}
}

func (s *scripted) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	s.n++
	r, err := s.sense(ctx, s.n)
	if err != nil {
		return nil, err
	}
	return []telemetry.Reading{r}, nil
}

func (s *scripted) Close() error { s.closed = true; return nil }

// records collects what samplers keep and tell.
type records struct {
	mu   sync.Mutex
	all  []spool.Sample
	told []string
}

func (r *records) identify(device string, id telemetry.Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, device+" is "+id.Serial)
}

func (r *records) keep(s spool.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

func (r *records) of(device string) []spool.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []spool.Sample
	for _, s := range r.all {
		if s.Device == device {
			out = append(out, s)
		}
	}
	return out
}

// sampling runs samplers in virtual time for as long as d.
func sampling(t *testing.T, d time.Duration, devices map[string]*scripted, interval, report time.Duration) *records {
	t.Helper()
	begin := time.Now()
	boottime := func() time.Duration { return time.Since(begin) + time.Hour }
	got := &records{}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var group sync.WaitGroup
	for name, dev := range devices {
		o := SensorOptions{Name: name, Interval: settings.Duration(interval), Report: settings.Duration(report)}
		s := newSampler(o, dev, boottime, got.keep, got.identify, slog.New(slog.DiscardHandler))
		group.Go(func() { s.run(ctx) })
	}
	group.Wait()
	for name, dev := range devices {
		if !dev.closed {
			t.Errorf("%s was not closed", name)
		}
	}
	return got
}

func steady(v float64) func(context.Context, int) (telemetry.Reading, error) {
	return func(_ context.Context, n int) (telemetry.Reading, error) { return val("voltage", v+float64(n)), nil }
}

func TestOneDeadSensorNeverStopsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := sampling(t, 3*time.Minute-time.Second, map[string]*scripted{
			"good": {quantity: "voltage", sense: steady(220)},
			"hangs": {quantity: "voltage", sense: func(ctx context.Context, n int) (telemetry.Reading, error) {
				<-ctx.Done() // until the very end of its time
				return telemetry.Reading{}, ctx.Err()
			}},
			"panics": {quantity: "voltage", sense: func(context.Context, int) (telemetry.Reading, error) { panic("driver") }},
			"deaf": {quantity: "voltage", sense: func(context.Context, int) (telemetry.Reading, error) {
				return telemetry.Reading{}, fmt.Errorf("address 0x69: %w", fault.ErrNoAnswer)
			}},
		}, 10*time.Second, time.Minute)
		good := got.of("good")
		if len(good) != 3 || good[0].Readings[0].Count != 6 || good[0].Readings[0].Value.Number != 223.5 {
			t.Errorf("good: %+v", good)
		}
		for name, want := range map[string]telemetry.GapReason{
			"hangs": telemetry.GapTimeout, "panics": telemetry.GapUnexpected, "deaf": telemetry.GapNoAnswer,
		} {
			all := got.of(name)
			if len(all) < 3 {
				t.Fatalf("%s: %d records", name, len(all))
			}
			for _, r := range all {
				if len(r.Readings) != 1 || r.Readings[0].Gap != want {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
	})
}

func TestADriverThatIgnoresItsContextLeavesGapsAndIsNotDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, most := 0, 0
		got := sampling(t, 4*time.Minute, map[string]*scripted{"slow": {quantity: "voltage", sense: func(_ context.Context, n int) (telemetry.Reading, error) {
			running++
			most = max(most, running)
			defer func() { running-- }()
			if n == 1 {
				time.Sleep(150 * time.Second)
			}
			return val("voltage", 230), nil
		}}}, 10*time.Second, time.Minute)
		if most != 1 {
			t.Errorf("%d calls at once", most)
		}
		all := got.of("slow")
		if len(all) < 4 || all[0].Readings[0].Gap != telemetry.GapTimeout || all[1].Readings[0].Gap != telemetry.GapTimeout {
			t.Fatalf("%+v", all)
		}
		if r := all[3].Readings[0]; r.Gap != telemetry.GapNone || r.Value.Number != 230 {
			t.Errorf("it did not come back: %+v", r)
		}
	})
}

func TestASampleIsTriedAgainWithinItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := sampling(t, 59*time.Second, map[string]*scripted{"s": {quantity: "voltage", sense: func(_ context.Context, n int) (telemetry.Reading, error) {
			switch n % 3 {
			case 1:
				return telemetry.Reading{}, fault.ErrChecksum
			case 2:
				return telemetry.Reading{}, fault.ErrNotReady
			}
			return val("voltage", 230), nil
		}}}, 10*time.Second, time.Minute)
		want := []telemetry.Reading{{Quantity: "voltage", Value: telemetry.Num(230), Count: 6, Min: 230, Max: 230}}
		if all := got.of("s"); len(all) != 1 || !reflect.DeepEqual(all[0].Readings, want) {
			t.Errorf("%+v", all)
		}
	})
}

func TestRecordsOfADeviceNeverShareAMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := sampling(t, 5*time.Minute, map[string]*scripted{"s": {quantity: "voltage", sense: func(_ context.Context, n int) (telemetry.Reading, error) {
			if n%2 == 0 { // the last of each report is flagged
				return flagged("voltage", 0, telemetry.FlagSensorFault), nil
			}
			return val("voltage", 230), nil
		}}}, 10*time.Second, time.Minute)
		all := got.of("s")
		if len(all) != 10 {
			t.Fatalf("%d records, want a flagged and a good one a minute", len(all))
		}
		for i, r := range all {
			if i > 0 && r.Boottime.Milliseconds() <= all[i-1].Boottime.Milliseconds() {
				t.Errorf("record %d at %v after %v", i, r.Boottime, all[i-1].Boottime)
			}
			want := telemetry.FlagSensorFault
			if i%2 == 1 {
				want = telemetry.FlagNone
			}
			if r.Readings[0].Flag != want || r.Readings[0].Count != 3 {
				t.Errorf("record %d: %+v", i, r)
			}
		}
	})
}

func TestAStuckValueIsFlaggedOnceItStandsTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := sampling(t, 45*time.Minute-time.Second, map[string]*scripted{"s": {quantity: "pm2_5", sense: func(context.Context, int) (telemetry.Reading, error) {
			return val("pm2_5", 35.25), nil
		}}}, time.Minute, time.Minute)
		all := got.of("s")
		if len(all) != 45 || all[20].Readings[0].Flag != telemetry.FlagNone || all[44].Readings[0].Flag != telemetry.FlagStuck {
			t.Errorf("%d records, the last: %+v", len(all), all[len(all)-1])
		}
	})
}

func TestWhatWasSampledIsReportedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := sampling(t, 35*time.Second, map[string]*scripted{"s": {quantity: "voltage", sense: steady(100)}}, 10*time.Second, time.Minute)
		all := got.of("s")
		if len(all) != 1 || all[0].Readings[0].Count != 4 {
			t.Errorf("%+v", all)
		}
	})
}

// Who a part is, is told with its first value, and again only if another part
// gives values: a part that is away or disturbed is still the same.
func TestAnExchangedPartIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{quantity: "voltage"}
		s.sense = func(_ context.Context, n int) (telemetry.Reading, error) {
			s.serial = map[int]string{1: "A", 2: "A", 3: "", 4: "", 5: "", 6: "A", 7: "B"}[n]
			if n >= 3 && n <= 5 { // the attempts of one sample
				return telemetry.Reading{}, fmt.Errorf("pulled: %w", fault.ErrNoAnswer)
			}
			return val("voltage", float64(n)), nil
		}
		got := sampling(t, 45*time.Second, map[string]*scripted{"s": s}, 10*time.Second, 10*time.Second)
		if want := []string{"s is A", "s is B"}; !slices.Equal(got.told, want) {
			t.Errorf("told %q, want %q", got.told, want)
		}
		if all := got.of("s"); len(all) != 5 || all[2].Readings[0].Gap != telemetry.GapNoAnswer {
			t.Errorf("and of its values: %+v", all)
		}
	})
}

func TestALoopThatStandsStillIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := newSampler(SensorOptions{Name: "s", Interval: settings.Duration(time.Second), Report: settings.Duration(time.Second)},
			&scripted{quantity: "voltage"}, func() time.Duration { return time.Since(begin) }, func(spool.Sample) {}, nil, slog.New(slog.DiscardHandler))
		time.Sleep(10 * time.Second)
		if d := s.stuckFor(); d != 0 {
			t.Errorf("too early: %v", d)
		}
		time.Sleep(10 * time.Second)
		if d := s.stuckFor(); d != 20*time.Second {
			t.Errorf("not noticed: %v", d)
		}
	})
}
