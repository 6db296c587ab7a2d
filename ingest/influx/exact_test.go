package influx

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// every float64 and every text comes back as it was, through the database and
// through the line.
func TestExactPointsComeBackAsTheyWere(t *testing.T) {
	_, c := prepared(t)
	day := time.Date(2026, 8, 27, 17, 0, 0, 0, time.UTC)
	want := []Exact{}
	for i, v := range []float64{0, math.Copysign(0, -1), 0.1, 1.0 / 3, 5e-324, math.MaxFloat64, -math.SmallestNonzeroFloat64, 1e21, 123456789.123456789, math.Nextafter(25, 26)} {
		want = append(want, Exact{Kind: telemetry.KindAir, Node: node, Device: "a b,c=d", Time: day.UnixNano() + int64(i)*1e9 + int64(i), Fields: []Field{
			{"odd, name=x", Number, strconv.FormatFloat(v, 'g', -1, 64)},
			{"on_bool", Truth, strconv.FormatBool(i%2 == 0)},
			{"pm2_5", Number, "7"}, // valid beside rejected: a Point shows one of them
			{"pm2_5_flag", Text, "range"},
			{"pm2_5_rejected", Number, "7000"},
			{"said_text", Text, "\"q\" \\ back\\, é😀"},
		}})
	}
	want = append(want, Exact{Kind: telemetry.KindAir, Node: telemetry.Node{ID: "g2"}, Time: day.Add(23 * time.Hour).UnixNano(), Fields: []Field{{"x", Number, "1"}}})
	var lines []byte
	for i := range want {
		lines = AppendExact(lines, &want[i])
	}
	if err := c.Write(t.Context(), Raw, lines); err != nil {
		t.Fatal(err)
	}
	var got []Exact
	s := Span{Kinds: []telemetry.Kind{telemetry.KindAir}, From: day, To: day.Add(24 * time.Hour)}
	if err := c.Exact(t.Context(), s, func(e *Exact) error { got = append(got, *e); return nil }); err != nil {
		t.Fatal(err)
	}
	same := func(a, b Exact) bool {
		return a.Compare(&b) == 0 && a.Kind == b.Kind && slices.Equal(a.Fields, b.Fields)
	}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("the database gave\n%+v\nwant\n%+v", got, want)
	}
	var parsed []Exact
	for rest := lines; len(rest) > 0; {
		e, next, err := ParseExact(rest)
		if err != nil {
			t.Fatal(err)
		}
		parsed, rest = append(parsed, e), next
	}
	if !slices.EqualFunc(parsed, want, same) {
		t.Errorf("the lines gave\n%+v\nwant\n%+v", parsed, want)
	}
	nodes, err := c.RawNodes(t.Context(), telemetry.KindAir, s.From, s.To)
	slices.SortFunc(nodes, func(a, b telemetry.Node) int { return len(a.Group) - len(b.Group) })
	if err != nil || !slices.Equal(nodes, []telemetry.Node{{ID: "g2"}, node}) {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	if at, found, err := c.OldestRaw(t.Context(), telemetry.KindAir, time.Time{}, s.To); err != nil || !found || at.UnixNano() != want[0].Time {
		t.Errorf("the oldest is of %v, %v, %v", at, found, err)
	}
	if err := c.OnlyOurs(t.Context(), telemetry.KindAir); err != nil {
		t.Error(err)
	}
	// Points through the reader are those of the database.
	var reader ExactReader
	i := 0
	for _, p := range points(t, c, s) {
		q, err := reader.Point(&want[i])
		if err != nil || q.Time != p.Time || q.Device != p.Device || q.Node != p.Node || !slices.Equal(q.Readings, p.Readings) {
			t.Errorf("got %+v, %v; the database gives %+v", q, err, p)
		}
		i++
	}
}

