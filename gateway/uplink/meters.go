package uplink

import (
	"github.com/VictoriaMetrics/metrics"

	"github.com/pantau-id/pantau/internal/sparkplug"
)

// meters count what went over the link.
type meters struct {
	births, data, deaths, pubacks, connects, bytes, readings *metrics.Counter
}

func (m *meters) register(set *metrics.Set, u *Uplink) {
	if set == nil {
		set = metrics.NewSet()
	}
	m.births = set.NewCounter(`pantau_gateway_uplink_messages_total{type="NBIRTH"}`)
	m.data = set.NewCounter(`pantau_gateway_uplink_messages_total{type="NDATA"}`)
	m.deaths = set.NewCounter(`pantau_gateway_uplink_messages_total{type="NDEATH"}`)
	m.pubacks = set.NewCounter("pantau_gateway_uplink_pubacks_total")
	m.connects = set.NewCounter("pantau_gateway_uplink_connects_total")
	m.bytes = set.NewCounter("pantau_gateway_uplink_payload_bytes_total")
	m.readings = set.NewCounter("pantau_gateway_uplink_readings_total")
	set.NewGauge("pantau_gateway_uplink_connected", func() float64 {
		if u.Status().Connected {
			return 1
		}
		return 0
	})
	set.NewGauge("pantau_gateway_uplink_inflight_messages", func() float64 { return float64(u.Status().InFlight) })
}

func (m *meters) messages(t sparkplug.MessageType) *metrics.Counter {
	switch t {
	case sparkplug.NBIRTH:
		return m.births
	case sparkplug.NDEATH:
		return m.deaths
	}
	return m.data
}
