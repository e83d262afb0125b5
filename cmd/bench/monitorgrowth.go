package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	cells "github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
)

// monitorPoint is what rows of one shape take.
type monitorPoint struct {
	Rows             int64   `json:"rows"`
	Columns          int     `json:"columns"`
	Cells            int     `json:"cells"` // of a number
	Segments         int     `json:"segments"`
	Backfill         float64 `json:"backfill_s"`
	ProfileRows      uint64  `json:"profile_rows"`
	ProfileBytes     uint64  `json:"profile_bytes"` // compressed
	FromProfiles     float64 `json:"day_from_profiles_s"`
	FromRows         float64 `json:"day_from_rows_s"`
	SegmentsProfiles float64 `json:"day_segments_from_profiles_s"`
	SegmentsRows     float64 `json:"day_segments_from_rows_s"`
	PeakRSS          int64   `json:"monitor_peak_rss_bytes"`
}

// growthShapes vary one thing at a time.
func growthShapes(quick bool) []monitorShape {
	base := monitorShape{Rows: 300_000, Features: 20, Cells: cells.MaxBins}
	if !quick {
		base.Rows = 1_000_000
	}
	shapes := []monitorShape{base}
	vary := func(change func(*monitorShape)) {
		s := base
		change(&s)
		shapes = append(shapes, s)
	}
	vary(func(s *monitorShape) { s.Rows *= 3 })
	if !quick {
		vary(func(s *monitorShape) { s.Rows *= 10 })
	}
	for _, n := range []int{5, 80} {
		vary(func(s *monitorShape) { s.Features = n })
	}
	for _, n := range []int{10, 160} {
		vary(func(s *monitorShape) { s.Cells = n })
	}
	for _, n := range []int{1, 3} {
		vary(func(s *monitorShape) { s.Segments = n })
	}
	for i := range shapes {
		shapes[i].Name = "growth" + strconv.Itoa(i)
	}
	return shapes
}

// measureGrowth measures how times grow with rows, columns, cells and segments, and prints a table.
func measureGrowth(ctx context.Context, client *clickhouse.Client, addr string, quick bool, out io.Writer) (points []monitorPoint, err error) {
	fmt.Fprint(out, "\n| rows | columns | cells | segments | backfill s | rows of profiles | MB of profiles | a day from profiles s | from rows s | by segments, from profiles s | from rows s | monitor MB |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range growthShapes(quick) {
		p, err := s.measure(ctx, client, addr)
		if err != nil {
			return nil, fmt.Errorf("%d rows, %d features, %d cells, %d segments: %w", s.Rows, s.Features, s.Cells, s.Segments, err)
		}
		fmt.Fprintf(out, "| %d | %d | %d | %d | %.2f | %d | %.2f | %.3f | %.3f | %.3f | %.3f | %d |\n", p.Rows, p.Columns, p.Cells, p.Segments, p.Backfill,
			p.ProfileRows, float64(p.ProfileBytes)/1e6, p.FromProfiles, p.FromRows, p.SegmentsProfiles, p.SegmentsRows, p.PeakRSS>>20)
		points = append(points, p)
	}
	fmt.Fprintln(out)
	return points, nil
}

func (s monitorShape) measure(ctx context.Context, client *clickhouse.Client, addr string) (p monitorPoint, err error) {
	m, ref := s.manifest(), s.reference()
	p = monitorPoint{Rows: s.Rows, Columns: len(ref.Columns), Cells: s.Cells, Segments: s.Segments}
	if err := client.EnsureTable(ctx, m.ObservationSchema()); err != nil {
		return p, err
	}
	if err := client.Exec(ctx, "TRUNCATE TABLE "+client.Database()+".profiles"); err != nil {
		return p, err
	}
	if err := makeRows(ctx, client, m, s.Rows); err != nil {
		return p, err
	}
	if p.Backfill, err = backfill(ctx, client, m, ref); err != nil {
		return p, err
	}
	var size []struct {
		Rows  uint64 `ch:"n"`
		Bytes uint64 `ch:"b"`
	}
	err = client.Select(ctx, &size, "SELECT sum(p.rows) AS n, sum(p.data_compressed_bytes) AS b FROM system.parts AS p WHERE p.active AND p.table = 'profiles' AND p.database = '"+client.Database()+"'")
	if err != nil {
		return p, err
	}
	p.ProfileRows, p.ProfileBytes = size[0].Rows, size[0].Bytes
	day, err := judgeDay(ctx, client, addr, s, false)
	if err != nil {
		return p, err
	}
	p.FromProfiles, p.SegmentsProfiles, p.PeakRSS = day.Seconds, day.Segments, day.PeakRSS
	if day, err = judgeDay(ctx, client, addr, s, true); err != nil {
		return p, err
	}
	p.FromRows, p.SegmentsRows = day.Seconds, day.Segments
	return p, client.Exec(ctx, "TRUNCATE TABLE "+client.Database()+"."+schemas.ObservationsTable(m.Name))
}

// simulateAlarms runs the simulation of drift/internal/alarms, which the Makefile builds beside this
// binary, and returns its figures.
func simulateAlarms(ctx context.Context, quick bool, log io.Writer) (falseAlarms, delays json.RawMessage, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("look for the simulation of alarms: %w", err)
	}
	args := []string{"-json"}
	if quick {
		args = append(args, "-quick")
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(exe), "alarms"), args...) //nolint:gosec // built with this binary
	cmd.Stdout, cmd.Stderr = &out, log
	if err := cmd.Run(); err != nil {
		return nil, nil, fmt.Errorf("simulate alarms, by %s, which make bench-monitor builds: %w", cmd.Path, err)
	}
	var said struct {
		FalseAlarms  json.RawMessage `json:"false_alarms"`
		DelayWindows json.RawMessage `json:"delay_windows"`
	}
	if err := json.Unmarshal(out.Bytes(), &said); err != nil || said.FalseAlarms == nil || said.DelayWindows == nil {
		return nil, nil, fmt.Errorf("simulate alarms, by %s: no false_alarms and delay_windows in %q (%w)", cmd.Path, out.String(), err)
	}
	return said.FalseAlarms, said.DelayWindows, nil
}
