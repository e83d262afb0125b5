package history_test

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// hardColumns are values that are hard to number, by column.
var hardColumns = map[string][]any{
	"f64": {
		nil, math.NaN(), math.Inf(1), math.Inf(-1), 0.0, math.Copysign(0, -1), 5e-324, -5e-324, 1e-310, 0.1, math.Nextafter(0.1, 0),
		math.Nextafter(0.1, 1), 1.0, -1.0, -2.0, 1e300, math.MaxFloat64, -math.MaxFloat64, math.Float64frombits(0x7ff8_0000_4e55_4c4c),
	},
	"f32":  {nil, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), float32(0), float32(math.Copysign(0, -1)), float32(0.1), float32(1e-45), float32(-1e-45), float32(math.MaxFloat32), float32(1)},
	"i32":  {nil, int32(-1), int32(0), int32(1), int32(math.MinInt32), int32(math.MaxInt32)},
	"i64":  {nil, int64(0), int64(1<<53 - 1), int64(1 << 53), int64(1<<53 + 1), int64(1<<53 + 2), int64(1<<53 + 3), int64(math.MaxInt64), int64(math.MinInt64), int64(-1)},
	"flag": {nil, true, false}, "bit": {nil, true, false},
	"text":     {nil, "", "a", "A", "größe", "it's", `back\slash`, "\xff", "a\x00b", "new\nline"},
	"category": {nil, "", "a", "b", "\xff\xfe", "(others)", "it's"},
	"listed":   {nil, int64(1), int64(-1), int64(7)},
}

func hardShop() (*schemas.Manifest, *schemas.Reference) {
	m := &schemas.Manifest{
		Name: "shop", Version: "1",
		Features: []schemas.Feature{
			{Name: "f64", Type: schemas.TypeFloat64, Optional: true},
			{Name: "f32", Type: schemas.TypeFloat32, Optional: true},
			{Name: "i32", Type: schemas.TypeInt32, Optional: true},
			{Name: "i64", Type: schemas.TypeInt64, Optional: true},
			{Name: "flag", Type: schemas.TypeBool, Optional: true},
			{Name: "bit", Type: schemas.TypeBool, Optional: true},
			{Name: "text", Type: schemas.TypeString, Optional: true},
			{Name: "category", Type: schemas.TypeCategory, Optional: true},
			{Name: "listed", Type: schemas.TypeInt64, Optional: true},
		},
		Outputs:    []schemas.Output{{Name: "score", Type: schemas.TypeFloat64}},
		Monitoring: &schemas.Monitoring{Window: schemas.Duration(time.Hour)},
	}
	edges := []float64{-math.MaxFloat64, -2, -1, -5e-324, 0, 5e-324, 0.1, float64(float32(0.1)), 1, 1 << 53, 1<<53 + 2, 1e300}
	return m, &schemas.Reference{Columns: []schemas.ReferenceColumn{
		{Name: "f64", Edges: edges, Counts: make([]int64, 13)},
		{Name: "f32", Edges: edges, Counts: make([]int64, 13)},
		{Name: "i32", Edges: []float64{-1, 0, 3}, Counts: make([]int64, 4)},
		{Name: "i64", Edges: edges, Counts: make([]int64, 13)},
		{Name: "flag", Categories: []string{"true"}, Counts: make([]int64, 1)},
		{Name: "bit", Edges: []float64{1}, Counts: make([]int64, 2)},
		{Name: "text", Categories: []string{"", "a", "größe", "it's", `back\slash`, "a\x00b"}, Counts: make([]int64, 6)},
		{Name: "category", Categories: []string{"a", "\xff\xfe", "it's"}, Counts: make([]int64, 3)},
		{Name: "listed", Categories: []string{"1", "-1"}, Counts: make([]int64, 2)},
		{Name: "score", Edges: []float64{0.5}, Counts: make([]int64, 2)},
	}}
}

