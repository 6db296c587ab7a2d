package fleet

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Packet ids: 1 to the window are data's; these are for the rest.
const (
	idBirth     = 0xfff0
	idSubscribe = 0xfff1
	idDeath     = 0xfff2
)

// player is one gateway: it samples, keeps in memory what is not acknowledged,
// and speaks for it. What differs from the real one: its spool is memory, and an
// epoch is a restart that it plays.
type player struct {
	f       *fleet
	cred    Credential
	name    string // "group/id"
	rng     *mathrand.Rand
	station *station
	data    string // topics
	birth   string
	death   string
	kick    chan struct{} // there may be something to send
	// progress says that the present session brought a PUBACK. Only the link's
	// goroutine touches it.
	progress bool

	kmu  sync.Mutex // after mu
	kept []owned    // S lines on disk, not yet noted

	mu       sync.Mutex
	queues   []*queue // the last is the running epoch's
	last     int64    // CLOCK_BOOTTIME ms of the newest sample
	clock    playedClock
	fault    ClockFault
	stepped  bool
	offUntil time.Time // an outage lasts until then
	conn     net.Conn  // nil = no session
	bdSeq    bdSeq
	seq      uint8
	turn     int      // of live messages and backlog
	free     []uint16 // packet ids
	flight   []owned  // by packet id
	lastSent time.Time
}

// owned is a message and the queue that it lies in.
type owned struct {
	m *message
	q *queue
}

// playedClock is what the gateway believes of UTC.
type playedClock struct {
	known   bool
	epoch   telemetry.Epoch
	counter uint32
	offset  int64 // Unix milliseconds at CLOCK_BOOTTIME 0
	quality telemetry.TimeQuality
}

func newEpoch() telemetry.Epoch {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return telemetry.Epoch(binary.BigEndian.Uint64(b[:]) | 1)
}

func newPlayer(f *fleet, i int, c Credential) *player {
	topic := func(t sparkplug.MessageType) string { return sparkplug.Topic{Type: t, Node: c.Node}.String() }
	p := &player{
		f: f, cred: c, name: c.Node.String(), rng: mathrand.New(mathrand.NewPCG(f.o.Seed, uint64(i))),
		station: newStation(f.world, c.Node.String(), f.o.Readings),
		data:    topic(sparkplug.NDATA), birth: topic(sparkplug.NBIRTH), death: topic(sparkplug.NDEATH),
		kick: make(chan struct{}, 1), last: -1, flight: make([]owned, f.o.Window+1),
	}
	for id := f.o.Window; id > 0; id-- {
		p.free = append(p.free, uint16(id))
	}
	p.restart()
	return p
}

// restart begins a new epoch, as a new process does.
func (p *player) restart() {
	p.queues = append(p.queues, newQueue(newEpoch()))
	if p.clock.known {
		p.setClock(p.clock.offset, p.clock.quality)
	}
}

// setClock begins a mapping under a new clock id.
func (p *player) setClock(offset int64, quality telemetry.TimeQuality) {
	q := p.queues[len(p.queues)-1]
	if p.clock.epoch != q.epoch {
		p.clock.epoch, p.clock.counter = q.epoch, 0
	}
	p.clock.counter++
	p.clock.offset, p.clock.quality, p.clock.known = offset, quality, true
}

// resolve stamps what waited for a mapping, and puts it into the ledger.
func (p *player) resolve() {
	var all []owned
	for _, q := range p.queues {
		for _, m := range q.messages[q.head:] {
			if m.ms == 0 {
				p.stamp(m)
				all = append(all, owned{m, q})
			}
		}
	}
	p.account(all)
}

func (p *player) stamp(m *message) {
	m.ms = m.boottime + p.clock.offset
	m.clock, m.clockOf, m.quality = p.clock.counter, p.clock.epoch, p.clock.quality
}

