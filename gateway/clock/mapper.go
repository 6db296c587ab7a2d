package clock

import (
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Earliest is the Unix time in milliseconds before which no clock is believed:
// 2025-01-01, when the first line of Pantau was written. A later build time
// takes its place.
const Earliest int64 = 1735689600000

const (
	// kernelTolerance is how far two readings of the kernel's offset may lie
	// apart without a step, in milliseconds.
	kernelTolerance = 1
	// serverTolerance is the same for the server's time, which the network
	// delays: it is told once a connection, and each change costs a clock id.
	serverTolerance = 1000
	// holdTime is how long a mapping stands before a step of the same quality
	// replaces it, in milliseconds: a flapping clock must not use up the clock
	// ids that the database has room for.
	holdTime = 10_000
)

// Observation is one look at a source of UTC.
type Observation struct {
	Boottime int64 // CLOCK_BOOTTIME in milliseconds
	UTC      int64 // Unix milliseconds at that time
	Quality  telemetry.TimeQuality
}

// Omit leaves out rules of the Mapper, so that the simulation can show what
// each of them is for. Nothing else sets it.
type Omit struct {
	NewIDs    bool // H2: one clock id over all starts and changes
	EpochInID bool // H2: ids are a plain counter, kept on the card
}

// MapperOptions are what a Mapper needs.
type MapperOptions struct {
	Epoch    telemetry.Epoch
	Boot     BootID
	Last     *Mapping // the newest mapping of this boot that was recorded
	Earliest int64    // Unix milliseconds before which nothing is believed; at least the constant
	Omit     Omit
	Counter  uint32 // the highest counter on the card; only read when Omit.EpochInID
}

// Mapper decides when a new mapping begins. It is a state machine without
// clock, goroutine or I/O.
type Mapper struct {
	o       MapperOptions
	current *Mapping
	counter uint32
	changed int64 // CLOCK_BOOTTIME of the last change
	// candidate is an offset seen once that differs from the current one; the
	// next look must confirm it, since a step may have come between the two
	// readings of one look.
	candidate    int64
	hasCandidate bool
}

// NewMapper returns a mapper at the start of a process.
func NewMapper(o MapperOptions) *Mapper {
	o.Earliest = max(o.Earliest, Earliest)
	m := &Mapper{o: o}
	if o.Omit.EpochInID {
		m.counter = o.Counter
	}
	return m
}

// Start takes over the mapping of an earlier process of the same boot, under a
// clock id of its own. It is to be called once, before anything is observed.
func (m *Mapper) Start(boottime int64) (Mapping, bool) {
	if m.o.Last == nil {
		return Mapping{}, false
	}
	return m.begin(boottime, m.o.Last.Offset, m.o.Last.Quality), true
}

// Current returns the mapping in force.
func (m *Mapper) Current() (Mapping, bool) {
	if m.current == nil {
		return Mapping{}, false
	}
	return *m.current, true
}

// Observe takes a look at the kernel or word from the server, and returns a
// mapping if a new one begins.
func (m *Mapper) Observe(o Observation) (Mapping, bool) {
	if o.Quality == telemetry.TimeNone || o.UTC < m.o.Earliest {
		return Mapping{}, false
	}
	offset := o.UTC - o.Boottime
	if m.current == nil || o.Quality > m.current.Quality {
		return m.begin(o.Boottime, offset, o.Quality), true
	}
	if o.Quality < m.current.Quality {
		return Mapping{}, false // a mapping never gets worse
	}
	if o.Quality == telemetry.TimeServer {
		if within(offset, m.current.Offset, serverTolerance) {
			return Mapping{}, false
		}
		return m.begin(o.Boottime, offset, o.Quality), true
	}
	if within(offset, m.current.Offset, kernelTolerance) {
		m.hasCandidate = false
		return Mapping{}, false
	}
	confirmed := m.hasCandidate && within(offset, m.candidate, kernelTolerance)
	m.candidate, m.hasCandidate = offset, true
	if !confirmed || o.Boottime-m.changed < holdTime {
		return Mapping{}, false
	}
	return m.begin(o.Boottime, offset, o.Quality), true
}

func (m *Mapper) begin(from, offset int64, q telemetry.TimeQuality) Mapping {
	m.counter++
	id := telemetry.ClockID{Epoch: m.o.Epoch, Counter: m.counter}
	switch {
	case m.o.Omit.NewIDs:
		id = telemetry.ClockID{Epoch: 1, Counter: 1}
	case m.o.Omit.EpochInID:
		id.Epoch = 1
	}
	m.current = &Mapping{Boot: m.o.Boot, From: from, Offset: offset, Quality: q, ID: id}
	m.changed, m.hasCandidate = from, false
	return *m.current
}

func within(a, b, tolerance int64) bool { return a-b <= tolerance && b-a <= tolerance }
