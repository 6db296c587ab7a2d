package broker

import (
	"strings"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// rules is what one session may do.
type rules interface {
	mayPublish(topic string) bool
	maySubscribe(filter string) bool // a topic without wildcards asks whether it may be read
	mayWill(topic string) bool
}

// nodeRules lets a node write below its own group and node only, and read its
// own commands and our host's STATE only. So no node speaks in another's name,
// and nobody but us says STATE. [tck-id-operational-behavior-host-application-host-id]
type nodeRules struct {
	node                      telemetry.Node
	state, nbirth, ncmd, dcmd string // topics
}

func newNodeRules(node telemetry.Node, host string) *nodeRules {
	ncmd := sparkplug.Topic{Type: sparkplug.NCMD, Node: node}.String()
	dcmd := sparkplug.Topic{Type: sparkplug.DCMD, Node: node, Device: "+"}.String()
	return &nodeRules{node: node, ncmd: ncmd, dcmd: strings.TrimSuffix(dcmd, "/+"),
		nbirth: sparkplug.Topic{Type: sparkplug.NBIRTH, Node: node}.String(),
		state:  sparkplug.Topic{Type: sparkplug.STATE, Host: host}.String()}
}

func (r *nodeRules) mayPublish(topic string) bool {
	t, err := sparkplug.ParseTopic(topic)
	if err != nil || t.Node != r.node {
		return false
	}
	switch t.Type {
	case sparkplug.NBIRTH, sparkplug.NDATA, sparkplug.NDEATH, sparkplug.DBIRTH, sparkplug.DDATA, sparkplug.DDEATH:
		return true
	}
	return false
}

// mayWill lets a node's will be its NDEATH and nothing else.
// [tck-id-message-flow-edge-node-birth-publish-will-message-topic]
func (r *nodeRules) mayWill(topic string) bool {
	return topic == sparkplug.Topic{Type: sparkplug.NDEATH, Node: r.node}.String()
}

func (r *nodeRules) maySubscribe(filter string) bool {
	if filter == r.state || filter == r.ncmd || filter == r.ncmd+"/#" {
		return true // the last matches nothing but the node's own NCMD; common clients ask for it
	}
	device, ok := strings.CutPrefix(filter, r.dcmd+"/")
	return ok && (device == "#" || device == "+" || telemetry.CheckID(device) == nil)
}

// commands reports whether a filter brings the node its NCMD.
func (r *nodeRules) commands(filter string) bool { return filter == r.ncmd || filter == r.ncmd+"/#" }

// openRules are those of Options.Open.
type openRules struct{ deny func(topic string) bool }

func (r openRules) mayPublish(topic string) bool    { return !r.deny(topic) }
func (r openRules) maySubscribe(filter string) bool { return !r.deny(filter) }
func (r openRules) mayWill(topic string) bool       { return r.mayPublish(topic) }
