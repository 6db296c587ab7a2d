package fleet

import (
	"testing"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func kept(boottime int64) *message { return &message{boottime: boottime, ms: boottime + 1, kept: true} }

func TestTheFloorIsTheLowestUnacknowledgedNumber(t *testing.T) {
	q := newQueue(telemetry.Epoch(1))
	if q.floor() != 1 || !q.empty() {
		t.Errorf("floor %d of an empty queue", q.floor())
	}
	var all []*message
	for i := range 1000 {
		m := kept(int64(i))
		q.push(m, 2)
		all = append(all, m)
	}
	for i := 999; i > 0; i-- { // all but the first, backwards
		q.ack(all[i])
	}
	if q.floor() != 1 {
		t.Errorf("floor %d while the first is open", q.floor())
	}
	q.ack(all[0])
	if q.floor() != 2001 || !q.empty() || len(q.messages) > 300 {
		t.Errorf("floor %d, %d messages kept", q.floor(), len(q.messages))
	}
}

func TestNumbersGoOutInOrderWithinALane(t *testing.T) {
	q := newQueue(telemetry.Epoch(1))
	for i := range 6 {
		q.push(kept(int64(i)), 1)
	}
	q.messages[4].kept = false // its line is not on disk
	q.age(3)
	var live, backlog []uint64
	for m := q.nextLive(); m != nil; m = q.nextLive() {
		m.sent = true
		live = append(live, m.first)
	}
	for m := q.nextBacklog(); m != nil; m = q.nextBacklog() {
		m.sent = true
		backlog = append(backlog, m.first)
	}
	if len(live) != 1 || live[0] != 4 || len(backlog) != 3 || backlog[0] != 1 || backlog[2] != 3 {
		t.Errorf("live %v, backlog %v", live, backlog)
	}
	q.messages[4].kept = true
	if m := q.nextLive(); m == nil || m.first != 5 {
		t.Errorf("after its line: %+v", m)
	}
	q.again() // the link was cut: all goes out anew
	q.age(4)
	if m := q.nextBacklog(); m == nil || m.first != 1 {
		t.Errorf("after a cut: %+v", m)
	}
	if m := q.nextLive(); m == nil || m.first != 5 {
		t.Errorf("after a cut: %+v", m)
	}
}
