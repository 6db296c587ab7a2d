// Package audit keeps who did what, when and from where: every change, sign-in
// and refusal.
//
// It promises that an entry is on the disk before Add returns; that entries are
// only ever appended and each carries the hash of the one before, so that Verify
// names the first that was altered, removed or put in between; that a torn or
// damaged file never blocks a start and is told of (Problem, and an entry of its
// own); and that a full disk is told of while there is still room for some
// thousand entries.
//
// The log is one file of lines, "HASH JSON\n", where HASH is the SHA-256 of the
// JSON in hexadecimal: nothing else is needed to check it, and it can be read when
// nothing else runs. It is a file rather than a stream of the journal, because the
// journal may set a damaged store aside and begin anew, which an audit log must
// never do. Cutting off the newest entries leaves a whole chain: who fears that
// notes the head (Verdict.Head) elsewhere and asks for it later.
package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Entry is what somebody did.
type Entry struct {
	Who    string     `json:"who"`             // account; "os:NAME" = the command line of that user of the machine; "" = nobody is signed in
	From   netip.Addr `json:"from,omitzero"`   // zero = on this machine
	Action string     `json:"action"`          // noun.verb, e.g. "user.grant"; never changes its meaning
	Object string     `json:"object"`          // what it was done to, e.g. the account's name; "" = the action says it
	Detail string     `json:"detail,omitzero"` // what changed, in words or as JSON
}

// Record is an entry in the log.
type Record struct {
	Seq  uint64    `json:"seq"` // from 1, without holes
	Time time.Time `json:"time"`
	Entry
	Prev string `json:"prev"` // hash of the record before; "" in the first
	Hash string `json:"-"`    // of this record's JSON
}

// Options open a Log.
type Options struct {
	Path   string           // the file; its folder must exist
	Logger *slog.Logger     // default slog.Default()
	Now    func() time.Time // default time.Now
}

// Log is the audit log. Its methods may be called from several goroutines.
type Log struct {
	o Options

	mu      sync.Mutex
	f       *os.File // nil after a failed write: opened anew by the next
	offsets []int64  // where each record begins, and where the next one will
	head    string   // hash of the newest record
	room    int64    // bytes known to be free for appending; -1 = the file system cannot promise any
	failed  error    // why the last write failed
	noRoom  error    // why no more room could be promised
	damage  string   // what Open found
	closed  bool
	refused flood
}

// Errors that callers tell apart.
var (
	ErrClosed = errors.New("audit log is closed")
	// ErrFull says that the disk has no room for what a change would have to say.
	ErrFull = errors.New("audit log has no room left")
)

const (
	reserve = 512 << 10 // bytes promised ahead of the end
	refill  = 256 << 10 // promised again below this
	least   = 32 << 10  // changes are refused below this

	maxWho, maxAction, maxObject, maxDetail = 100, 60, 400, 8000 // bytes
)

// Open opens or begins the log.
func Open(o Options) (*Log, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{o: o}
	if err := l.open(); err != nil {
		return nil, err
	}
	o.Logger.Info("audit log is open", "entries", l.count(), "head", l.head, "file", o.Path)
	if l.damage != "" {
		o.Logger.Error("audit log is damaged", "file", o.Path, "what", l.damage)
	}
	return l, nil
}

func (l *Log) count() int { return len(l.offsets) - 1 }

