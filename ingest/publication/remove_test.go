package publication_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
)

func TestARemovedSiteLeavesNothingAndTouchesNoOther(t *testing.T) {
	d := publicationtest.Open(t, smg, solo)
	from := hour.Add(-3 * 24 * time.Hour)
	for _, site := range []string{"smg-1", "solo-1"} {
		d.History(site, from, hour, []string{"pm2_5", "so2_ppb"}, publicationtest.Daily(30))
	}
	for _, site := range []string{"smg-1", "solo-1"} {
		if _, err := d.AddMark(ctx, figures.Mark{Site: site, Quantity: "so2_ppb", From: from, To: from.Add(time.Hour), Invalid: true, Code: figures.MarkCodes()[0], By: "sari"}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Annotate(ctx, figures.Annotation{Site: site, From: from, Text: "kebakaran", By: "sari"}); err != nil {
			t.Fatal(err)
		}
		if err := d.SetMonth(ctx, figures.Month{Site: site, Month: "2026-10", Status: figures.Validated, By: "sari"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	before := figure(t, d.Book, figures.Hourly, "solo-1", hour)
	changed := d.Changed()
	if err := d.Remove(ctx, []string{"smg-1"}); err != nil {
		t.Fatal(err)
	}
	if d.Changed() == changed {
		t.Error("caches are not told")
	}
	if all, err := d.Everywhere(ctx, figures.Hourly, hour); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	for site, want := range map[string]int{"smg-1": 0, "solo-1": 1} {
		marks, err1 := d.Marks(ctx, site, time.Time{}, time.Time{})
		notes, err2 := d.Annotations(ctx, site, time.Time{}, time.Time{})
		months, err3 := d.Months(ctx, site)
		if err := errors.Join(err1, err2, err3); err != nil || len(marks) != want || len(notes) != want || len(months) != want {
			t.Errorf("%s: %v, %v, %v, %v; want %d each", site, marks, notes, months, err, want)
		}
	}
	hours, err := d.Hours(ctx, "smg-1", nil, from, hour)
	if err != nil || len(hours) > 0 {
		t.Errorf("%d hours are left, %v", len(hours), err)
	}
	if q, err := d.Quantities(ctx, "smg-1"); err != nil || len(q) > 0 {
		t.Errorf("%v, %v", q, err)
	}
	if after := proves(t, d.Book, figure(t, d.Book, figures.Hourly, "solo-1", hour)); after.Figure.ID != before.ID {
		t.Errorf("another site's figure: %+v", after.Figure)
	}
}
