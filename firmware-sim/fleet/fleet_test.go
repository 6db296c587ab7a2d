package fleet

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pantau-id/pantau/internal/porttest"
	"github.com/pantau-id/pantau/internal/sparkplug"
	"github.com/pantau-id/pantau/internal/telemetry"
)

// guard is how long a play may take at most; it ends when the server has enough.
const guard = 2 * time.Minute

// entry is one line of the ledger, without its kind.
type entry struct {
	gateway, epoch, seq, device, quantity, ms, value string
}

// readLedger returns the S and the A lines, in their order.
func readLedger(t *testing.T, path string) (sent, acked []entry) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		p := strings.Split(lines.Text(), "\t")
		if len(p) != 8 {
			t.Fatalf("%d fields: %q", len(p), lines.Text())
		}
		e := entry{p[1], p[2], p[3], p[4], p[5], p[6], p[7]}
		switch p[0] {
		case "S":
			sent = append(sent, e)
		case "A":
			acked = append(acked, e)
		default:
			t.Fatalf("kind %q", p[0])
		}
	}
	return sent, acked
}

// entries turns what a server got into ledger lines.
func entries(runs []received) map[entry]int {
	out := map[entry]int{}
	for _, r := range runs {
		for _, rec := range r.records {
			for _, rd := range rec.Readings {
				out[entry{r.node, r.run.Epoch.String(), strconv.FormatUint(rec.Number, 10), rec.Device, rd.Quantity,
					strconv.FormatInt(rec.Time, 10), rd.Value.String()}]++
			}
		}
	}
	return out
}

