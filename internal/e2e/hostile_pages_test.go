package e2e

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// What devices and people call things is text on every page that shows places and
// figures, and in everything that leaves the house.
func TestHostileNamesOfPlacesAreOnlyText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// Marks that turn the direction of writing no place may be called, but a device
	// brings them.
	hostile := slices.DeleteFunc(slices.Clone(corpus), misleading.MatchString)
	sites := [][]string{{"code", "name", "district", "lat", "lon", "class", "certificate_number", "certificate_issuer", "operator", "public"}}
	sensors := [][]string{{"id", "name", "maker", "model", "serial", "note"}}
	deployments := [][]string{{"site", "sensor", "node", "device"}}
	var all []series
	for i, s := range hostile {
		next := hostile[(i+1)%len(hostile)]
		code := "jahat-" + strconv.Itoa(i)
		sites = append(sites, []string{code, s, "3374", "-6.99", "110.42", "acuan", next, s, next, "true"})
		sensors = append(sensors, []string{"alat-" + strconv.Itoa(i), s, next, s, next, s})
		deployments = append(deployments, []string{code, "alat-" + strconv.Itoa(i), "3374/jahat", s})
		all = append(all,
			series{s, "pm2_5", sparkplug.TypeDouble, telemetry.MicrogramPerCubicMetre},
			series{s, next, sparkplug.TypeDouble, telemetry.Unit(next)})
	}
	for _, s := range corpus {
		if misleading.MatchString(s) {
			all = append(all, series{s, "pm2_5", sparkplug.TypeDouble, telemetry.MicrogramPerCubicMetre})
		}
	}
	var files []string
	for name, rows := range map[string][][]string{"sites": sites, "sensors": sensors, "deployments": deployments} {
		files = append(files, filepath.Join(r.dir, name+".csv"))
		writeCSV(t, files[len(files)-1], rows)
	}
	var imported struct{ Changed []any }
	if err := r.admin(&imported, append([]string{"place", "import"}, files...)...); err != nil || len(imported.Changed) != 3*len(hostile) {
		t.Fatalf("%d imported: %v", len(imported.Changed), err)
	}
	r.importNodes("3374,jahat,kata-sandi-jahat,3374,\n", 1)
	d := r.connect("3374/jahat", "kata-sandi-jahat")
	d.every = 10 * time.Minute
	d.born(all...)
	now := time.Now().Truncate(time.Hour)
	for _, s := range all {
		var records []telemetry.Record
		for at := now.Add(-26 * time.Hour); at.Before(now); at = at.Add(d.every) {
			records = append(records, record(s.device, at, s.quantity, 40))
		}
		d.send(records...)
	}
	r.publicly("/stasiun/jahat-1", "/bukti/ispu-")

	b := browsertest.Start(t)
	look := func(p *browsertest.Page, path string) {
		t.Helper()
		found := browsertest.Eval[[]string](p, `[...document.querySelectorAll('img[src="x"], svg[onload], [onerror], [onload], [onmouseover], main script, main form[action*="alert"]')].map(e => e.outerHTML.slice(0, 80))`)
		if len(found) > 0 {
			t.Errorf("%s: elements came from a name: %v", path, found)
		}
		if mark := misleading.FindString(browsertest.Eval[string](p, "document.documentElement.outerHTML")); mark != "" {
			t.Errorf("%s: the page holds %q", path, mark)
		}
		if problems := p.Problems(); len(problems) > 0 {
			t.Errorf("%s: the browser complains: %v", path, problems)
		}
	}
	visit := func(p *browsertest.Page, paths ...string) {
		t.Helper()
		for _, path := range paths {
			p.Go(r.ready.Pages + path)
			look(p, path)
		}
	}
	citizen := b.Open(t, browsertest.Phone, r.ready.Pages+"/")
	link := browsertest.Eval[string](b.Open(t, browsertest.Phone, r.ready.Pages+"/stasiun/jahat-1"), `new URL(document.querySelector('main a[href*="/bukti/ispu-"]').href).pathname`)
	visit(citizen, "/", "/udara", "/wilayah/3374", "/en/stasiun/jahat-5", "/sematan/jahat-2", link, "/ralat", "/buletin", "/metode", "/data")
	for i, s := range hostile {
		visit(citizen, "/stasiun/jahat-"+strconv.Itoa(i))
		if text := citizen.Text("h1"); !strings.Contains(text, strings.TrimSpace(s)) {
			t.Errorf("the page of the station called %q says %q", s, text)
		}
	}
	for _, s := range corpus {
		visit(citizen, "/cari?q="+url.QueryEscape(s))
	}
	officer := r.signIn()
	visit(officer, "/dinas", "/dinas/provinsi", "/dinas/wilayah/3374", "/dinas/lokasi/jahat-1/riwayat", "/dinas/sensor/alat-0",
		"/dinas/sensor/alat-2", "/dinas/validasi", "/dinas/buletin", "/dinas/jaringan", "/dinas/jaringan/3374/jahat", "/dinas/atur/lokasi", "/dinas/atur/lokasi/jahat-1",
		"/dinas/atur/sensor", "/dinas/atur/ambang", "/dinas/atur/audit")
	officer.Screenshot("hostile-audit")
	for i := range hostile {
		visit(officer, "/dinas/lokasi/jahat-"+strconv.Itoa(i))
	}
	// The dry run of an import: what is refused is shown, too.
	bad := filepath.Join(r.dir, "refused.csv")
	lines := [][]string{sites[0]}
	for i, s := range corpus {
		lines = append(lines, []string{"tolak-" + strconv.Itoa(i), s, s, s, s, s, s, s, s, s})
	}
	writeCSV(t, bad, lines)
	officer.Go(r.ready.Pages + "/dinas/atur/impor")
	officer.Attach("#berkas", bad)
	officer.Submit("main form:has(#berkas) button")
	if text := officer.Text("main"); !strings.Contains(text, "sel salah") || !strings.Contains(text, corpus[1]) {
		t.Errorf("the dry run says %.300s", text)
	}
	look(officer, "the dry run")
	// A wall screen with a hostile label shows the same stations.
	officer.Go(r.ready.Pages + "/dinas/atur/layar")
	officer.Fill("main form [name=tempat]", corpus[1])
	officer.Submit("main form:has([name=tempat]) button[type=submit]")
	wall := regexp.MustCompile(`/layar/[A-Za-z0-9_-]+`).FindString(officer.Text("main"))
	if wall == "" {
		t.Fatalf("no wall screen: %.300s", officer.Text("main"))
	}
	visit(citizen, wall)

	// What machines read stays what it is, and a spreadsheet finds no formula.
	r.machineReadable("/umpan/jahat-1.atom", link+".json", "/dekat.json")
	for _, what := range []string{"sites", "sites/jahat-1", "sensors", "latest", "observations?site=jahat-1", "observations?site=jahat-3&resolution=raw", "indices?site=jahat-1"} {
		more := "?"
		if strings.Contains(what, "?") {
			more = "&"
		}
		r.machineReadable("/api/v1/"+what, "/api/v1/"+what+more+"format=csv")
	}
	day := now.Add(-time.Hour).In(figures.WIB).Format(time.DateOnly) // of the newest readings
	for _, resolution := range []string{"raw", "hour"} {
		text := browsertest.Eval[string](officer, `fetch("/dinas/lokasi/jahat-5/unduh?bentuk=csv&rinci=`+resolution+`&dari=`+day+`&sampai=`+day+`").then(r => r.text())`)
		noFormulas(t, "the officer's export", []byte(text))
	}
	// Workbooks hold texts as texts: a reader finds them again, and no formula.
	book := browsertest.Eval[string](officer, `fetch("/dinas/lokasi/jahat-5/unduh?bentuk=xlsx&rinci=hour&dari=`+day+`&sampai=`+day+`").then(r => r.blob()).then(b => new Promise(done => { const f = new FileReader(); f.onload = () => done(f.result.split(",")[1]); f.readAsDataURL(b) }))`)
	content, err := base64.StdEncoding.DecodeString(book)
	if err != nil {
		t.Fatal(err)
	}
	sheets, err := excelize.OpenReader(bytes.NewReader(content))
	if err != nil {
		t.Fatalf("the officer's workbook: %v", err)
	}
	for _, sheet := range sheets.GetSheetList() {
		rows, err := sheets.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for y, row := range rows {
			for x := range row {
				at, err := excelize.CoordinatesToCellName(x+1, y+1)
				if err != nil {
					t.Fatal(err)
				}
				if formula, err := sheets.GetCellFormula(sheet, at); err != nil || formula != "" {
					t.Errorf("%s!%s is a formula: %q, %v", sheet, at, formula, err)
				}
			}
		}
	}
	// Open data are written when the server starts, of the days that have ended.
	r.server.stop()
	r.serve()
	citizen = b.Open(t, browsertest.Phone, r.ready.Pages+"/data")
	var published []string
	await(t, "open data", patience, func() bool {
		citizen.Go(r.ready.Pages + "/data")
		published = browsertest.Eval[[]string](citizen, `[...document.querySelectorAll('main a[href$=".csv.gz"]')].map(a => new URL(a.href).pathname)`)
		return len(published) > 0
	})
	look(citizen, "/data")
	for _, path := range published {
		resp, err := http.Get(r.ready.Pages + path)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(resp.Body)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		text, err := io.ReadAll(z)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		noFormulas(t, path, text)
	}
	export := filepath.Join(r.dir, "places.zip")
	if out, err := exec.CommandContext(t.Context(), filepath.Join(bin, "pantau"), "place", "export", export, "--data", r.data()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	z, err := zip.OpenReader(export)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		noFormulas(t, f.Name, text)
	}
}

