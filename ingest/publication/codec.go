package publication

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/pantau-id/pantau/internal/figures"
)

// Values are packed by hand: a year of a station is some ten thousand of them,
// which JSON would take a hundred times as long to read.

type packer struct{ b []byte }

func (p *packer) uint(v int)       { p.b = binary.AppendUvarint(p.b, uint64(max(0, v))) }
func (p *packer) seq(v uint64)     { p.b = binary.AppendUvarint(p.b, v) }
func (p *packer) time(t time.Time) { p.b = binary.AppendVarint(p.b, t.UnixMilli()) }
func (p *packer) float(v float64) {
	p.b = binary.LittleEndian.AppendUint64(p.b, math.Float64bits(v))
}
func (p *packer) text(s string) {
	p.b = binary.AppendUvarint(p.b, uint64(len(s)))
	p.b = append(p.b, s...)
}
func (p *packer) counts(m map[string]int) {
	p.uint(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		p.text(k)
		p.uint(m[k])
	}
}

// unpacker remembers that something did not fit; what it gives then is zero.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) seq() uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 {
		u.b, u.bad = nil, true
		return 0
	}
	u.b = u.b[n:]
	return v
}

func (u *unpacker) uint() int { return int(u.seq()) }

func (u *unpacker) time() time.Time {
	v, n := binary.Varint(u.b)
	if n <= 0 {
		u.b, u.bad = nil, true
		return time.Time{}
	}
	u.b = u.b[n:]
	return time.UnixMilli(v).UTC()
}

func (u *unpacker) take(n int) []byte {
	if n < 0 || n > len(u.b) {
		u.b, u.bad = nil, true
		return nil
	}
	out := u.b[:n]
	u.b = u.b[n:]
	return out
}

