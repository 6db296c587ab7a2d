package dashboards

import (
	"net/http"
	"strings"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// settingsPage is one page under /dinas/atur, as its sub-navigation shows it to
// whoever may do this (User.May); what the page lets through says its route.
type settingsPage struct {
	path     string
	text     page.Key
	least    account.Role
	district string
	kind     telemetry.Kind
}

// settingsPages are in the order in which a new installation needs them.
var settingsPages = []settingsPage{
	{"/dinas/atur/sistem", "settings.system", account.Admin, "", telemetry.KindAir},
	{"/dinas/atur/wilayah", "settings.districts", account.Technician, account.Somewhere, account.SomeKind},
	{"/dinas/atur/lokasi", "settings.sites", account.Technician, account.Somewhere, account.SomeKind},
	{"/dinas/atur/sensor", "settings.sensors", account.Technician, account.Somewhere, account.SomeKind},
	{"/dinas/atur/ambang", "settings.rules", account.Admin, "", telemetry.KindAir},
	{"/dinas/atur/pengguna", "nav.people", account.Admin, "", ""},
	{"/dinas/atur/layar", "nav.walls", account.Admin, "", ""},
	{"/dinas/atur/audit", "nav.audit", account.Admin, "", ""},
}

var settingsRoutes = []route{
	{"GET", "/dinas/atur", staff(account.Viewer, anywhere), (*Dashboards).settings},
}

// settingsNav are the settings pages that somebody may open.
func settingsNav(lang page.Lang, path string, u *account.User) []page.Link {
	var out []page.Link
	for _, p := range settingsPages {
		if u.May(p.least, p.district, p.kind) {
			out = append(out, page.Link{URL: lang.Path(p.path), Text: lang.T(p.text), Current: path == p.path || strings.HasPrefix(path, p.path+"/")})
		}
	}
	return out
}

// settings is /dinas/atur: the first of its pages that the visitor may open.
func (d *Dashboards) settings(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	nav := settingsNav(lang, path, userOf(r))
	if len(nav) == 0 {
		http.Redirect(w, r, lang.Path("/dinas"), http.StatusSeeOther)
		return nil
	}
	http.Redirect(w, r, nav[0].URL, http.StatusSeeOther)
	return nil
}