func TestForeignPointsAreNamed(t *testing.T) {
	_, c := prepared(t)
	if err := c.Write(t.Context(), Raw, []byte("water,gateway=g,site=x ph=7,n=3i 1764000000000000001\n")); err != nil {
		t.Fatal(err)
	}
	err := c.OnlyOurs(t.Context(), telemetry.KindWater)
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("tag site")) || !bytes.Contains([]byte(err.Error()), []byte("field n of type integer")) {
		t.Errorf("got %v", err)
	}
	// A field that only a gateway ahead of its time has is ours.
	ahead := fmt.Sprintf("noise,device=d,gateway=g,group=3374 laeq=50 1764000000000000001\nnoise,device=d,gateway=g,group=3374 laeq_flag=\"time_future\" %d\n", time.Now().AddDate(1, 0, 0).UnixNano())
	if err := c.Write(t.Context(), Raw, []byte(ahead)); err != nil {
		t.Fatal(err)
	}
	if err := c.OnlyOurs(t.Context(), "noise"); err != nil {
		t.Error(err)
	}
}

// A day is deleted from the raw bucket and from no other, and of no other kind or
// day. In 1.8 what stands on a full hour stays.
func TestRemovingADayLeavesAllElse(t *testing.T) {
	_, c := prepared(t)
	day := time.Date(2026, 8, 27, 17, 0, 0, 0, time.UTC)
	for _, k := range []telemetry.Kind{telemetry.KindAir, telemetry.KindWater} {
		for at := day.Add(-time.Hour); at.Before(day.Add(25 * time.Hour)); at = at.Add(10 * time.Minute) {
			e := Exact{Kind: k, Node: node, Device: "d", Time: at.UnixNano(), Fields: []Field{{"x", Number, "1"}}}
			if err := c.Write(t.Context(), Raw, AppendExact(nil, &e)); err != nil {
				t.Fatal(err)
			}
		}
		for hour := range 26 {
			r := NewRow(k, node, "d", "x", day.Add(time.Duration(hour-1)*time.Hour))
			r.Mean, r.Valid = 1, 1
			if err := c.WriteRows(t.Context(), Hours, []Row{r}); err != nil {
				t.Fatal(err)
			}
		}
		r := NewRow(k, node, "d", "x", day)
		r.Mean, r.Valid = 1, 1
		if err := c.WriteRows(t.Context(), Days, []Row{r}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.RemoveRaw(t.Context(), telemetry.KindAir, day, day.Add(24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	inside := 0
	for _, p := range points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindAir}}) {
		if p.Time >= day.UnixNano() && p.Time < day.Add(24*time.Hour).UnixNano() {
			if inside++; !MayStay(p.Time) {
				t.Errorf("a point of %v is there still", time.Unix(0, p.Time).UTC())
			}
		}
	}
	if inside > 24 {
		t.Errorf("%d points of the day stayed", inside)
	}
	if got := len(points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindAir}})) - inside; got != 12 {
		t.Errorf("%d points around the day, want 12", got)
	}
	if got := len(points(t, c, Span{Kinds: []telemetry.Kind{telemetry.KindWater}})); got != 156 {
		t.Errorf("%d points of the other kind, want 156", got)
	}
	for b, want := range map[Bucket]int{Hours: 52, Days: 2} {
		if rows, err := c.Rows(t.Context(), b, Span{}); err != nil || len(rows) != want {
			t.Errorf("%d rows of %s, %v; want %d", len(rows), b, err, want)
		}
	}
}

func FuzzParseExact(f *testing.F) {
	f.Add([]byte("air,device=a\\ b,gateway=g,group=3374 pm2_5=1.5,s_text=\"a \\\"b\\\"\",x_bool=true 1764000000123000001\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, rest, err := ParseExact(text)
		if err != nil {
			return
		}
		// What is read is written as something that reads back as the same.
		again, _, err := ParseExact(AppendExact(nil, &e))
		if err != nil || again.Compare(&e) != 0 || !slices.Equal(again.Fields, e.Fields) {
			t.Errorf("%q: %+v, then %+v, %v", text[:len(text)-len(rest)], e, again, err)
		}
	})
}
