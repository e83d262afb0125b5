package drift

import (
	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// qualityFigures are computed for every labelled window, in this order.
func qualityFigures() []schemas.Stattest {
	return []schemas.Stattest{
		schemas.StattestAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestAUC,
	}
}

// binary scores the positive class; without rows to judge there is no figure rather than 0.
var binary = quality.Options{Average: quality.AverageBinary, ZeroDivision: quality.ZeroDivisionUndefined}

// qualityFigure returns a quality figure by name; false when it is not defined.
func qualityFigure(q profile.Quality, s schemas.Stattest) (float64, bool) {
	m := quality.BinaryConfusion(q.TruePositive, q.FalsePositive, q.FalseNegative, q.TrueNegative)
	switch s {
	case schemas.StattestAccuracy:
		return known(m.Accuracy())
	case schemas.StattestPrecision:
		return known(m.Precision(binary))
	case schemas.StattestRecall:
		return known(m.Recall(binary))
	case schemas.StattestAUC:
		return rocAUC(q)
	default:
		return 0, false
	}
}

// known turns the error of a figure without a value into false.
func known(v float64, err error) (float64, bool) { return v, err == nil }

// rocAUC is TwiceU / (2·P·N), exact; false when a class is empty.
func rocAUC(q profile.Quality) (float64, bool) {
	p, n := q.Positives(), q.Negatives()
	if p <= 0 || n <= 0 {
		return 0, false
	}
	return float64(q.TwiceU) / 2 / (float64(p) * float64(n)), true
}
