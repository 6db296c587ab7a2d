package alert

import (
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

var air = Series{Node: telemetry.Node{Group: "3374", ID: "balaikota"}, Device: "air"}

func rule(change func(*Rule)) Rule {
	r := Rule{ID: "pm", Name: "PM2,5 tinggi", Quantity: "pm2_5", Condition: Above, Threshold: 55, Clear: 50,
		For: Duration(15 * time.Second), ClearFor: Duration(10 * time.Second), Severity: Warning}
	if change != nil {
		change(&r)
	}
	return r
}

// feed observes one value every five seconds of event time and returns the
// states it went to, with the number of the record that did it.
type feeder struct {
	core  *Core
	epoch telemetry.Epoch
	clock telemetry.ClockID
	num   uint64
	time  int64
	keys  []string
}

func newFeeder(rules ...Rule) *feeder {
	f := &feeder{core: New(), epoch: 1, clock: telemetry.ClockID{Epoch: 1, Counter: 1}, time: 1764000000000}
	f.core.SetRules(rules, 0, 0)
	return f
}

func (f *feeder) feed(values ...float64) (states []State) {
	for _, v := range values {
		states = append(states, f.observe(Observation{Value: v})...)
	}
	return states
}

func (f *feeder) observe(o Observation) (states []State) {
	f.num++
	f.time += 5000
	o.Series, o.Quantity, o.Epoch, o.Number, o.Clock, o.Time, o.Interval = air, "pm2_5", f.epoch, f.num, f.clock, f.time, 5*time.Second
	for _, t := range f.core.Observe(o) {
		f.keys = append(f.keys, t.Key)
		states = append(states, t.State)
	}
	return states
}

func expect(t *testing.T, got []State, want ...State) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("went to %v, want %v", got, want)
	}
}

func TestFiresAfterForAndClearsAfterClearFor(t *testing.T) {
	f := newFeeder(rule(nil))
	expect(t, f.feed(60, 60, 60))     // ten seconds: pending
	expect(t, f.feed(60), Firing)     // fifteen
	expect(t, f.feed(52, 60, 49, 52)) // neither below clear for long
	expect(t, f.feed(49, 49, 49), Resolved)
	expect(t, f.feed(60, 60, 60, 60), Firing)
	if len(slices.Compact(slices.Sorted(slices.Values(f.keys)))) != 3 {
		t.Errorf("keys are not unique: %v", f.keys)
	}
}

func TestAShortSpikeDoesNotFire(t *testing.T) {
	f := newFeeder(rule(nil))
	expect(t, f.feed(60, 60, 10, 60, 60, 60, 10))
}

func TestRejectedGapAndLateJudgeNothing(t *testing.T) {
	f := newFeeder(rule(func(r *Rule) { r.For = 0 }))
	expect(t, f.observe(Observation{Value: 1000, Rejected: true}))
	expect(t, f.observe(Observation{Value: 1000, Late: true}))
	expect(t, f.observe(Observation{Gap: true}))
	expect(t, f.feed(1000), Firing)
}

// A clock that ran ahead and came back must not blind the rule, nor make it
// fire at once.
func TestClockStepsDecideNothing(t *testing.T) {
	f := newFeeder(rule(nil))
	f.feed(60)
	f.time += 365 * 24 * 3600 * 1000
	f.clock.Counter++
	expect(t, f.feed(60, 60))
	f.time -= 365 * 24 * 3600 * 1000
	f.clock.Counter++
	expect(t, f.feed(60, 60, 60), Firing)
}

func TestReplayNeitherFiresNorClearsTwice(t *testing.T) {
	f := newFeeder(rule(nil))
	expect(t, f.feed(60, 60, 60, 60), Firing)
	f.num, f.time = f.num-4, f.time-20000
	expect(t, f.feed(60, 60, 60, 60))
}

func TestStateSurvivesRestart(t *testing.T) {
	f := newFeeder(rule(nil), rule(func(r *Rule) { r.ID, r.Condition, r.Quantity, r.For = "silent", NoData, "", Duration(time.Minute) }))
	f.core.Advance(1000)
	f.core.Heard(air.Node, 1)
	expect(t, f.feed(60, 60, 60, 60), Firing)
	saved := f.core.Changed()
	f.core = New()
	for k, v := range saved {
		if err := f.core.Load(k, v); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, f.feed(49, 49, 49), Resolved)
	if out := f.core.Advance(62000); len(out) != 1 || out[0].State != Firing {
		t.Errorf("silence after the restart: %v", out)
	}
	if again := f.core.Changed(); len(again) == 0 {
		t.Error("no changes since")
	}
	if again := f.core.Changed(); len(again) != 0 {
		t.Errorf("nothing changed, yet %d entries", len(again))
	}
}

