package dashboards_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// has fails the test for each part that a page lacks.
func has(t *testing.T, name, body string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(body, part) {
			t.Errorf("%s lacks %q", name, part)
		}
	}
}

func TestTheNetworkPageTellsEverything(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Operator)
	r, id := v.get("/dinas/jaringan")
	if r.StatusCode != 200 || r.Header.Get("Content-Language") != "id" {
		t.Fatalf("%s, language %s", r.Status, r.Header.Get("Content-Language"))
	}
	has(t, "the Indonesian page", id,
		`<html lang="id">`, "Balai Kota Semarang", "62,4", "µg/m³", "6 detik yang lalu", "tersinkron (NTP)", "Versi <bdi>0.3.0</bdi>", "simulasi",
		"terputus", "tidak ada data baru", "ditolak: nilai tidak bergerak", "celah: sensor tidak menjawab",
		"3 dari 4 tersambung", "PM2,5 di atas 55\u00a0µg/m³", "Gateway tidak terdengar", "Ditangani oleh <bdi>sari</bdi>", "petugas menuju lokasi",
		"Diharapkan 184.233, tersimpan 184.231, hilang 0", `data-expected="184233" data-stored="184231" data-missing="0"`,
		`<svg class="chart-plot"`, "Data sebagai tabel", `datetime="2026-11-23T07:04:56Z"`, "Simulasi: halaman ini memuat data tiruan",
		`<link rel="alternate" hreflang="en" href="/en/dinas/jaringan">`)
	_, en := v.get("/en/dinas/jaringan")
	has(t, "the English page", en,
		`<html lang="en">`, "62.4", "6 seconds ago", "synchronised (NTP)", "offline", "no new data", "rejected: value does not move", "gap: sensor does not answer",
		"3 of 4 online", "PM2.5 above 55\u00a0µg/m³", "Gateway is silent", "Acknowledged by <bdi>sari</bdi>",
		"Expected 184,233, stored 184,231, missing 0", "Data as a table", `<link rel="alternate" hreflang="id" href="/dinas/jaringan">`)
	for _, word := range []string{"tersambung", "Diharapkan", "yang lalu"} {
		if strings.Contains(en, word) {
			t.Errorf("the English page says %q", word)
		}
	}
}

func TestEachGatewayHasItsPage(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	_, body := v.get("/dinas/jaringan/3374/balaikota")
	has(t, "the gateway's page", body, "<h1><bdi>Balai Kota Semarang</bdi></h1>", "Suhu prosesor", "52,4", "24.310 MB", "26 jam", "Tegangan catu kurang", "SMG-01",
		"Diharapkan 46.058", "Kelembapan", `<svg class="chart-plot"`, `href="/en/dinas/jaringan/3374/balaikota"`, "Semua gateway")
	if strings.Contains(body, "Pasar Johar") {
		t.Error("the page shows another gateway's alerts")
	}
	if strings.Contains(body, "tidak ada data baru") {
		t.Error("what has just come is called stale")
	}
	_, body = v.get("/dinas/jaringan/3374/balaikota?" + url.Values{"deret": {"3374/balaikota/scd41/co2"}}.Encode())
	has(t, "the page with another chart", body, "CO₂ (ppm)", "Belum ada bacaan tersimpan")
	for _, path := range []string{"/dinas/jaringan/3374/tidak-ada", "/dinas/jaringan/9999/balaikota", "/en/dinas/jaringan/a/b"} {
		if r, body := v.get(path); r.StatusCode != 404 || !strings.Contains(body, "<h1>") || !strings.Contains(body, "/keluar") {
			t.Errorf("%s: %s; want a page in the site's own frame", path, r.Status)
		}
	}
}

// What a device measured last is no news once it has said that it goes.
func TestWhatIsGoneIsCalledStale(t *testing.T) {
	w := newWorld()
	w.values[hall][0].Stale = true
	_, body := start(t, w).signedIn(t, account.Viewer).get("/dinas/jaringan/3374/balaikota")
	has(t, "the gateway's page", body, "tidak ada data baru")
}

