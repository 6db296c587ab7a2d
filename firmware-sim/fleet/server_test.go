package fleet

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// server is a Sparkplug host at the level of packets: it decodes all that comes,
// by the birth of its session, and acknowledges as it is told.
type server struct {
	t        *testing.T
	listener net.Listener
	// deal says what to do with the n-th NDATA: acknowledge it, or cut the link.
	deal func(n int) dealing
	// foreign sees births and data of nodes that are not ours.
	foreign func(sparkplug.Topic, *sparkplug.Payload)
	// raw sees every packet as it comes.
	raw func(in *incoming)
	// greet is sent after a subscription, if set.
	greet []byte

	mu     sync.Mutex
	closed *sync.Cond // a link has been read to its end
	open   int        // links
	n      int
	births int
	deaths int
	runs   []received
	full   func() bool // says that the test has what it needs; nil: it does not ask
	filled chan struct{}
}

// enough returns what closes once full says so; full is asked after each message.
func (s *server) enough(full func() bool) <-chan struct{} {
	s.full, s.filled = full, make(chan struct{})
	return s.filled
}

// over waits until the links of a play that has ended were read to their ends.
func (s *server) over() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.closed.Wait()
	}
}

type dealing int

const (
	ack dealing = iota
	cut
	forget // neither
)

// received is one record as the server understood it.
type received struct {
	node    string
	run     telemetry.Run
	records []telemetry.Record
	acked   bool
	at      time.Time
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: l, deal: func(int) dealing { return ack }}
	s.closed = sync.NewCond(&s.mu)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open++
			s.mu.Unlock()
			group.Go(func() {
				s.serve(c)
				s.mu.Lock()
				s.open--
				s.closed.Broadcast()
				s.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() { l.Close(); group.Wait() })
	return s
}

func (s *server) url() string { return "mqtt://" + s.listener.Addr().String() }

func (s *server) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	var in incoming
	var birth *sparkplug.Birth
	seq := uint64(0)
	reply := func(b ...byte) { c.Write(b) }
	for in.read(r) == nil {
		if s.raw != nil {
			s.raw(&in)
		}
		switch in.first & 0xf0 {
		case typeConnect:
			reply(typeConnack, 2, 0, 0)
		case typeSubscribe & 0xf0:
			reply(typeSuback, 3, in.body[0], in.body[1], 1)
			if s.greet != nil {
				reply(s.greet...)
			}
		case typePublish:
			name, body, _, id, err := in.publish()
			if err != nil {
				s.t.Error(err)
				return
			}
			topic, err := sparkplug.ParseTopic(name)
			if err != nil {
				s.t.Error(err)
				return
			}
			var p sparkplug.Payload
			if err := sparkplug.Decode(body, &p); err != nil {
				s.t.Error(err)
				return
			}
			s.mu.Lock()
			how := ack
			if s.foreign != nil {
				s.foreign(topic, &p)
				topic.Type = ""
			}
			switch topic.Type {
			case sparkplug.NBIRTH:
				s.births++
				seq = p.Seq
				if birth, err = sparkplug.ParseBirth(&p, ""); err != nil || p.Seq != 0 {
					s.t.Errorf("birth with seq %d: %v", p.Seq, err)
				}
			case sparkplug.NDEATH:
				s.deaths++
			case sparkplug.NDATA:
				if seq = (seq + 1) % 256; p.Seq != seq {
					s.t.Errorf("seq %d, want %d", p.Seq, seq)
				}
				s.n++
				how = s.deal(s.n)
				var d sparkplug.Data
				if err := d.Resolve(&p, birth, 0); err != nil {
					s.t.Errorf("data: %v", err)
				} else {
					s.runs = append(s.runs, received{topic.Node.String(), d.Run, d.Records, how == ack, time.Now()})
				}
			}
			if s.full != nil && s.full() {
				s.full = nil
				close(s.filled)
			}
			s.mu.Unlock()
			switch how {
			case ack:
				reply(typePuback, 2, byte(id>>8), byte(id))
			case cut:
				// In order: closed at once, with packets unread, the link would take
				// PUBACKs with it that are on their way.
				if c, ok := c.(*net.TCPConn); ok {
					_ = c.CloseWrite()
				}
				_, _ = io.Copy(io.Discard, r)
				return
			}
		case typePingreq:
			reply(typePingresp, 0)
		case typeDisconnect:
			return
		}
	}
}
