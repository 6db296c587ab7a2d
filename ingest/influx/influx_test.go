package influx

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var node = telemetry.Node{Group: "3374", ID: "gw-1"}

func open(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestMain(m *testing.M) { os.Exit(influxtest.Run(m)) }

// prepared is a client with buckets of its own: in the database that the
// environment names (PANTAU_INFLUX_URL, _ORG, _WRITE_TOKEN, _READ_TOKEN; both
// tokens have to be allowed everything), else in the shared one.
func prepared(t *testing.T) (*influxtest.Server, *Client) {
	t.Helper()
	o := Options{
		URL: os.Getenv("PANTAU_INFLUX_URL"), Org: os.Getenv("PANTAU_INFLUX_ORG"), Prefix: t.Name(),
		WriteToken: os.Getenv("PANTAU_INFLUX_WRITE_TOKEN"), ReadToken: os.Getenv("PANTAU_INFLUX_READ_TOKEN"),
	}
	s, other := &influxtest.Server{URL: o.URL}, o.URL != ""
	if !other {
		s = influxtest.Shared(t)
		o.URL = s.URL
	}
	c := open(t, o)
	for range 2 { // the second finds all there
		info, err := c.Prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !other && (info.Major != 1 || !info.Open) {
			t.Errorf("found %+v", info)
		}
	}
	return s, c
}

func points(t *testing.T, c *Client, s Span) []Point {
	t.Helper()
	var out []Point
	err := c.Points(t.Context(), s, func(p *Point) error {
		q := *p
		q.Readings = append([]telemetry.Reading(nil), p.Readings...)
		out = append(out, q)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	_, c := prepared(t)
	lines := `air,device=a\ b,gateway=gw-1,group=3374 pm2_5=0,pm2_5_gap="not_number",co2=412.5,co2_min=400,co2_max=430,co2_n=60 1764000000123000001
air,device=a\ b,gateway=gw-1,group=3374 pm2_5=5,pm2_5_rejected=7000,pm2_5_flag="range" 1764000000124000001
water,device=w,gateway=gw-1,group=3374 nh3_n=3,ph_gap="checksum" 1764000000125000000
other,gateway=gw-1,group=3374 open_bool=true,state_text="say \"a\\b\",
two",state2_text_rejected="x",state2_flag="stuck" 1764000000126000000
air,device=a\ b,gateway=gw-2,group=3374 pm2_5=9 1764000000127000000
`
	for range 2 { // twice is once
		if err := c.Write(t.Context(), Raw, []byte(lines)); err != nil {
			t.Fatal(err)
		}
	}
	got := points(t, c, Span{Node: node})
	if len(got) != 4 {
		t.Fatalf("read %d points, want 4: %+v", len(got), got)
	}
	byQuantity := map[string]telemetry.Reading{}
	for _, p := range got {
		if p.Node != node {
			t.Errorf("point of %v", p.Node)
		}
		for _, r := range p.Readings {
			byQuantity[fmt.Sprint(p.Kind, "/", p.Device, "/", r.Quantity, "@", p.Time%1_000_000_000)] = r
		}
	}
	for key, want := range map[string]telemetry.Reading{
		"air/a b/pm2_5@123000001": {Quantity: "pm2_5"}, // a value of zero wins over a gap
		"air/a b/co2@123000001":   {Quantity: "co2", Value: telemetry.Num(412.5), Count: 60, Min: 400, Max: 430},
		"air/a b/pm2_5@124000001": {Quantity: "pm2_5", Value: telemetry.Num(7000), Flag: telemetry.FlagRange},
		"water/w/nh3_n@125000000": {Quantity: "nh3_n", Value: telemetry.Num(3)},
		"water/w/ph@125000000":    {Quantity: "ph", Gap: telemetry.GapChecksum},
		"other//open@126000000":   {Quantity: "open", Value: telemetry.Value{Type: telemetry.Bool, Number: 1}},
		"other//state@126000000":  {Quantity: "state", Value: telemetry.Value{Type: telemetry.Text, Text: "say \"a\\b\",\ntwo"}},
		"other//state2@126000000": {Quantity: "state2", Value: telemetry.Value{Type: telemetry.Text, Text: "x"}, Flag: telemetry.FlagStuck},
	} {
		if got := byQuantity[key]; got != want {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
	if got := points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindAir}, Node: node, Quantities: []string{"co2"}}); len(got) != 1 || len(got[0].Readings) != 1 {
		t.Errorf("one quantity: %+v", got)
	}
	if got := points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindAir}, Device: "a b", Newest: 1}); len(got) != 1 || got[0].Node.ID != "gw-2" {
		t.Errorf("the newest: %+v", got)
	}
	if got := points(t, c, Span{Device: `x' OR 'a'='a`}); len(got) != 0 {
		t.Errorf("a hostile name found %+v", got)
	}
	if got := points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindWaste}}); len(got) != 0 {
		t.Errorf("nothing was written there: %+v", got)
	}
}

