package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/pantau-id/pantau/internal/figures"
)

// Walk are the parameters of every list. It, Shape and Span are exported because
// the library sees no others.
type Walk struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"5000" default:"500"`
	Cursor string `query:"cursor" maxLength:"1000"`
	Shape

	url url.URL
}

// Shape is how an answer is written; the door reads it.
type Shape struct {
	Format string `query:"format" enum:"json,csv"`
}

// Resolve remembers the address, which next is made of.
func (w *Walk) Resolve(ctx huma.Context) []error {
	w.url = ctx.URL()
	return nil
}

var _ huma.Resolver = (*Walk)(nil)

// place is where a page begins: after the row with this time and key.
type place struct {
	Time  int64  `json:"t,omitempty"` // Unix milliseconds
	Key   string `json:"k,omitempty"`
	Query string `json:"q"` // digest of the other parameters
}

// digest tells a cursor's list from all others.
func (w *Walk) digest() string {
	q := url.Values{"": {w.url.Path}}
	for name, values := range w.url.Query() {
		if name != "cursor" && name != "limit" && name != "format" && name != "to" && name != "from" {
			q[name] = values
		}
	}
	sum := sha256.Sum256([]byte(q.Encode()))
	return hex.EncodeToString(sum[:6])
}

// begin reads the cursor; the zero place without one.
func (w *Walk) begin() (place, error) {
	if w.Cursor == "" {
		return place{}, nil
	}
	var p place
	raw, err := base64.RawURLEncoding.DecodeString(w.Cursor)
	if err == nil {
		err = json.Unmarshal(raw, &p)
	}
	if err != nil || p.Query != w.digest() {
		return place{}, badRequest("cursor: it is not of this list. Take next from the page before as it is.")
	}
	return p, nil
}

// next is the address of the page that begins after p. The span is written into
// it, so that a walk ends also while new rows arrive.
func (w *Walk) next(p place, from, to time.Time) string {
	p.Query = w.digest()
	raw, err := json.Marshal(p)
	if err != nil {
		return "" // a struct of two texts and a number
	}
	q := w.url.Query()
	q.Set("cursor", base64.RawURLEncoding.EncodeToString(raw))
	if !from.IsZero() {
		q.Set("from", stamp(from))
	}
	if !to.IsZero() {
		q.Set("to", stamp(to))
	}
	return w.url.Path + "?" + q.Encode()
}

// link names the next page also as a header (RFC 8288).
func link(next string) string {
	if next == "" {
		return ""
	}
	return "<" + next + `>; rel="next"`
}

// pageOf cuts one page out of a list that is known whole. keys order it.
func pageOf[T record](w *Walk, all []T, key func(T) string) (*answer[List[T]], error) {
	p, err := w.begin()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	first, _ := slices.BinarySearchFunc(all, p.Key, func(row T, k string) int {
		if key(row) > k {
			return 1
		}
		return -1
	})
	if p.Key == "" {
		first = 0
	}
	last := min(first+w.Limit, len(all))
	out := &answer[List[T]]{Body: List[T]{Data: append([]T{}, all[first:last]...)}}
	if last < len(all) {
		out.Body.Next = w.next(place{Key: key(all[last-1])}, time.Time{}, time.Time{})
	}
	out.Link = link(out.Body.Next)
	return out, nil
}

// Span are the parameters of lists over time.
type Span struct {
	From string `query:"from" maxLength:"40" example:"2026-11-23T00:00:00+07:00"`
	To   string `query:"to" maxLength:"40" example:"2026-11-24"`
}

// read returns the span. Without from it is so long, and it may be at most most.
func (s Span) read(now time.Time, standard, most time.Duration) (from, to time.Time, err error) {
	to = now
	if s.To != "" {
		if to, err = moment("to", s.To); err != nil {
			return from, to, err
		}
	}
	from = to.Add(-standard)
	if s.From != "" {
		if from, err = moment("from", s.From); err != nil {
			return from, to, err
		}
	}
	switch {
	case !from.Before(to):
		return from, to, badRequest(fmt.Sprintf("from (%s) must be before to (%s).", stamp(from), stamp(to)))
	case to.Sub(from) > most:
		return from, to, badRequest(fmt.Sprintf("The span from %s to %s is longer than the %s that one request may ask for here. Ask for parts of it, or take the daily files at /data.", stamp(from), stamp(to), days(most)))
	}
	return from, to, nil
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 && d > 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return fmt.Sprintf("%d hours", d/time.Hour)
}

// moment reads a time. An unescaped plus arrives as a space.
func moment(name, s string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, strings.Replace(s, " ", "+", 1)); err == nil {
		if t.Year() < 1970 || t.Year() > 2200 {
			return t, badRequest(name + ": want a year from 1970 to 2200.")
		}
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, figures.WIB); err == nil {
		return t, nil
	}
	return time.Time{}, badRequest(fmt.Sprintf("%s: %q is no time. Want RFC 3339, for example 2026-11-23T14:00:00+07:00 (+ is written %%2B in an address), or a day, 2026-11-23.", name, s))
}

func stamp(t time.Time) string { return t.In(figures.WIB).Format(time.RFC3339Nano) }
