package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// session is one authenticated connection. Its reader hands messages to the
// journal in order; the journal tells their fate in the same order; a writer of
// its own then sends the PUBACKs, all that are ready in one write.
type session struct {
	b         *Broker
	conn      *conn
	journal   Journal
	rules     rules
	node      telemetry.Node // zero in Options.Open
	client    string
	id        uint64
	since     time.Time
	until     time.Time // when the certificate or the longest session ends
	remote    string
	will      *will
	clean     bool
	keepAlive uint16   // seconds
	old       *session // of the same client, to be ended before this one begins

	// What only the reader uses.
	left    bool                // DISCONNECT came
	topics  map[string]string   // allowed topics that were used
	filters map[string]struct{} // asked for
	nextAt  int64               // Unix ns from which the next message is within the rate
	born    bool                // its first NBIRTH came

	commands   atomic.Bool // subscribed to NCMD
	timeWanted atomic.Bool // takes the time, and was not told yet
	hostWanted atomic.Bool // subscribed to STATE
	toldState  chan struct{}
	toldOnce   sync.Once

	cutOnce sync.Once
	cutting chan struct{} // closed when the session is cut
	ended   chan struct{} // closed when nothing more will be handed to the journal
	quit    chan struct{} // closed when the writer is to end
	written chan struct{} // closed when it has
	room    chan struct{} // one token: something was finished
	wake    chan struct{} // one token: the writer has work
	done    func(error)   // committed, made once

	mu       sync.Mutex
	pending  []entry // handed to the journal, oldest at head
	head     int
	ready    []entry // kept, PUBACK not yet written
	open     int     // entries not finished: pending, ready, being written
	openSize int     // their bytes
	failed   bool    // a message could not be kept: no PUBACK any more
	out      []byte  // mochi's packets, not yet written
}

// entry is a message on its way.
type entry struct {
	received int64 // Unix ns
	size     int
	id       uint16
	qos      byte
	will     bool
	forward  *forward // Options.Open only
}

// forward is a message for subscribers.
type forward struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

