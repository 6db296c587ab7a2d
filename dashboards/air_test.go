package dashboards_test

import (
	"bytes"
	"html"
	"io"
	"maps"
	"math"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// airWorld is a province with stations of all classes and a month of hours: some
// clean, some not, one with holes, one that fell silent.
func airWorld() *world {
	w := newWorld()
	add := func(code, name, district string, lat, lon float64, class places.Class) {
		w.sites = append(w.sites, places.Site{Code: code, Name: name, District: district, Lat: lat, Lon: lon, Class: class, Public: true, Simulated: true})
	}
	add("SKA-01", "Jebres Surakarta", "3372", -7.557, 110.855, places.Reference)
	add("KDS-01", "Alun-alun Kudus", "3319", -6.806, 110.841, places.Reference)
	add("CLP-01", "PLTU Cilacap", "3301", -7.69, 109.08, places.Reference)
	add("TGL-01", "Pelabuhan Tegal", "3376", -6.85, 109.14, places.Reference)
	add("PKL-01", "Batik Pekalongan", "3375", -6.889, 109.675, places.SNI9178)
	add("MGL-01", "Alun-alun Magelang", "3371", -7.47, 110.217, places.Indicative)
	add("RBG-01", "Semen Rembang", "3317", -6.71, 111.34, places.Reference)
	add("SLT-01", "Salatiga", "3373", -7.33, 110.5, places.Reference)
	w.sites[6].Certificate = places.Certificate{Number: "SNI-9178/014", Issuer: "Lab Uji Undip", Collocated: moment.AddDate(0, -3, 0), Expires: moment.AddDate(1, 0, 0)}
	w.then = slices.Clone(w.sites)
	w.filled, w.fill = "air", func(d *publicationtest.Desk) {
		begin, lately := moment.AddDate(0, 0, -32), moment.Add(-30*time.Hour)
		var feed []func(from, to time.Time)
		base := map[string]float64{"SMG-01": 34, "SKA-01": 21, "KDS-01": 62, "CLP-01": 130, "TGL-01": 9, "PKL-01": 44, "MGL-01": 27, "RBG-01": 210, "SLT-01": 12}
		for _, site := range w.sites {
			b, ok := base[site.Code]
			if !ok {
				continue
			}
			quantities := []string{"pm2_5", "pm10"}
			if site.Code == "SMG-01" {
				quantities = append(quantities, "so2", "no2", "o3", "co", "temperature", "humidity")
			}
			course := publicationtest.Daily(b)
			feed = append(feed, func(from, to time.Time) {
				d.History(site.Code, from, to, quantities, func(q string, end time.Time) float64 {
					ago := moment.Sub(end).Hours()
					switch {
					case site.Code == "SLT-01" && ago < 9: // fell silent
						return math.NaN()
					case site.Code == "KDS-01" && ago > 200 && ago < 230, site.Code == "SMG-01" && ago > 60 && ago < 66:
						return math.NaN()
					case q == "co":
						return course(q, end) * 30
					case q == "temperature":
						return 27 + 4*math.Sin(float64(end.Hour())/4)
					case q == "humidity":
						return 74
					}
					return course(q, end)
				})
			})
		}
		for _, f := range feed {
			f(begin, lately)
		}
		for at := lately; at.Before(moment); at = at.Add(time.Hour) { // the last hours as they came
			for _, f := range feed {
				f(at, at.Add(time.Hour))
			}
			d.SetNow(at.Add(time.Hour))
		}
	}
	return w
}

// Tiles come from the one host that is configured, on the page with the map only;
// what is no template of tiles is refused at the start.
func TestTilesComeFromTheirHostOnly(t *testing.T) {
	s := start(t, newWorld(), func(o *dashboards.Options) {
		o.Tiles = dashboards.Tiles{URL: "https://tile.example/{z}/{x}/{y}.png", Credit: `<b>peta</b>`}
	})
	v := s.signedIn(t, account.Viewer)
	r, body := v.get("/dinas/provinsi")
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "img-src 'self' https://tile.example;") || !strings.Contains(policy, "script-src 'self';") {
		t.Errorf("the province's policy: %s", policy)
	}
	has(t, "the page", body, "&lt;b&gt;peta&lt;/b&gt;")
	if r, _ := v.get("/dinas"); strings.Contains(r.Header.Get("Content-Security-Policy"), "tile") {
		t.Error("another page may show tiles, too")
	}
	for _, wrong := range []string{"tile.example/{z}/{x}/{y}", "https://tile.example/{z}/{x}", "javascript:{z}{x}{y}", "https://a; script-src *//{z}/{x}/{y}"} {
		if _, err := dashboards.New(dashboards.Options{Network: s.world, Alerts: s.world, Ledger: s.world, History: s.world, Places: s.places, Figures: s.desk, People: s.accounts, Sessions: &s.world.sessions, Audit: s.audit, Tiles: dashboards.Tiles{URL: wrong}}); err == nil {
			t.Errorf("%q is taken as tiles", wrong)
		}
	}
}

