package chip

import (
	"encoding/binary"
	"time"
)

// sensirion is the command interpreter of Sensirion's I2C parts: 16-bit
// commands, words of 16 bits each followed by a CRC, and a busy time after each
// command in which the part acknowledges nothing. Command and read are separate
// transactions.
type sensirion struct {
	health
	clock     Clock
	busyUntil time.Time
	answer    []byte // words with CRC, waiting to be read
	off       bool   // asleep: acknowledges nothing, not even a probe
	// run obeys one command. It returns the answer's words, the time the part
	// is busy, and false if the command is unknown or not allowed now.
	run func(now time.Time, cmd uint16, args []uint16) ([]uint16, time.Duration, bool)
}

// CRC8 is Sensirion's checksum: polynomial 0x31, start 0xFF, not reflected, no
// final XOR (datasheets of SPS30, §6.2, and SCD4x, §3.11). 0xBEEF gives 0x92.
func CRC8(p []byte) byte {
	crc := byte(0xff)
	for _, b := range p {
		crc ^= b
		for range 8 {
			if crc&0x80 != 0 {
				crc = crc<<1 ^ 0x31
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// Write takes a command with its arguments.
func (s *sensirion) Write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock()
	if s.absent() || now.Before(s.busyUntil) {
		return ErrNACK
	}
	if len(p) == 0 {
		if s.off {
			return ErrNACK
		}
		return nil
	}
	s.answer = nil
	if len(p) < 2 || (len(p)-2)%3 != 0 {
		return ErrNACK
	}
	var args []uint16
	for a := p[2:]; len(a) > 0; a = a[3:] {
		if CRC8(a[:2]) != a[2] {
			return ErrNACK // an argument with a wrong CRC is not accepted
		}
		args = append(args, binary.BigEndian.Uint16(a))
	}
	words, busy, ok := s.run(now, binary.BigEndian.Uint16(p), args)
	if !ok {
		return ErrNACK
	}
	s.busyUntil = now.Add(s.stretch(busy))
	for i, w := range words {
		s.answer = binary.BigEndian.AppendUint16(s.answer, w)
		crc := CRC8(s.answer[len(s.answer)-2:])
		if s.fault == BadCRC && i == 0 {
			crc ^= 0x01
		}
		s.answer = append(s.answer, crc)
	}
	return nil
}

// Read hands out the answer once. Beyond its end nobody drives the line, and
// the pull-ups read as ones.
func (s *sensirion) Read(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.absent() || s.clock().Before(s.busyUntil) || len(s.answer) == 0 {
		return ErrNACK
	}
	n := copy(p, s.answer)
	for i := n; i < len(p); i++ {
		p[i] = 0xff
	}
	s.answer = nil
	return nil
}

// textWords packs a NUL-terminated text of at most 2n-1 bytes into n words.
func textWords(text string, n int) []uint16 {
	p := make([]byte, 2*n)
	copy(p[:2*n-1], text)
	words := make([]uint16, n)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(p[2*i:])
	}
	return words
}
