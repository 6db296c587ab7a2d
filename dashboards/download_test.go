package dashboards_test

import (
	"encoding/csv"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestADownloadHoldsTheKindsThatItsReaderMaySee(t *testing.T) {
	w := newWorld()
	w.filled, w.fill = "download", func(d *publicationtest.Desk) {
		end := w.clock().Add(-26 * time.Hour).Truncate(time.Hour)
		for _, q := range []string{"pm2_5", "fill"} {
			d.Feed(publicationtest.Hour("SMG-01", q, end, 41))
		}
	}
	s := start(t, w)
	day := w.clock().Add(-26 * time.Hour).In(figures.WIB).Format("2006-01-02")
	path := "/dinas/lokasi/SMG-01/unduh?rinci=hour&dari=" + day + "&sampai=" + day + "&bentuk="
	for kind, want := range map[telemetry.Kind]string{"": "fill pm2_5", telemetry.KindAir: "pm2_5", telemetry.KindWaste: "fill"} {
		v := s.signedInAs(t, "baca"+string(kind), account.Grant{Role: account.Viewer, District: here, Kind: kind})
		r, body := v.get(path + "csv")
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if r.StatusCode != http.StatusOK || err != nil || !strings.Contains(r.Header.Get("Content-Disposition"), `filename="pantau-SMG-01-`) {
			t.Fatalf("%s: %s, %v, %v", kind, r.Status, err, r.Header)
		}
		var got []string
		for _, row := range rows[1:] {
			got = append(got, row[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("kind %q takes away %v, want %s", kind, got, want)
		}
		for format, begin := range map[string]string{"xlsx": "PK", "parquet": "PAR1"} {
			if r, body := v.get(path + format); r.StatusCode != http.StatusOK || !strings.HasPrefix(body, begin) {
				t.Errorf("%s: %s, %.20q", format, r.Status, body)
			}
		}
	}
	v := s.signedInAs(t, "salah", account.Grant{Role: account.Viewer})
	for _, wrong := range []string{"", "?bentuk=pdf&rinci=hour&dari=2026-11-22&sampai=2026-11-22", "?bentuk=csv&rinci=hour&dari=2026-11-23&sampai=2026-11-22", "?bentuk=csv&rinci=raw&dari=2026-01-01&sampai=2026-11-22"} {
		if r, body := v.get("/dinas/lokasi/SMG-01/unduh" + wrong); r.StatusCode != http.StatusBadRequest || !strings.Contains(body, "31 hari") {
			t.Errorf("%s: %s", wrong, r.Status)
		}
	}
}
