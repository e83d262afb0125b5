package detect_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/drift/detect"
)

// losses draws from a stable stream of losses. With probability stay a value is the last one
// again: the correlation of values k apart is stay^k.
type losses struct {
	name  string
	stay  float64
	fresh func(r *rand.Rand) float64
	last  float64
}

func (l *losses) next(r *rand.Rand) float64 {
	if l.stay == 0 || r.Float64() >= l.stay {
		l.last = l.fresh(r)
	}
	return l.last
}

func bernoulli(rate float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 {
		if r.Float64() < rate {
			return 1
		}
		return 0
	}
}

// beta draws from Beta(a, b): the a-th smallest of a+b-1 uniforms.
func beta(a, b int) func(*rand.Rand) float64 {
	u := make([]float64, a+b-1)
	return func(r *rand.Rand) float64 {
		for i := range u {
			u[i] = r.Float64()
		}
		slices.Sort(u)
		return u[a-1]
	}
}

func stable() []*losses {
	return []*losses{
		{name: "bernoulli 0.02", fresh: bernoulli(0.02)},
		{name: "bernoulli 0.1", fresh: bernoulli(0.1)},
		{name: "bernoulli 0.3", fresh: bernoulli(0.3)},
		{name: "bernoulli 0.1, stay 0.5", stay: 0.5, fresh: bernoulli(0.1)},
		{name: "bernoulli 0.1, stay 0.8", stay: 0.8, fresh: bernoulli(0.1)},
		{name: "bernoulli 0.02, stay 0.8", stay: 0.8, fresh: bernoulli(0.02)},
		{name: "beta(1, 4)", fresh: beta(1, 4)},
		{name: "beta(2, 8)", fresh: beta(2, 8)},
		{name: "beta(2, 3), stay 0.5", stay: 0.5, fresh: beta(2, 3)},
		{name: "beta(1, 4), stay 0.8", stay: 0.8, fresh: beta(1, 4)},
	}
}

// runLength takes n values, and returns the mean number between alarms, or n without one.
// Each detector is new after an alarm, which is what a restart is.
func runLength(tb testing.TB, d detect.Detector, l *losses, n int, seed uint64) (length float64, alarms int64) {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 21))
	for range n {
		if err := d.Update(l.next(r)); err != nil {
			tb.Fatalf("%s: %v", l.name, err)
		}
	}
	return float64(n) / math.Max(1, float64(d.Detections())), d.Detections()
}

// TestRunLength has the e-detector keep its promise on stable streams of all kinds: by
// MILLRACE_RUN_LENGTH values of each, and there also where it is 100,000 values.
func TestRunLength(t *testing.T) {
	n, stated := 60_000, []float64{2000}
	if text := os.Getenv("MILLRACE_RUN_LENGTH"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
		stated = []float64{2000, 10_000, 100_000}
	}
	const seed = 3
	t.Logf("seed %d, %d values of each stream", seed, n)
	for _, length := range stated {
		for _, form := range []string{detect.FormSR, detect.FormCUSUM} {
			for _, mode := range []string{detect.ModeUp, detect.ModeDown, detect.ModeBoth} {
				var line strings.Builder
				for _, l := range stable() {
					c := detect.DefaultEDetectorConfig()
					c.RunLength, c.Form, c.Mode = length, form, mode
					d, err := detect.NewEDetector(c)
					require.NoError(t, err)
					measured, alarms := runLength(t, d, l, n, seed)
					// The mean of k runs, each about exponential, has a relative deviation of 1/sqrt(k).
					error3 := 3 * measured / math.Sqrt(math.Max(1, float64(alarms)))
					require.GreaterOrEqual(t, measured+error3, length, "%s, %s, %s: %d alarms", form, mode, l.name, alarms)
					fmt.Fprintf(&line, " %.0f", measured)
				}
				t.Logf("stated %.0f, %s, %s: measured%s", length, form, mode, line.String())
			}
		}
	}
}

