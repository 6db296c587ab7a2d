// Package broker is the door for gateways: MQTT 3.1.1 over TLS.
//
// It promises that a PUBACK is written only after the journal has kept the
// message, in the order of each client; that a node reads and writes nothing but
// its own topics; that no bytes of one client stop the process or another
// client; and that whatever it refuses is counted under a reason.
//
// Every byte passes the room's own frame checker first. CONNECT is answered
// here: identity, rules, caps. PUBLISH goes from the checker straight to the
// journal. Subscriptions, retained messages and delivery are mochi-mqtt's, which
// never sees a client that is not logged in, a PUBLISH that awaits the journal,
// or a will: its known traps lie on those paths.
//
// Locks: Broker.mu and session.mu are never held together, and neither while the
// journal, mochi or a connection is called that could block.
package broker

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// EnrolProtocol is the ALPN name under which Options.EnrolHandler is served on
// the MQTT port.
const EnrolProtocol = "pantau-enrol/1"

// mqttProtocol is MQTT's registered ALPN name; clients need not offer one.
const mqttProtocol = "mqtt"

// Journal keeps what the broker takes.
type Journal interface {
	// Submit queues p, copying what it keeps of it before returning, and calls
	// done once, from one goroutine, in the order of submission: with nil when p
	// is kept durably, else with the reason. It must not block.
	Submit(p envelope.Packet, done func(error))
	// Err is nil while the journal takes data, else why it does not.
	Err() error
}

// Credentials are what a client brings to its login.
type Credentials struct {
	ClientID, Username string
	Password           []byte
	Certificate        *x509.Certificate // leaf, verified against Options.TLS.ClientCAs; nil if none
	Remote             net.Addr
}

// Authority says which node a client is. An error refuses it; one that wraps
// context.DeadlineExceeded or context.Canceled is not counted as a wrong login.
type Authority interface {
	Authenticate(ctx context.Context, c Credentials) (telemetry.Node, error)
}

// Limits bounds what a client can cost. Zero means the default.
type Limits struct {
	Clients              int           // sessions at a time; default 16,000
	HalfOpenPerAddress   int           // connections of one address before login; default 20
	ConnectTime          time.Duration // from accept to CONNECT, TLS included; default 10 s
	ConnectBytes         int           // packet before login; default 64 KiB
	PacketBytes          int           // packet after login; default 256 KiB
	WrongLoginsPerMinute int           // per address; default 5
	LoginPause           time.Duration // of an address that reached it; default 1 min
	KeepAliveMax         time.Duration // longest accepted; default 30 min
	InFlight             int           // messages of one client on their way to the journal; default 256
	InFlightBytes        int           // their bytes; default 1 MiB
	MessagesPerSecond    int           // of one client; default 5,000
	BytesPerSecond       int           // of one client; default 8 MiB
	UnreadBytes          int           // waiting for a client that does not read; default 1 MiB
	Subscriptions        int           // filters of one client; default 64
	SessionLife          time.Duration // longest session; default 7 days
	WriteTime            time.Duration // for a client to take what it is sent; default 30 s
}

// Open turns the room into a plain MQTT 3.1.1 broker for public test suites: no
// login, any client id and topic, QoS 2, retained messages, clean=0, keep-alive
// 0, delivery between clients. Listener, limits and frame checker stay. It is
// refused with a TLS listener.
type Open struct {
	Deny func(topic string) bool // topics and filters to refuse; may be nil
}

// Options configures a Broker. At least one address is needed.
type Options struct {
	Listen       string       // address of the TLS listener, "host:port"; "" = none
	TLS          *tls.Config  // for Listen: TLS 1.2 or later, ClientCAs, a certificate
	EnrolHandler http.Handler // served for ALPN EnrolProtocol on Listen; client certificates are not verified there; may be nil
	PlainListen  string       // address without TLS, loopback only; "" = none
	Journal      Journal
	Authority    Authority
	Synced       func() bool      // the host's clock is synchronised; nil = it is not
	Now          func() time.Time // nil = time.Now
	Host         string           // our Sparkplug host id; default "pantau"
	Limits       Limits
	Open         *Open
	Logger       *slog.Logger          // nil = none
	Registerer   prometheus.Registerer // nil = no metrics
}

