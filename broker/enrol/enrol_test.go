package enrol

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var (
	quiet     = slog.New(slog.NewTextHandler(io.Discard, nil))
	balaikota = telemetry.Node{Group: "3374", ID: "balaikota"}
)

// office is an authority over a real registry, behind a TLS port that treats its
// two protocols as the broker does.
type office struct {
	*Authority
	t        *testing.T
	dir      string
	journal  *journal.Journal
	registry *registry.Registry
	address  string
	misuse   chan telemetry.Node

	mu  sync.Mutex
	now time.Time
}

func (o *office) clock() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now
}

func (o *office) wait(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), misuse: make(chan telemetry.Node, 10), now: time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)}
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	o.journal = j
	t.Cleanup(func() { o.shut(j.Close) })
	kv, err := j.KV(t.Context(), "registry", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.registry, err = registry.Open(t.Context(), registry.Options{
		KV: kv, Logger: quiet, Now: o.clock, Misuse: func(n telemetry.Node, _ error) { o.misuse <- n },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.shut(o.registry.Close) })
	o.Authority = o.open(prometheus.NewRegistry())
	o.serve()
	return o
}

func (o *office) shut(f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f(ctx); err != nil {
		o.t.Error(err)
	}
}

func (o *office) open(metrics prometheus.Registerer) *Authority {
	o.t.Helper()
	a, err := Open(Options{Dir: o.dir, Names: []string{"pantau.example", "192.0.2.7"}, Registry: o.registry, Logger: quiet, Now: o.clock, Registerer: metrics})
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

// serve answers "mqtt" with one byte once the handshake is over, and Protocol
// with the handler.
func (o *office) serve() {
	o.t.Helper()
	config, err := o.TLS()
	if err != nil {
		o.t.Fatal(err)
	}
	config.NextProtos = []string{"mqtt"}
	enrol := config.Clone()
	enrol.ClientAuth, enrol.NextProtos, enrol.SessionTicketsDisabled = tls.RequestClientCert, []string{Protocol}, true
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, p := range h.SupportedProtos {
			if p == Protocol {
				return enrol, nil
			}
		}
		return nil, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		o.t.Fatal(err)
	}
	o.address = l.Addr().String()
	var conns sync.WaitGroup
	o.t.Cleanup(conns.Wait)
	o.t.Cleanup(func() { _ = l.Close() })
	conns.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { o.answer(tls.Server(raw, config)) })
		}
	})
}

func (o *office) answer(c *tls.Conn) {
	defer func() { _ = c.Close() }()
	if err := c.Handshake(); err != nil {
		return
	}
	state := c.ConnectionState()
	if state.NegotiatedProtocol != Protocol {
		_, _ = c.Write([]byte{1})
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = &state
		w.Header().Set("Connection", "close")
		o.ServeHTTP(w, r)
	}), ErrorLog: slog.NewLogLogger(quiet.Handler(), slog.LevelDebug)}
	once := &oneConn{plain: struct{ net.Conn }{c}, closed: make(chan struct{})}
	_ = server.Serve(once)
}

// oneConn is a listener of one connection that ends with it.
type oneConn struct {
	plain  net.Conn
	closed chan struct{}
	once   sync.Once
	taken  bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.taken {
		<-l.closed
		return nil, net.ErrClosed
	}
	l.taken = true
	return &watched{l.plain, l}, nil
}
func (l *oneConn) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *oneConn) Addr() net.Addr { return l.plain.LocalAddr() }

type watched struct {
	net.Conn
	l *oneConn
}

func (w *watched) Close() error { _ = w.l.Close(); return w.Conn.Close() }

// newKey makes a gateway's key.
func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signingRequest(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// dial connects as a gateway that trusts the authority.
func (o *office) dial(protocol string, certificate *tls.Certificate) (*tls.Conn, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(o.CA())
	config := &tls.Config{RootCAs: pool, ServerName: "pantau.example", NextProtos: []string{protocol}, Time: o.clock}
	if certificate != nil {
		// Whatever the server says which authorities it takes.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return tls.Dial("tcp", o.address, config)
}

// mqtt says whether the MQTT port takes the certificate.
func (o *office) mqtt(certificate *tls.Certificate) error {
	c, err := o.dial("mqtt", certificate)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_, err = c.Read(make([]byte, 1)) // in TLS 1.3 a refusal comes with the first read
	return err
}

// post sends a request and returns status and answer.
func (o *office) post(path string, certificate *tls.Certificate, body any) (int, reply, string) {
	o.t.Helper()
	c, err := o.dial(Protocol, certificate)
	if err != nil {
		o.t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return struct{ net.Conn }{c}, nil
	}}}
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			o.t.Fatal(err)
		}
		text = string(b)
	}
	r, err := client.Post("http://"+o.address+path, "application/json", strings.NewReader(text))
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	got, err := io.ReadAll(r.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	var answer reply
	if r.StatusCode == http.StatusOK {
		if err := json.Unmarshal(got, &answer); err != nil {
			o.t.Fatal(err)
		}
	}
	return r.StatusCode, answer, string(got)
}

