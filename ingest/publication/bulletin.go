package publication

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// bulletins are files that are written once: id.R0.json, id.R1.json, … A draft is
// replaced by what is published.
type bulletins struct {
	dir      string
	changing sync.Mutex // one change at a time
	mu       sync.RWMutex
	newest   map[string]int // newest revision by id
	cache    map[string]figures.Bulletin
	numbered map[string]map[string]bool // published ids, by year; a year that was asked for
}

// bulletinID names a bulletin by its hour (WIB).
func bulletinID(at time.Time) string { return at.In(figures.WIB).Format("2006-01-02-1504") }

func parseBulletinID(id string) (time.Time, error) {
	at, err := time.ParseInLocation("2006-01-02-1504", id, figures.WIB)
	if err != nil || bulletinID(at) != id {
		return time.Time{}, fmt.Errorf("bulletin %q: want for example 2026-11-23-0900: %w", id, fs.ErrNotExist)
	}
	return at.UTC(), nil
}

func (s *bulletins) open(dir string) error {
	s.dir, s.newest, s.cache, s.numbered = dir, map[string]int{}, map[string]figures.Bulletin{}, map[string]map[string]bool{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the bulletins: %w", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the bulletins: %w", err)
	}
	for _, f := range files {
		id, revision, ok := strings.Cut(strings.TrimSuffix(f.Name(), ".json"), ".R")
		n, err := strconv.Atoi(revision)
		if !ok || err != nil || !strings.HasSuffix(f.Name(), ".json") {
			continue // half written by a process that was killed
		}
		if have, ok := s.newest[id]; !ok || n > have {
			s.newest[id] = n
		}
	}
	return nil
}

func (s *bulletins) path(id string, revision int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%s.R%d.json", id, revision))
}

// cached bounds the bulletins that are kept in memory.
const cached = 64

func (s *bulletins) read(id string, revision int) (bl figures.Bulletin, err error) {
	s.mu.RLock()
	newest, ok := s.newest[id]
	if revision < 0 {
		revision = newest
	}
	path := s.path(id, revision)
	bl, have := s.cache[path]
	s.mu.RUnlock()
	if !ok || revision > newest {
		return bl, fmt.Errorf("bulletin %q R%d: %w", id, revision, fs.ErrNotExist)
	}
	if have {
		return bl, nil
	}
	body, err := os.ReadFile(path)
	if err != nil {
		return bl, fmt.Errorf("read bulletin %s: %w", id, err)
	}
	if err := json.Unmarshal(body, &bl); err != nil {
		return bl, fmt.Errorf("read bulletin %s: %w", id, err)
	}
	sum, err := sumOf(bl)
	if err != nil {
		return bl, err
	}
	if sum != bl.Hash {
		return bl, fmt.Errorf("read bulletin %s R%d: its hash does not fit: the file was changed: %w", id, revision, ErrDamaged)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(path, bl)
	return bl, nil
}

func (s *bulletins) remember(path string, bl figures.Bulletin) {
	if len(s.cache) >= cached {
		clear(s.cache)
	}
	s.cache[path] = bl
}

// sumOf hashes a bulletin's JSON without its hash.
func sumOf(bl figures.Bulletin) (string, error) {
	bl.Hash = ""
	body, err := json.Marshal(bl)
	if err != nil {
		return "", fmt.Errorf("write bulletin %s: %w", bl.ID, err)
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:]), nil
}

