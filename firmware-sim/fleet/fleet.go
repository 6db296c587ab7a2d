// Package fleet plays thousands of gateways in one process: they speak the whole
// protocol of the real one (births, numbered runs, floors, live and backlog,
// resends until PUBACK) but have no chips and no card.
//
// RunHistory plays the posts of a province that have been measuring for a month.
//
// It promises to be an honest witness: before a reading is sent its line lies
// fsynced in the ledger, after its PUBACK a second line says so, and Result
// counts exactly what was sent.
package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Options say what to play. Server and Gateways are required.
type Options struct {
	Server   string       // mqtts://host:port, or mqtt://host:port without TLS
	CA       []byte       // PEM of the authorities that may sign the server's certificate
	Gateways []Credential // who plays

	// Interval is the time between two messages of a gateway. 0 sends the next
	// one as soon as the window has room: as fast as the server takes it.
	Interval time.Duration
	For      time.Duration   // how long is sampled; 0 = until ctx ends
	Enough   <-chan struct{} // once closed, sampling ends before that; nil = never
	Drain    time.Duration   // how long is then waited for PUBACKs; default 1 min
	Readings int             // in a message, 1 to MaxReadings(); default 10
	Window   int             // unacknowledged messages of a gateway; default 32
	LiveFor  time.Duration   // a message is live for so long; default 5 min
	Backlog  time.Duration   // so much past lies in every spool at the start; needs Interval

	OutageEvery time.Duration // mean time between two outages of a gateway; 0 = none
	OutageFor   time.Duration // mean length of one; default 10 s
	RestartRate float64       // share of outages in which the process restarts, 0 to 1

	ClockFaults []ClockFault // dealt out in turn to ClockShare of the gateways
	ClockShare  float64      // 0 to 1

	Ledger string // file for the lines S and A; "" = none
	Seed   uint64 // of values, outages and faults
	World  *world.World

	Logger  *slog.Logger // default none
	Started func()       // called once all gateways have connected; may be nil
}

// ClockFault is one way in which a gateway's clock may be wrong.
type ClockFault string

// The clock faults. The steps come in the middle of the run.
const (
	ClockUnknown ClockFault = "unknown" // it does not know UTC until the server tells
	ClockAhead   ClockFault = "ahead"   // it is a year ahead, then steps back
	ClockBack    ClockFault = "back"    // it steps back by two minutes
)