func TestAStormOfAlertsStaysReadable(t *testing.T) {
	w := newWorld()
	w.change(func() {
		for i := range 1000 {
			w.alerts = append(w.alerts, dashboards.Alert{ID: fmt.Sprint("storm-", i), Severity: dashboards.Warning, Condition: dashboards.CondNoData, Node: hall, Since: moment})
		}
	})
	_, body := start(t, w).signedIn(t, account.Viewer).get("/dinas/jaringan")
	if n := strings.Count(body, `<li class="card alert`); n != 100 {
		t.Errorf("the page shows %d alerts", n)
	}
	has(t, "the page", body, "peringatan lain", "PM2,5 di atas 55") // the gravest is there
}

func TestWhatIsMissingIsNeverCalledComplete(t *testing.T) {
	w := newWorld()
	w.total = dashboards.Totals{Expected: 100, Stored: 93, OnTheWay: 1, Lost: 4, Dead: 2}
	v := start(t, w).signedIn(t, account.Viewer)
	_, body := v.get("/dinas/jaringan")
	has(t, "the page", body, "Diharapkan 100, tersimpan 93, hilang 6", "ada yang hilang", "4 tidak akan datang", "2 tidak dapat dibaca")
	if strings.Contains(body, "lengkap") {
		t.Error("the page calls it complete")
	}
	w.change(func() { w.total = dashboards.Totals{} })
	if _, body = v.get("/dinas/jaringan"); !strings.Contains(body, "belum ada bacaan") || strings.Contains(body, "lengkap") {
		t.Error("an empty ledger is called complete")
	}
}

// steps are what each page of an empty installation leads to: words, a command, or the
// form with which to begin.
var steps = map[string][]string{
	"/dinas":                      {"Langkah berikutnya", `href="/dinas/atur/lokasi"`, `href="/dinas/jaringan"`},
	"/dinas/provinsi":             {"Langkah berikutnya", `href="/dinas/atur/lokasi"`},
	"/dinas/wilayah/3374":         {"Langkah berikutnya", `href="/dinas/atur/lokasi"`},
	"/dinas/validasi":             {"Langkah berikutnya", `href="/dinas/atur/lokasi"`},
	"/dinas/buletin":              {"Langkah berikutnya", `href="/dinas/atur/sistem"`},
	"/dinas/laporan":              {"Langkah berikutnya", `href="/dinas/atur/lokasi"`},
	"/dinas/laporan/3374/2026-10": {"Langkah berikutnya", `href="/dinas/wilayah/3374"`},
	"/dinas/jaringan":             {"Belum ada gateway", "pantau gateway add", "Tidak ada peringatan terbuka"},
	"/dinas/atur/sistem":          {`action="/dinas/atur/sistem"`},
	"/dinas/atur/wilayah":         {`action="/dinas/atur/wilayah"`},
	"/dinas/atur/lokasi":          {"Tambahkan satu, atau impor dari berkas", `action="/dinas/atur/lokasi"`, `href="/dinas/atur/impor"`},
	"/dinas/atur/sensor":          {"Belum ada sensor", `action="/dinas/atur/sensor"`},
	"/dinas/atur/impor":           {"contoh untuk diisi", `action="/dinas/atur/impor"`},
	"/dinas/atur/ambang":          {`action="/dinas/atur/ambang"`},
	"/dinas/atur/pengguna":        {`action="/dinas/atur/pengguna"`},
	"/dinas/atur/layar":           {"Belum ada tautan layar", `action="/dinas/atur/layar"`},
	"/dinas/atur/audit":           {"Periksa rantai"},
	"/sandi":                      {`action="/sandi"`},
	"/sandi/kode":                 {`action="/sandi/kode"`},
}

