package public_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// addresses are all kinds of addresses that there are.
var addresses = []string{
	"/", "/?tempat=smg-1", "/?tempat=3374", "/?tempat=3301", "/?tempat=3319", "/?tempat=3322", "/udara", "/udara?jam=2026-11-26-1000", "/cari", "/cari?q=sem",
	"/wilayah/3374-kota-semarang", "/wilayah/3301-kabupaten-cilacap", "/wilayah/3322-kabupaten-semarang", "/wilayah/3319-kabupaten-kudus",
	"/stasiun/smg-1-simpang-lima", "/stasiun/smg-1-simpang-lima?rentang=24-jam&parameter=pm10", "/stasiun/smg-1-simpang-lima?rentang=30-hari", "/stasiun/smg-1-simpang-lima?rentang=1-tahun",
	"/stasiun/slo-1-manahan", "/stasiun/ung-1-ungaran", "/stasiun/kds-1-kudus-baru",
	"/buletin", "/buletin/2026-11-26-1500", "/ralat", "/bukti/ispu-20261126-15-r0-smg-1", "/bukti/ispu-20261126-15-r0-ung-1", "/bukti/ispu-20261126-15-r0-slo-1", "/bukti/harian-20261126-00-r0-smg-1",
	"/bukti/ispu-20261126-15-r0-smg-1.json", "/bukti/baku-2026-pm2_5-24h-55-smg-1", "/bukti/baku-2026-pm2_5-1y-15-smg-1", "/bukti/baku-2026-co-8h-4000-smg-1.json", "/metode", "/data", "/api", "/sematan/smg-1", "/sematan/3374", "/sematan/3301",
	"/umpan/3374.atom", "/umpan/smg-1.atom", "/umpan/3301.atom", "/gambar/smg-1-2026-11-26-1500.png", "/gambar/3374-2026-11-26-1500.png", "/gambar/3301-2026-11-26-1500.png", "/gambar/provinsi-2026-11-26-1500.png",
	"/tentang", "/privasi", "/aksesibilitas", "/luring", "/dekat.json", "/pantau.webmanifest",
}

func inEnglish(path string) string { return "/en" + path }

func TestTheStationsCardSaysItAll(t *testing.T) {
	w := newWorld(t)
	_, id := w.get(t, "/stasiun/smg-1-simpang-lima")
	has(t, "the page", id, "<h1><bdi>Simpang Lima</bdi></h1>", "Acuan", "ISPU, <time", "pukul 15.00 WIB", `<span class="big" elementtiming="angka">76</span>`, "Sedang", `fill="url(#p2)"`,
		"24 dari 24 jam, PM2,5 dominan, 6 dari 7 parameter", "Udara di sekitar Simpang Lima masih dapat diterima", "Saat ini:", "bukan ISPU",
		"Bagaimana kami tahu", `href="/bukti/ispu-20261126-15-r0-smg-1"`, "Saran ini disusun untuk Pantau", "ISPU 24 jam terakhir", "DLHK Jawa Tengah", "sementara",
		`<html lang="id"`, `<link rel="canonical" href="`+w.url+`/stasiun/smg-1-simpang-lima">`, `hreflang="en" href="`+w.url+`/en/stasiun/smg-1-simpang-lima"`,
		`<meta property="og:image" content="`+w.url+`/gambar/smg-1-2026-11-26-1500.png">`, "Pelampauan baku mutu tahun 2026", "Kalender ISPU harian")
	has(t, "the downloads", id, `href="/api/v1/observations?format=csv&amp;from=2026-11-19T15%3A00%3A00%2B07%3A00&amp;limit=5000&amp;quantity=pm2_5&amp;resolution=hour&amp;site=smg-1&amp;to=2026-11-26T15%3A00%3A00%2B07%3A00"`,
		`href="/api/v1/indices?format=csv&amp;from=2025-11-26T00%3A00%3A00%2B07%3A00&amp;kind=daily&amp;limit=5000&amp;site=smg-1&amp;to=2026-11-26T00%3A00%3A00%2B07%3A00"`)
	_, en := w.get(t, "/en/stasiun/smg-1-simpang-lima")
	has(t, "the English page", en, "15:00 WIB", "Moderate", "24 of 24 hours, PM2.5 dominant, 6 of 7 parameters", "not an ISPU", "How we know", `<html lang="en"`, "/en/gambar/smg-1-2026-11-26-1500.png")
	for _, word := range []string{"Sedang", "pukul", "dari 24 jam"} {
		if strings.Contains(en, word) {
			t.Errorf("the English page says %q", word)
		}
	}
}

