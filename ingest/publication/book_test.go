package publication_test

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"reflect"
	"slices"
	"strconv"
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

// What a station's page says of PP 22/2021 is proved by its traces, and a trace
// tells when an hour that entered it was corrected.
func TestAYearBeforeTheLimitsIsProvedByItsTraces(t *testing.T) {
	indicative := smg
	indicative.Class, indicative.Earlier = places.Indicative, []places.Grade{{Until: hour.Add(-24 * time.Hour), Class: smg.Class}}
	d := publicationtest.Open(t, indicative)
	from := hour.Add(-15 * 24 * time.Hour)
	d.History("smg-1", from, hour, []string{"pm2_5", "so2_ppb", "co", "nmhc", "temperature"}, publicationtest.Daily(60))
	year := noon.In(figures.WIB).Year()
	prove := func() map[string]figures.AssessmentTrace {
		t.Helper()
		of, err := d.Assessments(ctx, "smg-1", year)
		if err != nil {
			t.Fatal(err)
		}
		episodes, err := d.Exceedances(ctx, "smg-1", year)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]figures.AssessmentTrace{}
		for _, a := range of {
			id := figures.AssessmentID("smg-1", year, a.Limit)
			trace, err := d.AssessmentTrace(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			again, err := trace.Recompute()
			if err != nil || again.Assessment != a || !reflect.DeepEqual(again, trace) || trace.ID != id || trace.Status != figures.Provisional {
				t.Errorf("%s: %+v, %v, want %+v", id, again.Assessment, err, a)
			}
			out[id] = trace
			episodes = slices.DeleteFunc(episodes, func(e figures.Exceedance) bool { return slices.Contains(trace.Exceeded, e) })
		}
		if len(episodes) != 0 {
			t.Errorf("no trace tells of %+v", episodes)
		}
		return out
	}
	before := prove()
	day := "baku-" + strconv.Itoa(year) + "-pm2_5-24h-55-smg-1"
	if tr := before[day]; len(before) != 8 || tr.Assessment.Episodes == 0 || tr.Assessment.Valid >= 15 || len(tr.Classes) != 2 || len(tr.Hours) < 14*24 {
		t.Errorf("%d traces; %+v, %d hours, classes %+v", len(before), tr.Assessment, len(tr.Hours), tr.Classes)
	}
	d.Feed(publicationtest.Hour("smg-1", "pm2_5", hour.Add(-50*time.Hour), 900))
	after := prove()
	if after[day].Revised != before[day].Revised+1 || after[day].Hash == before[day].Hash {
		t.Errorf("a corrected hour: %d, was %d", after[day].Revised, before[day].Revised)
	}
	if so2 := "baku-" + strconv.Itoa(year) + "-so2-1h-150-smg-1"; after[so2].Hash == "" || after[so2].Hash != before[so2].Hash {
		t.Error("another parameter's trace changed")
	}
	for _, id := range []string{"baku-2025-pm2_5-24h-55-smg-1", "baku-2026-pm2_5-24h-56-smg-1", "baku-2026-pm10-24h-75-smg-1", "baku-2026-pm2_5-24h-55-tidak-ada", "baku-2027-pm2_5-24h-55-smg-1", "ispu-20261126-12-r0-smg-1"} {
		if _, err := d.AssessmentTrace(ctx, id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", id, err)
		}
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
