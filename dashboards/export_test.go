package dashboards

import (
	"net/http"
	"net/http/httptest"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Route is a line of the table of routes, for tests that call each of them.
type Route struct {
	Method, Path, Least                string
	Public, Session, Staff, Background bool
	// About asks the route's scope what a request is about.
	About func(d *Dashboards, r *http.Request) (district string, kind telemetry.Kind, err error)
}

// Routes is the table of routes.
func Routes() []Route {
	var out []Route
	for _, r := range table {
		a := r.rule.access
		about := func(d *Dashboards, req *http.Request) (district string, kind telemetry.Kind, err error) {
			mux := http.NewServeMux() // fills the path's values
			mux.HandleFunc(r.method+" "+r.path, func(_ http.ResponseWriter, req *http.Request) { district, kind, err = r.rule.scope(d, req) })
			mux.ServeHTTP(httptest.NewRecorder(), req)
			return district, kind, err
		}
		out = append(out, Route{r.method, r.path, string(r.rule.least), a == accessPublic, a == accessSession, a == accessStaff, a == accessBackground, about})
	}
	return out
}
