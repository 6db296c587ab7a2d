package archive

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	days     prometheus.Counter
	failures prometheus.Counter
	damaged  prometheus.Counter
}

func newMetrics(a *Archive, r prometheus.Registerer) *metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "pantau_archive_" + name, Help: help})
		r.MustRegister(c)
		return c
	}
	gauge := func(name, help string, value func(Status) float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pantau_archive_" + name, Help: help}, func() float64 { return value(a.Status()) }))
	}
	gauge("files", "Files of the archive, all revisions.", func(s Status) float64 { return float64(s.Files) })
	gauge("bytes", "Bytes of the archive's files.", func(s Status) float64 { return float64(s.Bytes) })
	gauge("points", "Points in the newest revisions of the archive's files.", func(s Status) float64 { return float64(s.Points) })
	gauge("last_success_timestamp_seconds", "When everything that is old enough had last left the database; 0 = not since the start.", func(s Status) float64 {
		if s.Success.IsZero() {
			return 0
		}
		return float64(s.Success.Unix())
	})
	gauge("sound", "1 if the archive works, 0 if an operator should look.", func(s Status) float64 {
		if s.Problem != "" {
			return 0
		}
		return 1
	})
	return &metrics{
		days:     counter("days_total", "Days of a kind that left the database."),
		failures: counter("failures_total", "Passes that failed and will be repeated."),
		damaged:  counter("damaged_files_total", "Manifests and unlisted files set aside as damaged."),
	}
}
