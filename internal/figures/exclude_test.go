package figures

import (
	"slices"
	"testing"
	"time"
)

// What Exclude says of each hour is what the figure was computed from.
func TestWhyAnHourDoesNotCount(t *testing.T) {
	r := DefaultRules()
	hours := slices.Concat(
		series("pm2_5", at, 35, 0, 0, 0, 35, 0, 0, 35),
		series("rain", at, 0, 0, 0, 0),
		series("hc", at, 30), series("so2", at, 20), series("so2_ppb", at, 9, 8),
	)
	hours[0].Valid, hours[4].Valid = 44, 0
	got := Exclude(hours, []DatedRules{{Rules: r}})
	want := []Exclusion{TooFew, ZeroRun, ZeroRun, ZeroRun, NoReading, "", "", "", "", "", "", "", NoGas, "", "", Beside}
	if !slices.Equal(got, want) {
		t.Errorf("%q,\nwant %q", got, want)
	}
	for _, p := range judge(Hourly, at, hours, r).Parts {
		n := 0
		for i, h := range hours {
			if of, _ := ParameterOf(h.Quantity); of == p.Parameter && got[i] == Included {
				n++
			}
		}
		if n != p.Hours {
			t.Errorf("%s: Exclude lets %d hours count, the figure %d", p.Parameter, n, p.Hours)
		}
	}
	// A missing hour ends a run, and so do other sites and quantities.
	gap := slices.Concat(flat("pm2_5", at, 4, 0, 2), flat("pm10", at.Add(time.Hour), 1, 0))
	for i, e := range Exclude(gap, []DatedRules{{Rules: r}}) {
		if e != Included {
			t.Errorf("hour %d is left out as %s", i, e)
		}
	}
	// Each hour by the rules of its time.
	later := r
	later.ZeroRun = 0
	got = Exclude(flat("pm2_5", at, 4, 0), []DatedRules{{Version: 0, Rules: r}, {Version: 1, Since: at, Rules: later}})
	if want := []Exclusion{ZeroRun, ZeroRun, ZeroRun, Included}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheRulesInForce(t *testing.T) {
	all := []DatedRules{{Version: 1, Since: at}, {Version: 2, Since: at.Add(time.Hour)}, {Version: 3, Since: at}}
	for when, want := range map[time.Duration]int{-time.Hour: 1, 0: 3, time.Hour: 2, 5 * time.Hour: 2} {
		if got := InForce(all, at.Add(when)); got.Version != want {
			t.Errorf("at %v version %d holds, want %d", when, got.Version, want)
		}
	}
	if InForce(nil, at).Version != 0 {
		t.Error("without rules there are some")
	}
}
