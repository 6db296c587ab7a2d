package ingest

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Series is one quantity of one device as it is stored.
type Series struct {
	Device   string // as stored; empty for the node itself
	Quantity string // the catalogue's name, or the cleaned foreign one
	Kind     telemetry.Kind
	Agg      telemetry.Aggregation
	Unit     telemetry.Unit
	Interval time.Duration // between two values; 0 = not said
	Known    bool          // in the catalogue
}

// BirthKey names one birth certificate.
type BirthKey struct {
	Node    telemetry.Node
	Device  string // the topic's; empty for NBIRTH
	Session uint64
	Pos     Position
}

// Birth is a birth certificate at its place in the journal. It never changes
// once it is in the table; readers share it.
type Birth struct {
	BirthKey
	*sparkplug.Birth        // nil: it could not be read, and voids the one before it
	Raw              []byte // the payload's bytes
	Received         int64  // Unix nanoseconds UTC
	// Series says, for each definition in the birth's order, where its values are
	// stored. The entry of Pantau/Run is empty.
	Series []Series
}

// newBirth parses a birth's payload and settles under which names its values
// are stored. It keeps raw.
func newBirth(key BirthKey, raw []byte, received int64) (*Birth, error) {
	var p sparkplug.Payload
	if err := sparkplug.Decode(raw, &p); err != nil {
		return nil, err
	}
	parsed, err := sparkplug.ParseBirth(&p, key.Device)
	if err != nil {
		return nil, err
	}
	b := &Birth{BirthKey: key, Birth: parsed, Raw: raw, Received: received, Series: make([]Series, len(parsed.Definitions))}
	taken := map[[2]string]bool{} // two foreign names may mean one quantity: the first has it
	for i, d := range parsed.Definitions {
		if d.Name == sparkplug.MetricRun && parsed.Wire == 1 {
			continue
		}
		s := Series{Device: cleanName(d.Device), Unit: d.Unit, Interval: d.Interval}
		numeric := d.Type != sparkplug.TypeString && d.Type != sparkplug.TypeText && d.Type != sparkplug.TypeUUID
		q, known := telemetry.Match(d.Quantity, d.Unit)
		if known && numeric && !taken[[2]string{s.Device, q.Name}] {
			s.Quantity, s.Kind, s.Agg, s.Known = q.Name, q.Kind, q.Agg, true
			if s.Unit == telemetry.Unknown {
				s.Unit = q.Unit
			}
		} else {
			s.Quantity, s.Kind, s.Agg = cleanField(d.Quantity), telemetry.KindOther, telemetry.AggMean
			for taken[[2]string{s.Device, s.Quantity}] {
				s.Quantity += "_"
			}
			if !numeric {
				s.Agg = telemetry.AggLast
			}
		}
		taken[[2]string{s.Device, s.Quantity}] = true
		b.Series[i] = s
	}
	return b, nil
}

// keptSessions is how many sessions of a node keep their births after all readers
// have passed them: the broker cuts the older session of a client that comes
// back, so only what it had read just then can still follow.
const keptSessions = 3

// Births is the one table of what messages mean: birth certificates by (node,
// session, device, journal position), and the order in which each node's epochs
// first appeared. It holds facts of the journal only, so readers that stand at
// different places share it: each asks for what lay before its own place.
//
// What Learn adds must be durable (Changes) before a reader's checkpoint passes
// it. Births may be used by several readers at once.
type Births struct {
	mu      sync.RWMutex
	holes   Holes
	nodes   map[telemetry.Node]*nodeBirths
	changed checkpoint.Delta
}

type nodeBirths struct {
	sessions map[uint64]*sessionBirths
	order    []*Birth // NBIRTHs of all sessions, by position
	epochs   map[telemetry.Epoch]uint64
	next     uint64 // rank of the next unknown epoch
}

type sessionBirths struct {
	byDevice map[string][]*Birth // "" = NBIRTH; each by position
}

// NewBirths returns an empty table.
func NewBirths(h Holes) *Births { return &Births{holes: h, nodes: map[telemetry.Node]*nodeBirths{}} }

func (t *Births) node(n telemetry.Node) *nodeBirths {
	nb := t.nodes[n]
	if nb == nil {
		nb = &nodeBirths{sessions: map[uint64]*sessionBirths{}, epochs: map[telemetry.Epoch]uint64{}, next: 1}
		t.nodes[n] = nb
	}
	return nb
}

