package sensors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/host/v3/sysfs"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// transport carries one transaction.
type transport interface {
	Tx(addr uint16, w, r []byte) error
	Close() error
}

// bus is an I2C bus that opens itself and, after the bus itself failed, again.
type bus struct {
	path string
	mu   sync.Mutex // one transaction at a time
	open transport
}

var _ i2c.Bus = (*bus)(nil)

// String returns the path.
func (b *bus) String() string { return b.path }

// SetSpeed refuses: on a Raspberry Pi the speed is set in config.txt
// (dtparam=i2c_arm_baudrate).
func (b *bus) SetSpeed(physic.Frequency) error {
	return fmt.Errorf("%s: the bus's speed is set by the system", b.path)
}

// Tx does one transaction. Its errors wrap fault.ErrNoAnswer, ErrTimeout or
// ErrBus.
func (b *bus) Tx(addr uint16, w, r []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		t, err := openI2C(b.path)
		if err != nil {
			return fmt.Errorf("open %s: %w: %w", b.path, fault.ErrBus, err)
		}
		b.open = t
	}
	err := b.open.Tx(addr, w, r)
	if err == nil {
		return nil
	}
	if errors.Is(err, fault.ErrBus) {
		_ = b.open.Close() // it failed already
		b.open = nil
	}
	return fmt.Errorf("%s address %#02x: %w", b.path, addr, err)
}

func (b *bus) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		return nil
	}
	err := b.open.Close()
	b.open = nil
	return err
}

func openI2C(path string) (transport, error) {
	if Simulated(path) {
		d := net.Dialer{Timeout: socketTime} // transactions have no context
		conn, err := d.DialContext(context.Background(), "unix", path)
		if err != nil {
			return nil, err
		}
		return socket{conn}, nil
	}
	n, err := strconv.Atoi(strings.TrimPrefix(path, "/dev/i2c-"))
	if err != nil {
		return nil, fmt.Errorf("%q is neither /dev/i2c-N nor a unix socket (….sock)", path)
	}
	k, err := sysfs.NewI2C(n)
	if err != nil {
		return nil, err
	}
	return kernel{k}, nil
}

// kernel is a bus of /dev/i2c-N.
type kernel struct{ *sysfs.I2C }

// Tx gives the kernel's error its kind.
func (k kernel) Tx(addr uint16, w, r []byte) error {
	if err := k.I2C.Tx(addr, w, r); err != nil {
		return fmt.Errorf("%w: %w", kindOf(err), err)
	}
	return nil
}

// kindOf reads the kind out of a kernel error's text: periph formats the error
// number away. Adapters differ in the number for a missing acknowledge: ENXIO by
// the book (Linux Documentation/i2c/fault-codes), EREMOTEIO from i2c-bcm2835
// and i2c-designware, which are the Raspberry Pi's.
func kindOf(err error) error {
	for _, k := range []struct {
		errno unix.Errno
		kind  error
	}{
		{unix.ENXIO, fault.ErrNoAnswer},
		{unix.EREMOTEIO, fault.ErrNoAnswer},
		{unix.ETIMEDOUT, fault.ErrTimeout},
	} {
		if strings.HasSuffix(err.Error(), k.errno.Error()) {
			return k.kind
		}
	}
	return fault.ErrBus
}

// socket is a bus behind a unix socket: big-endian u16 address, u16 write
// length, u16 read length, the bytes to write → u8 status (0 good, 1 no
// acknowledge, 2 bus, 3 time-out), then with status 0 the bytes read.
type socket struct{ conn net.Conn }

// socketTime bounds a dial and a transaction.
const socketTime = 2 * time.Second

func (s socket) Tx(addr uint16, w, r []byte) error {
	broken := func(err error) error { return fmt.Errorf("%w: %w", fault.ErrBus, err) }
	if err := s.conn.SetDeadline(time.Now().Add(socketTime)); err != nil {
		return broken(err)
	}
	q := binary.BigEndian.AppendUint16(make([]byte, 0, 6+len(w)), addr)
	q = binary.BigEndian.AppendUint16(q, uint16(len(w)))
	q = binary.BigEndian.AppendUint16(q, uint16(len(r)))
	if _, err := s.conn.Write(append(q, w...)); err != nil {
		return broken(err)
	}
	var status [1]byte
	if _, err := io.ReadFull(s.conn, status[:]); err != nil {
		return broken(err)
	}
	switch status[0] {
	case 0:
		if _, err := io.ReadFull(s.conn, r); err != nil {
			return broken(err)
		}
		return nil
	case 1:
		return fault.ErrNoAnswer
	case 3:
		return fault.ErrTimeout
	}
	return fmt.Errorf("%w: status %d", fault.ErrBus, status[0])
}

func (s socket) Close() error { return s.conn.Close() }
