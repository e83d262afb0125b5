package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/operate"
)

// model is what the run's requests are for: y = 0.5 f0 - 1.25 f1 + 2 f2 + 0.75.
const model = "linear"

// drainTimeout is what an orderly end may take, for a role and for what waits for it: a role
// promises to end, if not in order, 5 s after its own drain_timeout of 15 s.
const drainTimeout = 30 * time.Second

// cluster is everything that runs. Faults of different targets may overlap.
type cluster struct {
	log        zerolog.Logger
	dir        string        // for data and logs
	cfg        config.Config // what all roles share, and Kafka and ClickHouse as the run itself reaches them
	secured    *security     // nil: Kafka asks for nothing
	broker     broker
	clickHouse *process
	proxies    map[string]*proxy   // to ClickHouse, by recorder
	roles      map[string]*process // those that may join too

	mu        sync.Mutex
	restarts  map[string]int         // of processes that ended by themselves
	busy      map[string]*sync.Mutex // by target
	effective int                    // faults
	demanded  int                    // how many times something had to be said
	findings  []Finding
}

// startCluster starts everything in dir, and waits until the roles are ready. Close it.
func startCluster(ctx context.Context, o Options, t Topology, dir string, log zerolog.Logger) (*cluster, error) {
	c := &cluster{log: log, dir: dir, proxies: map[string]*proxy{}, roles: map[string]*process{}, restarts: map[string]int{}, busy: map[string]*sync.Mutex{}}
	if err := c.start(ctx, o, t, dir); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, o Options, t Topology, dir string) error {
	ports := &ports{last: 20_000 + rand.IntN(10_000)} //nolint:gosec // other runs on this machine choose others
	var err error
	if o.TLS {
		if c.secured, err = newSecurity(dir); err != nil {
			return err
		}
	}
	if c.broker, err = openBroker(ctx, o, dir, ports, c.secured); err != nil {
		return err
	}
	addr, err := ports.next()
	if err != nil {
		return err
	}
	data := filepath.Join(dir, clickHouse)
	if err := os.MkdirAll(data, 0o750); err != nil {
		return fmt.Errorf("make the data directory of ClickHouse: %w", err)
	}
	if c.clickHouse, err = newProcess(dir, clickHouse, false, "embedded-clickhouse", "--dir", data, "--addr", addr); err != nil {
		return err
	}
	if err := c.clickHouse.Start(ctx); err != nil {
		return err
	}
	seeds := make([]string, 0, t.Brokers)
	for _, p := range c.broker.Proxies() {
		seeds = append(seeds, p.Addr())
	}
	shared := []string{
		"log.format=json", "drain_timeout=15s", "models.repository=" + filepath.Join(dir, "models"), "monitor.reports_dir=" + filepath.Join(dir, "reports"),
		"kafka.brokers=" + strings.Join(seeds, ","), "kafka.session_timeout=6s", "worker.transaction_timeout=10s",
		"topics.partitions=6", "topics.spread=2", fmt.Sprintf("topics.replication_factor=%d", t.Brokers),
		// Small batches: many transactions and inserts, and so many moments for a fault to meet.
		"worker.lanes=2", "worker.max_batch_rows=512", "recorder.flush_rows=4000", "recorder.flush_interval=250ms",
	}
	if c.cfg, err = config.Load("", nil, slices.Concat(shared, c.secured.settings("chaos"), []string{"kafka.client_id=chaos", "clickhouse.addr=" + addr})); err != nil {
		return err
	}
	if _, err := operate.InitModel(ctx, c.cfg, operate.InitOptions{Path: o.Graph, Name: model, Version: "1"}); err != nil {
		return err
	}
	if _, err := operate.ApplyTopics(ctx, c.cfg); err != nil {
		return err
	}
	for role, n := range map[string]int{"worker": t.Workers, "recorder": t.Recorders} {
		for i := range n {
			if err := c.add(dir, role, named(role, i), shared, ports); err != nil {
				return err
			}
			if err := c.roles[named(role, i)].Start(ctx); err != nil {
				return err
			}
		}
		if err := c.add(dir, role, extra(role), shared, ports); err != nil {
			return err
		}
	}
	return c.ready(ctx)
}

