// Package stattest has the two-sample tests and distances that drift is judged by, under
// Evidently's names and equal to SciPy's figures.
//
// All of them are pure functions: no I/O, no clock, and random only by a seed that is given.
// Numeric tests take two Samples, which stand for plain values, for weighted values and for
// counts alike; categorical tests and binned distances take the weights of cells.
//
// A distance says how far two sides are apart, not whether that is more than chance. That is
// what a Null is for: the distances of deals of the rows of both sides, taken together, to two
// sides of the same sizes (null.go: p-values, what is left without chance; deal.go: how rows
// are dealt; order.go: rows in the order of time; power.go: the smallest effect that is found).
package stattest
