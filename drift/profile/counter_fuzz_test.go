package profile_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/ipc"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
)

func smallRecord(tb testing.TB, opts ...ipc.Option) []byte {
	tb.Helper()
	m, _ := shop()
	w := observetest.Rows{Manifest: m, Value: func(column string, row int) any {
		switch {
		case (row+len(column))%4 == 0:
			return nil
		case column == "f64", column == "score":
			return []float64{math.NaN(), 0, 0.3, math.Inf(1)}[row%4]
		case column == "f32":
			return float32(row)
		case column == "i32":
			return int32(row)
		case column == "i64":
			return int64(row)
		case column == "text", column == "category":
			return []string{"a", "b", ""}[row%3]
		default:
			return row%2 == 0
		}
	}}
	return w.Stream(tb, []int{0, 5, 6}, opts...)
}

// FuzzCounter counts records whose bytes are any: all rows, or an error that says whose fault it is.
func FuzzCounter(f *testing.F) {
	f.Add(smallRecord(f))
	f.Add(smallRecord(f, ipc.WithZstd()))
	f.Add(smallRecord(f, ipc.WithLZ4()))
	_, plan := shop()
	f.Fuzz(func(t *testing.T, value []byte) { checkRecord(t, plan, value) })
}

// checkRecord counts a record, and returns whether it did.
func checkRecord(t *testing.T, plan *profile.Plan, value []byte) bool {
	t.Helper()
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	if err := add(c, value); err != nil {
		if !errors.Is(err, observe.ErrMalformed) && !errors.Is(err, profile.ErrUnprofiled) {
			t.Fatalf("count %q = %v", value, err)
		}
		return false
	}
	for _, r := range c.Rows() {
		n := r.Missing + r.NaN + r.Other
		for _, k := range r.Cells {
			n += k
		}
		require.Equal(t, r.Rows, n)
		if r.Sketch != nil {
			centroidsOf(t, r.Sketch)
		}
	}
	return true
}

// Every byte is changed in turn.
func TestCounterSurvivesEveryChangedByte(t *testing.T) {
	_, plan := shop()
	for name, opts := range map[string][]ipc.Option{"none": nil, "zstd": {ipc.WithZstd()}} {
		good := smallRecord(t, opts...)
		counted := 0
		for i := range good {
			value := append([]byte(nil), good...)
			value[i] ^= []byte{0x01, 0x80, 0xff}[i%3]
			if checkRecord(t, plan, value) {
				counted++
			}
		}
		require.Greater(t, counted, 100, name)
		require.Less(t, counted, len(good)-500, name)
	}
}

// TestCounterRefuses: what it cannot count as ClickHouse does, or not within its memory, it does not count.
func TestCounterRefuses(t *testing.T) {
	m, _ := shop()
	column := func(c profile.Column) profile.Plan {
		return profile.Plan{Model: "shop", Version: "1", Bucket: time.Minute, Columns: []profile.Column{c}}
	}
	edges := []float64{1}
	for name, plan := range map[string]profile.Plan{
		"another model":        {Model: "other", Version: "1", Bucket: time.Minute},
		"no such column":       column(profile.Column{Name: "none", Edges: edges}),
		"bins of texts":        column(profile.Column{Name: "text", Edges: edges}),
		"bins of categories":   column(profile.Column{Name: "category", Edges: edges}),
		"categories of floats": column(profile.Column{Name: "f64", Categories: []string{"1"}}),
		"a time":               column(profile.Column{Name: schemas.ColumnEventTime, Edges: edges}),
		"no such segment":      {Model: "shop", Version: "1", Bucket: time.Minute, Segments: []string{"none"}},
		"segment of numbers":   {Model: "shop", Version: "1", Bucket: time.Minute, Segments: []string{"i64"}},
	} {
		c, err := profile.NewCounter(&plan)
		require.NoError(t, err, name)
		require.ErrorIs(t, add(c, smallRecord(t)), profile.ErrUnprofiled, name)
		require.Nil(t, c.Rows(), name)
	}
	for name, plan := range map[string]profile.Plan{
		"no bucket":           {Bucket: 0},
		"a fraction":          {Bucket: time.Microsecond + 1},
		"edges that descend":  {Bucket: 1000, Columns: []profile.Column{{Name: "x", Edges: []float64{1, 1}}}},
		"an infinite edge":    {Bucket: 1000, Columns: []profile.Column{{Name: "x", Edges: []float64{math.Inf(1)}}}},
		"both":                {Bucket: 1000, Columns: []profile.Column{{Name: "x", Edges: edges, Categories: []string{"a"}}}},
		"a category twice":    {Bucket: 1000, Columns: []profile.Column{{Name: "x", Categories: []string{"a", "a"}}}},
		"a column twice":      {Bucket: 1000, Columns: []profile.Column{{Name: "x"}, {Name: "x"}}},
		"a segment twice":     {Bucket: 1000, Segments: []string{"x", "x"}},
		"too many categories": {Bucket: 1000, Columns: []profile.Column{{Name: "x", Categories: make([]string, profile.MaxCells+1)}}},
	} {
		_, err := profile.NewCounter(&plan)
		require.Error(t, err, name)
	}

	// A bucket for each row.
	_, plan := shop()
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	records := 0
	w := observetest.Rows{Manifest: m, Event: func(row int) int64 { return int64(1000*records+row) * 60_000_000 }}
	for ; err == nil && records < 100; records++ {
		err = add(c, w.Stream(t, []int{0, 1000}))
	}
	require.ErrorIs(t, err, profile.ErrUnprofiled)
	require.Greater(t, records, 5)
	require.ErrorIs(t, add(c, smallRecord(t)), profile.ErrUnprofiled, "until Reset")
	c.Reset()
	require.NoError(t, add(c, smallRecord(t)))
	require.NotEmpty(t, c.Rows())
}

