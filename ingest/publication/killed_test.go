//go:build !race

package publication_test

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Killed again and again, wherever it was, the book ends as one that never was.
func TestABookThatIsKilledEndsTheSame(t *testing.T) {
	server := influxtest.Shared(t)
	quiet := slog.New(slog.DiscardHandler)
	from := hour.Add(-20 * 24 * time.Hour)
	r := rand.New(rand.NewPCG(5, 6))
	run := func(kills int) []string {
		dir := filepath.Join(t.TempDir(), fmt.Sprintf("book_killed_%d", kills))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "url"), []byte(server.URL), 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := influx.New(influx.Options{URL: server.URL, Prefix: filepath.Base(dir)})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		for _, site := range []string{"smg-1", "solo-1"} {
			var rows []influx.Row
			for h := range 20 * 24 {
				for i, q := range []string{"pm2_5", "pm10"} {
					row := influx.NewRow(telemetry.KindAir, telemetry.Node{Group: "3374", ID: site}, "air", q, from.Add(time.Duration(h)*time.Hour))
					row.Mean, row.Min, row.Max, row.Valid, row.Expected, row.Computed = float64(10+h*7%91+i), 1, 200, 60, 60, noon
					rows = append(rows, row)
				}
			}
			for i := range 21 {
				day := influx.NewRow(telemetry.KindAir, telemetry.Node{Group: "3374", ID: site}, "air", "pm2_5", figures.Day(from.Add(time.Duration(24*i+1)*time.Hour)))
				day.Mean, day.Valid, day.Computed = 10, 1, noon
				rows = append(rows, day)
			}
			days := rows[len(rows)-21:]
			if err := errors.Join(db.WriteRows(ctx, influx.Hours, rows[:len(rows)-21]), db.WriteRows(ctx, influx.Days, days)); err != nil {
				t.Fatal(err)
			}
		}
		for range kills {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), killed+"="+dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			for steps := r.IntN(4); steps >= 0 && lines.Scan(); steps-- {
				if lines.Text() != "step" {
					t.Fatalf("the computing process says %q", lines.Text())
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed, as asked
		}
		j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close(ctx) }()
		book, err := bookOf(dir, j, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = book.Close(ctx) }()
		for waits := true; waits; {
			if _, err := book.Step(ctx); err != nil {
				t.Fatal(err)
			}
			s, err := book.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			waits = s.HoursWaiting+s.FiguresWaiting > 0
		}
		c := chain{t: t, book: book}
		said := c.said(from, hour, "smg-1", "solo-1")
		corrections, err := book.Corrections(ctx, time.Time{}, noon.Add(time.Hour))
		if err != nil || len(corrections) > 0 {
			t.Errorf("%d kills made %d corrections, %v", kills, len(corrections), err)
		}
		if f := figure(t, book, figures.Hourly, "smg-1", hour); !f.OK {
			t.Errorf("%+v", f)
		}
		return said
	}
	never, often := run(0), run(12)
	if !slices.Equal(never, often) || len(never) != 2*(2*480+480+20) {
		t.Errorf("%d hours and figures, %d after the kills", len(never), len(often))
	}
}
