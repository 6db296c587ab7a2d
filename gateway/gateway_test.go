package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/gateway/status"
	"github.com/pantau-id/pantau/internal/settings"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// limit is how long a test waits for what must come.
const limit = time.Minute

// eventually looks until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(limit)
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never came: %s", what)
		}
	}
}

func quiet(t *testing.T) Options {
	t.Helper()
	o := Defaults()
	o.Gateway.Data, o.Gateway.Time = t.TempDir(), "assume-ntp"
	o.Status.Listen = "127.0.0.1:0"
	o.Spool.Sync, o.Spool.FreeFloor = settings.Duration(20*time.Millisecond), 0
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

// start runs a gateway; the function it returns stops it.
func start(t *testing.T, o Options) (*Gateway, func()) {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			if err := g.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return g, stop
}

func fetch(t *testing.T, g *Gateway, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + g.Address().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func steps(g *Gateway) string {
	var keys []string
	for _, s := range g.Snapshot().Steps {
		keys = append(keys, s.Key)
	}
	return strings.Join(keys, " ")
}

func TestFromAChipsRegisterToTheServer(t *testing.T) {
	address, chips := mosquitto(t), newSite(t)
	h := newHost(t, address)
	before := runtime.NumGoroutine()
	o := quiet(t)
	password := filepath.Join(o.Gateway.Data, "password")
	if err := os.WriteFile(password, []byte("rahasia\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Gateway.Name = "3374/balaikota"
	o.Uplink.Server, o.Uplink.Username, o.Uplink.Password = "mqtt://"+address, "3374/balaikota", password
	second := settings.Duration(time.Second)
	o.Sensors = []SensorOptions{
		{Part: "sps30", Name: "debu", Bus: chips.socket, Interval: second, Report: second},
		{Part: "bme280", Name: "cuaca", Bus: chips.socket, Address: chip.BME280Address, Interval: second / 2, Report: second},
	}
	g, stop := start(t, o)

	eventually(t, "dust, weather and health at the server", func() bool {
		_, health := h.get("gateway/uptime")
		return health && h.near("debu/pm2_5", 34) && h.near("cuaca/temperature", 29.5) && h.near("cuaca/pressure", 1008.2)
	})
	if r, _ := h.get("debu/pm2_5"); r.Flag != telemetry.FlagWarmUp {
		t.Errorf("dust in the first 30 s: %+v", r)
	}
	eventually(t, "who the dust sensor is", func() bool {
		return h.identity("debu") == telemetry.Identity{Firmware: "2.2", Serial: "A51C0FFEE0DDBA11"}
	})
	h.mu.Lock()
	if !h.birth.Simulated || h.birth.Wire != 1 {
		t.Errorf("birth: %+v", h.birth)
	}
	for _, d := range h.birth.Definitions {
		if d.Device == "debu" && (d.Unit != telemetry.MicrogramPerCubicMetre && d.Unit != telemetry.Micrometre || d.Interval != time.Second) {
			t.Errorf("definition: %+v", d)
		}
	}
	h.mu.Unlock()

	eventually(t, "a page that has nothing to ask for", func() bool { return g.Snapshot().Uplink.Connected && steps(g) == "" })
	if code, body := fetch(t, g, "/"); code != http.StatusOK || !strings.Contains(body, "Gateway ini bekerja") || !strings.Contains(body, "simulasi") || !strings.Contains(body, "3374/balaikota") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := fetch(t, g, "/healthz"); code != http.StatusOK || !strings.Contains(body, `"ok"`) {
		t.Errorf("%d %s", code, body)
	}

	// One sensor falls silent: a gap with its reason, and the other goes on.
	if err := chips.bme280.Fail(chip.Silent); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a gap", func() bool { r, _ := h.get("cuaca/temperature"); return r.Gap == telemetry.GapNoAnswer })
	count := g.Snapshot().Sensors[0].Samples
	eventually(t, "the other sensor's next sample", func() bool {
		s := g.Snapshot().Sensors[0]
		return s.Samples > count+1 && s.Gap == telemetry.GapNone
	})
	if got := steps(g); got != "sensor" {
		t.Errorf("steps: %q", got)
	}
	if _, body := fetch(t, g, "/en/"); !strings.Contains(body, "Sensor cuaca gives no data") {
		t.Error("the page does not name the silent sensor")
	}
	// It comes back without a restart.
	if err := chips.bme280.Fail(chip.None); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sensor's return", func() bool { return h.near("cuaca/temperature", 29.5) && steps(g) == "" })

	// Another dust sensor is put in its place.
	if err := chips.sps30.Fail(chip.Unplugged); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a gap", func() bool { r, _ := h.get("debu/pm2_5"); return r.Gap == telemetry.GapNoAnswer })
	chips.sps30.SetSerial("0123456789ABCDEF")
	if err := chips.sps30.Fail(chip.None); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who the new one is", func() bool { return h.identity("debu").Serial == "0123456789ABCDEF" })
	eventually(t, "its values", func() bool { return h.near("debu/pm2_5", 34) })

	stop()
	if len(h.epochs) != 1 {
		t.Errorf("%d epochs of one run", len(h.epochs))
	}
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "the end of every goroutine", func() bool { return runtime.NumGoroutine() <= before })
}

func TestWithoutAnythingItStartsAndSaysWhatIsMissing(t *testing.T) {
	o := quiet(t)
	o.Gateway.Time = "auto"
	o.Synced = func() bool { return false }
	g, _ := start(t, o)
	eventually(t, "the first scan", func() bool { return strings.Contains(steps(g), "nosensor") })
	if got := steps(g); got != "nosensor claim clock" {
		t.Errorf("steps: %q", got)
	}
	_, body := fetch(t, g, "/")
	for _, want := range []string{"belum terdaftar", "pantau-gateway claim CODE", "Tidak ada sensor", "Waktu belum diketahui"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var h status.Health
	code, text := fetch(t, g, "/healthz")
	if err := json.Unmarshal([]byte(text), &h); err != nil || code != http.StatusOK || h.Status != "degraded" || len(h.Problems) != 3 {
		t.Errorf("%d %s", code, text)
	}
	// It samples itself nevertheless, and keeps that.
	eventually(t, "its own health in the spool", func() bool { return g.Snapshot().Spool.Records > 0 })
}

func TestAClaimIsNoticedWithoutARestart(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	o := quiet(t)
	g, _ := start(t, o)
	eventually(t, "the question for a claim", func() bool { return strings.Contains(steps(g), "claim") })
	claim := claimOptions(t, a)
	claim.Data = o.Gateway.Data
	if _, err := Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new name", func() bool {
		s := g.Snapshot()
		return s.Name == "3374/balaikota" && !strings.Contains(steps(g), "claim") && !s.Uplink.Certificate.IsZero()
	})
}

func TestACardThatTakesNothingIsShownAndTriedAgain(t *testing.T) {
	o := quiet(t)
	o.Gateway.Data = filepath.Join(o.Gateway.Data, "blocked")
	if err := os.WriteFile(o.Gateway.Data, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	g, _ := start(t, o)
	if got := steps(g); !strings.HasPrefix(got, "disk") {
		t.Errorf("steps: %q", got)
	}
	if code, body := fetch(t, g, "/"); code != http.StatusOK || !strings.Contains(body, "Kartu penyimpanan bermasalah") {
		t.Errorf("%d %s", code, body)
	}
	if err := os.Remove(o.Gateway.Data); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sampling", func() bool { return g.Snapshot().Spool.Records > 0 && !strings.Contains(steps(g), "disk") })
}

func TestABrokenSettingsFileDoesNotStopAGatewayThatRanBefore(t *testing.T) {
	dir := t.TempDir()
	file, data := filepath.Join(dir, "gateway.toml"), filepath.Join(dir, "data")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (Options, error) {
		o, err := LoadKept(file, data)
		o.Status.Listen, o.Logger = "127.0.0.1:0", slog.New(slog.DiscardHandler)
		return o, err
	}
	for _, broken := range []string{"[gatway]\nname = \"3374/x\"\n", "[gateway]\nname = \"x\"\n"} {
		write(broken)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), "gat") {
			t.Errorf("the first start with a broken file: %v", err)
		}
	}
	write("[gateway]\nname = \"3374/x\"\n[[sensor]]\npart = \"sps30\"\nbus = \"chips.sock\"\n")
	o, err := load()
	if err != nil {
		t.Fatal(err)
	}
	_, stop := start(t, o)
	stop()
	for _, broken := range []string{"[gatway]\nname = \"3374/x\"\n", "[gateway]\nname = \"x\"\n"} {
		write(broken)
		o, err := load()
		if err != nil || o.Gateway.Name != "3374/x" || len(o.Sensors) != 1 || o.Sensors[0].Bus != filepath.Join(dir, "chips.sock") {
			t.Fatalf("%+v, %v", o, err)
		}
		g, stop := start(t, o)
		if got := steps(g); !strings.HasPrefix(got, "settings") {
			t.Errorf("steps: %q", got)
		}
		stop()
	}
}

func TestTwoGatewaysNeverShareADataFolder(t *testing.T) {
	o := quiet(t)
	start(t, o)
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got %v", err)
	}
}

