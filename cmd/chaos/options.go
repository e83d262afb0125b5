package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options are what a run can be asked for.
type Options struct {
	Seed      uint64
	Faults    int
	Incidents int // after the faults; EachIncident is each once
	Requests  int
	Kafka     string // EmbeddedKafka or RealKafka
	Brokers   int
	TLS       bool // to Kafka, with a login that is repeated every few seconds
	Workers   int
	Recorders int
	Only      []Kind        // if any, no other kinds of faults
	Outage    time.Duration // of ClickHouse, as one of the faults; 0: none
	Patience  time.Duration // how long all that is left may take after the last fault
	Graph     string        // the ONNX file of the model
	Dir       string        // for data and logs; "" makes one. It stays after a failure
	Keep      bool          // and after a success
	Bounds    Bounds
}

// DefaultOptions returns those of `make chaos`. Seed is to be set.
func DefaultOptions() Options {
	return Options{
		Faults: 50, Incidents: EachIncident, Requests: 300_000, Kafka: EmbeddedKafka, Brokers: 1, Workers: 3, Recorders: 2,
		Outage: time.Minute, Patience: 3 * time.Minute, Graph: "inference/onnx/testdata/linear.onnx",
		Bounds: Bounds{WorkerRSS: 300 << 20, RecorderRSS: 400 << 20, Goroutines: 12, Files: 10, Heap: 12 << 20, RSS: 48 << 20},
	}
}

// Validate reports every value that makes no sense.
func (o Options) Validate() error {
	var errs []error
	for name, n := range map[string]int{"requests": o.Requests, "workers": o.Workers, "recorders": o.Recorders} {
		if n < 1 {
			errs = append(errs, fmt.Errorf("--%s must be at least 1, got %d", name, n))
		}
	}
	if o.Faults < 0 {
		errs = append(errs, fmt.Errorf("--faults must be at least 0, got %d", o.Faults))
	}
	if o.Incidents < EachIncident {
		errs = append(errs, fmt.Errorf("--incidents must be at least %d, got %d", EachIncident, o.Incidents))
	}
	known := slices.Concat(kinds(), incidentKinds())
	for _, in := range allIncidents(nil) {
		o.Only = slices.DeleteFunc(slices.Clone(o.Only), func(k Kind) bool { return slices.Contains(in.names(), k) })
	}
	for _, k := range o.Only {
		if !slices.Contains(known, k) {
			errs = append(errs, fmt.Errorf("--only %q: it is not one of %q", k, known))
		}
	}
	if o.Kafka != EmbeddedKafka && o.Kafka != RealKafka {
		errs = append(errs, fmt.Errorf("--kafka must be %s or %s, got %q", EmbeddedKafka, RealKafka, o.Kafka))
	}
	if o.Brokers != 1 && (o.Brokers != 3 || o.Kafka != RealKafka) {
		errs = append(errs, fmt.Errorf("--brokers must be 1, or 3 with --kafka %s, got %d", RealKafka, o.Brokers))
	}
	if o.Outage < 0 {
		errs = append(errs, fmt.Errorf("--outage must be at least 0, got %s", o.Outage))
	}
	return errors.Join(errs...)
}

// Command returns the command that repeats the run.
func (o Options) Command() string {
	only, secured := "", ""
	if o.TLS {
		secured = " --tls"
	}
	if len(o.Only) > 0 {
		names := make([]string, len(o.Only))
		for i, k := range o.Only {
			names[i] = string(k)
		}
		only = " --only " + strings.Join(names, ",")
	}
	return fmt.Sprintf(`make chaos ARGS="--seed %d --faults %d --incidents %d --requests %d --kafka %s --brokers %d --workers %d --recorders %d --outage %s%s%s"`,
		o.Seed, o.Faults, o.Incidents, o.Requests, o.Kafka, o.Brokers, o.Workers, o.Recorders, o.Outage, secured, only)
}
