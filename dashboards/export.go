package dashboards

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// longest is the longest span of one export.
var longest = map[report.Resolution]time.Duration{
	report.Readings: 31 * 24 * time.Hour, report.Hourly: 2 * 366 * 24 * time.Hour, report.Daily: 20 * 366 * 24 * time.Hour,
}

// export sends a site's data of some days as a file: of the kinds that its reader
// may see, and nothing else.
func (d *Dashboards) export(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok || d.o.Archive.Book == nil {
		return problem{status: http.StatusNotFound}
	}
	format, resolution := report.Format(q.Get("bentuk")), report.Resolution(q.Get("rinci"))
	from, errFrom := time.ParseInLocation(time.DateOnly, q.Get("dari"), figures.WIB)
	last, errTo := time.ParseInLocation(time.DateOnly, q.Get("sampai"), figures.WIB)
	to := last.AddDate(0, 0, 1)
	most, known := longest[resolution]
	if errFrom != nil || errTo != nil || format.ContentType() == "" || !known || !from.Before(to) || to.Sub(from) > most {
		return problem{status: http.StatusBadRequest, text: "export.wrong"}
	}
	u := userOf(r)
	kinds := slices.DeleteFunc(telemetry.Kinds(), func(k telemetry.Kind) bool { return !u.May(account.Viewer, site.District, k) })
	name := fmt.Sprintf("pantau-%s-%s-%s.%s", asciiName(site.Code), from.Format("20060102"), last.Format("20060102"), format)
	w.Header().Set("Content-Type", format.ContentType())
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	err := d.o.Archive.Export(r.Context(), w, format, report.Extract{Site: site, Kinds: kinds, Resolution: resolution, From: from, To: to})
	if err != nil && r.Context().Err() == nil {
		// Bytes may be out: the file must not look whole.
		d.o.Logger.Error("export failed", "id", requestID(r), "site", page.Plain(site.Code), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// asciiName leaves of a code what every file system takes.
func asciiName(s string) string {
	out := []byte(s)
	for i, c := range out {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			out[i] = '_'
		}
	}
	return string(out)
}
