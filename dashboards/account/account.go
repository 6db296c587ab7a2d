// Package account holds the people who may sign in at this server: their roles,
// their passwords and their sessions.
//
// It promises that a password is kept only as an argon2id hash, that guessing is
// slowed down per address and per account, that a changed or reset password ends
// every session of that account at once, and that nobody has a password which the
// program's authors know: the first one is made at random and told once.
package account

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// KV is the store that accounts and sessions need. Get wraps fs.ErrNotExist,
// Create fs.ErrExist, Update fs.ErrExist if the revision is no longer the newest.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// User is one account, without its secrets.
type User struct {
	Name       string    `json:"name"`
	Grants     []Grant   `json:"grants,omitempty"`
	MustChange bool      `json:"must_change"` // the password was made by the program: choose another first
	Changed    time.Time `json:"changed"`     // when the password was set
	// Generation counts what ends the sessions that began before: a new password, a
	// new second factor, being disabled.
	Generation uint64    `json:"generation"`
	Disabled   time.Time `json:"disabled,omitzero"` // since when nobody may sign in with it
	// Subject is who this is at the identity provider ("" = a local account, with a
	// password): issuer and subject, separated by a space.
	Subject string `json:"subject,omitempty"`
	// HasCode says that a second factor is set up. Derived.
	HasCode bool `json:"-"`
}

// Local reports whether the account has its password here.
func (u *User) Local() bool { return u.Subject == "" }

// governs reports whether somebody may do everything, whatever happens to the
// identity provider.
func (u *User) governs() bool { return u.Local() && u.Disabled.IsZero() && u.May(Admin, "", "") }

// record is how an account lies in the store.
type record struct {
	User
	Hash   string     `json:"hash,omitempty"`
	Second *timeCodes `json:"second,omitempty"`
	// Role is what accounts had before grants: it held for the whole province.
	Role Role `json:"role,omitempty"`
}

// read decodes a record, of whatever version.
func read(body []byte) (r record, err error) {
	if err := json.Unmarshal(body, &r); err != nil {
		return r, err
	}
	if r.Role != "" && len(r.Grants) == 0 {
		r.Grants = []Grant{r.Role.Everywhere()}
	}
	r.Role = ""
	r.HasCode = r.Second != nil
	return r, nil
}

// FirstName is the account that Bootstrap makes.
const FirstName = "admin"

// MinLength is the least number of characters in a password.
const MinLength = 12

const maxLength = 256 // bounds the work of one hash

// Errors that the caller tells apart. ErrTooShort and the others of Weak say
// what a chosen password lacks.
var (
	ErrWrong     = errors.New("name or password is wrong")
	ErrTooShort  = fmt.Errorf("password is shorter than %d characters", MinLength)
	ErrTooLong   = fmt.Errorf("password is longer than %d characters", maxLength)
	ErrTooSimple = errors.New("password repeats few characters or holds the account's name")
	ErrUnchanged = errors.New("password is the same as before")
	ErrBusy      = errors.New("too many sign-ins are being checked")
	ErrLastAdmin = errors.New("nobody else may do everything: make another admin for the whole province and all kinds first")
	ErrNotLocal  = errors.New("account signs in at the identity provider: it has no password here")
	ErrInvalid   = errors.New("account name must be 1-64 of a-z, 0-9, '.', '_', '-', '@' and start with a letter or digit")
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)

// Accounts reads and writes accounts.
type Accounts struct {
	kv     KV
	hasher *hasher
	now    func() time.Time
	mu     sync.Mutex // one change at a time: two admins must not remove each other
}

// NewAccounts keeps accounts in kv below "user/", their passwords as hashes of that
// cost. One process has one of them.
func NewAccounts(kv KV, cost Cost) *Accounts {
	return &Accounts{kv: kv, hasher: newHasher(cost), now: time.Now}
}

func key(name string) string { return "user/" + name }

// Bootstrap makes the first account, FirstName with role Admin for everything, if there is no
// account at all, and returns its password. It is told this once only: "" means
// that accounts exist.
func (a *Accounts) Bootstrap(ctx context.Context) (password string, err error) {
	present, err := a.kv.List(ctx, "user/")
	if err != nil {
		return "", fmt.Errorf("look for accounts: %w", err)
	}
	if len(present) > 0 {
		return "", nil
	}
	password, err = a.Add(ctx, FirstName, Admin.Everywhere())
	if errors.Is(err, fs.ErrExist) {
		return "", nil
	}
	return password, err
}

