package history_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/sinks/clickhouse/history"
	"github.com/millrace/millrace/sinks/clickhouse/history/historytest"
)

// TestScoresAndSegmentsAreThoseOfRows counts rows in Go and in SQL: hard scores, hard segments, and
// windows apart.
func TestScoresAndSegmentsAreThoseOfRows(t *testing.T) {
	w := historytest.NewWorld(t)
	for _, hour := range []int{0, 3} {
		rows := make([]historytest.Observation, 1500)
		for i := range rows {
			rows[i] = w.Observe(historytest.Start.Add(time.Duration(hour)*time.Hour+time.Duration(i)*time.Second), i, 0)
			switch i % 20 {
			case 0:
				rows[i].Probability = nil
			case 1:
				rows[i].Probability = new(float32(math.NaN()))
			case 2:
				rows[i].Probability = new([]float32{-0.25, 1.5, float32(math.Inf(1)), float32(math.Inf(-1))}[i/20%4])
			case 3:
				rows[i].Probability = new([]float32{0, 1, 0.1, 0.5, math.SmallestNonzeroFloat32, float32(math.Copysign(0, -1))}[i/20%6])
			}
			if i%3 > 0 {
				rows[i].Note = new("v" + strconv.Itoa(int(math.Sqrt(float64(i*i%4999))))) // some 70 values of unequal frequency
			}
		}
		w.Put(rows)
		w.Label(rows, 4, true)
	}
	store := history.New(w, w.Database())
	starts := []time.Time{historytest.Start, historytest.Start.Add(time.Hour), historytest.Start.Add(3 * time.Hour)}
	random := rand.New(rand.NewPCG(7, 7)) // edges whose literals ClickHouse has to read to the last bit
	many := []float64{math.SmallestNonzeroFloat64, 1e-310, 1e-300}
	for range 2000 {
		many = append(many, random.Float64()*math.Pow(2, -float64(random.IntN(30))), float64(random.Float32()))
	}
	slices.Sort(many)
	many = slices.Compact(many)
	for _, edges := range [][]float64{nil, many, {0, 0.05, float64(float32(0.1)), 0.1 + 1e-8, 1.0 / 3, 0.5, 1}, {0.5}} {
		for _, labelled := range []bool{false, true} {
			got, err := store.CountScores(t.Context(), w.Manifest, edges, starts, labelled)
			require.NoError(t, err)
			again, err := store.CountScores(t.Context(), w.Manifest, edges, starts, labelled)
			require.NoError(t, err)
			require.Equal(t, got, again, "to the last bit")
			for i, hour := range []int{0, 1, 3} {
				require.Equal(t, countScores(w, hour, edges, labelled), got[i], "hour %d, edges %v, labelled %t", hour, edges, labelled)
			}
		}
	}
	for _, feature := range []string{"t", "n", "label"} {
		got, err := store.CountSegmentQuality(t.Context(), w.Manifest, feature, starts)
		require.NoError(t, err)
		for i, hour := range []int{0, 1, 3} {
			require.Equal(t, countSegments(w, hour, feature), got[i], "hour %d by %s", hour, feature)
		}
	}
	scores, targets, total, err := store.LabelledScores(t.Context(), w.Manifest, starts, 1000)
	require.NoError(t, err)
	require.Len(t, scores, 1000)
	require.Len(t, targets, 1000)
	every, truths, all, err := store.LabelledScores(t.Context(), w.Manifest, starts, 1_000_000)
	require.NoError(t, err)
	require.EqualValues(t, len(every), all)
	require.Equal(t, total, all)
	from := 0
	for i := range scores { // the sample is a subsequence of all
		for math.Float64bits(scores[i]) != math.Float64bits(every[from]) || targets[i] != truths[from] {
			from++
		}
		from++
	}
	positives := 0
	for _, hour := range []int{0, 3} {
		for _, o := range w.Answered(hour) {
			if label, ok := w.Labels[o.RequestID]; ok && hasScore(o) && label > 15 {
				positives++
			}
		}
	}
	found := 0
	for _, p := range truths {
		if p {
			found++
		}
	}
	require.Equal(t, positives, found)
}

