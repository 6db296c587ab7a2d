package dashboards_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// call makes a request and returns status and address to go to; it does not wait
// for the end of a live update.
func call(t *testing.T, s *site, v *visitor, method, path string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if method == "POST" {
		r.Header.Set("Origin", s.URL)
	}
	answer, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode, answer.Header.Get("Location")
}

func TestUnknownAddressesAndMethodsAreRefused(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Admin)
	for _, c := range [][2]string{{"GET", "/dinas/rahasia"}, {"DELETE", "/dinas/jaringan"}, {"GET", "/keluar"}, {"GET", "/dinas/peringatan/x/tangani"}, {"PUT", "/masuk"}, {"GET", "/en/aset/x"}} {
		if r, body := v.do(c[0], c[1], nil, "Origin", s.URL); r.StatusCode != 404 || !strings.Contains(body, "<h1>") {
			t.Errorf("%s %s: %s", c[0], c[1], r.Status)
		}
	}
}

// Statement 21: every write comes from our own pages.
func TestWritesFromOtherSitesAreRefused(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Operator)
	act := "/dinas/peringatan/" + url.PathEscape("fill/3374/pasar/bak-1") + "/tangani"
	for _, header := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
		{"Origin", strings.Replace(s.URL, "127.0.0.1", "localhost", 1)},
	} {
		for _, path := range []string{act, "/masuk", "/keluar", "/sandi"} {
			r, body := v.post(path, url.Values{"nama": {"operator"}, "sandi": {goodPassword}}, header...)
			if r.StatusCode != 403 || len(r.Cookies()) > 0 || !strings.Contains(body, "situs lain") {
				t.Errorf("POST %s with %v: %s", path, header, r.Status)
			}
		}
	}
	if !w.alerts[2].AckAt.IsZero() {
		t.Error("a foreign form acknowledged an alert")
	}
	if r, _ := v.get("/dinas/jaringan", "Sec-Fetch-Site", "cross-site"); r.StatusCode != 200 {
		t.Errorf("a link from another site: %s", r.Status)
	}
	if r, _ := v.post(act, url.Values{}); r.StatusCode != 303 {
		t.Errorf("our own form: %s", r.Status)
	}
}

func TestEveryAnswerIsHardened(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	for _, path := range []string{"/masuk", "/dinas/jaringan", "/dinas/jaringan/3374/balaikota", "/dinas/jaringan/deret?deret=3374/balaikota/sps30/pm2_5", "/nowhere", "/sandi"} {
		r, body := v.get(path)
		h := r.Header
		csp := h.Get("Content-Security-Policy")
		for _, need := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(csp, need) {
				t.Errorf("%s: the policy lacks %s", path, need)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") || strings.Contains(csp, "*") {
			t.Errorf("%s: the policy is too wide: %s", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
		if !strings.Contains(strings.Join(h.Values("Cache-Control"), ","), "no-store") {
			t.Errorf("%s may be stored: %v", path, h.Values("Cache-Control"))
		}
		if m := regexp.MustCompile(`(?i)<script>|\sstyle=|\son[a-z]+=|javascript:|<style`).FindString(body); m != "" {
			t.Errorf("%s holds %q, which its own policy refuses", path, m)
		}
	}
}

// Statement 20.
func TestTheSessionCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := start(t, newWorld(), func(o *dashboards.Options) { o.HTTPS = secure })
		s.person(t, "sari", account.Viewer)
		v := s.visitor(t)
		r, _ := v.post("/masuk", url.Values{"nama": {"sari"}, "sandi": {goodPassword}})
		if len(r.Cookies()) != 1 {
			t.Fatalf("cookies %v", r.Cookies())
		}
		c := r.Cookies()[0]
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != secure || len(c.Value) < 40 {
			t.Errorf("secure %v: %s", secure, c.Raw)
		}
	}
}

func TestAFailedSignInLeavesNoSession(t *testing.T) {
	s := start(t, newWorld())
	s.person(t, "sari", account.Viewer)
	v := s.visitor(t)
	r, body := v.post("/masuk", url.Values{"nama": {"sari"}, "sandi": {"salah sekali"}, "lanjut": {"/dinas/jaringan?cari=x"}})
	if r.StatusCode != 422 || len(r.Cookies()) > 0 {
		t.Errorf("%s, cookies %v", r.Status, r.Cookies())
	}
	has(t, "the page", body, "Nama akun atau kata sandi salah.", `value="sari"`, `aria-invalid="true"`, `name="lanjut" value="/dinas/jaringan?cari=x"`)
	if strings.Contains(body, "salah sekali") {
		t.Error("the password comes back in the page")
	}
	// Somebody types the password where the name belongs: it is kept nowhere.
	s.visitor(t).post("/masuk", url.Values{"nama": {"kuda lumping"}, "sandi": {""}})
	told := strings.Join(s.told(t), "\n")
	if has(t, "the audit log", told, "signin.refused sari"); strings.Contains(told+s.log.String(), "kuda lumping") {
		t.Errorf("a log holds what stood in the name's field:\n%s", told)
	}
	other, otherBody := v.post("/masuk", url.Values{"nama": {"nobody"}, "sandi": {"salah sekali"}, "lanjut": {"/dinas/jaringan?cari=x"}})
	if other.StatusCode != r.StatusCode || strings.ReplaceAll(otherBody, "nobody", "sari") != body {
		t.Error("an account that does not exist looks different")
	}
}

