package dashboards

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
)

type signInBody struct {
	Name     string
	Continue string
	Wrong    string // what went wrong, in the page's language
	Message  string
	SSO      string // name of the identity provider, "" = there is none
	SSOURL   string
	SSOWrong string // what went wrong there
	SSOOut   string // address for signing out there, too
	First    bool   // nobody has ever changed the first password: say where it is
}

func (d *Dashboards) signInForm(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	next := local(r.URL.Query().Get("lanjut"), "")
	if userOf(r) != nil {
		http.Redirect(w, r, local(next, lang.Path("/dinas")), http.StatusSeeOther)
		return nil
	}
	body := signInBody{Continue: next}
	switch r.URL.Query().Get("pesan") {
	case "berakhir":
		body.Message = lang.T("signin.ended")
	case "keluar":
		body.Message = lang.T("signin.out")
	case "keluar-sso":
		body.Message = lang.T("signin.out")
		if d.o.SSO != nil {
			body.SSOOut = d.o.SSO.SignOut()
		}
	case "lama":
		body.Message = lang.T("signin.slow")
	}
	return d.showSignIn(w, r, http.StatusOK, body)
}

func (d *Dashboards) showSignIn(w http.ResponseWriter, r *http.Request, status int, body signInBody) error {
	lang, _ := page.Split(r.URL.Path)
	if u, err := d.accounts.Get(r.Context(), account.FirstName); err == nil && u.MustChange && u.Generation == 1 {
		body.First = true
	}
	if d.o.SSO != nil {
		body.SSO, body.SSOURL = d.o.SSO.Name(), lang.Path("/masuk/sso")
		if body.Continue != "" {
			body.SSOURL += "?" + query("lanjut", body.Continue)
		}
	}
	f := d.frame(r, lang.T("signin.title"))
	f.Narrow, f.Private = true, true
	return d.send(w, r, status, "signin", page.View{Frame: f, Body: body})
}

