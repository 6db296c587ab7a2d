package ingest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Position is a packet's place in the journal: the entry's sequence and the
// packet's index within it.
type Position struct {
	Seq   uint64
	Index uint32
}

// Before reports whether p lies before q.
func (p Position) Before(q Position) bool {
	return p.Seq < q.Seq || (p.Seq == q.Seq && p.Index < q.Index)
}

// String returns "seq.index".
func (p Position) String() string {
	return strconv.FormatUint(p.Seq, 10) + "." + strconv.FormatUint(uint64(p.Index), 10)
}

// ParsePosition reads what String wrote.
func ParsePosition(s string) (Position, error) {
	a, b, ok := strings.Cut(s, ".")
	seq, err1 := strconv.ParseUint(a, 10, 64)
	index, err2 := strconv.ParseUint(b, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return Position{}, fmt.Errorf("journal position %q: want sequence.index", s)
	}
	return Position{Seq: seq, Index: uint32(index)}, nil
}

// Keys of checkpoint rows: strings end with a zero byte (no id holds one),
// numbers are big-endian, so that rows of one node lie together.

func appendName(key []byte, s string) []byte { return append(append(key, s...), 0) }

func nodeKey(n telemetry.Node) []byte {
	return appendName(appendName(make([]byte, 0, len(n.Group)+len(n.ID)+40), n.Group), n.ID)
}

func cutName(key []byte) (name string, rest []byte, err error) {
	a, b, ok := bytes.Cut(key, []byte{0})
	if !ok {
		return "", nil, fmt.Errorf("checkpoint key %x: no end of name", key)
	}
	return string(a), b, nil
}

func cutNode(key []byte) (n telemetry.Node, rest []byte, err error) {
	if n.Group, rest, err = cutName(key); err != nil {
		return n, nil, err
	}
	n.ID, rest, err = cutName(rest)
	return n, rest, err
}

// unpack reads the numbers of a checkpoint row.
type unpack struct {
	b   []byte
	bad bool
}

func (u *unpack) uvarint() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.bad, u.b = true, nil
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpack) varint() int64 {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.bad, u.b = true, nil
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpack) uint64() uint64 {
	if len(u.b) < 8 {
		u.bad, u.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(u.b)
	u.b = u.b[8:]
	return v
}

// done returns an error if the row was short or something is left.
func (u *unpack) done(what string, key []byte) error {
	if u.bad || len(u.b) != 0 {
		return fmt.Errorf("checkpoint row %s %x does not fit", what, key)
	}
	return nil
}
