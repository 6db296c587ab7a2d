package simulation

import (
	"errors"
	"slices"

	"github.com/pantau-id/pantau/gateway/spool"
)

// card is an SD card: what was written, and how much of it survives the end of
// the power.
type card struct {
	files   map[spool.SegmentID]*file
	removed map[spool.SegmentID]*file // the folder was not fsynced since
	bdSeq   uint64
	counter uint32 // the highest clock counter, for H2's omission
}

type file struct {
	data   []byte
	synced int
	named  bool // the folder was fsynced since it was made
}

var errCard = errors.New("input/output error")

func newCard() *card {
	return &card{files: map[spool.SegmentID]*file{}, removed: map[spool.SegmentID]*file{}}
}

// image is what a copy of the card holds.
func (c *card) image() *card {
	out := newCard()
	out.bdSeq, out.counter = c.bdSeq, c.counter
	for id, f := range c.files {
		if f.named {
			out.files[id] = &file{data: slices.Clone(f.data[:f.synced]), synced: f.synced, named: true}
		}
	}
	return out
}

func (c *card) ids() []spool.SegmentID {
	ids := make([]spool.SegmentID, 0, len(c.files))
	for id := range c.files {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b spool.SegmentID) int { return int(a.Seq) - int(b.Seq) })
	return ids
}

// powerCut leaves what was fsynced, and of the rest what the card happened to
// have.
func (c *card) powerCut(w *world) {
	for _, id := range c.ids() {
		f := c.files[id]
		if !f.named && w.chance(0.5) {
			delete(c.files, id)
			continue
		}
		keep := f.synced + w.rng.IntN(len(f.data)-f.synced+1)
		f.data = f.data[:keep]
		if keep > f.synced {
			switch tail := f.data[f.synced+w.rng.IntN(keep-f.synced):]; w.rng.IntN(3) {
			case 0: // a page that never reached the card
				clear(tail)
			case 1:
				for i := range tail {
					tail[i] = byte(w.rng.Uint32())
				}
			}
		}
		f.synced, f.named = keep, true
	}
	ids := make([]spool.SegmentID, 0, len(c.removed))
	for id := range c.removed {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b spool.SegmentID) int { return int(a.Seq) - int(b.Seq) })
	for _, id := range ids {
		if f := c.removed[id]; c.files[id] == nil && f.named && w.chance(0.5) {
			f.data = f.data[:f.synced]
			c.files[id] = f
		}
	}
	clear(c.removed)
}

// syncFolder makes names and removals durable.
func (c *card) syncFolder() {
	for _, f := range c.files {
		f.named = true
	}
	clear(c.removed)
}

// do carries out one operation; an OpSync is the caller's.
func (c *card) do(op spool.Op) {
	f := c.files[op.Segment]
	switch op.Kind {
	case spool.OpCreate:
		if f == nil {
			c.files[op.Segment] = &file{}
		}
	case spool.OpWrite:
		if f == nil {
			f = &file{}
			c.files[op.Segment] = f
		}
		if need := int(op.Off) + len(op.Data); len(f.data) < need {
			f.data = append(f.data, make([]byte, need-len(f.data))...)
		}
		copy(f.data[op.Off:], op.Data)
		f.synced = min(f.synced, int(op.Off))
	case spool.OpPatch:
		if f != nil {
			copy(f.data[op.Off:], op.Data)
		}
	case spool.OpTruncate:
		if f != nil && int(op.To) <= len(f.data) {
			f.data = f.data[:op.To]
			f.synced = min(f.synced, len(f.data))
		}
	case spool.OpRemove, spool.OpMoveAside:
		if f != nil {
			delete(c.files, op.Segment)
			c.removed[op.Segment] = f
		}
	}
}

// restore writes an earlier image of the card back, or an empty one.
func (g *gateway) restore() {
	w := g.w
	old := g.kept
	if old == nil {
		if !w.chance(0.2) {
			return
		}
		old = newCard()
	}
	g.kept = nil
	if g.powered {
		g.crash(true)
	}
	w.note("%v: its card is written back from an image", g.node)
	for _, t := range w.model.all {
		if t.g == g {
			t.gone = true
		}
	}
	g.card = old
}

// damage changes bytes behind the program's back.
func (g *gateway) damage() {
	w := g.w
	ids := g.card.ids()
	if len(ids) < 2 || g.syncing {
		return
	}
	id := ids[w.rng.IntN(len(ids)-1)] // not the one that is being written
	f := g.card.files[id]
	if len(f.data) == 0 || f.synced < len(f.data) {
		return
	}
	from := w.rng.IntN(len(f.data))
	switch w.rng.IntN(3) {
	case 0:
		f.data[from] ^= 1 << w.rng.IntN(8)
	case 1:
		clear(f.data[from:min(len(f.data), from+256)])
	case 2:
		f.data = f.data[:from]
		f.synced = min(f.synced, from)
	}
	g.damaged[id.Boot], g.decayed = true, true
	w.note("%v: damage in %v at %d of %d", g.node, id, from, len(f.data))
}
