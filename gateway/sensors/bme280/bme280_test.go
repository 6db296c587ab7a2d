package bme280

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/devices/v3/bmxx80"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Calibration of temperature and pressure is that of Bosch's worked example
// (BST-BMP280-DS001 §3.12, the same compensation); that of humidity is a usual one.
var (
	calib1 = append(little(27504, 26435, 0xfc18, 36477, 0xd643, 3024, 2855, 140, 0xfff9, 15500, 0xc6f8, 6000), 0, 75)
	calib2 = []byte{0x6a, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1e} // H2 362, H3 0, H4 313, H5 50, H6 30
)

func little(words ...uint16) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint16(b, w)
	}
	return b
}

func write(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: Address, W: b} }
func read(register byte, b ...byte) i2ctest.IO {
	return i2ctest.IO{Addr: Address, W: []byte{register}, R: b}
}

// set-up and one measurement, as the registers of §5 ask for.
func trace(data ...byte) []i2ctest.IO {
	return []i2ctest.IO{
		read(0xd0, 0x60), write(0xe0, 0xb6), read(0xf3, 0x01), read(0xf3, 0x00), read(0x88, calib1...), read(0xe1, calib2...),
		write(0xf5, 0x00, 0xf2, 0x01, 0xf4, 0x25), read(0xf3, 0x08), read(0xf3, 0x00), read(0xf7, data...),
	}
}

// TestRecordedMeasurement: raw temperature 519,888 and pressure 415,148 are
// 25.08 °C and 100,653.27 Pa (BST-BMP280-DS001 §3.12).
func TestRecordedMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &i2ctest.Playback{DontPanic: true, Ops: trace(0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x70, 0x00)}
		got, err := New(bus, Address).Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Value.Number != 25.08 || got[2].Value.Number != 1006.53 || got[1].Gap != telemetry.GapNone {
			t.Errorf("%+v, want 25.08 °C and 1006.53 hPa", got)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestWordsThatNoMeasurementGivesAreNoValues(t *testing.T) {
	for name, c := range map[string]struct {
		data       []byte
		want       error
		gaps, good []int
	}{
		"reset values":          {[]byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0}, fault.ErrNotReady, nil, nil},
		"all ones":              {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, fault.ErrProtocol, nil, nil},
		"all zero":              {make([]byte, 8), fault.ErrProtocol, nil, nil},
		"humidity switched off": {[]byte{0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x80, 0x00}, nil, []int{1}, []int{0, 2}},
		"pressure switched off": {[]byte{0x80, 0, 0, 0x7e, 0xed, 0x00, 0x70, 0x00}, nil, []int{2}, []int{0, 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			bus := &i2ctest.Playback{DontPanic: true, Ops: trace(c.data...)}
			got, err := New(bus, Address).Sense(t.Context())
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			for _, i := range c.gaps {
				if got[i].Gap != telemetry.GapNotNumber {
					t.Errorf("%s: %+v is no gap", name, got[i])
				}
			}
			for _, i := range c.good {
				if got[i].Gap != telemetry.GapNone {
					t.Errorf("%s: %+v is a gap", name, got[i])
				}
			}
		})
	}
}

// away is a bus from which the part is missing at times.
type away struct {
	*i2ctest.Playback
	missing bool
}

func (b *away) Tx(addr uint16, w, r []byte) error {
	if b.missing {
		return fault.ErrNoAnswer
	}
	return b.Playback.Tx(addr, w, r)
}

func TestAPartThatWasExchangedBringsItsOwnCalibration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := []byte{0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x70, 0x00}
		other := append([]byte(nil), calib1...)
		other[0] ^= 0x80 // T1
		second := trace(data...)
		second[4].R = other
		bus := &away{Playback: &i2ctest.Playback{DontPanic: true, Ops: append(trace(data...), second...)}}
		d := New(bus, Address)
		before, err := d.Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		bus.missing = true
		if _, err := d.Sense(t.Context()); !errors.Is(err, fault.ErrNoAnswer) {
			t.Errorf("without a part: %v", err)
		}
		bus.missing = false
		after, err := d.Sense(t.Context())
		if err != nil || after[0].Value == before[0].Value {
			t.Errorf("with another part: %+v, %v; want another temperature than %v", after, err, before[0].Value)
		}
	})
}

func TestIdentifyTellsABMP280(t *testing.T) {
	for id, want := range map[byte]error{0x60: nil, 0x58: fault.ErrProtocol, 0x00: fault.ErrProtocol} {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{read(0xd0, id)}}
		if err := Identify(t.Context(), bus, Address); !errors.Is(err, want) {
			t.Errorf("chip id %#02x: %v, want %v", id, err, want)
		}
	}
}

func TestCalibrationKeepsTheSignsOfH4AndH5(t *testing.T) {
	b := [7]byte{0, 0, 0, 0xe2, 0x5f, 0xf7, 0xff}
	c, _ := parse([26]byte(calib1), b)
	if c.h[4] != -30*16+0x0f || c.h[5] != -9*16+5 || c.h[6] != -1 {
		t.Errorf("H4 %v, H5 %v, H6 %v; want -465, -139, -1", c.h[4], c.h[5], c.h[6])
	}
}

// TestCompensationAgreesWithPeriph compares with the integer arithmetic of
// periph's bmxx80 where that one is right: H4 and H5 not negative.
func TestCompensationAgreesWithPeriph(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			h := append([]byte(nil), calib2...)
			h[0], h[3], h[4], h[5] = byte(rnd.IntN(256)), byte(rnd.IntN(0x20)), byte(rnd.IntN(256)), byte(rnd.IntN(8))
			p, temp, hum := 250000+rnd.IntN(250000), 430000+rnd.IntN(150000), 20000+rnd.IntN(25000)
			data := []byte{byte(p >> 12), byte(p >> 4), byte(p << 4), byte(temp >> 12), byte(temp >> 4), byte(temp << 4), byte(hum >> 8), byte(hum)}
			ours := &i2ctest.Playback{DontPanic: true, Ops: trace(data...)}
			ours.Ops[5].R = h
			got, err := New(ours, Address).Sense(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			theirs := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{
				read(0xd0, 0x60), read(0x88, calib1...), read(0xe1, h...),
				write(0xf4, 0x24, 0xf2, 0x01, 0xf5, 0xa0, 0xf4, 0x24), write(0xf4, 0x25), read(0xf3, 0), read(0xf7, data...),
			}}
			d, err := bmxx80.NewI2C(theirs, Address, &bmxx80.Opts{Temperature: bmxx80.O1x, Pressure: bmxx80.O1x, Humidity: bmxx80.O1x})
			if err != nil {
				t.Fatal(err)
			}
			var e physic.Env
			if err := d.Sense(&e); err != nil {
				t.Fatal(err)
			}
			for i, want := range []float64{
				e.Temperature.Celsius(), float64(e.Humidity) / float64(physic.PercentRH), float64(e.Pressure) / float64(100*physic.Pascal),
			} {
				if math.Abs(got[i].Value.Number-want) > 0.02 {
					t.Errorf("%s of % x: %v, periph says %v", got[i].Quantity, data, got[i].Value.Number, want)
				}
			}
		})
	}
}
