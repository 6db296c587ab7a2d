package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/pantau-id/pantau/dashboards/api"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var quiet = slog.New(slog.DiscardHandler)

// now is the tests' time: half an hour after a bulletin.
var now = wib(26, 15, 40)

// hostile is what somebody may call a station.
const hostile = "=HYPERLINK(\"http://x\",\"a\") <script>alert(1)</script> evil'; DROP MEASUREMENT air --"

// secret is the name of what is not public: it must be in no answer.
const secret = "rahasia"

func sites() []places.Site {
	return []places.Site{
		{Code: "contoh-1", Name: "Balai Kota", District: "3374", Lat: -6.98, Lon: 110.41, Class: places.Reference, Operator: "DLH Kota Semarang", Public: true, Simulated: true},
		{Code: "contoh-2", Name: hostile, District: "3374", Class: places.SNI9178, Public: true,
			Certificate: places.Certificate{Number: "-2+3", Issuer: "@LK", Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, figures.WIB)}},
		{Code: "contoh-3", Name: "Terminal", District: "3373", Public: true},
		{Code: secret, Name: "Gudang " + secret, District: "3374", Class: places.Reference},
	}
}

// world is the interface over a real book, real places and a real InfluxDB.
type world struct {
	t      *testing.T
	desk   *publicationtest.Desk
	places *places.Store
	influx *influx.Client
	latest latest
	api    *api.API
	url    string
	check  validator.Validator
}

// latest stands for the memory that the server's ingest keeps.
type latest map[telemetry.Node][]report.Taken

func (l latest) Latest(n telemetry.Node) []report.Taken { return l[n] }

// nodes gives every site one node of its name.
type nodes struct{}

func (nodes) SiteOf(telemetry.Node) string    { return "" }
func (nodes) NodesAt(string) []telemetry.Node { return nil }
func nodeOf(site string) telemetry.Node       { return telemetry.Node{Group: "3374", ID: site} }
func wib(day, hour, minute int) time.Time {
	return time.Date(2026, 11, day, hour, minute, 0, 0, figures.WIB)
}

// stored reads readings without an archive beside the database.
type stored struct{ of influx.PointReader }

func (s stored) Readings(ctx context.Context, n telemetry.Node, kind telemetry.Kind, quantities []string, from, to time.Time, fn func(string, time.Time, telemetry.Reading) bool) error {
	return influx.Readings(ctx, s.of, n, kind, quantities, from, to, fn)
}

func TestMain(m *testing.M) { os.Exit(influxtest.Run(m)) }

