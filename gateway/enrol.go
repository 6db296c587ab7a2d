package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// enrolProtocol is the ALPN name under which the server's MQTT port answers
// HTTPS for /claim and /renew.
const enrolProtocol = "pantau-enrol/1"

// ErrUnreachable is what Claim wraps when the server did not answer: the same
// claim may be tried again.
var ErrUnreachable = errors.New("the server can't be reached")

// ErrRefused is what Claim wraps when the server or the claim code is not what
// it should be.
var ErrRefused = errors.New("the claim was refused")

// ClaimOptions are what Claim needs. Code and Server are required.
type ClaimOptions struct {
	Code   string // as `pantau gateway add` printed it
	Server string // HOST:PORT or mqtts://HOST:PORT of the gateways' door
	Data   string // the gateway's data folder; default DefaultData
	// Replace allows a claim where the gateway has an identity already.
	Replace bool

	Now    func() time.Time // default time.Now
	Synced func() bool      // default hostclock.Synced: whether Now may be believed
}

// Claim makes a key in the data folder and exchanges the one-time claim for a
// certificate. The code pins the server's authority, so that nobody in between
// can answer in its place. A claim whose answer was lost may be repeated.
func Claim(ctx context.Context, o ClaimOptions) (*Identity, error) {
	if o.Data == "" {
		o.Data = DefaultData()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = hostclock.Synced
	}
	secret, pin, err := parseClaim(o.Code)
	if err != nil {
		return nil, fmt.Errorf("claim code: %w", err)
	}
	address, server, err := enrolAddress(o.Server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", o.Server, err)
	}
	if _, err := os.Stat(filepath.Join(o.Data, identityFile)); err == nil && !o.Replace {
		return nil, fmt.Errorf("%s exists: this gateway has a certificate already; --replace throws it away", filepath.Join(o.Data, identityFile))
	}
	keyFile := filepath.Join(o.Data, claimKeyFile)
	key, keyText, err := keptKey(keyFile)
	if err != nil {
		return nil, err
	}
	csr, err := request(key, telemetry.Node{})
	if err != nil {
		return nil, err
	}
	verify := func(chain []*x509.Certificate, now time.Time) error {
		for _, c := range chain {
			sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
			if subtle.ConstantTimeCompare(sum[:], pin) == 1 && c.IsCA {
				return verifyServer(chain, []*x509.Certificate{c}, hostOf(address), now)
			}
		}
		return fmt.Errorf("%w: the server at %s does not show the authority that the claim code names: wrong server, or somebody between", ErrRefused, address)
	}
	client := enrolClient{address: address, verify: dated(verify, o.Now, o.Synced)}
	answer, err := client.post(ctx, "/claim", map[string]string{"secret": secret, "csr": csr})
	if err != nil {
		return nil, err
	}
	id := &Identity{Server: server, Key: string(keyText), Certificate: answer.Certificate, CA: answer.CA}
	if err := id.resolve(); err != nil {
		return nil, fmt.Errorf("%w: the server's answer is not usable: %w", ErrRefused, err)
	}
	authorities, err := parseCertificates([]byte(id.CA))
	if err != nil || !pinned(authorities, pin) {
		return nil, fmt.Errorf("%w: the answer's authority is not the one that the claim code names", ErrRefused)
	}
	if answer.Node != id.Node.String() {
		return nil, fmt.Errorf("%w: the answer is for %q, its certificate for %q", ErrRefused, answer.Node, id.Node)
	}
	if err := id.save(o.Data); err != nil {
		return nil, err
	}
	if err := os.Remove(keyFile); err != nil {
		return nil, fmt.Errorf("remove the used claim's key: %w", err)
	}
	return id, nil
}

// renew gets a new certificate for a new key by the present one, and puts both
// in the place of the old.
func renew(ctx context.Context, data string, id *Identity, now func() time.Time, synced func() bool) (*Identity, error) {
	address, _, err := enrolAddress(id.Server)
	if err != nil {
		return nil, fmt.Errorf("renew the certificate: server %q: %w", id.Server, err)
	}
	pair, err := id.pair()
	if err != nil {
		return nil, fmt.Errorf("renew the certificate: %w", err)
	}
	authorities, err := parseCertificates([]byte(id.CA))
	if err != nil {
		return nil, fmt.Errorf("renew the certificate: authority: %w", err)
	}
	key, keyText, err := newKey()
	if err != nil {
		return nil, err
	}
	csr, err := request(key, id.Node)
	if err != nil {
		return nil, err
	}
	verify := func(chain []*x509.Certificate, now time.Time) error {
		return verifyServer(chain, authorities, hostOf(address), now)
	}
	client := enrolClient{address: address, verify: dated(verify, now, synced), certificate: pair}
	answer, err := client.post(ctx, "/renew", map[string]string{"csr": csr})
	if err != nil {
		return nil, fmt.Errorf("renew the certificate: %w", err)
	}
	next := &Identity{Server: id.Server, Key: string(keyText), Certificate: answer.Certificate, CA: id.CA}
	if answer.CA != "" {
		next.CA = answer.CA // told by a server that the present authority vouches for
	}
	if err := next.resolve(); err != nil {
		return nil, fmt.Errorf("renew the certificate: the server's answer is not usable: %w", err)
	}
	if next.Node != id.Node {
		return nil, fmt.Errorf("renew the certificate: the answer is for %v, this is %v", next.Node, id.Node)
	}
	return next, next.save(data)
}

