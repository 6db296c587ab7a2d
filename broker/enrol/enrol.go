// Package enrol is the installation's certificate authority and the door
// through which gateways get their certificates: HTTPS POST /claim and /renew on
// the MQTT port, for ALPN "pantau-enrol/1".
//
// It promises that the authority's key is one file (mode 0600) which only this
// package reads; that a gateway's private key never comes here (it sends a
// signing request); that certificates live 90 days at most; that the server's
// own certificate renews itself.
package enrol

import (
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
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Lives of certificates.
const (
	caLife     = 20 * 365 * 24 * time.Hour
	ServerLife = 90 * 24 * time.Hour
	ClientLife = 90 * 24 * time.Hour
	// grace is how long after its end an unrevoked certificate may still renew: a
	// gateway that lay in a drawer comes back by itself.
	grace = 365 * 24 * time.Hour
	// backdate covers clocks that are a little behind.
	backdate = time.Hour
)

// Registry is what enrolment needs of the registry.
type Registry interface {
	NewClaim(ctx context.Context, g registry.Gateway) (secret []byte, expires time.Time, err error)
	Redeem(ctx context.Context, secret []byte, key string) (telemetry.Node, error)
	Renew(ctx context.Context, n telemetry.Node, old, key string) error
}

// Options of an Authority.
type Options struct {
	Dir      string   // holds ca.key and ca.pem
	Names    []string // host names and addresses that gateways use for this server
	Registry Registry
	Logger   *slog.Logger
	Now      func() time.Time // default time.Now
}

// Authority signs.
type Authority struct {
	o    Options
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte

	mu     sync.Mutex
	server *tls.Certificate
}

// Open reads the authority of the folder, or makes one at the first start.
func Open(o Options) (*Authority, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &Authority{o: o}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the certificate authority: %w", err)
	}
	err := a.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("open the certificate authority in %s: %w", o.Dir, err)
	}
	return a, nil
}

func (a *Authority) keyFile() string  { return filepath.Join(a.o.Dir, "ca.key") }
func (a *Authority) certFile() string { return filepath.Join(a.o.Dir, "ca.pem") }

func (a *Authority) load() error {
	info, err := os.Stat(a.keyFile())
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: others may read the authority's key; make it 0600, and think of a new authority", a.keyFile(), info.Mode().Perm())
	}
	keyPEM, err := os.ReadFile(a.keyFile())
	if err != nil {
		return err
	}
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return fmt.Errorf("%s holds no PEM", a.keyFile())
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", a.keyFile(), err)
	}
	var ok bool
	if a.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return fmt.Errorf("%s holds a %T, want an ECDSA key", a.keyFile(), key)
	}
	if a.pem, err = os.ReadFile(a.certFile()); err != nil {
		return fmt.Errorf("the authority's key is there, its certificate is not: %v", err) // not fs.ErrNotExist: a new authority would strand every gateway
	}
	if block, _ = pem.Decode(a.pem); block == nil {
		return fmt.Errorf("%s holds no PEM", a.certFile())
	}
	if a.cert, err = x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("%s: %w", a.certFile(), err)
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
	now := a.o.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Pantau authority", Organization: []string{"Pantau"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The certificate first: a key without one is an error at the next start, a
	// certificate without a key is made anew.
	if err := write(a.certFile(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return err
	}
	if err := write(a.keyFile(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return err
	}
	a.o.Logger.Info("made the installation's certificate authority: keep a copy of its folder in a safe", "folder", a.o.Dir)
	return a.load()
}

// write puts a file there whole, mode 0600, on disk when it returns.
func write(path string, body []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
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
	secret, expires, err := a.o.Registry.NewClaim(ctx, g)
	if err != nil {
		return Claim{}, err
	}
	pin := sha256.Sum256(a.cert.RawSubjectPublicKeyInfo)
	enc := base64.RawURLEncoding.EncodeToString
	return Claim{Code: enc(secret) + "." + enc(pin[:]), Expires: expires}, nil
}

// CA returns the authority's certificate, PEM.
func (a *Authority) CA() []byte { return append([]byte(nil), a.pem...) }

// TLS returns the configuration of the gateways' door: TLS 1.2 or later, our
// server certificate with the authority in the chain (a claim pins it), client
// certificates of our authority.
func (a *Authority) TLS() (*tls.Config, error) {
	if _, err := a.serverCertificate(); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ClientAuth: tls.VerifyClientCertIfGiven,
		ClientCAs:  pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.serverCertificate()
		},
	}, nil
}

// serverCertificate returns the server's certificate, a new one after two
// thirds of its life.
func (a *Authority) serverCertificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.o.Now()
	if c := a.server; c != nil && now.Before(c.Leaf.NotAfter.Add(-ServerLife/3)) && now.After(c.Leaf.NotBefore) {
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
	leaf, err := a.sign(template, key.Public(), ServerLife)
	if err != nil {
		return nil, fmt.Errorf("sign the server's certificate: %w", err)
	}
	a.server = &tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a.server, nil
}

// sign completes a template and signs it.
func (a *Authority) sign(template *x509.Certificate, public any, life time.Duration) (*x509.Certificate, error) {
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	now := a.o.Now()
	template.SerialNumber, template.BasicConstraintsValid = serial, true
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(life)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