// add prepares the process of a role, which has an instance, an admin port and a way to
// ClickHouse of its own.
func (c *cluster) add(dir, role, name string, shared []string, ports *ports) error {
	addr, err := ports.next()
	if err != nil {
		return err
	}
	args := slices.Concat([]string{childRole}, shared, c.secured.settings(name))
	args = append(args, "roles="+role, "instance="+name, "kafka.client_id="+name, "http.addr="+addr, "http.pprof=true")
	if role == "recorder" {
		p, err := newProxy(c.cfg.ClickHouse.Addr[0], nil)
		if err != nil {
			return err
		}
		c.proxies[name] = p
		args = append(args, "clickhouse.addr="+p.Addr())
	}
	c.roles[name], err = newProcess(dir, name, true, args...)
	return err
}

// ready waits until every role that runs is ready.
func (c *cluster) ready(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(c.roles)) {
		running := c.roles[name].current()
		if running == nil {
			continue
		}
		last := ""
		for {
			ready, why, err := readiness(ctx, running.Addr())
			if err == nil && ready {
				break
			}
			if ctx.Err() == nil && err == nil {
				last = string(why)
			}
			if err := sleep(ctx, 50*time.Millisecond); err != nil {
				return fmt.Errorf("%s does not get ready: %w; it last said: %s", name, err, last)
			}
		}
	}
	return nil
}

// Do does the fault, waits, and undoes it, also when ctx ends before. It begins later than
// planned when the fault before of the same target took longer, as a drain may.
func (c *cluster) Do(ctx context.Context, f Fault) error {
	c.mu.Lock()
	busy := c.busy[f.target()]
	if busy == nil {
		busy = &sync.Mutex{}
		c.busy[f.target()] = busy
	}
	c.mu.Unlock()
	busy.Lock()
	defer busy.Unlock()
	if err := c.begin(ctx, f); err != nil {
		return fmt.Errorf("begin %s: %w", f, err)
	}
	if f.Kind == Late {
		_ = sleep(ctx, f.For/2)
		for _, g := range c.gates(f) {
			g.set(Fault{Kind: abandoned})
		}
		_ = sleep(ctx, f.For-f.For/2)
	} else {
		_ = sleep(ctx, f.For)
	}
	effective := c.effect(f)
	if err := c.end(context.WithoutCancel(ctx), f); err != nil {
		return fmt.Errorf("end %s: %w", f, err)
	}
	if effective {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.effective++
	}
	return nil
}

// effect tells whether a fault that lasts has changed anything. Processes that could not be
// killed, terminated or started are errors.
func (c *cluster) effect(f Fault) bool {
	if f.Service != "" {
		return slices.ContainsFunc(c.gates(f), (*gate).Felt)
	}
	if p := c.process(f.Target); f.Kind == Freeze && p != nil {
		return p.Frozen()
	}
	return true
}

func (c *cluster) begin(ctx context.Context, f Fault) error {
	if f.Service != "" {
		for _, g := range c.gates(f) {
			g.set(f)
		}
		return nil
	}
	if f.Kind == Join {
		return c.roles[f.Target].Start(ctx)
	}
	if err := c.revive(ctx); err != nil {
		return err
	}
	end, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	i, isBroker := c.brokerOf(f.Target)
	switch {
	case isBroker && f.Kind == Kill:
		return c.broker.Kill(end, i)
	case isBroker && f.Kind == Terminate:
		return c.broker.Terminate(end, i)
	case isBroker:
		return c.broker.Signal(i, syscall.SIGSTOP)
	case f.Kind == Kill:
		return c.process(f.Target).Kill(end)
	case f.Kind == Terminate:
		c.drain(end, c.process(f.Target))
		return nil
	default:
		return c.process(f.Target).Signal(syscall.SIGSTOP)
	}
}

func (c *cluster) end(ctx context.Context, f Fault) error {
	if f.Service != "" {
		for _, g := range c.gates(f) {
			g.set(Fault{})
		}
		return nil
	}
	i, isBroker := c.brokerOf(f.Target)
	switch {
	case f.Kind == Join:
		ctx, cancel := context.WithTimeout(ctx, drainTimeout)
		defer cancel()
		c.drain(ctx, c.roles[f.Target])
		return nil
	case f.Kind == Freeze && isBroker:
		return c.broker.Signal(i, syscall.SIGCONT)
	case f.Kind == Freeze:
		return c.process(f.Target).Signal(syscall.SIGCONT)
	case isBroker:
		return c.broker.Start(ctx, i)
	default:
		return c.process(f.Target).Start(ctx)
	}
}

