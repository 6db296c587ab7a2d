package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/porttest"
)

// certificate writes a self-signed certificate and its key as PEM files.
func certificate(t *testing.T, dir, name string, serial int64) (cert, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for file, body := range map[string][]byte{cert: text, key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})} {
		if err := os.WriteFile(file, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, roots
}

// browser reaches the pages under a name, wherever they listen, and follows no
// redirect.
func browser(t *testing.T, at net.Addr, roots *x509.CertPool) *http.Client {
	t.Helper()
	c := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, at.String())
		}},
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, address string, header ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestPagesOverHTTPSWithOnesOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key, roots := certificate(t, dir, "pantau.test", 1)
	s, _ := begin(t, filepath.Join(dir, "data"), influxtest.Shared(t).URL, func(o *Options) {
		o.HTTP.Cert, o.HTTP.Key, o.HTTP.Redirect = cert, key, "127.0.0.1:0"
	})
	c := browser(t, s.http.Addr(), roots)
	r := get(t, c, "https://pantau.test/masuk")
	if r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") != "max-age=31536000" || r.TLS.Version < tls.VersionTLS12 || r.ProtoMajor != 1 {
		t.Errorf("%s, HSTS %q, TLS %x, HTTP/%d", r.Status, r.Header.Get("Strict-Transport-Security"), r.TLS.Version, r.ProtoMajor)
	}
	if u := s.pagesURL(); u != "https://"+s.http.Addr().String() {
		t.Errorf("pages at %s", u)
	}
	old := browser(t, s.http.Addr(), roots)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	if _, err := old.Get("https://pantau.test/masuk"); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	plain := browser(t, s.redirect.Addr(), nil)
	port := strconv.Itoa(s.http.Addr().(*net.TCPAddr).Port)
	r = get(t, plain, "http://pantau.test/masuk?lanjut=%2Fdinas")
	if want := "https://pantau.test:" + port + "/masuk?lanjut=%2Fdinas"; r.StatusCode != 301 || r.Header.Get("Location") != want {
		t.Errorf("in the clear: %s to %s, want %s", r.Status, r.Header.Get("Location"), want)
	}
	posted, err := plain.Post("http://pantau.test/masuk", "text/plain", strings.NewReader("x"))
	if err != nil || posted.StatusCode != 400 {
		t.Errorf("a form in the clear: %v, %v", posted, err)
	} else if err := posted.Body.Close(); err != nil {
		t.Error(err)
	}
}

// A certificate that is renewed holds without a restart; one that is renewed
// wrongly does not take the pages down.
func TestARenewedCertificateIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key, _ := certificate(t, dir, "pantau.test", 1)
		c := &ownCert{cert: cert, key: key, log: slog.New(slog.DiscardHandler)}
		serial := func() int64 {
			t.Helper()
			got, err := c.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := x509.ParseCertificate(got.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			return leaf.SerialNumber.Int64()
		}
		if n := serial(); n != 1 {
			t.Fatal(n)
		}
		newer := func(file string) {
			t.Helper()
			info, err := os.Stat(file)
			if err == nil {
				later := info.ModTime().Add(time.Minute)
				err = os.Chtimes(file, later, later)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(key, []byte("half of a k"), 0o600); err != nil {
			t.Fatal(err)
		}
		newer(key)
		time.Sleep(lookEvery)
		if n := serial(); n != 1 {
			t.Errorf("a damaged key: certificate %d", n)
		}
		certificate(t, dir, "pantau.test", 2)
		newer(cert)
		newer(key)
		time.Sleep(lookEvery)
		if n := serial(); n != 2 {
			t.Errorf("after the renewal: certificate %d", n)
		}
	})
}

func TestPagesBehindATrustedProxy(t *testing.T) {
	dir := t.TempDir()
	s, _ := begin(t, filepath.Join(dir, "data"), influxtest.Shared(t).URL, func(o *Options) {
		o.HTTP.TrustedProxies, o.HTTP.BaseURL = []string{"127.0.0.0/8"}, "https://pantau.test/"
	})
	c := browser(t, s.http.Addr(), nil)
	if r := get(t, c, "http://pantau.test/masuk", "X-Forwarded-Proto", "https"); r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("over HTTPS at the proxy: %s, %v", r.Status, r.Header)
	}
	if r := get(t, c, "http://pantau.test/en/masuk", "X-Forwarded-Proto", "http"); r.StatusCode != 301 || r.Header.Get("Location") != "https://pantau.test/en/masuk" {
		t.Errorf("in the clear at the proxy: %s to %s", r.Status, r.Header.Get("Location"))
	}
	if r := get(t, c, "http://pantau.test/masuk"); r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("by itself: %s, %v", r.Status, r.Header)
	}
	if r := get(t, c, "http://pantau.test/healthz", "X-Forwarded-Proto", "http"); r.StatusCode != 200 {
		t.Errorf("the proxy's health check: %s", r.Status)
	}
}

