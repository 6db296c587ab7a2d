package fleet

import (
	"encoding/binary"
	"hash/fnv"
	mathrand "math/rand/v2"
	"slices"
	"sort"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// wib is Waktu Indonesia Barat.
var wib = time.FixedZone("WIB", 7*3600)

// dayKey names a day (WIB) by its number since 1970-01-01.
type dayKey int64

func dayOf(t time.Time) dayKey { return dayKey((t.Unix() + 7*3600) / 86400) }

func (k dayKey) start() time.Time { return time.Unix(int64(k)*86400-7*3600, 0) }

func (k dayKey) String() string { return k.start().In(wib).Format(time.DateOnly) }

// slot is one record that a post takes: its time, its instrument, and the series
// that gives no answer (-1 = none).
type slot struct {
	ms         int64
	instrument int8
	silent     int8
}

// day is one day of a post: one run of its gateway, hence one epoch, whose record
// n is slots[n-1]. What it holds is a pure function of seed, post and day, so that
// a day that is played twice is the same records under the same numbers.
type day struct {
	key   dayKey
	epoch telemetry.Epoch
	slots []slot
	state []sending // of each slot
	first int       // all before it are acknowledged
}

// sending is how far a record is.
type sending uint8

const (
	waiting sending = iota
	flying
	arrived
)

// newDay lists what a post takes on a day.
func newDay(seed uint64, p *Post, k dayKey) *day {
	h := fnv.New64a()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], seed)
	h.Write(b[:8])
	h.Write([]byte(p.Node.String()))
	of := h.Sum64()
	phase := int64(of % 240_000) // posts are not read in step
	rng := mathrand.New(mathrand.NewPCG(of, uint64(k)))
	d := &day{key: k, epoch: telemetry.Epoch(rng.Uint64() | 1)}

	// Power fails somewhere, and at the faulty post often and for long.
	dark, light := 0.0, 0.0
	chance, least, most := 0.03, 0.7, 3.0
	if p.faulty {
		chance, least, most = 0.3, 2.0, 12.0
	}
	if u, at, long := rng.Float64(), rng.Float64(), rng.Float64(); u < chance {
		dark = 24 * at
		light = dark + least + long*(most-least)
	}
	deaf := p.faulty && rng.Float64() < 0.2 // its SO2 analyser is being calibrated
	start := k.start().UnixMilli()
	for i, one := range p.instruments {
		for at := phase; at < 86_400_000; at += one.every.Milliseconds() {
			if hour := float64(at) / 3.6e6; hour >= dark && hour < light {
				continue
			}
			s := slot{ms: start + at, instrument: int8(i), silent: -1}
			if deaf {
				s.silent = int8(slices.IndexFunc(one.series, func(x series) bool { return x.quantity == "so2_ppb" }))
			}
			d.slots = append(d.slots, s)
		}
	}
	slices.SortStableFunc(d.slots, func(a, b slot) int { return int(a.ms - b.ms) })
	d.state = make([]sending, len(d.slots))
	return d
}

// due returns how many records were taken before a time (Unix milliseconds).
func (d *day) due(ms int64) int {
	return sort.Search(len(d.slots), func(i int) bool { return d.slots[i].ms >= ms })
}

// next returns an unbroken stretch of at most n waiting records within from..to-1.
func (d *day) next(from, to, n int) (a, b int) {
	for a = max(from, d.first); a < to && d.state[a] != waiting; a++ {
	}
	for b = a; b < to && b-a < n && d.state[b] == waiting; b++ {
	}
	return a, b
}

// mark sets the state of a..b-1.
func (d *day) mark(a, b int, s sending) {
	for i := a; i < b; i++ {
		d.state[i] = s
	}
	for d.first < len(d.state) && d.state[d.first] == arrived {
		d.first++
	}
}

// again makes what was on its way wait again: its link is cut.
func (d *day) again() {
	for i := d.first; i < len(d.state); i++ {
		if d.state[i] == flying {
			d.state[i] = waiting
		}
	}
}

// floor is the lowest number that is not acknowledged.
func (d *day) floor() uint64 { return uint64(d.first) + 1 }

// done reports whether all of the day's records are acknowledged.
func (d *day) done() bool { return d.first == len(d.slots) }
