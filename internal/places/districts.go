package places

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// District is one kabupaten or kota.
type District struct {
	Code     string  // BPS code, 3301…3376
	Name     string  // with its prefix: four names stand twice
	Row, Col int     // cell of the hexagon grid: pointy top, odd rows half a cell to the right
	Lat, Lon float64 // centroid in degrees, rounded to 0.01
}

// hexgrid is fitted so that the whole keeps the province's outline and
// neighbours stay neighbours.
//
//go:embed hexgrid33.tsv
var hexgrid string

// districts reads the grid once; a test reads all of its lines.
var districts = sync.OnceValue(func() []District {
	list, err := parseDistricts(hexgrid)
	if err != nil {
		panic(fmt.Sprintf("embedded hexagon grid: %v", err))
	}
	return list
})

func parseDistricts(text string) ([]District, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	list := make([]District, 0, len(lines)-1)
	for i, line := range lines[1:] { // below the head
		f := strings.Split(line, "\t")
		if len(f) != 6 {
			return nil, fmt.Errorf("line %d has %d fields, want 6", i+2, len(f))
		}
		d := District{Code: f[0], Name: f[1]}
		var err error
		for _, n := range []struct {
			to   *int
			from string
		}{{&d.Row, f[2]}, {&d.Col, f[3]}} {
			if *n.to, err = strconv.Atoi(n.from); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+2, err)
			}
		}
		for _, n := range []struct {
			to   *float64
			from string
		}{{&d.Lat, f[4]}, {&d.Lon, f[5]}} {
			if *n.to, err = strconv.ParseFloat(n.from, 64); err != nil {
				return nil, fmt.Errorf("line %d: %w", i+2, err)
			}
		}
		list = append(list, d)
	}
	return list, nil
}

// Districts lists the 35 districts by code.
func Districts() []District { return slices.Clone(districts()) }

// FindDistrict finds a district by its code.
func FindDistrict(code string) (District, bool) {
	i, ok := slices.BinarySearchFunc(districts(), code, func(d District, code string) int { return strings.Compare(d.Code, code) })
	if !ok {
		return District{}, false
	}
	return districts()[i], true
}
