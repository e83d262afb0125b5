package reference_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/reference"
	"github.com/millrace/millrace/schemas"
)

var nan = math.NaN()

func manifest(tb testing.TB, columns []reference.Column, target string) *schemas.Manifest {
	tb.Helper()
	text := "name: m\nversion: \"1\"\nruntime: onnx\nartifact: {file: m.onnx, sha256: " +
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855}\nfeatures:\n"
	var features strings.Builder
	for _, c := range columns[:len(columns)-1] {
		fmt.Fprintf(&features, "  - {name: %s, type: float32, optional: true}\n", c.Name)
	}
	text += features.String() + fmt.Sprintf("outputs:\n  - {name: %s, type: float32}\n%s", columns[len(columns)-1].Name, target)
	m, err := schemas.ParseManifest("m", []byte(text))
	require.NoError(tb, err)
	return m
}

// TestMake counts missing values, unlisted words and bins, and the reference reads as one.
func TestMake(t *testing.T) {
	columns := []reference.Column{
		{Name: "x", Numbers: []float64{3, 1, nan, 2, 2, math.Inf(1)}},
		{Name: "none", Numbers: []float64{nan, nan, nan, nan, nan, nan}},
		{Name: "town", Codes: []int32{0, 0, 2, -1, 1, 2}, Words: []string{"Bonn", "Rom", "Ulm"}, Listed: 2},
		{Name: "word", Codes: []int32{1, 0, 1, -1, 2, 0}, Words: []string{"b", "a", "c"}},
		{Name: "score", Numbers: []float64{1, 1, 1, 1, 1, 1}},
	}
	ref, err := reference.Make(columns)
	require.NoError(t, err)
	want := []schemas.ReferenceColumn{
		{Name: "x", Edges: []float64{2, 3}, Counts: []int64{1, 2, 2}, Missing: 1},
		{Name: "none", Edges: []float64{0}, Counts: []int64{0, 0}, Missing: 6},
		{Name: "town", Categories: []string{"Bonn", "Rom"}, Counts: []int64{2, 1}, Other: 2, Missing: 1},
		{Name: "word", Categories: []string{"a", "b", "c"}, Counts: []int64{2, 2, 1}, Missing: 1},
		{Name: "score", Edges: []float64{1, math.Nextafter(1, 2)}, Counts: []int64{0, 6, 0}},
	}
	for i := range want {
		ref.Columns[i].Mean, ref.Columns[i].StdDev = nil, nil
		require.Equal(t, want[i], ref.Columns[i])
	}
	text, err := json.Marshal(ref)
	require.NoError(t, err)
	_, err = schemas.ParseReference("r", text, manifest(t, columns, ""))
	require.NoError(t, err)

	identifiers := reference.Column{Name: "id"}
	for i := range 300 {
		identifiers.Codes, identifiers.Words = append(identifiers.Codes, int32(i)), append(identifiers.Words, strconv.Itoa(i))
	}
	ref, err = reference.Make([]reference.Column{identifiers})
	require.NoError(t, err)
	require.Empty(t, ref.Columns, "identifiers say nothing")
	_, err = reference.Make([]reference.Column{{Name: "x"}})
	require.ErrorContains(t, err, "no rows")
}

// TestCutByTime: whole windows are blocks, and what is proposed follows the rate of the rows.
func cut(t *testing.T, times []int64, window time.Duration) reference.Windows {
	t.Helper()
	w, err := reference.CutByTime(times, window)
	require.NoError(t, err)
	return w
}

