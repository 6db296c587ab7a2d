package sensors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// serveI2C serves a bus on a unix socket until the returned function is called.
func serveI2C(t *testing.T, path string, bus *chip.Bus) (stop func()) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- chip.ServeI2C(ctx, l, bus) }()
	stop = func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		served <- nil
	}
	t.Cleanup(stop)
	return stop
}

// plug plays a wire on a pseudo-terminal with a link until the returned function
// is called.
func plug(t *testing.T, link string, w chip.Wire) (pull func()) {
	t.Helper()
	p, err := chip.OpenPTY(link)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	played := make(chan error, 1)
	go func() { played <- chip.Play(ctx, w, p) }()
	pull = func() {
		cancel()
		if err := <-played; err != nil {
			t.Error(err)
		}
		played <- nil
	}
	t.Cleanup(pull)
	return pull
}

// buses returns a set that the test closes.
func buses(t *testing.T) *Buses {
	t.Helper()
	b := NewBuses(quiet)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestAnI2CSocketThatGoesAwayIsRedialled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "i2c-1.sock")
	bus, _ := newBME280()
	stop := serveI2C(t, path, bus)
	s, err := Open(Config{Part: "bme280", Bus: path}, buses(t))
	if err != nil {
		t.Fatal(err)
	}
	check := func(want telemetry.GapReason) {
		t.Helper()
		readings, err := s.Sense(t.Context())
		if want != telemetry.GapNone {
			if got := GapOf(err); got != want {
				t.Errorf("gap %q (%v), want %s", got, err, want)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		near(t, byName(t, s, readings), "temperature", 29.5, 0.01)
	}
	check(telemetry.GapNone)
	stop()
	check(telemetry.GapBus)
	check(telemetry.GapBus)
	serveI2C(t, path, bus)
	check(telemetry.GapNone)
	mustFail(t, bus, chip.Broken)
	check(telemetry.GapBus)
	mustFail(t, bus, chip.Silent)
	check(telemetry.GapTimeout)
	mustFail(t, bus, chip.None)
	check(telemetry.GapNone)
	bus.Attach(chip.BME280Address, nil)
	check(telemetry.GapNoAnswer)
}

func TestASocketThatBreaksOffIsABusError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "i2c-1.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // promises an answer and hangs up
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 7))
			_, _ = c.Write([]byte{0, 1})
			_ = c.Close()
		}
	}()
	err = buses(t).bus(path).Tx(0x62, []byte{1}, make([]byte, 9))
	if !errors.Is(err, fault.ErrBus) {
		t.Errorf("%v, want a bus error", err)
	}
}

func TestAKernelsErrorHasItsKind(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENXIO: fault.ErrNoAnswer, syscall.EREMOTEIO: fault.ErrNoAnswer, syscall.ETIMEDOUT: fault.ErrTimeout,
		syscall.EIO: fault.ErrBus, syscall.EAGAIN: fault.ErrBus, syscall.ENODEV: fault.ErrBus,
	} {
		if got := kindOf(errors.New("sysfs-i2c: " + errno.Error())); !errors.Is(got, want) {
			t.Errorf("%v is %v, want %v", errno, got, want)
		}
	}
	err := buses(t).bus("/dev/i2c-99").Tx(0x62, []byte{1}, nil)
	if !errors.Is(err, fault.ErrBus) {
		t.Errorf("a bus that is not there: %v, want a bus error", err)
	}
}