func (o *Options) setDefaults() {
	set := func(v *int, def int) {
		if *v == 0 {
			*v = def
		}
	}
	last := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	l := &o.Limits
	set(&l.Clients, 16_000)
	set(&l.HalfOpenPerAddress, 20)
	last(&l.ConnectTime, 10*time.Second)
	set(&l.ConnectBytes, 64<<10)
	set(&l.PacketBytes, 256<<10)
	set(&l.WrongLoginsPerMinute, 5)
	last(&l.LoginPause, time.Minute)
	last(&l.KeepAliveMax, 30*time.Minute)
	set(&l.InFlight, 256)
	set(&l.InFlightBytes, 1<<20)
	set(&l.MessagesPerSecond, 5000)
	set(&l.BytesPerSecond, 8<<20)
	set(&l.UnreadBytes, 1<<20)
	set(&l.Subscriptions, 64)
	last(&l.SessionLife, 7*24*time.Hour)
	last(&l.WriteTime, 30*time.Second)
	if o.Host == "" {
		o.Host = "pantau"
	}
	if o.Synced == nil {
		o.Synced = func() bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Open != nil && o.Open.Deny == nil {
		o.Open = &Open{Deny: func(string) bool { return false }}
	}
}

func (o *Options) check() error {
	l := &o.Limits
	for name, v := range map[string]int64{
		"Clients": int64(l.Clients), "HalfOpenPerAddress": int64(l.HalfOpenPerAddress), "ConnectTime": int64(l.ConnectTime),
		"ConnectBytes": int64(l.ConnectBytes), "PacketBytes": int64(l.PacketBytes), "WrongLoginsPerMinute": int64(l.WrongLoginsPerMinute),
		"LoginPause": int64(l.LoginPause), "KeepAliveMax": int64(l.KeepAliveMax), "InFlight": int64(l.InFlight),
		"InFlightBytes": int64(l.InFlightBytes), "MessagesPerSecond": int64(l.MessagesPerSecond), "BytesPerSecond": int64(l.BytesPerSecond),
		"UnreadBytes": int64(l.UnreadBytes), "Subscriptions": int64(l.Subscriptions), "SessionLife": int64(l.SessionLife), "WriteTime": int64(l.WriteTime),
	} {
		if v < 0 {
			return fmt.Errorf("option Limits.%s is %d: want it above 0", name, v)
		}
	}
	switch {
	case o.Listen == "" && o.PlainListen == "":
		return errors.New("options Listen and PlainListen are empty: want at least one address")
	case o.Journal == nil:
		return errors.New("option Journal is not set")
	case o.Open != nil && o.Listen != "":
		return errors.New("option Open is set and Listen too: a broker without rules is for loopback only")
	case o.Open == nil && o.Authority == nil:
		return errors.New("option Authority is not set")
	}
	if err := telemetry.CheckID(o.Host); err != nil {
		return fmt.Errorf("option Host: %w", err)
	}
	if o.PlainListen != "" {
		if err := checkLoopback(o.PlainListen); err != nil {
			return fmt.Errorf("option PlainListen %q: %w", o.PlainListen, err)
		}
	}
	if o.Listen != "" {
		if err := checkTLS(o.TLS); err != nil {
			return fmt.Errorf("option TLS: %w", err)
		}
	}
	return nil
}

// Broker is the running door. Create it with New.
type Broker struct {
	opts    Options
	metrics *metrics
	server  *mqtt.Server
	steps   lifecycle.Stack

	tlsConfig *tls.Config
	secure    net.Listener
	plain     net.Listener
	enrol     *enrolment
	listen    func(network, address string) (net.Listener, error)
	half      halfOpen
	guesses   wrongLogins
	checking  chan struct{} // tokens: passwords being checked at a time
	logs      logLimiter
	stopping  atomic.Bool
	ending    atomic.Bool   // sessions read no more: the farewell has gone out
	halted    chan struct{} // closed when stopping begins
	synced    atomic.Bool
	serving   sync.WaitGroup // one for each connection
	started   bool
	stateAt   int64 // time of the last STATE, Unix milliseconds; Start's, then farewell's
	rulesOf   func(node telemetry.Node, host string) rules

	mu       sync.Mutex
	conns    map[net.Conn]struct{} // all raw connections
	sessions map[string]*session   // by client id
	barred   map[string]uint64     // by client id: how often Disconnect was called
}

// New checks the options; nothing is opened yet. Its errors name field and value.
func New(o Options) (*Broker, error) {
	o.setDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		opts: o, metrics: m, listen: net.Listen,
		half:     halfOpen{limit: o.Limits.HalfOpenPerAddress, open: map[address]int{}, gauge: m.halfOpen},
		guesses:  wrongLogins{limit: o.Limits.WrongLoginsPerMinute, pause: o.Limits.LoginPause, seen: map[address]guesses{}},
		checking: make(chan struct{}, maxChecking),
		logs:     logLimiter{last: map[string]time.Time{}, hidden: map[string]int{}},
		halted:   make(chan struct{}),
		rulesOf:  func(n telemetry.Node, host string) rules { return newNodeRules(n, host) },
		conns:    map[net.Conn]struct{}{}, sessions: map[string]*session{}, barred: map[string]uint64{},
	}
	if o.Listen != "" {
		b.tlsConfig = serverTLS(o.TLS, o.EnrolHandler != nil)
	}
	if o.EnrolHandler != nil {
		b.enrol = newEnrolment(b, o.EnrolHandler)
	}
	b.synced.Store(o.Synced())
	b.server, err = newServer(b)
	if err != nil {
		return nil, fmt.Errorf("set up mochi: %w", err)
	}
	return b, nil
}

