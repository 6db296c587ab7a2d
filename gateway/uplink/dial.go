package uplink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
)

// dialTimeout bounds TCP and TLS together; a mutual TLS handshake over a slow
// link takes several seconds.
const dialTimeout = 30 * time.Second

// target is where the server is and how to be sure of it.
type target struct {
	address string
	tls     *tls.Config // nil = plain, on loopback only
	pinned  []*x509.Certificate
}

// newTarget checks the part of the options that says where to and with what
// trust.
func newTarget(o *Options) (target, error) {
	var t target
	u, err := url.Parse(o.Server)
	if err != nil || u.Port() == "" {
		return t, fmt.Errorf("server = %q: want tls://host:8883", o.Server)
	}
	t.address = u.Host
	switch u.Scheme {
	case "tcp":
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			return t, fmt.Errorf("server = %q: without TLS only a loopback address is allowed", o.Server)
		}
	case "tls":
		if t.pinned, err = parseCertificates(o.CA); err != nil {
			return t, fmt.Errorf("ca: %w", err)
		}
		pool := x509.NewCertPool()
		for _, c := range t.pinned {
			pool.AddCert(c)
		}
		t.tls = &tls.Config{RootCAs: pool, ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
		if certificate := o.Certificate; certificate != nil {
			t.tls.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
		}
	default:
		return t, fmt.Errorf("server = %q: want tls://, or tcp:// on loopback", o.Server)
	}
	if o.Certificate == nil && o.Username == "" {
		return t, errors.New("a client certificate, or user name and password, is required")
	}
	return t, nil
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read a pinned certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("the certificate of the server's authority is required: claim the gateway first")
	}
	return out, nil
}

// dial connects. now is the best known UTC and whether it is known: while it is
// not, a pinned chain that is outside its dates gets a second try at a time
// that suits it, or a gateway without a clock could never learn the time.
func (t target) dial(ctx context.Context, now func() (time.Time, bool)) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	seed, known := now()
	l, err := t.dialAt(ctx, seed)
	if err == nil || known {
		return l, err
	}
	if begun, ok := clock.SeedFrom(err, seed, t.pinned); ok {
		return t.dialAt(ctx, begun)
	}
	return nil, err
}

func (t target) dialAt(ctx context.Context, now time.Time) (*link, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	l := &link{Conn: raw, raw: raw}
	if t.tls == nil {
		return l, nil
	}
	cfg := t.tls.Clone()
	cfg.Time = func() time.Time { return now }
	c := tls.Client(raw, cfg)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), raw.Close())
	}
	l.Conn = c
	return l, nil
}

// link is a connection that can be cut from outside: paho ends only when a read
// fails with something else than "closed".
type link struct {
	net.Conn
	raw net.Conn
	why atomic.Pointer[error]
}

// cut closes the TCP connection under TLS, at once and without a farewell.
func (l *link) cut(why error) {
	l.why.CompareAndSwap(nil, &why)
	_ = l.raw.Close() // the reader sees it
}

// Read returns the reason of a cut in place of "use of closed connection".
func (l *link) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if why := l.why.Load(); err != nil && why != nil {
		return n, *why
	}
	return n, err
}
