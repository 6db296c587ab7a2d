//go:build !brokenack && !brokenkey

package server

import (
	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/ingest"
)

// Two builds with a tag break a promise each, so that the drills can show that
// they would notice: brokenack acknowledges before the journal has fsynced,
// brokenkey gives a point another time at every write. This is the sound build.

func asDoor(j broker.Journal) broker.Journal       { return j }
func asDatabase(d ingest.Database) ingest.Database { return d }
