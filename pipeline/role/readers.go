package role

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace/millrace/pipeline/config"
)

// Reader is a member of a consumer group.
type Reader interface {
	// Lags calls visit with how many offsets each partition that the member has now holds behind what
	// it has committed.
	Lags(visit func(topic string, partition int32, records int64))
	// Untimed calls visit with how many records of each topic had no usable time.
	Untimed(visit func(topic string, records int64))
}

// Readers is what /metrics shows of the members of consumer groups that play a role: a
// prometheus.Collector. It is safe for concurrent use.
type Readers struct {
	lag, untimed *prometheus.Desc

	mu      sync.Mutex
	modelOf func(topic string) (model string, ok bool)
	readers []Reader
}

// NewReaders returns one without members.
func NewReaders(role config.Role) *Readers {
	is := prometheus.Labels{"role": string(role)}
	return &Readers{
		lag: prometheus.NewDesc("millrace_consumer_lag_records",
			"Offsets of a partition behind what its consumer group has committed, without the ends of transactions; of partitions that this process has. A topic that is not of one model has the model \"\".",
			[]string{"model", "topic", "partition"}, is),
		untimed: prometheus.NewDesc("millrace_records_untimed_total",
			"Records read whose time is unset or outside of 1970 to 2199: the time of arrival counts instead, and queue_us is NULL.",
			[]string{"model", "topic"}, is),
	}
}

// Watch adds members. modelOf returns the model of a topic of requests.
func (r *Readers) Watch(modelOf func(topic string) (model string, ok bool), readers ...Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.modelOf, r.readers = modelOf, append(r.readers, readers...)
}

// Describe implements prometheus.Collector.
func (r *Readers) Describe(out chan<- *prometheus.Desc) {
	out <- r.lag
	out <- r.untimed
}

// Collect implements prometheus.Collector.
func (r *Readers) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	type place struct {
		topic     string
		partition int32
	}
	// A partition that goes from one member to another may be of both for a moment.
	lags, untimed := map[place]int64{}, map[string]int64{}
	for _, reader := range r.readers {
		reader.Lags(func(topic string, partition int32, records int64) {
			at := place{topic, partition}
			lags[at] = max(lags[at], records)
		})
		reader.Untimed(func(topic string, records int64) { untimed[topic] += records })
	}
	model := func(topic string) string {
		if name, ok := r.modelOf(topic); ok {
			return name
		}
		return ""
	}
	for at, n := range lags {
		out <- prometheus.MustNewConstMetric(r.lag, prometheus.GaugeValue, float64(n), model(at.topic), at.topic, strconv.Itoa(int(at.partition)))
	}
	for topic, n := range untimed {
		out <- prometheus.MustNewConstMetric(r.untimed, prometheus.CounterValue, float64(n), model(topic), topic)
	}
}
