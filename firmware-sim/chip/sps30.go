package chip

import (
	"math"
	"time"
)

// SPS30Address is the part's fixed I2C address.
const SPS30Address = 0x69

// SPS30 simulates Sensirion's particle sensor on I2C (datasheet version 1.0,
// March 2020, sections 4 and 6). It starts in idle mode; after a start it has a new
// measurement each second, and its values settle over the first
// seconds (start-up time: 8 s at ordinary concentrations).
type SPS30 struct {
	sensirion
	source func(time.Time) Particles
	serial string

	pulsed           time.Time // first wake-up of a pair while asleep
	measuring, float bool
	started          time.Time
	read             int64 // number of the newest measurement that was read
	cleanFrom        time.Time
	cleanEvery       time.Duration
	status           uint32
	held             holder[Particles]
}

// The bits of the device status register (§4.4).
const (
	sps30FanSpeed = 1 << 21
	sps30Laser    = 1 << 5
	sps30Fan      = 1 << 4
)

const (
	sps30Command  = 5 * time.Millisecond
	sps30Start    = 20 * time.Millisecond
	sps30Reset    = 100 * time.Millisecond
	sps30Cleaning = 10 * time.Second
	sps30Settle   = 8 * time.Second
	sps30Pulse    = 100 * time.Millisecond
)

// NewSPS30 returns a powered part in idle mode that sees what source says.
func NewSPS30(source func(time.Time) Particles, clock Clock) *SPS30 {
	s := &SPS30{source: source, serial: "A51C0FFEE0DDBA11"}
	s.clock = clock
	s.run = s.obey
	s.can = []Fault{Silent, BadCRC, Stuck, OutOfRange, Slow, Unplugged, Broken}
	s.revive = func() { s.powerUp(s.clock()) }
	s.cleanEvery = 604800 * time.Second
	return s
}

// SetSerial gives the part another serial number, so that it can stand for
// another part: at most 31 characters (§6.3.9).
func (s *SPS30) SetSerial(serial string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial = serial
}

func (s *SPS30) powerUp(now time.Time) {
	s.off, s.pulsed, s.measuring, s.answer, s.status = false, time.Time{}, false, nil, 0
	s.busyUntil = now.Add(sps30Reset)
}

func (s *SPS30) obey(now time.Time, cmd uint16, args []uint16) ([]uint16, time.Duration, bool) {
	if s.off {
		// In sleep mode the interface is off: the first wake-up only makes the
		// pulse that switches it on and is not acknowledged, the second within
		// 100 ms wakes the part.
		if cmd != 0x1103 || s.pulsed.IsZero() || now.Sub(s.pulsed) > sps30Pulse {
			s.pulsed = now
			return nil, 0, false
		}
		s.off, s.pulsed = false, time.Time{}
		return nil, sps30Command, true
	}
	switch cmd {
	case 0x0010: // start measurement: output format in the upper byte
		if s.measuring || len(args) != 1 || (args[0] != 0x0300 && args[0] != 0x0500) {
			return nil, 0, false
		}
		s.measuring, s.float = true, args[0] == 0x0300
		s.started, s.read, s.cleanFrom = now, 0, time.Time{}
		return nil, sps30Start, true
	case 0x0104: // stop measurement
		s.measuring = false
		return nil, sps30Start, true
	case 0x0202: // read data-ready flag
		ready := uint16(0)
		if s.measuring && s.newest(now) > s.read {
			ready = 1
		}
		return []uint16{ready}, sps30Command, true
	case 0x0300: // read measured values
		if !s.measuring {
			return nil, 0, false
		}
		s.read = s.newest(now)
		return s.values(s.sampleTime(s.read)), sps30Command, true
	case 0x1001: // sleep, from idle mode only
		if s.measuring {
			return nil, 0, false
		}
		s.off, s.pulsed = true, time.Time{}
		return nil, sps30Command, true
	case 0x1103: // wake-up when awake changes nothing
		return nil, sps30Command, true
	case 0x5607: // start fan cleaning, in measurement mode only
		if !s.measuring {
			return nil, 0, false
		}
		s.cleanFrom = now
		return nil, sps30Command, true
	case 0x8004: // auto cleaning interval, in seconds, 0 = off
		if len(args) == 2 {
			s.cleanEvery = time.Duration(uint32(args[0])<<16|uint32(args[1])) * time.Second
			return nil, sps30Start, true
		}
		secs := uint32(s.cleanEvery / time.Second)
		return []uint16{uint16(secs >> 16), uint16(secs)}, sps30Command, true
	case 0xd002: // product type (§6.3.9)
		return textWords("00080000", 4), sps30Command, true
	case 0xd033: // serial number (§6.3.9)
		return textWords(s.serial, 16), sps30Command, true
	case 0xd100: // firmware version: major 2, minor 2 (§6.3.10)
		return []uint16{0x0202}, sps30Command, true
	case 0xd206: // device status
		status := s.status
		if s.fault == Broken {
			status |= sps30Fan
		}
		return []uint16{uint16(status >> 16), uint16(status)}, sps30Command, true
	case 0xd210: // clear device status
		s.status = 0
		return nil, sps30Command, true
	case 0xd304: // reset
		s.powerUp(now)
		return nil, sps30Reset, true
	}
	return nil, 0, false
}

// newest numbers the measurements since the start from 1. While the fan cleans
// there are none.
func (s *SPS30) newest(now time.Time) int64 {
	if from, to := s.cleaning(now); !to.IsZero() && now.Before(to) {
		now = from
	}
	return max(0, int64(now.Sub(s.started)/s.interval()))
}

func (s *SPS30) interval() time.Duration {
	if s.fault == Slow {
		return slowness * time.Second
	}
	return time.Second
}

func (s *SPS30) sampleTime(n int64) time.Time { return s.started.Add(time.Duration(n) * s.interval()) }

// cleaning returns the newest cleaning by command or by the interval.
func (s *SPS30) cleaning(now time.Time) (from, to time.Time) {
	from = s.cleanFrom
	if s.cleanEvery > 0 {
		if n := now.Sub(s.started) / s.cleanEvery; n > 0 {
			if auto := s.started.Add(n * s.cleanEvery); auto.After(from) {
				from = auto
			}
		}
	}
	if from.IsZero() {
		return from, from
	}
	return from, from.Add(sps30Cleaning)
}

// values returns the ten values in the format that the start asked for. Before
// the first measurement they are all zero.
func (s *SPS30) values(at time.Time) []uint16 {
	p := s.held.see(s.fault, s.source(at))
	if s.fault == OutOfRange {
		p = Particles{PM1: 64000, PM2_5: 64000, PM4: 64000, PM10: 64000, N0_5: 64000, N1: 64000, N2_5: 64000, N4: 64000, N10: 64000, Size: 64}
	}
	settled := 1.0
	if age := at.Sub(s.started); age < sps30Settle {
		settled = 1 - math.Exp(-3*age.Seconds()/sps30Settle.Seconds())
	}
	all := [10]float64{p.PM1, p.PM2_5, p.PM4, p.PM10, p.N0_5, p.N1, p.N2_5, p.N4, p.N10, p.Size}
	if s.read == 0 {
		all = [10]float64{}
	}
	var words []uint16
	for i, v := range all {
		if i < 9 {
			v *= settled
		}
		if s.float {
			bits := math.Float32bits(float32(v))
			words = append(words, uint16(bits>>16), uint16(bits))
			continue
		}
		if i == 9 {
			v *= 1000 // the typical size is in nm in the integer format
		}
		words = append(words, uint16(min(math.Round(v), 65535)))
	}
	return words
}
