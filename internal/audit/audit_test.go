package audit_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/audit"
)

var begin = time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)

// book is a log whose clock moves a second with each look.
type book struct {
	*audit.Log
	t    *testing.T
	path string
	now  time.Time
	mu   sync.Mutex
}

func open(t *testing.T, path string) *book {
	t.Helper()
	b := &book{t: t, path: path, now: begin}
	var err error
	b.Log, err = audit.Open(audit.Options{Path: path, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.now = b.now.Add(time.Second)
		return b.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.end() })
	return b
}

func (b *book) end() {
	b.t.Helper()
	if err := b.Close(context.Background()); err != nil {
		b.t.Error(err)
	}
}

func (b *book) add(entries ...audit.Entry) {
	b.t.Helper()
	for _, e := range entries {
		if err := b.Add(b.t.Context(), e); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *book) search(q audit.Query) []audit.Record {
	b.t.Helper()
	found, _, err := b.Search(b.t.Context(), q)
	if err != nil {
		b.t.Fatal(err)
	}
	return found
}

func (b *book) verify(known string) audit.Verdict {
	b.t.Helper()
	v, err := b.Verify(b.t.Context(), known)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func lines(t *testing.T, path string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.SplitAfter(text, []byte("\n"))
	return all[:len(all)-1] // behind the last line is nothing
}

var three = []audit.Entry{
	{Who: "admin", From: netip.MustParseAddr("192.0.2.7"), Action: "user.add", Object: "sari", Detail: "operator 3374"},
	{Who: "sari", From: netip.MustParseAddr("2001:db8::7"), Action: "signin.ok"},
	{Who: "os:root", Action: "gateway.revoke", Object: "3374/pasar"},
}

// Statement 25: who, what, when, from where; a line's hash can be checked with
// nothing but the file.
func TestStatement25AnEntryIsOnTheDiskWhenAddReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	b := open(t, path)
	prev := ""
	for i, e := range three {
		b.add(e)
		all := lines(t, path) // read by another way than the log's own
		if len(all) != i+1 {
			t.Fatalf("%d lines after %d entries", len(all), i+1)
		}
		hash, body, _ := strings.Cut(strings.TrimSuffix(string(all[i]), "\n"), " ")
		if sum := sha256.Sum256([]byte(body)); hash != hex.EncodeToString(sum[:]) {
			t.Errorf("line %d: its hash is not that of its text", i+1)
		}
		var got struct {
			Seq                               int
			Time                              time.Time
			Who, From, Action, Object, Detail string
			Prev                              string
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		from := ""
		if e.From.IsValid() {
			from = e.From.String()
		}
		if got.Seq != i+1 || got.Prev != prev || got.Who != e.Who || got.From != from || got.Action != e.Action || got.Object != e.Object || got.Detail != e.Detail || !got.Time.After(begin) {
			t.Errorf("line %d says %s", i+1, body)
		}
		prev = hash
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if v := b.verify(prev); v.Entries != 3 || v.Head != prev || v.Broken != nil || v.Found != 3 {
		t.Errorf("%+v", v)
	}
	b.end()
	again := open(t, path)
	again.add(audit.Entry{Who: "sari", Action: "signout"})
	if v := again.verify(prev); v.Entries != 4 || v.Broken != nil || v.Found != 3 {
		t.Errorf("after a restart: %+v", v)
	}
}

// Statement 25: whatever is done to the file, Verify names the first entry that
// does not hold.
func TestStatement25TamperingBreaksTheChain(t *testing.T) {
	rehash := func(line []byte) []byte { // as somebody would who knows how it works
		_, body, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		sum := sha256.Sum256(body)
		return []byte(hex.EncodeToString(sum[:]) + " " + string(body) + "\n")
	}
	for name, c := range map[string]struct {
		change func(all [][]byte) [][]byte
		broken uint64
	}{
		"nothing": {func(all [][]byte) [][]byte { return all }, 0},
		"one letter": {func(all [][]byte) [][]byte {
			all[4] = bytes.Replace(all[4], []byte("thing-5"), []byte("thing-X"), 1)
			return all
		}, 5},
		"one letter and its own hash": {func(all [][]byte) [][]byte {
			all[4] = rehash(bytes.Replace(all[4], []byte("thing-5"), []byte("thing-X"), 1))
			return all
		}, 6},
		"the hash":            {func(all [][]byte) [][]byte { all[4][0] ^= 1; return all }, 5},
		"a removed entry":     {func(all [][]byte) [][]byte { return slices.Delete(all, 4, 5) }, 5},
		"the first removed":   {func(all [][]byte) [][]byte { return slices.Delete(all, 0, 1) }, 1},
		"a doubled entry":     {func(all [][]byte) [][]byte { return slices.Insert(all, 4, all[3]) }, 5},
		"two exchanged":       {func(all [][]byte) [][]byte { all[3], all[4] = all[4], all[3]; return all }, 4},
		"a line of no record": {func(all [][]byte) [][]byte { all[4] = []byte("hello\n"); return all }, 5},
		"an empty line":       {func(all [][]byte) [][]byte { return slices.Insert(all, 4, []byte("\n")) }, 5},
		"the newest altered": {func(all [][]byte) [][]byte {
			all[9] = rehash(bytes.Replace(all[9], []byte("thing-10"), []byte("thing-XX"), 1))
			return all
		}, 11},
		"the newest cut off": {func(all [][]byte) [][]byte { return all[:8] }, 9},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.log")
			b := open(t, path)
			for i := range 10 {
				b.add(audit.Entry{Who: "admin", Action: "rules.set", Object: fmt.Sprintf("thing-%d", i+1)})
			}
			head := b.verify("").Head
			if err := os.WriteFile(path, bytes.Join(c.change(lines(t, path)), nil), 0o600); err != nil {
				t.Fatal(err)
			}
			v := b.verify(head) // while it runs
			if (c.broken == 0) != (v.Broken == nil) || v.Broken != nil && v.Broken.Seq != c.broken {
				t.Errorf("running: %v, want entry %d", v.Broken, c.broken)
			}
			b.end()
			again := open(t, path) // and after a restart, which it must not stop
			again.add(audit.Entry{Who: "admin", Action: "after"})
			v = again.verify(head)
			if newest := strings.HasPrefix(name, "the newest"); newest {
				// The chain of what is left holds: only the noted head tells.
				if v.Broken != nil || v.Found != 0 {
					t.Errorf("after a restart: %v, head found at %d", v.Broken, v.Found)
				}
				return
			}
			if (c.broken == 0) != (v.Broken == nil) || v.Broken != nil && v.Broken.Seq != c.broken {
				t.Errorf("after a restart: %v, want entry %d", v.Broken, c.broken)
			}
			if told := again.Problem(); (c.broken == 0) != (told == "") {
				t.Errorf("problem %q", told)
			}
		})
	}
}

func TestATornEntryIsCutOffAndToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	b := open(t, path)
	b.add(three...)
	b.end()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(`0123abcd {"seq":4,"ti`)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	b = open(t, path)
	b.add(audit.Entry{Who: "sari", Action: "signout"})
	if v := b.verify(""); v.Broken != nil || v.Entries != 5 {
		t.Errorf("%+v", v)
	}
	if found := b.search(audit.Query{Action: "audit.torn"}); len(found) != 1 || !strings.Contains(found[0].Detail, "21 bytes") {
		t.Errorf("%+v", found)
	}
	if p := b.Problem(); p != "" {
		t.Error(p)
	}
}

