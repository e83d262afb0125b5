package worker

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/role"
)

// Metrics are what /metrics shows of a worker. Counters are added to once a batch, never once a row.
type Metrics struct {
	requests    *prometheus.CounterVec // model, version, outcome
	deadLetters *prometheus.CounterVec // model, error_class
	repeated    *prometheus.CounterVec // model
	inference   *prometheus.CounterVec // model, version: rows
	executions  *prometheus.CounterVec // model, version: calls of the model
	scoring     *prometheus.HistogramVec
	latency     prometheus.Histogram
	queue       prometheus.Histogram
	failed      *prometheus.GaugeVec // model, version
	readers     *role.Readers
	waiting     *prometheus.GaugeVec // model, topic
}

// NewMetrics registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		readers: role.NewReaders(config.RoleWorker),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_requests_total", Help: "Requests decoded and scored, by outcome (ok, failed).",
		}, []string{"model", "version", "outcome"}),
		deadLetters: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_dead_letters_total", Help: "Dead letters, by error class.",
		}, []string{"model", "error_class"}),
		repeated: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_requests_repeated_total", Help: "Records of requests that were not answered again: their id had come before, within worker.deduplicate.window.",
		}, []string{"model"}),
		inference: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_inference_rows_total", Help: "Rows scored (Triton: inference count).",
		}, []string{"model", "version"}),
		executions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "millrace_inference_executions_total", Help: "Calls of the model, each with one batch of rows; the runtime may take several runs for one.",
		}, []string{"model", "version"}),
		scoring: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millrace_inference_seconds", Help: "Time of one call of the model.", Buckets: prometheus.ExponentialBuckets(1e-4, 2, 16),
		}, []string{"model", "version"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_latency_seconds", Help: "From fetch of requests to the start of encoding their results, observed once for each call of the model, whatever its rows.",
			Buckets: prometheus.ExponentialBuckets(1e-4, 1.25, 60),
		}),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "millrace_inference_queue_seconds", Help: "From append of a request to its fetch, observed for the first request of each call of the model that has a usable time.", Buckets: prometheus.ExponentialBuckets(1e-3, 2, 20),
		}),
		failed: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "millrace_model_failed", Help: "1 while the version that is to serve the model cannot (its files, its trial, its topics; /readyz says why), 0 when it serves.",
		}, []string{"model", "version"}),
	}
	m.waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "millrace_partitions_waiting", Help: "Partitions of the model's requests that wait, since the topic does not take what answers them (/readyz says why, and what mends it).",
	}, []string{"model", "topic"})
	registry.MustRegister(m.waiting, m.failed, m.requests, m.deadLetters, m.repeated, m.inference, m.executions, m.scoring, m.latency, m.queue, m.readers)
	return m
}

// LatencyQuantile estimates a quantile of latency in seconds from the histogram's buckets, in
// which a call of the model counts once, whatever its rows; NaN before the first call. It is for
// progress lines: exact quantiles come from the rows in ClickHouse.
func (m *Metrics) LatencyQuantile(q float64) float64 {
	var out dto.Metric
	if err := m.latency.Write(&out); err != nil {
		return math.NaN()
	}
	total := float64(out.GetHistogram().GetSampleCount())
	for _, b := range out.GetHistogram().GetBucket() {
		if total > 0 && float64(b.GetCumulativeCount()) >= q*total {
			return b.GetUpperBound()
		}
	}
	return math.NaN()
}
