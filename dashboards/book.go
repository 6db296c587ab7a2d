package dashboards

import (
	"context"
	"io"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Places knows where is measured, and takes what people change there. Reads come
// from memory.
type Places interface {
	// Sites lists all sites by code.
	Sites() []places.Site
	Site(code string) (places.Site, bool)
	// Sensors lists all sensors by id.
	Sensors() []places.Sensor
	Sensor(id string) (places.Sensor, bool)
	// Deployments lists what holds at a site, oldest first, implied ones included.
	Deployments(site string) []places.Deployment
	Deployment(id string) (places.Deployment, bool)
	// SensorDeployments lists where a sensor hung and hangs, oldest first.
	SensorDeployments(sensor string) []places.Deployment
	// At finds the deployment that holds for a device's readings at a time.
	At(n telemetry.Node, device string, t time.Time) (places.Deployment, bool)
	// During lists those of a span, implied ones included.
	During(n telemetry.Node, device string, from, to time.Time) []places.Deployment
	// Nodes are those that gave readings to a site in a span.
	Nodes(site string, from, to time.Time) []telemetry.Node
	// Utama is the deployment of several whose readings count for the site.
	Utama(site, quantity string, t time.Time, of []places.Deployment) (places.Deployment, bool)

	// The changes return places.Problems for what is wrong, field by field.
	PutSite(ctx context.Context, s places.Site) error
	PutSensor(ctx context.Context, s places.Sensor) error
	PutDeployment(ctx context.Context, d places.Deployment) error

	// Import takes a workbook, a zip of CSV files or one CSV file; dry only checks.
	Import(ctx context.Context, file []byte, dry bool) (places.ImportResult, error)
	// Export writes everything as Import takes it.
	Export(w io.Writer, format string) error

	// Boundaries returns the agency's own outlines of a level, nil if there are none.
	Boundaries(l places.Level) *places.Boundaries
	// ImportMap takes outlines out of a GeoJSON or TopoJSON file.
	ImportMap(ctx context.Context, file []byte, o places.MapOptions) (places.MapResult, error)
}

// Figures is the book of what is published: hours of sites, indices, marks,
// bulletins. Spans of hours and figures are from < End <= to, oldest first.
type Figures interface {
	Figure(ctx context.Context, kind figures.Kind, site string, end time.Time) (figures.Figure, bool, error)
	Newest(ctx context.Context, kind figures.Kind, site string, at time.Time) (figures.Figure, bool, error)
	Span(ctx context.Context, kind figures.Kind, site string, from, to time.Time) ([]figures.Figure, error)
	// Everywhere returns every site's figure of one time, by site.
	Everywhere(ctx context.Context, kind figures.Kind, end time.Time) (map[string]figures.Figure, error)
	Revisions(ctx context.Context, kind figures.Kind, site string, end time.Time) ([]figures.Figure, error)
	// Corrections returns the revised figures that were computed in a span.
	Corrections(ctx context.Context, from, to time.Time) ([]figures.Figure, error)
	Trace(ctx context.Context, id string) (figures.Trace, error)                     // fs.ErrNotExist
	AssessmentTrace(ctx context.Context, id string) (figures.AssessmentTrace, error) // fs.ErrNotExist
	// Hours returns newest versions; no quantities = all.
	Hours(ctx context.Context, site string, quantities []string, from, to time.Time) ([]figures.SiteHour, error)
	Quantities(ctx context.Context, site string) ([]string, error)
	// First returns the end of a site's first hour; zero = it has none.
	First(ctx context.Context, site string) (time.Time, error)
	Exceedances(ctx context.Context, site string, year int) ([]figures.Exceedance, error)

	Rules(ctx context.Context) ([]figures.DatedRules, error)
	SetRules(ctx context.Context, r figures.DatedRules) error
	RecomputeSince(ctx context.Context, t time.Time, by, reason string) error

	Marks(ctx context.Context, site string, from, to time.Time) ([]figures.Mark, error)
	AddMark(ctx context.Context, m figures.Mark) (figures.Mark, error)
	Annotations(ctx context.Context, site string, from, to time.Time) ([]figures.Annotation, error)
	Annotate(ctx context.Context, a figures.Annotation) (figures.Annotation, error)
	// Remarked lists all annotations of a site as they were written, corrected and
	// withdrawn ones included; Annotations has those that hold.
	Remarked(ctx context.Context, site string) ([]figures.Annotation, error)
	Months(ctx context.Context, site string) ([]figures.Month, error)
	SetMonth(ctx context.Context, m figures.Month) error
	// Waiting lists the hours of a validated month for which something came since.
	Waiting(ctx context.Context, site, month string) ([]figures.Waiting, error)

	// Bulletins returns the newest revisions; Bulletin takes -1 for the newest.
	Bulletins(ctx context.Context, from, to time.Time) ([]figures.Bulletin, error)
	Bulletin(ctx context.Context, id string, revision int) (figures.Bulletin, error)
	Approve(ctx context.Context, id, by, number string) error
	Revise(ctx context.Context, id, by, reason string) error
	Agency(ctx context.Context) (figures.Agency, error)
	SetAgency(ctx context.Context, a figures.Agency) error

	// Changed grows with every change.
	Changed() uint64
}
