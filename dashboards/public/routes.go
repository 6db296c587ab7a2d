package public

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/page"
)

// assetPrefix is where files lie that never change under their name.
const assetPrefix = "/umum/"

// route is one line of the table of all citizens' pages. Path is language-free:
// every route exists in all languages.
type route struct {
	path  string
	query []string // parameters that belong to the address; others are ignored
	once  bool     // not kept: too many different ones could be asked for
	make  func(p *Public, ctx context.Context, q ask) (answer, error)
}

// table is the one list of routes; a test calls each.
var table = []route{
	{path: "/{$}", query: []string{"tempat"}, make: (*Public).home},
	{path: "/cari", query: []string{"q"}, once: true, make: (*Public).search},
	{path: "/udara", query: []string{"jam"}, make: (*Public).air},
	{path: "/wilayah/{name}", make: (*Public).district},
	{path: "/stasiun/{name}", query: []string{"rentang", "parameter"}, make: (*Public).station},
	{path: "/sampah", make: (*Public).unreleased},
	{path: "/energi", make: (*Public).unreleased},
	{path: "/air", make: (*Public).unreleased},
	{path: "/buletin", query: []string{"bulan", "halaman"}, make: (*Public).bulletins},
	{path: "/buletin/{id}", query: []string{"revisi"}, make: (*Public).bulletin},
	{path: "/ralat", query: []string{"bulan", "halaman"}, make: (*Public).corrections},
	{path: "/bukti/{id}", make: (*Public).trace},
	{path: "/metode", make: (*Public).method},
	{path: "/data", make: (*Public).data},
	{path: "/api", make: (*Public).programs},
	{path: "/sematan/{code}", make: (*Public).embed},
	{path: "/umpan/{file}", make: (*Public).feed},
	{path: "/gambar/{file}", make: (*Public).picture},
	{path: "/tentang", make: text("tentang")},
	{path: "/privasi", make: text("privasi")},
	{path: "/aksesibilitas", make: text("aksesibilitas")},
	{path: "/luring", make: text("luring")},
	{path: "/dekat.json", make: (*Public).near},
	{path: "/pantau.webmanifest", make: (*Public).manifest},
}

// ask is one request for a page, without what differs between visitors: what is
// made of it is kept for all.
type ask struct {
	lang  page.Lang
	path  string // language-free, as asked for
	value func(name string) string
	query url.Values
	now   time.Time
	*state
}

// answer is what a page's maker returns.
type answer struct {
	status      int // 0 = 200
	contentType string
	body        []byte
	location    string // where the page really is: 301
	framed      bool   // may stand in a frame of another site
}

// errNotFound says that there is no such page.
var errNotFound = errors.New("no such page")

func moved(to string) (answer, error) {
	return answer{status: http.StatusMovedPermanently, location: to}, nil
}

func (p *Public) routes() http.Handler {
	mux := http.NewServeMux()
	for _, lang := range page.Langs() {
		for _, rt := range table {
			mux.Handle("GET "+lang.Path(rt.path), p.serve(rt, lang))
			if !strings.HasSuffix(rt.path, "{$}") {
				mux.HandleFunc("GET "+lang.Path(rt.path)+"/{$}", func(w http.ResponseWriter, r *http.Request) {
					to := url.URL{Path: strings.TrimSuffix(r.URL.Path, "/"), RawQuery: r.URL.RawQuery}
					w.Header().Set("Cache-Control", shortly)
					http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
				})
			}
		}
		mux.Handle(lang.Path("/"), p.serve(route{make: func(*Public, context.Context, ask) (answer, error) { return answer{}, errNotFound }}, lang))
	}
	mux.Handle("GET /en", http.RedirectHandler("/en/", http.StatusMovedPermanently))
	mux.Handle("GET "+assetPrefix, p.assets)
	mux.HandleFunc("GET /pekerja.js", p.worker)
	mux.Handle("GET /favicon.ico", http.RedirectHandler(p.look.icon192, http.StatusMovedPermanently))
	mux.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprint(w, "User-agent: *\nDisallow: /dinas\nDisallow: /en/dinas\nDisallow: /cari\nDisallow: /en/cari\n")
	})
	return p.watch(mux)
}

// shortly is how long a browser may show a page without asking again: as long as
// an open one does not ask (web/src/public.ts). One that comes from the cache asks
// as soon as it is on the screen.
const shortly = "public, max-age=300"

// serve answers with a page from memory, or makes it.
func (p *Public) serve(rt route, lang page.Lang) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.o.Documents != nil && strings.HasSuffix(r.URL.Path, ".pdf") {
			p.o.Documents.ServeHTTP(w, r)
			return
		}
		query := url.Values{}
		if r.URL.RawQuery != "" {
			asked := r.URL.Query()
			for _, name := range rt.query {
				if v := strings.TrimSpace(asked.Get(name)); v != "" && len(v) <= 100 {
					query.Set(name, v)
				}
			}
		}
		key := r.URL.Path
		if rt.make == nil || rt.path == "" {
			key = lang.Path("/") + "\x00"
		} else if len(query) > 0 {
			key += "?" + query.Encode()
		}
		e, err := p.find(r.Context(), key, rt, func(st *state) ask {
			_, path := page.Split(r.URL.Path)
			return ask{lang: lang, path: path, value: r.PathValue, query: query, now: p.o.Now(), state: st}
		})
		switch {
		case errors.Is(err, errBusy):
			p.metrics.refused.Inc()
			w.Header().Set("Retry-After", "5")
			http.Error(w, lang.T("public.busy"), http.StatusServiceUnavailable)
			return
		case r.Context().Err() != nil:
			return // nobody waits any more
		case err != nil:
			e = p.failed(lang, err, r.URL.Path)
		}
		// A slot bounds how many answers are written at once, so that however many
		// citizens come, few of them stand before a gateway in the scheduler's
		// queue. A page fits into a socket's buffer: writing it does not wait for
		// the visitor's line.
		select {
		case p.writers <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		defer func() { <-p.writers }()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime)) // not every writer has one
		e.write(w, r)
	})
}

