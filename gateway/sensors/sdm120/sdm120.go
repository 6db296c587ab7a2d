// Package sdm120 reads Eastron's SDM120 single-phase meter over Modbus RTU, after
// its protocol document (V2.4): 8N1 at 2400 baud as delivered, function 4, IEEE
// 754 numbers in two registers each, high word first, at most 40 numbers a
// question.
//
// Serial number and software version are holding registers of their own kinds
// (464513, unsigned int32; 464516, hexadecimal), read with function 3.
//
// Other single-phase meters of Eastron (SDM220, SDM230) have the same registers.
package sdm120

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Baud and Unit are those of a meter as delivered.
const (
	Baud = 2400
	Unit = 1
)

// quantities and their input registers.
var quantities = [7]struct {
	name  string
	first uint16
}{
	{"voltage", 0x00}, {"current", 0x06}, {"power", 0x0c}, {"power_factor", 0x1e},
	{"frequency", 0x46}, {"energy", 0x48}, {"energy_export", 0x4a},
}

// The two ranges that hold them, and the probes, each of another length.
var (
	momentary = modbus.Range{First: 0x00, Count: 0x20}
	counters  = modbus.Range{First: 0x46, Count: 6}
	serial    = modbus.Range{First: 0xfc00, Count: 2}
	software  = modbus.Range{First: 0xfc03, Count: 1}
	probes    = []modbus.Range{{First: 0, Count: 2}, {First: 0, Count: 4}, {First: 0, Count: 8}, {First: 0, Count: 10}, {First: 0, Count: 12}}
)

// Dev is one SDM120.
type Dev struct {
	unit modbus.Unit
	asks int // how often it may still be asked who it is
	told telemetry.Identity
}

// New returns a driver for the meter with the given unit address (1-247).
func New(m *modbus.Master, unit byte, baud int) *Dev {
	return &Dev{unit: modbus.Unit{Master: m, Address: unit, Baud: baud, Probes: probes}, asks: maxAsks}
}

// Identify returns nil if the unit has a mains frequency where an SDM120 has it.
func Identify(ctx context.Context, u modbus.Unit) error {
	regs, err := u.Read(ctx, modbus.ReadInput, modbus.Range{First: 0x46, Count: 2})
	if err != nil {
		return err
	}
	if hz := number(regs); !(hz >= 45 && hz <= 65) {
		return fmt.Errorf("%v in the place of the frequency: %w", hz, fault.ErrProtocol)
	}
	return nil
}

// Quantities returns V, A, W, the power factor, Hz, and the counters of imported
// and exported kWh. Exported power and its factor are negative.
func (d *Dev) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, q := range quantities {
		if q, ok := telemetry.Lookup(q.name); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense asks two questions; it lasts about 0.7 s at 2400 baud and 0.3 s at 9600,
// and with the first values half as long again.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	readings, err := d.sense(ctx)
	if err != nil {
		d.told, d.asks = telemetry.Identity{}, maxAsks // it may be another meter when it comes back
		return nil, err
	}
	d.identify(ctx)
	return readings, nil
}

func (d *Dev) sense(ctx context.Context) ([]telemetry.Reading, error) {
	first, err := d.unit.Read(ctx, modbus.ReadInput, momentary)
	if err != nil {
		return nil, fmt.Errorf("SDM120: %w", err)
	}
	second, err := d.unit.Read(ctx, modbus.ReadInput, counters)
	if err != nil {
		return nil, fmt.Errorf("SDM120: %w", err)
	}
	out := make([]telemetry.Reading, len(quantities))
	for i, q := range quantities {
		regs := first
		if q.first >= counters.First {
			regs = second[q.first-counters.First:]
		} else {
			regs = regs[q.first:]
		}
		out[i] = telemetry.Reading{Quantity: q.name, Value: telemetry.Num(number(regs))}
		if !out[i].Value.Finite() {
			out[i] = telemetry.Reading{Quantity: q.name, Gap: telemetry.GapNotNumber}
		}
	}
	return out, nil
}

const (
	// maxAsks bounds the questions to a meter that keeps silent about itself: each
	// costs its time out.
	maxAsks = 3
	// askTime is what both questions take without an answer. One that the context
	// cuts off would cost the next sample a probe.
	askTime = 1500 * time.Millisecond
)

// Identity returns serial number and software version.
func (d *Dev) Identity() telemetry.Identity { return d.told }

// identify asks who the meter is, once after each silence of it. It comes after
// the values and can't cost them.
func (d *Dev) identify(ctx context.Context) {
	if end, ok := ctx.Deadline(); d.asks == 0 || ok && time.Until(end) < askTime {
		return
	}
	d.asks--
	var refused modbus.Exception
	number, err := d.unit.Read(ctx, modbus.ReadHolding, serial)
	if err == nil {
		d.told.Serial = strconv.FormatUint(uint64(number[0])<<16|uint64(number[1]), 10)
	} else if !errors.As(err, &refused) {
		return
	}
	version, err := d.unit.Read(ctx, modbus.ReadHolding, software)
	if err == nil {
		d.told.Firmware = fmt.Sprintf("%04x", version[0])
	} else if !errors.As(err, &refused) {
		return
	}
	d.asks = 0
}

// number joins two registers and returns the shortest decimal that has these 32
// bits: 230.1 stays 230.1.
func number(regs []uint16) float64 {
	f := math.Float32frombits(uint32(regs[0])<<16 | uint32(regs[1]))
	v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64) // reads what it wrote
	return v
}

// Close does nothing: the meter measures by itself.
func (d *Dev) Close() error { return nil }
