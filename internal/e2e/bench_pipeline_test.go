//go:build bench

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pantau-id/pantau/firmware-sim/fleet"
	"github.com/pantau-id/pantau/internal/influxtest"
)

const (
	benchGateways = 200
	benchWindow   = 32 // messages of a gateway on their way, ours and the peer's
	benchRound    = 6 * time.Second
	// So many readings suffice for a round of the peer: more would only lengthen
	// Mosquitto's queue.
	peerMost = 400_000 // messages
)

// tool finds a program that setup.sh put beside influxd, or that Debian has.
func tool(t testing.TB, name string) string {
	t.Helper()
	influxd, err := influxtest.Find()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{filepath.Join(filepath.Dir(influxd), name), filepath.Join("/usr/sbin", name)} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: run ./setup.sh bench", err)
	}
	return p
}

func query(t testing.TB, db *influxtest.Server, q string) {
	t.Helper()
	resp, err := http.PostForm(db.URL+"/query", map[string][]string{"q": {q}})
	if err == nil {
		err = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			err = errors.Join(err, errors.New(resp.Status))
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
}

// measured is one round of one pipeline. CPU is in seconds per million readings.
type measured struct {
	readings  int64
	rate      float64   // readings/s, from the first PUBLISH to the last one stored
	front     []float64 // CPU of what stands in front of InfluxDB
	influx    float64
	generator float64
	peaks     []int64 // resident bytes of the front's processes, then of InfluxDB
}

func (m measured) cpu() float64 {
	sum := 0.0
	for _, c := range m.front {
		sum += c
	}
	return sum
}

// watch measures what the processes use while do sends; it returns how many
// values are to be stored then.
func watch(t testing.TB, db *influxtest.Server, database, policy string, front []int, do func() int64) measured {
	t.Helper()
	pids := append(append([]int{}, front...), db.PID(), os.Getpid())
	before := make([]float64, len(pids))
	had := storedValues(t, db, database, policy)
	for i, pid := range pids {
		before[i] = cpu(t, pid)
	}
	stop := profile(t, front[0])
	begin := time.Now()
	n := do()
	end := untilStored(t, db, database, policy, had+n, 5*time.Minute)
	stop()
	used := make([]float64, len(pids))
	for i, pid := range pids {
		used[i] = (cpu(t, pid) - before[i]) / float64(n) * 1e6
	}
	m := measured{readings: n, rate: float64(n) / end.Sub(begin).Seconds(), front: used[:len(front)], influx: used[len(front)], generator: used[len(front)+1]}
	for _, pid := range pids[:len(pids)-1] {
		m.peaks = append(m.peaks, procValue(t, pid, "status", "VmHWM"))
	}
	// The counters said so; the data must agree.
	if have := countedValues(t, db, database, policy); have != had+n {
		t.Errorf("%d values were sent, %d are in the database", had+n, have)
	}
	return m
}

// profile records a process with perf while it is measured, if BENCH_PERF names
// a file to write to.
func profile(t testing.TB, pid int) (stop func()) {
	t.Helper()
	file := os.Getenv("BENCH_PERF")
	if file == "" {
		return func() {}
	}
	cmd := exec.Command("perf", "record", "-e", "cpu-clock", "-F", "499", "-g", "-o", file, "-p", strconv.Itoa(pid))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended
		_ = cmd.Wait()                       // "signal: interrupt"
	}
}

// benchFleet registers the gateways and lets each log in once: a first login
// costs a password hash, which is not what is measured here. What it returns
// plays them again.
func (r *rig) benchFleet(secure bool) fleet.Options {
	r.t.Helper()
	credentials, err := fleet.ReadCredentials(r.importFleet(benchGateways))
	if err != nil {
		r.t.Fatal(err)
	}
	o := fleet.Options{Server: "mqtt://" + r.plain, Gateways: credentials, Window: benchWindow, Drain: 5 * time.Minute, Seed: 1}
	if secure {
		o.Server = "mqtts://" + r.door
		if o.CA, err = os.ReadFile(filepath.Join(r.data(), "ca.pem")); err != nil {
			r.t.Fatal(err)
		}
	}
	for all := false; !all; {
		first := o
		first.Interval, first.For, first.Started = time.Second, 10*time.Second, func() { all = true }
		r.send(first)
	}
	return o
}

// send plays a fleet to its end and waits until what it sent is stored.
func (r *rig) send(o fleet.Options) fleet.Result {
	r.t.Helper()
	had := storedValues(r.t, r.influx, "pantau", "raw")
	result, err := fleet.Run(r.t.Context(), o)
	if err != nil || result.Pending > 0 || result.Resent > 0 {
		r.t.Fatalf("fleet: %v: %+v", err, result)
	}
	untilStored(r.t, r.influx, "pantau", "raw", had+int64(result.Readings), time.Minute)
	return result
}