func hasScore(o historytest.Observation) bool {
	return o.Probability != nil && *o.Probability == *o.Probability
}

func countScores(w *historytest.World, hour int, edges []float64, labelled bool) profile.ScoreCounts {
	var out profile.ScoreCounts
	var above [2][]*big.Float
	for y := range out.Rows {
		out.Rows[y], out.Above[y], above[y] = make([]int64, len(edges)+1), make([]float64, len(edges)+1), make([]*big.Float, len(edges)+1)
		for k := range above[y] {
			above[y][k] = new(big.Float).SetPrec(200)
		}
	}
	for _, o := range w.Answered(hour) {
		if _, ok := w.Labels[o.RequestID]; !hasScore(o) || labelled && !ok {
			continue
		}
		score := float64(*o.Probability)
		if !(score >= 0 && score <= 1) {
			out.Outside++
			continue
		}
		k, y, low := sort.Search(len(edges), func(k int) bool { return edges[k] > score }), 0, 0.0
		if score >= w.Manifest.Target.Threshold {
			y = 1
		}
		if k > 0 {
			low = edges[k-1]
		}
		out.Rows[y][k]++
		unit := new(big.Float).SetMantExp(new(big.Float).SetFloat64(score-low), 60)
		whole, _ := unit.Int(nil)
		above[y][k].Add(above[y][k], new(big.Float).SetInt(whole))
	}
	for y := range out.Above {
		for k := range out.Above[y] {
			out.Above[y][k], _ = new(big.Float).SetMantExp(above[y][k], -60).Float64()
		}
	}
	return out
}

func countSegments(w *historytest.World, hour int, feature string) []profile.Segment {
	by := map[string]*profile.Segment{}
	for _, o := range w.Answered(hour) {
		label, ok := w.Labels[o.RequestID]
		if !hasScore(o) || !ok {
			continue
		}
		value := map[string]string{"t": o.Country, "n": strconv.FormatBool(o.Member), "label": ""}[feature]
		if feature == "label" && o.Note != nil {
			value = *o.Note
		}
		s := by[value]
		if s == nil {
			s = &profile.Segment{Value: value}
			by[value] = s
		}
		switch said := float64(*o.Probability) >= 0.5; {
		case said && label > 15:
			s.TruePositive++
		case said:
			s.FalsePositive++
		case label > 15:
			s.FalseNegative++
		default:
			s.TrueNegative++
		}
	}
	var out []profile.Segment
	for _, s := range by {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b profile.Segment) int {
		if a.Labels() != b.Labels() {
			return int(b.Labels() - a.Labels())
		}
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	if len(out) > profile.MaxSegments {
		other := profile.Segment{Other: true}
		for _, s := range out[profile.MaxSegments:] {
			other.TruePositive += s.TruePositive
			other.FalsePositive += s.FalsePositive
			other.FalseNegative += s.FalseNegative
			other.TrueNegative += s.TrueNegative
		}
		out = append(out[:profile.MaxSegments], other)
	}
	return out
}

// TestFoundIsReadBack writes twice, as after a kill, and reads the last revisions.
func TestFoundIsReadBack(t *testing.T) {
	w := historytest.NewWorld(t)
	store, start := history.New(w, w.Database()), historytest.Start
	row := func(revision uint32, value string, differs bool) schemas.SegmentResult {
		return schemas.SegmentResult{
			Model: "shop", Version: "1.0", WindowStart: start, WindowEnd: start.Add(time.Hour), Revision: revision, Segment: "t", Of: value,
			Metric: "accuracy", Value: new(0.5), Whole: new(0.75), Differs: differs, Labels: 9, ComputedAt: start,
		}
	}
	requirement := schemas.RequirementResult{
		Model: "shop", Version: "1.0", WindowStart: start, WindowEnd: start.Add(time.Hour), Requirement: "accuracy", Required: 0.9, Verdict: "met", Rows: 5, ComputedAt: start,
	}
	delay := schemas.LabelDelayResult{Model: "shop", Version: "1.0", WindowStart: start, WindowEnd: start.Add(time.Hour), Rows: 10, Labels: 5, Median: -1.5, ComputedAt: start}
	later, revised := requirement, delay
	later.Revision, later.Verdict, revised.Revision, revised.Labels = 1, "breached", 2, 7
	for range 2 { // again, as after a kill
		require.NoError(t, store.WriteFound(t.Context(), schemas.Found{
			Segments:     []schemas.SegmentResult{row(0, "gone", true), row(1, "it's", true), row(1, "same", false)},
			Requirements: []schemas.RequirementResult{requirement, later}, Delays: []schemas.LabelDelayResult{delay, revised},
		}))
	}
	got, err := store.Found(t.Context(), w.Manifest, start, start)
	require.NoError(t, err)
	require.Equal(t, schemas.Found{
		Segments: []schemas.SegmentResult{row(1, "it's", true)}, Requirements: []schemas.RequirementResult{later}, Delays: []schemas.LabelDelayResult{revised},
	}, got)
	none, err := store.Found(t.Context(), w.Manifest, start.Add(time.Hour), start.Add(2*time.Hour))
	require.NoError(t, err)
	require.Zero(t, none)

	_, ok, err := store.LearnedEstimator(t.Context(), w.Manifest, start)
	require.NoError(t, err)
	require.False(t, ok)
	first := schemas.LearnedEstimator{Model: "shop", Version: "1.0", LearnedTo: start, Rows: 7, Estimator: "{}"}
	require.NoError(t, store.WriteEstimator(t.Context(), first))
	require.NoError(t, store.WriteEstimator(t.Context(), schemas.LearnedEstimator{Model: "shop", Version: "1.0", LearnedTo: start, Estimator: "later"}))
	learned, ok, err := store.LearnedEstimator(t.Context(), w.Manifest, start)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, first, learned)
	_, ok, err = store.LearnedEstimator(t.Context(), w.Manifest, start.Add(time.Hour))
	require.NoError(t, err)
	require.False(t, ok, "of another reference, which was learned before")
}

