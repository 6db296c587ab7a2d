package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// engine is one run of the embedded server with its connections. After an
// error of the disk its streams stay broken, so the journal replaces it whole.
type engine struct {
	srv    *server.Server
	pub    *nats.Conn // commits only: nothing may queue before them
	api    *nats.Conn // purges, KV
	pubJS  jetstream.JetStream
	apiJS  jetstream.JetStream
	events *serverLog
	gone   chan struct{} // closed by close
	lost   func()        // called when a connection ends by itself

	withoutSync bool

	first, last uint64 // of the stream when the engine was opened
	bytes       int64
	quota       int64

	once sync.Once
}

// openEngine mends the folder, starts the server on it and brings the stream
// to where it must stand before anything is taken.
func (j *Journal) openEngine(ctx context.Context) (*engine, error) {
	begin := time.Now()
	m, err := readMark(j.o.Dir)
	if err != nil {
		j.log.Warn("the journal's mark is unreadable and starts anew", "error", err)
	}
	store := filepath.Join(j.o.Dir, "jetstream")
	if err := probe(j.o.Dir); err != nil {
		return nil, err
	}
	if err := restoreGuard(j.o.Dir); err != nil {
		return nil, err
	}
	mended := time.Now()
	if err := j.repair(store); err != nil {
		return nil, err
	}
	repaired := time.Now()
	guarded, err := guard(j.o.Dir)
	if err != nil {
		return nil, err
	}
	e, err := startServer(ctx, j.o, j.log, func(e *engine) { j.suspect(e, nats.ErrConnectionClosed) })
	if err != nil {
		return nil, errors.Join(err, restoreGuard(j.o.Dir))
	}
	if err := e.holds(ctx, guarded); err != nil {
		e.close()
		return nil, errors.Join(err, restoreGuard(j.o.Dir))
	}
	wait, done := e.impatient(ctx, j.o.CommitTimeout+time.Duration(markStep)*time.Second/10)
	err = j.prepareStream(wait, e, &m)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(wait), err)
	}
	done()
	if err != nil {
		e.close()
		return nil, errors.Join(err, restoreGuard(j.o.Dir))
	}
	if err := dropGuard(j.o.Dir); err != nil {
		e.close()
		return nil, err
	}
	m.Clean = false
	if m.Reserved < e.last+markStep {
		m.Reserved = e.last + markStep
	}
	err = j.updateMark(func(now *mark) { // a purge or a reader may have noted something meanwhile
		m.Floor = max(m.Floor, now.Floor)
		for _, s := range now.Missing {
			m.Missing, _ = insert(m.Missing, s)
		}
		m.Missing = above(m.Missing, m.Floor)
		*now = m
	})
	if err != nil {
		e.close()
		return nil, err
	}
	j.log.Info("journal open", "first", e.first, "last", e.last, "bytes", e.bytes, "quota", e.quota,
		"took", time.Since(begin).Round(time.Millisecond), "check", repaired.Sub(mended).Round(time.Millisecond))
	return e, nil
}

// probe makes sure that the disk takes a write. NATS deletes a stream whose
// folder it can't write to when it starts (nats-server 2.15.2, stream.go:
// setupStore fails, stop(deleteFlag)), so it must not even try.
func probe(dir string) error {
	name := filepath.Join(dir, "probe.tmp")
	err := func() error {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, 256<<10))
		if err == nil {
			err = f.Sync()
		}
		return errors.Join(err, f.Close())
	}()
	if e := os.Remove(name); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("%w: try a write in %s: %w", ErrDisk, dir, err)
	}
	return nil
}

