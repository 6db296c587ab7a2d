//go:build shots

package e2e

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/figures"
)

// largest is how many bytes a picture of the guides may have.
const largest = 150_000

// TestPictures makes the pictures of the guides from a real server with the
// simulated province: `make shots`. Look at each before it is committed.
func TestPictures(t *testing.T) {
	r := newRig(t)
	r.holdBulletins()
	b := browsertest.Start(t)
	wide := browsertest.Look{Width: 1080, Height: 760}
	tall := browsertest.Look{Width: 1080, Height: 1180}
	phone := browsertest.Look{Width: 400, Height: 860, Touch: true}
	officer := r.signIn()
	officer.Go(r.ready.Pages + "/dinas/atur/sistem")
	for field, text := range map[string]string{
		"agency": "Dinas Lingkungan Hidup (simulasi)", "city": "Semarang", "signer_title": "Kepala Bidang Pengendalian Pencemaran",
		"signer": "Nama Penanda Tangan", "nip": "00000000 000000 0 000", "letter_number": "660.1/{n}/SIM/{year}",
	} {
		officer.Fill("[name="+field+"]", text)
	}
	officer.Submit("main button[type=submit]")
	r.playHistory("", 30*24*time.Hour)
	r.computed()
	posts := filepath.Join(r.dir, "posts", "gateways.csv")
	ready := filepath.Join(r.dir, "posts", "ready")
	start(t, filepath.Join(bin, "firmware-sim"), nil, "history", "--server", "mqtts://"+r.door, "--ca", filepath.Join(r.data(), "ca.pem"),
		"--credentials", posts, "--past", "1h", "--ready-file", ready) // for all to be there on the pictures
	await(t, "all posts", time.Minute, func() bool { _, err := os.Stat(ready); return err == nil })
	bulletin := r.bulletin()
	await(t, "the bulletin: after a start none is made for five minutes", 6*time.Minute, func() bool {
		resp, err := http.Get(r.ready.Pages + "/buletin/" + bulletin)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})

	citizen := b.Open(t, tall, r.ready.Pages+"/")
	r.picture(citizen, "beranda")
	citizen = b.Open(t, phone, r.ready.Pages+"/stasiun/3374-03")
	r.picture(citizen, "stasiun")
	link := browsertest.Eval[string](citizen, `document.querySelector('main a[href*="/bukti/ispu-"]').href`)
	citizen = b.Open(t, wide, link)
	r.picture(citizen, "bukti")
	for _, one := range []struct {
		name, path string
		look       browsertest.Look
		scroll     string
	}{
		{"provinsi", "/dinas/provinsi", tall, ""}, {"lokasi", "/dinas/lokasi/3372-03?rentang=7h", tall, "#grafik"}, {"validasi", "/dinas/validasi", wide, ""},
		{"jaringan", "/dinas/jaringan", wide, ""}, {"buletin", "/dinas/buletin/" + bulletin, tall, ""},
	} {
		p := officer.Beside(one.look, r.ready.Pages+one.path)
		if one.scroll != "" {
			p.Show(one.scroll)
		}
		p.Wait("!document.querySelector('pantau-live') || document.querySelector('pantau-live .state.ok')")
		r.picture(p, one.name)
	}
}

// holdBulletins lets each hour have its bulletin, as late as can be. A new book makes
// bulletins from the present hour on, so the rules must be there before the book is.
func (r *rig) holdBulletins() {
	r.t.Helper()
	r.rule(time.Now().AddDate(0, 0, -40), func(rules *figures.Rules) {
		rules.Bulletins, rules.GraceMin = nil, 59
		for hour := range 24 {
			rules.Bulletins = append(rules.Bulletins, hour)
		}
		rules.HCGas = map[string]string{"3301-03": "methane", "3372-03": "methane", "3374-03": "methane"}
	})
	password := r.ready.FirstPassword
	r.server.stop()
	if err := os.Remove(filepath.Join(r.data(), "figures.db")); err != nil {
		r.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(r.data(), "bulletins")); err != nil { // an empty one may have been made at the start
		r.t.Fatal(err)
	}
	r.serve()
	r.ready.FirstPassword = password
}

// bulletin lets the hour that runs have its bulletin now, and returns its name.
func (r *rig) bulletin() string {
	r.t.Helper()
	await(r.t, "an hour without a bulletin", 2*time.Minute, func() bool { return time.Now().Minute() < 59 })
	now := time.Now().In(figures.WIB)
	r.rule(now.Truncate(time.Hour), func(rules *figures.Rules) { rules.GraceMin = now.Minute() })
	return now.Format("2006-01-02-15") + "00"
}

// picture keeps what a page shows for the guides, in as many colours as a palette
// has.
func (r *rig) picture(p *browsertest.Page, name string) {
	r.t.Helper()
	shot, err := png.Decode(bytes.NewReader(p.Picture()))
	if err != nil {
		r.t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted(shot)); err != nil {
		r.t.Fatal(err)
	}
	if out.Len() > largest {
		r.t.Errorf("%s has %d bytes", name, out.Len())
	}
	file := filepath.Join(browsertest.Root(r.t), "docs", "img", name+".png")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s: %d bytes", name, out.Len())
}

// paletted keeps the 256 colours that stand most often; the others take the
// nearest of them.
func paletted(shot image.Image) *image.Paletted {
	count := map[color.RGBA]int{}
	bounds := shot.Bounds()
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(shot.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	var colours []color.RGBA
	for c := range count {
		colours = append(colours, c)
	}
	slices.SortFunc(colours, func(a, b color.RGBA) int { return count[b] - count[a] })
	palette := color.Palette{}
	for _, c := range colours[:min(256, len(colours))] {
		palette = append(palette, c)
	}
	out := image.NewPaletted(bounds, palette)
	index := map[color.RGBA]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			i, ok := index[c]
			if !ok {
				i = uint8(palette.Index(c))
				index[c] = i
			}
			out.SetColorIndex(x, y, i)
		}
	}
	return out
}
