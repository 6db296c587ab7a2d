package ingest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func wantLines(t *testing.T, b *Batch, want ...string) {
	t.Helper()
	if got := lines(b); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadingsBecomePoints(t *testing.T) {
	r := newRig(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"), def(2, "air/temperature"), def(3, "bin 1/fill"), def(4, "gate/open"), def(5, "air/nh3_n"), def(6, "air/cpu_temperature"))
	s.birth.Definitions[3].Type = sparkplug.TypeBoolean
	s.birth.Identities = map[string]telemetry.Identity{"air": {Firmware: "2.2", Serial: "A51C"}} // no reading, no point
	mean := rec(noon, "air", "pm2_5", 12.5, "temperature", telemetry.GapChecksum)
	mean.Readings[0].Count, mean.Readings[0].Min, mean.Readings[0].Max = 60, 1, 99.5
	r.put(entry(s.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1}),
		s.data(1, 1, false, mean, rec(noon.Add(time.Second), "bin 1", "fill", 101), rec(noon, "gate", "open", true)),
		s.data(4, 1, false, rec(noon.Add(2*time.Second), "air", "pm2_5", telemetry.FlagStuck, "cpu_temperature", 51.25)),
	))
	ns := func(d time.Duration) string { return fmt.Sprint(noon.Add(d).UnixNano()) }
	wantLines(t, r.settle(),
		`air,device=air,gateway=gw-1,group=3374 pm2_5=12.5,pm2_5_min=1,pm2_5_max=99.5,pm2_5_n=60,temperature_gap="checksum" `+ns(0),
		`waste,device=bin\ 1,gateway=gw-1,group=3374 fill_rejected=101,fill_flag="range" `+ns(time.Second),
		`other,device=gate,gateway=gw-1,group=3374 open_bool=true `+ns(0),
		`air,device=air,gateway=gw-1,group=3374 pm2_5_rejected=1,pm2_5_flag="stuck" `+ns(2*time.Second),
		`gateway,device=air,gateway=gw-1,group=3374 cpu_temperature=51.25 `+ns(2*time.Second))
	if got, want := r.books.Ledger.Totals(), (Totals{Expected: 4, Stored: 4, Rejected: 2, Gaps: 1}); got.Expected != want.Expected || got.Stored != want.Stored || got.Rejected != want.Rejected || got.Gaps != want.Gaps || got.Missing != 0 {
		t.Errorf("ledger %+v, want %+v", got, want)
	}
}

// H2: the same minute under another clock id is another point, and numbers keep
// their clock id over a restart.
func TestClockIdsAreNumberedInJournalOrder(t *testing.T) {
	r := newRig(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/co2"))
	r.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "co2", 400))))
	s.clock.Counter = 2
	r.put(entry(s.data(2, 1, false, rec(noon, "air", "co2", 500))))
	head := "air,device=air,gateway=gw-1,group=3374 "
	ns := noon.UnixNano()
	wantLines(t, r.settle(), fmt.Sprint(head, "co2=400 ", ns), fmt.Sprint(head, "co2=500 ", ns+1))
	r = r.restart(Holes{})
	s.clock.Counter = 1
	r.put(entry(s.data(1, 1, false, rec(noon, "air", "co2", 400))))
	s.clock.Counter = 3
	r.put(entry(s.data(3, 1, false, rec(noon, "air", "co2", 600))))
	wantLines(t, r.settle(), fmt.Sprint(head, "co2=400 ", ns), fmt.Sprint(head, "co2=600 ", ns+2))
	if got := r.books.Ledger.Totals(); got.Expected != 3 || got.Stored != 3 {
		t.Errorf("the record that came twice counts once: %+v", got)
	}
}

// Test 9 of the chain: an alias table that changes between two births puts each
// value under its own name, in every reader, wherever it stands.
func TestDataAreReadByTheBirthBeforeThem(t *testing.T) {
	r := newRig(t, Holes{})
	old := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	changed := newSender(gw, 2, noon, 7, def(1, "air/co2"))
	first := old.data(1, 1, false, rec(noon, "air", "pm2_5", 10))
	late := old.data(3, 1, true, rec(noon.Add(2*time.Second), "air", "pm2_5", 30))
	r.put(entry(old.nbirth(), first, changed.nbirth(), changed.data(2, 1, false, rec(noon.Add(time.Second), "air", "co2", 20)), late))
	head := "air,device=air,gateway=gw-1,group=3374 "
	at := func(s int) string { return fmt.Sprint(" ", noon.Add(time.Duration(s)*time.Second).UnixNano()) }
	wantLines(t, r.settle(), head+"pm2_5=10"+at(0), head+"co2=20"+at(1), head+"pm2_5=30"+at(2))

	// A reader that starts over, with the table that others have filled already.
	again := newRig(t, Holes{})
	again.births = r.births
	again.feed = NewFeed(r.births, Holes{})
	again.put(entry(old.nbirth(), first, changed.nbirth(), changed.data(2, 1, false, rec(noon.Add(time.Second), "air", "co2", 20)), late))
	wantLines(t, again.settle(), head+"pm2_5=10"+at(0), head+"co2=20"+at(1), head+"pm2_5=30"+at(2))

	// H11 shows what happens without.
	hole := newRig(t, Holes{AnySessionBirth: true})
	hole.put(entry(old.nbirth(), changed.nbirth(), late))
	if got := lines(hole.settle()); len(got) != 1 || !strings.Contains(got[0], "co2=30") {
		t.Errorf("the hole is not open: %v", got)
	}
}