func startServer(ctx context.Context, o Options, log *slog.Logger, lost func(*engine)) (*engine, error) {
	srv, err := server.NewServer(&server.Options{
		ServerName:             o.Server,
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		DisableJetStreamBanner: true,
		StoreDir:               o.Dir,
		SyncAlways:             !o.withoutSync,
		JetStreamMaxMemory:     16 << 20,
		JetStreamMaxStore:      1 << 60, // the quota is ours: NATS would refuse a bucket on a full disk
		MaxPayload:             MaxEnvelope + 4096,
		MaxPending:             128 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("create the embedded NATS server: %w", err)
	}
	events := &serverLog{log: log, next: make(chan struct{})}
	srv.SetLoggerV2(events, false, false, false)
	e := &engine{srv: srv, events: events, gone: make(chan struct{}), withoutSync: o.withoutSync}
	e.lost = func() { lost(e) }
	srv.Start()
	if err := e.connect(ctx); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *engine) connect(context.Context) error {
	if !e.srv.ReadyForConnections(10 * time.Second) {
		return errors.New("the embedded NATS server did not come up within 10 s")
	}
	config := e.srv.JetStreamConfig()
	if !e.srv.JetStreamEnabled() || config == nil {
		return errors.New("the embedded NATS server came up without JetStream")
	}
	// Without it the whole stream was lost at a simulated power cut.
	if !config.SyncAlways && !e.withoutSync {
		return errors.New("the embedded NATS server does not sync always: refusing to acknowledge anything")
	}
	var err error
	ended := nats.ClosedHandler(func(*nats.Conn) { e.lost() })
	if e.pub, err = e.dial("commit", ended); err != nil {
		return err
	}
	if e.api, err = e.dial("api", ended); err != nil {
		return err
	}
	if e.pubJS, err = jetstream.New(e.pub); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	if e.apiJS, err = jetstream.New(e.api, jetstream.WithDefaultTimeout(10*time.Second)); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	return nil
}

func (e *engine) dial(name string, options ...nats.Option) (*nats.Conn, error) {
	options = append(options, nats.InProcessServer(e.srv), nats.Name(name), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			e.events.log.Debug("connection to the embedded NATS server", "name", name, "error", err)
		}))
	c, err := nats.Connect("", options...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return c, nil
}

// close stops the server; what was acknowledged is on disk already.
func (e *engine) close() {
	e.once.Do(func() {
		close(e.gone)
		for _, c := range []*nats.Conn{e.pub, e.api} {
			if c != nil {
				c.Close()
			}
		}
		e.srv.Shutdown()
		e.srv.WaitForShutdown()
	})
}

// holds makes sure that every stream that lay in the folder was taken over.
func (e *engine) holds(ctx context.Context, want []string) error {
	have := map[string]bool{}
	names := e.apiJS.StreamNames(ctx)
	for name := range names.Name() {
		have[name] = true
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return fmt.Errorf("list the streams: %w", err)
	}
	for _, name := range want {
		if !have[name] {
			return fmt.Errorf("%w: the embedded server could not open the stream %s", ErrDisk, name)
		}
	}
	return nil
}

// prepareStream creates or updates the stream and steps over positions that
// were used before and are gone.
func (j *Journal) prepareStream(ctx context.Context, e *engine, m *mark) error {
	held := int64(0)
	s, err := e.apiJS.Stream(ctx, streamName)
	switch {
	case err == nil:
		held = int64(s.CachedInfo().State.Bytes)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		s = nil
	default:
		return fmt.Errorf("open the stream %s: %w", streamName, err)
	}
	e.quota = j.o.MaxBytes
	if e.quota == 0 {
		free, err := j.o.freeSpace(j.o.Dir)
		if err != nil {
			return err
		}
		e.quota = max(free+held-j.o.Reserve, 4<<20)
	}
	if s == nil || !suits(s.CachedInfo().Config, e.quota) {
		s, err = e.apiJS.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name:        streamName,
			Description: "what the broker took, one message per group commit",
			Subjects:    []string{subjectPrefix + ">"},
			Retention:   jetstream.LimitsPolicy, // only Purge frees
			Discard:     jetstream.DiscardNew,   // DiscardOld would drop acknowledged readings
			MaxAge:      0,                      // an age would delete what is not stored yet
			MaxBytes:    e.quota,
			MaxMsgs:     -1,
			MaxMsgSize:  MaxEnvelope + 4096,
			Storage:     jetstream.FileStorage,
			Replicas:    1,
			AllowDirect: true,
			DenyDelete:  true,
		})
		if err != nil {
			return fmt.Errorf("open the stream %s: %w", streamName, err)
		}
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return fmt.Errorf("ask for the stream's state: %w", err)
	}
	st := info.State
	e.first, e.last, e.bytes = st.FirstSeq, st.LastSeq, int64(st.Bytes)
	if st.Msgs == 0 {
		e.first = st.LastSeq + 1 // NATS says 0 for a new stream
	}
	if known := m.Last+m.Reserved > 0; known && e.first > m.Floor+1 {
		j.addMissing(m, m.Floor+1, e.first-1, "the stream's beginning is gone")
	}
	var deleted []Span // nothing of ours deletes single envelopes
	for _, seq := range st.Deleted {
		if seq >= e.first { // NATS may list 0
			deleted, _ = insert(deleted, Span{seq, seq})
		}
	}
	for _, s := range deleted {
		j.addMissing(m, s.From, s.To, "mended away")
	}
	used := m.Reserved // positions up to here may have been seen by a reader
	exact := m.Clean
	if exact {
		used = m.Last
	}
	j.mu.Lock()
	if j.opened {
		used, exact = j.last, true
	}
	j.mu.Unlock()
	if exact && used > e.last {
		j.addMissing(m, e.last+1, used, "the stream's end is gone")
	}
	if used > e.last {
		if err := e.fill(ctx, j.subject, used); err != nil {
			return fmt.Errorf("step over used positions: %w", err)
		}
	}
	return nil
}

