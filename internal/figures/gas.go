package figures

import (
	"maps"
	"slices"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// MolarVolume is that of an ideal gas at 25 °C and 1 atm, in litres: the
// condition of PP 22/2021's standards.
const MolarVolume = 24.465

// molarMass in g/mol. Hydrocarbons are missing on purpose: without the declared
// calibration gas a ppm of them is no mass.
var molarMass = map[Parameter]float64{SO2: 64.066, CO: 28.010, O3: 47.998, NO2: 46.006}

// calibrationGas are the gases in which hydrocarbon analysers are calibrated,
// in g/mol.
var calibrationGas = map[string]float64{"methane": 16.043, "propane": 44.097}

// CalibrationGases are the names by which Rules.HCGas knows them.
func CalibrationGases() []string { return slices.Sorted(maps.Keys(calibrationGas)) }

// quantitiesOf are the ways in which a parameter may be measured, best first.
func quantitiesOf(p Parameter) [3]string {
	return [3]string{string(p), string(p) + "_" + string(telemetry.PartPerBillion), string(p) + "_" + string(telemetry.PartPerMillion)}
}

// ParameterOf names the parameter that a quantity measures, whether or not it can
// be converted; ok is false for all that is none of the seven.
func ParameterOf(quantity string) (p Parameter, ok bool) {
	for _, p := range Parameters() {
		for _, q := range quantitiesOf(p) {
			if q == quantity {
				return p, true
			}
		}
	}
	return "", false
}

// hydrocarbon turns a hydrocarbon reading into µg/m³ of the declared calibration
// gas; ok is false without one.
func hydrocarbon(quantity string, value float64, gas string) (microgram float64, ok bool) {
	m, ok := calibrationGas[gas]
	switch quantity {
	case "hc_ppb":
		value *= m / MolarVolume
	case "hc_ppm":
		value *= 1000 * m / MolarVolume
	}
	return value, ok
}

// Concentration turns a stored quantity into µg/m³ of its parameter. Only what
// is exact by definition is converted: the gas quantities in ppb and ppm of the
// catalogue. CO2 is not CO, a NOx or VOC index is neither NO2 nor HC: the
// catalogue keeps them apart by name. ok is false for everything else.
func Concentration(quantity string, value float64) (p Parameter, microgram float64, ok bool) {
	for _, p := range Parameters() {
		m, gas := molarMass[p]
		switch quantity {
		case string(p):
			return p, value, true
		case string(p) + "_" + string(telemetry.PartPerBillion):
			return p, value * m / MolarVolume, gas
		case string(p) + "_" + string(telemetry.PartPerMillion):
			return p, value * 1000 * m / MolarVolume, gas
		}
	}
	return "", 0, false
}
