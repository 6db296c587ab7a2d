package quality

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestEveryNumberOfTheCatalogueHasASourcedRange(t *testing.T) {
	for _, name := range telemetry.Names() {
		l, ok := builtin[name]
		if !ok || l.source == "" || l.min >= l.max || math.IsNaN(l.min) {
			t.Errorf("%s: range %+v, want sourced limits", name, l)
		}
	}
	for name := range builtin {
		if _, ok := telemetry.Lookup(name); !ok {
			t.Errorf("%s has a range but is not in the catalogue", name)
		}
	}
}

func TestRangeIsInclusiveAndDated(t *testing.T) {
	since := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	r, err := Parse([]byte(`{"ranges":[{"quantity":"pm2_5","since":"2026-11-01T00:00:00Z","min":0,"max":1000,"source":"SPS30 datasheet"},
		{"quantity":"humidity","since":"2026-11-01T00:00:00Z"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	pm, rh, other := r.Judge("pm2_5"), r.Judge("humidity"), r.Judge("smell")
	old, now := since.UnixMilli()-1, since.UnixMilli()
	for _, c := range []struct {
		j    *Judge
		v    float64
		at   int64
		want telemetry.Flag
	}{
		{&pm, 1000, now, telemetry.FlagNone}, {&pm, 1000.1, now, telemetry.FlagRange}, {&pm, 1000.1, old, telemetry.FlagNone},
		{&pm, -5, old, telemetry.FlagNone}, {&pm, -5.1, old, telemetry.FlagRange}, {&pm, -0.1, now, telemetry.FlagRange},
		{&rh, 101, old, telemetry.FlagRange}, {&rh, 101, now, telemetry.FlagNone}, {&other, -1e300, now, telemetry.FlagNone},
	} {
		if got := c.j.Range(c.v, c.at); got != c.want {
			t.Errorf("value %v at %d: %q, want %q", c.v, c.at, got, c.want)
		}
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for body, want := range map[string]string{
		`{"rangs":[]}`:                                               "rangs",
		`{"ranges":[{"quantity":"pm25"}]}`:                           `"pm25" is not in the catalogue`,
		`{"ranges":[{"quantity":"co2","min":2,"max":1}]}`:            "min 2 is above max 1",
		`{"ranges":[{"quantity":"co2","min":2},{"quantity":"co2"}]}`: "two entries",
	} {
		if _, err := Parse([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want it to say %q", body, err, want)
		}
	}
}

func TestTimeIsJudgedOnlyBySynchronisedClocks(t *testing.T) {
	received := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	ms, ns := received.UnixMilli(), received.UnixNano()
	minute := time.Minute.Milliseconds()
	if Future(ms+5*minute, ns, true) || !Future(ms+5*minute+1, ns, true) || Future(ms+500*minute, ns, false) {
		t.Error("time_future begins more than 5 min ahead, and only under a synchronised clock")
	}
	for _, c := range []struct {
		name                    string
		backlog, newest, synced bool
		at                      int64
		interval                time.Duration
		late                    bool
	}{
		{"fresh", false, true, true, ms - 5*minute, 0, false},
		{"old", false, true, true, ms - 5*minute - 1, 0, true},
		{"slow sensor", false, true, true, ms - 60*minute, 30 * time.Minute, false},
		{"slow sensor, old", false, true, true, ms - 60*minute - 1, 30 * time.Minute, true},
		{"server without time", false, true, false, ms - 900*minute, 0, false},
		{"backlog", true, true, false, ms, 0, true},
		{"old session", false, false, false, ms, 0, true},
	} {
		if got := Late(c.backlog, c.newest, c.at, ns, c.interval, c.synced); got != c.late {
			t.Errorf("%s: late = %v", c.name, got)
		}
	}
}

// The floor that pages tell of is the lowest value that is taken.
func TestFloorsAreWhatIsTaken(t *testing.T) {
	var none Rules
	if floors := Floors(); len(floors) == 0 || floors["so2_ppb"] != -1 {
		t.Errorf("%v", floors)
	}
	for quantity, floor := range Floors() {
		j := none.Judge(quantity)
		if j.Range(floor, 0) != telemetry.FlagNone || j.Range(floor-1, 0) != telemetry.FlagRange {
			t.Errorf("%s: %v is not the lowest value that is taken", quantity, floor)
		}
	}
}
