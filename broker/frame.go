package broker

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// The frame checker. Every byte of a client passes here before anything else
// sees it, mochi included: a packet that MQTT 3.1.1 forbids costs its sender the
// connection. Rule numbers are those of the OASIS standard of 29 October 2014.

// packetType is the high half of a packet's first byte (MQTT 3.1.1 §2.2.1).
type packetType byte

const (
	typeConnect     packetType = 1
	typeConnack     packetType = 2
	typePublish     packetType = 3
	typePuback      packetType = 4
	typePubrec      packetType = 5
	typePubrel      packetType = 6
	typePubcomp     packetType = 7
	typeSubscribe   packetType = 8
	typeSuback      packetType = 9
	typeUnsubscribe packetType = 10
	typePingreq     packetType = 12
	typePingresp    packetType = 13
	typeDisconnect  packetType = 14
)

// violation is why a packet is refused; its text is the metric's reason label.
type violation string

func (v violation) Error() string { return "packet refused: " + string(v) }

const (
	badType       violation = "packet_type"       // not a packet that a client may send, or not now
	badFlags      violation = "flags"             // reserved bits
	badLength     violation = "length"            // remaining length of more bytes than needed, or than four
	tooLarge      violation = "too_large"         // above the limit before or after login
	truncated     violation = "truncated"         // a field runs over the end of its packet
	trailing      violation = "trailing_bytes"    // bytes after the last field
	badUTF8       violation = "utf8"              // [MQTT-1.5.3-1] [MQTT-1.5.3-2]
	badCharacter  violation = "control_character" // U+0000…U+001F, U+007F…U+009F in a string
	badTopic      violation = "topic"             // empty, with wildcards, or too deep
	badFilter     violation = "filter"            // empty, wildcard out of place, or too deep
	badPacketID   violation = "packet_id"         // 0 where a number is needed [MQTT-2.3.1-1]
	badQoS        violation = "qos"               // 3, or 2 where only 0 and 1 are taken
	badProtocol   violation = "protocol_name"     // not MQTT at all
	badVersion    violation = "protocol_version"  // MQTT, but not 3.1.1
	firstPacket   violation = "first_not_connect" // [MQTT-3.1.0-1]
	secondConnect violation = "second_connect"    // [MQTT-3.1.0-2]

	badAnswer      violation = "answer"        // PUBACK, PUBREC or PUBCOMP for what asks for another
	tooManyFilters violation = "subscriptions" // above the limit of one client
)

// maxLevels bounds a topic's depth: a deep one costs a tree of memory.
const maxLevels = 200

// frame is one whole packet.
type frame struct {
	kind  packetType
	flags byte   // low half of the first byte
	raw   []byte // all of it
	body  []byte // what follows the fixed header
}

// cutFrame reads the fixed header at the start of b. size is the whole packet's
// length, 0 while b is too short to tell; the frame is set once b holds it all.
// limit bounds size.
func cutFrame(b []byte, limit int) (f frame, size int, err error) {
	if len(b) == 0 {
		return f, 0, nil
	}
	f.kind, f.flags = packetType(b[0]>>4), b[0]&0x0f
	if err := checkFlags(f.kind, f.flags); err != nil {
		return f, 0, err
	}
	n, header := 0, 1
	for shift := 0; ; shift += 7 {
		if header == len(b) {
			return f, 0, nil
		}
		d := b[header]
		header++
		n |= int(d&0x7f) << shift
		if d < 0x80 {
			if d == 0 && shift > 0 {
				return f, 0, badLength // longer than it need be
			}
			break
		}
		if shift == 21 {
			return f, 0, badLength // §2.2.3: at most four bytes
		}
	}
	if size = header + n; size > limit {
		return f, 0, tooLarge
	}
	if size <= len(b) {
		f.raw, f.body = b[:size:size], b[header:size:size]
	}
	return f, size, nil
}