func TestADistrictShowsItsHighestStation(t *testing.T) {
	w := newWorld(t)
	_, body := w.get(t, "/wilayah/3374-kota-semarang")
	has(t, "the page", body, "Tertinggi di", `href="/stasiun/smg-2-pedurungan"`, ">136<", "Tidak Sehat", "kisaran 76 sampai 136", "2 dari 2 stasiun terukur", "Tujuh hari terakhir", "25 November 2026", "/umpan/3374.atom", "/buletin/2026-11-26-1500")
	has(t, "a line of a station", body, `SNI 9178 · pukul 15.00 WIB`)
	_, body = w.get(t, "/wilayah/3372-kota-surakarta")
	has(t, "a silent station's line", body, "Acuan · terakhir dinilai 5 jam yang lalu")
	_, body = w.get(t, "/wilayah/3301-kabupaten-cilacap")
	has(t, "a district without a station", body, "Belum ada stasiun pemantau udara", "Stasiun terdekat", "178 km", "Simpang Lima")
	if strings.Contains(body, `class="big"`) {
		t.Error("a district without a station has a headline figure")
	}
	_, body = w.get(t, "/?tempat=3374")
	has(t, "the start page of a place", body, ">136<", "2 dari 2 stasiun terukur", "Semua kabupaten dan kota", "Apa yang sebaiknya dilakukan")
	if strings.Index(body, ">136<") > strings.Index(body, "Kab. Blora") {
		t.Error("the list comes before the place's card")
	}
	_, body = w.get(t, "/")
	has(t, "the start page", body, "jumlah stasiun menurut kategori", "tidak dapat dinilai: 2", "Kab. Blora", `class="hex"`)
}

func TestAnIndicativeSiteNeverHasAnIndex(t *testing.T) {
	w := newWorld(t)
	index := regexp.MustCompile(`class="big[^>]*>(\d+)<`)
	for _, path := range []string{"/stasiun/ung-1-ungaran", "/wilayah/3322-kabupaten-semarang", "/?tempat=3322", "/?tempat=ung-1", "/sematan/ung-1", "/bukti/ispu-20261126-15-r0-ung-1"} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 {
			t.Fatalf("%s: %s", path, r.Status)
		}
		if m := index.FindStringSubmatch(body); m != nil {
			t.Errorf("%s shows the index %s", path, m[1])
		}
		main := body[strings.Index(body, "<main"):]
		for c := figures.Baik; c <= figures.Berbahaya; c++ {
			if before, _, _ := strings.Cut(main, `<h2>Udara Jawa Tengah`); strings.Contains(before, fmt.Sprintf(`fill="url(#p%d)"`, c)) {
				t.Errorf("%s shows a category", path)
			}
		}
	}
	_, body := w.get(t, "/stasiun/ung-1-ungaran")
	has(t, "the page", body, "Perkiraan, bukan ISPU", "µg/m³ PM2,5", "tidak dipakai untuk ISPU", "Indikatif")
	_, body = w.get(t, "/udara")
	has(t, "the list", body, "perkiraan: PM2,5 rata-rata 24 jam")
}

func TestSilenceSaysSinceWhen(t *testing.T) {
	w := newWorld(t)
	_, body := w.get(t, "/stasiun/slo-1-manahan")
	has(t, "the page", body, "Data tidak cukup", "Terakhir dapat dinilai: ISPU 45, Baik, 1 dari 7 parameter, pada 26 November 2026 pukul 10.00 WIB (5 jam yang lalu).", "simulasi", "Simulasi: halaman ini memuat data tiruan")
	_, body = w.get(t, "/stasiun/kds-1-kudus-baru")
	has(t, "a station without data", body, "Belum ada data", "belum mengirim hasil ukur")
	_, body = w.get(t, "/stasiun/smg-1-simpang-lima")
	if strings.Contains(body, "Simulasi:") {
		t.Error("a page of measurements calls itself simulated")
	}
	has(t, "the chart", body, "tidak ada data") // two hours are missing
}

