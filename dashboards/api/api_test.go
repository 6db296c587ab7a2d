package api_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/api"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/page"
)

var update = flag.Bool("update", false, "write the examples of the document anew")

// requests is one real request of each operation.
func requests(w *world) map[string]string {
	id := figures.FigureID(figures.Hourly, "contoh-1", wib(26, 9, 0), 0)
	return map[string]string{
		"districts":    "/api/v1/districts?limit=2",
		"sites":        "/api/v1/sites?district=3374&class=acuan",
		"site":         "/api/v1/sites/contoh-1",
		"sensors":      "/api/v1/sensors?site=contoh-1",
		"latest":       "/api/v1/latest?site=contoh-1",
		"observations": "/api/v1/observations?site=contoh-1&quantity=pm2_5&from=2026-11-25T18:00:00%2B07:00&to=2026-11-25T20:00:00%2B07:00",
		"indices":      "/api/v1/indices?site=contoh-1",
		"exceedances":  "/api/v1/exceedances?site=contoh-2&year=2026&limit=2",
		"bulletins":    "/api/v1/bulletins?from=2026-11-26&to=2026-11-27&limit=1",
		"bulletin":     "/api/v1/bulletins/2026-11-26-1500?revision=0",
		"corrections":  "/api/v1/corrections?from=2026-11-26&to=2026-11-27&limit=1",
		"trace":        "/api/v1/traces/" + url.PathEscape(id),
	}
}

func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	w := full(t)
	for operation, path := range requests(w) {
		g := w.valid(path)
		if g.StatusCode != 200 || g.Header.Get("Content-Type") != "application/json" || g.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v %s", operation, g.StatusCode, g.Header, g.body)
			continue
		}
		if bytes.Contains(g.body, []byte(`"data":[]`)) {
			t.Errorf("%s: an example without a row: %s", operation, g.body)
		}
		checkExample(t, operation, path, g.body)
	}
}

// checkExample compares the example in the document with what came.
func checkExample(t *testing.T, operation, path string, body []byte) {
	t.Helper()
	var want bytes.Buffer
	if err := json.Indent(&want, []byte(`{"request":"`+path+`","answer":`+string(body)+`}`), "", "  "); err != nil {
		t.Fatal(err)
	}
	want.WriteByte('\n')
	file := filepath.Join("examples", operation+".json")
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have, want.Bytes()) {
		t.Errorf("%s is not what is answered (%v): run go test ./dashboards/api -run TestEveryAnswer -update", file, err)
	}
}

