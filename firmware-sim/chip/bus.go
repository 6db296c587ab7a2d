package chip

import (
	"fmt"
	"slices"
	"sync"
	"syscall"

	"periph.io/x/conn/v3/physic"
)

// The ways in which a transaction fails. Each wraps the errno that Linux's
// i2c-dev returns on a Raspberry Pi for the same event.
var (
	ErrNACK    = fmt.Errorf("chip: no acknowledge: %w", syscall.EREMOTEIO)
	ErrBus     = fmt.Errorf("chip: bus error: %w", syscall.EIO)
	ErrTimeout = fmt.Errorf("chip: bus timed out: %w", syscall.ETIMEDOUT)
)

// Device is a part on I2C. The bus calls one method at a time; a Device locks
// itself only against Fail.
type Device interface {
	// Write takes the bytes of one write transaction, possibly none (a probe).
	// It returns ErrNACK where the part would not acknowledge.
	Write(p []byte) error
	// Read fills p, as one read transaction of that length.
	Read(p []byte) error
}

// Bus is an I2C bus with simulated devices. It has the methods of periph's
// i2c.Bus. Its own faults are Silent (every transaction ends in ErrTimeout) and
// Broken (SDA is held low: ErrBus); both hit all devices. Safe for concurrent use.
type Bus struct {
	health
	devices map[uint16]Device // guarded by health.mu
	tx      sync.Mutex        // one transaction at a time
}

// NewBus returns a bus without devices.
func NewBus() *Bus {
	return &Bus{devices: map[uint16]Device{}, health: health{can: []Fault{Silent, Broken}}}
}

// Attach puts d at a 7-bit address; nil detaches what is there.
func (b *Bus) Attach(addr uint16, d Device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d == nil {
		delete(b.devices, addr)
		return
	}
	b.devices[addr] = d
}

// Addresses lists where devices are attached, in ascending order.
func (b *Bus) Addresses() []uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []uint16
	for a := range b.devices {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

// Tx writes w, then reads len(r) bytes into r after a repeated start. With both
// empty it probes the address. A part that needs time between command and answer
// refuses the read that follows at once, as the real one does.
func (b *Bus) Tx(addr uint16, w, r []byte) error {
	b.tx.Lock()
	defer b.tx.Unlock()
	b.mu.Lock()
	fault, d := b.fault, b.devices[addr]
	b.mu.Unlock()
	var err error
	switch {
	case fault == Silent:
		err = ErrTimeout
	case fault == Broken:
		err = ErrBus
	case d == nil:
		err = ErrNACK
	default:
		if len(w) > 0 || len(r) == 0 {
			err = d.Write(w)
		}
		if err == nil && len(r) > 0 {
			err = d.Read(r)
		}
	}
	if err != nil {
		return fmt.Errorf("i2c 0x%02x: %w", addr, err)
	}
	return nil
}

// String names the bus.
func (b *Bus) String() string { return "simulated I2C" }

// SetSpeed accepts every speed: the simulated bus has none.
func (b *Bus) SetSpeed(physic.Frequency) error { return nil }
