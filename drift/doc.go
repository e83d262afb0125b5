// Package drift decides whether what a version sees and answers still looks like the data
// that it was made with, and whether it still answers well.
//
// The statistics (PSI, KS, ChiSquare, Confusion, ROCAUC) are pure functions over counts.
// The Monitor applies them to event-time windows: ClickHouse counts, grouped by window,
// and only counts travel.
//
//	minute_states ──▶ watermark ──▶ closed windows ──▶ counts per cell ──▶ scores ──▶ verdict
//	                                                                          │
//	          windows (written last) ◀── events ◀── drift_results, accuracy_results
//
// A job that is interrupted anywhere before the last step is done again, writes the same
// rows (they replace each other) and raises events with the same ids.
//
// Counted are the answered rows (outcome ok) of one version. A cell is a bin or a category
// of the version's reference; cells belong to the reference and never move.
package drift
