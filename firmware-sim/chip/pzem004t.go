package chip

import (
	"encoding/binary"
	"math"
	"time"
)

// PZEM004T simulates Peacefair's PZEM-004T V3.0 with the 100 A coil on Modbus
// RTU, 9600 8N1 (user manual V1.0): input registers 0 to 9, parameters, energy
// reset. 32-bit values have their low word first. It answers to its address and
// to the general address 0xF8. It is a Station.
type PZEM004T struct {
	meter
	threshold uint16  // alarm, W
	reset     float64 // kWh at the last energy reset
}

const (
	pzemGeneral    = 0xf8
	pzemPassword   = 0x3721
	pzemStartAmp   = 0.02
	pzemStartWatt  = 0.4
	pzemEnergySpan = 10000 // kWh; the counter shows up to 9999.99
)

// NewPZEM004T returns a meter with an address of 1 to 0xF7.
func NewPZEM004T(addr byte, source func(time.Time) Mains, clock Clock) *PZEM004T {
	p := &PZEM004T{meter: newMeter(addr, source, clock), threshold: 23000}
	p.general = pzemGeneral
	p.obey = p.do
	return p
}

func (p *PZEM004T) do(function byte, data []byte) ([]byte, byte) {
	switch function {
	case 0x03, 0x04:
		all := p.registers()
		if function == 0x03 {
			all = []uint16{0, p.threshold, uint16(p.addr)}
		}
		first, n := int(binary.BigEndian.Uint16(data)), int(binary.BigEndian.Uint16(data[2:]))
		if function == 0x03 && first == 0 || n == 0 || first+n > len(all) {
			return nil, illegalAddress
		}
		return readWords(all[first : first+n]), 0
	case 0x06:
		v := binary.BigEndian.Uint16(data[2:])
		switch binary.BigEndian.Uint16(data) {
		case 1:
			p.threshold = v
		case 2:
			if v < 1 || v > 0xf7 {
				return nil, illegalValue
			}
			p.addr = byte(v)
		default:
			return nil, illegalAddress
		}
		return data, 0
	case 0x41: // factory calibration, behind a password
		if binary.BigEndian.Uint16(data) != pzemPassword {
			return nil, illegalValue
		}
		return data, 0
	case 0x42:
		p.reset = p.mains().Energy
		return nil, 0
	}
	return nil, illegalFunction
}

func (p *PZEM004T) registers() []uint16 {
	m := p.mains()
	if p.fault == OutOfRange {
		m = Mains{Voltage: 6553.5, Current: 1e6, Power: 1e8, Frequency: 6553.5, PowerFactor: 655.35, Energy: m.Energy}
	}
	if m.Current < pzemStartAmp {
		m.Current, m.Power, m.PowerFactor = 0, 0, 0
	}
	if m.Power < pzemStartWatt {
		m.Power = 0
	}
	alarm := uint16(0)
	if m.Power > float64(p.threshold) {
		alarm = 0xffff
	}
	low := func(v float64) uint16 { return uint16(uint64(math.Round(v))) }
	high := func(v float64) uint16 { return uint16(uint64(math.Round(v)) >> 16) }
	watts, amps := m.Power*10, m.Current*1000
	wattHours := math.Mod(max(0, m.Energy-p.reset), pzemEnergySpan) * 1000
	return []uint16{
		low(m.Voltage * 10), low(amps), high(amps), low(watts), high(watts),
		low(wattHours), high(wattHours), low(m.Frequency * 10), low(m.PowerFactor * 100), alarm,
	}
}
