package figures

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AssessmentPrefix begins the ids of assessments' traces, which share addresses
// with those of figures.
const AssessmentPrefix = "baku-"

// AssessmentID names a site's year before one limit of PP 22/2021: year, quantity,
// period, limit (µg/m³) and site, for example baku-2026-pm2_5-24h-55-smg-1.
func AssessmentID(site string, year int, l Limit) string {
	return AssessmentPrefix + strconv.Itoa(year) + "-" + l.Quantity + "-" + string(l.Period) + "-" + strconv.FormatFloat(l.Limit, 'f', -1, 64) + "-" + site
}

// ParseAssessmentID reads what AssessmentID wrote.
func ParseAssessmentID(id string) (site string, year int, l Limit, err error) {
	rest, found := strings.CutPrefix(id, AssessmentPrefix)
	f := strings.SplitN(rest, "-", 5)
	if found && len(f) == 5 {
		var bad error
		year, err = strconv.Atoi(f[0])
		l.Quantity, l.Period, site = f[1], Period(f[2]), f[4]
		l.Limit, bad = strconv.ParseFloat(f[3], 64)
		// The one way in which it is written: an address that is another is none.
		if err == nil && bad == nil && AssessmentID(site, year, l) == id && year > 0 && year < 10000 && site != "" && l.Limit > 0 && l.Limit < 1e9 {
			return site, year, l, nil
		}
	}
	return "", 0, Limit{}, fmt.Errorf("assessment %q: want for example %s", id, AssessmentID("smg-1", 2026, Limit{Quantity: "pm2_5", Period: Hours24, Limit: 55}))
}

// DatedClass is a site's class from a time on.
type DatedClass struct {
	Since time.Time `json:"since"`
	Class string    `json:"class"`
}

// AssessmentTrace is everything from which a site's year was compared with one
// limit; Recompute does it again. Other than a figure, an assessment is not frozen:
// it is made from the hours as they stand, and its hash tells one state from
// another.
type AssessmentTrace struct {
	ID         string       `json:"id"` // AssessmentID
	Site       string       `json:"site"`
	Year       int          `json:"year"` // calendar year, WIB
	At         time.Time    `json:"at"`   // what had not ended by then was not judged; the newest hour's end
	Assessment Assessment   `json:"assessment"`
	Exceeded   []Exceedance `json:"exceeded"` // its episodes, oldest first
	Status     Status       `json:"status"`   // validated if the month of each hour is
	// Revised is how often hours of it were corrected since their first computation:
	// the sum of their versions.
	Revised   int          `json:"revised"`
	Hours     []SiteHour   `json:"hours"` // of the limit's quantity, in whatever unit; from 7 h before the year on, for windows that reach back
	Rules     []DatedRules `json:"rules"` // those in force in the year, without who set them
	Classes   []DatedClass `json:"classes"`
	Articles  []string     `json:"articles"`
	Simulated bool         `json:"simulated"`
	Hash      string       `json:"hash"` // SHA-256 of Canonical, hexadecimal
}

// QuantitiesOf names the quantities from which a limit is judged: those of its
// parameter, or itself.
func (l Limit) QuantitiesOf() []string {
	if p, ok := ParameterOf(l.Quantity); ok {
		names := quantitiesOf(p)
		return names[:]
	}
	return []string{l.Quantity}
}

// ErrNoAssessment is of a limit that was not in force in the year, or of which the
// site has no hour.
var ErrNoAssessment = errors.New("there is no such assessment")