func TestCanonicalAddresses(t *testing.T) {
	w := newWorld(t)
	for from, to := range map[string]string{
		"/wilayah/3374": "/wilayah/3374-kota-semarang", "/wilayah/3374-apa-saja": "/wilayah/3374-kota-semarang", "/en/wilayah/3374": "/en/wilayah/3374-kota-semarang",
		"/stasiun/smg-1": "/stasiun/smg-1-simpang-lima", "/stasiun/smg-1-lama": "/stasiun/smg-1-simpang-lima", "/udara/": "/udara", "/en": "/en/",
		"/udara?jam=2026-11-26-1500": "/udara", "/stasiun/smg-1-simpang-lima/": "/stasiun/smg-1-simpang-lima",
	} {
		if r, _ := w.get(t, from); r.StatusCode != 301 || r.Header.Get("Location") != to {
			t.Errorf("%s: %s to %s, want %s", from, r.Status, r.Header.Get("Location"), to)
		}
	}
	for _, path := range []string{"/wilayah/9999", "/stasiun/tidak-ada", "/udara?jam=kemarin", "/udara?jam=2030-01-01-0000", "/stasiun/smg-1-simpang-lima?rentang=2-abad", "/bukti/x", "/buletin/2020-01-01-0900",
		"/buletin/2026-11-26-1500?revisi=7", "/umpan/smg-1", "/gambar/smg-1.png", "/gambar/smg-1-2031-01-01-0000.png", "/sematan/x", "/?tempat=9999", "/apa/saja", "/en/apa", "/sampah", "/energi", "/en/air"} {
		r, body := w.get(t, path)
		if r.StatusCode != 404 || !strings.Contains(body, "<h1>") || !strings.Contains(body, `name="q"`) || !strings.Contains(body, "noindex") {
			t.Errorf("%s: %s, want a page that helps", path, r.Status)
		}
	}
	_, body := w.get(t, "/sampah")
	has(t, "what is not released", body, "Belum ada yang dibuka untuk umum")
	if r, _ := w.get(t, "/?utm_source=x"); r.StatusCode != 200 {
		t.Errorf("an unknown parameter: %s", r.Status)
	}
	r, err := http.Post(w.url+"/", "text/plain", strings.NewReader("x"))
	if err != nil || r.StatusCode != 405 {
		t.Errorf("POST: %v %v", r, err)
	}
	if err := r.Body.Close(); err != nil {
		t.Error(err)
	}
}

func TestSearchForgivesTyping(t *testing.T) {
	w := newWorld(t)
	for query, want := range map[string][]string{
		"semarag": {"Kota Semarang", "Kabupaten Semarang"}, "kota semarang": {"Kota Semarang"}, "SIMPANG lima": nil, "pedurngan": {"Pedurungan"}, "purbalinga": {"Kabupaten Purbalingga"},
		"3374": {"Kota Semarang"}, "sem": {"Kota Semarang", "Kabupaten Semarang"}, "manahna": {"Manahan"},
	} {
		r, body := w.get(t, "/cari?q="+strings.ReplaceAll(query, " ", "+"))
		if want == nil {
			if r.StatusCode != 302 || r.Header.Get("Location") != "/stasiun/smg-1-simpang-lima" {
				t.Errorf("%q, the only one so named: %s to %s", query, r.Status, r.Header.Get("Location"))
			}
			continue
		}
		for _, name := range want {
			if !strings.Contains(body, "<bdi>"+name+"</bdi>") {
				t.Errorf("%q does not find %s", query, name)
			}
		}
	}
	_, body := w.get(t, "/cari?q=kota+semarang")
	if found, _, _ := strings.Cut(body, "Mungkin maksud"); strings.Contains(found, "Kabupaten Semarang") {
		t.Error("kota semarang finds the kabupaten")
	}
	_, body = w.get(t, "/cari?q=xyzzyplugh")
	has(t, "a search for nothing", body, "Tidak ada tempat dengan nama itu")
}

