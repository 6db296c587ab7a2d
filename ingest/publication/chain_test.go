package publication_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/ingest/journal"
	"github.com/pantau-id/pantau/ingest/publication"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/figures"
	"github.com/pantau-id/pantau/internal/influxtest"
	"github.com/pantau-id/pantau/internal/places"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

var databases atomic.Int64

func TestMain(m *testing.M) {
	if dir := os.Getenv(killed); dir != "" {
		fmt.Println(computeUntilKilled(dir))
		os.Exit(1)
	}
	os.Exit(influxtest.Run(m))
}

// chain is the way from the journal to the book, all of it real: journal, ingest,
// InfluxDB, places.
type chain struct {
	t       testing.TB
	dir     string
	journal *journal.Journal
	db      *influx.Client
	places  *places.Store
	book    *publication.Book
	ingest  *ingest.Ingest

	mu    sync.Mutex
	ahead time.Duration // of the tests' clock before Noon + what has passed
	began time.Time
	last  uint64

	catchUp time.Duration
}

func newChain(t testing.TB, sites ...places.Site) *chain {
	t.Helper()
	server := influxtest.Shared(t)
	var err error
	c := &chain{t: t, dir: t.TempDir(), began: time.Now()}
	if c.db, err = influx.New(influx.Options{URL: server.URL, Prefix: fmt.Sprintf("book_%d", databases.Add(1))}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.db.Close)
	if c.journal, err = journal.Open(ctx, journal.Options{Dir: filepath.Join(c.dir, "journal"), MaxBytes: 256 << 20, Reserve: 1 << 20, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.must(c.journal.Close(ctx)) })
	c.places, err = places.Open(ctx, places.Options{KV: c.kv("places"), Logger: slog.New(slog.DiscardHandler), Now: c.now,
		Changed: func(site string, from, to time.Time) {
			if b := c.book; b != nil {
				b.PlaceChanged(site, from, to)
			}
		}})
	c.must(err)
	t.Cleanup(func() { c.must(c.places.Close(ctx)) })
	for _, s := range sites {
		c.must(c.places.PutSite(ctx, s))
	}
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *chain) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) kv(name string) *journal.KV {
	c.t.Helper()
	kv, err := c.journal.KV(ctx, name, journal.KVOptions{})
	c.must(err)
	return kv
}

func (c *chain) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return noon.Add(c.ahead + time.Since(c.began))
}

func (c *chain) pass(d time.Duration) {
	c.mu.Lock()
	c.ahead += d
	c.mu.Unlock()
}

func (c *chain) start() {
	c.t.Helper()
	var err error
	c.book, err = publication.Open(ctx, publication.Options{Dir: c.dir, KV: c.kv("publication"), Places: c.places, Database: c.db,
		Now: c.now, Rest: 20 * time.Millisecond, CatchUp: c.catchUp, Logger: slog.New(slog.DiscardHandler)})
	c.must(err)
	c.ingest, err = ingest.New(ingest.Options{Journal: c.journal, StateDir: filepath.Join(c.dir, "state"), Influx: c.db, DeadLetters: c.kv("letters"),
		HoursWritten: c.book.Mark, Now: c.now, Logger: slog.New(slog.DiscardHandler)})
	c.must(err)
	c.must(c.ingest.Start(ctx))
	c.must(c.book.Start())
}

func (c *chain) stop() {
	c.t.Helper()
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if c.ingest == nil {
		return
	}
	c.must(c.ingest.Stop(wait))
	c.must(c.book.Close(wait))
	c.ingest = nil
}

// until polls for a state that other goroutines bring about.
func (c *chain) until(what string, is func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			s, err := c.book.Status(ctx)
			c.t.Fatalf("%s: not within two minutes; ingest %+v, book %+v, %v", what, c.ingest.Status(ctx), s, err)
		case <-tick.C:
		}
	}
}

func (c *chain) put(packets ...*envelope.Packet) {
	c.t.Helper()
	var body []byte
	for _, p := range packets {
		body = envelope.AppendPacket(body, p)
	}
	var err error
	c.last, err = c.journal.Append(ctx, body)
	c.must(err)
}

// rest waits until everything that came is in figures. The clock passes what
// InfluxDB's longest write would take; any packet wakes the worker.
func (c *chain) rest(waker *envelope.Packet) {
	c.t.Helper()
	c.until("stored", func() bool { return c.ingest.Status(ctx).Readers[0].Durable >= c.last })
	c.pass(time.Minute)
	c.put(waker)
	c.until("all hours computed", func() bool {
		return c.ingest.Status(ctx).Readers[0].Durable >= c.last && c.ingest.Status(ctx).DirtyHours == 0
	})
	c.settled()
}

