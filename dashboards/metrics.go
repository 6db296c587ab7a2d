package dashboards

import (
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
	signIns  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pantau_dashboards_requests_total",
			Help: "Requests answered, by route and HTTP status.",
		}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "pantau_dashboards_request_seconds",
			Help:    "Time to answer a request, by route; live updates count until they end.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10},
		}, []string{"route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pantau_dashboards_live_streams",
			Help: "Live updates (server-sent events) open now.",
		}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pantau_dashboards_sign_ins_total",
			Help: "Tries to sign in, by result: ok, wrong, throttled, busy.",
		}, []string{"result"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.streams, m.signIns} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the pages: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) request(route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