// TestRequirementsBeginWhereAnEarlierReleaseStopped: windows that it has finished are not held to the
// requirements of their manifest after the upgrade, which would raise an event for each.
func TestRequirementsBeginWhereAnEarlierReleaseStopped(t *testing.T) {
	w := historytest.NewWorld(t)
	store, start := history.New(w, w.Database()), historytest.Start
	var old []schemas.FinishedWindow
	for hour := range 3 {
		for i, job := range []schemas.Job{schemas.JobDrift, schemas.JobAccuracy, schemas.JobReport}[:3-hour] {
			at := start.Add(time.Duration(hour) * time.Hour)
			old = append(old, schemas.FinishedWindow{
				Model: "shop", Version: "1.0", Job: string(job), WindowStart: at, WindowEnd: at.Add(time.Hour), Rows: uint64(100 + i), Verdict: "ok", DoneAt: start.Add(time.Duration(i) * time.Minute),
			})
		}
	}
	require.NoError(t, store.WriteWindows(t.Context(), old))
	migrations, err := schemas.Migrations(schemas.Storage{Database: w.Database(), TTLDays: 30})
	require.NoError(t, err)
	for range 2 { // interrupted, and run again
		for _, m := range migrations {
			for _, statement := range m.Statements {
				if m.Name == "known_accuracy" {
					require.NoError(t, w.Exec(t.Context(), statement))
				}
			}
		}
	}
	last, err := store.LastFinished(t.Context(), w.Manifest)
	require.NoError(t, err)
	require.Equal(t, start.Add(2*time.Hour), last[schemas.JobRequirement])
	finished, err := store.FinishedWindows(t.Context(), w.Manifest, time.Time{})
	require.NoError(t, err)
	var got []string
	for _, f := range finished {
		if f.Job == string(schemas.JobRequirement) {
			got = append(got, f.WindowStart.Format("15 ")+f.Verdict+" "+strconv.FormatUint(f.Rows, 10)+f.DoneAt.Sub(start).String())
		}
	}
	slices.Sort(got)
	require.Equal(t, []string{"00 not_judged 1011m0s", "01 not_judged 1011m0s", "02 not_judged 1000s"}, got)
	due, err := store.DueReports(t.Context(), w.Manifest, time.Time{}, 10)
	require.NoError(t, err)
	require.Len(t, due, 2, "no report is written anew for it")
}
