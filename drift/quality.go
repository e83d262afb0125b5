package drift

import (
	"math"

	"github.com/millrace/millrace/drift/profile"
	"github.com/millrace/millrace/drift/quality"
	"github.com/millrace/millrace/schemas"
)

// binary scores the positive class; without rows to judge there is no figure rather than 0.
var binary = quality.Options{Average: quality.AverageBinary, ZeroDivision: quality.ZeroDivisionUndefined}

// qualityFigure returns a quality figure of a target by name; false when it is not defined.
func qualityFigure(t *schemas.Target, q profile.Quality, s schemas.Stattest) (float64, bool) {
	switch s {
	case schemas.StattestLogLoss, schemas.StattestBrier, schemas.StattestECE:
		return loss(t, q.Losses, s)
	default:
	}
	switch t.Kind {
	case schemas.TargetBinary:
		return binaryFigure(q, s)
	case schemas.TargetMulticlass:
		return classFigure(q, s)
	case schemas.TargetRegression:
		return numberFigure(q, s)
	default:
		return 0, false
	}
}

func binaryFigure(q profile.Quality, s schemas.Stattest) (float64, bool) {
	m := quality.BinaryConfusion(q.TruePositive, q.FalsePositive, q.FalseNegative, q.TrueNegative)
	switch s {
	case schemas.StattestAccuracy:
		return known(m.Accuracy())
	case schemas.StattestBalancedAccuracy:
		return known(m.BalancedAccuracy())
	case schemas.StattestPrecision:
		return known(m.Precision(binary))
	case schemas.StattestRecall:
		return known(m.Recall(binary))
	case schemas.StattestF1:
		return known(m.FBeta(1, binary))
	case schemas.StattestMatthews:
		return known(m.Matthews())
	case schemas.StattestKappa:
		return known(m.Kappa(quality.KappaUnweighted))
	case schemas.StattestAUC:
		return rocAUC(profile.Ranking{Positives: q.Positives(), Negatives: q.Negatives(), TwiceU: q.TwiceU})
	case schemas.StattestAveragePrecision:
		return mean(q.Precisions, q.Positives())
	default:
		return 0, false
	}
}

// classFigure returns a figure of several classes. Where not all of them are counted, only
// accuracy is known.
func classFigure(q profile.Quality, s schemas.Stattest) (float64, bool) {
	if s == schemas.StattestAccuracy {
		return mean(float64(q.Classes.Right), q.Classes.Rows)
	}
	if s == schemas.StattestAUC {
		return macroAUC(q.Rankings)
	}
	if !q.Classes.Whole() {
		return 0, false
	}
	tallies := make(quality.Tallies, len(q.Classes.Tallies))
	for i, t := range q.Classes.Tallies {
		tallies[i] = quality.Tally{Right: t.Right, Predicted: t.Predicted, Labelled: t.Labelled}
	}
	switch s {
	case schemas.StattestBalancedAccuracy, schemas.StattestPrecision, schemas.StattestRecall, schemas.StattestF1:
		return known(tallies.Macro(quality.Metric(s)))
	case schemas.StattestMatthews:
		return known(tallies.Matthews())
	case schemas.StattestKappa:
		return known(tallies.Kappa())
	default:
		return 0, false
	}
}

func numberFigure(q profile.Quality, s schemas.Stattest) (float64, bool) {
	r := quality.RegressionOf(quality.RegressionSums(q.Numbers))
	switch s {
	case schemas.StattestMAE:
		return known(r.MAE())
	case schemas.StattestMedianAbsoluteError:
		return q.MedianError, q.Numbers.Rows > 0 && !math.IsInf(q.MedianError, 0)
	case schemas.StattestMSE:
		return known(r.MSE())
	case schemas.StattestRMSE:
		return known(r.RMSE())
	case schemas.StattestMAPE:
		return known(r.MAPE())
	case schemas.StattestSMAPE:
		return known(r.SMAPE())
	case schemas.StattestR2:
		return known(r.R2())
	case schemas.StattestBias:
		return known(r.Bias())
	default:
		return 0, false
	}
}

func loss(t *schemas.Target, l profile.Losses, s schemas.Stattest) (float64, bool) {
	classes := max(2, len(t.Probabilities))
	p, err := quality.ProbabilitiesOf(classes, quality.ProbabilitySums(l))
	if err != nil {
		return 0, false
	}
	switch s {
	case schemas.StattestLogLoss:
		return known(p.LogLoss())
	case schemas.StattestBrier:
		return known(p.Brier())
	default:
		return known(p.ECE())
	}
}

// known turns the error of a figure without a value into false.
func known(v float64, err error) (float64, bool) { return v, err == nil }

// rocAUC is TwiceU / (2·P·N), exact; false when a class is empty.
func rocAUC(r profile.Ranking) (float64, bool) {
	if r.Positives <= 0 || r.Negatives <= 0 {
		return 0, false
	}
	return float64(r.TwiceU) / 2 / (float64(r.Positives) * float64(r.Negatives)), true
}

// macroAUC is the mean of rocAUC over classes; false where there are none, or one is empty.
func macroAUC(classes []profile.Ranking) (float64, bool) {
	total := 0.0
	for _, r := range classes {
		auc, ok := rocAUC(r)
		if !ok {
			return 0, false
		}
		total += auc
	}
	return mean(total, int64(len(classes)))
}

// mean is a sum over n; false where n is 0.
func mean(sum float64, n int64) (float64, bool) {
	if n <= 0 {
		return 0, false
	}
	return sum / float64(n), true
}
