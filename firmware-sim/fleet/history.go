package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// HistoryOptions say which posts to play and how far back. Server and Posts are
// required.
type HistoryOptions struct {
	Server string
	CA     []byte
	Posts  []Post
	Logins map[telemetry.Node]Credential // one for each post

	Past  time.Duration // so much of it lies in every spool at the first start; default 30 days
	State string        // file of what is acknowledged, so that a later start goes on there; "" = none
	Once  bool          // end when everything taken so far is acknowledged; false: go on until ctx ends
	Drain time.Duration // with Once: for how long at most; 0 = until ctx ends

	Window  int    // unacknowledged messages of a post; default 4
	Ledger  string // file for the lines S and A; "" = none
	Seed    uint64
	Logger  *slog.Logger // default none
	Started func()       // called once all posts have connected; may be nil
}

// HistoryResult is how far the play is.
type HistoryResult struct {
	Posts    int           `json:"posts"`
	Elapsed  time.Duration `json:"elapsed_ns"`
	Due      uint64        `json:"due"`      // records that were taken so far, since the first start
	Arrived  uint64        `json:"arrived"`  // of these, acknowledged
	Readings uint64        `json:"readings"` // acknowledged in this run
	Messages uint64        `json:"messages"` // acknowledged in this run
	Resent   uint64        `json:"resent"`   // messages that were on a link when it was cut
	Connects uint64        `json:"connects"`
	P50      time.Duration `json:"puback_p50_ns"`
	P99      time.Duration `json:"puback_p99_ns"`
	Last     string        `json:"last,omitempty"` // why a session ended last
}

// runLength is how many records a message holds: a day of a post fits in a few.
const runLength = 100

// youngest is how old a live record may be.
const youngest = 5 * time.Minute

// history is one run.
type history struct {
	o       HistoryOptions
	server  endpoint
	world   *world.World
	ledger  *ledger
	state   *stateFile
	begin   time.Time
	dials   chan struct{}
	latency histogram
	count   struct{ readings, messages, resent, connects atomic.Uint64 }

	mu    sync.Mutex
	last  error
	fatal error
	stop  context.CancelFunc
}

// RunHistory plays posts that were measuring long before anybody listened: what
// they took lies in their spools, a day an epoch, and goes out as backlog, the
// newest day first, beside what they take now. What was acknowledged is noted in
// State; without it, or if it is behind, the same records go out under the same
// numbers again, and nothing is doubled.
func RunHistory(ctx context.Context, o HistoryOptions) (HistoryResult, error) {
	if o.Past == 0 {
		o.Past = 30 * 24 * time.Hour
	}
	if o.Window == 0 {
		o.Window = 4
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	wrong := func(format string, args ...any) (HistoryResult, error) {
		return HistoryResult{}, fmt.Errorf("play the past: %w: %w", ErrOptions, fmt.Errorf(format, args...))
	}
	if len(o.Posts) == 0 {
		return wrong("no posts: name at least one")
	}
	if o.Past < 0 || o.Past > maxPast {
		return wrong("past = %v: want at most %v", o.Past, maxPast)
	}
	if o.Window < 1 || o.Window > 1000 {
		return wrong("window = %d: want 1 to 1000", o.Window)
	}
	h := &history{o: o, world: world.New(o.Seed), begin: time.Now(), dials: make(chan struct{}, maxDials)}
	var err error
	if h.server, err = target(o.Server, o.CA); err != nil {
		return wrong("server %q: %w", o.Server, err)
	}
	if h.state, err = openState(o.State, o.Seed, o.Past, h.begin); err != nil {
		return HistoryResult{}, fmt.Errorf("play the past: %w", err)
	}
	h.world.LetHazeDrift()
	if h.ledger, err = openLedger(o.Ledger); err != nil {
		return HistoryResult{}, fmt.Errorf("play the past: %w", err)
	}
	ctx, h.stop = context.WithCancel(ctx)
	defer h.stop()
	posts := make([]*playedPost, len(o.Posts))
	for i := range o.Posts {
		if posts[i], err = h.newPost(&o.Posts[i]); err != nil {
			return wrong("%w", err)
		}
	}
	r := h.result(posts, h.play(ctx, posts))
	return r, errors.Join(h.fatal, h.save(posts), h.ledger.close())
}

// result is how far the play is at a time.
func (h *history) result(posts []*playedPost, at time.Time) HistoryResult {
	r := HistoryResult{
		Posts: len(posts), Elapsed: at.Sub(h.begin), Readings: h.count.readings.Load(), Messages: h.count.messages.Load(),
		Resent: h.count.resent.Load(), Connects: h.count.connects.Load(), P50: h.latency.quantile(0.5), P99: h.latency.quantile(0.99),
	}
	for _, p := range posts {
		due, arrived := p.progress(at.UnixMilli())
		r.Due += due
		r.Arrived += arrived
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil {
		r.Last = h.last.Error()
	}
	return r
}

// saveEvery is how often what is acknowledged is noted.
const saveEvery = time.Second

// play runs all posts to the end and returns when that was: what is taken while
// they end is no part of the play.
func (h *history) play(ctx context.Context, posts []*playedPost) (end time.Time) {
	var group sync.WaitGroup
	for _, p := range posts {
		group.Go(func() { p.link(ctx) })
		group.Go(func() { p.measure(ctx) })
	}
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	started := h.o.Started
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		if err := errors.Join(h.save(posts), h.ledger.failed()); err != nil {
			h.fail(err)
		}
		if started != nil && !slices.ContainsFunc(posts, func(p *playedPost) bool { return !p.connected() }) {
			started()
			started = nil
		}
		end = time.Now()
		if r := h.result(posts, end); h.o.Once && (r.Arrived == r.Due || h.o.Drain > 0 && r.Elapsed > h.o.Drain) {
			h.stop()
			group.Wait()
			return end
		}
	}
	group.Wait()
	return time.Now()
}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fatal == nil {
		h.fatal = err
		h.stop()
	}
}

