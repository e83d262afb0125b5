package pipeline

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/kafka"
)

// runMonitor judges closed windows, writes reports and delivers alerts. Its passes are
// short and safe to interrupt, so it ends with the intake; hard bounds the leaving of groups.
func (a *App) runMonitor(soft, hard context.Context) error {
	versions, err := a.monitoredVersions(soft)
	if err != nil {
		return err
	}
	client, err := a.openClickHouse()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := a.retry(soft, config.RoleMonitor, client.Migrate); err != nil {
		return orderly(soft, err)
	}
	if err := a.needTopics(soft, config.RoleMonitor, nil); err != nil {
		return orderly(soft, err)
	}
	producer, err := a.newProducer()
	if err != nil {
		return err
	}
	defer producer.Close()

	store := history.New(client, a.cfg.ClickHouse.Database)
	publisher := countingPublisher{kafka.EventPublisher{Producer: producer, Topic: a.cfg.Topics.Events}, a}
	monitor := drift.NewMonitor(drift.DefaultConfig(), store, publisher, a.log)
	reports := report.DefaultConfig()
	reports.Dir = a.cfg.Monitor.ReportsDir
	reporter := report.NewReporter(reports, store, a.log)
	group, ctx := errgroup.WithContext(soft)
	group.Go(func() error { // ends with soft
		every(ctx, a.cfg.Monitor.Interval, func(now time.Time) {
			if _, err := monitor.Tick(ctx, now, versions); err != nil && ctx.Err() == nil {
				a.log.Error().Err(err).Msg("monitor pass failed; trying again at the next interval")
				return
			}
			a.Done.Ticks.Add(1)
		})
		return nil
	})
	group.Go(func() error { // ends with soft
		every(ctx, a.cfg.Monitor.ReportInterval, func(now time.Time) {
			if _, err := reporter.Tick(ctx, now, versions); err != nil && ctx.Err() == nil {
				a.log.Error().Err(err).Msg("writing reports failed; trying again at the next interval")
			}
		})
		return nil
	})
	group.Go(func() error { return a.runAlerts(ctx, hard, producer) }) // ends with soft
	a.began(config.RoleMonitor)
	return group.Wait()
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

// monitoredVersions loads what the repository has with monitoring: also versions that no
// longer serve, whose last windows and labels may still be to come.
func (a *App) monitoredVersions(ctx context.Context) ([]drift.Version, error) {
	models, err := catalog.Open(a.cfg.Models)
	if err != nil {
		return nil, err
	}
	refs, err := models.Models()
	if err != nil {
		return nil, err
	}
	var versions []drift.Version
	for _, ref := range refs {
		m, err := models.Load(ctx, ref.Name, ref.Version)
		if err != nil {
			return nil, err
		}
		if m.Manifest.Monitoring != nil {
			versions = append(versions, drift.Version{Manifest: m.Manifest, Reference: m.Reference})
		}
	}
	return versions, nil
}

// countingPublisher counts the events of the monitor.
type countingPublisher struct {
	kafka.EventPublisher
	app *App
}

// Publish implements drift.Publisher.
func (p countingPublisher) Publish(ctx context.Context, e schemas.Event) error {
	if err := p.EventPublisher.Publish(ctx, e); err != nil {
		return fmt.Errorf("publish %s event of %s: %w", e.Data.Kind, e.Subject, err)
	}
	p.app.Metrics.events.WithLabelValues(e.Data.Model, string(e.Data.Kind)).Inc()
	if e.Data.Kind == schemas.EventRetraining {
		p.app.Done.Retrainings.Add(1)
	}
	return nil
}
