package public_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

// Sites of rare cases: an analyser that sends 0 since 10.00, hydrocarbons in ppb
// with and without a declared gas, and two stations of one district beyond the table.
var (
	pati    = places.Site{Code: "pti-1", Name: "Pati Kota", District: "3318", Lat: -6.75, Lon: 111.04, Class: places.Reference, Public: true}
	kilang  = places.Site{Code: "kil-1", Name: "Kilang Cilacap", District: "3301", Lat: -7.7, Lon: 109.0, Class: places.Reference, Public: true}
	donan   = places.Site{Code: "don-1", Name: "Donan", District: "3301", Lat: -7.71, Lon: 109.01, Class: places.Reference, Public: true}
	lasem   = places.Site{Code: "rbg-1", Name: "Lasem", District: "3317", Lat: -6.69, Lon: 111.44, Class: places.Reference, Public: true}
	rembang = places.Site{Code: "rbg-2", Name: "Rembang Kota", District: "3317", Lat: -6.70, Lon: 111.34, Class: places.Reference, Public: true}
)

var odd = []places.Site{pati, kilang, donan, lasem, rembang}

// oddWorld is two days of them, up to noon.
func oddWorld(t testing.TB, change ...func(*public.Options)) *world {
	t.Helper()
	begin := publicationtest.Noon.Truncate(time.Hour).AddDate(0, 0, -2)
	return openWorld(t, publicationtest.Filled(t, "odd", begin, odd, func(d *publicationtest.Desk) {
		rules := figures.DefaultRules()
		rules.HCGas = map[string]string{"kil-1": "methane"}
		if err := d.SetRules(t.Context(), figures.DatedRules{Since: begin, Rules: rules, Reason: "gas kalibrasi", By: "sari.petugas"}); err != nil {
			t.Fatal(err)
		}
		noon := publicationtest.Noon.Truncate(time.Hour)
		always := func(v float64) func(string, time.Time) float64 {
			return func(string, time.Time) float64 { return v }
		}
		d.History(pati.Code, begin, noon.Add(-3*time.Hour), []string{"pm2_5"}, always(35))
		d.History(pati.Code, noon.Add(-3*time.Hour), noon, []string{"pm2_5"}, always(0))
		for _, s := range []places.Site{kilang, donan} {
			d.History(s.Code, begin, noon, []string{"pm2_5"}, always(20))
			d.History(s.Code, begin, noon, []string{"hc_ppb"}, always(200))
		}
		d.History(lasem.Code, begin, noon, []string{"pm2_5"}, always(600))
		d.History(rembang.Code, begin, noon, []string{"pm2_5"}, always(900))
		d.SetNow(publicationtest.Noon)
	}), odd, change...)
}

// main is a page without what stands on all of them.
func main(body string) string {
	_, after, _ := strings.Cut(body, "<main")
	before, _, _ := strings.Cut(after, "</main>")
	return before
}

// An analyser that sends 0 for "missing" must not clean the air.
func TestARunOfZerosIsNoCleanAir(t *testing.T) {
	w := oddWorld(t)
	_, body := w.get(t, "/stasiun/pti-1-pati-kota?rentang=24-jam")
	if now := regexp.MustCompile(`Saat ini:[^\n]*`).FindString(main(body)); now != "" && !strings.Contains(now, "35") {
		t.Errorf("a dead analyser is told as %q", now)
	}
	has(t, "the chart's table", body, `<th scope="row">12.00</th><td class="n">–</td><td>deretan nol yang mencurigakan</td>`, `<th scope="row">09.00</th><td class="n">35,0</td><td></td>`)
	_, body = w.get(t, "/bukti/ispu-20261126-12-r0-pti-1")
	has(t, "the trace", body, "Rata-rata 21 jam sah: 35,00 µg/m³")
	if yes, no := strings.Count(main(body), "<td>ya</td>"), strings.Count(main(body), "<td>tidak: deretan nol yang mencurigakan</td>"); yes != 21 || no != 3 {
		t.Errorf("the trace counts %d hours and leaves %d out as zeros, its mean is of 21", yes, no)
	}
	_, body = w.get(t, "/en/bukti/ispu-20261126-12-r0-pti-1")
	has(t, "the English trace", body, "no: suspect run of zeros")
}

