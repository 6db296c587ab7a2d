package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func clientCert(c tls.Certificate) func(*tls.Config) {
	return func(cfg *tls.Config) { // given whatever CA the server asks for
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
	}
}

func TestOptionsNameFieldAndValue(t *testing.T) {
	ca := newCA(t, "ca")
	good := tls.Config{Certificates: []tls.Certificate{ca.issue(t, "server")}, ClientCAs: ca.pool()}
	j, a := newMemory(), &registry{}
	defer close(j.stop)
	for _, c := range []struct {
		want string
		o    Options
	}{
		{"Listen and PlainListen", Options{Journal: j, Authority: a}},
		{"Journal", Options{PlainListen: "127.0.0.1:0", Authority: a}},
		{"Authority", Options{PlainListen: "127.0.0.1:0", Journal: j}},
		{`PlainListen "0.0.0.0:1883"`, Options{PlainListen: "0.0.0.0:1883", Journal: j, Authority: a}},
		{`PlainListen ":1883"`, Options{PlainListen: ":1883", Journal: j, Authority: a}},
		{`PlainListen "192.168.1.2:1883"`, Options{PlainListen: "192.168.1.2:1883", Journal: j, Authority: a}},
		{`PlainListen "example.org:1883"`, Options{PlainListen: "example.org:1883", Journal: j, Authority: a}},
		{"TLS: is not set", Options{Listen: "127.0.0.1:0", Journal: j, Authority: a}},
		{"MinVersion is TLS 1.1", Options{Listen: "127.0.0.1:0", Journal: j, Authority: a, TLS: &tls.Config{MinVersion: tls.VersionTLS11}}},
		{"ClientCAs", Options{Listen: "127.0.0.1:0", Journal: j, Authority: a, TLS: &tls.Config{Certificates: good.Certificates}}},
		{"has no certificate", Options{Listen: "127.0.0.1:0", Journal: j, Authority: a, TLS: &tls.Config{ClientCAs: good.ClientCAs}}},
		{"Host", Options{PlainListen: "127.0.0.1:0", Journal: j, Authority: a, Host: "a/b"}},
		{"Limits.InFlight is -1", Options{PlainListen: "127.0.0.1:0", Journal: j, Authority: a, Limits: Limits{InFlight: -1}}},
		{"Open is set and Listen too", Options{Listen: "127.0.0.1:0", TLS: &good, Journal: j, Open: &Open{}}},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.3.2.1:0"} {
		if _, err := New(Options{PlainListen: address, Journal: j, Authority: a}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestPlainListenerAlwaysWantsAPassword(t *testing.T) { // statement 12
	r := start(t)
	r.registry.add("3374/a")
	for _, l := range []login{
		{id: "3374/a", keepAlive: 60},
		{id: "3374/a", keepAlive: 60, user: "3374/a"},
		{id: "3374/a", keepAlive: 60, user: "3374/a", password: "wrong"},
		{id: "3374/a", keepAlive: 60, user: "3374/b", password: "secret of 3374/a"},
	} {
		c := r.dial(t)
		c.send(l.packet())
		c.expect(connack(connackRefused))
		c.closed()
	}
	if r.registry.asked != 2 {
		t.Errorf("the authority was asked %d times: without a password it is not", r.registry.asked)
	}
	c := r.dial(t) // client id and node must agree (statement 13)
	c.send(login{id: "3374/b", keepAlive: 60, user: "3374/a", password: "secret of 3374/a"}.packet())
	c.expect(connack(connackIdentifier))
	c = r.dial(t)
	c.send(login{keepAlive: 60, user: "3374/a", password: "secret of 3374/a"}.packet())
	c.expect(connack(connackIdentifier))
}

func TestWrongLoginsPause(t *testing.T) { // statement 14
	var later atomic.Int64 // seconds
	begin := time.Now()
	r := prepare(t)
	r.opts.Now = func() time.Time { return begin.Add(time.Duration(later.Load()) * time.Second) }
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	try := func(password string, want byte) {
		t.Helper()
		c := r.dial(t)
		c.send(login{id: "3374/a", keepAlive: 60, user: "3374/a", password: password}.packet())
		c.expect(connack(want))
		c.conn.Close()
	}
	right := r.registry.add("3374/a")
	for range 5 {
		try("guess", connackRefused)
	}
	try(right, connackUnavailable)
	if r.registry.asked != 5 {
		t.Errorf("asked %d times", r.registry.asked)
	}
	later.Add(59)
	try(right, connackUnavailable)
	later.Add(1)
	try(right, 0)
	for range 4 {
		try("guess", connackRefused)
	}
	later.Add(60)
	try("guess", connackRefused)
	try(right, 0) // four and one are not five within a minute
	r.counted(t, 2, "refused_total", "reason=paused")
}

func TestHalfOpenPerAddress(t *testing.T) { // statement 14
	r := start(t, func(o *Options) { o.Limits.HalfOpenPerAddress = 5 })
	var mute []*client
	for range 5 {
		mute = append(mute, r.dial(t))
	}
	until(t, "five half open", func() bool { return r.metric(t, "half_open_connections") == 5 })
	r.dial(t).closed()
	r.counted(t, 1, "refused_total", "reason=half_open")
	mute[0].conn.Close()
	until(t, "one left", func() bool { return r.metric(t, "half_open_connections") == 4 })
	for i := range 8 { // who logged in does not count
		r.node(t, fmt.Sprintf("3374/%d", i))
	}
}

// The caps that hold without settings, as the comments at Limits name them.
func TestDefaultCaps(t *testing.T) { // statements 14 and 15
	r := start(t)
	if want := (Limits{
		Clients: 16_000, HalfOpenPerAddress: 20, ConnectTime: 10 * time.Second, ConnectBytes: 64 << 10, PacketBytes: 256 << 10,
		WrongLoginsPerMinute: 5, LoginPause: time.Minute, KeepAliveMax: 30 * time.Minute, InFlight: 256, InFlightBytes: 1 << 20,
		MessagesPerSecond: 5000, BytesPerSecond: 8 << 20, UnreadBytes: 1 << 20, Subscriptions: 64, SessionLife: 7 * 24 * time.Hour, WriteTime: 30 * time.Second,
	}); r.opts.Limits != want {
		t.Errorf("%+v, want %+v", r.opts.Limits, want)
	}
	for range 20 {
		r.dial(t)
	}
	until(t, "twenty half open", func() bool { return r.metric(t, "half_open_connections") == 20 })
	r.dial(t).closed()
	r.counted(t, 1, "refused_total", "reason=half_open")
}

func TestClientsCap(t *testing.T) {
	r := start(t, func(o *Options) { o.Limits.Clients = 2 })
	r.node(t, "3374/a")
	b := r.node(t, "3374/b")
	c := r.dial(t)
	c.send(login{id: "3374/c", user: "3374/c", password: r.registry.add("3374/c"), keepAlive: 60}.packet())
	c.expect(connack(connackUnavailable))
	r.node(t, "3374/b") // a take-over needs no room
	b.closed()
}

func TestDisconnectCutsTheLiveSession(t *testing.T) { // statement 11
	r := start(t)
	a, b := r.node(t, "3374/a", own("3374/a")), r.node(t, "3374/b")
	r.Disconnect(telemetry.Node{Group: "3374", ID: "a"}, "revoked")
	a.closed()
	if p := r.journal.next(t); p.Topic != topicOf("NDEATH", "3374/a") {
		t.Errorf("%+v", p)
	}
	b.send(pingreq)
	b.expect([]byte{0xd0, 0})
	r.Disconnect(telemetry.Node{Group: "3374", ID: "unknown"}, "revoked")
	r.counted(t, 1, "cut_total", "reason=disconnected")
}

func TestDisconnectReachesALoginUnderWay(t *testing.T) { // statement 11
	r := start(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	r.registry.hook = func(Credentials) { close(asked); <-answer }
	c := r.dial(t)
	c.send(login{id: "3374/a", user: "3374/a", password: r.registry.add("3374/a"), keepAlive: 60}.packet())
	<-asked
	r.Disconnect(telemetry.Node{Group: "3374", ID: "a"}, "revoked")
	close(answer)
	c.expect(connack(connackRefused))
	c.closed()
	if len(r.Sessions()) != 0 {
		t.Error("the session lives")
	}
}

type slowAuthority struct{}

func (slowAuthority) Authenticate(ctx context.Context, _ Credentials) (telemetry.Node, error) {
	<-ctx.Done()
	return telemetry.Node{}, fmt.Errorf("ask the registry: %w", ctx.Err())
}

func TestSlowAuthorityIsNotAWrongLogin(t *testing.T) {
	r := start(t, func(o *Options) { o.Authority = slowAuthority{}; o.Limits.ConnectTime = 50 * time.Millisecond })
	for range 6 {
		c := r.dial(t)
		c.send(login{id: "3374/a", user: "3374/a", password: "x", keepAlive: 60}.packet())
		_, _ = c.read() // CONNACK 3 if it is in time
		c.closed()
	}
	if n := r.metric(t, "refused_total", "reason=paused"); n != 0 {
		t.Errorf("%v paused", n)
	}
}

func TestTLS(t *testing.T) { // statement 12
	ca, foreign := newCA(t, "ca"), newCA(t, "foreign")
	r := start(t, ca.withTLS(t))
	in := func(what string, change ...func(*tls.Config)) *client {
		t.Helper()
		c, err := r.dialTLS(t, ca, change...)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return c
	}
	connectTo := login{id: "3374/a", keepAlive: 60}.packet()

	c := in("good certificate", clientCert(ca.issue(t, "3374/a")))
	c.send(connectTo)
	c.expect(connack(0))
	c.send(publishPacket(1, 1, topicOf("NBIRTH", "3374/a"), "x"))
	c.expect(puback(1))
	c = in("good certificate, ALPN mqtt, TLS 1.2", clientCert(ca.issue(t, "3374/a")), func(cfg *tls.Config) {
		cfg.NextProtos, cfg.MaxVersion = []string{"mqtt"}, tls.VersionTLS12
	})
	c.send(connectTo)
	c.expect(connack(0))

	c = in("no certificate")
	c.send(connectTo)
	c.expect(connack(connackRefused))
	c = in("no certificate, password")
	c.send(login{id: "3374/p", user: "3374/p", password: r.registry.add("3374/p"), keepAlive: 60}.packet())
	c.expect(connack(0))
	c = in("certificate of another node", clientCert(ca.issue(t, "3374/b")))
	c.send(connectTo)
	c.expect(connack(connackIdentifier))
	r.registry.revoked["3374/r"] = true
	c = in("revoked certificate", clientCert(ca.issue(t, "3374/r")))
	c.send(login{id: "3374/r", keepAlive: 60}.packet())
	c.expect(connack(connackRefused))

	expired := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	server := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	before := r.metric(t, "refused_total", "reason=tls")
	for what, change := range map[string]func(*tls.Config){
		"wrong CA":             clientCert(foreign.issue(t, "3374/a")),
		"expired":              clientCert(ca.issue(t, "3374/a", expired)),
		"not yet valid":        clientCert(ca.issue(t, "3374/a", early)),
		"server's certificate": clientCert(ca.issue(t, "3374/a", server)),
		"TLS 1.0":              func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 },
		"TLS 1.1":              func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 },
		"CBC": func(cfg *tls.Config) {
			cfg.MaxVersion, cfg.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}
		},
		"unknown ALPN": func(cfg *tls.Config) { cfg.NextProtos = []string{"h2"} },
		"enrolment, not served": func(cfg *tls.Config) {
			cfg.NextProtos = []string{EnrolProtocol}
		},
	} {
		c, err := r.dialTLS(t, ca, change) // TLS 1.3 tells of a refused certificate at the first read
		if err == nil {
			_, _ = c.conn.Write(connectTo)
			if _, err = c.read(); err == nil {
				t.Errorf("%s: let in", what)
			}
		}
	}
	until(t, "nine refused handshakes", func() bool { return r.metric(t, "refused_total", "reason=tls") == before+9 })
	plain := newClient(t, func() net.Conn {
		c, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}())
	plain.send(connectTo)
	for {
		if _, err := plain.in.ReadByte(); err != nil { // an alert may come first
			break
		}
	}
}

func TestSessionEndsWithItsCertificate(t *testing.T) {
	ca := newCA(t, "ca")
	var later atomic.Int64 // hours
	r := start(t, ca.withTLS(t), func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load()) * time.Hour) }
	})
	c, err := r.dialTLS(t, ca, clientCert(ca.issue(t, "3374/a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })))
	if err != nil {
		t.Fatal(err)
	}
	c.send(login{id: "3374/a", keepAlive: 60}.packet())
	c.expect(connack(0))
	c.send(pingreq)
	c.expect([]byte{0xd0, 0})
	later.Add(1)
	c.closed()
	r.counted(t, 1, "cut_total", "reason=expired")
}

func TestPasswordSessionEndsAfterItsLife(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.SessionLife = time.Second })
	c := r.node(t, "3374/a")
	c.closed()
	r.counted(t, 1, "cut_total", "reason=expired")
	r.node(t, "3374/a") // it may come back at once
}

