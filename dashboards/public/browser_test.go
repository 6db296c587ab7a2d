//go:build !race

package public_test

import (
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/dashboards/public"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Run(m)) }

// looked are the pages that a browser looks at, by the name of their screenshot. A
// kind of page that is not here fails TestEveryPageIsLookedAt.
var looked = []struct{ name, path string }{
	{"beranda", "/"},
	{"tempat", "/?tempat=3374"},
	{"udara", "/udara"},
	{"wilayah", "/wilayah/3374-kota-semarang"},
	{"wilayah-tanpa", "/wilayah/3301-kabupaten-cilacap"},
	{"stasiun", "/stasiun/smg-1-simpang-lima"},
	{"stasiun-indikatif", "/stasiun/ung-1-ungaran"},
	{"stasiun-diam", "/stasiun/slo-1-manahan?rentang=24-jam"},
	{"cari", "/cari?q=semarag"},
	{"buletin-daftar", "/buletin"},
	{"buletin", "/buletin/2026-11-26-1500"},
	{"buletin-pertama", "/buletin/2026-11-26-1500?revisi=0"},
	{"ralat", "/ralat"},
	{"bukti", "/bukti/ispu-20261126-15-r1-smg-1"},
	{"bukti-pertama", "/bukti/ispu-20261126-15-r0-smg-1"},
	{"bukti-baku", "/bukti/baku-2026-pm2_5-24h-55-smg-2"},
	{"metode", "/metode"},
	{"data", "/data"},
	{"api", "/api"},
	{"sematan", "/sematan/smg-1"},
	{"tentang", "/tentang"},
	{"privasi", "/privasi"},
	{"aksesibilitas", "/aksesibilitas"},
	{"luring", "/luring"},
	{"belum-dibuka", "/sampah"},
	{"tidak-ditemukan", "/stasiun/tidak-ada"},
}

// correctedWorld is a world in which a figure and a bulletin were corrected.
func correctedWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	hour := w.Now().Truncate(time.Hour)
	w.History("smg-1", hour.Add(-2*time.Hour), hour, []string{"pm2_5"}, func(string, time.Time) float64 { return 90 })
	if err := w.Revise(t.Context(), "2026-11-26-1500", "sari", "hasil validasi Simpang Lima"); err != nil {
		t.Fatal(err)
	}
	return w
}

// look loads a page; one that is not there answers so, which browsers log.
func look(p *browsertest.Page, address string) {
	p.Go(address)
	p.Wait("document.readyState === 'complete'")
	if browsertest.Eval[int](p, "performance.getEntriesByType('navigation')[0].responseStatus") == http.StatusNotFound {
		p.Problems()
	}
}

func TestEveryPageIsLookedAt(t *testing.T) {
	w := correctedWorld(t)
	kind := func(address string) string { // the first word of its path
		path, _, _ := strings.Cut(strings.TrimPrefix(address, "/"), "?")
		word, _, _ := strings.Cut(path, "/")
		return word
	}
	seen := map[string]bool{}
	for _, l := range looked {
		seen[kind(l.path)] = true
	}
	for _, path := range addresses {
		if r, _ := w.get(t, path); strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") && !seen[kind(path)] {
			t.Errorf("no browser looks at %s: add it to looked", path)
		}
	}
}

// lookedRare are those of oddWorld.
var lookedRare = []struct{ name, path string }{
	{"stasiun-nol", "/stasiun/pti-1-pati-kota?rentang=24-jam"},
	{"stasiun-atas-500", "/stasiun/rbg-2-rembang-kota"},
	{"stasiun-ditutup", "/stasiun/don-1-donan"},
	{"wilayah-atas-500", "/wilayah/3317-kabupaten-rembang"},
	{"tempat-atas-500", "/?tempat=3317"},
	{"sematan-atas-500", "/sematan/3317"},
	{"udara-atas-500", "/udara"},
	{"bukti-hc", "/bukti/ispu-20261126-12-r0-kil-1"},
	{"metode-gas", "/metode"},
}

