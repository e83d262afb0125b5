package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/millrace/millrace/consumers"
	"github.com/millrace/millrace/consumers/kafkatest"
)

// Summary is the outcome of a run, which is printed as one line of JSON.
type Summary struct {
	OK              bool            `json:"ok"`
	Seed            uint64          `json:"seed"`
	Kafka           string          `json:"kafka"`
	Brokers         int             `json:"brokers"`
	TLS             bool            `json:"tls"`
	Requests        int             `json:"requests"`
	Results         int             `json:"results"`
	Observations    int             `json:"observations"` // rows in ClickHouse
	DeadLetters     int             `json:"dead_letters"`
	Duplicates      int             `json:"duplicates"` // of all of the above
	Lost            int             `json:"lost"`
	Reordered       int             `json:"reordered"`
	Wrong           int             `json:"wrong"` // answers, coordinates, classes and minutes
	Faults          int             `json:"faults"`
	Incidents       int             `json:"incidents"`
	Demanded        int             `json:"demanded"`  // times that a role had to say something; what was not said is a finding
	Effective       int             `json:"effective"` // faults that were felt: a connection was cut or held up, a process stopped or ended
	Kinds           map[Kind]int    `json:"kinds"`
	WorkerPeakRSS   int64           `json:"worker_peak_rss_bytes"`
	RecorderPeakRSS int64           `json:"recorder_peak_rss_bytes"`
	Rest            map[string]Rest `json:"rest"` // before and after, of those that lived through the run
	LoadSeconds     float64         `json:"load_seconds"`
	DrainSeconds    float64         `json:"drain_seconds"`     // from the end of load and faults until all is stored
	Unstuck         int             `json:"unstuck,omitempty"` // restarts of the embedded Kafka because it waited for dead members; see deploy/README.md
	Findings        []string        `json:"findings,omitempty"`
	Dir             string          `json:"dir,omitempty"` // data and logs, where they are kept
}

// Run does a run. What is not as it must be is told on report, with the faults around its
// time, and makes the Summary not OK; an error is a run that could not be finished.
func Run(ctx context.Context, o Options, log zerolog.Logger, report io.Writer) (*Summary, error) {
	r, err := newRun(o, log)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(report, "seed %d: %d faults over %s and %d incidents; data and logs in %s\n", o.Seed, len(r.plan.Faults), r.plan.Length.Round(time.Second), len(r.plan.Incidents), r.o.Dir)
	for _, f := range r.plan.Faults {
		fmt.Fprintln(report, " ", f)
	}
	for _, in := range r.plan.Incidents {
		fmt.Fprintln(report, "  then", in)
	}
	err = r.all(ctx)
	s := r.summary()
	r.tell(report)
	if s.OK = err == nil && len(r.findings) == 0; s.OK && !o.Keep {
		if err := os.RemoveAll(r.o.Dir); err != nil {
			return s, fmt.Errorf("delete data and logs: %w", err)
		}
		return s, nil
	}
	s.Dir = r.o.Dir
	if !s.OK {
		fmt.Fprintf(report, "again: %s\nThe plan began at %s; data and logs stay in %s\n", o.Command(), r.began.UTC().Format(time.TimeOnly), s.Dir)
	}
	return s, err
}

// run is a run on its way.
type run struct {
	o        Options
	log      zerolog.Logger
	plan     Plan
	topology Topology
	load     load
	cluster  *cluster
	watch    *watch
	began    time.Time // of the plan
	loaded   time.Duration
	drained  time.Duration
	hung     bool // nothing moved for a while

	op         *kafkatest.Operator
	happened   []happened
	amid       int               // faults, amid incidents
	flowed     chan struct{}     // closed when the requests of the incident have been sent
	unfinished bool              // not everything was answered and stored in time
	kept       evidence          // of topics that were deleted
	unreadable []kafkatest.Batch // that were produced
	skipped    []kafkatest.Batch // the unreadable ones that become dead letters

	unstuck  int
	tally    *Tally
	findings []Finding
}

