package ingest

import (
	"encoding/binary"
	"time"

	"github.com/pantau-id/pantau/internal/envelope"
)

// TickEvery is how often a running server puts a tick into the journal.
const TickEvery = 15 * time.Second

// Frontier is the receive time that the journal has reached, by its ticks: what
// silence is measured on. It stands while no server runs, so an hour without
// the server is no hour of silence. Its zero value is ready.
type Frontier struct {
	// At is the frontier, Unix nanoseconds: it starts at the first tick's time and
	// then only advances.
	At   int64
	last envelope.Tick
	hole bool // H7
}

// Tick advances the frontier: within one run of a server by its uptime, which no
// step of the wall clock disturbs; across a restart by min(step, uptime).
func (f *Frontier) Tick(t envelope.Tick) {
	switch {
	case f.At == 0:
		f.At = t.Time
	case f.hole:
		f.At = max(f.At, t.Time)
	case t.Session == f.last.Session:
		f.At += max(0, t.Uptime-f.last.Uptime)
	default:
		f.At += max(0, min(t.Time-f.last.Time, t.Uptime))
	}
	f.last = t
}

func (f *Frontier) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(f.At))
	b = binary.BigEndian.AppendUint64(b, uint64(f.last.Time))
	b = binary.BigEndian.AppendUint64(b, uint64(f.last.Uptime))
	return binary.BigEndian.AppendUint64(b, f.last.Session)
}

func (f *Frontier) load(key, value []byte) error {
	u := unpack{b: value}
	f.At = int64(u.uint64())
	f.last = envelope.Tick{Time: int64(u.uint64()), Uptime: int64(u.uint64()), Session: u.uint64()}
	return u.done("frontier", key)
}
