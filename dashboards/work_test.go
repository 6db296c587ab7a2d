package dashboards_test

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A remark is corrected and withdrawn with a reason; what it said stays in the
// history, with who and why.
func TestARemarkIsCorrected(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedInAs(t, "tek", account.Grant{Role: account.Technician, District: "3374"})
	const at = "/dinas/lokasi/SMG-01/catatan"
	form := url.Values{"dari": {"2026-11-23T03:00"}, "hingga": {"2026-11-23T06:00"}, "teks": {"kebakaran gudang"}}
	if r, body := v.post(at, form); r.StatusCode != 303 {
		t.Fatal(r.Status, body)
	}
	id := func() string {
		t.Helper()
		_, body := v.get("/dinas/lokasi/SMG-01")
		m := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(body)
		if m == nil {
			t.Fatalf("no remark can be corrected:\n%s", body)
		}
		return m[1]
	}
	first := id()
	form.Set("id", first)
	form.Set("teks", "pembakaran sampah")
	if r, body := v.post(at, form); r.StatusCode != 422 || !strings.Contains(body, "alasan perubahan") {
		t.Errorf("a correction without a reason: %s", r.Status)
	}
	form.Set("alasan", "salah lihat")
	if r, body := v.post(at, form); r.StatusCode != 303 {
		t.Fatal(r.Status, body)
	}
	if r, body := v.post(at, form); r.StatusCode != 422 || !strings.Contains(body, "orang lain") {
		t.Errorf("correcting what was corrected: %s", r.Status)
	}
	_, body := v.get("/dinas/lokasi/SMG-01")
	has(t, "the page", body, "pembakaran sampah", "<s><bdi>kebakaran gudang</bdi></s>", "salah lihat", "tek")
	if r, body := v.post(at, url.Values{"id": {id()}, "alasan": {"stasiun lain"}, "tarik": {"1"}}); r.StatusCode != 303 {
		t.Fatal(r.Status, body)
	}
	_, body = v.get("/dinas/lokasi/SMG-01?pesan=catatan-ditarik")
	has(t, "the page", body, "<s><bdi>pembakaran sampah</bdi></s>", "stasiun lain", "ditarik", "Catatan ditarik")
	if strings.Contains(body, `class="remarks"`) {
		t.Error("a withdrawn remark is still on the chart")
	}
	viewer := s.signedIn(t, account.Viewer)
	if _, body := viewer.get("/dinas/lokasi/SMG-01"); strings.Contains(body, "Ubah atau tarik") {
		t.Error("a viewer is offered a correction")
	}
}

// A month of a district in one table, on a page and as files; a month that has
// enough days has a mean, one that has not has none.
func TestAMonthlyReport(t *testing.T) {
	w := airWorld()
	w.sites[0].Name = "=HYPERLINK(1)"
	s := start(t, w)
	v := s.signedInAs(t, "sari", account.Grant{Role: account.Viewer, District: "3374", Kind: telemetry.KindAir})
	if r, _ := v.get("/dinas/laporan?wilayah=3374&bulan=2026-11"); r.StatusCode != 303 || r.Header.Get("Location") != "/dinas/laporan/3374/2026-11" {
		t.Errorf("choosing: %s to %s", r.Status, r.Header.Get("Location"))
	}
	_, body := v.get("/dinas/laporan")
	has(t, "the list", body, "Kota Semarang", "/dinas/laporan/3374/2026-10")
	if strings.Contains(body, "Surakarta") {
		t.Error("another district is listed")
	}
	_, body = v.get("/dinas/laporan/3374/2026-11")
	has(t, "November", body, "22/22", "Bulan ini belum selesai", "1 dari 1 stasiun belum tervalidasi")
	_, body = v.get("/dinas/laporan/3374/2026-10")
	has(t, "October", body, "9/31", `<td class="number">–</td>`)
	for path, want := range map[string]int{"/dinas/laporan/3372/2026-11": 403, "/dinas/laporan/3374/2027-01": 404, "/dinas/laporan/3374/besok": 404, "/dinas/laporan/9999/2026-11": 404, "/dinas/laporan/3374/2026-11/berkas?bentuk=pdf": 400, "/dinas/laporan?wilayah=x": 200} {
		if r, _ := v.get(path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	r, body := v.get("/dinas/laporan/3374/2026-11/berkas?bentuk=csv")
	if lines := strings.Split(strings.TrimSpace(body), "\r\n"); r.StatusCode != 200 || len(lines) != 2 || !strings.HasPrefix(lines[1], "2026-11,3374,SMG-01,'=HYPERLINK(1),acuan,22,22,") {
		t.Errorf("the CSV: %s\n%s", r.Status, body)
	}
	if r, body := v.get("/dinas/laporan/3374/2026-11/berkas?bentuk=xlsx"); r.StatusCode != 200 || !strings.HasPrefix(body, "PK") {
		t.Errorf("the XLSX: %s", r.Status)
	}
}

// A subdistrict's page has what stands in it, and nothing of the rest.
func TestASubdistrict(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedIn(t, account.Viewer)
	_, body := v.get("/dinas/wilayah/3374")
	has(t, "the district", body, "Kecamatan 337401", `href="/dinas/wilayah/3374/kecamatan/337401"`)
	_, body = v.get("/dinas/wilayah/3374/kecamatan/337401")
	has(t, "the subdistrict", body, "Balai Kota Semarang", "PM2,5 di atas 55", "Kelengkapan 24 jam", `href="/dinas/wilayah/3374"`)
	if strings.Contains(body, "Pasar Johar") {
		t.Error("the page shows what stands elsewhere in the district")
	}
	for path, want := range map[string]int{"/dinas/wilayah/3374/kecamatan/337499": 404, "/dinas/wilayah/3372/kecamatan/337401": 404, "/en/dinas/wilayah/3374/kecamatan/337401": 200} {
		if r, _ := v.get(path); r.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, r.Status, want)
		}
	}
	const square = `"geometry":{"type":"Polygon","coordinates":[[[110.40,-7.00],[110.45,-7.00],[110.45,-6.95],[110.40,-6.95],[110.40,-7.00]]]}`
	if _, err := s.places.ImportMap(t.Context(), []byte(`{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"kode":"337401","nama":"Semarang Tengah"},`+square+`}]}`), places.MapOptions{Source: "kecamatan.geojson"}); err != nil {
		t.Fatal(err)
	}
	admin := s.signedIn(t, account.Admin)
	_, body = admin.get("/dinas/atur/lokasi?cari=semarang+tengah")
	has(t, "the search", body, "SMG-01", "1 dari 10 lokasi")
}

