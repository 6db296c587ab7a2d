package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/highwayhash"
	"golang.org/x/sync/errgroup"
)

// NATS cuts a block file of up to 8 MB at its first bad record when it rebuilds
// its state, and a reader can't pass a bad record at all. So every block is
// checked before the server starts: the good records of a damaged block are
// written to a new file, and the damaged one is kept aside for hand work.
//
// The format (nats-server 2.15.2, filestore.go, writeMsgRecordLocked), little
// endian: length u32 (high bit: has header), sequence u64 (high bits: erased,
// tombstone), time i64, subject length u16, subject, [header length u32,
// header,] body, HighwayHash-64 of sequence to body keyed by
// SHA-256("stream-block").
const (
	recordHeader = 22
	recordHash   = 8
	recordMax    = 32 << 20
	headerBit    = uint32(1) << 31
	sequenceBits = ^(uint64(3) << 62) // without erased and tombstone
	metaFile     = "meta.inf"
	metaSum      = "meta.sum"
	indexFile    = "index.db"
)

// repair checks all streams below the store's folder and mends what is damaged.
func (j *Journal) repair(store string) error {
	entries, err := os.ReadDir(filepath.Join(store, "$G", "streams"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the journal's streams: %w", err)
	}
	aside := filepath.Join(j.o.Dir, "damaged", time.Now().UTC().Format("20060102T150405.000"))
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(store, "$G", "streams", e.Name())
		if err := j.repairStream(dir, e.Name(), filepath.Join(aside, e.Name())); err != nil {
			return fmt.Errorf("check the stream %s: %w", e.Name(), err)
		}
	}
	return nil
}

func (j *Journal) repairStream(dir, name, aside string) error {
	if !metaIsGood(dir, name) {
		// The stream's settings are ours: without the file it is created anew
		// over the same messages.
		for _, f := range []string{metaFile, metaSum} {
			if err := j.setAside(filepath.Join(dir, f), aside, "settings with a bad checksum"); err != nil {
				return err
			}
		}
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	if err != nil {
		return err
	}
	damaged := make([]bool, len(blocks))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, path := range blocks {
		g.Go(func() error {
			index, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".blk"), 10, 32)
			if err != nil {
				return nil //nolint:nilerr // not a block: NATS ignores it too
			}
			damaged[i], err = j.repairBlock(path, blockHash(name, uint32(index)), aside)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if slices.Contains(damaged, true) {
		// It describes the blocks as they were; NATS builds it anew.
		if err := os.Remove(filepath.Join(dir, "msgs", indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func metaIsGood(dir, name string) bool {
	text, err := os.ReadFile(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true // nothing to set aside
	}
	sum, err2 := os.ReadFile(filepath.Join(dir, metaSum))
	if err != nil || err2 != nil {
		return false
	}
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return false
	}
	_, _ = h.Write(text)
	return hex.EncodeToString(h.Sum(nil)) == string(sum)
}

func blockHash(stream string, index uint32) hash.Hash64 {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic("journal: HighwayHash takes 32 bytes of key: " + err.Error())
	}
	return h
}

// repairBlock mends one block file and says whether it had to. A record cut
// off at the very end is what a crash leaves: NATS cuts it by itself.
func (j *Journal) repairBlock(path string, h hash.Hash64, aside string) (bool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return true, j.setAside(path, aside, err.Error())
	}
	kept, ok := mend(data, h)
	if ok {
		return false, nil
	}
	if err := j.setAside(path, aside, fmt.Sprintf("%d of %d bytes are good", len(kept), len(data))); err != nil {
		return true, err
	}
	return true, writeFile(path, kept)
}

// mend returns the good records of a block; ok means that NATS can take the
// block as it is.
func mend(data []byte, h hash.Hash64) (kept []byte, ok bool) {
	end, good := checkRecords(data, h)
	if good {
		return data, true
	}
	kept = data[:end:end]
	last := lastSequence(kept)
	rest := data[end:]
	for {
		n, found := findRecord(rest, h, last)
		if !found {
			break
		}
		rest = rest[n:]
		run, _ := checkRecords(rest, h)
		kept = append(kept, rest[:run]...)
		last = max(last, lastSequence(rest[:run]))
		rest = rest[run:]
	}
	return kept, len(kept) == end && isTorn(rest)
}

// recordAt returns the length of the record at the head of b if it is whole and
// its checksum fits.
func recordAt(b []byte, h hash.Hash64) (length int, ok bool) {
	if len(b) < recordHeader+recordHash {
		return 0, false
	}
	rl := binary.LittleEndian.Uint32(b)
	n := int(rl &^ headerBit)
	subject := int(binary.LittleEndian.Uint16(b[20:]))
	overhead := subject
	if rl&headerBit != 0 {
		overhead += 4
	}
	if n < recordHeader+recordHash+overhead || n > len(b) || n > recordMax {
		return 0, false
	}
	h.Reset()
	_, _ = h.Write(b[4:20])
	_, _ = h.Write(b[recordHeader : recordHeader+subject])
	_, _ = h.Write(b[recordHeader+overhead : n-recordHash])
	return n, bytes.Equal(h.Sum(nil), b[n-recordHash:n])
}

// checkRecords returns where the unbroken run of good records ends.
func checkRecords(b []byte, h hash.Hash64) (end int, all bool) {
	for end < len(b) {
		n, ok := recordAt(b[end:], h)
		if !ok {
			return end, false
		}
		end += n
	}
	return end, true
}

// findRecord looks for the next good record that is newer than last. Only a
// place whose length and sequence could be true is hashed.
func findRecord(b []byte, h hash.Hash64, last uint64) (offset int, ok bool) {
	for i := 1; i+recordHeader+recordHash <= len(b); i++ {
		rl := binary.LittleEndian.Uint32(b[i:])
		n := int(rl &^ headerBit)
		if n < recordHeader+recordHash || n > len(b)-i {
			continue
		}
		seq := binary.LittleEndian.Uint64(b[i+4:]) & sequenceBits
		if seq <= last && binary.LittleEndian.Uint64(b[i+4:]) == seq || seq > last+1<<32 {
			continue
		}
		if _, ok := recordAt(b[i:], h); ok {
			return i, true
		}
	}
	return 0, false
}

func lastSequence(b []byte) (last uint64) {
	for len(b) >= recordHeader {
		if seq := binary.LittleEndian.Uint64(b[4:]); seq&^sequenceBits == 0 {
			last = max(last, seq)
		}
		b = b[binary.LittleEndian.Uint32(b)&^headerBit:]
	}
	return last
}

// isTorn tells the cut-off record of a crash: nothing good follows, and it
// claims to be longer than what is there.
func isTorn(rest []byte) bool {
	return len(rest) < recordHeader+recordHash || int(binary.LittleEndian.Uint32(rest)&^headerBit) > len(rest)
}

// setAside moves a file out of NATS's way. It is not an error if it is not
// there.
func (j *Journal) setAside(path, aside, why string) error {
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("set %s aside: %w", filepath.Base(path), err)
	}
	err := os.Rename(path, filepath.Join(aside, filepath.Base(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set %s aside: %w", filepath.Base(path), err)
	}
	j.metrics.setAside.Inc()
	j.log.Error("a file of the journal is damaged; its good part goes on, a copy is kept", "file", path, "copy_in", aside, "why", why)
	return nil
}