// Learn puts a birth into the table, unless another reader has already.
func (t *Births) Learn(b *Birth) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.insert(b) {
		return
	}
	t.changed.Put(tableBirths, birthKey(b.BirthKey), append(binary.BigEndian.AppendUint64(nil, uint64(b.Received)), b.Raw...))
	if b.Device == "" && b.Birth != nil {
		nb := t.node(b.Node)
		for _, e := range b.Epochs {
			t.rank(nb, b.Node, e.Epoch)
		}
	}
}

// insert returns false if the birth was there.
func (t *Births) insert(b *Birth) bool {
	nb := t.node(b.Node)
	s := nb.sessions[b.Session]
	if s == nil {
		s = &sessionBirths{byDevice: map[string][]*Birth{}}
		nb.sessions[b.Session] = s
	}
	list, added := insertBirth(s.byDevice[b.Device], b)
	if !added {
		return false
	}
	s.byDevice[b.Device] = list
	if b.Device == "" {
		nb.order, _ = insertBirth(nb.order, b)
	}
	return true
}

func insertBirth(list []*Birth, b *Birth) ([]*Birth, bool) {
	i, found := slices.BinarySearchFunc(list, b.Pos, compareBirth)
	if found {
		return list, false
	}
	return slices.Insert(list, i, b), true
}

func compareBirth(b *Birth, p Position) int {
	switch {
	case b.Pos.Before(p):
		return -1
	case p.Before(b.Pos):
		return 1
	}
	return 0
}

// before returns the newest of list that lies before p.
func before(list []*Birth, p Position) *Birth {
	i, _ := slices.BinarySearchFunc(list, p, compareBirth)
	if i == 0 {
		return nil
	}
	return list[i-1]
}

// Find returns the birth by which data of a node (device "") or of its device
// are decoded: the newest before p of the same session. A device's birth counts
// only while it is younger than the node's, which voids it.
// [tck-id-message-flow-device-birth-publish-nbirth-wait]
func (t *Births) Find(n telemetry.Node, device string, session uint64, p Position) (*Birth, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	nb := t.nodes[n]
	if nb == nil {
		return nil, false
	}
	if t.holes.AnySessionBirth && device == "" {
		b := before(nb.order, p)
		return b, b != nil
	}
	s := nb.sessions[session]
	if s == nil {
		return nil, false
	}
	node := before(s.byDevice[""], p)
	if device == "" || node == nil {
		return node, node != nil
	}
	b := before(s.byDevice[device], p)
	if b == nil || b.Pos.Before(node.Pos) {
		return nil, false
	}
	return b, true
}

// After returns the first birth of the same session after p: for data that came
// before their birth and wait as a dead letter.
func (t *Births) After(n telemetry.Node, device string, session uint64, p Position) (*Birth, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	nb := t.nodes[n]
	if nb == nil || nb.sessions[session] == nil {
		return nil, false
	}
	list := nb.sessions[session].byDevice[device]
	i, _ := slices.BinarySearchFunc(list, p, compareBirth)
	if i == len(list) {
		return nil, false
	}
	return list[i], true
}

// Newest returns the session of the node's newest NBIRTH before p; 0 if there
// is none.
func (t *Births) Newest(n telemetry.Node, p Position) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	nb := t.nodes[n]
	if nb == nil {
		return 0
	}
	if b := before(nb.order, p); b != nil {
		return b.Session
	}
	return 0
}

// Rank orders the epochs of a node: the later an epoch appeared in the journal
// (in an NBIRTH's list, which goes from old to new, or with its first data), the
// higher its rank. Ranks start at 1 and never change.
func (t *Births) Rank(n telemetry.Node, e telemetry.Epoch) uint64 {
	t.mu.RLock()
	if nb := t.nodes[n]; nb != nil {
		if r, ok := nb.epochs[e]; ok {
			t.mu.RUnlock()
			return r
		}
	}
	t.mu.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rank(t.node(n), n, e)
}

func (t *Births) rank(nb *nodeBirths, n telemetry.Node, e telemetry.Epoch) uint64 {
	r, ok := nb.epochs[e]
	if !ok {
		r = nb.next
		nb.next++
		nb.epochs[e] = r
		t.changed.Put(tableEpochs, epochKey(n, e), binary.AppendUvarint(nil, r))
		if len(nb.epochs) > maxRanks {
			for old, rank := range nb.epochs {
				if rank+maxRanks/2 < nb.next {
					delete(nb.epochs, old)
					t.changed.Delete(tableEpochs, epochKey(n, old))
				}
			}
		}
	}
	return r
}

// maxRanks bounds the epochs remembered of one node; the older half then goes.
const maxRanks = 8192

