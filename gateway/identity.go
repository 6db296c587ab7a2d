package gateway

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Identity is what a claim gives: who the gateway is, by which certificate, and
// whom it believes. It is one file, so that key and certificate never come from
// different claims.
type Identity struct {
	Node        telemetry.Node `json:"-"`
	Server      string         `json:"server"`      // mqtts://host:port
	Key         string         `json:"key"`         // PEM, PKCS #8
	Certificate string         `json:"certificate"` // PEM, leaf first
	CA          string         `json:"ca"`          // PEM
	// ByHand says that another authority signed it: only people can renew it.
	ByHand bool `json:"by_hand,omitempty"`

	NotBefore time.Time `json:"-"`
	NotAfter  time.Time `json:"-"`
}

const (
	identityFile = "identity.json" // in the data folder
	claimKeyFile = "claim-key.pem" // the key of a claim without an answer so far
	// maxIdentity bounds what is read of an identity file or a server's answer.
	maxIdentity = 256 << 10
)

// LoadIdentity reads what a claim left in the data folder. Without a claim the
// error wraps fs.ErrNotExist.
func LoadIdentity(data string) (*Identity, error) {
	file := filepath.Join(data, identityFile)
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's identity: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read the gateway's identity: others may read %s (mode %04o): chmod 600", file, info.Mode().Perm())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's identity: %w", err)
	}
	id := &Identity{}
	if err := json.Unmarshal(text, id); err != nil {
		return nil, fmt.Errorf("read the gateway's identity %s: %w", file, err)
	}
	if err := id.resolve(); err != nil {
		return nil, fmt.Errorf("read the gateway's identity %s: %w", file, err)
	}
	return id, nil
}

// resolve checks that the parts fit, and reads node and dates from the leaf.
func (id *Identity) resolve() error {
	pair, err := id.pair()
	if err != nil {
		return err
	}
	if id.Node, err = telemetry.ParseNode(pair.Leaf.Subject.CommonName); err != nil {
		return fmt.Errorf("certificate's common name: %w", err)
	}
	id.NotBefore, id.NotAfter = pair.Leaf.NotBefore, pair.Leaf.NotAfter
	if _, err := serverAddress(id.Server); err != nil {
		return fmt.Errorf("server %q: %w", id.Server, err)
	}
	if _, err := parseCertificates([]byte(id.CA)); err != nil {
		return fmt.Errorf("authority: %w", err)
	}
	return nil
}

// pair returns certificate and key as TLS wants them, with the leaf parsed.
func (id *Identity) pair() (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(id.Certificate), []byte(id.Key))
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	return &pair, nil
}

// renewAt is when two thirds of the certificate's life are over.
func (id *Identity) renewAt() time.Time {
	return id.NotBefore.Add(id.NotAfter.Sub(id.NotBefore) / 3 * 2)
}

// save puts the identity in the place of the one before, durably.
func (id *Identity) save(data string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("write the gateway's identity: %w", err)
	}
	if err := replaceFile(filepath.Join(data, identityFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write the gateway's identity: %w", err)
	}
	return nil
}

// replaceFile writes a file of mode 0600 that after a power cut is either the
// old or the new one.
func replaceFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// newKey makes an ECDSA P-256 key as PEM (PKCS #8).
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// keptKey returns the key in file, which it makes if it is not there: a claim
// is bound to the first key that it came with, so one whose answer was lost must
// be repeated with the same.
func keptKey(file string) (crypto.Signer, []byte, error) {
	text, err := os.ReadFile(file)
	if err == nil {
		if block, _ := pem.Decode(text); block != nil {
			if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
				if signer, ok := key.(crypto.Signer); ok {
					return signer, text, nil
				}
			}
		}
		return nil, nil, fmt.Errorf("read the claim's key: %s holds no private key: remove it and ask for a new claim", file)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("read the claim's key: %w", err)
	}
	key, text, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if err := replaceFile(file, text); err != nil {
		return nil, nil, fmt.Errorf("keep the claim's key: %w", err)
	}
	return key, text, nil
}

// request makes a certificate request (PEM). The server decides the name.
func request(key crypto.Signer, node telemetry.Node) (string, error) {
	template := &x509.CertificateRequest{}
	if !node.IsZero() {
		template.Subject = pkix.Name{CommonName: node.String()}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return "", fmt.Errorf("make a certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parseCertificates(text)
}

// parseCertificates reads PEM that holds at least one certificate.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
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
