// Package reference makes what a version is compared with out of rows: the counts of its
// columns (schemas.Reference), and how windows are judged (schemas.Monitoring), with thresholds
// that hold a stated rate of false alarms on these rows.
//
// Rows come as columns of numbers and of words, whether from a file or from ClickHouse.
package reference
