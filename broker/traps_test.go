package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Each TestTrap… is one known trap of mochi v2.7.9 and shows that the room does
// not step into it. When mochi is updated, read them first.

func own(node string) func(*login) {
	return func(l *login) { l.will = &will{topic: topicOf("NDEATH", node), payload: []byte("death"), qos: 1} }
}

// mochi sends a will without asking the ACL or OnPublish (mochi#503).
func TestTrapWillSkipsACL(t *testing.T) {
	r := start(t)
	r.registry.add("3374/a")
	for _, topic := range []string{topicOf("NDEATH", "3374/b"), topicOf("NDATA", "3374/a"), "spBv1.0/STATE/pantau", "$SYS/broker/uptime"} {
		c := r.dial(t)
		c.send(login{id: "3374/a", user: "3374/a", password: "secret of 3374/a", keepAlive: 60, will: &will{topic: topic, payload: []byte("x"), retain: true}}.packet())
		c.expect(connack(connackRefused))
		c.closed()
	}
	c := r.node(t, "3374/a", own("3374/a"))
	c.conn.Close()
	if p := r.journal.next(t); p.Flags != envelope.FlagWill {
		t.Errorf("%+v", p)
	}
	until(t, "session gone", func() bool { return len(r.Sessions()) == 0 })
	r.journal.none(t)
}

// A graceful Close makes every client's will come true.
func TestTrapGracefulCloseSendsWills(t *testing.T) {
	r := start(t)
	var all []*client
	for i := range 5 {
		id := fmt.Sprintf("3374/%d", i)
		all = append(all, r.node(t, id, own(id)))
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		c.closed()
	}
	r.journal.none(t)
}

