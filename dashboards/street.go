package dashboards

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// Tiles is the street map's background. The default is none: no visitor is
// reported to a third party.
type Tiles struct {
	URL    string // a template with {z}, {x} and {y}; "" = none
	Credit string // what its source wants to read there
}

// check accepts a template of https addresses, or of this machine's, and returns
// their origin.
func (t Tiles) check() (origin string, err error) {
	if t.URL == "" {
		return "", nil
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || strings.ContainsAny(u.Host, "{}'; ") || (u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("dashboards: Options.Tiles.URL %q: want for example https://tile.example/{z}/{x}/{y}.png", t.URL)
	}
	for _, part := range []string{"{z}", "{x}", "{y}"} {
		if !strings.Contains(t.URL, part) {
			return "", fmt.Errorf("dashboards: Options.Tiles.URL %q lacks %s", t.URL, part)
		}
	}
	return u.Scheme + "://" + u.Host, nil
}

// Check says what New would refuse.
func (t Tiles) Check() error {
	_, err := t.check()
	return err
}

// allowTiles lets a page show the street map's tiles, and nothing else of another
// host.
func (d *Dashboards) allowTiles(w http.ResponseWriter) {
	if origin, err := d.o.Tiles.check(); err == nil && origin != "" { // New has checked it
		w.Header().Set("Content-Security-Policy", page.PolicyWithImages(origin))
	}
}

// streetView is the street map, which is fetched only when it is opened.
type streetView struct{ Data, Tiles, Credit string }

func (d *Dashboards) street(l page.Lang, hour string) streetView {
	return streetView{Data: l.Path("/dinas/peta") + "?" + query("jam", hour), Tiles: d.o.Tiles.URL, Credit: d.o.Tiles.Credit}
}

// streetJSON is what the street map draws.
type streetJSON struct {
	Spots    []spotJSON          `json:"spots"`
	Outlines json.RawMessage     `json:"outlines,omitempty"` // GeoJSON
	Areas    map[string]areaJSON `json:"areas"`              // by code
	Names    []nameJSON          `json:"names"`
}

type spotJSON struct {
	Lat      float64 `json:"lat"`
	Lon      float64 `json:"lon"`
	Name     string  `json:"name"`
	Mark     string  `json:"mark"` // what stands on the map
	Value    string  `json:"value"`
	Word     string  `json:"word"`
	Category int     `json:"category"`
	URL      string  `json:"url"`
}

// areaJSON is what a district's outline says.
type areaJSON struct {
	Label    string `json:"label"`
	Category int    `json:"category"`
}

type nameJSON struct {
	Lat  float64 `json:"lat"`
	Lon  float64 `json:"lon"`
	Name string  `json:"name"`
}

// streetData is the street map's stations as JSON.
func (d *Dashboards) streetData(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	end, _, err := d.hourOf(r)
	if err != nil {
		return err
	}
	s, err := d.stationsAt(r.Context(), lang, userOf(r), end, nil)
	if err != nil {
		return problem{status: http.StatusServiceUnavailable, cause: err}
	}
	out := streetJSON{Spots: []spotJSON{}, Areas: map[string]areaJSON{}, Names: []nameJSON{}}
	for _, list := range [][]stationRow{s.Ranked, s.Unjudged, s.Estimates} {
		for _, row := range list {
			if row.Lat != 0 || row.Lon != 0 {
				out.Spots = append(out.Spots, spotJSON{row.Lat, row.Lon, page.Plain(row.Name), row.Figure.mark(), row.Figure.Value, row.Figure.Word, int(row.Figure.Category), row.URL})
			}
		}
	}
	for _, b := range d.outlines() {
		a, says := s.areaSays(lang, b.Code, districtName(b.Code))
		area := areaJSON{Label: says}
		if a.OK {
			area.Category = int(a.Highest.Index.Category)
		}
		out.Areas[b.Code] = area
	}
	if areas := d.outlines(); len(areas) > 0 {
		out.Outlines = places.GeoJSON(areas)
	}
	for _, n := range s.names() {
		out.Names = append(out.Names, nameJSON{n.Lat, n.Lon, n.Text})
	}
	body, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode the street map: %w", err)
	}
	return write(w, r, http.StatusOK, "application/json", body)
}

// outlines are the agency's own outlines of its districts, if it has imported any.
func (d *Dashboards) outlines() []places.Area {
	if b := d.o.Places.Boundaries(places.LevelDistrict); b != nil {
		return b.Areas
	}
	return nil
}
