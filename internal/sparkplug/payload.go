package sparkplug

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Datatype is Sparkplug's type of a metric or property.
// [tck-id-payloads-metric-datatype-value-type] [tck-id-payloads-metric-propertyvalue-type-type]
type Datatype uint32

// The data types that Pantau reads and writes; other values are kept as bytes.
// [tck-id-payloads-metric-datatype-value] [tck-id-payloads-metric-propertyvalue-type-value]
const (
	TypeUnknown  Datatype = 0
	TypeInt8     Datatype = 1
	TypeInt16    Datatype = 2
	TypeInt32    Datatype = 3
	TypeInt64    Datatype = 4
	TypeUInt8    Datatype = 5
	TypeUInt16   Datatype = 6
	TypeUInt32   Datatype = 7
	TypeUInt64   Datatype = 8
	TypeFloat    Datatype = 9
	TypeDouble   Datatype = 10
	TypeBoolean  Datatype = 11
	TypeString   Datatype = 12
	TypeDateTime Datatype = 13
	TypeText     Datatype = 14
	TypeUUID     Datatype = 15
	TypeDataSet  Datatype = 16
	TypeBytes    Datatype = 17
	TypeFile     Datatype = 18
	TypeTemplate Datatype = 19
)

// ValueKind says which field of the protobuf's oneof carried the value.
type ValueKind uint8

// The kinds of wire values.
const (
	NoValue ValueKind = iota
	IntValue
	LongValue
	FloatValue
	DoubleValue
	BoolValue
	StringValue
	BytesValue
	OtherValue // data set, template, extension: kept as raw bytes
)

// Value is a value as it stood on the wire. Bits holds numbers (integers
// unsigned, floats as IEEE bits); Raw holds strings and bytes and points into
// the decoded input.
type Value struct {
	Kind ValueKind
	Bits uint64
	Raw  []byte
}

// Constructors for encoding.
func Int(v int32) Value      { return Value{Kind: IntValue, Bits: uint64(uint32(v))} }
func Long(v int64) Value     { return Value{Kind: LongValue, Bits: uint64(v)} }
func Double(v float64) Value { return Value{Kind: DoubleValue, Bits: math.Float64bits(v)} }
func String(s string) Value  { return Value{Kind: StringValue, Raw: []byte(s)} }
func Bytes(b []byte) Value   { return Value{Kind: BytesValue, Raw: b} }
func Boolean(b bool) Value {
	if b {
		return Value{Kind: BoolValue, Bits: 1}
	}
	return Value{Kind: BoolValue}
}

// Property is one entry of a metric's PropertySet.
type Property struct {
	Key   []byte
	Type  Datatype
	Null  bool
	Value Value
}

// Metric is one metric of a payload.
type Metric struct {
	Name         []byte // empty in DATA that goes by alias
	Alias        uint64
	HasAlias     bool
	Timestamp    uint64 // Unix milliseconds UTC
	HasTimestamp bool
	Type         Datatype
	Historical   bool
	Null         bool
	Value        Value
	Properties   []Property
}

// Property finds a property by its key.
func (m *Metric) Property(key string) (Property, bool) {
	for _, p := range m.Properties {
		if string(p.Key) == key {
			return p, true
		}
	}
	return Property{}, false
}

// Float reads a number or boolean under the given type, which gives integers
// their sign (negative ones travel as two's complement).
func (v Value) Float(t Datatype) (float64, bool) {
	switch v.Kind {
	case IntValue:
		switch t {
		case TypeInt8:
			return float64(int8(v.Bits)), true
		case TypeInt16:
			return float64(int16(v.Bits)), true
		case TypeInt32:
			return float64(int32(v.Bits)), true
		}
		return float64(uint32(v.Bits)), true
	case LongValue:
		switch t {
		case TypeInt8, TypeInt16, TypeInt32, TypeInt64:
			return float64(int64(v.Bits)), true
		}
		return float64(v.Bits), true
	case FloatValue:
		return float64(math.Float32frombits(uint32(v.Bits))), true
	case DoubleValue:
		return math.Float64frombits(v.Bits), true
	case BoolValue:
		return float64(v.Bits & 1), true
	}
	return 0, false
}

// Payload is one Sparkplug B payload.
type Payload struct {
	Timestamp    uint64
	HasTimestamp bool
	Seq          uint64
	HasSeq       bool
	Metrics      []Metric
	Body         []byte
}

// AppendPayload encodes p.
func AppendPayload(dst []byte, p *Payload) []byte {
	if p.HasTimestamp {
		dst = appendVarint(dst, 1, p.Timestamp)
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		dst = protowire.AppendTag(dst, 2, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(m.size()))
		dst = m.append(dst)
	}
	if p.HasSeq {
		dst = appendVarint(dst, 3, p.Seq)
	}
	if p.Body != nil {
		dst = appendBytes(dst, 5, p.Body)
	}
	return dst
}

