package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/porttest"
	"github.com/pantau-id/pantau/internal/server"
)

// bin holds the binaries under test.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pantau-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	for name, pkg := range map[string]string{"pantau": "server", "pantau-gateway": "gateway", "firmware-sim": "firmware-sim"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), "github.com/pantau-id/pantau/cmd/"+pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", name, err, out)
			os.Exit(1)
		}
	}
	code := browsertest.Run(m)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// process is a running binary whose log can be waited for and is shown if the
// test fails.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
	err  error
}

// logBuffer collects output and wakes those who wait for a text.
type logBuffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *logBuffer) state() (string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String(), l.changed
}

func start(t testing.TB, path string, env []string, args ...string) *process {
	t.Helper()
	name := filepath.Base(path)
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), log: &logBuffer{changed: make(chan struct{})}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			text, _ := p.log.state()
			if len(text) > 6000 {
				text = "…" + text[len(text)-6000:]
			}
			t.Logf("log of %s %s:\n%s", name, args[0], text)
		}
	})
	return p
}

// kill ends the process as a power cut would (kill -9) and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.done
}

// stop ends it in order.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
		if p.err != nil {
			p.t.Errorf("%s ended with %v", p.name, p.err)
		}
	case <-time.After(time.Minute):
		p.kill()
		p.t.Errorf("%s did not end within a minute", p.name)
	}
}

// wait returns when the process has ended by itself, with its error.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// says waits until the log holds a text.
func (p *process) says(text string) {
	p.t.Helper()
	limit := time.After(time.Minute)
	for {
		have, changed := p.log.state()
		if strings.Contains(have, text) {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			p.t.Fatalf("%s ended before it said %q", p.name, text)
		case <-limit:
			p.t.Fatalf("%s did not say %q within a minute", p.name, text)
		}
	}
}

// rig is an installation under test.
type rig struct {
	t      testing.TB
	dir    string
	influx *influxtest.Server
	door   string // MQTT over TLS, the same over restarts
	plain  string
	server *process
	ready  server.Ready
	flags  []string
	env    []string // of the server, on top of ours
	binary string   // of the server; "" = the sound build
	folder string   // of the server's data; "" = one in dir
}

func newRig(t testing.TB, flags ...string) *rig {
	t.Helper()
	r := bareRig(t, flags...)
	r.influx = influxtest.New(t)
	r.serve()
	return r
}

// bareRig is a rig whose database and server are not started yet.
func bareRig(t testing.TB, flags ...string) *rig {
	t.Helper()
	return &rig{t: t, dir: t.TempDir(), door: freeAddress(t), plain: freeAddress(t), flags: flags}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", porttest.Free(t))
}

func (r *rig) data() string {
	if r.folder != "" {
		return r.folder
	}
	return filepath.Join(r.dir, "server")
}

// serve starts the server and waits until gateways can connect.
func (r *rig) serve() {
	r.t.Helper()
	ready := filepath.Join(r.dir, "ready.json")
	_ = os.Remove(ready) // the first time it is not there
	args := append([]string{"serve", "--data", r.data(), "--http", "127.0.0.1:0", "--mqtt", r.door, "--mqtt-plain", r.plain,
		"--influx-url", r.influx.URL, "--clock", "assume-synchronised", "--second-factor", "optional", "--ready-file", ready}, r.flags...)
	if r.binary == "" {
		r.binary = filepath.Join(bin, "pantau")
	}
	r.server = start(r.t, r.binary, r.env, args...)
	await(r.t, "the server's ready file", time.Minute, func() bool {
		select {
		case <-r.server.done:
			r.t.Fatalf("the server ended: %v", r.server.err)
		default:
		}
		text, err := os.ReadFile(ready)
		return err == nil && json.Unmarshal(text, &r.ready) == nil
	})
}

// await polls for something that has no event to wait for; it is bounded, and
// names what did not come.
func await(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s did not come within %v", what, limit)
		}
	}
}

// admin runs a command of the server's command line with --json.
func (r *rig) admin(out any, args ...string) error {
	cmd := exec.Command(filepath.Join(bin, "pantau"), append(args, "--data", r.data(), "--json")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if jsonErr := json.Unmarshal(text, out); err == nil && jsonErr != nil { // a bad verdict is printed too
		err = jsonErr
	}
	if err != nil {
		return fmt.Errorf("pantau %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return nil
}

// read gets from the admin socket what a command of the same name prints, for
// questions that are asked many times a second.
func (r *rig) read(path string, out any) error {
	return server.NewClient(r.data()).Call(r.t.Context(), http.MethodGet, path, nil, out)
}

func (r *rig) ledger() server.Ledger {
	r.t.Helper()
	var l server.Ledger
	if err := r.read("/ledger", &l); err != nil {
		r.t.Fatal(err)
	}
	return l
}

// settled waits until everything expected is in the database or given up, and
// the totals no longer move.
func (r *rig) settled(least uint64, limit time.Duration) server.LedgerRow {
	r.t.Helper()
	var last server.LedgerRow
	await(r.t, fmt.Sprintf("a settled ledger of at least %d records", least), limit, func() bool {
		last = r.ledger().Total
		return last.Expected >= least && last.Missing == 0
	})
	return last
}

// verify compares the fleet's own ledger with the database.
func (r *rig) verify(file string) ingest.Report {
	r.t.Helper()
	var v ingest.Report
	if err := r.admin(&v, "ledger", "verify", file); err != nil {
		r.t.Error(err)
	}
	return v
}

// importFleet registers n nodes with passwords and returns the file of their
// credentials.
func (r *rig) importFleet(n int) string {
	r.t.Helper()
	var b strings.Builder
	b.WriteString("group,name,password,district,site\n")
	for i := range n {
		fmt.Fprintf(&b, "3374,fleet-%04d,password-of-%04d-for-tests,3374,\n", i, i)
	}
	file := filepath.Join(r.dir, "fleet.csv")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var result server.ImportResult
	if err := r.admin(&result, "gateway", "import", file); err != nil || result.Imported != n {
		r.t.Fatalf("imported %d of %d: %v", result.Imported, n, err)
	}
	return file
}

// metric reads one value of the server's /metrics; labels as they are printed.
func (r *rig) metric(name string) (float64, bool) {
	resp, err := http.Get("http://" + r.ready.Addresses["http"] + "/metrics")
	if err != nil {
		return 0, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			var v float64
			if _, err := fmt.Sscan(rest, &v); err == nil {
				return v, true
			}
		}
	}
	return 0, false
}

// build makes a server with a build tag.
func build(t testing.TB, tag string) string {
	t.Helper()
	path := filepath.Join(bin, "pantau-"+tag)
	cmd := exec.Command("go", "build", "-tags", tag, "-o", path, "github.com/pantau-id/pantau/cmd/server")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build with tag %s: %v\n%s", tag, err, out)
	}
	return path
}

func contains(list []string, part string) bool {
	for _, s := range list {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}