// Start proves the rules, publishes STATE and opens the listeners. ctx bounds
// the start only. If it fails, nothing is left open.
func (b *Broker) Start(ctx context.Context) (err error) {
	if b.started {
		return errors.New("start broker: it was started before")
	}
	b.started = true
	defer func() {
		if err != nil {
			b.halt()
			err = errors.Join(fmt.Errorf("start broker: %w", err), b.steps.Close(ctx))
		}
	}()
	if err := b.server.Serve(); err != nil { // it has no listeners: ours hand it connections
		return fmt.Errorf("start mochi: %w", err)
	}
	b.steps.Add("mochi", func(context.Context) error { return b.server.Close() })
	b.steps.Go("clock and session life", b.watch)
	b.steps.Add("sessions", b.stopSessions)
	if b.opts.Open == nil {
		if err := b.selfTest(ctx); err != nil {
			return fmt.Errorf("self-test of the access rules: %w", err)
		}
		// Before any node can come. [tck-id-host-topic-phid-birth-message]
		// [tck-id-host-topic-phid-birth-required] [tck-id-message-flow-phid-sparkplug-state-publish]
		// [tck-id-operational-behavior-host-application-connect-birth]
		if err := b.publishState(true); err != nil {
			return fmt.Errorf("publish STATE: %w", err)
		}
		b.steps.Add("STATE", b.farewell)
	}
	if b.enrol != nil {
		b.steps.Add("enrolment", b.enrol.stop)
		b.enrol.start()
	}
	open := func(name, address string, secure bool) (net.Listener, error) {
		if address == "" {
			return nil, nil
		}
		l, err := b.listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		done := make(chan struct{})
		b.steps.Add(name, func(context.Context) error {
			b.halt()
			err := l.Close()
			<-done
			return err
		})
		go func() {
			defer close(done)
			b.accept(l, secure)
		}()
		b.opts.Logger.Info("broker listens", "name", name, "address", l.Addr().String())
		return l, nil
	}
	if b.secure, err = open("Listen", b.opts.Listen, true); err != nil {
		return err
	}
	b.plain, err = open("PlainListen", b.opts.PlainListen, false)
	return err
}

// halt marks the stop's beginning: no connection is taken, no will is sent.
func (b *Broker) halt() {
	if !b.stopping.Swap(true) {
		close(b.halted)
	}
}

