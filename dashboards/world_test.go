package dashboards_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards"
	"github.com/pantau-id/pantau/dashboards/account"
	"github.com/pantau-id/pantau/dashboards/account/accounttest"
	"github.com/pantau-id/pantau/dashboards/report"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication/publicationtest"
	"github.com/pantau-id/pantau/internal/audit"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// world is a small installation behind the pages, which tests change while the
// pages look at it.
type world struct {
	mu       sync.Mutex
	now      time.Time
	gateways []dashboards.Gateway
	values   map[telemetry.Node][]dashboards.Value
	alerts   []dashboards.Alert
	total    dashboards.Totals
	series   map[string]dashboards.Series
	broken   error // what every source answers if set
	sites    []places.Site
	sensors  []places.Sensor
	hang     []places.Deployment
	// fill puts hours into the book; nil: it is empty. A book that is named filled is
	// made once and copied from then on. then are the sites as they were meanwhile, if
	// a test has renamed them since.
	fill   func(*publicationtest.Desk)
	filled string
	then   []places.Site

	people, sessions accounttest.KV
}

// moment is when the world stands still: 23 November 2026, 14:05 WIB.
var moment = time.Date(2026, 11, 23, 7, 5, 0, 0, time.UTC)

func (w *world) clock() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }

func (w *world) change(f func()) { w.mu.Lock(); defer w.mu.Unlock(); f() }

func (w *world) Gateways(context.Context) ([]dashboards.Gateway, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]dashboards.Gateway(nil), w.gateways...), w.broken
}

func (w *world) Values(_ context.Context, n telemetry.Node) ([]dashboards.Value, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]dashboards.Value(nil), w.values[n]...), w.broken
}

func (w *world) Open(context.Context) ([]dashboards.Alert, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]dashboards.Alert(nil), w.alerts...), w.broken
}

func (w *world) Acknowledge(_ context.Context, id, who, note string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.alerts {
		if a := &w.alerts[i]; a.ID == id {
			if !a.AckAt.IsZero() {
				return fmt.Errorf("alert %s: %w", id, fs.ErrExist)
			}
			a.AckBy, a.AckAt, a.AckNote = who, w.now, note
			return nil
		}
	}
	return fmt.Errorf("alert %s: %w", id, fs.ErrNotExist)
}

func (w *world) Total(context.Context) (dashboards.Totals, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total, w.broken
}

func (w *world) Gateway(_ context.Context, n telemetry.Node) (dashboards.Totals, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.total
	t.Expected /= 4
	t.Stored = t.Expected - t.OnTheWay - t.Lost - t.Dead
	return t, w.broken
}

func (w *world) Series(_ context.Context, id dashboards.SeriesID, _, _ time.Time) (dashboards.Series, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.series[id.String()], w.broken
}

var (
	hall   = telemetry.Node{Group: "3374", ID: "balaikota"}
	market = telemetry.Node{Group: "3374", ID: "pasar-johar"}
	light  = telemetry.Node{Group: "3372", ID: "pju-slamet-riyadi"}
	aqms   = telemetry.Node{Group: "3301", ID: "aqms-01"}
)

