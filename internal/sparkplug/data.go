package sparkplug

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Data is a decoded NDATA or DDATA. Its slices are reused by the next Resolve.
type Data struct {
	// Pantau says that Run is set and Records are numbered; otherwise the
	// message came from a foreign node and Records are grouped by time.
	Pantau     bool
	Run        telemetry.Run
	Historical bool // a foreign node marked at least one metric is_historical
	Records    []telemetry.Record
	// Places holds for every reading, in order, its place in the birth's Definitions.
	Places []int32
	// Unknown counts metrics that the birth does not know.
	Unknown  int
	readings []telemetry.Reading
	sizes    []uint64
	losses   []placedLoss
}

type placedLoss struct {
	index uint64
	loss  telemetry.Loss
}

// ErrData is what Resolve wraps.
var ErrData = errors.New("data do not fit their birth")

// Encoder writes the NDATA of our gateways. Its zero value is ready; it reuses
// its memory, and is not safe for concurrent use.
type Encoder struct {
	payload Payload
	props   []Property
	run     []byte
}

// AppendData writes one NDATA: run, then the records' readings in order, each
// under the alias that alias returns and nothing else: names and types stand in
// the birth. It returns an error if alias knows no number for a reading, if a
// value is not finite, or if run does not fit records.
//
// [tck-id-topics-ndata-timestamp] [tck-id-payloads-ndata-timestamp] [tck-id-payloads-ndata-seq]
// [tck-id-payloads-alias-data-cmd-requirement]
func (e *Encoder) AppendData(dst []byte, now int64, seq uint64, run telemetry.Run, records []telemetry.Record, alias func(device, quantity string) (uint64, bool)) ([]byte, error) {
	if run.Count != uint64(len(records)) || run.Count == 0 || run.Epoch == 0 {
		return dst, fmt.Errorf("encode run of epoch %v: count %d, %d records", run.Epoch, run.Count, len(records))
	}
	e.props = e.props[:0]
	p := &e.payload
	*p = Payload{Timestamp: uint64(now), HasTimestamp: true, Seq: seq, HasSeq: true, Metrics: p.Metrics[:0]}
	p.Metrics = append(p.Metrics, Metric{HasAlias: true, Alias: aliasRun, Timestamp: uint64(now), HasTimestamp: true})
	for i := range records {
		r := &records[i]
		if r.Number != run.First+uint64(i) {
			return dst, fmt.Errorf("encode run of epoch %v from %d: record %d stands at place %d", run.Epoch, run.First, r.Number, i)
		}
		for j := range r.Readings {
			rd := &r.Readings[j]
			a, ok := alias(r.Device, rd.Quantity)
			if !ok {
				return dst, fmt.Errorf("encode record %d: no alias for %s/%s in this birth", r.Number, r.Device, rd.Quantity)
			}
			m := Metric{HasAlias: true, Alias: a, Timestamp: uint64(r.Time), HasTimestamp: true, Historical: run.Backlog}
			if rd.Gap == telemetry.GapNone && !rd.Value.Finite() {
				return dst, fmt.Errorf("encode record %d: %s/%s is not a finite number: make it a gap", r.Number, r.Device, rd.Quantity)
			}
			from := len(e.props)
			e.props = m.carry(rd, e.props)
			m.Properties = e.props[from:len(e.props):len(e.props)]
			p.Metrics = append(p.Metrics, m)
		}
	}
	e.run = appendRun(e.run[:0], run, records)
	p.Metrics[0].Value = Bytes(e.run)
	return AppendPayload(dst, p), nil
}

