// Package notify tells people of alerts: a durable queue with back-off in front
// of channels (webhook, e-mail), one file per channel.
//
// It promises delivery at least once to every channel, over restarts, retried
// for MaxAge; a repeat carries the same id. Alerts that come together go
// together: a storm is a few messages with lists, not thousands of messages.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pantau-id/pantau/ingest/alert"
)

// Message is one delivery: alerts that came together. ID is made from their
// keys, so a repeat carries the same.
type Message struct {
	ID     string             `json:"id"`
	Alerts []alert.Transition `json:"alerts"`
}

// Channel is a way to people. Send returns nil when the other side took the
// message; an error that wraps ErrRefused is final, any other is tried again.
type Channel interface {
	Name() string
	Send(ctx context.Context, m Message) error
}

// ErrRefused says that repeating the message can't help.
var ErrRefused = errors.New("refused for good")

// KV is the durable queue: one entry an alert and channel.
type KV interface {
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Delete(ctx context.Context, key string) error
	Watch(ctx context.Context, prefix string, fn func(key string, value []byte, revision uint64)) error
}

// Options of a Notifier. Zero durations take the defaults named.
type Options struct {
	KV         KV
	Channels   []Channel
	GroupWait  time.Duration // how long alerts gather: 2 s
	MaxList    int           // alerts in one message: 1,000
	MinBackoff time.Duration // 1 s, doubling with jitter
	MaxBackoff time.Duration // 2 min
	MaxAge     time.Duration // then given up, counted and logged: 48 h
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Notifier owns the queue.
type Notifier struct {
	o         Options
	sent      *prometheus.CounterVec
	failed    *prometheus.CounterVec
	abandoned *prometheus.CounterVec
	waiting   *prometheus.GaugeVec
}

// entry is the queue's value. Queued is Unix milliseconds.
type entry struct {
	Queued int64            `json:"queued"`
	Alert  alert.Transition `json:"alert"`
}

// New checks the options and returns a notifier; Run starts it.
func New(o Options) (*Notifier, error) {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.GroupWait, 2*time.Second)
	def(&o.MinBackoff, time.Second)
	def(&o.MaxBackoff, 2*time.Minute)
	def(&o.MaxAge, 48*time.Hour)
	if o.MaxList == 0 {
		o.MaxList = 1000
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	names := map[string]bool{}
	for _, c := range o.Channels {
		if c.Name() == "" || strings.Contains(c.Name(), "/") || names[c.Name()] {
			return nil, fmt.Errorf("alert channel %q: want a name of its own without '/'", c.Name())
		}
		names[c.Name()] = true
	}
	n := &Notifier{o: o}
	vec := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"channel"})
		for c := range names {
			v.WithLabelValues(c)
		}
		return v
	}
	n.sent = vec("pantau_notify_messages_sent_total", "Messages that a channel took.")
	n.failed = vec("pantau_notify_attempts_failed_total", "Attempts to send that failed and are repeated.")
	n.abandoned = vec("pantau_notify_alerts_abandoned_total", "Alerts given up: refused for good or too old.")
	n.waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "pantau_notify_alerts_waiting", Help: "Alerts in the queue of a channel."}, []string{"channel"})
	if o.Registerer != nil {
		for _, c := range []prometheus.Collector{n.sent, n.failed, n.abandoned, n.waiting} {
			if err := o.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("register metrics of alert channels: %w", err)
			}
		}
	}
	return n, nil
}

const queuePrefix = "queue/"

func queueKey(channel, transition string) string { return queuePrefix + channel + "/" + transition }

// Enqueue makes a transition durable for every channel. Doing it again changes
// nothing while it waits.
func (n *Notifier) Enqueue(ctx context.Context, t alert.Transition) error {
	body, err := json.Marshal(entry{Queued: time.Now().UnixMilli(), Alert: t})
	if err != nil {
		return fmt.Errorf("queue alert %s: %w", t.Key, err)
	}
	for _, c := range n.o.Channels {
		if _, err := n.o.KV.Create(ctx, queueKey(c.Name(), t.Key), body); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("queue alert %s for %s: %w", t.Key, c.Name(), err)
		}
	}
	return nil
}

