package spool

import (
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Epochs are random numbers. Runs of which the server has never heard must be
// told in the order in which they were, or it takes an old value for the newest.
func TestEpochsAreListedFromOldToNew(t *testing.T) {
	disk := map[SegmentID][]byte{}
	var got []telemetry.Epoch
	runs := []telemetry.Epoch{900, 100, 500, 50}
	for i, epoch := range runs {
		c := NewCore(CoreOptions{Epoch: epoch, Boot: clock.BootID{1}, Quota: 1 << 20, SegmentBytes: 1 << 10, SyncEvery: time.Second, SyncCount: 1})
		ids := make([]SegmentID, 0, len(disk))
		for id := range disk {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b SegmentID) int { return int(a.Seq) - int(b.Seq) })
		for _, id := range ids {
			c.Recover(id, disk[id])
		}
		now := time.Duration(i+1) * time.Minute
		c.Start(now)
		sample := Sample{Device: "air", Boottime: now, Readings: []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(12)}}}
		if _, err := c.Append(sample, now); err != nil {
			t.Fatal(err)
		}
		for _, op := range c.Take() {
			if op.Kind == OpWrite {
				disk[op.Segment] = append(disk[op.Segment][:op.Off], op.Data...)
			}
		}
		got = nil
		for _, e := range c.Epochs() {
			got = append(got, e.Epoch)
		}
	}
	if !slices.Equal(got, runs) {
		t.Errorf("listed %v, want %v", got, runs)
	}
}
