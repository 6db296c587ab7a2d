package checkpoint

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func rowsOf(t *testing.T, f *File) map[string]string {
	t.Helper()
	out := map[string]string{}
	if err := f.Load(func(table string, key, value []byte) error {
		out[table+"/"+string(key)] = string(value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPlaceAndStateMoveTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "store.db")
	f, o, err := Open(path, time.Now())
	if err != nil || !o.Fresh || f.Seq() != 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	var d Delta
	d.Put("a", []byte("k"), []byte("1"))
	d.Put("a", []byte("gone"), nil)
	d.Put("b", []byte("k"), []byte("2"))
	if err := f.Commit(7, &d); err != nil {
		t.Fatal(err)
	}
	var e Delta
	e.Delete("a", []byte("gone"))
	e.Delete("c", []byte("never"))
	e.Put("b", []byte("k"), []byte("3"))
	d.Join(e)
	if err := f.Commit(9, &d); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, o, err = Open(path, time.Now())
	if err != nil || o.Fresh || f.Seq() != 9 {
		t.Fatalf("%+v at %d, %v", o, f.Seq(), err)
	}
	if got := fmt.Sprint(rowsOf(t, f)); got != "map[a/k:1 b/k:3]" {
		t.Errorf("got %s", got)
	}
	if _, _, err := Open(path, time.Now()); err == nil || errors.Is(err, ErrDamaged) {
		t.Errorf("a second process: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// P7, E5: whatever happens to the file, Open succeeds and says what it found; a
// value that comes back is one that was written.
func TestDamageIsFoundAndSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	f, _, err := Open(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	for i := range 200 {
		var d Delta
		for k := range 20 {
			v := fmt.Sprintf("value %d of key %d, long enough to fill some pages of the file", i, k)
			d.Put("t", fmt.Appendf(nil, "key-%d-%d", i%40, k), []byte(v))
			written[v] = true
		}
		if err := f.Commit(uint64(i+1), &d); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		bad := append([]byte(nil), whole...)
		switch seed % 4 {
		case 0: // cut short
			bad = bad[:r.IntN(len(bad))]
		case 1: // one bit
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		case 2: // a page of zeros
			at := r.IntN(len(bad)/4096) * 4096
			clear(bad[at : at+4096])
		case 3: // noise
			at := r.IntN(len(bad) - 512)
			for i := range 512 {
				bad[at+i] = byte(r.Uint32())
			}
		}
		p := filepath.Join(dir, fmt.Sprintf("case-%d.db", seed))
		if err := os.WriteFile(p, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, o, err := Open(p, time.Now())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if o.Damage != nil {
			found++
			if !o.Fresh || f.Seq() != 0 || !errors.Is(o.Damage, ErrDamaged) {
				t.Errorf("seed %d: %+v", seed, o)
			}
			if _, err := os.Stat(o.SetAway); err != nil {
				t.Errorf("seed %d: nothing was set aside: %v", seed, err)
			}
		}
		for k, v := range rowsOf(t, f) {
			if !written[v] {
				t.Errorf("seed %d: %s holds %q, which nobody wrote", seed, k, v)
			}
		}
		var d Delta
		d.Put("t", []byte("again"), []byte("and on it goes"))
		if err := f.Commit(f.Seq()+1, &d); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("seed %d: %v", seed, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	if found < 15 {
		t.Errorf("only %d of 60 damaged files were noticed", found)
	}
}

func BenchmarkCommit(b *testing.B) {
	f, _, err := Open(filepath.Join(b.TempDir(), "store.db"), time.Now())
	if err != nil {
		b.Fatal(err)
	}
	seq := uint64(0)
	for b.Loop() {
		seq++
		var d Delta
		for i := range 400 { // two rows of each of 200 gateways
			d.Put("ledger", fmt.Appendf(nil, "gateway-%03d", i), []byte("highest, floor, one span"))
		}
		if err := f.Commit(seq, &d); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
