package dashboards

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/page"
)

// access says who may call a route and whether the call counts as somebody
// being there.
type access uint8

const (
	public     access = iota // everybody; no session, no cookie
	session                  // everybody; the session is read (sign-in, sign-out)
	staff                    // whoever is signed in with at least the route's role
	background               // as staff, but the page calls by itself: prolongs no session, answers 401 instead of the sign-in page
)

// route is one line of the table of all pages. Path is language-free: every
// route exists in all languages.
type route struct {
	method string
	path   string
	access access
	least  account.Role // with staff and background
	handle func(d *Dashboards, w http.ResponseWriter, r *http.Request) error
}

// table is the one list of routes; a test calls each as nobody and as every role.
var table = []route{
	{"GET", "/{$}", public, "", (*Dashboards).welcome},
	{"GET", "/masuk", session, "", (*Dashboards).signInForm},
	{"POST", "/masuk", session, "", (*Dashboards).signIn},
	{"POST", "/keluar", session, "", (*Dashboards).signOut},
	{"GET", "/sandi", staff, account.Viewer, (*Dashboards).passwordForm},
	{"POST", "/sandi", staff, account.Viewer, (*Dashboards).changePassword},
	{"GET", "/dinas", staff, account.Viewer, (*Dashboards).start},
	{"GET", "/dinas/jaringan", staff, account.Viewer, (*Dashboards).network},
	{"GET", "/dinas/jaringan/{group}/{gateway}", staff, account.Viewer, (*Dashboards).gateway},
	{"GET", "/dinas/jaringan/grafik", background, account.Viewer, (*Dashboards).chartPart},
	{"GET", "/dinas/jaringan/deret", background, account.Viewer, (*Dashboards).chartData},
	{"POST", "/dinas/peringatan/{id}/tangani", staff, account.Operator, (*Dashboards).acknowledge},
	{"GET", "/dinas/langsung", background, account.Viewer, (*Dashboards).live},
}

// maxForm bounds what a form may send.
const maxForm = 64 << 10

func (d *Dashboards) routes() http.Handler {
	mux := http.NewServeMux()
	for _, lang := range page.Langs() {
		for _, rt := range table {
			mux.Handle(rt.method+" "+lang.Path(rt.path), d.guard(rt))
		}
	}
	mux.Handle("GET "+assetPrefix, d.assets)
	mux.Handle("GET /en", http.RedirectHandler("/en/", http.StatusMovedPermanently))
	mux.Handle("/", d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		return problem{status: http.StatusNotFound}
	}))
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		return problem{status: http.StatusForbidden, text: "problem.csrf"}
	}))
	return d.watch(mux, page.Harden(csrf.Handler(mux)))
}

// guard puts a route's rules around its handler.
func (d *Dashboards) guard(rt route) http.Handler {
	inner := d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if rt.access == public {
			return rt.handle(d, w, r)
		}
		w.Header().Set("Cache-Control", "no-store")
		u, ok, err := d.sessions.User(r.Context())
		if err != nil {
			return err
		}
		if ok {
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, &u))
		}
		if rt.access == session {
			d.respond(w, r, rt.handle(d, w, r))
			return nil
		}
		lang, path := page.Split(r.URL.Path)
		switch {
		case !ok && rt.access == background && r.Header.Get("Accept") == "text/event-stream":
			return sayEnd(w) // browsers show a script no status of a stream
		case !ok && rt.access == background:
			return problem{status: http.StatusUnauthorized}
		case !ok:
			to := lang.Path("/masuk")
			if r.Method == http.MethodGet && path != "/dinas" {
				to += "?" + query("lanjut", r.URL.RequestURI())
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return nil
		case u.MustChange && rt.access == background:
			return problem{status: http.StatusForbidden}
		case u.MustChange && path != "/sandi":
			http.Redirect(w, r, lang.Path("/sandi"), http.StatusSeeOther)
			return nil
		case !u.Role.AtLeast(rt.least):
			d.respond(w, r, problem{status: http.StatusForbidden})
			return nil
		}
		d.respond(w, r, rt.handle(d, w, r)) // here, so that an error page knows who reads it
		return nil
	})
	switch rt.access {
	case public:
		return inner
	case background:
		return d.sessions.Peek(inner, d.respond)
	}
	return d.sessions.Load(inner, d.respond)
}

