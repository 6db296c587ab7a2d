package places_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// bundle makes a zip of CSV files.
func bundle(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		f, err := z.Create(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// workbook makes an XLSX file; each sheet is a name and rows.
func workbook(t *testing.T, sheets map[string][][]any) []byte {
	t.Helper()
	f := excelize.NewFile() // with an empty Sheet1
	for name, rows := range sheets {
		if _, err := f.NewSheet(name); err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			if err := f.SetSheetRow(name, fmt.Sprint("A", i+1), &row); err != nil {
				t.Fatal(err)
			}
		}
	}
	var b bytes.Buffer
	if err := errors.Join(f.Write(&b), f.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (w *world) load(file []byte, dry bool) places.ImportResult {
	w.t.Helper()
	r, err := w.Import(w.t.Context(), file, dry)
	w.must(err)
	return r
}

func (w *world) export(format string) []byte {
	w.t.Helper()
	var b bytes.Buffer
	w.must(w.Export(&b, format))
	return b.Bytes()
}

// everything is what the store knows, as text.
func everything(s *places.Store) string {
	return fmt.Sprintf("%+v\n%+v\n%+v", s.Sites(), s.Sensors(), s.Written(""))
}

const goodSites = "\ufeffcode;name;district;lat;lon;class;public\n" +
	"smg-1;Simpang Lima;3374;-6,9903;110,4229;acuan;ya\n" +
	"smg-2;\"Ngesrep; Banyumanik\";3374;-7.05;110.42;;tidak\n"

const goodSensors = "id,maker,calibrated\nsps-17,Sensirion,2026-10-01\n"

const goodDeployments = "site,node,device,sensor,from,to,main,interval_s\n" +
	"smg-1,3374/balaikota,sps30,sps-17,2026-11-01 07:00,,pm2_5 pm10,\n" +
	"smg-2,3374/ngesrep,*,,,2026-11-10,-,120\n"

func TestImportAddsAndChanges(t *testing.T) {
	w := newWorld(t)
	files := bundle(t, "sites.csv", goodSites, "sensors.csv", goodSensors, "deployments.csv", goodDeployments)
	before := everything(w.Store)
	dry := w.load(files, true)
	if !dry.Dry || !dry.OK() || len(dry.Changed) != 5 || everything(w.Store) != before {
		t.Fatalf("dry run: %+v\n%s", dry, everything(w.Store))
	}
	wet := w.load(files, false)
	if fmt.Sprint(wet.Changed) != fmt.Sprint(dry.Changed) || wet.Dry {
		t.Errorf("changed %v, said %v", wet.Changed, dry.Changed)
	}
	site, _ := w.Site("smg-1")
	if site.Lat != -6.9903 || site.Class != places.Reference || !site.Public {
		t.Errorf("%+v", site)
	}
	if other, _ := w.Site("smg-2"); other.Name != "Ngesrep; Banyumanik" || other.Class != places.Indicative {
		t.Errorf("%+v", other)
	}
	d, ok := w.At(telemetry.Node{Group: "3374", ID: "balaikota"}, "sps30", day(1))
	if !ok || d.Sensor != "sps-17" || !d.From.Equal(day(1)) || !slices.Equal(d.Main, []string{"pm10", "pm2_5"}) {
		t.Errorf("%+v", d)
	}
	if d := w.Written("smg-2"); len(d) != 1 || d[0].Main == nil || len(d[0].Main) != 0 || !d[0].To.Equal(day(10).Add(-7*time.Hour)) {
		t.Errorf("%+v", d)
	}
	if again := w.load(files, false); len(again.Changed) != 0 || again.Same != 5 {
		t.Errorf("the same file again: %+v", again)
	}
	// A column that is left out stays; one that is there and empty is emptied.
	part := w.load([]byte("code\tname\nsmg-1\tSimpang 5\n"), false)
	if want := "[sites smg-1: changed name]"; fmt.Sprint(part.Changed) != want {
		t.Errorf("%v, want %s", part.Changed, want)
	}
	if site, _ := w.Site("smg-1"); site.Name != "Simpang 5" || site.Lat != -6.9903 || !site.Public {
		t.Errorf("%+v", site)
	}
}

// What a person who filled in a table must be told: every wrong cell, where it
// is, and what it should be; and nothing is changed.
func TestImportNamesEachWrongCell(t *testing.T) {
	w := newWorld(t)
	w.load([]byte(goodSites), false)
	w.must(w.PutDeployment(t.Context(), places.Deployment{ID: "first", Node: gwA, Device: "sps30", Site: "smg-1", Main: []string{"pm2_5"}}))
	before := everything(w.Store)
	sites := "code,name,district,lat,lon,colour\n" +
		"smg-3,Baik,3374,-6.9,110.4,\n" +
		"smg-4,Buruk,9999,utara,110.4,\n" +
		",Tanpa kode,3374,,,\n" +
		",Juga,12,,,\n" +
		"smg-3,Lagi,3374,,,\n" +
		"smg-5,Terbalik,3374,110.4,-6.9,\n" +
		"smg-6,A\u202eB,3374,,,,kelebihan\n"
	deployments := "id,site,node,device,from,to,main,interval_s\n" +
		",smg-3,balaikota,sps30,kemarin,,pm99,0.5\n" +
		",smg-9,3374/x,sps30,2026-11-02,2026-11-01,,\n" +
		",smg-1,3374/y,sps30,2026-11-02,,pm2_5,\n" +
		",smg-4,3374/z,sps30,2026-11-02,,,\n" +
		"a b,smg-1,3374/q,sps30,,,,\n"
	want := []string{
		`deployments 2 node balaikota format C`,
		`deployments 2 from kemarin format E`,
		`deployments 2 interval_s 0.5 range H`,
		`deployments 2 main pm99 unknown G`,
		`deployments 3 site smg-9 unknown B`,
		`deployments 3 to 2026-11-01 00:00 WIB order F`,
		`deployments 4 main pm2_5 taken G`,
		`deployments 6 id a b format A`,
		`sites 1 colour colour unknown F`,
		`sites 3 district 9999 unknown C`,
		`sites 3 lat utara format D`,
		`sites 4 code  missing A`,
		`sites 5 code  missing A`,
		`sites 5 district 12 unknown C`,
		`sites 6 code smg-3 twice `,
		`sites 7 lat 110.4 range D`,
		`sites 7 lon -6.9 range E`,
		`sites 8  kelebihan unknown G`,
	}
	for _, dry := range []bool{true, false} {
		r := w.load(bundle(t, "sites.csv", sites, "deployments.csv", deployments), dry)
		var got []string
		for _, c := range r.Wrong {
			if c.Want == "" {
				t.Errorf("%v does not say what is wanted", c)
			}
			got = append(got, fmt.Sprintf("%s %d %s %s %s %s", c.Sheet, c.Row, c.Column, c.Value, c.Why, strings.TrimRight(c.Ref, "0123456789")))
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("dry %t: wrong cells\n%s\nwant\n%s", dry, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if r.OK() || len(r.Changed) > 0 || everything(w.Store) != before {
			t.Errorf("dry %t: something was changed: %+v", dry, r.Changed)
		}
	}
	if line := w.load([]byte(sites), true).Wrong[1].String(); line != `sites, row 3, column district (C3): "9999": want the BPS code of a kabupaten or kota of Jawa Tengah, for example 3374` &&
		line != `sites, row 3, column lat (D3): "utara": want a number, for example -6.9903` {
		t.Error(line)
	}
}

// A spreadsheet has its own numbers, dates and truth.
func TestImportOfAWorkbook(t *testing.T) {
	w := newWorld(t)
	r := w.load(workbook(t, map[string][][]any{
		"Sites": {
			{"Code", "District", "Lat", "Lon", "Public", "Class", "Certificate_Number", "certificate_expires"},
			{"smg-1", 3374, -6.99, 110.42, true, "sni9178", "17/2026", time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)},
		},
		"alat":        {{"id", "serial"}, {"sps-17", "007"}}, // known by its heads
		"deployments": {{"site", "node", "device", "sensor", "from"}, {}, {"smg-1", "3374/balaikota", "sps30", "sps-17", time.Date(2026, 11, 1, 7, 30, 0, 0, time.UTC)}},
	}), false)
	if !r.OK() || len(r.Changed) != 3 {
		t.Fatalf("%+v", r)
	}
	site, _ := w.Site("smg-1")
	if !site.Public || site.District != "3374" || site.Lat != -6.99 || !site.Certificate.Expires.Equal(time.Date(2027, 2, 28, 17, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", site)
	}
	if d := w.Written("smg-1"); len(d) != 1 || !d[0].From.Equal(time.Date(2026, 11, 1, 0, 30, 0, 0, time.UTC)) {
		t.Errorf("%+v", d)
	}
	if s, _ := w.Sensor("sps-17"); s.Serial != "007" {
		t.Errorf("%+v", s)
	}
	// Row numbers are the sheet's, empty rows or not.
	r = w.load(workbook(t, map[string][][]any{"deployments": {{"site", "node", "device", "from"}, {}, {"smg-1", "3374/x", "y", 12}}}), true)
	if len(r.Wrong) != 1 || r.Wrong[0].Ref != "D3" || r.Wrong[0].Why != places.Format {
		t.Errorf("%+v", r)
	}
}

var hostile = []string{
	`=HYPERLINK("http://evil.example","x")`, `+1+1`, `-2`, `@SUM(A1)`, `'quoted`, `'=x`, ` =x`, `＝1`, "a;b,\"c\"", `<script>alert(1)</script>`, `' OR 1=1 --`,
}

// What is exported can be edited and imported again, and no cell of it is a
// formula where it is opened.
func TestExportIsSafeAndComesBack(t *testing.T) {
	w := newWorld(t)
	for i, name := range hostile {
		w.must(w.PutSite(t.Context(), places.Site{Code: fmt.Sprintf("site-%02d", i), Name: name, District: "3374", Lat: -6.99, Lon: 110.42, Operator: name}))
		w.must(w.PutSensor(t.Context(), places.Sensor{ID: fmt.Sprint("s", i), Name: name, Note: name, Calibrated: day(i + 1)}))
	}
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: telemetry.Node{Group: "=1", ID: "@x"}, Device: "=cmd", Site: "site-00", From: day(1), To: day(2).Add(90 * time.Second), Main: []string{}}))
	was := everything(w.Store)
	for _, format := range []string{places.FormatXLSX, places.FormatZIP} {
		file := w.export(format)
		r := w.load(file, false)
		if !r.OK() || len(r.Changed) != 0 || r.Same != 2*len(hostile)+1 {
			t.Errorf("%s came back as another: %+v", format, r)
		}
		empty := newWorld(t)
		if r := empty.load(file, false); !r.OK() {
			t.Errorf("%s into an empty store: %+v", format, r)
		}
		if got := everything(empty.Store); got != was {
			t.Errorf("%s: %s\nwant %s", format, got, was)
		}
	}
	f, err := excelize.OpenReader(bytes.NewReader(w.export(places.FormatXLSX)))
	w.must(err)
	for _, sheet := range f.GetSheetList() {
		rows, err := f.GetRows(sheet)
		w.must(err)
		for i, row := range rows {
			for j := range row {
				cell, _ := excelize.CoordinatesToCellName(j+1, i+1)
				if formula, err := f.GetCellFormula(sheet, cell); err != nil || formula != "" {
					t.Errorf("%s %s is the formula %q, %v", sheet, cell, formula, err)
				}
			}
		}
	}
	w.must(f.Close())
	z, err := zip.NewReader(bytes.NewReader(w.export(places.FormatZIP)), int64(len(w.export(places.FormatZIP))))
	w.must(err)
	for _, f := range z.File {
		r, err := f.Open()
		w.must(err)
		var text bytes.Buffer
		_, err = text.ReadFrom(r)
		w.must(err)
		for _, line := range strings.Split(text.String(), "\n") {
			for _, start := range []string{"=", "+", "@", "\"=", "\"+", "\"@", "\" =", "-2"} {
				if strings.HasPrefix(line, start) || strings.Contains(line, ","+start) {
					t.Errorf("%s: a cell begins with %s: %s", f.Name, start, line)
				}
			}
		}
	}
}

func TestImportRefusesWhatIsNoTable(t *testing.T) {
	w := newWorld(t)
	for says, file := range map[string][]byte{
		"is empty":        []byte(" \n"),
		"want the heads":  []byte("a,b,c\n1,2,3\n"),
		"not UTF-8":       []byte("code,name\nx,\xff\xfe\n"),
		"damaged":         []byte("PK\x03\x04 and nothing more"),
		"end with .csv":   bundle(t, "sites.txt", "code\n"),
		"no CSV file":     bundle(t),
		"can't be read":   bundle(t, "[Content_Types].xml", "<no/>"),
		"more than 16 Mi": bytes.Repeat([]byte("x"), places.MaxImport+1),
		"more than 20000": []byte("code\n" + strings.Repeat("x\n", 20_001)),
	} {
		if says == "no CSV file" {
			file = bundle(t, "folder/", "")
		}
		if _, err := w.Import(t.Context(), file, true); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: want one that says %q", err, says)
		}
	}
	r := w.load([]byte("code,name\nsmg-1,\"open\nsmg-2,x\n"), true)
	if r.OK() || r.Wrong[0].Row == 0 || !strings.Contains(r.Wrong[0].Want, "CSV") {
		t.Errorf("%+v", r)
	}
}

// An import that two people start at once is one of them after the other, whole.
func TestImportIsWholeBesideOtherChanges(t *testing.T) {
	w := newWorld(t)
	other := w.open(places.Options{KV: w.kv})
	table := func(by string) []byte {
		var b strings.Builder
		b.WriteString("code,district,name\n")
		for i := range 300 {
			fmt.Fprintf(&b, "site-%d,3374,%s\n", i, by)
		}
		return []byte(b.String())
	}
	done := make(chan error, 2)
	for by, s := range map[string]*places.Store{"one": w.Store, "two": other} {
		go func() {
			_, err := s.Import(context.WithoutCancel(t.Context()), table(by), false)
			done <- err
		}()
	}
	w.must(errors.Join(<-done, <-done))
	fresh := w.open(places.Options{KV: w.kv})
	names := map[string]int{}
	for _, s := range fresh.Sites() {
		names[s.Name]++
	}
	if len(names) != 1 || len(fresh.Sites()) != 300 {
		t.Errorf("%v", names)
	}
}
