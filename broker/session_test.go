package broker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
)

func TestPUBACKOnlyAfterTheCommit(t *testing.T) {
	r := start(t)
	r.journal.setHold(true)
	c := r.node(t, "3374/a")
	for id := uint16(1); id <= 3; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), "x"))
		r.journal.next(t)
	}
	// A PINGRESP overtakes the PUBACKs: none of them was written before it.
	c.send(pingreq)
	c.expect([]byte{0xd0, 0})
	if n := r.metric(t, "acknowledged_total"); n != 0 {
		t.Fatalf("%v PUBACKs before any commit", n)
	}
	r.journal.release(t, 2)
	c.expect(puback(1), puback(2))
	c.send(pingreq)
	c.expect([]byte{0xd0, 0})
	r.journal.release(t, 1)
	c.expect(puback(3))
	until(t, "three PUBACKs counted", func() bool { return r.metric(t, "acknowledged_total") == 3 && r.metric(t, "puback_seconds") == 3 })
}

func TestJournalGetsWhatCameInOrder(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	c.send(publishPacket(1, 7, topicOf("NBIRTH", "3374/a"), "birth"), publishPacket(0, 0, topicOf("NDATA", "3374/a"), "zero"),
		publishPacket(1, 8, topicOf("DDATA", "3374/a")+"/meter", "device"))
	c.expect(puback(7), puback(8))
	var session uint64
	for i, want := range []envelope.Packet{
		{Topic: "spBv1.0/3374/NBIRTH/a", Payload: []byte("birth")},
		{Topic: "spBv1.0/3374/NDATA/a", Payload: []byte("zero"), Flags: envelope.FlagQoS0},
		{Topic: "spBv1.0/3374/DDATA/a/meter", Payload: []byte("device")},
	} {
		p := r.journal.next(t)
		if p.Topic != want.Topic || string(p.Payload) != string(want.Payload) || p.Flags != want.Flags || p.Client != "3374/a" || p.Received == 0 {
			t.Errorf("packet %d: got %+v, want %+v", i, p, want)
		}
		if p.Session == 0 || session != 0 && p.Session != session {
			t.Errorf("packet %d: session %x after %x", i, p.Session, session)
		}
		session = p.Session
	}
	if s := r.Sessions(); len(s) != 1 || s[0].ID != session || s[0].Node.String() != "3374/a" || s[0].Remote != c.conn.LocalAddr().String() || s[0].Since.IsZero() {
		t.Errorf("sessions %+v", s)
	}
}

func TestUnsyncedClockIsMarked(t *testing.T) {
	r := start(t, func(o *Options) { o.Synced = nil })
	c := r.node(t, "3374/a")
	c.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "x"))
	if p := r.journal.next(t); p.Flags != envelope.FlagClockUnsynced {
		t.Errorf("flags %b", p.Flags)
	}
}

func TestLostMessageFailsAllThatFollow(t *testing.T) {
	r := start(t)
	r.journal.setHold(true)
	lost := errors.New("no space")
	r.journal.fail = func(p envelope.Packet) error {
		if string(p.Payload) == "2" {
			return lost
		}
		return nil
	}
	c := r.node(t, "3374/a")
	for id, payload := range []string{"1", "2", "3"} {
		c.send(publishPacket(1, uint16(id+1), topicOf("NDATA", "3374/a"), payload))
		r.journal.next(t)
	}
	r.journal.release(t, 1)
	c.expect(puback(1))
	r.journal.release(t, 2) // the third is kept by the journal, yet its PUBACK must not come
	c.closed()
	until(t, "cut for the journal", func() bool { return r.metric(t, "cut_total", "reason=journal") == 1 })
	r.counted(t, 1, "acknowledged_total")
	r.journal.setHold(false)
	again := r.node(t, "3374/a") // the way back is open
	again.send(publishPacket(1, 1, topicOf("NBIRTH", "3374/a"), "fresh"))
	again.expect(puback(1))
}

