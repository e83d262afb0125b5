package main

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"gonum.org/v1/gonum/stat/distuv"

	cells "github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// keepPlan keeps the plan that a monitor would make of the load, 40 cells for each feature and output,
// in a database, and returns what tells how many rows are in its profiles.
func keepPlan(ctx context.Context, addr, database string, model *schemas.Manifest) (profiled func(context.Context) (int64, error), err error) {
	client, err := clickhouse.Open(clickhouse.Options{Addr: []string{addr}, Storage: schemas.Storage{Database: database, TTLDays: 90}, Logger: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	m := *model
	m.Monitoring = &schemas.Monitoring{Window: schemas.Duration(time.Hour)}
	ref := &schemas.Reference{}
	column := func(name string, quantile func(float64) float64) {
		c := schemas.ReferenceColumn{Name: name, Counts: make([]int64, cells.MaxBins)}
		for k := 1; k < cells.MaxBins; k++ {
			c.Edges = append(c.Edges, quantile(float64(k)/cells.MaxBins))
		}
		ref.Columns = append(ref.Columns, c)
	}
	for i := range m.Features {
		column(m.Features[i].Name, distuv.UnitNormal.Quantile) // as newRandom's values are
	}
	for i := range m.Outputs {
		column(m.Outputs[i].Name, func(q float64) float64 { return q })
	}
	if err := client.Migrate(ctx); err != nil {
		return nil, err
	}
	if _, err := history.NewProfiler(client, database).Plan(ctx, &m, ref); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (int64, error) {
		client, err := clickhouse.Open(clickhouse.Options{Addr: []string{addr}, Storage: schemas.Storage{Database: database, TTLDays: 90}, Logger: zerolog.Nop()})
		if err != nil {
			return 0, err
		}
		defer client.Close()
		var rows []struct {
			N uint64 `ch:"n"`
		}
		err = client.Select(ctx, &rows, fmt.Sprintf("SELECT sum(p.rows) AS n FROM %s.profiles AS p WHERE p.column = '%s'", database, ref.Columns[0].Name))
		if err != nil || len(rows) != 1 {
			return 0, fmt.Errorf("count the rows of profiles of %s: %w", database, err)
		}
		return int64(rows[0].N), nil
	}, nil
}
