// Package estimator keeps what package drift/estimate fits to the labelled rows of a reference beside
// that reference, and makes estimators of it again.
package estimator
