package dashboards_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// shelf is how a server keeps raw readings.
type shelf struct {
	dashboards.StorageState
	since  time.Time
	set    map[telemetry.Kind]int
	by     string
	refuse error
}

func (s *shelf) Storage(context.Context) (dashboards.StorageState, error) { return s.StorageState, nil }

func (s *shelf) SetRetention(_ context.Context, since time.Time, days map[telemetry.Kind]int, by, reason string) error {
	if s.refuse == nil {
		s.since, s.set, s.by = since, days, by+": "+reason
	}
	return s.refuse
}

func TestRetentionOnAPage(t *testing.T) {
	kept := &shelf{StorageState: dashboards.StorageState{
		Days: map[telemetry.Kind]int{telemetry.KindAir: 1826, telemetry.KindWaste: 90}, Files: 12, Bytes: 3_400_000, Problem: "no <room>",
	}}
	s := start(t, airWorld(), func(o *dashboards.Options) { o.Storage = kept })
	v := s.signedIn(t, account.Admin)
	_, body := v.get("/dinas/atur/sistem")
	for _, want := range []string{"Arsip: 12 berkas, 3,4 MB", "no &lt;room&gt;", `name="days_air"`, `value="1826"`, "Sampah, hari"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	before := len(s.told(t))
	form := url.Values{"days_air": {"1826"}, "days_waste": {"180"}, "since": {"2026-12-01T00:00"}, "alasan": {"rapat"}}
	for name, change := range map[string][2]string{"a past date": {"since", "2026-11-01T00:00"}, "no reason": {"alasan", ""}, "no number": {"days_air", "lama"}, "no change": {"days_waste", "90"}} {
		wrong := url.Values{}
		for k, x := range form {
			wrong[k] = x
		}
		wrong.Set(change[0], change[1])
		if r, body := v.post("/dinas/atur/sistem/retensi", wrong); r.StatusCode != 422 || !strings.Contains(body, `class="wrong"`) || kept.set != nil {
			t.Errorf("%s: %s", name, r.Status)
		}
	}
	kept.refuse = errors.New("retention: waste = 180 days")
	if r, body := v.post("/dinas/atur/sistem/retensi", form); r.StatusCode != 422 || !strings.Contains(body, "waste = 180 days") || !strings.Contains(body, `value="180"`) {
		t.Errorf("refused: %s", r.Status)
	}
	kept.refuse = nil
	if r, _ := v.post("/en/dinas/atur/sistem/retensi", form); r.StatusCode != 303 {
		t.Fatalf("set: %s", r.Status)
	}
	if len(kept.set) != 1 || kept.set[telemetry.KindWaste] != 180 || !kept.since.Equal(time.Date(2026, 11, 30, 17, 0, 0, 0, time.UTC)) || !strings.HasSuffix(kept.by, ": rapat") {
		t.Errorf("%+v", kept)
	}
	if after := s.told(t); len(after) != before+1 {
		t.Errorf("told of: %v", after[before:])
	}
}
