package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas/codec"
)

// Run answers requests: one goroutine a lane, each with its own instances. The end of soft ends
// the intake, that of hard everything.
func Run(soft, hard context.Context, env *role.Env, m *Metrics) error {
	models, err := catalog.Served(soft, env.Config)
	if err != nil {
		return err
	}
	if err := catalog.TryAll(soft, env.Config.Models, models); err != nil {
		return role.Orderly(soft, err)
	}
	handlers := make([]*laneHandler, 0, env.Config.Worker.Lanes)
	defer func() {
		for _, h := range handlers {
			if err := h.Close(); err != nil {
				env.Log.Warn().Err(err).Msg("closing a lane's models failed")
			}
		}
	}()
	admin, err := consumers.NewAdmin(env.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	parts := workerParts{runtime: catalog.Runtimes(env.Log), past: admin, metrics: m}
	if env.Config.Registry.URL != "" {
		client, err := registry.New(env.Config.Registry.Client())
		if err != nil {
			return err
		}
		defer client.Close()
		parts.registry = client
		if err := needResultSchemas(soft, env, models, client); err != nil {
			return role.Orderly(soft, err)
		}
	}
	for lane := range env.Config.Worker.Lanes {
		h, err := newLaneHandler(soft, env, lane, models, parts)
		if err != nil {
			return err
		}
		handlers = append(handlers, h)
	}
	for _, m := range models {
		env.Log.Info().Str("model", m.Manifest.Name).Str("version", m.Manifest.Version).Int("lanes", env.Config.Worker.Lanes).Msg("model ready")
	}
	if err := env.NeedTopics(soft, catalog.Names(models)); err != nil {
		return role.Orderly(soft, err)
	}
	if err := needResultPartitions(soft, env, admin, catalog.Names(models)); err != nil {
		return role.Orderly(soft, err)
	}
	start := newStarter(env.Config, env.Log, admin)
	lanesSoft, stop := context.WithCancel(soft)
	defer stop()
	var group sync.WaitGroup
	errs := make([]error, len(handlers))
	for lane, h := range handlers {
		var lost func(map[string][]int32)
		if h.repeats != nil {
			lost = h.repeats.forget
		}
		l := consumers.NewLane(consumers.LaneConfig{
			Connection: env.Connection(), Group: env.Group(env.Config.Worker.Group),
			Delivery: env.Config.Worker.Delivery, Static: env.Config.Worker.StaticMembership,
			Instance: env.Config.Instance, Lane: lane, TopicPrefix: env.Config.Topics.Requests,
			MaxRecords: env.Config.Worker.MaxBatchRows, MaxBytes: env.Config.Topics.MaxBytes, TransactionTimeout: env.Config.Worker.TransactionTimeout,
			Start: start.Start, Lost: lost, SetAside: h.setAside, Health: env.Health(lane),
		}, env.Log)
		group.Go(func() { // ends with soft
			defer stop() // where one lane cannot go on, the others finish what they have in hand
			errs[lane] = l.Run(lanesSoft, hard, h)
		})
	}
	env.Began()
	group.Wait()
	return errors.Join(errs...)
}

// needResultPartitions checks that each model's results topic has a partition for each of
// its requests topic: results take their request's partition number.
func needResultPartitions(ctx context.Context, env *role.Env, admin *consumers.Admin, models []string) error {
	return env.Retry(ctx, func(ctx context.Context) error {
		for _, m := range models {
			requests, results := env.Config.Topics.RequestsOf(m), env.Config.Topics.ResultsOf(m)
			n, err := admin.Partitions(ctx, requests, results)
			if err != nil {
				return err
			}
			if n[results] < n[requests] {
				return role.Permanent(fmt.Errorf("topic %s has %d partitions and %s has %d: results take their request's partition number; "+
					"set topics.partitions and run `millrace topics apply`", results, n[results], requests, n[requests]))
			}
		}
		return nil
	})
}

// needResultSchemas waits for the Schema Registry to take the schemas of the results.
func needResultSchemas(ctx context.Context, env *role.Env, models []*inference.Model, client *registry.Client) error {
	for _, m := range models {
		encoding := env.Config.Worker.Codec(m.Manifest.Name)
		if encoding != codec.Avro && encoding != codec.Protobuf {
			continue
		}
		err := env.Retry(ctx, func(ctx context.Context) error {
			requests, _, err := codec.New(ctx, encoding, m.Manifest, codec.Options{Registry: client, Subject: env.Config.Topics.ResultsOf(m.Manifest.Name) + "-value"}, env.Memory)
			if err != nil {
				return err
			}
			requests.Release()
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
