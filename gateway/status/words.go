package status

import (
	"fmt"
	"strings"

	"github.com/pantau-id/pantau/internal/page"
)

// words are the texts of this page alone; what other pages say too comes from
// page's catalogue. "step." is what is missing, "do." what to do about it; %s in
// both stands for the step's subject.
var words = map[string]page.Text{
	"title": {ID: "Keadaan gateway", EN: "Gateway status"},

	"works":  {ID: "Gateway ini bekerja", EN: "This gateway works"},
	"danger": {ID: "Ada data yang tidak terambil atau terancam hilang", EN: "Readings are missing or in danger"},
	"almost": {ID: "Data terambil, tetapi ada yang belum lengkap", EN: "Readings are taken, but something is missing"},
	"stuck":  {ID: "Program berhenti bergerak: nyalakan ulang gateway dan simpan lognya", EN: "The program makes no progress: restart the gateway and keep its log"},

	"todo":     {ID: "Yang perlu dikerjakan", EN: "What to do"},
	"sensors":  {ID: "Sensor", EN: "Sensors"},
	"nothing":  {ID: "Belum ada sensor.", EN: "No sensors yet."},
	"quantity": {ID: "Besaran", EN: "Quantity"},
	"value":    {ID: "Nilai", EN: "Value"},
	"age":      {ID: "Umur", EN: "Age"},
	"state":    {ID: "Keadaan", EN: "State"},
	"good":     {ID: "baik", EN: "good"},
	"waiting":  {ID: "menunggu nilai pertama", EN: "waiting for the first value"},
	"every":    {ID: "diambil tiap %s, dikirim tiap %s", EN: "sampled every %s, sent every %s"},
	"tries":    {ID: "%s kali dibaca, %s gagal", EN: "read %s times, %s failed"},
	"health":   {ID: "Gateway", EN: "Gateway"},

	"uplink":      {ID: "Hubungan ke server", EN: "Link to the server"},
	"server":      {ID: "Server", EN: "Server"},
	"none":        {ID: "belum ada", EN: "none"},
	"connected":   {ID: "tersambung", EN: "connected"},
	"cut":         {ID: "terputus", EN: "not connected"},
	"retry":       {ID: "Dicoba lagi", EN: "Next attempt"},
	"cause":       {ID: "Sebab", EN: "Cause"},
	"lastack":     {ID: "Terakhir diterima server", EN: "Last taken by the server"},
	"never":       {ID: "belum pernah", EN: "never"},
	"certificate": {ID: "Sertifikat berlaku sampai", EN: "Certificate valid until"},

	"spool":       {ID: "Antrean di kartu", EN: "Queue on the card"},
	"waitingsend": {ID: "Belum terkirim", EN: "Not yet sent"},
	"records":     {ID: "%s catatan", EN: "%s records"},
	"oldest":      {ID: "Tertua", EN: "Oldest"},
	"used":        {ID: "Terpakai", EN: "In use"},
	"of":          {ID: "%s dari %s", EN: "%s of %s"},
	"lost":        {ID: "Hilang sejak menyala", EN: "Lost since start"},
	"lostline":    {ID: "%s karena penuh, %s karena kartu rusak, %s karena tanpa waktu", EN: "%s for want of room, %s for a damaged card, %s for want of time"},

	"clock":      {ID: "Jam", EN: "Clock"},
	"quality":    {ID: "Mutu", EN: "Quality"},
	"now":        {ID: "Waktu gateway ini", EN: "This gateway's time"},
	"running":    {ID: "Program menyala selama", EN: "Program running for"},
	"data":       {ID: "Folder data", EN: "Data folder"},
	"config":     {ID: "Berkas pengaturan", EN: "Settings file"},
	"noconfig":   {ID: "tidak ada; bus sensor dipindai sendiri", EN: "none; the buses are scanned"},
	"simulated":  {ID: "Sensor di gateway ini adalah simulasi.", EN: "The sensors of this gateway are simulated."},
	"unresolved": {ID: "%s di antaranya menunggu waktu yang benar", EN: "%s of them wait for the right time"},

	"step.claim": {ID: "Gateway ini belum terdaftar di server", EN: "This gateway is not registered with a server"},
	"do.claim": {
		ID: "Minta kode klaim dari kantor (perintah “pantau gateway add”), lalu jalankan perintah ini di gateway. Sambil menunggu, data tetap diambil dan disimpan.",
		EN: "Ask the office for a claim code (“pantau gateway add”), then run this on the gateway. Meanwhile readings are taken and kept.",
	},
	"step.server": {ID: "Alamat server belum diisi", EN: "No server is set"},
	"do.server": {
		ID: "Isi [uplink] server di berkas pengaturan, misalnya mqtts://pantau.example.go.id:8883, lalu nyalakan ulang.",
		EN: "Set [uplink] server in the settings file, for example mqtts://pantau.example.go.id:8883, and restart.",
	},
	"step.identity": {ID: "Kunci atau sertifikat gateway tidak dapat dipakai", EN: "The gateway's key or certificate is not usable"},
	"do.identity": {
		ID: "Periksa berkasnya, atau minta kode klaim baru dan jalankan perintah ini.",
		EN: "Check the files, or ask for a new claim code and run this.",
	},
	"step.expired": {ID: "Sertifikat gateway sudah lewat masa berlakunya", EN: "The gateway's certificate has expired"},
	"do.expired": {
		ID: "Gateway memperbaruinya sendiri begitu server terjangkau. Bila pesan ini tetap ada, minta kode klaim baru.",
		EN: "The gateway renews it by itself once it reaches the server. If this stays, ask for a new claim code.",
	},
	"step.renew": {ID: "Sertifikat gateway perlu diperbarui", EN: "The gateway's certificate needs a new one"},
	"do.renew": {
		ID: "Sertifikat ini ditandatangani otoritas lain dan tidak diperbarui sendiri. Buat permintaan dengan perintah ini, minta tanda tangan, daftarkan di server (“pantau gateway admit”), lalu pasang dengan “pantau-gateway certificate”.",
		EN: "Another authority signed it, so it does not renew itself. Make a request with this, have it signed, register it on the server (“pantau gateway admit”), then install it with “pantau-gateway certificate”.",
	},
	"step.settings": {ID: "Berkas pengaturan tidak dapat dipakai", EN: "The settings file is not usable"},
	"do.settings": {
		ID: "Gateway berjalan dengan pengaturan terakhir yang benar. Perbaiki berkasnya, periksa dengan perintah ini, lalu nyalakan ulang.",
		EN: "The gateway runs with the last good settings. Mend the file, check it with this, and restart.",
	},
	"step.nosensor": {ID: "Tidak ada sensor yang ditemukan", EN: "No sensor was found"},
	"do.nosensor": {
		ID: "Periksa kabel dan catu daya sensor; bus dipindai lagi setiap menit. Bila bus belum aktif di Raspberry Pi, aktifkan I2C atau serial dengan raspi-config.",
		EN: "Check the sensors' wires and supply; the buses are scanned again every minute. If a bus is off on the Raspberry Pi, turn I2C or serial on with raspi-config.",
	},
	"step.sensor": {ID: "Sensor %s tidak memberi data", EN: "Sensor %s gives no data"},
	"do.sensor": {
		ID: "Periksa kabel, catu daya dan alamatnya. Gateway terus mencoba; tidak perlu dinyalakan ulang.",
		EN: "Check its wires, supply and address. The gateway keeps trying; no restart is needed.",
	},
	"step.flagged": {ID: "Nilai sensor %s ditandai tidak sah", EN: "Values of sensor %s are flagged"},
	"do.flagged": {
		ID: "Nilai yang ditandai disimpan, tetapi tidak dipakai. Bila tetap begitu lebih dari beberapa menit, bersihkan atau ganti sensornya.",
		EN: "Flagged values are kept but not used. If this lasts more than a few minutes, clean or replace the sensor.",
	},
	"step.link": {ID: "Server tidak terjangkau", EN: "The server can't be reached"},
	"do.link": {
		ID: "Periksa jaringan dan alamat server. Data tetap diambil dan disimpan, dan dikirim setelah tersambung.",
		EN: "Check the network and the server's address. Readings are taken and kept, and sent once connected.",
	},
	"step.clock": {ID: "Waktu belum diketahui", EN: "The time is not known"},
	"do.clock": {
		ID: "Sambungkan gateway ke jaringan: waktu datang dari NTP atau dari server. Data disimpan dan diberi waktu setelahnya.",
		EN: "Connect the gateway to the network: time comes by NTP or from the server. Readings are kept and get their time afterwards.",
	},
	"step.full": {ID: "Penyimpanan antrean penuh", EN: "The queue's storage is full"},
	"do.full": {
		ID: "Sambungkan ke server agar antrean terkirim, atau perbesar [spool] quota. Data yang tidak tertampung dilaporkan hilang.",
		EN: "Connect to the server so that the queue drains, or raise [spool] quota. What finds no room is reported as lost.",
	},
	"step.disk": {ID: "Kartu penyimpanan bermasalah", EN: "The card fails"},
	"do.disk": {
		ID: "Cadangkan folder data, ganti kartu, lalu pasang kembali.",
		EN: "Save the data folder, replace the card and put it back.",
	},
	"step.voltage": {ID: "Tegangan catu gateway kurang", EN: "The gateway's supply voltage is too low"},
	"do.voltage": {
		ID: "Ganti adaptor atau kabel catu dengan yang lebih kuat.",
		EN: "Use a stronger power supply or a shorter, thicker cable.",
	},
}

// say returns a text of this page, or of page's catalogue. args beyond a text's
// verbs are left out.
func say(l page.Lang, key string, args ...any) string {
	text, ok := words[key]
	if !ok {
		return l.T(page.Key(key), args...)
	}
	s := text.ID
	if l == page.English {
		s = text.EN
	}
	if n := strings.Count(s, "%s"); n < len(args) {
		args = args[:n]
	}
	if len(args) == 0 {
		return s
	}
	return fmt.Sprintf(s, args...)
}

func megabytes(l page.Lang, n int64) string {
	return l.Number(float64(n)/1e6, 1) + " MB"
}
