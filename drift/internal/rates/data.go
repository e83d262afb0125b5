package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
	"github.com/apache/arrow/go/v15/arrow/memory"
)

// kind is a distribution of a column. Every one is made from standard normal values, so that
// columns of any kind are correlated by their normal values.
type kind struct {
	name       string
	numeric    func(z float64) float64
	cumulative []float64 // of categories: the share of those up to each; nil for numbers
}

// kinds are the distributions measured.
func kinds() []kind {
	all := []kind{
		{name: "normal", numeric: func(z float64) float64 { return z }},
		{name: "lognormal", numeric: math.Exp},
		{name: "zero-inflated", numeric: func(z float64) float64 { return max(0, z) }},  // half of it zeros
		{name: "ties", numeric: func(z float64) float64 { return math.Round(2*z) / 2 }}, // some 15 distinct values
	}
	for _, n := range []int{2, 10, 40, 200, 1000} {
		all = append(all, zipf(n))
	}
	return all
}

// zipf is n categories, the k-th of which comes in proportion to 1/k.
func zipf(n int) kind {
	k := kind{name: fmt.Sprintf("%d categories", n), cumulative: make([]float64, n)}
	sum := 0.0
	for i := range n {
		sum += 1 / float64(i+1)
		k.cumulative[i] = sum
	}
	for i := range n {
		k.cumulative[i] /= sum
	}
	return k
}

// category returns the category of a standard normal value.
func (k kind) category(z float64) int {
	u := math.Erfc(-z/math.Sqrt2) / 2
	return min(sort.SearchFloat64s(k.cumulative, u), len(k.cumulative)-1)
}

// shift is what is done to the current side. Its zero value changes nothing.
type shift struct {
	location float64 // added to the normal values
	scale    float64 // factor of the normal values, less 1
	moved    float64 // share of rows that move to the second category
}

func (s shift) String() string {
	switch {
	case s.location != 0:
		return fmt.Sprintf("mean + %g σ", s.location)
	case s.scale != 0:
		return fmt.Sprintf("σ × %g", 1+s.scale)
	case s.moved != 0:
		return fmt.Sprintf("%g %% of rows move to the second category", 100*s.moved)
	default:
		return "none"
	}
}

// correlation of the normal values of correlated columns, each with each.
const correlation = 0.9

// cell is one place of the grid: the data of its runs.
type cell struct {
	kind               kind
	reference, current int // rows
	columns            int
	correlated         bool
	shift              shift
	runs               int
}

func (c cell) String() string {
	s := fmt.Sprintf("%s, %s", c.kind.name, c.sizes())
	if c.columns > 1 {
		s += ", " + c.columnsText()
	}
	if c.shift != (shift{}) {
		s += ", " + c.shift.String()
	}
	return s
}

func (c cell) sizes() string { return fmt.Sprintf("%d/%d", c.reference, c.current) }

func (c cell) columnsText() string {
	switch {
	case c.columns == 1:
		return "1 column"
	case c.correlated:
		return fmt.Sprintf("%d columns, correlated", c.columns)
	}
	return fmt.Sprintf("%d columns", c.columns)
}

// random returns the source of one run of a cell: the same whatever else is measured.
func (c cell) random(seed uint64, run int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, c.String(), " run ", run)
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // data that must be the same again
}

// tables makes the data of one run: the reference and the current side.
func (c cell) tables(seed uint64, run int) (reference, current *table) {
	rng := c.random(seed, run)
	return c.table(rng, "reference", c.reference, shift{}), c.table(rng, "current", c.current, c.shift)
}

func (c cell) table(rng *rand.Rand, name string, rows int, s shift) *table {
	var common []float64
	if c.correlated {
		common = make([]float64, rows)
		for i := range common {
			common[i] = rng.NormFloat64()
		}
	}
	fields, arrays := make([]arrow.Field, c.columns), make([]arrow.Array, c.columns)
	for k := range fields {
		z := func(i int) float64 {
			x := rng.NormFloat64()
			if common != nil {
				x = math.Sqrt(correlation)*common[i] + math.Sqrt(1-correlation)*x
			}
			return x*(1+s.scale) + s.location
		}
		if c.kind.cumulative == nil {
			b := array.NewFloat64Builder(memory.DefaultAllocator)
			b.Reserve(rows)
			for i := range rows {
				b.Append(c.kind.numeric(z(i)))
			}
			arrays[k] = b.NewArray()
		} else {
			b := array.NewStringBuilder(memory.DefaultAllocator)
			b.Reserve(rows)
			for i := range rows {
				at := c.kind.category(z(i))
				if s.moved > 0 && rng.Float64() < s.moved {
					at = 1
				}
				b.Append("c" + strconv.Itoa(at))
			}
			arrays[k] = b.NewArray()
		}
		fields[k] = arrow.Field{Name: "f" + strconv.Itoa(k), Type: arrays[k].DataType(), Nullable: true}
	}
	return &table{name: name, record: array.NewRecord(arrow.NewSchema(fields, nil), arrays, int64(rows))}
}

// table is a dataset.Source in memory: one record batch, left to the garbage collector.
type table struct {
	name   string
	record arrow.Record
}

func (t *table) Name() string          { return t.name }
func (t *table) Schema() *arrow.Schema { return t.record.Schema() }
func (t *table) Columnar() bool        { return true }
func (t *table) Close() error          { return nil }
func (t *table) Notes() []string       { return nil }
func (t *table) TypeErrors() []int64   { return make([]int64, t.record.NumCols()) }

// names are those of the columns.
func (t *table) names() []string {
	out := make([]string, t.record.NumCols())
	for i := range out {
		out[i] = t.record.ColumnName(i)
	}
	return out
}

func (t *table) Scan(ctx context.Context, columns []int, f func(arrow.Record) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	fields, arrays := make([]arrow.Field, len(columns)), make([]arrow.Array, len(columns))
	for i, c := range columns {
		fields[i], arrays[i] = t.Schema().Field(c), t.record.Column(c)
	}
	return f(array.NewRecord(arrow.NewSchema(fields, nil), arrays, t.record.NumRows()))
}
