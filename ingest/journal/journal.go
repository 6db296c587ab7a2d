// Package journal keeps what the broker took until every reader has done with
// it, and the small state that people edit (KV buckets). It is an embedded
// NATS JetStream server without a listening port, and the only place that
// knows so.
//
// It promises:
//   - done(nil) means fsynced: SyncAlways is on, or Open refuses.
//   - Order: packets are kept in the order of Submit, callbacks run in that
//     order in one goroutine, and after a failed packet every later one fails
//     too until its callback has returned. What was not acknowledged may still
//     turn up in the journal (as with any lost acknowledgement), never the
//     other way round.
//   - Full is a state, not an accident: at the quota, or when the disk's free
//     space reaches the reserve, packets are refused with ErrFull, while ticks
//     and changes of rules still fit. Nothing acknowledged is ever dropped to
//     make room; only Purge makes room.
//   - A position is never used twice, and damage on disk never blocks Open:
//     what can't be read is stepped over, reported and counted.
//
// One JetStream message is one group commit: 110,000 packets/s for 64
// publishers that wait, against 6,100 with one message a packet, since the
// fsync is what costs.
//
// Lock order: marking, mu. No callback and no I/O under mu.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// What Err, Submit's callback and Append report; test with errors.Is.
var (
	// ErrFull: the quota is used up or the disk's free space is at the reserve.
	ErrFull = errors.New("journal is full")
	// ErrDisk: the disk refused a write; the store is being reopened.
	ErrDisk = errors.New("journal can't write to its disk")
	// ErrBusy: more is waiting for the disk than MaxPending allows.
	ErrBusy = errors.New("journal's disk is too slow for what arrives")
	// ErrTooLarge: one packet or envelope above MaxEnvelope.
	ErrTooLarge = errors.New("too large for the journal")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("journal is closed")
)

// MaxEnvelope is the largest body that Append takes and a KV value may have,
// in bytes.
const MaxEnvelope = 1 << 20

const (
	streamName    = "raw"
	subjectPrefix = "raw."
)

// Options say where the journal lies and how much it may hold.
type Options struct {
	// Dir is the folder, created if absent (0700).
	Dir string
	// Server names this server in the subject raw.<server>; default "pantau".
	Server string
	// MaxBytes is the quota of the stream in bytes; 0 takes what the disk has
	// free at Open (plus what the journal holds already) less Reserve.
	MaxBytes int64
	// Reserve is the free space in bytes that is left on the disk for KV
	// buckets and readers' checkpoints; default 256 MiB.
	Reserve int64
	// MaxPending bounds the bytes that wait for the disk; default 64 MiB.
	MaxPending int
	// CommitTimeout is how long a commit may take before the store counts as
	// broken and is reopened; default 10 s.
	CommitTimeout time.Duration
	Logger        *slog.Logger          // default slog.Default()
	Registerer    prometheus.Registerer // nil: metrics are kept but not shown

	freeSpace   func(dir string) (int64, error) // a test has a disk that lies
	withoutSync bool                            // a test proves that power cuts find this out
}

func (o *Options) complete() error {
	if o.Dir == "" {
		return errors.New("journal option Dir is empty: name a folder")
	}
	if o.MaxBytes < 0 || o.MaxBytes > 0 && o.MaxBytes < 4<<20 {
		return fmt.Errorf("journal option MaxBytes is %d: want 0 (what the disk has) or at least %d", o.MaxBytes, 4<<20)
	}
	if o.Reserve < 0 || o.MaxPending < 0 || o.CommitTimeout < 0 {
		return fmt.Errorf("journal options Reserve %d, MaxPending %d, CommitTimeout %v: none may be negative", o.Reserve, o.MaxPending, o.CommitTimeout)
	}
	if o.Server == "" {
		o.Server = "pantau"
	}
	if o.Reserve == 0 {
		o.Reserve = 256 << 20
	}
	if o.MaxPending == 0 {
		o.MaxPending = 64 << 20
	}
	if o.CommitTimeout == 0 {
		o.CommitTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.freeSpace == nil {
		o.freeSpace = freeSpace
	}
	return nil
}

// Journal is an open journal. Its methods are safe for concurrent use.
type Journal struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	subject string
	lock    *os.File

	mu      sync.Mutex
	marking sync.Mutex // held while the mark is written; before mu
	changed *sync.Cond // anything below changed that the loops wait for

	engine      *engine       // nil while the store is being reopened
	engineReady chan struct{} // closed when engine is set
	sick        *engine       // to be replaced
	broken      chan struct{} // has one token when the supervisor should reopen

	queue       []*group // wait for the committer
	inflight    []*group // published, wait for their result
	spare       [][]byte // bodies of committed groups, at most window
	rejected    []*group // refused, wait for their callbacks
	pending     int      // bytes in queue and inflight
	refuse      error    // nil: packets are taken
	rejecting   bool     // callbacks are running
	refuseClear bool     // the reason has gone; taken again once rejected is empty
	opened      bool     // install has run once: last is known
	closing     bool

	first, last uint64 // of the stream; last is the newest acknowledged position
	published   uint64 // position of the newest group handed to the store
	bytes       int64  // what the stream holds
	quota       int64
	room        int64 // free bytes on the disk above the reserve, at the last look
	mark        mark
	buckets     []*KV

	advanced chan struct{} // closed and replaced whenever last grows
	reopens  atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
}

// openTries is how often Open tries: an error of the disk may pass.
const openTries = 5

