package settings

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration reads "10s" or "1m30s", as Go writes it; never negative.
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("duration %q: want for example 10s or 1m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String writes 10s, 1m0s.
func (d Duration) String() string { return time.Duration(d).String() }

// Bytes is a size that reads "256MiB", "10GB" or a plain number of bytes; never
// negative.
type Bytes int64

// byteUnits are in the order in which a size is tried to be written.
var byteUnits = []struct {
	suffix string
	factor int64
}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"kB", 1e3}, {"B", 1}}

// UnmarshalText reads a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	s, factor := strings.TrimSpace(string(text)), int64(1)
	for _, unit := range byteUnits {
		if digits, ok := strings.CutSuffix(s, unit.suffix); ok {
			s, factor = digits, unit.factor
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return fmt.Errorf("size %q: want for example 10GB or 512MiB", text)
	}
	*b = Bytes(n * factor)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String writes the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, unit := range byteUnits {
		if b != 0 && int64(b)%unit.factor == 0 {
			return strconv.FormatInt(int64(b)/unit.factor, 10) + unit.suffix
		}
	}
	return "0B"
}
