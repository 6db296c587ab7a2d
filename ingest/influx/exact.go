package influx

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Exact is a stored point with all that the database holds of it, also the fields
// that a Point does not show, such as a valid value beside a rejected one. It is
// what an archive keeps.
type Exact struct {
	Kind   telemetry.Kind
	Node   telemetry.Node
	Device string
	Time   int64   // Unix nanoseconds
	Fields []Field // by name
}

// Field is one field of an exact point.
type Field struct {
	Name string
	Type FieldType
	// Text is the value: of a number the shortest text that reads back as the same
	// float64, of a truth value "true" or "false".
	Text string
}

// FieldType says what a field holds.
type FieldType uint8

// The types that Pantau writes.
const (
	Number FieldType = iota
	Text
	Truth
)

// Compare orders points of one kind: by time, then by node and device. Two that
// compare as equal are one point.
func (e *Exact) Compare(o *Exact) int {
	return cmp.Or(cmp.Compare(e.Time, o.Time), strings.Compare(e.Node.Group, o.Node.Group), strings.Compare(e.Node.ID, o.Node.ID), strings.Compare(e.Device, o.Device))
}

// Exact reads raw points as they are, kind after kind, each in the order of time.
// The point handed to fn may be kept.
func (c *Client) Exact(ctx context.Context, s Span, fn func(*Exact) error) error {
	return c.query(ctx, c.reader, http.MethodGet, Raw, s.statement("*"), func(name string, columns []string, row []cell) error {
		e := Exact{Kind: telemetry.Kind(strings.Clone(name))}
		for i, column := range columns {
			x := row[i]
			switch {
			case x.kind == cellNull:
			case column == "time":
				var err error
				if e.Time, err = strconv.ParseInt(x.text, 10, 64); err != nil {
					return fmt.Errorf("read a point's time: %w", err)
				}
			case column == "group":
				e.Node.Group = strings.Clone(x.text)
			case column == "gateway":
				e.Node.ID = strings.Clone(x.text)
			case column == "device":
				e.Device = strings.Clone(x.text)
			default:
				f, err := fieldOf(column, x)
				if err != nil {
					return err
				}
				e.Fields = append(e.Fields, f)
			}
		}
		slices.SortFunc(e.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
		return fn(&e)
	})
}

func fieldOf(name string, x cell) (Field, error) {
	switch x.kind {
	case cellText:
		return Field{name, Text, strings.Clone(x.text)}, nil
	case cellTrue:
		return Field{name, Truth, "true"}, nil
	case cellFalse:
		return Field{name, Truth, "false"}, nil
	}
	text, err := canonical(x.text)
	if err != nil {
		return Field{}, fmt.Errorf("read field %s: %w", name, err)
	}
	return Field{name, Number, text}, nil
}

// canonical is the one text of a float64.
func canonical(text string) (string, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return "", err
	}
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "", fmt.Errorf("%s is no number of the database", text)
	}
	return strconv.FormatFloat(v, 'g', -1, 64), nil
}

// AppendExact writes a point as one line of line protocol, always the same for
// the same point.
func AppendExact(dst []byte, e *Exact) []byte {
	dst = append(dst, escapeKey.Replace(string(e.Kind))...)
	for _, tag := range [...][2]string{{"device", e.Device}, {"gateway", e.Node.ID}, {"group", e.Node.Group}} {
		if tag[1] != "" {
			dst = append(append(append(append(dst, ','), tag[0]...), '='), escapeKey.Replace(tag[1])...)
		}
	}
	between := byte(' ')
	for _, f := range e.Fields {
		dst = append(append(append(dst, between), escapeKey.Replace(f.Name)...), '=')
		between = ','
		if f.Type != Text {
			dst = append(dst, f.Text...)
			continue
		}
		dst = append(dst, '"')
		for i := range len(f.Text) {
			if c := f.Text[i]; c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, f.Text[i])
		}
		dst = append(dst, '"')
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, e.Time, 10)
	return append(dst, '\n')
}

var errNoExact = errors.New("not a line as it was written")

