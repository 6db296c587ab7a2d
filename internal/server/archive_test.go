package server

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/archive"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A day that has left the database is served as before, counts as stored, and
// takes late readings as if it had stayed: an hour row is computed from all of
// them, not from the late ones alone.
func TestADayInTheArchiveIsServedAsBefore(t *testing.T) {
	s, c := begin(t, t.TempDir(), influxtest.New(t).URL, func(o *Options) { o.rest = time.Second })
	post := fleet.Province()[0]
	login := fleet.Credential{Node: post.Node, Password: "kata-sandi-simulasi"}
	if err := s.places.PutSite(t.Context(), places.Site{Code: post.Site, Name: "Balai", District: post.District.Code, Class: places.Reference, Public: true, Simulated: true}); err != nil {
		t.Fatal(err)
	}
	csv := "group,name,password,district,site\n" + post.Node.Group + "," + post.Node.ID + "," + login.Password + "," + post.District.Code + "," + post.Site + "\n"
	call[ImportResult](t, c, http.MethodPost, "/gateways/import?simulated=1", strings.NewReader(csv))
	sent := filepath.Join(t.TempDir(), "sent")
	history := fleet.HistoryOptions{
		Server: "mqtt://" + s.health().Addresses["mqtt_plain"], Posts: []fleet.Post{post}, Logins: map[telemetry.Node]fleet.Credential{post.Node: login},
		Past: 9 * 24 * time.Hour, Once: true, Seed: 1, Ledger: sent,
	}
	if r, err := fleet.RunHistory(t.Context(), history); err != nil || r.Arrived < r.Due {
		t.Fatalf("%+v, %v", r, err)
	}
	start := ingest.DayOf(time.Now()).Add(-8 * 24 * time.Hour)
	end := start.Add(24 * time.Hour)
	settled := func() bool {
		why, err := s.ingest.Unsettled(t.Context(), start, end)
		if err == nil && why == "" {
			why, err = s.publication.Unsettled(t.Context(), start, end)
		}
		return err == nil && why == ""
	}
	raw := func() string {
		t.Helper()
		path := "/api/v1/observations?resolution=raw&limit=1000&site=" + post.Site + "&from=" + start.Format(time.RFC3339) + "&to=" + start.Add(time.Hour).Format(time.RFC3339)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.pagesURL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || strings.Contains(string(body), `"data":[]`) {
			t.Fatalf("%s: %s, %v: %.300s", path, resp.Status, err, body)
		}
		return string(body)
	}
	// valid counts the readings behind an hour of the day, by its row and one by one.
	span := influx.Span{Node: ingest.CleanNode(post.Node), Kinds: []telemetry.Kind{telemetry.KindAir}, Quantities: []string{"pm2_5"}, From: start.Add(5 * time.Hour), To: start.Add(6 * time.Hour)}
	valid := func() (row, one int) {
		t.Helper()
		rows, err := s.influx.Rows(t.Context(), influx.Hours, span)
		for _, r := range rows {
			row += r.Valid
		}
		if err == nil {
			err = s.raw.Points(t.Context(), span, func(p *influx.Point) error {
				for _, r := range p.Readings {
					if r.Gap == telemetry.GapNone && r.Flag == telemetry.FlagNone {
						one++
					}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
		return row, one
	}
	// proved reads the published figure of noon and computes it from nothing but its
	// trace, which raw readings are not needed for.
	proved := func() figures.Trace {
		t.Helper()
		f, ok, err := s.publication.Figure(t.Context(), figures.Hourly, post.Site, start.Add(12*time.Hour))
		if err != nil || !ok || !f.OK {
			t.Fatalf("no figure: %+v, %v", f, err)
		}
		trace, err := s.publication.Trace(t.Context(), f.ID)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := trace.Recompute(); err != nil || again.Hash != f.Hash || again.Index != f.Index {
			t.Errorf("recomputed %+v, published %+v, %v", again, f, err)
		}
		return trace
	}
	// dayMean makes the assessment by PP 22/2021 from nothing but its trace, and
	// returns what it compared with the limit of the day.
	dayMean := func() figures.WindowMean {
		t.Helper()
		id := figures.AssessmentID(post.Site, end.Add(-time.Second).In(figures.WIB).Year(), figures.Limit{Quantity: "pm2_5", Period: figures.Hours24, Limit: 55})
		trace, err := s.publication.AssessmentTrace(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := trace.Recompute(); err != nil || !reflect.DeepEqual(again, trace) {
			t.Errorf("recomputed %+v, was %+v, %v", again.Assessment, trace.Assessment, err)
		}
		windows := trace.Windows()
		i := slices.IndexFunc(windows, func(w figures.WindowMean) bool { return w.End.Equal(end) })
		if i < 0 || !windows[i].Valid {
			t.Fatalf("the day %s is not compared: %d windows", end, len(windows))
		}
		return windows[i]
	}
	verify := func() ingest.Report {
		t.Helper()
		f, err := os.Open(sent)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return call[ingest.Report](t, c, http.MethodPost, "/ledger/verify", f)
	}
	counted := verify() // waits for the store
	eventually(t, "the day's hours and figures", settled)
	served := raw()
	published, compared := proved(), dayMean()
	row, one := valid()
	for row == 0 && span.To.Before(end) { // on some days the simulated power is away at noon
		span.From, span.To = span.To, span.To.Add(time.Hour)
		row, one = valid()
	}
	if row == 0 || row != one || !counted.OK() || counted.Stored == 0 {
		t.Fatalf("before: a row of %d from %d readings, %+v", row, one, counted)
	}

	days := archive.Retention{}
	for _, k := range telemetry.Kinds() {
		days[k] = archive.LeastDays
	}
	call[Done](t, c, http.MethodPut, "/archive/retention", SetRetention{Days: days, Reason: "uji"})
	has := func(revision int) func() bool {
		return func() bool {
			l := call[ArchiveList](t, c, http.MethodGet, "/archive", nil)
			for _, f := range l.List {
				if f.Kind == telemetry.KindAir && f.Day == start.Add(7*time.Hour).Format(time.DateOnly) && f.Revision == revision {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the day in the archive", has(0))
	eventually(t, "all of the day gone from the database", func() bool {
		left := 0
		err := s.influx.Points(t.Context(), influx.Span{From: start, To: end}, func(p *influx.Point) error {
			if !influx.MayStay(p.Time) {
				left++
			}
			return nil
		})
		return err == nil && left == 0
	})
	if again := raw(); again != served {
		t.Errorf("the interface answers\n%.500s\nand before\n%.500s", again, served)
	}
	if again := proved(); !reflect.DeepEqual(again, published) {
		t.Errorf("without raw readings the trace is\n%+v\nand was\n%+v", again, published)
	}
	if again := dayMean(); again != compared {
		t.Errorf("without raw readings the day's mean is %+v, was %+v", again, compared)
	}
	if again := verify(); !reflect.DeepEqual(again, counted) {
		t.Errorf("the ledger says %+v, and before %+v", again, counted)
	}
	if v := call[archive.Verdict](t, c, http.MethodGet, "/archive/verify", nil); len(v.Bad) > 0 || v.Points == 0 {
		t.Errorf("%+v", v)
	}

	// The same minutes come once more, from another card.
	history.Seed, history.Ledger = 2, ""
	if r, err := fleet.RunHistory(t.Context(), history); err != nil || r.Arrived < r.Due {
		t.Fatalf("%+v, %v", r, err)
	}
	verify()
	eventually(t, "the day's hours and figures once more", settled)
	row, again := valid()
	if again <= one || row != again {
		t.Errorf("late: a row of %d from %d readings, before there were %d", row, again, one)
	}
	if again := proved(); again.Figure.Revision == 0 || again.Figure.Reason != figures.LateData {
		t.Errorf("after the late card the figure is %+v", again.Figure)
	}
	if err := s.raw.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !has(1)() {
		t.Errorf("no revision: %+v", call[ArchiveList](t, c, http.MethodGet, "/archive", nil))
	}
	if _, joined := valid(); joined != again {
		t.Errorf("%d readings after the revision, %d before", joined, again)
	}
}

func TestTheArchivesAlertEndsWithItsCause(t *testing.T) {
	now := time.Now()
	st := archive.Status{Problem: "no room", Since: now.Add(-time.Hour)}
	fired := archiveAlarms(nil, st, now)
	if len(fired) != 1 || fired[0].Time != st.Since.UnixMilli() || fired[0].Series.String() != "server" {
		t.Fatalf("%+v", fired)
	}
	open := []ingest.AlertRecord{{Firing: fired[0]}}
	if again := archiveAlarms(open, st, now); len(again) > 0 {
		t.Errorf("fired twice: %+v", again)
	}
	if ended := archiveAlarms(open, archive.Status{}, now); len(ended) != 1 || ended[0].State != "resolved" || ended[0].Alert != fired[0].Key {
		t.Errorf("%+v", ended)
	}
}
