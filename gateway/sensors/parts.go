package sensors

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"periph.io/x/conn/v3/i2c"

	"github.com/pantau-id/pantau/gateway/sensors/a02yyuw"
	"github.com/pantau-id/pantau/gateway/sensors/bme280"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
	"github.com/pantau-id/pantau/gateway/sensors/pzem004t"
	"github.com/pantau-id/pantau/gateway/sensors/scd4x"
	"github.com/pantau-id/pantau/gateway/sensors/sdm120"
	"github.com/pantau-id/pantau/gateway/sensors/sps30"
)

// Config names one sensor.
type Config struct {
	Part    string // one of Parts
	Bus     string // /dev/i2c-1, /dev/serial0, /dev/ttyUSB0, or a simulator's socket or pty
	Address uint16 // I2C address or Modbus unit; 0 = as delivered
	Baud    int    // Modbus parts; 0 = as delivered. Units of one line may differ
	// EmptyMM and FullMM are the distances from an A02YYUW to the surface of an
	// empty and of a full bin; with them it also yields the fill level.
	EmptyMM, FullMM float64
}

// attachment is what a part hangs on.
type attachment uint8

const (
	onI2C attachment = iota
	onUART
	onModbus
)

// example returns a bus for error texts.
func (a attachment) example() string {
	return [...]string{onI2C: "/dev/i2c-1", onUART: "/dev/serial0", onModbus: "/dev/ttyUSB0"}[a]
}

// part is one line of the table.
type part struct {
	name      string
	on        attachment
	addresses []uint16 // of I2C: all that it can have; the first is as delivered
	baud      int      // as delivered
	identify  func(ctx context.Context, bus i2c.Bus, addr uint16) error
	ask       func(ctx context.Context, u modbus.Unit) error
	open      func(c Config, b *Buses) (Sensor, error)
}

// table is the one list of parts.
var table = []part{
	{name: "sps30", on: onI2C, addresses: []uint16{sps30.Address}, identify: sps30.Identify,
		open: func(c Config, b *Buses) (Sensor, error) { return sps30.New(b.bus(c.Bus), c.Address), nil }},
	{name: "scd41", on: onI2C, addresses: []uint16{scd4x.Address}, identify: scd4x.Identify,
		open: func(c Config, b *Buses) (Sensor, error) { return scd4x.New(b.bus(c.Bus), c.Address), nil }},
	{name: "bme280", on: onI2C, addresses: []uint16{bme280.Address, bme280.AddressAlt}, identify: bme280.Identify,
		open: func(c Config, b *Buses) (Sensor, error) { return bme280.New(b.bus(c.Bus), c.Address), nil }},
	{name: "a02yyuw", on: onUART, baud: a02yyuw.Baud, open: openA02YYUW},
	{name: "pzem004t", on: onModbus, addresses: []uint16{pzem004t.Unit}, baud: pzem004t.Baud, ask: pzem004t.Identify,
		open: func(c Config, b *Buses) (Sensor, error) {
			m, err := b.master(c.Bus)
			if err != nil {
				return nil, err
			}
			return pzem004t.New(m, byte(c.Address), c.Baud), nil
		}},
	{name: "sdm120", on: onModbus, addresses: []uint16{sdm120.Unit}, baud: sdm120.Baud, ask: sdm120.Identify,
		open: func(c Config, b *Buses) (Sensor, error) {
			m, err := b.master(c.Bus)
			if err != nil {
				return nil, err
			}
			return sdm120.New(m, byte(c.Address), c.Baud), nil
		}},
}

func openA02YYUW(c Config, b *Buses) (Sensor, error) {
	l := &line{path: c.Bus}
	s, err := a02yyuw.New(l, c.EmptyMM, c.FullMM)
	if err != nil {
		return nil, err
	}
	return s, b.uart(l)
}

// Parts lists the names of all parts.
func Parts() []string {
	var out []string
	for _, p := range table {
		out = append(out, p.name)
	}
	return out
}

// Open checks c and returns the driver. It touches no bus: a part that is
// missing now may come later. Errors begin with the field that they are about.
func Open(c Config, b *Buses) (Sensor, error) {
	i := slices.IndexFunc(table, func(p part) bool { return p.name == strings.ToLower(c.Part) })
	if i < 0 {
		return nil, fmt.Errorf("part = %q: want one of %s", c.Part, strings.Join(Parts(), ", "))
	}
	p := table[i]
	if c.Address == 0 && len(p.addresses) > 0 {
		c.Address = p.addresses[0]
	}
	if err := p.check(c); err != nil {
		return nil, err
	}
	if c.Baud == 0 {
		c.Baud = p.baud
	}
	if p.on != onUART {
		if err := b.claim(c.Bus, c.Address, p.name); err != nil {
			return nil, err
		}
	}
	return p.open(c, b)
}

// check finds what the part can't be given.
func (p part) check(c Config) error {
	socket, wire := Simulated(c.Bus), strings.HasPrefix(c.Bus, "/dev/i2c-")
	switch {
	case c.Bus == "":
		return fmt.Errorf("bus = %q: say where the %s is, for example %s", c.Bus, p.name, p.on.example())
	case p.on == onI2C && !socket && !wire:
		return fmt.Errorf("bus = %q: the %s hangs on an I2C bus, for example %s", c.Bus, p.name, p.on.example())
	case p.on != onI2C && (socket || wire):
		return fmt.Errorf("bus = %q: the %s hangs on a serial line, for example %s", c.Bus, p.name, p.on.example())
	case p.on == onI2C && !slices.Contains(p.addresses, c.Address):
		return fmt.Errorf("address = %#02x: a %s has %#02x", c.Address, p.name, p.addresses)
	case p.on == onModbus && (c.Address < 1 || c.Address > 247):
		return fmt.Errorf("address = %d: a Modbus unit is 1 to 247", c.Address)
	case p.on == onUART && c.Address != 0:
		return fmt.Errorf("address = %d: the %s has none", c.Address, p.name)
	case p.on != onModbus && c.Baud != 0 && c.Baud != p.baud:
		return fmt.Errorf("baud = %d: the %s's speed can't be chosen", c.Baud, p.name)
	case c.Baud != 0 && (c.Baud < 1200 || c.Baud > 115200):
		return fmt.Errorf("baud = %d: want 1200 to 115200", c.Baud)
	case p.on != onUART && c.EmptyMM != 0:
		return fmt.Errorf("empty_mm = %v: only a distance sensor knows a bin, not the %s", c.EmptyMM, p.name)
	case p.on != onUART && c.FullMM != 0:
		return fmt.Errorf("full_mm = %v: only a distance sensor knows a bin, not the %s", c.FullMM, p.name)
	}
	return nil
}
