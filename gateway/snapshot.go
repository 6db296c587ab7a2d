package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/pantau-id/pantau/gateway/status"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func (g *Gateway) isRunning() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

// wall turns a CLOCK_BOOTTIME into UTC, or into the best guess at it.
func (g *Gateway) wall(at time.Duration) time.Time {
	if !g.isRunning() {
		return g.o.Now().Add(at - g.o.Boottime())
	}
	if t, _, ok := g.clock.UTC(at); ok {
		return t
	}
	now, _ := g.clock.Best()
	return now.Add(at - g.o.Boottime())
}

// Snapshot is what the status page shows now.
func (g *Gateway) Snapshot() status.Snapshot {
	g.mu.Lock()
	s := status.Snapshot{
		Version: g.o.Version, Simulated: g.o.Gateway.Simulated, Data: g.o.Gateway.Data, Config: g.o.file,
		Running: g.o.Boottime() - g.started,
		Uplink:  status.Uplink{Server: g.server},
		Spool:   status.Spool{Quota: int64(g.o.Spool.Quota)},
	}
	if !g.node.IsZero() {
		s.Name = g.node.String()
	}
	if g.identity != nil {
		s.Uplink.Certificate, s.Uplink.ByHand = g.identity.NotAfter, g.identity.ByHand
	}
	all, link, running := g.samplers, g.uplink, g.running
	linkErr, beginErr, keepErr, scanned := g.linkErr, g.beginErr, g.keepErr, g.scanned
	g.mu.Unlock()

	s.Now, s.Live = g.wall(g.o.Boottime()), g.stuck() == ""
	for _, one := range all {
		v := one.view(g.wall)
		if one.Name == healthDevice {
			s.Health = &v
		} else {
			s.Sensors = append(s.Sensors, v)
		}
	}
	if running {
		_, s.Clock.Quality, s.Clock.Known = g.clock.UTC(g.o.Boottime())
		st := g.spool.Stats()
		s.Spool = status.Spool{
			Records: st.Records, Unresolved: st.Unresolved, Bytes: st.Bytes, Quota: s.Spool.Quota, Oldest: st.Oldest,
			Dropped: st.Dropped, Quarantined: st.Quarantined, NoClock: st.NoClock, Full: st.Full,
		}
		if st.Err != nil {
			s.Spool.Error = st.Err.Error()
		}
	}
	if link != nil {
		l := link.Status()
		s.Uplink.Connected, s.Uplink.Since, s.Uplink.Error, s.Uplink.Retry = l.Connected, l.Since, l.Error, l.Retry
		s.Uplink.LastAck, s.Uplink.InFlight = l.LastAck, l.InFlight
	}
	switch {
	case beginErr != nil:
		s.Spool.Error = beginErr.Error()
	case s.Spool.Error == "" && keepErr != nil && !s.Spool.Full:
		s.Spool.Error = keepErr.Error()
	}
	s.Steps = g.missing(&s, linkErr, running && scanned)
	return s
}

// renewByHand is how long before its end people are told to renew a certificate.
const renewByHand = 14 * 24 * time.Hour

// missing lists what is to be done, most important first. scanned says that a
// search for sensors was through once.
func (g *Gateway) missing(s *status.Snapshot, linkErr error, scanned bool) []status.Step {
	var steps []status.Step
	add := func(step status.Step) { steps = append(steps, step) }
	if s.Spool.Error != "" {
		add(status.Step{Key: "disk", Bad: true, Detail: s.Spool.Error})
	}
	if s.Spool.Full {
		add(status.Step{Key: "full", Bad: true})
	}
	if g.o.problem != nil {
		add(status.Step{Key: "settings", Detail: g.o.problem.Error(), Command: "pantau-gateway check " + g.o.file})
	}
	if len(s.Sensors) == 0 && scanned {
		add(status.Step{Key: "nosensor", Bad: true, Command: "pantau-gateway scan"})
	}
	for _, sensor := range s.Sensors {
		if sensor.Gap != telemetry.GapNone && sensor.Gap != telemetry.GapNotReady {
			add(status.Step{Key: "sensor", Bad: true, Subject: sensor.Name, Detail: sensor.Error})
			continue
		}
		for _, v := range sensor.Values {
			if f := v.Reading.Flag; f != telemetry.FlagNone && f != telemetry.FlagWarmUp {
				add(status.Step{Key: "flagged", Bad: true, Subject: sensor.Name, Detail: v.Quantity.Name + ": " + f.String()})
				break
			}
		}
	}
	claim := fmt.Sprintf("pantau-gateway claim CODE --server %s --data %s", hostPort(g.o.Uplink.Server), g.o.Gateway.Data)
	switch {
	case errors.Is(linkErr, errNoClaim):
		add(status.Step{Key: "claim", Command: claim})
	case errors.Is(linkErr, errNoServer):
		add(status.Step{Key: "server"})
	case linkErr != nil:
		add(status.Step{Key: "identity", Detail: linkErr.Error(), Command: claim + " --replace"})
	case s.Uplink.ByHand && s.Clock.Known && s.Now.After(s.Uplink.Certificate.Add(-renewByHand)):
		add(status.Step{Key: "renew", Detail: s.Uplink.Certificate.UTC().Format(time.RFC3339),
			Command: fmt.Sprintf("pantau-gateway csr --node %s --data %s", s.Name, g.o.Gateway.Data)})
	case !s.Uplink.Certificate.IsZero() && s.Clock.Known && s.Now.After(s.Uplink.Certificate):
		add(status.Step{Key: "expired"})
	case !s.Uplink.Connected && s.Uplink.Error != "":
		add(status.Step{Key: "link", Detail: s.Uplink.Error})
	}
	if g.isRunning() && !s.Clock.Known {
		add(status.Step{Key: "clock"})
	}
	if s.Health != nil {
		for _, v := range s.Health.Values {
			if v.Quantity.Name == "under_voltage" && !v.At.IsZero() && v.Reading.Value.Number != 0 {
				add(status.Step{Key: "voltage"})
			}
		}
	}
	return steps
}

// hostPort returns the server's address as claim takes it, or words for it.
func hostPort(server string) string {
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		return u.Host
	}
	return "HOST:8883"
}
