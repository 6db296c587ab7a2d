package e2e

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// attacker is somebody with a password of his own who sends what is forbidden.
type attacker struct {
	introduction
	node telemetry.Node
	rng  *rand.Rand
}

// nonsense is one stretch of bytes that no client of ours would send.
func (a *attacker) nonsense() []byte {
	own := sparkplug.Topic{Type: sparkplug.NDATA, Node: a.node}.String()
	birth := sparkplug.Topic{Type: sparkplug.NBIRTH, Node: a.node}.String()
	kinds := []func() []byte{
		// Frames.
		func() []byte { return publishPacket("spBv1.0/3374/NDATA/fleet-0000", []byte("forged"), 1, 1) },
		func() []byte { return publishPacket("spBv1.0/3374/NDEATH/fleet-0000", []byte("forged"), 0, 0) },
		func() []byte { return publishPacket("spBv1.0/9999/NDATA/asing", []byte("foreign group"), 1, 1) },
		func() []byte { return publishPacket("STATE/pantau", []byte("OFFLINE"), 1, 1) },
		func() []byte { return publishPacket(own, []byte("no id"), 1, 0) },
		func() []byte { return publishPacket(own, []byte("QoS 2"), 2, 1) },
		func() []byte { return publishPacket(own+"\x00", []byte("NUL"), 1, 1) },
		func() []byte { return publishPacket(own+"\xff", []byte("UTF-8"), 1, 1) },
		func() []byte { return publishPacket("a/#", []byte("wildcard"), 1, 1) },
		func() []byte { return publishPacket(own, make([]byte, 300<<10), 1, 1) }, // above the limit
		func() []byte { return []byte{0x30, 0xff, 0xff, 0xff, 0x7f} },
		func() []byte { return []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01} },
		func() []byte { return []byte{0x82, 6, 0, 1, 0, 0, 1, 'x'} },
		func() []byte { return mqttPacket(0x82, append(mqttString([]byte{0, 1}, "spBv1.0/3374/#"), 1)) },
		func() []byte { return []byte{0xc0, 1, 0} },
		func() []byte { p := a.packet(); return p[:a.rng.IntN(len(p))] },
		func() []byte { return []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n") },
		func() []byte { b := make([]byte, 64); return b[:copy(b, []byte{0x16, 3, 1, 2, 0})+32] },
		func() []byte { return a.mutate(publishPacket(own, []byte("fine"), 1, 1)) },
		func() []byte { return a.mutate(a.packet()) },
		func() []byte {
			i := a.introduction
			i.willTopic, i.will = "spBv1.0/3374/NDEATH/fleet-0000", []byte("will")
			return i.packet()
		},
		// Payloads: good frames that go to the journal and make no sense there.
		func() []byte { return publishPacket(own, []byte("no birth, no protobuf"), 1, 1) },
		func() []byte {
			b := make([]byte, 200)
			for i := range b {
				b[i] = byte(a.rng.Uint32())
			}
			return publishPacket(birth, b, 1, 1)
		},
		func() []byte {
			run := telemetry.Run{Epoch: 1, First: 1 << 62, Count: 1, Clock: telemetry.ClockID{Epoch: 1}, Floor: 1}
			var e sparkplug.Encoder
			one := record("x", time.Now(), "pm2_5", 1)
			one.Number = run.First
			p, err := e.AppendData(nil, 0, 0, run, []telemetry.Record{one}, func(string, string) (uint64, bool) { return 1 << 40, true })
			if err != nil {
				panic(err)
			}
			return publishPacket(own, p, 1, 1)
		},
		func() []byte {
			b := &sparkplug.Birth{Wire: 1, Epochs: []telemetry.EpochFloor{{Epoch: 1, Lowest: 1 << 63}}}
			for i := range 200 {
				b.Definitions = append(b.Definitions, sparkplug.Definition{Alias: uint64(i + 1), Device: strings.Repeat("d", 100), Quantity: fmt.Sprint(i), Type: sparkplug.TypeDouble})
			}
			return publishPacket(birth, sparkplug.AppendBirth(nil, -1, 0, b), 1, 1)
		},
	}
	return kinds[a.rng.IntN(len(kinds))]()
}