func TestWhatIsNotPublicAppearsNowhere(t *testing.T) {
	w := full(t)
	paths := slices.Collect(maps.Values(requests(w)))
	for _, q := range []string{"", "?limit=5000"} {
		for _, p := range []string{"districts", "sites", "sensors", "latest", "indices", "exceedances", "bulletins", "corrections"} {
			paths = append(paths, "/api/v1/"+p+q)
		}
	}
	for _, p := range []string{"indices?from=2026-11-23&limit=5000", "indices?kind=daily&from=2026-11-23", "corrections?from=2026-11-01", "bulletins?from=2026-11-23", "exceedances?year=2026",
		"observations?site=contoh-1&resolution=raw&from=2026-11-26T11:00:00%2B07:00&limit=5000", "observations?site=contoh-2&from=2026-11-23&limit=5000", "observations?site=contoh-2&resolution=day"} {
		paths = append(paths, "/api/v1/"+p)
	}
	for _, path := range paths {
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		for _, path := range []string{path, path + join + "format=csv"} {
			g := w.get(path)
			text := fmt.Sprint(g.Header) + string(g.body)
			for _, hidden := range []string{secret, "271.25", `"fill"`, ",fill,", "31337.5", "gateway", "by\":", "19700101"} {
				if g.StatusCode != 200 || strings.Contains(text, hidden) {
					t.Errorf("GET %s: %d, %q is in it:\n%.300s", path, g.StatusCode, hidden, text)
				}
			}
		}
	}
	id := figures.FigureID(figures.Hourly, secret, wib(26, 9, 0), 0)
	if _, err := w.desk.Trace(t.Context(), id); err != nil {
		t.Fatalf("the test asks for a figure that does not exist: %v", err)
	}
	for _, path := range []string{"sites/" + secret, "sensors?site=" + secret, "latest?site=" + secret, "observations?site=" + secret, "observations?resolution=raw&site=" + secret,
		"indices?site=" + secret, "exceedances?site=" + secret, "corrections?site=" + secret, "traces/" + id} {
		if g := w.valid("/api/v1/" + path); g.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, g.StatusCode)
		}
	}
	for _, q := range []string{"latest?quantity=fill", "observations?site=contoh-2&quantity=fill", "observations?site=contoh-2&quantity=nobody_knows"} {
		if g := w.valid("/api/v1/" + q); g.StatusCode != http.StatusBadRequest {
			t.Errorf("GET %s: %d", q, g.StatusCode)
		}
	}
	// A site that stops being public is gone at once, also from what was published.
	s, _ := w.places.Site("contoh-1")
	s.Public = false
	w.must(w.places.PutSite(t.Context(), s))
	for _, path := range []string{"sites", "indices", "bulletins?from=2026-11-23", "corrections?from=2026-11-01", "latest", "sensors"} {
		if g := w.get("/api/v1/" + path); strings.Contains(string(g.body), "contoh-1") {
			t.Errorf("GET %s still shows contoh-1", path)
		}
	}
}

func TestNamesStayText(t *testing.T) {
	w := full(t)
	for operation, path := range requests(w) {
		g := w.get(path)
		if strings.ContainsAny(string(g.body), "\u202e\u2066") || bytes.Contains(g.body, []byte("<script")) {
			t.Errorf("%s: %s", operation, g.body)
		}
	}
	for _, path := range []string{"sites", "sensors", "observations?site=contoh-2", "indices", "bulletins?from=2026-11-26", "latest"} {
		g := w.get("/api/v1/"+path, "Accept", "text/csv")
		if g.Header.Get("Content-Type") != "text/csv" {
			t.Errorf("%s: %v", path, g.Header)
		}
		rows, err := csv.NewReader(bytes.NewReader(g.body)).ReadAll()
		if err != nil || len(rows) < 2 {
			t.Errorf("%s: %d rows, %v", path, len(rows), err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if _, err := strconv.ParseFloat(cell, 64); err != nil && strings.ContainsAny(cell[:min(1, len(cell))], "=+-@\t\r") {
					t.Errorf("%s: a spreadsheet would run %q", path, cell)
				}
				if strings.ContainsAny(cell, "\u202e\x00") {
					t.Errorf("%s: %q turns the writing direction", path, cell)
				}
			}
		}
	}
	for _, path := range []string{
		"observations?site=" + url.QueryEscape("contoh-1'; DROP MEASUREMENT air --"), "observations?site=contoh-1&resolution=raw&quantity=" + url.QueryEscape(`pm2_5" FROM air; DROP MEASUREMENT air --`),
		"latest?quantity=" + url.QueryEscape(`*`), "sites/" + url.PathEscape("../../etc/passwd"), "traces/" + url.PathEscape("ispu-20261126-09-r0-contoh-1' OR 1=1"),
	} {
		if g := w.valid("/api/v1/" + path); g.StatusCode != http.StatusBadRequest && g.StatusCode != http.StatusNotFound {
			t.Errorf("GET %s: %d %s", path, g.StatusCode, g.body)
		}
	}
	if l := w.list("/api/v1/observations?site=contoh-1&resolution=raw&from=2026-11-26T11:00:00%2B07:00"); len(l.Data) == 0 {
		t.Error("after all that the readings are gone")
	}
}

