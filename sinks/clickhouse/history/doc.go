// Package history is the SQL of the monitor and of its reports: it counts the observations
// and the labels of a version's windows, and reads and writes what was found in them.
//
// Counted are the answered rows (outcome ok) of one version. Only counts travel: cells of
// columns, as package profile numbers them, and confusion counts of labels. What they mean
// is judged in package drift.
package history
