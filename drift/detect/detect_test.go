package detect_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/drift/detect"
)

// stream returns n values whose level changes every so often, or errors whose rate does.
func stream(kind string, seed uint64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]float64, n)
	level, scale, rate := 0.0, 1.0, 0.1
	for i := range out {
		if r.IntN(300) == 0 {
			level, scale, rate = 4*r.NormFloat64(), 0.5+r.Float64(), r.Float64()
		}
		out[i] = level + scale*r.NormFloat64()
		switch kind {
		case detect.KindDDM, detect.KindEDDM:
			out[i] = 0
			if r.Float64() < rate {
				out[i] = 1
			}
		case detect.KindEDetector:
			out[i] = 1 / (1 + math.Exp(-out[i]))
		}
	}
	return out
}

// draw returns a detector of the kind with parameters of its range.
func draw(t *rapid.T, kind string) detect.Detector {
	var d detect.Detector
	var err error
	switch kind {
	case detect.KindADWIN:
		d, err = detect.NewADWIN(detect.ADWINConfig{
			Delta:           rapid.Float64Range(1e-9, 0.999).Draw(t, "delta"),
			Clock:           rapid.IntRange(1, 50).Draw(t, "clock"),
			MaxBuckets:      rapid.IntRange(2, 20).Draw(t, "max_buckets"),
			MinWindowLength: rapid.IntRange(1, 20).Draw(t, "min_window_length"),
			GracePeriod:     rapid.IntRange(0, 100).Draw(t, "grace_period"),
		})
	case detect.KindPageHinkley:
		d, err = detect.NewPageHinkley(detect.PageHinkleyConfig{
			MinInstances: rapid.IntRange(0, 100).Draw(t, "min_instances"),
			Delta:        rapid.Float64Range(0, 1).Draw(t, "delta"),
			Threshold:    rapid.Float64Range(0, 100).Draw(t, "threshold"),
			Alpha:        rapid.Float64Range(0.5, 1).Draw(t, "alpha"),
			Mode:         rapid.SampledFrom([]string{detect.ModeUp, detect.ModeDown, detect.ModeBoth}).Draw(t, "mode"),
		})
	case detect.KindDDM:
		d, err = detect.NewDDM(detect.DDMConfig{
			WarmStart:        rapid.IntRange(0, 100).Draw(t, "warm_start"),
			WarningThreshold: rapid.Float64Range(0, 4).Draw(t, "warning_threshold"),
			DriftThreshold:   rapid.Float64Range(0, 4).Draw(t, "drift_threshold"),
		})
	case detect.KindEDDM:
		alpha := rapid.Float64Range(0.5, 1).Draw(t, "alpha")
		d, err = detect.NewEDDM(detect.EDDMConfig{
			WarmStart: rapid.IntRange(0, 100).Draw(t, "warm_start"),
			Alpha:     alpha,
			Beta:      alpha * rapid.Float64Range(0, 1).Draw(t, "beta"),
		})
	case detect.KindKSWIN:
		size := rapid.IntRange(1, 40).Draw(t, "stat_size")
		d, err = detect.NewKSWIN(detect.KSWINConfig{
			Alpha:      rapid.Float64Range(0, 1).Draw(t, "alpha"),
			StatSize:   size,
			WindowSize: 2*size + rapid.IntRange(0, 200).Draw(t, "more"),
			Seed:       rapid.Uint64().Draw(t, "seed"),
		}, stream(kind, 5, rapid.IntRange(0, 300).Draw(t, "window"))...)
	case detect.KindEDetector:
		c := detect.EDetectorConfig{
			RunLength: rapid.Float64Range(40, 1e5).Draw(t, "run_length"),
			Mode:      rapid.SampledFrom([]string{detect.ModeUp, detect.ModeDown, detect.ModeBoth}).Draw(t, "mode"),
			Form:      rapid.SampledFrom([]string{detect.FormSR, detect.FormCUSUM}).Draw(t, "form"),
			Low:       rapid.Float64Range(-1, 0).Draw(t, "low"),
			High:      rapid.Float64Range(1, 3).Draw(t, "high"),
			Block:     rapid.IntRange(1, 20).Draw(t, "block"),
			Slack:     rapid.Float64Range(0, 0.1).Draw(t, "slack"),
		}
		if rapid.Bool().Draw(t, "given") {
			c.Mean = rapid.Float64Range(c.Low, c.High).Draw(t, "mean")
		} else {
			c.WarmStart = rapid.IntRange(10*c.Block, 600).Draw(t, "warm_start")
			c.Miss = rapid.Float64Range(1e-6, 0.5).Draw(t, "miss")
		}
		d, err = detect.NewEDetector(c)
	default:
		d, err = detect.NewCUSUM(detect.CUSUMConfig{
			Target:    rapid.Float64Range(-1, 1).Draw(t, "target"),
			Sigma:     rapid.SampledFrom([]float64{0, 0, 0.5, 3}).Draw(t, "sigma"),
			K:         rapid.Float64Range(0, 2).Draw(t, "k"),
			H:         rapid.Float64Range(0.1, 20).Draw(t, "h"),
			WarmStart: rapid.IntRange(2, 100).Draw(t, "warm_start"),
		})
	}
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return d
}

