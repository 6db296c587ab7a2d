package publication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is what an error wraps that was met in a damaged file.
var ErrDamaged = errors.New("the book's file is damaged")

// file is the bbolt file, which a new one may replace while the book is open.
type file struct {
	path string
	mu   sync.RWMutex // of db: those who read hold it while they do
	db   *bbolt.DB
}

// The buckets. Days are those of WIB, written as four bytes; "hour" is a byte,
// the hour's place in its day.
var (
	bucketMeta        = []byte("meta")        // seq, ticked
	bucketHours       = []byte("hours")       // day site 0 quantity → a sheet of hours
	bucketVersions    = []byte("versions")    // … 0 hour version → an hour that entered a figure
	bucketFigures     = []byte("figures")     // kind day site → a sheet of figures
	bucketRevisions   = []byte("revisions")   // … 0 hour revision → a figure that was corrected
	bucketCorrections = []byte("corrections") // published id → nothing
	bucketSites       = []byte("sites")       // site → siteRecord
	bucketSpans       = []byte("spans")       // site → spanRecord: a time whose hours are to be marked
	bucketDirty       = []byte("dirty")       // day site → dirtyRecord: hours to compute
	bucketDue         = []byte("due")         // day site → dueRecord: figures to compute
	bucketJudged      = []byte("judged")      // day site → seq of the newest figure of that day
	bucketWaiting     = []byte("waiting")     // site 0 end → waitingRecord: came after the month was closed
	bucketApplied     = []byte("applied")     // what of the KV bucket has become dirty hours
)

var buckets = [][]byte{bucketMeta, bucketHours, bucketVersions, bucketFigures, bucketRevisions, bucketCorrections,
	bucketSites, bucketSpans, bucketDirty, bucketDue, bucketJudged, bucketWaiting, bucketApplied}

// mapped is the address space that the file is mapped into from the start: to
// map it anew bbolt must wait for all who read, and makes those who come wait.
const mapped = 4 << 30

// openFile opens or creates the file. A damaged one is renamed and a new one
// begun; damage then says why, aside where it lies.
func openFile(path string, now time.Time) (f *file, aside string, damage, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", nil, fmt.Errorf("make the book's folder: %w", err)
	}
	f = &file{path: path}
	f.db, err = openDB(path)
	if errors.Is(err, ErrDamaged) {
		damage = err
		aside, err = f.setAside(now)
	}
	if err != nil {
		return nil, "", nil, err
	}
	return f, aside, damage, nil
}

// openDB answers damage with ErrDamaged: bbolt panics where a page does not fit
// and faults where the file was cut short.
func openDB(path string) (db *bbolt.DB, err error) {
	defer recovered(&err)()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 5 * time.Second, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("open the book %s: another process holds it: %w", path, err)
	case errors.As(err, new(syscall.Errno)): // no right, no memory, no descriptor: the file is not to blame
		return nil, fmt.Errorf("open the book %s: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return db, db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// setAside renames the file and begins a new one. The old one stays mapped:
// closing it could fault again.
func (f *file) setAside(now time.Time) (aside string, err error) {
	aside = f.path + ".damaged-" + now.UTC().Format("20060102T150405.000000000")
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.Rename(f.path, aside); err != nil {
		return "", fmt.Errorf("set the damaged book aside: %w", err)
	}
	f.db, err = openDB(f.path)
	return aside, err
}

// recovered turns a panic into ErrDamaged.
func recovered(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}
}

func (f *file) view(fn func(*bbolt.Tx) error) (err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	defer recovered(&err)()
	return f.db.View(fn)
}

func (f *file) update(fn func(*bbolt.Tx) error) (err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	defer recovered(&err)()
	if err := f.db.Update(fn); err != nil {
		return fmt.Errorf("write the book: %w", err)
	}
	return nil
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.db.Close(); err != nil {
		return fmt.Errorf("close the book: %w", err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// put writes a value behind a checksum of it and its key, so that neither a
// flipped bit nor a value under another key passes.
func put(b *bbolt.Bucket, key, value []byte) error {
	out := make([]byte, 4, 4+len(value))
	binary.BigEndian.PutUint32(out, checksum(key, value))
	return b.Put(key, append(out, value...))
}

// get returns nil for a key that is not there. The value holds as long as the
// transaction.
func get(b *bbolt.Bucket, key []byte) ([]byte, error) { return unseal(key, b.Get(key)) }

func unseal(key, sealed []byte) ([]byte, error) {
	if sealed == nil {
		return nil, nil
	}
	if len(sealed) < 4 || checksum(key, sealed[4:]) != binary.BigEndian.Uint32(sealed) {
		return nil, fmt.Errorf("%w: row %x does not fit its checksum", ErrDamaged, key)
	}
	return sealed[4:], nil
}
