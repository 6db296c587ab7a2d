package uplink

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/pantau-id/pantau/internal/porttest"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// proxy stands between gateway and broker and can swallow PUBACKs.
type proxy struct {
	t       *testing.T
	address string
	server  string
	mu      sync.Mutex
	swallow bool
	stopped int           // PUBACKs swallowed
	first   chan struct{} // closed at the first
	conns   int
}

func startProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, address: l.Addr().String(), server: server, first: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns++
			p.mu.Unlock()
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return p
}

func (p *proxy) set(swallow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = swallow
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer s.Close()
	go func() {
		_, _ = io.Copy(s, c)
		_ = s.Close()
	}()
	for {
		packet, err := packets.ReadPacket(s)
		if err != nil {
			return
		}
		if _, ok := packet.(*packets.PubackPacket); ok {
			p.mu.Lock()
			swallow := p.swallow
			if swallow {
				if p.stopped++; p.stopped == 1 {
					close(p.first)
				}
			}
			p.mu.Unlock()
			if swallow {
				continue
			}
		}
		if err := packet.Write(c); err != nil {
			return
		}
	}
}

// limit is how long a test waits for what must come.
const limit = time.Minute

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in %v: %s", limit, what)
		}
	}
}

func TestHalfOpenLinkIsCutAndNothingIsForgotten(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	p := startProxy(t, b.address)
	g := startGateway(t, t.TempDir(), "tcp://"+p.address, true, func(o *Options) { o.Stall = 300 * time.Millisecond })
	h.next(sparkplug.NBIRTH)
	g.sample("udara", num("pm2_5", 0))
	h.next(sparkplug.NDATA)
	until(t, "the first record is acknowledged", func() bool { return g.spool.Stats().Records == 0 })

	p.set(true)
	for i := range 20 {
		g.sample("udara", num("pm2_5", float64(i+1)))
	}
	<-p.first // the broker has acknowledged, the gateway does not know
	if n := h.next(sparkplug.NDEATH).bdSeq; n != 0 {
		t.Errorf("the will of the cut link says bdSeq %d", n)
	}
	if n := g.spool.Stats().Records; n != 20 {
		t.Errorf("%d records in the spool, want all 20: nobody acknowledged them", n)
	}
	p.set(false)
	until(t, "all is acknowledged", func() bool { return g.spool.Stats().Records == 0 })
	seen := map[uint64]int{}
	for {
		m := h.next(sparkplug.NDATA)
		for _, r := range m.records {
			seen[r.Number]++
			if got := r.Readings[0].Value.Number; got != float64(r.Number-1) {
				t.Errorf("record %d came as %v", r.Number, got)
			}
		}
		if seen[21] > 0 && len(seen) >= 20 {
			break
		}
	}
}

func TestServerAwayThenBack(t *testing.T) {
	port := porttest.Free(t)
	g := startGateway(t, t.TempDir(), fmt.Sprintf("tcp://127.0.0.1:%d", port), true, nil)
	for i := range 300 {
		g.sample("udara", num("pm2_5", float64(i)))
	}
	until(t, "the status says why", func() bool { return strings.Contains(g.uplink.Status().Error, "refused") })
	if s := g.uplink.Status(); s.Connected || s.Retry.IsZero() {
		t.Errorf("status %+v", s)
	}
	b := startBrokerAt(t, port, "allow_anonymous true")
	newHost(t, b)
	until(t, "the spool is empty", func() bool { return g.spool.Stats().Records == 0 })
	if s := g.uplink.Status(); !s.Connected || s.LastAck.IsZero() || s.Error != "" {
		t.Errorf("status %+v", s)
	}
}

