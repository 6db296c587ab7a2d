package fleet

import (
	"math"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// series is one quantity of one device of a station.
type series struct {
	device, quantity string
	// exact values are sent as the world has them; others carry a little of the
	// record's number, so that no two records are alike.
	exact bool
	value func(*scene) float64
}

// scene is what the world is like at a station.
type scene struct {
	air  world.Air
	bin  world.Bin
	load world.Load
}

// layout is what stations measure, in the order in which they are cut off.
var layout = []series{
	{"udara", "pm2_5", false, func(s *scene) float64 { return s.air.PM25 }},
	{"udara", "pm10", false, func(s *scene) float64 { return s.air.PM10 }},
	{"udara", "pm1", false, func(s *scene) float64 { return s.air.PM1 }},
	{"udara", "pm4", false, func(s *scene) float64 { return s.air.PM4 }},
	{"udara", "co2", false, func(s *scene) float64 { return s.air.CO2 }},
	{"udara", "temperature", false, func(s *scene) float64 { return s.air.Temperature }},
	{"udara", "humidity", false, func(s *scene) float64 { return min(s.air.Humidity, 99) }},
	{"udara", "pressure", false, func(s *scene) float64 { return s.air.Pressure }},
	{"bak", "distance", true, func(s *scene) float64 { return s.bin.Distance }},
	{"bak", "fill", true, func(s *scene) float64 { return s.bin.Fill }},
	{"meter", "voltage", false, func(s *scene) float64 { return s.load.Voltage }},
	{"meter", "current", false, func(s *scene) float64 { return s.load.Current }},
	{"meter", "power", false, func(s *scene) float64 { return s.load.Power }},
	{"meter", "energy", true, func(s *scene) float64 { return s.load.Energy }},
	{"meter", "frequency", false, func(s *scene) float64 { return s.load.Frequency }},
	{"meter", "power_factor", true, func(s *scene) float64 { return s.load.PowerFactor }},
}

// MaxReadings is how many readings a message can hold.
func MaxReadings() int { return len(layout) }

// station gives the values of one gateway.
type station struct {
	series  []series
	devices []span // of series, one a device
	site    world.Site
	at      int64 // Unix seconds of base
	base    []float64
}

// span is a part of a station's series.
type span struct {
	device   string
	from, to int
}

func newStation(w *world.World, name string, readings int) *station {
	s := &station{series: layout[:readings], site: w.Site(name), base: make([]float64, readings), at: math.MinInt64}
	for i, one := range s.series {
		if n := len(s.devices); n > 0 && s.devices[n-1].device == one.device {
			s.devices[n-1].to = i + 1
		} else {
			s.devices = append(s.devices, span{one.device, i, i + 1})
		}
	}
	return s
}

// definitions are the station's part of a birth; aliases start at first.
func (s *station) definitions(first uint64, interval time.Duration) []sparkplug.Definition {
	var out []sparkplug.Definition
	for i, one := range s.series {
		q, _ := telemetry.Lookup(one.quantity)
		out = append(out, sparkplug.Definition{
			Alias: first + uint64(i), Device: one.device, Quantity: one.quantity, Type: sparkplug.TypeDouble, Unit: q.Unit, Interval: interval,
		})
	}
	return out
}

// values appends one value a series: the world's of that second, to three
// decimals.
func (s *station) values(dst []float64, ms int64, number uint64) []float64 {
	if second := ms / 1000; second != s.at {
		t := time.UnixMilli(ms)
		c := scene{air: s.site.Air(t), bin: s.site.Bin(t), load: s.site.Load(t, world.Household)}
		for i := range s.series {
			s.base[i] = math.Round(s.series[i].value(&c)*1000) / 1000
		}
		s.at = second
	}
	for i := range s.series {
		v := s.base[i]
		if !s.series[i].exact {
			v = math.Round(v*1000+float64(number%64)) / 1000
		}
		dst = append(dst, v)
	}
	return dst
}
