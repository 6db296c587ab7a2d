package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// help says what each family of metrics counts, in the words that the page
// /metrics shows. The library knows only names.
var help = map[string]string{
	"pantau_gateway_samples_total":          "Attempts at a sample, by sensor.",
	"pantau_gateway_samples_failed_total":   "Attempts at a sample that gave nothing, by sensor.",
	"pantau_gateway_records_not_kept_total": "Records that the spool did not take.",
	"pantau_gateway_sensors":                "Sensors that are sampled, the gateway itself not counted.",
	"pantau_gateway_clock_quality":          "Where UTC comes from: 0 unknown, 1 server, 2 clock chip, 3 NTP.",
	"pantau_gateway_running_seconds":        "Time since the process started.",

	"pantau_gateway_spool_records":                "Records that the server has not acknowledged.",
	"pantau_gateway_spool_unresolved_records":     "Of these, those without UTC so far.",
	"pantau_gateway_spool_bytes":                  "Size of the spool on disk.",
	"pantau_gateway_spool_oldest_seconds":         "Age of the oldest record of this boot.",
	"pantau_gateway_spool_samples_total":          "Records appended.",
	"pantau_gateway_spool_readings_total":         "Readings in them.",
	"pantau_gateway_spool_written_bytes_total":    "Bytes written to the card.",
	"pantau_gateway_spool_fsyncs_total":           "Times that the card was asked to keep what it had.",
	"pantau_gateway_spool_dropped_records_total":  "Records lost to the quota.",
	"pantau_gateway_spool_quarantined_total":      "Damaged stretches that were set aside.",
	"pantau_gateway_spool_no_clock_records_total": "Records lost because their boot never got the time.",
	"pantau_gateway_spool_failing":                "1 while the card or the quota takes nothing more.",

	"pantau_gateway_uplink_messages_total":      "Messages published, by Sparkplug type.",
	"pantau_gateway_uplink_pubacks_total":       "Messages that the server acknowledged.",
	"pantau_gateway_uplink_connects_total":      "Sessions begun.",
	"pantau_gateway_uplink_payload_bytes_total": "Bytes of payload published.",
	"pantau_gateway_uplink_readings_total":      "Readings that the server acknowledged.",
	"pantau_gateway_uplink_connected":           "1 while there is a session with the server.",
	"pantau_gateway_uplink_inflight_messages":   "Messages without PUBACK.",
}

// counters are the room's own figures.
type counters struct{ notKept *metrics.Counter }

func newCounters(g *Gateway) counters {
	g.metrics.NewGauge("pantau_gateway_sensors", func() float64 {
		g.mu.Lock()
		defer g.mu.Unlock()
		return float64(max(0, len(g.samplers)-1))
	})
	g.metrics.NewGauge("pantau_gateway_clock_quality", func() float64 {
		if !g.isRunning() {
			return 0
		}
		_, quality, _ := g.clock.UTC(g.o.Boottime())
		return float64(quality)
	})
	g.metrics.NewGauge("pantau_gateway_running_seconds", func() float64 { return (g.o.Boottime() - g.started).Seconds() })
	return counters{notKept: g.metrics.NewCounter("pantau_gateway_records_not_kept_total")}
}

// writeMetrics answers /metrics in the text format 0.0.4, with help and type
// before each family.
func (g *Gateway) writeMetrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	g.metrics.WritePrometheus(&b)
	g.mu.Lock()
	parts, all := g.parts, g.samplers
	g.mu.Unlock()
	for _, set := range parts {
		if set != nil {
			set.WritePrometheus(&b)
		}
	}
	for _, family := range []struct {
		name  string
		value func(*sampler) uint64
	}{
		{"pantau_gateway_samples_total", func(s *sampler) uint64 { return s.samples }},
		{"pantau_gateway_samples_failed_total", func(s *sampler) uint64 { return s.failed }},
	} {
		for _, s := range all {
			s.mu.Lock()
			fmt.Fprintf(&b, "%s{sensor=%q} %d\n", family.name, s.Name, family.value(s))
			s.mu.Unlock()
		}
	}
	metrics.WriteProcessMetrics(&b)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(annotate(b.Bytes())) // the reader went away: nothing to do
}

// annotate puts HELP and TYPE before each family that help knows.
func annotate(text []byte) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		family := line[:max(0, strings.IndexAny(line, "{ "))]
		if h, ok := help[family]; ok && !seen[family] {
			kind := "gauge"
			if strings.HasSuffix(family, "_total") {
				kind = "counter"
			}
			fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", family, h, family, kind)
			seen[family] = true
		}
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.Bytes()
}