func save(t require.TestingT, d detect.Detector) []byte {
	b, err := d.MarshalBinary()
	require.NoError(t, err)
	return b
}

// each runs f for every kind, as rapid checks of n values at most.
func each(t *testing.T, f func(t *rapid.T, kind string)) {
	t.Helper()
	for _, kind := range detect.Kinds() {
		t.Run(kind, rapid.MakeCheck(func(t *rapid.T) { f(t, kind) }))
	}
}

// TestSavedAndRestoredWithoutTrace saves and restores at random places, and compares every
// output, and the bytes saved in the end, with a run that never stopped.
func TestSavedAndRestoredWithoutTrace(t *testing.T) {
	each(t, func(t *rapid.T, kind string) {
		values := stream(kind, rapid.Uint64().Draw(t, "stream"), rapid.IntRange(1, 2500).Draw(t, "n"))
		splits := rapid.SliceOfN(rapid.IntRange(0, len(values)-1), 1, 8).Draw(t, "splits")
		whole := draw(t, kind)
		parted, err := detect.Restore(save(t, whole))
		require.NoError(t, err)
		require.Equal(t, kind, parted.Kind())
		for i, v := range values {
			if slices.Contains(splits, i) {
				parted, err = detect.Restore(save(t, parted))
				require.NoError(t, err, "before value %d", i)
			}
			require.NoError(t, whole.Update(v))
			require.NoError(t, parted.Update(v))
			if whole.DriftDetected() != parted.DriftDetected() || whole.WarningDetected() != parted.WarningDetected() {
				t.Fatalf("value %d: drift %v and %v, warning %v and %v", i, whole.DriftDetected(), parted.DriftDetected(), whole.WarningDetected(), parted.WarningDetected())
			}
		}
		require.Equal(t, save(t, whole), save(t, parted))
		require.Equal(t, whole.Detections(), parted.Detections())
		require.EqualValues(t, len(values), parted.Seen())
	})
}

// TestRefusedValuesChangeNothing offers what no detector takes between the values.
func TestRefusedValuesChangeNothing(t *testing.T) {
	bad := map[string][]float64{
		detect.KindADWIN:       {1e141, -1e141, math.MaxFloat64},
		detect.KindPageHinkley: {1e141, -1e300},
		detect.KindCUSUM:       {1e141, -1e141},
		detect.KindDDM:         {0.5, 2, -1},
		detect.KindEDetector:   {-1.01, 3.01, 1e300},
		detect.KindEDDM:        {0.5, 1.0000001, -1},
	}
	each(t, func(t *rapid.T, kind string) {
		d := draw(t, kind)
		bad := append([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}, bad[kind]...)
		for _, v := range stream(kind, rapid.Uint64().Draw(t, "stream"), rapid.IntRange(0, 400).Draw(t, "n")) {
			require.NoError(t, d.Update(v))
		}
		before := save(t, d)
		for _, v := range bad {
			require.ErrorIs(t, d.Update(v), detect.ErrValue, "%v", v)
			require.ErrorContains(t, d.Update(v), kind+": ")
		}
		require.Equal(t, before, save(t, d))
	})
}

// TestExtremeValues stays finite at the ends of the range.
func TestExtremeValues(t *testing.T) {
	for _, kind := range detect.Kinds() {
		d, err := detect.New(kind)
		require.NoError(t, err)
		for i := range 3000 {
			v := []float64{1e140, -1e140, 0, 5e-324}[i/7%4]
			if kind == detect.KindDDM || kind == detect.KindEDDM || kind == detect.KindEDetector {
				v = float64(i / 7 % 2)
			}
			require.NoError(t, d.Update(v))
			for name, f := range figures(t, d) {
				require.False(t, math.IsNaN(f) || math.IsInf(f, 0), "%s: %s is %v after value %d", kind, name, f, i)
			}
		}
	}
}

