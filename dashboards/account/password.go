package account

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost is the work of one hash: argon2id (RFC 9106) with one lane.
type Cost struct{ MemoryKiB, Passes uint32 }

// Strong is what OWASP's cheat sheet on password storage asks for at least. Only
// tests take less.
func Strong() Cost { return Cost{MemoryKiB: 19 * 1024, Passes: 2} }

const (
	lanes     = 1
	saltBytes = 16
	hashBytes = 32
)

// hasher computes few hashes at a time, so that a rush of sign-ins can take
// neither the memory nor the processors from the readings.
type hasher struct {
	cost    Cost
	working chan struct{} // computing now
	queued  chan struct{} // computing or waiting
	nobody  string        // hash that stands in for an account which does not exist
}

func newHasher(cost Cost) *hasher {
	h := &hasher{cost: cost, working: make(chan struct{}, 2), queued: make(chan struct{}, 32)}
	h.nobody = cost.encode(make([]byte, saltBytes), make([]byte, hashBytes))
	return h
}

// run calls f when it is its turn. ErrBusy if too many wait already.
func (h *hasher) run(ctx context.Context, f func()) error {
	select {
	case h.queued <- struct{}{}:
		defer func() { <-h.queued }()
	default:
		return ErrBusy
	}
	select {
	case h.working <- struct{}{}:
		defer func() { <-h.working }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f()
	return nil
}

// hash returns the password's hash in PHC string format.
func (h *hasher) hash(ctx context.Context, password string) (phc string, err error) {
	err = h.run(ctx, func() {
		salt := make([]byte, saltBytes)
		_, _ = rand.Read(salt) // never fails (crypto/rand)
		phc = h.cost.encode(salt, argon2.IDKey([]byte(password), salt, h.cost.Passes, h.cost.MemoryKiB, lanes, hashBytes))
	})
	return phc, err
}

// check reports whether password belongs to phc; "" never matches and takes as
// long.
func (h *hasher) check(ctx context.Context, phc, password string) (ok bool, err error) {
	known := phc != ""
	if !known {
		phc = h.nobody
	}
	if len(password) > 4*maxLength {
		return false, nil
	}
	var m, t uint32
	var p uint8
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return false, fmt.Errorf("stored password hash has an unknown form")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &m, &t, &p); err != nil || m > 1<<20 || t > 16 || p == 0 {
		return false, fmt.Errorf("stored password hash has bad parameters %q", parts[3])
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, fmt.Errorf("stored password hash has a bad salt: %w", err)
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false, fmt.Errorf("stored password hash is damaged")
	}
	err = h.run(ctx, func() {
		got := argon2.IDKey([]byte(password), salt, t, m, p, uint32(len(want)))
		ok = subtle.ConstantTimeCompare(got, want) == 1 && known
	})
	return ok, err
}

func (c Cost) encode(salt, hash []byte) string {
	e := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, lanes, e.EncodeToString(salt), e.EncodeToString(hash))
}

// oneTime makes a password of 99 bits.
func oneTime() string { return random(20) }

// random makes so many letters and digits (4.95 bits each) that can be read out on
// the telephone: no 0, 1, i, l, o.
func random(length int) string {
	const alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
	var b strings.Builder
	for n := 0; n < length; {
		var one [1]byte
		_, _ = rand.Read(one[:])
		if int(one[0]) >= 256-256%len(alphabet) {
			continue // keeps every character equally likely
		}
		if n > 0 && n%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[int(one[0])%len(alphabet)])
		n++
	}
	return b.String()
}
