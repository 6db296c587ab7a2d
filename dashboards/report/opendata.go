package report

import (
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// OpenData writes one file a kind and day for everybody: the hours and the
// figures of all public sites, gzip CSV. A day is written once its last hour can
// be counted on, and again under a higher revision when anything in it changed.
type OpenData struct {
	Archive Archive
	Files   *Files
	Now     func() time.Time
	Logger  *slog.Logger
	// Settle is how long after midnight (WIB) a day is first written.
	Settle time.Duration
	// Back is how many days are looked at again each night.
	Back int
	// Licence names under which terms the files may be used.
	Licence Licence
}

// Licence is what users may do with the data.
type Licence struct {
	Name string // CC BY 4.0
	URL  string // of its text
}

// DefaultLicence is Creative Commons Attribution 4.0 International.
func DefaultLicence() Licence {
	return Licence{Name: "CC BY 4.0", URL: "https://creativecommons.org/licenses/by/4.0/"}
}

// Published lists the kinds that have open-data files, by the word in their
// addresses. Others come as their sites' data are released.
func Published() map[string]telemetry.Kind {
	return map[string]telemetry.Kind{"udara": telemetry.KindAir}
}

// Column is one entry of the data dictionary.
type Column struct{ Name, Type, ID, EN string }

// Dictionary explains the columns of the daily files.
func Dictionary() []Column {
	return []Column{
		{"id", "text", "Pengenal tetap baris ini; untuk angka ISPU juga alamat buktinya: /bukti/{id}", "Permanent id of the row; for an index also the address of its trace: /bukti/{id}"},
		{"site", "text", "Kode tetap lokasi", "Permanent code of the site"},
		{"quantity", "text", "Besaran: nama katalog (pm2_5, so2, …), ispu (24 jam berjalan), atau ispu_harian (hari WIB)", "Quantity: catalogue name (pm2_5, so2, …), ispu (rolling 24 h) or ispu_harian (day in WIB)"},
		{"unit", "text", "Satuan; 1 untuk indeks", "Unit; 1 for an index"},
		{"start", "time", "Awal rentang, RFC 3339 dengan +07:00", "Begin of the span, RFC 3339 with +07:00"},
		{"end", "time", "Akhir rentang, tidak termasuk", "End of the span, not included"},
		{"value", "number", "Rata-rata rentang, titik sebagai tanda desimal; kosong bila tidak ada nilai sah. Penghitung: pertambahannya", "Mean of the span with a decimal point; empty without a valid value. Of a counter its increase"},
		{"flags", "text", "Dipisah titik koma: incomplete (belum cukup data, tidak masuk indeks), zero_run (deretan nol yang mencurigakan, tidak dihitung), rejected:sebab=jumlah, gap:sebab=jumlah, estimate (perkiraan, bukan ISPU), above_500 (di atas 500)", "Separated by semicolons: incomplete (too little to count), zero_run (a suspect run of zeros, does not count), rejected:reason=count, gap:reason=count, estimate (not an ISPU), above_500"},
		{"status", "text", "sementara atau tervalidasi", "sementara (provisional) or tervalidasi (validated)"},
		{"class", "text", "Kelas lokasi saat itu: acuan, sni9178, indikatif", "Class of the site at that time: acuan (reference), sni9178, indikatif (indicative)"},
		{"revision", "number", "0 untuk yang pertama; naik setiap kali nilai berubah", "0 for the first; grows with each change"},
		{"simulated", "true/false", "true: data tiruan, bukan hasil ukur", "true: artificial data, not measured"},
	}
}

func columnNames() []string {
	var out []string
	for _, c := range Dictionary() {
		out = append(out, c.Name)
	}
	return out
}

// table is one day of a kind, site after site.
func (o *OpenData) table(ctx context.Context, kind telemetry.Kind, day time.Time) Table {
	end := day.Add(24 * time.Hour)
	return Table{Columns: columnNames(), Rows: func(yield func([]any, error) bool) {
		for _, site := range o.Archive.Places.Sites() {
			if !site.Public {
				continue
			}
			for row, err := range o.siteDay(ctx, site, kind, day, end) {
				if !yield(row, err) {
					return
				}
			}
		}
	}}
}

func (o *OpenData) siteDay(ctx context.Context, site places.Site, kind telemetry.Kind, day, end time.Time) iter.Seq2[[]any, error] {
	return func(yield func([]any, error) bool) {
		hours, err := o.Archive.Hours(ctx, site, nil, day, end)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, h := range hours {
			if KindOf(h.Quantity) != kind {
				continue
			}
			id := site.Code + ":" + h.Quantity + ":" + h.End.In(figures.WIB).Format("2006-01-02T15")
			if !yield([]any{id, site.Code, h.Quantity, string(h.Unit), h.Start, h.End, cell(h.Value), h.Flags(), string(h.Status), string(h.Class), h.Revision, h.Simulated}, nil) {
				return
			}
		}
		if kind != telemetry.KindAir {
			return
		}
		for _, k := range []figures.Kind{figures.Hourly, figures.Daily} {
			list, err := o.Archive.Book.Span(ctx, k, site.Code, day, end)
			if err != nil {
				yield(nil, fmt.Errorf("read the figures of %s: %w", site.Code, err))
				return
			}
			for _, f := range list {
				if !f.Published.IsZero() && !yield(figureRow(site, f), nil) {
					return
				}
			}
		}
	}
}

func cell(v *float64) any {
	if v == nil {
		return nil
	}
	return *v
}

func figureRow(site places.Site, f figures.Figure) []any {
	name := "ispu"
	if f.Kind == figures.Daily {
		name = "ispu_harian"
	}
	var value any
	var flags []string
	if f.OK {
		value = f.Index.Value
	} else {
		flags = append(flags, "incomplete")
	}
	if f.Estimate {
		flags = append(flags, "estimate")
	}
	if f.OK && f.Index.Above {
		flags = append(flags, "above_500")
	}
	return []any{f.ID, site.Code, name, string(telemetry.One), f.End.Add(-24 * time.Hour), f.End, value, strings.Join(flags, ";"),
		string(f.Status), string(site.ClassAt(f.End)), f.Revision, f.Simulated}
}

// Write writes a day's file if it differs from the newest one of that day; wrote
// says whether it did. A day without any row has no file.
func (o *OpenData) Write(ctx context.Context, word string, day time.Time) (f File, wrote bool, err error) {
	kind, ok := Published()[word]
	if !ok {
		return File{}, false, fmt.Errorf("open data of %q: no such kind", word)
	}
	day = DayOf(day)
	// Once to see whether anything is new, without touching the disk.
	sum := sha256.New()
	rows := 0
	var sites []string
	count := func(t Table) Table {
		all := t.Rows
		t.Rows = func(yield func([]any, error) bool) {
			for row, err := range all {
				if rows++; err == nil {
					if code, ok := row[1].(string); ok && !slices.Contains(sites, code) {
						sites = append(sites, code)
					}
				}
				if !yield(row, err) {
					return
				}
			}
		}
		return t
	}
	if err := count(o.table(ctx, kind, day)).CSV(sum); err != nil {
		return File{}, false, fmt.Errorf("open data of %s: %w", day.Format(time.DateOnly), err)
	}
	content := hex.EncodeToString(sum.Sum(nil))
	newest, revision, have := o.Newest(word, day)
	if have && newest.Content == content || !have && rows == 0 {
		return newest, false, nil
	}
	if have {
		revision++
	}
	name := fmt.Sprintf("data/%s/%s-r%d.csv.gz", word, day.Format(time.DateOnly), revision)
	f, err = o.Files.Keep(name, content, sites, func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
		if err != nil {
			return fmt.Errorf("compress: %w", err)
		}
		sum := sha256.New()
		err = o.table(ctx, kind, day).CSV(io.MultiWriter(z, sum))
		if err == nil && hex.EncodeToString(sum.Sum(nil)) != content {
			err = errChanging
		}
		return errors.Join(err, z.Close())
	})
	if errors.Is(err, errChanging) {
		return newest, false, nil // figures are arriving: the next look takes them
	}
	return f, err == nil, err
}

