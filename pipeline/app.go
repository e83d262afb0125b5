package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/registry"
	"github.com/millrace/millrace/inference"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/verify"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/kafka"
)

// ErrDrainTimeout says that a shutdown took longer than drain_timeout. Nothing is lost by
// it: what was in hand comes again after the restart.
var ErrDrainTimeout = errors.New("pipeline: drain_timeout passed before everything in hand was finished")

// App is one millrace process: some or all of the roles.
type App struct {
	cfg     config.Config
	log     zerolog.Logger
	alloc   memory.Allocator
	ready   *readiness
	begun   sync.Map // of Role: it was set up
	Metrics *Metrics
	Done    Progress
}

// Progress counts what the roles of this process have done. It may be read at any time.
type Progress struct {
	Answered     atomic.Int64 // requests with a result
	DeadLetters  atomic.Int64
	Observations atomic.Int64 // rows stored
	Labels       atomic.Int64 // rows stored
	Ticks        atomic.Int64 // finished passes of the monitor
	Retrainings  atomic.Int64 // retraining events published
}

// New prepares an App. cfg must be valid.
func New(cfg config.Config, log zerolog.Logger) *App {
	return &App{cfg: cfg, log: log, alloc: memory.NewGoAllocator(), ready: newReadiness(), Metrics: NewMetrics()}
}

// Ready tells whether every role of the process is ready to do its work.
func (a *App) Ready() bool {
	ready, _ := a.ready.snapshot()
	return ready
}

// endGrace is how long a role may take to end once it is cut off: enough for the runtime to
// finish its run, which nothing interrupts.
const endGrace = 5 * time.Second

// Run runs the roles until ctx ends, then lets them finish what they have in hand, for at
// most drain_timeout. It returns nil after an orderly end. A role that cannot be set up, such
// as by its configuration or its models, ends the others. One that fails when it has begun its
// work is stopped, unready and named, and the others go on: Run returns why when ctx has ended,
// or when no role is left. A role that does not end although it was cut off is left behind,
// and named in the error: the process is to end then.
func (a *App) Run(ctx context.Context) error {
	defer SetGCPercent()()
	return a.run(ctx, map[config.Role]runRole{config.RoleWorker: a.runWorker, config.RoleRecorder: a.runRecorder, config.RoleMonitor: a.runMonitor})
}

// SetGCPercent lets the process collect garbage as one with roles does, until restore.
func SetGCPercent() (restore func()) {
	// Collecting more often than by default costs little here: buffers are used again, so that there
	// is little garbage, and most of what is live is bytes, which are not scanned. The heap is
	// smaller for it. GOGC, where it is set, decides instead.
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(gcPercent)
	return func() { debug.SetGCPercent(before) }
}

// gcPercent is how much the heap may grow between two collections, in percent of what is live.
const gcPercent = 50

// runRole runs one role until soft ends, finishing what it has in hand under hard.
type runRole func(soft, hard context.Context) error

