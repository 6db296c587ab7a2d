package ingest

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Books is the store reader's second half: what is noted once the database has
// answered. It moves only with the checkpoint.
type Books struct {
	Ledger    *Ledger
	Hours     *Hours
	Intervals *Intervals
}

// NewBooks returns empty books; the arguments are those of NewHours.
func NewBooks(longest time.Duration, now int64, h Holes) *Books {
	return &Books{Ledger: NewLedger(h), Hours: NewHours(longest, now, h), Intervals: NewIntervals()}
}

// Refuse moves points that the database will never take, each named by its
// place in the batch and with the database's words, to the batch's letters: one
// for each message they came from.
func (b *Batch) Refuse(points []int, words []string) {
	slices.Sort(points) // their messages then stand together
	var l *Letter
	last := int32(-1)
	for i, p := range points {
		at := b.points[p]
		ref := &b.messages[at.message]
		if at.message != last {
			m := Message{Pos: ref.pos, Packet: &ref.packet, Node: ref.node, Birth: ref.birth, Numbered: ref.numbered, Run: ref.run}
			b.Letters = append(b.Letters, newLetter(&m, ReasonRefused, refusedError(words[i]), []int{int(at.record)}))
			l = &b.Letters[len(b.Letters)-1]
			last = at.message
		} else if l.Records[len(l.Records)-1] != int(at.record) {
			l.Records = append(l.Records, int(at.record))
			if ref.numbered {
				l.addNumber(ref.run.First + uint64(at.record))
			}
		}
		l.Lines = append(l.Lines, string(b.Line(p)))
	}
}

type refusedError string

func (e refusedError) Error() string { return string(e) }

// Settle notes a batch that is in the database. lost names the letters (by key)
// that could not be kept, because their node had used up its share.
func (k *Books) Settle(b *Batch, lost map[string]bool) {
	refused := map[int32][]int{}
	for i := range b.Letters {
		l := &b.Letters[i]
		status, reason := DeadLetter, telemetry.LossReason("")
		if lost[l.Key] {
			status, reason = Lost, LossLimit
		}
		for _, r := range l.Numbers {
			k.Ledger.Mark(l.Node, l.Epoch, r[0], r[1], status, false, reason)
		}
		if l.Epoch == 0 && l.Reason != ReasonBirth && !l.Node.IsZero() {
			if status == Lost {
				k.Ledger.Foreign(l.Node, 0, 0, 0, 0, 1)
			} else {
				k.Ledger.Foreign(l.Node, 0, 0, 0, 1, 0)
			}
		}
		if l.Reason == ReasonRefused {
			for m := range b.messages {
				if b.messages[m].pos == l.Pos {
					refused[int32(m)] = append(refused[int32(m)], l.Records...)
				}
			}
		}
	}
	for i := range b.notes {
		n := &b.notes[i]
		switch n.kind {
		case noteRecords:
			k.records(b, n, refused[n.message])
		case noteLoss:
			k.Ledger.Mark(n.node, n.epoch, n.from, n.to, Lost, false, n.reason)
		case noteFloor:
			k.Ledger.Floor(n.node, n.epoch, n.to)
		case noteListed:
			k.Ledger.Listed(n.node, n.epochs)
		case noteForeign:
			stored := n.foreign[0] - min(n.foreign[0], uint64(len(refused[n.message])))
			k.Ledger.Foreign(n.node, stored, min(n.foreign[1], stored), min(n.foreign[2], stored), 0, n.foreign[3])
		}
	}
	for m := range b.marks {
		k.Hours.Mark(m)
	}
	for _, birth := range b.births {
		k.Intervals.Learn(birth)
	}
}

// records marks a stretch of records, but for those that were refused: they
// have their letter.
func (k *Books) records(b *Batch, n *note, refused []int) {
	from := n.from
	if len(refused) > 0 {
		first := b.messages[n.message].run.First
		slices.Sort(refused)
		for _, r := range refused {
			number := first + uint64(r)
			if number < from || number > n.to {
				continue
			}
			k.mark(n, from, number-1)
			from = number + 1
		}
	}
	k.mark(n, from, n.to)
}

func (k *Books) mark(n *note, from, to uint64) {
	if from > to {
		return
	}
	reason := telemetry.LossReason("")
	if n.class.status == Lost {
		reason = lossReasons[n.class.reason]
	}
	k.Ledger.Mark(n.node, n.epoch, from, to, n.class.status, n.class.gap, reason)
}

// Retried notes a letter whose records are in the database now, as the batch
// that a retry made of it says.
func (k *Books) Retried(l *Letter, b *Batch) {
	k.Settle(b, nil)
	if l.Epoch == 0 {
		// Settle has counted them as new; they were expected already.
		k.Ledger.Retried(l.Node)
	}
}

