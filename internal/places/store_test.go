package places_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var (
	gwA = telemetry.Node{Group: "3374", ID: "balaikota"}
	gwB = telemetry.Node{Group: "3374", ID: "balaikota-2"}
)

// twoSites has gateway A at smg-1 by its own entry, and a second site.
func twoSites(t *testing.T) *world {
	w := newWorld(t)
	w.must(w.PutSite(t.Context(), places.Site{Code: "smg-2", District: "3374"}))
	w.gateway(gwA, "smg-1")
	w.tellings()
	return w
}

// A gateway is replaced by another and hangs elsewhere from then on. What it
// spooled before the move belongs to where it hung when it was read.
func TestAReplacedGatewayLeavesTheHistoryWhole(t *testing.T) {
	w := twoSites(t)
	moved := day(10).Add(2*time.Hour + 20*time.Minute)
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: gwA, Device: places.AnyDevice, Site: "smg-2", From: moved}))
	w.gateway(gwB, "smg-1")
	for _, c := range []struct {
		node telemetry.Node
		at   time.Time
		want string
	}{
		{gwA, day(1), "smg-1"},
		{gwA, moved.Add(-time.Second), "smg-1"}, // spooled, and sent days later
		{gwA, moved, "smg-2"},
		{gwA, day(19), "smg-2"},
		{gwB, day(19), "smg-1"},
	} {
		if got := siteAt(w.Store, c.node, "sps30", c.at); got != c.want {
			t.Errorf("%s at %v: %q, want %q", c.node, c.at, got, c.want)
		}
	}
	// The hour of the move has a part of each.
	got := w.During(gwA, "sps30", moved.Truncate(time.Hour), moved.Truncate(time.Hour).Add(time.Hour))
	if len(got) != 2 || got[0].Site != "smg-1" || !got[0].To.Equal(moved) || got[0].Device != "sps30" || got[1].Site != "smg-2" || !got[1].From.Equal(moved) {
		t.Errorf("the hour of the move: %+v", got)
	}
	if nodes := w.Nodes("smg-1", day(18), day(19)); !slices.Equal(nodes, []telemetry.Node{gwA, gwB}) {
		t.Errorf("nodes that may have been at smg-1: %v", nodes)
	}
	if nodes := w.Nodes("smg-2", day(1), day(2)); len(nodes) != 0 {
		t.Errorf("nodes at smg-2 before the move: %v", nodes)
	}
	w.must(w.PutDeployment(t.Context(), places.Deployment{ID: "own", Node: gwA, Device: "sht45", Site: "smg-2", From: day(15)}))
	var list []string
	for _, site := range []string{"smg-1", "smg-2"} {
		for _, d := range w.Deployments(site) {
			list = append(list, fmt.Sprint(site, " ", d.Node.ID, " ", d.Device, " ", !d.From.IsZero(), " ", !d.To.IsZero()))
		}
	}
	if want := []string{
		"smg-1 balaikota * false true", "smg-1 balaikota sht45 false true", "smg-1 balaikota-2 * false false",
		"smg-2 balaikota * true false", "smg-2 balaikota sht45 true true", "smg-2 balaikota sht45 true false",
	}; !slices.Equal(list, want) {
		t.Errorf("deployments %q, want %q", list, want)
	}
	// What the registry says is still so after a start.
	if got := siteAt(w.open(places.Options{KV: w.kv}), gwA, "sps30", day(1)); got != "smg-1" {
		t.Errorf("after a start: %q", got)
	}
}