// mochi's Close panics when called twice.
func TestTrapCloseTwicePanics(t *testing.T) {
	r := start(t)
	for range 3 {
		if err := r.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// By default retained messages, our STATE among them, vanish after a day.
func TestTrapRetainedExpires(t *testing.T) {
	r := start(t)
	retained := r.server.Topics.Retained
	old, ok := retained.Get(r.stateTopic())
	if !ok {
		t.Fatal("STATE is not retained")
	}
	old.Created = time.Now().Add(-48 * time.Hour).Unix()
	retained.Add(r.stateTopic(), old)
	// This one goes in mochi's next round, which is then known to be over.
	retained.Add("round", packets.Packet{TopicName: "round", ProtocolVersion: 5, Expiry: 1})
	until(t, "mochi's round", func() bool { _, ok := retained.Get("round"); return !ok })
	if _, ok := retained.Get(r.stateTopic()); !ok {
		t.Error("STATE was deleted")
	}
}

// mochi acknowledges a QoS 1 message that it then drops for a slow subscriber,
// and while it writes to that one, whoever publishes to it waits. Nothing durable
// goes through subscriptions here, and nobody waits: the slow client is cut.
func TestTrapSlowSubscriber(t *testing.T) {
	r := start(t, openRoom)
	slow := r.dial(t)
	slow.send(login{id: "slow", keepAlive: 60}.packet(), subscribePacket(1, 1, "data"))
	slow.expect(connack(0), suback(1))
	fast := r.dial(t)
	fast.send(login{id: "fast", keepAlive: 60}.packet())
	fast.expect(connack(0))
	const n = 3000
	go func() {
		for id := uint16(1); id <= n; id++ {
			if _, err := fast.conn.Write(publishPacket(1, id, "data", strings.Repeat("x", 8000))); err != nil {
				return
			}
		}
	}()
	for id := uint16(1); id <= n; id++ {
		fast.expect(puback(id))
	}
	if kept := r.journal.topics(); len(kept) != n {
		t.Errorf("%d messages kept, want %d", len(kept), n)
	}
	r.counted(t, 1, "cut_total", "reason=slow")
}

// Inflight.NextImmediate deadlocks with MQTT 5's Receive Maximum. We speak 3.1.1.
func TestTrapVersion5ReceiveMaximum(t *testing.T) {
	r := start(t)
	c := r.dial(t)
	b := append(str(nil, "MQTT"), 5, 0x02, 0, 60, 3, 0x21, 0, 1) // Receive Maximum 1
	c.send(packet(0x10, str(b, "3374/a")))
	c.expect(connack(connackVersion))
	c.closed()
	c = r.dial(t)
	c.send(packet(0x10, str(append(str(nil, "MQIsdp"), 3, 2, 0, 60), "3374/a")))
	c.expect(connack(connackVersion))
	r.counted(t, 2, "refused_total", "reason=protocol_version")
}

// flaky is a listener whose Accept fails as it does without file descriptors.
type flaky struct {
	net.Listener
	mu   sync.Mutex
	left int
}

func (f *flaky) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

// mochi's listener ends at the first error of Accept.
func TestTrapAcceptErrorEndsListener(t *testing.T) {
	r := prepare(t)
	r.listen = func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		return &flaky{Listener: l, left: 4}, err
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.node(t, "3374/a")
	r.counted(t, 4, "accept_errors_total")
}

// mochi waits for CONNECT for ever.
func TestTrapNoConnectDeadline(t *testing.T) {
	ca := newCA(t, "ca")
	r := start(t, ca.withTLS(t), func(o *Options) { o.Limits.ConnectTime = 100 * time.Millisecond })
	mute := r.dial(t)
	drip := r.dial(t)
	drip.send([]byte{0x10, 60, 0, 4, 'M'})
	handshake, err := net.Dial("tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	quiet, err := r.dialTLS(t, ca)
	if err != nil {
		t.Fatal(err)
	}
	mute.closed()
	drip.closed()
	newClient(t, handshake).closed()
	quiet.closed()
	until(t, "all counted", func() bool {
		return r.metric(t, "refused_total", "reason=connect_time") == 4 && r.metric(t, "half_open_connections") == 0
	})
}

// With keep-alive 0 mochi keeps a dead connection for ever.
func TestTrapKeepAliveZero(t *testing.T) {
	r := start(t)
	r.registry.add("3374/a")
	for _, seconds := range []uint16{0, 1801} {
		c := r.dial(t)
		c.send(login{id: "3374/a", user: "3374/a", password: "secret of 3374/a", keepAlive: seconds}.packet())
		c.expect(connack(connackRefused))
		c.closed()
	}
	r.node(t, "3374/a", func(l *login) { l.keepAlive = 1800 })
	silent := r.node(t, "3374/b", func(l *login) { l.keepAlive = 1 })
	silent.send(pingreq[:1]) // half a packet is no sign of life
	silent.expect()
	silent.closed()
	r.counted(t, 1, "cut_total", "reason=silent")
}

// mochi allocates what a packet announces, before anybody is logged in.
func TestTrapPacketSize(t *testing.T) {
	r := start(t)
	c := r.dial(t)
	c.send([]byte{0x10, 0xfd, 0xff, 0x03}) // 65,533 + 4 > 64 KiB
	c.closed()
	c = r.dial(t)
	c.send([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
	c.closed()
	r.counted(t, 2, "refused_total", "reason=too_large")
	topic := topicOf("NDATA", "3374/a")
	fits := 256<<10 - 4 - 2 - len(topic) - 2
	c = r.node(t, "3374/a")
	c.send(publishPacket(1, 1, topic, strings.Repeat("x", fits)))
	c.expect(puback(1))
	if p := r.journal.next(t); len(p.Payload) != fits {
		t.Errorf("%d bytes came", len(p.Payload))
	}
	c.send(publishPacket(1, 2, topic, "small again"))
	c.expect(puback(2))
	c.send(publishPacket(1, 3, topic, strings.Repeat("x", fits+1))[:64])
	c.closed()
	r.counted(t, 1, "cut_total", "reason=too_large")
}

// An idle client of mochi costs 90 KB.
func TestTrapIdleClientMemory(t *testing.T) {
	r := start(t, func(o *Options) { o.Limits.HalfOpenPerAddress = 1000 })
	used := func() uint64 {
		runtime.GC()
		runtime.GC() // what the first one swept and finalised
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse // HeapInuse has the holes that other tests left
	}
	const n = 300
	nodes := make([]*client, n)
	before := used()
	for i := range n {
		nodes[i] = r.node(t, fmt.Sprintf("3374/%d", i))
	}
	perClient := (used() - before) / n
	t.Logf("%d bytes an idle client, both ends", perClient)
	if perClient > 48<<10 { // the test's own end takes about 8 KB of it
		t.Errorf("an idle client costs %d bytes", perClient)
	}
	runtime.KeepAlive(nodes)
}

// mochi's storage hooks fsync twice a message, for the wrong thing.
func TestTrapStorageHooks(t *testing.T) {
	h := &hook{}
	for _, what := range []byte{mqtt.StoredClients, mqtt.StoredSubscriptions, mqtt.StoredInflightMessages, mqtt.StoredRetainedMessages, mqtt.StoredSysInfo} {
		if h.Provides(what) {
			t.Errorf("the hook stores %d", what)
		}
	}
}

// Sessions with clean=0 never expire in mochi.
func TestTrapCleanSessionZero(t *testing.T) {
	r := start(t)
	r.registry.add("3374/a")
	c := r.dial(t)
	c.send(login{id: "3374/a", user: "3374/a", password: "secret of 3374/a", keepAlive: 60, unclean: true}.packet())
	c.expect(connack(connackRefused))
	c.closed()
	if n := r.metric(t, "refused_total", "reason=clean_session"); n != 1 || r.server.Clients.Len() != 1 {
		t.Errorf("%v refused, %d clients known to mochi (its inline client is one)", n, r.server.Clients.Len())
	}
}

// bomb panics where told to.
type bomb struct {
	Journal
	rules
	authority Authority
}

func (b bomb) Submit(p envelope.Packet, done func(error)) {
	if string(p.Payload) == "bomb" {
		panic("journal bug")
	}
	b.Journal.Submit(p, done)
}

func (b bomb) Authenticate(ctx context.Context, c Credentials) (telemetry.Node, error) {
	if c.ClientID == "3374/bomb" {
		panic("authority bug")
	}
	return b.authority.Authenticate(ctx, c)
}

func (b bomb) maySubscribe(filter string) bool {
	if strings.HasSuffix(filter, "/bomb") {
		panic("rules bug")
	}
	return b.rules.maySubscribe(filter)
}

// A panic in a hook ends the process.
func TestTrapPanicInHook(t *testing.T) {
	r := prepare(t, func(o *Options) {
		o.Journal = bomb{Journal: o.Journal}
		o.Authority = bomb{authority: o.Authority}
	})
	r.rulesOf = func(n telemetry.Node, host string) rules { return bomb{rules: newNodeRules(n, host)} }
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	good := r.node(t, "3374/good")
	dcmd := topicOf("DCMD", "3374/a") + "/bomb"

	c := r.dial(t)
	c.send(login{id: "3374/bomb", user: "x", password: "y", keepAlive: 60}.packet())
	c.closed()
	c = r.node(t, "3374/a", own("3374/a"))
	c.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "bomb"))
	c.closed()
	if p := r.journal.next(t); p.Flags != envelope.FlagWill {
		t.Errorf("the panic's victim left %+v", p)
	}
	c = r.node(t, "3374/a")
	c.send(subscribePacket(1, 0, dcmd)) // in our reader
	c.closed()
	until(t, "three panics", func() bool { return r.metric(t, "panics_total") == 3 && len(r.Sessions()) == 1 })
	if n := r.server.Clients.Len(); n != 2 {
		t.Errorf("mochi still knows %d clients, want the good one and its own", n)
	}
	r.server.Topics.Subscribe("3374/a", packets.Subscription{Filter: dcmd})
	c = r.node(t, "3374/a")
	if err := r.Publish(dcmd, nil); err != nil { // in the publisher's goroutine
		t.Error(err)
	}
	c.closed()
	good.send(publishPacket(1, 9, topicOf("NDATA", "3374/good"), "fine"))
	good.expect(puback(9))
	until(t, "four panics", func() bool { return r.metric(t, "panics_total") == 4 })
}

// One truncated MQTT 5 SUBSCRIBE of a logged-in client ends mochi's process
// (mochi#501). The 3.1.1 forms of it end that client.
func TestTrapTruncatedSubscribe(t *testing.T) {
	r := start(t)
	v5 := r.dial(t)
	v5.send(packet(0x10, str(append(str(nil, "MQTT"), 5, 2, 0, 60, 0), "3374/a")), []byte{0x82, 6, 0, 1, 0, 0, 1, 'x'})
	v5.expect(connack(connackVersion))
	whole := subscribePacket(1, 0, topicOf("NCMD", "3374/a"))
	for cut := range len(whole) - 2 {
		c := r.node(t, "3374/a")
		c.send(packet(0x82, whole[2:2+cut]))
		c.closed()
	}
	c := r.node(t, "3374/a")
	c.send(whole)
	c.expect(suback(0))
	if n := r.metric(t, "panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
}

// mochi keeps one table of packet ids for both directions: a node's message
// with id N deletes the unacknowledged message N to the node.
func TestTrapSharedPacketIDs(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, r.stateTopic()))
	c.expect(suback(1))
	got, err := c.read() // STATE, QoS 1
	if err != nil || got[0]&0x06 != 0x02 {
		t.Fatalf("% x, %v", got, err)
	}
	p, err := splitPublish(got[0]&0x0f, got[2:])
	if err != nil {
		t.Fatal(err)
	}
	c.send(publishPacket(1, p.id, topicOf("NDATA", "3374/a"), "same number"))
	c.expect(puback(p.id))
	cl, _ := r.server.Clients.Get("3374/a")
	if _, ok := cl.State.Inflight.Get(p.id); !ok {
		t.Error("the message to the node is forgotten")
	}
	c.send(puback(p.id))
	until(t, "downlink acknowledged", func() bool { return cl.State.Inflight.Len() == 0 })
}

// mochi hands a session on by client id alone (mochi#504)..
func TestTrapSessionInheritance(t *testing.T) {
	ca := newCA(t, "ca")
	r := start(t, ca.withTLS(t))
	with := func(name string) *client {
		c, err := r.dialTLS(t, ca, clientCert(ca.issue(t, name)))
		if err != nil {
			t.Fatal(err)
		}
		c.send(login{id: "3374/a", keepAlive: 60}.packet())
		return c
	}
	a := with("3374/a")
	a.expect(connack(0))
	a.send(subscribePacket(1, 0, topicOf("NCMD", "3374/a")))
	a.expect(suback(0))
	thief := with("3374/b")
	thief.expect(connack(connackIdentifier))
	thief.closed()
	if err := r.Publish(topicOf("NCMD", "3374/a"), []byte("for a")); err != nil {
		t.Fatal(err)
	}
	a.expect(publishPacket(0, 0, topicOf("NCMD", "3374/a"), "for a")) // not taken over
	again := with("3374/a")
	again.expect(connack(0))
	a.closed()
	if err := r.Publish(topicOf("NCMD", "3374/a"), []byte("nobody listens")); err != nil {
		t.Fatal(err)
	}
	again.send(pingreq)
	again.expect([]byte{0xd0, 0}) // the subscription was not inherited
}

// With topic aliases mochi's ACL is asked about the empty topic.
func TestTrapTopicAlias(t *testing.T) {
	r := start(t)
	if n := r.server.Options.Capabilities.TopicAliasMaximum; n != 0 {
		t.Errorf("TopicAliasMaximum %d", n)
	}
	c := r.node(t, "3374/a")
	c.send(publishPacket(1, 1, "", "x"))
	c.closed()
	r.counted(t, 1, "cut_total", "reason=topic")
}

// mochi answers a QoS 2 message above its maximum with the wrong packet, and
// echoes the sender's user properties (MQTT 5).
func TestTrapQoS2(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	c.send(publishPacket(2, 1, topicOf("NDATA", "3374/a"), "x"))
	c.closed()
	for _, kind := range []byte{0x50, 0x62, 0x70} {
		c := r.node(t, "3374/a")
		c.send([]byte{kind, 2, 0, 1})
		c.closed()
	}
	r.journal.none(t)
	o := r.server.Options.Capabilities
	if o.MaximumQos != 1 || !o.Compatibilities.NoInheritedPropertiesOnAck {
		t.Errorf("%+v", o)
	}
}

// mochi stops the world every second to fill $SYS.
func TestTrapSysInterval(t *testing.T) {
	if r := start(t); r.server.Options.SysTopicResendInterval != 60 {
		t.Errorf("every %d s", r.server.Options.SysTopicResendInterval)
	}
}

// Of several hooks the first that says yes lets a client in.
func TestTrapFirstYesWins(t *testing.T) {
	r := start(t)
	stranger := mqtt.Client{ID: "3374/a"}
	h := &hook{b: r.Broker}
	if h.OnConnectAuthenticate(&stranger, packets.Packet{}) || h.OnACLCheck(&stranger, topicOf("NDATA", "3374/a"), true) || h.OnACLCheck(&stranger, "#", false) {
		t.Error("the hook lets in who did not come through our door")
	}
	c := r.dial(t)
	c.send(login{id: "3374/a", user: "3374/a", password: "wrong", keepAlive: 60}.packet())
	c.expect(connack(connackRefused))
}

// A PUBLISH that reached mochi would get its PUBACK without the journal; any
// error but ErrRejectPacket is acknowledged too.
func TestTrapHookErrorIsAcknowledged(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	cl, _ := r.server.Clients.Get("3374/a")
	_, err := (&hook{b: r.Broker}).OnPublish(cl, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1}})
	if err != packets.ErrRejectPacket { //nolint:errorlint // it has to be the bare one
		t.Errorf("%v", err)
	}
	c.closed()
}

