package public

import (
	"bytes"
	"compress/gzip"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/andybalholm/brotli"

	"github.com/pantau-id/pantau/internal/page"
)

// version says of what state of things a page tells.
type version struct {
	changed uint64
	hour    int64 // ages and "no longer" come with the hour, without any change
}

// entry is one answer, ready to be written.
type entry struct {
	key         string
	version     version
	made        time.Time
	status      int
	contentType string
	language    string
	policy      string // Content-Security-Policy
	location    string // of a redirect
	cache       string // Cache-Control
	etag        string
	plain       []byte
	gzip, br    []byte // nil = not worth it
}

func (e *entry) bytes() int { return len(e.plain) + len(e.gzip) + len(e.br) + len(e.key) + 512 }

// Compressors are large: they are used again.
var (
	gzips = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestCompression)
		if err != nil {
			panic(err) // a constant level
		}
		return w
	}}
	brotlis = sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, 7) }}
)

// pack compresses the body and gives it its tag.
func (e *entry) pack(body []byte) error {
	e.plain = body
	sum := sha256.Sum256(body)
	e.etag = `W/"` + hex.EncodeToString(sum[:8]) + `"` // weak: the encodings share it
	if len(body) < 512 || e.contentType == "image/png" {
		return nil
	}
	var z, b bytes.Buffer
	g, br := gzips.Get().(*gzip.Writer), brotlis.Get().(*brotli.Writer)
	defer gzips.Put(g)
	defer brotlis.Put(br)
	g.Reset(&z)
	br.Reset(&b)
	for _, w := range []io.WriteCloser{g, br} {
		_, err := w.Write(body)
		if err = errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("compress a page: %w", err)
		}
	}
	e.gzip = z.Bytes()
	e.br = b.Bytes()
	return nil
}

// write answers with the smallest form that the browser takes, or says that it
// has the newest.
func (e *entry) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", e.policy)
	if e.cache != "" {
		h.Set("Cache-Control", e.cache)
	}
	if e.location != "" {
		h.Set("Location", e.location)
		w.WriteHeader(e.status)
		return
	}
	h.Set("Content-Type", e.contentType)
	if e.language != "" {
		h.Set("Content-Language", e.language)
	}
	if e.gzip != nil {
		h.Set("Vary", "Accept-Encoding")
	}
	if e.status == http.StatusOK {
		h.Set("ETag", e.etag)
		if tags := r.Header.Get("If-None-Match"); tags != "" && strings.Contains(tags, e.etag[2:]) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	body := e.plain
	if e.gzip != nil {
		accepted := page.Encodings(r.Header.Get("Accept-Encoding"))
		switch {
		case accepted["br"]:
			body = e.br
			h.Set("Content-Encoding", "br")
		case accepted["gzip"]:
			body = e.gzip
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the visitor went away: nothing to do
	}
}

// memory keeps the answers that were asked for last, within a number of bytes.
type memory struct {
	mu     sync.Mutex
	most   int
	used   int
	byKey  map[string]*list.Element
	recent *list.List // of *entry, the newest first
}

func newMemory(most int) *memory {
	return &memory{most: most, byKey: map[string]*list.Element{}, recent: list.New()}
}

func (m *memory) get(key string) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, ok := m.byKey[key]
	if !ok {
		return nil
	}
	m.recent.MoveToFront(at)
	e, _ := at.Value.(*entry)
	return e
}

// put keeps an answer, but for one that would push out a large part of the others:
// a year's hours.
func (m *memory) put(e *entry) {
	if e.bytes() > m.most/32 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if at, ok := m.byKey[e.key]; ok {
		m.drop(at)
	}
	m.byKey[e.key] = m.recent.PushFront(e)
	m.used += e.bytes()
	for m.used > m.most && m.recent.Len() > 1 {
		m.drop(m.recent.Back())
	}
}

func (m *memory) drop(at *list.Element) {
	if e, ok := m.recent.Remove(at).(*entry); ok {
		delete(m.byKey, e.key)
		m.used -= e.bytes()
	}
}

func (m *memory) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}
