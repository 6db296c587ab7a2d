package sensors

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// adapter is a kernel's I2C adapter with simulated parts.
type adapter struct{ *chip.Bus }

func (a adapter) Tx(addr uint16, w, r []byte) error {
	if err := a.Bus.Tx(addr, w, r); err != nil {
		return fmt.Errorf("%w: %w", kindOf(err), err)
	}
	return nil
}

func (adapter) Close() error { return nil }

const header = "/dev/i2c-1"

// simulated opens a part on a simulated header.
func simulated(t *testing.T, part string, on *chip.Bus) Sensor {
	t.Helper()
	b := NewBuses(quiet)
	b.i2c[header] = &bus{path: header, open: adapter{on}}
	s, err := Open(Config{Part: part, Bus: header}, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// byName checks that readings are those that the sensor announces.
func byName(t *testing.T, s Sensor, readings []telemetry.Reading) map[string]telemetry.Reading {
	t.Helper()
	out := map[string]telemetry.Reading{}
	for i, q := range s.Quantities() {
		if i >= len(readings) || readings[i].Quantity != q.Name {
			t.Fatalf("readings %v do not follow the quantities %v", readings, s.Quantities())
		}
		out[q.Name] = readings[i]
	}
	return out
}

// next samples once a second until there is a value or a failure, as the
// gateway's loop does.
func next(t *testing.T, s Sensor) (map[string]telemetry.Reading, error) {
	t.Helper()
	for range 60 {
		readings, err := s.Sense(t.Context())
		if err == nil {
			return byName(t, s, readings), nil
		}
		if !errors.Is(err, fault.ErrNotReady) {
			return nil, err
		}
		time.Sleep(time.Second)
	}
	t.Fatal("no value for a minute")
	return nil, nil
}

// settled samples until a value carries no flag.
func settled(t *testing.T, s Sensor, within time.Duration) map[string]telemetry.Reading {
	t.Helper()
	start := time.Now()
	for time.Since(start) < within {
		got, err := next(t, s)
		if err == nil && got[s.Quantities()[0].Name].Flag == telemetry.FlagNone {
			return got
		}
		time.Sleep(time.Second)
	}
	t.Fatalf("no good value within %v", within)
	return nil
}

func near(t *testing.T, got map[string]telemetry.Reading, name string, want, tolerance float64) {
	t.Helper()
	r, ok := got[name]
	if !ok || r.Gap != telemetry.GapNone || r.Flag != telemetry.FlagNone || math.Abs(r.Value.Number-want) > tolerance {
		t.Errorf("%s = %+v, want %v", name, r, want)
	}
}

func newSPS30() (*chip.Bus, *chip.SPS30) {
	bus := chip.NewBus()
	part := chip.NewSPS30(func(time.Time) chip.Particles {
		return chip.Particles{PM1: 20.5, PM2_5: 31.25, PM4: 35.1, PM10: 38.7, N0_5: 100, N1: 120, N2_5: 130, N4: 131, N10: 132, Size: 0.6}
	}, time.Now)
	bus.Attach(chip.SPS30Address, part)
	return bus, part
}

func newSCD41() (*chip.Bus, *chip.SCD41) {
	bus := chip.NewBus()
	part := chip.NewSCD41(func(time.Time) chip.Climate {
		return chip.Climate{CO2: 640, Temperature: 31.5, Humidity: 78.25}
	}, time.Now)
	bus.Attach(chip.SCD41Address, part)
	return bus, part
}

func newBME280() (*chip.Bus, *chip.BME280) {
	bus := chip.NewBus()
	part := chip.NewBME280(func(time.Time) chip.Climate {
		return chip.Climate{Temperature: 29.5, Humidity: 83.4, Pressure: 1009.3}
	}, time.Now)
	bus.Attach(chip.BME280Address, part)
	return bus, part
}

func TestSPS30GivesParticlesAndFlagsItsFirstHalfMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _ := newSPS30()
		s := simulated(t, "sps30", bus)
		start := time.Now()
		got, err := next(t, s)
		if err != nil || got["pm2_5"].Flag != telemetry.FlagWarmUp {
			t.Fatalf("the first value: %+v, %v; want one that is flagged warm_up", got["pm2_5"], err)
		}
		got = settled(t, s, time.Minute)
		if d := time.Since(start); d < 30*time.Second || d > 33*time.Second {
			t.Errorf("values were flagged for %v, want 30 s", d)
		}
		near(t, got, "pm1", 20.5, 0)
		near(t, got, "pm2_5", 31.25, 0)
		near(t, got, "pm4", 35.1, 0)
		near(t, got, "pm10", 38.7, 0)
		near(t, got, "particle_size", 0.6, 0)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := bus.Tx(chip.SPS30Address, []byte{0x56, 0x07}, nil); err == nil {
			t.Error("the fan still turns after Close: the part obeys a command of the measuring mode")
		}
	})
}

