package places_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/internal/places"
)

// lonlat is a position of GeoJSON.
type lonlat = [2]float64

// geo makes a FeatureCollection of single polygons; each area is a code and rings.
func geo(t *testing.T, areas map[string][][]lonlat) []byte {
	t.Helper()
	var features []any
	for _, code := range []string{"3374", "3321", "3322", "3315", "337401", "337402"} {
		if rings, ok := areas[code]; ok {
			features = append(features, map[string]any{
				"type": "Feature", "properties": map[string]any{"kode": code, "nama": "Area " + code},
				"geometry": map[string]any{"type": "Polygon", "coordinates": rings},
			})
		}
	}
	text, err := json.Marshal(map[string]any{"type": "FeatureCollection", "features": features})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func closed(parts ...[]lonlat) []lonlat {
	ring := slices.Concat(parts...)
	return append(ring, ring[0])
}

func reversed(line []lonlat) []lonlat {
	out := slices.Clone(line)
	slices.Reverse(out)
	return out
}

// coast is a line of n points from a to b that winds.
func coast(a, b lonlat, n int) []lonlat {
	var out []lonlat
	for i := range n + 1 {
		u := float64(i) / float64(n)
		side := math.Sin(u*math.Pi) * (0.03*math.Sin(u*40) + 0.008*math.Sin(u*400) + 0.001*math.Sin(u*3000))
		dx, dy := b[0]-a[0], b[1]-a[1]
		length := math.Hypot(dx, dy)
		out = append(out, lonlat{a[0] + u*dx - side*dy/length, a[1] + u*dy + side*dx/length})
	}
	out[0], out[n] = a, b // to the last bit: others meet there
	return out
}

// outline returns an area's rings in degrees, closed.
func outline(t *testing.T, a places.Area) (rings [][]lonlat) {
	t.Helper()
	var doc struct {
		Features []struct {
			Geometry struct{ Coordinates [][][]lonlat }
		}
	}
	if err := json.Unmarshal(places.GeoJSON([]places.Area{a}), &doc); err != nil {
		t.Fatal(err)
	}
	return slices.Concat(doc.Features[0].Geometry.Coordinates...)
}

// within reports whether a place lies inside: by the even-odd rule, as areas are
// filled.
func within(rings [][]lonlat, lat, lon float64) bool {
	inside := false
	for _, ring := range rings {
		for i := 1; i < len(ring); i++ {
			p, q := ring[i-1], ring[i]
			if (p[1] > lat) != (q[1] > lat) && lon < (q[0]-p[0])*(lat-p[1])/(q[1]-p[1])+p[0] {
				inside = !inside
			}
		}
	}
	return inside
}

// provinceMap has two districts with a winding border of so many points, a city
// that lies wholly in the first, and a third that meets both.
func provinceMap(t *testing.T, n int) []byte {
	nw, n1, ne := lonlat{110, -6.8}, lonlat{110.5, -6.8}, lonlat{111, -6.8}
	sw, s1, se := lonlat{110, -7.2}, lonlat{110.5, -7.2}, lonlat{111, -7.2}
	middle := coast(n1, s1, n)  // between 3321 and 3315
	south := coast(sw, s1, n/2) // below 3321
	south2 := coast(s1, se, n/2)
	city := closed([]lonlat{{110.2, -7}, {110.22, -6.95}, {110.3, -6.96}, {110.28, -7.03}})
	return geo(t, map[string][][]lonlat{
		"3321": {closed([]lonlat{nw}, middle, reversed(south)), reversed(city)},
		"3315": {closed([]lonlat{ne}, reversed(south2)[:len(south2)-1], reversed(middle))},
		"3374": {city},
		"3322": {closed(south, south2[1:], []lonlat{{111, -7.5}, {110, -7.5}})},
	})
}

func TestSharedBordersDoNotTear(t *testing.T) {
	w := newWorld(t)
	r, err := w.ImportMap(t.Context(), provinceMap(t, 20_000), places.MapOptions{Source: "batas.geojson"})
	w.must(err)
	if len(r.Levels) != 1 || r.Levels[0].Areas != 4 || r.Levels[0].Points > 5100 || r.Levels[0].Of < 10_000 || len(r.Levels[0].Missing) != 31 {
		t.Fatalf("%+v", r)
	}
	b := w.Boundaries(places.LevelDistrict)
	outlines := map[string][][]lonlat{}
	for _, a := range b.Areas {
		outlines[a.Code] = outline(t, a)
	}
	var page bytes.Buffer
	z := gzip.NewWriter(&page)
	for _, a := range b.Areas {
		_, err := io.WriteString(z, a.Path)
		w.must(err)
	}
	w.must(z.Close())
	if page.Len() > 60<<10 {
		t.Errorf("the paths are %d bytes, compressed: too much for a page", page.Len())
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		lat, lon := -7.49+random.Float64()*0.68, 110.01+random.Float64()*0.98
		var in []string
		for code, rings := range outlines {
			if within(rings, lat, lon) {
				in = append(in, code)
			}
		}
		if len(in) != 1 {
			t.Errorf("%.5f %.5f lies in %v", lat, lon, in)
		}
	}
	if a, _ := b.Find("3374"); !within(outlines[a.Code], -7, 110.25) || a.Name != "Kota Semarang" {
		t.Errorf("%+v", a)
	}
	if a, _ := b.Find("3321"); within(outlines[a.Code], -7, 110.25) {
		t.Error("the city lies in the kabupaten around it, too")
	}
}

func TestTheSameMapAsTopoJSON(t *testing.T) {
	w := newWorld(t)
	// Two squares side by side; the second of them has an islet.
	_, err := w.ImportMap(t.Context(), []byte(`{"type":"FeatureCollection","features":[
		{"properties":{"CODE":3321},"geometry":{"type":"Polygon","coordinates":[[[110,-7],[110.5,-7],[110.5,-7.5],[110,-7.5],[110,-7]]]}},
		{"properties":{"code":"ID3374","name":"x"},"geometry":{"type":"MultiPolygon","coordinates":[[[[110.5,-7],[111,-7],[111,-7.5],[110.5,-7.5],[110.5,-7]]],[[[110.5,-6.5],[110.6,-6.5],[110.6,-6.6],[110.5,-6.5]]]]}},
		{"properties":{"code":"3573"},"geometry":{"type":"Point","coordinates":[0,0]}}]}`), places.MapOptions{})
	w.must(err)
	plain := w.Boundaries(places.LevelDistrict)
	r, err := w.ImportMap(t.Context(), []byte(`{"type":"Topology","transform":{"scale":[0.1,0.1],"translate":[110,-7.5]},
		"arcs":[[[5,0],[0,5]],[[5,5],[-5,0],[0,-5],[5,0]],[[5,5],[5,0],[0,-5],[-5,0]],[[5,10],[1,0],[0,-1],[-1,1]]],
		"objects":{"kab":{"type":"GeometryCollection","geometries":[
			{"type":"Polygon","arcs":[[0,1]],"properties":{"bps":"33.21"}},
			{"type":"MultiPolygon","arcs":[[[2,0]],[[3]]],"properties":{"bps":"33.74"}}]}}}`), places.MapOptions{Source: "b.topo.json"})
	w.must(err)
	if r.Outside != 0 || r.Levels[0].Areas != 2 {
		t.Errorf("%+v", r)
	}
	topo := w.Boundaries(places.LevelDistrict)
	for i, a := range plain.Areas {
		if b := topo.Areas[i]; a.Box != b.Box || len(a.Path) != len(b.Path) || a.Code != b.Code {
			t.Errorf("%+v\n%+v", a, b)
		}
	}
	x, y := places.Project(-7, 110.5)
	if a := plain.Areas[0]; a.Box.MaxX != int(math.Round(x)) || a.Box.MinY != int(math.Round(y)) || !strings.HasPrefix(a.Path, "M") || !strings.HasSuffix(a.Path, "z") {
		t.Errorf("%+v, want the corner at %g, %g", a, x, y)
	}
	if lat, lon := places.Unproject(x, y); math.Abs(lat+7) > 1e-9 || math.Abs(lon-110.5) > 1e-9 {
		t.Errorf("back at %g, %g", lat, lon)
	}
	if plain.Hash == topo.Hash || topo.Source != "b.topo.json" {
		t.Errorf("%s %s %q", plain.Hash, topo.Hash, topo.Source)
	}
}

// A city of 300 m beside borders of thousands of points is still drawn.
func TestNoAreaVanishes(t *testing.T) {
	w := newWorld(t)
	big := closed([]lonlat{{110, -6.8}}, coast(lonlat{110.9, -6.8}, lonlat{110, -7.4}, 30_000))
	tiny := closed([]lonlat{{109.5, -7}, {109.5003, -7.0027}, {109.5027, -7.003}, {109.5029, -7.0002}})
	_, err := w.ImportMap(t.Context(), geo(t, map[string][][]lonlat{"3321": {big}, "3374": {tiny}}), places.MapOptions{})
	w.must(err)
	if a, ok := w.Boundaries(places.LevelDistrict).Find("3374"); !ok || !within(outline(t, a), -7.0015, 109.5015) {
		t.Errorf("%+v", a)
	}
}

func TestAMapsErrorsNameTheFeature(t *testing.T) {
	w := newWorld(t)
	square := `{"type":"Polygon","coordinates":[[[110,-7],[110.5,-7],[110.5,-7.5],[110,-7]]]}`
	feature := func(properties, geometry string) string {
		return `{"type":"FeatureCollection","features":[{"properties":{"code":"3321"},"geometry":` + square + `},{"properties":` + properties + `,"geometry":` + geometry + `}]}`
	}
	for says, file := range map[string]string{
		`feature 2 (Kudus): no BPS code`:                                feature(`{"nama":"Kudus","luas":"1"}`, square),
		`its properties are luas, nama`:                                 feature(`{"nama":"Kudus","luas":"1"}`, square),
		`feature 2: no BPS code`:                                        feature(`{"code":"semarang"}`, square),
		`code 3399: Jawa Tengah has no district 3399`:                   feature(`{"code":"3399"}`, square),
		`feature 2 (Kudus): it is a Point`:                              feature(`{"code":"3319","nama":"Kudus"}`, `{"type":"Point","coordinates":[110,-7]}`),
		`feature 2: it has no geometry`:                                 feature(`{"code":"3319"}`, `null`),
		`feature 2: polygon 1, ring 1: longitude -7, latitude 110`:      feature(`{"code":"3319"}`, `{"type":"Polygon","coordinates":[[[-7,110],[-7,111],[-8,111],[-7,110]]]}`),
		`longitude 437000, latitude 9.22`:                               feature(`{"code":"3319"}`, `{"type":"Polygon","coordinates":[[[437000,9226000],[437100,9226000],[437100,9226100],[437000,9226000]]]}`),
		`feature 2: polygon 1, ring 1: 2 points`:                        feature(`{"code":"3319"}`, `{"type":"Polygon","coordinates":[[[110,-7],[110,-7]]]}`),
		`feature 2: its coordinates can't be read`:                      feature(`{"code":"3319"}`, `{"type":"Polygon","coordinates":"x"}`),
		`feature 2: nothing of it is large enough`:                      feature(`{"code":"3319"}`, `{"type":"Polygon","coordinates":[[[110,-7],[110.00001,-7],[110,-7.00001],[110,-7]]]}`),
		`its name holds the invisible character U+202E`:                 feature(`{"code":"331901","nama":"a\u202eb"}`, square),
		`want GeoJSON or TopoJSON`:                                      `<gml>`,
		`type is "Feature"`:                                             `{"type":"Feature"}`,
		`no area of Jawa Tengah`:                                        `{"type":"FeatureCollection","features":[{"properties":{"code":"3573"},"geometry":null}]}`,
		`kab, geometry 1 (Kudus): its coordinates can't be read: arc 7`: `{"type":"Topology","arcs":[],"objects":{"kab":{"type":"Polygon","arcs":[[7]],"properties":{"code":"3319","name":"Kudus"}}}}`,
		`kab, geometry 1: polygon 1, ring 1: a point without longitude`: `{"type":"Topology","arcs":[[[110],[110,-7],[111,-7],[110]]],"objects":{"kab":{"type":"Polygon","arcs":[[0]],"properties":{"code":"3319"}}}}`,
		`and 5 more`: `{"type":"FeatureCollection","features":[` + strings.Repeat(`{},`, 24) + `{}]}`,
	} {
		_, err := w.ImportMap(t.Context(), []byte(file), places.MapOptions{Source: "batas.json"})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "batas.json") {
			t.Errorf("%v: want one that says %q", err, says)
		}
	}
	if w.Boundaries(places.LevelDistrict) != nil {
		t.Error("a map was kept")
	}
	_, err := w.ImportMap(t.Context(), []byte(feature(`{"id_wilayah":"3319"}`, square)), places.MapOptions{Code: "id_wilayah"})
	if err == nil || !strings.Contains(err.Error(), "feature 1") {
		t.Errorf("the first has no such property: %v", err)
	}
}

