package dashboards

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// bulletinTile says how it stands with the bulletin, on pages about today.
type bulletinTile struct {
	URL, Class, Word, Name string
	Due                    bool // somebody must do something
}

// bulletinTile finds the bulletin that is due now.
func (d *Dashboards) bulletinTile(ctx context.Context, l page.Lang, id string) bulletinTile {
	v := bulletinTile{URL: l.Path("/dinas/buletin"), Class: "warn", Word: l.T("network.unreadable_short")}
	now := d.o.Now()
	rules, err := d.rules(ctx, now)
	var all []figures.Bulletin
	if err == nil {
		all, err = d.o.Figures.Bulletins(ctx, now.AddDate(0, 0, -2), now)
	}
	if err != nil {
		d.o.Logger.Error("page is incomplete", "id", id, "part", "bulletin", "err", err)
		return v
	}
	for _, b := range slices.Backward(all) {
		if b.State == figures.Draft {
			return bulletinTile{bulletinURL(l, b.ID), "warn", l.T("letter.waits"), l.Moment(b.At), true}
		}
	}
	var last, next time.Time
	for day := -1; day <= 1; day++ {
		midnight := time.Date(now.In(page.WIB).Year(), now.In(page.WIB).Month(), now.In(page.WIB).Day()+day, 0, 0, 0, 0, page.WIB)
		for _, hour := range slices.Sorted(slices.Values(rules.Rules.Bulletins)) {
			at := midnight.Add(time.Duration(hour) * time.Hour)
			if !at.Add(time.Duration(rules.Rules.GraceMin) * time.Minute).After(now) {
				last = at
			} else if next.IsZero() {
				next = at
			}
		}
	}
	if i := slices.IndexFunc(all, func(b figures.Bulletin) bool { return b.At.Equal(last) }); i >= 0 {
		return bulletinTile{bulletinURL(l, all[i].ID), "ok", l.T("letter.published"), l.Moment(last), false}
	}
	if next.IsZero() {
		return bulletinTile{v.URL, "", l.T("letter.never"), "", false}
	}
	return bulletinTile{v.URL, "", l.T("letter.next"), l.Moment(next), false}
}

func bulletinURL(l page.Lang, id string) string {
	return l.Path("/dinas/buletin/" + url.PathEscape(id))
}

type bulletinsBody struct {
	Notice notice
	Rows   []bulletinRow
	Tile   bulletinTile
	Auto   bool
	Agency bool // the letterhead is filled in
}

type bulletinRow struct {
	ID, URL  string
	At       time.Time
	Class    string
	State    string
	Number   string
	Revision int
	Valid    int
	Of       int
	By       string
}

func viewBulletin(l page.Lang, b figures.Bulletin) bulletinRow {
	row := bulletinRow{ID: b.ID, URL: bulletinURL(l, b.ID), At: b.At, Class: "ok", State: l.T("letter.published"), Number: b.Number, Revision: b.Revision, By: b.By}
	if b.State == figures.Draft {
		row.Class, row.State = "warn", l.T("letter.draft")
	}
	for _, f := range b.Figures {
		if f.Estimate {
			continue
		}
		row.Of++
		if f.OK {
			row.Valid++
		}
	}
	return row
}

// bulletins is /dinas/buletin.
func (d *Dashboards) bulletins(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	now := d.o.Now()
	all, err := d.o.Figures.Bulletins(r.Context(), now.AddDate(0, 0, -31), now)
	if err != nil {
		return err
	}
	rules, err := d.rules(r.Context(), now)
	if err != nil {
		return err
	}
	agency, err := d.o.Figures.Agency(r.Context())
	if err != nil {
		return err
	}
	body := bulletinsBody{Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Tile: d.bulletinTile(r.Context(), lang, requestID(r)), Auto: rules.Rules.AutoPublish, Agency: agency.Name != ""}
	simulated := false
	for _, b := range all {
		body.Rows = append(body.Rows, viewBulletin(lang, b))
		simulated = simulated || b.Simulated
	}
	slices.SortStableFunc(body.Rows, func(a, b bulletinRow) int { return b.At.Compare(a.At) })
	frame := d.frame(r, lang.T("letter.title"))
	frame.Simulated = simulated
	return d.send(w, r, http.StatusOK, "bulletins", page.View{Frame: frame, Body: body})
}

type bulletinBody struct {
	Notice          notice
	Back            string
	Row             bulletinRow
	Agency          figures.Agency
	Stations        []stationRow
	Reason          string
	Changes         []bulletinChange
	Made, Published time.Time
	Hash            string
	Approve, Revise string // where the forms go; "" = the visitor may not, or it is not the time
	Suggested       string
	Revisions       []page.Link
	Page, PDF       string
	Simulated       bool
}

type bulletinChange struct {
	Name          string
	Before, After figureView
	Reason        string
}

