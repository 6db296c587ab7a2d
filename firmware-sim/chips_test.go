package firmwaresim

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
)

// events is a log handler through which a test waits for what happened.
type events struct {
	slog.Handler
	seen chan string
}

func newEvents() events { return events{slog.DiscardHandler, make(chan string, 100)} }

func (e events) Enabled(context.Context, slog.Level) bool { return true }
func (e events) Handle(_ context.Context, r slog.Record) error {
	e.seen <- r.Message
	return nil
}

func (e events) await(t *testing.T, message string) {
	t.Helper()
	for {
		select {
		case m := <-e.seen:
			if m == message {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("%q never happened", message)
		}
	}
}

// start runs chips and returns what stops them and reports Run's error.
func start(t *testing.T, o Options) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	o.Started = func() { close(ready) }
	go func() { ended <- Run(ctx, o) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the chips did not start: %v", err)
	}
	return func() error {
		cancel()
		return <-ended
	}
}

// i2c is a host on the I2C socket.
type i2c struct{ net.Conn }

func dial(t *testing.T, dir string) i2c {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(dir, I2CSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return i2c{c}
}

func (c i2c) tx(t *testing.T, addr uint16, w []byte, read int) (byte, []byte) {
	t.Helper()
	req := binary.BigEndian.AppendUint16(nil, addr)
	req = binary.BigEndian.AppendUint16(req, uint16(len(w)))
	req = binary.BigEndian.AppendUint16(req, uint16(read))
	if _, err := c.Write(append(req, w...)); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1+read)
	if _, err := io.ReadFull(c, p[:1]); err != nil {
		t.Fatal(err)
	}
	if p[0] == 0 {
		if _, err := io.ReadFull(c, p[1:]); err != nil {
			t.Fatal(err)
		}
	}
	return p[0], p[1:]
}

