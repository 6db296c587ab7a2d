package figures

import (
	"slices"
	"time"
)

// Assessment says how one limit of PP 22/2021 stands at a site in a year.
type Assessment struct {
	Limit
	// Judged is false while too little is valid: "belum dapat dinilai".
	Judged   bool    `json:"judged"`
	Valid    int     `json:"valid"`         // windows (of a year: days) that could be judged
	Of       int     `json:"of"`            // of those that have ended
	Episodes int     `json:"episodes"`      // runs of windows above the limit, each counted once
	Peak     float64 `json:"peak,omitzero"` // highest mean of a window, µg/m³; without meaning if Valid is 0
}

// Assess compares a site's hours of one calendar year (WIB) with the limits: 1 h
// by clock hours, 3 and 8 h rolling by the hour, 24 h by calendar day (WIB), the
// year as the mean of its valid days if enough of them are. Exceeded is strictly
// greater, before rounding. at bounds the year while it runs: what has not ended
// is not judged. Hours whose class yields no figure are taken as missing.
//
// Each hour and each window is judged by the rules in force at its end, the year by
// those at its own: a change alters nothing that has passed. A limit that held for
// a part of the year has the windows of that part.
//
// hours may begin up to 7 before the year, for windows that reach back.
func Assess(site string, year int, at time.Time, hours []SiteHour, rules []DatedRules, class func(end time.Time) string) (of []Assessment, episodes []Exceedance) {
	y, ok := newYear(site, year, at, hours, rules, class)
	if !ok {
		return nil, nil
	}
	for _, l := range limitsOf(y.terms) {
		if a, found, _, ok := y.assess(l); ok {
			of, episodes = append(of, a), append(episodes, found...)
		}
	}
	return of, episodes
}

// back is how many hours before a year its first window of 8 h begins.
const back = 7

// year is a site's year while it is assessed.
type year struct {
	site     string
	from, to time.Time // to: the end of what has ended
	days     int
	terms    []term
	hours    []SiteHour
	class    func(end time.Time) string
	series   map[string][]Hour // by a limit's quantity; begins back before from
}

// newYear is not ok before the year's first hour has ended.
func newYear(site string, number int, at time.Time, hours []SiteHour, rules []DatedRules, class func(end time.Time) string) (y *year, ok bool) {
	y = &year{site: site, hours: hours, class: class, series: map[string][]Hour{}}
	y.from, y.to = YearSpan(number)
	y.days = int(y.to.Sub(y.from) / (24 * time.Hour))
	if at.Before(y.to) {
		y.to = at.Truncate(time.Hour)
	}
	y.terms = termsOf(rules, site, y.begin(), y.to)
	return y, y.to.After(y.from)
}

func (y *year) begin() time.Time { return y.from.Add(-back * time.Hour) }

// of lays out a quantity's hours; nil if the site never gave any.
func (y *year) of(quantity string) []Hour {
	if _, done := y.series[quantity]; !done {
		y.series[quantity], _ = join(y.terms, y.begin(), time.Hour, func(t *term) []Hour {
			return t.year(y.site, quantity, y.begin(), int(y.to.Sub(y.begin())/time.Hour), y.hours, func(end time.Time) bool { return t.Yields(y.class(end)) })
		})
	}
	return y.series[quantity]
}

// assess compares the year with one limit. windows are the means that were, of a
// year's limit those of its days. It is not ok for what the site does not measure.
func (y *year) assess(l Limit) (a Assessment, episodes []Exceedance, windows []WindowMean, ok bool) {
	series := y.of(l.Quantity)
	if series == nil {
		return a, nil, nil, false
	}
	a = Assessment{Limit: l}
	of, step, terms := func(t *term) []Hour {
		h := l.Period.hours()
		return RollingMeans(series[back-(h-1):], h, t.LimitShare)
	}, time.Hour, y.terms
	if l.Period == Hours24 || l.Period == Year {
		of, step = func(t *term) []Hour { return t.days(series[back:]) }, 24*time.Hour
	}
	if l.Period != Year {
		terms = slices.DeleteFunc(slices.Clone(terms), func(t term) bool { return !slices.Contains(t.Limits, l) })
	}
	means, ended := join(terms, y.from, step, of)
	endOf := func(i int) time.Time { return y.from.Add(time.Duration(i+1) * step) }
	sum := 0.0
	for i, m := range means {
		windows = append(windows, WindowMean{End: endOf(i), Hour: m})
		if m.Valid {
			sum += m.Mean
			a.count(m.Mean)
		}
	}
	if l.Period != Year {
		for _, e := range episodesOf(means, 0, l.Limit) {
			episodes = append(episodes, Exceedance{Site: y.site, Quantity: l.Quantity, Period: l.Period, Limit: l.Limit, From: endOf(e.From), To: endOf(e.To), Peak: e.Peak})
		}
		a.Of, a.Judged, a.Episodes = ended, a.Valid > 0, len(episodes)
		return a, episodes, windows, true
	}
	a.Of, a.Peak = y.days, 0
	if a.Judged = float64(a.Valid) >= y.terms[len(y.terms)-1].YearShare*float64(y.days); a.Judged {
		a.Peak = sum / float64(a.Valid)
		if l.Exceeded(a.Peak) {
			a.Episodes = 1
			episodes = []Exceedance{{Site: y.site, Quantity: l.Quantity, Period: Year, Limit: l.Limit, From: y.to, To: y.to, Peak: a.Peak}}
		}
	}
	return a, episodes, windows, true
}

