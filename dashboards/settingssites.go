package dashboards

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

type sitesBody struct {
	Settings []page.Link
	Notice   notice
	Query    string
	Action   string
	Rows     []siteListRow
	Found    int
	All      int
	Add      *formView
	Import   bool
	Pages    pagesView
}

type siteListRow struct {
	Code, Name, URL, Show, District, Class string
	Public, Simulated, Closed, Placed      bool
}

// sitesPage is /dinas/atur/lokasi.
func (d *Dashboards) sitesPage(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	form := d.siteForm(lang, userOf(r), places.Site{Class: places.Indicative}, true)
	return d.sendSites(w, r, http.StatusOK, form)
}

func (d *Dashboards) sendSites(w http.ResponseWriter, r *http.Request, status int, add formView) error {
	lang, path := page.Split(r.URL.Path)
	u, now, search := userOf(r), d.o.Now(), strings.TrimSpace(page.Clean(r.URL.Query().Get("cari")))
	body := sitesBody{Settings: settingsNav(lang, path, u), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Query: search, Action: lang.Path(path), Import: u.May(account.Admin, "", "")}
	if u.May(account.Admin, account.Somewhere, account.SomeKind) {
		body.Add = &add
	}
	for _, s := range d.o.Places.Sites() {
		if !u.May(account.Technician, s.District, account.SomeKind) {
			continue
		}
		body.All++
		district, searched := districtName(s.District), s.Code+" "+s.Name
		if s.Subdistrict != "" {
			searched += " " + s.Subdistrict + " " + d.subdistrictName(lang, s.Subdistrict)
		}
		if search != "" && !strings.Contains(strings.ToLower(searched+" "+district), strings.ToLower(search)) {
			continue
		}
		body.Rows = append(body.Rows, siteListRow{
			Code: s.Code, Name: s.Name, URL: lang.Path("/dinas/atur/lokasi/" + url.PathEscape(s.Code)), Show: siteURL(lang, s.Code), District: district,
			Class: lang.T(page.Key("class." + string(s.ClassAt(now)))), Public: s.Public, Simulated: s.Simulated, Closed: !s.Closed.IsZero() && s.Closed.Before(now), Placed: s.Lat != 0 || s.Lon != 0,
		})
	}
	from, to, pages := cut(r, lang.Path(path), len(body.Rows), 100)
	body.Found, body.Rows, body.Pages = len(body.Rows), body.Rows[from:to], pages
	return d.send(w, r, status, "sites", page.View{Frame: d.frame(r, lang.T("settings.sites")), Body: body})
}