// With a map of them, subdistricts are found: they lead to their district, and so
// do the stations in them.
func TestSearchKnowsSubdistricts(t *testing.T) {
	w := newWorld(t)
	const square = `"geometry":{"type":"Polygon","coordinates":[[[110.40,-7.10],[110.50,-7.10],[110.50,-7.00],[110.40,-7.00],[110.40,-7.10]]]}`
	if _, err := w.places.ImportMap(t.Context(), []byte(`{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"kode":"337402","nama":"Banyumanik"},`+square+`}]}`), places.MapOptions{Source: "kecamatan.geojson"}); err != nil {
		t.Fatal(err)
	}
	moved := simpang
	moved.Subdistrict = "337402"
	if err := w.places.PutSite(t.Context(), moved); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"banyumanik", "banyumanix", "337402"} {
		r, body := w.get(t, "/cari?q="+query)
		if r.StatusCode != 200 {
			t.Fatalf("%q: %s", query, r.Status)
		}
		has(t, query, body, "<bdi>Banyumanik</bdi>", "Kecamatan di Kota Semarang", `href="/wilayah/3374-kota-semarang"`)
	}
	_, body := w.get(t, "/en/cari?q=banyumanik")
	has(t, "the English page", body, "Subdistrict of Kota Semarang", "<bdi>Simpang Lima</bdi>")
}

func TestAStormOfChangesAndVisitorsCostsLittle(t *testing.T) {
	var made, changed atomic.Uint64
	var now atomic.Int64
	now.Store(publicationtest.Noon.UnixNano())
	w := newWorld(t, func(o *public.Options) {
		o.Places = counting{o.Places, &made}
		o.Changed = func() uint64 { return changed.Add(1) } // everything changes all the time
		o.Settle = time.Second
		o.Now = func() time.Time { return time.Unix(0, now.Load()) }
	})
	made.Store(0)
	var visitors sync.WaitGroup
	for range 8 {
		visitors.Go(func() {
			for range 50 {
				if r, _ := w.get(t, "/"); r.StatusCode != 200 {
					t.Error(r.Status)
				}
			}
		})
	}
	visitors.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("400 visitors within one second: the state was read %d times", n)
	}
	now.Add(int64(2 * time.Second))
	w.get(t, "/")
	if n := made.Load(); n != 2 {
		t.Errorf("two seconds later it was read %d times", n)
	}
}

type counting struct {
	public.Places
	n *atomic.Uint64
}

func (c counting) Sites() []places.Site { c.n.Add(1); return c.Places.Sites() }

func TestTheFeedTellsOfChangesOfCategoryAndBulletins(t *testing.T) {
	w := newWorld(t)
	hour := w.Now().Truncate(time.Hour)
	for i := range 3 { // the air gets bad
		w.History("smg-1", hour, hour.Add(time.Hour), []string{"pm2_5"}, func(string, time.Time) float64 { return float64(600 + 100*i) })
		hour = hour.Add(time.Hour)
		w.SetNow(hour.Add(30 * time.Minute))
	}
	var feed struct {
		XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
		ID      string   `xml:"id"`
		Updated string   `xml:"updated"`
		Entries []struct {
			ID      string `xml:"id"`
			Title   string `xml:"title"`
			Updated string `xml:"updated"`
		} `xml:"entry"`
	}
	r, body := w.get(t, "/umpan/smg-1.atom")
	if err := xml.Unmarshal([]byte(body), &feed); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/atom+xml") {
		t.Fatalf("%v %s", err, r.Header.Get("Content-Type"))
	}
	var titles []string
	for _, e := range feed.Entries {
		titles = append(titles, e.Title)
		if _, err := time.Parse(time.RFC3339, e.Updated); err != nil || e.ID == "" {
			t.Errorf("entry %+v", e)
		}
	}
	if !slices.ContainsFunc(titles, func(s string) bool { return strings.HasPrefix(s, "Simpang Lima: Tidak Sehat sejak pukul") }) ||
		!slices.ContainsFunc(titles, func(s string) bool { return strings.HasPrefix(s, "Buletin udara 26 November 2026 pukul 15.00") }) {
		t.Errorf("the feed tells of %q", titles)
	}
}

