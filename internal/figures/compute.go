package figures

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FigureID names a figure: kind, end (WIB), revision and site, for example
// ispu-20261126-14-r0-smg-1.
func FigureID(k Kind, site string, end time.Time, revision int) string {
	return string(k) + "-" + end.In(WIB).Format("20060102-15") + "-r" + strconv.Itoa(revision) + "-" + site
}

// ParseFigureID reads what FigureID wrote.
func ParseFigureID(id string) (k Kind, site string, end time.Time, revision int, err error) {
	bad := func() (Kind, string, time.Time, int, error) {
		return "", "", time.Time{}, 0, fmt.Errorf("figure %q: want for example %s", id, FigureID(Hourly, "smg-1", time.Date(2026, 11, 26, 14, 0, 0, 0, WIB), 0))
	}
	f := strings.SplitN(id, "-", 5)
	if len(f) != 5 || (f[0] != string(Hourly) && f[0] != string(Daily)) || !strings.HasPrefix(f[3], "r") || f[4] == "" {
		return bad()
	}
	if end, err = time.ParseInLocation("20060102-15", f[1]+"-"+f[2], WIB); err != nil {
		return bad()
	}
	if revision, err = strconv.Atoi(f[3][1:]); err != nil || revision < 0 {
		return bad()
	}
	return Kind(f[0]), f[4], end.UTC(), revision, nil
}

// Window says which hours a figure is judged by: those with from < End ≤ end.
// Beside the 24 hours of its mean they are the few before, in which a run of
// exact zeros may have begun.
func (r Rules) Window(end time.Time) (from time.Time) {
	return end.Add(-time.Duration(24+r.lead()) * time.Hour)
}

func (r Rules) lead() int { return max(0, r.ZeroRun-1) }

// Lead is how far before and after a span the hours reach that say whether one of
// its hours stands in a run of exact zeros.
func (r Rules) Lead() time.Duration { return time.Duration(r.lead()) * time.Hour }

// Articles are the regulations that figures rest on.
func Articles() []string {
	return []string{
		"Permen LHK P.14/MENLHK/SETJEN/KUM.1/7/2020",
		"PP 22/2021 Lampiran VII (25 °C, 1 atm)",
	}
}

// Judge computes a figure's index from the hours of its window and the rules in
// force. Of the figure it fills in OK, Index, Parts and Estimate. Hours of other
// sites and times are not looked at; their order does not matter.
//
// An hour counts if it reaches the gate and is not part of a run of exact zeros.
// Gases in ppb and ppm become µg/m³ here (25 °C, 1 atm). Of two quantities of one
// parameter the one in µg/m³ goes first, hour by hour.
func Judge(f Figure, hours []SiteHour, r Rules, class string) Figure {
	f.OK, f.Index, f.Parts, f.Estimate = false, Station{}, nil, !r.Yields(class)
	means := map[Parameter]float64{}
	for _, p := range Parameters() {
		series, measured := r.series(p, f.Site, f.End, hours)
		if !measured {
			continue
		}
		part := Part{Parameter: p}
		w, ok := r.Gates.Rolling24(series)
		if f.Kind == Daily {
			ok = w.Hours >= r.Gates.DayHours
		}
		part.Mean, part.Hours, part.Age = w.Mean, w.Hours, max(0, w.Age)
		if ok {
			if i, good := SubIndex(p, w.Mean, r.Breakpoints, r.Nodes); good {
				part.OK, part.Index = true, i
				means[p] = w.Mean
			}
		}
		f.Parts = append(f.Parts, part)
	}
	f.Index, f.OK = StationIndex(means, r.Breakpoints, r.Nodes)
	return f
}

// series lays out a parameter's 24 hours up to end, oldest first. measured is
// false if the site gave nothing of it in the window.
func (r Rules) series(p Parameter, site string, end time.Time, hours []SiteHour) (out []Hour, measured bool) {
	lead := r.lead()
	var by [3][]*SiteHour // of each quantity, by place in the window
	names := quantitiesOf(p)
	for i := range hours {
		h := &hours[i]
		q := slices.Index(names[:], h.Quantity)
		if q < 0 || h.Site != site {
			continue
		}
		at := 23 + lead - int(end.Sub(h.End)/time.Hour)
		if at < 0 || at >= 24+lead || h.End.After(end) {
			continue
		}
		if by[q] == nil {
			by[q] = make([]*SiteHour, 24+lead)
		}
		by[q][at] = h
	}
	out = make([]Hour, 24)
	for q := range by {
		if by[q] == nil {
			continue
		}
		measured = true
		zeros := zeroRuns(by[q])
		for i := range out {
			if h := by[q][i+lead]; h != nil && !out[i].Valid && r.exclusion(h, zeros[i+lead]) == Included {
				v, _ := r.Concentration(site, h.Quantity, h.Mean)
				out[i] = Hour{Mean: v, Valid: true}
			}
		}
	}
	return out, measured
}

