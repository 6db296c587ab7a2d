package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// identityEvery is how often the data folder is looked at for a new claim.
const identityEvery = 5 * time.Second

// credentials are what one uplink is made of.
type credentials struct {
	node     telemetry.Node
	server   string // tls://host:port
	options  uplink.Options
	identity *Identity // nil if the settings name certificate or user
}

// errNoServer and errNoClaim are what credentials lacks; the status page says
// what to do.
var (
	errNoServer = errors.New("no server is set")
	errNoClaim  = errors.New("the gateway has not been claimed")
)

// credentials joins the settings and what a claim left in the data folder.
func (g *Gateway) credentials() (*credentials, error) {
	u := &g.o.Uplink
	c := &credentials{}
	var err error
	if c.node, err = optionalNode(g.o.Gateway.Name); err != nil {
		return nil, err
	}
	server := u.Server
	switch {
	case u.Username != "":
		c.options.Username = u.Username
		password, err := os.ReadFile(u.Password)
		if err != nil {
			return nil, fmt.Errorf("read the password: %w", err)
		}
		c.options.Password = strings.TrimRight(string(password), "\r\n")
	case u.Certificate != "":
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(u.Certificate, u.Key)
			return &pair, err
		}
		pair, err := load()
		if err != nil {
			return nil, fmt.Errorf("read certificate and key: %w", err)
		}
		if c.node, err = sameNode(c.node, pair.Leaf.Subject.CommonName); err != nil {
			return nil, err
		}
		c.options.Certificate = load
	default:
		id, err := LoadIdentity(g.o.Gateway.Data)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errNoClaim
		}
		if err != nil {
			return nil, err
		}
		if c.node, err = sameNode(c.node, id.Node.String()); err != nil {
			return nil, err
		}
		if server == "" {
			server = id.Server
		}
		c.identity = id
		c.options.CA = []byte(id.CA)
		c.options.Certificate = g.claimedCertificate
	}
	if server == "" {
		return nil, errNoServer
	}
	if u.CA != "" {
		if c.options.CA, err = os.ReadFile(u.CA); err != nil {
			return nil, fmt.Errorf("read the authority: %w", err)
		}
	}
	if c.server, err = serverAddress(server); err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	return c, nil
}

// claimedCertificate is asked for at every connect, so that a renewed one is
// used without a restart.
func (g *Gateway) claimedCertificate() (*tls.Certificate, error) {
	id, err := LoadIdentity(g.o.Gateway.Data)
	if err != nil {
		return nil, err
	}
	return id.pair()
}

func optionalNode(name string) (telemetry.Node, error) {
	if name == "" {
		return telemetry.Node{}, nil
	}
	return telemetry.ParseNode(name)
}

// sameNode checks that settings and certificate name the same node.
func sameNode(set telemetry.Node, common string) (telemetry.Node, error) {
	node, err := telemetry.ParseNode(common)
	if err != nil {
		return node, fmt.Errorf("certificate's common name: %w", err)
	}
	if !set.IsZero() && set != node {
		return node, fmt.Errorf("gateway.name is %q, but the certificate is for %q", set, node)
	}
	return node, nil
}

// link keeps an uplink as soon as there are credentials, and takes new ones
// when a claim changes them.
func (g *Gateway) link(ctx context.Context) {
	for {
		c, err := g.credentials()
		g.setLink(c, nil, err)
		if err == nil {
			err = g.connect(ctx, c)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.setLink(c, nil, err)
		}
		if !pauseFor(ctx, identityEvery) {
			return
		}
	}
}

// connect runs one uplink until ctx ends or the credentials change.
func (g *Gateway) connect(ctx context.Context, c *credentials) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := c.options
	o.Node, o.Server, o.Dir = c.node, c.server, g.o.Gateway.Data
	o.Spool, o.Clock = g.spool, g.clock
	o.Version, o.Simulated = g.o.Version, g.o.Gateway.Simulated
	o.QoS0, o.Window = g.o.Uplink.QoS0, g.o.Uplink.Window
	o.Logger, o.Metrics, o.Boottime = g.log, metrics.NewSet(), g.o.Boottime
	g.mu.Lock()
	g.parts[ofUplink] = o.Metrics
	g.mu.Unlock()
	u, err := uplink.New(o)
	if err != nil {
		return fmt.Errorf("set up the uplink: %w", err)
	}
	g.setLink(c, u, nil)
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		g.tend(ctx, c, cancel)
	}()
	err = u.Run(ctx)
	cancel()
	<-done
	g.setLink(c, nil, err)
	return err
}

// setLink remembers the link for the status page, and tells the log what is
// missing when that changes.
func (g *Gateway) setLink(c *credentials, u *uplink.Uplink, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err != nil && (g.linkErr == nil || g.linkErr.Error() != err.Error()) {
		g.log.Warn("nothing can be sent for now; readings are taken and kept", "reason", err)
	}
	g.uplink, g.linkErr = u, err
	if c != nil {
		g.node, g.server, g.identity = c.node, c.server, c.identity
	}
	if u != nil {
		u.Define(g.definitions...)
		for device, id := range g.identities {
			u.Identify(device, id)
		}
	}
}

// define announces quantities to the uplink there is and to those to come.
func (g *Gateway) define(s *sampler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var defs []uplink.Definition
	for _, q := range s.quantities {
		defs = append(defs, uplink.Definition{Device: s.Name, Quantity: q.Name, Unit: q.Unit, Interval: time.Duration(s.Report)})
	}
	g.definitions = append(g.definitions, defs...)
	if g.uplink != nil {
		g.uplink.Define(defs...)
	}
}

// identify tells what a device's part tells of itself to the uplink there is and
// to those to come.
func (g *Gateway) identify(device string, id telemetry.Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.identities[device] = id
	if g.uplink != nil {
		g.uplink.Identify(device, id)
	}
}

// renewal retries wait this long, with jitter so that a whole fleet that was
// off does not come at once.
const (
	renewRetryMin = 10 * time.Minute
	renewRetryMax = 2 * time.Hour
)

// tend watches a claimed identity: it ends the uplink when another claim
// replaced node, server or authority, and renews the certificate when two thirds
// of its life are over, unless only people can.
func (g *Gateway) tend(ctx context.Context, c *credentials, replaced func()) {
	if c.identity == nil {
		return
	}
	next := time.Duration(0) // CLOCK_BOOTTIME of the next attempt to renew
	retry := renewRetryMin
	for pauseFor(ctx, identityEvery) {
		id, err := LoadIdentity(g.o.Gateway.Data)
		if err != nil {
			g.log.Error("the gateway's identity can't be read any more", "error", err)
			replaced()
			return
		}
		if id.Node != c.identity.Node || id.Server != c.identity.Server || id.CA != c.identity.CA {
			g.log.Info("the gateway was claimed anew", "node", id.Node, "server", id.Server)
			replaced()
			return
		}
		g.mu.Lock()
		g.identity = id // people may have put a new certificate there
		g.mu.Unlock()
		now, known := g.clock.Best()
		if id.ByHand || !known || now.Before(id.renewAt()) || g.o.Boottime() < next {
			continue
		}
		renewed, err := renew(ctx, g.o.Gateway.Data, id, g.o.Now, g.o.Synced)
		if err != nil {
			next = g.o.Boottime() + retry/2 + rand.N(retry)
			retry = min(2*retry, renewRetryMax)
			g.log.Warn("the certificate could not be renewed; it will be tried again", "error", err, "valid_until", id.NotAfter)
			continue
		}
		retry = renewRetryMin
		g.log.Info("the certificate was renewed", "valid_until", renewed.NotAfter)
	}
}
