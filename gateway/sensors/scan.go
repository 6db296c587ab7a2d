package sensors

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
)

// Found is a part that a scan found.
type Found struct {
	Config
	Name string // the part's, with a number from the second of its kind on
}

// Places lists the buses of this machine that Scan may look at: the header's I2C
// bus, the header's UART, and USB adapters. A line that is the system's console is
// left out.
func Places() []string {
	var out []string
	active, _ := os.ReadFile("/sys/class/tty/console/active") // absent: no console to spare
	consoles := strings.Fields(string(active))
	for _, pattern := range []string{"/dev/i2c-1", "/dev/serial0", "/dev/ttyUSB*", "/dev/ttyACM*"} {
		matches, _ := filepath.Glob(pattern) // the patterns are good
		for _, m := range matches {
			if real, err := filepath.EvalSymlinks(m); err == nil && !slices.Contains(consoles, filepath.Base(real)) {
				out = append(out, m)
			}
		}
	}
	return out
}

// Scan asks every place (as Places lists them; sockets and ptys of simulators
// too) for the parts of the table and names what answers. Beside what was found
// it returns what could not be looked at and what answers but is none of the
// parts; a place where nothing answers is neither. It takes a fraction of a second
// for an I2C bus and up to about five for a serial line, on which it looks for
// Modbus units 1 to 4 only. No sensor may be in use on a place that is scanned.
func Scan(ctx context.Context, b *Buses, places []string) ([]Found, []error) {
	var found []Found
	var errs []error
	count := map[string]int{}
	for _, place := range places {
		look := scanSerial
		if Simulated(place) || strings.HasPrefix(place, "/dev/i2c-") {
			look = scanI2C
		}
		// Buses of its own: a line that turns out empty is let go of.
		own := NewBuses(b.log)
		configs, failed := look(ctx, own, place)
		failed = append(failed, own.Close())
		for _, err := range failed {
			if err != nil {
				errs = append(errs, fmt.Errorf("scan %s: %w", place, err))
			}
		}
		for _, c := range configs {
			name := c.Part
			if count[c.Part]++; count[c.Part] > 1 {
				name = fmt.Sprintf("%s-%d", c.Part, count[c.Part])
			}
			found = append(found, Found{Config: c, Name: name})
		}
	}
	return found, errs
}

func scanI2C(ctx context.Context, b *Buses, place string) (found []Config, errs []error) {
	for _, p := range table {
		if p.on != onI2C {
			continue
		}
		for _, addr := range p.addresses {
			switch err := p.identify(ctx, b.bus(place), addr); {
			case err == nil:
				found = append(found, Config{Part: p.name, Bus: place, Address: addr})
			case errors.Is(err, fault.ErrBus), ctx.Err() != nil:
				return found, append(errs, err)
			case !errors.Is(err, fault.ErrNoAnswer):
				errs = append(errs, fmt.Errorf("%s at %#02x: %w", p.name, addr, err))
			}
		}
	}
	return found, errs
}

const (
	scannedUnits = 4 // Modbus units 1 to 4
	scanPatience = 400 * time.Millisecond
)

// scanSerial listens for a part that talks by itself, then asks for meters.
func scanSerial(ctx context.Context, b *Buses, place string) (found []Config, errs []error) {
	for _, p := range table {
		if p.on != onUART {
			continue
		}
		own := NewBuses(b.log)
		c := Config{Part: p.name, Bus: place}
		s, err := Open(c, own)
		if err == nil {
			_, err = s.Sense(ctx)
		}
		err = errors.Join(err, own.Close())
		if err == nil {
			return []Config{c}, nil
		}
		if errors.Is(err, fault.ErrBus) || ctx.Err() != nil {
			return nil, []error{err}
		}
	}
	m, err := b.master(place)
	if err != nil {
		return nil, []error{err}
	}
	return scanModbus(ctx, m, place)
}

// scanProbes are ranges that every meter of the table has, of lengths that no
// Identify asks for.
var scanProbes = []modbus.Range{{First: 0, Count: 4}, {First: 0, Count: 6}, {First: 0, Count: 8}}

// scanModbus asks each unit at each speed that a part of the table is delivered
// with. A refusal is an answer, too: the unit is then asked as the next part.
func scanModbus(ctx context.Context, m *modbus.Master, place string) (found []Config, errs []error) {
	var meters []part
	var speeds []int
	for _, p := range table {
		if p.on == onModbus {
			meters = append(meters, p)
			if !slices.Contains(speeds, p.baud) {
				speeds = append(speeds, p.baud)
			}
		}
	}
	for unit := byte(1); unit <= scannedUnits; unit++ {
		var c Config
		for _, baud := range speeds {
			u := modbus.Unit{Master: m, Address: unit, Baud: baud, Probes: scanProbes, Patience: scanPatience}
			name, err := whichMeter(ctx, u, meters)
			if err != nil {
				return found, append(errs, err)
			}
			if name != "" {
				c = Config{Part: name, Bus: place, Address: uint16(unit), Baud: baud}
				break
			}
		}
		if c.Part != "" {
			found = append(found, c)
		}
	}
	return found, errs
}

// whichMeter returns the name of the part that a unit is, "" if of none or
// silent. The error is the bus's or the context's.
func whichMeter(ctx context.Context, u modbus.Unit, meters []part) (string, error) {
	for _, p := range meters {
		err := p.ask(ctx, u)
		switch {
		case err == nil:
			return p.name, nil
		case errors.Is(err, fault.ErrBus), ctx.Err() != nil:
			return "", err
		case errors.Is(err, fault.ErrNoAnswer):
			return "", nil
		}
	}
	return "", nil
}
