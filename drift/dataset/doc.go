// Package dataset reads tables from files and streams as Arrow record batches: CSV,
// Parquet, Arrow IPC (file and stream) and JSON. It never holds a whole file in memory, but
// for a JSON document whose rows lie all over it, of at most maxDocument.
//
// A file is not trusted: whatever it says, a reader ends with an error that names it and the
// cause, and takes no more memory than what lies there needs, within the bounds of a scan
// (maxScanMemory, maxRecord). Batches do not share memory with a reader: they may be kept,
// and hold nothing that an allocator counts.
//
// Integers narrower than 64 bits are int64, also unsigned ones, and so are whole decimals of at
// most 18 digits; other decimals are the closest float64, but for Exact; times are microseconds
// of UTC, a zone is dropped; times of day and durations are int64 in their unit; bytes of fixed
// width are hexadecimal text. The columns in which pandas keeps an index without a name
// (__index_level_0__) are left out. A table without rows is an error.
package dataset
