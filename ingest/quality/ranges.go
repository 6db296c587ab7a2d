package quality

// limits are inclusive bounds of what a quantity can physically be, or of what
// the instrument can say. Negative lower bounds of analysers are their detection
// limits: noise around zero is honest and enters means, below is rejected.
type limits struct {
	min, max float64
	source   string
}

// builtin ranges stand where no dated rule does.
var builtin = map[string]limits{
	"pm1":           {-5, 10000, "Met One BAM 1020 manual: range to 10 mg/m³, hourly detection limit 4.8 µg/m³; haze above 2,000 µg/m³ has been measured in Indonesia"},
	"pm2_5":         {-5, 10000, "as pm1"},
	"pm4":           {-5, 10000, "as pm1"},
	"pm10":          {-5, 10000, "as pm1"},
	"so2":           {-3, 26190, "UV fluorescence analyser 0-10 ppm, detection limit 1 ppb, at 2.619 µg/m³ per ppb"},
	"no2":           {-2, 37600, "chemiluminescence analyser 0-20 ppm, detection limit 1 ppb, at 1.880 µg/m³ per ppb"},
	"o3":            {-2, 19620, "UV photometer 0-10 ppm, detection limit 1 ppb, at 1.962 µg/m³ per ppb"},
	"co":            {-46, 1145000, "NDIR analyser 0-1,000 ppm, detection limit 0.04 ppm, at 1,145 µg/m³ per ppm"},
	"hc":            {-33, 656000, "FID analyser 0-1,000 ppm as methane, detection limit 0.05 ppm, at 656 µg/m³ per ppm"},
	"nmhc":          {-33, 656000, "as hc, of which it is a part"},
	"tsp":           {-5, 10000, "as pm1"},
	"pb":            {-5, 10000, "as tsp, of which it is a part"},
	"so2_ppb":       {-1, 10000, "as so2"},
	"no2_ppb":       {-1, 20000, "as no2"},
	"o3_ppb":        {-1, 10000, "as o3"},
	"co_ppb":        {-40, 1000000, "as co"},
	"hc_ppb":        {-50, 1000000, "as hc"},
	"co_ppm":        {-0.04, 1000, "as co"},
	"hc_ppm":        {-0.05, 1000, "as hc"},
	"co2":           {0, 40000, "Sensirion SCD4x datasheet: output range 0-40,000 ppm"},
	"particle_size": {0, 10, "Sensirion SPS30 datasheet: counts particles up to 10 µm"},
	"temperature":   {-40, 85, "Bosch BME280 datasheet: operating range -40…85 °C"},
	"humidity":      {0, 100, "relative humidity by definition"},
	"pressure":      {300, 1100, "Bosch BME280 datasheet: 300…1,100 hPa"},

	"distance": {0, 10000, "ultrasonic level sensors: A02YYUW 30-4,500 mm, the longest of its family 10 m"},
	"fill":     {0, 100, "by definition"},

	"voltage":       {0, 500, "Eastron SDM and PZEM-004T manuals: far above a 230 V network's worst fault"},
	"current":       {0, 10000, "current transformers of district substations"},
	"power":         {-5e6, 5e6, "three phases of 10 kA would be more: no metered site is"},
	"energy":        {0, 1e9, "meter registers end earlier"},
	"energy_export": {0, 1e9, "as energy"},
	"frequency":     {45, 65, "PZEM-004T v3 and SDM120 manuals: 45-65 Hz"},
	"power_factor":  {-1, 1, "by definition"},

	"ph":    {0, 14, "scale of pH electrodes"},
	"tss":   {0, 100000, "optical probes"},
	"cod":   {0, 100000, "UV-Vis probes"},
	"nh3_n": {0, 10000, "ion selective electrodes"},
	"flow":  {0, 1e6, "more than any outfall"},

	"cpu_temperature": {-40, 125, "junction temperatures of ARM systems on chip"},
	"under_voltage":   {0, 1, "a state"},
	"clock_quality":   {0, 3, "telemetry.TimeQuality"},
	"disk_free":       {0, 1e9, "megabytes"},
	"spool_depth":     {0, 1e12, "a count"},
	"uptime":          {0, 1e10, "seconds"},
}

// Floors are the lowest values that are taken where no dated rule says otherwise: of
// analysers minus their detection limits.
func Floors() map[string]float64 {
	out := make(map[string]float64, len(builtin))
	for quantity, l := range builtin {
		out[quantity] = l.min
	}
	return out
}