// A new instrument under the old name does not take the history away.
func TestAReplacedSensorLeavesTheHistoryWhole(t *testing.T) {
	w := twoSites(t)
	w.must(w.PutSensor(t.Context(), places.Sensor{ID: "sps-17"}))
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: gwA, Device: "sps30", Site: "smg-1", Sensor: "sps-17", From: day(5), To: day(8)}))
	for _, c := range []struct {
		device, site, sensor string
		at                   time.Time
	}{
		{"sps30", "smg-1", "", day(4)},
		{"sps30", "smg-1", "sps-17", day(5)},
		{"sps30", "", "", day(8)}, // taken down, and nobody said where to
		{"sht45", "smg-1", "", day(8)},
	} {
		d, ok := w.At(gwA, c.device, c.at)
		if ok != (c.site != "") || ok && (d.Site != c.site || d.Sensor != c.sensor || d.Device != c.device) {
			t.Errorf("%s on %v: %+v, %t", c.device, c.at, d, ok)
		}
	}
	if got, want := w.tellings(), []places.Span{{Site: "smg-1", From: day(5)}}; !slices.Equal(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

func TestAChangeTellsWhichTimeOfWhichSiteItTouches(t *testing.T) {
	w := twoSites(t)
	put := func(d places.Deployment) {
		t.Helper()
		w.must(w.PutDeployment(t.Context(), d))
	}
	check := func(what string, want ...places.Span) {
		t.Helper()
		if got := w.tellings(); !slices.Equal(got, want) {
			t.Errorf("%s: told %+v, want %+v", what, got, want)
		}
	}
	d := places.Deployment{ID: "move", Node: gwA, Device: places.AnyDevice, Site: "smg-2", From: day(10)}
	put(d)
	check("a move", places.Span{Site: "smg-1", From: day(10)}, places.Span{Site: "smg-2", From: day(10)})
	put(d)
	check("the same again")
	d.From = day(5)
	put(d)
	check("a move dated back", places.Span{Site: "smg-1", From: day(5), To: day(10)}, places.Span{Site: "smg-2", From: day(5), To: day(10)})
	d.Site = "smg-3"
	w.must(w.PutSite(t.Context(), places.Site{Code: "smg-3", District: "3374"}))
	check("a new site")
	put(d)
	check("another site", places.Span{Site: "smg-2", From: day(5)}, places.Span{Site: "smg-3", From: day(5)})
	own := places.Deployment{ID: "own", Node: gwA, Device: "sps30", Site: "smg-1", From: day(7), To: day(9), Main: []string{"pm2_5"}}
	put(own)
	check("a device for itself", places.Span{Site: "smg-1", From: day(7), To: day(9)}, places.Span{Site: "smg-3", From: day(7)})
	own.Main = []string{"pm10"}
	put(own)
	check("another utama", places.Span{Site: "smg-1", From: day(7), To: day(9)})
	w.must(w.Apply(t.Context(), places.Change{Remove: []string{"own"}}))
	check("one that never was", places.Span{Site: "smg-1", From: day(7), To: day(9)}, places.Span{Site: "smg-3", From: day(7)})
	site, _ := w.Site("smg-3")
	site.Closed = day(15)
	w.must(w.PutSite(t.Context(), site))
	check("a closed site", places.Span{Site: "smg-3", From: day(15)})
	site.Closed = day(12)
	w.must(w.PutSite(t.Context(), site))
	check("closed earlier", places.Span{Site: "smg-3", From: day(12), To: day(15)})
	site.Name, site.Public = "Simpang Lima", true
	w.must(w.PutSite(t.Context(), site))
	check("a name")
	w.gateway(gwB, "smg-2")
	check("a gateway that is said to hang somewhere", places.Span{Site: "smg-2"})
}

// Whoever was told last may not have lived to hear it.
func TestTheLastChangeIsToldAgainAfterAStart(t *testing.T) {
	w := twoSites(t)
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: gwA, Device: places.AnyDevice, Site: "smg-2", From: day(10)}))
	var told []places.Span
	w.open(places.Options{KV: w.kv, Changed: func(site string, from, to time.Time) {
		told = append(told, places.Span{Site: site, From: from, To: to})
	}})
	if want := []places.Span{{Site: "smg-1", From: day(10)}, {Site: "smg-2", From: day(10)}}; !slices.Equal(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}
}

func problems(t *testing.T, err error) places.Problems {
	t.Helper()
	var p places.Problems
	if !errors.As(err, &p) {
		t.Fatalf("%v: want problems with fields", err)
	}
	return p
}

