package drift_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// memory is a store that answers what it holds.
type memory struct {
	calibrations []schemas.AlarmCalibration
	alarms       []schemas.AlarmWindow

	asked      int // for progress
	partitions []schemas.PartitionProgress
	rows       []profile.WindowRows
	cells      []profile.WindowCounts
	quality    []profile.Quality
	scores     []schemas.DriftResult
	figures    []schemas.AccuracyResult
	finished   []schemas.FinishedWindow
	made       *schemas.Reference
	kept       []schemas.LearnedReference
	noted      time.Time
	arrivals   []profile.LabelArrival
	labels     profile.LabelState
	searched   []labelSearch
	repeat     bool // quality, for each window
	buckets    []profile.WindowCounts
	noBuckets  error
	found      schemas.Found
	scored     profile.ScoreCounts
	segments   []profile.Segment
	delays     profile.LabelDelays
	latency    profile.Latency
	strangers  bool // labels of requests that never come are among those that do
}

// labelSearch is a search for the requests of labels.
type labelSearch struct{ from, since time.Time }

func (m *memory) Progress(context.Context, []string, time.Time) ([]schemas.PartitionProgress, error) {
	m.asked++
	return m.partitions, nil
}

func (m *memory) CountRows(_ context.Context, _ *schemas.Manifest, s profile.Span, _ time.Time) ([]profile.WindowRows, error) {
	return slices.DeleteFunc(slices.Clone(m.rows), func(r profile.WindowRows) bool { return r.Start.Before(s.Start) || !r.Start.Before(s.End) }), nil
}

func (m *memory) CountCells(context.Context, *schemas.Manifest, *schemas.Reference, []time.Time) ([]profile.WindowCounts, error) {
	return m.cells, nil
}

func (m *memory) CountFaults(_ context.Context, _ *schemas.Manifest, starts []time.Time) ([]profile.Faults, error) {
	return make([]profile.Faults, len(starts)), nil
}

func (*memory) CountSegments(context.Context, *schemas.Manifest, *schemas.Reference, string, profile.Span) ([]profile.SegmentCounts, error) {
	return nil, nil
}

func (m *memory) CountBuckets(context.Context, *schemas.Manifest, *schemas.Reference, profile.Span, uint64) ([]profile.WindowCounts, error) {
	return m.buckets, m.noBuckets
}

func (m *memory) SelectedSQL(*schemas.Manifest, profile.Span, schemas.RowSelection) string { return "" }

func (m *memory) MakeReference(context.Context, *schemas.Manifest, []profile.Span) (*schemas.Reference, error) {
	return m.made, nil
}

func (m *memory) LearnedReference(context.Context, *schemas.Manifest) (schemas.LearnedReference, bool, error) {
	if len(m.kept) == 0 {
		return schemas.LearnedReference{}, false, nil
	}
	return m.kept[0], true, nil
}

func (m *memory) WriteReference(_ context.Context, r schemas.LearnedReference) error {
	m.kept = append(m.kept, r)
	return nil
}

func (m *memory) CountQuality(_ context.Context, _ *schemas.Manifest, starts []time.Time) ([]profile.Quality, error) {
	if m.repeat {
		return slices.Repeat(m.quality, len(starts)), nil
	}
	return m.quality, nil
}

func (m *memory) LastFinished(context.Context, *schemas.Manifest) (map[schemas.Job]time.Time, error) {
	return nil, nil
}

func (m *memory) FinishedWindows(context.Context, *schemas.Manifest, time.Time) ([]schemas.FinishedWindow, error) {
	return m.finished, nil
}

func (m *memory) LastRetraining(context.Context, *schemas.Manifest) (*schemas.FinishedWindow, error) {
	return nil, nil
}

func (m *memory) Retrainings(context.Context, *schemas.Manifest) ([]schemas.FinishedWindow, error) {
	return nil, nil
}

func (m *memory) LabelsNoted(context.Context, *schemas.Manifest) (time.Time, error) {
	return m.noted, nil
}

