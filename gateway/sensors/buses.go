package sensors

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/pantau-id/pantau/gateway/sensors/modbus"
)

// Buses opens each bus at its first use and shares it among sensors. A bus that
// failed, or went away and came back, is opened anew at its next use. Buses is
// safe for concurrent use.
type Buses struct {
	log     *slog.Logger
	mu      sync.Mutex
	i2c     map[string]*bus
	lines   map[string]*line
	masters map[string]*modbus.Master
	taken   map[place]string // name of the part there
}

// place is an address on a bus.
type place struct {
	bus  string
	addr uint16
}

// NewBuses returns an empty set; nothing is opened yet.
func NewBuses(log *slog.Logger) *Buses {
	return &Buses{log: log, i2c: map[string]*bus{}, lines: map[string]*line{}, masters: map[string]*modbus.Master{}, taken: map[place]string{}}
}

// Simulated reports whether an I2C path is a unix socket, behind which simulated
// parts answer, and not a device.
func Simulated(path string) bool { return strings.HasSuffix(path, ".sock") }

// claim takes an address for one sensor.
func (b *Buses) claim(path string, addr uint16, part string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := place{path, addr}
	if other := b.taken[at]; other != "" {
		return fmt.Errorf("address = %d: a sensor (%s) has it on %s already", addr, other, path)
	}
	b.taken[at] = part
	return nil
}

// bus returns the I2C bus at path.
func (b *Buses) bus(path string) *bus {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.i2c[path] == nil {
		b.i2c[path] = &bus{path: path}
		if Simulated(path) {
			b.log.Warn("this I2C bus is a unix socket: its sensors are simulated", "bus", path)
		}
	}
	return b.i2c[path]
}

// uart takes a serial line for one sensor alone.
func (b *Buses) uart(l *line) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lines[l.path] != nil {
		return fmt.Errorf("bus = %q: another sensor is on this line, and a sensor with a plain UART needs one for itself", l.path)
	}
	b.lines[l.path] = l
	return nil
}

// master returns the Modbus master that the meters on the line at path share.
func (b *Buses) master(path string) (*modbus.Master, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m := b.masters[path]; m != nil {
		return m, nil
	}
	if b.lines[path] != nil {
		return nil, fmt.Errorf("bus = %q: a sensor with a plain UART has this line for itself", path)
	}
	l := &line{path: path}
	b.lines[path], b.masters[path] = l, modbus.New(l)
	return b.masters[path], nil
}

// Close closes every bus. Sensors are closed before.
func (b *Buses) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, x := range b.i2c {
		errs = append(errs, x.close())
	}
	for _, l := range b.lines {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}
