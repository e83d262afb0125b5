package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// startAndHear starts a role, and hears what it says.
func (r *run) startAndHear(ctx context.Context, in Incident, role string, d demand) error {
	d.of = r.topology.members(role)
	since := r.cluster.mark()
	if err := r.cluster.startAll(ctx, d.of); err != nil {
		return err
	}
	if _, err := r.cluster.hear(ctx, in, since, d); err != nil {
		return err
	}
	return r.recovered(ctx, in)
}

// empty ends a role in order, unless it refuses to work anyway, and waits until Kafka knows.
func (r *run) empty(ctx context.Context, role string, refuses bool) error {
	r.cluster.stopAll(ctx, r.topology.members(role), refuses)
	waiting, cancel := context.WithTimeout(ctx, oneStep)
	defer cancel()
	return r.op.AwaitEmpty(waiting, r.cluster.group(role))
}

// recovered waits until every role is ready; that one does not get so far is a finding.
func (r *run) recovered(ctx context.Context, in Incident) error {
	waiting, cancel := context.WithTimeout(ctx, r.o.Patience)
	defer cancel()
	err := r.cluster.ready(waiting)
	if err != nil && ctx.Err() == nil {
		r.cluster.find(Finding{What: fmt.Sprintf("after %q not every role is ready: %v", in, err), At: time.Now()})
		return nil
	}
	return err
}

// cannotStart makes a finding of a setting that processes do not start with, and starts them
// without it.
func (r *run) cannotStart(ctx context.Context, in Incident, names []string, key string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.cluster.find(Finding{What: fmt.Sprintf("after %q a process does not start with %s: %v", in, key, err), At: time.Now()})
	r.cluster.set(names, key, "")
	r.cluster.stopAll(ctx, names, true)
	return r.cluster.startAll(ctx, names)
}

// members are the processes of a role but for the one that may join.
func (t Topology) members(role string) []string {
	n := t.Workers
	if role == recorder {
		n = t.Recorders
	}
	names := make([]string, n)
	for i := range names {
		names[i] = named(role, i)
	}
	return names
}

// find adds a finding.
func (c *cluster) find(f Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, f)
}

// set gives processes that are to start a value of the configuration; "" is the one that
// they had first.
func (c *cluster) set(names []string, key, value string) {
	for _, name := range names {
		c.roles[name].set(key, value)
	}
}

// startAll starts processes that do not run, at the same time.
func (c *cluster) startAll(ctx context.Context, names []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, name := range names {
		if p := c.roles[name]; p.current() == nil {
			group.Go(func() error { return p.Start(ctx) })
		}
	}
	return group.Wait()
}

// stopAll ends processes in order, at the same time. One that refuses to work may have ended
// already, and need not end well.
func (c *cluster) stopAll(ctx context.Context, names []string, refuses bool) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	var open sync.WaitGroup
	for _, name := range names {
		p := c.roles[name]
		switch {
		case p.current() == nil:
		case p.Ended() && refuses:
			p.down()
		case refuses:
			open.Go(func() {
				err := p.Terminate(ctx)
				if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
					c.find(Finding{What: fmt.Sprintf("%s refused to work, and did not end as it must: %v", p.name, err), At: time.Now()})
				}
			})
		default:
			open.Go(func() { c.drain(ctx, p) })
		}
	}
	open.Wait()
}

// retarget leads the recorders to another address of ClickHouse, and cuts the connections
// that they have.
func (c *cluster) retarget(addr string) {
	for _, p := range c.proxies {
		p.retarget(addr)
	}
}
