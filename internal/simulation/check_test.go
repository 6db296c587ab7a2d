package simulation

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/alert"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// check compares all that is kept with what really happened.
func (w *world) check() {
	where := w.checkPoints()
	w.checkLedger(where)
	w.checkLatest()
	w.checkHours()
	w.checkAlerts()
	w.checkSilence()
}

// verdict is what the rules in force at a sighting say of a value.
func (s *sighting) verdict(r *telemetry.Reading) telemetry.Flag {
	switch {
	case r.Flag != telemetry.FlagNone:
		return r.Flag
	case s.time > s.received+5*minute:
		return telemetry.FlagTimeFuture
	case r.Quantity == "pm2_5" && r.Value.Number > qualityMax[s.rules%len(qualityMax)]:
		return telemetry.FlagRange
	}
	return telemetry.FlagNone
}

// checkPoints: every point came from one sample, says what it said at the right
// time, and no sample has two.
func (w *world) checkPoints() map[*truth]*point {
	where := map[*truth]*point{}
	clocks := map[telemetry.Node]map[int64]telemetry.ClockID{}
	for _, key := range slices.Sorted(maps.Keys(w.db.points)) {
		p := w.db.points[key]
		id, ok := markOf(p.fields)
		t := w.model.byID[id]
		if !ok || t == nil {
			w.fault("the point %s came from no sample: %v", key, p.fields)
			continue
		}
		if other := where[t]; other != nil {
			w.fault("%v is stored twice: %s %d and %s %d", t, other.key, other.time, p.key, p.time)
			continue
		}
		where[t] = p
		if p.node != t.g.node || p.device != t.device {
			w.fault("%v is stored as of %v/%s", t, p.node, p.device)
		}
		if len(t.seen) == 0 {
			w.fault("%v is stored and was never in the journal", t)
			continue
		}
		at, number := p.time/1e6, p.time%1e6
		by := clocks[p.node]
		if by == nil {
			by = map[int64]telemetry.ClockID{}
			clocks[p.node] = by
		}
		for _, s := range t.seen {
			if s.time != at {
				w.fault("%v is stored at %s, and the journal says %s", t, stamp(at), stamp(s.time))
			}
			if c, known := by[number]; known && c != s.clock && !w.omit.ingest.ClockNotInKey {
				w.fault("clock ids %v and %v of %v have one number", c, s.clock, p.node)
			}
			by[number] = s.clock
		}
		w.checkTime(t, at)
		w.checkFields(t, p)
	}
	return where
}

// checkTime: the time is that of the mapping by which the sample had to be
// stamped, the one in force when it was taken or else the first of its boot.
func (w *world) checkTime(t *truth, at int64) {
	used := t.seen[0].clock
	m, ok := w.model.mappings[used]
	if !ok {
		return // checkSent has said so
	}
	if t.clock.Epoch != 0 && used != t.clock {
		w.fault("%v is stamped by %v, not by %v", t, used, t.clock)
	}
	if want := t.boottime + m.Offset; at != want {
		w.fault("%v is stored at %s, want %s", t, stamp(at), stamp(want))
	}
}

// checkFields: the fields are those of the sample under the verdicts that it
// got.
func (w *world) checkFields(t *truth, p *point) {
	want := map[string][]string{}
	add := func(name, value string) {
		if !slices.Contains(want[name], value) {
			want[name] = append(want[name], value)
		}
	}
	text := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for i := range t.readings {
		r := &t.readings[i]
		if r.Gap != telemetry.GapNone {
			add(r.Quantity+"_gap", string(r.Gap))
			continue
		}
		for _, s := range t.seen {
			if f := s.verdict(r); f != telemetry.FlagNone {
				add(r.Quantity+"_rejected", text(r.Value.Number))
				add(r.Quantity+"_flag", f.String())
				continue
			}
			add(r.Quantity, text(r.Value.Number))
			if r.Count > 1 {
				add(r.Quantity+"_n", text(float64(r.Count)))
				add(r.Quantity+"_min", text(r.Min))
				add(r.Quantity+"_max", text(r.Max))
			}
		}
	}
	for name, values := range want {
		got, ok := p.fields[name]
		if v, err := strconv.ParseFloat(got, 64); err == nil {
			got = text(v)
		}
		if !ok || !slices.Contains(values, got) {
			w.fault("%v: field %s is %q, want %v (stored: %v)", t, name, got, values, p.fields)
		}
	}
	for name, value := range p.fields {
		if want[name] == nil {
			w.fault("%v: field %s=%s should not be there", t, name, value)
		}
	}
}