// TestCutByTimeIsBounded: a window of seconds in rows of decades is refused, not counted; one that is
// proposed is one that a manifest can have, also of rows with centuries between them.
func TestCutByTimeIsBounded(t *testing.T) {
	at := func(year int) int64 { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	_, err := reference.CutByTime([]int64{at(1980), at(2020)}, time.Second)
	require.ErrorContains(t, err, "windows of 1s: the rows span 1262304001 of them, from 1980-01-01T00:00:00Z to 2020-01-01T00:00:00Z, and at most 100000 are told apart")
	for _, times := range [][]int64{{at(1980), at(2020)}, {at(1900), at(2299)}, {at(2299), at(1900)}} {
		w := cut(t, times, 0)
		require.Positive(t, w.Window)
		require.LessOrEqual(t, w.Window, 366*24*time.Hour)
		require.Positive(t, w.Lateness)
	}
}

func TestCutByTime(t *testing.T) {
	start := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)
	every := func(step, span time.Duration) []int64 {
		var out []int64
		for at := time.Duration(0); at < span; at += step {
			out = append(out, start.Add(at).UnixMicro())
		}
		return out
	}
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		times   []int64
		window  time.Duration
		want    time.Duration
		blocks  int
		minRows int64
	}{
		"a month":             {every(time.Minute, 30*day), 0, day, 29, 720},
		"a month, rarely":     {every(time.Hour, 30*day), 0, day, 29, 12},
		"two years, rarely":   {every(3*time.Hour, 730*day), 0, 7 * day, 103, 28},
		"three days":          {every(time.Minute, 3*day), 0, 6 * time.Hour, 11, 180},
		"an hour":             {every(time.Second, time.Hour), 0, 5 * time.Minute, 11, 150},
		"five minutes":        {every(time.Second, 5*time.Minute), 0, time.Minute, 4, 30},
		"a month, by command": {every(time.Minute, 30*day), 12 * time.Hour, 12 * time.Hour, 59, 360},
	} {
		t.Run(name, func(t *testing.T) {
			w := cut(t, tc.times, tc.window)
			require.Equal(t, tc.want, w.Window)
			require.Equal(t, tc.blocks, w.Blocks)
			require.Equal(t, tc.minRows, w.MinRows)
			require.True(t, w.Ordered)
			require.Equal(t, time.Minute, w.Lateness)
		})
	}
	late := every(time.Minute, 3*day)
	late[100] -= (25 * time.Minute).Microseconds()
	require.Equal(t, 25*time.Minute, cut(t, late, day).Lateness)
	late[100] += (2 * day).Microseconds()
	require.False(t, cut(t, late, day).Ordered, "rows in no order of time say nothing about lateness")
}

// Of TestProposeHoldsRate: 30 plans take five minutes.
var (
	manyPlans = flag.Int("plans", 1, "plans of TestProposeHoldsRate")
	planSeed  = flag.Uint64("seed", 7, "seed of TestProposeHoldsRate")
)

// days are rows of windows that differ by chance and, unless spread is 0, by days of their own.
func days(rnd *rand.Rand, windows, rows int, spread float64) (columns []reference.Column, block []int64, labels reference.Column) {
	columns = []reference.Column{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}, {Name: "score"}}
	labels = reference.Column{Name: "label"}
	for w := range windows {
		var shift [4]float64
		for i := range shift {
			shift[i] = spread * rnd.NormFloat64()
		}
		hard := spread * rnd.NormFloat64() // how well the day is predicted
		for range rows {
			score := 0.0
			for i := range shift {
				v := rnd.NormFloat64() + shift[i]
				columns[i].Numbers = append(columns[i].Numbers, v)
				score += v / 2
			}
			score = 1 / (1 + math.Exp(-score))
			columns[4].Numbers = append(columns[4].Numbers, score)
			positive := 0.0
			if rnd.Float64() < 1/(1+math.Exp(-(4+hard)*(score-0.5))) {
				positive = 1
			}
			labels.Numbers = append(labels.Numbers, positive)
			block = append(block, int64(w)*time.Hour.Microseconds())
		}
	}
	return columns, block, labels
}