func TestSilenceFiresOnTheFrontierAndEndsWithTheFirstWord(t *testing.T) {
	c := New()
	c.SetRules([]Rule{rule(func(r *Rule) { r.ID, r.Condition, r.Quantity, r.For = "silent", NoData, "", Duration(time.Minute) })}, 0, 0)
	c.Advance(1000)
	c.Heard(air.Node, 7)
	if out := c.Advance(60999); len(out) != 0 {
		t.Errorf("too early: %v", out)
	}
	first := c.Advance(61000)
	if len(first) != 1 || first[0].State != Firing || first[0].Time != 1000 {
		t.Fatalf("got %v", first)
	}
	if out := c.Advance(90000); len(out) != 0 {
		t.Errorf("fired twice: %v", out)
	}
	if out := c.Heard(air.Node, 9); len(out) != 1 || out[0].State != Resolved || out[0].Alert != first[0].Key {
		t.Errorf("got %v", out)
	}
	if second := c.Advance(200000); len(second) != 1 || second[0].Key == first[0].Key {
		t.Errorf("got %v", second)
	}
}

// A revoked node is missed by nobody, and leaves no alert behind that nothing
// could end: also if its last word ended a silence, so that the same place in
// the journal resolves twice.
func TestARevokedNodeIsNotMissed(t *testing.T) {
	f := newFeeder(rule(func(r *Rule) { r.For = 0 }), rule(func(r *Rule) { r.ID, r.Condition, r.Quantity, r.For = "silent", NoData, "", Duration(time.Minute) }))
	c, keys := f.core, map[string]bool{}
	open := 0
	take := func(out []Transition) {
		for _, x := range out {
			if keys[x.Key] {
				t.Errorf("key %s twice: it would be swallowed", x.Key)
			}
			keys[x.Key] = true
			open += map[State]int{Firing: 1, Resolved: -1}[x.State]
		}
	}
	c.Advance(1000)
	take(c.Heard(air.Node, 7))
	take(c.Advance(100_000)) // silent
	take(c.Heard(air.Node, 9))
	take(c.Advance(200_000)) // silent again, its last word at 9
	expect(t, f.feed(60), Firing)
	open++
	take(c.Forget(air.Node, 12))
	if open != 0 {
		t.Errorf("%d alerts stay open", open)
	}
	if out := c.Advance(10_000_000); len(out) != 0 {
		t.Errorf("a revoked node is missed: %v", out)
	}
	for key, value := range c.Changed() {
		if value != nil && key != keyRules && key != keyFrontier {
			t.Errorf("the checkpoint keeps %q", key)
		}
	}
	expect(t, f.feed(60), Firing) // claimed anew
}

func TestARuleThatGoesResolvesItsAlerts(t *testing.T) {
	f := newFeeder(rule(func(r *Rule) { r.For = 0 }))
	expect(t, f.feed(60), Firing)
	if out := f.core.SetRules(nil, f.time, 1); len(out) != 1 || out[0].State != Resolved {
		t.Errorf("got %v", out)
	}
	expect(t, f.feed(60))
}

// A key that was used before would be swallowed by the book, and the alert with
// it.
func TestARuleSetAgainFiresAgain(t *testing.T) {
	threshold := rule(func(r *Rule) { r.For = 0 })
	silent := rule(func(r *Rule) { r.ID, r.Condition, r.Quantity, r.For = "silent", NoData, "", Duration(time.Minute) })
	f := newFeeder(threshold, silent)
	keys, open, saved := map[string]bool{}, 0, map[string][]byte{}
	take := func(out []Transition) {
		for _, x := range out {
			if keys[x.Key] {
				t.Errorf("key %s twice: it would be swallowed", x.Key)
			}
			keys[x.Key] = true
			open += map[State]int{Firing: 1, Resolved: -1}[x.State]
		}
	}
	reading := Observation{Series: air, Quantity: "pm2_5", Epoch: 1, Number: 1, Time: 1000, Value: 60}
	take(f.core.Observe(reading))
	f.core.Advance(1000)
	take(f.core.Heard(air.Node, 5))
	take(f.core.Advance(100_000))
	take(f.core.Heard(air.Node, 7)) // the silence ends where the next one begins
	take(f.core.Advance(200_000))
	for position := uint64(10); position < 20; position += 3 {
		if open != 2 {
			t.Fatalf("%d alerts are open at %d, want 2", open, position)
		}
		take(f.core.SetRules(nil, 200_000, position))
		take(f.core.SetRules([]Rule{rule(func(r *Rule) { r.ID = "other" })}, 200_000, position+1))
		if open != 0 {
			t.Fatalf("%d alerts of rules that are gone stay open", open)
		}
		for k, v := range f.core.Changed() {
			if saved[k] = v; v == nil {
				delete(saved, k)
			}
		}
		f.core = New()
		for k, v := range saved {
			if err := f.core.Load(k, v); err != nil {
				t.Fatal(err)
			}
		}
		take(f.core.SetRules([]Rule{threshold, silent}, 200_000, position+2))
		take(f.core.Observe(reading)) // sent again, since its PUBACK was lost
		reading.Number++
		take(f.core.Observe(reading))
		take(f.core.Advance(f.core.frontier + 1000))
	}
}

func TestRulesNameTheirMistake(t *testing.T) {
	if _, err := Parse([]byte(`[{"id":"a","name":"A","quantity":"pm25","condition":"above","threshold":1,"clear":2,"severity":"loud"}]`)); err == nil {
		t.Error("want an error")
	}
	if _, err := Parse([]byte(`[{"id":"a","nmae":"A"}]`)); err == nil {
		t.Error("an unknown key must be refused")
	}
	for _, r := range Default() {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
	}
}