func appendVarint(dst []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), v)
}

func appendBytes(dst []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, num, protowire.BytesType), v)
}

// sizeVarint is the size of a varint field with a one-byte tag (numbers up to 15).
func sizeVarint(v uint64) int { return 1 + protowire.SizeVarint(v) }

func (m *Metric) size() int {
	n := 0
	if len(m.Name) > 0 {
		n += 1 + protowire.SizeBytes(len(m.Name))
	}
	if m.HasAlias {
		n += sizeVarint(m.Alias)
	}
	if m.HasTimestamp {
		n += sizeVarint(m.Timestamp)
	}
	if m.Type != TypeUnknown {
		n += sizeVarint(uint64(m.Type))
	}
	if m.Historical {
		n += 2
	}
	if m.Null {
		n += 2
	}
	if len(m.Properties) > 0 {
		n += 1 + protowire.SizeBytes(sizeProperties(m.Properties))
	}
	return n + sizeValue(m.Value, 10)
}

func (m *Metric) append(dst []byte) []byte {
	if len(m.Name) > 0 {
		dst = appendBytes(dst, 1, m.Name)
	}
	if m.HasAlias {
		dst = appendVarint(dst, 2, m.Alias)
	}
	if m.HasTimestamp {
		dst = appendVarint(dst, 3, m.Timestamp)
	}
	if m.Type != TypeUnknown {
		dst = appendVarint(dst, 4, uint64(m.Type))
	}
	if m.Historical {
		dst = appendVarint(dst, 5, 1)
	}
	if m.Null {
		dst = appendVarint(dst, 7, 1)
	}
	if len(m.Properties) > 0 {
		dst = protowire.AppendTag(dst, 9, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(sizeProperties(m.Properties)))
		for i := range m.Properties {
			dst = appendBytes(dst, 1, m.Properties[i].Key)
		}
		for i := range m.Properties { // as many as keys [tck-id-payloads-propertyset-keys-array-size]
			p := &m.Properties[i]
			dst = protowire.AppendTag(dst, 2, protowire.BytesType)
			dst = protowire.AppendVarint(dst, uint64(p.size()))
			dst = appendVarint(dst, 1, uint64(p.Type)) // [tck-id-payloads-metric-propertyvalue-type-req]
			if p.Null {
				dst = appendVarint(dst, 2, 1)
			}
			dst = appendValue(dst, p.Value, 3)
		}
	}
	return appendValue(dst, m.Value, 10)
}

func sizeProperties(ps []Property) int {
	n := 0
	for i := range ps {
		n += 1 + protowire.SizeBytes(len(ps[i].Key)) + 1 + protowire.SizeBytes(ps[i].size())
	}
	return n
}

func (p *Property) size() int {
	n := sizeVarint(uint64(p.Type))
	if p.Null {
		n += 2
	}
	return n + sizeValue(p.Value, 3)
}

// The oneof's fields stand in the same order from field base on, in Metric
// (10…) and PropertyValue (3…): int, long, float, double, boolean, string, bytes.
func sizeValue(v Value, base protowire.Number) int {
	tag := func(off protowire.Number) int { return protowire.SizeTag(base + off) }
	switch v.Kind {
	case IntValue:
		return tag(0) + protowire.SizeVarint(v.Bits)
	case LongValue:
		return tag(1) + protowire.SizeVarint(v.Bits)
	case FloatValue:
		return tag(2) + 4
	case DoubleValue:
		return tag(3) + 8
	case BoolValue:
		return tag(4) + 1
	case StringValue:
		return tag(5) + protowire.SizeBytes(len(v.Raw))
	case BytesValue:
		return tag(6) + protowire.SizeBytes(len(v.Raw))
	}
	return 0
}

func appendValue(dst []byte, v Value, base protowire.Number) []byte {
	switch v.Kind {
	case IntValue:
		return appendVarint(dst, base, v.Bits)
	case LongValue:
		return appendVarint(dst, base+1, v.Bits)
	case FloatValue:
		return protowire.AppendFixed32(protowire.AppendTag(dst, base+2, protowire.Fixed32Type), uint32(v.Bits))
	case DoubleValue:
		return protowire.AppendFixed64(protowire.AppendTag(dst, base+3, protowire.Fixed64Type), v.Bits)
	case BoolValue:
		return appendVarint(dst, base+4, v.Bits&1)
	case StringValue:
		return appendBytes(dst, base+5, v.Raw)
	case BytesValue:
		return appendBytes(dst, base+6, v.Raw)
	}
	return dst
}