func TestASerialLineThatIsPulledIsOpenedAgain(t *testing.T) {
	dir := t.TempDir()
	air, rtu := filepath.Join(dir, "ttyAIR"), filepath.Join(dir, "ttyRTU")
	mm := chip.NewA02YYUW(func(time.Time) float64 { return 450 }, time.Now)
	pullAir := plug(t, air, mm)
	line := chip.NewRTU(chip.NewPZEM004T(1, household, time.Now), chip.NewSDM120(2, household, time.Now))
	pullRTU := plug(t, rtu, line)
	b := buses(t)
	var all []Sensor
	for _, c := range []Config{
		{Part: "a02yyuw", Bus: air, EmptyMM: 1200, FullMM: 200}, {Part: "pzem004t", Bus: rtu}, {Part: "sdm120", Bus: rtu, Address: 2},
	} {
		s, err := Open(c, b)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	check := func(name string, want telemetry.GapReason) {
		t.Helper()
		for _, s := range all {
			_, err := s.Sense(t.Context())
			for range 20 { // a busy machine may be late for a slave's half second
				if want == telemetry.GapNone && err != nil {
					_, err = s.Sense(t.Context())
				}
			}
			if GapOf(err) != want {
				t.Errorf("%s: %s: %v, want %q", name, s.Quantities()[0].Name, err, want)
			}
		}
	}
	check("at first", telemetry.GapNone)
	pullAir()
	pullRTU()
	check("pulled", telemetry.GapBus)
	check("still pulled", telemetry.GapBus)
	plug(t, air, mm)
	plug(t, rtu, line)
	check("plugged in again", telemetry.GapNone)
}

func TestScanNamesWhatItFindsAndLeavesTheRest(t *testing.T) {
	dir := t.TempDir()
	sock, air, rtu := filepath.Join(dir, "i2c-1.sock"), filepath.Join(dir, "ttyAIR"), filepath.Join(dir, "ttyRTU")
	bus := chip.NewBus()
	for addr, from := range map[uint16]*chip.Bus{chip.SPS30Address: first(newSPS30()), chip.SCD41Address: first(newSCD41()), chip.BME280Address: first(newBME280())} {
		bus.Attach(addr, through{from, addr})
	}
	bus.Attach(chip.BME280AddressAlt, pressure{})
	serveI2C(t, sock, bus)
	if err := bus.Tx(chip.SCD41Address, []byte{0x21, 0xb1}, nil); err != nil { // one that measures is found, too
		t.Fatal(err)
	}
	plug(t, air, chip.NewA02YYUW(func(time.Time) float64 { return 450 }, time.Now))
	plug(t, rtu, chip.NewRTU(chip.NewPZEM004T(1, household, time.Now), chip.NewSDM120(3, household, time.Now), chip.NewPZEM004T(4, household, time.Now)))
	gone := filepath.Join(dir, "i2c-2.sock")

	b := buses(t)
	found, errs := Scan(t.Context(), b, []string{sock, air, gone, rtu})
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%s: %s %d %s", f.Name, f.Part, f.Address, filepath.Base(f.Bus)))
		if _, err := Open(f.Config, b); err != nil {
			t.Errorf("what was found can't be opened: %v", err)
		}
	}
	want := []string{
		"sps30: sps30 105 i2c-1.sock", "scd41: scd41 98 i2c-1.sock", "bme280: bme280 118 i2c-1.sock",
		"a02yyuw: a02yyuw 0 ttyAIR", "pzem004t: pzem004t 1 ttyRTU", "sdm120: sdm120 3 ttyRTU", "pzem004t-2: pzem004t 4 ttyRTU",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%q, want\n%q", got, want)
	}
	if len(errs) != 2 || !errors.Is(errs[0], fault.ErrProtocol) || !errors.Is(errs[1], fault.ErrBus) || !errors.Is(errs[1], os.ErrNotExist) {
		t.Errorf("errors %v, want one for the BMP280 and one for the bus that is not there", errs)
	}
}

// through puts a part of another bus on a bus.
type through struct {
	bus  *chip.Bus
	addr uint16
}

func (d through) Write(p []byte) error { return d.bus.Tx(d.addr, p, nil) }
func (d through) Read(p []byte) error  { return d.bus.Tx(d.addr, nil, p) }

// pressure is a BMP280: a neighbour with another chip id.
type pressure struct{}

func (pressure) Write([]byte) error  { return nil }
func (pressure) Read(p []byte) error { p[0] = 0x58; return nil }

func TestScanEndsWithItsContext(t *testing.T) {
	rtu := filepath.Join(t.TempDir(), "ttyRTU")
	plug(t, rtu, chip.NewRTU())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	found, errs := Scan(ctx, buses(t), []string{rtu})
	if len(found) != 0 || len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("%v, %v", found, errs)
	}
}

