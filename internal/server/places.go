package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// registrySites gives the registry its places: the registry is open before them,
// and asks only when something changes.
type registrySites struct{ s *Server }

func (r registrySites) Site(code string) (places.Site, bool) { return r.s.places.Site(code) }

func (r registrySites) NeedSite(ctx context.Context, code, district string, simulated bool) error {
	return r.s.places.NeedSite(ctx, code, district, simulated)
}

func (s *Server) openPlaces(ctx context.Context) error {
	kv, err := s.journal.KV(ctx, "places", journal.KVOptions{})
	if err != nil {
		return err
	}
	older, err := s.journal.KV(ctx, "registry", journal.KVOptions{})
	if err != nil {
		return err
	}
	s.places, err = places.Open(ctx, places.Options{
		KV: kv, Registry: s.registry, Logger: s.log.With("room", "places"), Changed: s.moved.add,
		Older: func(ctx context.Context) (map[string][]byte, error) { return older.List(ctx, "site/") },
	})
	if err != nil {
		return err
	}
	s.named.Store(s.places)
	s.closers.Add("places", s.places.Close)
	return nil
}

// siteNamed passes on that a gateway's entry names another site. While the
// server starts nobody has asked for places yet.
func (s *Server) siteNamed(n telemetry.Node, before, now string) {
	if p := s.named.Load(); p != nil {
		p.Named(n, before, now)
	}
}

// moves passes on which time of which site must be computed anew, and keeps it
// until there is somebody to tell.
type moves struct {
	mu   sync.Mutex
	held []places.Span
	tell func(site string, from, to time.Time)
}

func (m *moves) add(site string, from, to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tell == nil {
		m.held = append(m.held, places.Span{Site: site, From: from, To: to})
		return
	}
	m.tell(site, from, to)
}

// follow tells f what is held and what will come. f must not block.
func (m *moves) follow(f func(site string, from, to time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.held {
		f(h.Site, h.From, h.To)
	}
	m.held, m.tell = nil, f
}

// adminPlaces answers `pantau place`.
func (s *Server) adminPlaces(mux *http.ServeMux) {
	mux.Handle("GET /places", answer(func(*http.Request) (Places, error) {
		return Places{Sites: s.places.Sites(), Sensors: s.places.Sensors(), Deployments: s.places.Written("")}, nil
	}))
	mux.Handle("GET /places/export", answer(s.exportPlaces))
	mux.Handle("POST /places/check", answer(func(r *http.Request) (places.ImportResult, error) { return s.importPlaces(r, true) }))
	mux.Handle("GET /maps", answer(s.listMaps))
	mux.Handle("POST /maps/check", answer(func(r *http.Request) (places.MapResult, error) { return s.importMap(r, true) }))
	mux.Handle("POST /maps/import", changing(s, func(r *http.Request) (places.MapResult, error) { return s.importMap(r, false) }))
	mux.Handle("POST /places/import", changing(s, func(r *http.Request) (places.ImportResult, error) { return s.importPlaces(r, false) }))
}

func (s *Server) importPlaces(r *http.Request, dry bool) (places.ImportResult, error) {
	file, err := io.ReadAll(io.LimitReader(r.Body, places.MaxImport+1))
	if err != nil {
		return places.ImportResult{}, fmt.Errorf("read the file: %w", err)
	}
	result, err := s.places.Import(r.Context(), file, dry)
	if err == nil && !dry && len(result.Changed) > 0 {
		err = s.tell(r, "place.import", "", places.Summary(result.Changed))
	}
	return result, err
}

func (s *Server) importMap(r *http.Request, dry bool) (places.MapResult, error) {
	file, err := io.ReadAll(io.LimitReader(r.Body, places.MaxMap+1))
	if err != nil {
		return places.MapResult{}, fmt.Errorf("read the file: %w", err)
	}
	q := r.URL.Query()
	result, err := s.places.ImportMap(r.Context(), file, places.MapOptions{Source: q.Get("source"), Code: q.Get("code"), Name: q.Get("name"), Dry: dry})
	if err == nil && !dry {
		var levels []string
		for _, l := range result.Levels {
			levels = append(levels, fmt.Sprintf("%d %ss", l.Areas, l.Level))
		}
		err = s.tell(r, "map.import", q.Get("source"), strings.Join(levels, ", "))
	}
	return result, err
}

func (s *Server) listMaps(*http.Request) ([]Map, error) {
	out := []Map{}
	for _, l := range places.Levels() {
		if b := s.places.Boundaries(l); b != nil {
			out = append(out, Map{Level: l, Areas: len(b.Areas), Source: b.Source, Imported: b.Imported, Hash: b.Hash})
		}
	}
	return out, nil
}

// Map is an imported map.
type Map struct {
	Level    places.Level `json:"level"`
	Areas    int          `json:"areas"`
	Source   string       `json:"source"`
	Imported time.Time    `json:"imported"`
	Hash     string       `json:"hash"`
}

func (s *Server) exportPlaces(r *http.Request) (File, error) {
	var b bytes.Buffer
	err := s.places.Export(&b, r.URL.Query().Get("format"))
	return File{b.Bytes()}, err
}

// File is an exported file.
type File struct {
	Data []byte `json:"data"`
}

// Places is everything that is written down of places.
type Places struct {
	Sites       []places.Site       `json:"sites"`
	Sensors     []places.Sensor     `json:"sensors"`
	Deployments []places.Deployment `json:"deployments"`
}
