package broker

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// patience is how long a test waits for an event before it fails.
const patience = time.Minute

// memory is a journal that keeps packets in memory and acknowledges them in
// groups, from one goroutine, in order. On hold, a test decides when.
type memory struct {
	mu    sync.Mutex
	queue []queued
	kept  []envelope.Packet
	hold  bool
	full  error
	fail  func(envelope.Packet) error // nil result: kept
	quick bool                        // benchmarks: count only
	count int
	wake  chan struct{}
	seen  chan envelope.Packet // every packet as it is submitted
	stop  chan struct{}
	ended chan struct{}
}

type queued struct {
	p    envelope.Packet
	done func(error)
}

func newMemory() *memory {
	j := &memory{wake: make(chan struct{}, 1), seen: make(chan envelope.Packet, 1<<16), stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(j.ended)
		var group []queued
		for {
			select {
			case <-j.wake:
			case <-j.stop:
				return
			}
			j.mu.Lock()
			if j.hold {
				j.mu.Unlock()
				continue
			}
			group, j.queue = j.queue, group[:0]
			j.mu.Unlock()
			j.commit(group)
		}
	}()
	return j
}

func (j *memory) commit(group []queued) {
	for i := range group {
		q := &group[i]
		var err error
		if j.fail != nil {
			err = j.fail(q.p)
		}
		j.mu.Lock()
		if err == nil && !j.quick {
			j.kept = append(j.kept, q.p)
		}
		j.count++
		j.mu.Unlock()
		q.done(err)
	}
}

func (j *memory) Submit(p envelope.Packet, done func(error)) {
	j.mu.Lock()
	if !j.quick {
		p.Payload = append([]byte(nil), p.Payload...)
		j.seen <- p
	}
	j.queue = append(j.queue, queued{p, done})
	j.mu.Unlock()
	token(j.wake)
}

func (j *memory) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.full
}

func (j *memory) setFull(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.full = err
}

func (j *memory) setHold(hold bool) {
	j.mu.Lock()
	j.hold = hold
	j.mu.Unlock()
	token(j.wake)
}

// release commits the n oldest packets of a journal on hold.
func (j *memory) release(t testing.TB, n int) {
	t.Helper()
	j.mu.Lock()
	if len(j.queue) < n {
		j.mu.Unlock()
		t.Fatalf("%d packets wait in the journal, want at least %d", len(j.queue), n)
	}
	group := append([]queued(nil), j.queue[:n]...)
	j.queue = append([]queued(nil), j.queue[n:]...)
	j.mu.Unlock()
	j.commit(group)
}

// next returns the next submitted packet.
func (j *memory) next(t testing.TB) envelope.Packet {
	t.Helper()
	select {
	case p := <-j.seen:
		return p
	case <-time.After(patience):
		t.Fatal("no packet came to the journal")
		return envelope.Packet{}
	}
}

// none fails if anything was submitted that no test has taken.
func (j *memory) none(t testing.TB) {
	t.Helper()
	select {
	case p := <-j.seen:
		t.Fatalf("packet %q came to the journal", p.Topic)
	default:
	}
}

func (j *memory) topics() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []string
	for _, p := range j.kept {
		out = append(out, p.Topic)
	}
	return out
}

// registry is an authority with passwords and certificates in memory.
type registry struct {
	mu        sync.Mutex
	passwords map[string]string // node -> password; the user name is the node
	revoked   map[string]bool
	asked     int
	hook      func(Credentials)
}

func (r *registry) Authenticate(ctx context.Context, c Credentials) (telemetry.Node, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.hook != nil {
		r.hook(c)
	}
	name := c.Username
	if c.Certificate != nil {
		name = c.Certificate.Subject.CommonName
	} else if r.passwords[name] == "" || r.passwords[name] != string(c.Password) {
		return telemetry.Node{}, errors.New("unknown node or wrong password")
	}
	if r.revoked[name] {
		return telemetry.Node{}, errors.New("node is revoked")
	}
	return telemetry.ParseNode(name)
}

func (r *registry) add(node string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passwords[node] = "secret of " + node
	return r.passwords[node]
}

// room is a running broker with its neighbours.
type room struct {
	*Broker
	journal  *memory
	registry *registry
	metrics  *prometheus.Registry
}