var errChanging = errors.New("the day changed while its file was written")

var fileName = regexp.MustCompile(`^data/([a-z]+)/(\d{4}-\d{2}-\d{2})-r(\d+)\.csv\.gz$`)

// Newest returns a day's file with the highest revision.
func (o *OpenData) Newest(word string, day time.Time) (newest File, revision int, ok bool) {
	for _, f := range o.Files.List("data/" + word + "/" + DayOf(day).Format(time.DateOnly) + "-r") {
		if m := fileName.FindStringSubmatch(f.Name); m != nil {
			if n, err := strconv.Atoi(m[3]); err == nil && (!ok || n > revision) {
				newest, revision, ok = f, n, true
			}
		}
	}
	return newest, revision, ok
}

// Refresh looks at the newest days that may be written by now, so many of them, and
// writes those that changed.
func (o *OpenData) Refresh(ctx context.Context, days int) error {
	last := DayOf(o.Now().Add(-24*time.Hour - o.Settle))
	for word := range Published() {
		for i := range days {
			if err := ctx.Err(); err != nil {
				return err
			}
			f, wrote, err := o.Write(ctx, word, last.AddDate(0, 0, -i))
			if err != nil {
				return err
			}
			if wrote {
				o.Logger.Info("open data written", "file", f.Name, "bytes", f.Size)
			}
		}
	}
	return nil
}