func TestSearchByWhoActionObjectAndTime(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "audit.log"))
	b.add(three...)
	for i := range 600 {
		b.add(audit.Entry{Who: "budi", Action: "site.set", Object: fmt.Sprintf("SMG-%03d", i)})
	}
	seqs := func(q audit.Query) (out []uint64) {
		for _, r := range b.search(q) {
			out = append(out, r.Seq)
		}
		return out
	}
	for name, c := range map[string]struct {
		q    audit.Query
		want []uint64
	}{
		"who":       {audit.Query{Who: "SARI"}, []uint64{2}},
		"action":    {audit.Query{Action: "user"}, []uint64{1}},
		"object":    {audit.Query{Object: "pasar"}, []uint64{3}},
		"object2":   {audit.Query{Object: "smg-599"}, []uint64{603}},
		"time":      {audit.Query{From: begin.Add(2 * time.Second), To: begin.Add(4 * time.Second)}, []uint64{3, 2}},
		"both":      {audit.Query{Who: "admin", Action: "signin"}, nil},
		"limit":     {audit.Query{Limit: 2}, []uint64{603, 602}},
		"next":      {audit.Query{Limit: 2, Before: 602}, []uint64{601, 600}},
		"the first": {audit.Query{Before: 2}, []uint64{1}},
		"none":      {audit.Query{Before: 1}, nil},
	} {
		if got := seqs(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	// Page by page everything comes once, in order.
	var all []uint64
	for q := (audit.Query{Who: "budi", Limit: 70}); ; {
		found, next, err := b.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range found {
			all = append(all, r.Seq)
		}
		if q.Before = next; next == 0 {
			break
		}
	}
	if len(all) != 600 || all[0] != 603 || all[599] != 4 {
		t.Errorf("%d records, from %d to %d", len(all), all[0], all[len(all)-1])
	}
}

func TestForeignTextStaysInItsEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	b := open(t, path)
	evil := "a\nb \x00\u202e\xff</script>" + strings.Repeat("é", 9000)
	b.add(audit.Entry{Who: evil, Action: "signin.refused", Object: evil, Detail: evil})
	b.add(audit.Entry{Who: "sari", Action: "signin.ok"})
	if n := len(lines(t, path)); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	if v := b.verify(""); v.Broken != nil {
		t.Error(v.Broken)
	}
	r := b.search(audit.Query{Action: "signin.refused"})[0]
	if len(r.Who) > 100 || len(r.Object) > 400 || len(r.Detail) > 8000 || !strings.HasPrefix(r.Who, "a\nb \x00\u202e\uFFFD") || !strings.HasSuffix(r.Detail, "é…") {
		t.Errorf("who %q (%d bytes), detail of %d bytes", r.Who, len(r.Who), len(r.Detail))
	}
}

