package influx

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Point is what one device gave at one time, as it is stored.
type Point struct {
	Kind     telemetry.Kind
	Node     telemetry.Node
	Device   string
	Time     int64 // Unix nanoseconds: the millisecond, and the clock id's number as the rest
	Readings []telemetry.Reading
}

// Span says which points to read. Zero fields do not narrow.
type Span struct {
	Kinds      []telemetry.Kind
	Node       telemetry.Node
	Device     string
	Quantities []string
	From, To   time.Time // To is exclusive
	Newest     int       // only so many, newest first
}

// Points reads raw points, kind after kind, each in the order of time (newest
// first with Newest). The point handed to fn, and its readings, are reused.
func (c *Client) Points(ctx context.Context, s Span, fn func(*Point) error) error {
	fields := "*"
	if len(s.Quantities) > 0 {
		var names []string
		for _, q := range s.Quantities {
			for _, suffix := range [...]string{"", "_bool", "_text", "_rejected", "_text_rejected", "_flag", "_gap", "_min", "_max", "_n"} {
				names = append(names, quoteName(q+suffix))
			}
		}
		// Tags come along only where they are named.
		fields = strings.Join(append(names, `"group"`, `"gateway"`, `"device"`), ",")
	}
	var r rows
	return c.query(ctx, c.reader, http.MethodGet, Raw, s.statement(fields), func(name string, columns []string, row []cell) error {
		p, err := r.read(name, columns, row)
		if err != nil {
			return fmt.Errorf("read a raw point: %w", err)
		}
		return fn(p)
	})
}

// statement writes the query for what s names: one SELECT a kind, since the rows
// of several kinds in one would each carry the empty columns of all.
func (s *Span) statement(fields string) string {
	kinds := s.Kinds
	if len(kinds) == 0 {
		kinds = telemetry.Kinds()
	}
	where := s.where()
	var q strings.Builder
	for i, k := range kinds {
		if i > 0 {
			q.WriteByte(';')
		}
		q.WriteString("SELECT " + fields + " FROM " + quoteName(string(k)) + where)
	}
	return q.String()
}

// where writes the conditions and the order.
func (s *Span) where() string {
	var q strings.Builder
	var where []string
	add := func(tag, value string) {
		if value != "" {
			where = append(where, quoteName(tag)+" = "+quoteText(value))
		}
	}
	add("group", s.Node.Group)
	add("gateway", s.Node.ID)
	add("device", s.Device)
	if !s.From.IsZero() {
		where = append(where, "time >= "+strconv.FormatInt(s.From.UnixNano(), 10))
	}
	if !s.To.IsZero() {
		where = append(where, "time < "+strconv.FormatInt(s.To.UnixNano(), 10))
	}
	if len(where) > 0 {
		q.WriteString(" WHERE " + strings.Join(where, " AND "))
	}
	if s.Newest > 0 {
		q.WriteString(" ORDER BY time DESC LIMIT " + strconv.Itoa(s.Newest))
	}
	return q.String()
}

// role is what a column says of its quantity.
type role uint8

const (
	roleNone role = iota
	roleTime
	roleGroup
	roleGateway
	roleDevice
	roleValue
	roleBool
	roleText
	roleRejected
	roleTextRejected
	roleFlag
	roleGap
	roleMin
	roleMax
	roleCount
)

type column struct {
	role     role
	quantity int // index among the quantities; -1 for none
	name     string
}

// rawSuffixes, longest first where one ends like another.
var rawSuffixes = [...]struct {
	suffix string
	role   role
}{
	{"_text_rejected", roleTextRejected}, {"_rejected", roleRejected}, {"_bool", roleBool}, {"_text", roleText}, {"_flag", roleFlag},
	{"_gap", roleGap}, {"_min", roleMin}, {"_max", roleMax}, {"_n", roleCount},
}

func layoutOf(columns []string) []column {
	out := make([]column, len(columns))
	index := map[string]int{}
	for i, name := range columns {
		c := column{quantity: -1}
		switch name {
		case "time":
			c.role = roleTime
		case "group":
			c.role = roleGroup
		case "gateway":
			c.role = roleGateway
		case "device":
			c.role = roleDevice
		default:
			c.role, c.name = roleValue, name
			if _, ok := telemetry.Lookup(name); !ok { // nh3_n is a quantity, not the count of nh3
				for _, s := range rawSuffixes {
					if base, ok := strings.CutSuffix(name, s.suffix); ok && base != "" {
						c.role, c.name = s.role, base
						break
					}
				}
			}
			q, ok := index[c.name]
			if !ok {
				q = len(index)
				index[c.name] = q
			}
			c.quantity = q
		}
		out[i] = c
	}
	return out
}

