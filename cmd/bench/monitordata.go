package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// monitorShape is the observations of a version with windows of a day, and their reference.
type monitorShape struct {
	Name     string `json:"name"` // of the model
	Rows     int64  `json:"rows"`
	Features int    `json:"features"` // numbers, but for two, or as many as there are segments, of 20 categories
	Cells    int    `json:"cells"`    // of a number
	Segments int    `json:"segments"`
}

func (s monitorShape) categories() int { return max(2, s.Segments) }

func (s monitorShape) manifest() *schemas.Manifest {
	m := &schemas.Manifest{
		Name: s.Name, Version: "1",
		Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat64}},
		Monitoring: &schemas.Monitoring{
			Window: schemas.Duration(24 * time.Hour), Lateness: schemas.Duration(time.Minute), IdleTimeout: schemas.Duration(time.Minute),
			MinRows: 100, Rate: schemas.DefaultRate,
			Checks: []schemas.Check{{Stattest: schemas.StattestShare, Threshold: 0.5, Severity: schemas.SeverityWarning}},
		},
	}
	for i := range s.Features - s.categories() {
		m.Features = append(m.Features, schemas.Feature{Name: "n" + strconv.Itoa(i), Type: schemas.TypeFloat32})
	}
	for i := range s.categories() {
		m.Features = append(m.Features, schemas.Feature{Name: "c" + strconv.Itoa(i), Type: schemas.TypeString})
	}
	for i := range s.Segments {
		m.Monitoring.Segments = append(m.Monitoring.Segments, "c"+strconv.Itoa(i))
	}
	return m
}

func (s monitorShape) reference() *schemas.Reference {
	const rows = 200_000
	ref := &schemas.Reference{Rows: rows}
	numbers := func(name string) {
		c := schemas.ReferenceColumn{Name: name}
		for k := range s.Cells {
			c.Counts = append(c.Counts, int64(rows/s.Cells))
			if k > 0 {
				c.Edges = append(c.Edges, float64(k)/float64(s.Cells))
			}
		}
		ref.Columns = append(ref.Columns, c)
	}
	for _, f := range s.manifest().Features {
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
	uniform := func(i int) string { return fmt.Sprintf("intHash64(number * 1024 + %d) / 18446744073709551616.", i) }
	for i, f := range m.Features {
		columns = append(columns, f.Name)
		if f.Type.Numeric() {
			values = append(values, fmt.Sprintf("toFloat32(%s)", uniform(i)))
		} else {
			values = append(values, fmt.Sprintf("concat('v', toString(modulo(intHash64(number * 1024 + %d), 21)))", i))
		}
	}
	columns, values = append(columns, "score"), append(values, uniform(1023))
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
