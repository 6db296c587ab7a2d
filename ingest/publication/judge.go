package publication

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// judging computes figures of one site within a transaction.
type judging struct {
	b    *Book
	tx   *bbolt.Tx
	site string
	now  time.Time
	seq  uint64 // 0 until something is written

	record     siteRecord
	quantities []string // those of parameters

	sums figures.Sums

	written, corrected [2]int // hourly, daily
}

func (b *Book) newJudging(tx *bbolt.Tx, site string) (*judging, error) {
	j := &judging{b: b, tx: tx, site: site, now: b.now()}
	var err error
	if j.record, _, err = getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site)); err != nil {
		return nil, err
	}
	for _, q := range j.record.Quantities {
		if isParameter(q) {
			j.quantities = append(j.quantities, q)
		}
	}
	return j, nil
}

// due reports whether a figure at end may be published: the hour is over and so is
// the grace in which its last readings arrive.
func (b *Book) due(end, now time.Time) bool {
	return !end.Add(time.Duration(b.people.at(end).Rules.GraceMin) * time.Minute).After(now)
}

// day computes the figures of one day that there are, and those for which the site
// has hours in the window. force computes the one at that end in any case: silence
// is a figure too.
func (j *judging) day(day uint32, reason string, force time.Time) error {
	if len(j.quantities) == 0 {
		return nil
	}
	from, to := dayOfNumber(day).Add(-(24+maxLead)*time.Hour), endOf(day, 23)
	if !force.IsZero() {
		from, to = force.Add(-(25+maxLead)*time.Hour), force
	}
	hours, err := hoursAsOf(j.tx, j.site, j.quantities, from, to, 0)
	if err != nil {
		return err
	}
	s := sheets{bucket: j.tx.Bucket(bucketFigures)}
	for place := range byte(24) {
		end := endOf(day, place)
		if !force.IsZero() && !end.Equal(force) {
			continue
		}
		if !j.b.due(end, j.now) {
			break
		}
		if err := j.figure(&s, figures.Hourly, day, place, hours, reason, !force.IsZero()); err != nil {
			return err
		}
		if place == 23 {
			if err := j.figure(&s, figures.Daily, day, place, hours, reason, !force.IsZero()); err != nil {
				return err
			}
		}
	}
	if err := s.flush(); err != nil || j.seq == 0 {
		return err
	}
	return put(j.tx.Bucket(bucketJudged), daySite(day, j.site), binary.BigEndian.AppendUint64(nil, j.seq))
}

func (j *judging) figure(s *sheets, kind figures.Kind, day uint32, place byte, hours []figures.SiteHour, reason string, force bool) error {
	end := endOf(day, place)
	key := figureKey(kind, day, j.site)
	sheet, err := s.get(key)
	if err != nil {
		return err
	}
	raw, err := sheetGet(sheet, place)
	if err != nil {
		return err
	}
	dated := j.b.people.at(end)
	window, recent := windowOf(hours, dated.Rules.Window(end), end)
	site, known := j.b.o.Places.Site(j.site)
	closed := !known || !site.Closed.IsZero() && end.After(site.Closed)
	if raw == nil && (closed || !recent && !force) {
		return nil
	}
	f := figureEntry{class: string(site.ClassAt(end)), Figure: figures.Judge(figures.Figure{Kind: kind, Site: j.site, End: end}, window, dated.Rules, string(site.ClassAt(end)))}
	f.Simulated = site.Simulated
	if raw != nil {
		old, err := unpackFigure(kind, j.site, end, raw)
		if err != nil {
			return err
		}
		if sameFigure(&old.Figure, &f.Figure) {
			return nil
		}
		if !j.b.people.locked(j.site, end) {
			if err := put(j.tx.Bucket(bucketRevisions), older(key, place, old.Revision), raw); err != nil {
				return err
			}
		}
		f.Revision, f.Reason = old.Revision+1, reason
	}
	if j.b.people.locked(j.site, end) {
		return j.b.wait(j.tx, j.site, end, reason)
	}
	if j.seq == 0 {
		if j.seq, err = nextSeq(j.tx); err != nil {
			return err
		}
	}
	f.seq, f.Rules, f.Computed, f.Published = j.seq, dated.Version, j.now, j.now
	f.ID = figures.FigureID(kind, j.site, end, f.Revision)
	if f.Hash, err = j.sums.Of(traceOf(&f, window, dated)); err != nil {
		return err
	}
	if sheet, err = sheetPut(sheet, place, f.pack()); err != nil {
		return err
	}
	s.set(key, sheet)
	k := 0
	if kind == figures.Daily {
		k = 1
	}
	j.written[k]++
	if f.Revision > 0 {
		j.corrected[k]++
		return put(j.tx.Bucket(bucketCorrections), correctionKey(f.Published, f.ID), nil)
	}
	return nil
}

