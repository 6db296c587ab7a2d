package dashboards_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/provider"
)

// groups is a real provider's storage that tells of its users' groups.
type groups struct {
	*storage.Storage
	of map[string][]string // by subject
}

func (g *groups) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, tokenID, subject, origin string) error {
	if err := g.Storage.SetUserinfoFromToken(ctx, info, tokenID, subject, origin); err != nil {
		return err
	}
	info.AppendClaims("dinas", map[string]any{"peran": g.of[subject]})
	return nil
}

// sso is an identity provider, zitadel's, that runs for a test.
type sso struct {
	*httptest.Server
	groups *groups
	down   atomic.Bool
}

// withProvider is a site at which people may sign in by a provider.
func withProvider(t *testing.T, secret string) (*site, *sso) {
	t.Helper()
	idp := &sso{}
	var handler http.Handler
	idp.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if idp.down.Load() {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(idp.Close)
	issuer := strings.Replace(idp.URL, "127.0.0.1", "localhost", 1)
	// The pages' address is known only once they listen, and the provider wants it.
	front := httptest.NewUnstartedServer(nil)
	base := "http://" + front.Listener.Addr().String()
	p := provider.New(provider.Options{
		Name: "SSO Pemprov", Issuer: issuer, ClientID: "pantau", ClientSecret: secret, Redirect: base + dashboards.SSOReturn, SignedOut: base + "/masuk",
		Claim: "dinas.peran", Rules: []provider.Rule{
			{Value: "pantau-udara", Grant: account.Grant{Role: account.Validator, District: "3374", Kind: "air"}},
			{Value: "pantau-lihat", Grant: account.Viewer.Everywhere()},
		},
	})
	s := start(t, newWorld(), func(o *dashboards.Options) { o.SSO = p })
	front.Config.Handler = s.pages
	front.Start()
	t.Cleanup(front.Close)
	s.URL = front.URL
	users := storage.NewUserStore(issuer)
	idp.groups = &groups{storage.NewStorageWithClients(users, map[string]*storage.Client{"pantau": storage.WebClient("pantau", "rahasia-klien", base+dashboards.SSOReturn)}), map[string][]string{
		"id1": {"lain", "pantau-udara"},
	}}
	handler = exampleop.SetupServer(issuer, idp.groups, nil, false, op.WithAllowInsecure())
	return s, idp
}

// throughProvider walks a browser from our link over the provider's pages, where
// it signs in, to the address that the provider sends it back to.
func throughProvider(t *testing.T, v *visitor, link, name, password string) (back string) {
	t.Helper()
	follow := func(r *http.Response, err error) (string, string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		to, err := r.Location()
		if err != nil {
			return "", string(body)
		}
		return to.String(), string(body)
	}
	to, body := follow(v.client.Get(v.s.URL + link))
	last := to
	for !strings.HasPrefix(to, v.s.URL+dashboards.SSOReturn) {
		if to == "" {
			form := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(body)
			if form == nil {
				t.Fatalf("the provider shows no form:\n%s", body)
			}
			at := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(body)
			u, err := url.Parse(last)
			if err == nil {
				u, err = u.Parse(at[1])
			}
			if err != nil {
				t.Fatal(err)
			}
			to, body = follow(v.client.PostForm(u.String(), url.Values{"id": {form[1]}, "username": {name}, "password": {password}}))
			if to == "" {
				t.Fatalf("the provider refused: %s", body)
			}
			continue
		}
		last = to
		to, body = follow(v.client.Get(to))
	}
	return strings.TrimPrefix(to, v.s.URL)
}

const ssoUser, ssoPassword = "test-user@localhost", "verysecure"

func TestSigningInAtAnIdentityProvider(t *testing.T) {
	s, idp := withProvider(t, "rahasia-klien")
	v := s.visitor(t)
	_, body := v.get("/en/masuk?lanjut=/en/dinas/jaringan?cari=x")
	has(t, "the sign-in page", body, "Sign in with SSO Pemprov", `href="/en/masuk/sso?lanjut=%2Fen%2Fdinas%2Fjaringan%3Fcari%3Dx"`)
	r, _ := v.get("/en/masuk/sso")
	to, err := r.Location()
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if q.Get("code_challenge_method") != "S256" || len(q.Get("state")) < 40 || len(q.Get("nonce")) < 40 || q.Get("response_type") != "code" {
		t.Errorf("the request is %v", q)
	}
	if c := r.Cookies()[0]; !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 {
		t.Errorf("cookie %s", c.Raw)
	}
	back := throughProvider(t, v, "/en/masuk/sso?lanjut=/en/dinas/jaringan?cari=x", ssoUser, ssoPassword)
	r, body = v.get(back)
	if r.StatusCode != 303 || r.Header.Get("Location") != "/en/dinas/jaringan?cari=x" {
		t.Fatalf("%s to %s: %s", r.Status, r.Header.Get("Location"), body)
	}
	if r, _ := v.get("/dinas/jaringan"); r.StatusCode != 200 {
		t.Errorf("signed in: %s", r.Status)
	}
	u, err := s.accounts.Get(t.Context(), ssoUser)
	if err != nil || u.Local() || !u.May(account.Validator, "3374", "air") || u.May(account.Viewer, "3374", "waste") {
		t.Errorf("%+v, %v", u, err)
	}
	// It leads to no other site.
	lured := s.visitor(t)
	if r, _ := lured.get(throughProvider(t, lured, "/masuk/sso?lanjut=//evil.example/", ssoUser, ssoPassword)); r.Header.Get("Location") != "/dinas" {
		t.Errorf("lanjut=//evil.example/ leads to %s", r.Header.Get("Location"))
	}
	// The answer is good once, and in its own browser only.
	if r, body := v.get(back); r.StatusCode != 400 || !strings.Contains(body, "bukan untuk peramban ini") {
		t.Errorf("the answer for the second time: %s", r.Status)
	}
	other := s.visitor(t)
	stolen := throughProvider(t, s.visitor(t), "/masuk/sso", ssoUser, ssoPassword)
	other.get("/masuk/sso")
	if r, _ := other.get(stolen); r.StatusCode != 400 || strings.Contains(strings.Join(r.Header.Values("Set-Cookie"), " "), "pantau=") {
		t.Errorf("somebody else's answer: %s", r.Status)
	}
	// Pages of an account without a password here.
	if _, body := v.get("/sandi"); !strings.Contains(body, "kata sandinya diatur di sana") || strings.Contains(body, `name="lama"`) {
		t.Error("the account's page asks for a password")
	}
	// Roles follow the provider at the next sign-in.
	idp.groups.of["id1"] = []string{"pantau-lihat"}
	again := s.visitor(t)
	again.get(throughProvider(t, again, "/masuk/sso", ssoUser, ssoPassword))
	if u, _ := s.accounts.Get(t.Context(), ssoUser); u.May(account.Validator, account.Somewhere, account.SomeKind) || !u.May(account.Viewer, "", "") {
		t.Errorf("after the provider changed the roles: %+v", u)
	}
	idp.groups.of["id1"] = nil
	third := s.visitor(t)
	r, body = third.get(throughProvider(t, third, "/en/masuk/sso", ssoUser, ssoPassword))
	if r.StatusCode != 403 || !strings.Contains(body, "gives you no role in Pantau") {
		t.Errorf("without a role: %s", r.Status)
	}
	if r, _ := again.get("/dinas/jaringan"); r.StatusCode != 403 {
		t.Errorf("a session that runs, after the provider took the roles: %s", r.Status)
	}
	// Signing out here leads to signing out there.
	r, _ = again.post("/keluar", url.Values{})
	_, body = again.get(r.Header.Get("Location"))
	has(t, "the page after signing out", body, "Keluar juga dari SSO Pemprov", "post_logout_redirect_uri=", "client_id=pantau")
	if r, _ := again.get("/dinas/jaringan"); r.StatusCode != 303 {
		t.Errorf("after signing out: %s", r.Status)
	}
	got := strings.Join(s.told(t), "\n")
	has(t, "the audit log", got, ssoUser+" signin.ok", "signin.refused "+ssoUser, ssoUser+" signout")
}

func TestTheProvidersRefusalsAreToldInWords(t *testing.T) {
	s, idp := withProvider(t, "rahasia-klien")
	v := s.visitor(t)
	begin := func() string { // state of a fresh try
		t.Helper()
		r, _ := v.get("/masuk/sso")
		to, err := r.Location()
		if err != nil {
			t.Fatal(err)
		}
		return to.Query().Get("state")
	}
	for what, c := range map[string]struct {
		answer url.Values
		status int
		text   string
	}{
		"cancelled":  {url.Values{"state": {begin()}, "error": {"access_denied"}, "error_description": {"<x-evil>"}}, 403, "tidak mengizinkan Anda masuk"},
		"no answer":  {url.Values{}, 400, "bukan untuk peramban ini"},
		"wrong code": {url.Values{"state": {""}, "code": {"made-up"}}, 403, "tidak mengizinkan Anda masuk"},
	} {
		if c.answer.Has("code") || c.answer.Has("error") {
			c.answer.Set("state", begin())
		}
		r, body := v.get(dashboards.SSOReturn + "?" + c.answer.Encode())
		if r.StatusCode != c.status || !strings.Contains(body, c.text) || strings.Contains(body, "x-evil") {
			t.Errorf("%s: %s, want %d with %q", what, r.Status, c.status, c.text)
		}
	}
	// An account of this server has the name already.
	s.person(t, ssoUser, account.Viewer)
	r, body := v.get(throughProvider(t, v, "/masuk/sso", ssoUser, ssoPassword))
	if r.StatusCode != 403 || !strings.Contains(body, "sudah dipakai orang lain") {
		t.Errorf("a name that is taken: %s", r.Status)
	}
	// The provider goes away between the question and the answer, and comes back.
	back := throughProvider(t, v, "/masuk/sso", ssoUser, ssoPassword)
	idp.down.Store(true)
	if r, body := v.get(back); r.StatusCode != 502 || !strings.Contains(body, "sedang tidak dapat dihubungi") {
		t.Errorf("a provider that is down: %s", r.Status)
	}
	idp.down.Store(false)
	if err := s.accounts.Remove(t.Context(), ssoUser); err != nil {
		t.Fatal(err)
	}
	if r, _ := v.get(throughProvider(t, v, "/masuk/sso", ssoUser, ssoPassword)); r.StatusCode != 303 {
		t.Errorf("once it is back: %s", r.Status)
	}
	if _, err := s.accounts.Disable(t.Context(), ssoUser); err != nil {
		t.Fatal(err)
	}
	if r, body := v.get(throughProvider(t, v, "/masuk/sso", ssoUser, ssoPassword)); r.StatusCode != 403 || !strings.Contains(body, "dinonaktifkan di sini") {
		t.Errorf("a disabled account: %s", r.Status)
	}
}

func TestAProviderThatIsDownLeavesLocalAccounts(t *testing.T) {
	s, idp := withProvider(t, "rahasia-klien")
	idp.down.Store(true)
	v := s.visitor(t)
	if r, body := v.get("/masuk/sso"); r.StatusCode != 502 || !strings.Contains(body, "sedang tidak dapat dihubungi") || !strings.Contains(body, `name="sandi"`) {
		t.Errorf("%s", r.Status)
	}
	s.signedIn(t, account.Viewer)
	idp.down.Store(false)
	if r, _ := v.get("/masuk/sso"); r.StatusCode != 303 {
		t.Errorf("once it is up: %s", r.Status)
	}
}

func TestAWrongClientSecretIsRefused(t *testing.T) {
	s, _ := withProvider(t, "salah")
	v := s.visitor(t)
	if r, _ := v.get(throughProvider(t, v, "/masuk/sso", ssoUser, ssoPassword)); r.StatusCode != 403 {
		t.Error(r.Status)
	}
	if !strings.Contains(s.log.String(), "invalid_client") {
		t.Error("the log does not say why")
	}
}
