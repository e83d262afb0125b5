package quality

import "fmt"

// Figure is a metric with its value and, where there is one that holds its confidence, its
// interval.
type Figure struct {
	Metric     Metric
	Value      *float64
	Interval   *Interval
	NoInterval error // why there is no interval, such as ErrTooFew; nil where there is one or no value
	Err        error // why there is no value
}

// ErrNoInterval is of a figure that has no interval, whatever the rows.
var ErrNoInterval = fmt.Errorf("%s: chance alone puts it above what it is of, so no interval around it holds", MetricECE)

// figureList collects figures.
type figureList []Figure

// add appends a figure.
func (l *figureList) add(m Metric, value func() (float64, error), interval func() (Interval, error)) {
	f := Figure{Metric: m}
	v, err := value()
	if f.Err = err; err == nil {
		f.Value = &v
		i, err := interval()
		if f.NoInterval = err; err == nil {
			f.Interval = &i
		}
	}
	*l = append(*l, f)
}

// BinaryFigures returns the usual figures of a binary target, class 1 positive. A nil
// argument leaves its figures out.
func BinaryFigures(c *Confusion, r *Ranking, p *Probabilities, confidence float64) []Figure {
	var l figureList
	if c != nil {
		// A share of no rows is not a bad one: it has no value.
		o := Options{Average: AverageBinary, ZeroDivision: ZeroDivisionUndefined}
		l.add(MetricAccuracy, c.Accuracy, func() (Interval, error) { return c.AccuracyInterval(confidence) })
		l.add(MetricBalancedAccuracy, c.BalancedAccuracy, func() (Interval, error) { return c.BalancedAccuracyInterval(confidence) })
		l.add(MetricPrecision, func() (float64, error) { return c.Precision(o) },
			func() (Interval, error) { return c.PrecisionInterval(1, confidence) })
		l.add(MetricRecall, func() (float64, error) { return c.Recall(o) },
			func() (Interval, error) { return c.RecallInterval(1, confidence) })
		l.add(MetricF1, func() (float64, error) { return c.FBeta(1, o) },
			func() (Interval, error) { return c.F1Interval(1, confidence) })
		l.agreement(c, confidence)
	}
	if r != nil {
		l.add(MetricROCAUC, r.ROCAUC, func() (Interval, error) { return r.ROCAUCInterval(confidence) })
		l.add(MetricAveragePrecision, r.AveragePrecision, func() (Interval, error) { return r.AveragePrecisionInterval(confidence) })
	}
	l.losses(p, confidence)
	return l
}

// MulticlassFigures returns the usual figures of several classes, precision, recall and F1
// as macro averages. A nil argument leaves its figures out.
func MulticlassFigures(c *Confusion, p *Probabilities, confidence float64) []Figure {
	var l figureList
	if c != nil {
		var macro Options
		l.add(MetricAccuracy, c.Accuracy, func() (Interval, error) { return c.AccuracyInterval(confidence) })
		l.add(MetricBalancedAccuracy, c.BalancedAccuracy, func() (Interval, error) { return c.BalancedAccuracyInterval(confidence) })
		l.add(MetricPrecision, func() (float64, error) { return c.Precision(macro) },
			func() (Interval, error) { return c.MacroPrecisionInterval(confidence) })
		l.add(MetricRecall, func() (float64, error) { return c.Recall(macro) },
			func() (Interval, error) { return c.MacroRecallInterval(confidence) })
		l.add(MetricF1, func() (float64, error) { return c.FBeta(1, macro) },
			func() (Interval, error) { return c.MacroF1Interval(confidence) })
		l.agreement(c, confidence)
	}
	l.losses(p, confidence)
	return l
}

func (l *figureList) agreement(c *Confusion, confidence float64) {
	l.add(MetricMatthews, c.Matthews, func() (Interval, error) { return c.MatthewsInterval(confidence) })
	l.add(MetricKappa, func() (float64, error) { return c.Kappa(KappaUnweighted) },
		func() (Interval, error) { return c.KappaInterval(confidence) })
}

func (l *figureList) losses(p *Probabilities, confidence float64) {
	if p != nil {
		l.add(MetricLogLoss, p.LogLoss, func() (Interval, error) { return p.LogLossInterval(confidence) })
		l.add(MetricBrier, p.Brier, func() (Interval, error) { return p.BrierInterval(confidence) })
		l.add(MetricECE, p.ECE, func() (Interval, error) { return Interval{}, ErrNoInterval })
	}
}

// RegressionFigures returns the figures of a number that need no values kept.
func RegressionFigures(r *Regression, confidence float64) []Figure {
	var l figureList
	l.add(MetricMAE, r.MAE, func() (Interval, error) { return r.MAEInterval(confidence) })
	l.add(MetricMSE, r.MSE, func() (Interval, error) { return r.MSEInterval(confidence) })
	l.add(MetricRMSE, r.RMSE, func() (Interval, error) { return r.RMSEInterval(confidence) })
	l.add(MetricMAPE, r.MAPE, func() (Interval, error) { return r.MAPEInterval(confidence) })
	l.add(MetricSMAPE, r.SMAPE, func() (Interval, error) { return r.SMAPEInterval(confidence) })
	l.add(MetricR2, r.R2, func() (Interval, error) { return r.R2Interval(confidence) })
	l.add(MetricBias, r.Bias, func() (Interval, error) { return r.BiasInterval(confidence) })
	return l
}
