package chip

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestA02YYUWSpeaksTheFramesOfItsManual(t *testing.T) {
	w, mm := newWatch(), 1953.0
	a := NewA02YYUW(func(time.Time) float64 { return mm }, w.Now)
	if got := a.Frame(); !bytes.Equal(got, []byte{0xff, 0x07, 0xa1, 0xa7}) {
		t.Errorf("frame % x, want ff 07 a1 a7", got)
	}
	mm = 12
	if got := a.Frame(); got[1] != 0 || got[2] != 0 {
		t.Errorf("within the blind zone: % x", got)
	}
	mm = 1953
	a.Fail(BadCRC)
	if got := a.Frame(); got[3] == 0xa7 {
		t.Error("crc: the sum is right")
	}
	a.Fail(Stuck)
	a.Frame()
	mm = 500
	if got := a.Frame(); got[1] != 0x07 {
		t.Errorf("stuck: % x", got)
	}
	a.Fail(OutOfRange)
	if got := a.Frame(); binary.BigEndian.Uint16(got[1:]) <= 4500 {
		t.Errorf("range: % x", got)
	}
	a.Fail(Silent)
	if a.Frame() != nil {
		t.Error("silent: it speaks")
	}
}

func TestA02YYUWInProcessKeepsItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewA02YYUW(func(time.Time) float64 { return 1953 }, time.Now)
		port := Connect(a)
		defer port.Close()
		start := time.Now()
		p := make([]byte, 12)
		if _, err := io.ReadFull(port, p); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 200*time.Millisecond {
			t.Errorf("three frames took %v, want 200 ms", took)
		}
		a.Fail(Unplugged)
		port.SetReadTimeout(time.Second)
		if n, err := port.Read(p); n != 0 || err != nil {
			t.Errorf("unplugged: %d, %v, want a read time-out as 0, nil", n, err)
		}
		a.Fail(None)
		if n, err := port.Read(p); n != 4 || err != nil {
			t.Errorf("plugged in again: %d, %v", n, err)
		}
	})
}

func manualMains() Mains {
	return Mains{Voltage: 220, Current: 1, Power: 220, PowerFactor: 1, Frequency: 50}
}

// question adds the CRC to a request.
func question(t *testing.T, text string) []byte {
	p := bytesOf(t, text)
	return binary.LittleEndian.AppendUint16(p, CRC16(p))
}

func ask(t *testing.T, s Station, text string) []byte {
	t.Helper()
	reply, _ := s.Answer(question(t, text))
	if reply != nil && CRC16(reply) != 0 {
		t.Fatalf("reply % x: wrong CRC", reply)
	}
	if reply == nil {
		return nil
	}
	return reply[:len(reply)-2]
}

func TestPZEM004TAnswersAsItsManual(t *testing.T) {
	m := manualMains()
	p := NewPZEM004T(1, func(time.Time) Mains { return m }, newWatch().Now)
	want := bytesOf(t, "01 04 14 0898 03e8 0000 0898 0000 0000 0000 01f4 0064 0000")
	if got := ask(t, p, "01 04 0000 000a"); !bytes.Equal(got, want) {
		t.Errorf("reply % x\n want % x", got, want)
	}
	// 0xF8 is the general address; these CRCs are known from the field.
	if got := question(t, "f8 04 0000 000a"); !bytes.Equal(got[6:], []byte{0x64, 0x64}) {
		t.Errorf("CRC16 % x", got[6:])
	}
	if got, _ := p.Answer(bytesOf(t, "f8 04 0000 000a 6464")); len(got) != 25 || got[0] != 0xf8 {
		t.Errorf("reply to the general address % x", got)
	}
	m.Current, m.Power, m.Energy = 70, 15400, 70
	if got := ask(t, p, "01 04 0001 0006"); !bytes.Equal(got[3:], bytesOf(t, "1170 0001 5990 0002 1170 0001")) {
		t.Errorf("low words first: % x", got[3:])
	}
	if got := ask(t, p, "02 04 0000 000a"); got != nil {
		t.Errorf("it answered for another address: % x", got)
	}
	if got := ask(t, p, "01 04 0005 000a"); !bytes.Equal(got, []byte{1, 0x84, 2}) {
		t.Errorf("registers that it does not have: % x", got)
	}
	if got := ask(t, p, "01 05 0000 ff00"); !bytes.Equal(got, []byte{1, 0x85, 1}) {
		t.Errorf("a function that it does not have: % x", got)
	}
	m.Voltage = 0
	if got := ask(t, p, "01 04 0000 000a"); got != nil {
		t.Errorf("it answered without mains: % x", got)
	}
}

