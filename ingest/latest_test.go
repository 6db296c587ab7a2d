package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// latestAlone is the latest reader without its shell.
type latestAlone struct {
	t      *testing.T
	births *Births
	feed   *Feed
	core   *Latest
	seq    uint64
}

func newLatestAlone(t *testing.T, h Holes) *latestAlone {
	b := NewBirths(h)
	return &latestAlone{t: t, births: b, feed: NewFeed(b, h), core: NewLatest(h)}
}

func (h *latestAlone) put(body []byte) {
	h.t.Helper()
	h.seq++
	if err := h.feed.Entry(h.seq, body, h.core); err != nil {
		h.t.Fatal(err)
	}
}

func (h *latestAlone) value(quantity string) Value {
	for _, v := range h.core.Since(0).Values {
		if v.Quantity == quantity {
			return v
		}
	}
	return Value{}
}

func (h *latestAlone) node(n telemetry.Node) Node {
	for _, s := range h.core.Since(0).Nodes {
		if s.Node == n {
			return s
		}
	}
	return Node{}
}

// H6: the newest value goes by (epoch, number): a clock that was ahead and came
// back does not hide what follows, backlog does not cover what is live, and a
// new run of the gateway is newer whatever its numbers.
func TestLatestGoesByNumber(t *testing.T) {
	for _, byTime := range []bool{false, true} {
		h := newLatestAlone(t, Holes{LatestByTime: byTime})
		s := newSender(gw, 1, noon, 7, def(1, "air/co2"))
		h.put(entry(s.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 1}),
			s.data(11, 1, false, rec(noon.Add(10*time.Second), "air", "co2", 400)),
			s.data(12, 1, false, rec(noon.AddDate(0, 0, 1), "air", "co2", 500)),    // the clock was a day ahead
			s.data(13, 1, false, rec(noon.Add(12*time.Second), "air", "co2", 600)), // and came back
			s.data(2, 1, true, rec(noon.Add(-time.Hour), "air", "co2", 300))))      // backlog
		if got := h.value("co2").Value.Number; (got == 600) == byTime {
			t.Errorf("by time %v: the newest is %v", byTime, got)
		}
		if byTime {
			continue
		}
		again := newSender(gw, 2, noon.Add(time.Minute), 3, def(1, "air/co2"))
		h.put(entry(again.nbirth(telemetry.EpochFloor{Epoch: 7, Lowest: 3}, telemetry.EpochFloor{Epoch: 3, Lowest: 1}),
			again.data(1, 1, false, rec(noon.Add(time.Minute), "air", "co2", 700))))
		s.session = 2
		late := s.data(20, 3, true, rec(noon.Add(20*time.Second), "air", "co2", 650))
		h.put(entry(late))
		if v := h.value("co2"); v.Value.Number != 700 || v.Late {
			t.Errorf("after a restart of the gateway: %+v", v)
		}
	}
}

func TestLatestKeepsTheLastGoodValueBesideTheVerdict(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/humidity"))
	h.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "humidity", 55)),
		s.data(2, 1, false, rec(noon.Add(time.Second), "air", "humidity", 555)),
		s.data(3, 1, false, rec(noon.Add(2*time.Second), "air", "humidity", telemetry.GapBus))))
	v := h.value("humidity")
	if v.Gap != telemetry.GapBus || v.Good.Number != 55 || v.GoodTime != noon.UnixMilli() || v.Unit != telemetry.Percent || v.Interval != time.Minute {
		t.Errorf("got %+v", v)
	}
}

// An NDEATH counts only with the bdSeq of its session's birth, and only from
// the newest session.
func TestDeathsOfOldSessionsSayNothing(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	a := newSender(gw, 1, noon, 7, def(1, "air/co2"))
	b := newSender(gw, 2, noon.Add(time.Second), 7, def(1, "air/co2"))
	h.put(entry(a.nbirth(), b.nbirth(), a.ndeath(1)))
	if got := h.node(gw); got.Status != Online || got.Session != 2 {
		t.Errorf("after the old session's will: %+v", got)
	}
	h.put(entry(b.ndeath(1)))
	if got := h.node(gw); got.Status != Online {
		t.Errorf("after a death with another bdSeq: %+v", got)
	}
	h.put(entry(b.ndeath(2)))
	if got := h.node(gw); got.Status != Offline {
		t.Errorf("after its own death: %+v", got)
	}
}

