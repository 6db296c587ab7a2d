package ingest

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Line protocol, written by hand: one point is one line, and a reading costs no
// allocation. Syntax: docs.influxdata.com/influxdb/v1.8/write_protocols/line_protocol_reference.

var escapeTag = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)

// appendTag adds ",key=value", or nothing for an empty value, which line
// protocol has no form for. value must be a clean name.
func appendTag(dst []byte, key, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, ','), key...), '=')
	return append(dst, escapeTag.Replace(value)...)
}

// pointHead writes a point up to its fields: measurement and tags, sorted by
// key, which spares the database sorting them.
func pointHead(kind telemetry.Kind, node telemetry.Node, device string) []byte {
	dst := append([]byte(nil), kind...)
	dst = appendTag(dst, "device", device)
	dst = appendTag(dst, "gateway", cleanName(node.ID))
	dst = appendTag(dst, "group", cleanName(node.Group))
	return append(dst, ' ')
}

// appendNumber writes a finite float with the fewest digits that read back the
// same. Most measured values are short decimals: those are tried first, since
// an integer divided by a power of ten is rounded just as the decimal is when
// it is read.
func appendNumber(dst []byte, v float64) []byte {
	if a := math.Abs(v); a < 1e9 && (v != 0 || !math.Signbit(v)) {
		for digits, scale := 0, 1.0; digits <= 4; digits, scale = digits+1, scale*10 {
			scaled := math.Round(a * scale)
			if scaled/scale != a {
				continue
			}
			if v < 0 {
				dst = append(dst, '-')
			}
			n := uint64(scaled)
			if digits == 0 {
				return strconv.AppendUint(dst, n, 10)
			}
			unit := uint64(scale)
			dst = strconv.AppendUint(dst, n/unit, 10)
			dst = append(dst, '.')
			rest := n % unit
			for unit /= 10; unit > 0; unit /= 10 {
				dst = append(dst, byte('0'+rest/unit%10))
			}
			return dst
		}
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}

// appendText writes a string field's value.
func appendText(dst []byte, s string) []byte {
	if len(s) > maxText {
		cut := maxText
		for !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < 0x20 || c == 0x7f:
				dst = append(dst, ' ')
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return append(dst, '"')
}

// appendField adds the fields of one reading; key is the escaped name of its
// quantity. This is the one place that decides how a reading is stored:
//
//	valid number   q=1.5 and, of a mean, q_min=, q_max=, q_n=
//	valid bool     q_bool=true
//	valid text     q_text="…"
//	rejected       q_rejected=1.5,q_flag="range"   (text: q_text_rejected)
//	gap            q_gap="checksum"
func appendField(dst, key []byte, r *telemetry.Reading) []byte {
	switch {
	case r.Gap != telemetry.GapNone:
		dst = append(append(append(dst, key...), suffixGap...), '=')
		return appendText(dst, string(knownGap(r.Gap)))
	case r.Flag != telemetry.FlagNone:
		dst = append(dst, key...)
		if r.Value.Type == telemetry.Text {
			dst = append(append(append(dst, suffixText...), suffixRejected...), '=')
			dst = appendText(dst, r.Value.Text)
		} else {
			dst = append(append(dst, suffixRejected...), '=')
			dst = appendNumber(dst, r.Value.Number)
		}
		dst = append(append(append(append(dst, ','), key...), suffixFlag...), '=')
		return appendText(dst, r.Flag.String())
	case r.Value.Type == telemetry.Bool:
		dst = append(append(append(dst, key...), suffixBool...), '=')
		return strconv.AppendBool(dst, r.Value.Number != 0)
	case r.Value.Type == telemetry.Text:
		dst = append(append(append(dst, key...), suffixText...), '=')
		return appendText(dst, r.Value.Text)
	}
	dst = append(append(dst, key...), '=')
	dst = appendNumber(dst, r.Value.Number)
	if r.Count > 1 && finite(r.Min) && finite(r.Max) {
		dst = append(append(append(append(dst, ','), key...), suffixMin...), '=')
		dst = appendNumber(dst, r.Min)
		dst = append(append(append(append(dst, ','), key...), suffixMax...), '=')
		dst = appendNumber(dst, r.Max)
		dst = append(append(append(append(dst, ','), key...), suffixCount...), '=')
		dst = strconv.AppendUint(dst, uint64(r.Count), 10)
	}
	return dst
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// knownGap maps a reason that a device made up to the one for such.
func knownGap(r telemetry.GapReason) telemetry.GapReason {
	switch r {
	case telemetry.GapNoAnswer, telemetry.GapChecksum, telemetry.GapBus, telemetry.GapTimeout, telemetry.GapNotReady,
		telemetry.GapNotNumber, telemetry.GapProtocol:
		return r
	}
	return telemetry.GapUnexpected
}

// maxTime is the last millisecond whose points fit InfluxDB's nanoseconds.
const maxTime = math.MaxInt64/1_000_000 - 1

// maxClocks is how many clock ids one gateway may use up: ten a day for 27
// years. A point's time has room for a million, the nanoseconds within a
// millisecond, but each is kept for ever.
const maxClocks = 100_000

// appendTime writes " <ns>\n": the record's millisecond, and in the rest the
// clock id's number, so that the same minute under another clock is another
// point.
func appendTime(dst []byte, ms int64, clock uint32) []byte {
	dst = append(dst, ' ')
	if ms > 0 {
		dst = strconv.AppendInt(dst, ms, 10)
		for unit := uint32(100_000); unit > 0; unit /= 10 {
			dst = append(dst, byte('0'+clock/unit%10))
		}
	} else {
		dst = strconv.AppendInt(dst, int64(clock), 10)
	}
	return append(dst, '\n')
}
