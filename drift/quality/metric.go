package quality

import "slices"

// Metric is the name of a figure: one of the constants below, as reports spell it.
type Metric string

// Metrics of classification, named as scikit-learn's scorers and functions are.
const (
	MetricAccuracy         Metric = "accuracy"
	MetricBalancedAccuracy Metric = "balanced_accuracy"
	MetricPrecision        Metric = "precision"
	MetricRecall           Metric = "recall"
	MetricF1               Metric = "f1"
	MetricFBeta            Metric = "fbeta"
	MetricROCAUC           Metric = "roc_auc"
	MetricAveragePrecision Metric = "average_precision"
	MetricPRAUC            Metric = "pr_auc" // trapezoidal
	MetricLogLoss          Metric = "log_loss"
	MetricBrier            Metric = "brier_score"
	MetricMatthews         Metric = "matthews_corrcoef"
	MetricKappa            Metric = "cohen_kappa"
	MetricECE              Metric = "expected_calibration_error"
	MetricLift             Metric = "lift"
	MetricGain             Metric = "gain"
)

// Metrics of regression.
const (
	MetricMAE                 Metric = "mae"
	MetricMSE                 Metric = "mse"
	MetricRMSE                Metric = "rmse"
	MetricMAPE                Metric = "mape"
	MetricSMAPE               Metric = "smape"
	MetricR2                  Metric = "r2"
	MetricMedianAbsoluteError Metric = "median_absolute_error"
	MetricQuantileLoss        Metric = "quantile_loss"
	MetricBias                Metric = "bias"
)

var metrics = []Metric{
	MetricAccuracy, MetricBalancedAccuracy, MetricPrecision, MetricRecall, MetricF1, MetricFBeta,
	MetricROCAUC, MetricAveragePrecision, MetricPRAUC, MetricLogLoss, MetricBrier, MetricMatthews,
	MetricKappa, MetricECE, MetricLift, MetricGain,
	MetricMAE, MetricMSE, MetricRMSE, MetricMAPE, MetricSMAPE, MetricR2, MetricMedianAbsoluteError,
	MetricQuantileLoss, MetricBias,
}

// Metrics returns all names: first those of classification, then those of regression.
func Metrics() []Metric { return slices.Clone(metrics) }

// Known tells whether m is one of Metrics.
func (m Metric) Known() bool { return slices.Contains(metrics, m) }

// Regression tells whether m judges numbers rather than classes.
func (m Metric) Regression() bool {
	return slices.Index(metrics, m) >= slices.Index(metrics, MetricMAE)
}

// LowerIsBetter tells the direction: of losses, less is better. Bias has its best at 0.
func (m Metric) LowerIsBetter() bool {
	switch m {
	case MetricLogLoss, MetricBrier, MetricECE, MetricMAE, MetricMSE, MetricRMSE, MetricMAPE, MetricSMAPE,
		MetricMedianAbsoluteError, MetricQuantileLoss:
		return true
	default:
		return false
	}
}
