package uplink

import (
	"bytes"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// wire is an MQTT server that takes everything and notes every packet as it
// came.
type wire struct {
	t       *testing.T
	address string
	packets chan packets.ControlPacket
	mu      sync.Mutex
	conn    net.Conn
	open    int
	most    int // connections at a time
}

func startWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, address: l.Addr().String(), packets: make(chan packets.ControlPacket, 1000)}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() { w.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); group.Wait() })
	return w
}

func (w *wire) serve(c net.Conn) {
	defer c.Close()
	w.mu.Lock()
	w.conn = c
	w.open++
	w.most = max(w.most, w.open)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.open--
		w.mu.Unlock()
	}()
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		w.packets <- p
		switch p := p.(type) {
		case *packets.ConnectPacket:
			w.write(packets.NewControlPacket(packets.Connack))
		case *packets.SubscribePacket:
			ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			ack.MessageID, ack.ReturnCodes = p.MessageID, p.Qoss
			w.write(ack)
		case *packets.PublishPacket:
			if p.Qos == 1 {
				ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				ack.MessageID = p.MessageID
				w.write(ack)
			}
		case *packets.PingreqPacket:
			w.write(packets.NewControlPacket(packets.Pingresp))
		}
	}
}

func (w *wire) write(p packets.ControlPacket) {
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.conn.Write(b.Bytes()) // the client may be gone
}

func (w *wire) command(payload []byte) {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = "spBv1.0/3374/NCMD/balai-kota", payload
	w.write(p)
}

func next[P packets.ControlPacket](w *wire) P {
	w.t.Helper()
	select {
	case p := <-w.packets:
		if want, ok := p.(P); ok {
			return want
		}
		w.t.Fatalf("got %v", p)
	case <-time.After(limit):
		w.t.Fatalf("no packet in %v", limit)
	}
	panic("unreachable")
}

func (w *wire) message(topic string) (*packets.PublishPacket, *sparkplug.Payload) {
	w.t.Helper()
	p := next[*packets.PublishPacket](w)
	if p.TopicName != topic {
		w.t.Fatalf("published to %q, want %q", p.TopicName, topic)
	}
	payload := &sparkplug.Payload{}
	if err := sparkplug.Decode(p.Payload, payload); err != nil {
		w.t.Fatal(err)
	}
	if p.Retain {
		w.t.Errorf("%s is retained", topic)
	}
	return p, payload
}

func bdSeqOf(t *testing.T, p *sparkplug.Payload) uint64 {
	t.Helper()
	n, ok := p.BdSeq()
	if !ok {
		t.Fatal("no bdSeq")
	}
	return n
}

