package publication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// Remove takes sites out of the book as if nothing had ever been measured there,
// with what people said of them, and the bulletins that name no other site. It is for what was only
// played; the sites must be gone from the places already, or their hours come back.
func (b *Book) Remove(ctx context.Context, sites []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	if err := b.people.remove(ctx, sites); err != nil {
		return err
	}
	b.stepping.Lock() // what is being computed would be entered after it
	defer b.stepping.Unlock()
	err := b.write("remove sites", func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			before, ok := siteFrom[string(name)]
			if !ok {
				continue
			}
			bucket := tx.Bucket(name)
			var keys [][]byte
			err := bucket.ForEach(func(k, _ []byte) error {
				if len(k) < before {
					return nil
				}
				site, _, _ := bytes.Cut(k[before:], []byte{0})
				if slices.Contains(sites, string(site)) {
					keys = append(keys, slices.Clone(k))
				}
				return nil
			})
			for _, k := range keys {
				err = errors.Join(err, bucket.Delete(k))
			}
			if err != nil {
				return err
			}
		}
		corrections := tx.Bucket(bucketCorrections)
		var keys [][]byte
		err := corrections.ForEach(func(k, _ []byte) error {
			if _, site, _, _, err := figures.ParseFigureID(string(k[min(8, len(k)):])); err == nil && slices.Contains(sites, site) {
				keys = append(keys, slices.Clone(k))
			}
			return nil
		})
		for _, k := range keys {
			err = errors.Join(err, corrections.Delete(k))
		}
		return err
	})
	if err == nil {
		err = b.bulletins.remove(sites)
		b.changes.Add(1)
	}
	return err
}

// remove deletes the marks, annotations and months of sites. people.changing is held.
func (p *people) remove(ctx context.Context, sites []string) error {
	for _, site := range sites {
		for _, prefix := range []string{prefixMark, prefixNote, prefixMonth} {
			all, err := p.kv.List(ctx, prefix+site+"/")
			if err != nil {
				return fmt.Errorf("list what was said of %s: %w", site, err)
			}
			for key := range all {
				if err := p.kv.Delete(ctx, key); err != nil {
					return fmt.Errorf("delete %s: %w", key, err)
				}
			}
		}
		p.mu.Lock()
		delete(p.marks, site)
		delete(p.notes, site)
		maps.DeleteFunc(p.months, func(of [2]string, _ figures.Month) bool { return of[0] == site })
		p.mu.Unlock()
	}
	return nil
}

// siteFrom says, by bucket, where in a key the site begins. It ends at a zero byte
// or with the key.
var siteFrom = map[string]int{
	string(bucketHours): 4, string(bucketVersions): 4, string(bucketFigures): 5, string(bucketRevisions): 5, string(bucketSites): 0,
	string(bucketSpans): 0, string(bucketDirty): 4, string(bucketDue): 4, string(bucketJudged): 4, string(bucketWaiting): 0,
}

// remove deletes the bulletins that name none but these sites.
func (s *bulletins) remove(sites []string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	for _, id := range s.ids() {
		bl, err := s.read(id, -1)
		if err != nil {
			return err
		}
		others := slices.ContainsFunc(bl.Figures, func(f figures.Figure) bool { return !slices.Contains(sites, f.Site) })
		if others || len(bl.Figures) == 0 {
			continue
		}
		for revision := bl.Revision; revision >= 0; revision-- {
			if err := os.Remove(s.path(id, revision)); err != nil {
				return fmt.Errorf("remove bulletin %s: %w", id, err)
			}
		}
		s.mu.Lock()
		delete(s.newest, id)
		clear(s.cache)
		clear(s.numbered)
		s.mu.Unlock()
	}
	return nil
}
