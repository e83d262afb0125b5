package history_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/observe/observetest"
	"github.com/millrace/millrace/sinks/clickhouse/clickhousetest"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
	"github.com/millrace/millrace/sinks/clickhouse/store/storetest"
)

// filledRow is a row of profiles, summed up.
type filledRow struct {
	Variant     string   `ch:"v"`
	Bucket      int64    `ch:"b"`
	Segment     string   `ch:"g"`
	Value       string   `ch:"w"`
	Column      string   `ch:"c"`
	Rows        uint64   `ch:"n"`
	Missing     uint64   `ch:"m"`
	NaN         uint64   `ch:"a"`
	PositiveInf uint64   `ch:"p"`
	NegativeInf uint64   `ch:"q"`
	Other       uint64   `ch:"o"`
	Cells       []uint64 `ch:"k"`
	Total       float64  `ch:"s"`
	Squares     float64  `ch:"r"`
	Least       float64  `ch:"l"`
	Greatest    float64  `ch:"h"`
	Unseen      []string `ch:"u"`
}

// TestBackfillEqualsCounter: what ClickHouse counts of rows is what a recorder counts of the records
// that they were, in hard columns, over segments, and however statements are cut.
func TestBackfillEqualsCounter(t *testing.T) {
	t.Parallel()
	const seed, rows = 21, 9000
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, seed))
	m, ref := hardShop()
	m.Monitoring.Segments = []string{"category", "flag", "text", "unknown"}
	from := time.Date(1969, 12, 31, 22, 0, 0, 0, time.UTC)
	w := observetest.Rows{
		Manifest: m, Event: func(int) int64 { return from.UnixMicro() + r.Int64N(3*3_600_000_000) },
		Outcome: func(row int) string { return []string{schemas.OutcomeOK, schemas.OutcomeFailed}[row%7/6] },
		Variant: func(row int) string { return []string{"live", "shadow"}[row%3/2] },
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
	_, err := storetest.New(t, c).Store(t.Context(), []schemas.Record{rec}, false)
	require.NoError(t, err)
	plan := profile.PlanOf(m, ref, m.Monitoring.Segments)
	require.Equal(t, []string{"category", "flag", "text"}, plan.Segments)
	want := map[string]profile.Row{}
	for _, row := range profilesOf(t, plan, &rec) {
		want[fmt.Sprintf("%q %d %q %q %q", row.Variant, row.Bucket.UnixMicro(), row.Segment, row.Value, row.Column)] = row
	}
	for _, bytes := range []int{2 << 20, 1 << 30} {
		require.NoError(t, c.Exec(t.Context(), "TRUNCATE TABLE "+c.Database()+".profiles"))
		p := history.NewProfiler(c, c.Database())
		p.Settled(-time.Minute)
		p.FillWithin(bytes)
		done, err := p.Fill(t.Context(), m, ref, allTime, 1<<40)
		require.NoError(t, err)
		require.Equal(t, 36, done.Buckets)
		done, err = p.Fill(t.Context(), m, ref, allTime, 1<<40)
		require.NoError(t, err)
		require.Zero(t, done, "nothing differs")
		requireFilled(t, c, plan, want)
	}
}

