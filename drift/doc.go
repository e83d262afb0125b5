// Package drift decides whether what a version sees and answers still looks like the data
// that it was made with, and whether it still answers well.
//
// ColumnScore is a pure function over counts; its statistics are those of packages stattest
// and quality. The Monitor applies them to event-time windows, one pass at a time (Tick).
// A Store counts rows by window, and only counts travel: package profile says of what.
//
//	minute_states ──▶ watermark ──▶ closed windows ──▶ counts per cell ──▶ scores ──▶ verdict
//	                                                                          │
//	          windows (written last) ◀── events ◀── drift_results, accuracy_results, …
//
// A job that is interrupted anywhere before the last step is done again, writes the same
// rows (they replace each other) and raises events with the same ids.
//
// Counted are the answered rows (outcome ok) of one version. A cell is a bin or a category
// of the version's reference; cells belong to the reference and never move. The SQL is in
// package history, below sinks/clickhouse, which this package does not know.
package drift
