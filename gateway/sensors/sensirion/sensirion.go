// Package sensirion speaks the word protocol of Sensirion's I2C parts: 16-bit
// commands, data in words of two bytes with a CRC-8 each, command and answer as
// separate transactions with a waiting time between (SPS30 datasheet §6.2, SCD4x
// datasheet §3.3 and §3.11).
//
// The bus is free while a part works: the waiting time lies between two
// transactions and ends with the context.
package sensirion

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// Device is one part on a bus.
type Device struct {
	Bus  i2c.Bus
	Addr uint16
}

// CRC is the checksum of a word: polynomial 0x31, initial value 0xFF, not
// reflected, no final XOR; that of BE EF is 92.
func CRC(word []byte) byte {
	crc := byte(0xff)
	for _, b := range word {
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

// Send writes a command with its arguments and waits for its execution time.
func (d Device) Send(ctx context.Context, cmd uint16, wait time.Duration, args ...uint16) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := binary.BigEndian.AppendUint16(make([]byte, 0, 2+3*len(args)), cmd)
	for _, a := range args {
		w = binary.BigEndian.AppendUint16(w, a)
		w = append(w, CRC(w[len(w)-2:]))
	}
	if err := d.Bus.Tx(d.Addr, w, nil); err != nil {
		return fmt.Errorf("command %#04x: %w", cmd, err)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Read sends a command, waits for its execution time and reads n words.
func (d Device) Read(ctx context.Context, cmd uint16, wait time.Duration, n int) ([]uint16, error) {
	if err := d.Send(ctx, cmd, wait); err != nil {
		return nil, err
	}
	r := make([]byte, 3*n)
	if err := d.Bus.Tx(d.Addr, nil, r); err != nil {
		return nil, fmt.Errorf("answer to command %#04x: %w", cmd, err)
	}
	words := make([]uint16, n)
	for i := range words {
		w := r[3*i : 3*i+3]
		if CRC(w[:2]) != w[2] {
			return nil, fmt.Errorf("answer to command %#04x: word %d is % x: %w", cmd, i, w, fault.ErrChecksum)
		}
		words[i] = binary.BigEndian.Uint16(w)
	}
	return words, nil
}

// Text is what words of two characters each say, up to the terminating NUL (SPS30
// §6.3.9).
func Text(words []uint16) string {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// Float joins two words to an IEEE 754 number, high word first (SPS30 §6.3.4). It
// returns the shortest decimal that has these 32 bits: 12.3 stays 12.3.
func Float(high, low uint16) float64 {
	f := math.Float32frombits(uint32(high)<<16 | uint32(low))
	v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64) // reads what it wrote
	return v
}
