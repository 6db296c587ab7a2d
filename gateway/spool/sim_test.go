//go:build !race

package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// This file runs the cores of spool and clock as they are against a disk, a
// kernel clock and a server made of memory, in virtual time, from a seed.

// memDisk is a disk: what was written, and how much of it is durable.
type memDisk struct {
	files map[SegmentID]*memFile
	fails bool // writes and fsyncs fail
	aside map[string]int
}

type memFile struct {
	data   []byte
	synced int
}

var errDisk = errors.New("input/output error")

func (d *memDisk) clone() *memDisk {
	c := &memDisk{files: map[SegmentID]*memFile{}, aside: map[string]int{}}
	for id, f := range d.files {
		c.files[id] = &memFile{slices.Clone(f.data[:f.synced]), f.synced}
	}
	return c
}

func (d *memDisk) ids() []SegmentID {
	var ids []SegmentID
	for id := range d.files {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b SegmentID) int { return int(a.Seq) - int(b.Seq) })
	return ids
}

// server is a ledger and a database.
type server struct {
	t      *testing.T
	stored map[string]string // epoch.number -> content
	points map[string]string // device, time, clock -> epoch.number
	lost   map[string]telemetry.LossReason
	floors map[telemetry.Epoch]uint64
	faults []string

	restamped bool // the last copy of a mapping was destroyed on the card
}

func (s *server) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func (s *server) take(b Batch) {
	s.floors[b.Run.Epoch] = max(s.floors[b.Run.Epoch], b.Run.Floor)
	if b.Run.Floor > b.Run.First {
		s.fault("floor %d above first %d", b.Run.Floor, b.Run.First)
	}
	for i, r := range b.Records {
		if r.Number != b.Run.First+uint64(i) {
			s.fault("run from %d holds %d at place %d", b.Run.First, r.Number, i)
		}
		k := key(b.Run.Epoch, r.Number)
		if r.Loss != nil {
			for n := r.Loss.From; n <= r.Loss.To; n++ {
				s.lost[key(r.Loss.Epoch, n)] = r.Loss.Reason
			}
			s.stored[k] = "loss"
			continue
		}
		content := fmt.Sprint(r.Device, r.Time, b.Run.Clock, r.Readings)
		if old, ok := s.stored[k]; ok && old != content && !s.restamped {
			s.fault("%s came as %s and as %s", k, old, content)
		}
		s.stored[k] = content
		point := fmt.Sprint(r.Device, r.Time, b.Run.Clock)
		if other, ok := s.points[point]; ok && other != k {
			s.fault("%s overwrites %s at %s", k, other, point)
		}
		s.points[point] = k
	}
}

// world is everything around the cores.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	omit     Omit
	clockOff clock.Omit
	policy   Policy
	disk     *memDisk
	server   *server
	now      time.Duration // CLOCK_BOOTTIME
	utc      int64         // true UTC in ms at now
	kernel   int64         // what the kernel's clock is off by, ms
	synced   bool
	boot     byte
	epochs   uint64
	counter  uint32
	core     *Core
	mapper   *clock.Mapper
	flights  []Batch
	image    *memDisk // a copy of the card, with what it holds outside the spool
	imaged   uint32
	taken    []string        // appended in this epoch, not yet all with the file system
	written  []string        // these were: the end of the process leaves them there
	must     map[string]bool // has to arrive or be reported
	damages  bool
	trace    []string
}

func newWorld(t *testing.T, seed uint64, omit Omit, clockOff clock.Omit) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), omit: omit, clockOff: clockOff,
		disk:   &memDisk{files: map[SegmentID]*memFile{}, aside: map[string]int{}},
		server: &server{t: t, stored: map[string]string{}, points: map[string]string{}, lost: map[string]telemetry.LossReason{}, floors: map[telemetry.Epoch]uint64{}},
		utc:    1764000000000, must: map[string]bool{}, boot: 1,
	}
	if w.rng.IntN(4) == 0 {
		w.policy = RefuseNew
	}
	w.kernel = -w.utc
	w.start()
	return w
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%v ", w.now)+fmt.Sprintf(format, args...))
}

