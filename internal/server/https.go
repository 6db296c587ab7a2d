package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// secure reports whether people reach the pages over HTTPS, here or at a proxy in
// front.
func (o *HTTPOptions) secure() bool {
	return o.ownTLS() || strings.HasPrefix(o.BaseURL, "https://")
}

// ownTLS reports whether the pages' listener itself speaks TLS.
func (o *HTTPOptions) ownTLS() bool { return o.Cert != "" || len(o.ACMENames) > 0 }

// checkHTTPS checks how the pages are secured.
func (o *HTTPOptions) checkHTTPS(bad func(field string, value any, want string)) {
	if (o.Cert == "") != (o.Key == "") {
		bad("http.cert", o.Cert, "http.cert and http.key go together")
	} else if o.Cert != "" {
		if _, err := tls.LoadX509KeyPair(o.Cert, o.Key); err != nil {
			bad("http.cert", o.Cert, err.Error())
		}
	}
	if o.Cert != "" && len(o.ACMENames) > 0 {
		bad("http.acme_names", strings.Join(o.ACMENames, ", "), "either a certificate of your own or ACME, not both")
	}
	for _, name := range o.ACMENames {
		if net.ParseIP(name) != nil || strings.ContainsAny(name, "*:/ ") || !strings.Contains(name, ".") {
			bad("http.acme_names", name, "want a host name that the certificate authority can reach, for example pantau.example.go.id")
		}
	}
	if len(o.ACMENames) == 0 && (o.ACMEDirectory != "" || o.ACMECA != "" || o.ACMEEmail != "") {
		bad("http.acme_names", "", "name the hosts that the certificate is for")
	}
	if o.ACMEDirectory != "" && !strings.HasPrefix(o.ACMEDirectory, "https://") {
		bad("http.acme_directory", o.ACMEDirectory, "want the https address of an ACME directory")
	}
	if o.ACMECA != "" {
		if _, err := pool(o.ACMECA); err != nil {
			bad("http.acme_ca", o.ACMECA, err.Error())
		}
	}
	if o.Redirect != "" {
		if _, _, err := net.SplitHostPort(o.Redirect); err != nil {
			bad("http.redirect", o.Redirect, "want HOST:PORT, for example :80")
		}
		if !o.ownTLS() {
			bad("http.redirect", o.Redirect, "it leads to HTTPS, which is off: set http.cert and http.key, or http.acme_names")
		}
	}
}

// warnings says what of it should be thought over.
func (o *HTTPOptions) warnings() (out []string) {
	host, _, err := net.SplitHostPort(o.Listen)
	if err == nil && !loopback(host) && !o.ownTLS() {
		if len(o.TrustedProxies) == 0 {
			out = append(out, fmt.Sprintf("pages are served in the clear beyond this machine (http.listen = %q): set http.cert and http.key, or http.acme_names, or http.trusted_proxies", o.Listen))
		} else if !strings.HasPrefix(o.BaseURL, "https://") {
			out = append(out, fmt.Sprintf("http.base_url = %q: with http.trusted_proxies, say the https address at which people reach the pages; until then cookies are not marked as secure", o.BaseURL))
		}
	}
	return out
}

func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, errors.New("it holds no certificate in PEM form")
	}
	return p, nil
}

// pagesTLS is how the pages' listener speaks TLS, nil = it does not, and what must
// answer on http.redirect.
func (s *Server) pagesTLS() (config *tls.Config, redirect http.Handler, err error) {
	o := &s.o.HTTP
	redirect = http.HandlerFunc(s.toHTTPS)
	switch {
	case o.Cert != "":
		c := &ownCert{cert: o.Cert, key: o.Key, log: s.log}
		if _, err := c.get(nil); err != nil {
			return nil, nil, err
		}
		config = &tls.Config{GetCertificate: c.get, NextProtos: []string{"h2", "http/1.1"}}
	case len(o.ACMENames) > 0:
		client := &acme.Client{DirectoryURL: o.ACMEDirectory, UserAgent: "pantau/" + s.o.Version}
		if o.ACMECA != "" {
			roots, err := pool(o.ACMECA)
			if err != nil {
				return nil, nil, fmt.Errorf("http.acme_ca: %w", err)
			}
			client.HTTPClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
		}
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Email: o.ACMEEmail, Client: client,
			HostPolicy: autocert.HostWhitelist(o.ACMENames...), Cache: autocert.DirCache(filepath.Join(s.o.Data, "acme")),
		}
		config = m.TLSConfig() // answers TLS-ALPN-01 on the pages' own port
		get := config.GetCertificate
		config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			cert, err := get(hello)
			if err != nil && slices.Contains(o.ACMENames, hello.ServerName) {
				s.log.Warn("no certificate for the pages", "name", hello.ServerName, "error", err)
			}
			return cert, err
		}
		redirect = m.HTTPHandler(redirect) // answers HTTP-01, too
	default:
		return nil, nil, nil
	}
	config.MinVersion = tls.VersionTLS12
	return config, redirect, nil
}