// smallText finds text of less than 18 px as it is on the screen.
const smallText = `(() => {
	const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
	while (walk.nextNode()) {
		const e = walk.currentNode.parentElement
		if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest("desc, title, script, .vh")) continue
		const svg = e.ownerSVGElement, scale = svg?.viewBox.baseVal?.width ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1
		const size = parseFloat(getComputedStyle(e).fontSize) * scale
		if (size < 17.9) out.push(size.toFixed(1) + " px: " + walk.currentNode.data.trim().slice(0, 40))
	}
	return out.slice(0, 5)
})()`

func TestPagesInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	w, rare := correctedWorld(t), oddWorld(t)
	shut := donan
	shut.Closed = rare.Now().Add(-time.Hour)
	if err := rare.places.PutSite(t.Context(), shut); err != nil {
		t.Fatal(err)
	}
	for _, v := range browsertest.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			walk := func(w *world, list []struct{ name, path string }) *browsertest.Page {
				p := b.Open(t, v.Look, w.url+v.Prefix+"/")
				for _, l := range list {
					look(p, w.url+v.Prefix+l.path)
					name := "umum-" + l.name + "-" + v.Name
					p.Sound(name)
					for _, small := range p.SmallTargets() {
						t.Errorf("%s: small target %s", name, small)
					}
					for _, text := range browsertest.Eval[[]string](p, smallText) {
						t.Errorf("%s: small text %s", name, text)
					}
				}
				return p
			}
			walk(rare, lookedRare)
			p := walk(w, looked)
			if names := p.Cookies(); len(names) != 0 {
				t.Errorf("cookies: %v", names)
			}
		})
	}
}

func TestPagesStandStillWhileTheyArrive(t *testing.T) {
	b := browsertest.Start(t)
	w := correctedWorld(t)
	address := browsertest.Drip(t, w.url)
	for name, look := range map[string]browsertest.Look{"phone": browsertest.Phone, "desktop": browsertest.Desktop} {
		t.Run(name, func(t *testing.T) {
			p := b.Open(t, look.WithoutScript(), address+"/")
			for _, l := range looked {
				p.Go(address + l.path)
				p.Wait("document.readyState === 'complete'")
				if shift := p.Shift(); shift >= 0.05 {
					t.Errorf("%s: the layout shifted by %.3f", l.name, shift)
				}
			}
		})
	}
}

func TestTheCardIsReadable(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld(t)
	p := b.Open(t, browsertest.Phone.WithoutScript(), w.url+"/stasiun/smg-1-simpang-lima")
	if size := browsertest.Eval[float64](p, "parseFloat(getComputedStyle(document.querySelector('.big')).fontSize)"); size < 64 {
		t.Errorf("the headline has %v px", size)
	}
	// Inline charts have their colours under the Content-Security-Policy.
	for _, c := range []struct{ what, script string }{
		{"the line's stroke", "getComputedStyle(document.querySelector('.chart-plot .line')).stroke"},
		{"the swatch's fill", "getComputedStyle(document.querySelector('#p3 rect')).fill"},
		{"the mark's stroke", "getComputedStyle(document.querySelector('#p2 .marks')).stroke"},
		{"the bar's fill", "getComputedStyle(document.querySelector('.bars rect')).fill"},
	} {
		if got := browsertest.Eval[string](p, c.script); got == "rgb(0, 0, 0)" || got == "none" || got == "" {
			t.Errorf("%s is %q", c.what, got)
		}
	}
	for _, problem := range p.Problems() {
		t.Error(problem)
	}
}

func TestPagesZoomedAndByKeyboard(t *testing.T) {
	b := browsertest.Start(t)
	w := correctedWorld(t)
	p := b.Open(t, browsertest.Zoomed, w.url+"/")
	for _, l := range looked {
		look(p, w.url+l.path)
		p.Steady("umum-" + l.name + "-zoom")
	}
	p = b.Open(t, browsertest.Desktop, w.url+"/")
	for _, l := range looked {
		look(p, w.url+l.path)
		if l.path == "/luring" { // the newest that the worker has kept
			p.Wait("document.querySelectorAll('#tersimpan a').length === 8")
		}
		for _, problem := range p.Keyboard() {
			t.Errorf("%s: %s", l.name, problem)
		}
	}
}