// TestProfileEqualsCells: what is counted of records is what ClickHouse counts of the rows that they become.
func TestProfileEqualsCells(t *testing.T) {
	const seed, rows = 11, 6000
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	m, ref := hardShop()
	from := time.Date(1969, 12, 31, 22, 0, 0, 0, time.UTC)
	w := observetest.Rows{
		Manifest: m, Event: func(int) int64 { return from.UnixMicro() + r.Int64N(4*3_600_000_000) },
		Outcome: func(row int) string { return []string{schemas.OutcomeOK, schemas.OutcomeFailed}[row%7/6] },
		Value: func(column string, _ int) any {
			if column == "score" {
				return r.NormFloat64()
			}
			values := hardColumns[column]
			return values[r.IntN(len(values))]
		},
	}
	rec := observetest.Record(schemas.DefaultTopics().Observations, 1, []byte(m.Name), w.Stream(t, []int{0, rows / 2, rows}))
	c := clickhousetest.Client(t)
	stats, err := storetest.New(t, c).Store(t.Context(), []schemas.Record{rec}, false)
	require.NoError(t, err)
	require.Equal(t, rows, stats.Observations)

	var starts []time.Time
	for h := range 4 {
		starts = append(starts, from.Add(time.Duration(h)*time.Hour))
	}
	want, err := history.New(c, c.Database()).CountCells(t.Context(), m, ref, starts)
	require.NoError(t, err)
	got := make([]profile.WindowCounts, len(starts))
	for i := range got {
		got[i] = profile.WindowCounts{Start: starts[i], Columns: make([]profile.Counts, len(ref.Columns))}
		for j, c := range ref.Columns {
			got[i].Columns[j].Cells = make([]int64, len(c.Counts))
		}
	}
	profiles := profilesOf(t, profile.PlanOf(m, ref, nil), &rec)
	for _, row := range profiles {
		i := slices.IndexFunc(starts, func(s time.Time) bool { return s.Equal(profile.WindowStart(row.Bucket, time.Hour)) })
		j := slices.IndexFunc(ref.Columns, func(c schemas.ReferenceColumn) bool { return c.Name == row.Column })
		if j == 0 {
			got[i].Rows += row.Rows
		}
		counts := &got[i].Columns[j]
		for cell, n := range row.Cells {
			counts.Cells[cell] += int64(n)
		}
		counts.Other += int64(row.Other)
		counts.Missing += int64(row.Missing + row.NaN)
	}
	for i := range want {
		want[i].Unprofiled = "" // nothing is, in the store
	}
	require.Equal(t, want, got)
	for j, column := range ref.Columns {
		if len(column.Edges) > 0 && column.Name != "f64" && column.Name != "i64" {
			requireSums(t, c, profile.Column{Name: column.Name, Edges: column.Edges}, profiles)
		}
		require.NotZero(t, got[0].Columns[j].Rows())
	}
}

// profilesOf counts a record.
func profilesOf(t *testing.T, plan *profile.Plan, rec *schemas.Record) []profile.Row {
	t.Helper()
	counter, err := profile.NewCounter(plan)
	require.NoError(t, err)
	reader := observe.NewReader()
	s, messages, err := reader.Read(rec, func(schemas.Coordinates, int64) {})
	require.NoError(t, err)
	require.NoError(t, reader.Batches(s, messages, counter.Add))
	return counter.Rows()
}

// requireSums compares sums and extremes of a column with those of the rows that are stored.
func requireSums(t *testing.T, c *clickhouse.Client, column profile.Column, rows []profile.Row) {
	t.Helper()
	var sums []struct {
		Sum     float64 `ch:"s"`
		Squares float64 `ch:"q"`
		Scale   float64 `ch:"a"`
		Min     float64 `ch:"l"`
		Max     float64 `ch:"h"`
		Rows    uint64  `ch:"n"`
	}
	require.NoError(t, c.Select(t.Context(), &sums, fmt.Sprintf("SELECT sumKahan(x - (%[2]v)) AS s, sumKahan(pow(x - (%[2]v), 2)) AS q, sum(abs(x - (%[2]v))) AS a, min(x) AS l, max(x) AS h, count() AS n "+
		"FROM (SELECT assumeNotNull(toFloat64(%[1]s)) AS x FROM %[3]s.observations_shop WHERE version = '1' AND outcome = 'ok' AND isNotNull(%[1]s)) WHERE isFinite(x)",
		column.Name, column.Origin(), c.Database())))
	want := sums[0]
	var got profile.Row
	got.Min, got.Max = math.Inf(1), math.Inf(-1)
	n := uint64(0)
	for _, r := range rows {
		if r.Column == column.Name {
			n += r.Finite()
			got.Sum, got.SumSquares = got.Sum+r.Sum, got.SumSquares+r.SumSquares
			got.Min, got.Max = min(got.Min, r.Min), max(got.Max, r.Max)
		}
	}
	require.Equal(t, want.Rows, n, column.Name)
	require.InDelta(t, want.Sum, got.Sum, 1e-14*want.Scale, column.Name)
	require.InEpsilon(t, want.Squares, got.SumSquares, 1e-14, column.Name)
	require.Equal(t, []float64{want.Min, want.Max}, []float64{got.Min, got.Max}, column.Name)
}

