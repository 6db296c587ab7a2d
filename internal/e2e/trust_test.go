package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/server"
)

// papers are the files with which a client proves who it is.
type papers struct{ ca, certificate, key string }

// claim registers a gateway and lets the real program claim it; it does not run.
func (r *rig) claim(name string) papers {
	r.t.Helper()
	data := filepath.Join(r.dir, "claimed-"+name)
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", name); err != nil {
		r.t.Fatal(err)
	}
	p := start(r.t, filepath.Join(bin, "pantau-gateway"), nil, "claim", claim.Code, "--server", r.door, "--data", data)
	if err := p.wait(r.t.Context()); err != nil {
		r.t.Fatalf("claim: %v", err)
	}
	return papersOf(r.t, data)
}

// papersOf takes a claimed identity apart.
func papersOf(t testing.TB, data string) papers {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "identity.json"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct{ Key, Certificate, CA string }
	if err := json.Unmarshal(text, &id); err != nil {
		t.Fatal(err)
	}
	return papers{papersFile(t, id.CA), papersFile(t, id.Certificate), papersFile(t, id.Key)}
}

func papersFile(t testing.TB, text string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "paper.pem")
	if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// forge makes a certificate: signed by the authority whose file is named, by
// nobody (itself) if that is "". Its key is that of p, or a new one.
func (r *rig) forge(p papers, name, authority string, from, to time.Time) papers {
	t := r.t
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	if p.key != "" {
		key = readKey(t, p.key)
	} else {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		check(err)
		p.key = papersFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	signer, parent := key, template
	if authority != "" {
		pair, err := tls.LoadX509KeyPair(authority, authority)
		check(err)
		parent, err = x509.ParseCertificate(pair.Certificate[0])
		check(err)
		signer = readKey(t, authority)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	check(err)
	p.certificate = papersFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return p
}

func readKey(t testing.TB, file string) *ecdsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "PRIVATE KEY" {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return key.(*ecdsa.PrivateKey)
	}
	t.Fatalf("no key in %s", file)
	return nil
}

// mosquitto publishes one message through the gateways' door with Mosquitto's
// client, and says whether the server took it.
func (r *rig) mosquitto(p papers, client, topic string, more ...string) error {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.door)
	if err != nil {
		r.t.Fatal(err)
	}
	args := []string{"-h", host, "-p", port, "--cafile", p.ca, "-i", client, "-t", topic, "-m", "x", "-q", "1"}
	if p.certificate != "" {
		args = append(args, "--cert", p.certificate, "--key", p.key)
	}
	// Where the server hangs up on it, it tries again without an end.
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mosquitto_pub", append(args, more...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		r.t.Fatal("this test needs Mosquitto's client: apt-get install mosquitto-clients")
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// sum adds the values of a metric over all of its labels.
func (r *rig) sum(name string) float64 {
	total := 0.0
	for _, v := range r.labelled(name) {
		total += v
	}
	return total
}

// E17 and E18: whoever is not who he says he is stays outside, is named in the
// log, and costs nobody else a connection.
func TestOnlyTheOwnCertificateOpensTheDoor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.newSite("baik", sensor("bme280", "cuaca", "i2c-1.sock", "200ms"))
	own := r.claim("pencuri")
	revoked := r.claim("dicabut")
	var done server.Done
	if err := r.admin(&done, "gateway", "revoke", "3374/dicabut"); err != nil {
		t.Fatal(err)
	}
	authority := filepath.Join(r.data(), "ca", "authority.pem")
	now := time.Now()
	from, to := now.Add(-time.Hour), now.Add(time.Hour)
	await(t, "the good gateway's readings", patience, func() bool { return r.of(s).Stored > 5 })

	if err := r.mosquitto(own, "3374/pencuri", "spBv1.0/3374/NDATA/pencuri"); err != nil {
		t.Fatalf("the own certificate, id and topic: %v", err)
	}
	for _, c := range []struct {
		what          string
		p             papers
		client, topic string
		reason        string // in the log
	}{
		{"a foreign topic", own, "3374/pencuri", "spBv1.0/3374/NDATA/baik", "acl_publish"},
		{"a foreign client id", own, "3374/baik", "spBv1.0/3374/NDATA/baik", "client_id"},
		{"no certificate", papers{ca: own.ca}, "3374/baik", "spBv1.0/3374/NDATA/baik", "credentials"},
		{"a certificate signed by itself", r.forge(papers{ca: own.ca}, "3374/baik", "", from, to), "3374/baik", "spBv1.0/3374/NDATA/baik", "tls"},
		{"a foreign authority's", r.forge(papers{ca: own.ca}, "3374/baik", foreignAuthority(t), from, to), "3374/baik", "spBv1.0/3374/NDATA/baik", "tls"},
		{"ours, for a key that was never claimed", r.forge(papers{ca: own.ca}, "3374/baik", authority, from, to), "3374/baik", "spBv1.0/3374/NDATA/baik", "tls"},
		{"ours, of a name that is not registered", r.forge(own, "3374/hantu", authority, from, to), "3374/hantu", "spBv1.0/3374/NDATA/hantu", "tls"},
		{"expired", r.forge(own, "3374/pencuri", authority, now.Add(-48*time.Hour), now.Add(-time.Minute)), "3374/pencuri", "spBv1.0/3374/NDATA/pencuri", "tls"},
		{"revoked", revoked, "3374/dicabut", "spBv1.0/3374/NDATA/dicabut", "tls"},
	} {
		refused := r.labelled("pantau_broker_refused_total")[`reason="`+c.reason+`"`] + r.labelled("pantau_broker_cut_total")[`reason="`+c.reason+`"`]
		err := r.mosquitto(c.p, c.client, c.topic)
		t.Logf("%s: %v", c.what, err)
		if err == nil {
			t.Errorf("%s: the message was taken", c.what)
		}
		if n := r.labelled("pantau_broker_refused_total")[`reason="`+c.reason+`"`] + r.labelled("pantau_broker_cut_total")[`reason="`+c.reason+`"`]; n <= refused {
			t.Errorf("%s: not counted under %q: refused %v, cut %v", c.what, c.reason, r.labelled("pantau_broker_refused_total"), r.labelled("pantau_broker_cut_total"))
		}
		r.server.says("reason=" + c.reason)
	}
	conn, err := tls.Dial("tcp", r.door, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	stored := r.of(s).Stored
	await(t, "more of the good gateway's readings", patience, func() bool { return r.of(s).Stored > stored+5 })
	if log, _ := s.gateway.log.state(); strings.Count(log, "connected to the server") != 1 {
		t.Errorf("the good gateway lost its connection:\n%s", log)
	}
	for _, g := range r.ledger().Gateways {
		if g.Node != s.node && g.Stored > 0 {
			t.Errorf("something of %s was stored", g.Node)
		}
	}
}

// foreignAuthority makes an authority that nobody asked for.
func foreignAuthority(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Pantau authority", Organization: []string{"Pantau"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return papersFile(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// Statements 5 and 11: revoking a gateway cuts its live connection at once and
// touches no other. It goes on measuring; with a new claim, without a restart,
// all of that arrives.
func TestRevokedGatewayIsCutAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	lost := r.newSite("hilang", sensor("bme280", "cuaca", "i2c-1.sock", "200ms"))
	kept := r.newSite("tinggal", sensor("bme280", "cuaca", "i2c-1.sock", "200ms"))
	await(t, "readings of both", patience, func() bool { return r.of(lost).Stored > 5 && r.of(kept).Stored > 5 })
	if n, _ := r.metric("pantau_broker_sessions"); n != 2 {
		t.Fatalf("%v sessions", n)
	}
	var done server.Done
	if err := r.admin(&done, "gateway", "revoke", lost.node); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	await(t, "the end of its session", patience, func() bool { n, ok := r.metric("pantau_broker_sessions"); return ok && n == 1 })
	t.Logf("the session ended within %v of the command", time.Since(begin))
	lost.gateway.says("connection")
	await(t, "its next try to be refused", patience, func() bool { return r.sum("pantau_broker_refused_total") > 0 })
	if n := r.sum("pantau_broker_cut_total"); n != 1 {
		t.Errorf("%v sessions were cut: %v", n, r.labelled("pantau_broker_cut_total"))
	}
	if log, _ := kept.gateway.log.state(); strings.Count(log, "connected to the server") != 1 {
		t.Errorf("the other gateway lost its connection:\n%s", log)
	}
	stored, other := r.of(lost).Stored, r.of(kept).Stored
	await(t, "more readings of the other", patience, func() bool { return r.of(kept).Stored > other+10 })
	if l := r.of(lost); l.Stored != stored {
		t.Errorf("a revoked gateway's readings were stored: %+v, before %d", l, stored)
	}
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", "hilang"); err != nil {
		t.Fatal(err)
	}
	p := start(t, filepath.Join(bin, "pantau-gateway"), nil, "claim", claim.Code, "--replace", "--server", r.door, "--data", lost.data())
	if err := p.wait(t.Context()); err != nil {
		t.Fatalf("claim: %v", err)
	}
	await(t, "what it measured meanwhile", time.Minute, func() bool { l := r.of(lost); return l.Stored > stored+20 && l.Missing == 0 })
	if l := r.of(lost); l.Lost+l.DeadLetters > 0 {
		t.Errorf("the ledger: %+v", l)
	}
}

