package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// KV is what ingest needs of the key-value bucket of dead letters. A key that
// is not there is fs.ErrNotExist.
type KV interface {
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	Put(ctx context.Context, key string, value []byte) (revision uint64, err error)
	Delete(ctx context.Context, key string) error
	List(ctx context.Context, prefix string) (map[string][]byte, error)
}

// ErrLettersFull says that the quota of dead letters is used up: the store
// stands until an operator has made room. A retry makes none: what it stores would
// have to pass the store, which stands.
var ErrLettersFull = errors.New("the dead letters' quota is used up: look at `pantau deadletter list` and make room with `pantau deadletter drop ID`")

// nodeShare is the part of the quota (1/nodeShare) that one node may fill: a
// broken node then costs only itself, its further letters are lost with the
// reason "limit".
const nodeShare = 8

// letterBox keeps dead letters within their quota.
type letterBox struct {
	kv    KV
	quota int64

	mu    sync.Mutex
	total int64
	sizes map[string]letterSize
	nodes map[telemetry.Node]int64
}

type letterSize struct {
	node   telemetry.Node
	size   int64
	reason Reason
}

func newLetterBox(kv KV, quota int64) *letterBox {
	return &letterBox{kv: kv, quota: quota, sizes: map[string]letterSize{}, nodes: map[telemetry.Node]int64{}}
}

// open counts what is there.
func (x *letterBox) open(ctx context.Context) error {
	all, err := x.kv.List(ctx, "")
	if err != nil {
		return fmt.Errorf("list the dead letters: %w", err)
	}
	for key, body := range all {
		l, err := decodeLetter(key, body)
		if err != nil {
			return err
		}
		x.count(key, letterSize{l.Node, int64(len(body)), l.Reason})
	}
	return nil
}

func (x *letterBox) count(key string, s letterSize) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forget(key)
	x.sizes[key] = s
	x.total += s.size
	x.nodes[s.node] += s.size
}

func (x *letterBox) forget(key string) {
	if old, ok := x.sizes[key]; ok {
		x.total -= old.size
		x.nodes[old.node] -= old.size
		delete(x.sizes, key)
	}
}

// put keeps a letter. kept is false if its node has used up its share.
func (x *letterBox) put(ctx context.Context, l *Letter) (kept bool, err error) {
	body, err := l.encode()
	if err != nil {
		return false, err
	}
	size := int64(len(body))
	x.mu.Lock()
	old := x.sizes[l.Key].size
	share := x.nodes[l.Node]-old+size > x.quota/nodeShare
	full := x.total-old+size > x.quota
	x.mu.Unlock()
	switch {
	case share:
		return false, nil
	case full:
		return false, ErrLettersFull
	}
	if _, err := x.kv.Put(ctx, l.Key, body); err != nil {
		return false, fmt.Errorf("keep dead letter %s: %w", l.Key, err)
	}
	x.count(l.Key, letterSize{l.Node, size, l.Reason})
	return true, nil
}

func (x *letterBox) get(ctx context.Context, key string) (Letter, error) {
	body, _, err := x.kv.Get(ctx, key)
	if err != nil {
		return Letter{}, fmt.Errorf("dead letter %s: %w", key, err)
	}
	return decodeLetter(key, body)
}

func (x *letterBox) delete(ctx context.Context, key string) error {
	if err := x.kv.Delete(ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete dead letter %s: %w", key, err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.forget(key)
	return nil
}

// counts returns how many letters there are, by reason, and their bytes.
func (x *letterBox) counts() (byReason map[Reason]int, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	byReason = map[Reason]int{}
	for _, s := range x.sizes {
		byReason[s.reason]++
	}
	return byReason, x.total
}
