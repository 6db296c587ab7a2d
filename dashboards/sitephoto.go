package dashboards

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/pantau-id/pantau/dashboards/photo"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/page"
)

// sitePhoto is /dinas/lokasi/{code}/foto.
func (d *Dashboards) sitePhoto(w http.ResponseWriter, r *http.Request) error {
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok || site.Photo == "" {
		return problem{status: http.StatusNotFound}
	}
	file, ok := d.o.Files.Find(report.PhotoName(site.Photo))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	content, err := d.o.Files.Open(file)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(content)
	if err = errors.Join(err, content.Close()); err != nil {
		return fmt.Errorf("read the photo of %s: %w", site.Code, err)
	}
	w.Header().Set("Content-Type", "image/jpeg")
	_, _ = w.Write(body) // the visitor went away: nothing to do
	return nil
}

// changePhoto takes a new photo of a site, or takes its photo off the pages. What
// it showed stays among the kept files, as the audit log names it.
func (d *Dashboards) changePhoto(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	file, _, wrong, err := upload(r, lang, "photo.too_large")
	if err != nil {
		return err
	}
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	back, hash := siteURL(lang, site.Code), ""
	if r.PostForm.Get("hapus") == "" {
		if wrong != "" {
			return d.refuseForm(w, r, back, refusal{text: "photo.refused", detail: wrong})
		}
		if hash, err = d.keepPhoto(site.Code, file); errors.Is(err, photo.ErrFormat) || errors.Is(err, photo.ErrLarge) {
			return d.refuseForm(w, r, back, refusal{"photo.refused", page.Plain(err.Error())})
		} else if err != nil {
			return err
		}
	}
	site.Photo = hash
	if err := d.o.Places.PutSite(r.Context(), site); err != nil {
		return err
	}
	action, told := "photo.change", "foto-tersimpan"
	if hash == "" {
		action, told = "photo.remove", "foto-dihapus"
	}
	if err := d.tell(r, action, site.Code, hash); err != nil {
		return err
	}
	return acted(w, r, back, told)
}

// keepPhoto keeps what is seen of a file, and returns its hash. One picture is
// decoded at a time: it takes a hundred times the file's memory.
func (d *Dashboards) keepPhoto(site string, file []byte) (hash string, err error) {
	d.photos.Lock()
	defer d.photos.Unlock()
	picture, err := photo.Clean(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(picture)
	hash = hex.EncodeToString(sum[:])
	_, err = d.o.Files.Keep(report.PhotoName(hash), "", []string{site}, func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(picture))
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		err = nil // it was taken before
	}
	return hash, err
}
