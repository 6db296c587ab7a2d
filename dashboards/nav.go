package dashboards

import (
	"strings"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// nav is what somebody may open, in the order of a working day.
func nav(l page.Lang, path string, u *account.User) []page.Link {
	var out []page.Link
	for _, n := range []struct {
		path  string
		text  page.Key
		least account.Role
		kind  telemetry.Kind
	}{
		{"/dinas", "nav.today", account.Viewer, account.SomeKind},
		{"/dinas/provinsi", "nav.province", account.Viewer, telemetry.KindAir},
		{"/dinas/validasi", "nav.validation", account.Validator, telemetry.KindAir},
		{"/dinas/buletin", "nav.bulletins", account.Viewer, telemetry.KindAir},
		{"/dinas/laporan", "nav.reports", account.Viewer, telemetry.KindAir},
		{"/dinas/jaringan", "nav.network", account.Viewer, account.SomeKind},
		{"/dinas/atur", "nav.settings", account.Viewer, account.SomeKind}, // if any of its pages is open to them
	} {
		if !u.May(n.least, account.Somewhere, n.kind) || n.path == "/dinas/atur" && len(settingsNav(l, path, u)) == 0 {
			continue
		}
		current := path == n.path || (n.path != "/dinas" && strings.HasPrefix(path, n.path+"/"))
		switch n.path { // what lies below them in people's minds
		case "/dinas/provinsi":
			current = current || strings.HasPrefix(path, "/dinas/wilayah/") || strings.HasPrefix(path, "/dinas/lokasi/")
		case "/dinas/jaringan":
			current = current || strings.HasPrefix(path, "/dinas/sensor/")
		}
		out = append(out, page.Link{URL: l.Path(n.path), Text: l.T(n.text), Current: current})
	}
	return out
}

const photoPath = "/dinas/lokasi/{code}/foto"

// airRoutes are the pages of places and figures.
var airRoutes = []route{
	{"GET", "/dinas", staff(account.Viewer, anywhere), (*Dashboards).today},
	{"GET", "/dinas/provinsi", staff(account.Viewer, kindAir), (*Dashboards).province},
	{"GET", "/dinas/peta", background(account.Viewer, kindAir), (*Dashboards).streetData},
	{"GET", "/dinas/wilayah/{district}", staff(account.Viewer, ofDistrict), (*Dashboards).district},
	{"GET", "/dinas/wilayah/{district}/kecamatan/{subdistrict}", staff(account.Viewer, ofDistrict), (*Dashboards).subdistrict},
	{"GET", "/dinas/sensor/{sensor}", staff(account.Viewer, ofSensor), (*Dashboards).sensor},
	{"GET", "/dinas/lokasi/{code}", staff(account.Viewer, ofSite), (*Dashboards).site},
	{"GET", "/dinas/lokasi/{code}/riwayat", staff(account.Viewer, ofSite), (*Dashboards).siteChanges},
	{"GET", "/dinas/lokasi/{code}/deret", background(account.Viewer, ofSiteQuantity), (*Dashboards).siteData},
	{"GET", "/dinas/lokasi/{code}/unduh", staff(account.Viewer, ofSite), (*Dashboards).export},
	{"GET", photoPath, staff(account.Viewer, ofSite), (*Dashboards).sitePhoto},
	{"POST", photoPath, staff(account.Technician, ofSite), (*Dashboards).changePhoto},
	{"POST", "/dinas/lokasi/{code}/tanda", staff(account.Validator, ofSite), (*Dashboards).addMark},
	{"POST", "/dinas/lokasi/{code}/catatan", staff(account.Technician, ofSite), (*Dashboards).annotate},
	{"POST", "/dinas/lokasi/{code}/bulan", staff(account.Validator, ofSiteAir), (*Dashboards).setMonth},
	{"GET", "/dinas/bukti/{figure}", staff(account.Viewer, ofFigure), (*Dashboards).trace},
	{"GET", "/dinas/validasi", staff(account.Validator, kindAir), (*Dashboards).validation},
	{"GET", "/dinas/laporan", staff(account.Viewer, kindAir), (*Dashboards).reports},
	{"GET", "/dinas/laporan/{district}/{month}", staff(account.Viewer, ofDistrictAir), (*Dashboards).monthly},
	{"GET", "/dinas/laporan/{district}/{month}/berkas", staff(account.Viewer, ofDistrictAir), (*Dashboards).monthlyFile},
	{"GET", "/dinas/buletin", staff(account.Viewer, kindAir), (*Dashboards).bulletins},
	{"GET", "/dinas/buletin/{bulletin}", staff(account.Viewer, kindAir), (*Dashboards).bulletin},
	{"POST", "/dinas/buletin/{bulletin}/setujui", staff(account.Approver, provinceAir), (*Dashboards).approve},
	{"POST", "/dinas/buletin/{bulletin}/ralat", staff(account.Approver, provinceAir), (*Dashboards).revise},
}
