package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// bodyOf cuts the packet's fixed header off.
func bodyOf(t *testing.T, p []byte) []byte {
	t.Helper()
	f, size, err := cutFrame(p, 256<<10)
	if err != nil || size != len(p) {
		t.Fatalf("% x: size %d, %v", p, size, err)
	}
	return f.body
}

func TestFixedHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		size int
		err  error
	}{
		{"nothing yet", nil, 0, nil},
		{"no length yet", []byte{0xc0}, 0, nil},
		{"length half here", []byte{0x30, 0x80}, 0, nil},
		{"ping", []byte{0xc0, 0}, 2, nil},
		{"body still to come", []byte{0x30, 0x80, 0x01}, 131, nil},
		{"type 0", []byte{0x00}, 0, badType},
		{"type 15", []byte{0xf0}, 0, badType},
		{"CONNACK", []byte{0x20}, 0, badType},
		{"SUBACK", []byte{0x90}, 0, badType},
		{"UNSUBACK", []byte{0xb0}, 0, badType},
		{"PINGRESP", []byte{0xd0}, 0, badType},
		{"CONNECT with flags", []byte{0x11}, 0, badFlags},
		{"PINGREQ with flags", []byte{0xc1}, 0, badFlags},
		{"DISCONNECT with flags", []byte{0xe2}, 0, badFlags},
		{"PUBREL without flags", []byte{0x60}, 0, badFlags},
		{"SUBSCRIBE without flags", []byte{0x80}, 0, badFlags},
		{"UNSUBSCRIBE with retain", []byte{0xa3}, 0, badFlags},
		{"PUBLISH with QoS 3", []byte{0x36}, 0, badQoS},
		{"PUBLISH with DUP and QoS 0", []byte{0x38}, 0, badFlags},
		{"five bytes of length", []byte{0x30, 0xff, 0xff, 0xff, 0xff}, 0, badLength},
		{"length longer than need be", []byte{0x30, 0x80, 0x00}, 0, badLength},
		{"too large", []byte{0x30, 0x81, 0x80, 0x10}, 0, tooLarge},
	} {
		if _, size, err := cutFrame(c.in, 256<<10); size != c.size || !errors.Is(err, c.err) {
			t.Errorf("%s: size %d, %v; want %d, %v", c.name, size, err, c.size, c.err)
		}
	}
}

