package pipeline

import dto "github.com/prometheus/client_model/go"

// Restored returns how many rows of the tables were lost and stored again.
func (m *Metrics) Restored(tables ...string) (rows int) {
	for _, table := range tables {
		var out dto.Metric
		if err := m.restored.WithLabelValues(table).Write(&out); err == nil {
			rows += int(out.GetCounter().GetValue())
		}
	}
	return rows
}
