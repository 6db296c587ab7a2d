package influx

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Row is one quantity of one device over an hour or a day. It is stored at the
// span's start and named by its end. What does not apply is NaN: a mean has no
// Increase, a counter no Mean.
type Row struct {
	Kind     telemetry.Kind
	Node     telemetry.Node
	Device   string
	Quantity string
	Start    time.Time

	Mean, Min, Max float64 // AggMean, AggCircular (Mean only)
	First, Last    float64 // AggCounter, AggLast (Last only)
	Increase       float64 // AggCounter: within the span, resets bridged
	Resets         float64 // AggCounter
	Sum            float64 // AggSum

	Valid    int // values that count
	Expected int // by the interval in force; 0 = not known
	Rejected int
	Gaps     int
	Hours    int       // of a day: hours that reach the gate
	Computed time.Time // when
	// Why divides Rejected and Gaps; of a day, and of a row that was written before
	// there was this field, it is empty.
	Why Why
}

// Why counts what does not count, by name: rejected values by flag, gaps by reason,
// for example "gap:no_answer=2,stuck=3". Its zero value counts nothing.
type Why string

// whySuffix ends the one field of a row that is text.
const whySuffix = "_why_text"

const gapPrefix = "gap:"

// NewWhy writes counts.
func NewWhy(flags map[telemetry.Flag]int, gaps map[telemetry.GapReason]int) Why {
	names := map[string]int{}
	for f, n := range flags {
		names[f.String()] += n
	}
	for g, n := range gaps {
		// The reason comes over the wire; a text that is none of ours is not repeated.
		if len(g) > 32 || strings.ContainsFunc(string(g), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }) {
			g = telemetry.GapUnexpected
		}
		names[gapPrefix+string(g)] += n
	}
	out := make([]string, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, name+"="+strconv.Itoa(names[name]))
	}
	return Why(strings.Join(out, ","))
}

