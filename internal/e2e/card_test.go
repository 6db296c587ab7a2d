package e2e

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// recordID names a record for ever.
type recordID struct {
	epoch  telemetry.Epoch
	number uint64
}

// card is what lies in a gateway's spool.
type card map[recordID]telemetry.Record

// card reads the spool of a gateway that does not run: from a copy, since
// opening a spool begins an epoch in it.
func (s *site) card(t testing.TB) card {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "card")
	if err := os.CopyFS(dir, os.DirFS(s.spool())); err != nil {
		t.Fatalf("copy the spool: %v", err)
	}
	text, err := hostclock.BootID()
	if err != nil {
		t.Fatal(err)
	}
	boot, err := clock.ParseBootID(text)
	if err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: dir, Boot: boot, FreeFloor: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatalf("open the copy: %v", err)
	}
	defer sp.Close()
	out := card{}
	for more := true; more; {
		more = false
		// Losses that opening or reading finds are records too, once they are kept.
		if err := sp.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, lane := range []spool.Lane{spool.Live, spool.Backlog} {
			for {
				b := sp.Next(lane, hostclock.Boottime(), spool.Limit{Records: 1000, Bytes: 1 << 20})
				if b.Run.Count == 0 {
					break
				}
				more = true
				for _, r := range b.Records {
					out[recordID{b.Run.Epoch, r.Number}] = r
				}
			}
		}
	}
	if n := sp.Stats().Records; n != uint64(len(out)) {
		t.Fatalf("%d records lie on the card, %d can be read", n, len(out))
	}
	return out
}

func (s *site) spool() string { return filepath.Join(s.data(), "spool") }

// add takes what another look at the card shows.
func (c card) add(more card) {
	for id, r := range more {
		c[id] = r
	}
}

// place is where a point of a device belongs.
type place struct {
	device string
	ms     int64
}

// compare looks in the database for what lay on a card. absent are records of
// which a reading is nowhere; wrong says what is there twice or otherwise.
func (r *rig) compare(node telemetry.Node, want card) (absent card, wrong []string) {
	r.t.Helper()
	points := map[place][]row{}
	seen := map[string]bool{}
	for _, p := range r.stored(node) {
		at := place{p.text("device"), p.time()}
		points[at] = append(points[at], p)
		if key := fmt.Sprint(p[""], at); seen[key] {
			wrong = append(wrong, fmt.Sprintf("two points of %v %s at %d", p[""], at.device, at.ms))
		} else {
			seen[key] = true
		}
	}
	absent = card{}
	for id, rec := range want {
		for i := range rec.Readings {
			reading := &rec.Readings[i]
			found := 0
			for _, p := range points[place{rec.Device, rec.Time}] {
				switch q := reading.Quantity; {
				case reading.Gap != telemetry.GapNone:
					if gap := p.text(q + "_gap"); gap == string(reading.Gap) {
						found++
					} else if gap != "" {
						wrong = append(wrong, fmt.Sprintf("%s/%s at %d: gap %q, was %q", rec.Device, q, rec.Time, gap, reading.Gap))
					}
				default:
					v, ok := p.number(q)
					if !ok {
						v, ok = p.number(q + "_rejected")
					}
					if ok {
						found++
					}
					if ok && v != reading.Value.Number {
						wrong = append(wrong, fmt.Sprintf("%s/%s at %d: %v, was %v", rec.Device, q, rec.Time, v, reading.Value.Number))
					}
				}
			}
			if found == 0 {
				absent[id] = rec
			}
		}
	}
	return absent, wrong
}

// arrives waits until all that lay on a card is in the database, as it was.
func (r *rig) arrives(s *site, want card) {
	r.t.Helper()
	var absent card
	var wrong []string
	node := s.id(r.t)
	defer func() {
		for id, rec := range absent {
			r.t.Errorf("record %v %d (%+v) is not in the database", id.epoch, id.number, rec)
			break
		}
		for _, w := range wrong {
			r.t.Error(w)
		}
	}()
	await(r.t, fmt.Sprintf("what lay on the card of %s (%d records) in the database", s.node, len(want)), patience, func() bool {
		absent, wrong = r.compare(node, want)
		return len(absent) == 0 || len(wrong) > 0
	})
}

func (s *site) id(t testing.TB) telemetry.Node {
	t.Helper()
	node, err := telemetry.ParseNode(s.node)
	if err != nil {
		t.Fatal(err)
	}
	return node
}
