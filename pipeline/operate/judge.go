package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/report"
	"github.com/millrace/millrace/pipeline/catalog"
	"github.com/millrace/millrace/pipeline/config"
	"github.com/millrace/millrace/pipeline/jobs"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// JudgeOptions choose which windows JudgeAgain judges.
type JudgeOptions struct {
	Model    string
	Version  string    // empty: all versions with monitoring
	Window   string    // of which windows, by Manifest.WindowName; empty: all
	From, To time.Time // event time; zero: no bound
	DryRun   bool      // nothing is written, and no event published
	Logger   zerolog.Logger
}

// Judgements are what JudgeAgain found, version by version.
type Judgements struct {
	Windows []drift.Judged
	DryRun  bool
	of      string // which windows were asked for
}

// WriteTable writes a line for each window and job.
func (j Judgements) WriteTable(out io.Writer) error {
	if len(j.Windows) == 0 {
		_, err := fmt.Fprintf(out, "%s: no window there was judged before and still has rows; the monitor judges windows when they have closed\n", j.of)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WINDOW\tKIND\tVERSION\tJOB\tREVISION\tROWS\tLABELS\tVERDICT\tEVENT\tBREACHES")
	for _, j := range j.Windows {
		event, breaches := "-", "-"
		kind := j.WindowKind
		if kind == "" {
			kind = schemas.ShortDuration(j.WindowEnd.Sub(j.WindowStart))
		}
		if j.Event != nil {
			event, breaches = string(j.Event.Data.Kind), breachText(j.Event.Data.Breaches)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", j.WindowStart.UTC().Format(time.RFC3339), kind, j.Version, j.Job, j.Revision, j.Rows, j.Labels, j.Verdict, event, breaches)
	}
	done := "judged again"
	if j.DryRun {
		done = "not written: --dry-run"
	}
	fmt.Fprintf(w, "%d judgements of windows, %s\n", len(j.Windows), done)
	return w.Flush()
}

// breachText says what breached, the worst first.
func breachText(breaches []schemas.Breach) string {
	out := make([]string, len(breaches))
	for i, b := range breaches {
		out[i] = fmt.Sprintf("%s %.4g (threshold %.4g)", strings.TrimSpace(string(b.Stattest)+" "+b.Column), b.Value, b.Threshold)
	}
	return strings.Join(out, ", ")
}

// spread returns the versions by each of their windows that are asked for.
func (o JudgeOptions) spread(versions []drift.Version) ([]drift.Version, error) {
	var length schemas.Duration // 24h is 1d
	if length.UnmarshalYAML([]byte(o.Window)) == nil {
		o.Window = schemas.ShortDuration(length.Std())
	}
	var out []drift.Version
	var names []string
	for _, v := range versions {
		for _, s := range v.Spread() {
			name := s.Manifest.WindowName()
			if o.Window == "" || o.Window == name {
				out = append(out, s)
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no version of %s has windows %q: there are %s", strings.TrimSuffix(o.Model+"/"+o.Version, "/"), o.Window, strings.Join(names, ", "))
	}
	return out, nil
}

// askedFor names the windows of options.
func (o JudgeOptions) askedFor() string {
	text := strings.TrimSuffix(o.Model+"/"+o.Version, "/")
	if o.Window != "" {
		text += ", windows " + o.Window + ","
	}
	if !o.From.IsZero() {
		text += " from " + o.From.UTC().Format(time.RFC3339)
	}
	if !o.To.IsZero() {
		text += " to " + o.To.UTC().Format(time.RFC3339)
	}
	return text
}

// JudgeAgain judges the finished windows of a model in a span again, as drift.Monitor.Again
// does. It owns the model meanwhile, which monitors give up, but in a dry run. With an error it returns what was judged until then.
func JudgeAgain(ctx context.Context, cfg config.Config, o JudgeOptions) (Judgements, error) {
	out := Judgements{DryRun: o.DryRun, of: o.askedFor()}
	versions, failed := monitoredVersions(ctx, cfg.Models, o.Model, o.Version)
	if len(versions) == 0 {
		return out, failed
	}
	versions, err := o.spread(versions)
	if err != nil {
		return out, errors.Join(err, failed)
	}
	client, err := clickhouse.Open(cfg.ClickHouseOptions(o.Logger))
	if err != nil {
		return out, err
	}
	defer client.Close()
	judge := func(ctx context.Context, conn history.Conn, publisher drift.Publisher) error {
		var store drift.Store = history.New(conn, cfg.ClickHouse.Database)
		if o.DryRun {
			store = unwritten{store}
		}
		judging := drift.DefaultConfig()
		judging.ReportLink = report.Link(cfg.Monitor.ReportsURL)
		monitor := drift.NewMonitor(judging, store, publisher, o.Logger)
		for _, v := range versions {
			again, err := monitor.Again(ctx, time.Now(), v, profile.Span{Start: o.From, End: o.To})
			out.Windows = append(out.Windows, again...)
			if err != nil {
				return err
			}
		}
		return nil
	}
	if o.DryRun {
		return out, errors.Join(judge(ctx, client, silent{}), failed)
	}
	if err := client.Migrate(ctx); err != nil {
		return out, err
	}
	office := jobs.Open(cfg, cfg.Kafka.Connection(), client, o.Logger)
	err = office.Take(ctx, o.Model, func(ctx context.Context, own *jobs.Owner) error { return judge(ctx, own, own) })
	return out, errors.Join(err, failed)
}

// monitoredVersions loads the versions of a model that have monitoring, or the one named. With an
// error it returns those that could be loaded.
func monitoredVersions(ctx context.Context, cfg config.Models, model, version string) ([]drift.Version, error) {
	models, err := catalog.Open(cfg)
	if err != nil {
		return nil, err
	}
	refs, err := models.Models()
	if err != nil {
		return nil, err
	}
	var versions []drift.Version
	var failed []error
	for _, ref := range refs {
		if ref.Name != model || (version != "" && ref.Version != version) {
			continue
		}
		m, err := models.LoadReference(ctx, ref.Name, ref.Version)
		if err != nil {
			if version != "" || !models.Unfinished(ref) { // a draft may be half written
				failed = append(failed, err)
			}
			continue
		}
		if m.Manifest.Monitoring != nil {
			versions = append(versions, drift.Version{Manifest: m.Manifest, Reference: m.Reference})
		}
	}
	if len(versions) == 0 && len(failed) == 0 {
		return nil, fmt.Errorf("models.repository %s has no version with monitoring of %s", cfg.Repository, strings.TrimSuffix(model+"/"+version, "/"))
	}
	return versions, errors.Join(failed...)
}

// unwritten is a store that keeps nothing.
type unwritten struct{ drift.Store }

// WriteResults implements drift.Keeper.
func (unwritten) WriteResults(context.Context, []schemas.DriftResult, []schemas.AccuracyResult) error {
	return nil
}

// WriteFound implements drift.Keeper.
func (unwritten) WriteFound(context.Context, schemas.Found) error { return nil }

// WriteEstimator implements drift.Keeper.
func (unwritten) WriteEstimator(context.Context, schemas.LearnedEstimator) error { return nil }

// WriteWindows implements drift.Keeper.
func (unwritten) WriteWindows(context.Context, []schemas.FinishedWindow) error { return nil }

// WriteAlarmCalibration implements drift.Alarms.
func (unwritten) WriteAlarmCalibration(context.Context, schemas.AlarmCalibration) error { return nil }

// WriteAlarms implements drift.Alarms.
func (unwritten) WriteAlarms(context.Context, []schemas.AlarmWindow) error { return nil }

// silent publishes nothing.
type silent struct{}

// Publish implements drift.Publisher.
func (silent) Publish(context.Context, schemas.Event) error { return nil }
