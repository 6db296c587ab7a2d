package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

const longest = 30 * time.Second

func TestMarksAreClearedOnlyWhenNothingCameSince(t *testing.T) {
	past := HourMark{Node: gw, Hour: noon.Unix()/3600 - 5}
	at := func(s int) int64 { return noon.Add(time.Duration(s) * time.Second).UnixNano() }
	one := func(h *Hours, now int64) Work {
		t.Helper()
		w, _ := h.Next(now, 10)
		if len(w) != 1 {
			t.Fatalf("due: %+v", w)
		}
		return w[0]
	}
	h := NewHours(longest, at(-100), Holes{})
	h.Mark(past)
	w := one(h, at(0))
	if again, _ := h.Next(at(0), 10); len(again) != 0 {
		t.Error("given out twice")
	}
	h.Mark(past) // while the raw values are being read
	h.Done(w, Written, at(1))
	if h.Len() != 1 {
		t.Fatal("a mark was cleared that had been set since")
	}
	if _, wait := h.Next(at(2), 10); wait != at(6) {
		t.Errorf("next at %v, want 5 s after the last computation", time.Duration(wait-at(0)))
	}
	h.Done(one(h, at(6)), Written, at(7))
	if h.Len() != 0 {
		t.Error("nothing came since, and it is still marked")
	}

	// H9: a write without an answer may land over its successor.
	for _, hole := range []bool{false, true} {
		h := NewHours(longest, at(-100), Holes{ClearAtOnce: hole})
		h.Mark(past)
		h.Done(one(h, at(0)), Unanswered, at(10))
		if w, _ := h.Next(at(11), 10); len(w) != 0 {
			t.Errorf("due at once after a write without an answer")
		}
		h.Mark(past)
		h.marks[past].due = 0 // as if it had been due for another reason
		h.Done(one(h, at(20)), Written, at(21))
		if (h.Len() == 0) != hole {
			t.Errorf("hole %v: a computation begun within the longest write time left %d marks", hole, h.Len())
		}
		if !hole {
			h.Done(one(h, at(45)), Written, at(46))
			if h.Len() != 0 {
				t.Error("a computation begun after it does not clear")
			}
		}
	}

	// After a start, a write of the process before may land.
	h = NewHours(longest, at(0), Holes{})
	h.Mark(past)
	h.Done(one(h, at(1)), Written, at(2))
	if h.Len() != 1 {
		t.Error("cleared within the longest write time after the start")
	}
	h.Done(one(h, at(31)), Written, at(32))
	if h.Len() != 0 {
		t.Error("still marked")
	}

	// But for the first process of all, whose hours need no second computation.
	h = NewHours(longest, at(0), Holes{})
	h.First()
	h.Mark(past)
	h.Done(one(h, at(1)), Written, at(2))
	if h.Len() != 0 {
		t.Error("waits for a write of a process that never was")
	}

	// Nothing raw: looked at twice, then let go.
	h = NewHours(longest, at(-100), Holes{})
	h.Mark(past)
	h.Done(one(h, at(0)), Empty, at(1))
	h.Done(one(h, at(40)), Empty, at(41))
	if h.Len() != 0 {
		t.Error("an hour without raw values is computed for ever")
	}

	// The running hour goes by its timer.
	running := HourMark{Node: gw, Hour: noon.Unix() / 3600}
	h.Mark(running)
	h.Done(one(h, at(50)), Written, at(51))
	h.Mark(running)
	if _, wait := h.Next(at(52), 10); wait != at(111) {
		t.Errorf("the running hour is due %v after its computation", time.Duration(wait-at(51)))
	}
}

func TestAnHourThatFallsSilentIsComputedOnceMoreWhenItIsOver(t *testing.T) {
	h := NewHours(longest, noon.Add(-time.Hour).UnixNano(), Holes{})
	at := func(d time.Duration) int64 { return noon.Add(d).UnixNano() }
	running := HourMark{Node: gw, Hour: noon.Unix() / 3600}
	compute := func(now int64) {
		t.Helper()
		w, _ := h.Next(now, 10)
		if len(w) != 1 {
			t.Fatalf("due at %v: %+v", time.Duration(now-at(0)), w)
		}
		h.Done(w[0], Written, now)
	}
	h.Mark(running)
	compute(at(20 * time.Minute))
	if w, wait := h.Next(at(30*time.Minute), 10); len(w) != 0 || wait != at(time.Hour) {
		t.Errorf("due: %+v, next after %v, want nothing before the hour's end", w, time.Duration(wait-at(0)))
	}
	h.Mark(running) // new values do not wait for the hour's end
	compute(at(31 * time.Minute))
	compute(at(time.Hour))
	if h.Len() != 0 {
		t.Error("the hour is over and computed, and still marked")
	}

	ahead := HourMark{Node: gw, Hour: running.Hour + 24*365} // a clock that was wrong
	h.Mark(ahead)
	compute(at(time.Hour))
	if h.Len() != 0 {
		t.Error("an hour that lies in the future is waited for")
	}
}

