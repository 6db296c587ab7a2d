package publication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// worker computes what is marked, one thing after the other.
type worker struct {
	awake chan struct{}
}

func (w *worker) init() { w.awake = make(chan struct{}, 1) }

func (w *worker) wake() {
	select {
	case w.awake <- struct{}{}:
	default:
	}
}

var _ Database = (*influx.Client)(nil)

// Mark hears from ingest which hours of a node have new rows, and durably marks the
// site hours that they are part of.
func (b *Book) Mark(ctx context.Context, hours []ingest.NodeHour) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now := b.now()
	err := b.checked("mark site hours", b.file.update(func(tx *bbolt.Tx) error {
		for _, h := range hours {
			end := h.Start.Add(time.Hour)
			var sites []string
			for _, device := range h.Devices {
				for _, d := range b.o.Places.During(h.Node, device, h.Start, end) {
					if !slices.Contains(sites, d.Site) {
						sites = append(sites, d.Site)
					}
				}
			}
			for _, site := range sites {
				if err := markDirty(tx, site, h.Start, end, figures.LateData, now); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	b.worker.wake()
	return err
}

// PlaceChanged hears that a site's deployments, or what the site is, changed for
// readings from from (zero: ever) and before to (zero: still).
func (b *Book) PlaceChanged(site string, from, to time.Time) {
	err := b.checked("note a change of place", b.file.update(func(tx *bbolt.Tx) error {
		return addSpan(tx, []byte(site), from, to, figures.Deployment)
	}))
	if err != nil {
		b.log.Error("a change of place is not noted: recompute the site by changing it once more", "site", site, "error", err)
	}
	b.worker.wake()
}

// Start lets the worker run until Close.
func (b *Book) Start() error {
	if b.o.Database == nil {
		return errors.New("publication option Database is empty")
	}
	b.started = time.Now()
	b.stack.Go("the book's worker", b.run)
	return nil
}

// The worker's pauses.
const (
	idlePause  = 5 * time.Second  // at most so long until it looks again
	retryPause = 10 * time.Second // after a failure
	maxUnrest  = 5 * time.Minute  // figures do not wait longer for a site to come to rest
)

func (b *Book) run(ctx context.Context) {
	for ctx.Err() == nil {
		busy, err := b.Step(ctx)
		pause := time.Duration(0)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			b.metrics.failures.Inc()
			b.log.Warn("the book stands; trying again", "error", err, "again_in", retryPause)
			pause = retryPause
		case !busy:
			pause = min(idlePause, b.o.Rest)
		default:
			continue
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-b.worker.awake:
		}
		t.Stop()
		if err != nil { // marks wake it all the time
			wait(ctx, time.Second)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Step does the next part of the work; busy says that there was some. The worker
// calls it again and again; a test may drive a book by it that was not started.
func (b *Book) Step(ctx context.Context) (busy bool, err error) {
	b.stepping.Lock()
	defer b.stepping.Unlock()
	if b.hurt.Load() {
		return true, b.setAside()
	}
	spread, err := b.spread(ctx)
	dirty, more, listErr := b.dirtyDays()
	err = errors.Join(err, listErr, b.hoursOf(ctx, dirty))
	if b.started.IsZero() || time.Since(b.started) >= b.o.CatchUp {
		// A database that is away holds up hours, not the figures of silence.
		err = errors.Join(err, b.tick(ctx))
	}
	due, dueErr := b.resting(dirty, more)
	if dueErr == nil {
		dueErr = b.settleAll(ctx, due)
	}
	return spread || len(dirty)+len(due) > 0, errors.Join(err, dueErr)
}

// spread turns spans into marks of days.
func (b *Book) spread(ctx context.Context) (busy bool, err error) {
	all := map[string]spanRecord{}
	err = b.checked("read spans", b.file.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSpans).ForEach(func(k, _ []byte) error {
			r, _, err := getJSON[spanRecord](tx.Bucket(bucketSpans), k)
			all[string(k)] = r
			return err
		})
	}))
	if err != nil || len(all) == 0 {
		return false, err
	}
	for key, span := range all {
		sites := []string{key}
		if key == string(allSites) {
			sites = nil
			for _, s := range b.o.Places.Sites() {
				sites = append(sites, s.Code)
			}
		}
		for _, site := range sites {
			if err := b.spreadSite(ctx, site, span); err != nil {
				return true, fmt.Errorf("spread the span of %s: %w", site, err)
			}
		}
		err := b.write("end a span", func(tx *bbolt.Tx) error {
			again, _, err := getJSON[spanRecord](tx.Bucket(bucketSpans), []byte(key))
			if err != nil || again.Generation != span.Generation {
				return err // changed since: once more
			}
			return tx.Bucket(bucketSpans).Delete([]byte(key))
		})
		if err != nil {
			return true, err
		}
	}
	return true, nil
}

// spreadSite marks the days of a span on which a node that may have hung at the
// site gave something, and those that are written; the figures too, since the class
// may have changed.
func (b *Book) spreadSite(ctx context.Context, site string, span spanRecord) error {
	now := b.now()
	to := span.To
	if to.IsZero() || to.After(now) {
		to = now
	}
	if !span.From.Before(to) {
		return nil
	}
	days := map[uint32]bool{}
	for _, node := range b.o.Places.Nodes(site, span.From, to) {
		of := influx.Span{Node: ingest.CleanNode(node), To: to}
		if !span.From.IsZero() {
			of.From = figures.Day(span.From.Add(time.Nanosecond))
		}
		rows, err := b.o.Database.Rows(ctx, influx.Days, of)
		if err != nil {
			return err
		}
		for i := range rows {
			days[dayNumber(rows[i].Start)] = true
		}
	}
	return b.write("mark the hours of a span", func(tx *bbolt.Tx) error {
		r, ok, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		if err != nil {
			return err
		}
		if ok {
			first, _ := placeOf(later(span.From.Add(time.Nanosecond), r.First))
			last, _ := placeOf(earlier(to, r.Newest))
			for day := first; day <= last; day++ {
				days[day] = true
			}
		}
		reason := reasonOf(span.Reasons)
		for _, day := range slices.Sorted(maps.Keys(days)) {
			start := dayOfNumber(day)
			if err := markDirty(tx, site, later(span.From, start), earlier(to, start.Add(24*time.Hour)), reason, now); err != nil {
				return err
			}
			if r.judged() {
				if err := markDue(tx, daySite(day, site), reason, now); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// dirtyDay is a site's day of which hours wait.
type dirtyDay struct {
	day  uint32
	site string
	dirtyRecord
}

// dirtyDays lists some of them, newest first: what is live goes before history.
// more says that there are others.
func (b *Book) dirtyDays() (out []dirtyDay, more bool, err error) {
	err = b.checked("list the hours that wait", b.file.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDirty).Cursor()
		for k, _ := c.Last(); k != nil; k, _ = c.Prev() {
			if more = len(out) == atOnce; more {
				break
			}
			r, _, err := getJSON[dirtyRecord](tx.Bucket(bucketDirty), k)
			if err != nil {
				return err
			}
			day, site := cutDaySite(k)
			out = append(out, dirtyDay{day, site, r})
		}
		return nil
	}))
	return out, more, err
}

// hoursOf computes the hours of some days and enters them together.
func (b *Book) hoursOf(ctx context.Context, days []dirtyDay) error {
	if len(days) == 0 {
		return nil
	}
	var failed error
	computed := make([][]figures.SiteHour, len(days))
	good := make([]bool, len(days)) // one that fails holds up no other
	for i, d := range days {
		var err error
		if computed[i], err = b.siteHours(ctx, d); err != nil {
			failed = errors.Join(failed, fmt.Errorf("hours of %s on %s: %w", d.site, dayOfNumber(d.day).In(figures.WIB).Format(time.DateOnly), err))
			var away *influx.UnavailableError
			if errors.As(err, &away) || ctx.Err() != nil {
				break // the next would fare the same
			}
		}
		good[i] = err == nil
	}
	changed := 0
	err := b.write("enter hours", func(tx *bbolt.Tx) error {
		changed = 0
		for i, d := range days {
			if !good[i] {
				continue
			}
			n, err := b.putHours(tx, computed[i], reasonOf(d.Reasons))
			if err != nil {
				return err
			}
			changed += n
			key := daySite(d.day, d.site)
			now, _, err := getJSON[dirtyRecord](tx.Bucket(bucketDirty), key)
			if err != nil {
				return err
			}
			if now.Generation != d.Generation {
				continue // marked since: once more
			}
			if err := tx.Bucket(bucketDirty).Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		b.metrics.hours.Add(float64(changed))
	}
	return errors.Join(failed, err)
}

// siteHours computes a site's marked hours of a day from its nodes' rows; where a
// deployment or a mark cuts an hour, from the raw values. Hours that are not over
// are left out: they are marked again at their end.
func (b *Book) siteHours(ctx context.Context, d dirtyDay) ([]figures.SiteHour, error) {
	now := b.now()
	start := dayOfNumber(d.day)
	from := start.Add(time.Duration(bits.TrailingZeros32(d.Hours)) * time.Hour)
	to := earlier(start.Add(time.Duration(bits.Len32(d.Hours))*time.Hour), now.Truncate(time.Hour))
	if d.Hours == 0 || !from.Before(to) {
		return nil, nil
	}
	marked := func(t time.Time) bool { return d.Hours&(1<<(t.Sub(start)/time.Hour)) != 0 }
	hours := map[time.Time][]placed{}
	for _, node := range b.o.Places.Nodes(d.site, from, to) {
		rows, err := b.o.Database.Rows(ctx, influx.Hours, influx.Span{Node: ingest.CleanNode(node), From: from, To: to})
		if err != nil {
			return nil, err
		}
		for i := range rows {
			r := &rows[i]
			if !marked(r.Start) || r.Kind == telemetry.KindGateway { // its own health is no site's
				continue
			}
			for _, dep := range b.o.Places.During(node, r.Device, r.Start, r.Start.Add(time.Hour)) {
				if dep.Site == d.site {
					hours[r.Start] = append(hours[r.Start], placed{dep, r})
				}
			}
		}
	}
	marks := b.people.marksOf(d.site)
	pick := func(quantity string, t time.Time, of []places.Deployment) (places.Deployment, bool) {
		return b.o.Places.Utama(d.site, quantity, t, of)
	}
	var out []figures.SiteHour
	var kept []string // hour and quantity of what must stay as it is
	for at := from; at.Before(to); at = at.Add(time.Hour) {
		if !marked(at) {
			continue
		}
		groups := byQuantity(hours[at])
		plans := map[string][]piece{}
		for quantity, rows := range groups {
			plans[quantity] = plan(at, rows, marksIn(marks, quantity, at), pick)
		}
		if err := b.countRaw(ctx, plans, now); err != nil {
			return nil, err
		}
		for quantity, pieces := range plans {
			if len(pieces) == 0 {
				continue // collocated only
			}
			h, ok := assemble(d.site, quantity, at, pieces)
			if ok {
				out = append(out, h)
			} else {
				kept = append(kept, h.End.String()+quantity)
				b.log.Warn("raw values that a change needs are not there any more: the hour stays as it is", "site", d.site, "quantity", quantity, "hour", h.End)
			}
		}
	}
	gone, err := b.gone(d, from, to, marked, out, kept)
	out = append(out, gone...)
	slices.SortFunc(out, func(x, y figures.SiteHour) int {
		if c := x.End.Compare(y.End); c != 0 {
			return c
		}
		return strings.Compare(x.Quantity, y.Quantity)
	})
	return out, err
}

// marksIn picks the marks of a quantity that touch an hour.
func marksIn(all []figures.Mark, quantity string, start time.Time) (out []figures.Mark) {
	end := start.Add(time.Hour)
	for _, m := range all {
		if m.Quantity == quantity && m.From.Before(end) && m.To.After(start) {
			out = append(out, m)
		}
	}
	return out
}

// countRaw counts the raw values of the pieces for which the row is too long.
func (b *Book) countRaw(ctx context.Context, plans map[string][]piece, now time.Time) error {
	type series struct {
		node   telemetry.Node
		device string
	}
	type part struct {
		*piece
		tally *ingest.Tally
	}
	wanted := map[series][]part{}
	for _, pieces := range plans {
		for i := range pieces {
			p := &pieces[i]
			if p.whole {
				continue
			}
			key := series{p.of.row.Node, p.of.row.Device}
			wanted[key] = append(wanted[key], part{p, ingest.NewTally(key.node, p.from, now, p.to.Sub(p.from))})
		}
	}
	for key, parts := range wanted {
		start := parts[0].from.Truncate(time.Hour)
		span := influx.Span{Node: key.node, Device: key.device, From: start, To: start.Add(time.Hour)}
		err := b.o.Database.Points(ctx, span, func(point *influx.Point) error {
			for _, p := range parts {
				if point.Time >= p.from.UnixNano() && point.Time < p.to.UnixNano() {
					p.tally.Add(point)
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read raw values of %s: %w", key.node, err)
		}
		expired := !slices.ContainsFunc(parts, func(p part) bool { return !p.tally.Empty() })
		for _, p := range parts {
			row := p.of.row
			if expired && row.Valid+row.Rejected+row.Gaps > 0 {
				continue
			}
			p.raw = new(influx.Row)
			*p.raw = influx.NewRow(row.Kind, row.Node, row.Device, row.Quantity, p.from)
			rows := p.tally.Rows()
			if i := slices.IndexFunc(rows, func(r influx.Row) bool { return r.Device == row.Device && r.Quantity == row.Quantity }); i >= 0 {
				*p.raw = rows[i]
			}
		}
	}
	return nil
}

// gone finds hours that are written but no longer follow from anything: their
// deployment was taken back or given to another site. What merely is not in the
// database any more stays.
func (b *Book) gone(d dirtyDay, from, to time.Time, marked func(time.Time) bool, computed []figures.SiteHour, kept []string) (out []figures.SiteHour, err error) {
	have := map[string]bool{}
	for _, h := range computed {
		have[h.End.String()+h.Quantity] = true
	}
	for _, k := range kept {
		have[k] = true
	}
	err = b.checked("read the hours that are written", b.file.view(func(tx *bbolt.Tx) error {
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(d.site))
		if err != nil {
			return err
		}
		written, err := hoursAsOf(tx, d.site, r.Quantities, from, to, 0)
		if err != nil {
			return err
		}
		for _, h := range written {
			start := h.End.Add(-time.Hour)
			if marked(start) && !have[h.End.String()+h.Quantity] && !b.follows(&h, start) {
				out = append(out, figures.SiteHour{Site: d.site, Quantity: h.Quantity, End: h.End})
			}
		}
		return nil
	}))
	return out, err
}

// follows reports whether a source of an hour is still the site's.
func (b *Book) follows(h *figures.SiteHour, start time.Time) bool {
	for _, s := range h.Sources {
		for _, dep := range b.o.Places.During(s.Node, s.Device, start, h.End) {
			if dep.Site != h.Site {
				continue
			}
			if _, ok := b.o.Places.Utama(h.Site, h.Quantity, later(dep.From, start), []places.Deployment{dep}); ok {
				return true
			}
		}
	}
	return false
}

// resting picks days whose figures may be computed, newest first: nothing of the
// site waits, and nothing has changed for a while. While there are more dirty days
// than those given, only those are picked that have waited too long.
func (b *Book) resting(dirty []dirtyDay, more bool) (out []dueDay, err error) {
	if !b.o.Synced() {
		return nil, nil
	}
	now := b.now()
	restless := b.stirred.since(now.Add(-b.o.Rest))
	for _, d := range dirty {
		restless[d.site] = true
	}
	err = b.checked("list the figures that wait", b.file.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketDue).Cursor()
		for k, _ := c.Last(); k != nil && len(out) < dueAtOnce; k, _ = c.Prev() {
			d, err := readDue(tx, k)
			if err != nil {
				return err
			}
			if !more && !restless[d.site] || now.Sub(d.Since) >= maxUnrest {
				out = append(out, d)
			}
		}
		return nil
	}))
	return out, err
}

// dueAtOnce bounds the figures of one step, in days of a site.
const dueAtOnce = 8 * atOnce

// stirred remembers when the hours of sites last changed.
type stirred struct {
	mu    sync.Mutex
	sites map[string]time.Time
}

func (s *stirred) note(site string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sites == nil {
		s.sites = map[string]time.Time{}
	}
	s.sites[site] = now
}

// since names the sites that changed after t, and forgets the others.
func (s *stirred) since(t time.Time) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]bool{}
	for site, at := range s.sites {
		if at.After(t) {
			out[site] = true
		} else {
			delete(s.sites, site)
		}
	}
	return out
}
