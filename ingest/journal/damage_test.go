package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// theBlock returns the newest block file of the stream.
func theBlock(t testing.TB, dir string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(streamsDir(dir), streamName, "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatalf("no block file: %v", err)
	}
	slices.SortFunc(blocks, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		if a < b {
			return -1
		}
		return 1
	})
	return blocks[len(blocks)-1]
}

// records returns where the records of a block begin, and its end.
func records(t testing.TB, block string) []int64 {
	t.Helper()
	data, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	offsets := []int64{0}
	for at := 0; at < len(data); {
		at += int(binary.LittleEndian.Uint32(data[at:]) &^ headerBit)
		offsets = append(offsets, int64(at))
	}
	return offsets
}

// cutTail removes the last n records.
func cutTail(t testing.TB, block string, n int) {
	t.Helper()
	r := records(t, block)
	if err := os.Truncate(block, r[len(r)-1-n]); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t testing.TB, file string, at int64, change func([]byte), n int) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	change(b)
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte) { b[0] ^= 0x10 }

// Damage in a block file never blocks Open; exactly the damaged records are
// reported, everything else is delivered.
func TestTrapChecksumErrors(t *testing.T) {
	const packets = 100
	cases := []struct {
		name   string
		damage func(t *testing.T, block string, r []int64)
		gone   []int // packet numbers
	}{
		{"flipped bit in a body", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[50]+110, flip, 1)
		}, []int{50}},
		{"flipped bit in a length", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[50], flip, 1)
		}, []int{50}},
		{"flipped high bit in a length", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[50]+2, flip, 1)
		}, []int{50}},
		{"flipped bit in a sequence", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[50]+4, flip, 1)
		}, []int{50}},
		{"flipped bit in the first record", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[0]+110, flip, 1)
		}, []int{0}},
		{"flipped bit in the last record", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[packets-1]+110, flip, 1)
		}, []int{99}},
		{"zeroed records", func(t *testing.T, block string, r []int64) {
			overwrite(t, block, r[20], func(b []byte) { clear(b) }, int(r[23]-r[20]))
		}, []int{20, 21, 22}},
		{"cut in the middle of a record", func(t *testing.T, block string, r []int64) {
			if err := os.Truncate(block, r[97]+60); err != nil {
				t.Fatal(err)
			}
		}, []int{97, 98, 99}},
		{"garbage behind the end", func(t *testing.T, block string, r []int64) {
			f, err := os.OpenFile(block, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Write(make([]byte, 4096))
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"an empty block", func(t *testing.T, block string, _ []int64) {
			if err := os.Truncate(block, 0); err != nil {
				t.Fatal(err)
			}
		}, numbers(0, packets)},
		{"no block", func(t *testing.T, block string, _ []int64) {
			if err := os.Remove(block); err != nil {
				t.Fatal(err)
			}
		}, numbers(0, packets)},
		{"damaged index", func(t *testing.T, block string, _ []int64) {
			overwrite(t, filepath.Join(filepath.Dir(block), indexFile), 10, flip, 1)
		}, nil},
		{"damaged settings", func(t *testing.T, block string, _ []int64) {
			overwrite(t, filepath.Join(filepath.Dir(filepath.Dir(block)), metaFile), 10, flip, 1)
		}, nil},
		{"no settings", func(t *testing.T, block string, _ []int64) {
			if err := os.Remove(filepath.Join(filepath.Dir(filepath.Dir(block)), metaFile)); err != nil {
				t.Fatal(err)
			}
		}, nil},
	}
	for _, c := range cases {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/killed=%v", c.name, killed), func(t *testing.T) {
				dir := t.TempDir()
				j := open(t, Options{Dir: dir})
				for n := range packets {
					if err := errors.Join(submit(j, packet(n))...); err != nil {
						t.Fatal(err)
					}
				}
				shut(t, j)
				if killed { // as kill -9 leaves it: no index, no clean mark
					m, err := readMark(dir)
					if err != nil {
						t.Fatal(err)
					}
					m.Clean, m.Reserved = false, packets+10
					if err := writeMark(dir, m); err != nil {
						t.Fatal(err)
					}
				}
				block := theBlock(t, dir)
				c.damage(t, block, records(t, block))

				j = open(t, Options{Dir: dir})
				if err := errors.Join(submit(j, packet(1000))...); err != nil {
					t.Fatal(err)
				}
				var want []string
				for n := range packets {
					if !slices.Contains(c.gone, n) {
						want = append(want, string(packet(n).Payload))
					}
				}
				want = append(want, string(packet(1000).Payload))
				got, seqs := readAll(t, j, 0)
				if !slices.Equal(got, want) {
					t.Errorf("read %d packets, want %d; missing by the journal's word: %d", len(got), len(want), j.Stats().Missing)
				}
				if seqs[len(seqs)-1] <= packets {
					t.Errorf("position %d is used twice", seqs[len(seqs)-1])
				}
				s := j.Stats()
				// After a kill the journal can't know how far the lost end reached.
				unknown := killed && slices.Contains(c.gone, packets-1)
				if s.Missing != uint64(len(c.gone)) && !unknown {
					t.Errorf("%d positions counted as missing, want %d", s.Missing, len(c.gone))
				}
				// It stays so: the damage is not reported again, nor does it grow.
				shut(t, j)
				j = open(t, Options{Dir: dir})
				if again, _ := readAll(t, j, 0); !slices.Equal(again, want) {
					t.Errorf("after another start: %d packets, want %d", len(again), len(want))
				}
			})
		}
	}
}

