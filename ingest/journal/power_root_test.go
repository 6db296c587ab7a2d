//go:build root

package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// cuttable is a file system in a file, whose power can be cut: what was not
// fsynced is gone.
type cuttable struct {
	t     *testing.T
	image string
	dir   string
}

func newCuttable(t *testing.T, kind string) *cuttable {
	t.Helper()
	c := &cuttable{t: t, image: filepath.Join(t.TempDir(), "disk"), dir: t.TempDir()}
	f, err := os.Create(c.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(320 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	c.do("mkfs."+kind, "-q", c.image)
	c.mount()
	t.Cleanup(c.unmount)
	return c
}

func (c *cuttable) do(name string, args ...string) {
	c.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		c.t.Fatalf("%s %v: %v: %s (this test needs root and the packages mount, e2fsprogs, xfsprogs)", name, args, err, out)
	}
}

func (c *cuttable) mount()   { c.t.Helper(); c.do("mount", "-o", "loop", c.image, c.dir) }
func (c *cuttable) unmount() { c.t.Helper(); c.do("umount", c.dir) }

// cut drops the power at once.
func (c *cuttable) cut() { c.t.Helper(); c.do("xfs_io", "-x", "-c", "shutdown", c.dir) }

// cuts lets children be cut rounds times, and returns how many acknowledged
// packets are gone.
func (c *cuttable) cuts(f *family, rounds int) (gone int) {
	for range rounds {
		f.run(c.t, 100+rand.IntN(3000), func(p *os.Process) {
			// Nobody computes while the power goes. A child that goes on is told by
			// ext4 now and then that an fsync succeeded which the cut overtook.
			freeze(c.t, p)
			c.cut()
			kill9(p)
		})
		c.unmount()
		c.mount()
		gone += f.check(c.t)
	}
	return gone
}

// freeze stops a process and waits until all of its threads stand.
func freeze(t *testing.T, p *os.Process) {
	t.Helper()
	if err := p.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for running := true; running; {
		running = false
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pid))
		if err != nil || len(states) == 0 {
			t.Fatalf("no threads of %d: %v", p.Pid, err)
		}
		for _, s := range states {
			text, err := os.ReadFile(s)
			if err != nil {
				continue // that thread has ended
			}
			_, state, _ := strings.Cut(string(text), ") ")
			running = running || !strings.HasPrefix(state, "T")
		}
	}
}

// E2, the journal's part: no acknowledged packet is gone after a power cut, on
// ext4 and on xfs.
func TestE2PowerCut(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			c := newCuttable(t, kind)
			f := newFamily(filepath.Join(c.dir, "journal"))
			if gone := c.cuts(f, 6); gone != 0 {
				t.Errorf("%d of %d acknowledged packets are gone", gone, len(f.acked))
			}
		})
	}
}

// The test above is worth something: a journal that acknowledges before the
// fsync is found out.
func TestE2FindsAJournalThatDoesNotSync(t *testing.T) {
	c := newCuttable(t, "ext4")
	f := newFamily(filepath.Join(c.dir, "journal"))
	f.env = []string{"PANTAU_JOURNAL_UNSAFE=1"}
	if gone := c.cuts(f, 3); gone == 0 {
		t.Errorf("all of %d acknowledged packets survived power cuts without fsync", len(f.acked))
	}
}
