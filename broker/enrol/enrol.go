// Package enrol is the installation's certificate authority and the door
// through which gateways get their certificates: HTTPS POST /claim and /renew on
// the MQTT port, for ALPN "pantau-enrol/1".
//
// It promises that the authority's key is one file (mode 0600) which only this
// package reads; that a gateway's private key never comes here (it sends a
// signing request); that certificates live 90 days at most; that the server's
// own certificate renews itself. Where another authority signs (External), there
// is no key here at all, and certificates are admitted one by one.
package enrol

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Protocol is the ALPN name under which the MQTT port answers /claim and /renew.
const Protocol = "pantau-enrol/1"

// Lives of certificates.
const (
	ServerLife = 90 * 24 * time.Hour
	ClientLife = 90 * 24 * time.Hour
	caLife     = 20 * 365 * 24 * time.Hour
	// grace is how long after its end an unrevoked certificate may still renew: a
	// gateway that lay in a drawer comes back by itself.
	grace = 365 * 24 * time.Hour
	// backdate covers clocks that are a little behind.
	backdate = time.Hour
)

// epoch is before any certificate of ours: a clock that says less is not set.
var epoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Registry is what enrolment needs of the registry. Refusals wrap
// registry.ErrClaim or registry.ErrLogin; other errors may pass.
type Registry interface {
	NewClaim(ctx context.Context, g registry.Gateway) (secret []byte, expires time.Time, err error)
	Redeem(ctx context.Context, secret []byte, key string, expires time.Time) (telemetry.Node, error)
	Renew(ctx context.Context, n telemetry.Node, old, key string, expires time.Time) error
	Admit(ctx context.Context, g registry.Gateway, key string, expires time.Time) error
	Verify(cert *x509.Certificate) (telemetry.Node, error)
}

// Options of an Authority.
type Options struct {
	Dir        string    // holds authority.pem
	Names      []string  // host names and addresses that gateways use for this server, beside localhost
	External   *External // another authority signs; Dir and Names are not used then
	Registry   Registry
	Logger     *slog.Logger
	Now        func() time.Time      // default time.Now
	Registerer prometheus.Registerer // nil: requests are counted but not shown
}

// Authority signs. It is also the handler of /claim and /renew.
type Authority struct {
	o        Options
	key      *ecdsa.PrivateKey // nil where another authority signs
	cert     *x509.Certificate // its own
	trusted  *x509.CertPool    // who signs gateways
	pem      []byte            // the same
	requests *prometheus.CounterVec

	mu     sync.Mutex
	server *tls.Certificate
	read   [2]time.Time // External: when certificate and key of server were written
}

// Open reads the authority of the folder, or makes one at the first start.
func Open(o Options) (*Authority, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Registry == nil {
		return nil, errors.New("enrolment option Registry is not set")
	}
	for _, n := range o.Names {
		if net.ParseIP(n) == nil && !isHostname(n) {
			return nil, fmt.Errorf("enrolment option Names holds %q: want a host name or an address, without port", n)
		}
	}
	a := &Authority{o: o, requests: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "pantau_enrol_requests_total", Help: "Requests for certificates by path and result (signed, refused, failed).",
	}, []string{"path", "result"})}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("open the certificate authority: %w", err)
	}
	if o.Registerer != nil {
		if err := o.Registerer.Register(a.requests); err != nil {
			return nil, fmt.Errorf("register the metrics of enrolment: %w", err)
		}
	}
	return a, nil
}

func (a *Authority) open() error {
	if a.o.External != nil {
		return a.openExternal()
	}
	if err := os.MkdirAll(a.o.Dir, 0o700); err != nil {
		return err
	}
	err := a.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return err
	}
	a.trusted = x509.NewCertPool()
	a.trusted.AddCert(a.cert)
	return nil
}

// isHostname accepts names as RFC 1123 has them, and a wildcard as the first
// label.
func isHostname(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return true
}

// file holds key and certificate: one file, so that no crash leaves one of them
// alone.
func (a *Authority) file() string { return filepath.Join(a.o.Dir, "authority.pem") }

