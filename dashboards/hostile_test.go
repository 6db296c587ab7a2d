//go:build !race

package dashboards_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
)

// What devices send is text, never markup.
func TestHostileTextsStayText(t *testing.T) {
	w := evilWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Operator)
	check := func(path, body string) {
		t.Helper()
		for _, found := range foreign(t, body) {
			t.Errorf("%s holds %s", path, found)
		}
	}
	for _, prefix := range []string{"", "/en"} {
		for _, path := range []string{"/dinas/jaringan", "/dinas/jaringan?cari=" + url.QueryEscape(hostile[1]), "/dinas/jaringan?keadaan=" + url.QueryEscape(hostile[1]), "/dinas/jaringan?hal=2"} {
			r, body := v.get(prefix + path)
			if r.StatusCode != 200 {
				t.Fatalf("%s: %s", path, r.Status)
			}
			check(path, body)
		}
		for _, g := range w.gateways[4:] {
			if g.Node.ID == ".." {
				continue // a browser would walk up
			}
			path := prefix + "/dinas/jaringan/" + url.PathEscape(g.Node.Group) + "/" + url.PathEscape(g.Node.ID)
			deret := dashboards.SeriesID{Node: g.Node, Device: g.Name, Quantity: g.Name + "2"}.String()
			r, body := v.get(path + "?" + url.Values{"deret": {deret}}.Encode())
			if r.StatusCode != 200 {
				t.Errorf("%s: %s", path, r.Status)
			}
			check(path, body)
			r, body = v.get(prefix + "/dinas/jaringan/deret?" + url.Values{"deret": {deret}}.Encode())
			var decoded map[string]any
			if r.Header.Get("Content-Type") != "application/json" || (r.StatusCode == 200 && json.Unmarshal([]byte(body), &decoded) != nil) {
				t.Errorf("points of %q: %s, %s", g.Name, r.Status, r.Header.Get("Content-Type"))
			}
			if err := misleading.FindString(body); err != "" {
				t.Errorf("the points of %q hold %q", g.Name, err)
			}
		}
	}
	for _, h := range hostile {
		r, body := s.visitor(t).get("/masuk?lanjut=" + url.QueryEscape(h) + "&pesan=" + url.QueryEscape(h))
		if r.StatusCode != 200 {
			t.Errorf("sign-in with %q: %s", h, r.Status)
		}
		check("/masuk", body)
		w := httptest.NewRecorder()
		s.pages.ServeHTTP(w, httptest.NewRequest("GET", "/"+url.PathEscape(h), nil))
		check("not found", w.Body.String())
	}
}
