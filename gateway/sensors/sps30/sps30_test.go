package sps30

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/gateway/sensors/sensirion"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func command(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: Address, W: b} }
func answer(b ...byte) i2ctest.IO  { return i2ctest.IO{Addr: Address, R: b} }

// floats lays numbers out as a measurement's answer (§6.3.4).
func floats(numbers ...float32) i2ctest.IO {
	var b []byte
	for _, f := range numbers {
		w := binary.BigEndian.AppendUint32(nil, math.Float32bits(f))
		b = append(b, w[0], w[1], sensirion.CRC(w[:2]), w[2], w[3], sensirion.CRC(w[2:]))
	}
	return answer(b...)
}

var (
	stop    = command(0x01, 0x04)
	start   = command(0x00, 0x10, 0x03, 0x00, 0xac) // §6.3.1
	isReady = command(0x02, 0x02)
	ready   = answer(0x00, 0x01, 0xb0)
	status  = command(0xd2, 0x06)
	healthy = answer(0, 0, 0x81, 0, 0, 0x81)
	read    = command(0x03, 0x00)
	serial  = command(0xd0, 0x33)
	version = command(0xd1, 0x00)
)

// text lays a text out as a device information's answer (§6.3.9).
func text(s string) i2ctest.IO {
	var b []byte
	for w := append([]byte(s), make([]byte, 32-len(s))...); len(w) > 0; w = w[2:] {
		b = append(b, w[0], w[1], sensirion.CRC(w[:2]))
	}
	return answer(b...)
}

// TestRecordedMeasurement follows the bytes of the datasheet's command tables.
func TestRecordedMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nan := float32(math.NaN())
		disturbed := text("A51C0FFEE0DDBA11")
		disturbed.R[2] ^= 1
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{
			stop, start,
			isReady, answer(0x00, 0x00, 0x81),
			isReady, ready, status, healthy, read, floats(12.3, 23.76, 30.5, 33, 80, 95, 99, 100, 101, 0.58),
			serial, disturbed, // asked again with the next value
			isReady, ready, status, healthy, read, floats(12.4, nan, 30.5, 33, 80, 95, 99, 100, 101, 0.58),
			serial, text("A51C0FFEE0DDBA11"), version, answer(0x02, 0x03, 0x0b),
			isReady, ready, status, answer(0x00, 0x20, 0x07, 0x00, 0x00, 0x81), read, floats(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
			stop,
		}}
		d := New(bus, Address)
		if _, err := d.Sense(t.Context()); !errors.Is(err, fault.ErrNotReady) {
			t.Fatalf("within the first second: %v", err)
		}
		time.Sleep(time.Second)
		got, err := d.Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []float64{12.3, 23.76, 30.5, 33, 0.58} {
			if got[i].Value.Number != want || got[i].Flag != telemetry.FlagWarmUp {
				t.Errorf("%s = %+v, want %v", got[i].Quantity, got[i], want)
			}
		}
		if id := d.Identity(); id != (telemetry.Identity{}) {
			t.Errorf("a disturbed answer is %+v", id)
		}
		time.Sleep(WarmUp)
		if got, err = d.Sense(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got[0].Flag != telemetry.FlagNone || got[1].Gap != telemetry.GapNotNumber || got[2].Gap != telemetry.GapNone {
			t.Errorf("with a NaN for pm2_5: %+v", got)
		}
		if id := d.Identity(); id != (telemetry.Identity{Firmware: "2.3", Serial: "A51C0FFEE0DDBA11"}) {
			t.Errorf("the part told %+v", id)
		}
		if got, err = d.Sense(t.Context()); err != nil || got[0].Flag != telemetry.FlagSensorFault {
			t.Errorf("with bit 21 of the status set: %+v, %v", got, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusBitsThatCount(t *testing.T) {
	for bit := range 32 {
		want := telemetry.FlagNone
		if bit == 21 || bit == 5 || bit == 4 {
			want = telemetry.FlagSensorFault
		}
		if got := (&Dev{}).judge(1 << bit); got != want {
			t.Errorf("bit %d: flag %q, want %q", bit, got, want)
		}
	}
}

// TestIdentify replays the product type "00080000" (§6.3.9) and another one.
func TestIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			answer []byte
			want   error
		}{
			"SPS30": {[]byte{0x30, 0x30, 0xf6, 0x30, 0x38, 0x4f, 0x30, 0x30, 0xf6, 0x30, 0x30, 0xf6}, nil},
			"other": {[]byte{0x30, 0x30, 0xf6, 0x30, 0x30, 0xf6, 0x30, 0x30, 0xf6, 0x30, 0x30, 0xf6}, fault.ErrProtocol},
		} {
			bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{command(0xd0, 0x02), answer(c.answer...)}}
			if err := Identify(t.Context(), bus, Address); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	})
}
