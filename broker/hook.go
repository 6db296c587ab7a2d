package broker

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

const listenerID = "pantau"

// newServer sets mochi up with every switch that closes a trap of it; see
// TestTrap… for what each is about.
func newServer(b *Broker) (*mqtt.Server, error) {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumMessageExpiryInterval = 0 // else retained messages vanish after a day
	c.MaximumClientWritesPending = 256 // 8,192 take 64 KB a client
	c.MaximumPacketSize = uint32(b.opts.Limits.PacketBytes)
	c.TopicAliasMaximum = 0
	c.SharedSubAvailable = 0
	c.MinimumProtocolVersion = 4
	c.MaximumQos = 1
	c.Compatibilities = mqtt.Compatibilities{ObscureNotAuthorized: true, NoInheritedPropertiesOnAck: true}
	if b.opts.Open != nil {
		c.MaximumQos = 2
	}
	s := mqtt.New(&mqtt.Options{
		Capabilities:            c,
		ClientNetReadBufferSize: 64, // conn has a buffer of its own
		SysTopicResendInterval:  60, // it stops the world to read memory statistics
		InlineClient:            true,
		Logger:                  slog.New(quiet{b.opts.Logger.With("library", "mochi").Handler()}),
	})
	if err := s.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("add our hook: %w", err)
	}
	return s, nil
}

// hook is the only one: with several, the first that says yes wins. mochi calls
// some of its methods from goroutines of its own, where a panic would end the
// process, so each of ours catches.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "pantau" }

func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnPublish, mqtt.OnPacketProcessed, mqtt.OnPacketSent, mqtt.OnPublishDropped:
		return true
	}
	return false
}

func sessionOf(cl *mqtt.Client) *session {
	if c, ok := cl.Net.Conn.(*conn); ok {
		return c.s
	}
	return nil
}

// catch ends a client whose hook panicked.
func (h *hook) catch(cl *mqtt.Client) {
	if p := recover(); p != nil {
		h.b.metrics.panics.Inc()
		h.b.opts.Logger.Error("panic in a hook; its client is cut; this is a bug",
			"client", cl.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if s := sessionOf(cl); s != nil {
			s.cut(reasonPanic, nil)
		}
	}
}

// OnConnectAuthenticate only makes sure that mochi serves who logged in here.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) (ok bool) {
	defer h.catch(cl)
	s := sessionOf(cl)
	return s != nil && s.client == pk.Connect.ClientIdentifier && s.client == cl.ID
}

// OnACLCheck is asked for a filter at SUBSCRIBE and for a topic at each delivery.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) (ok bool) {
	defer h.catch(cl)
	s := sessionOf(cl)
	switch {
	case cl.Net.Inline:
		return true
	case s == nil: // away, with a session kept by Options.Open
		return h.b.opts.Open != nil && !write && !h.b.opts.Open.Deny(topic)
	case write:
		return s.rules.mayPublish(topic)
	}
	return s.rules.maySubscribe(topic)
}

// OnPublish sees what the broker itself publishes, and QoS 2 of Options.Open.
// Anything else would get its PUBACK without the journal: only a stopped client
// and the bare ErrRejectPacket keep mochi from that.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (out packets.Packet, err error) {
	if cl.Net.Inline || h.b.opts.Open != nil && pk.FixedHeader.Qos == 2 {
		return pk, nil
	}
	if s := sessionOf(cl); s != nil {
		s.cut(reasonPanic, fmt.Errorf("PUBLISH to %q came to mochi", pk.TopicName))
	}
	cl.Stop(packets.ErrRejectPacket)
	return pk, packets.ErrRejectPacket
}

// OnPacketProcessed comes after the SUBACK was written.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	if err != nil || pk.FixedHeader.Type != packets.Subscribe && pk.FixedHeader.Type != packets.Unsubscribe {
		return
	}
	defer h.catch(cl)
	s := sessionOf(cl)
	if s == nil {
		return
	}
	r, ok := s.rules.(*nodeRules)
	if !ok {
		return
	}
	subscribed := pk.FixedHeader.Type == packets.Subscribe
	for _, f := range pk.Filters {
		if f.Filter == r.state {
			s.hostWanted.Store(subscribed)
		}
		if subscribed && r.commands(f.Filter) {
			s.commands.Store(true)
		}
	}
	h.b.tellTime(s)
}

// OnPacketSent notes who has got our farewell.
func (h *hook) OnPacketSent(cl *mqtt.Client, pk packets.Packet, _ []byte) {
	if pk.FixedHeader.Type != packets.Publish || !h.b.stopping.Load() {
		return
	}
	defer h.catch(cl)
	// The birth may have been written just now, and be told of only after Stop
	// began: it is not the farewell.
	var state sparkplug.State
	if s := sessionOf(cl); s != nil && pk.TopicName == h.b.stateTopic() && json.Unmarshal(pk.Payload, &state) == nil && !state.Online {
		s.toldOnce.Do(func() { close(s.toldState) })
	}
}

// OnPublishDropped: the client takes too slowly what others send it.
func (h *hook) OnPublishDropped(cl *mqtt.Client, _ packets.Packet) {
	h.b.metrics.dropped.Inc()
}

// forward delivers a kept message to subscribers, best effort.
func (b *Broker) forward(f *forward) {
	if strings.HasPrefix(f.topic, mqtt.SysPrefix) {
		return // the server's own (§4.7.2)
	}
	if err := b.server.Publish(f.topic, f.payload, f.retain, f.qos); err != nil {
		b.opts.Logger.Debug("message not delivered to subscribers", "topic", f.topic, "error", err)
	}
}

// fits reports whether an answer to a message that we sent is of the kind that
// its state asks for (§4.3); one to an unknown message is idle talk.
func (b *Broker) fits(client string, kind packetType, id uint16) bool {
	cl, ok := b.server.Clients.Get(client)
	if !ok {
		return true
	}
	pk, ok := cl.State.Inflight.Get(id)
	if !ok {
		return true
	}
	switch sent := packetType(pk.FixedHeader.Type); kind {
	case typePuback:
		return sent == typePublish && pk.FixedHeader.Qos == 1
	case typePubrec:
		return sent == typePublish && pk.FixedHeader.Qos == 2 || sent == typePubrel
	case typePubcomp:
		return sent == typePubrel
	}
	return true
}

// forget removes what mochi keeps of a client when its own clean-up did not run
// because of a panic.
func (b *Broker) forget(s *session) {
	cl, ok := b.server.Clients.Get(s.client)
	if !ok || cl.Net.Conn != s.conn || !s.clean {
		return
	}
	b.server.UnsubscribeClient(cl)
	cl.ClearInflights()
	b.server.Clients.Delete(s.client)
}
