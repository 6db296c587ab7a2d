package dashboards

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/photo"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// access says who may call a route and whether the call counts as somebody
// being there.
type access uint8

const (
	unset            access = iota // a route without a rule: New refuses it
	accessPublic                   // everybody; no session, no cookie
	accessSession                  // everybody; the session is read (sign-in, sign-out)
	accessStaff                    // whoever is signed in and has the route's role in its scope
	accessBackground               // as staff, but the page calls by itself: prolongs no session, answers 401 instead of the sign-in page
)

// rule decides who may call a route.
type rule struct {
	access access
	least  account.Role // with staff and background
	scope  scope        // likewise
}

// scope finds in a request what it is about, as User.May takes it: a district and
// a kind. An error that wraps fs.ErrNotExist answers 404.
type scope func(d *Dashboards, r *http.Request) (district string, kind telemetry.Kind, err error)

var (
	public  = rule{access: accessPublic}
	session = rule{access: accessSession}
)

func staff(least account.Role, where scope) rule { return rule{accessStaff, least, where} }
func background(least account.Role, where scope) rule { //nolint:unparam // as staff: a route names its role
	return rule{accessBackground, least, where}
}

// anywhere asks for the role in whatever district and for whatever kind: the
// handler then shows only what the visitor may see.
func anywhere(*Dashboards, *http.Request) (string, telemetry.Kind, error) {
	return account.Somewhere, account.SomeKind, nil
}

// whole asks for the role in the whole province and for all kinds.
func whole(*Dashboards, *http.Request) (string, telemetry.Kind, error) { return "", "", nil }

// ofDistrict asks for the role in the district of the path's {district}, for
// whatever kind.
func ofDistrict(_ *Dashboards, r *http.Request) (string, telemetry.Kind, error) {
	code := r.PathValue("district")
	if _, ok := places.FindDistrict(code); !ok {
		return "", "", fmt.Errorf("district %q: %w", code, fs.ErrNotExist)
	}
	return code, account.SomeKind, nil
}

// route is one line of the table of all pages. Path is language-free: every
// route exists in all languages. Lines are written without field names, so that
// one without a rule does not compile.
type route struct {
	method string
	path   string
	rule   rule
	handle func(d *Dashboards, w http.ResponseWriter, r *http.Request) error
}

// table is the one list of routes, in parts that stand beside their handlers; a
// test calls each as nobody and as every role, district and kind.
var table = slices.Concat(
	signInRoutes,
	codeRoutes,
	ssoRoutes,
	networkRoutes,
	settingsRoutes,
	peopleRoutes,
	auditRoutes,
	airRoutes,
	wallRoutes,
	placeRoutes,
	ruleRoutes,
)

var signInRoutes = []route{
	{"GET", "/masuk", session, (*Dashboards).signInForm},
	{"POST", "/masuk", session, (*Dashboards).signIn},
	{"POST", "/keluar", session, (*Dashboards).signOut},
	{"GET", "/sandi", staff(account.Viewer, anywhere), (*Dashboards).passwordForm},
	{"POST", "/sandi", staff(account.Viewer, anywhere), (*Dashboards).changePassword},
}

var networkRoutes = []route{
	{"GET", "/dinas/jaringan", staff(account.Viewer, anywhere), (*Dashboards).network},
	{"GET", "/dinas/jaringan/{group}/{gateway}", staff(account.Viewer, ofGateway), (*Dashboards).gateway},
	{"GET", "/dinas/jaringan/grafik", background(account.Viewer, ofSeries), (*Dashboards).chartPart},
	{"GET", "/dinas/jaringan/deret", background(account.Viewer, ofSeries), (*Dashboards).chartData},
	{"POST", "/dinas/peringatan/{id}/tangani", staff(account.Operator, ofAlert), (*Dashboards).acknowledge},
	{"GET", "/dinas/langsung", background(account.Viewer, anywhere), (*Dashboards).live},
}

// maxForm bounds what a form may send.
const maxForm = 64 << 10

// limit is how many bytes a route takes: files need more than forms.
func (rt route) limit() int64 {
	switch {
	case rt.method != http.MethodPost:
	case rt.path == importPath || rt.path == "/dinas/atur/wilayah":
		return 3 * maxUpload // files; once more as base64
	case rt.path == photoPath:
		return photo.MaxFile + maxForm
	}
	return maxForm
}

// Owns reports whether an address belongs to the staff's pages: its first word, in
// whatever language, is that of one of their routes. All others are the citizens'.
func Owns(path string) bool {
	if strings.HasPrefix(path, assetPrefix) {
		return true
	}
	_, path = page.Split(path)
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return slices.ContainsFunc(table, func(rt route) bool {
		own, _, _ := strings.Cut(strings.TrimPrefix(rt.path, "/"), "/")
		return own == first
	})
}

func (d *Dashboards) routes() http.Handler {
	mux := http.NewServeMux()
	for _, lang := range page.Langs() {
		for _, rt := range table {
			mux.Handle(rt.method+" "+lang.Path(rt.path), d.guard(rt))
		}
	}
	mux.Handle("GET "+assetPrefix, d.assets)
	mux.Handle("/", d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		return problem{status: http.StatusNotFound}
	}))
	csrf := http.NewCrossOriginProtection()
	csrf.SetDenyHandler(d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		return problem{status: http.StatusForbidden, text: "problem.csrf"}
	}))
	return d.watch(mux, page.Harden(csrf.Handler(mux)))
}

