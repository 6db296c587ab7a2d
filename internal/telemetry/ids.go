package telemetry

import (
	"fmt"
	"strconv"
	"strings"
)

// Node names one Sparkplug edge node: its group (by default the BPS district
// code, for example 3374) and its edge node id (for our gateways the gateway
// id). It is also the MQTT client id and the certificate's common name,
// written "group/id".
type Node struct {
	Group, ID string
}

// String returns "group/id".
func (n Node) String() string { return n.Group + "/" + n.ID }

// IsZero reports whether the node names nothing.
func (n Node) IsZero() bool { return n.Group == "" && n.ID == "" }

// ParseNode reads "group/id". Both parts obey CheckID.
func ParseNode(s string) (Node, error) {
	group, id, ok := strings.Cut(s, "/")
	if !ok {
		return Node{}, fmt.Errorf("node %q: want group/id, for example 3374/balaikota", s)
	}
	if err := CheckID(group); err != nil {
		return Node{}, fmt.Errorf("node %q: group: %w", s, err)
	}
	if err := CheckID(id); err != nil {
		return Node{}, fmt.Errorf("node %q: id: %w", s, err)
	}
	return Node{Group: group, ID: id}, nil
}

// MaxIDLength bounds a group, node, device or quantity name, in bytes.
const MaxIDLength = 128

// CheckID accepts what may stand as one level of a Sparkplug topic: one to
// MaxIDLength bytes of UTF-8 without '/', '+', '#', without control characters,
// and not starting with '$'.
//
// [tck-id-topic-structure-namespace-valid-group-id] [tck-id-intro-group-id-chars]
// [tck-id-topic-structure-namespace-valid-edge-node-id] [tck-id-intro-edge-node-id-chars]
// [tck-id-topic-structure-namespace-valid-device-id] [tck-id-intro-device-id-chars]
func CheckID(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("is empty")
	case len(s) > MaxIDLength:
		return fmt.Errorf("%q… is %d bytes long, at most %d are allowed", s[:16], len(s), MaxIDLength)
	case strings.HasPrefix(s, "$"):
		return fmt.Errorf("%q starts with $, which MQTT reserves", s)
	}
	for i, r := range s {
		switch {
		case r == '/' || r == '+' || r == '#':
			return fmt.Errorf("%q holds %q, which MQTT topics reserve", s, r)
		case r < 0x20 || (r >= 0x7f && r <= 0x9f):
			return fmt.Errorf("%q holds the control character %U", s, r)
		case r == '�' && !strings.HasPrefix(s[i:], "�"):
			return fmt.Errorf("%q is not valid UTF-8", s)
		}
	}
	return nil
}

// Epoch is one run of one gateway process: 64 random bits, never 0, kept on
// disk before the run's first sample. Record numbers count from 1 within it.
type Epoch uint64

// String returns sixteen hexadecimal digits.
func (e Epoch) String() string { return fmt.Sprintf("%016x", uint64(e)) }

// MarshalText writes what String does: browsers lose digits of 64-bit numbers.
func (e Epoch) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads what MarshalText wrote, zero included.
func (e *Epoch) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil {
		return fmt.Errorf("epoch %q: want hexadecimal digits", text)
	}
	*e = Epoch(v)
	return nil
}

// ParseEpoch reads what String wrote.
func ParseEpoch(s string) (Epoch, error) {
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("epoch %q: want sixteen hexadecimal digits, not zero", s)
	}
	return Epoch(v), nil
}

// ClockID names one mapping from a gateway's CLOCK_BOOTTIME to UTC. Every
// start and every change of the mapping is a new one.
type ClockID struct {
	Epoch   Epoch
	Counter uint32
}

// String returns "epoch.counter".
func (c ClockID) String() string { return c.Epoch.String() + "." + strconv.Itoa(int(c.Counter)) }

// TimeQuality says where a mapping to UTC came from.
type TimeQuality uint8

// The qualities of time, from none to best.
const (
	TimeNone   TimeQuality = iota // not mapped to UTC
	TimeServer                    // told by the server after CONNACK
	TimeRTC                       // a battery-backed clock chip, not disciplined since boot
	TimeNTP                       // the kernel says it is synchronised
)

// String returns "none", "server", "rtc" or "ntp".
func (q TimeQuality) String() string {
	switch q {
	case TimeServer:
		return "server"
	case TimeRTC:
		return "rtc"
	case TimeNTP:
		return "ntp"
	}
	return "none"
}
