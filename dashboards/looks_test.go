//go:build !race

package dashboards_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/provider"
	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// looked are all pages of the staff, by the name of their screenshots, in the order
// of a walk: what a stranger sees, the door, the rooms. A route that answers with a
// page and is not here fails TestPagesInABrowser.
var looked = []struct {
	name, path string
	// do is what a visitor does there before it is looked at; nil = nothing.
	do func(p *browsertest.Page, o *office)
}{
	{name: "signin", path: "/masuk"},
	{name: "signin-code", path: "/masuk", do: signAs("berkode", "/masuk/kode")},
	{name: "signin-sso-away", path: "/masuk/sso", do: refused},
	{name: "signin-sso-refused", path: "/masuk/sso/kembali", do: refused},
	{name: "wall-gone", path: "/layar/tidak-ada", do: refused},
	{name: "wall-province", path: "/layar/{wall}", do: func(p *browsertest.Page, _ *office) {
		// Without scripts this keeps a screen going that nobody operates; axe thinks of readers.
		browsertest.Eval[int](p, "document.querySelectorAll('meta[http-equiv=refresh]').forEach(e => e.remove()), 0")
	}},
	{name: "today", path: "/masuk", do: signAs("admin", "/dinas")},
	{name: "province", path: "/dinas/provinsi"},
	{name: "province-points", path: "/dinas/provinsi?peta=titik"},
	{name: "province-areas", path: "/dinas/provinsi?peta=batas"},
	{name: "province-past", path: "/dinas/provinsi?jam=2026-11-22-0900"},
	{name: "district", path: "/dinas/wilayah/3374"},
	{name: "district-without", path: "/dinas/wilayah/3302"},
	{name: "subdistrict", path: "/dinas/wilayah/3374/kecamatan/337401"},
	{name: "site", path: "/dinas/lokasi/SMG-01"},
	{name: "site-month", path: "/dinas/lokasi/SMG-01?rentang=30h&banding=SKA-01&banding=KDS-01"},
	{name: "site-changes", path: "/dinas/lokasi/SMG-01/riwayat"},
	{name: "site-indicative", path: "/dinas/lokasi/MGL-01"},
	{name: "refused", path: "/dinas/lokasi/SMG-01", do: func(p *browsertest.Page, _ *office) {
		settle(p)
		p.Unfold("#validasi")
		p.Fill("#m-catatan", "kabel lepas")
		browsertest.Eval[string](p, "document.querySelector('#m-hingga').value = document.querySelector('#m-dari').value")
		p.Submit("#validasi button[type=submit]")
		quiet(p)
	}},
	{name: "export-wrong", path: "/dinas/lokasi/SMG-01/unduh?bentuk=lukisan", do: refused},
	{name: "trace", path: "/dinas/bukti/ispu-20261123-13-r0-SMG-01"},
	{name: "assessment", path: "/dinas/bukti/baku-2026-pm2_5-24h-55-KDS-01"},
	{name: "sensor", path: "/dinas/sensor/sps30-0042"},
	{name: "sensor-stored", path: "/dinas/sensor/gudang-1"},
	{name: "validation", path: "/dinas/validasi"},
	{name: "bulletins", path: "/dinas/buletin"},
	{name: "bulletin", path: "/dinas/buletin/2026-11-22-1500"},
	{name: "bulletin-revised", path: "/dinas/buletin/2026-11-23-0900"},
	{name: "bulletin-first", path: "/dinas/buletin/2026-11-23-0900?revisi=0"},
	{name: "reports", path: "/dinas/laporan"},
	{name: "monthly", path: "/dinas/laporan/3374/2026-11"},
	{name: "network", path: "/dinas/jaringan"},
	{name: "gateway", path: "/dinas/jaringan/3374/pasar-johar"},
	{name: "not-found", path: "/dinas/jaringan/3374/tidak-ada", do: refused},
	{name: "system", path: "/dinas/atur/sistem"},
	{name: "districts", path: "/dinas/atur/wilayah"},
	{name: "sites", path: "/dinas/atur/lokasi"},
	{name: "site-settings", path: "/dinas/atur/lokasi/SMG-01"},
	{name: "sensors", path: "/dinas/atur/sensor"},
	{name: "sensor-settings", path: "/dinas/atur/sensor/sps30-0042"},
	{name: "rules", path: "/dinas/atur/ambang"},
	{name: "import", path: "/dinas/atur/impor"},
	{name: "import-wrong", path: "/dinas/atur/impor", do: func(p *browsertest.Page, o *office) { sendFile(p, o.wrong) }},
	{name: "import-good", path: "/dinas/atur/impor", do: func(p *browsertest.Page, o *office) { sendFile(p, o.good) }},
	{name: "people", path: "/dinas/atur/pengguna"},
	{name: "person", path: "/dinas/atur/pengguna/sari.wulandari"},
	{name: "walls", path: "/dinas/atur/layar"},
	{name: "audit", path: "/dinas/atur/audit?periksa=1"},
	{name: "account", path: "/sandi"},
	{name: "enrol", path: "/sandi/kode"},
}

