package gateway

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/status"
)

// authority is a small CA with a server that answers /claim and /renew as the
// broker room does: HTTP behind ALPN pantau-enrol/1 on a TLS port.
type authority struct {
	t       *testing.T
	key     *ecdsa.PrivateKey
	cert    *x509.Certificate
	address string
	secret  string
	now     time.Time // notBefore of all it signs

	mu      sync.Mutex
	bound   string // the claim's first public key
	claims  int
	lose    bool // the next answer is lost on the way
	renews  int
	renewed time.Duration // life of a renewed certificate; 0 = 90 h
}

func certificate(t *testing.T, name string, usage x509.ExtKeyUsage, pub crypto.PublicKey, ca *authority, life time.Duration) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: ca.now, NotAfter: ca.now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
	}
	parent := ca.cert
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent = template
	} else {
		template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// newAuthority starts one. serverUsage is what its server's certificate is for.
func newAuthority(t *testing.T, now time.Time, serverUsage x509.ExtKeyUsage) *authority {
	t.Helper()
	a := &authority{t: t, now: now, secret: base64.RawURLEncoding.EncodeToString([]byte("sixteen bytes ok"))}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der := certificate(t, "Pantau test authority", 0, a.key.Public(), a, 1000*time.Hour)
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate(t, "server", serverUsage, serverKey.Public(), a, 1000*time.Hour)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{enrolProtocol, "mqtt"}, ClientAuth: tls.RequestClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf, der}, PrivateKey: serverKey}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /claim", a.claim)
	mux.HandleFunc("POST /renew", a.renew)
	server := &http.Server{Handler: mux}
	go server.Serve(plainListener{listener}) // ends with the listener
	t.Cleanup(func() { server.Close() })
	return a
}

// plainListener does the handshake, and hides from net/http an ALPN name that it
// does not know.
type plainListener struct{ net.Listener }

type plainConn struct{ net.Conn }

func (l plainListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		t := c.(*tls.Conn)
		if t.Handshake() == nil {
			return plainConn{t}, nil
		}
		t.Close()
	}
}

func (a *authority) code() string {
	sum := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	return a.secret + "." + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (a *authority) sign(csrPEM string, life time.Duration) (key string, answer enrolAnswer) {
	block, _ := pem.Decode([]byte(csrPEM))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		a.t.Errorf("certificate request: %v", err)
	}
	leaf := certificate(a.t, "3374/balaikota", x509.ExtKeyUsageClientAuth, csr.PublicKey, a, life)
	encode := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return string(csr.RawSubjectPublicKeyInfo), enrolAnswer{Node: "3374/balaikota", Certificate: encode(leaf), CA: encode(a.cert.Raw)}
}

