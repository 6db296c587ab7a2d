package publication

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// dirtyRecord says which hours of a site's day must be computed from its nodes'
// rows.
type dirtyRecord struct {
	Hours      uint32   `json:"hours"` // bits by place in the day
	Reasons    []string `json:"reasons"`
	Generation uint64   `json:"generation"` // the mark goes only if nothing was marked since
}

// dueRecord says that a site's figures of a day must be computed from its hours.
type dueRecord struct {
	Reasons []string  `json:"reasons"`
	Since   time.Time `json:"since"` // of the first mark
	Last    time.Time `json:"last"`  // of the newest
}

// reasonsByRank: of several the first is the revision's.
var reasonsByRank = []string{figures.Validation, figures.Deployment, figures.RuleChange, figures.LateData}

func reasonOf(reasons []string) string {
	for _, r := range reasonsByRank {
		if slices.Contains(reasons, r) {
			return r
		}
	}
	return figures.LateData
}

func addReason(reasons []string, r string) []string {
	if slices.Contains(reasons, r) {
		return reasons
	}
	return append(reasons, r)
}

// markDirty marks the hours of a site that from…to touches.
func markDirty(tx *bbolt.Tx, site string, from, to time.Time, reason string, now time.Time) error {
	to = earlier(to, now.Add(time.Hour).Truncate(time.Hour))
	first := from.Truncate(time.Hour).Add(time.Hour) // ends of the hours
	last := to.Add(time.Hour - time.Nanosecond).Truncate(time.Hour)
	if first.After(last) {
		return nil
	}
	bucket := tx.Bucket(bucketDirty)
	firstDay, _ := placeOf(first)
	lastDay, _ := placeOf(last)
	for day := firstDay; day <= lastDay; day++ {
		key := daySite(day, site)
		r, _, err := getJSON[dirtyRecord](bucket, key)
		if err != nil {
			return err
		}
		for place := range byte(24) {
			if end := endOf(day, place); !end.Before(first) && !end.After(last) {
				r.Hours |= 1 << place
			}
		}
		r.Reasons = addReason(r.Reasons, reason)
		r.Generation++
		if err := putJSON(bucket, key, r); err != nil {
			return err
		}
	}
	return nil
}

// markDue marks a site's figures of a day.
func markDue(tx *bbolt.Tx, key []byte, reason string, now time.Time) error {
	bucket := tx.Bucket(bucketDue)
	r, ok, err := getJSON[dueRecord](bucket, key)
	if err != nil {
		return err
	}
	if !ok {
		r.Since = now
	}
	r.Last = now
	r.Reasons = addReason(r.Reasons, reason)
	return putJSON(bucket, key, r)
}

// allDue marks the figures of all sites with from ≤ End ≤ to.
func allDue(tx *bbolt.Tx, from, to time.Time, reason string, now time.Time) error {
	return tx.Bucket(bucketSites).ForEach(func(k, _ []byte) error {
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), k)
		if err != nil || !r.judged() {
			return err
		}
		first, _ := placeOf(later(from, r.First))
		last, _ := placeOf(to)
		for day := first; day <= last; day++ {
			if err := markDue(tx, daySite(day, string(k)), reason, now); err != nil {
				return fmt.Errorf("mark the figures of %s: %w", k, err)
			}
		}
		return nil
	})
}

// spanRecord is a time at a site whose hours are to be computed anew: from From
// (zero: ever) and before To (zero: still). On which days there is something only
// the database knows.
type spanRecord struct {
	From       time.Time `json:"from,omitzero"`
	To         time.Time `json:"to,omitzero"`
	Reasons    []string  `json:"reasons"`
	Generation uint64    `json:"generation"`
}

// allSites is the key of the record that stands for all.
var allSites = []byte{0}

// addSpan widens a site's span.
func addSpan(tx *bbolt.Tx, site []byte, from, to time.Time, reason string) error {
	r, ok, err := getJSON[spanRecord](tx.Bucket(bucketSpans), site)
	if err != nil {
		return err
	}
	if !ok {
		r.From, r.To = from, to
	} else {
		r.From = earlier(r.From, from) // zero is the earliest
		if to.IsZero() || r.To.IsZero() {
			r.To = time.Time{}
		} else {
			r.To = later(r.To, to)
		}
	}
	r.Reasons = addReason(r.Reasons, reason)
	r.Generation++
	return putJSON(tx.Bucket(bucketSpans), site, r)
}
