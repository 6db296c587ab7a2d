package clock

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// BootID is the kernel's random id of one boot (boot_id, a UUID).
type BootID [16]byte

// ParseBootID reads a UUID as the kernel writes it.
func ParseBootID(s string) (BootID, error) {
	var id BootID
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(s), "-", ""))
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("boot id %q: want a UUID", s)
	}
	copy(id[:], b)
	return id, nil
}

// String returns 32 hexadecimal digits.
func (b BootID) String() string { return hex.EncodeToString(b[:]) }

// Mapping turns CLOCK_BOOTTIME of one boot into UTC. It is a spool record, and
// never changes once recorded.
type Mapping struct {
	Boot BootID
	// Ordinal counts the mappings of a boot from 1; the spool sets it. What was
	// sampled before the first one is stamped by that one, for ever.
	Ordinal uint32
	From    int64 // CLOCK_BOOTTIME in milliseconds at which it began
	Offset  int64 // Unix milliseconds UTC at CLOCK_BOOTTIME 0
	Quality telemetry.TimeQuality
	ID      telemetry.ClockID
}

// UTC returns the Unix milliseconds of a CLOCK_BOOTTIME in milliseconds.
// [tck-id-payloads-metric-timestamp-in-UTC]
func (m Mapping) UTC(boottime int64) int64 { return boottime + m.Offset }

// Millis is how CLOCK_BOOTTIME is kept: whole milliseconds, so that two
// different ones stay different in UTC.
func Millis(boottime time.Duration) int64 { return boottime.Milliseconds() }
