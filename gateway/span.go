package gateway

import (
	"math"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// span collects the samples that one device gives between two reports. It is a
// state machine without clock, goroutine or I/O.
type span struct {
	quantities []*quantitySpan // in the order in which the device first named them
}

// quantitySpan is one quantity's part of a span.
type quantitySpan struct {
	name    string
	agg     telemetry.Aggregation
	good    pool
	flagged pool // only samples that share the newest flag
	flag    telemetry.Flag
	gap     telemetry.GapReason // of the newest sample that had no value
}

// pool is a set of samples that may be aggregated with each other.
type pool struct {
	n        uint32
	sum      float64
	min, max float64
	sin, cos float64
	last     telemetry.Value
}

// newSpan starts a span for a device that measures the named quantities.
func newSpan(names []string) *span {
	s := &span{}
	for _, name := range names {
		s.quantity(name)
	}
	return s
}

func (s *span) quantity(name string) *quantitySpan {
	for _, q := range s.quantities {
		if q.name == name {
			return q
		}
	}
	q := &quantitySpan{name: name, agg: telemetry.AggLast} // nothing is averaged that nobody knows
	if known, ok := telemetry.Lookup(name); ok {
		q.agg = known.Agg
	}
	s.quantities = append(s.quantities, q)
	return q
}

// add takes what one sample gave. A quantity of the device that is not among
// the readings had no new value in it.
func (s *span) add(readings []telemetry.Reading) {
	for i := range readings {
		s.quantity(readings[i].Quantity).add(&readings[i])
	}
	for _, q := range s.quantities {
		if !has(readings, q.name) {
			q.gap = telemetry.GapNotReady
		}
	}
}

func has(readings []telemetry.Reading, quantity string) bool {
	for i := range readings {
		if readings[i].Quantity == quantity {
			return true
		}
	}
	return false
}

// fail notes a sample that gave nothing.
func (s *span) fail(reason telemetry.GapReason) {
	for _, q := range s.quantities {
		q.gap = reason
	}
}

// report ends the span and starts the next. good holds each quantity once, as
// its aggregate, or as a gap if no sample was good; flagged holds the aggregates
// of flagged samples of those quantities that had good ones too, and is to be
// kept under a time of its own. Both are the caller's to keep.
func (s *span) report() (good, flagged []telemetry.Reading) {
	for _, q := range s.quantities {
		switch {
		case q.good.n > 0 && q.flagged.n > 0:
			good = append(good, q.good.aggregate(q.name, q.agg, telemetry.FlagNone))
			flagged = append(flagged, q.flagged.aggregate(q.name, q.agg, q.flag))
		case q.good.n > 0:
			good = append(good, q.good.aggregate(q.name, q.agg, telemetry.FlagNone))
		case q.flagged.n > 0:
			good = append(good, q.flagged.aggregate(q.name, q.agg, q.flag))
		default:
			reason := q.gap
			if reason == telemetry.GapNone {
				reason = telemetry.GapNotReady
			}
			good = append(good, telemetry.Reading{Quantity: q.name, Gap: reason})
		}
		q.good, q.flagged, q.flag, q.gap = pool{}, pool{}, telemetry.FlagNone, telemetry.GapNone
	}
	return good, flagged
}

func (q *quantitySpan) add(r *telemetry.Reading) {
	switch {
	case r.Gap != telemetry.GapNone:
		q.gap = r.Gap
	case !r.Value.Finite():
		q.gap = telemetry.GapNotNumber
	case r.Flag == telemetry.FlagNone:
		q.good.add(r.Value)
	default:
		if q.flag != r.Flag {
			q.flag, q.flagged = r.Flag, pool{}
		}
		q.flagged.add(r.Value)
	}
}

func (p *pool) add(v telemetry.Value) {
	x := v.Number
	if p.n == 0 {
		p.min, p.max = x, x
	}
	p.n++
	p.sum += x
	p.min, p.max = min(p.min, x), max(p.max, x)
	sin, cos := math.Sincos(x * math.Pi / 180)
	p.sin += sin
	p.cos += cos
	p.last = v
}

// noDirection is the length of the mean of unit vectors below which directions
// cancel each other out.
const noDirection = 1e-6

// aggregate turns the pool, which is not empty, into one reading.
func (p *pool) aggregate(name string, agg telemetry.Aggregation, flag telemetry.Flag) telemetry.Reading {
	r := telemetry.Reading{Quantity: name, Value: p.last, Flag: flag}
	if p.last.Type != telemetry.Number || p.n == 1 {
		return r
	}
	switch agg {
	case telemetry.AggMean:
		// Rounding must not push the mean of equal samples outside them.
		r.Value = telemetry.Num(min(max(p.sum/float64(p.n), p.min), p.max))
		r.Count, r.Min, r.Max = p.n, p.min, p.max
	case telemetry.AggSum:
		r.Value = telemetry.Num(p.sum)
	case telemetry.AggCircular:
		if math.Hypot(p.sin, p.cos)/float64(p.n) < noDirection {
			return telemetry.Reading{Quantity: name, Gap: telemetry.GapNotNumber}
		}
		degrees := math.Atan2(p.sin, p.cos) * 180 / math.Pi
		if degrees < 0 {
			degrees += 360
		}
		r.Value = telemetry.Num(degrees) // minimum and maximum mean nothing on a circle
	}
	if !r.Value.Finite() {
		return telemetry.Reading{Quantity: name, Gap: telemetry.GapNotNumber}
	}
	return r
}
