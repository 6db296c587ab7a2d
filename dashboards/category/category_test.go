package category_test

import (
	"strings"
	"testing"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

func TestOurWordsNeverPassForOfficialOnes(t *testing.T) {
	s := category.Settings{
		Source: "Permen Contoh 1/2026",
		Advice: map[string]category.Advice{"sedang": {Sensitive: page.Text{ID: "Kata resmi"}, Everyone: page.Text{ID: "Untuk semua", EN: "For all"}}},
	}
	if a, b, source := s.Advise(page.English, figures.Sedang); a != "Kata resmi" || b != "For all" || !strings.Contains(source, "Permen Contoh 1/2026") {
		t.Errorf("official words: %q, %q, %q", a, b, source)
	}
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		if c == figures.Sedang {
			continue
		}
		if a, b, source := s.Advise(page.Indonesian, c); a == "" || b == "" || !strings.Contains(source, "bukan kutipan resmi") || strings.Contains(source, "Permen") {
			t.Errorf("our words for %v: %q, %q, %q", c, a, b, source)
		}
	}
}

func TestSettingsThatCannotBeUsedAreNamed(t *testing.T) {
	for want, s := range map[string]category.Settings{
		"":                 {},
		`swatch "red;}"`:   {Swatches: [5]string{"#34cc33", "#0070c0", "red;}", "#ff0000", "#000000"}},
		`swatch ""`:        {Swatches: [5]string{"#34cc33"}},
		"want one of baik": {Advice: map[string]category.Advice{"buruk": {}}},
	} {
		if err := s.Check(); (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("want an error that says %q, got %v", want, err)
		}
	}
	own := category.Settings{Swatches: [5]string{"#34cc33", "#0070c0", "#ffc100", "#ff0000", "#000000"}}
	if (category.Settings{}).Swatch(figures.Baik) != "#00cc00" || own.Swatch(figures.SangatTidakSehat) != "#ff0000" {
		t.Error("a category has another's colour")
	}
}

func TestEveryColourHasAnInkThatStandsOut(t *testing.T) {
	own := category.Settings{Swatches: [5]string{"#34cc33", "#0070c0", "#ffc100", "#ff0000", "#000000"}}
	const want = ":root { --cat-1: #34cc33; --ink-1: #000; --cat-2: #0070c0; --ink-2: #fff; --cat-3: #ffc100; --ink-3: #000; --cat-4: #ff0000; --ink-4: #000; --cat-5: #000000; --ink-5: #fff; }\n"
	if got := string(own.Style()); got != want {
		t.Errorf("%s", got)
	}
}
