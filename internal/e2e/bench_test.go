//go:build bench

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestSpeed prints how fast Pantau is and what it costs, beside the pipeline
// that people would build otherwise, measured in turn in one run (`make bench`).
// It fails if readings are missing, never because something is slow: the last
// table says what was aimed at and what was reached on this machine.
//
// -run TestSpeed/NAME measures one part. BENCH_ROUNDS is how often the pipelines
// take turns, 3 by default; BENCH_PERF names a file that perf records the server
// to.
func TestSpeed(t *testing.T) {
	fmt.Printf("%s; load before: %s\n", machine(), load())
	fmt.Printf("Pantau; Mosquitto %s, Telegraf 1.37.2, settings of ARCHITECTURE's peer; InfluxDB 1.8.10 behind both\n", mosquittoVersion(t))
	s := &summary{}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"gateway", s.gateway}, {"pipeline", s.pipeline}, {"puback", s.puback}, {"alert", s.alert}, {"restart", s.restart},
	} {
		t.Run(part.name, part.run)
	}
	tb := newTable("What was aimed at", "", "measured", "aim", "")
	for _, l := range s.lines {
		tb.row(l...)
	}
	tb.end()
	fmt.Printf("load after: %s\n", load())
}

// summary is the last table.
type summary struct{ lines [][]any }

func (s *summary) add(what, measured, aim string, met bool) {
	verdict := "met"
	if !met {
		verdict = "MISSED"
	}
	s.lines = append(s.lines, []any{what, measured, aim, verdict})
}

func (s *summary) gateway(t *testing.T) {
	f := measureGateway(t)
	s.add("gateway, binary for arm64", fmt.Sprintf("%.2f MB", float64(f.binary)/1e6), "≤ 12 MB (12,000,000 bytes)", f.binary <= 12e6)
	s.add("gateway, resident with six parts ("+runtimeArch+")", mebibytes(f.resident)+" MiB", "≤ 15 MiB", f.resident <= 15<<20)
}

func (s *summary) pipeline(t *testing.T) {
	ten := compare(t, 10, true)
	s.comparison("10 readings a message", ten)
	s.comparison("1 reading a message", compare(t, 1, false))
}

func (s *summary) comparison(what string, c comparison) {
	rate, cpu := median(c.rate), median(c.cpu)
	s.add(what+", readings/s", fmt.Sprintf("%s, %.2f × the peer", thousands(median(c.rates)), rate), "≥ 2 ×, hoped for 3 ×", rate >= 2)
	s.add(what+", CPU s per million outside InfluxDB", fmt.Sprintf("%.2f, %.2f × the peer", median(c.cpus), cpu), "≤ 0.5 ×", cpu <= 0.5)
}

func (s *summary) puback(t *testing.T) {
	r := measurePuback(t)
	s.add("PUBACK at 50,000 readings/s (TLS, fsynced), p99", fmt.Sprintf("%.1f ms (median %.1f)", ms(r.P99), ms(r.P50)), "≤ 50 ms", r.P99 <= 50*time.Millisecond)
}

func (s *summary) alert(t *testing.T) {
	all := measureAlert(t)
	p99 := quantile(all, 0.99)
	s.add("alert at 10,000 messages/s, PUBLISH to queued, p99", fmt.Sprintf("%.1f ms (median %.1f)", ms(p99), ms(quantile(all, 0.5))), "≤ 250 ms", p99 <= 250*time.Millisecond)
}

func (s *summary) restart(t *testing.T) {
	r := measureRestart(t)
	slowest := quantile(r.open, 1)
	s.add(fmt.Sprintf("start after kill -9, journal of %.2f GB, slowest of %d", float64(r.journal)/1e9, len(r.open)),
		fmt.Sprintf("%.2f s (median %.2f)", slowest.Seconds(), quantile(r.open, 0.5).Seconds()), "≤ 2 s", slowest <= 2*time.Second)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

func mosquittoVersion(t testing.TB) string {
	t.Helper()
	first, _, _ := strings.Cut(run(t, nil, "", "sh", "-c", tool(t, "mosquitto")+" -h || true"), "\n")
	return strings.TrimPrefix(first, "mosquitto version ")
}

// TestBenchAlert prints the time from a reading's PUBLISH to its notification in
// the queue, under load.
func TestBenchAlert(t *testing.T) {
	list := measureAlert(t)
	tb := newTable("reading published to notification queued ("+machine()+")", "alerts", "p50", "p99")
	tb.row(len(list), quantile(list, 0.5).Round(time.Millisecond), quantile(list, 0.99).Round(time.Millisecond))
	tb.end()
}

// TestBenchGateway prints what a gateway with all six parts costs: memory, bytes
// on the wire and on the card.
func TestBenchGateway(t *testing.T) {
	fmt.Printf("\ngateway with all parts (%s)\n%+v\n", machine(), measureGateway(t))
}

// TestBenchRestart prints how long a start takes after kill -9 with a large
// journal.
func TestBenchRestart(t *testing.T) {
	fmt.Printf("\nstart after kill -9 (%s)\n%+v\n", machine(), measureRestart(t))
}