func TestPZEM004TSettingsAndEnergyReset(t *testing.T) {
	m := manualMains()
	m.Energy = 12.345
	p := NewPZEM004T(1, func(time.Time) Mains { return m }, newWatch().Now)
	energy := func(addr string) uint32 {
		got := ask(t, p, addr+" 04 0005 0002")
		return uint32(binary.BigEndian.Uint16(got[3:])) | uint32(binary.BigEndian.Uint16(got[5:]))<<16
	}
	if got := energy("01"); got != 12345 {
		t.Errorf("energy %d Wh", got)
	}
	if got, _ := p.Answer(bytesOf(t, "f842c241")); !bytes.Equal(got, bytesOf(t, "f842c241")) {
		t.Errorf("energy reset: % x", got)
	}
	if got := energy("01"); got != 0 {
		t.Errorf("energy %d Wh after the reset", got)
	}
	m.Energy += 0.5
	if got := energy("01"); got != 500 {
		t.Errorf("energy %d Wh, want 500", got)
	}
	if got := ask(t, p, "01 06 0001 0064"); !bytes.Equal(got, bytesOf(t, "01 06 0001 0064")) {
		t.Errorf("alarm threshold: % x", got)
	}
	if got := ask(t, p, "01 04 0009 0001"); !bytes.Equal(got, bytesOf(t, "01 04 02 ffff")) {
		t.Errorf("alarm at 220 W over 100 W: % x", got)
	}
	ask(t, p, "01 06 0002 0009")
	if got := ask(t, p, "09 03 0002 0001"); !bytes.Equal(got, bytesOf(t, "09 03 02 0009")) {
		t.Errorf("after the change of address: % x", got)
	}
}

func TestSDM120FloatsHighWordFirst(t *testing.T) {
	m := Mains{Voltage: float64(math.Float32frombits(0x43663334)), Current: 1.5, Power: 310.77, PowerFactor: 0.9, Frequency: 49.98, Energy: 1234.5678, EnergyExport: 1}
	s := NewSDM120(1, func(time.Time) Mains { return m }, newWatch().Now)
	got, _ := s.Answer(bytesOf(t, "01 04 0000 0002 71cb")) // the manual's example: 230.2 V
	if want := bytesOf(t, "01 04 04 43663334 1b38"); !bytes.Equal(got, want) {
		t.Errorf("reply % x, want % x", got, want)
	}
	for register, want := range map[uint16]float32{
		0x06: 1.5, 0x0c: 310.77, 0x1e: 0.9, 0x46: 49.98, 0x48: 1234.567, 0x4a: 1, 0x156: 1235.567, 0x08: 0,
	} {
		q := binary.BigEndian.AppendUint16([]byte{1, 4}, register)
		q = append(q, 0, 2)
		reply, _ := s.Answer(binary.LittleEndian.AppendUint16(q, CRC16(q)))
		if v := math.Float32frombits(binary.BigEndian.Uint32(reply[3:])); v != want {
			t.Errorf("register %02x: %v, want %v", register, v, want)
		}
	}
	for text, want := range map[string]byte{"01 04 0001 0002": 2, "01 04 0158 0004": 2, "01 04 0000 0052": 3, "01 04 0000 0001": 3, "01 05 0000 0001": 1} {
		if got := ask(t, s, text); len(got) != 3 || got[2] != want {
			t.Errorf("%s: % x, want exception %d", text, got, want)
		}
	}
	// What it is (464513 to 464516): no floats.
	for text, want := range map[string]string{"01 03 fc00 0002": "01 03 04 016ea8b5", "01 03 fc02 0001": "01 03 02 0020", "01 03 fc03 0001": "01 03 02 0204", "01 03 fc03 0002": "01 83 02"} {
		if got := ask(t, s, text); !bytes.Equal(got, bytesOf(t, want)) {
			t.Errorf("%s: % x, want %s", text, got, want)
		}
	}
	if got := ask(t, s, "01 10 0014 0002 04 40e00000"); !bytes.Equal(got, bytesOf(t, "01 10 0014 0002")) {
		t.Errorf("set the address to 7: % x", got)
	}
	if got := ask(t, s, "07 03 0014 0002"); !bytes.Equal(got, bytesOf(t, "07 03 04 40e00000")) {
		t.Errorf("read the address: % x", got)
	}
}

