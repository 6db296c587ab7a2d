package journal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// KVOptions are the limits of a bucket.
type KVOptions struct {
	TTL      time.Duration // values vanish this long after their last change; 0 never
	MaxBytes int64         // 0: no limit of its own
}

// KV is a bucket: small state that people edit, fsynced at every change
// (some thousands a second; never one per reading). Keys are any UTF-8 text
// with levels separated by '/'; values are up to MaxEnvelope bytes. Only the
// newest value of a key is kept.
type KV struct {
	j      *Journal
	config jetstream.KeyValueConfig

	mu     sync.Mutex
	engine *engine
	bucket jetstream.KeyValue
}

// KV opens a bucket and creates it if absent. name is letters, digits, '-' and
// '_'.
func (j *Journal) KV(ctx context.Context, name string, o KVOptions) (*KV, error) {
	kv := &KV{j: j, config: jetstream.KeyValueConfig{
		Bucket: name, History: 1, TTL: o.TTL, MaxBytes: o.MaxBytes, Storage: jetstream.FileStorage, Replicas: 1,
	}}
	if o.MaxBytes == 0 {
		kv.config.MaxBytes = -1
	}
	if _, _, err := kv.open(ctx); err != nil {
		return nil, err
	}
	return kv, nil
}

// open returns the bucket of the engine of now.
func (kv *KV) open(ctx context.Context) (jetstream.KeyValue, *engine, error) {
	kv.j.mu.Lock()
	e, closing := kv.j.engine, kv.j.closing
	kv.j.mu.Unlock()
	kv.mu.Lock()
	defer kv.mu.Unlock()
	switch {
	case closing:
		return nil, nil, fmt.Errorf("bucket %s: %w", kv.config.Bucket, ErrClosed)
	case e == nil:
		return nil, nil, fmt.Errorf("bucket %s: %w", kv.config.Bucket, ErrDisk)
	case kv.engine == e:
		return kv.bucket, e, nil
	}
	bucket, err := e.apiJS.CreateOrUpdateKeyValue(ctx, kv.config)
	if err != nil {
		kv.suspect(ctx, e, err)
		return nil, nil, fmt.Errorf("open the bucket %s: %w", kv.config.Bucket, err)
	}
	kv.engine, kv.bucket = e, bucket
	return bucket, e, nil
}

// suspect has the store looked at if the caller's own deadline is not to blame.
func (kv *KV) suspect(ctx context.Context, e *engine, err error) {
	if ctx.Err() == nil {
		kv.j.suspect(e, err)
	}
}

// fail turns an error of NATS into one that callers can test: fs.ErrNotExist,
// fs.ErrExist, ErrFull.
func (kv *KV) fail(ctx context.Context, e *engine, what, key string, err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), errors.Is(err, jetstream.ErrKeyDeleted):
		err = fs.ErrNotExist
	case errors.Is(err, jetstream.ErrKeyExists):
		err = fs.ErrExist
	case errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		err = fs.ErrExist
	case errors.As(err, &api) && api.ErrorCode == errCodeStoreFailed:
		err = fmt.Errorf("%w: the bucket's limit of %d bytes", ErrFull, kv.config.MaxBytes)
	default:
		kv.suspect(ctx, e, err)
	}
	return fmt.Errorf("%s %q in bucket %s: %w", what, key, kv.config.Bucket, err)
}

// Get returns the value and its revision, or fs.ErrNotExist.
func (kv *KV) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	b, e, err := kv.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	entry, err := b.Get(ctx, encodeKey(key))
	if err != nil {
		return nil, 0, kv.fail(ctx, e, "get", key, err)
	}
	return entry.Value(), entry.Revision(), nil
}

// Put sets the value, whatever was there.
func (kv *KV) Put(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return kv.write(ctx, "put", key, value, func(ctx context.Context, b jetstream.KeyValue) (uint64, error) {
		return b.Put(ctx, encodeKey(key), value)
	})
}

// Create sets the value if there is none, else fs.ErrExist.
func (kv *KV) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return kv.write(ctx, "create", key, value, func(ctx context.Context, b jetstream.KeyValue) (uint64, error) {
		return b.Create(ctx, encodeKey(key), value)
	})
}

// Update sets the value if its revision is still the given one, else
// fs.ErrExist.
func (kv *KV) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return kv.write(ctx, "update", key, value, func(ctx context.Context, b jetstream.KeyValue) (uint64, error) {
		return b.Update(ctx, encodeKey(key), value, revision)
	})
}

