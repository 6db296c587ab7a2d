package registry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Credentials are what a client brings to its login.
type Credentials struct {
	ClientID, Username string
	Password           []byte
	Certificate        *x509.Certificate // leaf, verified against the CA; nil if none
	Remote             net.Addr
}

// ErrLogin is what Authenticate wraps when a client is refused.
var ErrLogin = errors.New("login refused")

// KeyHash names a certificate's public key.
func KeyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// Authenticate says which node a client is: by its certificate (common name
// "group/id" and a key that is still in force), or by user name "group/id" and
// password.
func (r *Registry) Authenticate(ctx context.Context, c Credentials) (telemetry.Node, error) {
	if c.Certificate != nil {
		return r.byCertificate(c.Certificate)
	}
	node, err := telemetry.ParseNode(c.Username)
	if err != nil {
		return telemetry.Node{}, fmt.Errorf("%w: user name: %w", ErrLogin, err)
	}
	g, ok := r.Gateway(node)
	if !ok || g.Revoked || g.Password == "" {
		return telemetry.Node{}, fmt.Errorf("%w: %s has no password here", ErrLogin, node)
	}
	good, err := r.proofs.check(ctx, node, g.Password, c.Password)
	if err != nil {
		return telemetry.Node{}, err
	}
	if !good {
		return telemetry.Node{}, fmt.Errorf("%w: wrong password for %s", ErrLogin, node)
	}
	return node, nil
}

func (r *Registry) byCertificate(cert *x509.Certificate) (telemetry.Node, error) {
	node, key, err := r.verify(cert)
	if err != nil {
		return telemetry.Node{}, err
	}
	if g, _ := r.Gateway(node); g.OldKey != "" && g.Key == key {
		select {
		case r.used <- use{node, key}: // the new key works, so the old one has served
		default: // the next login says it again
		}
	}
	return node, nil
}

// Verify says whether a certificate, whose chain was verified, may still speak
// for a node, and for which one. It wraps ErrLogin if not.
func (r *Registry) Verify(cert *x509.Certificate) (telemetry.Node, error) {
	node, _, err := r.verify(cert)
	return node, err
}

func (r *Registry) verify(cert *x509.Certificate) (node telemetry.Node, key string, err error) {
	node, err = telemetry.ParseNode(cert.Subject.CommonName)
	if err != nil {
		return telemetry.Node{}, "", fmt.Errorf("%w: common name: %w", ErrLogin, err)
	}
	g, _ := r.Gateway(node)
	key = KeyHash(cert.RawSubjectPublicKeyInfo)
	if err := g.allows(key); err != nil {
		return telemetry.Node{}, "", fmt.Errorf("%w: %s: %w", ErrLogin, node, err)
	}
	return node, key, nil
}

// Parameters of argon2id: of the sets that OWASP's Password Storage Cheat Sheet
// calls equal (t=2 m=19 MiB … t=5 m=7 MiB) a cheap one here, 17 ms. Ten thousand
// nodes with passwords are back a minute and a half after a start of the server,
// and at once after a cut, since proofs remembers them.
const (
	argonTime   = 4
	argonMemory = 9 << 10 // KiB
	saltLength  = 16
	hashLength  = 32
	// MinPassword is the least length of a node's password, in characters.
	MinPassword = 12
)

func hashPassword(password []byte) (string, error) {
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("make a salt: %w", err)
	}
	h := argon2.IDKey(password, salt, argonTime, argonMemory, 1, hashLength)
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", argonMemory, argonTime,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(h)), nil
}

func verifyPassword(encoded string, password []byte) (bool, error) {
	parts := strings.Split(encoded, "$")
	var memory, time uint32
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errors.New("a stored password cannot be read")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &memory, &time); err != nil {
		return false, fmt.Errorf("a stored password cannot be read: %w", err)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("a stored password cannot be read: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil {
		return false, fmt.Errorf("a stored password cannot be read: %w", err)
	}
	got := argon2.IDKey(password, salt, time, memory, 1, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// proofs remembers which passwords were right, as a keyed hash with a key of
// this process, so that a reconnect costs no argon2; and bounds how many argon2
// run at once.
type proofs struct {
	key  [32]byte
	slot chan struct{}
	mu   sync.Mutex
	good map[telemetry.Node][32]byte
}

func (p *proofs) init() error {
	if _, err := rand.Read(p.key[:]); err != nil {
		return fmt.Errorf("read random numbers: %w", err)
	}
	p.slot = make(chan struct{}, 2)
	p.good = map[telemetry.Node][32]byte{}
	return nil
}

func (p *proofs) check(ctx context.Context, n telemetry.Node, encoded string, password []byte) (bool, error) {
	mac := hmac.New(sha256.New, p.key[:])
	mac.Write([]byte(encoded)) // a changed password has another salt
	mac.Write(password)
	proof := [32]byte(mac.Sum(nil))
	p.mu.Lock()
	known, ok := p.good[n]
	p.mu.Unlock()
	if ok && subtle.ConstantTimeCompare(known[:], proof[:]) == 1 {
		return true, nil
	}
	select {
	case p.slot <- struct{}{}:
		defer func() { <-p.slot }()
	case <-ctx.Done():
		return false, fmt.Errorf("wait for a password check: %w", ctx.Err())
	}
	good, err := verifyPassword(encoded, password)
	if good {
		p.mu.Lock()
		p.good[n] = proof
		p.mu.Unlock()
	}
	return good, err
}

func (p *proofs) forget(n telemetry.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.good, n)
}
