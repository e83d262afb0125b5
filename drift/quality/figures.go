package quality

// Figure is a metric with its value and, where there is one that holds its confidence, its
// interval.
type Figure struct {
	Metric     Metric
	Value      *float64
	Interval   *Interval
	NoInterval error // why these rows give no interval, such as ErrTooFew; nil where no rows do
	Err        error // why there is no value
}

// figureList collects figures.
type figureList []Figure

// add appends a figure. interval is nil where the metric has none.
func (l *figureList) add(m Metric, value func() (float64, error), interval func() (Interval, error)) {
	f := Figure{Metric: m}
	v, err := value()
	if f.Err = err; err == nil {
		f.Value = &v
		if interval != nil {
			i, err := interval()
			if f.NoInterval = err; err == nil {
				f.Interval = &i
			}
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
		l.add(MetricBalancedAccuracy, c.BalancedAccuracy, nil)
		l.add(MetricPrecision, func() (float64, error) { return c.Precision(o) },
			func() (Interval, error) { return c.PrecisionInterval(1, confidence) })
		l.add(MetricRecall, func() (float64, error) { return c.Recall(o) },
			func() (Interval, error) { return c.RecallInterval(1, confidence) })
		l.add(MetricF1, func() (float64, error) { return c.FBeta(1, o) }, nil)
		l.agreement(c)
	}
	if r != nil {
		l.add(MetricROCAUC, r.ROCAUC, func() (Interval, error) { return r.ROCAUCInterval(confidence) })
		l.add(MetricAveragePrecision, r.AveragePrecision, nil)
	}
	l.losses(p)
	return l
}

// MulticlassFigures returns the usual figures of several classes, precision, recall and F1
// as macro averages. A nil argument leaves its figures out.
func MulticlassFigures(c *Confusion, p *Probabilities, confidence float64) []Figure {
	var l figureList
	if c != nil {
		var macro Options
		l.add(MetricAccuracy, c.Accuracy, func() (Interval, error) { return c.AccuracyInterval(confidence) })
		l.add(MetricBalancedAccuracy, c.BalancedAccuracy, nil)
		l.add(MetricPrecision, func() (float64, error) { return c.Precision(macro) }, nil)
		l.add(MetricRecall, func() (float64, error) { return c.Recall(macro) }, nil)
		l.add(MetricF1, func() (float64, error) { return c.FBeta(1, macro) }, nil)
		l.agreement(c)
	}
	l.losses(p)
	return l
}

func (l *figureList) agreement(c *Confusion) {
	l.add(MetricMatthews, c.Matthews, nil)
	l.add(MetricKappa, func() (float64, error) { return c.Kappa(KappaUnweighted) }, nil)
}

func (l *figureList) losses(p *Probabilities) {
	if p != nil {
		l.add(MetricLogLoss, p.LogLoss, nil)
		l.add(MetricBrier, p.Brier, nil)
		l.add(MetricECE, p.ECE, nil)
	}
}

// RegressionFigures returns the figures of a number that need no values kept.
func RegressionFigures(r *Regression, confidence float64) []Figure {
	var l figureList
	l.add(MetricMAE, r.MAE, func() (Interval, error) { return r.MAEInterval(confidence) })
	l.add(MetricMSE, r.MSE, nil)
	l.add(MetricRMSE, r.RMSE, nil)
	l.add(MetricMAPE, r.MAPE, nil)
	l.add(MetricSMAPE, r.SMAPE, nil)
	l.add(MetricR2, r.R2, nil)
	l.add(MetricBias, r.Bias, func() (Interval, error) { return r.BiasInterval(confidence) })
	return l
}
