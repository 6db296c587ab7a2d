package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Options are what an uplink needs. Node, Server, Dir, Spool and Clock are
// required; with tls:// also CA; and a certificate, or a user name.
type Options struct {
	Node   telemetry.Node // also the MQTT client id, "group/id"
	Server string         // tls://host:8883, or tcp://127.0.0.1:1883 (loopback only)
	Dir    string         // where bdSeq is kept
	Spool  *spool.Spool
	Clock  *clock.Clock

	CA []byte // PEM of the only authorities that may sign the server's certificate
	// Certificate returns the client certificate; asked at every connect, so
	// that a renewed one is used. Nil: user name and password.
	Certificate        func() (*tls.Certificate, error)
	Username, Password string

	Version   string // of the gateway program, for the birth
	Simulated bool   // the sensors are simulated, for the birth

	QoS0           bool          // strict Sparkplug: births and data unacknowledged, and promise 1 not kept
	KeepAlive      time.Duration // default 5 min
	Window         int           // unacknowledged messages; default 32, 16 to 64
	MessageBytes   int           // about, default 8 KiB, 1 to 64 KiB
	MessageRecords int           // default 256
	Linger         time.Duration // live records wait this long for company; default 0
	Stall          time.Duration // a link without PUBACK for so long is cut; default 30 s
	FirstPause     time.Duration // the first pause before a reconnect is at most this; default 5 s
	LongestPause   time.Duration // no pause is longer, unless the server is full; default 2 min

	Logger  *slog.Logger
	Metrics *metrics.Set // nil = none

	Boottime func() time.Duration // default hostclock.Boottime
}

// Definition says more of a device's quantity than its name. Without one, unit
// and type are the catalogue's, and the interval is not said.
type Definition struct {
	Device, Quantity string
	Unit             telemetry.Unit // Unknown = the catalogue's
	Type             telemetry.ValueType
	Interval         time.Duration // between two values; 0 = not said
}

// Status is what the status page shows of the link.
type Status struct {
	Connected bool
	Since     time.Time // of the connection, or of its end
	Server    string
	Error     string    // why it is not connected, "" = no reason known
	Retry     time.Time // the next attempt, zero while connected
	InFlight  int       // messages without PUBACK
	LastAck   time.Time // zero = none yet
}

// Uplink is the link to the server.
type Uplink struct {
	o       Options
	log     *slog.Logger
	target  target
	bdSeq   bdSeq
	session *Session // only the goroutine of Run touches it
	backoff backoff
	meters  meters

	mu     sync.Mutex
	status Status
	defs   []Definition                  // waiting for the session
	told   map[string]telemetry.Identity // by device, waiting for the session
	wake   chan struct{}
}

var _ Source = (*spool.Spool)(nil)

