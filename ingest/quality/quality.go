// Package quality judges readings: pure functions of (reading, dated rules).
//
// It promises that a verdict needs nothing but its arguments: no clock, no
// history, no chip state. Flags that need history (stuck, warm-up, sensor
// fault) come from the gateway and are never overruled here.
package quality

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// MaxAhead is how far after its receive time a reading may lie before it is
// FlagTimeFuture: the clocks of two honest machines differ by less.
const MaxAhead = 5 * time.Minute

// MinLate is the least age at which data are late; slow sensors get two of
// their intervals.
const MinLate = 5 * time.Minute

// Range is what values of a quantity can be, from a date on.
type Range struct {
	Quantity string    `json:"quantity"`
	Since    time.Time `json:"since"`         // in force for event times from here on
	Min      *float64  `json:"min,omitempty"` // inclusive; nil = open
	Max      *float64  `json:"max,omitempty"`
	Source   string    `json:"source,omitempty"` // datasheet, regulation, decision
}

// Rules are all rules of quality. The zero value and Default judge by the
// built-in ranges.
type Rules struct {
	// Ranges in force, beside and instead of the built-in ones: an entry replaces
	// the built-in range of its quantity from its date on.
	Ranges []Range `json:"ranges"`
}

// Parse reads the JSON of a rules entry. Unknown keys, an unknown quantity, a
// minimum above its maximum and two entries of one quantity and date are errors
// that name what is wrong.
func Parse(body []byte) (Rules, error) {
	var r Rules
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Rules{}, fmt.Errorf("read quality rules: %w", err)
	}
	seen := map[string]bool{}
	for i, g := range r.Ranges {
		if _, ok := telemetry.Lookup(g.Quantity); !ok {
			return Rules{}, fmt.Errorf("quality rules: ranges[%d].quantity %q is not in the catalogue", i, g.Quantity)
		}
		if g.Min != nil && g.Max != nil && *g.Min > *g.Max {
			return Rules{}, fmt.Errorf("quality rules: ranges[%d] of %s: min %v is above max %v", i, g.Quantity, *g.Min, *g.Max)
		}
		key := g.Quantity + g.Since.UTC().String()
		if seen[key] {
			return Rules{}, fmt.Errorf("quality rules: ranges[%d]: %s has two entries since %v", i, g.Quantity, g.Since)
		}
		seen[key] = true
	}
	return r, nil
}

// span is a range as the judge uses it: in force from since (Unix milliseconds).
type span struct {
	since    int64
	min, max float64
}

// Judge judges values of one quantity. The zero value accepts every finite
// number.
type Judge struct {
	spans []span // oldest first
}

// Judge compiles the rules for one quantity of the catalogue. A quantity
// outside the catalogue has no range.
func (r *Rules) Judge(quantity string) Judge {
	var j Judge
	if b, ok := builtin[quantity]; ok {
		j.spans = append(j.spans, span{math.MinInt64, b.min, b.max})
	}
	for _, g := range r.Ranges {
		if g.Quantity != quantity {
			continue
		}
		s := span{math.MinInt64, math.Inf(-1), math.Inf(1)}
		if !g.Since.IsZero() {
			s.since = g.Since.UnixMilli()
		}
		if g.Min != nil {
			s.min = *g.Min
		}
		if g.Max != nil {
			s.max = *g.Max
		}
		j.spans = append(j.spans, s)
	}
	slices.SortStableFunc(j.spans, func(a, b span) int {
		switch {
		case a.since < b.since:
			return -1
		case a.since > b.since:
			return 1
		}
		return 0
	})
	return j
}

// Range returns FlagRange if a value at the event time (Unix milliseconds) lies
// outside the range in force then, else FlagNone.
func (j *Judge) Range(value float64, at int64) telemetry.Flag {
	for i := len(j.spans) - 1; i >= 0; i-- {
		if s := &j.spans[i]; at >= s.since {
			if value < s.min || value > s.max {
				return telemetry.FlagRange
			}
			return telemetry.FlagNone
		}
	}
	return telemetry.FlagNone
}

// Future reports whether an event time (Unix milliseconds) lies more than
// MaxAhead after the receive time (Unix nanoseconds). It never does while the
// server's own clock was not synchronised at receipt.
func Future(at, received int64, synced bool) bool {
	return synced && at > received/1e6+MaxAhead.Milliseconds()
}

// Late reports whether data must not page anybody: the message says that it is
// backlog, the session is not the node's newest, or the event lies further back
// from its receipt than max(2 intervals, MinLate), which is judged only while
// the server's clock was synchronised. at is in Unix milliseconds, received in
// Unix nanoseconds.
func Late(backlog, newestSession bool, at, received int64, interval time.Duration, synced bool) bool {
	return backlog || !newestSession || (synced && at < received/1e6-max(2*interval, MinLate).Milliseconds())
}
