package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/category"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

// Handler serves the files that everybody may have: bulletins as PDF below
// /buletin, open data below /data, photos of public sites below /foto. It sets no
// cookie and reads none.
type Handler struct {
	Book     Book
	Places   Places
	Open     *OpenData
	Files    *Files
	BaseURL  string
	District func(code string) string
	Logger   *slog.Logger

	Categories category.Settings // colours and advice in bulletins
}

var _ http.Handler = (*Handler)(nil)

var (
	pdfPath   = regexp.MustCompile(`^/buletin/(\d{4}-\d{2}-\d{2}-\d{4})(?:-r(\d{1,4}))?\.pdf$`)
	photoPath = regexp.MustCompile(`^/foto/([0-9a-f]{64})\.jpg$`)
	dataPath  = regexp.MustCompile(`^/data/([a-z]+)/(\d{4}-\d{2}-\d{2})(?:-r(\d{1,4}))?\.csv\.gz$`)
)

// Addresses of what lies beside the daily files.
const (
	dictionaryPath = "/data/kamus.csv"
	licencePath    = "/data/lisensi.txt"
	sumsPath       = "/data/SHA256SUMS"
)

// Serves reports whether an address is one of the handler's: the pages around it
// have all others.
func (h *Handler) Serves(path string) bool {
	_, path = page.Split(path)
	return pdfPath.MatchString(path) || dataPath.MatchString(path) || photoPath.MatchString(path) || path == dictionaryPath || path == licencePath || path == sumsPath
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "GET", http.StatusMethodNotAllowed)
		return
	}
	if err := h.serve(w, r); err != nil {
		status := http.StatusInternalServerError
		switch {
		case errors.Is(err, fs.ErrNotExist):
			status = http.StatusNotFound
		case errors.Is(err, errWithdrawn):
			status = http.StatusGone
		case r.Context().Err() != nil:
			return
		default:
			h.Logger.Error("a file could not be served", "path", r.URL.Path, "err", err)
		}
		http.Error(w, http.StatusText(status), status)
	}
}

// errWithdrawn is a file that holds a site which is not public any more: a newer
// revision has the rest.
var errWithdrawn = errors.New("the file was withdrawn")

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	_, path := page.Split(r.URL.Path)
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Access-Control-Allow-Origin", "*")
	switch path {
	case dictionaryPath:
		return h.text(w, r, "text/csv; charset=utf-8", dictionary().CSV)
	case licencePath:
		return h.text(w, r, "text/plain; charset=utf-8", h.licence)
	case sumsPath:
		return h.text(w, r, "text/plain; charset=utf-8", h.sums)
	}
	if m := pdfPath.FindStringSubmatch(path); m != nil {
		revision := m[2]
		if revision == "" {
			revision = r.URL.Query().Get("revisi")
		}
		n, err := strconv.Atoi(revision)
		if err != nil || n < 0 {
			n = -1
		}
		f, err := h.PDF(r.Context(), m[1], n)
		if err != nil {
			return err
		}
		return h.file(w, r, f, "application/pdf", fmt.Sprintf(`inline; filename="buletin-%s.pdf"`, m[1]), n >= 0)
	}
	if m := dataPath.FindStringSubmatch(path); m != nil {
		f, err := h.daily(m[1], m[2], m[3])
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(strings.TrimPrefix(f.Name, "data/"), "/", "-")
		return h.file(w, r, f, "application/gzip", fmt.Sprintf(`attachment; filename="pantau-%s"`, name), false)
	}
	if m := photoPath.FindStringSubmatch(path); m != nil {
		f, ok := h.Files.Find(PhotoName(m[1]))
		if !ok || !slices.ContainsFunc(h.Places.Sites(), func(s places.Site) bool { return s.Public && s.Photo == m[1] }) {
			return fs.ErrNotExist
		}
		return h.file(w, r, f, "image/jpeg", "inline", true)
	}
	return fs.ErrNotExist
}

// PhotoName is what the photo of a site (places.Site.Photo) is called among the
// kept files.
func PhotoName(hash string) string { return "foto/" + hash + ".jpg" }

