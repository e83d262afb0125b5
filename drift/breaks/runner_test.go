package breaks_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/breaks"
	"github.com/millrace/millrace/drift/detect"
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/schemas"
)

// manifest is of a binary target with the detectors, by their YAML.
func manifest(t require.TestingT, target, list string) *schemas.Manifest {
	m, err := schemas.ParseManifest("m.yaml", []byte(`name: m
version: "1"
runtime: onnx
artifact: {file: m.onnx, sha256: `+strings.Repeat("0", 64)+`}
features:
  - {name: x, type: float64}
  - {name: age, type: float64, min: 0, max: 120}
  - {name: member, type: bool, default: false}
outputs: [{name: p, type: float32}]
target: `+target+`
monitoring: {window: 1h, checks: [], breaks: [`+list+`]}
`))
	require.NoError(t, err)
	return m
}

const (
	binary     = "{kind: binary, score: p}"
	regression = "{kind: regression, score: p}"
	// quick is an e-detector that has learned in 60 values.
	quick = "run_length: 300, parameters: {warm_start: 60, block: 3, miss: 0.3}"
	all   = "{on: error, " + quick + "}, {on: error, detector: ddm}, {on: error, detector: eddm}, {on: score, " + quick + "}, {on: score, detector: adwin}," +
		"{on: x, detector: page_hinkley, parameters: {threshold: 5}}, {on: x, detector: cusum}, {on: member, detector: kswin}, {on: age, detector: page_hinkley, mode: down}"
)

var topic = uuid.MustParse("6d8f8d0a-3a0a-4f6b-9a67-0b8c6f0d7a11")

// items are values whose level changes every so often, on some partitions, with gaps between the
// offsets and some missing, infinite and out-of-range ones.
func items(seed uint64, n, columns, partitions int) []profile.Item {
	r := rand.New(rand.NewPCG(seed, 31))
	out, offsets, level := make([]profile.Item, n), make([]int64, partitions), 0.2
	for i := range out {
		if r.IntN(200) == 0 {
			level = r.Float64()
		}
		p := r.IntN(partitions)
		offsets[p] += 1 + int64(r.IntN(3))
		values := make([]float64, columns)
		for c := range values {
			values[c] = float64(int(r.Float64() + level))
			switch r.IntN(40) {
			case 0:
				values[c] = math.NaN()
			case 1:
				values[c] = []float64{math.Inf(1), -3, 7}[r.IntN(3)]
			}
		}
		out[i] = profile.Item{
			At:        schemas.Coordinates{TopicID: topic, Partition: int32(p), Offset: offsets[p]},
			EventTime: time.Unix(1_700_000_000+int64(i), 0), Values: values,
		}
	}
	return out
}

// take takes items in runs that are in order, as they come.
func take(t require.TestingT, r *breaks.Runner, f breaks.Feed, items []profile.Item) []breaks.Break {
	var out []breaks.Break
	for _, item := range items {
		found, err := r.Take(f, []profile.Item{item})
		require.NoError(t, err)
		out = append(out, found...)
	}
	return out
}

func save(t require.TestingT, r *breaks.Runner) []byte {
	state, err := r.MarshalBinary()
	require.NoError(t, err)
	return state
}

func ids(found []breaks.Break) []string {
	out := make([]string, len(found))
	for i, b := range found {
		out[i] = b.Event(time.Unix(0, 0)).ID
	}
	return out
}

// TestKilledAnywhere ends a runner after each number of items, with what it took since the last
// save lost, and goes on from the saved state with a feed that begins where it likes before the
// position: breaks, counts and the state in the end are those of a run that never stopped.
func TestKilledAnywhere(t *testing.T) {
	for _, f := range []breaks.Feed{breaks.FeedLabels, breaks.FeedRows} {
		for _, target := range []string{binary, regression} {
			list := all
			if target == regression {
				list = strings.ReplaceAll(all, "{on: error, detector: ddm}, {on: error, detector: eddm}, {on: score, "+quick+"}, ", "")
			}
			m := manifest(t, target, list)
			t.Run(fmt.Sprint(f, m.Target.Kind), rapid.MakeCheck(func(t *rapid.T) {
				whole, err := breaks.New(m)
				require.NoError(t, err)
				partitions := rapid.IntRange(1, 4).Draw(t, "partitions")
				stream := items(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 1500).Draw(t, "n"), len(whole.Columns(f)), partitions)
				want := take(t, whole, f, stream)

				parted, err := breaks.New(m)
				require.NoError(t, err)
				state, at := save(t, parted), 0
				published := map[string]breaks.Break{}
				for at < len(stream) {
					parted, err = breaks.Restore(m, state)
					require.NoError(t, err)
					require.Equal(t, state, save(t, parted))
					to := min(at+rapid.IntRange(1, 400).Draw(t, "step"), len(stream))
					from := max(0, at-rapid.IntRange(0, 30).Draw(t, "again"))
					for _, b := range take(t, parted, f, stream[from:to]) {
						published[b.Event(time.Time{}).ID] = b
					}
					if rapid.Bool().Draw(t, "killed before the save") {
						continue
					}
					state, at = save(t, parted), to
				}
				require.Len(t, published, len(want))
				for i, id := range ids(want) {
					require.Equal(t, want[i], published[id])
				}
				require.Equal(t, whole.Counts(), parted.Counts())
				require.Equal(t, whole.Position(f), parted.Position(f))
			}))
		}
	}
}