func (c *chain) settled() {
	c.t.Helper()
	c.until("the book has come to rest", func() bool {
		s, err := c.book.Status(ctx)
		return err == nil && s.HoursWaiting+s.FiguresWaiting == 0
	})
}

// gateway plays one of our gateways.
type gateway struct {
	node  telemetry.Node
	birth sparkplug.Birth
	enc   sparkplug.Encoder
	seq   uint64
	at    time.Time
}

func newGateway(id string, at time.Time, interval time.Duration, quantities ...string) *gateway {
	g := &gateway{node: telemetry.Node{Group: "3374", ID: id}, at: at}
	g.birth = sparkplug.Birth{Wire: 1, BdSeq: 1, HasBdSeq: true, Version: "test", Epochs: []telemetry.EpochFloor{{Epoch: 7, Lowest: 1}}}
	for i, q := range quantities {
		known, _ := telemetry.Lookup(q)
		g.birth.Definitions = append(g.birth.Definitions, sparkplug.Definition{Alias: uint64(i + 1), HasAlias: true, Device: "air", Quantity: q, Type: sparkplug.TypeDouble, Unit: known.Unit, Interval: interval})
	}
	return g
}

func (g *gateway) packet(t sparkplug.MessageType, body []byte) *envelope.Packet {
	return &envelope.Packet{Received: g.at.UnixNano(), Client: g.node.String(), Session: 1, Topic: sparkplug.Topic{Type: t, Node: g.node}.String(), Payload: body}
}

func (g *gateway) nbirth() *envelope.Packet {
	return g.packet(sparkplug.NBIRTH, sparkplug.AppendBirth(nil, g.at.UnixMilli(), 0, &g.birth))
}

// data is record number of the gateway: its quantities at a time; NaN is a gap.
func (g *gateway) data(number uint64, at time.Time, values ...float64) *envelope.Packet {
	r := telemetry.Record{Number: number, Device: "air", Time: at.UnixMilli()}
	for i, v := range values {
		reading := telemetry.Reading{Quantity: g.birth.Definitions[i].Quantity, Value: telemetry.Num(v)}
		if math.IsNaN(v) {
			reading = telemetry.Reading{Quantity: reading.Quantity, Gap: telemetry.GapChecksum}
		}
		r.Readings = append(r.Readings, reading)
	}
	run := telemetry.Run{Epoch: 7, First: number, Count: 1, Clock: telemetry.ClockID{Epoch: 7, Counter: 1}, Quality: telemetry.TimeNTP, Floor: 1, Backlog: true}
	g.seq++
	body, err := g.enc.AppendData(nil, g.at.UnixMilli(), g.seq&0xff, run, []telemetry.Record{r}, func(_, quantity string) (uint64, bool) {
		for _, d := range g.birth.Definitions {
			if d.Quantity == quantity {
				return d.Alias, true
			}
		}
		return 0, false
	})
	if err != nil {
		panic(err)
	}
	return g.packet(sparkplug.NDATA, body)
}

// said is what the book says of some sites, without when and how often it was
// computed.
func (c *chain) said(from, to time.Time, sites ...string) []string {
	c.t.Helper()
	var out []string
	for _, site := range sites {
		hours, err := c.book.Hours(ctx, site, nil, from, to)
		c.must(err)
		for _, h := range hours {
			h.Version, h.Computed = 0, time.Time{}
			out = append(out, fmt.Sprintf("%+v", h))
		}
		for _, kind := range []figures.Kind{figures.Hourly, figures.Daily} {
			all, err := c.book.Span(ctx, kind, site, from, to)
			c.must(err)
			for _, f := range all {
				trace, err := c.book.Trace(ctx, f.ID)
				c.must(err)
				if again, err := trace.Recompute(); err != nil || again.Hash != f.Hash {
					c.t.Fatalf("%s is not what its trace gives: %v", f.ID, err)
				}
				f.ID, f.Hash, f.Revision, f.Reason, f.Computed, f.Published = "", "", 0, "", time.Time{}, time.Time{}
				out = append(out, fmt.Sprintf("%+v", f))
			}
		}
	}
	return out
}