// Kecamatan come from a map; what a site says is checked by it.
func TestSubdistrictsComeFromAMap(t *testing.T) {
	w := newWorld(t)
	other := w.open(places.Options{KV: w.kv})
	site := places.Site{Code: "smg-1", District: "3374", Subdistrict: "337409"}
	w.must(w.PutSite(t.Context(), site)) // nothing is known yet
	file := geo(t, map[string][][]lonlat{
		"337401": {closed([]lonlat{{110, -7}, {110.2, -7}, {110.2, -7.2}, {110, -7.2}})},
		"337402": {closed([]lonlat{{110.2, -7}, {110.4, -7}, {110.4, -7.2}, {110.2, -7.2}})},
		"3374":   {closed([]lonlat{{110, -7}, {110.2, -7}, {110.4, -7}, {110.4, -7.2}, {110.2, -7.2}, {110, -7.2}})},
	})
	dry, err := w.ImportMap(t.Context(), file, places.MapOptions{Dry: true})
	if err != nil || !dry.Dry || len(dry.Levels) != 2 || w.Boundaries(places.LevelSubdistrict) != nil {
		t.Errorf("%+v, %v", dry, err)
	}
	_, err = w.ImportMap(t.Context(), file, places.MapOptions{})
	w.must(err)
	b := w.Boundaries(places.LevelSubdistrict)
	if list := b.Within("3374"); len(list) != 2 || list[0].Name != "Area 337401" || list[0].Box.MinX != w.Boundaries(places.LevelDistrict).Areas[0].Box.MinX {
		t.Errorf("%+v", list)
	}
	if len(b.Within("3375")) != 0 {
		t.Error("areas of another district")
	}
	if p := problems(t, w.PutSite(t.Context(), site)); p[0].Field != "subdistrict" {
		t.Errorf("%+v", p)
	}
	site.Subdistrict = "337402"
	w.must(w.PutSite(t.Context(), site))
	w.must(other.PutSite(t.Context(), places.Site{Code: "after", District: "3374"})) // knows all that came before
	for name, s := range map[string]*places.Store{"another process": other, "a start": w.open(places.Options{KV: w.kv})} {
		if got := s.Boundaries(places.LevelSubdistrict); got == nil || got.Hash != b.Hash || got.Areas[1].Path != b.Areas[1].Path {
			t.Errorf("%s has %+v", name, got)
		}
	}
}
