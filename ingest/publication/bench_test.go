package publication_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// filled is a book of stations with days of three parameters.
func filled(b *testing.B, stations, days int) *publicationtest.Desk {
	b.Helper()
	var sites []places.Site
	for i := range stations {
		sites = append(sites, places.Site{Code: fmt.Sprintf("smg-%03d", i), District: "3374", Class: places.Reference, Public: true})
	}
	d := publicationtest.Open(b, sites...)
	for _, s := range sites {
		d.History(s.Code, hour.Add(-time.Duration(days)*24*time.Hour), hour, []string{"pm2_5", "pm10", "no2_ppb"}, publicationtest.Daily(30))
	}
	b.ReportAllocs()
	return d
}

// BenchmarkEverywhere reads one hour of 500 stations; BenchmarkSpan and
// BenchmarkHours one year of one.
func BenchmarkEverywhere(b *testing.B) {
	d := filled(b, 500, 2)
	for b.Loop() {
		if all, err := d.Everywhere(ctx, figures.Hourly, hour); err != nil || len(all) != 500 {
			b.Fatalf("%d, %v", len(all), err)
		}
	}
}

func BenchmarkSpan(b *testing.B) {
	d := filled(b, 1, 365)
	for b.Loop() {
		if all, err := d.Span(ctx, figures.Hourly, "smg-000", time.Time{}, hour); err != nil || len(all) != 365*24 {
			b.Fatalf("%d, %v", len(all), err)
		}
	}
}

func BenchmarkHours(b *testing.B) {
	d := filled(b, 1, 365)
	for b.Loop() {
		if all, err := d.Hours(ctx, "smg-000", []string{"pm2_5"}, time.Time{}, hour); err != nil || len(all) != 365*24 {
			b.Fatalf("%d, %v", len(all), err)
		}
	}
}

func BenchmarkAssessments(b *testing.B) {
	d := filled(b, 1, 365)
	for b.Loop() {
		if _, err := d.Assessments(ctx, "smg-000", 2026); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecompute reads 30 days of hour rows of 40 nodes from InfluxDB, joins
// them to site hours and computes all figures, as after a damaged file.
func BenchmarkRecompute(b *testing.B) {
	const stations, days = 40, 30
	var sites []places.Site
	for i := range stations {
		sites = append(sites, places.Site{Code: fmt.Sprintf("smg-%03d", i), District: "3374", Class: places.Reference, Public: true})
	}
	c := newChain(b, sites...)
	c.stop()
	if _, err := c.db.Prepare(ctx); err != nil {
		b.Fatal(err)
	}
	from := hour.Add(-days * 24 * time.Hour)
	value := publicationtest.Daily(30)
	for _, s := range sites {
		node := telemetry.Node{Group: "3374", ID: s.Code}
		c.must(c.places.PutDeployment(ctx, places.Deployment{Site: s.Code, Node: node, Device: "air"}))
		var rows []influx.Row
		for h := range days * 24 {
			for _, q := range []string{"pm2_5", "pm10", "no2_ppb", "temperature", "humidity"} {
				r := influx.NewRow(telemetry.KindAir, node, "air", q, from.Add(time.Duration(h)*time.Hour))
				r.Mean, r.Min, r.Max, r.Valid, r.Expected, r.Computed = value(q, r.Start), 1, 99, 6, 6, noon
				rows = append(rows, r)
			}
		}
		c.must(c.db.WriteRows(ctx, influx.Hours, rows))
		rows = rows[:0]
		for i := range days + 1 {
			rows = append(rows, influx.NewRow(telemetry.KindAir, node, "air", "pm2_5", figures.Day(from.Add(time.Duration(24*i+1)*time.Hour))))
		}
		c.must(c.db.WriteRows(ctx, influx.Days, rows))
	}
	for b.Loop() {
		b.StopTimer()
		c.stop()
		c.must(os.RemoveAll(filepath.Join(c.dir, "figures.db")))
		b.StartTimer()
		c.start()
		c.settled()
	}
	b.ReportMetric(stations*days*float64(b.N)/b.Elapsed().Seconds(), "site-days/s")
}

// BenchmarkSiteDay enters a day's hours of three parameters and computes the 25
// figures that follow.
func BenchmarkSiteDay(b *testing.B) {
	d := filled(b, 1, 2)
	for b.Loop() {
		b.StopTimer()
		d.SetNow(d.Now().Add(24 * time.Hour))
		b.StartTimer()
		to := d.Now().Truncate(time.Hour).Add(-24 * time.Hour)
		d.History("smg-000", to.Add(-24*time.Hour), to, []string{"pm2_5", "pm10", "no2_ppb"}, publicationtest.Daily(30))
	}
	b.ReportMetric(25*float64(b.N)/b.Elapsed().Seconds(), "figures/s")
}
