package publication

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// KV keeps what people edit; a bucket of the journal is one.
type KV interface {
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	List(ctx context.Context, prefix string) (map[string][]byte, error)
	Delete(ctx context.Context, key string) error
}

// Places says where readings were taken; *places.Store is one. Calls must not
// block.
type Places interface {
	Site(code string) (places.Site, bool)
	Sites() []places.Site
	// Nodes lists those of which a device may have been at a site in [from, to),
	// During the deployments of a device that hold at some time in it.
	Nodes(site string, from, to time.Time) []telemetry.Node
	During(n telemetry.Node, device string, from, to time.Time) []places.Deployment
	// Utama picks, of deployments that hold at a site at t and measure a quantity,
	// the one whose readings are the site's.
	Utama(site, quantity string, t time.Time, of []places.Deployment) (places.Deployment, bool)
}

// Database is what the worker reads of InfluxDB; *influx.Client is one.
type Database interface {
	Rows(ctx context.Context, b influx.Bucket, s influx.Span) ([]influx.Row, error)
	Points(ctx context.Context, s influx.Span, fn func(*influx.Point) error) error
}

// Options say what a book works with. Dir, KV and Places have no default;
// Database only Start needs.
type Options struct {
	Dir      string // figures.db and bulletins/ lie here
	KV       KV
	Places   Places
	Database Database
	// Now and Synced are the server's clock and whether it is synchronised: without
	// that nothing is published. Default time.Now and true.
	Now    func() time.Time
	Synced func() bool
	// Rest is how long nothing of a site's day may have changed before its late
	// figures are computed: what comes in a burst becomes one revision. Default 15 s.
	Rest time.Duration
	// CatchUp is for how long after Start silence is not judged yet: gateways that
	// waited for this server are still sending what they kept meanwhile. Default 5 min.
	CatchUp    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not shown
}

// Book is the open book. Its methods may be called concurrently.
type Book struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	file    *file
	changes atomic.Uint64
	hurt    atomic.Bool // damage was met: the worker sets the file aside

	people    people
	bulletins bulletins
	worker    worker
	stirred   stirred
	started   time.Time  // by Start
	stepping  sync.Mutex // held while something is computed
	judged    time.Time  // end of the hour whose silence is judged and whose bulletin waits; under stepping
	stack     lifecycle.Stack
}

// Open opens the book. Nothing runs before Start; Close ends both.
func Open(ctx context.Context, o Options) (*Book, error) {
	for _, missing := range []struct {
		name string
		is   bool
	}{{"Dir", o.Dir == ""}, {"KV", o.KV == nil}, {"Places", o.Places == nil}} {
		if missing.is {
			return nil, fmt.Errorf("publication option %s is empty", missing.name)
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = func() bool { return true }
	}
	if o.Rest == 0 {
		o.Rest = 15 * time.Second
	}
	if o.CatchUp == 0 {
		o.CatchUp = 5 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	b := &Book{o: o, log: o.Logger}
	b.metrics = newMetrics(b, o.Registerer)
	b.worker.init()
	if err := b.people.load(ctx, o.KV); err != nil {
		return nil, err
	}
	if err := b.bulletins.open(filepath.Join(o.Dir, "bulletins")); err != nil {
		return nil, err
	}
	f, aside, damage, err := openFile(filepath.Join(o.Dir, "figures.db"), b.now())
	if err != nil {
		return nil, err
	}
	b.file = f
	b.stack.Add("the book's file", func(context.Context) error { return f.close() })
	if damage != nil {
		b.damaged(aside, damage)
	}
	if err := errors.Join(b.begin(), b.reapply()); err != nil {
		return nil, errors.Join(err, b.stack.Close(ctx))
	}
	return b, nil
}

// Close ends the worker and closes the file.
func (b *Book) Close(ctx context.Context) error { return b.stack.Close(ctx) }

// Changed grows with every change of what the book says.
func (b *Book) Changed() uint64 { return b.changes.Load() }

// now is the clock, as fine as the book keeps times.
func (b *Book) now() time.Time { return b.o.Now().UTC().Truncate(time.Millisecond) }

func (b *Book) damaged(aside string, why error) {
	b.metrics.damaged.Inc()
	b.log.Error("the book was damaged: it is written again from the database's hour rows; numbers of revisions begin anew", "set_aside", aside, "error", why)
}

// begin notes in a new file from when on silence is judged, and that the hours
// must come from the database.
func (b *Book) begin() error {
	return b.file.update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta.Get(keyTicked) != nil {
			return nil
		}
		if err := addSpan(tx, allSites, time.Time{}, time.Time{}, figures.LateData); err != nil {
			return err
		}
		return putTime(meta, keyTicked, b.now().Add(-time.Hour).Truncate(time.Hour))
	})
}

