package status

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func serve(t *testing.T, s Snapshot) *httptest.Server {
	t.Helper()
	h, err := New(func() Snapshot { return s }, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func example(now time.Time) Snapshot {
	pm, _ := telemetry.Lookup("pm2_5")
	co2, _ := telemetry.Lookup("co2")
	return Snapshot{
		Now: now, Live: true, Name: "3374/balaikota", Data: "/var/lib/pantau",
		Sensors: []Sensor{{
			Name: "udara", Part: "sps30", Bus: "/dev/i2c-1", Address: 0x69, Interval: time.Second, Report: time.Minute,
			Sampled: now, Gap: telemetry.GapNoAnswer, Error: "<script>NACK</script>",
			Values: []Value{
				{Quantity: pm, Reading: telemetry.Reading{Quantity: "pm2_5", Value: telemetry.Num(35.5)}, At: now.Add(-2 * time.Minute), Gap: telemetry.GapNoAnswer},
				{Quantity: co2},
			},
		}},
		Steps: []Step{{Key: "claim", Command: "pantau-gateway claim CODE --server HOST:8883"}, {Key: "sensor", Subject: "udara", Detail: "NACK", Bad: true}},
	}
}

func TestPageTellsWhatToDoInBothLanguages(t *testing.T) {
	server := serve(t, example(time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)))
	for path, wants := range map[string][]string{
		"/":    {"belum terdaftar", "Sensor udara tidak memberi data", "35,5", "µg/m³", "2 menit yang lalu", "sensor tidak menjawab", "3374/balaikota", "menunggu nilai pertama", "pantau-gateway claim"},
		"/en/": {"not registered", "Sensor udara gives no data", "35.5", "2 minutes ago", "sensor does not answer"},
	} {
		code, body := get(t, server.URL+path)
		if code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, code, body)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", path, want)
			}
		}
		if strings.Contains(body, "<script") {
			t.Errorf("%s: what a driver says became markup", path)
		}
	}
}

// What devices, drivers, people and servers say is text, wherever it stands.
func TestNothingForeignIsMarkup(t *testing.T) {
	const evil = `"'><script>&x`
	now := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	text := telemetry.Reading{Quantity: evil, Value: telemetry.Value{Type: telemetry.Text, Text: evil}}
	sensor := Sensor{Name: evil, Part: evil, Bus: evil, Address: 1, Gap: telemetry.GapReason(evil), Error: evil, Values: []Value{
		{Quantity: telemetry.Quantity{Name: evil, Unit: telemetry.Unit(evil)}, Reading: text, At: now},
		{Quantity: telemetry.Quantity{Name: evil}, Gap: telemetry.GapReason(evil)},
	}}
	s := Snapshot{
		Now: now, Live: true, Simulated: true, Name: evil, Version: evil, Data: evil, Config: evil, Sensors: []Sensor{sensor}, Health: &sensor,
		Steps:  []Step{{Key: "sensor", Subject: evil, Detail: evil, Command: evil}},
		Uplink: Uplink{Server: evil, Error: evil, Since: now, Retry: now, LastAck: now, Certificate: now},
		Spool:  Spool{Records: 1, Unresolved: 1, Oldest: time.Hour, Dropped: 1, Error: evil},
	}
	server := serve(t, s)
	for _, path := range []string{"/", "/en/"} {
		_, body := get(t, server.URL+path)
		if n := strings.Count(body, "script&gt;&amp;x"); n < 25 {
			t.Errorf("%s: the text is there %d times only", path, n)
		}
		if strings.Contains(body, "<script") || strings.Contains(body, `"'`) || strings.Contains(body, "&x") {
			t.Errorf("%s: foreign text became markup:\n%s", path, body)
		}
		if strings.Count(body, "<") != strings.Count(body, ">") {
			t.Errorf("%s: tags do not close", path)
		}
	}
}

func TestHealthSaysWhatIsMissing(t *testing.T) {
	s := example(time.Now())
	code, body := get(t, serve(t, s).URL+"/healthz")
	var h Health
	if err := json.Unmarshal([]byte(body), &h); err != nil || code != http.StatusOK || h.Status != "degraded" || len(h.Problems) != 2 {
		t.Errorf("%d %s %v", code, body, err)
	}
	s.Steps = nil
	if code, body := get(t, serve(t, s).URL+"/healthz"); code != http.StatusOK || !strings.Contains(body, `"ok"`) {
		t.Errorf("%d %s", code, body)
	}
	s.Live = false
	if code, body := get(t, serve(t, s).URL+"/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "stuck") {
		t.Errorf("%d %s", code, body)
	}
}

func TestEveryStepSaysWhatToDo(t *testing.T) {
	for key, text := range words {
		if text.ID == "" || text.EN == "" {
			t.Errorf("%s lacks a language", key)
		}
		if strings.Count(text.ID, "%s") != strings.Count(text.EN, "%s") {
			t.Errorf("%s: the languages hold different figures", key)
		}
		if name, ok := strings.CutPrefix(key, "step."); ok {
			if _, ok := words["do."+name]; !ok {
				t.Errorf("%s: nothing to do", key)
			}
		}
	}
	if got := (Step{Key: "clock", Subject: "x"}).English(); got != "The time is not known" {
		t.Errorf("%q", got)
	}
	if say(page.Indonesian, "word.simulated") != "simulasi" {
		t.Error("page's catalogue is not used")
	}
}
