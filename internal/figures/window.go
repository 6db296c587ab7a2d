package figures

import "math"

// Gates say how much of a span must be there for it to count (settings with
// these defaults: three quarters, as EAQI and the US rule).
type Gates struct {
	HourShare  float64 `json:"hour_share"`  // of the expected readings of an hour
	DayHours   int     `json:"day_hours"`   // valid hours of 24
	NewestHour int     `json:"newest_hour"` // the newest valid hour of a running window is at most this many hours old
}

// DefaultGates returns 75 %, 18 hours and 3 hours.
func DefaultGates() Gates { return Gates{HourShare: 0.75, DayHours: 18, NewestHour: 3} }

// HourValid reports whether an hour with so many valid of so many expected
// readings counts. Without an expectation any reading makes it count.
func (g Gates) HourValid(valid, expected int) bool {
	if expected <= 0 {
		return valid > 0
	}
	return float64(valid) >= g.HourShare*float64(expected)
}

// Hour is the mean of one parameter over one hour [h−1, h) WIB, named by its end.
type Hour struct {
	Mean  float64
	Valid bool
}

// Window is the outcome of a running mean.
type Window struct {
	Mean  float64
	Hours int // valid hours that entered
	Age   int // hours since the newest valid one: 0 = the window's last hour
}

// Rolling24 is the mean of the valid hours in (H−24, H]. hours holds them
// oldest first, the last is H; fewer than 24 are taken as missing before. ok is
// false with fewer than DayHours valid ones, or when the newest is too old.
func (g Gates) Rolling24(hours []Hour) (w Window, ok bool) {
	if len(hours) > 24 {
		hours = hours[len(hours)-24:]
	}
	w.Age = -1
	sum := 0.0
	for i, h := range hours {
		if !h.Valid || math.IsNaN(h.Mean) || math.IsInf(h.Mean, 0) {
			continue
		}
		sum += h.Mean
		w.Hours++
		w.Age = len(hours) - 1 - i
	}
	if w.Hours == 0 {
		return w, false
	}
	w.Mean = sum / float64(w.Hours)
	return w, w.Hours >= g.DayHours && w.Age <= g.NewestHour
}