// ParseExact reads the first point of what AppendExact wrote, and returns what
// follows it.
func ParseExact(b []byte) (e Exact, rest []byte, err error) {
	l := lineReader{rest: b}
	e.Kind = telemetry.Kind(l.word(", "))
	for l.take(',') {
		name := l.word("=")
		l.need('=')
		switch value := l.word(", "); name {
		case "device":
			e.Device = value
		case "gateway":
			e.Node.ID = value
		case "group":
			e.Node.Group = value
		default:
			l.bad = true
		}
	}
	l.need(' ')
	for more := true; more && !l.bad; more = l.take(',') {
		f := Field{Name: l.word("=")}
		l.need('=')
		if l.take('"') {
			f.Type, f.Text = Text, l.quoted()
		} else if f.Text = l.plain(", "); f.Text == "true" || f.Text == "false" {
			f.Type = Truth
		} else if text, err := canonical(f.Text); err != nil || text != f.Text {
			l.bad = true
		}
		e.Fields = append(e.Fields, f)
	}
	l.need(' ')
	at := l.plain("\n")
	l.need('\n')
	if e.Time, err = strconv.ParseInt(at, 10, 64); err != nil || l.bad {
		line, _, _ := bytes.Cut(b[:min(len(b), 200)], []byte{'\n'})
		return e, b, fmt.Errorf("%w: %q", errNoExact, line)
	}
	return e, l.rest, nil
}

// lineReader takes a line apart; bad says that it is none.
type lineReader struct {
	rest []byte
	bad  bool
}

func (l *lineReader) take(c byte) bool {
	if len(l.rest) == 0 || l.rest[0] != c {
		return false
	}
	l.rest = l.rest[1:]
	return true
}

func (l *lineReader) need(c byte) {
	if !l.take(c) {
		l.bad = true
	}
}

// plain takes what stands before one of the ends.
func (l *lineReader) plain(ends string) string {
	n := bytes.IndexAny(l.rest, ends)
	if n < 0 {
		l.bad, n = true, len(l.rest)
	}
	s := string(l.rest[:n])
	l.rest = l.rest[n:]
	return s
}

// word takes an escaped name that ends before one of the ends.
func (l *lineReader) word(ends string) string {
	var out []byte
	for i := 0; i < len(l.rest); i++ {
		c := l.rest[i]
		if c == '\\' && i+1 < len(l.rest) && strings.IndexByte(",= ", l.rest[i+1]) >= 0 {
			i++
			c = l.rest[i]
		} else if strings.IndexByte(ends, c) >= 0 {
			l.rest = l.rest[i:]
			return string(out)
		}
		out = append(out, c)
	}
	l.bad, l.rest = true, nil
	return ""
}

// quoted takes a text up to its closing quote.
func (l *lineReader) quoted() string {
	var out []byte
	for i := 0; i < len(l.rest); i++ {
		c := l.rest[i]
		if c == '"' {
			l.rest = l.rest[i+1:]
			return string(out)
		}
		if c == '\\' {
			if i++; i == len(l.rest) {
				break
			}
			c = l.rest[i]
		}
		out = append(out, c)
	}
	l.bad, l.rest = true, nil
	return ""
}

// ExactReader reads exact points as Points, by the rules by which the database's
// answers are read. Its zero value is ready.
type ExactReader struct {
	rows    rows
	columns []string
	cells   []cell
}

// Point returns the point that e is. It is valid until the next call.
func (r *ExactReader) Point(e *Exact) (*Point, error) {
	known := len(r.columns) == 4+len(e.Fields)
	for i := 0; known && i < len(e.Fields); i++ {
		known = r.columns[4+i] == e.Fields[i].Name
	}
	if !known {
		r.columns = []string{"time", "group", "gateway", "device"}
		for _, f := range e.Fields {
			r.columns = append(r.columns, f.Name)
		}
	}
	r.cells = append(r.cells[:0], cell{cellNumber, strconv.FormatInt(e.Time, 10)}, cell{cellText, e.Node.Group}, cell{cellText, e.Node.ID}, cell{cellText, e.Device})
	for _, f := range e.Fields {
		kind := cellNumber
		switch {
		case f.Type == Text:
			kind = cellText
		case f.Type == Truth && f.Text == "true":
			kind = cellTrue
		case f.Type == Truth:
			kind = cellFalse
		}
		r.cells = append(r.cells, cell{kind, f.Text})
	}
	return r.rows.read(string(e.Kind), r.columns, r.cells)
}

// OldestRaw returns the time of a kind's oldest raw point in from <= time < to; a
// zero from does not narrow. false: there is none.
func (c *Client) OldestRaw(ctx context.Context, kind telemetry.Kind, from, to time.Time) (at time.Time, found bool, err error) {
	s := Span{From: from, To: to}
	err = c.query(ctx, c.reader, http.MethodGet, Raw, "SELECT * FROM "+quoteName(string(kind))+s.where()+" LIMIT 1", func(_ string, columns []string, row []cell) error {
		ns, err := strconv.ParseInt(row[slices.Index(columns, "time")].text, 10, 64)
		if err != nil {
			return fmt.Errorf("read a point's time: %w", err)
		}
		at, found = time.Unix(0, ns).UTC(), true
		return nil
	})
	return at, found, err
}

