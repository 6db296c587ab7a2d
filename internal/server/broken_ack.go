//go:build brokenack

package server

import (
	"time"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/envelope"
)

// hasty acknowledges at once and keeps a little later.
type hasty struct{ broker.Journal }

// Submit lies: done comes before the fsync.
func (h hasty) Submit(p envelope.Packet, done func(error)) {
	p.Payload = append([]byte(nil), p.Payload...)
	done(nil)
	time.AfterFunc(200*time.Millisecond, func() { h.Journal.Submit(p, func(error) {}) })
}

func asDoor(j broker.Journal) broker.Journal       { return hasty{j} }
func asDatabase(d ingest.Database) ingest.Database { return d }
