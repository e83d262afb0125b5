// Package quality judges a model against its labels: figures of classification and
// regression, their confidence intervals, and comparisons of two models on the same rows.
//
// Figures come from accumulators, which take rows in batches and can be merged, so that a
// table larger than memory is judged in one pass:
//
//	Confusion      accuracy, balanced accuracy, precision, recall, F-beta, Matthews, kappa
//	Multilabel     precision, recall, F-beta, accuracy of several labels a row
//	Ranking        ROC AUC, PR AUC, DeLong, lift and gain; memory by distinct scores
//	Probabilities  log loss, Brier, expected calibration error
//	Regression     MAE, MSE, RMSE, MAPE, sMAPE, R², quantile loss, bias
//
// Definitions, averages and edge cases are those of scikit-learn 1.9.1, with these rules
// where it raises, warns or answers NaN:
//
//   - No rows, or weights that are all 0: ErrNoRows.
//   - A figure that has no value, such as the ROC AUC of one class: ErrUndefined, unless
//     scikit-learn has a value by default (precision without positive predictions is 0, see
//     ZeroDivision; R² of a constant target is 1 or 0; Matthews of one class is 0).
//   - NaN and infinities, probabilities outside [0, 1], negative weights, lengths that
//     differ: an error that names the row; the accumulator stays as it was.
//   - A figure beyond the range of float64, such as the MSE of errors of 1e200: ErrOverflow.
//
// An interval of 95 % holds the true figure in 93 to 97 % of samples (make bench-coverage), or
// there is none: ErrTooFew, or ErrNoInterval of a figure that never has one. Those of the references, which do not, have names of their own:
// Wilson, Student, StudentInterval, DeLongInterval, BCa.
//
// A weight is a number of rows: a row of weight 2 counts as two rows, one of weight 0 as
// none. Accumulators are not safe for concurrent use.
//
// On purpose, these differ from scikit-learn's values:
//
//   - A class that only rows of weight 0 have does not occur: averages leave it out.
//   - The target of R² is constant when all values are equal. scikit-learn finds a spread of
//     rounding errors in three values of 0.1, and an R² of -1.7e31.
//   - Average precision without positive rows is undefined rather than 0.
//   - Probabilities of several classes that do not sum to 1 are an error rather than a warning.
package quality