// term is a span in which one set of rules is in force.
type term struct {
	Rules
	since, until time.Time // of what ends from since on and before until
}

// termsOf are the terms of (from, to], oldest first; changes that do not touch the
// assessment of the site begin no new one.
func termsOf(rules []DatedRules, site string, from, to time.Time) []term {
	changes := []time.Time{from}
	for _, r := range rules {
		if r.Since.After(from) && !r.Since.After(to) {
			changes = append(changes, r.Since)
		}
	}
	slices.SortFunc(changes, time.Time.Compare)
	var out []term
	for _, t := range changes {
		r := InForce(rules, t).Rules
		if n := len(out); n > 0 {
			if out[n-1].assessesAs(r, site) {
				continue
			}
			out[n-1].until = t
		}
		out = append(out, term{Rules: r, since: t, until: to.Add(1)})
	}
	return out
}

// assessesAs reports whether two sets of rules assess a site in the same way.
func (r Rules) assessesAs(o Rules, site string) bool {
	return r.Gates == o.Gates && r.AllowSNI == o.AllowSNI && r.ZeroRun == o.ZeroRun && r.HCGas[site] == o.HCGas[site] &&
		slices.Equal(r.Limits, o.Limits) && r.LimitShare == o.LimitShare && r.YearShare == o.YearShare
}

// limitsOf are the limits of all terms, those of the last one first. Of a year's
// limits only the last one's count: the year is judged once, at its end.
func limitsOf(terms []term) []Limit {
	var out []Limit
	for i, t := range slices.Backward(terms) {
		for _, l := range t.Limits {
			if !slices.Contains(out, l) && (l.Period != Year || i == len(terms)-1) {
				out = append(out, l)
			}
		}
	}
	return out
}

// join takes from each term what ends in it: the means of one call for each term,
// the first of which ends a step after from. ended counts them. nil if all are.
func join(terms []term, from time.Time, step time.Duration, of func(*term) []Hour) (out []Hour, ended int) {
	for i := range terms {
		t := &terms[i]
		means := of(t)
		if means != nil && out == nil {
			out = make([]Hour, len(means))
		}
		for j, m := range means {
			if end := from.Add(time.Duration(j+1) * step); !end.Before(t.since) && end.Before(t.until) {
				out[j] = m
				ended++
			}
		}
	}
	return out, ended
}

func (a *Assessment) count(mean float64) {
	if a.Valid == 0 || mean > a.Peak {
		a.Peak = mean
	}
	a.Valid++
}

// year lays out n hours of a limit's quantity that follow from, in µg/m³; nil if
// the site never gave any.
func (r Rules) year(site, quantity string, from time.Time, n int, hours []SiteHour, yields func(time.Time) bool) []Hour {
	names := [3]string{quantity}
	if p, ok := ParameterOf(quantity); ok {
		names = quantitiesOf(p)
	}
	var out []Hour
	for _, name := range names {
		if name == "" {
			continue
		}
		var line []*SiteHour
		for i := range hours {
			h := &hours[i]
			if h.Quantity != name || h.Site != site {
				continue
			}
			at := int(h.End.Sub(from)/time.Hour) - 1
			if at < 0 || at >= n {
				continue
			}
			if line == nil {
				line = make([]*SiteHour, n)
			}
			line[at] = h
		}
		if line == nil {
			continue
		}
		if out == nil {
			out = make([]Hour, n)
		}
		zeros := zeroRuns(line)
		for i, h := range line {
			if h == nil || out[i].Valid || r.exclusion(h, zeros[i]) != Included || !yields(h.End) {
				continue
			}
			v, ok := r.Concentration(site, name, h.Mean)
			if !ok { // none of the seven
				v = h.Mean
			}
			out[i] = Hour{Mean: v, Valid: true}
		}
	}
	return out
}

// days makes the means of whole calendar days of a series that begins with one.
func (r Rules) days(hours []Hour) []Hour {
	out := make([]Hour, 0, len(hours)/24)
	for ; len(hours) >= 24; hours = hours[24:] {
		w, _ := r.Gates.Rolling24(hours[:24])
		out = append(out, Hour{Mean: w.Mean, Valid: w.Hours >= r.Gates.DayHours})
	}
	return out
}