// parseClaim splits a claim code: base64url of a secret of at least 128 bit, a
// dot, base64url of SHA-256 over the authority's SubjectPublicKeyInfo. The
// secret goes to the server as it is written.
func parseClaim(code string) (secret string, pin []byte, err error) {
	secret, rest, ok := strings.Cut(strings.TrimSpace(code), ".")
	if !ok {
		return "", nil, errors.New("want SECRET.FINGERPRINT as `pantau gateway add` printed it")
	}
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil || len(raw) < 16 {
		return "", nil, errors.New("its first part is damaged: copy the whole line")
	}
	pin, err = base64.RawURLEncoding.DecodeString(rest)
	if err != nil || len(pin) != sha256.Size {
		return "", nil, errors.New("its second part is damaged: copy the whole line")
	}
	return secret, pin, nil
}

func pinned(certs []*x509.Certificate, pin []byte) bool {
	for _, c := range certs {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if subtle.ConstantTimeCompare(sum[:], pin) == 1 {
			return true
		}
	}
	return false
}

// enrolAddress returns HOST:PORT and the server's URL. TLS is a must.
func enrolAddress(server string) (address, full string, err error) {
	if !strings.Contains(server, "://") {
		server = "mqtts://" + server
	}
	full = server
	server, err = serverAddress(server)
	if err != nil {
		return "", "", err
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "tls" {
		return "", "", errors.New("want mqtts://HOST:PORT: a claim needs TLS")
	}
	return u.Host, full, nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// verifyServer checks that one of the authorities vouches for a server of this
// name. The authority also signs gateways: their certificates are for clients
// only and don't pass.
func verifyServer(chain, authorities []*x509.Certificate, host string, now time.Time) error {
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: host, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range authorities {
		o.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
	}
	return nil
}

// dated gives verify the time to judge by. While this machine's clock is not
// synchronised, a chain whose dates don't fit is judged at a time at which they
// do: with a pinned authority that gives up nothing that an unknown date could
// protect.
func dated(verify func([]*x509.Certificate, time.Time) error, now func() time.Time, synced func() bool) func([]*x509.Certificate) error {
	return func(chain []*x509.Certificate) error {
		t := now()
		err := verify(chain, t)
		if err == nil || synced() {
			return err
		}
		if seed, ok := clock.SeedFrom(err, t, chain); ok {
			return verify(chain, seed)
		}
		return err
	}
}

// enrolClient sends one request over the enrolment protocol.
type enrolClient struct {
	address     string
	verify      func(chain []*x509.Certificate) error
	certificate *tls.Certificate // nil for a claim
}

// enrolAnswer is what /claim and /renew answer.
type enrolAnswer struct {
	Node        string `json:"node"`        // group/id
	Certificate string `json:"certificate"` // PEM, leaf first
	CA          string `json:"ca"`          // PEM
}

const enrolTimeout = 30 * time.Second

func (c enrolClient) post(ctx context.Context, path string, body any) (*enrolAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{enrolProtocol}, ServerName: hostOf(c.address),
		InsecureSkipVerify: true, // verified below, by the pinned authority
		VerifyConnection: func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != enrolProtocol {
				return fmt.Errorf("%w: %s does not speak %s: is it the gateways' port of a Pantau server?", ErrRefused, c.address, enrolProtocol)
			}
			return c.verify(s.PeerCertificates)
		},
	}
	if c.certificate != nil {
		config.Certificates = []tls.Certificate{*c.certificate}
	}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, c.failed(err)
	}
	used := false
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		// http.Transport would want to know the protocol that ALPN agreed on.
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the server closed the connection")
			}
			used = true
			return conn, nil
		},
	}}
	defer conn.Close()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return nil, c.failed(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, maxIdentity))
	if err != nil {
		return nil, c.failed(err)
	}
	switch {
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s answers %s: %s", ErrUnreachable, c.address, response.Status, firstLine(got))
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answers %s: %s", ErrRefused, c.address, response.Status, firstLine(got))
	}
	answer := &enrolAnswer{}
	if err := json.Unmarshal(got, answer); err != nil {
		return nil, fmt.Errorf("%w: %s answers something else than a certificate: %w", ErrRefused, c.address, err)
	}
	return answer, nil
}

// failed says whether trying again may help.
func (c enrolClient) failed(err error) error {
	var certificate *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case errors.Is(err, ErrRefused):
		return err
	case errors.As(err, &certificate), errors.As(err, &alert):
		return fmt.Errorf("%w: TLS with %s: %w", ErrRefused, c.address, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, c.address, err)
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.ToValidUTF8(line[:min(len(line), 200)], "")
}