func TestRowsRoundTrip(t *testing.T) {
	_, c := prepared(t)
	start := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	mean := NewRow(telemetry.KindAir, node, "a b", "pm2_5", start)
	mean.Mean, mean.Min, mean.Max, mean.Valid, mean.Expected, mean.Rejected, mean.Gaps, mean.Computed = 12.25, 1, 99, 58, 60, 1, 1, start.Add(time.Hour)
	counter := NewRow(telemetry.KindEnergy, node, "meter", "energy", start)
	counter.First, counter.Last, counter.Increase, counter.Resets, counter.Valid, counter.Expected, counter.Computed = 10, 12, 2, 0, 60, 60, start.Add(time.Hour)
	if err := c.WriteRows(t.Context(), Hours, []Row{mean, counter}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Rows(t.Context(), Hours, Span{Node: node, From: start, To: start.Add(time.Hour)})
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i, want := range []Row{mean, counter} {
		if fmt.Sprint(got[i]) != fmt.Sprint(want) { // NaN is not equal to itself
			t.Errorf("got  %+v\nwant %+v", got[i], want)
		}
	}
	// A later computation finds nothing valid: the old figure must not stand.
	mean.Mean, mean.Min, mean.Max, mean.Valid, mean.Rejected = math.NaN(), math.NaN(), math.NaN(), 0, 59
	if err := c.WriteRows(t.Context(), Hours, []Row{mean}); err != nil {
		t.Fatal(err)
	}
	got, err = c.Rows(t.Context(), Hours, Span{Node: node, Quantities: []string{"pm2_5"}})
	if err != nil || len(got) != 1 || !math.IsNaN(got[0].Mean) || got[0].Rejected != 59 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestRowsSayWhyValuesDoNotCount(t *testing.T) {
	_, c := prepared(t)
	start := time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC)
	row := NewRow(telemetry.KindAir, node, "a", "pm2_5", start)
	row.Valid, row.Mean, row.Expected, row.Rejected, row.Gaps, row.Computed = 50, 3, 60, 4, 6, start
	row.Why = NewWhy(map[telemetry.Flag]int{telemetry.FlagStuck: 3, telemetry.FlagRange: 1},
		map[telemetry.GapReason]int{telemetry.GapBus: 4, "\",evil=1,x\n": 2})
	read := func(want string) {
		t.Helper()
		if err := c.WriteRows(t.Context(), Hours, []Row{row}); err != nil {
			t.Fatal(err)
		}
		for _, quantities := range [][]string{nil, {"pm2_5"}} {
			got, err := c.Rows(t.Context(), Hours, Span{Node: node, Device: "a", Quantities: quantities})
			if err != nil || len(got) != 1 {
				t.Fatalf("got %+v, %v", got, err)
			}
			flags, gaps := got[0].Why.Counts()
			if s := fmt.Sprint(flags, gaps); s != want {
				t.Errorf("got %s, want %s", s, want)
			}
		}
	}
	read("map[range:1 stuck:3] map[bus:4 unexpected:2]")
	// A row of an earlier version has no such field.
	old := fmt.Sprintf("air,device=b,gateway=%s,group=%s pm10_mean=1,pm10_n=1,pm10_rejected=2 %d\n", node.ID, node.Group, start.UnixNano())
	if err := c.Write(t.Context(), Hours, []byte(old)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Rows(t.Context(), Hours, Span{Node: node, Device: "b", Quantities: []string{"pm10"}}); err != nil || len(got) != 1 || got[0].Why != "" || got[0].Rejected != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	// Computed anew, nothing is rejected: what stood there does not.
	row.Rejected, row.Gaps, row.Why = 0, 0, ""
	read("map[] map[]")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	s, c := prepared(t)
	if err := c.Write(t.Context(), Raw, []byte("air,gateway=g x=1 1\n")); err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	err := c.Write(t.Context(), Raw, []byte("air,gateway=g x=\"text\" 2\nair,gateway=g x=3 3\n"))
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "field type conflict") {
		t.Errorf("type conflict: %v", err)
	}
	if err := c.Write(t.Context(), Raw, []byte("nonsense\n")); !errors.As(err, &refused) {
		t.Errorf("nonsense: %v", err)
	}
	var away *UnavailableError
	other := open(t, Options{URL: s.URL, Prefix: "nowhere"})
	if err := other.Write(t.Context(), Raw, []byte("air x=1 1\n")); !errors.As(err, &away) || away.Hint == "" {
		t.Errorf("no database: %v", err)
	}
	if err := other.Points(t.Context(), Span{}, func(*Point) error { return nil }); !errors.Is(err, ErrQuery) {
		t.Errorf("query without database: %v", err)
	}
	gone := httptest.NewServer(nil)
	dead := open(t, Options{URL: gone.URL})
	gone.Close()
	if err := dead.Write(t.Context(), Raw, []byte("air x=1 1\n")); !errors.As(err, &away) || away.Status != 0 {
		t.Errorf("dead: %v", err)
	}
	if err := dead.Points(t.Context(), Span{}, func(*Point) error { return nil }); !errors.As(err, &away) {
		t.Errorf("dead: %v", err)
	}
}

// Statement 24: who writes can't read, who reads can't write.
func TestTwoTokens(t *testing.T) {
	s, err := influxtest.Start(t.Context(), influxtest.Config{Dir: filepath.Join(t.TempDir(), "influxdb"), Auth: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	admin := func(user, q string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/query?q="+url.QueryEscape(q), nil)
		if user != "" {
			req.Header.Set("Authorization", "Token "+user)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || strings.Contains(string(text), "error") {
			t.Fatalf("%s: %d %s", q, resp.StatusCode, text)
		}
	}
	admin("", "CREATE USER root WITH PASSWORD 'secret' WITH ALL PRIVILEGES")
	c := open(t, Options{URL: s.URL, WriteToken: "w:pw", ReadToken: "r:pr"})
	if _, err := c.Prepare(t.Context()); err == nil {
		t.Error("Prepare succeeded without a user")
	}
	root := open(t, Options{URL: s.URL, WriteToken: "root:secret", ReadToken: "root:secret"})
	if info, err := root.Prepare(t.Context()); err != nil || info.Open {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, q := range []string{"CREATE USER w WITH PASSWORD 'pw'", "CREATE USER r WITH PASSWORD 'pr'", `GRANT WRITE ON pantau TO w`, `GRANT READ ON pantau TO r`} {
		admin("root:secret", q)
	}
	if _, err := c.Prepare(t.Context()); err != nil {
		t.Errorf("all is there: %v", err)
	}
	if err := c.Write(t.Context(), Raw, []byte("air x=1 1\n")); err != nil {
		t.Error(err)
	}
	if got := points(t, c, Span{}); len(got) != 1 {
		t.Errorf("read %+v", got)
	}
	crossed := open(t, Options{URL: s.URL, WriteToken: "r:pr", ReadToken: "w:pw"})
	var away *UnavailableError
	if err := crossed.Write(t.Context(), Raw, []byte("air x=2 2\n")); !errors.As(err, &away) || !strings.Contains(err.Error(), "token") {
		t.Errorf("the reading token wrote: %v", err)
	}
	if err := crossed.Points(t.Context(), Span{}, func(*Point) error { return nil }); err == nil {
		t.Error("the writing token read")
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	version := "1.7.5"
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Influxdb-Version", version)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer fake.Close()
	c := open(t, Options{URL: fake.URL})
	if _, err := c.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "CVE-2019-20933") {
		t.Errorf("1.7.5: %v", err)
	}
	for s, want := range map[string][3]int{"1.8.10": {1, 8, 10}, "v2.7.11": {2, 7, 11}, "1.7.6-c1": {1, 7, 6}} {
		if got, ok := parseVersion(s); !ok || got != want {
			t.Errorf("%s: %v %v", s, got, ok)
		}
	}
	if _, ok := parseVersion("unknown"); ok {
		t.Error("unknown is no version")
	}
}

func TestOptionsNameTheField(t *testing.T) {
	for _, o := range []Options{{URL: "localhost:8086"}, {URL: "http://x", Prefix: `a"b`}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v passed", o)
		}
	}
}

func TestASlowDatabaseIsUnavailable(t *testing.T) {
	s := influxtest.Shared(t)
	c := open(t, Options{URL: s.URL, Prefix: t.Name(), Timeout: 200 * time.Millisecond})
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Resume(); err != nil {
			t.Error(err)
		}
	}()
	var away *UnavailableError
	if err := c.Write(t.Context(), Raw, []byte("air x=1 1\n")); !errors.As(err, &away) || away.Status != 0 {
		t.Errorf("paused: %v", err)
	}
}

func TestErasingANodeTakesAllOfItAndNothingElse(t *testing.T) {
	_, c := prepared(t)
	gone := telemetry.Node{Group: "3374", ID: `sim' OR "gateway" = 'gw-1`}
	for _, n := range []telemetry.Node{gone, node} {
		lines := AppendRow(nil, &Row{Kind: telemetry.KindAir, Node: n, Device: "a", Quantity: "pm2_5", Start: time.Unix(1764000000, 0), Mean: 3, Valid: 1})
		for _, b := range []Bucket{Raw, Hours, Days} {
			if err := c.Write(t.Context(), b, lines); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Erase(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for _, b := range []Bucket{Raw, Hours, Days} {
		rows, err := c.Rows(t.Context(), b, Span{})
		if err != nil || len(rows) != 1 || rows[0].Node != node {
			t.Errorf("%s: %+v, %v", b, rows, err)
		}
	}
}