func TestEnrolmentOnTheMQTTPort(t *testing.T) {
	ca := newCA(t, "ca")
	r := start(t, ca.withTLS(t), func(o *Options) {
		o.EnrolHandler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			body, err := io.ReadAll(req.Body)
			switch {
			case err != nil:
				http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			case string(body) == "bomb":
				panic("handler bug")
			case string(body) == "wrong":
				http.Error(w, "no such claim", http.StatusForbidden)
			case req.TLS == nil || req.URL.Path != "/claim":
				http.Error(w, "not over TLS", http.StatusInternalServerError)
			default:
				fmt.Fprintf(w, "%s, %d certificates", body, len(req.TLS.PeerCertificates))
			}
		})
	})
	post := func(body string, change ...func(*tls.Config)) (int, string) {
		t.Helper()
		cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", NextProtos: []string{EnrolProtocol}}
		for _, f := range change {
			f(cfg)
		}
		client := &http.Client{Transport: &http.Transport{DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := (&tls.Dialer{Config: cfg}).DialContext(ctx, network, r.Addr().String())
			if err != nil {
				return nil, err
			}
			return c, nil
		}}}
		defer client.CloseIdleConnections()
		res, err := client.Post("https://localhost/claim", "application/json", strings.NewReader(body))
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		got, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(got)
	}
	if code, got := post("token"); code != 200 || got != "token, 0 certificates" {
		t.Errorf("%d %q", code, got)
	}
	// An expired certificate may renew: the handler sees it and judges.
	old := ca.issue(t, "3374/a", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	if code, got := post("renew", clientCert(old)); code != 200 || got != "renew, 1 certificates" {
		t.Errorf("%d %q", code, got)
	}
	if code, _ := post(strings.Repeat("x", maxEnrolBody+1)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: %d", code)
	}
	if code, _ := post("bomb"); code != 0 || r.metric(t, "panics_total") != 1 {
		t.Errorf("panic: answered %d, %v counted", code, r.metric(t, "panics_total"))
	}
	for range 5 {
		if code, _ := post("wrong"); code != http.StatusForbidden {
			t.Errorf("wrong claim: %d", code)
		}
	}
	if code, _ := post("token"); code != http.StatusTooManyRequests {
		t.Errorf("after five wrong claims: %d", code)
	}
	c, err := r.dialTLS(t, ca, clientCert(ca.issue(t, "3374/a"))) // MQTT goes on
	if err != nil {
		t.Fatal(err)
	}
	c.send(login{id: "3374/a", keepAlive: 60}.packet())
	c.expect(connack(0))
	until(t, "enrolments closed", func() bool { return r.metric(t, "half_open_connections") == 0 })
}