// misleading are marks that hide text or turn its direction.
var misleading = regexp.MustCompile(`[\x{202A}-\x{202E}\x{2066}-\x{2069}\x{200B}\x{FEFF}\x00-\x08]`)

func writeCSV(t testing.TB, file string, rows [][]string) {
	t.Helper()
	var b bytes.Buffer
	err := csv.NewWriter(&b).WriteAll(rows)
	if err == nil {
		err = os.WriteFile(file, b.Bytes(), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// machineReadable fetches public addresses and checks that they are what they say.
func (r *rig) machineReadable(paths ...string) {
	r.t.Helper()
	for _, path := range paths {
		resp, err := http.Get(r.ready.Pages + path)
		if err != nil {
			r.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // read to its end
		if err != nil || resp.StatusCode != http.StatusOK {
			r.t.Errorf("%s: %s %v", path, resp.Status, err)
			continue
		}
		kind := resp.Header.Get("Content-Type")
		switch {
		case strings.Contains(kind, "json"):
			if !json.Valid(body) {
				r.t.Errorf("%s is no JSON: %.200s", path, body)
			}
		case strings.Contains(kind, "csv"):
			noFormulas(r.t, path, body)
		case strings.Contains(kind, "xml"):
			if bytes.Contains(body, []byte("<script>")) || bytes.Contains(body, []byte("<img src=x")) {
				r.t.Errorf("%s holds a name as markup: %.300s", path, body)
			}
		default:
			r.t.Errorf("%s says it is %q", path, kind)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			r.t.Errorf("%s may be taken for something else", path)
		}
	}
}

// noFormulas fails if a spreadsheet would take a cell for a formula.
func noFormulas(t testing.TB, name string, text []byte) {
	t.Helper()
	in := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	in.FieldsPerRecord = -1
	rows, err := in.ReadAll()
	if err != nil || len(rows) < 2 {
		t.Errorf("%s: %d rows, %v", name, len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			first := strings.TrimLeft(cell, " \u00a0\u3000")
			if _, err := strconv.ParseFloat(first, 64); err != nil && strings.HasPrefix(first, "=") || strings.HasPrefix(first, "@") ||
				err != nil && (strings.HasPrefix(first, "+") || strings.HasPrefix(first, "-")) && len(first) > 1 {
				t.Errorf("%s: a spreadsheet computes %q", name, cell)
			}
		}
	}
}
