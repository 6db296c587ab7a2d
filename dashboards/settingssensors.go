package dashboards

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// ofSensor asks for the role in the district where the path's {sensor} hangs, or
// hung last; in any district if it never hung anywhere.
func ofSensor(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	id := r.PathValue("sensor")
	if _, ok := d.o.Places.Sensor(id); !ok {
		return "", "", fmt.Errorf("sensor %q: %w", id, fs.ErrNotExist)
	}
	for _, dep := range slices.Backward(d.o.Places.SensorDeployments(id)) {
		if s, ok := d.o.Places.Site(dep.Site); ok {
			return s.District, account.SomeKind, nil
		}
	}
	return account.Somewhere, account.SomeKind, nil
}

type sensorsBody struct {
	Settings []page.Link
	Notice   notice
	Rows     []sensorListRow
	Add      formView
}

type sensorListRow struct {
	ID, Name, URL, Show, Site, SiteURL string
	Calibrated                         time.Time
}

// sensorsPage is /dinas/atur/sensor.
func (d *Dashboards) sensorsPage(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	return d.sendSensors(w, r, http.StatusOK, sensorFields(lang, places.Sensor{}, true))
}

func (d *Dashboards) sendSensors(w http.ResponseWriter, r *http.Request, status int, add formView) error {
	lang, path := page.Split(r.URL.Path)
	u, now := userOf(r), d.o.Now()
	body := sensorsBody{Settings: settingsNav(lang, path, u), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Add: add}
	for _, s := range d.o.Places.Sensors() {
		row := sensorListRow{ID: s.ID, Name: strings.TrimSpace(s.Name + " " + s.Maker + " " + s.Model), URL: lang.Path("/dinas/atur/sensor/" + url.PathEscape(s.ID)), Show: sensorURL(lang, s.ID), Calibrated: s.Calibrated}
		district := account.Somewhere
		for _, dep := range d.o.Places.SensorDeployments(s.ID) {
			if site, ok := d.o.Places.Site(dep.Site); ok {
				district = site.District
				if dep.At(now) {
					row.Site, row.SiteURL = site.Name, siteURL(lang, site.Code)
				}
			}
		}
		if u.May(account.Technician, district, account.SomeKind) {
			body.Rows = append(body.Rows, row)
		}
	}
	return d.send(w, r, status, "sensors", page.View{Frame: d.frame(r, lang.T("settings.sensors")), Body: body})
}

func sensorFields(l page.Lang, s places.Sensor, fresh bool) formView {
	f := formView{ID: "sensor", Submit: l.T("settings.save"), Action: l.Path("/dinas/atur/sensor"), Fields: label(l, []field{
		{Name: "id", Kind: "text", Value: s.ID, Required: true, Fixed: !fresh, Hint: l.T("settings.code_hint")},
		{Name: "name", Kind: "text", Value: s.Name},
		{Name: "maker", Kind: "text", Value: s.Maker},
		{Name: "model", Kind: "text", Value: s.Model},
		{Name: "serial", Kind: "text", Value: s.Serial},
		{Name: "calibrated", Kind: "date", Value: formDate(s.Calibrated)},
		{Name: "note", Kind: "text", Value: s.Note},
	})}
	if !fresh {
		f.Action += "/" + url.PathEscape(s.ID)
	}
	return f
}

func readSensor(r *http.Request, id string) (places.Sensor, error) {
	s := places.Sensor{ID: id, Name: formText(r, "name"), Maker: formText(r, "maker"), Model: formText(r, "model"), Serial: formText(r, "serial"), Note: formText(r, "note")}
	var ok bool
	if s.Calibrated, ok = parseDate(formText(r, "calibrated")); !ok {
		return s, places.Problems{{Record: "sensor " + id, Field: "calibrated", Value: formText(r, "calibrated"), Why: places.Format, Want: "want a date"}}
	}
	return s, nil
}

func (d *Dashboards) addSensor(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	s, err := readSensor(r, formText(r, "id"))
	if _, taken := d.o.Places.Sensor(s.ID); err == nil && taken {
		err = places.Problems{{Record: "sensor " + s.ID, Field: "id", Value: s.ID, Why: places.Twice}}
	}
	if err == nil {
		err = d.o.Places.PutSensor(r.Context(), s)
	}
	if err != nil {
		form := sensorFields(lang, s, true)
		if !form.blame(lang, err) {
			return err
		}
		return d.sendSensors(w, r, http.StatusUnprocessableEntity, form)
	}
	if err := d.tell(r, "sensor.add", s.ID, strings.TrimSpace(s.Maker+" "+s.Model+" "+s.Serial)); err != nil {
		return err
	}
	return acted(w, r, lang.Path("/dinas/atur/sensor"), "tersimpan")
}

type sensorFormBody struct {
	Settings   []page.Link
	Notice     notice
	Back, Show string
	ID         string
	Form       formView
}

// sensorForm is /dinas/atur/sensor/{sensor}.
func (d *Dashboards) sensorForm(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	s, ok := d.o.Places.Sensor(r.PathValue("sensor"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	return d.sendSensor(w, r, http.StatusOK, s, sensorFields(lang, s, false))
}

func (d *Dashboards) sendSensor(w http.ResponseWriter, r *http.Request, status int, s places.Sensor, form formView) error {
	lang, _ := page.Split(r.URL.Path)
	body := sensorFormBody{Settings: settingsNav(lang, "/dinas/atur/sensor", userOf(r)), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Back: lang.Path("/dinas/atur/sensor"), Show: sensorURL(lang, s.ID), ID: s.ID, Form: form}
	return d.send(w, r, status, "sensorsettings", page.View{Frame: d.frame(r, page.Plain(s.ID)), Body: body})
}

func (d *Dashboards) changeSensor(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	have, ok := d.o.Places.Sensor(r.PathValue("sensor"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	s, err := readSensor(r, have.ID)
	if err == nil {
		err = d.o.Places.PutSensor(r.Context(), s)
	}
	if err != nil {
		form := sensorFields(lang, s, false)
		if !form.blame(lang, err) {
			return err
		}
		return d.sendSensor(w, r, http.StatusUnprocessableEntity, s, form)
	}
	if err := d.tell(r, "sensor.change", s.ID, difference(have, s)); err != nil {
		return err
	}
	return acted(w, r, lang.Path(path), "tersimpan")
}
