package page

// catalogue is the one list of what pages say, in both languages. Keys are
// grouped by a prefix: layout, time, span, age; q (quantities), kind, flag, gap,
// loss, clock (quality of time), state; then the pages by name. Plain words that
// a technician reads without a manual; no text ends a sentence it did not begin.
var catalogue = merge(shared, staff, staffAir, settings, people, reports, programs, public)

func merge(parts ...map[Key]Text) map[Key]Text {
	all := map[Key]Text{}
	for _, part := range parts {
		for k, v := range part {
			all[k] = v
		}
	}
	return all
}

// shared is what the server's and the gateway's pages both say.
var shared = map[Key]Text{
	"layout.skip":      {"Langsung ke isi", "Skip to content"},
	"layout.nav":       {"Menu utama", "Main menu"},
	"layout.signed_in": {"Masuk sebagai", "Signed in as"},
	"layout.sign_out":  {"Keluar", "Sign out"},
	"layout.simulated": {"Simulasi: halaman ini memuat data tiruan, bukan hasil ukur di lapangan.", "Simulation: this page holds artificial data, not field measurements."},
	"layout.footer":    {"Waktu dalam WIB (UTC+7)", "Times in WIB (UTC+7)"},

	"time.moment": {"%s pukul %s WIB", "%s, %s WIB"},

	"span.second":  {"1 detik", "1 second"},
	"span.seconds": {"%s detik", "%s seconds"},
	"span.minute":  {"1 menit", "1 minute"},
	"span.minutes": {"%s menit", "%s minutes"},
	"span.hour":    {"1 jam", "1 hour"},
	"span.hours":   {"%s jam", "%s hours"},
	"span.day":     {"1 hari", "1 day"},
	"span.days":    {"%s hari", "%s days"},

	"age.now":   {"baru saja", "just now"},
	"age.ago":   {"%s yang lalu", "%s ago"},
	"age.ahead": {"%s di depan jam ini", "%s ahead of this clock"},

	"q.pm1":             {"PM1", "PM1"},
	"q.pm2_5":           {"PM2,5", "PM2.5"},
	"q.pm4":             {"PM4", "PM4"},
	"q.pm10":            {"PM10", "PM10"},
	"q.so2":             {"SO₂", "SO₂"},
	"q.co":              {"CO", "CO"},
	"q.o3":              {"O₃", "O₃"},
	"q.no2":             {"NO₂", "NO₂"},
	"q.hc":              {"HC", "HC"},
	"q.nmhc":            {"NMHC", "NMHC"},
	"q.tsp":             {"TSP (debu)", "TSP (dust)"},
	"q.pb":              {"Pb (timbal)", "Pb (lead)"},
	"q.so2_ppb":         {"SO₂", "SO₂"},
	"q.o3_ppb":          {"O₃", "O₃"},
	"q.no2_ppb":         {"NO₂", "NO₂"},
	"q.hc_ppb":          {"HC", "HC"},
	"q.co_ppb":          {"CO", "CO"},
	"q.co_ppm":          {"CO", "CO"},
	"q.hc_ppm":          {"HC", "HC"},
	"q.co2":             {"CO₂", "CO₂"},
	"q.particle_size":   {"Ukuran partikel", "Particle size"},
	"q.temperature":     {"Suhu", "Temperature"},
	"q.humidity":        {"Kelembapan", "Humidity"},
	"q.pressure":        {"Tekanan udara", "Air pressure"},
	"q.distance":        {"Jarak ke isi", "Distance to contents"},
	"q.fill":            {"Keterisian", "Fill level"},
	"q.voltage":         {"Tegangan", "Voltage"},
	"q.current":         {"Arus", "Current"},
	"q.power":           {"Daya", "Power"},
	"q.energy":          {"Energi", "Energy"},
	"q.energy_export":   {"Energi keluar", "Energy exported"},
	"q.frequency":       {"Frekuensi", "Frequency"},
	"q.power_factor":    {"Faktor daya", "Power factor"},
	"q.ph":              {"pH", "pH"},
	"q.tss":             {"TSS", "TSS"},
	"q.cod":             {"COD", "COD"},
	"q.nh3_n":           {"NH₃-N", "NH₃-N"},
	"q.flow":            {"Debit", "Flow"},
	"q.cpu_temperature": {"Suhu prosesor", "Processor temperature"},
	"q.under_voltage":   {"Tegangan catu kurang", "Supply under-voltage"},
	"q.clock_quality":   {"Mutu jam", "Clock quality"},
	"q.disk_free":       {"Sisa penyimpanan", "Storage free"},
	"q.spool_depth":     {"Antrean belum terkirim", "Queue not yet sent"},
	"q.uptime":          {"Menyala selama", "Running for"},

	"kind.air":     {"Udara", "Air"},
	"kind.waste":   {"Sampah", "Waste"},
	"kind.energy":  {"Energi", "Energy"},
	"kind.water":   {"Air limbah", "Effluent"},
	"kind.gateway": {"Gateway", "Gateway"},
	"kind.other":   {"Lainnya", "Other"},

	"flag.stuck":        {"nilai tidak bergerak", "value does not move"},
	"flag.warm_up":      {"sensor masih pemanasan", "sensor is warming up"},
	"flag.sensor_fault": {"sensor melaporkan kerusakan", "sensor reports a fault"},
	"flag.range":        {"di luar rentang yang mungkin", "outside the possible range"},
	"flag.time_future":  {"waktu di masa depan", "time in the future"},

	"gap.no_answer":  {"sensor tidak menjawab", "sensor does not answer"},
	"gap.checksum":   {"data rusak di kabel", "data damaged on the wire"},
	"gap.bus":        {"jalur data sensor bermasalah", "sensor bus failed"},
	"gap.timeout":    {"jawaban sensor terputus", "sensor's answer broke off"},
	"gap.not_ready":  {"sensor belum punya nilai baru", "sensor has no new value yet"},
	"gap.not_number": {"sensor mengirim bukan angka", "sensor sent no number"},
	"gap.protocol":   {"jawaban sensor tidak dikenal", "sensor's answer is not known"},
	"gap.unexpected": {"sebab lain, lihat log gateway", "another cause, see the gateway's log"},

	"loss.quota":      {"dibuang karena penyimpanan gateway penuh", "dropped because the gateway's storage was full"},
	"loss.quarantine": {"rusak di kartu penyimpanan gateway", "damaged on the gateway's card"},
	"loss.no_clock":   {"gateway tidak pernah mendapat waktu", "the gateway never got the time"},
	"loss.unreported": {"hilang tanpa laporan", "lost without a report"},

	"clock.none":   {"belum tersinkron", "not synchronised"},
	"clock.server": {"dari server", "from the server"},
	"clock.rtc":    {"dari jam baterai", "from the battery clock"},
	"clock.ntp":    {"tersinkron (NTP)", "synchronised (NTP)"},

	"state.unknown": {"belum diketahui", "not known yet"},
	"state.online":  {"tersambung", "online"},
	"state.offline": {"terputus", "offline"},
	"state.revoked": {"dicabut", "revoked"},

	"word.yes":       {"ya", "yes"},
	"word.no":        {"tidak", "no"},
	"word.simulated": {"simulasi", "simulated"},
}