func TestOneUtamaPerQuantityAndSite(t *testing.T) {
	w := twoSites(t)
	first := places.Deployment{ID: "first", Node: gwA, Device: "sps30", Site: "smg-1", From: day(1), To: day(10), Main: []string{"pm2_5", "pm10"}}
	w.must(w.PutDeployment(t.Context(), first))
	second := places.Deployment{ID: "second", Node: gwB, Device: "sps30", Site: "smg-1", From: day(9), Main: []string{"pm2_5"}}
	err := w.PutDeployment(t.Context(), second)
	if p := problems(t, err); len(p) != 1 || p[0].Field != "main" || p[0].Value != "pm2_5" || p[0].Why != places.Taken || p[0].Other != "first" {
		t.Errorf("%+v", p)
	}
	for _, says := range []string{"first", gwA.String(), "smg-1", "2026-11-10"} {
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	second.From = day(10) // the moment at which the first ends
	w.must(w.PutDeployment(t.Context(), second))
	first.To = time.Time{}
	if p := problems(t, w.PutDeployment(t.Context(), first)); p[0].Other != "second" {
		t.Errorf("%+v", p)
	}
	// Both at once: the claim passes over.
	first.To, second.From = day(8), day(8)
	w.must(w.Apply(t.Context(), places.Change{Deployments: []places.Deployment{first, second}}))

	a, _ := w.At(gwA, "sps30", day(5))
	other, _ := w.At(gwA, "sen66", day(5)) // implied: claims nothing
	for _, c := range []struct {
		quantity string
		of       []places.Deployment
		device   string
	}{
		{"pm2_5", []places.Deployment{other, a}, "sps30"},
		{"pm2_5", []places.Deployment{other}, ""}, // the utama is silent: a gap, not another instrument
		{"co2", []places.Deployment{other, a}, "sen66"},
		{"pm4", []places.Deployment{a}, ""},
	} {
		got, ok := w.Utama("smg-1", c.quantity, day(5), c.of)
		if ok != (c.device != "") || got.Device != c.device {
			t.Errorf("utama of %s: %+v, %t; want %q", c.quantity, got, ok, c.device)
		}
	}
}

func TestADeviceIsAtOnePlace(t *testing.T) {
	w := twoSites(t)
	ctx := t.Context()
	w.must(w.PutSensor(ctx, places.Sensor{ID: "sps-17"}))
	w.must(w.PutDeployment(ctx, places.Deployment{ID: "one", Node: gwA, Device: "sps30", Site: "smg-1", Sensor: "sps-17", From: day(5)}))
	for field, d := range map[string]places.Deployment{
		"device":  {Node: gwA, Device: "sps30", Site: "smg-2", From: day(9)},
		"sensor":  {Node: gwB, Device: "sps30", Site: "smg-1", Sensor: "sps-17", From: day(9)},
		"site":    {Node: gwB, Device: "sps30", Site: "nowhere"},
		"to":      {Node: gwB, Device: "sps30", Site: "smg-1", From: day(9), To: day(9)},
		"main":    {Node: gwB, Device: "sps30", Site: "smg-1", Main: []string{"pm25x"}},
		"node":    {Node: telemetry.Node{Group: "3374"}, Device: "sps30", Site: "smg-1"},
		"id":      {ID: "a b", Node: gwB, Device: "sps30", Site: "smg-1"},
		"device ": {Node: gwB, Site: "smg-1"},
		"sensor ": {Node: gwB, Device: "sps30", Site: "smg-1", Sensor: "nobody"},
	} {
		p := problems(t, w.PutDeployment(ctx, d))
		if len(p) != 1 || p[0].Field != strings.TrimSpace(field) || p[0].Want == "" {
			t.Errorf("%+v: %+v, want one of %s", d, p, field)
		}
	}
	if got := w.Written(""); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestSitesAreCheckedFieldByField(t *testing.T) {
	w := newWorld(t)
	for field, s := range map[string]places.Site{
		"code":                {Code: "a/b", District: "3374"},
		"code ":               {Code: "", District: "3374"},
		"district":            {Code: "a", District: "9999"},
		"lat":                 {Code: "a", District: "3374", Lat: 6.99, Lon: 110.42},
		"lat ":                {Code: "a", District: "3374", Lat: math.NaN(), Lon: 110.42},
		"lon":                 {Code: "a", District: "3374", Lat: -6.99, Lon: 10.42},
		"subdistrict":         {Code: "a", District: "3374", Subdistrict: "330101"},
		"class":               {Code: "a", District: "3374", Class: "best"},
		"certificate_number":  {Code: "a", District: "3374", Class: places.SNI9178, Certificate: places.Certificate{Expires: day(1)}},
		"certificate_expires": {Code: "a", District: "3374", Class: places.SNI9178, Certificate: places.Certificate{Number: "17/2026"}},
		"name":                {Code: "a", District: "3374", Name: "Balai\u202eatok"},
		"operator":            {Code: "a", District: "3374", Operator: "DLH\x1b[2J"},
		"name ":               {Code: "a", District: "3374", Name: strings.Repeat("a", 201)},
	} {
		p := problems(t, w.PutSite(t.Context(), s))
		if len(p) != 1 || p[0].Field != strings.TrimSpace(field) || p[0].Want == "" {
			t.Errorf("%+v: %+v, want one of %s", s, p, field)
		}
	}
	// What is only text stays as it was typed.
	for i, name := range []string{`<script>alert(1)</script>`, `=HYPERLINK("x")`, `'; DROP SERIES --`, `Ngesrep/Banyumanik`, `ꦱꦼꦩꦫꦁ`} {
		code := fmt.Sprint("site-", i)
		w.must(w.PutSite(t.Context(), places.Site{Code: code, Name: "  " + name + " ", District: "3374"}))
		if s, _ := w.Site(code); s.Name != name {
			t.Errorf("%q became %q", name, s.Name)
		}
	}
}

func TestASiteKeepsItsDistrictOnceSomethingHangsThere(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.must(w.PutSite(ctx, places.Site{Code: "pasar", District: "3301"}))
	w.must(w.PutSite(ctx, places.Site{Code: "pasar", District: "3374"})) // a mistake, mended in time
	w.gateway(gwA, "pasar")
	if p := problems(t, w.PutSite(ctx, places.Site{Code: "pasar", District: "3302"})); p[0].Why != places.Fixed || !strings.Contains(p[0].Want, gwA.String()) {
		t.Errorf("%+v", p)
	}
	w.must(w.PutSite(ctx, places.Site{Code: "tugu", District: "3374"}))
	w.must(w.PutDeployment(ctx, places.Deployment{Node: gwB, Device: "x", Site: "tugu", From: day(1), To: day(2)}))
	if p := problems(t, w.PutSite(ctx, places.Site{Code: "tugu", District: "3302"})); p[0].Why != places.Fixed {
		t.Errorf("%+v", p)
	}
}

func TestAClosedSiteTakesNothingMore(t *testing.T) {
	w := twoSites(t)
	w.must(w.PutSite(t.Context(), places.Site{Code: "smg-1", District: "3374", Closed: day(15)}))
	if before, after := siteAt(w.Store, gwA, "sps30", day(15).Add(-time.Second)), siteAt(w.Store, gwA, "sps30", day(15)); before != "smg-1" || after != "" {
		t.Errorf("%q before, %q after", before, after)
	}
	if got := w.During(gwA, "sps30", day(14), day(16)); len(got) != 1 || !got[0].To.Equal(day(15)) {
		t.Errorf("%+v", got)
	}
	if p := problems(t, w.PutDeployment(t.Context(), places.Deployment{Node: gwB, Device: "x", Site: "smg-1", From: day(16)})); p[0].Why != places.Closed {
		t.Errorf("%+v", p)
	}
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: gwB, Device: "x", Site: "smg-2", From: day(16)}))
	if p := problems(t, w.PutSite(t.Context(), places.Site{Code: "smg-2", District: "3374", Closed: day(10)})); p[0].Field != "closed" {
		t.Errorf("%+v", p)
	}
}