// Keys of bucketMeta.
var (
	keySeq    = []byte("seq")    // number of the newest change of hours or figures
	keyTicked = []byte("ticked") // end of the hour up to which silent sites were judged
)

func putTime(b *bbolt.Bucket, key []byte, t time.Time) error {
	return put(b, key, binary.BigEndian.AppendUint64(nil, uint64(t.UnixMilli())))
}

func getNumber(b *bbolt.Bucket, key []byte) (uint64, error) {
	v, err := get(b, key)
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return binary.BigEndian.Uint64(v), nil
}

func getTime(b *bbolt.Bucket, key []byte) (time.Time, error) {
	v, err := getNumber(b, key)
	return time.UnixMilli(int64(v)).UTC(), err
}

// nextSeq numbers a change.
func nextSeq(tx *bbolt.Tx) (uint64, error) {
	meta := tx.Bucket(bucketMeta)
	n, err := getNumber(meta, keySeq)
	if err != nil {
		return 0, err
	}
	return n + 1, put(meta, keySeq, binary.BigEndian.AppendUint64(nil, n+1))
}

func getJSON[T any](b *bbolt.Bucket, key []byte) (v T, ok bool, err error) {
	raw, err := get(b, key)
	if err != nil || raw == nil {
		return v, false, err
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, false, fmt.Errorf("%w: row %x: %w", ErrDamaged, key, err)
	}
	return v, true, nil
}

func putJSON(b *bbolt.Bucket, key []byte, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write row %x: %w", key, err)
	}
	return put(b, key, raw)
}

// read is how pages read: damage is noted for the worker.
func (b *Book) read(ctx context.Context, what string, fn func(tx *bbolt.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.checked(what, b.file.view(fn))
}

// write makes a change durable and counts it.
func (b *Book) write(what string, fn func(tx *bbolt.Tx) error) error {
	err := b.checked(what, b.file.update(fn))
	if err == nil {
		b.changes.Add(1)
	}
	return err
}

func (b *Book) checked(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrDamaged) && b.hurt.CompareAndSwap(false, true) {
		b.worker.wake()
	}
	return fmt.Errorf("%s: %w", what, err)
}

type metrics struct {
	damaged  prometheus.Counter
	hours    prometheus.Counter
	figures  *prometheus.CounterVec
	failures prometheus.Counter
	late     prometheus.Counter
}

func newMetrics(b *Book, r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "pantau_publication_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &metrics{
		damaged:  counter("damaged_books_total", "Files of the book set aside as damaged."),
		hours:    counter("site_hours_total", "Hours of one quantity of a site that were written or changed."),
		failures: counter("failures_total", "Steps of the book's worker that failed and will be repeated."),
		late:     counter("waiting_hours_total", "Hours that came for a month that is validated."),
		figures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pantau_publication_figures_total",
			Help: "Figures written, by kind and whether they correct one."}, []string{"kind", "correction"}),
	}
	r.MustRegister(m.figures)
	for name, x := range map[string]struct {
		help   string
		bucket []byte
	}{
		"dirty_site_days": {"Days of a site of which hours wait to be computed.", bucketDirty},
		"due_site_days":   {"Days of a site of which figures wait to be computed.", bucketDue},
	} {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pantau_publication_" + name, Help: x.help}, func() float64 {
			return float64(b.count(x.bucket))
		}))
	}
	return m
}

// count counts the rows of a small bucket.
func (b *Book) count(bucket []byte) (n int) {
	if b.file == nil {
		return 0
	}
	err := b.file.view(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucket).Stats().KeyN
		return nil
	})
	if err != nil {
		return 0
	}
	return n
}