// requireFilled compares the table profiles with what was counted by a Counter.
func requireFilled(t *testing.T, c interface {
	history.ProfileConn
	Database() string
}, plan *profile.Plan, want map[string]profile.Row,
) {
	t.Helper()
	var found []filledRow
	require.NoError(t, c.Select(t.Context(), &found, strings.ReplaceAll(`SELECT p.variant AS v, toUnixTimestamp64Micro(p.bucket) AS b, p.segment AS g, p.value AS w, p.column AS c,
		sum(p.rows) AS n, sum(p.missing) AS m, sum(p.nan) AS a, sum(p.positive_inf) AS p, sum(p.negative_inf) AS q, sum(p.other) AS o, sumForEachMerge(p.cells) AS k,
		sum(p.total) AS s, sum(p.squares) AS r, min(p.least) AS l, max(p.greatest) AS h, arrayMap(x -> toString((x.1, x.2)), arraySort(topKWeightedMerge(10, 3, 'counts')(p.unseen))) AS u
		FROM {db}.profiles AS p GROUP BY v, b, g, w, c`, "{db}", c.Database())))
	require.Len(t, found, len(want))
	origins := map[string]float64{}
	for i := range plan.Columns {
		origins[plan.Columns[i].Name] = plan.Columns[i].Origin()
	}
	for _, got := range found {
		key := fmt.Sprintf("%q %d %q %q %q", got.Variant, got.Bucket, got.Segment, got.Value, got.Column)
		w, ok := want[key]
		require.True(t, ok, key)
		require.Equal(t, []uint64{w.Rows, w.Missing, w.NaN, w.PositiveInf, w.NegativeInf, w.Other},
			[]uint64{got.Rows, got.Missing, got.NaN, got.PositiveInf, got.NegativeInf, got.Other}, key)
		require.Equal(t, w.Cells, append([]uint64{}, got.Cells...), key)
		require.Equal(t, []float64{w.Min, w.Max}, []float64{got.Least + 0, got.Greatest + 0}, key)
		scale := float64(w.Rows) * max(math.Abs(w.Min-origins[got.Column]), math.Abs(w.Max-origins[got.Column]))
		if w.Finite() > 0 && scale*scale < math.MaxFloat64 {
			require.InDelta(t, w.Sum, got.Total, 1e-12*scale, key)
			require.InDelta(t, w.SumSquares, got.Squares, 1e-12*scale*scale, key)
		}
		var unseen []string
		for v, n := range w.Unseen {
			unseen = append(unseen, fmt.Sprint(v, n))
		}
		require.Len(t, got.Unseen, len(unseen), key)
	}
}

