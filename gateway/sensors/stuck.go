package sensors

import (
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// stillness is how long a value may stand still to the last bit before the
// sensor counts as stuck. Quantities that may rightly stand still are not listed:
// counters, a load's current and power, frequency and power factor at a meter's
// resolution. A bin's surface may rest for days, but its echo flickers by a
// millimetre with the air's temperature between noon and night.
var stillness = map[string]time.Duration{
	"pm1": 30 * time.Minute, "pm2_5": 30 * time.Minute, "pm4": 30 * time.Minute, "pm10": 30 * time.Minute,
	"particle_size": 30 * time.Minute,
	"co2":           time.Hour,
	"pressure":      2 * time.Hour, "temperature": 2 * time.Hour, "humidity": 2 * time.Hour,
	"voltage":  2 * time.Hour,
	"distance": 36 * time.Hour, "fill": 36 * time.Hour,
}

// ends are values at which a quantity may rest: a particle count below the
// part's resolution, air that is saturated with water, a line without voltage, a
// bin beyond its marks.
var ends = map[string][]float64{
	"pm1": {0}, "pm2_5": {0}, "pm4": {0}, "pm10": {0}, "particle_size": {0},
	"humidity": {100}, "voltage": {0}, "fill": {0, 100},
}

// enough is how many equal samples in a row there must be, so that a sensor that
// is asked twice a day is not judged by its interval.
const enough = 10

// Stuck watches one quantity of one sensor. Its zero value is ready. It holds no
// clock: the caller says when.
type Stuck struct {
	value float64
	since time.Duration
	equal int // samples in a row, 0 = none yet
}

// Observe takes one value that was read at a time since boot (CLOCK_BOOTTIME),
// and reports whether the quantity has stood still for too long.
func (s *Stuck) Observe(quantity string, value telemetry.Value, at time.Duration) bool {
	limit, watched := stillness[quantity]
	if !watched || value.Type != telemetry.Number {
		return false
	}
	rests := false
	for _, end := range ends[quantity] {
		rests = rests || value.Number == end
	}
	if s.equal == 0 || value.Number != s.value || rests {
		s.value, s.since, s.equal = value.Number, at, 1
		return false
	}
	s.equal++
	return s.equal >= enough && at-s.since >= limit
}
