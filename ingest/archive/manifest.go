package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// manifestName is the list of files, a JSON line each. It is replaced whole, so
// that it is never half written.
const manifestName = "manifest.jsonl"

func (a *Archive) path(f *File) string { return filepath.Join(a.o.Dir, filepath.FromSlash(f.Name())) }

// load reads the manifest and compares it with the folder. A file that is not
// listed was finished just before a kill, or the manifest was lost: it is whole or
// set aside, and its readings are in the database still in the first case.
func (a *Archive) load() error {
	for _, kind := range telemetry.Kinds() {
		if err := os.MkdirAll(filepath.Join(a.o.Dir, string(kind)), 0o700); err != nil {
			return fmt.Errorf("make the archive's folder: %w", err)
		}
	}
	path := filepath.Join(a.o.Dir, manifestName)
	listed, err := readManifest(path)
	if errors.Is(err, ErrDamaged) {
		aside := path + ".damaged-" + a.o.Now().UTC().Format("20060102T150405")
		if err := os.Rename(path, aside); err != nil {
			return fmt.Errorf("set the damaged manifest aside: %w", err)
		}
		a.metrics.damaged.Inc()
		a.log.Error("the archive's manifest is damaged: it is written anew from the files", "set_aside", aside, "error", err)
	} else if err != nil {
		return err
	}
	known := map[string]File{}
	for _, f := range listed {
		known[f.Name()] = f
	}
	files, changed, err := a.compare(known)
	if err != nil {
		return err
	}
	a.setFiles(files)
	for _, name := range slices.Sorted(maps.Keys(known)) {
		a.missing = append(a.missing, name)
		a.log.Error("a file of the archive is missing: bring it back from a backup", "file", name)
	}
	if changed {
		return a.keepManifest(a.allFiles())
	}
	return nil
}

// compare walks the folder, takes what it finds out of known, and returns all that
// is or should be there.
func (a *Archive) compare(known map[string]File) (files []File, changed bool, err error) {
	for _, f := range known {
		files = append(files, f)
	}
	err = filepath.WalkDir(a.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasSuffix(path, partSuffix) {
			return os.Remove(path) // the server ended while it wrote this
		}
		name, err := filepath.Rel(a.o.Dir, path)
		if err != nil {
			return err
		}
		f, ok := parseName(filepath.ToSlash(name))
		if !ok {
			return nil
		}
		if _, listed := known[f.Name()]; listed {
			delete(known, f.Name())
			return nil
		}
		changed = true
		found, err := adopt(path, f)
		if errors.Is(err, ErrDamaged) {
			a.metrics.damaged.Inc()
			a.log.Error("a file of the archive is in no manifest and damaged: set aside", "file", name, "error", err)
			return os.Rename(path, path+".damaged")
		}
		files = append(files, found)
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("look through the archive: %w", err)
	}
	return files, changed, nil
}

func readManifest(path string) (files []File, err error) {
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	for line := range bytes.Lines(body) {
		var f File
		if err := json.Unmarshal(line, &f); err != nil {
			return nil, fmt.Errorf("read the manifest: %w: %w", ErrDamaged, err)
		}
		if _, ok := parseName(f.Name()); !ok {
			return nil, fmt.Errorf("read the manifest: %w: %q is no file's name", ErrDamaged, f.Name())
		}
		files = append(files, f)
	}
	return files, nil
}

// keepManifest makes a list of files the archive's: durably, then for all to see.
func (a *Archive) keepManifest(files []File) error {
	slices.SortFunc(files, compareFiles)
	var body []byte
	for i := range files {
		line, err := json.Marshal(&files[i])
		if err != nil {
			return fmt.Errorf("write the manifest: %w", err)
		}
		body = append(append(body, line...), '\n')
	}
	if err := replace(filepath.Join(a.o.Dir, manifestName), body); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	a.setFiles(files)
	return nil
}

func compareFiles(a, b File) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Day, b.Day), cmp.Compare(a.Revision, b.Revision))
}

func (a *Archive) setFiles(files []File) {
	slices.SortFunc(files, compareFiles)
	byDay := map[day][]File{}
	for _, f := range files {
		byDay[day{f.Kind, f.Day}] = append(byDay[day{f.Kind, f.Day}], f)
	}
	a.mu.Lock()
	a.files = byDay
	a.mu.Unlock()
}