// checkLedger: what is not in the database is named, with a reason that fits
// what happened; what is there counts as stored.
func (w *world) checkLedger(where map[*truth]*point) {
	ledger := w.server.readers.books.Ledger
	lettered := map[number]bool{}
	for _, l := range w.server.letters {
		for _, x := range l.Numbers {
			for n := x[0]; n <= x[1]; n++ {
				lettered[number{l.Node, l.Epoch, n}] = true
			}
		}
	}
	for _, t := range w.model.all {
		status, reason := ledger.Status(t.g.node, t.epoch, t.number)
		if where[t] != nil {
			if status < ingest.Stored {
				w.fault("%v is in the database, and the ledger says %v %s", t, status, reason)
			}
			continue
		}
		switch {
		case lettered[number{t.g.node, t.epoch, t.number}] && w.db.poison[t.id]:
			if status != ingest.DeadLetter {
				w.fault("%v is a dead letter, and the ledger says %v %s", t, status, reason)
			}
		case t.acked:
			w.fault("%v was acknowledged and is not in the database; the ledger says %v %s", t, status, reason)
		case len(t.seen) > 0:
			w.fault("%v was in the journal and is not in the database; the ledger says %v %s", t, status, reason)
		case status >= ingest.Stored:
			w.fault("%v is not in the database, and the ledger says %v", t, status)
		case !t.durable || t.gone:
		case status != ingest.Lost:
			// A damaged card may have held the only word of it: a loss record of an
			// epoch that never reached the server.
			if !t.g.decayed {
				w.fault("%v was on the card and is nowhere; the ledger says %v", t, status)
			}
		default:
			w.checkLoss(t, reason)
		}
	}
	for _, g := range w.gateways {
		if n := ledger.Node(g.node); n.Missing > 0 {
			w.fault("%v: %d numbers are still missing: %+v %+v", g.node, n.Missing, n, ledger.Holes(g.node))
		}
	}
}

// checkLoss: nothing is lost for a reason that did not happen.
func (w *world) checkLoss(t *truth, reason telemetry.LossReason) {
	g := t.g
	ok := false
	switch reason {
	case telemetry.LossQuota:
		ok = g.dropped+g.core.Stats(0).Dropped > 0
	case telemetry.LossQuarantine:
		ok = g.damaged[t.boot]
	case telemetry.LossNoClock:
		ok = !g.mapped[t.boot] || g.damaged[t.boot]
	case telemetry.LossUnreported:
		ok = g.decayed // the loss record itself was damaged
	}
	if !ok {
		w.fault("%v was on the card and is lost, the ledger says %s", t, reason)
	}
}

// checkLatest: the newest value is that of the newest sample that came.
func (w *world) checkLatest() {
	type series struct {
		node   telemetry.Node
		device string
	}
	newest := map[series]*truth{}
	for _, t := range w.model.all {
		if len(t.seen) > 0 {
			newest[series{t.g.node, t.device}] = t
		}
	}
	got := w.server.readers.now.Since(0)
	for _, v := range got.Values {
		t := newest[series{v.Node, v.Device}]
		if t == nil {
			w.fault("latest: %v/%s/%s came from nowhere", v.Node, v.Device, v.Quantity)
			continue
		}
		i := slices.IndexFunc(t.readings, func(r telemetry.Reading) bool { return r.Quantity == v.Quantity })
		if r := &t.readings[i]; v.Number != t.number || v.Value != r.Value || v.Gap != r.Gap {
			w.fault("latest: %v/%s/%s is #%d (time %s), want %v", v.Node, v.Device, v.Quantity, v.Number, stamp(v.Time), t)
		}
	}
	if want := 3 * len(newest); len(got.Values) != want {
		w.fault("latest: %d values, want %d", len(got.Values), want)
	}
}

