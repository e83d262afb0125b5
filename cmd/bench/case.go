package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
)

// run is what one throughput run gave, per row where it can be.
type run struct {
	requests   int64 // warm-up included
	rowsPerS   float64
	cpu        time.Duration // of the process, per row
	allocs     float64       // of the process, per row
	allocBytes float64       // of the process, per row
	batchRows  float64       // of one inference, on average
	txnRecords float64       // requests of one transaction, on average; 0 at least once
	peakRSS    int64
	shape      shape
	sample     sample
	budgets    *budgets // of Arrow
	config     config.Config
}

// passKey names a pass-through: it knows no model.
type passKey struct {
	codec    Codec
	delivery Delivery
}

func (c Case) passKey() passKey { return passKey{c.Codec, c.Delivery} }

// middle returns what several rounds come to: the median of the CPU time and of the rate, and the
// largest memory; nil where there are none.
func middle(rounds []*run) *run {
	if len(rounds) == 0 {
		return nil
	}
	r := *median(rounds, func(r *run) time.Duration { return r.cpu })
	r.rowsPerS = median(rounds, func(r *run) float64 { return r.rowsPerS }).rowsPerS
	for _, other := range rounds {
		r.peakRSS = max(r.peakRSS, other.peakRSS)
	}
	return &r
}

func joined(addrs []string) string { return strings.Join(addrs, ",") }

// answered returns how to see how many requests of a topic a group has answered for good.
func (h *harness) answered(d Delivery, group, requests, results string) func(ctx context.Context) (int64, error) {
	if d == ExactlyOnce {
		return func(ctx context.Context) (int64, error) { return h.kafka.committed(ctx, group, requests) }
	}
	return func(ctx context.Context) (int64, error) { return h.kafka.end(ctx, results) }
}

// runCase lets a worker answer requests of its codec, for one of some rounds.
func (h *harness) runCase(ctx context.Context, c Case, round, rounds int) error {
	set := append(h.settings(roundName(c, round)), c.settings()...)
	r, err := h.throughput(ctx, c, set, func(config.Config) (part string, spec any) {
		return partRole, roleSpec{Set: append(set, "roles=worker"), Profile: h.profileName("worker", c.Name()), Beside: h.opts.Beside}
	}, func(r *run, out *produced) error {
		return out.check(r.requests, r.requests*rowsOf(c.Codec))
	})
	if err != nil {
		return err
	}
	if c.Codec == CodecArrow {
		model, err := loadModel(ctx, h.models, c.Model)
		if err == nil {
			r.budgets, err = budgetsOf(model.Manifest, &r.sample)
		}
		if err != nil {
			return err
		}
	}
	h.runs[c] = append(h.runs[c], r)
	h.say("%s: %.0f predictions/s, %.2f µs CPU each", c.Name(), r.rowsPerS, us(r.cpu))
	if c == recorderCase && h.plan.recorder && round == rounds-1 {
		return nil // the recorder needs the topics
	}
	return h.kafka.drop(ctx, topicsOf(r.config.Topics.Topics)...)
}

// answerer tells which child answers the requests of a configuration.
type answerer func(cfg config.Config) (part string, spec any)

// throughput lets a process answer requests that lie there: first some for warm-up, then,
// when it is idle, all that count, which become visible at once. check holds what it has
// produced against what it should have.
func (h *harness) throughput(ctx context.Context, c Case, set []string, who answerer, check func(r *run, out *produced) error) (_ *run, err error) {
	cfg, err := applyTopics(ctx, set)
	if err != nil {
		return nil, err
	}
	requests, ending := cfg.Topics.RequestsOf(modelName), context.WithoutCancel(ctx)
	load, err := h.startLoad(ctx, c.Codec, requests)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, load.stop(ending)) }()
	warmUp, counted := h.sizes.JSONWarmUp, h.sizes.JSONRecords
	if c.Codec == CodecArrow {
		warmUp, counted = h.sizes.ArrowWarmUp, h.sizes.ArrowRecords
	}
	r := &run{requests: warmUp + counted, config: cfg}
	var warm, held loadDone
	if err := load.ask(ctx, loadCommand{Schedule: &Schedule{Records: warmUp}}, &warm); err != nil {
		return nil, err
	}
	if err := load.ask(ctx, loadCommand{Schedule: &Schedule{First: warmUp, Records: counted}, Held: true}, &held); err != nil {
		return nil, err
	}
	part, spec := who(cfg)
	p, err := start(ctx, part, spec)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop(ending)) }()
	var before, after roleStats
	if err := p.hear(ctx, &before); err != nil {
		return nil, err
	}
	answered := h.answered(c.Delivery, cfg.Worker.Group, requests, cfg.Topics.ResultsOf(modelName))
	if _, err := watch(ctx, p, warmUp, answered); err != nil {
		return nil, err
	}
	if err := p.ask(ctx, struct{}{}, &before); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := load.ask(ctx, loadCommand{Release: true}, &loadDone{}); err != nil {
		return nil, err
	}
	readings, err := watch(ctx, p, r.requests, answered)
	if err != nil {
		return nil, err
	}
	if err := p.ask(ctx, struct{}{}, &after); err != nil {
		return nil, err
	}
	if r.peakRSS, err = peakRSS(p.cmd.Process.Pid); err != nil {
		return nil, err
	}
	if err := errors.Join(p.stop(ctx), load.stop(ctx)); err != nil {
		return nil, err
	}
	out, err := h.kafka.survey(ctx, cfg.Topics.Topics, r.requests)
	if err == nil {
		err = check(r, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, p.stderr) // which tells of what it has met
	}
	rows := counted * rowsOf(c.Codec)
	r.rowsPerS = float64(rows) / readings[len(readings)-1].at.Sub(began).Seconds()
	r.cpu = (after.CPU - before.CPU) / time.Duration(rows)
	r.allocs = float64(after.Mallocs-before.Mallocs) / float64(rows)
	r.allocBytes = float64(after.AllocBytes-before.AllocBytes) / float64(rows)
	r.batchRows = float64(after.Rows-before.Rows) / float64(max(after.Batches-before.Batches, 1))
	r.sample = out.sample
	if c.Delivery == ExactlyOnce {
		r.txnRecords = float64(r.requests) / float64(max(out.observationMarkers, 1))
	}
	r.shape, err = h.kafka.shape(ctx, cfg.Topics.Topics, r.requests*rowsOf(c.Codec), warm.Bytes+held.Bytes, &out)
	return r, err
}

