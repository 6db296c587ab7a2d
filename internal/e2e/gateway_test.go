package e2e

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/server"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// sensor writes one sensor of a gateway's settings.
func sensor(part, name, bus, interval string) string {
	return fmt.Sprintf("\n[[sensor]]\npart = %q\nname = %q\nbus = \"BUS/%s\"\ninterval = %q\nreport = %q\n", part, name, bus, interval, interval)
}

// of is a gateway's row of the ledger.
func (r *rig) of(s *site) server.LedgerRow {
	r.t.Helper()
	for _, g := range r.ledger().Gateways {
		if g.Node == s.node {
			return g
		}
	}
	return server.LedgerRow{Node: s.node}
}

// accounted waits until the ledger knows what became of every number of a
// gateway so far.
func (r *rig) accounted(s *site) server.LedgerRow {
	r.t.Helper()
	var row server.LedgerRow
	await(r.t, "a ledger without missing numbers", patience, func() bool {
		row = r.of(s)
		return row.Expected > 0 && row.Missing == 0
	})
	if row.Expected != row.Stored+row.Lost+row.DeadLetters {
		r.t.Errorf("the ledger does not add up: %+v", row)
	}
	return row
}

// 7.3 and E9: kill -9 of the gateway again and again while it writes, with the
// server there, away, and there again. What lay on the card arrives, once and as
// it was; what a damaged card lost is named with its reason and its number.
func TestGatewayKilledWhileWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.newSite("tanpalistrik", sensor("bme280", "cuaca", "i2c-1.sock", "200ms")+sensor("sps30", "debu", "i2c-1.sock", "500ms")+
		sensor("pzem004t", "rumah", "ttyRTU", "300ms")+sensor("sdm120", "pasar", "ttyRTU", "500ms")+"address = 2\n")
	rng := rand.New(rand.NewPCG(3, uint64(os.Getpid())))
	want, lost := card{}, card{}
	for round := range gatewayKills {
		switch round {
		case gatewayKills / 4:
			r.server.stop()
		case gatewayKills * 3 / 4:
			r.serve()
		}
		// A random moment of its work is the point here; nothing is waited for.
		pause(t, time.Duration(100+rng.IntN(600))*time.Millisecond)
		s.gateway.kill()
		have := s.card(t)
		want.add(have)
		if round == gatewayKills/2 {
			lost = s.damage(t, have)
		}
		s.run(t)
	}
	for id := range lost {
		delete(want, id)
	}
	r.arrives(s, want)
	if absent, _ := r.compare(s.id(t), lost); len(absent) != len(lost) {
		t.Errorf("%d records that the card had lost are in the database all the same", len(lost)-len(absent))
	}
	s.gateway.stop()
	rest := s.card(t) // taken at the end and not sent any more
	s.run(t)
	r.arrives(s, rest)
	row := r.accounted(s)
	t.Logf("%d records lay on the card after %d kills, of which %d damaged; ledger: %+v", len(want)+len(lost), gatewayKills, len(lost), row)
	if len(want) < 3*gatewayKills || len(lost) == 0 {
		t.Errorf("only %d records were at stake, %d of them damaged", len(want), len(lost))
	}
	if row.LostBy["quarantine"] != uint64(len(lost)) || row.Lost != row.LostBy["quarantine"] || row.DeadLetters != 0 {
		t.Errorf("the ledger says %+v; the card lost %d records to damage and nothing else", row, len(lost))
	}
}

// damage overwrites some bytes in the middle of the spool's newest file, of
// which nothing has been sent, and returns what can't be read any more.
func (s *site) damage(t testing.TB, before card) card {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.spool(), "*.seg")) // sorted by age
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", s.spool(), err)
	}
	newest := files[len(files)-1]
	text, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	copy(text[len(text)/2:], bytes.Repeat([]byte{0xa5}, 64))
	if err := os.WriteFile(newest, text, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := card{}
	after := s.card(t)
	for id, r := range before {
		if _, ok := after[id]; !ok {
			lost[id] = r
		}
	}
	return lost
}

// gave is what a device gave of one of its quantities after a time (Unix ms), and
// when it first gave no value for a reason: a gap's, or that for which a value was
// rejected. A value of a part that warms up counts as one.
func (r *rig) gave(device string, quantity [2]string, after int64) (values int, reasons map[string]int, first int64) {
	r.t.Helper()
	kind, q := quantity[0], quantity[1]
	reasons = map[string]int{}
	for _, p := range r.query(fmt.Sprintf(`SELECT * FROM "pantau"."raw"."%s" WHERE device = '%s' AND time > %dms`, kind, device, after)) {
		reason := p.text(q + "_gap")
		if _, ok := p.number(q + "_rejected"); ok {
			reason = p.text(q + "_flag")
		}
		if _, ok := p.number(q); ok || reason == "warm_up" {
			values++
		} else if reason != "" {
			reasons[reason]++
			first = min(cmp.Or(first, p.time()), p.time())
		}
	}
	return values, reasons, first
}

