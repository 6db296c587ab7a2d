// Command demo is `make run`: the whole chain on this machine with simulated
// sensors. It starts the database, the server, the chips, three gateways and the
// posts of a province that have been measuring for 30 days, in order, prints where
// to look, and stops everything in reverse on Ctrl-C. Data are kept in run-data/
// between runs; what the posts would have taken in between is played then.
//
// With PANTAU_INFLUX_URL, PANTAU_INFLUX_WRITE_TOKEN, PANTAU_INFLUX_READ_TOKEN
// and, for 2.x, PANTAU_INFLUX_ORG it uses that database instead of one of its own.
//
// Exit codes: 0 stopped by its user; 1 something failed, and the last lines of
// its log say what.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/lifecycle"
	"github.com/pantau-id/pantau/internal/server"
)

func main() {
	// Children die with the thread that started them (see processes.go).
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{bin: "bin", dir: "run-data", failed: make(chan error, 16)}
	err := d.run(ctx)
	fmt.Println("\nstopping …")
	closing, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if closeErr := d.stack.Close(closing); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	bin, dir string
	stack    lifecycle.Stack
	failed   chan error
	ready    server.Ready
}

// The gateways of the demo: what hangs on each, and where.
var gateways = []struct{ name, sensors string }{
	{"udara-01", `
[[sensor]]
part = "sps30"
name = "debu"
bus = "BUS/i2c-1.sock"
interval = "5s"
report = "5s"

[[sensor]]
part = "scd41"
name = "co2"
bus = "BUS/i2c-1.sock"
interval = "5s"
report = "5s"

[[sensor]]
part = "bme280"
name = "cuaca"
bus = "BUS/i2c-1.sock"
interval = "5s"
report = "5s"
`},
	{"sampah-01", `
[[sensor]]
part = "a02yyuw"
name = "bak"
bus = "BUS/ttyAIR"
interval = "5s"
report = "5s"
empty_mm = 1200
full_mm = 200
`},
	{"energi-01", `
[[sensor]]
part = "pzem004t"
name = "kantor"
bus = "BUS/ttyRTU"
address = 1
interval = "5s"
report = "5s"

[[sensor]]
part = "sdm120"
name = "pasar"
bus = "BUS/ttyRTU"
address = 2
baud = 9600
interval = "5s"
report = "5s"
`},
}

func (d *demo) run(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"database", d.startInflux},
		{"server", d.startServer},
		{"alert rules", d.setRules},
		{"simulated chips", d.startChips},
		{"places", d.registerPlaces},
		{"gateways", d.startGateways},
		{"province", d.startHistory},
	} {
		fmt.Printf("starting %s …\n", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	d.tell()
	watching, watched := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { d.watchHistory(watching) })
	defer watcher.Wait()
	defer watched()
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.failed:
		return err
	}
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

// freeAddress prefers the usual port, so that bookmarks and claimed gateways
// find the server again.
func freeAddress(ctx context.Context, preferred int) (string, error) {
	for _, port := range []int{preferred, 0} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return l.Addr().String(), l.Close()
		}
	}
	return "", errors.New("this machine has no free port on loopback")
}