func TestMarksSurviveARestart(t *testing.T) {
	h := NewHours(longest, 0, Holes{})
	for i := range int64(5) {
		h.Mark(HourMark{Node: gw, Hour: 1000 + i})
	}
	w, _ := h.Next(noon.UnixNano(), 1)
	h.Done(w[0], Written, noon.UnixNano())
	var d checkpoint.Delta
	h.Checkpoint(&d)
	again := NewHours(longest, 0, Holes{})
	d.Each(func(table string, key, value []byte) {
		if value != nil {
			if err := again.Load(table, key, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	if again.Len() != 4 || again.generation != h.generation {
		t.Errorf("%d marks, generation %d: want 4 and %d", again.Len(), again.generation, h.generation)
	}
}

func TestIntervalsAreThoseInForceThen(t *testing.T) {
	v := NewIntervals()
	learn := func(at time.Time, interval time.Duration) {
		s := newSender(gw, uint64(at.Unix()), at, 7, def(1, "air/co2"))
		s.birth.Definitions[0].Interval = interval
		b, err := newBirth(BirthKey{Node: gw, Session: s.session}, s.nbirth().Payload, at.UnixNano())
		if err != nil {
			t.Fatal(err)
		}
		v.Learn(b)
	}
	learn(noon, time.Minute)
	learn(noon.Add(time.Hour), time.Minute)
	learn(noon.Add(2*time.Hour), 10*time.Second)
	var d checkpoint.Delta
	v.Checkpoint(&d)
	if d.Len() != 1 {
		t.Errorf("%d rows", d.Len())
	}
	again := NewIntervals()
	d.Each(func(table string, key, value []byte) {
		if err := again.Load(table, key, value); err != nil {
			t.Fatal(err)
		}
	})
	for _, c := range []struct {
		at   time.Duration
		want time.Duration
	}{{-time.Hour, time.Minute}, {time.Hour, time.Minute}, {2 * time.Hour, 10 * time.Second}, {9 * time.Hour, 10 * time.Second}} {
		if got := again.Interval(gw, "air", "co2", noon.Add(c.at).UnixMilli()); got != c.want {
			t.Errorf("%v after noon: %v, want %v", c.at, got, c.want)
		}
	}
	if got := again.Interval(gw, "air", "pm10", noon.UnixMilli()); got != 0 {
		t.Errorf("no birth named it: %v", got)
	}
}

func TestTallies(t *testing.T) {
	start := noon
	points := []influx.Point{
		{Kind: telemetry.KindAir, Node: gw, Device: "a", Time: start.Add(time.Minute).UnixNano(), Readings: []telemetry.Reading{
			{Quantity: "pm2_5", Value: telemetry.Num(10), Count: 60, Min: 2, Max: 40}, {Quantity: "co2", Gap: telemetry.GapBus}}},
		{Kind: telemetry.KindAir, Node: gw, Device: "a", Time: start.Add(2 * time.Minute).UnixNano(), Readings: []telemetry.Reading{
			{Quantity: "pm2_5", Value: telemetry.Num(20)}}},
		{Kind: telemetry.KindAir, Node: gw, Device: "a", Time: start.Add(3 * time.Minute).UnixNano(), Readings: []telemetry.Reading{
			{Quantity: "pm2_5", Value: telemetry.Num(9999999), Flag: telemetry.FlagRange}}},
		{Kind: telemetry.KindEnergy, Node: gw, Device: "m", Time: start.Add(time.Minute).UnixNano(), Readings: []telemetry.Reading{{Quantity: "energy", Value: telemetry.Num(100)}}},
		{Kind: telemetry.KindEnergy, Node: gw, Device: "m", Time: start.Add(2 * time.Minute).UnixNano(), Readings: []telemetry.Reading{{Quantity: "energy", Value: telemetry.Num(103)}}},
		{Kind: telemetry.KindEnergy, Node: gw, Device: "m", Time: start.Add(3 * time.Minute).UnixNano(), Readings: []telemetry.Reading{{Quantity: "energy", Value: telemetry.Num(1)}}},
		{Kind: telemetry.KindGateway, Node: gw, Device: "g", Time: start.Add(3 * time.Minute).UnixNano(), Readings: []telemetry.Reading{{Quantity: "uptime", Value: telemetry.Num(77)}}},
	}
	var first []byte
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		r.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		tally := NewTally(gw, start, start.Add(2*time.Hour), time.Hour)
		for i := range points {
			tally.Add(&points[i])
		}
		tally.Expect("a", "pm2_5", time.Minute)
		tally.Expect("a", "pm10", time.Minute)
		rows := tally.Rows()
		var lines []byte
		for i := range rows {
			lines = influx.AppendRow(lines, &rows[i])
		}
		if first == nil {
			first = lines
			find := func(q string) influx.Row {
				return rows[slices.IndexFunc(rows, func(r influx.Row) bool { return r.Quantity == q })]
			}
			if p := find("pm2_5"); p.Mean != 15 || p.Min != 2 || p.Max != 40 || p.Valid != 2 || p.Expected != 60 || p.Rejected != 1 {
				t.Errorf("pm2_5: %+v", p)
			}
			if p := find("co2"); p.Gaps != 1 || p.Valid != 0 || !math.IsNaN(p.Mean) {
				t.Errorf("co2: %+v", p)
			}
			if p := find("pm10"); p.Expected != 60 || p.Valid != 0 {
				t.Errorf("a sensor that gave nothing: %+v", p)
			}
			if p := find("energy"); p.First != 100 || p.Last != 1 || p.Increase != 4 || p.Resets != 1 || !math.IsNaN(p.Mean) {
				t.Errorf("energy: %+v", p)
			}
			if p := find("uptime"); p.Last != 77 {
				t.Errorf("uptime: %+v", p)
			}
		} else if !bytes.Equal(lines, first) {
			t.Fatalf("seed %d: the order matters:\n%s\n%s", seed, lines, first)
		}
	}
	running := NewTally(gw, start, start.Add(20*time.Minute), time.Hour)
	running.Expect("a", "pm2_5", time.Minute)
	if got := running.Rows()[0].Expected; got != 20 {
		t.Errorf("of the running hour 20 min are expected so far, not %d", got)
	}
}

func TestDaysAreThoseOfWIB(t *testing.T) {
	if got, want := DayOf(time.Date(2026, 11, 24, 16, 59, 59, 0, time.UTC)), time.Date(2026, 11, 23, 17, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := DayOf(time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC)), time.Date(2026, 11, 24, 17, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	day := DayOf(noon)
	var hours []influx.Row
	for h := range 24 {
		r := influx.NewRow(telemetry.KindAir, gw, "a", "pm2_5", day.Add(time.Duration(h)*time.Hour))
		r.Mean, r.Min, r.Max, r.Valid, r.Expected = float64(h), float64(h)-1, float64(h)+1, 60, 60
		if h >= 20 {
			r.Valid, r.Mean = 30, 1000 // below the gate: not in the mean
		}
		hours = append(hours, r)
		e := influx.NewRow(telemetry.KindEnergy, gw, "m", "energy", r.Start)
		e.First, e.Last, e.Increase, e.Resets, e.Valid, e.Expected = float64(10*h), float64(10*h+9), 9, 0, 60, 60
		if h == 12 { // reset within the gap between two hours
			e.First, e.Last, e.Increase = 0, 9, 9
		}
		hours = append(hours, e)
	}
	rows := DayRows(hours, day, noon)
	if len(rows) != 2 {
		t.Fatalf("%+v", rows)
	}
	if p := rows[0]; p.Mean != 9.5 || p.Min != -1 || p.Max != 20 || p.Hours != 20 || p.Valid != 20*60+4*30 || p.Expected != 24*60 {
		t.Errorf("pm2_5: %+v", p)
	}
	// Within the hours 24 × 9; between them 21 × 1, nothing at the reset before
	// hour 12, and 121 after it.
	if e := rows[1]; e.Increase != 24*9+21+121 || e.Resets != 1 || e.First != 0 || e.Last != 239 {
		t.Errorf("energy: %+v", e)
	}
}

// DESIGN 13: a day of records that come in any order, and twice, gives the rows
// of the same day in order. Real database, real worker.
func TestADayInRandomOrderTwice(t *testing.T) {
	day := DayOf(noon).Add(-24 * time.Hour)
	var records []telemetry.Record
	r := rand.New(rand.NewPCG(1, 1))
	for m := range 24 * 60 / 5 {
		at := day.Add(time.Duration(5*m) * time.Minute)
		reading := rec(at, "air", "pm2_5", math.Round(1000*r.ExpFloat64())/10)
		if m%17 == 0 {
			reading = rec(at, "air", "pm2_5", telemetry.GapChecksum)
		}
		records = append(records, reading, rec(at.Add(time.Second), "meter", "energy", float64(m%200)))
	}
	run := func(mix bool) []string {
		s := newStage(t, nil)
		g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "meter/energy"))
		for i := range g.birth.Definitions {
			g.birth.Definitions[i].Interval = 5 * time.Minute
		}
		last := s.put(entry(g.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1})))
		order := make([]int, len(records))
		for i := range order {
			order[i] = i
		}
		rounds := 1
		if mix {
			rounds = 2
		}
		for range rounds {
			if mix {
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			}
			for _, i := range order {
				last = s.put(entry(g.data(uint64(i+1), 1, true, records[i])))
			}
		}
		s.stored(last)
		// Each mark is computed, or already cleared if the machine was slow enough
		// for InfluxDB's longest write time to pass.
		s.until("all hours are computed", func() bool {
			s.storing.books.RLock()
			defer s.storing.books.RUnlock()
			h := s.storing.accounts.Hours
			for m, e := range h.marks {
				if e.busy || h.computed[m] == 0 || e.due == 0 {
					return false
				}
			}
			return true
		})
		var out []string
		for _, b := range []influx.Bucket{influx.Hours, influx.Days} {
			rows, err := s.db.Rows(t.Context(), b, influx.Span{Node: gw})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(rows, compareRows)
			for _, row := range rows {
				row.Computed = time.Time{}
				out = append(out, fmt.Sprintf("%s %+v", b, row))
			}
		}
		if l := s.Ledger(); l.Stored != uint64(len(records)) || l.Missing != 0 {
			t.Errorf("ledger %+v of %d", l, len(records))
		}
		return out
	}
	inOrder, mixed := run(false), run(true)
	if len(inOrder) != 24*2+2 {
		t.Errorf("%d rows, want those of 24 hours and one day of two quantities", len(inOrder))
	}
	if !slices.Equal(inOrder, mixed) {
		for i := range min(len(inOrder), len(mixed)) {
			if inOrder[i] != mixed[i] {
				t.Fatalf("in order %s\nmixed    %s", inOrder[i], mixed[i])
			}
		}
		t.Fatalf("%d rows in order, %d mixed", len(inOrder), len(mixed))
	}
}