// TestEveryPosition does the same at each single position of one stream.
func TestEveryPosition(t *testing.T) {
	m := manifest(t, binary, "{on: error, "+quick+"}, {on: error, detector: adwin}")
	const n = 700
	stream := items(4, n, 1, 2)
	whole, err := breaks.New(m)
	require.NoError(t, err)
	states, want := [][]byte{save(t, whole)}, make([][]breaks.Break, n)
	total := 0
	for i := range stream {
		want[i] = take(t, whole, breaks.FeedLabels, stream[i:i+1])
		total += len(want[i])
		states = append(states, save(t, whole))
	}
	require.Positive(t, total)
	for i, state := range states {
		r, err := breaks.Restore(m, state)
		require.NoError(t, err)
		got := take(t, r, breaks.FeedLabels, stream) // all of it again
		require.Equal(t, slices.Concat(want[i:]...), got, "killed after %d", i)
		require.EqualValues(t, i, r.Repeated())
		require.Equal(t, whole.Counts(), r.Counts())
	}
}

func TestValuesThatDoNotCount(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	m := manifest(t, binary, "{on: error}, {on: score, detector: adwin}, {on: age}, {on: x, detector: cusum}")
	r, err := breaks.New(m)
	require.NoError(t, err)
	require.Equal(t, []string{"error"}, r.Columns(breaks.FeedLabels))
	require.Equal(t, []string{"p", "age", "x"}, r.Columns(breaks.FeedRows))
	at := func(offset int64) schemas.Coordinates { return schemas.Coordinates{TopicID: topic, Offset: offset} }
	_, err = r.Take(breaks.FeedLabels, []profile.Item{{At: at(1), Values: []float64{1}}, {At: at(2), Values: []float64{nan}}, {At: at(3), Values: []float64{0.5}}, {At: at(4), Values: []float64{2}}})
	require.NoError(t, err)
	_, err = r.Take(breaks.FeedRows, []profile.Item{{At: at(1), Values: []float64{0.5, 121, inf}}, {At: at(2), Values: []float64{-inf, nan, 1e300}}})
	require.NoError(t, err)
	require.Equal(t, []breaks.Counts{
		{On: "error", Detector: "e_detector", Taken: 2, Missing: 1, Refused: 1},
		{On: "score", Detector: "adwin", Taken: 1, Refused: 1},
		{On: "age", Detector: "e_detector", Missing: 1, Refused: 1},
		{On: "x", Detector: "cusum", Refused: 2},
	}, r.Counts())

	before := save(t, r)
	_, err = r.Take(breaks.FeedRows, []profile.Item{{At: at(9), Values: []float64{1}}})
	require.EqualError(t, err, "item 0 of rows has 1 values, want 3")
	_, err = r.Take(breaks.FeedLabels, []profile.Item{{At: at(9), Values: []float64{1}}, {At: at(8), Values: []float64{1}}})
	require.ErrorIs(t, err, breaks.ErrOrder)
	require.Equal(t, before, save(t, r), "an error takes nothing")

	r.Skip(breaks.FeedLabels, at(20))
	r.Skip(breaks.FeedLabels, at(10))
	require.Equal(t, []schemas.Coordinates{at(20)}, r.Position(breaks.FeedLabels))
}