func correctionKey(published time.Time, id string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(published.UnixMilli())), id...)
}

// windowOf picks the hours of a figure's window; recent says whether one lies in
// its last 24.
func windowOf(hours []figures.SiteHour, from, end time.Time) (out []figures.SiteHour, recent bool) {
	day := end.Add(-24 * time.Hour)
	for i := range hours {
		if e := hours[i].End; e.After(from) && !e.After(end) {
			out = append(out, hours[i])
			recent = recent || e.After(day)
		}
	}
	return out, recent
}

func traceOf(f *figureEntry, window []figures.SiteHour, r figures.DatedRules) figures.Trace {
	if window == nil {
		window = []figures.SiteHour{}
	}
	// The other sites' calibration gases entered nothing, and such a site may not be
	// public.
	gas, ok := r.Rules.HCGas[f.Site]
	r.Rules.HCGas = nil
	if ok {
		r.Rules.HCGas = map[string]string{f.Site: gas}
	}
	return figures.Trace{Figure: f.Figure, Hours: window, Rules: r.Rules, Since: r.Since, Class: f.class, Articles: r.Rules.Articles}
}

// sameFigure compares what two figures say.
func sameFigure(a, b *figures.Figure) bool {
	return a.OK == b.OK && a.Index == b.Index && a.Estimate == b.Estimate && a.Simulated == b.Simulated && slices.Equal(a.Parts, b.Parts)
}

// counted adds what was written to the metrics, once the transaction is durable.
func (j *judging) counted() {
	for k, kind := range [2]figures.Kind{figures.Hourly, figures.Daily} {
		j.b.metrics.figures.WithLabelValues(string(kind), "no").Add(float64(j.written[k] - j.corrected[k]))
		j.b.metrics.figures.WithLabelValues(string(kind), "yes").Add(float64(j.corrected[k]))
	}
}

// readFigure reads the newest revision; ok is false if there is none.
func (b *Book) readFigure(tx *bbolt.Tx, kind figures.Kind, site string, end time.Time) (f figureEntry, ok bool, err error) {
	day, place := placeOf(end)
	if !endOf(day, place).Equal(end) {
		return f, false, nil // no whole hour
	}
	sheet, err := get(tx.Bucket(bucketFigures), figureKey(kind, day, site))
	if err != nil {
		return f, false, err
	}
	raw, err := sheetGet(sheet, place)
	if err != nil || raw == nil {
		return f, false, err
	}
	f, err = b.unpackFigure(kind, site, end, raw)
	return f, err == nil, err
}

// unpackFigure adds what is not kept with a figure: its month's state.
func (b *Book) unpackFigure(kind figures.Kind, site string, end time.Time, raw []byte) (figureEntry, error) {
	f, err := unpackFigure(kind, site, end.UTC(), raw)
	f.Status = b.people.status(site, end)
	return f, err
}

// Figure returns the newest revision of a site's figure at an end; ok is false if
// there is none.
func (b *Book) Figure(ctx context.Context, kind figures.Kind, site string, end time.Time) (f figures.Figure, ok bool, err error) {
	err = b.read(ctx, "read a figure", func(tx *bbolt.Tx) error {
		var e figureEntry
		e, ok, err = b.readFigure(tx, kind, site, end)
		f = e.Figure
		return err
	})
	return f, ok, err
}

// newestDays is how far back Newest looks.
const newestDays = 366

