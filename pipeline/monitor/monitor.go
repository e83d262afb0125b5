package monitor

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/pipeline/jobs"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/kafka"
)

// Run judges closed windows of the models that this process owns, writes their reports and delivers alerts. Its
// passes are short and safe to interrupt, so it ends with the intake; hard bounds the leaving of groups.
func Run(soft, hard context.Context, env *role.Env, m *Metrics) error {
	watch, err := newWatch(env)
	if err != nil {
		return err
	}
	client, err := clickhouse.Open(env.Config.ClickHouseOptions(env.Log))
	if err != nil {
		return err
	}
	defer client.Close()
	if err := env.Retry(soft, client.Migrate); err != nil {
		return role.Orderly(soft, err)
	}
	if err := env.NeedTopics(soft); err != nil {
		return role.Orderly(soft, err)
	}
	producer, err := kafka.NewProducer(env.Connection().Dial, 10_000, env.Config.Topics.MaxBytes)
	if err != nil {
		return err
	}
	defer producer.Close()

	j := newJudges(env, m, watch, client)
	office := jobs.Open(env.Config, env.Connection(), client, env.Log)
	office.Health = env.Health(1)
	group, ctx := errgroup.WithContext(soft)
	group.Go(func() error { return office.Share(ctx, j.judge) }) // ends with soft
	group.Go(func() error {                                      // ends with soft
		every(ctx, env.Config.Monitor.Interval, j.owned, func(now time.Time) {
			if err := j.each(func(o *judge) error { return j.tick(o, now) }); err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("monitor pass failed; trying again at the next interval")
				return
			}
			env.Done.Ticks.Add(1)
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, env.Config.Monitor.ReportInterval, nil, func(now time.Time) {
			err := j.each(func(o *judge) error {
				_, err := o.reporter.Tick(o.ctx, now, j.of(o, now))
				return err
			})
			if err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("writing reports failed; trying again at the next interval")
			}
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, max(env.Config.Monitor.Interval, time.Minute), j.counted, func(now time.Time) {
			err := j.each(func(o *judge) error {
				if o.labels == nil {
					return nil
				}
				return countLabels(o.ctx, o.labels, watch.versions(o.ctx, now), m)
			})
			if err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("counting labels failed; trying again at the next interval")
			}
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, max(env.Config.Monitor.Interval, time.Minute), j.profiled, func(now time.Time) {
			err := j.each(func(o *judge) error { return o.profiles.tick(o.ctx, now, j.of(o, now)) })
			if err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("counting rows for profiles failed; their windows are counted by their rows; trying again at the next interval")
			}
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		var told time.Time // what fails may fail each second
		every(ctx, breakInterval, j.watched, func(now time.Time) {
			err := j.each(func(o *judge) error { return j.watchBreaks(o, now) })
			if err != nil && ctx.Err() == nil && now.Sub(told) >= env.Config.Monitor.Interval {
				told = now
				env.Log.Error().Err(err).Msg("looking for sudden breaks failed; going on from what is kept, each second")
			}
		})
		return nil
	})
	group.Go(func() error { return runAlerts(ctx, hard, env, m, producer) }) // ends with soft
	env.Began()
	return group.Wait()
}

// countLabels adds what became of labels to the metrics. Producers name models as they like:
// one that is not known has no series of its own.
func countLabels(ctx context.Context, labels *history.LabelCounter, versions []drift.Version, m *Metrics) error {
	manifests := make([]*schemas.Manifest, len(versions))
	for i, v := range versions {
		manifests[i] = v.Manifest
	}
	counts, err := labels.Count(ctx, manifests)
	for _, c := range counts {
		model := c.Model
		if c.Reason == string(schemas.LabelUnknownModel) {
			model = ""
		}
		m.labels.WithLabelValues(model, c.Reason).Add(float64(c.Labels))
	}
	return err
}

// every runs what at once, at each interval and when it is woken, until ctx ends.
func every(ctx context.Context, interval time.Duration, wake <-chan struct{}, what func(now time.Time)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		what(time.Now())
		select {
		case <-ticker.C:
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}
