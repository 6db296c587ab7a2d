package sparkplug

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

var testBirth = Birth{
	BdSeq: 3, Wire: 1, Simulated: true, Version: "1.2.3",
	Epochs:     []telemetry.EpochFloor{{Epoch: 7, Lowest: 12}, {Epoch: 1 << 63, Lowest: 1}},
	Identities: map[string]telemetry.Identity{"air": {Firmware: "2.2", Serial: "A51C0FFEE0DDBA11"}, "meter": {Serial: "24030117"}},
	Definitions: []Definition{
		{Alias: 1, HasAlias: true, Device: "air", Quantity: "pm2_5", Type: TypeDouble, Unit: telemetry.MicrogramPerCubicMetre, Interval: time.Minute},
		{Alias: 2, HasAlias: true, Device: "air", Quantity: "pm10", Type: TypeDouble, Unit: telemetry.MicrogramPerCubicMetre, Interval: time.Minute},
		{Alias: 3, HasAlias: true, Device: "meter", Quantity: "online", Type: TypeBoolean},
	},
}

func aliasOf(device, quantity string) (uint64, bool) {
	for _, d := range testBirth.Definitions {
		if d.Device == device && d.Quantity == quantity {
			return d.Alias, true
		}
	}
	return 0, false
}

func decodeBirth(t testing.TB) *Birth {
	t.Helper()
	var p Payload
	if err := Decode(AppendBirth(nil, 1000, 0, &testBirth), &p); err != nil {
		t.Fatal(err)
	}
	b, err := ParseBirth(&p, "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBirthRoundTrip(t *testing.T) {
	b := decodeBirth(t)
	if b.BdSeq != 3 || b.Wire != 1 || !b.Simulated || b.Version != "1.2.3" || !reflect.DeepEqual(b.Epochs, testBirth.Epochs) {
		t.Errorf("got %+v", b)
	}
	if d := b.Definitions[1]; d.Device != "air" || d.Quantity != "pm2_5" || d.Unit != telemetry.MicrogramPerCubicMetre || d.Interval != time.Minute {
		t.Errorf("got %+v", d)
	}
}

// What a part tells of itself is no series: nothing can be stored under its name,
// and what it sends is short text, whatever it sends.
func TestABirthTellsWhoThePartsAre(t *testing.T) {
	b := decodeBirth(t)
	if !reflect.DeepEqual(b.Identities, testBirth.Identities) {
		t.Errorf("got %+v", b.Identities)
	}
	if len(b.Definitions) != len(testBirth.Definitions)+1 { // and Pantau/Run
		t.Errorf("an identity became a series: %+v", b.Definitions)
	}
	serial := "<b>7\x00\x1b[2J\u202e\xff" + strings.Repeat("é", 100)
	hostile := Payload{Metrics: []Metric{
		{Name: []byte(MetricWire), Type: TypeInt32, Value: Int(1)},
		{Name: []byte("air/" + MetricSerial), Type: TypeString, Value: String(serial)},
		{Name: []byte("air/" + MetricFirmware), Type: TypeInt32, Value: Int(7)},
	}}
	got, err := ParseBirth(&hostile, "")
	if err != nil {
		t.Fatal(err)
	}
	if id := got.Identities["air"]; id.Firmware != "" || id.Serial != "<b>7[2J"+strings.Repeat("é", 28) || len(got.Identities) != 1 {
		t.Errorf("got %q", got.Identities)
	}
}

func testRecords() (telemetry.Run, []telemetry.Record) {
	run := telemetry.Run{Epoch: 7, First: 41, Count: 4, Clock: telemetry.ClockID{Epoch: 7, Counter: 2}, Quality: telemetry.TimeServer, Floor: 40, Backlog: true}
	return run, []telemetry.Record{
		{Number: 41, Device: "air", Time: 1764000000123, Readings: []telemetry.Reading{
			{Quantity: "pm2_5", Value: telemetry.Num(12.5), Count: 60, Min: 1, Max: 99},
			{Quantity: "pm10", Gap: telemetry.GapChecksum}}},
		{Number: 42, Loss: &telemetry.Loss{Epoch: 6, From: 3, To: 9, Reason: telemetry.LossQuota}},
		{Number: 43, Device: "air", Time: 1764000000123, Readings: []telemetry.Reading{
			{Quantity: "pm2_5", Value: telemetry.Num(-0.25), Flag: telemetry.FlagStuck}}},
		{Number: 44, Device: "meter", Time: 1764000005000, Readings: []telemetry.Reading{
			{Quantity: "online", Value: telemetry.Value{Type: telemetry.Bool, Number: 1}}}},
	}
}

func TestDataRoundTrip(t *testing.T) {
	run, records := testRecords()
	var e Encoder
	body, err := e.AppendData(nil, 5, 6, run, records, aliasOf)
	if err != nil {
		t.Fatal(err)
	}
	var p Payload
	var d Data
	b := decodeBirth(t)
	for range 2 { // the second pass reuses memory
		if err := Decode(body, &p); err != nil {
			t.Fatal(err)
		}
		if err := d.Resolve(&p, b, 0); err != nil {
			t.Fatal(err)
		}
		if d.Run != run || !reflect.DeepEqual(d.Records, records) {
			t.Errorf("got %+v %+v\nwant %+v %+v", d.Run, d.Records, run, records)
		}
	}
}

func TestAppendDataRefuses(t *testing.T) {
	for name, change := range map[string]func(*telemetry.Run, []telemetry.Record){
		"broken run":    func(_ *telemetry.Run, rs []telemetry.Record) { rs[2].Number = 99 },
		"wrong count":   func(r *telemetry.Run, _ []telemetry.Record) { r.Count = 3 },
		"NaN":           func(_ *telemetry.Run, rs []telemetry.Record) { rs[0].Readings[0].Value = telemetry.Num(math.NaN()) },
		"unknown alias": func(_ *telemetry.Run, rs []telemetry.Record) { rs[0].Device = "water" },
	} {
		run, records := testRecords()
		change(&run, records)
		var e Encoder
		if _, err := e.AppendData(nil, 5, 6, run, records, aliasOf); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestForeignDataByNameAndAlias(t *testing.T) {
	p := Payload{Timestamp: 50, HasTimestamp: true, HasSeq: true, Metrics: []Metric{
		{Name: []byte("SO2"), HasAlias: true, Alias: 9, Type: TypeFloat, Null: true,
			Properties: []Property{{Key: []byte("engUnit"), Type: TypeString, Value: String("ppb")}}},
		{Name: []byte("count"), Type: TypeInt16, Value: Int(-3)},
	}}
	var decoded Payload
	if err := Decode(AppendPayload(nil, &p), &decoded); err != nil {
		t.Fatal(err)
	}
	b, err := ParseBirth(&decoded, "aqms")
	if err != nil {
		t.Fatal(err)
	}
	var d Data
	data := Payload{Timestamp: 60, HasTimestamp: true, Metrics: []Metric{
		{HasAlias: true, Alias: 9, Value: Double(4.5)},
		{Name: []byte("count"), Value: Int(-3)},
		{Name: []byte("stranger"), Value: Int(1)},
		{HasAlias: true, Alias: 9, Timestamp: 70, HasTimestamp: true, Historical: true, Value: Double(math.NaN())},
	}}
	if err := Decode(AppendPayload(nil, &data), &decoded); err != nil {
		t.Fatal(err)
	}
	if err := d.Resolve(&decoded, b, 99); err != nil {
		t.Fatal(err)
	}
	want := []telemetry.Record{
		{Device: "aqms", Time: 60, Readings: []telemetry.Reading{{Quantity: "SO2", Value: telemetry.Num(4.5)}, {Quantity: "count", Value: telemetry.Num(-3)}}},
		{Device: "aqms", Time: 70, Readings: []telemetry.Reading{{Quantity: "SO2", Gap: telemetry.GapNotNumber}}},
	}
	if !reflect.DeepEqual(d.Records, want) || d.Unknown != 1 || !d.Historical || d.Pantau {
		t.Errorf("got %+v, unknown %d, historical %v", d.Records, d.Unknown, d.Historical)
	}
	if b.Definitions[0].Unit != telemetry.PartPerBillion {
		t.Errorf("unit %q", b.Definitions[0].Unit)
	}
}

func TestAFlagOfTheFutureIsNotGood(t *testing.T) {
	b, err := ParseBirth(&Payload{Metrics: []Metric{{Name: []byte("x"), Type: TypeDouble}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	var d Data
	p := Payload{Metrics: []Metric{{Name: []byte("x"), Value: Double(1), Properties: []Property{{Key: []byte(PropFlag), Type: TypeString, Value: String("gremlins")}}}}}
	if err := d.Resolve(&p, b, 1); err != nil || d.Records[0].Readings[0].Flag == telemetry.FlagNone {
		t.Errorf("%+v, %v", d.Records, err)
	}
}

func TestBirthRefusesAmbiguousAlias(t *testing.T) {
	_, err := ParseBirth(&Payload{Metrics: []Metric{
		{Name: []byte("a"), HasAlias: true, Alias: 1}, {Name: []byte("b"), HasAlias: true, Alias: 1}}}, "")
	if !errors.Is(err, ErrBirth) {
		t.Errorf("got %v", err)
	}
}

func TestTopics(t *testing.T) {
	for _, s := range []string{"spBv1.0/3374/NDATA/a", "spBv1.0/3374/DDATA/a/d", "spBv1.0/STATE/pantau"} {
		if top, err := ParseTopic(s); err != nil || top.String() != s {
			t.Errorf("%q: %v, %v", s, top, err)
		}
	}
	for _, s := range []string{"", "x", "spBv1.0/3374/NDATA", "spBv1.0/3374/NDATA/a/d", "spBv1.0/3374/DDATA/a", "spBv1.0/3374/XDATA/a", "spBv1.0//NDATA/a", "spBv1.0/3374/DDATA/a/b/c"} {
		if top, err := ParseTopic(s); err == nil {
			t.Errorf("%q parsed as %v", s, top)
		}
	}
}

func FuzzDecode(f *testing.F) {
	run, records := testRecords()
	var e Encoder
	body, _ := e.AppendData(nil, 5, 6, run, records, aliasOf)
	f.Add(body)
	f.Add(AppendBirth(nil, 1, 0, &testBirth))
	birth := decodeBirth(f)
	foreign := *birth
	foreign.Wire = 0
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Payload
		if Decode(b, &p) != nil {
			return
		}
		_, _ = ParseBirth(&p, "")
		var d Data
		_ = d.Resolve(&p, birth, 1)
		_ = d.Resolve(&p, &foreign, 1)
	})
}

func BenchmarkDecode10(b *testing.B) {
	birth := decodeBirth(b)
	var rs []telemetry.Reading
	for range 10 {
		rs = append(rs, telemetry.Reading{Quantity: "pm2_5", Value: telemetry.Num(1.5)})
	}
	var e Encoder
	body, err := e.AppendData(nil, 1, 1, telemetry.Run{Epoch: 1, First: 1, Count: 1, Floor: 1}, []telemetry.Record{{Number: 1, Device: "air", Time: 1, Readings: rs}}, aliasOf)
	if err != nil {
		b.Fatal(err)
	}
	var p Payload
	var d Data
	b.ReportAllocs()
	for b.Loop() {
		if err := Decode(body, &p); err != nil {
			b.Fatal(err)
		}
		if err := d.Resolve(&p, birth, 1); err != nil {
			b.Fatal(err)
		}
	}
}
