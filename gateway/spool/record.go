package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// errPayload is what decoding wraps: a frame with a good checksum that this
// version can't read.
var errPayload = errors.New("spool record is not readable")

// shape is a device with its quantities in order; samples refer to it by id.
// Ids count from 0 within an epoch and are never reused.
type shape struct {
	device     string
	quantities []string
}

// head is what every numbered record begins with.
type head struct {
	kind    kind
	number  uint64
	time    int64  // CLOCK_BOOTTIME in milliseconds
	ordinal uint32 // of the mapping that stamps it; 0 = the first of its boot
}

// entry finds a numbered record in a segment.
type entry struct {
	head
	off, end int32
}

// reader consumes a payload; after the first error it returns zeros.
type reader struct {
	b   []byte
	err bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.err, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.err, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) fixed64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() string { return string(r.bytes(r.uvarint())) }

// done returns an error if something failed or is left over.
func (r *reader) done(what string) error {
	if r.err || len(r.b) > 0 {
		return fmt.Errorf("%w: %s", errPayload, what)
	}
	return nil
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

const formatVersion = 1

func appendContext(dst []byte, id SegmentID, boot clock.BootID) []byte {
	dst = append(dst, byte(kindContext), formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(id.Epoch))
	dst = append(dst, boot[:]...)
	dst = binary.AppendUvarint(dst, id.Base)
	return binary.AppendVarint(dst, id.BaseTime)
}

func parseContext(payload []byte) (id SegmentID, boot clock.BootID, err error) {
	r := reader{b: payload[1:]}
	if v := r.byte(); v != formatVersion {
		return id, boot, fmt.Errorf("%w: format version %d, this program knows %d", errPayload, v, formatVersion)
	}
	id.Epoch = telemetry.Epoch(r.fixed64())
	copy(boot[:], r.bytes(16))
	id.Base = r.uvarint()
	id.BaseTime = r.varint()
	return id, boot, r.done("context")
}

func appendShape(dst []byte, id uint64, s shape) []byte {
	dst = binary.AppendUvarint(append(dst, byte(kindShape)), id)
	dst = appendString(dst, s.device)
	for _, q := range s.quantities {
		dst = appendString(dst, q)
	}
	return dst
}

func parseShape(payload []byte) (id uint64, s shape, err error) {
	r := reader{b: payload[1:]}
	id = r.uvarint()
	s.device = r.string()
	for len(r.b) > 0 {
		s.quantities = append(s.quantities, r.string())
	}
	return id, s, r.done("shape")
}

func appendHead(dst []byte, id SegmentID, h head) []byte {
	dst = binary.AppendUvarint(append(dst, byte(h.kind)), h.number-id.Base)
	dst = binary.AppendVarint(dst, h.time-id.BaseTime)
	return binary.AppendUvarint(dst, uint64(h.ordinal))
}

func parseHead(payload []byte, id SegmentID) (head, *reader, error) {
	r := &reader{b: payload[1:]}
	h := head{kind: kind(payload[0])}
	h.number = id.Base + r.uvarint()
	h.time = id.BaseTime + r.varint()
	o := r.uvarint()
	h.ordinal = uint32(o)
	if r.err || o > math.MaxUint32 || h.number < id.Base || h.number == 0 {
		return h, r, fmt.Errorf("%w: head", errPayload)
	}
	return h, r, nil
}

func appendSample(dst []byte, id SegmentID, h head, shapeID uint64, readings []telemetry.Reading) []byte {
	dst = binary.AppendUvarint(appendHead(dst, id, h), shapeID)
	for i := range readings {
		dst = appendReading(dst, &readings[i])
	}
	return dst
}

// parseSample reads what follows the head.
func parseSample(r *reader, shapes map[uint64]shape) (device string, readings []telemetry.Reading, err error) {
	id := r.uvarint()
	s, ok := shapes[id]
	if !ok {
		return "", nil, fmt.Errorf("%w: its list of quantities (%d) is missing", errPayload, id)
	}
	readings = make([]telemetry.Reading, len(s.quantities))
	for i, q := range s.quantities {
		readings[i].Quantity = q
		parseReading(r, &readings[i])
	}
	return s.device, readings, r.done("sample")
}

func appendLoss(dst []byte, id SegmentID, h head, l telemetry.Loss) []byte {
	dst = appendHead(dst, id, h)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Epoch))
	dst = binary.AppendUvarint(dst, l.From)
	dst = binary.AppendUvarint(dst, l.To-l.From)
	return appendString(dst, string(l.Reason))
}

