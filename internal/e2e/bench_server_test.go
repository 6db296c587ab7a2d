//go:build bench

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

const runtimeArch = runtime.GOARCH

// measurePuback returns the fleet's latencies from PUBLISH to PUBACK at 50,000
// readings a second.
func measurePuback(t *testing.T) fleet.Result {
	t.Helper()
	progress("PUBACK at 50,000 readings/s")
	r := newRig(t)
	o := r.benchFleet(true)
	o.Readings, o.Interval, o.For = 10, benchGateways*10*time.Second/50_000, 20*time.Second
	return r.send(o)
}

// probe is a gateway whose one sensor says what the test wants.
type probe struct {
	conn    net.Conn
	node    telemetry.Node
	epoch   telemetry.Epoch
	number  uint64
	last    int64
	encoder sparkplug.Encoder
	ended   chan error // of the reader
}

func (r *rig) newProbe() *probe {
	r.t.Helper()
	const password = "password-of-the-probe"
	file := filepath.Join(r.dir, "probe.csv")
	if err := os.WriteFile(file, []byte("group,name,password,district,site\n3374,probe,"+password+",3374,\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var result server.ImportResult
	if err := r.admin(&result, "gateway", "import", file); err != nil || result.Imported != 1 {
		r.t.Fatalf("import the probe: %+v, %v", result, err)
	}
	conn, err := net.Dial("tcp", r.plain)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &probe{conn: conn, node: telemetry.Node{Group: "3374", ID: "probe"}, epoch: 1, ended: make(chan error, 1)}
	var ack [4]byte
	if _, err := conn.Write(appendConnect(nil, p.node.String(), p.node.String(), password)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, ack[:]); err != nil || ack[0] != 0x20 || ack[3] != 0 {
		r.t.Fatalf("CONNACK %x: %v", ack, err)
	}
	go func() {
		_, err := io.Copy(io.Discard, bufio.NewReader(conn))
		p.ended <- err
	}()
	r.t.Cleanup(func() {
		_ = conn.Close()
		<-p.ended
	})
	birth := &sparkplug.Birth{Simulated: true, Version: "bench", Epochs: []telemetry.EpochFloor{{Epoch: p.epoch, Lowest: 1}},
		Definitions: []sparkplug.Definition{{Alias: sparkplug.FirstAlias, Device: "udara", Quantity: "pm2_5", Type: sparkplug.TypeDouble, Unit: "µg/m³"}}}
	p.publish(r.t, sparkplug.NBIRTH, sparkplug.AppendBirth(nil, time.Now().UnixMilli(), 0, birth))
	return p
}

func (p *probe) publish(t testing.TB, kind sparkplug.MessageType, payload []byte) {
	t.Helper()
	topic := sparkplug.Topic{Type: kind, Node: p.node}.String()
	if _, err := p.conn.Write(appendPublish(nil, topic, payload, uint16(p.number%1000+1))); err != nil {
		t.Fatal(err)
	}
}

// say publishes one reading.
func (p *probe) say(t testing.TB, value float64) {
	t.Helper()
	p.number++
	p.last = max(p.last+1, time.Now().UnixMilli())
	run := telemetry.Run{Epoch: p.epoch, First: p.number, Count: 1, Clock: telemetry.ClockID{Epoch: p.epoch, Counter: 1}, Quality: telemetry.TimeNTP, Floor: p.number}
	records := []telemetry.Record{{Number: p.number, Device: "udara", Time: p.last, Readings: []telemetry.Reading{{Quantity: "pm2_5", Value: telemetry.Num(value)}}}}
	payload, err := p.encoder.AppendData(nil, p.last, p.number, run, records, func(string, string) (uint64, bool) { return sparkplug.FirstAlias, true })
	if err != nil {
		t.Fatal(err)
	}
	p.publish(t, sparkplug.NDATA, payload)
}

// measureAlert returns how long it took from a reading's PUBLISH until the
// notification of the alert that it fired or cleared lay in the queue, under
// 10,000 messages a second of other gateways. What is polled is the queue's
// length in /metrics, so each figure is a little too long.
func measureAlert(t *testing.T) []time.Duration {
	t.Helper()
	const wanted = 300
	progress("%d alerts at 10,000 messages/s", wanted)
	dir := t.TempDir()
	config, secret, rules := filepath.Join(dir, "pantau.toml"), filepath.Join(dir, "secret"), filepath.Join(dir, "rules.json")
	// Nobody listens there: what is queued stays queued.
	text := fmt.Sprintf("[[webhook]]\nname = \"bench\"\nurl = \"http://%s/\"\nsecret_file = %q\nallow = [\"127.0.0.0/8\"]\n", freeAddress(t), secret)
	all := append(alert.Default(), alert.Rule{ID: "probe", Name: "probe", NameEN: "probe", Quantity: "pm2_5", Scope: alert.Scope{Node: "probe"},
		Condition: alert.Above, Threshold: 400, Clear: 300, Severity: alert.Warning})
	body, err := json.Marshal(all)
	if err == nil {
		err = errors.Join(os.WriteFile(config, []byte(text), 0o600), os.WriteFile(secret, []byte("a-secret-for-the-benchmark"), 0o600), os.WriteFile(rules, body, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "--config", config)
	var done server.Done
	if err := r.admin(&done, "rules", "set", rules); err != nil {
		t.Fatal(err)
	}
	o := r.benchFleet(false)
	p := r.newProbe()
	ctx, stop := context.WithCancel(t.Context())
	connected, ended := make(chan struct{}), make(chan error, 1)
	o.Readings, o.Interval, o.For, o.Started = 10, benchGateways*time.Second/10_000, 0, func() { close(connected) }
	go func() {
		_, err := fleet.Run(ctx, o)
		ended <- err
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("fleet: %v", err)
		}
	}()
	select {
	case <-connected:
	case err := <-ended:
		ended <- err
		t.Fatalf("the fleet ended: %v", err)
	}
	const queue = `pantau_notify_alerts_waiting{channel="bench"}`
	before, _ := r.metric("pantau_journal_packets_total")
	begin := time.Now()
	var out []time.Duration
	for i := range wanted {
		value := 500.0
		if i%2 == 1 {
			value = 1
		}
		at := time.Now()
		p.say(t, value)
		for {
			if n, ok := r.metric(queue); ok && int(n) > i {
				break
			}
			if time.Since(at) > 30*time.Second {
				t.Fatalf("alert %d is not queued after 30 s", i+1)
			}
			pause(t, 2*time.Millisecond)
		}
		out = append(out, time.Since(at))
		pause(t, 50*time.Millisecond)
	}
	after, _ := r.metric("pantau_journal_packets_total")
	fmt.Printf("alerts: %d, while %s messages/s were kept\n", len(out), thousands((after-before)/time.Since(begin).Seconds()))
	return out
}

// restarts is what starts after kill -9 with a large journal took.
type restarts struct {
	journal int64 // bytes
	open    []time.Duration
}

// measureRestart fills the journal to a gigabyte while the database stands
// still, so that none of it is stored, kills the server under load and times its
// return.
func measureRestart(t *testing.T) restarts {
	t.Helper()
	progress("start after kill -9 with a journal of 1 GB")
	var out restarts
	r := newRig(t)
	o := r.benchFleet(false)
	if err := r.influx.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	o.Readings, o.For = fleet.MaxReadings(), 0
	go func() {
		_, err := fleet.Run(ctx, o)
		ended <- err
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("fleet: %v", err)
		}
	}()
	await(t, "a journal of 1 GB", 10*time.Minute, func() bool {
		n, _ := r.metric("pantau_journal_bytes")
		out.journal = int64(n)
		return n >= 1e9
	})
	for range 5 {
		r.server.kill()
		begin := time.Now()
		opened := make(chan time.Duration, 1)
		go func() {
			for !answers(r.plain) && t.Context().Err() == nil {
				<-time.After(time.Millisecond)
			}
			opened <- time.Since(begin)
		}()
		r.serve()
		out.open = append(out.open, <-opened)
		pause(t, 2*time.Second) // under load again
	}
	return out
}