var bulletinID = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}-\d{4}$`)

// bulletin is /dinas/buletin/{bulletin}: the preview of one.
func (d *Dashboards) bulletin(w http.ResponseWriter, r *http.Request) error {
	lang, path := page.Split(r.URL.Path)
	b, err := d.findBulletin(r)
	if err != nil {
		return err
	}
	newest := b
	if r.URL.Query().Has("revisi") {
		if newest, err = d.o.Figures.Bulletin(r.Context(), b.ID, -1); err != nil {
			return err
		}
	}
	rules, err := d.rules(r.Context(), b.At)
	if err != nil {
		return err
	}
	body := bulletinBody{
		Notice: noticeOf(lang, r.URL.Query().Get("pesan")), Back: lang.Path("/dinas/buletin"), Row: viewBulletin(lang, b), Agency: b.Agency,
		Reason: b.Reason, Made: b.Made, Published: b.Published, Hash: b.Hash, Simulated: b.Simulated,
	}
	if b.State == figures.Draft { // a draft takes the letterhead of now
		if body.Agency, err = d.o.Figures.Agency(r.Context()); err != nil {
			return err
		}
	}
	for _, f := range b.Figures {
		row := stationRow{Code: f.Site, Name: f.Site, URL: siteURL(lang, f.Site), Figure: viewFigure(lang, f, rules.Rules), Simulated: f.Simulated, of: f}
		if s, ok := d.o.Places.Site(f.Site); ok {
			row.Name, row.District, row.DistrictURL = s.Name, districtName(s.District), districtURL(lang, s.District)
			row.Class = lang.T(page.Key("class." + string(s.ClassAt(b.At))))
		}
		body.Stations = append(body.Stations, row)
	}
	slices.SortStableFunc(body.Stations, func(a, b stationRow) int { return figures.Compare(a.of, b.of) })
	for _, c := range b.Changes {
		name := c.Site
		if s, ok := d.o.Places.Site(c.Site); ok {
			name = s.Name
		}
		body.Changes = append(body.Changes, bulletinChange{name, viewFigure(lang, c.Before, rules.Rules), viewFigure(lang, c.After, rules.Rules), lang.Name("revision.", c.Reason)})
	}
	for n := newest.Revision; n >= 0 && newest.Revision > 0; n-- {
		body.Revisions = append(body.Revisions, page.Link{URL: lang.Path(path) + "?" + query("revisi", strconv.Itoa(n)), Text: revisionName(lang, n), Current: n == b.Revision})
	}
	if u := userOf(r); b.Revision == newest.Revision {
		may := u.May(account.Approver, "", telemetry.KindAir) // as the forms' routes ask
		if may && b.State == figures.Draft {
			body.Approve = lang.Path(path) + "/setujui"
			body.Suggested = strings.NewReplacer("{year}", b.At.In(page.WIB).Format("2006"), "{n}", "").Replace(body.Agency.Number)
		}
		if may && b.State == figures.Published {
			body.Revise = lang.Path(path) + "/ralat"
		}
	}
	if b.State == figures.Published {
		body.Page = lang.Path("/buletin/" + url.PathEscape(b.ID))
		body.PDF = "/buletin/" + url.PathEscape(b.ID) + ".pdf"
	}
	frame := d.frame(r, lang.T("letter.of", lang.Moment(b.At)))
	frame.Simulated = b.Simulated
	return d.send(w, r, http.StatusOK, "bulletin", page.View{Frame: frame, Body: body})
}

func revisionName(l page.Lang, n int) string {
	if n == 0 {
		return l.T("letter.first")
	}
	return "R" + strconv.Itoa(n)
}

func (d *Dashboards) findBulletin(r *http.Request) (figures.Bulletin, error) {
	id, revision := r.PathValue("bulletin"), -1
	if asked := r.URL.Query().Get("revisi"); asked != "" {
		n, err := strconv.Atoi(asked)
		if err != nil || n < 0 {
			return figures.Bulletin{}, problem{status: http.StatusBadRequest}
		}
		revision = n
	}
	if !bulletinID.MatchString(id) {
		return figures.Bulletin{}, problem{status: http.StatusNotFound}
	}
	b, err := d.o.Figures.Bulletin(r.Context(), id, revision)
	if errors.Is(err, fs.ErrNotExist) {
		return b, problem{status: http.StatusNotFound}
	}
	return b, err
}

// approve signs a draft.
func (d *Dashboards) approve(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	b, err := d.findBulletin(r)
	if err != nil {
		return err
	}
	back, number := bulletinURL(lang, b.ID), formText(r, "nomor")
	switch {
	case b.State != figures.Draft:
		return d.refuseForm(w, r, back, refusal{text: "letter.not_draft"})
	case number == "" || len(number) > 100:
		return d.refuseForm(w, r, back, refusal{text: "letter.need_number"})
	}
	if err := d.o.Figures.Approve(r.Context(), b.ID, userOf(r).Name, number); err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	if err := d.tell(r, "letter.approve", b.ID, number); err != nil {
		return err
	}
	return acted(w, r, back, "buletin-terbit")
}

// revise publishes a bulletin anew with what has changed since.
func (d *Dashboards) revise(w http.ResponseWriter, r *http.Request) error {
	lang, _ := page.Split(r.URL.Path)
	b, err := d.findBulletin(r)
	if err != nil {
		return err
	}
	back, reason := bulletinURL(lang, b.ID), formText(r, "alasan")
	switch {
	case b.State != figures.Published:
		return d.refuseForm(w, r, back, refusal{text: "letter.not_published"})
	case reason == "" || len(reason) > maxText:
		return d.refuseForm(w, r, back, refusal{text: "letter.need_reason"})
	}
	if err := d.o.Figures.Revise(r.Context(), b.ID, userOf(r).Name, reason); err != nil {
		return d.refuseForm(w, r, back, refusal{"form.refused", err.Error()})
	}
	if err := d.tell(r, "letter.revise", b.ID, reason); err != nil {
		return err
	}
	return acted(w, r, back, "buletin-diralat")
}
