package chip

import (
	"encoding/binary"
	"sync"
	"time"
)

// CRC16 is the checksum of Modbus RTU (Modbus over serial line V1.02 §6.2.2):
// polynomial 0xA001, start 0xFFFF; it travels low byte first.
func CRC16(p []byte) uint16 {
	crc := uint16(0xffff)
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xa001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}

// Station is a Modbus RTU server on a line.
type Station interface {
	// Answer takes a request frame whose CRC is right, and returns the whole
	// reply frame, nil for silence, and the time the station thinks about it. A
	// frame that is shorter or longer than its function asks for gets silence.
	Answer(request []byte) (reply []byte, after time.Duration)
}

// RTU is a two-wire line with stations, at 9600 baud. It is a Wire. Where
// several stations answer one request, their bytes collide.
type RTU struct {
	mu       sync.Mutex
	stations []Station
	buf      []byte
	last     time.Time // when buf last grew
	replies  []rtuReply
}

type rtuReply struct {
	at    time.Time
	frame []byte
}

const (
	rtuChar = 10 * time.Second / 9600 // 8N1
	// rtuGap is the silence after which a part of a frame is dropped. The
	// standard's is 3.5 characters; a pseudo-terminal's pauses say less.
	rtuGap = 50 * time.Millisecond
)

// NewRTU returns a line with these stations.
func NewRTU(stations ...Station) *RTU { return &RTU{stations: stations} }

// Attach adds a station.
func (l *RTU) Attach(s Station) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stations = append(l.stations, s)
}

// Hear is Wire's: it collects request frames. As on the real line, what has a
// wrong CRC is not answered, and what follows is only heard after a silence.
func (l *RTU) Hear(now time.Time, p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.last) > rtuGap {
		l.buf = l.buf[:0]
	}
	l.last = now
	l.buf = append(l.buf, p...)
	for len(l.buf) >= 4 {
		n := requestLength(l.buf)
		if n > len(l.buf) {
			return
		}
		if request := l.buf[:n]; CRC16(request) == 0 { // a frame with its own CRC sums to 0
			l.ask(now, request)
		} else {
			n = len(l.buf)
		}
		l.buf = append(l.buf[:0], l.buf[n:]...)
	}
}

// requestLength tells from its first bytes how long a request is. The length of
// an unknown function is that of what has arrived.
func requestLength(p []byte) int {
	switch p[1] {
	case 0x03, 0x04, 0x06:
		return 8
	case 0x10:
		if len(p) < 7 {
			return 7
		}
		return 9 + int(p[6])
	case 0x41:
		return 6
	case 0x42:
		return 4
	}
	return len(p)
}

func (l *RTU) ask(now time.Time, request []byte) {
	var reply []byte
	var after time.Duration
	for _, s := range l.stations {
		frame, d := s.Answer(request)
		if frame == nil {
			continue
		}
		if reply == nil {
			reply = frame
		} else {
			reply = collide(reply, frame)
		}
		after = max(after, d)
	}
	if reply != nil {
		onLine := time.Duration(len(request)+len(reply)) * rtuChar
		l.replies = append(l.replies, rtuReply{now.Add(after + onLine), reply})
	}
}

// collide overlays two frames sent at once: a low bit wins.
func collide(a, b []byte) []byte {
	if len(a) < len(b) {
		a, b = b, a
	}
	out := append([]byte(nil), a...)
	for i := range b {
		out[i] &= b[i]
	}
	return out
}

// Say is Wire's: the replies that are due, in the order in which they end.
func (l *RTU) Say(now time.Time) ([]byte, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := -1
	for i, r := range l.replies {
		if first < 0 || r.at.Before(l.replies[first].at) {
			first = i
		}
	}
	if first < 0 {
		return nil, time.Time{}
	}
	r := l.replies[first]
	if now.Before(r.at) {
		return nil, r.at
	}
	l.replies = append(l.replies[:first], l.replies[first+1:]...)
	return r.frame, now
}

// The exception codes that the meters use.
const (
	illegalFunction = 0x01
	illegalAddress  = 0x02
	illegalValue    = 0x03
	deviceFailure   = 0x04
)

// meter is what the two energy meters share: address, frames, exceptions.
type meter struct {
	health
	clock   Clock
	source  func(time.Time) Mains
	held    holder[Mains]
	addr    byte
	general byte // a second address that it answers to, 0 = none
	// obey does one request's function and data. It returns the reply's data
	// after the function code, or an exception code.
	obey func(function byte, data []byte) (reply []byte, exception byte)
}

const (
	meterThinks = 15 * time.Millisecond
	// meterSlow is longer than the second after which masters give up, so the
	// reply arrives when the next request is already out.
	meterSlow = 1500 * time.Millisecond
	// meterDark is the voltage below which a meter, fed by the line it measures,
	// is dead.
	meterDark = 80
)

func newMeter(addr byte, source func(time.Time) Mains, clock Clock) meter {
	return meter{addr: addr, source: source, clock: clock,
		health: health{can: []Fault{Silent, BadCRC, Stuck, OutOfRange, Slow, Unplugged, Broken}}}
}

// Answer is Station's.
func (m *meter) Answer(request []byte) ([]byte, time.Duration) {
	if len(request) < 4 || len(request) != requestLength(request) {
		return nil, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	to := request[0]
	if m.absent() || (to != m.addr && to != 0 && (m.general == 0 || to != m.general)) ||
		m.source(m.clock()).Voltage < meterDark {
		return nil, 0
	}
	function := request[1]
	data, exception := m.obey(function, request[2:len(request)-2])
	if to == 0 {
		return nil, 0 // a broadcast is obeyed, not answered
	}
	if m.fault == Broken {
		exception = deviceFailure
	}
	frame := append([]byte{to, function}, data...)
	if exception != 0 {
		frame = []byte{to, function | 0x80, exception}
	}
	crc := CRC16(frame)
	if m.fault == BadCRC {
		crc ^= 0x0100
	}
	frame = binary.LittleEndian.AppendUint16(frame, crc)
	if m.fault == Slow {
		return frame, meterSlow
	}
	return frame, meterThinks
}

// mains is what the meter measures now. The caller holds mu.
func (m *meter) mains() Mains { return m.held.see(m.fault, m.source(m.clock())) }

// readWords answers a read of registers: a byte count, then the words.
func readWords(words []uint16) []byte {
	out := []byte{byte(2 * len(words))}
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}
