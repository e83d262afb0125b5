package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options are the flags of the program.
type Options struct {
	Quick   bool     // small sizes: all of it in less than two minutes
	Kafka   string   // KafkaEmbedded or KafkaReal
	Only    []string // patterns of what is measured; none: everything
	JSON    bool     // stdout gets the JSON line alone, stderr the table
	Profile string   // folder for profiles of workers, pass-through and parts; empty: none
	Dir     string   // data lie in a new folder of it meanwhile
	Beside  bool     // beside the model lie one whose artifact is broken, and a draft
	TLS     bool     // Kafka, the embedded one, is reached over TLS
	Sizes   *Sizes   // nil: as Quick says

	Destinations bool  // measure what neighbours notice of a destination that is gone, and nothing else
	Monitor      bool  // measure what a day's drift takes, and nothing else
	Rows         int64 // of Monitor; 0: as Quick says
}

// ErrUsage says that the options ask for what there is not.
var ErrUsage = errors.New("wrong usage")

// Sizes say how much is measured.
type Sizes struct {
	Rounds       int           // of each throughput run and part; the median counts
	JSONWarmUp   int64         // requests before those that count: until the heap is as large as it gets
	JSONRecords  int64         // requests of a throughput run
	ArrowWarmUp  int64         // as JSONWarmUp, of records of many rows
	ArrowRecords int64         // as JSONRecords, of records of many rows
	Maximum      int64         // requests that the maximum under open load is found with; many times maximumWindow
	Part         time.Duration // of each part alone
	WarmUp       time.Duration // of each load, not counted
	Latency      time.Duration // of each load
}

func sizesOf(quick bool) Sizes {
	if quick {
		return Sizes{
			Rounds: 1, JSONWarmUp: 200_000, JSONRecords: 250_000, ArrowWarmUp: 300, ArrowRecords: 600, Maximum: 160_000,
			Part: 150 * time.Millisecond, WarmUp: 200 * time.Millisecond, Latency: 900 * time.Millisecond,
		}
	}
	return Sizes{
		Rounds: 3, JSONWarmUp: 300_000, JSONRecords: 1_500_000, ArrowWarmUp: 1600, ArrowRecords: 8000, Maximum: 1_000_000,
		Part: 2 * time.Second, WarmUp: 2 * time.Second, Latency: 8 * time.Second,
	}
}

// The worker's shape in all runs.
const (
	partitions = 4
	lanes      = 2
)

// harness is one run of the program.
type harness struct {
	opts     Options
	sizes    Sizes
	plan     plan
	progress io.Writer
	dir      string // of all data
	models   string // folder of the model repository
	kafka    *cluster
	runs     map[Case][]*run                  // by round
	passes   map[passKey][]*run               // by round
	parts    map[string]map[string][]partCost // by codec_model and name, then by round
	latency  map[Delivery]*latencyRun
	recorder recorderRates
}

// Run measures and prints. It needs the native libraries.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	if o.Monitor {
		return runMonitor(ctx, o, stdout, stderr)
	}
	p, err := newPlan(o.Only)
	if err == nil && o.Kafka != KafkaEmbedded && o.Kafka != KafkaReal {
		err = fmt.Errorf("--kafka %q: neither %s nor %s", o.Kafka, KafkaEmbedded, KafkaReal)
	}
	if err == nil && o.TLS && o.Kafka != KafkaEmbedded {
		err = fmt.Errorf("--tls is for --kafka %s", KafkaEmbedded)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	h := &harness{
		opts: o, sizes: sizesOf(o.Quick), plan: p, progress: stderr,
		runs: map[Case][]*run{}, passes: map[passKey][]*run{},
		parts: map[string]map[string][]partCost{}, latency: map[Delivery]*latencyRun{},
	}
	if o.Sizes != nil {
		h.sizes = *o.Sizes
	}
	began := time.Now()
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if h.dir, err = os.MkdirTemp(o.Dir, "bench-"); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(h.dir)) }()
	h.models = filepath.Join(h.dir, "models")
	if err := installModels(h.models, o.Beside); err != nil {
		return err
	}
	if o.TLS {
		end, err := secure(filepath.Join(h.dir, "tls"))
		if err != nil {
			return err
		}
		defer func() { _ = end() }() // a variable of this process
	}
	k, err := startKafka(ctx, o.Kafka, filepath.Join(h.dir, "kafka"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.stop(context.WithoutCancel(ctx))) }()
	if h.kafka, err = openCluster(k.addrs); err != nil {
		return err
	}
	defer h.kafka.close()
	if o.Destinations {
		return h.runDestinations(ctx, stdout)
	}
	if err := h.measure(ctx); err != nil {
		return err
	}
	table := stdout
	if o.JSON {
		table = stderr
	}
	r := h.report(k.version)
	h.table(table, r, time.Since(began))
	return r.write(stdout)
}

