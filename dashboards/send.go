package dashboards

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/internal/page"
)

// send writes a whole page, compressed if the browser takes it. The pages hold
// no secret beside what the visitor typed, so compression gives nothing away.
func (d *Dashboards) send(w http.ResponseWriter, r *http.Request, status int, name string, v page.View) error {
	var b bytes.Buffer
	if err := d.set.Page(&b, name, v); err != nil {
		return err
	}
	w.Header().Set("Content-Language", string(v.Lang))
	return write(w, r, status, "text/html; charset=utf-8", b.Bytes())
}

// part writes a fragment of a page.
func (d *Dashboards) part(w http.ResponseWriter, r *http.Request, lang page.Lang, name, part string, data any) error {
	var b bytes.Buffer
	if err := d.set.Part(&b, lang, name, part, data); err != nil {
		return err
	}
	return write(w, r, http.StatusOK, "text/html; charset=utf-8", b.Bytes())
}

func write(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Add("Vary", "Accept-Encoding")
	if len(body) > 1024 && acceptsGzip(r) {
		var z bytes.Buffer
		zw, err := gzip.NewWriterLevel(&z, 5)
		if err == nil {
			_, err = zw.Write(body)
		}
		if err == nil {
			err = zw.Close()
		}
		if err != nil {
			return fmt.Errorf("compress a page: %w", err)
		}
		h.Set("Content-Encoding", "gzip")
		body = z.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the visitor went away: nothing to do
	}
	return nil
}

func acceptsGzip(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
}

// query writes one parameter of an address.
func query(name, value string) string { return url.Values{name: {value}}.Encode() }

// local returns an address of this server if that is what to is, else other: a
// form's "continue at" must not lead to another site.
func local(to, other string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return other
	}
	return to
}
