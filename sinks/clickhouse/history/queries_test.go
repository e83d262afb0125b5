package history_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
)

var update = flag.Bool("update", false, "write testdata/queries.sql")

// recording is a ClickHouse without rows that keeps what it was asked.
type recording struct{ queries []string }

func (r *recording) Select(_ context.Context, _ any, query string, _ ...any) error {
	r.queries = append(r.queries, query)
	return nil
}

func (*recording) InsertRows(context.Context, string, any) error { return nil }

// TestQueries compares the text of every query with testdata/queries.sql. Analysts keep the
// plain SQL of events and reports; the others have plans that were measured.
func TestQueries(t *testing.T) {
	start := time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	hour := func(h int) time.Time { return start.Add(time.Duration(h) * time.Hour) }
	m := &schemas.Manifest{
		Name: "shop", Version: "1.0",
		Features: []schemas.Feature{
			{Name: "amount", Type: schemas.TypeFloat32, Optional: true},
			{Name: "country", Type: schemas.TypeCategory},
			{Name: "label", Type: schemas.TypeString, Optional: true},
			{Name: "note", Type: schemas.TypeString},
		},
		Outputs:    []schemas.Output{{Name: "score", Type: schemas.TypeFloat32}},
		Target:     &schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.5, PositiveAbove: 15},
		Monitoring: &schemas.Monitoring{Window: schemas.Duration(time.Hour)},
	}
	labelled := *m
	labelled.Features = m.Features[:2]
	plain := labelled
	plain.Target = nil
	ref := &schemas.Reference{Columns: []schemas.ReferenceColumn{
		{Name: "amount", Edges: []float64{-1e30, 0.1, 1.0 / 3, 1e30}, Counts: make([]int64, 5)},
		{Name: "country", Categories: []string{"it's", `back\slash`, "größe", "new\nline", ""}, Counts: make([]int64, 5)},
		{Name: "note"},
	}}
	span := profile.Span{Start: hour(0), End: hour(3)}

	var text strings.Builder
	put := func(name, query string) { fmt.Fprintf(&text, "-- %s\n%s;\n\n", name, query) }
	conn := &recording{}
	ask := func(name string, err error) {
		require.NoError(t, err)
		for _, q := range conn.queries {
			put(name, q)
		}
		conn.queries = nil
	}
	store, ctx := history.New(conn, "millrace"), t.Context()
	ask("progress", second(store.Progress(ctx, []string{"shop", "flights"}, time.Time{})))
	ask("progress since a day", second(store.Progress(ctx, []string{"shop", "flights"}, start)))
	ask("rows by window, from the beginning", second(store.CountRows(ctx, m, profile.Span{End: hour(3)}, time.Time{})))
	ask("rows by window", second(store.CountRows(ctx, m, span, time.Time{})))
	ask("rows by window, scored since", second(store.CountRows(ctx, m, span, hour(9))))
	ask("cells", second(store.CountCells(ctx, m, ref, []time.Time{hour(0), hour(1)})))
	ask("cells of windows apart", second(store.CountCells(ctx, m, ref, []time.Time{hour(0), hour(3)})))
	checked, monitored, low := *m, *m.Monitoring, 0.1
	checked.Features = append([]schemas.Feature{{Name: "amount", Type: schemas.TypeFloat32, Min: &low}}, m.Features[1:]...)
	monitored.Checks = []schemas.Check{{Stattest: schemas.StattestOutOfRange, Column: "amount"}, {Stattest: schemas.StattestDuplicates}}
	checked.Monitoring = &monitored
	ask("faults", second(store.CountFaults(ctx, &checked, []time.Time{hour(0), hour(3)})))
	divided, monitoring := *m, *m.Monitoring
	monitoring.Segments = []string{"country"}
	divided.Monitoring = &monitoring
	ask("cells by the values of a segment", second(store.CountSegments(ctx, &divided, ref, "country", span)))
	ask("cells by the values of a segment that are not listed", second(store.CountSegments(ctx, m, ref, "note", span)))
	ask("quality", second(store.CountQuality(ctx, m, []time.Time{hour(0), hour(3)})))
	words, classes, price := *m, *m, *m
	words.Target = &schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.5, Positive: "it's"}
	classes.Target = &schemas.Target{Kind: schemas.TargetMulticlass, Score: "class", Probabilities: map[string]string{"it's": "p1", "b": "p2"}}
	price.Target = &schemas.Target{Kind: schemas.TargetRegression, Score: "price"}
	ask("quality of words", second(store.CountQuality(ctx, &words, []time.Time{hour(0)})))
	ask("quality of classes", second(store.CountQuality(ctx, &classes, []time.Time{hour(0)})))
	ask("quality of numbers", second(store.CountQuality(ctx, &price, []time.Time{hour(0)})))
	also := *m
	also.Monitoring = &schemas.Monitoring{Window: schemas.Duration(time.Hour), Windows: []schemas.Windows{{Length: schemas.Duration(3 * time.Hour), Every: schemas.Duration(time.Hour)}}}
	sliding := also.Spread()[1]
	ask("rows of windows that slide", second(store.CountRows(ctx, sliding, span, time.Time{})))
	ask("cells of windows that slide", second(store.CountCells(ctx, sliding, ref, []time.Time{hour(0), hour(1)})))
	ask("quality of windows that slide", second(store.CountQuality(ctx, sliding, []time.Time{hour(0), hour(1), hour(3)})))
	ask("delay of labels", second(store.LabelDelays(ctx, m, []time.Time{hour(0), hour(3)})))
	ask("latency", second(store.Latencies(ctx, m, []time.Time{hour(0), hour(3)})))
	ask("scores", second(store.CountScores(ctx, m, []float64{0.1, 1.0 / 3}, []time.Time{hour(0), hour(3)}, false)))
	ask("scores of rows with a label", second(store.CountScores(ctx, m, nil, []time.Time{hour(0)}, true)))
	_, _, _, scores := store.LabelledScores(ctx, m, []time.Time{hour(0)}, 10_000)
	ask("labelled scores", scores)
	ask("segments", second(store.CountSegmentQuality(ctx, m, "country", []time.Time{hour(0), hour(3)})))
	ask("segments of classes", second(store.CountSegmentQuality(ctx, &classes, "label", []time.Time{hour(0)})))
	ask("found", second(store.Found(ctx, m, hour(0), hour(3))))
	_, _, estimator := store.LearnedEstimator(ctx, m, hour(0))
	ask("learned estimator", estimator)
	ask("finished", second(store.LastFinished(ctx, m)))
	ask("finished", second(store.FinishedWindows(ctx, m, time.Time{})))
	ask("finished", second(store.LastRetraining(ctx, m)))
	ask("finished", second(store.Retrainings(ctx, m)))
	ask("finished since", second(store.FinishedWindows(ctx, m, start)))
	ask("finished that slide", second(store.FinishedWindows(ctx, sliding, start)))
	ask("calibrations of alarms", second(store.AlarmCalibrations(ctx, m)))
	ask("alarms", second(store.AlarmWindows(ctx, m, start)))
	ask("labels noted", second(store.LabelsNoted(ctx, m)))
	ask("label arrivals", second(store.LabelArrivals(ctx, m, time.Time{})))
	ask("label arrivals since", second(store.LabelArrivals(ctx, m, hour(9))))
	_, _, looked := store.LabelledWindows(ctx, m, hour(-90), hour(9))
	ask("requests of labels", looked)
	ask("which labels count", second(store.LabelStates(ctx, m, []time.Time{hour(0), hour(3)})))
	since := profile.LabelsAfter{StoredFrom: hour(9), ScoredFrom: hour(8), Position: []schemas.Coordinates{{Partition: 2, Offset: 7}}, Limit: 100}
	ask("labels beyond a position", second(store.LabelledSince(ctx, m, since)))
	ask("when a version began", second(store.Started(ctx, m)))
	after := profile.RowsAfter{StoredFrom: hour(8), StoredTo: hour(9), Position: []schemas.Coordinates{{Partition: 2, Offset: 7, Row: 1}}, Limit: 100}
	ask("rows beyond a position", second(store.RowsSince(ctx, m, []string{"score", "amount"}, after)))
	_, _, kept := store.BreakState(ctx, m)
	ask("state of breaks", kept)
	hourly := profile.Span{Start: hour(0), End: hour(1)}
	put("rows", store.RowsSQL(m, hourly))
	put("rows of a reason", store.SelectedSQL(m, hourly, schemas.RowSelection{Column: "country", Unlisted: ref.Columns[1].Categories}))
	put("training", store.TrainingSQL(m, hourly))
	put("training, label", store.TrainingSQL(&labelled, hourly))
	put("training, classes", store.TrainingSQL(&classes, hourly))
	put("training, words", store.TrainingSQL(&words, hourly))
	put("labelled", store.LabelledSQL(m, hourly))
	put("labelled, without a target", store.LabelledSQL(&plain, hourly))
	put("training without a target", store.TrainingSQL(&plain, hourly))
	ask("due reports", second(store.DueReports(ctx, m, time.Time{}, 64)))
	ask("due reports of a schedule", second(store.DueReports(ctx, m, hour(9), 64)))
	ask("results", second(store.Results(ctx, m, hour(0), hour(3))))
	ask("verdicts", second(store.WindowSummaries(ctx, m, 1001)))

	const path = "testdata/queries.sql"
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text.String())
}

func second[T any](_ T, err error) error { return err }
