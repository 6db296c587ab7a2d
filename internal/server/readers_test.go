package server

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
)

// What programs read and people take away stands beside the pages, on the same
// port, and sets no cookie.
func TestTheReadInterfaceAndTheFilesAreServed(t *testing.T) {
	s, _ := begin(t, t.TempDir(), influxtest.Shared(t).URL, func(o *Options) {
		o.OpenData.Licence, o.OpenData.LicenceURL = "ODbL 1.0", "https://opendatacommons.org/licenses/odbl/1-0/"
	})
	if err := s.places.PutSite(t.Context(), places.Site{Code: "smg-1", Name: "Balai Kota", District: "3374", Public: true}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/api":                 {200, "ODbL 1.0"},
		"/en/api":              {200, "Programming interface"},
		"/api/v1/openapi.json": {200, "ODbL 1.0"},
		"/api/v1/sites":        {200, `"smg-1"`},
		"/api/v1/latest":       {200, `"data":[]`},
		"/api/v1/observations?site=smg-1&resolution=raw": {200, `"data":[]`},
		"/api/v1/nothing":               {404, `"status":404`},
		"/data/lisensi.txt":             {200, "ODbL 1.0"},
		"/data/kamus.csv":               {200, "site,text"},
		"/data/SHA256SUMS":              {200, ""},
		"/data/udara/2026-01-01.csv.gz": {404, ""},
		"/buletin/2026-01-01-0900.pdf":  {404, ""},
		"/data":                         {200, "/data/kamus.csv"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.pagesURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || resp.StatusCode != want.status || !strings.Contains(string(body), want.text) || len(resp.Cookies()) > 0 {
			t.Errorf("GET %s: %d, %v, %v:\n%.300s", path, resp.StatusCode, err, resp.Cookies(), body)
		}
	}
}
