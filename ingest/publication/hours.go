package publication

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// siteRecord is what is known of a site at once.
type siteRecord struct {
	First      time.Time `json:"first"` // end of its first hour
	Newest     time.Time `json:"newest"`
	Quantities []string  `json:"quantities"` // sorted
}

// judged reports whether the site measures anything that yields an index.
func (r siteRecord) judged() bool { return slices.ContainsFunc(r.Quantities, isParameter) }

func isParameter(quantity string) bool {
	_, ok := figures.ParameterOf(quantity)
	return ok
}

// PutHours enters site hours as the worker computed them and marks the figures
// that depend on them as due. Hours that say what is written already change
// nothing; hours of a validated month wait. Version is the book's to give; the
// reason is that of the revisions that may follow.
func (b *Book) PutHours(ctx context.Context, hours []figures.SiteHour, reason string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var changed int
	err := b.write("enter hours", func(tx *bbolt.Tx) (err error) {
		changed, err = b.putHours(tx, hours, reason)
		return err
	})
	b.metrics.hours.Add(float64(changed))
	return err
}

// sheets are the rows of one bucket that a transaction changes, each written
// once.
type sheets struct {
	bucket *bbolt.Bucket
	open   map[string][]byte
	order  []string
}

func (s *sheets) get(key []byte) ([]byte, error) {
	if v, ok := s.open[string(key)]; ok {
		return v, nil
	}
	return get(s.bucket, key)
}

func (s *sheets) set(key, sheet []byte) {
	if s.open == nil {
		s.open = map[string][]byte{}
	}
	if _, ok := s.open[string(key)]; !ok {
		s.order = append(s.order, string(key))
	}
	s.open[string(key)] = sheet
}

func (s *sheets) flush() error {
	for _, k := range s.order {
		if err := put(s.bucket, []byte(k), s.open[k]); err != nil {
			return err
		}
	}
	return nil
}

func (b *Book) putHours(tx *bbolt.Tx, hours []figures.SiteHour, reason string) (changed int, err error) {
	now := b.now()
	var seq uint64
	s := sheets{bucket: tx.Bucket(bucketHours)}
	due := map[string]bool{} // day site
	sites := map[string]*siteRecord{}
	for i := range hours {
		h := hourEntry{SiteHour: hours[i]}
		h.End, h.Computed = h.End.UTC(), now
		for _, v := range values(&h.SiteHour) {
			*v += 0 // no negative zero: it is not kept
		}
		day, place := placeOf(h.End)
		key := hourKey(day, h.Site, h.Quantity)
		sheet, err := s.get(key)
		if err != nil {
			return 0, err
		}
		raw, err := sheetGet(sheet, place)
		if err != nil {
			return 0, err
		}
		var old hourEntry
		switch {
		case raw != nil:
			if old, err = unpackHour(h.Site, h.Quantity, h.End, raw); err != nil {
				return 0, err
			}
			if sameHour(&old.SiteHour, &h.SiteHour) {
				continue
			}
		case isEmpty(&h.SiteHour):
			continue
		}
		if b.people.locked(h.Site, h.End) {
			if err := b.wait(tx, h.Site, h.End, reason); err != nil {
				return 0, err
			}
			continue
		}
		if raw != nil {
			pinned, err := isPinned(tx, day, h.Site, old.seq)
			if err != nil {
				return 0, err
			}
			h.Version = old.Version
			if pinned {
				h.Version++
				if err := put(tx.Bucket(bucketVersions), older(key, place, old.Version), raw); err != nil {
					return 0, err
				}
			}
		}
		if seq == 0 {
			if seq, err = nextSeq(tx); err != nil {
				return 0, err
			}
		}
		h.seq = seq
		if sheet, err = sheetPut(sheet, place, h.pack()); err != nil {
			return 0, err
		}
		s.set(key, sheet)
		changed++
		if err := noteSite(tx, sites, &h.SiteHour); err != nil {
			return 0, err
		}
		if isParameter(h.Quantity) {
			for d := day; d <= day+uint32((int(place)+23+maxLead)/24); d++ {
				due[string(daySite(d, h.Site))] = true
			}
		}
	}
	if err := s.flush(); err != nil {
		return 0, err
	}
	for _, site := range slices.Sorted(maps.Keys(sites)) {
		if err := putJSON(tx.Bucket(bucketSites), []byte(site), sites[site]); err != nil {
			return 0, err
		}
	}
	for site := range sites {
		b.stirred.note(site, now)
	}
	for _, key := range slices.Sorted(maps.Keys(due)) {
		if err := markDue(tx, []byte(key), reason, now); err != nil {
			return 0, err
		}
	}
	return changed, nil
}

// maxLead is the most that Rules.Window reaches beyond a day's 24 hours.
const maxLead = 23

func noteSite(tx *bbolt.Tx, sites map[string]*siteRecord, h *figures.SiteHour) error {
	r := sites[h.Site]
	if r == nil {
		have, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(h.Site))
		if err != nil {
			return err
		}
		r = &have
		sites[h.Site] = r
	}
	if r.First.IsZero() || h.End.Before(r.First) {
		r.First = h.End
	}
	if h.End.After(r.Newest) {
		r.Newest = h.End
	}
	if i, ok := slices.BinarySearch(r.Quantities, h.Quantity); !ok {
		r.Quantities = slices.Insert(r.Quantities, i, h.Quantity)
	}
	return nil
}

// sameHour compares what two hours say, not when and how often it was computed.
func sameHour(a, b *figures.SiteHour) bool {
	va, vb := values(a), values(b)
	for i := range va {
		if *va[i] != *vb[i] {
			return false
		}
	}
	return a.Valid == b.Valid && a.Expected == b.Expected && a.Resets == b.Resets &&
		maps.Equal(a.Rejected, b.Rejected) && maps.Equal(a.Gaps, b.Gaps) &&
		slices.Equal(a.Sources, b.Sources) && slices.Equal(a.Marks, b.Marks)
}

// isEmpty reports an hour that says nothing: what is left where a deployment was
// taken back.
func isEmpty(h *figures.SiteHour) bool {
	return h.Valid == 0 && h.Expected == 0 && len(h.Rejected) == 0 && len(h.Gaps) == 0
}

// isPinned reports whether a figure may have been computed from an hour that was
// written by seq: then it must stay readable.
func isPinned(tx *bbolt.Tx, day uint32, site string, seq uint64) (bool, error) {
	judged := tx.Bucket(bucketJudged)
	for d := day; d <= day+2; d++ {
		newest, err := getNumber(judged, daySite(d, site))
		if err != nil {
			return false, err
		}
		if newest >= seq {
			return true, nil
		}
	}
	return false, nil
}

