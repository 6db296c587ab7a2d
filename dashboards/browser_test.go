//go:build !race

package dashboards_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestMain(m *testing.M) { os.Exit(browsertest.Run(m)) }

// sound fails the test for whatever a visitor's browser or a blind visitor would
// complain about.
func sound(t *testing.T, p *browsertest.Page, name string) {
	t.Helper()
	p.Sound(name)
}

func signIn(t *testing.T, p *browsertest.Page, s *site, prefix, name string) {
	t.Helper()
	p.Go(s.URL + prefix + "/masuk")
	p.Fill("#nama", name)
	p.Fill("#sandi", goodPassword)
	p.Submit("main button[type=submit]")
	p.Wait("location.pathname.endsWith('/dinas') && document.readyState === 'complete'")
	p.Go(s.URL + prefix + "/dinas/jaringan")
}

// Pages that a newcomer or an unlucky one sees; walk sees the rest.
func TestRarePagesInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld()
	s := start(t, w)
	s.person(t, "sari", account.Viewer)
	empty := start(t, &world{now: moment})
	empty.person(t, "sari", account.Viewer)
	first, err := s.accounts.Add(context.Background(), account.FirstName, account.Admin.Everywhere())
	if err != nil {
		t.Fatal(err)
	}
	p := b.Open(t, browsertest.Phone, s.URL+"/masuk")
	p.Fill("#nama", "admin")
	p.Fill("#sandi", "salah sama sekali")
	if status := p.Submit("main button"); status != 422 {
		t.Errorf("a wrong password: %d", status)
	}
	quiet(p)
	sound(t, p, "signin-wrong")
	p.Fill("#sandi", first)
	p.Submit("main button")
	p.Wait("location.pathname === '/sandi'")
	sound(t, p, "password-first")

	p = b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	sound(t, p, "network-viewer")
	w.change(func() { w.broken = errors.New("away") })
	p.Go(s.URL + "/dinas/jaringan")
	sound(t, p, "network-broken")

	p = b.Open(t, browsertest.Desktop, empty.URL+"/masuk")
	signIn(t, p, empty, "", "sari")
	sound(t, p, "network-empty")
}

// quiet forgets the line that browsers log when a page answers with an error.
func quiet(p *browsertest.Page) {
	p.Wait("document.readyState === 'complete'")
	p.Problems()
}

func TestAcknowledgingWithoutScriptsInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, newWorld())
	s.person(t, "sari", account.Operator)
	p := b.Open(t, browsertest.Phone.WithoutScript(), s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	// The chart has its colours under the Content-Security-Policy.
	if stroke := browsertest.Eval[string](p, "getComputedStyle(document.querySelector('.chart-plot .line')).stroke"); !strings.HasPrefix(stroke, "rgb(") || stroke == "rgb(0, 0, 0)" {
		t.Errorf("the chart's line is drawn in %s", stroke)
	}
	if status := p.Submit("#peringatan button"); status != 200 {
		t.Errorf("acknowledging: %d", status)
	}
	if text := p.Text("#pemberitahuan"); text == "" {
		t.Error("no message after acknowledging")
	}
	sound(t, p, "plain-acknowledged")
}

func TestPagesPrinted(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, newWorld())
	s.person(t, "sari", account.Operator)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p = p.Beside(browsertest.Look{Width: 794, Height: 1123, Print: true}, s.URL+"/dinas/jaringan")
	p.Wait("document.readyState === 'complete'")
	p.Screenshot("network-printed")
}