// TestSelfTestRefusesToStart is statement 17.
func TestSelfTestRefusesToStart(t *testing.T) {
	for name, broken := range map[string]func(rules) rules{
		"publish":   func(r rules) rules { return openTo{rules: r, publish: true} },
		"subscribe": func(r rules) rules { return openTo{rules: r, subscribe: true} },
		"will":      func(r rules) rules { return openTo{rules: r, will: true} },
		"nothing":   func(r rules) rules { return openRules{func(string) bool { return true }} },
	} {
		r := prepare(t)
		r.rulesOf = func(n telemetry.Node, host string) rules { return broken(newNodeRules(n, host)) }
		err := r.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "self-test") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Log(err)
		if r.PlainAddr() != nil {
			t.Errorf("%s: the listener was opened", name)
		}
	}
}

type openTo struct {
	rules
	publish, subscribe, will bool
}

func (o openTo) mayPublish(topic string) bool    { return o.publish || o.rules.mayPublish(topic) }
func (o openTo) maySubscribe(filter string) bool { return o.subscribe || o.rules.maySubscribe(filter) }
func (o openTo) mayWill(topic string) bool       { return o.will || o.rules.mayWill(topic) }

func TestStartRollsBack(t *testing.T) {
	taken := start(t)
	r := prepare(t, func(o *Options) { o.PlainListen = taken.PlainAddr().String() })
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "PlainListen") {
		t.Errorf("%v", err)
	}
	if err := r.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
}

