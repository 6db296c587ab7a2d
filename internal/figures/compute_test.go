package figures

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/places"
)

// at is the end of the hours of these tests: 14.00 WIB.
var at = time.Date(2026, 11, 26, 14, 0, 0, 0, WIB).UTC()

// series is n hours of a quantity up to end; NaN is an hour without readings.
func series(quantity string, end time.Time, values ...float64) []SiteHour {
	var out []SiteHour
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		out = append(out, SiteHour{Site: "s", Quantity: quantity, End: end.Add(-time.Duration(len(values)-1-i) * time.Hour),
			Mean: v, Min: v, Max: v, Valid: 60, Expected: 60})
	}
	return out
}

func flat(quantity string, end time.Time, n int, v float64, missing ...int) []SiteHour {
	values := slices.Repeat([]float64{v}, n)
	for _, m := range missing {
		values[m] = math.NaN()
	}
	return series(quantity, end, values...)
}

func judge(kind Kind, end time.Time, hours []SiteHour, r Rules) Figure {
	return Judge(Figure{Kind: kind, Site: "s", End: end}, hours, r, "acuan")
}

func TestHourlyWindows(t *testing.T) {
	r := DefaultRules()
	for name, c := range map[string]struct {
		hours      []SiteHour
		ok         bool
		valid, age int
	}{
		"whole":                   {flat("pm2_5", at, 24, 35), true, 24, 0},
		"gap of 6 hours":          {flat("pm2_5", at, 24, 35, 4, 5, 6, 7, 8, 9), true, 18, 0},
		"gap of 7 hours":          {flat("pm2_5", at, 24, 35, 4, 5, 6, 7, 8, 9, 10), false, 17, 0},
		"silent for 3 hours":      {flat("pm2_5", at, 24, 35, 21, 22, 23), true, 21, 3},
		"silent for 4 hours":      {flat("pm2_5", at, 24, 35, 20, 21, 22, 23), false, 20, 4},
		"the hour before is out":  {flat("pm2_5", at.Add(-24*time.Hour), 3, 35), false, 0, 0},
		"an hour after is not in": {append(flat("pm2_5", at, 24, 35), flat("pm2_5", at.Add(time.Hour), 1, 900)...), true, 24, 0},
	} {
		f := judge(Hourly, at, c.hours, r)
		if f.OK != c.ok || len(f.Parts) == 1 && (f.Parts[0].Hours != c.valid || f.Parts[0].Age != c.age) {
			t.Errorf("%s: %+v", name, f)
		}
		if c.ok && (f.Index.Value != 75 || f.Index.Dominant != PM25 || f.Parts[0].Mean != 35 || f.Index.Judged != 1) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := judge(Hourly, at, nil, r); f.OK || len(f.Parts) != 0 {
		t.Errorf("silence: %+v", f)
	}
	// An hour below 75 % does not count, one at 75 % does.
	hours := flat("pm2_5", at, 24, 35)
	hours[0].Valid, hours[1].Valid = 44, 45
	if f := judge(Hourly, at, hours, r); f.Parts[0].Hours != 23 {
		t.Errorf("the gate: %+v", f.Parts)
	}
}

func TestDailyIsTheCalendarDayInWIB(t *testing.T) {
	r := DefaultRules()
	midnight := time.Date(2026, 11, 27, 0, 0, 0, 0, WIB).UTC() // 17.00 UTC
	if midnight.Hour() != 17 || !Day(midnight).Equal(midnight.Add(-24*time.Hour)) || !Day(midnight.Add(time.Hour)).Equal(midnight) {
		t.Errorf("the day of midnight %v is %v", midnight, Day(midnight))
	}
	// Yesterday 10, today 100: the day's figure is today's alone.
	hours := append(flat("pm2_5", midnight.Add(-24*time.Hour), 24, 10), flat("pm2_5", midnight, 24, 100)...)
	if f := judge(Daily, midnight, hours, r); !f.OK || f.Parts[0].Mean != 100 || f.Index.Value != 147 {
		t.Errorf("%+v", f)
	}
	// A day is not stale: its last four hours may be missing.
	if f := judge(Daily, midnight, flat("pm2_5", midnight, 24, 100, 20, 21, 22, 23), r); !f.OK {
		t.Errorf("%+v", f)
	}
	if f := judge(Daily, midnight, flat("pm2_5", midnight, 24, 100, 0, 1, 2, 3, 4, 5, 6), r); f.OK {
		t.Errorf("17 hours are no day: %+v", f)
	}
	end := time.Date(2026, 12, 1, 0, 0, 0, 0, WIB)
	if MonthOf(end) != "2026-11" || MonthOf(end.Add(time.Hour)) != "2026-12" {
		t.Error("midnight belongs to the month that ends")
	}
	if from, to, err := MonthSpan("2026-02"); err != nil || to.Sub(from) != 28*24*time.Hour || !to.Equal(time.Date(2026, 2, 28, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("%v %v %v", from, to, err)
	}
}

func TestZeroRunsAreSuspect(t *testing.T) {
	r := DefaultRules()
	zeros := func(end time.Time, n int) []SiteHour { return flat("so2", end, n, 0) }
	// Two hours of zeros count, three do not.
	two := append(flat("so2", at.Add(-2*time.Hour), 22, 60), zeros(at, 2)...)
	if f := judge(Hourly, at, two, r); f.Parts[0].Hours != 24 || f.Parts[0].Mean != 55 {
		t.Errorf("%+v", f.Parts)
	}
	three := append(flat("so2", at.Add(-3*time.Hour), 21, 60), zeros(at, 3)...)
	if f := judge(Hourly, at, three, r); f.Parts[0].Hours != 21 || f.Parts[0].Mean != 60 || f.Parts[0].Age != 3 {
		t.Errorf("%+v", f.Parts)
	}
	// A run that began before the window is one.
	before := append(zeros(at.Add(-23*time.Hour), 3), flat("so2", at, 23, 60)...)
	if f := judge(Hourly, at, before, r); f.Parts[0].Hours != 23 {
		t.Errorf("%+v", f.Parts)
	}
	r.ZeroRun = 0
	if f := judge(Hourly, at, three, r); f.Parts[0].Hours != 24 {
		t.Errorf("switched off: %+v", f.Parts)
	}
	// Zeros in the mean alone are none.
	r = DefaultRules()
	noisy := zeros(at, 24)
	for i := range noisy {
		noisy[i].Min, noisy[i].Max = -0.4, 0.4
	}
	if f := judge(Hourly, at, noisy, r); !f.OK || f.Index.Value != 1 {
		t.Errorf("%+v", f)
	}
}

func TestGasesAreConvertedWhenJudged(t *testing.T) {
	r := DefaultRules()
	f := judge(Hourly, at, slices.Concat(flat("no2_ppb", at, 24, 79.79), flat("co_ppm", at, 24, 5.2408), flat("o3_ppb", at, 24, 10), flat("so2_ppb", at, 24, -0.9)), r)
	means := map[Parameter]float64{}
	for _, p := range f.Parts {
		means[p.Parameter] = p.Mean
	}
	for p, want := range map[Parameter]float64{NO2: 150, CO: 6000, O3: 19.62, SO2: -2.36} {
		if math.Abs(means[p]-want) > max(0.02, 1e-3*want) {
			t.Errorf("%s: %v µg/m³, want %v", p, means[p], want)
		}
	}
	if f.Index.Dominant != NO2 || f.Index.Value != 80 || f.Index.Judged != 4 {
		t.Errorf("%+v", f.Index)
	}
	for _, part := range f.Parts {
		if part.Parameter == SO2 && (part.Index.Value != 0 || !part.OK) {
			t.Errorf("just below zero the index floors: %+v", part)
		}
	}
	// False friends and hydrocarbons.
	f = judge(Hourly, at, slices.Concat(flat("co2", at, 24, 900), flat("voc_index", at, 24, 100), flat("hc_ppm", at, 24, 0.1)), r)
	if f.OK || len(f.Parts) != 1 || f.Parts[0].Parameter != HC || f.Parts[0].OK {
		t.Errorf("%+v", f)
	}
	r.HCGas = map[string]string{"s": "methane"}
	f = judge(Hourly, at, flat("hc_ppm", at, 24, 70/655.75), r)
	if !f.OK || f.Index.Value != 73 {
		t.Errorf("as methane: %+v", f)
	}
	// In µg/m³ first, hour by hour.
	f = judge(Hourly, at, append(flat("so2", at, 24, 100, 0, 1), flat("so2_ppb", at, 24, 1000)...), r)
	if want := (22*100 + 2*2618.6) / 24.; math.Abs(f.Parts[0].Mean-want) > 0.1 {
		t.Errorf("%v, want %v", f.Parts[0].Mean, want)
	}
}

func TestAboveTheTableAndClasses(t *testing.T) {
	r := DefaultRules()
	f := judge(Hourly, at, flat("pm10", at, 24, 809), r)
	if !f.Index.Above || f.Index.String() != "di atas 500" || f.Index.Category != Berbahaya || f.Parts[0].Mean != 809 {
		t.Errorf("%+v", f)
	}
	for class, want := range map[string][2]bool{"acuan": {false, false}, "sni9178": {false, true}, "indikatif": {true, true}, "": {true, true}} {
		for i, allow := range []bool{true, false} {
			r.AllowSNI = allow
			if f := Judge(Figure{Kind: Hourly, Site: "s", End: at}, flat("pm2_5", at, 24, 35), r, class); f.Estimate != want[i] || !f.OK {
				t.Errorf("class %q, SNI allowed %v: %+v", class, allow, f)
			}
		}
	}
}

func TestTracesAreProofs(t *testing.T) {
	r := DefaultRules()
	hours := flat("pm2_5", at, 24, 35)
	hours[3].Rejected, hours[4].Gaps = map[string]int{"stuck": 3, "range": 1}, map[string]int{"bus": 2}
	trace := Trace{Hours: hours, Rules: r, Class: "acuan", Articles: Articles()}
	trace.Figure = judge(Hourly, at, hours, r)
	trace.Figure.ID, trace.Figure.Status = FigureID(Hourly, "s", at, 0), Provisional
	var err error
	if trace.Figure.Hash, err = trace.Sum(); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(trace)
	if err != nil {
		t.Fatal(err)
	}
	var read Trace // as somebody would who has nothing but the file
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatal(err)
	}
	again, err := read.Recompute()
	if err != nil || !reflect.DeepEqual(again, trace.Figure) {
		t.Errorf("%+v, %v\nwant %+v", again, err, trace.Figure)
	}
	read.Figure.Status = Validated
	if again, _ := read.Recompute(); again.Hash != trace.Figure.Hash {
		t.Error("closing the month changes the hash")
	}
	read.Hours[5].Mean = 36
	if again, _ := read.Recompute(); again.Hash == trace.Figure.Hash || reflect.DeepEqual(again.Index, trace.Figure.Index) {
		t.Error("a changed hour passes")
	}
	read.Hours[5].End = at.Add(-50 * time.Hour)
	if _, err := read.Recompute(); err == nil {
		t.Error("an hour that is not of the window passes")
	}
	kind, site, end, revision, err := ParseFigureID(FigureID(Daily, "smg-1-utara", at, 12))
	if err != nil || kind != Daily || site != "smg-1-utara" || !end.Equal(at) || revision != 12 {
		t.Errorf("%v %v %v %v %v", kind, site, end, revision, err)
	}
	for _, bad := range []string{"", "ispu", "ispu-20261126-14-0-s", "ispu-20261126-14-r-1-s", "co2-20261126-14-r0-s", "ispu-20261126-14-r0-", "ispu-20261326-14-r0-s"} {
		if _, _, _, _, err := ParseFigureID(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestAreasShowTheHighestStation(t *testing.T) {
	r := DefaultRules()
	at24 := func(v float64) Figure { return judge(Hourly, at, flat("pm2_5", at, 24, v), r) }
	low, high := at24(10), at24(60)
	low.Site, high.Site = "a", "b"
	estimate := at24(400)
	estimate.Estimate = true
	silent := judge(Hourly, at, nil, r)
	all := map[string]Figure{"a": low, "b": high, "c": estimate, "d": silent}
	area := AreaOf([]string{"a", "b", "c", "d", "e"}, all)
	if !area.OK || area.Highest.Site != "b" || area.Lowest.Site != "a" || area.Valid != 2 || area.Of != 3 {
		t.Errorf("%+v", area)
	}
	if a := AreaOf([]string{"c", "d"}, all); a.OK || a.Of != 1 {
		t.Errorf("%+v", a)
	}
	if got := Counts([]string{"a", "b", "c", "d", "e"}, all); got[Baik] != 1 || got[TidakSehat] != 1 || got[CategoryNone] != 1 || len(got) != 3 {
		t.Errorf("%v", got)
	}
	// Beyond the table the concentration decides.
	x, y := at24(600), at24(900)
	x.Site, y.Site = "x", "y"
	if a := AreaOf([]string{"x", "y"}, map[string]Figure{"x": x, "y": y}); a.Highest.Site != "y" {
		t.Errorf("%+v", a.Highest)
	}
}

func TestNowIsTheLastValidHour(t *testing.T) {
	hours := append(flat("pm2_5", at, 24, 94, 23), flat("no2", at, 24, 20, 20, 21, 22, 23)...)
	got := PresentOf("s", at.Add(20*time.Minute), hours, DefaultRules())
	if len(got) != 1 || got[0].Parameter != PM25 || !got[0].End.Equal(at.Add(-time.Hour)) || got[0].Mean != 94 || got[0].Category != TidakSehat {
		t.Errorf("%+v", got)
	}
}

// reference is the class of a station that yields an index at all times.
func reference(time.Time) string { return string(places.Reference) }

func TestExceedancesOfAYear(t *testing.T) {
	r := []DatedRules{{Rules: DefaultRules()}}
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, WIB).UTC()
	days := func(n int, v func(hour int) float64) []SiteHour {
		var values []float64
		for i := range n * 24 {
			values = append(values, v(i))
		}
		return series("pm2_5", begin.Add(time.Duration(n*24)*time.Hour), values...)
	}
	find := func(of []Assessment, q string, p Period) Assessment {
		for _, a := range of {
			if a.Quantity == q && a.Period == p {
				return a
			}
		}
		t.Fatalf("%s over %s is not assessed: %+v", q, p, of)
		return Assessment{}
	}
	now := begin.Add(300 * 24 * time.Hour)
	// Day 10 and 11 at 60, day 20 at exactly 55: one episode, since exceeded is
	// strictly greater and a run counts once.
	of, episodes := Assess("s", 2026, now, days(100, func(h int) float64 {
		switch h / 24 {
		case 10, 11:
			return 60
		case 20:
			return 55
		}
		return 14
	}), r, reference)
	if a := find(of, "pm2_5", Hours24); a.Episodes != 1 || a.Valid != 100 || a.Of != 300 || a.Peak != 60 || !a.Judged {
		t.Errorf("%+v", a)
	}
	if len(episodes) != 1 || !episodes[0].From.Equal(begin.Add(11*24*time.Hour)) || !episodes[0].To.Equal(begin.Add(12*24*time.Hour)) {
		t.Errorf("%+v", episodes)
	}
	if a := find(of, "pm2_5", Year); a.Judged || a.Valid != 100 || a.Of != 365 {
		t.Errorf("100 days cannot judge a year: %+v", a)
	}
	// 274 of 365 days are three quarters; 273 are not.
	for n, judged := range map[int]bool{273: false, 274: true} {
		of, episodes := Assess("s", 2026, begin.Add(365*24*time.Hour), days(n, func(int) float64 { return 15.0001 }), r, reference)
		if a := find(of, "pm2_5", Year); a.Judged != judged || (a.Episodes == 1) != judged || (len(episodes) == 1) != judged {
			t.Errorf("%d days: %+v, %+v", n, a, episodes)
		}
	}
	// 8 h rolling, across the year's first hours too; an indicative site has none.
	co := series("co", begin.Add(3*time.Hour), slices.Repeat([]float64{5000}, 10)...)
	of, episodes = Assess("s", 2026, now, co, r, reference)
	if a := find(of, "co", Hours8); a.Episodes != 1 || a.Valid != 5 {
		t.Errorf("%+v", a)
	}
	if len(episodes) != 1 || !episodes[0].From.Equal(begin.Add(time.Hour)) || !episodes[0].To.Equal(begin.Add(5*time.Hour)) {
		t.Errorf("%+v", episodes)
	}
	if of, episodes := Assess("s", 2026, now, co, r, func(time.Time) string { return string(places.Indicative) }); len(episodes) != 0 || find(of, "co", Hours8).Judged {
		t.Errorf("%+v", episodes)
	}
}

// A limit, a gate or a gas that changes in the year changes nothing that was judged
// before: an exceedance that was published does not vanish.
func TestNewRulesLeaveThePastOfAYear(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, WIB).UTC()
	change := begin.Add(50 * 24 * time.Hour)
	old, fresh := DefaultRules(), DefaultRules()
	fresh.Limits = []Limit{{"pm2_5", Hours24, 70}, {"pm2_5", Year, 10}}
	fresh.Gates.DayHours = 24
	fresh.Bulletins = []int{7}
	rules := []DatedRules{{Version: 1, Rules: old}, {Version: 2, Since: change, Rules: fresh}}
	var values []float64
	for h := range 100 * 24 {
		switch h / 24 {
		case 10, 49, 50, 60: // 60 is too much before the change, not after it
			values = append(values, 60)
		case 70:
			values = append(values, 80)
		default:
			values = append(values, 14)
		}
	}
	end := begin.Add(100 * 24 * time.Hour)
	hours := series("pm2_5", end, values...)
	hours = slices.DeleteFunc(hours, func(h SiteHour) bool { // a day of 20 hours on both sides
		at := int(h.End.Sub(begin)/time.Hour) - 1
		return (at/24 == 20 || at/24 == 80) && at%24 < 4
	})
	assess := func(rules ...DatedRules) ([]Assessment, []Exceedance) {
		return Assess("s", 2026, end, hours, rules, reference)
	}
	of, episodes := assess(rules...)
	by := map[Limit]Assessment{}
	for _, a := range of {
		by[a.Limit] = a
	}
	// Day 49 ends with the change: what ends then is judged by the new rules.
	if a := by[Limit{"pm2_5", Hours24, 55}]; a.Of != 49 || a.Valid != 49 || a.Episodes != 1 {
		t.Errorf("the limit before: %+v", a)
	}
	if a := by[Limit{"pm2_5", Hours24, 70}]; a.Of != 51 || a.Valid != 50 || a.Episodes != 1 || a.Peak != 80 {
		t.Errorf("the limit after: %+v", a)
	}
	if a, there := by[Limit{"pm2_5", Year, 15}]; there {
		t.Errorf("the year is judged by the rules at its end, and there is %+v", a)
	}
	if a := by[Limit{"pm2_5", Year, 10}]; a.Valid != 99 {
		t.Errorf("%+v", a)
	}
	if len(episodes) != 2 || episodes[0].Limit != 70 || episodes[1].Limit != 55 || !episodes[1].To.Equal(begin.Add(11*24*time.Hour)) {
		t.Errorf("%+v", episodes)
	}
	// What touches no limit changes nothing at all.
	same := old
	same.Bulletins, same.GraceMin = []int{7}, 20
	before, _ := assess(rules[0])
	if after, _ := assess(rules[0], DatedRules{Version: 2, Since: change, Rules: same}); !slices.Equal(before, after) {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestRulesSayWhatIsWrong(t *testing.T) {
	if err := DefaultRules().Check(); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(DefaultRules())
	if err != nil {
		t.Fatal(err)
	}
	var again Rules
	if err := json.Unmarshal(body, &again); err != nil || !reflect.DeepEqual(again, DefaultRules()) {
		t.Errorf("%+v, %v", again, err)
	}
	for field, change := range map[string]func(*Rules){
		"gates.hour_share":  func(r *Rules) { r.Gates.HourShare = 75 },
		"gates.day_hours":   func(r *Rules) { r.Gates.DayHours = 25 },
		"zero_run":          func(r *Rules) { r.ZeroRun = -1 },
		"breakpoints.pm2_5": func(r *Rules) { r.Breakpoints[PM25] = [5]float64{50, 40, 150, 250, 500} },
		"bulletins":         func(r *Rules) { r.Bulletins = []int{24} },
		"grace_min":         func(r *Rules) { r.GraceMin = 60 },
		"limits":            func(r *Rules) { r.Limits = []Limit{{"pm10", "2h", 3}} },
		"hc_gas.smg-1":      func(r *Rules) { r.HCGas = map[string]string{"smg-1": "benzene"} },
		"year_share":        func(r *Rules) { r.YearShare = math.NaN() },
	} {
		r := DefaultRules()
		change(&r)
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// The hash of a published figure is printed and linked for years: whoever changes
// what this test says breaks every one of them.
func TestHashesAreForEver(t *testing.T) {
	r := DefaultRules()
	trace := Trace{Hours: flat("pm2_5", at, 24, 35, 7), Rules: r, Class: "acuan", Articles: r.Articles}
	trace.Hours[2].Rejected = map[string]int{"stuck": 2}
	trace.Figure = judge(Hourly, at, trace.Hours, r)
	trace.Figure.ID, trace.Figure.Computed, trace.Figure.Published = FigureID(Hourly, "s", at, 0), at.Add(10*time.Minute), at.Add(10*time.Minute)
	if sum, err := trace.Sum(); err != nil || sum != "9fb1cdc1fb5afaae1532de7858802a8643816082f13ded880a65b826e107cdf9" {
		t.Errorf("%s, %v", sum, err)
	}
}

// Many hashes at once are those of one at a time.
func TestSumsAreEachTracesOwn(t *testing.T) {
	r, stricter := DefaultRules(), DefaultRules()
	stricter.Gates.HourShare = 90
	hours := slices.Concat(flat("pm2_5", at, 30, 35, 7), flat("so2", at, 30, 12))
	hours[2].Rejected, hours[5].Marks = map[string]int{"stuck": 2}, []string{"<m1>"}
	corrected := slices.Clone(hours)
	corrected[9].Version, corrected[9].Mean = 1, 99.5
	var sums Sums
	for _, all := range [][]SiteHour{hours, corrected, {}, nil} {
		for version, rules := range []Rules{r, stricter} {
			for _, class := range []string{"acuan", "sni9178"} {
				for back := range 6 {
					end := at.Add(-time.Duration(back) * time.Hour)
					window := slices.DeleteFunc(slices.Clone(all), func(h SiteHour) bool { return h.End.After(end) })
					if all == nil {
						window = nil
					}
					trace := Trace{Hours: window, Rules: rules, Since: at.AddDate(0, version, 0), Class: class, Articles: rules.Articles}
					trace.Figure = Judge(Figure{Kind: Hourly, Site: "s", End: end}, window, rules, class)
					trace.Figure.ID, trace.Figure.Rules, trace.Figure.Status = FigureID(Hourly, "s", end, back), version, Provisional
					want, err := trace.Sum()
					if err != nil {
						t.Fatal(err)
					}
					if got, err := sums.Of(trace); err != nil || got != want {
						t.Errorf("%d hours, rules %d, %s, %d hours back: %s, %v, want %s", len(window), version, class, back, got, err, want)
					}
				}
			}
		}
	}
}
