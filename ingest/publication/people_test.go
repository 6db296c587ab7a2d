package publication_test

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

func wib(month time.Month, day, hour, minute int) time.Time {
	return time.Date(2026, month, day, hour, minute, 0, 0, figures.WIB).UTC()
}

func steady(v float64) func(string, time.Time) float64 {
	return func(string, time.Time) float64 { return v }
}

func TestSilenceIsAFigureToo(t *testing.T) {
	d := publicationtest.Open(t, smg)
	d.History("smg-1", hour.Add(-48*time.Hour), hour, []string{"pm2_5"}, steady(35))
	d.SetNow(hour.Add(5*time.Hour + 9*time.Minute))
	if f := figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(3*time.Hour)); !f.OK || f.Parts[0].Age != 3 {
		t.Errorf("three hours after the last: %+v", f)
	}
	f := figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(4*time.Hour))
	if f.OK || f.Parts[0].Age != 4 || f.Parts[0].Hours != 20 {
		t.Errorf("four hours after the last: %+v", f)
	}
	proves(t, d.Book, f)
	if last, ok, err := d.Newest(ctx, figures.Hourly, "smg-1", d.Now()); err != nil || !ok || !last.End.Equal(hour.Add(3*time.Hour)) {
		t.Errorf("the last good one: %+v, %v", last, err)
	}
	if _, ok, err := d.Figure(ctx, figures.Hourly, "smg-1", hour.Add(5*time.Hour)); ok || err != nil {
		t.Errorf("within the grace: %v, %v", ok, err)
	}
	d.SetNow(hour.Add(5*time.Hour + 10*time.Minute))
	figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(5*time.Hour))
	d.SetNow(wib(11, 29, 1, 0))
	if f := figure(t, d.Book, figures.Daily, "smg-1", wib(11, 29, 0, 0)); f.OK {
		t.Errorf("a silent day: %+v", f)
	}
}

