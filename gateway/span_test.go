package gateway

import (
	"math"
	"reflect"
	"testing"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func val(q string, v float64) telemetry.Reading {
	return telemetry.Reading{Quantity: q, Value: telemetry.Num(v)}
}

func flagged(q string, v float64, f telemetry.Flag) telemetry.Reading {
	return telemetry.Reading{Quantity: q, Value: telemetry.Num(v), Flag: f}
}

func TestAReportIsAnAggregateOfItsQuantity(t *testing.T) {
	s := newSpan([]string{"pm2_5", "energy"})
	s.add([]telemetry.Reading{val("pm2_5", 10), val("energy", 1.25)})
	s.add([]telemetry.Reading{val("pm2_5", 20), val("energy", 1.5)})
	s.fail(telemetry.GapChecksum)
	good, apart := s.report()
	want := []telemetry.Reading{
		{Quantity: "pm2_5", Value: telemetry.Num(15), Count: 2, Min: 10, Max: 20},
		val("energy", 1.5), // a counter is never averaged
	}
	if !reflect.DeepEqual(good, want) || apart != nil {
		t.Errorf("got %+v and %+v", good, apart)
	}
}

func TestASingleSampleStaysAsItIs(t *testing.T) {
	s := newSpan([]string{"co2"})
	s.add([]telemetry.Reading{val("co2", 417.3)})
	if good, _ := s.report(); !reflect.DeepEqual(good, []telemetry.Reading{val("co2", 417.3)}) {
		t.Errorf("got %+v", good)
	}
}

func TestASpanWithoutAGoodSampleIsAGapWithItsReason(t *testing.T) {
	s := newSpan([]string{"co2", "humidity"})
	s.fail(telemetry.GapNoAnswer)
	s.add([]telemetry.Reading{{Quantity: "co2", Gap: telemetry.GapNotNumber}, val("humidity", 50)})
	s.fail(telemetry.GapChecksum)
	good, _ := s.report()
	want := []telemetry.Reading{{Quantity: "co2", Gap: telemetry.GapChecksum}, val("humidity", 50)}
	if !reflect.DeepEqual(good, want) {
		t.Errorf("got %+v", good)
	}
	s.add([]telemetry.Reading{val("co2", math.NaN())})
	good, _ = s.report()
	want = []telemetry.Reading{{Quantity: "co2", Gap: telemetry.GapNotNumber}, {Quantity: "humidity", Gap: telemetry.GapNotReady}}
	if !reflect.DeepEqual(good, want) {
		t.Errorf("got %+v", good)
	}
}

func TestAFlaggedSampleNeverEntersAMeanWithGoodOnes(t *testing.T) {
	s := newSpan([]string{"pm2_5"})
	s.add([]telemetry.Reading{flagged("pm2_5", 900, telemetry.FlagWarmUp)})
	s.add([]telemetry.Reading{flagged("pm2_5", 700, telemetry.FlagWarmUp)})
	s.add([]telemetry.Reading{val("pm2_5", 30)})
	s.add([]telemetry.Reading{val("pm2_5", 40)})
	good, apart := s.report()
	if want := []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(35), Count: 2, Min: 30, Max: 40}}; !reflect.DeepEqual(good, want) {
		t.Errorf("good: %+v", good)
	}
	if want := []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(800), Flag: telemetry.FlagWarmUp, Count: 2, Min: 700, Max: 900}}; !reflect.DeepEqual(apart, want) {
		t.Errorf("flagged: %+v", apart)
	}
	// Nor do samples with different flags share one: the newest stands.
	s.add([]telemetry.Reading{flagged("pm2_5", 900, telemetry.FlagWarmUp)})
	s.add([]telemetry.Reading{flagged("pm2_5", 5, telemetry.FlagSensorFault)})
	if good, apart := s.report(); !reflect.DeepEqual(good, []telemetry.Reading{flagged("pm2_5", 5, telemetry.FlagSensorFault)}) || apart != nil {
		t.Errorf("got %+v and %+v", good, apart)
	}
}

func TestTextsAndUnknownQuantitiesAreNeverAveraged(t *testing.T) {
	s := newSpan(nil)
	text := func(v string) telemetry.Reading {
		return telemetry.Reading{Quantity: "mode", Value: telemetry.Value{Type: telemetry.Text, Text: v}}
	}
	s.add([]telemetry.Reading{text("idle"), val("voc_index", 1)})
	s.add([]telemetry.Reading{text("run"), val("voc_index", 3)})
	if good, _ := s.report(); !reflect.DeepEqual(good, []telemetry.Reading{text("run"), val("voc_index", 3)}) {
		t.Errorf("got %+v", good)
	}
}

func TestDirectionsAreAveragedOnTheCircle(t *testing.T) {
	var p pool
	for _, d := range []float64{350, 10, 30} {
		p.add(telemetry.Num(d))
	}
	if got := p.aggregate("wind_direction", telemetry.AggCircular, telemetry.FlagNone); math.Abs(got.Value.Number-10) > 1e-9 || got.Count != 0 {
		t.Errorf("mean of 350, 10, 30 is 10, got %+v", got)
	}
	var none pool
	none.add(telemetry.Num(0))
	none.add(telemetry.Num(180))
	if got := none.aggregate("wind_direction", telemetry.AggCircular, telemetry.FlagNone); got.Gap != telemetry.GapNotNumber {
		t.Errorf("opposite directions have no mean, got %+v", got)
	}
}

func FuzzTheMeanLiesBetweenItsSamples(f *testing.F) {
	f.Add(0.1, 0.1, 0.1)
	f.Add(-3.0, 1e300, 7.25)
	f.Fuzz(func(t *testing.T, a, b, c float64) {
		s := newSpan([]string{"temperature"})
		for _, v := range []float64{a, b, c} {
			s.add([]telemetry.Reading{val("temperature", v)})
		}
		good, _ := s.report()
		r := good[0]
		if r.Gap != telemetry.GapNone {
			if r.Gap != telemetry.GapNotNumber {
				t.Errorf("gap %q", r.Gap)
			}
			return
		}
		if !r.Value.Finite() || (r.Count > 1 && (r.Value.Number < r.Min || r.Value.Number > r.Max)) {
			t.Errorf("%+v of %v %v %v", r, a, b, c)
		}
	})
}