func TestSCD41GivesAirAndFlagsItsFirstValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _ := newSCD41()
		s := simulated(t, "scd41", bus)
		if _, err := s.Sense(t.Context()); !errors.Is(err, fault.ErrNotReady) {
			t.Errorf("right after the start: %v, want not ready", err)
		}
		got, err := next(t, s)
		if err != nil || got["co2"].Flag != telemetry.FlagWarmUp {
			t.Fatalf("the first value: %+v, %v; want one that is flagged warm_up", got["co2"], err)
		}
		got, err = next(t, s)
		if err != nil {
			t.Fatal(err)
		}
		near(t, got, "co2", 640, 0)
		near(t, got, "temperature", 31.5, 0.003)
		near(t, got, "humidity", 78.25, 0.002)

		// The gateway is killed; the part measures on and has not to settle again.
		time.Sleep(time.Minute)
		s = simulated(t, "scd41", bus)
		got, err = next(t, s)
		if err != nil {
			t.Fatal(err)
		}
		near(t, got, "co2", 640, 0)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := bus.Tx(chip.SCD41Address, []byte{0x36, 0x82}, nil); err != nil {
			t.Errorf("the part does not obey after Close: %v", err)
		}
	})
}

func TestBME280GivesClimate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, part := newBME280()
		s := simulated(t, "bme280", bus)
		check := func() {
			t.Helper()
			got, err := next(t, s)
			if err != nil {
				t.Fatal(err)
			}
			near(t, got, "temperature", 29.5, 0.01)
			near(t, got, "humidity", 83.4, 0.02)
			near(t, got, "pressure", 1009.3, 0.01)
		}
		check()
		// A brown-out between two samples resets the part's settings, among them
		// the one that switches humidity on.
		mustFail(t, part, chip.Unplugged)
		mustFail(t, part, chip.None)
		time.Sleep(10 * time.Second)
		check()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func mustFail(t *testing.T, p chip.Part, f chip.Fault) {
	t.Helper()
	if err := p.Fail(f); err != nil {
		t.Fatal(err)
	}
}