func TestMetricsHaveHelpTexts(t *testing.T) {
	o := quiet(t)
	o.Gateway.Name, o.Uplink.Server, o.Uplink.Username = "3374/x", "mqtt://127.0.0.1:1", "x"
	o.Uplink.Password = filepath.Join(o.Gateway.Data, "password")
	if err := os.WriteFile(o.Uplink.Password, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, _ := start(t, o)
	eventually(t, "the uplink's metrics", func() bool { _, body := fetch(t, g, "/metrics"); return strings.Contains(body, "_uplink_") })
	_, body := fetch(t, g, "/metrics")
	families, helped := map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, "# HELP "); ok {
			helped[strings.Fields(name)[0]] = true
		} else if strings.HasPrefix(line, "pantau_") {
			families[line[:strings.IndexAny(line, "{ ")]] = true
		}
	}
	if len(families) < 15 {
		t.Fatalf("%d families", len(families))
	}
	for f := range families {
		if !helped[f] {
			t.Errorf("%s has no help text", f)
		}
	}
	for f := range help {
		if !families[f] {
			t.Errorf("help names %s, which nothing counts", f)
		}
	}
}

// Statement 2, its second half: the page is on the LAN only with TLS and login.
func TestStatement2ThePageAsksForALoginBeyondLoopback(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-time.Hour), x509.ExtKeyUsageServerAuth)
	o := quiet(t)
	key, keyText, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate(t, "status", x509.ExtKeyUsageServerAuth, key.Public(), a, 100*time.Hour)
	o.Status.Listen = "0.0.0.0:0"
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "status.listen") {
		t.Errorf("open to everybody: %v", err)
	}
	o.Status.Username = "teknisi"
	for field, content := range map[*string][]byte{
		&o.Status.Password: []byte("rahasia sekali\n"), &o.Status.Key: keyText,
		&o.Status.Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}),
	} {
		f, err := os.CreateTemp(o.Gateway.Data, "")
		if err != nil {
			t.Fatal(err)
		}
		*field = f.Name()
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	g, _ := start(t, o)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}
	ask := func(user, password string) int {
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/", g.Address().(*net.TCPAddr).Port), nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if got := [3]int{ask("", ""), ask("teknisi", "salah"), ask("teknisi", "rahasia sekali")}; got != [3]int{401, 401, 200} {
		t.Errorf("nobody, wrong, right: %v", got)
	}
}