// keep writes a bulletin's file whole or not at all.
func (s *bulletins) keep(bl figures.Bulletin) error {
	var err error
	if bl.Hash, err = sumOf(bl); err != nil {
		return err
	}
	body, err := json.Marshal(bl)
	if err != nil {
		return fmt.Errorf("write bulletin %s: %w", bl.ID, err)
	}
	path := s.path(bl.ID, bl.Revision)
	if err := writeFile(path, body); err != nil {
		return fmt.Errorf("write bulletin %s: %w", bl.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest[bl.ID] = bl.Revision
	s.remember(path, bl)
	if year := s.numbered[bl.ID[:4]]; year != nil && bl.State == figures.Published {
		year[bl.ID] = true
	}
	return nil
}

func writeFile(path string, body []byte) (err error) {
	tmp := path + ".part"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (s *bulletins) has(id string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.newest[id]
	return ok
}

func (s *bulletins) ids() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]string, 0, len(s.newest))
	for id := range s.newest {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Bulletins returns the newest revisions of the bulletins with from < At ≤ to,
// oldest first. One whose file was changed is left out, and said in the log.
func (b *Book) Bulletins(ctx context.Context, from, to time.Time) ([]figures.Bulletin, error) {
	var out []figures.Bulletin
	for _, id := range b.bulletins.ids() {
		at, err := parseBulletinID(id)
		if err != nil || !at.After(from) || at.After(to) {
			continue
		}
		bl, err := b.Bulletin(ctx, id, -1)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			b.log.Error("a bulletin cannot be shown", "error", err)
		default:
			out = append(out, bl)
		}
	}
	return out, nil
}

// Bulletin returns one revision of a bulletin, -1: the newest. It wraps
// fs.ErrNotExist.
func (b *Book) Bulletin(ctx context.Context, id string, revision int) (figures.Bulletin, error) {
	if err := ctx.Err(); err != nil {
		return figures.Bulletin{}, err
	}
	if _, err := parseBulletinID(id); err != nil {
		return figures.Bulletin{}, err
	}
	return b.bulletins.read(id, revision)
}

// emptyWaits is how long a bulletin waits for the first station that can be
// judged: readings may be on their way still, to a new book above all.
const emptyWaits = time.Hour

// draft makes the bulletin of an hour unless there is one, and publishes it if the
// rules say so. One that judges no station is no news: it waits (false), and then
// becomes a draft in any case, so that a person decides. Without a station to name
// there is none.
func (b *Book) draft(ctx context.Context, at time.Time) (done bool, err error) {
	b.bulletins.changing.Lock()
	defer b.bulletins.changing.Unlock()
	id := bulletinID(at)
	if b.bulletins.has(id) {
		return true, nil
	}
	bl := figures.Bulletin{ID: id, At: at, State: figures.Draft, Made: b.now()}
	if bl.Agency, err = b.Agency(ctx); err != nil {
		return false, err
	}
	if bl.Figures, err = b.bulletinFigures(ctx, at); err != nil {
		return false, err
	}
	judges := slices.ContainsFunc(bl.Figures, func(f figures.Figure) bool { return f.OK })
	switch {
	case !judges && bl.Made.Sub(at) < emptyWaits:
		return false, nil
	case len(bl.Figures) == 0:
		return true, nil
	}
	for _, f := range bl.Figures {
		bl.Simulated = bl.Simulated || f.Simulated
	}
	if judges && b.people.at(at).Rules.AutoPublish {
		b.publish(&bl, "", "")
	}
	if err := b.bulletins.keep(bl); err != nil {
		return false, err
	}
	b.changes.Add(1)
	return true, nil
}

// bulletinFigures are those of public sites whose class yields an index.
func (b *Book) bulletinFigures(ctx context.Context, at time.Time) ([]figures.Figure, error) {
	all, err := b.Everywhere(ctx, figures.Hourly, at)
	if err != nil {
		return nil, err
	}
	out := []figures.Figure{}
	for code, f := range all {
		if site, ok := b.o.Places.Site(code); ok && site.Public && !f.Estimate {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, func(x, y figures.Figure) int { return strings.Compare(x.Site, y.Site) })
	return out, nil
}

// publish fills in what a published bulletin carries. The changing lock is held.
func (b *Book) publish(bl *figures.Bulletin, by, number string) {
	bl.State, bl.Published, bl.By = figures.Published, b.now(), by
	if number == "" {
		number = bl.Agency.Number
		year := bl.At.In(figures.WIB).Format("2006")
		if strings.Contains(number, "{n}") {
			number = strings.ReplaceAll(number, "{n}", strconv.Itoa(b.bulletins.count(year)+1))
		}
		number = strings.ReplaceAll(number, "{year}", year)
	}
	bl.Number = number
}

// count counts a year's published bulletins, and reads them once.
func (s *bulletins) count(year string) int {
	s.mu.RLock()
	have := s.numbered[year]
	s.mu.RUnlock()
	if have == nil {
		have = map[string]bool{}
		for _, id := range s.ids() {
			if !strings.HasPrefix(id, year) {
				continue
			}
			if bl, err := s.read(id, 0); err != nil || bl.State == figures.Published { // an unreadable one had a number, too
				have[id] = true
			}
		}
		s.mu.Lock()
		s.numbered[year] = have
		s.mu.Unlock()
	}
	return len(have)
}

// Approve publishes a draft. An empty number follows the letterhead's pattern.
func (b *Book) Approve(ctx context.Context, id, by, number string) error {
	b.bulletins.changing.Lock()
	defer b.bulletins.changing.Unlock()
	bl, err := b.Bulletin(ctx, id, -1)
	switch {
	case err != nil:
		return err
	case by == "":
		return errors.New("approve: say who does")
	case bl.State != figures.Draft:
		return fmt.Errorf("bulletin %s is published already", id)
	}
	b.publish(&bl, by, number)
	if err := b.bulletins.keep(bl); err != nil {
		return err
	}
	b.changes.Add(1)
	return nil
}

// Differences lists what the figures of now say otherwise than a bulletin's newest
// revision: what Revise would correct.
func (b *Book) Differences(ctx context.Context, id string) ([]figures.Change, error) {
	bl, err := b.Bulletin(ctx, id, -1)
	if err != nil {
		return nil, err
	}
	changes, _, err := b.differences(ctx, bl)
	return changes, err
}

func (b *Book) differences(ctx context.Context, bl figures.Bulletin) (changes []figures.Change, now []figures.Figure, err error) {
	all, err := b.Everywhere(ctx, figures.Hourly, bl.At)
	if err != nil {
		return nil, nil, err
	}
	now = slices.Clone(bl.Figures)
	for i, before := range bl.Figures {
		after, ok := all[before.Site]
		if !ok || sameFigure(&before, &after) {
			continue
		}
		now[i] = after
		changes = append(changes, figures.Change{Site: before.Site, Before: before, After: after, Reason: after.Reason})
	}
	return changes, now, nil
}

// Revise publishes a new revision of a published bulletin with the figures of now.
// The reason is printed; without a difference there is nothing to revise.
func (b *Book) Revise(ctx context.Context, id, by, reason string) error {
	b.bulletins.changing.Lock()
	defer b.bulletins.changing.Unlock()
	bl, err := b.Bulletin(ctx, id, -1)
	switch {
	case err != nil:
		return err
	case by == "" || strings.TrimSpace(reason) == "":
		return errors.New("revise: say who does and why")
	case bl.State != figures.Published:
		return fmt.Errorf("bulletin %s is a draft: approve it", id)
	}
	changes, now, err := b.differences(ctx, bl)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		return fmt.Errorf("bulletin %s: no figure in it has changed", id)
	}
	bl.Revision++
	bl.Figures, bl.Changes, bl.Reason, bl.By = now, changes, reason, by
	bl.Made, bl.Published = b.now(), b.now()
	if err := b.bulletins.keep(bl); err != nil {
		return err
	}
	b.changes.Add(1)
	return nil
}
