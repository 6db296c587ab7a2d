package public_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

// world is a real book and a real store of places behind the pages.
type world struct {
	*publicationtest.Desk
	places *places.Store
	pages  *public.Public
	server *httptest.Server
	url    string
	log    *strings.Builder
}

// Sites of the world. Gudang is not public, Bak measures no air.
var (
	simpang = places.Site{Code: "smg-1", Name: "Simpang Lima", District: "3374", Lat: -6.990, Lon: 110.423, Class: places.Reference, Operator: "DLHK Jawa Tengah", Public: true}
	pedur   = places.Site{Code: "smg-2", Name: "Pedurungan", District: "3374", Lat: -7.01, Lon: 110.47, Class: places.SNI9178, Public: true,
		Certificate: places.Certificate{Number: "LS-178/2026", Issuer: "Laboratorium Uji", Collocated: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Expires: time.Date(2028, 3, 1, 0, 0, 0, 0, time.UTC)}}
	manahan = places.Site{Code: "slo-1", Name: "Manahan", District: "3372", Lat: -7.555, Lon: 110.807, Class: places.Reference, Public: true, Simulated: true}
	ungaran = places.Site{Code: "ung-1", Name: "Ungaran", District: "3322", Lat: -7.13, Lon: 110.40, Class: places.Indicative, Public: true}
	kudus   = places.Site{Code: "kds-1", Name: "Kudus Baru", District: "3319", Lat: -6.80, Lon: 110.84, Class: places.Reference, Public: true}
	gudang  = places.Site{Code: "gdg-1", Name: "Gudang Rahasia", District: "3374", Lat: -6.97, Lon: 110.41, Class: places.Reference}
	bak     = places.Site{Code: "bak-1", Name: "Bak Pasar Johar", District: "3374", Lat: -6.971, Lon: 110.425, Public: true}
)

var all = []places.Site{simpang, pedur, manahan, ungaran, kudus, gudang, bak}

func newWorld(t testing.TB, change ...func(*public.Options)) *world {
	t.Helper()
	return openWorld(t, publicationtest.Filled(t, "citizens", publicationtest.Noon, all, fill), all, change...)
}

// fill is nine days of all sites but one.
func fill(d *publicationtest.Desk) {
	hour := publicationtest.Noon.Truncate(time.Hour)
	seven := []string{"pm10", "pm2_5", "so2", "co", "o3", "no2", "hc"}
	missing := hour.Add(-30 * time.Hour)
	course := publicationtest.Daily(30)
	simpangs := func(q string, end time.Time) float64 {
		v := course(q, end)
		switch {
		case end.Equal(missing) || end.Equal(missing.Add(time.Hour)):
			return math.NaN()
		case q == "co":
			return v * 60
		}
		return v
	}
	feed := func(from, to time.Time) {
		two := []string{"pm2_5", "pm10"}
		d.History(simpang.Code, from, to, seven, simpangs)
		d.History(pedur.Code, later(from, hour.AddDate(0, 0, -3)), to, two, publicationtest.Daily(75))
		d.History(ungaran.Code, later(from, hour.AddDate(0, 0, -2)), to, two[:1], publicationtest.Daily(22))
		d.History(gudang.Code, later(from, hour.AddDate(0, 0, -2)), to, two[:1], publicationtest.Daily(400))
		d.History(bak.Code, later(from, hour.AddDate(0, 0, -2)), to, []string{"fill"}, func(string, time.Time) float64 { return 61 })
	}
	d.History(manahan.Code, hour.AddDate(0, 0, -3), hour.Add(-5*time.Hour), []string{"pm2_5"}, publicationtest.Daily(12))
	feed(hour.AddDate(0, 0, -9), hour)
	if err := d.SetAgency(context.Background(), figures.Agency{Name: "Dinas Lingkungan Hidup dan Kehutanan", Address: "Jl. Setiabudi, Semarang", Contact: "lapor@dlhk.example", Signer: "Dra. Sri Lestari", NIP: "197001011995032001", Title: "Kepala Dinas"}); err != nil {
		panic(err) // of a new bucket in a new folder
	}
	for range 3 { // half past three in the end: a bulletin is out
		feed(hour, hour.Add(time.Hour))
		hour = hour.Add(time.Hour)
		d.SetNow(hour.Add(30 * time.Minute))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// empty is a world whose sites measured nothing yet.
func empty(t testing.TB, sites []places.Site, change ...func(*public.Options)) *world {
	t.Helper()
	return openWorld(t, publicationtest.Open(t, sites...), sites, change...)
}

func openWorld(t testing.TB, d *publicationtest.Desk, sites []places.Site, change ...func(*public.Options)) *world {
	t.Helper()
	w := &world{Desk: d, log: &strings.Builder{}}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	j, err := journal.Open(context.Background(), journal.Options{Dir: filepath.Join(t.TempDir(), "places"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, j.Close)
	kv, err := j.KV(context.Background(), "places", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w.places, err = places.Open(context.Background(), places.Options{KV: kv, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	closing(t, w.places.Close)
	for _, s := range sites {
		if err := w.places.PutSite(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	w.server = httptest.NewUnstartedServer(nil)
	w.url = "http://" + w.server.Listener.Addr().String()
	o := public.Options{
		Places: w.places, Book: w.Book, Changed: func() uint64 { return w.Changed() + w.places.Revision() },
		BaseURL: w.url, Settle: -1, Reference: interfaceOf(t, w).Explain, Now: w.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, c := range change {
		c(&o)
	}
	if w.pages, err = public.New(o); err != nil {
		t.Fatal(err)
	}
	w.server.Config.Handler = w.pages
	w.server.Start()
	t.Cleanup(w.server.Close)
	return w
}

func closing(t testing.TB, do func(context.Context) error) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Error(err)
		}
	})
}

// get asks for an address without following redirects.
func (w *world) get(t testing.TB, path string, head ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return a, string(body)
}

// has fails the test for each part that a page lacks.
func has(t *testing.T, name, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("%s lacks %q", name, part)
		}
	}
}

// broken is a book whose list of corrections cannot be read.
type broken struct{ public.Book }

func (broken) Corrections(context.Context, time.Time, time.Time) ([]figures.Figure, error) {
	return nil, errors.New("the disk is on fire")
}
