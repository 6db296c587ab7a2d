package ingest

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Gate is the part of the expected readings from which an hour is valid.
const Gate = 0.75

// wib is Waktu Indonesia Barat. Days are those of WIB.
var wib = time.FixedZone("WIB", 7*3600)

// DayOf returns the first instant of the day (WIB) in which t lies.
func DayOf(t time.Time) time.Time {
	y, m, d := t.In(wib).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, wib).UTC()
}

// Tally computes the rows of one node over one span from its raw points. It is
// pure, and the order of the points does not matter.
type Tally struct {
	node       telemetry.Node
	start, end time.Time
	now        time.Time
	series     map[tallyKey]*tallySeries
}

type tallyKey struct {
	kind             telemetry.Kind
	device, quantity string
}

type tallySeries struct {
	samples  []sample
	rejected int
	gaps     int
	flags    map[telemetry.Flag]int
	reasons  map[telemetry.GapReason]int
	other    int // texts and states: counted as valid, without a figure
	expected int
}

type sample struct {
	at              int64
	value, min, max float64
}

// NewTally begins a computation at now.
func NewTally(node telemetry.Node, start, now time.Time, span time.Duration) *Tally {
	return &Tally{node: node, start: start, end: start.Add(span), now: now, series: map[tallyKey]*tallySeries{}}
}

// Empty reports whether no point came.
func (t *Tally) Empty() bool { return len(t.series) == 0 }

// devices names those that a row will have, sorted.
func (t *Tally) devices() []string {
	var out []string
	for key := range t.series {
		if !slices.Contains(out, key.device) {
			out = append(out, key.device)
		}
	}
	slices.Sort(out)
	return out
}

func (t *Tally) of(k telemetry.Kind, device, quantity string) *tallySeries {
	key := tallyKey{k, device, quantity}
	s := t.series[key]
	if s == nil {
		s = &tallySeries{}
		t.series[key] = s
	}
	return s
}

// Add takes one raw point.
func (t *Tally) Add(p *influx.Point) {
	for i := range p.Readings {
		r := &p.Readings[i]
		s := t.of(p.Kind, p.Device, r.Quantity)
		switch {
		case r.Gap != telemetry.GapNone:
			s.gaps++
			if s.reasons == nil {
				s.reasons = map[telemetry.GapReason]int{}
			}
			s.reasons[r.Gap]++
		case r.Flag != telemetry.FlagNone:
			s.rejected++
			if s.flags == nil {
				s.flags = map[telemetry.Flag]int{}
			}
			s.flags[r.Flag]++
		case r.Value.Type == telemetry.Text:
			s.other++
		default:
			x := sample{p.Time, r.Value.Number, r.Value.Number, r.Value.Number}
			if r.Count > 1 {
				x.min, x.max = r.Min, r.Max
			}
			s.samples = append(s.samples, x)
		}
	}
}

// Expect says at which interval a series was sampled; one that gave nothing in
// this span then has a row that says so, if its device or another has.
func (t *Tally) Expect(device, quantity string, interval time.Duration) {
	if interval <= 0 {
		return
	}
	kind := telemetry.KindOther
	if q, ok := telemetry.Lookup(quantity); ok {
		kind = q.Kind
	}
	end := t.end
	if t.now.Before(end) {
		end = t.now
	}
	if end.After(t.start) {
		t.of(kind, device, quantity).expected = int(end.Sub(t.start) / interval)
	}
}

// Rows returns the rows, in the order of kind, device, quantity.
func (t *Tally) Rows() []influx.Row {
	out := make([]influx.Row, 0, len(t.series))
	for key, s := range t.series {
		r := influx.NewRow(key.kind, t.node, key.device, key.quantity, t.start)
		r.Valid, r.Expected, r.Rejected, r.Gaps, r.Why, r.Computed = len(s.samples)+s.other, s.expected, s.rejected, s.gaps, influx.NewWhy(s.flags, s.reasons), t.now
		s.figure(&r, aggregationOf(key.quantity))
		out = append(out, r)
	}
	slices.SortFunc(out, compareRows)
	return out
}

func compareRows(a, b influx.Row) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Quantity, b.Quantity), a.Start.Compare(b.Start))
}

func aggregationOf(quantity string) telemetry.Aggregation {
	q, _ := telemetry.Lookup(quantity) // what is unknown is a mean
	return q.Agg
}

