package simulation

import (
	"fmt"
	"time"

	"github.com/pantau-id/pantau/ingest"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// server is the process in the office, and what lies on its disk.
type server struct {
	w *world

	// On the disk.
	first   uint64 // of the journal's entries that are not purged
	entries [][]byte
	files   map[string]*checkpointFile
	book    map[string][]byte // alerts, in the key-value store
	order   []string          // of the book's keys
	told    map[string]int    // people were told, by transition
	letters map[string]ingest.Letter

	// For the checker.
	log    []logged // every entry there ever was
	births map[telemetry.Node]uint64
	rules  int // version of the quality rules
	ups    []up
	heard  map[telemetry.Node][]int64 // when something of a node was kept

	// The process.
	running  bool
	run      int
	began    int64
	name     uint64
	broken   bool // no commit succeeds
	sessions map[telemetry.Node][]*session
	queue    []submitted
	busy     bool
	readers  *readers
}

type logged struct {
	body    []byte
	packets []*packet
	at      int64
}

// up is a time in which the server ran.
type up struct{ from, to int64 }

type session struct {
	s      *server
	conn   *conn
	id     uint64
	node   telemetry.Node
	ended  bool
	failed bool
}

type submitted struct {
	packet *packet
	body   envelope.Packet
	s      *session
}

func newServer(w *world) *server {
	s := &server{
		w: w, first: 1, files: map[string]*checkpointFile{}, book: map[string][]byte{}, told: map[string]int{}, letters: map[string]ingest.Letter{},
		births: map[telemetry.Node]uint64{}, heard: map[telemetry.Node][]int64{},
	}
	m := &w.mix
	w.every(m.serverKill, func() { s.kill(w.between(second, 20*second)) })
	w.every(m.serverAway, func() { s.kill(w.between(3*minute, 25*minute)) })
	w.every(m.commitError, func() {
		s.broken = true
		w.after(w.between(100, 20*second), func() { s.broken = false })
	})
	w.every(m.ruleChange, s.changeRules)
	return s
}

func (s *server) start() {
	w := s.w
	s.run++
	s.running, s.began, s.name, s.busy, s.queue = true, w.now, w.rng.Uint64()|1, false, nil
	s.sessions = map[telemetry.Node][]*session{}
	s.ups = append(s.ups, up{w.now, 0})
	w.note("server starts")
	s.readers = newReaders(s)
	if len(s.log) == 0 {
		s.append(envelope.AppendRules(nil, envelope.Rules{Name: ingest.RulesAlerts, Body: alertRules(0)}))
		s.append(envelope.AppendRules(nil, envelope.Rules{Name: ingest.RulesQuality, Body: qualityRules(0)}))
	}
	s.tick()
}

// step runs something of the present process later.
func (s *server) step(delay int64, do func()) {
	run := s.run
	s.w.after(delay, func() {
		if s.running && s.run == run {
			do()
		}
	})
}

// kill ends the process; what was not committed is gone, or not.
func (s *server) kill(pause int64) {
	if !s.running {
		return
	}
	w := s.w
	w.note("server ends for %d s", pause/second)
	s.running = false
	s.ups[len(s.ups)-1].to = w.now
	if s.busy && len(s.queue) > 0 && w.chance(0.5) {
		s.keep(s.take()) // it was on the disk, and nobody was told
	}
	for _, g := range w.gateways {
		for _, x := range s.sessions[g.node] {
			x.ended = true
			if c := x.conn; w.chance(0.7) {
				w.after(w.between(50, 3*second), func() {
					if g.conn == c {
						g.disconnect("the server is gone")
					}
				})
			}
		}
	}
	w.after(pause, func() {
		if !s.running {
			s.start()
		}
	})
}

func (s *server) heal() {
	s.broken = false
	if !s.running {
		s.start()
	}
}

func (s *server) tick() {
	if !s.w.omit.noTicks {
		s.append(envelope.AppendTick(nil, envelope.Tick{
			Time: s.w.now * 1e6, Uptime: (s.w.now - s.began) * 1e6, Synced: true, Session: s.name,
		}))
	}
	s.step(ingest.TickEvery.Milliseconds(), s.tick)
}

// takes says whether connections are taken.
func (s *server) takes() bool { return s.running && !s.broken }

func (s *server) accept(c *conn) {
	w := s.w
	if !s.takes() {
		return
	}
	x := &session{s: s, conn: c, id: w.rng.Uint64() | 1, node: c.g.node}
	for _, old := range s.sessions[x.node] {
		if !old.ended && !w.chance(w.mix.bothAlive) {
			old.end("taken over")
		}
	}
	c.session = x
	s.sessions[x.node] = append(s.sessions[x.node], x)
	// The server's time comes once commands are subscribed to.
	run, g := c.run, c.g
	c.down.extra += 600
	utc := w.now + 600
	c.down.send(w, func() {
		if g.conn == c && g.run == run && g.running {
			g.guard(func() {
				cmd := sparkplug.AppendCommand(nil, utc, sparkplug.MetricTime, sparkplug.TypeInt64, sparkplug.Long(utc))
				actions, err := g.session.Command(cmd, g.uplinkNow())
				if err != nil {
					w.fault("%v: NCMD: %v", g.node, err)
				}
				g.act(actions)
				g.after()
			})
		}
	})
	c.down.extra -= 600
}

// end ends a session; its will is published.
func (x *session) end(why string) {
	if x.ended {
		return
	}
	x.ended = true
	w := x.s.w
	w.note("server: session %x of %v ends: %s", x.id, x.node, why)
	if x.s.running {
		x.s.submit(submitted{s: x, packet: &packet{kind: sparkplug.NDEATH}, body: envelope.Packet{
			Received: w.now * 1e6, Client: x.node.String(), Session: x.id, Flags: envelope.FlagWill,
			Topic: sparkplug.Topic{Type: sparkplug.NDEATH, Node: x.node}.String(), Payload: sparkplug.AppendDeath(nil, w.now, x.conn.bdSeq),
		}})
	}
	g, c := x.conn.g, x.conn
	w.after(w.between(50, 5*second), func() {
		if g.conn == c && !c.broken() {
			g.disconnect("cut by the server")
		}
	})
}

// receive takes a PUBLISH.
func (s *server) receive(c *conn, p *packet) {
	w := s.w
	x := c.session
	if x == nil || x.ended || !s.running || x.s.run != s.run {
		return
	}
	p.received = w.now
	s.submit(submitted{packet: p, s: x, body: envelope.Packet{
		Received: w.now * 1e6, Client: x.node.String(), Session: x.id, Topic: p.topic, Payload: p.payload,
	}})
	if w.omit.ackEarly {
		s.puback(x, p)
	}
}

func (s *server) puback(x *session, p *packet) {
	w, c, g := s.w, x.conn, x.conn.g
	if p.kind == sparkplug.NDEATH || x.ended && !w.omit.ackEarly {
		return
	}
	for i := range p.records {
		if id, ok := idOf(p.records[i].Readings); ok {
			w.model.byID[id].acked = true
		}
	}
	c.down.send(w, func() {
		if g.conn == c && g.running && g.run == c.run {
			g.guard(func() {
				g.act(g.session.Acked(p.id, g.uplinkNow()))
				g.after()
			})
		}
	})
}

// submit puts a packet into the next group commit.
func (s *server) submit(p submitted) {
	s.queue = append(s.queue, p)
	s.commitSoon()
}

func (s *server) commitSoon() {
	if s.busy || len(s.queue) == 0 {
		return
	}
	s.busy = true
	took := s.w.between(2, 40)
	if s.w.chance(0.01) {
		took = s.w.between(500, 5000)
	}
	s.step(took, func() {
		s.busy = false
		if s.broken {
			all := s.queue
			s.queue = nil
			for _, p := range all {
				p.s.failed = true
				p.s.end("its message could not be kept")
			}
			return
		}
		group := s.take()
		s.keep(group)
		for _, p := range group {
			if !s.w.omit.ackEarly && !p.s.failed {
				s.puback(p.s, p.packet)
			}
		}
		s.commitSoon()
	})
}

// take takes what one envelope holds.
func (s *server) take() []submitted {
	n := min(len(s.queue), 40)
	group := s.queue[:n:n]
	s.queue = s.queue[n:]
	return group
}

// keep appends one envelope of packets.
func (s *server) keep(group []submitted) {
	var body []byte
	var packets []*packet
	for i := range group {
		body = envelope.AppendPacket(body, &group[i].body)
		packets = append(packets, group[i].packet)
	}
	seq := s.first + uint64(len(s.entries))
	for i := range group {
		p := group[i].packet
		p.seq, p.index = seq, uint32(i)
		node := group[i].s.node
		switch p.kind {
		case sparkplug.NBIRTH:
			s.births[node] = group[i].s.id
		case sparkplug.NDATA:
			s.sight(p, group[i].s)
		}
		if p.kind != sparkplug.NDEATH {
			s.heard[node] = append(s.heard[node], s.w.now)
		}
	}
	s.log = append(s.log, logged{body: body, packets: packets, at: s.w.now})
	s.entries = append(s.entries, body)
	s.w.note("journal: entry %d, %d packets", seq, len(packets))
	s.readers.kick()
}

// sight notes which samples stand in an entry.
func (s *server) sight(p *packet, x *session) {
	p.newest = s.births[x.node] == x.id
	for i := range p.records {
		r := &p.records[i]
		id, ok := idOf(r.Readings)
		if !ok {
			continue
		}
		t := s.w.model.byID[id]
		g := &sighting{t: t, packet: p, time: r.Time, clock: p.run.Clock, received: p.received, newest: p.newest, rules: s.rules}
		t.seen = append(t.seen, g)
		p.sights = append(p.sights, g)
	}
}

// append appends a whole envelope of another kind.
func (s *server) append(body []byte) {
	s.log = append(s.log, logged{body: body, at: s.w.now})
	s.entries = append(s.entries, body)
	s.readers.kick()
}

// Quality rules bound pm2_5, alert rules have two thresholds; versions go round.
var qualityMax = []float64{1000, 230, 150}

func qualityRules(version int) []byte {
	return fmt.Appendf(nil, `{"ranges":[{"quantity":"pm2_5","since":"2026-01-01T00:00:00Z","max":%v}]}`, qualityMax[version%len(qualityMax)])
}

var alertThreshold = []float64{90, 120, 70}

const silentFor = 5 * minute

func alertRules(version int) []byte {
	now := alertThreshold[version%len(alertThreshold)]
	return fmt.Appendf(nil, `[
		{"id":"pm-now","name":"x","name_en":"x","quantity":"pm2_5","scope":{},"condition":"above","threshold":%v,"clear":%v,"for":"0s","clear_for":"0s","severity":"critical"},
		{"id":"pm-high","name":"x","name_en":"x","quantity":"pm2_5","scope":{},"condition":"above","threshold":%v,"clear":60,"for":"90s","clear_for":"1m0s","severity":"warning"},
		{"id":"silent","name":"x","name_en":"x","quantity":"","scope":{},"condition":"no_data","threshold":0,"clear":0,"for":%q,"clear_for":"0s","severity":"warning"}
	]`, now, now, now, (time.Duration(silentFor) * time.Millisecond).String())
}

// changeRules changes the rules in force. People do that while the server runs.
func (s *server) changeRules() {
	if !s.running {
		return
	}
	if s.w.chance(0.3) {
		s.append(envelope.AppendRules(nil, envelope.Rules{Name: ingest.RulesAlerts, Body: alertRules(s.w.rng.IntN(3))}))
		return
	}
	s.rules++
	s.w.note("quality rules, version %d", s.rules)
	body := qualityRules(s.rules)
	s.append(envelope.AppendRules(nil, envelope.Rules{Name: ingest.RulesQuality, Body: body}))
	s.readers.rulesAtOnce(body)
}

// drained says what is still on its way through the server.
func (s *server) drained() string {
	if !s.running {
		return "the server does not run"
	}
	if len(s.queue) > 0 {
		return "packets wait for their commit"
	}
	return s.readers.drained()
}
