package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/pantau-id/pantau/internal/envelope"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// selfTest proves the access rules before the first listener opens: a client of
// the room's own, through the whole way in, tries to write and read what is not
// its own. A rule that was lost in a change stops the start instead of letting
// one gateway write in another's name.
func (b *Broker) selfTest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	kept := &probeJournal{}
	o := b.opts
	o.Listen, o.TLS, o.EnrolHandler, o.PlainListen = "", nil, nil, "127.0.0.1:0" // never opened
	o.Journal, o.Authority, o.Registerer, o.Logger = kept, probeAuthority{}, nil, nil
	room, err := New(o)
	if err != nil {
		return err
	}
	room.rulesOf = b.rulesOf
	if err := room.server.Serve(); err != nil {
		return err
	}
	defer room.server.Close()
	p := &probe{room: room, kept: kept}
	for _, try := range p.tries() {
		if err := p.run(ctx, try); err != nil {
			return err
		}
	}
	return nil
}

var (
	probeNode = telemetry.Node{Group: "selftest", ID: "own"}
	probeUser = "selftest"
)

type probeAuthority struct{}

func (probeAuthority) Authenticate(context.Context, Credentials) (telemetry.Node, error) {
	return probeNode, nil
}

// probeJournal keeps topics in memory.
type probeJournal struct {
	mu     sync.Mutex
	topics []string
}

func (j *probeJournal) Submit(p envelope.Packet, done func(error)) {
	j.mu.Lock()
	j.topics = append(j.topics, p.Topic)
	j.mu.Unlock()
	done(nil)
}

func (j *probeJournal) Err() error { return nil }

func (j *probeJournal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.topics
	j.topics = nil
	return t
}

// try is one attempt of the self-test.
type try struct {
	what           string
	client         string
	will           string
	publish, asked string // topic, filter
	allowed        bool
}

type probe struct {
	room *Broker
	kept *probeJournal
}

func (p *probe) tries() []try {
	own, host := probeNode.String(), p.room.opts.Host
	list := []try{
		{what: "log in under another node's client id", client: "selftest/other"},
		{what: "publish own birth", client: own, publish: "spBv1.0/selftest/NBIRTH/own", allowed: true},
		{what: "publish own device data", client: own, publish: "spBv1.0/selftest/DDATA/own/device", allowed: true},
		{what: "leave own will", client: own, will: "spBv1.0/selftest/NDEATH/own", allowed: true},
		{what: "subscribe own commands", client: own, asked: "spBv1.0/selftest/NCMD/own", allowed: true},
	}
	for _, kind := range []string{"NBIRTH", "NDATA", "NDEATH", "NCMD"} {
		for _, node := range []string{"selftest/" + kind + "/other", "foreign/" + kind + "/own"} {
			list = append(list, try{what: "publish", client: own, publish: "spBv1.0/" + node},
				try{what: "leave a will", client: own, will: "spBv1.0/" + node},
				try{what: "subscribe", client: own, asked: "spBv1.0/" + node})
		}
	}
	for _, kind := range []string{"DBIRTH", "DDATA", "DDEATH", "DCMD"} {
		list = append(list, try{what: "publish", client: own, publish: "spBv1.0/selftest/" + kind + "/other/device"},
			try{what: "subscribe", client: own, asked: "spBv1.0/selftest/" + kind + "/other/device"})
	}
	for _, topic := range []string{"spBv1.0/selftest/NCMD/own", "spBv1.0/selftest/DCMD/own/device", "spBv1.0/STATE/" + host,
		"spBv1.0/selftest/NDATA/own/more", "spAv1.0/selftest/NDATA/own", "STATE/" + host, "$SYS/broker/uptime", "x"} {
		list = append(list, try{what: "publish", client: own, publish: topic}, try{what: "leave a will", client: own, will: topic})
	}
	for _, filter := range []string{"#", "+/#", "spBv1.0/#", "spBv1.0/selftest/#", "spBv1.0/+/+/own", "spBv1.0/selftest/NCMD/+",
		"spBv1.0/selftest/+/own", "spBv1.0/selftest/DCMD/+/+", "spBv1.0/STATE/+", "$SYS/#",
		"$share/g/spBv1.0/selftest/NCMD/own", "$share/g/#", "spBv1.0/selftest/NDATA/own"} {
		list = append(list, try{what: "subscribe", client: own, asked: filter})
	}
	return list
}

func (p *probe) run(ctx context.Context, t try) error {
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		p.room.serveMQTT(ctx, far, far, door{journal: p.room.opts.Journal, authority: p.room.opts.Authority}, func() {})
	}()
	deadline, _ := ctx.Deadline()
	_ = near.SetDeadline(deadline) // a pipe's never fails
	passed, err := p.attempt(near, t)
	_ = near.Close() // without DISCONNECT, so that a will is sent
	<-served
	kept := p.kept.take()
	name := fmt.Sprintf("%s %s%s%s", t.what, t.publish, t.will, t.asked)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%s: %w", name, ctx.Err())
	}
	if want := t.publish + t.will; t.allowed && want != "" && (len(kept) != 1 || kept[0] != want) {
		return fmt.Errorf("%s: was refused, though it is the node's own", name)
	}
	switch {
	case t.allowed && !passed:
		return fmt.Errorf("%s: was refused, though it is the node's own: %w", name, err)
	case !t.allowed && (passed || len(kept) > 0):
		return fmt.Errorf("%s: was allowed, though it is not the node's own", name)
	}
	return nil
}

// attempt says whether the broker let t through; err tells how it refused.
func (p *probe) attempt(c net.Conn, t try) (bool, error) {
	str := func(b []byte, s string) []byte { return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	packet := func(first byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
	}
	flags := byte(0xc2)
	if t.will != "" {
		flags |= 0x04
	}
	body := append(str(nil, "MQTT"), 4, flags, 0, 60)
	if body = str(body, t.client); t.will != "" {
		body = str(str(body, t.will), "w")
	}
	body = str(str(body, probeUser), probeUser)
	answer := make([]byte, 5)
	exchange := func(out []byte, first byte, n int) error {
		if _, err := c.Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, answer[:n]); err != nil {
			return err
		}
		if answer[0] != first {
			return fmt.Errorf("answer of type %d", answer[0]>>4)
		}
		return nil
	}
	if err := exchange(packet(0x10, body), 0x20, 4); err != nil {
		return false, err
	}
	if answer[3] != 0 {
		return false, fmt.Errorf("CONNACK %d", answer[3])
	}
	switch {
	case t.publish != "":
		err := exchange(packet(0x32, append(str(nil, t.publish), 0, 1, 'x')), 0x40, 4)
		return err == nil, err
	case t.asked != "":
		if err := exchange(packet(0x82, append(str([]byte{0, 1}, t.asked), 1)), 0x90, 5); err != nil {
			return false, err
		}
		if answer[4] == 0x80 {
			return false, errors.New("SUBACK 0x80")
		}
	}
	return true, nil
}
