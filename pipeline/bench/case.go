package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/pipeline"
)

// run is what one throughput run gave, per row where it can be.
type run struct {
	rowsPerS         float64
	cpu              time.Duration // of the process, per row
	peakRSS          int64
	batchRows        float64 // on average
	allocs           float64 // per row, from ready to the end
	allocBytes       float64 // likewise
	resultBytes      float64 // of values, per row
	observationBytes float64 // likewise
	storedOut        float64 // results and observations as the brokers hold them, per row
	sample           sample
	config           pipeline.Config
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

// runCase lets a worker answer the requests of its codec.
func (h *harness) runCase(ctx context.Context, c Case, round int) (err error) {
	in, err := h.input(ctx, c.Codec)
	if err != nil {
		return err
	}
	set := append(h.settings(roundName(c, round), in.prefix), c.settings()...)
	cfg, err := applyTopics(ctx, set)
	if err != nil {
		return err
	}
	worker, err := start(ctx, partRole, roleSpec{Set: append(set, "roles=worker"), Profile: h.profileName("worker", c.Name())})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, worker.stop(context.WithoutCancel(ctx))) }()
	var before, after roleStats
	if err := worker.hear(ctx, &before); err != nil {
		return err
	}
	w, err := watch(ctx, worker, in.records, windowTo, h.answered(c.Delivery, cfg.Worker.Group, in.topic(), cfg.Topics.ResultsOf(modelName)))
	if err != nil {
		return err
	}
	if err := worker.ask(ctx, struct{}{}, &after); err != nil {
		return err
	}
	r := &run{config: cfg}
	if r.peakRSS, err = peakRSS(worker.cmd.Process.Pid); err != nil {
		return err
	}
	if err := worker.stop(ctx); err != nil {
		return err
	}
	rows := in.records * rowsOf(c.Codec)
	out, err := h.kafka.survey(ctx, cfg.Topics.Topics, in.records)
	if err == nil {
		err = out.check(in.records, rows)
	}
	if err != nil {
		return err
	}
	r.rates(w, rowsOf(c.Codec))
	r.batchRows = float64(after.Rows) / float64(max(after.Batches, 1))
	r.allocs = float64(after.Mallocs-before.Mallocs) / float64(rows)
	r.allocBytes = float64(after.AllocBytes-before.AllocBytes) / float64(rows)
	r.resultBytes = float64(out.resultBytes) / float64(rows)
	r.observationBytes = float64(out.observationBytes) / float64(rows)
	r.sample = out.sample
	for _, topic := range []string{cfg.Topics.ResultsOf(modelName), cfg.Topics.Observations} {
		stored, err := h.kafka.stored(ctx, topic)
		if err != nil {
			return err
		}
		r.storedOut += float64(stored) / float64(rows)
	}
	h.runs[c] = append(h.runs[c], r)
	h.say("%s: %.0f predictions/s, %.2f µs CPU each", c.Name(), r.rowsPerS, us(r.cpu))
	if c == recorderCase && h.plan.recorder && round == h.sizes.Rounds-1 {
		return nil // the recorder needs the topics
	}
	return h.kafka.drop(ctx, topicsOf(cfg.Topics.Topics)...)
}

// roundName names the groups and topics of a round.
func roundName(c Case, round int) string { return fmt.Sprintf("%s-%d", c.Name(), round) }

func (r *run) rates(w window, rowsEach int64) {
	r.rowsPerS = w.perSecond * float64(rowsEach)
	r.cpu = w.cpu / time.Duration(rowsEach)
}

// runPass lets a pass-through produce what the case's worker did, from the same requests. The
// answers of one model are as long as those of the other, so it runs once a round.
func (h *harness) runPass(ctx context.Context, c Case) (err error) {
	in, whole := h.inputs[c.Codec], middle(h.runs[c])
	key := c.passKey()
	name := fmt.Sprintf("pass-through-%s-%s-%d", c.Codec, c.Delivery, len(h.passes[key]))
	cfg, err := applyTopics(ctx, h.settings(name, in.prefix))
	if err != nil {
		return err
	}
	spec := h.passSpec(c, cfg, in.topic())
	// As large as the worker's, or it would end more transactions for as many requests.
	spec.MinRecords = int(whole.batchRows) / int(rowsOf(c.Codec))
	spec.Profile = h.profileName("pass-through", string(c.Codec)+"_"+string(c.Delivery))
	pass, err := start(ctx, partPassThrough, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pass.stop(context.WithoutCancel(ctx))) }()
	if err := pass.hear(ctx, &roleStats{}); err != nil {
		return err
	}
	w, err := watch(ctx, pass, in.records, windowTo, h.answered(c.Delivery, cfg.Worker.Group, in.topic(), cfg.Topics.ResultsOf(modelName)))
	if err != nil {
		return err
	}
	var after roleStats
	if err := pass.ask(ctx, struct{}{}, &after); err != nil {
		return err
	}
	r := &run{config: cfg, sample: whole.sample, batchRows: float64(after.Rows) / float64(max(after.Batches, 1))}
	if r.peakRSS, err = peakRSS(pass.cmd.Process.Pid); err != nil {
		return err
	}
	if err := pass.stop(ctx); err != nil {
		return err
	}
	r.rates(w, rowsOf(c.Codec))
	h.passes[key] = append(h.passes[key], r)
	h.say("%s: %.0f rows/s, %.2f µs CPU each", name, r.rowsPerS, us(r.cpu))
	return h.kafka.drop(ctx, topicsOf(cfg.Topics.Topics)...)
}

// passSpec makes a pass-through of a case that was run.
func (h *harness) passSpec(c Case, cfg pipeline.Config, requests string) passThroughSpec {
	return passThroughSpec{
		Brokers: h.kafka.addrs, Group: cfg.Worker.Group, Delivery: c.Delivery,
		Requests: requests, Results: cfg.Topics.ResultsOf(modelName), Observations: cfg.Topics.Observations,
		Lanes: lanes, MaxRecords: cfg.Worker.MaxBatchRows, RowsEach: rowsOf(c.Codec), Sample: middle(h.runs[c]).sample,
	}
}

// runParts measures the other parts of a case, once a round for both delivery modes.
func (h *harness) runParts(ctx context.Context, c Case) error {
	in, whole := h.inputs[c.Codec], middle(h.runs[c])
	p, err := start(ctx, partParts, partsSpec{
		Brokers: h.kafka.addrs, Requests: in.topic(), Models: h.models, Model: c.Model, Codec: c.Codec,
		Lanes: lanes, Records: max(1, int(whole.batchRows)/int(rowsOf(c.Codec))), Total: int(in.records), For: h.sizes.Part,
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