func TestEachErrorHasItsGapReason(t *testing.T) {
	for err, want := range map[error]telemetry.GapReason{
		fault.ErrNoAnswer: telemetry.GapNoAnswer, fault.ErrChecksum: telemetry.GapChecksum, fault.ErrBus: telemetry.GapBus,
		fault.ErrTimeout: telemetry.GapTimeout, fault.ErrNotReady: telemetry.GapNotReady, fault.ErrProtocol: telemetry.GapProtocol,
		context.DeadlineExceeded: telemetry.GapTimeout, io.ErrUnexpectedEOF: telemetry.GapUnexpected, nil: telemetry.GapNone,
	} {
		if err != nil {
			err = fmt.Errorf("doing something: %w", err)
		}
		if got := GapOf(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestStuckIsTheSameValueForTooLong(t *testing.T) {
	num := telemetry.Num
	run := func(quantity string, every time.Duration, n int, value func(i int) telemetry.Value) (at time.Duration) {
		var s Stuck
		for i := range n {
			at := time.Duration(i) * every
			if s.Observe(quantity, value(i), at) {
				return at
			}
		}
		return -1
	}
	same := func(v float64) func(int) telemetry.Value { return func(int) telemetry.Value { return num(v) } }
	for name, c := range map[string]struct{ got, want time.Duration }{
		"a frozen PM2.5":             {run("pm2_5", 5*time.Second, 1000, same(31.2)), 30 * time.Minute},
		"one that flickers":          {run("pm2_5", 5*time.Second, 1000, func(i int) telemetry.Value { return num(31.2 + float64(i%2)/1000) }), -1},
		"clean air":                  {run("pm2_5", 5*time.Second, 10000, same(0)), -1},
		"saturated air":              {run("humidity", 5*time.Second, 10000, same(100)), -1},
		"frozen humidity":            {run("humidity", 5*time.Second, 10000, same(99.9)), 2 * time.Hour},
		"a counter at night":         {run("energy", time.Minute, 10000, same(1234.5)), -1},
		"a bin at rest over a night": {run("distance", time.Minute, 24*60, same(700)), -1},
		"a frozen ranger":            {run("distance", time.Minute, 100*60, same(700)), 36 * time.Hour},
		"asked twice a day":          {run("co2", 12*time.Hour, 9, same(500)), -1},
		"a text":                     {run("co2", time.Hour, 100, func(int) telemetry.Value { return telemetry.Value{Text: "x", Type: telemetry.Text} }), -1},
	} {
		if c.got != c.want {
			t.Errorf("%s: stuck at %v, want %v", name, c.got, c.want)
		}
	}
}

// Statement on sensor faults, the slow one: a part that answers, but with what it
// measured long ago. (Not the ranger: its 36 hours are half a million frames.)
func TestAStuckPartIsSeenByStuck(t *testing.T) {
	moving := func(at time.Time) float64 { return float64(at.Unix()%7919) / 10 }
	air := func(at time.Time) chip.Climate {
		return chip.Climate{CO2: 600 + moving(at), Temperature: 30, Humidity: 70, Pressure: 1009 + moving(at)/10}
	}
	mains := func(at time.Time) chip.Mains {
		m := household(at)
		m.Voltage += moving(at) / 10
		return m
	}
	for _, c := range []struct {
		part, quantity string
		every, within  time.Duration
		open           func(t *testing.T) (Sensor, chip.Part)
	}{
		{"sps30", "pm2_5", time.Minute, 35 * time.Minute, func(t *testing.T) (Sensor, chip.Part) {
			bus, part := chip.NewBus(), chip.NewSPS30(func(at time.Time) chip.Particles { return chip.Particles{PM2_5: 30 + moving(at)} }, time.Now)
			bus.Attach(chip.SPS30Address, part)
			return simulated(t, "sps30", bus), part
		}},
		{"scd41", "co2", time.Minute, 65 * time.Minute, func(t *testing.T) (Sensor, chip.Part) {
			bus, part := chip.NewBus(), chip.NewSCD41(air, time.Now)
			bus.Attach(chip.SCD41Address, part)
			return simulated(t, "scd41", bus), part
		}},
		{"bme280", "pressure", time.Minute, 125 * time.Minute, func(t *testing.T) (Sensor, chip.Part) {
			bus, part := chip.NewBus(), chip.NewBME280(air, time.Now)
			bus.Attach(chip.BME280Address, part)
			return simulated(t, "bme280", bus), part
		}},
		{"pzem004t", "voltage", time.Minute, 125 * time.Minute, func(t *testing.T) (Sensor, chip.Part) {
			pzem, _, part, _ := metersOn(t, mains)
			return pzem, part
		}},
		{"sdm120", "voltage", time.Minute, 125 * time.Minute, func(t *testing.T) (Sensor, chip.Part) {
			_, sdm, _, part := metersOn(t, mains)
			return sdm, part
		}},
	} {
		t.Run(c.part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, part := c.open(t)
				var watch Stuck
				start := time.Now()
				sample := func() bool {
					got, err := next(t, s)
					if err != nil {
						t.Fatal(err)
					}
					defer time.Sleep(c.every)
					return watch.Observe(c.quantity, got[c.quantity].Value, time.Since(start))
				}
				for end := time.Now().Add(c.within); time.Now().Before(end); {
					if sample() {
						t.Fatal("a moving value counts as stuck")
					}
				}
				mustFail(t, part, chip.Stuck)
				stuck := false
				for end := time.Now().Add(c.within); !stuck && time.Now().Before(end); {
					stuck = sample()
				}
				if !stuck {
					t.Errorf("a value that has not moved for %v does not count as stuck", c.within)
				}
				mustFail(t, part, chip.None)
				sample()
				if sample() {
					t.Error("a value that moves again still counts as stuck")
				}
			})
		})
	}
}