func TestUpdateAllocatesNothing(t *testing.T) {
	for _, kind := range detect.Kinds() {
		d, err := detect.New(kind)
		require.NoError(t, err)
		if kind == detect.KindEDetector { // its warm start is longer than levels last here
			c := detect.DefaultEDetectorConfig()
			c.WarmStart, c.Mode = 200, detect.ModeBoth
			d, err = detect.NewEDetector(c)
			require.NoError(t, err)
		}
		values := stream(kind, 3, 4000)
		for range 2 { // windows and rows get their size
			for _, v := range values {
				require.NoError(t, d.Update(v))
			}
		}
		detections := d.Detections()
		require.Zero(t, testing.AllocsPerRun(3, func() {
			for _, v := range values {
				if d.Update(v) != nil {
					panic("refused")
				}
			}
		}), kind)
		require.Greater(t, d.Detections(), detections, "%s: drifts were among them", kind)
	}
}

// TestConstantMemory measures the state, which is all that a detector keeps.
func TestConstantMemory(t *testing.T) {
	for _, kind := range detect.Kinds() {
		d, err := detect.New(kind)
		require.NoError(t, err)
		r := rand.New(rand.NewPCG(1, 2))
		sizes := map[int]int{}
		for i := range 200_000 {
			v := r.Float64()
			if kind == detect.KindDDM || kind == detect.KindEDDM {
				v = math.Floor(v + 0.1)
			}
			if kind == detect.KindKSWIN && i > 5000 {
				break
			}
			require.NoError(t, d.Update(v))
			if i == 1000 || i == 5000 || i == 199_999 {
				sizes[i] = len(save(t, d))
			}
		}
		last := sizes[199_999]
		if kind == detect.KindADWIN {
			require.EqualValues(t, 200_000, d.(*detect.ADWIN).Width(), "no drift, or there is nothing to measure")
			// 2^i values in each of at most 5 buckets of row i: 16 rows.
			require.Less(t, last, 200+16*(8+5*16))
			continue
		}
		if kind == detect.KindKSWIN {
			require.Less(t, sizes[5000], 4096)
			continue
		}
		require.Equal(t, sizes[1000], last, kind)
	}
}

// TestShiftIsFound has every detector find a large shift soon after it, and nothing in a
// constant stream.
func TestShiftIsFound(t *testing.T) {
	for _, kind := range detect.Kinds() {
		d, err := detect.New(kind)
		require.NoError(t, err)
		r := rand.New(rand.NewPCG(9, 9))
		found := -1
		for i := range 4000 {
			shift := 0.0
			if i >= 2000 {
				shift = 1
			}
			v := 5*shift + 0.1*r.Float64()
			if kind == detect.KindDDM || kind == detect.KindEDDM || kind == detect.KindEDetector {
				v = math.Floor(r.Float64() + 0.05 + 0.6*shift)
			}
			require.NoError(t, d.Update(v))
			if d.DriftDetected() && i >= 2000 {
				found = i
				break
			}
		}
		require.Positive(t, found, kind)
		require.Less(t, found, 2200, kind)

		d, err = detect.New(kind)
		require.NoError(t, err)
		for range 3000 {
			require.NoError(t, d.Update(1))
			require.False(t, d.DriftDetected(), kind)
		}
	}
}

// TestFalseAlarms has ADWIN keep its promise, and KSWIN and CUSUM what theory says of them.
func TestFalseAlarms(t *testing.T) {
	adwin, err := detect.NewADWIN(detect.ADWINConfig{Delta: 0.01, Clock: 32, MaxBuckets: 5, MinWindowLength: 5, GracePeriod: 10})
	require.NoError(t, err)
	// Two-sided in control, the mean run length at k = 0.5, h = 5 is 465 (Montgomery, table 9.3).
	cusum, err := detect.NewCUSUM(detect.CUSUMConfig{Sigma: 1, K: 0.5, H: 5})
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(4, 4))
	const n = 200_000
	for range n {
		v := r.NormFloat64()
		require.NoError(t, adwin.Update(v))
		require.NoError(t, cusum.Update(v))
	}
	require.Less(t, adwin.Detections(), int64(5))
	require.InDelta(t, 465, n/float64(cusum.Detections()), 60)
}

