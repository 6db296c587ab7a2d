package fleet

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

func TestAnAQMSIsAForeignSparkplugNode(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	node := telemetry.Node{Group: "maker", ID: "aqms"}
	births := map[string]*sparkplug.Birth{}
	var data []telemetry.Record
	s.foreign = func(topic sparkplug.Topic, p *sparkplug.Payload) {
		switch topic.Type {
		case sparkplug.DBIRTH:
			b, err := sparkplug.ParseBirth(p, topic.Device)
			if err != nil {
				t.Error(err)
			}
			births[topic.Device] = b
		case sparkplug.DDATA:
			var d sparkplug.Data
			if err := d.Resolve(p, births[topic.Device], 0); err != nil || d.Unknown > 0 || d.Pantau {
				t.Errorf("%v, %d unknown", err, d.Unknown)
			}
			data = append(data, d.Records...)
			if len(data) == 6 {
				cancel()
			}
		}
	}
	r, err := RunAQMS(ctx, AQMSOptions{
		Server: s.url(), Credential: Credential{Node: node}, Devices: 2, Interval: 20 * time.Millisecond, QoS: 1,
	})
	if err != nil || r.Births != 3 || r.Messages < 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.over()
	want := map[string]bool{"pm10": true, "pm2_5": true, "so2_ppb": true, "co_ppm": true, "o3_ppb": true, "no2_ppb": true, "hc_ppb": true}
	known := 0
	for _, d := range births["AQMS-02"].Definitions {
		if q, ok := telemetry.Match(d.Name, d.Unit); ok {
			known++
			if !want[q.Name] {
				t.Errorf("%s in %s became %s", d.Name, d.Unit, q.Name)
			}
		}
	}
	if known != len(want) {
		t.Errorf("%d of %d quantities are known", known, len(want))
	}
	for _, rec := range data {
		for _, rd := range rec.Readings {
			if rd.Gap != "" || math.IsNaN(rd.Value.Number) || rd.Value.Number < 0 || rd.Value.Number > 5000 {
				t.Errorf("%s %+v", rec.Device, rd)
			}
		}
	}
}

