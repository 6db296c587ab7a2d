package simulation

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// longestWrite is how long after its start a write without an answer may land.
const longestWrite = 60 * second

// answer is what the database says to a write.
type answer uint8

const (
	answerYes     answer = iota
	answerAway           // nothing was taken
	answerNone           // no answer: it may land
	answerRefused        // a point in it is bad
)

// database is InfluxDB: fields by a point's key, rows by theirs.
type database struct {
	w      *world
	points map[string]*point
	byHour map[hourKey][]*point
	rows   map[rowKey]influx.Row
	down   bool
	slow   bool
	poison map[float64]bool // samples whose points it refuses
}

type point struct {
	key    string // measurement and tags
	kind   telemetry.Kind
	node   telemetry.Node
	device string
	time   int64 // ns
	fields map[string]string
}

type hourKey struct {
	node telemetry.Node
	hour int64
}

type rowKey struct {
	kind             telemetry.Kind
	node             telemetry.Node
	device, quantity string
	start            int64
	site             int // only with H8's omission
}

func newDatabase(w *world) *database {
	d := &database{w: w, points: map[string]*point{}, byHour: map[hourKey][]*point{}, rows: map[rowKey]influx.Row{}, poison: map[float64]bool{}}
	w.every(w.mix.influxDown, func() {
		w.note("the database is down")
		d.down = true
		w.after(w.between(5*second, 15*minute), func() { d.down = false })
	})
	w.every(w.mix.influxSlow, func() {
		w.note("the database is slow")
		d.slow = true
		w.after(w.between(30*second, 10*minute), func() { d.slow = false })
	})
	if w.mix.poison {
		for i := range w.mix.gateways {
			d.poison[float64(i*100_000+1+w.rng.IntN(200))] = true
		}
	}
	return d
}

func (d *database) heal() { d.down, d.slow = false, false }

// ask decides what becomes of a write: land does it, answered hears of it, but
// for a share that is lost.
func (d *database) ask(lost float64, land func(), answered func(answer)) {
	w := d.w
	switch {
	case d.down && !w.calm:
		w.after(w.between(1, 50), func() { answered(answerAway) })
	case !w.calm && (w.chance(lost) || d.slow && w.chance(0.3)):
		if w.chance(0.7) {
			w.after(w.between(0, longestWrite-second), land)
		}
		w.after(10*second, func() { answered(answerNone) })
	default:
		took := w.between(5, 200)
		if d.slow {
			took = w.between(second, 9*second)
		}
		w.after(took/2, land)
		w.after(took, func() { answered(answerYes) })
	}
}

// write takes line protocol. A bad point refuses the whole, though some of it
// may be taken.
func (d *database) write(lines []byte, answered func(answer)) {
	text := string(lines)
	refused := false
	var good strings.Builder
	for line := range strings.Lines(text) {
		if d.isPoison(line) {
			refused = true
		} else {
			good.WriteString(line)
		}
	}
	if !refused {
		d.ask(d.w.mix.writeLost, func() { d.land(text) }, answered)
		return
	}
	part := ""
	if d.w.chance(0.5) {
		part = good.String()
	}
	d.ask(d.w.mix.writeLost, func() { d.land(part) }, func(a answer) {
		if a == answerYes {
			a = answerRefused
		}
		answered(a)
	})
}

func (d *database) isPoison(line string) bool {
	if len(d.poison) == 0 {
		return false
	}
	_, fields, _ := parseLine(line)
	id, ok := markOf(fields)
	return ok && d.poison[id]
}

func parseLine(line string) (key string, fields map[string]string, at int64) {
	parts := strings.Fields(line)
	at, _ = strconv.ParseInt(parts[2], 10, 64)
	fields = map[string]string{}
	for f := range strings.SplitSeq(parts[1], ",") {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = strings.Trim(value, `"`)
	}
	return parts[0], fields, at
}

// markOf finds the sample that a point came from.
func markOf(fields map[string]string) (float64, bool) {
	for _, name := range []string{idOfAir, idOfMeter} {
		for _, suffix := range []string{"", "_rejected"} {
			if v, ok := fields[name+suffix]; ok {
				id, err := strconv.ParseFloat(v, 64)
				return id, err == nil
			}
		}
	}
	return 0, false
}