// start runs a broker with a plain listener, unless change says otherwise.
func start(t testing.TB, change ...func(*Options)) *room {
	t.Helper()
	r := prepare(t, change...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func prepare(t testing.TB, change ...func(*Options)) *room {
	t.Helper()
	r := &room{journal: newMemory(), registry: &registry{passwords: map[string]string{}, revoked: map[string]bool{}}, metrics: prometheus.NewRegistry()}
	o := Options{PlainListen: "127.0.0.1:0", Journal: r.journal, Authority: r.registry, Synced: func() bool { return true }, Registerer: r.metrics}
	if os.Getenv("PANTAU_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, f := range change {
		f(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Broker = b
	t.Cleanup(func() {
		r.journal.setHold(false)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
		close(r.journal.stop)
		<-r.journal.ended
	})
	return r
}

func openRoom(o *Options) {
	o.Open = &Open{Deny: func(topic string) bool { return topic == "test/nosubscribe" }}
}

// metric reads one sample; labels are "name=value".
func (r *room) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "pantau_broker_"+name {
			continue
		}
	metrics:
		for _, m := range f.GetMetric() {
			for _, want := range labels {
				if !hasLabel(m, want) {
					continue metrics
				}
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return 0
}

// counted waits until the metric has the value: what a client sees may come a moment
// before it is counted.
func (r *room) counted(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	until(t, fmt.Sprintf("%s %v is %v", name, labels, want), func() bool { return r.metric(t, name, labels...) == want })
}

func hasLabel(m *dto.Metric, want string) bool {
	for _, l := range m.GetLabel() {
		if l.GetName()+"="+l.GetValue() == want {
			return true
		}
	}
	return false
}

// until waits for a condition that another goroutine of the broker brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		<-tick.C
	}
}

// client speaks MQTT byte by byte.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (r *room) dial(t testing.TB) *client {
	t.Helper()
	c, err := net.Dial("tcp", r.PlainAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, c)
}

func newClient(t testing.TB, c net.Conn) *client {
	t.Cleanup(func() { c.Close() })
	return &client{t: t, conn: c, in: bufio.NewReader(c)}
}

// login is what goes into a CONNECT.
type login struct {
	id, user, password string
	unclean            bool
	keepAlive          uint16
	will               *will
}

func packet(first byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

func str(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func (l login) packet() []byte {
	var flags byte
	if !l.unclean {
		flags |= 0x02
	}
	if l.user != "" {
		flags |= 0x80
	}
	if l.password != "" {
		flags |= 0x40
	}
	if l.will != nil {
		flags |= 0x04 | l.will.qos<<3
		if l.will.retain {
			flags |= 0x20
		}
	}
	b := binary.BigEndian.AppendUint16(append(str(nil, "MQTT"), 4, flags), l.keepAlive)
	b = str(b, l.id)
	if l.will != nil {
		b = str(str(b, l.will.topic), string(l.will.payload))
	}
	if l.user != "" {
		b = str(b, l.user)
	}
	if l.password != "" {
		b = str(b, l.password)
	}
	return packet(0x10, b)
}

func publishPacket(qos byte, id uint16, topic, payload string) []byte {
	b := str(nil, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return packet(0x30|qos<<1, append(b, payload...))
}

func subscribePacket(id uint16, qos byte, filters ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	for _, f := range filters {
		b = append(str(b, f), qos)
	}
	return packet(0x82, b)
}

func unsubscribePacket(id uint16, filters ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, id)
	for _, f := range filters {
		b = str(b, f)
	}
	return packet(0xa2, b)
}

var (
	pingreq    = []byte{0xc0, 0}
	disconnect = []byte{0xe0, 0}
)

func (c *client) send(b ...[]byte) {
	c.t.Helper()
	for _, p := range b {
		_ = c.conn.SetDeadline(time.Now().Add(patience)) // of each wait, not of the client's life
		if _, err := c.conn.Write(p); err != nil {
			c.t.Fatalf("send: %v", err)
		}
	}
}

// read returns the next whole packet.
func (c *client) read() ([]byte, error) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	first, err := c.in.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return nil, err
	}
	body := make([]byte, n)
	_, err = io.ReadFull(c.in, body)
	return packet(first, body), err
}

func (c *client) expect(want ...[]byte) {
	c.t.Helper()
	for _, w := range want {
		got, err := c.read()
		if err != nil || string(got) != string(w) {
			c.t.Fatalf("got % x, %v; want % x", got, err, w)
		}
	}
}

// closed waits for the broker to end the connection without a packet more.
func (c *client) closed() {
	c.t.Helper()
	got, err := c.read()
	if err == nil {
		c.t.Fatalf("got % x; want the connection to end", got)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection was not ended")
	}
}

func connack(code byte) []byte    { return []byte{0x20, 2, 0, code} }
func puback(id uint16) []byte     { return []byte{0x40, 2, byte(id >> 8), byte(id)} }
func suback(codes ...byte) []byte { return packet(0x90, append([]byte{0, 1}, codes...)) }

// node connects a gateway that the registry knows.
func (r *room) node(t testing.TB, id string, change ...func(*login)) *client {
	t.Helper()
	l := login{id: id, user: id, password: r.registry.add(id), keepAlive: 300}
	for _, f := range change {
		f(&l)
	}
	c := r.dial(t)
	c.send(l.packet())
	c.expect(connack(0))
	return c
}

// topicOf is the node's topic of a kind.
func topicOf(kind, node string) string {
	group, id, _ := strings.Cut(node, "/")
	return "spBv1.0/" + group + "/" + kind + "/" + id
}

// authorityCA issues certificates for TLS tests.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t testing.TB, name string) *testCA {
	t.Helper()
	ca := &testCA{key: newKey(t)}
	ca.cert = ca.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}, ca.key)
	return ca
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (ca *testCA) sign(t testing.TB, c *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent := ca.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (ca *testCA) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

func (ca *testCA) issue(t testing.TB, name string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	for _, f := range change {
		f(c)
	}
	leaf := ca.sign(t, c, key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// withTLS adds a TLS listener.
func (ca *testCA) withTLS(t testing.TB) func(*Options) {
	return func(o *Options) {
		o.Listen = "127.0.0.1:0"
		o.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "server")}, ClientCAs: ca.pool()}
	}
}

func (r *room) dialTLS(t testing.TB, ca *testCA, change ...func(*tls.Config)) (*client, error) {
	t.Helper()
	cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	for _, f := range change {
		f(cfg)
	}
	c, err := tls.Dial("tcp", r.Addr().String(), cfg)
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return newClient(t, c), nil
}
