package chip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The status bytes of the I2C socket.
const (
	statusOK      = 0
	statusNACK    = 1
	statusBus     = 2
	statusTimeout = 3
)

// ServeI2C answers transactions on a listener (a unix socket) until ctx ends;
// then it closes the listener and all connections. A request is, big endian, u16
// address, u16 write length, u16 read length and the bytes to write; the answer
// is a status (0 done, 1 NACK, 2 bus error, 3 time-out) and, with status 0 only,
// the bytes read. Several connections take turns on the bus.
func ServeI2C(ctx context.Context, l net.Listener, bus *Bus) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // Accept says so
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("chip: accept on the I2C socket: %w", err)
		}
		conns.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			serveTx(c, bus)
		})
	}
}

// serveTx ends when the host goes away; there is nobody to tell.
func serveTx(c io.ReadWriter, bus *Bus) {
	var head [6]byte
	for {
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		addr := binary.BigEndian.Uint16(head[:])
		w := make([]byte, binary.BigEndian.Uint16(head[2:]))
		answer := make([]byte, 1+int(binary.BigEndian.Uint16(head[4:])))
		if _, err := io.ReadFull(c, w); err != nil {
			return
		}
		if err := bus.Tx(addr, w, answer[1:]); err != nil {
			answer = []byte{statusBus}
			switch {
			case errors.Is(err, ErrNACK):
				answer[0] = statusNACK
			case errors.Is(err, ErrTimeout):
				answer[0] = statusTimeout
			}
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