func (a *Authority) load() error {
	info, err := os.Stat(a.file())
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: others may read the authority's key; chmod 600 it, and think of a new authority", a.file(), info.Mode().Perm())
	}
	text, err := os.ReadFile(a.file())
	if err != nil {
		return err
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch block.Type {
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return fmt.Errorf("%s: %w", a.file(), err)
			}
			var ok bool
			if a.key, ok = key.(*ecdsa.PrivateKey); !ok {
				return fmt.Errorf("%s holds a %T, want an ECDSA key", a.file(), key)
			}
		case "CERTIFICATE":
			if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
				return fmt.Errorf("%s: %w", a.file(), err)
			}
			a.pem = pem.EncodeToMemory(block)
		}
	}
	switch {
	case a.key == nil || a.cert == nil:
		return fmt.Errorf("%s lacks the key or the certificate: bring back a copy; a new authority would strand every gateway", a.file())
	case !a.key.PublicKey.Equal(a.cert.PublicKey):
		return fmt.Errorf("%s: key and certificate do not belong together", a.file())
	case !a.cert.IsCA:
		return fmt.Errorf("%s: the certificate is not an authority's", a.file())
	}
	return nil
}

func (a *Authority) create() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	from := a.o.Now()
	if from.Before(epoch) {
		from = epoch
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Pantau authority", Organization: []string{"Pantau"}},
		NotBefore: epoch, NotAfter: from.Add(caLife), // gateways' clocks may be behind
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := write(a.file(), text); err != nil {
		return err
	}
	a.o.Logger.Info("made the installation's certificate authority: keep a copy of this file in a safe", "file", a.file())
	return a.load()
}

// write puts a file there whole, mode 0600, on disk when it returns.
func write(path string, body []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// Claim is a one-time code with which a gateway gets its certificate.
type Claim struct {
	Code    string // secret, dot, SHA-256 of the authority's public key: both base64url
	Expires time.Time
}

// Claim registers a gateway and returns its claim.
func (a *Authority) Claim(ctx context.Context, g registry.Gateway) (Claim, error) {
	if a.key == nil {
		return Claim{}, errExternal
	}
	secret, expires, err := a.o.Registry.NewClaim(ctx, g)
	if err != nil {
		return Claim{}, err
	}
	pin := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	enc := base64.RawURLEncoding.EncodeToString
	return Claim{Code: enc(secret) + "." + enc(pin[:]), Expires: expires}, nil
}

// CA returns the certificates of who signs gateways, PEM.
func (a *Authority) CA() []byte { return bytes.Clone(a.pem) }

// TLS returns the configuration of the gateways' door: TLS 1.2 or later, our
// server certificate with the authority in the chain (a claim pins it), client
// certificates of our authority whose key is still in force. On connections for
// Protocol the handler judges the client certificate, which may have ended.
func (a *Authority) TLS() (*tls.Config, error) {
	if _, err := a.serverCertificate(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  a.trusted,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.serverCertificate()
		},
		Time: a.o.Now,
		// Also called for a resumed session.
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol == Protocol || len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := a.o.Registry.Verify(s.PeerCertificates[0])
			return err
		},
	}, nil
}

// serverCertificate returns the server's certificate, a new one with a new key
// after two thirds of its life.
func (a *Authority) serverCertificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.o.External != nil {
		return a.externalCertificate()
	}
	now := a.o.Now()
	if now.Before(epoch) {
		now = epoch // it can't be right, but the port opens, and gateways know how to judge dates
	}
	if c := a.server; c != nil && now.Before(c.Leaf.NotAfter.Add(-ServerLife/3)) && !now.Before(c.Leaf.NotBefore) {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: "Pantau server"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, n := range a.o.Names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	leaf, err := a.sign(template, key.Public(), now, now.Add(ServerLife))
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	a.server = &tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a.server, nil
}

// sign completes a template and signs it.
func (a *Authority) sign(template *x509.Certificate, public any, now, expires time.Time) (*x509.Certificate, error) {
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.NotBefore, template.NotAfter = now.Add(-backdate), expires
	if template.NotBefore.Before(epoch) {
		template.NotBefore = epoch
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