// Whoever goes by an hour is told before its mark is cleared: after an error, as
// after a kill in between, it is told once more.
func TestWhoGoesByHoursIsToldUntilItIsKept(t *testing.T) {
	told := make(chan NodeHour, 10)
	refused := false
	s := newStage(t, func(o *Options) {
		o.HoursWritten = func(_ context.Context, hours []NodeHour) error {
			for _, h := range hours {
				told <- h
			}
			if !refused {
				refused = true
				return errors.New("the disk is full")
			}
			return nil
		}
	})
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "meter/energy"))
	past := noon.Add(-3 * time.Hour)
	s.put(entry(g.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1}), g.data(1, 1, true,
		rec(past.Add(time.Minute), "air", "pm2_5", 10), rec(past.Add(2*time.Minute), "meter", "energy", 5), rec(noon, "air", "pm2_5", 10))))
	first := <-told
	want := NodeHour{Node: gw, Devices: []string{"air", "meter"}, Start: past}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("told %+v, want %+v: the running hour is not over", first, want)
	}
	s.storing.books.RLock()
	_, marked := s.storing.accounts.Hours.marks[HourMark{Node: gw, Hour: past.Unix() / 3600}]
	s.storing.books.RUnlock()
	if !marked {
		t.Error("the mark went before it was kept")
	}
	// Its turn comes after half a minute; the test's clock need not wait.
	s.storing.books.Lock()
	s.storing.accounts.Hours.Mark(HourMark{Node: gw, Hour: past.Unix() / 3600})
	for _, h := range s.storing.accounts.Hours.marks {
		h.due = 0
	}
	s.storing.books.Unlock()
	s.worker.wake()
	if again := <-told; !reflect.DeepEqual(again, want) {
		t.Errorf("told %+v again, want %+v", again, want)
	}
}
