package report_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/xuri/excelize/v2"

	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func wib(day, hour, minute int) time.Time {
	return time.Date(2026, 11, day, hour, minute, 0, 0, figures.WIB)
}

// desk is a real book; its sites are the places.
type desk struct {
	*publicationtest.Desk
	sites []places.Site
}

func (d *desk) Sites() []places.Site { return d.sites }

func (d *desk) Site(code string) (places.Site, bool) {
	i := slices.IndexFunc(d.sites, func(s places.Site) bool { return s.Code == code })
	if i < 0 {
		return places.Site{}, false
	}
	return d.sites[i], true
}

func (d *desk) Nodes(string, time.Time, time.Time) []telemetry.Node { return nil }
func (d *desk) At(telemetry.Node, string, time.Time) (places.Deployment, bool) {
	return places.Deployment{}, false
}
func (d *desk) Utama(string, string, time.Time, []places.Deployment) (places.Deployment, bool) {
	return places.Deployment{}, false
}

type office struct {
	*desk
	t       *testing.T
	handler *report.Handler
	open    *report.OpenData
	dir     string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	sites := []places.Site{
		{Code: "rahasia", Name: "Rahasia", District: "3374", Class: places.Reference},
		{Code: "smg-1", Name: "=1+1 Balai Kota", District: "3374", Class: places.Reference, Public: true, Simulated: true},
		{Code: "smg-2", Name: "Pasar", District: "3374", Class: places.SNI9178, Public: true},
	}
	o := &office{t: t, desk: &desk{publicationtest.Open(t, sites...), sites}, dir: t.TempDir()}
	for _, s := range sites {
		quantities := []string{"pm2_5", "temperature"}
		if s.Code == "smg-2" {
			quantities = append(quantities, "fill")
		}
		o.History(s.Code, wib(24, 0, 0), wib(26, 15, 0), quantities, publicationtest.Daily(40))
	}
	o.SetNow(wib(26, 15, 40))
	o.reopen()
	return o
}

