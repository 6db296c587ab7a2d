package figures

import "github.com/pantau-id/pantau/internal/telemetry"

// MolarVolume is that of an ideal gas at 25 °C and 1 atm, in litres: the
// condition of PP 22/2021's standards.
const MolarVolume = 24.465

// molarMass in g/mol. Hydrocarbons are missing on purpose: without the declared
// calibration gas a ppm of them is no mass.
var molarMass = map[Parameter]float64{SO2: 64.066, CO: 28.010, O3: 47.998, NO2: 46.006}

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