func (d *demo) startServer(ctx context.Context) error {
	pages, err := freeAddress(ctx, 8080)
	if err != nil {
		return err
	}
	door, err := freeAddress(ctx, 8883)
	if err != nil {
		return err
	}
	readyFile := d.path("ready.json")
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = d.start(ctx, "server", "pantau", "serve", "--data", d.path("server"), "--http", pages, "--mqtt", door,
		"--influx-url", os.Getenv("PANTAU_INFLUX_URL"), "--influx-org", os.Getenv("PANTAU_INFLUX_ORG"), "--clock", "assume-synchronised", "--second-factor", "optional", "--journal-quota", "1GB", "--ready-file", readyFile)
	if err != nil {
		return err
	}
	if err := d.await(ctx, readyFile); err != nil {
		return err
	}
	text, err := os.ReadFile(readyFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &d.ready); err != nil {
		return fmt.Errorf("read %s: %w", readyFile, err)
	}
	kept := d.path("first-password")
	if d.ready.FirstPassword != "" {
		return os.WriteFile(kept, []byte(d.ready.FirstPassword), 0o600)
	}
	text, err = os.ReadFile(kept)
	if err == nil {
		d.ready.FirstPassword = string(text)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// setRules makes the alert's whole life visible within two minutes. It does so once:
// rules that somebody has changed since are kept as all data are.
func (d *demo) setRules(ctx context.Context) error {
	done := d.path("rules.json")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	rules := alert.Default()
	for i := range rules {
		if rules[i].ID == "pm2_5-high" {
			rules[i].For, rules[i].ClearFor = alert.Duration(15*time.Second), alert.Duration(15*time.Second)
		}
		if rules[i].ID == "gateway-silent" {
			rules[i].For = alert.Duration(25 * time.Minute) // posts speak every ten
		}
	}
	text, err := json.MarshalIndent(rules, "", "  ")
	if err != nil {
		return err
	}
	file := done + ".new"
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	if _, err := d.output(ctx, "pantau", "rules", "set", file, "--data", d.path("server")); err != nil {
		return err
	}
	return os.Rename(file, done)
}

func (d *demo) startChips(ctx context.Context) error {
	dir, readyFile := d.path("chips"), d.path("chips-ready")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.start(ctx, "chips", "firmware-sim", "chips", "--dir", dir, "--ready-file", readyFile, "--smoke-after", "60s"); err != nil {
		return err
	}
	return d.await(ctx, readyFile)
}

func (d *demo) startGateways(ctx context.Context) error {
	for i, g := range gateways {
		data := d.path("gateways", g.name)
		if err := os.MkdirAll(data, 0o700); err != nil {
			return err
		}
		door := d.ready.Addresses["mqtt"]
		if _, err := os.Stat(filepath.Join(data, "claimed")); errors.Is(err, fs.ErrNotExist) {
			out, err := d.output(ctx, "pantau", "gateway", "add", "--data", d.path("server"), "--district", "3374", "--name", g.name, "--site", hall, "--simulated", "--json")
			if err != nil {
				return err
			}
			var claim server.Claim
			if err := json.Unmarshal(out, &claim); err != nil {
				return fmt.Errorf("read the claim of %s: %w", g.name, err)
			}
			if _, err := d.output(ctx, "pantau-gateway", "claim", claim.Code, "--server", door, "--data", data, "--replace"); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(data, "claimed"), nil, 0o600); err != nil {
				return err
			}
		}
		chips, err := filepath.Abs(d.path("chips"))
		if err != nil {
			return err
		}
		status, err := freeAddress(ctx, 9101+i)
		if err != nil {
			return err
		}
		config := fmt.Sprintf("[gateway]\nsimulated = true\ntime = \"assume-ntp\"\n\n[uplink]\nserver = \"mqtts://%s\"\n\n[status]\nlisten = %q\n", door, status) +
			strings.ReplaceAll(g.sensors, "BUS", chips)
		file := d.path("gateways", g.name+".toml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return err
		}
		if err := d.start(ctx, g.name, "pantau-gateway", "--config", file, "--data", data); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) tell() {
	fmt.Printf(`
Pantau runs, with SIMULATED sensors.

  citizens   %[1]s/
  officers   %[1]s/dinas/provinsi    the province hour by hour
             %[1]s/dinas/jaringan    gateways, live values, what is missing
  sign in    admin
  password   %[2]s   (the first one; choose your own at sign-in)

The posts of 35 districts now send what they measured in the last 30 days, the
newest day first; the line below says how far it is. After about a minute smoke
comes to the chips: an alert fires, can be acknowledged, and clears. Try a fault:
  bin/firmware-sim fault %[3]s "fail sps30 no-answer 30s"
Logs: %[4]s   Data are kept; rm -r %[5]s begins anew.
Ctrl-C stops everything.

`, d.ready.Pages, orElse(d.ready.FirstPassword, "the one you chose"), d.path("chips"), d.path("log"), d.dir)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