func TestWillIsKeptInItsPlace(t *testing.T) {
	r := start(t)
	w := func(l *login) { l.will = &will{topic: topicOf("NDEATH", l.id), payload: []byte("death"), qos: 1} }
	c := r.node(t, "3374/a", w)
	c.send(publishPacket(1, 1, topicOf("NBIRTH", "3374/a"), "birth"))
	c.expect(puback(1))
	c.conn.Close()
	if p := r.journal.next(t); string(p.Payload) != "birth" {
		t.Errorf("first %+v", p)
	}
	p := r.journal.next(t)
	if p.Topic != "spBv1.0/3374/NDEATH/a" || string(p.Payload) != "death" || p.Flags != envelope.FlagWill || p.Client != "3374/a" {
		t.Errorf("will %+v", p)
	}
	until(t, "session gone", func() bool { return len(r.Sessions()) == 0 })

	polite := r.node(t, "3374/a", w)
	polite.send(disconnect)
	polite.closed()
	until(t, "session gone", func() bool { return len(r.Sessions()) == 0 })
	r.journal.none(t) // [MQTT-3.14.4-3]

	rude := r.node(t, "3374/a", w)
	rude.send([]byte{0xff, 0xff})
	rude.closed()
	if p := r.journal.next(t); p.Flags&envelope.FlagWill == 0 {
		t.Errorf("after a violation: %+v", p)
	}
}

// A node has one session. [tck-id-topic-structure-namespace-unique-edge-node-descriptor]
// [tck-id-intro-edge-node-id-uniqueness] [tck-id-payloads-nbirth-edge-node-descriptor]
func TestTakeOverEndsTheOldSessionFirst(t *testing.T) {
	r := start(t)
	r.journal.setHold(true)
	old := r.node(t, "3374/a", func(l *login) { l.will = &will{topic: topicOf("NDEATH", l.id), payload: []byte("old"), qos: 0} })
	old.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "before"))
	r.journal.next(t)
	fresh := r.node(t, "3374/a")
	old.closed() // without a packet: a 3.1.1 server sends no DISCONNECT
	fresh.send(publishPacket(1, 1, topicOf("NBIRTH", "3374/a"), "after"))
	first, second := r.journal.next(t), r.journal.next(t)
	if string(first.Payload) != "old" || first.Flags != envelope.FlagWill|envelope.FlagQoS0 || string(second.Payload) != "after" || first.Session == second.Session {
		t.Errorf("got %+v, then %+v", first, second)
	}
	r.journal.release(t, 3)
	fresh.expect(puback(1))
	fresh.send(pingreq)
	fresh.expect([]byte{0xd0, 0}) // the old one's PUBACK did not come here
	if s := r.Sessions(); len(s) != 1 || s[0].ID != second.Session {
		t.Errorf("sessions %+v", s)
	}
}

func TestManyTakeOversLeaveOne(t *testing.T) {
	r := start(t)
	r.registry.add("3374/a")
	l := login{id: "3374/a", user: "3374/a", password: "secret of 3374/a", keepAlive: 60}
	var all []*client
	for range 15 {
		c := r.dial(t)
		c.send(l.packet())
		all = append(all, c)
	}
	var in []*client
	for _, c := range all { // some are taken over before their CONNACK
		if got, err := c.read(); err == nil && slices.Equal(got, connack(0)) {
			in = append(in, c)
		}
	}
	alive := 0
	for _, c := range in {
		_, _ = c.conn.Write(pingreq) // fails where the connection has ended
		if _, err := c.read(); err == nil {
			alive++
		}
	}
	if alive != 1 || len(r.Sessions()) != 1 {
		t.Errorf("%d clients alive, %d sessions", alive, len(r.Sessions()))
	}
}

func TestInFlightCapBlocksThenCuts(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.InFlight = 4 })
	r.journal.setHold(true)
	c := r.node(t, "3374/a", func(l *login) { l.keepAlive = 2 })
	for id := uint16(1); id <= 6; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), "x"))
	}
	for range 4 {
		r.journal.next(t)
	}
	until(t, "reader waits", func() bool { return r.metric(t, "throttled_total") == 1 })
	r.journal.none(t)
	r.journal.release(t, 1)
	c.expect(puback(1))
	r.journal.next(t)
	r.journal.none(t)
	c.closed()
	r.counted(t, 1, "cut_total", "reason=in_flight")
}

