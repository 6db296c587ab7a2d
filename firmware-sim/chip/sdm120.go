package chip

import (
	"encoding/binary"
	"math"
	"time"
)

// SDM120 simulates Eastron's SDM120-Modbus single-phase meter on Modbus RTU
// (protocol document V2.4): measured values as IEEE 754 floats in two input
// registers each, high word first; settings as floats in holding registers. It
// is a Station.
type SDM120 struct {
	meter
	baud float64 // code: 0 = 2400, 1 = 4800, 2 = 9600, 5 = 1200
}

// sdmIdentity are the holding registers from 464513, which hold no floats: the
// serial number as an unsigned int32, the meter's code, the software's version.
var sdmIdentity = []uint16{0x016e, 0xa8b5, 0x0020, 0x0204}

const (
	sdmMost    = 80    // registers in one request: 40 values
	sdmLast    = 0x159 // last input register
	sdmAddress = 0x14  // holding register of the node address
	sdmBaud    = 0x1c  // holding register of the speed's code
	sdmSerial  = 0xfc00
)

// NewSDM120 returns a meter with an address of 1 to 247.
func NewSDM120(addr byte, source func(time.Time) Mains, clock Clock) *SDM120 {
	s := &SDM120{meter: newMeter(addr, source, clock), baud: 2}
	s.obey = s.do
	return s
}

func (s *SDM120) do(function byte, data []byte) ([]byte, byte) {
	switch function {
	case 0x03, 0x04:
		first, n := binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:])
		switch {
		case function == 0x03 && first >= sdmSerial:
			from, to := int(first-sdmSerial), int(first-sdmSerial)+int(n)
			if n == 0 || to > len(sdmIdentity) {
				return nil, illegalAddress
			}
			return readWords(sdmIdentity[from:to]), 0
		case first%2 != 0 || (function == 0x04 && int(first)+int(n) > sdmLast+1):
			return nil, illegalAddress
		case n == 0 || n%2 != 0 || n > sdmMost:
			return nil, illegalValue
		}
		value := s.setting
		if function == 0x04 {
			value = s.value(s.mains())
		}
		var words []uint16
		for r := first; r < first+n; r += 2 {
			bits := math.Float32bits(float32(value(r)))
			words = append(words, uint16(bits>>16), uint16(bits))
		}
		return readWords(words), 0
	case 0x10: // one setting per message
		if len(data) != 9 || data[4] != 4 {
			return nil, illegalValue
		}
		v := float64(math.Float32frombits(binary.BigEndian.Uint32(data[5:])))
		switch binary.BigEndian.Uint16(data) {
		case sdmAddress:
			if !(v >= 1 && v <= 247) {
				return nil, illegalValue
			}
			s.addr = byte(v)
		case sdmBaud:
			if v != 0 && v != 1 && v != 2 && v != 5 {
				return nil, illegalValue
			}
			s.baud = v
		default:
			return nil, illegalAddress
		}
		return data[:4], 0
	}
	return nil, illegalFunction
}

func (s *SDM120) setting(register uint16) float64 {
	switch register {
	case sdmAddress:
		return float64(s.addr)
	case sdmBaud:
		return s.baud
	}
	return 0
}

// value returns what an input register's pair holds; those without a meaning
// hold 0.
func (s *SDM120) value(m Mains) func(register uint16) float64 {
	if s.fault == OutOfRange {
		m.Voltage, m.Current, m.Power, m.Frequency, m.PowerFactor = 99999, 99999, 9999999, 999, 9
	}
	apparent := m.Voltage * m.Current
	reactive := math.Sqrt(max(0, apparent*apparent-m.Power*m.Power))
	wattHour := func(kWh float64) float64 { return math.Floor(kWh*1000) / 1000 } // counts 1000 pulses a kWh
	return func(register uint16) float64 {
		switch register {
		case 0x00:
			return m.Voltage
		case 0x06:
			return m.Current
		case 0x0c:
			return m.Power
		case 0x12:
			return apparent
		case 0x18:
			return reactive
		case 0x1e:
			return m.PowerFactor
		case 0x24:
			return math.Acos(min(max(m.PowerFactor, -1), 1)) * 180 / math.Pi
		case 0x46:
			return m.Frequency
		case 0x48:
			return wattHour(m.Energy)
		case 0x4a:
			return wattHour(m.EnergyExport)
		case 0x156:
			return wattHour(m.Energy + m.EnergyExport)
		}
		return 0
	}
}
