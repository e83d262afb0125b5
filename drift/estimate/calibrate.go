package estimate

import (
	"fmt"
	"iter"
	"math"
)

// Defaults of NannyML's needs_calibration.
const (
	calibrationBins   = 10
	calibrationSplits = 10
	calibrationSeed   = 42
	separableAUC      = 0.999 // above it scores are left as they are
)

// Calibration says whether the scores of a class are calibrated, and why.
type Calibration struct {
	Needed bool

	// The expected calibration errors that decided, over the test rows of all folds; nil
	// where the targets have one class or the scores separate the classes.
	Before, After *float64

	Isotonic *Isotonic // fitted on the whole reference; nil where not needed
}

// At returns the probability that a score stands for.
func (c *Calibration) At(score float64) float64 {
	if c.Isotonic == nil {
		return score
	}
	return c.Isotonic.At(score)
}

// Calibrate decides by NannyML's rule whether scores get better by isotonic calibration, and
// fits it if so. targets are 0 or 1.
//
// Scores stay as they are when the targets have one class or the ROC AUC is above 0.999.
// Else 10 stratified shuffle folds each fit nine tenths of the rows and calibrate the last
// tenth; calibration is needed when the expected calibration error of all tests together, in
// 10 bins of equal counts, falls by it. The folds are those of scikit-learn's
// StratifiedShuffleSplit with seed 42. Calibrated scores have many ties, which numpy's
// argsort bins in an order that depends on the processor; here they stay in the order of the
// folds, so a decision that hangs on them may differ from a run of NannyML. On 150 references
// that were calibrated already, of 300 to 1,790 rows, 19 decisions differed; there either is
// as good.
func Calibrate(scores []float64, targets []int) (*Calibration, error) {
	if err := checkScores(scores); err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	if err := checkLabels("target", targets, len(scores), 2, false); err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	return calibrate(scores, targets)
}

func calibrate(scores []float64, targets []int) (*Calibration, error) {
	auc, ok := rocAUC(scores, targets, 1)
	if !ok || auc > separableAUC {
		return &Calibration{}, nil
	}
	folds, err := shuffleSplits(targets)
	if err != nil {
		return nil, fmt.Errorf("calibrate: %w", err)
	}
	y, order := make([]float64, len(targets)), ascending(scores)
	for i, t := range targets {
		y[i] = float64(t)
	}
	var target, before, after []float64
	keep := make([]bool, len(scores))
	for train, test := range folds {
		clear(keep)
		for _, i := range train {
			keep[i] = true
		}
		f, err := fitOrdered(scores, y, nil, order, keep)
		if err != nil {
			return nil, fmt.Errorf("calibrate: %w", err)
		}
		for _, i := range test {
			target, before, after = append(target, y[i]), append(before, scores[i]), append(after, f.At(scores[i]))
		}
	}
	was, is := expectedCalibrationError(target, before), expectedCalibrationError(target, after)
	c := &Calibration{Needed: was > is, Before: &was, After: &is}
	if c.Needed {
		if c.Isotonic, err = fitOrdered(scores, y, nil, order, nil); err != nil {
			return nil, fmt.Errorf("calibrate: %w", err)
		}
	}
	return c, nil
}

// shuffleSplits returns the rows for training and for testing of each fold of scikit-learn's
// StratifiedShuffleSplit(10, test_size=0.1, random_state=42), over two classes that both
// occur. The slices are good until the next fold.
func shuffleSplits(targets []int) (iter.Seq2[[]int, []int], error) {
	var members [2][]int
	for i, t := range targets {
		members[t] = append(members[t], i)
	}
	n := len(targets)
	tests := int(math.Ceil(0.1 * float64(n)))
	for class, rows := range members {
		if len(rows) < 2 {
			return nil, fmt.Errorf("the reference has %d row of class %d, at least 2 are needed to choose", len(rows), class)
		}
	}
	if tests < 2 {
		return nil, fmt.Errorf("the reference has %d rows, at least 11 are needed to choose", n)
	}
	return func(yield func(train, test []int) bool) {
		rng := newMT19937(calibrationSeed)
		counts := [2]int{len(members[0]), len(members[1])}
		var train, test []int
		for range calibrationSplits {
			trains := rng.share(counts, n-tests)
			tested := rng.share([2]int{counts[0] - trains[0], counts[1] - trains[1]}, tests)
			train, test = train[:0], test[:0]
			for class, rows := range members {
				p := rng.permutation(len(rows))
				for _, i := range p[:trains[class]] {
					train = append(train, rows[i])
				}
				for _, i := range p[trains[class] : trains[class]+tested[class]] {
					test = append(test, rows[i])
				}
			}
			rng.shuffle(train) // moves the generator on; the fit does not mind the order
			rng.shuffle(test)
			if !yield(train, test) {
				return
			}
		}
	}, nil
}

// share divides draws among two classes in proportion to counts: the approximate mode of the
// hypergeometric distribution, ties of the remainders broken by a draw, as scikit-learn does.
func (m *mt19937) share(counts [2]int, draws int) [2]int {
	var out [2]int
	var rest [2]float64
	total := float64(counts[0] + counts[1])
	for i, c := range counts {
		exact := float64(c) / total * float64(draws)
		out[i] = int(exact)
		rest[i] = exact - float64(out[i])
	}
	switch missing := draws - out[0] - out[1]; {
	case missing <= 0:
	case rest[0] == rest[1]:
		for _, i := range m.permutation(2)[:min(missing, 2)] {
			out[i]++
		}
	default:
		first := 0
		if rest[1] > rest[0] {
			first = 1
		}
		out[first]++
		if missing > 1 {
			out[1-first]++
		}
	}
	return out
}

// expectedCalibrationError returns the mean distance of mean score and share of positives
// over bins of about equal counts (Naeini et al. 2015; NannyML's bins: the last takes the
// remainder when it is no bin of its own).
func expectedCalibrationError(targets, scores []float64) float64 {
	n := len(scores)
	bins := calibrationBins
	if n <= 2*bins {
		bins = n / 2
	}
	width := n / bins
	order := ascending(scores)
	last := n/width - 1 // bins of width, of which the last reaches to n
	sum := 0.0
	for b := range last + 1 {
		end := (b + 1) * width
		if b == last {
			end = n
		}
		var score, target float64
		for _, i := range order[b*width : end] {
			score += scores[i]
			target += targets[i]
		}
		size := float64(end - b*width)
		sum += size / float64(n) * math.Abs(score/size-target/size)
	}
	return sum
}
