//go:build bench

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/pantau-id/pantau/internal/influxtest"
)

// cpu returns the processor time that a process has used, in seconds
// (proc(5): utime and stime of /proc/PID/stat, in ticks of 10 ms).
func cpu(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The second field is the name in brackets, which may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0.0
	for _, f := range fields[11:13] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// procValue reads one line of a file in /proc/PID: VmHWM and VmRSS of status in
// bytes, write_bytes and wchar of io as they are.
func procValue(t testing.TB, pid int, file, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		value, unit, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if unit == "kB" {
			n <<= 10
		}
		return n
	}
	t.Fatalf("/proc/%d/%s has no %s", pid, file, name)
	return 0
}

// storedValues returns how many field values InfluxDB has written into a
// database's retention policy. It asks the counters, not the data: counting
// points would cost the database the time that is being measured.
func storedValues(t testing.TB, db *influxtest.Server, database, policy string) int64 {
	t.Helper()
	resp, err := http.Get(db.URL + "/debug/vars")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var vars map[string]json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&vars); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for name, raw := range vars {
		if !strings.HasPrefix(name, "shard:") {
			continue
		}
		var s struct {
			Tags struct {
				Database string `json:"database"`
				Policy   string `json:"retentionPolicy"`
			} `json:"tags"`
			Values struct {
				Written int64 `json:"writeValuesOk"`
			} `json:"values"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatal(err)
		}
		if s.Tags.Database == database && s.Tags.Policy == policy {
			n += s.Values.Written
		}
	}
	return n
}

// countedValues counts the values in the database by reading them.
func countedValues(t testing.TB, db *influxtest.Server, database, policy string) int64 {
	t.Helper()
	resp, err := http.PostForm(db.URL+"/query", map[string][]string{"db": {database}, "q": {fmt.Sprintf(`SELECT count(*) FROM %q.%q./.*/`, database, policy)}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Results []struct {
			Error  string
			Series []struct {
				Columns []string
				Values  [][]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for _, r := range answer.Results {
		if r.Error != "" {
			t.Fatal(r.Error)
		}
		for _, s := range r.Series {
			for i, c := range s.Columns {
				// _n, _min and _max belong to the reading beside them.
				if v, ok := s.Values[0][i].(float64); ok && c != "time" {
					n += int64(v)
				}
			}
		}
	}
	return n
}

// untilStored waits until so many values are stored and returns when they were.
func untilStored(t testing.TB, db *influxtest.Server, database, policy string, want int64, limit time.Duration) time.Time {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n := storedValues(t, db, database, policy)
		if n >= want {
			return time.Now()
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%d of %d values are stored after %v", n, want, limit)
		}
	}
}

// table prints rows in columns as they come; a row is complete when written.
type table struct{ w *tabwriter.Writer }

func newTable(title string, columns ...any) *table {
	fmt.Printf("\n%s\n", title)
	tb := &table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	tb.row(columns...)
	return tb
}

func (tb *table) row(cells ...any) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(tb.w, "\t")
		}
		fmt.Fprint(tb.w, c)
	}
	fmt.Fprintln(tb.w)
}

func (tb *table) end() { _ = tb.w.Flush() } // to stdout: nobody to tell

// progress says on stderr what is being measured.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// quantile returns the value that q of the list do not exceed.
func quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func thousands(v float64) string {
	s := strconv.FormatInt(int64(v+0.5), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }

// machine describes where the figures come from.
func machine() string {
	model := "unknown processor"
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	return fmt.Sprintf("%s, %d cores, Linux %s, %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
}

// sortedKeys returns a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// run runs a program to its end and returns what it printed.
func run(t testing.TB, env []string, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