func TestAfterTheServersStartNodesAreUnknown(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/co2"))
	h.put(tick(noon, time.Hour, 1))
	h.put(entry(s.nbirth()))
	h.put(tick(noon.Add(15*time.Second), time.Hour, 1))
	if got := h.node(gw).Status; got != Online {
		t.Errorf("under the same process: %v", got)
	}
	h.put(tick(noon.Add(time.Minute), time.Second, 2))
	if got := h.node(gw).Status; got != Unknown {
		t.Errorf("after a start: %v", got)
	}
	s.at = noon.Add(2 * time.Minute)
	h.put(entry(s.data(1, 1, false, rec(s.at, "air", "co2", 400))))
	if got := h.node(gw); got.Status != Online || got.LastSeen != s.at.UnixNano() {
		t.Errorf("heard again: %+v", got)
	}
}

// Only late data for five minutes is a clock alarm; backlog is not.
func TestAClockBehindIsNoticed(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/co2"))
	h.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "co2", 1))))
	for n := uint64(2); n < 10; n++ {
		s.at = noon.Add(time.Duration(n) * time.Minute)
		h.put(entry(s.data(n, 1, true, rec(s.at.Add(-time.Hour), "air", "co2", 2))))
	}
	if h.node(gw).ClockBad {
		t.Error("backlog is no clock alarm")
	}
	for n := uint64(10); n < 16; n++ {
		s.at = noon.Add(time.Duration(n) * time.Minute)
		h.put(entry(s.data(n, 1, false, rec(s.at.Add(-time.Hour), "air", "co2", 2))))
		if got, want := h.node(gw).ClockBad, n >= 15; got != want {
			t.Errorf("after %d min of late data: alarm %v", n-10, got)
		}
	}
	s.at = s.at.Add(time.Minute)
	h.put(entry(s.data(16, 1, false, rec(s.at, "air", "co2", 2))))
	if h.node(gw).ClockBad {
		t.Error("the alarm outlives the fault")
	}
}

// [tck-id-operational-behavior-host-reordering-rebirth]
func TestForeignSequenceGapsAskForABirth(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	packet := func(typ sparkplug.MessageType, seq uint64, historical bool, at time.Time, v float64) *envelope.Packet {
		return &envelope.Packet{Received: noon.UnixNano(), Client: gw.String(), Session: 5, Topic: sparkplug.Topic{Type: typ, Node: gw}.String(),
			Payload: sparkplug.AppendPayload(nil, &sparkplug.Payload{Timestamp: uint64(at.UnixMilli()), HasTimestamp: true, Seq: seq, HasSeq: true,
				Metrics: []sparkplug.Metric{{Name: []byte("co2"), Type: sparkplug.TypeDouble, Value: sparkplug.Double(v), Historical: historical}}})}
	}
	h.put(entry(packet(sparkplug.NBIRTH, 0, false, noon, 1), packet(sparkplug.NDATA, 1, false, noon, 2)))
	if got := h.core.TakeRebirths(); len(got) != 0 {
		t.Errorf("nothing is missing: %+v", got)
	}
	h.put(entry(packet(sparkplug.NDATA, 3, false, noon, 3)))
	if got := h.core.TakeRebirths(); len(got) != 1 || got[0].Node != gw {
		t.Errorf("2 is missing: %+v", got)
	}
	h.put(entry(packet(sparkplug.NDATA, 4, true, noon.Add(-time.Hour), 4)))
	if got := h.core.TakeRebirths(); len(got) != 1 {
		t.Errorf("the request may have been lost: %+v", got)
	}
	if got := h.value("co2"); got.Value.Number != 3 {
		t.Errorf("historical data came before what is newer: %+v", got)
	}
	if !h.node(gw).Foreign {
		t.Error("it is a foreign node")
	}
	device := func(typ sparkplug.MessageType, seq uint64) *envelope.Packet {
		p := packet(typ, seq, false, noon, 5)
		p.Topic += "/station"
		return p
	}
	h.put(entry(packet(sparkplug.NBIRTH, 0, false, noon, 4), device(sparkplug.DBIRTH, 1), device(sparkplug.DDATA, 2), device(sparkplug.DDEATH, 3), packet(sparkplug.NDATA, 4, false, noon, 6)))
	if got := h.core.TakeRebirths(); len(got) != 0 {
		t.Errorf("it was born again, and a device's death has its place in the sequence: %+v", got)
	}
}