// open reads the whole file, cuts a torn last line off (nobody was answered for
// it) and says so in an entry.
func (l *Log) open() error {
	_, statErr := os.Stat(l.o.Path)
	f, err := os.OpenFile(l.o.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		if err := syncDir(filepath.Dir(l.o.Path)); err != nil {
			return errors.Join(fmt.Errorf("begin the audit log: %w", err), f.Close())
		}
	}
	var c chain
	torn, err := c.read(f)
	if err == nil && torn > 0 {
		err = f.Truncate(c.offsets[len(c.offsets)-1])
	}
	if err != nil {
		return errors.Join(fmt.Errorf("read the audit log: %w", err), f.Close())
	}
	l.f, l.offsets, l.head, l.room = f, c.offsets, c.head, 0
	if c.broken != nil {
		l.damage = fmt.Sprintf("%s (%s)", c.broken, l.o.Path)
	}
	l.promise()
	if torn > 0 {
		// Not an error if it fails: what follows fails, too, and says so.
		_ = l.append(Entry{Who: "pantau", Action: "audit.torn", Detail: fmt.Sprintf("%d bytes of an entry that was never answered were cut off", torn)})
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// promise asks the file system for room ahead of the end, so that a disk that
// fills up leaves enough to say what was done about it.
func (l *Log) promise() {
	if l.room < 0 || l.room >= refill {
		return
	}
	err := unix.Fallocate(int(l.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, l.offsets[l.count()], reserve)
	switch {
	case err == nil:
		l.room, l.noRoom = reserve, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		l.room, l.noRoom = -1, nil
	default:
		l.noRoom = err
	}
}

// Add appends an entry. It returns once the entry is on the disk: call it after
// the change and before its answer, and answer the error if there is one. Text
// that is too long is cut.
func (l *Log) Add(_ context.Context, e Entry) error { // a change that was made is told, whoever still waits
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.add(e)
}

func (l *Log) add(e Entry) error {
	if err := l.reopen(); err != nil {
		return err
	}
	return l.append(e)
}

func (l *Log) reopen() error {
	if l.closed {
		return ErrClosed
	}
	if l.f != nil {
		return nil
	}
	if err := l.open(); err != nil {
		l.failed = err
		return err
	}
	if l.f == nil { // the file was read, and could not be written
		return l.failed
	}
	return nil
}

func (l *Log) append(e Entry) error {
	e.Who, e.Action, e.Object, e.Detail = cut(e.Who, maxWho), cut(e.Action, maxAction), cut(e.Object, maxObject), cut(e.Detail, maxDetail)
	r := Record{Seq: uint64(l.count() + 1), Time: l.o.Now().UTC().Truncate(time.Millisecond), Entry: e, Prev: l.head}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	hash := hashOf(body)
	line := append([]byte(hash+" "), append(body, '\n')...)
	at := l.offsets[l.count()]
	if _, err = l.f.WriteAt(line, at); err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		// What reached the disk is not known. The next write reads the file anew
		// and cuts what is torn; a whole line stays, and names what was tried.
		_ = l.f.Truncate(at) // best effort, as above
		_ = l.f.Close()      // likewise
		l.f, l.failed = nil, fmt.Errorf("write the audit log: %w", err)
		return l.failed
	}
	l.offsets, l.head, l.failed = append(l.offsets, at+int64(len(line))), hash, nil
	if l.room > 0 {
		l.room = max(0, l.room-int64(len(line)))
	}
	l.promise()
	return nil
}

func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	most -= len("…")
	for !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// Ready returns nil if the log can take an entry. Ask before a change: none is
// made that could not be told of.
func (l *Log) Ready() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready()
}

func (l *Log) ready() error {
	if err := l.reopen(); err != nil {
		return err
	}
	if why := l.failed; why != nil {
		if err := l.append(Entry{Who: "pantau", Action: "audit.resumed", Detail: why.Error()}); err != nil {
			return err
		}
	}
	l.promise()
	if l.room >= 0 && l.room < least {
		return fmt.Errorf("%w: %w", ErrFull, l.noRoom)
	}
	return nil
}

// Problem says what an operator should mend, or "".
func (l *Log) Problem() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ""
	}
	err := l.ready()
	switch {
	case err != nil:
		return "audit log cannot be written, changes are refused: " + err.Error()
	case l.noRoom != nil:
		return fmt.Sprintf("audit log: the disk is full; changes will be refused after %d KiB more: %v", (l.room-least)>>10, l.noRoom)
	case l.damage != "":
		return "audit log is damaged: " + l.damage
	}
	return ""
}

