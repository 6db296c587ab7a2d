//go:build root

package archive

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/ingest/influx"
)

// A disk that is full to the last byte in the middle of a file or of the manifest
// costs nothing but time.
func TestAReallyFullDiskPostpones(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a tmpfs on %s: %v (this test needs root, or CAP_SYS_ADMIN)", disk, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := start(t, func(o *Options) { o.Dir, o.MinFree = filepath.Join(disk, "archive"), -1 })
	s.fill(t)
	before := read(t, s, influx.Span{})
	ballast := func(leave int) {
		f, err := os.Create(filepath.Join(disk, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for n := 4096; ; {
			if _, err := f.Write(make([]byte, n)); errors.Is(err, unix.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(info.Size() - int64(leave)); err != nil {
			t.Fatal(err)
		}
	}
	for _, leave := range []int{0, 4096} { // no room for the file; room for the file, none for the manifest
		ballast(leave)
		if err := s.Pass(t.Context()); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("with %d bytes: %v", leave, err)
		}
		if n := s.inDatabase(t); n != 240 {
			t.Errorf("%d points are in the database, want 240", n)
		}
		if st := s.Status(); !strings.Contains(st.Problem, "no space left") || st.Files != 0 {
			t.Errorf("%+v", st)
		}
		if part, _ := filepath.Glob(filepath.Join(s.o.Dir, "*", "*"+partSuffix)); len(part) > 0 {
			t.Errorf("there is %q", part)
		}
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	if err := s.Pass(t.Context()); err != nil || s.inDatabase(t) != 0 || s.Status().Problem != "" {
		t.Errorf("with room again: %v, %+v", err, s.Status())
	}
	if got := read(t, s, influx.Span{}); !slices.Equal(got, before) {
		t.Errorf("%d points of %d", len(got), len(before))
	}
}
