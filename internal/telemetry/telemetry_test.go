package telemetry

import (
	"math"
	"strings"
	"testing"
)

func TestNodeRoundTrip(t *testing.T) {
	n, err := ParseNode("3374/balai-kota")
	if err != nil || n.String() != "3374/balai-kota" {
		t.Fatalf("got %v, %v", n, err)
	}
	for _, bad := range []string{"", "3374", "/x", "3374/", "3374/a/b", "a+/b", "a/#", "$SYS/x", "a/\x00", "a/\xff", "a/" + strings.Repeat("x", 129)} {
		if n, err := ParseNode(bad); err == nil {
			t.Errorf("ParseNode(%q) = %v, want an error", bad, n)
		}
	}
}

func TestMatchNeverConvertsOrGuesses(t *testing.T) {
	for _, c := range []struct {
		name, unit, want string
	}{
		{"pm2_5", "", "pm2_5"}, {"PM2.5", "ug/m3", "pm2_5"}, {"SO2", "ppb", "so2_ppb"}, {"CO", "ppm", "co_ppm"},
		{"CO2", "ppm", "co2"}, {"CO", "mg/m3", ""}, {"voc_index", "1", ""}, {"NOx", "ppb", ""}, {"PM10", "", ""},
		{"temperature", "°F", ""},
	} {
		q, ok := Match(c.name, ParseUnit(c.unit))
		if ok != (c.want != "") || (ok && q.Name != c.want) {
			t.Errorf("Match(%q, %q) = %q, %v; want %q", c.name, c.unit, q.Name, ok, c.want)
		}
	}
}

func TestValueFinite(t *testing.T) {
	if Num(math.NaN()).Finite() || Num(math.Inf(1)).Finite() || !Num(0).Finite() {
		t.Error("only finite numbers may be stored")
	}
	if got := Num(12.3).String(); got != "12.3" {
		t.Errorf("shortest round trip: %q", got)
	}
}
