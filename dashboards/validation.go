package dashboards

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// closedMonths is up to how many months back the page of validation also shows those
// that are closed; open ones it always shows, and of one station alone it shows all.
const closedMonths = 6

type validationBody struct {
	Notice notice
	Rows   []validationRow
	Site   string // only this one; "" = all
	All    string
	Open   int
	Closed int
	Empty  bool
	Pages  pagesView
}

// pagesView leads through a list that is cut into pages.
type pagesView struct {
	Page, Pages    int
	Previous, Next string
}

// sitesPerPage is how many stations one page of validation lists.
const sitesPerPage = 20

// cut finds the part of a list of n that the address asks for with hal=.
func cut(r *http.Request, here string, n, size int) (from, to int, v pagesView) {
	v.Pages = max(1, (n+size-1)/size)
	v.Page, _ = strconv.Atoi(r.URL.Query().Get("hal"))
	v.Page = min(max(v.Page, 1), v.Pages)
	at := func(n int) string {
		q := r.URL.Query()
		q.Set("hal", strconv.Itoa(n))
		q.Del("pesan")
		return here + "?" + q.Encode()
	}
	if v.Page > 1 {
		v.Previous = at(v.Page - 1)
	}
	if v.Page < v.Pages {
		v.Next = at(v.Page + 1)
	}
	return (v.Page - 1) * size, min(v.Page*size, n), v
}

// validationRow is one station's months.
type validationRow struct {
	Code, Key, Name, URL, District string
	Cells                          []monthCell
}

// monthCell is one month of one station.
type monthCell struct {
	Month   string // 2026-11
	Words   string
	Closed  bool
	By      string
	At      time.Time
	Note    string
	Judged  int // days that can be judged, of Days
	Days    int
	Waiting int    // hours for which something came after it was closed
	Action  string // where to close or open it; "" = the visitor may not
	Review  string // the station's charts of that month
}

// pastMonths are the months that have ended, the newest first.
func pastMonths(now time.Time, n int) []time.Time {
	first := now.In(page.WIB)
	first = time.Date(first.Year(), first.Month(), 1, 0, 0, 0, 0, page.WIB)
	var out []time.Time
	for i := range n {
		out = append(out, first.AddDate(0, -i-1, 0))
	}
	return out
}

// siteMonth is a month of a site that has ended.
type siteMonth struct {
	begin time.Time
	name  string        // 2026-11
	set   figures.Month // what somebody said of it last
}

func (m siteMonth) closed() bool { return m.set.Status == figures.Validated }

// monthsOf lists the months of a site that have ended since its first hour, the newest
// first: each is open until somebody closes it.
func (d *Dashboards) monthsOf(ctx context.Context, s places.Site, now time.Time) ([]siteMonth, error) {
	first, err := d.o.Figures.First(ctx, s.Code)
	if err != nil || first.IsZero() {
		return nil, err
	}
	set, err := d.o.Figures.Months(ctx, s.Code)
	if err != nil {
		return nil, err
	}
	var out []siteMonth
	for n := 1; ; n++ {
		m := siteMonth{begin: pastMonths(now, 1)[0].AddDate(0, 1-n, 0)}
		if !m.begin.AddDate(0, 1, 0).After(first.Add(-time.Hour)) {
			return out, nil
		}
		if !s.Closed.IsZero() && !m.begin.Before(s.Closed) {
			continue
		}
		m.name = m.begin.Format("2006-01")
		if i := slices.IndexFunc(set, func(x figures.Month) bool { return x.Month == m.name }); i >= 0 {
			m.set = set[i]
		}
		out = append(out, m)
	}
}

// airSites are the sites whose air somebody may look after, with figures.
func (d *Dashboards) airSites(r *http.Request, least account.Role) ([]places.Site, error) {
	u := userOf(r)
	var out []places.Site
	for _, s := range d.o.Places.Sites() {
		if !mayAir(u, least, s) {
			continue
		}
		quantities, err := d.o.Figures.Quantities(r.Context(), s.Code)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(quantities, func(q string) bool { _, ok := figures.ParameterOf(q); return ok }) {
			out = append(out, s)
		}
	}
	return out, nil
}

