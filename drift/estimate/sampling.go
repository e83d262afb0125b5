package estimate

import (
	"math"
	"slices"
)

// sampling is what the sampling error of a metric needs of the reference: the standard
// deviation of what single rows contribute, and the share of the rows that do. It is NaN
// where no row does.
type sampling struct{ std, share float64 }

// of returns the standard error over n rows.
func (s sampling) of(n int) *float64 { return exists(s.std / math.Sqrt(float64(n)*s.share)) }

// share returns the sampling of a mean of ones over ones and zeros among n rows.
func shareSampling(ones, zeros, n float64) sampling {
	m := ones + zeros
	p := ones / m
	return sampling{std: math.Sqrt(p * (1 - p)), share: m / n}
}

// binarySampling returns the components of NannyML's sampling error
// (nannyml/sampling_error/binary_classification.py). The reference's scores are those before
// calibration.
func binarySampling(m Metric, reference Binary) sampling {
	if m == ROCAUC {
		return rocAUCSampling(reference.Scores, reference.Targets, 1)
	}
	c := counts(reference.Predicted, reference.Targets, 1)
	s := c.sampling(m)
	if m == F1 { // scaled so that the mean over the rows that count is F1
		s.std *= (c.tp + c.fp + c.fn) / (c.tp + (c.fp+c.fn)/2)
	}
	return s
}

func (c confusion) sampling(m Metric) sampling {
	n := c.tp + c.fp + c.fn + c.tn
	switch m {
	case F1:
		return shareSampling(c.tp, c.fp+c.fn, n)
	case Precision:
		return shareSampling(c.tp, c.fp, n)
	case Recall:
		return shareSampling(c.tp, c.fn, n)
	case Specificity:
		return shareSampling(c.tn, c.fp, n)
	default:
		return shareSampling(c.tp+c.tn, c.fp+c.fn, n)
	}
}

// rocAUCSampling takes ROC AUC as a Mann–Whitney statistic: the mean over positives of the
// share of negatives below. The rarer class counts as positive. NannyML leaves out a positive
// with the lowest score and then counts the others one negative too many, which changes
// nothing in the deviation of those; ties stay in the order of the rows.
func rocAUCSampling(scores []float64, targets []int, class int) sampling {
	n := len(scores)
	y := make([]bool, n)
	positives := 0
	for i, t := range targets {
		y[i] = t == class
		if y[i] {
			positives++
		}
	}
	if float64(positives)/float64(n) > 0.5 {
		for i := range y {
			y[i] = !y[i]
		}
		positives = n - positives
		scores = slices.Clone(scores)
		for i, s := range scores {
			scores[i] = 1 - s
		}
	}
	var below []float64
	for rank, i := range ascending(scores) {
		if y[i] && rank > 0 {
			below = append(below, float64(rank-len(below))/float64(n-positives))
		}
	}
	_, std := meanStd(below)
	return sampling{std: std, share: float64(positives) / float64(n)}
}
