// Package provider signs people in at an identity provider by OpenID Connect.
//
// It promises that an answer is taken only by the browser that asked for it
// (state, nonce and PKCE are tied to a cookie of that browser), that an identity
// is good only with the provider's signature for this client, that nobody gets a
// role which no rule gives, and that a provider which cannot be reached costs its
// own button only: local accounts go on, and the provider is asked anew.
package provider

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/pantau-id/pantau/dashboards/account"
)

// Rule gives a grant to whoever has a value in the claim.
type Rule struct {
	Value string
	Grant account.Grant
}

// Options describe one provider and this client of it.
type Options struct {
	Name         string // on the button, e.g. "SSO Pemprov"
	Issuer       string // as its tokens name it
	ClientID     string
	ClientSecret string   // "" = a public client, by PKCE alone
	Redirect     string   // this server's address that the provider sends people back to
	SignedOut    string   // where it sends them after signing out there
	Claim        string   // whose values give grants: a text, a list, or an object's keys; dots lead inside, as in realm_access.roles
	Scopes       []string // besides openid, profile and email
	Rules        []Rule
	Client       *http.Client // default: ten seconds for each answer
}

// Person is whom the provider sent.
type Person struct {
	Name    string // as the account is named: preferred_username, else the verified e-mail address
	Subject string // issuer and subject, which never change
	Grants  []account.Grant
}

// Errors that a visitor may be told of. Others are the server's.
var (
	ErrUnreachable = errors.New("identity provider cannot be reached")
	ErrState       = errors.New("the answer belongs to another browser or is too old")
	ErrDenied      = errors.New("identity provider refused")
	ErrNoName      = errors.New("identity provider told neither a user name nor a verified e-mail address")
	ErrNoGrant     = errors.New("no rule gives this person a role")
)

// Provider is one identity provider.
type Provider struct {
	o Options

	mu    sync.Mutex
	found *discovered // nil until the provider was reached
}

// discovered is what the provider says of itself.
type discovered struct {
	provider *oidc.Provider
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	signOut  string
}

// New returns a provider, which is first asked when somebody wants to sign in.
func New(o Options) *Provider {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 10 * time.Second}
	}
	return &Provider{o: o}
}

// Name is what people call it.
func (p *Provider) Name() string { return p.o.Name }

// discover asks the provider for its addresses and keys, once it answers.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	// The provider keeps this context for fetching keys later: it must outlive the
	// request.
	found, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.o.Client), p.o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := found.Claims(&more); err != nil {
		return nil, fmt.Errorf("%w: read its description: %w", ErrUnreachable, err)
	}
	p.found = &discovered{
		provider: found, signOut: more.EndSession, verifier: found.Verifier(&oidc.Config{ClientID: p.o.ClientID}),
		oauth: oauth2.Config{
			ClientID: p.o.ClientID, ClientSecret: p.o.ClientSecret, Endpoint: found.Endpoint(), RedirectURL: p.o.Redirect,
			Scopes: slices.Concat([]string{oidc.ScopeOpenID, "profile", "email"}, p.o.Scopes),
		},
	}
	return p.found, nil
}

// Begin returns the provider's address to send a browser to, and a note that the
// browser must bring back to Finish in a cookie. It wraps ErrUnreachable.
func (p *Provider) Begin(ctx context.Context) (address, note string, err error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", "", err
	}
	state, nonce, verifier := random(), random(), oauth2.GenerateVerifier()
	address = d.oauth.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier))
	return address, strings.Join([]string{state, nonce, verifier}, "."), nil
}

