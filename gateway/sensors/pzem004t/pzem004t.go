// Package pzem004t reads Peacefair's PZEM-004T v3.0 single-phase meter over
// Modbus RTU, after its user manual V1.0 (§2.3): 9600 8N1, function 4, ten
// registers from 0, of which the 32-bit ones come low word first.
//
// Known: the meter's measuring side lives on the mains, so a power cut shows as
// no_answer; its energy register restarts at 0 only by command.
package pzem004t

import (
	"context"
	"fmt"
	"math"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Baud is the meter's only speed; Unit is its address as delivered.
const (
	Baud = 9600
	Unit = 1
)

// all is what is asked; probes are shorter.
var (
	all    = modbus.Range{First: 0, Count: 10}
	probes = []modbus.Range{{First: 0, Count: 1}, {First: 0, Count: 2}, {First: 0, Count: 3}, {First: 0, Count: 4}, {First: 0, Count: 5}}
)

// Dev is one PZEM-004T.
type Dev struct{ unit modbus.Unit }

// New returns a driver for the meter with the given unit address (1-247).
func New(m *modbus.Master, unit byte, baud int) *Dev {
	return &Dev{modbus.Unit{Master: m, Address: unit, Baud: baud, Probes: probes}}
}

// Identify returns nil if the unit is a PZEM-004T: it has ten input registers
// with a mains frequency in the eighth, and no eleventh.
func Identify(ctx context.Context, u modbus.Unit) error {
	regs, err := u.Read(ctx, modbus.ReadInput, all)
	if err != nil {
		return err
	}
	if hz := regs[7]; hz < 450 || hz > 650 {
		return fmt.Errorf("%d in the place of the frequency: %w", hz, fault.ErrProtocol)
	}
	return nil
}

var names = [6]string{"voltage", "current", "power", "energy", "frequency", "power_factor"}

// Quantities returns V, A, W, kWh (a counter), Hz and the power factor.
func (d *Dev) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, n := range names {
		if q, ok := telemetry.Lookup(n); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense reads all registers with one question, so that the values belong
// together; it lasts about 0.1 s.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	r, err := d.unit.Read(ctx, modbus.ReadInput, all)
	if err != nil {
		return nil, fmt.Errorf("PZEM-004T: %w", err)
	}
	long := func(i int) float64 { return float64(uint32(r[i+1])<<16 | uint32(r[i])) }
	values := [6]float64{
		float64(r[0]) / 10, // 0.1 V
		long(1) / 1000,     // 1 mA
		long(3) / 10,       // 0.1 W
		long(5) / 1000,     // 1 Wh
		float64(r[7]) / 10, // 0.1 Hz
		float64(r[8]) / 100,
	}
	out := make([]telemetry.Reading, len(names))
	for i, n := range names {
		out[i] = telemetry.Reading{Quantity: n, Value: telemetry.Num(math.Round(values[i]*1000) / 1000)}
	}
	return out, nil
}

// Close does nothing: the meter measures by itself.
func (d *Dev) Close() error { return nil }