// TestSketchIsClickHouses: ClickHouse reads sketches and merges them, and its quantiles are near those
// of the values.
func TestSketchIsClickHouses(t *testing.T) {
	const seed, rows = 12, 60_000
	t.Logf("seed %d", seed)
	m := &schemas.Manifest{Name: "shop", Version: "1", Features: []schemas.Feature{{Name: "x", Type: schemas.TypeFloat64}}}
	c := clickhousetest.Client(t)
	levels := []float64{0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1}
	for name, tc := range map[string]struct {
		draw, reference func(r *rand.Rand) float64
		minutes         int64
	}{
		"normal":             {(*rand.Rand).NormFloat64, (*rand.Rand).NormFloat64, 1},
		"normal, in minutes": {(*rand.Rand).NormFloat64, (*rand.Rand).NormFloat64, 50},
		"shifted out":        {func(r *rand.Rand) float64 { return 1e6 + r.NormFloat64() }, (*rand.Rand).NormFloat64, 3},
		"lognormal":          {func(r *rand.Rand) float64 { return math.Exp(3 * r.NormFloat64()) }, func(r *rand.Rand) float64 { return math.Exp(3 * r.NormFloat64()) }, 3},
		"years":              {func(r *rand.Rand) float64 { return 2000 + 30*r.Float64() }, func(r *rand.Rand) float64 { return 2000 + 26*r.Float64() }, 3},
		"zeros and integers": {func(r *rand.Rand) float64 { return math.Floor(max(0, 3*r.NormFloat64())) }, func(r *rand.Rand) float64 { return math.Floor(max(0, 3*r.NormFloat64())) }, 3},
		"one value":          {func(*rand.Rand) float64 { return 7 }, (*rand.Rand).NormFloat64, 2},
		"few rows":           {(*rand.Rand).NormFloat64, (*rand.Rand).NormFloat64, rows / 30},
		"beyond 32 bits":     {func(r *rand.Rand) float64 { return 1e300 * r.NormFloat64() }, func(r *rand.Rand) float64 { return 1e300 * r.NormFloat64() }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, seed))
			sample := make([]float64, 4000)
			for i := range sample {
				sample[i] = tc.reference(r)
			}
			slices.Sort(sample)
			var at []float64
			for _, rank := range profile.EdgeRanks(int64(len(sample))) {
				at = append(at, sample[rank])
			}
			plan := &profile.Plan{Model: "shop", Version: "1", Bucket: time.Minute, Columns: []profile.Column{{Name: "x", Edges: profile.Edges(at, sample[0])}}}
			values := make([]float64, rows)
			w := observetest.Rows{Manifest: m, Event: func(int) int64 { return r.Int64N(tc.minutes) * 60_000_000 }, Value: func(_ string, row int) any {
				values[row] = tc.draw(r)
				return values[row]
			}}
			rec := observetest.Record(schemas.DefaultTopics().Observations, 1, []byte("shop"), w.Stream(t, []int{0, rows / 3, rows}))
			sketches := profilesOf(t, plan, &rec)
			require.LessOrEqual(t, len(sketches), int(tc.minutes))
			state := "quantilesTDigest(" + strings.Trim(strings.ReplaceAll(fmt.Sprint(levels), " ", ", "), "[]") + ")"
			table := c.Database() + ".sketches"
			require.NoError(t, c.Exec(t.Context(), "CREATE OR REPLACE TABLE "+table+" (s AggregateFunction("+state+", Float64)) ENGINE = Memory"))
			for part := range slices.Chunk(sketches, 100) {
				var texts []string
				for _, s := range part {
					require.Less(t, len(s.Sketch), 8*1000)
					texts = append(texts, "'"+hex.EncodeToString(s.Sketch)+"'")
				}
				require.NoError(t, c.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s SELECT CAST(unhex(arrayJoin([%s])) AS AggregateFunction(%s, Float64))", table, strings.Join(texts, ","), state)))
			}
			require.NoError(t, c.Exec(t.Context(), fmt.Sprintf("INSERT INTO %s SELECT CAST(unhex('00') AS AggregateFunction(%s, Float64))", table, state))) // of no numbers
			var merged []struct {
				Q []float32 `ch:"q"`
			}
			require.NoError(t, c.Select(t.Context(), &merged, fmt.Sprintf("SELECT %s(s) AS q FROM %s", strings.Replace(state, "TDigest", "TDigestMerge", 1), table)))
			slices.Sort(values)
			for i, q := range levels {
				got := float64(merged[0].Q[i])
				low, high := rankOf(values, got)
				off := max(0, low-q, q-high)
				t.Logf("quantile %v: %v, off by %.5f of rows", q, got, off)
				require.LessOrEqual(t, off, 0.0015+0.04*q*(1-q), "quantile %v: %v", q, got)
			}
		})
	}
}

// rankOf returns the shares of values, which ascend, below x and up to x, both as 32-bit floats.
func rankOf(values []float64, x float64) (low, high float64) {
	clamped := func(v float64) float64 {
		return float64(float32(min(max(v, -math.MaxFloat32), math.MaxFloat32)))
	}
	n := float64(len(values))
	below, _ := slices.BinarySearchFunc(values, x, func(v, x float64) int {
		if clamped(v) < x {
			return -1
		}
		return 1
	})
	upto, _ := slices.BinarySearchFunc(values, x, func(v, x float64) int {
		if clamped(v) <= x {
			return -1
		}
		return 1
	})
	return float64(below) / n, float64(upto) / n
}
