package dashboards

import (
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/boombuler/barcode/qr"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
)

var codeRoutes = []route{
	{"GET", "/masuk/kode", session, (*Dashboards).codeForm},
	{"POST", "/masuk/kode", session, (*Dashboards).signInCode},
	{"GET", "/sandi/kode", staff(account.Viewer, anywhere), (*Dashboards).enrolForm},
	{"POST", "/sandi/kode", staff(account.Viewer, anywhere), (*Dashboards).enrol},
	{"POST", "/sandi/kode/lepas", staff(account.Viewer, anywhere), (*Dashboards).dropCode},
}

// What the session notes on the way: who has shown a right password, and the
// secret that the enrolment page shows.
const (
	noteCode  = "code"
	noteEnrol = "enrol"
)

// needsCode says that somebody must set up a second factor before anything else:
// admins of local accounts, unless the settings leave it to them.
func (d *Dashboards) needsCode(u *account.User) bool {
	return !d.o.CodeOptional && u.Local() && !u.HasCode && u.Highest() == account.Admin
}

// codeOf names an account's codes to the throttle: apart from its password, since
// whoever guesses codes has that and could otherwise begin anew with it.
func codeOf(name string) string { return name + " code" }

type codeBody struct{ Wrong string }

// halfway is who waits at the second step of signing in, and where they want to.
func (d *Dashboards) halfway(r *http.Request) (u account.User, next string, ok bool, err error) {
	generation, rest, _ := strings.Cut(d.sessions.Noted(r.Context(), noteCode), " ")
	name, next, _ := strings.Cut(rest, " ")
	if name == "" {
		return u, "", false, nil
	}
	u, err = d.accounts.Get(r.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return u, "", false, nil
	}
	if err != nil {
		return u, "", false, err
	}
	return u, next, u.HasCode && u.Disabled.IsZero() && fmt.Sprint(u.Generation) == generation, nil
}

func (d *Dashboards) codeForm(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	_, _, ok, err := d.halfway(r)
	if err != nil {
		return err
	}
	if !ok {
		http.Redirect(w, r, lang.Path("/masuk")+"?pesan=lama", http.StatusSeeOther)
		return nil
	}
	return d.showCode(w, r, http.StatusOK, "")
}

func (d *Dashboards) showCode(w http.ResponseWriter, r *http.Request, status int, wrong string) error {
	lang, _ := page.Split(r.URL.Path)
	f := d.frame(r, lang.T("code.title"))
	f.Narrow, f.Private = true, true
	return d.send(w, r, status, "code", page.View{Frame: f, Body: codeBody{wrong}})
}

func (d *Dashboards) signInCode(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u, next, ok, err := d.halfway(r)
	if err != nil {
		return err
	}
	if !ok {
		http.Redirect(w, r, lang.Path("/masuk")+"?pesan=lama", http.StatusSeeOther)
		return nil
	}
	from := d.o.ClientAddr(r)
	if wait := d.throttle.Try(from, codeOf(u.Name), d.o.Now()); wait > 0 {
		d.metrics.signIns.WithLabelValues("throttled").Inc()
		if err := d.refuse(r, "signin.throttled", u.Name); err != nil {
			return err
		}
		return d.showCode(w, r, http.StatusTooManyRequests, lang.T("signin.wait", lang.Span(wait+time.Second)))
	}
	entered, left, err := d.accounts.CheckCode(r.Context(), u.Name, r.PostForm.Get("kode"))
	if errors.Is(err, account.ErrWrong) {
		d.metrics.signIns.WithLabelValues("wrong").Inc()
		if err := d.refuse(r, "code.refused", u.Name); err != nil {
			return err
		}
		return d.showCode(w, r, http.StatusUnprocessableEntity, lang.T("code.wrong"))
	}
	if err != nil {
		return err
	}
	d.throttle.Right(from, codeOf(u.Name))
	return d.enter(w, r, entered, next, fmt.Sprintf("with a code, %d recovery codes left", left))
}

type enrolBody struct {
	Must     bool
	Local    bool
	HasCode  bool
	Left     int
	Account  string // the account's page
	QR       template.HTML
	Secret   string // in groups of four
	Address  template.URL
	Wrong    string
	Recovery []string // told once
	Next     string
	Dropped  bool
}

func (d *Dashboards) enrolForm(w http.ResponseWriter, r *http.Request) error {
	return d.showEnrol(w, r, http.StatusOK, enrolBody{Dropped: r.URL.Query().Get("pesan") == "dilepas"})
}