// ErrPayload is what Decode wraps when bytes are not a Sparkplug B payload.
var ErrPayload = errors.New("not a Sparkplug B payload")

// maxMetrics bounds one payload; 256 KiB of packet cannot hold more real ones.
const maxMetrics = 32768

// Decode reads b into p, reusing p's slices. What it yields points into b.
func Decode(b []byte, p *Payload) error {
	*p = Payload{Metrics: p.Metrics[:0]}
	return fields(b, func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error {
		switch {
		case num == 1 && typ == protowire.VarintType:
			p.Timestamp, p.HasTimestamp = v, true
		case num == 2 && typ == protowire.BytesType:
			if len(p.Metrics) == maxMetrics {
				return fmt.Errorf("%w: more than %d metrics", ErrPayload, maxMetrics)
			}
			if len(p.Metrics) < cap(p.Metrics) {
				p.Metrics = p.Metrics[:len(p.Metrics)+1]
			} else {
				p.Metrics = append(p.Metrics, Metric{})
			}
			return p.Metrics[len(p.Metrics)-1].decode(raw)
		case num == 3 && typ == protowire.VarintType:
			p.Seq, p.HasSeq = v, true
		case num == 5 && typ == protowire.BytesType:
			p.Body = raw
		}
		return nil
	})
}

func (m *Metric) decode(b []byte) error {
	*m = Metric{Properties: m.Properties[:0]}
	return fields(b, func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error {
		switch {
		case num >= 10:
			setValue(&m.Value, num-10, typ, v, raw)
		case num == 1 && typ == protowire.BytesType:
			m.Name = raw
		case num == 9 && typ == protowire.BytesType:
			return m.decodeProperties(raw)
		case typ != protowire.VarintType: // metadata: not used
		case num == 2:
			m.Alias, m.HasAlias = v, true
		case num == 3:
			m.Timestamp, m.HasTimestamp = v, true
		case num == 4:
			m.Type = Datatype(v)
		case num == 5:
			m.Historical = v != 0
		case num == 7:
			m.Null = v != 0
		}
		return nil
	})
}

func (m *Metric) decodeProperties(b []byte) error {
	keys, values := 0, 0
	slot := func(i int) *Property {
		for len(m.Properties) <= i {
			m.Properties = append(m.Properties, Property{})
		}
		return &m.Properties[i]
	}
	err := fields(b, func(num protowire.Number, typ protowire.Type, _ uint64, raw []byte) error {
		if typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			slot(keys).Key = raw
			keys++
		case 2:
			p := slot(values)
			values++
			return fields(raw, func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error {
				switch {
				case num >= 3:
					setValue(&p.Value, num-3, typ, v, raw)
				case num == 1 && typ == protowire.VarintType:
					p.Type = Datatype(v)
				case num == 2 && typ == protowire.VarintType:
					p.Null = v != 0
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && keys != values { // [tck-id-payloads-propertyset-values-array-size]
		return fmt.Errorf("%w: %d property keys, %d values", ErrPayload, keys, values)
	}
	return err
}

func setValue(dst *Value, off protowire.Number, typ protowire.Type, v uint64, raw []byte) {
	switch {
	case off == 0 && typ == protowire.VarintType:
		*dst = Value{Kind: IntValue, Bits: v}
	case off == 1 && typ == protowire.VarintType:
		*dst = Value{Kind: LongValue, Bits: v}
	case off == 2 && typ == protowire.Fixed32Type:
		*dst = Value{Kind: FloatValue, Bits: v}
	case off == 3 && typ == protowire.Fixed64Type:
		*dst = Value{Kind: DoubleValue, Bits: v}
	case off == 4 && typ == protowire.VarintType:
		*dst = Value{Kind: BoolValue, Bits: v}
	case off == 5 && typ == protowire.BytesType:
		*dst = Value{Kind: StringValue, Raw: raw}
	case off == 6 && typ == protowire.BytesType:
		*dst = Value{Kind: BytesValue, Raw: raw}
	case off > 6 && typ == protowire.BytesType:
		*dst = Value{Kind: OtherValue, Raw: raw}
	}
}

// fields walks the fields of one protobuf message.
func fields(b []byte, f func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return fmt.Errorf("%w: %w", ErrPayload, protowire.ParseError(n))
		}
		b = b[n:]
		var v uint64
		var raw []byte
		switch typ {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v32 uint32
			v32, n = protowire.ConsumeFixed32(b)
			v = uint64(v32)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			raw, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return fmt.Errorf("%w: field %d: %w", ErrPayload, num, protowire.ParseError(n))
		}
		b = b[n:]
		if err := f(num, typ, v, raw); err != nil {
			return err
		}
	}
	return nil
}