func (m *memory) NoteLabels(_ context.Context, _ *schemas.Manifest, at time.Time) error {
	m.noted = at
	return nil
}

func (m *memory) LabelArrivals(_ context.Context, _ *schemas.Manifest, since time.Time) ([]profile.LabelArrival, error) {
	return slices.DeleteFunc(slices.Clone(m.arrivals), func(a profile.LabelArrival) bool { return a.StoredAt.Before(since) }), nil
}

func (m *memory) LabelledWindows(_ context.Context, _ *schemas.Manifest, from, since time.Time) ([]time.Time, bool, error) {
	m.searched = append(m.searched, labelSearch{from, since})
	return []time.Time{m.rows[0].Start}, !m.strangers, nil
}

func (m *memory) LabelStates(_ context.Context, _ *schemas.Manifest, starts []time.Time) ([]profile.LabelState, error) {
	return slices.Repeat([]profile.LabelState{m.labels}, len(starts)), nil
}

func (m *memory) WriteResults(_ context.Context, scores []schemas.DriftResult, figures []schemas.AccuracyResult) error {
	m.scores, m.figures = append(m.scores, scores...), append(m.figures, figures...)
	return nil
}

func (m *memory) WriteFound(_ context.Context, f schemas.Found) error {
	m.found.Segments, m.found.Requirements = append(m.found.Segments, f.Segments...), append(m.found.Requirements, f.Requirements...)
	m.found.Delays = append(m.found.Delays, f.Delays...)
	return nil
}

func (*memory) WriteEstimator(context.Context, schemas.LearnedEstimator) error { return nil }

func (*memory) LearnedEstimator(context.Context, *schemas.Manifest, time.Time) (schemas.LearnedEstimator, bool, error) {
	return schemas.LearnedEstimator{}, false, nil
}

func (*memory) LabelledScores(context.Context, *schemas.Manifest, []time.Time, int) (scores []float64, positive []bool, total uint64, err error) {
	return nil, nil, 0, nil
}

func (m *memory) CountScores(_ context.Context, _ *schemas.Manifest, _ []float64, starts []time.Time, _ bool) ([]profile.ScoreCounts, error) {
	return slices.Repeat([]profile.ScoreCounts{m.scored}, len(starts)), nil
}

func (m *memory) CountSegmentQuality(_ context.Context, _ *schemas.Manifest, _ string, starts []time.Time) ([][]profile.Segment, error) {
	return slices.Repeat([][]profile.Segment{m.segments}, len(starts)), nil
}

func (m *memory) LabelDelays(_ context.Context, _ *schemas.Manifest, starts []time.Time) ([]profile.LabelDelays, error) {
	return slices.Repeat([]profile.LabelDelays{m.delays}, len(starts)), nil
}

func (m *memory) Latencies(_ context.Context, _ *schemas.Manifest, starts []time.Time) ([]profile.Latency, error) {
	return slices.Repeat([]profile.Latency{m.latency}, len(starts)), nil
}

func (m *memory) Results(context.Context, *schemas.Manifest, time.Time, time.Time) (schemas.Results, error) {
	return schemas.Results{Windows: m.finished, Drift: m.scores, Accuracy: m.figures}, nil
}

func (m *memory) WriteWindows(_ context.Context, windows []schemas.FinishedWindow) error {
	m.finished = append(m.finished, windows...)
	return nil
}

func (m *memory) AlarmCalibrations(context.Context, *schemas.Manifest) ([]schemas.AlarmCalibration, error) {
	return m.calibrations, nil
}

func (m *memory) WriteAlarmCalibration(_ context.Context, c schemas.AlarmCalibration) error {
	m.calibrations = append(m.calibrations, c)
	return nil
}

func (m *memory) AlarmWindows(context.Context, *schemas.Manifest, time.Time) ([]schemas.AlarmWindow, error) {
	return m.alarms, nil
}

func (m *memory) WriteAlarms(_ context.Context, windows []schemas.AlarmWindow) error {
	m.alarms = append(m.alarms, windows...)
	return nil
}

