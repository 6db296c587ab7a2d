package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/world"
	"github.com/pantau-id/pantau/internal/sparkplug"
)

// AQMSOptions say what the foreign node is like. Server and Credential are
// required.
type AQMSOptions struct {
	Server     string
	CA         []byte
	Credential Credential
	Devices    int           // stations behind the node; default 1
	Interval   time.Duration // between two DDATA of a device; default 10 s
	For        time.Duration // 0 = until ctx ends
	QoS        byte          // 0, as Sparkplug says, or 1
	Seed       uint64
	World      *world.World
	Logger     *slog.Logger // default none
	Started    func()       // called after the first births; may be nil
}

// AQMSResult is what was played.
type AQMSResult struct {
	Connects uint64 `json:"connects"`
	Births   uint64 `json:"births"` // NBIRTH and DBIRTH
	Messages uint64 `json:"messages"`
	Readings uint64 `json:"readings"`
	Last     string `json:"last,omitempty"` // why a session ended last
}

// gas is one metric of an air quality monitoring station as its maker names it.
type gas struct {
	name, unit string
	value      func(*world.Air) float64
}

// molar is the volume of a mole of gas at 25 °C and 1013.25 hPa, in litres: with
// the molar mass it turns µg/m³ into ppb.
const molar = 24.45

// gases are the seven parameters of Indonesia's ISPU (Permen LHK 14/2020), and
// one that Pantau's catalogue does not know.
var gases = []gas{
	{"PM10", "ug/m3", func(a *world.Air) float64 { return a.PM10 }},
	{"PM2.5", "ug/m3", func(a *world.Air) float64 { return a.PM25 }},
	{"SO2", "ppb", func(a *world.Air) float64 { return a.SO2 * molar / 64.07 }},
	{"CO", "ppm", func(a *world.Air) float64 { return a.CO * molar / 28.01 / 1000 }},
	{"O3", "ppb", func(a *world.Air) float64 { return a.O3 * molar / 48.00 }},
	{"NO2", "ppb", func(a *world.Air) float64 { return a.NO2 * molar / 46.01 }},
	{"HC", "ppb", func(a *world.Air) float64 { return a.HC * molar / 16.04 }}, // as methane
	{"Solar Radiation", "W/m2", func(a *world.Air) float64 { return max(0, a.O3-18) * 10 }},
}

// aqms is one foreign node: a Sparkplug edge node with devices and aliases that
// knows nothing of Pantau.
type aqms struct {
	o      AQMSOptions
	server endpoint
	sites  []world.Site

	mu    sync.Mutex
	conn  net.Conn
	bdSeq bdSeq
	seq   uint8
	born  bool
	count AQMSResult
}

// RunAQMS plays a foreign Sparkplug node until its time is over or ctx ends.
// What it measures without a session is lost, as with the real ones.
func RunAQMS(ctx context.Context, o AQMSOptions) (AQMSResult, error) {
	if o.Devices == 0 {
		o.Devices = 1
	}
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.World == nil {
		o.World = world.New(o.Seed)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.QoS > 1 {
		return AQMSResult{}, fmt.Errorf("play an AQMS: %w: qos = %d: want 0 or 1", ErrOptions, o.QoS)
	}
	if o.Interval > keepAlive/2 {
		return AQMSResult{}, fmt.Errorf("play an AQMS: %w: interval = %v: want at most %v", ErrOptions, o.Interval, keepAlive/2)
	}
	server, err := target(o.Server, o.CA)
	if err != nil {
		return AQMSResult{}, fmt.Errorf("play an AQMS: %w: server %q: %w", ErrOptions, o.Server, err)
	}
	a := &aqms{o: o, server: server}
	for i := range o.Devices {
		a.sites = append(a.sites, o.World.Site(o.Credential.Node.String()+"/"+device(i)))
	}
	if o.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.For)
		defer cancel()
	}
	var group sync.WaitGroup
	group.Go(func() { a.measure(ctx) })
	for ctx.Err() == nil {
		if err := a.session(ctx); ctx.Err() == nil {
			a.count.Last = err.Error()
			o.Logger.Info("the session ended", "reason", err)
			pause(ctx, backoffMin+mathrand.N(time.Second))
		}
	}
	group.Wait()
	return a.count, nil
}

