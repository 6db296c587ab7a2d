package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

func TestRulesOfFiguresHoldFromTheirDate(t *testing.T) {
	s, c := begin(t, t.TempDir(), "http://127.0.0.1:1")
	all := call[[]figures.DatedRules](t, c, http.MethodGet, "/figures/rules", nil)
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	change := SetFigureRules{Rules: all[0].Rules}
	change.Rules.HCGas = map[string]string{"3374-03": "methane"}
	if err := c.Call(t.Context(), http.MethodPut, "/figures/rules", change, &Done{}); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("without a reason: %v", err)
	}
	change.Reason = "SK 1/2026"
	change.Rules.Gates.DayHours = 99
	if err := c.Call(t.Context(), http.MethodPut, "/figures/rules", change, &Done{}); err == nil {
		t.Error("a day of 99 hours is taken")
	}
	change.Rules.Gates.DayHours = 18

	call[Done](t, c, http.MethodPut, "/figures/rules", change)
	past := time.Now().Add(-48 * time.Hour)
	if r := s.publication.RulesAt(past); r.Rules.HCGas != nil {
		t.Errorf("a change of now alters the past: %+v", r)
	}
	change.Since = past.Add(-time.Hour)
	if done := call[Done](t, c, http.MethodPut, "/figures/rules", change); !strings.Contains(done.Message, "anew") {
		t.Errorf("%q", done.Message)
	}
	if r := s.publication.RulesAt(past); r.Rules.HCGas["3374-03"] != "methane" || r.Reason != "SK 1/2026" {
		t.Errorf("what was to hold from before the past: %+v", r)
	}
}
