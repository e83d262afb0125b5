package monitor

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what /metrics shows of a monitor. Gauges follow the control topic.
type Metrics struct {
	events     *prometheus.CounterVec // model, kind
	deliveries *prometheus.CounterVec // subscription, outcome
	parked     *prometheus.GaugeVec   // subscription
	labels     *prometheus.CounterVec // model, reason
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_events_total", Help: "Events published by the monitor.",
		}, []string{"model", "kind"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_alert_deliveries_total", Help: "Attempts to deliver an event to a subscription, by outcome (delivered, failed: tried again, refused: parked).",
		}, []string{"subscription", "outcome"}),
		parked: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_alerts_parked", Help: "Events that a subscription's receiver has refused and that wait for millrace alerts send.",
		}, []string{"subscription"}),
		labels: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_labels_total", Help: "Labels by what became of them ten minutes after they were stored (counts, superseded, unknown_request, unknown_model: of no model). The table label_counts has them too.",
		}, []string{"model", "reason"}),
	}
	registry.MustRegister(m.events, m.deliveries, m.parked, m.labels)
	return m
}