// What is declared is dominant, and proves itself; what is not has no figure.
func TestHydrocarbonsProveThemselves(t *testing.T) {
	w := oddWorld(t)
	_, body := w.get(t, "/stasiun/kil-1-kilang-cilacap?rentang=24-jam")
	has(t, "the station", body, "HC dominan", "2 dari 7 parameter", "HC, 24 jam", `<td class="n">131,2</td>`, "quantity=hc_ppb")
	_, body = w.get(t, "/bukti/ispu-20261126-12-r0-kil-1")
	has(t, "the trace", body, "<h2>HC</h2>", "Rata-rata 24 jam sah: 131,15 µg/m³", "1 ppb = 0,6558 µg/m³", "2.880 sah")
	if n := strings.Count(main(body), `<td class="n number">200,00</td><td class="n number">60/60</td><td>ya</td>`); n != 24 {
		t.Errorf("the trace shows %d of 24 hours of hydrocarbons", n)
	}
	_, body = w.get(t, "/stasiun/don-1-donan?rentang=24-jam&parameter=hc")
	has(t, "a station without a declared gas", body, "1 dari 7 parameter", `<td class="n">–</td><td>gas kalibrasi belum dinyatakan</td>`)
	if strings.Contains(main(body), "131,1") || strings.Contains(main(body), ">200,0<") {
		t.Error("hydrocarbons of an unknown gas are told in µg/m³")
	}
	_, body = w.get(t, "/bukti/ispu-20261126-12-r0-don-1")
	if n := strings.Count(main(body), "<td>tidak: gas kalibrasi belum dinyatakan</td>"); n != 24 {
		t.Errorf("the trace says of %d hours that their gas is not declared", n)
	}
}

// What was published of a station can be defended after it closed; nothing lists it
// any more.
func TestAClosedStationKeepsWhatWasPublished(t *testing.T) {
	w := newWorld(t)
	w.Feed(publicationtest.Hour("smg-1", "pm2_5", w.Now().Truncate(time.Hour).Add(-2*time.Hour), 300)) // a correction
	shut := simpang
	shut.Closed = w.Now().Add(-10 * time.Minute)
	if err := w.places.PutSite(t.Context(), shut); err != nil {
		t.Fatal(err)
	}
	hidden := gudang
	hidden.Closed = shut.Closed
	if err := w.places.PutSite(t.Context(), hidden); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/stasiun/gdg-1", "/bukti/ispu-20261126-15-r0-gdg-1", "/bukti/ispu-20261126-15-r0-gdg-1.json", "/umpan/gdg-1.atom", "/sematan/gdg-1", "/?tempat=gdg-1"} {
		if r, _ := w.get(t, path); r.StatusCode != 404 {
			t.Errorf("%s of a closed site that never was public: %s", path, r.Status)
		}
	}
	for path, parts := range map[string][]string{
		"/stasiun/smg-1-simpang-lima":                 {"Ditutup", "ditutup sejak 26 November 2026", "Terakhir dapat dinilai: ISPU", `href="/bukti/ispu-20261126-15-r1-smg-1"`, "Kalender ISPU harian"},
		"/bukti/ispu-20261126-15-r0-smg-1":            {"76", "Simpang Lima"},
		"/bukti/ispu-20261126-15-r1-smg-1":            {"Simpang Lima"},
		"/bukti/ispu-20261126-15-r1-smg-1.json":       {`"site": "smg-1"`},
		"/buletin/2026-11-26-1500":                    {"Simpang Lima", "Pedurungan"},
		"/buletin":                                    {"2 dari"},
		"/ralat":                                      {"Simpang Lima", "/bukti/ispu-20261126-15-r1-smg-1"},
		"/umpan/smg-1.atom":                           {"Simpang Lima"},
		"/gambar/smg-1-2026-11-26-1500.png":           {"PNG"},
		"/sematan/smg-1":                              {"ditutup sejak"},
		"/?tempat=smg-1":                              {"ditutup sejak"},
		"/en/stasiun/smg-1-simpang-lima":              {"closed since 26 November 2026"},
		"/stasiun/smg-1-simpang-lima?rentang=1-tahun": {"Ditutup"},
	} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 {
			t.Errorf("%s of a closed station: %s", path, r.Status)
		}
		has(t, path, body, parts...)
	}
	if _, body := w.get(t, "/stasiun/smg-1-simpang-lima"); strings.Contains(body, "Saat ini:") || strings.Contains(body, "Apa yang sebaiknya dilakukan") {
		t.Error("a closed station tells of now")
	}
	for _, path := range []string{"/", "/udara", "/udara?jam=2026-11-26-1000", "/wilayah/3374-kota-semarang", "/cari?q=simpang", "/dekat.json", "/?tempat=3374", "/sematan/3374", "/wilayah/3301-kabupaten-cilacap"} {
		if _, body := w.get(t, path); strings.Contains(body, "Simpang Lima") {
			t.Errorf("%s still lists the closed station", path)
		}
	}
}