// signAs fills in the form of the door, which then leads to another page.
func signAs(name, to string) func(*browsertest.Page, *office) {
	return func(p *browsertest.Page, _ *office) {
		p.Fill("#nama", name)
		p.Fill("#sandi", goodPassword)
		p.Submit("main button[type=submit]")
		p.Wait("location.pathname.endsWith('" + to + "')")
	}
}

// refused forgets that the page answered with an error, which browsers log.
func refused(p *browsertest.Page, _ *office) { quiet(p) }

func sendFile(p *browsertest.Page, file string) {
	p.Attach("#berkas", file)
	p.Submit("main form:has(#berkas) button")
}

// office is a province with all that its pages can show: people, a provider's
// button, boundaries, a corrected bulletin, verdicts, months, a wall screen,
// something in the log.
type office struct {
	*site
	fill        *strings.Replacer // of the paths of looked
	good, wrong string            // files to import
}

func openOffice(t *testing.T) *office {
	t.Helper()
	s := start(t, airWorld(), func(o *dashboards.Options) {
		o.SSO = provider.New(provider.Options{Name: "SSO Pemprov", Issuer: "http://127.0.0.1:1"})
	})
	o := &office{site: s}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	v := s.signedInAs(t, "admin", account.Admin.Everywhere())
	s.grantee(t, "sari.wulandari", account.Grant{Role: account.Validator, District: "3374", Kind: telemetry.KindAir}, account.Grant{Role: account.Operator, District: "3374"})
	s.person(t, "berkode", account.Viewer)
	secret := account.NewCodeSecret()
	_, _, err := s.accounts.SetCode(ctx, "berkode", secret, authenticator(t, secret, time.Now()))
	must(err)
	_, err = s.accounts.Add(ctx, "budi", account.Technician.Everywhere())
	must(err)
	for _, e := range []audit.Entry{
		{Who: "admin", Action: "user.add", Object: "sari.wulandari", Detail: "validator:3374:air"},
		{Who: "os:root", Action: "gateway.revoke", Object: "3374/pasar-johar"},
		{Action: "signin.refused", Object: "root"},
		{Who: "sari.wulandari", Action: "mark.add", Object: "SMG-01", Detail: "pm2_5 invalid 2026-11-23T05:00:00+07:00/2026-11-23T07:00:00+07:00 kalibrasi: teknisi membersihkan saluran masuk dan mengganti penyaring sebelum pengukuran dilanjutkan kembali"},
	} {
		must(s.audit.Add(ctx, e))
	}
	for code, name := range map[string]string{"3374": "Kota Semarang", "337401": "Semarang Tengah"} {
		_, err = s.places.ImportMap(ctx, []byte(`{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"kode":"`+code+`","nama":"`+name+`"},"geometry":{"type":"Polygon","coordinates":[[[110.30,-7.10],[110.50,-7.10],[110.50,-6.95],[110.30,-6.95],[110.30,-7.10]]]}}]}`), places.MapOptions{Source: code + ".geojson"})
		must(err)
	}
	must(s.desk.SetAgency(ctx, figures.Agency{Name: "Dinas Lingkungan Hidup dan Kehutanan", Address: "Jl. Setiabudi, Semarang", Contact: "lapor@dlhk.example", City: "Semarang", Signer: "Dra. Sri Lestari", NIP: "197001011995032001", Title: "Kepala Dinas"}))
	_, err = s.desk.Annotate(ctx, figures.Annotation{Site: "SMG-01", From: moment.Add(-5 * time.Hour), To: moment.Add(-4 * time.Hour), Text: "pembakaran jerami", By: "budi"})
	must(err)
	_, err = s.desk.AddMark(ctx, figures.Mark{Site: "SMG-01", Quantity: "pm10", From: moment.Add(-3 * time.Hour), To: moment.Add(-2 * time.Hour), Invalid: true, Code: "other", Note: "kabel lepas", By: "sari.wulandari"})
	must(err)
	must(s.desk.SetMonth(ctx, figures.Month{Site: "SMG-01", Month: "2026-10", Status: figures.Validated, By: "sari.wulandari"}))
	for ago := 10; ago < 20; ago++ {
		s.desk.Feed(publicationtest.Hour("SKA-01", "pm2_5", moment.Truncate(time.Hour).Add(-time.Duration(ago)*time.Hour), 240))
	}
	for ago := range 5 {
		h := publicationtest.Hour("SMG-01", "pm2_5", moment.Truncate(time.Hour).Add(-time.Duration(ago)*time.Hour), 34)
		h.Sources = []figures.Source{{Node: hall, Device: "sps30", Sensor: "sps30-0042"}}
		s.desk.Feed(h)
	}
	if r, body := v.post("/dinas/buletin/2026-11-23-0900/ralat", url.Values{"alasan": {"hasil validasi Surakarta"}}); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("the correction: %s %s", r.Status, body)
	}
	o.fill = strings.NewReplacer("/layar/{wall}", hang(t, s, v, "province", "id", "90"))
	const head = "code,name,district,lat,lon,class,public\nKLT-01,Alun-alun Klaten,3310,-7.7,110.6,indikatif,yes\n"
	for at, content := range map[*string]string{&o.good: head, &o.wrong: head + "KLT-02,Dua,9999,-77,110.6,mewah,yes\n"} {
		*at = filepath.Join(t.TempDir(), "lokasi.csv")
		must(os.WriteFile(*at, []byte(content), 0o600))
	}
	return o
}

