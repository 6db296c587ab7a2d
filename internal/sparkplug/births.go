package sparkplug

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Names of metrics with a meaning of their own.
const (
	MetricBdSeq     = "bdSeq"
	MetricRebirth   = "Node Control/Rebirth" // [tck-id-operational-behavior-data-commands-rebirth-name]
	MetricWire      = "Pantau/Wire"          // in NBIRTH: 1 = names are device/quantity, data carry Pantau/Run
	MetricEpochs    = "Pantau/Epochs"        // in NBIRTH: the epochs that still lie in the spool
	MetricSimulated = "Pantau/Simulated"     // in NBIRTH: the sensors are simulated
	MetricVersion   = "Pantau/Version"       // in NBIRTH: the gateway program's version
	MetricRun       = "Pantau/Run"           // in NDATA: which records these are
	MetricTime      = "Pantau/Time"          // in NCMD: the server's UTC, Unix milliseconds; in NBIRTH: the node takes it
)

// In NBIRTH, below a device's name: what its part tells of itself, as far as it
// does. They are of the birth alone, never data.
const (
	MetricFirmware = "Properties/Firmware"
	MetricSerial   = "Properties/Serial"
)

// Aliases of our own metrics; those of quantities start at FirstAlias.
const (
	aliasRun   = 0
	FirstAlias = 1
)

// Keys of properties on metrics.
const (
	PropQuality  = "Quality"  // Sparkplug's own: QualityGood, or what must not count
	PropUnit     = "engUnit"  // in births: the unit
	PropInterval = "interval" // in births: milliseconds between two values
	PropFlag     = "flag"     // in data: a telemetry.Flag
	PropGap      = "gap"      // in data, on a null metric: a telemetry.GapReason
	PropCount    = "n"        // in data: samples behind a mean
	PropMin      = "min"
	PropMax      = "max"
)

// Sparkplug's quality codes. [tck-id-payloads-propertyset-quality-value-value]
const (
	QualityBad   = 0
	QualityGood  = 192
	QualityStale = 500
)

// Definition is what a birth says of one metric.
type Definition struct {
	Alias    uint64
	HasAlias bool
	Name     string // as on the wire
	Device   string // before the '/', or the topic's device
	Quantity string // after the '/', or the name
	Type     Datatype
	Unit     telemetry.Unit
	Interval time.Duration // 0 = not said
}

// Birth is a decoded NBIRTH or DBIRTH.
type Birth struct {
	Time        int64 // Unix milliseconds UTC of the payload
	BdSeq       uint64
	HasBdSeq    bool
	Wire        int // 1 for our gateways, 0 for others
	Simulated   bool
	Version     string
	Epochs      []telemetry.EpochFloor
	Identities  map[string]telemetry.Identity // of a gateway's devices whose parts told one
	Definitions []Definition
	// Current holds newest readings by their definitions' places; it may be
	// shorter than those. AppendBirth writes it, ParseBirth does not read it.
	Current []Current
	byAlias map[uint64]int
	byName  map[string]int
	dense   []int32 // by alias, -1 = none; as far as aliases are small numbers
}

// Current is the newest reading of a definition. For our server it is a repeat,
// which only a numbered record can store; other hosts have no other way to know
// the value after a rebirth.
type Current struct {
	Time    int64 // Unix milliseconds UTC; 0 = there is no reading yet
	Reading telemetry.Reading
}

