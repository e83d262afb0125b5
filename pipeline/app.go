package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow/memory"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/monitor"
	"github.com/millrace/millrace/pipeline/recorder"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/pipeline/web"
	"github.com/millrace/millrace/pipeline/worker"
)

// ErrDrainTimeout says that a shutdown took longer than drain_timeout. Nothing is lost by
// it: what was in hand comes again after the restart.
var ErrDrainTimeout = errors.New("pipeline: drain_timeout passed before everything in hand was finished")

// App is one millrace process: some or all of the roles.
type App struct {
	cfg     config.Config
	log     zerolog.Logger
	alloc   memory.Allocator
	ready   *role.Readiness
	kafka   consumers.Connection
	begun   sync.Map // of Role: it was set up
	Metrics *Metrics
	Done    role.Progress
}

// New prepares an App. cfg must be valid.
func New(cfg config.Config, log zerolog.Logger) *App {
	a := &App{cfg: cfg, log: log, alloc: memory.NewGoAllocator(), ready: role.NewReadiness(), kafka: cfg.Kafka.Connection(), Metrics: NewMetrics()}
	a.kafka.Access = role.NewAccess(a.ready, log).Tell
	return a
}

// Ready tells whether every role of the process is ready to do its work.
func (a *App) Ready() bool {
	ready, _ := a.ready.Snapshot()
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
	a.cfg.WarnPlainText(a.log)
	return a.run(ctx, map[config.Role]runRole{
		config.RoleWorker: func(soft, hard context.Context) error {
			return worker.Run(soft, hard, a.env(config.RoleWorker), a.Metrics.Worker)
		},
		config.RoleRecorder: func(soft, hard context.Context) error {
			return recorder.Run(soft, hard, a.env(config.RoleRecorder), a.Metrics.Recorder)
		},
		config.RoleMonitor: func(soft, hard context.Context) error {
			return monitor.Run(soft, hard, a.env(config.RoleMonitor), a.Metrics.Monitor)
		},
	})
}

// env is what a role gets from this process.
func (a *App) env(r config.Role) *role.Env {
	return &role.Env{
		Role: r, Config: a.cfg, Kafka: a.kafka, Log: a.log, Memory: a.alloc, Ready: a.ready, Done: &a.Done, Began: func() { a.began(r) },
	}
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
//	groupCtx  ends when a role or the admin port cannot be set up: the roles are cut off
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
		a.ready.Set(string(role), "starting")
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
		// The port outlives the intake, so that a drain can be watched.
		adminCtx, stopAdmin := context.WithCancel(groupCtx)
		defer stopAdmin()
		admin := make(chan error, 1)
		go func() { admin <- web.Serve(adminCtx, a.cfg.HTTP, a.Metrics.Registry, a.ready.Snapshot) }() // ends with adminCtx
		defer func() {
			stopAdmin()
			if err := <-admin; err != nil {
				a.log.Warn().Err(err).Msg("the admin port did not end well")
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
	a.ready.Set(string(role), "")
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
		a.ready.Set(string(role), "stopped: "+err.Error())
		a.log.Error().Err(err).Str("role", string(role)).Int("left", left).Msg("the role has stopped; the roles that are left go on")
	}
	if left == 0 {
		done()
	}
	return nil
}
