package firmwaresim

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/pantau-id/pantau/firmware-sim/chip"
)

// line is a wire behind a pseudo-terminal that can be pulled out like a USB
// adapter: the host's port hangs up and the link is gone until it is back.
type line struct {
	link string
	wire chip.Wire
	log  *slog.Logger

	mu     sync.Mutex
	fault  chip.Fault
	change chan struct{} // closed and renewed at each change of fault
	pty    *chip.PTY     // open and not yet played
}

func newLine(link string, w chip.Wire, log *slog.Logger) *line {
	return &line{link: link, wire: w, log: log, change: make(chan struct{})}
}

// Fail takes Unplugged and None.
func (l *line) Fail(f chip.Fault) error {
	if f != chip.None && f != chip.Unplugged {
		return fmt.Errorf("fault %q: a line can only have %q; name the part on it instead", f, l.Faults())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if f != l.fault {
		l.fault = f
		close(l.change)
		l.change = make(chan struct{})
	}
	return nil
}

// Fault is chip.Part's.
func (l *line) Fault() chip.Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

// Faults is chip.Part's.
func (l *line) Faults() []chip.Fault { return []chip.Fault{chip.Unplugged} }

// open makes the pseudo-terminal, so that hosts can open it before run.
func (l *line) open() error {
	p, err := chip.OpenPTY(l.link)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pty = p
	return nil
}

// close closes what open made and run did not take.
func (l *line) close() {
	if p := l.take(); p != nil {
		_ = p.Close() // the program ends for another reason, which it reports
	}
}

func (l *line) take() *chip.PTY {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pty
	l.pty = nil
	return p
}

// run plays the wire until ctx ends, with pauses while it is unplugged.
func (l *line) run(ctx context.Context) error {
	for ctx.Err() == nil {
		l.mu.Lock()
		fault, change := l.fault, l.change
		l.mu.Unlock()
		if fault == chip.Unplugged {
			l.close()
			l.log.Info("line unplugged", "link", l.link)
			select {
			case <-ctx.Done():
			case <-change:
			}
			continue
		}
		p := l.take()
		if p == nil {
			if err := l.open(); err != nil {
				return err
			}
			l.log.Info("line plugged in", "link", l.link)
			continue
		}
		playing, stop := context.WithCancel(ctx)
		watching := make(chan struct{})
		go func() {
			defer close(watching)
			select {
			case <-change:
				stop()
			case <-playing.Done():
			}
		}()
		err := chip.Play(playing, l.wire, p)
		stop()
		<-watching
		if err != nil {
			return fmt.Errorf("%s: %w", l.link, err)
		}
	}
	return nil
}