// 7.8: every way in which a sensor can fail is a gap with its reason in the
// database; the others go on, and the sensor comes back without a restart. A value
// that stands still is flagged after half an hour at the earliest:
// TestAStuckPartIsSeenByStuck of gateway/sensors.
func TestSensorFaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.newSite("rusak", sensor("bme280", "cuaca", "i2c-1.sock", "500ms")+sensor("sps30", "debu", "i2c-1.sock", "1s")+
		sensor("pzem004t", "rumah", "ttyRTU", "1s")+sensor("sdm120", "pasar", "ttyRTU", "2s")+"address = 2\n"+sensor("a02yyuw", "bak", "ttyAIR", "1s"))
	quantities := map[string][2]string{ // a quantity of each device, with its kind
		"cuaca": {"air", "temperature"}, "debu": {"air", "pm2_5"},
		"rumah": {"energy", "voltage"}, "pasar": {"energy", "voltage"}, "bak": {"waste", "distance"},
	}
	since := func(device string, after int64) (values int, reasons map[string]int) {
		values, reasons, _ = r.gave(device, quantities[device], after)
		return values, reasons
	}
	now := func() int64 { return time.Now().UnixMilli() }
	all := slices.Sorted(maps.Keys(quantities))
	value := func(after int64, devices ...string) {
		t.Helper()
		for _, d := range devices {
			await(t, "a value of "+d, patience, func() bool { n, _ := since(d, after); return n > 0 })
		}
	}
	value(0, all...)
	epoch := r.of(s)
	for _, c := range []struct {
		part, fault string
		devices     []string // that it strikes
		reasons     []string // any of these is true
	}{
		{"sps30", "no-answer", []string{"debu"}, []string{"no_answer"}},
		{"sps30", "crc", []string{"debu"}, []string{"checksum"}},
		{"bme280", "unplug", []string{"cuaca"}, []string{"no_answer"}},
		{"pzem004t", "slow", []string{"rumah"}, []string{"timeout", "no_answer"}},
		{"pzem004t", "crc", []string{"rumah"}, []string{"checksum"}},
		{"a02yyuw", "no-answer", []string{"bak"}, []string{"no_answer"}},
		{"ttyRTU", "unplug", []string{"rumah", "pasar"}, []string{"bus", "no_answer"}},
		{"sdm120", "crc", []string{"pasar"}, []string{"checksum"}},
		{"i2c-1", "broken", []string{"cuaca", "debu"}, []string{"bus"}},
	} {
		name := c.part + " " + c.fault
		begin := now()
		s.fault(t, "fail", c.part, c.fault)
		for _, d := range c.devices {
			var got map[string]int
			await(t, fmt.Sprintf("%s: no value of %s for a reason of %v", name, d, c.reasons), patience, func() bool {
				_, got = since(d, begin)
				for _, reason := range c.reasons {
					if got[reason] > 0 {
						return true
					}
				}
				return false
			})
			t.Logf("%s: %s gives none for %v", name, d, got)
		}
		var others []string
		for _, d := range all {
			if !slices.Contains(c.devices, d) {
				others = append(others, d)
			}
		}
		value(now(), others...) // while the fault is there
		s.fault(t, "clear", c.part)
		mended := now()
		value(mended, c.devices...)
		for _, d := range others {
			if _, reasons := since(d, begin); len(reasons) > 0 {
				t.Errorf("%s took values of %s away: %v", name, d, reasons)
			}
		}
	}
	select {
	case <-s.gateway.done:
		t.Errorf("the gateway ended: %v", s.gateway.err)
	default:
	}
	if row := r.of(s); row.Lost+row.DeadLetters > 0 || row.Expected <= epoch.Expected {
		t.Errorf("the ledger: %+v", row)
	}
}

