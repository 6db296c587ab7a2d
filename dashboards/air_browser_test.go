//go:build !race

package dashboards_test

import (
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Charts of one frame share cross-hair and zoom, and what is dragged over them goes
// into the validator's form.
func TestChartsOfASiteMoveTogether(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, airWorld())
	s.person(t, "sari", account.Validator)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.Go(s.URL + "/dinas/lokasi/SMG-01?rentang=30h&besaran=pm2_5&besaran=pm10&banding=KDS-01")
	p.Show("pantau-chart")
	p.Wait("document.querySelectorAll('pantau-chart[data-drawn] canvas').length === 2")
	box := browsertest.Eval[[]float64](p, "(() => { const r = document.querySelector('pantau-chart .u-over').getBoundingClientRect(); return [r.left, r.top, r.width, r.height] })()")
	p.Drag(box[0]+box[2]*0.4, box[1]+box[3]/2, box[0]+box[2]*0.6, box[1]+box[3]/2)
	p.Wait("document.querySelectorAll('pantau-chart[data-zoomed]').length === 2")
	p.Wait("[...document.querySelectorAll('pantau-chart .reading')].every(r => /Nov .*WIB: \\d/.test(r.textContent))")
	from := browsertest.Eval[string](p, "document.querySelector('#m-dari').value")
	to := browsertest.Eval[string](p, "document.querySelector('#m-hingga').value")
	begin, err := time.Parse("2006-01-02T15:04", from)
	if err != nil {
		t.Fatal(err)
	}
	end, err := time.Parse("2006-01-02T15:04", to)
	if span := end.Sub(begin); err != nil || span < 5*24*time.Hour || span > 7*24*time.Hour {
		t.Errorf("a fifth of 30 days was dragged over; the form says %s to %s", from, to)
	}
	sound(t, p, "air-site-zoomed")
}

// Figures, values and the ledger change on pages that are open, under a reader's
// hands.
func TestFiguresChangeOnOpenPages(t *testing.T) {
	b := browsertest.Start(t)
	w := airWorld()
	s := start(t, w)
	s.person(t, "sari", account.Validator)
	p := b.Open(t, browsertest.Phone, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.Go(s.URL + "/dinas/provinsi")
	p.WaitText("pantau-live .state", "langsung")
	p.WaitText("#angka-daftar .ranking", "Jebres Surakarta")
	browsertest.Eval[bool](p, `(() => { window.same = document.body; document.querySelector('.ranking a[href="/dinas/lokasi/KDS-01"]').focus(); document.querySelector("#tanggal").value = "2026-11-20"; return true })()`)
	site := p.Beside(browsertest.Phone, s.URL+"/dinas/lokasi/SMG-01")
	site.WaitText(".values", "62,4")
	today := p.Beside(browsertest.Phone, s.URL+"/dinas")
	today.WaitText("#peringatan", "PM2,5 di atas 55")

	hour := moment.Truncate(time.Hour)
	s.desk.History("SKA-01", hour.Add(-20*time.Hour), hour, []string{"pm2_5"}, func(string, time.Time) float64 { return 900 })
	p.Wait(`document.querySelector(".ranking tbody a").textContent === "Jebres Surakarta"`)
	if !browsertest.Eval[bool](p, `window.same === document.body && document.activeElement.getAttribute("href") === "/dinas/lokasi/KDS-01" && document.querySelector("#tanggal").value === "2026-11-20"`) {
		t.Error("the page lost what its reader was doing")
	}
	p.WaitText("pantau-live p[role=status]", "1 Berbahaya") // a screen reader hears that categories changed
	w.change(func() {
		w.now = w.now.Add(time.Second)
		w.values[hall][0].Value, w.values[hall][0].Time = telemetry.Num(17.5), w.now
		w.total.Expected += 10
		w.alerts = w.alerts[1:]
	})
	site.WaitText(".values", "17,5")
	today.WaitText("#buku", "184.243")
	today.Wait(`!document.querySelector("#peringatan").textContent.includes("PM2,5 di atas 55")`)
	for _, p := range []*browsertest.Page{p, site, today} {
		for _, problem := range p.Problems() {
			t.Error(problem)
		}
	}
	sound(t, p, "air-province-changed")
}

// The street map is fetched when it is opened, from nowhere else, and has its
// stations and names without tiles.
func TestTheStreetMapWithoutTiles(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, airWorld())
	s.person(t, "sari", account.Viewer)
	p := b.Open(t, browsertest.Desktop, s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.Go(s.URL + "/dinas/provinsi")
	if n := browsertest.Eval[int](p, "performance.getEntriesByType('resource').filter(r => r.name.includes('street')).length"); n != 0 {
		t.Error("the street map is loaded before anybody opens it")
	}
	p.Unfold("details.street")
	p.Wait("document.querySelector('pantau-map[data-drawn] .leaflet-container')")
	p.WaitText(".street-map", "Kota Semarang")
	if n := browsertest.Eval[int](p, "document.querySelectorAll('.street-figure').length"); n < 6 || n > 9 {
		t.Errorf("%d markers for nine stations", n)
	}
	sound(t, p, "air-street")
}

// Everything is there without scripts, and nothing is lost on the way.
func TestAirPagesWithoutScripts(t *testing.T) {
	b := browsertest.Start(t)
	s := start(t, airWorld())
	s.person(t, "sari", account.Validator)
	p := b.Open(t, browsertest.Phone.WithoutScript(), s.URL+"/masuk")
	signIn(t, p, s, "", "sari")
	p.Go(s.URL + "/dinas/lokasi/SMG-01?rentang=7h")
	sound(t, p, "air-site-noscript")
	p.Unfold("#validasi")
	p.Fill("#m-catatan", "kabel lepas")
	if status := p.Submit("#validasi button[type=submit]"); status != 200 {
		t.Errorf("marking a span: %d", status)
	}
	p.WaitText("#pemberitahuan", "Putusan tersimpan")
	p.Unfold("#anotasi")
	p.Fill("#a-teks", "pembakaran jerami")
	if status := p.Submit("#anotasi button[type=submit]"); status != 200 {
		t.Errorf("a remark: %d", status)
	}
	p.Unfold(".remarks details")
	p.Fill(".remarks input[name=alasan]", "stasiun lain")
	if status := p.Submit(".remarks button[name=tarik]"); status != 200 {
		t.Errorf("withdrawing it: %d", status)
	}
	p.WaitText("#pemberitahuan", "Catatan ditarik")
	sound(t, p, "air-site-remarked-noscript")
	p.Go(s.URL + "/dinas/laporan")
	if status := p.Submit("main form button[type=submit]"); status != 200 {
		t.Errorf("opening a report: %d", status)
	}
	p.WaitText("h1", "Laporan bulanan Kabupaten Cilacap, Oktober 2026")
	sound(t, p, "air-monthly-noscript")
	p.Go(s.URL + "/dinas/provinsi?jam=2026-11-22-0900&peta=titik")
	p.WaitText("main", "jam lampau")
	sound(t, p, "air-province-noscript")
}
