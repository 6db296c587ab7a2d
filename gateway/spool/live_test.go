package spool

import (
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A segment in which nothing could be sent because no UTC was known holds live
// records all the same: once it is known they come first, in number order. (An
// alert takes what comes behind a higher number for old news.)
func TestLiveRecordsThatWaitedForTheirMappingComeInOrder(t *testing.T) {
	c := NewCore(CoreOptions{Epoch: 7, Boot: clock.BootID{1}, Quota: 1 << 20, SegmentBytes: 1 << 10, SyncEvery: time.Second, SyncCount: 1})
	now := time.Minute
	sync := func() {
		c.Tick(now)
		for ops := c.Take(); len(ops) > 0; ops = c.Take() {
			for _, op := range ops {
				switch op.Kind {
				case OpWrite:
					c.Written(op.Segment, op.Off, op.Off+int64(len(op.Data)))
				case OpSync:
					c.Synced(op.Segment, op.To)
				}
			}
		}
	}
	take := func() {
		t.Helper()
		s := Sample{Device: "air", Boottime: now, Readings: []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(float64(now.Milliseconds()) / 7)}}}
		if _, err := c.Append(s, now); err != nil {
			t.Fatal(err)
		}
		now += time.Second
		sync()
	}
	c.Start(now)
	take()
	c.Discard(7, 1, 1, now) // a loss record, which needs no UTC
	now += 7 * time.Minute
	for len(c.segs) < 3 {
		take()
	}
	limit := Limit{Records: 100, Bytes: 1 << 16}
	if b := c.Next(Live, now, limit); b.Run.Count != 0 {
		t.Fatalf("sent without UTC: %+v", b.Run)
	}
	c.AddMapping(clock.Mapping{From: clock.Millis(now), Offset: 1764000000000, Quality: telemetry.TimeServer, ID: telemetry.ClockID{Epoch: 7, Counter: 1}}, now)
	sync()
	next := uint64(3) // 1 was discarded, 2 says so
	for next < c.next {
		b := c.Next(Live, now, limit)
		if b.Run.Count == 0 {
			t.Fatalf("nothing to send, want from %d on", next)
		}
		if b.Run.First != next {
			t.Fatalf("live begins at %d, want %d", b.Run.First, next)
		}
		next += b.Run.Count
	}
}
