package spool

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Options are what a spool needs. Dir and Boot are required.
type Options struct {
	Dir          string
	Boot         clock.BootID
	Quota        int64         // bytes of all segments; default 256 MiB, at least 8 segments
	FreeFloor    int64         // bytes that stay free on the file system; default 64 MiB, negative = none
	SegmentBytes int64         // default 128 KiB, or an eighth of a quota below 1 MiB
	SyncEvery    time.Duration // longest time a record waits for its fsync; default 2 s
	SyncCount    int           // records that bring it forward; default 256
	Policy       Policy
	Logger       *slog.Logger
	Metrics      *metrics.Set // nil = none

	Boottime func() time.Duration // default hostclock.Boottime
}

// Stats are counts for the status page and the metrics.
type Stats struct {
	Epoch       telemetry.Epoch
	Records     uint64 // not yet acknowledged
	Unresolved  uint64 // of these, without UTC so far
	Bytes       int64  // on disk
	Segments    int
	Oldest      time.Duration // about the age of the oldest record of this boot, 0 = none
	Appended    uint64        // samples since start
	Readings    uint64        // readings since start
	Written     uint64        // bytes written since start
	Syncs       uint64        // fsyncs since start
	Dropped     uint64        // records lost to the quota since start
	Quarantined uint64        // damaged stretches moved aside since start
	NoClock     uint64        // records lost for want of a mapping since start
	Full        bool          // the drop policy is at work
	Err         error         // what the disk said last, nil = fine
}

// Spool is the journal on the disk. Its methods may be called from many
// goroutines.
type Spool struct {
	o     Options
	log   *slog.Logger
	disk  *disk
	ready chan struct{}
	wake  chan struct{}
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once

	mu     sync.Mutex
	core   *Core
	syncs  []Op
	due    time.Duration // what the goroutine waits for, 0 = nothing
	synced chan struct{} // closed after each fsync
	closed bool

	dropped uint64 // records of which the log has told
}

// ErrClosed is what methods return after Close.
var ErrClosed = errors.New("the spool is closed")

// Open reads what lies in Dir, moves damaged parts aside and begins a new
// epoch, which is on disk when Open returns. Damage and a full disk don't keep
// it from opening; a second process on the same folder does.
func Open(o Options) (*Spool, error) {
	if o.Dir == "" || o.Boot == (clock.BootID{}) {
		return nil, errors.New("spool: Dir and Boot are required")
	}
	if o.Quota == 0 {
		o.Quota = 256 << 20
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = min(128<<10, o.Quota/8)
	}
	if o.Quota < 8*o.SegmentBytes {
		return nil, fmt.Errorf("spool: quota = %d bytes: want at least %d", o.Quota, 8*o.SegmentBytes)
	}
	if o.FreeFloor == 0 {
		o.FreeFloor = 64 << 20
	}
	if o.SyncEvery <= 0 {
		o.SyncEvery = 2 * time.Second
	}
	if o.SyncCount <= 0 {
		o.SyncCount = 256
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Boottime == nil {
		o.Boottime = hostclock.Boottime
	}
	d, err := openDisk(o.Dir, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("open the spool: %w", err)
	}
	epoch, err := newEpoch()
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	s := &Spool{
		o: o, log: o.Logger, disk: d,
		ready: make(chan struct{}, 1), wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		synced: make(chan struct{}),
		core: NewCore(CoreOptions{
			Epoch: epoch, Boot: o.Boot, Quota: o.Quota, SegmentBytes: o.SegmentBytes,
			SyncEvery: o.SyncEvery, SyncCount: o.SyncCount, Policy: o.Policy,
		}),
	}
	s.mu.Lock()
	err = s.recover()
	s.mu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the spool: %w", err), d.close())
	}
	s.register(o.Metrics)
	go s.run()
	return s, nil
}

// newEpoch draws 64 random bits that are not 0.
func newEpoch() (telemetry.Epoch, error) {
	for {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("draw an epoch: %w", err)
		}
		if e := binary.LittleEndian.Uint64(b[:]); e != 0 {
			return telemetry.Epoch(e), nil
		}
	}
}

