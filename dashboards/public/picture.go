package public

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

// A preview is as large as messengers show one.
const (
	pictureWidth  = 1200
	pictureHeight = 630
)

type faces struct{ regular, bold *opentype.Font }

func loadFaces() (f faces, err error) {
	if f.regular, err = opentype.Parse(goregular.TTF); err == nil {
		f.bold, err = opentype.Parse(gobold.TTF)
	}
	if err != nil {
		return f, fmt.Errorf("read the font of previews: %w", err)
	}
	return f, nil
}

// poster is what a preview says.
type poster struct {
	name, value, word, line, when string
	level                         figures.Category
	counts                        []share // instead of a value
	simulated                     bool
}

// picture is the preview of a station's, a district's or the province's page at
// one hour, which the address names: CODE-2026-11-26-1400.png.
func (p *Public) picture(ctx context.Context, q ask) (answer, error) {
	file, ok := strings.CutSuffix(q.value("file"), ".png")
	const hour = len("-2006-01-02-1504")
	if !ok || len(file) <= hour || file[len(file)-hour] != '-' {
		return answer{}, errNotFound
	}
	code := file[:len(file)-hour]
	at, ok := parseHour(file[len(file)-hour+1:])
	if !ok || at.After(q.now.Add(time.Hour)) {
		return answer{}, errNotFound
	}
	all, err := p.everywhere(ctx, at)
	if err != nil {
		return answer{}, err
	}
	then := func(s *site) *site {
		old := *s
		old.figure, old.class = nil, s.ClassAt(at)
		if f, ok := all[s.Code]; ok {
			old.figure = &f
		}
		return &old
	}
	o := poster{when: q.lang.T("public.picture.when", q.lang.Clock(at), q.lang.Date(at))}
	if s, ok := q.byCode[code]; ok {
		o.name = s.Name
		o.station(q, then(s))
	} else if i := slices.IndexFunc(q.districts, func(d *district) bool { return d.Code == code }); i >= 0 {
		d := &district{District: q.districts[i].District}
		for _, s := range q.districts[i].sites {
			d.sites = append(d.sites, then(s))
			o.simulated = o.simulated || s.Simulated
		}
		o.name = d.Name
		if high, _, _ := d.best(); high != nil {
			o.station(q, high)
			o.line = high.Name + " · " + o.line
		} else {
			o.word = q.lang.T("public.insufficient")
			if len(d.sites) == 0 {
				o.word = q.lang.T("public.nostation")
			}
		}
	} else if code == "provinsi" {
		o.name, o.simulated = q.lang.T("public.province"), q.simulated
		counts := [6]int{}
		for _, s := range q.sites {
			if f, ok := then(s).current(); ok {
				counts[f.Index.Category]++
			}
		}
		for c := figures.Baik; c <= figures.Berbahaya; c++ {
			o.counts = append(o.counts, share{Level: c, Word: word(q.lang, c), Count: counts[c]})
		}
	} else {
		return answer{}, errNotFound
	}
	body, err := p.draw(q, o)
	if err != nil {
		return answer{}, err
	}
	return answer{contentType: "image/png", body: body}, nil
}

func (o *poster) station(q ask, s *site) {
	o.simulated = o.simulated || s.Simulated || (s.figure != nil && s.figure.Simulated)
	f, ok := s.current()
	switch {
	case ok:
		o.level, o.value, o.word = f.Index.Category, index(q.lang, f.Index.Index), word(q.lang, f.Index.Category)
		o.line = q.lang.T("public.picture.line", q.lang.Name("q.", string(f.Index.Dominant)), q.detail(f))
	case s.figure != nil && s.figure.Estimate:
		o.word = q.lang.T("public.estimate.kind")
		if part, ok := leading(*s.figure); ok {
			o.line = q.concentration(part)
		}
	default:
		o.word = q.lang.T("public.insufficient")
	}
}

// pen writes text onto a picture.
type pen struct {
	on    *image.RGBA
	faces faces
}

// text writes a line whose baseline is at y, as large as fits into width, and
// returns how wide it became.
func (p pen) text(s string, bold bool, size float64, x, y, width int, ink color.Color) (int, error) {
	of := p.faces.regular
	if bold {
		of = p.faces.bold
	}
	s = strings.Map(func(r rune) rune { // the font has no small figures
		if r >= '₀' && r <= '₉' {
			return '0' + r - '₀'
		}
		return r
	}, page.Plain(s))
	for {
		face, err := opentype.NewFace(of, &opentype.FaceOptions{Size: size, DPI: 72})
		if err != nil {
			return 0, fmt.Errorf("size the font of a preview: %w", err)
		}
		d := font.Drawer{Dst: p.on, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(x, y)}
		w := d.MeasureString(s).Ceil()
		if w > width && size > 24 {
			size *= max(0.5, min(0.95, float64(width)/float64(w)))
			if err := face.Close(); err != nil {
				return 0, fmt.Errorf("size the font of a preview: %w", err)
			}
			continue
		}
		d.DrawString(s)
		if err := face.Close(); err != nil {
			return 0, fmt.Errorf("write a preview: %w", err)
		}
		return w, nil
	}
}