func TestMeterFaults(t *testing.T) {
	m := manualMains()
	for name, s := range map[string]interface {
		Station
		Part
	}{
		"pzem":   NewPZEM004T(1, func(time.Time) Mains { return m }, newWatch().Now),
		"sdm120": NewSDM120(1, func(time.Time) Mains { return m }, newWatch().Now),
	} {
		m = manualMains()
		q := question(t, "01 04 0000 0002")
		good, _ := s.Answer(q)
		s.Fail(BadCRC)
		if got, _ := s.Answer(q); CRC16(got) == 0 {
			t.Errorf("%s crc: the CRC is right", name)
		}
		s.Fail(Stuck)
		s.Answer(q)
		m.Voltage = 199
		if got, _ := s.Answer(q); !bytes.Equal(got, good) {
			t.Errorf("%s stuck: % x", name, got)
		}
		s.Fail(OutOfRange)
		if got, _ := s.Answer(q); bytes.Equal(got, good) {
			t.Errorf("%s range: % x", name, got)
		}
		s.Fail(Broken)
		if got, _ := s.Answer(q); got[1] != 0x84 || got[2] != 4 {
			t.Errorf("%s broken: % x", name, got)
		}
		s.Fail(Slow)
		if _, after := s.Answer(q); after <= time.Second {
			t.Errorf("%s slow: answers after %v", name, after)
		}
		for _, f := range []Fault{Silent, Unplugged} {
			s.Fail(f)
			if got, _ := s.Answer(q); got != nil {
				t.Errorf("%s %s: % x", name, f, got)
			}
		}
		s.Fail(None)
		if got, _ := s.Answer(q); got[1] != 4 {
			t.Errorf("%s mended: % x", name, got)
		}
	}
}

func TestRTULine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pzem := NewPZEM004T(1, func(time.Time) Mains { return manualMains() }, time.Now)
		sdm := NewSDM120(2, func(time.Time) Mains { return manualMains() }, time.Now)
		port := Connect(NewRTU(pzem, sdm))
		defer port.Close()
		port.SetReadTimeout(time.Second)
		exchange := func(q []byte) []byte {
			t.Helper()
			if _, err := port.Write(q); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 64)
			n, err := port.Read(p)
			if err != nil {
				t.Fatal(err)
			}
			return p[:n]
		}
		if got := exchange(question(t, "01 04 0000 000a")); len(got) != 25 || CRC16(got) != 0 {
			t.Errorf("PZEM: % x", got)
		}
		if got := exchange(question(t, "02 04 0000 0002")); len(got) != 9 || CRC16(got) != 0 {
			t.Errorf("SDM120: % x", got)
		}
		if got := exchange(question(t, "03 04 0000 0002")); len(got) != 0 {
			t.Errorf("nobody has this address: % x", got)
		}
		bad := question(t, "01 04 0000 000a")
		bad[7] ^= 1
		if got := exchange(bad); len(got) != 0 {
			t.Errorf("a request with a wrong CRC was answered: % x", got)
		}
		// A frame in two halves is one frame; half a frame is forgotten after a silence.
		q := question(t, "01 04 0000 000a")
		port.Write(q[:3])
		if got := exchange(q[3:]); len(got) != 25 {
			t.Errorf("two halves: % x", got)
		}
		port.Write(q[:3])
		time.Sleep(100 * time.Millisecond) // the silence itself, on a real line
		if got := exchange(q); len(got) != 25 {
			t.Errorf("after half a frame and a silence: % x", got)
		}
		// Two meters at the general address talk at once.
		other := NewPZEM004T(3, func(time.Time) Mains { m := manualMains(); m.Voltage = 199.9; return m }, time.Now)
		wire := NewRTU(pzem)
		wire.Attach(other)
		crowded := Connect(wire)
		defer crowded.Close()
		crowded.Write(question(t, "f8 04 0000 000a"))
		p := make([]byte, 64)
		if n, _ := crowded.Read(p); n == 0 || CRC16(p[:n]) == 0 {
			t.Errorf("two answers at once: % x", p[:n])
		}
		// A slow meter's reply arrives after the master has given up and asked anew.
		pzem.Fail(Slow)
		if got := exchange(question(t, "01 04 0000 0001")); len(got) != 0 {
			t.Errorf("slow: % x", got)
		}
		if got := exchange(question(t, "02 04 0000 0002")); len(got) == 0 || got[0] != 2 {
			t.Errorf("the other meter: % x", got)
		}
		if n, _ := port.Read(p); n != 7 || p[0] != 1 {
			t.Errorf("the late reply: % x", p[:n])
		}
	})
}
