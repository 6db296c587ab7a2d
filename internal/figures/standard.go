package figures

// Period is an averaging time of a standard.
type Period string

// The periods of PP 22/2021 Lampiran VII.
const (
	Hours1  Period = "1h"
	Hours3  Period = "3h"
	Hours8  Period = "8h"
	Hours24 Period = "24h" // the calendar day, WIB
	Year    Period = "1y"  // the calendar year, WIB
)

// Limit is one national ambient standard, µg/m³ at 25 °C and 1 atm.
type Limit struct {
	Quantity string // catalogue name, or nmhc, tsp, pb
	Period   Period
	Limit    float64
}

// LimitsPP22 returns PP 22/2021 Lampiran VII.
func LimitsPP22() []Limit {
	return []Limit{
		{"so2", Hours1, 150}, {"so2", Hours24, 75}, {"so2", Year, 45},
		{"co", Hours1, 10000}, {"co", Hours8, 4000},
		{"no2", Hours1, 200}, {"no2", Hours24, 65}, {"no2", Year, 50},
		{"o3", Hours1, 150}, {"o3", Hours8, 100}, {"o3", Year, 35},
		{"nmhc", Hours3, 160}, {"tsp", Hours24, 230},
		{"pm10", Hours24, 75}, {"pm10", Year, 40},
		{"pm2_5", Hours24, 55}, {"pm2_5", Year, 15},
		{"pb", Hours24, 2},
	}
}

// Exceeded reports whether a mean is above the limit: strictly, before rounding.
func (l Limit) Exceeded(mean float64) bool { return mean > l.Limit }

// Episode is a run of exceeding windows, counted once. From and To index the
// hours at whose end the first and the last such window stands.
type Episode struct {
	From, To int
	Peak     float64 // the highest mean
}

// RollingEpisodes finds the episodes of an n-hour standard (3 or 8 h) in a
// sequence of hours, oldest first; a window counts from 75 % valid hours. It
// serves n = 1 for clock hours too.
func RollingEpisodes(hours []Hour, n int, limit float64, share float64) []Episode {
	var out []Episode
	open := false
	for end := n - 1; end < len(hours); end++ {
		sum, valid := 0.0, 0
		for _, h := range hours[end-n+1 : end+1] {
			if h.Valid {
				sum += h.Mean
				valid++
			}
		}
		if valid == 0 || float64(valid) < share*float64(n) || sum/float64(valid) <= limit {
			open = false
			continue
		}
		mean := sum / float64(valid)
		if !open {
			out = append(out, Episode{From: end, To: end, Peak: mean})
			open = true
			continue
		}
		last := &out[len(out)-1]
		last.To, last.Peak = end, max(last.Peak, mean)
	}
	return out
}
