package monitor

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/drift"
)

// Metrics are what /metrics shows of a monitor. Gauges follow the control topic.
type Metrics struct {
	events     *prometheus.CounterVec // model, kind
	deliveries *prometheus.CounterVec // subscription, outcome
	parked     *prometheus.GaugeVec   // subscription
	labels     *prometheus.CounterVec // model, reason
	learned    *prometheus.GaugeVec   // model, version
	wanted     *prometheus.GaugeVec   // model, version
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
			Name: "millrace_labels_total", Help: "Labels by what became of them ten minutes after they were stored, or up to a day later where requests were looked for far back (counts, superseded, unusable: not by the target of any version, unknown_request, unknown_model: of no model). The table label_counts has them too.",
		}, []string{"model", "reason"}),
		learned: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_reference_windows", Help: "Windows that the reference of a version has been learned from so far (monitoring.reference); drift is judged once it is millrace_reference_windows_wanted.",
		}, []string{"model", "version"}),
		wanted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_reference_windows_wanted", Help: "Windows that the reference of a version is to be learned from.",
		}, []string{"model", "version"}),
	}
	registry.MustRegister(m.events, m.deliveries, m.parked, m.labels, m.learned, m.wanted)
	return m
}

// learning shows how far references have been learned.
func (m *Metrics) learning(versions []drift.Learning) {
	for _, l := range versions {
		m.learned.WithLabelValues(l.Model, l.Version).Set(float64(l.Windows))
		m.wanted.WithLabelValues(l.Model, l.Version).Set(float64(l.Wanted))
	}
}
