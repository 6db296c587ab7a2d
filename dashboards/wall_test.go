package dashboards_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards/account"
)

var wallAddress = regexp.MustCompile(`<code class="address">([^<]+)</code>`)

// hang makes a link for a wall screen and returns its path.
func hang(t *testing.T, s *site, v *visitor, view, lang, days string) string {
	t.Helper()
	r, body := v.post("/dinas/atur/layar", url.Values{"tempat": {"Lobi <b>"}, "tampilan": {view}, "bahasa": {lang}, "hari": {days}})
	m := wallAddress.FindStringSubmatch(body)
	if r.StatusCode != 200 || m == nil || !strings.HasPrefix(m[1], s.URL+"/layar/") {
		t.Fatalf("%s: %s", r.Status, body)
	}
	return strings.TrimPrefix(m[1], s.URL)
}

func TestAWallScreenSeesAndDoesNothing(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Admin)
	path := hang(t, s, v, "network", "id", "7")
	stranger := s.visitor(t)
	r, body := stranger.get(path)
	if r.StatusCode != 200 || len(r.Cookies()) > 0 || r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("%s, %v", r.Status, r.Header)
	}
	has(t, "the screen", body, "Balai Kota Semarang", "62,4", "PM2,5 di atas 55", "Layar dinding, dibaca 23 November 2026 pukul 14.05 WIB: Lobi &lt;b&gt;", `data-wall="60"`,
		`<noscript><meta http-equiv="refresh" content="60"></noscript>`, `<svg class="chart-plot"`, "viewBox=")
	if m := regexp.MustCompile(`<a |<form|<button|<input|<select|pantau-live|pantau-chart|hx-|data-stream|/keluar|hreflang|tangani"`).FindString(body); m != "" {
		t.Errorf("the screen holds %q", m)
	}
	for _, found := range foreign(t, body) {
		t.Errorf("the screen holds %s", found)
	}
	if r, _ := stranger.get("/dinas/jaringan"); r.StatusCode != 303 {
		t.Errorf("a staff page after that: %s", r.Status)
	}
	if r, body := stranger.get(hang(t, s, v, "network", "en", "30")); r.StatusCode != 200 || !strings.Contains(body, "PM2.5 above 55") || !strings.Contains(body, `<html lang="en">`) {
		t.Errorf("the English screen: %s", r.Status)
	}
	_, body = stranger.get(hang(t, s, v, "province", "id", "30"))
	has(t, "the province's screen", body, "Urutan", "<svg")
	if m := regexp.MustCompile(`<a |<form|<button|<input|<select|<pantau-|hx-`).FindString(body); m != "" {
		t.Errorf("the province's screen holds %q", m)
	}
	// The store and the log know no token.
	token := strings.TrimPrefix(path, "/layar/")
	all, err := w.people.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for k, value := range all {
		if strings.Contains(k+string(value), token) {
			t.Errorf("%s holds the token", k)
		}
	}
	w.change(func() { w.broken = fmt.Errorf("a fault") })
	stranger.get(path)
	w.change(func() { w.broken = nil })
	if strings.Contains(s.log.String(), token) || strings.Contains(strings.Join(s.told(t), "\n"), token) {
		t.Error("a log holds the token")
	}
	// Wrong, expired, revoked.
	for _, bad := range []string{"/layar/x", path[:len(path)-1], path + "x"} {
		if r, body := stranger.get(bad); r.StatusCode != 404 || !strings.Contains(body, "Tautan layar ini tidak berlaku") {
			t.Errorf("%s: %s", bad, r.Status)
		}
	}
	_, list := v.get("/dinas/atur/layar")
	if strings.Contains(list, token) || !strings.Contains(list, "Lobi &lt;b&gt;") {
		t.Error("the list shows the token, or not the screen")
	}
	for _, m := range regexp.MustCompile(`action="(/dinas/atur/layar/[^"]+/cabut)"`).FindAllStringSubmatch(list, -1) {
		if r, _ := v.post(m[1], url.Values{}); r.StatusCode != 303 {
			t.Errorf("revoking: %s", r.Status)
		}
		if r, _ := v.post(m[1], url.Values{}); r.StatusCode != 404 {
			t.Errorf("revoking again: %s", r.Status)
		}
	}
	if r, _ := stranger.get(path); r.StatusCode != 404 {
		t.Errorf("after it was revoked: %s", r.Status)
	}
	has(t, "the audit log", strings.Join(s.told(t), "\n"), "admin wall.add", "admin wall.revoke")
	for what, form := range map[string]url.Values{
		"Tulis di mana": {"tampilan": {"network"}, "bahasa": {"id"}, "hari": {"7"}}, "tidak dikenal": {"tempat": {"x"}, "tampilan": {"secret"}, "bahasa": {"id"}, "hari": {"7"}},
		"atau lamanya": {"tempat": {"x"}, "tampilan": {"network"}, "bahasa": {"id"}, "hari": {"9999"}},
	} {
		if r, body := v.post("/dinas/atur/layar", form); r.StatusCode != 422 || !strings.Contains(body, what) {
			t.Errorf("%v: %s", form, r.Status)
		}
	}
}
