package chip

import (
	"encoding/binary"
	"math"
	"time"
)

// The two addresses that the BME280's SDO pin chooses from.
const (
	BME280Address    = 0x76
	BME280AddressAlt = 0x77
)

// BME280 simulates Bosch's climate sensor (datasheet BST-BME280-DS002): a
// register map with auto-increment, calibration words, sleep, forced and normal
// mode, measuring time, filter. The raw values are the words that the
// datasheet's compensation turns into the source's temperature, pressure and
// humidity; the part has no checksums.
type BME280 struct {
	health
	clock  Clock
	source func(time.Time) Climate

	pointer byte
	ctrlHum byte // takes effect with the next write to ctrl_meas (§5.4.3)
	humNow  byte
	ctrl    byte
	config  byte

	started time.Time // start of the newest forced measurement, or of normal mode
	taken   time.Time // the time the data registers are of
	data    [8]byte
	filterP float64 // the filter's memory, 0 = empty
	filterT float64
	held    holder[Climate]
	bootEnd time.Time
}

// bme280Cal are calibration words of a plausible part: those for temperature
// and pressure are the worked example of BST-BMP280-DS001 §3.12, so that its
// figures check the model; those for humidity are of the usual size.
var bme280Cal = struct {
	t1, p1             uint16
	t2, t3             int16
	p2, p3, p4, p5, p6 int16
	p7, p8, p9         int16
	h1, h3             uint8
	h2, h4, h5         int16
	h6                 int8
}{
	t1: 27504, t2: 26435, t3: -1000,
	p1: 36477, p2: -10685, p3: 3024, p4: 2855, p5: 140, p6: -7, p7: 15500, p8: -14600, p9: 6000,
	h1: 75, h2: 362, h3: 0, h4: 313, h5: 50, h6: 30,
}

const (
	bme280StartUp = 2 * time.Millisecond
	bme280ModeOff = 0
	bme280Normal  = 3
)

// NewBME280 returns a powered part in sleep mode in the air that source says.
func NewBME280(source func(time.Time) Climate, clock Clock) *BME280 {
	b := &BME280{source: source, clock: clock}
	b.can = []Fault{Silent, Stuck, OutOfRange, Slow, Unplugged}
	b.revive = func() { b.powerUp(b.clock()) }
	b.powerUp(time.Time{})
	return b
}

func (b *BME280) powerUp(now time.Time) {
	b.pointer, b.ctrlHum, b.humNow, b.ctrl, b.config = 0, 0, 0, 0, 0
	b.filterP, b.filterT = 0, 0
	b.data = [8]byte{0x80, 0, 0, 0x80, 0, 0, 0x80, 0} // reset values (§5.4.7)
	b.bootEnd = now.Add(bme280StartUp)
}

// Write takes the register address, and further bytes as its value followed by
// more pairs of address and value (§6.2.1).
func (b *BME280) Write(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	if b.absent() {
		return ErrNACK
	}
	if len(p) == 0 {
		return nil
	}
	b.settle(now)
	b.pointer = p[0]
	for ; len(p) >= 2; p = p[2:] {
		b.set(now, p[0], p[1])
	}
	return nil
}

func (b *BME280) set(now time.Time, register, v byte) {
	switch register {
	case 0xe0:
		if v == 0xb6 {
			b.powerUp(now)
		}
	case 0xf2:
		b.ctrlHum = v & 0x07
	case 0xf4:
		b.ctrl, b.humNow = v, b.ctrlHum
		b.started, b.taken = now, time.Time{}
	case 0xf5:
		b.config = v
	}
}

// Read fills p from the register address on, which counts up (§6.2.2).
func (b *BME280) Read(p []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	if b.absent() {
		return ErrNACK
	}
	b.settle(now)
	for i := range p {
		p[i] = b.get(now, b.pointer)
		b.pointer++
	}
	return nil
}

func (b *BME280) get(now time.Time, register byte) byte {
	switch {
	case register >= 0x88 && register <= 0xa1:
		return bme280Calibration()[register-0x88]
	case register == 0xd0:
		return 0x60
	case register >= 0xe1 && register <= 0xe7:
		return bme280Calibration()[26+register-0xe1]
	case register == 0xf2:
		return b.ctrlHum
	case register == 0xf3:
		var status byte
		if now.Before(b.bootEnd) {
			status |= 0x01 // im_update: calibration is being copied
		}
		if b.measuring(now) {
			status |= 0x08
		}
		return status
	case register == 0xf4:
		return b.ctrl
	case register == 0xf5:
		return b.config
	case register >= 0xf7 && register <= 0xfe:
		return b.data[register-0xf7]
	}
	return 0
}

// bme280Calibration lays the words out as in §4.2.2, table 16: 0x88 to 0xA1,
// then 0xE1 to 0xE7 with H4 and H5 sharing 0xE5.
func bme280Calibration() [33]byte {
	var out [33]byte
	c := &bme280Cal
	for i, w := range []uint16{c.t1, uint16(c.t2), uint16(c.t3), c.p1, uint16(c.p2), uint16(c.p3),
		uint16(c.p4), uint16(c.p5), uint16(c.p6), uint16(c.p7), uint16(c.p8), uint16(c.p9)} {
		binary.LittleEndian.PutUint16(out[2*i:], w)
	}
	out[25] = c.h1
	binary.LittleEndian.PutUint16(out[26:], uint16(c.h2))
	out[28] = c.h3
	out[29] = byte(c.h4 >> 4)
	out[30] = byte(c.h4&0x0f) | byte(c.h5&0x0f)<<4
	out[31] = byte(c.h5 >> 4)
	out[32] = byte(c.h6)
	return out
}