// walk follows next to the end; between the pages things happen. It returns how
// often each row came.
func (w *world) walk(path string, key func(map[string]any) string, meanwhile func(page int)) map[string]int {
	w.t.Helper()
	rows := map[string]int{}
	for page := 0; path != ""; page++ {
		l := w.list(path)
		for _, row := range l.Data {
			rows[key(row)]++
		}
		path = l.Next
		meanwhile(page)
	}
	return rows
}

func TestAWalkSeesEachRowOnceWhileDataArrive(t *testing.T) {
	w := full(t)
	series := func(row map[string]any) string { return fmt.Sprint(row["end"], row["quantity"], row["site"]) }
	write := func(line string) { w.must(w.influx.Write(t.Context(), influx.Raw, []byte(line))) }
	for _, c := range []struct {
		path      string
		key       func(map[string]any) string
		meanwhile func(page int)
	}{
		{"observations?site=contoh-1&resolution=raw&from=2026-11-26T11:00:00%2B07:00", series, func(page int) {
			// One where the walk was, one where it will be, and one of another clock.
			write(fmt.Sprintf("air,group=3374,gateway=contoh-1,device=air pm2_5=1 %d\n", wib(26, 11, 0).UnixNano()+int64(page)*1_000_007))
			write(fmt.Sprintf("air,group=3374,gateway=contoh-1,device=air pm2_5=2 %d\n", wib(26, 12, 29).UnixNano()+int64(page)*1_000_007+5_000_000))
		}},
		{"observations?site=contoh-1&from=2026-11-23", series, func(page int) {
			w.desk.Feed(publicationtest.Hour("contoh-1", "pm2_5", wib(24, 5, 0), 50+float64(page)))
		}},
		{"observations?site=contoh-1&from=2026-11-23&window=8h", series, func(int) {}},
		{"observations?site=contoh-1&from=2026-11-20&resolution=day", series, func(int) {}},
		{"indices?from=2026-11-24", series, func(page int) {
			w.desk.Feed(publicationtest.Hour("contoh-3", "pm2_5", wib(25, 5, 0), 50+float64(page)))
		}},
		{"indices?kind=daily&from=2026-11-20", series, func(int) {}},
		{"districts", func(row map[string]any) string { return fmt.Sprint(row["code"]) }, func(int) {}},
		{"sites", func(row map[string]any) string { return fmt.Sprint(row["code"]) }, func(int) {}},
	} {
		join := "&"
		if !strings.Contains(c.path, "?") {
			join = "?"
		}
		want := map[string]bool{}
		for _, row := range w.list("/api/v1/" + c.path + join + "limit=5000").Data {
			want[c.key(row)] = true
		}
		got := w.walk("/api/v1/"+c.path+join+"limit="+map[bool]string{true: "7", false: "2"}[len(want) > 20], c.key, c.meanwhile)
		if len(want) < 2 {
			t.Errorf("%s: only %d rows", c.path, len(want))
		}
		for k := range want {
			if got[k] != 1 {
				t.Errorf("%s: row %s came %d times", c.path, k, got[k])
			}
		}
		for k, n := range got {
			if n != 1 {
				t.Errorf("%s: row %s came %d times", c.path, k, n)
			}
		}
	}
}