func TestConnectFields(t *testing.T) {
	full := login{id: "3374/a", user: "user", password: "pass\x00word", keepAlive: 60, will: &will{topic: "t", payload: []byte{0, 1}, qos: 1, retain: true}}
	c, err := parseConnect(bodyOf(t, full.packet()))
	if err != nil {
		t.Fatal(err)
	}
	if c.clientID != full.id || !c.clean || c.keepAlive != 60 || c.user != "user" || string(c.password) != full.password ||
		c.will.topic != "t" || c.will.qos != 1 || !c.will.retain || !bytes.Equal(c.will.payload, []byte{0, 1}) {
		t.Errorf("%+v, will %+v", c, c.will)
	}
	with := func(at int, b ...byte) []byte {
		body := bytes.Clone(bodyOf(t, login{id: "id", keepAlive: 60}.packet()))
		return append(append(body[:at:at], b...), body[at+len(b):]...)
	}
	for _, c := range []struct {
		name string
		body []byte
		err  error
	}{
		{"MQTT 3.1", append(str(nil, "MQIsdp"), 3, 2, 0, 60, 0, 0), badVersion},
		{"MQTT 5", with(6, 5), badVersion},
		{"MQTT 4 of a bridge", with(6, 0x84), badVersion},
		{"another protocol", with(2, 'A'), badProtocol},
		{"lower case", with(2, 'm', 'q', 't', 't'), badProtocol},
		{"reserved flag", with(7, 0x03), badFlags},
		{"will QoS without will", with(7, 0x0a), badFlags},
		{"will retain without will", with(7, 0x22), badFlags},
		{"will QoS 3", with(7, 0x1e), badQoS},
		{"password without user", with(7, 0x42), badFlags},
		{"will flag without will", with(7, 0x06), truncated},
		{"user flag without user", with(7, 0x82), truncated},
		{"empty", nil, truncated},
		{"no client id", with(0)[:10], truncated},
		{"client id runs over", with(10, 0, 3), truncated},
		{"trailing byte", append(with(0), 0), trailing},
		{"NUL in client id", with(12, 0), badCharacter},
		{"control character in client id", with(12, 0x1b), badCharacter},
		{"DEL in client id", with(12, 0x7f), badCharacter},
		{"C1 control in client id", with(12, 0xc2, 0x85), badCharacter},
		{"surrogate in client id", append(str(bytes.Clone(with(0)[:10]), "\xed\xa0\x80"), nil...), badUTF8},
		{"overlong slash in client id", with(12, 0xc0, 0xaf), badUTF8},
		{"cut character in client id", with(13, 0xc3), badUTF8},
		{"wildcard in will topic", bodyOf(t, login{id: "a", will: &will{topic: "a/#"}}.packet()), badTopic},
		{"empty will topic", bodyOf(t, login{id: "a", will: &will{}}.packet()), badTopic},
	} {
		if _, err := parseConnect(c.body); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
}

func TestMochiUnderstandsOurConnect(t *testing.T) {
	for _, id := range []string{"3374/a", strings.Repeat("x", 127), strings.Repeat("y", 20000)} {
		var pk packets.Packet
		raw := appendConnect(nil, id, true, 300)
		body := bodyOf(t, raw)
		if err := pk.ConnectDecode(bytes.Clone(body)); err != nil || pk.ConnectValidate() != packets.CodeSuccess ||
			pk.Connect.ClientIdentifier != id || !pk.Connect.Clean || pk.Connect.Keepalive != 300 || pk.Connect.UsernameFlag || pk.Connect.WillFlag {
			t.Errorf("%+v, %v", pk.Connect, err)
		}
	}
}

func TestOtherPackets(t *testing.T) {
	deep := strings.Repeat("/", maxLevels)
	for _, c := range []struct {
		name string
		kind packetType
		body []byte
		qos2 bool
		err  error
	}{
		{"PUBACK", typePuback, []byte{0, 1}, false, nil},
		{"PUBACK of 0", typePuback, []byte{0, 0}, false, badPacketID},
		{"short PUBACK", typePuback, []byte{0}, false, truncated},
		{"long PUBACK", typePuback, []byte{0, 1, 0}, false, trailing},
		{"PUBREC", typePubrec, []byte{0, 1}, false, badType},
		{"PUBREL, open", typePubrel, []byte{0, 1}, true, nil},
		{"PINGREQ with body", typePingreq, []byte{0}, false, trailing},
		{"DISCONNECT with body", typeDisconnect, []byte{0}, false, trailing},
		{"SUBSCRIBE", typeSubscribe, bodyOf(t, subscribePacket(1, 2, "a/b", "+", "#", "a/+/b/#", "/")), false, nil},
		{"SUBSCRIBE 0", typeSubscribe, bodyOf(t, subscribePacket(0, 0, "a")), false, badPacketID},
		{"SUBSCRIBE nothing", typeSubscribe, []byte{0, 1}, false, truncated},
		{"SUBSCRIBE without QoS", typeSubscribe, []byte{0, 1, 0, 1, 'a'}, false, truncated},
		{"SUBSCRIBE QoS 3", typeSubscribe, bodyOf(t, subscribePacket(1, 3, "a")), false, badQoS},
		{"SUBSCRIBE reserved bits", typeSubscribe, bodyOf(t, subscribePacket(1, 0x41, "a")), false, badQoS},
		{"SUBSCRIBE to the empty filter", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "")), false, badFilter},
		{"# not last", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "#/a")), false, badFilter},
		{"# in a level", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "a#")), false, badFilter},
		{"+ in a level", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "a+/b")), false, badFilter},
		{"deep filter", typeSubscribe, bodyOf(t, subscribePacket(1, 0, deep)), false, badFilter},
		{"NUL in filter", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "a\x00")), false, badCharacter},
		{"bad UTF-8 in filter", typeSubscribe, bodyOf(t, subscribePacket(1, 0, "a\xff")), false, badUTF8},
		{"UNSUBSCRIBE", typeUnsubscribe, bodyOf(t, unsubscribePacket(1, "a", "b")), false, nil},
		{"UNSUBSCRIBE nothing", typeUnsubscribe, []byte{0, 1}, false, truncated},
	} {
		if _, err := checkOther(c.kind, c.body, c.qos2); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
	for topic, want := range map[string]error{"a/b": nil, "/": nil, "a b": nil, "jalan ä/ü": nil, "": badTopic, "a/+": badTopic, "#": badTopic,
		deep: badTopic, "a\x01": badCharacter, "\xff": badUTF8, "\u0085": badCharacter, "é\u009f": badCharacter, "\u00a0": nil} {
		if err := checkTopic([]byte(topic)); !errors.Is(err, want) {
			t.Errorf("topic %q: %v, want %v", topic, err, want)
		}
	}
}

// trickle gives a connection's bytes in pieces of n.
type trickle struct {
	net.Conn
	in io.Reader
	n  int
}

func (c *trickle) Read(p []byte) (int, error) { return c.in.Read(p[:min(len(p), c.n)]) }

