package sparkplug

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func decoded(t *testing.T, body []byte) *Payload {
	t.Helper()
	var p Payload
	if err := Decode(body, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func metricOf(t *testing.T, p *Payload, name string) *Metric {
	t.Helper()
	i := slices.IndexFunc(p.Metrics, func(m Metric) bool { return string(m.Name) == name })
	if i < 0 {
		t.Fatalf("no metric %q", name)
	}
	return &p.Metrics[i]
}

// What any host must find in an NBIRTH of ours.
func TestWhatABirthSays(t *testing.T) {
	const now, before = 1764000000000, 1763999990000
	b := testBirth
	b.Current = []Current{
		{Time: before, Reading: telemetry.Reading{Quantity: "pm2_5", Value: telemetry.Num(12.5), Count: 60, Min: 1, Max: 99}},
		{Time: before, Reading: telemetry.Reading{Quantity: "pm10", Gap: telemetry.GapChecksum}},
	}
	p := decoded(t, AppendBirth(nil, now, 0, &b)) // [tck-id-message-flow-edge-node-birth-publish-nbirth-payload]
	// [tck-id-topics-nbirth-timestamp] [tck-id-payloads-nbirth-timestamp] [tck-id-payloads-nbirth-seq]
	if !p.HasTimestamp || p.Timestamp != now || !p.HasSeq || p.Seq != 0 {
		t.Errorf("time %d, seq %d", p.Timestamp, p.Seq)
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		// [tck-id-payloads-name-requirement] [tck-id-payloads-name-birth-data-requirement]
		// [tck-id-payloads-metric-datatype-req] [tck-id-payloads-metric-datatype-value]
		if len(m.Name) == 0 || !m.HasTimestamp || m.Type < TypeInt8 || m.Type > TypeTemplate {
			t.Errorf("metric %d: %+v", i, m)
		}
		// A value, or null and no value. [tck-id-operational-behavior-data-publish-nbirth-values]
		if m.Null != (m.Value.Kind == NoValue) {
			t.Errorf("%s: null %v, value %+v", m.Name, m.Null, m.Value)
		}
		for _, prop := range m.Properties { // [tck-id-payloads-metric-propertyvalue-type-req]
			// [tck-id-payloads-metric-propertyvalue-type-value]
			if len(prop.Key) == 0 || prop.Type < TypeInt8 || prop.Type > TypeText {
				t.Errorf("%s: property %+v", m.Name, prop)
			}
		}
	}
	// [tck-id-payloads-nbirth-bdseq] [tck-id-topics-nbirth-bdseq-included]
	// [tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq]
	if m := metricOf(t, p, "bdSeq"); m.Type != TypeInt64 || m.Value.Kind != LongValue || m.Value.Bits != 3 {
		t.Errorf("bdSeq %+v", m)
	}
	// [tck-id-topics-nbirth-rebirth-metric] [tck-id-payloads-nbirth-rebirth-req]
	// [tck-id-operational-behavior-data-commands-rebirth-name]
	// [tck-id-operational-behavior-data-commands-rebirth-name-aliases]
	// [tck-id-operational-behavior-data-commands-rebirth-datatype]
	// [tck-id-operational-behavior-data-commands-rebirth-value]
	if m := metricOf(t, p, "Node Control/Rebirth"); m.HasAlias || m.Type != TypeBoolean || m.Value.Kind != BoolValue || m.Value.Bits != 0 {
		t.Errorf("rebirth %+v", m)
	}
	for i, d := range testBirth.Definitions { // [tck-id-topics-nbirth-metrics] [tck-id-payloads-alias-birth-requirement]
		if m := metricOf(t, p, d.Device+"/"+d.Quantity); !m.HasAlias || m.Alias != d.Alias || m.Null != (i > 0) {
			t.Errorf("%+v", m)
		}
	}
	if m := metricOf(t, p, "air/pm2_5"); m.Timestamp != before || math.Float64frombits(m.Value.Bits) != 12.5 {
		t.Errorf("the current value is %+v", m)
	}
	if again, err := ParseBirth(p, ""); err != nil || len(again.Definitions) != len(testBirth.Definitions)+1 || again.Definitions[1].Unit != telemetry.MicrogramPerCubicMetre {
		t.Errorf("our own server reads %+v, %v", again, err)
	}
}

func TestWhatADeathSays(t *testing.T) {
	p := decoded(t, AppendDeath(nil, 1000, 255)) // [tck-id-message-flow-edge-node-birth-publish-will-message-payload]
	// [tck-id-payloads-ndeath-bdseq] [tck-id-topics-ndeath-payload]
	if len(p.Metrics) != 1 || string(p.Metrics[0].Name) != "bdSeq" || p.Metrics[0].Type != TypeInt64 || p.Metrics[0].Value.Bits != 255 {
		t.Errorf("%+v", p.Metrics)
	}
	if p.HasSeq { // [tck-id-payloads-ndeath-seq] [tck-id-topics-ndeath-seq]
		t.Error("a death has no seq: it may be sent long after")
	}
}

func TestWhatACommandSays(t *testing.T) {
	p := decoded(t, AppendCommand(nil, 1000, MetricRebirth, TypeBoolean, Boolean(true)))
	// [tck-id-topics-ncmd-timestamp] [tck-id-payloads-ncmd-timestamp] [tck-id-payloads-ncmd-seq]
	if p.Timestamp != 1000 || p.HasSeq {
		t.Errorf("%+v", p)
	}
	// [tck-id-topics-ncmd-payload] [tck-id-payloads-name-cmd-requirement]
	if m := p.Metrics[0]; len(p.Metrics) != 1 || string(m.Name) != "Node Control/Rebirth" || m.HasAlias || !m.HasTimestamp || m.Value.Bits != 1 {
		t.Errorf("%+v", m)
	}
}

func TestWhatDataSay(t *testing.T) {
	run, records := testRecords()
	var e Encoder
	body, err := e.AppendData(nil, 1000, 7, run, records, aliasOf)
	if err != nil {
		t.Fatal(err)
	}
	p := decoded(t, body)
	// [tck-id-topics-ndata-timestamp] [tck-id-payloads-ndata-timestamp] [tck-id-payloads-ndata-seq]
	if p.Timestamp != 1000 || !p.HasSeq || p.Seq != 7 {
		t.Errorf("%+v", p)
	}
	for _, m := range p.Metrics { // [tck-id-payloads-alias-data-cmd-requirement]
		if !m.HasAlias || len(m.Name) > 0 || m.Type != TypeUnknown || !m.HasTimestamp {
			t.Errorf("%+v", m)
		}
	}
	flagged := p.Metrics[3]
	// [tck-id-payloads-propertyset-quality-value-type] [tck-id-payloads-propertyset-quality-value-value]
	if q, ok := flagged.Property("Quality"); !ok || q.Type != TypeInt32 || q.Value.Kind != IntValue || q.Value.Bits != QualityBad {
		t.Errorf("what is flagged here is good to other hosts: %+v", flagged)
	}
}

// A value that its maker says is bad or stale is never a good one.
func TestTheSendersQualityCounts(t *testing.T) {
	birth, err := ParseBirth(&Payload{Metrics: []Metric{{Name: []byte("SO2"), Type: TypeDouble}}}, "station")
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int32]telemetry.Flag{QualityBad: telemetry.FlagSensorFault, QualityStale: telemetry.FlagSensorFault, QualityGood: telemetry.FlagNone, 216: telemetry.FlagNone} {
		m := Metric{Name: []byte("SO2"), Value: Double(4), Properties: []Property{{Key: []byte("Quality"), Type: TypeInt32, Value: Int(code)}}}
		var d Data
		if err := d.Resolve(decoded(t, AppendPayload(nil, &Payload{Metrics: []Metric{m}})), birth, 1); err != nil || d.Records[0].Readings[0].Flag != want {
			t.Errorf("%d: %+v, %v", code, d.Records, err)
		}
	}
}

func TestKeysAndValuesOfPropertiesComeInPairs(t *testing.T) {
	m := Metric{Name: []byte("x"), Properties: []Property{{Key: []byte("engUnit"), Type: TypeString, Value: String("ppb")}}}
	whole := AppendPayload(nil, &Payload{Metrics: []Metric{m}}) // [tck-id-payloads-propertyset-keys-array-size]
	if p := decoded(t, whole); len(p.Metrics[0].Properties) != 1 {
		t.Errorf("%+v", p.Metrics[0])
	}
	set := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "engUnit")
	metric := protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), set)
	var p Payload
	if err := Decode(appendBytes(nil, 2, metric), &p); err == nil { // [tck-id-payloads-propertyset-values-array-size]
		t.Error("a key without a value was read")
	}
}

