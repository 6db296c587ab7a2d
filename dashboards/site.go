package dashboards

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// ofSite asks for the role in the district of the path's {code}, a site, for
// whatever kind.
func ofSite(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	s, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return "", "", fmt.Errorf("site %q: %w", r.PathValue("code"), fs.ErrNotExist)
	}
	return s.District, account.SomeKind, nil
}

// ofSiteAir asks for the role for the air of the path's {code}.
func ofSiteAir(d *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	district, _, err := ofSite(d, r)
	return district, telemetry.KindAir, err
}

type siteBody struct {
	Site      places.Site
	Class     string
	Expired   bool // its certificate has ended
	District  string
	Back      string
	Kecamatan *page.Link // nil: not said
	Notice    notice
	Photo     string // "" = none
	PhotoForm string // where a new one goes; "" = the visitor may not
	Sensors   []sensorRow
	Live      fragment // []liveRow
	Updates   liveView
	Frame     frameView
	Index     indexView
	Heat      pictureView
	Calendar  calendarView
	Complete  pictureView
	Compare   compareView
	History   siteHistory
	Mark      *markForm // nil: the visitor may not
	Note      *noteForm
	Edit      string
	MonthsURL string
	Changes   string   // all that people changed here
	Failed    []string // parts that could not be read
}

// sensorRow is one deployment at a site.
type sensorRow struct {
	Node, NodeURL string
	Device        string
	Sensor, URL   string
	From, To      time.Time
	Main          string
	Calibrated    time.Time
}

// liveRow is one value as it is now.
type liveRow struct {
	Device string
	valueView
}

type siteHistory struct {
	Marks      []figures.Mark
	Remarks    []correctedRemark
	Months     []figures.Month
	Revisions  []figureView
	Grades     []places.Grade
	Calibrated []sensorRow
}

// correctedRemark is an annotation that was corrected or withdrawn, and what became
// of it.
type correctedRemark struct {
	Was, Is figures.Annotation
}

type markForm struct {
	Action     string
	Quantities []choice
	Codes      []choice
	From, To   string
}

type noteForm struct{ Action, From, To string }

// site is /dinas/lokasi/{code}.
func (d *Dashboards) site(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	u, ctx := userOf(r), r.Context()
	snap := d.snapshot(ctx, u)
	now := snap.now
	win, err := d.windowOf(r)
	if err != nil {
		return err
	}
	body := siteBody{
		Site: site, Class: lang.T(page.Key("class." + string(site.ClassAt(now)))), Expired: site.Class == places.SNI9178 && site.ClassAt(now) != places.SNI9178,
		District: districtName(site.District), Back: districtURL(lang, site.District), Notice: noticeOf(lang, r.URL.Query().Get("pesan")),
		Changes: siteURL(lang, site.Code) + "/riwayat",
	}
	if site.Photo != "" {
		body.Photo = siteURL(lang, site.Code) + "/foto"
	}
	if site.Subdistrict != "" {
		body.Kecamatan = &page.Link{URL: subdistrictURL(lang, site.District, site.Subdistrict), Text: d.subdistrictName(lang, site.Subdistrict)}
	}
	// A part that cannot be read costs itself, not the page.
	part := func(name page.Key, err error) {
		if err != nil {
			d.o.Logger.Error("page is incomplete", "id", requestID(r), "part", string(name), "site", page.Plain(site.Code), "err", err)
			body.Failed = append(body.Failed, lang.T(name))
		}
	}
	may := func(quantity string) bool { return u.May(account.Viewer, site.District, kindOf(quantity)) }
	quantities, err := d.o.Figures.Quantities(ctx, site.Code)
	part("site.charts", err)
	quantities = preferred(slices.DeleteFunc(quantities, func(q string) bool { return !may(q) }))
	body.Sensors = d.sensorsAt(lang, site.Code)
	values, err := d.liveAt(ctx, lang, site.Code, now, may)
	part("site.live", err)
	element := "s-" + keyOf("site", site.Code)
	body.Live, body.Updates = snap.fragment(element, values), liveOf(lang, snap, []string{"angka", element}, lang.Path(path)+searchOf(r))
	rules, err := d.rules(ctx, now)
	if err != nil {
		return err
	}
	var shown []*siteSeries
	body.Frame, shown, err = d.frameOf(r, lang, lang.Path(path), site, quantities, rules.Rules, win)
	part("site.charts", err)
	if may("pm2_5") {
		body.Index, err = d.indexOf(ctx, lang, site, rules.Rules, now)
		part("site.index", err)
		if body.Index.Has {
			if !body.Index.Now.Estimate {
				body.Calendar, err = d.calendarOf(r, lang, site, rules.Rules, now)
				part("site.calendar", err)
			}
			body.Compare, err = d.compareOf(ctx, lang, u, site, now, r.URL.Query()["banding"])
			part("site.compare", err)
		}
	}
	if len(shown) > 0 {
		body.Heat, body.Complete, err = d.habits(ctx, lang, site, shown[0].quantity, now)
		part("site.habits", err)
	}
	body.History, err = d.siteHistory(ctx, lang, site, rules.Rules, now)
	part("site.history", err)
	body.forms(lang, u, site, quantities, win)
	frame := d.frame(r, page.Plain(site.Name))
	frame.Simulated = site.Simulated || body.Index.Simulated
	return d.send(w, r, http.StatusOK, "site", page.View{Frame: frame, Body: body})
}