// TestRealClients lets Mosquitto's command line clients in.
func TestRealClients(t *testing.T) {
	r := start(t)
	host, port, _ := strings.Cut(r.PlainAddr().String(), ":")
	run := func(program, node string, args ...string) (string, error) {
		args = append([]string{"-h", host, "-p", port, "-i", node, "-u", node, "-P", r.registry.add(node)}, args...)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			t.Fatalf("%s is missing: install mosquitto-clients", program)
		}
		return string(out), err
	}
	for _, qos := range []string{"0", "1"} {
		if out, err := run("mosquitto_pub", "3374/a", "-q", qos, "-t", topicOf("NDATA", "3374/a"), "-m", "q"+qos); err != nil {
			t.Errorf("publish with QoS %s: %v %s", qos, err, out)
		}
		if p := r.journal.next(t); string(p.Payload) != "q"+qos {
			t.Errorf("%+v", p)
		}
	}
	if out, err := run("mosquitto_sub", "3374/a", "-q", "1", "-t", "spBv1.0/STATE/pantau", "-C", "1"); err != nil || !strings.Contains(out, `"online":true`) {
		t.Errorf("STATE: %v %s", err, out)
	}
	commands := topicOf("NCMD", "3374/a")
	heard := make(chan string, 1)
	go func() {
		out, err := run("mosquitto_sub", "3374/a", "-q", "1", "-t", commands, "-C", "1")
		heard <- fmt.Sprint(out, err)
	}()
	until(t, "subscribed", func() bool { return len(r.server.Topics.Subscribers(commands).Subscriptions) == 1 })
	if err := r.Publish(commands, []byte("a command")); err != nil {
		t.Error(err)
	}
	if out := <-heard; !strings.HasPrefix(out, "a command") {
		t.Errorf("command: %s", out)
	}
	if out, err := run("mosquitto_pub", "3374/a", "-q", "1", "-t", topicOf("NDATA", "3374/b"), "-m", "x"); err == nil {
		t.Errorf("foreign topic: %s", out)
	}
	if out, err := run("mosquitto_pub", "3374/a", "-V", "mqttv5", "-q", "1", "-t", topicOf("NDATA", "3374/a"), "-m", "x"); err == nil {
		t.Errorf("MQTT 5: %s", out)
	}
}
