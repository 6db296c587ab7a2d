package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/pantau-id/pantau/ingest/influx"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// Report is the comparison of a generator's own ledger with the database, in
// readings.
type Report struct {
	Sent         uint64 `json:"sent"`
	Acknowledged uint64 `json:"acknowledged"`
	Stored       uint64 `json:"stored"`   // as sent, valid
	Rejected     uint64 `json:"rejected"` // as sent, rejected by quality
	Gaps         uint64 `json:"gaps"`     // sent and stored as a gap
	DeadLetters  uint64 `json:"dead_letters"`
	// Missing were sent, never acknowledged, and are not there: their sender still
	// has them.
	Missing uint64 `json:"missing"`
	// Lost were acknowledged and are nowhere: broken promises, as are the next two.
	Lost     uint64   `json:"lost"`
	Doubled  uint64   `json:"doubled"` // in the database more often than sent
	Altered  uint64   `json:"altered"` // under another value than sent
	Examples []string `json:"examples,omitempty"`
}

// OK reports whether every acknowledged reading is there, once and as sent.
func (r *Report) OK() bool { return r.Lost == 0 && r.Doubled == 0 && r.Altered == 0 }

const maxExamples = 20

func (r *Report) example(format string, args ...any) {
	if len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, fmt.Sprintf(format, args...))
	}
}

// Verify compares a ledger with the database. The ledger is text, a line a
// reading: kind (S sent, A acknowledged), gateway (group/id), epoch, number,
// device, quantity, Unix milliseconds and value (NaN for a gap), separated by
// tabs. A last line without its end was being written when its writer died and
// is left out. letters say which records are dead letters.
//
// Memory is 40 bytes a line; the database is asked once for each gateway and
// kind.
func Verify(ctx context.Context, ledger io.Reader, db influx.PointReader, letters []Letter) (Report, error) {
	l, err := readSent(ledger)
	if err != nil {
		return Report{}, err
	}
	dead := map[epochID][][2]uint64{}
	for i := range letters {
		id := epochID{letters[i].Node, letters[i].Epoch}
		dead[id] = append(dead[id], letters[i].Numbers...)
	}
	var report Report
	for _, id := range slices.SortedFunc(maps.Keys(l.groups), func(a, b sentGroupID) int {
		return cmp.Or(compareNodes(a.node, b.node), cmp.Compare(a.kind, b.kind))
	}) {
		if err := l.groups[id].compare(ctx, id, db, dead, &report); err != nil {
			return report, fmt.Errorf("compare %v, %s: %w", id.node, id.kind, err)
		}
	}
	return report, nil
}

// sent is one line of the ledger.
type sent struct {
	epoch  telemetry.Epoch
	number uint64
	ms     int64
	value  float64
	acked  bool
}

type sentGroupID struct {
	node telemetry.Node
	kind telemetry.Kind
}

// sentGroup is what one gateway sent of one kind, by series.
type sentGroup struct {
	series map[[2]string]*sentSeries // by device and quantity, as stored
}

type sentSeries struct {
	id    seriesID
	lines []sent // after tidy: one a reading, by time
	// The walk through the database's points, which come by time.
	next  int
	at    int64
	found []telemetry.Reading
}

type sentLedger struct {
	groups map[sentGroupID]*sentGroup
	nodes  map[string]telemetry.Node // parsed once
	series map[string]*sentSeries    // by gateway, device and quantity as they stand in the file
	key    []byte
}

func readSent(r io.Reader) (*sentLedger, error) {
	l := &sentLedger{groups: map[sentGroupID]*sentGroup{}, nodes: map[string]telemetry.Node{}, series: map[string]*sentSeries{}}
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			break // what stands before it has no end
		}
		if err != nil {
			return nil, fmt.Errorf("read the ledger's line %d: %w", n, err)
		}
		if err := l.line(line[:len(line)-1]); err != nil {
			return nil, fmt.Errorf("read the ledger's line %d: %w", n, err)
		}
	}
	for _, g := range l.groups {
		for _, s := range g.series {
			s.tidy()
		}
	}
	return l, nil
}

func (l *sentLedger) line(b []byte) error {
	var f [8][]byte
	rest := b
	for i := range f {
		var ok bool
		if f[i], rest, ok = bytes.Cut(rest, []byte{'\t'}); ok != (i < len(f)-1) {
			return fmt.Errorf("want 8 fields separated by tabs: %q", b)
		}
	}
	if len(f[0]) != 1 || (f[0][0] != 'S' && f[0][0] != 'A') {
		return fmt.Errorf("kind %q: want S or A", f[0])
	}
	s, err := l.seriesOf(f[1], f[4], f[5])
	if err != nil {
		return err
	}
	epoch, err1 := strconv.ParseUint(string(f[2]), 16, 64)
	number, err2 := strconv.ParseUint(string(f[3]), 10, 64)
	ms, err3 := strconv.ParseInt(string(f[6]), 10, 64)
	value, err4 := strconv.ParseFloat(string(f[7]), 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	s.lines = append(s.lines, sent{telemetry.Epoch(epoch), number, ms, value, f[0][0] == 'A'})
	return nil
}

func (l *sentLedger) seriesOf(gateway, device, quantity []byte) (*sentSeries, error) {
	l.key = append(append(append(append(append(l.key[:0], gateway...), 0), device...), 0), quantity...)
	if s := l.series[string(l.key)]; s != nil {
		return s, nil
	}
	node, ok := l.nodes[string(gateway)]
	if !ok {
		var err error
		if node, err = telemetry.ParseNode(string(gateway)); err != nil {
			return nil, err
		}
		l.nodes[string(gateway)] = node
	}
	s := &sentSeries{id: seriesID{node, cleanName(string(device)), string(quantity)}}
	kind := telemetry.KindOther
	if q, ok := telemetry.Lookup(s.id.quantity); ok {
		kind = q.Kind
	} else {
		s.id.quantity = cleanField(s.id.quantity)
	}
	id := sentGroupID{node, kind}
	g := l.groups[id]
	if g == nil {
		g = &sentGroup{series: map[[2]string]*sentSeries{}}
		l.groups[id] = g
	}
	g.series[[2]string{s.id.device, s.id.quantity}] = s
	l.series[string(l.key)] = s
	return s, nil
}

// tidy joins the lines of one reading and puts readings into the order of time.
func (s *sentSeries) tidy() {
	slices.SortFunc(s.lines, func(a, b sent) int { return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.number, b.number)) })
	out := s.lines[:0]
	for _, x := range s.lines {
		if n := len(out); n > 0 && out[n-1].epoch == x.epoch && out[n-1].number == x.number {
			out[n-1].acked = out[n-1].acked || x.acked
			continue
		}
		out = append(out, x)
	}
	s.lines = out
	slices.SortFunc(s.lines, func(a, b sent) int { return cmp.Compare(a.ms, b.ms) })
}

