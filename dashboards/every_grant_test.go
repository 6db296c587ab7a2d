//go:build !race

package dashboards_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/page"
)

// Statement 18: every route, called as nobody and with every role, district and
// kind, in both languages.
func TestStatement18EveryRouteTimesEveryGrant(t *testing.T) {
	next := netip.MustParseAddr("10.0.0.1") // each call from its own address, so that none is throttled
	w := newWorld()
	w.filled, w.fill = "one station", func(d *publicationtest.Desk) { // so that there is a bulletin
		begin, lately, course := moment.AddDate(0, 0, -3), moment.Add(-30*time.Hour), publicationtest.Daily(34)
		d.History("SMG-01", begin, lately, []string{"pm2_5"}, course)
		for at := lately; at.Before(moment); at = at.Add(time.Hour) {
			d.History("SMG-01", at, at.Add(time.Hour), []string{"pm2_5"}, course)
			d.SetNow(at.Add(time.Hour))
		}
	}
	s := start(t, w, func(o *dashboards.Options) {
		o.ClientAddr = func(*http.Request) netip.Addr { next = next.Next(); return next }
	})
	s.person(t, "kepala", account.Admin) // so that nobody is the last
	stranger, somebody := s.visitor(t), s.signedInAs(t, "siapa")
	routes := dashboards.Routes()
	if len(routes) < 10 {
		t.Fatalf("only %d routes", len(routes))
	}
	refused := func(code int, to string) bool {
		_, path := page.Split(to)
		return code == http.StatusUnauthorized || code == http.StatusForbidden || strings.HasPrefix(path, "/masuk")
	}
	for _, grants := range personas() {
		if _, err := s.accounts.SetGrants(t.Context(), "siapa", grants); err != nil {
			t.Fatal(err)
		}
		if _, err := s.accounts.Get(t.Context(), "sasaran"); err != nil {
			s.person(t, "sasaran", account.Viewer) // an admin has removed it
		}
		for _, rt := range routes {
			if rt.Public || rt.Session {
				continue // below
			}
			filled := samples.Replace(rt.Path)
			if strings.Contains(filled, "{") {
				t.Errorf("%s: say in samples what fills %s", rt.Path, filled)
				continue
			}
			district, kind, err := rt.About(s.pages, httptest.NewRequest(rt.Method, filled+queries[rt.Path], nil))
			if err != nil {
				t.Errorf("%s %s: its scope: %v", rt.Method, filled, err)
				continue
			}
			for _, name := range placed {
				if strings.Contains(rt.Path, name) && district != here {
					t.Errorf("%s %s asks for the role in %q, though it names something in %s", rt.Method, rt.Path, district, here)
				}
			}
			want := covers(grants, rt.Least, district, kind)
			for _, lang := range page.Langs() {
				code, to := call(t, s, somebody, rt.Method, lang.Path(filled)+queries[rt.Path])
				if refused(code, to) == want || code >= 500 || want && rt.Method == "GET" && code >= 400 {
					t.Errorf("%s %s (%s in %q, kind %q) as %v: %d to %q, want it allowed: %v", rt.Method, lang.Path(filled), rt.Least, district, kind, grants, code, to, want)
				}
			}
		}
	}
	for _, rt := range routes {
		for _, lang := range page.Langs() {
			path := lang.Path(samples.Replace(rt.Path)) + queries[rt.Path]
			code, to := call(t, s, stranger, rt.Method, path)
			switch {
			case rt.Public || rt.Session:
				if code >= 500 || code == http.StatusUnauthorized || code == http.StatusForbidden {
					t.Errorf("%s %s as nobody: %d", rt.Method, path, code)
				}
			case rt.Background:
				if code != http.StatusUnauthorized {
					t.Errorf("%s %s as nobody: %d, want 401", rt.Method, path, code)
				}
			case code != http.StatusSeeOther || !strings.HasPrefix(to, lang.Path("/masuk")):
				t.Errorf("%s %s as nobody: %d to %q, want the sign-in page", rt.Method, path, code, to)
			}
		}
	}
	if code, to := call(t, s, somebody, "POST", "/keluar"); code != 303 || !strings.HasPrefix(to, "/masuk") {
		t.Errorf("signing out: %d to %q", code, to)
	}
	if code, _ := call(t, s, somebody, "GET", "/dinas/jaringan"); code != 303 {
		t.Errorf("still signed in: %d", code)
	}
}
