package pipeline

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/millrace/millrace/pipeline/monitor"
	"github.com/millrace/millrace/pipeline/recorder"
	"github.com/millrace/millrace/pipeline/worker"
)

// Metrics are what /metrics shows, those of roles that the process does not play included.
type Metrics struct {
	Registry *prometheus.Registry

	Worker   *worker.Metrics
	Recorder *recorder.Metrics
	Monitor  *monitor.Metrics
	roleUp   *prometheus.GaugeVec // role
}

// NewMetrics registers everything, and the Go and process collectors.
func NewMetrics() *Metrics {
	registry := prometheus.NewRegistry()
	m := &Metrics{
		Registry: registry, Worker: worker.NewMetrics(registry), Recorder: recorder.NewMetrics(registry), Monitor: monitor.NewMetrics(registry),
		roleUp: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_role_up", Help: "1 while a role of this process does its work, 0 before it is set up and when it has stopped.",
		}, []string{"role"}),
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.roleUp)
	return m
}
