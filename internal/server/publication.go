package server

import (
	"context"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication"
)

// openPublication opens the book of what is published. Ingest tells it which hours
// are new, places tell it which sites changed; it computes once ingest runs.
func (s *Server) openPublication(ctx context.Context) error {
	kv, err := s.journal.KV(ctx, "publication", journal.KVOptions{})
	if err != nil {
		return err
	}
	s.publication, err = publication.Open(ctx, publication.Options{
		Dir: s.o.Data, KV: kv, Places: s.places, Database: s.raw,
		Synced: s.synced, Rest: s.o.rest, Logger: s.log.With("room", "publication"), Registerer: s.metrics,
	})
	if err != nil {
		return err
	}
	s.closers.Add("publication", s.publication.Close)
	s.moved.follow(s.publication.PlaceChanged)
	return nil
}
