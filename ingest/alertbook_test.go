package ingest

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/ingest/journal"
)

// failing is a bucket whose next write fails.
type failing struct {
	AlertKV
	err error
}

func (k *failing) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	if k.err != nil {
		return 0, k.err
	}
	return k.AlertKV.Create(ctx, key, value)
}

// What people did about alerts, and what they were told, lies in the journal's
// store: a book that is opened again knows it, and forgets only what it is told to.
func TestAlertBookOutlivesARestart(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	var told []string
	var deaf error
	kv := &failing{}
	var book *AlertBook
	var j *journal.Journal
	reopen := func() {
		t.Helper()
		if j != nil {
			if err := j.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if j, err = journal.Open(ctx, journal.Options{Dir: dir, MaxBytes: 64 << 20, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		if kv.AlertKV, err = j.KV(ctx, "alerts", journal.KVOptions{}); err != nil {
			t.Fatal(err)
		}
		book, err = OpenAlertBook(ctx, kv, func(_ context.Context, x alert.Transition) error {
			if deaf != nil {
				return deaf
			}
			told = append(told, x.Key)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	t.Cleanup(func() {
		if err := j.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	at := func(h int) int64 { return noon.Add(time.Duration(h) * time.Hour).UnixMilli() }
	fire := func(key string, grave alert.Severity, h int) alert.Transition {
		return alert.Transition{Key: key, Alert: key, Severity: grave, State: alert.Firing, Time: at(h)}
	}
	over := func(key string, h int) alert.Transition {
		return alert.Transition{Key: key + "|resolved", Alert: key, State: alert.Resolved, Time: at(h)}
	}
	open := func() (keys []string) {
		for _, r := range book.Open() {
			keys = append(keys, r.Firing.Key)
		}
		return keys
	}
	expect := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}

	// Whoever can't be told, or whose alert can't be kept, hears of it later.
	all := []alert.Transition{fire("smoke", alert.Warning, 0), fire("flood", alert.Critical, 1), fire("noise", alert.Warning, 2), over("noise", 3)}
	deaf = errors.New("the queue is full")
	if err := book.Keep(ctx, all); !errors.Is(err, deaf) {
		t.Errorf("nobody could be told: %v", err)
	}
	deaf, kv.err = nil, errors.New("the disk is full")
	if err := book.Keep(ctx, all); !errors.Is(err, kv.err) {
		t.Errorf("it could not be kept: %v", err)
	}
	expect("open after both", open())
	kv.err, told = nil, nil
	if err := book.Keep(ctx, all); err != nil {
		t.Fatal(err)
	}
	expect("told", told, "smoke", "flood", "noise", "noise|resolved")
	expect("open, the gravest first", open(), "flood", "smoke")

	ack := Acknowledgement{Who: "sari", At: noon, Note: "saya ke lokasi"}
	for _, c := range []struct {
		id   string
		want error
	}{{"smoke", nil}, {"smoke", fs.ErrExist}, {"noise", fs.ErrNotExist}, {"never", fs.ErrNotExist}} {
		if err := book.Acknowledge(ctx, c.id, ack); !errors.Is(err, c.want) {
			t.Errorf("acknowledge %s: %v, want %v", c.id, err, c.want)
		}
	}

	reopen()
	told = nil
	if err := book.Keep(ctx, all); err != nil { // a replay of the journal
		t.Fatal(err)
	}
	expect("told again", told)
	expect("open after a restart", open(), "flood", "smoke")
	if got := book.Open()[1].Ack; got == nil || *got != ack {
		t.Errorf("the acknowledgement after a restart: %+v", got)
	}
	if err := book.Acknowledge(ctx, "smoke", Acknowledgement{Who: "budi"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second acknowledgement after a restart: %v", err)
	}

	// Pruning goes by the end, and takes the acknowledgement along.
	if err := book.Keep(ctx, []alert.Transition{over("smoke", 5)}); err != nil {
		t.Fatal(err)
	}
	keys := func() (out []string) {
		t.Helper()
		list, err := kv.List(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		for k := range list {
			out = append(out, k)
		}
		slices.Sort(out)
		return out
	}
	if err := book.Prune(ctx, at(5)); err != nil {
		t.Fatal(err)
	}
	expect("kept of what ended later, and of what has not", keys(), "ack/smoke", "transition/flood", "transition/smoke", "transition/smoke|resolved")
	if err := book.Prune(ctx, at(5)+1); err != nil {
		t.Fatal(err)
	}
	expect("kept of what has not ended", keys(), "transition/flood")
	reopen()
	expect("open at last", open(), "flood")
}
