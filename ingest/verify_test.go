package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// sentLine is one line of a generator's ledger.
func sentLine(kind byte, number uint64, device, quantity string, at time.Time, value any) string {
	return fmt.Sprintf("%c\t%s\t%016x\t%d\t%s\t%s\t%d\t%v\n", kind, gw, 7, number, device, quantity, at.UnixMilli(), value)
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	s := newStage(t, nil)
	g := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "air/co2"), def(3, "meter/voltage"))
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	s.put(entry(g.nbirth(), g.data(1, 1, false,
		rec(at(1), "air", "pm2_5", 1.5, "co2", 400), rec(at(2), "air", "pm2_5", 99999, "co2", 410), rec(at(3), "meter", "voltage", 230.1),
		rec(at(4), "air", "pm2_5", telemetry.GapBus), rec(at(5), "air", "co2", 450))))
	g.clock.Counter = 2 // the same millisecond under another clock: two readings, twice sent
	last := s.put(entry(g.data(6, 1, false, rec(at(5), "air", "co2", 460))))
	s.stored(last)
	sound := sentLine('S', 1, "air", "pm2_5", at(1), 1.5) + sentLine('S', 1, "air", "co2", at(1), 400) + sentLine('A', 1, "air", "pm2_5", at(1), 1.5) +
		sentLine('S', 2, "air", "pm2_5", at(2), 99999) + sentLine('A', 2, "air", "pm2_5", at(2), 99999) + sentLine('S', 2, "air", "co2", at(2), 410) +
		sentLine('S', 3, "meter", "voltage", at(3), 230.1) + sentLine('A', 3, "meter", "voltage", at(3), 230.1) +
		sentLine('S', 4, "air", "pm2_5", at(4), "NaN") + sentLine('S', 5, "air", "co2", at(5), 450) + sentLine('S', 6, "air", "co2", at(5), 460) +
		sentLine('S', 7, "air", "co2", at(7), 470)
	report, err := s.Verify(t.Context(), strings.NewReader(sound+"S\t3374/gw-1\t00000"))
	if err != nil {
		t.Fatal(err)
	}
	if report.Sent != 9 || report.Acknowledged != 3 || report.Stored != 6 || report.Rejected != 1 || report.Gaps != 1 || report.Missing != 1 || !report.OK() {
		t.Errorf("sound: %+v", report)
	}
	report, err = s.Verify(t.Context(), strings.NewReader(
		sentLine('S', 1, "air", "pm2_5", at(1), 1.6)+ // altered
			sentLine('S', 2, "air", "co2", at(1), 400)+sentLine('S', 3, "air", "co2", at(5), 450)+ // what is there at 2, 4 and 5 s beside it was not sent
			sentLine('S', 9, "meter", "voltage", at(9), 230)+sentLine('A', 9, "meter", "voltage", at(9), 230)+ // lost
			sentLine('S', 10, "meter", "voltage", at(10), 231))) // still at its sender
	if err != nil {
		t.Fatal(err)
	}
	if report.Altered != 1 || report.Doubled != 4 || report.Lost != 1 || report.Missing != 1 || report.OK() || len(report.Examples) != 6 {
		t.Errorf("broken: %+v", report)
	}
	for _, bad := range []string{"S\tx\n", "X\t3374/a\t1\t1\td\tq\t1\t1\n", "S\t3374/a\t1\tone\td\tq\t1\t1\n", "S\tgw\t1\t1\td\tq\t1\t1\n"} {
		if _, err := s.Verify(t.Context(), strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A record among the dead letters is not lost.
func TestVerifyKnowsTheDeadLetters(t *testing.T) {
	db := pointsFunc(func(context.Context, influx.Span, func(*influx.Point) error) error { return nil })
	ledger := sentLine('S', 5, "air", "co2", noon, 1) + sentLine('A', 5, "air", "co2", noon, 1) + sentLine('A', 9, "air", "co2", noon, 1)
	report, err := Verify(t.Context(), strings.NewReader(ledger), db, []Letter{{Node: gw, Epoch: 7, Numbers: [][2]uint64{{4, 6}}}})
	if err != nil || report.DeadLetters != 1 || report.Lost != 1 {
		t.Errorf("%+v, %v", report, err)
	}
}

type pointsFunc func(context.Context, influx.Span, func(*influx.Point) error) error

func (f pointsFunc) Points(ctx context.Context, s influx.Span, fn func(*influx.Point) error) error {
	return f(ctx, s, fn)
}

// BenchmarkVerify is the checker without the database.
func BenchmarkVerify(b *testing.B) {
	var ledger strings.Builder
	const n = 100_000
	for i := range n {
		ledger.WriteString(sentLine('S', uint64(i+1), "air", "co2", noon.Add(time.Duration(i)*time.Second), i))
		ledger.WriteString(sentLine('A', uint64(i+1), "air", "co2", noon.Add(time.Duration(i)*time.Second), i))
	}
	db := pointsFunc(func(_ context.Context, _ influx.Span, fn func(*influx.Point) error) error {
		p := influx.Point{Node: gw, Device: "air", Readings: []telemetry.Reading{{Quantity: "co2"}}}
		for i := range n {
			p.Time = noon.Add(time.Duration(i) * time.Second).UnixNano()
			p.Readings[0].Value.Number = float64(i)
			if err := fn(&p); err != nil {
				return err
			}
		}
		return nil
	})
	for b.Loop() {
		report, err := Verify(b.Context(), strings.NewReader(ledger.String()), db, nil)
		if err != nil || report.Stored != n || !report.OK() {
			b.Fatalf("%+v, %v", report, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/reading")
}
