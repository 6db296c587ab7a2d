package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

func readState(t *testing.T, c *client) sparkplug.State {
	t.Helper()
	got, err := c.read()
	if err != nil || got[0]>>4 != byte(typePublish) {
		t.Fatalf("got % x, %v; want STATE", got, err)
	}
	p, err := splitPublish(got[0]&0x0f, got[2:])
	if err != nil || string(p.topic) != "spBv1.0/STATE/office" || p.qos != 1 {
		t.Fatalf("%q with QoS %d, %v", p.topic, p.qos, err)
	}
	var s sparkplug.State
	if err := json.Unmarshal(p.payload, &s); err != nil {
		t.Fatal(err)
	}
	_, _ = c.conn.Write(puback(p.id)) // after the farewell nobody may be there to take it
	return s
}

// [tck-id-conformance-primary-host] [tck-id-intro-sparkplug-host-state] [tck-id-components-ph-state]
func TestStateIsOnlineThenOffline(t *testing.T) {
	r := start(t, func(o *Options) { o.Host = "office" })
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, "spBv1.0/STATE/office"))
	c.expect(suback(1))
	// It was there before the first node could come, retained, with QoS 1.
	// [tck-id-host-topic-phid-birth-message] [tck-id-host-topic-phid-birth-required]
	// [tck-id-host-topic-phid-birth-topic] [tck-id-host-topic-phid-birth-qos] [tck-id-host-topic-phid-birth-retain]
	// [tck-id-message-flow-phid-sparkplug-state-publish] [tck-id-message-flow-phid-sparkplug-state-publish-payload]
	// [tck-id-operational-behavior-host-application-connect-birth]
	// [tck-id-operational-behavior-host-application-connect-birth-topic]
	// [tck-id-operational-behavior-host-application-connect-birth-payload]
	// [tck-id-operational-behavior-host-application-connect-birth-qos]
	// [tck-id-operational-behavior-host-application-connect-birth-retained]
	// [tck-id-payloads-state-birth] [tck-id-payloads-state-birth-payload]
	birth := readState(t, c)
	if !birth.Online || time.Since(time.UnixMilli(birth.Timestamp)) > time.Minute {
		t.Errorf("birth %+v", birth)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(t.Context()) }()
	if death := readState(t, c); death.Online || death.Timestamp < birth.Timestamp {
		t.Errorf("death %+v", death)
	}
	c.closed()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	// [tck-id-operational-behavior-host-application-termination]
	// [tck-id-host-topic-phid-death-payload-disconnect-with-no-disconnect-packet]
	// [tck-id-host-topic-phid-death-topic] [tck-id-host-topic-phid-death-qos] [tck-id-host-topic-phid-death-retain]
	// [tck-id-operational-behavior-host-application-death-topic]
	// [tck-id-operational-behavior-host-application-death-payload]
	// [tck-id-operational-behavior-host-application-death-qos]
	// [tck-id-operational-behavior-host-application-death-retained]
	kept, ok := r.server.Topics.Retained.Get("spBv1.0/STATE/office")
	if !ok || !strings.Contains(string(kept.Payload), `"online":false`) || kept.FixedHeader.Qos != 1 {
		t.Errorf("retained: %q, %v", kept.Payload, ok)
	}
}

// Nodes go by the times: an end before its beginning would be no end to them.
func TestTheHostsEndIsNotBeforeItsBeginning(t *testing.T) {
	var at atomic.Int64
	began := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	at.Store(began.UnixMilli())
	r := start(t, func(o *Options) { o.Host, o.Now = "office", func() time.Time { return time.UnixMilli(at.Load()) } })
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, "spBv1.0/STATE/office"))
	c.expect(suback(1))
	if birth := readState(t, c); birth.Timestamp != began.UnixMilli() {
		t.Errorf("birth %+v", birth)
	}
	at.Store(began.Add(-time.Second).UnixMilli())
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(t.Context()) }()
	if death := readState(t, c); death.Online || death.Timestamp != began.UnixMilli() {
		t.Errorf("death %+v", death)
	}
	c.closed()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopAcknowledgesWhatWasTaken(t *testing.T) {
	r := start(t)
	r.journal.setHold(true)
	c := r.node(t, "3374/a", own("3374/a"))
	for id := uint16(1); id <= 3; id++ {
		c.send(publishPacket(1, id, topicOf("NDATA", "3374/a"), "x"))
		r.journal.next(t)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(t.Context()) }()
	until(t, "listener closed", func() bool { return r.stopping.Load() })
	r.journal.release(t, 3)
	c.expect(puback(1), puback(2), puback(3))
	c.closed()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	r.journal.none(t) // no will while stopping
	if err := r.Publish(topicOf("NCMD", "3374/a"), nil); err == nil {
		t.Error("published after the stop")
	}
}

