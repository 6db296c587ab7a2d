package firmwaresim

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
)

// ControlHelp describes the commands of the control socket.
const ControlHelp = `Commands, one a line:
  list                          parts, where they are, their fault, the faults they can have
  fail PART FAULT [DURATION]    break a part; with a duration (30s, 5m) it mends itself
  clear PART | all              mend
  smoke [DURATION [PEAK]]       a smoke episode from now on (default 60s, 180 µg/m³ of PM2.5)
  values                        what the world around the chips is like now
  help                          this text

Faults:
  no-answer  NACK on I2C, silence on a serial line; the part keeps its state
  crc        answers carry a wrong checksum
  stuck      the measured values stand still
  range      the measured values are outside what the part can measure
  slow       answers and measurements take far longer than the datasheet allows
  unplug     no answer; afterwards the part comes back as after power-up
             (a line, ttyAIR or ttyRTU: hang-up, and its link is gone meanwhile)
  broken     the part reports a fault of its own in its status
             (i2c-1: a line is held low, every transaction is a bus error)`

// desk takes commands and keeps the times at which faults end.
type desk struct {
	b    *bench
	mu   sync.Mutex
	ends map[string]ending
}

// ending is a fault's end.
type ending struct {
	at    time.Time
	timer *time.Timer
}

func newDesk(b *bench) *desk { return &desk{b: b, ends: map[string]ending{}} }

// serve takes connections until ctx ends, and waits for them.
func (d *desk) serve(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer func() {
		conns.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, e := range d.ends {
			e.timer.Stop()
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })() // Accept says so
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on the control socket: %w", err)
		}
		conns.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			d.talk(c)
		})
	}
}

// talk answers each line with any number of lines and a last one, "ok" or
// "error: why".
func (d *desk) talk(c io.ReadWriter) {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		text, err := d.do(strings.Fields(lines.Text()))
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		verdict := "ok"
		if err != nil {
			verdict = "error: " + err.Error()
		}
		if _, err := io.WriteString(c, text+verdict+"\n"); err != nil {
			return // the other side is gone
		}
	}
}

func (d *desk) do(words []string) (string, error) {
	if len(words) == 0 {
		return "", errors.New("no command; try help")
	}
	args := words[1:]
	switch words[0] {
	case "list":
		if len(args) == 1 && args[0] == "json" {
			return d.listJSON()
		}
		return d.list()
	case "fail":
		return "", d.fail(args)
	case "clear":
		return "", d.clear(args)
	case "smoke":
		return "", d.smoke(args)
	case "values":
		return d.values()
	case "help":
		return ControlHelp, nil
	}
	return "", fmt.Errorf("no command %q; try help", words[0])
}

// Entry is a part as the control socket lists it.
type Entry struct {
	Name   string       `json:"name"`
	Where  string       `json:"where"`
	Fault  chip.Fault   `json:"fault"`          // empty: healthy
	Ends   *time.Time   `json:"ends,omitempty"` // absent: lasts until cleared
	Faults []chip.Fault `json:"faults"`
}

func (d *desk) entries() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Entry
	for _, p := range d.b.parts {
		e := Entry{Name: p.name, Where: p.where, Fault: p.Fault(), Faults: p.Faults()}
		if end, ok := d.ends[p.name]; ok {
			e.Ends = &end.at
		}
		out = append(out, e)
	}
	return out
}

