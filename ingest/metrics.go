package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what ingest counts of itself, by Prometheus' conventions.
type metrics struct {
	readings     *prometheus.CounterVec
	points       prometheus.Counter
	batches      prometheus.Counter
	dropped      prometheus.Counter
	unknown      prometheus.Counter
	late         prometheus.Counter
	letters      *prometheus.CounterVec
	lettersLost  prometheus.Counter
	writeErrors  prometheus.Counter
	writeSeconds prometheus.Histogram
	hours        prometheus.Counter
	hourErrors   prometheus.Counter
	rebirths     prometheus.Counter
	damaged      *prometheus.CounterVec
	unreadable   prometheus.Counter
}

func newMetrics(i *Ingest, r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "pantau_ingest_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pantau_ingest_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pantau_ingest_" + name, Help: help, ConstLabels: labels}, value))
	}
	m := &metrics{
		readings:    vec("readings_total", "Readings written to the database, by verdict (a replay counts again).", "verdict"),
		points:      counter("points_total", "Points written to the database."),
		batches:     counter("batches_total", "Batches whose checkpoint is durable."),
		dropped:     counter("over_budget_readings_total", "Readings not stored because their node has too many devices or unknown quantities."),
		unknown:     counter("unknown_metrics_total", "Metrics of foreign nodes that their birth does not know."),
		late:        counter("late_records_total", "Records that came too late to page anybody."),
		letters:     vec("dead_letters_total", "Messages or records that could not be stored, by reason.", "reason"),
		lettersLost: counter("dead_letters_lost_total", "Dead letters not kept because their node had used up its share."),
		writeErrors: counter("write_errors_total", "Writes to the database that got no answer or a passing error."),
		writeSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pantau_ingest_write_duration_seconds",
			Help: "From a batch's end until the database has it.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 14)}),
		hours:      counter("hours_computed_total", "Hours of a node whose rows were computed."),
		hourErrors: counter("hour_errors_total", "Computations of an hour that failed and will be repeated."),
		rebirths:   counter("rebirth_requests_total", "Births asked for."),
		damaged:    vec("damaged_checkpoints_total", "Checkpoint files set aside as damaged, by reader.", "reader"),
		unreadable: counter("unreadable_entries_total", "Journal entries that make no sense, by each reader that met them."),
	}
	r.MustRegister(m.writeSeconds)
	gauge("dead_letter_bytes", "Bytes of dead letters.", nil, func() float64 {
		if i.storing == nil {
			return 0
		}
		_, n := i.storing.box.counts()
		return float64(n)
	})
	gauge("dead_letter_quota_bytes", "Bytes of dead letters at which the store stands.", nil, func() float64 { return float64(i.o.DeadLetterBytes) })
	gauge("dirty_hours", "Hours whose rows wait to be computed.", nil, func() float64 {
		if i.storing == nil {
			return 0
		}
		i.storing.books.RLock()
		defer i.storing.books.RUnlock()
		return float64(i.storing.accounts.Hours.Len())
	})
	r.MustRegister(positions{i})
	return m
}

// stored counts a batch.
func (m *metrics) stored(b *Batch, lost int) {
	m.readings.WithLabelValues("valid").Add(float64(b.Readings - b.rejected))
	m.readings.WithLabelValues("rejected").Add(float64(b.rejected))
	m.points.Add(float64(b.Points))
	m.batches.Inc()
	m.dropped.Add(float64(b.dropped))
	m.unknown.Add(float64(b.unknown))
	m.late.Add(float64(b.late))
	m.lettersLost.Add(float64(lost))
}

// positions collects how far each reader has come.
type positions struct{ i *Ingest }

var (
	readerSeq     = prometheus.NewDesc("pantau_ingest_reader_sequence", "Journal entry up to which a reader's checkpoint is durable.", []string{"reader"}, nil)
	readerStands  = prometheus.NewDesc("pantau_ingest_reader_stands_seconds", "For how long a reader has been held up; 0 = it runs.", []string{"reader"}, nil)
	ledgerRecords = prometheus.NewDesc("pantau_ingest_ledger_records", "Records in the ledger, by what became of them.", []string{"status"}, nil)
)

// Describe is part of prometheus.Collector.
func (p positions) Describe(c chan<- *prometheus.Desc) {
	c <- readerSeq
	c <- readerStands
	c <- ledgerRecords
}

// Collect is part of prometheus.Collector.
func (p positions) Collect(c chan<- prometheus.Metric) {
	if p.i.storing == nil {
		return
	}
	for _, s := range []ReaderStatus{p.i.storing.status(), p.i.head.status()} {
		c <- prometheus.MustNewConstMetric(readerSeq, prometheus.GaugeValue, float64(s.Durable), s.Name)
		stands := time.Duration(0)
		if s.Problem != "" {
			stands = p.i.o.Now().Sub(s.Since)
		}
		c <- prometheus.MustNewConstMetric(readerStands, prometheus.GaugeValue, stands.Seconds(), s.Name)
	}
	t := p.i.Ledger()
	for status, n := range map[string]uint64{"expected": t.Expected, "stored": t.Stored, "rejected": t.Rejected, "gaps": t.Gaps,
		"lost": t.Lost, "dead_letters": t.DeadLetters, "missing": t.Missing} {
		c <- prometheus.MustNewConstMetric(ledgerRecords, prometheus.GaugeValue, float64(n), status)
	}
}