func (h *history) note(err error) {
	h.mu.Lock()
	h.last = err
	h.mu.Unlock()
	h.o.Logger.Debug("a session ended", "reason", err)
}

// playedPost is one post and its link.
type playedPost struct {
	h           *history
	post        *Post
	login       Credential
	site        world.Site
	topics      struct{ data, birth, death string }
	definitions []sparkplug.Definition
	alias       []uint64 // of an instrument's first series
	kick        chan struct{}

	mu     sync.Mutex
	days   []*day // that are not acknowledged, oldest first; the last is the running one
	past   uint64 // records of acknowledged days
	conn   net.Conn
	bdSeq  bdSeq
	seq    uint8
	flight []stretch // by packet id; day nil = free
	sent   time.Time
	encode encoding
}

// stretch is what one message holds: records a..b-1 of a day.
type stretch struct {
	d    *day
	a, b int
	at   int64 // monotonic nanoseconds of its PUBLISH
}

// encoding is memory that messages share.
type encoding struct {
	encoder      sparkplug.Encoder
	records      []telemetry.Record
	readings     []telemetry.Reading
	payload, out []byte
	lines        []byte
}

func (h *history) newPost(post *Post) (*playedPost, error) {
	login, ok := h.o.Logins[post.Node]
	if !ok {
		return nil, fmt.Errorf("post %v has no login", post.Node)
	}
	topic := func(t sparkplug.MessageType) string { return sparkplug.Topic{Type: t, Node: post.Node}.String() }
	p := &playedPost{
		h: h, post: post, login: login, kick: make(chan struct{}, 1), flight: make([]stretch, h.o.Window+1),
		site: h.world.At(post.Node.String(), world.Place{Lat: post.Lat, Lon: post.Lon, City: post.City()}),
	}
	p.topics.data, p.topics.birth, p.topics.death = topic(sparkplug.NDATA), topic(sparkplug.NBIRTH), topic(sparkplug.NDEATH)
	next := uint64(sparkplug.FirstAlias)
	for _, one := range post.instruments {
		p.alias = append(p.alias, next)
		for _, s := range one.series {
			q, _ := telemetry.Lookup(s.quantity)
			p.definitions = append(p.definitions, sparkplug.Definition{
				Alias: next, Device: one.device, Quantity: s.quantity, Type: sparkplug.TypeDouble, Unit: q.Unit, Interval: one.every,
			})
			next++
		}
	}
	for k := h.state.first(h.begin); k <= dayOf(h.begin); k++ {
		p.open(k)
	}
	return p, nil
}

