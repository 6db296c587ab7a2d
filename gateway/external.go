package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Where the installation's certificates are signed by another authority, nothing
// is claimed over the network: SigningRequest makes the key and what is to be
// signed, InstallCertificate takes what came back.

// SigningRequest returns a certificate request (PEM, PKCS #10) for a node, with a
// key that it makes in the data folder. Until a certificate for it is installed,
// a further call is for the same key.
func SigningRequest(data string, node telemetry.Node) (string, error) {
	key, _, err := keptKey(filepath.Join(data, claimKeyFile))
	if err != nil {
		return "", err
	}
	return request(key, node)
}

// InstallOptions are what InstallCertificate needs. Server and CA may be empty
// where the gateway has an identity already: a renewal.
type InstallOptions struct {
	Certificate string // PEM, leaf first, then what it takes to reach the authority
	CA          string // PEM of the authority that vouches for the server
	Server      string // HOST:PORT or mqtts://HOST:PORT of the gateways' door
	Data        string // the gateway's data folder; default DefaultData

	Now    func() time.Time // default time.Now
	Synced func() bool      // default hostclock.Synced: whether Now may be believed
}

// InstallCertificate makes a certificate that another authority signed for the
// key of SigningRequest the gateway's identity. A running gateway notices.
func InstallCertificate(o InstallOptions) (*Identity, error) {
	if o.Data == "" {
		o.Data = DefaultData()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = hostclock.Synced
	}
	keyFile := filepath.Join(o.Data, claimKeyFile)
	key, err := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("install the certificate: no key waits for one in %s: run pantau-gateway csr first", o.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("install the certificate: %w", err)
	}
	id := &Identity{Server: o.Server, Key: string(key), Certificate: o.Certificate, CA: o.CA, ByHand: true}
	if before, err := LoadIdentity(o.Data); err == nil && before.ByHand {
		if id.Server == "" {
			id.Server = before.Server
		}
		if id.CA == "" {
			id.CA = before.CA
		}
	}
	if id.CA == "" {
		return nil, errors.New("install the certificate: name the authority that vouches for the server")
	}
	if _, id.Server, err = enrolAddress(id.Server); err != nil {
		return nil, fmt.Errorf("install the certificate: server %q: %w", o.Server, err)
	}
	if err := id.resolve(); err != nil {
		return nil, fmt.Errorf("install the certificate: %w", err)
	}
	pair, err := id.pair()
	if err != nil {
		return nil, fmt.Errorf("install the certificate: %w", err)
	}
	if u := pair.Leaf.ExtKeyUsage; len(u) > 0 && !slices.Contains(u, x509.ExtKeyUsageClientAuth) && !slices.Contains(u, x509.ExtKeyUsageAny) {
		return nil, errors.New("install the certificate: it is not for clients (extended key usage): have it signed for TLS client authentication")
	}
	if o.Synced() && o.Now().After(id.NotAfter) {
		return nil, fmt.Errorf("install the certificate: it ended at %s", id.NotAfter.Format(time.RFC3339))
	}
	if err := id.save(o.Data); err != nil {
		return nil, err
	}
	if err := os.Remove(keyFile); err != nil {
		return nil, fmt.Errorf("remove the key that waited: %w", err)
	}
	return id, nil
}
