package places

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// MaxMap bounds a map's file, in bytes.
const MaxMap = 64 << 20

// MapOptions say how to read a map's file.
type MapOptions struct {
	Source string // name of the file
	// Code and Name are the properties that hold an area's BPS code (3374, 33.74 or
	// ID3374; of a subdistrict 337401, 33.74.01 or 3374010) and its name. Empty: the
	// first of CodeProperties and NameProperties that is there.
	Code, Name string
	Dry        bool
}

// CodeProperties and NameProperties are looked for in this order, whatever their
// case.
var (
	CodeProperties = []string{"code", "kode", "kode_bps", "bps", "kode_kec", "kode_kab", "kdcpum", "kdppum", "kdepum", "kdpkab", "adm3_pcode", "adm2_pcode"}
	NameProperties = []string{"name", "nama", "namobj", "kecamatan", "kabkota", "wadmkc", "wadmkk", "adm3_en", "adm2_en", "shapename"}
)

// MapResult says what was imported.
type MapResult struct {
	Dry     bool       `json:"dry"`
	Levels  []MapLevel `json:"levels"`
	Outside int        `json:"outside"` // features of other provinces, left out
}

// MapLevel is what was imported of one level.
type MapLevel struct {
	Level   Level    `json:"level"`
	Areas   int      `json:"areas"`
	Points  int      `json:"points"`            // of borders, each counted once
	Of      int      `json:"of"`                // before simplifying
	Bytes   int      `json:"bytes"`             // that are kept
	Missing []string `json:"missing,omitempty"` // codes of districts that have no area
}

// feature is an area as the file has it.
type feature struct {
	code, name string
	polygons   [][][]point
}

// position is longitude and latitude, and maybe a height.
type position []float64

type geometry struct {
	Type        string          `json:"type"`
	Coordinates json.RawMessage `json:"coordinates"`
	Arcs        json.RawMessage `json:"arcs"` // TopoJSON
	Geometries  []geometry      `json:"geometries"`
	Properties  properties      `json:"properties"` // TopoJSON
}

type properties map[string]any

type document struct {
	Type     string `json:"type"`
	Features []struct {
		Properties properties `json:"properties"`
		Geometry   *geometry  `json:"geometry"`
	} `json:"features"`
	Objects   map[string]geometry `json:"objects"`
	Arcs      [][]position        `json:"arcs"`
	Transform *struct {
		Scale     [2]float64 `json:"scale"`
		Translate [2]float64 `json:"translate"`
	} `json:"transform"`
	CRS any `json:"crs"`
}

// maxMapErrors bounds how many features are named.
const maxMapErrors = 20

// readMap reads a file into maps, one a level.
func readMap(file []byte, o MapOptions) ([]*Boundaries, MapResult, error) {
	r := reading{o: o, features: map[string]*feature{}}
	if len(file) > MaxMap {
		return nil, MapResult{}, fmt.Errorf("the file has more than %d MiB: take only Jawa Tengah, or simplify it", MaxMap>>20)
	}
	if err := json.Unmarshal(file, &r.doc); err != nil {
		return nil, MapResult{}, fmt.Errorf("want GeoJSON or TopoJSON: %w", err)
	}
	switch r.doc.Type {
	case "FeatureCollection":
		for i, f := range r.doc.Features {
			if f.Geometry == nil {
				f.Geometry = &geometry{}
			}
			r.take(fmt.Sprint("feature ", i+1), f.Properties, f.Geometry)
		}
	case "Topology":
		r.unpackArcs()
		names := make([]string, 0, len(r.doc.Objects))
		for name := range r.doc.Objects {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			object := r.doc.Objects[name]
			list := object.Geometries
			if object.Type != "GeometryCollection" {
				list = []geometry{object}
			}
			for i := range list {
				r.take(fmt.Sprintf("%s, geometry %d", name, i+1), list[i].Properties, &list[i])
			}
		}
	default:
		return nil, MapResult{}, fmt.Errorf("type is %q: want a FeatureCollection (GeoJSON) or a Topology (TopoJSON)", r.doc.Type)
	}
	if r.more > 0 {
		r.errs = append(r.errs, fmt.Errorf("and %d more", r.more))
	}
	if len(r.errs) > 0 {
		return nil, MapResult{}, errors.Join(r.errs...)
	}
	return r.maps()
}

