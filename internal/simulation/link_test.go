package simulation

import (
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/gateway/uplink"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// packet is a PUBLISH on its way.
type packet struct {
	conn     *conn
	id       uint64 // the session's name of it
	kind     sparkplug.MessageType
	topic    string
	payload  []byte
	run      telemetry.Run
	records  []telemetry.Record
	received int64
	seq      uint64 // of the journal's entry
	index    uint32
	newest   bool
	sights   []*sighting
}

// conn is one TCP connection: what is sent arrives in order, or not any more.
type conn struct {
	g       *gateway
	session *session // the server's end
	run     int      // of the gateway's process
	bdSeq   uint64
	boot    clock.BootID
	up      lane
	down    lane
}

// lane is one direction of a connection.
type lane struct {
	sent, done int64
	limit      int64 // nothing from here on arrives, 0 = all does
	at         int64 // when the last one arrives
	extra      int64
}

func (l *lane) send(w *world, arrive func()) {
	n := l.sent
	l.sent++
	l.at = max(l.at, w.now+w.between(2, 120)+l.extra)
	w.after(l.at-w.now, func() {
		l.done = n + 1
		if l.limit == 0 || n < l.limit-1 {
			arrive()
		}
	})
}

// cut loses some of what is on its way, and all that follows.
func (l *lane) cut(w *world) {
	if l.limit == 0 {
		l.limit = 1 + l.done + w.rng.Int64N(l.sent-l.done+1)
	}
}

func (c *conn) broken() bool { return c.up.limit > 0 || c.down.limit > 0 }

// halfOpen breaks the link without anybody noticing.
func (c *conn) halfOpen() {
	w := c.g.w
	if w.chance(0.3) {
		c.down.cut(w) // only PUBACKs are lost
		w.after(w.between(30*second, 2*minute), func() { c.up.cut(w) })
	} else {
		c.up.cut(w)
		c.down.cut(w)
	}
	c.serverNotices(w.between(minute, 7*minute))
}

func (c *conn) serverNotices(delay int64) {
	c.g.w.after(delay, func() {
		if c.session != nil {
			c.session.end("connection lost")
		}
	})
}

// lag holds up what is sent from now on.
func (c *conn) lag(ms int64) { c.up.extra, c.down.extra = ms, ms }

// gone ends the gateway's side with its process, or with its power.
func (c *conn) gone(power bool) {
	if power {
		c.halfOpen()
		return
	}
	c.serverNotices(c.up.extra + c.g.w.between(200, 5*second))
}

// dial connects after a pause.
func (g *gateway) dial() {
	if g.dialing || g.conn != nil {
		return
	}
	w := g.w
	g.dialing = true
	g.step(w.between(500, 15*second), func() {
		g.dialing = false
		if g.conn != nil {
			return
		}
		if w.now < g.away || !w.server.takes() {
			g.dial()
			return
		}
		g.card.bdSeq = (g.card.bdSeq + 1) % 256
		c := &conn{g: g, run: g.run, bdSeq: g.card.bdSeq, boot: g.boot}
		g.dialing = true
		c.up.send(w, func() { w.server.accept(c) })
		g.step(w.between(250, 600), func() {
			g.dialing = false
			if c.session == nil || c.broken() || w.now < g.away {
				c.serverNotices(w.between(second, minute))
				g.dial()
				return
			}
			g.conn = c
			w.note("%v: connected, session %x", g.node, c.session.id)
			g.act(g.session.Begin(g.uplinkNow(), c.bdSeq))
		})
	})
}

// disconnect gives the connection up.
func (g *gateway) disconnect(why string) {
	c := g.conn
	if c == nil {
		return
	}
	g.w.note("%v: gives up session %x: %s", g.node, c.session.id, why)
	g.conn = nil
	c.serverNotices(c.up.extra + g.w.between(100, 20*second))
	if g.running {
		g.guard(func() {
			g.session.End()
			g.dial()
			g.after()
		})
	}
}

// netAway takes the network away.
func (g *gateway) netAway(long int64) {
	w := g.w
	g.away = max(g.away, w.now+long)
	c := g.conn
	if c == nil {
		return
	}
	w.note("%v: no network for %d s", g.node, long/second)
	c.up.cut(w)
	c.down.cut(w)
	c.serverNotices(w.between(second, 7*minute))
	if w.chance(0.6) {
		w.after(w.between(100, 20*second), func() {
			if g.conn == c {
				g.disconnect("network lost")
			}
		})
	}
}

// act carries out what the session wants.
func (g *gateway) act(actions []uplink.Action) {
	w := g.w
	for _, a := range actions {
		c := g.conn
		switch a.Kind {
		case uplink.ActCut:
			g.disconnect(a.Reason.Error())
			return
		case uplink.ActTime:
			m, ok := g.mapper.Observe(clock.Observation{Boottime: clock.Millis(g.boottime()), UTC: a.UTC, Quality: telemetry.TimeServer})
			if ok {
				g.mapping(m)
			}
		case uplink.ActPublish:
			if c == nil {
				return
			}
			p := &packet{conn: c, id: a.ID, kind: a.Type, topic: a.Topic, payload: a.Payload, run: a.Run, records: a.Records}
			if a.Birth != nil {
				g.births[c] = a.Birth
				w.note("%v: NBIRTH in session %x, epochs %v", g.node, c.session.id, a.Birth.Epochs)
			} else {
				g.checkSent(p)
				if len(p.payload) == 0 {
					p.payload = g.encodeAnyway(p)
				}
			}
			c.up.send(w, func() { w.server.receive(c, p) })
		}
	}
}

// encodeAnyway is what a sender without H13 would do: call what it has a run.
func (g *gateway) encodeAnyway(p *packet) []byte {
	records := append([]telemetry.Record(nil), p.records...)
	for i := range records {
		records[i].Number = p.run.First + uint64(i)
	}
	var e sparkplug.Encoder
	payload, err := e.AppendData(nil, g.w.now, 0, p.run, records, func(device, quantity string) (uint64, bool) {
		for _, d := range g.births[p.conn].Definitions {
			if d.Device == device && d.Quantity == quantity {
				return d.Alias, true
			}
		}
		return 0, false
	})
	if err != nil {
		g.w.fault("%v: no payload can hold %v: %v", g.node, p.run, err)
	}
	return payload
}

// checkSent sees that only what may be sent is sent.
func (g *gateway) checkSent(p *packet) {
	w := g.w
	w.note("%v: sends %v %d+%d, clock %v, floor %d, backlog %v", g.node, p.run.Epoch, p.run.First, p.run.Count, p.run.Clock, p.run.Floor, p.run.Backlog)
	for i := range p.records {
		r := &p.records[i]
		id, ok := idOf(r.Readings)
		if !ok {
			if l := r.Loss; l != nil {
				w.note("%v: #%d says that %v %d…%d are lost: %s", g.node, r.Number, l.Epoch, l.From, l.To, l.Reason)
			}
			continue
		}
		t := w.model.byID[id]
		if t == nil {
			w.fault("%v: sends a sample %v that was never taken", g.node, id)
			continue
		}
		m, ok := w.model.mappings[p.run.Clock]
		if !ok {
			w.fault("%v: %v is stamped by the clock %v that never was", g.node, t, p.run.Clock)
			continue
		}
		if m.Boot != t.boot && !w.omit.clock.EpochInID && !w.omit.clock.NewIDs {
			w.fault("%v: %v is stamped by the clock of another boot", g.node, t)
		}
	}
}

// source is the spool as the session sees it.
type source struct{ g *gateway }

func (s source) Next(lane spool.Lane, now time.Duration, limit spool.Limit) spool.Batch {
	g := s.g
	for loads := 0; ; loads++ {
		b := g.core.Next(lane, now, limit)
		g.apply()
		id, wants := g.core.Wants()
		if b.Run.Count > 0 || !wants {
			return b
		}
		if loads > 300 { // without H6 it goes round in what it has evicted
			if !g.w.omit.spool.LiveByBoottime {
				g.w.fault("%v: the spool reads its segments over and over", g.node)
			}
			return b
		}
		g.core.Load(id, g.read(id), now)
		g.apply()
	}
}

func (s source) Ack(e telemetry.Epoch, from, to uint64) {
	s.g.core.Ack(e, from, to)
	s.g.apply()
}

func (s source) Discard(e telemetry.Epoch, from, to uint64, now time.Duration) {
	s.g.w.fault("%v: the session discards %v %d…%d", s.g.node, e, from, to)
	s.g.core.Discard(e, from, to, now)
	s.g.apply()
}

func (s source) Rewind()                        { s.g.core.Rewind() }
func (s source) Epochs() []telemetry.EpochFloor { return s.g.core.Epochs() }

func (s source) Epoch() telemetry.Epoch { return s.g.core.Epoch() }
