package world

import (
	"testing"
	"time"
)

var wib = time.FixedZone("WIB", 7*3600)

func TestTheSameSeedGivesTheSameWorld(t *testing.T) {
	at := time.Date(2026, 11, 24, 7, 30, 0, 0, wib)
	a, b := New(1).Site("3374/x").Air(at), New(1).Site("3374/x").Air(at)
	if a != b {
		t.Errorf("%+v, then %+v", a, b)
	}
	if a == New(2).Site("3374/x").Air(at) || a == New(1).Site("3374/y").Air(at) {
		t.Error("seed and site make no difference")
	}
}

func TestRushHourIsWorseThanNightAndValuesArePlausible(t *testing.T) {
	s := New(3).Site("3374/pasar")
	var rush, night float64
	for d := range 30 {
		morning := time.Date(2026, 11, 1+d, 7, 0, 0, 0, wib)
		rush += s.Air(morning).NO2
		night += s.Air(morning.Add(-4 * time.Hour)).NO2
		for h := range 24 {
			a := s.Air(morning.Add(time.Duration(h) * time.Hour))
			if a.PM25 < 1 || a.PM25 > 55 || a.PM10 < a.PM25 || a.PM1 > a.PM25 || a.CO2 < 400 || a.CO2 > 700 ||
				a.Temperature < 15 || a.Temperature > 38 || a.Humidity < 40 || a.Humidity > 100 || a.Pressure < 940 || a.Pressure > 1015 || a.O3 < 0 {
				t.Fatalf("implausible: %+v", a)
			}
		}
	}
	if rush < 2*night {
		t.Errorf("rush hour %.0f, night %.0f", rush/30, night/30)
	}
}

func TestSmokeRisesAndEnds(t *testing.T) {
	w := New(1)
	start := time.Date(2026, 11, 24, 10, 0, 0, 0, wib)
	w.SetSmoke(Smoke{Start: start, For: time.Minute, Peak: 180})
	s := w.Site("x")
	if v := s.Air(start.Add(30 * time.Second)).PM25; v < 150 {
		t.Errorf("in the smoke: %v", v)
	}
	if v := s.Air(start.Add(61 * time.Second)).PM25; v > 55 {
		t.Errorf("after it: %v", v)
	}
	above := 0
	for i := range 60 {
		if s.Air(start.Add(time.Duration(i)*time.Second)).PM25 > 55 {
			above++
		}
	}
	if above < 45 {
		t.Errorf("above 55 µg/m³ for %d s only", above)
	}
}

func TestRainWashesTheAirMostlyInTheWetSeason(t *testing.T) {
	s := New(4).Site("3374/x")
	count := func(month time.Month) (wet int) {
		for m := range 28 * 24 * 6 {
			if s.Air(time.Date(2026, month, 1, 0, 10*m, 0, 0, wib)).Raining {
				wet++
			}
		}
		return wet
	}
	january, august := count(time.January), count(time.August)
	if january < 4*august || january == 0 {
		t.Errorf("ten-minute spans with rain: %d in January, %d in August", january, august)
	}
}

func TestBinsFillUntilTheRound(t *testing.T) {
	for i := range 20 {
		s := New(uint64(i)).Site("bin")
		at := time.Date(2026, 11, 1, 0, 0, 0, 0, wib)
		last, rounds := s.Bin(at).Fill, 0
		for range 30 * 24 {
			at = at.Add(time.Hour)
			f := s.Bin(at).Fill
			if f < last-0.001 {
				rounds++
				if f > 30 {
					t.Errorf("after a round %v %% are left", f)
				}
			}
			last = f
		}
		if rounds < 7 || rounds > 31 {
			t.Errorf("seed %d: %d rounds in 30 days", i, rounds)
		}
	}
}

func TestCountersNeverFallAndFollowThePower(t *testing.T) {
	for _, k := range []LoadKind{Household, Market, StreetLight} {
		s := New(5).Site("meter")
		at := time.Date(2026, 11, 1, 0, 0, 0, 0, wib)
		first := s.Load(at, k)
		last, sum := first.Energy, 0.0
		const step = time.Minute
		for range 24 * 60 {
			at = at.Add(step)
			l := s.Load(at, k)
			if l.Energy < last {
				t.Fatalf("the counter fell from %v to %v at %v", last, l.Energy, at)
			}
			last = l.Energy
			sum += l.Power * step.Hours() / 1000
		}
		if used := last - first.Energy; used < 0.98*sum || used > 1.02*sum {
			t.Errorf("kind %d: counter says %.2f kWh, power says %.2f", k, used, sum)
		}
	}
	s := New(5).Site("meter")
	used := func(day int) float64 {
		at := time.Date(2026, 11, day, 0, 0, 0, 0, wib)
		return s.Load(at.AddDate(0, 0, 1), Market).Energy - s.Load(at, Market).Energy
	}
	if sunday, friday := used(22), used(27); sunday < 1.4*friday {
		t.Errorf("market: %.1f kWh on a Sunday, %.1f on a Friday", sunday, friday)
	}
	if New(1).Site("l").Load(time.Date(2026, 1, 1, 12, 0, 0, 0, wib), StreetLight).Power != 0 {
		t.Error("street lights burn at noon")
	}
}

// The fleet asks for thousands of stations, and the history for months.
func TestAskingAllocatesNothing(t *testing.T) {
	w := New(1)
	w.SetSmoke(Smoke{Start: time.Unix(1764000000, 0), For: time.Hour, Peak: 180})
	w.LetHazeDrift()
	at := time.Unix(1764000000, 0)
	if n := testing.AllocsPerRun(100, func() {
		s := w.At("3374/x", Place{Lat: -7, Lon: 110.4, City: true})
		at = at.Add(time.Minute)
		s.Air(at)
		s.Bin(at)
		s.Load(at, Market)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkStation(b *testing.B) {
	s := New(1).Site("x")
	at := time.Unix(1764000000, 0)
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Second)
		s.Air(at)
		s.Bin(at)
		s.Load(at, Household)
	}
}