func parseLoss(r *reader) (telemetry.Loss, error) {
	l := telemetry.Loss{Epoch: telemetry.Epoch(r.fixed64()), From: r.uvarint()}
	l.To = l.From + r.uvarint()
	l.Reason = telemetry.LossReason(r.string())
	if l.Epoch == 0 || l.From == 0 || l.To < l.From {
		r.err = true
	}
	return l, r.done("loss")
}

func appendMapping(dst []byte, m clock.Mapping) []byte {
	dst = append(append(dst, byte(kindMapping)), m.Boot[:]...)
	dst = binary.AppendUvarint(dst, uint64(m.Ordinal))
	dst = binary.AppendVarint(dst, m.From)
	dst = binary.AppendVarint(dst, m.Offset)
	dst = append(dst, byte(m.Quality))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(m.ID.Epoch))
	return binary.AppendUvarint(dst, uint64(m.ID.Counter))
}

func parseMapping(payload []byte) (m clock.Mapping, err error) {
	r := reader{b: payload[1:]}
	copy(m.Boot[:], r.bytes(16))
	m.Ordinal = uint32(r.uvarint())
	m.From = r.varint()
	m.Offset = r.varint()
	m.Quality = telemetry.TimeQuality(r.byte())
	m.ID.Epoch = telemetry.Epoch(r.fixed64())
	m.ID.Counter = uint32(r.uvarint())
	if m.Ordinal == 0 || m.Quality > telemetry.TimeNTP {
		r.err = true
	}
	return m, r.done("mapping")
}

func appendAcks(dst []byte, e telemetry.Epoch, spans Spans) []byte {
	dst = binary.LittleEndian.AppendUint64(append(dst, byte(kindAcks)), uint64(e))
	var last uint64
	for _, s := range spans {
		dst = binary.AppendUvarint(dst, s.From-last)
		dst = binary.AppendUvarint(dst, s.To-s.From)
		last = s.To
	}
	return dst
}

func parseAcks(payload []byte) (e telemetry.Epoch, spans Spans, err error) {
	r := reader{b: payload[1:]}
	e = telemetry.Epoch(r.fixed64())
	var last uint64
	for len(r.b) > 0 {
		s := Span{From: last + r.uvarint()}
		s.To = s.From + r.uvarint()
		if s.From == 0 || s.From < last || s.To < s.From {
			r.err = true
			break
		}
		spans.Add(s.From, s.To)
		last = s.To
	}
	return e, spans, r.done("acks")
}

// A reading is a tag (low nibble the form of its value, then bits for what
// follows), the flag, the value, and for a mean the count, the forms of minimum
// and maximum, minimum and maximum. A number takes the shortest form that gives
// back the same bits: a scaled integer (12.3 is 123 and one decimal), a float32,
// or a float64.
const (
	formFloat32 = 8 // 0-7: zigzag varint, divided by 10 to that power
	formFloat64 = 9
	formFalse   = 10
	formTrue    = 11
	formText    = 12
	formGap     = 13

	tagFlag  = 0x10
	tagStats = 0x20
)

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7}