// Add makes an account and returns its one-time password, which its owner must
// change at the first sign-in. It wraps fs.ErrExist if the name is taken.
func (a *Accounts) Add(ctx context.Context, name string, grants ...Grant) (password string, err error) {
	if !namePattern.MatchString(name) {
		return "", fmt.Errorf("account %q: %w", name, ErrInvalid)
	}
	for _, g := range grants {
		if err := g.check(); err != nil {
			return "", fmt.Errorf("account %q: %w", name, err)
		}
	}
	password = oneTime()
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return "", fmt.Errorf("add account %s: %w", name, err)
	}
	body, err := json.Marshal(record{User: User{Name: name, Grants: grants, MustChange: true, Changed: a.now().UTC(), Generation: 1}, Hash: hash})
	if err == nil {
		_, err = a.kv.Create(ctx, key(name), body)
	}
	if err != nil {
		return "", fmt.Errorf("add account %s: %w", name, err)
	}
	return password, nil
}

// Get returns an account, or wraps fs.ErrNotExist.
func (a *Accounts) Get(ctx context.Context, name string) (User, error) {
	r, _, err := a.load(ctx, name)
	return r.User, err
}

// List returns all accounts by name.
func (a *Accounts) List(ctx context.Context) ([]User, error) {
	all, err := a.kv.List(ctx, "user/")
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	var out []User
	for k, body := range all {
		r, err := read(body)
		if err != nil {
			return nil, fmt.Errorf("read account %s: %w", k, err)
		}
		out = append(out, r.User)
	}
	slices.SortFunc(out, func(x, y User) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

func (a *Accounts) load(ctx context.Context, name string) (record, uint64, error) {
	if !namePattern.MatchString(name) {
		return record{}, 0, fmt.Errorf("there is no account %q: %w", name, fs.ErrNotExist)
	}
	body, revision, err := a.kv.Get(ctx, key(name))
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, 0, fmt.Errorf("there is no account %q: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return record{}, 0, fmt.Errorf("read account %s: %w", name, err)
	}
	r, err := read(body)
	if err != nil {
		return record{}, 0, fmt.Errorf("read account %s: %w", name, err)
	}
	return r, revision, nil
}

// Check returns the account if the password is right, else ErrWrong, which takes
// as long for an account that does not exist.
func (a *Accounts) Check(ctx context.Context, name, password string) (User, error) {
	r, _, err := a.load(ctx, strings.ToLower(strings.TrimSpace(name)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return User{}, err
	}
	ok, checkErr := a.hasher.check(ctx, r.Hash, password)
	if checkErr != nil {
		return User{}, fmt.Errorf("check the password of %s: %w", name, checkErr)
	}
	if err != nil || !ok || !r.Disabled.IsZero() {
		return User{}, ErrWrong
	}
	return r.User, nil
}

// SetPassword replaces the password after checking the old one (ErrWrong) and the
// new one (ErrTooShort, ErrTooLong, ErrTooSimple, ErrUnchanged). All other sessions of the
// account end; the returned user is what the caller's session goes on with.
func (a *Accounts) SetPassword(ctx context.Context, name, old, password string) (User, error) {
	if _, err := a.Check(ctx, name, old); err != nil {
		return User{}, err
	}
	if err := Weak(name, password); err != nil {
		return User{}, err
	}
	if old == password {
		return User{}, ErrUnchanged
	}
	return a.replace(ctx, name, password, false)
}

// Reset gives the account a new one-time password, ends all its sessions, and
// returns the password. alsoCode removes the second factor, too, for somebody who
// lost the telephone and the recovery codes.
func (a *Accounts) Reset(ctx context.Context, name string, alsoCode bool) (password string, err error) {
	password = oneTime()
	if _, err = a.replace(ctx, name, password, true); err == nil && alsoCode {
		_, err = a.change(ctx, name, func(r *record) error { r.Second = nil; return nil })
	}
	return password, err
}

func (a *Accounts) replace(ctx context.Context, name, password string, mustChange bool) (User, error) {
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return User{}, fmt.Errorf("set the password of %s: %w", name, err)
	}
	return a.change(ctx, name, func(r *record) error {
		if !r.Local() {
			return ErrNotLocal
		}
		r.Hash, r.MustChange, r.Changed = hash, mustChange, a.now().UTC()
		r.Generation++
		return nil
	})
}

// change alters one account.
func (a *Accounts) change(ctx context.Context, name string, alter func(*record) error) (User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, revision, err := a.load(ctx, name)
	if err != nil {
		return User{}, err
	}
	governed := r.governs()
	if err := alter(&r); err != nil {
		return User{}, fmt.Errorf("change account %s: %w", name, err)
	}
	r.HasCode = r.Second != nil
	if governed && !r.governs() {
		if err := a.othersGovern(ctx, name); err != nil {
			return User{}, fmt.Errorf("change account %s: %w", name, err)
		}
	}
	body, err := json.Marshal(r)
	if err == nil {
		_, err = a.kv.Update(ctx, key(name), body, revision)
	}
	if err != nil {
		return User{}, fmt.Errorf("change account %s: %w", name, err)
	}
	return r.User, nil
}

// othersGovern returns ErrLastAdmin if nobody else may do everything.
func (a *Accounts) othersGovern(ctx context.Context, name string) error {
	all, err := a.List(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(u User) bool { return u.Name != name && u.governs() }) {
		return ErrLastAdmin
	}
	return nil
}

// SetGrants replaces what somebody may do; it holds at their next click. It wraps
// ErrLastAdmin if nobody would be left who may do everything.
func (a *Accounts) SetGrants(ctx context.Context, name string, grants []Grant) (User, error) {
	for _, g := range grants {
		if err := g.check(); err != nil {
			return User{}, fmt.Errorf("account %q: %w", name, err)
		}
	}
	return a.change(ctx, name, func(r *record) error { r.Grants = slices.Clone(grants); return nil })
}

// Grant gives somebody one more grant.
func (a *Accounts) Grant(ctx context.Context, name string, g Grant) (User, error) {
	if err := g.check(); err != nil {
		return User{}, fmt.Errorf("account %q: %w", name, err)
	}
	return a.change(ctx, name, func(r *record) error {
		if !slices.Contains(r.Grants, g) {
			r.Grants = append(r.Grants, g)
		}
		return nil
	})
}

// Revoke takes one grant away. It wraps fs.ErrNotExist if there is none like it,
// and ErrLastAdmin if nobody would be left who may do everything.
func (a *Accounts) Revoke(ctx context.Context, name string, g Grant) (User, error) {
	return a.change(ctx, name, func(r *record) error {
		i := slices.Index(r.Grants, g)
		if i < 0 {
			return fmt.Errorf("grant %v: %w", g, fs.ErrNotExist)
		}
		r.Grants = slices.Delete(r.Grants, i, i+1)
		return nil
	})
}

// Disable ends all sessions of an account and lets nobody sign in with it until
// Enable; what it did stays told of under its name. It wraps ErrLastAdmin.
func (a *Accounts) Disable(ctx context.Context, name string) (User, error) {
	return a.change(ctx, name, func(r *record) error {
		if r.Disabled.IsZero() {
			r.Disabled = a.now().UTC()
			r.Generation++
		}
		return nil
	})
}

// Enable takes Disable back.
func (a *Accounts) Enable(ctx context.Context, name string) (User, error) {
	return a.change(ctx, name, func(r *record) error { r.Disabled = time.Time{}; return nil })
}

// Remove deletes an account. It wraps ErrLastAdmin.
func (a *Accounts) Remove(ctx context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, _, err := a.load(ctx, name)
	if err == nil && r.governs() {
		err = a.othersGovern(ctx, name)
	}
	if err == nil {
		err = a.kv.Delete(ctx, key(name))
	}
	if err != nil {
		return fmt.Errorf("remove account %s: %w", name, err)
	}
	return nil
}

// Arrive makes or updates the account of somebody whom the identity provider
// sent: its grants are what the provider's claims say now. It wraps fs.ErrExist if
// the name belongs to a local account or to somebody else, and ErrWrong if the
// account is disabled.
func (a *Accounts) Arrive(ctx context.Context, name, subject string, grants []Grant) (User, error) {
	if !namePattern.MatchString(name) {
		return User{}, fmt.Errorf("account %q: %w", name, ErrInvalid)
	}
	body, err := json.Marshal(record{User: User{Name: name, Subject: subject, Grants: grants, Changed: a.now().UTC(), Generation: 1}})
	if err == nil {
		_, err = a.kv.Create(ctx, key(name), body)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return User{}, fmt.Errorf("add account %s: %w", name, err)
	}
	return a.change(ctx, name, func(r *record) error {
		switch {
		case r.Subject != subject:
			return fmt.Errorf("the name belongs to another account: %w", fs.ErrExist)
		case !r.Disabled.IsZero():
			return ErrWrong
		}
		r.Grants = slices.Clone(grants)
		return nil
	})
}

// Weak says what a chosen password lacks, or nil. Length counts characters;
// no character class is asked for, since that makes passwords worse.
func Weak(name, password string) error {
	n := utf8.RuneCountInString(password)
	switch {
	case n < MinLength:
		return ErrTooShort
	case n > maxLength:
		return ErrTooLong
	}
	distinct := map[rune]bool{}
	for _, r := range password {
		distinct[unicode.ToLower(r)] = true
	}
	if len(distinct) < 6 || (len(name) >= 4 && strings.Contains(strings.ToLower(password), name)) {
		return ErrTooSimple
	}
	return nil
}