// settle waits until what comes after the page itself is there.
func settle(p *browsertest.Page) {
	p.Wait("document.readyState === 'complete'")
	if browsertest.Eval[bool](p, "!!document.querySelector('pantau-live .state')") { // absent without scripts
		p.Wait("document.querySelector('pantau-live .state.ok')")
	}
	if browsertest.Eval[bool](p, "!!document.querySelector('pantau-live .state') && !!document.querySelector('pantau-chart')") {
		p.Show("pantau-chart")
		p.Wait("document.querySelector('pantau-chart[data-drawn] canvas')")
	}
}

// walk goes through all pages in one language and calls each with its name.
func walk(p *browsertest.Page, o *office, prefix string, each func(name string)) {
	for _, l := range looked {
		p.Go(o.URL + prefix + o.fill.Replace(l.path))
		if l.do != nil {
			l.do(p, o)
		}
		settle(p)
		each(l.name)
	}
}

func TestPagesInABrowser(t *testing.T) {
	b := browsertest.Start(t)
	o := openOffice(t)
	routes, seen := http.NewServeMux(), map[string]bool{}
	for _, rt := range dashboards.Routes() {
		if rt.Method == "GET" {
			routes.Handle("GET "+rt.Path, http.NotFoundHandler())
		}
	}
	for _, v := range browsertest.Variants() {
		t.Run(v.Name, func(t *testing.T) {
			p := b.Open(t, v.Look, o.URL+v.Prefix+"/masuk")
			walk(p, o, v.Prefix, func(name string) {
				p.Sound(name + "-" + v.Name)
				_, path := page.Split(browsertest.Eval[string](p, "location.pathname"))
				_, pattern := routes.Handler(&http.Request{Method: "GET", URL: &url.URL{Path: path}})
				seen[pattern] = true
			})
		})
	}
	// Whoever adds a route that answers with a page adds it to looked.
	v := o.signedInAs(t, "pemeriksa", account.Admin.Everywhere())
	for _, rt := range dashboards.Routes() {
		if rt.Method != "GET" || rt.Path == "/dinas/langsung" { // a stream without an end
			continue
		}
		r, body := v.get(samples.Replace(rt.Path) + queries[rt.Path])
		if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") && strings.Contains(body, "<html") && !seen["GET "+rt.Path] {
			t.Errorf("no browser looks at %s: add it to looked", rt.Path)
		}
	}
}

func TestPagesByKeyboardFingerAndMagnifier(t *testing.T) {
	b := browsertest.Start(t)
	o := openOffice(t)
	t.Run("keyboard", func(t *testing.T) {
		p := b.Open(t, browsertest.Phone, o.URL+"/masuk")
		walk(p, o, "", func(name string) {
			for _, wrong := range p.Keyboard() {
				t.Errorf("%s: %s", name, wrong)
			}
			for _, small := range p.SmallTargets() {
				if !strings.Contains(small, ": <a ") || strings.Contains(small, `class="button`) { // links in dense tables: axe asks for 24 px
					t.Errorf("%s: a small target: %s", name, small)
				}
			}
		})
	})
	t.Run("zoomed", func(t *testing.T) {
		p := b.Open(t, browsertest.Zoomed, o.URL+"/masuk")
		walk(p, o, "", func(name string) { p.Steady(name + "-zoomed") })
	})
}

func TestPagesStandStillWhileTheyArrive(t *testing.T) {
	b := browsertest.Start(t)
	o := openOffice(t)
	o.URL = browsertest.Drip(t, o.URL)
	p := b.Open(t, browsertest.Desktop.WithoutScript(), o.URL+"/masuk") // a phone has one column, where nothing can move
	walk(p, o, "", func(name string) {
		if shift := p.Shift(); shift >= 0.05 {
			t.Errorf("%s: the layout shifted by %.3f", name, shift)
		}
	})
}