// RawNodes lists the nodes that have raw points of a kind in from <= time < to.
func (c *Client) RawNodes(ctx context.Context, kind telemetry.Kind, from, to time.Time) ([]telemetry.Node, error) {
	s := Span{From: from, To: to}
	var out []telemetry.Node
	statement := "SELECT * FROM " + quoteName(string(kind)) + s.where() + ` GROUP BY "gateway","group" LIMIT 1`
	err := c.query(ctx, c.reader, http.MethodGet, Raw, statement, func(_ string, columns []string, row []cell) error {
		var n telemetry.Node
		for i, column := range columns {
			switch column {
			case "group":
				n.Group = strings.Clone(row[i].text)
			case "gateway":
				n.ID = strings.Clone(row[i].text)
			}
		}
		out = append(out, n)
		return nil
	})
	return out, err
}

// OnlyOurs returns an error if a kind's raw points have a tag or a type of field
// that Pantau does not write: Exact would not show it.
func (c *Client) OnlyOurs(ctx context.Context, kind telemetry.Kind) error {
	ours := map[string]bool{"time": true, "group": true, "gateway": true, "device": true}
	var foreign []string
	err := c.query(ctx, c.reader, http.MethodGet, Raw, "SHOW FIELD KEYS FROM "+quoteName(string(kind)), func(_ string, _ []string, row []cell) error {
		field := strings.Clone(row[0].text)
		ours[field] = true
		if t := row[1].text; t != "float" && t != "string" && t != "boolean" {
			foreign = append(foreign, "field "+field+" of type "+strings.Clone(t))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the fields of %s: %w", kind, err)
	}
	// SHOW TAG KEYS in 2.x lists those of a default bucket only; what a row has
	// besides fields are tags.
	err = c.query(ctx, c.reader, http.MethodGet, Raw, "SELECT * FROM "+quoteName(string(kind))+" LIMIT 1", func(_ string, columns []string, _ []cell) error {
		for _, column := range columns {
			if !ours[column] {
				foreign = append(foreign, "tag "+strings.Clone(column))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the tags of %s: %w", kind, err)
	}
	if len(foreign) > 0 {
		return fmt.Errorf("%s of %s holds what Pantau did not write (%s): take it out, or to a bucket of its own", kind, c.Name(Raw), strings.Join(foreign, ", "))
	}
	return nil
}

// MayStay reports whether RemoveRaw may leave a point of this time where it is.
func MayStay(ns int64) bool { return ns%int64(time.Hour) == 0 }

// RemoveRaw deletes a kind's raw points in from <= time < to, which are full
// hours. InfluxDB 1.8 cannot delete from one retention policy: DELETE reaches the
// rows of hours and days too, which stand on full hours. There, points exactly on
// a full hour stay (MayStay). An error without an answer leaves open whether, and
// when, it is done; repeating it does no harm.
func (c *Client) RemoveRaw(ctx context.Context, kind telemetry.Kind, from, to time.Time) error {
	info, err := c.Prepare(ctx)
	if err != nil {
		return fmt.Errorf("delete raw points: %w", err)
	}
	if info.Major >= 2 {
		// The span's last instant is deleted, too.
		err := c.writer.DeleteAPI().DeleteWithName(ctx, c.o.Org, c.Name(Raw), from, to.Add(-time.Nanosecond), `_measurement=`+quoteName(string(kind)))
		if err != nil {
			return fmt.Errorf("delete %s from %s: %w", kind, c.Name(Raw), classify(err))
		}
		return nil
	}
	var statements []string
	for hour := from; hour.Before(to); hour = hour.Add(time.Hour) {
		statements = append(statements, fmt.Sprintf("DELETE FROM %s WHERE time > %d AND time < %d", quoteName(string(kind)), hour.UnixNano(), hour.Add(time.Hour).UnixNano()))
	}
	err = c.query(ctx, c.writer, http.MethodPost, Raw, strings.Join(statements, ";"), func(string, []string, []cell) error { return nil })
	if err != nil {
		return fmt.Errorf("delete %s from %s: %w", kind, c.Name(Raw), err)
	}
	return nil
}