func TestAFloodOfRefusalsIsCounted(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "audit.log"))
	b.mu.Lock()
	b.now = begin
	b.mu.Unlock()
	still := func() { b.mu.Lock(); b.now = begin; b.mu.Unlock() }
	for range 1000 {
		still()
		if err := b.Refuse(t.Context(), audit.Entry{Action: "signin.refused"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.search(audit.Query{Limit: 2000})); n != 60 {
		t.Errorf("%d entries of 1000 refusals in a minute", n)
	}
	b.mu.Lock()
	b.now = begin.Add(2 * time.Minute)
	b.mu.Unlock()
	if err := b.Refuse(t.Context(), audit.Entry{Action: "signin.refused"}); err != nil {
		t.Fatal(err)
	}
	if found := b.search(audit.Query{Action: "refusals.more"}); len(found) != 1 || !strings.HasPrefix(found[0].Detail, "940 more refusals") {
		t.Errorf("%+v", found)
	}
}

func TestManyAtOnceKeepOneChain(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "audit.log"))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 25 {
				if err := b.Add(t.Context(), audit.Entry{Who: fmt.Sprint(i), Action: "x"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if v := b.verify(""); v.Entries != 200 || v.Broken != nil {
		t.Errorf("%+v", v)
	}
}

func TestAClosedLogRefuses(t *testing.T) {
	b := open(t, filepath.Join(t.TempDir(), "audit.log"))
	b.end()
	if err := b.Add(t.Context(), three[0]); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Add: %v", err)
	}
	if err := b.Ready(); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Ready: %v", err)
	}
	if _, err := audit.Open(audit.Options{Path: filepath.Join(t.TempDir(), "no", "such", "folder")}); err == nil || !strings.Contains(err.Error(), "open the audit log") {
		t.Errorf("a folder that does not exist: %v", err)
	}
}
