//go:build !race

package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// writerDir asks the test binary to be a gateway that only writes its spool.
const writerDir = "PANTAU_TEST_SPOOL_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		if err := writer(dir, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writer appends records and says of which it is sure: "epoch number" a line,
// written after the fsync.
func writer(dir string, out io.Writer) error {
	s, err := Open(Options{
		Dir: dir, Boot: clock.BootID{1}, FreeFloor: -1, SegmentBytes: 2 << 10, SyncEvery: time.Hour,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	m := clock.Mapping{Offset: 1764000000000, Quality: telemetry.TimeNTP, ID: telemetry.ClockID{Epoch: s.Epoch(), Counter: 1}}
	if err := s.AddMapping(m); err != nil {
		return err
	}
	var numbers []uint64
	for i := range 150 {
		// The value tells the number, so that the reader can compare.
		n, err := s.Append(Sample{Device: "udara", Boottime: time.Duration(i) * time.Second, Readings: []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(float64(i + 1))}}})
		if err != nil {
			return err
		}
		if n != uint64(i+1) {
			return fmt.Errorf("record %d has the number %d", i+1, n)
		}
		numbers = append(numbers, n)
		if i%7 != 6 {
			continue
		}
		if err := s.Flush(context.Background()); err != nil {
			return err
		}
		for _, n := range numbers {
			if _, err := fmt.Fprintf(out, "%v %d\n", s.Epoch(), n); err != nil {
				return err
			}
		}
		numbers = numbers[:0]
	}
	return s.Close()
}

// check opens what a writer left and holds it to what it was sure of.
func check(t *testing.T, dir, said string, boot byte) int {
	t.Helper()
	b := &bench{t: t, boot: boot}
	b.now.Store(int64(time.Hour))
	b.o = Options{
		Dir: dir, SyncEvery: time.Hour, FreeFloor: -1, Logger: slog.New(slog.DiscardHandler),
		Boottime: func() time.Duration { return time.Duration(b.now.Load()) },
	}
	b.open()
	defer b.close()
	got, lost := b.drain()
	sure := 0
	for line := range strings.Lines(said) {
		epoch, number, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			continue // cut off by the kill
		}
		sure++
		if v, ok := got[epoch+"."+number]; !ok || v != float64(n) {
			t.Errorf("record %s of %s was fsynced, and came as %v (%v, lost %q)", number, epoch, v, ok, lost[epoch+"."+number])
		}
	}
	return sure
}

// TestNthWriteAndFsyncFailsOrKills: facts/reliability.md E3, E4, for the spool.
func TestNthWriteAndFsyncFailsOrKills(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("strace is needed: apt-get install strace")
	}
	for _, fault := range []string{"pwrite64:error=ENOSPC", "pwrite64:error=EIO", "fdatasync:error=EIO", "pwrite64:signal=KILL", "fdatasync:signal=KILL"} {
		for n := 1; n <= 3; n++ {
			t.Run(fmt.Sprintf("%s/%d", fault, n), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "spool")
				log := filepath.Join(t.TempDir(), "strace")
				cmd := exec.Command(strace, "-f", "-qq", "-o", log, "-e", "trace=pwrite64,fdatasync", "-e", fmt.Sprintf("inject=%s:when=%d", fault, n), os.Args[0])
				cmd.Env = append(os.Environ(), writerDir+"="+dir)
				var complaint strings.Builder
				cmd.Stderr = &complaint
				said, err := cmd.Output()
				if err != nil && !strings.Contains(fault, "KILL") {
					t.Fatalf("the writer gave up: %v: %s", err, &complaint)
				}
				trace, err := os.ReadFile(log)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(trace), "INJECTED") && !strings.Contains(string(trace), "killed") {
					t.Fatal("nothing was injected")
				}
				if sure := check(t, dir, string(said), 1); !strings.Contains(fault, "KILL") && sure < 140 {
					t.Errorf("only %d records were fsynced", sure)
				}
			})
		}
	}
}

// TestKilledAtRandom kills a writer while it writes, again and again on the
// same folder.
func TestKilledAtRandom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	var said strings.Builder
	for round := range 20 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writerDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			said.WriteString(lines.Text() + "\n")
			if n == round*6 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait()
	}
	if sure := check(t, dir, said.String(), 1); sure < 700 {
		t.Errorf("only %d records in 20 rounds", sure)
	}
}
