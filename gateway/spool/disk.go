package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// asideLimit bounds each file of records that were set aside, and all files of
// damaged bytes together.
const asideLimit = 32 << 20

// openFiles is how many segments are held open: the active one and those that
// are not yet fsynced. One that is needed again is opened again.
const openFiles = 4

// disk carries out the core's operations in a folder.
type disk struct {
	dir  string
	log  *slog.Logger
	lock *os.File

	mu     sync.Mutex
	files  map[uint64]*os.File // of segments that may still be written or fsynced
	newest uint64
	named  bool // the folder was fsynced since the last file was made
}

func openDisk(dir string, log *slog.Logger) (*disk, error) {
	if err := os.MkdirAll(filepath.Join(dir, quarantineFolder), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s, which another process uses: %w", dir, err), lock.Close())
	}
	return &disk{dir: dir, log: log, lock: lock, files: map[uint64]*os.File{}}, nil
}

func (d *disk) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.files {
		errs = append(errs, f.Close())
	}
	d.files = nil
	return errors.Join(append(errs, d.lock.Close())...)
}

func (d *disk) path(id SegmentID) string { return filepath.Join(d.dir, id.String()) }

// file returns the open file of a segment that is being written, and makes it
// if need be.
func (d *disk) file(id SegmentID) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files == nil {
		return nil, fmt.Errorf("make a segment: %w", fs.ErrClosed)
	}
	if f := d.files[id.Seq]; f != nil {
		return f, nil
	}
	for len(d.files) >= openFiles {
		oldest := slices.Min(slices.Collect(maps.Keys(d.files)))
		if err := d.files[oldest].Close(); err != nil {
			d.log.Warn("a segment of the spool could not be closed", "error", err)
		}
		delete(d.files, oldest)
	}
	f, err := os.OpenFile(d.path(id), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a segment: %w", err)
	}
	d.files[id.Seq] = f
	d.newest = max(d.newest, id.Seq)
	d.named = false
	return f, nil
}

func (d *disk) forget(id SegmentID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.files[id.Seq]; f != nil {
		if err := f.Close(); err != nil {
			d.log.Warn("a segment of the spool could not be closed", "error", err)
		}
		delete(d.files, id.Seq)
	}
}

// do carries out one operation.
func (d *disk) do(op Op) error {
	switch op.Kind {
	case OpCreate:
		_, err := d.file(op.Segment)
		return err
	case OpWrite:
		f, err := d.file(op.Segment)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(op.Data, op.Off); err != nil {
			return fmt.Errorf("write a segment: %w", err)
		}
	case OpPatch, OpTruncate:
		return d.mend(op)
	case OpRemove:
		d.forget(op.Segment)
		if err := os.Remove(d.path(op.Segment)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove a segment: %w", err)
		}
	case OpSetAside:
		return d.setAside(op.Name, op.Data)
	case OpMoveAside:
		d.forget(op.Segment)
		to := filepath.Join(d.dir, quarantineFolder, op.Segment.String())
		if err := os.Rename(d.path(op.Segment), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("move a segment aside: %w", err)
		}
	}
	return nil
}

func (d *disk) mend(op Op) error {
	d.forget(op.Segment)
	f, err := os.OpenFile(d.path(op.Segment), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // done with meanwhile
	}
	if err != nil {
		return fmt.Errorf("mend a segment: %w", err)
	}
	if op.Kind == OpTruncate {
		err = f.Truncate(op.To)
	} else {
		_, err = f.WriteAt(op.Data, op.Off)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("mend a segment: %w", err)
	}
	return nil
}

func (d *disk) setAside(name string, data []byte) error {
	file := filepath.Join(d.dir, name)
	var size int64
	if strings.HasPrefix(name, quarantineFolder) {
		entries, err := os.ReadDir(filepath.Dir(file))
		if err != nil {
			return fmt.Errorf("set records aside: %w", err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err == nil {
				size += info.Size()
			}
		}
	} else if info, err := os.Stat(file); err == nil {
		size = info.Size()
	}
	if size+int64(len(data)) > asideLimit {
		return fmt.Errorf("set records aside in %s: %d bytes lie there already: look at them and remove them", file, size)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("set records aside: %w", err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set records aside: %w", err)
	}
	return nil
}

// sync fsyncs a segment, and the folder if the file is new in it.
func (d *disk) sync(id SegmentID) error {
	f, err := d.file(id)
	if err != nil {
		return err
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("fsync a segment: %w", err)
	}
	d.mu.Lock()
	named, newest := d.named, d.newest
	d.named = true
	d.mu.Unlock()
	if !named {
		if err := syncFolder(d.dir); err != nil {
			d.mu.Lock()
			d.named = false
			d.mu.Unlock()
			return err
		}
	}
	if id.Seq < newest {
		d.forget(id) // nothing more is written to it
	}
	return nil
}

// settle makes durable what an earlier process of this boot wrote and may not
// have fsynced.
func (d *disk) settle(id SegmentID, data []byte) error {
	f, err := os.OpenFile(d.path(id), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("settle a segment: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err == nil {
		return nil
	}
	// After a failed fsync the file's pages count as clean: only a new file helps.
	tmp := d.path(id) + ".new"
	f, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("settle a segment: %w", err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, d.path(id))
	}
	if err == nil {
		err = syncFolder(d.dir)
	}
	if err != nil {
		return fmt.Errorf("settle a segment: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("fsync the folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("fsync the folder %s: %w", dir, err)
	}
	return nil
}

// free returns how many bytes the file system has left for us.
func (d *disk) free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", d.dir, err)
	}
	return int64(st.Bavail * uint64(st.Bsize)), nil // Bsize has 32 bits on a 32-bit machine
}

// list returns the segments in the folder, in order.
func (d *disk) list() ([]SegmentID, error) {
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var ids []SegmentID
	for _, e := range entries {
		if id, ok := ParseSegmentID(e.Name()); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b SegmentID) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	return ids, nil
}

// read returns a segment's bytes, or nil if they can't be read.
func (d *disk) read(id SegmentID) []byte {
	b, err := os.ReadFile(filepath.Join(d.dir, id.String()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Error("a segment of the spool can't be read", "error", err)
	}
	if err != nil {
		return nil
	}
	return b
}