func TestRateCapSlowsTheClientDown(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.MessagesPerSecond = 200 })
	c := r.node(t, "3374/a")
	begin := r.opts.Now()
	for id := uint16(1); id <= 260; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), "x"))
	}
	for id := uint16(1); id <= 260; id++ {
		c.expect(puback(id))
	}
	if took := r.opts.Now().Sub(begin); took.Milliseconds() < 290 || r.metric(t, "throttled_total") == 0 {
		t.Errorf("260 messages at 200 a second, 200 at once: took %v", took)
	}
}

func TestByteRateCapSlowsTheClientDown(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.BytesPerSecond = 100_000 })
	c := r.node(t, "3374/a")
	begin := r.opts.Now()
	for id := uint16(1); id <= 13; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), strings.Repeat("x", 10_000)))
	}
	for id := uint16(1); id <= 13; id++ {
		c.expect(puback(id))
	}
	if took := r.opts.Now().Sub(begin); took.Milliseconds() < 290 || r.metric(t, "throttled_total") == 0 {
		t.Errorf("130 kB at 100 kB a second, 100 kB at once: took %v", took)
	}
}

func TestInFlightBytesCapBlocks(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.InFlightBytes = 10_000 })
	r.journal.setHold(true)
	c := r.node(t, "3374/a")
	for id := uint16(1); id <= 3; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), strings.Repeat("x", 4000)))
	}
	r.journal.next(t)
	r.journal.next(t)
	until(t, "reader waits", func() bool { return r.metric(t, "throttled_total") == 1 })
	r.journal.none(t)
	r.journal.release(t, 1)
	c.expect(puback(1))
	r.journal.next(t)
	r.journal.release(t, 2)
	c.expect(puback(2), puback(3))
	// One message that is larger than the cap goes alone.
	c.send(publishPacket(1, 4, topicOf("NDATA", "3374/a"), strings.Repeat("x", 20_000)))
	r.journal.next(t)
	r.journal.release(t, 1)
	c.expect(puback(4))
}

func TestClientThatTakesNothingIsCut(t *testing.T) { // statement 15
	// More may wait for it than the kernel and we hold here, so that it is not cut for that.
	r := start(t, openRoom, func(o *Options) { o.Limits.UnreadBytes, o.Limits.WriteTime = 1<<30, 200*time.Millisecond })
	deaf := r.dial(t)
	deaf.send(login{id: "deaf", keepAlive: 60}.packet(), subscribePacket(1, 1, "data"))
	deaf.expect(connack(0), suback(1))
	fast := r.dial(t)
	fast.send(login{id: "fast", keepAlive: 60}.packet())
	fast.expect(connack(0))
	for id := uint16(1); r.metric(t, "cut_total", "reason=write") == 0; id++ {
		if id == 20_000 {
			t.Fatal("160 MB wait for a client that takes nothing")
		}
		fast.send(publishPacket(1, id, "data", strings.Repeat("x", 8000)))
		fast.expect(puback(id))
	}
}

func TestSubscriptionCap(t *testing.T) { // statement 15
	r := start(t, func(o *Options) { o.Limits.Subscriptions = 3 })
	c := r.node(t, "3374/a")
	base := topicOf("DCMD", "3374/a")
	c.send(subscribePacket(1, 0, base+"/1", base+"/2", base+"/3"))
	c.expect(suback(0, 0, 0))
	c.send(unsubscribePacket(1, base+"/1"))
	c.expect([]byte{0xb0, 2, 0, 1})
	c.send(subscribePacket(1, 0, base+"/4"))
	c.expect(suback(0))
	c.send(subscribePacket(1, 0, base+"/5"))
	c.closed()
	r.counted(t, 1, "cut_total", "reason=subscriptions")
}