// What a node or a device last measured does not stand as if it were measured
// still, once that has said that it goes, or its will has.
func TestWhoIsGoneLeavesStaleValues(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	packet := func(typ sparkplug.MessageType, device string, seq uint64, at time.Time, ms ...sparkplug.Metric) *envelope.Packet {
		return &envelope.Packet{Received: noon.UnixNano(), Client: gw.String(), Session: 5, Topic: sparkplug.Topic{Type: typ, Node: gw, Device: device}.String(),
			Payload: sparkplug.AppendPayload(nil, &sparkplug.Payload{Timestamp: uint64(at.UnixMilli()), HasTimestamp: true, Seq: seq, HasSeq: true, Metrics: ms})}
	}
	bdSeq := sparkplug.Metric{Name: []byte("bdSeq"), Type: sparkplug.TypeInt64, Value: sparkplug.Long(4)}
	metric := func(name string) sparkplug.Metric {
		return sparkplug.Metric{Name: []byte(name), Type: sparkplug.TypeDouble, Value: sparkplug.Double(1)}
	}
	h.put(entry(packet(sparkplug.NBIRTH, "", 0, noon, bdSeq, metric("own")), packet(sparkplug.DBIRTH, "a", 1, noon, metric("of a")), packet(sparkplug.DBIRTH, "b", 2, noon, metric("of b"))))
	stale := func(want map[string]time.Time) {
		t.Helper()
		for _, q := range []string{"own", "of a", "of b"} {
			var since int64
			if at, ok := want[q]; ok {
				since = at.UnixMilli()
			}
			if got := h.value(q).Stale; got != since {
				t.Errorf("%q is stale since %d, want %d", q, got, since)
			}
		}
	}
	stale(nil)
	// With the time in the payload.
	// [tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline]
	// [tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale]
	said := noon.Add(-3 * time.Second)
	h.put(entry(packet(sparkplug.DDEATH, "a", 3, said)))
	stale(map[string]time.Time{"of a": said})
	h.put(entry(packet(sparkplug.NDEATH, "", 0, noon.Add(-time.Hour), sparkplug.Metric{Name: []byte("bdSeq"), Value: sparkplug.Long(3)})))
	stale(map[string]time.Time{"of a": said}) // an older session's
	// With the host's own time: a will was written when its session began.
	// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline]
	// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale]
	// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline]
	// [tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale]
	h.put(entry(packet(sparkplug.NDEATH, "", 0, noon.Add(-time.Hour), bdSeq)))
	stale(map[string]time.Time{"own": noon, "of a": said, "of b": noon})
	if n := h.node(gw); n.Status != Offline || n.Since != noon.UnixNano() {
		t.Errorf("%+v", n)
	}
	h.put(entry(packet(sparkplug.NBIRTH, "", 0, noon, metric("own")), packet(sparkplug.DBIRTH, "a", 1, noon, metric("of a"))))
	stale(map[string]time.Time{"of b": noon})
	h.put(entry(packet(sparkplug.NDEATH, "", 0, noon, bdSeq))) // of a node whose birth had none
	stale(map[string]time.Time{"own": noon, "of a": noon, "of b": noon})
}

