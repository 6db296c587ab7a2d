package dashboards

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

type deploymentRow struct {
	sensorRow
	ID      string
	Implied bool
	Now     bool
	Form    *formView
}

// deploymentForm is the form of one deployment.
func (d *Dashboards) deploymentForm(l page.Lang, dep places.Deployment) formView {
	sensors := []choice{{"", l.T("settings.no_sensor"), dep.Sensor == ""}}
	for _, s := range d.o.Places.Sensors() {
		sensors = append(sensors, choice{s.ID, strings.TrimSpace(s.ID + " " + s.Name), s.ID == dep.Sensor})
	}
	node := ""
	if !dep.Node.IsZero() {
		node = dep.Node.String()
	}
	main := strings.Join(dep.Main, ", ")
	if dep.Main != nil && len(dep.Main) == 0 {
		main = "-"
	}
	interval := ""
	if dep.Interval != 0 {
		interval = strconv.FormatFloat(dep.Interval, 'f', -1, 64)
	}
	f := formView{ID: "p-" + keyOf("deployment", dep.ID), Submit: l.T("settings.deploy"), Action: l.Path("/dinas/atur/lokasi/"+url.PathEscape(dep.Site)) + "/penempatan", Fields: label(l, []field{
		{Name: "node", Kind: "text", Value: node, Required: true, Hint: "3374/balaikota"},
		{Name: "device", Kind: "text", Value: dep.Device, Required: true, Hint: l.T("settings.device_hint")},
		{Name: "sensor", Kind: "select", Options: sensors},
		{Name: "from", Kind: "datetime-local", Value: formMoment(dep.From), Hint: l.T("settings.from_hint")},
		{Name: "to", Kind: "datetime-local", Value: formMoment(dep.To), Hint: l.T("settings.to_hint")},
		{Name: "main", Kind: "text", Value: main, Hint: l.T("settings.main_hint")},
		{Name: "interval_s", Kind: "number", Value: interval, Hint: l.T("settings.interval_hint")},
	})}
	if dep.ID != "" {
		f.Hidden, f.Submit = []hidden{{"id", dep.ID}}, l.T("settings.save")
	}
	return f
}

// deploy adds a deployment to a site, or changes one of its own.
func (d *Dashboards) deploy(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	dep, action := places.Deployment{ID: formText(r, "id"), Site: site.Code}, "deployment.add"
	if dep.ID != "" {
		if dep, ok = d.o.Places.Deployment(dep.ID); !ok || dep.Site != site.Code {
			return problem{status: http.StatusNotFound}
		}
		action = "deployment.change"
	}
	var wrong places.Problems
	bad := func(name, want string) {
		wrong = append(wrong, places.Problem{Record: "deployment", Field: name, Value: formText(r, name), Why: places.Format, Want: want})
	}
	node, err := telemetry.ParseNode(formText(r, "node"))
	if err != nil {
		bad("node", "want group/name of the gateway, for example 3374/balaikota")
	}
	dep.Node, dep.Device, dep.Sensor, dep.Main = node, formText(r, "device"), formText(r, "sensor"), nil
	for name, into := range map[string]*time.Time{"from": &dep.From, "to": &dep.To} {
		*into = time.Time{}
		if text := formText(r, name); text != "" {
			if *into, ok = formTime(text); !ok {
				bad(name, "want date and time")
			}
		}
	}
	dep.Interval = 0
	if text := formText(r, "interval_s"); text != "" {
		if dep.Interval, err = strconv.ParseFloat(text, 64); err != nil {
			bad("interval_s", "want seconds between two readings")
		}
	}
	if main := formText(r, "main"); main == "-" {
		dep.Main = []string{}
	} else if main != "" {
		dep.Main = strings.FieldsFunc(main, func(c rune) bool { return c == ',' || c == ' ' || c == ';' })
	}
	if may, err := d.mayNode(r, node); err != nil {
		return err
	} else if !may && len(wrong) == 0 {
		return problem{status: http.StatusForbidden}
	}
	if len(wrong) > 0 {
		err = wrong
	} else {
		err = d.o.Places.PutDeployment(r.Context(), dep)
	}
	if err != nil {
		form := d.deploymentForm(lang, dep)
		if !form.blame(lang, err) {
			return err
		}
		return d.sendSite(w, r, http.StatusUnprocessableEntity, site, d.siteForm(lang, userOf(r), site, false), form)
	}
	if err := d.tell(r, action, site.Code, fmt.Sprintf("%s %s from %s to %s main %v every %g s", dep.Node, dep.Device, formDate(dep.From), formDate(dep.To), dep.Main, dep.Interval)); err != nil {
		return err
	}
	return acted(w, r, lang.Path("/dinas/atur/lokasi/"+url.PathEscape(site.Code)), "tersimpan")
}

// mayNode reports whether the visitor looks after a gateway: its readings must not
// be taken away from another district.
func (d *Dashboards) mayNode(r *http.Request, node telemetry.Node) (bool, error) {
	all, err := d.o.Network.Gateways(r.Context())
	if err != nil {
		return false, err
	}
	u := userOf(r)
	for _, g := range all {
		if g.Node == node {
			return u.May(account.Technician, g.District, account.SomeKind), nil
		}
	}
	return true, nil // nobody has heard of it yet
}
