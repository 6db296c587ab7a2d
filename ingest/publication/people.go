package publication

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/pantau-id/pantau/internal/figures"
)

// people is what people have set. It is read once and kept here; a change is
// durable before it shows. Only this process writes it.
type people struct {
	kv KV

	changing sync.Mutex // one change at a time; taken before mu
	mu       sync.RWMutex
	rules    []figures.DatedRules // by version; the first is the default
	marks    map[string][]figures.Mark
	notes    map[string][]figures.Annotation
	months   map[[2]string]figures.Month // by site and month
	agency   figures.Agency
}

func rulesKey(version int) string { return fmt.Sprintf("%s%06d", prefixRules, version) }

// Prefixes of the keys.
const (
	prefixRules = "rules/"
	prefixMark  = "mark/"
	prefixNote  = "annotation/"
	prefixMonth = "month/"
	keyAgency   = "agency"
)

func (p *people) load(ctx context.Context, kv KV) error {
	p.kv = kv
	p.marks, p.notes, p.months = map[string][]figures.Mark{}, map[string][]figures.Annotation{}, map[[2]string]figures.Month{}
	all, err := kv.List(ctx, "")
	if err != nil {
		return fmt.Errorf("read rules, marks and months: %w", err)
	}
	if _, ok := all[rulesKey(0)]; !ok {
		// Kept like all others: a later version of the program may have other defaults,
		// and the traces of figures must stay what they are.
		first := figures.DatedRules{Rules: figures.DefaultRules(), Reason: "default", By: "pantau"}
		if err := p.keep(ctx, rulesKey(0), first, true); err != nil {
			return err
		}
	}
	for key, value := range all {
		if err := p.take(key, value); err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
	}
	slices.SortFunc(p.rules, func(a, b figures.DatedRules) int { return cmp.Compare(a.Version, b.Version) })
	for _, list := range p.marks {
		slices.SortFunc(list, compareMarks)
	}
	for _, list := range p.notes {
		slices.SortFunc(list, compareNotes)
	}
	return nil
}

// compareMarks puts marks in the order in which they were made: later ones
// overrule earlier ones.
func compareMarks(a, b figures.Mark) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) }

func compareNotes(a, b figures.Annotation) int {
	return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.ID, b.ID))
}

func (p *people) take(key string, value []byte) error {
	switch {
	case strings.HasPrefix(key, prefixRules):
		var r figures.DatedRules
		if err := json.Unmarshal(value, &r); err != nil {
			return err
		}
		p.rules = append(p.rules, r)
	case strings.HasPrefix(key, prefixMark):
		var m figures.Mark
		if err := json.Unmarshal(value, &m); err != nil {
			return err
		}
		p.marks[m.Site] = append(p.marks[m.Site], m)
	case strings.HasPrefix(key, prefixNote):
		var a figures.Annotation
		if err := json.Unmarshal(value, &a); err != nil {
			return err
		}
		p.notes[a.Site] = append(p.notes[a.Site], a)
	case strings.HasPrefix(key, prefixMonth):
		var m figures.Month
		if err := json.Unmarshal(value, &m); err != nil {
			return err
		}
		p.months[[2]string{m.Site, m.Month}] = m
	case key == keyAgency:
		return json.Unmarshal(value, &p.agency)
	}
	return nil
}

// keep makes a change durable, then lets it show.
func (p *people) keep(ctx context.Context, key string, v any, fresh bool) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if fresh {
		_, err = p.kv.Create(ctx, key, body)
	} else {
		_, err = p.kv.Put(ctx, key, body)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(key, body)
}

func newID() string { return strings.ToLower(rand.Text())[:16] }

// at returns the rules in force at a time.
func (p *people) at(t time.Time) figures.DatedRules {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return figures.InForce(p.rules, t)
}

// all returns the rules by version.
func (p *people) all() []figures.DatedRules {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.rules)
}

func (p *people) version(n int) (figures.DatedRules, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, r := range p.rules {
		if r.Version == n {
			return r, nil
		}
	}
	return figures.DatedRules{}, fmt.Errorf("rules of version %d are not known any more", n)
}

// locked reports whether the month of the hour that ends at end is validated.
func (p *people) locked(site string, end time.Time) bool {
	return p.status(site, end) == figures.Validated
}

func (p *people) status(site string, end time.Time) figures.Status {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.months) == 0 {
		return figures.Provisional
	}
	if m, ok := p.months[[2]string{site, figures.MonthOf(end)}]; ok {
		return m.Status
	}
	return figures.Provisional
}

func (p *people) marksOf(site string) []figures.Mark {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.marks[site][:len(p.marks[site]):len(p.marks[site])]
}

// Rules lists the rules by version; the first holds since ever.
func (b *Book) Rules(context.Context) ([]figures.DatedRules, error) { return b.people.all(), nil }