var (
	paper = color.RGBA{0xff, 0xff, 0xff, 0xff}
	dark  = color.RGBA{0x15, 0x22, 0x2b, 0xff}
	grey  = color.RGBA{0x4d, 0x5d, 0x68, 0xff}
	bar   = color.RGBA{0x0b, 0x4a, 0x63, 0xff}
	amber = color.RGBA{0xfd, 0xf0, 0xd2, 0xff}
	brown = color.RGBA{0x7a, 0x4d, 0x00, 0xff}
)

func fill(on *image.RGBA, x0, y0, x1, y1 int, ink color.Color) {
	draw.Draw(on, image.Rect(x0, y0, x1, y1), image.NewUniform(ink), image.Point{}, draw.Src)
}

// draw draws a preview.
func (p *Public) draw(q ask, o poster) ([]byte, error) {
	m := image.NewRGBA(image.Rect(0, 0, pictureWidth, pictureHeight))
	fill(m, 0, 0, pictureWidth, pictureHeight, paper)
	fill(m, 0, 0, pictureWidth, 96, bar)
	w := pen{on: m, faces: p.faces}
	var failed error
	write := func(s string, bold bool, size float64, x, y, width int, ink color.Color) int {
		n, err := w.text(s, bold, size, x, y, width, ink)
		if err != nil {
			failed = err
		}
		return n
	}
	const left = 60
	x := left + write("Pantau", true, 46, left, 64, 400, paper)
	if q.agency.Name != "" {
		write(q.agency.Name, false, 32, x+24, 62, pictureWidth-x-84, paper)
	}
	write(o.name, true, 60, left, 190, pictureWidth-2*left, dark)
	switch {
	case o.counts != nil:
		for i, c := range o.counts {
			y := 250 + i*62
			p.swatch(m, c.Level, left, y, 46)
			write(strconv.Itoa(c.Count), true, 44, left+70, y+40, 120, dark)
			write(c.Word, false, 40, left+180, y+39, 700, dark)
		}
	case o.value != "":
		p.swatch(m, o.level, left, 252, 170)
		write(q.lang.T("public.ispu"), false, 38, left+210, 274, 400, grey)
		n := write(o.value, true, 180, left+205, 426, 640, dark)
		write(o.word, true, 64, left+250+n, 420, pictureWidth-left-310-n, dark)
		write(o.line, false, 34, left, 500, pictureWidth-2*left, grey)
	default:
		write(o.word, true, 72, left, 330, pictureWidth-2*left, dark)
		if o.line != "" {
			write(o.line, false, 56, left, 430, pictureWidth-2*left, dark)
		}
	}
	at := 578
	if o.simulated {
		fill(m, 0, 578, pictureWidth, pictureHeight, amber)
		write(q.lang.T("public.picture.simulated"), true, 30, left, 614, pictureWidth-2*left, brown)
		at = 556
	}
	if o.counts != nil {
		write(o.when, false, 36, 640, 290, pictureWidth-700, grey)
		write(q.lang.T("public.counted"), false, 30, 640, 340, pictureWidth-700, grey)
	} else {
		write(o.when, false, 36, left, at, pictureWidth-2*left, dark)
	}
	if failed != nil {
		return nil, failed
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		return nil, fmt.Errorf("write a preview: %w", err)
	}
	return b.Bytes(), nil
}

// swatch draws a category's colour with the same marks as on the pages.
func (p *Public) swatch(on *image.RGBA, c figures.Category, x, y, size int) {
	if c == figures.CategoryNone {
		return
	}
	colour := p.o.Categories.Swatch(c)
	ink, light := color.RGBA{A: 0xff}, p.o.Categories.Ink(c) == "#fff"
	if light {
		ink = paper
	}
	n, err := strconv.ParseUint(colour[1:], 16, 32)
	if err != nil {
		return // checked in New
	}
	base := color.RGBA{uint8(n >> 16), uint8(n >> 8), uint8(n), 0xff}
	fill(on, x-2, y-2, x+size+2, y+size+2, grey)
	for dy := range size {
		for dx := range size {
			at := base
			if marked(c, float64(dx)*0.6, float64(dy)*0.6) {
				at = ink
			}
			on.SetRGBA(x+dx, y+dy, at)
		}
	}
}

// marked reports whether a mark of the category's pattern lies at x, y of its
// tiles of 24 by 24 (package chart draws the same).
func marked(c figures.Category, x, y float64) bool {
	mod := func(v, n float64) float64 { return v - n*float64(int(v/n)) }
	tx, ty := mod(x, 24), mod(y, 24)
	switch c {
	case figures.Sedang:
		for _, dot := range [][2]float64{{6, 6}, {18, 6}, {12, 12}, {6, 18}, {18, 18}} {
			if (tx-dot[0])*(tx-dot[0])+(ty-dot[1])*(ty-dot[1]) < 2.2 {
				return true
			}
		}
	case figures.TidakSehat:
		return mod(tx+ty, 12) < 1.8
	case figures.SangatTidakSehat:
		return mod(tx+ty, 12) < 1.8 || mod(tx-ty+24, 12) < 1.8
	case figures.Berbahaya:
		return mod(tx, 8) > 3 && mod(tx, 8) < 4.8
	}
	return false
}