func TestKSWINStartsFromAWindow(t *testing.T) {
	c := detect.KSWINConfig{Alpha: 0.01, WindowSize: 20, StatSize: 10, Seed: 1}
	values := stream(detect.KindKSWIN, 2, 50)
	d, err := detect.NewKSWIN(c, values...)
	require.NoError(t, err)
	require.Equal(t, 20, d.Width())
	require.Zero(t, d.Seen())
	short, err := detect.NewKSWIN(c, values[30:]...)
	require.NoError(t, err)
	require.NoError(t, d.Update(1))
	require.NoError(t, short.Update(1))
	require.Equal(t, save(t, d), save(t, short))
	_, p := d.Test()
	require.Less(t, p, 1.0)

	_, err = detect.NewKSWIN(c, 1, math.NaN())
	require.ErrorIs(t, err, detect.ErrValue)
	require.ErrorContains(t, err, "kswin: window: value 1: ")
}

func eDetector(change func(*detect.EDetectorConfig)) error {
	c := detect.DefaultEDetectorConfig()
	change(&c)
	return c.Validate()
}

func TestConfigsAreChecked(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for want, err := range map[string]error{
		"delta must be between 0 and 1, got 0\nclock must be at least 1, got 0\nmax_buckets must be 2 to 4096, got 0\nmin_window_length must be at least 1, got 0": detect.ADWINConfig{}.Validate(),
		"delta must be between 0 and 1, got NaN":                                             detect.ADWINConfig{Delta: nan, Clock: 1, MaxBuckets: 2, MinWindowLength: 1}.Validate(),
		"grace_period must be at least 0, got -1":                                            detect.ADWINConfig{Delta: 0.1, Clock: 1, MaxBuckets: 2, MinWindowLength: 1, GracePeriod: -1}.Validate(),
		"threshold must be at least 0, got +Inf":                                             detect.PageHinkleyConfig{Threshold: inf, Alpha: 1, Mode: "up"}.Validate(),
		"mode must be up, down or both, got sideways":                                        detect.PageHinkleyConfig{Alpha: 1, Mode: "sideways"}.Validate(),
		"alpha must be above 0 and at most 1, got 2":                                         detect.PageHinkleyConfig{Alpha: 2, Mode: "up"}.Validate(),
		"warm_start must be at least 0, got -1":                                              detect.DDMConfig{WarmStart: -1}.Validate(),
		"drift_threshold must be a number, got NaN":                                          detect.DDMConfig{DriftThreshold: nan}.Validate(),
		"alpha must be a number not below beta, got 0.5":                                     detect.EDDMConfig{Alpha: 0.5, Beta: 0.6}.Validate(),
		"stat_size must be 1 to 10000, got 0":                                                detect.KSWINConfig{}.Validate(),
		"window_size must be at least twice stat_size, to draw as many older values, got 59": detect.KSWINConfig{StatSize: 30, WindowSize: 59}.Validate(),
		"alpha must be between 0 and 1, got 1.5":                                             detect.KSWINConfig{Alpha: 1.5, StatSize: 1, WindowSize: 2}.Validate(),
		"h must be above 0, got 0":                                                           detect.CUSUMConfig{Sigma: 1}.Validate(),
		"run_length must be at least twice block, at most 1e15, got 30":                      eDetector(func(c *detect.EDetectorConfig) { c.RunLength = 30 }),
		"mode must be up, down or both, got \nform must be sr or cusum, got page":            eDetector(func(c *detect.EDetectorConfig) { c.Mode, c.Form = "", "page" }),
		"high must be above low, at most 1e140, got 1":                                       eDetector(func(c *detect.EDetectorConfig) { c.Low = 1 }),
		"slack must be from 0 to high - low, got 2":                                          eDetector(func(c *detect.EDetectorConfig) { c.Slack = 2 }),
		"warm_start must be 0 (mean is given), or 10 blocks to 1e9, got 199":                 eDetector(func(c *detect.EDetectorConfig) { c.WarmStart = 199 }),
		"mean must be from low to high, where warm_start is 0, got 1.5":                      eDetector(func(c *detect.EDetectorConfig) { c.WarmStart, c.Mean = 0, 1.5 }),
		"mean must be 0 where warm_start learns it, got 0.5":                                 eDetector(func(c *detect.EDetectorConfig) { c.Mean = 0.5 }),
		"miss must be above 1e-9, at most 0.5, got 0":                                        eDetector(func(c *detect.EDetectorConfig) { c.Miss = 0 }),
		"block must be 1 to 1000000, got 0":                                                  eDetector(func(c *detect.EDetectorConfig) { c.Block = 0 }),
		"warm_start must be at least 2 to estimate sigma, got 1":                             detect.CUSUMConfig{H: 1, WarmStart: 1}.Validate(),
	} {
		require.EqualError(t, err, want)
	}
	_, err := detect.NewADWIN(detect.ADWINConfig{})
	require.ErrorContains(t, err, "adwin: delta must be")
	_, err = detect.New("hddm")
	require.EqualError(t, err, `no detector "hddm"; there are [adwin page_hinkley ddm eddm kswin cusum e_detector]`)
}