func (u *unpacker) float() float64 {
	b := u.take(8)
	if b == nil {
		return 0
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

func (u *unpacker) text() string { return string(u.take(u.uint())) }

func (u *unpacker) byte() byte {
	b := u.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// length bounds a count by what is left, so that damage asks for no memory.
func (u *unpacker) length() int {
	n := u.uint()
	if n < 0 || n > len(u.b) {
		u.b, u.bad = nil, true
		return 0
	}
	return n
}

func (u *unpacker) counts() map[string]int {
	n := u.length()
	if n == 0 {
		return nil
	}
	m := make(map[string]int, n)
	for range n {
		k := u.text()
		m[k] = u.uint()
	}
	return m
}

func (u *unpacker) done(what string) error {
	if u.bad || len(u.b) > 0 {
		return fmt.Errorf("%w: %s cannot be read", ErrDamaged, what)
	}
	return nil
}

// A sheet holds what belongs to the hours of one day: repeated {hour, length,
// entry}, by hour.

// sheetGet returns an hour's entry; nil if there is none.
func sheetGet(sheet []byte, hour byte) ([]byte, error) {
	var out []byte
	err := sheetEach(sheet, func(h byte, entry []byte) error {
		if h == hour {
			out = entry
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return out, err
}

var errFound = errors.New("found")

func sheetEach(sheet []byte, fn func(hour byte, entry []byte) error) error {
	u := unpacker{b: sheet}
	for len(u.b) > 0 {
		hour := u.byte()
		entry := u.take(u.uint())
		if u.bad {
			return fmt.Errorf("%w: a sheet cannot be read", ErrDamaged)
		}
		if err := fn(hour, entry); err != nil {
			return err
		}
	}
	return nil
}

// sheetPut returns a new sheet with an hour's entry set.
func sheetPut(sheet []byte, hour byte, entry []byte) ([]byte, error) {
	p := packer{b: make([]byte, 0, len(sheet)+len(entry)+4)}
	add := func(h byte, e []byte) {
		p.b = append(p.b, h)
		p.uint(len(e))
		p.b = append(p.b, e...)
	}
	done := false
	err := sheetEach(sheet, func(h byte, e []byte) error {
		if !done && h >= hour {
			add(hour, entry)
			done = true
		}
		if h != hour {
			add(h, e)
		}
		return nil
	})
	if !done {
		add(hour, entry)
	}
	return p.b, err
}

// hourEntry is a site hour as it is kept; seq is the book's number of the change
// that wrote it.
type hourEntry struct {
	figures.SiteHour
	seq uint64
}

// values are the numbers that an aggregation may give.
func values(h *figures.SiteHour) [7]*float64 {
	return [7]*float64{&h.Mean, &h.Min, &h.Max, &h.First, &h.Last, &h.Increase, &h.Sum}
}

func (h *hourEntry) pack() []byte {
	p := packer{b: make([]byte, 0, 128)}
	p.seq(h.seq)
	p.uint(h.Version)
	p.time(h.Computed)
	p.uint(h.Valid)
	p.uint(h.Expected)
	p.uint(h.Resets)
	have := byte(0)
	for i, v := range values(&h.SiteHour) {
		if *v != 0 {
			have |= 1 << i
		}
	}
	p.b = append(p.b, have)
	for _, v := range values(&h.SiteHour) {
		if *v != 0 {
			p.float(*v)
		}
	}
	p.counts(h.Rejected)
	p.counts(h.Gaps)
	p.uint(len(h.Sources))
	for _, s := range h.Sources {
		p.text(s.Node.Group)
		p.text(s.Node.ID)
		p.text(s.Device)
		p.text(s.Sensor)
	}
	p.uint(len(h.Marks))
	for _, m := range h.Marks {
		p.text(m)
	}
	return p.b
}

// unpackHour reads an entry; its place comes from its key.
func unpackHour(site, quantity string, end time.Time, entry []byte) (h hourEntry, err error) {
	u := unpacker{b: entry}
	h.Site, h.Quantity, h.End = site, quantity, end
	h.seq = u.seq()
	h.Version = u.uint()
	h.Computed = u.time()
	h.Valid, h.Expected, h.Resets = u.uint(), u.uint(), u.uint()
	have := u.byte()
	for i, v := range values(&h.SiteHour) {
		if have&(1<<i) != 0 {
			*v = u.float()
		}
	}
	h.Rejected, h.Gaps = u.counts(), u.counts()
	if n := u.length(); n > 0 {
		h.Sources = make([]figures.Source, n)
		for i := range h.Sources {
			s := &h.Sources[i]
			s.Node.Group, s.Node.ID, s.Device, s.Sensor = u.text(), u.text(), u.text(), u.text()
		}
	}
	if n := u.length(); n > 0 {
		h.Marks = make([]string, n)
		for i := range h.Marks {
			h.Marks[i] = u.text()
		}
	}
	return h, u.done("an hour")
}

// figureEntry is a figure as it is kept, with what its trace needs.
type figureEntry struct {
	figures.Figure
	class string
	seq   uint64
}

var parameters = figures.Parameters()

func (f *figureEntry) pack() []byte {
	p := packer{b: make([]byte, 0, 192)}
	p.seq(f.seq)
	p.text(f.class)
	p.uint(f.Revision)
	flags := 0
	for i, b := range [...]bool{f.OK, f.Estimate, f.Simulated} {
		if b {
			flags |= 1 << i
		}
	}
	p.uint(flags)
	p.uint(f.Rules)
	p.time(f.Computed)
	p.time(f.Published)
	p.text(f.Reason)
	hash, _ := hex.DecodeString(f.Hash) // written by Trace.Sum
	p.text(string(hash))
	if f.OK {
		p.index(f.Index.Index)
		p.uint(slices.Index(parameters, f.Index.Dominant))
		p.uint(f.Index.Judged)
	}
	p.uint(len(f.Parts))
	for _, part := range f.Parts {
		p.uint(slices.Index(parameters, part.Parameter))
		p.float(part.Mean)
		p.uint(part.Hours)
		p.uint(part.Age)
		ok := 0
		if part.OK {
			ok = 1
		}
		p.uint(ok)
		if part.OK {
			p.index(part.Index)
		}
	}
	return p.b
}

func (p *packer) index(i figures.Index) {
	p.float(i.Exact)
	above := 0
	if i.Above {
		above = 1
	}
	p.uint(above)
	p.uint(i.Value)
	p.uint(int(i.Category))
}

func (u *unpacker) index() (i figures.Index) {
	i.Exact = u.float()
	i.Above = u.uint() == 1
	i.Value = u.uint()
	i.Category = figures.Category(u.uint())
	return i
}

func (u *unpacker) parameter() figures.Parameter {
	i := u.uint()
	if i < 0 || i >= len(parameters) {
		u.bad = true
		return ""
	}
	return parameters[i]
}

func unpackFigure(kind figures.Kind, site string, end time.Time, entry []byte) (f figureEntry, err error) {
	u := unpacker{b: entry}
	f.Kind, f.Site, f.End = kind, site, end
	f.seq, f.class, f.Revision = u.seq(), u.text(), u.uint()
	flags := u.uint()
	f.OK, f.Estimate, f.Simulated = flags&1 != 0, flags&2 != 0, flags&4 != 0
	f.Rules, f.Computed, f.Published, f.Reason = u.uint(), u.time(), u.time(), u.text()
	f.Hash = hex.EncodeToString(u.take(u.uint()))
	if f.OK {
		f.Index.Index = u.index()
		f.Index.Dominant = u.parameter()
		f.Index.Judged = u.uint()
	}
	if n := u.length(); n > 0 {
		f.Parts = make([]figures.Part, n)
		for i := range f.Parts {
			part := &f.Parts[i]
			part.Parameter, part.Mean, part.Hours, part.Age = u.parameter(), u.float(), u.uint(), u.uint()
			if part.OK = u.uint() == 1; part.OK {
				part.Index = u.index()
			}
		}
	}
	f.ID = figures.FigureID(kind, site, end, f.Revision)
	return f, u.done("a figure")
}

// Keys.

// dayNumber counts the days (WIB) since 1970.
func dayNumber(day time.Time) uint32 {
	return uint32(min(max(0, (day.Unix()+7*3600)/86400), math.MaxInt32))
}

func dayOfNumber(n uint32) time.Time { return time.Unix(int64(n)*86400-7*3600, 0).UTC() }

// placeOf says on which sheet, and where on it, the hour or figure that ends at
// end stands.
func placeOf(end time.Time) (day uint32, hour byte) {
	start := figures.Day(end)
	return dayNumber(start), byte(end.Sub(start)/time.Hour) - 1
}

func endOf(day uint32, hour byte) time.Time {
	return dayOfNumber(day).Add(time.Duration(hour+1) * time.Hour)
}

func daySite(day uint32, site string) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(site)), day), site...)
}

func cutDaySite(key []byte) (day uint32, site string) {
	return binary.BigEndian.Uint32(key), string(key[4:])
}

func hourKey(day uint32, site, quantity string) []byte {
	return append(append(daySite(day, site), 0), quantity...)
}

func figureKey(kind figures.Kind, day uint32, site string) []byte {
	return append(kindPrefix(kind, day), site...)
}

// kindPrefix begins the keys of all sites' figures of a day.
func kindPrefix(kind figures.Kind, day uint32) []byte {
	k := byte('h')
	if kind == figures.Daily {
		k = 'd'
	}
	return binary.BigEndian.AppendUint32([]byte{k}, day)
}

// older is the key of an earlier version or revision of what stands on the sheet
// key at hour.
func older(key []byte, hour byte, number int) []byte {
	out := append(slices.Clone(key), 0, hour)
	return binary.BigEndian.AppendUint32(out, uint32(number))
}