func TestTheTraceIsTheBooksOwn(t *testing.T) {
	w := newWorld(t)
	_, body := w.get(t, "/bukti/ispu-20261126-15-r0-smg-1.json")
	var got figures.Trace
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Figure.Site != "smg-1" || got.Figure.Index.Value != 76 || len(got.Hours) < 24*7 || got.Figure.Hash == "" {
		t.Errorf("%+v", got.Figure)
	}
	_, body = w.get(t, "/bukti/ispu-20261126-15-r0-smg-1")
	has(t, "the page", body, got.Figure.Hash, "(100 − 51) ÷ (55,4 − 15,5) ×", "Permen LHK P.14", "15,5 · 55,4 · 150,4", `href="/bukti/ispu-20261126-15-r0-smg-1.json"`)
}

// Whoever follows the words of /metode finds the hash, without a line of our code.
func TestAnybodyCanCheckAHash(t *testing.T) {
	w := newWorld(t)
	_, method := w.get(t, "/metode")
	has(t, "the method", method, "SHA-256 dari JSON itu tanpa spasi", "bagian teks yang disidik")
	for _, id := range []string{"ispu-20261126-15-r0-smg-1", "ispu-20261126-15-r0-ung-1", "harian-20261126-00-r0-smg-1"} {
		_, body := w.get(t, "/bukti/"+id+".json")
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(body)); err != nil {
			t.Fatal(err)
		}
		hash := regexp.MustCompile(`"hash":"([0-9a-f]{64})"`).FindStringSubmatch(compact.String())
		if hash == nil {
			t.Fatalf("%s has no hash", id)
		}
		text := strings.Replace(compact.String(), hash[0], `"hash":""`, 1)
		text = strings.Replace(text, `"status":"sementara"`, `"status":""`, 1)
		if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != hash[1] {
			t.Errorf("%s: its text gives another hash", id)
		}
	}
}

func TestATraceNamesNoOtherSite(t *testing.T) {
	w := newWorld(t)
	rules := figures.DefaultRules()
	rules.HCGas = map[string]string{"smg-1": "methane", "gdg-1": "propane"}
	if err := w.SetRules(t.Context(), figures.DatedRules{Since: w.Now(), Rules: rules, Reason: "gas kalibrasi", By: "sari.petugas"}); err != nil {
		t.Fatal(err)
	}
	hour := w.Now().Truncate(time.Hour)
	w.History("smg-1", hour, hour.Add(time.Hour), []string{"pm2_5", "hc"}, publicationtest.Daily(30))
	w.SetNow(hour.Add(90 * time.Minute))
	for _, path := range []string{"/bukti/ispu-20261126-16-r0-smg-1.json", "/bukti/ispu-20261126-16-r0-smg-1", "/metode"} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 || strings.Contains(body, "gdg-1") || strings.Contains(body, "sari.petugas") {
			t.Errorf("%s: %s, or it names another site or a person", path, r.Status)
		}
	}
	_, body := w.get(t, "/bukti/ispu-20261126-16-r0-smg-1.json")
	var trace figures.Trace
	if err := json.Unmarshal([]byte(body), &trace); err != nil {
		t.Fatal(err)
	}
	if again, err := trace.Recompute(); err != nil || again.Hash != trace.Figure.Hash || trace.Rules.HCGas["smg-1"] != "methane" {
		t.Errorf("the trace does not give its own figure back: %v", err)
	}
	_, body = w.get(t, "/metode")
	has(t, "the method", body, "gas kalibrasi")
}

