// Package api is the read interface for programs: /api/v1, described by an
// OpenAPI 3.1 document that is made from the same types, and a reference page.
//
// It promises that the public interface shows public sites only (and of their
// quantities those of the air), that every list is bounded and can be walked to
// its end with each row exactly once, that an answer which did not change costs a
// 304, that bad input is told what to do, as an RFC 9457 problem with an id under
// which the log has the cause, and that names which people or devices gave are
// text in every format. No cookie is read here: answers are the same for everybody
// and may be kept by anybody.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Places knows sites and sensors. Answers come from memory.
type Places interface {
	report.Places
	Sensors() []places.Sensor
	// SensorDeployments lists where a sensor hung and hangs, oldest first.
	SensorDeployments(sensor string) []places.Deployment
}

// Book holds the figures.
type Book interface {
	report.Book
	// Corrections returns the revisions after the first that were published in
	// from <= t < to.
	Corrections(ctx context.Context, from, to time.Time) ([]figures.Figure, error)
	// Trace wraps fs.ErrNotExist.
	Trace(ctx context.Context, id string) (figures.Trace, error)
	Quantities(ctx context.Context, site string) ([]string, error)
	Exceedances(ctx context.Context, site string, year int) ([]figures.Exceedance, error)
	// Bulletins returns the newest revisions of those with from < At <= to.
	Bulletins(ctx context.Context, from, to time.Time) ([]figures.Bulletin, error)
}

// Latest knows the newest reading of each quantity of a node, from memory.
type Latest interface {
	Latest(node telemetry.Node) []report.Taken
}

// Options is what the interface needs.
type Options struct {
	Places Places
	Book   Book
	Raw    report.Raw
	Latest Latest

	// ClientAddr finds a request's true sender behind a trusted proxy.
	ClientAddr func(*http.Request) netip.Addr
	// PerSecond requests an address may make for ever, Burst at once; defaults 5
	// and 60.
	PerSecond float64
	Burst     int
	Licence   report.Licence // of the data; default CC BY 4.0
	Now       func() time.Time
	Logger    *slog.Logger
}

// API is the http.Handler of /api/v1.
type API struct {
	o       Options
	archive report.Archive
	huma    huma.API
	handler http.Handler
	limits  *limits
	order   []string // of the paths on the reference page

	document map[string]file // by path
}

var _ http.Handler = (*API)(nil)

// Prefix is where version 1 lives.
const Prefix = "/api/v1"

// New makes the interface.
func New(o Options) (*API, error) {
	switch {
	case o.Places == nil:
		return nil, errors.New("api: Options.Places is missing")
	case o.Book == nil:
		return nil, errors.New("api: Options.Book is missing")
	case o.Raw == nil:
		return nil, errors.New("api: Options.Raw is missing")
	case o.Latest == nil:
		return nil, errors.New("api: Options.Latest is missing")
	case o.ClientAddr == nil:
		return nil, errors.New("api: Options.ClientAddr is missing")
	}
	if o.PerSecond <= 0 {
		o.PerSecond = 5
	}
	if o.Burst <= 0 {
		o.Burst = 60
	}
	if o.Licence == (report.Licence{}) {
		o.Licence = report.DefaultLicence()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &API{o: o, archive: report.Archive{Places: o.Places, Book: o.Book, Raw: o.Raw}, limits: newLimits(o.PerSecond, o.Burst, o.Now)}
	mux := http.NewServeMux()
	a.huma = humago.New(mux, a.config())
	a.routes()
	if err := a.finish(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a.serveDocument(mux)
	a.handler = a.door(mux)
	return a, nil
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }
