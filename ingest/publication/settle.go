package publication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// dueDay is a site's day of which figures wait.
type dueDay struct {
	day  uint32
	site string
	dueRecord
}

func readDue(tx *bbolt.Tx, key []byte) (d dueDay, err error) {
	d.day, d.site = cutDaySite(key)
	d.dueRecord, _, err = getJSON[dueRecord](tx.Bucket(bucketDue), key)
	return d, err
}

// settleDays computes the figures of days that wait, in one transaction. A mark
// goes only if nothing was marked since.
func (b *Book) settleDays(days []dueDay) error {
	var all []*judging
	err := b.write("compute figures", func(tx *bbolt.Tx) error {
		all = all[:0]
		for _, d := range days {
			j, err := b.newJudging(tx, d.site)
			if err != nil {
				return err
			}
			if err := j.day(d.day, reasonOf(d.Reasons), time.Time{}); err != nil {
				return fmt.Errorf("figures of %s: %w", d.site, err)
			}
			all = append(all, j)
			key := daySite(d.day, d.site)
			now, ok, err := getJSON[dueRecord](tx.Bucket(bucketDue), key)
			if err != nil {
				return err
			}
			if ok && now.Last.Equal(d.Last) && slices.Equal(now.Reasons, d.Reasons) {
				if err := tx.Bucket(bucketDue).Delete(key); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		for _, j := range all {
			j.counted()
		}
	}
	return err
}

// atOnce is how many days of a site one transaction computes: others who write
// (never those who read) wait for it.
const atOnce = 16

// Settle computes every figure that waits, and judges silence and makes bulletins
// up to now. The worker does both by itself; Settle does not wait for a site to
// come to rest.
func (b *Book) Settle(ctx context.Context) error {
	var days []dueDay
	err := b.checked("list the figures that wait", b.file.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketDue).ForEach(func(k, _ []byte) error {
			d, err := readDue(tx, k)
			days = append(days, d)
			return err
		})
	}))
	if err != nil {
		return err
	}
	return errors.Join(b.settleAll(ctx, days), b.tick(ctx))
}

func (b *Book) settleAll(ctx context.Context, days []dueDay) error {
	for part := range slices.Chunk(days, atOnce) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := b.settleDays(part); err != nil {
			return err
		}
	}
	return nil
}

// oldBulletin is how late a bulletin may still be made: a server that was off for
// a week does not publish the week.
const oldBulletin = 24 * time.Hour

// tick judges the sites that said nothing, hour by hour since it last did, and
// makes the bulletins that are due.
func (b *Book) tick(ctx context.Context) error {
	if !b.o.Synced() {
		return nil // a wrong clock must not publish
	}
	for ctx.Err() == nil {
		var end time.Time
		var sites []string
		err := b.checked("look for silent sites", b.file.view(func(tx *bbolt.Tx) error {
			last, err := getTime(tx.Bucket(bucketMeta), keyTicked)
			if err != nil {
				return err
			}
			if end = last.Add(time.Hour); !b.due(end, b.now()) {
				return nil
			}
			return tx.Bucket(bucketSites).ForEach(func(k, _ []byte) error {
				r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), k)
				if err == nil && r.judged() && !r.First.After(end) {
					sites = append(sites, string(k))
				}
				return err
			})
		}))
		if err != nil {
			return err
		}
		if !b.due(end, b.now()) {
			return nil
		}
		day, _ := placeOf(end)
		if end.Equal(b.judged) { // its bulletin waits
			sites = nil
		}
		for part := range slices.Chunk(sites, 64) {
			var all []*judging
			err := b.write("judge silence", func(tx *bbolt.Tx) error {
				all = all[:0]
				for _, site := range part {
					j, err := b.newJudging(tx, site)
					if err != nil {
						return err
					}
					// What was due of this site may have come with it.
					due, _, err := getJSON[dueRecord](tx.Bucket(bucketDue), daySite(day, site))
					if err != nil {
						return err
					}
					if err := j.day(day, reasonOf(due.Reasons), end); err != nil {
						return fmt.Errorf("figure of %s: %w", site, err)
					}
					all = append(all, j)
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, j := range all {
				j.counted()
			}
		}
		if slices.Contains(b.people.at(end).Rules.Bulletins, end.In(figures.WIB).Hour()) && b.now().Sub(end) < oldBulletin {
			done, err := b.draft(ctx, end)
			if err != nil {
				return fmt.Errorf("make the bulletin of %s: %w", bulletinID(end), err)
			}
			if !done {
				b.judged = end
				return nil
			}
		}
		if err := b.write("note the hour", func(tx *bbolt.Tx) error { return putTime(tx.Bucket(bucketMeta), keyTicked, end) }); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// setAside replaces a damaged file.
func (b *Book) setAside() error {
	aside, err := b.file.setAside(b.now())
	if err != nil {
		return err
	}
	b.damaged(aside, errors.New("met while it was read"))
	if err := b.begin(); err != nil {
		return err
	}
	b.hurt.Store(false)
	return b.reapply()
}

// Status tells how far the book is.
type Status struct {
	HoursWaiting   int       `json:"hours_waiting"`   // days of a site of which hours wait to be computed
	FiguresWaiting int       `json:"figures_waiting"` // days of a site of which figures wait
	Judged         time.Time `json:"judged"`          // end of the hour up to which silence was judged
}

// Status returns the state of now.
func (b *Book) Status(ctx context.Context) (s Status, err error) {
	err = b.read(ctx, "read the book's state", func(tx *bbolt.Tx) error {
		s.HoursWaiting = tx.Bucket(bucketDirty).Stats().KeyN + tx.Bucket(bucketSpans).Stats().KeyN
		s.FiguresWaiting = tx.Bucket(bucketDue).Stats().KeyN
		s.Judged, err = getTime(tx.Bucket(bucketMeta), keyTicked)
		return err
	})
	return s, err
}

// Unsettled says what of a span's site hours and figures is still to be computed;
// "": nothing.
func (b *Book) Unsettled(ctx context.Context, from, to time.Time) (why string, err error) {
	err = b.read(ctx, "see whether all is computed", func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(bucketSpans).Cursor().First(); k != nil {
			why = "site hours are still to be looked for"
			return nil
		}
		first, last := dayNumber(from), dayNumber(to.Add(-time.Nanosecond))
		for _, of := range []struct {
			bucket []byte
			why    string
		}{{bucketDirty, "site hours are still to be computed"}, {bucketDue, "figures are still to be computed"}} {
			if k, _ := tx.Bucket(of.bucket).Cursor().Seek(daySite(first, "")); k != nil {
				if day, _ := cutDaySite(k); day <= last {
					why = of.why
				}
			}
		}
		return nil
	})
	return why, err
}
