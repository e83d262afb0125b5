package drift

import (
	"errors"
	"fmt"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// confidence is that of the intervals of quality figures.
const confidence = 0.95

// errNotCounted is why a figure that has a value has no interval.
var errNotCounted = errors.New("no interval: counts of a window do not tell it")

// figureInterval returns the interval of a quality figure by the rows that have a label, made as
// drift/quality makes it, or why there is none. Figures that are not shares of counted rows need
// the single rows, and have none.
func figureInterval(t *schemas.Target, q profile.Quality, s schemas.Stattest, level float64) (quality.Interval, error) {
	switch {
	case t.Kind == schemas.TargetMulticlass && s == schemas.StattestAccuracy:
		return quality.BinaryConfusion(q.Classes.Right, q.Classes.Rows-q.Classes.Right, 0, 0).AccuracyInterval(level)
	case t.Kind != schemas.TargetBinary:
		return quality.Interval{}, fmt.Errorf("%s: %w", s, errNotCounted)
	}
	m := quality.BinaryConfusion(q.TruePositive, q.FalsePositive, q.FalseNegative, q.TrueNegative)
	switch s {
	case schemas.StattestAccuracy:
		return m.AccuracyInterval(level)
	case schemas.StattestPrecision:
		return m.PrecisionInterval(1, level)
	case schemas.StattestRecall:
		return m.RecallInterval(1, level)
	case schemas.StattestF1:
		return m.F1Interval(1, level)
	case schemas.StattestBalancedAccuracy:
		return m.BalancedAccuracyInterval(level)
	case schemas.StattestMatthews:
		return m.MatthewsInterval(level)
	case schemas.StattestKappa:
		return m.KappaInterval(level)
	default:
		return quality.Interval{}, fmt.Errorf("%s: %w", s, errNotCounted)
	}
}
