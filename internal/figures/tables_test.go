package figures

import (
	"math"
	"slices"
	"testing"
	"time"
)

// The tables of this file were typed from the regulations as the project's facts have
// them, not from the code.

// ispuTable is Permen LHK P.14/2020: upper concentrations of 50, 100, 200, 300 and the
// table's end, µg/m³.
var ispuTable = map[Parameter][5]float64{
	"pm10":  {50, 150, 350, 420, 500},
	"pm2_5": {15.5, 55.4, 150.4, 250.4, 500},
	"so2":   {52, 180, 400, 800, 1200},
	"co":    {4000, 8000, 15000, 30000, 45000},
	"o3":    {120, 235, 400, 800, 1000},
	"no2":   {80, 200, 1130, 2260, 3000},
	"hc":    {45, 100, 215, 432, 648},
}

// Every cell: at an upper concentration stands the band's last index and its category,
// just above it the next band's first; halfway the index is halfway.
func TestEveryCellOfTheISPUTable(t *testing.T) {
	if len(ispuTable) != len(Parameters()) || len(BreakpointsP14()) != len(ispuTable) {
		t.Fatal("the table has other parameters")
	}
	lower, upper := [...]int{1, 51, 101, 201, 301}, [...]int{50, 100, 200, 300, 500}
	categories := [...]Category{Baik, Sedang, TidakSehat, SangatTidakSehat, Berbahaya}
	for p, cells := range ispuTable {
		below := 0.0
		for band, x := range cells {
			at, ok := SubIndex(p, x, BreakpointsP14(), Stepped)
			if !ok || at.Above || at.Value != upper[band] || math.Abs(at.Exact-float64(upper[band])) > 1e-9 || at.Category != categories[band] {
				t.Errorf("%s at %v: %+v, want %d", p, x, at, upper[band])
			}
			if half, _ := SubIndex(p, (below+x)/2, BreakpointsP14(), Stepped); math.Abs(half.Exact-float64(lower[band]+upper[band])/2) > 1e-9 || half.Category != categories[band] {
				t.Errorf("%s at %v: %+v, want %v", p, (below+x)/2, half, float64(lower[band]+upper[band])/2)
			}
			above, _ := SubIndex(p, x*(1+1e-9), BreakpointsP14(), Stepped)
			switch {
			case band == 4:
				if !above.Above || above.Value != 500 || above.Category != Berbahaya {
					t.Errorf("%s beyond %v: %+v", p, x, above)
				}
			case above.Above || above.Value != lower[band+1] || above.Category != categories[band+1]:
				t.Errorf("%s just above %v: %+v, want %d", p, x, above, lower[band+1])
			}
			if smooth, _ := SubIndex(p, x*(1+1e-9), BreakpointsP14(), Continuous); band < 4 && smooth.Value != upper[band] {
				t.Errorf("%s just above %v with continuous nodes: %+v, want %d", p, x, smooth, upper[band])
			}
			below = x
		}
	}
}

// limitTable is PP 22/2021 Lampiran VII, µg/m³ at 25 °C and 1 atm.
var limitTable = map[string]map[Period]float64{
	"so2":   {"1h": 150, "24h": 75, "1y": 45},
	"co":    {"1h": 10000, "8h": 4000},
	"no2":   {"1h": 200, "24h": 65, "1y": 50},
	"o3":    {"1h": 150, "8h": 100, "1y": 35},
	"nmhc":  {"3h": 160},
	"tsp":   {"24h": 230},
	"pm10":  {"24h": 75, "1y": 40},
	"pm2_5": {"24h": 55, "1y": 15},
	"pb":    {"24h": 2},
}

