package public_test

import (
	"context"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/api"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// interfaceOf is the real interface for programs over a world's book; it has no
// readings.
func interfaceOf(t testing.TB, w *world) *api.API {
	t.Helper()
	a, err := api.New(api.Options{Places: w.places, Book: w.Desk, Raw: noReadings{}, Latest: noReadings{}, ClientAddr: func(*http.Request) netip.Addr { return netip.Addr{} }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

type noReadings struct{}

func (noReadings) Readings(context.Context, telemetry.Node, telemetry.Kind, []string, time.Time, time.Time, func(string, time.Time, telemetry.Reading) bool) error {
	return nil
}

func (noReadings) Latest(telemetry.Node) []report.Taken { return nil }

func TestTheInterfaceForProgramsIsExplained(t *testing.T) {
	w := newWorld(t)
	_, id := w.get(t, "/api")
	has(t, "the page", id, "Antarmuka program", "/api/v1/observations", "Hasil ukur", `href="/api/v1/openapi.json"`, `href="/data"`, "wajib")
	_, en := w.get(t, "/en/api")
	has(t, "the English page", en, "Programming interface", "Observations", `href="/en/data"`, "required")
}