// TestSegmentsEqualRows: sums of profiles by the values of a segment are those of rows, counted one by one.
func TestSegmentsEqualRows(t *testing.T) {
	t.Parallel()
	w := historytest.NewWorld(t)
	all := append(w.Hour(0, 800, 0), w.Hour(1, 500, 1)...)
	store, hour := history.New(w, w.Database()), func(h int) time.Time { return historytest.Start.Add(time.Duration(h) * time.Hour) }
	values := map[string]func(i int) string{
		"t": func(i int) string { return all[i].Country },
		"n": func(i int) string { return strconv.FormatBool(all[i].Member) },
		"label": func(i int) string {
			if all[i].Note == nil {
				return ""
			}
			return *all[i].Note
		},
	}
	check := func(segment string, listed []string, span profile.Span, profiled bool) {
		t.Helper()
		got, err := store.CountSegments(t.Context(), w.Manifest, w.Reference, segment, span)
		require.NoError(t, err)
		rows := uint64(0)
		for _, s := range got {
			require.Equal(t, profiled, s.Profiled, "%s %q", segment, s.Value)
			require.Equal(t, span.Start, s.Start)
			its := all[:0:0]
			for i := range all {
				v := values[segment](i)
				if v != "" && !slices.Contains(listed, v) {
					v = profile.OtherValues
				}
				if v == s.Value && all[i].Outcome == schemas.OutcomeOK && !all[i].EventTime.Before(span.Start) && all[i].EventTime.Before(span.End) {
					its = append(its, all[i])
				}
			}
			require.EqualValues(t, len(its), s.Rows, "%s %q", segment, s.Value)
			for j, c := range w.Reference.Columns {
				require.Equal(t, w.Count(its, c.Name), s.Columns[j], "%s %q: %s", segment, s.Value, c.Name)
			}
			rows += s.Rows
		}
		total, err := store.CountRows(t.Context(), w.Manifest, span, time.Time{})
		require.NoError(t, err)
		want := uint64(0)
		for _, n := range total {
			want += n.Rows
		}
		require.Equal(t, want, rows)
		require.NotZero(t, rows)
	}
	countries := slices.Clone(w.Reference.Columns[3].Categories)
	both, first := profile.Span{Start: hour(0), End: hour(2)}, profile.Span{Start: hour(0), End: hour(1)}
	uneven := profile.Span{Start: hour(0).Add(time.Second), End: hour(2)}
	p := filler(w)
	fill := func() history.Filled {
		t.Helper()
		changed, err := p.Plan(t.Context(), w.Manifest, w.Reference)
		require.NoError(t, err)
		require.True(t, changed)
		done, err := p.Fill(t.Context(), w.Manifest, w.Reference, allTime, 1<<40)
		require.NoError(t, err)
		require.Zero(t, done.Left)
		return done
	}
	require.Equal(t, 24, fill().Buckets)
	require.Equal(t, []bool{true, true}, requireEqualToRows(t, w, []time.Time{hour(0), hour(1)}))
	check("t", countries, both, false) // not in the plan
	check("n", []string{"false", "true"}, uneven, false)

	// Another plan: what is old is counted by it.
	w.Manifest.Monitoring.Segments = []string{"t", "n", "label"}
	require.Equal(t, []bool{false, false}, requireEqualToRows(t, w, []time.Time{hour(0), hour(1)}))
	require.Equal(t, 24, fill().Buckets)
	require.Equal(t, []bool{true, true}, requireEqualToRows(t, w, []time.Time{hour(0), hour(1)}))
	for _, span := range []profile.Span{both, first} {
		check("t", countries, span, true)
		check("n", []string{"false", "true"}, span, true)
		check("label", []string{"a", "b"}, span, true)
	}
	check("label", []string{"a", "b"}, uneven, false)

	// A segment of which a part is lost is counted by rows, and again by a backfill.
	require.NoError(t, w.Exec(t.Context(), "DELETE FROM "+w.Database()+".profiles WHERE segment = 'n' AND value = 'true' AND bucket >= toDateTime('2001-02-01 01:10:00', 'UTC')"+w.DeleteSync()))
	check("n", []string{"false", "true"}, both, false)
	check("n", []string{"false", "true"}, first, true)
	check("t", countries, both, true)
	done, err := p.Fill(t.Context(), w.Manifest, w.Reference, allTime, 1<<40)
	require.NoError(t, err)
	require.Equal(t, 10, done.Buckets)
	check("n", []string{"false", "true"}, both, true)

	// Values that the reference does not list: the most frequent ones.
	w.Reference.Columns[3].Categories, w.Reference.Columns[3].Counts = nil, nil
	got, err := store.CountSegments(t.Context(), w.Manifest, w.Reference, "t", both)
	require.NoError(t, err)
	require.Len(t, got, len(countries)+2, "NULL and unknown among them")
	for _, bad := range []string{"amount", "nothing", "score"} {
		_, err := store.CountSegments(t.Context(), w.Manifest, w.Reference, bad, both)
		require.ErrorContains(t, err, "is no feature of type string, category or bool")
	}
	_, err = store.CountSegments(t.Context(), w.Manifest, w.Reference, "t", profile.Span{End: hour(1)})
	require.ErrorContains(t, err, "has no rows")
}

// TestBackfillOfManyCells: a column has more cells than one countResample counts.
func TestBackfillOfManyCells(t *testing.T) {
	t.Parallel()
	w := historytest.NewWorld(t)
	w.Hour(0, 400, 0)
	c := &w.Reference.Columns[2]
	c.Edges = nil
	for i := range 9000 {
		c.Edges = append(c.Edges, float64(i-4500)/1024)
	}
	c.Counts = make([]int64, len(c.Edges)+1)
	_, err := filler(w).Fill(t.Context(), w.Manifest, w.Reference, allTime, 1<<40)
	require.NoError(t, err)
	require.Equal(t, []bool{true}, requireEqualToRows(t, w, []time.Time{historytest.Start}))
}
