package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// Wall is a link to one staff view for a screen on a wall: whoever has the link
// sees the view and can do nothing.
type Wall struct {
	ID      string    `json:"id"`    // names it on pages and in the audit log; opens nothing
	Label   string    `json:"label"` // where the screen hangs
	View    string    `json:"view"`
	Lang    string    `json:"lang"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Walls reads and writes the links. The store knows the hash of a link's token
// only.
type Walls struct {
	kv  KV
	now func() time.Time
}

// NewWalls keeps links in kv below "wall/".
func NewWalls(kv KV) *Walls { return &Walls{kv: kv, now: time.Now} }

// Longest is for how long a link may be good.
const Longest = 366 * 24 * time.Hour

func wallKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "wall/" + hex.EncodeToString(sum[:])
}

// Add makes a link that is good for a while and returns its token, which is told
// once.
func (w *Walls) Add(ctx context.Context, wall Wall, while time.Duration) (Wall, string, error) {
	if while <= 0 || while > Longest {
		return Wall{}, "", fmt.Errorf("a link for %v: want more than none and at most %v", while, Longest)
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(raw)
	wall.ID, wall.Created = random(10), w.now().UTC()
	wall.Expires = wall.Created.Add(while)
	body, err := json.Marshal(wall)
	if err == nil {
		_, err = w.kv.Create(ctx, wallKey(token), body)
	}
	if err != nil {
		return Wall{}, "", fmt.Errorf("keep a link for a wall screen: %w", err)
	}
	return wall, token, nil
}

// Find returns the link of a token. It wraps fs.ErrNotExist if there is none, or
// if it has expired.
func (w *Walls) Find(ctx context.Context, token string) (Wall, error) {
	body, _, err := w.kv.Get(ctx, wallKey(token))
	if err != nil {
		return Wall{}, fmt.Errorf("find a wall screen: %w", err)
	}
	var wall Wall
	if err := json.Unmarshal(body, &wall); err != nil {
		return Wall{}, fmt.Errorf("read a wall screen: %w", err)
	}
	if !w.now().Before(wall.Expires) {
		return Wall{}, fmt.Errorf("wall screen %s has expired: %w", wall.ID, fs.ErrNotExist)
	}
	return wall, nil
}

// List returns all links, the newest first, expired ones included.
func (w *Walls) List(ctx context.Context) ([]Wall, error) {
	all, err := w.kv.List(ctx, "wall/")
	if err != nil {
		return nil, fmt.Errorf("list wall screens: %w", err)
	}
	var out []Wall
	for k, body := range all {
		var wall Wall
		if err := json.Unmarshal(body, &wall); err != nil {
			return nil, fmt.Errorf("read wall screen %s: %w", k, err)
		}
		out = append(out, wall)
	}
	slices.SortFunc(out, func(a, b Wall) int { return b.Created.Compare(a.Created) })
	return out, nil
}

// Revoke ends the link with that ID, at once. It wraps fs.ErrNotExist.
func (w *Walls) Revoke(ctx context.Context, id string) (Wall, error) {
	all, err := w.kv.List(ctx, "wall/")
	if err != nil {
		return Wall{}, fmt.Errorf("revoke wall screen %s: %w", id, err)
	}
	for k, body := range all {
		var wall Wall
		if json.Unmarshal(body, &wall) == nil && wall.ID == id {
			if err := w.kv.Delete(ctx, k); err != nil {
				return Wall{}, fmt.Errorf("revoke wall screen %s: %w", id, err)
			}
			return wall, nil
		}
	}
	return Wall{}, fmt.Errorf("wall screen %s: %w", id, fs.ErrNotExist)
}