// AppendBirth writes the NBIRTH of one of our gateways: bdSeq, the rebirth
// control, the profile's own metrics and one metric a definition.
// Definitions need Alias ≥ FirstAlias, Device, Quantity, Type and Unit.
//
// [tck-id-message-flow-edge-node-birth-publish-nbirth-payload] [tck-id-topics-nbirth-timestamp]
// [tck-id-payloads-nbirth-timestamp] [tck-id-payloads-nbirth-seq]
func AppendBirth(dst []byte, now int64, seq uint64, b *Birth) []byte {
	ts := uint64(now)
	// [tck-id-payloads-metric-datatype-req] [tck-id-payloads-name-birth-data-requirement]
	metric := func(name string, t Datatype, v Value) Metric {
		return Metric{Name: []byte(name), Timestamp: ts, HasTimestamp: true, Type: t, Value: v}
	}
	p := Payload{Timestamp: ts, HasTimestamp: true, Seq: seq, HasSeq: true}
	p.Metrics = append(p.Metrics,
		// [tck-id-payloads-nbirth-bdseq] [tck-id-topics-nbirth-bdseq-included]
		// [tck-id-message-flow-edge-node-birth-publish-nbirth-payload-bdSeq]
		metric(MetricBdSeq, TypeInt64, Long(int64(b.BdSeq))),
		// [tck-id-topics-nbirth-rebirth-metric] [tck-id-payloads-nbirth-rebirth-req]
		// [tck-id-operational-behavior-data-commands-rebirth-datatype]
		// [tck-id-operational-behavior-data-commands-rebirth-value]
		// without alias [tck-id-operational-behavior-data-commands-rebirth-name-aliases]
		metric(MetricRebirth, TypeBoolean, Boolean(false)),
		metric(MetricWire, TypeInt32, Int(1)),
		metric(MetricSimulated, TypeBoolean, Boolean(b.Simulated)),
		metric(MetricVersion, TypeString, String(b.Version)),
		metric(MetricEpochs, TypeBytes, Bytes(appendEpochs(nil, b.Epochs))),
	)
	takesTime := metric(MetricTime, TypeInt64, Value{})
	takesTime.Null = true
	run := metric(MetricRun, TypeBytes, Value{})
	run.Null, run.HasAlias, run.Alias = true, true, aliasRun
	p.Metrics = append(p.Metrics, takesTime, run)
	for _, device := range slices.Sorted(maps.Keys(b.Identities)) {
		id := b.Identities[device].Clean()
		for _, told := range [...][2]string{{MetricFirmware, id.Firmware}, {MetricSerial, id.Serial}} {
			if told[1] != "" {
				p.Metrics = append(p.Metrics, metric(device+"/"+told[0], TypeString, String(told[1])))
			}
		}
	}
	for i, d := range b.Definitions {
		// [tck-id-topics-nbirth-metrics] [tck-id-operational-behavior-data-publish-nbirth-values]
		m := metric(d.Device+"/"+d.Quantity, d.Type, Value{})
		m.Null, m.HasAlias, m.Alias = true, true, d.Alias // [tck-id-payloads-alias-birth-requirement]
		if i < len(b.Current) && b.Current[i].Time != 0 {
			m.Timestamp = uint64(b.Current[i].Time)
			m.Properties = m.carry(&b.Current[i].Reading, nil)
		}
		m.Properties = append(m.Properties, Property{Key: []byte(PropUnit), Type: TypeString, Value: String(string(d.Unit))})
		if d.Interval > 0 {
			m.Properties = append(m.Properties, Property{Key: []byte(PropInterval), Type: TypeInt64, Value: Long(d.Interval.Milliseconds())})
		}
		p.Metrics = append(p.Metrics, m)
	}
	return AppendPayload(dst, &p)
}

// AppendDeath writes the NDEATH, which goes into the MQTT will, too: bdSeq and
// nothing else. [tck-id-payloads-ndeath-bdseq] [tck-id-topics-ndeath-payload]
// [tck-id-payloads-ndeath-seq] [tck-id-topics-ndeath-seq]
// [tck-id-message-flow-edge-node-birth-publish-will-message-payload]
func AppendDeath(dst []byte, now int64, bdSeq uint64) []byte {
	return AppendPayload(dst, &Payload{Timestamp: uint64(now), HasTimestamp: true, Metrics: []Metric{{
		Name: []byte(MetricBdSeq), Timestamp: uint64(now), HasTimestamp: true, Type: TypeInt64, Value: Long(int64(bdSeq)),
	}}})
}

