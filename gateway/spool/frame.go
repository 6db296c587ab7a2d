package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// A segment is a sequence of frames:
//
//	uvarint length of the payload | payload | CRC32C, little endian
//
// The checksum covers the segment's sequence number and the payload, so that
// bytes of another segment never pass. The payload's first byte is its kind.
const (
	maxPayload = 64 << 10
	minFrame   = 1 + 1 + crcBytes
	crcBytes   = 4
)

// kind is the first byte of a payload.
type kind byte

const (
	kindContext kind = 1 // which epoch and boot the segment belongs to
	kindShape   kind = 2 // a device and its quantities, for samples to refer to
	kindSample  kind = 3 // numbered
	kindLoss    kind = 4 // numbered
	kindMapping kind = 5 // a clock.Mapping
	kindAcks    kind = 6 // numbers that need not be sent any more
	kindHole    kind = 7 // stands where damaged bytes were set aside
	kindLast         = kindHole
)

func (k kind) numbered() bool { return k == kindSample || k == kindLoss }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(seq uint64, payload []byte) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], seq)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, payload)
}

// appendFrame writes one frame.
func appendFrame(dst []byte, seq uint64, payload []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, checksum(seq, payload))
}

// appendHole writes frames that fill exactly n bytes and mean nothing. n must
// be at least minFrame.
func appendHole(dst []byte, seq uint64, n int) []byte {
	for n > 0 {
		// A payload of at most 127 bytes has a one-byte length; what is left over
		// must be enough for another frame.
		size := min(n, 1+127+crcBytes)
		if left := n - size; left > 0 && left < minFrame {
			size -= minFrame
		}
		payload := make([]byte, size-1-crcBytes)
		payload[0] = byte(kindHole)
		dst = appendFrame(dst, seq, payload)
		n -= size
	}
	return dst
}

// readFrame reads the frame at the start of b. It returns the payload and the
// frame's size, or size 0 if there is no whole, undamaged frame.
func readFrame(b []byte, seq uint64) (payload []byte, size int) {
	length, n := binary.Uvarint(b)
	if n <= 0 || n > 3 || length == 0 || length > maxPayload {
		return nil, 0
	}
	size = n + int(length) + crcBytes
	if size > len(b) || kind(b[n]) < kindContext || kind(b[n]) > kindLast {
		return nil, 0
	}
	payload = b[n : n+int(length)]
	if binary.LittleEndian.Uint32(b[n+int(length):]) != checksum(seq, payload) {
		return nil, 0
	}
	return payload, size
}

// stretch is a part of a segment: an undamaged frame, or bytes that are none.
type stretch struct {
	off, end int
	payload  []byte // nil where damaged
}

// scan cuts a segment into frames and damaged stretches: after damage it looks
// for the next place at which a whole frame stands.
func scan(b []byte, seq uint64, f func(stretch)) {
	for off := 0; off < len(b); {
		payload, size := readFrame(b[off:], seq)
		if size > 0 {
			f(stretch{off, off + size, payload})
			off += size
			continue
		}
		end := off + 1
		for end < len(b) {
			if _, size := readFrame(b[end:], seq); size > 0 {
				break
			}
			end++
		}
		f(stretch{off, end, nil})
		off = end
	}
}

// countDamaged says how many numbered records probably stood in a damaged
// stretch at the end of a segment, where no later number tells: it walks along
// the lengths while they make sense. At least one, unless the kind of the only
// frame is readable and carries no number.
func countDamaged(b []byte) uint64 {
	var n uint64
	for len(b) > 0 {
		length, l := binary.Uvarint(b)
		if l <= 0 || l > 3 || length == 0 || length > maxPayload || len(b) <= l {
			return n + 1
		}
		k := kind(b[l])
		if k < kindContext || k > kindLast {
			return n + 1
		}
		if k.numbered() {
			n++
		}
		b = b[min(len(b), l+int(length)+crcBytes):]
	}
	return n
}
