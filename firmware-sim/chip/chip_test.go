package chip

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

// watch is a clock that a test moves by hand.
type watch struct {
	mu  sync.Mutex
	now time.Time
}

func newWatch() *watch { return &watch{now: time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)} }

func (w *watch) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) Pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// command writes a 16-bit command with its arguments, and fails the test unless
// it is acknowledged.
func command(t *testing.T, b *Bus, addr, cmd uint16, args ...uint16) {
	t.Helper()
	if err := b.Tx(addr, frame(cmd, args...), nil); err != nil {
		t.Fatalf("command %04x: %v", cmd, err)
	}
}

func frame(cmd uint16, args ...uint16) []byte {
	p := binary.BigEndian.AppendUint16(nil, cmd)
	for _, a := range args {
		w := binary.BigEndian.AppendUint16(nil, a)
		p = append(append(p, w...), CRC8(w))
	}
	return p
}

// words reads n words and checks their CRCs.
func words(t *testing.T, b *Bus, addr uint16, n int) []uint16 {
	t.Helper()
	p := make([]byte, 3*n)
	if err := b.Tx(addr, nil, p); err != nil {
		t.Fatalf("read: %v", err)
	}
	out := make([]uint16, n)
	for i := range out {
		w := p[3*i : 3*i+3]
		if CRC8(w[:2]) != w[2] {
			t.Errorf("word %d: CRC %02x, want %02x", i, w[2], CRC8(w[:2]))
		}
		out[i] = binary.BigEndian.Uint16(w)
	}
	return out
}

func refused(t *testing.T, b *Bus, addr uint16, w []byte, r int, why string) {
	t.Helper()
	if err := b.Tx(addr, w, make([]byte, r)); !errors.Is(err, ErrNACK) {
		t.Errorf("%s: error %v, want a NACK", why, err)
	}
}

func TestCRC8OfTheDatasheets(t *testing.T) {
	for text, want := range map[string]byte{
		"beef": 0x92,                             // SPS30 and SCD4x, checksum calculation
		"01f4": 0x33, "6667": 0xa2, "5eb9": 0x3c, // SCD4x read_measurement
		"f896": 0x31, "9f07": 0xc2, "3bbe": 0x89, // SCD4x get_serial_number
		"07e6": 0x48, "079e": 0x09, "03db": 0x42, "8000": 0xa2, "0000": 0x81,
	} {
		if got := CRC8(bytesOf(t, text)); got != want {
			t.Errorf("CRC8(%s) = %02x, want %02x", text, got, want)
		}
	}
}

func TestBusWithoutAnswerAndWithBusFaults(t *testing.T) {
	b, w := NewBus(), newWatch()
	b.Attach(SCD41Address, NewSCD41(func(time.Time) Climate { return Climate{} }, w.Now))
	if err := b.Tx(SCD41Address, nil, nil); err != nil {
		t.Errorf("probe: %v", err)
	}
	refused(t, b, 0x40, nil, 0, "probe of an empty address")
	for fault, want := range map[Fault]error{Silent: ErrTimeout, Broken: ErrBus} {
		if err := b.Fail(fault); err != nil {
			t.Fatal(err)
		}
		if err := b.Tx(SCD41Address, nil, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", fault, err, want)
		}
	}
	if err := b.Fail(None); err != nil {
		t.Fatal(err)
	}
	if err := b.Tx(SCD41Address, nil, nil); err != nil {
		t.Errorf("mended: %v", err)
	}
	if b.Fail(Stuck) == nil {
		t.Error("a bus accepted the fault of a sensor")
	}
	b.Attach(SCD41Address, nil)
	refused(t, b, SCD41Address, nil, 0, "detached")
}