// siteForm is the form of one site.
func (d *Dashboards) siteForm(l page.Lang, u *account.User, s places.Site, fresh bool) formView {
	var districts, classes []choice
	for _, x := range places.Districts() {
		if u.May(account.Admin, x.Code, account.SomeKind) || x.Code == s.District {
			districts = append(districts, choice{x.Code, x.Code + " " + x.Name, x.Code == s.District})
		}
	}
	for _, c := range []places.Class{places.Reference, places.SNI9178, places.Indicative} {
		classes = append(classes, choice{string(c), l.T(page.Key("class." + string(c))), c == s.Class || c == places.Indicative && s.Class == ""})
	}
	degrees := func(v float64) string {
		if v == 0 {
			return ""
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	f := formView{ID: "lokasi", Submit: l.T("settings.save"), Action: l.Path("/dinas/atur/lokasi"), Fields: label(l, []field{
		{Name: "code", Kind: "text", Value: s.Code, Required: true, Fixed: !fresh, Hint: l.T("settings.code_hint")},
		{Name: "name", Kind: "text", Value: s.Name, Required: true},
		{Name: "district", Kind: "select", Options: districts},
		{Name: "subdistrict", Kind: "text", Value: s.Subdistrict, Hint: l.T("settings.subdistrict_hint")},
		{Name: "lat", Kind: "text", Value: degrees(s.Lat), Hint: "−6,98"},
		{Name: "lon", Kind: "text", Value: degrees(s.Lon), Hint: "110,41"},
		{Name: "class", Kind: "select", Options: classes},
		{Name: "class_since", Kind: "date", Value: formDate(s.ClassSince), Hint: l.T("settings.class_since_hint")},
		{Name: "certificate_number", Kind: "text", Value: s.Certificate.Number},
		{Name: "certificate_issuer", Kind: "text", Value: s.Certificate.Issuer},
		{Name: "certificate_collocated", Kind: "date", Value: formDate(s.Certificate.Collocated)},
		{Name: "certificate_expires", Kind: "date", Value: formDate(s.Certificate.Expires)},
		{Name: "operator", Kind: "text", Value: s.Operator},
		{Name: "closed", Kind: "date", Value: formDate(s.Closed), Hint: l.T("settings.closed_hint")},
		{Name: "public", Kind: "check", On: s.Public},
	})}
	if !fresh {
		f.Action += "/" + url.PathEscape(s.Code)
	}
	return f
}

func formDate(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.In(page.WIB).Format(time.DateOnly)
}

// parseDate reads a date field; false if something stands there that is none.
func parseDate(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	t, err := time.ParseInLocation(time.DateOnly, s, page.WIB)
	return t, err == nil
}

// readSite takes a form over into a site. What cannot even be read is wrong in its
// field.
func readSite(r *http.Request, s places.Site) (places.Site, error) {
	var wrong places.Problems
	bad := func(name, value, want string) {
		wrong = append(wrong, places.Problem{Record: "site " + s.Code, Field: name, Value: value, Why: places.Format, Want: want})
	}
	degrees := func(name string) float64 {
		text := strings.NewReplacer(",", ".", "−", "-", "°", "").Replace(formText(r, name))
		if text == "" {
			return 0
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			bad(name, text, "want degrees, for example -6.98")
		}
		return v
	}
	date := func(name string, into *time.Time) {
		t, ok := parseDate(formText(r, name))
		if !ok {
			bad(name, formText(r, name), "want a date, for example 2026-11-23")
		}
		*into = t
	}
	was := s.ClassSince
	s.Name, s.District, s.Subdistrict, s.Operator = formText(r, "name"), formText(r, "district"), formText(r, "subdistrict"), formText(r, "operator")
	s.Lat, s.Lon = degrees("lat"), degrees("lon")
	s.Class, s.Public = places.Class(formText(r, "class")), formText(r, "public") != ""
	s.Certificate.Number, s.Certificate.Issuer = formText(r, "certificate_number"), formText(r, "certificate_issuer")
	date("certificate_collocated", &s.Certificate.Collocated)
	date("certificate_expires", &s.Certificate.Expires)
	date("closed", &s.Closed)
	date("class_since", &s.ClassSince)
	if formDate(s.ClassSince) == formDate(was) {
		s.ClassSince = was // the form shows its day only
	}
	if len(wrong) > 0 {
		return s, wrong
	}
	return s, nil
}

func (d *Dashboards) addSite(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u := userOf(r)
	s, err := readSite(r, places.Site{Code: formText(r, "code")})
	if _, known := places.FindDistrict(s.District); err == nil && known && !u.May(account.Admin, s.District, account.SomeKind) {
		return problem{status: http.StatusForbidden}
	}
	if _, taken := d.o.Places.Site(s.Code); err == nil && taken {
		err = places.Problems{{Record: "site " + s.Code, Field: "code", Value: s.Code, Why: places.Twice}}
	}
	if err == nil {
		err = d.o.Places.PutSite(r.Context(), s)
	}
	if err != nil {
		form := d.siteForm(lang, u, s, true)
		if !form.blame(lang, err) {
			return err
		}
		return d.sendSites(w, r, http.StatusUnprocessableEntity, form)
	}
	if err := d.tell(r, "site.add", s.Code, s.Name); err != nil {
		return err
	}
	return acted(w, r, lang.Path("/dinas/atur/lokasi/"+url.PathEscape(s.Code)), "tersimpan")
}

type sitePageBody struct {
	Settings    []page.Link
	Notice      notice
	Site        places.Site
	Show        string
	Back        string
	Form        *formView // nil: the visitor may look after its sensors only
	Deployments []deploymentRow
	Add         formView
}

// sitePage is /dinas/atur/lokasi/{code}.
func (d *Dashboards) sitePage(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	s, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	return d.sendSite(w, r, http.StatusOK, s, d.siteForm(lang, userOf(r), s, false), d.deploymentForm(lang, places.Deployment{Site: s.Code}))
}

func (d *Dashboards) sendSite(w http.ResponseWriter, r *http.Request, status int, s places.Site, form, add formView) error {
	lang, _ := page.Split(r.URL.Path)
	u, now := userOf(r), d.o.Now()
	body := sitePageBody{
		Settings: settingsNav(lang, "/dinas/atur/lokasi", u), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Site: s, Show: siteURL(lang, s.Code), Back: lang.Path("/dinas/atur/lokasi"), Add: add,
	}
	if u.May(account.Admin, s.District, account.SomeKind) {
		body.Form = &form
	}
	for _, dep := range slices.Backward(d.o.Places.Deployments(s.Code)) {
		row := deploymentRow{sensorRow: d.sensorRow(lang, dep), ID: dep.ID, Implied: dep.ID == "", Now: dep.At(now)}
		if written, ok := d.o.Places.Deployment(dep.ID); ok {
			f := d.deploymentForm(lang, written)
			row.Form = &f
		}
		body.Deployments = append(body.Deployments, row)
	}
	return d.send(w, r, status, "sitesettings", page.View{Frame: d.frame(r, page.Plain(s.Name)), Body: body})
}

func (d *Dashboards) changeSite(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	u := userOf(r)
	have, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	s, err := readSite(r, have)
	if _, known := places.FindDistrict(s.District); err == nil && known && !u.May(account.Admin, s.District, account.SomeKind) {
		return problem{status: http.StatusForbidden}
	}
	if err == nil {
		err = d.o.Places.PutSite(r.Context(), s)
	}
	if err != nil {
		form := d.siteForm(lang, u, s, false)
		if !form.blame(lang, err) {
			return err
		}
		return d.sendSite(w, r, http.StatusUnprocessableEntity, s, form, d.deploymentForm(lang, places.Deployment{Site: s.Code}))
	}
	if err := d.tell(r, "site.change", s.Code, difference(have, s)); err != nil {
		return err
	}
	return acted(w, r, lang.Path(path), "tersimpan")
}