func newRun(o Options, log zerolog.Logger) (*run, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "millrace-chaos-")
		if err != nil {
			return nil, fmt.Errorf("make a directory for data and logs: %w", err)
		}
		o.Dir = dir
	}
	var err error
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("directory for data and logs: %w", err)
	}
	r := &run{o: o, log: log, tally: &Tally{}}
	r.topology = Topology{Workers: o.Workers, Recorders: o.Recorders, Brokers: o.Brokers, KillBrokers: o.Kafka == RealKafka, Only: o.Only}
	r.plan = NewPlan(o.Seed, o.Faults, r.topology, o.Outage)
	r.plan.Incidents = NewIncidents(o.Seed, o.Incidents, r.topology)
	return r, nil
}

// step is one part of a run.
type step struct {
	what string
	do   func(ctx context.Context) error
}

// steps are all that is done between start and close, in order.
func (r *run) steps() []step {
	return []step{
		{"the first requests flow, without faults", r.warmUp},
		{"requests flow, and faults happen", r.play},
		{"waiting until everything is stored", r.settle},
		{"looking for what has grown", r.rest},
		{"incidents happen, one after the other", r.incidents},
		{"ending every process in order", r.end},
		{"reading everything", r.verify},
	}
}

// all does everything, and leaves nothing running.
func (r *run) all(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	for _, step := range r.steps() {
		r.log.Info().Msg(step.what)
		if err := step.do(ctx); err != nil {
			return errors.Join(err, r.close())
		}
	}
	return r.close()
}

// rest looks for growth.
func (r *run) rest(ctx context.Context) error {
	r.findings = append(r.findings, r.watch.Judge(ctx, r.o.Bounds)...)
	return nil
}

// end ends every role in order, which must succeed now. Then it waits for what may come late:
// ClickHouse takes a recorder's inserts until their deadlines.
func (r *run) end(ctx context.Context) error {
	if err := r.cluster.Terminate(ctx); err != nil {
		r.findings = append(r.findings, Finding{What: "orderly end: " + err.Error()})
	}
	if err := sleep(ctx, r.cluster.cfg.Recorder.InsertDeadline); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return r.cluster.noInserts(ctx)
}

func (r *run) start(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var err error
	if r.cluster, err = startCluster(starting, r.o, r.topology, r.o.Dir, r.log); err != nil {
		return fmt.Errorf("start the processes: %w", err)
	}
	if r.op, err = kafkatest.DialOperator(r.cluster.cfg.Kafka.Connection().Dial); err != nil {
		return errors.Join(err, r.cluster.Close())
	}
	r.load = load{total: r.o.Requests, topic: r.cluster.cfg.Topics.RequestsOf(model)}
	spared := slices.DeleteFunc(slices.Sorted(maps.Keys(r.cluster.roles)), func(name string) bool { return !r.topology.spared(name) })
	r.watch = watchCluster(ctx, r.cluster, spared)
	return nil
}

func (r *run) close() error {
	r.watch.Close()
	r.op.Close()
	return r.cluster.Close()
}

const (
	// warmth is how long the first requests flow, before what processes take at rest is
	// measured: by then each has done its work.
	warmth = 4 * time.Second
	// lead is how long requests flow again before the first fault.
	lead = time.Second
)

// first is how many requests flow without faults.
func (r *run) first() int { return r.load.total / 10 }

// flooded is how many have been sent when the faults are over: the others are for incidents.
func (r *run) flooded() int {
	if len(r.plan.Incidents) == 0 {
		return r.load.total
	}
	return r.load.total - r.load.total/3
}