// device names a station: one of its own below a node, the same below every node.
// [tck-id-topic-structure-namespace-unique-device-id]
// [tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node]
func device(i int) string { return fmt.Sprintf("AQMS-%02d", i+1) }

// topic is one of the node's own. [tck-id-topics-dbirth-topic] [tck-id-topics-ddata-topic]
// [tck-id-message-flow-device-birth-publish-dbirth-topic]
// [tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic]
func (a *aqms) topic(t sparkplug.MessageType, device string) string {
	return sparkplug.Topic{Type: t, Node: a.o.Credential.Node, Device: device}.String()
}

func (a *aqms) session(ctx context.Context) error {
	var death []byte
	conn, r, err := a.server.connect(ctx, a.o.Credential, a.topic(sparkplug.NDEATH, ""), func() []byte {
		a.mu.Lock()
		defer a.mu.Unlock()
		death = sparkplug.AppendDeath(nil, time.Now().UnixMilli(), a.bdSeq.connect())
		return death
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() {
		// [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath]
		a.mu.Lock()
		if a.conn == conn {
			// If it fails, the link is gone and the will tells the same.
			_ = a.send(append(appendPublish(nil, a.topic(sparkplug.NDEATH, ""), death, 1, idDeath), typeDisconnect, 0))
			a.conn = nil
		}
		a.mu.Unlock()
		_ = conn.Close() // the reader sees it
	})
	defer stop()
	a.mu.Lock()
	a.conn = conn
	a.count.Connects++
	err = a.send(appendSubscribe(nil, a.topic(sparkplug.NCMD, ""), 1, idSubscribe))
	if err == nil {
		err = a.births()
	}
	a.mu.Unlock()
	if err == nil {
		err = a.read(r)
	}
	a.mu.Lock()
	a.conn = nil
	a.mu.Unlock()
	return err
}

var errLeft = errors.New("the node has said farewell")

func (a *aqms) send(b []byte) error {
	if a.conn == nil {
		return errLeft
	}
	if err := a.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if _, err := a.conn.Write(b); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// publish sends one payload with the next seq, never retained. A rebirth starts
// at 0 again, and 255 is followed by 0. [tck-id-topics-dbirth-seq]
// [tck-id-payloads-dbirth-seq] [tck-id-payloads-dbirth-seq-inc]
// [tck-id-message-flow-device-birth-publish-dbirth-payload-seq]
// [tck-id-topics-ddata-seq-num] [tck-id-payloads-ddata-seq] [tck-id-payloads-ddata-seq-inc]
// [tck-id-message-flow-device-birth-publish-dbirth-retained]
// [tck-id-payloads-dbirth-retain] [tck-id-payloads-ddata-retain]
func (a *aqms) publish(topic string, p *sparkplug.Payload) error {
	p.Seq, p.HasSeq = uint64(a.seq), true
	a.seq++
	return a.send(appendPublish(nil, topic, sparkplug.AppendPayload(nil, p), a.o.QoS, 1+uint16(a.seq)))
}

// births sends NBIRTH and one DBIRTH a device, with names, aliases, units and
// values, all before any data. [tck-id-payloads-dbirth-order] [tck-id-payloads-ddata-order]
// [tck-id-topics-dbirth-metric-reqs] [tck-id-operational-behavior-data-publish-dbirth]
// [tck-id-topics-dbirth-metrics] [tck-id-operational-behavior-data-publish-dbirth-values]
// [tck-id-message-flow-device-birth-publish-dbirth-payload]
func (a *aqms) births() error {
	now := uint64(time.Now().UnixMilli())
	a.seq = 0
	node := &sparkplug.Payload{Timestamp: now, HasTimestamp: true, Metrics: []sparkplug.Metric{
		{Name: []byte(sparkplug.MetricBdSeq), Timestamp: now, HasTimestamp: true, Type: sparkplug.TypeInt64, Value: sparkplug.Long(int64(a.bdSeq.now))},
		{Name: []byte(sparkplug.MetricRebirth), Timestamp: now, HasTimestamp: true, Type: sparkplug.TypeBoolean, Value: sparkplug.Boolean(false)},
	}}
	if err := a.publish(a.topic(sparkplug.NBIRTH, ""), node); err != nil {
		return err
	}
	for i := range a.sites {
		p := a.payload(i)
		for j := range p.Metrics {
			m := &p.Metrics[j]
			m.Name, m.Type = []byte(gases[j].name), sparkplug.TypeFloat
			m.Properties = []sparkplug.Property{{Key: []byte(sparkplug.PropUnit), Type: sparkplug.TypeString, Value: sparkplug.String(gases[j].unit)}}
		}
		if err := a.publish(a.topic(sparkplug.DBIRTH, device(i)), p); err != nil {
			return err
		}
		a.count.Births++
	}
	a.count.Births++
	if !a.born && a.o.Started != nil {
		a.o.Started()
	}
	a.born = true
	return nil
}

// payload is what a device measures now, by alias: all of it at one time.
// [tck-id-topics-ddata-payload] [tck-id-topics-dbirth-timestamp] [tck-id-payloads-dbirth-timestamp]
// [tck-id-topics-ddata-timestamp] [tck-id-payloads-ddata-timestamp]
// [tck-id-operational-behavior-data-publish-dbirth-order]
func (a *aqms) payload(i int) *sparkplug.Payload {
	now := time.Now()
	air := a.sites[i].Air(now)
	ts := uint64(now.UnixMilli())
	p := &sparkplug.Payload{Timestamp: ts, HasTimestamp: true}
	for j, g := range gases {
		p.Metrics = append(p.Metrics, sparkplug.Metric{
			Alias: uint64(100*(i+1) + j), HasAlias: true, Timestamp: ts, HasTimestamp: true,
			Value: sparkplug.Value{Kind: sparkplug.FloatValue, Bits: uint64(math.Float32bits(float32(g.value(&air))))},
		})
	}
	return p
}

// measure sends DDATA, one a device and interval, while there is a session.
func (a *aqms) measure(ctx context.Context) {
	tick := time.NewTicker(a.o.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.mu.Lock()
		for i := range a.sites {
			if a.conn == nil {
				break
			}
			if err := a.publish(a.topic(sparkplug.DDATA, device(i)), a.payload(i)); err != nil {
				_ = a.conn.Close() // its reader notices
				break
			}
			a.count.Messages++
			a.count.Readings += uint64(len(gases))
		}
		a.mu.Unlock()
	}
}

// read obeys rebirth requests until the link ends.
func (a *aqms) read(r *bufio.Reader) error {
	var in incoming
	var p sparkplug.Payload
	for {
		if err := in.read(r); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		if in.first&0xf0 != typePublish {
			continue
		}
		_, body, qos, id, err := in.publish()
		if err == nil {
			err = sparkplug.Decode(body, &p)
		}
		if err != nil {
			return errors.Join(errPacket, err)
		}
		a.mu.Lock()
		if qos == 1 {
			err = a.send([]byte{typePuback, 2, byte(id >> 8), byte(id)})
		}
		for i := range p.Metrics {
			if string(p.Metrics[i].Name) == sparkplug.MetricRebirth && p.Metrics[i].Value.Bits&1 == 1 && err == nil {
				err = a.births()
			}
		}
		a.mu.Unlock()
		if err != nil {
			return err
		}
	}
}
