package broker

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
)

// step is one packet to send or to expect; both empty means that the connection
// must end.
type step struct{ send, expect string }

// bytesOf reads hexadecimal digits and 'quoted text' with its length before it.
func bytesOf(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = str(out, part)
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(part, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		out = append(out, b...)
	}
	return out
}

// framed puts the remaining length after the first byte.
func framed(t *testing.T, s string) []byte {
	b := bytesOf(t, s)
	return packet(b[0], b[1:])
}

// TestProtocolSequences plays packet sequences against the open room, as public
// MQTT 3.1.1 suites do: what the standard forbids ends the connection, what it
// allows is answered.
func TestProtocolSequences(t *testing.T) {
	r := start(t, openRoom)
	const in = "10 'MQTT' 04 02 000a 'p'"
	end := step{}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"connect", []step{{in, "20 00 00"}, {"c0", "d0"}}},
		{"second connect", []step{{in, "20 00 00"}, {in, ""}, end}},
		{"empty client id", []step{{"10 'MQTT' 04 02 000a ''", "20 00 00"}, {"c0", "d0"}}},
		{"empty client id, clean 0", []step{{"10 'MQTT' 04 00 000a ''", "20 00 02"}, end}},
		{"keep-alive 0", []step{{"10 'MQTT' 04 02 0000 'p'", "20 00 00"}, {"c0", "d0"}}},
		{"clean 0", []step{{"10 'MQTT' 04 00 000a 'p'", "20 00 00"}, {"c0", "d0"}}},
		{"version 2", []step{{"10 'MQTT' 02 02 000a 'p'", "20 00 01"}, end}},
		{"version 6", []step{{"10 'MQTT' 06 02 000a 'p'", "20 00 01"}, end}},
		{"empty user name", []step{{"10 'MQTT' 04 82 000a 'p' ''", "20 00 00"}, {"c0", "d0"}}},
		{"password of any bytes", []step{{"10 'MQTT' 04 c2 000a 'p' 'p' 0003 740000", "20 00 00"}, {"c0", "d0"}}},
		{"user name without flag", []step{{in + " 'p'", ""}, end}},
		{"publish first", []step{{"30 'topic' 70", ""}, end}},
		{"ping first", []step{{"c0", ""}, end}},
		// [tck-id-conformance-mqtt-qos0] [tck-id-conformance-mqtt-qos1]: to it, and from it under "own message"
		{"publish QoS 0", []step{{in, "20 00 00"}, {"30 'topic' 70", ""}, {"c0", "d0"}}},
		{"publish QoS 1", []step{{in, "20 00 00"}, {"32 'topic' 04d2 70", "40 04d2"}, {"3a 'topic' 04d2 70", "40 04d2"}}},
		{"publish QoS 2", []step{{in, "20 00 00"}, {"34 'topic' 04d2 70", "50 04d2"}, {"62 04d2", "70 04d2"}}},
		{"publish QoS 2 twice", []step{{in, "20 00 00"}, {"34 'topic' 04d2 70", "50 04d2"}, {"3c 'topic' 04d2 70", "50 04d2"}, {"62 04d2", "70 04d2"}}},
		{"publish QoS 2 to a $ topic", []step{{in, "20 00 00"}, {"34 '$test/test' 007b", "50 007b"}}},
		{"publish QoS 1 to a $SYS topic", []step{{in, "20 00 00"}, {"32 '$SYS/broker/uptime' 007b 31", "40 007b"}}},
		{"QoS 2 without id", []step{{in, "20 00 00"}, {"34 'topic' 0000", ""}, end}},
		{"denied topic", []step{{in, "20 00 00"}, {"32 'test/nosubscribe' 0001", ""}, end}},
		{"denied filter", []step{{in, "20 00 00"}, {"82 0001 'test/nosubscribe' 02", "90 0001 80"}, {"c0", "d0"}}},
		{"denied among others", []step{{in, "20 00 00"}, {"82 0001 'a' 02 'test/nosubscribe' 00 'b' 01", "90 0001 028001"}}},
		{"unsolicited PUBACK", []step{{in, "20 00 00"}, {"40 0001", ""}, {"c0", "d0"}}},
		{"unsolicited PUBREC", []step{{in, "20 00 00"}, {"50 0001", "62 0001"}}},
		{"unsolicited PUBREL", []step{{in, "20 00 00"}, {"62 0001", "70 0001"}}},
		{"unsolicited PUBCOMP", []step{{in, "20 00 00"}, {"70 0001", ""}, {"c0", "d0"}}},
		{"unsubscribe what was not subscribed", []step{{in, "20 00 00"}, {"a2 04d2 'p' 'q'", "b0 04d2"}}},
		{"own message", []step{{in, "20 00 00"}, {"82 04d2 'own' 01", "90 04d2 01"}, {"30 'own' 6d", "30 'own' 6d"}}},
		{"own message, QoS 1", []step{{in, "20 00 00"}, {"82 04d2 'own' 01", "90 04d2 01"}, {"32 'own' 0007 6d", "40 0007"}, {"", "32 'own' 0001 6d"}, {"40 0001", ""}, {"c0", "d0"}}},
		{"PUBREC for QoS 1", []step{{in, "20 00 00"}, {"82 04d2 'own' 01", "90 04d2 01"}, {"32 'own' 0007 6d", "40 0007"}, {"", "32 'own' 0001 6d"}, {"50 0001", ""}, end}},
		{"PUBCOMP for QoS 1", []step{{in, "20 00 00"}, {"82 04d2 'own' 01", "90 04d2 01"}, {"32 'own' 0007 6d", "40 0007"}, {"", "32 'own' 0001 6d"}, {"70 0001", ""}, end}},
		{"shared subscription", []step{{in, "20 00 00"}, {"82 0001 '$share/name/test' 01", "90 0001 01"}, {"82 0002 'test' 00", "90 0002 00"}, {"a2 0007 'test'", "b0 0007"}}},
		{"disconnect", []step{{in, "20 00 00"}, {"e0", ""}, end}},
	} {
		cl := r.dial(t)
		for i, s := range c.steps {
			if s == end {
				cl.closed()
			}
			if s.send != "" {
				cl.send(framed(t, s.send))
			}
			if s.expect != "" {
				want := framed(t, s.expect)
				if got, err := cl.read(); err != nil || string(got) != string(want) {
					t.Errorf("%s, step %d: got % x, %v; want % x", c.name, i+1, got, err, want)
				}
			}
		}
		cl.conn.Close()
	}
	if n := r.metric(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// open connects a client of any name.
func (r *room) open(t *testing.T, id string, change ...func(*login)) *client {
	t.Helper()
	l := login{id: id, keepAlive: 60}
	for _, f := range change {
		f(&l)
	}
	c := r.dial(t)
	c.send(l.packet())
	return c
}

func TestOpenRetainedMessages(t *testing.T) {
	r := start(t, openRoom)
	a := r.open(t, "a")
	a.expect(connack(0))
	for qos := range byte(3) {
		p := publishPacket(qos, 1+uint16(qos), "kept/"+string('0'+rune(qos)), "x")
		p[0] |= 1
		a.send(p)
		switch qos {
		case 1:
			a.expect(puback(2))
		case 2:
			a.expect([]byte{0x50, 2, 0, 3})
			a.send([]byte{0x62, 2, 0, 3})
			a.expect([]byte{0x70, 2, 0, 3})
		}
	}
	b := r.open(t, "b")
	b.expect(connack(0))
	b.send(subscribePacket(1, 2, "kept/#"))
	b.expect(suback(2))
	for range 3 {
		if got, err := b.read(); err != nil || got[0]&0x31 != 0x31 {
			t.Fatalf("% x, %v; want a retained message", got, err)
		}
	}
	clear := publishPacket(1, 9, "kept/1", "")
	clear[0] |= 1
	a.send(clear)
	a.expect(puback(9))
	until(t, "one deleted", func() bool { _, ok := r.server.Topics.Retained.Get("kept/1"); return !ok })
}

func TestOpenQueueForAnAbsentClient(t *testing.T) {
	r := start(t, openRoom)
	keep := func(l *login) { l.unclean = true }
	a := r.open(t, "a", keep)
	a.expect(connack(0))
	a.send(subscribePacket(1, 2, "+/+"), disconnect)
	a.expect(suback(2))
	a.closed()
	b := r.open(t, "b")
	b.expect(connack(0))
	b.send(publishPacket(1, 1, "x/1", "one"), publishPacket(2, 2, "x/2", "two"))
	seen := map[string]bool{}
	for range 2 {
		got, err := b.read()
		if err != nil {
			t.Fatal(err)
		}
		seen[hex.EncodeToString(got)] = true
	}
	if !seen["40020001"] || !seen["50020002"] {
		t.Errorf("answers %v", seen)
	}
	until(t, "queued", func() bool {
		cl, ok := r.server.Clients.Get("a")
		return ok && cl.State.Inflight.Len() == 2
	})
	a = r.open(t, "a", keep)
	a.expect([]byte{0x20, 2, 1, 0}) // session present
	topics := map[string]byte{}
	for range 2 {
		got, err := a.read()
		if err != nil {
			t.Fatal(err)
		}
		p, err := splitPublish(got[0]&0x0f, got[2:])
		if err != nil {
			t.Fatal(err)
		}
		topics[string(p.topic)] = p.qos
	}
	if len(topics) != 2 || topics["x/1"] != 1 || topics["x/2"] != 2 {
		t.Errorf("%v", topics)
	}
	a.conn.Close()
	a = r.open(t, "a") // clean=1 ends it
	a.expect(connack(0))
}

func TestOpenWillReachesSubscribers(t *testing.T) {
	r := start(t, openRoom)
	b := r.open(t, "b")
	b.expect(connack(0))
	b.send(subscribePacket(1, 2, "will"), pingreq)
	b.expect(suback(2), []byte{0xd0, 0}) // what was retained before the subscription would have come by now
	a := r.open(t, "a", func(l *login) { l.will = &will{topic: "will", payload: []byte("gone"), qos: 1, retain: true} })
	a.expect(connack(0))
	a.conn.Close()
	got, err := b.read()
	if err != nil || got[0] != 0x32 || !strings.HasSuffix(string(got), "gone") {
		t.Errorf("% x, %v", got, err)
	}
	b.send(puback(binary.BigEndian.Uint16(got[8:])))
	until(t, "will is retained", func() bool { _, ok := r.server.Topics.Retained.Get("will"); return ok })
	silent := r.open(t, "s", func(l *login) { l.keepAlive = 1; l.will = &will{topic: "will", payload: []byte("silent")} })
	silent.expect(connack(0))
	if got, err := b.read(); err != nil || !strings.HasSuffix(string(got), "silent") {
		t.Errorf("% x, %v", got, err)
	}
}

func TestOpenOverlappingSubscriptions(t *testing.T) {
	r := start(t, openRoom)
	a := r.open(t, "a")
	a.expect(connack(0))
	a.send(subscribePacket(1, 2, "top/#"), subscribePacket(1, 1, "top/+"))
	a.expect(suback(2), suback(1))
	b := r.open(t, "b")
	b.expect(connack(0))
	b.send(publishPacket(2, 1, "top/c", "x"))
	b.expect([]byte{0x50, 2, 0, 1})
	got, err := a.read()
	if err != nil || got[0] != 0x34 { // one message, by the highest QoS [MQTT-3.3.5-1]
		t.Errorf("% x, %v", got, err)
	}
	a.send(pingreq)
	a.expect([]byte{0xd0, 0})
}