// newWorld has four gateways: air, waste, energy and a foreign station, each with
// something to tell.
func newWorld() *world {
	ago := func(d time.Duration) time.Time { return moment.Add(-d) }
	w := &world{now: moment, values: map[telemetry.Node][]dashboards.Value{}, series: map[string]dashboards.Series{}}
	w.gateways = []dashboards.Gateway{
		{Node: hall, Name: "Balai Kota Semarang", District: "3374", Site: "SMG-01", State: dashboards.StateOnline, Since: ago(26 * time.Hour), Heard: ago(3 * time.Second), Clock: telemetry.TimeNTP, Version: "0.3.0", Simulated: true},
		{Node: market, Name: "Pasar Johar", District: "3374", Site: "SMG-07", State: dashboards.StateOnline, Since: ago(3 * time.Hour), Heard: ago(8 * time.Second), Clock: telemetry.TimeServer, Version: "0.3.0", Simulated: true},
		{Node: light, Name: "PJU Slamet Riyadi", District: "3372", State: dashboards.StateOffline, Since: ago(42 * time.Minute), Heard: ago(42 * time.Minute), Clock: telemetry.TimeNTP, Version: "0.2.9", Simulated: true},
		{Node: aqms, District: "3301", State: dashboards.StateOnline, Heard: ago(50 * time.Second), Simulated: true},
	}
	v := func(n telemetry.Node, device, quantity string, number float64, age time.Duration) *dashboards.Value {
		q, _ := telemetry.Lookup(quantity)
		w.values[n] = append(w.values[n], dashboards.Value{Device: device, Quantity: quantity, Kind: q.Kind, Unit: q.Unit, Value: telemetry.Num(number), Time: ago(age), Interval: 5 * time.Second})
		return &w.values[n][len(w.values[n])-1]
	}
	v(hall, "sps30", "pm2_5", 62.44, 4*time.Second)
	v(hall, "sps30", "pm10", 81.2, 4*time.Second)
	v(hall, "sps30", "pm1", 40.1, 4*time.Second)
	v(hall, "scd41", "co2", 612, 6*time.Second)
	v(hall, "scd41", "temperature", 31.27, 6*time.Second)
	v(hall, "bme280", "humidity", 68.3, 5*time.Second)
	v(hall, "bme280", "pressure", 1008.6, 5*time.Second)
	v(hall, "", "cpu_temperature", 52.4, 4*time.Second)
	v(hall, "", "under_voltage", 0, 4*time.Second)
	v(hall, "", "disk_free", 24310, 4*time.Second)
	v(hall, "", "spool_depth", 0, 4*time.Second)
	v(hall, "", "uptime", 93600, 4*time.Second)
	v(market, "bak-1", "fill", 87.5, 8*time.Second)
	v(market, "bak-1", "distance", 212, 8*time.Second)
	v(market, "bak-2", "fill", 12, 8*time.Second).Flag = telemetry.FlagStuck
	gap := v(market, "bak-2", "distance", 0, 8*time.Second)
	gap.Gap = telemetry.GapNoAnswer
	v(light, "meter-1", "power", 0, 42*time.Minute)
	v(light, "meter-1", "energy", 1843.25, 42*time.Minute)
	v(light, "meter-1", "voltage", 228.4, 42*time.Minute)
	v(aqms, "AQMS", "pm2_5", 18.9, 50*time.Second).Interval = time.Minute
	v(aqms, "AQMS", "so2_ppb", 3.1, 50*time.Second).Interval = time.Minute
	w.values[aqms] = append(w.values[aqms], dashboards.Value{Device: "AQMS", Quantity: "Status pintu", Kind: telemetry.KindOther, Value: telemetry.Value{Text: "tertutup", Type: telemetry.Text}, Time: ago(50 * time.Second)})
	w.alerts = []dashboards.Alert{
		{ID: "pm25/3374/balaikota/sps30/17", Rule: "pm2_5_tinggi", Severity: dashboards.Critical, Condition: dashboards.CondAbove, Node: hall, Device: "sps30", Quantity: "pm2_5", Unit: telemetry.MicrogramPerCubicMetre, Limit: 55, Value: 62.4, Since: ago(95 * time.Second), Simulated: true},
		{ID: "silent/3372/pju", Rule: "gateway_diam", Severity: dashboards.Warning, Condition: dashboards.CondNoData, Node: light, Since: ago(40 * time.Minute), AckBy: "sari", AckAt: ago(31 * time.Minute), AckNote: "petugas menuju lokasi", Simulated: true},
		{ID: "fill/3374/pasar/bak-1", Rule: "bak_penuh", Severity: dashboards.Warning, Condition: dashboards.CondAbove, Node: market, Device: "bak-1", Quantity: "fill", Unit: telemetry.Percent, Limit: 85, Value: 87.5, Since: ago(11 * time.Minute), Simulated: true},
	}
	w.total = dashboards.Totals{Expected: 184_233, Stored: 184_231, Rejected: 18, OnTheWay: 2}
	w.series[dashboards.SeriesID{Node: hall, Device: "sps30", Quantity: "pm2_5"}.String()] = day()
	w.sites = []places.Site{
		{Code: "SMG-01", Name: "Balai Kota Semarang", District: "3374", Subdistrict: "337401", Lat: -6.982, Lon: 110.409, Class: places.Reference, Operator: "DLH Kota Semarang", Public: true, Simulated: true},
		{Code: "SMG-07", Name: "Pasar Johar", District: "3374", Lat: -6.972, Lon: 110.425, Simulated: true},
	}
	w.sensors = []places.Sensor{{ID: "sps30-0042", Name: "SPS30 atap", Maker: "Sensirion", Model: "SPS30", Serial: "8F31A0", Calibrated: ago(90 * 24 * time.Hour)}, {ID: "gudang-1", Name: "Cadangan"}}
	w.hang = []places.Deployment{{Site: "SMG-01", Sensor: "sps30-0042", Node: hall, Device: "sps30", From: ago(200 * 24 * time.Hour), Main: []string{"pm10", "pm2_5"}}}
	return w
}

