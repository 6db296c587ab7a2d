package broker

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestTenThousandHostilePackets is statement 16: malformed,
// mutated, foreign and truncated packets, before and after login, while a good
// client goes on undisturbed.
func TestTenThousandHostilePackets(t *testing.T) {
	r := start(t, func(o *Options) { o.Limits.HalfOpenPerAddress = 200; o.Limits.ConnectTime = 5 * time.Second })
	// Every hostile client logs in as itself: eight identities share the work.
	const workers, each = 8, 1250
	for w := range workers {
		r.registry.add(fmt.Sprintf("3374/hostile%d", w))
	}
	good := r.node(t, "3374/good", own("3374/good"))
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)

	finished := make(chan error, workers)
	for w := range workers {
		go func() {
			finished <- r.attack(fmt.Sprintf("3374/hostile%d", w), rand.New(rand.NewPCG(uint64(w), 1)), each)
		}()
	}
	sent := uint16(0)
	for left := workers; left > 0; {
		select {
		case err := <-finished:
			if err != nil {
				t.Error(err)
			}
			left--
		default:
			sent++
			good.send(publishPacket(1, sent, topicOf("NDATA", "3374/good"), "good"))
			good.expect(puback(sent))
			if sent == 65535 {
				sent = 0
			}
		}
	}
	good.send(pingreq)
	good.expect([]byte{0xd0, 0})
	until(t, "only the good client is left", func() bool { return len(r.Sessions()) == 1 && r.metric(t, "connections") == 1 })
	if n := r.metric(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
	reasons := 0
	for _, reason := range []string{string(badType), string(badFlags), string(badLength), string(tooLarge), string(truncated), string(trailing),
		string(badUTF8), string(badCharacter), string(badTopic), string(badFilter), string(badPacketID), string(badQoS), string(badProtocol),
		string(badVersion), string(firstPacket), string(secondConnect), reasonPublish, reasonWill, reasonCleanSession, reasonKeepAlive, reasonClosed} {
		if r.metric(t, "refused_total", "reason="+reason)+r.metric(t, "cut_total", "reason="+reason) > 0 {
			reasons++
		} else {
			t.Logf("nothing was refused for %s", reason)
		}
	}
	if reasons < 20 {
		t.Errorf("only %d reasons were met", reasons)
	}
	r.journal.mu.Lock()
	for _, p := range r.journal.kept {
		if !strings.HasSuffix(p.Topic, p.Client[len("3374/"):]) && !strings.Contains(p.Topic, p.Client[len("3374/"):]+"/") {
			t.Errorf("%s wrote %s", p.Client, p.Topic)
		}
	}
	r.journal.kept = nil
	r.journal.mu.Unlock()
	for len(r.journal.seen) > 0 {
		<-r.journal.seen
	}
	runtime.GC()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
}

// attack sends n hostile packets, each on a connection of its own.
func (r *room) attack(node string, rnd *rand.Rand, n int) error {
	in := login{id: node, user: node, password: "secret of " + node, keepAlive: 60}
	for i := range n {
		c, err := net.Dial("tcp", r.PlainAddr().String())
		if err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		p := hostile(rnd, in)
		loggedIn := rnd.IntN(3) > 0
		if loggedIn {
			_, _ = c.Write(in.packet())
		}
		_, _ = c.Write(p) // the broker may have closed by now
		if half, ok := c.(*net.TCPConn); ok {
			_ = half.CloseWrite()
		}
		buf := make([]byte, 512)
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
		c.Close()
	}
	return nil
}

// hostile makes one packet that MQTT 3.1.1 or our rules forbid, or a good one
// with a few bytes changed.
func hostile(rnd *rand.Rand, in login) []byte {
	data := topicOf("NDATA", in.id)
	will := func(topic string) *will { return &will{topic: topic, payload: []byte("w")} }
	change := func(f func(*login)) []byte { l := in; f(&l); return l.packet() }
	kinds := []func() []byte{
		func() []byte { return publishPacket(1, 1, topicOf("NDATA", "3374/good"), "forged") },
		func() []byte { return publishPacket(0, 0, "spBv1.0/3374/NCMD/good", "forged") },
		func() []byte { return publishPacket(1, 0, data, "no id") },
		func() []byte { return publishPacket(2, 1, data, "QoS 2") },
		func() []byte { return publishPacket(1, 1, "a/+/b", "wildcard") },
		func() []byte { return publishPacket(1, 1, data+"\x00", "NUL") },
		func() []byte { return publishPacket(1, 1, data+"\xff", "UTF-8") },
		func() []byte { return publishPacket(1, 1, strings.Repeat("/", 60000), "deep") },
		func() []byte { return subscribePacket(1, 0, "#/a") },
		func() []byte { return subscribePacket(1, 3, "a") },
		func() []byte { return subscribePacket(1, 0, strings.Repeat("+/", 9000)+"#") },
		func() []byte { return subscribePacket(1, 0, "#") },
		func() []byte { return []byte{0x82, 6, 0, 1, 0, 0, 1, 'x'} },
		func() []byte { return []byte{0x30, 0xff, 0xff, 0xff, 0x7f} },
		func() []byte { return []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01} },
		func() []byte { return []byte{0x30, 0x80, 0x00} },
		func() []byte { return []byte{byte(rnd.IntN(256)), byte(rnd.IntN(256)), byte(rnd.IntN(256))} },
		func() []byte { return []byte{0xc0, 1, 0} },
		func() []byte { return in.packet()[:rnd.IntN(12)] },
		func() []byte { return change(func(l *login) { l.will = will(topicOf("NDEATH", "3374/good")) }) },
		func() []byte { return change(func(l *login) { l.unclean = true }) },
		func() []byte { return change(func(l *login) { l.keepAlive = 0 }) },
		func() []byte { return change(func(l *login) { l.id = "3374/good\x1b" }) },
		func() []byte { return packet(0x10, append(str(nil, "MQTT"), 5, 2, 0, 60, 0, 0, 1, 'x')) },
		func() []byte { return packet(0x10, append(str(nil, "HTTP"), 4, 2, 0, 60, 0, 0)) },
		func() []byte { return packet(0x10, append(in.packet()[2:], 'x')) },
		func() []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		func() []byte { return append([]byte{0x16, 3, 1, 2, 0}, make([]byte, 512)...) }, // a TLS hello
		func() []byte { return mutated(rnd, publishPacket(1, 1, data, "fine")) },
		func() []byte { return mutated(rnd, subscribePacket(1, 0, topicOf("NCMD", in.id))) },
		func() []byte { return mutated(rnd, in.packet()) },
		func() []byte { return mutated(rnd, unsubscribePacket(1, topicOf("NCMD", in.id))) },
	}
	return kinds[rnd.IntN(len(kinds))]()
}

func mutated(rnd *rand.Rand, p []byte) []byte {
	for range 1 + rnd.IntN(3) {
		switch rnd.IntN(4) {
		case 0:
			p[rnd.IntN(len(p))] = byte(rnd.IntN(256))
		case 1:
			p = p[:1+rnd.IntN(len(p))]
		case 2:
			p = append(p, byte(rnd.IntN(256)))
		case 3:
			if len(p) > 4 {
				binary.BigEndian.PutUint16(p[2:], uint16(rnd.IntN(1<<16)))
			}
		}
	}
	return p
}