// RulesAt returns the rules in force at a time.
func (b *Book) RulesAt(t time.Time) figures.DatedRules { return b.people.at(t) }

// SetRules sets rules that hold from Since on. Version and At are the book's to
// give; the reason is shown on the page of methods. A date in the past is refused:
// a change alters no figure that there is (RecomputeSince does, and says so).
func (b *Book) SetRules(ctx context.Context, r figures.DatedRules) error {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	now := b.now()
	switch {
	case r.Since.Before(now):
		return fmt.Errorf("rules: since %s lies in the past: give a coming date, or recompute since then", r.Since.In(figures.WIB).Format("2006-01-02 15:04"))
	case strings.TrimSpace(r.Reason) == "" || r.By == "":
		return errors.New("rules: say who changes them and why")
	}
	return b.addRules(ctx, r, now)
}

// addRules is called with people.changing held.
func (b *Book) addRules(ctx context.Context, r figures.DatedRules, now time.Time) error {
	if len(r.Rules.Articles) == 0 {
		r.Rules.Articles = figures.Articles()
	}
	if err := r.Rules.Check(); err != nil {
		return err
	}
	b.people.mu.RLock()
	r.Version = b.people.rules[len(b.people.rules)-1].Version + 1
	b.people.mu.RUnlock()
	r.Since, r.At = r.Since.UTC(), now
	if err := b.people.keep(ctx, rulesKey(r.Version), r, true); err != nil {
		return err
	}
	b.changes.Add(1)
	return b.reapply()
}

// RecomputeSince lets the rules of now hold from t on and computes every figure
// since then anew; those that change become revisions with the reason rules.
// Validated months stay as they are. It is listed among Rules with who and why.
func (b *Book) RecomputeSince(ctx context.Context, t time.Time, by, reason string) error {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	now := b.now()
	if t.After(now) || strings.TrimSpace(reason) == "" || by == "" {
		return errors.New("recompute: give a date in the past, who asks for it and why")
	}
	return b.addRules(ctx, figures.DatedRules{Since: t, Rules: b.people.at(now).Rules, Reason: reason, By: by}, now)
}

// Marks lists a site's marks that touch a span, in the order in which they were
// made; zero times do not narrow.
func (b *Book) Marks(_ context.Context, site string, from, to time.Time) ([]figures.Mark, error) {
	return touching(b.people.marksOf(site), from, to, func(m figures.Mark) (time.Time, time.Time) { return m.From, m.To }), nil
}

func touching[T any](all []T, from, to time.Time, span func(T) (time.Time, time.Time)) (out []T) {
	for _, x := range all {
		f, t := span(x)
		if (to.IsZero() || f.Before(to)) && (from.IsZero() || !t.Before(from)) {
			out = append(out, x)
		}
	}
	return out
}

// AddMark takes a span of a quantity out, or lets it count again. The hours that
// it touches are computed anew. ID and At are the book's to give. A span of which
// a part lies in a validated month is refused.
func (b *Book) AddMark(ctx context.Context, m figures.Mark) (figures.Mark, error) {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	switch {
	case m.Site == "" || m.Quantity == "":
		return m, errors.New("mark: name the site and the quantity")
	case !m.From.Before(m.To):
		return m, errors.New("mark: the span ends before it begins")
	case m.To.Sub(m.From) > 400*24*time.Hour:
		return m, errors.New("mark: the span is longer than 400 days")
	case !slices.Contains(figures.MarkCodes(), m.Code):
		return m, fmt.Errorf("mark: code %q: want one of %s", m.Code, strings.Join(figures.MarkCodes(), ", "))
	case m.By == "":
		return m, errors.New("mark: say who makes it")
	}
	if err := b.refuseLocked(m.Site, m.From, m.To); err != nil {
		return m, fmt.Errorf("mark: %w", err)
	}
	m.ID, m.At, m.From, m.To = newID(), b.now(), m.From.UTC(), m.To.UTC()
	if last := b.people.marksOf(m.Site); len(last) > 0 && !m.At.After(last[len(last)-1].At) {
		m.At = last[len(last)-1].At.Add(time.Millisecond) // the order decides
	}
	if err := b.people.keep(ctx, prefixMark+m.Site+"/"+m.ID, m, true); err != nil {
		return m, err
	}
	b.changes.Add(1)
	return m, b.reapply()
}

// ErrLocked is what an error wraps that a validated month is the reason of.
var ErrLocked = errors.New("the month is validated: open it again first")

func (b *Book) refuseLocked(site string, from, to time.Time) error {
	for t := figures.Day(from.Add(time.Nanosecond)); t.Before(to); t = t.Add(24 * time.Hour) {
		if end := t.Add(24 * time.Hour); b.people.locked(site, end) {
			return fmt.Errorf("%s of %s: %w", figures.MonthOf(end), site, ErrLocked)
		}
	}
	return nil
}

