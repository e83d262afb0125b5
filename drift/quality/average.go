package quality

import (
	"errors"
	"fmt"
	"math"
)

// Average says how the figures of classes become one.
type Average string

// Averages, named as scikit-learn's.
const (
	AverageBinary   Average = "binary"   // of the positive class alone
	AverageMicro    Average = "micro"    // from the summed counts of all classes
	AverageMacro    Average = "macro"    // mean over classes
	AverageWeighted Average = "weighted" // mean over classes, weighted by their rows
	AverageSamples  Average = "samples"  // mean over rows; only with several labels a row
)

// ZeroDivision says what a figure is whose denominator is 0, such as the precision of a
// class that was never predicted.
type ZeroDivision int

// Treatments of a zero denominator.
const (
	ZeroDivisionZero      ZeroDivision = iota // 0, scikit-learn's default
	ZeroDivisionOne                           // 1
	ZeroDivisionUndefined                     // left out of averages; ErrUndefined when nothing is left
)

func (z ZeroDivision) value() float64 {
	switch z {
	case ZeroDivisionOne:
		return 1
	case ZeroDivisionUndefined:
		return math.NaN()
	default:
		return 0
	}
}

// Options are those of precision, recall and F-beta. The zero value is the macro average.
type Options struct {
	Average      Average // empty: macro
	ZeroDivision ZeroDivision

	// Labels are the classes that count, each once. Nil: those that occur among the labels
	// or the predictions. AverageBinary: the first is the positive class; nil: class 1.
	Labels []int
}

// ClassScores are the figures of one class; nil where one is undefined.
type ClassScores struct {
	Class                    int
	Precision, Recall, FBeta *float64
	Support                  float64 // rows labelled so
}

// tally counts one class: rows that are rightly so predicted, predicted and labelled so.
type tally struct{ right, predicted, labelled float64 }

// scale is the power of two next to the total, by which sums are divided before they are
// multiplied: exact, and nothing overflows.
func scale(total float64) float64 {
	_, e := math.Frexp(total)
	return math.Ldexp(1, -max(min(e, 1000), -1000))
}

func divide(numerator, denominator float64, zero ZeroDivision) float64 {
	if denominator == 0 {
		return zero.value()
	}
	return numerator / denominator
}

// ratio is a figure of one tally.
type ratio func(tally, ZeroDivision) float64

func precision(t tally, zero ZeroDivision) float64 { return divide(t.right, t.predicted, zero) }
func recall(t tally, zero ZeroDivision) float64    { return divide(t.right, t.labelled, zero) }

// fBeta is (1+β²)·right / (β²·labelled + predicted): van Rijsbergen's effectiveness, the
// harmonic mean of precision and recall with recall β times as important. β of 0 is
// precision, an infinite one recall.
func fBeta(beta float64) (ratio, error) {
	b := beta * beta
	switch {
	case !(beta >= 0):
		return nil, fmt.Errorf("beta is %v, must be at least 0", beta)
	case beta == 0:
		return precision, nil
	case math.IsInf(b, 1):
		return recall, nil
	}
	return func(t tally, zero ZeroDivision) float64 {
		return divide((1+b)*t.right, b*t.labelled+t.predicted, zero)
	}, nil
}

// average returns the figure of classes as o says. Undefined ones (NaN) are left out.
func average(m Metric, f ratio, classes []tally, o Options) (float64, error) {
	switch o.Average {
	case AverageMicro:
		var right, predicted, labelled sum
		for _, t := range classes {
			right.add(t.right)
			predicted.add(t.predicted)
			labelled.add(t.labelled)
		}
		return defined(m, f(tally{right.value(), predicted.value(), labelled.value()}, o.ZeroDivision))
	case AverageBinary, AverageMacro, AverageWeighted, "":
		values, weights := make([]float64, len(classes)), []float64(nil)
		if o.Average == AverageWeighted {
			weights = make([]float64, len(classes))
		}
		for i, t := range classes {
			values[i] = f(t, o.ZeroDivision)
			if weights != nil {
				weights[i] = t.labelled
			}
		}
		return defined(m, nanMean(values, weights))
	default:
		return 0, fmt.Errorf("%s: average %q is not one of binary, micro, macro, weighted (samples with several labels a row)", m, o.Average)
	}
}

// nanMean is the weighted mean of the values that are numbers, and the plain one when their
// weights are all 0 (scikit-learn's _nanaverage).
func nanMean(values, weights []float64) float64 {
	var plain, weighted, total sum
	n := 0.0
	for i, v := range values {
		if math.IsNaN(v) {
			continue
		}
		n++
		plain.add(v)
		if weights != nil {
			weighted.addProduct(v, weights[i])
			total.add(weights[i])
		}
	}
	if weights != nil && total.value() != 0 {
		return weighted.value() / total.value()
	}
	return plain.value() / n
}

func defined(m Metric, v float64) (float64, error) {
	if math.IsNaN(v) {
		return 0, undefined(m, "no class has a denominator above 0")
	}
	return v, nil
}

// scoresOf returns the figures of each class.
func scoresOf(beta float64, labels []int, classes []tally, zero ZeroDivision) ([]ClassScores, error) {
	f, err := fBeta(beta)
	if err != nil {
		return nil, err
	}
	number := func(v float64) *float64 {
		if math.IsNaN(v) {
			return nil
		}
		return &v
	}
	out := make([]ClassScores, len(classes))
	for i, t := range classes {
		out[i] = ClassScores{
			Class: labels[i], Precision: number(precision(t, zero)), Recall: number(recall(t, zero)),
			FBeta: number(f(t, zero)), Support: t.labelled,
		}
	}
	return out, nil
}

// checkLabels returns an error unless labels are different classes.
func checkLabels(labels []int, classes int) error {
	if len(labels) == 0 {
		return errors.New("labels: none given; nil stands for all that occur")
	}
	seen := make([]bool, classes)
	for _, l := range labels {
		if l < 0 || l >= classes {
			return fmt.Errorf("labels: class %d, must be in [0, %d)", l, classes)
		}
		if seen[l] {
			return fmt.Errorf("labels: class %d is listed twice", l)
		}
		seen[l] = true
	}
	return nil
}

// all returns 0 … n-1.
func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}
