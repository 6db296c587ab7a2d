// Package modbus is a Modbus RTU master (Modbus over serial line V1.02,
// application protocol V1.1b3) for meters that are read and never written:
// function codes 3 and 4.
//
// It promises that a value is the answer to the question that was asked. RTU
// answers carry no number: they name unit, function and length, not the register.
// So an answer counts only if all three and the CRC are those of the question,
// and after any question that went wrong the unit is first asked a probe, a range
// of a length that no other question of its driver has: a slave answers in order,
// so when the probe's answer is there, nothing older can follow. Probes that went
// unanswered could be mistaken for each other, so each is of another length than
// those before it; an answer may be late by as many questions as there are probes.
//
// Why our own: simonvetter/modbus 1.6.4 returns the previous register's value
// without an error after one late answer.
package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// Function codes.
const (
	ReadHolding = 3
	ReadInput   = 4
)

// Exception is the answer of a slave that understood and refused (V1.1b3 §7).
type Exception byte

// The exceptions that mean "ask again later".
const (
	acknowledge = 5
	busy        = 6
)

// Error names the exception.
func (e Exception) Error() string {
	names := map[Exception]string{
		1: "illegal function", 2: "illegal data address", 3: "illegal data value",
		4: "device failure", acknowledge: "acknowledged, not done yet", busy: "device busy",
	}
	if n, ok := names[e]; ok {
		return "modbus exception: " + n
	}
	return fmt.Sprintf("modbus exception %d", byte(e))
}

// Unwrap makes a busy slave a fault.ErrNotReady and all other refusals a
// fault.ErrProtocol: it was asked for what it does not have.
func (e Exception) Unwrap() error {
	if e == acknowledge || e == busy {
		return fault.ErrNotReady
	}
	return fault.ErrProtocol
}

// Line is a serial line, 8N1. Its errors wrap fault.ErrBus.
type Line interface {
	// Read returns 0, nil when nothing came in its time, which is 50 ms or less.
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	// Drop throws away what lies in the input buffer.
	Drop() error
	// SetBaud sets the speed of what follows.
	SetBaud(baud int) error
}

// Range is a range of registers.
type Range struct{ First, Count uint16 }

// Times of an exchange beside those of the bytes themselves.
const (
	// patience is how long a slave may think; meters take up to about 200 ms.
	patience = 500 * time.Millisecond
	// turnaround is the silence before a question. The standard asks for 3.5
	// characters (15 ms at 2400 baud); cheap RS-485 adapters and meters need more
	// to let go of the line.
	turnaround = 30 * time.Millisecond
)

// Master shares one line among units. It is safe for concurrent use; questions
// go one after the other.
type Master struct {
	turn  chan struct{} // held by the one who asks
	line  Line
	last  time.Time // of the last byte on the line
	units map[byte]*state
}

// state is what a master knows of a unit.
type state struct {
	behind bool // an answer to an old question may still come
	probes int  // asked so far
}

// New returns a master of line.
func New(line Line) *Master {
	return &Master{turn: make(chan struct{}, 1), line: line, units: map[byte]*state{}}
}

// Unit is one slave on a master's line.
type Unit struct {
	Master  *Master
	Address byte    // 1 to 247
	Baud    int     // of this slave; slaves of one line may differ
	Probes  []Range // input registers that it has, each of a count that it is never else asked
	// Patience is how long it may take to answer; 0 = 500 ms.
	Patience time.Duration
}

// Read returns the registers of r.
//
// Errors wrap fault.ErrNoAnswer (silence), ErrTimeout (a part of an answer),
// ErrChecksum, ErrProtocol (another answer, or an Exception), ErrNotReady (busy),
// ErrBus, or are the context's.
func (u Unit) Read(ctx context.Context, function byte, r Range) ([]uint16, error) {
	m := u.Master
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the line: %w", ctx.Err())
	}
	if err := m.line.SetBaud(u.Baud); err != nil {
		return nil, fmt.Errorf("set the line to %d baud: %w", u.Baud, err)
	}
	s := m.units[u.Address]
	if s == nil {
		s = &state{}
		m.units[u.Address] = s
	}
	if s.behind {
		s.probes++
		if _, err := m.exchange(ctx, u, ReadInput, u.Probes[s.probes%len(u.Probes)]); !answered(err) {
			return nil, fmt.Errorf("unit %d: get in step again: %w", u.Address, err)
		}
		s.behind = false
	}
	regs, err := m.exchange(ctx, u, function, r)
	if err == nil {
		return regs, nil
	}
	s.behind = !answered(err)
	return nil, fmt.Errorf("unit %d: %w", u.Address, err)
}

