// Package dataset reads tables from files and streams as Arrow record batches: CSV,
// Parquet, Arrow IPC (file and stream) and JSON lines. It never holds a whole file in
// memory.
package dataset
