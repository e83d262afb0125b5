package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/millrace/millrace/drift"
	cells "github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// The observations that a monitor judges a day of.
const (
	monitorDays       = 10
	monitorNumbers    = 18 // features of 40 bins
	monitorCategories = 2  // features of 20 categories
	monitorDatabase   = "bench_monitor"
	monitorChunk      = 1_000_000 // rows of one insert
)

// monitorFrom is when the first day begins.
var monitorFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// monitorReport is the line of JSON.
type monitorReport struct {
	FromProfiles float64 `json:"day_from_profiles_s"`
	FromRows     float64 `json:"day_from_rows_s"`
	PeakRSS      int64   `json:"monitor_peak_rss_bytes"` // of the process that judged from profiles
	RowsPeakRSS  int64   `json:"monitor_rows_peak_rss_bytes"`
	Rows         int64   `json:"rows"`
	RowsOfDay    uint64  `json:"rows_of_day"`
	Columns      int     `json:"columns"`
	Backfill     float64 `json:"backfill_s"`
}

// monitorManifest is of a version with windows of a day, monitorReference its reference.
func monitorManifest() *schemas.Manifest {
	m := &schemas.Manifest{
		Name: "bench", Version: "1",
		Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat64}},
		Monitoring: &schemas.Monitoring{
			Window: schemas.Duration(24 * time.Hour), Lateness: schemas.Duration(time.Minute), IdleTimeout: schemas.Duration(time.Minute),
			MinRows: 100, Rate: schemas.DefaultRate,
			Checks: []schemas.Check{{Stattest: schemas.StattestShare, Threshold: 0.5, Severity: schemas.SeverityWarning}},
		},
	}
	for i := range monitorNumbers {
		m.Features = append(m.Features, schemas.Feature{Name: "n" + strconv.Itoa(i), Type: schemas.TypeFloat32})
	}
	for i := range monitorCategories {
		m.Features = append(m.Features, schemas.Feature{Name: "c" + strconv.Itoa(i), Type: schemas.TypeString})
	}
	return m
}

func monitorReference(m *schemas.Manifest) *schemas.Reference {
	const rows = 200_000
	ref := &schemas.Reference{Rows: rows}
	numbers := func(name string) {
		c := schemas.ReferenceColumn{Name: name}
		for k := range cells.MaxBins {
			c.Counts = append(c.Counts, rows/cells.MaxBins)
			if k > 0 {
				c.Edges = append(c.Edges, float64(k)/cells.MaxBins)
			}
		}
		ref.Columns = append(ref.Columns, c)
	}
	for _, f := range m.Features {
		if f.Type.Numeric() {
			numbers(f.Name)
			continue
		}
		c := schemas.ReferenceColumn{Name: f.Name}
		for k := range 20 {
			c.Categories, c.Counts = append(c.Categories, "v"+strconv.Itoa(k)), append(c.Counts, rows/20)
		}
		ref.Columns = append(ref.Columns, c)
	}
	numbers("score")
	return ref
}