// AppendCommand writes an NCMD with one metric, for example MetricTime or
// MetricRebirth: under its name, since neither has an alias.
// [tck-id-topics-ncmd-timestamp] [tck-id-payloads-ncmd-timestamp]
// [tck-id-payloads-ncmd-seq] [tck-id-payloads-name-cmd-requirement] [tck-id-topics-ncmd-payload]
func AppendCommand(dst []byte, now int64, name string, t Datatype, v Value) []byte {
	return AppendPayload(dst, &Payload{Timestamp: uint64(now), HasTimestamp: true, Metrics: []Metric{{
		Name: []byte(name), Timestamp: uint64(now), HasTimestamp: true, Type: t, Value: v,
	}}})
}

// Names reports whether the payload has a metric of that name.
func (p *Payload) Names(name string) bool {
	return slices.ContainsFunc(p.Metrics, func(m Metric) bool { return string(m.Name) == name })
}

// BdSeq finds the bdSeq of an NDEATH.
func (p *Payload) BdSeq() (uint64, bool) {
	for i := range p.Metrics {
		if string(p.Metrics[i].Name) == MetricBdSeq {
			return p.Metrics[i].Value.Bits, p.Metrics[i].Value.Kind != NoValue
		}
	}
	return 0, false
}

// ErrBirth is what ParseBirth wraps.
var ErrBirth = errors.New("birth certificate is not usable")

// ParseBirth reads an NBIRTH (device "") or a DBIRTH. It copies what it keeps.
// Every metric needs a name; names and aliases must be unique.
func ParseBirth(p *Payload, device string) (*Birth, error) {
	b := &Birth{Time: int64(p.Timestamp), byAlias: map[uint64]int{}, byName: map[string]int{}}
	for i := range p.Metrics {
		if string(p.Metrics[i].Name) == MetricWire && device == "" {
			b.Wire = int(p.Metrics[i].Value.Bits)
		}
	}
	if b.Wire < 0 || b.Wire > 1 {
		return nil, fmt.Errorf("%w: %s is %d, this server knows 1: update the server first", ErrBirth, MetricWire, b.Wire)
	}
	for i := range p.Metrics {
		m := &p.Metrics[i]
		switch name := string(m.Name); name {
		case "":
			return nil, fmt.Errorf("%w: metric %d has no name", ErrBirth, i) // [tck-id-payloads-name-requirement]
		case MetricBdSeq:
			b.BdSeq, b.HasBdSeq = m.Value.Bits, true
			continue
		case MetricSimulated:
			b.Simulated = m.Value.Bits&1 == 1
			continue
		case MetricVersion:
			b.Version = string(m.Value.Raw)
			continue
		case MetricEpochs:
			var err error
			if b.Epochs, err = parseEpochs(m.Value.Raw); err != nil {
				return nil, err
			}
			continue
		case MetricWire, MetricTime:
			continue
		default:
			if strings.HasPrefix(name, "Node Control/") || strings.HasPrefix(name, "Device Control/") {
				continue
			}
		}
		if m.Type == TypeTemplate && defines(m.Value.Raw) {
			continue // a type, no metric
		}
		d := Definition{Name: string(m.Name), Alias: m.Alias, HasAlias: m.HasAlias, Type: m.Type, Device: device}
		d.Quantity = d.Name
		if b.Wire == 1 && d.Name != MetricRun {
			var ok bool
			if d.Device, d.Quantity, ok = strings.Cut(d.Name, "/"); !ok {
				return nil, fmt.Errorf("%w: metric %q is not device/quantity", ErrBirth, d.Name)
			}
			if b.identify(&d, m) {
				continue
			}
		}
		if u, ok := m.Property(PropUnit); ok && u.Value.Kind == StringValue {
			d.Unit = telemetry.ParseUnit(string(u.Value.Raw))
		}
		if u, ok := m.Property(PropInterval); ok && u.Value.Kind == LongValue && u.Value.Bits < uint64(366*24*time.Hour/time.Millisecond) {
			d.Interval = time.Duration(u.Value.Bits) * time.Millisecond
		}
		if _, twice := b.byName[d.Name]; twice {
			return nil, fmt.Errorf("%w: metric %q stands twice", ErrBirth, d.Name)
		}
		b.byName[d.Name] = len(b.Definitions)
		if d.HasAlias {
			if other, twice := b.byAlias[d.Alias]; twice {
				return nil, fmt.Errorf("%w: alias %d names both %q and %q", ErrBirth, d.Alias, b.Definitions[other].Name, d.Name)
			}
			b.byAlias[d.Alias] = len(b.Definitions)
		}
		b.Definitions = append(b.Definitions, d)
	}
	b.index()
	return b, nil
}

