package uplink

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// script runs a session on a real spool with time under the test's hand.
type script struct {
	t       *testing.T
	o       SessionOptions
	dir     string
	boot    byte
	clock   atomic.Int64 // CLOCK_BOOTTIME
	spool   *spool.Spool
	mapper  *clock.Mapper
	session *Session
	flying  []Action
	sent    []Action
}

const offset = int64(1764000000000)

func newScript(t *testing.T, change func(*SessionOptions)) *script {
	t.Helper()
	s := &script{t: t, dir: t.TempDir(), boot: 1}
	s.clock.Store(int64(time.Minute))
	s.o = SessionOptions{
		Node: node, QoS: 1, Window: 16, Limit: spool.Limit{Records: 10, Bytes: 8 << 10}, Stall: 30 * time.Second,
	}
	if change != nil {
		change(&s.o)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *script) now() time.Duration { return time.Duration(s.clock.Load()) }

func (s *script) start() {
	s.t.Helper()
	var err error
	s.spool, err = spool.Open(spool.Options{
		Dir: s.dir, Boot: clock.BootID{s.boot}, SyncEvery: time.Hour, FreeFloor: -1,
		Logger: slog.New(slog.DiscardHandler), Boottime: s.now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.mapper = clock.NewMapper(clock.MapperOptions{Epoch: s.spool.Epoch(), Boot: clock.BootID{s.boot}, Last: s.spool.LastMapping()})
	if m, ok := s.mapper.Start(clock.Millis(s.now())); ok {
		s.add(m)
	}
	s.o.Source = s.spool
	s.session = NewSession(s.o)
}

func (s *script) stop() {
	s.t.Helper()
	if err := s.spool.Close(); err != nil {
		s.t.Error(err)
	}
}

func (s *script) restart() {
	s.stop()
	s.flying = nil
	s.start()
}

func (s *script) add(m clock.Mapping) {
	s.t.Helper()
	if err := s.spool.AddMapping(m); err != nil {
		s.t.Fatal(err)
	}
}

// kernel lets the kernel say that it is synchronised at offset+step.
func (s *script) kernel(step int64) {
	for range 2 {
		s.clock.Add(int64(time.Second))
		o := clock.Observation{Boottime: clock.Millis(s.now()), UTC: clock.Millis(s.now()) + offset + step, Quality: telemetry.TimeNTP}
		if m, ok := s.mapper.Observe(o); ok {
			s.add(m)
		}
	}
}

func (s *script) at() Now { return Now{Boottime: s.now(), UTC: offset + clock.Millis(s.now())} }

func (s *script) sample(n int, device string, readings ...telemetry.Reading) {
	s.t.Helper()
	for range n {
		s.clock.Add(int64(time.Second))
		if _, err := s.spool.Append(spool.Sample{Device: device, Boottime: s.now(), Readings: readings}); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := s.spool.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// take notes actions and returns them.
func (s *script) take(actions []Action) []Action {
	for _, a := range actions {
		if a.Kind == ActPublish {
			s.flying = append(s.flying, a)
			s.sent = append(s.sent, a)
		}
	}
	return actions
}

func (s *script) connect(bdSeq uint64) []Action {
	s.flying = nil
	return s.take(s.session.Begin(s.at(), bdSeq))
}

// ack acknowledges everything on its way, and what follows from it.
func (s *script) ack() {
	for len(s.flying) > 0 {
		a := s.flying[0]
		s.flying = s.flying[1:]
		s.take(s.session.Acked(a.ID, s.at()))
	}
}

func data(actions []Action) []Action {
	var out []Action
	for _, a := range actions {
		if a.Type == sparkplug.NDATA {
			out = append(out, a)
		}
	}
	return out
}

// [tck-id-payloads-ndata-seq-inc] [tck-id-payloads-sequence-num-incrementing]
// [tck-id-payloads-sequence-num-always-included]
func TestBirthComesFirstAndSeqWraps(t *testing.T) {
	s := newScript(t, func(o *SessionOptions) { o.Limit.Records = 1 })
	s.kernel(0)
	s.sample(600, "udara", num("pm2_5", 1))
	s.connect(3)
	s.ack()
	want := uint8(0)
	births := 0
	for i, a := range s.sent {
		var p sparkplug.Payload
		if err := sparkplug.Decode(a.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if a.Type == sparkplug.NBIRTH {
			births++
			want = 0
			if a.Birth.BdSeq != 3 || a.QoS != 1 {
				t.Errorf("birth %+v", a.Birth)
			}
		}
		if i == 0 && a.Type != sparkplug.NBIRTH || !p.HasSeq || p.Seq != uint64(want) {
			t.Fatalf("message %d: %s with seq %d, want %d", i, a.Type, p.Seq, want)
		}
		want++
	}
	if n := len(data(s.sent)); n != 600 || births != 2 {
		t.Errorf("%d data, %d births (one at connect, one for the new device)", n, births)
	}
	if st := s.spool.Stats(); st.Records != 0 {
		t.Errorf("%d records left", st.Records)
	}
}

func TestWindowLiveFirstBacklogUsesWhatIsLeft(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	s.sample(500, "udara", num("pm2_5", 1))
	s.clock.Add(int64(spool.LiveAge))
	s.sample(30, "udara", num("pm2_5", 2))
	first := data(s.connect(0))
	for i, a := range first {
		if a.Run.Backlog != (i >= 3) {
			t.Errorf("message %d: %+v: live goes first", i, a.Run)
		}
	}
	s.flying = s.flying[:0]
	for range 200 { // quick PUBACKs widen the backlog's share, but not to the whole window
		if n := s.session.InFlight(); n > s.o.Window || s.session.backlog > s.o.Window*3/4 {
			t.Fatalf("%d on their way, %d of them backlog, window %d", n, s.session.backlog, s.o.Window)
		}
		for id := range s.session.flights {
			s.take(s.session.Acked(id, s.at()))
			break
		}
	}
	if st := s.spool.Stats(); st.Records != 0 {
		t.Errorf("%d records left", st.Records)
	}
}

func TestSlowLinkIsLeftToLive(t *testing.T) {
	p := pace{max: 24}
	p.reset()
	now := time.Duration(0)
	for range 40 {
		now += time.Second
		p.acked(now-time.Second, now)
	}
	if p.allowed() != 24 {
		t.Errorf("quick PUBACKs: %d", p.allowed())
	}
	for range 10 {
		now += 10 * time.Second
		p.acked(now-8*time.Second, now)
	}
	if p.allowed() != 1 {
		t.Errorf("slow PUBACKs: %d", p.allowed())
	}
}

func TestLinkWithoutPubackIsCut(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	s.sample(3, "udara", num("pm2_5", 1))
	s.connect(0)
	at, ok := s.session.Due()
	if !ok || at != s.now()+30*time.Second {
		t.Errorf("due at %v, %v", at, ok)
	}
	s.clock.Add(int64(20 * time.Second))
	s.take(s.session.Acked(s.flying[0].ID, s.at())) // progress
	s.clock.Add(int64(20 * time.Second))
	if a := s.session.Wake(s.at()); len(a) > 0 {
		t.Errorf("cut in spite of progress: %+v", a)
	}
	s.clock.Add(int64(10 * time.Second))
	if a := s.session.Wake(s.at()); len(a) != 1 || a[0].Kind != ActCut {
		t.Errorf("not cut: %+v", a)
	}
	s.session.End()
	if st := s.spool.Stats(); st.Records != 3 {
		t.Errorf("%d records left of 3 without PUBACK", st.Records)
	}
	if late := s.session.Acked(s.flying[0].ID, s.at()); late != nil || s.spool.Stats().Records != 3 {
		t.Error("a token of a connection that is gone released a record")
	}
	if again := data(s.connect(1)); len(again) != 1 || again[0].Run.First != 1 {
		t.Errorf("not sent again: %+v", again)
	}
}

func TestCommands(t *testing.T) {
	s := newScript(t, nil)
	s.connect(5)
	s.ack()
	actions, err := s.session.Command(sparkplug.AppendCommand(nil, 0, sparkplug.MetricRebirth, sparkplug.TypeBoolean, sparkplug.Boolean(true)), s.at())
	if err != nil || len(actions) != 1 || actions[0].Type != sparkplug.NBIRTH || actions[0].Birth.BdSeq != 5 {
		t.Errorf("rebirth: %+v, %v", actions, err)
	}
	actions, err = s.session.Command(sparkplug.AppendCommand(nil, 0, sparkplug.MetricTime, sparkplug.TypeInt64, sparkplug.Long(offset)), s.at())
	if err != nil || len(actions) != 1 || actions[0].Kind != ActTime || actions[0].UTC != offset {
		t.Errorf("time: %+v, %v", actions, err)
	}
	if _, err = s.session.Command([]byte{0xff}, s.at()); err == nil {
		t.Error("nonsense was understood")
	}
	if _, err = s.session.Command(sparkplug.AppendCommand(nil, 0, "Node Control/Reboot", sparkplug.TypeBoolean, sparkplug.Boolean(true)), s.at()); err == nil {
		t.Error("an unknown command was understood")
	}
}

// H1: a stamp never changes.
func TestResentRecordKeepsItsStamp(t *testing.T) {
	s := newScript(t, nil)
	s.sample(1, "udara", num("pm2_5", 1)) // before any mapping
	s.kernel(0)
	s.sample(1, "udara", num("pm2_5", 2))
	first := data(s.connect(0))
	if len(first) != 1 || len(first[0].Records) != 2 {
		t.Fatalf("sent %+v", first)
	}
	s.clock.Add(int64(time.Minute))
	s.kernel(-3600_000) // the PUBACK is lost, the clock steps back, the process is killed
	s.restart()
	s.kernel(-7200_000)
	again := data(s.connect(1))
	for i, r := range first[0].Records {
		if got := again[0].Records[i]; got.Time != r.Time || again[0].Run.Clock != first[0].Run.Clock {
			t.Errorf("record %d: %d under %v, then %d under %v", r.Number, r.Time, first[0].Run.Clock, got.Time, again[0].Run.Clock)
		}
	}
}

// H2, H13: another start, another clock id; a message has one of each.
func TestAMessageHasOneEpochAndOneClock(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	s.sample(2, "udara", num("pm2_5", 1))
	s.clock.Add(int64(time.Minute))
	s.kernel(5000)
	s.sample(2, "udara", num("pm2_5", 2))
	s.restart()
	s.sample(2, "udara", num("pm2_5", 3))
	s.connect(0)
	s.ack()
	clocks := map[telemetry.ClockID]bool{}
	for _, a := range data(s.sent) {
		if clocks[a.Run.Clock] || a.Run.Count != 2 {
			t.Errorf("run %+v", a.Run)
		}
		clocks[a.Run.Clock] = true
	}
	if len(clocks) != 3 {
		t.Errorf("%d clock ids, want one for the start, one for the step, one for the next start", len(clocks))
	}
}

// H4: the birth lists what lies in the spool; messages carry the floor.
func TestBirthListsEpochsAndMessagesCarryTheFloor(t *testing.T) {
	s := newScript(t, func(o *SessionOptions) { o.Limit.Records = 2 })
	s.kernel(0)
	s.sample(6, "udara", num("pm2_5", 1))
	old := s.spool.Epoch()
	s.connect(0)
	for _, a := range data(s.flying)[:1] {
		s.session.Acked(a.ID, s.at())
	}
	s.restart()
	s.sample(1, "udara", num("pm2_5", 2))
	birth := s.connect(1)[0].Birth
	floors := map[telemetry.Epoch]uint64{}
	for _, e := range birth.Epochs {
		floors[e.Epoch] = e.Lowest
	}
	if len(floors) != 2 || floors[old] != 3 || floors[s.spool.Epoch()] != 1 {
		t.Errorf("epochs %v, want %v from 3 and %v from 1", birth.Epochs, old, s.spool.Epoch())
	}
	for _, a := range data(s.flying) {
		if want := floors[a.Run.Epoch]; a.Run.Floor != want {
			t.Errorf("run %+v, want floor %d", a.Run, want)
		}
	}
	s.ack()
	var last *sparkplug.Birth
	for _, a := range s.sent {
		if a.Birth != nil {
			last = a.Birth
		}
	}
	if len(last.Epochs) != 1 || last.Epochs[0].Epoch != s.spool.Epoch() {
		t.Errorf("the drained epoch is not closed by a birth: %v", last.Epochs)
	}
	if birth := s.connect(2)[0].Birth; len(birth.Epochs) != 1 || birth.Epochs[0].Lowest != 2 {
		t.Errorf("drained: %v", birth.Epochs)
	}
}

// H6: what was sampled inside a short cut is live.
func TestAfterAShortCutEverythingIsLiveInOrder(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	s.connect(0)
	s.ack()
	s.session.End()
	s.sample(100, "udara", num("pm2_5", 300))
	s.sent = nil
	s.connect(1)
	s.ack()
	next := uint64(1)
	for _, a := range data(s.sent) {
		if a.Run.Backlog || a.Run.First != next {
			t.Errorf("run %+v, want live from %d", a.Run, next)
		}
		next += a.Run.Count
	}
	if next != 101 {
		t.Errorf("sent up to %d", next-1)
	}
}

// H11: an alias never means two things within an epoch.
func aliasesMeanOneThing(s *script) bool {
	s.kernel(0)
	s.sample(1, "udara", num("pm2_5", 1), num("co2", 400))
	s.connect(0)
	s.ack()
	s.sample(1, "meter", num("power", 5), num("energy", 7))
	s.take(s.session.Wake(s.at()))
	s.ack()
	s.sample(1, "udara", telemetry.Reading{Quantity: "co2", Value: telemetry.Value{Type: telemetry.Text, Text: "rusak"}})
	s.connect(1)
	s.ack()
	s.take(s.session.Define([]Definition{{Device: "air", Quantity: "ph", Interval: time.Minute}}, s.at()))
	type meaning struct {
		name string
		t    sparkplug.Datatype
	}
	means := map[uint64]meaning{}
	for _, a := range s.sent {
		if a.Birth == nil {
			continue
		}
		for _, d := range a.Birth.Definitions {
			m := meaning{d.Name, d.Type}
			if old, ok := means[d.Alias]; ok && old != m {
				return false
			}
			means[d.Alias] = m
		}
	}
	return len(means) == 6
}

func TestAnAliasNeverMeansTwoThings(t *testing.T) {
	if !aliasesMeanOneThing(newScript(t, nil)) {
		t.Error("an alias was used twice")
	}
	if aliasesMeanOneThing(newScript(t, func(o *SessionOptions) { o.Omit.Aliases = true })) {
		t.Error("left out, and the test does not show it")
	}
}

func TestDefineAnnouncesUnitAndInterval(t *testing.T) {
	s := newScript(t, nil)
	s.connect(0)
	defs := []Definition{{Device: "udara", Quantity: "pm2_5", Interval: time.Minute}, {Device: "udara", Quantity: "voc", Unit: "index"}}
	birth := s.take(s.session.Define(defs, s.at()))[0].Birth
	if d := birth.Definitions[0]; d.Unit != telemetry.MicrogramPerCubicMetre || d.Interval != time.Minute || d.Alias != 1 {
		t.Errorf("%+v", d)
	}
	if d := birth.Definitions[1]; d.Unit != "index" || d.Alias != 2 {
		t.Errorf("%+v", d)
	}
	if a := s.session.Define(defs, s.at()); len(a) > 0 {
		t.Errorf("nothing new, and yet %+v", a)
	}
	defs[0].Interval = time.Second
	birth = s.take(s.session.Define(defs, s.at()))[0].Birth
	if d := birth.Definitions[0]; d.Interval != time.Second || d.Alias != 1 {
		t.Errorf("an interval does not change the alias: %+v", d)
	}
}

// Who the parts are stands in every birth, and what is news makes one.
func TestBirthsTellWhoThePartsAre(t *testing.T) {
	s := newScript(t, nil)
	s.kernel(0)
	first, other := telemetry.Identity{Firmware: "2.2", Serial: "A"}, telemetry.Identity{Firmware: "2.3", Serial: "B"}
	s.session.Identify("udara", first) // before there is a link
	if got := s.connect(0)[0].Birth.Identities["udara"]; got != first {
		t.Errorf("the first birth tells %+v", got)
	}
	s.ack()
	s.sample(1, "udara", num("pm2_5", 1))
	s.take(s.session.Wake(s.at()))
	s.ack()
	s.session.Identify("udara", first)
	if a := s.session.Wake(s.at()); len(a) > 0 {
		t.Errorf("nothing new, and yet %+v", a)
	}
	s.session.Identify("udara", other)
	s.sample(1, "udara", num("pm2_5", 2))
	a := s.take(s.session.Wake(s.at()))
	if len(a) != 2 || a[0].Birth == nil || a[0].Birth.Identities["udara"] != other || len(data(a)) != 1 {
		t.Fatalf("want the birth, then the values of the part that it names: %+v", a)
	}
	s.ack()
	if got := s.connect(1)[0].Birth.Identities["udara"]; got != other {
		t.Errorf("after a reconnect: %+v", got)
	}
	s.session.Identify("udara", telemetry.Identity{})
	birth := s.take(s.session.Wake(s.at()))[0]
	var p sparkplug.Payload
	if err := sparkplug.Decode(birth.Payload, &p); err != nil {
		t.Fatal(err)
	}
	if p.Names("udara/" + sparkplug.MetricSerial) {
		t.Error("a part that tells nothing has the serial number of the one before")
	}
}

func TestLingerWaitsForCompany(t *testing.T) {
	s := newScript(t, func(o *SessionOptions) { o.Limit.Linger = 10 * time.Second })
	s.kernel(0)
	s.connect(0)
	s.ack()
	s.sample(3, "udara", num("pm2_5", 1))
	if a := s.take(s.session.Wake(s.at())); len(a) > 0 {
		t.Errorf("sent at once: %+v", a)
	}
	at, ok := s.session.Due()
	if !ok {
		t.Fatal("nothing due")
	}
	s.clock.Store(int64(at))
	if a := data(s.take(s.session.Wake(s.at()))); len(a) != 1 || a[0].Run.Count != 3 {
		t.Errorf("sent %+v", a)
	}
}

func TestBackoffIsFullJitterAndLeavesAFullServerAlone(t *testing.T) {
	b := backoff{first: 5 * time.Second, most: 2 * time.Minute}
	if d := b.next(false, 0.999); d > 5*time.Second {
		t.Errorf("first %v", d)
	}
	for range 10 {
		b.next(false, 0.5)
	}
	if d := b.next(false, 0); d != 0 {
		t.Errorf("full jitter begins at 0, not %v", d)
	}
	if d := b.next(false, 0.999); d < 115*time.Second || d > 2*time.Minute {
		t.Errorf("longest %v", d)
	}
	for _, r := range []float64{0, 0.5, 0.999} {
		b.reset()
		if d := b.next(true, r); d < time.Minute || d > 2*time.Minute {
			t.Errorf("busy server: %v", d)
		}
	}
}