func TestSCD41MeasuresAsTheDatasheetsExample(t *testing.T) {
	w, b := newWatch(), NewBus()
	air := Climate{CO2: 500, Temperature: -45 + 175*float64(0x6667)/65535, Humidity: 100 * float64(0x5eb9) / 65535}
	b.Attach(SCD41Address, NewSCD41(func(time.Time) Climate { return air }, w.Now))
	command(t, b, SCD41Address, 0x3682)
	refused(t, b, SCD41Address, nil, 9, "serial number read without the command's millisecond")
	w.Pass(time.Millisecond)
	if got := words(t, b, SCD41Address, 3); got[0] != 0xf896 || got[1] != 0x9f07 || got[2] != 0x3bbe {
		t.Errorf("serial number %04x", got)
	}
	refused(t, b, SCD41Address, nil, 9, "the same answer read twice")

	command(t, b, SCD41Address, 0x21b1)
	refused(t, b, SCD41Address, frame(0x3682), 0, "serial number while measuring")
	w.Pass(4900 * time.Millisecond)
	command(t, b, SCD41Address, 0xe4b8)
	w.Pass(time.Millisecond)
	if got := words(t, b, SCD41Address, 1)[0]; got&0x07ff != 0 {
		t.Errorf("ready after 4.9 s: %04x", got)
	}
	refused(t, b, SCD41Address, frame(0xec05), 0, "read_measurement with an empty buffer")
	w.Pass(time.Second)
	command(t, b, SCD41Address, 0xe4b8)
	w.Pass(time.Millisecond)
	if got := words(t, b, SCD41Address, 1)[0]; got&0x07ff == 0 {
		t.Errorf("not ready after 5.9 s: %04x", got)
	}
	command(t, b, SCD41Address, 0xec05)
	w.Pass(time.Millisecond)
	p := make([]byte, 9)
	if err := b.Tx(SCD41Address, nil, p); err != nil {
		t.Fatal(err)
	}
	if want := bytesOf(t, "01f433 6667a2 5eb93c"); !bytes.Equal(p, want) {
		t.Errorf("measurement % x, want % x", p, want)
	}
	refused(t, b, SCD41Address, frame(0xec05), 0, "the same measurement twice")

	command(t, b, SCD41Address, 0x3f86)
	w.Pass(499 * time.Millisecond)
	refused(t, b, SCD41Address, nil, 0, "a probe while it stops")
	w.Pass(time.Millisecond)
	command(t, b, SCD41Address, 0x241d, 0x07e6)
	w.Pass(time.Millisecond)
	command(t, b, SCD41Address, 0x2318)
	w.Pass(time.Millisecond)
	if got := words(t, b, SCD41Address, 1)[0]; got != 0x07e6 {
		t.Errorf("temperature offset %04x", got)
	}
	refused(t, b, SCD41Address, []byte{0x24, 0x1d, 0x07, 0xe6, 0x49}, 0, "an argument with a wrong CRC")
	refused(t, b, SCD41Address, []byte{0x12, 0x34}, 0, "an unknown command")
}

func TestSCD41SingleShotAndSleep(t *testing.T) {
	w, b := newWatch(), NewBus()
	b.Attach(SCD41Address, NewSCD41(func(time.Time) Climate { return Climate{CO2: 612, Temperature: 30, Humidity: 50} }, w.Now))
	command(t, b, SCD41Address, 0x219d)
	w.Pass(4999 * time.Millisecond)
	refused(t, b, SCD41Address, frame(0xec05), 0, "single shot before its time")
	w.Pass(time.Millisecond)
	command(t, b, SCD41Address, 0xec05)
	w.Pass(time.Millisecond)
	if got := words(t, b, SCD41Address, 3)[0]; got != 612 {
		t.Errorf("single shot: %d ppm", got)
	}
	command(t, b, SCD41Address, 0x36e0)
	w.Pass(time.Second)
	refused(t, b, SCD41Address, nil, 0, "a probe of a sleeping part")
	refused(t, b, SCD41Address, frame(0x36f6), 0, "wake_up, which is never acknowledged")
	w.Pass(20 * time.Millisecond)
	command(t, b, SCD41Address, 0x3682)
}