// DESIGN 13: a week of history in random order, twice, with stops in between, ends
// with the hours and figures of the same week in order.
func TestAWeekInRandomOrderTwiceWithStopsInBetween(t *testing.T) {
	from := hour.Add(-7 * 24 * time.Hour)
	r := rand.New(rand.NewPCG(1, 2))
	values := map[string][]float64{}
	for _, id := range []string{"gw-1", "gw-2"} {
		for range 7 * 24 * 6 {
			v := math.Round(600*r.ExpFloat64()) / 10
			if r.IntN(20) == 0 {
				v = math.NaN()
			}
			values[id] = append(values[id], v)
		}
	}
	run := func(mix bool) []string {
		c := newChain(t, smg, solo)
		c.must(c.places.PutDeployment(ctx, places.Deployment{Site: "smg-1", Node: telemetry.Node{Group: "3374", ID: "gw-1"}, Device: "air"}))
		c.must(c.places.PutDeployment(ctx, places.Deployment{Site: "solo-1", Node: telemetry.Node{Group: "3374", ID: "gw-2"}, Device: "air"}))
		var packets []*envelope.Packet
		var waker *envelope.Packet
		for _, id := range []string{"gw-1", "gw-2"} {
			g := newGateway(id, c.now(), 10*time.Minute, "pm2_5", "so2_ppb")
			c.put(g.nbirth())
			for i, v := range values[id] {
				if id == "gw-2" && i/6 >= 60 && i/6 < 70 {
					continue // ten hours of silence
				}
				packets = append(packets, g.data(uint64(i+1), from.Add(time.Duration(i+1)*10*time.Minute-time.Minute), v, v/3))
			}
			waker = packets[len(packets)-1]
		}
		for round := range 2 {
			if mix {
				r.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
			} else if round > 0 {
				break
			}
			for n, i := 0, 0; i < len(packets); n, i = n+1, i+100 {
				c.put(packets[i:min(i+100, len(packets))]...)
				if mix && n%5 == 4 {
					c.stop()
					c.start()
				}
			}
		}
		c.rest(waker)
		return c.said(from, c.now(), "smg-1", "solo-1")
	}
	inOrder, mixed := run(false), run(true)
	// Two quantities of 168 hours (158 at the second site), as many hourly figures
	// each at both (silence is figures too), seven days.
	if want := 2*168 + 2*158 + 2*168 + 2*7; len(inOrder) != want {
		t.Errorf("%d hours and figures, want %d", len(inOrder), want)
	}
	for i := range min(len(inOrder), len(mixed)) {
		if inOrder[i] != mixed[i] {
			t.Fatalf("in order %s\nmixed    %s", inOrder[i], mixed[i])
		}
	}
	if len(inOrder) != len(mixed) {
		t.Fatalf("%d in order, %d mixed", len(inOrder), len(mixed))
	}
}

// hourOf is one hour of pm2_5.
func (c *chain) hourOf(site string, end time.Time) (figures.SiteHour, bool) {
	c.t.Helper()
	h, err := c.book.Hours(ctx, site, []string{"pm2_5"}, end.Add(-time.Hour), end)
	c.must(err)
	if len(h) == 0 {
		return figures.SiteHour{}, false
	}
	return h[0], true
}

// A foreign node's particles in mg/m³ and its gas in ppm under the name of the one
// in µg/m³ are no quantities of the index: 0.2 mg/m³ is not 0.2 µg/m³, clean air.
func TestAForeignUnitIsNeverJudged(t *testing.T) {
	c := newChain(t, smg)
	node := telemetry.Node{Group: "3374", ID: "gw-1"}
	c.must(c.places.PutDeployment(ctx, places.Deployment{Site: "smg-1", Node: node, Device: "air"}))
	g := newGateway("gw-1", c.now(), 10*time.Minute, "pm2_5", "no2", "pm10")
	g.birth.Definitions[0].Unit, g.birth.Definitions[1].Unit = "mg/m3", "mg/m3"
	from := hour.Add(-30 * time.Hour)
	packets := []*envelope.Packet{g.nbirth()}
	for i := range 30 * 6 {
		packets = append(packets, g.data(uint64(i+1), from.Add(time.Duration(i)*10*time.Minute+time.Minute), 0.2, 0.1, 30))
	}
	c.put(packets...)
	c.rest(packets[len(packets)-1])
	if f := figure(t, c.book, figures.Hourly, "smg-1", hour); len(f.Parts) != 1 || f.Parts[0].Parameter != figures.PM10 {
		t.Errorf("judged was %+v, want only PM10", f.Parts)
	}
	hours, err := c.book.Hours(ctx, "smg-1", nil, hour.Add(-time.Hour), hour)
	c.must(err)
	for _, h := range hours {
		if q, ok := telemetry.Lookup(h.Quantity); ok && q.Name != "pm10" {
			t.Errorf("%g mg/m³ stand as %s in %s", h.Mean, q.Name, q.Unit)
		}
	}
	if len(hours) != 3 {
		t.Errorf("kept are %d quantities, want all 3", len(hours))
	}
}

