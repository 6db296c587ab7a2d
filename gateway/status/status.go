// Package status is the gateway's own page: it tells in a minute whether the
// gateway works, and if not, what to do next.
//
// It promises to need nothing but the gateway itself (no network, no script, no
// configuration), to be whole HTML in Bahasa Indonesia at / and English at /en/,
// and to show only what it is given: a Snapshot of plain values.
package status

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
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
	ByHand      bool      // only people can renew it
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

// refresh is how often a browser asks again by itself, in seconds.
const refresh = "10"

type handler struct {
	source Source
	log    *slog.Logger
	style  string
	icon   string
}

// New returns the handler of /, /en/, /healthz and the files that the page
// needs. metrics is served at /metrics.
func New(source Source, metrics http.Handler, log *slog.Logger) (http.Handler, error) {
	assets := page.NewAssets("/aset/")
	h := &handler{source: source, log: log}
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

func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	lang, _ := page.Split(r.URL.Path)
	s := h.source()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Refresh", refresh) // the page has no script
	if _, err := io.WriteString(w, s.write(lang, h.style, h.icon)); err != nil {
		h.log.Debug("the status page was not sent", "error", err)
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