// produce takes n samples, the last of them now, step ms apart.
func (p *player) produce(n int, step, now int64) {
	q := p.queues[len(p.queues)-1]
	all := make([]owned, 0, n)
	block := make([]message, n)
	for i := range n {
		m := &block[i]
		m.boottime = max(p.last+1, now-int64(n-1-i)*step)
		p.last = m.boottime
		m.values = p.station.values(make([]float64, 0, len(p.station.series)), m.boottime+p.f.offset, q.next)
		q.push(m, len(p.station.devices))
		if p.clock.known {
			p.stamp(m)
			all = append(all, owned{m, q})
		}
	}
	p.account(all)
}

// account writes the S lines of stamped messages; they go out once the lines
// are on disk.
func (p *player) account(all []owned) {
	if len(all) == 0 {
		return
	}
	p.f.count.readings.Add(uint64(len(all) * len(p.station.series)))
	if !p.f.ledger.on() {
		for _, one := range all {
			one.m.kept = true
		}
		return
	}
	s := p.f.scratch()
	defer p.f.scratches.Put(s)
	s.lines = s.lines[:0]
	for _, one := range all {
		s.lines = p.lines(s.lines, lineSent, one.q.epoch, one.m)
	}
	p.f.ledger.add(s.lines, func() {
		p.kmu.Lock()
		p.kept = append(p.kept, all...)
		p.kmu.Unlock()
		p.wake()
	})
}

// lines appends the ledger's lines of a message.
func (p *player) lines(dst []byte, kind byte, e telemetry.Epoch, m *message) []byte {
	for i, d := range p.station.devices {
		for j := d.from; j < d.to; j++ {
			dst = appendLine(dst, kind, p.name, e, m.first+uint64(i), d.device, p.station.series[j].quantity, m.ms, m.values[j])
		}
	}
	return dst
}

func (p *player) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// pump sends what may go out, in one write. It is called with mu held.
func (p *player) pump() {
	p.kmu.Lock()
	for _, one := range p.kept {
		one.m.kept = true
	}
	p.kept = p.kept[:0]
	p.kmu.Unlock()
	if p.conn == nil || len(p.free) == 0 {
		return
	}
	s := p.f.scratch()
	defer p.f.scratches.Put(s)
	s.out = s.out[:0]
	now := p.f.boottime()
	cutoff := now - p.f.o.LiveFor.Milliseconds()
	at := p.f.monotonic()
	for len(p.free) > 0 {
		m, q, backlog := p.pick(cutoff)
		if m == nil {
			break
		}
		if !p.encode(s, q, m, backlog, now) {
			break
		}
		id := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		p.flight[id] = owned{m, q}
		m.sent, m.at = true, at
		s.out = appendPublish(s.out, p.data, s.payload, 1, id)
	}
	p.write(s.out)
}

// backlogShare is how much of the link the backlog gets while there are live
// messages: one in so many.
const backlogShare = 4

// pick chooses the next message, of the oldest epoch first: a live one, or one
// of the backlog when it is its turn or when nothing is live.
func (p *player) pick(cutoff int64) (m *message, q *queue, backlog bool) {
	for _, q := range p.queues {
		q.age(cutoff)
	}
	p.turn++
	lanes := [2]bool{false, true}
	if p.turn%backlogShare == 0 {
		lanes = [2]bool{true, false}
	}
	for _, backlog := range lanes {
		for _, q := range p.queues {
			m := (*message)(nil)
			if backlog {
				m = q.nextBacklog()
			} else {
				m = q.nextLive()
			}
			if m != nil {
				return m, q, backlog
			}
		}
	}
	return nil, nil, false
}