// empty opens a world in which nothing was measured.
func empty(t *testing.T, o api.Options) *world {
	t.Helper()
	server := influxtest.Shared(t)
	var err error
	w := &world{t: t, desk: publicationtest.Open(t, sites()...), latest: latest{}}
	if w.influx, err = influx.New(influx.Options{URL: server.URL, Prefix: strings.ToLower(t.Name())}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.influx.Close)
	if _, err := w.influx.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), journal.Options{Dir: t.TempDir(), MaxBytes: 64 << 20, Reserve: 1 << 20, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	w.cleanup(j.Close)
	kv, err := j.KV(t.Context(), "places", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if w.places, err = places.Open(t.Context(), places.Options{KV: kv, Registry: nodes{}, Logger: quiet, Now: w.desk.Now}); err != nil {
		t.Fatal(err)
	}
	w.cleanup(w.places.Close)
	for _, s := range sites() {
		w.must(w.places.PutSite(t.Context(), s))
		w.must(w.places.PutSensor(t.Context(), places.Sensor{ID: "s-" + s.Code, Name: s.Name, Maker: "=1+1", Model: "SPS30", Serial: secret, Note: secret}))
		w.must(w.places.PutDeployment(t.Context(), places.Deployment{Site: s.Code, Sensor: "s-" + s.Code, Node: nodeOf(s.Code), Device: "air"}))
	}
	o.Places, o.Book, o.Raw, o.Latest = w.places, w.desk, stored{w.influx}, w.latest
	o.ClientAddr = func(r *http.Request) netip.Addr { return netip.MustParseAddr("127.0.0.1") }
	o.Now, o.Logger = w.desk.Now, quiet
	if o.Burst == 0 {
		o.Burst = 100000
	}
	if w.api, err = api.New(o); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w.api)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

// full opens a world with three days of hours, readings of the last hours, a
// correction and bulletins.
func full(t *testing.T) *world {
	t.Helper()
	w := empty(t, api.Options{})
	w.must(w.desk.SetAgency(t.Context(), figures.Agency{Name: "Dinas Lingkungan Hidup dan Kehutanan Provinsi Jawa Tengah", City: "Semarang",
		Signer: "Siti Rahmawati", Title: "Kepala Bidang Pengendalian Pencemaran", NIP: "19700101 199503 2 001", Number: "660.1/{n}/{year}"}))
	for _, s := range sites() {
		quantities := []string{"pm2_5", "pm10"}
		if s.Code == "contoh-2" {
			quantities = []string{"pm2_5", "temperature", "fill"} // a bin hangs there, too
		}
		course := publicationtest.Daily(map[string]float64{"contoh-1": 30, "contoh-2": 55, "contoh-3": 20, secret: 271.25}[s.Code])
		w.desk.History(s.Code, wib(23, 0, 0), wib(26, 15, 0), quantities, func(q string, end time.Time) float64 {
			if s.Code == "contoh-1" && q == "pm10" && end.In(figures.WIB).Hour() == 3 {
				return math.NaN()
			}
			return course(q, end)
		})
	}
	w.desk.SetNow(now)
	late := publicationtest.Hour("contoh-1", "pm2_5", wib(25, 20, 0), 180)
	late.Rejected, late.Gaps = map[string]int{"range": 2}, map[string]int{"no_answer": 1}
	w.desk.Feed(late)
	w.desk.Feed(publicationtest.Hour(secret, "pm2_5", wib(25, 20, 0), 271.25))
	for _, site := range []string{"contoh-1", secret} {
		var lines strings.Builder
		for i := range 90 {
			at := wib(26, 11, 0).Add(time.Duration(i) * time.Minute)
			fields := fmt.Sprintf("pm2_5=%d.5,pm10=40,fill=12", i%7)
			switch i {
			case 10:
				fields = `pm2_5_rejected=1200,pm2_5_flag="range",pm10=41`
			case 11:
				fields = `pm2_5_gap="no_answer",pm10_gap="no_answer"`
			}
			fmt.Fprintf(&lines, "air,group=3374,gateway=%s,device=air %s %d\n", site, fields, at.UnixNano()+3)
		}
		fmt.Fprintf(&lines, "air,group=3374,gateway=%s,device=beside pm2_5=31337.5 %d\n", site, wib(26, 11, 5).UnixNano())
		w.must(w.influx.Write(t.Context(), influx.Raw, []byte(lines.String())))
		w.latest[nodeOf(site)] = []report.Taken{
			{Node: nodeOf(site), Device: "air", Time: wib(26, 15, 39), Reading: telemetry.Reading{Quantity: "pm2_5", Value: telemetry.Num(31.5)}},
			{Node: nodeOf(site), Device: "air", Time: wib(26, 15, 39), Reading: telemetry.Reading{Quantity: "pm10", Gap: telemetry.GapNoAnswer}},
			{Node: nodeOf(site), Device: "air", Time: wib(26, 15, 39), Reading: telemetry.Reading{Quantity: "fill", Value: telemetry.Num(77)}},
		}
	}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cleanup(closing func(context.Context) error) {
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := closing(ctx); err != nil {
			w.t.Error(err)
		}
	})
}

// got is an answer as it came.
type got struct {
	*http.Response
	body []byte
}

func (w *world) get(path string, headers ...string) got {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	w.must(err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	w.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	w.must(err)
	return got{resp, body}
}

// valid gets an address and holds request and answer against the document.
func (w *world) valid(path string, headers ...string) got {
	w.t.Helper()
	if w.check == nil {
		document, err := libopenapi.NewDocument(w.get("/api/v1/openapi.json").body)
		w.must(err)
		check, errs := validator.NewValidator(document)
		for _, err := range errs {
			w.t.Fatal(err)
		}
		if ok, wrong := check.ValidateDocument(); !ok {
			for _, e := range wrong {
				w.t.Errorf("the document: %s: %s %v", e.Message, e.Reason, e.SchemaValidationErrors)
			}
		}
		w.check = check
	}
	g := w.get(path, headers...)
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	w.must(err)
	copied := *g.Response
	copied.Body = io.NopCloser(strings.NewReader(string(g.body)))
	ok, wrong := w.check.ValidateHttpResponse(r, &copied)
	if g.StatusCode == http.StatusOK {
		valid, more := w.check.ValidateHttpRequest(r)
		ok, wrong = ok && valid, append(wrong, more...)
	}
	if !ok {
		for _, e := range wrong {
			w.t.Errorf("GET %s: %s: %s", path, e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				w.t.Errorf("  %s at %s", s.Reason, s.KeywordLocation)
			}
		}
		w.t.Logf("%d %s", g.StatusCode, g.body)
	}
	return g
}

// list is a page of any list.
type list struct {
	Data []map[string]any `json:"data"`
	Next string           `json:"next"`
}

func (w *world) list(path string) list {
	w.t.Helper()
	g := w.valid(path)
	if g.StatusCode != http.StatusOK {
		w.t.Fatalf("GET %s: %d %s", path, g.StatusCode, g.body)
	}
	var l list
	w.must(json.Unmarshal(g.body, &l))
	return l
}