// Annotations lists a site's remarks that hold and touch a span, by their
// beginning: corrected and withdrawn ones are in Remarked only.
func (b *Book) Annotations(_ context.Context, site string, from, to time.Time) ([]figures.Annotation, error) {
	b.people.mu.RLock()
	defer b.people.mu.RUnlock()
	return touching(holding(b.people.notes[site]), from, to, func(a figures.Annotation) (time.Time, time.Time) { return a.From, a.To }), nil
}

// Remarked lists all that was ever remarked at a site, corrections and withdrawals
// included, in the order in which it was written.
func (b *Book) Remarked(_ context.Context, site string) ([]figures.Annotation, error) {
	b.people.mu.RLock()
	defer b.people.mu.RUnlock()
	out := slices.Clone(b.people.notes[site])
	slices.SortFunc(out, func(a, b figures.Annotation) int { return a.At.Compare(b.At) })
	return out, nil
}

// holding leaves of remarks those that nobody corrected or withdrew.
func holding(all []figures.Annotation) (out []figures.Annotation) {
	corrected := map[string]bool{}
	for _, a := range all {
		corrected[a.Corrects] = true
	}
	for _, a := range all {
		if !a.Withdrawn && !corrected[a.ID] {
			out = append(out, a)
		}
	}
	return out
}

// Annotate adds a remark, or a correction of one that holds: both stay, with who
// wrote them, when and why. ID and At are the book's to give; a withdrawal takes
// span and text of what it ends. It wraps fs.ErrNotExist if what is to be
// corrected does not hold (any more).
func (b *Book) Annotate(ctx context.Context, a figures.Annotation) (figures.Annotation, error) {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	if a.Corrects != "" {
		b.people.mu.RLock()
		held := holding(b.people.notes[a.Site])
		b.people.mu.RUnlock()
		i := slices.IndexFunc(held, func(h figures.Annotation) bool { return h.ID == a.Corrects })
		switch {
		case i < 0:
			return a, fmt.Errorf("annotation %s of %s: %w, or somebody corrected it meanwhile", a.Corrects, a.Site, fs.ErrNotExist)
		case strings.TrimSpace(a.Why) == "":
			return a, errors.New("annotation: say why it is corrected")
		case a.Withdrawn:
			a.From, a.To, a.Text = held[i].From, held[i].To, held[i].Text
		}
	}
	if a.To.IsZero() {
		a.To = a.From
	}
	switch {
	case a.Site == "" || a.By == "" || strings.TrimSpace(a.Text) == "":
		return a, errors.New("annotation: give the site, who writes and a text")
	case a.Corrects == "" && a.Withdrawn:
		return a, errors.New("annotation: name the one that is withdrawn")
	case a.From.IsZero() || a.To.Before(a.From):
		return a, errors.New("annotation: the span ends before it begins")
	case len(a.Text) > 2000 || len(a.Why) > 2000:
		return a, fmt.Errorf("annotation: the text has %d bytes, the reason %d, at most 2000 are allowed", len(a.Text), len(a.Why))
	}
	a.ID, a.At, a.From, a.To = newID(), b.now(), a.From.UTC(), a.To.UTC()
	b.people.mu.RLock()
	for _, earlier := range b.people.notes[a.Site] {
		if !a.At.After(earlier.At) {
			a.At = earlier.At.Add(time.Millisecond) // the order tells the story
		}
	}
	b.people.mu.RUnlock()
	if err := b.people.keep(ctx, prefixNote+a.Site+"/"+a.ID, a, true); err != nil {
		return a, err
	}
	b.people.mu.Lock()
	slices.SortFunc(b.people.notes[a.Site], compareNotes)
	b.people.mu.Unlock()
	b.changes.Add(1)
	return a, nil
}

// Months lists the states of a site's months that somebody has set, oldest first.
// All others are sementara.
func (b *Book) Months(_ context.Context, site string) ([]figures.Month, error) {
	b.people.mu.RLock()
	defer b.people.mu.RUnlock()
	var out []figures.Month
	for key, m := range b.people.months {
		if key[0] == site {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b figures.Month) int { return strings.Compare(a.Month, b.Month) })
	return out, nil
}

