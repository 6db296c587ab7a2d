package uplink

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/pantau-id/pantau/internal/porttest"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// broker is a mosquitto of its own on a free loopback port.
type broker struct {
	address string
}

func startBroker(t *testing.T, listener string) *broker {
	t.Helper()
	return startBrokerAt(t, porttest.Free(t), listener)
}

func startBrokerAt(t *testing.T, port int, listener string) *broker {
	t.Helper()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path = "/usr/sbin/mosquitto"; !exists(path) {
			t.Fatal("mosquitto is needed: apt-get install mosquitto")
		}
	}
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\n%s\npersistence false\nlog_dest stderr\nlog_type all\n", port, listener)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
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
		s := bufio.NewScanner(out)
		for s.Scan() {
			if strings.HasSuffix(s.Text(), " running") {
				running <- true
			}
		}
		running <- false
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	if !<-running {
		t.Fatal("mosquitto did not start")
	}
	return &broker{address: fmt.Sprintf("127.0.0.1:%d", port)}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// message is a Sparkplug message as a host received it.
type message struct {
	topic   sparkplug.Topic
	birth   *sparkplug.Birth
	run     telemetry.Run
	records []telemetry.Record
	seq     uint64
	bdSeq   uint64
}

// host subscribes to everything, decodes it by the newest birth, and can send
// commands.
type host struct {
	t        *testing.T
	client   mqtt.Client
	messages chan message
	birth    *sparkplug.Birth
}

func newHost(t *testing.T, b *broker) *host {
	t.Helper()
	h := &host{t: t, messages: make(chan message, 10000)}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + b.address).SetClientID("host").SetAutoReconnect(false)
	h.client = mqtt.NewClient(o)
	token := h.client.Connect()
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
	token = h.client.Subscribe("spBv1.0/#", 1, func(_ mqtt.Client, m mqtt.Message) { h.take(m.Topic(), m.Payload()) })
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { h.client.Disconnect(100) })
	return h
}

func (h *host) take(name string, payload []byte) {
	topic, err := sparkplug.ParseTopic(name)
	if err != nil {
		h.t.Errorf("topic: %v", err)
		return
	}
	m := message{topic: topic}
	var p sparkplug.Payload
	if err := sparkplug.Decode(payload, &p); err != nil {
		h.t.Errorf("%s: %v", name, err)
		return
	}
	m.seq = p.Seq
	switch topic.Type {
	case sparkplug.NBIRTH:
		if m.birth, err = sparkplug.ParseBirth(&p, ""); err != nil {
			h.t.Errorf("birth: %v", err)
			return
		}
		h.birth = m.birth
		m.bdSeq = m.birth.BdSeq
	case sparkplug.NDATA:
		if h.birth == nil {
			h.t.Errorf("data before a birth")
			return
		}
		var d sparkplug.Data
		if err := d.Resolve(&p, h.birth, 0); err != nil {
			h.t.Errorf("data: %v", err)
			return
		}
		m.run, m.records = d.Run, append([]telemetry.Record(nil), d.Records...)
	case sparkplug.NDEATH:
		m.bdSeq, _ = p.BdSeq()
	}
	h.messages <- m
}

// next waits for the next message of a type, and leaves out others.
func (h *host) next(want sparkplug.MessageType) message {
	h.t.Helper()
	timeout := time.After(limit)
	for {
		select {
		case m := <-h.messages:
			if m.topic.Type == want {
				return m
			}
		case <-timeout:
			h.t.Fatalf("no %s in %v", want, limit)
		}
	}
}

func (h *host) command(node telemetry.Node, metric string, typ sparkplug.Datatype, v sparkplug.Value) {
	h.t.Helper()
	topic := sparkplug.Topic{Type: sparkplug.NCMD, Node: node}.String()
	token := h.client.Publish(topic, 1, false, sparkplug.AppendCommand(nil, 0, metric, typ, v))
	if token.Wait(); token.Error() != nil {
		h.t.Fatal(token.Error())
	}
}