// mochi's deadline covers reads and writes: a reader that waits for the journal
// kills its own PUBACKs.
func TestTrapBlockedReaderKeepsPUBACKs(t *testing.T) {
	r := start(t, func(o *Options) { o.Limits.InFlight = 1 })
	r.journal.setHold(true)
	c := r.node(t, "3374/a", func(l *login) { l.keepAlive = 3 })
	c.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "x"))
	r.journal.next(t)
	// Pings keep the session alive well past mochi's deadline of 4.5 s.
	begin, tick := time.Now(), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for time.Since(begin) < 4700*time.Millisecond {
		<-tick.C
		c.send(pingreq)
		c.expect([]byte{0xd0, 0})
	}
	c.send(publishPacket(1, 2, topicOf("NDATA", "3374/a"), "y"))
	until(t, "reader waits", func() bool { return r.metric(t, "throttled_total") == 1 })
	r.journal.release(t, 1)
	c.expect(puback(1))
	r.journal.next(t)
	r.journal.release(t, 1)
	c.expect(puback(2))
}

// Cutting all gateways while the journal is full makes them loop handshakes.
func TestTrapJournalFull(t *testing.T) {
	r := start(t)
	in := r.node(t, "3374/a")
	r.journal.setFull(errors.New("quota reached"))
	c := r.dial(t)
	c.send(login{id: "3374/b", user: "3374/b", password: r.registry.add("3374/b"), keepAlive: 60}.packet())
	c.expect(connack(connackUnavailable))
	c.closed()
	in.send(pingreq)
	in.expect([]byte{0xd0, 0})
	r.journal.setFull(nil)
	r.node(t, "3374/b")
	if n := r.metric(t, "refused_total", "reason=journal"); n != 1 || len(r.Sessions()) != 2 {
		t.Errorf("%v refused, %d sessions", n, len(r.Sessions()))
	}
}

// mochi says DISCONNECT to a 3.1.1 client, which the standard has no word for.
func TestTrapServerDisconnect(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	cl, _ := r.server.Clients.Get("3374/a")
	_ = r.server.DisconnectClient(cl, packets.ErrServerShuttingDown)
	c.closed()
}

func TestTrapNamesAreKnown(t *testing.T) {
	// The hook's list of methods is what mochi calls of ours, and no more.
	var provided []byte
	for what := range mqtt.StoredSysInfo + 1 {
		if (&hook{}).Provides(what) {
			provided = append(provided, what)
		}
	}
	want := []byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPacketSent, mqtt.OnPacketProcessed, mqtt.OnPublish, mqtt.OnPublishDropped}
	slices.Sort(want)
	if !slices.Equal(provided, want) {
		t.Errorf("provides %v, want %v", provided, want)
	}
}