// TestEachFaultOfAnI2CPartHasItsReasonAndEnds: statement on sensor faults, issue
// point 8: gap reason in the data, recovery without restart.
func TestEachFaultOfAnI2CPartHasItsReasonAndEnds(t *testing.T) {
	parts := map[string]func() (*chip.Bus, chip.Part){
		"sps30":  func() (*chip.Bus, chip.Part) { return keep(newSPS30()) },
		"scd41":  func() (*chip.Bus, chip.Part) { return keep(newSCD41()) },
		"bme280": func() (*chip.Bus, chip.Part) { return keep(newBME280()) },
	}
	for _, c := range []struct {
		part  string
		fault chip.Fault
		want  telemetry.GapReason
	}{
		{"sps30", chip.Silent, telemetry.GapNoAnswer},
		{"sps30", chip.BadCRC, telemetry.GapChecksum},
		{"sps30", chip.Unplugged, telemetry.GapNoAnswer},
		{"sps30", chip.Slow, telemetry.GapNoAnswer}, // a busy part does not acknowledge
		{"scd41", chip.Silent, telemetry.GapNoAnswer},
		{"scd41", chip.BadCRC, telemetry.GapChecksum},
		{"scd41", chip.Unplugged, telemetry.GapNoAnswer},
		{"scd41", chip.Slow, telemetry.GapNoAnswer},
		{"scd41", chip.OutOfRange, telemetry.GapProtocol}, // all ones
		{"bme280", chip.Silent, telemetry.GapNoAnswer},
		{"bme280", chip.Unplugged, telemetry.GapNoAnswer},
		{"bme280", chip.Slow, telemetry.GapTimeout},
		{"bme280", chip.OutOfRange, telemetry.GapProtocol}, // all ones: no word of a measurement
	} {
		for _, lasts := range []time.Duration{2 * time.Second, 5 * time.Minute} {
			t.Run(fmt.Sprintf("%s %s %v", c.part, c.fault, lasts), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					bus, part := parts[c.part]()
					s := simulated(t, c.part, bus)
					settled(t, s, time.Minute)
					mustFail(t, part, c.fault)
					for end := time.Now().Add(lasts); time.Now().Before(end); time.Sleep(time.Second) {
						readings, err := s.Sense(t.Context())
						if err == nil {
							t.Fatalf("a value under the fault: %v", readings)
						}
						if got := GapOf(err); got != c.want && got != telemetry.GapNotReady {
							t.Fatalf("gap %s (%v), want %s", got, err, c.want)
						}
					}
					if _, err := next(t, s); GapOf(err) != c.want {
						t.Errorf("gap %s (%v), want %s", GapOf(err), err, c.want)
					}
					mustFail(t, part, chip.None)
					settled(t, s, 70*time.Second)
				})
			})
		}
	}
}

func TestValuesOfASensorThatReportsAFaultAreFlaggedUntilItIsMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, part := newSPS30()
		s := simulated(t, "sps30", bus)
		settled(t, s, time.Minute)
		mustFail(t, part, chip.Broken)
		seen := map[telemetry.Flag]int{}
		for range 600 {
			got, err := next(t, s)
			if err != nil {
				t.Fatal(err)
			}
			seen[got["pm2_5"].Flag]++
			time.Sleep(time.Second)
		}
		if seen[telemetry.FlagNone] > 0 || seen[telemetry.FlagSensorFault] < 500 {
			t.Errorf("flags %v, want sensor_fault and never none", seen)
		}
		mustFail(t, part, chip.None)
		settled(t, s, time.Minute)
	})
}

// latched is an SPS30 whose fan bit stays set until the status register is
// cleared or the part is without power.
type latched struct {
	*chip.SPS30
	stuck bool
	asked bool // for the status register
}

func (l *latched) Write(p []byte) error {
	switch command := binary.BigEndian.Uint16(p); command {
	case 0xd210:
		l.stuck = false
	default:
		l.asked = command == 0xd206
	}
	return l.SPS30.Write(p)
}

func (l *latched) Read(p []byte) error {
	err := l.SPS30.Read(p)
	if l.stuck && l.asked {
		copy(p, []byte{0x00, 0x00, 0x81, 0x00, 0x10, chip.CRC8([]byte{0x00, 0x10})})
	}
	return err
}

func TestAFanThatWasFreedIsBelievedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, part := newSPS30()
		l := &latched{SPS30: part, stuck: true}
		bus.Attach(chip.SPS30Address, l)
		s := simulated(t, "sps30", bus)
		got, err := next(t, s)
		if err != nil || got["pm2_5"].Flag != telemetry.FlagSensorFault {
			t.Fatalf("with the fan bit set: %+v, %v", got["pm2_5"], err)
		}
		settled(t, s, 2*time.Minute)
	})
}

