package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/gateway"
)

// maxBinary is what the gateway may weigh. 12 MB are promised; above this bound
// something calls methods by their names again, as html/template does: then the
// linker keeps every method of every type, on the card and in memory.
const maxBinary = 10_000_000

func TestTheKernelGivesNoHugePages(t *testing.T) {
	keepSmall()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(status), "\nTHP_enabled:\t0\n") {
		t.Errorf("the kernel may still round memory up to 2 MiB:\n%s", status)
	}
}

// The binary is built here, so it is never staler than this test, whose own
// binary holds all of the gateway's packages.
func TestTheBinaryStaysSmall(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "pantau-gateway")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("arm64: %.2f MB", float64(info.Size())/1e6)
	if info.Size() > maxBinary {
		t.Errorf("%d bytes on arm64, at most %d: see what was linked in with go list -deps", info.Size(), maxBinary)
	}
}

// forbidden packages are too big for the gateway, or dangerous on it.
var forbidden = map[string]string{
	"github.com/prometheus/client_golang": "2.3 MB: metrics go through VictoriaMetrics/metrics",
	"periph.io/x/host/v3/bcm283x":         "on a Pi 5 as root it maps /dev/mem at a Pi 4's address",
	"periph.io/x/host/v3/rpi":             "it pulls in bcm283x",
	"github.com/mochi-mqtt":               "the broker is the server's",
	"github.com/nats-io":                  "the journal is the server's",
	"google.golang.org/protobuf/proto":    "the codec is written by hand on protowire",
	"expvar":                              "it adds itself to the default HTTP server",
	"net/http/pprof":                      "it adds itself to the default HTTP server",
}

func TestNothingBigOrDangerousIsLinkedIn(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("only %d packages", len(packages))
	}
	for _, p := range packages {
		if p == "periph.io/x/host/v3" {
			t.Errorf("%s: the umbrella maps /dev/mem at a Pi 4's address on a Pi 5", p)
		}
		for bad, why := range forbidden {
			if p == bad || strings.HasPrefix(p, bad+"/") {
				t.Errorf("%s: %s", p, why)
			}
		}
	}
}

// run calls the program as a shell would, and returns what it printed and its
// exit code.
func run(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := root()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String(), exitCode(err)
}

func TestCommandsAndExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.toml", "[[sensor]]\npart = \"sps30\"\nbus = \"/dev/i2c-1\"\n")
	bad := file("bad.toml", "[gateway]\nnmae = \"3374/x\"\n")
	wrong := file("wrong.toml", "[gateway]\nname = \"x\"\n")
	code := strings.Repeat("A", 22) + "." + strings.Repeat("A", 43)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--version"}, 0, "pantau-gateway version unversioned"},
		{[]string{"--help"}, 0, "Exit codes: 0 done"},
		{[]string{"check", good, "--data", "/data"}, 0, "sensor   sps30: sps30 on /dev/i2c-1, sampled every 10s, sent every 1m0s"},
		{[]string{"check", bad}, 2, `bad.toml:2: unknown key "gateway.nmae", did you mean "gateway.name"?`},
		{[]string{"check", wrong}, 2, "gateway.name"},
		{[]string{"check"}, 2, "want one settings file"},
		{[]string{"check", filepath.Join(dir, "absent.toml")}, 2, "no such file"},
		{[]string{"--config", bad}, 2, "unknown key"},
		{[]string{"--nonsense"}, 2, "--help"},
		{[]string{"claim", code, "--data", dir}, 2, "name the server"},
		{[]string{"claim", "abc", "--server", "127.0.0.1:1", "--data", dir}, 1, "claim code"},
		{[]string{"claim", code, "--server", "127.0.0.1:1", "--data", dir}, 3, "can't be reached"},
		{[]string{"health", "--url", "http://127.0.0.1:1"}, 3, "no gateway answers"},
		{[]string{"scan", filepath.Join(dir, "absent.sock")}, 1, "nothing answers"},
	} {
		out, got := run(t, c.args...)
		if got != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit code %d, want %d and %q:\n%s", c.args, got, c.code, c.want, out)
		}
	}
	out, exit := run(t, "check", good, "--json", "--data", "/data")
	var digest struct {
		Settings struct {
			Gateway struct{ Data string }
			Sensor  []struct{ Part, Interval string }
		}
	}
	if err := json.Unmarshal([]byte(out), &digest); err != nil || exit != 0 || digest.Settings.Gateway.Data != "/data" || digest.Settings.Sensor[0].Interval != "10s" {
		t.Errorf("%d, %v: %s", exit, err, out)
	}
}

// scan prints what it finds as settings, which hold as they are.
func TestScanFindsWhatIsThere(t *testing.T) {
	dir, err := os.MkdirTemp("", "chips") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "i2c-1.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	bus := chip.NewBus()
	bus.Attach(chip.BME280Address, chip.NewBME280(func(time.Time) chip.Climate { return chip.Climate{Temperature: 29.5, Humidity: 71, Pressure: 1008.2} }, time.Now))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- chip.ServeI2C(ctx, l, bus) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	out, exit := run(t, "scan", socket)
	if exit != 0 || !strings.Contains(out, `part = "bme280"`) {
		t.Fatalf("%d: %s", exit, out)
	}
	file := filepath.Join(dir, "found.toml")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, exit := run(t, "check", file); exit != 0 || !strings.Contains(out, "bme280 on "+socket) {
		t.Errorf("what it printed is no settings: %d: %s", exit, out)
	}
	out, exit = run(t, "scan", socket, "--json")
	var list []struct {
		Part, Bus string
		Address   int
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || exit != 0 || len(list) != 1 || list[0].Part != "bme280" || list[0].Bus != socket || list[0].Address != chip.BME280Address {
		t.Errorf("%d, %v: %s", exit, err, out)
	}
}

func TestEveryErrorHasItsExitCode(t *testing.T) {
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 1, usageError{errors.New("x")}: 2,
		fmt.Errorf("claim: %w", gateway.ErrUnreachable): 3, gateway.ErrRefused: 1,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