func TestTheLedgerSaysWhatTheServerGot(t *testing.T) {
	s := newServer(t)
	ledger := filepath.Join(t.TempDir(), "ledger.tsv")
	r, err := Run(t.Context(), Options{
		Server: s.url(), Gateways: MakeCredentials(5, "3374", "3373"), Interval: 20 * time.Millisecond, Ledger: ledger,
		For: guard, Enough: s.enough(func() bool { return s.n >= 100 }),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.over()
	sent, acked := readLedger(t, ledger)
	got := entries(s.runs)
	if uint64(len(sent)) != r.Readings || uint64(len(acked)) != r.Acked || r.Pending != 0 || len(sent) != len(acked) || len(got) != len(sent) {
		t.Fatalf("%+v; ledger %d and %d, server %d", r, len(sent), len(acked), len(got))
	}
	for _, e := range sent {
		if got[e] != 1 {
			t.Errorf("%v reached the server %d times", e, got[e])
		}
	}
	if r.Messages < 100 || s.deaths != 5 {
		t.Errorf("%d messages of 5 gateways; %d said farewell", r.Messages, s.deaths)
	}
}

func TestALineIsOnDiskBeforeItsReadingIsSent(t *testing.T) {
	s := newServer(t)
	ledger := filepath.Join(t.TempDir(), "ledger.tsv")
	early := 0
	s.deal = func(n int) dealing {
		text, err := os.ReadFile(ledger)
		if err != nil || strings.Count(string(text), "S\t") < n*10 {
			early++
		}
		return ack
	}
	if _, err := Run(t.Context(), Options{Server: s.url(), Gateways: MakeCredentials(1, "3374"), Ledger: ledger, For: guard, Enough: s.enough(func() bool { return s.n >= 100 })}); err != nil {
		t.Fatal(err)
	}
	s.over()
	if early > 0 || s.n < 100 {
		t.Errorf("%d of %d messages came before their lines", early, s.n)
	}
}

func TestWhatIsNotAcknowledgedComesAgain(t *testing.T) {
	s := newServer(t)
	ledger := filepath.Join(t.TempDir(), "ledger.tsv")
	s.deal = func(n int) dealing {
		if n%7 == 0 {
			return cut
		}
		return ack
	}
	r, err := Run(t.Context(), Options{
		Server: s.url(), Gateways: MakeCredentials(2, "3374"), Interval: 20 * time.Millisecond, Ledger: ledger,
		For: guard, Enough: s.enough(func() bool { return s.n >= 100 }),
	})
	if err != nil || r.Pending != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.over()
	if r.Connects < 4 || r.Resent == 0 {
		t.Errorf("the link was cut every 7 messages: %+v", r)
	}
	sent, _ := readLedger(t, ledger)
	var kept []received
	for _, run := range s.runs {
		if run.acked {
			kept = append(kept, run)
		}
		if run.run.Floor == 0 || run.run.Floor > run.run.First {
			t.Errorf("floor %d of %d", run.run.Floor, run.run.First)
		}
	}
	got := entries(kept)
	for _, e := range sent {
		if got[e] != 1 {
			t.Errorf("%v was acknowledged %d times", e, got[e])
		}
	}
}

func TestAnOutageLeavesABacklogThatIsMarked(t *testing.T) {
	s := newServer(t)
	r, err := Run(t.Context(), Options{
		Server: s.url(), Gateways: MakeCredentials(1, "3374"), Interval: 10 * time.Second, Backlog: 100 * time.Minute, LiveFor: 50 * time.Minute,
		For: guard, Enough: s.enough(func() bool { return s.n >= 600 }),
	})
	if err != nil || r.Pending != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.over()
	live, backlog := 0, 0
	for i, run := range s.runs {
		if run.run.Backlog {
			backlog++
		} else {
			live++
		}
		if i == 99 && (live < 70 || backlog < 20) {
			t.Errorf("of the first 100 messages %d are live and %d backlog, want about three to one", live, backlog)
		}
	}
	// At most some of them grew old on the way.
	if live < 295 || live > 310 || backlog < 295 || backlog > 310 || live+backlog < 600 {
		t.Errorf("%d live, %d backlog, of 100 minutes at 10 s of which 50 are live", live, backlog)
	}
}

func TestARestartIsANewEpochAndTheOldOneIsSentToItsEnd(t *testing.T) {
	s := newServer(t)
	ledger := filepath.Join(t.TempDir(), "ledger.tsv")
	seen := map[telemetry.Epoch]bool{}
	r, err := Run(t.Context(), Options{
		Server: s.url(), Gateways: MakeCredentials(3, "3374"), Interval: 10 * time.Millisecond, Ledger: ledger,
		OutageEvery: 300 * time.Millisecond, OutageFor: 50 * time.Millisecond, RestartRate: 1, Seed: 3,
		For: guard, Enough: s.enough(func() bool {
			if len(s.runs) > 0 {
				seen[s.runs[len(s.runs)-1].run.Epoch] = true
			}
			return len(seen) >= 8
		}),
	})
	if err != nil || r.Pending != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.over()
	sent, acked := readLedger(t, ledger)
	epochs := map[string]bool{}
	for _, e := range sent {
		epochs[e.epoch] = true
	}
	if len(epochs) < 8 || len(sent) != len(acked) {
		t.Errorf("%d epochs of 3 gateways; %d sent, %d acknowledged", len(epochs), len(sent), len(acked))
	}
	for _, run := range s.runs {
		if run.run.Clock.Epoch != run.run.Epoch {
			t.Errorf("clock %v of epoch %v", run.run.Clock, run.run.Epoch)
		}
	}
}

func TestClockFaults(t *testing.T) {
	s := newServer(t)
	now := time.Now()
	command := sparkplug.AppendCommand(nil, now.UnixMilli(), sparkplug.MetricTime, sparkplug.TypeInt64, sparkplug.Long(now.UnixMilli()))
	s.greet = appendPublish(nil, sparkplug.Topic{Type: sparkplug.NCMD, Node: telemetry.Node{Group: "3374", ID: "sim-00001"}}.String(), command, 1, 9)
	type seen struct {
		ahead, right, back int
		clocks             map[telemetry.ClockID]bool
	}
	got := map[string]*seen{}
	for _, c := range MakeCredentials(3, "3374") {
		got[c.Node.String()] = &seen{clocks: map[telemetry.ClockID]bool{}}
	}
	unknown, ahead, back := got["3374/sim-00001"], got["3374/sim-00002"], got["3374/sim-00003"]
	judged := 0
	judge := func() bool {
		for ; judged < len(s.runs); judged++ {
			run := s.runs[judged]
			g := got[run.node]
			g.clocks[run.run.Clock] = true
			switch d := time.UnixMilli(run.records[0].Time).Sub(now); {
			case d > 300*24*time.Hour:
				g.ahead++
			case d < -time.Minute:
				g.back++
			default:
				g.right++
				if g == unknown && run.run.Quality != telemetry.TimeServer {
					t.Errorf("quality %v of a clock that the server set", run.run.Quality)
				}
			}
		}
		return unknown.right >= 10 && ahead.right >= 3 && back.back >= 3
	}
	// The steps come after two seconds; what was taken before is sent all the same.
	r, err := Run(t.Context(), Options{
		Server: s.url(), Gateways: MakeCredentials(3, "3374"), Interval: 20 * time.Millisecond, For: 4 * time.Second, Enough: s.enough(judge),
		ClockFaults: []ClockFault{ClockUnknown, ClockAhead, ClockBack}, ClockShare: 1,
	})
	if err != nil || r.Pending != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	s.over()
	judge()
	if unknown.right < 10 || unknown.ahead+unknown.back > 0 {
		t.Errorf("unknown: %+v", unknown)
	}
	if ahead.ahead < 3 || ahead.right < 3 || len(ahead.clocks) != 2 {
		t.Errorf("ahead: %+v", ahead)
	}
	if back.back < 3 || back.right < 3 || len(back.clocks) != 2 {
		t.Errorf("back: %+v", back)
	}
}

func TestARebirthIsObeyed(t *testing.T) {
	s := newServer(t)
	command := sparkplug.AppendCommand(nil, 1, sparkplug.MetricRebirth, sparkplug.TypeBoolean, sparkplug.Boolean(true))
	s.greet = appendPublish(nil, sparkplug.Topic{Type: sparkplug.NCMD, Node: telemetry.Node{Group: "3374", ID: "sim-00001"}}.String(), command, 0, 0)
	r, err := Run(t.Context(), Options{Server: s.url(), Gateways: MakeCredentials(1, "3374"), Interval: 10 * time.Millisecond, For: guard, Enough: s.enough(func() bool { return s.births >= 2 })})
	s.over()
	if err != nil || r.Rebirths != 1 || s.births != 2 {
		t.Errorf("%+v, %v, %d births", r, err, s.births)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	one := MakeCredentials(1, "3374")
	for want, o := range map[string]Options{
		"gateways = 0":    {Server: "mqtt://127.0.0.1:1"},
		"readings = 99":   {Server: "mqtt://127.0.0.1:1", Gateways: one, Readings: 99},
		"want mqtts://":   {Server: "http://x", Gateways: one},
		"name the author": {Server: "mqtts://x:1", Gateways: one},
		"clock fault":     {Server: "mqtt://127.0.0.1:1", Gateways: one, ClockFaults: []ClockFault{"x"}},
		"interval = 1ns":  {Server: "mqtt://127.0.0.1:1", Gateways: one, Interval: 1},
	} {
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestCredentialsReadBackAsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.csv")
	all := MakeCredentials(70, "3374", "3373")
	if err := WriteCredentials(file, all); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	got, err := ReadCredentials(file)
	if err != nil || len(got) != 70 || got[69] != all[69] || got[69].Node.String() != "3373/sim-00035" {
		t.Errorf("%d, %v", len(got), err)
	}
	if err := os.WriteFile(file, []byte("group,name\n3374,a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCredentials(file); err == nil || !strings.Contains(err.Error(), `"password"`) {
		t.Errorf("%v", err)
	}
}

// mosquitto starts the real broker and returns its address.
func mosquitto(t testing.TB) string {
	t.Helper()
	binary, err := exec.LookPath("mosquitto")
	if err != nil {
		if binary, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Fatal("mosquitto is missing: apt-get install mosquitto")
		}
	}
	port := porttest.Free(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\nuser root\nlog_dest none\nset_tcp_nodelay true\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	return fmt.Sprintf("mqtt://127.0.0.1:%d", port)
}

func TestAgainstMosquitto(t *testing.T) {
	server := mosquitto(t)
	ledger := filepath.Join(t.TempDir(), "ledger.tsv")
	r, err := Run(t.Context(), Options{
		Server: server, Gateways: MakeCredentials(50, "3374"), Interval: 50 * time.Millisecond, For: time.Second, Ledger: ledger,
		OutageEvery: time.Second, OutageFor: 100 * time.Millisecond, RestartRate: 0.5, Drain: 30 * time.Second,
	})
	if err != nil || r.Pending != 0 || r.Acked != r.Readings || r.Messages < 500 {
		t.Errorf("%+v, %v", r, err)
	}
}

func BenchmarkFleetAgainstMosquitto(b *testing.B) {
	server := mosquitto(b)
	for _, c := range []struct {
		name   string
		ledger bool
	}{{"without ledger", false}, {"with ledger", true}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				o := Options{Server: server, Gateways: MakeCredentials(200, "3374"), For: 5 * time.Second}
				if c.ledger {
					o.Ledger = filepath.Join(b.TempDir(), "ledger.tsv")
				}
				r, err := Run(b.Context(), o)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(r.Messages)/r.Elapsed.Seconds(), "messages/s")
				b.ReportMetric(float64(r.Acked)/r.Elapsed.Seconds(), "readings/s")
			}
		})
	}
}
