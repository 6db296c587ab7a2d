package figures

import (
	"math"
	"slices"
	"testing"
)

func TestISPUVectors(t *testing.T) {
	table := BreakpointsP14()
	for _, c := range []struct {
		p                           Parameter
		x, stepped, continuousExact float64
	}{
		{PM25, 35, 74.95, 74.44}, {PM25, 55.4, 100, 100}, {PM25, 100, 147.48, 146.95}, {PM25, 200, 250.10, 249.60},
		{PM10, 100, 75.50, 75}, {SO2, 100, 69.38, 68.75}, {CO, 6000, 75.50, 75}, {O3, 200, 85.09, 84.78},
		{NO2, 150, 79.58, 79.17}, {HC, 70, 73.27, 72.73},
	} {
		if got, ok := SubIndex(c.p, c.x, table, Stepped); !ok || math.Abs(got.Exact-c.stepped) > 0.005 {
			t.Errorf("stepped %s %v: %v, want %v", c.p, c.x, got.Exact, c.stepped)
		}
		if got, ok := SubIndex(c.p, c.x, table, Continuous); !ok || math.Abs(got.Exact-c.continuousExact) > 0.005 {
			t.Errorf("continuous %s %v: %v, want %v", c.p, c.x, got.Exact, c.continuousExact)
		}
	}
}

// Five pairs that the ministry published (24 h mean of PM2.5 → index); its feed
// differs from itself by one.
func TestISPUMatchesTheMinistrysOwnFigures(t *testing.T) {
	for x, want := range map[float64]int{94.01: 142, 94.27: 142, 46.37: 89, 42.14: 84, 19.71: 56} {
		got, ok := SubIndex(PM25, x, BreakpointsP14(), Stepped)
		if !ok || got.Value < want-1 || got.Value > want+1 {
			t.Errorf("%v: %d, published %d", x, got.Value, want)
		}
	}
}

func TestISPUEdges(t *testing.T) {
	table := BreakpointsP14()
	if i, _ := SubIndex(PM25, -2, table, Stepped); i.Value != 0 || i.Category != Baik {
		t.Errorf("below zero: %+v", i)
	}
	if i, _ := SubIndex(PM10, 809, table, Stepped); !i.Above || i.String() != "di atas 500" || i.Category != Berbahaya {
		t.Errorf("beyond the table: %+v", i)
	}
	if _, ok := SubIndex(PM25, math.NaN(), table, Stepped); ok {
		t.Error("NaN has no index")
	}
	if _, ok := SubIndex("co2", 400, table, Stepped); ok {
		t.Error("CO2 has no index")
	}
	for value, want := range map[int]Category{50: Baik, 51: Sedang, 100: Sedang, 101: TidakSehat, 200: TidakSehat, 201: SangatTidakSehat, 300: SangatTidakSehat, 301: Berbahaya} {
		if got := CategoryOf(value); got != want {
			t.Errorf("%d: %v, want %v", value, got, want)
		}
	}
	s, ok := StationIndex(map[Parameter]float64{PM25: 35, PM10: 100}, table, Stepped)
	if !ok || s.Dominant != PM10 || s.Value != 76 || s.Judged != 2 {
		t.Errorf("%+v", s)
	}
	if s, _ := StationIndex(map[Parameter]float64{PM25: 501, PM10: 809}, table, Stepped); s.Dominant != PM10 {
		t.Errorf("both beyond: %+v", s)
	}
}

func TestRolling24Gates(t *testing.T) {
	day := func(missing ...int) []Hour {
		h := make([]Hour, 24)
		for i := range h {
			h[i] = Hour{Mean: 10, Valid: !slices.Contains(missing, i)}
		}
		return h
	}
	g := DefaultGates()
	for name, c := range map[string]struct {
		hours []Hour
		ok    bool
	}{
		"whole":                    {day(), true},
		"gap of 6":                 {day(3, 4, 5, 6, 7, 8), true},
		"gap of 7":                 {day(3, 4, 5, 6, 7, 8, 9), false},
		"newest three hours old":   {day(21, 22, 23), true},
		"newest four hours old":    {day(20, 21, 22, 23), false},
		"a station of eight hours": {day()[:8], false},
		"silence":                  {nil, false},
	} {
		if w, ok := g.Rolling24(c.hours); ok != c.ok || (ok && w.Mean != 10) {
			t.Errorf("%s: %+v, %v", name, w, ok)
		}
	}
	if !g.HourValid(45, 60) || g.HourValid(44, 60) || g.HourValid(0, 0) {
		t.Error("the hour's gate is 75 %")
	}
}

func TestGasesAndFalseFriends(t *testing.T) {
	for quantity, want := range map[string]float64{"no2_ppb": 1.880, "so2_ppb": 2.619, "o3_ppb": 1.962, "co_ppm": 1145} {
		if _, got, ok := Concentration(quantity, 1); !ok || math.Abs(got-want)/want > 0.001 {
			t.Errorf("%s: %v, want %v", quantity, got, want)
		}
	}
	for _, q := range []string{"co2", "hc_ppm", "hc_ppb", "voc_index", "temperature"} {
		if p, v, ok := Concentration(q, 1); ok {
			t.Errorf("%s became %v of %s", q, v, p)
		}
	}
	if p, v, ok := Concentration("pm2_5", 12); !ok || p != PM25 || v != 12 {
		t.Errorf("%v %v %v", p, v, ok)
	}
}

func TestEpisodesCountOnce(t *testing.T) {
	var hours []Hour
	for _, v := range []float64{10, 10, 300, 300, 10, 10, 10, 10, 10, 10, 10, 300} {
		hours = append(hours, Hour{Mean: v, Valid: true})
	}
	if got := RollingEpisodes(hours, 3, 100, 0.75); len(got) != 2 || got[0].From != 2 || got[0].To != 5 || got[0].Peak < 203 {
		t.Errorf("%+v", got)
	}
	if got := RollingEpisodes(hours, 1, 300, 0.75); len(got) != 0 {
		t.Errorf("exceeded is strictly greater: %+v", got)
	}
}

func TestAbroad(t *testing.T) {
	for c, want := range map[float64]int{0: 0, 9: 50, 9.1: 51, 35.4: 100, 35.49: 100, 55.4: 150, 125.5: 201, 325.4: 500, 900: 500} {
		if got, _ := USAQI(c); got != want {
			t.Errorf("US %v: %d, want %d", c, got, want)
		}
	}
	if b, ok := EuropeanIndex(map[Parameter]float64{PM25: 16, O3: 60}); !ok || b != 3 {
		t.Errorf("European: %d", b)
	}
}
