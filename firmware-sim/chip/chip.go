// Package chip simulates sensors and meters at the level of their registers
// and frames, as their datasheets describe them: commands and busy times,
// checksums, data-ready and status bits, warm-up, and what a part says when it
// is asked wrongly or too early.
//
// Parts on I2C are Devices on a Bus. The Bus has the methods of periph's
// i2c.Bus, so a driver's test uses it directly:
//
//	bus := chip.NewBus()
//	sps := chip.NewSPS30(func(time.Time) chip.Particles { return chip.Particles{PM2_5: 31} }, time.Now)
//	bus.Attach(chip.SPS30Address, sps)
//	sps.Fail(chip.BadCRC) // and sps.Fail(chip.None) to mend it
//
// Parts on a serial line are Wires (the ultrasonic ranger) or Stations on an
// RTU wire (the meters). Connect gives the host's end in process, OpenPTY one
// that has a path:
//
//	rtu := chip.NewRTU(chip.NewPZEM004T(1, source, time.Now), chip.NewSDM120(2, source, time.Now))
//	port := chip.Connect(rtu) // Read, Write, SetReadTimeout, ResetInputBuffer, Close
//	defer port.Close()
//
// Every part takes the time from its Clock, so a test moves the time by hand
// and never sleeps; time.Now within testing/synctest does as well. A wire's own
// pace (when a byte arrives) is asked for with the time as an argument, and runs
// on time.Now behind Connect and Play.
//
// The package promises that what it answers comes from the datasheets, not from
// any driver of ours. It plays no electrical effects.
package chip

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Clock tells a part the time. It must not go backwards.
type Clock func() time.Time

// Fault is one way in which a part misbehaves until it is mended.
type Fault string

// The faults. Which of them a part can have, its Faults method lists.
const (
	None       Fault = ""          // healthy
	Silent     Fault = "no-answer" // no answer: NACK on I2C, silence on a serial line; the part keeps its state
	BadCRC     Fault = "crc"       // answers carry a wrong checksum
	Stuck      Fault = "stuck"     // the measured values stand still
	OutOfRange Fault = "range"     // the measured values are outside what the part can measure
	Slow       Fault = "slow"      // answers and measurements take far longer than the datasheet allows
	Unplugged  Fault = "unplug"    // no answer; when mended, the part comes back as after power-up
	Broken     Fault = "broken"    // the part reports a fault of its own in its status
)

// Part is what all simulated parts have in common.
type Part interface {
	// Fail puts the part into a fault, or mends it with None. The error says
	// which faults the part can have.
	Fail(Fault) error
	// Fault returns the fault the part is in.
	Fault() Fault
	// Faults lists the faults the part can have.
	Faults() []Fault
}

// health is the Part in every part. Its mutex guards the part's whole state.
type health struct {
	mu     sync.Mutex
	fault  Fault
	can    []Fault
	revive func() // what power-up does; called with mu held when Unplugged ends
}

// Fail is Part's.
func (h *health) Fail(f Fault) error {
	if f != None && !slices.Contains(h.can, f) {
		return fmt.Errorf("chip: fault %q: the part can only have %q", f, h.can)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fault == Unplugged && f != Unplugged && h.revive != nil {
		h.revive()
	}
	h.fault = f
	return nil
}

// Fault is Part's.
func (h *health) Fault() Fault {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fault
}

// Faults is Part's.
func (h *health) Faults() []Fault { return slices.Clone(h.can) }

// absent reports whether nothing answers. The caller holds mu.
func (h *health) absent() bool { return h.fault == Silent || h.fault == Unplugged }

// slowness stretches a time of the datasheet under the Slow fault.
const slowness = 20

// stretch returns d, or the far longer time under Slow. The caller holds mu.
func (h *health) stretch(d time.Duration) time.Duration {
	if h.fault == Slow {
		return d * slowness
	}
	return d
}

// holder keeps the value at which a part got Stuck.
type holder[T any] struct{ held *T }

// see returns now, or, under Stuck, the value of the first call under Stuck.
func (k *holder[T]) see(f Fault, now T) T {
	if f != Stuck {
		k.held = nil
		return now
	}
	if k.held == nil {
		k.held = &now
	}
	return *k.held
}

// Particles is what a particle counter sees.
type Particles struct {
	PM1, PM2_5, PM4, PM10   float64 // mass below that diameter in µm, µg/m³
	N0_5, N1, N2_5, N4, N10 float64 // number below that diameter, 1/cm³
	Size                    float64 // typical particle size, µm
}

// Climate is the air around a climate or CO2 sensor.
type Climate struct {
	CO2         float64 // ppm
	Temperature float64 // °C
	Humidity    float64 // %RH
	Pressure    float64 // hPa
}

// Mains is what an energy meter is connected to. The energies are the totals
// of the meter's whole life; they never fall.
type Mains struct {
	Voltage      float64 // V
	Current      float64 // A
	Power        float64 // W, positive when imported
	PowerFactor  float64 // 0 to 1
	Frequency    float64 // Hz
	Energy       float64 // kWh imported
	EnergyExport float64 // kWh exported
}
