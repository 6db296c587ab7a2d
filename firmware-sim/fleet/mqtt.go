package fleet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Packet types of MQTT 3.1.1 (§2.2.1), as the upper four bits of the first byte.
const (
	typeConnect    = 0x10
	typeConnack    = 0x20
	typePublish    = 0x30
	typePuback     = 0x40
	typeSubscribe  = 0x82
	typeSuback     = 0x90
	typePingreq    = 0xc0
	typePingresp   = 0xd0
	typeDisconnect = 0xe0
)

// maxIncoming bounds a packet from the server: commands are small.
const maxIncoming = 64 << 10

func appendLength(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// login is what CONNECT carries.
type login struct {
	clientID           string
	username, password string // username "" = none
	willTopic          string
	will               []byte
	keepAlive          uint16 // seconds
}

// appendConnect writes CONNECT: clean session, will with QoS 1, not retained.
// [tck-id-principles-persistence-clean-session-311]
// [tck-id-payloads-ndeath-will-message-qos] [tck-id-payloads-ndeath-will-message-retain]
func appendConnect(dst []byte, l login) []byte {
	flags := byte(0x02)
	size := 10 + 2 + len(l.clientID)
	if l.willTopic != "" {
		flags |= 0x04 | 1<<3
		size += 4 + len(l.willTopic) + len(l.will)
	}
	if l.username != "" {
		flags |= 0xc0
		size += 4 + len(l.username) + len(l.password)
	}
	dst = appendLength(append(dst, typeConnect), size)
	dst = append(appendString(dst, "MQTT"), 4, flags)
	dst = binary.BigEndian.AppendUint16(dst, l.keepAlive)
	dst = appendString(dst, l.clientID)
	if l.willTopic != "" {
		dst = appendString(dst, l.willTopic)
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(l.will))), l.will...)
	}
	if l.username != "" {
		dst = appendString(appendString(dst, l.username), l.password)
	}
	return dst
}

// appendPublish writes PUBLISH. id is ignored with QoS 0.
func appendPublish(dst []byte, topic string, payload []byte, qos byte, id uint16) []byte {
	size := 2 + len(topic) + len(payload)
	if qos > 0 {
		size += 2
	}
	dst = appendLength(append(dst, typePublish|qos<<1), size)
	dst = appendString(dst, topic)
	if qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, id)
	}
	return append(dst, payload...)
}

func appendSubscribe(dst []byte, filter string, qos byte, id uint16) []byte {
	dst = appendLength(append(dst, typeSubscribe), 2+2+len(filter)+1)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(appendString(dst, filter), qos)
}

// incoming is one packet from the server. body is reused by the next read.
type incoming struct {
	first byte
	body  []byte
}

var errPacket = errors.New("malformed packet from the server")

// read reads one packet into p.
func (p *incoming) read(r *bufio.Reader) error {
	var err error
	if p.first, err = r.ReadByte(); err != nil {
		return err
	}
	size, shift := 0, 0
	for {
		b, err := r.ReadByte()
		if err != nil {
			return err
		}
		size |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift += 7; shift > 21 {
			return fmt.Errorf("%w: length", errPacket)
		}
	}
	if size > maxIncoming {
		return fmt.Errorf("%w: %d bytes", errPacket, size)
	}
	if cap(p.body) < size {
		p.body = make([]byte, size)
	}
	p.body = p.body[:size]
	_, err = io.ReadFull(r, p.body)
	return err
}

// id returns the packet id of PUBACK and SUBACK.
func (p *incoming) id() (uint16, error) {
	if len(p.body) < 2 {
		return 0, fmt.Errorf("%w: no packet id", errPacket)
	}
	return binary.BigEndian.Uint16(p.body), nil
}

// publish takes a PUBLISH apart.
func (p *incoming) publish() (topic string, payload []byte, qos byte, id uint16, err error) {
	qos = p.first >> 1 & 3
	b := p.body
	if len(b) < 2 {
		return "", nil, 0, 0, fmt.Errorf("%w: no topic", errPacket)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	head := n
	if qos > 0 {
		head += 2
	}
	if len(b) < head || qos > 1 {
		return "", nil, 0, 0, fmt.Errorf("%w: topic of %d bytes, QoS %d", errPacket, n, qos)
	}
	topic = string(b[:n])
	if qos > 0 {
		id = binary.BigEndian.Uint16(b[n:])
	}
	return topic, b[head:], qos, id, nil
}

// connackError says why a server refused CONNECT (§3.2.2.3).
func connackError(body []byte) error {
	if len(body) < 2 {
		return fmt.Errorf("%w: CONNACK", errPacket)
	}
	if body[1] == 0 {
		return nil
	}
	reasons := [...]string{1: "protocol version", 2: "client id", 3: "server unavailable", 4: "user name or password", 5: "not authorised"}
	reason := "unknown reason"
	if int(body[1]) < len(reasons) {
		reason = reasons[body[1]]
	}
	return fmt.Errorf("the server refuses the connection: %s (code %d)", reason, body[1])
}