func (b *Broker) newSession(c *conn, j Journal) *session {
	s := &session{b: b, conn: c, journal: j, id: newID(), since: b.opts.Now(), remote: c.RemoteAddr().String(),
		topics: map[string]string{}, filters: map[string]struct{}{},
		toldState: make(chan struct{}), cutting: make(chan struct{}), ended: make(chan struct{}), quit: make(chan struct{}),
		written: make(chan struct{}), room: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	s.done = s.committed
	return s
}

func (s *session) isCut() bool {
	select {
	case <-s.cutting:
		return true
	default:
		return false
	}
}

// cut ends the session at once, without a packet more. It never blocks.
func (s *session) cut(reason string, err error) {
	s.cutOnce.Do(func() {
		close(s.cutting)
		s.b.metrics.cut.WithLabelValues(reason).Inc()
		_ = s.conn.raw.Close() // its error helps nobody: the connection is given up
		s.b.log(reason, "session cut", err, slog.String("client", s.client), slog.String("remote", s.remote))
	})
}

var (
	errForeign = errors.New("topic is not the client's")
	errCut     = errors.New("session is cut")
)

// topic checks a topic and returns it as a string; those in use are remembered.
func (s *session) topic(b []byte) (string, error) {
	if t, ok := s.topics[string(b)]; ok {
		return t, nil
	}
	if err := checkTopic(b); err != nil {
		return "", err
	}
	t := string(b)
	if !s.rules.mayPublish(t) {
		return "", fmt.Errorf("publish to %q: %w", t, errForeign)
	}
	if len(s.topics) >= 256 {
		clear(s.topics)
	}
	s.topics[t] = t
	return t, nil
}

// publish hands one PUBLISH of QoS 0 or 1 to the journal. It blocks while the
// client has too much under way.
// [tck-id-conformance-mqtt-qos0] [tck-id-conformance-mqtt-qos1]
func (s *session) publish(flags byte, body []byte) error {
	p, err := splitPublish(flags, body)
	var topic string
	if err == nil {
		topic, err = s.topic(p.topic)
	}
	if err != nil {
		var bad violation
		reason := reasonPublish
		if errors.As(err, &bad) {
			reason = string(bad)
		}
		s.cut(reason, err)
		return err
	}
	e := entry{received: s.conn.now.UnixNano(), size: len(p.topic) + len(p.payload), id: p.id, qos: p.qos}
	if s.b.opts.Open != nil {
		e.forward = &forward{topic: topic, payload: append([]byte(nil), p.payload...), qos: p.qos, retain: p.retain}
	}
	if err := s.pace(e.received, e.size); err != nil {
		return err
	}
	if err := s.waitForRoom(e.size); err != nil {
		return err
	}
	s.submit(e, topic, p.payload)
	if r, ok := s.rules.(*nodeRules); ok && !s.born && topic == r.nbirth {
		s.born = true
		var birth sparkplug.Payload
		if sparkplug.Decode(p.payload, &birth) == nil && birth.Names(sparkplug.MetricTime) {
			s.timeWanted.Store(true)
			s.b.tellTime(s)
		}
	}
	return nil
}

func (s *session) submit(e entry, topic string, payload []byte) {
	var flags envelope.Flags
	if e.qos == 0 {
		flags |= envelope.FlagQoS0
	}
	if e.will {
		flags |= envelope.FlagWill
	}
	if !s.b.synced.Load() {
		flags |= envelope.FlagClockUnsynced
	}
	s.mu.Lock()
	if s.head > 0 && s.head == len(s.pending) {
		s.pending, s.head = s.pending[:0], 0
	} else if s.head > 32 && s.head > len(s.pending)/2 {
		s.pending, s.head = s.pending[:copy(s.pending, s.pending[s.head:])], 0
	}
	s.pending = append(s.pending, e)
	s.open++
	s.openSize += e.size
	s.mu.Unlock()
	s.b.metrics.messages.Inc()
	s.b.metrics.bytes.Add(float64(len(payload)))
	s.journal.Submit(envelope.Packet{Received: e.received, Client: s.client, Session: s.id, Flags: flags, Topic: topic, Payload: payload}, s.done)
}

// committed is told by the journal, in order, what became of each message.
func (s *session) committed(err error) {
	s.mu.Lock()
	e := s.pending[s.head]
	s.pending[s.head] = entry{}
	s.head++
	if err != nil || s.failed {
		// DATA must not stand without its birth: what follows a lost message of a
		// session is refused too, and a new session brings a fresh birth.
		first := !s.failed
		s.failed = true
		s.finish(e)
		s.mu.Unlock()
		if first {
			s.cut(reasonJournal, err)
		}
		return
	}
	s.ready = append(s.ready, e)
	s.mu.Unlock()
	token(s.wake)
}

// fail ends all acknowledging.
func (s *session) fail() {
	s.mu.Lock()
	s.failed = true
	s.mu.Unlock()
}

// finish takes e off the account. s.mu is held.
func (s *session) finish(e entry) {
	s.open--
	s.openSize -= e.size
	token(s.room)
}

func token(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// acknowledge is the session's writer.
func (s *session) acknowledge() {
	defer close(s.written)
	var batch []entry
	var buf []byte
	var til time.Time // the deadline set for writing
	for last := false; !last; {
		select {
		case <-s.wake:
		case <-s.quit:
			last = true
		}
		s.mu.Lock()
		batch, s.ready = s.ready, batch[:0]
		buf, s.out = s.out, buf[:0]
		s.mu.Unlock()
		acks := 0
		for i := range batch {
			if e := &batch[i]; e.qos == 1 && !e.will {
				buf = append(buf, byte(typePuback)<<4, 2, byte(e.id>>8), byte(e.id)) // [MQTT-4.3.2-2]
				acks++
			}
		}
		if len(buf) > 0 {
			if now := time.Now(); til.Sub(now) < s.b.opts.Limits.WriteTime/2 {
				til = now.Add(s.b.opts.Limits.WriteTime)
				_ = s.conn.Conn.SetWriteDeadline(til) // fails only on a closed connection
			}
			if _, err := s.conn.Conn.Write(buf); err != nil {
				s.cut(reasonWrite, err)
			} else {
				s.b.metrics.acknowledged.Add(float64(acks))
			}
			if cap(buf) > 4*readBuffer {
				buf = nil
			}
		}
		now := s.b.opts.Now().UnixNano()
		for i := range batch {
			e := &batch[i]
			if e.qos == 1 && !e.will {
				s.b.metrics.latency(e.received, now)
			}
			if e.forward != nil {
				s.b.forward(e.forward)
			}
		}
		s.mu.Lock()
		for i := range batch {
			s.finish(batch[i])
			batch[i] = entry{}
		}
		s.mu.Unlock()
	}
}

// send queues packets of mochi's for the writer.
func (s *session) send(p []byte) error {
	s.mu.Lock()
	full := len(s.out)+len(p) > s.b.opts.Limits.UnreadBytes
	if !full {
		s.out = append(s.out, p...)
	}
	s.mu.Unlock()
	if full {
		s.cut(reasonSlow, nil)
		return errCut
	}
	token(s.wake)
	return nil
}

// pace keeps the client within its rate: the reader waits, so that the client's
// own TCP connection slows it down.
func (s *session) pace(now int64, size int) error {
	l := &s.b.opts.Limits
	cost := int64(time.Second)/int64(l.MessagesPerSecond) + int64(size)*int64(time.Second)/int64(l.BytesPerSecond)
	s.nextAt = max(s.nextAt, now-int64(time.Second)) + cost // one second's worth may come at once
	if s.nextAt <= now {
		return nil
	}
	if now = s.b.opts.Now().UnixNano(); s.nextAt <= now { // the packet came in one read with others
		return nil
	}
	s.b.metrics.throttled.Inc()
	wait := time.NewTimer(time.Duration(s.nextAt - now))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-s.cutting:
		return errCut
	}
}

// waitForRoom blocks the reader while too much is under way, for at most half
// the keep-alive: longer, and the client's PINGREQ would go unanswered.
func (s *session) waitForRoom(size int) error {
	l := &s.b.opts.Limits
	var timeout <-chan time.Time
	for {
		s.mu.Lock()
		full := s.open >= l.InFlight || s.open > 0 && s.openSize+size > l.InFlightBytes
		failed := s.failed
		s.mu.Unlock()
		if failed {
			return errCut
		}
		if !full {
			return nil
		}
		if timeout == nil {
			s.b.metrics.throttled.Inc()
			patience := time.Duration(s.keepAlive) * time.Second / 2
			if patience == 0 {
				patience = 30 * time.Second
			}
			timer := time.NewTimer(patience)
			defer timer.Stop()
			timeout = timer.C
		}
		select {
		case <-s.room:
		case <-s.cutting:
			return errCut
		case <-timeout:
			s.cut(reasonInFlight, nil)
			return errCut
		}
	}
}

// drain waits until everything handed to the journal is finished.
func (s *session) drain(giveUp, orElse <-chan struct{}) {
	for {
		s.mu.Lock()
		finished := s.open == 0 || s.failed
		s.mu.Unlock()
		if finished {
			return
		}
		select {
		case <-s.room:
		case <-giveUp:
			return
		case <-orElse:
			return
		}
	}
}

// subscribe notes what a SUBSCRIBE asks for; the rules decide on it once more
// when mochi asks them.
func (s *session) subscribe(filters []string) error {
	for _, f := range filters {
		s.filters[f] = struct{}{}
		if !s.rules.maySubscribe(f) {
			s.b.metrics.refusedFilters.Inc()
			s.b.log(reasonSubscribe, "subscription refused", nil, slog.String("client", s.client), slog.String("filter", f))
		}
	}
	if len(s.filters) > s.b.opts.Limits.Subscriptions {
		return tooManyFilters
	}
	return nil
}

func (s *session) unsubscribe(filters []string) {
	for _, f := range filters {
		delete(s.filters, f)
	}
}

// sendWill hands the will to the journal if the client went away without
// DISCONNECT. While the server itself is stopping nobody has died.
func (s *session) sendWill() {
	if s.will == nil || s.left || s.b.stopping.Load() {
		return
	}
	w := s.will
	s.will = nil
	e := entry{received: s.b.opts.Now().UnixNano(), size: len(w.topic) + len(w.payload), qos: w.qos, will: true}
	if s.b.opts.Open != nil {
		e.forward = &forward{topic: w.topic, payload: w.payload, qos: w.qos, retain: w.retain}
	}
	s.b.metrics.wills.Inc()
	s.submit(e, w.topic, w.payload)
}
