package enrol

import (
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"

	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// request is the body of POST /claim (secret and csr) and /renew (csr).
type request struct {
	Secret string `json:"secret,omitempty"` // base64url, the claim code's first part
	CSR    string `json:"csr"`              // PEM, PKCS #10
}

// reply is the answer of both.
type reply struct {
	Node        string `json:"node"`        // group/id
	Certificate string `json:"certificate"` // PEM, leaf then authority
	CA          string `json:"ca"`          // PEM
}

const maxRequest = 16 << 10

// ServeHTTP answers /claim and /renew. The connection is the broker's: TLS with
// ALPN pantau-enrol/1, client certificates not verified yet.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	var do func(*http.Request, request, *x509.CertificateRequest) (telemetry.Node, error)
	switch r.URL.Path {
	case "/claim":
		do = a.claim
	case "/renew":
		do = a.renew
	default:
		http.NotFound(w, r)
		return
	}
	answer, err := a.serve(w, r, do)
	var refused refusal
	switch {
	case errors.As(err, &refused):
		a.o.Logger.Warn("enrolment refused", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
		http.Error(w, refused.Error(), http.StatusForbidden)
	case err != nil:
		a.o.Logger.Error("enrolment failed", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
		http.Error(w, "the server could not do it now; try again", http.StatusInternalServerError)
	default:
		a.o.Logger.Info("certificate signed", "path", r.URL.Path, "node", answer.Node, "remote", r.RemoteAddr)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the asker repeats the request if this is lost
	}
}

// refusal is an error that the asker may read.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func refuse(format string, args ...any) error { return refusal{fmt.Errorf(format, args...)} }

func (a *Authority) serve(w http.ResponseWriter, r *http.Request, do func(*http.Request, request, *x509.CertificateRequest) (telemetry.Node, error)) (reply, error) {
	var q request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&q); err != nil {
		return reply{}, refuse("the request cannot be read: %w", err)
	}
	block, _ := pem.Decode([]byte(q.CSR))
	if block == nil {
		return reply{}, refuse("csr holds no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return reply{}, refuse("csr: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return reply{}, refuse("csr: %w", err)
	}
	if _, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok {
		return reply{}, refuse("csr: want an ECDSA key, got %T", csr.PublicKey)
	}
	node, err := do(r, q, csr)
	if err != nil {
		return reply{}, err
	}
	// Nothing of the request but its key enters the certificate.
	leaf, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: node.String()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey, ClientLife)
	if err != nil {
		return reply{}, fmt.Errorf("sign the certificate of %s: %w", node, err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), a.pem...)
	return reply{Node: node.String(), Certificate: string(chain), CA: string(a.pem)}, nil
}

func (a *Authority) claim(r *http.Request, q request, csr *x509.CertificateRequest) (telemetry.Node, error) {
	secret, err := base64.RawURLEncoding.DecodeString(q.Secret)
	if err != nil || len(secret) == 0 {
		return telemetry.Node{}, refuse("secret is damaged")
	}
	node, err := a.o.Registry.Redeem(r.Context(), secret, registry.KeyHash(csr.RawSubjectPublicKeyInfo))
	if errors.Is(err, registry.ErrClaim) {
		return node, refusal{err}
	}
	return node, err
}

// renew signs a new key for whoever shows an old certificate of ours that is
// not revoked, even one that ended up to a year ago.
func (a *Authority) renew(r *http.Request, _ request, csr *x509.CertificateRequest) (telemetry.Node, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return telemetry.Node{}, refuse("renewal needs the present certificate")
	}
	old := r.TLS.PeerCertificates[0]
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	now := a.o.Now()
	at := now
	if now.After(old.NotAfter) && now.Before(old.NotAfter.Add(grace)) {
		at = old.NotAfter
	}
	if _, err := old.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return telemetry.Node{}, refuse("the present certificate: %w", err)
	}
	node, err := telemetry.ParseNode(old.Subject.CommonName)
	if err != nil {
		return telemetry.Node{}, refuse("the present certificate: %w", err)
	}
	if err := a.o.Registry.Renew(r.Context(), node, registry.KeyHash(old.RawSubjectPublicKeyInfo), registry.KeyHash(csr.RawSubjectPublicKeyInfo)); err != nil {
		return node, refuse("%s: %w", node, err)
	}
	return node, nil
}
