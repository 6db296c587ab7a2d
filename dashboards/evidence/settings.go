package evidence

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// Setting is one setting on which figures depend.
type Setting struct {
	Key   string // its path in the JSON of figures.Rules
	Name  string
	Value string
	Since time.Time // since when it has this value; zero = ever
	Why   string    // what the agency said when it set it, or why it is the default
}

// settings are all of them in the order in which they are told, with how each is
// written. A test holds it to the fields of figures.Rules.
var settings = []struct {
	key   string
	value func(l page.Lang, r figures.Rules, named func(site string) string) string
}{
	{"gates.hour_share", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.hour_share.is", percent(l, r.Gates.HourShare))
	}},
	{"gates.day_hours", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.day_hours.is", whole(l, r.Gates.DayHours))
	}},
	{"gates.newest_hour", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.newest_hour.is", whole(l, r.Gates.NewestHour))
	}},
	{"zero_run", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		if r.ZeroRun == 0 {
			return l.T("setting.zero_run.off")
		}
		return l.T("setting.zero_run.is", whole(l, r.ZeroRun))
	}},
	{"nodes", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		if r.Nodes == figures.Stepped {
			return l.T("rules.stepped")
		}
		return l.T("rules.continuous")
	}},
	{"breakpoints", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		var out []string
		for _, p := range figures.Parameters() {
			var upper []string
			for _, u := range r.Breakpoints[p] {
				upper = append(upper, Exact(l, u))
			}
			out = append(out, l.Name("q.", string(p))+" "+strings.Join(upper, " · "))
		}
		return strings.Join(out, "; ")
	}},
	{"allow_sni9178", func(l page.Lang, r figures.Rules, _ func(string) string) string { return yes(l, r.AllowSNI) }},
	{"hc_gas", func(l page.Lang, r figures.Rules, named func(string) string) string {
		var out []string
		for _, site := range slices.Sorted(maps.Keys(r.HCGas)) {
			if name := named(site); name != "" {
				out = append(out, page.Plain(name)+": "+l.Name("gas.", r.HCGas[site]))
			}
		}
		return cmp.Or(strings.Join(out, "; "), l.T("setting.hc_gas.none"))
	}},
	{"limits", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		var out []string
		for _, x := range r.Limits {
			out = append(out, l.Name("q.", x.Quantity)+" "+l.Name("period.", string(x.Period))+" "+Exact(l, x.Limit))
		}
		return strings.Join(out, "; ")
	}},
	{"limit_share", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.limit_share.is", percent(l, r.LimitShare))
	}},
	{"year_share", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.year_share.is", percent(l, r.YearShare))
	}},
	{"bulletins", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		var out []string
		for _, h := range r.Bulletins {
			out = append(out, l.Clock(time.Date(2000, 1, 1, h, 0, 0, 0, page.WIB)))
		}
		return cmp.Or(strings.Join(out, ", "), l.T("setting.bulletins.none"))
	}},
	{"auto_publish", func(l page.Lang, r figures.Rules, _ func(string) string) string { return yes(l, r.AutoPublish) }},
	{"grace_min", func(l page.Lang, r figures.Rules, _ func(string) string) string {
		return l.T("setting.grace_min.is", whole(l, r.GraceMin))
	}},
	{"articles", func(_ page.Lang, r figures.Rules, _ func(string) string) string {
		if len(r.Articles) == 0 {
			return strings.Join(figures.Articles(), "; ")
		}
		return page.Plain(strings.Join(r.Articles, "; "))
	}},
}

func whole(l page.Lang, n int) string           { return l.Number(float64(n), 0) }
func percent(l page.Lang, share float64) string { return Exact(l, share*100) + "\u00a0%" }
func yes(l page.Lang, is bool) string {
	if is {
		return l.T("word.yes")
	}
	return l.T("word.no")
}

// Settings lists the settings of rules. named says what a site is called, "" for one
// that the reader may not know of.
func Settings(l page.Lang, r figures.Rules, named func(site string) string) []Setting {
	out := make([]Setting, 0, len(settings))
	for _, s := range settings {
		_, leaf, ok := strings.Cut(s.key, ".")
		if !ok {
			leaf = s.key
		}
		out = append(out, Setting{Key: s.key, Name: l.Name("setting.", leaf), Value: s.value(l, r, named), Why: l.Name("setting.why.", leaf)})
	}
	return out
}

// InForce lists the settings that hold at a time, each with the date since which it
// has its value and the reason that was given then.
func InForce(l page.Lang, all []figures.DatedRules, at time.Time, named func(site string) string) []Setting {
	now := figures.InForce(all, at)
	out := Settings(l, now.Rules, named)
	dates := slices.Clone(all)
	slices.SortStableFunc(dates, func(a, b figures.DatedRules) int {
		return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(b.Version, a.Version))
	})
	dates = slices.DeleteFunc(dates, func(r figures.DatedRules) bool { return r.Since.After(now.Since) })
	for i := range out {
		for n, r := range dates {
			if Settings(l, r.Rules, named)[i].Value != out[i].Value {
				break
			}
			out[i].Since = r.Since
			if n+1 < len(dates) && Settings(l, dates[n+1].Rules, named)[i].Value != out[i].Value && r.Reason != "" {
				out[i].Why = page.Plain(r.Reason)
			}
		}
	}
	return out
}

// Conversions are the factors by which gases become µg/m³, and under which
// conditions.
func Conversions(l page.Lang) []string {
	var out []string
	add := func(r figures.Rules, name, quantity, unit string) {
		if each, ok := r.Concentration("", quantity, 1); ok {
			out = append(out, name+": "+equals(l, unit, each))
		}
	}
	for _, p := range []figures.Parameter{figures.SO2, figures.NO2, figures.O3} {
		add(figures.Rules{}, l.Name("q.", string(p)), string(p)+"_ppb", "ppb")
	}
	add(figures.Rules{}, l.Name("q.", string(figures.CO)), "co_ppm", "ppm")
	for _, gas := range figures.CalibrationGases() {
		add(figures.Rules{HCGas: map[string]string{"": gas}}, l.Name("q.", string(figures.HC))+" ("+l.Name("gas.", gas)+")", "hc_ppm", "ppm")
	}
	return out
}

// equals writes "1 ppb = 1,880 µg/m³" with four digits that count.
func equals(l page.Lang, unit string, each float64) string {
	decimals := 3
	switch {
	case each >= 1000:
		decimals = 0
	case each >= 100:
		decimals = 1
	case each < 1:
		decimals = 4
	}
	return l.T("evidence.equals", unit, l.Number(each, decimals))
}
