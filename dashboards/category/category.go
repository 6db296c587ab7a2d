// Package category says how a category of the air index is shown: in which colour,
// and with which advice.
//
// It promises one answer for pages, pictures and letters: an installation's own
// settings, else the ministry's colours and words of our own that never pass for
// official ones.
package category

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// Settings are what an agency may set. The zero value is the default.
type Settings struct {
	Swatches [5]string         // colours from Baik to Berbahaya, #rrggbb; zero = Ministry
	Advice   map[string]Advice // official words, by Name; without an entry: ours
	Source   string            // of the official words
}

// Advice is what to do in one category. The English words may be missing.
type Advice struct {
	Sensitive, Everyone page.Text
}

// Ministry are the ministry's colours of the five categories.
var Ministry = [5]string{"#00cc00", "#0000cc", "#cccc00", "#cc0000", "#000000"}

var names = [...]string{"tidak-dinilai", "baik", "sedang", "tidak-sehat", "sangat-tidak-sehat", "berbahaya"}

// Name is a category's in settings and in the catalogue's keys.
func Name(c figures.Category) string { return names[c] }

// Word is what a category is called.
func Word(l page.Lang, c figures.Category) string { return l.T(page.Key("ispu." + Name(c))) }

// Check reports the first setting that cannot be used.
func (s Settings) Check() error {
	if s.Swatches != [5]string{} {
		for _, colour := range s.Swatches {
			if len(colour) != 7 || colour[0] != '#' || strings.Trim(colour[1:], "0123456789abcdefABCDEF") != "" {
				return fmt.Errorf("swatch %q: want a colour as #rrggbb", colour)
			}
		}
	}
	for name := range s.Advice {
		if !page.Has(page.Key("public.everyone." + name)) {
			return fmt.Errorf("advice for %q: want one of %s", name, strings.Join(names[1:], ", "))
		}
	}
	return nil
}

// Swatch is a category's colour, #rrggbb.
func (s Settings) Swatch(c figures.Category) string {
	if s.Swatches == [5]string{} {
		return Ministry[c-1]
	}
	return s.Swatches[c-1]
}

// Ink is black or white (#000, #fff): what stands out from a category's colour.
func (s Settings) Ink(c figures.Category) string {
	colour := s.Swatch(c)
	part := func(at int) float64 {
		n, err := strconv.ParseUint(colour[at:at+2], 16, 8)
		if err != nil {
			return 0 // Check has told
		}
		v := float64(n) / 255
		return v * v
	}
	// Relative luminance (WCAG 2.2), near enough for a choice between two.
	if 0.2126*part(1)+0.7152*part(3)+0.0722*part(5) < 0.18 {
		return "#fff"
	}
	return "#000"
}

// Style tells style sheets the colours, --cat-1 to --cat-5, and their inks, --ink-1
// to --ink-5.
func (s Settings) Style() []byte {
	var b bytes.Buffer
	for c := figures.Baik; c <= figures.Berbahaya; c++ {
		fmt.Fprintf(&b, "--cat-%d: %s; --ink-%d: %s; ", c, s.Swatch(c), c, s.Ink(c))
	}
	return fmt.Appendf(nil, ":root { %s}\n", b.Bytes())
}

// Advise says what to do, and where the words come from: official words by their
// source, ours as such.
func (s Settings) Advise(l page.Lang, c figures.Category) (sensitive, everyone, source string) {
	own, official := s.Advice[Name(c)]
	if !official {
		key := func(who string) page.Key { return page.Key("public." + who + "." + Name(c)) }
		return l.T(key("sensitive")), l.T(key("everyone")), l.T("public.advice.ours")
	}
	pick := func(t page.Text) string {
		if l == page.English && t.EN != "" {
			return t.EN
		}
		return t.ID
	}
	if s.Source != "" {
		source = l.T("public.advice.source", s.Source)
	}
	return pick(own.Sensitive), pick(own.Everyone), source
}
