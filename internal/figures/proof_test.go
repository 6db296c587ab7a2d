package figures

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/places"
)

// Each line of a station's year is proved by its trace alone: also where limits,
// gates and the station's class changed within the year.
func TestAnAssessmentIsMadeAgainFromItsTraceAlone(t *testing.T) {
	begin, _ := YearSpan(2026)
	end := begin.Add(120 * 24 * time.Hour)
	fresh := DefaultRules()
	fresh.Limits = []Limit{{"pm2_5", Hours24, 70}, {"pm2_5", Year, 10}, {"co", Hours8, 4000}, {"nmhc", Hours3, 160}}
	fresh.Gates.DayHours = 24
	fresh.HCGas = map[string]string{"s": "methane", "other": "propane"}
	rules := []DatedRules{
		{Version: 0, Rules: DefaultRules(), By: "sari", At: begin},
		{Version: 1, Since: begin.Add(50 * 24 * time.Hour), Rules: fresh, By: "budi", At: begin, Reason: "SK Kepala Dinas"},
	}
	class := func(t time.Time) string {
		if t.Before(begin.Add(90 * 24 * time.Hour)) {
			return string(places.Reference)
		}
		return string(places.Indicative)
	}
	var hours []SiteHour
	for quantity, scale := range map[string]float64{"pm2_5": 1, "co_ppm": 0.1, "nmhc": 4, "so2": 0} { // so2: nothing but zeros
		var values []float64
		for h := range 120*24 + 12 {
			values = append(values, scale*float64(20+(h*h/7)%97))
		}
		hours = append(hours, series(quantity, end, values...)...)
	}
	hours[7].Version, hours[8].Version = 2, 1
	of, episodes := Assess("s", 2026, end, hours, rules, class)
	if len(of) < 8 || len(episodes) < 20 {
		t.Fatalf("too little to prove: %+v, %d episodes", of, len(episodes))
	}
	trace := func(l Limit) (AssessmentTrace, error) {
		return TraceAssessment(AssessmentTrace{
			Site: "s", Year: 2026, At: end.Add(40 * time.Minute), Assessment: Assessment{Limit: l}, Hours: hours, Rules: rules, Status: Provisional,
			Classes: []DatedClass{{begin.Add(-8 * time.Hour), class(begin)}, {begin.Add(90 * 24 * time.Hour), class(end)}},
		})
	}
	for _, a := range of {
		made, err := trace(a.Limit)
		if err != nil {
			t.Fatal(err)
		}
		body, err := json.Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		var read AssessmentTrace
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatal(err)
		}
		again, err := read.Recompute()
		if err != nil || again.Assessment != a || again.Hash != made.Hash || again.Hash == "" {
			t.Errorf("%s: %+v, %v, want %+v", made.ID, again.Assessment, err, a)
		}
		mine := slices.DeleteFunc(slices.Clone(episodes), func(e Exceedance) bool { return Limit{e.Quantity, e.Period, e.Limit} != a.Limit })
		if len(mine) != a.Episodes || len(mine) != len(again.Exceeded) || (len(mine) > 0 && !reflect.DeepEqual(again.Exceeded, mine)) {
			t.Errorf("%s: episodes %+v\nwant %+v", made.ID, again.Exceeded, mine)
		}
		// The windows that the page shows are those that were counted.
		valid, above, windows := 0, 0, made.Windows()
		for i, w := range windows {
			if w.Valid {
				valid++
			}
			if w.Valid && a.Exceeded(w.Mean) && (i == 0 || !windows[i-1].Valid || !a.Exceeded(windows[i-1].Mean)) {
				above++
			}
		}
		if valid != a.Valid || (a.Period != Year && above != a.Episodes) {
			t.Errorf("%s: %d windows, %d runs above; %+v", made.ID, valid, above, a)
		}
		for _, r := range made.Rules {
			if r.By != "" || !r.At.IsZero() || r.Rules.HCGas["other"] != "" {
				t.Errorf("%s tells of others: %+v", made.ID, r)
			}
		}
		read.Status = Validated
		if again, _ := read.Recompute(); again.Hash != made.Hash {
			t.Error("closing a month changes the hash")
		}
		read.Hours[len(read.Hours)/2].Mean++
		if again, _ := read.Recompute(); again.Hash == made.Hash {
			t.Errorf("%s: a changed hour passes", made.ID)
		}
		site, year, l, err := ParseAssessmentID(made.ID)
		if err != nil || site != "s" || year != 2026 || l != a.Limit {
			t.Errorf("%s: %q, %d, %+v, %v", made.ID, site, year, l, err)
		}
	}
	for _, l := range []Limit{{"pm2_5", Hours24, 56}, {"pm10", Hours24, 75}, {"pm2_5", Hours1, 55}, {}} {
		if _, err := trace(l); !errors.Is(err, ErrNoAssessment) {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for _, bad := range []string{"", "baku-", "baku-2026-pm2_5-24h-55", "baku-2026-pm2_5-24h-55-", "baku-x-pm2_5-24h-55-s", "baku-2026-pm2_5-24h-055-s", "baku-2026-pm2_5-24h-NaN-s", "baku-2026-pm2_5-24h-+Inf-s", "ispu-2026-pm2_5-24h-55-s", "baku--1-pm2_5-24h-55-s"} {
		if _, _, _, err := ParseAssessmentID(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

// An address that lives on: when rules that were in force before the year give way
// to others within it, and when a rule of the year begins at its first hour.
func TestOnlyTheRulesOfTheYearStandInItsTrace(t *testing.T) {
	begin, _ := YearSpan(2026)
	at := func(d int) time.Time { return begin.AddDate(0, 0, d) }
	rules := []DatedRules{{Version: 0, Rules: DefaultRules()}, {Version: 1, Since: at(-100), Rules: DefaultRules()}, {Version: 2, Since: at(40), Rules: DefaultRules()}, {Version: 3, Since: at(-50), Rules: DefaultRules()}, {Version: 4, Since: at(400), Rules: DefaultRules()}}
	var versions []int
	got := inForceWithin(rules, begin, at(90), "s")
	for _, r := range got {
		versions = append(versions, r.Version)
	}
	if !slices.Equal(versions, []int{3, 2}) {
		t.Errorf("%v", versions)
	}
	for d := range 90 {
		if InForce(got, at(d)).Version != InForce(rules, at(d)).Version {
			t.Errorf("day %d: version %d, was %d", d, InForce(got, at(d)).Version, InForce(rules, at(d)).Version)
		}
	}
}
