package publication_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
)

var (
	smg  = places.Site{Code: "smg-1", Name: "Semarang 1", District: "3374", Class: places.Reference, Public: true}
	solo = places.Site{Code: "solo-1", Name: "Solo 1", District: "3372", Class: places.Indicative, Public: true}
	noon = publicationtest.Noon
	hour = noon.Truncate(time.Hour)
	ctx  = context.Background()
)

func figure(t *testing.T, d *publication.Book, kind figures.Kind, site string, end time.Time) figures.Figure {
	t.Helper()
	f, ok, err := d.Figure(ctx, kind, site, end)
	if err != nil || !ok {
		t.Fatalf("%s of %s at %s: there %v, %v", kind, site, end.In(figures.WIB), ok, err)
	}
	return f
}

// proves that a figure is what its trace gives, hash and all.
func proves(t *testing.T, d *publication.Book, f figures.Figure) figures.Trace {
	t.Helper()
	trace, err := d.Trace(ctx, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	again, err := trace.Recompute()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again, f) {
		t.Fatalf("recomputed from its trace:\n%+v\nthe book says\n%+v", again, f)
	}
	return trace
}

func TestWeeksOfHistoryAreFiguresThatTheirTracesProve(t *testing.T) {
	d := publicationtest.Open(t, smg, solo)
	from := hour.Add(-15 * 24 * time.Hour)
	d.History("smg-1", from, hour, []string{"pm2_5", "pm10", "so2_ppb", "temperature"}, publicationtest.Daily(30))
	d.History("solo-1", from, hour, []string{"pm2_5"}, publicationtest.Daily(60))
	f := figure(t, d.Book, figures.Hourly, "smg-1", hour)
	if !f.OK || f.Index.Judged != 3 || f.Revision != 0 || f.Estimate || f.Status != figures.Provisional {
		t.Errorf("%+v", f)
	}
	if e := figure(t, d.Book, figures.Hourly, "solo-1", hour); !e.OK || !e.Estimate {
		t.Errorf("an indicative site's: %+v", e)
	}
	all, err := d.Span(ctx, figures.Hourly, "smg-1", from, hour)
	if err != nil || len(all) != 15*24 {
		t.Fatalf("%d hourly figures, %v", len(all), err)
	}
	days, err := d.Span(ctx, figures.Daily, "smg-1", from, hour)
	if err != nil || len(days) != 15 {
		t.Fatalf("%d daily figures, %v", len(days), err)
	}
	for _, f := range append(all, days...) {
		proves(t, d.Book, f)
	}
	everywhere, err := d.Everywhere(ctx, figures.Hourly, hour)
	if err != nil || len(everywhere) != 2 || !reflect.DeepEqual(everywhere["smg-1"], f) {
		t.Errorf("%v, %v", everywhere, err)
	}
	if got, ok, err := d.Newest(ctx, figures.Hourly, "smg-1", noon); err != nil || !ok || got.ID != f.ID {
		t.Errorf("newest %+v, %v", got, err)
	}
	if q, err := d.Quantities(ctx, "smg-1"); err != nil || len(q) != 4 {
		t.Errorf("%v, %v", q, err)
	}
	if h, err := d.Hours(ctx, "smg-1", nil, time.Time{}, noon); err != nil || len(h) != 4*15*24 {
		t.Errorf("%d hours, %v", len(h), err)
	}
	if _, err := d.Trace(ctx, "ispu-20261126-12-r7-smg-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a revision that is not there: %v", err)
	}
}

func TestLateHourCorrectsAndBothTracesStand(t *testing.T) {
	d := publicationtest.Open(t, smg)
	gap := hour.Add(-5 * time.Hour)
	d.History("smg-1", hour.Add(-48*time.Hour), hour, []string{"pm2_5"}, func(_ string, end time.Time) float64 {
		if end.Equal(gap) {
			return math.NaN()
		}
		return 20
	})
	before := figure(t, d.Book, figures.Hourly, "smg-1", hour)
	changed := d.Changed()
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", gap, 200))
	after := figure(t, d.Book, figures.Hourly, "smg-1", hour)
	if after.Revision != 1 || after.Reason != figures.LateData || after.Parts[0].Hours != 24 || after.Parts[0].Mean != 27.5 {
		t.Errorf("%+v", after)
	}
	if d.Changed() == changed {
		t.Error("nothing says that the book changed")
	}
	if tr := proves(t, d.Book, before); len(tr.Hours) != 25 {
		t.Errorf("the first trace has %d hours", len(tr.Hours))
	}
	proves(t, d.Book, after)
	all, err := d.Revisions(ctx, figures.Hourly, "smg-1", hour)
	if err != nil || len(all) != 2 || all[0].ID != before.ID {
		t.Errorf("%+v, %v", all, err)
	}
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", gap, 200)) // twice
	if c, err := d.Corrections(ctx, noon.Add(-time.Hour), noon.Add(time.Hour)); err != nil || len(c) != 6 {
		t.Errorf("%d corrections, %v", len(c), err)
	}
	// A changed hour: the version that entered the figure stays.
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", gap, 100))
	proves(t, d.Book, before)
	proves(t, d.Book, after)
	proves(t, d.Book, figure(t, d.Book, figures.Hourly, "smg-1", hour))
}
