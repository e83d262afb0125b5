package recorder

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what /metrics shows of a recorder. Counters are added to once an insert.
type Metrics struct {
	stored   *prometheus.CounterVec // table
	restored *prometheus.CounterVec // table
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		stored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_stored_rows_total", Help: "Rows stored in ClickHouse, by table.",
		}, []string{"table"}),
		restored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_recorder_rows_restored_total", Help: "Rows that ClickHouse had lost after they were committed, and that were stored again, by table.",
		}, []string{"table"}),
	}
	registry.MustRegister(m.stored, m.restored)
	return m
}