// bear publishes a birth of one of our gateways, which takes the time.
func (c *client) bear(node string) {
	c.t.Helper()
	payload := sparkplug.AppendBirth(nil, 0, 0, &sparkplug.Birth{})
	c.send(publishPacket(0, 0, topicOf("NBIRTH", node), string(payload)))
}

// A node is told the time by a metric of its own birth, and only then: makers'
// nodes know of no such thing.
// [tck-id-operational-behavior-data-commands-ncmd-metric-name]
// [tck-id-operational-behavior-data-commands-ncmd-metric-value]
func TestTimeIsToldOnceTheClockIsRight(t *testing.T) {
	var synced atomic.Bool
	r := start(t, func(o *Options) { o.Synced = synced.Load })
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, topicOf("NCMD", "3374/a")))
	c.expect(suback(1))
	c.bear("3374/a")
	r.journal.next(t)
	foreign := r.node(t, "maker/f")
	foreign.send(subscribePacket(1, 1, topicOf("NCMD", "maker/f")))
	foreign.expect(suback(1))
	foreign.send(publishPacket(0, 0, topicOf("NBIRTH", "maker/f"), string(sparkplug.AppendPayload(nil, &sparkplug.Payload{}))))
	r.journal.next(t)
	c.send(pingreq)
	c.expect([]byte{0xd0, 0}) // not before
	synced.Store(true)
	if got := readTime(t, c); time.Since(time.UnixMilli(got)).Abs() > time.Minute {
		t.Errorf("told %v", time.UnixMilli(got))
	}
	c.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "x"))
	c.expect(puback(1))
	if p := r.journal.next(t); p.Flags != 0 {
		t.Errorf("flags %b", p.Flags)
	}
	d := r.node(t, "3374/d") // from now on at once, and once
	d.bear("3374/d")
	d.send(subscribePacket(1, 1, topicOf("NCMD", "3374/d")))
	d.expect(suback(1))
	readTime(t, d)
	d.bear("3374/d")
	d.send(pingreq)
	d.expect([]byte{0xd0, 0})
	foreign.send(pingreq)
	foreign.expect([]byte{0xd0, 0})
}

func TestPublishIsForCommandsOnly(t *testing.T) {
	r := start(t)
	c := r.node(t, "3374/a")
	c.send(subscribePacket(1, 1, topicOf("DCMD", "3374/a")+"/#"))
	c.expect(suback(1))
	if err := r.Publish(topicOf("DCMD", "3374/a")+"/meter", []byte("off")); err != nil {
		t.Fatal(err)
	}
	c.expect(publishPacket(0, 0, topicOf("DCMD", "3374/a")+"/meter", "off"))
	c.send(subscribePacket(1, 1, topicOf("NCMD", "3374/a")))
	c.expect(suback(1))
	if err := r.Publish(topicOf("NCMD", "3374/a"), []byte("born again")); err != nil {
		t.Fatal(err)
	}
	// QoS 0, not retained. [tck-id-topics-ncmd-topic] [tck-id-topics-ncmd-mqtt]
	// [tck-id-payloads-ncmd-qos] [tck-id-payloads-ncmd-retain]
	c.expect(publishPacket(0, 0, topicOf("NCMD", "3374/a"), "born again"))
	for _, topic := range []string{topicOf("NDATA", "3374/a"), "spBv1.0/STATE/pantau", "x", topicOf("NCMD", "3374/+")} {
		if err := r.Publish(topic, nil); err == nil || !strings.Contains(err.Error(), "publish a command") {
			t.Errorf("%s: %v", topic, err)
		}
	}
	if err := r.Publish(topicOf("NCMD", "3374/away"), nil); err != nil { // best effort
		t.Error(err)
	}
}

func TestStopIsBounded(t *testing.T) {
	r := start(t)
	r.journal.setHold(true) // it never answers
	c := r.node(t, "3374/a")
	c.send(publishPacket(1, 1, topicOf("NDATA", "3374/a"), "x"))
	r.journal.next(t)
	mute := r.dial(t)
	until(t, "half open", func() bool { return r.metric(t, "half_open_connections") == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := r.Stop(ctx); err == nil || !strings.Contains(err.Error(), "1 connections were cut before their last PUBACK") {
		t.Errorf("%v", err)
	}
	c.closed()
	mute.closed()
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("room", func(t *testing.T) {
		ca := newCA(t, "ca")
		r := start(t, ca.withTLS(t))
		for i := range 10 {
			id := fmt.Sprintf("3374/%d", i)
			r.node(t, id, own(id))
		}
		r.dial(t)
		if _, err := r.dialTLS(t, ca); err != nil {
			t.Fatal(err)
		}
	})
	until(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
}