// Concentration turns a reading of a site into µg/m³ (25 °C, 1 atm) of its
// parameter. Unlike the function of the same name it knows in which gas the
// site's hydrocarbon analyser was calibrated.
func (r Rules) Concentration(site, quantity string, value float64) (microgram float64, ok bool) {
	p, known := ParameterOf(quantity)
	if !known {
		return 0, false
	}
	if p == HC {
		return hydrocarbon(quantity, value, r.HCGas[site])
	}
	_, microgram, ok = Concentration(quantity, value)
	return microgram, ok
}

// Canonical is what Figure.Hash is the SHA-256 of: the trace's JSON as this
// package writes it (fields in the order of the types, maps by key, no spaces),
// with the figure's hash and status empty. The status is not covered because
// closing a month changes it and nothing else.
func (t Trace) Canonical() ([]byte, error) {
	t.Figure.Hash, t.Figure.Status = "", ""
	b, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("write the trace of %s: %w", t.Figure.ID, err)
	}
	return b, nil
}

// Sum returns the hash of the trace as it stands.
func (t Trace) Sum() (string, error) {
	b, err := t.Canonical()
	if err != nil {
		return "", err
	}
	return hashOf(b), nil
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Sums returns what Trace.Sum does, for many traces: what they share (windows
// overlap, rules rarely change) it writes once. It takes hours of the same site,
// quantity, end and version for the same, and rules and class of one version, so it
// may live no longer than a look at hours that do not change meanwhile.
type Sums struct {
	hours map[hourVersion][]byte
	rest  map[restVersion][]byte
}

type hourVersion struct {
	site, quantity string
	end            int64
	version        int
}

type restVersion struct {
	rules       int
	site, class string
}

// Of returns the hash of the trace as it stands.
func (s *Sums) Of(t Trace) (string, error) {
	if s.hours == nil {
		s.hours, s.rest = map[hourVersion][]byte{}, map[restVersion][]byte{}
	}
	if t.Hours == nil {
		return t.Sum()
	}
	failed := func(err error) (string, error) {
		return "", fmt.Errorf("write the trace of %s: %w", t.Figure.ID, err)
	}
	t.Figure.Hash, t.Figure.Status = "", ""
	figure, err := json.Marshal(t.Figure)
	if err != nil {
		return failed(err)
	}
	h := sha256.New()
	h.Write([]byte(`{"figure":`))
	h.Write(figure)
	h.Write([]byte(`,"hours":[`))
	for i := range t.Hours {
		hour := &t.Hours[i]
		key := hourVersion{hour.Site, hour.Quantity, hour.End.UnixNano(), hour.Version}
		b, ok := s.hours[key]
		if !ok {
			if b, err = json.Marshal(hour); err != nil {
				return failed(err)
			}
			s.hours[key] = b
		}
		if i > 0 {
			h.Write([]byte{','})
		}
		h.Write(b)
	}
	key := restVersion{t.Figure.Rules, t.Figure.Site, t.Class}
	rest, ok := s.rest[key]
	if !ok {
		b, err := json.Marshal(struct {
			Rules    Rules     `json:"rules"`
			Since    time.Time `json:"rules_since"`
			Class    string    `json:"class"`
			Articles []string  `json:"articles"`
		}{t.Rules, t.Since, t.Class, t.Articles})
		if err != nil {
			return failed(err)
		}
		rest = b[1:] // without its brace
		s.rest[key] = rest
	}
	h.Write([]byte(`],`))
	h.Write(rest)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Recompute computes the figure from nothing but the trace. What is no result
// (ID, revision, times, reason, status) it takes over. Whoever holds a trace
// compares it with Figure: both must be the same, the hash too.
func (t Trace) Recompute() (Figure, error) {
	from := t.Rules.Window(t.Figure.End)
	for _, h := range t.Hours {
		if h.Site != t.Figure.Site || !h.End.After(from) || h.End.After(t.Figure.End) {
			return Figure{}, fmt.Errorf("trace of %s: the hour %s %s of %s is not of its window", t.Figure.ID, h.Quantity, h.End.Format(time.RFC3339), h.Site)
		}
	}
	t.Figure = Judge(t.Figure, t.Hours, t.Rules, t.Class)
	sum, err := t.Sum()
	if err != nil {
		return Figure{}, err
	}
	t.Figure.Hash = sum
	return t.Figure, nil
}