// ours measures Pantau for one round.
func ours(t *testing.T, readings int, secure bool) measured {
	t.Helper()
	var m measured
	// A test of its own, so that everything is gone before the next one.
	t.Run("pantau", func(t *testing.T) {
		r := newRig(t)
		o := r.benchFleet(secure)
		o.Readings, o.For = readings, benchRound
		m = watch(t, r.influx, "pantau", "raw", []int{r.server.cmd.Process.Pid}, func() int64 {
			result, err := fleet.Run(t.Context(), o)
			if err != nil || result.Pending > 0 || result.Resent > 0 {
				t.Fatalf("fleet: %v: %+v", err, result)
			}
			return int64(result.Readings)
		})
		r.server.kill()
		r.influx.Kill()
	})
	return m
}

// theirs measures the peer with about so many readings.
func theirs(t *testing.T, readings int, total int64) measured {
	t.Helper()
	var m measured
	t.Run("peer", func(t *testing.T) {
		p := newPeer(t)
		l := &linePublishers{address: p.address, gateways: benchGateways, readings: readings, window: benchWindow}
		send := func(messages int64) int64 {
			if err := l.publish(messages); err != nil {
				t.Fatal(err)
			}
			return messages * int64(readings)
		}
		untilStored(t, p.influx, "t", "autogen", send(benchGateways*10), time.Minute)
		m = watch(t, p.influx, "t", "autogen", []int{p.mosquitto.cmd.Process.Pid, p.telegraf.cmd.Process.Pid}, func() int64 {
			return send(min(total/int64(readings), peerMost))
		})
		p.telegraf.kill()
		p.mosquitto.kill()
		p.influx.Kill()
	})
	return m
}

// rounds is how often the pipelines take turns.
func rounds(t testing.TB) int {
	t.Helper()
	text := os.Getenv("BENCH_ROUNDS")
	if text == "" {
		return 3
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("BENCH_ROUNDS=%q: want a number above 0", text)
	}
	return n
}

// comparison is what the rounds of one load came to, as ours over theirs.
type comparison struct{ rate, cpu, rates, cpus []float64 }

// compare lets the pipelines take turns and prints every round.
func compare(t *testing.T, readings int, secure bool) comparison {
	t.Helper()
	plural := "readings"
	if readings == 1 {
		plural = "reading"
	}
	tb := newTable(fmt.Sprintf("%d gateways, %d %s a message, QoS 1; from the first PUBLISH to the last reading in InfluxDB", benchGateways, readings, plural),
		"round", "pipeline", "readings/s", "CPU s per million: broker to writer", "InfluxDB", "generator", "peak RSS MiB: broker to writer", "InfluxDB")
	var c comparison
	row := func(round int, name string, m measured) {
		parts, peaks := "", ""
		for i, v := range m.front {
			if i > 0 {
				parts, peaks = parts+" + ", peaks+" + "
			}
			parts += fmt.Sprintf("%.2f", v)
			peaks += mebibytes(m.peaks[i])
		}
		if len(m.front) > 1 {
			parts += fmt.Sprintf(" = %.2f", m.cpu())
		}
		tb.row(round, name, thousands(m.rate), parts, fmt.Sprintf("%.2f", m.influx), fmt.Sprintf("%.2f", m.generator), peaks, mebibytes(m.peaks[len(m.peaks)-1]))
	}
	for round := range rounds(t) {
		progress("%d readings a message, round %d", readings, round+1)
		a := ours(t, readings, false)
		b := theirs(t, readings, a.readings)
		if t.Failed() {
			t.FailNow()
		}
		row(round+1, "Pantau", a)
		row(round+1, "Mosquitto + Telegraf", b)
		if secure {
			row(round+1, "Pantau, TLS", ours(t, readings, true))
		}
		c.rate, c.cpu = append(c.rate, a.rate/b.rate), append(c.cpu, a.cpu()/b.cpu())
		c.rates, c.cpus = append(c.rates, a.rate), append(c.cpus, a.cpu())
	}
	tb.end()
	fmt.Printf("Pantau / peer by round: rate %s, median %.2f; CPU outside InfluxDB %s, median %.2f\n", list(c.rate), median(c.rate), list(c.cpu), median(c.cpu))
	return c
}

func list(values []float64) string {
	s := ""
	for i, v := range values {
		if i > 0 {
			s += " "
		}
		s += fmt.Sprintf("%.2f", v)
	}
	return s
}