func TestNearMeKeepsCoordinatesOnThePhone(t *testing.T) {
	b := browsertest.Start(t)
	var asked sync.Map
	w := newWorld(t, func(*public.Options) {})
	pages := w.server.Config.Handler
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.RequestURI(), true)
		pages.ServeHTTP(rw, r)
	})
	p := b.Open(t, browsertest.Phone, w.url+"/")
	p.Stand(-7.5461, 110.8312) // Surakarta
	p.Wait("!document.querySelector('#dekat button').hidden")
	if _, early := asked.Load("/dekat.json"); early {
		t.Error("the list of stations was loaded before anybody asked for it")
	}
	p.Click("#dekat button")
	p.WaitText("#dekat ul li", "Manahan")
	if text := p.Text("#dekat ul"); !strings.Contains(text, "2,8 km") {
		t.Errorf("the nearest: %s", text)
	}
	asked.Range(func(key, _ any) bool {
		if address, _ := key.(string); strings.Contains(address, "7.5") || strings.Contains(address, "110") {
			t.Errorf("the position left the phone: %s", address)
		}
		return true
	})
	// The last place is remembered here, not in a cookie.
	p.Submit("#dekat ul a")
	p.Wait("document.readyState === 'complete' && localStorage.getItem('pantau.tempat')")
	p.Go(w.url + "/")
	p.WaitText("#terakhir", "Terakhir dilihat: Manahan")
	if names := p.Cookies(); len(names) > 0 {
		t.Errorf("cookies: %v", names)
	}
	p.Sound("umum-terakhir")
}

func TestAnOpenPageLooksForANewerOne(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld(t)
	p := b.Open(t, browsertest.Phone, w.url+"/stasiun/smg-1-simpang-lima")
	p.WaitText(".big", "76")
	hour := w.Now().Truncate(time.Hour)
	w.History("smg-1", hour.Add(-4*time.Hour), hour, []string{"pm2_5"}, func(string, time.Time) float64 { return 900 })
	browsertest.Eval[bool](p, "document.dispatchEvent(new Event('pantau:refresh'))")
	p.WaitText(".word", "Sehat")
	p.WaitText("#kabar", "tidak sehat") // a screen reader hears the change of category
	// Who pauses is left in peace until it is over, on all pages.
	asks := func() int {
		return browsertest.Eval[int](p, `(() => {
			let n = 0
			const real = window.fetch
			window.fetch = (...a) => { n++; return real(...a) }
			document.dispatchEvent(new Event("pantau:refresh"))
			window.fetch = real
			return n
		})()`)
	}
	p.Click("#jeda")
	if n := asks(); n != 0 {
		t.Errorf("a paused page asks %d times", n)
	}
	p.Go(w.url + "/")
	p.Wait("document.querySelector('#jeda')?.getAttribute('aria-pressed') === 'true'")
	p.Sound("umum-jeda")
	p.Click("#jeda")
	if n := asks(); n != 1 {
		t.Errorf("a page that is no longer paused asks %d times", n)
	}
}

// yesterday makes what the service worker has kept look as old as that.
const yesterday = `caches.open("pantau-halaman").then(async c => {
	for (const request of await c.keys()) {
		const answer = await c.match(request), headers = new Headers(answer.headers)
		headers.set("pantau-tersimpan", Date.now() - 86400000)
		await c.put(request, new Response(await answer.blob(), {headers}))
	}
	return (await c.keys()).length
})`

// kept waits until the service worker has a copy of this page.
const kept = `(async () => {
	while (!await (await caches.open("pantau-halaman")).match(location.href)) await new Promise(done => setTimeout(done, 25))
	return true
})()`

// keptBad waits until that copy is the one of bad air.
const keptBad = `(async () => {
	for (;;) {
		const copy = await (await caches.open("pantau-halaman")).match(location.href)
		const page = new DOMParser().parseFromString(await copy?.text() ?? "", "text/html")
		if (page.querySelector(".word")?.textContent.includes("Tidak Sehat")) return true
		await new Promise(done => setTimeout(done, 25))
	}
})()`

