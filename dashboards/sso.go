package dashboards

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/provider"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
)

// SSOReturn is the address that the identity provider must be told to send people
// back to.
const SSOReturn = "/masuk/sso/kembali"

var ssoRoutes = []route{
	{"GET", "/masuk/sso", session, (*Dashboards).ssoBegin},
	{"GET", SSOReturn, session, (*Dashboards).ssoFinish},
}

// The note lies in a cookie rather than in the session, so that a stranger who
// asks to sign in costs the store nothing.
func (d *Dashboards) ssoCookie() string {
	if d.o.HTTPS {
		return "__Host-pantau-sso"
	}
	return "pantau-sso"
}

func (d *Dashboards) setNote(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: d.ssoCookie(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: d.o.HTTPS,
		SameSite: http.SameSiteLaxMode, // the provider's answer comes by a link from there
	})
}

// ssoBegin sends the visitor to the identity provider. It is a link and not a
// form, since the pages' policy lets no form lead away.
func (d *Dashboards) ssoBegin(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	if d.o.SSO == nil {
		return problem{status: http.StatusNotFound}
	}
	address, note, err := d.o.SSO.Begin(r.Context())
	if err != nil {
		d.o.Logger.Error("identity provider failed", "id", requestID(r), "err", err)
		return d.ssoWrong(w, r, lang, http.StatusBadGateway, "signin.sso_unreachable")
	}
	next := local(r.URL.Query().Get("lanjut"), lang.Path("/dinas"))
	d.setNote(w, note+"."+string(lang)+"."+base64.RawURLEncoding.EncodeToString([]byte(next)), 600)
	http.Redirect(w, r, address, http.StatusSeeOther)
	return nil
}

// ssoFinish takes the identity provider's answer.
func (d *Dashboards) ssoFinish(w http.ResponseWriter, r *http.Request) error {
	if d.o.SSO == nil {
		return problem{status: http.StatusNotFound}
	}
	lang, note, next := page.Indonesian, "", ""
	if c, err := r.Cookie(d.ssoCookie()); err == nil {
		if parts := strings.Split(c.Value, "."); len(parts) == 5 {
			note = strings.Join(parts[:3], ".")
			if parts[3] == string(page.English) {
				lang = page.English
			}
			if text, err := base64.RawURLEncoding.DecodeString(parts[4]); err == nil {
				next = local(string(text), "")
			}
		}
	}
	d.setNote(w, "", -1) // good once
	who, err := d.o.SSO.Finish(r.Context(), note, r.URL.Query())
	var u account.User
	if err == nil {
		u, err = d.accounts.Arrive(r.Context(), who.Name, who.Subject, who.Grants)
	}
	if err != nil {
		status, text := http.StatusForbidden, page.Key("")
		switch {
		case errors.Is(err, provider.ErrState):
			status, text = http.StatusBadRequest, "signin.sso_state"
		case errors.Is(err, provider.ErrUnreachable):
			status, text = http.StatusBadGateway, "signin.sso_unreachable"
		case errors.Is(err, provider.ErrDenied):
			text = "signin.sso_denied"
		case errors.Is(err, provider.ErrNoGrant):
			text = "signin.sso_no_grant"
			if err := d.dropGrants(r, who); err != nil {
				return err
			}
		case errors.Is(err, provider.ErrNoName), errors.Is(err, account.ErrInvalid):
			text = "signin.sso_no_name"
		case errors.Is(err, account.ErrWrong):
			text = "signin.sso_disabled"
		case errors.Is(err, fs.ErrExist):
			text = "signin.sso_taken"
		default:
			return err
		}
		d.metrics.signIns.WithLabelValues("wrong").Inc()
		d.o.Logger.Warn("sign-in by the identity provider refused", "id", requestID(r), "account", page.Plain(who.Name), "err", err)
		e := audit.Entry{From: d.o.ClientAddr(r), Action: "signin.refused", Object: who.Name, Detail: err.Error()}
		if err := d.o.Audit.Refuse(r.Context(), e); err != nil {
			return err
		}
		return d.ssoWrong(w, r, lang, status, text)
	}
	if next == "" {
		next = lang.Path("/dinas")
	}
	return d.enter(w, r, u, next, "by "+who.Subject+": "+grantTexts(u.Grants))
}

// dropGrants takes the grants of somebody to whom the provider gives none any
// more, so that sessions that still run end with them.
func (d *Dashboards) dropGrants(r *http.Request, who provider.Person) error {
	u, err := d.accounts.Get(r.Context(), who.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && u.Subject != who.Subject {
		return nil
	}
	if err == nil {
		_, err = d.accounts.SetGrants(r.Context(), who.Name, nil)
	}
	return err
}

func grantTexts(grants []account.Grant) string {
	var out []string
	for _, g := range grants {
		out = append(out, g.String())
	}
	return strings.Join(out, " ")
}

// ssoWrong shows the sign-in page with what went wrong at the provider, in the
// language in which the visitor set out.
func (d *Dashboards) ssoWrong(w http.ResponseWriter, r *http.Request, lang page.Lang, status int, text page.Key) error {
	r = r.Clone(r.Context())
	r.URL = &url.URL{Path: lang.Path("/masuk")}
	return d.showSignIn(w, r, status, signInBody{SSOWrong: lang.T(text, d.o.SSO.Name())})
}
