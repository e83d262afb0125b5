package pipeline_test

import (
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/pipeline/catalog/catalogtest"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

// counting is what recorders count of fares where a monitor has made its plan.
func counting() (*schemas.Manifest, *schemas.Reference) {
	m := &schemas.Manifest{
		Name: "fares", Version: "1", Features: []schemas.Feature{{Name: "carrier", Type: schemas.TypeCategory}, {Name: "urgent", Type: schemas.TypeBool}},
		Monitoring: &schemas.Monitoring{Window: schemas.Duration(time.Hour), Segments: []string{"urgent"}},
	}
	return m, &schemas.Reference{Columns: []schemas.ReferenceColumn{
		{Name: "price", Edges: []float64{0.25, 0.5, 0.75, 10.5}, Counts: make([]int64, 5)},
		{Name: "carrier", Categories: []string{"AA", "UA"}, Counts: make([]int64, 2)},
		{Name: "urgent", Categories: []string{"false", "true"}, Counts: make([]int64, 2)},
		{Name: "total", Edges: []float64{0.5, 5}, Counts: make([]int64, 3)},
	}}
}

// clickhouse returns a client that the test's end closes.
func (h *harness) clickhouse() *clickhouse.Client {
	h.Helper()
	client, err := clickhouse.Open(h.config().ClickHouseOptions(h.log))
	require.NoError(h, err)
	h.Cleanup(func() { client.Close() })
	return client
}

// plan keeps the plan of fares, for recorders that are started afterwards.
func (h *harness) plan() {
	h.Helper()
	c := h.clickhouse()
	require.NoError(h, c.Migrate(h.Context()))
	m, ref := counting()
	_, err := history.NewProfiler(c, c.Database()).Plan(h.Context(), m, ref)
	require.NoError(h, err)
}

// requireProfiled waits until all rows are in profiles, and checks that the counts are those of the
// rows, and none is counted twice; no monitor counts what a recorder has not.
func (tr *traffic) requireProfiled() {
	h := tr.h
	h.Helper()
	m, ref := counting()
	c := h.clickhouse()
	store := history.New(c, c.Database())
	var starts []time.Time
	for i := range tr.hours {
		starts = append(starts, catalogtest.Epoch.Add(time.Duration(i)*time.Hour))
	}
	var got []profile.WindowCounts
	h.eventually("all rows are in profiles", func() (string, bool) {
		var err error
		got, err = store.CountCells(h.Context(), m, ref, starts)
		require.NoError(h, err)
		var state []string
		for _, w := range got {
			if !w.Profiled {
				state = append(state, w.Start.Format(time.RFC3339)+": "+w.Unprofiled)
			}
		}
		return strings.Join(state, "; "), len(state) == 0
	})
	rows, err := store.CountCellsOfRows(h.Context(), m, ref, starts)
	require.NoError(h, err)
	for i := range got {
		require.EqualValues(h, tr.perHour, got[i].Rows)
		require.Equal(h, rows[i].Columns, got[i].Columns)
	}
	span := profile.Span{Start: starts[0], End: starts[len(starts)-1].Add(time.Hour)}
	segments, err := store.CountSegments(h.Context(), m, ref, "urgent", span)
	require.NoError(h, err)
	want, err := store.CountSegmentsOfRows(h.Context(), m, ref, "urgent", span)
	require.NoError(h, err)
	require.Len(h, segments, 2)
	for i := range segments {
		require.True(h, segments[i].Profiled)
		segments[i].Profiled = false
	}
	require.Equal(h, want, segments)
}