const (
	writeTime = 10 * time.Second
	makeTime  = 10 * time.Second
	maxQueue  = 256 // pages waiting to be made
)

// errBusy says that too many pages wait to be made.
var errBusy = errors.New("too many pages are being made")

// find returns the answer for a key, made anew if what it tells of has changed.
func (p *Public) find(ctx context.Context, key string, rt route, asked func(*state) ask) (*entry, error) {
	now := p.o.Now()
	v := p.version(now)
	if e := p.kept.get(key); e != nil && (e.version == v || (e.version.hour == v.hour && p.o.Settle > 0 && now.Sub(e.made) < p.o.Settle)) {
		return e, nil
	}
	if len(p.makers) == cap(p.makers) && p.waiting.Load() >= maxQueue {
		return nil, errBusy
	}
	made, err, _ := p.making.Do(key, func() (any, error) {
		p.waiting.Add(1)
		defer p.waiting.Add(-1)
		// Others may wait for this page, too: it does not end with its first visitor.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), makeTime)
		defer cancel()
		select {
		case p.makers <- struct{}{}:
			defer func() { <-p.makers }()
		case <-ctx.Done():
			return nil, errBusy
		}
		return p.make(ctx, key, rt, v, asked)
	})
	if err != nil {
		return nil, err
	}
	e, ok := made.(*entry)
	if !ok {
		return nil, fmt.Errorf("make %s: no answer", key)
	}
	return e, nil
}

func (p *Public) version(now time.Time) version {
	return version{changed: p.o.Changed(), hour: now.Unix() / 3600}
}

func (p *Public) make(ctx context.Context, key string, rt route, v version, asked func(*state) ask) (e *entry, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("make %s: panic: %v\n%s", key, cause, debug.Stack())
		}
	}()
	p.metrics.made.Inc()
	st, err := p.learn(ctx, v)
	if err != nil {
		return nil, err
	}
	q := asked(st)
	a, err := rt.make(p, ctx, q)
	if errors.Is(err, errNotFound) {
		if a, err = p.missing(q); err == nil {
			rt.once = rt.once || rt.path != "" // what is not there has too many names
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", key, err)
	}
	e = &entry{key: key, version: st.version, made: p.o.Now(), status: a.status, contentType: a.contentType, language: string(q.lang), location: a.location, cache: shortly, policy: p.look.policy}
	if e.status == 0 {
		e.status = http.StatusOK
	}
	if a.framed {
		e.policy = p.look.framed
	}
	if e.status == http.StatusNotFound {
		e.cache = "no-cache"
	}
	if a.location == "" {
		if err := e.pack(a.body); err != nil {
			return nil, err
		}
	}
	if !rt.once {
		p.kept.put(e)
	}
	return e, nil
}

// missing is the page that says that there is none.
func (p *Public) missing(q ask) (answer, error) {
	return p.lacking(q, "public.404.lead")
}

// unreleased stands where totals of another kind will be, once an agency releases
// them.
func (p *Public) unreleased(_ context.Context, q ask) (answer, error) {
	return p.lacking(q, "public.unreleased")
}

func (p *Public) lacking(q ask, why page.Key) (answer, error) {
	f := p.frame(q, q.lang.T("public.404"))
	f.canonical, f.picture, f.hidden, f.lasting = "", "", true, true
	a, err := p.html(q, "hilang", f, q.lang.T(why))
	a.status = http.StatusNotFound
	return a, err
}

// failed is what visitors see instead of a page that could not be made. It names
// an id under which the log has the cause.
func (p *Public) failed(lang page.Lang, cause error, path string) *entry {
	var raw [4]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
	id := hex.EncodeToString(raw[:])
	p.o.Logger.Error("page failed", "id", id, "path", path, "err", cause)
	e := &entry{status: http.StatusInternalServerError, contentType: "text/html; charset=utf-8", language: string(lang), policy: p.look.policy, cache: "no-store"}
	q := ask{lang: lang, path: "/", now: p.o.Now(), state: &state{}}
	f := p.frame(q, lang.T("public.500"))
	f.canonical, f.hidden, f.lasting = "", true, true
	a, err := p.html(q, "gagal", f, id)
	if err == nil {
		err = e.pack(a.body)
	}
	if err != nil {
		p.o.Logger.Error("error page failed", "id", id, "err", err)
		e.contentType, e.plain = "text/plain; charset=utf-8", []byte(lang.T("public.500")+" "+id+"\n")
	}
	return e
}

// watch sets the headers that all answers share and counts them.
func (p *Public) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", p.look.policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(self), microphone=()")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		out := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(out, r)
		p.metrics.answers.WithLabelValues(strconv.Itoa(out.status)).Inc()
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
