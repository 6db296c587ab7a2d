package chip

import (
	"math"
	"time"
)

// SCD41Address is the part's fixed I2C address.
const SCD41Address = 0x62

// SCD41 simulates Sensirion's CO2 sensor (SCD4x datasheet version 1.3, §3). It
// starts in idle mode. While it measures periodically it obeys only the few
// commands that the datasheet marks so.
type SCD41 struct {
	sensirion
	source func(time.Time) Climate
	serial [3]uint16

	every    time.Duration // period of the running measurement, 0 = idle
	started  time.Time
	read     int64
	single   *[3]uint16 // result of a single shot that was not read
	singleAt time.Time  // when it is there
	held     holder[Climate]

	offset   uint16 // temperature offset word
	altitude uint16 // m
	ambient  uint16 // hPa, 0 = not set
	asc      uint16 // automatic self-calibration
}

const (
	scd41Command   = time.Millisecond
	scd41Stop      = 500 * time.Millisecond
	scd41PowerUp   = time.Second
	scd41Wake      = 20 * time.Millisecond
	scd41Periodic  = 5 * time.Second
	scd41LowPower  = 30 * time.Second
	scd41SelfTest  = 10 * time.Second
	scd41Calibrate = 400 * time.Millisecond
	scd41Persist   = 800 * time.Millisecond
	scd41Factory   = 1200 * time.Millisecond
)

// NewSCD41 returns a powered part in idle mode in the air that source says.
func NewSCD41(source func(time.Time) Climate, clock Clock) *SCD41 {
	s := &SCD41{source: source, serial: [3]uint16{0xf896, 0x9f07, 0x3bbe}}
	s.clock = clock
	s.run = s.obey
	s.can = []Fault{Silent, BadCRC, Stuck, OutOfRange, Slow, Unplugged, Broken}
	s.revive = func() { s.powerUp(s.clock()) }
	s.defaults()
	return s
}

func (s *SCD41) defaults() { s.offset, s.altitude, s.asc = 0x05da, 0, 1 } // 0x05da = 4.0 °C

func (s *SCD41) powerUp(now time.Time) {
	s.off, s.every, s.single, s.answer, s.ambient = false, 0, nil, nil, 0
	s.busyUntil = now.Add(scd41PowerUp)
}

func (s *SCD41) obey(now time.Time, cmd uint16, args []uint16) ([]uint16, time.Duration, bool) {
	if s.off {
		if cmd == 0x36f6 { // wake_up is obeyed but not acknowledged (§3.10.4)
			s.off, s.busyUntil = false, now.Add(scd41Wake)
		}
		return nil, 0, false
	}
	switch cmd { // allowed at any time
	case 0xec05: // read_measurement empties the buffer; an empty one is not acknowledged
		return s.measurement(now)
	case 0xe4b8: // get_data_ready_status: the low 11 bits are 0 while nothing is there
		if s.ready(now) {
			return []uint16{0x8006}, scd41Command, true
		}
		return []uint16{0x8000}, scd41Command, true
	case 0xe000: // set or get ambient pressure
		return s.setting(&s.ambient, args)
	case 0x3f86: // stop_periodic_measurement
		s.every = 0
		return nil, scd41Stop, true
	}
	if s.every > 0 {
		return nil, 0, false
	}
	switch cmd { // idle mode only
	case 0x21b1:
		s.begin(now, scd41Periodic)
		return nil, 0, true
	case 0x21ac:
		s.begin(now, scd41LowPower)
		return nil, 0, true
	case 0x219d: // measure_single_shot
		return s.shot(now, scd41Periodic, false)
	case 0x2196: // measure_single_shot_rht_only: CO2 reads 0
		return s.shot(now, 50*time.Millisecond, true)
	case 0x241d:
		return s.setting(&s.offset, args)
	case 0x2318:
		return []uint16{s.offset}, scd41Command, true
	case 0x2427:
		return s.setting(&s.altitude, args)
	case 0x2322:
		return []uint16{s.altitude}, scd41Command, true
	case 0x2416:
		return s.setting(&s.asc, args)
	case 0x2313:
		return []uint16{s.asc}, scd41Command, true
	case 0x362f: // perform_forced_recalibration: 0x8000 is no correction
		return []uint16{0x8000}, scd41Calibrate, len(args) == 1
	case 0x3615:
		return nil, scd41Persist, true
	case 0x3682: // get_serial_number (§3.9.2): three words, the highest first
		return s.serial[:], scd41Command, true
	case 0x3639: // perform_self_test: 0 is no malfunction
		if s.fault == Broken {
			return []uint16{0x0001}, scd41SelfTest, true
		}
		return []uint16{0}, scd41SelfTest, true
	case 0x3632:
		s.defaults()
		return nil, scd41Factory, true
	case 0x3646:
		return nil, scd41Wake, true
	case 0x202f: // get_sensor_variant (later datasheets): 0x1 in the upper four bits is the SCD41
		return []uint16{0x1440}, scd41Command, true
	case 0x36e0:
		s.off = true
		return nil, scd41Command, true
	case 0x36f6:
		return nil, 0, false
	}
	return nil, 0, false
}

func (s *SCD41) setting(to *uint16, args []uint16) ([]uint16, time.Duration, bool) {
	switch len(args) {
	case 0:
		return []uint16{*to}, scd41Command, true
	case 1:
		*to = args[0]
		return nil, scd41Command, true
	}
	return nil, 0, false
}

func (s *SCD41) begin(now time.Time, every time.Duration) {
	s.every, s.started, s.read, s.single = every, now, 0, nil
}

// newest numbers the periodic measurements since the start from 1.
func (s *SCD41) newest(now time.Time) int64 {
	every := s.every
	if s.fault == Slow {
		every *= slowness
	}
	return int64(now.Sub(s.started) / every)
}

func (s *SCD41) ready(now time.Time) bool {
	if s.every == 0 {
		return s.single != nil && !now.Before(s.singleAt)
	}
	return s.newest(now) > s.read
}

func (s *SCD41) measurement(now time.Time) ([]uint16, time.Duration, bool) {
	if !s.ready(now) {
		return nil, 0, false
	}
	if s.every == 0 {
		w := *s.single
		s.single = nil
		return w[:], scd41Command, true
	}
	s.read = s.newest(now)
	w := s.words(s.started.Add(time.Duration(s.read) * s.every))
	return w[:], scd41Command, true
}

func (s *SCD41) shot(now time.Time, takes time.Duration, climateOnly bool) ([]uint16, time.Duration, bool) {
	w := s.words(now)
	if climateOnly {
		w[0] = 0
	}
	s.single, s.singleAt = &w, now.Add(s.stretch(takes))
	return nil, takes, true
}

// words converts to CO2 in ppm, T = -45 + 175 w/65535, RH = 100 w/65535 (§3.5.2).
func (s *SCD41) words(at time.Time) [3]uint16 {
	c := s.held.see(s.fault, s.source(at))
	if s.fault == OutOfRange {
		return [3]uint16{0xffff, 0xffff, 0xffff}
	}
	word := func(v float64) uint16 { return uint16(math.Round(min(max(v, 0), 65535))) }
	return [3]uint16{word(c.CO2), word((c.Temperature + 45) / 175 * 65535), word(c.Humidity / 100 * 65535)}
}
