package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// NATS deletes the whole folder of a stream that it fails to open (a full disk
// or a lost permission at start is enough). So every file gets a second hard
// link before the server starts, and loses it once the streams stand.

// streamsDir is where NATS keeps the streams of its one account.
func streamsDir(dir string) string { return filepath.Join(dir, "jetstream", "$G", "streams") }

func guardDir(dir string) string { return filepath.Join(dir, "guard") }

// guard links every file of every stream and names the streams that have to be
// there afterwards.
func guard(dir string) (streams []string, err error) {
	entries, err := os.ReadDir(streamsDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the journal's streams: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || e.Name()[0] == '.' {
			continue
		}
		from := filepath.Join(streamsDir(dir), e.Name())
		if _, err := os.Stat(filepath.Join(from, metaFile)); err == nil {
			streams = append(streams, e.Name())
		}
		if err := linkTree(from, filepath.Join(guardDir(dir), e.Name())); err != nil {
			return nil, fmt.Errorf("guard the stream %s: %w", e.Name(), err)
		}
	}
	return streams, nil
}

// restoreGuard brings back what is missing and drops the guard. It does nothing
// without one.
func restoreGuard(dir string) error {
	if _, err := os.Stat(guardDir(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := linkTree(guardDir(dir), streamsDir(dir)); err != nil {
		return fmt.Errorf("restore what the embedded server removed: %w", err)
	}
	return dropGuard(dir)
}

func dropGuard(dir string) error {
	if err := os.RemoveAll(guardDir(dir)); err != nil {
		return fmt.Errorf("drop the guard links: %w", err)
	}
	return nil
}

// linkTree links every file below from to the same place below to, unless
// something is there already.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil
		}
		if err := os.Link(path, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}