func TestABrokenBirthVoidsTheOneBefore(t *testing.T) {
	r := newRig(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	data := s.data(1, 1, false, rec(noon, "air", "pm2_5", 10))
	twice := sparkplug.AppendBirth(nil, noon.UnixMilli(), 0, &sparkplug.Birth{Wire: 1, Definitions: []sparkplug.Definition{def(1, "air/co2"), def(2, "air/co2")}})
	r.put(entry(s.nbirth(), s.packet(sparkplug.NBIRTH, twice), data))
	b := r.settle()
	wantLines(t, b)
	if len(b.Letters) != 2 || b.Letters[0].Reason != ReasonBirth || b.Letters[1].Reason != ReasonNoBirth || b.Letters[1].Numbers[0] != [2]uint64{1, 1} {
		t.Errorf("letters %+v", b.Letters)
	}
	if got, _ := r.books.Ledger.Status(gw, 7, 1); got != DeadLetter {
		t.Errorf("record 1 is %v, want a dead letter", got)
	}
}

func TestPoisonGoesAsideAndNothingWaits(t *testing.T) {
	r := newRig(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	good := s.data(1, 1, false, rec(noon, "air", "pm2_5", 10))
	cut := *good
	cut.Payload = good.Payload[:len(good.Payload)-3]
	topic := *good
	topic.Topic = "spBv1.0/3374/NDATA"
	s.clock.Epoch = 8
	future := s.data(1, 1, false, rec(time.UnixMilli(maxTime+1), "air", "pm2_5", 1), rec(noon, "air", "pm2_5", 2))
	r.put(entry(s.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1}), &cut, &topic, future, good))
	b := r.settle()
	if len(lines(b)) != 2 {
		t.Errorf("got %v", lines(b))
	}
	var reasons []Reason
	for _, l := range b.Letters {
		reasons = append(reasons, l.Reason)
	}
	if !slices.Equal(reasons, []Reason{ReasonPayload, ReasonTopic, ReasonTime}) {
		t.Errorf("letters for %v", reasons)
	}
	if l := b.Letters[2]; !slices.Equal(l.Records, []int{0}) || l.Birth == nil || l.Numbers[0] != [2]uint64{1, 1} {
		t.Errorf("a letter carries its record, number and birth: %+v", l)
	}
}