// What the standard asks of a node with devices, as a server sees it on the wire.
func TestAnAQMSKeepsToTheStandard(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	node := telemetry.Node{Group: "maker", ID: "aqms"}
	var order []string // of messages, "type/device"
	seq := uint64(0)
	aliases := map[uint64]string{}
	s.foreign = func(topic sparkplug.Topic, p *sparkplug.Payload) {
		order = append(order, string(topic.Type)+"/"+topic.Device)
		// [tck-id-topics-dbirth-topic] [tck-id-topics-ddata-topic]
		// [tck-id-message-flow-device-birth-publish-dbirth-topic]
		// [tck-id-message-flow-device-birth-publish-dbirth-match-edge-node-topic]
		if topic.Node != node {
			t.Errorf("%+v", topic)
		}
		if topic.Type == sparkplug.NDEATH {
			return
		}
		// [tck-id-topics-dbirth-seq] [tck-id-payloads-dbirth-seq] [tck-id-payloads-dbirth-seq-inc]
		// [tck-id-message-flow-device-birth-publish-dbirth-payload-seq]
		// [tck-id-topics-ddata-seq-num] [tck-id-payloads-ddata-seq] [tck-id-payloads-ddata-seq-inc]
		if !p.HasSeq || p.Seq != seq%256 {
			t.Errorf("%s with seq %d, want %d", topic.Type, p.Seq, seq%256)
		}
		seq++
		// [tck-id-topics-dbirth-timestamp] [tck-id-payloads-dbirth-timestamp]
		// [tck-id-topics-ddata-timestamp] [tck-id-payloads-ddata-timestamp]
		if at := time.UnixMilli(int64(p.Timestamp)); !p.HasTimestamp || time.Since(at).Abs() > time.Minute {
			t.Errorf("%s at %v", topic.Type, at)
		}
		last := uint64(0)
		for _, m := range p.Metrics {
			if m.Timestamp < last || m.Timestamp == 0 { // [tck-id-operational-behavior-data-publish-dbirth-order]
				t.Errorf("%s: %+v comes after %d", topic.Type, m, last)
			}
			last = m.Timestamp
			switch topic.Type {
			case sparkplug.DBIRTH:
				// [tck-id-topics-dbirth-metrics] [tck-id-operational-behavior-data-publish-dbirth-values]
				if len(m.Name) == 0 || !m.HasAlias || m.Type != sparkplug.TypeFloat || m.Value.Kind != sparkplug.FloatValue {
					t.Errorf("birth of %+v", m)
				}
				if other, ok := aliases[m.Alias]; ok && other != topic.Device+string(m.Name) { // [tck-id-payloads-alias-uniqueness]
					t.Errorf("alias %d is %s and %s of %s", m.Alias, other, m.Name, topic.Device)
				}
				aliases[m.Alias] = topic.Device + string(m.Name)
			case sparkplug.DDATA:
				// [tck-id-topics-dbirth-metric-reqs] [tck-id-operational-behavior-data-publish-dbirth]
				if of, ok := aliases[m.Alias]; !ok || !strings.HasPrefix(of, topic.Device) || len(m.Name) > 0 {
					t.Errorf("%s: data of %+v", topic.Device, m)
				}
			}
		}
		if topic.Type == sparkplug.DDATA && len(p.Metrics) != len(gases) { // [tck-id-topics-ddata-payload]
			t.Errorf("%d of %d metrics", len(p.Metrics), len(gases))
		}
		if seq == 300 {
			cancel()
		}
	}
	var connect []byte
	left := make(chan struct{})
	s.raw = func(in *incoming) {
		switch in.first & 0xf0 {
		case typeConnect:
			connect = bytes.Clone(in.body)
		case typeDisconnect:
			close(left)
		case typePublish:
			// Births and data with QoS 0 as the standard has it, nothing retained.
			// [tck-id-message-flow-device-birth-publish-dbirth-retained]
			// [tck-id-payloads-dbirth-retain] [tck-id-payloads-ddata-retain]
			topic, want := string(in.body), byte(typePublish)
			if strings.Contains(topic, "NDEATH") {
				want |= 1 << 1
			}
			if in.first != want {
				t.Errorf("header %#02x of %.40q", in.first, topic)
			}
		}
	}
	if _, err := RunAQMS(ctx, AQMSOptions{Server: s.url(), Credential: Credential{Node: node}, Devices: 2, Interval: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	<-left
	s.over()
	// The whole birth, then data, and a farewell. [tck-id-message-flow-device-birth-publish-nbirth-wait]
	// [tck-id-message-flow-device-birth-publish-dbirth-payload]
	// [tck-id-payloads-dbirth-order] [tck-id-payloads-ddata-order]
	// [tck-id-topic-structure-namespace-unique-device-id]
	want := []string{"NBIRTH/", "DBIRTH/AQMS-01", "DBIRTH/AQMS-02", "DDATA/AQMS-01", "DDATA/AQMS-02"}
	for i, one := range want {
		if order[i] != one {
			t.Errorf("message %d is %s, want %s", i, order[i], one)
		}
	}
	if last := order[len(order)-1]; last != "NDEATH/" { // [tck-id-operational-behavior-edge-node-intentional-disconnect-ndeath]
		t.Errorf("the last message is %s", last)
	}
	// [tck-id-principles-persistence-clean-session-311] [tck-id-payloads-ndeath-will-message-qos]
	// [tck-id-payloads-ndeath-will-message-retain]: clean session, a will, its QoS 1
	if flags := connect[7]; flags&0x3e != 0x02|0x04|1<<3 {
		t.Errorf("CONNECT with flags %#02x", flags)
	}
	will := bytes.Index(connect, []byte("NDEATH/aqms")) + len("NDEATH/aqms")
	var death sparkplug.Payload
	if err := sparkplug.Decode(connect[will+2:][:binary.BigEndian.Uint16(connect[will:])], &death); err != nil {
		t.Fatal(err)
	}
	if n, ok := death.BdSeq(); !ok || n != 0 {
		t.Errorf("the first bdSeq is %d, %v", n, ok)
	}
}

// [tck-id-topics-nbirth-bdseq-increment]
// [tck-id-message-flow-edge-node-birth-publish-will-message-payload-bdSeq]
func TestBdSeqIsAByteFromZero(t *testing.T) {
	var s bdSeq
	for i := range uint64(600) {
		if n := s.connect(); n != i%256 || s.now != n {
			t.Fatalf("CONNECT %d has bdSeq %d", i, n)
		}
	}
}