// packetsOf reads packets until the checker refuses or the bytes end.
func packetsOf(raw []byte, piece int, b *Broker) (out [][]byte, err error) {
	c := &conn{Conn: &trickle{in: bytes.NewReader(raw), n: piece}, b: b, limit: b.opts.Limits.PacketBytes, buf: make([]byte, 64)}
	for {
		f, err := c.next()
		if err != nil {
			return out, err
		}
		out = append(out, bytes.Clone(f.raw))
	}
}

func FuzzFrameChecker(f *testing.F) {
	own := topicOf("NDATA", "3374/a")
	for _, seed := range [][]byte{
		login{id: "3374/a", user: "u", password: "p", keepAlive: 60, will: &will{topic: topicOf("NDEATH", "3374/a"), payload: []byte("x"), qos: 1}}.packet(),
		publishPacket(0, 0, own, "x"), publishPacket(1, 1, own, strings.Repeat("x", 300)), publishPacket(2, 1, own, ""),
		subscribePacket(1, 1, "a/+", "#"), unsubscribePacket(2, "a"), pingreq, disconnect, puback(7), {0x62, 2, 0, 1},
		append(append(bytes.Clone(pingreq), publishPacket(1, 2, own, "y")...), disconnect...),
		{0x30, 0xff, 0xff, 0xff, 0x7f}, {0x82, 6, 0, 1, 0, 0, 1, 'x'},
	} {
		f.Add(seed, uint8(3))
	}
	b := &Broker{opts: Options{}}
	b.opts.setDefaults()
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		whole, err := packetsOf(raw, len(raw)+1, b)
		pieces, err2 := packetsOf(raw, int(piece)+1, b)
		if len(whole) != len(pieces) || !errors.Is(err2, err) {
			t.Fatalf("%d packets, %v in one piece; %d, %v in pieces of %d", len(whole), err, len(pieces), err2, int(piece)+1)
		}
		for i, p := range whole {
			if !bytes.Equal(p, pieces[i]) {
				t.Fatalf("packet %d differs", i)
			}
			fr, size, err := cutFrame(p, len(p))
			if err != nil || size != len(p) {
				t.Fatalf("% x: %d, %v", p, size, err)
			}
			// What the checker lets through must be plain to mochi, and mean the same.
			pk := packets.Packet{ProtocolVersion: 4}
			if err := pk.FixedHeader.Decode(p[0]); err != nil {
				t.Fatalf("mochi refuses the first byte of % x: %v", p, err)
			}
			pk.FixedHeader.Remaining = len(fr.body)
			body := bytes.Clone(fr.body)
			switch fr.kind {
			case typeConnect:
				c, err := parseConnect(fr.body)
				if err != nil {
					continue
				}
				if err := pk.ConnectDecode(body); err != nil || pk.Connect.ClientIdentifier != c.clientID || pk.Connect.Keepalive != c.keepAlive || pk.Connect.Clean != c.clean {
					t.Fatalf("mochi reads %+v, %v; the checker %+v", pk.Connect, err, c)
				}
			case typePublish:
				p, err := splitPublish(fr.flags, fr.body)
				if err != nil || checkTopic(p.topic) != nil {
					continue
				}
				if err := pk.PublishDecode(body); err != nil || pk.PublishValidate(0) != packets.CodeSuccess ||
					pk.TopicName != string(p.topic) || !bytes.Equal(pk.Payload, p.payload) || pk.PacketID != p.id {
					t.Fatalf("mochi reads %q %d, %v; the checker %q %d", pk.TopicName, pk.PacketID, err, p.topic, p.id)
				}
			case typeSubscribe:
				filters, err := checkOther(fr.kind, fr.body, true)
				if err != nil {
					continue
				}
				if err := pk.SubscribeDecode(body); err != nil || pk.SubscribeValidate() != packets.CodeSuccess || len(pk.Filters) != len(filters) {
					t.Fatalf("mochi reads %+v, %v; the checker %q", pk.Filters, err, filters)
				}
			case typeUnsubscribe:
				if _, err := checkOther(fr.kind, fr.body, true); err != nil {
					continue
				}
				if err := pk.UnsubscribeDecode(body); err != nil || pk.UnsubscribeValidate() != packets.CodeSuccess {
					t.Fatalf("mochi reads %+v, %v", pk.Filters, err)
				}
			case typePuback, typePubrec, typePubrel, typePubcomp:
				if _, err := checkOther(fr.kind, fr.body, true); err != nil {
					continue
				}
				if err := pk.PubackDecode(body); err != nil {
					t.Fatal(err)
				}
			default:
				_, _ = checkOther(fr.kind, fr.body, true)
			}
		}
	})
}
