// Package publicationtest opens a real book for the tests of pages, API and
// reports, and fills it with weeks of plausible hours in a moment.
//
// It promises that the book is the real one, on a real KV bucket and file in a
// temporary folder: only the reading of InfluxDB is left out, and the clock is the
// test's.
package publicationtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// TB is what Open needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	TempDir() string
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Desk is a book, its sites and its clock.
type Desk struct {
	*publication.Book
	t TB

	mu    sync.Mutex
	now   time.Time
	sites map[string]places.Site
}

// Noon is when a desk's clock stands first: 26 November 2026, 12.30 WIB.
var Noon = time.Date(2026, 11, 26, 12, 30, 0, 0, figures.WIB).UTC()

// Open opens an empty book in which the sites are known. The clock stands at Noon.
func Open(t TB, sites ...places.Site) *Desk {
	t.Helper()
	return OpenAt(t, Noon, sites...)
}

// OpenAt opens one whose clock stands first at now: a book judges silence and
// makes bulletins from then on.
func OpenAt(t TB, now time.Time, sites ...places.Site) *Desk {
	t.Helper()
	d, shut := open(t, t.TempDir(), now, sites)
	t.Cleanup(shut)
	return d
}

// Filled opens a copy of the book that fill has filled, as a server finds its files
// when it starts again. The work is done once a process for the same name, clock and
// sites; fill may use nothing else that changes.
func Filled(t TB, name string, now time.Time, sites []places.Site, fill func(*Desk)) *Desk {
	t.Helper()
	made := template(t, fmt.Sprint(name, now.UnixNano(), sites), func(dir string) time.Time {
		d, shut := open(t, dir, now, sites)
		defer shut()
		fill(d)
		return d.Now()
	})
	dir := t.TempDir()
	for name, content := range made.files {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatalf("copy the book: %v", err)
		}
	}
	d, shut := open(t, dir, made.now, sites)
	t.Cleanup(shut)
	return d
}

// filled is a book that lies still: its files, by their names below its folder.
type filled struct {
	files map[string][]byte
	now   time.Time
}

var templates struct {
	sync.Mutex
	made map[string]filled
}

func template(t TB, key string, fill func(dir string) (now time.Time)) filled {
	t.Helper()
	templates.Lock()
	defer templates.Unlock()
	if made, ok := templates.made[key]; ok {
		return made
	}
	dir := t.TempDir()
	made := filled{files: map[string][]byte{}, now: fill(dir)}
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			made.files[name], err = os.ReadFile(path)
		}
		return err
	}); err != nil {
		t.Fatalf("read the book's files: %v", err)
	}
	if templates.made == nil {
		templates.made = map[string]filled{}
	}
	templates.made[key] = made
	return made
}

func open(t TB, dir string, now time.Time, sites []places.Site) (d *Desk, shut func()) {
	t.Helper()
	d = &Desk{t: t, now: now, sites: map[string]places.Site{}}
	d.PutSites(sites...)
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(ctx, journal.Options{Dir: filepath.Join(dir, "journal"), Logger: log})
	if err != nil {
		t.Fatalf("open the journal: %v", err)
	}
	kv, err := j.KV(ctx, "publication", journal.KVOptions{})
	if err != nil {
		t.Fatalf("open the bucket: %v", err)
	}
	d.Book, err = publication.Open(ctx, publication.Options{Dir: dir, KV: kv, Places: (*known)(d), Now: d.Now, Logger: log})
	if err != nil {
		t.Fatalf("open the book: %v", err)
	}
	return d, func() { d.close(d.Close); d.close(j.Close) }
}

func (d *Desk) close(f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f(ctx); err != nil {
		d.t.Fatalf("close: %v", err)
	}
}

// known is what a desk knows of places.
type known Desk

func (k *known) Site(code string) (places.Site, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.sites[code]
	return s, ok
}

func (k *known) Sites() []places.Site {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []places.Site
	for _, s := range k.sites {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b places.Site) int { return strings.Compare(a.Code, b.Code) })
	return out
}

// A desk has no nodes: its hours come from Feed.

func (k *known) Nodes(string, time.Time, time.Time) []telemetry.Node { return nil }

func (k *known) During(telemetry.Node, string, time.Time, time.Time) []places.Deployment { return nil }

func (k *known) Utama(string, string, time.Time, []places.Deployment) (places.Deployment, bool) {
	return places.Deployment{}, false
}

// PutSites adds sites or changes them.
func (d *Desk) PutSites(sites ...places.Site) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range sites {
		d.sites[s.Code] = s
	}
}

// Now is the desk's clock.
func (d *Desk) Now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

// SetNow sets the clock and does what is due by then: figures, silence, bulletins.
// Silence is judged for every hour that the clock passes.
func (d *Desk) SetNow(now time.Time) {
	d.t.Helper()
	d.mu.Lock()
	d.now = now
	d.mu.Unlock()
	d.settle()
}

func (d *Desk) settle() {
	d.t.Helper()
	if err := d.Settle(context.Background()); err != nil {
		d.t.Fatalf("settle: %v", err)
	}
}

// Feed enters hours as late data and computes the figures that follow.
func (d *Desk) Feed(hours ...figures.SiteHour) {
	d.t.Helper()
	if err := d.PutHours(context.Background(), hours, figures.LateData); err != nil {
		d.t.Fatalf("feed: %v", err)
	}
	d.settle()
}

// Hour is a whole hour of a mean: 60 of 60 readings.
func Hour(site, quantity string, end time.Time, mean float64) figures.SiteHour {
	h := figures.SiteHour{Site: site, Quantity: quantity, End: end.UTC(), Valid: 60, Expected: 60,
		Sources: []figures.Source{{Node: telemetry.Node{Group: "3374", ID: site}, Device: "air", Sensor: "s-" + site}}}
	q, _ := telemetry.Lookup(quantity)
	switch q.Agg {
	case telemetry.AggCounter:
		h.First, h.Last, h.Increase = mean, mean+1, 1
	case telemetry.AggLast:
		h.Last = mean
	case telemetry.AggSum:
		h.Sum = mean
	case telemetry.AggMean, telemetry.AggCircular:
		h.Mean, h.Min, h.Max = mean, mean*0.7, mean*1.4
	}
	return h
}

// History feeds whole hours with from < end ≤ to of each quantity, in the order of
// time. value may return NaN for an hour without readings.
func (d *Desk) History(site string, from, to time.Time, quantities []string, value func(quantity string, end time.Time) float64) {
	d.t.Helper()
	var hours []figures.SiteHour
	for end := from.Truncate(time.Hour).Add(time.Hour); !end.After(to); end = end.Add(time.Hour) {
		for _, q := range quantities {
			if v := value(q, end); !math.IsNaN(v) {
				hours = append(hours, Hour(site, q, end, v))
			}
		}
	}
	d.Feed(hours...)
}

// Daily is a plausible course: a wave over the day (WIB) around base with two
// rushes, a little different from day to day, the same in every run.
func Daily(base float64) func(quantity string, end time.Time) float64 {
	return func(quantity string, end time.Time) float64 {
		h := float64(end.In(figures.WIB).Hour())
		day := float64(end.Unix() / 86400 % 11)
		rush := math.Exp(-(h-7)*(h-7)/6) + math.Exp(-(h-19)*(h-19)/8)
		return math.Round(base*(0.8+0.6*rush+0.03*day)*float64(100+len(quantity))/100*100) / 100
	}
}