// measure does what the plan says. A case, its pass-through and its parts follow each other
// closely, since they are compared.
func (h *harness) measure(ctx context.Context) error {
	for _, c := range h.plan.helpers {
		if err := h.runCase(ctx, c, 0, 1); err != nil {
			return fmt.Errorf("case %s: %w", c.Name(), err)
		}
	}
	for round := range h.sizes.Rounds {
		for _, c := range h.plan.cases {
			if err := h.runCase(ctx, c, round, h.sizes.Rounds); err != nil {
				return fmt.Errorf("case %s: %w", c.Name(), err)
			}
			if key := c.passKey(); len(h.passes[key]) <= round {
				if err := h.runPass(ctx, c); err != nil {
					return fmt.Errorf("pass-through of %s: %w", c.Name(), err)
				}
			}
			if len(h.parts[c.pair()]["decode"]) <= round {
				if err := h.runParts(ctx, c); err != nil {
					return fmt.Errorf("parts of %s: %w", c.pair(), err)
				}
			}
		}
	}
	if h.plan.recorder {
		if err := h.runRecorder(ctx); err != nil {
			return fmt.Errorf("recorder: %w", err)
		}
	}
	for _, d := range h.plan.latency {
		if err := h.runLatency(ctx, d); err != nil {
			return fmt.Errorf("latency in %s: %w", d, err)
		}
	}
	return nil
}

func (h *harness) say(format string, args ...any) { fmt.Fprintf(h.progress, format+"\n", args...) }

// settings are the configuration of a run: its own groups and topics.
func (h *harness) settings(name string) []string {
	return []string{
		"instance=" + name, "log.level=warn", "http.addr=",
		"kafka.brokers=" + joined(h.kafka.addrs), "kafka.tls.ca_file=" + clientTLS().CAFile, "models.repository=" + h.models,
		"topics.requests=" + name + "-requests.", "topics.results=" + name + "-results.",
		"topics.observations=" + name + "-observations", "topics.deadletters=" + name + "-deadletters",
		fmt.Sprintf("topics.partitions=%d", partitions), fmt.Sprintf("worker.lanes=%d", lanes),
		"worker.group=" + name, "recorder.group=" + name + "-recorder",
	}
}

// profileName returns where the profiles of a part of a run go.
func (h *harness) profileName(part, name string) string {
	if h.opts.Profile == "" {
		return ""
	}
	return filepath.Join(h.opts.Profile, part+"-"+name)
}

// startLoad starts a load generator and waits until it is ready. Stop it.
func (h *harness) startLoad(ctx context.Context, c Codec, topic string) (*process, error) {
	load, err := start(ctx, partLoad, loadSpec{Brokers: h.kafka.addrs, Topic: topic, Codec: c, Models: h.models})
	if err != nil {
		return nil, err
	}
	var ready loadDone
	if err := load.hear(ctx, &ready); err != nil {
		return nil, errors.Join(err, load.stop(ctx))
	}
	return load, nil
}
