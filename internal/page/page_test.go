package page

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestNumbersAreWrittenAsEachLanguageDoes(t *testing.T) {
	for _, c := range []struct {
		v        float64
		decimals int
		id, en   string
	}{
		{12.5, 1, "12,5", "12.5"}, {1234567.891, 2, "1.234.567,89", "1,234,567.89"}, {0, 0, "0", "0"},
		{-3.25, 2, "−3,25", "−3.25"}, {-0.04, 1, "0,0", "0.0"}, {999.96, 1, "1.000,0", "1,000.0"},
	} {
		if got := Indonesian.Number(c.v, c.decimals); got != c.id {
			t.Errorf("Indonesian %v: %q, want %q", c.v, got, c.id)
		}
		if got := English.Number(c.v, c.decimals); got != c.en {
			t.Errorf("English %v: %q, want %q", c.v, got, c.en)
		}
	}
	if id, en := Indonesian.Count(1234567), English.Count(999); id != "1.234.567" || en != "999" {
		t.Errorf("counts: %q, %q", id, en)
	}
	if got := Indonesian.Value("pm2_5", 62.44); got != "62,4" {
		t.Errorf("PM2.5 of 62.44 is shown as %q", got)
	}
}

func TestTimesAreInWIBForPeopleAndUTCForMachines(t *testing.T) {
	late := time.Date(2026, 11, 22, 17, 5, 9, 0, time.UTC) // five past midnight on the 23rd in Semarang
	if got := Indonesian.Moment(late); got != "23 November 2026 pukul 00.05 WIB" {
		t.Errorf("got %q", got)
	}
	if got := English.Moment(late); got != "23 November 2026, 00:05 WIB" {
		t.Errorf("got %q", got)
	}
	set, err := NewSet(fstest.MapFS{"x.html": {Data: []byte(`{{define "main"}}{{when .Body}}{{end}}`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := set.Page(&b, "x", View{Frame: Frame{Lang: Indonesian, Brand: "Pantau"}, Body: late}); err != nil {
		t.Fatal(err)
	}
	if want := `<time datetime="2026-11-22T17:05:09Z">23 November 2026 pukul 00.05 WIB</time>`; !strings.Contains(b.String(), want) {
		t.Errorf("the page lacks %s", want)
	}
}

func TestAgesReadLikeTheBrowsers(t *testing.T) {
	for d, want := range map[time.Duration]string{
		2 * time.Second: "baru saja", -3 * time.Second: "baru saja", 12 * time.Second: "12 detik yang lalu", time.Minute: "1 menit yang lalu",
		59*time.Minute + 59*time.Second: "59 menit yang lalu", 47 * time.Hour: "47 jam yang lalu", 72 * time.Hour: "3 hari yang lalu",
	} {
		if got := Indonesian.Age(d); got != want {
			t.Errorf("Age(%v) = %q, want %q", d, got, want)
		}
	}
	if got := English.Age(time.Hour); got != "1 hour ago" {
		t.Errorf("got %q", got)
	}
}

func TestForeignTextStaysText(t *testing.T) {
	for in, want := range map[string]string{
		"abc": "abc", "a\x00b\nc": "a\uFFFDb\uFFFDc", "evil\u202Egpj.exe": "evil\uFFFDgpj.exe", "\u200bhidden": "\uFFFDhidden", "bad\xff": "bad\uFFFD",
	} {
		if got := Plain(in); got != want {
			t.Errorf("Plain(%q) = %q, want %q", in, got, want)
		}
	}
	if got := []rune(Plain(strings.Repeat("é", 1000))); len(got) != maxPlain {
		t.Errorf("a name of 1000 letters is shown with %d", len(got))
	}
	if got := string(bdi(`<script>alert(1)</script>`)); got != "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>" {
		t.Errorf("got %s", got)
	}
	if got := Said("satu\r\ndua\u202e\n" + strings.Repeat("é", 1000)); !strings.HasPrefix(got, "satu\ndua\ufffd\né") || len([]rune(got)) != 1010 {
		t.Errorf("Said keeps lines and length: %d characters, %.40q", len([]rune(got)), got)
	}
}

var verb = regexp.MustCompile(`%[a-z%]`)

func TestBothLanguagesSayTheSame(t *testing.T) {
	for key, text := range catalogue {
		if strings.TrimSpace(text.ID) == "" || strings.TrimSpace(text.EN) == "" {
			t.Errorf("%s is empty in one language", key)
		}
		if id, en := verb.FindAllString(text.ID, -1), verb.FindAllString(text.EN, -1); !slices.Equal(id, en) {
			t.Errorf("%s takes %v in Indonesian but %v in English", key, id, en)
		}
	}
	for _, name := range telemetry.Names() {
		if !Has(Key("q." + name)) {
			t.Errorf("quantity %s has no name in the catalogue", name)
		}
	}
	for f := telemetry.FlagStuck; f <= telemetry.FlagTimeFuture; f++ {
		if !Has(Key("flag." + f.String())) {
			t.Errorf("flag %s has no words", f)
		}
	}
	for _, g := range []telemetry.GapReason{telemetry.GapNoAnswer, telemetry.GapChecksum, telemetry.GapBus, telemetry.GapTimeout, telemetry.GapNotReady, telemetry.GapNotNumber, telemetry.GapProtocol, telemetry.GapUnexpected} {
		if !Has(Key("gap." + string(g))) {
			t.Errorf("gap reason %s has no words", g)
		}
	}
	for _, k := range telemetry.Kinds() {
		if !Has(Key("kind." + string(k))) {
			t.Errorf("kind %s has no words", k)
		}
	}
}

var used = regexp.MustCompile(`(?:\{\{|\(|\s)t "([^"]+)"|\.T\("([^"]+)"`)

// Every text that a template or a program asks for is there.
func TestEveryTextThatIsAskedForExists(t *testing.T) {
	found := 0
	for _, root := range []string{".", "../../dashboards", "../../gateway"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				if d != nil && d.Name() == "node_modules" {
					return fs.SkipDir
				}
				return err
			}
			if ext := filepath.Ext(path); (ext != ".html" && ext != ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range used.FindAllStringSubmatch(string(text), -1) {
				found++
				if key := Key(m[1] + m[2]); !Has(key) {
					t.Errorf("%s asks for %q, which the catalogue lacks", path, key)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 50 {
		t.Errorf("only %d uses found: the search is broken", found)
	}
}

func TestLanguagesShareTheirPaths(t *testing.T) {
	for _, path := range []string{"/", "/masuk", "/dinas/jaringan/3374/balaikota"} {
		for _, l := range Langs() {
			if lang, back := Split(l.Path(path)); lang != l || back != path {
				t.Errorf("%s in %s is %s, which reads back as %s in %s", path, l, l.Path(path), back, lang)
			}
		}
	}
	if lang, path := Split("/enam"); lang != Indonesian || path != "/enam" {
		t.Errorf("/enam is %s in %s", path, lang)
	}
}

func TestAPageNamesItsOtherLanguage(t *testing.T) {
	set, err := NewSet(fstest.MapFS{"x.html": {Data: []byte(`{{define "main"}}<p>{{t "word.yes"}} {{number .Body 1}}</p>{{end}}`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := set.Page(&b, "x", View{Frame: Frame{Lang: English, Brand: "Pantau", Title: `<x>"`, Alternates: Alternates("/x", "?a=1")}, Body: 12.5}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<html lang="en">`, `<link rel="alternate" hreflang="id" href="/x?a=1">`, `<link rel="alternate" hreflang="en" href="/en/x?a=1">`, `<p>yes 12.5</p>`, `<title>&lt;x&gt;&#34; · Pantau</title>`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %s:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "style=") || strings.Contains(b.String(), "<script>") {
		t.Error("the layout has inline style or script, which its policy refuses")
	}
}

func TestAPageThatFailsWritesNothing(t *testing.T) {
	set, err := NewSet(fstest.MapFS{"x.html": {Data: []byte(`{{define "main"}}before {{.Body.Missing}}{{end}}`)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := set.Page(&b, "x", View{Frame: Frame{Lang: English}, Body: struct{}{}}); err == nil || b.Len() > 0 {
		t.Errorf("err = %v, %d bytes written", err, b.Len())
	}
	if err := set.Page(&b, "y", View{Frame: Frame{Lang: English}}); err == nil {
		t.Error("an unknown page is no error")
	}
}

func TestAssetsAreCompressedAndKeptForEver(t *testing.T) {
	a := NewAssets("/aset/")
	url, err := a.Add("style.css", Style())
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^/aset/style-[0-9a-f]{10}\.css$`).MatchString(url) {
		t.Errorf("address %s has no fingerprint", url)
	}
	other, err := a.AddAs("app-1234.js", []byte("raw"), []byte("gz"), []byte("br"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, accept, encoding, body string }{
		{other, "gzip, deflate, br", "br", "br"}, {other, "gzip", "gzip", "gz"}, {other, "", "", "raw"}, {other, "br;q=0, gzip", "gzip", "gz"},
		{url, "", "", string(Style())},
	} {
		r := httptest.NewRequest("GET", c.path, nil)
		r.Header.Set("Accept-Encoding", c.accept)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != 200 || w.Header().Get("Content-Encoding") != c.encoding || w.Body.String() != c.body {
			t.Errorf("%s with %q: %d, encoding %q", c.path, c.accept, w.Code, w.Header().Get("Content-Encoding"))
		}
		if !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s may not be kept: %s", c.path, w.Header().Get("Cache-Control"))
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/aset/../../etc/passwd", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("an unknown file answers %d", w.Code)
	}
}