// A station that is certified today was not so yesterday.
func TestAChangeOfClassAltersNoPastFigure(t *testing.T) {
	w := newWorld(t)
	put := func(s places.Site) {
		t.Helper()
		s.Code, s.District = "smg-1", "3374"
		w.must(w.PutSite(t.Context(), s))
	}
	class := func(at time.Time, want places.Class) {
		t.Helper()
		if s, _ := w.Site("smg-1"); s.ClassAt(at) != want {
			t.Errorf("on %v %s, want %s (%+v)", at, s.ClassAt(at), want, s)
		}
	}
	certified := places.Site{Class: places.SNI9178, Certificate: places.Certificate{Number: "17", Collocated: day(2), Expires: day(28)}}
	put(places.Site{})
	put(certified)
	hour := now.Truncate(time.Hour)
	class(hour.Add(-time.Second), places.Indicative)
	class(hour, places.SNI9178)
	class(day(28), places.Indicative)
	if got := w.tellings(); !slices.Equal(got, []places.Span{{Site: "smg-1", From: hour}}) {
		t.Errorf("told %+v", got)
	}
	certified.Name = "Simpang Lima" // and nothing else
	put(certified)
	class(hour.Add(-time.Second), places.Indicative)
	// The certificate holds since the comparison, and somebody says so.
	certified.Certificate.Issuer, certified.ClassSince = "KAN", day(3)
	put(certified)
	class(day(3).Add(-time.Second), places.Indicative)
	class(day(3), places.SNI9178)
	if s, _ := w.Site("smg-1"); len(s.Earlier) != 1 {
		t.Errorf("%+v", s.Earlier)
	}
	if got := w.tellings(); !slices.Equal(got, []places.Span{{Site: "smg-1", From: day(3)}}) {
		t.Errorf("told %+v", got)
	}
}

