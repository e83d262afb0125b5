package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/demo/flights"
	"github.com/millrace/millrace/pipeline/operate"
	"github.com/millrace/millrace/pipeline/services"
	"github.com/millrace/millrace/pipeline/supervisor"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/printable"
	"github.com/millrace/millrace/sinks/alerts"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/kafka"
)

// Options are the flags of `millrace demo`.
type Options struct {
	Requests int  // the first so many flights; 0 is all
	Once     bool // return after the summary
	JSON     bool // end with one line of JSON
}

// Where the demo's files lie below the repository.
const (
	modelsDir   = "deploy/examples/flights/models"
	flightsFile = "deploy/native/node_modules/vega-datasets/data/flights-3m.parquet"
)

// summary is the demo's JSON line.
type summary struct {
	Requests         int64   `json:"requests"`
	Results          int64   `json:"results"`
	Observations     uint64  `json:"observations"`
	Labels           uint64  `json:"labels"`
	DeadLetters      uint64  `json:"dead_letters"`
	ThroughputPerS   float64 `json:"throughput_per_s"`
	LatencyUS        latency `json:"latency_us"`
	DriftWindows     uint64  `json:"drift_windows"`
	RetrainingEvents uint64  `json:"retraining_events"`
	PeakRSSBytes     int64   `json:"peak_rss_bytes"`
}

type latency struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

// ErrCountsDiffer says that the demo lost or repeated something.
var ErrCountsDiffer = errors.New("demo: the counts of requests, results, observations and labels differ")

// Run replays the flights against embedded services, with every role in this process.
func Run(ctx context.Context, cfg config.Config, o Options, stdout, stderr io.Writer) error {
	if cfg.Log.Level == "info" {
		cfg.Log.Level = "warn" // the progress line is what one wants to see
	}
	log := cfg.Log.Logger(stderr)
	data, err := findUpward(flightsFile)
	if err != nil {
		return fmt.Errorf("the flights are missing: %w; run `make native`", err)
	}
	if cfg.Models.Repository == config.Default().Models.Repository {
		if cfg.Models.Repository, err = findUpward(modelsDir); err != nil {
			return fmt.Errorf("the flights model is missing: %w; run the demo inside of a clone of millrace", err)
		}
	}
	cfg.Embedded = cfg.Embedded.ForDemo()
	cfg.Monitor.ReportsDir = filepath.Join(cfg.Embedded.Dir, "reports")
	cfg.Monitor.Interval, cfg.Monitor.ReportInterval = 3*time.Second, 15*time.Second
	cfg.Roles = []config.Role{config.RoleWorker, config.RoleRecorder, config.RoleMonitor}
	if err := services.Reset(cfg); err != nil {
		return err
	}
	if err := os.RemoveAll(cfg.Monitor.ReportsDir); err != nil {
		return fmt.Errorf("delete old reports: %w", err)
	}
	if cfg.HTTP.Addr != "" {
		if cfg.HTTP.Addr, _, err = supervisor.FreePort(cfg.HTTP.Addr); err != nil {
			return err
		}
	}
	receiver, err := newAlertReceiver(ctx)
	if err != nil {
		return err
	}
	defer receiver.close()
	cfg.Alerts = append(cfg.Alerts, alerts.Subscription{
		Name: "demo", Webhook: &alerts.WebhookSettings{URL: receiver.url}, Kinds: []schemas.EventKind{schemas.EventRetraining},
	})

	services, err := services.Start(ctx, &cfg, -1, log)
	if err != nil {
		return err
	}
	defer services.Stop(context.WithoutCancel(ctx), cfg.DrainTimeout, log)
	if _, err := operate.ApplyTopics(ctx, cfg); err != nil {
		return err
	}
	app := pipeline.New(cfg, log)
	appCtx, stopApp := context.WithCancel(ctx)
	ended := newOutcome()
	go func() { ended.set(app.Run(appCtx)) }() // ends with appCtx, at the end of this function
	d := &demo{cfg: cfg, opts: o, app: app, log: log, stdout: stdout, stderr: stderr, services: services, receiver: receiver}
	err = d.run(ctx, data, ended)
	stopApp()
	<-ended.done
	if err == nil {
		err = ended.err
	}
	return err
}

// outcome is how something ended; err may be read when done is closed.
type outcome struct {
	done chan struct{}
	err  error
}

func newOutcome() *outcome { return &outcome{done: make(chan struct{})} }

func (o *outcome) set(err error) {
	o.err = err
	close(o.done)
}

// findUpward looks for a file below the working directory and its parents, and below
// those of the binary.
func findUpward(name string) (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, dir := range starts {
		for {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
			parent := filepath.Dir(dir)
			if parent == dir {
				break
			}
			dir = parent
		}
	}
	return "", fmt.Errorf("%s is neither above the working directory nor above the binary", name)
}