func TestAKeptPageIsThereAtOnceAndSaysSo(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld(t)
	pages := w.server.Config.Handler
	var held atomic.Pointer[chan struct{}]
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if hold := held.Load(); hold != nil && strings.HasPrefix(r.URL.Path, "/stasiun/") {
			select {
			case <-*hold:
			case <-r.Context().Done():
			}
		}
		pages.ServeHTTP(rw, r)
	})
	const path = "/stasiun/smg-1-simpang-lima"
	p := b.Open(t, browsertest.Phone, w.url+path)
	p.Wait("navigator.serviceWorker.controller")
	browsertest.Eval[bool](p, kept)
	hold := make(chan struct{})
	held.Store(&hold) // from here on the line is slow

	// A few minutes young: as good as a page that stayed open.
	p.Go(w.url + path)
	p.WaitText(".big", "76")
	p.Wait("document.readyState === 'complete'")
	if browsertest.Eval[bool](p, "document.querySelector('.old').checkVisibility()") {
		t.Error("a young page calls itself kept")
	}

	// Older: it is there, marked, with its age, while the newest is on its way.
	hour := w.Now().Truncate(time.Hour)
	w.History("smg-1", hour.Add(-4*time.Hour), hour, []string{"pm2_5"}, func(string, time.Time) float64 { return 900 })
	if n := browsertest.Eval[int](p, yesterday); n == 0 {
		t.Fatal("nothing was kept")
	}
	p.Go(w.url + path)
	p.WaitText(".big", "76")
	p.WaitText(".old", "yang lalu: nilai yang tersimpan di perangkat ini. Yang terbaru sedang diambil")
	if !browsertest.Eval[bool](p, "document.querySelector('.old').checkVisibility() && !document.querySelector('.old .ya').checkVisibility()") {
		t.Error("the kept page is not marked")
	}
	p.Sound("umum-tersimpan")
	held.Store(nil)
	close(hold)
	p.WaitText(".word", "Tidak Sehat")
	p.Wait("!document.querySelector('.old').checkVisibility()")
	if shift := p.Shift(); shift >= 0.1 {
		t.Errorf("the newest page shifted the layout by %.3f", shift)
	}

	// A place that is not public any more is gone here, too.
	browsertest.Eval[bool](p, keptBad) // which may be a moment after the page has it
	browsertest.Eval[int](p, yesterday)
	hidden := simpang
	hidden.Public = false
	if err := w.places.PutSite(t.Context(), hidden); err != nil {
		t.Fatal(err)
	}
	p.Go(w.url + path)
	p.WaitText("h1", "tidak ditemukan")
}

// In a window as low as 400 % make it, a mark that stays stands above the page; the
// mark that only comes and goes must not push the page down and up again.
func TestAKeptPageThatIsStillTheNewestDoesNotMove(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld(t)
	p := b.Open(t, browsertest.Zoomed, w.url+"/")
	p.Wait("navigator.serviceWorker.controller")
	browsertest.Eval[bool](p, kept)
	browsertest.Eval[int](p, yesterday)
	p.Go(w.url + "/")
	p.Wait("document.readyState === 'complete' && !document.documentElement.dataset.luring")
	if shift := p.Shift(); shift >= 0.01 {
		t.Errorf("the layout shifted by %.3f", shift)
	}
}

func TestWithoutALineTheLastPageIsShownAsOld(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld(t)
	p := b.Open(t, browsertest.Phone, w.url+"/stasiun/smg-1-simpang-lima")
	p.Wait("navigator.serviceWorker.controller") // it has kept the page that was open
	p.Problems()
	w.server.CloseClientConnections()
	w.server.Close()
	p.Forget()
	browsertest.Eval[int](p, yesterday)
	p.Go(w.url + "/stasiun/smg-1-simpang-lima")
	p.WaitText(".big", "76")
	p.Wait("document.querySelector('.old .ya')?.checkVisibility()")
	if text := p.Text(".old"); !strings.Contains(text, "yang lalu: nilai terakhir") {
		t.Errorf("the mark says %q", text)
	}
	p.Screenshot("umum-lama")
	p.Go(w.url + "/metode") // never seen
	p.WaitText("h1", "Luring")
	p.WaitText("#tersimpan", "Simpang Lima")
	p.Screenshot("umum-luring-tanpa-jaringan")
	p.Go(w.url + "/en/metode")
	p.WaitText("h1", "Offline")
}
