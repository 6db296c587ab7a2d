package dashboards

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
)

// welcome is the start page for everybody. It has no cookie and no name on it.
func (d *Dashboards) welcome(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	f := d.frame(r, lang.T("welcome.title"))
	f.Alternates = page.Alternates("/", "")
	f.Description, f.Narrow, f.Scripts = lang.T("welcome.description"), true, nil
	return d.sendCached(w, r, "welcome", page.View{Frame: f})
}

// start is where staff arrive; the network is the one page there is to see yet.
func (d *Dashboards) start(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	http.Redirect(w, r, lang.Path("/dinas/jaringan"), http.StatusSeeOther)
	return nil
}

type signInBody struct {
	Name     string
	Continue string
	Wrong    string // what went wrong, in the page's language
	Message  string
	First    bool // nobody has ever changed the first password: say where it is
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
	}
	return d.showSignIn(w, r, http.StatusOK, body)
}

func (d *Dashboards) showSignIn(w http.ResponseWriter, r *http.Request, status int, body signInBody) error {
	lang, _ := page.Split(r.URL.Path)
	if u, err := d.accounts.Get(r.Context(), account.FirstName); err == nil && u.MustChange && u.Generation == 1 {
		body.First = true
	}
	f := d.frame(r, lang.T("signin.title"))
	f.Narrow, f.Private = true, true
	return d.send(w, r, status, "signin", page.View{Frame: f, Body: body})
}

func (d *Dashboards) signIn(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	if err := r.ParseForm(); err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	name := strings.ToLower(strings.TrimSpace(r.PostForm.Get("nama")))
	body := signInBody{Name: name, Continue: local(r.PostForm.Get("lanjut"), "")}
	from := d.o.ClientAddr(r)
	if wait := d.throttle.Try(from, name, d.o.Now()); wait > 0 {
		d.metrics.signIns.WithLabelValues("throttled").Inc()
		d.o.Logger.Warn("sign-in throttled", "account", page.Plain(name), "from", from)
		seconds := int(wait/time.Second) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		body.Wrong = lang.T("signin.wait", lang.Span(time.Duration(seconds)*time.Second))
		return d.showSignIn(w, r, http.StatusTooManyRequests, body)
	}
	u, err := d.accounts.Check(r.Context(), name, r.PostForm.Get("sandi"))
	switch {
	case errors.Is(err, account.ErrWrong):
		d.metrics.signIns.WithLabelValues("wrong").Inc()
		d.o.Logger.Warn("sign-in refused", "account", page.Plain(name), "from", from)
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
	if err := d.sessions.SignIn(r.Context(), u); err != nil {
		return err
	}
	d.metrics.signIns.WithLabelValues("ok").Inc()
	d.o.Logger.Info("signed in", "account", u.Name, "from", from)
	to := local(body.Continue, lang.Path("/dinas"))
	if u.MustChange {
		to = lang.Path("/sandi")
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func (d *Dashboards) signOut(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	if u := userOf(r); u != nil {
		if err := d.sessions.SignOut(r.Context()); err != nil {
			return err
		}
		d.o.Logger.Info("signed out", "account", u.Name)
	}
	http.Redirect(w, r, lang.Path("/masuk")+"?pesan=keluar", http.StatusSeeOther)
	return nil
}

type passwordBody struct {
	Name      string
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
	f := d.frame(r, lang.T("password.title"))
	f.Narrow = true
	return d.send(w, r, status, "password", page.View{Frame: f, Body: body})
}

func (d *Dashboards) changePassword(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	if err := r.ParseForm(); err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	u, from := userOf(r), d.o.ClientAddr(r)
	chosen := r.PostForm.Get("baru")
	if chosen != r.PostForm.Get("ulang") {
		return d.showPassword(w, r, http.StatusUnprocessableEntity, passwordBody{WrongBoth: true, Wrong: lang.T("password.mismatch")})
	}
	if wait := d.throttle.Try(from, u.Name, d.o.Now()); wait > 0 {
		return d.showPassword(w, r, http.StatusTooManyRequests, passwordBody{WrongOld: true, Wrong: lang.T("signin.wait", lang.Span(wait+time.Second))})
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
	// This session goes on under a new token; the account's others have ended.
	if err := d.sessions.SignIn(r.Context(), changed); err != nil {
		return err
	}
	d.o.Logger.Info("password changed", "account", u.Name, "from", from)
	to := lang.Path("/sandi") + "?pesan=diganti"
	if u.MustChange {
		to = lang.Path("/dinas")
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}