// readSPS30 reads the ten float values.
func readSPS30(t *testing.T, b *Bus, w *watch) [10]float32 {
	t.Helper()
	command(t, b, SPS30Address, 0x0300)
	w.Pass(5 * time.Millisecond)
	raw := words(t, b, SPS30Address, 20)
	var out [10]float32
	for i := range out {
		out[i] = math.Float32frombits(uint32(raw[2*i])<<16 | uint32(raw[2*i+1]))
	}
	return out
}

func readySPS30(t *testing.T, b *Bus, w *watch) bool {
	t.Helper()
	command(t, b, SPS30Address, 0x0202)
	w.Pass(5 * time.Millisecond)
	return words(t, b, SPS30Address, 1)[0] == 1
}

func TestSPS30MeasuresEachSecondAndSettles(t *testing.T) {
	w, b := newWatch(), NewBus()
	air := Particles{PM1: 20.5, PM2_5: 31.25, PM4: 36, PM10: 42, N0_5: 100, N1: 120, N2_5: 125, N4: 126, N10: 127, Size: 0.625}
	b.Attach(SPS30Address, NewSPS30(func(time.Time) Particles { return air }, w.Now))
	refused(t, b, SPS30Address, frame(0x0300), 0, "values in idle mode")
	command(t, b, SPS30Address, 0x0010, 0x0300)
	refused(t, b, SPS30Address, frame(0x0202), 0, "a command within the start's 20 ms")
	w.Pass(20 * time.Millisecond)
	if readySPS30(t, b, w) {
		t.Error("ready at once")
	}
	w.Pass(time.Second)
	if !readySPS30(t, b, w) {
		t.Error("not ready after a second")
	}
	if early := readSPS30(t, b, w); early[1] <= 0 || early[1] > 0.9*31.25 {
		t.Errorf("PM2.5 after a second is %v: it should still be settling", early[1])
	}
	if readySPS30(t, b, w) {
		t.Error("ready again after the values were read")
	}
	w.Pass(10 * time.Second)
	got := readSPS30(t, b, w)
	want := [10]float32{20.5, 31.25, 36, 42, 100, 120, 125, 126, 127, 0.625}
	if got != want {
		t.Errorf("values %v, want %v", got, want)
	}
	refused(t, b, SPS30Address, frame(0x1001), 0, "sleep while measuring")

	command(t, b, SPS30Address, 0x5607)
	w.Pass(5 * time.Second)
	readSPS30(t, b, w)
	w.Pass(4 * time.Second)
	if readySPS30(t, b, w) {
		t.Error("a measurement while the fan cleans")
	}
	w.Pass(2 * time.Second)
	if !readySPS30(t, b, w) {
		t.Error("no measurement after the cleaning")
	}
	command(t, b, SPS30Address, 0x0104)
	w.Pass(20 * time.Millisecond)
	if readySPS30(t, b, w) {
		t.Error("ready in idle mode")
	}
}

func TestSPS30IntegerFormatIdentityAndStatus(t *testing.T) {
	w, b := newWatch(), NewBus()
	sps := NewSPS30(func(time.Time) Particles { return Particles{PM2_5: 31.25, Size: 0.62} }, w.Now)
	b.Attach(SPS30Address, sps)
	ask := func(cmd uint16, n int) []uint16 {
		t.Helper()
		command(t, b, SPS30Address, cmd)
		w.Pass(5 * time.Millisecond)
		return words(t, b, SPS30Address, n)
	}
	if got := ask(0xd002, 4); got[0] != 0x3030 || got[1] != 0x3038 || got[2] != 0x3030 { // "000800.."
		t.Errorf("product type %04x", got)
	}
	if got := ask(0x8004, 2); got[0] != 0x0009 || got[1] != 0x3a80 {
		t.Errorf("auto-cleaning interval %04x, want 604800 s", got)
	}
	if got := ask(0xd206, 2); got[0] != 0 || got[1] != 0 {
		t.Errorf("status %04x of a healthy part", got)
	}
	if err := sps.Fail(Broken); err != nil {
		t.Fatal(err)
	}
	if got := ask(0xd206, 2); got[1] != 1<<4 {
		t.Errorf("status %04x of a part with a broken fan", got)
	}
	sps.Fail(None)
	command(t, b, SPS30Address, 0x0010, 0x0500)
	w.Pass(20 * time.Second)
	if got := ask(0x0300, 10); got[1] != 31 || got[9] != 620 {
		t.Errorf("integers %v", got)
	}
}