// TestRunLengthOfGivenMean holds the promise where all of the theorem is given: the mean, and
// independent values, one to a block. It is near enough to fail where an increment is too large.
func TestRunLengthOfGivenMean(t *testing.T) {
	const length, n, seed = 200, 400_000, 5
	for _, form := range []string{detect.FormSR, detect.FormCUSUM} {
		for _, mode := range []string{detect.ModeUp, detect.ModeDown, detect.ModeBoth} {
			d, err := detect.NewEDetector(detect.EDetectorConfig{RunLength: length, Mode: mode, Form: form, High: 1, Block: 1, Mean: 0.3})
			require.NoError(t, err)
			measured, alarms := runLength(t, d, &losses{fresh: bernoulli(0.3)}, n, seed)
			t.Logf("seed %d, %s, %s: stated %d, measured %.0f", seed, form, mode, length, measured)
			require.GreaterOrEqual(t, measured*(1+3/math.Sqrt(float64(alarms))), float64(length), "%s, %s", form, mode)
			if form == detect.FormSR { // CUSUM's is several times longer
				require.Less(t, measured, 1.5*length, "%s: it is as quick as that allows", mode)
			}
		}
	}
}

// delays returns how many values after a change of the rate an alarm comes, as a mean over
// streams; alarms before the change start over. The stream is without a change for 3,000 values.
func delays(tb testing.TB, kind string, before, after, stay float64, streams int, seed uint64) (mean float64, missed int) {
	tb.Helper()
	const change, most = 3000, 20_000
	found := 0
	for s := range streams {
		d, err := detect.New(kind)
		require.NoError(tb, err)
		r := rand.New(rand.NewPCG(seed, uint64(s)))
		l := &losses{stay: stay, fresh: bernoulli(before)}
		missed++
		for i := range change + most {
			if i == change {
				l.fresh = bernoulli(after)
			}
			require.NoError(tb, d.Update(l.next(r)))
			if i >= change && d.DriftDetected() {
				mean += float64(i - change)
				found++
				missed--
				break
			}
		}
	}
	return mean / math.Max(1, float64(found)), missed
}

// TestDelay finds changes of the rate soon after they are there. With MILLRACE_RUN_LENGTH it
// prints the delays of the detectors side by side, at their defaults, and how often they alarm on
// the same streams without a change.
func TestDelay(t *testing.T) {
	const seed = 8
	mean, missed := delays(t, detect.KindEDetector, 0.1, 0.3, 0, 20, seed)
	t.Logf("seed %d: from 0.1 to 0.3 in %.0f values", seed, mean)
	require.Zero(t, missed)
	require.Less(t, mean, 250.)
	text := os.Getenv("MILLRACE_RUN_LENGTH")
	if text == "" {
		return
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	kinds := []string{detect.KindEDetector, detect.KindCUSUM, detect.KindPageHinkley, detect.KindADWIN, detect.KindDDM}
	fmt.Printf("values between false alarms at the defaults, of %d (e_detector: stated 10000)\n%-28s", n, "")
	for _, kind := range kinds {
		fmt.Printf("%14s", kind)
	}
	fmt.Println()
	for _, name := range stable() {
		fmt.Printf("%-28s", name.name)
		for _, kind := range kinds {
			if kind == detect.KindDDM && strings.HasPrefix(name.name, "beta") {
				fmt.Printf("%14s", "-")
				continue
			}
			d, err := detect.New(kind)
			require.NoError(t, err)
			measured, alarms := runLength(t, d, &losses{stay: name.stay, fresh: name.fresh}, n, seed)
			if alarms == 0 {
				fmt.Printf("%14s", fmt.Sprintf("> %d", n))
				continue
			}
			fmt.Printf("%14.0f", measured)
		}
		fmt.Println()
	}
	fmt.Println("mean delay after a change of the error rate (changes not found in 20,000 values, of 200)")
	for _, stay := range []float64{0, 0.5} {
		for _, after := range []float64{0.15, 0.2, 0.3} {
			fmt.Printf("%-28s", fmt.Sprintf("0.1 to %v, stay %v", after, stay))
			for _, kind := range kinds {
				mean, missed := delays(t, kind, 0.1, after, stay, 200, seed)
				fmt.Printf("%14s", fmt.Sprintf("%.0f (%d)", mean, missed))
			}
			fmt.Println()
		}
	}
}
