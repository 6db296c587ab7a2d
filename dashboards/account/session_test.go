package account_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/accounttest"
)

// door is a tiny site: /in signs sari in, /out signs out, anything else says who
// is there.
type door struct {
	t        *testing.T
	kv       *accounttest.KV
	accounts *account.Accounts
	sessions *account.Sessions
	handler  http.Handler
}

func newDoor(t *testing.T, secure bool) *door {
	d := &door{t: t, kv: &accounttest.KV{}}
	d.accounts = account.NewAccounts(d.kv, accounttest.Cheap())
	if _, err := d.accounts.Add(context.Background(), "sari", account.Operator.Everywhere()); err != nil {
		t.Fatal(err)
	}
	d.sessions = account.NewSessions(d.kv, d.accounts, secure)
	failed := func(_ http.ResponseWriter, _ *http.Request, err error) { t.Error(err) }
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		switch r.URL.Path {
		case "/in":
			var u account.User
			if u, err = d.accounts.Get(r.Context(), "sari"); err == nil {
				err = d.sessions.SignIn(r.Context(), u)
			}
		case "/out":
			err = d.sessions.SignOut(r.Context())
		}
		u, ok, userErr := d.sessions.User(r.Context())
		if err != nil || userErr != nil {
			t.Error(err, userErr)
		}
		_, _ = fmt.Fprint(w, u.Name, ok)
	})
	mux := http.NewServeMux()
	mux.Handle("/", d.sessions.Load(inner, failed))
	mux.Handle("/peek", d.sessions.Peek(inner, failed))
	d.handler = mux
	return d
}

// visit asks for a path with a cookie and returns the body and the cookie set.
func (d *door) visit(path string, cookie *http.Cookie) (string, *http.Cookie) {
	d.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	if cookie != nil {
		r.AddCookie(cookie)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		return w.Body.String(), c
	}
	return w.Body.String(), nil
}

func TestSigningInMakesANewToken(t *testing.T) {
	d := newDoor(t, false)
	if body, c := d.visit("/", nil); body != "false" || c != nil {
		t.Errorf("a stranger gets %q and a cookie %v", body, c)
	}
	planted := &http.Cookie{Name: d.sessions.CookieName(), Value: "planted-by-somebody-else"}
	body, c := d.visit("/in", planted)
	if body != "saritrue" || c == nil || c.Value == planted.Value {
		t.Fatalf("after signing in: %q, cookie %v", body, c)
	}
	if body, _ := d.visit("/", planted); body != "false" {
		t.Error("the planted token is signed in")
	}
	second, again := d.visit("/in", c)
	if second != "saritrue" || again.Value == c.Value {
		t.Error("signing in again keeps the old token")
	}
	if body, _ := d.visit("/", c); body != "false" {
		t.Error("the old token still works")
	}
	for key := range must(d.kv.List(context.Background(), "session/")) {
		if strings.Contains(key, again.Value) {
			t.Error("the store holds the token itself")
		}
	}
}

func TestTheCookieIsCareful(t *testing.T) {
	for _, secure := range []bool{false, true} {
		_, c := newDoor(t, secure).visit("/in", nil)
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Secure != secure || c.Path != "/" || c.MaxAge != 0 || !c.Expires.IsZero() || c.Domain != "" {
			t.Errorf("secure %v: %s", secure, c.Raw)
		}
		if strings.HasPrefix(c.Name, "__Host-") != secure {
			t.Errorf("secure %v: the cookie is named %s", secure, c.Name)
		}
	}
}

func TestSigningOutEndsTheSessionAtTheServer(t *testing.T) {
	d := newDoor(t, false)
	_, c := d.visit("/in", nil)
	if body, _ := d.visit("/out", c); body != "false" {
		t.Error("still signed in after signing out")
	}
	if body, _ := d.visit("/", c); body != "false" {
		t.Error("the cookie works after signing out")
	}
}

// A request that was under way when somebody signed out saves its session last.
func TestASessionThatEndedDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, false)
		_, c := d.visit("/in", nil)
		began, goOn := make(chan struct{}), make(chan struct{})
		slow := d.sessions.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			<-goOn
			w.WriteHeader(http.StatusOK)
		}), nil)
		done := make(chan struct{})
		go func() {
			defer close(done)
			r := httptest.NewRequest("GET", "/", nil)
			r.AddCookie(c)
			slow.ServeHTTP(httptest.NewRecorder(), r)
		}()
		<-began
		time.Sleep(time.Minute) // so that the slow request has a later expiry to save
		d.visit("/out", c)
		close(goOn)
		<-done
		if body, _ := d.visit("/", c); body != "false" {
			t.Error("the session came back")
		}
	})
}

func TestSessionsEndByIdlenessAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, false)
		_, c := d.visit("/in", nil)
		for range 4 { // somebody works
			time.Sleep(20 * time.Minute)
			if body, _ := d.visit("/", c); body != "saritrue" {
				t.Fatal("signed out while working")
			}
		}
		for range 2 { // a page updates itself while nobody is there
			time.Sleep(14 * time.Minute)
			if body, _ := d.visit("/peek", c); body != "saritrue" {
				t.Fatal("signed out before half an hour of idleness")
			}
		}
		time.Sleep(3 * time.Minute)
		if body, _ := d.visit("/peek", c); body != "false" {
			t.Error("a page that updates itself keeps the session alive")
		}
		_, c = d.visit("/in", nil)
		for range 36 { // twelve hours of work
			time.Sleep(20 * time.Minute)
			d.visit("/", c)
		}
		if body, _ := d.visit("/", c); body != "false" {
			t.Error("the session outlives its twelve hours")
		}
	})
}

func TestANewPasswordEndsOtherSessions(t *testing.T) {
	d := newDoor(t, false)
	_, c := d.visit("/in", nil)
	if _, err := d.accounts.Reset(context.Background(), "sari", false); err != nil {
		t.Fatal(err)
	}
	if body, _ := d.visit("/", c); body != "false" {
		t.Error("a session of the old password goes on")
	}
}

func TestABusyPageDoesNotWriteEachTime(t *testing.T) {
	d := newDoor(t, false)
	_, c := d.visit("/in", nil)
	before := d.kv.Writes()
	for range 100 {
		d.visit("/", c)
	}
	if n := d.kv.Writes() - before; n > 2 {
		t.Errorf("100 requests wrote the session %d times", n)
	}
}

func TestLongRequestsEndWithTheirSession(t *testing.T) {
	d := newDoor(t, false)
	_, c := d.visit("/in", nil)
	began, ended := make(chan struct{}), make(chan struct{})
	long := d.sessions.Peek(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := d.sessions.Live(r.Context())
		defer done()
		if u, ok, err := d.sessions.Still(ctx); err != nil || !ok || u.Name != "sari" {
			t.Errorf("while signed in: %v %v %v", u, ok, err)
		}
		close(began)
		<-ctx.Done()
		if _, ok, err := d.sessions.Still(context.WithoutCancel(ctx)); err != nil || ok {
			t.Errorf("after signing out: %v %v", ok, err)
		}
		close(ended)
	}), nil)
	go func() {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(c)
		long.ServeHTTP(httptest.NewRecorder(), r)
	}()
	<-began
	d.visit("/out", c)
	<-ended
}