// Result is what was played.
type Result struct {
	Gateways int           `json:"gateways"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Readings uint64        `json:"readings"` // put into the ledger as sent
	Acked    uint64        `json:"acked"`    // of these, acknowledged
	Messages uint64        `json:"messages"` // acknowledged
	Resent   uint64        `json:"resent"`   // messages
	Connects uint64        `json:"connects"`
	Rebirths uint64        `json:"rebirths"`
	Failures uint64        `json:"failures"`       // sessions that ended or never began
	Pending  uint64        `json:"pending"`        // messages without PUBACK at the end
	P50      time.Duration `json:"puback_p50_ns"`  // from PUBLISH to PUBACK
	P99      time.Duration `json:"puback_p99_ns"`  // the same
	Last     string        `json:"last,omitempty"` // why a session ended last
}

// ErrOptions is what Run and RunAQMS wrap when they are asked for something
// impossible.
var ErrOptions = errors.New("wrong options")

func (o *Options) resolve() error {
	if o.Readings == 0 {
		o.Readings = 10
	}
	if o.Window == 0 {
		o.Window = 32
	}
	if o.LiveFor == 0 {
		o.LiveFor = 5 * time.Minute
	}
	if o.Drain == 0 {
		o.Drain = time.Minute
	}
	if o.OutageFor == 0 {
		o.OutageFor = 10 * time.Second
	}
	if o.World == nil {
		o.World = world.New(o.Seed)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(len(o.Gateways) > 0, "gateways = 0: name at least one")
	check(o.Readings >= 1 && o.Readings <= MaxReadings(), "readings = %d: want 1 to %d", o.Readings, MaxReadings())
	check(o.Window >= 1 && o.Window <= 1000, "window = %d: want 1 to 1000", o.Window)
	check(o.Interval == 0 || o.Interval >= time.Millisecond, "interval = %v: want at least 1ms, or 0 for as fast as it goes", o.Interval)
	check(o.Backlog == 0 || o.Interval > 0, "backlog = %v: needs an interval", o.Backlog)
	check(o.RestartRate >= 0 && o.RestartRate <= 1, "restart rate = %v: want 0 to 1", o.RestartRate)
	check(o.ClockShare >= 0 && o.ClockShare <= 1, "clock share = %v: want 0 to 1", o.ClockShare)
	for _, f := range o.ClockFaults {
		check(f == ClockUnknown || f == ClockAhead || f == ClockBack, "clock fault %q: want unknown, ahead or back", f)
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrOptions, errors.Join(errs...))
	}
	return nil
}

// fleet is one run.
type fleet struct {
	o         Options
	world     *world.World
	server    endpoint
	ledger    *ledger
	begin     time.Time
	offset    int64 // Unix milliseconds at CLOCK_BOOTTIME 0
	dials     chan struct{}
	scratches sync.Pool
	latency   histogram
	count     struct{ readings, acked, messages, resent, connects, rebirths, failures atomic.Uint64 }

	mu    sync.Mutex
	last  error // why a session ended
	fatal error
	stop  context.CancelFunc
}

// scratch is memory that one call borrows.
type scratch struct {
	encoder      sparkplug.Encoder
	records      []telemetry.Record
	readings     []telemetry.Reading
	payload, out []byte
	lines, acks  []byte
}

func (f *fleet) scratch() *scratch {
	if s, ok := f.scratches.Get().(*scratch); ok {
		return s
	}
	return &scratch{}
}

// maxDials is how many connections may be on their way in at a time: a server
// lets no address open too many before they have logged in (ours: 20).
const maxDials = 16

// bootAge is how long the played machines have been up at the start.
const bootAge = time.Hour

func (f *fleet) monotonic() int64 { return int64(time.Since(f.begin)) }

// boottime is CLOCK_BOOTTIME of all gateways, in milliseconds.
func (f *fleet) boottime() int64 { return (time.Since(f.begin) + bootAge + f.o.Backlog).Milliseconds() }

func (f *fleet) jitter(n int64) int64 { return mathrand.Int64N(n) + 1 }

// note remembers why a session ended.
func (f *fleet) note(err error) {
	f.count.failures.Add(1)
	f.mu.Lock()
	f.last = err
	f.mu.Unlock()
	f.o.Logger.Debug("a session ended", "reason", err)
}

// fail ends the run.
func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fatal == nil {
		f.fatal = err
		f.stop()
	}
}

// Run plays until Options.For is over and everything is acknowledged, or until
// ctx ends. The result is good beside an error too. Failed connections are no
// error: the gateways try again, and Result counts them.
func Run(ctx context.Context, o Options) (Result, error) {
	f := &fleet{}
	if err := o.resolve(); err != nil {
		return Result{}, fmt.Errorf("play a fleet: %w", err)
	}
	f.o, f.world = o, o.World
	var err error
	if f.server, err = target(o.Server, o.CA); err != nil {
		return Result{}, fmt.Errorf("play a fleet: %w: server %q: %w", ErrOptions, o.Server, err)
	}
	if f.ledger, err = openLedger(o.Ledger); err != nil {
		return Result{}, fmt.Errorf("play a fleet: %w", err)
	}
	f.dials = make(chan struct{}, maxDials)
	f.begin = time.Now()
	f.offset = f.begin.UnixMilli() - (bootAge + o.Backlog).Milliseconds()
	ctx, f.stop = context.WithCancel(ctx)
	defer f.stop()

	players := make([]*player, len(o.Gateways))
	for i, c := range o.Gateways {
		players[i] = newPlayer(f, i, c)
	}
	f.play(ctx, players)

	r := Result{
		Gateways: len(players), Elapsed: time.Since(f.begin), Readings: f.count.readings.Load(), Acked: f.count.acked.Load(),
		Messages: f.count.messages.Load(), Resent: f.count.resent.Load(), Connects: f.count.connects.Load(),
		Rebirths: f.count.rebirths.Load(), Failures: f.count.failures.Load(), P50: f.latency.quantile(0.5), P99: f.latency.quantile(0.99),
	}
	for _, p := range players {
		r.Pending += uint64(p.unacknowledged())
	}
	if f.last != nil {
		r.Last = f.last.Error()
	}
	return r, errors.Join(f.fatal, f.ledger.close())
}

// play runs all players to the end.
func (f *fleet) play(ctx context.Context, players []*player) {
	links, unlink := context.WithCancel(ctx)
	var linking sync.WaitGroup
	sampling, sampled := context.WithCancel(ctx)
	if f.o.For > 0 {
		sampling, sampled = context.WithTimeout(ctx, f.o.For)
	}
	defer sampled()
	draining, drained := context.WithCancel(ctx)
	if f.o.For > 0 {
		draining, drained = context.WithTimeout(ctx, f.o.For+f.o.Drain)
	}
	defer drained()
	var group sync.WaitGroup
	for i, p := range players {
		p.faults(i)
		p.past()
		linking.Go(func() { p.link(links) })
		group.Go(func() { p.sample(sampling, draining) })
	}
	group.Go(func() {
		select {
		case <-f.o.Enough:
			sampled()
		case <-sampling.Done():
		}
	})
	if f.o.Started != nil {
		group.Go(func() {
			if f.allConnected(draining, players) {
				f.o.Started()
			}
		})
	}
	group.Wait()
	unlink()
	linking.Wait()
}

func (f *fleet) allConnected(ctx context.Context, players []*player) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, p := range players {
		for {
			p.mu.Lock()
			up := p.conn != nil
			p.mu.Unlock()
			if up {
				break
			}
			select {
			case <-ctx.Done():
				return false
			case <-tick.C:
			}
		}
	}
	return true
}

// target reads the server's address.
func target(server string, ca []byte) (endpoint, error) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" {
		return endpoint{}, errors.New("want mqtts://HOST:PORT or mqtt://HOST:PORT")
	}
	port := u.Port()
	var config *tls.Config
	switch strings.ToLower(u.Scheme) {
	case "mqtt":
		if port == "" {
			port = "1883"
		}
	case "mqtts":
		if port == "" {
			port = "8883"
		}
		config = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), RootCAs: x509.NewCertPool(), NextProtos: []string{"mqtt"}}
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return endpoint{}, errors.New("name the authority that signs the server's certificate")
		}
	default:
		return endpoint{}, errors.New("want mqtts:// or mqtt://")
	}
	return endpoint{net.JoinHostPort(u.Hostname(), port), config}, nil
}
