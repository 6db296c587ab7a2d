// Package dashboards serves the pages: a plain welcome for everybody, and for the
// agency's staff the live page of the network.
//
// It promises complete HTML that works without JavaScript, in Indonesian and
// English; that a figure carries its unit, age and quality in words; that nothing
// a device sent is ever markup; that nobody sees a staff page without signing in
// and nobody acts beyond their role; and that no page asks another host for
// anything. What it shows it gets through the small interfaces declared here.
package dashboards

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/pages"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/internal/page"
)

// Options is what the pages need.
type Options struct {
	Network Network
	Alerts  Alerts
	Ledger  Ledger
	History History

	People   account.KV // accounts; state that people edit
	Sessions account.KV // sessions; with a time to live of at least account.Lifetime

	// HTTPS says that people reach the pages over HTTPS, here or at a proxy in
	// front: cookies are then marked Secure. Requests that arrive over TLS are
	// refused nothing without it, but their cookies could leak.
	HTTPS bool
	// ClientAddr finds a request's true sender behind a trusted proxy; nil takes
	// the connection's.
	ClientAddr func(*http.Request) netip.Addr

	// Bundle is the browser code; nil takes what is built into the program.
	Bundle *web.Bundle
	// Refresh is how often an open live page is compared with the newest values;
	// default one second.
	Refresh time.Duration
	Version string                // of the program, for the pages' foot; "" = not shown
	Now     func() time.Time      // default time.Now
	Logger  *slog.Logger          // default slog.Default()
	Metrics prometheus.Registerer // nil = no metrics
}

func (o *Options) complete() error {
	switch {
	case o.Network == nil:
		return errors.New("dashboards: Options.Network is missing")
	case o.Alerts == nil:
		return errors.New("dashboards: Options.Alerts is missing")
	case o.Ledger == nil:
		return errors.New("dashboards: Options.Ledger is missing")
	case o.History == nil:
		return errors.New("dashboards: Options.History is missing")
	case o.People == nil:
		return errors.New("dashboards: Options.People is missing")
	case o.Sessions == nil:
		return errors.New("dashboards: Options.Sessions is missing")
	case o.Refresh < 0:
		return fmt.Errorf("dashboards: Options.Refresh is %v, want more than 0", o.Refresh)
	}
	if o.Refresh == 0 {
		o.Refresh = time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.ClientAddr == nil {
		o.ClientAddr = connectionAddr
	}
	return nil
}

func connectionAddr(r *http.Request) netip.Addr {
	p, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// Dashboards is the http.Handler of all pages. Close it before the HTTP server
// shuts down: live updates are requests without an end.
type Dashboards struct {
	o        Options
	handler  http.Handler
	set      *page.Set
	assets   *page.Assets
	styles   []string
	scripts  []string
	icon     string
	accounts *account.Accounts
	sessions *account.Sessions
	throttle *account.Throttle
	metrics  *metrics

	stop    context.CancelFunc // ends all live updates
	stopped context.Context
	streams sync.WaitGroup
	limit   chan struct{} // one slot a live update
}

var _ http.Handler = (*Dashboards)(nil)

// maxStreams bounds live updates at one server.
const maxStreams = 512

// New makes the pages.
func New(o Options) (*Dashboards, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := &Dashboards{
		o: o, assets: page.NewAssets(assetPrefix),
		accounts: account.NewAccounts(o.People), throttle: account.NewThrottle(),
		limit: make(chan struct{}, maxStreams),
	}
	d.sessions = account.NewSessions(o.Sessions, d.accounts, o.HTTPS)
	d.stopped, d.stop = context.WithCancel(context.Background())
	var err error
	if d.set, err = page.NewSet(pages.Files, functions); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	if err := d.loadAssets(); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	if d.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	d.handler = d.routes()
	return d, nil
}

const assetPrefix = "/aset/"

func (d *Dashboards) loadAssets() error {
	for _, f := range []struct {
		name string
		body []byte
		into *[]string
	}{{"style.css", page.Style(), &d.styles}, {"staff.css", pages.Style, &d.styles}} {
		url, err := d.assets.Add(f.name, f.body)
		if err != nil {
			return err
		}
		*f.into = append(*f.into, url)
	}
	var err error
	if d.icon, err = d.assets.Add("icon.svg", page.Icon()); err != nil {
		return err
	}
	var bundle web.Bundle
	if d.o.Bundle != nil {
		bundle = *d.o.Bundle
	} else if bundle, err = web.Load(); err != nil {
		return err
	}
	for _, f := range bundle.Files {
		url, err := d.assets.AddAs(f.Name, f.Body, f.Gzip, f.Brotli)
		if err != nil {
			return err
		}
		switch f.Name {
		case bundle.Script:
			d.scripts = append(d.scripts, url)
		case bundle.Style:
			d.styles = append(d.styles, url)
		}
	}
	if bundle.Script == "" {
		d.o.Logger.Warn("pages come without live updates and zoomable charts: this program was built without the browser code",
			"fix", "run `make host`, or `npm ci && npm run build` in dashboards/web, and build again")
	}
	return nil
}

// ServeHTTP answers a request.
func (d *Dashboards) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }

// Close ends all live updates and waits for them.
func (d *Dashboards) Close(ctx context.Context) error {
	d.stop()
	done := make(chan struct{})
	go func() {
		d.streams.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("end live updates: %w", ctx.Err())
	}
}