// serve calls the route's handler, which finds its form parsed; files that come with
// one (multipart) it reads itself.
func (rt route) serve(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		if err := r.ParseForm(); err != nil {
			return problem{status: http.StatusBadRequest, cause: err}
		}
	}
	return rt.handle(d, w, r)
}

// guard puts a route's rules around its handler.
func (d *Dashboards) guard(rt route) http.Handler {
	inner := d.answer(func(d *Dashboards, w http.ResponseWriter, r *http.Request) error {
		byItself := rt.byItself(r)
		r.Body = http.MaxBytesReader(w, r.Body, rt.limit())
		if rt.rule.access == accessPublic {
			return rt.serve(d, w, r)
		}
		w.Header().Set("Cache-Control", "no-store")
		u, ok, err := d.sessions.User(r.Context())
		if err != nil {
			return err
		}
		if ok {
			r = r.WithContext(context.WithValue(r.Context(), userKey{}, &u))
		}
		if rt.rule.access == accessSession {
			d.respond(w, r, rt.serve(d, w, r))
			return nil
		}
		lang, path := page.Split(r.URL.Path)
		switch {
		case !ok && byItself && r.Header.Get("Accept") == "text/event-stream":
			return sayEnd(w) // browsers show a script no status of a stream
		case !ok && byItself:
			return problem{status: http.StatusUnauthorized}
		case !ok:
			to := lang.Path("/masuk")
			if r.Method == http.MethodGet && path != "/dinas" {
				to += "?" + query("lanjut", r.URL.RequestURI())
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return nil
		case u.MustChange && byItself:
			return problem{status: http.StatusForbidden}
		case u.MustChange && path != "/sandi":
			http.Redirect(w, r, lang.Path("/sandi"), http.StatusSeeOther)
			return nil
		}
		if d.needsCode(&u) && !strings.HasPrefix(path, "/sandi") {
			if byItself {
				return problem{status: http.StatusForbidden}
			}
			http.Redirect(w, r, lang.Path("/sandi/kode"), http.StatusSeeOther)
			return nil
		}
		if err := d.admit(r, rt, &u); err != nil {
			d.respond(w, r, err)
			return nil
		}
		d.respond(w, r, rt.serve(d, w, r)) // here, so that an error page knows who reads it
		return nil
	})
	if rt.rule.access == accessPublic {
		return inner
	}
	peek, load := d.sessions.Peek(inner, d.respond), d.sessions.Load(inner, d.respond)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rt.byItself(r) {
			peek.ServeHTTP(w, r)
		} else {
			load.ServeHTTP(w, r)
		}
	})
}

// byItself reports whether a page calls without its reader's doing: always on such a
// route, and where a live page reads itself again (web/src/live.ts), which it says.
func (rt route) byItself(r *http.Request) bool {
	return rt.rule.access == accessBackground || rt.rule.access == accessStaff && r.Method == http.MethodGet && r.Header.Get("Pantau-Live") != ""
}

// admit lets through who has the route's role for what the request is about. A
// change is let through only if it can be told of.
func (d *Dashboards) admit(r *http.Request, rt route, u *account.User) error {
	district, kind, err := rt.rule.scope(d, r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problem{status: http.StatusNotFound}
	case err != nil:
		return err
	case !u.May(rt.rule.least, district, kind):
		if err := d.refuse(r, "page.refused", r.Method+" "+r.URL.Path); err != nil {
			return err
		}
		return problem{status: http.StatusForbidden}
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		if err := d.o.Audit.Ready(); err != nil {
			return problem{status: http.StatusServiceUnavailable, text: "problem.audit", cause: err}
		}
	}
	return nil
}

// refuse writes into the audit log what the request was refused.
func (d *Dashboards) refuse(r *http.Request, action, object string) error {
	return d.o.Audit.Refuse(r.Context(), d.entry(r, action, object, ""))
}

// tell writes what the request's user did into the audit log. Call it after the
// change and before its answer, and return its error.
func (d *Dashboards) tell(r *http.Request, action, object, detail string) error {
	return d.o.Audit.Add(r.Context(), d.entry(r, action, object, detail))
}

func (d *Dashboards) entry(r *http.Request, action, object, detail string) audit.Entry {
	e := audit.Entry{From: d.o.ClientAddr(r), Action: action, Object: object, Detail: detail}
	if u := userOf(r); u != nil {
		e.Who = u.Name
	}
	return e
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
		d.o.Logger.Error("page failed", "id", body.Code, "method", r.Method, "path", pathOf(r), "err", p.Error())
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
		f.User = &page.User{Name: u.Name, Role: lang.T(page.Key("role." + string(u.Highest()))), URL: lang.Path("/sandi"), SignOut: lang.Path("/keluar")}
		f.Home, f.Private, f.Version = lang.Path("/dinas"), true, d.o.Version // a stranger need not know it
		if !u.MustChange && !d.needsCode(u) {
			f.Nav = nav(lang, path, u)
		}
	}
	return f
}

// pathOf is a request's path for the log, without what opens a wall screen.
func pathOf(r *http.Request) string {
	if lang, path := page.Split(r.URL.Path); strings.HasPrefix(path, "/layar/") {
		return lang.Path("/layar/…")
	}
	return r.URL.Path
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
				d.o.Logger.Error("page panicked", "id", requestID(r), "path", pathOf(r), "panic", cause, "stack", string(debug.Stack()))
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