// checkHours: each hour's rows are those of its raw values, once.
func (w *world) checkHours() {
	want := map[rowKey]bool{}
	books := w.server.readers.books
	for h := range w.db.byHour {
		m := ingest.HourMark{Node: h.node, Hour: h.hour}
		tally := ingest.NewTally(h.node, m.Start(), time.UnixMilli(w.now).UTC(), time.Hour)
		w.db.readHour(h.node, h.hour, tally.Add)
		books.Intervals.Of(h.node, m.Start().UnixMilli(), tally.Expect)
		for _, r := range tally.Rows() {
			key := rowKey{r.Kind, r.Node, r.Device, r.Quantity, r.Start.UnixMilli(), 0}
			want[key] = true
			if got, ok := w.db.rows[key]; !ok || !sameRow(got, r) {
				w.fault("hour %s of %v/%s/%s is %+v, want %+v", stamp(key.start), r.Node, r.Device, r.Quantity, got, r)
			}
		}
	}
	for key := range w.db.rows {
		if !want[key] {
			w.fault("hour %s of %v/%s/%s has a row too many", stamp(key.start), key.node, key.device, key.quantity)
		}
	}
}

// told is what a person hears of a transition.
type told struct {
	rule  string
	on    alert.Series
	state alert.State
	time  int64
	value float64
}

func tell(t alert.Transition) told { return told{t.Rule, t.Series, t.State, t.Time, t.Value} }

