// Package firmwaresim runs the simulated chips of one gateway as things that a
// gateway program can open: an I2C bus behind a unix socket, serial ports as
// pseudo-terminals, and a control socket through which they are broken and
// mended. What they measure comes from a simulated world.
//
// It promises that everything it made in its folder is gone when it stops, and
// that the same seed, site and time give the same values.
package firmwaresim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/firmware-sim/world"
)

// The names in a chips folder.
const (
	I2CSocket     = "i2c-1.sock"
	AirPort       = "ttyAIR" // link to the ultrasonic ranger's pseudo-terminal
	RTUPort       = "ttyRTU" // link to the pseudo-terminal of the Modbus RTU line
	ControlSocket = "control.sock"
)

// The Modbus addresses of the meters.
const (
	PZEMAddress = 1
	SDMAddress  = 2
)

// Options say which chips run, where, and in what world.
type Options struct {
	Dir       string // folder of sockets and links; made if absent
	ReadyFile string // written when all of them can be opened, removed at the end; empty: none
	Seed      uint64
	Site      string    // name of the place in the world
	Start     time.Time // the world's time at the start; zero: now
	Speed     float64   // the world's seconds in one second; 0: 1

	SmokeAfter time.Duration // from the start to the smoke episode, in real time; 0: none
	SmokeFor   time.Duration // how long it lasts, in real time
	SmokePeak  float64       // µg/m³ of PM2.5

	PZEMLoad, SDMLoad world.LoadKind // whose electricity the meters measure
	Without           []string       // names of parts to leave out
	Logger            *slog.Logger   // nil: none
	Started           func()         // called when the ready file is written; may be nil
}

// ErrRunning means that another process serves the folder.
var ErrRunning = errors.New("another firmware-sim serves this folder")

// parts are the names of all parts, in the order in which they are listed.
var parts = []string{"sps30", "scd41", "bme280", "a02yyuw", "pzem004t", "sdm120"}

// Parts lists the names of all parts.
func Parts() []string { return slices.Clone(parts) }

func (o *Options) check() error {
	switch {
	case o.Dir == "":
		return errors.New("dir: is empty; name a folder for sockets and links")
	case o.Speed < 0:
		return fmt.Errorf("speed: %v is negative; time cannot run backwards", o.Speed)
	case o.SmokeAfter < 0:
		return fmt.Errorf("smoke-after: %v is negative", o.SmokeAfter)
	case o.SmokeAfter > 0 && (o.SmokeFor <= 0 || o.SmokePeak <= 0):
		return fmt.Errorf("smoke-for %v, smoke-peak %v: an episode needs both above zero", o.SmokeFor, o.SmokePeak)
	}
	for _, name := range o.Without {
		if !slices.Contains(parts, name) {
			return fmt.Errorf("without: no part %q; the parts are %s", name, strings.Join(parts, ", "))
		}
	}
	if p := filepath.Join(o.Dir, ControlSocket); len(p) > 107 {
		return fmt.Errorf("dir: %s has %d bytes; the path of a unix socket may have 107", p, len(p))
	}
	return nil
}

// OptionsError marks options that the caller can mend.
type OptionsError struct{ Err error }

func (e *OptionsError) Error() string { return "options: " + e.Err.Error() }
func (e *OptionsError) Unwrap() error { return e.Err }

// Run plays the chips until ctx ends. It returns nil after a clean end.
func Run(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return &OptionsError{err}
	}
	if o.Speed == 0 {
		o.Speed = 1
	}
	if o.Start.IsZero() {
		o.Start = time.Now()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return fmt.Errorf("make the chips' folder: %w", err)
	}
	return newBench(o).run(ctx)
}

// removeReady removes the ready file, if there is one.
func (o *Options) removeReady() error {
	if o.ReadyFile == "" {
		return nil
	}
	if err := os.Remove(o.ReadyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the ready file: %w", err)
	}
	return nil
}

// bench is everything that stands on the simulated gateway's table.
type bench struct {
	o     Options
	born  time.Time
	world *world.World
	site  world.Site
	bus   *chip.Bus
	parts []part // as listed: the bus, its parts, the lines, their parts
	lines []*line
}

// part is a thing with a name that can fail.
type part struct {
	name, where string
	chip.Part
}