type userKey struct{}

// userOf returns who is signed in, or nil.
func userOf(r *http.Request) *account.User {
	u, _ := r.Context().Value(userKey{}).(*account.User)
	return u
}

// problem is an error that a visitor may see the kind of.
type problem struct {
	status int
	text   page.Key // "" = the status's own
	cause  error
}

func (p problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return http.StatusText(p.status)
}

func (p problem) Unwrap() error { return p.cause }

// answer makes a handler of a function whose error becomes a page.
func (d *Dashboards) answer(handle func(*Dashboards, http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.respond(w, r, handle(d, w, r)) })
}

// respond turns a handler's error into a page that names an id, under which the
// log has the cause.
func (d *Dashboards) respond(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil || r.Context().Err() != nil {
		return
	}
	var p problem
	if !errors.As(err, &p) {
		p = problem{status: http.StatusInternalServerError, cause: err}
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			p.status = http.StatusBadRequest
		}
	}
	d.fail(w, r, p)
}

type problemBody struct {
	Title, Lead page.Key
	Code        string // "" = the visitor's own doing, nothing in the log
	Home        string
}

func (d *Dashboards) fail(w http.ResponseWriter, r *http.Request, p problem) {
	lang, _ := page.Split(r.URL.Path)
	body := problemBody{Home: lang.Path("/")}
	if p.status >= 500 {
		body.Code = requestID(r)
		d.o.Logger.Error("page failed", "id", body.Code, "method", r.Method, "path", r.URL.Path, "err", p.Error())
	}
	body.Title = p.text
	if body.Title == "" {
		body.Title = page.Key(fmt.Sprintf("problem.%d", p.status))
	}
	if !page.Has(body.Title) {
		http.Error(w, http.StatusText(p.status), p.status)
		return
	}
	body.Lead = body.Title + ".lead"
	w.Header().Set("Cache-Control", "no-store")
	v := page.View{Frame: d.frame(r, lang.T(body.Title)), Body: body}
	v.Alternates, v.Narrow, v.Private = nil, true, true
	if err := d.send(w, r, p.status, "problem", v); err != nil {
		d.o.Logger.Error("error page failed", "id", requestID(r), "err", err)
	}
}

// frame fills what every page's layout shows.
func (d *Dashboards) frame(r *http.Request, title string) page.Frame {
	lang, path := page.Split(r.URL.Path)
	f := page.Frame{
		Lang: lang, Title: title, Brand: "Pantau", Home: lang.Path("/"),
		Styles: d.styles, Scripts: d.scripts, Icon: d.icon,
	}
	search := ""
	if r.URL.RawQuery != "" {
		search = "?" + r.URL.RawQuery
	}
	f.Alternates = page.Alternates(path, search)
	if u := userOf(r); u != nil {
		f.User = &page.User{Name: u.Name, Role: lang.T(page.Key("role." + string(u.Role))), URL: lang.Path("/sandi"), SignOut: lang.Path("/keluar")}
		f.Home, f.Private, f.Version = lang.Path("/dinas"), true, d.o.Version // a stranger need not know it
		if !u.MustChange {
			f.Nav = []page.Link{{URL: lang.Path("/dinas/jaringan"), Text: lang.T("nav.network"), Current: strings.HasPrefix(path, "/dinas/jaringan")}}
		}
	}
	return f
}

type requestIDKey struct{}

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// watch gives each request an id, counts it, and turns a panic into an error
// page.
func (d *Dashboards) watch(mux *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [4]byte
		_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
		r = r.WithContext(context.WithValue(r.Context(), requestIDKey{}, hex.EncodeToString(raw[:])))
		begin := time.Now()
		out := &statusWriter{ResponseWriter: w}
		defer func() {
			cause := recover()
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(err) // net/http's own way to cut an answer
			}
			if cause != nil {
				d.o.Logger.Error("page panicked", "id", requestID(r), "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
				if out.status != 0 {
					panic(http.ErrAbortHandler) // half of an answer is out: cut it
				}
				d.fail(out, r, problem{status: http.StatusInternalServerError, cause: fmt.Errorf("panic: %v", cause)})
			}
			_, pattern := mux.Handler(r)
			d.metrics.request(pattern, out.status, time.Since(begin))
		}()
		next.ServeHTTP(out, r)
	})
}

// statusWriter remembers the answer's status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
