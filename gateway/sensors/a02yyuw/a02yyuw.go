// Package a02yyuw reads DFRobot's A02YYUW waterproof ultrasonic distance sensor
// over its UART (SEN0311 product wiki): 9600 8N1, a frame FF H L SUM every 100 to
// 300 ms by itself, distance H·256+L in mm, SUM the low byte of FF+H+L.
//
// FF may stand within a frame, and one byte is a weak sum, so a frame is what
// comes before a pause. Outside 30 to 4,500 mm the part does not measure; in
// particular it sends 0 when it sees no echo and when something is too near.
// Such a value is a gap, not_number.
//
// With the bin's geometry there is also the fill level: how much of the way from
// empty to full the surface has come.
package a02yyuw

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Baud is the line's only speed.
const Baud = 9600

// The range in which the part measures, in mm.
const (
	Min = 30
	Max = 4500
)

const (
	frameLength = 4
	patience    = time.Second // without a frame
	bursts      = 3           // that are looked at for a good frame
	endless     = 16 * frameLength
)

// Line is the serial line. Its errors wrap fault.ErrBus.
type Line interface {
	// Read returns 0, nil when nothing came in its time. That time is longer than
	// the pauses within a frame and shorter than those between two: 20 to 90 ms.
	Read(p []byte) (int, error)
	// Drop throws away what lies in the input buffer, so that an old frame is
	// never taken for the present.
	Drop() error
	// SetBaud sets the line's speed.
	SetBaud(baud int) error
}

// Dev is one A02YYUW.
type Dev struct {
	line        Line
	empty, full float64 // mm; both 0: no geometry
}

// New returns a driver. emptyMM and fullMM are the distances to the surface of
// an empty and of a full bin; both 0 means that only distance is measured.
func New(line Line, emptyMM, fullMM float64) (*Dev, error) {
	if emptyMM == 0 && fullMM == 0 {
		return &Dev{line: line}, nil
	}
	for _, g := range []struct {
		field string
		mm    float64
	}{{"empty_mm", emptyMM}, {"full_mm", fullMM}} {
		if !(g.mm >= Min && g.mm <= Max) {
			return nil, fmt.Errorf("%s = %v: the sensor measures %d to %d mm", g.field, g.mm, Min, Max)
		}
	}
	if emptyMM <= fullMM {
		return nil, fmt.Errorf("empty_mm = %v, full_mm = %v: an empty bin's surface is farther away than a full one's", emptyMM, fullMM)
	}
	return &Dev{line: line, empty: emptyMM, full: fullMM}, nil
}

// Quantities returns distance in mm, and fill in % where the geometry is known.
func (d *Dev) Quantities() []telemetry.Quantity {
	distance, _ := telemetry.Lookup("distance")
	fill, _ := telemetry.Lookup("fill")
	if d.empty == 0 {
		return []telemetry.Quantity{distance}
	}
	return []telemetry.Quantity{distance, fill}
}

// Sense waits for the next good frame, 100 to 300 ms, at most about a second.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	mm, err := d.frame(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]telemetry.Reading, 0, 2)
	for _, q := range d.Quantities() {
		r := telemetry.Reading{Quantity: q.Name, Gap: telemetry.GapNotNumber}
		switch {
		case mm < Min || mm > Max:
		case q.Name == "fill":
			r = telemetry.Reading{Quantity: q.Name, Value: telemetry.Num(d.fill(mm))}
		default:
			r = telemetry.Reading{Quantity: q.Name, Value: telemetry.Num(mm)}
		}
		out = append(out, r)
	}
	return out, nil
}

// fill returns % with one decimal. A bin heaped above its full mark is full, and
// one a little deeper than its empty mark is empty; a surface far below that is
// no bin of this geometry, and its value stays negative for the range check to
// reject.
func (d *Dev) fill(mm float64) float64 {
	fill := (d.empty - mm) / (d.empty - d.full) * 100
	if fill > -10 {
		fill = min(max(fill, 0), 100)
	}
	return math.Round(fill*10) / 10
}

// frame returns the next good frame's distance.
func (d *Dev) frame(ctx context.Context) (mm float64, err error) {
	if err := d.line.SetBaud(Baud); err != nil {
		return 0, fmt.Errorf("set the line to %d baud: %w", Baud, err)
	}
	if err := d.line.Drop(); err != nil {
		return 0, fmt.Errorf("empty the line's buffer: %w", err)
	}
	failure := fmt.Errorf("nothing for %v: %w", patience, fault.ErrNoAnswer)
	for range bursts {
		b, err := d.burst(ctx)
		n := len(b)
		if errors.Is(err, context.DeadlineExceeded) && n == 0 {
			return 0, fmt.Errorf("%w: %w", failure, err) // a short interval changes nothing of what the line did
		}
		if err != nil {
			return 0, err
		}
		switch {
		case n == 0:
			return 0, failure
		case n >= endless:
			return 0, fmt.Errorf("% x without a pause: %w", b, fault.ErrProtocol)
		case n < frameLength: // the rest of a frame that had begun, or of one that broke off
			failure = fmt.Errorf("% x is no whole frame: %w", b, fault.ErrTimeout)
		case b[n-4] == 0xff && b[n-4]+b[n-3]+b[n-2] == b[n-1]:
			return float64(int(b[n-3])<<8 | int(b[n-2])), nil
		default:
			failure = fmt.Errorf("% x: %w", b, fault.ErrChecksum)
		}
	}
	return 0, failure
}

// burst returns what comes before the next pause, nothing after patience.
func (d *Dev) burst(ctx context.Context) ([]byte, error) {
	var b []byte
	end := time.Now().Add(patience)
	for p := make([]byte, 32); len(b) < endless; {
		if err := ctx.Err(); err != nil {
			return b, err
		}
		n, err := d.line.Read(p)
		if err != nil {
			return nil, fmt.Errorf("read the line: %w", err)
		}
		b = append(b, p[:n]...)
		if n == 0 && (len(b) > 0 || time.Now().After(end)) {
			break
		}
	}
	return b, nil
}

// Close does nothing: the part has no command.
func (d *Dev) Close() error { return nil }