// hoursAsOf reads hours with from < end ≤ to, by quantity and time, in the version
// that stood at seq (0: the newest).
func hoursAsOf(tx *bbolt.Tx, site string, quantities []string, from, to time.Time, seq uint64) ([]figures.SiteHour, error) {
	if !from.Before(to) {
		return nil, nil
	}
	first, _ := placeOf(from.Add(time.Nanosecond))
	last, _ := placeOf(to)
	bucket := tx.Bucket(bucketHours)
	// An hour is large: a year that grows step by step is copied several times.
	out := make([]figures.SiteHour, 0, len(quantities)*int(min(to.Sub(from)/time.Hour+1, 366*24)))
	for _, q := range quantities {
		for day := first; day <= last; day++ {
			key := hourKey(day, site, q)
			sheet, err := get(bucket, key)
			if err != nil {
				return nil, err
			}
			err = sheetEach(sheet, func(place byte, raw []byte) error {
				end := endOf(day, place)
				if !end.After(from) || end.After(to) {
					return nil
				}
				h, err := unpackHour(site, q, end, raw)
				if err != nil {
					return err
				}
				ok := true
				if seq > 0 && h.seq > seq {
					if h, ok, err = versionAsOf(tx, key, place, &h, seq); err != nil {
						return err
					}
				}
				if ok && !isEmpty(&h.SiteHour) {
					out = append(out, h.SiteHour)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// versionAsOf looks below the newest version for the one that stood at seq.
func versionAsOf(tx *bbolt.Tx, key []byte, place byte, newest *hourEntry, seq uint64) (h hourEntry, ok bool, err error) {
	for v := newest.Version - 1; v >= 0; v-- {
		raw, err := get(tx.Bucket(bucketVersions), older(key, place, v))
		if err != nil || raw == nil {
			return h, false, err
		}
		if h, err = unpackHour(newest.Site, newest.Quantity, newest.End, raw); err != nil || h.seq <= seq {
			return h, err == nil, err
		}
	}
	return h, false, nil
}

// Hours returns the newest versions of a site's hours with from < End ≤ to, by
// quantity and time; nil quantities: all.
func (b *Book) Hours(ctx context.Context, site string, quantities []string, from, to time.Time) (out []figures.SiteHour, err error) {
	err = b.read(ctx, "read hours", func(tx *bbolt.Tx) error {
		r, ok, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		if err != nil || !ok {
			return err
		}
		if quantities == nil {
			quantities = r.Quantities
		}
		// Not beyond what there is: a span may begin in the year 1.
		out, err = hoursAsOf(tx, site, quantities, later(from, r.First.Add(-time.Hour)), earlier(to, r.Newest), 0)
		return err
	})
	return out, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Quantities names what a site has hours of, sorted.
func (b *Book) Quantities(ctx context.Context, site string) (out []string, err error) {
	err = b.read(ctx, "read a site's quantities", func(tx *bbolt.Tx) error {
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		out = r.Quantities
		return err
	})
	return out, err
}

// First returns the end of a site's first hour; zero = it has none.
func (b *Book) First(ctx context.Context, site string) (first time.Time, err error) {
	err = b.read(ctx, "read a site's first hour", func(tx *bbolt.Tx) error {
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		first = r.First
		return err
	})
	return first, err
}

// waitingRecord is an hour of a validated month for which something came.
type waitingRecord struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

func waitingKey(site string, end time.Time) []byte {
	day, place := placeOf(end)
	key := append([]byte(site), 0)
	return append(key, byte(day>>24), byte(day>>16), byte(day>>8), byte(day), place)
}

func (b *Book) wait(tx *bbolt.Tx, site string, end time.Time, reason string) error {
	w := tx.Bucket(bucketWaiting)
	key := waitingKey(site, end)
	if have, err := get(w, key); err != nil || have != nil {
		return err
	}
	b.metrics.late.Inc()
	return putJSON(w, key, waitingRecord{reason, b.now()})
}

// Waiting lists the hours of a site's validated month for which something came
// since. They are computed when the month is opened again.
func (b *Book) Waiting(ctx context.Context, site, month string) (out []figures.Waiting, err error) {
	from, to, err := figures.MonthSpan(month)
	if err != nil {
		return nil, fmt.Errorf("month %q: want for example 2026-11: %w", month, err)
	}
	err = b.read(ctx, "read what waits", func(tx *bbolt.Tx) error {
		return eachWaiting(tx, site, from, to, func(_ []byte, w figures.Waiting) error {
			out = append(out, w)
			return nil
		})
	})
	return out, err
}

func eachWaiting(tx *bbolt.Tx, site string, from, to time.Time, fn func(key []byte, w figures.Waiting) error) error {
	prefix := append([]byte(site), 0)
	c := tx.Bucket(bucketWaiting).Cursor()
	for k, v := c.Seek(waitingKey(site, from.Add(time.Hour))); k != nil && bytes.HasPrefix(k, prefix) && len(k) == len(prefix)+5; k, v = c.Next() {
		day, _ := cutDaySite(k[len(prefix):])
		end := endOf(day, k[len(k)-1])
		if end.After(to) {
			return nil
		}
		if _, err := unseal(k, v); err != nil {
			return err
		}
		r, _, err := getJSON[waitingRecord](tx.Bucket(bucketWaiting), k)
		if err != nil {
			return err
		}
		if err := fn(k, figures.Waiting{Site: site, End: end, Reason: r.Reason, Since: r.Since}); err != nil {
			return err
		}
	}
	return nil
}