func (a *authority) claim(w http.ResponseWriter, r *http.Request) {
	var body struct{ Secret, CSR string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		a.t.Error(err)
	}
	key, answer := a.sign(body.CSR, 90*time.Hour)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.claims++
	if body.Secret != a.secret || (a.bound != "" && a.bound != key) {
		http.Error(w, "this claim is not known, is used up, or has expired", http.StatusForbidden)
		return
	}
	a.bound = key
	if a.lose {
		a.lose = false
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(answer)
}

func (a *authority) renew(w http.ResponseWriter, r *http.Request) {
	var body struct{ CSR string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	_, answer := a.sign(body.CSR, cmp.Or(a.renewed, 90*time.Hour))
	a.renews++
	json.NewEncoder(w).Encode(answer)
}

func claimOptions(t *testing.T, a *authority) ClaimOptions {
	return ClaimOptions{Code: a.code(), Server: a.address, Data: t.TempDir(), Now: time.Now, Synced: func() bool { return true }}
}

// Statement 1: each gateway makes its own key, at its first start, in a file that
// only it can read.
func TestStatement1AClaimGivesAnIdentityThatOnlyTheGatewayCanRead(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	o := claimOptions(t, a)
	id, err := Claim(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if id.Node.String() != "3374/balaikota" || id.Server != "mqtts://"+a.address {
		t.Errorf("%+v", id)
	}
	info, err := os.Stat(filepath.Join(o.Data, identityFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	other := claimOptions(t, newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth))
	if second, err := Claim(t.Context(), other); err != nil || second.Key == id.Key {
		t.Errorf("another gateway has the same key (%v)", err)
	}
	files, _ := os.ReadDir(o.Data)
	if len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
	read, err := LoadIdentity(o.Data)
	if err != nil || read.Node != id.Node || read.Key != id.Key {
		t.Errorf("%+v, %v", read, err)
	}
	if _, err := Claim(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("a second claim: %v", err)
	}
	if err := os.Chmod(filepath.Join(o.Data, identityFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadIdentity(o.Data); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others may read: %v", err)
	}
}

func TestALostAnswerStrandsNobody(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	a.lose = true
	o := claimOptions(t, a)
	if _, err := Claim(t.Context(), o); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("a lost answer: %v", err)
	}
	if _, err := Claim(t.Context(), o); err != nil {
		t.Errorf("the same claim again: %v", err)
	}
	if a.claims != 2 {
		t.Errorf("%d claims", a.claims)
	}
}

func TestAClaimBelievesOnlyTheAuthorityThatItsCodeNames(t *testing.T) {
	now := time.Now().Add(-time.Hour)
	a, other := newAuthority(t, now, x509.ExtKeyUsageServerAuth), newAuthority(t, now, x509.ExtKeyUsageServerAuth)
	o := claimOptions(t, a)
	o.Server = other.address
	if _, err := Claim(t.Context(), o); !errors.Is(err, ErrRefused) {
		t.Errorf("another authority's server: %v", err)
	}
	if other.claims != 0 {
		t.Error("the secret went to a server that could not be verified")
	}
	// A gateway's certificate is signed by the same authority, but is none of a server.
	gateway := newAuthority(t, now, x509.ExtKeyUsageClientAuth)
	if _, err := Claim(t.Context(), claimOptions(t, gateway)); !errors.Is(err, ErrRefused) {
		t.Errorf("a gateway that poses as a server: %v", err)
	}
	o = claimOptions(t, a)
	o.Code = strings.Repeat("A", 22) + o.Code[strings.Index(o.Code, "."):]
	if _, err := Claim(t.Context(), o); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("a wrong secret: %v", err)
	}
	for _, code := range []string{"", "abc", "abc.def", a.code()[:30]} {
		o.Code = code
		if _, err := Claim(t.Context(), o); err == nil || !strings.Contains(err.Error(), "claim code") {
			t.Errorf("code %q: %v", code, err)
		}
	}
}

func TestAClaimWithoutAClock(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	o := claimOptions(t, a)
	o.Now = func() time.Time { return time.Unix(8, 0) }
	if _, err := Claim(t.Context(), o); !errors.Is(err, ErrRefused) {
		t.Errorf("a synchronised clock before the certificate: %v", err)
	}
	o.Synced = func() bool { return false }
	if _, err := Claim(t.Context(), o); err != nil {
		t.Errorf("a Pi that booted in 1970: %v", err)
	}
}

func TestARenewalReplacesKeyAndCertificate(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-65*time.Hour), x509.ExtKeyUsageServerAuth)
	o := claimOptions(t, a)
	id, err := Claim(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if due := id.renewAt(); !due.Equal(id.NotBefore.Add(60 * time.Hour)) {
		t.Errorf("two thirds of 90 h are %v", due.Sub(id.NotBefore))
	}
	next, err := renew(t.Context(), o.Data, id, time.Now, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	read, err := LoadIdentity(o.Data)
	if err != nil || read.Key == id.Key || read.Certificate != next.Certificate || read.Node != id.Node {
		t.Errorf("%v %v", read.Node, err)
	}
	if a.renews != 1 {
		t.Errorf("%d renewals", a.renews)
	}
}

// Statement 10, where another authority signs: people are asked for a new
// certificate a fortnight ahead, since nothing renews it by itself.
func TestACertificateOfAnotherAuthorityIsAskedForInTime(t *testing.T) {
	g := &Gateway{}
	now := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]string{15 * 24 * time.Hour: "", 14*24*time.Hour - time.Minute: "renew", -time.Hour: "renew"} {
		s := status.Snapshot{Now: now, Name: "3374/luar", Clock: status.Clock{Known: true},
			Uplink: status.Uplink{Connected: true, Certificate: now.Add(left), ByHand: true}}
		got := ""
		for _, step := range g.missing(&s, nil, false) {
			got += step.Key
			if !strings.Contains(step.Command, "pantau-gateway csr --node 3374/luar") || !strings.Contains(step.English(), "needs a new one") {
				t.Errorf("%+v", step)
			}
		}
		if got != want {
			t.Errorf("%v left: %q, want %q", left, got, want)
		}
	}
}