func (d *Dashboards) showEnrol(w http.ResponseWriter, r *http.Request, status int, body enrolBody) error {
	lang, _ := page.Split(r.URL.Path)
	u := userOf(r)
	body.Must, body.Local, body.HasCode, body.Account = d.needsCode(u), u.Local(), u.HasCode, lang.Path("/sandi")
	if u.HasCode {
		var err error
		if body.Left, err = d.accounts.RecoveryLeft(r.Context(), u.Name); err != nil {
			return err
		}
	} else if u.Local() {
		secret := d.sessions.Noted(r.Context(), noteEnrol)
		if secret == "" {
			secret = account.NewCodeSecret()
		}
		d.sessions.Note(r.Context(), noteEnrol, secret) // anew: whoever looks for the telephone has time
		address := account.CodeAddress("Pantau", u.Name, secret)
		code, err := qrSVG(address, lang.T("enrol.qr"))
		if err != nil {
			return err
		}
		body.QR, body.Address = code, template.URL(address)
		for i := 0; i < len(secret); i += 4 {
			body.Secret += secret[i:min(i+4, len(secret))] + " "
		}
		body.Secret = strings.TrimSpace(body.Secret)
	}
	f := d.frame(r, lang.T("enrol.title"))
	f.Narrow = true
	if body.Must {
		f.Nav = nil
	}
	return d.send(w, r, status, "enrol", page.View{Frame: f, Body: body})
}

func (d *Dashboards) enrol(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u, secret := userOf(r), d.sessions.Noted(r.Context(), noteEnrol)
	if u.HasCode || !u.Local() || secret == "" {
		http.Redirect(w, r, lang.Path("/sandi/kode"), http.StatusSeeOther)
		return nil
	}
	changed, recovery, err := d.accounts.SetCode(r.Context(), u.Name, secret, r.PostForm.Get("kode"))
	if errors.Is(err, account.ErrWrong) {
		return d.showEnrol(w, r, http.StatusUnprocessableEntity, enrolBody{Wrong: lang.T("code.wrong")})
	}
	if err != nil {
		return err
	}
	if err := d.tell(r, "code.set", u.Name, ""); err != nil {
		return err
	}
	// This session goes on under a new token; the account's others have ended.
	if err := d.sessions.SignIn(r.Context(), changed); err != nil {
		return err
	}
	*u = changed
	return d.showEnrol(w, r, http.StatusOK, enrolBody{Recovery: recovery, Next: lang.Path("/dinas")})
}

func (d *Dashboards) dropCode(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u, from := userOf(r), d.o.ClientAddr(r)
	if wait := d.throttle.Try(from, codeOf(u.Name), d.o.Now()); wait > 0 {
		return d.showEnrol(w, r, http.StatusTooManyRequests, enrolBody{Wrong: lang.T("signin.wait", lang.Span(wait+time.Second))})
	}
	changed, err := d.accounts.DropCode(r.Context(), u.Name, r.PostForm.Get("kode"))
	if errors.Is(err, account.ErrWrong) || errors.Is(err, account.ErrNoCode) {
		return d.showEnrol(w, r, http.StatusUnprocessableEntity, enrolBody{Wrong: lang.T("code.wrong")})
	}
	d.throttle.Right(from, codeOf(u.Name))
	if err != nil {
		return err
	}
	if err := d.tell(r, "code.drop", u.Name, ""); err != nil {
		return err
	}
	if err := d.sessions.SignIn(r.Context(), changed); err != nil {
		return err
	}
	http.Redirect(w, r, lang.Path("/sandi/kode")+"?pesan=dilepas", http.StatusSeeOther)
	return nil
}

// qrSVG draws a QR code: black on white in every colour scheme, since that is what
// telephones read.
func qrSVG(text, label string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", fmt.Errorf("draw a QR code: %w", err)
	}
	const quiet = 4 // modules of white around it (ISO/IEC 18004)
	size := code.Bounds().Dx()
	var b strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			from := x
			for x < size && dark(code.At(x, y).RGBA()) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, x-from, x-from)
			}
		}
	}
	side := size + 2*quiet
	return template.HTML(fmt.Sprintf(`<svg class="qr" viewBox="0 0 %d %d" role="img" aria-label="%s"><path fill="#fff" d="M0 0h%dv%dh-%dz"/><path fill="#000" shape-rendering="crispEdges" d="%s"/></svg>`,
		side, side, template.HTMLEscapeString(label), side, side, side, b.String())), nil
}

func dark(r, _, _, _ uint32) bool { return r < 0x8000 }
