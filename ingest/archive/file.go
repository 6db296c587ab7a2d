package archive

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// File is one file of the archive: a line of the manifest.
type File struct {
	Kind     telemetry.Kind `json:"kind"`
	Day      string         `json:"day"`      // WIB, 2026-08-28
	Revision int            `json:"revision"` // from 0; the highest is the day
	SHA256   string         `json:"sha256"`   // of the file
	Bytes    int64          `json:"bytes"`    // of the file
	Points   int64          `json:"points"`
	Content  string         `json:"content"` // SHA-256 of the points' lines, unpacked
	Index    int64          `json:"index"`   // where the member begins that lists the nodes
	Made     time.Time      `json:"made"`
	// Left is what of the day the database could not delete (influx.MayStay): finding
	// nothing but that, a pass has nothing to do.
	Left digest `json:"left,omitzero"`
}

// Name is the file's place below the archive's folder.
func (f *File) Name() string {
	return string(f.Kind) + "/" + f.Day + ".R" + strconv.Itoa(f.Revision) + ".lp.gz"
}

// start is the day's first instant.
func (f *File) start() time.Time {
	t, _ := time.ParseInLocation(time.DateOnly, f.Day, figures.WIB) // the name was checked
	return t.UTC()
}

func dayName(start time.Time) string { return start.In(figures.WIB).Format(time.DateOnly) }

var namePattern = regexp.MustCompile(`^([a-z]+)/(\d{4}-\d\d-\d\d)\.R(\d+)\.lp\.gz$`)

// parseName is the inverse of File.Name.
func parseName(name string) (f File, ok bool) {
	m := namePattern.FindStringSubmatch(name)
	if m == nil || !slices.Contains(telemetry.Kinds(), telemetry.Kind(m[1])) {
		return f, false
	}
	if _, err := time.Parse(time.DateOnly, m[2]); err != nil {
		return f, false
	}
	revision, err := strconv.Atoi(m[3])
	f = File{Kind: telemetry.Kind(m[1]), Day: m[2], Revision: revision}
	return f, err == nil && f.Name() == name
}

// digest counts points and sums up what they are, in whatever order they come.
type digest struct {
	Points int64  `json:"points"`
	Sum    uint64 `json:"sum"`
}

func (d *digest) add(line []byte) {
	sum := sha256.Sum256(line)
	d.Points++
	d.Sum += binary.BigEndian.Uint64(sum[:])
}

// member is a line of the index: where a node's points lie.
type member struct {
	Group   string `json:"group"`
	Gateway string `json:"gateway"`
	At      int64  `json:"at"`
	Bytes   int64  `json:"bytes"`
	Points  int64  `json:"points"`
}

func (m *member) node() telemetry.Node { return telemetry.Node{Group: m.Group, ID: m.Gateway} }

func compareNodes(a, b telemetry.Node) int {
	return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.ID, b.ID))
}

// indexHead begins each line of the index: a comment of line protocol.
const indexHead = "# "

// writer writes a file, node after node.
type writer struct {
	file    *os.File
	out     *bufio.Writer
	sum     hash.Hash // of the file
	content hash.Hash // of the lines
	at      int64
	index   []member
	points  int64
	line    []byte
}

func newWriter(path string) (*writer, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &writer{file: f, out: bufio.NewWriterSize(f, 256<<10), sum: sha256.New(), content: sha256.New()}, nil
}

// Write takes bytes of the file.
func (w *writer) Write(b []byte) (int, error) {
	n, err := w.out.Write(b)
	w.sum.Write(b[:n])
	w.at += int64(n)
	return n, err
}

// member writes one gzip member.
func (w *writer) member(fill func(io.Writer) error) error {
	z := gzip.NewWriter(w)
	return errors.Join(fill(z), z.Close())
}

// node writes a node's points, which are in order.
func (w *writer) node(n telemetry.Node, points []influx.Exact) error {
	from := w.at
	err := w.member(func(z io.Writer) error {
		for i := range points {
			w.line = influx.AppendExact(w.line[:0], &points[i])
			w.content.Write(w.line)
			if _, err := z.Write(w.line); err != nil {
				return err
			}
		}
		return nil
	})
	w.points += int64(len(points))
	w.index = append(w.index, member{n.Group, n.ID, from, w.at - from, int64(len(points))})
	return err
}