// TestRegressionError learns the scale from the first 500 errors, and clips those above it.
func TestRegressionError(t *testing.T) {
	r, err := breaks.New(manifest(t, regression, "{on: error, detector: adwin}"))
	require.NoError(t, err)
	given, err := breaks.New(manifest(t, regression, "{on: error, detector: adwin, scale: 495}"))
	require.NoError(t, err)
	var stream []profile.Item
	for i := range 500 { // 1 to 500, mixed: the 495th is the 0.99 quantile
		stream = append(stream, profile.Item{At: schemas.Coordinates{Offset: int64(i)}, Values: []float64{float64(1 + i*7%500)}})
	}
	require.Empty(t, take(t, r, breaks.FeedLabels, stream))
	require.Equal(t, breaks.Counts{On: "error", Detector: "adwin", Learning: 500}, r.Counts()[0])
	var after []profile.Item
	for i := range 3000 {
		after = append(after, profile.Item{At: schemas.Coordinates{Offset: int64(500 + i)}, Values: []float64{float64(i%90) + float64(i/2000)*1e6}})
	}
	want := take(t, given, breaks.FeedLabels, after)
	got := take(t, r, breaks.FeedLabels, after)
	require.NotEmpty(t, want)
	require.Equal(t, want, got)
	require.InDelta(t, 44.5/495, got[0].Before, 1e-3)
	require.Greater(t, got[0].After, got[0].Before)
	require.LessOrEqual(t, got[0].After, 1.0)
}

// TestBreakTells has what an event needs.
func TestBreakTells(t *testing.T) {
	r, err := breaks.New(manifest(t, binary, "{on: error, severity: critical, run_length: 1000, parameters: {warm_start: 500}}"))
	require.NoError(t, err)
	const seed = 6
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	var stream []profile.Item
	for i := range 2000 {
		rate := 0.1
		if i >= 1000 {
			rate = 0.6
		}
		stream = append(stream, profile.Item{
			At: schemas.Coordinates{TopicID: topic, Partition: 2, Offset: 10 * int64(i)}, EventTime: time.Unix(int64(i), 0),
			Values: []float64{math.Floor(random.Float64() + rate)},
		})
	}
	found := take(t, r, breaks.FeedLabels, stream)
	require.Len(t, found, 1)
	b := found[0]
	require.Greater(t, b.Index, int64(1000))
	require.Less(t, b.Index, int64(1100))
	require.Equal(t, stream[b.Index].At, b.Coordinates())
	require.True(t, stream[b.Index].EventTime.Equal(b.EventTime))
	require.InDelta(t, 0.1, b.Before, 0.05)
	require.InDelta(t, 0.6, b.After, 0.25)
	require.Equal(t, "e_value", b.Statistic)
	require.GreaterOrEqual(t, b.Value, b.Threshold)
	require.InDelta(t, 1000/20/0.95, b.Threshold, 1e-9)
	e := b.Event(time.Unix(9, 0))
	require.Equal(t, "dev.millrace.break", e.Type)
	require.Equal(t, schemas.SeverityCritical, e.Data.Severity)
	require.Equal(t, "m/1", e.Subject)
	require.Equal(t, b.BreakFound, *e.Data.Break)
	require.InDelta(t, 1000, e.Data.Break.RunLength, 0)
}

// TestAllStatistics has every detector find something, with a figure that has passed its
// threshold.
func TestAllStatistics(t *testing.T) {
	names := map[string]string{
		"e_detector": "e_value", "page_hinkley": "page_hinkley", "cusum": "cumulative_sum", "ddm": "error_rate",
		"eddm": "error_distance", "kswin": "p_value", "adwin": "window",
	}
	require.ElementsMatch(t, detect.Kinds(), schemas.BreakDetectors())
	for _, kind := range schemas.BreakDetectors() {
		r, err := breaks.New(manifest(t, binary, "{on: error, detector: "+kind+"}"))
		require.NoError(t, err)
		random := rand.New(rand.NewPCG(7, 7))
		var stream []profile.Item
		for i := range 6000 {
			stream = append(stream, profile.Item{
				At: schemas.Coordinates{Offset: int64(i)}, Values: []float64{math.Floor(random.Float64() + 0.1 + 0.5*float64(i/3000))},
			})
		}
		found := take(t, r, breaks.FeedLabels, stream)
		require.NotEmpty(t, found, kind)
		for _, b := range found {
			require.Equal(t, names[kind], b.Statistic)
			switch kind {
			case "adwin":
				require.Positive(t, b.Value)
			case "kswin", "eddm":
				require.LessOrEqual(t, b.Value, b.Threshold, kind)
			default:
				require.GreaterOrEqual(t, b.Value, b.Threshold, kind)
			}
		}
	}
}

// TestParametersAreTheDetectors compares the names that a manifest may set with those of the
// detectors' numbers.
func TestParametersAreTheDetectors(t *testing.T) {
	for kind, config := range map[string]any{
		"e_detector": detect.EDetectorConfig{}, "adwin": detect.ADWINConfig{}, "page_hinkley": detect.PageHinkleyConfig{},
		"ddm": detect.DDMConfig{}, "eddm": detect.EDDMConfig{}, "kswin": detect.KSWINConfig{}, "cusum": detect.CUSUMConfig{},
	} {
		var names []string
		for field := range reflect.TypeOf(config).Fields() {
			if name := field.Tag.Get("json"); field.Type.Kind() != reflect.String && name != "run_length" {
				names = append(names, name)
			}
		}
		require.ElementsMatch(t, names, schemas.BreakParameters(kind), kind)
	}
}