// New checks the options.
func New(o Options) (*Uplink, error) {
	if o.Node.IsZero() || o.Dir == "" || o.Spool == nil || o.Clock == nil {
		return nil, errors.New("uplink: Node, Dir, Spool and Clock are required")
	}
	for _, part := range []string{o.Node.Group, o.Node.ID} {
		if err := telemetry.CheckID(part); err != nil {
			return nil, fmt.Errorf("uplink: node %v: %w", o.Node, err)
		}
	}
	t, err := newTarget(&o)
	if err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	pick := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	pick(&o.KeepAlive, 5*time.Minute)
	pick(&o.Stall, 30*time.Second)
	pick(&o.FirstPause, 5*time.Second)
	pick(&o.LongestPause, 2*time.Minute)
	if o.Window == 0 {
		o.Window = 32
	}
	if o.Window < 16 || o.Window > 64 {
		return nil, fmt.Errorf("uplink: window = %d: want 16 to 64", o.Window)
	}
	if o.MessageBytes == 0 {
		o.MessageBytes = 8 << 10
	}
	if o.MessageBytes < 1<<10 || o.MessageBytes > 64<<10 {
		return nil, fmt.Errorf("uplink: message bytes = %d: want 1024 to 65536", o.MessageBytes)
	}
	if o.MessageRecords <= 0 {
		o.MessageRecords = 256
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Boottime == nil {
		o.Boottime = hostclock.Boottime
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("uplink: make the folder: %w", err)
	}
	u := &Uplink{
		o: o, log: o.Logger, target: t, bdSeq: bdSeq{file: filepath.Join(o.Dir, "bdseq")},
		backoff: backoff{first: o.FirstPause, most: o.LongestPause},
		status:  Status{Server: o.Server, Since: time.Now(), Error: "not connected yet"},
		told:    map[string]telemetry.Identity{},
		wake:    make(chan struct{}, 1),
	}
	u.meters.register(o.Metrics, u)
	var qos byte = 1
	if o.QoS0 {
		qos = 0
	}
	u.session = NewSession(SessionOptions{
		Node: o.Node, Source: o.Spool, Version: o.Version, Simulated: o.Simulated, QoS: qos, Window: o.Window, Stall: o.Stall,
		Limit: spool.Limit{Records: o.MessageRecords, Bytes: o.MessageBytes, Linger: o.Linger},
	})
	return u, nil
}

// Define announces quantities in the next birth, which follows at once if one
// of them is new or changed.
func (u *Uplink) Define(defs ...Definition) {
	u.mu.Lock()
	u.defs = append(u.defs, defs...)
	u.mu.Unlock()
	u.rouse()
}

// Identify tells in the next birth, which follows at once if that is news, what a
// device's part tells of itself.
func (u *Uplink) Identify(device string, id telemetry.Identity) {
	u.mu.Lock()
	u.told[device] = id
	u.mu.Unlock()
	u.rouse()
}

func (u *Uplink) rouse() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// Status returns the link's state.
func (u *Uplink) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.status
}

// Run keeps a session, never two, until ctx ends, then says farewell. What is wrong shows in
// Status and in the log; Run itself goes on trying, and returns nil.
// [tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server]
func (u *Uplink) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		u.attempt(ctx)
	}
	u.lost(nil, 0)
	return nil
}

// attempt is one connection and the pause after it.
func (u *Uplink) attempt(ctx context.Context) {
	began := u.o.Boottime()
	acked, err := u.connection(ctx)
	if ctx.Err() != nil {
		return // a farewell that went unanswered is no news
	}
	if acked && u.o.Boottime()-began >= time.Minute {
		u.backoff.reset() // it worked; what ended it is news
	}
	pause := u.backoff.next(errors.Is(err, errBusy), rand.Float64())
	u.lost(err, pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (u *Uplink) lost(err error, pause time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	reason := "stopped"
	if err != nil {
		reason = err.Error()
	}
	if u.status.Connected || withoutDigits(u.status.Error) != withoutDigits(reason) {
		u.log.Warn("no connection to the server", "server", u.o.Server, "error", reason, "next_try_in", pause)
	}
	if u.status.Connected {
		u.status.Since = time.Now()
	}
	u.status.Connected, u.status.Error, u.status.InFlight = false, reason, 0
	u.status.Retry = time.Time{}
	if err != nil {
		u.status.Retry = time.Now().Add(pause)
	}
}

// withoutDigits lets the log say once what differs only in a time or a port.
func withoutDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// announce hands the session what waits for it.
func (u *Uplink) announce() []Action {
	u.mu.Lock()
	defs, told := u.defs, u.told
	u.defs, u.told = nil, map[string]telemetry.Identity{}
	u.mu.Unlock()
	for device, id := range told {
		u.session.Identify(device, id)
	}
	return u.session.Define(defs, u.now())
}

// now gives payloads UTC, as far as it is known: the server tells a gateway that
// has no clock. [tck-id-payloads-timestamp-in-UTC]
func (u *Uplink) now() Now {
	utc, _ := u.o.Clock.Best()
	return Now{Boottime: u.o.Boottime(), UTC: utc.UnixMilli()}
}
