package sensors

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/gateway/sensors/a02yyuw"
	"github.com/pantau-id/pantau/gateway/sensors/modbus"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// wired is the host's end of a simulated line.
type wired struct{ *chip.Port }

func wire(t *testing.T, w chip.Wire) wired {
	t.Helper()
	p := chip.Connect(w)
	t.Cleanup(func() { _ = p.Close() })
	if err := p.SetReadTimeout(lineSilence); err != nil {
		t.Fatal(err)
	}
	return wired{p}
}

func (w wired) Drop() error       { return w.ResetInputBuffer() }
func (w wired) SetBaud(int) error { return nil }

const adapterPath = "/dev/ttyUSB0"

// ranger opens an A02YYUW over a bin that is 1,200 mm deep when empty and full
// at 200 mm.
func ranger(t *testing.T, mm func(time.Time) float64) (Sensor, *chip.A02YYUW) {
	t.Helper()
	part := chip.NewA02YYUW(mm, time.Now)
	s, err := a02yyuw.New(wire(t, part), 1200, 200)
	if err != nil {
		t.Fatal(err)
	}
	return s, part
}

func household(time.Time) chip.Mains {
	return chip.Mains{Voltage: 221.4, Current: 4.217, Power: 851.3, PowerFactor: 0.91, Frequency: 50,
		Energy: 1234.567, EnergyExport: 89.125}
}

// meters opens both meters of a household on one line.
func meters(t *testing.T) (pzem, sdm Sensor, pzemPart, sdmPart chip.Part) {
	t.Helper()
	return metersOn(t, household)
}

func metersOn(t *testing.T, source func(time.Time) chip.Mains) (pzem, sdm Sensor, pzemPart, sdmPart chip.Part) {
	t.Helper()
	p, s := chip.NewPZEM004T(1, source, time.Now), chip.NewSDM120(2, source, time.Now)
	b := NewBuses(quiet)
	b.masters[adapterPath] = modbus.New(wire(t, chip.NewRTU(p, s)))
	var err error
	if pzem, err = Open(Config{Part: "pzem004t", Bus: adapterPath}, b); err != nil {
		t.Fatal(err)
	}
	if sdm, err = Open(Config{Part: "sdm120", Bus: adapterPath, Address: 2}, b); err != nil {
		t.Fatal(err)
	}
	return pzem, sdm, p, s
}

// What each datasheet has to say of who the part is.
func TestPartsTellWhoTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pzem, sdm, _, _ := meters(t)
		bin, _ := ranger(t, func(time.Time) float64 { return 450 })
		for _, c := range []struct {
			part   string
			sensor Sensor
			want   telemetry.Identity
		}{
			{"sps30", simulated(t, "sps30", first(newSPS30())), telemetry.Identity{Firmware: "2.2", Serial: "A51C0FFEE0DDBA11"}},
			{"scd41", simulated(t, "scd41", first(newSCD41())), telemetry.Identity{Serial: "273325796834238"}},
			{"sdm120", sdm, telemetry.Identity{Firmware: "0204", Serial: "24029365"}},
			{"bme280", simulated(t, "bme280", first(newBME280())), telemetry.Identity{}}, // a chip id, the same of all
			{"pzem004t", pzem, telemetry.Identity{}},
			{"a02yyuw", bin, telemetry.Identity{}}, // it only talks
		} {
			if _, err := next(t, c.sensor); err != nil {
				t.Fatal(err)
			}
			var got telemetry.Identity
			if tells, ok := c.sensor.(Identified); ok {
				got = tells.Identity()
			}
			if got != c.want {
				t.Errorf("%s told %+v, want %+v", c.part, got, c.want)
			}
		}
	})
}

func TestA02YYUWGivesDistanceAndFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var distance atomic.Int64 // mm; the part has a goroutine of its own
		s, _ := ranger(t, func(time.Time) float64 { return float64(distance.Load()) })
		for _, c := range []struct {
			mm   int64
			fill float64
		}{
			{450, 75}, {1200, 0}, {200, 100}, {255, 94.5},
			{1203, 0}, // a little below the empty mark is empty
			{90, 100}, // heaped above the full mark is full
		} {
			distance.Store(c.mm)
			got, err := next(t, s)
			if err != nil {
				t.Fatal(err)
			}
			near(t, got, "distance", float64(c.mm), 0)
			near(t, got, "fill", c.fill, 0)
		}
		distance.Store(3000) // no surface of this bin: the server's range check must see it
		if got, err := next(t, s); err != nil || got["fill"].Value.Number != -180 {
			t.Errorf("3 m in a bin of 1.2 m: %+v, %v", got["fill"], err)
		}
		for _, mm := range []int64{10, 6000} { // too near; no echo
			distance.Store(mm)
			got, err := next(t, s)
			if err != nil || got["distance"].Gap != telemetry.GapNotNumber || got["fill"].Gap != telemetry.GapNotNumber {
				t.Errorf("%v mm: %+v, %v; want gaps", mm, got, err)
			}
		}
	})
}

func TestMetersOnOneLineGiveTheirValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pzem, sdm, _, _ := meters(t)
		done := make(chan struct{})
		go func() { // both sampling loops at once
			defer close(done)
			for range 5 {
				got, err := next(t, sdm)
				if err != nil {
					t.Error(err)
					return
				}
				near(t, got, "voltage", 221.4, 0)
				near(t, got, "current", 4.217, 0)
				near(t, got, "power", 851.3, 0)
				near(t, got, "power_factor", 0.91, 0)
				near(t, got, "frequency", 50, 0)
				near(t, got, "energy", 1234.567, 0)
				near(t, got, "energy_export", 89.125, 0)
			}
		}()
		for range 5 {
			got, err := next(t, pzem)
			if err != nil {
				t.Fatal(err)
			}
			near(t, got, "voltage", 221.4, 0)
			near(t, got, "current", 4.217, 0)
			near(t, got, "power", 851.3, 0)
			near(t, got, "energy", 1234.567, 0)
			near(t, got, "frequency", 50, 0)
			near(t, got, "power_factor", 0.91, 0)
		}
		<-done
	})
}

// TestEachFaultOfASerialPartHasItsReasonAndEnds: as for the I2C parts; and the
// other meter on the line goes on.
func TestEachFaultOfASerialPartHasItsReasonAndEnds(t *testing.T) {
	for _, c := range []struct {
		part  string
		fault chip.Fault
		want  telemetry.GapReason
	}{
		{"a02yyuw", chip.Silent, telemetry.GapNoAnswer},
		{"a02yyuw", chip.BadCRC, telemetry.GapChecksum},
		{"a02yyuw", chip.Unplugged, telemetry.GapNoAnswer},
		{"a02yyuw", chip.Slow, telemetry.GapNoAnswer},
		{"pzem004t", chip.Silent, telemetry.GapNoAnswer},
		{"pzem004t", chip.BadCRC, telemetry.GapChecksum},
		{"pzem004t", chip.Unplugged, telemetry.GapNoAnswer},
		{"pzem004t", chip.Slow, telemetry.GapNoAnswer},
		{"pzem004t", chip.Broken, telemetry.GapProtocol}, // exception: device failure
		{"sdm120", chip.Silent, telemetry.GapNoAnswer},
		{"sdm120", chip.BadCRC, telemetry.GapChecksum},
		{"sdm120", chip.Unplugged, telemetry.GapNoAnswer},
		{"sdm120", chip.Slow, telemetry.GapNoAnswer},
		{"sdm120", chip.Broken, telemetry.GapProtocol},
	} {
		t.Run(fmt.Sprintf("%s %s", c.part, c.fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s, other Sensor
				var part chip.Part
				switch c.part {
				case "a02yyuw":
					s, part = ranger(t, func(time.Time) float64 { return 700 })
				case "pzem004t":
					s, other, part, _ = meters(t)
				case "sdm120":
					other, s, _, part = meters(t)
				}
				settled(t, s, time.Minute)
				mustFail(t, part, c.fault)
				for range 20 {
					readings, err := s.Sense(t.Context())
					if got := GapOf(err); err == nil || got != c.want {
						// A slow part's frame may just come in time.
						if c.fault != chip.Slow || (err == nil && readings[0].Value.Number != 700 && readings[0].Value.Number != 221.4) {
							t.Fatalf("gap %s (%v, %v), want %s", got, readings, err, c.want)
						}
					}
					if other != nil {
						settled(t, other, time.Second)
					}
				}
				mustFail(t, part, chip.None)
				settled(t, s, 10*time.Second)
			})
		})
	}
}
