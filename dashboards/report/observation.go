package report

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Resolution says what one observation stands for.
type Resolution string

// The resolutions.
const (
	Readings Resolution = "raw"  // one reading of the site's main sensor
	Hourly   Resolution = "hour" // a clock hour, named by its end
	Daily    Resolution = "day"  // a day of WIB
)

// Observation is one quantity of one site over a span, or at a moment.
type Observation struct {
	Site       places.Site
	Sensor     string // Sensor.ID of a reading, "" = not registered or not one sensor
	Quantity   string
	Unit       telemetry.Unit
	Start, End time.Time // equal: a reading, taken at that time
	// Value is the mean, or what the quantity's aggregation gives instead; nil =
	// nothing counts. Of a rejected reading it is what the sensor said.
	Value, Min, Max *float64
	Text            string // of a reading that is a text
	Valid, Expected int    // readings; of a day: hours. Expected 0 = not known
	// Complete says that the value counts: enough of the span is there, or the
	// reading is not rejected.
	Complete  bool
	Excluded  figures.Exclusion // why an hour does not count
	Rejected  map[string]int    // by telemetry.Flag or a validator's reason
	Gaps      map[string]int    // by telemetry.GapReason
	Status    figures.Status
	Class     places.Class
	Revision  int // version of the hour; of a day the highest of its hours'
	Simulated bool
	Computed  time.Time // zero for a reading

	order string // breaks ties among readings of one time
}