// SetMonth closes a month that has ended (tervalidasi): from then on nothing
// changes its hours and figures, and what comes waits. Opening it again needs a
// note that says why; what waited is then computed.
func (b *Book) SetMonth(ctx context.Context, m figures.Month) error {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	from, to, err := figures.MonthSpan(m.Month)
	now := b.now()
	switch {
	case err != nil:
		return fmt.Errorf("month %q: want for example 2026-11: %w", m.Month, err)
	case m.Site == "" || m.By == "":
		return errors.New("month: give the site and who decides")
	case m.Status != figures.Validated && m.Status != figures.Provisional:
		return fmt.Errorf("month: status %q: want %s or %s", m.Status, figures.Provisional, figures.Validated)
	case m.Status == figures.Validated && now.Before(to):
		return fmt.Errorf("month %s has not ended: it can be validated from %s on", m.Month, to.In(figures.WIB).Format("2006-01-02 15:04"))
	}
	if m.Status == figures.Validated {
		if err := b.computed(m.Site, from, to); err != nil {
			return fmt.Errorf("month %s of %s: %w", m.Month, m.Site, err)
		}
	}
	was := b.people.status(m.Site, to)
	if was == m.Status {
		return fmt.Errorf("month %s of %s is %s already", m.Month, m.Site, m.Status)
	}
	if m.Status == figures.Provisional && strings.TrimSpace(m.Note) == "" {
		return fmt.Errorf("month %s of %s: say why it is opened again", m.Month, m.Site)
	}
	m.At = now
	if err := b.people.keep(ctx, prefixMonth+m.Site+"/"+m.Month, m, false); err != nil {
		return err
	}
	b.changes.Add(1)
	return b.reapply()
}

// computed returns an error while something of a span waits to be computed: what is
// closed before stays unfinished.
func (b *Book) computed(site string, from, to time.Time) error {
	return b.checked("see whether all is computed", b.file.view(func(tx *bbolt.Tx) error {
		judged, err := getTime(tx.Bucket(bucketMeta), keyTicked)
		if err != nil {
			return err
		}
		waits := judged.Before(to)
		first, _ := placeOf(from.Add(time.Hour))
		last, _ := placeOf(to)
		for day := first; day <= last && !waits; day++ {
			key := daySite(day, site)
			waits = tx.Bucket(bucketDirty).Get(key) != nil || tx.Bucket(bucketDue).Get(key) != nil
		}
		if waits {
			return errors.New("its last figures are still being computed: try again in some minutes")
		}
		return nil
	}))
}

// Agency returns the letterhead.
func (b *Book) Agency(context.Context) (figures.Agency, error) {
	b.people.mu.RLock()
	defer b.people.mu.RUnlock()
	return b.people.agency, nil
}

// SetAgency sets the letterhead of the bulletins to come.
func (b *Book) SetAgency(ctx context.Context, a figures.Agency) error {
	b.people.changing.Lock()
	defer b.people.changing.Unlock()
	if err := b.people.keep(ctx, keyAgency, a, false); err != nil {
		return err
	}
	b.changes.Add(1)
	return nil
}

// reapply turns what people changed into hours and figures to compute: each
// change once, also if a kill came between its being kept and this.
func (b *Book) reapply() error {
	err := b.write("note what people changed", func(tx *bbolt.Tx) error {
		applied := tx.Bucket(bucketApplied)
		once := func(key string, do func() error) error {
			if have, err := get(applied, []byte(key)); err != nil || have != nil {
				return err
			}
			if err := do(); err != nil {
				return err
			}
			return put(applied, []byte(key), []byte{1})
		}
		b.people.mu.RLock()
		defer b.people.mu.RUnlock()
		for _, marks := range b.people.marks {
			for _, m := range marks {
				if err := once(prefixMark+m.ID, func() error {
					return markDirty(tx, m.Site, m.From, m.To, figures.Validation, b.now())
				}); err != nil {
					return err
				}
			}
		}
		for _, r := range b.people.rules[1:] {
			if err := once(rulesKey(r.Version), func() error {
				if !r.Since.Before(r.At) {
					return nil // alters nothing that there is
				}
				return allDue(tx, r.Since, r.At, figures.RuleChange, b.now())
			}); err != nil {
				return err
			}
		}
		for _, m := range b.people.months {
			if m.Status == figures.Validated {
				continue
			}
			if err := release(tx, m, b.now()); err != nil {
				return err
			}
		}
		return nil
	})
	b.worker.wake()
	return err
}

// release lets what waited for an opened month be computed.
func release(tx *bbolt.Tx, m figures.Month, now time.Time) error {
	from, to, err := figures.MonthSpan(m.Month)
	if err != nil {
		return err
	}
	var keys [][]byte
	err = eachWaiting(tx, m.Site, from, to, func(key []byte, w figures.Waiting) error {
		keys = append(keys, slices.Clone(key))
		if err := markDirty(tx, m.Site, w.End.Add(-time.Hour), w.End, w.Reason, now); err != nil {
			return err
		}
		day, _ := placeOf(w.End)
		return markDue(tx, daySite(day, m.Site), w.Reason, now)
	})
	for _, key := range keys {
		err = errors.Join(err, tx.Bucket(bucketWaiting).Delete(key))
	}
	return err
}