// parts are the fields of one quantity in one row.
type parts struct {
	has                        uint16 // bits by role
	number, rejected, min, max float64
	count                      float64
	text, flag, gap            string
}

// rows turns rows into points, reusing its memory.
type rows struct {
	layout  []column
	columns []string // of layout
	parts   []parts
	touched []int
	point   Point
	names   map[string]string // one copy of each tag's value
}

// keep returns a lasting copy of a tag's value.
func (r *rows) keep(s string) string {
	if have, ok := r.names[s]; ok {
		return have
	}
	if r.names == nil || len(r.names) > 1<<16 {
		r.names = map[string]string{}
	}
	s = strings.Clone(s)
	r.names[s] = s
	return s
}

func (r *rows) layOut(columns []string) {
	if len(r.columns) > 0 && &columns[0] == &r.columns[0] {
		return
	}
	r.columns, r.layout = columns, layoutOf(columns)
	r.parts = make([]parts, len(columns))
}

// read returns the point of one row, valid until the next call.
func (r *rows) read(name string, columns []string, row []cell) (*Point, error) {
	r.layOut(columns)
	p := &r.point
	*p = Point{Kind: telemetry.Kind(r.keep(name)), Readings: p.Readings[:0]}
	r.touched = r.touched[:0]
	for i := range r.layout {
		c, text := &r.layout[i], row[i].text
		if row[i].kind == cellNull {
			continue
		}
		var err error
		switch c.role {
		case roleTime:
			p.Time, err = strconv.ParseInt(text, 10, 64)
		case roleGroup:
			p.Node.Group = r.keep(text)
		case roleGateway:
			p.Node.ID = r.keep(text)
		case roleDevice:
			p.Device = r.keep(text)
		}
		if c.quantity >= 0 {
			q := &r.parts[c.quantity]
			if q.has == 0 {
				r.touched = append(r.touched, i)
			}
			q.has |= 1 << c.role
			switch c.role {
			case roleValue:
				q.number, err = strconv.ParseFloat(text, 64)
			case roleBool:
				q.number = 0
				if row[i].kind == cellTrue {
					q.number = 1
				}
			case roleText, roleTextRejected:
				q.text = strings.Clone(text)
			case roleRejected:
				q.rejected, err = strconv.ParseFloat(text, 64)
			case roleFlag:
				q.flag = r.keep(text)
			case roleGap:
				q.gap = r.keep(text)
			case roleMin:
				q.min, err = strconv.ParseFloat(text, 64)
			case roleMax:
				q.max, err = strconv.ParseFloat(text, 64)
			case roleCount:
				q.count, err = strconv.ParseFloat(text, 64)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", r.columns[i], err)
		}
	}
	for _, i := range r.touched {
		c := &r.layout[i]
		p.Readings = append(p.Readings, r.parts[c.quantity].reading(c.name))
		r.parts[c.quantity] = parts{}
	}
	return p, nil
}

// reading is the one place that decides what stored fields mean: a rejected
// value wins over a valid one of the same point (a changed verdict leaves both),
// and a value over a gap.
func (q *parts) reading(name string) telemetry.Reading {
	r := telemetry.Reading{Quantity: name}
	have := func(x role) bool { return q.has&(1<<x) != 0 }
	switch {
	case have(roleRejected), have(roleTextRejected):
		r.Value = telemetry.Num(q.rejected)
		if have(roleTextRejected) {
			r.Value = telemetry.Value{Type: telemetry.Text, Text: q.text}
		}
		var ok bool
		if r.Flag, ok = telemetry.ParseFlag(q.flag); !ok || r.Flag == telemetry.FlagNone {
			r.Flag = telemetry.FlagSensorFault // a flag that this version does not know still rejects
		}
	case have(roleValue):
		r.Value = telemetry.Num(q.number)
		if have(roleCount) {
			r.Count, r.Min, r.Max = uint32(q.count), q.min, q.max
		}
	case have(roleBool):
		r.Value = telemetry.Value{Type: telemetry.Bool, Number: q.number}
	case have(roleText):
		r.Value = telemetry.Value{Type: telemetry.Text, Text: q.text}
	default:
		if r.Gap = telemetry.GapReason(q.gap); r.Gap == telemetry.GapNone {
			r.Gap = telemetry.GapUnexpected
		}
	}
	return r
}