// Statement 14 for pages: five wrong sign-ins a minute, then a pause.
func TestSignInsAreThrottledPerAddress(t *testing.T) {
	w := newWorld()
	from := netip.MustParseAddr("192.0.2.1")
	s := start(t, w, func(o *dashboards.Options) { o.ClientAddr = func(*http.Request) netip.Addr { return from } })
	s.person(t, "sari", account.Viewer)
	v := s.visitor(t)
	wrong := url.Values{"nama": {"sari"}, "sandi": {"salah"}}
	for range 5 {
		if r, _ := v.post("/masuk", wrong); r.StatusCode != 422 {
			t.Fatal(r.Status)
		}
	}
	right := url.Values{"nama": {"sari"}, "sandi": {goodPassword}}
	r, body := v.post("/masuk", right)
	if r.StatusCode != 429 || r.Header.Get("Retry-After") == "" || !strings.Contains(body, "Terlalu banyak percobaan") {
		t.Errorf("the sixth try: %s", r.Status)
	}
	if !strings.Contains(s.log.String(), "sign-in throttled") {
		t.Error("the log does not say so")
	}
	from = netip.MustParseAddr("192.0.2.2")
	if r, _ := s.visitor(t).post("/masuk", right); r.StatusCode != 303 {
		t.Errorf("another address: %s", r.Status)
	}
	from = netip.MustParseAddr("192.0.2.1")
	w.change(func() { w.now = w.now.Add(61 * time.Second) })
	if r, _ := v.post("/masuk", right); r.StatusCode != 303 {
		t.Errorf("after the pause: %s", r.Status)
	}
}

// Statement 19.
func TestTheFirstPasswordMustBeChanged(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	first, err := s.accounts.Bootstrap(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	v := s.visitor(t)
	if _, body := v.get("/masuk"); !strings.Contains(body, "Akun pertama bernama admin") {
		t.Error("the sign-in page does not tell a newcomer where the first password is")
	}
	r, _ := v.post("/en/masuk", url.Values{"nama": {"admin"}, "sandi": {first}, "lanjut": {"/en/dinas/jaringan"}})
	if to := r.Header.Get("Location"); to != "/en/sandi" {
		t.Fatalf("the first sign-in leads to %q", to)
	}
	for _, path := range []string{"/dinas/jaringan", "/dinas", "/dinas/jaringan/3374/balaikota"} {
		if r, _ := v.get(path); r.StatusCode != 303 || r.Header.Get("Location") != "/sandi" {
			t.Errorf("%s before the change: %s to %s", path, r.Status, r.Header.Get("Location"))
		}
	}
	if r, _ := v.get("/dinas/langsung?t=id.ringkas"); r.StatusCode != 403 {
		t.Errorf("live updates before the change: %s", r.Status)
	}
	if r, _ := v.post("/dinas/peringatan/x/tangani", url.Values{}); r.Header.Get("Location") != "/sandi" {
		t.Errorf("acting before the change: %s", r.Status)
	}
	for old, c := range map[string][3]string{
		"wrong": {goodPassword, goodPassword, "kata sandi sekarang salah"}, first: {"pendek", "pendek", "terlalu pendek"},
	} {
		r, body := v.post("/sandi", url.Values{"lama": {old}, "baru": {c[0]}, "ulang": {c[1]}})
		if r.StatusCode != 422 || !strings.Contains(strings.ToLower(body), c[2]) {
			t.Errorf("%q: %s, want %q", c[0], r.Status, c[2])
		}
	}
	if r, body := v.post("/sandi", url.Values{"lama": {first}, "baru": {goodPassword}, "ulang": {"lain sama sekali"}}); r.StatusCode != 422 || !strings.Contains(body, "tidak sama") {
		t.Errorf("two different new passwords: %s", r.Status)
	}
	other := s.visitor(t) // somebody else holds a session of the one-time password
	other.post("/masuk", url.Values{"nama": {"admin"}, "sandi": {first}})
	r, _ = v.post("/sandi", url.Values{"lama": {first}, "baru": {goodPassword}, "ulang": {goodPassword}})
	if r.StatusCode != 303 || r.Header.Get("Location") != "/dinas" {
		t.Fatalf("changing it: %s to %s", r.Status, r.Header.Get("Location"))
	}
	if r, _ := v.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("after the change: %s", r.Status)
	}
	if r, _ := other.get("/dinas/jaringan"); r.StatusCode != 303 || !strings.HasPrefix(r.Header.Get("Location"), "/masuk") {
		t.Errorf("the other session after the change: %s", r.Status)
	}
	if _, body := s.visitor(t).get("/masuk"); strings.Contains(body, "Akun pertama") {
		t.Error("the sign-in page still talks of the first password")
	}
}