// What we send nothing of must not hurt when others do: every type of value,
// metadata, data sets, templates, property sets within property sets,
// extensions, fields of a later version.
func TestForeignPayloadsOfAnyKindAreRead(t *testing.T) {
	float := func(v float32) Value { return Value{Kind: FloatValue, Bits: uint64(math.Float32bits(v))} }
	number := func(v float64) telemetry.Reading { return telemetry.Reading{Value: telemetry.Num(v)} }
	text := telemetry.Reading{Value: telemetry.Value{Type: telemetry.Text, Text: "x"}}
	not := telemetry.Reading{Gap: telemetry.GapProtocol}
	var p Payload
	var want []telemetry.Reading
	// [tck-id-payloads-metric-datatype-value-type] [tck-id-payloads-metric-datatype-value]
	for _, c := range []struct {
		t    Datatype
		v    Value
		want telemetry.Reading
	}{
		{TypeInt8, Int(-8), number(-8)}, {TypeInt16, Int(-16), number(-16)}, {TypeInt32, Int(-32), number(-32)}, {TypeInt64, Long(-64), number(-64)},
		{TypeUInt8, Int(200), number(200)}, {TypeUInt16, Int(60000), number(60000)}, {TypeUInt32, Int(-1), number(math.MaxUint32)},
		{TypeUInt64, Long(1 << 40), number(1 << 40)}, {TypeFloat, float(1.5), number(1.5)}, {TypeDouble, Double(2.5), number(2.5)},
		{TypeBoolean, Boolean(true), telemetry.Reading{Value: telemetry.Value{Type: telemetry.Bool, Number: 1}}},
		{TypeString, String("x"), text}, {TypeText, String("x"), text}, {TypeUUID, String("x"), text},
		{TypeDateTime, Long(1764000000000), number(1764000000000)},
		{TypeBytes, Bytes([]byte{1}), not}, {TypeFile, Bytes([]byte{1}), not},
		{TypeDataSet, Value{Kind: NoValue}, not}, {TypeTemplate, Value{Kind: NoValue}, not}, {33, Bytes([]byte{1}), not},
	} {
		c.want.Quantity = "m" + string(rune('a'+len(p.Metrics)))
		p.Metrics = append(p.Metrics, Metric{Name: []byte(c.want.Quantity), Type: c.t, Value: c.v, Timestamp: 5, HasTimestamp: true})
		want = append(want, c.want)
	}
	body := AppendPayload(nil, &p)
	for i, field := range []protowire.Number{17, 18, 19} { // data set, template, extension
		name := "o" + string(rune('a'+i))
		m := appendBytes(nil, 1, []byte(name))
		m = appendBytes(m, 8, appendVarint(nil, 2, 1)) // metadata
		m = appendVarint(m, 6, 1)                      // is_transient
		m = appendBytes(m, field, []byte{0x0a, 0x01, 'x'})
		m = appendVarint(m, 3, 5)
		m = appendBytes(m, 9, appendBytes(appendBytes(nil, 1, []byte("nested")), 2, appendBytes(appendVarint(nil, 1, 20), 9, nil))) // a property set
		m = appendVarint(m, 99, 1)
		body = appendBytes(body, 2, m)
		want = append(want, telemetry.Reading{Quantity: name, Gap: telemetry.GapProtocol})
	}
	definition := appendVarint(appendBytes(nil, 1, []byte("_types_/pump")), 4, uint64(TypeTemplate))
	definition = appendBytes(definition, 18, appendVarint(appendBytes(nil, 1, []byte("v1")), 5, 1))
	body = appendBytes(body, 2, definition)
	body = appendBytes(appendBytes(body, 4, []byte("uuid")), 5, []byte("body"))
	birth, err := ParseBirth(decoded(t, body), "station")
	if err != nil {
		t.Fatal(err)
	}
	var d Data
	if err := d.Resolve(decoded(t, body), birth, 1); err != nil || d.Unknown != 1 || len(d.Records) != 1 { // the template's definition is no metric
		t.Fatalf("%+v, %v", d.Records, err)
	}
	if got := d.Records[0].Readings; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Types of more than 32 bits do not exist; a later one is no type of ours.
// [tck-id-payloads-metric-propertyvalue-type-type]
func TestATypeIsANumberOf32Bits(t *testing.T) {
	prop := appendBytes(appendBytes(nil, 1, []byte("k")), 2, appendVarint(nil, 1, 3))
	m := appendBytes(appendVarint(appendBytes(nil, 1, []byte("x")), 4, math.MaxUint32), 9, prop)
	p := decoded(t, appendBytes(nil, 2, m))
	if p.Metrics[0].Type != math.MaxUint32 || p.Metrics[0].Properties[0].Type != TypeInt32 {
		t.Errorf("%+v", p.Metrics[0])
	}
}

func TestNamesInTopics(t *testing.T) {
	node := telemetry.Node{Group: "Kota Salatiga", ID: "pos-é"}
	for _, c := range []struct {
		topic Topic
		want  string
	}{
		// [tck-id-topic-structure] [tck-id-topic-structure-namespace-a]
		// [tck-id-intro-group-id-string] [tck-id-intro-edge-node-id-string] [tck-id-intro-device-id-string]
		{Topic{Type: NDATA, Node: node}, "spBv1.0/Kota Salatiga/NDATA/pos-é"},
		{Topic{Type: DDATA, Node: node, Device: "meter 1"}, "spBv1.0/Kota Salatiga/DDATA/pos-é/meter 1"},
		{Topic{Type: STATE, Host: "pantau"}, "spBv1.0/STATE/pantau"},
	} {
		if got, err := ParseTopic(c.want); err != nil || got != c.topic || c.topic.String() != c.want {
			t.Errorf("%q: %+v, %v", c.want, got, err)
		}
	}
	for _, typ := range []MessageType{DBIRTH, DDATA, DDEATH, DCMD} { // [tck-id-topic-structure-namespace-device-id-associated-message-types]
		if _, err := ParseTopic("spBv1.0/g/" + string(typ) + "/n"); err == nil {
			t.Errorf("%s without a device", typ)
		}
	}
	for _, typ := range []MessageType{NBIRTH, NDATA, NDEATH, NCMD} { // [tck-id-topic-structure-namespace-device-id-non-associated-message-types]
		if _, err := ParseTopic("spBv1.0/g/" + string(typ) + "/n/d"); err == nil {
			t.Errorf("%s with a device", typ)
		}
	}
	for _, bad := range []string{"", "a+", "a#", "a\x00", "\xff", strings.Repeat("a", telemetry.MaxIDLength+1)} {
		for _, topic := range []string{
			"spBv1.0/" + bad + "/NDATA/n",     // [tck-id-topic-structure-namespace-valid-group-id] [tck-id-intro-group-id-chars]
			"spBv1.0/g/NDATA/" + bad,          // [tck-id-topic-structure-namespace-valid-edge-node-id] [tck-id-intro-edge-node-id-chars]
			"spBv1.0/g/DDATA/n/" + bad,        // [tck-id-topic-structure-namespace-valid-device-id] [tck-id-intro-device-id-chars]
			"spBv1.0/g/DDATA/n/d" + "/" + bad, // a level too many
		} {
			if got, err := ParseTopic(topic); err == nil {
				t.Errorf("%q is %+v", topic, got)
			}
		}
	}
}

func TestStateIsTheJSONOfTheStandard(t *testing.T) {
	// [tck-id-host-topic-phid-birth-payload] [tck-id-host-topic-phid-death-payload]
	at := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	for _, online := range []bool{true, false} {
		var got map[string]any
		if err := json.Unmarshal(AppendState(nil, State{Online: online, Timestamp: at.UnixMilli()}), &got); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got["online"] != online || got["timestamp"] != float64(at.UnixMilli()) {
			t.Errorf("%v", got)
		}
	}
}
