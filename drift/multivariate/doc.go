// Package multivariate compares several columns together, and so finds what no single column
// shows, such as two columns that were correlated and are not any more:
//
//   - PCA: the error of reconstructing rows from principal components of the reference, with
//     limits from chunks of the reference, as NannyML's DataReconstructionDriftCalculator
//   - Energy: the energy distance between the rows of both sides, with a permutation test
//   - Classify: the ROC AUC of a classifier that tells the sides apart
//
// Each names the columns that contribute most. They are pure functions: same input, options
// and seed, same answer.
//
// Rows are never left out for what they hold. A missing value (NaN) is the reference's mean in
// PCA and Energy (or, categorical, the mode in PCA, a category of its own in Energy), and a
// value of its own for Classify. An infinite value is an error for PCA and Energy, and the
// largest or smallest for Classify. Constant, duplicated and collinear columns are all right,
// and so are more columns than rows.
package multivariate