// roundName names the groups and topics of a round.
func roundName(c Case, round int) string { return fmt.Sprintf("%s-%d", c.Name(), round) }

// runPass lets a pass-through produce what the case's worker did. The answers of one model are
// as long as those of the other, so it runs once a round.
func (h *harness) runPass(ctx context.Context, c Case) error {
	key := c.passKey()
	whole := middle(h.runs[c])
	name := fmt.Sprintf("pass-through-%s-%s-%d", c.Codec, c.Delivery, len(h.passes[key]))
	r, err := h.throughput(ctx, c, h.settings(name), func(cfg config.Config) (part string, spec any) {
		pass := h.passSpec(c, cfg)
		// As large as the worker's, or it would end more transactions for as many requests, or fewer.
		if c.Delivery == ExactlyOnce {
			pass.MinRecords = max(1, int(whole.txnRecords))
			pass.MaxRecords = pass.MinRecords
		} else {
			pass.MinRecords = max(1, int(whole.batchRows)/int(rowsOf(c.Codec)))
		}
		pass.Profile = h.profileName("pass-through", string(c.Codec)+"_"+string(c.Delivery))
		return partPassThrough, pass
	}, func(r *run, out *produced) error {
		if out.results != r.requests || !out.distinct {
			return fmt.Errorf("%d requests have %d results (each once: %t)", r.requests, out.results, out.distinct)
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.passes[key] = append(h.passes[key], r)
	h.say("%s: %.0f rows/s, %.2f µs CPU each", name, r.rowsPerS, us(r.cpu))
	return h.kafka.drop(ctx, topicsOf(r.config.Topics.Topics)...)
}

// passSpec makes a pass-through of a case that was run. A poll of it is bounded as a lane's is.
func (h *harness) passSpec(c Case, cfg config.Config) passThroughSpec {
	whole := middle(h.runs[c])
	requestBytes := max(1, whole.shape.request*float64(rowsOf(c.Codec)))
	return passThroughSpec{
		Brokers: h.kafka.addrs, Group: cfg.Worker.Group, Delivery: c.Delivery, Topics: cfg.Topics.Topics,
		SessionTimeout: cfg.Kafka.SessionTimeout, TransactionTimeout: cfg.Worker.TransactionTimeout,
		Lanes: lanes, MaxRecords: max(1, min(cfg.Worker.MaxBatchRows, int(consumers.BatchBytes/requestBytes))),
		RowsEach: rowsOf(c.Codec), Sample: whole.sample,
	}
}

// runParts measures the other parts of a case, once a round for both delivery modes.
func (h *harness) runParts(ctx context.Context, c Case) error {
	whole := middle(h.runs[c])
	p, err := start(ctx, partParts, partsSpec{
		Models: h.models, Model: c.Model, Codec: c.Codec,
		Lanes: lanes, Records: max(1, int(whole.batchRows)/int(rowsOf(c.Codec))), For: h.sizes.Part,
		Profile: h.profileName("parts", c.pair()),
	})
	if err != nil {
		return err
	}
	var costs []partCost
	err = p.hear(ctx, &costs)
	if err := errors.Join(err, p.stop(ctx)); err != nil {
		return err
	}
	if h.parts[c.pair()] == nil {
		h.parts[c.pair()] = map[string][]partCost{}
	}
	for _, cost := range costs {
		h.parts[c.pair()][cost.Name] = append(h.parts[c.pair()][cost.Name], cost)
	}
	h.say("parts of %s: %s", c.pair(), describe(costs))
	return nil
}

func describe(costs []partCost) string {
	var parts []string
	for _, c := range costs {
		parts = append(parts, fmt.Sprintf("%s %.2f µs", c.Name, us(c.CPU)))
	}
	return strings.Join(parts, ", ")
}

// partNames are the parts that runParts measures.
var partNames = []string{"decode", "score", "encode", "observe"}

// part returns the median cost of a part; ok tells whether it was measured.
func (h *harness) part(pair, name string) (cost partCost, ok bool) {
	rounds := h.parts[pair][name]
	if len(rounds) == 0 {
		return partCost{}, false
	}
	return median(rounds, func(c partCost) time.Duration { return c.CPU }), true
}

// efficiency returns the parts' share of the whole's CPU time; ok tells whether all of them
// were measured.
func (h *harness) efficiency(c Case) (share float64, ok bool) {
	whole, pass := middle(h.runs[c]), middle(h.passes[c.passKey()])
	if whole == nil || pass == nil || whole.cpu == 0 {
		return 0, false
	}
	total := pass.cpu
	for _, name := range partNames {
		cost, ok := h.part(c.pair(), name)
		if !ok {
			return 0, false
		}
		total += cost.CPU
	}
	return float64(total) / float64(whole.cpu), true
}

// us returns a duration in microseconds.
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