// An old figure goes on to name the rules of its time; the method has those of today,
// each with its date and its reason.
func TestTheRulesOfThenAndOfNow(t *testing.T) {
	w := oddWorld(t, func(o *public.Options) {
		o.Floors = map[string]float64{"so2": -3, "so2_ppb": -1, "co_ppm": -0.04, "temperature": -40}
	})
	rules := figures.DefaultRules()
	rules.Gates.DayHours, rules.ZeroRun, rules.HCGas = 12, 5, map[string]string{"kil-1": "propane"}
	if err := w.SetRules(t.Context(), figures.DatedRules{Since: w.Now(), Rules: rules, Reason: "alat <b>baru</b>", By: "sari.petugas"}); err != nil {
		t.Fatal(err)
	}
	w.SetNow(w.Now().Add(time.Minute))
	_, body := w.get(t, "/bukti/ispu-20261126-12-r0-kil-1")
	has(t, "the old trace", body, "versi 1, sejak <time", "<dd>sedikitnya 75\u00a0% bacaan yang diharapkan</dd>", "<dd>sedikitnya 18 jam sah</dd>", "<dd>3 jam atau lebih yang tepat nol beruntun tidak dihitung</dd>",
		"<dd>bertingkat (1, 51, 101 …)</dd>", "<dd>Kilang Cilacap: metana</dd>", "PM2,5 15,5 · 55,4 · 150,4 · 250,4 · 500", "<dd>sedikitnya 75\u00a0% harinya sah</dd>", "<dd>09.00, 15.00</dd>", "Permen LHK P.14")
	_, body = w.get(t, "/metode")
	has(t, "the method", body, "sedikitnya 12 jam sah", "5 jam atau lebih", "Kilang Cilacap: propana", "alat &lt;b&gt;baru&lt;/b&gt;", "sejak awal · Bawaan: tiga perempat. Di bawahnya", "09.00, 15.00", "Buletin terbit tanpa persetujuan",
		"24,465", "SO₂: 1 ppb = 2,619 µg/m³", "NO₂: 1 ppb = 1,880 µg/m³", "O₃: 1 ppb = 1,962 µg/m³", "CO: 1 ppm = 1.145 µg/m³", "HC (metana): 1 ppm = 655,8 µg/m³", "minus batas deteksinya", "SO₂: −3,0 µg/m³, −1,0 ppb", "CO: −0,04 ppm")
	if strings.Contains(body, "sari.petugas") || strings.Contains(body, "−40") {
		t.Error("the method tells of what is none of the seven, or names who changed it")
	}
}

// Every index says of how many parameters it is.
func TestEveryIndexSaysOfHowManyParameters(t *testing.T) {
	w := newWorld(t)
	for path, of := range map[string]string{
		"/": "2 dari 7 parameter", "/?tempat=3374": "2 dari 7 parameter", "/udara": "6 dari 7 parameter", "/udara?jam=2026-11-26-1000": "6 dari 7 parameter",
		"/wilayah/3374-kota-semarang": "2 dari 7 parameter · 2 dari 2 stasiun", "/wilayah/3301-kabupaten-cilacap": "6 dari 7 parameter", "/stasiun/smg-1-simpang-lima": "Sedang, 6 dari 7 parameter (pukul 15.00 WIB).",
		"/stasiun/slo-1-manahan": "ISPU 45, Baik, 1 dari 7 parameter, pada", "/buletin/2026-11-26-1500": "6 dari 7 parameter", "/bukti/ispu-20261126-15-r0-smg-1": "<p>6 dari 7 parameter</p>",
		"/sematan/smg-1": "6 dari 7 parameter", "/sematan/3374": "2 dari 7 parameter", "/dekat.json": "76 Sedang, 6 dari 7 parameter", "/cari?q=semarang": "2 dari 7 parameter",
	} {
		_, body := w.get(t, path)
		has(t, path, body, of)
	}
	_, body := w.get(t, "/wilayah/3374-kota-semarang")
	if days := strings.Count(body[strings.Index(body, "Tujuh hari terakhir"):], "dari 7 parameter"); days != 7 {
		t.Errorf("of seven days %d say of how many parameters they are", days)
	}
	w.Feed(publicationtest.Hour("smg-1", "pm2_5", w.Now().Truncate(time.Hour).Add(-2*time.Hour), 300))
	_, body = w.get(t, "/ralat")
	has(t, "the corrections", body, "6 dari 7 parameter")
}

