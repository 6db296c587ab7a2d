package dashboards

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Storage knows for how long raw readings stay in the database, and what has left
// it for the archive.
type Storage interface {
	Storage(ctx context.Context) (StorageState, error)
	// SetRetention sets the days of some kinds from a coming time on.
	SetRetention(ctx context.Context, since time.Time, days map[telemetry.Kind]int, by, reason string) error
}

// StorageState is how raw readings are kept.
type StorageState struct {
	Days    map[telemetry.Kind]int // by what is in force
	Files   int                    // of the archive
	Bytes   int64
	Success time.Time // when all that is old enough had last left; zero = not since the start
	Problem string    // what keeps the archive from its work
}

type storageView struct {
	StorageState
	Size   string
	Since  string
	Reason string
	Form   formView
}

func daysField(k telemetry.Kind) string { return "days_" + string(k) }

// storageOf is the part of /dinas/atur/sistem about raw readings; nil without a
// Storage.
func (d *Dashboards) storageOf(r *http.Request, wrong []string) (*storageView, error) {
	if d.o.Storage == nil {
		return nil, nil
	}
	lang, _ := page.Split(r.URL.Path)
	state, err := d.o.Storage.Storage(r.Context())
	if err != nil {
		return nil, err
	}
	v := &storageView{StorageState: state, Size: lang.Number(float64(state.Bytes)/1e6, 1), Reason: formText(r, "alasan")}
	if v.Since = formText(r, "since"); v.Since == "" {
		v.Since = d.o.Now().In(page.WIB).AddDate(0, 0, 1).Format(time.DateOnly) + "T00:00"
	}
	v.Form = formView{ID: "simpan", Action: lang.Path("/dinas/atur/sistem/retensi"), Submit: lang.T("storage.set"), Wrong: wrong}
	for _, k := range slices.Sorted(maps.Keys(state.Days)) {
		f := field{Name: daysField(k), Label: lang.T("storage.days", lang.Name("kind.", string(k))), Kind: "number", Value: strconv.Itoa(state.Days[k]), Required: true}
		if len(wrong) > 0 {
			f.Value = formText(r, f.Name)
		}
		v.Form.Fields = append(v.Form.Fields, f)
	}
	return v, nil
}

// setRetention lets another retention hold from a coming date on.
func (d *Dashboards) setRetention(w http.ResponseWriter, r *http.Request) error {
	if d.o.Storage == nil {
		return problem{status: http.StatusNotFound}
	}
	lang, _ := page.Split(r.URL.Path)
	state, err := d.o.Storage.Storage(r.Context())
	if err != nil {
		return err
	}
	var wrong []string
	days := map[telemetry.Kind]int{}
	for _, k := range slices.Sorted(maps.Keys(state.Days)) {
		n, err := strconv.Atoi(formText(r, daysField(k)))
		if err != nil {
			wrong = append(wrong, lang.T("rules.unreadable", lang.T("storage.days", lang.Name("kind.", string(k)))))
		} else if n != state.Days[k] {
			days[k] = n
		}
	}
	since, ok := formTime(formText(r, "since"))
	reason := formText(r, "alasan")
	switch {
	case !ok || since.Before(d.o.Now()):
		wrong = append(wrong, lang.T("storage.past"))
	case reason == "" || len(reason) > maxText:
		wrong = append(wrong, lang.T("rules.need_reason"))
	case len(days) == 0 && len(wrong) == 0:
		wrong = append(wrong, lang.T("storage.unchanged"))
	}
	if len(wrong) == 0 {
		if err := d.o.Storage.SetRetention(r.Context(), since, days, userOf(r).Name, reason); err != nil {
			wrong = append(wrong, page.Plain(err.Error()))
		}
	}
	if len(wrong) > 0 {
		a, err := d.o.Figures.Agency(r.Context())
		if err != nil {
			return err
		}
		return d.sendSystem(w, r, http.StatusUnprocessableEntity, a, nil, wrong)
	}
	if err := d.tell(r, "retention.set", "retention", since.Format(time.RFC3339)+": "+reason); err != nil {
		return err
	}
	return acted(w, r, lang.Path("/dinas/atur/sistem"), "tersimpan")
}
