package account

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
)

// How long a session lives: IdleTimeout after the last request that a person
// made, and in any case no longer than Lifetime after signing in. The store's
// own time to live should be at least Lifetime.
const (
	IdleTimeout = 30 * time.Minute
	Lifetime    = 12 * time.Hour
)

// Sessions remembers who is signed in. The browser holds a random token in a
// cookie; the store knows only its hash.
type Sessions struct {
	manager  *scs.SessionManager
	accounts *Accounts

	mu    sync.Mutex
	lives map[string]map[*live]struct{} // by token: long requests that end with the session
}

type live struct{ end context.CancelFunc }

// NewSessions keeps sessions in kv below "session/". secure marks the cookie for
// HTTPS only.
func NewSessions(kv KV, accounts *Accounts, secure bool) *Sessions {
	// Not scs.New, which starts a goroutine for a store of its own.
	m := &scs.SessionManager{Store: &store{kv: kv}, Codec: scs.GobCodec{}, IdleTimeout: IdleTimeout, Lifetime: Lifetime, HashTokenInStore: true}
	m.Cookie.Path = "/"
	m.Cookie.Name = "pantau"
	if secure {
		m.Cookie.Name = "__Host-pantau" // browsers then refuse it from other hosts and paths
	}
	m.Cookie.HttpOnly = true
	m.Cookie.Secure = secure
	m.Cookie.SameSite = http.SameSiteLaxMode // a link in an alert's e-mail finds its reader signed in
	m.Cookie.Persist = false                 // ends with the browser
	return &Sessions{manager: m, accounts: accounts, lives: map[string]map[*live]struct{}{}}
}

// CookieName is the name of the cookie.
func (s *Sessions) CookieName() string { return s.manager.Cookie.Name }

// Load finds the session of a request and saves what next changes of it, and
// that somebody was here. failed answers if the store cannot be read.
func (s *Sessions) Load(next http.Handler, failed func(http.ResponseWriter, *http.Request, error)) http.Handler {
	m := *s.manager
	m.ErrorFunc = failed
	return m.LoadAndSave(next)
}

// Peek finds the session of a request that a program made by itself, such as a
// live update: it neither prolongs nor changes the session.
func (s *Sessions) Peek(next http.Handler, failed func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := ""
		if c, err := r.Cookie(s.CookieName()); err == nil {
			token = c.Value
		}
		ctx, err := s.manager.Load(r.Context(), token)
		if err != nil {
			failed(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// User returns who is signed in; false = nobody, or somebody whose account or
// password has changed since. The context comes from Load or Peek.
func (s *Sessions) User(ctx context.Context) (User, bool, error) {
	generation, name, ok := strings.Cut(s.manager.GetString(ctx, "who"), " ")
	if !ok {
		return User{}, false, nil
	}
	u, err := s.accounts.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return User{}, false, nil
	}
	if err != nil {
		return User{}, false, err
	}
	if strconv.FormatUint(u.Generation, 10) != generation || !u.Disabled.IsZero() {
		return User{}, false, nil
	}
	return u, true, nil
}

// SignIn begins a session for u under a new token (session fixation).
func (s *Sessions) SignIn(ctx context.Context, u User) error {
	if err := s.Renew(ctx); err != nil {
		return err
	}
	_ = s.manager.Clear(ctx) // notes of the way here; never fails (scs)
	// One value, so that an unchanged session encodes to the same bytes.
	s.manager.Put(ctx, "who", strconv.FormatUint(u.Generation, 10)+" "+u.Name)
	return nil
}

// halfway is for how long a sign-in may wait for its next step.
const halfway = 10 * time.Minute

// Renew gives the session a new token, as at each step of a sign-in (session
// fixation).
func (s *Sessions) Renew(ctx context.Context) error {
	s.endLives(s.manager.Token(ctx))
	if err := s.manager.RenewToken(ctx); err != nil {
		return fmt.Errorf("renew a session: %w", err)
	}
	return nil
}

// Note remembers a text in the session for some minutes: that the password was
// right and the code is asked for, that the visitor was sent to the identity
// provider, or what a page shows before it is confirmed.
func (s *Sessions) Note(ctx context.Context, what, text string) {
	s.manager.Put(ctx, what, strconv.FormatInt(time.Now().Add(halfway).Unix(), 10)+" "+text)
}

// Noted returns what Note remembered, "" = nothing, or too long ago.
func (s *Sessions) Noted(ctx context.Context, what string) string {
	until, text, _ := strings.Cut(s.manager.GetString(ctx, what), " ")
	if end, err := strconv.ParseInt(until, 10, 64); err != nil || time.Now().Unix() > end {
		return ""
	}
	return text
}

// Forget takes a note away.
func (s *Sessions) Forget(ctx context.Context, what string) { s.manager.Remove(ctx, what) }

// SignOut ends the session in the store, in the browser and in every request
// that still runs under it.
func (s *Sessions) SignOut(ctx context.Context) error {
	token := s.manager.Token(ctx)
	if err := s.manager.Destroy(ctx); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	s.endLives(token)
	return nil
}

// Live returns a context for a long request of this session: it ends when the
// session is signed out. Call the function when the request is over.
func (s *Sessions) Live(ctx context.Context) (context.Context, context.CancelFunc) {
	token := s.manager.Token(ctx)
	ctx, cancel := context.WithCancel(ctx)
	l := &live{end: cancel}
	s.mu.Lock()
	if s.lives[token] == nil {
		s.lives[token] = map[*live]struct{}{}
	}
	s.lives[token][l] = struct{}{}
	s.mu.Unlock()
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.lives[token], l)
		if len(s.lives[token]) == 0 {
			delete(s.lives, token)
		}
	}
}