// alertReceiver is the demo's own subscriber: a webhook on loopback.
type alertReceiver struct {
	url      string
	srv      *http.Server
	received atomic.Int64
}

func newAlertReceiver(ctx context.Context) (*alertReceiver, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for alerts: %w", err)
	}
	r := &alertReceiver{url: "http://" + ln.Addr().String() + "/alerts"}
	seen := map[string]bool{} // the subscription delivers one at a time
	r.srv = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var e schemas.Event
		if err := json.NewDecoder(io.LimitReader(req.Body, 1<<20)).Decode(&e); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !seen[e.ID] {
			seen[e.ID] = true
			r.received.Add(1)
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go r.srv.Serve(ln) //nolint:errcheck // ends with close
	return r, nil
}

func (r *alertReceiver) close() {
	r.srv.Close() //nolint:gosec // nothing is pending that matters
}

// demo is one run.
type demo struct {
	cfg      config.Config
	opts     Options
	app      *pipeline.App
	log      zerolog.Logger
	stdout   io.Writer
	stderr   io.Writer
	services *services.Services
	receiver *alertReceiver

	total     int64
	threshold float64      // of the model's target
	requests  atomic.Int64 // sent
	labels    atomic.Int64 // sent
	client    *clickhouse.Client
}

// Bounds of how far the replay runs ahead of answers and of stored rows: latency is to be that of
// the pipeline and not of a backlog, and labels are to be stored when windows close.
const (
	maxUnanswered = 50_000
	maxUnstored   = 200_000
)

func (d *demo) run(ctx context.Context, data string, ended *outcome) error {
	opening := time.Now()
	source, err := flights.Open(data, d.opts.Requests)
	if err != nil {
		return err
	}
	opened := time.Since(opening)
	d.total = int64(source.Flights())
	models, err := catalog.Served(ctx, d.cfg)
	if err != nil {
		return err
	}
	for _, m := range models {
		if m.Manifest.Name == flights.Model && m.Manifest.Target != nil {
			d.threshold = m.Manifest.Target.Threshold
		}
	}
	if d.client, err = clickhouse.Open(d.cfg.ClickHouseOptions(d.log)); err != nil {
		return err
	}
	defer d.client.Close()
	if err := d.await(ctx, ended, "the roles to be ready", time.Minute, func() (int64, bool) { return 0, d.app.Ready() }); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "Replaying %s flights of 2001 as requests and labels. Kafka %s, ClickHouse http://%s, metrics http://%s/metrics\n",
		grouped(d.total), d.services.Kafka.Addr(), d.services.ClickHouse.Addr(), d.cfg.HTTP.Addr)

	began := time.Now().Add(-opened) // reading the flights is part of making requests
	progress := d.progress(began)
	sent := make(chan error, 1)
	go func() { sent <- d.send(ctx, source) }() // ends with the source or ctx
	if err := d.await(ctx, ended, "everything to be answered and stored", time.Minute, func() (int64, bool) {
		progress()
		p := &d.app.Done
		sum := p.Answered.Load() + p.DeadLetters.Load() + p.Observations.Load() + p.Labels.Load() + d.requests.Load() + d.labels.Load()
		return sum, p.Observations.Load() >= d.total && p.Labels.Load() >= d.total
	}); err != nil {
		return err
	}
	took := time.Since(began)
	if err := <-sent; err != nil {
		return err
	}
	d.endProgress()
	if err := d.settle(ctx, ended); err != nil {
		return err
	}
	sum, err := d.summarise(ctx, took)
	if err != nil {
		return err
	}
	if err := d.print(ctx, sum, took); err != nil {
		return err
	}
	if d.opts.JSON {
		line, err := json.Marshal(sum)
		if err != nil {
			return fmt.Errorf("encode the summary: %w", err)
		}
		fmt.Fprintf(d.stdout, "%s\n", line)
	}
	if n := sum.Requests; n != d.total || sum.Results != n || sum.Observations != uint64(n) || sum.Labels != uint64(n) || sum.DeadLetters != 0 {
		return ErrCountsDiffer
	}
	if d.opts.Once {
		return nil
	}
	fmt.Fprintln(d.stdout, "\nEverything stays up until Ctrl-C.")
	select {
	case <-ctx.Done():
		return nil
	case <-ended.done:
		return ended.err
	}
}