// encode writes one message's NDATA payload into s.
func (p *player) encode(s *scratch, q *queue, m *message, backlog bool, now int64) bool {
	s.readings, s.records = s.readings[:0], s.records[:0]
	for i := range p.station.series {
		s.readings = append(s.readings, telemetry.Reading{Quantity: p.station.series[i].quantity, Value: telemetry.Num(m.values[i])})
	}
	for i, d := range p.station.devices {
		s.records = append(s.records, telemetry.Record{Number: m.first + uint64(i), Device: d.device, Time: m.ms, Readings: s.readings[d.from:d.to]})
	}
	run := telemetry.Run{
		Epoch: q.epoch, First: m.first, Count: uint64(len(s.records)), Clock: telemetry.ClockID{Epoch: m.clockOf, Counter: m.clock},
		Quality: m.quality, Floor: q.floor(), Backlog: backlog,
	}
	alias := uint64(sparkplug.FirstAlias - 1)
	var err error
	s.payload, err = s.encoder.AppendData(s.payload[:0], p.utc(now), uint64(p.seq), run, s.records, func(string, string) (uint64, bool) {
		alias++ // readings come in the order of the birth
		return alias, true
	})
	if err != nil {
		p.f.fail(err)
		return false
	}
	p.seq++
	return true
}

// utc is what the gateway believes the time to be.
func (p *player) utc(boottime int64) int64 { return boottime + p.clock.offset }

// write sends b; a failed link is closed, and its reader notices.
func (p *player) write(b []byte) {
	if len(b) == 0 || p.conn == nil {
		return
	}
	p.lastSent = time.Now()
	_ = p.conn.SetWriteDeadline(p.lastSent.Add(writeTime)) // fails only on a closed link, as the write does
	if _, err := p.conn.Write(b); err != nil {
		p.f.note(err)
		_ = p.conn.Close() // it failed already
	}
}

// appendBirth writes NBIRTH: bdSeq, definitions and the epochs that are not
// acknowledged. seq begins at 0. [tck-id-topics-nbirth-seq-num]
func (p *player) appendBirth(dst []byte) []byte {
	b := &sparkplug.Birth{BdSeq: p.bdSeq.now, Simulated: true, Version: "firmware-sim", Definitions: p.station.definitions(sparkplug.FirstAlias, p.f.o.Interval)}
	for i, q := range p.queues {
		if i == len(p.queues)-1 || !q.empty() {
			b.Epochs = append(b.Epochs, telemetry.EpochFloor{Epoch: q.epoch, Lowest: q.floor()})
		}
	}
	p.seq = 1
	payload := sparkplug.AppendBirth(nil, p.utc(p.f.boottime()), 0, b)
	return appendPublish(dst, p.birth, payload, 1, idBirth)
}

// acked notes a PUBACK, and reports the message's readings to the ledger.
func (p *player) acked(id uint16, lines []byte) []byte {
	if int(id) >= len(p.flight) || p.flight[id].m == nil {
		return lines
	}
	f := p.flight[id]
	p.flight[id] = owned{}
	p.free = append(p.free, id)
	p.f.latency.add(time.Duration(p.f.monotonic() - f.m.at))
	p.f.count.messages.Add(1)
	p.f.count.acked.Add(uint64(len(p.station.series)))
	if p.f.ledger.on() {
		lines = p.lines(lines, lineAcked, f.q.epoch, f.m)
	}
	f.q.ack(f.m)
	if f.q.empty() && f.q != p.queues[len(p.queues)-1] {
		for i, q := range p.queues {
			if q == f.q {
				p.queues = append(p.queues[:i], p.queues[i+1:]...)
				break
			}
		}
	}
	return lines
}

// lost notes the end of a session: what was in flight goes out again.
func (p *player) lost() {
	p.conn = nil
	for id := range p.flight {
		if p.flight[id].m != nil {
			p.f.count.resent.Add(1)
			p.flight[id] = owned{}
			p.free = append(p.free, uint16(id))
		}
	}
	for _, q := range p.queues {
		q.again()
	}
}

// unacknowledged counts messages.
func (p *player) unacknowledged() int {
	n := 0
	for _, q := range p.queues {
		for _, m := range q.messages[q.head:] {
			if !m.acked {
				n++
			}
		}
	}
	return n
}