// A validator's verdict is kept and stays on the page (what it does to figures, the
// book's own tests say), and a closed month refuses the next one until it is opened again with a reason.
func TestAValidatorsWork(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedInAs(t, "val", account.Grant{Role: account.Validator, District: "3374", Kind: telemetry.KindAir})
	mark := url.Values{"besaran": {"pm2_5"}, "dari": {"2026-11-23T03:00"}, "hingga": {"2026-11-23T06:00"}, "putusan": {"tidak-sah"}, "alasan": {"calibration"}, "catatan": {"kalibrasi <b>lapangan</b>"}}
	if r, body := v.post("/dinas/lokasi/SMG-01/tanda", mark); r.StatusCode != 303 || !strings.Contains(r.Header.Get("Location"), "pesan=ditandai") {
		t.Fatalf("%s %s", r.Status, body)
	}
	_, body := v.get("/dinas/lokasi/SMG-01?pesan=ditandai")
	has(t, "the site's page", body, "kalibrasi &lt;b&gt;lapangan&lt;/b&gt;", "Putusan tersimpan", "kalibrasi: ")
	// What is wrong is said, and nothing is kept.
	for name, change := range map[string]url.Values{
		"the end before the beginning": {"hingga": {"2026-11-23T02:00"}}, "no note": {"catatan": {""}}, "an unknown reason": {"alasan": {"bosan"}}, "no time": {"dari": {"kemarin"}},
	} {
		form := maps.Clone(mark)
		maps.Copy(form, change)
		if r, body := v.post("/dinas/lokasi/SMG-01/tanda", form); r.StatusCode != 422 || !strings.Contains(body, "Belum tersimpan") {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	if marks, err := s.desk.Marks(t.Context(), "SMG-01", time.Time{}, time.Time{}); err != nil || len(marks) != 1 {
		t.Errorf("%d marks are kept, %v", len(marks), err)
	}
	// Another district's station, another kind's quantity.
	if r, _ := v.post("/dinas/lokasi/SKA-01/tanda", mark); r.StatusCode != 403 {
		t.Errorf("another district: %s", r.Status)
	}
	waste := maps.Clone(mark)
	waste.Set("besaran", "fill")
	if r, _ := v.post("/dinas/lokasi/SMG-01/tanda", waste); r.StatusCode != 403 {
		t.Errorf("another kind: %s", r.Status)
	}
	// The month.
	if r, _ := v.post("/dinas/lokasi/SMG-01/bulan", url.Values{"bulan": {"2026-11"}}); r.StatusCode != 422 {
		t.Errorf("a month that has not ended: %s", r.Status)
	}
	if r, _ := v.post("/dinas/lokasi/SMG-01/bulan", url.Values{"bulan": {"2026-10"}}); r.StatusCode != 303 {
		t.Errorf("closing October: %s", r.Status)
	}
	october := maps.Clone(mark)
	october.Set("dari", "2026-10-30T03:00")
	october.Set("hingga", "2026-10-30T04:00")
	if r, body := v.post("/dinas/lokasi/SMG-01/tanda", october); r.StatusCode != 422 || !strings.Contains(body, "2026-10") {
		t.Errorf("a mark in a closed month: %s", r.Status)
	}
	_, body = v.get("/dinas/validasi")
	has(t, "the backlog", body, "tervalidasi", "Buka lagi")
	if strings.Contains(body, "Surakarta") {
		t.Error("the backlog shows another district's stations")
	}
	if r, _ := v.post("/dinas/lokasi/SMG-01/bulan", url.Values{"bulan": {"2026-10"}, "buka": {"1"}}); r.StatusCode != 422 {
		t.Errorf("opening without a reason: %s", r.Status)
	}
	if r, _ := v.post("/dinas/lokasi/SMG-01/bulan", url.Values{"bulan": {"2026-10"}, "buka": {"1"}, "catatan": {"data terlambat"}}); r.StatusCode != 303 {
		t.Errorf("opening: %s", r.Status)
	}
	if r, _ := v.post("/dinas/lokasi/SMG-01/tanda", october); r.StatusCode != 303 {
		t.Errorf("a mark in the month that is open again: %s", r.Status)
	}
	told, _, err := s.audit.Search(t.Context(), audit.Query{Who: "val", Limit: 50})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range told {
		actions = append(actions, r.Action)
	}
	for _, want := range []string{"mark.add", "month.set"} {
		if !slices.Contains(actions, want) {
			t.Errorf("the audit log lacks %s: %v", want, actions)
		}
	}
}

// An approver corrects a bulletin; with approval switched on, drafts wait for one.
func TestAnApproversWork(t *testing.T) {
	s := start(t, airWorld())
	viewer, v := s.signedIn(t, account.Viewer), s.signedIn(t, account.Approver)
	const at = "/dinas/buletin/2026-11-23-0900"
	_, body := viewer.get(at)
	has(t, "the bulletin", body, "Semen Rembang", "278", "tidak dapat dinilai", "SHA-256")
	if strings.Contains(body, at+"/ralat") {
		t.Error("a viewer is offered a correction")
	}
	if r, _ := viewer.post(at+"/ralat", url.Values{"alasan": {"x"}}); r.StatusCode != 403 {
		t.Errorf("a viewer's correction: %s", r.Status)
	}
	if r, _ := v.post(at+"/ralat", url.Values{}); r.StatusCode != 422 {
		t.Errorf("a correction without a reason: %s", r.Status)
	}
	if r, _ := v.post(at+"/setujui", url.Values{"nomor": {"660/1"}}); r.StatusCode != 422 {
		t.Errorf("approving what is published: %s", r.Status)
	}
	// What changed since becomes the correction.
	for ago := 10; ago < 20; ago++ {
		s.desk.Feed(publicationtest.Hour("SKA-01", "pm2_5", moment.Truncate(time.Hour).Add(-time.Duration(ago)*time.Hour), 240))
	}
	if r, body := v.post(at+"/ralat", url.Values{"alasan": {"hasil validasi Surakarta"}}); r.StatusCode != 303 {
		t.Fatalf("the correction: %s %s", r.Status, body)
	}
	_, body = v.get(at)
	has(t, "the corrected bulletin", body, "R1", "hasil validasi Surakarta", "Yang berubah", "Terbitan pertama")
	_, first := v.get(at + "?revisi=0")
	if strings.Contains(first, "hasil validasi Surakarta") {
		t.Error("the first edition changed")
	}
	if r, _ := v.get("/dinas/buletin/..%2f..%2fetc"); r.StatusCode != 404 {
		t.Errorf("a strange name: %s", r.Status)
	}
}

// Settings on pages: what is wrong stands beside its field and changes nothing.
func TestSettingsOfPlacesAndRules(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Admin)
	site := url.Values{"code": {"KLT-01"}, "name": {`Klaten <script>"`}, "district": {"3310"}, "lat": {"-7,70"}, "lon": {"110.6"}, "class": {"indikatif"}, "public": {"1"}}
	if r, body := v.post("/dinas/atur/lokasi", site); r.StatusCode != 303 {
		t.Fatalf("%s %s", r.Status, body)
	}
	if got, ok := s.places.Site("KLT-01"); !ok || got.Lat != -7.7 || !got.Public {
		t.Errorf("kept: %+v", got)
	}
	r, body := v.post("/dinas/atur/lokasi/KLT-01", url.Values{"name": {"Klaten"}, "district": {"3310"}, "lat": {"7.70"}, "lon": {"110.6"}, "class": {"sni9178"}})
	if r.StatusCode != 422 {
		t.Errorf("a latitude in the north and no certificate: %s", r.Status)
	}
	has(t, "the form", body, "di luar yang mungkin", "harus diisi", `value="7.7"`)
	if got, _ := s.places.Site("KLT-01"); got.Class != places.Indicative {
		t.Errorf("a wrong form changed the site: %+v", got)
	}
	if r, _ := v.post("/dinas/atur/lokasi/KLT-01/penempatan", url.Values{"node": {"3310/klaten"}, "device": {"sps30"}, "from": {"2026-11-01T00:00"}, "main": {"pm2_5, pm10"}}); r.StatusCode != 303 {
		t.Errorf("a deployment: %s", r.Status)
	}
	if r, body := v.post("/dinas/atur/lokasi/SMG-07/penempatan", url.Values{"node": {"3310/klaten"}, "device": {"sps30"}, "from": {"2026-11-05T00:00"}}); r.StatusCode != 422 || !strings.Contains(body, "sudah dipakai") {
		t.Errorf("the same device at a second place: %s", r.Status)
	}
	other := s.signedInAs(t, "teknisi", account.Grant{Role: account.Technician, District: "3301"})
	for _, path := range []string{"/dinas/atur/lokasi/SMG-01", "/dinas/atur/lokasi/SMG-01/penempatan"} {
		if r, _ := other.post(path, url.Values{"node": {"3374/balaikota"}, "device": {"*"}}); r.StatusCode != 403 {
			t.Errorf("another district's technician at %s: %s", path, r.Status)
		}
	}
	// A gateway of another district cannot be taken to one's own.
	if r, _ := other.post("/dinas/atur/lokasi/CLP-01/penempatan", url.Values{"node": {"3374/balaikota"}, "device": {"scd41"}}); r.StatusCode != 403 {
		t.Errorf("another district's gateway: %s", r.Status)
	}
	// Rules.
	_, body = v.get("/dinas/atur/ambang")
	form := url.Values{}
	for _, m := range regexp.MustCompile(`<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		form.Set(m[1], m[2])
	}
	for name, value := range map[string]string{"nodes": "stepped", "auto_publish": "", "day_hours": "20", "since": "2026-12-01T00:00", "alasan": "hasil rapat", "bulletins": "9, 15", "hc_gas": "SMG-01 methane"} {
		form.Set(name, value)
	}
	if r, body := v.post("/dinas/atur/ambang", form); r.StatusCode != 303 {
		t.Fatalf("rules: %s %s", r.Status, regexp.MustCompile(`(?s)class="wrong"[^<]*<`).FindString(body))
	}
	all, err := s.desk.Rules(t.Context())
	if last := all[len(all)-1]; err != nil || last.Rules.Gates.DayHours != 20 || last.Rules.AutoPublish || last.Reason != "hasil rapat" || last.Rules.Breakpoints[figures.PM25] != figures.BreakpointsP14()[figures.PM25] || last.Rules.HCGas["SMG-01"] != "methane" {
		t.Errorf("kept: %+v, %v", all[len(all)-1], err)
	}
	for name, change := range map[string][2]string{"a past date": {"since", "2026-11-01T00:00"}, "no reason": {"alasan", ""}, "30 hours": {"day_hours", "30"}, "no number": {"bp_pm10_2", "abc"}} {
		wrong := maps.Clone(form)
		wrong.Set(change[0], change[1])
		if r, body := v.post("/dinas/atur/ambang", wrong); r.StatusCode != 422 || !strings.Contains(body, `class="wrong"`) {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	if again, err := s.desk.Rules(t.Context()); err != nil || len(again) != len(all) {
		t.Errorf("wrong forms left %d rules of %d", len(again), len(all))
	}
	if r, _ := v.post("/dinas/atur/sistem", url.Values{"agency": {"Dinas Lingkungan Hidup"}, "signer": {"Dr. Sari"}, "letter_number": {"660/{n}/{year}"}}); r.StatusCode != 303 {
		t.Errorf("the letterhead: %s", r.Status)
	}
}

// An import is checked first and then taken as it was checked.
func TestImportOnAPage(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Admin)
	send := func(field, name, content string) (*http.Response, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		part, err := w.CreateFormField(field)
		if name != "" {
			part, err = w.CreateFormFile(field, name)
		}
		if err == nil {
			_, err = part.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/dinas/atur/impor", &b)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", w.FormDataContentType())
		r.Header.Set("Origin", s.URL)
		answer, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer, string(text)
	}
	const head = "code,name,district,lat,lon,class,public\n"
	r, body := send("berkas", "lokasi.csv", head+"KLT-01,=HYPERLINK(1),3310,-7.7,110.6,indikatif,yes\nKLT-02,Dua,9999,-7.7,110.6,indikatif,yes\n")
	if r.StatusCode != 200 {
		t.Fatal(r.Status, body)
	}
	has(t, "the check", body, "1 sel salah", "9999", "tidak dikenal (kode BPS kabupaten atau kota di Jawa Tengah, misalnya 3374)")
	if strings.Contains(body, "want ") {
		t.Error("the check is half in English")
	}
	good := head + "KLT-01,=HYPERLINK(1),3310,-7.7,110.6,indikatif,yes\n"
	_, body = send("berkas", "lokasi.csv", good)
	has(t, "the check of a good file", body, "Berkas ini baik: 1 perubahan", "KLT-01", "Simpan perubahan ini")
	if _, ok := s.places.Site("KLT-01"); ok {
		t.Fatal("the check alone changed something")
	}
	file := regexp.MustCompile(`name="isi" value="([^"]+)"`).FindStringSubmatch(body)
	if file == nil {
		t.Fatal("the page does not hold the file that it checked")
	}
	if r, _ := send("isi", "", html.UnescapeString(file[1])); r.StatusCode != 303 {
		t.Fatalf("taking it: %s", r.Status)
	}
	if got, ok := s.places.Site("KLT-01"); !ok || got.Name != "=HYPERLINK(1)" {
		t.Errorf("kept: %+v", got)
	}
	if r, body := v.get("/dinas/atur/impor/berkas"); r.StatusCode != 200 || !strings.HasPrefix(body, "PK") {
		t.Errorf("the export: %s", r.Status)
	}
}

