package evidence_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/evidence"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// paths are the settings as a trace's JSON names them.
func paths(t reflect.Type, prefix string) (out []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			out = append(out, paths(f.Type, prefix+name+".")...)
			continue
		}
		out = append(out, prefix+name)
	}
	return out
}

// Whoever adds a field to the rules must tell people of it.
func TestEverySettingIsTold(t *testing.T) {
	want := paths(reflect.TypeFor[figures.Rules](), "")
	for _, l := range page.Langs() {
		var got []string
		for _, s := range evidence.Settings(l, figures.DefaultRules(), func(site string) string { return site }) {
			got = append(got, s.Key)
			_, leaf, ok := strings.Cut(s.Key, ".")
			if !ok {
				leaf = s.Key
			}
			if s.Name == leaf || s.Value == "" || s.Why == leaf || strings.HasPrefix(s.Value, "setting.") {
				t.Errorf("%s in %s has no words: %+v", s.Key, l, s)
			}
		}
		if slices.Sort(got); len(want) != len(got) || !slices.Equal(slices.Sorted(slices.Values(want)), got) {
			t.Errorf("told: %v\nrules: %v", got, want)
		}
	}
}

// Each setting changes its words when its value changes.
func TestASettingsWordsFollowItsValue(t *testing.T) {
	r := figures.DefaultRules()
	other := figures.Rules{
		Gates: figures.Gates{HourShare: 0.5, DayHours: 12, NewestHour: 1}, Nodes: figures.Continuous, Breakpoints: figures.BreakpointsP14(), ZeroRun: 0,
		HCGas: map[string]string{"a": "methane"}, Limits: r.Limits[1:], LimitShare: 0.5, YearShare: 0.5, Bulletins: []int{6}, GraceMin: 5, Articles: []string{"x"},
	}
	other.Breakpoints[figures.PM25] = [5]float64{15, 55, 150, 250, 500}
	name := func(site string) string { return "Kilang" }
	before, after := evidence.Settings(page.Indonesian, r, name), evidence.Settings(page.Indonesian, other, name)
	for i := range before {
		if before[i].Value == after[i].Value {
			t.Errorf("%s says %q of two values", before[i].Key, after[i].Value)
		}
	}
}

func TestASettingSaysSinceWhenAndWhy(t *testing.T) {
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, page.WIB)
	first := figures.DefaultRules()
	second, third, coming := first, first, first
	second.GraceMin, third.GraceMin, third.ZeroRun, coming.GraceMin = 20, 20, 5, 30
	all := []figures.DatedRules{
		{Rules: first, Reason: "bawaan"}, {Version: 1, Since: begin, Rules: second, Reason: "gateway lambat"},
		{Version: 2, Since: begin.AddDate(0, 0, 7), Rules: third, Reason: "alat rusak"}, {Version: 3, Since: begin.AddDate(0, 1, 0), Rules: coming, Reason: "nanti"},
	}
	got := map[string]evidence.Setting{}
	for _, s := range evidence.InForce(page.Indonesian, all, begin.AddDate(0, 0, 10), func(string) string { return "" }) {
		got[s.Key] = s
	}
	if s := got["grace_min"]; s.Value != "20 menit setelah jamnya" || !s.Since.Equal(begin) || s.Why != "gateway lambat" {
		t.Errorf("%+v", s)
	}
	if s := got["zero_run"]; !s.Since.Equal(begin.AddDate(0, 0, 7)) || s.Why != "alat rusak" {
		t.Errorf("%+v", s)
	}
	if s := got["year_share"]; !s.Since.IsZero() || !strings.HasPrefix(s.Why, "Bawaan") {
		t.Errorf("what was never changed: %+v", s)
	}
}
