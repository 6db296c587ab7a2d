package dashboards_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// follower reads a live update.
type follower struct {
	t      *testing.T
	answer *http.Response
	lines  *bufio.Scanner
	stop   context.CancelFunc
}

func (v *visitor) follow(t *testing.T, topics string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", v.s.URL+"/dinas/langsung?t="+topics, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := v.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{t: t, answer: answer, lines: bufio.NewScanner(answer.Body), stop: cancel}
	f.lines.Buffer(nil, 1<<20)
	t.Cleanup(func() {
		cancel()
		answer.Body.Close()
	})
	return f
}

type event struct{ name, data string }

// next returns the next event; false at the stream's end.
func (f *follower) next() (event, bool) {
	f.t.Helper()
	var e event
	for f.lines.Scan() {
		switch line := f.lines.Text(); {
		case line == "" && e != (event{}):
			return e, true
		case strings.HasPrefix(line, "event: "):
			e.name = line[7:]
		case strings.HasPrefix(line, "data: "):
			e.data = line[6:]
		}
	}
	return e, false
}

// until returns the HTML of the first update for which want is true.
func (f *follower) until(lang, element string, want func(html string) bool) string {
	f.t.Helper()
	for {
		e, ok := f.next()
		if !ok {
			f.t.Fatalf("the stream ended before %s.%s: %v", lang, element, f.lines.Err())
		}
		if e.name != "" {
			continue
		}
		var u struct {
			Lang string
			HTML map[string]string
		}
		if err := json.Unmarshal([]byte(e.data), &u); err != nil {
			f.t.Fatalf("%v: %s", err, e.data)
		}
		if html, ok := u.HTML[element]; ok && u.Lang == lang && want(html) {
			return html
		}
	}
}

func holds(part string) func(string) bool {
	return func(html string) bool { return strings.Contains(html, part) }
}

// topicOf finds the topic of a gateway's card in the page.
func topicOf(t *testing.T, v *visitor, path, name string) string {
	t.Helper()
	_, body := v.get(path)
	i := strings.Index(body, name)
	if i < 0 {
		t.Fatalf("%s lacks %s", path, name)
	}
	before := body[:i]
	before = before[strings.LastIndex(before, `<article class="card gateway" id="`)+len(`<article class="card gateway" id="`):]
	id, _, _ := strings.Cut(before, `"`)
	return id
}

func TestLiveUpdatesCarryWhatChanged(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Operator)
	card := topicOf(t, v, "/dinas/jaringan?cari=balai", "Balai Kota Semarang</bdi></a></h3>")
	f := v.follow(t, "id.ringkas+id.peringatan+id."+card+"+en."+card)
	if h := f.answer.Header; f.answer.StatusCode != 200 || h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("X-Accel-Buffering") != "no" || !strings.Contains(h.Get("Cache-Control"), "no-store") {
		t.Fatalf("%s %v", f.answer.Status, h)
	}
	if e, _ := f.next(); e.name != "beat" || e.data != "2026-11-23T07:05:00Z" {
		t.Errorf("the first event is %+v, want a heartbeat with the server's time", e)
	}
	// What the page shows comes once, so that nothing is missed between the page and
	// the stream.
	f.until("id", card, holds("62,4"))
	w.change(func() {
		w.values[hall][0].Value = telemetry.Num(17.25)
		w.values[hall][0].Time = w.now.Add(time.Second)
		w.now = w.now.Add(2 * time.Second)
	})
	html := f.until("id", card, holds("17,2"))
	if !strings.HasPrefix(html, `<article class="card gateway" id="`+card+`"`) || strings.Contains(html, "<html") {
		t.Errorf("the update is no fragment of the page: %.120s", html)
	}
	w.change(func() { w.alerts = w.alerts[1:] })
	if html := f.until("id", "peringatan", func(h string) bool { return !strings.Contains(h, "PM2,5") }); !strings.Contains(html, "Keterisian") {
		t.Errorf("after one alert cleared: %s", html)
	}
	w.change(func() { w.total.Expected += 10 })
	f.until("id", "ringkas", holds("184.243"))
	// Each language gets its own words.
	w.change(func() { w.values[hall][0].Flag = telemetry.FlagStuck })
	f.until("en", card, holds("value does not move"))
}

func TestTimePassingAloneSendsNothingButStaleness(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Viewer)
	card := topicOf(t, v, "/dinas/jaringan?cari=balai", "Balai Kota Semarang</bdi></a></h3>")
	f := v.follow(t, "id."+card)
	f.until("id", card, holds("62,4"))
	w.change(func() { w.now = w.now.Add(2 * time.Second) }) // nothing is stale yet: ages are the browser's
	w.change(func() { w.now = w.now.Add(time.Minute) })
	f.until("id", card, func(html string) bool {
		if !strings.Contains(html, "tidak ada data baru") {
			t.Errorf("an update came though nothing happened: %s", html)
		}
		return true
	})
}

func TestLiveUpdatesOfAGatewaysPage(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Operator)
	card := topicOf(t, v, "/dinas/jaringan?cari=johar", "Pasar Johar</bdi></a></h3>")
	key := strings.TrimPrefix(card, "g-")
	f := v.follow(t, "en.d-"+key+"+en.p-"+key+"+en.d-000000000000+en.unknown")
	f.until("en", "d-"+key, holds("Ledger of readings"))
	w.change(func() { w.alerts[2].AckBy, w.alerts[2].AckAt = "budi", w.now })
	if html := f.until("en", "p-"+key, holds("budi")); strings.Contains(html, "PM2.5") {
		t.Error("one gateway's alerts hold another's")
	}
}