// Recent is how many days Run looks at within the hour of a change; the others
// wait for the night.
const Recent = 3

// Run refreshes until ctx ends: all days once after midnight and when there is no
// file yet, the newest once an hour if figures changed.
func (o *OpenData) Run(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	var seen uint64
	var night, hour time.Time
	for {
		now, changed := o.Now(), o.Archive.Book.Changed()
		today := DayOf(now.Add(-o.Settle))
		days := 0
		switch {
		case today.After(night), changed != seen && len(o.Files.List("data/")) == 0:
			days = o.Back
		case changed != seen && now.Truncate(time.Hour).After(hour):
			days = Recent
		}
		if days > 0 {
			if err := o.Refresh(ctx, days); err != nil && ctx.Err() == nil {
				o.Logger.Warn("open data are written later", "error", err)
			} else {
				seen, night, hour = changed, today, now.Truncate(time.Hour)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Listed is one open-data file that is there for everybody.
type Listed struct {
	Name string // pantau-udara-2026-11-23-r0.csv.gz
	URL  string
	Kind telemetry.Kind // "" = it describes the others
	Day  time.Time
	Size int64 // bytes; 0 = not known before it is made
}

// List returns what describes the files, and then each day's newest file, newest
// day first.
func (o *OpenData) List() []Listed {
	out := []Listed{{Name: "kamus.csv", URL: dictionaryPath}, {Name: "lisensi.txt", URL: licencePath}, {Name: "SHA256SUMS", URL: sumsPath}}
	newest := map[string]Listed{}
	for _, f := range o.Files.List("data/") {
		m := fileName.FindStringSubmatch(f.Name)
		if m == nil {
			continue
		}
		day, err := time.ParseInLocation(time.DateOnly, m[2], figures.WIB)
		best, revision, ok := o.Newest(m[1], day)
		if err != nil || !ok || best.Name != f.Name {
			continue
		}
		url := fmt.Sprintf("/data/%s/%s.csv.gz", m[1], m[2])
		newest[url] = Listed{Name: fmt.Sprintf("pantau-%s-%s-r%d.csv.gz", m[1], m[2], revision), URL: url, Kind: Published()[m[1]], Day: day, Size: f.Size}
	}
	for _, url := range slices.Backward(slices.SortedFunc(maps.Keys(newest), func(a, b string) int {
		return cmp.Or(newest[a].Day.Compare(newest[b].Day), cmp.Compare(a, b))
	})) {
		out = append(out, newest[url])
	}
	return out
}
