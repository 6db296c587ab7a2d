package journal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"slices"
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

	mu      sync.Mutex
	engine  *engine
	bucket  jetstream.KeyValue
	deletes bool // since the last sweep, as far as is known
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
	kv.deletes = true // of an earlier run
	if _, _, err := kv.open(ctx); err != nil {
		return nil, err
	}
	j.mu.Lock()
	j.buckets = append(j.buckets, kv)
	j.mu.Unlock()
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
	wait, done := e.impatient(ctx, kv.j.o.CommitTimeout)
	defer done()
	bucket, err := kv.openOn(wait, e)
	if err != nil {
		if ctx.Err() == nil && wait.Err() != nil {
			err = context.Cause(wait)
		}
		kv.suspect(ctx, e, err)
		return nil, nil, fmt.Errorf("open the bucket %s: %w", kv.config.Bucket, err)
	}
	kv.engine, kv.bucket = e, bucket
	return bucket, e, nil
}

// openOn changes a bucket's settings only if they differ (see suits).
func (kv *KV) openOn(ctx context.Context, e *engine) (jetstream.KeyValue, error) {
	bucket, err := e.apiJS.KeyValue(ctx, kv.config.Bucket)
	if err == nil {
		status, err := bucket.Status(ctx)
		if err != nil {
			return nil, err
		}
		if status.TTL() == kv.config.TTL && status.History() == int64(kv.config.History) && status.Config().MaxBytes == kv.config.MaxBytes {
			return bucket, nil
		}
	} else if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, err
	}
	return e.apiJS.CreateOrUpdateKeyValue(ctx, kv.config)
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
	kv.mu.Lock()
	kv.deletes = true
	kv.mu.Unlock()
	// Purge leaves one empty mark, for watchers, instead of a history.
	_, err := kv.write(ctx, "delete", key, nil, func(ctx context.Context, b jetstream.KeyValue) (uint64, error) {
		return 0, b.Purge(ctx, encodeKey(key))
	})
	return err
}

// markAge is how long the mark of a deleted key is kept.
const markAge = time.Hour

// sweepLoop drops the marks of deleted keys: a queue would grow for ever by
// them.
func (j *Journal) sweepLoop() {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-j.ctx.Done():
			return
		case <-tick.C:
		}
		j.mu.Lock()
		buckets := slices.Clone(j.buckets)
		j.mu.Unlock()
		for _, kv := range buckets {
			if err := kv.sweep(j.ctx, time.Now().Add(-markAge)); err != nil && j.ctx.Err() == nil {
				j.log.Warn("marks of deleted keys stay for now", "bucket", kv.config.Bucket, "error", err)
			}
		}
	}
}

// sweep drops the marks that were made before.
func (kv *KV) sweep(ctx context.Context, before time.Time) error {
	kv.mu.Lock()
	due := kv.deletes
	kv.deletes = false
	kv.mu.Unlock()
	if !due {
		return nil
	}
	b, e, err := kv.open(ctx)
	if err != nil {
		return err
	}
	var marks []jetstream.KeyValueEntry
	young := false
	err = kv.entries(ctx, e, b, ">", func(entry jetstream.KeyValueEntry) {
		switch {
		case entry.Operation() == jetstream.KeyValuePut:
		case entry.Created().Before(before):
			marks = append(marks, entry)
		default:
			young = true
		}
	}, jetstream.MetaOnly())
	if err != nil {
		return err
	}
	stream, err := e.apiJS.Stream(ctx, "KV_"+kv.config.Bucket)
	for _, m := range marks {
		if err != nil {
			break
		}
		// Only up to the mark itself: the key may have a value again.
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+kv.config.Bucket+"."+m.Key()), jetstream.WithPurgeSequence(m.Revision()+1))
	}
	if err != nil || young {
		kv.mu.Lock()
		kv.deletes = true
		kv.mu.Unlock()
	}
	return err
}

// entries calls fn for all that is there now.
func (kv *KV) entries(ctx context.Context, e *engine, b jetstream.KeyValue, filter string, fn func(jetstream.KeyValueEntry), options ...jetstream.WatchOpt) error {
	w, err := b.Watch(ctx, filter, options...)
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }()
	for {
		select {
		case entry, ok := <-w.Updates():
			if !ok {
				return ErrDisk
			}
			if entry == nil {
				return nil
			}
			fn(entry)
		case <-e.gone:
			return ErrDisk
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// List returns all keys that begin with prefix and their values.
func (kv *KV) List(ctx context.Context, prefix string) (map[string][]byte, error) {
	b, e, err := kv.open(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	err = kv.entries(ctx, e, b, encodePrefix(prefix), func(entry jetstream.KeyValueEntry) {
		if key, err := decodeKey(entry.Key()); err == nil && strings.HasPrefix(key, prefix) {
			out[key] = entry.Value()
		}
	}, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, kv.fail(ctx, e, "list", prefix, err)
	}
	return out, nil
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
