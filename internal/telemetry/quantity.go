package telemetry

import (
	"maps"
	"slices"
	"strings"
)

// Kind groups quantities by purpose; it is the measurement's name in the
// database.
type Kind string

// The kinds. KindOther takes what the catalogue does not know.
const (
	KindAir     Kind = "air"
	KindWaste   Kind = "waste"
	KindEnergy  Kind = "energy"
	KindWater   Kind = "water"
	KindGateway Kind = "gateway"
	KindOther   Kind = "other"
)

// Kinds lists all kinds in the order pages show them.
func Kinds() []Kind {
	return []Kind{KindAir, KindWaste, KindEnergy, KindWater, KindGateway, KindOther}
}

// Unit is a unit of measure as people read it (UTF-8, SI).
type Unit string

// The units of the catalogue.
const (
	MicrogramPerCubicMetre Unit = "µg/m³"
	PartPerBillion         Unit = "ppb"
	PartPerMillion         Unit = "ppm"
	DegreeCelsius          Unit = "°C"
	Percent                Unit = "%"
	Hectopascal            Unit = "hPa"
	Micrometre             Unit = "µm"
	Millimetre             Unit = "mm"
	Volt                   Unit = "V"
	Ampere                 Unit = "A"
	Watt                   Unit = "W"
	KilowattHour           Unit = "kWh"
	Hertz                  Unit = "Hz"
	Second                 Unit = "s"
	Megabyte               Unit = "MB"
	MilligramPerLitre      Unit = "mg/L"
	LitrePerSecond         Unit = "L/s"
	One                    Unit = "1"
	Unknown                Unit = ""
)

// Aggregation says how samples of a quantity become one value of a longer span.
type Aggregation uint8

// The aggregations.
const (
	AggMean     Aggregation = iota // arithmetic mean, with count, minimum, maximum
	AggLast                        // the newest value: states, texts
	AggCounter                     // first, last, increase; a fall is a reset
	AggSum                         // sum of amounts
	AggCircular                    // mean of directions, in degrees
)

// String names the aggregation.
func (a Aggregation) String() string {
	return [...]string{"mean", "last", "counter", "sum", "circular"}[a]
}

// Quantity is what is measured, in one unit, aggregated in one way. Name is
// the field's name in the database and the metric's name on the wire.
type Quantity struct {
	Name string
	Kind Kind
	Unit Unit
	Agg  Aggregation
}

// catalogue is the one list of known quantities.
var catalogue = func() map[string]Quantity {
	m := map[string]Quantity{}
	add := func(k Kind, u Unit, a Aggregation, names ...string) {
		for _, n := range names {
			m[n] = Quantity{Name: n, Kind: k, Unit: u, Agg: a}
		}
	}
	add(KindAir, MicrogramPerCubicMetre, AggMean, "pm1", "pm2_5", "pm4", "pm10", "so2", "co", "o3", "no2", "hc")
	add(KindAir, MicrogramPerCubicMetre, AggMean, "nmhc", "tsp", "pb") // PP 22/2021 bounds them; they have no index
	add(KindAir, PartPerBillion, AggMean, "so2_ppb", "o3_ppb", "no2_ppb", "hc_ppb", "co_ppb")
	add(KindAir, PartPerMillion, AggMean, "co_ppm", "hc_ppm", "co2")
	add(KindAir, Micrometre, AggMean, "particle_size")
	add(KindAir, DegreeCelsius, AggMean, "temperature")
	add(KindAir, Percent, AggMean, "humidity")
	add(KindAir, Hectopascal, AggMean, "pressure")
	add(KindWaste, Millimetre, AggMean, "distance")
	add(KindWaste, Percent, AggMean, "fill")
	add(KindEnergy, Volt, AggMean, "voltage")
	add(KindEnergy, Ampere, AggMean, "current")
	add(KindEnergy, Watt, AggMean, "power")
	add(KindEnergy, KilowattHour, AggCounter, "energy", "energy_export")
	add(KindEnergy, Hertz, AggMean, "frequency")
	add(KindEnergy, One, AggMean, "power_factor")
	add(KindWater, One, AggMean, "ph")
	add(KindWater, MilligramPerLitre, AggMean, "tss", "cod", "nh3_n")
	add(KindWater, LitrePerSecond, AggMean, "flow")
	add(KindGateway, DegreeCelsius, AggMean, "cpu_temperature")
	add(KindGateway, One, AggLast, "under_voltage", "clock_quality")
	add(KindGateway, Megabyte, AggLast, "disk_free")
	add(KindGateway, One, AggLast, "spool_depth")
	add(KindGateway, Second, AggLast, "uptime")
	return m
}()

// Lookup finds a quantity of the catalogue by its exact name.
func Lookup(name string) (Quantity, bool) {
	q, ok := catalogue[name]
	return q, ok
}

// Names lists the catalogue's quantity names, sorted.
func Names() []string { return slices.Sorted(maps.Keys(catalogue)) }

// aliases are names that other makers use; the key is folded.
var aliases = map[string]string{
	"pm25": "pm2_5", "pm2.5": "pm2_5", "pm1.0": "pm1", "temp": "temperature",
	"rh": "humidity", "ozone": "o3",
}

// units are spellings that other makers use; the key is folded.
var units = map[string]Unit{
	"ug/m3": MicrogramPerCubicMetre, "µg/m3": MicrogramPerCubicMetre, "μg/m³": MicrogramPerCubicMetre,
	"ug/m³": MicrogramPerCubicMetre, "µg/m³": MicrogramPerCubicMetre, "μg/m3": MicrogramPerCubicMetre,
	"ppb": PartPerBillion, "ppm": PartPerMillion, "c": DegreeCelsius, "°c": DegreeCelsius, "degc": DegreeCelsius,
	"%": Percent, "%rh": Percent, "hpa": Hectopascal, "mm": Millimetre, "v": Volt, "a": Ampere, "w": Watt,
	"kwh": KilowattHour, "hz": Hertz, "s": Second, "mb": Megabyte, "mg/l": MilligramPerLitre, "l/s": LitrePerSecond,
	"1": One, "": Unknown, "µm": Micrometre, "um": Micrometre,
}

// ParseUnit recognises the usual spellings of a unit; an unknown one is kept as
// it is and never converted.
func ParseUnit(s string) Unit {
	if u, ok := units[strings.ToLower(strings.TrimSpace(s))]; ok {
		return u
	}
	return Unit(strings.TrimSpace(s))
}

// Match finds the catalogue's quantity for a foreign metric name and unit. A
// gas in ppb or ppm becomes its own quantity (so2 in ppb is so2_ppb): values
// are never converted on the way in. A unit that does not fit is no match, so
// that a value never stands under a unit it does not have; an absent unit fits
// only the exact catalogue name. Nothing is guessed: CO2 is not CO, a VOC index
// is not HC.
func Match(name string, unit Unit) (Quantity, bool) {
	q, ok := catalogue[name]
	if ok && (unit == Unknown || unit == q.Unit) {
		return q, true
	}
	folded := strings.ToLower(strings.TrimSpace(name))
	if a, ok := aliases[folded]; ok {
		folded = a
	}
	if unit == PartPerBillion || unit == PartPerMillion {
		if q, ok := catalogue[folded+"_"+string(unit)]; ok && q.Unit == unit {
			return q, true
		}
	}
	q, ok = catalogue[folded]
	return q, ok && unit == q.Unit
}