func TestAnEmptyInstallationSaysTheNextStep(t *testing.T) {
	w := &world{now: moment}
	v := start(t, w).signedIn(t, account.Admin)
	for path, step := range steps {
		r, body := v.get(path)
		if r.StatusCode != 200 {
			t.Errorf("%s: %s", path, r.Status)
			continue
		}
		body = body[strings.Index(body, "<main"):]
		has(t, path, body, step...)
		if strings.Contains(body, "Simulasi:") || strings.Contains(body, "Tidak ada yang menunggu Anda") {
			t.Errorf("%s calls an empty installation simulated or well", path)
		}
	}
	for _, rt := range dashboards.Routes() {
		if rt.Method != "GET" || !rt.Staff || strings.Contains(rt.Path, "{") || steps[rt.Path] != nil {
			continue
		}
		if r, _ := v.get(rt.Path); r.StatusCode == 200 && strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: which step does it name in an empty installation?", rt.Path)
		}
	}
}

func TestABrokenSourceCostsItsPartOnly(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Viewer)
	w.change(func() { w.broken = errors.New("disk is on fire at /var/secret") })
	r, body := v.get("/dinas/jaringan")
	if r.StatusCode != 200 || !strings.Contains(body, "belum dapat dibaca") {
		t.Errorf("%s: the page does not say what is missing", r.Status)
	}
	if strings.Contains(body, "secret") {
		t.Error("the page shows the cause to its reader")
	}
	r, body = v.get("/dinas/jaringan/3374/balaikota")
	code := regexp.MustCompile(`<code>([0-9a-f]{8})</code>`).FindStringSubmatch(body)
	if r.StatusCode != 500 || code == nil || strings.Contains(body, "secret") {
		t.Fatalf("%s, want an error page with an id: %s", r.Status, body)
	}
	if log := s.log.String(); !strings.Contains(log, "id="+code[1]) || !strings.Contains(log, "disk is on fire") {
		t.Errorf("the log does not have the cause under id %s:\n%s", code[1], log)
	}
}

// panicking stands for a fault in what the pages were given.
type panicking struct{ dashboards.Network }

func (panicking) Gateways(context.Context) ([]dashboards.Gateway, error) { panic("a fault") }

func TestAPanicIsAnErrorPage(t *testing.T) {
	s := start(t, newWorld(), func(o *dashboards.Options) { o.Network = panicking{} })
	v := s.signedIn(t, account.Viewer)
	r, body := v.get("/dinas/jaringan")
	if r.StatusCode != 500 || strings.Contains(body, "goroutine") || !strings.Contains(body, "Kode kesalahan") {
		t.Errorf("%s: %s", r.Status, body)
	}
	if !strings.Contains(s.log.String(), "a fault") {
		t.Error("the log does not name the fault")
	}
}

func TestAcknowledgingWithoutScripts(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Operator)
	_, body := v.get("/dinas/jaringan?keadaan=online")
	form := regexp.MustCompile(`<form method="post" action="(/dinas/peringatan/[^"]+/tangani)"`).FindStringSubmatch(body)
	if form == nil {
		t.Fatal("the page has no form to acknowledge")
	}
	if !strings.Contains(form[1], "pm25%2F3374") {
		t.Errorf("the gravest alert does not come first: %s", form[1])
	}
	has(t, "the form", body, `name="kembali" value="/dinas/jaringan?keadaan=online"`)
	r, _ := v.post(form[1], url.Values{"kembali": {"/dinas/jaringan?keadaan=online"}, "catatan": {" saya cek <b> "}})
	to, err := r.Location()
	if err != nil || r.StatusCode != 303 || to.Path != "/dinas/jaringan" || to.Query().Get("keadaan") != "online" || to.Fragment != "pemberitahuan" {
		t.Fatalf("%s, to %v", r.Status, to)
	}
	if a := w.alerts[0]; a.AckBy != "operator" || a.AckNote != "saya cek <b>" {
		t.Errorf("recorded: by %q, note %q", a.AckBy, a.AckNote)
	}
	_, body = v.get(to.RequestURI())
	has(t, "the page afterwards", body, "Peringatan ini kini tercatat Anda tangani.", "Ditangani oleh <bdi>operator</bdi>", "saya cek &lt;b&gt;")
	if _, body = v.get("/dinas/jaringan"); strings.Contains(body, "kini tercatat") {
		t.Error("the message is told twice")
	}
	// Somebody else was faster; the alert has cleared.
	r, _ = v.post(form[1], url.Values{})
	if to, _ := r.Location(); to.Query().Get("pesan") != "sudah" {
		t.Errorf("a second time leads to %v", to)
	}
	r, _ = v.post("/en/dinas/peringatan/gone/tangani", url.Values{})
	to, _ = r.Location()
	if _, body = v.get(to.RequestURI()); !strings.Contains(body, "This alert has cleared.") {
		t.Errorf("an alert that is gone leads to %v", to)
	}
}