// A station that does not say how often it reads has an hour from a single reading
// on, until its deployment says it: then the gate of 75 % holds for it, too.
func TestAnIntervalThatTheDeploymentSays(t *testing.T) {
	c := newChain(t, smg)
	hang := places.Deployment{ID: "d1", Site: "smg-1", Node: telemetry.Node{Group: "3374", ID: "gw-1"}, Device: "air"}
	c.must(c.places.PutDeployment(ctx, hang))
	g := newGateway("gw-1", c.now(), 0, "pm2_5")
	packets := []*envelope.Packet{g.nbirth()}
	from := hour.Add(-30 * time.Hour)
	number := uint64(0)
	for h := range 30 {
		for m := range 6 {
			if h%2 == 0 || m == 0 { // every other hour only one of six
				number++
				packets = append(packets, g.data(number, from.Add(time.Duration(h)*time.Hour+time.Duration(10*m+1)*time.Minute), 40))
			}
		}
	}
	c.put(packets...)
	c.rest(packets[len(packets)-1])
	if f := figure(t, c.book, figures.Hourly, "smg-1", hour); !f.OK || f.Parts[0].Hours != 24 {
		t.Errorf("without an interval all hours count: %+v", f)
	}
	hang.Interval = 600
	c.must(c.places.PutDeployment(ctx, hang))
	c.settled()
	if h, _ := c.hourOf("smg-1", hour); h.Expected != 6 || h.Valid != 1 {
		t.Errorf("the hour has %d of %d", h.Valid, h.Expected)
	}
	if f := figure(t, c.book, figures.Hourly, "smg-1", hour); f.OK || f.Parts[0].Hours != 12 || f.Reason != figures.Deployment {
		t.Errorf("with one, half of them do not: %+v", f)
	}
}