// Newest returns a site's newest figure that is OK, with End ≤ at; ok is false if
// there was none in a year.
func (b *Book) Newest(ctx context.Context, kind figures.Kind, site string, at time.Time) (f figures.Figure, ok bool, err error) {
	err = b.read(ctx, "read the newest figure", func(tx *bbolt.Tx) error {
		last, _ := placeOf(at)
		for day := last; day+newestDays > last && !ok; day-- {
			err := b.sheet(tx, kind, day, site, func(e figureEntry) {
				if e.OK && !e.End.After(at) {
					f, ok = e.Figure, true
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return f, ok, err
}

// sheet hands out a site's figures of a day, oldest first.
func (b *Book) sheet(tx *bbolt.Tx, kind figures.Kind, day uint32, site string, fn func(figureEntry)) error {
	sheet, err := get(tx.Bucket(bucketFigures), figureKey(kind, day, site))
	if err != nil {
		return err
	}
	return sheetEach(sheet, func(place byte, raw []byte) error {
		f, err := b.unpackFigure(kind, site, endOf(day, place), raw)
		if err == nil {
			fn(f)
		}
		return err
	})
}

// Span returns a site's figures with from < End ≤ to, oldest first, in their
// newest revisions.
func (b *Book) Span(ctx context.Context, kind figures.Kind, site string, from, to time.Time) (out []figures.Figure, err error) {
	err = b.read(ctx, "read figures", func(tx *bbolt.Tx) error {
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		if err != nil || r.First.IsZero() {
			return err
		}
		first, _ := placeOf(later(from, r.First.Add(-time.Hour)).Add(time.Nanosecond))
		last, _ := placeOf(earlier(to, b.now().Add(48*time.Hour)))
		for day := first; day <= last; day++ {
			err := b.sheet(tx, kind, day, site, func(f figureEntry) {
				if f.End.After(from) && !f.End.After(to) {
					out = append(out, f.Figure)
				}
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// Everywhere returns all sites' figures at one end, by site.
func (b *Book) Everywhere(ctx context.Context, kind figures.Kind, end time.Time) (out map[string]figures.Figure, err error) {
	out = map[string]figures.Figure{}
	err = b.read(ctx, "read all figures of an hour", func(tx *bbolt.Tx) error {
		day, place := placeOf(end)
		if !endOf(day, place).Equal(end) {
			return nil
		}
		prefix := kindPrefix(kind, day)
		c := tx.Bucket(bucketFigures).Cursor()
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			sheet, err := unseal(k, v)
			if err != nil {
				return err
			}
			raw, err := sheetGet(sheet, place)
			if err != nil {
				return err
			}
			if raw == nil {
				continue
			}
			site := string(k[len(prefix):])
			f, err := b.unpackFigure(kind, site, end, raw)
			if err != nil {
				return err
			}
			out[site] = f.Figure
		}
		return nil
	})
	return out, err
}

// Revisions returns all revisions of a figure, oldest first.
func (b *Book) Revisions(ctx context.Context, kind figures.Kind, site string, end time.Time) (out []figures.Figure, err error) {
	err = b.read(ctx, "read revisions", func(tx *bbolt.Tx) error {
		newest, ok, err := b.readFigure(tx, kind, site, end)
		if err != nil || !ok {
			return err
		}
		for r := range newest.Revision {
			f, err := b.revision(tx, kind, site, end, r)
			if err != nil {
				return err
			}
			out = append(out, f.Figure)
		}
		out = append(out, newest.Figure)
		return nil
	})
	return out, err
}

// revision reads one revision; it wraps fs.ErrNotExist.
func (b *Book) revision(tx *bbolt.Tx, kind figures.Kind, site string, end time.Time, number int) (figureEntry, error) {
	newest, ok, err := b.readFigure(tx, kind, site, end)
	if err != nil || (ok && newest.Revision == number) {
		return newest, err
	}
	day, place := placeOf(end)
	raw, err := get(tx.Bucket(bucketRevisions), older(figureKey(kind, day, site), place, number))
	if err != nil {
		return figureEntry{}, err
	}
	if raw == nil {
		return figureEntry{}, fmt.Errorf("figure %s: %w", figures.FigureID(kind, site, end, number), fs.ErrNotExist)
	}
	return b.unpackFigure(kind, site, end, raw)
}

// Corrections returns the revisions after the first that were published from…to
// (not included), oldest first.
func (b *Book) Corrections(ctx context.Context, from, to time.Time) (out []figures.Figure, err error) {
	err = b.read(ctx, "read corrections", func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketCorrections).Cursor()
		end := correctionKey(to, "")
		for k, v := c.Seek(correctionKey(later(from, time.UnixMilli(0)), "")); k != nil && bytes.Compare(k, end) < 0; k, v = c.Next() {
			if _, err := unseal(k, v); err != nil {
				return err
			}
			kind, site, at, revision, err := figures.ParseFigureID(string(k[8:]))
			if err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			f, err := b.revision(tx, kind, site, at, revision)
			if err != nil {
				return err
			}
			out = append(out, f.Figure)
		}
		return nil
	})
	slices.SortStableFunc(out, func(x, y figures.Figure) int {
		return cmp.Or(x.Published.Compare(y.Published), x.End.Compare(y.End), cmp.Compare(x.Site, y.Site))
	})
	return out, err
}

// Trace returns everything that a figure was computed from; it wraps
// fs.ErrNotExist.
func (b *Book) Trace(ctx context.Context, id string) (t figures.Trace, err error) {
	kind, site, end, number, err := figures.ParseFigureID(id)
	if err != nil {
		return t, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	err = b.read(ctx, "read the trace of "+id, func(tx *bbolt.Tx) error {
		f, err := b.revision(tx, kind, site, end, number)
		if err != nil {
			return err
		}
		dated, err := b.people.version(f.Rules)
		if err != nil {
			return err
		}
		r, _, err := getJSON[siteRecord](tx.Bucket(bucketSites), []byte(site))
		if err != nil {
			return err
		}
		quantities := slices.DeleteFunc(r.Quantities, func(q string) bool { return !isParameter(q) })
		hours, err := hoursAsOf(tx, site, quantities, dated.Rules.Window(end), end, f.seq)
		if err != nil {
			return err
		}
		t = traceOf(&f, hours, dated)
		return nil
	})
	return t, err
}

// year reads a site's hours of what is judged by the year.
func (b *Book) year(ctx context.Context, site string, year int, judged func(quantity string) bool) ([]figures.SiteHour, error) {
	have, err := b.Quantities(ctx, site)
	if err != nil {
		return nil, err
	}
	quantities := slices.DeleteFunc(have, func(q string) bool { return !judged(q) })
	if len(quantities) == 0 {
		return nil, nil
	}
	from, to := figures.YearSpan(year)
	return b.Hours(ctx, site, quantities, from.Add(-8*time.Hour), to) // the first window of 8 h begins before
}

func (b *Book) assess(ctx context.Context, site string, year int) (of []figures.Assessment, episodes []figures.Exceedance, err error) {
	rules := b.people.all()
	hours, err := b.year(ctx, site, year, func(quantity string) bool {
		return isParameter(quantity) || slices.ContainsFunc(rules, func(r figures.DatedRules) bool {
			return slices.ContainsFunc(r.Rules.Limits, func(l figures.Limit) bool { return l.Quantity == quantity })
		})
	})
	if err != nil || len(hours) == 0 {
		return nil, nil, err
	}
	place, _ := b.o.Places.Site(site)
	of, episodes = figures.Assess(site, year, b.now(), hours, rules, func(end time.Time) string { return string(place.ClassAt(end)) })
	return of, episodes, nil
}

// Exceedances returns the episodes above PP 22/2021 in a calendar year (WIB). Sites
// whose class yields no index have none: nothing was assessed.
func (b *Book) Exceedances(ctx context.Context, site string, year int) ([]figures.Exceedance, error) {
	_, episodes, err := b.assess(ctx, site, year)
	return episodes, err
}

// Assessments says for each limit that applies to what the site measures how much
// of the year could be judged, and how often it was exceeded.
func (b *Book) Assessments(ctx context.Context, site string, year int) ([]figures.Assessment, error) {
	of, _, err := b.assess(ctx, site, year)
	return of, err
}

// AssessmentTrace returns everything from which a year was compared with a limit,
// as it stands now; it wraps fs.ErrNotExist.
func (b *Book) AssessmentTrace(ctx context.Context, id string) (figures.AssessmentTrace, error) {
	t := figures.AssessmentTrace{Status: figures.Validated, At: b.now(), Rules: b.people.all()}
	var err error
	if t.Site, t.Year, t.Assessment.Limit, err = figures.ParseAssessmentID(id); err != nil {
		return t, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	place, ok := b.o.Places.Site(t.Site)
	if !ok {
		return t, fmt.Errorf("assessment %s: no such site: %w", id, fs.ErrNotExist)
	}
	names := t.Assessment.QuantitiesOf()
	if t.Hours, err = b.year(ctx, t.Site, t.Year, func(q string) bool { return slices.Contains(names, q) }); err != nil {
		return t, err
	}
	for _, h := range t.Hours {
		if b.people.status(t.Site, h.End) != figures.Validated {
			t.Status = figures.Provisional
		}
	}
	from, to := figures.YearSpan(t.Year)
	for _, since := range place.ClassChanges(from.Add(-8*time.Hour), to) {
		t.Classes = append(t.Classes, figures.DatedClass{Since: since, Class: string(place.ClassAt(since))})
	}
	t.Simulated = place.Simulated
	if t, err = figures.TraceAssessment(t); errors.Is(err, figures.ErrNoAssessment) {
		return t, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return t, err
}