// oversampling decodes a three-bit field: 0 is skipped, 5 to 7 are ×16.
func oversampling(field byte) int {
	if field == 0 {
		return 0
	}
	return 1 << min(field-1, 4)
}

// measureTime is the maximum of §9.1.
func (b *BME280) measureTime() time.Duration {
	us := 1250 + 2300*oversampling(b.ctrl>>5)
	if n := oversampling(b.ctrl >> 2 & 7); n > 0 {
		us += 2300*n + 575
	}
	if n := oversampling(b.humNow); n > 0 {
		us += 2300*n + 575
	}
	return b.stretch(time.Duration(us) * time.Microsecond)
}

// cycle is the time between two measurements in normal mode: measuring and the
// standby time of config (§5.4.6).
func (b *BME280) cycle() time.Duration {
	standby := [8]float64{0.5, 62.5, 125, 250, 500, 1000, 10, 20}[b.config>>5]
	return b.measureTime() + time.Duration(standby*float64(time.Millisecond))
}

func (b *BME280) measuring(now time.Time) bool {
	switch mode := b.ctrl & 3; mode {
	case bme280ModeOff:
		return false
	case bme280Normal:
		return now.Sub(b.started)%b.cycle() < b.measureTime()
	}
	return now.Sub(b.started) < b.measureTime()
}

// settle brings the data registers to what they hold at now: the newest
// measurement that has ended.
func (b *BME280) settle(now time.Time) {
	mode := b.ctrl & 3
	if mode == bme280ModeOff {
		return
	}
	end := b.started.Add(b.measureTime())
	if now.Before(end) {
		return
	}
	if mode == bme280Normal {
		end = end.Add(now.Sub(end) / b.cycle() * b.cycle())
	} else {
		b.ctrl &^= 3 // a forced measurement returns to sleep
	}
	if !end.Equal(b.taken) {
		b.taken = end
		b.measure(end)
	}
}

func (b *BME280) measure(at time.Time) {
	c := b.held.see(b.fault, b.source(at))
	if b.fault == OutOfRange {
		b.data = [8]byte{0xff, 0xff, 0xf0, 0xff, 0xff, 0xf0, 0xff, 0xff}
		return
	}
	rawT, rawP, rawH := bme280Raw(c.Temperature, c.Pressure, c.Humidity)
	rawT, rawP = b.filter(&b.filterT, rawT), b.filter(&b.filterP, rawP)
	if oversampling(b.ctrl>>5) == 0 {
		rawT = 0x80000
	}
	if oversampling(b.ctrl>>2&7) == 0 {
		rawP = 0x80000
	}
	if oversampling(b.humNow) == 0 {
		rawH = 0x8000
	}
	b.data = [8]byte{
		byte(rawP >> 12), byte(rawP >> 4), byte(rawP << 4),
		byte(rawT >> 12), byte(rawT >> 4), byte(rawT << 4),
		byte(rawH >> 8), byte(rawH),
	}
}

// filter is the infinite impulse response filter of §3.4.4.
func (b *BME280) filter(memory *float64, raw uint32) uint32 {
	n := b.config >> 2 & 7
	if n == 0 {
		*memory = 0
		return raw
	}
	k := float64(int(1) << min(n, 4))
	if *memory == 0 {
		*memory = float64(raw)
	}
	*memory += (float64(raw) - *memory) / k
	return uint32(math.Round(*memory))
}

// bme280Raw finds the raw words that the datasheet's compensation turns into
// °C, hPa and %RH. Each formula is monotonic in its raw word.
func bme280Raw(celsius, hPa, humidity float64) (rawT, rawP, rawH uint32) {
	rawT = search(0xfffff, func(raw uint32) bool { t, _ := bme280Temperature(raw); return t >= celsius })
	_, fine := bme280Temperature(rawT)
	rawP = search(0xfffff, func(raw uint32) bool { return bme280Pressure(raw, fine) <= hPa*100 })
	rawH = search(0xffff, func(raw uint32) bool { return bme280Humidity(raw, fine) >= humidity })
	return rawT, rawP, rawH
}

// search returns the lowest word that reached accepts, or most.
func search(most uint32, reached func(uint32) bool) uint32 {
	low, high := uint32(0), most
	for low < high {
		mid := (low + high) / 2
		if reached(mid) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// The compensation in floating point (§8.1): °C and the fine temperature, Pa, %RH.
func bme280Temperature(raw uint32) (celsius, fine float64) {
	c, adc := &bme280Cal, float64(raw)
	a := (adc/16384 - float64(c.t1)/1024) * float64(c.t2)
	d := adc/131072 - float64(c.t1)/8192
	fine = a + d*d*float64(c.t3)
	return fine / 5120, fine
}

func bme280Pressure(raw uint32, fine float64) float64 {
	c := &bme280Cal
	x := fine/2 - 64000
	y := x * x * float64(c.p6) / 32768
	y += x * float64(c.p5) * 2
	y = y/4 + float64(c.p4)*65536
	x = (float64(c.p3)*x*x/524288 + float64(c.p2)*x) / 524288
	x = (1 + x/32768) * float64(c.p1)
	p := (1048576 - float64(raw) - y/4096) * 6250 / x
	return p + (float64(c.p9)*p*p/2147483648+p*float64(c.p8)/32768+float64(c.p7))/16
}

func bme280Humidity(raw uint32, fine float64) float64 {
	c := &bme280Cal
	x := fine - 76800
	h := float64(raw) - (float64(c.h4)*64 + float64(c.h5)/16384*x)
	h *= float64(c.h2) / 65536 * (1 + float64(c.h6)/67108864*x*(1+float64(c.h3)/67108864*x))
	h *= 1 - float64(c.h1)*h/524288
	return min(max(h, 0), 100)
}
