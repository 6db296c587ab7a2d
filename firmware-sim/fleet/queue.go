package fleet

import (
	"github.com/pantau-id/pantau/internal/telemetry"
)

// message is one sample of a whole station: a run of records, one a device.
type message struct {
	first    uint64 // number of its first record
	boottime int64  // CLOCK_BOOTTIME in milliseconds
	ms       int64  // Unix milliseconds, 0 = not resolved
	clock    uint32 // counter of its clock id, whose epoch is the queue's or an older one's
	clockOf  telemetry.Epoch
	quality  telemetry.TimeQuality
	values   []float64
	kept     bool // its S lines are on disk
	sent     bool // in flight or acknowledged
	acked    bool
	at       int64 // monotonic nanoseconds of its newest PUBLISH
}

// queue is what one epoch of one gateway still has to send, in the order of its
// numbers. It is a state machine without clock, goroutine or I/O.
type queue struct {
	epoch    telemetry.Epoch
	next     uint64 // the next record's number
	messages []*message
	head     int // the first that is not acknowledged
	edge     int // the first that is young enough to go live
	live     int // no unsent message lies between edge and here
	backlog  int // nor between head and here
}

func newQueue(e telemetry.Epoch) *queue { return &queue{epoch: e, next: 1} }

// push adds a message of n records.
func (q *queue) push(m *message, n int) {
	m.first = q.next
	q.next += uint64(n)
	q.messages = append(q.messages, m)
}

// floor is the lowest number that is not acknowledged.
func (q *queue) floor() uint64 {
	if q.head < len(q.messages) {
		return q.messages[q.head].first
	}
	return q.next
}

// empty reports whether all is acknowledged.
func (q *queue) empty() bool { return q.head == len(q.messages) }

// age moves the edge: what was sampled before cutoff is backlog from now on.
func (q *queue) age(cutoff int64) {
	for q.edge = max(q.edge, q.head); q.edge < len(q.messages) && q.messages[q.edge].boottime < cutoff; q.edge++ {
	}
}

// nextLive returns the oldest live message that may go out, nil if there is none.
func (q *queue) nextLive() *message {
	q.live = max(q.live, q.edge)
	return q.unsent(&q.live, len(q.messages))
}

// nextBacklog returns the oldest other message that may go out.
func (q *queue) nextBacklog() *message {
	q.backlog = max(q.backlog, q.head)
	return q.unsent(&q.backlog, q.edge)
}

// unsent moves *at to the first unsent message before end. Numbers go out in
// order, so one that is not ready holds up those behind it.
func (q *queue) unsent(at *int, end int) *message {
	for ; *at < end; *at++ {
		m := q.messages[*at]
		if !m.ready() {
			return nil
		}
		if !m.sent {
			return m
		}
	}
	return nil
}

func (m *message) ready() bool { return m.ms != 0 && m.kept }

// ack marks a message and forgets what needs no keeping.
func (q *queue) ack(m *message) {
	m.acked = true
	for q.head < len(q.messages) && q.messages[q.head].acked {
		q.messages[q.head] = nil
		q.head++
	}
	if q.head > 256 && q.head > len(q.messages)/2 {
		n := copy(q.messages, q.messages[q.head:])
		clear(q.messages[n:])
		q.messages = q.messages[:n]
		for _, i := range []*int{&q.edge, &q.live, &q.backlog} {
			*i = max(0, *i-q.head)
		}
		q.head = 0
	}
}

// again marks what was in flight on a cut link as unsent.
func (q *queue) again() {
	for _, m := range q.messages[q.head:] {
		if m.sent && !m.acked {
			m.sent = false
		}
	}
	q.live, q.backlog = 0, 0
}
