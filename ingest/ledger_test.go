package ingest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// model is the ledger of one epoch number by number.
type model struct {
	of      map[uint64]class
	highest uint64
}

func (m *model) mark(from, to uint64, k class) {
	for n := from; n <= to; n++ {
		if old, ok := m.of[n]; ok {
			k := rise(old, k)
			m.of[n] = k
		} else {
			m.of[n] = k
		}
	}
	m.highest = max(m.highest, to)
}

func (m *model) floor(f uint64) {
	for n := uint64(1); n < f; n++ {
		if _, ok := m.of[n]; !ok {
			m.of[n] = class{status: Lost}
		}
	}
	m.highest = max(m.highest, f-1)
}

func (m *model) totals() Totals {
	t := Totals{Expected: m.highest}
	for _, k := range m.of {
		switch k.status {
		case Lost:
			t.lose(lossReasons[k.reason], 1)
		case DeadLetter:
			t.DeadLetters++
		case Rejected:
			t.Rejected++
			t.Stored++
		case Stored:
			t.Stored++
		}
		if k.gap && k.status >= Stored {
			t.Gaps++
		}
	}
	t.Missing = t.Expected - t.Stored - t.DeadLetters - t.Lost
	return t
}

// Whatever comes in whatever order, the intervals say what a table number by
// number would, over restarts too.
func TestLedgerAgainstATable(t *testing.T) {
	reasons := []telemetry.LossReason{telemetry.LossQuota, telemetry.LossNoClock, telemetry.LossUnreported, "made up"}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := NewLedger(Holes{})
		m := model{of: map[uint64]class{}}
		rows := map[string][]byte{}
		for range 60 {
			from := 1 + r.Uint64N(80)
			to := from + r.Uint64N(12)
			switch r.IntN(8) {
			case 0:
				l.Floor(gw, 7, from)
				if from > 1 {
					m.floor(from)
				}
			case 1:
				reason := reasons[r.IntN(len(reasons))]
				l.Mark(gw, 7, from, to, Lost, false, reason)
				m.mark(from, to, class{status: Lost, reason: lossCode(reason)})
			default:
				s, gap := RecordStatus(2+r.IntN(3)), r.IntN(3) == 0
				l.Mark(gw, 7, from, to, s, gap, "")
				m.mark(from, to, class{status: s, gap: gap && s >= Stored})
			}
			if r.IntN(10) == 0 { // killed: the checkpoint is all that is left
				var d checkpoint.Delta
				l.Checkpoint(&d)
				keepRows(rows, d)
				l = NewLedger(Holes{})
				for k, v := range rows {
					if err := l.Load(tableLedger, []byte(k[len(tableLedger)+1:]), v); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if got, want := l.Totals(), m.totals(); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d:\ngot  %+v\nwant %+v", seed, got, want)
		}
		for n := uint64(1); n <= m.highest; n++ {
			if got, _ := l.Status(gw, 7, n); got != m.of[n].status {
				t.Fatalf("seed %d: number %d is %v, want %v", seed, n, got, m.of[n].status)
			}
		}
		last := uint64(0)
		for _, s := range l.nodes[gw].epochs[7].spans {
			if s.from <= last || s.to < s.from {
				t.Fatalf("seed %d: spans overlap: %+v", seed, l.nodes[gw].epochs[7].spans)
			}
			last = s.to
		}
		holes := uint64(0)
		for _, h := range l.Holes(gw) {
			holes += h.To - h.From + 1
		}
		if tt := m.totals(); holes != tt.Missing+tt.Lost+tt.DeadLetters {
			t.Fatalf("seed %d: the gap report names %d numbers of %+v", seed, holes, tt)
		}
	}
}

// H13: a status only rises, so the order of arrival does not matter.
func TestStatusOnlyRises(t *testing.T) {
	for _, order := range [][]RecordStatus{{Lost, DeadLetter, Stored, Rejected}, {Rejected, Stored, DeadLetter, Lost}, {Stored, Rejected, Lost, DeadLetter}} {
		l := NewLedger(Holes{})
		for _, s := range order {
			l.Mark(gw, 7, 1, 1, s, false, telemetry.LossQuota)
		}
		if got, _ := l.Status(gw, 7, 1); got != Rejected {
			t.Errorf("%v ends as %v", order, got)
		}
	}
	hole := NewLedger(Holes{StatusMayFall: true})
	hole.Mark(gw, 7, 1, 1, Stored, false, "")
	hole.Mark(gw, 7, 1, 1, Lost, false, telemetry.LossQuota)
	if got, _ := hole.Status(gw, 7, 1); got != Lost {
		t.Error("the hole is not open")
	}
}

// H4: what an NBIRTH does not list is closed, what lies below a floor is lost.
func TestEpochsAndFloorsCloseHoles(t *testing.T) {
	l := NewLedger(Holes{})
	l.Mark(gw, 7, 1, 4, Stored, false, "")
	l.Mark(gw, 7, 9, 10, Stored, false, "")
	l.Mark(gw, 8, 3, 5, Stored, false, "")
	if got := l.Totals(); got.Missing != 6 {
		t.Fatalf("on their way: %+v", got)
	}
	l.Listed(gw, []telemetry.EpochFloor{{Epoch: 8, Lowest: 2}, {Epoch: 9, Lowest: 1}})
	if got := l.Totals(); got.Missing != 1 || got.LostBy[telemetry.LossUnreported] != 5 {
		t.Errorf("epoch 7 is closed, epoch 8 from 2 on is not: %+v", got)
	}
	l.Mark(gw, 7, 6, 6, Stored, false, "")
	l.Floor(gw, 8, 3)
	if got := l.Totals(); got.Missing != 0 || got.Lost != 5 || got.Stored != 10 {
		t.Errorf("one came after all, one more is lost: %+v", got)
	}
	l.Mark(gw, 7, 5, 5, Lost, false, telemetry.LossQuarantine)
	if _, why := l.Status(gw, 7, 5); why != telemetry.LossQuarantine {
		t.Errorf("a reason is better than none: %q", why)
	}
}

// An epoch in which every other record is rejected does not grow without end.
func TestLongEpochsStaySmall(t *testing.T) {
	l := NewLedger(Holes{})
	for n := uint64(1); n <= 20_000; n++ {
		s := Stored
		if n%2 == 0 {
			s = Rejected
		}
		l.Mark(gw, 7, n, n, s, n%5 == 0, "")
		l.Floor(gw, 7, max(1, n-20))
		if got := len(l.nodes[gw].epochs[7].spans); got > 2*maxSpans {
			t.Fatalf("%d spans after %d records", got, n)
		}
	}
	l.Mark(gw, 7, 17, 18, Stored, true, "") // came again, long after
	want := Totals{Expected: 20_000, Stored: 20_000, Rejected: 10_000, Gaps: 4_000}
	if got := l.Totals(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var d checkpoint.Delta
	l.Checkpoint(&d)
	rows := map[string][]byte{}
	keepRows(rows, d)
	again := NewLedger(Holes{})
	for k, v := range rows {
		if err := again.Load(tableLedger, []byte(k[len(tableLedger)+1:]), v); err != nil {
			t.Fatal(err)
		}
	}
	if got := again.Totals(); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart %+v, want %+v", got, want)
	}
}

func TestHostileNumbersHurtNobodyElse(t *testing.T) {
	l := NewLedger(Holes{})
	other := telemetry.Node{Group: "3374", ID: "gw-2"}
	l.Mark(other, 1, 1, 10, Stored, false, "")
	l.Mark(gw, 7, 0, 5, Stored, false, "")
	l.Mark(gw, 7, 9, 5, Stored, false, "")
	l.Mark(gw, 7, 1, ^uint64(0), Lost, false, telemetry.LossQuota)
	l.Mark(gw, 0, 1, 5, Stored, false, "")
	l.Floor(gw, 7, ^uint64(0))
	l.Mark(gw, 7, 1, maxNumber, Lost, false, telemetry.LossQuota)
	if got := l.Node(other); got.Expected != 10 || got.Stored != 10 {
		t.Errorf("another node's ledger: %+v", got)
	}
	if got := l.Totals(); got.Expected != maxNumber+10 || got.Missing != 0 {
		t.Errorf("sums: %+v", got)
	}
}

// A gateway in a restart loop, or one that makes up epochs, has sums for its
// oldest ones.
func TestTooManyEpochsAreFolded(t *testing.T) {
	l := NewLedger(Holes{})
	rows := map[string][]byte{}
	for e := telemetry.Epoch(1); e <= 3*maxEpochs; e++ {
		l.Mark(gw, e, 1, 2, Stored, false, "")
		l.Mark(gw, e, 4, 4, Rejected, true, "")
		if e%500 == 0 {
			var d checkpoint.Delta
			l.Checkpoint(&d)
			keepRows(rows, d)
		}
	}
	var d checkpoint.Delta
	l.Checkpoint(&d)
	keepRows(rows, d)
	if n := len(l.nodes[gw].epochs); n > maxEpochs {
		t.Errorf("%d epochs are kept", n)
	}
	again := NewLedger(Holes{})
	for k, v := range rows {
		table, key, _ := strings.Cut(k, "\x00")
		if err := again.Load(table, []byte(key), v); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range []*Ledger{l, again} {
		got := l.Totals()
		if got.Expected != 12*maxEpochs || got.Stored != 9*maxEpochs || got.Gaps != 3*maxEpochs || got.Missing+got.Lost != 3*maxEpochs || got.Lost == 0 {
			t.Errorf("sums %+v", got)
		}
	}
}

func TestForeignNodesAreCounted(t *testing.T) {
	l := NewLedger(Holes{})
	l.Foreign(gw, 10, 1, 2, 0, 0)
	l.Foreign(gw, 0, 0, 0, 1, 0)
	l.Foreign(gw, 0, 0, 0, 0, 3)
	if got := l.Node(gw); got.Expected != 14 || got.Stored != 10 || got.DeadLetters != 1 || got.LostBy[LossLimit] != 3 || got.Missing != 0 {
		t.Errorf("got %+v", got)
	}
	l.Foreign(gw, 1, 0, 0, 0, 0)
	l.Retried(gw)
	if got := l.Node(gw); got.Expected != 14 || got.Stored != 11 || got.DeadLetters != 0 {
		t.Errorf("after a retry: %+v", got)
	}
}

func BenchmarkLedger(b *testing.B) {
	l := NewLedger(Holes{})
	n := uint64(0)
	for b.Loop() {
		n++
		l.Mark(gw, 7, n, n, Stored, false, "")
		l.Floor(gw, 7, n)
	}
}

func ExampleTotals() {
	l := NewLedger(Holes{})
	l.Mark(gw, 7, 1, 5, Stored, false, "")
	l.Mark(gw, 7, 7, 7, Rejected, false, "")
	t := l.Totals()
	fmt.Printf("expected %d, stored %d, missing %d\n", t.Expected, t.Stored, t.Missing)
	// Output: expected 7, stored 6, missing 1
}