// suits says whether the stream's settings will do: each change of them rewrites
// two files, between which a crash leaves them unreadable. Its limit is only the
// second line of defence, so it may be somewhat larger than the quota.
func suits(c jetstream.StreamConfig, quota int64) bool {
	return c.MaxBytes >= quota && c.MaxBytes/4 <= quota &&
		c.Discard == jetstream.DiscardNew && c.Retention == jetstream.LimitsPolicy && c.MaxAge == 0 && c.MaxMsgs == -1 &&
		c.MaxMsgSize == MaxEnvelope+4096 && c.AllowDirect && c.DenyDelete
}

// emptyBody is an envelope of packets without a packet.
var emptyBody = []byte{1}

// fill appends empty envelopes until the stream ends at to.
func (e *engine) fill(ctx context.Context, subject string, to uint64) error {
	var futures []jetstream.PubAckFuture
	for seq := e.last + 1; seq <= to; seq++ {
		f, err := e.pubJS.PublishAsync(subject, emptyBody, jetstream.WithExpectLastSequence(seq-1))
		if err != nil {
			return err
		}
		futures = append(futures, f)
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		e.last++
		e.bytes += recordSize(subject, len(emptyBody))
	}
	return nil
}

// purge removes everything below seq.
func (e *engine) purge(ctx context.Context, seq uint64) error {
	s, err := e.apiJS.Stream(ctx, streamName)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSequence(seq))
}

// refresh asks the stream how much it holds, after a purge.
func (j *Journal) refresh(ctx context.Context, e *engine) error {
	s, err := e.apiJS.Stream(ctx, streamName)
	if err != nil {
		return fmt.Errorf("ask for the stream's state: %w", err)
	}
	st := s.CachedInfo().State
	j.lookAtDisk()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.engine != e {
		return nil
	}
	j.first = st.FirstSeq
	j.bytes = int64(st.Bytes)
	j.lookForRoomLocked()
	j.changed.Broadcast()
	return nil
}

func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// impatient returns a context for one request that ends with ErrDisk when the
// answer is overdue.
func (e *engine) impatient(ctx context.Context, limit time.Duration) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		timeout := time.NewTimer(limit)
		defer timeout.Stop()
		bad := e.events.bad()
		for {
			select {
			case <-ctx.Done():
				return
			case <-bad:
				bad = nil
				timeout.Reset(min(limit, grace))
			case <-e.gone:
				cancel(ErrDisk)
			case <-timeout.C:
				cancel(ErrDisk)
			}
		}
	})
	return ctx, func() { cancel(nil); wg.Wait() }
}

// serverLog hands the embedded server's log to ours. An error line also tells
// those who wait for an answer not to wait out their time: after a physical
// ENOSPC NATS answers nothing at all.
type serverLog struct {
	log  *slog.Logger
	mu   sync.Mutex
	next chan struct{} // closed at the next error line
}

// bad returns a channel that is closed at the next error line.
func (l *serverLog) bad() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

func (l *serverLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, strings.TrimSpace(fmt.Sprintf(format, v...)), "from", "nats")
}

func (l *serverLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Warnf(format string, v ...any)   { l.line(slog.LevelWarn, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Tracef(format string, v ...any)  { l.line(slog.LevelDebug, format, v) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.Errorf(format, v...) }

func (l *serverLog) Errorf(format string, v ...any) {
	l.line(slog.LevelError, format, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.next)
	l.next = make(chan struct{})
}