// TestCounterOfNoNumbers: a sketch of none is one that ClickHouse reads.
func TestCounterOfNoNumbers(t *testing.T) {
	m, plan := shop()
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	w := observetest.Rows{Manifest: m}
	require.NoError(t, add(c, w.Stream(t, []int{0, 3})))
	got := c.Rows()[0]
	require.Equal(t, []byte{0}, got.Sketch)
	require.Equal(t, []any{uint64(3), math.Inf(1), math.Inf(-1), 0.0, 0.0}, []any{got.Missing, got.Min, got.Max, got.Sum, got.SumSquares})
}

// TestCounterListedSegments: the first categories of the plan have a row of their own, in any order.
func TestCounterListedSegments(t *testing.T) {
	m := &schemas.Manifest{Name: "m", Version: "1", Features: []schemas.Feature{{Name: "x", Type: schemas.TypeCategory}}}
	plan := &profile.Plan{Model: "m", Version: "1", Bucket: time.Minute, Segments: []string{"x"}, Columns: []profile.Column{{Name: "x"}}}
	for i := range 150 {
		plan.Columns[0].Categories = append(plan.Columns[0].Categories, fmt.Sprintf("v%03d", i))
	}
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	w := observetest.Rows{Manifest: m, Value: func(_ string, row int) any { return fmt.Sprintf("v%03d", 150-row) }}
	require.NoError(t, add(c, w.Stream(t, []int{0, 151})))
	rows := c.Rows()
	require.Len(t, rows, 1+profile.MaxSegmentValues+1)
	others := rows[1]
	require.Equal(t, profile.OtherValues, others.Value)
	require.Equal(t, uint64(151-profile.MaxSegmentValues), others.Rows)
}

// TestCounterAllocatesPerBatchOnly: what a batch needs is kept.
func TestCounterAllocatesPerBatchOnly(t *testing.T) {
	m, plan := shop()
	w := observetest.Rows{Manifest: m, Value: func(column string, row int) any {
		switch column {
		case "f64", "score":
			return float64(row)
		case "f32":
			return float32(row)
		case "category":
			return []string{"a", "b", "c"}[row%3]
		case "flag":
			return row%2 == 0
		}
		return nil
	}}
	c, err := profile.NewCounter(plan)
	require.NoError(t, err)
	r := observe.NewReader()
	s, messages, err := r.Read(&schemas.Record{Value: w.Stream(t, []int{0, 4000})}, func(schemas.Coordinates, int64) {})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, r.Batches(s, messages, c.Add))
	}
	n := testing.AllocsPerRun(20, func() { require.NoError(t, r.Batches(s, messages, c.Add)) })
	require.Less(t, n, 20.0, "for 4,000 rows")
}
