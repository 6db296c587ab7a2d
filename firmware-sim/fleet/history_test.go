package fleet

import (
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// onTheWay is how long a record may take to the server and still be told as live.
const onTheWay = time.Minute

// posts returns some posts of the province with their logins.
func posts(t *testing.T, district string) HistoryOptions {
	t.Helper()
	o := HistoryOptions{Logins: map[telemetry.Node]Credential{}, Once: true, Past: 3 * 24 * time.Hour}
	for _, p := range Province() {
		if p.District.Code == district {
			o.Posts = append(o.Posts, p)
			o.Logins[p.Node] = Credential{Node: p.Node, Password: "kata-sandi-simulasi"}
		}
	}
	return o
}

func TestAnInterruptedPlayGoesOnAndDoublesNothing(t *testing.T) {
	s := newServer(t)
	s.deal = func(n int) dealing {
		if n%5 == 0 {
			return cut
		}
		return ack
	}
	o := posts(t, "3372")
	o.Server, o.State = s.url(), filepath.Join(t.TempDir(), "state.json")
	first, err := RunHistory(t.Context(), o)
	if err != nil || first.Arrived != first.Due || first.Due < 1500 {
		t.Fatalf("%+v, %v", first, err)
	}
	s.over()
	one := entries(s.runs)
	for _, r := range s.runs {
		if backlog := r.at.Sub(time.UnixMilli(r.records[len(r.records)-1].Time)) > youngest+onTheWay; backlog && !r.run.Backlog {
			t.Errorf("records of %v are called live", time.UnixMilli(r.records[0].Time))
		}
	}

	// With what is acknowledged known, only what was taken since is sent.
	s.runs, s.deal = nil, func(int) dealing { return ack }
	second, err := RunHistory(t.Context(), o)
	if err != nil || second.Arrived != second.Due || second.Readings > 200 {
		t.Errorf("the second start sends again what is there: %+v, %v", second, err)
	}
	s.over()

	// Without it everything goes out again: the same values under the same numbers.
	o.State = ""
	s.runs = nil
	if _, err := RunHistory(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.over()
	again := entries(s.runs)
	for e := range maps.Keys(one) {
		if again[e] != 1 {
			t.Fatalf("%+v was sent %d times by the second play", e, again[e])
		}
	}
}

// At midnight a post's gateway begins a new run; what the old one still holds goes
// out behind what is live.
func TestMidnightBeginsANewRun(t *testing.T) {
	o := posts(t, "3310")
	evening := dayKey(20_783).start().Add(23*time.Hour + 50*time.Minute)
	h := &history{o: o, world: world.New(1), begin: evening, state: &stateFile{Begun: evening, Past: 24 * time.Hour}}
	p, err := h.newPost(&o.Posts[0])
	if err != nil {
		t.Fatal(err)
	}
	if p.advance(evening) || len(p.days) != 2 {
		t.Fatalf("%d days", len(p.days))
	}
	if !p.advance(evening.Add(20*time.Minute)) || len(p.days) != 3 || p.days[2].key != 20_784 || p.days[2].epoch == p.days[1].epoch {
		t.Fatalf("%d days, the last %v", len(p.days), p.days[len(p.days)-1].key)
	}
	morning := evening.Add(25 * time.Minute)
	live, backlog := p.pick(morning)
	if live.d != p.days[2] || backlog {
		t.Errorf("first goes %v, backlog %v", live.d.key, backlog)
	}
	live.d.mark(0, live.d.due(morning.UnixMilli()), flying)
	if old, backlog := p.pick(morning); old.d != p.days[1] || !backlog || old.a != 0 {
		t.Errorf("then goes %+v, backlog %v", old, backlog)
	}
	if !p.advance(morning.Add(50*time.Hour)) || len(p.days) != 5 {
		t.Errorf("after two nights asleep: %d days", len(p.days))
	}
}

// A play is judged by the moment at which it ends, not by what is taken while its
// links close.
func TestWhatIsTakenWhileAPlayEndsIsNotMissed(t *testing.T) {
	o := posts(t, "3310")
	noon := dayKey(20_783).start().Add(12 * time.Hour)
	h := &history{o: o, world: world.New(1), begin: noon, state: &stateFile{Begun: noon}}
	p, err := h.newPost(&o.Posts[0])
	if err != nil {
		t.Fatal(err)
	}
	today := p.days[0]
	taken := today.due(noon.UnixMilli())
	later := time.UnixMilli(today.slots[taken].ms + 1)
	today.mark(0, taken, arrived)
	all := []*playedPost{p}
	if r := h.result(all, noon); taken == 0 || r.Due != uint64(taken) || r.Arrived != r.Due {
		t.Errorf("at the end: %+v, %d were taken", r, taken)
	}
	if r := h.result(all, later); r.Arrived >= r.Due {
		t.Errorf("one record later: %+v", r)
	}
	today.mark(taken, taken+1, arrived) // and it got through nevertheless
	if r := h.result(all, noon); r.Arrived != r.Due {
		t.Errorf("at the end, though more has arrived: %+v", r)
	}
}

func TestTheNewestDayGoesFirst(t *testing.T) {
	s := newServer(t)
	o := posts(t, "3310")
	o.Server = s.url()
	if _, err := RunHistory(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.over()
	last := time.Now()
	for _, r := range s.runs {
		day := dayOf(time.UnixMilli(r.records[0].Time))
		if day > dayOf(last) {
			t.Fatalf("%v came after %v", day, dayOf(last))
		}
		last = time.UnixMilli(r.records[0].Time)
	}
}

// A first look needs every category somewhere, and most of the province in the
// lower two.
func TestTheProvinceHasEveryCategory(t *testing.T) {
	now := time.Date(2026, 11, 26, 10, 30, 0, 0, wib)
	for _, days := range []int{0, 1, 2, 3, 4, 5, 20, 45, 46, 120, 200, 270} { // and on any day
		at := now.AddDate(0, 0, days)
		w := world.New(1)
		w.LetHazeDrift()
		count := map[figures.Category]int{}
		rated := map[figures.Category]int{} // of those that may be called ISPU
		for _, p := range Province() {
			site := w.At(p.Node.String(), world.Place{Lat: p.Lat, Lon: p.Lon, City: p.City()})
			sum := 0.0
			for i := range 144 {
				sum += site.Air(at.Add(-time.Duration(i) * 10 * time.Minute)).PM25
			}
			index, _ := figures.SubIndex(figures.PM25, sum/144, figures.BreakpointsP14(), figures.Stepped)
			count[index.Category]++
			if p.Class != "indikatif" {
				rated[index.Category]++
			}
		}
		for _, c := range []figures.Category{figures.Baik, figures.Sedang, figures.TidakSehat, figures.SangatTidakSehat} {
			if rated[c] == 0 {
				t.Errorf("%v: no station of a recognised class is %v: %v of %v", at, c, rated, count)
			}
		}
		if low := count[figures.Baik] + count[figures.Sedang]; low < 30 {
			t.Errorf("%v: only %d of 44 posts are below 100: %v", at, low, count)
		}
	}
}

func TestTheFaultyStationHasGapsAndStillMostOfItsDays(t *testing.T) {
	for _, p := range Province() {
		whole := 0
		for k := dayKey(20_000); k < 20_100; k++ {
			d := newDay(1, &p, k)
			if len(d.slots) > 0 {
				whole++
			}
		}
		if whole < 60 {
			t.Errorf("%v: %d of 100 days", p.Node, whole)
		}
	}
}