func (h *Handler) daily(word, date, revision string) (File, error) {
	day, err := time.ParseInLocation(time.DateOnly, date, figures.WIB)
	if err != nil {
		return File{}, fs.ErrNotExist
	}
	f, _, ok := h.Open.Newest(word, day)
	if ok && revision != "" {
		f, ok = h.Files.Find(fmt.Sprintf("data/%s/%s-r%s.csv.gz", word, date, revision))
	}
	switch {
	case !ok:
		return f, fs.ErrNotExist
	case !h.public(f):
		return f, errWithdrawn
	}
	return f, nil
}

// public reports whether all sites in a file still are.
func (h *Handler) public(f File) bool {
	return !slices.ContainsFunc(f.Sites, func(code string) bool {
		s, ok := h.Places.Site(code)
		return !ok || !s.Public
	})
}

// file sends a kept file; lasting = its address never means other bytes.
func (h *Handler) file(w http.ResponseWriter, r *http.Request, f File, contentType, disposition string, lasting bool) error {
	content, err := h.Files.Open(f)
	if err != nil {
		return err
	}
	defer content.Close()
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Disposition", disposition)
	header.Set("ETag", `"`+f.SHA256+`"`)
	header.Set("Repr-Digest", "sha-256=:"+digestField(f.SHA256)+":")
	header.Set("Cache-Control", "public, max-age=300")
	if lasting {
		header.Set("Cache-Control", "public, max-age=86400")
	}
	http.ServeContent(w, r, "", f.Made, content)
	return nil
}

func (h *Handler) text(w http.ResponseWriter, r *http.Request, contentType string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("ETag", `"`+sha(b.Bytes())+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.Bytes()))
	return nil
}

func dictionary() Table {
	return Table{Columns: []string{"column", "type", "keterangan", "description"}, Rows: func(yield func([]any, error) bool) {
		for _, c := range Dictionary() {
			if !yield([]any{c.Name, c.Type, c.ID, c.EN}, nil) {
				return
			}
		}
	}}
}

func (h *Handler) licence(w io.Writer) error {
	l := h.Open.Licence
	_, err := fmt.Fprintf(w, "%s\n%s\n\n%s\n%s\n", l.Name, l.URL, page.Indonesian.T("data.licence", l.Name), page.English.T("data.licence", l.Name))
	return err
}

// sums lists the SHA-256 of every file that is served, as sha256sum -c reads it.
func (h *Handler) sums(w io.Writer) error {
	for _, f := range h.Files.List("data/") {
		if !h.public(f) {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", f.SHA256, strings.TrimPrefix(f.Name, "data/")); err != nil {
			return err
		}
	}
	return nil
}

// PDF returns a bulletin's file, revision -1 = the newest. It is made when it is
// first asked for and kept: what was handed out once stays the same, whatever a
// station is called later.
func (h *Handler) PDF(ctx context.Context, id string, revision int) (File, error) {
	b, err := h.Book.Bulletin(ctx, id, revision)
	if err != nil {
		return File{}, err
	}
	if b.State != figures.Published {
		return File{}, fmt.Errorf("bulletin %s is a draft: %w", id, fs.ErrNotExist)
	}
	name := fmt.Sprintf("buletin/%s-r%d.pdf", b.ID, b.Revision)
	if f, ok := h.Files.Find(name); ok {
		return f, nil
	}
	body, err := h.letter(b).PDF()
	if err != nil {
		return File{}, err
	}
	f, err := h.Files.Keep(name, b.Hash, nil, func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
	if errors.Is(err, fs.ErrExist) { // somebody asked at the same time
		if f, ok := h.Files.Find(name); ok {
			return f, nil
		}
	}
	return f, err
}

// letter puts a bulletin's names beside it; a site that is not public leaves.
func (h *Handler) letter(b figures.Bulletin) Letter {
	l := Letter{Bulletin: b, Sites: map[string]places.Site{}, District: h.District, BaseURL: h.BaseURL, Categories: h.Categories}
	keep := func(code string) bool {
		s, ok := h.Places.Site(code)
		if ok && s.Public {
			l.Sites[code] = s
		}
		return ok && s.Public
	}
	l.Bulletin.Figures, l.Bulletin.Changes = nil, nil
	for _, f := range b.Figures {
		if keep(f.Site) {
			l.Bulletin.Figures = append(l.Bulletin.Figures, f)
		}
	}
	for _, c := range b.Changes {
		if keep(c.Site) {
			l.Bulletin.Changes = append(l.Bulletin.Changes, c)
		}
	}
	return l
}