// Two people, at two processes, claim the same: one of them is told.
func TestConcurrentClaims(t *testing.T) {
	w := twoSites(t)
	other := w.open(places.Options{KV: w.kv})
	for round := range 5 {
		site := fmt.Sprint("race-", round)
		w.must(w.PutSite(t.Context(), places.Site{Code: site, District: "3374"}))
		results := make(chan error, 2)
		for i, s := range []*places.Store{w.Store, other} {
			go func() {
				results <- s.PutDeployment(t.Context(), places.Deployment{
					Node: telemetry.Node{Group: "3374", ID: fmt.Sprint("gw-", i)}, Device: fmt.Sprint("d", round), Site: site, From: day(1), Main: []string{"pm2_5"},
				})
			}()
		}
		a, b := <-results, <-results
		if (a == nil) == (b == nil) {
			t.Fatalf("%v and %v: want one of them refused", a, b)
		}
		if p := problems(t, errors.Join(a, b)); p[0].Why != places.Taken {
			t.Errorf("%+v", p)
		}
	}
	// A change waits until it knows all others, so now both know the same.
	w.must(w.PutSite(t.Context(), places.Site{Code: "last", District: "3374"}))
	w.must(other.PutSite(t.Context(), places.Site{Code: "last", District: "3374"}))
	if a, b := w.Written(""), other.Written(""); len(a) != 5 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// A change by another process is learned, and told here too.
func TestOtherProcessesChangesAreLearned(t *testing.T) {
	w := twoSites(t)
	told := make(chan places.Span, 10)
	other := w.open(places.Options{KV: w.kv, Changed: func(site string, from, to time.Time) { told <- places.Span{Site: site, From: from, To: to} }})
	w.must(w.PutDeployment(t.Context(), places.Deployment{Node: gwA, Device: "sps30", Site: "smg-2", From: day(10)}))
	if a, b := <-told, <-told; a != (places.Span{Site: "smg-1", From: day(10)}) || b != (places.Span{Site: "smg-2", From: day(10)}) {
		t.Errorf("told %+v, %+v", a, b)
	}
	if got := siteAt(other, gwA, "sps30", day(11)); got != "smg-2" {
		t.Errorf("%q", got)
	}
}

// stopping is the bucket of a process that dies in the middle of a change.
type stopping struct {
	places.KV
	left int // writes until it dies; one that was not needed any more is none
}

var errDied = errors.New("the process died here")

func (s *stopping) write(do func() (uint64, error)) (uint64, error) {
	if s.left == 0 {
		return 0, errDied
	}
	revision, err := do()
	if err == nil {
		s.left--
	}
	return revision, err
}

func (s *stopping) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return s.write(func() (uint64, error) { return s.KV.Create(ctx, key, value) })
}

