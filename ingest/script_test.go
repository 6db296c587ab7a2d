package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/ingest/checkpoint"
	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// A script writes journal entries as the broker would, for the tests of this
// package.

var noon = time.Date(2026, 11, 24, 5, 0, 0, 0, time.UTC) // 12.00 WIB

var gw = telemetry.Node{Group: "3374", ID: "gw-1"}

// sender is one connection of one of our gateways.
type sender struct {
	node    telemetry.Node
	session uint64
	birth   *sparkplug.Birth
	clock   telemetry.ClockID
	at      time.Time // receive time
	enc     sparkplug.Encoder
	seq     uint64
}

func newSender(node telemetry.Node, session uint64, at time.Time, epoch telemetry.Epoch, definitions ...sparkplug.Definition) *sender {
	return &sender{node: node, session: session, at: at, clock: telemetry.ClockID{Epoch: epoch, Counter: 1},
		birth: &sparkplug.Birth{Wire: 1, BdSeq: session, HasBdSeq: true, Simulated: true, Version: "test", Definitions: definitions}}
}

// def is a definition of our gateways: "device/quantity".
func def(alias uint64, name string) sparkplug.Definition {
	device, quantity, _ := strings.Cut(name, "/")
	unit := telemetry.Unknown
	if q, ok := telemetry.Lookup(quantity); ok {
		unit = q.Unit
	}
	return sparkplug.Definition{Alias: alias, HasAlias: true, Device: device, Quantity: quantity, Type: sparkplug.TypeDouble, Unit: unit, Interval: time.Minute}
}

func (s *sender) packet(t sparkplug.MessageType, payload []byte) *envelope.Packet {
	return &envelope.Packet{Received: s.at.UnixNano(), Client: s.node.String(), Session: s.session,
		Topic: sparkplug.Topic{Type: t, Node: s.node}.String(), Payload: payload}
}

func (s *sender) nbirth(epochs ...telemetry.EpochFloor) *envelope.Packet {
	s.birth.Epochs = epochs
	return s.packet(sparkplug.NBIRTH, sparkplug.AppendBirth(nil, s.at.UnixMilli(), 0, s.birth))
}

func (s *sender) ndeath(bdSeq uint64) *envelope.Packet {
	p := s.packet(sparkplug.NDEATH, sparkplug.AppendDeath(nil, s.at.UnixMilli(), bdSeq))
	p.Flags = envelope.FlagWill
	return p
}

func (s *sender) alias(device, quantity string) (uint64, bool) {
	for _, d := range s.birth.Definitions {
		if d.Device == device && d.Quantity == quantity {
			return d.Alias, true
		}
	}
	return 0, false
}

// data makes an NDATA of records, numbered from first.
func (s *sender) data(first, floor uint64, backlog bool, records ...telemetry.Record) *envelope.Packet {
	for i := range records {
		records[i].Number = first + uint64(i)
	}
	run := telemetry.Run{Epoch: s.clock.Epoch, First: first, Count: uint64(len(records)), Clock: s.clock, Quality: telemetry.TimeNTP, Floor: floor, Backlog: backlog}
	s.seq++
	body, err := s.enc.AppendData(nil, s.at.UnixMilli(), s.seq&0xff, run, records, s.alias)
	if err != nil {
		panic(err)
	}
	return s.packet(sparkplug.NDATA, body)
}

// rec is a record of one device: name, value, name, value…
func rec(at time.Time, device string, pairs ...any) telemetry.Record {
	r := telemetry.Record{Device: device, Time: at.UnixMilli()}
	for i := 0; i < len(pairs); i += 2 {
		rd := telemetry.Reading{Quantity: pairs[i].(string)}
		switch v := pairs[i+1].(type) {
		case float64:
			rd.Value = telemetry.Num(v)
		case int:
			rd.Value = telemetry.Num(float64(v))
		case telemetry.GapReason:
			rd.Gap = v
		case telemetry.Flag:
			rd.Flag, rd.Value = v, telemetry.Num(1)
		case string:
			rd.Value = telemetry.Value{Type: telemetry.Text, Text: v}
		case bool:
			rd.Value = telemetry.Value{Type: telemetry.Bool}
			if v {
				rd.Value.Number = 1
			}
		}
		r.Readings = append(r.Readings, rd)
	}
	return r
}

// entry makes one envelope of packets.
func entry(packets ...*envelope.Packet) []byte {
	var b []byte
	for _, p := range packets {
		b = envelope.AppendPacket(b, p)
	}
	return b
}

