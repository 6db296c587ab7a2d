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

// hours is the period's length; 0 for an unknown one.
func (p Period) hours() int {
	switch p {
	case Hours1:
		return 1
	case Hours3:
		return 3
	case Hours8:
		return 8
	case Hours24:
		return 24
	case Year:
		return 365 * 24
	}
	return 0
}

// Limit is one national ambient standard, µg/m³ at 25 °C and 1 atm.
type Limit struct {
	Quantity string  `json:"quantity"`
	Period   Period  `json:"period"`
	Limit    float64 `json:"limit"`
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
	return episodesOf(RollingMeans(hours, n, share), n-1, limit)
}

// episodesOf finds the runs of windows above a limit; the first of them ends with
// hour first.
func episodesOf(windows []Hour, first int, limit float64) []Episode {
	var out []Episode
	open := false
	for i, w := range windows {
		if !w.Valid || w.Mean <= limit {
			open = false
			continue
		}
		end := first + i
		if !open {
			out = append(out, Episode{From: end, To: end, Peak: w.Mean})
			open = true
			continue
		}
		last := &out[len(out)-1]
		last.To, last.Peak = end, max(last.Peak, w.Mean)
	}
	return out
}

// RollingMeans are the means over each n hours in a row, by the hour; one is valid
// from the share of valid hours on.
func RollingMeans(hours []Hour, n int, share float64) []Hour {
	if len(hours) < n {
		return nil
	}
	out := make([]Hour, len(hours)-n+1)
	for i := range out {
		sum, valid := 0.0, 0
		for _, h := range hours[i : i+n] {
			if h.Valid {
				sum += h.Mean
				valid++
			}
		}
		if valid > 0 && float64(valid) >= share*float64(n) {
			out[i] = Hour{Mean: sum / float64(valid), Valid: true}
		}
	}
	return out
}