// figure fills in what the aggregation asks for.
func (s *tallySeries) figure(r *influx.Row, agg telemetry.Aggregation) {
	if len(s.samples) == 0 {
		return
	}
	// In the order of time, and of value where one millisecond has two under
	// different clocks: sums of floats depend on their order.
	slices.SortFunc(s.samples, func(a, b sample) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.value, b.value)) })
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	switch agg {
	case telemetry.AggMean, telemetry.AggCircular:
		var sum, east, north float64
		r.Min, r.Max = math.Inf(1), math.Inf(-1)
		for _, x := range s.samples {
			sum += x.value
			sin, cos := math.Sincos(x.value * math.Pi / 180)
			east, north = east+sin, north+cos
			r.Min, r.Max = min(r.Min, x.min), max(r.Max, x.max)
		}
		r.Mean = sum / float64(len(s.samples))
		if agg == telemetry.AggCircular {
			r.Min, r.Max = math.NaN(), math.NaN()
			r.Mean = math.Mod(math.Atan2(east, north)*180/math.Pi+360, 360)
		}
	case telemetry.AggLast:
		r.Last = last.value
	case telemetry.AggSum:
		r.Sum = 0
		for _, x := range s.samples {
			r.Sum += x.value
		}
	case telemetry.AggCounter:
		r.First, r.Last, r.Increase, r.Resets = first.value, last.value, 0, 0
		for i := 1; i < len(s.samples); i++ {
			count(r, s.samples[i-1].value, s.samples[i].value)
		}
	}
}

// DayRows computes the rows of a day from its hours' rows. Means are those of
// the hours that reach the gate; if none does, of all, and Hours is 0. Counters
// bridge from hour to hour.
func DayRows(hours []influx.Row, day, now time.Time) []influx.Row {
	slices.SortFunc(hours, compareRows)
	var out []influx.Row
	for from := 0; from < len(hours); {
		to := from + 1
		for to < len(hours) && hours[to].Kind == hours[from].Kind && hours[to].Device == hours[from].Device && hours[to].Quantity == hours[from].Quantity {
			to++
		}
		out = append(out, dayRow(hours[from:to], day, now))
		from = to
	}
	return out
}

func dayRow(hours []influx.Row, day, now time.Time) influx.Row {
	h := hours[0]
	r := influx.NewRow(h.Kind, h.Node, h.Device, h.Quantity, day)
	r.Computed = now
	agg := aggregationOf(h.Quantity)
	counts := hours[:0:0]
	for _, x := range hours {
		r.Valid += x.Valid
		r.Expected += x.Expected
		r.Rejected += x.Rejected
		r.Gaps += x.Gaps
		if x.Valid > 0 && float64(x.Valid) >= Gate*float64(x.Expected) {
			r.Hours++
		}
		if x.Valid > 0 {
			counts = append(counts, x)
		}
	}
	if len(counts) == 0 {
		return r
	}
	if r.Hours > 0 && (agg == telemetry.AggMean || agg == telemetry.AggCircular) {
		counts = slices.DeleteFunc(counts, func(x influx.Row) bool { return float64(x.Valid) < Gate*float64(x.Expected) })
	}
	switch agg {
	case telemetry.AggMean, telemetry.AggCircular:
		var sum, east, north float64
		r.Min, r.Max = math.Inf(1), math.Inf(-1)
		for _, x := range counts {
			sum += x.Mean
			sin, cos := math.Sincos(x.Mean * math.Pi / 180)
			east, north = east+sin, north+cos
			r.Min, r.Max = min(r.Min, x.Min), max(r.Max, x.Max)
		}
		r.Mean = sum / float64(len(counts))
		if agg == telemetry.AggCircular {
			r.Min, r.Max = math.NaN(), math.NaN()
			r.Mean = math.Mod(math.Atan2(east, north)*180/math.Pi+360, 360)
		}
	case telemetry.AggLast:
		r.Last = counts[len(counts)-1].Last
	case telemetry.AggSum:
		r.Sum = 0
		for _, x := range counts {
			r.Sum += x.Sum
		}
	case telemetry.AggCounter:
		r.First, r.Last, r.Increase, r.Resets = counts[0].First, counts[len(counts)-1].Last, 0, 0
		for i, x := range counts {
			if i > 0 {
				count(&r, counts[i-1].Last, x.First)
			}
			r.Increase += x.Increase
			r.Resets += x.Resets
		}
	}
	return r
}

// count adds one step of a counter: a fall is a reset, after which it began at
// zero.
func count(r *influx.Row, before, after float64) {
	if after < before {
		r.Resets++
		before = 0
	}
	r.Increase += after - before
}
