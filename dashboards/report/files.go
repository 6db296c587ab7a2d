package report

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files keeps what was handed out: content by its SHA-256, and names that point
// to it. A name never changes what it points to; content that several names share
// lies there once.
type Files struct {
	dir   string
	now   func() time.Time
	mu    sync.RWMutex
	names map[string]File
}

// File is one kept file.
type File struct {
	Name   string    `json:"name"` // with slashes: udara/2026-11-23-r0.csv.gz
	SHA256 string    `json:"sha256"`
	Size   int64     `json:"size"` // bytes
	Made   time.Time `json:"made"`
	// Content tells of what the file was made, where its bytes do not: the hash of
	// an uncompressed table, for example.
	Content string   `json:"content,omitempty"`
	Sites   []string `json:"sites,omitempty"` // codes of those in it
}

// OpenFiles opens the folder, and makes it if it is missing.
func OpenFiles(dir string, now func() time.Time) (*Files, error) {
	f := &Files{dir: dir, now: now, names: map[string]File{}}
	for _, sub := range []string{f.nameDir(), f.contents()} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, fmt.Errorf("open the kept files: %w", err)
		}
	}
	err := filepath.WalkDir(f.nameDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") {
			return os.Remove(path) // the server ended while it wrote this
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var one File
		if err := json.Unmarshal(body, &one); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f.names[one.Name] = one
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open the kept files: %w", err)
	}
	return f, nil
}

func (f *Files) nameDir() string  { return filepath.Join(f.dir, "names") }
func (f *Files) contents() string { return filepath.Join(f.dir, "sha256") }

func (f *Files) contentPath(hash string) string {
	return filepath.Join(f.contents(), hash[:2], hash)
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9._-]*)+$`)

// Keep writes a file under a name of its own: it wraps fs.ErrExist if the name is
// taken. write gives the bytes; content and sites go into the File. What Keep
// returned is on the disk.
func (f *Files) Keep(name, content string, sites []string, write func(io.Writer) error) (File, error) {
	if !namePattern.MatchString(name) || strings.Contains(name, "..") {
		return File{}, fmt.Errorf("keep %q: no name for a file", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.names[name]; ok {
		return File{}, fmt.Errorf("keep %s: %w", name, fs.ErrExist)
	}
	sum := sha256.New()
	temporary, size, err := f.put(f.contents(), func(w io.Writer) error { return write(io.MultiWriter(w, sum)) })
	if err != nil {
		return File{}, fmt.Errorf("keep %s: %w", name, err)
	}
	one := File{Name: name, SHA256: hex.EncodeToString(sum.Sum(nil)), Size: size, Made: f.now().UTC(), Content: content, Sites: sites}
	if err := move(temporary, f.contentPath(one.SHA256)); err != nil {
		return File{}, fmt.Errorf("keep %s: %w", name, err)
	}
	body, err := json.Marshal(one)
	if err != nil {
		return File{}, fmt.Errorf("keep %s: %w", name, err)
	}
	temporary, _, err = f.put(f.nameDir(), func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	})
	if err == nil {
		err = move(temporary, filepath.Join(f.nameDir(), filepath.FromSlash(name)+".json"))
	}
	if err != nil {
		return File{}, fmt.Errorf("keep %s: %w", name, err)
	}
	f.names[name] = one
	return one, nil
}

// put writes a synced file with a name for the time being.
func (f *Files) put(dir string, write func(io.Writer) error) (path string, size int64, err error) {
	out, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return "", 0, err
	}
	if err = write(out); err == nil {
		err = out.Sync()
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = out.Stat(); err == nil {
			size = info.Size()
		}
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return "", 0, errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), size, nil
}

// move gives a synced file its name, also over a power cut.
func move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Find returns a kept file; false if there is none of the name.
func (f *Files) Find(name string) (File, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	one, ok := f.names[name]
	return one, ok
}

// Open opens a kept file's content.
func (f *Files) Open(one File) (*os.File, error) {
	content, err := os.Open(f.contentPath(one.SHA256))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", one.Name, err)
	}
	return content, nil
}

// Count grows with every kept file.
func (f *Files) Count() uint64 {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return uint64(len(f.names))
}

// List returns the files whose names begin with prefix, by name.
func (f *Files) List(prefix string) []File {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []File
	for name, one := range f.names {
		if strings.HasPrefix(name, prefix) {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// digestField writes a hash as HTTP's digest fields do (RFC 9530).
func digestField(hexadecimal string) string {
	raw, err := hex.DecodeString(hexadecimal)
	if err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(raw)
}