// Beyond the table the index is "above 500" with its concentration, and the station
// with the higher one stands for its district.
func TestBeyondTheTable(t *testing.T) {
	w := oddWorld(t)
	const mean = "PM2,5 rata-rata 24 jam 900,0 µg/m³"
	for path, parts := range map[string][]string{
		"/wilayah/3317-kabupaten-rembang": {`href="/stasiun/rbg-2-rembang-kota">`, ">di atas 500<", mean, "PM2,5 rata-rata 24 jam 600,0 µg/m³"},
		"/?tempat=3317":                   {"Tertinggi di <a href=\"/stasiun/rbg-2-rembang-kota\"", mean}, "/": {mean, ">&gt;500</text>"}, "/udara": {mean, ">&gt;500</text>"},
		"/stasiun/rbg-2-rembang-kota": {">di atas 500<", mean, "ISPU di atas 500, Berbahaya, 1 dari 7 parameter, " + mean}, "/sematan/3317": {">di atas 500<", mean, "Rembang Kota"},
		"/bukti/ispu-20261126-12-r0-rbg-2": {">di atas 500<", mean}, "/buletin/2026-11-26-0900": {mean}, "/dekat.json": {mean}, "/cari?q=rembang": {mean},
	} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 {
			t.Errorf("%s: %s", path, r.Status)
		}
		has(t, path, body, parts...)
		if strings.Contains(body, `class="v" y="4">500<`) || strings.Contains(body, `angka">500<`) || strings.Contains(body, "Kota: 500") {
			t.Errorf("%s says 500 of what is above", path)
		}
	}
	_, body := w.get(t, "/wilayah/3317-kabupaten-rembang")
	if strings.Contains(body, "kisaran") {
		t.Error("a range from above 500 to above 500")
	}
	if day := body[strings.Index(body, "Tujuh hari terakhir"):]; !strings.Contains(day, "Rembang Kota") || !strings.Contains(day, mean) {
		t.Error("the days show the station with the lower concentration")
	}
}

// What is simulated says so wherever it stands alone.
func TestSimulatedIsSaidWhereAFigureStandsAlone(t *testing.T) {
	shut := manahan
	w := openWorld(t, publicationtest.Filled(t, "simulated", publicationtest.Noon, []places.Site{shut, simpang}, func(d *publicationtest.Desk) {
		hour := publicationtest.Noon.Truncate(time.Hour)
		for _, s := range []places.Site{shut, simpang} {
			d.History(s.Code, hour.AddDate(0, 0, -3), hour.Add(-6*time.Hour), []string{"pm2_5"}, func(string, time.Time) float64 { return 12 })
			d.History(s.Code, hour.Add(-6*time.Hour), hour, []string{"pm2_5"}, func(string, time.Time) float64 { return 90 })
		}
	}), []places.Site{shut, simpang})
	for path, part := range map[string]string{
		"/stasiun/slo-1-manahan": "WIB). (simulasi)", "/umpan/slo-1.atom": "WIB (simulasi)</title>", "/en/umpan/slo-1.atom": "1 of 7 parameters; before that", "/dekat.json": "parameter (simulasi)", "/en/stasiun/slo-1-manahan": "WIB). (simulated)",
	} {
		_, body := w.get(t, path)
		has(t, path, body, part)
	}
	_, body := w.get(t, "/stasiun/slo-1-manahan")
	if !regexp.MustCompile(`og:title" content="[^"]*\(simulasi\)"`).MatchString(body) {
		t.Error("the preview's title does not say that it is simulated")
	}
	for _, path := range []string{"/stasiun/smg-1-simpang-lima", "/umpan/smg-1.atom"} {
		if _, body := w.get(t, path); strings.Contains(strings.ReplaceAll(body, "pukul 09.00 WIB (simulasi)", ""), "(simulasi)") {
			t.Errorf("%s calls measurements simulated", path)
		}
	}
}

// A station in each district, as many as the agency plans, still fits into one round
// trip.
func TestAProvinceFullOfStationsFits(t *testing.T) {
	var of []places.Site
	for i, d := range places.Districts() {
		of = append(of, places.Site{Code: fmt.Sprintf("stn-%02d", i), Name: "Alun-alun " + d.Name, District: d.Code, Lat: d.Lat, Lon: d.Lon, Class: places.Reference, Public: true})
	}
	w := openWorld(t, publicationtest.Filled(t, "full", publicationtest.Noon, of, func(d *publicationtest.Desk) {
		noon := publicationtest.Noon.Truncate(time.Hour)
		for i, s := range of {
			d.History(s.Code, noon.AddDate(0, 0, -1), noon, []string{"pm2_5", "pm10"}, publicationtest.Daily(float64(8+i*13)))
		}
		d.SetNow(publicationtest.Noon.Add(3 * time.Hour))
	}), of)
	for _, path := range []string{"/", "/?tempat=3374", "/udara", "/buletin/2026-11-26-1500", "/dekat.json", "/cari?q=alun"} {
		r, body := w.get(t, path, "Accept-Encoding", "gzip")
		if r.StatusCode != 200 || len(body) > 14<<10 {
			t.Errorf("%s: %s, %d bytes", path, r.Status, len(body))
		}
	}
}