func TestAcknowledgingInPlaceAnswersWithTheList(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Operator)
	r, body := v.post("/dinas/peringatan/"+url.PathEscape("fill/3374/pasar/bak-1")+"/tangani", url.Values{"gateway": {market.String()}, "kembali": {"/dinas/jaringan/3374/pasar-johar"}}, "HX-Request", "true")
	if r.StatusCode != 200 || strings.Contains(body, "<html") {
		t.Fatalf("%s: %s", r.Status, body)
	}
	has(t, "the fragment", body, `class="alerts"`, "Ditangani oleh <bdi>operator</bdi>", `id="pemberitahuan"`, `hx-swap-oob="true"`)
	if strings.Contains(body, "PM2,5") {
		t.Error("the fragment of one gateway holds another's alerts")
	}
}

func TestFormsNeverLeadToAnotherSite(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Operator)
	for _, evil := range []string{"https://evil.example/", "//evil.example/", `/\evil.example/`, "http:evil", "javascript:alert(1)", "/\t/evil.example", "evil.example"} {
		r, _ := v.post("/dinas/peringatan/x/tangani", url.Values{"kembali": {evil}})
		if to, err := r.Location(); err != nil || !strings.HasPrefix(to.String(), s.URL+"/dinas/jaringan") {
			t.Errorf("kembali=%q leads to %v (%v)", evil, to, err)
		}
		stranger := s.visitor(t)
		r, _ = stranger.post("/masuk", url.Values{"nama": {"operator"}, "sandi": {goodPassword}, "lanjut": {evil}})
		if to, err := r.Location(); err != nil || to.String() != s.URL+"/dinas" {
			t.Errorf("lanjut=%q leads to %v (%v)", evil, to, err)
		}
	}
}

func TestListsAreFilteredAndPaged(t *testing.T) {
	w := newWorld()
	for i := range 120 {
		w.gateways = append(w.gateways, dashboards.Gateway{Node: telemetry.Node{Group: "3399", ID: fmt.Sprintf("pos-%03d", i)}, State: dashboards.StateOnline})
	}
	v := start(t, w).signedIn(t, account.Viewer)
	cards := regexp.MustCompile(`<article class="card gateway"`)
	for path, want := range map[string]int{
		"/dinas/jaringan": 48, "/dinas/jaringan?hal=3": 28, "/dinas/jaringan?hal=99": 28, "/dinas/jaringan?hal=-1": 48,
		"/dinas/jaringan?cari=pos-00": 10, "/dinas/jaringan?cari=SMG-07": 1, "/dinas/jaringan?keadaan=offline": 1, "/dinas/jaringan?keadaan=trouble": 3,
		"/dinas/jaringan?cari=tidak+ada": 0,
	} {
		r, body := v.get(path)
		if n := len(cards.FindAllString(body, -1)); r.StatusCode != 200 || n != want {
			t.Errorf("%s: %s with %d gateways, want %d", path, r.Status, n, want)
		}
	}
	_, body := v.get("/dinas/jaringan?cari=pos&hal=2")
	has(t, "the second page", body, "120 dari 124 gateway", "Halaman 2 dari 3", `href="/dinas/jaringan?cari=pos&amp;hal=3#gateway"`, `value="pos"`)
}

func TestTheStaffsAddressesAreTheirsInEveryLanguage(t *testing.T) {
	for path, want := range map[string]bool{
		"/masuk": true, "/en/masuk": true, "/dinas": true, "/dinas/jaringan": true, "/en/dinas/whatever": true, "/aset/style.css": true, "/sandi": true,
		"/": false, "/en/": false, "/en": false, "/udara": false, "/en/stasiun/dinas": false, "/dinasti": false,
	} {
		if got := dashboards.Owns(path); got != want {
			t.Errorf("%s belongs to the staff: %v, want %v", path, got, want)
		}
	}
}