func newBench(o Options) *bench {
	b := &bench{o: o, born: time.Now(), world: world.New(o.Seed), bus: chip.NewBus()}
	b.site = b.world.Site(o.Site)
	has := func(name string) bool { return !slices.Contains(o.Without, name) }
	add := func(name, where string, p chip.Part) { b.parts = append(b.parts, part{name, where, p}) }

	add("i2c-1", I2CSocket, b.bus)
	if has("sps30") {
		p := chip.NewSPS30(b.particles, b.now)
		b.bus.Attach(chip.SPS30Address, p)
		add("sps30", "i2c-1 0x69", p)
	}
	if has("scd41") {
		p := chip.NewSCD41(b.climate, b.now)
		b.bus.Attach(chip.SCD41Address, p)
		add("scd41", "i2c-1 0x62", p)
	}
	if has("bme280") {
		p := chip.NewBME280(b.climate, b.now)
		b.bus.Attach(chip.BME280Address, p)
		add("bme280", "i2c-1 0x76", p)
	}
	if has("a02yyuw") {
		p := chip.NewA02YYUW(b.distance, b.now)
		l := b.line(AirPort, p)
		add(AirPort, AirPort, l)
		add("a02yyuw", AirPort, p)
	}
	if has("pzem004t") || has("sdm120") {
		rtu := chip.NewRTU()
		add(RTUPort, RTUPort, b.line(RTUPort, rtu))
		if has("pzem004t") {
			p := chip.NewPZEM004T(PZEMAddress, b.mains(o.PZEMLoad), b.now)
			rtu.Attach(p)
			add("pzem004t", fmt.Sprintf("%s address %d", RTUPort, PZEMAddress), p)
		}
		if has("sdm120") {
			p := chip.NewSDM120(SDMAddress, b.mains(o.SDMLoad), b.now)
			rtu.Attach(p)
			add("sdm120", fmt.Sprintf("%s address %d", RTUPort, SDMAddress), p)
		}
	}
	if o.SmokeAfter > 0 {
		b.smoke(b.born.Add(o.SmokeAfter), o.SmokeFor, o.SmokePeak)
	}
	return b
}

func (b *bench) line(name string, w chip.Wire) *line {
	l := newLine(filepath.Join(b.o.Dir, name), w, b.o.Logger)
	b.lines = append(b.lines, l)
	return l
}

// worldTime is the world's time at a real one.
func (b *bench) worldTime(real time.Time) time.Time {
	return b.o.Start.Add(time.Duration(float64(real.Sub(b.born)) * b.o.Speed))
}

// now is the clock of the world and of the chips in it.
func (b *bench) now() time.Time { return b.worldTime(time.Now()) }

// smoke sets the episode that begins at a real time and lasts a real while.
func (b *bench) smoke(from time.Time, lasts time.Duration, peak float64) {
	start := b.worldTime(from)
	b.world.SetSmoke(world.Smoke{Start: start, For: b.worldTime(from.Add(lasts)).Sub(start), Peak: peak})
}

// run serves until ctx ends or something fails.
func (b *bench) run(ctx context.Context) (err error) {
	control, err := listen(ctx, filepath.Join(b.o.Dir, ControlSocket))
	if err != nil {
		return err
	}
	defer control.Close()
	// The folder is ours from here on, and so is a ready file of an earlier run.
	if err := b.o.removeReady(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.o.removeReady()) }()
	i2c, err := listen(ctx, filepath.Join(b.o.Dir, I2CSocket))
	if err != nil {
		return err
	}
	defer i2c.Close()
	opened := 0
	defer func() {
		for _, l := range b.lines[:opened] {
			l.close() // only what its run did not close yet
		}
	}()
	for _, l := range b.lines {
		if err := l.open(); err != nil {
			return err
		}
		opened++
	}
	if b.o.ReadyFile != "" {
		if err := os.WriteFile(b.o.ReadyFile, []byte(b.o.Dir+"\n"), 0o644); err != nil {
			return fmt.Errorf("write the ready file: %w", err)
		}
	}
	if b.o.Started != nil {
		b.o.Started()
	}
	b.o.Logger.Info("chips ready", "dir", b.o.Dir, "site", b.o.Site, "seed", b.o.Seed, "speed", b.o.Speed)

	g, ctx := errgroup.WithContext(ctx)
	desk := newDesk(b)
	g.Go(func() error { return chip.ServeI2C(ctx, i2c, b.bus) })
	g.Go(func() error { return desk.serve(ctx, control) })
	for _, l := range b.lines {
		g.Go(func() error { return l.run(ctx) })
	}
	err = g.Wait()
	b.o.Logger.Info("chips stopped", "dir", b.o.Dir)
	return err
}

// listen opens a unix socket; one that a killed process left behind is replaced.
func listen(ctx context.Context, path string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		var d net.Dialer
		if c, dialed := d.DialContext(ctx, "unix", path); dialed == nil {
			_ = c.Close()
			return nil, fmt.Errorf("listen on %s: %w", path, ErrRunning)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of an earlier run: %w", err)
		}
		l, err = lc.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}
