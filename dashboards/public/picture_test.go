package public_test

import (
	"encoding/json"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"
	"testing"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// read reads a preview: says reports whether a line of text stands somewhere on it, in
// the typeface and size of previews, as large as fits into width.
func read(t *testing.T, w *world, path string) (says func(text string, bold bool, size float64, width int, ink color.RGBA) bool) {
	t.Helper()
	r, body := w.get(t, path)
	if r.StatusCode != 200 {
		t.Fatalf("%s: %s", path, r.Status)
	}
	m, err := png.Decode(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	on := image.NewRGBA(m.Bounds())
	draw.Draw(on, on.Rect, m, image.Point{}, draw.Src)
	return func(text string, bold bool, size float64, width int, ink color.RGBA) bool {
		return find(on, written(t, text, bold, size, width, ink))
	}
}

// written is a line of text on white paper, without a margin.
func written(t *testing.T, text string, bold bool, size float64, width int, ink color.RGBA) *image.RGBA {
	t.Helper()
	ttf := goregular.TTF
	if bold {
		ttf = gobold.TTF
	}
	of, err := opentype.Parse(ttf)
	if err != nil {
		t.Fatal(err)
	}
	for {
		face, err := opentype.NewFace(of, &opentype.FaceOptions{Size: size, DPI: 72})
		if err != nil {
			t.Fatal(err)
		}
		on := image.NewRGBA(image.Rect(0, 0, 1600, 400))
		draw.Draw(on, on.Rect, image.White, image.Point{}, draw.Src)
		d := font.Drawer{Dst: on, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(100, 250)}
		if long := d.MeasureString(text).Ceil(); long > width && size > 24 {
			size *= max(0.5, min(0.95, float64(width)/float64(long)))
			continue
		}
		d.DrawString(text)
		box := image.Rectangle{}
		for y := range 400 {
			for x := range 1600 {
				if on.RGBAAt(x, y) != (color.RGBA{0xff, 0xff, 0xff, 0xff}) {
					box = box.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		cut, ok := on.SubImage(box).(*image.RGBA)
		if !ok || box.Empty() {
			t.Fatalf("%q leaves nothing on paper", text)
		}
		return cut
	}
}

// find reports whether a picture holds another one somewhere.
func find(in, part *image.RGBA) bool {
	size := part.Rect.Size()
	same := func(x, y int) bool {
		for dy := range size.Y {
			a := in.Pix[in.PixOffset(x, y+dy):]
			b := part.Pix[part.PixOffset(part.Rect.Min.X, part.Rect.Min.Y+dy):]
			for i := range size.X * 4 {
				if a[i] != b[i] {
					return false
				}
			}
		}
		return true
	}
	for y := range in.Rect.Dy() - size.Y + 1 {
		for x := range in.Rect.Dx() - size.X + 1 {
			if same(x, y) {
				return true
			}
		}
	}
	return false
}

// A preview says in a message what its page says.
func TestAPreviewSaysWhatItsPageSays(t *testing.T) {
	dark, grey := color.RGBA{0x15, 0x22, 0x2b, 0xff}, color.RGBA{0x4d, 0x5d, 0x68, 0xff}
	w, rare := newWorld(t), oddWorld(t)
	type line struct {
		text  string
		bold  bool
		size  float64
		width int
		ink   color.RGBA
	}
	name := func(s string) line { return line{s, true, 60, 1080, dark} }
	value := func(s string) line { return line{s, true, 180, 640, dark} }
	when := func(s string) line { return line{s, false, 36, 1080, dark} }
	below := func(s string) line { return line{s, false, 34, 1080, grey} }
	for path, c := range map[string]struct {
		w     *world
		lines []line
		not   []line
	}{
		"/gambar/smg-1-2026-11-26-1500.png":    {w, []line{name("Simpang Lima"), value("76"), {"Sedang", true, 64, 500, dark}, when("pukul 15.00 WIB, 26 November 2026"), below("PM2,5 dominan, 6 dari 7 parameter")}, []line{value("136"), when("pukul 14.00 WIB, 26 November 2026")}},
		"/gambar/3374-2026-11-26-1500.png":     {w, []line{name("Kota Semarang"), value("136"), {"Tidak Sehat", true, 64, 400, dark}, below("Pedurungan · PM2,5 dominan, 2 dari 7 parameter")}, []line{value("76")}},
		"/en/gambar/smg-1-2026-11-26-1500.png": {w, []line{name("Simpang Lima"), {"Moderate", true, 64, 500, dark}, when("15:00 WIB, 26 November 2026")}, nil},
		"/gambar/ung-1-2026-11-26-1500.png":    {w, []line{name("Ungaran")}, []line{{"ISPU", false, 38, 400, grey}}},
		"/gambar/slo-1-2026-11-26-1500.png":    {w, []line{name("Manahan"), {"Data tidak cukup", true, 72, 1080, dark}}, []line{value("45")}},
		"/gambar/rbg-2-2026-11-26-1200.png":    {rare, []line{name("Rembang Kota"), value("di atas 500"), below("PM2,5 dominan, 1 dari 7 parameter, PM2,5 rata-rata 24 jam 900,0 µg/m³")}, []line{value("500")}},
	} {
		says := read(t, c.w, path)
		for _, l := range c.lines {
			if !says(l.text, l.bold, l.size, l.width, l.ink) {
				t.Errorf("%s does not say %q", path, l.text)
			}
		}
		for _, l := range c.not {
			if says(l.text, l.bold, l.size, l.width, l.ink) {
				t.Errorf("%s says %q", path, l.text)
			}
		}
	}
}

// A phone offers to install the pages: what browsers ask of a manifest.
func TestThePagesCanBeInstalled(t *testing.T) {
	w := newWorld(t)
	for prefix, lang := range map[string]string{"": "id", "/en": "en"} {
		_, start := w.get(t, prefix+"/")
		has(t, "the start page", start, `<link rel="manifest" href="`+prefix+`/pantau.webmanifest">`)
		r, body := w.get(t, prefix+"/pantau.webmanifest")
		var m struct {
			Name, Lang, Display, Scope string
			ShortName                  string `json:"short_name"`
			StartURL                   string `json:"start_url"`
			Icons                      []struct{ Src, Sizes, Type, Purpose string }
		}
		if err := json.Unmarshal([]byte(body), &m); err != nil || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/manifest+json") {
			t.Fatalf("%v, %s", err, r.Header.Get("Content-Type"))
		}
		if m.Name == "" || strings.HasPrefix(m.Name, "public.") || m.ShortName != "Pantau" || m.Lang != lang || m.Display != "standalone" || m.StartURL != prefix+"/" || !strings.HasPrefix(m.StartURL, m.Scope) {
			t.Errorf("%+v", m)
		}
		if r, _ := w.get(t, m.StartURL); r.StatusCode != 200 {
			t.Errorf("its start: %s", r.Status)
		}
		sizes := map[string]bool{}
		for _, icon := range m.Icons {
			r, body := w.get(t, icon.Src)
			if r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), icon.Type) {
				t.Errorf("%s: %s, %s", icon.Src, r.Status, r.Header.Get("Content-Type"))
			}
			if icon.Type != "image/png" {
				continue
			}
			picture, err := png.DecodeConfig(strings.NewReader(body))
			if want := map[int]string{192: "192x192", 512: "512x512"}[picture.Width]; err != nil || picture.Width != picture.Height || want != icon.Sizes {
				t.Errorf("%s is %d by %d, named %s, %v", icon.Src, picture.Width, picture.Height, icon.Sizes, err)
			}
			sizes[icon.Sizes] = true
		}
		if !sizes["192x192"] || !sizes["512x512"] {
			t.Errorf("browsers want icons of 192 and 512 pixels: %v", sizes)
		}
	}
}
