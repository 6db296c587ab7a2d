package figures

import "math"

// USAQI computes the US index of PM2.5 by the breakpoints of May 2024 from a
// 24-hour mean in µg/m³, truncated to 0.1, rounded. For staff comparison only:
// its colours mean other things than Indonesia's.
func USAQI(pm25 float64) (int, bool) {
	if math.IsNaN(pm25) || math.IsInf(pm25, 0) || pm25 < 0 {
		return 0, false
	}
	c := math.Floor(pm25*10+1e-9) / 10
	for _, b := range [...]struct{ cLow, cHigh, iLow, iHigh float64 }{
		{0, 9, 0, 50}, {9.1, 35.4, 51, 100}, {35.5, 55.4, 101, 150}, {55.5, 125.4, 151, 200}, {125.5, 225.4, 201, 300}, {225.5, 325.4, 301, 500},
	} {
		if c <= b.cHigh {
			return int(math.Round((b.iHigh-b.iLow)/(b.cHigh-b.cLow)*(c-b.cLow) + b.iLow)), true
		}
	}
	return 500, true
}

// European is a band of the European index of 2024, 1 (good) to 6 (extremely
// poor).
type European uint8

// europeanUpper are the bands' upper hourly means in µg/m³.
var europeanUpper = map[Parameter][5]float64{
	PM25: {5, 15, 50, 90, 140},
	PM10: {15, 45, 120, 195, 270},
	O3:   {60, 100, 120, 160, 180},
	NO2:  {10, 25, 60, 100, 150},
	SO2:  {20, 40, 125, 190, 275},
}

// EuropeanIndex returns the worst band of the parameters that it knows; ok is
// false without any. For staff comparison only.
func EuropeanIndex(means map[Parameter]float64) (worst European, ok bool) {
	for p, upper := range europeanUpper {
		c, have := means[p]
		if !have || math.IsNaN(c) {
			continue
		}
		band := European(6)
		for i, u := range upper {
			if c <= u {
				band = European(i + 1)
				break
			}
		}
		worst, ok = max(worst, band), true
	}
	return worst, ok
}
