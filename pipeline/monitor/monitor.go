package monitor

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/kafka"
)

// Run judges closed windows, writes reports and delivers alerts. Its passes are
// short and safe to interrupt, so it ends with the intake; hard bounds the leaving of groups.
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

	store := history.New(client, env.Config.ClickHouse.Database)
	publisher := countingPublisher{kafka.EventPublisher{Producer: producer, Topic: env.Config.Topics.Events}, m, env.Done}
	judging := drift.DefaultConfig()
	judging.ReportLink = report.Link(env.Config.Monitor.ReportsURL)
	monitor := drift.NewMonitor(judging, store, publisher, env.Log)
	reports := report.DefaultConfig()
	reports.Dir = env.Config.Monitor.ReportsDir
	reporter := report.NewReporter(reports, store, env.Log)
	labels := history.NewLabelCounter(store)
	group, ctx := errgroup.WithContext(soft)
	group.Go(func() error { // ends with soft
		every(ctx, env.Config.Monitor.Interval, func(now time.Time) {
			stats, err := monitor.Tick(ctx, now, watch.versions(ctx, now))
			m.learning(stats.Learning)
			if err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("monitor pass failed; trying again at the next interval")
				return
			}
			env.Done.Ticks.Add(1)
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, env.Config.Monitor.ReportInterval, func(now time.Time) {
			if _, err := reporter.Tick(ctx, now, watch.versions(ctx, now)); err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("writing reports failed; trying again at the next interval")
			}
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, max(env.Config.Monitor.Interval, time.Minute), func(now time.Time) {
			if err := countLabels(ctx, labels, watch.versions(ctx, now), m); err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("counting labels failed; trying again at the next interval")
			}
		})
		return nil
	})
	counting := newProfiles(history.NewProfiler(client, env.Config.ClickHouse.Database), store, env.Log)
	group.Go(func() error { // ends with soft
		every(ctx, max(env.Config.Monitor.Interval, time.Minute), func(now time.Time) {
			if err := counting.tick(ctx, now, watch.versions(ctx, now)); err != nil && ctx.Err() == nil {
				env.Log.Error().Err(err).Msg("counting rows for profiles failed; their windows are counted by their rows; trying again at the next interval")
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

// every runs what at once and then at each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, what func(now time.Time)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		what(time.Now())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// countingPublisher counts the events of the monitor.
type countingPublisher struct {
	kafka.EventPublisher
	metrics *Metrics
	done    *role.Progress
}

// Publish implements drift.Publisher.
func (p countingPublisher) Publish(ctx context.Context, e schemas.Event) error {
	if err := p.EventPublisher.Publish(ctx, e); err != nil {
		return err // the monitor says of which window
	}
	p.metrics.events.WithLabelValues(e.Data.Model, string(e.Data.Kind)).Inc()
	if e.Data.Kind == schemas.EventRetraining {
		p.done.Retrainings.Add(1)
	}
	return nil
}
