package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func bucket(t *testing.T, j *Journal, o KVOptions) *KV {
	t.Helper()
	kv, err := j.KV(t.Context(), "test", o)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestKVKeepsTheNewestValue(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	kv := bucket(t, j, KVOptions{})
	ctx := t.Context()

	if _, _, err := kv.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get of nothing: %v", err)
	}
	r1, err := kv.Create(ctx, "a", []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(ctx, "a", []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over a value: %v", err)
	}
	if _, err := kv.Update(ctx, "a", []byte("x"), r1+7); !errors.Is(err, fs.ErrExist) {
		t.Errorf("update of another revision: %v", err)
	}
	r2, err := kv.Update(ctx, "a", []byte("two"), r1)
	if err != nil || r2 <= r1 {
		t.Errorf("update: %d after %d, %v", r2, r1, err)
	}
	if _, err := kv.Put(ctx, "a", []byte("three")); err != nil {
		t.Fatal(err)
	}
	if err := kv.Delete(ctx, "nothing"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	if _, err := kv.Put(ctx, "empty", nil); err != nil {
		t.Error(err)
	}
	shut(t, j)

	j = open(t, Options{Dir: dir})
	kv = bucket(t, j, KVOptions{})
	if v, _, err := kv.Get(ctx, "a"); err != nil || string(v) != "three" {
		t.Errorf("after a start: %q, %v", v, err)
	}
	if err := kv.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := kv.Get(ctx, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("get after delete: %v", err)
	}
	if _, err := kv.Create(ctx, "a", []byte("again")); err != nil {
		t.Errorf("create after delete: %v", err)
	}
}

// NATS refuses keys with spaces, wildcards, dots at the end and letters beyond
// ASCII.
func TestTrapKeys(t *testing.T) {
	j := open(t, Options{})
	kv := bucket(t, j, KVOptions{})
	keys := []string{"3374/balai kota", "3374/*", "3374/>", "3374/a.b.", "3374//x", "3374/", "", " ", "Banyumas/é世", "3375/a"}
	for i, k := range keys {
		if _, err := kv.Put(t.Context(), k, fmt.Append(nil, i)); err != nil {
			t.Fatalf("put %q: %v", k, err)
		}
	}
	for i, k := range keys {
		if v, _, err := kv.Get(t.Context(), k); err != nil || string(v) != fmt.Sprint(i) {
			t.Errorf("get %q: %q, %v", k, v, err)
		}
	}
	for _, prefix := range []string{"", "3374/", "337", "3374/a", "nothing/"} {
		all, err := kv.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, k := range keys {
			if strings.HasPrefix(k, prefix) {
				want = append(want, k)
			}
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
			t.Errorf("list %q: %q, want %q", prefix, got, want)
		}
	}
}

// NATS refuses values above 1 MiB.
func TestTrapLargeValues(t *testing.T) {
	j := open(t, Options{})
	kv := bucket(t, j, KVOptions{MaxBytes: 1 << 20})
	if _, err := kv.Put(t.Context(), "big", make([]byte, MaxEnvelope+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a value above the limit: %v", err)
	}
	var err error
	for n := 0; err == nil && n < 20; n++ {
		_, err = kv.Put(t.Context(), fmt.Sprint(n), make([]byte, 100<<10))
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("a bucket beyond its limit: %v", err)
	}
	if err := j.Err(); err != nil {
		t.Errorf("a full bucket stops the journal: %v", err)
	}
}

// A queue's keys come and go: what is left of them goes too, and a key that has
// a value again keeps it.
func TestDeletedKeysLeaveNothing(t *testing.T) {
	j := open(t, Options{})
	kv := bucket(t, j, KVOptions{})
	ctx := t.Context()
	for n := range 200 {
		key := fmt.Sprintf("queue/%d", n)
		if _, err := kv.Put(ctx, key, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := kv.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kv.Create(ctx, "queue/7", []byte("again")); err != nil {
		t.Fatal(err)
	}
	held := func() uint64 {
		status, err := kv.bucket.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return status.Values()
	}
	if err := kv.sweep(ctx, time.Now().Add(-time.Hour)); err != nil || held() != 200 {
		t.Errorf("young marks: %d entries, %v", held(), err)
	}
	if err := kv.sweep(ctx, time.Now().Add(time.Hour)); err != nil || held() != 1 {
		t.Errorf("old marks: %d entries, %v", held(), err)
	}
	if v, _, err := kv.Get(ctx, "queue/7"); err != nil || string(v) != "again" {
		t.Errorf("%q, %v", v, err)
	}
}

type change struct {
	key      string
	value    string
	deleted  bool
	revision uint64
}

func TestKVWatch(t *testing.T) {
	j := open(t, Options{})
	kv := bucket(t, j, KVOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	for _, k := range []string{"g/1", "g/2", "h/1"} {
		if _, err := kv.Put(ctx, k, []byte("old")); err != nil {
			t.Fatal(err)
		}
	}
	changes := make(chan change, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- kv.Watch(ctx, "g/", func(key string, value []byte, revision uint64) {
			changes <- change{key, string(value), value == nil, revision}
		})
	}()
	expect := func(key, value string, deleted bool) {
		t.Helper()
		if c := <-changes; c.key != key || c.value != value || c.deleted != deleted {
			t.Errorf("got %+v, want %s=%q deleted %v", c, key, value, deleted)
		}
	}
	expect("g/1", "old", false)
	expect("g/2", "old", false)
	if _, err := kv.Put(ctx, "h/2", []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "g/3", []byte{}); err != nil {
		t.Fatal(err)
	}
	expect("g/3", "", false)
	if err := kv.Delete(ctx, "g/1"); err != nil {
		t.Fatal(err)
	}
	expect("g/1", "", true)

	// The store is reopened under the watch: nothing twice, nothing missed.
	breakEngine(t, j)
	if _, err := kv.Put(ctx, "g/2", []byte("new")); err != nil {
		t.Fatal(err)
	}
	expect("g/2", "new", false)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
}

// breakEngine stops the embedded server under the journal, as an error of the
// disk does, and waits until the journal has replaced it.
func breakEngine(t *testing.T, j *Journal) {
	t.Helper()
	j.mu.Lock()
	e := j.engine
	j.mu.Unlock()
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	// The next commit finds out; a batch that waits for its callbacks sees the end of it.
	failed := false
	for {
		err := submit(j, packet(7))[0]
		if err == nil {
			break
		}
		if !errors.Is(err, ErrDisk) {
			t.Fatal(err)
		}
		failed = true
	}
	if !failed {
		t.Error("a commit was acknowledged by a server that is shut down")
	}
}

// A reader goes on where it was when the store is reopened under it.
func TestReaderSurvivesReopening(t *testing.T) {
	j := open(t, Options{})
	got := make(chan uint64, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- j.Read(ctx, 0, func(seq uint64, _ []byte) error { got <- seq; return nil })
	}()
	want := uint64(1)
	for range 3 {
		for n := range 10 {
			if err := submit(j, packet(n))[0]; err != nil {
				t.Fatal(err)
			}
		}
		breakEngine(t, j)
		for _, last, _ := j.Bounds(ctx); want <= last; want++ {
			if seq := <-got; seq != want {
				t.Fatalf("read %d, want %d", seq, want)
			}
		}
	}
	if s := j.Stats(); s.Reopened != 3 || s.Missing != 0 {
		t.Errorf("%+v", s)
	}
	cancel()
	<-ended
}