// carry makes the metric that of a reading, which is finite or a gap, and
// returns props with what else is to be said of it.
func (m *Metric) carry(rd *telemetry.Reading, props []Property) []Property {
	add := func(key string, t Datatype, v Value) {
		props = append(props, Property{Key: []byte(key), Type: t, Value: v})
	}
	if m.Null = rd.Gap != telemetry.GapNone; m.Null {
		add(PropGap, TypeString, String(string(rd.Gap)))
		return props
	}
	m.Value = wireValue(rd.Value)
	if rd.Flag != telemetry.FlagNone {
		add(PropFlag, TypeString, String(rd.Flag.String()))
		add(PropQuality, TypeInt32, Int(QualityBad)) // for other hosts [tck-id-payloads-propertyset-quality-value-type]
	}
	if rd.Count > 1 {
		add(PropCount, TypeInt32, Int(int32(min(rd.Count, math.MaxInt32))))
		add(PropMin, TypeDouble, Double(rd.Min))
		add(PropMax, TypeDouble, Double(rd.Max))
	}
	return props
}

func wireValue(v telemetry.Value) Value {
	switch v.Type {
	case telemetry.Bool:
		return Boolean(v.Number != 0)
	case telemetry.Text:
		return String(v.Text)
	}
	return Double(v.Number)
}

// WireType is the data type under which our gateways announce a value type.
func WireType(t telemetry.ValueType) Datatype {
	switch t {
	case telemetry.Bool:
		return TypeBoolean
	case telemetry.Text:
		return TypeString
	}
	return TypeDouble
}

// The bytes of Pantau/Run are a protobuf message of their own:
// 1 epoch fixed64, 2 first, 3 clock epoch fixed64 (absent: the epoch), 4 clock
// counter, 5 time quality, 6 floor, 7 backlog, 8 packed number of metrics of
// each record, 9 losses {1 place in the run, 2 epoch fixed64, 3 from, 4 to, 5 reason}.
func appendRun(dst []byte, run telemetry.Run, records []telemetry.Record) []byte {
	dst = protowire.AppendFixed64(protowire.AppendTag(dst, 1, protowire.Fixed64Type), uint64(run.Epoch))
	dst = appendVarint(dst, 2, run.First)
	if run.Clock.Epoch != run.Epoch {
		dst = protowire.AppendFixed64(protowire.AppendTag(dst, 3, protowire.Fixed64Type), uint64(run.Clock.Epoch))
	}
	dst = appendVarint(dst, 4, uint64(run.Clock.Counter))
	dst = appendVarint(dst, 5, uint64(run.Quality))
	dst = appendVarint(dst, 6, run.Floor)
	if run.Backlog {
		dst = appendVarint(dst, 7, 1)
	}
	n := 0
	for i := range records {
		n += protowire.SizeVarint(uint64(len(records[i].Readings)))
	}
	dst = protowire.AppendTag(dst, 8, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(n))
	for i := range records {
		dst = protowire.AppendVarint(dst, uint64(len(records[i].Readings)))
	}
	for i := range records {
		if l := records[i].Loss; l != nil {
			var one []byte
			one = appendVarint(one, 1, uint64(i))
			one = protowire.AppendFixed64(protowire.AppendTag(one, 2, protowire.Fixed64Type), uint64(l.Epoch))
			one = appendVarint(one, 3, l.From)
			one = appendVarint(one, 4, l.To)
			one = appendBytes(one, 5, []byte(l.Reason))
			dst = appendBytes(dst, 9, one)
		}
	}
	return dst
}