func (w *world) start() {
	w.epochs++
	epoch := telemetry.Epoch(w.epochs)
	boot := clock.BootID{w.boot}
	w.core = NewCore(CoreOptions{
		Epoch: epoch, Boot: boot, Quota: 64 << 10, SegmentBytes: 1 << 10,
		SyncEvery: 2 * time.Second, SyncCount: 16, Policy: w.policy, Omit: w.omit,
	})
	for _, id := range w.disk.ids() {
		w.disk.files[id].synced = len(w.disk.files[id].data)
		w.core.Recover(id, w.disk.files[id].data)
		w.apply()
	}
	w.core.Start(w.now)
	w.apply()
	w.loads()
	w.core.Tick(w.now)
	w.apply()
	var last *clock.Mapping
	if m, ok := w.core.LastMapping(); ok {
		last = &m
	}
	w.mapper = clock.NewMapper(clock.MapperOptions{Epoch: w.core.Epoch(), Boot: boot, Last: last, Omit: w.clockOff, Counter: w.counter})
	w.mapping(w.mapper.Start(clock.Millis(w.now)))
	w.note("start epoch %v boot %v segments %d", epoch, w.boot, len(w.disk.files))
}

func (w *world) mapping(m clock.Mapping, ok bool) {
	if ok {
		w.counter = m.ID.Counter
		w.core.AddMapping(m, w.now)
		w.apply()
		w.note("mapping %+v", m)
	}
}

func (w *world) loads() {
	for {
		id, ok := w.core.Wants()
		if !ok {
			return
		}
		var data []byte
		if f := w.disk.files[id]; f != nil {
			data = slices.Clone(f.data)
		}
		w.core.Load(id, data, w.now)
		w.apply()
	}
}

func (w *world) apply() {
	for {
		ops := w.core.Take()
		if len(ops) == 0 {
			break
		}
		for _, op := range ops {
			f := w.disk.files[op.Segment]
			switch op.Kind {
			case OpCreate:
				w.note("create %v", op.Segment)
				if f == nil {
					w.disk.files[op.Segment] = &memFile{}
				}
			case OpWrite:
				if w.disk.fails && w.rng.IntN(2) == 0 {
					w.note("write failed %v", op.Segment)
					w.core.WriteFailed(op.Segment, errDisk, w.now)
					continue
				}
				need := int(op.Off) + len(op.Data)
				if len(f.data) < need {
					f.data = append(f.data, make([]byte, need-len(f.data))...)
				}
				copy(f.data[op.Off:], op.Data)
				w.core.Written(op.Segment, op.Off, int64(need))
			case OpSync:
				if w.disk.fails && w.rng.IntN(2) == 0 {
					w.note("sync failed %v", op.Segment)
					w.core.SyncFailed(op.Segment, errDisk, w.now)
					continue
				}
				f.synced = len(f.data)
				w.core.Synced(op.Segment, op.To)
			case OpPatch:
				if f != nil {
					copy(f.data[op.Off:], op.Data)
				}
			case OpTruncate:
				w.note("truncate %v to %d", op.Segment, op.To)
				if f != nil {
					f.data = f.data[:op.To]
					f.synced = min(f.synced, len(f.data))
				}
			case OpRemove:
				w.note("remove %v", op.Segment)
				delete(w.disk.files, op.Segment)
			case OpSetAside:
				w.disk.aside[op.Name]++
			}
		}
	}
	for _, s := range w.core.segs {
		if s.written < s.size {
			return
		}
	}
	w.written = append(w.written, w.taken...)
	w.taken = nil
	if w.core.Clean() {
		w.keepWritten()
	}
}

func (w *world) keepWritten() {
	if len(w.written) > 0 {
		w.note("kept %v", w.written)
	}
	for _, k := range w.written {
		w.must[k] = true
	}
	w.written = nil
}

func (w *world) sample() {
	device := fmt.Sprintf("d%d", w.rng.IntN(3))
	readings := []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(float64(w.rng.IntN(100000)))}}
	n, err := w.core.Append(Sample{Device: device, Boottime: w.now.Truncate(time.Second), Readings: readings}, w.now)
	if errors.Is(err, ErrFull) {
		w.must[key(w.core.Epoch(), n)] = w.core.o.Policy == RefuseNew && false // only reported if the disk takes the report
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.note("append %v.%d", w.core.Epoch(), n)
	w.taken = append(w.taken, key(w.core.Epoch(), n))
	w.apply()
}

func (w *world) look() {
	q := telemetry.TimeNone
	if w.synced {
		q = telemetry.TimeNTP
	}
	w.mapping(w.mapper.Observe(clock.Observation{Boottime: clock.Millis(w.now), UTC: w.utc + w.kernel, Quality: q}))
}

