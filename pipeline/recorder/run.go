package recorder

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/store"
)

// Run moves observations, dead letters, feedback and events into ClickHouse. The end of soft
// ends the intake, that of hard everything.
func Run(soft, hard context.Context, env *role.Env, m *Metrics) error {
	client, err := clickhouse.Open(env.Config.ClickHouseOptions(env.Log))
	if err != nil {
		return err
	}
	defer client.Close() // nothing is pending: every insert is awaited
	if err := env.Retry(soft, client.Migrate); err != nil {
		return role.Orderly(soft, err)
	}
	began := time.Now()
	if err := env.Retry(soft, func(ctx context.Context) error { return reconcile(ctx, env.Log, client, began) }); err != nil {
		return role.Orderly(soft, err)
	}
	if err := env.NeedTopics(soft); err != nil {
		return role.Orderly(soft, err)
	}
	t := env.Config.Topics
	into := store.New(client, t.Topics, env.Memory)
	r := consumers.NewRecorder(consumers.RecorderConfig{
		Connection: env.Connection(), Group: env.Group(env.Config.Recorder.Group),
		Topics:    into.Topics(),
		FlushRows: env.Config.Recorder.FlushRows, FlushBytes: env.Config.Recorder.FlushBytes, FlushInterval: env.Config.Recorder.FlushInterval,
		InsertDeadline: env.Config.Recorder.InsertDeadline, Repairs: verify.LeaseGroup(t.Topics), Health: env.Health(1),
	}, env.Log)
	m.readers.Watch(t.ModelOf, r)
	endKeeper, err := keep(soft, env, client, m)
	if err != nil {
		return err
	}
	defer endKeeper()
	into.OnWait(env.Health(2))
	env.Began()
	return r.Run(soft, hard, countingStore{into, m, env.Done, env.Health(0)})
}

// reconciled is how far back a starting recorder compares minute statistics with rows. A range
// that was being stored when a recorder ended is announced, and is reconciled when it is stored
// again: this comparison finds the differences that no announcement tells of.
const reconciled = time.Hour

func reconcile(ctx context.Context, log zerolog.Logger, client *clickhouse.Client, now time.Time) error {
	models, err := client.Models(ctx)
	if err != nil {
		return err
	}
	for _, model := range models {
		repaired, err := client.Reconcile(ctx, model, now.Add(-reconciled), time.Now())
		if err != nil {
			return err
		}
		if repaired > 0 {
			log.Warn().Str("model", model).Int("minutes", repaired).Msg("minute statistics differed from the rows and were derived anew")
		}
	}
	return nil
}

// countingStore counts what is stored.
type countingStore struct {
	store   *store.Store
	metrics *Metrics
	done    *role.Progress
	health  func(err error) // of the store, beside that of the recorder's session
}

// Now implements consumers.Storer.
func (s countingStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		s.health(err)
	}
	return now, err
}

// Empty implements consumers.Storer.
func (s countingStore) Empty(ctx context.Context, topic string) (bool, error) {
	empty, err := s.store.Empty(ctx, topic)
	if err != nil {
		s.health(err)
	}
	return empty, err
}

// Claim implements consumers.Storer.
func (s countingStore) Claim(ctx context.Context, topic string, id uuid.UUID, group, from string) (schemas.Claim, error) {
	claim, err := s.store.Claim(ctx, topic, id, group, from)
	s.health(err)
	return claim, err
}

// Settle implements consumers.Storer.
func (s countingStore) Settle(ctx context.Context, lease schemas.Lease) error {
	err := s.store.Settle(ctx, lease)
	if err != nil {
		s.health(err)
	}
	return err
}

// Store implements consumers.Storer.
func (s countingStore) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	stats, err := s.store.Store(ctx, records, replay, lease)
	s.health(err)
	for table, rows := range map[string]int{
		"observations": stats.Observations, "feedback": stats.Feedback, "dead_letters": stats.DeadLetters, "events": stats.Events,
	} {
		s.metrics.stored.WithLabelValues(table).Add(float64(rows))
	}
	s.done.Observations.Add(int64(stats.Observations))
	s.done.Labels.Add(int64(stats.Feedback))
	return stats.Inserts, err
}
