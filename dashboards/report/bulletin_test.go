//go:build !race

package report

import (
	"bytes"
	"fmt"
	"image/color"
	"image/png"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// letter is a bulletin of n stations, one of them without enough data, one beyond
// the table.
func letter(n int) Letter {
	at := time.Date(2026, 11, 26, 9, 0, 0, 0, page.WIB)
	b := figures.Bulletin{
		ID: "2026-11-26-0900", At: at, State: figures.Published, Number: "660.1/412/2026", Made: at.Add(10 * time.Minute), Published: at.Add(12 * time.Minute),
		Agency: figures.Agency{
			Name: "Dinas Lingkungan Hidup dan Kehutanan Provinsi Jawa Tengah", Address: "Jalan Setiabudi Nomor 201 B, Semarang 50263", Contact: "Telepon (024) 0000000 · dlhk@example.go.id",
			City: "Semarang", Signer: "Dr. Siti Rahmawati, S.T., M.Si.", NIP: "19700101 199503 2 001", Title: "Kepala Bidang Pengendalian Pencemaran",
		},
		By: "siti", Hash: strings.Repeat("0123456789abcdef", 4),
	}
	sites := map[string]places.Site{}
	for i := range n {
		code := fmt.Sprintf("smg-%d", i+1)
		sites[code] = places.Site{Code: code, Name: fmt.Sprintf("Stasiun %d", i+1), District: "3374", Class: places.Reference, Public: true}
		x := 8 + 37*float64(i)
		if i == 1 {
			x = 612.4
		}
		station, ok := figures.StationIndex(map[figures.Parameter]float64{figures.PM25: x, figures.PM10: x / 2}, figures.BreakpointsP14(), figures.Stepped)
		f := figures.Figure{ID: fmt.Sprintf("ispu-20261126-09-r0-%s", code), Kind: figures.Hourly, Site: code, End: at, OK: ok, Index: station, Status: figures.Provisional,
			Parts: []figures.Part{{Parameter: figures.PM25, Mean: x, Hours: 24, OK: true}}}
		if i == 2 {
			f.OK, f.Index = false, figures.Station{}
		}
		b.Figures = append(b.Figures, f)
	}
	return Letter{Bulletin: b, Sites: sites, BaseURL: "https://pantau.example.go.id", District: func(string) string { return "Kota Semarang" }}
}

// words are what a reader sees, in one line.
func words(t *testing.T, pdf []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "b.pdf")
	if err := os.WriteFile(file, pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", file, "-").Output()
	if err != nil {
		t.Fatalf("pdftotext (Debian: poppler-utils): %v", err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

func TestABulletinSaysWhatAnOfficerSigns(t *testing.T) {
	l := letter(7)
	pdf, err := l.PDF()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("PANTAU_PDF"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "bulletin.pdf"), pdf, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := words(t, pdf)
	for _, want := range []string{
		"DINAS LINGKUNGAN HIDUP", "BULETIN KUALITAS UDARA", "Nomor: 660.1/412/2026",
		"Kamis tanggal dua puluh enam bulan November tahun dua ribu dua puluh enam (26 November 2026), pukul 09.00 WIB",
		"Stasiun 1, Kota Semarang", "di atas 500", "(612,4 µg/m³)", "data tidak cukup", "2 dari 7", "Berbahaya", "Tidak Sehat", "PM2,5",
		"Semua orang", "NIP 19700101 199503 2 001", "Dr. Siti Rahmawati", "sementara",
		"https://pantau.example.go.id/buletin/2026-11-26-0900", "01234567 89abcdef", "halaman 1 dari",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the bulletin lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "SIMULASI") {
		t.Error("a measured bulletin calls itself simulated")
	}
}

func TestTheSameBulletinGivesTheSameBytes(t *testing.T) {
	l := letter(7)
	l.Bulletin.Simulated = true
	first, err := l.PDF()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := l.PDF()
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("other bytes, %v", err)
		}
	}
	l.Bulletin.Figures[0].Index.Value++
	if other, err := l.PDF(); err != nil || bytes.Equal(first, other) {
		t.Errorf("another bulletin, the same bytes, %v", err)
	}
}

func TestARevisionSaysWhatChanged(t *testing.T) {
	l := letter(30)
	b := &l.Bulletin
	b.Revision, b.Reason, b.Simulated = 2, figures.LateData, true
	before := b.Figures[0]
	before.Index.Value, before.Index.Category = 144, figures.TidakSehat
	b.Changes = []figures.Change{{Site: "smg-1", Before: before, After: b.Figures[0], Reason: figures.LateData}}
	pdf, err := l.PDF()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("PANTAU_PDF"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "revision.pdf"), pdf, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := words(t, pdf)
	for _, want := range []string{"Revisi R2", "data terlambat tiba", "144 · Tidak Sehat", "SIMULASI", "Grafik memuat 20 stasiun", "halaman 2 dari 2"} {
		if !strings.Contains(got, want) {
			t.Errorf("the revision lacks %q:\n%s", want, got)
		}
	}
}

func TestNamesOnPaperStayText(t *testing.T) {
	l := letter(3)
	s := l.Sites["smg-1"]
	s.Name = "=HYPERLINK(\"http://x\") \u202Efdp.evil \x00 😀 محطة {total} " + strings.Repeat("panjang ", 40)
	l.Sites["smg-1"] = s
	l.Bulletin.Agency.Signer = "(/JS) \u202e"
	l.Bulletin.Figures[0].Index.Exact = math.NaN()
	pdf, err := l.PDF()
	if err != nil {
		t.Fatal(err)
	}
	got := words(t, pdf)
	if !strings.Contains(got, "=HYPERLINK(") || strings.ContainsAny(got, "\u202e\x00") {
		t.Errorf("the name came out as:\n%s", got)
	}
	if bytes.Contains(pdf, []byte("/URI")) || bytes.Contains(pdf, []byte("/JavaScript")) {
		t.Error("a name became something to click")
	}
}

func TestABulletinSpeaksInTheAgencysColoursAndWords(t *testing.T) {
	l := letter(7)
	l.Categories = category.Settings{
		Swatches: [5]string{"#34cc33", "#0070c0", "#ffc100", "#fe0100", "#010203"}, Source: "Permen Contoh 1/2026",
		Advice: map[string]category.Advice{"berbahaya": {Sensitive: page.Text{ID: "Kata resmi satu."}, Everyone: page.Text{ID: "Kata resmi dua."}}},
	}
	pdf, err := l.PDF()
	if err != nil {
		t.Fatal(err)
	}
	if dir := os.Getenv("PANTAU_PDF"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "settings.pdf"), pdf, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := words(t, pdf)
	for _, want := range []string{"Kata resmi satu. Semua orang: Kata resmi dua.", "Sumber: Permen Contoh 1/2026", "bukan kutipan resmi"} { // of the other categories
		if !strings.Contains(got, want) {
			t.Errorf("the bulletin lacks %q:\n%s", want, got)
		}
	}
	colours := seen(t, pdf)
	for _, own := range []color.RGBA{{0x34, 0xcc, 0x33, 0xff}, {0xff, 0xc1, 0x00, 0xff}, {0xfe, 0x01, 0x00, 0xff}, {0x01, 0x02, 0x03, 0xff}} {
		if colours[own] == 0 {
			t.Errorf("nothing is %v", own)
		}
	}
	if colours[color.RGBA{0x00, 0xcc, 0x00, 0xff}] > 0 {
		t.Error("the ministry's green is still there")
	}
}

// seen counts the pixels of a letter's pages by colour.
func seen(t *testing.T, pdf []byte) map[color.RGBA]int {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "b.pdf"), pdf, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "pdftoppm", "-png", "-r", "60", filepath.Join(dir, "b.pdf"), filepath.Join(dir, "p")).CombinedOutput(); err != nil {
		t.Fatalf("pdftoppm (Debian: poppler-utils): %v %s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "p*.png"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	out := map[color.RGBA]int{}
	for _, name := range pages {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(f)
		if closed := f.Close(); err != nil || closed != nil {
			t.Fatal(err, closed)
		}
		for y := range m.Bounds().Dy() {
			for x := range m.Bounds().Dx() {
				r, g, b, _ := m.At(x, y).RGBA()
				out[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0xff}]++
			}
		}
	}
	return out
}

func TestDatesInWords(t *testing.T) {
	for n, want := range map[int]string{1: "satu", 11: "sebelas", 12: "dua belas", 20: "dua puluh", 31: "tiga puluh satu", 100: "seratus", 110: "seratus sepuluh",
		1000: "seribu", 1945: "seribu sembilan ratus empat puluh lima", 2026: "dua ribu dua puluh enam", 2100: "dua ribu seratus"} {
		if got := Words(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