// validation is /dinas/validasi.
func (d *Dashboards) validation(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	now, only := d.o.Now(), r.URL.Query().Get("lokasi")
	sites, err := d.airSites(r, account.Validator)
	if err != nil {
		return err
	}
	body := validationBody{Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Site: only, All: lang.Path(path), Empty: len(sites) == 0}
	if only != "" {
		sites = slices.DeleteFunc(sites, func(s places.Site) bool { return s.Code != only })
	}
	months := make([][]siteMonth, len(sites))
	for i, s := range sites {
		if months[i], err = d.monthsOf(r.Context(), s, now); err != nil {
			return err
		}
		for _, m := range months[i] {
			if m.closed() {
				body.Closed++
			} else {
				body.Open++
			}
		}
	}
	var from, to int
	from, to, body.Pages = cut(r, lang.Path(path), len(sites), sitesPerPage)
	for i, s := range sites[from:to] {
		row := validationRow{Code: s.Code, Key: keyOf("site", s.Code), Name: s.Name, URL: siteURL(lang, s.Code), District: districtName(s.District)}
		for n, m := range months[from+i] {
			if m.closed() && n >= closedMonths && only == "" {
				continue
			}
			end := m.begin.AddDate(0, 1, 0)
			days, err := d.o.Figures.Span(r.Context(), figures.Daily, s.Code, m.begin, end)
			if err != nil {
				return err
			}
			judged := 0
			for _, f := range days {
				if f.OK {
					judged++
				}
			}
			cell := monthCell{
				Judged: judged, Days: len(days), Closed: m.closed(), By: m.set.By, At: m.set.At, Note: m.set.Note,
				Month: m.name, Words: lang.Month(m.begin), Action: siteURL(lang, s.Code) + "/bulan",
				Review: siteURL(lang, s.Code) + "?rentang=30h&" + query("sampai", end.AddDate(0, 0, -1).Format(time.DateOnly)) + "#grafik",
			}
			if cell.Closed {
				waiting, err := d.o.Figures.Waiting(r.Context(), s.Code, cell.Month)
				if err != nil {
					return err
				}
				cell.Waiting = len(waiting)
			}
			row.Cells = append(row.Cells, cell)
		}
		body.Rows = append(body.Rows, row)
	}
	frame := d.frame(r, lang.T("validation.title"))
	frame.Simulated = slices.ContainsFunc(sites, func(s places.Site) bool { return s.Simulated })
	return d.send(w, r, http.StatusOK, "validation", page.View{Frame: frame, Body: body})
}

// backlog counts the months before this one that nobody has closed yet, of the
// sites that the visitor may validate.
func (d *Dashboards) backlog(r *http.Request, in func(places.Site) bool) (open int, err error) {
	sites, err := d.airSites(r, account.Validator)
	if err != nil {
		return 0, err
	}
	for _, s := range sites {
		if in != nil && !in(s) {
			continue
		}
		months, err := d.monthsOf(r.Context(), s, d.o.Now())
		if err != nil {
			return 0, err
		}
		for _, m := range months {
			if !m.closed() {
				open++
			}
		}
	}
	return open, nil
}

// formTime reads what a date and time field sent, in WIB.
func formTime(s string) (time.Time, bool) {
	t, err := time.ParseInLocation(localForm, s, page.WIB)
	return t, err == nil && t.Year() > 2000 && t.Year() < 2100
}

// maxText bounds a note, in bytes.
const maxText = 2000

func formText(r *http.Request, name string) string {
	return strings.TrimSpace(strings.ToValidUTF8(r.PostForm.Get(name), "\uFFFD"))
}

// refusal is an answer to a form that cannot be taken: what is wrong, in words.
type refusal struct {
	text   page.Key
	detail string // technical, "" = none
}

func (e refusal) Error() string { return string(e.text) + ": " + e.detail }

type refusedBody struct{ Text, Detail, Back string }

// refuseForm tells what is wrong with a form, and the way back.
func (d *Dashboards) refuseForm(w http.ResponseWriter, r *http.Request, back string, e refusal) error {
	lang, _ := page.Split(r.URL.Path)
	v := page.View{Frame: d.frame(r, lang.T("refused.title")), Body: refusedBody{lang.T(e.text), e.detail, back}}
	v.Alternates, v.Narrow = nil, true
	return d.send(w, r, http.StatusUnprocessableEntity, "refused", v)
}

// acted leads back to a page that then tells what was done.
func acted(w http.ResponseWriter, r *http.Request, back, told string) error {
	to, err := url.Parse(back)
	if err != nil {
		return problem{status: http.StatusBadRequest, cause: err}
	}
	q := to.Query()
	q.Set("pesan", told)
	to.RawQuery, to.Fragment = q.Encode(), "pemberitahuan"
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
	return nil
}

// addMark takes a span out of the figures, or lets it count again.
func (d *Dashboards) addMark(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	u := userOf(r)
	site, ok := d.o.Places.Site(r.PathValue("code"))
	if !ok {
		return problem{status: http.StatusNotFound}
	}
	back := local(r.PostForm.Get("kembali"), siteURL(lang, site.Code))
	m := figures.Mark{Site: site.Code, Quantity: r.PostForm.Get("besaran"), Invalid: r.PostForm.Get("putusan") != "sah", Code: r.PostForm.Get("alasan"), Note: formText(r, "catatan"), By: u.Name}
	if !u.May(account.Validator, site.District, kindOf(m.Quantity)) {
		return problem{status: http.StatusForbidden}
	}
	var from, to bool
	m.From, from = formTime(r.PostForm.Get("dari"))
	m.To, to = formTime(r.PostForm.Get("hingga"))
	switch {
	case !from || !to || !m.From.Before(m.To):
		return d.refuseForm(w, r, back, refusal{text: "mark.bad_span"})
	case !slices.Contains(figures.MarkCodes(), m.Code):
		return d.refuseForm(w, r, back, refusal{text: "mark.bad_code"})
	case m.Note == "" || len(m.Note) > maxText:
		return d.refuseForm(w, r, back, refusal{text: "mark.bad_note"})
	}
	if locked, err := d.lockedMonth(r, site.Code, m.From, m.To); err != nil {
		return err
	} else if locked != "" {
		return d.refuseForm(w, r, back, refusal{text: "mark.locked", detail: locked})
	}
	m, err := d.o.Figures.AddMark(r.Context(), m)
	if err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	verdict := "valid"
	if m.Invalid {
		verdict = "invalid"
	}
	if err := d.tell(r, "mark.add", site.Code, m.Quantity+" "+verdict+" "+m.From.Format(time.RFC3339)+"/"+m.To.Format(time.RFC3339)+" "+m.Code+": "+m.Note); err != nil {
		return err
	}
	return acted(w, r, back, "ditandai")
}

