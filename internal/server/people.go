package server

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/provider"
)

// OIDCOptions are an identity provider (OpenID Connect) at which people may sign
// in. It must be told to send them back to http.base_url + "/masuk/sso/kembali".
type OIDCOptions struct {
	Issuer           string      `toml:"issuer"` // empty = local accounts only
	Name             string      `toml:"name"`   // on the button
	ClientID         string      `toml:"client_id"`
	ClientSecretFile string      `toml:"client_secret_file"` // empty = a public client, by PKCE alone
	Claim            string      `toml:"claim"`              // whose values give roles, e.g. groups or realm_access.roles
	Scopes           []string    `toml:"scopes"`             // besides openid, profile, email
	Grants           []OIDCGrant `toml:"grant"`

	Secret string `toml:"-"`
}

// OIDCGrant gives a role to whoever has the value in the claim.
type OIDCGrant struct {
	Value    string `toml:"value"`
	Role     string `toml:"role"`
	District string `toml:"district"` // empty = the whole province
	Kind     string `toml:"kind"`     // empty = all kinds
}

func (g OIDCGrant) grant() (account.Grant, error) {
	return account.ParseGrant(g.Role + ":" + g.District + ":" + g.Kind)
}

// checkPeople checks how people sign in. secret reads a secret's file.
func (o *Options) checkPeople(bad func(field string, value any, want string), secret func(field, file, environment string) string) {
	if o.People.SecondFactor != secondFactorAdmins && o.People.SecondFactor != secondFactorOptional {
		bad("people.second_factor", o.People.SecondFactor, `want "admins" or "optional"`)
	}
	c := &o.OIDC
	if c.Issuer == "" {
		if c.ClientID != "" || len(c.Grants) > 0 {
			bad("oidc.issuer", "", "name the identity provider, for example https://sso.example.go.id/realms/dinas")
		}
		return
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
		bad("oidc.issuer", c.Issuer, "want an https address, for example https://sso.example.go.id/realms/dinas")
	}
	if o.HTTP.BaseURL == "" {
		bad("http.base_url", "", "oidc needs the address by which people reach the pages")
	}
	if c.ClientID == "" {
		bad("oidc.client_id", "", "want the name under which the identity provider knows this server")
	}
	if c.Name == "" {
		c.Name = "SSO"
	}
	if c.ClientSecretFile != "" {
		c.Secret = secret("oidc.client_secret_file", c.ClientSecretFile, "")
	}
	if c.Claim == "" || len(c.Grants) == 0 {
		bad("oidc.claim", c.Claim, "want the claim and at least one [[oidc.grant]] that gives a role by its value; without them nobody may do anything")
	}
	for i, g := range c.Grants {
		if g.Value == "" {
			bad(fmt.Sprintf("oidc.grant[%d].value", i), "", "want a value of the claim")
		}
		if _, err := g.grant(); err != nil {
			bad(fmt.Sprintf("oidc.grant[%d]", i), g.Role+":"+g.District+":"+g.Kind, err.Error())
		}
	}
}

// sso is the identity provider of the settings, or nil.
func (s *Server) sso() (*provider.Provider, error) {
	c := s.o.OIDC
	if c.Issuer == "" {
		return nil, nil
	}
	base := strings.TrimSuffix(s.o.HTTP.BaseURL, "/")
	o := provider.Options{
		Name: c.Name, Issuer: c.Issuer, ClientID: c.ClientID, ClientSecret: c.Secret, Claim: c.Claim, Scopes: c.Scopes,
		Redirect: base + dashboards.SSOReturn, SignedOut: base + "/masuk",
	}
	for _, g := range c.Grants {
		grant, err := g.grant()
		if err != nil {
			return nil, err
		}
		o.Rules = append(o.Rules, provider.Rule{Value: g.Value, Grant: grant})
	}
	return provider.New(o), nil
}

// PeopleOptions are how people sign in. Who they are lives in the key-value state.
type PeopleOptions struct {
	// SecondFactor is "admins" (they set up a time code at their first sign-in) or
	// "optional" (whoever wants may), for simulated installations.
	SecondFactor string `toml:"second_factor"`
}

const (
	secondFactorAdmins   = "admins"
	secondFactorOptional = "optional"
)

func (s *Server) adminPeople(mux *http.ServeMux) {
	mux.Handle("GET /users", answer(s.listUsers))
	mux.Handle("POST /users", changing(s, s.addUser))
	mux.Handle("POST /users/grant", changing(s, s.grantUser))
	mux.Handle("POST /users/revoke", changing(s, s.revokeUser))
	mux.Handle("POST /users/reset", changing(s, s.resetUser))
	mux.Handle("POST /users/disable", changing(s, s.disableUser))
	mux.Handle("POST /users/enable", changing(s, s.enableUser))
	mux.Handle("POST /users/remove", changing(s, s.removeUser))
	mux.Handle("GET /audit", answer(s.auditQuery))
	mux.Handle("GET /audit/verify", answer(s.auditVerify))
}