// random makes 256 bits for an address.
func random() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// Finish takes the provider's answer (the query of Redirect) and the note of
// Begin. It wraps ErrState, ErrDenied, ErrUnreachable, ErrNoName and ErrNoGrant;
// with the last the person is known.
func (p *Provider) Finish(ctx context.Context, note string, answer url.Values) (Person, error) {
	parts := strings.Split(note, ".")
	if len(parts) != 3 || parts[0] == "" || answer.Get("state") != parts[0] {
		return Person{}, ErrState
	}
	nonce, verifier := parts[1], parts[2]
	if code := answer.Get("error"); code != "" {
		return Person{}, fmt.Errorf("%w: %q %q", ErrDenied, code, answer.Get("error_description"))
	}
	d, err := p.discover(ctx)
	if err != nil {
		return Person{}, err
	}
	ctx = oidc.ClientContext(ctx, p.o.Client)
	token, err := d.oauth.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused) && refused.Response.StatusCode < 500:
		return Person{}, fmt.Errorf("%w the code: %q %q", ErrDenied, refused.ErrorCode, refused.ErrorDescription)
	case err != nil:
		return Person{}, fmt.Errorf("%w: ask for the identity: %w", ErrUnreachable, err)
	}
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return Person{}, fmt.Errorf("%w: its answer holds no identity", ErrDenied)
	}
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return Person{}, fmt.Errorf("%w: its identity is not good: %w", ErrDenied, err)
	}
	if id.Nonce != nonce {
		return Person{}, ErrState
	}
	return p.person(ctx, d, id, token)
}

// person reads who it is from the identity, and from the provider's userinfo where
// the identity does not tell.
func (p *Provider) person(ctx context.Context, d *discovered, id *oidc.IDToken, token *oauth2.Token) (Person, error) {
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return Person{}, fmt.Errorf("%w: read its identity: %w", ErrDenied, err)
	}
	name := nameOf(claims)
	if values := claimed(claims, p.o.Claim); (name == "" || values == nil) && d.provider.UserInfoEndpoint() != "" {
		info, err := d.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
		if err != nil {
			return Person{}, fmt.Errorf("%w: ask for the person's data: %w", ErrUnreachable, err)
		}
		if info.Subject != id.Subject {
			return Person{}, fmt.Errorf("%w: it told of somebody else", ErrDenied)
		}
		more := map[string]any{}
		if err := info.Claims(&more); err != nil {
			return Person{}, fmt.Errorf("%w: read the person's data: %w", ErrDenied, err)
		}
		for k, v := range more {
			if _, have := claims[k]; !have {
				claims[k] = v
			}
		}
		name = nameOf(claims)
	}
	who := Person{Name: name, Subject: id.Issuer + " " + id.Subject}
	if name == "" {
		return who, ErrNoName
	}
	values := claimed(claims, p.o.Claim)
	for _, r := range p.o.Rules {
		if slices.Contains(values, r.Value) && !slices.Contains(who.Grants, r.Grant) {
			who.Grants = append(who.Grants, r.Grant)
		}
	}
	if len(who.Grants) == 0 {
		return who, ErrNoGrant
	}
	return who, nil
}

func nameOf(claims map[string]any) string {
	if name, _ := claims["preferred_username"].(string); name != "" {
		return strings.ToLower(name)
	}
	email, _ := claims["email"].(string)
	if verified, _ := claims["email_verified"].(bool); verified {
		return strings.ToLower(email)
	}
	return ""
}

// claimed finds a claim's values; nil = it is not there. A name that holds dots
// itself, as addresses do, is looked for first.
func claimed(claims map[string]any, path string) []string {
	v, ok := claims[path]
	if !ok {
		step, rest, deeper := strings.Cut(path, ".")
		inner, isMap := claims[step].(map[string]any)
		if !deeper || !isMap {
			return nil
		}
		return claimed(inner, rest)
	}
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		out := []string{}
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	case map[string]any:
		out := []string{}
		for k := range v {
			out = append(out, k)
		}
		return out
	}
	return nil
}

// SignOut is the provider's address for signing out there, too; "" = it has none,
// or was not asked yet.
func (p *Provider) SignOut() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil || p.found.signOut == "" {
		return ""
	}
	u, err := url.Parse(p.found.signOut)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.o.ClientID)
	q.Set("post_logout_redirect_uri", p.o.SignedOut)
	u.RawQuery = q.Encode()
	return u.String()
}
