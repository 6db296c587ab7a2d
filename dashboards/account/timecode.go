package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // what RFC 6238's default and every authenticator uses
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The time code of RFC 6238 with its defaults: six digits of HMAC-SHA-1 over the
// number of the half minute. It is written out here because a library would have
// to be asked for each half minute anyway: a code must be good only once.
const (
	codeStep  = 30 * time.Second
	codeSlack = 1 // half minutes that a telephone's clock may be off, either way
	// RecoveryCodes is how many recovery codes somebody gets.
	RecoveryCodes = 10
)

// timeCodes is somebody's second factor.
type timeCodes struct {
	Secret []byte `json:"secret"`
	Used   int64  `json:"used"` // newest half minute whose code was taken
	// Recovery are SHA-256 of the codes that still work: 74 random bits need no slow
	// hash.
	Recovery [][]byte  `json:"recovery"`
	Since    time.Time `json:"since"`
}

// ErrNoCode says that the account has no second factor.
var ErrNoCode = errors.New("account has no second factor")

// NewCodeSecret makes a secret of 160 bits for SetCode, in base32.
func NewCodeSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return b32.EncodeToString(raw)
}

var b32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// CodeAddress is what authenticators read from a QR code.
func CodeAddress(issuer, name, secret string) string {
	v := url.Values{"secret": {secret}, "issuer": {issuer}}
	return "otpauth://totp/" + url.PathEscape(issuer+":"+name) + "?" + v.Encode()
}

// codeAt is the code of a half minute (RFC 4226, section 5.3).
func codeAt(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, step) // a hash takes everything
	sum := mac.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1_000_000)
}

// match finds the half minute after used whose code this is.
func match(secret []byte, code string, used int64, now time.Time) (step int64, ok bool) {
	at := now.Unix() / int64(codeStep/time.Second)
	for s := at - codeSlack; s <= at+codeSlack; s++ {
		if subtle.ConstantTimeCompare([]byte(codeAt(secret, s)), []byte(code)) == 1 && s > used {
			step, ok = s, true
		}
	}
	return step, ok
}

// tidyCode takes out what people put between the characters.
func tidyCode(code string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(code))
}

// SetCode sets up the second factor with a secret that was shown to its owner and
// a code that proves it arrived (else ErrWrong). It returns the recovery codes,
// which are told once, and ends the account's other sessions.
func (a *Accounts) SetCode(ctx context.Context, name, secret, code string) (u User, recovery []string, err error) {
	raw, err := b32.DecodeString(secret)
	if err != nil || len(raw) < 16 {
		return User{}, nil, fmt.Errorf("set up the second factor of %s: the secret is damaged", name)
	}
	step, ok := match(raw, tidyCode(code), 0, a.now())
	if !ok {
		return User{}, nil, ErrWrong
	}
	second := &timeCodes{Secret: raw, Used: step, Since: a.now().UTC()}
	for range RecoveryCodes {
		c := random(15)
		recovery = append(recovery, c)
		sum := sha256.Sum256([]byte(tidyCode(c)))
		second.Recovery = append(second.Recovery, sum[:])
	}
	u, err = a.change(ctx, name, func(r *record) error {
		if !r.Local() {
			return ErrNotLocal
		}
		r.Second = second
		r.Generation++
		return nil
	})
	return u, recovery, err
}

// RecoveryLeft counts the recovery codes that still work.
func (a *Accounts) RecoveryLeft(ctx context.Context, name string) (int, error) {
	r, _, err := a.load(ctx, name)
	if err != nil || r.Second == nil {
		return 0, err
	}
	return len(r.Second.Recovery), nil
}

// CheckCode takes a time code or a recovery code, each of which is good once, else
// ErrWrong. left is how many recovery codes remain.
func (a *Accounts) CheckCode(ctx context.Context, name, code string) (u User, left int, err error) {
	code = tidyCode(code)
	u, err = a.change(ctx, name, func(r *record) error {
		if r.Second == nil {
			return ErrNoCode
		}
		second := *r.Second
		if step, ok := match(second.Secret, code, second.Used, a.now()); ok {
			second.Used = step
		} else {
			sum := sha256.Sum256([]byte(code))
			i := slices.IndexFunc(second.Recovery, func(have []byte) bool { return subtle.ConstantTimeCompare(have, sum[:]) == 1 })
			if i < 0 {
				return ErrWrong
			}
			second.Recovery = slices.Delete(slices.Clone(second.Recovery), i, i+1)
		}
		r.Second, left = &second, len(second.Recovery)
		return nil
	})
	return u, left, err
}

// DropCode removes the second factor of somebody who shows one of its codes, else
// ErrWrong: for another telephone, which is then set up anew.
func (a *Accounts) DropCode(ctx context.Context, name, code string) (User, error) {
	if _, _, err := a.CheckCode(ctx, name, code); err != nil {
		return User{}, err
	}
	return a.change(ctx, name, func(r *record) error {
		r.Second = nil
		r.Generation++
		return nil
	})
}
