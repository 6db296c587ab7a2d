package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
)

// AlertKV keeps transitions and acknowledgements, each a record of its own.
type AlertKV interface {
	Create(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// AlertBook is the history of alerts: what fired, what resolved, who looked
// after it. It promises that a transition is told of once however often the
// journal is replayed, and never not at all: it is queued for people before it
// enters the book, and queued under its own key.
type AlertBook struct {
	kv     AlertKV
	tell   func(ctx context.Context, t alert.Transition) error
	mu     sync.Mutex
	known  map[string]bool // transition keys
	alerts map[string]*AlertRecord
}

// AlertRecord is one alert: its firing, its end, its acknowledgement.
type AlertRecord struct {
	Firing   alert.Transition  `json:"firing"`
	Resolved *alert.Transition `json:"resolved,omitempty"`
	Ack      *Acknowledgement  `json:"ack,omitempty"`
}

// Acknowledgement says who looks after an alert.
type Acknowledgement struct {
	Who  string    `json:"who"`
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

const (
	transitionPrefix = "transition/"
	ackPrefix        = "ack/"
)

// OpenAlertBook reads the book. tell queues a transition durably for people.
func OpenAlertBook(ctx context.Context, kv AlertKV, tell func(context.Context, alert.Transition) error) (*AlertBook, error) {
	b := &AlertBook{kv: kv, tell: tell, known: map[string]bool{}, alerts: map[string]*AlertRecord{}}
	transitions, err := kv.List(ctx, transitionPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the history of alerts: %w", err)
	}
	for key, value := range transitions {
		var t alert.Transition
		if err := json.Unmarshal(value, &t); err != nil {
			return nil, fmt.Errorf("read alert %s: %w", key, err)
		}
		b.enter(t)
	}
	acks, err := kv.List(ctx, ackPrefix)
	if err != nil {
		return nil, fmt.Errorf("read acknowledgements: %w", err)
	}
	for key, value := range acks {
		var a Acknowledgement
		if err := json.Unmarshal(value, &a); err != nil {
			return nil, fmt.Errorf("read acknowledgement %s: %w", key, err)
		}
		b.record(strings.TrimPrefix(key, ackPrefix)).Ack = &a
	}
	return b, nil
}

func (b *AlertBook) record(id string) *AlertRecord {
	r := b.alerts[id]
	if r == nil {
		r = &AlertRecord{}
		b.alerts[id] = r
	}
	return r
}

func (b *AlertBook) enter(t alert.Transition) {
	b.known[t.Key] = true
	r := b.record(t.Alert)
	if t.State == alert.Resolved {
		r.Resolved = &t
		if r.Firing.Key == "" {
			r.Firing = t // its beginning was pruned
		}
	} else {
		r.Firing = t
	}
}

// Keep takes transitions; those that it knows change nothing.
func (b *AlertBook) Keep(ctx context.Context, transitions []alert.Transition) error {
	for _, t := range transitions {
		b.mu.Lock()
		known := b.known[t.Key]
		b.mu.Unlock()
		if known {
			continue
		}
		if err := b.tell(ctx, t); err != nil {
			return err
		}
		body, err := json.Marshal(t)
		if err != nil {
			return fmt.Errorf("keep alert %s: %w", t.Key, err)
		}
		if _, err := b.kv.Create(ctx, transitionPrefix+t.Key, body); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("keep alert %s: %w", t.Key, err)
		}
		b.mu.Lock()
		b.enter(t)
		b.mu.Unlock()
	}
	return nil
}

// Open returns the alerts that fire now, gravest and oldest first.
func (b *AlertBook) Open() []AlertRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []AlertRecord
	for _, r := range b.alerts {
		if r.Resolved == nil && r.Firing.Key != "" {
			out = append(out, *r)
		}
	}
	grave := map[alert.Severity]int{alert.Critical: 0, alert.Warning: 1, alert.Info: 2}
	slices.SortFunc(out, func(x, y AlertRecord) int {
		if c := grave[x.Firing.Severity] - grave[y.Firing.Severity]; c != 0 {
			return c
		}
		if x.Firing.Time != y.Firing.Time {
			if x.Firing.Time < y.Firing.Time {
				return -1
			}
			return 1
		}
		return strings.Compare(x.Firing.Key, y.Firing.Key)
	})
	return out
}

// Acknowledge notes who looks after an alert. It wraps fs.ErrNotExist if the
// alert does not fire, and fs.ErrExist if somebody else was first.
func (b *AlertBook) Acknowledge(ctx context.Context, id string, a Acknowledgement) error {
	b.mu.Lock()
	r := b.alerts[id]
	open := r != nil && r.Resolved == nil && r.Firing.Key != ""
	b.mu.Unlock()
	if !open {
		return fmt.Errorf("acknowledge alert %s: it does not fire: %w", id, fs.ErrNotExist)
	}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("acknowledge alert %s: %w", id, err)
	}
	if _, err := b.kv.Create(ctx, ackPrefix+id, body); err != nil {
		return fmt.Errorf("acknowledge alert %s: %w", id, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record(id).Ack = &a
	return nil
}

// Prune forgets alerts that resolved before a time (Unix milliseconds).
func (b *AlertBook) Prune(ctx context.Context, before int64) error {
	b.mu.Lock()
	var keys []string
	for id, r := range b.alerts {
		if r.Resolved != nil && r.Resolved.Time < before {
			keys = append(keys, ackPrefix+id, transitionPrefix+r.Firing.Key, transitionPrefix+r.Resolved.Key)
			delete(b.alerts, id)
			delete(b.known, r.Firing.Key)
			delete(b.known, r.Resolved.Key)
		}
	}
	b.mu.Unlock()
	for _, k := range keys {
		if err := b.kv.Delete(ctx, k); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("prune alerts: %w", err)
		}
	}
	return nil
}