func TestAValueChangesOnTheOpenPage(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld()
	s := start(t, w)
	s.person(t, "sari", account.Viewer)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.WaitText("pantau-live", "langsung")
	p.WaitText("#gateway ~ .cards", "62,4")
	set := func(v float64) {
		w.change(func() {
			w.now = w.now.Add(time.Second)
			w.values[hall][0].Value, w.values[hall][0].Time = telemetry.Num(v), w.now
		})
	}
	set(17.5)
	p.WaitText(".cards", "17,5")

	// Paused, the page stands still; resumed, it has the newest.
	p.Click("pantau-live button")
	p.WaitText("pantau-live", "dijeda")
	set(18.5)
	other := p.Beside(browsertest.Desktop, s.URL+"/dinas/jaringan")
	other.WaitText(".cards", "18,5")
	set(19.5)
	other.WaitText(".cards", "19,5")
	if text := p.Text(".cards"); !strings.Contains(text, "17,5") {
		t.Error("a paused page changed")
	}
	p.Click("pantau-live button")
	p.WaitText(".cards", "19,5")
	// A screen reader hears of alerts, not of values.
	w.change(func() { w.alerts = w.alerts[1:] })
	p.WaitText("pantau-live p[role=status]", "Daftar peringatan berubah: 2 terbuka.")
	for _, problem := range append(p.Problems(), other.Problems()...) {
		t.Error(problem)
	}
}

func TestPagesOfABrowserShareOneStream(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld()
	registry := prometheus.NewRegistry()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	s := start(t, w, func(o *dashboards.Options) { o.Metrics = registry })
	s.person(t, "sari", account.Viewer)
	first := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, first, s, "", "sari")
	first.WaitText("pantau-live", "langsung")
	english := first.Beside(browsertest.Desktop, s.URL+"/en/dinas/jaringan/3374/balaikota")
	english.WaitText("pantau-live", "live")
	set := func(v float64) {
		w.change(func() {
			w.now = w.now.Add(time.Second)
			w.values[hall][0].Value, w.values[hall][0].Time = telemetry.Num(v), w.now
		})
	}
	set(33.5)
	first.WaitText(".cards", "33,5")
	english.WaitText("main", "33.5")
	// The stream that one of them held alone may take a moment to end.
	for gauge(t, registry, "pantau_dashboards_live_streams") != 1 {
		if ctx.Err() != nil {
			t.Fatalf("two pages hold %v streams, want one together", gauge(t, registry, "pantau_dashboards_live_streams"))
		}
		<-again.C
	}
	// The page that held the stream goes; the other takes over.
	first.Go(s.URL + "/masuk")
	set(44.5)
	english.WaitText("main", "44.5")
	for _, problem := range append(first.Problems(), english.Problems()...) {
		t.Error(problem)
	}
}