func TestServerTimeResolvesWhatWaits(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	g := startGateway(t, t.TempDir(), "tcp://"+b.address, false, nil)
	h.next(sparkplug.NBIRTH)
	g.sample("udara", num("pm2_5", 1))
	until(t, "the record waits for UTC", func() bool { s := g.spool.Stats(); return s.Records == 1 && s.Unresolved == 1 })
	now := time.Now().UnixMilli()
	h.command(node, sparkplug.MetricTime, sparkplug.TypeInt64, sparkplug.Long(now))
	m := h.next(sparkplug.NDATA)
	if m.run.Quality != telemetry.TimeServer || m.records[0].Time > now || m.records[0].Time < now-60_000 {
		t.Errorf("%+v at %d, server said %d", m.run, m.records[0].Time, now)
	}
	h.command(node, sparkplug.MetricRebirth, sparkplug.TypeBoolean, sparkplug.Boolean(true))
	if m := h.next(sparkplug.NBIRTH); m.seq != 0 || m.bdSeq != 0 {
		t.Errorf("rebirth %+v", m)
	}
}

func TestBdSeqGrowsWithEachConnect(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	dir := t.TempDir()
	for want := range uint64(3) {
		g := startGateway(t, dir, "tcp://"+b.address, true, nil)
		if m := h.next(sparkplug.NBIRTH); m.bdSeq != want {
			t.Errorf("birth with bdSeq %d, want %d", m.bdSeq, want)
		}
		g.stop()
		if m := h.next(sparkplug.NDEATH); m.bdSeq != want {
			t.Errorf("death with bdSeq %d, want %d", m.bdSeq, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bdseq"), []byte("255\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	startGateway(t, dir, "tcp://"+b.address, true, nil)
	if m := h.next(sparkplug.NBIRTH); m.bdSeq != 0 {
		t.Errorf("255 is followed by %d", m.bdSeq)
	}
}

func TestStrictQoS0(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	g := startGateway(t, t.TempDir(), "tcp://"+b.address, true, func(o *Options) { o.QoS0 = true })
	g.sample("udara", num("pm2_5", 1))
	h.next(sparkplug.NDATA)
	until(t, "the spool is empty", func() bool { return g.spool.Stats().Records == 0 })
}

// answering is a listener that answers every CONNECT with one CONNACK.
func answering(t *testing.T, code byte) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				if _, err := packets.ReadPacket(c); err != nil {
					return
				}
				ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
				ack.ReturnCode = code
				var b bytes.Buffer
				_ = ack.Write(&b)
				_, _ = c.Write(b.Bytes())
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "tcp://" + l.Addr().String()
}

func TestAFullServerIsLeftAloneForAMinute(t *testing.T) {
	before := time.Now()
	g := startGateway(t, t.TempDir(), answering(t, packets.ErrRefusedServerUnavailable), true, nil)
	until(t, "the refusal shows", func() bool { return g.uplink.Status().Error == errBusy.Error() })
	if d := g.uplink.Status().Retry.Sub(before); d < time.Minute {
		t.Errorf("next try after %v", d)
	}
}

func TestRefusalSaysWhatToDo(t *testing.T) {
	g := startGateway(t, t.TempDir(), answering(t, packets.ErrRefusedNotAuthorised), true, nil)
	until(t, "the refusal shows", func() bool { return strings.Contains(g.uplink.Status().Error, "claim it again") })
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	h := newHost(t, b)
	before := runtime.NumGoroutine()
	for range 3 {
		g := startGateway(t, t.TempDir(), "tcp://"+b.address, true, nil)
		g.sample("udara", num("pm2_5", 1))
		h.next(sparkplug.NDATA)
		g.stop()
	}
	until(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestOptionsAreChecked(t *testing.T) {
	g := startGateway(t, t.TempDir(), answering(t, packets.ErrRefusedServerUnavailable), true, nil)
	for name, change := range map[string]func(*Options){
		"plain off loopback": func(o *Options) { o.Server = "tcp://192.0.2.1:1883" },
		"plain by name":      func(o *Options) { o.Server = "tcp://localhost:1883" },
		"no port":            func(o *Options) { o.Server = "tls://pantau.example" },
		"no authority":       func(o *Options) { o.Server = "tls://pantau.example:8883" },
		"no credentials":     func(o *Options) { o.Username = "" },
		"window":             func(o *Options) { o.Window = 100 },
		"message":            func(o *Options) { o.MessageBytes = 1 << 20 },
		"node":               func(o *Options) { o.Node.ID = "a/b" },
		"no spool":           func(o *Options) { o.Spool = nil },
	} {
		o := g.uplink.o
		o.Metrics = nil
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// authority makes certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T, from time.Time) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue("ca", from, nil)
	return a
}

func (a *authority) issue(name string, from time.Time, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(0, 3, 0),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true,
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		c.IsCA, c.NotAfter = true, from.AddDate(10, 0, 0)
		parent, signer = c, key
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	return c, key
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// listener returns mosquitto's configuration for a certificate.
func (a *authority) listener(c *x509.Certificate, key *ecdsa.PrivateKey) string {
	a.t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	ca, crt, k := filepath.Join(a.dir, "ca.pem"), filepath.Join(a.dir, "server.pem"), filepath.Join(a.dir, "server.key")
	for file, b := range map[string][]byte{
		ca: a.pem(), crt: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}),
		k: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	} {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := os.Chmod(a.dir, 0o755); err != nil { // mosquitto drops its rights
		a.t.Fatal(err)
	}
	return fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\nuser root\n", ca, crt, k)
}

// TestTLS is statement 3: a server certificate that is expired, of another name
// or of another authority (a self-signed one is its own) is refused, and the
// status says so.
func TestTLS(t *testing.T) {
	now := time.Now()
	a := newAuthority(t, now.AddDate(-2, 0, 0))
	client, clientKey := a.issue(node.String(), now.Add(-time.Hour), func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	identity := func() (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{client.Raw}, PrivateKey: clientKey}, nil
	}
	use := func(ca []byte) func(*Options) {
		return func(o *Options) { o.CA, o.Certificate, o.Username, o.Password = ca, identity, "", "" }
	}
	connected := func(g *gateway) func() bool { return func() bool { return g.uplink.Status().Connected } }
	refused := func(g *gateway, why string) func() bool {
		return func() bool { return strings.Contains(g.uplink.Status().Error, why) }
	}

	cert, key := a.issue("pantau", now.Add(-time.Hour), nil)
	good := startBroker(t, a.listener(cert, key))
	g := startGateway(t, t.TempDir(), "tls://"+good.address, true, use(a.pem()))
	until(t, "connected", connected(g))
	g.sample("udara", num("pm2_5", 1))
	until(t, "sent", func() bool { return g.spool.Stats().Records == 0 })

	other := newAuthority(t, now.Add(-time.Hour))
	g = startGateway(t, t.TempDir(), "tls://"+good.address, true, use(other.pem()))
	until(t, "another authority is refused", refused(g, "unknown authority"))
	port := good.address[strings.LastIndex(good.address, ":"):]
	g = startGateway(t, t.TempDir(), "tls://localhost"+port, true, use(a.pem()))
	until(t, "another name is refused", refused(g, "localhost"))

	expired, expiredKey := a.issue("pantau", now.AddDate(-1, 0, 0), nil)
	old := startBroker(t, a.listener(expired, expiredKey))
	g = startGateway(t, t.TempDir(), "tls://"+old.address, true, use(a.pem()))
	until(t, "expired is refused while the time is known", refused(g, "expired"))
	g = startGateway(t, t.TempDir(), "tls://"+old.address, false, use(a.pem()))
	until(t, "without a clock the pinned chain's dates don't count", connected(g))
	g = startGateway(t, t.TempDir(), "tls://"+old.address, false, use(other.pem()))
	until(t, "another authority is refused without a clock, too", refused(g, "unknown authority"))
}

// TestPahoReportsNoAcknowledgementThatNobodySent holds the library to what the
// uplink builds on: with automatic reconnect off, a lost link fails the token.
func TestPahoReportsNoAcknowledgementThatNobodySent(t *testing.T) {
	b := startBroker(t, "allow_anonymous true")
	p := startProxy(t, b.address)
	p.set(true)
	g := startGateway(t, t.TempDir(), "tcp://"+p.address, true, func(o *Options) { o.Stall = 200 * time.Millisecond })
	g.sample("udara", num("pm2_5", 1))
	until(t, "several links were cut", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.conns > 3 })
	if n := g.spool.Stats().Records; n != 1 {
		t.Errorf("%d records in the spool, want 1", n)
	}
	if !g.uplink.Status().LastAck.IsZero() {
		t.Error("an acknowledgement out of nothing")
	}
	p.set(false) // for a quick farewell
}
