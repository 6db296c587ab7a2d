package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/gateway/sensors/fault"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// healthDevice is the device's name under which the gateway reports on itself.
const healthDevice = "gateway"

// healthInterval is how often it does.
const healthInterval = time.Minute

// health reads the gateway itself as if it were a sensor. What this machine
// can't tell is left out from the start; what fails later is a gap.
type health struct {
	probes []probe
}

// probe reads one quantity.
type probe struct {
	quantity string
	read     func() (float64, error)
}

// newHealth finds out what this machine tells. sys is /sys; depth and quality
// come from spool and clock.
func newHealth(sys, data string, uptime func() time.Duration, depth func() uint64, quality func() telemetry.TimeQuality) *health {
	h := &health{}
	add := func(quantity string, read func() (float64, error)) {
		h.probes = append(h.probes, probe{quantity, read})
	}
	if file := filepath.Join(sys, "class/thermal/thermal_zone0/temp"); exists(file) {
		add("cpu_temperature", func() (float64, error) { // millidegrees (thermal/sysfs-api)
			v, err := readInt(file, 10)
			return float64(v) / 1000, err
		})
	}
	if file, base := underVoltage(sys); file != "" {
		add("under_voltage", func() (float64, error) {
			v, err := readInt(file, base)
			return float64(v & 1), err // bit 0 of get_throttled: under-voltage now
		})
	}
	add("disk_free", func() (float64, error) {
		var s unix.Statfs_t
		if err := unix.Statfs(data, &s); err != nil {
			return 0, fmt.Errorf("read free space of %s: %w", data, err)
		}
		return float64(s.Bavail) * float64(s.Bsize) / 1e6, nil
	})
	add("spool_depth", func() (float64, error) { return float64(depth()), nil })
	add("clock_quality", func() (float64, error) { return float64(quality()), nil })
	add("uptime", func() (float64, error) { return uptime().Seconds(), nil })
	return h
}

// underVoltage finds the supply's alarm: the hwmon driver's (rpi_volt, where 1
// is an alarm), or the firmware's own bits, in hexadecimal.
func underVoltage(sys string) (file string, base int) {
	names, _ := filepath.Glob(filepath.Join(sys, "class/hwmon/hwmon*/name")) // the pattern is fine
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(text)) == "rpi_volt" {
			return filepath.Join(filepath.Dir(name), "in0_lcrit_alarm"), 10
		}
	}
	if file := filepath.Join(sys, "devices/platform/soc/soc:firmware/get_throttled"); exists(file) {
		return file, 16
	}
	return "", 0
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func readInt(file string, base int) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimPrefix(strings.TrimSpace(string(text)), "0x"), base, 64)
}

// Quantities says what this machine tells.
func (h *health) Quantities() []telemetry.Quantity {
	var out []telemetry.Quantity
	for _, p := range h.probes {
		if q, ok := telemetry.Lookup(p.quantity); ok {
			out = append(out, q)
		}
	}
	return out
}

// Sense reads all probes; one that fails is a gap of its own.
func (h *health) Sense(context.Context) ([]telemetry.Reading, error) {
	var out []telemetry.Reading
	for _, p := range h.probes {
		v, err := p.read()
		if err != nil {
			out = append(out, telemetry.Reading{Quantity: p.quantity, Gap: telemetry.GapNoAnswer})
			continue
		}
		out = append(out, telemetry.Reading{Quantity: p.quantity, Value: telemetry.Num(v)})
	}
	if len(out) == 0 {
		return nil, fault.ErrNotReady
	}
	return out, nil
}

// Close does nothing.
func (h *health) Close() error { return nil }
