// Package checkpoint keeps what a journal reader must not forget: how far it
// has come, and the state that belongs to exactly that place.
//
// It promises that the place and the state move in one transaction, that a
// value which comes back is the one that was written (each carries a CRC32C),
// and that a damaged file never blocks a start: Open sets it aside and begins an
// empty one, and says so.
package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// Delta is what changed in a reader's state since its last checkpoint: rows of
// named tables, put or deleted. Its zero value is empty.
type Delta struct {
	ops []op
}

type op struct {
	table string
	key   []byte
	value []byte // nil deletes
}

// Put sets a row. Delta keeps key and value: the caller must not change them.
func (d *Delta) Put(table string, key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	d.ops = append(d.ops, op{table, key, value})
}

// Delete removes a row; one that is not there is no error.
func (d *Delta) Delete(table string, key []byte) { d.ops = append(d.ops, op{table, key, nil}) }

// Len counts the changed rows.
func (d *Delta) Len() int { return len(d.ops) }

// Each calls fn for every change in order; value is nil for a deletion.
func (d *Delta) Each(fn func(table string, key, value []byte)) {
	for _, o := range d.ops {
		fn(o.table, o.key, o.value)
	}
}

// Join appends the changes of other after those of d.
func (d *Delta) Join(other Delta) { d.ops = append(d.ops, other.ops...) }

// File is one reader's checkpoint. Its methods may be called from several
// goroutines; commits are serialised.
type File struct {
	db   *bbolt.DB
	path string
	seq  atomic.Uint64
}

// Names inside the file. Tables of the reader get a prefix, so that no table's
// name meets ours.
var (
	metaBucket = []byte("meta")
	seqKey     = []byte("seq")
)

const tablePrefix = "table/"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is what the reason in Opened wraps when a file was set aside.
var ErrDamaged = errors.New("checkpoint file is damaged")

// Opened tells what Open found.
type Opened struct {
	Fresh   bool   // there was no usable file: the reader starts from the journal's first entry
	Damage  error  // why a file was set aside; nil if none was
	SetAway string // where it lies now
}

// Open opens or creates the checkpoint at path. A file that cannot be read
// whole is renamed to path.damaged-<time> and a new one begun: now names the
// copy. An error means that the folder itself cannot be used.
func Open(path string, now time.Time) (*File, Opened, error) {
	var o Opened
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		o.Fresh = true
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, o, fmt.Errorf("make the folder of checkpoint %s: %w", path, err)
	}
	f, err := open(path)
	if err == nil {
		return f, o, nil
	}
	if !errors.Is(err, ErrDamaged) {
		return nil, o, err
	}
	o.Fresh, o.Damage = true, err
	o.SetAway = fmt.Sprintf("%s.damaged-%s", path, now.UTC().Format("20060102T150405.000000000"))
	if err := os.Rename(path, o.SetAway); err != nil {
		return nil, o, fmt.Errorf("set the damaged checkpoint aside: %w", err)
	}
	f, err = open(path)
	return f, o, err
}

// open opens a file and reads every row once. bbolt answers damage with a panic
// and a file cut short with a memory fault; both become ErrDamaged here, before
// anything depends on the file. Its free list is kept in the file, because
// rebuilding it would run in a goroutine of bbolt's own, out of this recover.
func open(path string) (f *File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bbolt.DB
	defer func() {
		if r := recover(); r != nil {
			f, err = nil, fmt.Errorf("%w: %s: %v", ErrDamaged, path, r)
			// db stays open: closing it could fault again; the mapping of a few
			// kilobytes is the price of a damaged file.
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("open checkpoint %s: another process holds it: %w", path, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("open checkpoint %s: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	f = &File{db: db, path: path}
	if err := f.Load(func(string, []byte, []byte) error { return nil }); err != nil {
		if closeErr := db.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
		return nil, err
	}
	return f, nil
}

// Seq returns the journal sequence up to which all is done; 0 at the start.
func (f *File) Seq() uint64 { return f.seq.Load() }

// Load calls fn for every row. key and value are the callee's to keep.
func (f *File) Load(fn func(table string, key, value []byte) error) error {
	return f.db.View(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(metaBucket); meta != nil {
			v, err := unseal(seqKey, meta.Get(seqKey))
			if err == nil && len(v) != 8 {
				err = fmt.Errorf("%d bytes", len(v))
			}
			if err != nil {
				return fmt.Errorf("%w: %s: its place in the journal: %w", ErrDamaged, f.path, err)
			}
			f.seq.Store(binary.BigEndian.Uint64(v))
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			if len(name) < len(tablePrefix) || string(name[:len(tablePrefix)]) != tablePrefix {
				return nil
			}
			table := string(name[len(tablePrefix):])
			return b.ForEach(func(k, v []byte) error {
				value, err := unseal(k, v)
				if err != nil {
					return fmt.Errorf("%w: %s: table %s: %w", ErrDamaged, f.path, table, err)
				}
				return fn(table, append([]byte(nil), k...), append([]byte{}, value...))
			})
		})
	})
}

// Commit makes d and the place seq durable, in one transaction and one fsync.
func (f *File) Commit(seq uint64, d *Delta) (err error) {
	defer func() {
		if r := recover(); r != nil { // bbolt panics where a page does not fit
			err = fmt.Errorf("%w: %s: %v", ErrDamaged, f.path, r)
		}
	}()
	err = f.db.Update(func(tx *bbolt.Tx) error {
		var table string
		var b *bbolt.Bucket
		for _, o := range d.ops {
			if b == nil || o.table != table {
				var err error
				if b, err = tx.CreateBucketIfNotExists([]byte(tablePrefix + o.table)); err != nil {
					return err
				}
				table = o.table
			}
			if o.value == nil {
				if err := b.Delete(o.key); err != nil {
					return err
				}
				continue
			}
			if err := b.Put(o.key, seal(o.key, o.value)); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		return meta.Put(seqKey, seal(seqKey, binary.BigEndian.AppendUint64(nil, seq)))
	})
	if err != nil {
		return fmt.Errorf("commit checkpoint %s at %d: %w", f.path, seq, err)
	}
	f.seq.Store(seq)
	return nil
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close checkpoint %s: %w", f.path, err)
	}
	return nil
}

// seal puts a CRC32C of key and value before the value, so that neither a
// flipped bit nor a value under another key passes.
func seal(key, value []byte) []byte {
	out := make([]byte, 4, 4+len(value))
	binary.BigEndian.PutUint32(out, sum(key, value))
	return append(out, value...)
}

func unseal(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 4 {
		return nil, fmt.Errorf("row %x has no checksum", key)
	}
	if got := sum(key, sealed[4:]); got != binary.BigEndian.Uint32(sealed) {
		return nil, fmt.Errorf("row %x does not fit its checksum", key)
	}
	return sealed[4:], nil
}

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
