//go:build !race

package public_test

import (
	"compress/gzip"
	"image/png"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
)

func TestWhatIsNotPublicNeverAppears(t *testing.T) {
	w := newWorld(t)
	secret := regexp.MustCompile(`(?i)gdg-1|gudang|rahasia|bak-1|bak pasar|johar`)
	for _, path := range slices.Concat(addresses, []string{
		"/stasiun/gdg-1", "/stasiun/gdg-1-gudang-rahasia", "/stasiun/bak-1", "/sematan/gdg-1", "/sematan/bak-1", "/umpan/gdg-1.atom", "/umpan/bak-1.atom", "/?tempat=gdg-1",
		"/bukti/ispu-20261126-15-r0-gdg-1", "/bukti/ispu-20261126-15-r0-gdg-1.json", "/gambar/gdg-1-2026-11-26-1500.png", "/cari?q=gdg", "/cari?q=bak",
	}) {
		for _, address := range []string{path, inEnglish(path)} {
			r, body := w.get(t, address)
			asked := strings.Contains(path, "gdg") || strings.Contains(path, "bak-1") || strings.HasSuffix(path, "q=bak")
			if asked && r.StatusCode != 404 && !strings.HasPrefix(path, "/cari") {
				t.Errorf("%s: %s", address, r.Status)
			}
			main := body
			if _, after, ok := strings.Cut(body, "<main"); ok && asked {
				_, main, _ = strings.Cut(after, "</form>") // the search repeats what was asked
			}
			if m := secret.FindString(main); m != "" {
				t.Errorf("%s says %q", address, m)
			}
			if len(r.Cookies()) > 0 {
				t.Errorf("%s sets a cookie", address)
			}
		}
	}
	// A site that closes its doors is gone at once.
	hidden := simpang
	hidden.Public = false
	if err := w.places.PutSite(t.Context(), hidden); err != nil {
		t.Fatal(err)
	}
	for _, path := range addresses {
		r, body := w.get(t, path)
		if strings.Contains(path, "smg-1") {
			if r.StatusCode != 404 {
				t.Errorf("%s of a hidden site: %s", path, r.Status)
			}
		} else if strings.Contains(body, "Simpang") || strings.Contains(body, "smg-1") {
			t.Errorf("%s still names the hidden site", path)
		}
	}
}

