//go:build bench

package e2e

import (
	"fmt"
	"os"
	"strconv"
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
	before := processors(t)
	fmt.Printf("The peer: Mosquitto %s and Telegraf 1.37.2; InfluxDB 1.8.10 behind both\n", mosquittoVersion(t))
	s := &summary{}
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"gateway", s.gateway}, {"pipeline", s.pipeline}, {"puback", s.puback}, {"citizens", s.citizens}, {"alert", s.alert}, {"restart", s.restart},
	} {
		t.Run(part.name, part.run)
	}
	tb := newTable("What was aimed at", "", "measured", "aim", "")
	for _, l := range s.lines {
		tb.row(l...)
	}
	tb.end()
	fmt.Printf("load after: %s; the host took %.0f %% of the processors' time\n", load(), before.takenUntil(processors(t)))
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
	s.add("gateway, resident with six parts ("+runtimeArch+")",
		fmt.Sprintf("%s MiB, of which %s its own and the rest the program's file", mebibytes(f.resident), mebibytes(f.own)), "≤ 15 MiB on arm64", f.resident <= 15<<20)
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

func (s *summary) citizens(t *testing.T) {
	r, pages := measureCitizens(t)
	s.add("PUBACK, the same with 2,000 page requests/s, p99", fmt.Sprintf("%.1f ms (median %.1f)", ms(r.P99), ms(r.P50)), "≤ 50 ms", r.P99 <= 50*time.Millisecond)
	p99 := quantile(pages, 0.99)
	s.add("the page meanwhile, p99", fmt.Sprintf("%.1f ms (median %.1f)", ms(p99), ms(quantile(pages, 0.5))), "≤ 20 ms", p99 <= 20*time.Millisecond)
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

// ticks is what all processors did since the machine began.
type ticks struct{ all, stolen float64 }

// processors reads the first line of proc(5)'s stat.
func processors(t testing.TB) (n ticks) {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:9] { // guests are in user and nice
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatalf("/proc/stat: %q: %v", line, err)
		}
		n.all += v
		if i == 7 {
			n.stolen = v
		}
	}
	return n
}

// takenUntil is the share of the time until then, in per cent, in which another guest
// of the same host ran.
func (n ticks) takenUntil(then ticks) float64 {
	return 100 * (then.stolen - n.stolen) / (then.all - n.all)
}

func mosquittoVersion(t testing.TB) string {
	t.Helper()
	first, _, _ := strings.Cut(run(t, nil, "", "sh", "-c", tool(t, "mosquitto")+" -h || true"), "\n")
	return strings.TrimPrefix(first, "mosquitto version ")
}