// SiteOf and NodesAt answer places as the registry does: a gateway names its site.
func (w *world) SiteOf(n telemetry.Node) string {
	for _, g := range w.gateways {
		if g.Node == n {
			return g.Site
		}
	}
	return ""
}

func (w *world) NodesAt(site string) (out []telemetry.Node) {
	for _, g := range w.gateways {
		if g.Site == site && site != "" {
			out = append(out, g.Node)
		}
	}
	return out
}

// day is a day of minutes with a morning peak, an hour without answer, and a few
// rejected values.
func day() dashboards.Series {
	s := dashboards.Series{Unit: telemetry.MicrogramPerCubicMetre, Interval: time.Minute}
	for i := range 24 * 60 {
		t := moment.Add(-24*time.Hour + time.Duration(i)*time.Minute)
		hour := float64(i)/60 + 14
		p := dashboards.Point{Time: t, Value: 22 + 14*math.Exp(-(hour-31)*(hour-31)/3) + 4*math.Sin(hour) + 1.5*math.Sin(float64(i)*1.7)}
		if i > 1405 {
			p.Value += float64(i-1405) * 1.1
		}
		switch {
		case i >= 500 && i < 565:
			p.Gap, p.Value = telemetry.GapNoAnswer, 0
		case i == 900 || i == 905 || i == 911:
			p.Rejected, p.Flag, p.Value = true, telemetry.FlagRange, 6553.5
		}
		s.Points = append(s.Points, p)
	}
	return s
}

// site is a server with the pages of a world.
type site struct {
	*httptest.Server
	pages    *dashboards.Dashboards
	world    *world
	accounts *account.Accounts
	log      *logBook
	audit    *audit.Log
	places   *places.Store
	desk     *publicationtest.Desk
}

