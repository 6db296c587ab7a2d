package ingest

import (
	"testing"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// At every place of a long journal, in which sessions overlap, data must be
// decodable for every reader that may still stand there; and what no reader
// needs must go.
func TestPruneKeepsWhatAReaderCanNeed(t *testing.T) {
	births := NewBirths(Holes{})
	rows := map[string][]byte{}
	needed := map[uint64][2]uint64{} // by place of data: session, place of its birth
	newest := map[uint64]uint64{}    // by session: place of its newest birth
	seq := uint64(0)
	for session := uint64(1); session <= 200; session++ {
		s := newSender(gw, session, noon, 7, def(1, "air/co2"))
		for range 3 {
			seq++
			b, err := newBirth(BirthKey{Node: gw, Session: session, Pos: Position{Seq: seq}}, s.nbirth().Payload, 0)
			if err != nil {
				t.Fatal(err)
			}
			births.Learn(b)
			newest[session] = seq
			seq++
			needed[seq] = [2]uint64{session, seq - 1}
			if session > 1 { // a half-open connection still delivers
				seq++
				needed[seq] = [2]uint64{session - 1, newest[session-1]}
			}
		}
	}
	check := func(births *Births, reached uint64) {
		t.Helper()
		for place := reached + 1; place <= seq; place++ {
			if want, ok := needed[place]; ok {
				b, ok := births.Find(gw, "", want[0], Position{Seq: place})
				if !ok || b.Pos.Seq != want[1] {
					t.Fatalf("all readers at %d: data at %d of session %d find %v", reached, place, want[0], b)
				}
			}
		}
	}
	for reached := uint64(0); reached < seq; reached += 37 {
		births.Prune(reached)
		keepRows(rows, births.Changes())
		check(births, reached)
	}
	births.Prune(seq)
	keepRows(rows, births.Changes())
	if n := births.Len(); n != keptSessions {
		t.Errorf("%d births are kept when all readers are at the end, want %d", n, keptSessions)
	}
	again := NewBirths(Holes{})
	for k, v := range rows {
		if len(k) > len(tableBirths) && k[:len(tableBirths)+1] == tableBirths+"\x00" {
			if err := again.Load(tableBirths, []byte(k[len(tableBirths)+1:]), v); err != nil {
				t.Fatal(err)
			}
		}
	}
	if again.Len() != births.Len() || again.Newest(gw, Position{Seq: seq + 1}) != 200 {
		t.Errorf("after a restart %d births, newest session %d", again.Len(), again.Newest(gw, Position{Seq: seq + 1}))
	}
}

func TestEpochsAreRankedInTheOrderOfTheJournal(t *testing.T) {
	births := NewBirths(Holes{})
	s := newSender(gw, 1, noon, 3, def(1, "air/co2"))
	b, err := newBirth(BirthKey{Node: gw, Session: 1, Pos: Position{Seq: 1}}, s.nbirth(telemetry.EpochFloor{Epoch: 9, Lowest: 1}, telemetry.EpochFloor{Epoch: 3, Lowest: 1}).Payload, 0)
	if err != nil {
		t.Fatal(err)
	}
	births.Learn(b)
	five := births.Rank(gw, 5)
	if nine, three := births.Rank(gw, 9), births.Rank(gw, 3); nine >= three || three >= five || births.Rank(gw, 5) != five {
		t.Errorf("ranks: 9 → %d, 3 → %d, 5 → %d", nine, three, five)
	}
}

// A device's birth counts only after its node's.
func TestADeviceBirthDiesWithItsNodes(t *testing.T) {
	births := NewBirths(Holes{})
	learn := func(device string, seq uint64) {
		payload := sparkplug.AppendPayload(nil, &sparkplug.Payload{HasSeq: true, Metrics: []sparkplug.Metric{{Name: []byte("x"), Type: sparkplug.TypeDouble, Value: sparkplug.Double(1)}}})
		b, err := newBirth(BirthKey{Node: gw, Device: device, Session: 1, Pos: Position{Seq: seq}}, payload, 0)
		if err != nil {
			t.Fatal(err)
		}
		births.Learn(b)
	}
	learn("early", 1)
	learn("", 2)
	learn("d", 3)
	learn("", 5)
	for _, c := range []struct {
		device string
		at     uint64
		want   bool
	}{{"early", 4, false}, {"d", 4, true}, {"d", 6, false}, {"", 6, true}} {
		if _, ok := births.Find(gw, c.device, 1, Position{Seq: c.at}); ok != c.want {
			t.Errorf("birth of %q at %d: %v", c.device, c.at, ok)
		}
	}
}
