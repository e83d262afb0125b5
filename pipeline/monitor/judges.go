package monitor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/breaks"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/pipeline/jobs"
	"github.com/millrace/millrace/pipeline/role"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// judges are the work on the models that this process owns, by partition. Passes go over one after the
// other, so that a process asks as much of ClickHouse at a time whatever it owns.
type judges struct {
	env     *role.Env
	metrics *Metrics
	watch   *watch
	owned   chan struct{} // a partition was got: a pass is due
	counted chan struct{} // the one of the labels was
	// profiled is owned for the profiles, watched for the breaks.
	profiled, watched chan struct{}
	client            *clickhouse.Client

	mu sync.Mutex
	by map[int32]*judge
}

// judge is the work on the models of one partition. What it remembers is read back by its next owner.
type judge struct {
	*jobs.Owner
	ctx      context.Context //nolint:containedctx // of the ownership: what is done within it ends with it
	monitor  *drift.Monitor
	reporter *report.Reporter
	profiles *profiles
	breaks   *breaks.Watcher
	labels   *history.LabelCounter // of all models; nil: another partition's owner counts

	busy sync.RWMutex // held for reading by whoever is at work
}

func newJudges(env *role.Env, m *Metrics, w *watch, client *clickhouse.Client) *judges {
	return &judges{
		env: env, metrics: m, watch: w, client: client, by: map[int32]*judge{},
		owned: make(chan struct{}, 1), counted: make(chan struct{}, 1), profiled: make(chan struct{}, 1), watched: make(chan struct{}, 1),
	}
}

// judge lets passes judge the owner's models until ctx ends, and returns when none is at it any more.
func (j *judges) judge(ctx context.Context, own *jobs.Owner) error {
	store := history.New(own, j.env.Config.ClickHouse.Database)
	judging := drift.DefaultConfig()
	judging.ReportLink = report.Link(j.env.Config.Monitor.ReportsURL)
	reports := report.DefaultConfig()
	reports.Dir = j.env.Config.Monitor.ReportsDir
	schedule, err := j.env.Config.Monitor.Schedule()
	if err != nil {
		return err
	}
	if schedule != nil {
		reports.Due = schedule.Last
	}
	reports.Indexed = func() []drift.Version { return j.watch.versions(ctx, time.Now()) }
	publisher := countingPublisher{own, j.metrics, j.env.Done}
	o := &judge{
		Owner: own, ctx: ctx, monitor: drift.NewMonitor(judging, store, publisher, j.env.Log),
		breaks:   breaks.NewWatcher(breaks.DefaultConfig(), store, publisher, j.env.Log),
		reporter: report.NewReporter(reports, store, j.env.Log),
		profiles: newProfiles(history.NewProfiler(j.client, j.env.Config.ClickHouse.Database), store, j.env.Log),
	}
	if own.Partition() == 0 {
		o.labels = history.NewLabelCounter(store)
	}
	j.mu.Lock()
	j.by[own.Partition()] = o
	j.mu.Unlock()
	wake(j.owned)
	wake(j.profiled)
	wake(j.watched)
	if o.labels != nil {
		wake(j.counted)
	}
	j.env.Log.Info().Int32("partition", own.Partition()).Msg("this process does the work on the models of a partition")
	<-ctx.Done()
	j.mu.Lock()
	delete(j.by, own.Partition())
	j.mu.Unlock()
	o.busy.Lock() // for ever: whoever is at work has ended, and nobody begins
	return nil
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// each does something with each partition that is owned, one after the other. One that fails does not keep the others
// from theirs.
func (j *judges) each(do func(o *judge) error) error {
	j.mu.Lock()
	partitions := slices.Sorted(maps.Keys(j.by))
	j.mu.Unlock()
	var errs []error
	for _, p := range partitions {
		j.mu.Lock()
		o := j.by[p]
		j.mu.Unlock()
		if o == nil || !o.busy.TryRLock() {
			continue // it was given up
		}
		err := do(o)
		o.busy.RUnlock()
		if o.ctx.Err() == nil { // else it was given up, and what was begun is the next owner's
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// of returns the versions of the models that a partition's owner judges.
func (j *judges) of(o *judge, now time.Time) []drift.Version {
	return slices.DeleteFunc(j.watch.versions(o.ctx, now), func(v drift.Version) bool { return !o.Owns(v.Manifest.Name) })
}

func (j *judges) tick(o *judge, now time.Time) error {
	stats, err := o.monitor.Tick(o.ctx, now, j.of(o, now))
	j.metrics.learning(stats.Learning)
	return err
}

// breakInterval is the time between two looks for sudden breaks. Recorders store within a second or two.
const breakInterval = time.Second

func (j *judges) watchBreaks(o *judge, now time.Time) error {
	var manifests []*schemas.Manifest
	for _, v := range j.of(o, now) {
		manifests = append(manifests, v.Manifest)
	}
	return o.breaks.Tick(o.ctx, now, manifests)
}

// countingPublisher counts the events of the monitor.
type countingPublisher struct {
	drift.Publisher
	metrics *Metrics
	done    *role.Progress
}

// Publish implements drift.Publisher.
func (p countingPublisher) Publish(ctx context.Context, e schemas.Event) error {
	if err := p.Publisher.Publish(ctx, e); err != nil {
		return err // the monitor says of which window
	}
	p.metrics.events.WithLabelValues(e.Data.Model, string(e.Data.Kind)).Inc()
	if e.Data.Kind == schemas.EventRetraining {
		p.done.Retrainings.Add(1)
	}
	return nil
}
