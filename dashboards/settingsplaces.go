package dashboards

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// placeRoutes are the settings of where is measured.
var placeRoutes = []route{
	{"GET", "/dinas/atur/wilayah", staff(account.Technician, anywhere), (*Dashboards).districtsPage},
	{"POST", "/dinas/atur/wilayah", staff(account.Admin, whole), (*Dashboards).importMap},
	{"GET", "/dinas/atur/lokasi", staff(account.Technician, anywhere), (*Dashboards).sitesPage},
	{"POST", "/dinas/atur/lokasi", staff(account.Admin, anywhere), (*Dashboards).addSite},
	{"GET", "/dinas/atur/lokasi/{code}", staff(account.Technician, ofSite), (*Dashboards).sitePage},
	{"POST", "/dinas/atur/lokasi/{code}", staff(account.Admin, ofSite), (*Dashboards).changeSite},
	{"POST", "/dinas/atur/lokasi/{code}/penempatan", staff(account.Technician, ofSite), (*Dashboards).deploy},
	{"GET", "/dinas/atur/sensor", staff(account.Technician, anywhere), (*Dashboards).sensorsPage},
	{"POST", "/dinas/atur/sensor", staff(account.Technician, anywhere), (*Dashboards).addSensor},
	{"GET", "/dinas/atur/sensor/{sensor}", staff(account.Technician, ofSensor), (*Dashboards).sensorForm},
	{"POST", "/dinas/atur/sensor/{sensor}", staff(account.Technician, ofSensor), (*Dashboards).changeSensor},
	{"GET", importPath, staff(account.Admin, whole), (*Dashboards).importPage},
	{"POST", importPath, staff(account.Admin, whole), (*Dashboards).importPlaces},
	{"GET", importPath + "/berkas", staff(account.Admin, whole), (*Dashboards).exportPlaces},
}

type districtsBody struct {
	Settings []page.Link
	Notice   notice
	Rows     []districtRow
	Outlines int
	Source   string // the file's name
	Imported time.Time
	Action   string // where a file goes; "" = the visitor may not
	Wrong    []string
}

type districtRow struct {
	Code, Name, URL string
	Sites, Public   int
	Outline         bool
}

// districtsPage is /dinas/atur/wilayah.
func (d *Dashboards) districtsPage(w http.ResponseWriter, r *http.Request) error {
	return d.sendDistricts(w, r, http.StatusOK, nil)
}

func (d *Dashboards) sendDistricts(w http.ResponseWriter, r *http.Request, status int, wrong []string) error {
	lang, path := page.Split(r.URL.Path)
	areas, u := d.outlines(), userOf(r)
	body := districtsBody{Settings: settingsNav(lang, path, u), Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Outlines: len(areas), Wrong: wrong}
	if b := d.o.Places.Boundaries(places.LevelDistrict); b != nil {
		body.Source, body.Imported = b.Source, b.Imported
	}
	if u.May(account.Admin, "", "") {
		body.Action = lang.Path(path)
	}
	sites := d.o.Places.Sites()
	for _, x := range places.Districts() {
		row := districtRow{Code: x.Code, Name: x.Name, URL: districtURL(lang, x.Code)}
		for _, s := range sites {
			if s.District == x.Code {
				row.Sites++
				if s.Public {
					row.Public++
				}
			}
		}
		row.Outline = slices.ContainsFunc(areas, func(a places.Area) bool { return a.Code == x.Code })
		body.Rows = append(body.Rows, row)
	}
	return d.send(w, r, status, "districts", page.View{Frame: d.frame(r, lang.T("settings.districts")), Body: body})
}

// importMap takes the agency's own outlines over.
func (d *Dashboards) importMap(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	file, name, wrong, err := upload(r, lang, "import.too_large")
	if err != nil {
		return err
	}
	if wrong != "" {
		return d.sendDistricts(w, r, http.StatusUnprocessableEntity, []string{wrong})
	}
	result, err := d.o.Places.ImportMap(r.Context(), file, places.MapOptions{Source: name})
	if err != nil {
		var lines []string
		for line := range strings.Lines(err.Error()) {
			lines = append(lines, page.Plain(strings.TrimSpace(line)))
		}
		return d.sendDistricts(w, r, http.StatusUnprocessableEntity, lines)
	}
	if err := d.tell(r, "map.import", page.Plain(name), fmt.Sprintf("%+v", result.Levels)); err != nil {
		return err
	}
	return acted(w, r, lang.Path(path), "peta-diimpor")
}