func gauge(t *testing.T, g prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestAcknowledgingByKeyboard(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld()
	s := start(t, w)
	s.person(t, "sari", account.Operator)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.WaitText("pantau-live", "langsung")
	// From the top of the page, by the tabulator alone, to the first alert's button.
	for range 40 {
		if browsertest.Eval[bool](p, "document.activeElement?.matches('#peringatan button') ?? false") {
			break
		}
		p.Keys(kb.Tab)
	}
	if ring := browsertest.Eval[string](p, "getComputedStyle(document.activeElement).outlineStyle"); ring != "solid" {
		t.Errorf("the focused button shows no focus: outline %s", ring)
	}
	p.Keys(kb.Enter)
	p.WaitText("#pemberitahuan", "Peringatan ini kini tercatat Anda tangani.")
	p.WaitText("#peringatan", "Ditangani oleh sari")
	p.Wait("document.activeElement?.id === 'pemberitahuan'")
	w.change(func() {
		if w.alerts[0].AckBy != "sari" {
			t.Errorf("recorded: %+v", w.alerts[0])
		}
	})
	if where := browsertest.Eval[string](p, "location.pathname"); where != "/dinas/jaringan" {
		t.Errorf("the page went to %s", where)
	}
	// The next one with a note; while it is typed, the list changes under it.
	p.Unfold("#peringatan details")
	p.Fill("#peringatan details[open] input", "saya ke lokasi")
	w.change(func() { w.alerts = w.alerts[:len(w.alerts):len(w.alerts)]; w.alerts[1].AckNote = "sudah tiba" })
	p.WaitText("#peringatan", "sudah tiba")
	if note := browsertest.Eval[string](p, "document.querySelector('#peringatan details[open] input')?.value ?? ''"); note != "saya ke lokasi" {
		t.Errorf("a live update took the note that was being typed: %q", note)
	}
	if !browsertest.Eval[bool](p, "document.activeElement?.matches('#peringatan details[open] input') ?? false") {
		t.Error("a live update took the focus")
	}
	p.Keys(kb.Enter)
	p.WaitText("#peringatan", "saya ke lokasi")
	sound(t, p, "acknowledged")
}

func TestASessionThatEndsSaysSo(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, newWorld())
	s.person(t, "sari", account.Viewer)
	p := b.Open(t, browsertest.Phone, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.WaitText("pantau-live", "langsung")
	other := p.Beside(browsertest.Phone, s.URL+"/dinas/jaringan/3374/balaikota")
	other.WaitText("pantau-live", "langsung")
	browsertest.Eval[int](p, `(() => {
		const live = document.querySelector("pantau-live")
		window.words = []
		new MutationObserver(() => words.push(live.querySelector(".state").textContent)).observe(live, {childList: true, subtree: true})
		return 0
	})()`)
	const ended = "sesi berakhir"
	other.Submit("header form button")
	p.WaitText("pantau-live", ended)
	other.Go(s.URL + "/masuk") // a page that leaves does not wake the stream of the others
	if words := browsertest.Eval[[]string](p, "words"); slices.ContainsFunc(words[max(slices.Index(words, ended), 0):], func(w string) bool { return w != ended }) {
		t.Errorf("when its session had ended, the page went on: %q", words)
	}
	signIn(t, other, s, "", "sari")
	p.Wait("document.querySelector('pantau-live .state').textContent === 'langsung' && !document.querySelector('pantau-live a')")
	other.Submit("header form button")
	p.WaitText("pantau-live", ended)
	p.Submit("pantau-live a")
	p.WaitText("main", "Sesi Anda telah berakhir")
	if browsertest.Eval[string](p, "document.querySelector('[name=lanjut]').value") != "/dinas/jaringan" {
		t.Error("signing in again does not lead back")
	}
}

func TestHostileTextsInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	w := evilWorld()
	s := start(t, w)
	s.person(t, "sari", account.Operator)
	p := b.Open(t, browsertest.Phone, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.WaitText("pantau-live", "langsung")
	w.change(func() { // once more through a live update
		for n := range w.values {
			w.values[n][0].Time = w.now.Add(time.Second)
		}
	})
	p.Show("pantau-chart")
	p.Wait("document.querySelector('pantau-chart[data-drawn] canvas')")
	if n := browsertest.Eval[int](p, "document.querySelectorAll('x-evil, [onmouseover], [onerror], iframe, object, embed').length"); n != 0 {
		t.Errorf("%d elements came from devices", n)
	}
	sound(t, p, "hostile")
}

func TestTheChartZooms(t *testing.T) {
	b := browsertest.Start(t)
	w := newWorld()
	s := start(t, w)
	s.person(t, "sari", account.Viewer)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.WaitText("pantau-live", "langsung") // whose words push the page down
	p.Show("pantau-chart")
	p.Wait("document.querySelector('pantau-chart[data-drawn] canvas')")
	box := browsertest.Eval[[]float64](p, "(() => { const r = document.querySelector('pantau-chart .u-over').getBoundingClientRect(); return [r.left, r.top, r.width, r.height] })()")
	p.Drag(box[0]+box[2]*0.6, box[1]+box[3]/2, box[0]+box[2]*0.8, box[1]+box[3]/2)
	p.Wait("document.querySelector('pantau-chart[data-zoomed]')")
	p.Wait("/WIB: \\d/.test(document.querySelector('pantau-chart .reading').textContent)")
	sound(t, p, "chart-zoomed")

	// An open page reads its chart again from time to time.
	w.change(func() {
		for id, series := range w.series {
			series.Points = series.Points[:700]
			w.series[id] = series
		}
	})
	browsertest.Eval[bool](p, "document.getElementById('grafik').dispatchEvent(new Event('pantau:refresh'))")
	p.WaitText("#grafik .chart-desc", "pukul 01.44 WIB")
	p.Wait("document.querySelector('pantau-chart[data-drawn] canvas')")
	for _, problem := range p.Problems() {
		t.Error(problem)
	}
}