// Close closes the file.
func (l *Log) Close(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	err := l.tellFlood()
	l.closed = true
	if l.f != nil {
		if closeErr := l.f.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close the audit log: %w", closeErr))
		}
	}
	return err
}

// Refusals can be caused by anybody, as often as they like: beyond perMinute they
// are counted, and the count follows as one entry.
const perMinute = 60

type flood struct {
	since time.Time
	n     int // in this minute
	more  int // not told of
}

// Refuse appends an entry about something that was refused, unless more than
// sixty came in this minute: then it is counted, and told of later as a number.
func (l *Log) Refuse(_ context.Context, e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.o.Now()
	if d := now.Sub(l.refused.since); d < 0 || d >= time.Minute {
		if err := l.tellFlood(); err != nil {
			return err
		}
		l.refused.since, l.refused.n = now, 0
	}
	if l.refused.n++; l.refused.n > perMinute {
		l.refused.more++
		return nil
	}
	return l.add(e)
}

func (l *Log) tellFlood() error {
	if l.refused.more == 0 {
		return nil
	}
	err := l.add(Entry{Who: "pantau", Action: "refusals.more", Detail: fmt.Sprintf("%d more refusals since %s", l.refused.more, l.refused.since.UTC().Format(time.RFC3339))})
	if err == nil {
		l.refused.more = 0
	}
	return err
}

// Query asks for records. Empty fields ask for nothing.
type Query struct {
	Who      string    // part of it
	Action   string    // the beginning of it: "user" finds "user.grant"
	Object   string    // part of it
	From, To time.Time // From <= time < To
	Before   uint64    // only records with a lower number: the next page
	Limit    int       // at most so many; default 50
}

func (q Query) fits(r *Record) bool {
	part := func(s, part string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(part)) }
	return part(r.Who, q.Who) && strings.HasPrefix(r.Action, q.Action) && part(r.Object, q.Object) &&
		(q.From.IsZero() || !r.Time.Before(q.From)) && (q.To.IsZero() || r.Time.Before(q.To))
}

// Search returns the records that fit, newest first, and the Before of the next
// page: 0 = there is none.
func (l *Log) Search(ctx context.Context, q Query) (found []Record, next uint64, err error) {
	if q.Limit <= 0 {
		q.Limit = 50
	}
	l.mu.Lock()
	offsets := l.offsets // appended to, never changed
	l.mu.Unlock()
	f, err := os.Open(l.o.Path)
	if err != nil {
		return nil, 0, fmt.Errorf("read the audit log: %w", err)
	}
	defer f.Close()
	end := len(offsets) - 1
	if q.Before > 0 {
		end = min(end, int(min(q.Before-1, uint64(end))))
	}
	const block = 256 // records read at a time
	for ; end > 0; end -= min(block, end) {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		begin := max(0, end-block)
		text := make([]byte, offsets[end]-offsets[begin])
		if _, err := f.ReadAt(text, offsets[begin]); err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, fmt.Errorf("read the audit log: %w", err)
		}
		for i := end - 1; i >= begin; i-- {
			line := text[offsets[i]-offsets[begin] : offsets[i+1]-offsets[begin]]
			r, err := parse(bytes.TrimSuffix(line, []byte("\n")))
			if err != nil {
				r = Record{Entry: Entry{Action: "audit.unreadable", Detail: cut(string(line), 200)}} // Verify says more
			}
			r.Seq = uint64(i + 1) // its place, whatever it says
			if !q.fits(&r) {
				continue
			}
			if len(found) == q.Limit {
				return found, found[len(found)-1].Seq, nil
			}
			found = append(found, r)
		}
	}
	return found, 0, nil
}

func parse(line []byte) (Record, error) {
	hash, body, ok := bytes.Cut(line, []byte(" "))
	var r Record
	if !ok {
		return r, errors.New("the line has no hash")
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("the line is no record: %w", err)
	}
	r.Hash = string(hash)
	return r, nil
}
