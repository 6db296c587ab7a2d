package public_test

import (
	"bytes"
	"compress/gzip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

// All corrections and all bulletins can be reached, by addresses that last, each page
// in one round trip.
func TestOldCorrectionsAndBulletinsStayWithinReach(t *testing.T) {
	of := []places.Site{kudus}
	w := openWorld(t, publicationtest.Filled(t, "months", publicationtest.Noon, of, func(d *publicationtest.Desk) {
		noon := publicationtest.Noon.Truncate(time.Hour)
		d.History(kudus.Code, noon.AddDate(0, 0, -12), noon, []string{"pm2_5"}, publicationtest.Daily(30))
		d.SetNow(publicationtest.Noon.Add(4 * time.Hour)) // the bulletin of 15.00
		d.History(kudus.Code, noon.AddDate(0, 0, -10), noon, []string{"pm2_5"}, publicationtest.Daily(60))
		later := time.Date(2027, 1, 10, 8, 30, 0, 0, figures.WIB)
		d.History(kudus.Code, later.AddDate(0, 0, -3), later, []string{"pm2_5"}, publicationtest.Daily(30))
		d.SetNow(later)
		d.Feed(publicationtest.Hour(kudus.Code, "pm2_5", later.Truncate(time.Hour).Add(-2*time.Hour), 200))
	}), of)
	follow := regexp.MustCompile(`href="(/ralat[^"]*)">← ([^<]+)<`)
	_, body := w.get(t, "/ralat")
	has(t, "the newest", main(body), "<h2>Januari 2027</h2>", "/bukti/ispu-20270110-08-r1-kds-1")
	older := follow.FindStringSubmatch(body)
	if older == nil || older[1] != "/ralat?bulan=2026-11" || older[2] != "November 2026" {
		t.Fatalf("the way to what is older: %q", older)
	}
	seen := map[string]bool{}
	next := "/ralat?bulan=2026-11&halaman=1"
	pages := 0
	for n := 1; next != ""; n++ {
		r, body := w.get(t, next)
		if r.StatusCode != 200 {
			t.Fatalf("%s: %s", next, r.Status)
		}
		for _, m := range regexp.MustCompile(`href="(/bukti/[^"]+-r1-kds-1)"`).FindAllStringSubmatch(body, -1) {
			seen[m[1]] = true
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write([]byte(body)) // into memory
		_ = z.Close()
		if packed.Len() > 14<<10 {
			t.Errorf("%s weighs %d bytes", next, packed.Len())
		}
		pages, next = n, ""
		if m := regexp.MustCompile(`aria-current="page"><b>\d+</b></a> <a href="([^"]+)"`).FindStringSubmatch(body); m != nil {
			next = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	begin := time.Date(2026, 11, 1, 0, 0, 0, 0, figures.WIB)
	all, err := w.Corrections(t.Context(), begin, begin.AddDate(0, 1, 0))
	if err != nil || len(all) < 200 || len(seen) != len(all) || pages != (len(all)+99)/100 {
		t.Errorf("%d of %d corrections on %d pages, %v", len(seen), len(all), pages, err)
	}
	_, body = w.get(t, "/ralat?bulan=2026-11&halaman=1")
	has(t, "a page's own address", body, `rel="canonical" href="`+w.url+`/ralat?bulan=2026-11&amp;halaman=1"`, `href="/ralat">Januari 2027 →`)
	_, body = w.get(t, "/buletin")
	has(t, "the bulletins", body, `href="/buletin/2027-01-09-1500"`, `href="/buletin?bulan=2026-`)
	_, body = w.get(t, "/en/buletin?bulan=2026-11")
	has(t, "old bulletins", body, "<h2>November 2026</h2>", `href="/en/buletin/2026-11-26-1500"`)
	for _, path := range []string{"/ralat?bulan=2027-02", "/ralat?bulan=kemarin", "/ralat?bulan=2026-11&halaman=9", "/ralat?halaman=0", "/buletin?bulan=1999-01"} {
		if r, _ := w.get(t, path); r.StatusCode != 404 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	if r, body := w.get(t, "/ralat?bulan=2024-01"); r.StatusCode != 200 || !strings.Contains(body, "Tidak ada.") {
		t.Errorf("a month without corrections: %s", r.Status)
	}
}
