package places

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Level says what the areas of a map are.
type Level string

// The levels.
const (
	LevelDistrict    Level = "district"    // kabupaten and kota
	LevelSubdistrict Level = "subdistrict" // kecamatan
)

// Levels lists them.
func Levels() []Level { return []Level{LevelDistrict, LevelSubdistrict} }

// The maps' projection is equirectangular at the province's mean latitude, with
// y down, in units of 1/3000 degree of latitude (37 m) from its north-west corner.
// It is the same for every map, so that a site's mark lies right on each.
const (
	westEnd, northEnd = 108.5, -5.7
	meanLatitude      = -7.15
	perDegree         = 3000
)

var squeeze = math.Cos(meanLatitude * math.Pi / 180)

// Project returns where a place lies on the maps.
func Project(lat, lon float64) (x, y float64) {
	return (lon - westEnd) * squeeze * perDegree, (northEnd - lat) * perDegree
}

// Unproject is Project's inverse, in degrees.
func Unproject(x, y float64) (lat, lon float64) {
	return northEnd - y/perDegree, westEnd + x/squeeze/perDegree
}

// point is a place in whole units of the projection.
type point struct{ x, y int }

// Area is one district or subdistrict on the map.
type Area struct {
	Code string
	Name string
	Path string // SVG path data in units of Project; fill it with fill-rule evenodd
	Box  Box

	polygons [][][]point // rings without their closing point; the first of a polygon is its outline
}

// Box is a rectangle in units of Project.
type Box struct{ MinX, MinY, MaxX, MaxY int }

// Boundaries are an imported map of one level.
type Boundaries struct {
	Level    Level
	Hash     string // SHA-256 of what is stored, hexadecimal: another map has another
	Source   string // name of the imported file
	Imported time.Time
	Areas    []Area // by code
}

// Find finds an area by its code.
func (b *Boundaries) Find(code string) (Area, bool) {
	if b == nil {
		return Area{}, false
	}
	i, ok := slices.BinarySearchFunc(b.Areas, code, func(a Area, code string) int { return strings.Compare(a.Code, code) })
	if !ok {
		return Area{}, false
	}
	return b.Areas[i], true
}

// Within lists the areas whose codes begin with another's: the subdistricts of a
// district.
func (b *Boundaries) Within(code string) []Area {
	if b == nil {
		return nil
	}
	var out []Area
	for _, a := range b.Areas {
		if strings.HasPrefix(a.Code, code) {
			out = append(out, a)
		}
	}
	return out
}

// GeoJSON returns areas as a FeatureCollection with the properties code and name,
// for street maps.
func GeoJSON(areas []Area) []byte {
	type geometry struct {
		Type        string           `json:"type"`
		Coordinates [][][][2]float64 `json:"coordinates"`
	}
	type feature struct {
		Type       string            `json:"type"`
		Properties map[string]string `json:"properties"`
		Geometry   geometry          `json:"geometry"`
	}
	features := []feature{}
	for _, a := range areas {
		g := geometry{Type: "MultiPolygon"}
		for _, polygon := range a.polygons {
			var rings [][][2]float64
			for _, ring := range polygon {
				var out [][2]float64
				for _, p := range append(slices.Clone(ring), ring[0]) {
					lat, lon := Unproject(float64(p.x), float64(p.y))
					out = append(out, [2]float64{math.Round(lon*1e5) / 1e5, math.Round(lat*1e5) / 1e5})
				}
				rings = append(rings, out)
			}
			g.Coordinates = append(g.Coordinates, rings)
		}
		features = append(features, feature{"Feature", map[string]string{"code": a.Code, "name": a.Name}, g})
	}
	// Finite numbers and text: there is nothing that can't be written.
	out, _ := json.Marshal(map[string]any{"type": "FeatureCollection", "features": features})
	return out
}

// stored is Boundaries as a value of the store: gzip of JSON. Points are
// differences to the one before, which makes it small.
type stored struct {
	Level    Level        `json:"level"`
	Source   string       `json:"source"`
	Imported time.Time    `json:"imported"`
	Areas    []storedArea `json:"areas"`
}

type storedArea struct {
	Code     string    `json:"code"`
	Name     string    `json:"name"`
	Polygons [][][]int `json:"polygons"` // x, y, dx, dy, …
}