func TestAPartThatWasSeenToBeAwayIsStartedAtOnce(t *testing.T) {
	for part, within := range map[string]time.Duration{"sps30": 4 * time.Second, "scd41": 8 * time.Second, "bme280": time.Second} {
		synctest.Test(t, func(t *testing.T) {
			on, chips := map[string]*chip.Bus{}, map[string]chip.Part{}
			on["sps30"], chips["sps30"] = keep(newSPS30())
			on["scd41"], chips["scd41"] = keep(newSCD41())
			on["bme280"], chips["bme280"] = keep(newBME280())
			s := simulated(t, part, on[part])
			settled(t, s, time.Minute)
			mustFail(t, chips[part], chip.Unplugged)
			if _, err := next(t, s); GapOf(err) != telemetry.GapNoAnswer {
				t.Fatalf("%s away: %v", part, err)
			}
			mustFail(t, chips[part], chip.None)
			start := time.Now()
			for {
				if _, err := next(t, s); err == nil {
					break
				}
				time.Sleep(time.Second) // it needs up to a second to boot
			}
			if d := time.Since(start); d > within {
				t.Errorf("%s gave its first value %v after it came back, want %v", part, d, within)
			}
		})
	}
}

// A part is exchanged between two samples: with its first value the new one has
// told who it is.
func TestAnExchangedPartTellsItsOwnSerialNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _ := newSPS30()
		s := simulated(t, "sps30", bus)
		settled(t, s, time.Minute)
		_, other := newSPS30()
		other.SetSerial("0123456789ABCDEF")
		bus.Attach(chip.SPS30Address, other)
		if _, err := next(t, s); err != nil {
			t.Fatal(err)
		}
		if id := s.(Identified).Identity(); id.Serial != "0123456789ABCDEF" {
			t.Errorf("the new part's value comes under %+v", id)
		}
	})
}

// An SCD41 tells its serial number only before it measures: one that measured on
// is still the same, and is not stopped for a program that does not know it yet.
func TestAnSCD41ThatMeasuredOnIsStillTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, part := newSCD41()
		s := simulated(t, "scd41", bus)
		settled(t, s, time.Minute)
		mustFail(t, part, chip.Silent)
		if _, err := next(t, s); GapOf(err) != telemetry.GapNoAnswer {
			t.Fatal(err)
		}
		mustFail(t, part, chip.None)
		if got, err := next(t, s); err != nil || got["co2"].Flag != telemetry.FlagNone || s.(Identified).Identity().Serial != "273325796834238" {
			t.Errorf("%+v, %v of %+v", got["co2"], err, s.(Identified).Identity())
		}
		s = simulated(t, "scd41", bus)
		if got, err := next(t, s); err != nil || got["co2"].Flag != telemetry.FlagNone || s.(Identified).Identity() != (telemetry.Identity{}) {
			t.Errorf("after the program was killed: %+v, %v of %+v", got["co2"], err, s.(Identified).Identity())
		}
	})
}

func keep[P chip.Part](b *chip.Bus, p P) (*chip.Bus, chip.Part) { return b, p }

func TestSPS30KeepsMeasuringThroughItsFanCleaning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, _ := newSPS30()
		s := simulated(t, "sps30", bus)
		settled(t, s, time.Minute)
		if err := bus.Tx(chip.SPS30Address, []byte{0x56, 0x07}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		var without time.Duration
		for start := time.Now(); ; time.Sleep(time.Second) {
			readings, err := s.Sense(t.Context())
			if err == nil && time.Since(start) > 9*time.Second {
				without = time.Since(start)
				if readings[0].Flag != telemetry.FlagNone {
					t.Errorf("the first value after the cleaning is flagged %s: the part was started anew", readings[0].Flag)
				}
				break
			}
			if err != nil && !errors.Is(err, fault.ErrNotReady) {
				t.Fatal(err)
			}
		}
		if without > 13*time.Second {
			t.Errorf("no value for %v", without)
		}
	})
}

