//go:build !race

package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary play the server that is killed: it writes a
// line for every acknowledgement.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PANTAU_JOURNAL_CHILD"); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(dir string) error {
	start, err := strconv.Atoi(os.Getenv("PANTAU_JOURNAL_START"))
	if err != nil {
		return err
	}
	j, err := Open(context.Background(), Options{
		Dir: dir, MaxBytes: 8 << 30, Reserve: 1 << 20, Logger: quiet, withoutSync: os.Getenv("PANTAU_JOURNAL_UNSAFE") != "",
	})
	if err != nil {
		return err
	}
	gate := make(chan struct{}, 64)
	for n := start; ; n++ {
		gate <- struct{}{}
		j.Submit(packet(n), func(err error) {
			if err == nil {
				fmt.Println(n) // one write: a line is whole or not there
			}
			<-gate
		})
	}
}

// family runs children on one folder, and knows what they got acknowledged.
type family struct {
	dir      string
	env      []string
	acked    map[int]bool
	next     int
	position uint64
	said     strings.Builder // the last child's stderr
}

func newFamily(dir string) *family { return &family{dir: dir, acked: map[int]bool{}} }

// run starts a child (below a wrapper such as strace), and ends it by kill once
// enough lines came; a child that ends by itself is fine. It returns how many
// lines came.
func (f *family) run(t testing.TB, enough int, kill func(*os.Process), wrapper ...string) (lines int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := append(slices.Clone(wrapper), exe)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(append(os.Environ(), f.env...), "PANTAU_JOURNAL_CHILD="+f.dir, "PANTAU_JOURNAL_START="+strconv.Itoa(f.next))
	f.said.Reset()
	cmd.Stderr = &f.said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v (apt-get install %[1]s)", command[0], err)
	}
	for scan := bufio.NewScanner(out); scan.Scan(); {
		n, err := strconv.Atoi(scan.Text())
		if err != nil {
			t.Fatalf("the child says %q", scan.Text())
		}
		f.acked[n] = true
		f.next = max(f.next, n+1)
		if lines++; lines == enough {
			kill(cmd.Process)
		}
	}
	_ = cmd.Wait() // killed, or ended by what was injected
	f.next += 1000 // what was submitted and not acknowledged
	return lines
}

func kill9(p *os.Process) { _ = p.Kill() }

// check opens the journal as the next start does and compares.
func (f *family) check(t testing.TB) (missing int) {
	t.Helper()
	j := open(t, Options{Dir: f.dir, MaxBytes: 8 << 30})
	defer shut(t, j)
	payloads, seqs := readAll(t, j, 0)
	seen := map[int]int{}
	before := -1
	for _, p := range payloads {
		n, err := strconv.Atoi(strings.TrimPrefix(p, "packet "))
		if err != nil {
			t.Fatal(err)
		}
		if n <= before {
			t.Fatalf("packet %d after %d", n, before)
		}
		before = n
		seen[n]++
	}
	for n := range f.acked {
		if seen[n] != 1 {
			missing++
		}
	}
	if len(seqs) > 0 {
		if last := seqs[len(seqs)-1]; last < f.position {
			t.Errorf("positions went back from %d to %d", f.position, last)
		} else {
			f.position = last
		}
	}
	return missing
}

// E1, the journal's part: everything acknowledged survives kill -9, in order,
// each once.
func TestE1AcknowledgedPacketsSurviveKill9(t *testing.T) {
	f := newFamily(t.TempDir())
	for round := range 6 {
		f.run(t, 200+rand.IntN(3000), kill9)
		if n := f.check(t); n != 0 {
			t.Fatalf("round %d: %d of %d acknowledged packets are gone", round, n, len(f.acked))
		}
	}
	if len(f.acked) < 1000 {
		t.Errorf("only %d packets were acknowledged in all rounds", len(f.acked))
	}
}

// E3 and E4: the n-th call of the kernel fails, or is the last one. What was
// acknowledged is there; a journal that met an error goes on by itself or says
// why it does not start, and starts once the disk is well.
func TestE3E4EveryCallMayFail(t *testing.T) {
	var met atomic.Int32
	t.Run("faults", func(t *testing.T) {
		for _, fault := range []string{
			"fsync:error=EIO", "fsync:error=ENOSPC", "fsync:signal=KILL",
			"pwrite64:error=EIO", "pwrite64:error=ENOSPC", "pwrite64:signal=KILL",
			"/^rename:error=EIO", "/^rename:signal=KILL",
		} {
			for _, n := range []int{1, 4, 20} {
				t.Run(fmt.Sprintf("%s:when=%d", strings.Trim(fault, "/^"), n), func(t *testing.T) {
					t.Parallel()
					f := newFamily(t.TempDir())
					f.run(t, 200, kill9) // something is there to be lost
					trace := filepath.Join(t.TempDir(), "trace")
					calls, _, _ := strings.Cut(fault, ":")
					lines := f.run(t, 300, func(p *os.Process) { killTraced(t, p) }, "strace", "-f", "-qq", "-o", trace,
						"-e", "trace="+calls, "-e", fmt.Sprintf("inject=%s:when=%d", fault, n))
					if lost := f.check(t); lost != 0 {
						t.Errorf("%d of %d acknowledged packets are gone", lost, len(f.acked))
					}
					text, err := os.ReadFile(trace)
					if err != nil {
						t.Fatal(err)
					}
					failed := strings.Contains(string(text), "INJECTED")
					if failed || strings.Contains(string(text), "killed by SIGKILL") && lines < 300 {
						met.Add(1)
					}
					// strace counts calls by thread, so a start may meet its fault again
					// and again; then it says so.
					if failed && lines < 300 && f.said.Len() == 0 {
						t.Errorf("it acknowledged %d packets and no more, and said nothing", lines)
					}
				})
			}
		}
	})
	if n := met.Load(); n < 12 {
		t.Errorf("only %d of 24 runs met their fault", n)
	}
}

// killTraced ends strace and what it traces.
func killTraced(t testing.TB, strace *os.Process) {
	t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", strace.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(c)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// BenchmarkOpen is the time from kill -9 to an open journal of 1 GB, with its
// files in the page cache and, as after a power cut, without.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	o := Options{Dir: dir, MaxBytes: 8 << 30, Reserve: 1 << 20, Logger: quiet}
	j := open(b, o)
	fillTo(b, j, 1<<30)
	shut(b, j)
	for _, cold := range []bool{false, true} {
		b.Run(fmt.Sprintf("cold=%v", cold), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				newFamily(dir).run(b, 1, kill9)
				if cold {
					forget(b, filepath.Join(streamsDir(dir), streamName, "msgs"))
				}
				b.StartTimer()
				j, err := Open(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				shut(b, j)
				b.StartTimer()
			}
		})
	}
}

// forget drops a folder's files from the page cache.
func forget(b *testing.B, dir string) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
	})
	if err != nil {
		b.Fatal(err)
	}
}