func (w *world) send() {
	for _, lane := range []Lane{Live, Backlog} {
		for {
			b := w.core.Next(lane, w.now, Limit{Records: 1 + w.rng.IntN(8), Bytes: 4096})
			w.apply()
			if b.Run.Count == 0 {
				if _, ok := w.core.Wants(); ok {
					w.loads()
					continue
				}
				break
			}
			if !w.damages { // else memory may hold what the disk has lost since
				w.onDisk(b)
			}
			w.server.take(b)
			w.note("sent %v %d+%d clock %v", b.Run.Epoch, b.Run.First, b.Run.Count, b.Run.Clock)
			w.flights = append(w.flights, b)
			if w.rng.IntN(8) == 0 {
				break
			}
		}
	}
}

// onDisk checks that only durable records are sent.
func (w *world) onDisk(b Batch) {
	var have Spans
	for id, f := range w.disk.files {
		if id.Epoch == b.Run.Epoch {
			for _, x := range examine(id, f.data[:f.synced]).index {
				have.Add(x.number, x.number)
			}
		}
	}
	if len(have.Within(b.Run.First, b.Run.First+b.Run.Count-1)) != 1 || have.Within(b.Run.First, b.Run.First+b.Run.Count-1).Len() != b.Run.Count {
		w.server.fault("%v %d+%d was sent before it was durable", b.Run.Epoch, b.Run.First, b.Run.Count)
	}
}

func (w *world) ack() {
	for len(w.flights) > 0 && w.rng.IntN(10) > 0 {
		b := w.flights[0]
		w.flights = w.flights[1:]
		w.core.Ack(b.Run.Epoch, b.Run.First, b.Run.First+b.Run.Count-1)
		w.apply()
	}
}

// stop ends the process; power says that the memory is gone too.
func (w *world) stop(power bool) {
	w.note("stop, power cut %v", power)
	w.flights, w.taken = nil, nil
	if !power {
		w.keepWritten()
		return
	}
	w.written = nil
	for _, id := range w.disk.ids() {
		f := w.disk.files[id]
		keep := f.synced + w.rng.IntN(len(f.data)-f.synced+1)
		if f.synced == 0 && keep == 0 {
			delete(w.disk.files, id)
			continue
		}
		f.data = f.data[:keep]
		if keep > f.synced && w.rng.IntN(2) == 0 { // a page that never reached the card
			clear(f.data[f.synced+w.rng.IntN(keep-f.synced):])
		}
		f.synced = len(f.data)
	}
	w.boot++
	w.now = time.Duration(w.rng.IntN(30)+1) * time.Second
	w.synced = false
	switch w.rng.IntN(3) {
	case 0:
		w.kernel = -w.utc // 1970
	case 1:
		w.kernel = -int64(w.rng.IntN(600)) * 1000 // the last shutdown
	}
}

// restore writes an earlier image of the card back.
func (w *world) restore() {
	if w.image == nil {
		w.image, w.imaged = w.disk.clone(), w.counter
		return
	}
	w.stop(true)
	w.note("the card is written back from an image")
	w.disk, w.counter = w.image, w.imaged
	w.image = nil
	clear(w.must) // what came after the image is gone with the card
	w.start()
}

