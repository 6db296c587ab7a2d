package journal

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is the journal's one collector: counters of its own, and gauges read
// from Stats when they are asked for.
type metrics struct {
	j         *Journal
	commits   prometheus.Counter
	packets   prometheus.Counter
	rejected  *prometheus.CounterVec
	damaged   prometheus.Counter
	setAside  prometheus.Counter
	seconds   prometheus.Histogram
	bytes     *prometheus.Desc
	quota     *prometheus.Desc
	diskFree  *prometheus.Desc
	last      *prometheus.Desc
	pending   *prometheus.Desc
	reopened  *prometheus.Desc
	accepting *prometheus.Desc
}

func newMetrics(j *Journal) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "pantau", Subsystem: "journal", Name: name, Help: help})
	}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("pantau_journal_"+name, help, nil, nil)
	}
	return &metrics{
		j:        j,
		commits:  counter("commits_total", "Group commits that were fsynced."),
		packets:  counter("packets_total", "Packets that were fsynced and acknowledged."),
		damaged:  counter("missing_envelopes_total", "Journal positions that could not be read because of damage on disk."),
		setAside: counter("damaged_files_total", "Block files that were found damaged and mended; the damaged copy is kept."),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "pantau", Subsystem: "journal", Name: "refused_packets_total",
			Help: "Packets that were not acknowledged, by reason.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "pantau", Subsystem: "journal", Name: "commit_seconds",
			Help:    "Time from a group's first packet to its durable acknowledgement.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		bytes:     desc("bytes", "Bytes that the journal holds."),
		quota:     desc("quota_bytes", "Bytes that the journal may hold."),
		diskFree:  desc("disk_free_bytes", "Free bytes of the disk above the reserve; at zero packets are refused."),
		last:      desc("last_position", "Newest acknowledged position."),
		pending:   desc("pending_bytes", "Bytes that wait for the disk."),
		reopened:  desc("reopened_total", "Times the store was reopened after an error of the disk."),
		accepting: desc("accepting", "1 while packets are taken, 0 while they are refused (full, or an error of the disk)."),
	}
}

func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.counters() {
		c.Describe(ch)
	}
	for _, d := range []*prometheus.Desc{m.bytes, m.quota, m.diskFree, m.last, m.pending, m.reopened, m.accepting} {
		ch <- d
	}
}

func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.counters() {
		c.Collect(ch)
	}
	s := m.j.Stats()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(m.bytes, float64(s.Bytes))
	gauge(m.quota, float64(s.Quota))
	gauge(m.diskFree, float64(s.DiskFree))
	gauge(m.last, float64(s.Last))
	gauge(m.pending, float64(s.PendingBytes))
	ch <- prometheus.MustNewConstMetric(m.reopened, prometheus.CounterValue, float64(s.Reopened))
	if m.j.Err() == nil {
		gauge(m.accepting, 1)
	} else {
		gauge(m.accepting, 0)
	}
}

func (m *metrics) counters() []prometheus.Collector {
	return []prometheus.Collector{m.commits, m.packets, m.rejected, m.damaged, m.setAside, m.seconds}
}

func (m *metrics) committed(g *group) {
	m.commits.Inc()
	m.packets.Add(float64(len(g.done)))
	m.seconds.Observe(time.Since(g.begun).Seconds())
}

func (m *metrics) refused(g *group) {
	reason := "other"
	for _, r := range []struct {
		err  error
		name string
	}{{ErrFull, "full"}, {ErrDisk, "disk"}, {ErrBusy, "busy"}, {ErrTooLarge, "too_large"}, {ErrClosed, "closed"}} {
		if errors.Is(g.err, r.err) {
			reason = r.name
			break
		}
	}
	m.rejected.WithLabelValues(reason).Add(float64(len(g.done)))
}
