//go:build bench

package dashboards_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/places"
)

// TestSpeed prints how long the pages take that read most, with a year of hours and
// figures of 500 stations (`make bench`; the year takes some minutes to compute). It
// fails if a page is missing, never because something is slow: the lines say what
// was aimed at and what was reached on this machine.
func TestSpeed(t *testing.T) {
	const stations, days, each, aim = 500, 365, 1000, 100 * time.Millisecond
	w := newWorld()
	for i := range stations {
		d := places.Districts()[i%len(places.Districts())]
		w.sites = append(w.sites, places.Site{Code: fmt.Sprintf("B-%03d", i), Name: fmt.Sprintf("Stasiun %03d", i), District: d.Code, Lat: d.Lat, Lon: d.Lon, Class: places.Reference, Public: true})
	}
	w.fill = func(d *publicationtest.Desk) {
		for _, span := range [][2]time.Time{{moment.AddDate(0, 0, -days), moment.Add(-30 * time.Hour)}, {moment.Add(-30 * time.Hour), moment}} {
			d.SetNow(span[1])
			for i, s := range w.sites {
				d.History(s.Code, span[0], span[1], []string{"pm2_5"}, publicationtest.Daily(float64(5+i%200)))
			}
		}
	}
	begin := time.Now()
	v := start(t, w).signedIn(t, account.Admin)
	fmt.Printf("The officers' pages, with a year of %d stations (computed in %v); each %d times, the first included\n", stations, time.Since(begin).Round(time.Second), each)
	for _, c := range []struct{ what, path string }{
		{"the province, an hour of it", "/dinas/provinsi"}, {"the same with its map", "/dinas/provinsi?peta=titik"},
		{"a station's day", "/dinas/lokasi/B-%03d"}, {"a station's year", "/dinas/lokasi/B-%03d?rentang=1t"},
		{"the series of a year's chart", "/dinas/lokasi/B-%03d/deret?besaran=pm2_5&rentang=1t"},
	} {
		var took []time.Duration
		for i := range each {
			path := c.path
			if slices.Contains([]byte(path), '%') {
				path = fmt.Sprintf(path, i*7%stations) // another station each time
			}
			begin := time.Now()
			if r, body := v.get(path); r.StatusCode != 200 {
				t.Fatalf("%s: %s\n%s", path, r.Status, body)
			}
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		p50, p99, verdict := took[each/2], took[each*99/100], "met"
		if p99 > aim {
			verdict = "MISSED"
		}
		fmt.Printf("%-40s p50 %-8v p99 %-8v max %-8v ≤ %v  %s\n", c.what, p50.Round(time.Millisecond), p99.Round(time.Millisecond), took[each-1].Round(time.Millisecond), aim, verdict)
	}
}