// open begins a day, as far as it is not acknowledged.
func (p *playedPost) open(k dayKey) {
	d := newDay(p.h.o.Seed, p.post, k)
	d.mark(0, min(p.h.state.arrived(p.post.Node, k), len(d.slots)), arrived)
	if d.done() && k < dayOf(p.h.begin) {
		p.past += uint64(len(d.slots))
		return
	}
	p.days = append(p.days, d)
}

func (p *playedPost) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn != nil
}

// progress counts the records taken before a time (Unix milliseconds) and those of
// them that are acknowledged.
func (p *playedPost) progress(now int64) (due, done uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	due, done = p.past, p.past
	for _, d := range p.days {
		n := d.due(now)
		due += uint64(n)
		for _, s := range d.state[:n] {
			if s == arrived {
				done++
			}
		}
	}
	return due, done
}

// measure wakes the post when a record is due, and begins a new run at midnight.
func (p *playedPost) measure(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		p.h.ledger.wait()
		now := time.Now()
		p.mu.Lock()
		if p.advance(now) && p.conn != nil {
			_ = p.conn.Close() // a new run of the gateway is a new session; its reader notices
		}
		p.pump(now)
		if p.conn != nil && now.Sub(p.sent) > pingEvery {
			p.write([]byte{typePingreq, 0})
		}
		wait := time.Minute
		if d := p.days[len(p.days)-1]; d.due(now.UnixMilli()) < len(d.slots) {
			wait = min(wait, time.UnixMilli(d.slots[d.due(now.UnixMilli())].ms+1).Sub(now))
		}
		p.mu.Unlock()
		timer.Reset(wait)
	}
}

// advance opens the days that have begun by now.
func (p *playedPost) advance(now time.Time) (began bool) {
	for k := p.days[len(p.days)-1].key + 1; k <= dayOf(now); k++ {
		p.open(k)
		began = true
	}
	return began
}

// pump sends what the window has room for, in one write: first what is live, then
// the newest day's backlog. It is called with mu held.
func (p *playedPost) pump(now time.Time) {
	if p.conn == nil {
		return
	}
	e := &p.encode
	e.out, e.lines = e.out[:0], e.lines[:0]
	for id := 1; id < len(p.flight); id++ {
		if p.flight[id].d != nil {
			continue
		}
		f, backlog := p.pick(now)
		if f.d == nil {
			break
		}
		if err := p.message(f, backlog, now); err != nil {
			p.h.fail(err)
			return
		}
		f.d.mark(f.a, f.b, flying)
		f.at = int64(time.Since(p.h.begin))
		p.flight[id] = f
		e.out = appendPublish(e.out, p.topics.data, e.payload, 1, uint16(id))
		if p.h.ledger.on() {
			e.lines = p.lines(e.lines, lineSent, f)
		}
	}
	if len(e.lines) > 0 {
		if err := p.h.ledger.keep(e.lines); err != nil {
			p.h.fail(err)
			return
		}
	}
	p.write(e.out)
}

// pick chooses what goes out next.
func (p *playedPost) pick(now time.Time) (f stretch, backlog bool) {
	for i := len(p.days) - 1; i >= 0; i-- {
		d := p.days[i]
		due, old := d.due(now.UnixMilli()+1), d.due(now.Add(-youngest).UnixMilli())
		if i == len(p.days)-1 {
			if a, b := d.next(old, due, runLength); a < b {
				return stretch{d: d, a: a, b: b}, false
			}
		}
		if a, b := d.next(0, old, runLength); a < b {
			return stretch{d: d, a: a, b: b}, true
		}
	}
	return stretch{}, false
}

