package places_test

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// now is the tests' time.
var now = time.Date(2026, 11, 20, 3, 30, 0, 0, time.UTC)

func day(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }

// world is a store over a real journal's bucket, beside a real registry.
type world struct {
	*places.Store
	t        *testing.T
	kv       *journal.KV
	registry *registry.Registry
	told     chan places.Span
}

func newWorld(t *testing.T) *world {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, told: make(chan places.Span, 1000)}
	w.cleanup(j.Close)
	registryKV, err := j.KV(t.Context(), "registry", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w.kv, err = j.KV(t.Context(), "places", journal.KVOptions{}); err != nil {
		t.Fatal(err)
	}
	w.registry, err = registry.Open(t.Context(), registry.Options{KV: registryKV, Sites: sites{w}, Logger: quiet, Named: func(n telemetry.Node, before, now string) {
		w.Named(n, before, now)
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.cleanup(w.registry.Close)
	w.Store = w.open(places.Options{KV: w.kv, Changed: func(site string, from, to time.Time) {
		w.told <- places.Span{Site: site, From: from, To: to}
	}})
	return w
}

// sites gives the registry the world's newest store.
type sites struct{ w *world }

func (s sites) Site(code string) (places.Site, bool) { return s.w.Site(code) }
func (s sites) NeedSite(ctx context.Context, code, district string, simulated bool) error {
	return s.w.NeedSite(ctx, code, district, simulated)
}

func (w *world) cleanup(closing func(context.Context) error) {
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := closing(ctx); err != nil {
			w.t.Error(err)
		}
	})
}

// open opens one more store.
func (w *world) open(o places.Options) *places.Store {
	w.t.Helper()
	o.Registry, o.Logger, o.Now = w.registry, quiet, func() time.Time { return now }
	s, err := places.Open(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cleanup(s.Close)
	return s
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// gateway registers a node, at a site if one is named.
func (w *world) gateway(n telemetry.Node, site string) {
	w.t.Helper()
	_, _, err := w.registry.NewClaim(w.t.Context(), registry.Gateway{Node: n, District: "3374", Site: site})
	w.must(err)
	if site != "" { // the registry may tell it from its own goroutine
		w.told <- <-w.told
	}
}

// tellings returns what was told since the last call, by site.
func (w *world) tellings() []places.Span {
	var told []places.Span
	for len(w.told) > 0 {
		told = append(told, <-w.told)
	}
	slices.SortStableFunc(told, func(a, b places.Span) int {
		return strings.Compare(a.Site, b.Site)
	})
	return told
}

// siteAt is where a reading belongs; "" = nowhere.
func siteAt(s *places.Store, n telemetry.Node, device string, t time.Time) string {
	d, ok := s.At(n, device, t)
	if !ok {
		return ""
	}
	return d.Site
}
