package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
)

// neighbours are the models of one worker, of which the first loses its results topic.
const neighbours = 5

// phase is a time in which the destination of the first model is as it is.
type phase struct {
	name  string
	begin func(ctx context.Context) error // nil: nothing is done
}

// destinations measures what the others notice while the results topic of one of five models is
// deleted, made again with fewer partitions, and mended. Each is asked at a steady rate. Run fails
// where a request has no result, or one of the others' phases has a p99 of more than twice the usual.
type destinations struct {
	*harness
	cfg  config.Config
	rate int // requests to each model per second
	each time.Duration
	body []byte

	mu       sync.Mutex
	sent     map[string]time.Time // by key: model/number
	answered map[string]bool
	late     map[string][]int64 // by phase: µs of each request of the others, until its result is read
	phaseOf  map[string]string  // by key
	now      string             // phase
}

func neighbour(i int) string { return fmt.Sprintf("neighbour%d", i) }

// runDestinations measures in both deliveries, and prints a table.
func (h *harness) runDestinations(ctx context.Context, out io.Writer) error {
	for i := range neighbours {
		if err := copyModel(h.models, neighbour(i), "", func(graph []byte) []byte { return graph }); err != nil {
			return err
		}
	}
	var missed error
	for _, d := range []Delivery{ExactlyOnce, AtLeastOnce} {
		m := &destinations{harness: h, rate: 200, each: 15 * time.Second, sent: map[string]time.Time{}, answered: map[string]bool{}, late: map[string][]int64{}, phaseOf: map[string]string{}}
		if h.opts.Quick {
			m.each = 4 * time.Second
		}
		model, err := loadModel(ctx, h.models, "gbdt")
		if err != nil {
			return err
		}
		m.body = jsonRequest(model.Manifest, newRandom())
		if err := m.run(ctx, d, out); err != nil {
			missed = errors.Join(missed, fmt.Errorf("%s: %w", d, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return missed
}

func (m *destinations) run(ctx context.Context, d Delivery, out io.Writer) (err error) {
	name := "destinations-" + string(d)
	set := append(m.settings(name), "worker.delivery="+string(d))
	if m.cfg, err = config.Load("", nil, set); err != nil {
		return err
	}
	admin, err := consumers.NewAdmin(m.cfg.Kafka.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	models := []string{modelName}
	for i := range neighbours {
		models = append(models, neighbour(i))
	}
	specs := m.cfg.Topics.Specs(models, m.cfg.Topics.TopicSettings)
	if _, err := admin.ApplyTopics(ctx, specs); err != nil {
		return err
	}
	worker, err := start(ctx, partRole, roleSpec{Set: append(set, "roles=worker")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, worker.stop(context.WithoutCancel(ctx))) }()
	if err := worker.hear(ctx, &roleStats{}); err != nil {
		return err
	}
	results := m.cfg.Topics.ResultsOf(neighbour(0))
	fewer := slices.Clone(specs)
	for i := range fewer {
		if fewer[i].Name == results {
			fewer[i].Partitions, fewer[i].Follows = partitions/2, ""
		}
	}
	phases := []phase{
		{"warm-up", nil},
		{"usual", nil},
		{"deleted", func(ctx context.Context) error { return m.kafka.drop(ctx, results) }},
		{"fewer partitions", func(ctx context.Context) error { _, err := admin.ApplyTopics(ctx, fewer); return err }},
		{"mended", func(ctx context.Context) error { _, err := admin.ApplyTopics(ctx, specs); return err }},
		{"usual again", nil},
	}
	if err := m.watch(ctx, admin, phases); err != nil {
		return err
	}
	return m.table(out, d, phases)
}

// watch sends and reads through all phases, and returns when everything is answered.
func (m *destinations) watch(ctx context.Context, admin *consumers.Admin, phases []phase) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	group, groupCtx := errgroup.WithContext(reading)
	topics := make([]string, neighbours)
	for i := range neighbours {
		topics[i] = m.cfg.Topics.ResultsOf(neighbour(i))
	}
	group.Go(func() error { return m.read(groupCtx, topics[1:]...) }) // ends with reading
	first, endFirst := context.WithCancel(groupCtx)
	firstRead := make(chan error, 1)
	go func() { firstRead <- m.read(first, topics[0]) }() // ends when the topic is about to be deleted
	group.Go(func() error {                               // ends after the last phase
		defer stop()
		for _, p := range phases {
			if strings.HasPrefix(p.name, "deleted") { // what is in the topic is to be read before
				if err := m.settle(groupCtx); err != nil {
					return err
				}
				endFirst()
				if err := <-firstRead; err != nil {
					return err
				}
			}
			m.mu.Lock()
			m.now = p.name
			m.mu.Unlock()
			m.say("%s", p.name)
			if p.begin != nil {
				if err := p.begin(groupCtx); err != nil {
					return err
				}
			}
			if err := m.send(groupCtx); err != nil {
				return err
			}
		}
		return m.finish(groupCtx, admin, topics[0])
	})
	err := group.Wait()
	endFirst()
	return err
}

// send asks every model at the rate for the time of a phase.
func (m *destinations) send(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(m.kafka.addrs...), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer cl.Close()
	began := time.Now()
	for n := 0; time.Since(began) < m.each; n++ {
		if err := pause(ctx, time.Until(began.Add(time.Duration(n)*time.Second/time.Duration(m.rate)))); err != nil {
			return err
		}
		for i := range neighbours {
			m.mu.Lock()
			key := neighbour(i) + "/" + strconv.Itoa(len(m.sent))
			m.sent[key], m.phaseOf[key] = time.Now(), m.now
			m.mu.Unlock()
			cl.Produce(ctx, &kgo.Record{Topic: m.cfg.Topics.RequestsOf(neighbour(i)), Partition: int32(n % partitions), Key: []byte(key), Value: m.body}, nil)
		}
	}
	return cl.Flush(ctx)
}

// read takes note of results, until ctx ends.
func (m *destinations) read(ctx context.Context, topics ...string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(m.kafka.addrs...), kgo.ConsumeTopics(topics...), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		now := time.Now()
		m.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { m.take(string(r.Key), now) })
		m.mu.Unlock()
	}
	return nil
}

// take notes a result. The caller holds mu.
func (m *destinations) take(key string, at time.Time) {
	if m.answered[key] {
		return
	}
	m.answered[key] = true
	if !strings.HasPrefix(key, neighbour(0)+"/") {
		phase := m.phaseOf[key]
		m.late[phase] = append(m.late[phase], at.Sub(m.sent[key]).Microseconds())
	}
}

// open returns how many requests have no result yet, but for those of some model.
func (m *destinations) open(but string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for key := range m.sent {
		if !m.answered[key] && (but == "" || !strings.HasPrefix(key, but+"/")) {
			n++
		}
	}
	return n
}

// settle waits until all requests are answered.
func (m *destinations) settle(ctx context.Context) error { return m.until(ctx, "") }

func (m *destinations) until(ctx context.Context, but string) error {
	for deadline := time.Now().Add(30 * time.Second); m.open(but) > 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d requests have no result", m.open(but))
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// finish waits until the first model has nothing left, reads its new topic, and tells what is missing.
func (m *destinations) finish(ctx context.Context, admin *consumers.Admin, topic string) error {
	if err := m.until(ctx, neighbour(0)); err != nil {
		return err
	}
	for lag := int64(1); lag > 0; {
		var err error
		if lag, err = admin.Lag(ctx, m.cfg.Worker.Group, m.cfg.Topics.RequestsOf(neighbour(0))); err != nil {
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	err := admin.Read(ctx, topic, func(rec *schemas.Record) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.take(string(rec.Key), time.Now())
		return nil
	})
	if err != nil {
		return err
	}
	if n := m.open(""); n > 0 {
		return fmt.Errorf("%d requests have no result", n)
	}
	return nil
}

// table prints what was measured, and returns an error where the others have noticed too much.
func (m *destinations) table(out io.Writer, d Delivery, phases []phase) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	requests := map[string]int{}
	for _, p := range m.phaseOf {
		requests[p]++
	}
	for _, l := range slices.Collect(maps.Values(m.late)) {
		slices.Sort(l)
	}
	fmt.Fprintf(out, "%s: %d models, %d requests/s each, the results topic of one is deleted, made again with fewer partitions, and mended; the others, ms\n", d, neighbours, m.rate)
	fmt.Fprintf(out, "%-18s %10s %8s %8s %8s\n", "", "requests", "p50", "p99", "most")
	usual := quantile(m.late["usual"], 0.99)
	var missed error
	for _, p := range phases {
		l := m.late[p.name]
		p99 := quantile(l, 0.99)
		fmt.Fprintf(out, "%-18s %10d %8.1f %8.1f %8.1f\n", p.name, len(l), float64(quantile(l, 0.5))/1e3, float64(p99)/1e3, float64(l[len(l)-1])/1e3)
		if p.name != "warm-up" && p99 > 2*usual {
			missed = errors.Join(missed, fmt.Errorf("p99 of the others is %.1f ms while %s, and %.1f ms usually", float64(p99)/1e3, p.name, float64(usual)/1e3))
		}
	}
	fmt.Fprintf(out, "all %d requests have a result\n", len(m.sent))
	return missed
}
