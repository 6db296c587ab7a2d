package gateway

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/pantau-id/pantau/firmware-sim/chip"
	"github.com/pantau-id/pantau/internal/porttest"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// mosquitto starts a real broker and returns its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Fatal("mosquitto is needed: apt-get install mosquitto")
		}
	}
	port := porttest.Free(t)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", config)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running, drained := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(drained)
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.HasSuffix(s.Text(), " running") {
				running <- true
			}
		}
		running <- false
	}()
	t.Cleanup(func() { cmd.Process.Kill(); <-drained; cmd.Wait() })
	if !<-running {
		t.Fatal("mosquitto did not start")
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// host is a Sparkplug host that keeps the newest reading of each quantity.
type host struct {
	mu     sync.Mutex
	birth  *sparkplug.Birth
	latest map[string]telemetry.Reading // by "device/quantity"
	epochs map[telemetry.Epoch]bool
}

func newHost(t *testing.T, address string) *host {
	t.Helper()
	h := &host{latest: map[string]telemetry.Reading{}, epochs: map[telemetry.Epoch]bool{}}
	client := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("host").SetAutoReconnect(false))
	if token := client.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { client.Disconnect(100) })
	if token := client.Subscribe("spBv1.0/#", 1, func(_ mqtt.Client, m mqtt.Message) { h.take(t, m.Topic(), m.Payload()) }); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	return h
}

func (h *host) take(t *testing.T, name string, body []byte) {
	topic, err := sparkplug.ParseTopic(name)
	if err != nil {
		t.Error(err)
		return
	}
	var p sparkplug.Payload
	if err := sparkplug.Decode(body, &p); err != nil {
		t.Error(err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch topic.Type {
	case sparkplug.NBIRTH:
		if h.birth, err = sparkplug.ParseBirth(&p, ""); err != nil {
			t.Error(err)
		}
	case sparkplug.NDATA:
		var d sparkplug.Data
		if err := d.Resolve(&p, h.birth, 0); err != nil {
			t.Error(err)
			return
		}
		h.epochs[d.Run.Epoch] = true
		for _, r := range d.Records {
			for _, rd := range r.Readings {
				h.latest[r.Device+"/"+rd.Quantity] = rd
			}
		}
	}
}

func (h *host) get(name string) (telemetry.Reading, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.latest[name]
	return r, ok
}

func (h *host) identity(device string) telemetry.Identity {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.birth == nil {
		return telemetry.Identity{}
	}
	return h.birth.Identities[device]
}

// near reports whether the newest reading is a value about v.
func (h *host) near(name string, v float64) bool {
	r, ok := h.get(name)
	return ok && r.Gap == "" && math.Abs(r.Value.Number-v) < 0.02*v+0.1
}

// site is a bus of simulated chips on a unix socket.
type site struct {
	socket string
	sps30  *chip.SPS30
	bme280 *chip.BME280
}

func newSite(t *testing.T) *site {
	t.Helper()
	// Unix socket paths are short; t.TempDir's may not be.
	dir, err := os.MkdirTemp("", "chips")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	climate := func(time.Time) chip.Climate {
		return chip.Climate{CO2: 612, Temperature: 29.5, Humidity: 71, Pressure: 1008.2}
	}
	s := &site{socket: filepath.Join(dir, "i2c-1.sock")}
	s.sps30 = chip.NewSPS30(func(now time.Time) chip.Particles { // it moves a little, as dust does
		return chip.Particles{PM1: 20, PM2_5: 34 + float64(now.UnixMilli()%100)/1000, PM4: 38, PM10: 41, Size: 0.6}
	}, time.Now)
	s.bme280 = chip.NewBME280(climate, time.Now)
	bus := chip.NewBus()
	bus.Attach(chip.SPS30Address, s.sps30)
	bus.Attach(chip.BME280Address, s.bme280)
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- chip.ServeI2C(ctx, l, bus) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}
