package publication_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Whatever happens to the file, the book opens, and is what it was as far as the
// database's hour rows reach; what people said lies elsewhere.
func TestADamagedBookIsWrittenAgain(t *testing.T) {
	c := newChain(t, smg)
	c.must(c.places.PutDeployment(ctx, places.Deployment{Site: "smg-1", Node: telemetry.Node{Group: "3374", ID: "gw-1"}, Device: "air"}))
	from := hour.Add(-4 * 24 * time.Hour)
	g := newGateway("gw-1", c.now(), 10*time.Minute, "pm2_5", "pm10")
	packets := []*envelope.Packet{g.nbirth()}
	for i := range 4 * 24 * 6 {
		packets = append(packets, g.data(uint64(i+1), from.Add(time.Duration(i)*10*time.Minute+time.Minute), float64(20+i%37), float64(50+i%91)))
	}
	c.put(packets...)
	c.rest(packets[len(packets)-1])
	if _, err := c.book.AddMark(ctx, figures.Mark{Site: "smg-1", Quantity: "pm10", From: hour.Add(-30 * time.Hour), To: hour.Add(-20 * time.Hour), Invalid: true, Code: "fault", By: "x"}); err != nil {
		t.Fatal(err)
	}
	c.settled()
	want := c.said(from, hour, "smg-1")
	if len(want) != 2*96+96+4 {
		t.Fatalf("%d hours and figures", len(want))
	}
	path := filepath.Join(c.dir, "figures.db")
	r := rand.New(rand.NewPCG(3, 4))
	for name, spoil := range map[string]func(b []byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"cut short":       func(b []byte) []byte { return b[:40<<10+100] },
		"cut to its head": func(b []byte) []byte { return b[:8192] },
		"garbage": func(b []byte) []byte {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
			return b
		},
		"one flipped bit in each page": func(b []byte) []byte {
			for page := 2 * 4096; page < len(b); page += 4096 {
				b[page+64+r.IntN(4000)] ^= 1 << r.IntN(8)
			}
			return b
		},
	} {
		c.stop()
		whole, err := os.ReadFile(path)
		c.must(err)
		c.must(os.WriteFile(path, spoil(whole), 0o600))
		c.start()
		c.until(name+": the book is what it was", func() bool {
			// An answer may be an error until the damage is met, never another value.
			if _, err := c.book.Hours(ctx, "smg-1", nil, from, hour); err != nil {
				return false
			}
			if _, err := c.book.Span(ctx, figures.Hourly, "smg-1", from, hour); err != nil {
				return false
			}
			if s, err := c.book.Status(ctx); err != nil || s.HoursWaiting+s.FiguresWaiting > 0 {
				return false
			}
			return slices.Equal(c.said(from, hour, "smg-1"), want)
		})
		aside, err := filepath.Glob(path + ".damaged-*")
		c.must(err)
		if len(aside) == 0 && name != "empty" {
			t.Errorf("%s: the damaged file is not kept", name)
		}
		for _, a := range aside {
			c.must(os.Remove(a))
		}
	}
}

// A file that this process may not or cannot open is left where it is.
func TestAFileThatCannotBeOpenedIsNotDamaged(t *testing.T) {
	c := newChain(t, smg)
	c.stop()
	path := filepath.Join(c.dir, "figures.db")
	c.must(os.Rename(path, path+".kept"))
	c.must(os.Mkdir(path, 0o700))
	if _, err := publication.Open(ctx, publication.Options{Dir: c.dir, KV: c.kv("publication"), Places: c.places}); err == nil || errors.Is(err, publication.ErrDamaged) {
		t.Errorf("a folder stands in its place: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("it was moved: %v", err)
	}
}