func (s *Sessions) endLives(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.lives[token] {
		l.end()
	}
}

// Still reports whether the session of a long request is alive: not expired by
// idleness, its account and password unchanged. It asks the store anew.
func (s *Sessions) Still(ctx context.Context) (User, bool, error) {
	token := s.manager.Token(ctx)
	if token == "" {
		return User{}, false, nil
	}
	fresh, err := s.manager.Load(withoutSession{ctx}, token)
	if err != nil {
		return User{}, false, fmt.Errorf("read a session: %w", err)
	}
	return s.User(fresh)
}

// withoutSession hides the loaded session, so that Load reads the store again.
// It keeps cancellation and deadline.
type withoutSession struct{ context.Context }

// Value knows nothing.
func (withoutSession) Value(any) any { return nil }

// store is scs's store on a KV. A value is its expiry (8 bytes, Unix
// nanoseconds, big-endian) and what scs encoded. An ended session leaves its
// expiry at zero behind, until the KV's time to live removes it: a request that
// was under way when somebody signed out must not bring the session back.
type store struct{ kv KV }

var _ scs.CtxStore = (*store)(nil)

func sessionKey(token string) string { return "session/" + token }

// slack is how much a session's expiry may lag behind, so that not every request
// of a busy page costs a write to disk.
const slack = 20 * time.Second

func split(body []byte) (expiry time.Time, data []byte, ended bool) {
	if len(body) < 8 || binary.BigEndian.Uint64(body) == 0 {
		return time.Time{}, nil, true
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(body))), body[8:], false
}

func (s *store) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	body, _, err := s.kv.Get(ctx, sessionKey(token))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read a session: %w", err)
	}
	expiry, data, ended := split(body)
	return data, !ended && time.Now().Before(expiry), nil
}

func (s *store) CommitCtx(ctx context.Context, token string, data []byte, expiry time.Time) error {
	body := append(binary.BigEndian.AppendUint64(nil, uint64(expiry.UnixNano())), data...)
	for {
		old, revision, err := s.kv.Get(ctx, sessionKey(token))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			_, err = s.kv.Create(ctx, sessionKey(token), body)
		case err == nil:
			stored, same, ended := split(old)
			if ahead := expiry.Sub(stored); ended || bytes.Equal(same, data) && ahead >= 0 && ahead < slack {
				return nil
			}
			_, err = s.kv.Update(ctx, sessionKey(token), body, revision)
		}
		if errors.Is(err, fs.ErrExist) {
			continue // another request of this session was faster: look again
		}
		if err != nil {
			return fmt.Errorf("keep a session: %w", err)
		}
		return nil
	}
}

func (s *store) DeleteCtx(ctx context.Context, token string) error {
	if _, err := s.kv.Put(ctx, sessionKey(token), make([]byte, 8)); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

func (s *store) Find(token string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), token)
}
func (s *store) Commit(token string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), token, data, expiry)
}
func (s *store) Delete(token string) error { return s.DeleteCtx(context.Background(), token) }