func TestWhoWorksHereIsNotToldAndTextStaysText(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	evil := simpang
	evil.Name, evil.Operator = `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`
	if err := w.places.PutSite(ctx, evil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.AddMark(ctx, figures.Mark{Site: "smg-1", Quantity: "pm2_5", From: w.Now().Add(-3 * time.Hour), To: w.Now().Add(-2 * time.Hour), Invalid: true, Code: "maintenance", Note: "pompa diganti", By: "sari.petugas"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Annotate(ctx, figures.Annotation{Site: "smg-1", From: w.Now().Add(-3 * time.Hour), To: w.Now(), Text: "catatan dalam", By: "sari.petugas"}); err != nil {
		t.Fatal(err)
	}
	taken := publicationtest.Hour("smg-1", "pm2_5", w.Now().Truncate(time.Hour).Add(-2*time.Hour), 0)
	taken.Valid, taken.Rejected = 0, map[string]int{"maintenance": 60}
	w.Feed(taken)
	for _, path := range addresses {
		_, body := w.get(t, path)
		for _, word := range []string{"sari.petugas", "pompa diganti", "catatan dalam", "<script>alert", "<img src=x"} {
			if strings.Contains(body, word) {
				t.Errorf("%s says %q", path, word)
			}
		}
	}
	_, body := w.get(t, "/ralat")
	has(t, "the corrections", body, "data yang datang terlambat", "/bukti/ispu-20261126-15-r1-smg-1", "<s>76 Sedang</s>")
	_, body = w.get(t, "/bukti/ispu-20261126-15-r1-smg-1")
	has(t, "the trace", body, "perawatan", "60 ditolak")
}

func TestEveryAnswerIsHardenedAndOnlySematanMayBeFramed(t *testing.T) {
	w := newWorld(t)
	for _, path := range slices.Concat(addresses, []string{"/nowhere", "/pekerja.js", "/robots.txt", "/en/", "/wilayah/3374", "/umum/nothing"}) {
		r, body := w.get(t, path)
		policy := r.Header.Get("Content-Security-Policy")
		framed := strings.HasPrefix(path, "/sematan/")
		if framed != strings.Contains(policy, "frame-ancestors *") || framed == strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: %s", path, policy)
		}
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is not hardened: %v", path, r.Header)
		}
		if m := regexp.MustCompile(`(?i)<script>|\sstyle=|\son[a-z]+=|javascript:`).FindString(body); m != "" && strings.Contains(r.Header.Get("Content-Type"), "html") {
			t.Errorf("%s holds %q, which its own policy refuses", path, m)
		}
		if framed && strings.Contains(body, "<script") {
			t.Errorf("%s needs a script", path)
		}
	}
}

func TestPreviewsAreSmallAndSayTheHour(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/gambar/smg-1-2026-11-26-1500.png", "/gambar/smg-1-2026-11-25-0900.png", "/gambar/slo-1-2026-11-26-1500.png", "/gambar/ung-1-2026-11-26-1500.png", "/gambar/3374-2026-11-26-1500.png", "/gambar/3301-2026-11-26-1500.png", "/gambar/provinsi-2026-11-26-1500.png", "/en/gambar/3374-2026-11-26-1500.png"} {
		r, body := w.get(t, path)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != "image/png" || len(body) > 100<<10 {
			t.Errorf("%s: %s, %d bytes", path, r.Status, len(body))
			continue
		}
		m, err := png.Decode(strings.NewReader(body))
		if err != nil || m.Bounds().Dx() != 1200 || m.Bounds().Dy() != 630 {
			t.Errorf("%s: %v, %v", path, err, m.Bounds())
		}
	}
	// Every address that may be shared has one, and it is there.
	image := regexp.MustCompile(`property="og:image" content="` + regexp.QuoteMeta(w.url) + `([^"]+)"`)
	for _, path := range []string{"/", "/?tempat=3374", "/udara", "/udara?jam=2026-11-26-1000", "/wilayah/3374-kota-semarang", "/wilayah/3301-kabupaten-cilacap", "/stasiun/smg-1-simpang-lima", "/buletin", "/buletin/2026-11-26-1500", "/ralat", "/bukti/ispu-20261126-15-r0-smg-1",
		"/metode", "/data", "/api", "/tentang", "/privasi", "/aksesibilitas", "/cari?q=sem", "/en/"} {
		_, body := w.get(t, path)
		m := image.FindStringSubmatch(body)
		if m == nil {
			t.Errorf("%s has no preview", path)
			continue
		}
		if r, _ := w.get(t, m[1]); r.StatusCode != 200 {
			t.Errorf("%s: its preview %s: %s", path, m[1], r.Status)
		}
	}
	// The flag of simulated data is on the picture: the lower edge is not white.
	_, body := w.get(t, "/gambar/slo-1-2026-11-26-1500.png")
	m, err := png.Decode(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if r, g, b, _ := m.At(5, 620).RGBA(); r == 0xffff && g == 0xffff && b == 0xffff {
		t.Error("a simulated station's preview does not say so")
	}
}

func TestPagesAreKeptAndAskedAboutAgain(t *testing.T) {
	var changed atomic.Uint64
	w := newWorld(t, func(o *public.Options) {
		real := o.Changed
		o.Changed = func() uint64 { changed.Add(1); return real() }
	})
	for _, path := range addresses {
		r, plain := w.get(t, path)
		if r.StatusCode != 200 || r.Header.Get("ETag") == "" && !strings.HasPrefix(path, "/cari") {
			t.Errorf("%s: %s, tag %q", path, r.Status, r.Header.Get("ETag"))
			continue
		}
		if again, body := w.get(t, path, "If-None-Match", r.Header.Get("ETag")); again.StatusCode != 304 || body != "" {
			t.Errorf("%s asked again: %s", path, again.Status)
		}
		for encoding, open := range map[string]func(io.Reader) io.Reader{
			"gzip": func(r io.Reader) io.Reader {
				z, err := gzip.NewReader(r)
				if err != nil {
					t.Fatal(err)
				}
				return z
			},
			"br": func(r io.Reader) io.Reader { return brotli.NewReader(r) },
		} {
			r, packed := w.get(t, path, "Accept-Encoding", encoding)
			if r.Header.Get("Content-Encoding") != encoding {
				continue // too small to be worth it, or a picture
			}
			body, err := io.ReadAll(open(strings.NewReader(packed)))
			if err != nil || string(body) != plain {
				t.Errorf("%s as %s is another page: %v", path, encoding, err)
			}
			if strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") && len(packed) > 14<<10 {
				t.Errorf("%s weighs %d bytes as %s, at most %d fit into one round trip", path, len(packed), encoding, 14<<10)
			}
		}
	}
	r, _ := w.get(t, "/stasiun/smg-1-simpang-lima")
	w.History("smg-1", w.Now().Truncate(time.Hour).Add(-2*time.Hour), w.Now().Truncate(time.Hour), []string{"pm2_5"}, func(string, time.Time) float64 { return 400 })
	again, body := w.get(t, "/stasiun/smg-1-simpang-lima", "If-None-Match", r.Header.Get("ETag"))
	if again.StatusCode != 200 || strings.Contains(body, `angka">76<`) || !strings.Contains(body, "ralat R1") {
		t.Errorf("after a correction the page is still the old one: %s", again.Status)
	}
	if changed.Load() == 0 {
		t.Error("nobody asked whether something changed")
	}
}
