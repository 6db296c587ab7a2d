//go:build !race

package dashboards_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/browsertest"
)

// Once through by hand: set up the second factor, sign in with it.
func TestTheSecondFactorInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	s := openOffice(t).site
	p := b.Open(t, browsertest.Phone, s.URL+"/masuk")
	signIn(t, p, s, "", "sari.wulandari")
	p.Go(s.URL + "/sandi/kode")
	secret := p.Text(".scan .secret")
	p.Fill("#kode", authenticator(t, secret, time.Now()))
	p.Submit("main button[type=submit]")
	p.WaitText("main", "Kode pemulihan")
	p.Sound("recovery-id-phone-light")
	p.Go(s.URL + "/sandi/kode")
	p.Sound("enrolled-id-phone-light")
	p.Submit("header form button")
	p.Fill("#nama", "sari.wulandari")
	p.Fill("#sandi", goodPassword)
	p.Submit("main button[type=submit]")
	p.WaitText("main", "Kode")
	p.Sound("code-id-phone-light")
	p.Fill("#kode", authenticator(t, secret, time.Now().Add(30*time.Second)))
	p.Submit("main button[type=submit]")
	p.Wait("location.pathname.startsWith('/dinas')")
}

func TestAWallScreenInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, airWorld())
	v := s.signedIn(t, account.Admin)
	p := b.Open(t, browsertest.Desktop.InDark(), s.URL+hang(t, s, v, "network", "id", "90"))
	sound(t, p, "wall-network-id-desktop-dark")
	var away atomic.Bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler) // cuts the connection
		}
		s.pages.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	p = b.Open(t, browsertest.Desktop, front.URL+hang(t, s, v, "province", "en", "90"))
	sound(t, p, "wall-province-en-desktop-light")
	// While the server is away the last view stays, with a word; then it goes on.
	again := func() { browsertest.Eval[bool](p, "dispatchEvent(new Event('online'))") }
	away.Store(true)
	again()
	p.Wait("document.body.classList.contains('stale')")
	if !strings.Contains(p.Text("main"), "Semen Rembang") {
		t.Error("the last view is gone")
	}
	p.Screenshot("wall-stale-en-desktop-light")
	away.Store(false)
	s.world.change(func() { s.world.now = s.world.now.Add(time.Minute) })
	again()
	p.Wait("!document.body.classList.contains('stale') && document.querySelector('.wall-says').textContent.includes('14:06')")
	p = b.Open(t, browsertest.Phone, s.URL+"/masuk")
	signIn(t, p, s, "", "admin")
	p.Go(s.URL + "/dinas/atur/layar")
	sound(t, p, "walls-id-phone-light")
}