// checkFlags knows the fixed flags of §2.2.2 [MQTT-2.2.2-2] and which packets
// only a server sends.
func checkFlags(kind packetType, flags byte) error {
	want := byte(0)
	switch kind {
	case typePublish:
		switch qos := flags >> 1 & 3; {
		case qos == 3:
			return badQoS // [MQTT-3.3.1-4]
		case qos == 0 && flags&8 != 0:
			return badFlags // [MQTT-3.3.1-2]
		}
		return nil
	case typePubrel, typeSubscribe, typeUnsubscribe:
		want = 2
	case typeConnect, typePuback, typePubrec, typePubcomp, typePingreq, typeDisconnect:
	default:
		return badType
	}
	if flags != want {
		return badFlags
	}
	return nil
}

// fields reads a packet's body; the first thing that does not fit is kept.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) fail(v violation) {
	if f.err == nil {
		f.err = v
	}
	f.rest = nil
}

func (f *fields) byte() byte {
	if len(f.rest) < 1 {
		f.fail(truncated)
		return 0
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

func (f *fields) uint16() uint16 {
	if len(f.rest) < 2 {
		f.fail(truncated)
		return 0
	}
	v := binary.BigEndian.Uint16(f.rest)
	f.rest = f.rest[2:]
	return v
}

// bytes reads a length of two bytes and what it counts.
func (f *fields) bytes() []byte {
	n := int(f.uint16())
	if len(f.rest) < n {
		f.fail(truncated)
		return nil
	}
	v := f.rest[:n:n]
	f.rest = f.rest[n:]
	return v
}

// text reads a string of §1.5.3.
func (f *fields) text() string {
	b := f.bytes()
	if err := checkText(b); err != nil && f.err == nil {
		f.err = err
	}
	return string(b)
}

func (f *fields) packetID() uint16 {
	id := f.uint16()
	if id == 0 {
		f.fail(badPacketID)
	}
	return id
}

func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = trailing
	}
	return f.err
}

// checkText refuses what is not UTF-8, and the control characters that §1.5.3
// lets a receiver refuse: they have no place in an id, a topic or a log.
func checkText(b []byte) error {
	ascii := true
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return badCharacter
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if ascii {
		return nil
	}
	if !utf8.Valid(b) {
		return badUTF8
	}
	for i, c := range b[:len(b)-1] {
		if c == 0xc2 && b[i+1] <= 0x9f { // U+0080…U+009F
			return badCharacter
		}
	}
	return nil
}

// checkTopic accepts what may be published to (§4.7).
func checkTopic(topic []byte) error {
	if len(topic) == 0 {
		return badTopic // [MQTT-4.7.3-1]
	}
	levels := 1
	for _, c := range topic {
		switch c {
		case '+', '#':
			return badTopic // [MQTT-3.3.2-2]
		case '/':
			levels++
		}
	}
	if levels > maxLevels {
		return badTopic
	}
	return checkText(topic)
}

// checkFilter accepts what may be subscribed to, wildcards in their places.
func checkFilter(filter string) error {
	if filter == "" || strings.Count(filter, "/") >= maxLevels {
		return badFilter // [MQTT-4.7.3-1]
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more: // [MQTT-4.7.1-2]
			return badFilter
		case level != "#" && level != "+" && strings.ContainsAny(level, "+#"): // [MQTT-4.7.1-2] [MQTT-4.7.1-3]
			return badFilter
		}
	}
	return nil
}

// will is the message that the broker sends for a client that went away
// without a DISCONNECT.
type will struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

// connect is a checked CONNECT.
type connect struct {
	clientID    string
	clean       bool
	keepAlive   uint16 // seconds
	will        *will
	hasUser     bool
	user        string
	hasPassword bool
	password    []byte
}