// Stop closes the listeners, tells the nodes by STATE that the host goes, waits
// until what was taken is acknowledged, and ends all sessions. ctx bounds it; a
// second Stop does nothing.
func (b *Broker) Stop(ctx context.Context) error {
	b.halt()
	return b.steps.Close(ctx)
}

// stopSessions ends every connection: sessions after their PUBACKs, the others
// at once.
func (b *Broker) stopSessions(ctx context.Context) error {
	b.halt()
	b.ending.Store(true)
	whole := 10 * time.Second
	if til, ok := ctx.Deadline(); ok {
		whole = time.Until(til)
	}
	ctx, cancel := context.WithTimeout(ctx, whole*3/4) // what is left over is for cutting
	defer cancel()
	b.mu.Lock()
	inSession := map[any]bool{}
	for _, s := range b.sessions {
		inSession[s.conn.raw] = true
		_ = s.conn.raw.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; fails only on a closed connection
	}
	for raw := range b.conns {
		if !inSession[raw] {
			_ = raw.Close() // nothing was promised to it
		}
	}
	b.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		b.serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	n := len(b.conns)
	for raw := range b.conns {
		_ = raw.Close() // given up
	}
	b.mu.Unlock()
	for _, s := range b.liveSessions() {
		s.cut(reasonStopping, nil)
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		return fmt.Errorf("%d connections were still open: %w", n, ctx.Err())
	}
	return fmt.Errorf("%d connections were cut before their last PUBACK: %w", n, ctx.Err())
}

func (b *Broker) liveSessions() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		out = append(out, s)
	}
	return out
}

// Addr is the address of the TLS listener, nil if there is none. Valid after Start.
func (b *Broker) Addr() net.Addr { return addrOf(b.secure) }

// PlainAddr is the address of the listener without TLS, nil if there is none.
func (b *Broker) PlainAddr() net.Addr { return addrOf(b.plain) }

func addrOf(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// Session is one live MQTT session.
type Session struct {
	Node   telemetry.Node
	ID     uint64 // as in envelope.Packet.Session
	Since  time.Time
	Remote string // address and port
}

// Sessions returns the live sessions, in no order.
func (b *Broker) Sessions() []Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Session, 0, len(b.sessions))
	for _, s := range b.sessions {
		out = append(out, Session{Node: s.node, ID: s.id, Since: s.since, Remote: s.remote})
	}
	return out
}

// Disconnect cuts the node's live session, and a login that is under way. To
// keep the node out, take its right from the Authority first.
func (b *Broker) Disconnect(node telemetry.Node, reason string) {
	id := node.String()
	b.mu.Lock()
	b.barred[id]++
	s := b.sessions[id]
	b.mu.Unlock()
	if s != nil {
		s.cut(reasonDisconnected, errors.New(reason))
	}
}

// Publish sends a command to a node, if it is there: NCMD or DCMD, with QoS 0 and
// not retained. Delivery is not confirmed by MQTT; a command carries its own
// acknowledgement. [tck-id-topics-ncmd-topic] [tck-id-topics-ncmd-mqtt]
// [tck-id-payloads-ncmd-qos] [tck-id-payloads-ncmd-retain]
func (b *Broker) Publish(topic string, payload []byte) error {
	t, err := sparkplug.ParseTopic(topic)
	if err != nil {
		return fmt.Errorf("publish a command: %w", err)
	}
	if t.Type != sparkplug.NCMD && t.Type != sparkplug.DCMD {
		return fmt.Errorf("publish a command: topic %q is neither NCMD nor DCMD", topic)
	}
	if b.stopping.Load() {
		return fmt.Errorf("publish a command to %s: %w", t.Node, errStopping)
	}
	b.metrics.commands.Inc()
	if err := b.server.Publish(topic, payload, false, 0); err != nil {
		return fmt.Errorf("publish a command to %s: %w", t.Node, err)
	}
	return nil
}

// newID returns a random number that is not 0.
func newID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 {
			return id
		}
	}
}