// gaps are the reasons that have a code, which is their place; others are text.
// The order never changes.
var gaps = []telemetry.GapReason{
	telemetry.GapNoAnswer, telemetry.GapChecksum, telemetry.GapBus, telemetry.GapTimeout,
	telemetry.GapNotReady, telemetry.GapNotNumber, telemetry.GapProtocol, telemetry.GapUnexpected,
}

const gapText = 255

func appendNumber(dst []byte, v float64) ([]byte, byte) {
	size, form := 8, byte(formFloat64)
	var scaled int64
	if float64(float32(v)) == v {
		size, form = 4, formFloat32
	}
	if v != 0 || !math.Signbit(v) { // minus zero keeps its sign as a float
		for k, p := range powers {
			x := math.Round(v * p)
			if math.Abs(x) >= 1<<53 {
				break
			}
			if x/p != v {
				continue
			}
			var b [binary.MaxVarintLen64]byte
			if n := binary.PutVarint(b[:], int64(x)); n <= size {
				form, scaled = byte(k), int64(x)
			}
			break
		}
	}
	switch form {
	case formFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(v))), form
	case formFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), form
	}
	return binary.AppendVarint(dst, scaled), form
}

func (r *reader) number(form byte) float64 {
	switch {
	case form < formFloat32:
		return float64(r.varint()) / powers[form]
	case form == formFloat32:
		if b := r.bytes(4); b != nil {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}
	case form == formFloat64:
		return math.Float64frombits(r.fixed64())
	}
	r.err = true
	return 0
}

func appendReading(dst []byte, rd *telemetry.Reading) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if rd.Gap != telemetry.GapNone {
		dst[at] = formGap
		if i := slices.Index(gaps, rd.Gap); i >= 0 {
			return append(dst, byte(i))
		}
		return appendString(append(dst, gapText), string(rd.Gap))
	}
	if rd.Flag != telemetry.FlagNone {
		dst[at] |= tagFlag
		dst = append(dst, byte(rd.Flag))
	}
	switch rd.Value.Type {
	case telemetry.Text:
		dst[at] |= formText
		return appendString(dst, rd.Value.Text)
	case telemetry.Bool:
		if rd.Value.Number != 0 {
			dst[at] |= formTrue
		} else {
			dst[at] |= formFalse
		}
		return dst
	}
	var form, low, high byte
	dst, form = appendNumber(dst, rd.Value.Number)
	dst[at] |= form
	if rd.Count > 1 {
		dst[at] |= tagStats
		dst = binary.AppendUvarint(dst, uint64(rd.Count))
		forms := len(dst)
		dst = append(dst, 0)
		dst, low = appendNumber(dst, rd.Min)
		dst, high = appendNumber(dst, rd.Max)
		dst[forms] = low | high<<4
	}
	return dst
}

func parseReading(r *reader, rd *telemetry.Reading) {
	tag := r.byte()
	if tag&tagFlag != 0 {
		rd.Flag = telemetry.Flag(r.byte())
		if rd.Flag > telemetry.FlagTimeFuture {
			r.err = true
			return
		}
	}
	switch form := tag & 0x0f; form {
	case formGap:
		code := r.byte()
		switch {
		case code == gapText:
			rd.Gap = telemetry.GapReason(r.string())
		case int(code) < len(gaps):
			rd.Gap = gaps[code]
		default:
			r.err = true
		}
		if rd.Gap == telemetry.GapNone {
			r.err = true
		}
	case formText:
		rd.Value = telemetry.Value{Type: telemetry.Text, Text: r.string()}
	case formFalse:
		rd.Value = telemetry.Value{Type: telemetry.Bool}
	case formTrue:
		rd.Value = telemetry.Value{Type: telemetry.Bool, Number: 1}
	default:
		rd.Value = telemetry.Num(r.number(form))
	}
	if tag&tagStats != 0 {
		rd.Count = uint32(r.uvarint())
		forms := r.byte()
		rd.Min = r.number(forms & 0x0f)
		rd.Max = r.number(forms >> 4)
	}
}
