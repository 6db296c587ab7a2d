package figures

import (
	"fmt"
	"slices"

	"github.com/pantau-id/pantau/internal/places"
)

// DefaultRules are the rules of a new installation: the regulations as they
// stand, and for what they leave open the choices that pages show as such.
func DefaultRules() Rules {
	return Rules{
		Gates: DefaultGates(), Nodes: Stepped, Breakpoints: BreakpointsP14(), AllowSNI: true, ZeroRun: 3,
		Limits: LimitsPP22(), LimitShare: 0.75, YearShare: 0.75, Bulletins: []int{9, 15}, GraceMin: 10, AutoPublish: true, Articles: Articles(),
	}
}

// Check returns an error that names the field and what it wants.
func (r Rules) Check() error {
	wrong := func(field string, value any, want string) error {
		return fmt.Errorf("rules: %s is %v: want %s", field, value, want)
	}
	switch {
	case !(r.Gates.HourShare > 0 && r.Gates.HourShare <= 1):
		return wrong("gates.hour_share", r.Gates.HourShare, "more than 0 and at most 1")
	case r.Gates.DayHours < 1 || r.Gates.DayHours > 24:
		return wrong("gates.day_hours", r.Gates.DayHours, "1 to 24")
	case r.Gates.NewestHour < 0 || r.Gates.NewestHour > 23:
		return wrong("gates.newest_hour", r.Gates.NewestHour, "0 to 23")
	case r.Nodes != Stepped && r.Nodes != Continuous:
		return wrong("nodes", r.Nodes, "stepped or continuous")
	case r.ZeroRun < 0 || r.ZeroRun > 24:
		return wrong("zero_run", r.ZeroRun, "0 (never) to 24")
	case !(r.LimitShare > 0 && r.LimitShare <= 1):
		return wrong("limit_share", r.LimitShare, "more than 0 and at most 1")
	case !(r.YearShare > 0 && r.YearShare <= 1):
		return wrong("year_share", r.YearShare, "more than 0 and at most 1")
	case r.GraceMin < 0 || r.GraceMin > 59:
		return wrong("grace_min", r.GraceMin, "0 to 59")
	}
	for _, p := range Parameters() {
		if _, ok := r.Breakpoints[p]; !ok {
			return wrong("breakpoints."+string(p), "missing", "five concentrations")
		}
	}
	for p, upper := range r.Breakpoints {
		if !slices.Contains(Parameters(), p) {
			return wrong("breakpoints", p, "the seven parameters' names")
		}
		for i, u := range upper {
			if !(u > 0) || (i > 0 && u <= upper[i-1]) {
				return wrong("breakpoints."+string(p), upper, "rising concentrations above 0")
			}
		}
	}
	for _, h := range r.Bulletins {
		if h < 0 || h > 23 {
			return wrong("bulletins", h, "hours of the day, 0 to 23")
		}
	}
	for _, l := range r.Limits {
		if !(l.Limit > 0) || l.Period.hours() == 0 {
			return wrong("limits", fmt.Sprintf("%s %s %v", l.Quantity, l.Period, l.Limit), "a limit above 0 over 1h, 3h, 8h, 24h or 1y")
		}
	}
	for site, gas := range r.HCGas {
		if _, ok := calibrationGas[gas]; !ok {
			return wrong("hc_gas."+site, gas, "methane or propane")
		}
	}
	return nil
}

// Yields reports whether sites of a class yield an index. All others give an
// estimate.
func (r Rules) Yields(class string) bool {
	switch places.Class(class) {
	case places.Reference:
		return true
	case places.SNI9178:
		return r.AllowSNI
	}
	return false
}

// MarkCodes are the reasons that a validator chooses from.
func MarkCodes() []string {
	return []string{"calibration", "maintenance", "power", "fault", "drift", "flow", "contamination", "local_source", "implausible", "other", "checked"}
}