// TestNodesKeepToThemselves is statement 13: by publish, subscribe, wildcard,
// shared subscription, will and retained message. STATE is the host's alone.
// [tck-id-operational-behavior-host-application-host-id]
// [tck-id-message-flow-edge-node-birth-publish-will-message-topic]
func TestNodesKeepToThemselves(t *testing.T) {
	r := start(t)
	other := r.node(t, "3374/b")
	other.send(subscribePacket(1, 1, topicOf("NCMD", "3374/b")))
	other.expect(suback(1))

	for _, topic := range []string{topicOf("NDATA", "3374/b"), topicOf("NDATA", "3301/a"), topicOf("NCMD", "3374/b"), topicOf("NCMD", "3374/a"),
		"spBv1.0/STATE/pantau", "$SYS/x", "x", "spBv1.0/3374/NDATA/a/device", "spBv1.0/3374/DDATA/a", topicOf("NDATA", "3374/a") + "/"} {
		c := r.node(t, "3374/a")
		c.send(publishPacket(1, 1, topic, "x"))
		c.closed() // no PUBACK: what was refused is not acknowledged
		c = r.node(t, "3374/a")
		c.send(publishPacket(0, 0, topic, "x"))
		c.closed()
		c = r.dial(t)
		c.send(login{id: "3374/a", user: "3374/a", password: "secret of 3374/a", keepAlive: 60, will: &will{topic: topic, payload: []byte("w")}}.packet())
		c.expect(connack(connackRefused))
		c.closed()
	}
	for _, filter := range []string{"#", "+/+/+/+", "spBv1.0/3374/#", topicOf("NCMD", "3374/b"), "spBv1.0/3374/NCMD/+", topicOf("NDATA", "3374/a"),
		"spBv1.0/STATE/other", "spBv1.0/STATE/#", "$share/x/" + topicOf("NCMD", "3374/a"), "$SYS/#", topicOf("DCMD", "3374/b") + "/#"} {
		c := r.node(t, "3374/a")
		c.send(subscribePacket(1, 1, filter))
		c.expect(suback(0x80))
		c.send(disconnect)
	}
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, topicOf("NCMD", "3374/a")+"/#", topicOf("DCMD", "3374/a")+"/#", topicOf("DCMD", "3374/a")+"/+", topicOf("DCMD", "3374/a")+"/meter"))
	c.expect(suback(1, 1, 1, 1))
	r.journal.none(t)
	r.counted(t, 20, "cut_total", "reason=acl_publish")
	r.counted(t, 10, "refused_total", "reason=will")
	r.counted(t, 11, "refused_subscriptions_total")
}

// readTime takes the NCMD with the time that follows a subscription.
func readTime(t *testing.T, c *client) int64 {
	t.Helper()
	got, err := c.read()
	if err != nil || got[0] != 0x30 {
		t.Fatalf("got % x, %v; want the time by QoS 0", got, err)
	}
	p, err := splitPublish(got[0]&0x0f, got[2:])
	if err != nil || !strings.Contains(string(p.topic), "/NCMD/") {
		t.Fatalf("%q, %v", p.topic, err)
	}
	var payload sparkplug.Payload
	if err := sparkplug.Decode(p.payload, &payload); err != nil || len(payload.Metrics) != 1 || string(payload.Metrics[0].Name) != sparkplug.MetricTime {
		t.Fatalf("payload %+v, %v", payload, err)
	}
	return int64(payload.Metrics[0].Value.Bits)
}

func TestRetainedFromNodesIsNotKept(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	p := publishPacket(1, 1, topicOf("NDATA", "3374/a"), "x")
	p[0] |= 1
	c.send(p)
	c.expect(puback(1))
	r.journal.next(t)
	for topic := range r.server.Topics.Retained.GetAll() {
		if !strings.HasPrefix(topic, "$SYS") && topic != "spBv1.0/STATE/pantau" {
			t.Errorf("%q is retained", topic)
		}
	}
}
