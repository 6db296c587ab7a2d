package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// ledger is the fleet's own account of what it sent and what was acknowledged,
// against which the database is checked. Lines go to the file in groups, one
// fsync a group.
type ledger struct {
	file *os.File // nil: no ledger

	mu      sync.Mutex
	wake    *sync.Cond
	lines   bytes.Buffer
	waiting []func()
	ending  bool
	err     error
	ended   chan struct{}
}

// maxUnwritten bounds the lines that wait for the disk.
const maxUnwritten = 8 << 20

// openLedger makes the file, or adds to it. "" keeps none.
func openLedger(path string) (*ledger, error) {
	l := &ledger{ended: make(chan struct{})}
	l.wake = sync.NewCond(&l.mu)
	if path == "" {
		close(l.ended)
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	l.file = f
	go l.run()
	return l, nil
}

// wait blocks while too much waits for the disk. It is called without locks,
// before anything new is made.
func (l *ledger) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.lines.Len() > maxUnwritten && l.err == nil {
		l.wake.Wait()
	}
}

// add takes whole lines and calls durable, from another goroutine, once they are
// on disk. Without a file, or with a failed one, durable is never called: the
// caller asks on first. lines may be reused after the return; durable may be nil.
func (l *ledger) add(lines []byte, durable func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines.Write(lines)
	if durable != nil {
		l.waiting = append(l.waiting, durable)
	}
	l.wake.Broadcast()
}

// keep takes whole lines and returns once they are on disk.
func (l *ledger) keep(lines []byte) error {
	durable := make(chan struct{})
	l.add(lines, func() { close(durable) })
	select {
	case <-durable:
		return nil
	case <-l.ended: // it failed
		return l.failed()
	}
}

// on reports whether a ledger is kept.
func (l *ledger) on() bool { return l.file != nil }

func (l *ledger) run() {
	defer close(l.ended)
	var lines bytes.Buffer
	var waiting []func()
	l.mu.Lock()
	for {
		for l.lines.Len() == 0 && !l.ending && l.err == nil {
			l.wake.Wait()
		}
		if l.lines.Len() == 0 || l.err != nil {
			l.mu.Unlock()
			return
		}
		lines, l.lines = l.lines, lines
		waiting, l.waiting = l.waiting, waiting[:0]
		l.lines.Reset()
		l.wake.Broadcast()
		l.mu.Unlock()
		_, err := l.file.Write(lines.Bytes())
		if err == nil {
			err = l.file.Sync()
		}
		if err == nil {
			for _, durable := range waiting {
				durable()
			}
		}
		l.mu.Lock()
		if err != nil {
			l.err = fmt.Errorf("write the ledger: %w", err)
			l.wake.Broadcast()
		}
	}
}

// close brings everything to disk.
func (l *ledger) close() error {
	if l.file == nil {
		return nil
	}
	l.mu.Lock()
	l.ending = true
	l.wake.Broadcast()
	l.mu.Unlock()
	<-l.ended
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.file.Close())
}

// failed returns why the ledger is not kept any more, nil if it is.
func (l *ledger) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// The two kinds of line.
const (
	lineSent  = 'S'
	lineAcked = 'A'
)

// appendLine writes one line: kind, gateway, epoch, number, device, quantity,
// Unix milliseconds, value with the fewest digits that read back the same.
func appendLine(dst []byte, kind byte, node string, epoch telemetry.Epoch, number uint64, device, quantity string, ms int64, value float64) []byte {
	dst = append(dst, kind, '\t')
	dst = append(append(dst, node...), '\t')
	dst = append(appendHex(dst, uint64(epoch)), '\t')
	dst = append(strconv.AppendUint(dst, number, 10), '\t')
	dst = append(append(dst, device...), '\t')
	dst = append(append(dst, quantity...), '\t')
	dst = append(strconv.AppendInt(dst, ms, 10), '\t')
	return append(strconv.AppendFloat(dst, value, 'g', -1, 64), '\n')
}

func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}