// hostile are names and texts that try to be more than text.
var hostile = []string{
	`<x-evil>`, `"><x-evil onmouseover=alert(1)>`, `'-alert(1)-'`, `</title><x-evil>`, `</script><x-evil>`, `<!--<x-evil>`, `{{.}}`, `javascript:alert(1)`,
	"=HYPERLINK(\"http://evil.example\")", "\u202Egnp.exe", "a\u2066b\u2069", "\u200b\ufeff", "' OR 1=1; DROP SERIES", "&lt;x-evil&gt;", "%3Cx-evil%3E", strings.Repeat("W", 128), "..", "日本語 عربى", "x' onerror='1",
	"data: {\"html\":\"<x-evil>\"}", "\\u003cx-evil\\u003e", "hx-get=/keluar", "`${alert(1)}`",
}

// evilWorld is a world whose every text comes from an attacker.
func evilWorld() *world {
	w := newWorld()
	for i, h := range hostile {
		n := telemetry.Node{Group: "3374", ID: fmt.Sprintf("evil-%d", i)}
		if telemetry.CheckID(h) == nil {
			n.ID = h
		}
		w.gateways = append(w.gateways, dashboards.Gateway{Node: n, Name: h, District: h, Site: h, State: dashboards.State(h), Heard: moment, Version: h, Clock: telemetry.TimeNTP})
		w.values[n] = []dashboards.Value{
			{Device: h, Quantity: h, Kind: telemetry.Kind(h), Unit: telemetry.Unit(h), Value: telemetry.Value{Text: h, Type: telemetry.Text}, Time: moment},
			{Device: h, Quantity: h + "2", Kind: telemetry.KindOther, Unit: telemetry.Unit(h), Value: telemetry.Num(1), Time: moment},
			{Device: h, Quantity: "pm2_5", Kind: telemetry.KindAir, Unit: telemetry.Unit(h), Time: moment, Gap: telemetry.GapReason(h)},
		}
		w.alerts = append(w.alerts, dashboards.Alert{ID: h, Rule: h, Severity: dashboards.Severity(h), Condition: dashboards.CondOther, Node: n, Device: h, Quantity: h, Since: moment, AckBy: h, AckNote: h, AckAt: moment},
			dashboards.Alert{ID: h + "2", Rule: h, Severity: dashboards.Critical, Condition: dashboards.CondAbove, Node: n, Device: h, Quantity: h + "2", Unit: telemetry.Unit(h), Since: moment})
		series := day()
		series.Unit = telemetry.Unit(h)
		series.Points[100].Gap = telemetry.GapReason(h)
		w.series[dashboards.SeriesID{Node: n, Device: h, Quantity: h + "2"}.String()] = series
	}
	return w
}

// misleading are marks that hide text or turn its direction.
var misleading = regexp.MustCompile(`[\x{202A}-\x{202E}\x{2066}-\x{2069}\x{200B}\x{FEFF}\x00-\x08]`)

// foreign walks through a page as a browser does and returns what only an
// attacker could have brought.
func foreign(t *testing.T, body string) []string {
	t.Helper()
	var out []string
	d := xml.NewDecoder(strings.NewReader(body))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			return append(out, "the page does not parse: "+err.Error())
		}
		switch e := token.(type) {
		case xml.StartElement:
			if e.Name.Local == "x-evil" {
				out = append(out, "an element <x-evil>")
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "hx-get" && !strings.HasPrefix(a.Value, "/") {
					out = append(out, "an attribute "+a.Name.Local)
				}
				if strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Value)), "javascript:") && a.Name.Local != "value" {
					out = append(out, "an address "+a.Value)
				}
			}
		case xml.CharData:
			if m := misleading.FindString(string(e)); m != "" {
				out = append(out, fmt.Sprintf("text with %q: %s", m, e))
			}
		case xml.Comment:
			out = append(out, "a comment: "+string(e))
		}
	}
}

func TestABigFormIsRefused(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Operator)
	if r, _ := v.post("/dinas/peringatan/x/tangani", url.Values{"catatan": {strings.Repeat("x", 1<<20)}}); r.StatusCode != 400 {
		t.Errorf("a form of 1 MiB: %s", r.Status)
	}
	if r, _ := v.post("/dinas/peringatan/x/tangani", url.Values{"catatan": {strings.Repeat("x", 2000)}}); r.StatusCode != 400 {
		t.Errorf("a note of 2000 bytes: %s", r.Status)
	}
}