// land stores points. A field that is there already must not change: readings
// are acknowledged once.
func (d *database) land(text string) {
	for line := range strings.Lines(text) {
		key, fields, at := parseLine(line)
		full := key + " " + strconv.FormatInt(at, 10)
		p := d.points[full]
		if p == nil {
			p = &point{key: key, time: at, fields: map[string]string{}}
			tags := strings.Split(key, ",")
			p.kind = telemetry.Kind(tags[0])
			for _, t := range tags[1:] {
				switch name, value, _ := strings.Cut(t, "="); name {
				case "device":
					p.device = value
				case "gateway":
					p.node.ID = value
				case "group":
					p.node.Group = value
				}
			}
			d.points[full] = p
			h := hourKey{p.node, at / 1e6 / hour}
			d.byHour[h] = append(d.byHour[h], p)
		}
		for name, value := range fields {
			if old, ok := p.fields[name]; ok && old != value && !strings.HasSuffix(name, "_flag") {
				d.w.fault("a stored value is altered: %s %s from %s to %s", full, name, old, value)
			}
			p.fields[name] = value
		}
	}
}

// reading reads a point back: a rejected value wins over a valid one.
func (p *point) readings() []telemetry.Reading {
	out := make([]telemetry.Reading, 0, 2) // a part measures no more
	number := func(name string) float64 {
		v, err := strconv.ParseFloat(p.fields[name], 64)
		if err != nil {
			return math.NaN()
		}
		return v
	}
	for _, q := range []string{"pm2_5", "temperature", idOfAir, "voltage", idOfMeter, "energy"} {
		r := telemetry.Reading{Quantity: q}
		_, rejected := p.fields[q+"_rejected"]
		_, valid := p.fields[q]
		gap, isGap := p.fields[q+"_gap"]
		switch {
		case rejected:
			r.Value = telemetry.Num(number(q + "_rejected"))
			r.Flag, _ = telemetry.ParseFlag(p.fields[q+"_flag"])
		case valid:
			r.Value = telemetry.Num(number(q))
			if _, mean := p.fields[q+"_n"]; mean {
				r.Count, r.Min, r.Max = uint32(number(q+"_n")), number(q+"_min"), number(q+"_max")
			}
		case isGap:
			r.Gap = telemetry.GapReason(gap)
		default:
			continue
		}
		out = append(out, r)
	}
	return out
}

// readHour hands out the points of an hour.
func (d *database) readHour(n telemetry.Node, h int64, fn func(*influx.Point)) {
	for _, p := range d.byHour[hourKey{n, h}] {
		fn(&influx.Point{Kind: p.kind, Node: p.node, Device: p.device, Time: p.time, Readings: p.readings()})
	}
}

func (d *database) landRows(rows []influx.Row, site int) {
	for _, r := range rows {
		key := rowKey{r.Kind, r.Node, r.Device, r.Quantity, r.Start.UnixMilli(), site}
		if newer, ok := d.rows[key]; ok && newer.Computed.After(r.Computed) && !sameRow(newer, r) && !d.marked(r.Node, key.start/hour) {
			d.w.fault("an old row lands over a newer one of %s, %v/%s/%s, and the hour is not marked any more", stamp(key.start), r.Node, r.Device, r.Quantity)
		}
		d.rows[key] = r
	}
}

// marked says whether an hour is marked in the store's checkpoint.
func (d *database) marked(n telemetry.Node, h int64) bool {
	key := binary.BigEndian.AppendUint64([]byte("hours\x00"+n.Group+"\x00"+n.ID+"\x00"), uint64(h))
	_, ok := d.w.server.file("store").rows[string(key)]
	return ok
}

// sameRow compares all but when it was computed.
func sameRow(a, b influx.Row) bool {
	a.Computed, b.Computed = time.Time{}, time.Time{}
	for _, x := range []*influx.Row{&a, &b} {
		for _, v := range []*float64{&x.Mean, &x.Min, &x.Max, &x.First, &x.Last, &x.Increase, &x.Resets, &x.Sum} {
			if math.IsNaN(*v) {
				*v = -1e300
			}
		}
	}
	return a == b
}
