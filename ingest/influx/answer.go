package influx

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// InfluxDB's answers are read by hand: CSV swallows the errors of statements
// (1.8 answers an unknown database with 200 and nothing), and encoding/json
// would take most of the time of reading a day back.

// cellKind is what JSON a value was.
type cellKind uint8

const (
	cellNull cellKind = iota
	cellNumber
	cellText
	cellTrue
	cellFalse
)

// cell is one value of a row. Its text is valid only during the call that hands
// it over.
type cell struct {
	kind cellKind
	text string
}

// errSyntax is an answer that is not InfluxDB's JSON, for example cut short.
var errSyntax = errors.New("answer is not InfluxDB's JSON")

// answer reads the JSON of a /query answer: one document, or one a chunk.
type answer struct {
	r       *bufio.Reader
	scratch []byte // texts of the row, or of a name
	cells   []cell
	ends    []int // of the cells' texts in scratch
	name    string
	columns []string    // of the rows, then the tags by which the series are grouped
	tags    [2][]string // their names and values
	fn      func(name string, columns []string, row []cell) error
	failed  string // the server's error
}

// readAnswer hands every row to fn. The columns slice is the same for rows of
// one series; the tags of a grouped series stand behind its own columns. An error that the server reports wraps ErrQuery.
func readAnswer(r io.Reader, fn func(name string, columns []string, row []cell) error) error {
	a := answer{r: bufio.NewReaderSize(r, 64<<10), fn: fn}
	for {
		if _, err := a.peek(); errors.Is(err, io.EOF) {
			if a.failed != "" {
				return fmt.Errorf("%w: %s", ErrQuery, a.failed)
			}
			return nil
		} else if err != nil {
			return err
		}
		err := a.object(func(key string) error {
			switch key {
			case "results":
				return a.array(func() error { return a.object(a.result) })
			case "error":
				return a.serverError()
			}
			return a.skip()
		})
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
}

func (a *answer) serverError() error {
	s, err := a.text()
	a.failed = s
	return err
}

func (a *answer) result(key string) error {
	switch key {
	case "series":
		return a.array(func() error {
			a.tags = [2][]string{}
			return a.object(a.series)
		})
	case "error":
		return a.serverError()
	}
	return a.skip()
}

func (a *answer) series(key string) error {
	switch key {
	case "name":
		var err error
		a.name, err = a.text()
		return err
	case "tags":
		return a.object(func(tag string) error {
			s, err := a.text()
			a.tags[0], a.tags[1] = append(a.tags[0], tag), append(a.tags[1], s)
			return err
		})
	case "columns":
		var columns []string
		err := a.array(func() error {
			s, err := a.text()
			columns = append(columns, s)
			return err
		})
		columns = append(columns, a.tags[0]...)
		if err == nil && !sameColumns(columns, a.columns) {
			a.columns = columns
		}
		return err
	case "values":
		return a.array(a.row)
	}
	return a.skip()
}

func sameColumns(a, b []string) bool {
	if len(a) != len(b) || len(a) == 0 {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// row reads one array of scalars.
func (a *answer) row() error {
	a.scratch, a.cells, a.ends = a.scratch[:0], a.cells[:0], a.ends[:0]
	err := a.array(func() error {
		c, err := a.peek()
		if err != nil {
			return err
		}
		kind := cellNumber
		switch c {
		case '"':
			kind = cellText
			err = a.string()
		case 'n':
			kind, err = cellNull, a.word("null")
		case 't':
			kind, err = cellTrue, a.word("true")
		case 'f':
			kind, err = cellFalse, a.word("false")
		default:
			err = a.number()
		}
		a.cells = append(a.cells, cell{kind: kind})
		a.ends = append(a.ends, len(a.scratch))
		return err
	})
	if err != nil {
		return err
	}
	for _, s := range a.tags[1] {
		a.scratch = append(a.scratch, s...)
		a.cells = append(a.cells, cell{kind: cellText})
		a.ends = append(a.ends, len(a.scratch))
	}
	if len(a.cells) != len(a.columns) {
		return fmt.Errorf("%w: %d columns, row of %d", errSyntax, len(a.columns), len(a.cells))
	}
	start := 0
	for i, end := range a.ends {
		if end > start {
			a.cells[i].text = unsafe.String(&a.scratch[start], end-start)
		}
		start = end
	}
	return a.fn(a.name, a.columns, a.cells)
}

// peek returns the next byte that is not white space, without taking it.
func (a *answer) peek() (byte, error) {
	for {
		c, err := a.r.ReadByte()
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c, a.r.UnreadByte()
		}
	}
}

func (a *answer) expect(want byte) error {
	c, err := a.peek()
	if err != nil {
		return err
	}
	if c != want {
		return fmt.Errorf("%w: %q where %q should stand", errSyntax, c, want)
	}
	_, err = a.r.Discard(1)
	return err
}

// list reads elements between open and close, separated by commas.
func (a *answer) list(open, shut byte, element func() error) error {
	if err := a.expect(open); err != nil {
		return err
	}
	for first := true; ; first = false {
		c, err := a.peek()
		if err != nil {
			return err
		}
		if c == shut {
			_, err := a.r.Discard(1)
			return err
		}
		if !first {
			if err := a.expect(','); err != nil {
				return err
			}
		}
		if err := element(); err != nil {
			return err
		}
	}
}

func (a *answer) array(element func() error) error { return a.list('[', ']', element) }

func (a *answer) object(field func(key string) error) error {
	return a.list('{', '}', func() error {
		key, err := a.text()
		if err != nil {
			return err
		}
		if err := a.expect(':'); err != nil {
			return err
		}
		return field(key)
	})
}

// skip passes over one value.
func (a *answer) skip() error {
	c, err := a.peek()
	if err != nil {
		return err
	}
	switch c {
	case '{':
		return a.object(func(string) error { return a.skip() })
	case '[':
		return a.array(a.skip)
	case '"':
		_, err := a.text()
		return err
	case 'n':
		return a.word("null")
	case 't':
		return a.word("true")
	case 'f':
		return a.word("false")
	}
	return a.number()
}

func (a *answer) word(w string) error {
	for i := range len(w) {
		c, err := a.r.ReadByte()
		if err != nil {
			return err
		}
		if c != w[i] {
			return fmt.Errorf("%w: %q in %s", errSyntax, c, w)
		}
	}
	return nil
}

// number appends a number to scratch.
func (a *answer) number() error {
	start := len(a.scratch)
	for {
		c, err := a.r.ReadByte()
		if err != nil {
			return err
		}
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			if len(a.scratch) == start {
				return fmt.Errorf("%w: %q where a value should stand", errSyntax, c)
			}
			return a.r.UnreadByte()
		}
		a.scratch = append(a.scratch, c)
	}
}

// text reads a string that is kept.
func (a *answer) text() (string, error) {
	start := len(a.scratch)
	if c, err := a.peek(); err != nil {
		return "", err
	} else if c != '"' {
		return "", fmt.Errorf("%w: %q where a text should stand", errSyntax, c)
	}
	err := a.string()
	s := string(a.scratch[start:])
	a.scratch = a.scratch[:start]
	return s, err
}

// string appends a string, unescaped, to scratch.
func (a *answer) string() error {
	if _, err := a.r.Discard(1); err != nil {
		return err
	}
	for {
		c, err := a.r.ReadByte()
		if err != nil {
			return err
		}
		switch c {
		case '"':
			return nil
		case '\\':
			if err := a.escape(); err != nil {
				return err
			}
		default:
			a.scratch = append(a.scratch, c)
		}
	}
}

func (a *answer) escape() error {
	c, err := a.r.ReadByte()
	if err != nil {
		return err
	}
	switch c {
	case 'n':
		c = '\n'
	case 't':
		c = '\t'
	case 'r':
		c = '\r'
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'u':
		r, err := a.hex()
		if err != nil {
			return err
		}
		if utf16.IsSurrogate(r) {
			if err := a.word(`\u`); err != nil {
				return err
			}
			low, err := a.hex()
			if err != nil {
				return err
			}
			r = utf16.DecodeRune(r, low)
		}
		a.scratch = utf8.AppendRune(a.scratch, r)
		return nil
	}
	a.scratch = append(a.scratch, c)
	return nil
}

func (a *answer) hex() (rune, error) {
	var b [4]byte
	if _, err := io.ReadFull(a.r, b[:]); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(string(b[:]), 16, 16)
	if err != nil {
		return 0, fmt.Errorf("%w: \\u%s", errSyntax, b)
	}
	return rune(n), nil
}
