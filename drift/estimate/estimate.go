package estimate

import (
	"fmt"
	"math"
)

// Metric is a figure of quality, by NannyML's name.
type Metric string

// Metrics of classifiers; of multiclass ones the mean over the classes, each against the
// rest, except for accuracy.
const (
	ROCAUC      Metric = "roc_auc"
	F1          Metric = "f1"
	Precision   Metric = "precision"
	Recall      Metric = "recall"
	Specificity Metric = "specificity"
	Accuracy    Metric = "accuracy"
)

// Chunk is the rows from Start up to, not including, End.
type Chunk struct{ Start, End int }

// Len returns the number of rows.
func (c Chunk) Len() int { return c.End - c.Start }

// ChunksOf returns rows in chunks of size; what remains is a chunk of its own.
func ChunksOf(rows, size int) ([]Chunk, error) {
	if rows < 1 || size < 1 {
		return nil, fmt.Errorf("chunks: %d rows in chunks of %d, both must be at least 1", rows, size)
	}
	var out []Chunk
	for at := 0; at < rows; at += size {
		out = append(out, Chunk{at, min(at+size, rows)})
	}
	return out, nil
}

// Chunks returns rows in number chunks of one size and, as NannyML does, what remains as a
// chunk of its own.
func Chunks(rows, number int) ([]Chunk, error) {
	if number < 1 || rows < number {
		return nil, fmt.Errorf("chunks: %d rows in %d chunks, a chunk must have a row", rows, number)
	}
	return ChunksOf(rows, rows/number)
}

// Estimate is what is said of a metric over a chunk. What does not exist is nil: the
// sampling error where the reference has no row of the kind that the metric counts, no error
// at all (of roots) or a target of 0 (of MAPE); the realized value where targets are missing,
// have one class, or the metric is 0/0; thresholds where no chunk of the reference has a
// realized value.
type Estimate struct {
	Metric         Metric
	Value          *float64  // estimated
	SamplingError  *float64  // standard error of the metric over as many rows
	Lower, Upper   *float64  // Value ± 3 sampling errors, within the metric's limits
	Interval       *Interval // 95 %, of the value that targets will show; of a BinaryCBPE after LearnIntervals
	NoInterval     error     // why there is none: ErrTooFew or ErrNoInterval
	Realized       *float64  // by the targets, where they are known
	LowerThreshold *float64  // mean of the reference chunks' realized values less 3 standard deviations
	UpperThreshold *float64  // and plus 3, within the metric's limits
	Alert          bool      // Value is outside the thresholds
}

// ChunkEstimates are the estimates over one chunk, in the order of the package's lists.
type ChunkEstimates struct {
	Chunk
	Estimates []Estimate
	Ratios    *Ratios // of PAPE, by which the reference was weighted
	NoValue   error   // of PAPE, why no estimate has a value: ErrApart
}

// deviations is the width of confidence bounds and thresholds, in standard deviations.
const deviations = 3

// Thresholds returns the mean of values ± 3 population standard deviations, no lower than
// lowest and no higher than highest (an infinity is no limit). nil values are left out; all
// nil give nil.
func Thresholds(values []*float64, lowest, highest float64) (lower, upper *float64) {
	var known []float64
	for _, v := range values {
		if v != nil {
			known = append(known, *v)
		}
	}
	if len(known) == 0 {
		return nil, nil
	}
	mean, std := meanStd(known)
	return exists(max(mean-deviations*std, lowest)), exists(min(mean+deviations*std, highest))
}

// bound completes e: bounds, thresholds and verdict.
func (e Estimate) bound(lower, upper *float64, lowest, highest float64) Estimate {
	e.LowerThreshold, e.UpperThreshold = lower, upper
	if e.Value == nil {
		return e
	}
	if e.SamplingError != nil {
		e.Lower = exists(max(*e.Value-deviations**e.SamplingError, lowest))
		e.Upper = exists(min(*e.Value+deviations**e.SamplingError, highest))
	}
	e.Alert = lower != nil && *e.Value < *lower || upper != nil && *e.Value > *upper
	return e
}

// exists returns a pointer to v, nil when it is not a finite number.
func exists(v float64) *float64 {
	if !finite(v) {
		return nil
	}
	return &v
}

// meanStd returns the mean and the population standard deviation; NaN of nothing.
func meanStd(v []float64) (mean, std float64) {
	scale := magnitude(v) // squares must neither overflow nor vanish
	for _, x := range v {
		mean += x / scale
	}
	mean /= float64(len(v))
	for _, x := range v {
		d := x/scale - mean
		std += d * d
	}
	return mean * scale, math.Sqrt(std/float64(len(v))) * scale
}

// magnitude returns the power of two next to the largest absolute value, 1 where all are 0.
// Dividing by it changes no digit of values that are not vastly smaller.
func magnitude(v []float64) float64 {
	most := 0.0
	for _, x := range v {
		most = max(most, math.Abs(x))
	}
	if most == 0 || !finite(most) {
		return 1
	}
	_, exp := math.Frexp(most)
	return math.Ldexp(1, min(max(exp, -1000), 1000))
}

// checkScores wants probabilities.
func checkScores(scores []float64) error {
	if len(scores) == 0 {
		return ErrEmpty
	}
	for i, s := range scores {
		if !(s >= 0 && s <= 1) {
			return fmt.Errorf("score of row %d is %v, must be from 0 to 1", i, s)
		}
	}
	return nil
}

// Unknown is the label of a row whose target is missing.
const Unknown = -1

// checkLabels wants one class a row, from 0; Unknown where allowed.
func checkLabels(what string, labels []int, rows, classes int, unknown bool) error {
	if len(labels) != rows {
		return fmt.Errorf("%d rows and %d %ss", rows, len(labels), what)
	}
	for i, l := range labels {
		if l >= 0 && l < classes || unknown && l == Unknown {
			continue
		}
		return fmt.Errorf("%s of row %d is %d, must be a class from 0 to %d", what, i, l, classes-1)
	}
	return nil
}

// checkChunks wants chunks that lie in the rows and have some.
func checkChunks(chunks []Chunk, rows int) error {
	if len(chunks) == 0 {
		return fmt.Errorf("chunks: %w", ErrEmpty)
	}
	for i, c := range chunks {
		if c.Start < 0 || c.End <= c.Start || c.End > rows {
			return fmt.Errorf("chunk %d is rows %d to %d, must have rows of the %d", i, c.Start, c.End, rows)
		}
	}
	return nil
}
