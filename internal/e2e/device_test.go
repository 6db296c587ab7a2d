package e2e

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// patience bounds every single wait of a device.
const patience = time.Minute

// device is an MQTT client of the tests' own making. It speaks as a gateway of
// ours, as a maker's device, or as somebody who means harm: whatever it is told.
type device struct {
	t    testing.TB
	node telemetry.Node
	conn net.Conn
	r    *bufio.Reader
	id   uint16 // of the last packet
	seq  uint8  // of the next Sparkplug message

	// As a gateway of ours:
	every   time.Duration // between two values, as its birth says; 0 = a second
	epoch   telemetry.Epoch
	number  uint64 // of the last record
	lowest  uint64 // of the records that may still come; 0 = the next
	alias   map[[2]string]uint64
	encoder sparkplug.Encoder
}

// introduction is what CONNECT says.
type introduction struct {
	client, user, password string
	willTopic              string
	will                   []byte
}

func mqttString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// mqttPacket puts head and length before a body.
func mqttPacket(head byte, body []byte) []byte {
	out := []byte{head}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(append(out, byte(n)), body...)
}

func (i introduction) packet() []byte {
	flags := byte(2)
	if i.user != "" {
		flags |= 0xc0
	}
	if i.willTopic != "" {
		flags |= 0x04 | 1<<3
	}
	body := append(mqttString(nil, "MQTT"), 4, flags, 0, 60)
	body = mqttString(body, i.client)
	if i.willTopic != "" {
		body = mqttString(mqttString(body, i.willTopic), string(i.will))
	}
	if i.user != "" {
		body = mqttString(mqttString(body, i.user), i.password)
	}
	return mqttPacket(0x10, body)
}

func publishPacket(topic string, payload []byte, qos byte, id uint16) []byte {
	body := mqttString(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	return mqttPacket(0x30|qos<<1, append(body, payload...))
}

// errRefused is what connect and publish wrap when the server said no or hung up.
var errRefused = errors.New("refused")

// dial opens a link: over TLS where c is set.
func dial(address string, c *tls.Config) (net.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	if c == nil {
		return d.Dial("tcp", address)
	}
	return tls.DialWithDialer(d, "tcp", address, c)
}

// introduce logs in on a link.
func introduce(t testing.TB, conn net.Conn, who introduction) (*device, error) {
	node, err := telemetry.ParseNode(who.client)
	if err != nil {
		t.Fatal(err)
	}
	d := &device{t: t, node: node, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(who.packet()); err != nil {
		return nil, fmt.Errorf("%w: CONNECT: %w", errRefused, err)
	}
	head, body, err := d.read()
	if err != nil || head != 0x20 || len(body) != 2 || body[1] != 0 {
		return nil, fmt.Errorf("%w: CONNACK %#x %v: %w", errRefused, head, body, err)
	}
	return d, nil
}

// read reads one packet.
func (d *device) read() (head byte, body []byte, err error) {
	if head, err = d.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(d.r) // MQTT's lengths are written alike
	if err != nil || size > 1<<20 {
		return 0, nil, fmt.Errorf("length %d: %w", size, err)
	}
	body = make([]byte, size)
	_, err = io.ReadFull(d.r, body)
	return head, body, err
}

// publish sends a message with QoS 1 and waits for its PUBACK.
func (d *device) publish(topic string, payload []byte) error {
	d.id++
	if err := d.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := d.conn.Write(publishPacket(topic, payload, 1, d.id)); err != nil {
		return fmt.Errorf("%w: PUBLISH: %w", errRefused, err)
	}
	for {
		head, body, err := d.read()
		if err != nil {
			return fmt.Errorf("%w: no PUBACK: %w", errRefused, err)
		}
		if head == 0x40 && len(body) == 2 && binary.BigEndian.Uint16(body) == d.id {
			return nil
		}
	}
}

// must ends the test if a message is not taken.
func (d *device) must(kind sparkplug.MessageType, device string, payload []byte) {
	d.t.Helper()
	if err := d.publish(sparkplug.Topic{Type: kind, Node: d.node, Device: device}.String(), payload); err != nil {
		d.t.Fatalf("%s of %s: %v", kind, d.node, err)
	}
}

// nextSeq is Sparkplug's counter; a birth begins anew.
func (d *device) nextSeq() uint64 {
	d.seq++
	return uint64(d.seq - 1)
}

// connect logs in at the door without TLS as one of the imported nodes.
func (r *rig) connect(node, password string) *device {
	r.t.Helper()
	conn, err := dial(r.plain, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	d, err := introduce(r.t, conn, introduction{client: node, user: node, password: password})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// series is one quantity that a device sends.
type series struct {
	device, quantity string
	kind             sparkplug.Datatype
	unit             telemetry.Unit
}

// born publishes the NBIRTH of a gateway of ours. Its epoch lasts as long as the
// device value.
func (d *device) born(all ...series) {
	d.t.Helper()
	if d.epoch == 0 {
		d.epoch = telemetry.Epoch(time.Now().UnixNano())
	}
	d.seq, d.alias = 0, map[[2]string]uint64{}
	b := &sparkplug.Birth{BdSeq: 1, Wire: 1, Version: "test", Simulated: true, Epochs: []telemetry.EpochFloor{{Epoch: d.epoch, Lowest: cmp.Or(d.lowest, d.number+1)}},
		Identities: map[string]telemetry.Identity{}}
	for i, s := range all {
		b.Identities[s.device] = telemetry.Identity{Firmware: s.quantity, Serial: s.device} // hostile where these are
		a := uint64(sparkplug.FirstAlias + i)
		d.alias[[2]string{s.device, s.quantity}] = a
		b.Definitions = append(b.Definitions, sparkplug.Definition{Alias: a, Device: s.device, Quantity: s.quantity, Type: s.kind, Unit: s.unit, Interval: cmp.Or(d.every, time.Second)})
	}
	d.must(sparkplug.NBIRTH, "", sparkplug.AppendBirth(nil, time.Now().UnixMilli(), d.nextSeq(), b))
}

// send publishes records as one message; it numbers them.
func (d *device) send(records ...telemetry.Record) {
	d.t.Helper()
	run := telemetry.Run{
		Epoch: d.epoch, First: d.number + 1, Count: uint64(len(records)), Clock: telemetry.ClockID{Epoch: d.epoch},
		Quality: telemetry.TimeNTP, Floor: cmp.Or(d.lowest, d.number+1),
	}
	for i := range records {
		d.number++
		records[i].Number = d.number
	}
	payload, err := d.encoder.AppendData(nil, time.Now().UnixMilli(), d.nextSeq(), run, records, func(device, quantity string) (uint64, bool) {
		a, ok := d.alias[[2]string{device, quantity}]
		return a, ok
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.must(sparkplug.NDATA, "", payload)
}

// record is one device's value of one quantity.
func record(device string, at time.Time, quantity string, value float64) telemetry.Record {
	return telemetry.Record{Device: device, Time: at.UnixMilli(), Readings: []telemetry.Reading{{Quantity: quantity, Value: telemetry.Num(value)}}}
}

// importNodes registers nodes with passwords; the CSV's lines come as they are.
func (r *rig) importNodes(lines string, n int) {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "nodes.csv")
	if err := os.WriteFile(file, []byte("group,name,password,district,site\n"+lines), 0o600); err != nil {
		r.t.Fatal(err)
	}
	var result server.ImportResult
	if err := r.admin(&result, "gateway", "import", file); err != nil || result.Imported != n {
		r.t.Fatalf("imported %d of %d: %v %v", result.Imported, n, result.Errors, err)
	}
}
