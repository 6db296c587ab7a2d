package sensirion

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
)

// TestCRC checks the datasheets' value (SCD4x §3.11, SPS30 §6.2) and words of
// their examples.
func TestCRC(t *testing.T) {
	for word, want := range map[[2]byte]byte{
		{0xbe, 0xef}: 0x92, {0x01, 0xf4}: 0x33, {0x66, 0x67}: 0xa2, {0x5e, 0xb9}: 0x3c, {0, 0}: 0x81, {0x03, 0x00}: 0xac,
	} {
		if got := CRC(word[:]); got != want {
			t.Errorf("CRC of % x = %#02x, want %#02x", word, got, want)
		}
	}
}

func TestReadChecksEveryWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			answer []byte
			want   error
		}{
			"good":       {[]byte{0xbe, 0xef, 0x92, 0x01, 0xf4, 0x33}, nil},
			"first bad":  {[]byte{0xbe, 0xee, 0x92, 0x01, 0xf4, 0x33}, fault.ErrChecksum},
			"second bad": {[]byte{0xbe, 0xef, 0x92, 0x01, 0xf4, 0x32}, fault.ErrChecksum},
			"all ones":   {[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, fault.ErrChecksum},
		} {
			bus := &i2ctest.Playback{DontPanic: true, Ops: []i2ctest.IO{{Addr: 0x62, W: []byte{0x36, 0x82}}, {Addr: 0x62, R: c.answer}}}
			start := time.Now()
			words, err := Device{Bus: bus, Addr: 0x62}.Read(t.Context(), 0x3682, time.Millisecond, 2)
			if !errors.Is(err, c.want) || (c.want == nil && (words[0] != 0xbeef || words[1] != 0x01f4)) {
				t.Errorf("%s: %04x, %v", name, words, err)
			}
			if d := time.Since(start); d != time.Millisecond {
				t.Errorf("%s: %v between command and answer, want 1 ms", name, d)
			}
			if err := bus.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFloatKeepsTheDigitsOfThePart(t *testing.T) {
	for bits, want := range map[uint32]float64{0x4144cccd: 12.3, 0x41be147b: 23.76, 0: 0, 0xbf800000: -1} {
		if got := Float(uint16(bits>>16), uint16(bits)); got != want {
			t.Errorf("%#08x = %v, want %v", bits, got, want)
		}
	}
}