func TestDeploymentsAndMarksThatCutAnHour(t *testing.T) {
	c := newChain(t, smg, solo)
	one := telemetry.Node{Group: "3374", ID: "gw-1"}
	two := telemetry.Node{Group: "3374", ID: "gw-2"}
	c.must(c.places.PutDeployment(ctx, places.Deployment{ID: "d1", Site: "smg-1", Node: one, Device: "air"}))
	// 30 hours of two gateways: gw-1 reads 10, gw-2 reads 40, each minute.
	from := hour.Add(-30 * time.Hour)
	var waker *envelope.Packet
	for id, value := range map[string]float64{"gw-1": 10, "gw-2": 40} {
		g := newGateway(id, c.now(), time.Minute, "pm2_5")
		packets := []*envelope.Packet{g.nbirth()}
		for m := range 30 * 60 {
			packets = append(packets, g.data(uint64(m+1), from.Add(time.Duration(m)*time.Minute+30*time.Second), value))
		}
		waker = packets[len(packets)-1]
		c.put(packets...)
	}
	c.rest(waker)
	if h, ok := c.hourOf("smg-1", hour.Add(-10*time.Hour)); !ok || h.Mean != 10 || h.Valid != 60 || h.Expected != 60 {
		t.Fatalf("whole hour: %+v, %v", h, ok)
	}
	if h, ok := c.hourOf("solo-1", hour); ok {
		t.Errorf("nothing hangs there, and there is %+v", h)
	}
	first := figure(t, c.book, figures.Hourly, "smg-1", hour)

	// The gateway is replaced in the middle of an hour, noted afterwards.
	change := hour.Add(-5*time.Hour - 45*time.Minute)
	c.must(c.places.Apply(ctx, places.Change{Deployments: []places.Deployment{
		{ID: "d1", Site: "smg-1", Node: one, Device: "air", To: change},
		{ID: "d2", Site: "smg-1", Node: two, Device: "air", From: change},
	}}))
	c.settled()
	if h, _ := c.hourOf("smg-1", hour.Add(-5*time.Hour)); h.Valid != 60 || h.Expected != 60 || h.Mean != (15*10+45*40)/60. || h.Min != 10 || h.Max != 40 || len(h.Sources) != 2 {
		t.Errorf("the hour of the change: %+v", h)
	}
	if h, _ := c.hourOf("smg-1", hour); h.Mean != 40 || h.Sources[0].Node != two {
		t.Errorf("after the change: %+v", h)
	}
	if f := figure(t, c.book, figures.Hourly, "smg-1", hour); f.Revision == 0 || f.Reason != figures.Deployment || f.Parts[0].Hours != 24 {
		t.Errorf("%+v", f)
	}
	proves(t, c.book, first)

	// The second gateway was in Solo all the time: both sites are computed anew.
	c.must(c.places.Apply(ctx, places.Change{Deployments: []places.Deployment{{ID: "d2", Site: "solo-1", Node: two, Device: "air", From: change}}}))
	c.settled()
	if h, ok := c.hourOf("smg-1", hour); ok {
		t.Errorf("what was never there stays: %+v", h)
	}
	if h, _ := c.hourOf("solo-1", hour); h.Mean != 40 || h.Valid != 60 {
		t.Errorf("solo: %+v", h)
	}
	if h, _ := c.hourOf("smg-1", hour.Add(-5*time.Hour)); h.Valid != 15 || h.Expected != 15 || h.Mean != 10 {
		t.Errorf("the hour in which it ended: %+v", h)
	}
	if h, _ := c.hourOf("solo-1", hour.Add(-5*time.Hour)); h.Valid != 45 || h.Expected != 45 {
		t.Errorf("the hour in which it began: %+v", h)
	}

	// A validator takes out a span that cuts an hour at each end, and lets part of
	// it count again.
	mark := func(from, to time.Time, invalid bool, code string) figures.Mark {
		m, err := c.book.AddMark(ctx, figures.Mark{Site: "solo-1", Quantity: "pm2_5", From: from, To: to, Invalid: invalid, Code: code, By: "validator"})
		c.must(err)
		return m
	}
	m := mark(hour.Add(-3*time.Hour-20*time.Minute), hour.Add(-50*time.Minute), true, "calibration")
	c.settled()
	for end, want := range map[time.Time][2]int{hour.Add(-3 * time.Hour): {40, 20}, hour.Add(-2 * time.Hour): {0, 60}, hour.Add(-time.Hour): {0, 60}, hour: {50, 10}} {
		if h, _ := c.hourOf("solo-1", end); h.Valid != want[0] || h.Rejected["calibration"] != want[1] || h.Expected != 60 || len(h.Marks) != 1 || h.Marks[0] != m.ID {
			t.Errorf("%s: %+v, want %v", end.In(figures.WIB), h, want)
		}
	}
	mark(hour.Add(-2*time.Hour), hour.Add(-time.Hour), false, "checked")
	c.settled()
	if h, _ := c.hourOf("solo-1", hour.Add(-time.Hour)); h.Valid != 60 || h.Rejected != nil || h.Marks != nil {
		t.Errorf("valid again: %+v", h)
	}
}

// A server that was off does not tell citizens that nothing was measured before the
// gateways have sent what they kept.
func TestSilenceIsNotJudgedRightAfterAStart(t *testing.T) {
	c := newChain(t, smg)
	c.must(c.places.PutDeployment(ctx, places.Deployment{Site: "smg-1", Node: telemetry.Node{Group: "3374", ID: "gw-1"}, Device: "air"}))
	g := newGateway("gw-1", c.now(), 10*time.Minute, "pm2_5")
	record := func(i int) *envelope.Packet {
		return g.data(uint64(i+1), hour.Add(time.Duration(i-24*6)*10*time.Minute+time.Minute), 35)
	}
	packets := []*envelope.Packet{g.nbirth()}
	for i := range 24 * 6 {
		packets = append(packets, record(i))
	}
	c.put(packets...)
	c.rest(packets[1])
	c.stop()
	c.pass(6 * time.Hour)
	c.start()
	packets, g.at = packets[:0], c.now()
	for i := range 6 * 6 {
		packets = append(packets, record(24*6+i))
	}
	c.put(packets...)
	c.rest(packets[0])
	f := figure(t, c.book, figures.Hourly, "smg-1", hour.Add(5*time.Hour))
	if !f.OK || f.Revision != 0 || f.Parts[0].Hours != 24 {
		t.Errorf("%+v", f)
	}
	c.stop()
	c.pass(6 * time.Hour)
	c.catchUp = time.Nanosecond
	c.start()
	c.until("silence is judged", func() bool {
		f, ok, err := c.book.Figure(ctx, figures.Hourly, "smg-1", hour.Add(11*time.Hour))
		return err == nil && ok && !f.OK && f.Parts[0].Age == 5
	})
}
