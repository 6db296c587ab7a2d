// Package alert judges readings by rules: pure functions of (state, reading,
// event time) to transitions, without clock, goroutine or I/O.
//
// It promises that the same entries in the same order give the same
// transitions under the same keys, so that a replay neither fires nor clears
// twice; that a late, rejected or stale reading never fires or clears anything;
// and that silence is judged on the journal's frontier of receive time, so that
// a server that was away does not page for every gateway.
package alert

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Condition says what a rule looks for.
type Condition string

// The conditions.
const (
	Above  Condition = "above"   // value > Threshold; clears at value < Clear
	Below  Condition = "below"   // value < Threshold; clears at value > Clear
	NoData Condition = "no_data" // nothing from the node for For
)

// Severity orders alerts for people.
type Severity string

// The severities, mildest first.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Rule is one alert rule. JSON durations are Go's ("15m").
type Rule struct {
	ID        string    `json:"id"`       // permanent, CheckID
	Name      string    `json:"name"`     // Bahasa Indonesia, shown to operators
	NameEN    string    `json:"name_en"`  // English
	Quantity  string    `json:"quantity"` // catalogue name; empty for no_data
	Scope     Scope     `json:"scope"`
	Condition Condition `json:"condition"`
	Threshold float64   `json:"threshold"`
	Clear     float64   `json:"clear"`     // hysteresis: at or beyond Threshold's quiet side
	For       Duration  `json:"for"`       // how long the condition holds before it fires
	ClearFor  Duration  `json:"clear_for"` // how long the clear condition holds before it resolves
	Severity  Severity  `json:"severity"`
}

// Scope narrows a rule; empty fields match all.
type Scope struct {
	Group  string `json:"group,omitempty"`
	Node   string `json:"node,omitempty"`
	Device string `json:"device,omitempty"`
}

func (s Scope) matches(n telemetry.Node, device string) bool {
	return (s.Group == "" || s.Group == n.Group) && (s.Node == "" || s.Node == n.ID) && (s.Device == "" || s.Device == device)
}

// Duration is a time.Duration that reads and writes "15m" in JSON.
type Duration time.Duration

// MarshalText writes Go's notation.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads Go's notation.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Validate checks one rule; errors name the field and the value.
func (r *Rule) Validate() error {
	if err := telemetry.CheckID(r.ID); err != nil {
		return fmt.Errorf("id: %w", err)
	}
	bad := func(field string, value any, want string) error {
		return fmt.Errorf("rule %s: %s is %v: want %s", r.ID, field, value, want)
	}
	switch {
	case r.Name == "":
		return bad("name", "empty", "a name that operators understand")
	case r.Severity != Info && r.Severity != Warning && r.Severity != Critical:
		return bad("severity", r.Severity, "info, warning or critical")
	case r.For < 0 || r.ClearFor < 0:
		return bad("for", time.Duration(min(r.For, r.ClearFor)), "no negative duration")
	case math.IsNaN(r.Threshold) || math.IsInf(r.Threshold, 0) || math.IsNaN(r.Clear) || math.IsInf(r.Clear, 0):
		return bad("threshold", r.Threshold, "finite numbers")
	}
	switch r.Condition {
	case NoData:
		if r.For < Duration(time.Minute) {
			return bad("for", time.Duration(r.For), "at least 1m for no_data")
		}
		return nil
	case Above:
		if r.Clear > r.Threshold {
			return bad("clear", r.Clear, "at most the threshold")
		}
	case Below:
		if r.Clear < r.Threshold {
			return bad("clear", r.Clear, "at least the threshold")
		}
	default:
		return bad("condition", r.Condition, "above, below or no_data")
	}
	if _, ok := telemetry.Lookup(r.Quantity); !ok {
		return bad("quantity", r.Quantity, "one of "+strings.Join(telemetry.Names(), ", "))
	}
	return nil
}

// Parse reads a JSON array of rules, strictly, and validates them.
func Parse(b []byte) ([]Rule, error) {
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	var rules []Rule
	if err := dec.Decode(&rules); err != nil {
		return nil, fmt.Errorf("read alert rules: %w", err)
	}
	seen := map[string]bool{}
	var errs []error
	for i := range rules {
		if err := rules[i].Validate(); err != nil {
			errs = append(errs, err)
		}
		if seen[rules[i].ID] {
			errs = append(errs, fmt.Errorf("rule %s stands twice", rules[i].ID))
		}
		seen[rules[i].ID] = true
	}
	return rules, errors.Join(errs...)
}

// Default returns the rules that a new installation starts with. They are
// starting points, not law: the agency sets its own.
func Default() []Rule {
	m := func(n int) Duration { return Duration(time.Duration(n) * time.Minute) }
	return []Rule{
		// 55 µg/m³ is the 24 h standard of PP 22/2021 Lampiran VII; over 15 minutes
		// it says that people breathe smoke now.
		{ID: "pm2_5-high", Name: "PM2,5 tinggi", NameEN: "PM2.5 high", Quantity: "pm2_5", Condition: Above,
			Threshold: 55, Clear: 50, For: m(15), ClearFor: m(15), Severity: Warning},
		{ID: "bin-full", Name: "Bak sampah hampir penuh", NameEN: "Bin nearly full", Quantity: "fill", Condition: Above,
			Threshold: 85, Clear: 60, For: m(10), ClearFor: m(5), Severity: Warning},
		// An SDM120 carries 45 A at most (datasheet); a wall meter near it overheats.
		{ID: "meter-overload", Name: "Beban listrik berlebih", NameEN: "Meter overload", Quantity: "current", Condition: Above,
			Threshold: 40, Clear: 35, For: m(2), ClearFor: m(5), Severity: Critical},
		{ID: "gateway-silent", Name: "Gateway tidak mengirim data", NameEN: "Gateway silent", Condition: NoData,
			For: m(10), Severity: Warning},
	}
}
