package chip

import (
	"encoding/binary"
	"math"
	"testing"
	"time"
)

func TestBME280CompensationOfTheDatasheetsExample(t *testing.T) {
	// BST-BMP280-DS001 §3.12: the same formulas and words, worked by Bosch.
	celsius, fine := bme280Temperature(519888)
	if math.Abs(celsius-25.08) > 0.005 {
		t.Errorf("%v °C, want 25.08", celsius)
	}
	if p := bme280Pressure(415148, fine); math.Abs(p-100653.27) > 0.05 {
		t.Errorf("%v Pa, want 100653.27", p)
	}
}

func registers(t *testing.T, b *Bus, from byte, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if err := b.Tx(BME280Address, []byte{from}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// fixedPoint is the integer compensation of the datasheet §4.2.3, the way a
// microcontroller does it: 0.01 °C, 1/256 Pa, 1/1024 %.
func fixedPoint(low, high, data []byte) (t int32, p uint32, h uint32) {
	u := func(i int) int64 { return int64(binary.LittleEndian.Uint16(low[i:])) }
	s := func(i int) int64 { return int64(int16(binary.LittleEndian.Uint16(low[i:]))) }
	adcP := int64(data[0])<<12 | int64(data[1])<<4 | int64(data[2])>>4
	adcT := int64(data[3])<<12 | int64(data[4])<<4 | int64(data[5])>>4
	adcH := int64(data[6])<<8 | int64(data[7])
	v1 := (adcT>>3 - u(0)<<1) * s(2) >> 11
	v2 := (adcT>>4 - u(0)) * (adcT>>4 - u(0)) >> 12 * s(4) >> 14
	fine := v1 + v2
	t = int32((fine*5 + 128) >> 8)
	v1 = fine - 128000
	v2 = v1*v1*s(16) + v1*s(14)<<17 + s(12)<<35
	v1 = v1*v1*s(10)>>8 + v1*s(8)<<12
	v1 = (1<<47 + v1) * u(6) >> 33
	x := ((1048576-adcP)<<31 - v2) * 3125 / v1
	v1 = s(22) * (x >> 13) * (x >> 13) >> 25
	v2 = s(20) * x >> 19
	p = uint32((x+v1+v2)>>8 + s(18)<<4)
	h1, h2, h3 := int64(low[25]), int64(int16(binary.LittleEndian.Uint16(high))), int64(high[2])
	h4 := int64(int16(uint16(high[3])<<8|uint16(high[4]&0x0f)<<4) >> 4)
	h5 := int64(int16(uint16(high[5])<<8|uint16(high[4]&0xf0)) >> 4)
	h6 := int64(int8(high[6]))
	y := fine - 76800
	y = (adcH<<14 - h4<<20 - h5*y + 16384) >> 15 *
		(((y*h6>>10*(y*h3>>11+32768)>>10+2097152)*h2 + 8192) >> 14)
	y -= y >> 15 * (y >> 15) >> 7 * h1 >> 4
	y = min(max(y, 0), 419430400)
	return t, p, uint32(y >> 12)
}

func TestBME280GivesTheSourceBackThroughItsRegisters(t *testing.T) {
	for _, c := range []Climate{
		{Temperature: 31.4, Pressure: 1008.25, Humidity: 74},
		{Temperature: 17.25, Pressure: 935, Humidity: 98.5},
		{Temperature: 38, Pressure: 1013.25, Humidity: 35},
	} {
		w, b := newWatch(), NewBus()
		b.Attach(BME280Address, NewBME280(func(time.Time) Climate { return c }, w.Now))
		if id := registers(t, b, 0xd0, 1); id[0] != 0x60 {
			t.Fatalf("chip id %02x", id)
		}
		before := registers(t, b, 0xf7, 8)
		if before[0] != 0x80 || before[3] != 0x80 || before[6] != 0x80 {
			t.Errorf("data before any measurement % x, want the reset values", before)
		}
		// ctrl_hum, then ctrl_meas: ×1 each, forced.
		if err := b.Tx(BME280Address, []byte{0xf2, 0x01, 0xf4, 0x25}, nil); err != nil {
			t.Fatal(err)
		}
		if st := registers(t, b, 0xf3, 1); st[0]&0x08 == 0 {
			t.Error("the measuring bit is not set")
		}
		w.Pass(9300 * time.Microsecond) // §9.1: the maximum for ×1, ×1, ×1
		if st := registers(t, b, 0xf3, 1); st[0]&0x08 != 0 {
			t.Error("still measuring after its maximum time")
		}
		if ctrl := registers(t, b, 0xf4, 1); ctrl[0]&3 != 0 {
			t.Errorf("mode %d after a forced measurement, want sleep", ctrl[0]&3)
		}
		gotT, gotP, gotH := fixedPoint(registers(t, b, 0x88, 26), registers(t, b, 0xe1, 7), registers(t, b, 0xf7, 8))
		if d := float64(gotT)/100 - c.Temperature; math.Abs(d) > 0.011 {
			t.Errorf("%d c°C for %v °C", gotT, c.Temperature)
		}
		if d := float64(gotP)/25600 - c.Pressure; math.Abs(d) > 0.01 {
			t.Errorf("%v hPa for %v", float64(gotP)/25600, c.Pressure)
		}
		if d := float64(gotH)/1024 - c.Humidity; math.Abs(d) > 0.03 {
			t.Errorf("%v %% for %v", float64(gotH)/1024, c.Humidity)
		}
	}
}

func TestBME280NormalModeFollowsAndSkippedChannelsKeepTheResetValue(t *testing.T) {
	w, b := newWatch(), NewBus()
	c := Climate{Temperature: 30, Pressure: 1000, Humidity: 60}
	bme := NewBME280(func(time.Time) Climate { return c }, w.Now)
	b.Attach(BME280Address, bme)
	// Humidity skipped; standby 1000 ms; temperature and pressure ×1, normal.
	if err := b.Tx(BME280Address, []byte{0xf2, 0x00, 0xf5, 0xa0, 0xf4, 0x27}, nil); err != nil {
		t.Fatal(err)
	}
	w.Pass(100 * time.Millisecond)
	first := registers(t, b, 0xf7, 8)
	if first[6] != 0x80 || first[7] != 0 {
		t.Errorf("skipped humidity reads % x", first[6:])
	}
	c.Temperature = 32
	if again := registers(t, b, 0xf7, 8); string(again) != string(first) {
		t.Error("the data changed within the standby time")
	}
	w.Pass(1100 * time.Millisecond)
	second := registers(t, b, 0xf7, 8)
	if string(second[3:6]) == string(first[3:6]) {
		t.Error("the data did not change in the next cycle")
	}

	bme.Fail(Stuck)
	w.Pass(2 * time.Second)
	held := registers(t, b, 0xf7, 8)
	c.Temperature = 20
	w.Pass(2 * time.Second)
	if string(registers(t, b, 0xf7, 8)) != string(held) {
		t.Error("stuck: the values moved")
	}
	bme.Fail(OutOfRange)
	w.Pass(2 * time.Second)
	if p := registers(t, b, 0xf7, 8); p[3] != 0xff {
		t.Errorf("range: % x", p)
	}
	bme.Fail(Silent)
	refused(t, b, BME280Address, []byte{0xd0}, 1, "silent")
	bme.Fail(Unplugged)
	refused(t, b, BME280Address, []byte{0xd0}, 1, "unplugged")
	bme.Fail(None)
	if ctrl := registers(t, b, 0xf4, 1); ctrl[0] != 0 {
		t.Errorf("ctrl_meas %02x after power-up", ctrl[0])
	}
	if bme.Fail(BadCRC) == nil {
		t.Error("a part without checksums accepted the fault crc")
	}
}

func TestBME280FilterSmooths(t *testing.T) {
	w, b := newWatch(), NewBus()
	c := Climate{Temperature: 30, Pressure: 1000, Humidity: 60}
	b.Attach(BME280Address, NewBME280(func(time.Time) Climate { return c }, w.Now))
	force := func() int64 {
		t.Helper()
		if err := b.Tx(BME280Address, []byte{0xf2, 0x01, 0xf5, 0x08, 0xf4, 0x25}, nil); err != nil { // filter 4
			t.Fatal(err)
		}
		w.Pass(10 * time.Millisecond)
		d := registers(t, b, 0xf7, 8)
		return int64(d[3])<<12 | int64(d[4])<<4 | int64(d[5])>>4
	}
	cold := force()
	c.Temperature = 40
	step := force()
	for range 40 {
		force()
	}
	warm := force()
	if step-cold < (warm-cold)/5 || step-cold > (warm-cold)/3 {
		t.Errorf("after one step of %d the filtered word moved by %d, want a quarter", warm-cold, step-cold)
	}
}