func TestReadingsCarryFlagsAndGaps(t *testing.T) {
	w := full(t)
	l := w.list("/api/v1/observations?site=contoh-1&resolution=raw&quantity=pm2_5&from=2026-11-26T11:10:00%2B07:00&to=2026-11-26T11:12:00%2B07:00")
	if len(l.Data) != 2 {
		t.Fatalf("%v", l.Data)
	}
	if r := l.Data[0]; r["value"] != 1200.0 || r["complete"] != false || fmt.Sprint(r["rejected"]) != "map[range:1]" || r["end"] != "2026-11-26T11:10:00+07:00" || r["sensor"] != "s-contoh-1" {
		t.Errorf("the rejected reading: %v", r)
	}
	if r := l.Data[1]; r["value"] != nil || fmt.Sprint(r["gaps"]) != "map[no_answer:1]" {
		t.Errorf("the gap: %v", r)
	}
	// A validator's mark rejects, too.
	_, err := w.desk.AddMark(t.Context(), figures.Mark{Site: "contoh-1", Quantity: "pm2_5", From: wib(26, 11, 20), To: wib(26, 11, 30), Invalid: true, Code: "maintenance", Note: "n", By: "v"})
	w.must(err)
	l = w.list("/api/v1/observations?site=contoh-1&resolution=raw&quantity=pm2_5&from=2026-11-26T11:19:00%2B07:00&to=2026-11-26T11:21:00%2B07:00")
	if len(l.Data) != 2 || l.Data[0]["complete"] != true || fmt.Sprint(l.Data[1]["rejected"]) != "map[maintenance:1]" {
		t.Errorf("after the mark: %v", l.Data)
	}
	latest := w.list("/api/v1/latest?site=contoh-1")
	if len(latest.Data) != 2 || latest.Data[0]["gap"] != "no_answer" || latest.Data[1]["value"] != 31.5 {
		t.Errorf("the latest: %v", latest.Data)
	}
}

func TestMeansAreMeans(t *testing.T) {
	w := full(t)
	value := func(q string) (values []float64) {
		for _, row := range w.list("/api/v1/observations?site=contoh-3&quantity=pm2_5&" + q).Data {
			values = append(values, row["value"].(float64))
		}
		return values
	}
	hours := value("from=2026-11-24T00:00:00%2B07:00&to=2026-11-25")
	if len(hours) != 24 {
		t.Fatalf("%d hours", len(hours))
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	mean := func(v []float64) float64 {
		sum := 0.0
		for _, x := range v {
			sum += x
		}
		return sum / float64(len(v))
	}
	three := value("window=3h&from=2026-11-24T02:00:00%2B07:00&to=2026-11-24T03:00:00%2B07:00")
	near("running mean of three hours", three[0], mean(hours[:3]))
	days := value("resolution=day&from=2026-11-24&to=2026-11-25")
	if len(days) != 1 {
		t.Fatalf("%d days", len(days))
	}
	near("mean of the day", days[0], mean(hours))
}

func TestAnIndexIsComputedAgainFromItsTrace(t *testing.T) {
	w := full(t)
	for _, row := range w.list("/api/v1/indices").Data {
		var trace api.Trace
		w.must(json.Unmarshal(w.valid(row["trace"].(string)).body, &trace))
		var hours []figures.SiteHour
		for _, h := range trace.Hours {
			hour := figures.SiteHour{Site: trace.Figure.Site, Quantity: h.Quantity, End: h.End, Valid: h.Valid, Expected: h.Expected}
			if h.Mean != nil {
				hour.Mean, hour.Min, hour.Max = *h.Mean, *h.Minimum, *h.Maximum
			}
			hours = append(hours, hour)
		}
		f := figures.Judge(figures.Figure{Kind: figures.Hourly, Site: trace.Figure.Site, End: trace.Figure.End}, hours, trace.Rules, trace.Figure.Class)
		if !f.OK || float64(f.Index.Value) != row["value"] || string(f.Index.Dominant) != row["dominant"] || f.Estimate != row["estimate"] {
			t.Errorf("%v is %d of %s from its trace", row, f.Index.Value, f.Index.Dominant)
		}
	}
}

func TestWhatDidNotChangeIsNotSentAgain(t *testing.T) {
	w := full(t)
	for operation, path := range requests(w) {
		first := w.get(path)
		tag := first.Header.Get("ETag")
		again := w.get(path, "If-None-Match", tag)
		if tag == "" || again.StatusCode != http.StatusNotModified || len(again.body) != 0 || again.Header.Get("ETag") != tag || again.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %q, %d with %d bytes", operation, tag, again.StatusCode, len(again.body))
		}
		if other := w.get(path, "Accept", "text/csv", "If-None-Match", tag); other.StatusCode != 200 {
			t.Errorf("%s: as CSV it is the same? %d", operation, other.StatusCode)
		}
	}
	const path = "/api/v1/observations?site=contoh-1&quantity=pm2_5&from=2026-11-24&to=2026-11-25"
	before := w.get(path)
	if before.Header.Get("Last-Modified") == "" {
		t.Error("no Last-Modified")
	}
	w.desk.Feed(publicationtest.Hour("contoh-1", "pm2_5", wib(24, 5, 0), 77))
	if dated := w.get(path, "If-Modified-Since", before.Header.Get("Last-Modified")); dated.StatusCode != 200 {
		t.Errorf("a date decided: %d", dated.StatusCode)
	}
	if after := w.get(path, "If-None-Match", before.Header.Get("ETag")); after.StatusCode != 200 || !bytes.Contains(after.body, []byte(`"value":77,`)) {
		t.Errorf("after a change: %d", after.StatusCode)
	}
}