// A device belongs to its node: another node may have one of the same name.
// [tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node]
func TestForeignNodes(t *testing.T) {
	r := newRig(t, Holes{})
	node := telemetry.Node{Group: "Kota Baru", ID: "aqms"}
	at := uint64(noon.UnixMilli())
	unit := func(u string) []sparkplug.Property {
		return []sparkplug.Property{{Key: []byte("engUnit"), Type: sparkplug.TypeString, Value: sparkplug.String(u)}}
	}
	packet := func(typ sparkplug.MessageType, device string, seq uint64, ms ...sparkplug.Metric) *envelope.Packet {
		return &envelope.Packet{Received: noon.UnixNano(), Client: node.String(), Session: 5, Topic: sparkplug.Topic{Type: typ, Node: node, Device: device}.String(),
			Payload: sparkplug.AppendPayload(nil, &sparkplug.Payload{Timestamp: at, HasTimestamp: true, Seq: seq, HasSeq: true, Metrics: ms})}
	}
	r.put(entry(
		packet(sparkplug.NBIRTH, "", 0, sparkplug.Metric{Name: []byte("bdSeq"), Type: sparkplug.TypeInt64, Value: sparkplug.Long(1)},
			sparkplug.Metric{Name: []byte("Properties/OS"), Type: sparkplug.TypeString, Value: sparkplug.String(`Linux "6"`)}),
		packet(sparkplug.DBIRTH, "station", 1,
			sparkplug.Metric{Name: []byte("SO2"), HasAlias: true, Alias: 70, Type: sparkplug.TypeFloat, Value: sparkplug.Value{Kind: sparkplug.FloatValue, Bits: uint64(math.Float32bits(4))}, Properties: unit("ppb")},
			sparkplug.Metric{Name: []byte("PM2.5"), Type: sparkplug.TypeDouble, Null: true, Properties: unit("ug/m3")},
			sparkplug.Metric{Name: []byte("evil,name=\\ x"), Type: sparkplug.TypeInt16, Value: sparkplug.Int(-3)},
			sparkplug.Metric{Name: []byte("door_text"), Type: sparkplug.TypeBoolean, Value: sparkplug.Boolean(true)}),
		packet(sparkplug.DDATA, "station", 2, sparkplug.Metric{Alias: 70, HasAlias: true, Value: sparkplug.Value{Kind: sparkplug.FloatValue, Bits: uint64(math.Float32bits(5))}},
			sparkplug.Metric{Name: []byte("PM2.5"), Type: sparkplug.TypeDouble, Value: sparkplug.Double(21)},
			sparkplug.Metric{Alias: 99, HasAlias: true, Value: sparkplug.Double(1)}),
		packet(sparkplug.DDATA, "nobody", 3, sparkplug.Metric{Name: []byte("x"), Value: sparkplug.Double(1)}),
	))
	b := r.settle()
	ns := fmt.Sprint(" ", noon.UnixNano())
	head := `,device=station,gateway=aqms,group=Kota\ Baru `
	wantLines(t, b,
		`other,gateway=aqms,group=Kota\ Baru Properties/OS_text="Linux \"6\""`+ns,
		"air"+head+"so2_ppb=4"+ns,
		"other"+head+`evil\,name\=＼\ x=-3,door_text__bool=true`+ns,
		"air"+head+"so2_ppb=5,pm2_5=21"+ns)
	node.ID = "aqms-2"
	r.put(entry(packet(sparkplug.NBIRTH, "", 0), packet(sparkplug.DBIRTH, "station", 1, sparkplug.Metric{Name: []byte("SO2"), Type: sparkplug.TypeDouble, Value: sparkplug.Double(9), Properties: unit("ppb")})))
	wantLines(t, r.settle(), `air,device=station,gateway=aqms-2,group=Kota\ Baru so2_ppb=9`+ns)
	if b.unknown != 1 || len(b.Letters) != 1 || b.Letters[0].Reason != ReasonNoBirth {
		t.Errorf("unknown metrics %d, letters %+v", b.unknown, b.Letters)
	}
}

func TestANodeCannotBurdenTheDatabaseWithoutEnd(t *testing.T) {
	r := newRig(t, Holes{})
	for session := uint64(1); session <= 3; session++ {
		var ds []sparkplug.Definition
		var rs []any
		for i := range uint64(50) {
			name := fmt.Sprintf("thing-%d-%d", session, i)
			ds = append(ds, def(i+1, "box/"+name))
			rs = append(rs, name, 1)
		}
		s := newSender(gw, session, noon, telemetry.Epoch(session), ds...)
		r.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "box", rs...))))
	}
	b := r.settle()
	if b.Readings != maxOther || b.dropped != 150-maxOther {
		t.Errorf("stored %d, dropped %d: want %d unknown quantities over the node's life", b.Readings, b.dropped, maxOther)
	}
	if status, why := r.books.Ledger.Status(gw, 3, 1); status != Lost || why != LossLimit {
		t.Errorf("a record of which nothing is stored is %v %q", status, why)
	}
	r = r.restart(Holes{})
	s := newSender(gw, 9, noon, 9, def(1, "box/one-more"))
	r.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "box", "one-more", 1))))
	if b := r.settle(); b.dropped != 1 {
		t.Error("the budget did not outlive the restart")
	}
}

// A future reading is rejected, and only under a synchronised server clock.
func TestTheFutureIsNotStoredAsValid(t *testing.T) {
	r := newRig(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	unsynced := s.data(2, 1, false, rec(noon.Add(time.Hour), "air", "pm2_5", 2))
	unsynced.Flags = envelope.FlagClockUnsynced
	r.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon.AddDate(1, 0, 0), "air", "pm2_5", 1)), unsynced))
	got := lines(r.settle())
	if len(got) != 2 || !strings.Contains(got[0], `pm2_5_rejected=1,pm2_5_flag="time_future"`) || !strings.Contains(got[1], " pm2_5=2 ") {
		t.Errorf("got %v", got)
	}
}

