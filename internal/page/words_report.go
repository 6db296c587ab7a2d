package page

// reports is what the files say that people take away. Bulletins are letters of
// the agency: they are written in Indonesian; the English texts serve whoever
// reads the catalogue.
var reports = map[Key]Text{
	"bulletin.title":    {"BULETIN KUALITAS UDARA", "AIR QUALITY BULLETIN"},
	"bulletin.subtitle": {"Indeks Standar Pencemar Udara (ISPU)", "Indonesian air pollution index (ISPU)"},
	"bulletin.number":   {"Nomor: %s", "Number: %s"},
	"bulletin.revision": {"Revisi R%s", "Revision R%s"},
	"bulletin.opening": {
		"Pada hari ini, %s tanggal %s bulan %s tahun %s (%s), pukul %s WIB, disampaikan ISPU stasiun pemantauan kualitas udara di Provinsi Jawa Tengah. Setiap indeks dihitung dari rata-rata 24 jam sampai pukul tersebut menurut Permen LHK Nomor P.14/MENLHK/SETJEN/KUM.1/7/2020.",
		"Today, %s the %s of %s of the year %s (%s), at %s WIB, the ISPU of the air monitoring stations in the province of Jawa Tengah is as follows. Each index is computed from the mean of the 24 hours up to that time by Permen LHK Nomor P.14/MENLHK/SETJEN/KUM.1/7/2020.",
	},
	"bulletin.station":  {"Stasiun", "Station"},
	"bulletin.class":    {"Kelas", "Class"},
	"bulletin.index":    {"ISPU", "ISPU"},
	"bulletin.category": {"Kategori", "Category"},
	"bulletin.dominant": {"Dominan", "Dominant"},
	"bulletin.judged":   {"Parameter", "Parameters"},
	"bulletin.of_seven": {"%s dari 7", "%s of 7"},
	"bulletin.no_data":  {"data tidak cukup", "too little data"},
	"bulletin.above":    {"di atas 500 (%s\u00a0µg/m³)", "above 500 (%s\u00a0µg/m³)"},
	"bulletin.none":     {"Tidak ada stasiun yang menghasilkan ISPU pada jam ini.", "No station yields an ISPU at this hour."},
	"bulletin.counts":   {"Ringkasan: %s.", "Summary: %s."},
	"bulletin.chart":    {"ISPU menurut stasiun", "ISPU by station"},
	"bulletin.charted":  {"Grafik memuat %s stasiun dengan indeks tertinggi.", "The chart holds the %s stations with the highest index."},
	"bulletin.advice":   {"Anjuran", "Advice"},
	"bulletin.provisional": {
		"Status: sementara. Angka dapat berubah bila data terlambat atau hasil validasi masuk; perubahan terbit sebagai revisi bernomor (R1, R2, …) dengan sebab dan selisihnya.",
		"Status: provisional. Figures may change when late data or a validation come in; a change is published as a numbered revision (R1, R2, …) with its reason and difference.",
	},
	"bulletin.validated": {"Status: tervalidasi.", "Status: validated."},
	"bulletin.corrects": {
		"Revisi R%s ini menggantikan terbitan sebelumnya. Sebab: %s. Yang berubah:",
		"This revision R%s replaces what was published before. Reason: %s. What changed:",
	},
	"bulletin.before":      {"Sebelumnya", "Before"},
	"bulletin.after":       {"Menjadi", "Now"},
	"bulletin.reason":      {"Sebab", "Reason"},
	"bulletin.simulated":   {"SIMULASI: buletin ini memuat data tiruan, bukan hasil ukur di lapangan.", "SIMULATION: this bulletin holds artificial data, not field measurements."},
	"bulletin.mark":        {"SIMULASI", "SIMULATION"},
	"bulletin.verify":      {"Pindai untuk melihat revisi terbaru dan mencocokkan sidik dokumen ini:", "Scan to see the newest revision and to compare this document's fingerprint:"},
	"bulletin.fingerprint": {"Sidik (SHA-256): %s", "Fingerprint (SHA-256): %s"},
	"bulletin.automatic":   {"Terbit otomatis menurut jadwal.", "Published by schedule."},
	"bulletin.page":        {"Buletin %s · R%s · halaman {current} dari {total}", "Bulletin %s · R%s · page {current} of {total}"},
	"bulletin.nip":         {"NIP %s", "NIP %s"},

	"revision.late_data":  {"data terlambat tiba", "data came late"},
	"revision.validation": {"hasil validasi", "validation"},
	"revision.deployment": {"perubahan penempatan sensor", "change of a sensor's deployment"},
	"revision.rules":      {"perubahan aturan perhitungan", "change of the rules of computation"},

	"data.licence": {
		"Data boleh dipakai, disalin, dan diolah untuk tujuan apa pun menurut lisensi %s, dengan menyebut dinas penerbitnya. Data bertanda simulated bukan hasil ukur.",
		"The data may be used, copied and adapted for any purpose under %s, if the publishing agency is named. Data marked simulated are not measurements.",
	},

	"export.title":         {"Unduh data", "Download data"},
	"export.lead":          {"Semua besaran lokasi ini yang boleh Anda lihat, dengan tanda mutu, status, dan revisinya. Bacaan satuan paling banyak 31 hari, jam 2 tahun.", "All quantities of this site that you may see, with flags, status and revision. Single readings for at most 31 days, hours for 2 years."},
	"export.from":          {"Dari tanggal", "From day"},
	"export.to":            {"Sampai tanggal", "To day"},
	"export.resolution":    {"Rincian", "Resolution"},
	"export.hour":          {"rata-rata jam", "hourly means"},
	"export.day":           {"rata-rata hari", "daily means"},
	"export.raw":           {"bacaan satuan", "single readings"},
	"export.format":        {"Bentuk berkas", "File format"},
	"export.submit":        {"Unduh", "Download"},
	"export.api":           {"Untuk program", "For programs"},
	"export.api_lead":      {"Angka pada grafik di atas lewat antarmuka baca (JSON; &format=csv untuk CSV):", "The figures of the charts above by the read interface (JSON; &format=csv for CSV):"},
	"export.api_reference": {"Tentang antarmuka ini", "About this interface"},
	"export.wrong":         {"Pilihan unduhan tidak dapat dipenuhi", "The download cannot be made"},
	"export.wrong.lead":    {"Isi kedua tanggal, yang awal tidak setelah yang akhir. Bacaan satuan paling banyak 31 hari, jam 2 tahun, hari 20 tahun.", "Fill in both days, the first not after the last. Single readings for at most 31 days, hours for 2 years, days for 20 years."},
}
