package gateway

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/broker/enrol"
	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// office is the server's side of a gateway, all of it real: journal, registry,
// authority and broker.
type office struct {
	journal   *journal.Journal
	registry  *registry.Registry
	authority *enrol.Authority
	broker    *broker.Broker
}

type authenticator struct{ *registry.Registry }

func (a authenticator) Authenticate(ctx context.Context, c broker.Credentials) (telemetry.Node, error) {
	return a.Registry.Authenticate(ctx, registry.Credentials(c))
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{}
	ctx := t.Context()
	log := quiet(t).Logger
	closing := func(what string, f func(context.Context) error) {
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			if err := f(ctx); err != nil {
				t.Errorf("close the %s: %v", what, err)
			}
		})
	}
	var err error
	if o.journal, err = journal.Open(ctx, journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: log}); err != nil {
		t.Fatal(err)
	}
	closing("journal", o.journal.Close)
	kv, err := o.journal.KV(ctx, "registry", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.registry, err = registry.Open(ctx, registry.Options{KV: kv, Logger: log, Revoked: func(n telemetry.Node) { o.broker.Disconnect(n, "revoked") }})
	if err != nil {
		t.Fatal(err)
	}
	closing("registry", o.registry.Close)
	if o.authority, err = enrol.Open(enrol.Options{Dir: filepath.Join(t.TempDir(), "ca"), Registry: o.registry, Logger: log}); err != nil {
		t.Fatal(err)
	}
	config, err := o.authority.TLS()
	if err != nil {
		t.Fatal(err)
	}
	o.broker, err = broker.New(broker.Options{
		Listen: "127.0.0.1:0", TLS: config, EnrolHandler: o.authority, Journal: o.journal, Authority: authenticator{o.registry},
		Synced: func() bool { return true }, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.broker.Start(ctx); err != nil {
		t.Fatal(err)
	}
	closing("broker", o.broker.Stop)
	return o
}

// A gateway without a clock claims its certificate, gets the time from the
// server, renews, and is cut off by a revocation; its readings wait then.
func TestAGatewaysLifeWithTheRealServer(t *testing.T) {
	server, chips := newOffice(t), newSite(t)
	node := telemetry.Node{Group: "3374", ID: "balaikota"}
	claim, err := server.authority.Claim(t.Context(), registry.Gateway{Node: node, Name: "Balai kota", District: "3374"})
	if err != nil {
		t.Fatal(err)
	}
	o := quiet(t)
	o.Gateway.Time, o.Synced = "auto", func() bool { return false }
	report := settings.Duration(500 * time.Millisecond)
	o.Sensors = []SensorOptions{{Part: "bme280", Name: "cuaca", Bus: chips.socket, Address: chip.BME280Address, Interval: report, Report: report}}
	g, _ := start(t, o)
	eventually(t, "readings that wait for claim and clock", func() bool {
		s := g.Snapshot()
		return s.Spool.Unresolved > 1 && strings.HasPrefix(steps(g), "claim clock")
	})

	id, err := Claim(t.Context(), ClaimOptions{Code: claim.Code, Server: server.broker.Addr().String(), Data: o.Gateway.Data})
	if err != nil {
		t.Fatal(err)
	}
	if id.Node != node {
		t.Errorf("claimed as %v", id.Node)
	}
	eventually(t, "a session, the time and an empty spool", func() bool {
		s := g.Snapshot()
		return s.Uplink.Connected && s.Clock.Quality == telemetry.TimeServer && s.Spool.Records == 0 && len(s.Steps) == 0
	})
	if d := time.Since(g.Snapshot().Now); d < -10*time.Second || d > 10*time.Second { // the way of the server's word takes its time
		t.Errorf("the server's time is off by %v", d)
	}

	renewed, err := renew(t.Context(), o.Gateway.Data, id, time.Now, func() bool { return true })
	if err != nil || renewed.Key == id.Key {
		t.Fatalf("renewal: %v", err)
	}

	if err := server.registry.Revoke(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a link that is cut and a spool that fills", func() bool {
		s := g.Snapshot()
		return !s.Uplink.Connected && s.Uplink.Error != "" && s.Spool.Records > 2 && steps(g) == "link"
	})
	if _, err := renew(t.Context(), o.Gateway.Data, renewed, time.Now, func() bool { return true }); !errors.Is(err, ErrRefused) {
		t.Errorf("a renewal after the revocation: %v", err)
	}
}