// Who the parts are is what the node's newest birth says: another birth tells of
// another part, a late one of an older session tells nothing, a restart of the
// server forgets nothing.
func TestLatestKnowsWhoThePartsAre(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	a, b := telemetry.Identity{Firmware: "2.2", Serial: "A51C"}, telemetry.Identity{Firmware: "2.3", Serial: "B07"}
	s := newSender(gw, 1, noon, 7, def(1, "air/pm2_5"))
	is := func(want telemetry.Identity) {
		t.Helper()
		if got := h.node(gw).Identities["air"]; got != want {
			t.Errorf("the part at air is %+v, want %+v", got, want)
		}
	}
	is(telemetry.Identity{})
	s.birth.Identities = map[string]telemetry.Identity{"air": a}
	h.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "pm2_5", 12))))
	is(a)
	before := h.core.Since(0)
	s.birth.Identities = map[string]telemetry.Identity{"air": b}
	h.put(entry(s.nbirth()))
	is(b)
	if news := h.core.Since(before.Version); len(news.Nodes) != 1 || len(news.Values) != 0 || before.Nodes[0].Identities["air"] != a {
		t.Errorf("watchers hear %+v, and had %+v", news, before.Nodes)
	}
	again := newSender(gw, 2, noon, 8, def(1, "air/pm2_5"))
	again.birth.Identities = map[string]telemetry.Identity{"air": a, "bin\x1b": b}
	h.put(entry(again.nbirth(), s.ndeath(1)))
	is(a)
	if got := h.node(gw).Identities["bin\uFFFD"]; got != b {
		t.Errorf("a device goes by the name under which it is stored: %+v", h.node(gw).Identities)
	}
	var d checkpoint.Delta
	h.core.Checkpoint(&d)
	h.core = NewLatest(Holes{})
	d.Each(func(table string, key, value []byte) {
		if err := h.core.Load(table, key, value); err != nil {
			t.Fatal(err)
		}
	})
	is(a)
	again.birth.Identities = nil
	h.put(entry(again.nbirth()))
	is(telemetry.Identity{})
}

func TestLatestSurvivesARestart(t *testing.T) {
	h := newLatestAlone(t, Holes{})
	s := newSender(gw, 1, noon, 7, def(1, "air/co2"), def(2, "box/label"))
	s.birth.Definitions[1].Type = sparkplug.TypeString
	h.put(entry(s.nbirth(), s.data(1, 1, false, rec(noon, "air", "co2", 400), rec(noon, "box", "label", "päckchen"))))
	var d checkpoint.Delta
	h.core.Checkpoint(&d)
	again := NewLatest(Holes{})
	d.Each(func(table string, key, value []byte) {
		if err := again.Load(table, key, value); err != nil {
			t.Fatal(err)
		}
	})
	got, want := again.Since(0), h.core.Since(0)
	if len(got.Values) != 2 || got.Values[0].Value != want.Values[0].Value || got.Values[1].Value.Text != "päckchen" || got.Nodes[0].Session != 1 {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if !strings.HasPrefix(string(got.Nodes[0].Status), "online") {
		t.Errorf("status %v", got.Nodes[0].Status)
	}
	var none checkpoint.Delta
	h.core.Checkpoint(&none)
	if none.Len() != 0 {
		t.Error("what did not change is written again")
	}
	version := h.core.Since(0).Version
	h.core.Rules(9, envelope.Rules{Name: RulesForget, Body: []byte(gw.String())})
	if s := h.core.Since(version); len(s.Gone) != 1 || s.Gone[0] != gw || len(s.Nodes) != 0 {
		t.Errorf("watchers hear %+v of a forgotten node", s)
	}
	h.core.Checkpoint(&none)
	none.Each(func(_ string, _, value []byte) {
		if value != nil {
			t.Error("a forgotten node stays in the checkpoint")
		}
	})
}

// H7: the frontier stands while no server runs, and follows no step of a clock.
func TestFrontier(t *testing.T) {
	var f, wall Frontier
	wall.hole = true
	at := func(d time.Duration, uptime time.Duration, session uint64) {
		body := envelope.Tick{Time: noon.Add(d).UnixNano(), Uptime: int64(uptime), Session: session}
		f.Tick(body)
		wall.Tick(body)
	}
	at(0, time.Second, 1)
	at(15*time.Second, 16*time.Second, 1)
	at(time.Hour, time.Second, 2) // an hour without the server
	if got := time.Duration(f.At - noon.UnixNano()); got != 16*time.Second {
		t.Errorf("after the outage the frontier stands at +%v, want +16 s", got)
	}
	if got := time.Duration(wall.At - noon.UnixNano()); got != time.Hour {
		t.Errorf("the hole is not open: +%v", got)
	}
	at(1000*time.Hour, 16*time.Second, 2) // the wall clock jumps
	at(time.Hour+30*time.Second, 31*time.Second, 2)
	if got := time.Duration(f.At - noon.UnixNano()); got != 46*time.Second {
		t.Errorf("after a clock step the frontier stands at +%v, want +46 s", got)
	}
	var again Frontier
	if err := again.load(nil, f.append(nil)); err != nil || again.At != f.At || again.last.Session != 2 {
		t.Errorf("from the checkpoint: %+v, %v", again, err)
	}
}