// damage changes bytes of a segment behind the program's back.
func (w *world) damage() {
	ids := w.disk.ids()
	if len(ids) == 0 {
		return
	}
	id := ids[w.rng.IntN(len(ids))]
	f := w.disk.files[id]
	if len(f.data) == 0 || w.core.active.id == id {
		return
	}
	before := examine(id, f.data)
	// What a loss record told may go with it: then only the floors tell.
	for _, l := range before.losses {
		for n := l.From; n <= l.To; n++ {
			delete(w.must, key(l.Epoch, n))
		}
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
	// How many records stood in a damaged tail is known to nobody but the server,
	// by the epoch's floor.
	var last uint64
	for _, x := range examine(id, f.data).index {
		last = max(last, x.number)
	}
	for _, x := range before.index {
		if x.number > last {
			delete(w.must, key(id.Epoch, x.number))
		}
	}
	// A mapping of which the last copy is gone can't stamp the same again.
	kept := map[clock.Mapping]bool{}
	for id, f := range w.disk.files {
		for _, m := range examine(id, f.data[:f.synced]).mappings {
			kept[m] = true
		}
	}
	for _, m := range before.mappings {
		w.server.restamped = w.server.restamped || !kept[m]
	}
	w.note("damage in %v at %d", id, from)
}

func (w *world) step() {
	d := time.Duration(w.rng.IntN(4000)) * time.Millisecond
	w.now += d
	w.utc += d.Milliseconds()
	switch w.rng.IntN(40) {
	case 12:
		if w.rng.IntN(20) == 0 {
			w.restore()
		}
	case 13:
		if w.damages && w.rng.IntN(20) == 0 {
			w.damage()
		}
	case 0:
		w.stop(w.rng.IntN(2) == 0)
		w.start()
	case 1:
		w.disk.fails = !w.disk.fails && w.rng.IntN(3) == 0
	case 2:
		w.flights = nil
		w.core.Rewind() // the link broke
	case 3:
		w.synced = !w.synced
	case 4:
		w.kernel += int64(w.rng.IntN(61)-30) * 1000
	case 5:
		w.mapping(w.mapper.Observe(clock.Observation{Boottime: clock.Millis(w.now), UTC: w.utc, Quality: telemetry.TimeServer}))
	case 6:
		if w.synced {
			w.kernel = 0
		}
	case 7, 8:
		w.ack()
	case 9, 10, 11:
		w.send()
	default:
		w.sample()
	}
	w.look()
	w.core.Tick(w.now)
	w.apply()
}

// finish heals everything, drains the spool and checks that nothing is missing.
func (w *world) finish() []string {
	w.disk.fails = false
	if w.rng.IntN(2) == 0 {
		w.stop(true)
		w.start()
	}
	w.synced, w.kernel = true, 0
	for range 100 {
		w.now += 20 * time.Second
		w.utc += 20_000
		w.look()
		w.core.Tick(w.now)
		w.apply()
		w.send()
		for _, b := range w.flights {
			w.core.Ack(b.Run.Epoch, b.Run.First, b.Run.First+b.Run.Count-1)
			w.apply()
		}
		w.flights = nil
	}
	for k, must := range w.must {
		if _, ok := w.server.stored[k]; must && !ok && w.server.lost[k] == "" {
			w.server.fault("%s was on disk, and neither arrived nor was reported", k)
		}
	}
	floors := w.core.Epochs()
	if !w.omit.Floors && (len(floors) != 1 || floors[0].Epoch != w.core.Epoch() || floors[0].Lowest != w.core.next) {
		w.server.fault("the drained spool still lists %v", floors)
	}
	if st := w.core.Stats(w.now); st.Records > 0 {
		w.server.fault("%d records never left the spool", st.Records)
	}
	return w.server.faults
}

func simulate(t *testing.T, seed uint64, damages bool, omit Omit, clockOff clock.Omit) (*world, []string) {
	w := newWorld(t, seed, omit, clockOff)
	w.damages = damages
	for range 1500 {
		w.step()
		if len(w.server.faults) > 0 {
			return w, w.server.faults
		}
	}
	return w, w.finish()
}

// seeds is how many runs a test makes; PANTAU_SEEDS asks for more.
func seeds(t *testing.T) uint64 {
	text := os.Getenv("PANTAU_SEEDS")
	if text == "" {
		return 80
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatalf("PANTAU_SEEDS: %v", err)
	}
	return n
}

func TestNothingIsLostOrDoubledWhateverHappens(t *testing.T) {
	for seed := range seeds(t) {
		if w, faults := simulate(t, seed, seed%2 == 1, Omit{}, clock.Omit{}); len(faults) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, faults[0], strings.Join(w.trace[max(0, len(w.trace)-40):], "\n"))
		}
	}
}

func TestEachRuleIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		omit  Omit
		clock clock.Omit
		first uint64 // where to begin to look, for what few seeds show
	}{
		"only durable records are sent":              {omit: Omit{Durable: true}},
		"H1 the mapping is durable first":            {omit: Omit{MappingDurable: true}},
		"H1 a stamp never changes":                   {omit: Omit{FixedStamp: true}},
		"H2 each start and change is a new clock id": {clock: clock.Omit{NewIDs: true}},
		"H2 a clock id is named by its epoch":        {clock: clock.Omit{EpochInID: true}, first: 280},
		"H3 an epoch is one run":                     {omit: Omit{EpochPerRun: true}},
		"H5 what has no clock is reported":           {omit: Omit{NoClock: true}},
		"H13 a message is one unbroken run":          {omit: Omit{UnbrokenRuns: true}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(600) {
				if _, faults := simulate(t, (c.first+seed)%600, false, c.omit, c.clock); len(faults) > 0 {
					t.Logf("seed %d: %s", (c.first+seed)%600, faults[0])
					return
				}
			}
			t.Error("left out, and no seed shows it")
		})
	}
}
