package scd4x

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func command(b ...byte) i2ctest.IO { return i2ctest.IO{Addr: Address, W: b} }
func answer(b ...byte) i2ctest.IO  { return i2ctest.IO{Addr: Address, R: b} }

// TestRecordedMeasurement replays the examples of the datasheet: serial number
// 273'325'796'834'238 (§3.10.2), start (§3.6.1), data-ready status (§3.9.2), measurement of 500 ppm, 25 °C, 37 %RH (§3.6.2),
// stop (§3.6.3).
func TestRecordedMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{
			command(0x36, 0x82), answer(0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89),
			command(0x21, 0xb1),
			command(0xe4, 0xb8), answer(0x80, 0x00, 0xa2),
			command(0xe4, 0xb8), answer(0x80, 0x06, 0x04),
			command(0xec, 0x05), answer(0x01, 0xf4, 0x33, 0x66, 0x67, 0xa2, 0x5e, 0xb9, 0x3c),
			command(0x3f, 0x86),
		}}
		d := New(bus, Address)
		if _, err := d.Sense(t.Context()); !errors.Is(err, fault.ErrNotReady) {
			t.Fatalf("before the first measurement: %v", err)
		}
		time.Sleep(5 * time.Second)
		got, err := d.Sense(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []float64{500, 25.003, 37.002} {
			if got[i].Value.Number != want || got[i].Flag != telemetry.FlagWarmUp {
				t.Errorf("%s = %+v, want %v", got[i].Quantity, got[i], want)
			}
		}
		if id := d.Identity(); id != (telemetry.Identity{Serial: "273325796834238"}) {
			t.Errorf("the part told %+v", id)
		}
		before := time.Now()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(before); took != 500*time.Millisecond {
			t.Errorf("stop took %v, want the 500 ms after which the part is idle", took)
		}
		if err := bus.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestIdentify replays the serial number of the datasheet's example (§3.10.2).
func TestIdentify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			answer []byte
			want   error
		}{
			"a part":       {[]byte{0xf8, 0x96, 0x31, 0x9f, 0x07, 0xc2, 0x3b, 0xbe, 0x89}, nil},
			"another part": {[]byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, fault.ErrChecksum},
		} {
			bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{command(0x36, 0x82), answer(c.answer...)}}
			if err := Identify(t.Context(), bus, Address); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
	})
}
