package registry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// ClaimLife is how long a claim may be used.
const ClaimLife = 24 * time.Hour

// ErrClaim is what Redeem wraps when a claim is not good (any more).
var ErrClaim = errors.New("the claim is not valid")

// Claim is a one-time right to a certificate. Key is the first public key that
// was presented with it: that one may repeat it until it expires, so that a lost
// answer strands nobody. It stays after its use, so that a second one is noticed.
type Claim struct {
	Hash    string    `json:"hash"` // SHA-256 of the secret, hexadecimal
	Expires time.Time `json:"expires"`
	Key     string    `json:"key,omitempty"` // as Gateway.Key
}

func claimHash(secret []byte) string {
	sum := sha256.Sum256(secret)
	return hex.EncodeToString(sum[:])
}

// NewClaim registers g, if it is new, and returns a fresh secret of 192 bits for
// it; claims made before are void. For a gateway that has a credential already
// the claim replaces it, once it is redeemed: a new box at the old place. A
// revoked one may come back only by it.
func (r *Registry) NewClaim(ctx context.Context, g Gateway) (secret []byte, expires time.Time, err error) {
	if err := r.check(&g); err != nil {
		return nil, time.Time{}, fmt.Errorf("make a claim for %s: %w", g.Node, err)
	}
	// A secret whose base64url form begins with '-' would be taken for a flag
	// where a technician pastes it.
	for secret = make([]byte, 24); secret[0] == 0 || secret[0]>>2 == 62; {
		if _, err := rand.Read(secret); err != nil {
			return nil, time.Time{}, fmt.Errorf("make a claim for %s: %w", g.Node, err)
		}
	}
	now := r.o.Now().UTC()
	expires = now.Add(ClaimLife)
	if err := r.needSite(ctx, &g); err != nil {
		return nil, time.Time{}, fmt.Errorf("make a claim for %s: %w", g.Node, err)
	}
	err = r.change(ctx, g.Node, func(have *Gateway) error {
		have.register(g, now)
		have.Claim = &Claim{Hash: claimHash(secret), Expires: expires}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("make a claim: %w", err)
	}
	return secret, expires, nil
}

// register takes what people say of a node; one that is new, or was revoked,
// begins without a credential.
func (g *Gateway) register(as Gateway, now time.Time) {
	if g.Node.IsZero() || g.Revoked {
		created := g.Created
		if created.IsZero() {
			created = now
		}
		*g = Gateway{Node: as.Node, Credential: Unclaimed, Created: created, Simulated: as.Simulated || g.Simulated}
	}
	for _, f := range []struct{ to, from *string }{{&g.Name, &as.Name}, {&g.District, &as.District}, {&g.Site, &as.Site}} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
}

// Admit makes a certificate that another authority signed a node's credential:
// key is its public key (as KeyHash names it), expires its end. It registers g,
// if it is new or was revoked. As after Renew, the certificate before stays good
// until the new one is used.
func (r *Registry) Admit(ctx context.Context, g Gateway, key string, expires time.Time) error {
	if err := r.check(&g); err != nil {
		return fmt.Errorf("admit %s: %w", g.Node, err)
	}
	if err := r.needSite(ctx, &g); err != nil {
		return fmt.Errorf("admit %s: %w", g.Node, err)
	}
	return r.change(ctx, g.Node, func(have *Gateway) error {
		have.register(g, r.o.Now().UTC())
		if have.Key != key {
			have.OldKey = have.Key
		}
		have.Credential, have.Key, have.Password, have.Claim, have.Expires = Certificate, key, "", nil, expires
		return nil
	})
}

// Redeem binds a claim to a public key (as KeyHash names it) and makes that the
// node's credential; expires is the end of the certificate that will be signed.
// The same key may redeem again until the claim expires; another key is refused
// and reported. A refusal wraps ErrClaim; any other error may pass.
func (r *Registry) Redeem(ctx context.Context, secret []byte, key string, expires time.Time) (telemetry.Node, error) {
	hash := claimHash(secret)
	r.mu.RLock()
	node, ok := r.claims[hash]
	r.mu.RUnlock()
	if !ok {
		return telemetry.Node{}, fmt.Errorf("%w: it is not known here, or a newer one was made, or the gateway was revoked", ErrClaim)
	}
	var misuse error
	err := r.change(ctx, node, func(g *Gateway) error {
		misuse = nil
		c := g.Claim
		switch {
		case c == nil || c.Hash != hash:
			return fmt.Errorf("%w: a newer one was made, or %s was revoked", ErrClaim, node)
		case c.Key != "" && c.Key != key:
			misuse = fmt.Errorf("%w: another key has used it", ErrClaim)
			return misuse
		case r.o.Now().After(c.Expires):
			return fmt.Errorf("%w: it expired at %s; make a new one with pantau gateway add", ErrClaim, c.Expires.Format(time.RFC3339))
		}
		used := *c
		used.Key = key
		g.Claim = &used
		g.Credential, g.Key, g.OldKey, g.Password, g.Expires = Certificate, key, "", "", expires
		return nil
	})
	if misuse != nil {
		r.o.Logger.Error("somebody tried a used claim with another key: the code has got into other hands", "node", node)
		if r.o.Misuse != nil {
			r.o.Misuse(node, misuse)
		}
	}
	if err != nil {
		return telemetry.Node{}, err
	}
	return node, nil
}

// Renew puts a new key in the place of the one that was shown. Until the new key
// is used, the old one stays good: the answer may be lost. A refusal wraps
// ErrLogin; any other error may pass.
func (r *Registry) Renew(ctx context.Context, n telemetry.Node, old, key string, expires time.Time) error {
	err := r.change(ctx, n, func(g *Gateway) error {
		if err := g.allows(old); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrLogin, n, err)
		}
		if old != key {
			g.OldKey = old
		}
		g.Key, g.Expires = key, expires
		return nil
	})
	return err
}

// allows says whether a certificate with this public key may still speak for
// the node.
func (g *Gateway) allows(key string) error {
	switch {
	case g.Node.IsZero():
		return errors.New("it is not registered")
	case g.Revoked:
		return errors.New("it is revoked")
	case key == "" || (g.Key != key && g.OldKey != key):
		return errors.New("its certificate was replaced")
	}
	return nil
}
