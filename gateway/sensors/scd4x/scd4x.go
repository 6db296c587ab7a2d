// Package scd4x reads Sensirion's SCD40 and SCD41 CO2 sensors over I2C, after
// their datasheet (version 1.4, §3.5-§3.10).
//
// The part measures every 5 s after a start command, which it forgets with its
// power, and meanwhile acknowledges little but reads and the stop command. So
// after any interruption a start is tried, and a refusal from a part that still
// answers the data-ready question means that it measures already. If no value
// comes for 20 s it is stopped and started anew. The first value after a start is
// flagged warm_up.
//
// Why not periph's devices/scd4x 3.7.4: its Sense waits up to 6 s under a lock
// that no context ends, NewI2C and Halt sleep up to 600 ms, it sends command and read
// in one transaction, and its errors don't tell a wrong checksum from a missing
// answer. A sampling loop needs one short question with a clear "not yet".
package scd4x

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/sensirion"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Address is the part's only I2C address.
const Address = 0x62

// Commands and their execution times (§3.5-§3.10).
const (
	cmdStart  = 0x21b1
	cmdStop   = 0x3f86
	cmdReady  = 0xe4b8
	cmdRead   = 0xec05
	cmdSerial = 0x3682

	commandTime = time.Millisecond
	stopTime    = 500 * time.Millisecond
)

// noWord is no CO2 (0 to 40,000 ppm) and no temperature (-10 to 60 °C) that the
// part can measure.
const noWord = 0xffff

// drought is how long there may be no new value before the part is started anew:
// four times its interval.
const drought = 20 * time.Second

// Dev is one SCD4x.
type Dev struct {
	dev     sensirion.Device
	running bool      // started, and nothing has happened since that may have stopped it
	newest  time.Time // value, or the start
	settled bool      // a value was read since the start
	idle    bool      // the last start brought nothing: stop before the next
	told    telemetry.Identity
}

// New returns a driver. Nothing is sent before the first Sense.
func New(bus i2c.Bus, addr uint16) *Dev {
	return &Dev{dev: sensirion.Device{Bus: bus, Addr: addr}}
}

// Identify returns nil if an SCD4x answers at addr. One that measures does not
// tell its serial number, so an answer to the data-ready question will do.
func Identify(ctx context.Context, bus i2c.Bus, addr uint16) error {
	dev := sensirion.Device{Bus: bus, Addr: addr}
	if _, err := dev.Read(ctx, cmdSerial, commandTime, 3); !errors.Is(err, fault.ErrNoAnswer) {
		return err
	}
	_, err := dev.Read(ctx, cmdReady, commandTime, 1)
	return err
}

var names = [3]string{"co2", "temperature", "humidity"}

// Quantities returns CO2 in ppm, temperature in °C, relative humidity in %.
func (d *Dev) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, n := range names {
		if q, ok := telemetry.Lookup(n); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense reads the newest values; it lasts about 3 ms, and half a second when the
// part has to be stopped first. fault.ErrNotReady means that the 5 s have not
// passed yet.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	if !d.running {
		if err := d.start(ctx); err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
	}
	readings, err := d.read(ctx)
	dry := time.Since(d.newest) >= drought
	switch {
	case err == nil:
		d.newest, d.settled, d.idle = time.Now(), true, false
	case errors.Is(err, fault.ErrNotReady), errors.Is(err, fault.ErrChecksum), errors.Is(err, fault.ErrProtocol), ctx.Err() != nil:
		if dry {
			d.running, d.idle = false, true
		}
	default:
		d.running = false // it may have been without power
	}
	return readings, err
}

func (d *Dev) read(ctx context.Context) ([]telemetry.Reading, error) {
	ready, err := d.dev.Read(ctx, cmdReady, commandTime, 1)
	if err != nil {
		return nil, fmt.Errorf("data-ready status: %w", err)
	}
	if ready[0]&0x07ff == 0 { // the eleven least significant bits (§3.9.2)
		return nil, fmt.Errorf("data-ready status: %w", fault.ErrNotReady)
	}
	words, err := d.dev.Read(ctx, cmdRead, commandTime, 3)
	if err != nil {
		return nil, fmt.Errorf("measurement: %w", err)
	}
	// Humidity alone may be all ones, in saturated air. It is compensated by the
	// temperature: without that one it is none.
	if words[0] == noWord || words[1] == noWord {
		return nil, fmt.Errorf("words %04x hold no measurement: %w", words, fault.ErrProtocol)
	}
	flag := telemetry.FlagNone
	if !d.settled {
		flag = telemetry.FlagWarmUp
	}
	out := make([]telemetry.Reading, len(names))
	for i, v := range [...]float64{
		float64(words[0]),
		thousandths(-45 + 175*float64(words[1])/65535), // §3.6.2
		thousandths(100 * float64(words[2]) / 65535),
	} {
		out[i] = telemetry.Reading{Quantity: names[i], Value: telemetry.Num(v), Flag: flag}
	}
	return out, nil
}

// thousandths keeps what a 16-bit word resolves (0.0027 °C, 0.0015 %).
func thousandths(v float64) float64 { return math.Round(v*1000) / 1000 }

// Identity returns the serial number, which is not known of a part that measured
// already when this program began: it would have to stop. There is no command for
// the firmware's version.
func (d *Dev) Identity() telemetry.Identity { return d.told }

func (d *Dev) start(ctx context.Context) error {
	if d.idle {
		if err := d.dev.Send(ctx, cmdStop, stopTime); err != nil {
			return err
		}
		d.idle = false
	}
	var told telemetry.Identity // the part refuses while it measures
	serial, err := d.dev.Read(ctx, cmdSerial, commandTime, 3)
	switch {
	case err == nil: // in decimal, as the datasheet writes it (§3.10.2)
		told.Serial = strconv.FormatUint(uint64(serial[0])<<32|uint64(serial[1])<<16|uint64(serial[2]), 10)
	case !errors.Is(err, fault.ErrNoAnswer):
		return err // it has nothing to lose yet, and this is the time to ask
	}
	err = d.dev.Send(ctx, cmdStart, commandTime)
	d.settled = false
	if errors.Is(err, fault.ErrNoAnswer) {
		if _, notThere := d.dev.Read(ctx, cmdReady, commandTime, 1); notThere != nil {
			return err
		}
		// It measures already, and so is the one that told who it is.
		err, told, d.settled = nil, d.told, true
	}
	if err != nil {
		return err
	}
	d.told = told
	d.running, d.newest = true, time.Now()
	return nil
}

// Close stops the measurement and returns when the part is idle.
func (d *Dev) Close() error {
	if !d.running {
		return nil
	}
	d.running = false
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := d.dev.Send(ctx, cmdStop, stopTime); err != nil {
		return fmt.Errorf("stop the SCD4x: %w", err)
	}
	return nil
}