// parseConnect reads a CONNECT's body (§3.1) and copies what it keeps. Of any
// version but 3.1.1 it reads no further than the version.
func parseConnect(body []byte) (*connect, error) {
	f := fields{rest: body}
	name, level := string(f.bytes()), f.byte()
	switch {
	case f.err != nil:
		return nil, f.err
	case name == "MQIsdp": // MQTT 3.1
		return nil, badVersion
	case name != "MQTT":
		return nil, badProtocol // [MQTT-3.1.2-1]
	case level != 4:
		return nil, badVersion // [MQTT-3.1.2-2]
	}
	flags := f.byte()
	c := &connect{
		clean: flags&0x02 != 0, hasPassword: flags&0x40 != 0, hasUser: flags&0x80 != 0,
		keepAlive: f.uint16(),
	}
	hasWill, willQoS, willRetain := flags&0x04 != 0, flags>>3&3, flags&0x20 != 0
	switch {
	case f.err != nil:
		return nil, f.err
	case flags&0x01 != 0: // [MQTT-3.1.2-3]
		return nil, badFlags
	case !hasWill && (willQoS != 0 || willRetain): // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15]
		return nil, badFlags
	case willQoS == 3: // [MQTT-3.1.2-14]
		return nil, badQoS
	case c.hasPassword && !c.hasUser: // [MQTT-3.1.2-22]
		return nil, badFlags
	}
	c.clientID = f.text()
	if hasWill {
		topic := f.bytes()
		if err := checkTopic(topic); err != nil && f.err == nil {
			f.err = err
		}
		c.will = &will{topic: string(topic), payload: append([]byte(nil), f.bytes()...), qos: willQoS, retain: willRetain}
	}
	if c.hasUser {
		c.user = f.text()
	}
	if c.hasPassword {
		c.password = append([]byte(nil), f.bytes()...)
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	return c, nil
}

// appendConnect writes the CONNECT that mochi gets to see: identity and
// keep-alive, neither will nor credentials.
func appendConnect(dst []byte, clientID string, clean bool, keepAlive uint16) []byte {
	dst = append(dst, byte(typeConnect)<<4)
	n := 12 + len(clientID)
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	dst = append(dst, byte(n), 0, 4, 'M', 'Q', 'T', 'T', 4)
	if clean {
		dst = append(dst, 0x02)
	} else {
		dst = append(dst, 0)
	}
	dst = binary.BigEndian.AppendUint16(dst, keepAlive)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(clientID)))
	return append(dst, clientID...)
}

// publish is a PUBLISH whose topic has not been checked yet; its slices point
// into the packet.
type publish struct {
	topic   []byte
	payload []byte
	id      uint16
	qos     byte
	retain  bool
}

// splitPublish reads a PUBLISH (§3.3).
func splitPublish(flags byte, body []byte) (p publish, err error) {
	f := fields{rest: body}
	p.qos, p.retain = flags>>1&3, flags&1 != 0
	p.topic = f.bytes()
	if p.qos > 0 {
		p.id = f.packetID()
	}
	p.payload = f.rest
	return p, f.err
}

// checkOther checks every packet but CONNECT and PUBLISH. For SUBSCRIBE and
// UNSUBSCRIBE it returns the filters.
func checkOther(kind packetType, body []byte, qos2 bool) (filters []string, err error) {
	f := fields{rest: body}
	switch kind {
	case typePubrec, typePubrel, typePubcomp:
		if !qos2 {
			return nil, badType
		}
		f.packetID()
	case typePuback:
		f.packetID()
	case typeSubscribe, typeUnsubscribe:
		f.packetID()
		for f.err == nil && (len(f.rest) > 0 || len(filters) == 0) { // at least one [MQTT-3.8.3-3] [MQTT-3.10.3-2]
			filter := f.text()
			if err := checkFilter(filter); err != nil && f.err == nil {
				f.err = err
			}
			if kind == typeSubscribe && f.byte() > 2 { // [MQTT-3-8.3-4]
				f.fail(badQoS)
			}
			filters = append(filters, filter)
		}
	case typePingreq, typeDisconnect:
	default:
		return nil, badType
	}
	return filters, f.end()
}
