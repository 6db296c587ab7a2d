package journal

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// mark is what the journal must know of itself that the stream can't tell after
// damage: a cut tail moves the stream's end back, and a lost head looks like a
// purge.
type mark struct {
	Clean bool   `json:"clean"` // closed in order; then Last is exact
	Last  uint64 `json:"last"`
	// Reserved is a position that was not passed before a higher one was
	// written here; a stream that ends below may have lost its end.
	Reserved uint64 `json:"reserved"`
	Floor    uint64 `json:"floor"` // purged up to here
	// Missing are the positions above Floor that damage took.
	Missing []Span `json:"missing,omitempty"`
}

// Span is a run of positions, both ends included.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// insert adds s to a sorted list and returns how many positions are new.
func insert(list []Span, s Span) (merged []Span, added uint64) {
	added = s.To - s.From + 1
	for _, o := range list {
		if from, to := max(o.From, s.From), min(o.To, s.To); from <= to {
			added -= to - from + 1
		}
		if o.To+1 < s.From || s.To+1 < o.From {
			merged = append(merged, o)
		} else {
			s.From, s.To = min(s.From, o.From), max(s.To, o.To)
		}
	}
	merged = append(merged, s)
	slices.SortFunc(merged, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	return merged, added
}

// above drops what a purge has freed.
func above(list []Span, floor uint64) []Span {
	return slices.DeleteFunc(slices.Clone(list), func(s Span) bool { return s.To <= floor })
}

// markStep is how many commits share one write of the mark, and how many empty
// envelopes at most fill up the positions after a crash.
const markStep = 256

const markFile = "mark.json"

// readMark returns the zero mark when there is none or it can't be read: the
// stream's own word is then all there is.
func readMark(dir string) (mark, error) {
	var m mark
	text, err := os.ReadFile(filepath.Join(dir, markFile))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read the journal's mark: %w", err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return mark{}, fmt.Errorf("read the journal's mark: %w", err)
	}
	return m, nil
}

func writeMark(dir string, m mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the journal's mark: %w", err)
	}
	if err := writeFile(filepath.Join(dir, markFile), append(text, '\n')); err != nil {
		return fmt.Errorf("write the journal's mark: %w", err)
	}
	return nil
}

// writeFile replaces a file so that either the old or the new text is there
// after a power cut.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// updateMark changes the mark on disk, then in memory.
func (j *Journal) updateMark(change func(*mark)) error {
	j.marking.Lock()
	defer j.marking.Unlock()
	j.mu.Lock()
	m := j.mark
	j.mu.Unlock()
	change(&m)
	if err := writeMark(j.o.Dir, m); err != nil {
		return err
	}
	j.mu.Lock()
	j.mark = m
	j.mu.Unlock()
	return nil
}
