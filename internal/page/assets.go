package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed" // for the style sheet
	"encoding/hex"
	"fmt"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed tokens.css
var tokens []byte

//go:embed style.css
var style []byte

//go:embed icon.svg
var icon []byte

// Tokens returns the part of the style sheet that names colours and the font, for
// pages that bring a style of their own.
func Tokens() []byte { return tokens }

// Style returns the style sheet that the staff's pages and the gateway's share.
func Style() []byte { return slices.Concat(tokens, style) }

// Icon returns the SVG icon that browsers show in tabs.
func Icon() []byte { return icon }

// Assets serves files that never change under their name, from memory and
// compressed beforehand. Add everything before the first request.
type Assets struct {
	prefix string
	files  map[string]asset
}

type asset struct {
	contentType     string
	raw, gzip, brot []byte
}

// NewAssets serves below prefix, for example "/aset/".
func NewAssets(prefix string) *Assets { return &Assets{prefix: prefix, files: map[string]asset{}} }

// Add takes a file, puts a fingerprint of its content into its name, and
// returns its address: style.css becomes /aset/style-1f2e3d4c5b.css.
func (a *Assets) Add(name string, content []byte) (url string, err error) {
	sum := sha256.Sum256(content)
	ext := path.Ext(name)
	return a.AddAs(strings.TrimSuffix(name, ext)+"-"+hex.EncodeToString(sum[:5])+ext, content, nil, nil)
}

// AddAs takes a file whose name carries a fingerprint already, with its
// compressed forms if there are any; a missing gzip form is made here.
func (a *Assets) AddAs(name string, content, gzipped, brotli []byte) (url string, err error) {
	f := asset{contentType: mime.TypeByExtension(path.Ext(name)), raw: content, gzip: gzipped, brot: brotli}
	switch path.Ext(name) { // not what this machine's tables say
	case ".js":
		f.contentType = "text/javascript; charset=utf-8"
	case ".css":
		f.contentType = "text/css; charset=utf-8"
	case ".svg":
		f.contentType = "image/svg+xml"
	}
	if f.gzip == nil {
		if f.gzip, err = compress(content); err != nil {
			return "", fmt.Errorf("compress %s: %w", name, err)
		}
	}
	a.files[name] = f
	return a.prefix + name, nil
}

func compress(content []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// ServeHTTP answers with the smallest form that the browser takes.
func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := a.files[strings.TrimPrefix(r.URL.Path, a.prefix)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := f.raw
	accepted := Encodings(r.Header.Get("Accept-Encoding"))
	if f.brot != nil && accepted["br"] {
		body = f.brot
		h.Set("Content-Encoding", "br")
	} else if accepted["gzip"] {
		body = f.gzip
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the visitor went away: nothing to do
	}
}

// Encodings reads Accept-Encoding (RFC 9110 §12.5.3); "q=0" refuses.
func Encodings(header string) map[string]bool {
	out := map[string]bool{}
	for part := range strings.SplitSeq(header, ",") {
		name, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
		q := strings.ReplaceAll(strings.ToLower(parameters), " ", "")
		if q != "q=0" && !strings.HasPrefix(q, "q=0.000") && q != "q=0.0" {
			out[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	return out
}