// forms adds what the visitor may do here.
func (b *siteBody) forms(l page.Lang, u *account.User, site places.Site, quantities []string, win window) {
	from, to := formMoment(win.to.Add(-time.Hour).Truncate(time.Hour)), formMoment(win.to.Truncate(time.Hour))
	if u.May(account.Validator, site.District, account.SomeKind) {
		f := &markForm{Action: siteURL(l, site.Code) + "/tanda", From: from, To: to}
		for _, q := range quantities {
			if u.May(account.Validator, site.District, kindOf(q)) {
				f.Quantities = append(f.Quantities, choice{Value: q, Text: l.Name("q.", q) + " (" + page.Unit(unitOf(q)) + ")"})
			}
		}
		for _, c := range figures.MarkCodes() {
			f.Codes = append(f.Codes, choice{Value: c, Text: l.T(page.Key("code." + c))})
		}
		if len(f.Quantities) > 0 {
			b.Mark = f
		}
		b.MonthsURL = l.Path("/dinas/validasi") + "?" + query("lokasi", site.Code)
	}
	if u.May(account.Technician, site.District, account.SomeKind) {
		b.Note = &noteForm{Action: siteURL(l, site.Code) + "/catatan", From: from, To: to}
		b.PhotoForm = siteURL(l, site.Code) + "/foto"
		b.Edit = l.Path("/dinas/atur/lokasi/" + url.PathEscape(site.Code))
	}
}

// localForm is how browsers send date and time: WIB here.
const localForm = "2006-01-02T15:04"

// formMoment writes a time as a form's field takes it, "" if there is none.
func formMoment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(page.WIB).Format(localForm)
}

func unitOf(quantity string) telemetry.Unit {
	q, _ := telemetry.Lookup(quantity)
	return q.Unit
}

// sensorsAt lists what hangs and hung at a site, the newest first.
func (d *Dashboards) sensorsAt(l page.Lang, site string) []sensorRow {
	var out []sensorRow
	for _, dep := range d.o.Places.Deployments(site) {
		out = append(out, d.sensorRow(l, dep))
	}
	slices.Reverse(out)
	return out
}

func (d *Dashboards) sensorRow(l page.Lang, dep places.Deployment) sensorRow {
	row := sensorRow{Node: dep.Node.String(), NodeURL: gatewayURL(l, dep.Node), Device: dep.Device, From: dep.From, To: dep.To}
	if dep.Device == places.AnyDevice {
		row.Device = l.T("sensor.any_device")
	}
	if dep.Sensor != "" {
		row.Sensor, row.URL = dep.Sensor, sensorURL(l, dep.Sensor)
		if s, ok := d.o.Places.Sensor(dep.Sensor); ok {
			row.Sensor, row.Calibrated = cmp.Or(s.Name, strings.TrimSpace(s.Maker+" "+s.Model), s.ID), s.Calibrated
		}
	}
	var main []string
	for _, q := range dep.Main {
		main = append(main, l.Name("q.", q))
	}
	row.Main = strings.Join(main, ", ")
	return row
}

func sensorURL(l page.Lang, id string) string { return l.Path("/dinas/sensor/" + url.PathEscape(id)) }

// liveAt lists the values that a site's devices have now.
func (d *Dashboards) liveAt(ctx context.Context, l page.Lang, site string, now time.Time, may func(string) bool) ([]liveRow, error) {
	var out []liveRow
	for _, node := range d.o.Places.Nodes(site, now, now) {
		ctx, cancel := context.WithTimeout(ctx, askFor)
		values, err := d.o.Network.Values(ctx, node)
		cancel()
		if err != nil {
			return out, err
		}
		for _, v := range values {
			if v.Kind == telemetry.KindGateway || !may(v.Quantity) {
				continue
			}
			if dep, ok := d.o.Places.At(node, v.Device, now); !ok || dep.Site != site {
				continue
			}
			out = append(out, liveRow{v.Device, viewValue(l, node, v, now)})
		}
	}
	slices.SortStableFunc(out, func(a, b liveRow) int {
		return cmp.Or(cmp.Compare(rank(a.Quantity), rank(b.Quantity)), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.Device, b.Device))
	})
	return out, nil
}

// siteHistory is what people and late data did to a site.
func (d *Dashboards) siteHistory(ctx context.Context, l page.Lang, site places.Site, rules figures.Rules, now time.Time) (siteHistory, error) {
	var h siteHistory
	var err error
	if h.Marks, err = d.o.Figures.Marks(ctx, site.Code, time.Time{}, time.Time{}); err != nil {
		return h, err
	}
	slices.Reverse(h.Marks)
	h.Marks = h.Marks[:min(len(h.Marks), 50)]
	remarks, err := d.o.Figures.Remarked(ctx, site.Code)
	if err != nil {
		return h, err
	}
	for _, is := range slices.Backward(remarks) {
		if i := slices.IndexFunc(remarks, func(a figures.Annotation) bool { return a.ID == is.Corrects }); i >= 0 && len(h.Remarks) < 50 {
			h.Remarks = append(h.Remarks, correctedRemark{remarks[i], is})
		}
	}
	if h.Months, err = d.o.Figures.Months(ctx, site.Code); err != nil {
		return h, err
	}
	slices.Reverse(h.Months)
	revised, err := d.o.Figures.Corrections(ctx, now.AddDate(0, 0, -30), now)
	if err != nil {
		return h, err
	}
	for _, f := range slices.Backward(revised) {
		if f.Site == site.Code && len(h.Revisions) < 50 {
			h.Revisions = append(h.Revisions, viewFigure(l, f, rules))
		}
	}
	h.Grades = site.Earlier
	for _, s := range d.sensorsAt(l, site.Code) {
		if !s.Calibrated.IsZero() {
			h.Calibrated = append(h.Calibrated, s)
		}
	}
	return h, nil
}
