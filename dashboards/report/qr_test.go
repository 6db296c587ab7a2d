//go:build !race

package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The QR code on paper leads to the bulletin's page: what a phone would read from the
// printed sheet.
func TestTheQRCodeLeadsToTheBulletin(t *testing.T) {
	for _, n := range []int{3, 30} { // one page, and several
		l := letter(n)
		pdf, err := l.PDF()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		file := filepath.Join(dir, "b.pdf")
		if err := os.WriteFile(file, pdf, 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.CommandContext(t.Context(), "pdftoppm", "-gray", "-png", "-r", "150", file, filepath.Join(dir, "p")).CombinedOutput(); err != nil {
			t.Fatalf("pdftoppm (Debian: poppler-utils): %v %s", err, said)
		}
		pages, err := filepath.Glob(filepath.Join(dir, "p*.png"))
		if err != nil || len(pages) == 0 {
			t.Fatalf("no pages: %v", err)
		}
		said, err := exec.CommandContext(t.Context(), "zbarimg", "--raw", "--quiet", pages[len(pages)-1]).Output()
		if err != nil {
			t.Fatalf("zbarimg (Debian: zbar-tools) on the last of %d pages: %v", len(pages), err)
		}
		if got, want := strings.TrimSpace(string(said)), "https://pantau.example.go.id/buletin/2026-11-26-0900"; got != want {
			t.Errorf("the code on the last of %d pages says %q, want %q", len(pages), got, want)
		}
	}
}