// Load takes one row of the checkpoint.
func (k *Books) Load(table string, key, value []byte) error {
	if err := k.Ledger.Load(table, key, value); err != nil {
		return err
	}
	if err := k.Hours.Load(table, key, value); err != nil {
		return err
	}
	return k.Intervals.Load(table, key, value)
}

// Checkpoint adds what changed since its last call.
func (k *Books) Checkpoint(d *checkpoint.Delta) {
	k.Ledger.Checkpoint(d)
	k.Hours.Checkpoint(d)
	k.Intervals.Checkpoint(d)
}

// seriesID names a stored series.
type seriesID struct {
	node             telemetry.Node
	device, quantity string
}

func (id seriesID) key() []byte {
	return appendName(appendName(nodeKey(id.node), id.device), id.quantity)
}

type datedInterval struct {
	since    int64 // Unix milliseconds
	interval int64 // milliseconds
}

// Intervals remember at which interval each series was sampled, and since when:
// so many readings are expected of an hour.
type Intervals struct {
	nodes   map[telemetry.Node]map[[2]string][]datedInterval // by device and quantity; oldest first
	changed map[seriesID]bool
}

// maxIntervals is how many changes of one series are remembered, maxPaced how
// many series of one node.
const (
	maxIntervals = 32
	maxPaced     = 4096
)

// NewIntervals returns none.
func NewIntervals() *Intervals {
	return &Intervals{nodes: map[telemetry.Node]map[[2]string][]datedInterval{}, changed: map[seriesID]bool{}}
}

// Learn takes what a birth says.
func (v *Intervals) Learn(b *Birth) {
	since := b.Received / 1e6
	node := v.node(b.Node)
	for i := range b.Series {
		s := &b.Series[i]
		interval := s.Interval.Milliseconds()
		if s.Quantity == "" || interval <= 0 {
			continue
		}
		key := [2]string{s.Device, s.Quantity}
		list := node[key]
		if list == nil && len(node) >= maxPaced {
			continue
		}
		at, found := slices.BinarySearchFunc(list, since, func(d datedInterval, t int64) int { return cmp.Compare(d.since, t) })
		if (at > 0 && list[at-1].interval == interval) || (found && list[at].interval == interval) {
			continue
		}
		if found {
			list[at].interval = interval
		} else {
			list = slices.Insert(list, at, datedInterval{since, interval})
		}
		if len(list) > maxIntervals {
			list = slices.Delete(list, 0, 1)
		}
		node[key] = list
		v.changed[seriesID{b.Node, s.Device, s.Quantity}] = true
	}
}

func (v *Intervals) node(n telemetry.Node) map[[2]string][]datedInterval {
	m := v.nodes[n]
	if m == nil {
		m = map[[2]string][]datedInterval{}
		v.nodes[n] = m
	}
	return m
}

// Interval returns the interval of a series at a time (Unix milliseconds); 0 if
// no birth named one. Before the first birth its interval counts.
func (v *Intervals) Interval(n telemetry.Node, device, quantity string, at int64) time.Duration {
	return intervalAt(v.nodes[n][[2]string{device, quantity}], at)
}

func intervalAt(list []datedInterval, at int64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	i, found := slices.BinarySearchFunc(list, at, func(d datedInterval, t int64) int { return cmp.Compare(d.since, t) })
	if !found {
		i = max(0, i-1)
	}
	return time.Duration(list[i].interval) * time.Millisecond
}

// Of lists the series of a node that have an interval, with that at a time.
func (v *Intervals) Of(n telemetry.Node, at int64, fn func(device, quantity string, interval time.Duration)) {
	for key, list := range v.nodes[n] {
		fn(key[0], key[1], intervalAt(list, at))
	}
}

const tableIntervals = "intervals"

// Load takes one row; rows of other tables are ignored.
func (v *Intervals) Load(table string, key, value []byte) error {
	if table != tableIntervals {
		return nil
	}
	var id seriesID
	var err error
	rest := key
	if id.node, rest, err = cutNode(rest); err != nil {
		return err
	}
	if id.device, rest, err = cutName(rest); err != nil {
		return err
	}
	if id.quantity, _, err = cutName(rest); err != nil {
		return err
	}
	u := unpack{b: value}
	var list []datedInterval
	for len(u.b) > 0 {
		list = append(list, datedInterval{u.varint(), u.varint()})
	}
	if err := u.done("interval", key); err != nil {
		return err
	}
	v.node(id.node)[[2]string{id.device, id.quantity}] = list
	return nil
}

// Checkpoint adds what changed since its last call.
func (v *Intervals) Checkpoint(d *checkpoint.Delta) {
	for id := range v.changed {
		var b []byte
		for _, e := range v.nodes[id.node][[2]string{id.device, id.quantity}] {
			b = binary.AppendVarint(binary.AppendVarint(b, e.since), e.interval)
		}
		d.Put(tableIntervals, id.key(), b)
	}
	clear(v.changed)
}
