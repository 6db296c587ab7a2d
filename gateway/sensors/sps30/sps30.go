// Package sps30 reads Sensirion's SPS30 particulate matter sensor over I2C,
// after its datasheet (version 1.0, March 2020; §6.3 commands, §4.4 status
// register, §1.1 start-up time).
//
// The part measures once a second after a start command, and forgets that
// command with its power. So it is started again after it was away, and when it
// has given nothing for longer than its weekly fan cleaning lasts (10 s).
//
// For the first 30 s after a start the values are flagged warm_up. While the
// status register reports fan or laser they are flagged sensor_fault; a fault
// that stays for a minute makes the driver clear the register and start the part
// anew, because a fan that was freed leaves its bit set.
//
// Known: the part has no bit that says that it measures, and an idle one answers
// "no new value"; a loss of power too short to be noticed otherwise therefore
// shows as not_ready for up to 15 s.
package sps30

import (
	"context"
	"errors"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/sensirion"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Address is the part's only I2C address.
const Address = 0x69

// Commands (§6.3) and their execution times.
const (
	cmdStart   = 0x0010
	cmdStop    = 0x0104
	cmdReady   = 0x0202
	cmdRead    = 0x0300
	cmdStatus  = 0xd206
	cmdClear   = 0xd210 // the status register; firmware 2.0 and later
	cmdProduct = 0xd002
	cmdSerial  = 0xd033
	cmdVersion = 0xd100

	formatFloat = 0x0300 // start's argument: big-endian IEEE 754 values

	commandTime = 5 * time.Millisecond
	startTime   = 20 * time.Millisecond // of stop, too
)

// WarmUp is how long values are flagged after a start: the longest start-up
// time of the datasheet, that for 50 to 100 particles/cm³ (§1.1).
const WarmUp = 30 * time.Second

// drought is how long there may be no new value before the part counts as idle.
const drought = 15 * time.Second

// stubborn is how long a fault may be reported before the part is started anew.
const stubborn = time.Minute

// Bits of the status register.
const (
	statusSpeed = 1 << 21 // fan speed out of range
	statusLaser = 1 << 5  // laser current out of range
	statusFan   = 1 << 4  // fan blocked or broken
)

// names are the quantities in the order of an answer's ten numbers. The number
// concentrations between are not kept.
var names = [10]string{0: "pm1", 1: "pm2_5", 2: "pm4", 3: "pm10", 9: "particle_size"}

// Dev is one SPS30.
type Dev struct {
	dev     sensirion.Device
	running bool      // started, and nothing has happened since that may have stopped it
	started time.Time // of the running measurement
	newest  time.Time // value, or the start
	faulty  time.Time // since when the part reports a fault; zero: it does not
	told    telemetry.Identity
}

// New returns a driver. Nothing is sent before the first Sense.
func New(bus i2c.Bus, addr uint16) *Dev {
	return &Dev{dev: sensirion.Device{Bus: bus, Addr: addr}}
}

// Identify returns nil if an SPS30 answers at addr.
func Identify(ctx context.Context, bus i2c.Bus, addr uint16) error {
	words, err := sensirion.Device{Bus: bus, Addr: addr}.Read(ctx, cmdProduct, commandTime, 4)
	if err != nil {
		return fmt.Errorf("product type: %w", err)
	}
	if words[0] != 0x3030 || words[1] != 0x3038 { // "0008", of "00080000" (§6.3.9)
		return fmt.Errorf("product type %04x is not an SPS30's: %w", words, fault.ErrProtocol)
	}
	return nil
}

// Quantities returns the mass concentrations below 1, 2.5, 4 and 10 µm in µg/m³
// and the typical particle size in µm.
func (d *Dev) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, n := range names {
		if q, ok := telemetry.Lookup(n); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense reads the newest values. It lasts about 20 ms, and 60 ms when the part
// has to be started or asked who it is. fault.ErrNotReady means that a second has
// not passed yet.
func (d *Dev) Sense(ctx context.Context) ([]telemetry.Reading, error) {
	if !d.running {
		if err := d.start(ctx); err != nil {
			return nil, fmt.Errorf("start: %w", err)
		}
	}
	readings, err := d.read(ctx)
	switch {
	case err == nil:
		d.newest = time.Now()
		d.identify(ctx)
		d.running = d.faulty.IsZero() || time.Since(d.faulty) < stubborn
	case errors.Is(err, fault.ErrNotReady):
		d.running = time.Since(d.newest) < drought
	case errors.Is(err, fault.ErrChecksum), ctx.Err() != nil:
		d.running = time.Since(d.newest) < drought // a disturbed line stops no fan
	default:
		d.running = false // it may have been without power
	}
	return readings, err
}

func (d *Dev) read(ctx context.Context) ([]telemetry.Reading, error) {
	ready, err := d.dev.Read(ctx, cmdReady, commandTime, 1)
	if err != nil {
		return nil, fmt.Errorf("data-ready flag: %w", err)
	}
	if ready[0] == 0 {
		return nil, fmt.Errorf("data-ready flag: %w", fault.ErrNotReady)
	}
	status, err := d.dev.Read(ctx, cmdStatus, commandTime, 2)
	if err != nil {
		return nil, fmt.Errorf("status register: %w", err)
	}
	words, err := d.dev.Read(ctx, cmdRead, commandTime, 20)
	if err != nil {
		return nil, fmt.Errorf("measured values: %w", err)
	}
	flag := d.judge(uint32(status[0])<<16 | uint32(status[1]))
	var out []telemetry.Reading
	for i, n := range names {
		if n == "" {
			continue
		}
		r := telemetry.Reading{Quantity: n, Value: telemetry.Num(sensirion.Float(words[2*i], words[2*i+1])), Flag: flag}
		if !r.Value.Finite() {
			r = telemetry.Reading{Quantity: n, Gap: telemetry.GapNotNumber}
		}
		out = append(out, r)
	}
	return out, nil
}

// Identity returns firmware version and serial number.
func (d *Dev) Identity() telemetry.Identity { return d.told }

// identify asks who the part is, once a start: between two starts nobody can have
// exchanged it. It comes after the values, which it can't cost; what goes wrong is
// asked again after the next ones.
func (d *Dev) identify(ctx context.Context) {
	if d.told != (telemetry.Identity{}) {
		return
	}
	serial, err := d.dev.Read(ctx, cmdSerial, commandTime, 16) // §6.3.9
	if err != nil {
		return
	}
	version, err := d.dev.Read(ctx, cmdVersion, commandTime, 1) // §6.3.10
	if err != nil {
		return
	}
	d.told = telemetry.Identity{
		Firmware: fmt.Sprintf("%d.%d", version[0]>>8, version[0]&0xff),
		Serial:   sensirion.Text(serial),
	}
}

// judge turns the status register into the values' flag.
func (d *Dev) judge(status uint32) telemetry.Flag {
	if status&(statusSpeed|statusLaser|statusFan) != 0 {
		if d.faulty.IsZero() {
			d.faulty = time.Now()
		}
		return telemetry.FlagSensorFault
	}
	d.faulty = time.Time{}
	if time.Since(d.started) < WarmUp {
		return telemetry.FlagWarmUp
	}
	return telemetry.FlagNone
}

// start stops the part first: one that measures already (the gateway was
// restarted, not the part) takes no other output format.
func (d *Dev) start(ctx context.Context) error {
	if err := d.dev.Send(ctx, cmdStop, startTime); err != nil && !errors.Is(err, fault.ErrNoAnswer) {
		return err
	}
	if !d.faulty.IsZero() {
		if err := d.dev.Send(ctx, cmdClear, commandTime); err != nil && !errors.Is(err, fault.ErrNoAnswer) {
			return err
		}
		d.faulty = time.Time{}
	}
	if err := d.dev.Send(ctx, cmdStart, startTime, formatFloat); err != nil {
		return err
	}
	d.running, d.started, d.told = true, time.Now(), telemetry.Identity{}
	d.newest = d.started
	return nil
}

// Close stops fan and laser.
func (d *Dev) Close() error {
	if !d.running {
		return nil
	}
	d.running = false
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := d.dev.Send(ctx, cmdStop, startTime); err != nil {
		return fmt.Errorf("stop the SPS30: %w", err)
	}
	return nil
}