func (m *memory) TrainingSQL(_ *schemas.Manifest, s profile.Span) string {
	return "rows before " + s.End.Format(time.RFC3339)
}

// oneWindow is a store with one window of a version, whose scores have moved and whose labels
// are as the model says.
func oneWindow() (store *memory, version drift.Version, begin time.Time) {
	begin = time.Date(2001, 2, 1, 0, 0, 0, 0, time.UTC)
	store = &memory{
		partitions: []schemas.PartitionProgress{{
			Model: "shop", Version: "1", TopicID: "t", EventTime: begin.Add(25 * time.Hour), ScoredAt: begin.Add(26 * time.Hour), Newest: begin.Add(26 * time.Hour), Requests: 100,
		}},
		rows:    []profile.WindowRows{{Start: begin, Rows: 100}},
		cells:   []profile.WindowCounts{{Start: begin, Rows: 100, Columns: []profile.Counts{{Cells: []int64{10, 90}}}}},
		quality: []profile.Quality{{Confusion: profile.Confusion{TruePositive: 40, TrueNegative: 60}, TwiceU: 2 * 40 * 60}},
	}
	version = drift.Version{
		Manifest: &schemas.Manifest{
			Name: "shop", Version: "1", Outputs: []schemas.Output{{Name: "score", Type: schemas.TypeFloat64}},
			Target: &schemas.Target{Kind: schemas.TargetBinary, Score: "score", Threshold: 0.5},
			Monitoring: &schemas.Monitoring{
				Window: schemas.Duration(24 * time.Hour), IdleTimeout: schemas.Duration(time.Minute), MinRows: 50, Rate: schemas.DefaultRate,
				Checks: []schemas.Check{
					{Stattest: schemas.StattestKS, Column: "score", Threshold: 0.3, Severity: schemas.SeverityCritical, Retrain: true},
					{Stattest: schemas.StattestAUC, Threshold: 0.9, Severity: schemas.SeverityWarning},
				},
			},
		},
		Reference: &schemas.Reference{Rows: 100, Columns: []schemas.ReferenceColumn{{Name: "score", Edges: []float64{0.5}, Counts: []int64{60, 40}}}},
	}
	return store, version, begin
}

// TestMonitorJudgesWhatIsCounted has one window, whose scores have moved and whose labels
// are as the model says, and then passes in which nothing is new.
func TestMonitorJudgesWhatIsCounted(t *testing.T) {
	store, version, begin := oneWindow()
	now := begin.Add(26 * time.Hour)
	published := &topic{}
	monitor := drift.NewMonitor(drift.DefaultConfig(), store, published, zerolog.Nop())
	stats, err := monitor.Tick(t.Context(), now, []drift.Version{version})
	require.NoError(t, err)
	require.Equal(t, map[string]time.Time{"shop/1": begin.Add(25 * time.Hour)}, stats.Watermarks)
	require.Len(t, stats.Judged, 2)
	require.Equal(t, []string{"breached", "ok"}, []string{store.finished[0].Verdict, store.finished[1].Verdict})
	require.Equal(t, []string{"psi", "ks"}, []string{store.scores[0].Stattest, store.scores[1].Stattest})
	require.InDelta(t, 0.5, store.scores[1].Score, 1e-12)
	require.Len(t, store.figures, 12)
	require.Equal(t, "roc_auc", store.figures[7].Metric)
	require.Equal(t, 1.0, *store.figures[7].Value)
	require.Equal(t, []string{"00:00 retraining r0"}, published.kinds())
	require.Equal(t, "rows before 2001-02-02T00:00:00Z", published.events[0].Data.TrainingSQL)

	for i := range 10 {
		stats, err = monitor.Tick(t.Context(), now.Add(time.Duration(i)*time.Second), []drift.Version{version})
		require.NoError(t, err)
		require.Empty(t, stats.Judged)
	}
	require.Equal(t, 11, store.asked)
	require.Len(t, published.events, 1)
}
