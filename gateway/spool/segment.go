package spool

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// SegmentID says what a segment's records are relative to. All of it stands in
// the file's name, so that a segment stays readable when its first page is not.
type SegmentID struct {
	Seq      uint64 // counts the segments of a spool
	Epoch    telemetry.Epoch
	Boot     clock.BootID
	Base     uint64 // no number is lower
	BaseTime int64  // CLOCK_BOOTTIME in milliseconds that times are relative to
}

// String returns the segment's file name.
func (id SegmentID) String() string {
	return fmt.Sprintf("%08x-%v-%v-%x-%x.seg", id.Seq, id.Epoch, id.Boot, id.Base, id.BaseTime)
}

// ParseSegmentID reads a segment's file name.
func ParseSegmentID(name string) (SegmentID, bool) {
	var id SegmentID
	rest, ok := strings.CutSuffix(name, ".seg")
	parts := strings.Split(rest, "-")
	if !ok || len(parts) != 5 {
		return id, false
	}
	var errs [5]error
	id.Seq, errs[0] = strconv.ParseUint(parts[0], 16, 64)
	id.Epoch, errs[1] = telemetry.ParseEpoch(parts[1])
	boot, err := hex.DecodeString(parts[2])
	if len(boot) == len(id.Boot) {
		copy(id.Boot[:], boot)
	}
	errs[2] = err
	id.Base, errs[3] = strconv.ParseUint(parts[3], 16, 64)
	id.BaseTime, errs[4] = strconv.ParseInt(parts[4], 16, 64)
	return id, errs == [5]error{} && id.Base > 0 && id.BaseTime >= 0 && id.String() == name
}

// segment is what the core knows of one file.
type segment struct {
	id   SegmentID
	size int64 // bytes that the file has, or will have once written

	all        Spans            // numbers that stand in it
	open       Spans            // of these, not yet acknowledged
	taken      Spans            // of the open ones, on their way
	unresolved Spans            // stamped by the first mapping of the boot (ordinal 0)
	refs       map[uint32]Spans // stamped by a later mapping, by ordinal; only until Start
	losses     map[uint64]telemetry.Loss
	minTime    int64 // oldest and newest CLOCK_BOOTTIME of its records
	maxTime    int64

	// image is the file's content: always of the active segment and of one not
	// yet fsynced, of others while they are being sent.
	image   []byte
	index   []entry
	lastUse uint64

	// What a fruitless look through the image has shown, so that it need not be
	// read again: nothing live waits here; no backlog before this time.
	noLive    bool
	noBacklog int64

	queued  int64 // bytes for which a write was asked
	written int64 // bytes that the file system took
	synced  int64 // bytes that survive a power cut
	syncing bool
}

func (s *segment) seen(time int64) {
	if s.maxTime == 0 || time < s.minTime {
		s.minTime = time
	}
	s.maxTime = max(s.maxTime, time)
}

func (s *segment) idle() bool { return s.written == s.size && s.synced == s.size }

// missing says that numbers may be gone: between two that are there, or after
// the last one.
type missing struct {
	seg         *segment
	prev, next  uint64 // next 0 = nothing after it in this segment
	guess       uint64 // records in it, where no later number tells
	off, length int
}

// contents is what one look through a segment's bytes gives.
type contents struct {
	index    []entry
	shapes   map[uint64]shape
	mappings []clock.Mapping
	losses   map[uint64]telemetry.Loss
	acks     map[telemetry.Epoch]Spans
	damage   []stretch
}

// examine reads all of a segment that is readable. What can't be read, for its
// checksum or for its content, is damage.
func examine(id SegmentID, data []byte) contents {
	c := contents{shapes: map[uint64]shape{}, losses: map[uint64]telemetry.Loss{}, acks: map[telemetry.Epoch]Spans{}}
	scan(data, id.Seq, func(s stretch) {
		if s.payload == nil || !c.take(id, s) {
			c.damage = append(c.damage, s)
		}
	})
	return c
}

func (c *contents) take(id SegmentID, s stretch) bool {
	switch k := kind(s.payload[0]); k {
	case kindContext:
		_, _, err := parseContext(s.payload)
		return err == nil
	case kindShape:
		n, sh, err := parseShape(s.payload)
		c.shapes[n] = sh
		return err == nil
	case kindSample, kindLoss:
		h, r, err := parseHead(s.payload, id)
		if err != nil {
			return false
		}
		if k == kindLoss {
			l, err := parseLoss(r)
			if err != nil {
				return false
			}
			c.losses[h.number] = l
		}
		c.index = append(c.index, entry{h, int32(s.off), int32(s.end)})
	case kindMapping:
		m, err := parseMapping(s.payload)
		if err != nil {
			return false
		}
		c.mappings = append(c.mappings, m)
	case kindAcks:
		e, spans, err := parseAcks(s.payload)
		if err != nil {
			return false
		}
		all := c.acks[e]
		for _, x := range spans {
			all.Add(x.From, x.To)
		}
		c.acks[e] = all
	}
	return true
}
