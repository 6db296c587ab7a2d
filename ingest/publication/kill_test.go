package publication_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A process of its own computes the book of the folder that this variable names,
// step by step, until it is killed.
const killed = "PANTAU_TEST_BOOK_TO_KILL"

func computeUntilKilled(dir string) error {
	quiet := slog.New(slog.DiscardHandler)
	j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
	if err != nil {
		return err
	}
	b, err := bookOf(dir, j, quiet)
	if err != nil {
		return err
	}
	for {
		if _, err := b.Step(ctx); err != nil {
			return err
		}
		fmt.Println("step")
	}
}

func bookOf(dir string, j *journal.Journal, quiet *slog.Logger) (*publication.Book, error) {
	url, err := os.ReadFile(filepath.Join(dir, "url"))
	if err != nil {
		return nil, err
	}
	db, err := influx.New(influx.Options{URL: string(url), Prefix: filepath.Base(dir)})
	if err != nil {
		return nil, err
	}
	placesKV, err := j.KV(ctx, "places", journal.KVOptions{})
	if err != nil {
		return nil, err
	}
	kv, err := j.KV(ctx, "publication", journal.KVOptions{})
	if err != nil {
		return nil, err
	}
	p, err := places.Open(ctx, places.Options{KV: placesKV, Logger: quiet, Changed: func(string, time.Time, time.Time) {}})
	if err != nil {
		return nil, err
	}
	for _, site := range []places.Site{smg, solo} {
		if err := p.PutSite(ctx, site); err != nil {
			return nil, err
		}
		d := places.Deployment{ID: "d-" + site.Code, Site: site.Code, Node: telemetry.Node{Group: "3374", ID: site.Code}, Device: "air"}
		if err := p.PutDeployment(ctx, d); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	now := func() time.Time { return noon.Add(time.Since(began)) }
	return publication.Open(ctx, publication.Options{Dir: dir, KV: kv, Places: p, Database: db, Now: now, Rest: time.Nanosecond, Logger: quiet})
}
