package figures

import (
	"slices"
	"time"
)

// Exclusion says why an hour does not count.
type Exclusion string

// The exclusions. The last three leave an hour out of what is judged only: what
// was measured stands.
const (
	Included  Exclusion = ""
	NoReading Exclusion = "no_reading" // none that is valid
	TooFew    Exclusion = "too_few"    // below Gates.HourShare
	ZeroRun   Exclusion = "zero_run"   // one of Rules.ZeroRun hours of nothing but exact zeros
	NoGas     Exclusion = "no_gas"     // hydrocarbons without a declared calibration gas
	Beside    Exclusion = "beside"     // of two quantities of one parameter the other one counts
	NoIndex   Exclusion = "class"      // the site's class yields no figure; told by AssessmentTrace alone
)

// Measured reports whether the hour counts for what was measured, whatever the
// index does with it.
func (e Exclusion) Measured() bool { return e == Included || e == NoGas || e == Beside || e == NoIndex }

// Exclude says of each of the hours, which may be of several sites and quantities
// and in any order, whether it counts by the rules in force at its end, and if not
// why. Without Lead around a span its first and last hours may seem to count: a run
// of zeros is seen only as far as there are hours. Judge, Assess and PresentOf count
// by the same rule.
func Exclude(hours []SiteHour, rules []DatedRules) []Exclusion {
	type line struct{ site, quantity string }
	lines := map[line][]int{} // places in hours
	for i := range hours {
		l := line{hours[i].Site, hours[i].Quantity}
		lines[l] = append(lines[l], i)
	}
	out := make([]Exclusion, len(hours))
	type measure struct {
		site string
		p    Parameter
	}
	by := map[measure]int{} // by how many quantities it was measured
	for l, of := range lines {
		slices.SortFunc(of, func(a, b int) int { return hours[a].End.Compare(hours[b].End) })
		row := make([]*SiteHour, 0, len(of)+1)
		for _, i := range of { // a missing hour ends a run
			if n := len(row); n > 0 && hours[i].End.Sub(row[n-1].End) > time.Hour {
				row = append(row, nil)
			}
			row = append(row, &hours[i])
		}
		var in *Rules
		var until time.Time // of in
		for i, zeros := range zeroRuns(row) {
			h := row[i]
			if h == nil {
				continue
			}
			if in == nil || !h.End.Before(until) {
				dated := InForce(rules, h.End)
				in, until = &dated.Rules, nextChange(rules, h.End)
			}
			out[of[0]] = in.exclusion(h, zeros)
			of = of[1:]
		}
		if p, ok := ParameterOf(l.quantity); ok {
			by[measure{l.site, p}]++
		}
	}
	for m, n := range by {
		if n > 1 {
			besides(hours, m.site, m.p, out)
		}
	}
	return out
}

// nextChange returns when the first rules after t begin.
func nextChange(rules []DatedRules, t time.Time) time.Time {
	next := time.Unix(1<<40, 0)
	for _, r := range rules {
		if r.Since.After(t) && r.Since.Before(next) {
			next = r.Since
		}
	}
	return next
}

// besides leaves out the hours beside which the same parameter has a better quantity.
func besides(hours []SiteHour, site string, p Parameter, out []Exclusion) {
	names := quantitiesOf(p)
	best := map[int64]int{}
	for i := range hours {
		h := &hours[i]
		rank := slices.Index(names[:], h.Quantity)
		if rank < 0 || h.Site != site || out[i] != Included {
			continue
		}
		other, taken := best[h.End.UnixNano()]
		switch {
		case !taken:
			best[h.End.UnixNano()] = i
		case rank < slices.Index(names[:], hours[other].Quantity):
			out[other], best[h.End.UnixNano()] = Beside, i
		default:
			out[i] = Beside
		}
	}
}

// exclusion is the one place that says when an hour counts; zeros is the length of
// the run of exact zeros in which it stands.
func (r *Rules) exclusion(h *SiteHour, zeros int) Exclusion {
	switch {
	case h.Valid == 0:
		return NoReading
	case !r.Gates.HourValid(h.Valid, h.Expected):
		return TooFew
	case r.ZeroRun > 0 && zeros >= r.ZeroRun && r.suspects(h.Quantity):
		return ZeroRun
	}
	if p, _ := ParameterOf(h.Quantity); p == HC {
		if _, ok := r.Concentration(h.Site, h.Quantity, h.Mean); !ok {
			return NoGas
		}
	}
	return Included
}

// suspects reports whether a long run of exact zeros of a quantity is suspect: of
// what is judged, but a day without rain is a dry day.
func (r *Rules) suspects(quantity string) bool {
	if _, ok := ParameterOf(quantity); ok {
		return true
	}
	return slices.ContainsFunc(r.Limits, func(l Limit) bool { return l.Quantity == quantity })
}

// zeroRuns says of each hour how long the run of hours of nothing but exact zeros is
// in which it stands: what sends 0 for "missing" must not clean the air.
func zeroRuns(hours []*SiteHour) []int {
	out := make([]int, len(hours))
	run := 0
	for i := 0; i <= len(hours); i++ {
		if i < len(hours) && hours[i] != nil && hours[i].Valid > 0 && hours[i].Min == 0 && hours[i].Max == 0 {
			run++
			continue
		}
		for j := i - run; j < i; j++ {
			out[j] = run
		}
		run = 0
	}
	return out
}