// await polls until done, and fails when the sum of what is counted has not moved for
// patience, or when the pipeline has ended.
func (d *demo) await(ctx context.Context, ended *outcome, what string, patience time.Duration, poll func() (counted int64, done bool)) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last, moved := int64(-1), time.Now()
	for {
		counted, done := poll()
		if done {
			return nil
		}
		if counted != last {
			last, moved = counted, time.Now()
		}
		if time.Since(moved) > patience {
			return fmt.Errorf("waiting for %s: nothing has moved for %s", what, patience)
		}
		select {
		case <-tick.C:
		case <-ended.done:
			return errors.Join(errors.New("the pipeline has ended"), ended.err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// send produces every event of the source in its order. Values are packed into blocks that
// the producer keeps until they are acknowledged.
func (d *demo) send(ctx context.Context, source *flights.Source) error {
	connection := d.cfg.Kafka.Connection()
	connection.ClientID = "millrace-demo"
	producer, err := kafka.NewProducer(connection.Dial, maxUnanswered, d.cfg.Topics.MaxBytes)
	if err != nil {
		return err
	}
	defer producer.Close()
	const block = 256 << 10
	requests, feedback := d.cfg.Topics.RequestsOf(flights.Model), d.cfg.Topics.Feedback
	buf := make([]byte, 0, block)
	var e flights.Event
	for n := 0; ; n++ {
		if cap(buf)-len(buf) < flights.MaxEventBytes {
			buf = make([]byte, 0, block)
		}
		var more bool
		if buf, more = source.Next(buf, &e); !more {
			break
		}
		m := schemas.Message{Topic: requests, Partition: schemas.AnyPartition, Key: e.Key, Value: e.Value}
		if e.Kind == flights.KindLabel {
			m.Topic = feedback
			d.labels.Add(1)
		} else {
			d.requests.Add(1)
		}
		producer.Enqueue(ctx, m)
		if n%1024 == 0 {
			if err := d.holdBack(ctx); err != nil {
				return err
			}
		}
	}
	return producer.Flush(ctx)
}

// holdBack waits while the pipeline is behind.
func (d *demo) holdBack(ctx context.Context) error {
	p := &d.app.Done
	for d.requests.Load()-p.Answered.Load()-p.DeadLetters.Load() > maxUnanswered ||
		d.requests.Load()-p.Observations.Load() > maxUnstored || d.labels.Load()-p.Labels.Load() > maxUnstored {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// settle waits until the monitor has judged every window that has closed and reported on it, and
// its events are stored and delivered.
func (d *demo) settle(ctx context.Context, ended *outcome) error {
	ticks := d.app.Done.Ticks.Load()
	return d.await(ctx, ended, "the monitor's last pass", 2*time.Minute, func() (int64, bool) {
		now := d.app.Done.Ticks.Load()
		if now < ticks+2 { // one may have begun before the last row was stored
			return now, false
		}
		stored, err := d.count(ctx, "SELECT uniqExact(id) AS n FROM {db}.events WHERE kind = 'retraining'")
		if err != nil {
			return now, false
		}
		// A window is reported on when its drift is known, and again when its accuracy is.
		unreported, err := d.count(ctx, `
SELECT count() AS n FROM (
    SELECT window_start FROM {db}.windows GROUP BY model, version, window_start
    HAVING maxIf(done_at, job != 'report') > maxIf(done_at, job = 'report')
)`)
		if err != nil {
			return now, false
		}
		published := d.app.Done.Retrainings.Load()
		return now, int64(stored) == published && d.receiver.received.Load() == published && unreported == 0
	})
}

// progress returns a function that draws the progress: one line rewritten on a terminal,
// a line every ten seconds elsewhere.
func (d *demo) progress(began time.Time) func() {
	terminal := printable.IsTerminal(d.stderr)
	var last time.Time
	var lastSent int64
	return func() {
		now, sent := time.Now(), d.requests.Load()
		every := 10 * time.Second
		if terminal {
			every = 500 * time.Millisecond
		}
		if now.Sub(last) < every {
			return
		}
		rate := float64(sent-lastSent) / now.Sub(last).Seconds()
		if last.IsZero() {
			rate = float64(sent) / max(now.Sub(began).Seconds(), 1e-3)
		}
		last, lastSent = now, sent
		p := &d.app.Done
		const width = 30
		p99 := "-" // nothing has been answered
		if q := d.app.Metrics.Worker.LatencyQuantile(0.99); !math.IsNaN(q) {
			p99 = fmt.Sprintf("%.1f", 1e3*q)
		}
		full := int(width * p.Observations.Load() / max(d.total, 1))
		line := fmt.Sprintf("[%s%s] %5.1f %%  %9s requests/s  lag: %s unanswered, %s unstored, %s labels  p99 %s ms",
			strings.Repeat("#", min(full, width)), strings.Repeat(".", max(0, width-full)),
			100*float64(p.Observations.Load())/float64(max(d.total, 1)), grouped(int64(rate)),
			grouped(max(0, sent-p.Answered.Load()-p.DeadLetters.Load())), grouped(max(0, sent-p.Observations.Load())),
			grouped(max(0, d.labels.Load()-p.Labels.Load())), p99)
		if terminal {
			fmt.Fprintf(d.stderr, "\r%s\x1b[K", line)
		} else {
			fmt.Fprintln(d.stderr, line)
		}
	}
}

func (d *demo) endProgress() {
	if printable.IsTerminal(d.stderr) {
		fmt.Fprintln(d.stderr)
	}
}
