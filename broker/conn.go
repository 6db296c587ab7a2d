package broker

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// readBuffer is what a quiet client costs; larger packets borrow more.
const readBuffer = 4 << 10

// conn stands between a client's connection and mochi. Reading, it lets whole
// checked packets through, hands every PUBLISH that awaits the journal to the
// session instead, and keeps the deadlines: mochi's own cover reads and writes
// alike, so that a reader which waits for the journal would lose its PUBACKs.
type conn struct {
	net.Conn          // TLS, or the same as raw
	raw      net.Conn // closing it never blocks
	b        *Broker
	s        *session // nil before login
	limit    int      // bytes of one packet

	buf      []byte
	r, w     int       // buf[r:w] was read and not yet handled
	pass     []byte    // checked bytes that mochi has not taken yet
	now      time.Time // when the last bytes came
	idle     time.Duration
	deadline time.Time // last set for reading
	whole    bool      // a whole packet came since
	closing  atomic.Bool
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are mochi's wishes: not
// followed, see conn.
func (c *conn) SetDeadline(time.Time) error      { return nil }
func (c *conn) SetReadDeadline(time.Time) error  { return nil }
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// begin turns the connection of a client that logged in over to mochi, which
// finds a CONNECT of our own making.
func (c *conn) begin() {
	c.limit = c.b.opts.Limits.PacketBytes
	c.idle = time.Duration(c.s.keepAlive) * time.Second * 3 / 2
	c.whole = true
	_ = c.Conn.SetDeadline(time.Time{}) // fails only on a closed connection
	c.pass = appendConnect(nil, c.s.client, c.s.clean, c.s.keepAlive)
}

// next returns the next whole packet, which stays valid until the next call.
func (c *conn) next() (frame, error) {
	for {
		f, size, err := cutFrame(c.buf[c.r:c.w], c.limit)
		if err != nil {
			return f, err
		}
		if size > 0 && size <= c.w-c.r {
			c.r += size
			c.whole = true
			return f, nil
		}
		if err := c.fill(max(size, 2)); err != nil {
			return f, err
		}
	}
}

// fill reads more bytes; want is the size of the packet at r as far as known.
// Memory grows with what has come, not with what was announced.
func (c *conn) fill(want int) error {
	have := c.w - c.r
	switch {
	case have == 0 && len(c.buf) > 4*readBuffer:
		c.buf, c.r, c.w = make([]byte, readBuffer), 0, 0
	case c.r > 0 && (have == 0 || c.r+want > len(c.buf)):
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, have
	}
	if c.w == len(c.buf) {
		bigger := make([]byte, min(max(want, readBuffer), max(2*len(c.buf), readBuffer)))
		copy(bigger, c.buf[c.r:c.w])
		c.buf, c.r, c.w = bigger, 0, have
	}
	if c.s != nil {
		c.extend()
		if c.b.ending.Load() {
			return errStopping
		}
		if c.closing.Load() {
			return io.EOF
		}
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	c.now = c.b.opts.Now()
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// extend gives a client that sent a whole packet one and a half keep-alives for
// the next one [MQTT-3.1.2-24]. A timer costs more than a packet, so it is set
// anew only when that makes a difference.
func (c *conn) extend() {
	if c.idle == 0 || !c.whole {
		return
	}
	c.whole = false
	if til := time.Now().Add(c.idle); til.Sub(c.deadline) > c.idle/32 {
		c.deadline = til
		_ = c.Conn.SetReadDeadline(til) // fails only on a closed connection
	}
}

var errStopping = errors.New("the server is being stopped")

// Read is called by mochi for the packets that it handles.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.pass) == 0 {
		if err := c.handle(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pass)
	c.pass = c.pass[n:]
	return n, nil
}

// handle takes one packet.
func (c *conn) handle() error {
	s := c.s
	if s.left || s.isCut() {
		return io.EOF
	}
	f, err := c.next()
	var bad violation
	switch {
	case err == nil:
	case errors.As(err, &bad):
		s.cut(string(bad), nil)
		return err
	case c.b.stopping.Load():
		s.drain(s.cutting, nil) // so that what was taken gets its PUBACKs
		return io.EOF
	case c.closing.Load():
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.cut(reasonSilent, nil)
		return err
	default:
		return err
	}
	if f.kind == typePublish && f.flags>>1&3 < 2 {
		return s.publish(f.flags, f.body)
	}
	if err := c.check(f); err != nil {
		reason := reasonPublish
		if errors.As(err, &bad) {
			reason = string(bad)
		}
		s.cut(reason, nil)
		return err
	}
	c.pass = f.raw
	return nil
}

func (c *conn) check(f frame) error {
	s := c.s
	switch f.kind {
	case typeConnect:
		return secondConnect
	case typePublish: // QoS 2
		if c.b.opts.Open == nil {
			return badQoS
		}
		p, err := splitPublish(f.flags, f.body)
		if err != nil {
			return err
		}
		_, err = s.topic(p.topic)
		return err
	}
	filters, err := checkOther(f.kind, f.body, c.b.opts.Open != nil)
	if err != nil {
		return err
	}
	switch f.kind {
	case typePuback, typePubrec, typePubcomp:
		if !c.b.fits(s.client, f.kind, binary.BigEndian.Uint16(f.body)) {
			return badAnswer
		}
	case typeSubscribe:
		return s.subscribe(filters)
	case typeUnsubscribe:
		s.unsubscribe(filters)
	case typeDisconnect:
		s.left = true
	}
	return nil
}

// Write takes whole packets from mochi and never blocks: mochi holds a client's
// lock while it writes, and whoever publishes to that client waits for the lock.
func (c *conn) Write(p []byte) (int, error) {
	switch {
	case len(p) > 0 && packetType(p[0]>>4) == typeDisconnect: // a 3.1.1 server has no such word [MQTT-3.14]
	case c.s == nil:
		return c.Conn.Write(p)
	default:
		if err := c.s.send(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close is mochi's way to end the session: the reader ends, what was written
// still goes out, and serveMQTT closes the connection.
func (c *conn) Close() error {
	c.closing.Store(true)
	return c.raw.SetReadDeadline(time.Unix(1, 0))
}