func (d *desk) list() (string, error) {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, e := range d.entries() {
		state, ends := "healthy", ""
		if e.Fault != chip.None {
			state = string(e.Fault)
		}
		if e.Ends != nil {
			ends = " for " + time.Until(*e.Ends).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\t%s\n", e.Name, e.Where, state, ends, strings.Trim(fmt.Sprint(e.Faults), "[]"))
	}
	err := w.Flush()
	return text.String(), err
}

func (d *desk) listJSON() (string, error) {
	p, err := json.Marshal(d.entries())
	return string(p), err
}

func (d *desk) find(name string) (part, error) {
	var names []string
	for _, p := range d.b.parts {
		if p.name == name {
			return p, nil
		}
		names = append(names, p.name)
	}
	return part{}, fmt.Errorf("no part %q; there are %s", name, strings.Join(names, ", "))
}

func (d *desk) fail(args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return errors.New("usage: fail PART FAULT [DURATION]")
	}
	p, err := d.find(args[0])
	if err != nil {
		return err
	}
	var lasts time.Duration
	if len(args) == 3 {
		if lasts, err = positive(args[2]); err != nil {
			return err
		}
	}
	if args[1] == "" {
		return errors.New("fault is empty")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := p.Fail(chip.Fault(args[1])); err != nil {
		return err
	}
	d.forget(p.name)
	if lasts > 0 {
		at := time.Now().Add(lasts)
		d.ends[p.name] = ending{at, time.AfterFunc(lasts, func() { d.expire(p, at) })}
	}
	d.b.o.Logger.Info("fault", "part", p.name, "fault", args[1], "for", lasts)
	return nil
}

// expire mends a part unless it has got another fault meanwhile.
func (d *desk) expire(p part, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ends[p.name].at != at {
		return
	}
	delete(d.ends, p.name)
	_ = p.Fail(chip.None) // mending is always possible
	d.b.o.Logger.Info("mended", "part", p.name)
}

// forget drops a part's pending end. The caller holds mu.
func (d *desk) forget(name string) {
	if e, ok := d.ends[name]; ok {
		e.timer.Stop()
		delete(d.ends, name)
	}
}

func (d *desk) clear(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: clear PART | all")
	}
	mend := d.b.parts
	if args[0] != "all" {
		p, err := d.find(args[0])
		if err != nil {
			return err
		}
		mend = []part{p}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range mend {
		d.forget(p.name)
		if err := p.Fail(chip.None); err != nil {
			return err
		}
	}
	return nil
}

// The episode where nothing else is asked for.
const (
	SmokeFor  = time.Minute
	SmokePeak = 180.0
)

func (d *desk) smoke(args []string) error {
	lasts, peak := SmokeFor, SmokePeak
	var err error
	if len(args) > 2 {
		return errors.New("usage: smoke [DURATION [PEAK]]")
	}
	if len(args) > 0 {
		if lasts, err = positive(args[0]); err != nil {
			return err
		}
	}
	if len(args) > 1 {
		if peak, err = strconv.ParseFloat(args[1], 64); err != nil || !(peak > 0 && peak <= 1000) {
			return fmt.Errorf("peak %q: want µg/m³ above 0, at most 1000", args[1])
		}
	}
	d.b.smoke(time.Now(), lasts, peak)
	d.b.o.Logger.Info("smoke", "for", lasts, "peak", peak)
	return nil
}

func positive(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("duration %q: want a positive one, for example 30s or 5m", text)
	}
	return d, nil
}

func (d *desk) values() (string, error) {
	now := d.b.now()
	a, bin := d.b.site.Air(now), d.b.site.Bin(now)
	text := fmt.Sprintf("time      %s\nPM2.5     %.1f µg/m³\nPM10      %.1f µg/m³\nCO2       %.0f ppm\nclimate   %.2f °C, %.1f %%, %.1f hPa, rain: %v\nbin       %.1f %%, %.0f mm\n",
		now.UTC().Format(time.RFC3339), a.PM25, a.PM10, a.CO2, a.Temperature, a.Humidity, a.Pressure, a.Raining, bin.Fill, bin.Distance)
	p, s := d.b.site.Load(now, d.b.o.PZEMLoad), d.b.site.Load(now, d.b.o.SDMLoad)
	text += fmt.Sprintf("pzem004t  %.1f V, %.1f W, %.3f kWh\nsdm120    %.1f V, %.1f W, %.3f kWh", p.Voltage, p.Power, p.Energy, s.Voltage, s.Power, s.Energy)
	return text, nil
}

// ErrNotRunning means that nothing answers on a folder's control socket.
var ErrNotRunning = errors.New("no firmware-sim chips runs in this folder")

// Control sends one command to the control socket in a chips folder and
// returns the answer without its last line. An error wraps ErrNotRunning if
// nobody answers.
func Control(ctx context.Context, dir string, command ...string) (string, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", dir+"/"+ControlSocket)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	if _, err := io.WriteString(c, strings.Join(command, " ")+"\n"); err != nil {
		return "", fmt.Errorf("send the command: %w", err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "ok":
			return text.String(), nil
		case strings.HasPrefix(line, "error: "):
			return text.String(), errors.New(strings.TrimPrefix(line, "error: "))
		default:
			text.WriteString(line + "\n")
		}
	}
	return text.String(), fmt.Errorf("the answer breaks off: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}