// newest returns the file that is a day.
func (a *Archive) newest(d day) (File, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	all := a.files[d]
	if len(all) == 0 {
		return File{}, false
	}
	return all[len(all)-1], true
}

func (a *Archive) newestFiles() (out []File) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, all := range a.files {
		out = append(out, all[len(all)-1])
	}
	slices.SortFunc(out, compareFiles)
	return out
}

func (a *Archive) allFiles() (out []File) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	for _, all := range a.files {
		out = append(out, all...)
	}
	slices.SortFunc(out, compareFiles)
	return out
}

// add lists a file, in place of one of its name.
func (a *Archive) add(f File) error {
	all := slices.DeleteFunc(a.allFiles(), func(x File) bool { return x.Name() == f.Name() })
	return a.keepManifest(append(all, f))
}

// eraseDay takes a node out of a day: a new revision without it is listed, then
// all others go. The gate is held.
func (a *Archive) eraseDay(revisions []File, n telemetry.Node) error {
	newest := revisions[len(revisions)-1]
	r, err := os.Open(a.path(&newest))
	if err != nil {
		return err
	}
	defer r.Close()
	held := false
	for i := range revisions {
		has, err := a.holds(&revisions[i], n)
		if err != nil {
			return err
		}
		held = held || has
	}
	if !held {
		return nil
	}
	members, err := nodesOf(r, &newest)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(members, func(m member) bool { return m.node() == n })
	all := slices.DeleteFunc(a.allFiles(), func(x File) bool { return x.Kind == newest.Kind && x.Day == newest.Day })
	if len(others) > 0 {
		// What it may have left in the database is gone: a pass looks again.
		next := File{Kind: newest.Kind, Day: newest.Day, Revision: newest.Revision + 1, Made: a.made()}
		err := a.writeFile(&next, func(w *writer) error {
			for i := range others {
				points, err := others[i].read(r)
				if err == nil {
					err = w.node(others[i].node(), points)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		all = append(all, next)
	}
	if err := a.keepManifest(all); err != nil {
		return err
	}
	for i := range revisions {
		if err := os.Remove(a.path(&revisions[i])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// holds reports whether a file has points of a node.
func (a *Archive) holds(f *File, n telemetry.Node) (bool, error) {
	r, err := os.Open(a.path(f))
	if err != nil {
		return false, err
	}
	defer r.Close()
	members, err := nodesOf(r, f)
	return slices.ContainsFunc(members, func(m member) bool { return m.node() == n }), err
}

func (a *Archive) made() time.Time { return a.o.Now().UTC().Truncate(time.Second) }

// writeFile writes a file, reads it back, and gives it its name. It is not listed
// yet.
func (a *Archive) writeFile(f *File, fill func(*writer) error) error {
	w, err := newWriter(a.path(f) + partSuffix)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(w), a.step("written")); err != nil {
		w.drop()
		return err
	}
	err = errors.Join(w.finish(f), a.step("synced"))
	if err == nil {
		err = check(w.file.Name(), f)
	}
	if err == nil {
		err = errors.Join(a.step("checked"), os.Rename(w.file.Name(), a.path(f)))
	}
	if err != nil {
		w.drop()
		return err
	}
	return syncDir(filepath.Dir(a.path(f)))
}

// Files lists all files, by kind, day and revision.
func (a *Archive) Files() []File { return a.allFiles() }

// Verdict is what Verify found.
type Verdict struct {
	Files  int      `json:"files"`
	Points int64    `json:"points"` // of the newest revisions
	Bad    []string `json:"bad,omitempty"`
}

// Verify reads every file and compares it with the manifest.
func (a *Archive) Verify(ctx context.Context) (Verdict, error) {
	var v Verdict
	for _, f := range a.allFiles() {
		if err := ctx.Err(); err != nil {
			return v, err
		}
		v.Files++
		if newest, ok := a.newest(day{f.Kind, f.Day}); ok && newest.Revision == f.Revision {
			v.Points += f.Points
		}
		if err := check(a.path(&f), &f); err != nil {
			v.Bad = append(v.Bad, f.Name()+": "+err.Error())
		}
	}
	return v, nil
}
