package public

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	answers *prometheus.CounterVec // by status
	made    prometheus.Counter
	refused prometheus.Counter
}

func newMetrics(r prometheus.Registerer, kept *memory) (*metrics, error) {
	m := &metrics{
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pantau_public_answers_total", Help: "Answers of the citizens' pages, by status."}, []string{"status"}),
		made:    prometheus.NewCounter(prometheus.CounterOpts{Name: "pantau_public_made_total", Help: "Citizens' pages made: once per change and language, and whenever one was no longer in memory."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "pantau_public_refused_total", Help: "Requests for citizens' pages turned away with 503, because too many came at once."}),
	}
	if r == nil {
		return m, nil
	}
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pantau_public_memory_bytes", Help: "Bytes of citizens' pages and pictures in memory."}, func() float64 { return float64(kept.size()) })
	for _, c := range []prometheus.Collector{m.answers, m.made, m.refused, size} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register a metric: %w", err)
		}
	}
	return m, nil
}
