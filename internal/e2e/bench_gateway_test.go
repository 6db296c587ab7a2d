//go:build bench

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/internal/server"
)

// buildGateway builds the gateway as `make build` does and returns its path.
func buildGateway(t testing.TB, arch string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pantau-gateway")
	run(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "", "go", "build", "-tags", "nethttpomithttp2", "-trimpath", "-ldflags", "-s -w -X main.version=bench",
		"-o", path, "github.com/pantau-id/pantau/cmd/gateway")
	return path
}

// meter forwards TCP connections and counts what a wire would carry: the bytes,
// and 52 of headers for every segment (IPv4 20, TCP 20 and its time stamps 12).
type meter struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup
	mu       sync.Mutex
	open     map[*net.TCPConn]bool
	ended    traffic // of connections that are closed
}

type traffic struct{ bytes, segments uint64 }

func newMeter(t testing.TB, target string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{listener: l, target: target, open: map[*net.TCPConn]bool{}}
	m.group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			m.group.Go(func() { m.forward(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		m.mu.Lock()
		for c := range m.open {
			_ = c.Close()
		}
		m.mu.Unlock()
		m.group.Wait()
	})
	return m
}

func (m *meter) forward(c *net.TCPConn) {
	up, err := net.Dial("tcp", m.target)
	if err != nil {
		_ = c.Close()
		return
	}
	m.mu.Lock()
	m.open[c] = true
	m.mu.Unlock()
	back := make(chan struct{})
	go func() {
		_, _ = io.Copy(c, up) // either end may go
		_ = c.CloseWrite()
		close(back)
	}()
	_, _ = io.Copy(up, c)
	_ = up.Close()
	<-back
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, err := carried(c); err == nil {
		m.ended.bytes += n.bytes
		m.ended.segments += n.segments
	}
	delete(m.open, c)
	_ = c.Close()
}

// carried asks the kernel what went over a connection, both ways.
func carried(c *net.TCPConn) (traffic, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return traffic{}, err
	}
	var info *unix.TCPInfo
	var asked error
	if err := raw.Control(func(fd uintptr) { info, asked = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil || asked != nil {
		return traffic{}, errors.Join(err, asked)
	}
	return traffic{info.Bytes_received + info.Bytes_acked, uint64(info.Segs_in) + uint64(info.Segs_out)}, nil
}

func (m *meter) total(t testing.TB) traffic {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := m.ended
	for c := range m.open {
		n, err := carried(c)
		if err != nil {
			t.Fatal(err)
		}
		sum.bytes += n.bytes
		sum.segments += n.segments
	}
	return sum
}

func (m *meter) address() string { return m.listener.Addr().String() }

// sixParts are all parts that the gateway has drivers for; TIMES stands for
// interval and report.
const sixParts = `
[[sensor]]
part = "sps30"
name = "debu"
bus = "BUS/i2c-1.sock"
TIMES
[[sensor]]
part = "scd41"
name = "co2"
bus = "BUS/i2c-1.sock"
TIMES
[[sensor]]
part = "bme280"
name = "cuaca"
bus = "BUS/i2c-1.sock"
TIMES
[[sensor]]
part = "a02yyuw"
name = "bak"
bus = "BUS/ttyAIR"
empty_mm = 1200
full_mm = 200
TIMES
[[sensor]]
part = "pzem004t"
name = "kantor"
bus = "BUS/ttyRTU"
address = 1
TIMES
[[sensor]]
part = "sdm120"
name = "pasar"
bus = "BUS/ttyRTU"
address = 2
baud = 9600
TIMES
`

// metered is a gateway with all six parts whose wire and card are watched.
type metered struct {
	name    string
	process *process
	wire    *meter
	status  string // address
	first   sample
	last    sample
}

// sample is where the counters stand.
type sample struct {
	readings, spool, payload float64
	card                     int64
	wire                     traffic
}

func (r *rig) newMetered(binary, name, times string) *metered {
	r.t.Helper()
	dir := filepath.Join(r.dir, name)
	chips, ready, data := filepath.Join(dir, "chips"), filepath.Join(dir, "ready"), filepath.Join(dir, "data")
	if err := os.MkdirAll(chips, 0o700); err != nil {
		r.t.Fatal(err)
	}
	start(r.t, filepath.Join(bin, "firmware-sim"), nil, "chips", "--dir", chips, "--ready-file", ready, "--quiet")
	await(r.t, "the chips' ready file", 30*time.Second, func() bool { _, err := os.Stat(ready); return err == nil })
	g := &metered{name: name, wire: newMeter(r.t, r.door), status: freeAddress(r.t)}
	var claim server.Claim
	if err := r.admin(&claim, "gateway", "add", "--district", "3374", "--name", name); err != nil {
		r.t.Fatal(err)
	}
	run(r.t, nil, "", binary, "claim", claim.Code, "--server", g.wire.address(), "--data", data)
	config := filepath.Join(dir, "gateway.toml")
	text := fmt.Sprintf("[gateway]\ntime = \"assume-ntp\"\n[status]\nlisten = %q\n", g.status) +
		strings.NewReplacer("BUS", chips, "TIMES", times).Replace(sixParts)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	g.process = start(r.t, binary, nil, "--config", config, "--data", data)
	g.process.says("the gateway samples")
	return g
}

func (g *metered) sample(t testing.TB) sample {
	t.Helper()
	return sample{
		readings: g.metric(t, "pantau_gateway_uplink_readings_total"), spool: g.metric(t, "pantau_gateway_spool_written_bytes_total"),
		payload: g.metric(t, "pantau_gateway_uplink_payload_bytes_total"),
		card:    procValue(t, g.process.cmd.Process.Pid, "io", "write_bytes"), wire: g.wire.total(t),
	}
}

// metric adds up a metric of the gateway over its labels.
func (g *metered) metric(t testing.TB, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.status+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(strings.TrimSpace(rest), ' ')+1:], &v); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		t.Fatalf("the gateway has no metric %s", name)
	}
	return sum
}