// Whoever reads how often a limit was exceeded can follow the number to all that it
// was made from, and make it again.
func TestEachLineOfTheYearIsProved(t *testing.T) {
	w := newWorld(t)
	_, one := w.get(t, "/stasiun/smg-1-simpang-lima")
	_, other := w.get(t, "/stasiun/smg-2-pedurungan")
	lines := regexp.MustCompile(`<a href="(/bukti/baku-[^"]+)">([^<]+)</a></li>`).FindAllStringSubmatch(one+other, -1)
	if len(lines) < 12 {
		t.Fatalf("%d lines lead to their proof", len(lines))
	}
	episodes := 0
	for _, line := range lines {
		path, verdict := line[1], line[2]
		r, body := w.get(t, path+".json")
		var trace figures.AssessmentTrace
		if err := json.Unmarshal([]byte(body), &trace); err != nil || r.StatusCode != 200 {
			t.Fatalf("%s.json: %s, %v", path, r.Status, err)
		}
		again, err := trace.Recompute()
		if err != nil || !reflect.DeepEqual(again, trace) {
			t.Errorf("%s does not give itself back: %v", path, err)
		}
		hash := `"hash":"` + trace.Hash + `"`
		text := strings.Replace(strings.Replace(strings.TrimSpace(body), hash, `"hash":""`, 1), `"status":"sementara"`, `"status":""`, 1)
		if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != trace.Hash {
			t.Errorf("%s: its text gives another hash", path)
		}
		_, body = w.get(t, path)
		has(t, path, body, verdict, trace.Hash, `href="`+path+`.json"`, "PP 22/2021")
		for _, e := range trace.Exceeded {
			has(t, path, body, page.Indonesian.Number(e.Peak, 2))
		}
		if trace.Assessment.Judged && trace.Assessment.Period != figures.Year && !strings.HasPrefix(verdict, strconv.Itoa(trace.Assessment.Episodes)+" ") {
			t.Errorf("%s: the station says %q of %+v", path, verdict, trace.Assessment)
		}
		episodes += len(trace.Exceeded)
	}
	if episodes == 0 {
		t.Error("nothing was exceeded, so that nothing was shown")
	}
	for _, path := range []string{"/bukti/baku-2026-pm2_5-24h-55-gdg-1", "/bukti/baku-2026-pm2_5-24h-56-smg-1", "/bukti/baku-2026-pm2_5-24h-55-tidak-ada", "/bukti/baku-", "/bukti/baku-2025-pm2_5-24h-55-smg-1.json"} {
		if r, _ := w.get(t, path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
}

func TestABulletinLinksToItsLetter(t *testing.T) {
	w := newWorld(t, func(o *public.Options) {
		o.Documents = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "letter "+r.URL.Path) })
	})
	for _, prefix := range []string{"", "/en"} {
		_, body := w.get(t, prefix+"/buletin/2026-11-26-1500")
		has(t, "the bulletin", body, `href="/buletin/2026-11-26-1500.pdf"`, "Dra. Sri Lestari", "NIP <bdi>197001011995032001</bdi>", "lapor@dlhk.example")
	}
	if _, body := w.get(t, "/buletin/2026-11-26-1500.pdf"); body != "letter /buletin/2026-11-26-1500.pdf" {
		t.Errorf("the letter: %s", body)
	}
}

// The page says what the letter says: a chart of the stations, their classes, and that
// the figures are not validated yet.
func TestABulletinsPageIsAsItsLetter(t *testing.T) {
	w := newWorld(t)
	_, body := w.get(t, "/buletin/2026-11-26-1500")
	has(t, "the bulletin", body, "Kota Semarang · Acuan", "Kota Semarang · SNI 9178", "<dd>sementara</dd>", "<dd><bdi>lapor@dlhk.example</bdi></dd>")
	_, drawn, _ := strings.Cut(body, "ISPU menurut stasiun")
	drawn, _, _ = strings.Cut(drawn, "</svg>")
	high, low := strings.Index(drawn, "Pedurungan: 136"), strings.Index(drawn, "Simpang Lima: 76")
	if high < 0 || low < high || strings.Contains(drawn, "Manahan:") || !strings.Contains(drawn, `fill="url(#p3)"`) || !strings.Contains(drawn, "2 stasiun; tertinggi 136 di Pedurungan.") {
		t.Errorf("the chart: %s", drawn)
	}
}