// identify takes a metric that tells of a device's part; it is no definition, so
// nothing can be stored under its name.
func (b *Birth) identify(d *Definition, m *Metric) bool {
	if d.Quantity != MetricFirmware && d.Quantity != MetricSerial {
		return false
	}
	id := b.Identities[d.Device]
	switch {
	case m.Value.Kind != StringValue:
	case d.Quantity == MetricFirmware:
		id.Firmware = string(m.Value.Raw)
	default:
		id.Serial = string(m.Value.Raw)
	}
	if id = id.Clean(); id != (telemetry.Identity{}) {
		if b.Identities == nil {
			b.Identities = map[string]telemetry.Identity{}
		}
		b.Identities[d.Device] = id
	}
	return true
}

// defines reports whether a template says what its instances look like, instead
// of being one.
func defines(template []byte) bool {
	definition := false
	err := fields(template, func(num protowire.Number, typ protowire.Type, v uint64, _ []byte) error {
		if num == 5 && typ == protowire.VarintType {
			definition = v != 0
		}
		return nil
	})
	return definition && err == nil
}

// index makes the table of small aliases: data are looked up metric by metric.
func (b *Birth) index() {
	few := uint64(4*len(b.Definitions) + 64)
	for alias, i := range b.byAlias {
		if alias >= few {
			continue
		}
		for uint64(len(b.dense)) <= alias {
			b.dense = append(b.dense, -1)
		}
		b.dense[alias] = int32(i)
	}
}

// Definition finds what a DATA metric means, by alias or by name: its place in
// Definitions.
func (b *Birth) Definition(m *Metric) (place int, ok bool) {
	if !m.HasAlias || len(m.Name) > 0 {
		place, ok = b.byName[string(m.Name)]
		return place, ok
	}
	if m.Alias < uint64(len(b.dense)) {
		place = int(b.dense[m.Alias])
		return place, place >= 0
	}
	place, ok = b.byAlias[m.Alias]
	return place, ok
}

func appendEpochs(dst []byte, epochs []telemetry.EpochFloor) []byte {
	for _, e := range epochs {
		var one []byte
		one = protowire.AppendFixed64(protowire.AppendTag(one, 1, protowire.Fixed64Type), uint64(e.Epoch))
		one = appendVarint(one, 2, e.Lowest)
		dst = appendBytes(dst, 1, one)
	}
	return dst
}

func parseEpochs(b []byte) ([]telemetry.EpochFloor, error) {
	var out []telemetry.EpochFloor
	err := fields(b, func(num protowire.Number, typ protowire.Type, _ uint64, raw []byte) error {
		if num != 1 || typ != protowire.BytesType {
			return nil
		}
		var e telemetry.EpochFloor
		err := fields(raw, func(num protowire.Number, _ protowire.Type, v uint64, _ []byte) error {
			switch num {
			case 1:
				e.Epoch = telemetry.Epoch(v)
			case 2:
				e.Lowest = v
			}
			return nil
		})
		if err == nil && (e.Epoch == 0 || e.Lowest == 0) {
			return fmt.Errorf("%w: %s lists epoch %v from number %d", ErrBirth, MetricEpochs, e.Epoch, e.Lowest)
		}
		out = append(out, e)
		return err
	})
	return out, err
}