// Statement 8: a claim is bound to the first key that came with it.
func TestClaimUsedTwice(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", "sekali"); err != nil {
		t.Fatal(err)
	}
	secret, _, _ := strings.Cut(claim.Code, ".")
	if len(secret)*6 < 128 || time.Until(claim.Expires) > 24*time.Hour {
		t.Errorf("a claim of %d bit until %v", len(secret)*6, claim.Expires)
	}
	redeem := func(data string) (string, error) {
		p := start(t, filepath.Join(bin, "pantau-gateway"), nil, "claim", claim.Code, "--server", r.door, "--data", data)
		err := p.wait(t.Context())
		log, _ := p.log.state()
		return log, err
	}
	first, thief := filepath.Join(r.dir, "first"), filepath.Join(r.dir, "thief")
	if log, err := redeem(first); err != nil {
		t.Fatalf("%v: %s", err, log)
	}
	before := papersOf(t, first)
	log, err := redeem(thief)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(log, "another key") {
		t.Errorf("the second use: %v: %s", err, log)
	}
	if _, err := os.Stat(filepath.Join(thief, "identity.json")); err == nil {
		t.Error("the second use got a certificate")
	}
	r.server.says("the code has got into other hands")
	if err := r.mosquitto(before, "3374/sekali", "spBv1.0/3374/NDATA/sekali"); err != nil {
		t.Errorf("the first one's certificate does not hold any more: %v", err)
	}
	// The answer to the first was lost on its way: the same key may ask again.
	again := filepath.Join(r.dir, "again")
	if err := os.MkdirAll(again, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(before.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(again, "claim-key.pem"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if log, err := redeem(again); err != nil {
		t.Errorf("the same key again: %v: %s", err, log)
	}
}
