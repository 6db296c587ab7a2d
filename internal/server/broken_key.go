//go:build brokenkey

package server

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strconv"

	"github.com/pantau-id/pantau/broker"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
)

// careless writes every point under a time of its own, so that what is written
// twice is stored twice.
type careless struct{ ingest.Database }

// Write moves each line's time by a few nanoseconds.
func (c careless) Write(ctx context.Context, b influx.Bucket, lines []byte) error {
	if b != influx.Raw {
		return c.Database.Write(ctx, b, lines)
	}
	var out []byte
	for line := range bytes.Lines(lines) {
		line = bytes.TrimRight(line, "\n")
		at := bytes.LastIndexByte(line, ' ') + 1
		ns, err := strconv.ParseInt(string(line[at:]), 10, 64)
		if err != nil {
			return err
		}
		out = strconv.AppendInt(append(out, line[:at]...), ns+rand.Int64N(100_000)+1, 10)
		out = append(out, '\n')
	}
	return c.Database.Write(ctx, b, out)
}

func asDoor(j broker.Journal) broker.Journal       { return j }
func asDatabase(d ingest.Database) ingest.Database { return careless{d} }