// ownCert is a certificate in files, read again when they change: whoever renews
// it need not restart the server.
type ownCert struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	stamp  time.Time // newest change of the two files, when read
	looked time.Time
}

// lookEvery is how often the files are looked at.
const lookEvery = 10 * time.Second

func (c *ownCert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil && time.Since(c.looked) < lookEvery {
		return c.now, nil
	}
	c.looked = time.Now()
	var stamp time.Time
	for _, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil && info.ModTime().After(stamp) {
			stamp = info.ModTime()
		}
	}
	if c.now != nil && stamp.Equal(c.stamp) {
		return c.now, nil
	}
	fresh, err := tls.LoadX509KeyPair(c.cert, c.key)
	switch {
	case err == nil:
		c.now, c.stamp = &fresh, stamp
	case c.now == nil:
		return nil, fmt.Errorf("read the pages' certificate: %w", err)
	default: // being renewed, or renewed wrongly: the old one goes on
		c.log.Warn("the pages' new certificate cannot be read; the old one goes on", "error", err)
	}
	return c.now, nil
}

// toHTTPS leads a request in the clear to the same address over HTTPS.
func (s *Server) toHTTPS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "use HTTPS", http.StatusBadRequest) // what it carried was sent in the clear
		return
	}
	w.Header().Set("Connection", "close")
	http.Redirect(w, r, strings.TrimSuffix(s.securePagesURL(r), "/")+r.URL.RequestURI(), http.StatusMovedPermanently)
}

// securePagesURL is where the pages are over HTTPS: the setting, else the host
// that the request named, if a certificate is for it.
func (s *Server) securePagesURL(r *http.Request) string {
	if strings.HasPrefix(s.o.HTTP.BaseURL, "https://") {
		return s.o.HTTP.BaseURL
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if names := s.o.HTTP.ACMENames; len(names) > 0 && !slices.Contains(names, host) {
		host = names[0]
	}
	if _, port, err := net.SplitHostPort(s.http.Addr().String()); err == nil && port != "443" {
		host = net.JoinHostPort(host, port)
	}
	return "https://" + host
}

// hsts tells browsers that came over HTTPS to come over HTTPS only, for a year.
// Other hosts below the name are their owners' business.
const hsts = "max-age=31536000"

// overHTTPS adds HSTS where a request came over HTTPS, and leads what a trusted
// proxy passed on in the clear to HTTPS.
func (s *Server) overHTTPS(next http.Handler, proxies []netip.Prefix) http.Handler {
	if !s.o.HTTP.secure() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto := ""
		if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) }) {
			proto = r.Header.Get("X-Forwarded-Proto")
		}
		switch {
		case r.TLS != nil, proto == "https":
			w.Header().Set("Strict-Transport-Security", hsts)
		case proto == "http" && !strings.HasPrefix(r.URL.Path, "/healthz") && !strings.HasPrefix(r.URL.Path, "/readyz"):
			s.toHTTPS(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// serveRedirect answers on http.redirect, if it is set.
func (s *Server) serveRedirect(ctx context.Context, handler http.Handler) error {
	if s.o.HTTP.Redirect == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.o.HTTP.Redirect)
	if err != nil {
		return fmt.Errorf("http.redirect: %w", err)
	}
	s.redirect = l
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	s.run("redirect to HTTPS", func(context.Context) error {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	s.closers.Add("redirect to HTTPS", srv.Shutdown)
	return nil
}
