package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/dashboards/browsertest"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// The promise in one test: a week that posts measured long ago comes
// through the front door, and a citizen reads the index that these very values
// give. The test has its own idea of the regulation: only the values that the
// posts say they sent are taken from the program under test.
func TestAWeekOfHistoryIsTheIndexThatItsValuesGive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ledger := r.playHistory("3372", 7*24*time.Hour)
	report := r.verify(ledger)
	if report.Lost+report.Doubled+report.Altered > 0 || report.Acknowledged < 10_000 {
		t.Fatalf("%+v", report)
	}
	r.computed()

	sent := readSums(t, ledger, "3372/aqms-3372")
	const site = "3372-03" // the full station, which has gaps
	p := browsertest.Start(t).Open(t, browsertest.Phone, r.ready.Pages+"/stasiun/"+site)
	link := browsertest.Eval[string](p, `document.querySelector('main a[href*="/bukti/ispu-"]').href`)
	shown := p.Text("main .head .big")
	p.Screenshot("history-station")
	p.Go(link)
	p.Screenshot("history-trace")
	if problems := p.Problems(); len(problems) > 0 {
		t.Errorf("the browser complains: %v", problems)
	}
	trace := r.trace(link)
	want := sent.index(trace.Figure.End)
	// The newest hour may be one of the gaps.
	if value, err := strconv.Atoi(shown); want.ok && value != want.index || (err == nil) != want.ok {
		t.Errorf("the page shows %q, its values give %v %d (%s)", shown, want.ok, want.index, want.dominant)
	}
	if got := trace.Figure.Index; trace.Figure.OK != want.ok || want.ok && (got.Value != want.index || string(got.Dominant) != want.dominant) {
		t.Errorf("the trace says %v %d by %s, the values give %v %d by %s", trace.Figure.OK, got.Value, got.Dominant, want.ok, want.index, want.dominant)
	}
	r.proves(trace)

	// Every figure of the week, also where nothing could be said.
	compared, judged := 0, 0
	for end := trace.Figure.End.Add(-5 * 24 * time.Hour); !end.After(trace.Figure.End); end = end.Add(time.Hour) {
		want := sent.index(end)
		got := r.trace(r.ready.Pages + "/bukti/" + figures.FigureID(figures.Hourly, site, end, 0))
		compared++
		if want.ok {
			judged++
		}
		if got.Figure.OK != want.ok || want.ok && got.Figure.Index.Value != want.index {
			t.Errorf("%v: the trace says %v %d, the values give %v %d", end, got.Figure.OK, got.Figure.Index.Value, want.ok, want.index)
		}
	}
	t.Logf("%d hours compared, %d of them with an index", compared, judged)
	if judged == 0 {
		t.Error("no hour has an index")
	}

	// All of it says that it is simulated.
	for _, path := range []string{"/", "/udara", "/wilayah/3372", "/stasiun/" + site, "/en/stasiun/" + site, strings.TrimPrefix(link, r.ready.Pages)} {
		r.publicly(path, map[bool]string{false: "tiruan", true: "artificial"}[strings.HasPrefix(path, "/en/")])
	}
	r.publicly("/api/v1/sites/"+site, `"simulated":true`)
	r.publicly("/api/v1/indices?site="+site, `"simulated":true`)
	officer := r.signIn()
	for _, path := range []string{"/dinas", "/dinas/provinsi", "/dinas/wilayah/3372", "/dinas/lokasi/" + site, "/dinas/validasi", "/dinas/jaringan"} {
		officer.Go(r.ready.Pages + path)
		if !strings.Contains(officer.Text("body"), "tiruan") {
			t.Errorf("%s does not say that this is simulated", path)
		}
	}
}