// lockedMonth names the first validated month that a span touches.
func (d *Dashboards) lockedMonth(r *http.Request, site string, from, to time.Time) (string, error) {
	months, err := d.o.Figures.Months(r.Context(), site)
	if err != nil {
		return "", err
	}
	for _, m := range months {
		begin, end, err := figures.MonthSpan(m.Month)
		if err == nil && m.Status == figures.Validated && from.Before(end) && to.After(begin) {
			return m.Month, nil
		}
	}
	return "", nil
}

// annotate puts a remark on a site's charts, or corrects or withdraws one.
func (d *Dashboards) annotate(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	back := local(r.PostForm.Get("kembali"), siteURL(lang, r.PathValue("code")))
	a := figures.Annotation{Site: r.PathValue("code"), Text: formText(r, "teks"), By: userOf(r).Name}
	a.Corrects, a.Why, a.Withdrawn = r.PostForm.Get("id"), formText(r, "alasan"), r.PostForm.Get("tarik") != ""
	action, told := "annotation.add", "dicatat"
	switch {
	case a.Withdrawn:
		action, told = "annotation.withdraw", "catatan-ditarik"
	case a.Corrects != "":
		action, told = "annotation.change", "catatan-diubah"
	}
	var from, to bool
	a.From, from = formTime(r.PostForm.Get("dari"))
	a.To, to = formTime(r.PostForm.Get("hingga"))
	switch {
	case a.Corrects != "" && (a.Why == "" || len(a.Why) > maxText):
		return d.refuseForm(w, r, back, refusal{text: "annotation.need_why"})
	case a.Withdrawn: // takes what it ends as it is
	case !from || !to || a.To.Before(a.From):
		return d.refuseForm(w, r, back, refusal{text: "mark.bad_span"})
	case a.Text == "" || len(a.Text) > maxText:
		return d.refuseForm(w, r, back, refusal{text: "annotation.bad_text"})
	}
	a, err := d.o.Figures.Annotate(r.Context(), a)
	if errors.Is(err, fs.ErrNotExist) {
		return d.refuseForm(w, r, back, refusal{text: "annotation.gone"})
	}
	if err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	detail := a.From.Format(time.RFC3339) + "/" + a.To.Format(time.RFC3339) + " " + a.Text
	if a.Why != "" {
		detail += " (" + a.Why + ")"
	}
	if err := d.tell(r, action, a.Site, detail); err != nil {
		return err
	}
	return acted(w, r, back, told)
}

// setMonth closes a site's month, or opens it again.
func (d *Dashboards) setMonth(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	site := r.PathValue("code")
	back := local(r.PostForm.Get("kembali"), lang.Path("/dinas/validasi"))
	m := figures.Month{Site: site, Month: r.PostForm.Get("bulan"), Status: figures.Validated, By: userOf(r).Name, Note: formText(r, "catatan")}
	told := "bulan-ditutup"
	if r.PostForm.Get("buka") != "" {
		m.Status, told = figures.Provisional, "bulan-dibuka"
		if m.Note == "" {
			return d.refuseForm(w, r, back, refusal{text: "month.need_note"})
		}
	}
	_, end, err := figures.MonthSpan(m.Month)
	switch {
	case err != nil || len(m.Note) > maxText:
		return problem{status: http.StatusBadRequest}
	case m.Status == figures.Validated && d.o.Now().Before(end):
		return d.refuseForm(w, r, back, refusal{text: "month.not_ended"})
	}
	if err := d.o.Figures.SetMonth(r.Context(), m); err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	if err := d.tell(r, "month.set", site, strings.TrimSpace(m.Month+" "+string(m.Status)+" "+m.Note)); err != nil {
		return err
	}
	return acted(w, r, back, told)
}

// kindAir asks for the role for air, in whatever district.
func kindAir(*Dashboards, *http.Request) (string, telemetry.Kind, error) {
	return account.Somewhere, telemetry.KindAir, nil
}

// provinceAir asks for the role for the whole province's air.
func provinceAir(*Dashboards, *http.Request) (string, telemetry.Kind, error) {
	return "", telemetry.KindAir, nil
}
