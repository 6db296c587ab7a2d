package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pantau-id/pantau/gateway/clock"
	"github.com/pantau-id/pantau/gateway/spool"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// line is a wire between a gateway and the server that lets everything through
// but the PUBACKs of backlog messages, until it is told to.
type line struct {
	t       testing.TB
	address string

	mu      sync.Mutex
	backlog map[uint16]bool // packet ids whose PUBACK waits
	waiting [][]byte
	back    net.Conn // to the gateway
	through bool
}

func newLine(t testing.TB, server string) *line {
	t.Helper()
	l, err := net.Listen("tcp", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	w := &line{t: t, address: l.Addr().String()}
	t.Cleanup(func() { _ = l.Close() }) // it ends the loop below
	go func() {
		for {
			gateway, err := l.Accept()
			if err != nil {
				return
			}
			if err := w.join(gateway, server); err != nil {
				t.Error(err)
			}
		}
	}()
	return w
}

func (w *line) join(gateway net.Conn, address string) error {
	server, err := dial(address, nil)
	if err != nil {
		return errors.Join(err, gateway.Close())
	}
	w.mu.Lock()
	w.back, w.backlog, w.waiting = gateway, map[uint16]bool{}, nil
	w.mu.Unlock()
	carry := func(from, to net.Conn, pass func(head byte, body, packet []byte) error) {
		defer to.Close()
		for in := (&device{r: bufio.NewReader(from)}); ; {
			head, body, err := in.read()
			if err != nil || pass(head, body, mqttPacket(head, body)) != nil {
				return // either end has hung up
			}
		}
	}
	go carry(gateway, server, func(head byte, body, packet []byte) error {
		if head&0xf0 == 0x30 {
			w.note(body)
		}
		_, err := server.Write(packet)
		return err
	})
	go carry(server, gateway, func(head byte, body, packet []byte) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if head == 0x40 && !w.through && w.backlog[binary.BigEndian.Uint16(body)] {
			w.waiting = append(w.waiting, packet)
			return nil
		}
		_, err := gateway.Write(packet)
		return err
	})
	return nil
}

// note looks whether a PUBLISH is backlog.
func (w *line) note(body []byte) {
	n := int(binary.BigEndian.Uint16(body))
	topic, err := sparkplug.ParseTopic(string(body[2 : 2+n]))
	if err != nil || topic.Type != sparkplug.NDATA {
		return
	}
	var birth, p sparkplug.Payload
	var data sparkplug.Data
	if err := sparkplug.Decode(sparkplug.AppendBirth(nil, 0, 0, &sparkplug.Birth{}), &birth); err != nil {
		w.t.Error(err)
		return
	}
	onlyRun, err := sparkplug.ParseBirth(&birth, "")
	if err == nil {
		err = sparkplug.Decode(body[4+n:], &p)
	}
	if err != nil {
		w.t.Error(err)
		return
	}
	_ = data.Resolve(&p, onlyRun, 0) // it fails at the records, of which the birth knows nothing
	if data.Run.Backlog {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.backlog[binary.BigEndian.Uint16(body[2+n:])] = true
	}
}

// open lets the PUBACKs through that waited, and all to come.
func (w *line) open() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.through = true
	for _, p := range w.waiting {
		if _, err := w.back.Write(p); err != nil {
			w.t.Fatal(err)
		}
	}
}

// fill lays records of an earlier boot on the card of a gateway that has not run
// yet, one each 100 ms from begin on.
func (s *site) fill(t testing.TB, begin time.Time, n int) {
	t.Helper()
	if err := os.MkdirAll(s.spool(), 0o700); err != nil {
		t.Fatal(err)
	}
	var boot clock.BootID
	if _, err := io.ReadFull(rand.Reader, boot[:]); err != nil {
		t.Fatal(err)
	}
	sp, err := spool.Open(spool.Options{Dir: s.spool(), Boot: boot, FreeFloor: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = sp.AddMapping(clock.Mapping{Offset: begin.UnixMilli(), Quality: telemetry.TimeNTP, ID: telemetry.ClockID{Epoch: sp.Epoch(), Counter: 1}})
	for i := 0; i < n && err == nil; i++ {
		_, err = sp.Append(spool.Sample{Device: "cuaca", Boottime: time.Duration(i+1) * 100 * time.Millisecond,
			Readings: []telemetry.Reading{{Quantity: "temperature", Value: telemetry.Num(float64(i) / 1000)}}})
	}
	if err == nil {
		err = sp.Flush(t.Context())
	}
	if err := errors.Join(err, sp.Close()); err != nil {
		t.Fatal(err)
	}
}

// 7.1, the second half: what is measured now is stored at once, beside a backlog
// that does not move. Its first message is never acknowledged here until a reading
// of now has come: a gateway that sent one after the other would never get there.
func TestLiveReadingsDoNotWaitBehindTheBacklog(t *testing.T) {
	t.Parallel()
	const backlog = 20_000 // more than a full window of messages holds
	r := newRig(t)
	r.importNodes("3374,penuh,kata-sandi-penuh-sekali,3374,\n", 1)
	s := r.newChips("penuh")
	before := time.Now()
	s.fill(t, before.Add(-time.Hour), backlog)
	w := newLine(t, r.plain)
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte("kata-sandi-penuh-sekali\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[gateway]\nname = \"3374/penuh\"\ntime = \"assume-ntp\"\n[status]\nlisten = \"off\"\n[spool]\nsync = \"200ms\"\n"+
		"[uplink]\nserver = \"mqtt://%s\"\nusername = \"3374/penuh\"\npassword_file = %q\n", w.address, password) +
		sensor("bme280", "cuaca", "i2c-1.sock", "500ms")
	if err := os.WriteFile(s.config, []byte(strings.ReplaceAll(config, "BUS", filepath.Join(s.dir, "chips"))), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	count := func(from, to time.Time) int {
		t.Helper()
		got := r.query(fmt.Sprintf(`SELECT count(temperature) FROM "pantau"."raw"."air" WHERE gateway = 'penuh' AND time >= %dms AND time < %dms`, from.UnixMilli(), to.UnixMilli()))
		if len(got) == 0 {
			return 0
		}
		n, _ := got[0].number("count")
		return int(n)
	}
	end := before.Add(time.Hour)
	await(t, "readings of now in the database", patience, func() bool { return count(before, end) >= 3 })
	waits := backlog - count(before.Add(-2*time.Hour), before)
	t.Logf("%d of %d records of the backlog were not stored when three readings of now were", waits, backlog)
	if waits <= 0 {
		t.Error("the backlog was there first")
	}
	w.open()
	await(t, "the whole backlog", 4*patience, func() bool { return count(before.Add(-2*time.Hour), before) == backlog })
	if row := r.accounted(s); row.Lost+row.DeadLetters > 0 {
		t.Errorf("the ledger: %+v", row)
	}
}
