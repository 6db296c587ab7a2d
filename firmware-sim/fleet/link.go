package fleet

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

const (
	writeTime   = 20 * time.Second
	connectTime = 20 * time.Second
	keepAlive   = 300 * time.Second
	pingEvery   = keepAlive / 3
	backoffMin  = 200 * time.Millisecond
	backoffMax  = 10 * time.Second
)

// link keeps a session with the server until ctx ends.
func (p *player) link(ctx context.Context) {
	backoff := backoffMin
	for ctx.Err() == nil {
		p.mu.Lock()
		off := time.Until(p.offUntil)
		p.mu.Unlock()
		if off > 0 {
			pause(ctx, off)
			continue
		}
		p.progress = false
		err := p.session(ctx)
		if ctx.Err() != nil {
			return
		}
		p.f.note(err)
		if p.progress {
			backoff = backoffMin
		}
		pause(ctx, time.Duration(p.f.jitter(int64(backoff))))
		backoff = min(2*backoff, backoffMax)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// bdSeq is a node's count of its CONNECTs, which begins at 0; 255 is followed by 0.
// [tck-id-topics-nbirth-bdseq-increment]
// [tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq]
type bdSeq struct {
	now  uint64 // of the session
	next uint8
}

func (s *bdSeq) connect() uint64 {
	s.now = uint64(s.next)
	s.next++
	return s.now
}

// session connects, is born, and reads until the link ends.
func (p *player) session(ctx context.Context) error {
	conn, r, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { p.farewell(conn) })
	defer stop()
	p.f.count.connects.Add(1)
	p.mu.Lock()
	if time.Now().Before(p.offUntil) {
		p.mu.Unlock()
		return errors.New("an outage began while connecting")
	}
	p.conn = conn
	// Commands first. [tck-id-message-flow-edge-node-ncmd-subscribe]
	out := appendSubscribe(nil, sparkplug.Topic{Type: sparkplug.NCMD, Node: p.cred.Node}.String(), 1, idSubscribe)
	p.write(p.appendBirth(out))
	p.pump()
	p.mu.Unlock()
	err = p.read(r)
	p.mu.Lock()
	p.lost()
	p.mu.Unlock()
	return err
}

// connect dials and logs in.
func (p *player) connect(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	select {
	case p.f.dials <- struct{}{}:
		defer func() { <-p.f.dials }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return p.f.server.connect(ctx, p.cred, p.death, func() []byte {
		p.mu.Lock()
		defer p.mu.Unlock()
		return sparkplug.AppendDeath(nil, p.utc(p.f.boottime()), p.bdSeq.connect())
	})
}

// endpoint is the server's door.
type endpoint struct {
	address string
	tls     *tls.Config // nil = without TLS
}

// connect dials, does the handshakes of TLS and MQTT, and returns the link with
// a reader that may hold bytes of it already. will is asked once, right before
// the CONNECT that carries it.
func (e endpoint) connect(ctx context.Context, cred Credential, willTopic string, will func() []byte) (net.Conn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.address)
	if err != nil {
		return nil, nil, fmt.Errorf("connect: %w", err)
	}
	fail := func(err error) (net.Conn, *bufio.Reader, error) {
		return nil, nil, errors.Join(fmt.Errorf("connect %v: %w", cred.Node, err), conn.Close())
	}
	if c := e.tls; c != nil {
		if cred.Certificate != nil {
			c = c.Clone()
			c.Certificates = []tls.Certificate{*cred.Certificate}
		}
		secure := tls.Client(conn, c)
		if err := secure.HandshakeContext(ctx); err != nil {
			return fail(err)
		}
		conn = secure
	}
	l := login{clientID: cred.Node.String(), willTopic: willTopic, will: will(), keepAlive: uint16(keepAlive / time.Second)}
	if cred.Certificate == nil {
		l.username, l.password = l.clientID, cred.Password
	}
	if err := conn.SetDeadline(time.Now().Add(connectTime)); err != nil {
		return fail(err)
	}
	if _, err := conn.Write(appendConnect(nil, l)); err != nil {
		return fail(err)
	}
	r := bufio.NewReaderSize(conn, 512)
	var in incoming
	if err := in.read(r); err != nil {
		return fail(fmt.Errorf("wait for CONNACK: %w", err))
	}
	if in.first&0xf0 != typeConnack {
		return fail(fmt.Errorf("%w: %#02x instead of CONNACK", errPacket, in.first))
	}
	if err := connackError(in.body); err != nil {
		return fail(err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return fail(err)
	}
	return conn, r, nil
}

// farewell ends a session as the standard asks: NDEATH, then DISCONNECT.
// [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath]
func (p *player) farewell(conn net.Conn) {
	p.mu.Lock()
	if p.conn == conn {
		death := sparkplug.AppendDeath(nil, p.utc(p.f.boottime()), p.bdSeq.now)
		out := appendPublish(nil, p.death, death, 1, idDeath)
		p.write(append(out, typeDisconnect, 0))
	}
	p.mu.Unlock()
	_ = conn.Close() // the reader sees it
}

// read handles what the server sends, until the link ends. PUBACKs that came
// together are taken together.
func (p *player) read(r *bufio.Reader) error {
	var in incoming
	var payload sparkplug.Payload
	var ids []uint16
	for {
		if err := in.read(r); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		switch in.first & 0xf0 {
		case typePuback:
			id, err := in.id()
			if err != nil {
				return err
			}
			ids = append(ids, id)
		case typePublish:
			if err := p.command(&in, &payload); err != nil {
				return err
			}
		case typeSuback:
			if len(in.body) < 3 || in.body[2] == 0x80 {
				return fmt.Errorf("the server refuses the subscription to commands")
			}
		case typePingresp:
		default:
			return fmt.Errorf("%w: type %#02x", errPacket, in.first)
		}
		if r.Buffered() > 0 && len(ids) < p.f.o.Window {
			continue
		}
		if len(ids) > 0 {
			p.takeAcks(ids)
			ids = ids[:0]
		}
	}
}

func (p *player) takeAcks(ids []uint16) {
	s := p.f.scratch()
	s.acks = s.acks[:0]
	p.progress = true
	p.mu.Lock()
	for _, id := range ids {
		s.acks = p.acked(id, s.acks)
	}
	if p.f.o.Interval == 0 {
		p.top()
	}
	p.pump()
	p.mu.Unlock()
	if len(s.acks) > 0 {
		p.f.ledger.add(s.acks, nil)
	}
	p.f.scratches.Put(s)
}

// command obeys an NCMD: the server's time, or a rebirth.
func (p *player) command(in *incoming, payload *sparkplug.Payload) error {
	_, body, qos, id, err := in.publish()
	if err != nil {
		return err
	}
	if err := sparkplug.Decode(body, payload); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []byte
	if qos == 1 {
		out = append(out, typePuback, 2, byte(id>>8), byte(id))
	}
	for i := range payload.Metrics {
		m := &payload.Metrics[i]
		switch string(m.Name) {
		case sparkplug.MetricTime:
			if p.clock.quality == telemetry.TimeNone {
				p.setClock(int64(m.Value.Bits)-p.f.boottime(), telemetry.TimeServer)
				p.resolve()
			}
		case sparkplug.MetricRebirth:
			if m.Value.Bits&1 == 1 {
				out = p.appendBirth(out)
				p.f.count.rebirths.Add(1)
			}
		}
	}
	p.write(out)
	p.pump()
	return nil
}