// mutate changes a few bytes.
func (a *attacker) mutate(p []byte) []byte {
	for range 1 + a.rng.IntN(3) {
		switch a.rng.IntN(3) {
		case 0:
			p[a.rng.IntN(len(p))] = byte(a.rng.Uint32())
		case 1:
			p = append(p, byte(a.rng.Uint32()))
		case 2:
			if len(p) > 4 {
				binary.BigEndian.PutUint16(p[2:], uint16(a.rng.Uint32()))
			}
		}
	}
	return p
}

// attack sends nonsense on n links, before or after logging in. It comes from an
// address of its own: what is refused there is held against that address.
func (a *attacker) attack(plain, door string, n int) error {
	dialer := &net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range n {
		var conn net.Conn
		var err error
		if a.rng.IntN(4) == 0 {
			conn, err = tls.DialWithDialer(dialer, "tcp", door, &tls.Config{InsecureSkipVerify: true})
		} else {
			conn, err = dialer.Dial("tcp", plain)
		}
		if err != nil {
			return fmt.Errorf("link %d: %w", i, err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience)) // on errors the next call fails
		if a.rng.IntN(3) > 0 {
			_, _ = conn.Write(a.packet()) // likewise
		}
		_, _ = conn.Write(a.nonsense()) // the server may have hung up by now
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // likewise
		}
		_, _ = io.Copy(io.Discard, conn) // until the server hangs up
		_ = conn.Close()
	}
	return nil
}

// 7.6 and statement 16 through the real server (10,000 packets go against the
// broker alone in its own tests): malformed, forged and senseless packets while
// a fleet works. No gateway notices, each refusal is counted, the process lives.
func TestHostilePacketsBesideAFleet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var lines strings.Builder
	var nodes []telemetry.Node
	for i := range attackers {
		nodes = append(nodes, telemetry.Node{Group: "3374", ID: fmt.Sprintf("jahat-%d", i)})
		fmt.Fprintf(&lines, "3374,%s,kata-sandi-jahat-%d,3374,\n", nodes[i].ID, i)
	}
	r.importNodes(lines.String(), attackers)
	result, file := r.play(20, fleet.Options{Interval: 100 * time.Millisecond, For: attackedFleet, Seed: 13}, func() {
		var group sync.WaitGroup
		for i, n := range nodes {
			a := &attacker{introduction{client: n.String(), user: n.String(), password: fmt.Sprintf("kata-sandi-jahat-%d", i)}, n, rand.New(rand.NewPCG(uint64(i), 6))}
			group.Go(func() {
				if err := a.attack(r.plain, r.door, attacks); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
	if result.Connects != 20 || result.Failures != 0 || result.Rebirths != 0 {
		t.Errorf("the fleet noticed: %+v", result)
	}
	v := r.verify(file)
	if v.Sent != result.Readings || v.Stored != v.Sent || v.Lost+v.Doubled+v.Altered > 0 {
		t.Errorf("the fleet's ledger: %+v", v)
	}
	for _, g := range r.ledger().Gateways {
		if strings.HasPrefix(g.Node, "3374/fleet-") {
			if g.Missing+g.Lost+g.DeadLetters > 0 || g.Expected == 0 {
				t.Errorf("the server's ledger: %+v", g)
			}
		} else {
			t.Logf("of an attacker: %+v", g)
		}
	}
	refused, cut, letters := r.labelled("pantau_broker_refused_total"), r.labelled("pantau_broker_cut_total"), r.labelled("pantau_ingest_dead_letters_total")
	t.Logf("refused: %v\ncut: %v\ndead letters: %v", refused, cut, letters)
	if n := r.sum("pantau_broker_refused_total") + r.sum("pantau_broker_cut_total"); n < attackers*attacks/2 || len(refused)+len(cut) < 12 {
		t.Errorf("only %v refusals were counted, for %d reasons", n, len(refused)+len(cut))
	}
	if r.sum("pantau_ingest_dead_letters_total") == 0 {
		t.Error("no senseless payload became a dead letter")
	}
	if n, ok := r.metric("pantau_broker_panics_total"); !ok || n != 0 {
		t.Errorf("%v panics", n)
	}
	if rss, _ := r.metric("process_resident_memory_bytes"); rss > 512<<20 {
		t.Errorf("the server holds %.0f MB", rss/1e6)
	}
	select {
	case <-r.server.done:
		t.Errorf("the server ended: %v", r.server.err)
	default:
	}
}