func epochKey(n telemetry.Node, e telemetry.Epoch) []byte {
	return binary.BigEndian.AppendUint64(nodeKey(n), uint64(e))
}

// Prune forgets births that no reader can need, when every reader's durable
// checkpoint has reached seq: those that a newer birth of the same session and
// device has replaced by then, and those of all but the newest sessions.
func (t *Births) Prune(seq uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	reached := Position{Seq: seq + 1}
	for _, nb := range t.nodes {
		var done []*Birth // NBIRTHs behind all readers, newest last, one a session
		seen := map[uint64]bool{}
		for i := len(nb.order) - 1; i >= 0; i-- {
			if b := nb.order[i]; b.Pos.Before(reached) && !seen[b.Session] {
				seen[b.Session] = true
				done = append(done, b)
			} else if !b.Pos.Before(reached) {
				seen[b.Session] = true // still growing: keep it
			}
		}
		for i, b := range done {
			if i >= keptSessions {
				for device, list := range nb.sessions[b.Session].byDevice {
					t.forget(nb, list)
					delete(nb.sessions[b.Session].byDevice, device)
				}
				delete(nb.sessions, b.Session)
			}
		}
		for id, s := range nb.sessions {
			for device, list := range s.byDevice {
				if i, _ := slices.BinarySearchFunc(list, reached, compareBirth); i > 1 {
					t.forget(nb, list[:i-1])
					s.byDevice[device] = slices.Clone(list[i-1:])
				}
			}
			// Device births without an NBIRTH mean nothing; drop them once all passed.
			if len(s.byDevice[""]) == 0 && !slices.ContainsFunc(nb.order, func(b *Birth) bool { return b.Session == id }) {
				stale := true
				for _, list := range s.byDevice {
					stale = stale && list[len(list)-1].Pos.Before(reached)
				}
				if stale {
					for _, list := range s.byDevice {
						t.forget(nb, list)
					}
					delete(nb.sessions, id)
				}
			}
		}
	}
}

func (t *Births) forget(nb *nodeBirths, list []*Birth) {
	for _, b := range list {
		t.changed.Delete(tableBirths, birthKey(b.BirthKey))
		if b.Device != "" {
			continue
		}
		if i, ok := slices.BinarySearchFunc(nb.order, b.Pos, compareBirth); ok {
			nb.order = slices.Delete(nb.order, i, i+1)
		}
	}
}

// Len counts the births in the table.
func (t *Births) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := 0
	for _, nb := range t.nodes {
		for _, s := range nb.sessions {
			for _, list := range s.byDevice {
				n += len(list)
			}
		}
	}
	return n
}

// Tables of the births' checkpoint.
const (
	tableBirths = "births"
	tableEpochs = "epochs"
)

func birthKey(k BirthKey) []byte {
	b := appendName(nodeKey(k.Node), k.Device)
	b = binary.BigEndian.AppendUint64(b, k.Session)
	b = binary.BigEndian.AppendUint64(b, k.Pos.Seq)
	return binary.BigEndian.AppendUint32(b, k.Pos.Index)
}

// Load takes one row of the table's checkpoint.
func (t *Births) Load(table string, key, value []byte) error {
	n, rest, err := cutNode(key)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch table {
	case tableBirths:
		device, rest, err := cutName(rest)
		if err != nil || len(rest) != 20 || len(value) < 8 {
			return fmt.Errorf("checkpoint row birth %x does not fit", key)
		}
		k := BirthKey{
			Node: n, Device: device, Session: binary.BigEndian.Uint64(rest),
			Pos: Position{Seq: binary.BigEndian.Uint64(rest[8:]), Index: binary.BigEndian.Uint32(rest[16:])},
		}
		b, err := newBirth(k, value[8:], int64(binary.BigEndian.Uint64(value)))
		if err != nil { // it was void when it came, too
			b = &Birth{BirthKey: k, Raw: value[8:], Received: int64(binary.BigEndian.Uint64(value))}
		}
		t.insert(b)
	case tableEpochs:
		u := unpack{b: value}
		r := u.uvarint()
		if len(rest) != 8 {
			u.bad = true
		}
		if err := u.done("epoch", key); err != nil {
			return err
		}
		nb := t.node(n)
		nb.epochs[telemetry.Epoch(binary.BigEndian.Uint64(rest))] = r
		nb.next = max(nb.next, r+1)
	}
	return nil
}

// Changes hands over what was learnt and forgotten since the last call.
func (t *Births) Changes() checkpoint.Delta {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.changed
	t.changed = checkpoint.Delta{}
	return d
}