// message encodes records a..b-1 of a day.
func (p *playedPost) message(f stretch, backlog bool, now time.Time) error {
	e := &p.encode
	e.records, e.readings = e.records[:0], e.readings[:0]
	n := 0
	for _, s := range f.d.slots[f.a:f.b] {
		n += len(p.post.instruments[s.instrument].series)
	}
	e.readings = slices.Grow(e.readings, n) // records point into it
	for i := f.a; i < f.b; i++ {
		s := &f.d.slots[i]
		from := len(e.readings)
		e.readings = p.read(e.readings, s)
		e.records = append(e.records, telemetry.Record{
			Number: uint64(i) + 1, Device: p.post.instruments[s.instrument].device, Time: s.ms, Readings: e.readings[from:],
		})
	}
	run := telemetry.Run{
		Epoch: f.d.epoch, First: uint64(f.a) + 1, Count: uint64(f.b - f.a), Clock: telemetry.ClockID{Epoch: f.d.epoch, Counter: 1},
		Quality: telemetry.TimeNTP, Floor: f.d.floor(), Backlog: backlog,
	}
	at := f.a
	within := 0 // readings come in the order of records, and each record's in that of its instrument
	var err error
	e.payload, err = e.encoder.AppendData(e.payload[:0], now.UnixMilli(), uint64(p.seq), run, e.records, func(string, string) (uint64, bool) {
		one := f.d.slots[at].instrument
		alias := p.alias[one] + uint64(within)
		if within++; within == len(p.post.instruments[one].series) {
			at, within = at+1, 0
		}
		return alias, true
	})
	p.seq++
	return err
}

// read appends what a slot's instrument says.
func (p *playedPost) read(dst []telemetry.Reading, s *slot) []telemetry.Reading {
	at := time.UnixMilli(s.ms)
	c := scene{air: p.site.Air(at), bin: p.site.Bin(at), load: p.site.Load(at, p.post.load)}
	for i, one := range p.post.instruments[s.instrument].series {
		r := telemetry.Reading{Quantity: one.quantity, Value: telemetry.Num(math.Round(one.value(&c)*1000) / 1000)}
		if i == int(s.silent) {
			r.Value, r.Gap = telemetry.Value{}, telemetry.GapNoAnswer
		}
		dst = append(dst, r)
	}
	return dst
}

// lines appends the ledger's lines of a message; a gap is NaN.
func (p *playedPost) lines(dst []byte, kind byte, f stretch) []byte {
	name := p.post.Node.String()
	var readings []telemetry.Reading
	for i := f.a; i < f.b; i++ {
		s := &f.d.slots[i]
		readings = p.read(readings[:0], s)
		for _, r := range readings {
			if r.Gap != telemetry.GapNone {
				r.Value.Number = math.NaN()
			}
			dst = appendLine(dst, kind, name, f.d.epoch, uint64(i)+1, p.post.instruments[s.instrument].device, r.Quantity, s.ms, r.Value.Number)
		}
	}
	return dst
}

// write sends b; a failed link is closed, and its reader notices.
func (p *playedPost) write(b []byte) {
	if len(b) == 0 || p.conn == nil {
		return
	}
	p.sent = time.Now()
	_ = p.conn.SetWriteDeadline(p.sent.Add(writeTime)) // fails only on a closed link, as the write does
	if _, err := p.conn.Write(b); err != nil {
		p.h.note(err)
		_ = p.conn.Close() // it failed already
	}
}

// link keeps a session with the server until ctx ends.
func (p *playedPost) link(ctx context.Context) {
	for backoff := backoffMin; ctx.Err() == nil; {
		before := p.h.count.messages.Load()
		if err := p.session(ctx); err != nil && ctx.Err() == nil {
			p.h.note(err)
		}
		if p.h.count.messages.Load() > before {
			backoff = backoffMin
		}
		pause(ctx, backoff)
		backoff = min(2*backoff, backoffMax)
	}
}

// session connects, is born, and reads until the link ends.
func (p *playedPost) session(ctx context.Context) error {
	select {
	case p.h.dials <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	var death []byte
	conn, r, err := p.h.server.connect(ctx, p.login, p.topics.death, func() []byte {
		p.mu.Lock()
		defer p.mu.Unlock()
		death = sparkplug.AppendDeath(nil, time.Now().UnixMilli(), p.bdSeq.connect())
		return death
	})
	<-p.h.dials
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() {
		// [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath]
		p.mu.Lock()
		if p.conn == conn {
			p.write(append(appendPublish(nil, p.topics.death, death, 1, idDeath), typeDisconnect, 0))
		}
		p.mu.Unlock()
		_ = conn.Close() // the reader sees it
	})
	defer stop()
	p.h.count.connects.Add(1)
	p.mu.Lock()
	p.conn = conn
	// Commands first. [tck-id-message-flow-edge-node-ncmd-subscribe]
	out := appendSubscribe(nil, sparkplug.Topic{Type: sparkplug.NCMD, Node: p.post.Node}.String(), 1, idSubscribe)
	p.write(p.appendBirth(out))
	p.pump(time.Now())
	p.mu.Unlock()
	err = p.receive(r)
	p.mu.Lock()
	p.conn = nil
	for id := range p.flight {
		if p.flight[id].d != nil {
			p.h.count.resent.Add(1)
			p.flight[id] = stretch{}
		}
	}
	for _, d := range p.days {
		d.again()
	}
	p.mu.Unlock()
	return err
}

