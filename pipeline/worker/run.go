package worker

import (
	"context"
	"errors"
	"sync"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/role"
)

// Run answers requests: one goroutine a lane, each with its own instances. The end of soft ends
// the intake, that of hard everything.
func Run(soft, hard context.Context, env *role.Env, m *Metrics) error {
	router, err := catalog.Routed(env.Config)
	if err != nil {
		return err
	}
	admin, err := consumers.NewAdmin(env.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	r := &roster{
		env: env, admin: admin, parts: workerParts{runtime: catalog.Runtimes(env.Log), past: admin, metrics: m},
		told: map[string]string{}, refs: map[string]inference.Ref{}, awaited: map[int][]consumers.Awaited{}, unready: map[string]bool{},
	}
	if env.Config.Registry.URL != "" {
		client, err := registry.New(env.Config.Registry.Client())
		if err != nil {
			return err
		}
		defer client.Close()
		r.parts.registry = client
	}
	all := r.loadAll(soft, router.Models()) // before Kafka is waited for: who starts a worker is told at once
	if err := allFailed(all); err != nil {
		return role.Orderly(soft, err)
	}
	defer func() {
		for _, l := range r.lanes {
			if err := l.Close(); err != nil {
				env.Log.Warn().Err(err).Msg("closing a lane's models failed")
			}
		}
	}()
	start := newStarter(env.Config, env.Log, admin)
	for lane := range env.Config.Worker.Lanes {
		h := newLaneHandler(env, lane, router, r.parts)
		l := newLane(env, h, start, r)
		m.readers.Watch(env.Config.Topics.ModelOf, l)
		r.lanes = append(r.lanes, servingLane{h, l})
	}
	if err := env.NeedTopics(soft); err != nil {
		return role.Orderly(soft, err)
	}
	failed, err := r.begin(soft, all)
	if err != nil {
		return role.Orderly(soft, err)
	}
	lanesSoft, stop := context.WithCancel(soft)
	defer stop()
	var group sync.WaitGroup
	errs := make([]error, len(r.lanes))
	for i, l := range r.lanes {
		group.Go(func() { // ends with soft
			defer stop() // where one lane cannot go on, the others finish what they have in hand
			errs[i] = l.lane.Run(lanesSoft, hard, l.laneHandler)
		})
	}
	for _, f := range failed {
		group.Go(func() { r.mend(lanesSoft, f) }) // ends with soft, or when the model serves
	}
	env.Began()
	group.Wait()
	return errors.Join(errs...)
}

// allFailed returns why no model could be loaded; nil where one could.
func allFailed(all []loaded) error {
	var errs []error
	for _, l := range all {
		if l.err == nil {
			return nil
		}
		errs = append(errs, l.err)
	}
	return errors.Join(errs...)
}

func newLane(env *role.Env, h *laneHandler, start *starter, r *roster) *consumers.Lane {
	var lost func(map[string][]int32)
	if h.repeats != nil {
		lost = h.repeats.forget
	}
	return consumers.NewLane(consumers.LaneConfig{
		Connection: env.Connection(), Group: env.Group(env.Config.Worker.Group),
		Delivery: env.Config.Worker.Delivery, Static: env.Config.Worker.StaticMembership,
		Instance: env.Config.Instance, Lane: h.lane, TopicPrefix: env.Config.Topics.Requests,
		MaxRecords: env.Config.Worker.MaxBatchRows, MaxBytes: env.Config.Topics.MaxBytes, TransactionTimeout: env.Config.Worker.TransactionTimeout,
		Start: start.Start, Lost: lost, SetAside: h.setAside, Health: env.Health(h.lane),
		Origin: originOf(env.Config.Topics.Topics), Awaited: func(awaited []consumers.Awaited) { r.waits(h.lane, awaited) },
	}, env.Log)
}