func TestProblemsSayWhatToDo(t *testing.T) {
	w := full(t)
	ids := map[string]bool{}
	for path, want := range map[string]struct {
		status int
		word   string
	}{
		"observations": {400, "site"},
		"observations?site=contoh-1&from=yesterday":                 {400, "RFC 3339"},
		"observations?site=contoh-1&from=2026-11-26&to=2026-11-25":  {400, "before"},
		"observations?site=contoh-1&resolution=raw&from=2026-11-20": {400, "48 hours"},
		"observations?site=contoh-1&resolution=minute":              {400, "raw, hour, day"},
		"observations?site=contoh-1&resolution=day&window=8h":       {400, "resolution=hour"},
		"observations?site=contoh-1&limit=0":                        {400, "limit"},
		"observations?site=contoh-1&limit=99999":                    {400, "limit"},
		"observations?site=contoh-1&quantiy=pm10":                   {400, "unknown"},
		"observations?site=contoh-1&cursor=nonsense":                {400, "next"},
		"sites?format=xml":          {400, "csv"},
		"bulletins/2026-11-26-1400": {404, "/bulletins"},
		"traces/whatever":           {404, "public"},
		"nothing":                   {404, "/api"},
		"indices?from=2026-01-01":   {400, "31 days"},
	} {
		g := w.get("/api/v1/" + path)
		var p api.Problem
		if err := json.Unmarshal(g.body, &p); err != nil || g.StatusCode != want.status || p.Status != want.status || p.ID == "" || ids[p.ID] ||
			g.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(p.Detail+strings.Join(p.Errors, " "), want.word) {
			t.Errorf("GET %s: %d %s", path, g.StatusCode, g.body)
		}
		ids[p.ID] = true
	}
	other := w.list("/api/v1/sites?limit=1").Next
	if g := w.get(strings.Replace(other, "/sites?", "/sensors?", 1)); g.StatusCode != 400 {
		t.Errorf("a cursor of another list: %d", g.StatusCode)
	}
	if g := w.valid("/api/v1/sites", "Accept", "application/xml, image/*"); g.StatusCode != http.StatusNotAcceptable {
		t.Errorf("only XML is taken: %d", g.StatusCode)
	}
	for accept, want := range map[string]string{"": "application/json", "*/*": "application/json", "text/html,*/*;q=0.8": "application/json", "text/csv": "text/csv",
		"application/json;q=0.2, text/csv;q=0.9": "text/csv", "text/*": "text/csv", "application/json, text/csv": "application/json", "text/csv;q=0, */*": "application/json"} {
		if g := w.get("/api/v1/sites", "Accept", accept); g.Header.Get("Content-Type") != want {
			t.Errorf("Accept %q: %s", accept, g.Header.Get("Content-Type"))
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/api/v1/sites", strings.NewReader("x"))
	w.must(err)
	resp, err := http.DefaultClient.Do(r)
	w.must(err)
	w.must(resp.Body.Close())
	if resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") == "" {
		t.Errorf("POST: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestWhoAsksTooOftenWaits(t *testing.T) {
	w := empty(t, api.Options{Burst: 3, PerSecond: 0.25})
	w.desk.SetNow(now)
	for range 3 {
		if g := w.get("/api/v1/sites"); g.StatusCode != 200 {
			t.Fatalf("%d", g.StatusCode)
		}
	}
	g := w.get("/api/v1/sites")
	seconds, err := strconv.Atoi(g.Header.Get("Retry-After"))
	if g.StatusCode != http.StatusTooManyRequests || err != nil || seconds != 4 {
		t.Fatalf("%d, Retry-After %q", g.StatusCode, g.Header.Get("Retry-After"))
	}
	w.desk.SetNow(now.Add(time.Duration(seconds) * time.Second))
	if g := w.get("/api/v1/sites"); g.StatusCode != 200 {
		t.Errorf("after the wait: %d", g.StatusCode)
	}
}

func TestADraftIsNobodysBusiness(t *testing.T) {
	w := empty(t, api.Options{})
	rules := figures.DefaultRules()
	rules.AutoPublish = false
	w.must(w.desk.SetRules(t.Context(), figures.DatedRules{Since: wib(26, 13, 0), Rules: rules, Reason: "test", By: "admin"}))
	w.desk.History("contoh-1", wib(24, 0, 0), wib(26, 15, 0), []string{"pm2_5"}, publicationtest.Daily(30))
	w.desk.SetNow(now)
	b, err := w.desk.Bulletin(t.Context(), "2026-11-26-1500", -1)
	if err != nil || b.State != figures.Draft {
		t.Fatalf("%+v, %v", b, err)
	}
	if g := w.get("/api/v1/bulletins/" + b.ID); g.StatusCode != http.StatusNotFound {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
	if l := w.list("/api/v1/bulletins?from=2026-11-26&to=2026-11-27"); len(l.Data) != 0 {
		t.Errorf("%v", l.Data)
	}
	w.must(w.desk.Approve(t.Context(), b.ID, "siti", "660.1/1"))
	g := w.valid("/api/v1/bulletins/" + b.ID)
	if g.StatusCode != 200 || !bytes.Contains(g.body, []byte("660.1/1")) || bytes.Contains(g.body, []byte("siti")) {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
}

var elsewhere = regexp.MustCompile(`(?:src|href|action)="(?:https?:)?//[^"]*"`)

func TestTheReferenceExplainsEverything(t *testing.T) {
	w := empty(t, api.Options{})
	for lang, want := range map[page.Lang]string{page.Indonesian: "Hasil ukur", page.English: "Observations"} {
		explained, err := w.api.Explain(lang)
		w.must(err)
		text := string(explained)
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q", lang, want)
		}
		for operation, request := range requests(w) {
			if !strings.Contains(text, `id="`+operation+`"`) || !strings.Contains(html.UnescapeString(text), request) {
				t.Errorf("%s does not explain %s", lang, operation)
			}
		}
		for _, link := range elsewhere.FindAllString(text, -1) {
			if !strings.Contains(link, "creativecommons.org") {
				t.Errorf("%s leads elsewhere: %s", lang, link)
			}
		}
		if strings.Contains(text, "<script") || strings.Contains(text, "style=") {
			t.Errorf("%s holds what the pages' policy refuses", lang)
		}
	}
	for _, path := range []string{"/api/v1/openapi.json", "/api/v1/openapi.yaml"} {
		if g := w.get(path); g.StatusCode != 200 || !bytes.Contains(g.body, []byte("3.1.0")) || g.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d", path, g.StatusCode)
		}
	}
}

var documented = regexp.MustCompile("(?s)```sh\ncurl -s 'https://pantau\\.example\\.go\\.id(/api/v1/[^']*)'\n```\n```(json|csv)\n(.*?)```\n")

// The answers in docs/api.md are real ones; long ones end with an ellipsis.
func TestTheGuideShowsRealAnswers(t *testing.T) {
	w := full(t)
	const file = "../../docs/api.md"
	have, err := os.ReadFile(file)
	w.must(err)
	shown := 0
	id := regexp.MustCompile(`"id": "[0-9a-f]{8}"`)
	want := documented.ReplaceAllStringFunc(string(have), func(block string) string {
		m := documented.FindStringSubmatch(block)
		g := w.valid(m[1])
		var b bytes.Buffer
		if m[2] == "json" {
			w.must(json.Indent(&b, g.body, "", "  "))
		} else {
			lines := strings.SplitAfter(strings.ReplaceAll(string(g.body), "\r\n", "\n"), "\n")
			if b.WriteString(strings.Join(lines[:min(len(lines), 7)], "")); len(lines) > 7 {
				b.WriteString("…\n")
			}
			if len(lines) < 3 && g.StatusCode == 200 {
				t.Errorf("GET %s shows no row", m[1])
			}
		}
		shown++
		text := id.ReplaceAllString(strings.TrimRight(b.String(), "\n"), `"id": "3f2a9c41"`)
		return "```sh\ncurl -s 'https://pantau.example.go.id" + m[1] + "'\n```\n```" + m[2] + "\n" + text + "\n```\n"
	})
	if shown != 12 {
		t.Errorf("%d requests with answers, want 12", shown)
	}
	if *update {
		w.must(os.WriteFile(file, []byte(want), 0o644))
	} else if want != string(have) {
		t.Errorf("%s is not what is answered: run go test ./dashboards/api -run TestTheGuide -update", file)
	}
}

// Readers learn that an hour does not count, and why: the same in lists and traces.
func TestARunOfZerosDoesNotCount(t *testing.T) {
	w := empty(t, api.Options{})
	w.desk.History("contoh-1", wib(25, 0, 0), wib(26, 9, 0), []string{"pm2_5"}, publicationtest.Daily(30))
	w.desk.History("contoh-1", wib(26, 9, 0), wib(26, 12, 0), []string{"pm2_5"}, func(string, time.Time) float64 { return 0 })
	w.desk.History("contoh-1", wib(25, 0, 0), wib(26, 12, 0), []string{"hc_ppb"}, publicationtest.Daily(200))
	w.desk.SetNow(wib(26, 12, 30))
	complete := map[any]string{}
	for _, o := range w.list("/api/v1/observations?site=contoh-1&quantity=pm2_5&from=2026-11-26T08:00:00%2B07:00&to=2026-11-26T12:00:00%2B07:00").Data {
		complete[o["end"]] = fmt.Sprint(o["complete"], o["excluded"])
	}
	if len(complete) != 4 || complete["2026-11-26T09:00:00+07:00"] != "true <nil>" || complete["2026-11-26T10:00:00+07:00"] != "falsezero_run" || complete["2026-11-26T12:00:00+07:00"] != "falsezero_run" {
		t.Errorf("%v", complete)
	}
	if g := w.get("/api/v1/observations?site=contoh-1&quantity=pm2_5&format=csv&from=2026-11-26T11:00:00%2B07:00&to=2026-11-26T12:00:00%2B07:00"); !strings.Contains(string(g.body), "false,zero_run") {
		t.Errorf("the table: %s", g.body)
	}
	newest, _, err := w.desk.Figure(t.Context(), figures.Hourly, "contoh-1", wib(26, 12, 0))
	w.must(err)
	var trace api.Trace
	w.must(json.Unmarshal(w.valid("/api/v1/traces/"+newest.ID).body, &trace))
	entered, zeros, gasless := 0, 0, 0
	for _, h := range trace.Hours {
		switch {
		case !h.End.After(wib(25, 12, 0)): // only to see where a run began
		case h.Excluded == "":
			entered++
		case h.Excluded == "zero_run" && h.Quantity == "pm2_5":
			zeros++
		case h.Excluded == "no_gas" && h.Quantity == "hc_ppb":
			gasless++
		}
	}
	if of := trace.Figure.Parts[0].Hours; entered != of || of != 21 || zeros != 3 || gasless != 24 {
		t.Errorf("%d hours entered of %d, %d as zeros, %d without a gas", entered, of, zeros, gasless)
	}
}