// recover reads the folder and brings the new epoch to disk. mu is held.
func (s *Spool) recover() error {
	ids, err := s.disk.list()
	if err != nil {
		return err
	}
	for _, id := range ids {
		data := s.disk.read(id)
		if id.Boot == s.o.Boot && data != nil {
			if err := s.disk.settle(id, data); err != nil {
				s.log.Error("what the last run left in the spool may not survive a power cut", "error", err)
			}
		}
		s.core.Recover(id, data)
		s.apply()
	}
	s.core.Start(s.o.Boottime())
	s.apply()
	for {
		id, ok := s.core.Wants()
		if !ok {
			break
		}
		s.core.Load(id, s.disk.read(id), s.o.Boottime())
		s.apply()
	}
	s.checkRoom()
	s.core.Tick(s.o.Boottime())
	s.apply()
	s.sync()
	if st := s.core.Stats(s.o.Boottime()); st.Quarantined > 0 || st.NoClock > 0 || st.Err != nil {
		s.log.Warn("the spool was opened with losses", "damaged", st.Quarantined, "no_clock", st.NoClock, "error", st.Err, "dir", s.o.Dir)
	}
	return nil
}

// apply carries out what the core asks for, fsyncs excepted. mu is held.
func (s *Spool) apply() {
	for {
		ops := s.core.Take()
		if len(ops) == 0 {
			return
		}
		for _, op := range ops {
			if op.Kind == OpSync {
				s.syncs = append(s.syncs, op)
				continue
			}
			err := s.disk.do(op)
			switch {
			case op.Kind == OpWrite && err == nil:
				s.core.Written(op.Segment, op.Off, op.Off+int64(len(op.Data)))
			case err == nil:
			case op.Kind == OpWrite || op.Kind == OpCreate:
				s.log.Error("the spool could not be written, it will be tried again", "error", err)
				s.core.WriteFailed(op.Segment, err, s.o.Boottime())
			default:
				s.log.Warn("the spool could not be tidied up", "error", err)
			}
		}
	}
}

// sync carries out the fsyncs that are owed. mu is held; it is released while
// the disk works, so that Append does not wait for it.
func (s *Spool) sync() {
	for len(s.syncs) > 0 {
		op := s.syncs[0]
		s.syncs = s.syncs[1:]
		s.mu.Unlock()
		err := s.disk.sync(op.Segment)
		s.mu.Lock()
		if err != nil {
			s.log.Error("an fsync of the spool failed, it goes on in a new segment", "error", err)
			s.core.SyncFailed(op.Segment, err, s.o.Boottime())
		} else {
			s.core.Synced(op.Segment, op.To)
		}
		s.apply()
		close(s.synced)
		s.synced = make(chan struct{})
		select {
		case s.ready <- struct{}{}:
		default:
		}
	}
}

// run does what is due: fsyncs, retries, looks at the free room.
func (s *Spool) run() {
	defer close(s.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		case <-timer.C:
		}
		s.mu.Lock()
		s.core.Tick(s.o.Boottime())
		s.apply()
		if len(s.syncs) > 0 {
			s.sync()
			s.checkRoom()
		}
		if n := s.core.stats.Dropped; n > s.dropped {
			s.log.Error("the spool is full: readings are lost", "records", n-s.dropped, "quota", s.o.Quota, "free_floor", s.o.FreeFloor)
			s.dropped = n
		}
		due, ok := s.core.Due()
		s.due = 0
		wait := time.Hour
		if ok {
			s.due = due
			wait = max(0, due-s.o.Boottime())
		}
		s.mu.Unlock()
		timer.Reset(wait)
	}
}

func (s *Spool) checkRoom() {
	free, err := s.disk.free()
	if err != nil {
		s.log.Warn("the free room for the spool is not known", "error", err)
		return
	}
	s.core.SetFree(free, s.o.FreeFloor)
}

// after ends a call that changed the core: it carries out what came up, and
// wakes the goroutine if something is due earlier than it thinks. mu is held.
func (s *Spool) after() {
	s.apply()
	if due, ok := s.core.Due(); ok && (s.due == 0 || due < s.due) || len(s.syncs) > 0 {
		s.due = max(due, 1)
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Epoch returns this run's epoch.
func (s *Spool) Epoch() telemetry.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Epoch()
}

// LastMapping returns the newest mapping of this boot, nil if there is none.
func (s *Spool) LastMapping() *clock.Mapping {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.core.LastMapping(); ok {
		return &m
	}
	return nil
}

// AddMapping records a mapping and sees to it that it is fsynced soon; what it
// stamps is not sent before. It fails only after Close.
func (s *Spool) AddMapping(m clock.Mapping) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.core.AddMapping(m, s.o.Boottime())
	s.after()
	return nil
}