func TestSystemdIsTold(t *testing.T) {
	dir, err := os.MkdirTemp("", "notify")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "")
	_, stop := start(t, quiet(t))
	got := map[string]int{}
	receive := func() {
		b := make([]byte, 100)
		if err := socket.SetReadDeadline(time.Now().Add(limit)); err != nil {
			t.Fatal(err)
		}
		n, err := socket.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		got[string(b[:n])]++
	}
	for got["READY=1"] < 1 || got["WATCHDOG=1"] < 3 {
		receive()
	}
	stop()
	for got["STOPPING=1"] < 1 {
		receive()
	}
}

func TestHealthTellsWhatThisMachineTells(t *testing.T) {
	sys := t.TempDir()
	write := func(name, content string) {
		file := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	uptime := func() time.Duration { return 90 * time.Second }
	read := func() map[string]telemetry.Reading {
		h := newHealth(sys, sys, uptime, func() uint64 { return 7 }, func() telemetry.TimeQuality { return telemetry.TimeNTP })
		readings, err := h.Sense(t.Context())
		if err != nil || len(readings) != len(h.Quantities()) {
			t.Fatalf("%v, %v", readings, err)
		}
		out := map[string]telemetry.Reading{}
		for _, r := range readings {
			out[r.Quantity] = r
		}
		return out
	}
	got := read()
	if len(got) != 4 || got["spool_depth"].Value.Number != 7 || got["clock_quality"].Value.Number != 3 || got["uptime"].Value.Number != 90 || got["disk_free"].Value.Number <= 0 {
		t.Errorf("a plain machine: %+v", got)
	}
	write("class/thermal/thermal_zone0/temp", "48312\n")
	write("devices/platform/soc/soc:firmware/get_throttled", "50005\n")
	if got := read(); got["cpu_temperature"].Value.Number != 48.312 || got["under_voltage"].Value.Number != 1 {
		t.Errorf("a Pi: %+v", got)
	}
	write("class/hwmon/hwmon1/name", "rpi_volt\n")
	write("class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
	write("class/thermal/thermal_zone0/temp", "nonsense")
	if got := read(); got["under_voltage"].Value.Number != 0 || got["cpu_temperature"].Gap != telemetry.GapNoAnswer {
		t.Errorf("a Pi with hwmon and a broken probe: %+v", got)
	}
}

// Without settings a gateway looks for sensors by itself, names what it finds and
// samples it; two of a kind have two names.
func TestItFindsItsSensors(t *testing.T) {
	one, two := newSite(t), newSite(t)
	o := quiet(t)
	absent := filepath.Join(o.Gateway.Data, "absent.sock")
	o.Places = func() []string { return []string{one.socket, absent, two.socket} }
	g, _ := start(t, o)
	eventually(t, "four sensors that give values", func() bool {
		var names []string
		for _, s := range g.Snapshot().Sensors {
			if s.Sampled.IsZero() || s.Gap != telemetry.GapNone && s.Gap != telemetry.GapNotReady {
				return false
			}
			names = append(names, s.Name)
		}
		return strings.Join(names, " ") == "sps30 bme280 sps30-2 bme280-2"
	})
	for _, s := range g.Snapshot().Sensors {
		if bus := map[bool]string{true: two.socket, false: one.socket}[strings.HasSuffix(s.Name, "-2")]; s.Bus != bus || s.Interval != 10*time.Second {
			t.Errorf("%+v, want it on %s", s, bus)
		}
	}
	if got := steps(g); strings.Contains(got, "sensor") {
		t.Errorf("the page asks for %q", got)
	}
}

// Statement 10: a certificate of which two thirds are over is renewed by itself,
// once, with a new key.
func TestItRenewsItsCertificate(t *testing.T) {
	a := newAuthority(t, time.Now().Add(-65*time.Hour), x509.ExtKeyUsageServerAuth) // and its certificates hold 90 h
	claim := claimOptions(t, a)
	old, err := Claim(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.renewed = 900 * time.Hour
	a.mu.Unlock()
	o := quiet(t)
	o.Gateway.Data = claim.Data
	g, stop := start(t, o)
	eventually(t, "the new certificate on the page", func() bool {
		return g.Snapshot().Uplink.Certificate.After(old.NotAfter)
	})
	stop()
	id, err := LoadIdentity(claim.Data)
	if err != nil || id.Key == old.Key || id.Certificate == old.Certificate || id.Node != old.Node {
		t.Errorf("%v %v", id.Node, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.renews != 1 {
		t.Errorf("renewed %d times", a.renews)
	}
}