func (s *stopping) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return s.write(func() (uint64, error) { return s.KV.Update(ctx, key, value, revision) })
}

// However far a process got with a change of ten records, afterwards all of it
// holds or nothing.
func TestAChangeHoldsAsAWhole(t *testing.T) {
	w := twoSites(t)
	for left := range 13 {
		dying := w.open(places.Options{KV: &stopping{KV: w.kv, left: left}})
		var c places.Change
		for i := range 10 {
			c.Sites = append(c.Sites, places.Site{Code: fmt.Sprint("part-", i), Name: fmt.Sprint("round ", left), District: "3374"})
		}
		if err := dying.Apply(t.Context(), c); err != nil && !errors.Is(err, errDied) {
			t.Fatal(err)
		}
		next := w.open(places.Options{KV: w.kv})
		names := map[string]int{}
		for _, s := range next.Sites() {
			if strings.HasPrefix(s.Code, "part-") {
				names[s.Name]++
			}
		}
		want := map[string]int{fmt.Sprint("round ", left): 10}
		if left == 0 {
			want = map[string]int{}
		}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("died after %d writes: %v, want %v", left, names, want)
		}
		// The next change finds a store that takes it, and loses nothing.
		w.must(next.PutSite(t.Context(), places.Site{Code: "part-0", Name: "after", District: "3374"}))
		again := w.open(places.Options{KV: w.kv})
		if a, _ := again.Site("part-0"); a.Name != "after" {
			t.Errorf("died after %d writes: %+v", left, a)
		}
		if b, ok := again.Site("part-9"); ok != (left > 0) || ok && b.Name != fmt.Sprint("round ", left) {
			t.Errorf("died after %d writes: %+v", left, b)
		}
	}
}

// Sites of the version that kept them in the registry are found, once.
func TestSitesOfTheEarlierVersionAreTakenOver(t *testing.T) {
	w := newWorld(t)
	older := func(context.Context) (map[string][]byte, error) {
		return map[string][]byte{
			"site/Pasar Johar": []byte(`{"code":"Pasar Johar","name":"Pasar Johar","district":"3374","lat":-6.97,"lon":110.42,"public":true}`),
			"site/broken":      []byte(`{`),
		}, nil
	}
	s := w.open(places.Options{KV: w.kv, Older: older})
	site, ok := s.Site("Pasar Johar")
	if !ok || site.Lat != -6.97 || !site.Public || site.Class != places.Indicative || len(s.Sites()) != 1 {
		t.Fatalf("%+v", s.Sites())
	}
	site.Name = "Pasar Johar Utara" // an old code may be changed like any other
	w.must(s.PutSite(t.Context(), site))
	if site, _ := w.open(places.Options{KV: w.kv, Older: older}).Site("Pasar Johar"); site.Name != "Pasar Johar Utara" {
		t.Errorf("taken over twice: %+v", site)
	}
	w.must(s.Apply(t.Context(), places.Change{RemoveSites: []string{"Pasar Johar"}}))
	if list := w.open(places.Options{KV: w.kv, Older: older}).Sites(); len(list) != 0 {
		t.Errorf("taken over again after it was removed: %+v", list)
	}
}