// Append takes a sample and returns its number within the epoch. Once it
// returns, the end of the process does not lose the sample; a power cut does
// until the next fsync. Errors wrap ErrSample, ErrFull or ErrClosed.
func (s *Spool) Append(sample Sample) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	n, err := s.core.Append(sample, s.o.Boottime())
	s.after()
	return n, err
}

// Ready tells, after an fsync, that there may be records to send.
func (s *Spool) Ready() <-chan struct{} { return s.ready }

// Next takes the next batch of a lane; it is on its way until Ack or Rewind.
func (s *Spool) Next(lane Lane, now time.Duration, limit Limit) Batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		b := s.core.Next(lane, now, limit)
		id, wants := s.core.Wants()
		if b.Run.Count > 0 || !wants {
			s.after()
			return b
		}
		s.mu.Unlock()
		data := s.disk.read(id)
		s.mu.Lock()
		s.core.Load(id, data, now)
		s.after()
	}
}

// Ack closes numbers: the server has them, by a PUBACK and nothing less.
func (s *Spool) Ack(e telemetry.Epoch, from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.Ack(e, from, to)
	s.after()
}

// Discard gives up numbers that can't be put into a message and reports them as
// lost.
func (s *Spool) Discard(e telemetry.Epoch, from, to uint64, now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Error("records can't be sent and are given up", "epoch", e, "from", from, "to", to)
	s.core.Discard(e, from, to, now)
	s.after()
}

// Rewind puts everything that is on its way back into the queue.
func (s *Spool) Rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.Rewind()
}

// Epochs lists the epochs of which something still lies in the spool, with the
// lowest number that does; this run's epoch always.
func (s *Spool) Epochs() []telemetry.EpochFloor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Epochs()
}

// Stats returns the spool's counts.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Stats(s.o.Boottime())
}

// Flush brings everything appended to disk, and returns once it is or ctx ends.
func (s *Spool) Flush(ctx context.Context) error {
	s.mu.Lock()
	s.core.Flush(s.o.Boottime())
	s.after()
	for !s.core.Clean() {
		synced := s.synced
		s.mu.Unlock()
		select {
		case <-synced:
		case <-s.done:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("flush the spool: %w", ctx.Err())
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// Close brings everything to disk and ends the spool's goroutine.
func (s *Spool) Close() error {
	var err error
	s.once.Do(func() {
		close(s.quit)
		<-s.done
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = true
		// What failed is tried again at once, without the usual pause: the
		// memory that holds it ends here.
		for range patience {
			now := s.o.Boottime() + retryLongest
			s.core.Flush(now)
			s.core.Tick(now)
			s.apply()
			s.sync()
			if s.core.Clean() {
				break
			}
		}
		if !s.core.Clean() {
			err = fmt.Errorf("close the spool: not everything is on disk: %w", s.core.Stats(0).Err)
		}
		err = errors.Join(err, s.disk.close())
	})
	return err
}

func (s *Spool) register(set *metrics.Set) {
	if set == nil {
		return
	}
	gauge := func(name string, f func(Stats) float64) {
		set.NewGauge(name, func() float64 { return f(s.Stats()) })
	}
	gauge("pantau_gateway_spool_records", func(t Stats) float64 { return float64(t.Records) })
	gauge("pantau_gateway_spool_unresolved_records", func(t Stats) float64 { return float64(t.Unresolved) })
	gauge("pantau_gateway_spool_bytes", func(t Stats) float64 { return float64(t.Bytes) })
	gauge("pantau_gateway_spool_oldest_seconds", func(t Stats) float64 { return t.Oldest.Seconds() })
	gauge("pantau_gateway_spool_samples_total", func(t Stats) float64 { return float64(t.Appended) })
	gauge("pantau_gateway_spool_readings_total", func(t Stats) float64 { return float64(t.Readings) })
	gauge("pantau_gateway_spool_written_bytes_total", func(t Stats) float64 { return float64(t.Written) })
	gauge("pantau_gateway_spool_fsyncs_total", func(t Stats) float64 { return float64(t.Syncs) })
	gauge("pantau_gateway_spool_dropped_records_total", func(t Stats) float64 { return float64(t.Dropped) })
	gauge("pantau_gateway_spool_quarantined_total", func(t Stats) float64 { return float64(t.Quarantined) })
	gauge("pantau_gateway_spool_no_clock_records_total", func(t Stats) float64 { return float64(t.NoClock) })
	gauge("pantau_gateway_spool_failing", func(t Stats) float64 {
		if t.Err != nil || t.Full {
			return 1
		}
		return 0
	})
}
