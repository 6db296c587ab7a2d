package server

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/api"
	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/dashboards/public"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// OpenDataOptions are what others may do with the data.
type OpenDataOptions struct {
	Licence    string `toml:"licence"`     // its name; default CC BY 4.0
	LicenceURL string `toml:"licence_url"` // where its text stands
}

func (o OpenDataOptions) licence() report.Licence {
	if o.Licence == "" {
		return report.DefaultLicence()
	}
	return report.Licence{Name: o.Licence, URL: o.LicenceURL}
}

// APIOptions are the limits of the read interface, for each address.
type APIOptions struct {
	RequestsPerSecond float64 `toml:"requests_per_second"` // for ever; default 5
	RequestsAtOnce    int     `toml:"requests_at_once"`    // default 60
}

// readers are what programs read and people take away: the interface and the
// files.
type readers struct {
	api   *api.API
	files *report.Handler
	open  *report.OpenData
	kept  *report.Files
}

// settle is how long after midnight a day's open data are first written: the
// grace of its last hour, and time for what was on its way.
const settle = 2 * time.Hour

// looksBack is how many days of open data are compared each night.
const looksBack = 62

func (s *Server) openReaders(kept *report.Files, categories category.Settings, proxies []netip.Prefix) (*readers, error) {
	log := s.log.With("room", "dashboards")
	r := &readers{kept: kept}
	r.open = &report.OpenData{Archive: s.archive(), Files: kept, Now: time.Now, Logger: log, Settle: settle, Back: looksBack, Licence: s.o.OpenData.licence()}
	district := func(code string) string {
		d, _ := places.FindDistrict(code) // "" for none
		return d.Name
	}
	r.files = &report.Handler{Book: s.publication, Places: s.places, Open: r.open, Files: kept, BaseURL: s.pagesURL(), District: district, Categories: categories, Logger: log}
	var err error
	r.api, err = api.New(api.Options{
		Places: s.places, Book: s.publication, Raw: rawReadings{s}, Latest: latest{s},
		ClientAddr: func(r *http.Request) netip.Addr { return clientAddr(r, proxies) },
		PerSecond:  s.o.API.RequestsPerSecond, Burst: s.o.API.RequestsAtOnce, Licence: s.o.OpenData.licence(), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	s.run("open data", r.open.Run)
	return r, nil
}

// archive reads what sites measured.
func (s *Server) archive() report.Archive {
	return report.Archive{Places: s.places, Book: s.publication, Raw: rawReadings{s}}
}

// before puts the interface and the files before the pages. They lie below
// addresses of pages: /data is one, /data/kamus.csv is none.
func (r *readers) before(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		switch path := request.URL.Path; {
		case strings.HasPrefix(path, api.Prefix+"/"):
			r.api.ServeHTTP(w, request)
		case r.files.Serves(path):
			r.files.ServeHTTP(w, request)
		default:
			pages.ServeHTTP(w, request)
		}
	})
}

// rawReadings reads stored readings of nodes as the database names them.
type rawReadings struct{ s *Server }

func (r rawReadings) Readings(ctx context.Context, n telemetry.Node, kind telemetry.Kind, quantities []string, from, to time.Time, fn func(device string, t time.Time, r telemetry.Reading) bool) error {
	return influx.Readings(ctx, r.s.raw, ingest.CleanNode(n), kind, quantities, from, to, fn)
}

// latest are the newest readings in memory.
type latest struct{ s *Server }

func (l latest) Latest(n telemetry.Node) []report.Taken {
	var out []report.Taken
	for _, v := range l.s.view.of(n) {
		out = append(out, report.Taken{Node: n, Device: v.Device, Time: time.UnixMilli(v.Time).UTC(),
			Reading: telemetry.Reading{Quantity: v.Quantity, Value: v.Value, Flag: v.Flag, Gap: v.Gap}})
	}
	return out
}

// Files lists the open-data files for the page that links to them.
func (r *readers) Files(context.Context) ([]public.File, error) {
	var out []public.File
	for _, f := range r.open.List() {
		out = append(out, public.File{Name: f.Name, URL: f.URL, Kind: string(f.Kind), Day: f.Day, Bytes: f.Size})
	}
	return out, nil
}