func (b *Boundaries) encode() ([]byte, error) {
	s := stored{Level: b.Level, Source: b.Source, Imported: b.Imported}
	for _, a := range b.Areas {
		area := storedArea{Code: a.Code, Name: a.Name}
		for _, polygon := range a.polygons {
			var rings [][]int
			for _, ring := range polygon {
				var flat []int
				last := point{}
				for _, p := range ring {
					flat = append(flat, p.x-last.x, p.y-last.y)
					last = p
				}
				rings = append(rings, flat)
			}
			area.Polygons = append(area.Polygons, rings)
		}
		s.Areas = append(s.Areas, area)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := errors.Join(json.NewEncoder(z).Encode(s), z.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func decodeBoundaries(value []byte) (*Boundaries, error) {
	z, err := gzip.NewReader(bytes.NewReader(value))
	if err != nil {
		return nil, err
	}
	var s stored
	if err := json.NewDecoder(io.LimitReader(z, maxUnpacked)).Decode(&s); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(value)
	b := &Boundaries{Level: s.Level, Hash: hex.EncodeToString(sum[:]), Source: s.Source, Imported: s.Imported}
	for _, a := range s.Areas {
		area := Area{Code: a.Code, Name: a.Name}
		for _, polygon := range a.Polygons {
			var rings [][]point
			for _, flat := range polygon {
				var ring []point
				last := point{}
				for i := 0; i+1 < len(flat); i += 2 {
					last = point{last.x + flat[i], last.y + flat[i+1]}
					ring = append(ring, last)
				}
				if len(ring) > 0 {
					rings = append(rings, ring)
				}
			}
			area.polygons = append(area.polygons, rings)
		}
		area.draw()
		b.Areas = append(b.Areas, area)
	}
	return b, nil
}

// draw makes path and box of the rings.
func (a *Area) draw() {
	var out []byte
	number := func(n int, first bool) {
		if !first && n >= 0 {
			out = append(out, ' ') // a minus parts numbers as well
		}
		out = strconv.AppendInt(out, int64(n), 10)
	}
	begun := false
	for _, polygon := range a.polygons {
		for _, ring := range polygon {
			for i, p := range ring {
				if !begun {
					a.Box, begun = Box{p.x, p.y, p.x, p.y}, true
				}
				a.Box = Box{min(a.Box.MinX, p.x), min(a.Box.MinY, p.y), max(a.Box.MaxX, p.x), max(a.Box.MaxY, p.y)}
				switch i {
				case 0:
					out = append(out, 'M')
					number(p.x, true)
					number(p.y, false)
				case 1:
					out = append(out, 'l')
					number(p.x-ring[0].x, true)
					number(p.y-ring[0].y, false)
				default:
					number(p.x-ring[i-1].x, false)
					number(p.y-ring[i-1].y, false)
				}
			}
			out = append(out, 'z')
		}
	}
	a.Path = string(out)
}

const mapPrefix = "map/"

// Boundaries returns the map of a level, nil if none was imported.
func (s *Store) Boundaries(l Level) *Boundaries {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maps[l].boundaries
}

// levelMap is a map as it is stored.
type levelMap struct {
	boundaries *Boundaries
	revision   uint64
}

// learnMap takes a stored map. The caller holds mu.
func (s *Store) learnMap(l Level, value []byte, revision uint64) error {
	if revision <= s.maps[l].revision {
		return nil
	}
	b, err := decodeBoundaries(value)
	if err != nil {
		return fmt.Errorf("read the map: %w", err)
	}
	s.maps[l] = levelMap{b, revision}
	return nil
}

// readMaps reads what is stored, once.
func (s *Store) readMaps(ctx context.Context) error {
	for _, l := range Levels() {
		value, revision, err := s.o.KV.Get(ctx, mapPrefix+string(l))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			s.mu.Lock()
			err = s.learnMap(l, value, revision)
			s.mu.Unlock()
		}
		if err != nil {
			return fmt.Errorf("read the map of %ss: %w", l, err)
		}
	}
	return nil
}

// ImportMap takes the boundaries of districts, subdistricts or both out of a
// GeoJSON or TopoJSON file, in WGS 84, and simplifies them so that shared borders
// stay shared. It takes the place of the map of that level before. What lies
// outside Jawa Tengah is left out. Features that can't be taken are named, and
// then nothing is changed; dry only checks.
func (s *Store) ImportMap(ctx context.Context, file []byte, o MapOptions) (MapResult, error) {
	maps, result, err := readMap(file, o)
	if err != nil {
		return MapResult{}, fmt.Errorf("import the map %s: %w", o.Source, err)
	}
	for i, b := range maps {
		b.Source, b.Imported = o.Source, s.o.Now().UTC().Truncate(time.Second)
		value, err := b.encode()
		if err != nil {
			return MapResult{}, fmt.Errorf("import the map %s: %w", o.Source, err)
		}
		if len(value) > maxHead {
			return MapResult{}, fmt.Errorf("import the map %s: %d KiB are left of it after simplifying, at most %d are kept: import districts and subdistricts from files of their own", o.Source, len(value)>>10, maxHead>>10)
		}
		result.Levels[i].Bytes = len(value)
		if !o.Dry {
			if err := s.putMap(ctx, b.Level, value); err != nil {
				return MapResult{}, fmt.Errorf("keep the map %s: %w", o.Source, err)
			}
		}
	}
	result.Dry = o.Dry
	return result, nil
}

func (s *Store) putMap(ctx context.Context, l Level, value []byte) error {
	key := mapPrefix + string(l)
	for {
		_, revision, err := s.o.KV.Get(ctx, key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			revision, err = s.o.KV.Create(ctx, key, value)
		case err == nil:
			revision, err = s.o.KV.Update(ctx, key, value, revision)
		}
		switch {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.learnMap(l, value, revision)
	}
}
