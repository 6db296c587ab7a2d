package sparkplug

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pantau-id/pantau/internal/telemetry"
)

// Namespace is the first level of every topic. [tck-id-topic-structure-namespace-a]
const Namespace = "spBv1.0"

// MessageType is the third level of a topic.
type MessageType string

// The message types of Sparkplug B.
const (
	NBIRTH MessageType = "NBIRTH"
	NDATA  MessageType = "NDATA"
	NDEATH MessageType = "NDEATH"
	NCMD   MessageType = "NCMD"
	DBIRTH MessageType = "DBIRTH"
	DDATA  MessageType = "DDATA"
	DDEATH MessageType = "DDEATH"
	DCMD   MessageType = "DCMD"
	STATE  MessageType = "STATE"
)

// Topic is a parsed Sparkplug topic. For STATE only Host is set.
type Topic struct {
	Type   MessageType
	Node   telemetry.Node
	Device string // on D… messages only
	Host   string // on STATE only
}

// String writes the topic: namespace, group, type, node and, on D… messages
// only, device. [tck-id-topic-structure] [tck-id-intro-group-id-string]
// [tck-id-intro-edge-node-id-string] [tck-id-intro-device-id-string]
func (t Topic) String() string {
	switch {
	case t.Type == STATE:
		return Namespace + "/STATE/" + t.Host
	case t.Device != "":
		return Namespace + "/" + t.Node.Group + "/" + string(t.Type) + "/" + t.Node.ID + "/" + t.Device
	}
	return Namespace + "/" + t.Node.Group + "/" + string(t.Type) + "/" + t.Node.ID
}

// ParseTopic reads a topic and refuses whatever Sparkplug B does not define.
func ParseTopic(s string) (Topic, error) {
	bad := func(why string) (Topic, error) { return Topic{}, fmt.Errorf("topic %q: %s", s, why) }
	rest, ok := strings.CutPrefix(s, Namespace+"/")
	if !ok {
		return bad("want it to start with " + Namespace + "/")
	}
	var t Topic
	if host, ok := strings.CutPrefix(rest, "STATE/"); ok {
		if err := telemetry.CheckID(host); err != nil {
			return bad("host: " + err.Error())
		}
		return Topic{Type: STATE, Host: host}, nil
	}
	var typ string
	if t.Node.Group, rest, ok = strings.Cut(rest, "/"); !ok {
		return bad("want group/type/node")
	}
	if typ, rest, ok = strings.Cut(rest, "/"); !ok {
		return bad("want group/type/node")
	}
	var device bool
	switch t.Type = MessageType(typ); t.Type {
	case NBIRTH, NDATA, NDEATH, NCMD:
	case DBIRTH, DDATA, DDEATH, DCMD:
		device = true
	default:
		return bad("unknown message type")
	}
	var has bool
	t.Node.ID, t.Device, has = strings.Cut(rest, "/")
	// [tck-id-topic-structure-namespace-device-id-associated-message-types]
	// [tck-id-topic-structure-namespace-device-id-non-associated-message-types]
	if has != device {
		return bad("a device level stands on D… messages and only there")
	}
	for _, part := range []string{t.Node.Group, t.Node.ID} {
		if err := telemetry.CheckID(part); err != nil {
			return bad(err.Error())
		}
	}
	if device {
		if err := telemetry.CheckID(t.Device); err != nil {
			return bad("device: " + err.Error())
		}
	}
	return t, nil
}

// State is the host's birth or death certificate on its STATE topic.
// [tck-id-host-topic-phid-birth-payload] [tck-id-host-topic-phid-death-payload]
type State struct {
	Online    bool  `json:"online"`
	Timestamp int64 `json:"timestamp"` // Unix milliseconds UTC
}

// AppendState writes the JSON of a STATE message.
func AppendState(dst []byte, s State) []byte {
	b, err := json.Marshal(s)
	if err != nil { // two plain fields cannot fail
		return dst
	}
	return append(dst, b...)
}