func TestSPS30WakesOnTheSecondWakeUp(t *testing.T) {
	w, b := newWatch(), NewBus()
	b.Attach(SPS30Address, NewSPS30(func(time.Time) Particles { return Particles{} }, w.Now))
	command(t, b, SPS30Address, 0x1001)
	w.Pass(time.Second)
	refused(t, b, SPS30Address, frame(0x0202), 0, "a command while asleep")
	w.Pass(time.Second)
	refused(t, b, SPS30Address, frame(0x1103), 0, "the first wake-up")
	w.Pass(time.Second)
	refused(t, b, SPS30Address, frame(0x1103), 0, "a wake-up long after the first")
	w.Pass(10 * time.Millisecond)
	command(t, b, SPS30Address, 0x1103)
	w.Pass(5 * time.Millisecond)
	command(t, b, SPS30Address, 0x0202)
}

// Every fault of a Sensirion part, seen from the bus.
func TestSensirionFaults(t *testing.T) {
	w, b := newWatch(), NewBus()
	co2 := 500.0
	scd := NewSCD41(func(time.Time) Climate { return Climate{CO2: co2, Temperature: 25, Humidity: 50} }, w.Now)
	b.Attach(SCD41Address, scd)
	command(t, b, SCD41Address, 0x21b1)
	measure := func() []byte {
		t.Helper()
		w.Pass(5 * time.Second)
		command(t, b, SCD41Address, 0xec05)
		w.Pass(time.Millisecond)
		p := make([]byte, 9)
		if err := b.Tx(SCD41Address, nil, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	fail := func(f Fault) {
		t.Helper()
		if err := scd.Fail(f); err != nil {
			t.Fatal(err)
		}
	}
	measure()

	fail(BadCRC)
	if p := measure(); CRC8(p[:2]) == p[2] {
		t.Error("crc: the checksum is right")
	}
	fail(Stuck)
	first := measure()
	co2 = 800
	if !bytes.Equal(first, measure()) {
		t.Error("stuck: the values moved")
	}
	fail(OutOfRange)
	if p := measure(); binary.BigEndian.Uint16(p) < 40000 {
		t.Errorf("range: % x is within the range", p)
	}
	fail(Slow)
	w.Pass(5 * time.Second)
	refused(t, b, SCD41Address, frame(0xec05), 0, "slow: a measurement in time")
	fail(Silent)
	refused(t, b, SCD41Address, nil, 0, "silent")
	fail(None)
	if p := measure(); binary.BigEndian.Uint16(p) != 800 {
		t.Errorf("mended: % x", p)
	}
	fail(Unplugged)
	refused(t, b, SCD41Address, nil, 0, "unplugged")
	fail(None)
	refused(t, b, SCD41Address, nil, 0, "within power-up")
	w.Pass(time.Second)
	command(t, b, SCD41Address, 0xe4b8)
	w.Pass(6 * time.Second)
	refused(t, b, SCD41Address, frame(0xec05), 0, "a measurement after power-up without a start")
	fail(Broken)
	command(t, b, SCD41Address, 0x3639)
	w.Pass(10 * time.Second)
	if words(t, b, SCD41Address, 1)[0] == 0 {
		t.Error("broken: the self-test found nothing")
	}
}
