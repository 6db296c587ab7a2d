package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// The formats of answers.
const (
	typeJSON = "application/json"
	typeCSV  = "text/csv"
)

// slots is how many requests are worked on at once: a rush must leave the machine
// to the readings that arrive.
const slots = 4

// patience is how long a request waits for a slot.
const patience = 10 * time.Second

// door is what every request goes through: id, limit, format, and on the way out
// ETag, 304 and compression.
func (a *API) door(mux *http.ServeMux) http.Handler {
	free := make(chan struct{}, slots)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [4]byte
		_, _ = rand.Read(raw[:]) // never fails (crypto/rand)
		id := hex.EncodeToString(raw[:])
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, request{id, a.o.Logger}))
		out := &buffer{header: http.Header{}, status: http.StatusOK}
		out.header.Set("Access-Control-Allow-Origin", "*")
		out.header.Set("Access-Control-Expose-Headers", "ETag, Last-Modified, Link, Retry-After")
		func() {
			defer func() {
				if cause := recover(); cause != nil {
					a.o.Logger.Error("api panicked", "id", id, "path", r.URL.Path, "panic", cause, "stack", string(debug.Stack()))
					out.body.Reset()
					writeProblem(out, id, problem(http.StatusInternalServerError, "The server could not answer. Tell the operator this id."))
				}
			}()
			if r.Method == http.MethodOptions {
				out.header.Set("Access-Control-Allow-Methods", "GET, HEAD")
				out.header.Set("Access-Control-Allow-Headers", "Accept, If-None-Match")
				out.header.Set("Access-Control-Max-Age", "86400")
				out.status = http.StatusNoContent
				return
			}
			if p := a.refuse(mux, r, out); p != nil {
				writeProblem(out, id, p)
				return
			}
			wait, cancel := context.WithTimeout(r.Context(), patience)
			defer cancel()
			select {
			case free <- struct{}{}:
				defer func() { <-free }()
			case <-wait.Done():
				out.header.Set("Retry-After", "30")
				writeProblem(out, id, problem(http.StatusServiceUnavailable, "The server has more requests than it can answer. Try again in half a minute."))
				return
			}
			mux.ServeHTTP(out, r)
		}()
		out.send(w, r)
	})
}

// refuse says why a request is not worked on, or nil; it decides on the format.
func (a *API) refuse(mux *http.ServeMux, r *http.Request, out *buffer) *Problem {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		out.header.Set("Allow", "GET, HEAD, OPTIONS")
		return problem(http.StatusMethodNotAllowed, "This interface only reads: use GET.")
	}
	if _, pattern := mux.Handler(r); pattern == "" {
		return problem(http.StatusNotFound, "There is nothing at this address. The reference is at /api.")
	}
	if wait, ok := a.limits.take(a.o.ClientAddr(r)); !ok {
		seconds := int(math.Ceil(wait.Seconds()))
		out.header.Set("Retry-After", strconv.Itoa(seconds))
		return problem(http.StatusTooManyRequests, fmt.Sprintf("This address asks too often. Try again in %d s; %g requests a second are welcome, %d at once.", seconds, a.o.PerSecond, a.o.Burst))
	}
	if strings.HasPrefix(r.URL.Path, documentPath) {
		return nil
	}
	format := r.URL.Query().Get("format")
	switch format {
	case "json":
		r.Header.Set("Accept", typeJSON)
	case "csv":
		r.Header.Set("Accept", typeCSV)
	case "":
		accept, ok := negotiate(strings.Join(r.Header.Values("Accept"), ","))
		if !ok {
			return problem(http.StatusNotAcceptable, "Answers come as application/json or text/csv: ask for one of them with Accept, or with format=json or format=csv.")
		}
		r.Header.Set("Accept", accept)
	default:
		return problem(http.StatusBadRequest, "format is json or csv.")
	}
	return nil
}

// negotiate chooses a format by Accept (RFC 9110 §12.5.1): the highest quality,
// and of equal ones JSON. No header takes everything.
func negotiate(accept string) (string, bool) {
	if strings.TrimSpace(accept) == "" {
		return typeJSON, true
	}
	quality := func(format string) float64 {
		best, specific := 0.0, -1
		for part := range strings.SplitSeq(accept, ",") {
			name, parameters, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			rank := -1
			switch {
			case name == format:
				rank = 2
			case name == format[:strings.IndexByte(format, '/')]+"/*":
				rank = 1
			case name == "*/*":
				rank = 0
			}
			if rank < 0 || rank < specific {
				continue
			}
			q := 1.0
			for p := range strings.SplitSeq(parameters, ";") {
				if value, ok := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(p), " ", ""), "q="); ok {
					if parsed, err := strconv.ParseFloat(value, 64); err == nil {
						q = parsed
					}
				}
			}
			if rank > specific {
				best = 0
			}
			best, specific = max(best, q), rank
		}
		return best
	}
	j, c := quality(typeJSON), quality(typeCSV)
	switch {
	case j <= 0 && c <= 0:
		return "", false
	case c > j:
		return typeCSV, true
	}
	return typeJSON, true
}

// buffer holds an answer until it is known whether it must be sent. Answers are
// bounded by the page sizes.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }

// fresh is how long anybody may keep an answer without asking again.
const fresh = "public, max-age=30"

func (b *buffer) send(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, values := range b.header {
		h[name] = values
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if b.status == http.StatusNoContent {
		w.WriteHeader(b.status)
		return
	}
	body := b.body.Bytes()
	if b.status == http.StatusOK {
		sum := sha256.Sum256(body)
		tag := `W/"` + hex.EncodeToString(sum[:12]) + `"` // weak: the compressed form is other bytes
		h.Set("ETag", tag)
		if h.Get("Cache-Control") == "" {
			h.Set("Cache-Control", fresh)
		}
		// If-Modified-Since is not looked at: Last-Modified is of the data, and what else
		// an answer says (a class, a status, which sites are public) has no date.
		if matches(r.Header.Values("If-None-Match"), tag) {
			h.Add("Vary", "Accept, Accept-Encoding")
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	} else {
		h.Set("Cache-Control", "no-store")
		h.Del("Last-Modified")
	}
	h.Add("Vary", "Accept, Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && len(body) > 1024 {
		var z bytes.Buffer
		if zw, err := gzip.NewWriterLevel(&z, 5); err == nil {
			_, err = zw.Write(body)
			if closed := zw.Close(); err == nil && closed == nil {
				body = z.Bytes()
				h.Set("Content-Encoding", "gzip")
			}
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(b.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the caller went away: nothing to do
	}
}

// matches compares weakly (RFC 9110 §13.1.2).
func matches(headers []string, tag string) bool {
	for part := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}