// TraceAssessment makes the trace of a year's assessment. t has site, year, At,
// status, simulated or not, the classes, as Assessment the limit, and of hours and
// rules at least those of the year, with those a little before. It wraps
// ErrNoAssessment.
func TraceAssessment(t AssessmentTrace) (AssessmentTrace, error) {
	l := t.Assessment.Limit
	from, to := YearSpan(t.Year)
	t.ID = AssessmentID(t.Site, t.Year, l)
	if t.At = t.At.UTC().Truncate(time.Hour); t.At.After(to) {
		t.At = to
	}
	begin := from.Add(-back * time.Hour)
	names := l.QuantitiesOf()
	t.Hours = slices.DeleteFunc(slices.Clone(t.Hours), func(h SiteHour) bool {
		return h.Site != t.Site || !slices.Contains(names, h.Quantity) || !h.End.After(begin) || h.End.After(t.At)
	})
	slices.SortFunc(t.Hours, func(a, b SiteHour) int {
		return cmp.Or(strings.Compare(a.Quantity, b.Quantity), a.End.Compare(b.End))
	})
	t.Revised = 0
	for _, h := range t.Hours {
		t.Revised += h.Version
	}
	t.Rules = inForceWithin(t.Rules, begin, t.At, t.Site)
	y, ok := t.year()
	if !ok || !slices.Contains(limitsOf(y.terms), l) {
		return t, fmt.Errorf("%s: %w: the limit is not in force", t.ID, ErrNoAssessment)
	}
	if t.Assessment, t.Exceeded, _, ok = y.assess(l); !ok {
		return t, fmt.Errorf("%s: %w: nothing was measured", t.ID, ErrNoAssessment)
	}
	t.Articles = InForce(t.Rules, t.At).Rules.Articles
	b, err := t.Canonical()
	if err != nil {
		return t, err
	}
	t.Hash = hashOf(b)
	return t, nil
}

// inForceWithin are the rules that were in force at some time of (from, to]: those
// of from first, and of each no more than concerns the site and everybody may know.
func inForceWithin(rules []DatedRules, from, to time.Time, site string) (out []DatedRules) {
	if len(rules) == 0 {
		return nil
	}
	first := InForce(rules, from)
	for _, r := range rules {
		if r.Since.After(from) && !r.Since.After(to) {
			out = append(out, r)
		}
	}
	out = append([]DatedRules{first}, out...)
	for i := range out {
		out[i].By, out[i].At = "", time.Time{}
		gas, ok := out[i].Rules.HCGas[site]
		if out[i].Rules.HCGas = nil; ok {
			out[i].Rules.HCGas = map[string]string{site: gas}
		}
	}
	return out
}

func (t AssessmentTrace) year() (*year, bool) {
	return newYear(t.Site, t.Year, t.At, t.Hours, t.Rules, t.class)
}

// class is the site's at a time.
func (t AssessmentTrace) class(end time.Time) (class string) {
	for _, c := range t.Classes {
		if !c.Since.After(end) {
			class = c.Class
		}
	}
	return class
}

// Exclude says of each of the hours whether it entered, and if not why.
func (t AssessmentTrace) Exclude() []Exclusion {
	out := Exclude(t.Hours, t.Rules)
	for i, h := range t.Hours {
		if out[i] == Included && !InForce(t.Rules, h.End).Rules.Yields(t.class(h.End)) {
			out[i] = NoIndex
		}
	}
	return out
}

// Windows are the means that were compared with the limit, oldest first; of a
// year's limit those of its days.
func (t AssessmentTrace) Windows() []WindowMean {
	y, ok := t.year()
	if !ok {
		return nil
	}
	_, _, windows, _ := y.assess(t.Assessment.Limit)
	return windows
}

// WindowMean is the mean over the window that ends at End, µg/m³.
type WindowMean struct {
	End time.Time
	Hour
}

// Canonical is what Hash is the SHA-256 of: the trace's JSON as this package writes
// it (fields in the order of the types, maps by key, no spaces), with hash and
// status empty.
func (t AssessmentTrace) Canonical() ([]byte, error) {
	t.Hash, t.Status = "", ""
	b, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("write the trace of %s: %w", t.ID, err)
	}
	return b, nil
}

// Recompute makes the assessment from nothing but the trace. What is no result
// (time, status) it takes over. Whoever holds a trace compares it: all
// must be the same, the hash too.
func (t AssessmentTrace) Recompute() (AssessmentTrace, error) { return TraceAssessment(t) }
