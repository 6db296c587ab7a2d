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

// Parameters of argon2id (RFC 9106), as OWASP's cheat sheet on password storage
// asks for at least: 19 MiB, two passes, one lane.
const (
	memoryKiB = 19 * 1024
	passes    = 2
	lanes     = 1
	saltBytes = 16
	hashBytes = 32
)

// hasher computes few hashes at a time, so that a rush of sign-ins can take
// neither the memory nor the processors from the readings.
type hasher struct {
	working chan struct{} // computing now
	queued  chan struct{} // computing or waiting
	nobody  string        // hash that stands in for an account which does not exist
}

func newHasher() *hasher {
	h := &hasher{working: make(chan struct{}, 2), queued: make(chan struct{}, 32)}
	h.nobody = encode(make([]byte, saltBytes), make([]byte, hashBytes))
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
		phc = encode(salt, argon2.IDKey([]byte(password), salt, passes, memoryKiB, lanes, hashBytes))
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

func encode(salt, hash []byte) string {
	e := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, memoryKiB, passes, lanes, e.EncodeToString(salt), e.EncodeToString(hash))
}

// oneTime makes a password of 20 letters and digits (about 99 bits) that can be
// read out on the telephone: no 0, 1, i, l, o.
func oneTime() string {
	const alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
	var b strings.Builder
	for n := 0; n < 20; {
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
