package dashboards

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// maxChanges bounds the list of a site's changes.
const maxChanges = 200

type changesBody struct {
	Name, Back string
	Records    []recordView
	More       bool // there are older ones, which the audit log's own page shows
}

// siteChanges is /dinas/lokasi/{code}/riwayat: what people changed at a site and at the
// sensors that hung there, out of the audit log: settings, deployments, calibrations,
// verdicts. The log is read from its end until enough is found, so this is a page of
// its own.
func (d *Dashboards) siteChanges(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	of := map[string][]string{site.Code: {"site.", "deployment.", "photo.", "mark.", "annotation.", "month."}} // by object
	for _, dep := range d.o.Places.Deployments(site.Code) {
		if dep.Sensor != "" {
			of[dep.Sensor] = append(of[dep.Sensor], "sensor.")
		}
	}
	body := changesBody{Name: site.Name, Back: siteURL(lang, site.Code)}
	ask := audit.Query{Limit: 1000}
	for {
		found, next, err := d.o.Audit.Search(r.Context(), ask)
		if err != nil {
			return err
		}
		for _, rec := range found {
			if !slices.ContainsFunc(of[rec.Object], func(group string) bool { return strings.HasPrefix(rec.Action, group) }) {
				continue
			}
			if body.More = len(body.Records) == maxChanges; body.More {
				break
			}
			rec.From = netip.Addr{} // where somebody sat is the admins' business
			body.Records = append(body.Records, viewRecord(lang, rec))
		}
		if ask.Before = next; next == 0 || body.More {
			break
		}
	}
	frame := d.frame(r, lang.T("changes.title", page.Plain(site.Name)))
	frame.Simulated = site.Simulated
	return d.send(w, r, http.StatusOK, "changes", page.View{Frame: frame, Body: body})
}

// difference tells which fields of a site or a sensor a change touched: what stood
// there before and what stands there now.
func difference[T places.Site | places.Sensor](before, after T) string {
	fields := func(v T) (out map[string]json.RawMessage) {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil { // records of places are kept as JSON
			panic(fmt.Sprintf("encode a record of places: %v", err))
		}
		return out
	}
	was, is := fields(before), fields(after)
	names := maps.Clone(was)
	maps.Copy(names, is)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if string(was[name]) != string(is[name]) {
			show := func(v json.RawMessage) string {
				if v == nil {
					return "–"
				}
				return strings.Trim(string(v), `"`)
			}
			out = append(out, name+": "+show(was[name])+" → "+show(is[name]))
		}
	}
	return strings.Join(out, "; ")
}
