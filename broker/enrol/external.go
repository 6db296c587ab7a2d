package enrol

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/pantau-id/pantau/internal/registry"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// External names the PEM files of an installation whose certificates another
// authority signs. No key of an authority is made or read then; nobody enrols or
// renews over the network.
type External struct {
	CA        string // certificates of the authority that signs gateways
	Cert, Key string // the MQTT port's own certificate with its chain, and its key
}

// Check says what a start with these files would say; nil names none.
func (x *External) Check() error {
	if x == nil {
		return nil
	}
	a := &Authority{o: Options{External: x, Logger: slog.New(slog.DiscardHandler)}}
	return a.openExternal()
}

// errExternal is the answer to whoever asks for a signature that is not ours.
var errExternal = errors.New("another authority signs certificates here: `pantau-gateway csr` makes a request; have it signed, then run `pantau gateway admit FILE` on the server and `pantau-gateway certificate FILE` on the gateway")

func (a *Authority) openExternal() error {
	text, err := os.ReadFile(a.o.External.CA)
	if err != nil {
		return err
	}
	certs, err := certificates(text)
	if err != nil {
		return fmt.Errorf("%s: %w", a.o.External.CA, err)
	}
	a.trusted = x509.NewCertPool()
	for _, c := range certs {
		if !c.IsCA {
			return fmt.Errorf("%s: the certificate of %q is not an authority's", a.o.External.CA, c.Subject)
		}
		a.trusted.AddCert(c)
		a.pem = append(a.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	_, err = a.serverCertificate()
	return err
}

func certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate (PEM)")
	}
	return out, nil
}

// externalCertificate returns the MQTT port's certificate, read anew when its
// files have changed; while they make no sense, the one before. mu is held.
func (a *Authority) externalCertificate() (*tls.Certificate, error) {
	files := [2]string{a.o.External.Cert, a.o.External.Key}
	var written [2]time.Time
	for i, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			if a.server != nil {
				return a.server, nil // it is being replaced
			}
			return nil, err
		}
		written[i] = info.ModTime()
	}
	if a.server != nil && written == a.read {
		return a.server, nil
	}
	a.read = written
	pair, err := tls.LoadX509KeyPair(files[0], files[1])
	switch {
	case err == nil:
		a.o.Logger.Info("read the certificate of the gateways' door", "file", files[0], "valid_until", pair.Leaf.NotAfter)
		a.server = &pair
	case a.server == nil:
		return nil, fmt.Errorf("%s, %s: %w", files[0], files[1], err)
	default:
		a.o.Logger.Error("the new certificate of the gateways' door is not usable; the one before stays", "file", files[0], "error", err)
	}
	return a.server, nil
}

// Admit registers a gateway by the certificate that the other authority signed
// for it: PEM, leaf first. Its common name "group/id" says which; of g, district
// and site count. It returns node and end of the certificate.
func (a *Authority) Admit(ctx context.Context, g registry.Gateway, text []byte) (telemetry.Node, time.Time, error) {
	if a.key != nil {
		return telemetry.Node{}, time.Time{}, errors.New("admit a certificate: this server signs certificates itself; start it with mqtt.ca to let another authority do so")
	}
	chain, err := certificates(text)
	if err != nil {
		return telemetry.Node{}, time.Time{}, fmt.Errorf("admit a certificate: %w", err)
	}
	leaf := chain[0]
	o := x509.VerifyOptions{
		Roots: a.trusted, Intermediates: x509.NewCertPool(), CurrentTime: a.o.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(o); err != nil {
		return telemetry.Node{}, time.Time{}, fmt.Errorf("admit the certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	if err := checkKey(leaf.PublicKey); err != nil {
		return telemetry.Node{}, time.Time{}, fmt.Errorf("admit the certificate of %q: %w", leaf.Subject.CommonName, err)
	}
	node, err := telemetry.ParseNode(leaf.Subject.CommonName)
	if err != nil {
		return telemetry.Node{}, time.Time{}, fmt.Errorf("admit a certificate: its common name: %w", err)
	}
	g.Node, g.Name = node, node.ID
	return node, leaf.NotAfter, a.o.Registry.Admit(ctx, g, registry.KeyHash(leaf.RawSubjectPublicKeyInfo), leaf.NotAfter)
}

// Expires returns the end of the MQTT port's certificate where somebody has to
// renew it by hand, else the zero time.
func (a *Authority) Expires() time.Time {
	if a.o.External == nil {
		return time.Time{}
	}
	c, err := a.serverCertificate()
	if err != nil {
		return time.Time{} // it was read at the start, so there is one
	}
	return c.Leaf.NotAfter
}