// answered reports whether the slave has answered, if only by a refusal.
func answered(err error) bool {
	var refusal Exception
	return err == nil || errors.As(err, &refusal)
}

// exchange asks once. The caller has the turn.
func (m *Master) exchange(ctx context.Context, u Unit, function byte, r Range) ([]uint16, error) {
	if err := pause(ctx, turnaround-time.Since(m.last)); err != nil {
		return nil, err
	}
	if err := m.line.Drop(); err != nil {
		return nil, fmt.Errorf("empty the line's buffer: %w", err)
	}
	q := []byte{u.Address, function}
	q = binary.BigEndian.AppendUint16(q, r.First)
	q = binary.BigEndian.AppendUint16(q, r.Count)
	q = binary.LittleEndian.AppendUint16(q, CRC(q))
	if _, err := m.line.Write(q); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer func() { m.last = time.Now() }()
	return m.answer(ctx, u, function, r)
}

// answer waits for the answer, wherever in what comes it lies: before it there
// may be an echo of the question, noise, or a late answer to another one.
func (m *Master) answer(ctx context.Context, u Unit, function byte, r Range) ([]uint16, error) {
	want := 5 + 2*int(r.Count)
	wait := u.Patience
	if wait == 0 {
		wait = patience
	}
	characters := time.Duration(8 + want) // ten bits each
	end := time.Now().Add(wait + characters*10*time.Second/time.Duration(u.Baud))
	var a []byte
	for p := make([]byte, 256); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := m.line.Read(p)
		if err != nil {
			return nil, fmt.Errorf("read the line: %w", err)
		}
		a = append(a, p[:n]...)
		if regs, found, err := find(a, u.Address, function, r.Count); found {
			return regs, err
		}
		spoken := n == 0 && len(a) >= want && a[0] == u.Address && a[1] == function // and not well
		if spoken || time.Now().After(end) {
			return nil, diagnose(a, u.Address, want)
		}
	}
}

// find looks for a sound answer of the right unit, function and length.
func find(a []byte, unit, function byte, count uint16) (regs []uint16, found bool, err error) {
	for ; len(a) >= 5; a = a[1:] {
		switch {
		case a[0] != unit:
		case a[1] == function|0x80 && sound(a[:5]):
			return nil, true, Exception(a[2])
		case a[1] == function && int(a[2]) == 2*int(count) && len(a) >= 5+int(a[2]) && sound(a[:5+int(a[2])]):
			regs = make([]uint16, count)
			for i := range regs {
				regs[i] = binary.BigEndian.Uint16(a[3+2*i:])
			}
			return regs, true, nil
		}
	}
	return nil, false, nil
}

// diagnose names what is wrong with bytes that hold no answer of unit.
func diagnose(a []byte, unit byte, want int) error {
	switch {
	case len(a) == 0:
		return fmt.Errorf("silence: %w", fault.ErrNoAnswer)
	case sound(a) && a[0] != unit:
		return fmt.Errorf("silence, but for a late unit %d: %w", a[0], fault.ErrNoAnswer)
	case sound(a):
		return fmt.Errorf("% x answers something else: %w", a, fault.ErrProtocol)
	case len(a) < want:
		return fmt.Errorf("%d of %d bytes: %w", len(a), want, fault.ErrTimeout)
	}
	return fmt.Errorf("% x: %w", a, fault.ErrChecksum)
}

// sound reports whether a frame's last two bytes are its CRC.
func sound(frame []byte) bool {
	n := len(frame) - 2
	return n >= 2 && CRC(frame[:n]) == binary.LittleEndian.Uint16(frame[n:])
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CRC is Modbus's CRC-16 (serial line V1.02 §6.2.2): polynomial 0xA001
// reflected, initial value 0xFFFF. It travels low byte first.
func CRC(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, x := range b {
		crc ^= uint16(x)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xa001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