func TestRefusedParameters(t *testing.T) {
	_, err := breaks.New(manifest(t, binary, "{on: error, parameters: {block: 300}}, {on: x, detector: kswin, parameters: {window_size: 10}}"))
	require.ErrorContains(t, err, "monitoring.breaks[0]: e_detector: warm_start must be 0 (mean is given), or 10 blocks to 1e9, got 1000")
	require.ErrorContains(t, err, "monitoring.breaks[1]: kswin: window_size must be at least twice stat_size")
}

// TestChangedPlan keeps the state of detectors whose parameters stay, and begins the others anew
// where the feed is.
func TestChangedPlan(t *testing.T) {
	r, err := breaks.New(manifest(t, binary, "{on: error, detector: adwin}, {on: error, detector: ddm}"))
	require.NoError(t, err)
	stream := items(1, 300, 1, 3)
	take(t, r, breaks.FeedLabels, stream)
	again, err := breaks.Restore(manifest(t, binary, "{on: error, detector: ddm, severity: critical}, {on: error, detector: adwin, parameters: {delta: 0.1}}, {on: error}"), save(t, r))
	require.NoError(t, err)
	counts := again.Counts()
	require.Equal(t, r.Counts()[1], counts[0])
	require.Zero(t, counts[1].Taken+counts[2].Taken)
	require.Equal(t, r.Position(breaks.FeedLabels), again.Position(breaks.FeedLabels))
	require.Empty(t, take(t, again, breaks.FeedLabels, stream))
	require.EqualValues(t, 300, again.Repeated())

	other := manifest(t, binary, "{on: error}")
	other.Version = "2"
	_, err = breaks.Restore(other, save(t, r))
	require.ErrorIs(t, err, breaks.ErrState)
}

func TestBrokenStates(t *testing.T) {
	m := manifest(t, binary, "{on: error, "+quick+"}")
	r, err := breaks.New(m)
	require.NoError(t, err)
	take(t, r, breaks.FeedLabels, items(3, 200, 1, 2))
	state := save(t, r)
	for i := range state {
		broken := slices.Clone(state)
		broken[i] ^= 0x04
		_, err := breaks.Restore(m, broken)
		require.ErrorIs(t, err, breaks.ErrState, "byte %d", i)
		_, err = breaks.Restore(m, state[:i])
		require.ErrorIs(t, err, breaks.ErrState, "cut at %d", i)
	}
}

func FuzzRestore(f *testing.F) {
	plans := []*schemas.Manifest{manifest(f, binary, all), manifest(f, regression, "{on: error, "+quick+"}, {on: x, detector: adwin}")}
	for _, m := range plans {
		for _, n := range []int{0, 30, 700} {
			r, err := breaks.New(m)
			require.NoError(f, err)
			for _, feed := range []breaks.Feed{breaks.FeedLabels, breaks.FeedRows} {
				take(f, r, feed, items(5, n, len(r.Columns(feed)), 2))
			}
			f.Add(save(f, r))
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, state []byte) {
		for _, m := range plans {
			r, err := breaks.Restore(m, breaks.Seal(state))
			if err != nil {
				if !errors.Is(err, breaks.ErrState) {
					t.Fatalf("%v is no ErrState", err)
				}
				continue
			}
			again, err := breaks.Restore(m, save(t, r))
			require.NoError(t, err, "what a restored runner saves can be restored")
			for _, feed := range []breaks.Feed{breaks.FeedLabels, breaks.FeedRows} {
				stream := items(9, 300, len(r.Columns(feed)), 2)
				require.Equal(t, take(t, r, feed, stream), take(t, again, feed, stream))
			}
		}
	})
}

func TestTakeAllocatesNothingPerValue(t *testing.T) {
	r, err := breaks.New(manifest(t, binary, "{on: error}, {on: error, detector: page_hinkley}"))
	require.NoError(t, err)
	stream := make([]profile.Item, 1000)
	for i := range stream {
		stream[i] = profile.Item{Values: []float64{0}}
	}
	next := int64(0)
	require.Zero(t, testing.AllocsPerRun(20, func() {
		for i := range stream {
			stream[i].At.Offset = next
			next++
		}
		if found, err := r.Take(breaks.FeedLabels, stream); err != nil || len(found) > 0 {
			panic("a break in a constant stream")
		}
	}))
}
