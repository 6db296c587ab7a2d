package chip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Wire is the far end of a serial line: what the parts on it hear and say. It
// is a state machine without goroutine or clock; Play runs it on a real line.
type Wire interface {
	// Hear takes bytes that the host sent, at the time they arrive.
	Hear(now time.Time, p []byte)
	// Say returns what has been sent to the host by now, or nil, and when to ask
	// again if nothing is heard before; the zero time means never.
	Say(now time.Time) (p []byte, next time.Time)
}

// Play runs a wire on the far end of a line until ctx ends or the line fails,
// and closes the line. It returns nil after the end of ctx.
func Play(ctx context.Context, w Wire, line io.ReadWriteCloser) error {
	heard := make(chan []byte)
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := make([]byte, 512)
		for {
			n, err := line.Read(p)
			if n > 0 {
				select {
				case heard <- append([]byte(nil), p[:n]...):
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	err := play(ctx, w, line, heard, failed)
	_ = line.Close() // ends the reader; what it lost nobody waits for
	<-done
	return err
}

func play(ctx context.Context, w Wire, line io.Writer, heard <-chan []byte, failed <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("chip: read from the line: %w", err)
		case p := <-heard:
			w.Hear(time.Now(), p)
		case <-timer.C:
		}
		for {
			now := time.Now()
			p, next := w.Say(now)
			if p == nil {
				if next.IsZero() {
					timer.Stop()
				} else {
					timer.Reset(next.Sub(now))
				}
				break
			}
			if _, err := line.Write(p); err != nil && ctx.Err() == nil {
				return fmt.Errorf("chip: write to the line: %w", err)
			}
		}
	}
}

// Port is the host's end of a wire in process. It has the methods of a serial
// port that a driver uses. Safe for one reader and one writer.
type Port struct {
	in, out *queue
	cancel  context.CancelFunc
	done    chan struct{}
	mu      sync.Mutex
	timeout time.Duration // of Read; negative waits for ever
}

// Connect plays w and returns the host's end; Close ends both.
func Connect(w Wire) *Port {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Port{in: newQueue(), out: newQueue(), cancel: cancel, done: make(chan struct{}), timeout: -1}
	go func() {
		defer close(p.done)
		_ = Play(ctx, w, farEnd{p}) // a queue fails only by being closed
	}()
	return p
}

// Read returns what has arrived, waiting for the first byte. After the read
// time-out it returns 0, nil, as go.bug.st/serial does.
func (p *Port) Read(b []byte) (int, error) {
	p.mu.Lock()
	d := p.timeout
	p.mu.Unlock()
	return p.in.read(b, d)
}

// Write sends to the wire.
func (p *Port) Write(b []byte) (int, error) { return p.out.write(b) }

// SetReadTimeout bounds each Read; a negative time waits for ever.
func (p *Port) SetReadTimeout(d time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timeout = d
	return nil
}

// ResetInputBuffer drops what has arrived and was not read.
func (p *Port) ResetInputBuffer() error {
	p.in.drop()
	return nil
}

// Drain returns at once: a write has arrived when it returns.
func (p *Port) Drain() error { return nil }

// Close ends the line and waits for the wire. Reads then return io.EOF.
func (p *Port) Close() error {
	p.cancel()
	p.in.close()
	p.out.close()
	<-p.done
	return nil
}

// farEnd is the wire's end of a Port.
type farEnd struct{ p *Port }

func (f farEnd) Read(b []byte) (int, error)  { return f.p.out.read(b, -1) }
func (f farEnd) Write(b []byte) (int, error) { return f.p.in.write(b) }
func (f farEnd) Close() error {
	f.p.in.close()
	f.p.out.close()
	return nil
}

// queueLimit is the size of a serial driver's input buffer: the oldest bytes
// of a line that nobody reads are lost.
const queueLimit = 4096

// queue is one direction of a Port.
type queue struct {
	mu     sync.Mutex
	buf    []byte
	closed bool
	change chan struct{} // holds a token after each change
}

func newQueue() *queue { return &queue{change: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.change <- struct{}{}:
	default:
	}
}

func (q *queue) write(b []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, os.ErrClosed
	}
	q.buf = append(q.buf, b...)
	if n := len(q.buf) - queueLimit; n > 0 {
		q.buf = append(q.buf[:0], q.buf[n:]...)
	}
	q.signal()
	return len(b), nil
}

func (q *queue) read(b []byte, timeout time.Duration) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	var expired <-chan time.Time
	if timeout >= 0 {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		expired = timer.C
	}
	for {
		q.mu.Lock()
		if n := copy(b, q.buf); n > 0 {
			q.buf = append(q.buf[:0], q.buf[n:]...)
			q.mu.Unlock()
			return n, nil
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return 0, io.EOF
		}
		select {
		case <-q.change:
		case <-expired:
			return 0, nil
		}
	}
}

func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.buf = q.buf[:0]
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}
