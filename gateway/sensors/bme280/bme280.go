// Package bme280 reads Bosch's BME280 (temperature, humidity, pressure) over I2C,
// after its datasheet (BST-BME280-DS002; §3.3 modes, §4.2 compensation, §5
// registers, §9.1 measurement time).
//
// Each Sense takes one forced measurement and writes all settings before it, so
// that a part that lost its power in between is set up again unnoticed. The part
// has no checksum: words that no measurement gives (not measured, all ones) are
// told apart instead.
//
// Why not periph's devices/bmxx80 3.7.4: it reads the calibration words H4 and H5
// without their sign, which bends the humidity of parts where they are negative;
// it writes ctrl_hum once, so that after a brown-out the humidity stays off and
// its reset value is returned as one; it asks a part that stays busy for ever; and
// it formats the causes of errors away.
package bme280

import (
	"context"
	"fmt"
	"math"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// The part's two addresses, chosen by its SDO pin.
const (
	Address    = 0x76
	AddressAlt = 0x77
)

// Registers (§5.3).
const (
	regCalib1   = 0x88 // T1 to H1, 26 bytes
	regID       = 0xd0
	regReset    = 0xe0
	regCalib2   = 0xe1 // H2 to H6, 7 bytes
	regCtrlHum  = 0xf2
	regStatus   = 0xf3
	regCtrlMeas = 0xf4
	regConfig   = 0xf5
	regData     = 0xf7 // pressure, temperature, humidity, 8 bytes

	chipID     = 0x60
	resetWord  = 0xb6
	measuring  = 0x08 // bits of status
	copying    = 0x01
	humidityX1 = 0x01
	forcedX1   = 1<<5 | 1<<2 | 1 // temperature ×1, pressure ×1, forced mode
)

const (
	startTime   = 2 * time.Millisecond
	measureTime = 9300 * time.Microsecond // the longest at ×1 (§9.1)
	askAgain    = 5                       // times, startTime apart
)

// Dev is one BME280.
type Dev struct {
	bus   i2c.Bus
	addr  uint16
	known bool // calib is this part's
	calib calibration
}

// New returns a driver. Nothing is sent before the first Sense.
func New(bus i2c.Bus, addr uint16) *Dev { return &Dev{bus: bus, addr: addr} }

// Identify returns nil if a BME280 answers at addr.
func Identify(_ context.Context, bus i2c.Bus, addr uint16) error {
	var id [1]byte
	if err := bus.Tx(addr, []byte{regID}, id[:]); err != nil {
		return fmt.Errorf("chip id: %w", err)
	}
	switch id[0] {
	case chipID:
		return nil
	case 0x56, 0x57, 0x58:
		return fmt.Errorf("chip id %#02x is a BMP280's, which has no humidity: %w", id[0], fault.ErrProtocol)
	}
	return fmt.Errorf("chip id %#02x is not a BME280's: %w", id[0], fault.ErrProtocol)
}

var names = [3]string{"temperature", "humidity", "pressure"}

// Quantities returns temperature in °C, relative humidity in %, pressure in hPa.
func (d *Dev) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, n := range names {
		if q, ok := telemetry.Lookup(n); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense takes one measurement; it lasts about 10 ms.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	readings, err := d.sense(ctx)
	if err != nil {
		d.known = false // it may be another part when it comes back
	}
	return readings, err
}

func (d *Dev) sense(ctx context.Context) ([]telemetry.Reading, error) {
	if !d.known {
		if err := d.setUp(ctx); err != nil {
			return nil, err
		}
	}
	// ctrl_hum takes effect with the write of ctrl_meas, which comes last (§5.4.3).
	settings := []byte{regConfig, 0, regCtrlHum, humidityX1, regCtrlMeas, forcedX1}
	if err := d.bus.Tx(d.addr, settings, nil); err != nil {
		return nil, fmt.Errorf("start the measurement: %w", err)
	}
	if err := d.settle(ctx, measureTime, measuring); err != nil {
		return nil, fmt.Errorf("wait for the measurement: %w", err)
	}
	var raw [8]byte
	if err := d.bus.Tx(d.addr, []byte{regData}, raw[:]); err != nil {
		return nil, fmt.Errorf("data registers: %w", err)
	}
	return d.calib.readings(raw)
}

// setUp resets the part and reads its calibration.
func (d *Dev) setUp(ctx context.Context) error {
	if err := Identify(ctx, d.bus, d.addr); err != nil {
		return err
	}
	if err := d.bus.Tx(d.addr, []byte{regReset, resetWord}, nil); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if err := d.settle(ctx, startTime, copying); err != nil {
		return fmt.Errorf("wait for the reset: %w", err)
	}
	var a [26]byte
	var b [7]byte
	if err := d.bus.Tx(d.addr, []byte{regCalib1}, a[:]); err != nil {
		return fmt.Errorf("calibration: %w", err)
	}
	if err := d.bus.Tx(d.addr, []byte{regCalib2}, b[:]); err != nil {
		return fmt.Errorf("calibration of humidity: %w", err)
	}
	var ok bool
	if d.calib, ok = parse(a, b); !ok {
		return fmt.Errorf("calibration % x % x is none: %w", a, b, fault.ErrProtocol)
	}
	d.known = true
	return nil
}

// settle waits until a bit of the status register is clear.
func (d *Dev) settle(ctx context.Context, wait time.Duration, bit byte) error {
	for range askAgain {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		var status [1]byte
		if err := d.bus.Tx(d.addr, []byte{regStatus}, status[:]); err != nil {
			return fmt.Errorf("status: %w", err)
		}
		if status[0]&bit == 0 {
			return nil
		}
		wait = startTime
	}
	return fmt.Errorf("still busy: %w", fault.ErrTimeout)
}

// Close leaves the part asleep, as it is after each measurement.
func (d *Dev) Close() error { return nil }

// Words of a quantity that was not measured (§5.4.7-§5.4.9).
const (
	notMeasured20 = 0x80000
	notMeasured16 = 0x8000
)

// readings turns the data registers into values. Pressure and humidity are
// corrected by the temperature, so without that one there are none.
func (c *calibration) readings(r [8]byte) ([]telemetry.Reading, error) {
	word20 := func(b []byte) uint32 { return uint32(b[0])<<12 | uint32(b[1])<<4 | uint32(b[2])>>4 }
	p, t, h := word20(r[0:]), word20(r[3:]), uint32(r[6])<<8|uint32(r[7])
	switch t {
	case notMeasured20:
		return nil, fmt.Errorf("the measurement was not taken: %w", fault.ErrNotReady)
	case 0, 0xfffff:
		return nil, fmt.Errorf("data registers % x hold no measurement: %w", r, fault.ErrProtocol)
	}
	celsius, fine := c.temperature(float64(t))
	out := []telemetry.Reading{
		{Quantity: names[0], Value: telemetry.Num(hundredths(celsius))},
		{Quantity: names[1], Gap: telemetry.GapNotNumber},
		{Quantity: names[2], Gap: telemetry.GapNotNumber},
	}
	if h != 0 && h != 0xffff && h != notMeasured16 {
		out[1] = telemetry.Reading{Quantity: names[1], Value: telemetry.Num(hundredths(c.humidity(float64(h), fine)))}
	}
	if p != 0 && p != 0xfffff && p != notMeasured20 {
		out[2] = telemetry.Reading{Quantity: names[2], Value: telemetry.Num(hundredths(c.pressure(float64(p), fine) / 100))}
	}
	return out, nil
}

// hundredths is about what the part resolves: 0.01 °C, 0.008 %, 0.2 Pa.
func hundredths(v float64) float64 { return math.Round(v*100) / 100 }