// code makes a claim and returns its two parts.
func (o *office) code(n telemetry.Node) (secret, pin string) {
	o.t.Helper()
	c, err := o.Claim(o.t.Context(), registry.Gateway{Node: n})
	if err != nil {
		o.t.Fatal(err)
	}
	secret, pin, ok := strings.Cut(c.Code, ".")
	if !ok {
		o.t.Fatalf("code %q", c.Code)
	}
	return secret, pin
}

// pair joins an answer with its key.
func pair(t testing.TB, answer reply, key crypto.Signer) *tls.Certificate {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair([]byte(answer.Certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// enrolled is a gateway with its certificate.
func (o *office) enrolled(n telemetry.Node) *tls.Certificate {
	o.t.Helper()
	secret, _ := o.code(n)
	key := newKey(o.t)
	status, answer, text := o.post("/claim", nil, request{Secret: secret, CSR: signingRequest(o.t, key)})
	if status != http.StatusOK {
		o.t.Fatalf("claim: %d %s", status, text)
	}
	return pair(o.t, answer, key)
}

func TestClaimGivesACertificate(t *testing.T) {
	o := newOffice(t)
	secret, pin := o.code(balaikota)
	key := newKey(t)
	status, answer, text := o.post("/claim", nil, request{Secret: secret, CSR: signingRequest(t, key)})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	c := pair(t, answer, key)
	if answer.Node != balaikota.String() || c.Leaf.Subject.CommonName != answer.Node {
		t.Errorf("node %q, common name %q", answer.Node, c.Leaf.Subject.CommonName)
	}
	if life := c.Leaf.NotAfter.Sub(o.clock()); life > 90*24*time.Hour {
		t.Errorf("statement 10: it lives %v", life)
	}
	if len(c.Leaf.ExtKeyUsage) != 1 || c.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || c.Leaf.IsCA || len(c.Leaf.DNSNames) != 0 {
		t.Errorf("it may do more than log in: %v", c.Leaf.ExtKeyUsage)
	}
	if err := o.mqtt(c); err != nil {
		t.Errorf("the MQTT port: %v", err)
	}
	if g, _ := o.registry.Gateway(balaikota); !g.Expires.Equal(c.Leaf.NotAfter) {
		t.Errorf("the registry says it ends %v, the certificate %v", g.Expires, c.Leaf.NotAfter)
	}
	// The pin names the authority, which the port shows in its chain.
	conn, err := o.dial(Protocol, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	chain := conn.ConnectionState().PeerCertificates
	sum := sha256.Sum256(chain[len(chain)-1].RawSubjectPublicKeyInfo)
	if len(chain) != 2 || base64.RawURLEncoding.EncodeToString(sum[:]) != pin || !chain[1].IsCA {
		t.Errorf("the pin is not found in the chain of %d", len(chain))
	}
}

// Statement 8, over the wire.
func TestStatement8ClaimIsForOneKey(t *testing.T) {
	o := newOffice(t)
	secret, _ := o.code(balaikota)
	if raw, err := base64.RawURLEncoding.DecodeString(secret); err != nil || len(raw) != 24 {
		t.Errorf("a secret of %d bytes, %v", len(raw), err)
	}
	key := newKey(t)
	// The first answer is lost; the same key asks again.
	o.post("/claim", nil, request{Secret: secret, CSR: signingRequest(t, key)})
	status, answer, _ := o.post("/claim", nil, request{Secret: secret, CSR: signingRequest(t, key)})
	if status != http.StatusOK {
		t.Fatalf("the same key again: %d", status)
	}
	thief := newKey(t)
	if status, _, text := o.post("/claim", nil, request{Secret: secret, CSR: signingRequest(t, thief)}); status != http.StatusForbidden || !strings.Contains(text, "another key") {
		t.Errorf("another key: %d %s", status, text)
	}
	if n := <-o.misuse; n != balaikota {
		t.Errorf("reported for %v", n)
	}
	if err := o.mqtt(pair(t, answer, key)); err != nil {
		t.Errorf("the first key: %v", err)
	}
	late, _ := o.code(telemetry.Node{Group: "3374", ID: "late"})
	o.wait(registry.ClaimLife + time.Second)
	if status, _, text := o.post("/claim", nil, request{Secret: late, CSR: signingRequest(t, thief)}); status != http.StatusForbidden || !strings.Contains(text, "expired") {
		t.Errorf("an expired claim: %d %s", status, text)
	}
	if n := testutil.ToFloat64(o.requests.WithLabelValues("/claim", "refused")); n != 2 {
		t.Errorf("%v refusals counted", n)
	}
}

// Statement 9: the authority's key is one file of mode 0600 (and what is
// wrong with it is said, never mended by making another authority).
func TestStatement9KeyFile(t *testing.T) {
	o := newOffice(t)
	entries, err := os.ReadDir(o.dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v in the folder, %v", entries, err)
	}
	file := filepath.Join(o.dir, entries[0].Name())
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if again := o.open(nil); !bytes.Equal(again.CA(), o.CA()) {
		t.Error("another authority after a start")
	}
	opens := func() error {
		_, err := Open(Options{Dir: o.dir, Registry: o.registry, Logger: quiet})
		return err
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := opens(); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("others may read the key: %v", err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "nonsense", string(o.CA()), string(text[:len(text)/2]), strings.Replace(string(text), "A", "B", 3)} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := opens(); err == nil {
			t.Errorf("a damaged file of %d bytes was taken", len(bad))
		}
	}
}

// Statement 9: where another authority signs there is no key of one here, and
// the port's own certificate is read anew when somebody has renewed it.
func TestStatement9AnotherAuthority(t *testing.T) {
	o := newOffice(t)
	dir := t.TempDir()
	x := External{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "door.pem"), Key: filepath.Join(dir, "door.key")}
	put := func(file string, blocks ...*pem.Block) {
		t.Helper()
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renew := func() *tls.Certificate {
		t.Helper()
		c, err := o.serverCertificate()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		put(x.Cert, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[1]})
		put(x.Key, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
		return c
	}
	first := renew()
	open := func() (*Authority, error) {
		return Open(Options{Dir: filepath.Join(dir, "none"), External: &x, Registry: o.registry, Logger: quiet, Now: o.clock})
	}
	for _, bad := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: []byte("x")}, {Type: "CERTIFICATE", Bytes: first.Certificate[0]}} {
		put(x.CA, bad)
		if _, err := open(); err == nil {
			t.Errorf("a file with a %s of nobody who signs was taken", bad.Type)
		}
	}
	put(x.CA, &pem.Block{Type: "CERTIFICATE", Bytes: first.Certificate[1]})
	a, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder for an authority: %v", err)
	}
	if _, err := a.Claim(t.Context(), registry.Gateway{Node: balaikota}); !errors.Is(err, errExternal) {
		t.Errorf("a claim: %v", err)
	}
	if end := a.Expires(); !end.Equal(first.Leaf.NotAfter) {
		t.Errorf("it ends %v", end)
	}
	o.wait(80 * 24 * time.Hour)
	second := renew()
	later := time.Now().Add(time.Hour) // the file system's clock may be coarse
	if err := os.Chtimes(x.Key, later, later); err != nil {
		t.Fatal(err)
	}
	if c, err := a.serverCertificate(); err != nil || !c.Leaf.Equal(second.Leaf) {
		t.Errorf("the renewed certificate is not used: %v", err)
	}
	put(x.Cert, &pem.Block{Type: "CERTIFICATE", Bytes: []byte("half")})
	if err := os.Chtimes(x.Cert, later, later); err != nil {
		t.Fatal(err)
	}
	if c, err := a.serverCertificate(); err != nil || !c.Leaf.Equal(second.Leaf) {
		t.Errorf("a damaged file closed the port: %v", err)
	}
}

// Statement 11, its half at the door: a revoked certificate ends with the next
// handshake, for the MQTT port and for renewal.
func TestStatement11RevokedIsRefusedAtTheHandshake(t *testing.T) {
	o := newOffice(t)
	c := o.enrolled(balaikota)
	other := o.enrolled(telemetry.Node{Group: "3374", ID: "other"})
	if err := o.mqtt(c); err != nil {
		t.Fatal(err)
	}
	if err := o.registry.Revoke(t.Context(), balaikota); err != nil {
		t.Fatal(err)
	}
	if err := o.mqtt(c); err == nil {
		t.Error("the MQTT port took a revoked certificate")
	}
	if status, _, text := o.post("/renew", c, request{CSR: signingRequest(t, newKey(t))}); status != http.StatusForbidden || !strings.Contains(text, "revoked") {
		t.Errorf("renewal: %d %s", status, text)
	}
	if err := o.mqtt(other); err != nil {
		t.Errorf("statement 5: another gateway is touched: %v", err)
	}
}

// A revoked gateway does not come in by a TLS session of before.
func TestResumedSessionIsChecked(t *testing.T) {
	o := newOffice(t)
	c := o.enrolled(balaikota)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(o.CA())
	config := &tls.Config{RootCAs: pool, ServerName: "pantau.example", NextProtos: []string{"mqtt"}, Time: o.clock,
		Certificates: []tls.Certificate{*c}, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	connect := func() (resumed bool, err error) {
		conn, err := tls.Dial("tcp", o.address, config)
		if err != nil {
			return false, err
		}
		defer func() { _ = conn.Close() }()
		_, err = conn.Read(make([]byte, 1))
		return conn.ConnectionState().DidResume, err
	}
	if _, err := connect(); err != nil {
		t.Fatal(err)
	}
	if resumed, err := connect(); err != nil || !resumed {
		t.Fatalf("the test needs a resumed session: %v, %v", resumed, err)
	}
	if err := o.registry.Revoke(t.Context(), balaikota); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(); err == nil {
		t.Error("a revoked gateway came in by an old session")
	}
}

func TestWrongAuthorityIsRefused(t *testing.T) {
	o := newOffice(t)
	o.enrolled(balaikota)
	foreign := newOffice(t).enrolled(balaikota) // same name, another installation
	if err := o.mqtt(foreign); err == nil {
		t.Error("the MQTT port took a certificate of another authority")
	}
	if status, _, _ := o.post("/renew", foreign, request{CSR: signingRequest(t, newKey(t))}); status != http.StatusForbidden {
		t.Errorf("renewal: %d", status)
	}
	if status, _, _ := o.post("/renew", nil, request{CSR: signingRequest(t, newKey(t))}); status != http.StatusForbidden {
		t.Errorf("renewal without a certificate: %d", status)
	}
	// The server's own certificate is no gateway's.
	server, err := o.serverCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.mqtt(server); err == nil {
		t.Error("the MQTT port took a server's certificate")
	}
	if err := o.mqtt(nil); err != nil {
		t.Errorf("without a certificate the port asks for a password later: %v", err)
	}
}

func TestRenewal(t *testing.T) {
	o := newOffice(t)
	before := o.enrolled(balaikota)
	o.wait(60 * 24 * time.Hour)
	lost := newKey(t)
	if status, _, text := o.post("/renew", before, request{CSR: signingRequest(t, lost)}); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	if err := o.mqtt(before); err != nil {
		t.Errorf("the answer was lost, and the old certificate is refused: %v", err)
	}
	key := newKey(t)
	status, answer, text := o.post("/renew", before, request{CSR: signingRequest(t, key)})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	after := pair(t, answer, key)
	if err := o.mqtt(after); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	if left := after.Leaf.NotAfter.Sub(o.clock()); left != ClientLife {
		t.Errorf("the new certificate lives %v", left)
	}
}

// An expired certificate opens nothing but its own renewal, for a year.
func TestExpiredCertificateMayRenew(t *testing.T) {
	o := newOffice(t)
	old := o.enrolled(balaikota)
	o.wait(ClientLife + 300*24*time.Hour)
	if err := o.mqtt(old); err == nil {
		t.Error("the MQTT port took an expired certificate")
	}
	key := newKey(t)
	status, answer, text := o.post("/renew", old, request{CSR: signingRequest(t, key)})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	fresh := pair(t, answer, key)
	if err := o.mqtt(fresh); err != nil {
		t.Error(err)
	}
	o.wait(ClientLife + grace + time.Hour)
	if status, _, text := o.post("/renew", fresh, request{CSR: signingRequest(t, newKey(t))}); status != http.StatusForbidden {
		t.Errorf("after more than a year: %d %s", status, text)
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	o := newOffice(t)
	first, err := o.serverCertificate()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pantau.example", "192.0.2.7", "localhost", "127.0.0.1", "::1"} {
		if err := first.Leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	o.wait(ServerLife / 2)
	if again, _ := o.serverCertificate(); again != first {
		t.Error("renewed at half of its life")
	}
	o.wait(ServerLife / 4)
	second, err := o.serverCertificate()
	if err != nil || second == first {
		t.Fatalf("not renewed after three quarters of its life: %v", err)
	}
	if err := o.mqtt(nil); err != nil {
		t.Errorf("the port with the new one: %v", err)
	}
	// The clock is set back: a certificate of the future helps nobody.
	o.wait(-ServerLife)
	if third, _ := o.serverCertificate(); third == second || third.Leaf.NotBefore.After(o.clock()) {
		t.Error("a certificate of the future is shown")
	}
}

func TestNoCertificateWhileTheClockIsUnset(t *testing.T) {
	o := newOffice(t)
	o.mu.Lock()
	o.now = time.Date(1970, 1, 1, 0, 5, 0, 0, time.UTC)
	o.mu.Unlock()
	if _, err := o.serverCertificate(); err != nil {
		t.Errorf("the port does not open: %v", err)
	}
	_, err := o.Authority.serve(nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "clock") {
		t.Errorf("signed in 1970: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	o := newOffice(t)
	secret, _ := o.code(balaikota)
	good := signingRequest(t, newKey(t))
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		small = nil // the standard library refuses it by itself
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(good, good[80:90], "AAAAAAAAAA", 1)
	bodies := []any{"", "{", "[]", `{"secret":1}`, request{}, request{Secret: secret}, request{Secret: secret, CSR: "x"},
		request{Secret: "§", CSR: good}, request{Secret: secret, CSR: broken}, request{Secret: secret, CSR: signingRequest(t, weak)},
		request{Secret: secret, CSR: string(o.CA())}, strings.Repeat(" ", maxRequest+10)}
	if small != nil {
		bodies = append(bodies, request{Secret: secret, CSR: signingRequest(t, small)})
	}
	for i, body := range bodies {
		if status, _, text := o.post("/claim", nil, body); status != http.StatusBadRequest {
			t.Errorf("body %d: %d %s", i, status, text)
		}
	}
	if status, _, _ := o.post("/claim", nil, request{Secret: base64.RawURLEncoding.EncodeToString(make([]byte, 24)), CSR: good}); status != http.StatusForbidden {
		t.Errorf("an unknown secret: %d", status)
	}
	if status, _, _ := o.post("/other", nil, request{}); status != http.StatusNotFound {
		t.Errorf("/other: %d", status)
	}
	// None of that has used the claim up.
	if status, _, text := o.post("/claim", nil, request{Secret: secret, CSR: good}); status != http.StatusOK {
		t.Errorf("the good request: %d %s", status, text)
	}
}

func TestTroubleOfTheStoreIsNotARefusal(t *testing.T) {
	o := newOffice(t)
	secret, _ := o.code(balaikota)
	c := o.enrolled(telemetry.Node{Group: "3374", ID: "other"})
	o.shut(o.journal.Close)
	for path, body := range map[string]request{"/claim": {Secret: secret, CSR: signingRequest(t, newKey(t))}, "/renew": {CSR: signingRequest(t, newKey(t))}} {
		if status, _, text := o.post(path, c, body); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	o := newOffice(t)
	_, err := tls.Dial("tcp", o.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 was taken")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	o := newOffice(t)
	for _, names := range [][]string{{"host:8883"}, {""}, {"a b"}, {"https://host"}, {"*"}} {
		if _, err := Open(Options{Dir: t.TempDir(), Registry: o.registry, Names: names}); err == nil {
			t.Errorf("names %q were taken", names)
		}
	}
	if _, err := Open(Options{Dir: t.TempDir()}); err == nil {
		t.Error("opened without a registry")
	}
	if _, err := o.Claim(t.Context(), registry.Gateway{Node: telemetry.Node{Group: "a/b", ID: "c"}}); err == nil || errors.Is(err, registry.ErrClaim) {
		t.Errorf("a claim for a bad name: %v", err)
	}
}
