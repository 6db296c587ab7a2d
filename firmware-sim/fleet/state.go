package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// maxPast bounds how far back posts are played; the state file remembers as much.
const maxPast = 366 * 24 * time.Hour

// stateFile is what is known to be acknowledged: by post and day the number of
// records from the day's first on. It may be behind or lost: what is sent again is
// the same records.
type stateFile struct {
	Seed  uint64        `json:"seed"`
	Begun time.Time     `json:"begun"` // the first start
	Past  time.Duration `json:"past_ns"`
	// For who looks on: records taken so far, and those acknowledged.
	Due     uint64                    `json:"due"`
	Arrived uint64                    `json:"arrived"`
	Posts   map[string]map[string]int `json:"posts"`

	path    string
	changed bool
}

// openState reads the file, or begins one.
func openState(path string, seed uint64, past time.Duration, now time.Time) (*stateFile, error) {
	s := &stateFile{Seed: seed, Begun: now.UTC().Truncate(time.Second), Past: past, Posts: map[string]map[string]int{}, path: path, changed: true}
	if path == "" {
		return s, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was played already: %w", err)
	}
	have := &stateFile{path: path}
	if err := json.Unmarshal(text, have); err != nil {
		return nil, fmt.Errorf("read what was played already from %s: %w (remove it, and everything is sent again)", path, err)
	}
	if have.Seed != seed {
		return nil, fmt.Errorf("%s was played with --seed %d: other values under the same numbers would be a lie", path, have.Seed)
	}
	if have.Posts == nil {
		have.Posts = map[string]map[string]int{}
	}
	return have, nil
}

// first is the first day that is played. What the posts missed for longer than
// Past stays a hole.
func (s *stateFile) first(now time.Time) dayKey {
	return max(dayOf(s.Begun.Add(-s.Past)), dayOf(now.Add(-s.Past)))
}

func (s *stateFile) arrived(n telemetry.Node, k dayKey) int { return s.Posts[n.String()][k.String()] }

// note takes what is acknowledged of a post's days.
func (s *stateFile) note(n telemetry.Node, days map[dayKey]int) {
	post := s.Posts[n.String()]
	if post == nil {
		post = map[string]int{}
		s.Posts[n.String()] = post
	}
	for k, first := range days {
		if name := k.String(); post[name] != first {
			post[name] = first
			s.changed = true
		}
	}
}

// write brings the state to disk, whole or not at all.
func (s *stateFile) write() error {
	if s.path == "" || !s.changed {
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("write what was played: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return fmt.Errorf("write what was played: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("write what was played: %w", errors.Join(err, os.Remove(f.Name())))
	}
	s.changed = false
	return nil
}
