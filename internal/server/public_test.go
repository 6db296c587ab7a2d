package server

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
)

// The citizens' and the staff's pages stand beside each other at one address, and
// a site shows as soon as it is made public.
func TestBothTreesOfPages(t *testing.T) {
	s, _ := begin(t, filepath.Join(t.TempDir(), "data"), influxtest.Shared(t).URL)
	get := func(path string) (*http.Response, string) {
		t.Helper()
		r, err := http.Get("http://" + s.http.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return r, string(body)
	}
	for path, want := range map[string]string{
		"/": "Belum ada stasiun yang dibuka untuk umum", "/en/": "No station is open to the public yet", "/metode": "Permen LHK P.14", "/masuk": `id="sandi"`, "/en/masuk": "Password",
	} {
		r, body := get(path)
		if r.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %s without %q", path, r.Status, want)
		}
		if citizens := !strings.Contains(path, "masuk"); citizens && (len(r.Cookies()) > 0 || !strings.Contains(r.Header.Get("Content-Security-Policy"), "style-src 'sha256-")) {
			t.Errorf("%s: cookies %v, policy %s", path, r.Cookies(), r.Header.Get("Content-Security-Policy"))
		}
	}
	if r, body := get("/dinas/jaringan"); !strings.HasSuffix(r.Request.URL.Path, "/masuk") || !strings.Contains(body, `id="sandi"`) {
		t.Errorf("a staff page without signing in leads to %s", r.Request.URL)
	}
	site := places.Site{Code: "smg-9", Name: "Tugu Muda", District: "3374", Class: places.Reference}
	if err := s.places.PutSite(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	if r, _ := get("/stasiun/smg-9"); r.StatusCode != http.StatusNotFound {
		t.Errorf("a site that is not public: %s", r.Status)
	}
	site.Public = true
	if err := s.places.PutSite(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	for { // at most Options.Settle later
		r, body := get("/stasiun/smg-9")
		if r.StatusCode == http.StatusOK {
			if !strings.Contains(body, "Belum ada data") || !strings.HasSuffix(r.Request.URL.Path, "/stasiun/smg-9-tugu-muda") {
				t.Errorf("at %s: %s", r.Request.URL, body)
			}
			return
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}