// A late hour mends a figure that was published: it becomes a revision, and both
// can be traced.
func TestALateHourCorrectsWhatWasPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// The newest figure stays the newest for the next half hour, whatever the time is.
	grace := 59
	if time.Now().Minute() >= 30 {
		grace = 10
	}
	r.rule(time.Now().AddDate(0, 0, -3), func(rules *figures.Rules) { rules.GraceMin = grace })
	r.place("code,name,district,lat,lon,class,public\n3374-09,Telat,3374,-6.99,110.42,acuan,true\n")
	r.importNodes("3374,telat,kata-sandi-telat,3374,3374-09\n", 1)
	d := r.connect("3374/telat", "kata-sandi-telat")
	d.every = 10 * time.Minute
	d.born(series{device: "udara", quantity: "pm2_5", kind: sparkplug.TypeDouble, unit: telemetry.MicrogramPerCubicMetre})
	now := time.Now().Truncate(time.Hour)
	missing := now.Add(-5 * time.Hour)
	var records []telemetry.Record
	hour := func(start time.Time, value float64) {
		for m := range 6 {
			records = append(records, record("udara", start.Add(time.Duration(m)*10*time.Minute), "pm2_5", value))
		}
	}
	for h := 30; h > 0; h-- {
		if start := now.Add(-time.Duration(h) * time.Hour); !start.Equal(missing) {
			hour(start, 20)
		}
	}
	d.send(records...)
	r.computed()
	const station = "/stasiun/3374-09"
	r.publicly(station, "/bukti/ispu-")
	r.computed() // all of it: what comes now is late
	b := browsertest.Start(t)
	p := b.Open(t, browsertest.Desktop, r.ready.Pages+station)
	link := browsertest.Eval[string](p, `document.querySelector('main a[href*="/bukti/ispu-"]').href`)
	first := r.trace(link)
	// 20 µg/m³: (100 − 51) / (55.4 − 15.5) × 4.5 + 51 = 56.53.
	if first.Figure.Revision != 0 || first.Figure.Index.Value != 57 || first.Figure.Parts[0].Hours != 23 {
		t.Errorf("the first figure: %+v", first.Figure)
	}
	records = nil
	hour(missing, 500)
	d.send(records...)
	again := strings.Replace(link, "-r0-", "-r1-", 1)
	var second figures.Trace
	await(t, "the revision", 2*time.Minute, func() bool {
		resp, err := http.Get(again + ".json")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&second) == nil
	})
	if second.Figure.Revision != 1 || second.Figure.Reason != figures.LateData || second.Figure.Index.Value <= first.Figure.Index.Value {
		t.Errorf("the revision: %+v", second.Figure)
	}
	r.proves(first)
	r.proves(second)
	if still := r.trace(link); still.Figure.Index.Value != first.Figure.Index.Value {
		t.Errorf("what was published first is now %+v", still.Figure.Index)
	}
	r.publicly(station, second.Figure.ID)
	p = b.Open(t, browsertest.Desktop, r.ready.Pages+station) // a browser keeps a page for a minute: this one never saw it
	if shown := p.Text("main .head .big"); shown != strconv.Itoa(second.Figure.Index.Value) {
		t.Errorf("the page shows %s, the revision is %d", shown, second.Figure.Index.Value)
	}
	p.Screenshot("history-corrected")
	r.publicly("/ralat", "Telat")
	p.Go(r.ready.Pages + "/ralat")
	p.Screenshot("history-corrections")
	if problems := p.Problems(); len(problems) > 0 {
		t.Errorf("the browser complains: %v", problems)
	}
}

// playHistory registers the posts of a district ("": of all) and plays their past;
// it returns the ledger of one district.
func (r *rig) playHistory(district string, past time.Duration) string {
	r.t.Helper()
	dir, ledger := filepath.Join(r.dir, "posts"), filepath.Join(r.dir, "history.tsv")
	run := func(name string, args ...string) {
		r.t.Helper()
		if err := start(r.t, filepath.Join(bin, name), nil, args...).wait(r.t.Context()); err != nil {
			r.t.Fatalf("%s %v: %v", name, args, err)
		}
	}
	run("firmware-sim", "history", "--make", dir, "--districts="+district)
	run("pantau", "place", "import", filepath.Join(dir, "sites.csv"), filepath.Join(dir, "sensors.csv"), filepath.Join(dir, "deployments.csv"), "--data", r.data())
	run("pantau", "gateway", "import", filepath.Join(dir, "gateways.csv"), "--simulated", "--data", r.data())
	args := []string{"history", "--server", "mqtts://" + r.door, "--ca", filepath.Join(r.data(), "ca.pem"),
		"--credentials", filepath.Join(dir, "gateways.csv"), "--districts=" + district, "--past", past.String(), "--once"}
	if district != "" { // of all it would be half a gigabyte
		args = append(args, "--ledger", ledger)
	}
	run("firmware-sim", args...)
	return ledger
}

