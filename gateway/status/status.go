// Package status is the gateway's own page: it tells in a minute whether the
// gateway works, and if not, what to do next.
//
// It promises to need nothing but the gateway itself (no network, no script, no
// configuration), to be whole HTML in Bahasa Indonesia at / and English at /en/,
// and to show only what it is given: a Snapshot of plain values.
package status

import (
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Snapshot is what there is to say at one time.
type Snapshot struct {
	Now       time.Time // best guess while the clock is not known
	Name      string    // "group/id", "" before the claim
	Version   string
	Simulated bool
	Data      string // the data folder
	Config    string // the settings file, "" = none
	Running   time.Duration
	Live      bool // all loops make progress

	Steps   []Step // what is missing, most important first; empty: everything works
	Sensors []Sensor
	Health  *Sensor // the gateway's own, nil before the first
	Uplink  Uplink
	Spool   Spool
	Clock   Clock
}

// Step is one thing to mend. Key names its texts in this package's catalogue;
// Detail is foreign text shown beside them, such as an error.
type Step struct {
	Key     string
	Bad     bool // readings are missing or in danger because of it
	Subject string
	Detail  string
	Command string // what to type, "" = nothing
}

// Sensor is one device with its newest values.
type Sensor struct {
	Name, Part, Bus string
	Address         int
	Interval        time.Duration
	Report          time.Duration
	Sampled         time.Time           // of the newest attempt, zero = none yet
	Gap             telemetry.GapReason // why the newest attempt gave nothing
	Error           string              // and in the driver's words
	Values          []Value
	Samples, Failed uint64 // since start
}

// Value is the newest value of one quantity.
type Value struct {
	Quantity telemetry.Quantity
	Reading  telemetry.Reading
	At       time.Time // when Reading was sampled, zero = never
	Gap      telemetry.GapReason
}

// Uplink is the session with the server.
type Uplink struct {
	Server      string // "" = none known
	Connected   bool
	Since       time.Time
	Error       string
	Retry       time.Time
	LastAck     time.Time
	InFlight    int
	Certificate time.Time // end of its life, zero = none
}

// Spool is the journal on the card.
type Spool struct {
	Records, Unresolved  uint64
	Bytes, Quota         int64
	Oldest               time.Duration
	Dropped, Quarantined uint64
	NoClock              uint64
	Full                 bool
	Error                string
}

// Clock is what the gateway knows of UTC.
type Clock struct {
	Known   bool
	Quality telemetry.TimeQuality
}

// Source gives the present figures. It must not block.
type Source func() Snapshot

//go:embed pages/*.html
var pages embed.FS

// refresh is how often a browser asks again by itself, in seconds.
const refresh = "10"

type handler struct {
	source Source
	set    func() (*page.Set, error) // parsed at the first visit: most gateways never have one
	log    *slog.Logger
	style  string
	icon   string
}

// view is what the page's template gets as its body.
type view struct {
	Snapshot
	Working bool // nothing is missing
	Danger  bool // readings are missing or in danger
}

// New returns the handler of /, /en/, /healthz and the files that the page
// needs. metrics is served at /metrics.
func New(source Source, metrics http.Handler, log *slog.Logger) (http.Handler, error) {
	assets := page.NewAssets("/aset/")
	h := &handler{source: source, set: sync.OnceValues(parse), log: log}
	var err error
	if h.style, err = assets.Add("style.css", page.Style()); err != nil {
		return nil, err
	}
	if h.icon, err = assets.Add("icon.svg", page.Icon()); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.HandleFunc("GET /en/{$}", h.page)
	mux.HandleFunc("GET /healthz", h.health)
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /aset/", assets)
	return page.Harden(mux), nil
}

func parse() (*page.Set, error) {
	files, err := fs.Sub(pages, "pages")
	if err != nil {
		return nil, fmt.Errorf("open the status page: %w", err)
	}
	return page.NewSet(files, func(l page.Lang) template.FuncMap {
		return template.FuncMap{
			"say":   func(key string, args ...any) string { return say(l, key, args...) },
			"bytes": func(n int64) string { return megabytes(l, n) },
			"key":   func(s string) page.Key { return page.Key(s) },
			"list":  func(items ...any) []any { return items },
		}
	})
}

func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	lang, _ := page.Split(r.URL.Path)
	s := h.source()
	v := view{Snapshot: s, Working: len(s.Steps) == 0}
	for _, step := range s.Steps {
		v.Danger = v.Danger || step.Bad
	}
	title := say(lang, "title")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Refresh", refresh) // the page has no script
	set, err := h.set()
	if err != nil {
		h.log.Error("the status page could not be made", "error", err)
		http.Error(w, "the status page could not be made; see the log", http.StatusInternalServerError)
		return
	}
	err = set.Page(w, "status", page.View{
		Frame: page.Frame{
			Lang: lang, Title: title, Brand: "Pantau", Owner: s.Name, Home: lang.Path("/"), Styles: []string{h.style}, Icon: h.icon,
			Alternates: page.Alternates("/", ""), Simulated: s.Simulated, Private: true, Version: s.Version,
		},
		Body: v,
	})
	if err != nil {
		h.log.Error("the status page could not be shown", "error", err)
		http.Error(w, "the status page could not be shown; see the log", http.StatusInternalServerError)
	}
}

// Health is the body of /healthz. Status is "ok", "degraded" (it runs, and what
// is missing is listed) or "stuck" (a loop makes no progress; answered as 503).
type Health struct {
	Status   string   `json:"status"`
	Node     string   `json:"node,omitempty"`
	Problems []string `json:"problems,omitempty"` // in English, most important first
}

func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	s := h.source()
	out := Health{Status: "ok", Node: s.Name}
	for _, step := range s.Steps {
		out.Status = "degraded"
		out.Problems = append(out.Problems, step.English())
	}
	code := http.StatusOK
	if !s.Live {
		out.Status, code = "stuck", http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.log.Debug("health was not sent", "error", err)
	}
}

// English writes a step as one line of a log.
func (s Step) English() string {
	line := say(page.English, "step."+s.Key, s.Subject)
	if s.Detail != "" {
		line += ": " + page.Plain(s.Detail)
	}
	if s.Command != "" {
		line += " (" + s.Command + ")"
	}
	return line
}
