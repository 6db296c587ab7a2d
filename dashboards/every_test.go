//go:build !race

package dashboards_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
)

// Statement 21: every form, whoever adds it, is refused if it comes from another
// site, and nothing is told of as done.
func TestStatement21EveryFormFromAnotherSiteIsRefused(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Admin)
	s.person(t, "sasaran", account.Viewer)
	before := len(s.told(t))
	for _, rt := range dashboards.Routes() {
		if rt.Method == "GET" {
			continue
		}
		for _, lang := range page.Langs() {
			path := lang.Path(samples.Replace(rt.Path))
			for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}} {
				r, _ := v.post(path, url.Values{"nama": {"sasaran"}}, header...)
				if r.StatusCode != http.StatusForbidden || len(r.Cookies()) > 0 {
					t.Errorf("POST %s with %v: %s", path, header, r.Status)
				}
			}
		}
	}
	if after := s.told(t); len(after) != before {
		t.Errorf("told of: %v", after[before:])
	}
}

// Statement 21: every page, whoever adds it, comes with the policy and holds
// nothing that the policy refuses; only what is the same for all may be kept.
func TestStatement21EveryPageIsHardened(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Admin)
	s.person(t, "sasaran", account.Viewer)
	inline := regexp.MustCompile(`(?i)<script>|\sstyle=|\son[a-z]+=|javascript:|<style`)
	for _, rt := range dashboards.Routes() {
		if rt.Method != "GET" || rt.Path == "/dinas/langsung" { // a stream without an end
			continue
		}
		for _, lang := range page.Langs() {
			path := lang.Path(samples.Replace(rt.Path)) + queries[rt.Path]
			r, body := v.get(path)
			csp := r.Header.Get("Content-Security-Policy")
			for _, need := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
				if !strings.Contains(csp, need) {
					t.Errorf("%s: the policy lacks %s", path, need)
				}
			}
			if strings.Contains(csp, "unsafe") {
				t.Errorf("%s: the policy is too wide: %s", path, csp)
			}
			if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") == "" {
				t.Errorf("%s: headers %v", path, r.Header)
			}
			if !rt.Public && !strings.Contains(strings.Join(r.Header.Values("Cache-Control"), ","), "no-store") {
				t.Errorf("%s may be stored: %v", path, r.Header.Values("Cache-Control"))
			}
			if m := inline.FindString(body); m != "" {
				t.Errorf("%s holds %q, which its own policy refuses", path, m)
			}
		}
	}
}

// Statement 26: an error shows an id, and neither stack nor path nor version.
func TestStatement26EveryErrorShowsAnID(t *testing.T) {
	w := airWorld()
	s := start(t, w, func(o *dashboards.Options) { o.Network = panicking{w} })
	v := s.signedIn(t, account.Admin)
	shown := 0
	for _, rt := range dashboards.Routes() {
		if rt.Method != "GET" || rt.Path == "/dinas/langsung" || rt.Session {
			continue
		}
		path := samples.Replace(rt.Path) + queries[rt.Path]
		r, body := v.get(path)
		if r.StatusCode < 500 {
			continue
		}
		shown++
		if !regexp.MustCompile(`<code>[0-9a-f]{8}</code>`).MatchString(body) {
			t.Errorf("%s: %s without an id", path, r.Status)
		}
		if m := regexp.MustCompile(`goroutine|\.go:|runtime\.|panic|a fault`).FindString(body); m != "" {
			t.Errorf("%s: the page holds %q", path, m)
		}
	}
	if shown < 3 {
		t.Errorf("only %d pages failed", shown)
	}
	if !strings.Contains(s.log.String(), "a fault") {
		t.Error("the log does not name the fault")
	}
}