func readPZEM(t *testing.T, port *os.File) []byte {
	t.Helper()
	if _, err := port.Write([]byte{0x01, 0x04, 0x00, 0x00, 0x00, 0x0a, 0x70, 0x0d}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 25)
	if _, err := io.ReadFull(port, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEverythingInTheFolderAnswersAndIsGoneAfterwards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "chips")
	readyFile := filepath.Join(t.TempDir(), "ready")
	stop := start(t, Options{Dir: dir, ReadyFile: readyFile, Seed: 1, Site: "a"})
	if _, err := os.Stat(readyFile); err != nil {
		t.Error(err)
	}
	host := dial(t, dir)
	for _, addr := range []uint16{chip.SPS30Address, chip.SCD41Address, chip.BME280Address} {
		if st, _ := host.tx(t, addr, nil, 0); st != 0 {
			t.Errorf("probe of 0x%02x: status %d", addr, st)
		}
	}
	if _, p := host.tx(t, chip.BME280Address, []byte{0xd0}, 1); p[0] != 0x60 {
		t.Errorf("BME280's chip id %02x", p[0])
	}
	rtu, err := os.OpenFile(filepath.Join(dir, RTUPort), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rtu.Close()
	if v := binary.BigEndian.Uint16(readPZEM(t, rtu)[3:]); v < 2000 || v > 2400 {
		t.Errorf("the mains have %.1f V", float64(v)/10)
	}
	air, err := os.Open(filepath.Join(dir, AirPort))
	if err != nil {
		t.Fatal(err)
	}
	defer air.Close()
	frame := make([]byte, 4)
	if _, err := io.ReadFull(air, frame); err != nil || frame[0] != 0xff {
		t.Errorf("ranger: % x, %v", frame, err)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := os.Stat(readyFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ready file: %v", err)
	}
}

func TestFaultsOverTheControlSocket(t *testing.T) {
	dir, log := t.TempDir(), newEvents()
	stop := start(t, Options{Dir: dir, Logger: slog.New(log)})
	control := func(command ...string) string {
		t.Helper()
		text, err := Control(t.Context(), dir, command...)
		if err != nil {
			t.Fatalf("%v: %v", command, err)
		}
		return text
	}
	host := dial(t, dir)
	control("fail", "sps30", "no-answer")
	if st, _ := host.tx(t, chip.SPS30Address, nil, 0); st != 1 {
		t.Errorf("no-answer: status %d", st)
	}
	if st, _ := host.tx(t, chip.SCD41Address, nil, 0); st != 0 {
		t.Errorf("the part beside it: status %d", st)
	}
	var entries []Entry
	if err := json.Unmarshal([]byte(control("list", "json")), &entries); err != nil {
		t.Fatal(err)
	}
	if e := entries[1]; e.Name != "sps30" || e.Fault != chip.Silent || e.Ends != nil {
		t.Errorf("listed as %+v", e)
	}
	control("clear", "sps30")
	if st, _ := host.tx(t, chip.SPS30Address, nil, 0); st != 0 {
		t.Errorf("cleared: status %d", st)
	}
	control("fail", "sps30", "no-answer", "1ms")
	log.await(t, "mended")
	if st, _ := host.tx(t, chip.SPS30Address, nil, 0); st != 0 {
		t.Errorf("after the fault's time: status %d", st)
	}
	// The end of an earlier fault does not mend a later one.
	control("fail", "sps30", "no-answer", "1h")
	control("fail", "sps30", "crc")
	if text := control("list"); strings.Contains(text, "crc for") {
		t.Errorf("the later fault took over the earlier one's end:\n%s", text)
	}
	control("fail", "i2c-1", "broken")
	if st, _ := host.tx(t, chip.SCD41Address, nil, 0); st != 2 {
		t.Errorf("broken bus: status %d", st)
	}
	control("clear", "all")
	if text := control("list"); strings.Count(text, "healthy") != 9 {
		t.Errorf("after clear all:\n%s", text)
	}
	for _, wrong := range [][]string{{"fail", "sps30"}, {"fail", "nobody", "crc"}, {"fail", "bme280", "crc"}, {"fail", "sps30", "crc", "soon"},
		{"clear"}, {"clear", "nobody"}, {"dance"}, {"smoke", "0s"}, {"smoke", "1m", "NaN"}, {"fail", "ttyRTU", "crc"}} {
		if _, err := Control(t.Context(), dir, wrong...); err == nil {
			t.Errorf("%v was accepted", wrong)
		}
	}
	if text := control("help"); !strings.Contains(text, "unplug") {
		t.Errorf("help: %s", text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := Control(t.Context(), dir, "list"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("control of nothing: %v", err)
	}
}

func TestAnUnpluggedLineHangsUpAndComesBack(t *testing.T) {
	dir, log := t.TempDir(), newEvents()
	stop := start(t, Options{Dir: dir, Logger: slog.New(log)})
	link := filepath.Join(dir, RTUPort)
	port, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	readPZEM(t, port)
	if _, err := Control(t.Context(), dir, "fail", RTUPort, "unplug"); err != nil {
		t.Fatal(err)
	}
	log.await(t, "line unplugged")
	if n, err := port.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read after the hang-up: %d, %v", n, err)
	}
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link of an unplugged line: %v", err)
	}
	if _, err := Control(t.Context(), dir, "clear", RTUPort); err != nil {
		t.Fatal(err)
	}
	log.await(t, "line plugged in")
	again, err := os.OpenFile(link, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	readPZEM(t, again)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestASecondRunIsRefusedAndADeadOnesRemainsAreReplaced(t *testing.T) {
	dir := t.TempDir()
	readyFile := filepath.Join(dir, "ready")
	// What a killed run leaves behind: a socket without a listener, links.
	l, err := net.Listen("unix", filepath.Join(dir, I2CSocket))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if err := os.Symlink("/dev/pts/nowhere", filepath.Join(dir, AirPort)); err != nil {
		t.Fatal(err)
	}
	stop := start(t, Options{Dir: dir, ReadyFile: readyFile})
	if err := Run(t.Context(), Options{Dir: dir, ReadyFile: readyFile}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second run: %v", err)
	}
	if _, err := os.Stat(readyFile); err != nil {
		t.Errorf("the second run took the first one's ready file away: %v", err)
	}
	if st, _ := dial(t, dir).tx(t, chip.SCD41Address, nil, 0); st != 0 {
		t.Errorf("the first run no longer answers: status %d", st)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSmokeOnScheduleAndOnCommand(t *testing.T) {
	o := Options{Dir: "x", Speed: 60, Start: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		SmokeAfter: time.Minute, SmokeFor: SmokeFor, SmokePeak: SmokePeak, Logger: slog.New(slog.DiscardHandler)}
	b := newBench(o)
	pm := func(after time.Duration) float64 { return b.particles(b.worldTime(b.born.Add(after))).PM2_5 }
	for _, c := range []struct {
		after time.Duration
		smoke bool
	}{{30 * time.Second, false}, {90 * time.Second, true}, {121 * time.Second, false}} {
		if v := pm(c.after); (v > 100) != c.smoke || (!c.smoke && v > 55) {
			t.Errorf("%v after the start: PM2.5 %.0f", c.after, v)
		}
	}
	if _, err := newDesk(b).do([]string{"smoke", "10m", "300"}); err != nil {
		t.Fatal(err)
	}
	if v := pm(5 * time.Minute); v < 250 {
		t.Errorf("in the smoke by command: PM2.5 %.0f", v)
	}
}

func TestTheSameSeedSiteAndTimeGiveTheSameValues(t *testing.T) {
	at := time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC)
	bench := func(seed uint64, site string) *bench {
		return newBench(Options{Dir: "x", Speed: 1, Seed: seed, Site: site})
	}
	a, b := bench(1, "pasar"), bench(1, "pasar")
	if a.particles(at) != b.particles(at) || a.climate(at) != b.climate(at) || a.distance(at) != b.distance(at) || a.mains(1)(at) != b.mains(1)(at) {
		t.Error("two runs differ")
	}
	if a.particles(at) == bench(1, "alun-alun").particles(at) || a.particles(at) == bench(2, "pasar").particles(at) {
		t.Error("site and seed make no difference")
	}
}

func TestWithoutLeavesPartsOut(t *testing.T) {
	dir := t.TempDir()
	stop := start(t, Options{Dir: dir, Without: []string{"a02yyuw", "sps30", "sdm120"}})
	if st, _ := dial(t, dir).tx(t, chip.SPS30Address, nil, 0); st != 1 {
		t.Errorf("the SPS30 answers with status %d", st)
	}
	if _, err := os.Lstat(filepath.Join(dir, AirPort)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is there without its part: %v", AirPort, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestOptionsAreNamedInTheError(t *testing.T) {
	for want, o := range map[string]Options{
		"dir":     {},
		"speed":   {Dir: "x", Speed: -1},
		"smoke":   {Dir: "x", SmokeAfter: time.Second},
		"without": {Dir: "x", Without: []string{"nothing"}},
		"107":     {Dir: strings.Repeat("x", 120)},
	} {
		var wrong *OptionsError
		if err := Run(t.Context(), o); !errors.As(err, &wrong) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
}
