package server

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A gateway whose trusted clock is behind brings only late data, which page
// nobody: that itself is told, once, and so is its end.
func TestAClockThatIsBehindIsTold(t *testing.T) {
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	kv, err := j.KV(t.Context(), "alerts", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var told []alert.State
	book, err := ingest.OpenAlertBook(t.Context(), kv, func(_ context.Context, x alert.Transition) error {
		told = append(told, x.State)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)
	good := ingest.Node{Node: telemetry.Node{Group: "3374", ID: "tepat"}}
	bad := ingest.Node{Node: telemetry.Node{Group: "3374", ID: "terlambat"}, ClockBad: true, LateSince: now.Add(-6 * time.Minute).UnixNano()}
	look := func(want []alert.State, nodes ...ingest.Node) {
		t.Helper()
		for range 2 { // the second look finds nothing new
			if err := book.Keep(t.Context(), clockAlarms(book.Open(), nodes, now)); err != nil {
				t.Fatal(err)
			}
		}
		if len(told) != len(want) {
			t.Fatalf("told %v, want %v", told, want)
		}
		for i := range want {
			if told[i] != want[i] {
				t.Fatalf("told %v, want %v", told, want)
			}
		}
	}
	look(nil, good)
	look([]alert.State{alert.Firing}, good, bad)
	if open := book.Open(); len(open) != 1 || open[0].Firing.Series.Node != bad.Node || open[0].Firing.Time != now.Add(-6*time.Minute).UnixMilli() {
		t.Errorf("open: %+v", open)
	}
	bad.ClockBad = false
	look([]alert.State{alert.Firing, alert.Resolved}, good, bad)
	bad.ClockBad, bad.LateSince = true, now.UnixNano()
	look([]alert.State{alert.Firing, alert.Resolved, alert.Firing}, good, bad)
	look([]alert.State{alert.Firing, alert.Resolved, alert.Firing, alert.Resolved}, good) // revoked and forgotten
	if open := book.Open(); len(open) != 0 {
		t.Errorf("open: %+v", open)
	}
}