// Flags lists in one field what took something out: "incomplete", "zero_run",
// "rejected:stuck=3", "gap:no_answer=2".
func (o Observation) Flags() string {
	var out []string
	switch {
	case o.Excluded != figures.Included && o.Excluded != figures.NoReading && o.Excluded != figures.TooFew:
		out = append(out, string(o.Excluded))
	case !o.Complete:
		out = append(out, "incomplete")
	}
	for _, k := range slices.Sorted(maps.Keys(o.Rejected)) {
		out = append(out, "rejected:"+k+"="+strconv.Itoa(o.Rejected[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(o.Gaps)) {
		out = append(out, "gap:"+k+"="+strconv.Itoa(o.Gaps[k]))
	}
	return strings.Join(out, ";")
}

// Key orders observations: by time, then by what breaks ties. Two different ones
// never share a key.
func (o Observation) Key() (time.Time, string) { return o.End, o.Quantity + "\x00" + o.order }

func compare(a, b Observation) int {
	return cmp.Or(a.End.Compare(b.End), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.order, b.order))
}

// Archive reads observations from places, book and database.
type Archive struct {
	Places Places
	Book   Book
	Raw    Raw
}

// KindOf is the kind a quantity belongs to.
func KindOf(quantity string) telemetry.Kind {
	if q, ok := telemetry.Lookup(quantity); ok {
		return q.Kind
	}
	return telemetry.KindOther
}

func unitOf(quantity string) telemetry.Unit {
	q, _ := telemetry.Lookup(quantity) // what is unknown has no unit
	return q.Unit
}

// Hours returns a site's hours with from < End <= to, in the order of their keys.
func (a Archive) Hours(ctx context.Context, site places.Site, quantities []string, from, to time.Time) ([]Observation, error) {
	rules, err := a.rules(ctx)
	if err != nil {
		return nil, err
	}
	lead := figures.InForce(rules, to).Rules.Lead()
	hours, err := a.Book.Hours(ctx, site.Code, quantities, from.Add(-lead), to.Add(lead))
	if err != nil {
		return nil, fmt.Errorf("read the hours of %s: %w", site.Code, err)
	}
	excluded := figures.Exclude(hours, rules)
	status, err := a.status(ctx, site.Code)
	if err != nil {
		return nil, err
	}
	out := make([]Observation, 0, len(hours))
	for i := range hours {
		h := &hours[i]
		if !h.End.After(from) || h.End.After(to) {
			continue
		}
		o := Observation{
			Site: site, Quantity: h.Quantity, Unit: unitOf(h.Quantity), Start: h.End.Add(-time.Hour), End: h.End,
			Valid: h.Valid, Expected: h.Expected, Rejected: h.Rejected, Gaps: h.Gaps, Revision: h.Version,
			Complete: excluded[i].Measured(),
			Status:   status(h.End.Add(-time.Hour)), Class: site.ClassAt(h.End), Simulated: site.Simulated, Computed: h.Computed,
		}
		if !o.Complete {
			o.Excluded = excluded[i]
		}
		if h.Valid > 0 {
			o.Value, o.Min, o.Max = amount(*h), pointer(h.Min), pointer(h.Max)
			if aggregation(h.Quantity) == telemetry.AggCounter {
				o.Min, o.Max = nil, nil
			}
		}
		out = append(out, o)
	}
	slices.SortFunc(out, compare)
	return out, nil
}

func pointer(v float64) *float64 { return &v }

func aggregation(quantity string) telemetry.Aggregation {
	q, _ := telemetry.Lookup(quantity) // what is unknown is a mean
	return q.Agg
}

// amount is the one number of an hour.
func amount(h figures.SiteHour) *float64 {
	switch aggregation(h.Quantity) {
	case telemetry.AggCounter:
		return pointer(h.Increase)
	case telemetry.AggSum:
		return pointer(h.Sum)
	case telemetry.AggLast:
		return pointer(h.Last)
	}
	return pointer(h.Mean)
}

func (a Archive) rules(ctx context.Context) ([]figures.DatedRules, error) {
	list, err := a.Book.Rules(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the rules: %w", err)
	}
	return list, nil
}

// status tells of a time in a site's month whether a validator has closed it.
func (a Archive) status(ctx context.Context, site string) (func(time.Time) figures.Status, error) {
	months, err := a.Book.Months(ctx, site)
	if err != nil {
		return nil, fmt.Errorf("read the months of %s: %w", site, err)
	}
	closed := map[string]bool{}
	for _, m := range months {
		closed[m.Month] = m.Status == figures.Validated
	}
	return func(t time.Time) figures.Status {
		if closed[t.In(figures.WIB).Format("2006-01")] {
			return figures.Validated
		}
		return figures.Provisional
	}, nil
}

// DayOf returns the first instant of the day (WIB) in which t lies.
func DayOf(t time.Time) time.Time { return figures.Day(t.Add(1)).In(figures.WIB) }

// Days returns a site's days with from < End <= to: the mean of the complete
// hours, with at least as many as the rules ask for to be complete itself; a
// counter's day is the sum of its hours.
func (a Archive) Days(ctx context.Context, site places.Site, quantities []string, from, to time.Time) ([]Observation, error) {
	first, last := DayOf(from), DayOf(to)
	hours, err := a.Hours(ctx, site, quantities, first, last)
	if err != nil {
		return nil, err
	}
	rules, err := a.rules(ctx)
	if err != nil {
		return nil, err
	}
	type key struct {
		day      time.Time
		quantity string
	}
	days := map[key]*Observation{}
	for _, h := range hours {
		k := key{DayOf(h.Start), h.Quantity}
		d := days[k]
		if d == nil {
			d = &Observation{Site: site, Quantity: h.Quantity, Unit: h.Unit, Start: k.day, End: k.day.Add(24 * time.Hour), Expected: 24,
				Status: h.Status, Simulated: h.Simulated, Rejected: map[string]int{}, Gaps: map[string]int{}}
			d.Class = site.ClassAt(d.End)
			days[k] = d
		}
		d.Revision = max(d.Revision, h.Revision)
		if h.Computed.After(d.Computed) {
			d.Computed = h.Computed
		}
		for name, n := range h.Rejected {
			d.Rejected[name] += n
		}
		for name, n := range h.Gaps {
			d.Gaps[name] += n
		}
		if !h.Complete || h.Value == nil {
			continue
		}
		if d.Valid++; d.Valid == 1 {
			d.Value, d.Min, d.Max = pointer(*h.Value), h.Min, h.Max
			continue
		}
		switch aggregation(h.Quantity) {
		case telemetry.AggLast:
			*d.Value = *h.Value // hours come in order
		default:
			*d.Value += *h.Value
		}
		if h.Min != nil && d.Min != nil {
			d.Min, d.Max = pointer(min(*d.Min, *h.Min)), pointer(max(*d.Max, *h.Max))
		}
	}
	out := make([]Observation, 0, len(days))
	for _, d := range days {
		if agg := aggregation(d.Quantity); d.Valid > 0 && (agg == telemetry.AggMean || agg == telemetry.AggCircular) {
			*d.Value /= float64(d.Valid)
		}
		d.Complete = d.Valid > 0 && d.Valid >= figures.InForce(rules, d.End).Rules.Gates.DayHours
		out = append(out, *d)
	}
	slices.SortFunc(out, compare)
	return out, nil
}

// Window returns running means over n hours, one at the end of each hour with
// from < End <= to, of quantities whose hours are means. A mean is complete from
// three quarters of its hours.
func (a Archive) Window(ctx context.Context, site places.Site, quantities []string, n int, from, to time.Time) ([]Observation, error) {
	hours, err := a.Hours(ctx, site, quantities, from.Add(-time.Duration(n-1)*time.Hour), to)
	if err != nil {
		return nil, err
	}
	series := map[string]map[int64]Observation{} // by quantity and end
	for _, h := range hours {
		if agg := aggregation(h.Quantity); agg != telemetry.AggMean {
			continue
		}
		if series[h.Quantity] == nil {
			series[h.Quantity] = map[int64]Observation{}
		}
		series[h.Quantity][h.End.Unix()] = h
	}
	var out []Observation
	for end := from.Truncate(time.Hour).Add(time.Hour); !end.After(to); end = end.Add(time.Hour) {
		for _, quantity := range slices.Sorted(maps.Keys(series)) {
			last, ok := series[quantity][end.Unix()]
			if !ok {
				continue
			}
			o := Observation{Site: site, Quantity: quantity, Unit: last.Unit, Start: end.Add(-time.Duration(n) * time.Hour), End: end, Expected: n,
				Status: last.Status, Class: last.Class, Simulated: last.Simulated, Rejected: map[string]int{}, Gaps: map[string]int{}}
			sum := 0.0
			for at := end; at.After(o.Start); at = at.Add(-time.Hour) {
				h, ok := series[quantity][at.Unix()]
				if !ok {
					continue
				}
				o.Revision = max(o.Revision, h.Revision)
				if h.Computed.After(o.Computed) {
					o.Computed = h.Computed
				}
				for name, k := range h.Rejected {
					o.Rejected[name] += k
				}
				for name, k := range h.Gaps {
					o.Gaps[name] += k
				}
				if h.Complete {
					sum += *h.Value
					o.Valid++
				}
			}
			if o.Valid > 0 {
				o.Value = pointer(sum / float64(o.Valid))
			}
			o.Complete = 4*o.Valid >= 3*n
			out = append(out, o)
		}
	}
	return out, nil
}

// After is a place in the order of observations: what follows it comes next. The
// zero value stands before all.
type After struct {
	End time.Time
	Tie string
}

// Before reports whether an observation follows the place.
func (p After) Before(o Observation) bool {
	end, tie := o.Key()
	return end.After(p.End) || (end.Equal(p.End) && tie > p.Tie)
}

// ReadingsPage returns at most limit readings of a site's main sensors with from
// <= time < to that follow a place, in the order of their keys. kinds says which
// may be read; quantities nil = all of them. A validator's marks reject as quality
// control does.
func (a Archive) ReadingsPage(ctx context.Context, site places.Site, kinds []telemetry.Kind, quantities []string, from, to time.Time, after After, limit int) ([]Observation, error) {
	if after.End.After(from) {
		from = after.End
	}
	if !from.Before(to) {
		return nil, nil
	}
	r, err := a.reader(ctx, site, from, to)
	if err != nil {
		return nil, err
	}
	var out []Observation
	for _, node := range a.Places.Nodes(site.Code, from, to) {
		for _, kind := range kinds {
			var names []string
			for _, q := range quantities {
				if KindOf(q) == kind {
					names = append(names, q)
				}
			}
			if quantities != nil && names == nil {
				continue
			}
			found := 0
			var last time.Time
			err := a.Raw.Readings(ctx, node, kind, names, from, to, func(device string, at time.Time, reading telemetry.Reading) bool {
				// All readings of one millisecond, whatever the clock, stay together.
				if found >= limit && at.Truncate(time.Millisecond).After(last) {
					return false
				}
				// What stands beside in one measurement may be of another kind.
				if KindOf(reading.Quantity) != kind || (names != nil && !slices.Contains(names, reading.Quantity)) {
					return true
				}
				if o, ok := r.observation(node, device, at, reading); ok && after.Before(o) {
					out = append(out, o)
					found++
					last = o.End
				}
				return true
			})
			if err != nil {
				return nil, fmt.Errorf("read the readings of %s: %w", site.Code, err)
			}
		}
	}
	slices.SortFunc(out, compare)
	return out[:min(limit, len(out))], nil
}

// Taken is a reading with the device that took it.
type Taken struct {
	Node    telemetry.Node
	Device  string
	Time    time.Time
	Reading telemetry.Reading
}

// Newest makes observations of a site's newest readings: those of its main
// sensors, of two of one quantity the newer one.
func (a Archive) Newest(ctx context.Context, site places.Site, of []Taken) ([]Observation, error) {
	if len(of) == 0 {
		return nil, nil
	}
	from, to := of[0].Time, of[0].Time
	for _, t := range of {
		if t.Time.Before(from) {
			from = t.Time
		}
		if t.Time.After(to) {
			to = t.Time
		}
	}
	r, err := a.reader(ctx, site, from, to.Add(time.Nanosecond))
	if err != nil {
		return nil, err
	}
	newest := map[string]Observation{}
	for _, t := range of {
		o, ok := r.observation(t.Node, t.Device, t.Time, t.Reading)
		if have, again := newest[o.Quantity]; ok && (!again || compare(have, o) < 0) {
			newest[o.Quantity] = o
		}
	}
	out := slices.Collect(maps.Values(newest))
	slices.SortFunc(out, func(x, y Observation) int { return cmp.Compare(x.Quantity, y.Quantity) })
	return out, nil
}

// reader knows which readings of a span are a site's.
type reader struct {
	site    places.Site
	places  Places
	marks   []figures.Mark
	status  func(time.Time) figures.Status
	sources map[string][]sourced // by quantity, oldest first
}

// sourced says who gave a quantity's hour.
type sourced struct {
	end time.Time
	by  []figures.Source
}

func (a Archive) reader(ctx context.Context, site places.Site, from, to time.Time) (*reader, error) {
	r := &reader{site: site, places: a.Places, sources: map[string][]sourced{}}
	var err error
	if r.marks, err = a.Book.Marks(ctx, site.Code, from, to); err != nil {
		return nil, fmt.Errorf("read the marks of %s: %w", site.Code, err)
	}
	if r.status, err = a.status(ctx, site.Code); err != nil {
		return nil, err
	}
	hours, err := a.Book.Hours(ctx, site.Code, nil, from.Add(-3*time.Hour), to.Add(time.Hour))
	if err != nil {
		return nil, fmt.Errorf("read the hours of %s: %w", site.Code, err)
	}
	for _, h := range hours {
		if len(h.Sources) > 0 {
			r.sources[h.Quantity] = append(r.sources[h.Quantity], sourced{h.End, h.Sources})
		}
	}
	for _, list := range r.sources {
		slices.SortFunc(list, func(x, y sourced) int { return x.end.Compare(y.end) })
	}
	return r, nil
}

// observation makes one of a reading, if it is the site's: taken there, by the
// device from which the hour's figure comes, or before that is known by the one
// that gave the hour before.
func (r *reader) observation(node telemetry.Node, device string, at time.Time, reading telemetry.Reading) (o Observation, ok bool) {
	d, ok := r.places.At(node, device, at)
	if !ok || d.Site != r.site.Code {
		return o, false
	}
	var by []figures.Source
	for _, s := range r.sources[reading.Quantity] {
		if by != nil && s.end.Add(-time.Hour).After(at) {
			break
		}
		by = s.by
	}
	if by != nil {
		if !slices.ContainsFunc(by, func(s figures.Source) bool { return s.Node == node && s.Device == device }) {
			return o, false
		}
	} else if best, ok := r.places.Utama(r.site.Code, reading.Quantity, at, []places.Deployment{d}); !ok || best.Node != d.Node || best.Device != d.Device {
		return o, false
	}
	clock := at.Nanosecond() % int(time.Millisecond) // below the millisecond stands the number of the clock
	at = at.Truncate(time.Millisecond)
	o = Observation{Site: r.site, Sensor: d.Sensor, Quantity: reading.Quantity, Unit: unitOf(reading.Quantity), Start: at, End: at, Expected: 1,
		Status: r.status(at), Class: r.site.ClassAt(at), Simulated: r.site.Simulated,
		order: fmt.Sprintf("%06d %s", clock, digest(node.String()+"/"+device))}
	if reading.Gap != telemetry.GapNone {
		o.Gaps = map[string]int{string(reading.Gap): 1}
		return o, true
	}
	if reading.Value.Type == telemetry.Text {
		o.Text = reading.Value.Text
	} else {
		o.Value = pointer(reading.Value.Number)
	}
	if reading.Count > 1 {
		o.Min, o.Max = pointer(reading.Min), pointer(reading.Max)
	}
	why := reading.Flag.String()
	var decided time.Time
	for _, m := range r.marks { // the newest decides
		if m.Quantity == reading.Quantity && !at.Before(m.From) && at.Before(m.To) && !m.At.Before(decided) {
			if decided = m.At; m.Invalid {
				why = m.Code
			} else {
				why = ""
			}
		}
	}
	if why != "" {
		o.Rejected = map[string]int{why: 1}
		return o, true
	}
	o.Valid, o.Complete = 1, true
	return o, true
}

// digest stands for a device's name, which is nobody's business.
func digest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:8])
}
