package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pantau-id/pantau/internal/envelope"
)

// withoutEnd makes a journal of 40 packets in groups of one, of which the disk lost
// the last five.
func withoutEnd(t *testing.T) (dir, block string) {
	t.Helper()
	dir = t.TempDir()
	j := open(t, Options{Dir: dir})
	for n := range 40 {
		if err := errors.Join(submit(j, packet(n))...); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, j)
	block = theBlock(t, dir)
	cutTail(t, block, 5)
	return dir, block
}

// A position that a reader may have seen is never used for something else, even
// when the disk lost the stream's end.
func TestPositionsAreNotUsedTwiceAfterTheEndIsLost(t *testing.T) {
	dir, _ := withoutEnd(t)
	j := open(t, Options{Dir: dir})
	if s := j.Stats(); s.Missing != 5 || s.Last != 40 {
		t.Errorf("after the end was lost: %+v", s)
	}
	if err := errors.Join(submit(j, packet(100))...); err != nil {
		t.Fatal(err)
	}
	// A reader whose checkpoint stands at 40 gets the new packet.
	if got, seqs := readAll(t, j, 40); len(got) != 1 || got[0] != "packet 000100" || seqs[0] != 41 {
		t.Errorf("read %q at %v", got, seqs)
	}
}

// Not even when the journal's own mark is lost with it: then the reader knows.
func TestReaderBeyondTheEndMissesNothing(t *testing.T) {
	dir, block := withoutEnd(t)
	for _, f := range []string{filepath.Join(dir, markFile), filepath.Join(filepath.Dir(block), indexFile)} {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	j := open(t, Options{Dir: dir})
	if _, last, _ := j.Bounds(t.Context()); last != 35 {
		t.Fatalf("the journal ends at %d", last)
	}
	got := make(chan string, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- j.Read(t.Context(), 40, func(_ uint64, body []byte) error {
			for p := range envelope.Packets(body) {
				got <- string(p.Payload)
				return errEnough
			}
			return nil
		})
	}()
	for j.Stats().Last < 40 { // until the reader has stepped over
		if _, err := j.Append(t.Context(), emptyBody); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(submit(j, packet(100))...); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "packet 000100" {
		t.Errorf("read %q", g)
	}
	if err := <-ended; !errors.Is(err, errEnough) {
		t.Error(err)
	}
	if err := j.Read(t.Context(), 1<<40, nil); err == nil {
		t.Error("a reader of another journal was taken")
	}
}