// checkAlerts: the alerts are those of one reading of the whole journal without
// a fault; each was told; none came from data that are late or rejected, and
// what had to page has.
func (w *world) checkAlerts() {
	births := ingest.NewBirths(ingest.Holes{})
	feed := ingest.NewFeed(births, ingest.Holes{})
	judge := ingest.NewAlarms(alert.Omit{})
	want := map[string]alert.Transition{}
	firing := map[alert.Series]bool{} // pm-now
	threshold := alertThreshold[0]
	for i, e := range w.server.log {
		seq := uint64(i + 1)
		if e.packets == nil {
			if err := feed.Entry(seq, e.body, judge); err != nil {
				w.fault("%v", err)
			}
			for _, t := range judge.TakeTransitions() {
				want[t.Key] = t
				if t.Rule == "pm-now" {
					firing[t.Series] = t.State == alert.Firing
				}
			}
			rules, _ := judge.InForce()
			for _, r := range rules {
				if r.ID == "pm-now" {
					threshold = r.Threshold
				}
			}
			continue
		}
		if err := feed.Entry(seq, e.body, judge); err != nil {
			w.fault("%v", err)
		}
		ts := judge.TakeTransitions()
		for _, t := range ts {
			if _, again := want[t.Key]; !again {
				want[t.Key] = t
				w.checkCause(t, e.packets)
			}
		}
		for _, p := range e.packets {
			for _, s := range p.sights {
				on := alert.Series{Node: s.t.g.node, Device: s.t.device}
				mark := fmt.Sprintf("|%v|%d|", s.t.epoch, s.t.number)
				for len(ts) > 0 && ts[0].Rule != "pm-now" {
					ts = ts[1:]
				}
				if len(ts) > 0 && ts[0].Series == on && strings.Contains(ts[0].Key, mark) {
					firing[on] = ts[0].State == alert.Firing
					ts = ts[1:]
				}
				if s == s.t.seen[0] && s.mustPage(w, threshold) && !firing[on] {
					w.fault("%v is above %v, came within %d s, and nobody was paged", s.t, threshold, (s.received-s.t.at)/second)
				}
			}
		}
	}
	got := map[told]int{}
	for key, body := range w.server.book {
		var t alert.Transition
		if err := json.Unmarshal(body, &t); err != nil {
			w.fault("alert %s: %v", key, err)
			continue
		}
		got[tell(t)]++
		if w.server.told[t.Key] == 0 {
			w.fault("nobody was told of %s", t.Key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		t := want[key]
		if got[tell(t)]--; got[tell(t)] < 0 {
			w.fault("the alert %s is missing", key)
		}
	}
	for t, n := range got {
		if n > 0 {
			w.fault("an alert too many: %+v", t)
		}
	}
}

// mustPage says whether a first sighting is live, clear and in time beyond any
// doubt.
func (s *sighting) mustPage(w *world, threshold float64) bool {
	t := s.t
	i := slices.IndexFunc(t.readings, func(r telemetry.Reading) bool { return r.Quantity == "pm2_5" })
	if i < 0 || !s.newest || s.packet.conn.boot != t.boot || t.gone || t.g.damaged[t.boot] {
		return false
	}
	r := &t.readings[i]
	wrong := s.time - t.at
	return r.Gap == telemetry.GapNone && s.verdict(r) == telemetry.FlagNone && r.Value.Number > threshold &&
		s.received-t.at < 4*minute && wrong > -30*second && wrong < 30*second
}

// checkCause: a page has a reading that may page.
func (w *world) checkCause(t alert.Transition, packets []*packet) {
	if t.Condition == alert.NoData || t.State != alert.Firing {
		return
	}
	parts := strings.Split(t.Key, "|")
	n, _ := strconv.ParseUint(parts[3], 10, 64)
	epoch, _ := telemetry.ParseEpoch(parts[2])
	cause := w.model.byNumber[number{t.Series.Node, epoch, n}]
	if cause == nil {
		w.fault("alert %s has no cause", t.Key)
		return
	}
	for _, p := range packets {
		for _, s := range p.sights {
			if s.t != cause {
				continue
			}
			i := slices.IndexFunc(cause.readings, func(r telemetry.Reading) bool { return r.Quantity == t.Quantity })
			if r := &cause.readings[i]; !s.late() && s.verdict(r) == telemetry.FlagNone && r.Gap == telemetry.GapNone {
				return
			}
		}
	}
	w.fault("alert %s was caused by late or rejected data", t.Key)
}

// ran sums for how long the server ran between two times.
func (s *server) ran(from, to int64) int64 {
	var sum int64
	for _, u := range s.ups {
		end := u.to
		if end == 0 {
			end = s.w.now
		}
		if d := min(end, to) - max(u.from, from); d > 0 {
			sum += d
		}
	}
	return sum
}

// checkSilence: a gateway that is silent while the server runs is missed, and
// one whose server was away is not.
func (w *world) checkSilence() {
	s := w.server
	count := map[telemetry.Node]int{}
	for _, body := range s.book {
		var t alert.Transition
		if json.Unmarshal(body, &t) == nil && t.Condition == alert.NoData && t.State == alert.Firing {
			count[t.Series.Node]++
		}
	}
	for _, g := range w.gateways {
		heard := append(slices.Clone(s.heard[g.node]), w.now)
		must, may := 0, 0
		for i := 1; i < len(heard); i++ {
			silent := s.ran(heard[i-1], heard[i])
			longest := int64(0)
			for _, u := range s.ups {
				end := u.to
				if end == 0 {
					end = w.now
				}
				longest = max(longest, min(end, heard[i])-max(u.from, heard[i-1]))
			}
			if longest > silentFor+45*second {
				must++
			}
			if silent > silentFor-45*second {
				may++
			}
		}
		if n := count[g.node]; n < must || n > may {
			w.fault("%v was silent for more than %d s at least %d times and at most %d times, and was missed %d times", g.node, silentFor/second, must, may, n)
		}
	}
}