// reading is the work on one file.
type reading struct {
	o        MapOptions
	doc      document
	arcs     [][]position // of TopoJSON, in degrees
	features map[string]*feature
	outside  int
	errs     []error
	more     int
}

func (r *reading) bad(where string, err error) {
	if len(r.errs) == maxMapErrors {
		r.more++
		return
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %w", where, err))
}

// unpackArcs undoes TopoJSON's quantisation.
func (r *reading) unpackArcs() {
	t := r.doc.Transform
	for _, arc := range r.doc.Arcs {
		out := make([]position, 0, len(arc))
		var x, y float64
		for _, p := range arc {
			if t == nil || len(p) < 2 { // too short a one is told where a feature uses it
				out = append(out, p)
				continue
			}
			x, y = x+p[0], y+p[1]
			out = append(out, position{x*t.Scale[0] + t.Translate[0], y*t.Scale[1] + t.Translate[1]})
		}
		r.arcs = append(r.arcs, out)
	}
}

// take reads one feature.
func (r *reading) take(where string, p properties, g *geometry) {
	name := p.find(r.o.Name, NameProperties)
	if name != "" {
		where += fmt.Sprintf(" (%s)", short(name))
	}
	code, ok := cleanCode(p.find(r.o.Code, CodeProperties))
	switch {
	case !ok:
		want := "one of " + strings.Join(CodeProperties, ", ") + "; name another with --code-property"
		if r.o.Code != "" {
			want = r.o.Code
		}
		r.bad(where, fmt.Errorf("no BPS code of a district or subdistrict (3374, 337401) in %s; its properties are %s", want, short(strings.Join(p.names(), ", "))))
		return
	case !strings.HasPrefix(code, "33"):
		r.outside++
		return
	}
	district, known := FindDistrict(code[:4])
	if !known {
		r.bad(where, fmt.Errorf("code %s: Jawa Tengah has no district %s", code, code[:4]))
		return
	}
	if len(code) == 4 {
		name = district.Name
	}
	var text Problems
	if (wrong{where, &text}).text("name", name); len(text) > 0 {
		r.bad(where, errors.New("its name "+text[0].Want))
		return
	}
	polygons, err := r.polygons(g)
	if err != nil {
		r.bad(where, err)
		return
	}
	f := r.features[code]
	if f == nil { // else an island that is a feature of its own
		f = &feature{code: code, name: name}
		r.features[code] = f
	}
	f.polygons = append(f.polygons, polygons...)
}

func (p properties) names() []string {
	var out []string
	for name := range p {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// find returns a property as text.
func (p properties) find(named string, among []string) string {
	if named != "" {
		among = []string{named}
	}
	for _, want := range among {
		for _, name := range p.names() {
			if !strings.EqualFold(name, want) {
				continue
			}
			switch v := p[name].(type) {
			case string:
				if v = strings.TrimSpace(v); v != "" {
					return v
				}
			case float64:
				return fmt.Sprintf("%.0f", v)
			}
		}
	}
	return ""
}

func short(s string) string {
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}

// cleanCode brings the ways in which codes are written to one.
func cleanCode(s string) (string, bool) {
	s = strings.ReplaceAll(strings.TrimPrefix(s, "ID"), ".", "")
	if strings.Trim(s, "0123456789") != "" || (len(s) != 4 && len(s) != 6 && len(s) != 7) {
		return "", false
	}
	return s, true
}

// polygons reads an area's rings.
func (r *reading) polygons(g *geometry) ([][][]point, error) {
	polygons := [][][]position{}
	var err error
	switch g.Type {
	case "Polygon", "MultiPolygon":
		if g.Arcs != nil {
			polygons, err = r.joined(g)
			break
		}
		if g.Type == "MultiPolygon" {
			err = json.Unmarshal(g.Coordinates, &polygons)
			break
		}
		var one [][]position
		err = json.Unmarshal(g.Coordinates, &one)
		polygons = append(polygons, one)
	case "":
		return nil, errors.New("it has no geometry")
	default:
		return nil, fmt.Errorf("it is a %s: want a Polygon or a MultiPolygon", short(g.Type))
	}
	if err != nil {
		return nil, fmt.Errorf("its coordinates can't be read: %w", err)
	}
	var out [][][]point
	for i, polygon := range polygons {
		var rings [][]point
		for j, ring := range polygon {
			points, err := project(ring)
			if err != nil {
				return nil, fmt.Errorf("polygon %d, ring %d: %w", i+1, j+1, err)
			}
			if !flat(points) {
				rings = append(rings, points)
			} else if j == 0 {
				break // smaller than a unit: its holes are, too
			}
		}
		if len(rings) > 0 {
			out = append(out, rings)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("nothing of it is large enough to be drawn")
	}
	return out, nil
}

// joined puts TopoJSON's rings together out of arcs; ~i is arc i backwards.
func (r *reading) joined(g *geometry) ([][][]position, error) {
	var polygons [][][]int
	if g.Type == "MultiPolygon" {
		if err := json.Unmarshal(g.Arcs, &polygons); err != nil {
			return nil, err
		}
	} else {
		var one [][]int
		if err := json.Unmarshal(g.Arcs, &one); err != nil {
			return nil, err
		}
		polygons = append(polygons, one)
	}
	var out [][][]position
	for _, polygon := range polygons {
		var rings [][]position
		for _, refs := range polygon {
			var ring []position
			for _, ref := range refs {
				i := ref
				if ref < 0 {
					i = ^ref
				}
				if i >= len(r.arcs) {
					return nil, fmt.Errorf("arc %d: the file has %d", i, len(r.arcs))
				}
				arc := r.arcs[i]
				if ref < 0 {
					arc = slices.Clone(arc)
					slices.Reverse(arc)
				}
				if len(ring) > 0 && len(arc) > 0 {
					arc = arc[1:] // the end of the one before
				}
				ring = append(ring, arc...)
			}
			rings = append(rings, ring)
		}
		out = append(out, rings)
	}
	return out, nil
}

// project puts a ring into units, without its closing point and without points
// that fall together.
func project(ring []position) ([]point, error) {
	if len(ring) < 4 {
		return nil, fmt.Errorf("%d points: a ring has at least 4, the last being the first", len(ring))
	}
	out := make([]point, 0, len(ring))
	for _, p := range ring {
		if len(p) < 2 {
			return nil, errors.New("a point without longitude and latitude")
		}
		lon, lat := p[0], p[1]
		if !(lat >= minLat && lat <= maxLat && lon >= minLon && lon <= maxLon) {
			return nil, fmt.Errorf("longitude %g, latitude %g: want degrees (WGS 84) of Jawa Tengah, longitude first", lon, lat)
		}
		x, y := Project(lat, lon)
		at := point{int(math.Round(x)), int(math.Round(y))}
		if len(out) == 0 || out[len(out)-1] != at {
			out = append(out, at)
		}
	}
	for len(out) > 1 && out[0] == out[len(out)-1] {
		out = out[:len(out)-1]
	}
	return out, nil
}

// Points that are left of all borders of a level, each counted once: enough for a
// screen, and small enough for a page (districts) or for one district's page
// (subdistricts).
var detail = map[Level]int{LevelDistrict: 5000, LevelSubdistrict: 20_000}

// maps simplifies the features, level by level.
func (r *reading) maps() ([]*Boundaries, MapResult, error) {
	result := MapResult{Outside: r.outside, Levels: []MapLevel{}}
	var out []*Boundaries
	for _, level := range Levels() {
		var list []*feature
		for _, f := range r.features {
			if (len(f.code) == 4) == (level == LevelDistrict) {
				list = append(list, f)
			}
		}
		if len(list) == 0 {
			continue
		}
		slices.SortFunc(list, func(a, b *feature) int { return strings.Compare(a.code, b.code) })
		t := newTopology(list)
		kept := t.simplify(detail[level])
		told := MapLevel{Level: level, Points: kept, Of: t.points, Areas: len(list)}
		b := &Boundaries{Level: level}
		for i, f := range list {
			b.Areas = append(b.Areas, Area{Code: f.code, Name: f.name, polygons: t.rings(i)})
		}
		for _, d := range Districts() {
			if !slices.ContainsFunc(list, func(f *feature) bool { return strings.HasPrefix(f.code, d.Code) }) {
				told.Missing = append(told.Missing, d.Code)
			}
		}
		result.Levels = append(result.Levels, told)
		out = append(out, b)
	}
	if len(out) == 0 {
		return nil, result, fmt.Errorf("no area of Jawa Tengah (codes that begin with 33) among %d features", r.outside)
	}
	return out, result, nil
}