// run runs the roles under three contexts. Each ends those below it.
//
//	hard      ends drain_timeout after ctx: whatever still works is cut off
//	groupCtx  ends when a role or the admin endpoint cannot be set up: the roles are cut off
//	soft      ends with ctx, or when no role is left: the intake stops
//
// To the roles soft is soft and groupCtx is hard. A role that has not ended endGrace after
// groupCtx is left behind.
func (a *App) run(ctx context.Context, roles map[config.Role]runRole) error {
	hard, abort := context.WithCancelCause(context.WithoutCancel(ctx))
	defer abort(nil)
	group, groupCtx := errgroup.WithContext(hard)
	late, gaveUp := newRoll(a.cfg.Roles), make(chan struct{})
	defer context.AfterFunc(groupCtx, func() { time.AfterFunc(endGrace, func() { close(gaveUp) }) })()
	soft, stopIntake := context.WithCancel(groupCtx)
	defer stopIntake()
	defer context.AfterFunc(ctx, func() {
		a.log.Info().Dur("deadline", a.cfg.DrainTimeout).Msg("stopping: finishing what is in hand")
		stopIntake()
		time.AfterFunc(a.cfg.DrainTimeout, func() {
			late.cutOff()
			abort(ErrDrainTimeout)
		})
	})()

	for _, role := range []config.Role{config.RoleWorker, config.RoleRecorder, config.RoleMonitor} {
		if !slices.Contains(a.cfg.Roles, role) {
			continue
		}
		a.ready.set(string(role), "starting")
		a.Metrics.roleUp.WithLabelValues(string(role)).Set(0)
		group.Go(func() error { // ends with soft
			err := roles[role](soft, groupCtx)
			if err != nil {
				err = fmt.Errorf("%s: %w", role, err)
			}
			return a.ended(late, role, err, ctx.Err() != nil, stopIntake)
		})
	}
	if a.cfg.HTTP.Addr != "" {
		// The endpoint outlives the intake, so that a drain can be watched.
		adminCtx, stopAdmin := context.WithCancel(groupCtx)
		defer stopAdmin()
		admin := make(chan error, 1)
		go func() { admin <- serveAdmin(adminCtx, a.cfg.HTTP, a.Metrics, a.ready) }() // ends with adminCtx
		defer func() {
			stopAdmin()
			if err := <-admin; err != nil {
				a.log.Warn().Err(err).Msg("the admin endpoint did not end well")
			}
		}()
		group.Go(func() error {
			select {
			case err := <-admin:
				admin <- nil // the deferred wait has nothing left to tell
				return err
			case <-soft.Done():
				return nil
			}
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }() // ends with the roles
	var err error
	select {
	case err = <-ended:
	case <-gaveUp:
		err = context.Cause(groupCtx)
	}
	if text := late.String(); text != "" && errors.Is(context.Cause(hard), ErrDrainTimeout) {
		return errors.Join(late.failures(), fmt.Errorf("%w (%s): %s; what was in hand comes again after the restart", ErrDrainTimeout, a.cfg.DrainTimeout, text))
	}
	if stuck := late.stuck(); stuck != "" {
		return errors.Join(late.failures(), err, errors.New(stuck))
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(late.failures(), err)
}

// began notes that a role is set up and does its work: from now on it fails alone.
func (a *App) began(role config.Role) {
	a.begun.Store(role, true)
	a.Metrics.roleUp.WithLabelValues(string(role)).Set(1)
	a.ready.set(string(role), "")
}

// ended notes how a role has ended. It returns the error of a role that could not be set up, which
// ends the others. When no role is left it calls done, which ends what runs beside them.
func (a *App) ended(late *roll, role config.Role, err error, stopping bool, done func()) error {
	a.Metrics.roleUp.WithLabelValues(string(role)).Set(0)
	_, begun := a.begun.Load(role)
	left := late.ended(role, err, begun && (!stopping || !errors.Is(err, context.Canceled)))
	switch {
	case !begun:
		return err
	case err != nil && !stopping:
		a.ready.set(string(role), "stopped: "+err.Error())
		a.log.Error().Err(err).Str("role", string(role)).Int("left", left).Msg("the role has stopped; the roles that are left go on")
	}
	if left == 0 {
		done()
	}
	return nil
}

func (a *App) connection() consumers.Connection { return a.cfg.Kafka.Connection() }

func (a *App) group(name string) consumers.Group {
	return consumers.Group{Name: name, SessionTimeout: a.cfg.Kafka.SessionTimeout, Unreadable: a.cfg.Consumers.Unreadable}
}

// retry runs what until it succeeds or ctx ends, telling readiness what it waits for.
func (a *App) retry(ctx context.Context, role config.Role, what func(ctx context.Context) error) error {
	last := ""
	for backoff := 100 * time.Millisecond; ; backoff = min(2*backoff, 5*time.Second) {
		err := what(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if permanent, ok := errors.AsType[*permanentError](err); ok {
			return permanent.error
		}
		a.ready.set(string(role), err.Error())
		if text := err.Error(); text != last { // once, not at each try
			last = text
			a.log.Warn().Err(err).Str("role", string(role)).Msg("not ready; waiting (is Kafka, and ClickHouse, there? `millrace dev` runs both)")
		}
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// permanentError is one that no retry mends.
type permanentError struct{ error }

// needTopics waits for Kafka and checks that the topics are there and large enough.
func (a *App) needTopics(ctx context.Context, role config.Role, models []string) error {
	admin, err := consumers.NewAdmin(a.connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	return a.retry(ctx, role, func(ctx context.Context) error {
		problems, err := admin.CheckTopics(ctx, a.cfg.Topics.Specs(models, a.cfg.Topics.TopicSettings))
		if err != nil {
			return err
		}
		for _, p := range problems {
			if p.Missing { // whoever makes the topics may just be about to
				return fmt.Errorf("topic %s", p)
			}
			a.log.Warn().Str("topic", p.Topic).Msg(p.What)
		}
		return nil
	})
}

// needResultPartitions checks that each model's results topic has a partition for each of
// its requests topic: results take their request's partition number.
func (a *App) needResultPartitions(ctx context.Context, models []string) error {
	return withAdmin(a.cfg, func(admin *consumers.Admin) error {
		return a.retry(ctx, config.RoleWorker, func(ctx context.Context) error {
			for _, m := range models {
				requests, results := a.cfg.Topics.RequestsOf(m), a.cfg.Topics.ResultsOf(m)
				n, err := admin.Partitions(ctx, requests, results)
				if err != nil {
					return err
				}
				if n[results] < n[requests] {
					return &permanentError{fmt.Errorf("topic %s has %d partitions and %s has %d: results take their request's partition number; "+
						"set topics.partitions and run `millrace topics apply`", results, n[results], requests, n[requests])}
				}
			}
			return nil
		})
	})
}

// runWorker answers requests: one goroutine a lane, each with its own instances.
func (a *App) runWorker(soft, hard context.Context) error {
	models, err := catalog.Served(soft, a.cfg)
	if err != nil {
		return err
	}
	if err := catalog.TryAll(soft, a.cfg.Models, models); err != nil {
		return orderly(soft, err)
	}
	handlers := make([]*laneHandler, 0, a.cfg.Worker.Lanes)
	defer func() {
		for _, h := range handlers {
			if err := h.Close(); err != nil {
				a.log.Warn().Err(err).Msg("closing a lane's models failed")
			}
		}
	}()
	admin, err := consumers.NewAdmin(a.connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	parts := workerParts{runtime: catalog.Runtimes(a.log), past: admin}
	if a.cfg.Registry.URL != "" {
		client, err := registry.New(a.cfg.Registry.Client())
		if err != nil {
			return err
		}
		defer client.Close()
		parts.registry = client
		if err := a.needResultSchemas(soft, models, client); err != nil {
			return orderly(soft, err)
		}
	}
	for lane := range a.cfg.Worker.Lanes {
		h, err := newLaneHandler(soft, a.cfg, lane, models, parts, a.alloc, a.Metrics, &a.Done)
		if err != nil {
			return err
		}
		handlers = append(handlers, h)
	}
	for _, m := range models {
		a.log.Info().Str("model", m.Manifest.Name).Str("version", m.Manifest.Version).Int("lanes", a.cfg.Worker.Lanes).Msg("model ready")
	}
	if err := a.needTopics(soft, config.RoleWorker, catalog.Names(models)); err != nil {
		return orderly(soft, err)
	}
	if err := a.needResultPartitions(soft, catalog.Names(models)); err != nil {
		return orderly(soft, err)
	}
	start := newStarter(a.cfg, a.log, admin)
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
			Connection: a.connection(), Group: a.group(a.cfg.Worker.Group),
			Delivery: a.cfg.Worker.Delivery, Static: a.cfg.Worker.StaticMembership,
			Instance: a.cfg.Instance, Lane: lane, TopicPrefix: a.cfg.Topics.Requests,
			MaxRecords: a.cfg.Worker.MaxBatchRows, MaxBytes: a.cfg.Topics.MaxBytes, TransactionTimeout: a.cfg.Worker.TransactionTimeout,
			Start: start.Start, Lost: lost, SetAside: h.setAside, Health: a.health(config.RoleWorker, lane),
		}, a.log)
		group.Go(func() { // ends with soft
			defer stop() // where one lane cannot go on, the others finish what they have in hand
			errs[lane] = l.Run(lanesSoft, hard, h)
		})
	}
	a.began(config.RoleWorker)
	group.Wait()
	return errors.Join(errs...)
}

// needResultSchemas waits for the Schema Registry to take the schemas of the results.
func (a *App) needResultSchemas(ctx context.Context, models []*inference.Model, client *registry.Client) error {
	for _, m := range models {
		encoding := a.cfg.Worker.Codec(m.Manifest.Name)
		if encoding != codec.Avro && encoding != codec.Protobuf {
			continue
		}
		err := a.retry(ctx, config.RoleWorker, func(ctx context.Context) error {
			requests, _, err := codec.New(ctx, encoding, m.Manifest, codec.Options{Registry: client, Subject: a.cfg.Topics.ResultsOf(m.Manifest.Name) + "-value"}, a.alloc)
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

// health returns a function that makes a role unready while one of its parts fails. It may
// be called by several goroutines.
func (a *App) health(role config.Role, part int) func(err error) {
	name := fmt.Sprintf("%s %d", role, part)
	var mu sync.Mutex
	failing := false
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil && !failing {
			return
		}
		if failing = err != nil; failing {
			a.ready.set(name, err.Error())
		} else {
			a.ready.set(name, "")
		}
	}
}

// orderly turns the error of a start that a shutdown interrupted into none.
func orderly(soft context.Context, err error) error {
	if soft.Err() != nil {
		return nil //nolint:nilerr // what failed is the start of what is no longer wanted
	}
	return err
}

func (a *App) openClickHouse() (*clickhouse.Client, error) {
	return clickhouse.Open(a.cfg.ClickHouseOptions(a.log))
}

// runRecorder moves observations, dead letters, feedback and events into ClickHouse.
func (a *App) runRecorder(soft, hard context.Context) error {
	client, err := a.openClickHouse()
	if err != nil {
		return err
	}
	defer client.Close() // nothing is pending: every insert is awaited
	if err := a.retry(soft, config.RoleRecorder, client.Migrate); err != nil {
		return orderly(soft, err)
	}
	began := time.Now()
	if err := a.retry(soft, config.RoleRecorder, func(ctx context.Context) error { return a.reconcile(ctx, client, began) }); err != nil {
		return orderly(soft, err)
	}
	if err := a.needTopics(soft, config.RoleRecorder, nil); err != nil {
		return orderly(soft, err)
	}
	t := a.cfg.Topics
	store := clickhouse.NewStore(client, t.Topics, a.alloc)
	r := consumers.NewRecorder(consumers.RecorderConfig{
		Connection: a.connection(), Group: a.group(a.cfg.Recorder.Group),
		Topics:    store.Topics(),
		FlushRows: a.cfg.Recorder.FlushRows, FlushBytes: a.cfg.Recorder.FlushBytes, FlushInterval: a.cfg.Recorder.FlushInterval,
		InsertDeadline: a.cfg.Recorder.InsertDeadline, Repairs: verify.LeaseGroup(t.Topics), Health: a.health(config.RoleRecorder, 1),
	}, a.log)
	endKeeper, err := a.keep(soft, client)
	if err != nil {
		return err
	}
	defer endKeeper()
	store.OnWait(a.health(config.RoleRecorder, 2))
	a.began(config.RoleRecorder)
	return r.Run(soft, hard, recorderStore{store, a, a.health(config.RoleRecorder, 0)})
}

// reconciled is how far back a starting recorder compares minute statistics with rows. A range
// that was being stored when a recorder ended is announced, and is reconciled when it is stored
// again: this comparison finds the differences that no announcement tells of.
const reconciled = time.Hour

func (a *App) reconcile(ctx context.Context, client *clickhouse.Client, now time.Time) error {
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
			a.log.Warn().Str("model", model).Int("minutes", repaired).Msg("minute statistics differed from the rows and were derived anew")
		}
	}
	return nil
}

// recorderStore counts what is stored.
type recorderStore struct {
	store  *clickhouse.Store
	app    *App
	health func(err error) // of the store, beside that of the recorder's session
}

// Now implements consumers.Storer.
func (s recorderStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.store.Now(ctx)
	if err != nil {
		s.health(err)
	}
	return now, err
}

// Empty implements consumers.Storer.
func (s recorderStore) Empty(ctx context.Context, topic string) (bool, error) {
	empty, err := s.store.Empty(ctx, topic)
	if err != nil {
		s.health(err)
	}
	return empty, err
}

// Claim implements consumers.Storer.
func (s recorderStore) Claim(ctx context.Context, topic string, id uuid.UUID, group, from string) (schemas.Claim, error) {
	claim, err := s.store.Claim(ctx, topic, id, group, from)
	s.health(err)
	return claim, err
}

// Settle implements consumers.Storer.
func (s recorderStore) Settle(ctx context.Context, lease schemas.Lease) error {
	err := s.store.Settle(ctx, lease)
	if err != nil {
		s.health(err)
	}
	return err
}

// Store implements consumers.Storer.
func (s recorderStore) Store(ctx context.Context, records []schemas.Record, replay bool, lease schemas.Lease) (int, error) {
	stats, err := s.store.Store(ctx, records, replay, lease)
	s.health(err)
	for table, rows := range map[string]int{
		"observations": stats.Observations, "feedback": stats.Feedback, "dead_letters": stats.DeadLetters, "events": stats.Events,
	} {
		s.app.Metrics.stored.WithLabelValues(table).Add(float64(rows))
	}
	s.app.Done.Observations.Add(int64(stats.Observations))
	s.app.Done.Labels.Add(int64(stats.Feedback))
	return stats.Inserts, err
}

// newProducer opens a producer for small traffic.
func (a *App) newProducer() (*kafka.Producer, error) {
	return kafka.NewProducer(a.connection().Dial, 10_000, a.cfg.Topics.MaxBytes)
}