func (o *office) reopen() {
	o.t.Helper()
	files, err := report.OpenFiles(filepath.Join(o.dir, "files"), o.Now)
	if err != nil {
		o.t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	o.open = &report.OpenData{Archive: report.Archive{Places: o.desk, Book: o.Desk}, Files: files, Now: o.Now, Logger: quiet, Settle: 2 * time.Hour, Back: 5, Licence: report.DefaultLicence()}
	o.handler = &report.Handler{Book: o.Desk, Places: o.desk, Open: o.open, Files: files, BaseURL: "https://pantau.example.go.id", Logger: quiet,
		District: func(code string) string { d, _ := places.FindDistrict(code); return d.Name }}
}

func (o *office) get(path string, headers ...string) *httptest.ResponseRecorder {
	o.t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	o.handler.ServeHTTP(w, r)
	return w
}

func (o *office) refresh() {
	o.t.Helper()
	if err := o.open.Refresh(o.t.Context(), o.open.Back); err != nil {
		o.t.Fatal(err)
	}
}

// rows unpacks a daily file.
func (o *office) rows(path string) [][]string {
	o.t.Helper()
	w := o.get(path)
	if w.Code != 200 {
		o.t.Fatalf("GET %s: %d", path, w.Code)
	}
	z, err := gzip.NewReader(w.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		o.t.Fatal(err)
	}
	return rows
}

func TestADayIsWrittenOnceAndAgainWhenItChanged(t *testing.T) {
	o := newOffice(t)
	o.refresh()
	rows := o.rows("/data/udara/2026-11-25.csv.gz")
	if got := strings.Join(rows[0], ","); got != "id,site,quantity,unit,start,end,value,flags,status,class,revision,simulated" {
		t.Errorf("columns %s", got)
	}
	hours, indices, days := 0, 0, 0
	for _, r := range rows[1:] {
		switch r[2] {
		case "pm2_5", "temperature":
			hours++
		case "ispu":
			indices++
		case "ispu_harian":
			days++
		default:
			t.Errorf("row %v", r)
		}
		if r[1] == "rahasia" || !strings.HasSuffix(r[4], "+07:00") || !strings.HasSuffix(r[5], "+07:00") {
			t.Errorf("row %v", r)
		}
		if (r[1] == "smg-1") != (r[11] == "true") {
			t.Errorf("simulated: %v", r)
		}
	}
	if hours != 2*2*24 || indices != 2*24 || days != 2 {
		t.Errorf("%d hours, %d indices, %d days", hours, indices, days)
	}
	if w := o.get("/data/udara/2026-11-26.csv.gz"); w.Code != http.StatusNotFound {
		t.Errorf("a day that is not over: %d", w.Code)
	}
	o.refresh()
	if w := o.get("/data/udara/2026-11-25-r1.csv.gz"); w.Code != http.StatusNotFound {
		t.Errorf("nothing changed, and yet there is a revision: %d", w.Code)
	}
	o.Feed(publicationtest.Hour("smg-1", "pm2_5", wib(25, 9, 0), 123.25))
	o.refresh()
	o.reopen() // a restart forgets nothing
	find := func(path string) []string {
		for _, r := range o.rows(path) {
			if r[0] == "smg-1:pm2_5:2026-11-25T09" {
				return r
			}
		}
		return nil
	}
	if r := find("/data/udara/2026-11-25.csv.gz"); r == nil || r[6] != "123.25" || r[10] != "1" {
		t.Errorf("the newest: %v", r)
	}
	if r := find("/data/udara/2026-11-25-r0.csv.gz"); r == nil || r[6] == "123.25" || r[10] != "0" {
		t.Errorf("the first: %v", r)
	}
	if o.refresh(); len(o.open.Files.List("data/udara/2026-11-24")) != 1 {
		t.Error("the day before was written again")
	}
}

func TestTheSumsAreThoseOfTheFiles(t *testing.T) {
	o := newOffice(t)
	o.refresh()
	lines := strings.Split(strings.TrimSpace(o.get("/data/SHA256SUMS").Body.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	for _, line := range lines {
		sum, name, _ := strings.Cut(line, "  ")
		w := o.get("/data/" + name)
		got := sha256.Sum256(w.Body.Bytes())
		if hex.EncodeToString(got[:]) != sum || w.Header().Get("ETag") != `"`+sum+`"` {
			t.Errorf("%s: %x, ETag %s", line, got, w.Header().Get("ETag"))
		}
		if again := o.get("/data/"+name, "If-None-Match", w.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s again: %d", name, again.Code)
		}
	}
	if text := o.get("/data/lisensi.txt").Body.String(); !strings.Contains(text, "CC BY 4.0") {
		t.Errorf("licence: %s", text)
	}
	if text := o.get("/data/kamus.csv").Body.String(); strings.Count(text, "\r\n") != 13 {
		t.Errorf("dictionary: %s", text)
	}
	var names []string
	for _, f := range o.open.List() {
		names = append(names, f.Name)
		if w := o.get(f.URL); w.Code != 200 {
			t.Errorf("%s is listed, but answers %d", f.URL, w.Code)
		}
	}
	if want := "kamus.csv lisensi.txt SHA256SUMS pantau-udara-2026-11-25-r0.csv.gz pantau-udara-2026-11-24-r0.csv.gz"; strings.Join(names, " ") != want {
		t.Errorf("listed: %v", names)
	}
}

func TestASiteThatIsNotPublicAnyMoreLeavesTheFiles(t *testing.T) {
	o := newOffice(t)
	o.refresh()
	o.sites[1].Public = false
	if w := o.get("/data/udara/2026-11-25.csv.gz"); w.Code != http.StatusGone {
		t.Errorf("before the file is written again: %d", w.Code)
	}
	if text := o.get("/data/SHA256SUMS").Body.String(); text != "" {
		t.Errorf("listed: %s", text)
	}
	o.refresh()
	for _, r := range o.rows("/data/udara/2026-11-25.csv.gz") {
		if r[1] == "smg-1" {
			t.Fatalf("row %v", r)
		}
	}
	if w := o.get("/data/udara/2026-11-25-r0.csv.gz"); w.Code != http.StatusGone {
		t.Errorf("the old file: %d", w.Code)
	}
}

// A photo is served while a public site shows it, and not otherwise.
func TestAPhotoIsServedForAPublicSiteOnly(t *testing.T) {
	o := newOffice(t)
	hash := strings.Repeat("ab", 32)
	if _, err := o.handler.Files.Keep(report.PhotoName(hash), "", nil, func(w io.Writer) error { _, err := io.WriteString(w, "a picture"); return err }); err != nil {
		t.Fatal(err)
	}
	path := "/foto/" + hash + ".jpg"
	for _, step := range []struct {
		site int // that shows it
		want int
	}{{-1, 404}, {0, 404}, {1, 200}} {
		for i := range o.sites {
			o.sites[i].Photo = ""
		}
		if step.site >= 0 {
			o.sites[step.site].Photo = hash
		}
		if w := o.get(path); w.Code != step.want || w.Code == 200 && (w.Body.String() != "a picture" || w.Header().Get("Content-Type") != "image/jpeg") {
			t.Errorf("shown by site %d: %d %v", step.site, w.Code, w.Header())
		}
	}
	if !o.handler.Serves(path) || o.handler.Serves("/foto/x.jpg") {
		t.Error("the wrong addresses are its own")
	}
}

func TestABulletinIsServedAsItWasHandedOut(t *testing.T) {
	o := newOffice(t)
	w := o.get("/buletin/2026-11-26-1500.pdf")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/pdf" || !bytes.HasPrefix(w.Body.Bytes(), []byte("%PDF-")) {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	sum := sha256.Sum256(w.Body.Bytes())
	if w.Header().Get("ETag") != `"`+hex.EncodeToString(sum[:])+`"` {
		t.Errorf("ETag %s", w.Header().Get("ETag"))
	}
	o.sites[1].Name = "Another name"
	o.reopen()
	for _, path := range []string{"/buletin/2026-11-26-1500.pdf", "/buletin/2026-11-26-1500-r0.pdf", "/buletin/2026-11-26-1500.pdf?revisi=0", "/en/buletin/2026-11-26-1500.pdf"} {
		if again := o.get(path); again.Code != 200 || !bytes.Equal(again.Body.Bytes(), w.Body.Bytes()) {
			t.Errorf("%s: %d, other bytes", path, again.Code)
		}
	}
	o.Feed(publicationtest.Hour("smg-2", "pm2_5", wib(26, 9, 0), 150))
	if err := o.Revise(t.Context(), "2026-11-26-1500", "siti", figures.LateData); err != nil {
		t.Fatal(err)
	}
	newest, first := o.get("/buletin/2026-11-26-1500.pdf"), o.get("/buletin/2026-11-26-1500-r0.pdf")
	if newest.Code != 200 || bytes.Equal(newest.Body.Bytes(), first.Body.Bytes()) || !bytes.Equal(first.Body.Bytes(), w.Body.Bytes()) {
		t.Errorf("after the revision: %d, %d", newest.Code, first.Code)
	}
	for _, path := range []string{"/buletin/2026-11-26-1400.pdf", "/buletin/2026-11-26-1500-r7.pdf", "/buletin/../../etc.pdf", "/data/udara/2026-13-99.csv.gz", "/data/rahasia/2026-11-25.csv.gz"} {
		if w := o.get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func extract(o *office, kinds ...telemetry.Kind) report.Extract {
	return report.Extract{Site: o.sites[2], Kinds: kinds, Resolution: report.Hourly, From: wib(25, 0, 0), To: wib(26, 0, 0)}
}

func TestExportsHoldWhatTheirReaderMaySeeAndNoFormula(t *testing.T) {
	o := newOffice(t)
	h := publicationtest.Hour("smg-2", "pm2_5", wib(25, 9, 0), 41)
	h.Rejected = map[string]int{"=cmd|'/c calc'!A1": 2}
	o.Feed(h)
	for _, c := range []struct {
		kinds []telemetry.Kind
		rows  int
	}{{[]telemetry.Kind{telemetry.KindAir}, 48}, {[]telemetry.Kind{telemetry.KindAir, telemetry.KindWaste}, 72}, {nil, 0}} {
		var asCSV, asXLSX, asParquet bytes.Buffer
		for f, b := range map[report.Format]*bytes.Buffer{report.CSV: &asCSV, report.XLSX: &asXLSX, report.Parquet: &asParquet} {
			if err := o.open.Archive.Export(t.Context(), b, f, extract(o, c.kinds...)); err != nil {
				t.Fatalf("%s: %v", f, err)
			}
		}
		lines, err := csv.NewReader(&asCSV).ReadAll()
		if err != nil || len(lines) != c.rows+1 {
			t.Errorf("CSV: %d rows, %v", len(lines)-1, err)
		}
		book, err := excelize.OpenReader(&asXLSX)
		if err != nil {
			t.Fatal(err)
		}
		sheet, err := book.GetRows("Pantau")
		if err != nil || len(sheet) != c.rows+1 {
			t.Errorf("XLSX: %d rows, %v", len(sheet)-1, err)
		}
		flagged := 0
		for i, row := range sheet {
			for j, cell := range row {
				at, err := excelize.CoordinatesToCellName(j+1, i+1)
				if err != nil {
					t.Fatal(err)
				}
				if formula, err := book.GetCellFormula("Pantau", at); err != nil || formula != "" {
					t.Errorf("%s runs %q (%v)", at, formula, err)
				}
				if strings.Contains(cell, "calc") {
					flagged++
				}
			}
		}
		if c.rows > 0 && (flagged != 1 || sheet[1][3] != "2026-11-25 00:00:00") {
			t.Errorf("%d cells name the reason; the first row is %v", flagged, sheet[1])
		}
		if err := book.Close(); err != nil {
			t.Error(err)
		}
		all, err := parquet.Read[report.Row](bytes.NewReader(asParquet.Bytes()), int64(asParquet.Len()))
		if err != nil || len(all) != c.rows {
			t.Errorf("Parquet: %d rows, %v", len(all), err)
		}
		for i, row := range all {
			if lines[i+1][1] != row.Quantity || fmt.Sprint(*row.Value) != lines[i+1][5] || row.End != mustTime(t, lines[i+1][4]).UnixMilli() {
				t.Errorf("row %d: CSV %v, Parquet %+v", i, lines[i+1], row)
			}
		}
	}
	e := extract(o)
	e.Resolution = "minute"
	if err := o.open.Archive.Export(t.Context(), io.Discard, report.CSV, e); err == nil {
		t.Error("an unknown resolution is exported")
	}
}

func mustTime(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestCellsThatASpreadsheetWouldRunAreText(t *testing.T) {
	for in, want := range map[string]string{
		"=1+1": "'=1+1", "+62": "'+62", "-5": "'-5", "@x": "'@x", "  =1": "'  =1", "＝1": "'＝1", "PM2,5": "PM2,5", "": "", "a=b": "a=b",
		"\u202e=1": "\ufffd=1", "a\tb\nc": "a\ufffdb\ufffdc", "'=1": "'=1",
	} {
		if got := report.Cell(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// A run of exact zeros is complete in number and yet does not count, whatever part of
// it a reader asks for; a dry day is no such run.
func TestARunOfZerosDoesNotCountInTheFiles(t *testing.T) {
	o := newOffice(t)
	zero := func(string, time.Time) float64 { return 0 }
	o.History("smg-2", wib(25, 5, 0), wib(25, 8, 0), []string{"pm2_5", "rain"}, zero)
	o.History("smg-2", wib(25, 10, 0), wib(25, 12, 0), []string{"pm2_5"}, zero)
	o.refresh()
	flags := map[string]string{}
	for _, r := range o.rows("/data/udara/2026-11-25.csv.gz") {
		flags[r[0]] = r[7]
	}
	for hour, want := range map[string]string{"05": "", "06": "zero_run", "07": "zero_run", "08": "zero_run", "09": "", "11": "", "12": ""} {
		if got, ok := flags["smg-2:pm2_5:2026-11-25T"+hour]; !ok || got != want {
			t.Errorf("the hour that ends at %s has the flags %q, want %q", hour, got, want)
		}
	}
	a := o.open.Archive
	for name, c := range map[string]struct {
		from, to time.Time
		counts   bool
	}{"its first hour alone": {wib(25, 5, 0), wib(25, 6, 0), false}, "its last hour alone": {wib(25, 7, 0), wib(25, 8, 0), false}, "the hour after": {wib(25, 8, 0), wib(25, 9, 0), true}} {
		hours, err := a.Hours(t.Context(), o.sites[2], []string{"pm2_5"}, c.from, c.to)
		if err != nil || len(hours) != 1 || hours[0].Complete != c.counts {
			t.Errorf("%s: %+v, %v", name, hours, err)
		}
	}
	if dry, err := a.Hours(t.Context(), o.sites[2], []string{"rain"}, wib(25, 5, 0), wib(25, 8, 0)); err != nil || len(dry) != 3 || !dry[1].Complete {
		t.Errorf("an hour without rain does not count: %+v, %v", dry, err)
	}
	days, err := a.Days(t.Context(), o.sites[2], []string{"pm2_5"}, wib(25, 0, 0), wib(26, 0, 0))
	if err != nil || len(days) != 1 || days[0].Valid != 21 {
		t.Errorf("the day: %+v, %v", days, err)
	}
}
