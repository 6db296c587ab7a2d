package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

// What the room does as a Sparkplug host application: STATE, and the time for
// nodes that have no clock.

func (b *Broker) stateTopic() string {
	return sparkplug.Topic{Type: sparkplug.STATE, Host: b.opts.Host}.String()
}

// publishState: tck-id-host-topic-phid-birth-qos, -retain, -payload; the host is
// the broker itself and so has no will, its end is told by farewell.
func (b *Broker) publishState(online bool) error {
	payload := sparkplug.AppendState(nil, sparkplug.State{Online: online, Timestamp: b.opts.Now().UnixMilli()})
	return b.server.Publish(b.stateTopic(), payload, true, 1)
}

// farewell publishes the host's death (tck-id-host-topic-phid-death-required)
// and waits a little for the nodes that asked for it to have got it.
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

func (b *Broker) liveSessions() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		out = append(out, s)
	}
	return out
}

// tellTime sends NCMD Pantau/Time to a node that listens for commands, once a
// session, and never before our own clock is right.
func (b *Broker) tellTime(s *session) {
	if !b.synced.Load() || !s.timeWanted.CompareAndSwap(true, false) {
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

// stopSessions ends every connection: sessions after their PUBACKs, the others
// at once.
func (b *Broker) stopSessions(ctx context.Context) error {
	b.halt()
	b.ending.Store(true)
	whole := 10 * time.Second
	if til, ok := ctx.Deadline(); ok {
		whole = time.Until(til)
	}
	ctx, cancel := context.WithTimeout(ctx, whole*3/4) // what is left over is for cutting
	defer cancel()
	b.mu.Lock()
	inSession := map[any]bool{}
	for _, s := range b.sessions {
		inSession[s.conn.raw] = true
		_ = s.conn.raw.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; fails only on a closed connection
	}
	for raw := range b.conns {
		if !inSession[raw] {
			_ = raw.Close() // nothing was promised to it
		}
	}
	b.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		b.serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	n := len(b.conns)
	for raw := range b.conns {
		_ = raw.Close() // given up
	}
	b.mu.Unlock()
	for _, s := range b.liveSessions() {
		s.cut(reasonStopping, nil)
	}
	select {
	case <-ended:
	case <-time.After(time.Second):
		return fmt.Errorf("%d connections were still open: %w", n, ctx.Err())
	}
	return fmt.Errorf("%d connections were cut before their last PUBACK: %w", n, ctx.Err())
}

// logLimiter lets one line a second through for each reason: ten thousand
// hostile packets are one line with a number.
type logLimiter struct {
	mu     sync.Mutex
	last   map[string]time.Time
	hidden map[string]int
}

func (b *Broker) log(reason, msg string, err error, attrs ...slog.Attr) {
	l := &b.logs
	now := time.Now()
	l.mu.Lock()
	if now.Sub(l.last[reason]) < time.Second {
		l.hidden[reason]++
		l.mu.Unlock()
		return
	}
	hidden := l.hidden[reason]
	l.last[reason], l.hidden[reason] = now, 0
	l.mu.Unlock()
	attrs = append(attrs, slog.String("reason", reason))
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	if hidden > 0 {
		attrs = append(attrs, slog.Int("not_logged_since", hidden))
	}
	b.opts.Logger.LogAttrs(context.Background(), slog.LevelInfo, msg, attrs...)
}