func TestAValidatedMonthIsLocked(t *testing.T) {
	d := publicationtest.Open(t, smg)
	d.SetNow(wib(11, 2, 12, 30))
	gap := wib(10, 31, 20, 0)
	d.History("smg-1", wib(10, 29, 0, 0), wib(11, 2, 12, 0), []string{"pm2_5"}, steady(35))
	last, next := wib(11, 1, 0, 0), wib(11, 1, 5, 0) // midnight is October's
	before, after := figure(t, d.Book, figures.Hourly, "smg-1", last), figure(t, d.Book, figures.Hourly, "smg-1", next)
	set := func(status figures.Status, month, note string) error {
		return d.SetMonth(ctx, figures.Month{Site: "smg-1", Month: month, Status: status, By: "validator", Note: note})
	}
	if err := set(figures.Validated, "2026-11", ""); err == nil {
		t.Error("a month that has not ended is validated")
	}
	if err := set(figures.Validated, "2026-10", ""); err != nil {
		t.Fatal(err)
	}
	f := figure(t, d.Book, figures.Hourly, "smg-1", last)
	if f.Status != figures.Validated || f.Hash != before.Hash {
		t.Errorf("%+v", f)
	}
	proves(t, d.Book, f)
	if f := figure(t, d.Book, figures.Hourly, "smg-1", next); f.Status != figures.Provisional {
		t.Errorf("November: %+v", f)
	}
	mark := figures.Mark{Site: "smg-1", Quantity: "pm2_5", From: wib(10, 31, 23, 0), To: wib(11, 1, 1, 0), Invalid: true, Code: "power", By: "validator"}
	if _, err := d.AddMark(ctx, mark); !errors.Is(err, publication.ErrLocked) {
		t.Errorf("a mark that reaches into it: %v", err)
	}
	mark.From = wib(11, 1, 0, 0)
	if m, err := d.AddMark(ctx, mark); err != nil || m.ID == "" {
		t.Errorf("a mark beside it: %v", err)
	}
	// What comes late waits, in the month and for the figures after it.
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", gap, 500))
	if f := figure(t, d.Book, figures.Hourly, "smg-1", last); f.Hash != before.Hash {
		t.Errorf("a locked figure changed: %+v", f)
	}
	if f := figure(t, d.Book, figures.Hourly, "smg-1", next); f.Hash != after.Hash {
		t.Errorf("November counts an hour that October does not know: %+v", f)
	}
	waiting, err := d.Waiting(ctx, "smg-1", "2026-10")
	if err != nil || len(waiting) != 1 || !waiting[0].End.Equal(gap) || waiting[0].Reason != figures.LateData {
		t.Errorf("%+v, %v", waiting, err)
	}
	if err := set(figures.Provisional, "2026-10", ""); err == nil {
		t.Error("opened without a reason")
	}
	if err := set(figures.Provisional, "2026-10", "data terlambat"); err != nil {
		t.Fatal(err)
	}
	if waiting, err := d.Waiting(ctx, "smg-1", "2026-10"); err != nil || len(waiting) != 0 {
		t.Errorf("%+v, %v", waiting, err)
	}
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", gap, 500)) // as the worker does with the released hour
	if f := figure(t, d.Book, figures.Hourly, "smg-1", last); f.Revision != 1 || f.Status != figures.Provisional {
		t.Errorf("%+v", f)
	}
	if m, err := d.Months(ctx, "smg-1"); err != nil || len(m) != 1 || m[0].Status != figures.Provisional || m[0].Note == "" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestRulesAreDated(t *testing.T) {
	d := publicationtest.Open(t, smg)
	d.History("smg-1", hour.Add(-48*time.Hour), hour, []string{"pm2_5"}, steady(35))
	before := figure(t, d.Book, figures.Hourly, "smg-1", hour)
	r := figures.DefaultRules()
	r.Nodes = figures.Continuous
	set := func(since time.Time, r figures.Rules, reason string) error {
		return d.SetRules(ctx, figures.DatedRules{Since: since, Rules: r, Reason: reason, By: "admin"})
	}
	if err := set(noon.Add(-time.Minute), r, "uji"); err == nil || !strings.Contains(err.Error(), "past") {
		t.Errorf("a date in the past: %v", err)
	}
	if err := set(noon.Add(time.Hour), r, ""); err == nil {
		t.Error("no reason is given")
	}
	bad := figures.DefaultRules()
	bad.Gates.DayHours = 0
	if err := set(noon.Add(time.Hour), bad, "uji"); err == nil || !strings.Contains(err.Error(), "day_hours") {
		t.Errorf("rules that make no sense: %v", err)
	}
	if err := set(noon.Add(time.Hour), r, "uji"); err != nil {
		t.Fatal(err)
	}
	d.History("smg-1", hour, hour.Add(3*time.Hour), []string{"pm2_5"}, steady(35))
	d.SetNow(noon.Add(3 * time.Hour))
	if f := figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(time.Hour)); f.Rules != 0 || f.Index.Value != 75 {
		t.Errorf("before the change: %+v", f)
	}
	f := figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(2*time.Hour))
	if f.Rules != 1 || f.Index.Value != 74 || f.Revision != 0 {
		t.Errorf("after the change: %+v", f)
	}
	proves(t, d.Book, f)
	// Late data do not bring the new rules to old figures.
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", hour.Add(-time.Hour), 35.24))
	if f := figure(t, d.Book, figures.Hourly, "smg-1", hour); f.Rules != 0 || f.Revision != 1 {
		t.Errorf("%+v", f)
	}
	// Recomputing is what does, and says so.
	if err := d.RecomputeSince(ctx, hour.Add(-30*time.Minute), "admin", "keputusan 12/2026"); err != nil {
		t.Fatal(err)
	}
	d.SetNow(noon.Add(3*time.Hour + time.Minute))
	if f := figure(t, d.Book, figures.Hourly, "smg-1", hour); f.Rules != 2 || f.Revision != 2 || f.Reason != figures.RuleChange || f.Index.Value != 74 {
		t.Errorf("%+v", f)
	}
	if f := figure(t, d.Book, figures.Hourly, "smg-1", hour.Add(-time.Hour)); f.Rules != 0 {
		t.Errorf("before the date: %+v", f)
	}
	proves(t, d.Book, before)
	all, err := d.Rules(ctx)
	if err != nil || len(all) != 3 || all[2].By != "admin" || all[2].Reason != "keputusan 12/2026" || !reflect.DeepEqual(all[2].Rules, r) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestBulletins(t *testing.T) {
	hidden := places.Site{Code: "smg-9", District: "3374", Class: places.Reference, Simulated: true}
	d := publicationtest.Open(t, smg, solo, hidden)
	if err := d.SetAgency(ctx, figures.Agency{Name: "DLH", Number: "660/{n}/{year}"}); err != nil {
		t.Fatal(err)
	}
	for _, site := range []string{"smg-1", "solo-1", "smg-9"} {
		d.History(site, hour.Add(-48*time.Hour), wib(11, 26, 15, 0), []string{"pm2_5"}, steady(35))
	}
	at := wib(11, 26, 15, 0)
	d.SetNow(at.Add(9 * time.Minute))
	if _, err := d.Bulletin(ctx, "2026-11-26-1500", -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("within the grace: %v", err)
	}
	d.SetNow(at.Add(10 * time.Minute))
	b, err := d.Bulletin(ctx, "2026-11-26-1500", -1)
	if err != nil || b.State != figures.Published || b.Number != "660/1/2026" || b.By != "" || b.Simulated || !b.At.Equal(at) {
		t.Fatalf("%+v, %v", b, err)
	}
	// An indicative site and one that is not public are not in it.
	if len(b.Figures) != 1 || b.Figures[0].Site != "smg-1" || !b.Figures[0].OK {
		t.Errorf("%+v", b.Figures)
	}
	if err := d.Revise(ctx, b.ID, "admin", "salah"); err == nil {
		t.Error("nothing has changed, and it is revised")
	}
	// A late hour corrects the figure; the bulletin stays until it is revised.
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", at.Add(-5*time.Hour), 300))
	if again, err := d.Bulletin(ctx, b.ID, -1); err != nil || !reflect.DeepEqual(again, b) {
		t.Errorf("it is not frozen: %+v, %v", again, err)
	}
	if diff, err := d.Differences(ctx, b.ID); err != nil || len(diff) != 1 || diff[0].Reason != figures.LateData {
		t.Errorf("%+v, %v", diff, err)
	}
	if err := d.Revise(ctx, b.ID, "admin", "data terlambat"); err != nil {
		t.Fatal(err)
	}
	r1, err := d.Bulletin(ctx, b.ID, -1)
	if err != nil || r1.Revision != 1 || len(r1.Changes) != 1 || r1.Reason != "data terlambat" || r1.Number != b.Number || r1.Hash == b.Hash {
		t.Errorf("%+v, %v", r1, err)
	}
	if r0, err := d.Bulletin(ctx, b.ID, 0); err != nil || !reflect.DeepEqual(r0, b) {
		t.Errorf("the first file: %+v, %v", r0, err)
	}
	// By approval.
	rules := figures.DefaultRules()
	rules.AutoPublish = false
	if err := d.SetRules(ctx, figures.DatedRules{Since: d.Now(), Rules: rules, Reason: "uji", By: "admin"}); err != nil {
		t.Fatal(err)
	}
	d.SetNow(wib(11, 27, 10, 0))
	next, err := d.Bulletin(ctx, "2026-11-27-0900", -1)
	if err != nil || next.State != figures.Draft || next.Number != "" || !next.Published.IsZero() {
		t.Errorf("%+v, %v", next, err)
	}
	if err := d.Approve(ctx, next.ID, "kepala", ""); err != nil {
		t.Fatal(err)
	}
	if next, err = d.Bulletin(ctx, next.ID, -1); err != nil || next.State != figures.Published || next.By != "kepala" || next.Number != "660/2/2026" || next.Revision != 0 {
		t.Errorf("%+v, %v", next, err)
	}
	if err := d.Approve(ctx, next.ID, "kepala", ""); err == nil {
		t.Error("approved twice")
	}
	if all, err := d.Bulletins(ctx, at.Add(-time.Hour), d.Now()); err != nil || len(all) != 2 || all[0].Revision != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	// A server that was off does not publish the days it missed.
	d.SetNow(wib(12, 3, 10, 0))
	if all, err := d.Bulletins(ctx, at, d.Now()); err != nil || len(all) != 3 || all[1].ID != "2026-12-02-1500" || all[2].ID != "2026-12-03-0900" {
		t.Errorf("%+v, %v", all, err)
	}
	for _, id := range []string{"", "2026-11-26-15", "../../etc/passwd", "2026-13-01-0900"} {
		if _, err := d.Bulletin(ctx, id, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A bulletin that judges no station waits for an hour, and then for a person. A new
// book of a server that was just installed has no station to name.
func TestAnEmptyBulletinIsNoNews(t *testing.T) {
	none := publicationtest.Open(t)
	none.SetNow(wib(11, 26, 16, 30))
	if all, err := none.Bulletins(ctx, wib(11, 25, 0, 0), none.Now()); err != nil || len(all) > 0 {
		t.Errorf("without a station: %+v, %v", all, err)
	}

	d := publicationtest.Open(t, smg)
	silent := wib(11, 26, 15, 0)
	d.History("smg-1", silent.Add(-96*time.Hour), silent.Add(-48*time.Hour), []string{"pm2_5"}, steady(35))
	d.SetNow(silent.Add(59 * time.Minute))
	if bl, err := d.Bulletin(ctx, "2026-11-26-1500", -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("within the hour: %+v, %v", bl, err)
	}
	d.SetNow(silent.Add(time.Hour))
	if bl, err := d.Bulletin(ctx, "2026-11-26-1500", -1); err != nil || bl.State != figures.Draft || len(bl.Figures) != 1 || bl.Figures[0].OK {
		t.Errorf("after it: %+v, %v", bl, err)
	}

	// What arrives within the hour makes it the usual bulletin.
	at := wib(11, 27, 9, 0)
	d.SetNow(at.Add(15 * time.Minute))
	d.History("smg-1", at.Add(-48*time.Hour), at, []string{"pm2_5"}, steady(35))
	d.SetNow(at.Add(20 * time.Minute))
	if bl, err := d.Bulletin(ctx, "2026-11-27-0900", -1); err != nil || bl.State != figures.Published || !bl.Figures[0].OK {
		t.Errorf("with what came: %+v, %v", bl, err)
	}
}

func TestAnnotationsStay(t *testing.T) {
	d := publicationtest.Open(t, smg)
	for _, bad := range []figures.Annotation{{}, {Site: "smg-1", By: "x", Text: " ", From: noon}, {Site: "smg-1", By: "x", Text: "a", From: noon, To: noon.Add(-1)}} {
		if _, err := d.Annotate(ctx, bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	a, err := d.Annotate(ctx, figures.Annotation{Site: "smg-1", By: "x", Text: "<b>kebakaran</b>", From: noon.Add(-time.Hour), To: noon})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Annotations(ctx, "smg-1", noon.Add(-30*time.Minute), noon.Add(time.Hour)); err != nil || len(got) != 1 || got[0] != a {
		t.Errorf("%+v, %v", got, err)
	}
	if got, _ := d.Annotations(ctx, "smg-1", noon.Add(time.Hour), time.Time{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A correction takes a remark's place, a withdrawal ends it, and what was written
// before stays with who, when and why.
func TestAnnotationsAreCorrected(t *testing.T) {
	d := publicationtest.Open(t, smg)
	first, err := d.Annotate(ctx, figures.Annotation{Site: "smg-1", By: "x", Text: "kebakaran", From: noon.Add(-time.Hour), To: noon})
	if err != nil {
		t.Fatal(err)
	}
	second := figures.Annotation{Site: "smg-1", By: "y", Text: "pembakaran sampah", From: noon.Add(-2 * time.Hour), To: noon, Corrects: first.ID}
	if _, err := d.Annotate(ctx, second); err == nil {
		t.Error("a correction without a reason is taken")
	}
	second.Why = "bukan kebakaran"
	if second, err = d.Annotate(ctx, second); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Annotations(ctx, "smg-1", time.Time{}, time.Time{}); err != nil || len(got) != 1 || got[0] != second {
		t.Errorf("after the correction: %+v, %v", got, err)
	}
	if _, err := d.Annotate(ctx, figures.Annotation{Site: "smg-1", By: "z", Text: "lain", From: noon, Corrects: first.ID, Why: "terlambat"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("correcting what was corrected: %v", err)
	}
	end, err := d.Annotate(ctx, figures.Annotation{Site: "smg-1", By: "z", Corrects: second.ID, Why: "stasiun lain", Withdrawn: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Annotations(ctx, "smg-1", time.Time{}, time.Time{}); err != nil || len(got) != 0 {
		t.Errorf("after the withdrawal: %+v, %v", got, err)
	}
	got, err := d.Remarked(ctx, "smg-1")
	if want := []figures.Annotation{first, second, end}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the history is %+v, %v, want %+v", got, err, want)
	}
}
