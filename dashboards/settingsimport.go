package dashboards

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
)

const importPath = "/dinas/atur/impor"

// upload reads the file of a form; wrong says in words why there is none, tooLarge
// if it is too large.
func upload(r *http.Request, l page.Lang, tooLarge page.Key) (file []byte, name, wrong string, err error) {
	if err := r.ParseMultipartForm(maxUpload); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, "", l.T(tooLarge), nil
		}
		return nil, "", "", problem{status: http.StatusBadRequest, cause: err}
	}
	f, head, err := r.FormFile("berkas")
	if errors.Is(err, http.ErrMissingFile) {
		return nil, "", l.T("import.no_file"), nil
	}
	if err != nil {
		return nil, "", "", problem{status: http.StatusBadRequest, cause: err}
	}
	file, err = io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, "", "", problem{status: http.StatusBadRequest, cause: err}
	}
	return file, head.Filename, "", nil
}

// maxUpload bounds a file of places that a page takes; the command line takes more.
const maxUpload = 2 << 20

type importBody struct {
	Settings []page.Link
	Notice   notice
	Action   string
	Wrong    string // of the file as a whole
	Result   *places.ImportResult
	Cells    []wrongCell
	File     string // to send again, base64
}

type wrongCell struct{ Place, Value, Words string }

// importPage is /dinas/atur/impor.
func (d *Dashboards) importPage(w http.ResponseWriter, r *http.Request) error {
	return d.sendImport(w, r, http.StatusOK, importBody{})
}

func (d *Dashboards) sendImport(w http.ResponseWriter, r *http.Request, status int, body importBody) error {
	lang, path := page.Split(r.URL.Path)
	body.Settings, body.Action, body.Notice = settingsNav(lang, "/dinas/atur/lokasi", userOf(r)), lang.Path(path), noticeOf(lang, r.URL.Query().Get("pesan"))
	return d.send(w, r, status, "import", page.View{Frame: d.frame(r, lang.T("import.title")), Body: body})
}

// importPlaces first only checks a file; sent once more, it takes it over.
func (d *Dashboards) importPlaces(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	file, _, wrong, err := upload(r, lang, "import.too_large")
	if err != nil {
		return err
	}
	again := r.PostForm.Get("isi") != "" // what was checked comes back as it was
	switch {
	case again:
		if file, err = base64.StdEncoding.DecodeString(r.PostForm.Get("isi")); err != nil {
			return problem{status: http.StatusBadRequest, cause: err}
		}
	case wrong != "":
		return d.sendImport(w, r, http.StatusUnprocessableEntity, importBody{Wrong: wrong})
	}
	result, err := d.o.Places.Import(r.Context(), file, !again)
	if err != nil {
		return d.sendImport(w, r, http.StatusUnprocessableEntity, importBody{Wrong: page.Plain(err.Error())})
	}
	body := importBody{Result: &result}
	for _, c := range result.Wrong {
		place := c.Sheet
		if c.Row > 0 {
			place += ", " + lang.T("import.row", lang.Number(float64(c.Row), 0))
		}
		if c.Column != "" {
			place += ", " + c.Column
		}
		if c.Ref != "" {
			place += " (" + c.Ref + ")"
		}
		body.Cells = append(body.Cells, wrongCell{page.Plain(place), page.Plain(c.Value), whyWrong(lang, c.Why, c.Column, c.Want)})
	}
	if again && result.OK() {
		if err := d.tell(r, "place.import", "", places.Summary(result.Changed)); err != nil {
			return err
		}
		return acted(w, r, lang.Path(path), "diimpor")
	}
	if result.OK() && len(result.Changed) > 0 {
		body.File = base64.StdEncoding.EncodeToString(file)
	}
	return d.sendImport(w, r, http.StatusOK, body)
}

// exportPlaces sends what is written down, as an import takes it.
func (d *Dashboards) exportPlaces(w http.ResponseWriter, r *http.Request) error {
	format, kind := places.FormatXLSX, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
	if r.URL.Query().Get("bentuk") == places.FormatZIP {
		format, kind = places.FormatZIP, "application/zip"
	}
	var b bytes.Buffer
	if err := d.o.Places.Export(&b, format); err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", `attachment; filename="tempat.`+format+`"`)
	return write(w, r, http.StatusOK, kind, b.Bytes())
}