// TestProposeHoldsRate: of windows that differ from each other as those did that thresholds
// come from, about the stated share breaches any check, by the monitor's own verdicts; whether
// windows differ by chance alone or by days of their own. A real drift breaches in nearly all.
func TestProposeHoldsRate(t *testing.T) {
	const windows, fresh, rows, rate = 15, 15, 200, 0.05
	seed := *planSeed
	t.Logf("seed %d", seed)
	for _, spread := range []float64{0, 0.3} {
		plans := *manyPlans
		rnd := rand.New(rand.NewPCG(seed, 1))
		breached, breachedQuality, found := 0, 0, 0
		for range plans {
			columns, times, labels := days(rnd, windows, rows, spread)
			m := manifest(t, columns, "target: {kind: binary, score: score}\n")
			ref, err := reference.Make(columns)
			require.NoError(t, err)
			data := reference.Data{Columns: columns, Windows: cut(t, times, time.Hour), Labels: reference.LabelsOf(m.Target, &labels, &columns[4])}
			plan, err := reference.Propose(m, ref, data, rate)
			require.NoError(t, err)
			require.Zero(t, plan.Breached, "no block of the data itself breaches")
			m.Monitoring = &plan.Monitoring
			for range fresh {
				now, _, labels := days(rnd, 1, rows, spread)
				breached += b2i(drifts(t, m, ref, now))
				for name, value := range reference.LabelsOf(m.Target, &labels, &now[4]).Figures() {
					figure, _ := schemas.FigureOf(name)
					for _, c := range plan.Monitoring.Checks {
						breachedQuality += b2i(c.Stattest == name && figure.Breached(value, c.Threshold))
					}
				}
			}
			now, _, _ := days(rnd, 1, rows, spread)
			for i := range now[0].Numbers {
				now[0].Numbers[i] += 3
			}
			found += b2i(drifts(t, m, ref, now))
		}
		t.Logf("spread %v: of %d windows %d breach a check of drift, %d figures breach", spread, plans*fresh, breached, breachedQuality)
		most := int(1 + 1.6*rate*float64(plans*fresh))
		require.LessOrEqual(t, breached, most)
		require.LessOrEqual(t, breachedQuality, most)
		require.Equal(t, plans, found)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func drifts(t *testing.T, m *schemas.Manifest, ref *schemas.Reference, columns []reference.Column) bool {
	t.Helper()
	var counts []profile.Counts
	for i := range ref.Columns {
		counts = append(counts, reference.Count(&ref.Columns[i], &columns[i], make([]int32, columns[i].Rows()), 1)[0])
	}
	rows, err := drift.JudgeDrift(drift.Version{Manifest: m, Reference: ref}, schemas.DriftResult{}, counts)
	require.NoError(t, err)
	for _, r := range rows {
		if r.Drifted {
			return true
		}
	}
	return false
}

// TestProposeOfFewBlocks: where there is a block or two, thresholds are what so few rows show.
func TestProposeOfFewBlocks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, windows := range []int{1, 2} {
		columns, _, labels := days(rnd, windows, 40, 0)
		m := manifest(t, columns, "target: {kind: regression, score: score}\n")
		ref, err := reference.Make(columns)
		require.NoError(t, err)
		data := reference.Data{Columns: columns, Windows: reference.CutByRows(40 * windows), Labels: reference.LabelsOf(m.Target, &labels, &columns[4])}
		plan, err := reference.Propose(m, ref, data, 0.05)
		require.NoError(t, err)
		m.Reference, m.Monitoring = &schemas.Artifact{}, &plan.Monitoring
		for _, c := range plan.Monitoring.Checks {
			require.Positive(t, c.Threshold, "%+v", c)
			require.False(t, math.IsInf(c.Threshold, 0), "%+v", c)
		}
		require.Equal(t, schemas.StattestMAE, plan.Monitoring.Checks[6].Stattest)
	}
}

// TestProposeJudgesEveryBlock: the worst window of many sets the threshold, wherever it lies; a check that
// would find next to nothing is left out.
func TestProposeJudgesEveryBlock(t *testing.T) {
	const seed, windows, rows = 5, 71, 120
	t.Logf("seed %d", seed)
	for worst := 30; worst < 32; worst++ {
		columns, times, labels := days(rand.New(rand.NewPCG(seed, 1)), windows, rows, 0)
		days := reference.Column{Name: columns[2].Name, Numbers: make([]float64, columns[2].Rows())} // all windows differ
		for i := range days.Numbers {
			days.Numbers[i] = float64(i / rows % 7)
			if i/rows == worst {
				columns[0].Numbers[i] += 1
			}
		}
		columns[2] = days
		m := manifest(t, columns, "target: {kind: binary, score: score}\n")
		ref, err := reference.Make(columns)
		require.NoError(t, err)
		cut, err := reference.CutByTime(times, time.Hour)
		require.NoError(t, err)
		plan, err := reference.Propose(m, ref, reference.Data{Columns: columns, Windows: cut, Labels: reference.LabelsOf(m.Target, &labels, &columns[4])}, 0.05)
		require.NoError(t, err)
		require.GreaterOrEqual(t, plan.Blocks, windows-2)
		at := slices.IndexFunc(plan.Checks, func(c reference.Judged) bool { return c.Check.Column == columns[0].Name })
		require.Greater(t, plan.Checks[at].Worst, 0.5, "window %d", worst)
		require.Greater(t, plan.Checks[at].Check.Threshold, plan.Checks[at].Worst)
		require.Len(t, plan.Blind, 1)
		require.Equal(t, days.Name, plan.Blind[0].Check.Column)
		require.GreaterOrEqual(t, plan.Blind[0].Check.Threshold, 2.0)
		require.Equal(t, schemas.Duration(24*time.Hour), plan.Monitoring.Retraining.Cooldown)
	}
}

// Labels that are none of the classes that a model answers are told by their share.
func TestLabelsThatAreNotPredicted(t *testing.T) {
	target := &schemas.Target{Kind: schemas.TargetMulticlass, Score: "label"}
	said := reference.Column{Name: "label", Numbers: []float64{0, 1, 0, 1}}
	for want, labels := range map[float64][]float64{0.25: {-15, 23, 0, 7}, 1: {1, 1, 0, 0}} {
		require.Equal(t, want, reference.LabelsOf(target, &reference.Column{Name: "y", Numbers: labels}, &said).Predicted())
	}
}
