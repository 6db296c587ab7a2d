package uplink

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

const (
	writeTimeout = 20 * time.Second // a message that the kernel does not take
	pingTimeout  = 30 * time.Second
	subTimeout   = 30 * time.Second
	byeTimeout   = 3 * time.Second // for what is on its way when the program ends
	endTimeout   = 30 * time.Second
)

// errBusy is what a connection ends with when the server said "unavailable".
var errBusy = errors.New("the server takes no data at the moment")

// refusals say what to do about a CONNACK.
var refusals = map[byte]error{
	packets.ErrRefusedBadProtocolVersion: errors.New("the server does not speak MQTT 3.1.1"),
	packets.ErrRefusedIDRejected:         errors.New("the server refuses this gateway's id: it must equal the certificate's name"),
	packets.ErrRefusedServerUnavailable:  errBusy,
	packets.ErrRefusedBadUsernameOrPassword: errors.New(
		"the server refuses user name or password"),
	packets.ErrRefusedNotAuthorised: errors.New("the server does not know this gateway, or has revoked it: claim it again"),
}

// connection is one paho client and what it reports, as events for one
// goroutine.
type connection struct {
	u        *Uplink
	client   mqtt.Client
	link     *link
	acks     chan uint64
	failures chan error
	commands chan []byte
	over     chan struct{} // closed when nobody reads events any more
	ended    chan struct{} // closed when paho's goroutines have ended
	once     sync.Once
}

// connection connects, runs the session and returns why it ended, and whether
// the server acknowledged anything.
func (u *Uplink) connection(ctx context.Context) (acked bool, err error) {
	l, err := u.target.dial(ctx, u.o.Clock.Best)
	if err != nil {
		return false, err
	}
	seq, err := u.bdSeq.next()
	if err != nil {
		u.log.Warn("the number of this connection is not on disk", "error", err)
	}
	c := &connection{
		u: u, link: l, acks: make(chan uint64, u.o.Window), failures: make(chan error, 1),
		commands: make(chan []byte, 1), over: make(chan struct{}), ended: make(chan struct{}),
	}
	defer close(c.over)
	o := c.options(seq)
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		c.fail(err)
		c.once.Do(func() { close(c.ended) })
	})
	c.client = mqtt.NewClient(o)

	// paho waits for the CONNACK by its own clock; the end of the program cuts it.
	stop := context.AfterFunc(ctx, func() { l.cut(ctx.Err()) })
	token := c.client.Connect()
	token.Wait()
	if err := token.Error(); err != nil {
		stop()
		_ = l.raw.Close() // paho may have closed it already
		if t, ok := token.(*mqtt.ConnectToken); ok {
			if why, ok := refusals[t.ReturnCode()]; ok {
				return false, why
			}
		}
		return false, fmt.Errorf("MQTT CONNECT: %w", err)
	}
	if stop() {
		acked, err = c.run(ctx, seq)
	} else {
		err = ctx.Err()
	}
	u.session.End()
	l.cut(err)
	// paho's goroutines end with the link; the next client starts after them.
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-timer.C:
		u.log.Error("the MQTT client did not end, it is left behind")
	}
	return acked, err
}

func (c *connection) options(seq uint64) *mqtt.ClientOptions {
	u := c.u
	o := mqtt.NewClientOptions().AddBroker("tcp://" + u.target.address) // the scheme is not used: the link is there
	o.SetClientID(u.o.Node.String()).SetProtocolVersion(4)
	o.SetCleanSession(true) // [tck-id-principles-persistence-clean-session-311]
	o.SetOrderMatters(false).SetStore(mqtt.NewMemoryStore())
	o.SetAutoReconnect(false).SetConnectRetry(false)
	o.SetConnectTimeout(dialTimeout).SetWriteTimeout(writeTimeout)
	o.SetKeepAlive(u.o.KeepAlive).SetPingTimeout(pingTimeout)
	if u.o.Username != "" {
		o.SetUsername(u.o.Username).SetPassword(u.o.Password)
	}
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c.link, nil })
	// QoS 1, not retained. [tck-id-payloads-ndeath-will-message]
	// [tck-id-message-flow-edge-node-birth-publish-will-message]
	// [tck-id-message-flow-edge-node-birth-publish-will-message-topic]
	// [tck-id-payloads-ndeath-will-message-qos] [tck-id-payloads-ndeath-will-message-retain]
	// [tck-id-message-flow-edge-node-birth-publish-will-message-qos]
	// [tck-id-message-flow-edge-node-birth-publish-will-message-will-retained]
	topic := sparkplug.Topic{Type: sparkplug.NDEATH, Node: u.o.Node}.String()
	o.SetBinaryWill(topic, sparkplug.AppendDeath(nil, u.now().UTC, seq), 1, false)
	return o
}

func (c *connection) fail(err error) {
	select {
	case c.failures <- err:
	default: // the first reason counts
	}
}

