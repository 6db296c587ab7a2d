package chip

import (
	"bytes"
	"testing"
	"time"
)

// What a confused or hostile host sends must neither break the parts nor get an
// answer with a wrong checksum.

func FuzzRTULine(f *testing.F) {
	for _, text := range []string{"0104000000 0a700d", "f842c241", "f8413721b778", "01100014000204", "0000", "0203001c0002"} {
		f.Add([]byte(text))
	}
	f.Add([]byte{0xf8, 0x42, 0xc2, 0x41})
	f.Add([]byte{1, 4, 0, 0, 0, 10, 0x70, 0x0d, 2, 4, 0, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		w := newWatch()
		m := func(time.Time) Mains { return manualMains() }
		stations := []Station{NewPZEM004T(1, m, w.Now), NewSDM120(2, m, w.Now)}
		line := NewRTU(stations...)
		// Once as it is, and once with a CRC that makes it worth an answer.
		crc := CRC16(p)
		for _, q := range [][]byte{p, append(bytes.Clone(p), byte(crc), byte(crc>>8))} {
			line.Hear(w.Now(), q)
			w.Pass(time.Second)
			for {
				reply, _ := line.Say(w.Now())
				if reply == nil {
					break
				}
				if len(reply) < 4 || CRC16(reply) != 0 {
					t.Fatalf("% x was answered with % x", q, reply)
				}
			}
			for _, s := range stations {
				s.Answer(q)
			}
		}
	})
}

func FuzzI2CParts(f *testing.F) {
	f.Add([]byte{2, 0x21, 0xb1, 0, 9}, byte(0))
	f.Add([]byte{5, 0x00, 0x10, 0x03, 0x00, 0xac, 60}, byte(1))
	f.Add([]byte{4, 0xf2, 0x01, 0xf4, 0x25, 40}, byte(2))
	f.Fuzz(func(t *testing.T, script []byte, which byte) {
		w, b := newWatch(), NewBus()
		air := func(time.Time) Climate { return Climate{CO2: 500, Temperature: 30, Humidity: 70, Pressure: 1000} }
		b.Attach(SCD41Address, NewSCD41(air, w.Now))
		b.Attach(SPS30Address, NewSPS30(func(time.Time) Particles { return Particles{PM2_5: 20} }, w.Now))
		b.Attach(BME280Address, NewBME280(air, w.Now))
		addr := []uint16{SCD41Address, SPS30Address, BME280Address}[which%3]
		// The script: a length, so many bytes to write, a length to read, and on.
		for len(script) > 0 {
			n := min(int(script[0]), len(script)-1)
			write := script[1 : 1+n]
			script = script[1+n:]
			read := 0
			if len(script) > 0 {
				read, script = int(script[0]), script[1:]
			}
			_ = b.Tx(addr, write, nil) // refusals are answers too
			w.Pass(2 * time.Second)
			p := make([]byte, read)
			if b.Tx(addr, nil, p) == nil && addr != BME280Address && read >= 3 && CRC8(p[:2]) != p[2] {
				t.Fatalf("0x%02x: % x after % x", addr, p, write)
			}
		}
	})
}