// drain ends a process in order. While other faults last it may not get that far; that it
// ends in any other way is a finding.
func (c *cluster) drain(ctx context.Context, p *process) {
	err := p.Terminate(ctx)
	if err == nil {
		return
	}
	c.log.Info().Err(err).Msg("a process did not drain")
	if excused(err, !p.signals && ctx.Err() != nil) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, Finding{What: p.name + " ended, but not in order: " + err.Error(), At: time.Now()})
}

// excused tells whether an end is one that other faults may lead to: it was given up after
// its drain_timeout, or was killed by us where it promises no such limit.
func excused(err error, killed bool) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || errors.Is(err, errNotRunning) {
		return false
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return killed && status.Signal() == syscall.SIGKILL
	}
	return exit.ExitCode() == 1 && strings.Contains(err.Error(), pipeline.ErrDrainTimeout.Error())
}

func (c *cluster) gates(f Fault) []*gate {
	if f.Service == clickHouse {
		return []*gate{c.proxies[f.Target].gate(everyone)}
	}
	var gates []*gate
	for _, p := range c.broker.Proxies() {
		gates = append(gates, p.gate(f.Target))
	}
	return gates
}

func (c *cluster) brokerOf(target string) (i int, ok bool) {
	for i := range c.broker.Proxies() {
		if target == named(kafka, i) {
			return i, true
		}
	}
	return 0, false
}

func (c *cluster) process(name string) *process {
	if name == clickHouse {
		return c.clickHouse
	}
	return c.roles[name]
}

// revive starts what has ended by itself, as a supervisor would, and counts it.
func (c *cluster) revive(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.broker.Failure(); err != nil {
		return err
	}
	for _, p := range append(slices.Collect(maps.Values(c.roles)), c.clickHouse) {
		if !p.Ended() {
			continue
		}
		c.restarts[p.name]++
		c.log.Error().Str("process", p.name).Msg("it ended by itself; starting it again")
		p.down()
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sessions returns how many members of its group each process of a role has, by client id.
func (c *cluster) sessions(role string) map[string]int {
	sessions := map[string]int{}
	for name, p := range c.roles {
		if running := p.current(); running == nil || running.Pid() == 0 || roleOf(name) != role {
			continue
		}
		sessions[name] = 1
		if role == "worker" {
			sessions[name] = c.cfg.Worker.Lanes
		}
	}
	return sessions
}

// Demanded returns how many times something had to be said.
func (c *cluster) Demanded() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.demanded
}

// Findings are what went wrong on the way.
func (c *cluster) Findings() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	findings := slices.Clone(c.findings)
	for _, name := range slices.Sorted(maps.Keys(c.restarts)) {
		findings = append(findings, Finding{What: fmt.Sprintf("%s ended by itself %d times", name, c.restarts[name])})
	}
	return findings
}

// Effective returns how many faults had an effect.
func (c *cluster) Effective() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.effective
}

// Terminate ends every role in order, all at the same time.
func (c *cluster) Terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	errs := make([]error, len(c.roles))
	var open sync.WaitGroup
	for i, name := range slices.Sorted(maps.Keys(c.roles)) {
		if p := c.roles[name]; p.current() != nil {
			open.Go(func() { errs[i] = p.Terminate(ctx) })
		}
	}
	open.Wait()
	return errors.Join(errs...)
}

// Close ends everything at once.
func (c *cluster) Close() error {
	var errs []error
	for _, p := range c.roles {
		errs = append(errs, p.Close())
	}
	if c.clickHouse != nil {
		errs = append(errs, c.clickHouse.Close())
	}
	if c.broker != nil {
		errs = append(errs, c.broker.Close())
	}
	for _, p := range c.proxies {
		p.Close()
	}
	return errors.Join(errs...)
}

// sleep waits, or returns early with ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