// TestAPartThatForgotItsStartIsStartedAnew covers a loss of power too short to
// be seen, and a command from elsewhere.
func TestAPartThatForgotItsStartIsStartedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus, part := newSPS30()
		s := simulated(t, "sps30", bus)
		settled(t, s, time.Minute)
		mustFail(t, part, chip.Unplugged)
		mustFail(t, part, chip.None)
		time.Sleep(time.Second)
		if _, err := s.Sense(t.Context()); !errors.Is(err, fault.ErrNotReady) {
			t.Errorf("an idle part: %v, want not ready", err)
		}
		got, err := next(t, s)
		if err != nil || got["pm10"].Flag != telemetry.FlagWarmUp {
			t.Errorf("after the loss of power: %+v, %v; want a value that is flagged warm_up", got["pm10"], err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		bus, _ := newSCD41()
		s := simulated(t, "scd41", bus)
		settled(t, s, time.Minute)
		if err := bus.Tx(chip.SCD41Address, []byte{0x3f, 0x86}, nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		got, err := next(t, s)
		if err != nil || got["co2"].Flag != telemetry.FlagWarmUp {
			t.Errorf("after a stop: %+v, %v; want a value that is flagged warm_up", got["co2"], err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // low-power periodic mode looks like measuring, but has other intervals
		bus, _ := newSCD41()
		if err := bus.Tx(chip.SCD41Address, []byte{0x21, 0xac}, nil); err != nil {
			t.Fatal(err)
		}
		s := simulated(t, "scd41", bus)
		if _, err := next(t, s); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if _, err := next(t, s); err != nil || time.Since(before) > 6*time.Second {
			t.Errorf("the second value came after %v (%v), want the 5 s of the normal mode", time.Since(before), err)
		}
	})
}

func TestSenseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			part string
			bus  *chip.Bus
		}{{"sps30", first(newSPS30())}, {"scd41", first(newSCD41())}, {"bme280", first(newBME280())}} {
			s := simulated(t, c.part, c.bus)
			ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
			before := time.Now()
			_, err := s.Sense(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(before) > time.Millisecond {
				t.Errorf("%s: %v after %v", c.part, err, time.Since(before))
			}
			settled(t, s, time.Minute)
		}
	})
}

func first[A, B any](a A, _ B) A { return a }

func TestOneAddressIsForOneSensor(t *testing.T) {
	b := NewBuses(quiet)
	open := func(c Config) error { _, err := Open(c, b); return err }
	for _, c := range []struct {
		config Config
		ok     bool
	}{
		{Config{Part: "bme280", Bus: header}, true},
		{Config{Part: "bme280", Bus: header, Address: 0x76}, false},
		{Config{Part: "bme280", Bus: header, Address: 0x77}, true},
		{Config{Part: "bme280", Bus: header, Address: 0x62}, false},
		{Config{Part: "bme280", Bus: "/dev/ttyUSB0"}, false},
		{Config{Part: "bme280", Bus: "/dev/i2c-9", Baud: 9600}, false},
		{Config{Part: "a02yyuw", Bus: "/dev/ttyACM0", Baud: 2400}, false},
		{Config{Part: "a02yyuw", Bus: "/dev/ttyACM0", Address: 1}, false},
		{Config{Part: "sps30", Bus: "/dev/i2c-9", FullMM: 200}, false},
		{Config{Part: "bme280"}, false},
		{Config{Part: "bme680", Bus: header}, false},
		{Config{Part: "SDM120", Bus: "/dev/ttyUSB0", Address: 2}, true},
		{Config{Part: "pzem004t", Bus: "/dev/ttyUSB0"}, true},
		{Config{Part: "pzem004t", Bus: "/dev/ttyUSB0", Address: 2}, false},
		{Config{Part: "pzem004t", Bus: "/dev/ttyUSB0", Address: 248}, false},
		{Config{Part: "sdm120", Bus: "/dev/ttyUSB0", Address: 3, Baud: 300}, false},
		{Config{Part: "a02yyuw", Bus: "/dev/ttyUSB0"}, false},
		{Config{Part: "a02yyuw", Bus: "/dev/serial0", EmptyMM: 1200, FullMM: 1300}, false},
		{Config{Part: "a02yyuw", Bus: "/dev/serial0", EmptyMM: 1200, FullMM: 200}, true},
		{Config{Part: "a02yyuw", Bus: "/dev/serial0"}, false},
		{Config{Part: "pzem004t", Bus: "/dev/ttyUSB0", EmptyMM: 1200, Address: 9}, false},
		{Config{Part: "a02yyuw", Bus: "x.sock"}, false},
	} {
		if err := open(c.config); (err == nil) != c.ok {
			t.Errorf("Open(%+v) = %v", c.config, err)
		}
	}
}