// runMonitor measures what a day's drift over all columns takes, from profiles and from rows.
func runMonitor(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	rows := int64(100_000_000)
	if o.Quick {
		rows /= 10
	}
	if o.Rows > 0 {
		rows = o.Rows
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	dir, err := os.MkdirTemp(o.Dir, "bench-")
	if err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, addr, err := startService(ctx, partClickHouse, filepath.Join(dir, "clickhouse"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop(context.WithoutCancel(ctx))) }()
	client, err := openMonitored(addr)
	if err != nil {
		return err
	}
	defer client.Close()
	say := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	m := monitorManifest()
	ref := monitorReference(m)
	r := monitorReport{Rows: rows, Columns: len(ref.Columns)}
	began := time.Now()
	if err := makeRows(ctx, client, m, rows); err != nil {
		return err
	}
	say("%d rows of %d features in %d days are made, in %.0f s", rows, len(m.Features), monitorDays, time.Since(began).Seconds())
	if r.Backfill, err = backfill(ctx, client, m, ref); err != nil {
		return err
	}
	say("their profiles are made by backfill, in %.0f s: %.2f million rows/s", r.Backfill, float64(rows)/1e6/r.Backfill)
	for _, rows := range []bool{false, true} {
		day, err := judgeDay(ctx, client, m, addr, rows)
		if err != nil {
			return err
		}
		if day.Profiled == rows {
			return fmt.Errorf("the day's counts are of profiles: %t, of rows: %t", day.Profiled, rows)
		}
		from := "profiles"
		if rows {
			from, r.FromRows, r.RowsPeakRSS = "rows", day.Seconds, day.PeakRSS
		} else {
			r.FromProfiles, r.PeakRSS, r.RowsOfDay = day.Seconds, day.PeakRSS, day.Rows
		}
		say("a day of %d rows, %d columns, from %s: %.3f s, %d scores, at most %d MB in the monitor", day.Rows, r.Columns, from, day.Seconds, day.Scores, day.PeakRSS>>20)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = fmt.Fprintln(stdout, string(line))
	return err
}

func openMonitored(addr string) (*clickhouse.Client, error) {
	return clickhouse.Open(clickhouse.Options{Addr: []string{addr}, Storage: schemas.Storage{Database: monitorDatabase, TTLDays: 3650}, Logger: zerolog.Nop()})
}

// makeRows makes the rows, and a few of the day after them, so that the last day has ended.
func makeRows(ctx context.Context, c *clickhouse.Client, m *schemas.Manifest, rows int64) error {
	if err := errors.Join(c.Migrate(ctx), c.EnsureTable(ctx, m.ObservationSchema())); err != nil {
		return err
	}
	columns := []string{"version", "variant", "outcome", "request_id", "request_partition", "request_offset", "event_time", "scored_at", "latency_us"}
	values := []string{
		"'1'", "'live'", "if(modulo(number, 100) = 0, 'failed', 'ok')", "toString(number)", "toInt32(modulo(number, 4))", "toInt64(number)",
		"fromUnixTimestamp64Micro(toInt64(%[1]d + number * %[2]d), 'UTC') AS event_time", "event_time + INTERVAL 1 SECOND", "toInt64(1000 + modulo(number, 5000))",
	}
	uniform := func(i int) string { return fmt.Sprintf("intHash64(number * 64 + %d) / 18446744073709551616.", i) }
	for i, f := range m.Features {
		columns = append(columns, f.Name)
		if f.Type.Numeric() {
			values = append(values, fmt.Sprintf("toFloat32(%s)", uniform(i)))
		} else {
			values = append(values, fmt.Sprintf("concat('v', toString(modulo(intHash64(number * 64 + %d), 21)))", i))
		}
	}
	columns, values = append(columns, "score"), append(values, uniform(60))
	insert := fmt.Sprintf("INSERT INTO "+c.Database()+"."+schemas.ObservationsTable(m.Name)+" ("+strings.Join(columns, ", ")+") SELECT "+
		strings.Join(values, ", "), monitorFrom.UnixMicro(), (monitorDays*24*time.Hour).Microseconds()/rows)
	after := rows / 1000
	for from := int64(0); from < rows+after; from += monitorChunk {
		if err := c.Exec(ctx, fmt.Sprintf("%s FROM numbers(%d, %d)", insert, from, min(monitorChunk, rows+after-from))); err != nil {
			return err
		}
	}
	return nil
}

// backfill makes the profiles of all rows and returns how many seconds it took.
func backfill(ctx context.Context, c *clickhouse.Client, m *schemas.Manifest, ref *schemas.Reference) (float64, error) {
	p := history.NewProfiler(c, c.Database())
	p.Settled(-time.Minute)
	if _, err := p.Plan(ctx, m, ref); err != nil {
		return 0, err
	}
	began := time.Now()
	span, _, err := p.Stored(ctx, m, time.Time{})
	for left := 1; err == nil && left > 0; {
		var done history.Filled
		done, err = p.Fill(ctx, m, ref, span, 5_000_000)
		left = done.Left
	}
	return time.Since(began).Seconds(), err
}

// monitorSpec asks a child to judge the last day.
type monitorSpec struct {
	Addr string `json:"addr"`
	Rows bool   `json:"rows"` // count the rows, whatever profiles there are
}

// judgedDay is what a child says of the day.
type judgedDay struct {
	Seconds  float64 `json:"seconds"`
	Rows     uint64  `json:"rows"`
	Scores   int     `json:"scores"`
	Profiled bool    `json:"profiled"`
	PeakRSS  int64   `json:"peak_rss"`
}

// judgeDay has a process of its own judge the last day, after a monitor that has judged those before it.
func judgeDay(ctx context.Context, c *clickhouse.Client, m *schemas.Manifest, addr string, rows bool) (day judgedDay, err error) {
	if err := c.Exec(ctx, "TRUNCATE TABLE "+c.Database()+".windows"); err != nil {
		return day, err
	}
	var finished []schemas.FinishedWindow
	for i := range monitorDays - 1 {
		start := monitorFrom.AddDate(0, 0, i)
		finished = append(finished, schemas.FinishedWindow{
			Model: m.Name, Version: m.Version, Job: string(schemas.JobDrift), WindowStart: start, WindowEnd: start.AddDate(0, 0, 1),
			Rows: 1, Verdict: string(schemas.VerdictOK), DoneAt: start.AddDate(0, 0, 1),
		})
	}
	if err := history.New(c, c.Database()).WriteWindows(ctx, finished); err != nil {
		return day, err
	}
	child, err := start(ctx, partMonitor, monitorSpec{addr, rows})
	if err != nil {
		return day, err
	}
	defer func() { err = errors.Join(err, child.stop(context.WithoutCancel(ctx))) }()
	err = child.hear(ctx, &day)
	return day, err
}

// countingRows counts as it is asked to, and remembers of what.
type countingRows struct {
	*history.Store
	rows     bool
	profiled bool
}

// CountCells implements drift.Counter.
func (s *countingRows) CountCells(ctx context.Context, m *schemas.Manifest, ref *schemas.Reference, starts []time.Time) ([]cells.WindowCounts, error) {
	count := s.Store.CountCells
	if s.rows {
		count = s.CountCellsOfRows
	}
	counts, err := count(ctx, m, ref, starts)
	s.profiled = len(counts) > 0 && counts[0].Profiled
	return counts, err
}

// noEvents is a topic that nobody reads.
type noEvents struct{}

// Publish implements drift.Publisher.
func (noEvents) Publish(context.Context, schemas.Event) error { return nil }

// judgeLastDay is the part of a monitor, one pass of it.
func judgeLastDay(ctx context.Context, c *child) error {
	var spec monitorSpec
	if err := c.read(&spec); err != nil {
		return err
	}
	client, err := openMonitored(spec.Addr)
	if err != nil {
		return err
	}
	defer client.Close()
	m := monitorManifest()
	cfg := drift.DefaultConfig()
	cfg.LateWindows = 0 // the look of a monitor that starts for rows that came while it was away
	store := &countingRows{Store: history.New(client, client.Database()), rows: spec.Rows}
	monitor := drift.NewMonitor(cfg, store, noEvents{}, zerolog.Nop())
	if err := client.Ping(ctx); err != nil {
		return err
	}
	began := time.Now()
	stats, err := monitor.Tick(ctx, monitorFrom.AddDate(0, 0, monitorDays+1), []drift.Version{{Manifest: m, Reference: monitorReference(m)}})
	day := judgedDay{Seconds: time.Since(began).Seconds(), Profiled: store.profiled}
	if err != nil {
		return err
	}
	if len(stats.Judged) != 1 {
		return fmt.Errorf("%d windows were judged, want one", len(stats.Judged))
	}
	day.Rows, day.Scores = stats.Judged[0].Rows, len(stats.Judged[0].Drift)
	if day.PeakRSS, err = peakRSS(os.Getpid()); err != nil {
		return err
	}
	return c.say(day)
}