func (d *Data) parseRun(b []byte) error {
	d.Run, d.sizes, d.losses = telemetry.Run{}, d.sizes[:0], d.losses[:0]
	err := fields(b, func(num protowire.Number, typ protowire.Type, v uint64, raw []byte) error {
		switch num {
		case 1:
			d.Run.Epoch = telemetry.Epoch(v)
		case 2:
			d.Run.First = v
		case 3:
			d.Run.Clock.Epoch = telemetry.Epoch(v)
		case 4:
			d.Run.Clock.Counter = uint32(v)
		case 5:
			d.Run.Quality = telemetry.TimeQuality(v)
		case 6:
			d.Run.Floor = v
		case 7:
			d.Run.Backlog = v != 0
		case 8:
			for len(raw) > 0 {
				s, n := protowire.ConsumeVarint(raw)
				if n < 0 {
					return fmt.Errorf("%w: %s: %w", ErrData, MetricRun, protowire.ParseError(n))
				}
				d.sizes = append(d.sizes, s)
				raw = raw[n:]
			}
		case 9:
			var l placedLoss
			err := fields(raw, func(num protowire.Number, _ protowire.Type, v uint64, raw []byte) error {
				switch num {
				case 1:
					l.index = v
				case 2:
					l.loss.Epoch = telemetry.Epoch(v)
				case 3:
					l.loss.From = v
				case 4:
					l.loss.To = v
				case 5:
					l.loss.Reason = telemetry.LossReason(raw)
				}
				return nil
			})
			if err != nil {
				return err
			}
			d.losses = append(d.losses, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if d.Run.Clock.Epoch == 0 {
		d.Run.Clock.Epoch = d.Run.Epoch
	}
	d.Run.Count = uint64(len(d.sizes))
	if d.Run.Epoch == 0 || d.Run.First == 0 || d.Run.Count == 0 || d.Run.First+d.Run.Count < d.Run.First ||
		d.Run.Floor == 0 || d.Run.Floor > d.Run.First || d.Run.Quality > telemetry.TimeNTP {
		return fmt.Errorf("%w: %s names no run of records: epoch %v, first %d, count %d, floor %d", ErrData, MetricRun,
			d.Run.Epoch, d.Run.First, d.Run.Count, d.Run.Floor)
	}
	return nil
}

// Resolve turns a DATA payload into records, by the birth b it belongs to. For
// our gateways every metric must be known and the run must fit; of a foreign
// node, unknown metrics are counted and left out. received (Unix milliseconds)
// stands in where a foreign metric and its payload carry no time.
func (d *Data) Resolve(p *Payload, b *Birth, received int64) error {
	d.Pantau, d.Historical, d.Unknown = b.Wire == 1, false, 0
	d.Records, d.readings, d.Places = d.Records[:0], d.readings[:0], d.Places[:0]
	if d.Pantau {
		return d.resolveRun(p, b)
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		place, ok := b.Definition(m)
		if !ok {
			d.Unknown++
			continue
		}
		def := &b.Definitions[place]
		ts := received
		switch {
		case m.HasTimestamp:
			ts = int64(m.Timestamp)
		case p.HasTimestamp:
			ts = int64(p.Timestamp)
		}
		d.Historical = d.Historical || m.Historical
		if n := len(d.Records); n == 0 || d.Records[n-1].Time != ts || d.Records[n-1].Device != def.Device {
			d.Records = append(d.Records, telemetry.Record{Device: def.Device, Time: ts})
		}
		d.readings, d.Places = append(d.readings, reading(m, def)), append(d.Places, int32(place))
		d.assign(len(d.Records)-1, 1)
	}
	return nil
}

// assign gives record i the last n readings. Growing d.readings may move it, so
// earlier records keep slices of the old array, which still hold their values.
func (d *Data) assign(i, n int) {
	r := &d.Records[i]
	if n == 1 && len(r.Readings) > 0 {
		n = len(r.Readings) + 1
	}
	r.Readings = d.readings[len(d.readings)-n : len(d.readings) : len(d.readings)]
}

func (d *Data) resolveRun(p *Payload, b *Birth) error {
	if len(p.Metrics) == 0 {
		return fmt.Errorf("%w: no metrics", ErrData)
	}
	run, ok := b.Definition(&p.Metrics[0])
	if !ok || b.Definitions[run].Name != MetricRun {
		return fmt.Errorf("%w: the first metric is not %s", ErrData, MetricRun)
	}
	if err := d.parseRun(p.Metrics[0].Value.Raw); err != nil {
		return err
	}
	metrics := p.Metrics[1:]
	for i, size := range d.sizes {
		if size > uint64(len(metrics)) {
			return fmt.Errorf("%w: record %d wants %d metrics, %d are left", ErrData, d.Run.First+uint64(i), size, len(metrics))
		}
		rec := telemetry.Record{Number: d.Run.First + uint64(i)}
		for j := range metrics[:size] {
			m := &metrics[j]
			place, ok := b.Definition(m)
			if !ok || place == run {
				return fmt.Errorf("%w: record %d: alias %d (%q) is not in the birth", ErrData, rec.Number, m.Alias, m.Name)
			}
			def := &b.Definitions[place]
			if j == 0 {
				rec.Device, rec.Time = def.Device, int64(m.Timestamp)
			} else if def.Device != rec.Device || int64(m.Timestamp) != rec.Time {
				return fmt.Errorf("%w: record %d mixes devices or times", ErrData, rec.Number)
			}
			d.readings, d.Places = append(d.readings, reading(m, def)), append(d.Places, int32(place))
		}
		d.Records = append(d.Records, rec)
		if size > 0 {
			r := &d.Records[i]
			r.Readings = d.readings[len(d.readings)-int(size) : len(d.readings) : len(d.readings)]
		}
		metrics = metrics[size:]
	}
	if len(metrics) > 0 {
		return fmt.Errorf("%w: %d metrics belong to no record", ErrData, len(metrics))
	}
	for _, l := range d.losses {
		if l.index >= d.Run.Count || l.loss.Epoch == 0 || l.loss.From == 0 || l.loss.To < l.loss.From {
			return fmt.Errorf("%w: loss of %v %d..%d at place %d", ErrData, l.loss.Epoch, l.loss.From, l.loss.To, l.index)
		}
		loss := l.loss
		d.Records[l.index].Loss = &loss
	}
	return nil
}

// reading reads one metric. A null metric is a gap; so is a number that is not
// finite, and a value whose type Pantau does not store. A value that its sender
// says is not good is flagged, whatever else it says.
func reading(m *Metric, def *Definition) telemetry.Reading {
	r := telemetry.Reading{Quantity: def.Quantity}
	good := true
	t := def.Type
	if m.Type != TypeUnknown {
		t = m.Type
	}
	for i := range m.Properties {
		p := &m.Properties[i]
		switch string(p.Key) {
		case PropQuality:
			// Makers refine the code of good as OPC does, up to 255.
			good = p.Null || p.Value.Kind != IntValue || p.Value.Bits >= QualityGood && p.Value.Bits < 256
		case PropFlag:
			var ok bool
			if r.Flag, ok = telemetry.ParseFlag(string(p.Value.Raw)); !ok {
				// A newer gateway flagged it for a reason that this program does not
				// know: it must not count as good.
				r.Flag = telemetry.FlagSensorFault
			}
		case PropGap:
			r.Gap = telemetry.GapReason(p.Value.Raw)
		case PropCount:
			r.Count = uint32(p.Value.Bits)
		case PropMin:
			r.Min, _ = p.Value.Float(TypeDouble)
		case PropMax:
			r.Max, _ = p.Value.Float(TypeDouble)
		}
	}
	if m.Null {
		if r.Gap == telemetry.GapNone {
			r.Gap = telemetry.GapNotReady
		}
		return r
	}
	r.Gap = telemetry.GapNone
	if !good && r.Flag == telemetry.FlagNone {
		r.Flag = telemetry.FlagSensorFault
	}
	switch m.Value.Kind {
	case BoolValue:
		r.Value = telemetry.Value{Type: telemetry.Bool, Number: float64(m.Value.Bits & 1)}
	case StringValue:
		r.Value = telemetry.Value{Type: telemetry.Text, Text: string(m.Value.Raw)}
	default:
		v, ok := m.Value.Float(t)
		r.Value = telemetry.Num(v)
		if !ok {
			r.Gap = telemetry.GapProtocol
		}
	}
	if !r.Value.Finite() {
		r.Value, r.Gap = telemetry.Value{}, telemetry.GapNotNumber
	}
	return r
}
