package fleet

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestAnAQMSIsAForeignSparkplugNode(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	node := telemetry.Node{Group: "maker", ID: "aqms"}
	births := map[string]*sparkplug.Birth{}
	var data []telemetry.Record
	s.foreign = func(topic sparkplug.Topic, p *sparkplug.Payload) {
		switch topic.Type {
		case sparkplug.DBIRTH:
			b, err := sparkplug.ParseBirth(p, topic.Device)
			if err != nil {
				t.Error(err)
			}
			births[topic.Device] = b
		case sparkplug.DDATA:
			var d sparkplug.Data
			if err := d.Resolve(p, births[topic.Device], 0); err != nil || d.Unknown > 0 || d.Pantau {
				t.Errorf("%v, %d unknown", err, d.Unknown)
			}
			data = append(data, d.Records...)
			if len(data) == 6 {
				cancel()
			}
		}
	}
	r, err := RunAQMS(ctx, AQMSOptions{
		Server: s.url(), Credential: Credential{Node: node}, Devices: 2, Interval: 20 * time.Millisecond, QoS: 1,
	})
	if err != nil || r.Births != 3 || r.Messages < 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	want := map[string]bool{"pm10": true, "pm2_5": true, "so2_ppb": true, "co_ppm": true, "o3_ppb": true, "no2_ppb": true, "hc_ppb": true}
	known := 0
	for _, d := range births["AQMS-02"].Definitions {
		if q, ok := telemetry.Match(d.Name, d.Unit); ok {
			known++
			if !want[q.Name] {
				t.Errorf("%s in %s became %s", d.Name, d.Unit, q.Name)
			}
		}
	}
	if known != len(want) {
		t.Errorf("%d of %d quantities are known", known, len(want))
	}
	for _, rec := range data {
		for _, rd := range rec.Readings {
			if rd.Gap != "" || math.IsNaN(rd.Value.Number) || rd.Value.Number < 0 || rd.Value.Number > 5000 {
				t.Errorf("%s %+v", rec.Device, rd)
			}
		}
	}
}
