// Package dashboards serves the pages of the agency's staff; the citizens' are in
// package public.
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
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/provider"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/chart"
	"github.com/pantau-id/pantau/dashboards/pages"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
)

// Options is what the pages need.
type Options struct {
	Network Network
	Alerts  Alerts
	Ledger  Ledger
	History History
	Places  Places
	Figures Figures
	Tiles   Tiles // the street map's; none by default
	// Categories are the colours of the index.
	Categories category.Settings
	// Archive gives a site's data to take away.
	Archive report.Archive
	// Files keeps the photos of sites.
	Files *report.Files
	// Storage is how raw readings are kept; nil = the pages do not say it.
	Storage Storage

	People   *account.Accounts
	Sessions account.KV // with a time to live of at least account.Lifetime
	Audit    *audit.Log // every change, sign-in and refusal

	SSO *provider.Provider // identity provider; nil = local accounts only

	Walls   *account.Walls // links for screens on walls
	BaseURL string         // how people reach the pages; "" = as a request did

	// CodeOptional leaves it to admins whether they sign in with a second factor;
	// otherwise they set one up before anything else. For simulated installations.
	CodeOptional bool

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
	case o.Places == nil:
		return errors.New("dashboards: Options.Places is missing")
	case o.Figures == nil:
		return errors.New("dashboards: Options.Figures is missing")
	case o.Files == nil:
		return errors.New("dashboards: Options.Files is missing")
	case o.People == nil:
		return errors.New("dashboards: Options.People is missing")
	case o.Sessions == nil:
		return errors.New("dashboards: Options.Sessions is missing")
	case o.Audit == nil:
		return errors.New("dashboards: Options.Audit is missing")
	case o.Walls == nil:
		return errors.New("dashboards: Options.Walls is missing")
	case o.Refresh < 0:
		return fmt.Errorf("dashboards: Options.Refresh is %v, want more than 0", o.Refresh)
	}
	if _, err := o.Tiles.check(); err != nil {
		return err
	}
	if err := o.Categories.Check(); err != nil {
		return fmt.Errorf("dashboards: %w", err)
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

	photos sync.Mutex // one is decoded at a time

	stop    context.CancelFunc // ends all live updates
	stopped context.Context
	streams sync.WaitGroup
	limit   chan struct{} // one slot a live update
}

var _ http.Handler = (*Dashboards)(nil)

// maxStreams bounds live updates at one server.
const maxStreams = 512

// templates are the pages' templates, the same for every Dashboards.
var templates = sync.OnceValues(func() (*page.Set, error) { return page.NewSet(pages.Files, functions) })

// New makes the pages.
func New(o Options) (*Dashboards, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	d := &Dashboards{
		o: o, assets: page.NewAssets(assetPrefix),
		accounts: o.People, throttle: account.NewThrottle(),
		limit: make(chan struct{}, maxStreams),
	}
	d.sessions = account.NewSessions(o.Sessions, d.accounts, o.HTTPS)
	d.stopped, d.stop = context.WithCancel(context.Background())
	var err error
	if d.set, err = templates(); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	if err := d.loadAssets(); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	if d.metrics, err = newMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("dashboards: %w", err)
	}
	for _, rt := range table {
		if (rt.rule.access == unset) || (rt.rule.access >= accessStaff && (rt.rule.scope == nil || !rt.rule.least.Valid())) {
			return nil, fmt.Errorf("dashboards: route %s %s has no rule", rt.method, rt.path)
		}
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
	}{{"style.css", page.Style(), &d.styles}, {"chart.css", slices.Concat(chart.Style, d.o.Categories.Style()), &d.styles}, {"staff.css", pages.Style, &d.styles}} {
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