// Names and texts of places and people are text on every page of figures.
func TestHostileNamesOfPlaces(t *testing.T) {
	w := airWorld()
	const evil = `<x-evil onmouseover=alert(1)>"'{{.}}</script><!--`
	for i := range w.sites {
		w.sites[i].Name, w.sites[i].Operator = evil+w.sites[i].Code, evil
	}
	for i := range w.sensors {
		w.sensors[i].Name, w.sensors[i].Maker, w.sensors[i].Note = evil, evil, evil
	}
	w.gateways[0].Told = map[string]telemetry.Identity{"sps30": {Firmware: evil + "\u202e", Serial: evil + "\u202e"}}
	s := start(t, w)
	v := s.signedIn(t, account.Admin)
	if _, err := s.desk.Annotate(t.Context(), figures.Annotation{Site: "SMG-01", From: moment.Add(-3 * time.Hour), To: moment.Add(-2 * time.Hour), Text: evil + "\u202e", By: evil}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.desk.AddMark(t.Context(), figures.Mark{Site: "SMG-01", Quantity: "pm2_5", From: moment.Add(-3 * time.Hour), To: moment.Add(-2 * time.Hour), Invalid: true, Code: "other", Note: evil, By: evil}); err != nil {
		t.Fatal(err)
	}
	if err := s.desk.SetAgency(t.Context(), figures.Agency{Name: evil, Address: evil, Signer: evil}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/dinas", "/dinas/provinsi", "/dinas/provinsi?peta=titik", "/dinas/peta", "/dinas/wilayah/3374", "/dinas/lokasi/SMG-01?banding=SKA-01", "/dinas/lokasi/SMG-01/deret?besaran=pm2_5&banding=SKA-01", "/dinas/sensor/sps30-0042",
		"/dinas/validasi", "/dinas/buletin", "/dinas/buletin/2026-11-23-0900", "/dinas/atur/lokasi", "/dinas/atur/lokasi/SMG-01", "/dinas/atur/sensor", "/dinas/atur/sensor/sps30-0042", "/dinas/atur/sistem", "/dinas/atur/lokasi?cari=" + url.QueryEscape(evil+"\u202e"), "/dinas/jaringan?cari=" + url.QueryEscape(evil+"\u202e"), "/dinas/atur/audit?objek=x&siapa=" + url.QueryEscape(evil+"\u202e"), "/dinas/lokasi/SMG-01/riwayat",
	} {
		for _, prefix := range []string{"", "/en"} {
			r, body := v.get(prefix + path)
			if r.StatusCode != 200 {
				t.Errorf("%s: %s", prefix+path, r.Status)
			}
			if strings.Contains(body, "<x-evil") || strings.Contains(body, "\u202e") {
				t.Errorf("%s holds what somebody wrote as markup", prefix+path)
			}
		}
	}
	// What an address says, too.
	for _, path := range []string{"/dinas/provinsi?jam=%3Cx-evil%3E", "/dinas/lokasi/SMG-01?rentang=%3Cx-evil%3E", "/dinas/lokasi/SMG-01?besaran=%3Cx-evil%3E&banding=%3Cx-evil%3E&tahun=%3Cx-evil%3E", "/dinas/wilayah/%3Cx-evil%3E", "/dinas/provinsi?jam=2026-11-23-1430"} {
		if r, body := v.get(path); strings.Contains(body, "<x-evil") || r.StatusCode >= 500 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
}

// An indicative station shows concentrations and that they are estimates; nowhere
// does it have an index or a category.
func TestAnIndicativeStationHasNoIndex(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Admin)
	f, ok, err := s.desk.Figure(t.Context(), figures.Hourly, "MGL-01", moment.Truncate(time.Hour).Add(-time.Hour))
	if err != nil || !ok || !f.OK || !f.Estimate {
		t.Fatalf("Magelang: %+v, %v", f, err)
	}
	i := slices.IndexFunc(f.Parts, func(p figures.Part) bool { return p.Parameter == figures.PM25 })
	value := page.Indonesian.Value("pm2_5", f.Parts[i].Mean) + " µg/m³"
	_, site := v.get("/dinas/lokasi/MGL-01")
	has(t, "the site", site, "Perkiraan", value+"</strong> perkiraan", "tidak ada ISPU", "Tiap parameter")
	_, province := v.get("/dinas/provinsi")
	_, district := v.get("/dinas/wilayah/3371")
	_, points := v.get("/dinas/provinsi?peta=titik")
	_, month := v.get("/dinas/laporan/3371/2026-11")
	has(t, "the province", province, value+"</strong> perkiraan")
	has(t, "the district", district, value+"</strong> perkiraan")
	has(t, "the map", points, "Alun-alun Magelang: "+value+" perkiraan", ">≈<")
	has(t, "the month", month, "perkiraan, bukan ISPU")
	_, street := v.get("/dinas/peta")
	has(t, "the street map", street, `"name":"Alun-alun Magelang","mark":"≈","value":"`+value+`","word":"perkiraan","category":0`)
	_, file := v.get("/dinas/laporan/3371/2026-11/berkas?bentuk=csv")
	has(t, "the file", file, "MGL-01,Alun-alun Magelang,indikatif,22,0,,,,,,,,,,0,")
	index := regexp.MustCompile(`>(6[0-9]|Sedang)<|(6[0-9]|> ?) Sedang|class="cat-[1-5]|kalender-11`)
	for name, body := range map[string]string{"the site": site, "the district": district, "the month": month} {
		main := body[strings.Index(body, "<main"):]
		if name == "the month" {
			main = main[strings.Index(main, "<tbody"):]
		}
		if m := index.FindString(main); m != "" {
			t.Errorf("%s shows an index of an indicative station: %q", name, m)
		}
	}
}

// What does not enter the index does not enter staff's charts either, and the chart
// says why.
func TestChartsLeaveARunOfZerosOut(t *testing.T) {
	w := newWorld()
	w.filled, w.fill = "zeros", func(d *publicationtest.Desk) {
		dead := moment.Add(-20 * time.Hour)
		d.History("SMG-01", moment.AddDate(0, 0, -4), moment, []string{"pm2_5"}, func(_ string, end time.Time) float64 {
			if end.After(dead) && !end.After(dead.Add(5*time.Hour)) {
				return 0
			}
			return 40
		})
		d.SetNow(moment)
	}
	s := start(t, w)
	v := s.signedIn(t, account.Viewer)
	_, body := v.get("/dinas/lokasi/SMG-01?rentang=7h")
	if n := strings.Count(body, `–<small class="muted">deretan nol yang mencurigakan</small>`); n != 5 {
		t.Errorf("the chart's table leaves %d hours out as zeros, want 5", n)
	}
}

// Staff read how a figure came about under their grant, also of sites that citizens
// may not know of.
func TestStaffReadTheTraceOfASiteThatIsNotPublic(t *testing.T) {
	w := airWorld()
	for i := range w.sites {
		w.sites[i].Public = w.sites[i].Code != "SMG-01"
	}
	s := start(t, w)
	v := s.signedInAs(t, "udara", account.Grant{Role: account.Viewer, District: "3374", Kind: telemetry.KindAir})
	_, body := v.get("/dinas/lokasi/SMG-01")
	to := regexp.MustCompile(`href="(/dinas/bukti/[^"]+)">Bagaimana angka ini dihitung`).FindStringSubmatch(body)
	if to == nil {
		t.Fatal("the site's page does not lead to its figure's trace")
	}
	r, body := v.get(to[1])
	if r.StatusCode != 200 {
		t.Fatalf("%s: %s", to[1], r.Status)
	}
	has(t, "the trace", body, "Rata-rata 24 jam sah", "Jam yang masuk", "Aturan yang dipakai", "18 jam sah", "<h2>CO</h2>")
	if strings.Contains(body, "Halaman warga") {
		t.Error("the trace leads to a citizens' page that is none")
	}
	if r, body := v.get(to[1] + ".json"); r.StatusCode != 200 || !strings.Contains(body, `"site": "SMG-01"`) {
		t.Errorf("its JSON: %s", r.Status)
	}
	for path, want := range map[string]int{strings.Replace(to[1], "SMG-01", "CLP-01", 1): 403, strings.Replace(to[1], "SMG-01", "TAK-01", 1): 404, "/dinas/bukti/x": 404} {
		if r, _ := v.get(path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	// What a district says of PP 22/2021 leads to its proof.
	const proof = "/dinas/bukti/baku-2026-pm2_5-24h-55-SMG-01"
	_, body = v.get(proof)
	has(t, "the assessment", body, "Kejadian di atas baku mutu", "Jam terbaru", "Aturan yang dipakai", "PP 22/2021", "SMG-01")
	if strings.Contains(body, "Halaman warga") {
		t.Error("the assessment leads to a citizens' page that is none")
	}
	if r, body := v.get(proof + ".json"); r.StatusCode != 200 || !strings.Contains(body, `"site":"SMG-01"`) {
		t.Errorf("its JSON: %s", r.Status)
	}
	for path, want := range map[string]int{strings.Replace(proof, "SMG-01", "CLP-01", 1): 403, strings.Replace(proof, "SMG-01", "TAK-01", 1): 404, strings.Replace(proof, "55", "56", 1): 404, "/dinas/bukti/baku-x": 404} {
		if r, _ := v.get(path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	everywhere := s.signedIn(t, account.Viewer)
	_, body = everywhere.get("/dinas/wilayah/3319")
	has(t, "a district where the limit was exceeded", body, `href="`+strings.Replace(proof, "SMG", "KDS", 1)+`"`)
	_, body = everywhere.get("/dinas/bukti/ispu-20261123-13-r0-SKA-01")
	has(t, "the trace of a public site", body, `href="/bukti/ispu-`)
}

// A sensor's page tells what became of its own series' readings, how it is read, and
// since when at which interval.
func TestASensorsLedgerAndIntervals(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Viewer)
	hour := moment.Truncate(time.Hour)
	for ago := range 10 {
		h := publicationtest.Hour("SMG-01", "pm2_5", hour.Add(-time.Duration(ago)*time.Hour), 30)
		h.Sources = []figures.Source{{Node: hall, Device: "sps30", Sensor: "sps30-0042"}}
		h.Expected, h.Valid, h.Rejected, h.Gaps = 60, 50, map[string]int{"range": 4}, map[string]int{"no_answer": 1}
		if ago < 4 {
			h.Expected, h.Valid = 720, 715
		}
		s.desk.Feed(h)
	}
	_, body := v.get("/dinas/sensor/sps30-0042")
	has(t, "the page", body, "Status pembacaan", "Firmware alat", "diharapkan 3.240: sah 3.160, ditolak 40, celah 10, tidak datang 30",
		"5 detik <small", "1 menit <small")
	s.world.change(func() { s.world.values[hall][0].Gap = telemetry.GapNoAnswer })
	_, body = v.get("/dinas/sensor/sps30-0042")
	has(t, "a sensor that does not answer", body, `<dt>Status pembacaan</dt><dd><span class="state warn">`, "sensor tidak menjawab</span></dd>")
	_, body = v.get("/dinas/sensor/gudang-1")
	has(t, "a sensor in the store", body, "Belum ada jam yang dihitung")
}

// The part itself tells who it is; if that is another one than people entered, the
// page says so, to whoever has it open, too.
func TestASensorThatWasExchangedIsNoticed(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Viewer)
	told := func(id telemetry.Identity) {
		s.world.change(func() {
			s.world.gateways[0].Told = map[string]telemetry.Identity{"sps30": id, "scd41": {Serial: "of another part"}}
		})
	}
	const warning = "berbeda dari yang tercatat"
	shown := func(what string, want ...string) string {
		t.Helper()
		_, body := v.get("/dinas/sensor/sps30-0042")
		has(t, what, body, append(want, "<dd><bdi>8F31A0</bdi></dd>")...)
		if strings.Contains(body, warning) != slices.Contains(want, warning) || strings.Contains(body, "of another part") {
			t.Errorf("%s: the page warns wrongly or tells of another part:\n%s", what, body)
		}
		return regexp.MustCompile(`data-version="[^"]+"`).FindString(body)
	}
	shown("a part that tells nothing", "<dt>Nomor seri menurut alat</dt><dd>tidak dilaporkan alat</dd>", "<dt>Firmware alat</dt><dd>tidak dilaporkan alat</dd>")
	told(telemetry.Identity{Firmware: "2.2", Serial: "8f31-a0"})
	before := shown("the part that was entered", "8f31-a0", "2.2")
	told(telemetry.Identity{Firmware: "2.3", Serial: "0C77-12"})
	after := shown("another part", "0C77-12", "2.3", warning)
	if before == "" || before == after {
		t.Errorf("a page that is open does not hear of it: %s, then %s", before, after)
	}
	_, body := v.get("/en/dinas/sensor/sps30-0042")
	has(t, "in English", body, "Serial number it reports", "was it exchanged?")
	told(telemetry.Identity{Firmware: "2.3"})
	shown("a part that tells its firmware only", "<dt>Nomor seri menurut alat</dt><dd>tidak dilaporkan alat</dd>", "2.3")
}

// A month that nobody closed stays on the list and is counted, however old it is.
func TestAnOldMonthStaysOpen(t *testing.T) {
	w := airWorld()
	s := start(t, w)
	v := s.signedInAs(t, "val", account.Grant{Role: account.Validator, District: "3374", Kind: telemetry.KindAir})
	w.change(func() { w.now = w.now.AddDate(0, 10, 0) }) // September 2027
	_, body := v.get("/dinas")
	has(t, "today", body, "11 bulan menunggu") // October 2026 to August 2027
	if r, body := v.post("/dinas/lokasi/SMG-01/bulan", url.Values{"bulan": {"2026-10"}}); r.StatusCode != 303 {
		t.Fatal(r.Status, body)
	}
	_, body = v.get("/dinas/validasi")
	has(t, "validation", body, "10 bulan menunggu, 1 sudah ditutup", "November 2026", "Desember 2026")
	if strings.Contains(body, "Oktober 2026") {
		t.Error("the list shows a month that was closed long ago")
	}
	_, body = v.get("/dinas/validasi?lokasi=SMG-01")
	has(t, "one station", body, "Oktober 2026", "Buka lagi")
}