func (d *Dashboards) signIn(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	name := strings.ToLower(strings.TrimSpace(r.PostForm.Get("nama")))
	body := signInBody{Name: name, Continue: local(r.PostForm.Get("lanjut"), "")}
	from := d.o.ClientAddr(r)
	if wait := d.throttle.Try(from, name, d.o.Now()); wait > 0 {
		d.metrics.signIns.WithLabelValues("throttled").Inc()
		d.o.Logger.Warn("sign-in throttled", "from", from)
		if err := d.refuseSignIn(r, "signin.throttled", name); err != nil {
			return err
		}
		seconds := int(wait/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		body.Wrong = lang.T("signin.wait", lang.Span(time.Duration(seconds)*time.Second))
		return d.showSignIn(w, r, http.StatusTooManyRequests, body)
	}
	u, err := d.accounts.Check(r.Context(), name, r.PostForm.Get("sandi"))
	switch {
	case errors.Is(err, account.ErrWrong):
		d.metrics.signIns.WithLabelValues("wrong").Inc()
		d.o.Logger.Warn("sign-in refused", "from", from)
		if err := d.refuseSignIn(r, "signin.refused", name); err != nil {
			return err
		}
		body.Wrong = lang.T("signin.wrong")
		return d.showSignIn(w, r, http.StatusUnprocessableEntity, body)
	case errors.Is(err, account.ErrBusy):
		d.throttle.Right(from, name)
		d.metrics.signIns.WithLabelValues("busy").Inc()
		body.Wrong = lang.T("signin.busy")
		return d.showSignIn(w, r, http.StatusServiceUnavailable, body)
	case err != nil:
		return err
	}
	d.throttle.Right(from, name)
	if u.HasCode {
		if err := d.sessions.Renew(r.Context()); err != nil {
			return err
		}
		d.sessions.Note(r.Context(), noteCode, strconv.FormatUint(u.Generation, 10)+" "+u.Name+" "+body.Continue)
		http.Redirect(w, r, lang.Path("/masuk/kode"), http.StatusSeeOther)
		return nil
	}
	return d.enter(w, r, u, body.Continue, "")
}

// refuseSignIn tells of a sign-in that was refused, by the account's name if there
// is one: what else stands in that field may be a password in the wrong place.
func (d *Dashboards) refuseSignIn(r *http.Request, action, name string) error {
	_, err := d.accounts.Get(r.Context(), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e := d.entry(r, action, "", "no account has that name")
		return d.o.Audit.Refuse(r.Context(), e)
	case err != nil:
		return err
	}
	return d.refuse(r, action, name)
}

// enter begins the session of somebody who has shown who they are.
func (d *Dashboards) enter(w http.ResponseWriter, r *http.Request, u account.User, next, how string) error {
	lang, _ := page.Split(r.URL.Path)
	from := d.o.ClientAddr(r)
	if err := d.o.Audit.Add(r.Context(), audit.Entry{Who: u.Name, From: from, Action: "signin.ok", Detail: how}); err != nil {
		return err // nobody comes in unrecorded
	}
	if err := d.sessions.SignIn(r.Context(), u); err != nil {
		return err
	}
	d.metrics.signIns.WithLabelValues("ok").Inc()
	d.o.Logger.Info("signed in", "account", u.Name, "from", from)
	to := local(next, lang.Path("/dinas"))
	switch {
	case u.MustChange:
		to = lang.Path("/sandi")
	case d.needsCode(&u):
		to = lang.Path("/sandi/kode")
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (d *Dashboards) signOut(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	told := "keluar"
	if u := userOf(r); u != nil {
		if !u.Local() {
			told = "keluar-sso"
		}
		if err := d.sessions.SignOut(r.Context()); err != nil {
			return err
		}
		if err := d.tell(r, "signout", "", ""); err != nil {
			return err
		}
		d.o.Logger.Info("signed out", "account", u.Name)
	}
	http.Redirect(w, r, lang.Path("/masuk")+"?pesan="+told, http.StatusSeeOther)
	return nil
}

type passwordBody struct {
	Name      string
	Local     bool // there is a password here
	HasCode   bool
	Code      string // address of the second factor's page
	Must      bool
	Min       string
	Wrong     string // what is wrong, in the page's language
	WrongOld  bool   // it is the old password that is wrong
	WrongBoth bool   // it is the new one
	Done      bool
}

func (d *Dashboards) passwordForm(w http.ResponseWriter, r *http.Request) error {
	return d.showPassword(w, r, http.StatusOK, passwordBody{Done: r.URL.Query().Get("pesan") == "diganti"})
}

func (d *Dashboards) showPassword(w http.ResponseWriter, r *http.Request, status int, body passwordBody) error {
	lang, _ := page.Split(r.URL.Path)
	u := userOf(r)
	body.Name, body.Must, body.Min = u.Name, u.MustChange, lang.Number(account.MinLength, 0)
	body.Local, body.HasCode, body.Code = u.Local(), u.HasCode, lang.Path("/sandi/kode")
	f := d.frame(r, lang.T("password.title"))
	f.Narrow = true
	return d.send(w, r, status, "password", page.View{Frame: f, Body: body})
}

func (d *Dashboards) changePassword(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u, from := userOf(r), d.o.ClientAddr(r)
	chosen := r.PostForm.Get("baru")
	if chosen != r.PostForm.Get("ulang") {
		return d.showPassword(w, r, http.StatusUnprocessableEntity, passwordBody{WrongBoth: true, Wrong: lang.T("password.mismatch")})
	}
	if wait := d.throttle.Try(from, u.Name, d.o.Now()); wait > 0 {
		return d.showPassword(w, r, http.StatusTooManyRequests, passwordBody{WrongOld: true, Wrong: lang.T("signin.wait", lang.Span(wait+time.Second))})
	}
	if !u.Local() {
		d.throttle.Right(from, u.Name)
		return problem{status: http.StatusNotFound}
	}
	changed, err := d.accounts.SetPassword(r.Context(), u.Name, r.PostForm.Get("lama"), chosen)
	if errors.Is(err, account.ErrWrong) {
		return d.showPassword(w, r, http.StatusUnprocessableEntity, passwordBody{WrongOld: true, Wrong: lang.T("password.wrong")})
	}
	d.throttle.Right(from, u.Name)
	least := lang.Number(account.MinLength, 0)
	for weak, text := range map[error]string{
		account.ErrTooShort: lang.T("password.short", least), account.ErrTooLong: lang.T("password.long"),
		account.ErrTooSimple: lang.T("password.simple"), account.ErrUnchanged: lang.T("password.same"),
		account.ErrBusy: lang.T("signin.busy"),
	} {
		if errors.Is(err, weak) {
			return d.showPassword(w, r, http.StatusUnprocessableEntity, passwordBody{WrongBoth: true, Wrong: text})
		}
	}
	if err != nil {
		return err
	}
	if err := d.tell(r, "password.change", u.Name, ""); err != nil {
		return err
	}
	// This session goes on under a new token; the account's others have ended.
	if err := d.sessions.SignIn(r.Context(), changed); err != nil {
		return err
	}
	d.o.Logger.Info("password changed", "account", u.Name, "from", from)
	to := lang.Path("/sandi") + "?pesan=diganti"
	switch {
	case d.needsCode(&changed):
		to = lang.Path("/sandi/kode")
	case u.MustChange:
		to = lang.Path("/dinas")
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}