// place imports sites.
func (r *rig) place(csv string) {
	r.t.Helper()
	file := filepath.Join(r.dir, "sites.csv")
	if err := os.WriteFile(file, []byte(csv), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var result struct{ Changed []any }
	if err := r.admin(&result, "place", "import", file); err != nil || len(result.Changed) == 0 {
		r.t.Fatalf("%+v, %v", result, err)
	}
}

// rule changes the rules of figures from a time on.
func (r *rig) rule(since time.Time, change func(*figures.Rules)) {
	r.t.Helper()
	var rules figures.Rules
	if err := r.admin(&rules, "figures", "rules", "show"); err != nil {
		r.t.Fatal(err)
	}
	change(&rules)
	text, err := json.Marshal(rules)
	if err != nil {
		r.t.Fatal(err)
	}
	file := filepath.Join(r.t.TempDir(), "rules.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	var done server.Done
	if err := r.admin(&done, "figures", "rules", "set", file, "--since", since.In(figures.WIB).Format("2006-01-02 15:04"), "--reason", "Simulasi"); err != nil {
		r.t.Fatal(err)
	}
}

// computed waits until everything that came is in hours and figures. The running
// hour of each gateway always waits for its end.
func (r *rig) computed() {
	r.t.Helper()
	nothing := filepath.Join(r.t.TempDir(), "nothing.tsv")
	if err := os.WriteFile(nothing, nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.verify(nothing) // which begins once the store has all that was acknowledged
	running := float64(len(r.ledger().Gateways))
	await(r.t, "all hours and figures", 10*time.Minute, func() bool {
		for name, left := range map[string]float64{"pantau_ingest_dirty_hours": running, "pantau_publication_dirty_site_days": 0, "pantau_publication_due_site_days": 0} {
			if n, ok := r.metric(name); !ok || n > left {
				return false
			}
		}
		return true
	})
}

// publicly waits until a public page holds a text.
func (r *rig) publicly(path, text string) {
	r.t.Helper()
	await(r.t, "on "+path+": "+text, 2*time.Minute, func() bool {
		resp, err := http.Get(r.ready.Pages + path)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(body), text)
	})
}

// trace reads a figure's trace as the public can.
func (r *rig) trace(link string) figures.Trace {
	r.t.Helper()
	resp, err := http.Get(link + ".json")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %s %v", link, resp.Status, err)
	}
	var trace figures.Trace
	if err := json.Unmarshal(body, &trace); err != nil {
		r.t.Fatalf("%s: %v", link, err)
	}
	return trace
}

// proves recomputes a figure from nothing but its trace.
func (r *rig) proves(trace figures.Trace) {
	r.t.Helper()
	again, err := trace.Recompute()
	if err != nil {
		r.t.Fatal(err)
	}
	if again.Index != trace.Figure.Index || again.OK != trace.Figure.OK || again.Hash != trace.Figure.Hash {
		r.t.Errorf("recomputed from its trace: %+v\nit says: %+v", again, trace.Figure)
	}
}

// rating is what the test itself finds.
type rating struct {
	ok       bool
	index    int
	dominant string
}

// The regulation (Permen LHK P.14/2020) as the test reads it: upper nodes, in
// µg/m³, of 50, 100, 200, 300 and 500.
var upperNodes = map[string][5]float64{
	"pm10": {50, 150, 350, 420, 500}, "pm2_5": {15.5, 55.4, 150.4, 250.4, 500}, "so2": {52, 180, 400, 800, 1200},
	"co": {4000, 8000, 15000, 30000, 45000}, "o3": {120, 235, 400, 800, 1000}, "no2": {80, 200, 1130, 2260, 3000},
	"hc": {45, 100, 215, 432, 648},
}

// perUnit turns what the station sends into µg/m³ at 25 °C and 1 atm: molar mass
// over 24.465 litres; a ppm of CO is a thousand ppb.
var perUnit = map[string]struct {
	parameter string
	factor    float64
}{
	// Hydrocarbons have no mass: nobody declared their calibration gas.
	"pm10": {"pm10", 1}, "pm2_5": {"pm2_5", 1}, "so2_ppb": {"so2", 64.066 / 24.465},
	"co_ppm": {"co", 1000 * 28.010 / 24.465}, "o3_ppb": {"o3", 47.998 / 24.465}, "no2_ppb": {"no2", 46.006 / 24.465},
}

// sums are a station's readings by parameter and hour (Unix hours).
type sums map[string]map[int64]struct {
	sum float64
	n   int
}

// index computes a station's index at end from what the ledger says was sent:
// hours with at least five of their six readings, at least 18 of the 24 before
// end, the newest at most three hours old; half up.
func (all sums) index(end time.Time) (out rating) {
	for parameter, upper := range upperNodes {
		sum, hours, newest := 0.0, 0, 99
		for age := range 24 {
			h := all[parameter][end.Unix()/3600-1-int64(age)]
			if h.n < 5 {
				continue
			}
			sum += h.sum / float64(h.n)
			hours++
			newest = min(newest, age)
		}
		if hours < 18 || newest > 3 {
			continue
		}
		x, lower, from := sum/float64(hours), 0.0, 1.0
		for i, to := range [...]float64{50, 100, 200, 300, 500} {
			if x <= upper[i] {
				if index := int(math.Floor((to-from)/(upper[i]-lower)*(x-lower) + from + 0.5)); index > out.index {
					out = rating{true, index, parameter}
				}
				break
			}
			lower, from = upper[i], to+1
		}
	}
	return out
}

func readSums(t *testing.T, ledger, node string) sums {
	t.Helper()
	f, err := os.Open(ledger)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := sums{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Split(lines.Text(), "\t")
		as, ok := perUnit[field[5]]
		if field[0] != "S" || field[1] != node || !ok || field[7] == "NaN" { // a gap
			continue
		}
		ms, err1 := strconv.ParseInt(field[6], 10, 64)
		v, err2 := strconv.ParseFloat(field[7], 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("ledger: %q", lines.Text())
		}
		if out[as.parameter] == nil {
			out[as.parameter] = map[int64]struct {
				sum float64
				n   int
			}{}
		}
		h := out[as.parameter][ms/3_600_000]
		h.sum += v * as.factor
		h.n++
		out[as.parameter][ms/3_600_000] = h
	}
	return out
}