// run subscribes to commands and runs the session until the link or ctx ends.
func (c *connection) run(ctx context.Context, seq uint64) (acked bool, err error) {
	u := c.u
	// With QoS 1, before the birth. [tck-id-message-flow-edge-node-ncmd-subscribe]
	topic := sparkplug.Topic{Type: sparkplug.NCMD, Node: u.o.Node}.String()
	sub := c.client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) {
		select {
		case c.commands <- m.Payload():
		case <-c.over:
		}
	})
	if !sub.WaitTimeout(subTimeout) {
		return false, errors.New("no SUBACK")
	}
	if err := sub.Error(); err != nil {
		return false, fmt.Errorf("subscribe to commands: %w", err)
	}
	if t, ok := sub.(*mqtt.SubscribeToken); ok && t.Result()[topic] > 1 {
		return false, errors.New("the server refuses the subscription to this gateway's commands")
	}
	u.mu.Lock()
	u.status.Connected, u.status.Since, u.status.Error, u.status.Retry = true, time.Now(), "", time.Time{}
	u.mu.Unlock()
	u.meters.connects.Inc()
	u.log.Info("connected to the server", "server", u.o.Server, "bdSeq", seq)

	// A publish that hangs must not keep the program from ending.
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(2 * byeTimeout)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.link.cut(ctx.Err())
		case <-c.over:
		}
	})()
	s := u.session
	u.announce()
	if err := c.do(s.Begin(u.now(), seq)); err != nil {
		return false, err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var actions []Action
		select {
		case <-ctx.Done():
			return acked, c.farewell()
		case err := <-c.failures:
			return acked, err
		case id := <-c.acks:
			acked = true
			actions = s.Acked(id, u.now())
			u.meters.pubacks.Inc()
			u.mu.Lock()
			u.status.LastAck = time.Now()
			u.mu.Unlock()
		case body := <-c.commands:
			if actions, err = s.Command(body, u.now()); err != nil {
				u.log.Warn("a command was not understood", "error", err)
			}
		case <-u.o.Spool.Ready():
			actions = s.Wake(u.now())
		case <-u.wake:
			actions = u.announce()
		case <-timer.C:
			actions = s.Wake(u.now())
		}
		if err := c.do(actions); err != nil {
			return acked, err
		}
		u.mu.Lock()
		u.status.InFlight = s.InFlight()
		u.mu.Unlock()
		if at, ok := s.Due(); ok {
			timer.Reset(max(0, at-u.o.Boottime()))
		}
	}
}

// do carries out actions in order. It runs in the goroutine that owns the
// session, so nothing comes between a birth and the data that need it.
func (c *connection) do(actions []Action) error {
	for _, a := range actions {
		switch a.Kind {
		case ActCut:
			return a.Reason
		case ActTime:
			c.u.o.Clock.Server(a.UTC, c.u.o.Boottime())
		case ActPublish:
			if err := c.publish(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *connection) publish(a Action) error {
	m := &c.u.meters
	m.messages(a.Type).Inc()
	m.bytes.Add(len(a.Payload))
	if n := readings(a); n > 0 {
		m.readings.Add(n)
	}
	// Never retained. [tck-id-message-flow-edge-node-birth-publish-nbirth-retained]
	// [tck-id-payloads-nbirth-retain] [tck-id-payloads-ndata-retain]
	token := c.client.Publish(a.Topic, a.QoS, false, a.Payload)
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return fmt.Errorf("publish %s: %w", a.Type, err)
		}
	default:
	}
	go func() {
		select {
		case <-token.Done():
		case <-c.over: // paho forgets tokens that were made while a link broke
			return
		}
		// With automatic reconnect off, a token without error is a PUBACK (with
		// QoS 0: written).
		if err := token.Error(); err != nil {
			c.fail(fmt.Errorf("publish %s: %w", a.Type, err))
			return
		}
		select {
		case c.acks <- a.ID:
		case <-c.over:
		}
	}()
	return nil
}

func readings(a Action) int {
	n := 0
	for i := range a.Records {
		n += len(a.Records[i].Readings)
	}
	return n
}

// farewell publishes the NDEATH and waits a little for the PUBACKs on their
// way; then it disconnects, so that the will stays unsent.
// [tck-id-operational-behavior-edge-node-intentional-disconnect-packet]
// [tck-id-payloads-ndeath-will-message-publisher]
// [tck-id-payloads-ndeath-will-message-publisher-disconnect-mqtt311]
func (c *connection) farewell() error {
	s := c.u.session
	if err := c.do(s.Farewell(c.u.now())); err != nil {
		return err
	}
	timer := time.NewTimer(byeTimeout)
	defer timer.Stop()
	for s.InFlight() > 0 {
		select {
		case id := <-c.acks:
			s.Acked(id, c.u.now())
		case err := <-c.failures:
			return err
		case <-timer.C:
			return errors.New("the farewell was not acknowledged")
		}
	}
	c.client.Disconnect(uint(byeTimeout.Milliseconds()))
	c.once.Do(func() { close(c.ended) }) // paho does not call a connection lost that it closed itself
	return nil
}
