package recorder

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
)

// Metrics are what /metrics shows of a recorder. Counters are added to once an insert.
type Metrics struct {
	stored   *prometheus.CounterVec // table
	restored *prometheus.CounterVec // table
	readers  *role.Readers
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		readers: role.NewReaders(config.RoleRecorder),
		stored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_stored_rows_total", Help: "Rows stored in ClickHouse, by table.",
		}, []string{"table"}),
		restored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_recorder_rows_restored_total", Help: "Rows that ClickHouse had lost after they were committed, and that were stored again, by table.",
		}, []string{"table"}),
	}
	registry.MustRegister(m.stored, m.restored, m.readers)
	return m
}