// logBook keeps what the pages log.
type logBook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func start(t testing.TB, w *world, change ...func(*dashboards.Options)) *site {
	t.Helper()
	s := &site{world: w, accounts: account.NewAccounts(&w.people, accounttest.Cheap()), log: &logBook{}}
	var err error
	if s.audit, err = audit.Open(audit.Options{Path: filepath.Join(t.TempDir(), "audit.log"), Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	kept, err := report.OpenFiles(t.TempDir(), w.clock)
	if err != nil {
		t.Fatal(err)
	}
	for i := range w.sites {
		if w.sites[i].Code == "SMG-01" {
			w.sites[i].Photo = keepPhoto(t, kept)
		}
	}
	s.openBook(t)
	o := dashboards.Options{
		Files:   kept,
		Network: w, Alerts: w, Ledger: w, History: w, Places: s.places, Figures: s.desk, Archive: report.Archive{Places: s.places, Book: s.desk}, People: s.accounts, Sessions: &w.sessions, Audit: s.audit, Walls: account.NewWalls(&w.people), CodeOptional: true,
		Now: w.clock, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Version: "0.3.0", Refresh: 20 * time.Millisecond,
	}
	for _, f := range change {
		f(&o)
	}
	if s.pages, err = dashboards.New(o); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewServer(s.pages)
	t.Cleanup(func() {
		if err := s.pages.Close(context.Background()); err != nil {
			t.Error(err)
		}
		s.Close()
		if err := s.audit.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// keepPhoto keeps a small picture as a site's photo is kept.
func keepPhoto(t testing.TB, kept *report.Files) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 64, 48))
	for i := range m.Pix {
		m.Pix[i] = uint8(40 + i/64)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	hash := hex.EncodeToString(sum[:])
	if _, err := kept.Keep(report.PhotoName(hash), "", []string{"SMG-01"}, func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err }); err != nil {
		t.Fatal(err)
	}
	return hash
}

// openBook opens a real register of places and a real book, and puts the world's
// sites into both.
func (s *site) openBook(t testing.TB) {
	t.Helper()
	closing := func(what string, f func(context.Context) error) {
		t.Cleanup(func() {
			if err := f(context.Background()); err != nil {
				t.Errorf("close %s: %v", what, err)
			}
		})
	}
	log := slog.New(slog.DiscardHandler)
	j, err := journal.Open(context.Background(), journal.Options{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	closing("the journal", j.Close)
	kv, err := j.KV(context.Background(), "places", journal.KVOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if s.places, err = places.Open(context.Background(), places.Options{KV: kv, Registry: s.world, Logger: log, Now: s.world.clock}); err != nil {
		t.Fatal(err)
	}
	closing("places", s.places.Close)
	if err := s.places.Apply(context.Background(), places.Change{Sites: s.world.sites, Sensors: s.world.sensors, Deployments: s.world.hang}); err != nil {
		t.Fatal(err)
	}
	from := s.world.clock().Add(-30 * time.Hour)
	then := s.world.sites
	if s.world.then != nil {
		then = s.world.then
	}
	switch {
	case s.world.filled != "":
		s.desk = publicationtest.Filled(t, s.world.filled, from, then, s.world.fill)
		s.desk.PutSites(s.world.sites...)
	default:
		s.desk = publicationtest.OpenAt(t, from, then...)
		if s.world.fill != nil {
			s.world.fill(s.desk)
		}
		s.desk.PutSites(s.world.sites...)
	}
	s.desk.SetNow(s.world.clock())
}

const goodPassword = "kuda lumping di alun-alun"

// person adds an account that has chosen its password.
func (s *site) person(t testing.TB, name string, role account.Role) {
	t.Helper()
	s.grantee(t, name, role.Everywhere())
}

// grantee is a person with any grants.
func (s *site) grantee(t testing.TB, name string, grants ...account.Grant) {
	t.Helper()
	first, err := s.accounts.Add(context.Background(), name, grants...)
	if err == nil {
		_, err = s.accounts.SetPassword(context.Background(), name, first, goodPassword)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// visitor is a browser without scripts: it keeps cookies and follows no
// redirects.
type visitor struct {
	t      testing.TB
	s      *site
	client *http.Client
}

func (s *site) visitor(t testing.TB) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(c.CloseIdleConnections)
	return &visitor{t: t, s: s, client: c}
}

// signedIn returns a visitor who has signed in as a new account of that role.
func (s *site) signedIn(t testing.TB, role account.Role) *visitor {
	t.Helper()
	return s.signedInAs(t, string(role), role.Everywhere())
}

// signedInAs returns a visitor who has signed in as a new account of that name.
func (s *site) signedInAs(t testing.TB, name string, grants ...account.Grant) *visitor {
	t.Helper()
	s.grantee(t, name, grants...)
	v := s.visitor(t)
	if r, body := v.post("/masuk", url.Values{"nama": {name}, "sandi": {goodPassword}}); r.StatusCode != http.StatusSeeOther {
		t.Fatalf("sign-in as %s: %s\n%s", name, r.Status, body)
	}
	return v
}

func (v *visitor) do(method, path string, form url.Values, header ...string) (*http.Response, string) {
	v.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(context.Background(), method, v.s.URL+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", v.s.URL) // as browsers do
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return answer, string(text)
}

func (v *visitor) get(path string, header ...string) (*http.Response, string) {
	v.t.Helper()
	return v.do("GET", path, nil, header...)
}

func (v *visitor) post(path string, form url.Values, header ...string) (*http.Response, string) {
	v.t.Helper()
	return v.do("POST", path, form, header...)
}

// auditOf asks the audit log for one person.
func auditOf(who string) audit.Query { return audit.Query{Who: who, Limit: 1000} }