func numbers(from, to int) (out []int) {
	for n := from; n < to; n++ {
		out = append(out, n)
	}
	return out
}

// A damaged bucket loses the value that was hit, not those behind it.
func TestDamagedBucket(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	kv := bucket(t, j, KVOptions{})
	const values = 50
	for n := range values {
		if _, err := kv.Put(t.Context(), fmt.Sprintf("key/%02d", n), fmt.Appendf(nil, "value %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, j)
	stream := filepath.Join(streamsDir(dir), "KV_test")
	blocks, err := filepath.Glob(filepath.Join(stream, "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	r := records(t, blocks[0])
	overwrite(t, blocks[0], r[20]+40, flip, 1)
	overwrite(t, filepath.Join(stream, metaFile), 20, flip, 1)
	j = open(t, Options{Dir: dir})
	all, err := bucket(t, j, KVOptions{}).List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, there := all["key/20"]; len(all) != values-1 || there {
		t.Errorf("%d values are left; the damaged one: %v", len(all), there)
	}
}

// A record that goes bad while the server runs is stepped over too.
func TestDamageWhileRunning(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	for n := range 50 {
		if err := errors.Join(submit(j, packet(n))...); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, j)
	j = open(t, Options{Dir: dir}) // nothing is in NATS's cache now
	block := theBlock(t, dir)
	overwrite(t, block, records(t, block)[20]+110, flip, 1)
	got, seqs := readAll(t, j, 0)
	if len(got) != 49 || slices.Contains(seqs, 21) {
		t.Errorf("read %d packets at %v", len(got), seqs)
	}
	if s := j.Stats(); s.Missing != 1 {
		t.Errorf("%d positions counted as missing", s.Missing)
	}
}

// What NATS would delete is brought back from the guard links.
func TestGuardBringsBackADeletedStream(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	if err := errors.Join(submit(j, packet(1), packet(2))...); err != nil {
		t.Fatal(err)
	}
	shut(t, j)
	if _, err := guard(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(streamsDir(dir), streamName)); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	if got, _ := readAll(t, j, 0); len(got) != 2 {
		t.Errorf("%d packets are back, want 2", len(got))
	}
	if _, err := os.Stat(guardDir(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the guard is still there: %v", err)
	}
}

func FuzzMend(f *testing.F) {
	f.Add([]byte{}, 0, byte(0))
	f.Add([]byte{1, 2, 3}, 40, byte(4))
	f.Fuzz(func(t *testing.T, insert []byte, at int, xor byte) {
		h := blockHash("raw", 1)
		var block []byte
		for seq := range uint64(5) {
			block = appendRecord(block, seq+1, "raw.x", []byte("hello"))
		}
		if at < 0 || at > len(block) {
			return
		}
		if at < len(block) {
			block[at] ^= xor
		}
		block = slices.Insert(block, at, insert...)
		data, ok := mend(slices.Clone(block), h)
		if ok {
			data = block
		}
		end, all := checkRecords(data, h)
		if !all && !isTorn(data[end:]) {
			t.Errorf("a bad record is left at %d of %d bytes", end, len(data))
		}
		// At most the record that was hit, or the two around the insertion, may go.
		if n := len(sequences(data[:end])); n < 4 {
			t.Errorf("only %d of 5 records are left", n)
		}
	})
}

func appendRecord(dst []byte, seq uint64, subject string, body []byte) []byte {
	h := blockHash("raw", 1)
	n := recordHeader + len(subject) + len(body) + recordHash
	start := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	dst = binary.LittleEndian.AppendUint64(dst, seq)
	dst = binary.LittleEndian.AppendUint64(dst, 7)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(subject)))
	dst = append(append(dst, subject...), body...)
	h.Write(dst[start+4 : start+20])
	h.Write([]byte(subject))
	h.Write(body)
	return h.Sum(dst)
}

func sequences(b []byte) (out []uint64) {
	for len(b) > 0 {
		out = append(out, binary.LittleEndian.Uint64(b[4:]))
		b = b[binary.LittleEndian.Uint32(b)&^headerBit:]
	}
	return out
}