// Open opens or creates the journal in o.Dir, mends what a crash or a bad disk
// left, and starts its goroutines; Close ends them. Only one process may hold a
// folder open.
func Open(ctx context.Context, o Options) (*Journal, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the journal's folder: %w", err)
	}
	lock, err := lockFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		o: o, log: o.Logger.With("room", "journal"), lock: lock,
		subject:     subjectPrefix + encodeLevel(o.Server),
		engineReady: make(chan struct{}),
		broken:      make(chan struct{}, 1),
		advanced:    make(chan struct{}),
	}
	j.changed = sync.NewCond(&j.mu)
	j.metrics = newMetrics(j)
	j.ctx, j.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e, err := j.openEngine(ctx)
	for try := 1; err != nil && ctx.Err() == nil && try < openTries; try++ {
		j.log.Warn("the journal does not open, trying again", "error", err)
		pause := time.NewTimer(time.Duration(try) * 50 * time.Millisecond)
		select {
		case <-pause.C:
			e, err = j.openEngine(ctx)
		case <-ctx.Done():
		}
		pause.Stop()
	}
	if err != nil {
		j.cancel()
		_ = lock.Close()
		return nil, err
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(j.metrics); err != nil {
			e.close()
			j.cancel()
			_ = lock.Close()
			return nil, fmt.Errorf("register the journal's metrics: %w", err)
		}
	}
	j.install(e)
	j.wg.Go(j.commitLoop)
	j.wg.Go(j.acknowledgeLoop)
	j.wg.Go(j.superviseLoop)
	j.wg.Go(j.sweepLoop)
	return j, nil
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal's lock: %w", err)
	}
	// NATS itself takes no lock: two servers on one folder lose acknowledged messages.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the journal in %s is in use by another process: %w", dir, err)
	}
	return f, nil
}

// Close takes nothing more, commits what was submitted, runs the last
// callbacks and stops the embedded server. It returns when all that is done or
// ctx ends, in which case it reports so and what waits is refused.
func (j *Journal) Close(ctx context.Context) error {
	var err error
	j.once.Do(func() { err = j.close(ctx) })
	return err
}

func (j *Journal) close(ctx context.Context) error {
	j.mu.Lock()
	j.closing = true
	j.changed.Broadcast()
	for (len(j.queue) > 0 || len(j.inflight) > 0 || len(j.rejected) > 0 || j.rejecting) && ctx.Err() == nil && j.engine != nil {
		stop := context.AfterFunc(ctx, func() {
			j.mu.Lock()
			defer j.mu.Unlock()
			j.changed.Broadcast()
		})
		j.changed.Wait()
		stop()
	}
	unfinished := len(j.queue) + len(j.inflight)
	j.rejectAllLocked(ErrClosed)
	j.cancel()
	j.changed.Broadcast()
	j.mu.Unlock()
	j.wg.Wait()

	j.mu.Lock()
	e := j.engine
	j.engine = nil
	j.mu.Unlock()
	var err error
	if e != nil {
		e.close()
		j.mark.Clean, j.mark.Last = true, j.last
		err = writeMark(j.o.Dir, j.mark)
	}
	if j.o.Registerer != nil {
		j.o.Registerer.Unregister(j.metrics)
	}
	err = errors.Join(err, j.lock.Close())
	if unfinished > 0 {
		err = errors.Join(err, fmt.Errorf("%d groups of packets were not committed: %w", unfinished, context.Cause(ctx)))
	}
	return err
}

// Err is nil while packets are taken, or says why not: it wraps ErrFull,
// ErrDisk, ErrBusy or ErrClosed.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closing {
		return ErrClosed
	}
	return j.refuse
}

// Bounds returns the first position held and the newest acknowledged one. An
// empty journal has first = last + 1.
func (j *Journal) Bounds(context.Context) (first, last uint64, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first, j.last, nil
}

// Purge frees everything up to and with upTo. The caller has made sure that
// every reader keeps a durable checkpoint at or beyond it.
func (j *Journal) Purge(ctx context.Context, upTo uint64) error {
	j.mu.Lock()
	upTo = min(upTo, j.last)
	e, nothing := j.engine, upTo < j.first
	j.mu.Unlock()
	if nothing {
		return nil
	}
	if e == nil {
		return fmt.Errorf("purge up to %d: %w", upTo, ErrDisk)
	}
	// First the note, then the deed: what is gone without a note is damage.
	if err := j.updateMark(func(m *mark) { m.Floor = max(m.Floor, upTo); m.Missing = above(m.Missing, m.Floor) }); err != nil {
		return fmt.Errorf("purge up to %d: %w", upTo, err)
	}
	if err := e.purge(ctx, upTo+1); err != nil {
		j.suspect(e, err)
		return fmt.Errorf("purge up to %d: %w", upTo, err)
	}
	return j.refresh(ctx, e)
}

// Stats is what the journal's page and metrics show.
type Stats struct {
	First, Last   uint64 // positions
	Bytes, Quota  int64  // of the stream
	DiskFree      int64  // bytes above the reserve, at the last look
	Missing       uint64 // positions above the last purge that damage took
	Reopened      uint64 // times the store was reopened after an error of the disk
	PendingBytes  int    // wait for the disk
	PendingGroups int
}

// Stats returns the state of now.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	var missing uint64
	for _, s := range j.mark.Missing {
		missing += s.To - s.From + 1
	}
	return Stats{
		First: j.first, Last: j.last, Bytes: j.bytes, Quota: j.quota, DiskFree: j.room,
		Missing: missing, Reopened: j.reopens.Load(),
		PendingBytes: j.pending, PendingGroups: len(j.queue) + len(j.inflight),
	}
}
