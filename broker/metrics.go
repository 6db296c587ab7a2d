package broker

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Reasons other than those of the frame checker (type violation).
const (
	reasonHalfOpen     = "half_open"     // too many connections of one address before login
	reasonClients      = "clients"       // too many clients altogether
	reasonConnectTime  = "connect_time"  // no CONNECT in time
	reasonTLS          = "tls"           // handshake failed
	reasonClosed       = "closed"        // went away before CONNECT
	reasonStopping     = "stopping"      // the server is being stopped
	reasonJournal      = "journal"       // the journal can't keep it
	reasonCleanSession = "clean_session" // clean=0
	reasonKeepAlive    = "keep_alive"    // 0 or too long
	reasonCredentials  = "credentials"   // unknown, wrong, revoked, or none
	reasonBusy         = "busy"          // the check of credentials did not end in time
	reasonPaused       = "paused"        // after wrong logins
	reasonClientID     = "client_id"     // not the authenticated node
	reasonWill         = "will"          // topic or QoS of the will
	reasonPublish      = "acl_publish"   // foreign topic
	reasonSubscribe    = "acl_subscribe" // foreign filter
	reasonInFlight     = "in_flight"     // the reader was blocked for half the keep-alive
	reasonTakenOver    = "taken_over"    // the same node connected again
	reasonDisconnected = "disconnected"  // Disconnect was called
	reasonExpired      = "expired"       // the certificate, or the longest session
	reasonSilent       = "silent"        // nothing came for one and a half keep-alives
	reasonSlow         = "slow"          // too much waits for a client that does not read
	reasonWrite        = "write"         // the client does not take what it is sent
	reasonPanic        = "panic"         // a bug: see the log
)

type metrics struct {
	connections    prometheus.Gauge
	sessions       prometheus.Gauge
	halfOpen       prometheus.Gauge
	refused        *prometheus.CounterVec
	cut            *prometheus.CounterVec
	refusedFilters prometheus.Counter
	messages       prometheus.Counter
	bytes          prometheus.Counter
	acknowledged   prometheus.Counter
	wills          prometheus.Counter
	throttled      prometheus.Counter
	commands       prometheus.Counter
	dropped        prometheus.Counter
	acceptErrors   prometheus.Counter
	panics         prometheus.Counter
	puback         prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "pantau", Subsystem: "broker", Name: name, Help: help})
	}
	byReason := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "pantau", Subsystem: "broker", Name: name, Help: help}, []string{"reason"})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "pantau", Subsystem: "broker", Name: name, Help: help})
	}
	m := &metrics{
		connections:    gauge("connections", "Open network connections, logged in or not."),
		sessions:       gauge("sessions", "MQTT sessions of authenticated nodes."),
		halfOpen:       gauge("half_open_connections", "Connections that have not logged in yet."),
		refused:        byReason("refused_total", "Connections refused before login, by reason."),
		cut:            byReason("cut_total", "Sessions cut by the broker, by reason."),
		refusedFilters: counter("refused_subscriptions_total", "Topic filters that the rules refused."),
		messages:       counter("messages_total", "Messages handed to the journal."),
		bytes:          counter("message_bytes_total", "Payload bytes handed to the journal."),
		acknowledged:   counter("acknowledged_total", "PUBACKs written, each after its message was kept."),
		wills:          counter("wills_total", "Wills handed to the journal."),
		throttled:      counter("throttled_total", "Times that a client's reader was made to wait by a cap."),
		commands:       counter("commands_total", "Commands published to nodes."),
		dropped:        counter("commands_dropped_total", "Commands and STATE messages dropped for a slow client."),
		acceptErrors:   counter("accept_errors_total", "Errors of accept(2), each followed by another try."),
		panics:         counter("panics_total", "Panics caught while serving one client; each is a bug."),
		puback: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "pantau", Subsystem: "broker", Name: "puback_seconds",
			Help:    "Time from reading a PUBLISH to writing its PUBACK.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.sessions, m.halfOpen, m.refused, m.cut, m.refusedFilters, m.messages, m.bytes,
		m.acknowledged, m.wills, m.throttled, m.commands, m.dropped, m.acceptErrors, m.panics, m.puback} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register the broker's metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) latency(received, now int64) {
	m.puback.Observe(time.Duration(now - received).Seconds())
}
