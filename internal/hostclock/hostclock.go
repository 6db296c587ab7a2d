// Package hostclock asks the Linux kernel for time: whether UTC is
// synchronised, how long ago the machine booted, and which boot this is. The
// gateway stamps samples with it, the server judges by receive time only while
// its own clock can be trusted.
package hostclock

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Synced reports whether the kernel's clock is disciplined by NTP
// (adjtimex(2): STA_UNSYNC is not set). Containers and virtual machines whose
// host keeps the time may say false for ever; programs have a setting for that.
func Synced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}

// Boottime returns CLOCK_BOOTTIME: the time since boot, suspend included. It
// never steps.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39; without it nothing can be stamped.
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err))
	}
	return time.Duration(ts.Nano())
}

// BootID returns the kernel's random id of this boot.
func BootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read this boot's id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