// ACME against Let's Encrypt's own test authority, Pebble: it looks our name up,
// reaches the pages' port and checks the challenge there (TLS-ALPN-01).
func TestTheCertificateComesByACME(t *testing.T) {
	const name = "pantau.agency.test"
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	// Names of the test lead to this machine.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver := &dns.Server{Listener: l, Net: "tcp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m) // the asker may be gone
	})}
	answered := make(chan error, 1)
	go func() { answered <- resolver.ActivateAndServe() }()
	t.Cleanup(func() {
		if err := resolver.Shutdown(); err != nil {
			t.Error(err)
		}
		<-answered
	})
	var notes bytes.Buffer
	quiet := log.New(&notes, "", 0)
	pages := porttest.Free(t)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	front := wfe.New(quiet, store, va.New(quiet, 1, pages, false, l.Addr().String(), store), authority, []string{"pebble"}, false, false, 1, 1)
	directory := httptest.NewTLSServer(front.Handler())
	t.Cleanup(directory.Close)

	dir := t.TempDir()
	trust := filepath.Join(dir, "acme-ca.pem")
	if err := os.WriteFile(trust, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: directory.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := begin(t, filepath.Join(dir, "data"), influxtest.Shared(t).URL, func(o *Options) {
		o.HTTP.Listen, o.HTTP.ACMENames, o.HTTP.ACMEDirectory, o.HTTP.ACMECA = "127.0.0.1:"+strconv.Itoa(pages), []string{name}, directory.URL+wfe.DirectoryPath, trust
	})
	roots := x509.NewCertPool()
	roots.AddCert(authority.GetRootCert(0).Cert)
	c := browser(t, s.http.Addr(), roots)
	r := get(t, c, "https://"+name+"/masuk")
	if r.StatusCode != 200 || r.Header.Get("Strict-Transport-Security") == "" || !slices.Contains(r.TLS.PeerCertificates[0].DNSNames, name) {
		t.Errorf("%s with a certificate for %v", r.Status, r.TLS.PeerCertificates[0].DNSNames)
	}
	if u := s.pagesURL(); u != "https://"+name+":"+strconv.Itoa(pages) {
		t.Errorf("pages at %s", u)
	}
	// Kept for the next start, for nobody else's eyes.
	kept, err := os.ReadDir(filepath.Join(dir, "data", "acme"))
	if err != nil || len(kept) < 2 {
		t.Errorf("kept: %v, %v", kept, err)
	}
	for _, f := range kept {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info.Mode(), err)
		}
	}
	// Only for the names in the settings: strangers cannot make the server ask.
	if _, err := c.Get("https://other.agency.test/"); err == nil {
		t.Error("a certificate for another name")
	}
}

func TestHTTPSSettings(t *testing.T) {
	for text, want := range map[string]string{
		"[http]\nacme_names = ['192.0.2.1']":                             `http.acme_names = "192.0.2.1"`,
		"[http]\nacme_names = ['*.go.id']":                               `http.acme_names`,
		"[http]\nacme_email = 'a@b.c'":                                   `name the hosts`,
		"[http]\nacme_names = ['a.b']\nacme_directory = 'http://x.y'":    `http.acme_directory`,
		"[http]\nredirect = ':80'":                                       `it leads to HTTPS, which is off`,
		"[http]\ncert = '/none'\nkey = '/none'":                          `http.cert = "/none"`,
		"[people]\nsecond_factor = 'never'":                              `want "admins" or "optional"`,
		"[oidc]\nclient_id = 'x'":                                        `oidc.issuer`,
		"[oidc]\nissuer = 'http://sso.example'":                          `want an https address`,
		"[oidc]\nissuer = 'https://sso.example'":                         `oidc needs the address`,
		"[oidc]\nissuer = 'https://sso.example'\nclient_id = 'p'":        `at least one [[oidc.grant]]`,
		"[oidc]\nissuer = 'https://s.e'\n[[oidc.grant]]\nrole = 'boss'":  `oidc.grant[0] = "boss::"`,
		"[oidc]\nissuer = 'https://s.e'\n[[oidc.grant]]\nrole = 'admin'": `oidc.grant[0].value`,
	} {
		if _, err := resolve(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"[http]\nlisten = '0.0.0.0:8080'":                                       "served in the clear beyond this machine",
		"[http]\nlisten = '0.0.0.0:8080'\ntrusted_proxies = ['10.0.0.0/8']":     "say the https address",
		"[http]\nlisten = '0.0.0.0:443'\nacme_names = ['pantau.example.go.id']": "",
		"[http]\nlisten = '127.0.0.1:8080'":                                     "",
		"[people]\nsecond_factor = 'optional'":                                  "a password alone",
	} {
		o, err := resolve(t, text)
		if got := strings.Join(o.Warnings(), "\n"); err != nil || (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %v, warned of %q, want %q", text, err, got, want)
		}
	}
}