// appendBirth writes NBIRTH with the days that are not acknowledged, oldest
// first. seq begins at 0. [tck-id-topics-nbirth-seq-num]
func (p *playedPost) appendBirth(dst []byte) []byte {
	b := &sparkplug.Birth{BdSeq: p.bdSeq.now, Simulated: true, Version: "firmware-sim", Definitions: p.definitions}
	for i, d := range p.days {
		if i == len(p.days)-1 || !d.done() {
			b.Epochs = append(b.Epochs, telemetry.EpochFloor{Epoch: d.epoch, Lowest: d.floor()})
		}
	}
	p.seq = 1
	return appendPublish(dst, p.topics.birth, sparkplug.AppendBirth(nil, time.Now().UnixMilli(), 0, b), 1, idBirth)
}

// receive handles what the server sends, until the link ends.
func (p *playedPost) receive(r *bufio.Reader) error {
	var in incoming
	var payload sparkplug.Payload
	for {
		if err := in.read(r); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		switch in.first & 0xf0 {
		case typePuback:
			id, err := in.id()
			if err != nil {
				return err
			}
			p.acknowledged(id, r.Buffered() == 0)
		case typePublish:
			_, body, qos, id, err := in.publish()
			if err == nil {
				err = sparkplug.Decode(body, &payload)
			}
			if err != nil {
				return fmt.Errorf("command: %w", err)
			}
			p.mu.Lock()
			var out []byte
			if qos == 1 {
				out = append(out, typePuback, 2, byte(id>>8), byte(id))
			}
			for i := range payload.Metrics {
				if m := &payload.Metrics[i]; string(m.Name) == sparkplug.MetricRebirth && m.Value.Bits&1 == 1 {
					out = p.appendBirth(out)
				}
			}
			p.write(out)
			p.mu.Unlock()
		case typeSuback:
			if len(in.body) < 3 || in.body[2] == 0x80 {
				return errors.New("the server refuses the subscription to commands")
			}
		case typePingresp:
		default:
			return fmt.Errorf("%w: type %#02x", errPacket, in.first)
		}
	}
}

// acknowledged notes a PUBACK. more is sent once no further one has come along.
func (p *playedPost) acknowledged(id uint16, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(id) < len(p.flight) && p.flight[id].d != nil {
		f := p.flight[id]
		p.flight[id] = stretch{}
		p.h.latency.add(time.Duration(int64(time.Since(p.h.begin)) - f.at))
		p.h.count.messages.Add(1)
		for _, s := range f.d.slots[f.a:f.b] {
			p.h.count.readings.Add(uint64(len(p.post.instruments[s.instrument].series)))
		}
		if p.h.ledger.on() {
			p.encode.lines = p.lines(p.encode.lines[:0], lineAcked, f)
			p.h.ledger.add(p.encode.lines, nil)
		}
		f.d.mark(f.a, f.b, arrived)
	}
	if more {
		p.pump(time.Now())
	}
}

// forget lets go of days that are acknowledged, and returns how many records of
// each of the others are.
func (p *playedPost) forget() map[dayKey]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[dayKey]int{}
	p.days = slices.DeleteFunc(p.days, func(d *day) bool {
		out[d.key] = d.first
		if !d.done() || d.key == p.days[len(p.days)-1].key {
			return false
		}
		p.past += uint64(len(d.slots))
		return true
	})
	return out
}

// save notes what is acknowledged.
func (h *history) save(posts []*playedPost) error {
	for _, p := range posts {
		h.state.note(p.post.Node, p.forget())
	}
	if r := h.result(posts, time.Now()); r.Due != h.state.Due || r.Arrived != h.state.Arrived {
		h.state.Due, h.state.Arrived, h.state.changed = r.Due, r.Arrived, true
	}
	return h.state.write()
}