func TestSigningOutEndsLiveUpdates(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	f := v.follow(t, "id.ringkas")
	f.until("id", "ringkas", holds("tersambung"))
	call(t, s, v, "POST", "/keluar")
	last := event{}
	for e, ok := f.next(); ok; e, ok = f.next() {
		last = e
	}
	if last.name != "end" {
		t.Errorf("the last event is %+v, want end", last)
	}
}

func TestLiveUpdatesTellABrowserThatItsSessionIsOver(t *testing.T) {
	r, body := start(t, newWorld()).visitor(t).get("/dinas/langsung?t=id.ringkas", "Accept", "text/event-stream")
	if r.StatusCode != 200 || body != "event: end\ndata: \n\n" {
		t.Errorf("%s: %q", r.Status, body)
	}
}

func TestLiveUpdatesRefuseWhatTheyDoNotKnow(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	for _, topics := range []string{"", "ringkas", "fr.ringkas", "id." + strings.Repeat("x", 65), strings.Repeat("id.a+", 0)} {
		if r, _ := v.get("/dinas/langsung?t=" + topics); r.StatusCode != 400 {
			t.Errorf("topics %q: %s", topics, r.Status)
		}
	}
	var many []string
	for i := range 500 {
		many = append(many, "id.g-"+string(rune('a'+i%26))+strings.Repeat("x", i%20)+string(rune('a'+i/26)))
	}
	if r, _ := v.get("/dinas/langsung?t=" + strings.Join(many, "+")); r.StatusCode != 400 {
		t.Errorf("500 topics: %s", r.Status)
	}
}

func TestClosingEndsLiveUpdates(t *testing.T) {
	w := newWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Viewer)
	f := v.follow(t, "id.ringkas")
	f.until("id", "ringkas", holds("tersambung"))
	if err := s.pages.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, ok := f.next(); ok; _, ok = f.next() {
	}
	if err := f.lines.Err(); err != nil {
		t.Errorf("the stream broke off instead of ending: %v", err)
	}
}

// Figures come to an open page as a version: a page that shows another one reads
// itself again. Values and the ledger come as they are.
func TestLiveUpdatesOfFiguresAndPlaces(t *testing.T) {
	w := airWorld()
	s := start(t, w)
	v := s.signedIn(t, account.Validator)
	shown := func(path string) (version, topics string) {
		t.Helper()
		_, body := v.get(path)
		m := regexp.MustCompile(`data-topics="([^"]*)" data-version="([^"]+)"`).FindStringSubmatch(body)
		if m == nil || !strings.Contains(body, "data-fresh") {
			t.Fatalf("%s does not update by itself", path)
		}
		return m[2], m[1]
	}
	first, _ := shown("/dinas")
	var all []string
	for _, path := range []string{"/dinas/provinsi", "/dinas/wilayah/3374", "/dinas/wilayah/3374/kecamatan/337401", "/dinas/lokasi/SMG-01", "/dinas/sensor/sps30-0042"} {
		version, topics := shown(path)
		if version != first {
			t.Errorf("%s has version %s, /dinas %s", path, version, first)
		}
		for topic := range strings.FieldsSeq(topics) {
			all = append(all, "id."+topic)
		}
	}
	if _, body := v.get("/dinas/provinsi?jam=2026-11-22-0900"); strings.Contains(body, "<pantau-live") {
		t.Error("a past hour says that it updates by itself")
	}
	f := v.follow(t, strings.Join(all, "+"))
	version := func(old string) string {
		t.Helper()
		for {
			e, ok := f.next()
			var u struct{ Version string }
			if !ok || e.name == "" && json.Unmarshal([]byte(e.data), &u) != nil {
				t.Fatal("the stream ended or holds no JSON")
			}
			if u.Version != "" && u.Version != old {
				return u.Version
			}
		}
	}
	if told := version(""); told != first {
		t.Errorf("the stream tells version %s, the pages have %s", told, first)
	}
	w.change(func() { w.alerts = w.alerts[1:] })
	second := version(first)
	if again, _ := shown("/dinas/provinsi"); again != second {
		t.Errorf("read again, the page has version %s, told was %s", again, second)
	}
	if _, err := s.desk.AddMark(t.Context(), figures.Mark{Site: "SMG-01", Quantity: "pm2_5", From: moment.Add(-3 * time.Hour), To: moment.Add(-2 * time.Hour), Invalid: true, Code: "other", Note: "x", By: "val"}); err != nil {
		t.Fatal(err)
	}
	version(second)
	w.change(func() { w.values[hall][0].Value, w.values[market][0].Value = telemetry.Num(17.25), telemetry.Num(33) })
	for topic, want := range map[string]string{"s-": "17,2", "a-": "17,2", "k-": "33,0"} {
		i := slices.IndexFunc(all, func(s string) bool { return strings.HasPrefix(s, "id."+topic) })
		g := v.follow(t, all[i])
		g.until("id", strings.TrimPrefix(all[i], "id."), holds(want))
	}
	w.change(func() { w.total.Expected += 10 })
	f.until("id", "buku", holds("184.243"))
}

// A page that reads itself again keeps nobody's session alive, and is told when it is
// over instead of being sent to the sign-in page.
func TestAPageThatReadsItselfIsNobodyBeingThere(t *testing.T) {
	s := start(t, newWorld())
	v := s.signedIn(t, account.Viewer)
	if r, _ := v.get("/dinas"); len(r.Cookies()) == 0 {
		t.Error("a visit prolongs no session: this test proves nothing")
	}
	if r, _ := v.get("/dinas", "Pantau-Live", "1"); r.StatusCode != 200 || len(r.Cookies()) > 0 {
		t.Errorf("%s, %v", r.Status, r.Cookies())
	}
	if r, _ := s.visitor(t).get("/dinas", "Pantau-Live", "1"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %s", r.Status)
	}
}