// 7.8, the rest: what is outside a part's range is never a value. The part says
// so itself (a gap), or its number is kept beside its flag.
func TestSensorsOutOfRange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.newSite("janggal", sensor("bme280", "cuaca", "i2c-1.sock", "1s")+
		sensor("scd41", "kelas", "i2c-1.sock", "7s")+ // which measures every five
		sensor("pzem004t", "rumah", "ttyRTU", "1s")+sensor("sdm120", "pasar", "ttyRTU", "2s")+"address = 2\n"+sensor("a02yyuw", "bak", "ttyAIR", "1s"))
	parts := []struct {
		part, device string
		quantity     [2]string
		reason       string
	}{
		{"bme280", "cuaca", [2]string{"air", "humidity"}, "protocol"},
		{"scd41", "kelas", [2]string{"air", "humidity"}, "protocol"},
		{"pzem004t", "rumah", [2]string{"energy", "voltage"}, "range"},
		{"sdm120", "pasar", [2]string{"energy", "voltage"}, "range"},
		{"a02yyuw", "bak", [2]string{"waste", "distance"}, "not_number"},
	}
	values := func(when string, after int64) {
		t.Helper()
		for _, p := range parts {
			await(t, "a value of the "+p.part+" "+when, patience, func() bool { n, _, _ := r.gave(p.device, p.quantity, after); return n > 0 })
		}
	}
	values("at first", 0)
	begin := time.Now().UnixMilli()
	for _, p := range parts {
		s.fault(t, "fail", p.part, "range")
	}
	for _, p := range parts {
		var got map[string]int
		var first int64
		await(t, fmt.Sprintf("three times %s of the %s", p.reason, p.part), patience, func() bool {
			_, got, first = r.gave(p.device, p.quantity, begin)
			return got[p.reason] >= 3
		})
		if n, _, _ := r.gave(p.device, p.quantity, first); n > 0 || len(got) != 1 {
			t.Errorf("%s: %d values stand as measured; reasons %v", p.part, n, got)
		}
	}
	for _, p := range parts {
		s.fault(t, "clear", p.part)
	}
	values("again", time.Now().UnixMilli())
}

// 7.9, and the gateway's half of 7.5: the server is away and the card is full,
// so that the oldest records are dropped; then the gateway gets other sensors
// under old names, and later others again. Afterwards each value that the card
// held stands under its own name, and the ledger names every number dropped.
func TestOtherSensorsWhileTheCardIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	// Sensors on buses that are not there fill the card fast: each sample is a gap.
	quota, absent := "quota = \"256KiB\"\n", ""
	for i := range 60 {
		absent += sensor("sps30", fmt.Sprintf("hilang-%02d", i), fmt.Sprintf("tiada-%02d.sock", i), "100ms")
	}
	s := r.newSite("ganti", sensor("sps30", "debu", "i2c-1.sock", "1s")+sensor("bme280", "cuaca", "i2c-1.sock", "200ms")+sensor("pzem004t", "rumah", "ttyRTU", "500ms"))
	await(t, "readings in the database", patience, func() bool { return r.of(s).Stored > 20 })
	r.server.stop()
	for _, sensors := range []string{
		absent + sensor("sps30", "debu", "i2c-1.sock", "1s") + sensor("bme280", "cuaca", "i2c-1.sock", "200ms"),
		absent + sensor("scd41", "rumah", "i2c-1.sock", "1s") + sensor("sdm120", "debu", "ttyRTU", "500ms") + "address = 2\n",
	} {
		s.gateway.stop()
		s.write(t, quota+sensors)
		s.run(t)
		pause(t, 6*time.Second) // a full card drops at once, and an SCD4x has its first value after 5 s
		s.drops(t)
	}
	s.gateway.stop()
	s.write(t, quota+sensor("bme280", "rumah", "i2c-1.sock", "200ms")+sensor("a02yyuw", "cuaca", "ttyAIR", "500ms")+sensor("scd41", "debu", "i2c-1.sock", "1s"))
	s.run(t)
	pause(t, 3*time.Second)
	s.gateway.kill()
	want := s.card(t)
	dropped := uint64(0)
	measured := map[string]map[string]bool{}
	for _, rec := range want {
		if l := rec.Loss; l != nil {
			dropped += l.To - l.From + 1
			if l.Reason != telemetry.LossQuota {
				t.Errorf("the card lost %+v", *l)
			}
			continue
		}
		if measured[rec.Device] == nil {
			measured[rec.Device] = map[string]bool{}
		}
		measured[rec.Device][rec.Readings[0].Quantity] = true
	}
	s.run(t)
	r.serve()
	r.arrives(s, want)
	row := r.accounted(s)
	t.Logf("%d records lay on the full card, which had dropped %d; ledger: %+v", len(want), dropped, row)
	for _, d := range []string{"debu", "rumah"} {
		if len(measured[d]) < 2 {
			t.Errorf("%s had only %v: the sensors were not changed in time", d, measured[d])
		}
	}
	if row.Lost == 0 || row.Lost != row.LostBy["quota"] || row.Lost != dropped || row.DeadLetters > 0 {
		t.Errorf("the ledger says %+v, the card had dropped %d", row, dropped)
	}
}

// drops waits until the spool, of which nothing is sent, has given up its oldest
// file.
func (s *site) drops(t testing.TB) {
	t.Helper()
	oldest := ""
	await(t, "a full card", 2*time.Minute, func() bool {
		files, err := filepath.Glob(filepath.Join(s.spool(), "*.seg"))
		if err != nil || len(files) == 0 {
			return false
		}
		if oldest == "" {
			oldest = files[0]
		}
		return files[0] != oldest
	})
}
