//go:build root

package journal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs of %s on %s: %v (this test needs root, or CAP_SYS_ADMIN)", size, dir, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// ballast fills the disk to the last byte.
func ballast(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := 1 << 20; chunk > 0; {
		if _, err := f.Write(make([]byte, chunk)); errors.Is(err, unix.ENOSPC) {
			chunk /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// A disk that is really full: nothing is acknowledged that is not kept, the
// process goes on, and once there is space packets are taken again without
// anybody's help; what was acknowledged is all there.
func TestTrapDiskReallyFull(t *testing.T) {
	disk := smallDisk(t, "96m")
	// Only the disk itself says no.
	lies := func(string) (int64, error) { return 1 << 40, nil }
	j := open(t, Options{Dir: filepath.Join(disk, "journal"), MaxBytes: 1 << 30, freeSpace: lies})
	kv, err := j.KV(t.Context(), "test", KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "before", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	var want []string
	take := func(n int) error {
		p := packet(n)
		p.Payload = append(p.Payload, make([]byte, 200<<10)...)
		err := submit(j, p)[0]
		if err == nil {
			want = append(want, string(p.Payload[:13]))
		}
		return err
	}
	for n := range 20 {
		if err := take(n); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		filler := ballast(t, disk)
		var refused error
		for n := 0; refused == nil; n++ {
			refused = take(1000*(round+1) + n)
		}
		if !errors.Is(refused, ErrDisk) {
			t.Fatalf("round %d: %v", round, refused)
		}
		if j.Err() == nil {
			t.Errorf("round %d: Err() is nil on a full disk", round)
		}
		if _, err := kv.Put(t.Context(), "while full", make([]byte, 100<<10)); err == nil {
			t.Errorf("round %d: a value was kept on a full disk", round)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n++ { // each attempt waits for its callback
			if err := take(1000*(round+1) + 500 + n); err == nil {
				break
			}
		}
		got, _ := readAll(t, j, 0)
		for i, g := range got {
			got[i] = g[:13]
		}
		// What was refused may be there (its answer was lost), what was taken must.
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Fatalf("round %d: %q was acknowledged and is gone", round, w)
			}
		}
		if v, _, err := kv.Get(t.Context(), "before"); err != nil || string(v) != "kept" {
			t.Errorf("round %d: KV holds %q, %v", round, v, err)
		}
	}
	if s := j.Stats(); s.Missing != 0 {
		t.Errorf("%d positions are said to be missing", s.Missing)
	}
}

// The reserve keeps packets out before the disk is full, so that KV still works.
func TestReserveIsLeftToKV(t *testing.T) {
	disk := smallDisk(t, "64m")
	j := open(t, Options{Dir: filepath.Join(disk, "journal"), MaxBytes: 1 << 30, Reserve: 24 << 20})
	p := packet(1)
	p.Payload = make([]byte, 20<<10)
	var refused error
	for refused == nil {
		refused = submit(j, p)[0]
	}
	if !errors.Is(refused, ErrFull) || !strings.Contains(refused.Error(), "reserve") {
		t.Fatal(refused)
	}
	kv, err := j.KV(t.Context(), "test", KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := kv.Put(t.Context(), "k", make([]byte, 100<<10)); err != nil {
			t.Fatal(err)
		}
	}
}
