package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/hostclock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Options are what a Clock needs. Epoch, Boot and Record are required.
type Options struct {
	Epoch telemetry.Epoch
	Boot  BootID
	Last  *Mapping // the newest mapping of this boot in the spool, if any
	// Record keeps a mapping; spool.AddMapping does.
	Record func(Mapping) error
	// AssumeNTP takes the machine's UTC for synchronised (time = "assume-ntp").
	AssumeNTP bool
	File      string        // keeps the last known UTC over a restart; "" = not kept
	Every     time.Duration // between two looks at the kernel; default 1 s
	Build     time.Time     // when the program was built; nothing is earlier
	Logger    *slog.Logger

	Boottime func() time.Duration // default hostclock.Boottime
	Now      func() time.Time     // default time.Now
	Synced   func() bool          // default hostclock.Synced
	RTC      func() bool          // default: the kernel took its time from a clock chip
}

// keepEvery is how often the last known UTC is written down.
const keepEvery = 10 * time.Minute

// Clock follows the kernel's and the server's time. Its methods may be called
// from many goroutines.
type Clock struct {
	o    Options
	kept time.Time // what File said at start

	mu     sync.Mutex
	mapper *Mapper
}

// New checks the options, records the mapping that is known already (from an
// earlier process of this boot, or from the kernel), and reads File.
func New(o Options) (*Clock, error) {
	if o.Epoch == 0 || o.Record == nil {
		return nil, errors.New("clock: Epoch and Record are required")
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Boottime == nil {
		o.Boottime = hostclock.Boottime
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Synced == nil {
		o.Synced = hostclock.Synced
	}
	if o.RTC == nil {
		o.RTC = func() bool { return fromRTC("/sys/class/rtc/rtc0", o.Now()) }
	}
	mo := MapperOptions{Epoch: o.Epoch, Boot: o.Boot, Last: o.Last}
	if !o.Build.IsZero() {
		mo.Earliest = o.Build.UnixMilli()
	}
	c := &Clock{o: o, mapper: NewMapper(mo)}
	if o.File != "" {
		kept, err := readTime(o.File)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			o.Logger.Warn("the last known time could not be read, going on without it", "error", err)
		}
		c.kept = kept
	}
	if m, ok := c.mapper.Start(Millis(o.Boottime())); ok {
		if err := c.record(m); err != nil {
			return nil, err
		}
	}
	return c, c.look()
}

// Run looks at the kernel's time until ctx ends, and writes down the last known
// UTC from time to time and at the end.
func (c *Clock) Run(ctx context.Context) error {
	tick := time.NewTicker(c.o.Every)
	defer tick.Stop()
	keep := time.NewTicker(keepEvery)
	defer keep.Stop()
	for {
		select {
		case <-ctx.Done():
			return c.keep()
		case <-tick.C:
			if err := c.look(); err != nil {
				c.o.Logger.Error("a clock mapping could not be recorded", "error", err)
			}
		case <-keep.C:
			if err := c.keep(); err != nil {
				c.o.Logger.Warn("the last known time could not be written", "error", err)
			}
		}
	}
}

// Server takes the server's UTC, in Unix milliseconds, received at the given
// CLOCK_BOOTTIME.
func (c *Clock) Server(utc int64, boottime time.Duration) {
	err := c.observe(Observation{Boottime: Millis(boottime), UTC: utc, Quality: telemetry.TimeServer})
	if err != nil {
		c.o.Logger.Error("a clock mapping could not be recorded", "error", err)
	}
}

// UTC maps a CLOCK_BOOTTIME by the mapping in force; false while there is none.
func (c *Clock) UTC(boottime time.Duration) (time.Time, telemetry.TimeQuality, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.mapper.Current()
	if !ok {
		return time.Time{}, telemetry.TimeNone, false
	}
	return time.UnixMilli(m.UTC(Millis(boottime))).UTC(), m.Quality, true
}

// Best returns the present UTC if it is known, or else the newest time that is
// known to have passed, and whether it was known.
func (c *Clock) Best() (time.Time, bool) {
	if t, _, ok := c.UTC(c.o.Boottime()); ok {
		return t, true
	}
	return Seed(c.o.Build, c.kept, time.UnixMilli(Earliest)).UTC(), false
}

// look asks the kernel once.
func (c *Clock) look() error {
	q := telemetry.TimeNone
	switch {
	case c.o.AssumeNTP || c.o.Synced():
		q = telemetry.TimeNTP
	case c.o.RTC():
		q = telemetry.TimeRTC
	}
	if q == telemetry.TimeNone {
		return nil
	}
	// The offset is read between two readings of CLOCK_BOOTTIME; when they lie
	// far apart something came between, and the nearest of a few pairs counts.
	var best Observation
	apart := time.Duration(math.MaxInt64)
	for range 5 {
		before := c.o.Boottime()
		utc := c.o.Now()
		after := c.o.Boottime()
		if d := after - before; d < apart {
			apart = d
			middle := before + d/2
			best = Observation{Boottime: Millis(middle), Quality: q}
			best.UTC = best.Boottime + utc.Add(-middle).UnixMilli()
		}
		if apart < 100*time.Microsecond {
			break
		}
	}
	return c.observe(best)
}

func (c *Clock) observe(o Observation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.mapper.Observe(o)
	if !ok {
		return nil
	}
	return c.record(m)
}

func (c *Clock) record(m Mapping) error {
	c.o.Logger.Info("a new mapping to UTC begins", "utc", time.UnixMilli(m.UTC(m.From)).UTC(), "quality", m.Quality, "clock", m.ID)
	if err := c.o.Record(m); err != nil {
		return fmt.Errorf("record clock mapping %v: %w", m.ID, err)
	}
	return nil
}

// keep writes the present UTC down, if it is known.
func (c *Clock) keep() error {
	t, known := c.Best()
	if c.o.File == "" || !known {
		return nil
	}
	tmp := c.o.File + ".new"
	if err := os.MkdirAll(filepath.Dir(c.o.File), 0o700); err != nil {
		return fmt.Errorf("keep the last known time: %w", err)
	}
	// Not fsynced: an older time, or none, is only a worse guess.
	if err := os.WriteFile(tmp, []byte(t.Format(time.RFC3339)+"\n"), 0o600); err != nil {
		return fmt.Errorf("keep the last known time: %w", err)
	}
	if err := os.Rename(tmp, c.o.File); err != nil {
		return fmt.Errorf("keep the last known time: %w", err)
	}
	return nil
}

func readTime(file string) (time.Time, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the last known time: %w", err)
	}
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if err != nil {
		return time.Time{}, fmt.Errorf("read the last known time from %s: %w", file, err)
	}
	return t, nil
}

// fromRTC reports whether the kernel set its clock from the clock chip at dir
// at boot, and the chip still agrees: a chip without a battery starts at 1970
// while something else restored the time of the last shutdown.
func fromRTC(dir string, now time.Time) bool {
	set, err := os.ReadFile(filepath.Join(dir, "hctosys"))
	if err != nil || strings.TrimSpace(string(set)) != "1" {
		return false
	}
	chip, err := os.ReadFile(filepath.Join(dir, "since_epoch"))
	if err != nil {
		return false
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(chip)), 10, 64)
	return err == nil && within(seconds, now.Unix(), 5)
}
