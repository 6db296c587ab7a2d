package enrol

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

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
// ALPN Protocol, client certificates not verified yet. 400 means that the
// request makes no sense, 403 that it is refused, 404 that another authority
// signs, 503 that it may be repeated.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "want POST", http.StatusMethodNotAllowed)
		return
	}
	var bind bind
	switch r.URL.Path {
	case "/claim":
		bind = a.claim
	case "/renew":
		bind = a.renew
	default:
		http.NotFound(w, r)
		return
	}
	answer, err := a.serve(w, r, bind)
	log := a.o.Logger.With("path", r.URL.Path, "remote", r.RemoteAddr)
	var refused refusal
	switch {
	case errors.As(err, &refused):
		a.requests.WithLabelValues(r.URL.Path, "refused").Inc()
		log.Warn("enrolment refused", "error", err)
		http.Error(w, refused.Error(), refused.status)
	case err != nil:
		a.requests.WithLabelValues(r.URL.Path, "failed").Inc()
		log.Error("enrolment failed", "error", err)
		http.Error(w, "the server can't do it now; try again", http.StatusServiceUnavailable)
	default:
		a.requests.WithLabelValues(r.URL.Path, "signed").Inc()
		log.Info("certificate signed", "node", answer.Node)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the asker repeats the request if this is lost
	}
}

// refusal is an error that the asker may read.
type refusal struct {
	error
	status int
}

func (r refusal) Unwrap() error { return r.error }

func nonsense(format string, args ...any) error {
	return refusal{fmt.Errorf(format, args...), http.StatusBadRequest}
}

func refuse(format string, args ...any) error {
	return refusal{fmt.Errorf(format, args...), http.StatusForbidden}
}

// bind makes the key of a certificate that will end at expires a node's, durably.
type bind func(r *http.Request, q request, key string, expires time.Time) (telemetry.Node, error)

func (a *Authority) serve(w http.ResponseWriter, r *http.Request, bind bind) (reply, error) {
	if a.key == nil {
		return reply{}, refusal{errExternal, http.StatusNotFound} // no guess at a claim
	}
	now := a.o.Now()
	if now.Before(epoch) {
		return reply{}, fmt.Errorf("this server's clock says %s: a certificate would be dated wrongly", now.Format(time.RFC3339))
	}
	var q request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&q); err != nil {
		return reply{}, nonsense("the request can't be read: %w", err)
	}
	block, _ := pem.Decode([]byte(q.CSR))
	if block == nil {
		return reply{}, nonsense("csr holds no PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return reply{}, nonsense("csr: %w", err)
	}
	if err := csr.CheckSignature(); err != nil { // the asker has the key
		return reply{}, nonsense("csr: %w", err)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return reply{}, nonsense("csr: %w", err)
	}
	expires := now.Add(ClientLife)
	node, err := bind(r, q, registry.KeyHash(csr.RawSubjectPublicKeyInfo), expires)
	switch {
	case errors.Is(err, registry.ErrClaim), errors.Is(err, registry.ErrLogin):
		return reply{}, refusal{err, http.StatusForbidden}
	case err != nil:
		return reply{}, err
	}
	// Nothing of the request but its key enters the certificate.
	leaf, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: node.String()}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, csr.PublicKey, now, expires)
	if err != nil {
		return reply{}, fmt.Errorf("sign the certificate of %s: %w", node, err)
	}
	chain := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), a.pem...)
	return reply{Node: node.String(), Certificate: string(chain), CA: string(a.pem)}, nil
}

// checkKey accepts what a TLS 1.3 client of today signs with.
func checkKey(public any) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521() {
			return nil
		}
		return fmt.Errorf("the curve %s is too weak: want P-256", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8192 {
			return fmt.Errorf("an RSA key of %d bit: want 2048 to 8192, or ECDSA P-256", n)
		}
		return nil
	}
	return fmt.Errorf("a key of type %T: want ECDSA P-256", public)
}

func (a *Authority) claim(r *http.Request, q request, key string, expires time.Time) (telemetry.Node, error) {
	secret, err := base64.RawURLEncoding.DecodeString(q.Secret)
	if err != nil || len(secret) == 0 {
		return telemetry.Node{}, nonsense("secret is damaged: copy the whole claim code")
	}
	return a.o.Registry.Redeem(r.Context(), secret, key, expires)
}

// renew binds a new key for whoever shows a certificate of ours whose key is
// still in force, even one that ended up to a year ago. TLS has made sure that
// the asker has its private key.
func (a *Authority) renew(r *http.Request, _ request, key string, expires time.Time) (telemetry.Node, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return telemetry.Node{}, refuse("renewal needs the present certificate")
	}
	old := r.TLS.PeerCertificates[0]
	at := a.o.Now()
	if at.After(old.NotAfter) && at.Before(old.NotAfter.Add(grace)) {
		at = old.NotAfter
	}
	if _, err := old.Verify(x509.VerifyOptions{Roots: a.trusted, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return telemetry.Node{}, refuse("the present certificate: %w", err)
	}
	node, err := a.o.Registry.Verify(old)
	if err != nil {
		return telemetry.Node{}, err
	}
	return node, a.o.Registry.Renew(r.Context(), node, registry.KeyHash(old.RawSubjectPublicKeyInfo), key, expires)
}
