package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/pipeline/config"
)

// loads are the shares of the maximum that latency is measured at, in percent.
var loads = []int{10, 50, 80}

// maximumWindow bounds the requests in flight while the maximum is measured: a batch or two for
// each lane. The first ones are there at once, and would count as answered faster than anybody
// sends if they were many of all.
const maximumWindow = 32_768

// latencyRun is what the worker and pass-through gave in one delivery mode.
type latencyRun struct {
	maximum float64           // requests per second, with generator and reader running
	whole   map[int]latencies // by load
	pass    map[int]latencies
	late    map[int]int64   // p99 of how late the generator was, the worse of both, µs
	busy    map[int]float64 // of the machine while the worker was measured: where it is 1, latency is waiting for a CPU
}

// runLatency measures the worker, and then pass-through at the same rates.
func (h *harness) runLatency(ctx context.Context, d Delivery) error {
	c := latencyCase(d)
	l := &latencyRun{late: map[int]int64{}, busy: map[int]float64{}}
	name := "latency-" + string(d)
	set := append(h.settings(name), c.settings()...)
	err := h.openLoad(ctx, d, set, func(config.Config) (part string, spec any) {
		return partRole, roleSpec{Set: append(set, "roles=worker"), Beside: h.opts.Beside}
	}, func(o *openRun) (err error) {
		if l.maximum, err = o.maximum(ctx, h.sizes.Maximum); err != nil {
			return err
		}
		h.say("%s: at most %.0f requests/s", name, l.maximum)
		l.whole, err = o.loads(ctx, h, l)
		return err
	})
	if err != nil {
		return err
	}
	h.latency[d] = l
	return h.openLoad(ctx, d, h.settings("latency-pass-through-"+string(d)), func(cfg config.Config) (part string, spec any) {
		return partPassThrough, h.passSpec(c, cfg)
	}, func(o *openRun) (err error) {
		// Both have answered as much when their loads begin.
		if _, err = o.maximum(ctx, h.sizes.Maximum); err != nil {
			return err
		}
		l.pass, err = o.loads(ctx, h, l)
		return err
	})
}

// openRun is one system under open load: who answers, who sends and who reads.
type openRun struct {
	name                     string
	answering, load, reading *process
	answered                 func(ctx context.Context) (int64, error)
	sent                     int64 // requests so far
}

// openLoad starts the three processes on topics of their own, calls measure, and ends them.
func (h *harness) openLoad(ctx context.Context, d Delivery, set []string, who answerer, measure func(o *openRun) error) (err error) {
	cfg, err := applyTopics(ctx, set)
	if err != nil {
		return err
	}
	requests, results := cfg.Topics.RequestsOf(modelName), cfg.Topics.ResultsOf(modelName)
	part, spec := who(cfg)
	o := &openRun{name: cfg.Worker.Group, answered: h.answered(d, cfg.Worker.Group, requests, results)}
	ending := context.WithoutCancel(ctx)
	if o.answering, err = start(ctx, part, spec); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.answering.stop(ending)) }()
	if err := o.answering.hear(ctx, &roleStats{}); err != nil {
		return err
	}
	if o.reading, err = start(ctx, partReader, readerSpec{Brokers: h.kafka.addrs, Topic: results}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.reading.stop(ending)) }()
	if err := o.reading.hear(ctx, &latencies{}); err != nil {
		return err
	}
	if o.load, err = h.startLoad(ctx, CodecJSON, requests); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.load.stop(ending)) }()
	if err := measure(o); err != nil {
		return err
	}
	for _, p := range []*process{o.load, o.answering, o.reading} {
		if err := p.stop(ctx); err != nil {
			return err
		}
	}
	return h.kafka.drop(ctx, topicsOf(cfg.Topics.Topics)...)
}

// maximum returns the rate at which requests are answered when there are always some, and
// never too many.
func (o *openRun) maximum(ctx context.Context, requests int64) (float64, error) {
	s := &Schedule{First: o.sent, Records: requests, Start: monotonic(), Window: maximumWindow}
	if err := o.load.tell(loadCommand{Schedule: s}); err != nil {
		return 0, err
	}
	o.sent += requests
	readings, err := watch(ctx, o.answering, requests, func(ctx context.Context) (int64, error) {
		n, err := o.answered(ctx)
		if err != nil {
			return 0, err
		}
		return n, o.load.tell(loadCommand{Answered: n})
	})
	if err != nil {
		return 0, err
	}
	rate, err := steady(readings, requests, windowTo)
	return rate, errors.Join(err, o.load.hear(ctx, &loadDone{}))
}

// loads measures at each load.
func (o *openRun) loads(ctx context.Context, h *harness, l *latencyRun) (map[int]latencies, error) {
	all := map[int]latencies{}
	for _, share := range loads {
		rate := l.maximum * float64(share) / 100
		s := Schedule{
			First: o.sent, Rate: rate, Start: monotonic() + int64(100*time.Millisecond),
			Records: max(1, int64(rate*(h.sizes.WarmUp+h.sizes.Latency).Seconds())),
		}
		o.sent += s.Records
		skip := min(int64(rate*h.sizes.WarmUp.Seconds()), s.Records-1)
		if err := o.reading.ask(ctx, readerCommand{Schedule: s, Skip: skip}, &latencies{}); err != nil {
			return nil, err
		}
		from, err := readMachineTime()
		if err != nil {
			return nil, err
		}
		var sent loadDone
		if err := o.load.ask(ctx, loadCommand{Schedule: &s}, &sent); err != nil {
			return nil, err
		}
		var got latencies
		if err := o.reading.hear(ctx, &got); err != nil {
			return nil, fmt.Errorf("%d %% load: %w", share, err)
		}
		if got.Results != s.Records || got.Duplicates > 0 {
			return nil, fmt.Errorf("%d %% load: %d requests have %d results, and %d more than once", share, s.Records, got.Results, got.Duplicates)
		}
		to, err := readMachineTime()
		if err != nil {
			return nil, err
		}
		busy := to.busySince(from)
		if _, ok := l.busy[share]; !ok { // the worker comes first
			l.busy[share] = busy
		}
		all[share] = got
		l.late[share] = max(l.late[share], sent.LateUS)
		h.say("%s at %d %%, %.0f/s: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms (generator late p99 %.2f ms, machine %.0f %% busy)", o.name, share, rate,
			float64(got.P50)/1e3, float64(got.P99)/1e3, float64(got.P999)/1e3, float64(sent.LateUS)/1e3, 100*busy)
	}
	return all, nil
}