// H10: what is in the journal before a change of rules is judged by the rules
// before it, in a replay too.
func TestRulesAreJudgedByPlace(t *testing.T) {
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	entries := [][]byte{
		entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "pm2_5", 500))),
		envelope.AppendRules(nil, envelope.Rules{Name: RulesQuality, Body: []byte(`{"ranges":[{"quantity":"pm2_5","max":100}]}`)}),
		entry(s.data(2, 1, false, rec(noon.Add(time.Second), "air", "pm2_5", 500))),
	}
	r := newRig(t, Holes{})
	r.put(entries[0])
	r.put(entries[1])
	r.settle()
	again := r.restart(Holes{}) // rules come back from the checkpoint
	again.put(entries[2])
	if got := lines(again.settle()); len(got) != 1 || !strings.Contains(got[0], "pm2_5_rejected=500") {
		t.Errorf("after the restart: %v", got)
	}
	replay := newRig(t, Holes{})
	for _, e := range entries {
		replay.put(e)
	}
	if got := lines(replay.settle()); !strings.Contains(got[0], " pm2_5=500 ") || !strings.Contains(got[1], "pm2_5_rejected=500") {
		t.Errorf("replay: %v", got)
	}
}

func TestAppendNumberReadsBackTheSame(t *testing.T) {
	check := func(v float64) {
		t.Helper()
		text := string(appendNumber(nil, v))
		if got, err := strconv.ParseFloat(text, 64); err != nil || math.Float64bits(got) != math.Float64bits(v) {
			t.Errorf("%v is written as %q, read as %v, %v", v, text, got, err)
		}
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 12.3, -0.25, 1013.25, 1e9, 1e-7, 123456.7891, math.MaxFloat64, 5e-324, 0.3, 2.675, 999999999.9999, 4503599627370497.5} {
		check(v)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		check(math.Float64frombits(r.Uint64()&^(0x7ff<<52) | uint64(r.IntN(2047))<<52))
		check(math.Round(r.NormFloat64()*1e5) / math.Pow10(r.IntN(6)))
	}
}

func TestNamesAreSafeAndStayApart(t *testing.T) {
	hostile := []string{"a b", "a,b=c", `back\`, `back\\`, "new\nline", "nul\x00", "\xff\xfe", strings.Repeat("é", 100), strings.Repeat("é", 99) + "x",
		"x_text", "x_text_", "x", "time", "_field", "x_n", `q"uote`, "'; DROP DATABASE", "<script>", "x_gap__", "pm2_5", "pm2_5_"}
	seen := map[string]string{}
	for _, h := range hostile {
		f := cleanField(h)
		if !utf8.ValidString(f) || len(f) > 140 || strings.ContainsAny(f, "\\\n\x00") || f == "" {
			t.Errorf("cleanField(%q) = %q", h, f)
		}
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q share the name %q", h, other, f)
		}
		seen[f] = h
		for _, s := range suffixes {
			if strings.HasSuffix(f, s) {
				t.Errorf("cleanField(%q) = %q ends like a field of another quantity", h, f)
			}
		}
		if q, ok := telemetry.Lookup(f); ok {
			t.Errorf("cleanField(%q) would be taken for the catalogue's %s in %s", h, q.Name, q.Unit)
		}
		if cleanName(cleanName(h)) != cleanName(h) {
			t.Errorf("cleanName(%q) is not stable", h)
		}
	}
}

// Whatever bytes come, the feed and the store neither panic nor write a line
// that is not one point.
func FuzzStore(f *testing.F) {
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	f.Add(s.nbirth().Payload, s.data(1, 1, false, rec(noon, "air", "pm2_5", 10)).Payload, true)
	f.Add([]byte{}, []byte{0x12, 0x00}, false)
	f.Fuzz(func(t *testing.T, birth, data []byte, device bool) {
		r := newRig(t, Holes{})
		b, d := s.packet(sparkplug.NBIRTH, birth), s.packet(sparkplug.NDATA, data)
		packets := []*envelope.Packet{b, d}
		if device {
			db, dd := *b, *d
			db.Topic = sparkplug.Topic{Type: sparkplug.DBIRTH, Node: gw, Device: "d"}.String()
			dd.Topic = sparkplug.Topic{Type: sparkplug.DDATA, Node: gw, Device: "d"}.String()
			packets = append(packets, &db, &dd)
		}
		r.put(entry(packets...))
		batch := r.settle()
		if n := bytes.Count(batch.Lines, []byte("\n")); n != batch.Points {
			t.Fatalf("%d points in %d lines: %q", batch.Points, n, batch.Lines)
		}
		if !utf8.Valid(batch.Lines) {
			t.Fatalf("not UTF-8: %q", batch.Lines)
		}
		r.restart(Holes{})
	})
}
