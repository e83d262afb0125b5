package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	monitorDays     = 10
	monitorDatabase = "bench_monitor"
	monitorChunk    = 1_000_000 // rows of one insert
)

// monitorFrom is when the first day begins.
var monitorFrom = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// monitorReport is the line of JSON.
type monitorReport struct {
	FromProfiles float64         `json:"day_from_profiles_s"`
	FromRows     float64         `json:"day_from_rows_s"`
	PeakRSS      int64           `json:"monitor_peak_rss_bytes"` // of the process that judged from profiles
	RowsPeakRSS  int64           `json:"monitor_rows_peak_rss_bytes"`
	Rows         int64           `json:"rows"`
	RowsOfDay    uint64          `json:"rows_of_day"`
	Columns      int             `json:"columns"`
	Backfill     float64         `json:"backfill_s"`
	Growth       []monitorPoint  `json:"growth"`
	FalseAlarms  json.RawMessage `json:"false_alarms"`  // of the simulation, by columns
	DelayWindows json.RawMessage `json:"delay_windows"` // by columns and size of a shift
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
	r := monitorReport{Rows: rows}
	whole := monitorShape{Name: "bench", Rows: rows, Features: 20, Cells: cells.MaxBins}
	if r, err = r.whole(ctx, client, addr, whole, say); err != nil {
		return err
	}
	if r.Growth, err = measureGrowth(ctx, client, addr, o.Quick, stderr); err != nil {
		return err
	}
	if r.FalseAlarms, r.DelayWindows, err = simulateAlarms(ctx, o.Quick, stderr); err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err = fmt.Fprintln(stdout, string(line))
	return err
}

// whole measures all of the rows.
func (r monitorReport) whole(ctx context.Context, client *clickhouse.Client, addr string, s monitorShape, say func(string, ...any)) (monitorReport, error) {
	m, ref := s.manifest(), s.reference()
	r.Columns = len(ref.Columns)
	began := time.Now()
	err := makeRows(ctx, client, m, s.Rows)
	if err != nil {
		return r, err
	}
	say("%d rows of %d features in %d days are made, in %.0f s", s.Rows, len(m.Features), monitorDays, time.Since(began).Seconds())
	if r.Backfill, err = backfill(ctx, client, m, ref); err != nil {
		return r, err
	}
	say("their profiles are made by backfill, in %.0f s: %.2f million rows/s", r.Backfill, float64(s.Rows)/1e6/r.Backfill)
	for _, rows := range []bool{false, true} {
		day, err := judgeDay(ctx, client, addr, s, rows)
		if err != nil {
			return r, err
		}
		from := "profiles"
		if rows {
			from, r.FromRows, r.RowsPeakRSS = "rows", day.Seconds, day.PeakRSS
		} else {
			r.FromProfiles, r.PeakRSS, r.RowsOfDay = day.Seconds, day.PeakRSS, day.Rows
		}
		say("a day of %d rows, %d columns, from %s: %.3f s, %d scores, at most %d MB in the monitor", day.Rows, r.Columns, from, day.Seconds, day.Scores, day.PeakRSS>>20)
	}
	return r, client.Exec(ctx, "TRUNCATE TABLE "+client.Database()+"."+schemas.ObservationsTable(m.Name))
}

func openMonitored(addr string) (*clickhouse.Client, error) {
	return clickhouse.Open(clickhouse.Options{Addr: []string{addr}, Storage: schemas.Storage{Database: monitorDatabase, TTLDays: 3650}, Logger: zerolog.Nop()})
}

// monitorSpec asks a child to judge the last day.
type monitorSpec struct {
	Addr  string       `json:"addr"`
	Shape monitorShape `json:"shape"`
	Rows  bool         `json:"rows"` // count the rows, whatever profiles there are
}

// judgedDay is what a child says of the day.
type judgedDay struct {
	Seconds  float64 `json:"seconds"`
	Rows     uint64  `json:"rows"`
	Scores   int     `json:"scores"`
	Profiled bool    `json:"profiled"`
	PeakRSS  int64   `json:"peak_rss"`
	Segments float64 `json:"segments"` // seconds that the day's counts by the values of each segment took
}

// judgeDay has a process of its own judge the last day, after a monitor that has judged those before it.
func judgeDay(ctx context.Context, c *clickhouse.Client, addr string, shape monitorShape, rows bool) (day judgedDay, err error) {
	m := shape.manifest()
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
	child, err := start(ctx, partMonitor, monitorSpec{addr, shape, rows})
	if err != nil {
		return day, err
	}
	defer func() { err = errors.Join(err, child.stop(context.WithoutCancel(ctx))) }()
	if err = child.hear(ctx, &day); err == nil && day.Profiled == rows {
		err = fmt.Errorf("the day's counts are of profiles: %t, of rows: %t", day.Profiled, rows)
	}
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
	m, ref := spec.Shape.manifest(), spec.Shape.reference()
	cfg := drift.DefaultConfig()
	cfg.LateWindows = 0 // the look of a monitor that starts for rows that came while it was away
	store := &countingRows{Store: history.New(client, client.Database()), rows: spec.Rows}
	monitor := drift.NewMonitor(cfg, store, noEvents{}, zerolog.Nop())
	if err := client.Ping(ctx); err != nil {
		return err
	}
	began := time.Now()
	stats, err := monitor.Tick(ctx, monitorFrom.AddDate(0, 0, monitorDays+1), []drift.Version{{Manifest: m, Reference: ref}})
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
	began = time.Now()
	for _, segment := range m.Monitoring.Segments {
		count, span := store.CountSegments, cells.Span{Start: monitorFrom.AddDate(0, 0, monitorDays-1), End: monitorFrom.AddDate(0, 0, monitorDays)}
		if spec.Rows {
			count = store.CountSegmentsOfRows
		}
		counts, err := count(ctx, m, ref, segment, span)
		if err != nil {
			return err
		}
		if len(counts) == 0 || counts[0].Profiled == spec.Rows {
			return fmt.Errorf("the day's counts by %s are of profiles: %t", segment, !spec.Rows)
		}
	}
	day.Segments = time.Since(began).Seconds()
	return c.say(day)
}
