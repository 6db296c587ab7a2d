package server

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestADemoIsRemovedAndNothingElse(t *testing.T) {
	db := influxtest.Shared(t)
	s, c := begin(t, t.TempDir(), db.URL)
	if err := c.Call(t.Context(), http.MethodPost, "/demo/remove", nil, &DemoRemoved{}); err == nil || !strings.Contains(err.Error(), "nothing here is simulated") {
		t.Errorf("with nothing there: %v", err)
	}

	// Posts with their places, and a day of the past.
	o := fleet.HistoryOptions{Server: "mqtt://" + s.health().Addresses["mqtt_plain"], Logins: map[telemetry.Node]fleet.Credential{}, Past: 24 * time.Hour, Once: true}
	var file strings.Builder
	file.WriteString("group,name,password,district,site\n")
	for _, p := range fleet.Province() {
		if p.District.Code != "3310" {
			continue
		}
		o.Posts = append(o.Posts, p)
		o.Logins[p.Node] = fleet.Credential{Node: p.Node, Password: "kata-sandi-simulasi"}
		file.WriteString("3310," + p.Node.ID + ",kata-sandi-simulasi,3310," + p.Site + "\n")
	}
	call[ImportResult](t, c, http.MethodPost, "/gateways/import?simulated=1", strings.NewReader(file.String()))
	post := o.Posts[0]
	if site, ok := s.places.Site(post.Site); !ok || !site.Simulated {
		t.Errorf("the post's site: %+v", site)
	}
	err := s.places.Apply(t.Context(), places.Change{
		Sensors: []places.Sensor{{ID: "sim-1"}, {ID: "asli-1"}},
		Sites:   []places.Site{{Code: "berbagi", District: "3310"}},
		Deployments: []places.Deployment{
			{Site: "berbagi", Sensor: "sim-1", Node: post.Node, Device: "udara"},
			{Site: "berbagi", Sensor: "asli-1", Node: telemetry.Node{Group: "3310", ID: "asli"}, Device: "udara"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := fleet.RunHistory(t.Context(), o); err != nil || r.Arrived < r.Due {
		t.Fatalf("%+v, %v", r, err)
	}

	// A real gateway joins; from then on nothing more may be played.
	call[Claim](t, c, http.MethodPost, "/gateways", AddGateway{Name: "asli", District: "3310"})
	for path, body := range map[string]any{
		"/gateways/import?simulated=1": bytes.NewReader([]byte("group,name,password,district,site\n3310,lain,kata-sandi-lain,3310,\n")),
		"/gateways":                    AddGateway{Name: "lain", District: "3310", Simulated: true},
	} {
		err := c.Call(t.Context(), http.MethodPost, path, body, &struct{}{})
		if err == nil || !strings.Contains(err.Error(), "3310/asli") || !strings.Contains(err.Error(), "server of their own") {
			t.Errorf("%s where a real gateway is registered: %v", path, err)
		}
	}

	out := call[DemoRemoved](t, c, http.MethodPost, "/demo/remove", nil)
	if out.Gateways != 1 || out.Sites != 1 || out.Sensors != 1 || len(out.Kept) != 1 || !strings.Contains(out.Kept[0], "berbagi") {
		t.Errorf("%+v", out)
	}
	for _, b := range []influx.Bucket{influx.Raw, influx.Hours, influx.Days} {
		rows, err := s.influx.Rows(t.Context(), b, influx.Span{Node: post.Node})
		if err != nil || len(rows) > 0 {
			t.Errorf("%s still holds %d rows of the post: %v", b, len(rows), err)
		}
	}
	gateways := call[[]Gateway](t, c, http.MethodGet, "/gateways", nil)
	if len(gateways) != 1 || gateways[0].Node != "3310/asli" {
		t.Errorf("gateways: %+v", gateways)
	}
	var sites []string
	for _, site := range s.places.Sites() {
		sites = append(sites, site.Code)
	}
	if len(sites) != 1 || sites[0] != "berbagi" || len(s.places.Sensors()) != 1 || len(s.places.Deployments("berbagi")) != 1 {
		t.Errorf("sites %v, sensors %+v, deployments %+v", sites, s.places.Sensors(), s.places.Deployments("berbagi"))
	}
	eventually(t, "the post is forgotten", func() bool { _, known := s.view.node(post.Node); return !known })
	if err := c.Call(t.Context(), http.MethodPost, "/demo/remove", nil, &DemoRemoved{}); err == nil {
		t.Error("there was something left to remove")
	}
}
