// Package accounttest is a store for tests of accounts and sessions, and a cost of
// passwords that lets them come to the point. It promises the errors and revisions
// of the real store, in memory.
package accounttest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/pantau-id/pantau/dashboards/account"
)

// Cheap hashes a password in no time.
func Cheap() account.Cost { return account.Cost{MemoryKiB: 64, Passes: 1} }

// KV is an in-memory account.KV. The zero value is ready.
type KV struct {
	mu       sync.Mutex
	values   map[string]entry
	revision uint64
	writes   int
}

type entry struct {
	value    []byte
	revision uint64
}

var _ account.KV = (*KV)(nil)

// Get returns a copy.
func (k *KV) Get(_ context.Context, key string) ([]byte, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, ok := k.values[key]
	if !ok {
		return nil, 0, fmt.Errorf("key %q: %w", key, fs.ErrNotExist)
	}
	return bytes.Clone(e.value), e.revision, nil
}

// Put stores a copy.
func (k *KV) Put(_ context.Context, key string, value []byte) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.put(key, value), nil
}

func (k *KV) put(key string, value []byte) uint64 {
	if k.values == nil {
		k.values = map[string]entry{}
	}
	k.revision++
	k.writes++
	k.values[key] = entry{bytes.Clone(value), k.revision}
	return k.revision
}

// Create stores what is not there yet.
func (k *KV) Create(_ context.Context, key string, value []byte) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.values[key]; ok {
		return 0, fmt.Errorf("key %q: %w", key, fs.ErrExist)
	}
	return k.put(key, value), nil
}

// Update replaces the value of a known revision.
func (k *KV) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values[key].revision != revision {
		return 0, fmt.Errorf("key %q has another revision: %w", key, fs.ErrExist)
	}
	return k.put(key, value), nil
}

// Delete removes a key; an absent one is no error.
func (k *KV) Delete(_ context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, key)
	return nil
}

// List returns copies of all values below prefix.
func (k *KV) List(_ context.Context, prefix string) (map[string][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := map[string][]byte{}
	for key, e := range k.values {
		if strings.HasPrefix(key, prefix) {
			out[key] = bytes.Clone(e.value)
		}
	}
	return out, nil
}

// Writes counts the writes so far.
func (k *KV) Writes() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.writes
}