func tick(at time.Time, uptime time.Duration, session uint64) []byte {
	return envelope.AppendTick(nil, envelope.Tick{Time: at.UnixNano(), Uptime: int64(uptime), Synced: true, Session: session})
}

// rig is a store reader without its shell: entries go in, lines come out.
type rig struct {
	t      testing.TB
	births *Births
	feed   *Feed
	store  *Store
	books  *Books
	seq    uint64
	rows   map[string][]byte // what a checkpoint file would hold
}

func newRig(t testing.TB, h Holes) *rig {
	b := NewBirths(h)
	return &rig{t: t, births: b, feed: NewFeed(b, h), store: NewStore(h), books: NewBooks(time.Minute, noon.UnixNano(), h), rows: map[string][]byte{}}
}

// put appends an entry and applies it.
func (r *rig) put(body []byte) {
	r.t.Helper()
	r.seq++
	if err := r.feed.Entry(r.seq, body, r.store); err != nil {
		r.t.Fatal(err)
	}
}

// settle takes the batch, as if the database had answered, and commits.
func (r *rig) settle() *Batch {
	b := r.store.Take(r.seq, nil)
	r.feed.Checkpoint(&b.Delta)
	r.books.Settle(b, nil)
	r.books.Checkpoint(&b.Delta)
	keepRows(r.rows, r.births.Changes())
	keepRows(r.rows, b.Delta)
	return b
}

func keepRows(rows map[string][]byte, d checkpoint.Delta) {
	d.Each(func(table string, key, value []byte) {
		k := table + "\x00" + string(key)
		if value == nil {
			delete(rows, k)
		} else {
			rows[k] = value
		}
	})
}

// restart loads all state from the checkpoint, as a killed process would.
func (r *rig) restart(h Holes) *rig {
	r.t.Helper()
	n := newRig(r.t, h)
	n.seq, n.rows = r.seq, maps.Clone(r.rows)
	for k, v := range r.rows {
		table, key, _ := strings.Cut(k, "\x00")
		var load func(string, []byte, []byte) error
		switch table {
		case tableBirths, tableEpochs:
			load = n.births.Load
		case tableRules, tableFrontier:
			load = n.feed.Load
		case tableClocks, tableDevices, tableOther:
			load = n.store.Load
		default:
			load = n.books.Load
		}
		if err := load(table, []byte(key), v); err != nil {
			r.t.Fatal(err)
		}
	}
	return n
}

func lines(b *Batch) []string {
	if len(b.Lines) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b.Lines), "\n"), "\n")
}

// memJournal is a journal in memory.
type memJournal struct {
	mu      sync.Mutex
	entries [][]byte
	first   uint64
	grew    chan struct{}
}

func newMemJournal() *memJournal { return &memJournal{first: 1, grew: make(chan struct{})} }

func (j *memJournal) Append(_ context.Context, body []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, body)
	close(j.grew)
	j.grew = make(chan struct{})
	return j.first + uint64(len(j.entries)) - 1, nil
}

func (j *memJournal) Read(ctx context.Context, after uint64, fn func(uint64, []byte) error) error {
	for next := after + 1; ; next++ {
		for {
			j.mu.Lock()
			next = max(next, j.first)
			grew := j.grew
			var body []byte
			ok := next < j.first+uint64(len(j.entries))
			if ok {
				body = j.entries[next-j.first]
			}
			j.mu.Unlock()
			if ok {
				if err := fn(next, body); err != nil {
					return err
				}
				break
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-grew:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (j *memJournal) Bounds(context.Context) (uint64, uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.first, j.first + uint64(len(j.entries)) - 1, nil
}

func (j *memJournal) Purge(_ context.Context, upTo uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.first <= upTo && len(j.entries) > 0 {
		j.entries, j.first = j.entries[1:], j.first+1
	}
	return nil
}

// memKV is a key-value bucket in memory.
type memKV struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (k *memKV) Get(_ context.Context, key string) ([]byte, uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if v, ok := k.m[key]; ok {
		return v, 1, nil
	}
	return nil, 0, fmt.Errorf("key %s: %w", key, fs.ErrNotExist)
}

func (k *memKV) Put(_ context.Context, key string, value []byte) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = map[string][]byte{}
	}
	k.m[key] = value
	return 1, nil
}

func (k *memKV) Delete(_ context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.m[key]; !ok {
		return fs.ErrNotExist
	}
	delete(k.m, key)
	return nil
}

func (k *memKV) List(context.Context, string) (map[string][]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.m), nil
}

var errKilled = errors.New("killed")
