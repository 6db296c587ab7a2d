package sensors

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.bug.st/serial"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// lineSilence is how long one Read of a serial line waits for a byte. Drivers
// take it for the pause between two frames, so it stays above what a USB adapter
// holds back (16 ms) and below the 96 ms pause of the fastest talker, the A02YYUW.
const lineSilence = 40 * time.Millisecond

// line is a serial line, 8N1, that opens itself and, after a failure, again: a
// USB adapter may be pulled and put back.
type line struct {
	path string
	mu   sync.Mutex
	port serial.Port
	baud int // wanted; 0 = not said yet
}

func (l *line) get() (serial.Port, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.port != nil {
		return l.port, nil
	}
	p, err := serial.Open(l.path, l.mode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w: %w", l.path, fault.ErrBus, err)
	}
	if err := p.SetReadTimeout(lineSilence); err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w: %w", l.path, fault.ErrBus, err), p.Close())
	}
	l.port = p
	return p, nil
}

func (l *line) mode() *serial.Mode {
	return &serial.Mode{BaudRate: l.baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit}
}

// SetBaud sets the line's speed. It opens nothing.
func (l *line) SetBaud(baud int) error {
	l.mu.Lock()
	if l.baud == baud {
		l.mu.Unlock()
		return nil
	}
	l.baud = baud
	port := l.port
	l.mu.Unlock()
	if port == nil {
		return nil
	}
	if err := port.SetMode(l.mode()); err != nil {
		return l.failed(err)
	}
	return nil
}

// failed closes the line, so that the next use opens it anew.
func (l *line) failed(err error) error {
	_ = l.close() // it failed already
	return fmt.Errorf("%s: %w: %w", l.path, fault.ErrBus, err)
}

// Read reads what has come, or returns 0, nil after lineSilence without a byte.
func (l *line) Read(p []byte) (int, error) {
	port, err := l.get()
	if err != nil {
		return 0, err
	}
	n, err := port.Read(p)
	if err != nil {
		return n, l.failed(err)
	}
	return n, nil
}

// Write sends p.
func (l *line) Write(p []byte) (int, error) {
	port, err := l.get()
	if err != nil {
		return 0, err
	}
	n, err := port.Write(p)
	if err != nil {
		return n, l.failed(err)
	}
	return n, nil
}

// Drop empties the input buffer.
func (l *line) Drop() error {
	port, err := l.get()
	if err != nil {
		return err
	}
	if err := port.ResetInputBuffer(); err != nil {
		return l.failed(err)
	}
	return nil
}

func (l *line) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.port == nil {
		return nil
	}
	err := l.port.Close()
	l.port = nil
	return err
}
