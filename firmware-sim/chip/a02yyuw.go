package chip

import (
	"math"
	"time"
)

// A02YYUW simulates the ultrasonic ranger with automatic UART output, 9600 baud
// 8N1 (DFRobot SEN0311): by itself it sends a frame of four bytes, 0xFF, distance
// in mm high and low byte, sum, every 100 ms, the fastest that the manual names.
// It hears nothing. It is a Wire.
type A02YYUW struct {
	health
	clock  Clock
	source func(time.Time) float64
	held   holder[float64]
	due    time.Time
}

const (
	a02Period = 100 * time.Millisecond
	a02Min    = 30   // mm, blind zone
	a02Max    = 4500 // mm
	a02NoEcho = 0xfffd
)

// NewA02YYUW returns a powered ranger; source is the distance in mm.
func NewA02YYUW(source func(time.Time) float64, clock Clock) *A02YYUW {
	a := &A02YYUW{source: source, clock: clock}
	a.can = []Fault{Silent, BadCRC, Stuck, OutOfRange, Slow, Unplugged}
	return a
}

// Frame returns what the part sends at its clock's time, nil if it is silent.
// Within the blind zone it says 0; without an echo 0xFFFD.
func (a *A02YYUW) Frame() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.absent() {
		return nil
	}
	mm := math.Round(a.held.see(a.fault, a.source(a.clock())))
	var word uint16
	switch {
	case a.fault == OutOfRange || mm > a02Max:
		word = a02NoEcho
	case mm >= a02Min:
		word = uint16(mm)
	}
	f := []byte{0xff, byte(word >> 8), byte(word), 0}
	f[3] = f[0] + f[1] + f[2]
	if a.fault == BadCRC {
		f[3] ^= 0x01
	}
	return f
}

// Hear is Wire's; the part has nothing to hear.
func (a *A02YYUW) Hear(time.Time, []byte) {}

// Say is Wire's: a frame per period, 20 times slower under Slow.
func (a *A02YYUW) Say(now time.Time) ([]byte, time.Time) {
	if now.Before(a.due) {
		return nil, a.due
	}
	a.mu.Lock()
	period := a.stretch(a02Period)
	a.mu.Unlock()
	a.due = now.Add(period)
	return a.Frame(), a.due
}