func (s *Server) listUsers(r *http.Request) ([]User, error) {
	all, err := s.accounts.List(r.Context())
	if err != nil {
		return nil, err
	}
	out := []User{}
	for _, u := range all {
		v := User{Name: u.Name, Grants: []string{}, SignsIn: "password", Disabled: u.Disabled}
		switch {
		case !u.Local():
			v.SignsIn = "identity provider"
		case u.HasCode:
			v.SignsIn = "password and code"
		}
		for _, g := range u.Grants {
			v.Grants = append(v.Grants, g.String())
		}
		out = append(out, v)
	}
	return out, nil
}

// parseGrants reads the grants of a request.
func parseGrants(texts []string) ([]account.Grant, error) {
	var out []account.Grant
	for _, text := range texts {
		g, err := account.ParseGrant(text)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("name at least one grant, ROLE[:DISTRICT[:KIND]], for example validator:3374:air")
	}
	return out, nil
}

func (s *Server) addUser(r *http.Request) (Done, error) {
	ref, err := decode[UserRef](r)
	if err != nil {
		return Done{}, err
	}
	grants, err := parseGrants(ref.Grants)
	if err != nil {
		return Done{}, err
	}
	password, err := s.accounts.Add(r.Context(), ref.Name, grants...)
	if err == nil {
		err = s.tell(r, "user.add", ref.Name, strings.Join(ref.Grants, " "))
	}
	if err != nil {
		return Done{}, err
	}
	return Done{firstSignIn(ref.Name, password)}, nil
}

func firstSignIn(name, password string) string {
	return fmt.Sprintf("%s signs in once with %s and then chooses a password", name, password)
}

func (s *Server) grantUser(r *http.Request) (Done, error) {
	return s.changeGrants(r, "user.grant", func(name string, g account.Grant) error {
		_, err := s.accounts.Grant(r.Context(), name, g)
		return err
	})
}

func (s *Server) revokeUser(r *http.Request) (Done, error) {
	return s.changeGrants(r, "user.revoke", func(name string, g account.Grant) error {
		_, err := s.accounts.Revoke(r.Context(), name, g)
		return err
	})
}

func (s *Server) changeGrants(r *http.Request, action string, change func(string, account.Grant) error) (Done, error) {
	ref, err := decode[UserRef](r)
	if err != nil {
		return Done{}, err
	}
	grants, err := parseGrants(ref.Grants)
	if err != nil {
		return Done{}, err
	}
	for _, g := range grants {
		if err := change(ref.Name, g); err != nil {
			return Done{}, err
		}
		if err := s.tell(r, action, ref.Name, g.String()); err != nil {
			return Done{}, err
		}
	}
	u, err := s.accounts.Get(r.Context(), ref.Name)
	if err != nil {
		return Done{}, err
	}
	var now []string
	for _, g := range u.Grants {
		now = append(now, g.String())
	}
	if len(now) == 0 {
		now = []string{"nothing"}
	}
	return Done{fmt.Sprintf("%s now has %s", ref.Name, strings.Join(now, ", "))}, nil
}

func (s *Server) resetUser(r *http.Request) (Done, error) {
	ref, err := decode[UserRef](r)
	if err != nil {
		return Done{}, err
	}
	password, err := s.accounts.Reset(r.Context(), ref.Name, ref.SecondFactor)
	if err == nil {
		detail := ""
		if ref.SecondFactor {
			detail = "with the second factor"
		}
		err = s.tell(r, "user.reset", ref.Name, detail)
	}
	if err != nil {
		return Done{}, err
	}
	return Done{firstSignIn(ref.Name, password)}, nil
}

func (s *Server) disableUser(r *http.Request) (Done, error) {
	return s.changeUser(r, "user.disable", "%s is disabled; all sessions have ended", func(name string) error { _, err := s.accounts.Disable(r.Context(), name); return err })
}

func (s *Server) enableUser(r *http.Request) (Done, error) {
	return s.changeUser(r, "user.enable", "%s may sign in again", func(name string) error { _, err := s.accounts.Enable(r.Context(), name); return err })
}

func (s *Server) removeUser(r *http.Request) (Done, error) {
	return s.changeUser(r, "user.remove", "%s is removed", func(name string) error { return s.accounts.Remove(r.Context(), name) })
}

func (s *Server) changeUser(r *http.Request, action, done string, change func(name string) error) (Done, error) {
	ref, err := decode[UserRef](r)
	if err == nil {
		err = change(ref.Name)
	}
	if err == nil {
		err = s.tell(r, action, ref.Name, "")
	}
	if err != nil {
		return Done{}, err
	}
	return Done{fmt.Sprintf(done, ref.Name)}, nil
}