// A photo is kept without what the camera wrote into it, and shown; what is none is
// refused.
func TestAPhotoOfASite(t *testing.T) {
	s := start(t, airWorld())
	v := s.signedInAs(t, "tek", account.Grant{Role: account.Technician, District: "3374"})
	send := func(path string, file []byte, fields ...string) *http.Response {
		t.Helper()
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		var err error
		if file != nil {
			var part io.Writer
			if part, err = w.CreateFormFile("berkas", "foto.png"); err == nil {
				_, err = part.Write(file)
			}
		}
		for _, name := range fields {
			err = errors.Join(err, w.WriteField(name, "1"))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+path, &b)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", w.FormDataContentType())
		r.Header.Set("Origin", s.URL)
		answer, err := v.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	const at = "/dinas/lokasi/SMG-07/foto"
	if r, _ := v.get(at); r.StatusCode != 404 {
		t.Errorf("a site without a photo: %s", r.Status)
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 30, 20))); err != nil {
		t.Fatal(err)
	}
	if r := send(at, picture.Bytes()); r.StatusCode != 303 {
		t.Fatalf("a photo: %s", r.Status)
	}
	r, body := v.get(at)
	if m, err := jpeg.Decode(strings.NewReader(body)); err != nil || r.Header.Get("Content-Type") != "image/jpeg" || m.Bounds().Dx() != 30 {
		t.Errorf("the photo: %s, %v", r.Status, err)
	}
	_, body = v.get("/dinas/lokasi/SMG-07")
	has(t, "the page", body, `src="/dinas/lokasi/SMG-07/foto"`, `alt="Foto Pasar Johar"`)
	for name, file := range map[string][]byte{"a page": []byte("<html>"), "no file": nil, "9 MB": make([]byte, 9<<20)} {
		if r := send(at, file); r.StatusCode != 422 {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	if r := send("/dinas/lokasi/SKA-01/foto", picture.Bytes()); r.StatusCode != 403 {
		t.Errorf("another district's site: %s", r.Status)
	}
	if r := send(at, nil, "hapus"); r.StatusCode != 303 {
		t.Errorf("removing it: %s", r.Status)
	}
	if got, _ := s.places.Site("SMG-07"); got.Photo != "" {
		t.Errorf("it is still there: %+v", got)
	}
}

// What people changed at a site and its sensors stays to be read there, by whoever
// may see the site.
func TestASitesChangesAreTold(t *testing.T) {
	s := start(t, airWorld())
	admin, viewer := s.signedIn(t, account.Admin), s.signedInAs(t, "sari", account.Grant{Role: account.Viewer, District: "3374"})
	for _, day := range []string{"2026-09-01", "2026-11-20"} {
		if r, body := admin.post("/dinas/atur/sensor/sps30-0042", url.Values{"name": {"SPS30 atap"}, "maker": {"Sensirion"}, "model": {"SPS30"}, "serial": {"8F31A0"}, "calibrated": {day}}); r.StatusCode != 303 {
			t.Fatalf("%s\n%s", r.Status, body)
		}
	}
	if r, body := admin.post("/dinas/atur/lokasi/SMG-01", url.Values{"name": {"Balai <b>Kota"}, "district": {"3374"}, "subdistrict": {"337401"}, "lat": {"-6.982"}, "lon": {"110.409"}, "class": {"acuan"}, "operator": {"DLH Kota Semarang"}, "public": {"1"}}); r.StatusCode != 303 {
		t.Fatalf("%s\n%s", r.Status, body)
	}
	_, body := viewer.get("/dinas/lokasi/SMG-01")
	has(t, "the site", body, `href="/dinas/lokasi/SMG-01/riwayat"`)
	r, body := viewer.get("/dinas/lokasi/SMG-01/riwayat")
	has(t, "the changes", body, "admin", "name: Balai Kota Semarang → Balai", "→ 2026-11-20", "2026-09-01")
	if r.StatusCode != 200 || strings.Contains(body, "<b>Kota") || strings.Contains(body, "127.0.0.1") || strings.Contains(body, "signin") {
		t.Errorf("%s: the page tells too much", r.Status)
	}
	if r, _ := viewer.get("/dinas/lokasi/SKA-01/riwayat"); r.StatusCode != 403 {
		t.Errorf("another district's: %s", r.Status)
	}
}
