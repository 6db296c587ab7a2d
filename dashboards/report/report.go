// Package report makes the files that people take away: the bulletin as PDF,
// tables as CSV, XLSX and Parquet, and the daily open-data files.
//
// It promises that text from people and devices stays text in every format (no
// formula runs, no mark turns the writing direction), that the same figures give
// the same bytes, that a file once handed out is kept under its SHA-256, and that
// what is not public is in no public file. What it writes down it gets through
// the small interfaces declared here.
package report

import (
	"context"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Places knows where things are measured. Answers come from memory.
type Places interface {
	Sites() []places.Site
	Site(code string) (places.Site, bool)
	// Nodes lists the nodes of which a device may have been at a site in [from, to).
	Nodes(site string, from, to time.Time) []telemetry.Node
	// At finds the deployment that holds for a device's readings of a time.
	At(n telemetry.Node, device string, t time.Time) (places.Deployment, bool)
	// Utama picks the deployment whose readings of a quantity are the site's.
	Utama(site, quantity string, t time.Time, of []places.Deployment) (places.Deployment, bool)
}

// Book holds the figures and the site hours behind them.
type Book interface {
	// Hours returns the newest versions with from < End <= to; nil quantities =
	// all.
	Hours(ctx context.Context, site string, quantities []string, from, to time.Time) ([]figures.SiteHour, error)
	// Span returns the newest revisions with from < End <= to, oldest first.
	Span(ctx context.Context, kind figures.Kind, site string, from, to time.Time) ([]figures.Figure, error)
	Rules(ctx context.Context) ([]figures.DatedRules, error)
	Marks(ctx context.Context, site string, from, to time.Time) ([]figures.Mark, error)
	Months(ctx context.Context, site string) ([]figures.Month, error)
	// Bulletin returns one revision, -1 = the newest; it wraps fs.ErrNotExist.
	Bulletin(ctx context.Context, id string, revision int) (figures.Bulletin, error)
	// Changed grows with every change.
	Changed() uint64
}

// Raw reads stored readings.
type Raw interface {
	// Readings calls fn for each reading of one node and kind in from <= time < to,
	// oldest first, until fn returns false; nil quantities = all.
	Readings(ctx context.Context, n telemetry.Node, kind telemetry.Kind, quantities []string, from, to time.Time, fn func(device string, t time.Time, r telemetry.Reading) bool) error
}