// finish writes the index and makes all durable. It closes the file in any case.
func (w *writer) finish(f *File) error {
	f.Index, f.Points = w.at, w.points
	err := w.member(func(z io.Writer) error {
		for _, m := range w.index {
			line, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if _, err := z.Write(append(append([]byte(indexHead), line...), '\n')); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, w.out.Flush(), w.file.Sync(), w.file.Close())
	f.Bytes, f.SHA256, f.Content = w.at, hex.EncodeToString(w.sum.Sum(nil)), hex.EncodeToString(w.content.Sum(nil))
	return err
}

// drop lets go of a file that is not to be.
func (w *writer) drop() {
	_ = w.file.Close()           // it may be closed already
	_ = os.Remove(w.file.Name()) // what cannot be removed is removed at the next start
}

// ErrDamaged is what an error wraps that says that a file is not what was written.
var ErrDamaged = errors.New("the file is damaged")

// nodesOf reads a file's index.
func nodesOf(r io.ReaderAt, f *File) ([]member, error) {
	var out []member
	z, err := gzip.NewReader(bufio.NewReader(io.NewSectionReader(r, f.Index, f.Bytes-f.Index)))
	if err != nil {
		return nil, fmt.Errorf("%w: its index: %w", ErrDamaged, err)
	}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		text, ok := bytes.CutPrefix(lines.Bytes(), []byte(indexHead))
		var m member
		if err := json.Unmarshal(text, &m); err != nil || !ok {
			return nil, fmt.Errorf("%w: its index holds %q", ErrDamaged, lines.Text())
		}
		out = append(out, m)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: its index: %w", ErrDamaged, err)
	}
	return out, nil
}

// read returns the points of one member.
func (m *member) read(r io.ReaderAt) ([]influx.Exact, error) {
	z, err := gzip.NewReader(bufio.NewReader(io.NewSectionReader(r, m.At, m.Bytes)))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, m.node(), err)
	}
	lines, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, m.node(), err)
	}
	out := make([]influx.Exact, 0, m.Points)
	for len(lines) > 0 {
		var e influx.Exact
		if e, lines, err = influx.ParseExact(lines); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, m.node(), err)
		}
		out = append(out, e)
	}
	if int64(len(out)) != m.Points {
		return nil, fmt.Errorf("%w: %s: %d points where the index says %d", ErrDamaged, m.node(), len(out), m.Points)
	}
	return out, nil
}

// check reads a file from the disk and compares all that it says of itself with
// what is known of it.
func check(path string, want *File) error {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != want.Bytes || got != want.SHA256 {
		return fmt.Errorf("%w: %d bytes with SHA-256 %s, the manifest says %d with %s", ErrDamaged, n, got, want.Bytes, want.SHA256)
	}
	content, points, err := unpack(r, want)
	if err != nil {
		return err
	}
	if points != want.Points || content != want.Content {
		return fmt.Errorf("%w: %d points with SHA-256 %s, the manifest says %d with %s", ErrDamaged, points, content, want.Points, want.Content)
	}
	return nil
}

// unpack reads all points of a file and writes them again, so that the hash tells
// whether both ways are one.
func unpack(r io.ReaderAt, f *File) (content string, points int64, err error) {
	members, err := nodesOf(r, f)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	var line []byte
	for i := range members {
		of, err := members[i].read(r)
		if err != nil {
			return "", 0, err
		}
		for j := range of {
			line = influx.AppendExact(line[:0], &of[j])
			sum.Write(line)
		}
		points += int64(len(of))
	}
	return hex.EncodeToString(sum.Sum(nil)), points, nil
}

// adopt describes a file of which the manifest does not know, if it is whole.
func adopt(path string, f File) (File, error) {
	r, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return f, err
	}
	f.Bytes, f.Made = info.Size(), info.ModTime().UTC()
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return f, err
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	if f.Index, err = lastMember(r, f.Bytes); err != nil {
		return f, err
	}
	f.Content, f.Points, err = unpack(r, &f)
	return f, err
}

// lastMember finds where the last gzip member of a whole file begins.
func lastMember(r io.ReaderAt, size int64) (at int64, err error) {
	section := &counting{r: bufio.NewReader(io.NewSectionReader(r, 0, size))}
	z, err := gzip.NewReader(section)
	for err == nil {
		z.Multistream(false)
		if _, err = io.Copy(io.Discard, z); err != nil {
			break
		}
		next := section.n
		if err = z.Reset(section); errors.Is(err, io.EOF) {
			return at, nil
		}
		at = next
	}
	return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
}

// counting counts the bytes that were taken; gzip takes no more than it needs from
// what reads single bytes.
type counting struct {
	r *bufio.Reader
	n int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func (c *counting) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// syncDir makes what a folder lists durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// replace writes a file whole, or leaves what was there.
func replace(path string, body []byte) error {
	part := path + partSuffix
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return syncDir(filepath.Dir(path))
}

// partSuffix ends the names of files that are being written.
const partSuffix = ".part"