func TestPagesStandWithoutTheBrowserCode(t *testing.T) {
	s := start(t, newWorld(), func(o *dashboards.Options) { o.Bundle = &web.Bundle{} })
	v := s.signedIn(t, account.Operator)
	r, body := v.get("/dinas/jaringan")
	if r.StatusCode != 200 || strings.Contains(body, "<script") {
		t.Errorf("%s, with a script: %v", r.Status, strings.Contains(body, "<script"))
	}
	has(t, "the page", body, "Muat ulang untuk data terbaru", `<svg class="chart-plot"`)
	if log := s.log.String(); !strings.Contains(log, "built without the browser code") || !strings.Contains(log, "npm") {
		t.Errorf("the log does not say how to get the islands:\n%s", log)
	}
}

func TestAssetsComeFromHereAndFitTheBudget(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	_, body := v.get("/dinas/jaringan")
	total := 0
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(body, -1) {
		if strings.Contains(m[1], "//") {
			t.Errorf("the page names another host: %s", m[1])
		}
		if !strings.HasPrefix(m[1], "/aset/") {
			continue
		}
		r, content := v.get(m[1], "Accept-Encoding", "gzip")
		if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != "gzip" || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, %v", m[1], r.Status, r.Header)
		}
		if strings.HasSuffix(m[1], ".js") {
			total += len(content)
		}
	}
	bundle, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Script == "" {
		t.Fatal("the browser code is not built: run ./setup.sh test")
	}
	all := 0
	for _, f := range bundle.Files {
		if strings.HasSuffix(f.Name, ".js") {
			all += len(f.Gzip)
		}
	}
	if total == 0 || all > 150<<10 {
		t.Errorf("%d bytes of script at the start, %d in all, gzip; at most 150 KB", total, all)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	s := start(t, newWorld(), func(o *dashboards.Options) { o.Metrics = registry })
	v := s.signedIn(t, account.Viewer)
	v.get("/dinas/jaringan")
	v.get("/nowhere/at/all")
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(registry, "pantau_dashboards_requests_total"); err != nil || n != 3 {
		t.Errorf("%d routes were counted (%v), want sign-in, network, none", n, err)
	}
}

func TestTheAgencysOwnColours(t *testing.T) {
	own := category.Settings{Swatches: [5]string{"#34cc33", "#0070c0", "#ffc100", "#ff0000", "#123456"}}
	s := start(t, newWorld(), func(o *dashboards.Options) { o.Categories = own })
	v := s.visitor(t)
	_, html := v.get("/masuk")
	for _, m := range regexp.MustCompile(`href="(/aset/chart[^"]*)"`).FindAllStringSubmatch(html, -1) {
		if _, css := v.get(m[1]); strings.Contains(css, "--cat-5: #123456;") && strings.Contains(css, "--ink-5: #fff;") {
			return
		}
	}
	t.Error("no style sheet has the agency's colours")
}

func TestOptionsNameWhatIsMissing(t *testing.T) {
	for _, o := range []dashboards.Options{{}, {Network: newWorld()}} {
		if _, err := dashboards.New(o); err == nil || !strings.Contains(err.Error(), "Options.") {
			t.Errorf("got %v", err)
		}
	}
}

func BenchmarkNetworkPage(b *testing.B) {
	w := newWorld()
	for i := range 44 {
		n := telemetry.Node{Group: "3399", ID: fmt.Sprintf("pos-%03d", i)}
		w.gateways = append(w.gateways, dashboards.Gateway{Node: n, State: dashboards.StateOnline, Heard: moment})
		w.values[n] = w.values[hall]
	}
	v := start(b, w).signedIn(b, account.Viewer)
	b.ResetTimer()
	for b.Loop() {
		if r, _ := v.get("/dinas/jaringan"); r.StatusCode != http.StatusOK {
			b.Fatal(r.Status)
		}
	}
}