// gatewayFigures are what one gateway costs.
type gatewayFigures struct {
	binary   int64 // bytes, arm64
	resident int64 // bytes at the highest, of the machine's own architecture
	own      int64 // of these, not backed by the program's file
}

// measureGateway runs gateways on simulated chips and prints what they cost the
// machine, the wire and the card.
func measureGateway(t *testing.T) gatewayFigures {
	t.Helper()
	var f gatewayFigures
	info, err := os.Stat(buildGateway(t, "arm64"))
	if err != nil {
		t.Fatal(err)
	}
	f.binary = info.Size()
	const minutes = 4
	progress("gateways on simulated chips, %d minutes", minutes)
	native := buildGateway(t, runtimeArch)
	r := newRig(t)
	all := []*metered{
		r.newMetered(native, "per-minute", ""), // as delivered
		r.newMetered(native, "per-10-seconds", "interval = \"10s\"\nreport = \"10s\""),
		r.newMetered(native, "per-second", "interval = \"1s\"\nreport = \"1s\""),
	}
	// Births, the first connection and the sensors' warm-up are not the daily bread.
	pause(t, time.Minute)
	for _, g := range all {
		g.first = g.sample(t)
	}
	pause(t, (minutes-1)*time.Minute)
	tb := newTable("One gateway with six parts (SPS30, SCD41, BME280, A02YYUW, PZEM-004T, SDM120) and its own health, over TLS",
		"values sent", "readings", "on the wire, bytes a reading", "of these payload", "to the spool, bytes a reading", "to the card (4 KiB pages), bytes a reading", "VmHWM MiB", "RssAnon MiB", "RssFile MiB")
	for _, g := range all {
		last := g.sample(t)
		n := last.readings - g.first.readings
		wire := float64(last.wire.bytes-g.first.wire.bytes) + 52*float64(last.wire.segments-g.first.wire.segments)
		pid := g.process.cmd.Process.Pid
		f.resident, f.own = max(f.resident, procValue(t, pid, "status", "VmHWM")), max(f.own, procValue(t, pid, "status", "RssAnon"))
		tb.row(strings.ReplaceAll(g.name, "-", " "), n, fmt.Sprintf("%.1f", wire/n), fmt.Sprintf("%.1f", (last.payload-g.first.payload)/n),
			fmt.Sprintf("%.1f", (last.spool-g.first.spool)/n), fmt.Sprintf("%.0f", float64(last.card-g.first.card)/n),
			mebibytes(procValue(t, pid, "status", "VmHWM")), mebibytes(procValue(t, pid, "status", "RssAnon")), mebibytes(procValue(t, pid, "status", "RssFile")))
	}
	tb.end()
	fmt.Printf("Binary for arm64, as `make build` makes it: %s bytes. Resident memory is that of the %s build.\n", thousands(float64(f.binary)), runtimeArch)
	return f
}