// A public station shows its photo where somebody serves it.
func TestAStationsPhoto(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for name, change := range map[string]func(*public.Options){"served": func(o *public.Options) { o.Documents = http.NotFoundHandler() }, "nobody serves it": func(*public.Options) {}} {
		w := newWorld(t, change)
		shown := simpang
		shown.Photo = hash
		if err := w.places.PutSite(t.Context(), shown); err != nil {
			t.Fatal(err)
		}
		_, body := w.get(t, "/stasiun/smg-1-simpang-lima")
		if got := strings.Contains(body, `src="/foto/`+hash+`.jpg" alt="Foto Simpang Lima" loading="lazy"`); got != (name == "served") {
			t.Errorf("%s: the photo stands on the page: %v", name, got)
		}
	}
}

func TestNearMeKnowsOnlyPublicStationsWithAPosition(t *testing.T) {
	w := newWorld(t)
	_, body := w.get(t, "/dekat.json")
	var list []struct{ N, U, V string }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != 5 {
		t.Fatalf("%v: %s", err, body)
	}
}

func TestAnEmptyInstallationSaysTheNextStep(t *testing.T) {
	w := empty(t, nil)
	for _, path := range []string{"/", "/udara", "/en/", "/buletin", "/ralat", "/data", "/metode", "/wilayah/3374-kota-semarang", "/tentang"} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 || strings.Contains(body, "Simulasi:") {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	_, body := w.get(t, "/")
	has(t, "the start page", body, "Belum ada stasiun yang dibuka untuk umum", "tandai lokasi sebagai umum")
}

func TestOfficialWordsAndColoursAreSettings(t *testing.T) {
	w := newWorld(t, func(o *public.Options) {
		o.Categories = category.Settings{
			Swatches: [5]string{"#34cc33", "#0070c0", "#ffc100", "#ff0000", "#000000"}, Source: "Permen Contoh 1/2026",
			Advice: map[string]category.Advice{"sedang": {Sensitive: page.Text{ID: "Kata resmi satu"}, Everyone: page.Text{ID: "Kata resmi dua", EN: "Official two"}}},
		}
	})
	_, body := w.get(t, "/stasiun/smg-1-simpang-lima")
	has(t, "the page", body, "Kata resmi satu", "Kata resmi dua", "Saran resmi. Sumber: Permen Contoh 1/2026", "#0070c0")
	if strings.Contains(body, "#0000cc") {
		t.Error("the ministry's colour is still there")
	}
	_, body = w.get(t, "/en/stasiun/smg-1-simpang-lima")
	has(t, "the English page", body, "Kata resmi satu", "Official two")
	for what, bad := range map[string]func(*public.Options){
		"#rrggbb": func(o *public.Options) { o.Categories.Swatches[0] = "red;}" }, "BaseURL": func(o *public.Options) { o.BaseURL = "" },
	} {
		o := public.Options{Places: w.places, Book: w.Book, Changed: w.Changed, BaseURL: "http://x"}
		bad(&o)
		if _, err := public.New(o); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want an error that says %s, got %v", what, err)
		}
	}
}

func TestPagesStandWithoutTheBrowserCode(t *testing.T) {
	w := newWorld(t, func(o *public.Options) { o.Bundle = &web.Bundle{} })
	_, body := w.get(t, "/")
	if strings.Contains(body, "<script") || !strings.Contains(body, `<form class="find"`) {
		t.Error("the page is not whole")
	}
	if r, _ := w.get(t, "/pekerja.js"); r.StatusCode != 404 {
		t.Errorf("a service worker that is not there: %s", r.Status)
	}
}

func TestABrokenBookIsAPageWithACode(t *testing.T) {
	w := newWorld(t, func(o *public.Options) {
		o.Book = broken{o.Book}
	})
	r, body := w.get(t, "/ralat")
	code := regexp.MustCompile(`<code>([0-9a-f]{8})</code>`).FindStringSubmatch(body)
	if r.StatusCode != 500 || code == nil || strings.Contains(body, "on fire") || r.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: %s", r.Status, body)
	}
	if log := w.log.String(); !strings.Contains(log, code[1]) || !strings.Contains(log, "on fire") {
		t.Errorf("the log does not have the cause under %s:\n%s", code[1], log)
	}
	if r, _ := w.get(t, "/"); r.StatusCode != 200 {
		t.Errorf("another page: %s", r.Status)
	}
}
