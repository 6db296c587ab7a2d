package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Database is what the archive stands before; *influx.Client is one.
type Database interface {
	ingest.Database
	Exact(ctx context.Context, s influx.Span, fn func(*influx.Exact) error) error
	OldestRaw(ctx context.Context, kind telemetry.Kind, from, to time.Time) (at time.Time, found bool, err error)
	RawNodes(ctx context.Context, kind telemetry.Kind, from, to time.Time) ([]telemetry.Node, error)
	OnlyOurs(ctx context.Context, kind telemetry.Kind) error
	RemoveRaw(ctx context.Context, kind telemetry.Kind, from, to time.Time) error
}

var (
	_ Database        = (*influx.Client)(nil)
	_ ingest.Database = (*Archive)(nil)
)

// KV keeps the retentions; a bucket of the journal is one.
type KV interface {
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// Options say what an archive works with. Dir, Database and KV have no default.
type Options struct {
	Dir      string // files lie in Dir/<kind>/, beside Dir/manifest.jsonl
	Database Database
	KV       KV
	// MinFree is how many bytes of the disk stay free: the journal shares it.
	// Default 1 GiB.
	MinFree int64
	// Now and Synced are the server's clock and whether it is synchronised: without
	// that nothing leaves the database. Default time.Now and true.
	Now        func() time.Time
	Synced     func() bool
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not shown
}

// Archive is the open archive, and the database as others see it: what is not
// said here is the database's own. Its methods may be called concurrently.
type Archive struct {
	Database
	o       Options
	log     *slog.Logger
	metrics *metrics

	changing  sync.Mutex // one change of the retention at a time
	mu        sync.RWMutex
	retention []DatedRetention
	files     map[day][]File // by revision
	missing   []string       // listed files that were not there at the start
	status    Status

	gate  chan struct{} // held by a write of old points, and while a day leaves
	shut  atomic.Int64  // until then (Unix nanoseconds) a deletion may be on its way
	awake chan struct{}
	ready chan struct{} // closed once the database has been prepared
	once  sync.Once
	waits Waits
	stack lifecycle.Stack
	steps func(step string) error // of the tests: called before each step
}

// day names what one file holds.
type day struct {
	kind telemetry.Kind
	name string
}

// Waits says why the readings of a day cannot leave the database yet; "": they
// can.
type Waits func(ctx context.Context, from, to time.Time) (why string, err error)

// Open reads the manifest and the retention. Nothing leaves the database before
// Start; Close ends that.
func Open(ctx context.Context, o Options) (*Archive, error) {
	for _, missing := range []struct {
		name string
		is   bool
	}{{"Dir", o.Dir == ""}, {"Database", o.Database == nil}, {"KV", o.KV == nil}} {
		if missing.is {
			return nil, fmt.Errorf("archive option %s is empty", missing.name)
		}
	}
	if o.MinFree == 0 {
		o.MinFree = 1 << 30
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = func() bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &Archive{Database: o.Database, o: o, log: o.Logger, files: map[day][]File{}, gate: make(chan struct{}, 1), awake: make(chan struct{}, 1), ready: make(chan struct{})}
	a.metrics = newMetrics(a, o.Registerer)
	if err := errors.Join(a.loadRetention(ctx), a.load()); err != nil {
		return nil, fmt.Errorf("open the archive: %w", err)
	}
	if len(a.files) > 0 {
		// The process before may have ended while it deleted.
		a.shut.Store(o.Now().Add(o.Database.LongestWrite()).UnixNano())
	}
	return a, nil
}

// Prepare makes the buckets. Before that there is nothing that could leave.
func (a *Archive) Prepare(ctx context.Context) (influx.Info, error) {
	info, err := a.Database.Prepare(ctx)
	if err == nil {
		a.once.Do(func() { close(a.ready) })
	}
	return info, err
}

// Start lets days leave the database until Close, each when waits has nothing
// against it, and none before Prepare has succeeded.
func (a *Archive) Start(waits Waits) {
	a.waits = waits
	a.stack.Go("archiving", a.run)
}

// Close ends what Start began.
func (a *Archive) Close(ctx context.Context) error { return a.stack.Close(ctx) }

func (a *Archive) wake() {
	select {
	case a.awake <- struct{}{}:
	default:
	}
}

// enter takes the gate.
func (a *Archive) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a.gate <- struct{}{}:
		return func() { <-a.gate }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errDeleting is why points of days that left must wait.
var errDeleting = errors.New("older readings are being deleted: points of that time wait until that is certainly over")

// Write writes lines. Raw points that are so old that their day may be leaving
// wait until it has left: a deletion never meets a point that no file holds.
func (a *Archive) Write(ctx context.Context, b influx.Bucket, lines []byte) error {
	if b == influx.Raw && olderThan(lines, young(a.o.Now())) {
		if wait := a.shut.Load() - a.o.Now().UnixNano(); wait > 0 {
			return &influx.UnavailableError{RetryAfter: time.Duration(wait), Err: errDeleting}
		}
		leave, err := a.enter(ctx)
		if err != nil {
			return &influx.UnavailableError{Err: fmt.Errorf("wait for a day to leave the database: %w", err)}
		}
		defer leave()
	}
	return a.Database.Write(ctx, b, lines)
}

// Erase deletes all that a node has, from the files too: their days get a new
// revision, and the revisions before it go.
func (a *Archive) Erase(ctx context.Context, n telemetry.Node) error {
	leave, err := a.enter(ctx)
	if err != nil {
		return fmt.Errorf("erase %s: %w", n, err)
	}
	defer leave()
	if err := a.Database.Erase(ctx, n); err != nil {
		return err
	}
	for _, f := range a.newestFiles() {
		a.mu.RLock()
		revisions := a.files[day{f.Kind, f.Day}]
		a.mu.RUnlock()
		if err := a.eraseDay(revisions, n); err != nil {
			return fmt.Errorf("erase %s from the archive's %s of %s: %w", n, f.Kind, f.Day, err)
		}
	}
	return nil
}

// unanswered notes that a deletion may still be done.
func (a *Archive) unanswered(err error) {
	var away *influx.UnavailableError
	if err != nil && (!errors.As(err, &away) || away.Status == 0) {
		a.shut.Store(a.o.Now().Add(a.LongestWrite()).UnixNano())
	}
}

func (a *Archive) step(name string) error {
	if a.steps == nil {
		return nil
	}
	return a.steps(name)
}
