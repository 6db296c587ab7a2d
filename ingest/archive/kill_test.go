//go:build !race

package archive

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/pantau-id/pantau/ingest/influx"
)

// A kill before each step, of a process of its own, loses nothing; the next pass
// ends where an undisturbed one would have.
func TestAKillAtEachStepLosesNothing(t *testing.T) {
	for _, late := range []bool{false, true} { // the first file of a day, and a revision
		for _, step := range []string{"written", "synced", "checked", "named", "listed", "deleted"} {
			name := step
			if late {
				name += " of a revision"
			}
			t.Run(name, func(t *testing.T) {
				s := start(t)
				s.fill(t)
				if late {
					if err := s.Pass(t.Context()); err != nil {
						t.Fatal(err)
					}
					s.lateData(t)
				}
				before := read(t, s, influx.Span{})
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), "PANTAU_ARCHIVE_KILL_AT="+step, "PANTAU_ARCHIVE_URL="+s.url, "PANTAU_ARCHIVE_PREFIX="+s.prefix, "PANTAU_ARCHIVE_DIR="+s.o.Dir)
				out, err := child.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the process was not killed: %v: %s", err, out)
				}
				s.reopen(t)
				if got := read(t, s, influx.Span{}); !slices.Equal(got, before) {
					t.Errorf("after the kill: %d points of %d", len(got), len(before))
				}
				if err := s.Pass(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := read(t, s, influx.Span{}); !slices.Equal(got, before) {
					t.Errorf("after the next pass: %d points of %d", len(got), len(before))
				}
				if n := s.inDatabase(t); n != 0 {
					t.Errorf("%d points are in the database still", n)
				}
				want := 1
				if late {
					want = 2
				}
				if v, err := s.Verify(t.Context()); err != nil || len(v.Bad) > 0 || v.Files != want {
					t.Errorf("%+v, %v", v, err)
				}
				s.onlyListed(t)
			})
		}
	}
}
