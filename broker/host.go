package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

// What the room does as a Sparkplug host application: STATE, and the time for
// nodes that have no clock.

func (b *Broker) stateTopic() string {
	return sparkplug.Topic{Type: sparkplug.STATE, Host: b.opts.Host}.String()
}

// publishState says whether the host is there: with QoS 1, retained. The host is
// the broker itself and so has no will; its end is told by farewell, and a node
// goes by times, so an end never lies before its beginning, whatever the clock does.
//
// [tck-id-conformance-primary-host] [tck-id-intro-sparkplug-host-state] [tck-id-components-ph-state]
// [tck-id-host-topic-phid-birth-topic] [tck-id-host-topic-phid-birth-qos] [tck-id-host-topic-phid-birth-retain]
// [tck-id-host-topic-phid-death-topic] [tck-id-host-topic-phid-death-qos] [tck-id-host-topic-phid-death-retain]
// [tck-id-message-flow-phid-sparkplug-state-publish-payload]
// [tck-id-operational-behavior-host-application-connect-birth-topic]
// [tck-id-operational-behavior-host-application-connect-birth-payload]
// [tck-id-operational-behavior-host-application-connect-birth-qos]
// [tck-id-operational-behavior-host-application-connect-birth-retained]
// [tck-id-operational-behavior-host-application-death-topic]
// [tck-id-operational-behavior-host-application-death-payload]
// [tck-id-operational-behavior-host-application-death-qos]
// [tck-id-operational-behavior-host-application-death-retained]
// [tck-id-payloads-state-birth] [tck-id-payloads-state-birth-payload]
func (b *Broker) publishState(online bool) error {
	b.stateAt = max(b.stateAt, b.opts.Now().UnixMilli())
	payload := sparkplug.AppendState(nil, sparkplug.State{Online: online, Timestamp: b.stateAt})
	return b.server.Publish(b.stateTopic(), payload, true, 1)
}

// farewell publishes the host's death and waits a little for the nodes that asked
// for it to have got it. [tck-id-operational-behavior-host-application-termination]
// [tck-id-host-topic-phid-death-payload-disconnect-with-no-disconnect-packet]
func (b *Broker) farewell(ctx context.Context) error {
	if err := b.publishState(false); err != nil {
		return fmt.Errorf("publish STATE: %w", err)
	}
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	for _, s := range b.liveSessions() {
		if !s.hostWanted.Load() {
			continue
		}
		select {
		case <-s.toldState:
		case <-s.ended:
		case <-patience.C:
			return nil // slow nodes see the connection end
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// tellTime sends NCMD Pantau/Time to a node that listens for commands and whose
// birth names that metric, once a session, and never before our own clock is
// right. [tck-id-operational-behavior-data-commands-ncmd-metric-name]
// [tck-id-operational-behavior-data-commands-ncmd-metric-value]
func (b *Broker) tellTime(s *session) {
	if !b.synced.Load() || !s.commands.Load() || !s.timeWanted.CompareAndSwap(true, false) {
		return
	}
	now := b.opts.Now().UnixMilli()
	payload := sparkplug.AppendCommand(nil, now, sparkplug.MetricTime, sparkplug.TypeInt64, sparkplug.Long(now))
	topic := sparkplug.Topic{Type: sparkplug.NCMD, Node: s.node}.String()
	if err := b.Publish(topic, payload); err != nil && !errors.Is(err, errStopping) {
		b.opts.Logger.Warn("time not sent", "client", s.client, "error", err)
	}
}

// watch looks at the clock every second, and ends sessions whose time is over.
func (b *Broker) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			b.look()
		}
	}
}

func (b *Broker) look() {
	synced := b.opts.Synced()
	b.synced.Store(synced)
	now := b.opts.Now()
	for _, s := range b.liveSessions() {
		if synced && s.timeWanted.Load() {
			b.tellTime(s)
		}
		if !s.until.IsZero() && now.After(s.until) {
			s.cut(reasonExpired, nil)
		}
	}
}
