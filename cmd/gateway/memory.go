package main

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// keepSmall keeps what the program holds of the machine's memory well below the 15 MB
// that are promised. A small heap is collected rather early; and the kernel does not
// round it up to huge pages of 2 MiB, as it does where that is its default: what it
// gave so before is given back. An old kernel that cannot leaves it at that.
func keepSmall() {
	debug.SetGCPercent(25)
	_ = unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0)
	debug.FreeOSMemory()
}