// compare reads the database over the group's time and settles every series.
func (g *sentGroup) compare(ctx context.Context, id sentGroupID, db influx.PointReader, dead map[epochID][][2]uint64, r *Report) error {
	from, to := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range g.series {
		from, to = min(from, s.lines[0].ms), max(to, s.lines[len(s.lines)-1].ms)
		r.Sent += uint64(len(s.lines))
		for i := range s.lines {
			if s.lines[i].acked {
				r.Acknowledged++
			}
		}
	}
	stored := telemetry.Node{Group: cleanName(id.node.Group), ID: cleanName(id.node.ID)}
	span := influx.Span{Kinds: []telemetry.Kind{id.kind}, Node: stored, From: time.UnixMilli(from), To: time.UnixMilli(to + 1)}
	missing := func(s *sentSeries, x *sent) { s.missing(x, dead, r) }
	err := db.Points(ctx, span, func(p *influx.Point) error {
		ms := floorMilli(p.Time)
		for i := range p.Readings {
			s := g.series[[2]string{p.Device, p.Readings[i].Quantity}]
			if s == nil {
				continue // not the generator's
			}
			if ms != s.at && len(s.found) > 0 {
				s.settle(missing, r)
			}
			s.at = ms
			s.found = append(s.found, p.Readings[i])
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range slices.SortedFunc(maps.Keys(g.series), func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }) {
		s := g.series[key]
		if len(s.found) > 0 {
			s.settle(missing, r)
		}
		for ; s.next < len(s.lines); s.next++ {
			missing(s, &s.lines[s.next])
		}
	}
	return nil
}

func floorMilli(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}

// settle compares what the database has of one millisecond with what was sent:
// a reading may stand there more than once, under clocks that differ.
func (s *sentSeries) settle(missing func(*sentSeries, *sent), r *Report) {
	for s.next < len(s.lines) && s.lines[s.next].ms < s.at {
		missing(s, &s.lines[s.next])
		s.next++
	}
	from := s.next
	for s.next < len(s.lines) && s.lines[s.next].ms == s.at {
		s.next++
	}
	wanted := s.lines[from:s.next]
	taken := make([]bool, len(wanted))
	var others []telemetry.Reading
	for _, f := range s.found {
		i := -1
		for j := range wanted {
			if !taken[j] && same(&wanted[j], &f) {
				i = j
				break
			}
		}
		if i < 0 {
			others = append(others, f)
			continue
		}
		taken[i] = true
		switch {
		case f.Gap != telemetry.GapNone:
			r.Gaps++
		case f.Flag != telemetry.FlagNone:
			r.Rejected++
		default:
			r.Stored++
		}
	}
	s.found = s.found[:0]
	for i := range wanted {
		if taken[i] {
			continue
		}
		if len(others) == 0 {
			missing(s, &wanted[i])
			continue
		}
		r.Altered++
		r.example("altered: %v epoch %v number %d: sent %v, stored %v%s", s.id, wanted[i].epoch, wanted[i].number, wanted[i].value, others[0].Value, others[0].Gap)
		others = others[1:]
	}
	for _, o := range others {
		r.Doubled++
		r.example("doubled: %v at %d: %v%s was not sent again", s.id, s.at, o.Value, o.Gap)
	}
}

func same(x *sent, f *telemetry.Reading) bool {
	if f.Gap != telemetry.GapNone {
		return math.IsNaN(x.value)
	}
	return f.Value.Type != telemetry.Text && f.Value.Number == x.value
}

func (s *sentSeries) missing(x *sent, dead map[epochID][][2]uint64, r *Report) {
	for _, d := range dead[epochID{s.id.node, x.epoch}] {
		if d[0] <= x.number && x.number <= d[1] {
			r.DeadLetters++
			return
		}
	}
	if !x.acked {
		r.Missing++
		return
	}
	r.Lost++
	r.example("lost: %v epoch %v number %d at %d: %v was acknowledged", s.id, x.epoch, x.number, x.ms, x.value)
}

// String writes the series as group/id/device/quantity.
func (id seriesID) String() string { return id.node.String() + "/" + id.device + "/" + id.quantity }

// Verify compares a generator's ledger with the database, as it is now: let the
// store catch up before.
func (i *Ingest) Verify(ctx context.Context, ledger io.Reader) (Report, error) {
	letters, err := i.DeadLetters(ctx)
	if err != nil {
		return Report{}, err
	}
	return Verify(ctx, ledger, i.o.Influx, letters)
}
