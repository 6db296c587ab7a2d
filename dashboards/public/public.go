// Package public serves the citizens' pages: what the air is like, how it is
// known, and what was corrected.
//
// It promises that a page is complete HTML in one round trip (its style inside,
// nothing else blocks it) and works without JavaScript; that it sets no cookie,
// asks no other host for anything and keeps its whole state in its address; that
// what is not public never appears; that a figure names its station, hour,
// completeness and trace, and that an index is never shown for a site that may
// not have one. Each page is made once per change and language and then served
// from memory, with limits of its own, so that a rush of citizens delays no
// gateway. What it shows it gets through the small interfaces declared here.
package public

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/web"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// Places is what the pages know of sites. They ask for all and show only what is
// Public.
type Places interface {
	Sites() []places.Site
	Deployments(site string) []places.Deployment
	Sensor(id string) (places.Sensor, bool)
	// Boundaries returns the imported map of a level, nil if there is none.
	Boundaries(l places.Level) *places.Boundaries
}

// Book is where figures come from. Its words are those of package figures.
type Book interface {
	Figure(ctx context.Context, kind figures.Kind, site string, end time.Time) (figures.Figure, bool, error)
	Newest(ctx context.Context, kind figures.Kind, site string, at time.Time) (figures.Figure, bool, error)
	Span(ctx context.Context, kind figures.Kind, site string, from, to time.Time) ([]figures.Figure, error)
	Everywhere(ctx context.Context, kind figures.Kind, end time.Time) (map[string]figures.Figure, error)
	Revisions(ctx context.Context, kind figures.Kind, site string, end time.Time) ([]figures.Figure, error)
	Corrections(ctx context.Context, from, to time.Time) ([]figures.Figure, error)
	Trace(ctx context.Context, id string) (figures.Trace, error)                     // fs.ErrNotExist
	AssessmentTrace(ctx context.Context, id string) (figures.AssessmentTrace, error) // fs.ErrNotExist
	Hours(ctx context.Context, site string, quantities []string, from, to time.Time) ([]figures.SiteHour, error)
	Quantities(ctx context.Context, site string) ([]string, error)
	Assessments(ctx context.Context, site string, year int) ([]figures.Assessment, error)
	Rules(ctx context.Context) ([]figures.DatedRules, error)
	Bulletins(ctx context.Context, from, to time.Time) ([]figures.Bulletin, error)
	Bulletin(ctx context.Context, id string, revision int) (figures.Bulletin, error) // fs.ErrNotExist; -1 = newest
	Agency(ctx context.Context) (figures.Agency, error)
}

// File is one open-data file.
type File struct {
	Name  string // 2026-11-23-air.csv.gz
	URL   string // where it is served, on this server
	Kind  string // a telemetry.Kind, or "" for what describes the others
	Day   time.Time
	Bytes int64
}

// Files lists the open-data files, newest first.
type Files interface {
	Files(ctx context.Context) ([]File, error)
}

// Options is what the citizens' pages need.
type Options struct {
	Places Places
	Book   Book
	Files  Files // nil = none
	// Reference explains the interface for programs, inside the page at /api; nil =
	// there is none.
	Reference func(page.Lang) (template.HTML, error)
	// Documents serves what another room makes at addresses below the pages':
	// /buletin/{id}.pdf, /foto/{hash}.jpg. nil = there are none, and no page links to one.
	Documents http.Handler
	// Changed grows whenever something changed that a page could show.
	Changed func() uint64

	// Floors are the lowest values of quantities that quality control takes; what is
	// missing is not told.
	Floors map[string]float64

	BaseURL    string            // how people reach the pages, without a slash at its end
	Categories category.Settings // their colours and advice

	Settle   time.Duration // how long a page may be served after a change, so that a storm of changes costs little; default 5 s, negative = not at all
	Memory   int           // bytes of pages kept; default 64 MiB
	Bundle   *web.Bundle   // browser code; nil takes what is built into the program
	Now      func() time.Time
	Logger   *slog.Logger
	Metrics  prometheus.Registerer // nil = no metrics
	parallel int                   // pages made at once; default half of the processors
}

func (o *Options) complete() error {
	switch {
	case o.Places == nil:
		return errors.New("public: Options.Places is missing")
	case o.Book == nil:
		return errors.New("public: Options.Book is missing")
	case o.Changed == nil:
		return errors.New("public: Options.Changed is missing")
	case o.BaseURL == "":
		return errors.New("public: Options.BaseURL is missing")
	}
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	if err := o.Categories.Check(); err != nil {
		return fmt.Errorf("public: %w", err)
	}
	if o.Settle == 0 {
		o.Settle = 5 * time.Second
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.parallel == 0 {
		o.parallel = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return nil
}

// Public is the http.Handler of the citizens' pages.
type Public struct {
	o       Options
	handler http.Handler
	set     *page.Set
	assets  *page.Assets
	look    look
	metrics *metrics
	faces   faces

	kept     *memory
	making   singleflight.Group
	makers   chan struct{} // one slot a page being made
	waiting  atomic.Int64  // pages being made or waiting for a slot
	writers  chan struct{} // one slot an answer being written
	learning singleflight.Group
	known    atomic.Pointer[state]
}

var _ http.Handler = (*Public)(nil)

// templates are the pages' templates, the same for every Public.
var templates = sync.OnceValues(func() (*page.Set, error) { return page.NewSet(files, functions) })

// New makes the pages.
func New(o Options) (*Public, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &Public{
		o: o, assets: page.NewAssets(assetPrefix), kept: newMemory(o.Memory),
		makers: make(chan struct{}, o.parallel), writers: make(chan struct{}, 16*runtime.GOMAXPROCS(0)),
	}
	var err error
	if p.look, err = newLook(p.assets, o); err != nil {
		return nil, fmt.Errorf("public: %w", err)
	}
	if p.set, err = templates(); err != nil {
		return nil, fmt.Errorf("public: %w", err)
	}
	if p.faces, err = loadFaces(); err != nil {
		return nil, fmt.Errorf("public: %w", err)
	}
	if p.metrics, err = newMetrics(o.Metrics, p.kept); err != nil {
		return nil, fmt.Errorf("public: %w", err)
	}
	p.handler = p.routes()
	return p, nil
}

// ServeHTTP answers a request.
func (p *Public) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.handler.ServeHTTP(w, r) }
