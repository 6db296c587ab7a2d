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

// Role says what somebody may do.
type Role string

// The roles, each of which may also do what those before it may.
const (
	Viewer     Role = "viewer"     // sees the staff pages
	Operator   Role = "operator"   // acknowledges alerts
	Technician Role = "technician" // looks after gateways and sensors
	Validator  Role = "validator"  // judges spans of data
	Approver   Role = "approver"   // signs bulletins and reports
	Admin      Role = "admin"      // people and settings
)

// Roles lists the roles in rising order.
func Roles() []Role { return []Role{Viewer, Operator, Technician, Validator, Approver, Admin} }

// AtLeast reports whether the role includes least. An unknown role includes
// nothing.
func (r Role) AtLeast(least Role) bool {
	have := slices.Index(Roles(), r)
	return have >= 0 && have >= slices.Index(Roles(), least)
}

// Valid reports whether the role is one of Roles.
func (r Role) Valid() bool { return slices.Contains(Roles(), r) }

// User is one account, without its password.
type User struct {
	Name       string    `json:"name"`
	Role       Role      `json:"role"`
	MustChange bool      `json:"must_change"` // the password was made by the program: choose another first
	Changed    time.Time `json:"changed"`     // when the password was set
	// Generation counts the passwords; a session of an older one has ended.
	Generation uint64 `json:"generation"`
}

// record is how an account lies in the store.
type record struct {
	User
	Hash string `json:"hash"`
}

// FirstName is the account that Bootstrap makes.
const FirstName = "admin"

// MinLength is the least number of characters in a password.
const MinLength = 12

const maxLength = 256 // bounds the work of one hash

// Errors that the caller tells apart. ErrTooShort and the others of Weak say
// what a chosen password lacks.
var (
	ErrWrong      = errors.New("name or password is wrong")
	ErrTooShort   = fmt.Errorf("password is shorter than %d characters", MinLength)
	ErrTooLong    = fmt.Errorf("password is longer than %d characters", maxLength)
	ErrTooSimple  = errors.New("password repeats few characters or holds the account's name")
	ErrUnchanged  = errors.New("password is the same as before")
	ErrBusy       = errors.New("too many sign-ins are being checked")
	ErrInvalid    = errors.New("account name must be 1-64 of a-z, 0-9, '.', '_', '-' and start with a letter or digit")
	ErrNoSuchRole = errors.New("role is not one of viewer, operator, technician, validator, approver, admin")
)

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Accounts reads and writes accounts.
type Accounts struct {
	kv     KV
	hasher *hasher
	now    func() time.Time
}

// NewAccounts keeps accounts in kv below "user/".
func NewAccounts(kv KV) *Accounts {
	return &Accounts{kv: kv, hasher: newHasher(), now: time.Now}
}

func key(name string) string { return "user/" + name }

// Bootstrap makes the first account, FirstName with role Admin, if there is no
// account at all, and returns its password. It is told this once only: "" means
// that accounts exist.
func Bootstrap(ctx context.Context, kv KV) (password string, err error) {
	present, err := kv.List(ctx, "user/")
	if err != nil {
		return "", fmt.Errorf("look for accounts: %w", err)
	}
	if len(present) > 0 {
		return "", nil
	}
	password, err = NewAccounts(kv).Add(ctx, FirstName, Admin)
	if errors.Is(err, fs.ErrExist) {
		return "", nil
	}
	return password, err
}

// Add makes an account and returns its one-time password, which its owner must
// change at the first sign-in. It wraps fs.ErrExist if the name is taken.
func (a *Accounts) Add(ctx context.Context, name string, role Role) (password string, err error) {
	if !namePattern.MatchString(name) {
		return "", fmt.Errorf("account %q: %w", name, ErrInvalid)
	}
	if !role.Valid() {
		return "", fmt.Errorf("account %q: role %q: %w", name, role, ErrNoSuchRole)
	}
	password = oneTime()
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return "", fmt.Errorf("add account %s: %w", name, err)
	}
	body, err := json.Marshal(record{User{Name: name, Role: role, MustChange: true, Changed: a.now().UTC(), Generation: 1}, hash})
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
		var r record
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, fmt.Errorf("read account %s: %w", k, err)
		}
		out = append(out, r.User)
	}
	slices.SortFunc(out, func(x, y User) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

func (a *Accounts) load(ctx context.Context, name string) (record, uint64, error) {
	if !namePattern.MatchString(name) {
		return record{}, 0, fmt.Errorf("account %q: %w", name, fs.ErrNotExist)
	}
	body, revision, err := a.kv.Get(ctx, key(name))
	if err != nil {
		return record{}, 0, fmt.Errorf("read account %s: %w", name, err)
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
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
	if err != nil || !ok {
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
// returns the password.
func (a *Accounts) Reset(ctx context.Context, name string) (password string, err error) {
	password = oneTime()
	_, err = a.replace(ctx, name, password, true)
	return password, err
}

func (a *Accounts) replace(ctx context.Context, name, password string, mustChange bool) (User, error) {
	r, revision, err := a.load(ctx, name)
	if err != nil {
		return User{}, err
	}
	if r.Hash, err = a.hasher.hash(ctx, password); err != nil {
		return User{}, fmt.Errorf("set the password of %s: %w", name, err)
	}
	r.MustChange, r.Changed = mustChange, a.now().UTC()
	r.Generation++
	body, err := json.Marshal(r)
	if err == nil {
		_, err = a.kv.Update(ctx, key(name), body, revision)
	}
	if err != nil {
		return User{}, fmt.Errorf("set the password of %s: %w", name, err)
	}
	return r.User, nil
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