// Run delivers until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, len(n.o.Channels))
	for _, c := range n.o.Channels {
		q := &queue{n: n, channel: c, entries: map[string]entry{}, wake: make(chan struct{}, 1)}
		wg.Add(2)
		go func() {
			defer wg.Done()
			prefix := queueKey(c.Name(), "")
			if err := n.o.KV.Watch(ctx, prefix, q.put); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("watch the queue of %s: %w", c.Name(), err)
			}
		}()
		go func() {
			defer wg.Done()
			q.deliver(ctx)
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-errs:
		return err
	}
}

// queue is one channel's waiting alerts.
type queue struct {
	n       *Notifier
	channel Channel
	mu      sync.Mutex
	entries map[string]entry
	wake    chan struct{}
}

func (q *queue) put(key string, value []byte, _ uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var e entry
	switch {
	case value == nil:
		delete(q.entries, key)
	case json.Unmarshal(value, &e) != nil:
		q.n.o.Logger.Error("an alert in the queue cannot be read", "key", key)
	default:
		q.entries[key] = e
	}
	q.n.waiting.WithLabelValues(q.channel.Name()).Set(float64(len(q.entries)))
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest waiting alerts, and their keys.
func (q *queue) take() (Message, []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	keys := make([]string, 0, len(q.entries))
	for k := range q.entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if c := int(q.entries[a].Alert.Time - q.entries[b].Alert.Time); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	keys = keys[:min(len(keys), q.n.o.MaxList)]
	m := Message{}
	h := sha256.New()
	for _, k := range keys {
		m.Alerts = append(m.Alerts, q.entries[k].Alert)
		fmt.Fprintln(h, q.entries[k].Alert.Key)
	}
	m.ID = hex.EncodeToString(h.Sum(nil)[:16])
	return m, keys
}

func (q *queue) deliver(ctx context.Context) {
	wait := func(d time.Duration) bool {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		if !wait(q.n.o.GroupWait) {
			return
		}
		for m, keys := q.take(); len(keys) > 0; m, keys = q.take() {
			if !q.send(ctx, m, keys, wait) {
				return
			}
		}
	}
}

// send repeats one message until it is taken, refused or too old. The message
// stays as it is meanwhile, so that its id does.
func (q *queue) send(ctx context.Context, m Message, keys []string, wait func(time.Duration) bool) bool {
	log := q.n.o.Logger.With("channel", q.channel.Name(), "message", m.ID, "alerts", len(m.Alerts))
	for backoff := q.n.o.MinBackoff; ; backoff = min(2*backoff, q.n.o.MaxBackoff) {
		err := q.channel.Send(ctx, m)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			q.n.sent.WithLabelValues(q.channel.Name()).Inc()
			break
		}
		if errors.Is(err, ErrRefused) || q.tooOld(keys) {
			q.n.abandoned.WithLabelValues(q.channel.Name()).Add(float64(len(keys)))
			log.Error("alerts given up", "error", err)
			break
		}
		q.n.failed.WithLabelValues(q.channel.Name()).Inc()
		log.Warn("alerts not delivered, trying again", "error", err, "in", backoff)
		if !wait(backoff/2 + rand.N(backoff/2+1)) {
			return false
		}
	}
	for _, k := range keys {
		for {
			err := q.n.o.KV.Delete(ctx, k)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			log.Error("a delivered alert cannot leave the queue", "key", k, "error", err)
			if !wait(q.n.o.MaxBackoff) {
				return false // it goes out once more after the restart, under its own key
			}
		}
		q.mu.Lock()
		delete(q.entries, k)
		q.n.waiting.WithLabelValues(q.channel.Name()).Set(float64(len(q.entries)))
		q.mu.Unlock()
	}
	return true
}

func (q *queue) tooOld(keys []string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	newest := int64(0)
	for _, k := range keys {
		newest = max(newest, q.entries[k].Queued)
	}
	return time.Since(time.UnixMilli(newest)) > q.n.o.MaxAge
}