// Every cell through Assess: a year at the limit exceeds nothing, a year just above it
// exceeds it once, in each averaging time.
func TestEveryCellOfTheStandard(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, WIB).UTC()
	end := begin.AddDate(1, 0, 0)
	cells := 0
	for quantity, of := range limitTable {
		for period, limit := range of {
			cells++
			for _, c := range []struct {
				value    float64
				episodes int
			}{{limit, 0}, {limit * (1 + 1e-9), 1}} {
				list, episodes := Assess("s", 2026, end, flat(quantity, end, 365*24, c.value), []DatedRules{{Rules: DefaultRules()}}, reference)
				i := slices.IndexFunc(list, func(a Assessment) bool { return a.Quantity == quantity && a.Period == period })
				if i < 0 {
					t.Fatalf("%s over %s is not assessed", quantity, period)
				}
				if a := list[i]; !a.Judged || a.Limit.Limit != limit || a.Episodes != c.episodes || math.Abs(a.Peak-c.value) > limit*1e-6 {
					t.Errorf("%s over %s at %v: %+v", quantity, period, c.value, a)
				}
				if n := len(slices.DeleteFunc(episodes, func(e Exceedance) bool { return e.Period != period })); n != c.episodes {
					t.Errorf("%s over %s at %v: %d episodes", quantity, period, c.value, n)
				}
			}
		}
	}
	if cells != len(LimitsPP22()) {
		t.Errorf("%d limits, the annex has %d", len(LimitsPP22()), cells)
	}
}

// The gates as Assess applies them: 3 of 4 quarters of a rolling window (of 3 h all
// three, of 8 h six), 18 hours of a calendar day, 45 of 60 readings of an hour.
func TestTheGatesOfTheStandard(t *testing.T) {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, WIB).UTC()
	now := begin.AddDate(0, 0, 2)
	for name, c := range map[string]struct {
		quantity string
		period   Period
		hours    []SiteHour
		valid    int
	}{
		"one hour counts alone":             {"so2", Hours1, flat("so2", begin.Add(time.Hour), 1, 100), 1},
		"three of three hours":              {"nmhc", Hours3, flat("nmhc", begin.Add(3*time.Hour), 3, 100), 1},
		"two of three hours":                {"nmhc", Hours3, flat("nmhc", begin.Add(3*time.Hour), 3, 100, 1), 0},
		"six of eight hours":                {"co", Hours8, flat("co", begin.Add(8*time.Hour), 8, 100, 3, 4), 1},
		"five of eight hours":               {"co", Hours8, flat("co", begin.Add(8*time.Hour), 8, 100, 3, 4, 5), 0},
		"eighteen hours of a day":           {"pm10", Hours24, flat("pm10", begin.Add(18*time.Hour), 18, 100), 1},
		"seventeen hours of a day":          {"pm10", Hours24, flat("pm10", begin.Add(17*time.Hour), 17, 100), 0},
		"eighteen hours over two days":      {"pm10", Hours24, flat("pm10", begin.Add(33*time.Hour), 18, 100), 0},
		"an hour of too few readings":       {"so2", Hours1, few(flat("so2", begin.Add(time.Hour), 1, 100), 44), 0},
		"an hour of just enough readings":   {"so2", Hours1, few(flat("so2", begin.Add(time.Hour), 1, 100), 45), 1},
		"a run of exact zeros is not clean": {"so2", Hours1, flat("so2", begin.Add(4*time.Hour), 4, 0), 0},
	} {
		list, _ := Assess("s", 2026, now, c.hours, []DatedRules{{Rules: DefaultRules()}}, reference)
		i := slices.IndexFunc(list, func(a Assessment) bool { return a.Quantity == c.quantity && a.Period == c.period })
		if i < 0 || list[i].Valid != c.valid {
			t.Errorf("%s: %+v, want %d valid", name, list, c.valid)
		}
	}
	// An episode of 1 h and of 3 h counts once while it lasts, and again after a pause.
	values := []float64{100, 300, 300, 100, 100, 300, 100}
	for quantity, want := range map[string]struct {
		period   Period
		episodes int
	}{"so2": {Hours1, 2}, "nmhc": {Hours3, 1}} { // of 3 h the means are 233, 233, 167, 167, 167
		_, episodes := Assess("s", 2026, now, series(quantity, begin.Add(7*time.Hour), values...), []DatedRules{{Rules: DefaultRules()}}, reference)
		if n := len(slices.DeleteFunc(episodes, func(e Exceedance) bool { return e.Period != want.period })); n != want.episodes {
			t.Errorf("%s: %d episodes over %s, want %d", quantity, n, want.period, want.episodes)
		}
	}
}

func few(hours []SiteHour, valid int) []SiteHour {
	for i := range hours {
		hours[i].Valid = valid
	}
	return hours
}
