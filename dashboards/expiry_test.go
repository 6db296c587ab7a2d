package dashboards_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
)

// Statement 10: a certificate's end is seen at least 14 days ahead.
func TestStatement10ACertificatesEndIsSeenAFortnightAhead(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		left      time.Duration
		state     dashboards.State
		network   string // "" = nothing is said
		gateway   string
		forbidden string
	}{
		{left: 60 * day, gateway: "Sertifikat berlaku sampai", forbidden: "belum diperbarui"},
		{left: 14*day + time.Hour, gateway: "7 Desember 2026", forbidden: "belum diperbarui", state: dashboards.StateOnline},
		{left: 14 * day, network: "1 gateway: berakhir dalam 14 hari", gateway: "Sertifikat berakhir dalam 14 hari"},
		{left: 3*day + time.Hour, network: "1 gateway: berakhir dalam 14 hari", gateway: "Sertifikat berakhir dalam 3 hari"},
		{left: -time.Minute, network: "1 gateway: berakhir dalam 14 hari", gateway: "Sertifikat sudah berakhir"},
		{left: -day, state: dashboards.StateRevoked, forbidden: "Sertifikat sudah berakhir"},
		{forbidden: "Sertifikat"},
	} {
		w := newWorld()
		w.change(func() {
			for i := range w.gateways {
				if g := &w.gateways[i]; g.Node == hall {
					if c.left != 0 {
						g.Expires = moment.Add(c.left)
					}
					if c.state != "" {
						g.State = c.state
					}
				}
			}
		})
		v := start(t, w).signedIn(t, account.Viewer)
		_, network := v.get("/dinas/jaringan")
		_, page := v.get("/dinas/jaringan/3374/balaikota")
		if c.network == "" && strings.Contains(network, "berakhir dalam 14 hari") || !strings.Contains(network, c.network) {
			t.Errorf("%v left: want the network page to say %q", c.left, c.network)
		}
		has(t, "the gateway's page with "+c.left.String()+" left", page, c.gateway)
		if c.forbidden != "" && strings.Contains(page, c.forbidden) {
			t.Errorf("%v left, %s: the gateway's page says %q", c.left, c.state, c.forbidden)
		}
		if c.network != "" {
			_, list := v.get("/dinas/jaringan?keadaan=trouble")
			has(t, "the list of troubled gateways", list, "Balai Kota Semarang")
		}
	}
}