// warmUp sends the first requests and measures the roles when these are stored.
func (r *run) warmUp(ctx context.Context) error {
	if err := r.load.Produce(ctx, r.cluster.cfg.Kafka.Connection(), 0, r.first(), warmth); err != nil {
		return fmt.Errorf("send the first requests: %w", err)
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.watch.Begin(ctx)
	return nil
}

// play sends the requests, and meanwhile does the faults.
func (r *run) play(ctx context.Context) error {
	began := time.Now()
	defer func() { r.loaded = time.Since(began) }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := r.load.Produce(ctx, r.cluster.cfg.Kafka.Connection(), r.first(), r.flooded(), lead+r.plan.Length); err != nil {
			return fmt.Errorf("send the requests: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		if err := sleep(ctx, lead); err != nil {
			return err
		}
		r.began = time.Now()
		for _, f := range r.plan.Faults {
			if err := sleep(ctx, time.Until(r.began.Add(f.At))); err != nil {
				return err
			}
			r.log.Info().Msg(f.String())
			group.Go(func() error { return r.cluster.Do(ctx, f) })
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return err
	}
	return r.cluster.revive(ctx)
}

// stuck is how long nothing moves until the embedded Kafka is started again, if a group of it has
// members that are dead. A start ends their sessions. Apache Kafka needs no such help, and where no
// member is dead something of ours hangs, which is a finding.
const stuck = 30 * time.Second

// settle waits until every request is answered and every row stored.
func (r *run) settle(ctx context.Context) error {
	began := time.Now()
	defer func() { r.drained = time.Since(began) }()
	cfg := r.cluster.cfg
	admin, err := consumers.NewAdmin(cfg.Kafka.Connection())
	if err != nil {
		return err
	}
	defer admin.Close()
	t := cfg.Topics
	// In this order: what comes later in the way of the data ends later.
	left := func() (what, role string, err error) {
		for _, step := range []struct {
			what, role string
			left       func() (int64, error)
		}{
			{"requests are not answered", "worker", func() (int64, error) { return admin.Lag(ctx, cfg.Worker.Group, t.RequestsOf(model)) }},
			{"offsets belong to open transactions", "", func() (int64, error) {
				return admin.Undecided(ctx, t.RequestsOf(model), t.ResultsOf(model), t.Observations, t.DeadLetters)
			}},
			{"offsets are not stored", "recorder", func() (int64, error) { return admin.Lag(ctx, cfg.Recorder.Group, t.Observations, t.DeadLetters) }},
		} {
			n, err := step.left()
			if err != nil {
				return "", "", err
			}
			if n > 0 {
				return fmt.Sprintf("%d %s", n, step.what), step.role, nil
			}
		}
		return "", "", nil
	}
	last, moved := "", began
	for {
		what, role, err := left()
		if what == "" && err == nil {
			return nil
		}
		if what != last {
			last, moved = what, time.Now()
		}
		if time.Since(moved) > stuck && r.o.Kafka == EmbeddedKafka && !r.hung {
			r.hung, moved = true, time.Now()
			if err := r.unstick(ctx, admin, role, what); err != nil {
				return err
			}
		}
		if time.Since(began) > r.o.Patience {
			r.unfinished = true
			r.findings = append(r.findings, Finding{What: fmt.Sprintf("not finished %s after the last fault: %s %v", r.o.Patience, what, err), At: time.Now()})
			return nil // it is a finding, and what is there can be verified
		}
		if err := sleep(ctx, 250*time.Millisecond); err != nil {
			return err
		}
	}
}

// unstick starts the embedded Kafka again where it waits for dead members of a role's group.
func (r *run) unstick(ctx context.Context, admin *consumers.Admin, role, what string) error {
	group, ok := map[string]string{"worker": r.cluster.cfg.Worker.Group, "recorder": r.cluster.cfg.Recorder.Group}[role]
	if !ok {
		r.findings = append(r.findings, Finding{What: fmt.Sprintf("nothing moved for %s: %s", stuck, what), At: time.Now()})
		return nil
	}
	state, members, err := admin.Members(ctx, group)
	alive := r.cluster.sessions(role)
	dead := ghosts(members, alive)
	if err != nil || len(dead) == 0 {
		r.findings = append(r.findings, Finding{
			What: fmt.Sprintf("nothing moved for %s: %s, and the broker is not why: %s is %q with the members %v of the sessions %v, error: %v",
				stuck, what, group, state, members, alive, err),
			At: time.Now(),
		})
		return nil
	}
	r.log.Warn().Str("left", what).Str("group", group).Str("state", state).Strs("dead_members", dead).Msg("the embedded Kafka waits for dead members; starting it again")
	r.unstuck++
	err = r.cluster.broker.Terminate(ctx, 0)
	if err == nil {
		err = r.cluster.broker.Start(ctx, 0)
	}
	if err != nil {
		return fmt.Errorf("start the embedded Kafka again: %w", err)
	}
	return nil
}

// ghosts names the clients that have more members in a group than sessions: those are dead,
// and hold up the living.
func ghosts(members, sessions map[string]int) []string {
	var dead []string
	for _, client := range slices.Sorted(maps.Keys(members)) {
		if n := members[client] - sessions[client]; n > 0 {
			dead = append(dead, fmt.Sprintf("%d of %s", n, client))
		}
	}
	return dead
}

// verify judges what is there.
func (r *run) verify(ctx context.Context) error {
	r.findings = append(r.findings, r.cluster.Findings()...) // first: what is wrong in the data may follow from them
	leaks, err := r.cluster.secured.leaks(r.o.Dir)
	if err != nil {
		return err
	}
	r.findings = append(r.findings, leaks...)
	e, err := collect(ctx, r.op, r.cluster.cfg, &r.kept, r.unreadable)
	if err != nil {
		return fmt.Errorf("read what is there: %w", err)
	}
	r.findings = append(r.findings, e.setAside(r.skipped, r.cluster.topicOf(requests))...)
	r.tally = judge(r.load, e)
	r.findings = append(r.findings, r.tally.Findings...)
	return nil
}

func (r *run) summary() *Summary {
	v := r.tally
	s := &Summary{
		Seed: r.o.Seed, Kafka: r.o.Kafka, Brokers: r.o.Brokers, TLS: r.o.TLS, Requests: v.Requests, Results: v.Results, Observations: v.Observations,
		DeadLetters: v.DeadLetters, Duplicates: v.Duplicates, Lost: v.Lost, Reordered: v.Reordered, Wrong: v.Wrong,
		Faults: len(r.plan.Faults) + r.amid, Incidents: len(r.happened), Kinds: r.plan.Kinds(), LoadSeconds: r.loaded.Seconds(), DrainSeconds: r.drained.Seconds(), Unstuck: r.unstuck,
	}
	if r.cluster != nil {
		s.Effective, s.Demanded = r.cluster.Effective(), r.cluster.Demanded()
	}
	if r.watch != nil {
		s.Rest = r.watch.Rests()
		s.WorkerPeakRSS, s.RecorderPeakRSS = r.watch.Peak("worker"), r.watch.Peak("recorder")
	}
	for _, f := range r.findings {
		s.Findings = append(s.Findings, f.What)
	}
	return s
}

// tell writes the findings to report; those around one fault stand together.
func (r *run) tell(report io.Writer) {
	for i, f := range r.findings {
		fmt.Fprintf(report, "NOT AS IT MUST BE: %s\n", f.What)
		faults := r.around(f.At)
		if i+1 < len(r.findings) && slices.Equal(faults, r.around(r.findings[i+1].At)) {
			continue
		}
		for _, fault := range faults {
			fmt.Fprintf(report, "    %s\n", fault)
		}
	}
}

// around returns the faults and incidents that lasted shortly before or after a time, a line each.
func (r *run) around(at time.Time) []string {
	const near, clock = 15 * time.Second, "15:04:05.000"
	var lines []string
	add := func(from, until time.Time, what fmt.Stringer) {
		if !at.IsZero() && from.Before(at.Add(near)) && until.After(at.Add(-near)) {
			lines = append(lines, from.UTC().Format(clock)+" to "+until.UTC().Format(clock)+"  "+what.String())
		}
	}
	for _, f := range r.plan.Faults {
		add(r.began.Add(f.At), r.began.Add(f.At+f.For), f)
	}
	for _, h := range r.happened {
		add(h.from, h.until, h.Incident)
	}
	return lines
}