// Counts reads what NewWhy wrote; what it does not understand it leaves out. Maps
// without an entry are nil.
func (w Why) Counts() (flags, gaps map[string]int) {
	for part := range strings.SplitSeq(string(w), ",") {
		name, number, ok := strings.Cut(part, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n <= 0 {
			continue
		}
		of := &flags
		gap, isGap := strings.CutPrefix(name, gapPrefix)
		if isGap {
			name, of = gap, &gaps
		}
		if *of == nil {
			*of = map[string]int{}
		}
		(*of)[name] += n
	}
	return flags, gaps
}

// NewRow returns a row with nothing known but its place.
func NewRow(k telemetry.Kind, n telemetry.Node, device, quantity string, start time.Time) Row {
	nan := math.NaN()
	return Row{Kind: k, Node: n, Device: device, Quantity: quantity, Start: start,
		Mean: nan, Min: nan, Max: nan, First: nan, Last: nan, Increase: nan, Resets: nan, Sum: nan}
}

// rowFields are the fields of a quantity in the row buckets: suffix, and where
// the value lies. Every field has exactly one suffix.
var rowFields = [...]struct {
	suffix string
	get    func(*Row) float64
	set    func(*Row, float64)
}{
	{"_mean", func(r *Row) float64 { return r.Mean }, func(r *Row, v float64) { r.Mean = v }},
	{"_min", func(r *Row) float64 { return r.Min }, func(r *Row, v float64) { r.Min = v }},
	{"_max", func(r *Row) float64 { return r.Max }, func(r *Row, v float64) { r.Max = v }},
	{"_first", func(r *Row) float64 { return r.First }, func(r *Row, v float64) { r.First = v }},
	{"_last", func(r *Row) float64 { return r.Last }, func(r *Row, v float64) { r.Last = v }},
	{"_increase", func(r *Row) float64 { return r.Increase }, func(r *Row, v float64) { r.Increase = v }},
	{"_resets", func(r *Row) float64 { return r.Resets }, func(r *Row, v float64) { r.Resets = v }},
	{"_sum", func(r *Row) float64 { return r.Sum }, func(r *Row, v float64) { r.Sum = v }},
	{"_n", func(r *Row) float64 { return float64(r.Valid) }, func(r *Row, v float64) { r.Valid = int(v) }},
	{"_expected", func(r *Row) float64 { return float64(r.Expected) }, func(r *Row, v float64) { r.Expected = int(v) }},
	{"_rejected", func(r *Row) float64 { return float64(r.Rejected) }, func(r *Row, v float64) { r.Rejected = int(v) }},
	{"_gaps", func(r *Row) float64 { return float64(r.Gaps) }, func(r *Row, v float64) { r.Gaps = int(v) }},
	{"_hours", func(r *Row) float64 { return float64(r.Hours) }, func(r *Row, v float64) { r.Hours = int(v) }},
	{"_computed", func(r *Row) float64 { return float64(r.Computed.UnixMilli()) }, func(r *Row, v float64) { r.Computed = time.UnixMilli(int64(v)).UTC() }},
}

var escapeKey = strings.NewReplacer(",", `\,`, "=", `\=`, " ", `\ `)

// AppendRow writes a row as one line.
func AppendRow(dst []byte, r *Row) []byte {
	dst = append(dst, r.Kind...)
	for _, tag := range [...][2]string{{"device", r.Device}, {"gateway", r.Node.ID}, {"group", r.Node.Group}} {
		if tag[1] != "" {
			dst = append(append(append(append(dst, ','), tag[0]...), '='), escapeKey.Replace(tag[1])...)
		}
	}
	key := escapeKey.Replace(r.Quantity)
	comma := byte(' ')
	for _, f := range rowFields {
		v := f.get(r)
		if math.IsNaN(v) {
			// A row is computed anew over an old one, whose fields would stay: but
			// which of them a quantity has depends on its aggregation only.
			continue
		}
		dst = append(append(append(append(dst, comma), key...), f.suffix...), '=')
		dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
		comma = ','
	}
	if r.Why != "" {
		// Where it is empty an older one may stay: both counts are then zero, and who
		// reads goes by them.
		dst = append(append(append(append(dst, comma), key...), whySuffix...), `="`...)
		dst = append(append(dst, r.Why...), '"')
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, r.Start.UnixNano(), 10)
	return append(dst, '\n')
}

// WriteRows writes rows to Hours or Days.
func (c *Client) WriteRows(ctx context.Context, b Bucket, rows []Row) error {
	var lines []byte
	for i := range rows {
		lines = AppendRow(lines, &rows[i])
	}
	return c.Write(ctx, b, lines)
}

// Rows reads rows of Hours or Days, by start, in no order but that of each
// series' time.
func (c *Client) Rows(ctx context.Context, b Bucket, s Span) ([]Row, error) {
	fields := "*"
	if len(s.Quantities) > 0 {
		var names []string
		for _, q := range s.Quantities {
			for _, f := range rowFields {
				names = append(names, quoteName(q+f.suffix))
			}
			names = append(names, quoteName(q+whySuffix))
		}
		fields = strings.Join(append(names, `"group"`, `"gateway"`, `"device"`), ",")
	}
	var out []Row
	err := c.query(ctx, c.reader, http.MethodGet, b, s.statement(fields), func(kind string, columns []string, row []cell) error {
		of := Row{Kind: telemetry.Kind(strings.Clone(kind))}
		have := map[string]int{} // place in out by quantity
		for i, name := range columns {
			switch name {
			case "time":
				ns, err := strconv.ParseInt(row[i].text, 10, 64)
				if err != nil {
					return fmt.Errorf("read a row's time: %w", err)
				}
				of.Start = time.Unix(0, ns).UTC()
			case "group":
				of.Node.Group = strings.Clone(row[i].text)
			case "gateway":
				of.Node.ID = strings.Clone(row[i].text)
			case "device":
				of.Device = strings.Clone(row[i].text)
			}
		}
		place := func(quantity string) *Row {
			at, ok := have[quantity]
			if !ok {
				at = len(out)
				have[quantity] = at
				out = append(out, NewRow(of.Kind, of.Node, of.Device, quantity, of.Start))
			}
			return &out[at]
		}
		for i, name := range columns {
			if quantity, ok := strings.CutSuffix(name, whySuffix); ok && row[i].kind == cellText {
				place(quantity).Why = Why(strings.Clone(row[i].text))
				continue
			}
			if row[i].kind != cellNumber || name == "time" || name == "group" || name == "gateway" || name == "device" {
				continue
			}
			for _, f := range rowFields {
				quantity, ok := strings.CutSuffix(name, f.suffix)
				if !ok {
					continue
				}
				v, err := strconv.ParseFloat(row[i].text, 64)
				if err != nil {
					return fmt.Errorf("read row field %s: %w", name, err)
				}
				f.set(place(quantity), v)
				break
			}
		}
		return nil
	})
	for i := range out {
		r := &out[i]
		if r.Rejected+r.Gaps == 0 {
			r.Why = ""
		}
		if r.Valid == 0 {
			// Fields of an older computation may be left: nothing valid, no figure.
			nan := math.NaN()
			r.Mean, r.Min, r.Max, r.First, r.Last, r.Increase, r.Resets, r.Sum = nan, nan, nan, nan, nan, nan, nan, nan
		}
	}
	return out, err
}
