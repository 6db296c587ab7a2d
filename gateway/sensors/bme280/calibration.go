package bme280

import "encoding/binary"

// calibration holds the trimming parameters that Bosch wrote into the part
// (§4.2.2), named as there: dig_T1 is t[1].
type calibration struct {
	t [4]float64
	p [10]float64
	h [7]float64
}

// parse reads the registers 0x88-0xA1 and 0xE1-0xE7. It returns false for what
// no part holds: zeros or ones where the first parameters are.
func parse(a [26]byte, b [7]byte) (calibration, bool) {
	var c calibration
	unsigned := func(i int) float64 { return float64(binary.LittleEndian.Uint16(a[i:])) }
	signed := func(b []byte) float64 { return float64(int16(binary.LittleEndian.Uint16(b))) }
	c.t[1], c.t[2], c.t[3] = unsigned(0), signed(a[2:]), signed(a[4:])
	c.p[1] = unsigned(6)
	for i := 2; i <= 9; i++ {
		c.p[i] = signed(a[4+2*i:])
	}
	c.h[1] = float64(a[25])
	c.h[2], c.h[3] = signed(b[0:]), float64(b[2])
	// H4 and H5 are twelve bits with a sign and share the byte 0xE5.
	c.h[4] = float64(int16(int8(b[3]))<<4 | int16(b[4]&0x0f))
	c.h[5] = float64(int16(int8(b[5]))<<4 | int16(b[4]>>4))
	c.h[6] = float64(int8(b[6]))
	return c, c.t[1] != 0 && c.t[1] != 0xffff && c.p[1] != 0 && c.p[1] != 0xffff
}

// temperature returns °C and the fine temperature that the others need (§8.1).
func (c *calibration) temperature(raw float64) (celsius, fine float64) {
	a := (raw/16384 - c.t[1]/1024) * c.t[2]
	b := raw/131072 - c.t[1]/8192
	fine = a + b*b*c.t[3]
	return fine / 5120, fine
}

// pressure returns Pa (§8.1).
func (c *calibration) pressure(raw, fine float64) float64 {
	x := fine/2 - 64000
	y := x*x*c.p[6]/32768 + x*c.p[5]*2
	y = y/4 + c.p[4]*65536
	x = (c.p[3]*x*x/524288 + c.p[2]*x) / 524288
	x = (1 + x/32768) * c.p[1]
	p := (1048576 - raw - y/4096) * 6250 / x
	return p + (c.p[9]*p*p/2147483648+p*c.p[8]/32768+c.p[7])/16
}

// humidity returns %RH, kept within 0 to 100 as the datasheet does (§8.1).
func (c *calibration) humidity(raw, fine float64) float64 {
	x := fine - 76800
	h := (raw - (c.h[4]*64 + c.h[5]/16384*x)) *
		(c.h[2] / 65536 * (1 + c.h[6]/67108864*x*(1+c.h[3]/67108864*x)))
	h *= 1 - c.h[1]*h/524288
	return min(max(h, 0), 100)
}
