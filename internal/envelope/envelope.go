// Package envelope is the form in which the journal keeps what the broker took:
// one envelope per group commit, holding many packets, or one tick, or one
// change of rules.
//
// Body: one kind byte, then for packets a repetition of {uvarint length, packet}.
// Encoding and decoding copy nothing that the caller did not ask for; a decoded
// packet's Payload points into the envelope.
package envelope

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// Kind is the first byte of an envelope.
type Kind byte

// The kinds of envelopes.
const (
	KindPackets Kind = 1
	KindTick    Kind = 2
	KindRules   Kind = 3
)

// MaxBytes and MaxPackets bound one envelope of packets (NATS refuses messages
// above 1 MiB). MaxBytes is reached by filling, so one packet more may follow.
const (
	MaxBytes   = 512 << 10
	MaxPackets = 1024
)

// Flags of a packet.
type Flags byte

// The flags of a packet.
const (
	FlagWill          Flags = 1 << iota // published by the broker for a client that went away
	FlagQoS0                            // was sent without asking for an acknowledgement
	FlagClockUnsynced                   // the server's own clock was not synchronised at receipt
)

// Packet is one accepted PUBLISH.
type Packet struct {
	Received int64  // Unix nanoseconds UTC, by the server's clock
	Client   string // MQTT client id, which is the authenticated node "group/id"
	Session  uint64 // random, one per network connection; never 0
	Flags    Flags
	Topic    string
	Payload  []byte
}

// Tick advances the frontier of receive time, so that silence can be judged.
type Tick struct {
	Time    int64  // Unix nanoseconds UTC
	Uptime  int64  // nanoseconds since the server process started
	Synced  bool   // the server's clock was synchronised
	Session uint64 // random, one per server process
}

// Rules is a change of rules, valid for what follows in the journal.
type Rules struct {
	Name string // which rules: "quality", "alerts"
	Body []byte // their whole new text, JSON
}

// Size returns an upper bound of the bytes AppendPacket adds for p.
func (p *Packet) Size() int { return 40 + len(p.Client) + len(p.Topic) + len(p.Payload) }

// AppendPacket adds p to an envelope. An empty dst becomes a new envelope.
func AppendPacket(dst []byte, p *Packet) []byte {
	if len(dst) == 0 {
		dst = append(dst, byte(KindPackets))
	}
	n := 8 + 8 + 1 + uvarintLen(len(p.Client)) + len(p.Client) + uvarintLen(len(p.Topic)) + len(p.Topic) + len(p.Payload)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Received))
	dst = binary.LittleEndian.AppendUint64(dst, p.Session)
	dst = append(dst, byte(p.Flags))
	dst = binary.AppendUvarint(dst, uint64(len(p.Client)))
	dst = append(dst, p.Client...)
	dst = binary.AppendUvarint(dst, uint64(len(p.Topic)))
	dst = append(dst, p.Topic...)
	return append(dst, p.Payload...)
}

func uvarintLen(n int) int {
	l := 1
	for v := uint(n); v >= 0x80; v >>= 7 {
		l++
	}
	return l
}

// AppendTick writes a tick envelope.
func AppendTick(dst []byte, t Tick) []byte {
	dst = append(dst, byte(KindTick))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Time))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.Uptime))
	dst = binary.LittleEndian.AppendUint64(dst, t.Session)
	if t.Synced {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendRules writes a rules envelope.
func AppendRules(dst []byte, r Rules) []byte {
	dst = append(dst, byte(KindRules))
	dst = binary.AppendUvarint(dst, uint64(len(r.Name)))
	dst = append(dst, r.Name...)
	return append(dst, r.Body...)
}

// ErrCorrupt is what the decoding functions wrap when bytes do not fit.
var ErrCorrupt = errors.New("envelope is corrupt")

// KindOf returns the envelope's kind.
func KindOf(body []byte) (Kind, error) {
	if len(body) == 0 {
		return 0, fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	if k := Kind(body[0]); k >= KindPackets && k <= KindRules {
		return k, nil
	}
	return 0, fmt.Errorf("%w: unknown kind %d", ErrCorrupt, body[0])
}

// Packets iterates over an envelope of packets with their index. The yielded
// packet is reused: copy what must outlive the step. After an error nothing
// follows.
func Packets(body []byte) iter.Seq2[*Packet, error] {
	return func(yield func(*Packet, error) bool) {
		var p Packet
		if k, err := KindOf(body); err != nil || k != KindPackets {
			yield(nil, fmt.Errorf("%w: not an envelope of packets", ErrCorrupt))
			return
		}
		for rest := body[1:]; len(rest) > 0; {
			n, w := binary.Uvarint(rest)
			if w <= 0 || n > uint64(len(rest)-w) {
				yield(nil, fmt.Errorf("%w: packet length at byte %d", ErrCorrupt, len(body)-len(rest)))
				return
			}
			if err := p.decode(rest[w : w+int(n)]); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&p, nil) {
				return
			}
			rest = rest[w+int(n):]
		}
	}
}

func (p *Packet) decode(b []byte) error {
	if len(b) < 17 {
		return fmt.Errorf("%w: packet of %d bytes", ErrCorrupt, len(b))
	}
	p.Received = int64(binary.LittleEndian.Uint64(b))
	p.Session = binary.LittleEndian.Uint64(b[8:])
	p.Flags = Flags(b[16])
	client, rest, ok := cut(b[17:])
	if !ok {
		return fmt.Errorf("%w: client id", ErrCorrupt)
	}
	topic, rest, ok := cut(rest)
	if !ok {
		return fmt.Errorf("%w: topic", ErrCorrupt)
	}
	// Packets of one client tend to follow each other: keep the strings.
	if p.Client != string(client) {
		p.Client = string(client)
	}
	if p.Topic != string(topic) {
		p.Topic = string(topic)
	}
	p.Payload = rest
	return nil
}

func cut(b []byte) (field, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	return b[w : w+int(n)], b[w+int(n):], true
}

// DecodeTick reads a tick envelope.
func DecodeTick(body []byte) (Tick, error) {
	if len(body) != 26 || Kind(body[0]) != KindTick {
		return Tick{}, fmt.Errorf("%w: tick of %d bytes", ErrCorrupt, len(body))
	}
	return Tick{
		Time:    int64(binary.LittleEndian.Uint64(body[1:])),
		Uptime:  int64(binary.LittleEndian.Uint64(body[9:])),
		Session: binary.LittleEndian.Uint64(body[17:]),
		Synced:  body[25] != 0,
	}, nil
}

// DecodeRules reads a rules envelope.
func DecodeRules(body []byte) (Rules, error) {
	if len(body) == 0 || Kind(body[0]) != KindRules {
		return Rules{}, fmt.Errorf("%w: not a rules envelope", ErrCorrupt)
	}
	name, rest, ok := cut(body[1:])
	if !ok {
		return Rules{}, fmt.Errorf("%w: rules name", ErrCorrupt)
	}
	return Rules{Name: string(name), Body: rest}, nil
}
