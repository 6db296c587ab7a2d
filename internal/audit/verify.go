package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Break is the first place where the chain does not hold.
type Break struct {
	Seq    uint64 `json:"seq"` // the line's number, from 1
	Reason string `json:"reason"`
}

func (b *Break) String() string { return fmt.Sprintf("entry %d: %s", b.Seq, b.Reason) }

// Verdict is what Verify found.
type Verdict struct {
	Entries int    `json:"entries"`
	Head    string `json:"head"` // hash of the newest entry: note it elsewhere
	Broken  *Break `json:"broken,omitempty"`
	// Found says where the head that was asked for stands; 0 = it is not there:
	// entries were cut off, or the whole log was replaced.
	Found int `json:"found,omitempty"`
}

// Verify reads the file from its beginning and checks each link. known is a head
// of an earlier verdict that must still be in it; "" asks for none.
func (l *Log) Verify(ctx context.Context, known string) (Verdict, error) {
	l.mu.Lock()
	head, end := l.head, l.offsets[l.count()]
	l.mu.Unlock()
	f, err := os.Open(l.o.Path)
	if err != nil {
		return Verdict{}, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	c := chain{known: known, ctx: ctx}
	torn, err := c.read(io.LimitReader(f, end))
	if err != nil {
		return Verdict{}, fmt.Errorf("read the audit log: %w", err)
	}
	v := Verdict{Entries: len(c.offsets) - 1, Head: c.head, Broken: c.broken, Found: c.found}
	if v.Broken == nil && (torn > 0 || c.head != head) {
		v.Broken = &Break{Seq: uint64(v.Entries + 1), Reason: "the newest entry is not the one that was written last: entries were altered or cut off"}
	}
	return v, nil
}

// chain walks through a log.
type chain struct {
	known string
	ctx   context.Context //nolint:containedctx // of one walk

	offsets []int64
	head    string
	broken  *Break
	found   int
}

// read walks to the end and returns how many bytes lie behind the last whole
// line.
func (c *chain) read(r io.Reader) (torn int64, err error) {
	c.offsets = []int64{0}
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		if c.ctx != nil && c.ctx.Err() != nil {
			return 0, c.ctx.Err()
		}
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return int64(len(line)), nil
		}
		if err != nil {
			return 0, err
		}
		c.link(bytes.TrimSuffix(line, []byte("\n")))
		c.offsets = append(c.offsets, c.offsets[len(c.offsets)-1]+int64(len(line)))
	}
}

// link checks one line against the one before. What follows a broken line is
// linked to what that line holds now.
func (c *chain) link(line []byte) {
	seq := uint64(len(c.offsets))
	breaks := func(reason string) {
		if c.broken == nil {
			c.broken = &Break{Seq: seq, Reason: reason}
		}
	}
	r, err := parse(line)
	_, body, _ := bytes.Cut(line, []byte(" "))
	hash := hashOf(body)
	switch {
	case err != nil:
		breaks(err.Error())
	case r.Hash != hash:
		breaks("its text does not have the hash that stands before it: it was altered")
	case r.Prev != c.head:
		breaks("it does not follow the entry before it: one was altered, removed or put in between")
	case r.Seq != seq:
		breaks(fmt.Sprintf("its number is %d", r.Seq))
	}
	c.head = hash
	if hash == c.known {
		c.found = int(seq)
	}
}