// TestBrokenStates restores states with any one byte changed, cut or added to.
func TestBrokenStates(t *testing.T) {
	for _, kind := range detect.Kinds() {
		d, err := detect.New(kind)
		require.NoError(t, err)
		for _, v := range stream(kind, 7, 500) {
			require.NoError(t, d.Update(v))
		}
		state := save(t, d)
		for i := range state {
			broken := slices.Clone(state)
			broken[i] ^= 0x10
			_, err := detect.Restore(broken)
			require.ErrorIs(t, err, detect.ErrState, "%s byte %d", kind, i)
			_, err = detect.Restore(state[:i])
			require.ErrorIs(t, err, detect.ErrState, "%s cut at %d", kind, i)
			_, err = detect.Restore(detect.Seal(slices.Clone(state[:i])))
			require.ErrorIs(t, err, detect.ErrState, "%s cut at %d and sealed", kind, i)
		}
		_, err = detect.Restore(detect.Seal(append(slices.Clone(state), 0)))
		require.ErrorIs(t, err, detect.ErrState)

		for _, other := range detect.Kinds() {
			if other == kind {
				continue
			}
			o, err := detect.New(other)
			require.NoError(t, err)
			before := save(t, o)
			require.ErrorIs(t, o.UnmarshalBinary(state), detect.ErrState)
			require.Equal(t, before, save(t, o), "a refused state changes nothing")
		}
		future := slices.Clone(state)
		future[0]++
		_, err = detect.Restore(detect.Seal(future))
		require.ErrorContains(t, err, kind+": not the state of a detector: version 2, this is version 1")
	}
}

// TestHostileSizes has states claim what they do not hold.
func TestHostileSizes(t *testing.T) {
	d, err := detect.New(detect.KindKSWIN)
	require.NoError(t, err)
	state := save(t, d)
	at := len(state) - 4 - 8 // the number of values in the window
	binary.LittleEndian.PutUint64(state[at:], 100)
	_, err = detect.Restore(detect.Seal(state))
	require.ErrorContains(t, err, "a window of 100 values in 0 bytes")
	binary.LittleEndian.PutUint64(state[at:], 1<<62)
	_, err = detect.Restore(detect.Seal(state))
	require.ErrorContains(t, err, "impossible length of the window")

	clear(state[at-624*4 : at]) // zeros draw nothing but zeros, for ever
	binary.LittleEndian.PutUint64(state[at:], 0)
	_, err = detect.Restore(detect.Seal(state))
	require.ErrorContains(t, err, "impossible random state")
}

func FuzzRestore(f *testing.F) {
	for _, kind := range detect.Kinds() {
		for _, n := range []int{0, 10, 700} {
			d, err := detect.New(kind)
			require.NoError(f, err)
			for _, v := range stream(kind, 11, n) {
				require.NoError(f, d.Update(v))
			}
			f.Add(save(f, d))
		}
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, state []byte) {
		state = detect.Seal(slices.Clone(state))
		d, err := detect.Restore(state)
		if err != nil {
			if !errors.Is(err, detect.ErrState) {
				t.Fatalf("%v is no ErrState", err)
			}
			return
		}
		require.Equal(t, state, save(t, d), "a state is saved as it was restored")
		for i, v := range stream(d.Kind(), 13, 300) {
			require.NoError(t, d.Update(v))
			for name, f := range figures(t, d) {
				if math.IsNaN(f) || math.IsInf(f, 0) {
					t.Fatalf("%s is %v after %d more values", name, f, i)
				}
			}
		}
		if d.Seen() < 1<<52 { // a forged count can be at its limit
			_, err = detect.Restore(save(t, d))
			require.NoError(t, err, "what a restored detector saves can be restored")
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	for _, kind := range detect.Kinds() {
		b.Run(kind, func(b *testing.B) {
			d, err := detect.New(kind)
			require.NoError(b, err)
			values := stream(kind, 17, 1<<14)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := d.Update(values[i%len(values)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func ExampleRestore() {
	d, _ := detect.New(detect.KindPageHinkley)
	for range 100 {
		_ = d.Update(1)
	}
	state, _ := d.MarshalBinary()

	d, _ = detect.Restore(state)
	for range 100 {
		_ = d.Update(3)
		if d.DriftDetected() {
			fmt.Println("drift at value", d.Seen()-1)
			break
		}
	}
	// Output: drift at value 128
}
