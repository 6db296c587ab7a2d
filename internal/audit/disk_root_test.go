//go:build root

package audit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/internal/audit"
)

// Statement 25: a disk that is really full raises an alarm while there is room to
// tell what is done about it; then changes are refused, and once there is space
// the log goes on by itself with its chain whole.
func TestDiskReallyFullStatement25(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatalf("mount a tmpfs on %s: %v (this test needs root, or CAP_SYS_ADMIN)", disk, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", disk, err)
		}
	})
	b := open(t, filepath.Join(disk, "audit.log"))
	b.add(three...)
	if p := b.Problem(); p != "" {
		t.Fatal(p)
	}
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	long := audit.Entry{Who: "admin", Action: "rules.set", Detail: strings.Repeat("x", 7000)}
	alarmed, refused := 0, false
	for range 1000 {
		if err := b.Ready(); err != nil {
			if !errors.Is(err, audit.ErrFull) || !errors.Is(err, unix.ENOSPC) {
				t.Errorf("refused with %v", err)
			}
			refused = true
			break
		}
		b.add(long)
		if strings.Contains(b.Problem(), "the disk is full") {
			alarmed++
		}
	}
	if !refused || alarmed < 10 {
		t.Errorf("refused %v, after %d entries with an alarm", refused, alarmed)
	}
	b.add(audit.Entry{Who: "os:root", Action: "space.free"}) // what mends it can still be told
	for b.Add(t.Context(), long) == nil {
	}
	if p := b.Problem(); !strings.Contains(p, "changes are refused") {
		t.Errorf("to the last byte: problem %q", p)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(); err != nil {
		t.Errorf("with space again: %v", err)
	}
	b.add(three[0])
	if p := b.Problem(); p != "" {
		t.Errorf("with space again: problem %q", p)
	}
	if v := b.verify(""); v.Broken != nil {
		t.Error(v.Broken)
	}
}