// What a Sparkplug host and an MQTT server see of a gateway, from CONNECT to
// DISCONNECT and once more.
func TestASessionOnTheWire(t *testing.T) {
	const nbirth, ndata, ndeath = "spBv1.0/3374/NBIRTH/balai-kota", "spBv1.0/3374/NDATA/balai-kota", "spBv1.0/3374/NDEATH/balai-kota"
	w := startWire(t)
	dir := t.TempDir()
	for session := range uint64(2) { // [tck-id-topics-nbirth-bdseq-increment]
		g := startGateway(t, dir, "tcp://"+w.address, true, nil)
		connect := next[*packets.ConnectPacket](w) // [tck-id-message-flow-edge-node-birth-publish-connect]
		if !connect.CleanSession {                 // [tck-id-principles-persistence-clean-session-311]
			t.Error("clean session is 0")
		}
		// [tck-id-message-flow-edge-node-birth-publish-will-message] [tck-id-payloads-ndeath-will-message]
		// [tck-id-message-flow-edge-node-birth-publish-will-message-topic]
		// [tck-id-message-flow-edge-node-birth-publish-will-message-qos] [tck-id-payloads-ndeath-will-message-qos]
		// [tck-id-message-flow-edge-node-birth-publish-will-message-will-retained] [tck-id-payloads-ndeath-will-message-retain]
		if !connect.WillFlag || connect.WillTopic != ndeath || connect.WillQos != 1 || connect.WillRetain {
			t.Errorf("will %+v", connect)
		}
		var will sparkplug.Payload
		if err := sparkplug.Decode(connect.WillMessage, &will); err != nil { // [tck-id-message-flow-edge-node-birth-publish-will-message-payload]
			t.Fatal(err)
		}
		// [tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq]
		if n := bdSeqOf(t, &will); n != session || will.Metrics[0].Type != sparkplug.TypeInt64 {
			t.Errorf("bdSeq of the will is %d in session %d", n, session)
		}
		sub := next[*packets.SubscribePacket](w) // [tck-id-message-flow-edge-node-ncmd-subscribe]
		if !slices.Equal(sub.Topics, []string{"spBv1.0/3374/NCMD/balai-kota"}) || sub.Qoss[0] != 1 {
			t.Errorf("subscribed %v with QoS %v", sub.Topics, sub.Qoss)
		}
		// The first message is the birth. [tck-id-principles-birth-certificates-order]
		// [tck-id-topics-nbirth-topic] [tck-id-message-flow-edge-node-birth-publish-nbirth-topic]
		// [tck-id-payloads-nbirth-retain] [tck-id-message-flow-edge-node-birth-publish-nbirth-retained]
		_, birth := w.message(nbirth)
		// [tck-id-topics-nbirth-seq-num] [tck-id-payloads-sequence-num-zero-nbirth]
		// [tck-id-message-flow-edge-node-birth-publish-nbirth-payload-seq]
		if !birth.HasSeq || birth.Seq != 0 {
			t.Errorf("birth with seq %d", birth.Seq)
		}
		// [tck-id-topics-nbirth-bdseq-matching] [tck-id-payloads-nbirth-bdseq-repeat]
		if n := bdSeqOf(t, birth); n != session {
			t.Errorf("bdSeq of the birth is %d, of the will %d", n, session)
		}
		// [tck-id-payloads-timestamp-in-UTC]
		if at := time.UnixMilli(int64(birth.Timestamp)); time.Since(at).Abs() > time.Minute {
			t.Errorf("birth at %v", at)
		}

		g.sample("udara", num("pm2_5", 12.5))
		_, birth = w.message(nbirth)        // names the new metric before data do [tck-id-payloads-ndata-order]
		sent, data := w.message(ndata)      // [tck-id-topics-ndata-topic] [tck-id-payloads-ndata-retain]
		if sent.Qos != 1 || data.Seq != 1 { // [tck-id-topics-ndata-seq-num]
			t.Errorf("data with QoS %d, seq %d", sent.Qos, data.Seq)
		}
		known, err := sparkplug.ParseBirth(birth, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range data.Metrics { // [tck-id-topics-nbirth-metric-reqs] [tck-id-operational-behavior-data-publish-nbirth]
			if _, ok := known.Definition(&data.Metrics[i]); !ok {
				t.Errorf("the birth does not know %+v", data.Metrics[i])
			}
		}
		var d sparkplug.Data // [tck-id-topics-ndata-payload] [tck-id-payloads-metric-timestamp-in-UTC]
		if err := d.Resolve(data, known, 0); err != nil || d.Records[0].Readings[0].Value.Number != 12.5 || time.Since(time.UnixMilli(d.Records[0].Time)).Abs() > time.Minute {
			t.Errorf("%+v, %v", d.Records, err)
		}

		// [tck-id-operational-behavior-data-commands-rebirth-action-1]
		// [tck-id-operational-behavior-data-commands-rebirth-action-2]
		w.command(sparkplug.AppendCommand(nil, 0, sparkplug.MetricRebirth, sparkplug.TypeBoolean, sparkplug.Boolean(true)))
		_, birth = w.message(nbirth)
		if n := bdSeqOf(t, birth); n != session || birth.Seq != 0 { // [tck-id-operational-behavior-data-commands-rebirth-action-3]
			t.Errorf("rebirth with bdSeq %d, seq %d", n, birth.Seq)
		}
		// The value is the one that was sent. [tck-id-operational-behavior-data-publish-nbirth-values]
		i := slices.IndexFunc(birth.Metrics, func(m sparkplug.Metric) bool { return string(m.Name) == "udara/pm2_5" })
		if v, ok := birth.Metrics[i].Value.Float(sparkplug.TypeDouble); !ok || v != 12.5 || int64(birth.Metrics[i].Timestamp) != d.Records[0].Time {
			t.Errorf("%+v", birth.Metrics[i])
		}

		g.stop()
		// [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath] [tck-id-topics-ndeath-topic]
		// [tck-id-payloads-ndeath-will-message-publisher]
		// [tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311]
		if _, death := w.message(ndeath); bdSeqOf(t, death) != session {
			t.Errorf("death %+v", death)
		}
		next[*packets.DisconnectPacket](w) // [tck-id-operational-behavior-edge-node-intentional-disconnect-packet]
		until(t, "the connection is gone", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return w.open == 0 })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.most != 1 { // [tck-id-operational-behavior-primary-application-state-with-multiple-servers-single-server]
		t.Errorf("%d connections at a time", w.most)
	}
}

// A birth repeats what is current: not what was sampled during an outage and is
// sent later, and nothing of another unit or type.
func TestABirthRepeatsCurrentValues(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	current := func(actions []Action) (value float64, null bool) {
		t.Helper()
		for _, a := range actions {
			var p sparkplug.Payload
			if a.Birth == nil {
				continue
			}
			if err := sparkplug.Decode(a.Payload, &p); err != nil {
				t.Fatal(err)
			}
			for i := range p.Metrics {
				if m := &p.Metrics[i]; string(m.Name) == "udara/pm2_5" {
					value, _ = m.Value.Float(sparkplug.TypeDouble)
					return value, m.Null
				}
			}
		}
		t.Fatal("no birth with the metric")
		return 0, false
	}
	s.sample(1, "udara", num("pm2_5", 1))
	s.connect(0)
	s.ack()
	if v, null := current(s.connect(1)); null || v != 1 {
		t.Errorf("%v, %v; want 1", v, null)
	}
	s.ack()
	s.session.End()
	s.sample(1, "udara", num("pm2_5", 2))
	s.clock.Add(int64(time.Hour)) // too old by now for the live lane
	s.connect(2)
	s.ack()
	if v, null := current(s.connect(3)); null || v != 1 {
		t.Errorf("%v, %v; want 1, the newest that was live", v, null)
	}
	s.ack()
	s.sample(1, "udara", telemetry.Reading{Quantity: "pm2_5", Gap: telemetry.GapTimeout})
	s.take(s.session.Wake(s.at()))
	s.ack()
	if _, null := current(s.connect(4)); !null {
		t.Error("a gap is no value")
	}
	s.ack()
	if _, null := current(s.take(s.session.Define([]Definition{{Device: "udara", Quantity: "pm2_5", Unit: "index"}}, s.at()))); !null {
		t.Error("the value of another unit")
	}
}

// With QoS0 births and data are what the standard has, the ten ids that we
// otherwise deviate from included.
func TestQoS0IsTheStandards(t *testing.T) {
	w := startWire(t)
	g := startGateway(t, t.TempDir(), "tcp://"+w.address, true, func(o *Options) { o.QoS0 = true })
	next[*packets.ConnectPacket](w)
	next[*packets.SubscribePacket](w)
	g.sample("udara", num("pm2_5", 12.5))
	for seen := false; !seen; {
		p := next[*packets.PublishPacket](w)
		if p.Qos != 0 || p.Retain {
			t.Errorf("%s with QoS %d, retained %v", p.TopicName, p.Qos, p.Retain)
		}
		seen = p.TopicName == "spBv1.0/3374/NDATA/balai-kota"
	}
}
