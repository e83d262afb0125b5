// Package stattest has the two-sample tests and distances that drift is judged by, under
// Evidently's names and equal to SciPy's figures. Where SciPy's p-value does not hold, a test of
// Lookup judges by another one, and Result has both; the functions of single tests give SciPy's.
//
// All of them are pure functions: no I/O, no clock, and random only by a seed that is given.
// Numeric tests take two Samples, which stand for plain values, for weighted values and for
// counts alike; categorical tests and binned distances take the weights of cells.
package stattest