func (kv *KV) write(ctx context.Context, what, key string, value []byte, do func(context.Context, jetstream.KeyValue) (uint64, error)) (uint64, error) {
	if len(value) > MaxEnvelope {
		return 0, fmt.Errorf("%s %q in bucket %s: %w: a value of %d bytes, at most %d", what, key, kv.config.Bucket, ErrTooLarge, len(value), MaxEnvelope)
	}
	b, e, err := kv.open(ctx)
	if err != nil {
		return 0, err
	}
	wait, done := e.impatient(ctx, kv.j.o.CommitTimeout)
	defer done()
	revision, err := do(wait, b)
	if err != nil && ctx.Err() == nil && wait.Err() != nil {
		err = context.Cause(wait)
	}
	if err != nil {
		return 0, kv.fail(ctx, e, what, key, err)
	}
	return revision, nil
}

// Delete removes the key; it is not an error if it is not there.
func (kv *KV) Delete(ctx context.Context, key string) error {
	// Purge leaves one empty mark instead of a history.
	_, err := kv.write(ctx, "delete", key, nil, func(ctx context.Context, b jetstream.KeyValue) (uint64, error) {
		return 0, b.Purge(ctx, encodeKey(key))
	})
	return err
}

// List returns all keys that begin with prefix and their values.
func (kv *KV) List(ctx context.Context, prefix string) (map[string][]byte, error) {
	b, e, err := kv.open(ctx)
	if err != nil {
		return nil, err
	}
	w, err := b.Watch(ctx, encodePrefix(prefix), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, kv.fail(ctx, e, "list", prefix, err)
	}
	defer func() { _ = w.Stop() }()
	out := map[string][]byte{}
	for {
		select {
		case entry, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("list %q in bucket %s: %w", prefix, kv.config.Bucket, ErrDisk)
			}
			if entry == nil {
				return out, nil
			}
			if key, err := decodeKey(entry.Key()); err == nil && strings.HasPrefix(key, prefix) {
				out[key] = entry.Value()
			}
		case <-e.gone:
			return nil, fmt.Errorf("list %q in bucket %s: %w", prefix, kv.config.Bucket, ErrDisk)
		case <-ctx.Done():
			return nil, fmt.Errorf("list %q in bucket %s: %w", prefix, kv.config.Bucket, ctx.Err())
		}
	}
}

// Watch calls fn for every key present that begins with prefix, then for every
// change in order, until ctx ends; it returns ctx's error. A nil value means
// deleted; a value that a TTL took is not reported. After an error of the disk
// fn sees only what changed since.
func (kv *KV) Watch(ctx context.Context, prefix string, fn func(key string, value []byte, revision uint64)) error {
	var seen uint64
	for {
		e, err := kv.watch(ctx, prefix, &seen, fn)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrClosed), kv.j.ctx.Err() != nil:
			return ErrClosed
		}
		kv.j.log.Warn("a watch was interrupted and goes on", "bucket", kv.config.Bucket, "error", err)
		kv.j.awaitOther(ctx, e)
	}
}

// watch watches through one engine, which it returns with the reason why it
// could not go on.
func (kv *KV) watch(ctx context.Context, prefix string, seen *uint64, fn func(string, []byte, uint64)) (*engine, error) {
	b, e, err := kv.open(ctx)
	if err != nil {
		return nil, err
	}
	w, err := b.Watch(ctx, encodePrefix(prefix))
	if err != nil {
		return e, kv.fail(ctx, e, "watch", prefix, err)
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case entry, ok := <-w.Updates():
			if !ok {
				return e, ErrDisk
			}
			if entry == nil || entry.Revision() <= *seen {
				continue
			}
			*seen = entry.Revision()
			key, err := decodeKey(entry.Key())
			if err != nil || !strings.HasPrefix(key, prefix) {
				continue
			}
			value := entry.Value()
			if entry.Operation() != jetstream.KeyValuePut {
				value = nil
			} else if value == nil {
				value = []byte{}
			}
			fn(key, value, entry.Revision())
		case <-e.gone:
			return e, ErrDisk
		case <-ctx.Done():
			return e, ctx.Err()
		}
	}
}

// NATS takes few characters in a key: each level is base64url, an empty one
// "=", and levels are joined by '.'.

func encodeLevel(s string) string {
	if s == "" {
		return "="
	}
	return base64.RawURLEncoding.EncodeToString([]byte(s))
}

func encodeKey(key string) string {
	levels := strings.Split(key, "/")
	for i, l := range levels {
		levels[i] = encodeLevel(l)
	}
	return strings.Join(levels, ".")
}

// encodePrefix names the smallest set of keys that NATS can tell apart and that
// holds all that begin with prefix.
func encodePrefix(prefix string) string {
	whole := strings.LastIndexByte(prefix, '/')
	if whole < 0 {
		return ">"
	}
	return encodeKey(prefix[:whole]) + ".>"
}

func decodeKey(key string) (string, error) {
	levels := strings.Split(key, ".")
	for i, l := range levels {
		if l == "=" {
			levels[i] = ""
			continue
		}
		b, err := base64.RawURLEncoding.DecodeString(l)
		if err != nil {
			return "", fmt.Errorf("key %q was not written by us: %w", key, err)
		}
		levels[i] = string(b)
	}
	return strings.Join(levels, "/"), nil
}
