package fleet

import (
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Post is one measuring post of the simulated province: a gateway, what hangs on
// it, and where it stands.
type Post struct {
	Node     telemetry.Node
	Site     string // permanent code of the place
	Name     string // of the place, for people
	District places.District
	Lat, Lon float64 // degrees
	Class    string  // acuan, sni9178 or indikatif

	instruments []instrument
	load        world.LoadKind
	faulty      bool // it fails now and then for hours
}

// instrument is one device of a post and how often it is read.
type instrument struct {
	device string
	every  time.Duration
	series []series
}

// City reports whether the post stands in a kota. Their codes are 3371 to 3376.
func (p *Post) City() bool { return p.District.Code >= "3371" }

// Province lists the posts: one with air, bin and meter in every district, a
// second one for air in some, and three full stations that measure all seven
// parameters of the ISPU, the gases in ppb and ppm as analysers give them. The
// second of these has gaps.
func Province() []Post {
	var out []Post
	add := func(d places.District, n int, id, name, class string, parts ...instrument) *Post {
		// A few kilometres apart, and none exactly on the centroid.
		north, east := [...]float64{0.008, -0.026, 0.031}[n], [...]float64{-0.011, 0.024, 0.019}[n]
		out = append(out, Post{
			Node: telemetry.Node{Group: d.Code, ID: id}, Site: d.Code + "-0" + strconv.Itoa(n+1), Name: name, District: d,
			Lat: d.Lat + north, Lon: d.Lon + east, Class: class, instruments: parts, load: world.LoadKind(len(out) % 3),
		})
		return &out[len(out)-1]
	}
	for _, d := range places.Districts() {
		class := "indikatif"
		if slices.Contains([]string{"3302", "3303", "3308", "3310", "3314", "3316", "3317", "3318", "3320", "3321", "3324", "3326", "3328", "3371", "3373", "3375", "3376"}, d.Code) {
			class = "sni9178"
		}
		add(d, 0, "pos-"+d.Code+"-1", d.Name+", pusat", class, air, bin, meter)
		if slices.Contains([]string{"3302", "3318", "3371", "3372", "3374", "3375"}, d.Code) {
			add(d, 1, "pos-"+d.Code+"-2", d.Name+", terminal", "indikatif", air)
		}
		if slices.Contains([]string{"3301", "3372", "3374"}, d.Code) {
			add(d, 2, "aqms-"+d.Code, "AQMS "+d.Name, "acuan", full).faulty = d.Code == "3372"
		}
	}
	return out
}

var (
	air   = instrument{"udara", 10 * time.Minute, layout[:8]}
	bin   = instrument{"bak", time.Hour, layout[8:10]}
	meter = instrument{"meter", 15 * time.Minute, layout[10:]}
	full  = instrument{"aqms", 10 * time.Minute, []series{
		{"aqms", "pm10", true, func(s *scene) float64 { return s.air.PM10 }},
		{"aqms", "pm2_5", true, func(s *scene) float64 { return s.air.PM25 }},
		{"aqms", "so2_ppb", true, func(s *scene) float64 { return s.air.SO2 * molar / 64.07 }},
		{"aqms", "co_ppm", true, func(s *scene) float64 { return s.air.CO * molar / 28.01 / 1000 }},
		{"aqms", "o3_ppb", true, func(s *scene) float64 { return s.air.O3 * molar / 48.00 }},
		{"aqms", "no2_ppb", true, func(s *scene) float64 { return s.air.NO2 * molar / 46.01 }},
		// As methane: it has a mass once the agency declares the calibration gas.
		{"aqms", "hc_ppb", true, func(s *scene) float64 { return s.air.HC * molar / 16.04 }},
		{"aqms", "temperature", true, func(s *scene) float64 { return s.air.Temperature }},
		{"aqms", "humidity", true, func(s *scene) float64 { return min(s.air.Humidity, 99) }},
		{"aqms", "pressure", true, func(s *scene) float64 { return s.air.Pressure }},
	}}
)
