package chart

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

// Map is a plain map: no tiles, nothing from another host. Positions are degrees
// of WGS 84, laid out by places.Project.
type Map struct {
	ID, Title, Desc string
	Areas           []Area  // drawn first
	Names           []Place // words without a mark
	Spots           []Spot  // drawn last, in order

	Longitude, Latitude func(degrees float64) string // as the page's language writes them
}

// Area is a filled outline.
type Area struct {
	Path     string // of places.Area
	Box      places.Box
	Category figures.Category
	URL      string // "" = no link
	Label    string // all of it in one sentence
}

// Position is a point of the earth, in degrees.
type Position struct{ Lon, Lat float64 }

// Place is a name on the map.
type Place struct {
	Position
	Text string
}

// Spot is a marker.
type Spot struct {
	Position
	Category figures.Category
	Text     string // inside; at most three digits
	URL      string
	Label    string
}

// mapWidth is the map's width in its own units.
const mapWidth = 1000.0

// SVG draws the map, with the graticule of half degrees named in words at its
// edges.
func (m Map) SVG() template.HTML {
	e := template.HTMLEscapeString
	left, top, right, bottom := math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	see := func(x, y float64) {
		left, top, right, bottom = min(left, x), min(top, y), max(right, x), max(bottom, y)
	}
	for _, a := range m.Areas {
		see(float64(a.Box.MinX), float64(a.Box.MinY))
		see(float64(a.Box.MaxX), float64(a.Box.MaxY))
	}
	for _, n := range m.Names {
		see(places.Project(n.Lat, n.Lon))
	}
	for _, s := range m.Spots {
		see(places.Project(s.Lat, s.Lon))
	}
	if left > right {
		see(places.Project(-5.7, 108.5)) // Jawa Tengah
		see(places.Project(-8.3, 111.7))
	}
	const margin = 450 // 0.15 degrees
	left, top, right, bottom = left-margin, top-margin, right+margin, bottom+margin
	scale := mapWidth / (right - left)
	height := (bottom - top) * scale
	at := func(p Position) (x, y float64) {
		x, y = places.Project(p.Lat, p.Lon)
		return (x - left) * scale, (y - top) * scale
	}
	north, west := places.Unproject(left, top)
	south, east := places.Unproject(right, bottom)

	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="map" id="%s" role="group" aria-labelledby="%[1]s-title %[1]s-desc" viewBox="0 0 %s %s">`, e(m.ID), decimal(mapWidth), decimal(height))
	fmt.Fprintf(&b, `<title id="%[1]s-title">%[2]s</title><desc id="%[1]s-desc">%[3]s</desc>%[4]s`, e(m.ID), e(m.Title), e(m.Desc), patterns(e(m.ID), 1/scale))
	fmt.Fprintf(&b, `<rect class="sea" width="%s" height="%s"/>`, decimal(mapWidth), decimal(height))
	for lon := math.Ceil(west*2) / 2; lon < east; lon += 0.5 {
		x, _ := at(Position{lon, 0})
		fmt.Fprintf(&b, `<line class="graticule" x1="%[1]s" x2="%[1]s" y1="0" y2="%[2]s"/><text x="%[1]s" y="%[3]s" dx="4">%[4]s</text>`, decimal(x), decimal(height), decimal(height-6), e(m.Longitude(lon)))
	}
	for lat := math.Ceil(south*2) / 2; lat < north; lat += 0.5 {
		_, y := at(Position{0, lat})
		fmt.Fprintf(&b, `<line class="graticule" x1="0" x2="%[1]s" y1="%[2]s" y2="%[2]s"/><text x="4" y="%[2]s" dy="-4">%[3]s</text>`, decimal(mapWidth), decimal(y), e(m.Latitude(lat)))
	}
	open := func(class, url, label string) string {
		if url != "" {
			fmt.Fprintf(&b, `<a class="%s" href="%s"><title>%s</title>`, class, e(url), e(label))
			return `</a>`
		}
		fmt.Fprintf(&b, `<g class="%s"><title>%s</title>`, class, e(label))
		return `</g>`
	}
	for _, a := range m.Areas {
		end := open("outline", a.URL, a.Label)
		place := fmt.Sprintf(`transform="scale(%.5f) translate(%.0f %.0f)" fill-rule="evenodd" d="%s"`, scale, -left, -top, e(a.Path))
		fmt.Fprintf(&b, `<path class="area edge %s" vector-effect="non-scaling-stroke" %s/>`, categoryClass(a.Category), place)
		if fill := patternOf(e(m.ID), a.Category); fill != "" {
			fmt.Fprintf(&b, `<path class="area-pattern" fill="%s" %s/>`, fill, place)
		}
		b.WriteString(end)
	}
	for _, n := range m.Names {
		x, y := at(n.Position)
		fmt.Fprintf(&b, `<text class="place" x="%s" y="%s" text-anchor="middle" aria-hidden="true">%s</text>`, decimal(x), decimal(y), e(n.Text))
	}
	radius := 15.0
	if len(m.Spots) > 80 {
		radius = 7 // figures would cover each other: their list stands beside the map
	}
	for _, s := range m.Spots {
		x, y := at(s.Position)
		end := open("spot", s.URL, s.Label)
		fmt.Fprintf(&b, `<circle class="%s edge" cx="%s" cy="%s" r="%s"/>`, categoryClass(s.Category), decimal(x), decimal(y), decimal(radius))
		if radius > 10 {
			fmt.Fprintf(&b, `<text class="on-cat-%d" x="%s" y="%s" dy="0.35em" text-anchor="middle">%s</text>`, s.Category, decimal(x), decimal(y), e(s.Text))
		}
		b.WriteString(end)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}
